"""What faults do to a data channel of ECS Exec: each the same way each time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.sandbox.ecs_stand import Stand
from tests.sandbox.exec_client import Client, Frame, opened, run, session, started
from tests.sandbox.support import Network, Sandbox, refused

# Ten frames of output, a tenth of a second apart, each with its own number, and time to send them again.
TEN = "sh -c 'for n in 0 1 2 3 4 5 6 7 8 9; do echo $n; sleep 0.1; done; sleep 1'"
ALL = b"".join(b"%d\r\n" % n for n in range(10))


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Iterator[Stand]:
    yield Stand.make(sandbox, network, "exec-faults")


@pytest.fixture(scope="module")
def task(stand: Stand) -> Iterator[str]:
    arn = started(stand, "faults")
    yield arn
    stand.stop(arn)


@pytest.fixture(autouse=True)
def off_afterwards(no_faults: Sandbox) -> Iterator[None]:
    yield


def disturb(stand: Stand, *, times: int = 1, match: dict[str, str] | None = None, **stream: Any) -> None:
    fault = {"service": "ssmmessages", "operation": "OpenDataChannel", "times": times, "stream": stream}
    stand.sandbox.faults({**fault, "match": match or {}})


def output_frames(client: Client) -> list[Frame]:
    return [frame for frame in client.frames if frame.kind == "output_stream_data"]


def numbers(client: Client) -> list[int]:
    return [frame.number for frame in output_frames(client)]


def test_frames_are_doubled(stand: Stand, task: str) -> None:
    disturb(stand, duplicate=3)
    client = run(stand, task, TEN)
    assert client.output == ALL
    doubled = [n for n in range(10) if numbers(client).count(n) == 2]
    assert doubled == [2, 5, 8]
    for number in doubled:
        first, second = [frame for frame in output_frames(client) if frame.number == number]
        assert first == second
    assert run(stand, task, "echo undisturbed").output == b"undisturbed\r\n"


def test_acknowledgements_are_doubled_as_well(stand: Stand, task: str) -> None:
    disturb(stand, duplicate=1)
    with opened(session(stand, task, "cat")) as client:
        client.send(b"x\n")
        client.until_acknowledged(0, times=2)


def test_output_comes_out_of_order(stand: Stand, task: str) -> None:
    disturb(stand, reorder=4)
    client = run(stand, task, TEN)
    assert client.output == ALL
    # What is held back may come again by itself before the next frame exists.
    seen = list(dict.fromkeys(numbers(client)))
    assert seen == [0, 1, 2, 4, 3, 5, 6, 7, 9, 8]


def test_output_is_lost_and_comes_again(stand: Stand, task: str) -> None:
    disturb(stand, lose_output=3)
    client = run(stand, task, TEN)
    assert client.output == ALL
    first = list(dict.fromkeys(numbers(client)))
    assert first != sorted(first)
    assert set(first) == set(range(10))


def test_damaged_output_comes_again_whole(stand: Stand, task: str) -> None:
    disturb(stand, corrupt=2)
    good: dict[int, bytes] = {}
    bad = 0
    with opened(session(stand, task, TEN)) as client:
        client.acknowledges = False
        while True:
            try:
                frame = client.receive()
            except AssertionError:
                # Its digest is not that of its payload.
                bad += 1
                continue
            if frame is None or frame.kind == "channel_closed":
                break
            if frame.kind == "output_stream_data":
                good[frame.number] = frame.payload
                client.acknowledge(frame)
    assert bad >= 5
    assert b"".join(good[number] for number in sorted(good)) == ALL


def test_acknowledgements_of_input_are_lost(stand: Stand, task: str) -> None:
    disturb(stand, lose_acks=2)
    with opened(session(stand, task, "cat")) as client:
        client.until_acknowledged(client.send(b"0\n"))
        lost = client.send(b"1\n")
        while client.output.count(b"1") < 2:
            client.receive()
        assert client.acknowledged() == [0]
        client.send(b"1\n", number=lost)
        client.until_acknowledged(lost)
        assert client.output.count(b"1") == 2


def test_input_is_lost(stand: Stand, task: str) -> None:
    disturb(stand, lose_input=2)
    with opened(session(stand, task, "cat")) as client:
        client.send(b"a", number=0)
        client.send(b"b", number=1)
        client.send(b"c\n", number=2)
        client.until_acknowledged(2)
        assert sorted(client.acknowledged()) == [0, 2]
        client.send(b"b", number=1)
        client.send(b"b", number=1)
        client.until_output(b"abc\r\nabc\r\n")


def test_acknowledgements_of_output_are_lost(stand: Stand, task: str) -> None:
    disturb(stand, lose_client_acks=2)
    client = run(stand, task, TEN)
    assert client.output == ALL
    assert [n for n in range(10) if numbers(client).count(n) > 1] != []


def test_everything_at_once_still_comes_whole(stand: Stand, task: str) -> None:
    disturb(stand, duplicate=3, reorder=4, lose_output=5, lose_acks=3, lose_input=4, lose_client_acks=3)
    assert run(stand, task, TEN).output == ALL


def test_publication_pauses(stand: Stand, task: str) -> None:
    disturb(stand, pause_after=1, pause_seconds=3)
    with opened(session(stand, task, "sh -c 'echo 0; cat'")) as client:
        client.until_output(b"0\r\n")
        paused = client.receive()
        assert paused is not None
        assert paused.kind == "pause_publication"
        begun = time.monotonic()
        client.send(b"unheard\n", number=0)
        resumed = client.receive()
        assert resumed is not None
        assert resumed.kind == "start_publication"
        assert 1 < time.monotonic() - begun < 8
        assert client.acknowledged() == []
        client.send(b"heard\n", number=0)
        client.until_output(b"heard\r\nheard\r\n")
        assert b"unheard" not in client.output


@pytest.mark.parametrize("after", [0, 1, 7])
def test_the_connection_is_cut(stand: Stand, task: str, after: int) -> None:
    disturb(stand, cut_after=after)
    with opened(session(stand, task, TEN)) as client:
        assert client.until_closed() is None
        with pytest.raises(ConnectionClosed) as closed:
            client.socket.recv(timeout=5)
    # Without a closing frame, as when a network fails.
    assert closed.value.rcvd is None
    assert len(client.output) == {0: 0, 1: 3, 7: 9}[after]


def test_the_command_is_killed(stand: Stand, task: str) -> None:
    disturb(stand, kill_after=7)
    client = run(stand, task, TEN)
    assert client.closing is not None
    assert client.closing.document["Output"] == ""
    assert client.output == ALL[:9]


def test_a_fault_is_for_the_sessions_that_it_names(stand: Stand, task: str) -> None:
    disturb(stand, times=2, match={"command": "*bad*", "task": f"*{task.rpartition('/')[2]}"}, cut_after=1)
    assert run(stand, task, "echo good").closing is not None
    assert run(stand, task, "echo bad").closing is None
    assert run(stand, task, "echo good").closing is not None
    assert run(stand, task, "echo bad").closing is None
    assert run(stand, task, "echo bad").closing is not None


def test_a_channel_is_late_or_refused(stand: Stand, task: str) -> None:
    fault = {"service": "ssmmessages", "operation": "OpenDataChannel", "times": 1}
    stand.sandbox.faults({**fault, "delay_seconds": 1}, {**fault, "code": "AccessDeniedException"})
    begun = time.monotonic()
    assert run(stand, task, "echo late").output == b"late\r\n"
    assert time.monotonic() - begun > 1
    with opened(session(stand, task, "echo never")) as client:
        with pytest.raises(ConnectionClosed) as closed:
            client.socket.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_an_agent_is_not_connected_as_often_as_a_fault_says(stand: Stand, task: str) -> None:
    stand.sandbox.faults(
        {
            "service": "ecs",
            "operation": "ExecuteCommand",
            "times": 2,
            "code": "TargetNotConnectedException",
            "message": "The execute command failed due to an internal error. Try again later.",
        }
    )
    for _ in range(2):
        with refused("TargetNotConnectedException", "Try again later", 400):
            session(stand, task)
    session(stand, task)
