"""M1: the commands of docs/sandbox.md and docs/sweep.md that ask a local AWS, word by word against one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs_commands import CHECKOUT, Command, commands
from tests.sandbox.support import Sandbox, open_folder

TOOLS = Path(sys.executable).parent
CONTROL = [command for command in commands() if command.text.startswith("curl") and "/_sandbox/" in command.text]
AWS_CLI = [command for command in commands() if command.text.startswith("aws ") and not command.needs_aws]
ANSIBLE = [command for command in commands() if command.text.startswith("ansible localhost")]
ELSEWHERE = "aws ecs execute-command"
"""Needs a running task: tests/sandbox/test_exec_cli.py."""


@pytest.fixture(scope="module", name="own")
def _own() -> Iterator[Sandbox]:
    """One of its own, as faults and switches are for everybody who asks it."""
    with open_folder() as root:
        running = Sandbox(root)
        try:
            yield running.up()
        finally:
            running.down()


def run(own: Sandbox, text: str, *, timeout: float = 120) -> str:
    """What a command prints in a shell that `make sandbox-env` has prepared; it ends well."""
    missing = [name for name in re.findall(r"\b(curl|jq)\b", text) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not on the PATH: {', '.join(missing)}")
    facts = own.facts
    environment = {
        "PATH": f"{TOOLS}:/usr/bin:/bin",
        "HOME": str(own.root),
        "ANSIBLE_HOME": str(own.root / ".ansible"),
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"),
        "AWS_ENDPOINT_URL": own.endpoint,
        "AWS_ACCESS_KEY_ID": facts["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": facts["secret_access_key"],
        "AWS_REGION": facts["region"],
        "AWS_DEFAULT_REGION": facts["region"],
        "AWS_PAGER": "",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
    }
    command = ["bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(
        command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )
    assert done.returncode == 0, f"{text}: {done.stdout[-800:]}{done.stderr[-800:]}"
    return done.stdout


@pytest.mark.parametrize("command", [c for c in AWS_CLI if not c.text.startswith(ELSEWHERE)], ids=lambda c: c.text[:40])
def test_M1_the_aws_command_is_answered(own: Sandbox, command: Command) -> None:
    if "papyrus-ecs-prd" in command.text:
        own.client("ecs").create_cluster(clusterName="papyrus-ecs-prd")
    if "/ecs/papyrus-task" in command.text:
        own.client("logs").create_log_group(logGroupName="/ecs/papyrus-task")
    assert isinstance(json.loads(run(own, f"{command.text} --output json")), list | dict)


@pytest.mark.parametrize("command", ANSIBLE, ids=lambda c: c.text[22:60])
def test_M1_a_sweep_without_a_playbook_says_that_nothing_is_left(own: Sandbox, command: Command) -> None:
    assert re.search(r"^localhost \| SUCCESS => ", run(own, command.text), re.MULTILINE)


def test_M1_the_control_interface_takes_what_the_page_says(own: Sandbox) -> None:
    """Each fault and switch that a command gives is on afterwards, as it was given."""
    assert len(CONTROL) >= 12
    for command in CONTROL:
        printed = json.loads(run(own, command.text) or "null")
        given = re.search(r"-d '(.*)'$", command.text, re.DOTALL)
        if given is None:
            continue
        wanted = json.loads(given.group(1))
        if isinstance(wanted, dict):
            assert wanted.items() <= printed.items(), command.text
            continue
        assert len(printed) == len(wanted), command.text
        for fault, shown in zip(wanted, printed, strict=True):
            assert {key: shown[key] for key in fault} == fault, command.text
    assert json.loads(own.http("GET", "/_sandbox/switches")[2])["iam"] is True


def test_M1_a_fault_that_it_does_not_know_is_refused(own: Sandbox) -> None:
    text = 'curl -s -X PUT "$AWS_ENDPOINT_URL/_sandbox/faults" -d \'[{"servise": "elbv2"}]\''
    assert "a fault is an object" in json.loads(run(own, text))["message"]
