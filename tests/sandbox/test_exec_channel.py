"""ECS Exec's data channel: who may open it, that a command's terminal is at its other end, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.sandbox.ecs_stand import SLEEPER, Stand, address
from tests.sandbox.exec_client import GOLDEN, Client, first_message, make_frame, opened, run, session, started
from tests.sandbox.support import Network, Sandbox, children_of_state, make_network, open_folder, until


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Iterator[Stand]:
    yield Stand.make(sandbox, network, "exec-channel")


@pytest.fixture(scope="module")
def task(stand: Stand) -> Iterator[str]:
    arn = started(stand, "channel", environment=[{"name": "GREETING", "value": "good day"}])
    yield arn
    stand.stop(arn)


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def pid_in(client: Client) -> int:
    """The number on the line that begins with `pid`."""
    client.until_output(b"\n")
    return int(client.output.split(b"pid ")[1].split()[0])


# Who may open it


@pytest.mark.behaviour("ssmmessages.token_opens_the_channel")
def test_only_the_token_opens_a_channel_and_only_once(stand: Stand, task: str) -> None:
    given = session(stand, task, "echo once")
    token, other = given["tokenValue"], session(stand, task)["tokenValue"]
    wrong = [first_message("wrong"), first_message(""), first_message(other), first_message(token[:-1])]
    for first in (*wrong, "no JSON", "[]", "{}", first_message(token).encode()):
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


def test_two_clients_at_the_same_time_open_one_channel(stand: Stand, task: str) -> None:
    given = session(stand, task, "echo one")
    with connect(given["streamUrl"]) as first, connect(given["streamUrl"]) as second:
        for socket in (first, second):
            socket.send(first_message(given["tokenValue"]))
        begun = []
        for socket in (first, second):
            try:
                socket.recv(timeout=5)
                begun.append(socket)
            except ConnectionClosed as closed:
                assert closed.rcvd is not None
                assert closed.rcvd.code == 1008
        assert len(begun) == 1


def test_nobody_else_finds_a_channel(stand: Stand, task: str) -> None:
    given = session(stand, task)
    start = stand.sandbox.endpoint.replace("http://", "ws://")
    for url in (f"{start}/v1/data-channel/ecs-execute-command-unknown", f"{start}/", f"{start}/v1/data-channel/"):
        with pytest.raises(InvalidStatus) as refused:
            connect(url)
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus):
        connect(given["streamUrl"], origin="http://somewhere.example")


# The command


def test_a_command_runs_and_its_end_closes_the_channel(stand: Stand, task: str) -> None:
    given = session(stand, task, "sh -c 'echo hello; exit 7'")
    with opened(given) as client:
        last = client.until_closed()
        assert last is not None
        with pytest.raises(ConnectionClosed) as closed:
            client.socket.recv(timeout=5)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1000
    assert client.output == b"hello\r\n"
    assert client.frames[0].kind == "start_publication"
    assert [frame.number for frame in client.frames if frame.kind == "output_stream_data"] == [0]
    assert client.frames[1].flags == 1
    document = last.document
    assert (document["SessionId"], document["MessageType"]) == (given["sessionId"], "channel_closed")
    assert (document["SchemaVersion"], document["Output"]) == (1, "")
    assert document["DestinationId"].startswith(f"ecs:{stand.cluster}_{task.rpartition('/')[2]}_")
    # It is a terminal: nobody tells an exit code.
    assert {frame.payload_type for frame in client.frames[1:-1]} == {1}


def test_it_has_the_environment_folder_and_address_of_the_task(stand: Stand, task: str) -> None:
    said = run(stand, task, "sh -c 'env; pwd; ls'").output.decode().splitlines()
    variables = dict(line.partition("=")[::2] for line in said if "=" in line)
    assert (variables["GREETING"], variables["TERM"], variables["LANG"]) == (
        "good day",
        "xterm-256color",
        "C.UTF-8",
    )
    assert variables["SANDBOX_TASK_IP"] == address(stand.task(task))
    assert said[-1] == "x.py"
    program = "import os, sys; print(os.environ['HOME'], open(sys.argv[1]).readline().strip())"
    home, line = run(stand, task, f'python3 -c "{program}" /app/x.py').output.decode().split(maxsplit=1)
    assert (home, line.strip()) == (variables["HOME"], SLEEPER.splitlines()[0])
    assert os.path.isdir(home)


def test_it_has_a_terminal_of_its_own(stand: Stand, task: str) -> None:
    program = "import os; print(os.getsid(0) == os.getpid(), os.ttyname(0), os.tcgetpgrp(0) == os.getpgrp())"
    output = run(stand, task, f"python3 -c '{program}'").output
    assert output.startswith(b"True /dev/pts/")
    assert output.endswith(b" True\r\n")


@pytest.mark.behaviour("ssmmessages.command_is_started_without_a_shell")
def test_no_shell_is_between_the_agent_and_the_command(stand: Stand, task: str) -> None:
    assert run(stand, task, "echo $HOME '*' \"a\\nb\" && exit").output == b"$HOME * anb && exit\r\n"


@pytest.mark.behaviour("ssmmessages.failure_is_told_at_the_close")
@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("/no/such -x", "Unable to start command: Failed to start pty: fork/exec /no/such: no such file or directory"),
        (
            "no-such",
            'Unable to start command: Failed to start pty: exec: "no-such": executable file not found in $PATH',
        ),
        ("sh -c 'x", "Unable to start command: Failed to parse commands input: EOF found when expecting closing quote"),
    ],
)
def test_what_cannot_be_started_ends_the_session(stand: Stand, task: str, command: str, says: str) -> None:
    client = run(stand, task, command)
    assert client.output == b""
    assert client.closing is not None
    assert client.closing.document["Output"].strip() == f"----------ERROR-------\n{says}"


def test_output_of_any_size_and_kind_comes_whole(stand: Stand, task: str) -> None:
    program = "import os; [os.write(1, bytes([n % 9 + 0xe1, 0x81, 0x82]) * 5000) for n in range(20)]; print('.')"
    client = run(stand, task, f'python3 -c "{program}"')
    assert client.output == b"".join(bytes([n % 9 + 0xE1, 0x81, 0x82]) * 5000 for n in range(20)) + b".\r\n"
    sizes = [len(frame.payload) for frame in client.frames if frame.kind == "output_stream_data"]
    assert max(sizes) <= 1024
    for frame in client.frames[1:-1]:
        frame.payload.decode()


@pytest.mark.behaviour("ssmmessages.output_goes_by_whole_characters")
def test_bytes_that_are_no_character_pass_but_for_the_last(stand: Stand, task: str) -> None:
    client = run(stand, task, "printf 'a\\377b\\001cdef\\376'")
    assert client.output == b"a\xffb\x01cdef"


# Input


def test_what_is_typed_reaches_the_terminal_and_is_acknowledged(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "sh")) as client:
        client.send(b'{"cols":101,"rows":7}', payload_type=3)
        number = client.send(b"stty size; echo $TERM $((6 * 7))\n")
        client.until_output(b" 42\r\n")
        client.until_acknowledged(number)
        assert b"7 101" in client.output
        assert client.acknowledged() == [0, 1]
        client.send(b"exit\n")
        assert client.until_closed() is not None


def test_a_control_character_interrupts_the_command(stand: Stand, task: str) -> None:
    with opened(
        session(stand, task, "sh -c 'trap \"echo caught; exit\" INT; echo ready; while :; do sleep 0.1; done'")
    ) as client:
        client.until_output(b"ready")
        client.send(b"\x03")
        assert client.until_closed() is not None
        assert client.output.endswith(b"caught\r\n")


def test_a_size_that_is_none_changes_nothing(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "sh")) as client:
        for payload in (b"x", b"[]", b'{"cols":-1,"rows":1}', b'{"cols":"1","rows":2}', b'{"cols":99999,"rows":1}'):
            client.until_acknowledged(client.send(payload, payload_type=3))
        # A flag is none of an interactive command's business.
        client.until_acknowledged(client.send((2).to_bytes(4, "big"), payload_type=10))
        client.send(b"stty size\n")
        client.until_output(b"0 0\r\n")


def test_the_golden_frame_is_accepted(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "cat")) as client:
        client.send(b"1-")
        client.send(b"2-")
        client.socket.send(GOLDEN)
        client.until_acknowledged(2)
        acknowledgement = client.frames[-1]
        assert acknowledgement.document == {
            "AcknowledgedMessageType": "input_stream_data",
            "AcknowledgedMessageId": "dd01e56b-ff48-483e-a508-b5f073f31b16",
            "AcknowledgedMessageSequenceNumber": 2,
            "IsSequentialMessage": True,
        }
        assert (acknowledgement.number, acknowledgement.flags) == (0, 3)
        client.send(b"\n", number=3)
        client.until_output(b"1-2-payload\r\n1-2-payload\r\n")


@pytest.mark.behaviour("ssmmessages.input_comes_but_once")
def test_a_frame_that_comes_again_is_acknowledged_and_typed_once(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "cat")) as client:
        for times in (1, 2, 3):
            client.send(b"once\n", number=0)
            client.until_acknowledged(0, times)
        # The echo of a line may come before what cat says of the last one.
        client.until_output(b"once\r\nonce\r\n")
        client.send(b"then\n", number=1)
        client.until_output(b"then\r\nthen\r\n")
        assert client.output.count(b"once") == 2


@pytest.mark.behaviour("ssmmessages.input_ahead_of_its_turn_is_kept")
def test_a_frame_ahead_of_its_turn_waits_for_it(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "cat")) as client:
        client.send(b"c\n", number=2)
        client.until_acknowledged(2)
        client.send(b"b", number=1)
        client.until_acknowledged(1)
        client.send(b"b", number=1)
        client.until_acknowledged(1, times=2)
        assert client.output == b""
        client.send(b"a", number=0)
        client.until_output(b"abc\r\nabc\r\n")
        client.until_acknowledged(0)
        assert sorted(client.acknowledged()) == [0, 1, 1, 2]


def test_a_damaged_frame_is_not_acknowledged(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "cat")) as client:
        client.send(b"bad\n", number=0, digest=b"\0" * 32)
        client.send(b"bad\n", number=0, length=3)
        client.socket.send(b"no frame")
        client.socket.send("a text")
        client.send(b"good\n", number=0)
        client.until_output(b"good\r\ngood\r\n")
        assert client.acknowledged() == [0]
        assert b"bad" not in client.output


def test_a_line_is_cut_where_the_kernel_cuts_it(stand: Stand, task: str) -> None:
    """The limit of a terminal in canonical mode; in raw mode there is none."""
    program = "import os, sys; os.system('stty -echo'); print('go', flush=True); print('length', len(input()))"
    with opened(session(stand, task, f'python3 -c "{program}"')) as client:
        client.until_output(b"go")
        for _ in range(6):
            client.send(b"x" * 1000)
        client.send(b"\n")
        client.until_output(b"length 4095")


def test_input_that_nobody_reads_stops_nothing_else(stand: Stand, task: str) -> None:
    """The command's output goes on, and what is not typed is not acknowledged."""
    with opened(session(stand, task, "sh -c 'stty raw -echo; echo go; sleep 3; echo still here'")) as client:
        client.until_output(b"go")
        for _ in range(200):
            client.send(b"x" * 1000)
        client.until_output(b"still here", 20)
        assert 0 < len(client.acknowledged()) < 200


# Acknowledgements


@pytest.mark.behaviour("ssmmessages.output_is_sent_again")
def test_output_comes_again_until_it_is_acknowledged(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "sh -c 'echo again; sleep 60'")) as client:
        client.acknowledges = False
        begun = time.monotonic()
        client.until_output(b"again")
        seen = [client.receive() for _ in range(3)]
        assert time.monotonic() - begun > 0.6
        assert {(frame.number, frame.payload) for frame in seen if frame} == {(0, b"again\r\n")}
        client.acknowledge(client.frames[-1])
        with pytest.raises(TimeoutError):
            client.receive(2)


def test_the_end_waits_for_acknowledgements_but_not_for_ever(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "echo last words")) as client:
        client.acknowledges = False
        begun = time.monotonic()
        assert client.until_closed() is not None
        assert 1.5 < time.monotonic() - begun < 5


# Ends


def test_the_command_ends_with_its_client(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "sh -c 'echo pid $$; sleep 600'")) as client:
        pid = pid_in(client)
    until(lambda: gone(pid), "the command's end", 5)


def test_a_command_that_minds_no_hangup_is_killed_with_all_that_it_left(stand: Stand, task: str) -> None:
    script = 'trap "" HUP; (trap "" HUP; sleep 601) & echo pid $! $$; while :; do sleep 1; done'
    with opened(session(stand, task, f"sh -c '{script}'")) as client:
        client.until_output(b"\n")
        pids = [int(word) for word in client.output.split()[1:]]
        client.socket.socket.close()
    until(lambda: all(gone(pid) for pid in pids), "their end", 5)


def test_what_a_command_leaves_behind_ends_with_the_session(stand: Stand, task: str) -> None:
    client = run(stand, task, "sh -c 'setsid sleep 602 </dev/null >/dev/null 2>&1 & echo pid $!'")
    until(lambda: gone(pid_in(client)), "its end", 5)


@pytest.mark.behaviour("ssmmessages.session_ends_with_its_container")
def test_a_session_ends_with_its_task(stand: Stand) -> None:
    arn = started(stand, "ending")
    with opened(session(stand, arn, "sh -c 'trap \"\" HUP; echo pid $$; sleep 603; sleep 603'")) as client:
        pid = pid_in(client)
        stand.stop(arn)
        closing = client.until_closed()
    assert closing is not None
    until(lambda: gone(pid), "the command's end", 5)
    assert stand.until_task(arn, "STOPPED")["containers"][0]["exitCode"] == 143


def test_a_killed_command_ends_its_session_only(stand: Stand, task: str) -> None:
    with opened(session(stand, task, "sh -c 'echo pid $$; sleep 604'")) as client:
        os.kill(pid_in(client), signal.SIGKILL)
        closing = client.until_closed()
    assert closing is not None
    assert closing.document["Output"] == ""
    assert run(stand, task, "echo next").output == b"next\r\n"


@pytest.mark.behaviour("ssmmessages.session_ends_when_idle")
def test_a_session_in_which_nothing_happens_ends(stand: Stand, task: str) -> None:
    with stand.sandbox.switched(exec_idle_seconds=1), opened(session(stand, task, "cat")) as client:
        begun = time.monotonic()
        client.send(b"x\n")
        assert client.until_closed() is not None
        assert 0.8 < time.monotonic() - begun < 4


def test_a_command_can_outlive_its_client_as_on_aws(stand: Stand, task: str) -> None:
    with stand.sandbox.switched(exec_linger_seconds=2):
        with opened(session(stand, task, "sh -c 'echo pid $$; sleep 605'")) as client:
            pid = pid_in(client)
        time.sleep(1)
        assert not gone(pid)
        until(lambda: gone(pid), "its end", 5)


def test_first_output_can_wait_as_the_agents_does(stand: Stand, task: str) -> None:
    with stand.sandbox.switched(exec_output_seconds=1):
        begun = time.monotonic()
        assert run(stand, task, "echo late").output == b"late\r\n"
        assert time.monotonic() - begun > 1


def test_many_sessions_at_the_same_time_keep_apart(stand: Stand, task: str) -> None:
    given = [session(stand, task, f"sh -c 'read line; echo {n} $line'") for n in range(8)]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(opened(one)) for one in given]
        for n, client in reversed(list(enumerate(clients))):
            client.send(f"of {n}\n".encode())
        for n, client in enumerate(clients):
            client.until_output(f"{n} of {n}\r\n".encode())
            assert client.until_closed() is not None


def test_no_token_is_in_a_log_or_record(stand: Stand, task: str) -> None:
    given = session(stand, task, "echo secret")
    with opened(given) as client:
        client.until_closed()
    home = stand.sandbox.root / ".sandbox"
    assert given["sessionId"] in (home / "sandbox.log").read_text()
    token = given["tokenValue"]
    assert token not in (home / "sandbox.log").read_text()
    assert token not in json.dumps(stand.sandbox.calls())
    for file in (home / "state").glob("audit.sqlite*"):
        assert token.encode() not in file.read_bytes()


def test_nothing_of_a_session_outlives_its_sandbox(sandbox: Sandbox) -> None:
    with open_folder() as root:
        other = Sandbox(root).up()
        try:
            stand = Stand.make(other, make_network(other), "exec-down")
            arn = started(stand, "down")
            stubborn = "sh -c 'trap \"\" HUP TERM; echo up; while :; do sleep 606; done'"
            with opened(session(stand, arn, stubborn)) as client:
                client.until_output(b"up")
                begun = time.monotonic()
                other.down()
                assert time.monotonic() - begun < 10
                assert client.until_closed() is None
            until(lambda: children_of_state(root / ".sandbox" / "state") == [], "their end", 5)
        finally:
            other.down()


def test_a_frame_is_made_as_it_is_read() -> None:
    """The tests' own frames, held against the golden one."""
    made = make_frame("input_stream_data", 2, b"payload", 1)
    assert (made[:40], made[48:64], made[80:]) == (GOLDEN[:40], GOLDEN[48:64], GOLDEN[80:])
