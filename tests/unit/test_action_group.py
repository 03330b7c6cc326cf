"""The action group: `module_defaults` of group/papyrus.ops.aws reach every module that takes the options of AWS."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"
GROUP = "papyrus.ops.aws"


def modules() -> dict[str, str]:
    """Names of the modules with their source."""
    paths = (COLLECTION / "plugins" / "modules").glob("*.py")
    return {path.stem: path.read_text("utf-8") for path in paths if path.stem != "__init__"}


def documentation(source: str) -> dict[str, Any]:
    found = re.search(r'^DOCUMENTATION = r"""\n(.*?)"""', source, re.DOTALL | re.MULTILINE)
    assert found
    content: dict[str, Any] = yaml.safe_load(found.group(1))
    return content


def fragments(source: str) -> set[str]:
    return set(documentation(source).get("extends_documentation_fragment", []))


def group() -> list[str]:
    content = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text("utf-8"))
    members: list[str] = content["action_groups"][GROUP.rpartition(".")[2]]
    return members


@pytest.fixture(name="asked")
def _asked() -> Iterator[list[str]]:
    """Authorization headers of what arrived at an endpoint that denies everything; its address is the first entry."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["Authorization"])
            answer = json.dumps({"__type": "AccessDeniedException", "message": "denied"}).encode()
            self.send_response(400)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked.append(f"http://127.0.0.1:{server.server_port}")
    yield asked
    server.shutdown()
    server.server_close()


def play(tmp_path: Path, defaults: dict[str, dict[str, Any]]) -> str:
    """What ansible-playbook prints about a task that says nothing of where AWS is."""
    task = {
        "name": "Ask for tasks",
        "papyrus.ops.ecs_task_ip": {"cluster": "c", "service": "s", "container": "app", "port": 5000},
        "vars": {"ansible_python_interpreter": sys.executable},
    }
    content = [
        {
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "module_defaults": defaults,
            "tasks": [task],
        }
    ]
    (tmp_path / "play.yml").write_text(json.dumps(content))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
    environment |= {
        "HOME": str(tmp_path),
        "ANSIBLE_HOME": str(tmp_path / ".ansible"),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    environment |= {"ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"), "NO_COLOR": "1"}
    command = [str(Path(sys.prefix) / "bin" / "ansible-playbook"), "-i", "localhost,", "play.yml"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 2, done.stdout + done.stderr
    return done.stdout


def test_L1_the_group_is_every_module_that_takes_the_options_of_aws() -> None:
    taking = sorted(name for name, source in modules().items() if "amazon.aws.region.modules" in fragments(source))
    assert len(taking) > 20
    assert group() == taking
    assert [name for name, source in modules().items() if "AnsibleAWSModule(" in source and name not in taking] == []


def test_L1_each_member_documents_its_membership_and_no_other_module_does() -> None:
    said = sorted(
        name for name, source in modules().items() if "papyrus.ops.attributes.actiongroup_aws" in fragments(source)
    )
    assert said == group()
    fragment = (COLLECTION / "plugins" / "doc_fragments" / "attributes.py").read_text("utf-8")
    assert f"      - {GROUP}\n" in fragment and f"group/{GROUP})" in fragment


def test_L1_every_module_documents_check_mode_diff_and_repetition() -> None:
    told = {"check_mode", "diff_mode", "idempotent"}
    shared = {"papyrus.ops.attributes.info": told, "papyrus.ops.export": told}
    for name, source in modules().items():
        own = set(documentation(source).get("attributes", {}))
        inherited = {word for fragment in fragments(source) for word in shared.get(fragment, set())}
        assert own | inherited >= told, name


def test_L1_every_module_says_since_which_version_it_is_there() -> None:
    release = yaml.safe_load((COLLECTION / "galaxy.yml").read_text("utf-8"))["version"]
    said = {name: documentation(source).get("version_added") for name, source in modules().items()}
    assert {name: version for name, version in said.items() if version != release} == {}, "only one release is made yet"


def test_L1_the_groups_defaults_reach_a_module(tmp_path: Path, asked: list[str]) -> None:
    keys = {"access_key": "AKIDEXAMPLE", "secret_key": "not-a-real-one"}
    options = {"region": "eu-central-1", "endpoint_url": asked[0], **keys}
    assert "AccessDenied" in play(tmp_path, {f"group/{GROUP}": options})
    assert len(asked) > 1
    assert all("/eu-central-1/ecs/aws4_request" in header for header in asked[1:])


def test_L1_the_defaults_of_a_group_without_the_module_do_not(tmp_path: Path, asked: list[str]) -> None:
    options = {"region": "eu-central-1", "endpoint_url": asked[0], "access_key": "AKIDEXAMPLE", "secret_key": "x"}
    assert "egion" in play(tmp_path, {"group/amazon.aws.aws": options})
    assert asked[1:] == []
