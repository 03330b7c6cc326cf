"""ECS Exec's data channel: who may open it, and that a command's terminal is at its other end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.sandbox.ecs_stand import SLEEPER, Stand
from tests.sandbox.exec_client import first_message, opened
from tests.sandbox.support import Network, Sandbox, until


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Iterator[Stand]:
    yield Stand.make(sandbox, network, "exec-channel")


@pytest.fixture(scope="module")
def task(stand: Stand) -> Iterator[str]:
    arn = stand.run(stand.define("channel", {"image": stand.image(SLEEPER)}), enableExecuteCommand=True)
    until_connected(stand, arn)
    yield arn
    stand.stop(arn)


def until_connected(stand: Stand, arn: str) -> None:
    stand.until_task(arn, "RUNNING")
    until(lambda: stand.task(arn)["containers"][0]["managedAgents"][0]["lastStatus"] == "RUNNING", "the agent")


def session(stand: Stand, arn: str, command: str = "true") -> dict[str, Any]:
    answer = stand.ecs.execute_command(cluster=stand.cluster, task=arn, command=command, interactive=True)
    found: dict[str, Any] = answer["session"]
    return found


def test_a_command_runs_and_its_end_closes_the_channel(stand: Stand, task: str) -> None:
    given = session(stand, task, "sh -c 'echo hello; exit 7'")
    with opened(given) as client:
        last = client.until_closed()
    assert client.output == b"hello\r\n"
    assert last is not None
    assert last.document["SessionId"] == given["sessionId"]
    assert client.frames[0].kind == "start_publication"


def test_what_is_typed_reaches_the_terminal_and_is_acknowledged(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "sh")) as client:
        client.send(b'{"cols":101,"rows":7}', payload_type=3)
        number = client.send(b"stty size; tty; echo $TERM $((6 * 7))\n")
        client.until_output(b"42")
        client.until_acknowledged(number)
        assert b"7 101" in client.output
        assert b"/dev/pts/" in client.output
        assert b"xterm-256color 42" in client.output
        client.send(b"exit\n")
        assert client.until_closed() is not None


def test_only_the_token_opens_a_channel_and_only_once(stand: Stand, task: str) -> None:
    given = session(stand, task, "echo once")
    for first in (first_message("wrong"), "no JSON", "[]", first_message(given["tokenValue"]).encode()):
        with connect(given["streamUrl"]) as socket:
            socket.send(first)
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv(timeout=5)
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
    with opened(given) as client:
        assert client.until_closed() is not None
        assert client.output == b"once\r\n"
    with pytest.raises(InvalidStatus) as refused:
        connect(given["streamUrl"])
    assert refused.value.response.status_code == 403
