"""L1: runs through ansible-runner: exit codes, events, no secret in an artifact, a cancel that the guard answers.

One that passes, beside a run of Ansible's own: test_alb_smoke.py.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ansible_runner
import pytest

from . import harness
from .harness import CHECKOUT, RunningSmoke
from .test_interrupts import PHASES, taken_down_by_the_guard
from .test_redaction import found, header_of

BIN = CHECKOUT / ".venv" / "bin"
LAUNCH = (sys.executable, str(CHECKOUT / "tests" / "e2e" / "runner_launch.py"))
PATH = {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
TAG = "tirunner"
PATIENCE = 900
"""Seconds until a run has its load balancer on a machine with much else to do; half a minute on one without."""


def started(folder: Path, variables: dict[str, Any], **more: str) -> RunningSmoke:
    """`ansible-runner run runner -p alb_smoke.yml`, as a person would from the checkout."""
    return RunningSmoke(folder, variables, launcher=LAUNCH, environment=PATH | more)


def artifact(folder: Path, name: str) -> str:
    return (folder / "artifacts" / "job" / name).read_text("utf-8")


def events(folder: Path) -> list[dict[str, Any]]:
    """The job's events in their order; each file has to be whole."""
    files = (folder / "artifacts" / "job" / "job_events").glob("*.json")
    return sorted((json.loads(path.read_bytes()) for path in files), key=lambda event: int(event["counter"]))


def known_secrets(header: str = "") -> dict[str, str]:
    """What the local AWS keeps secret, read past the product."""
    manager, facts = harness.client("secretsmanager"), harness.facts()
    planted = {"secret key of the caller": facts["secret_access_key"]}
    for name in ("papyrus/prd/db", "papyrus/prd/db-master"):
        planted[name] = json.loads(manager.get_secret_value(SecretId=name)["SecretString"])["password"]
    planted["signing key"] = Path(facts["signing_key"]).read_text("utf-8").splitlines()[1]
    return planted | ({"run's header": header} if header else {})


def leaks(folder: Path, planted: dict[str, str]) -> list[str]:
    """Artifacts in which one of the secrets is, in any form."""
    files = [path for path in (folder / "artifacts").rglob("*") if path.is_file()]
    assert len(files) > 10
    return [f"{path}: {names}" for path in files if (names := found(path.read_bytes(), planted))]


def private_data_dir(folder: Path) -> Path:
    """One of the test's own with what the checkout's has, so that a pid file in it is nobody else's."""
    made = folder / "runner"
    shutil.copytree(CHECKOUT / "runner" / "env", made / "env")
    (made / "project").symlink_to(CHECKOUT / "playbooks")
    (made / "inventory").symlink_to(CHECKOUT / "inventories" / "sandbox")
    return made


def test_L1_the_private_data_dir_is_whole_and_has_no_secret() -> None:
    home = CHECKOUT / "runner"
    assert (home / "project" / "alb_smoke.yml").is_file() and (home / "inventory" / "hosts.yml").is_file()
    assert [path.name for path in sorted((home / "env").iterdir())] == ["cmdline", "envvars", "settings"]
    # Empty, but there: ansible-runner would write --cmdline of one run into it, for every later one.
    assert (home / "env" / "cmdline").read_bytes() == b""


def test_L1_a_failed_run_has_ansibles_exit_code_and_says_in_its_events_what_failed(tmp_path: Path) -> None:
    smoke = started(tmp_path, {"papyrus_account_id": "999999999999"}).end()
    assert smoke.exit_code == 2
    assert (artifact(tmp_path, "rc"), artifact(tmp_path, "status")) == ("2", "failed")
    failed = [event for event in events(tmp_path) if event["event"] == "runner_on_failed"]
    assert "999999999999" in failed[0]["event_data"]["res"]["msg"]
    assert [event["counter"] for event in events(tmp_path)] == list(range(1, len(events(tmp_path)) + 1))
    assert leaks(tmp_path, known_secrets()) == []


def test_C6_sigterm_to_ansible_runner_cancels_and_the_guard_takes_the_run_down(tmp_path: Path) -> None:
    """It kills ansible-playbook with its process group (SIGKILL); the guard is in a session of its own."""
    running = started(tmp_path, {"papyrus_tag_prefix": TAG})
    running.wait_for(lambda: header_of(TAG), PATIENCE, 1)
    planted = known_secrets(header_of(TAG))
    running.signal(signal.SIGTERM)
    smoke = taken_down_by_the_guard(running)
    assert smoke.exit_code == 254
    assert "gone" in json.loads(smoke.item("alb_sg_verify_gone.json"))
    assert (artifact(tmp_path, "rc"), artifact(tmp_path, "status")) == ("254", "canceled")
    assert leaks(tmp_path, planted) == []
    assert events(tmp_path)[-1]["event"].startswith(("runner_", "playbook_on_task", "verbose"))


class Stopped:
    """A run under way that something else than a signal to ansible-runner ends; for `taken_down_by_the_guard`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, private_data_dir(folder)
        self.running = RunningSmoke.__new__(RunningSmoke)
        self.running.evidence_root, self.running.log = folder / "runs", self.home / "artifacts" / "job" / "stdout"
        self.running.started, self.running.extra = time.monotonic(), folder / "variables.json"
        variables = {"papyrus_evidence_root": str(folder / "runs"), "papyrus_ledger": str(folder / "ledger")}
        self.running.extra.write_text(json.dumps(variables), "utf-8")
        self.cmdline = shlex.join(["-e", f"@{self.running.extra}"])
        self.environ = {**os.environ, **PATH, "PAPYRUS_SANDBOX_ROOT": str(harness.SANDBOX_ROOT)}

    def wait_for_task(self, name: str, timeout: float = PATIENCE) -> None:
        deadline = time.monotonic() + timeout
        while name not in (self.running.output if self.running.log.exists() else ""):
            assert time.monotonic() < deadline, f"{name} was not begun in {timeout} s"
            time.sleep(0.2)


class Ended:
    """Stands for the process of a run that is over."""

    def __init__(self, code: int) -> None:
        self.code = code

    def poll(self) -> int:
        return self.code

    def wait(self, timeout: float | None = None) -> int:
        return self.code


@pytest.mark.soak
def test_C6_ansible_runner_stop_ends_the_playbook_and_the_guard_takes_the_run_down(tmp_path: Path) -> None:
    """`stop` kills the daemon alone; ansible-playbook loses its terminal, and ends at the next thing it has to say."""
    stopped = Stopped(tmp_path)

    def runner(verb: str, *arguments: str) -> int:
        line = [
            str(BIN / "ansible-runner"),
            verb,
            str(stopped.home),
            "-p",
            "alb_smoke.yml",
            "--ident",
            "job",
            *arguments,
        ]
        return subprocess.run(line, env=stopped.environ, cwd=CHECKOUT, check=False).returncode

    assert runner("start", "--cmdline", stopped.cmdline) == 0
    stopped.wait_for_task(PHASES["apply"])
    assert runner("is-alive") == 0
    assert runner("stop") == 0
    stopped.running.process = Ended(254)  # nobody has its exit code: the daemon is gone
    taken_down_by_the_guard(stopped.running)
    assert runner("is-alive") == 1


@pytest.mark.soak
def test_C6_the_cancel_callback_of_the_api_is_a_clean_teardown(tmp_path: Path) -> None:
    stopped, cancel, ended = Stopped(tmp_path), threading.Event(), []

    def play() -> None:
        ended.append(
            ansible_runner.run(
                private_data_dir=str(stopped.home), playbook="alb_smoke.yml", ident="job", cmdline=stopped.cmdline,
                envvars={}, suppress_env_files=True, quiet=True, cancel_callback=cancel.is_set,
            )
        )  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        for name, value in stopped.environ.items():
            patch.setenv(name, value)
        thread = threading.Thread(target=play)
        thread.start()
        stopped.wait_for_task(PHASES["apply"])
        cancel.set()
        thread.join(60)
    assert (ended[0].rc, ended[0].status) == (254, "canceled")
    stopped.running.process = Ended(254)
    taken_down_by_the_guard(stopped.running)
