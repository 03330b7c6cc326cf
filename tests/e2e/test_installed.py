"""The built tarball beside its declared dependencies documents and runs every module, under each ansible-core (L1)."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import harness
from .installed import COLLECTION, LOCKS, NEWEST, VERSIONS, Installed, galaxy, install, shared
from .services import unique

# Under the newest, modules are sent to an interpreter, as to a host; under the others they run in a fork (here.py).
WAYS = [(version, "sent" if version == NEWEST else "here") for version in VERSIONS]
MODULES = sorted(path.stem for path in (COLLECTION / "plugins" / "modules").glob("*.py") if path.stem != "__init__")
PLAYBOOKS = sorted(path.stem for path in (COLLECTION / "playbooks").glob("*.yml"))
ROLES = sorted(path.name for path in (COLLECTION / "roles").iterdir())


@pytest.fixture
def target_group() -> Iterator[str]:
    """A target group in the service's VPC, which no load balancer has."""
    elb, vpc = harness.client("elbv2"), outputs()["00-network"]["vpc_id"]
    made = elb.create_target_group(Name=unique("every"), TargetType="ip", Protocol="HTTP", Port=5000, VpcId=vpc)
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    yield arn
    elb.delete_target_group(TargetGroupArn=arn)


def outputs() -> dict[str, Any]:
    """What the permanent stacks gave."""
    path = harness.SANDBOX_ROOT / ".sandbox" / "state" / "stacks" / "papyrus-prd" / "outputs.json"
    content: dict[str, Any] = json.loads(path.read_bytes())
    return content


def run_all(
    made: Installed, group: str, way: str, *arguments: str, succeeds: bool = True
) -> tuple[dict[str, Any], str]:
    """What each module said, when Ansible came to the end, and what it printed."""
    moment = datetime.now(UTC) - timedelta(hours=1)
    variables = {
        "every_folder": str(made.empty),
        "every_app_python": sys.executable,
        "every_target_group": group,
        "every_since": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "every_until": f"{moment + timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}",
    }
    if way == "sent":
        other = made.empty.parent / "python"
        other.write_text(f'#!/bin/sh\nexec {made.tools}/python "$@"\n', "utf-8")
        other.chmod(0o755)
        variables["ansible_python_interpreter"] = str(other)
    playbook = harness.CHECKOUT / "tests" / "e2e" / "every_module.yml"
    inventory = harness.CHECKOUT / "inventories" / "sandbox"
    command: tuple[str | Path, ...] = ("-i", inventory, playbook, "-e", json.dumps(variables), *arguments)
    printed = made.run("ansible-playbook", *command, succeeds=succeeds)
    written = made.empty / "said.json"
    return json.loads(written.read_bytes()) if written.is_file() else {}, printed


def everything_is_documented(made: Installed) -> None:
    """Modules, roles and other plugins by ansible-doc; each playbook is found by its name."""
    modules = made.document("module", *(f"papyrus.ops.{name}" for name in MODULES))
    assert sorted(modules) == [f"papyrus.ops.{name}" for name in MODULES]
    for name, entry in modules.items():
        assert Path(entry["doc"]["filename"]).is_relative_to(made.collections), name
        assert entry["doc"]["short_description"] and entry["examples"] and entry["return"] is not None, name
        assert all(option["description"] for option in entry["doc"].get("options", {}).values()), name
    assert sorted(made.document("role")) == [f"papyrus.ops.{name}" for name in ROLES]
    for kind in ("filter", "callback"):
        here = sorted(path.stem for path in (COLLECTION / "plugins" / kind).glob("[!_]*.py"))
        assert sorted(made.document(kind)) == [f"papyrus.ops.{name}" for name in here], kind
    checked = made.run(
        "ansible-playbook", "-i", "localhost,", "--syntax-check", *(f"papyrus.ops.{p}" for p in PLAYBOOKS)
    )
    assert checked.count("playbook: ") == len(PLAYBOOKS)
    assert list(made.empty.glob("[!.]*")) == [], "a look at documentation wrote into the working folder"


@pytest.mark.parametrize(("version", "way"), WAYS)
def test_L1_the_tarball_documents_and_runs_every_module(
    version: str, way: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, target_group: str
) -> None:
    made = shared(tmp_path_factory, version, tmp_path / "empty")
    everything_is_documented(made)
    said, printed = run_all(made, target_group, way, "-vvv")
    assert f"[core {version}." in printed
    assert sorted(said) == MODULES
    assert {name: result["msg"] for name, result in said.items() if result["failed"]} == {}, printed[-4000:]
    sent = printed.count(" EXEC ")
    assert sent >= len(MODULES) if way == "sent" else sent < len(MODULES), sent
    assert "DEPRECATION" not in printed


def test_L1_a_file_that_is_not_packed_fails_the_module_that_needs_it(tmp_path: Path) -> None:
    source = tmp_path / "papyrus" / "ops"
    shutil.copytree(COLLECTION, source, ignore=shutil.ignore_patterns("__pycache__"))
    ignored = galaxy() | {"build_ignore": [*galaxy()["build_ignore"], "plugins/module_utils/_terraform_work.py"]}
    (source / "galaxy.yml").write_text(yaml.safe_dump(ignored), "utf-8")
    said, printed = run_all(install(tmp_path, source=source), "", "sent", "--tags", "alone", succeeds=False)
    assert printed.count("ok: [papyrus-prd]") == 1 and said == {}
    assert "No module named 'ansible_collections.papyrus.ops.plugins.module_utils._terraform_work'" in printed


def test_L1_what_the_collection_asks_for_is_what_is_tested() -> None:
    """The oldest is what meta/runtime.yml names; they follow each other; the newest is what everything else runs on."""
    minors = [tuple(map(int, version.split("."))) for version in VERSIONS]
    assert minors == [(2, minors[-1][1] - 2), (2, minors[-1][1] - 1), minors[-1]]
    asked = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text("utf-8"))["requires_ansible"]
    assert asked == f">={VERSIONS[0]}.0"
    here = (COLLECTION / "plugins" / "plugin_utils" / "here.py").read_text("utf-8")
    [known] = re.findall(r"^CORES = (\(.*\))$", here, re.MULTILINE)
    assert list(ast.literal_eval(known)) == VERSIONS, "what is not tested has to run modules in its own way"
    for version in VERSIONS:
        assert f"\nansible-core=={version}." in f"\n{(LOCKS / f'ansible-{version}.txt').read_text('utf-8')}"
    assert f"\nansible-core=={NEWEST}." in (LOCKS / "dev.txt").read_text("utf-8")
