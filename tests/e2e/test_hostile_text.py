"""H2: text that AWS, the app or its container chose stays text: no command, template, path, escape or markup."""

from __future__ import annotations

import base64
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .harness import RunningSmoke

MARK = "hostile-text-was-run"

ATTEMPTS = [
    f"{{{{ lookup('ansible.builtin.pipe', 'touch {MARK}') }}}}",
    "{{ 'was-' ~ 'templated' }}",
    "{% raw %}{{ undefined_thing }}",
    f"$(touch {MARK})`touch {MARK}`; touch {MARK} | touch {MARK} && touch {MARK}",
    f"../../../../../../tmp/{MARK}",
    "\x1b[2J\x1b[31m\x1b]0;title\x07\x9b1A",
    "\u202egnp.exe\u2066",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "'\"></td></table><style>*{display:none}</style>",
]
TEXT = " ".join(ATTEMPTS)


def everywhere(root: Path) -> list[Path]:
    """Where a file of that name could have come to be."""
    places = [root, harness.CHECKOUT, harness.CHECKOUT / "playbooks", Path("/tmp"), Path("/"), Path.home()]
    return [found for place in places for found in (place.glob(f"**/{MARK}") if place == root else place.glob(MARK))]


def harmless(smoke: harness.Smoke, root: Path) -> str:
    """Nothing was run, nothing written elsewhere, the terminal obeys nothing, the page acts on nothing. The page."""
    assert everywhere(root) == []
    assert "was-templated" not in smoke.output
    controls = {character for character in smoke.output if not character.isprintable() and character != "\n"}
    assert controls == set(), [smoke.output[max(0, at.start() - 80) : at.end() + 20] for at in found(smoke.output)]
    page = (smoke.bundle / "report.html").read_text("utf-8")
    assert not re.search(r"<(script|img)\b", page)
    assert page.count("<style") == 1 and page.count("</style>") == 1
    for path in smoke.bundle.rglob("*"):
        assert path.resolve().is_relative_to(smoke.bundle.resolve())
        assert b"was-templated" not in path.read_bytes(), path.name
    assert smoke.sealed["by"] == "run"
    return page


def found(text: str) -> Iterator[re.Match[str]]:
    return re.finditer(r"[^\n -~\u00a1-\U0010ffff]|[\u200b-\u202e\u2060-\u2069]", text)


@pytest.fixture
def hostile() -> Iterator[str]:
    """A server that says the attempts in its status line, its headers and its body; its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    line = TEXT.encode("utf-8").replace(b"\n", b" ")
    body = line + b"\n" + line + b"\x00\xff\n"
    head = b"HTTP/1.1 200 %b\r\nX-Papyrus-Task: %b\r\nX-Request-Id: %b\r\nLocation: %b\r\nContent-Length: %d\r\n\r\n"

    def answer() -> None:
        while True:
            try:
                connection, dummy = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(head % (line, line, line, line, len(body)) + body)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(5)


def test_H2_what_the_app_and_its_container_say_is_only_text(tmp_path: Path, hostile: str) -> None:
    said = base64.b64encode(f"ROUTES: {TEXT}\n".encode()).decode()  # what an inventory says may be a template
    probe: dict[str, Any] = {"name": "hostile", "path": "/x", "expect": {"status": [200], "body_contains": "nothing"}}
    variables = {
        "hostile_url": hostile,
        "papyrus_http_connect_to": [],
        "papyrus_routes_command": f"sh -c 'echo {said} | base64 -d'",
        "papyrus_probes": [probe],
    }
    running = RunningSmoke(tmp_path / "run", variables, (), playbook="tests/e2e/hostile_text.yml")
    smoke = running.end()
    assert smoke.exit_code != 0
    assert smoke.verdict["result"] == "FAILED"
    assert "alert(1)" in smoke.item("flask_url_map_after.log")
    assert "onerror=alert(1)" in harmless(smoke, tmp_path), "what was said is shown"


def test_H2_what_stands_on_resources_of_aws_is_only_text(tmp_path: Path) -> None:
    """Names and descriptions with all that EC2 allows there, tags with anything: listed, and spared."""
    ec2, name = harness.client("ec2"), f"papyrus-smoke-;$(touch {MARK})&{{}}!*[a](b)@#"
    group = ec2.create_security_group(GroupName=name, Description=f"$(touch {MARK}); {{}} [x](y)")["GroupId"]
    tags = {"papyrus:run-id": TEXT[:250], "papyrus:service": "papyrus-task-service", "papyrus:expires-at": ATTEMPTS[0]}
    try:
        ec2.create_tags(Resources=[group], Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
        running = RunningSmoke(tmp_path / "run", {}, ("-v",), playbook="playbooks/sweep.yml")
        smoke = running.end()
        assert group in smoke.output, smoke.output[-3000:]
        assert group in smoke.item("alb_sg_leftover.json") and MARK in smoke.item("alb_sg_leftover.json")
        assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"]
        harmless(smoke, tmp_path)
    finally:
        ec2.delete_security_group(GroupId=group)
