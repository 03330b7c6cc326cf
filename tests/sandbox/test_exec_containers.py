"""ECS Exec where tasks are containers (PAPYRUS_SANDBOX_ENGINE), with the engine that is here."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandbox.ecs_stand import SLEEPER, Stand
from tests.sandbox.exec_client import agent_status, opened, run, session
from tests.sandbox.support import Sandbox, make_network, open_folder, until
from tests.sandbox.test_core_containers import ENGINE, on_base, with_engine


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with open_folder() as root, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPYRUS_SANDBOX_ENGINE", ENGINE)
        running = Sandbox(root)
        try:
            yield Stand.make(running.up(), make_network(running), "exec-boxes")
        finally:
            running.down()


@pytest.fixture(scope="module")
def task(stand: Stand) -> str:
    container = {"image": on_base(stand, SLEEPER), "environment": [{"name": "GREETING", "value": "hi"}]}
    arn = stand.run(stand.define("boxed", {**container, "stopTimeout": 2}), enableExecuteCommand=True)
    stand.until_task(arn, "RUNNING")
    until(lambda: agent_status(stand, arn) == "RUNNING", "the agent")
    return arn


def sleepers(seconds: int) -> list[str]:
    """Pids of `sleep` for so long, wherever they run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", str(seconds).encode()]:
            found.append(entry.name)
    return found


@with_engine
def test_a_command_runs_inside_the_container_on_a_terminal(stand: Stand, task: str) -> None:
    client = run(stand, task, "sh -c 'echo $GREETING $TERM; tty; pwd; cat /app/x.py; hostname'")
    said = client.output.decode().splitlines()
    assert said[0] == "hi xterm-256color"
    assert said[1].startswith("/dev/pts/")
    assert said[2] == "/app"
    assert said[3] == SLEEPER.splitlines()[0]
    with opened(session(stand, task, "sh")) as other:
        other.send(b'{"cols":101,"rows":7}', payload_type=3)
        other.send(b"sleep 0.3; stty size\n")
        other.until_output(b"7 101")
        other.send(b"exit\n")
        assert other.until_closed() is not None


@with_engine
def test_nothing_of_a_session_stays_in_the_container(stand: Stand, task: str) -> None:
    stubborn = "sh -c 'trap \"\" HUP; setsid sleep 717 & echo up; while :; do sleep 718; done'"
    with opened(session(stand, task, stubborn)) as client:
        client.until_output(b"up")
        until(lambda: sleepers(717) and sleepers(718), "both")
    until(lambda: sleepers(717) + sleepers(718) == [], "their end", 10)
    assert run(stand, task, "echo next").output == b"next\r\n"


@with_engine
def test_a_session_ends_with_its_container(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "sh -c 'echo up; sleep 719'")) as client:
        client.until_output(b"up")
        begun = time.monotonic()
        stand.stop(task)
        assert client.until_closed() is not None
        assert time.monotonic() - begun < 10
    assert sleepers(719) == []
