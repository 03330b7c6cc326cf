"""ECS Exec's data channel without a sandbox: frames, words, characters, and what a fault may ask for."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.data_channel import agent, messages, words
from sandbox.data_channel.agent import Agent
from sandbox.data_channel.disturbances import Count, Disturbances
from sandbox.data_channel.messages import MalformedMessage, Message
from sandbox.data_channel.rules import as_go_says, output_goes_by_whole_characters
from sandbox.data_channel.terminal import Terminal
from sandbox.faults import Fault, FaultError
from tests.sandbox.exec_client import GOLDEN, make_frame, read_frame, uuid_of


def test_the_golden_frame_is_read_and_written_byte_for_byte() -> None:
    message = Message.unpack(GOLDEN)
    assert (message.kind, message.number, message.flags, message.payload_type) == ("input_stream_data", 2, 0, 1)
    assert (message.payload, message.created) == (b"payload", 1503434274948)
    assert str(message.identifier) == "dd01e56b-ff48-483e-a508-b5f073f31b16"
    assert message.pack() == GOLDEN


@given(st.binary(max_size=2000), st.integers(0, 2**62), st.integers(0, 12), st.uuids())
def test_a_frame_that_was_written_is_read_again(
    payload: bytes, number: int, payload_type: int, identifier: uuid.UUID
) -> None:
    message = Message(messages.OUTPUT, payload, number, messages.SYN, payload_type, identifier)
    assert Message.unpack(message.pack()) == message
    frame = read_frame(message.pack())
    assert (frame.kind, frame.number, frame.flags) == ("output_stream_data", number, 1)
    assert (frame.payload_type, frame.payload) == (payload_type, payload)
    assert uuid_of(frame.identifier) == str(identifier)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"", "no message"),
        (GOLDEN[:119], "no message"),
        (GOLDEN[:-1], "6 bytes of payload instead of 7"),
        (GOLDEN + b"x", "8 bytes of payload instead of 7"),
        (GOLDEN[:-1] + b"x", "not what its digest says"),
        (make_frame("input_stream_data", 0, b"x", 1, digest=b"\0" * 32), "not what its digest says"),
        (b"\0\0\0\0" + GOLDEN[4:], "header of 0 bytes"),
        (b"\xff\xff\xff\xff" + GOLDEN[4:], "no message"),
        (GOLDEN[:4] + b"\xff" * 32 + GOLDEN[36:], "no message"),
        (GOLDEN[:4] + b" " * 32 + GOLDEN[36:], "type ''"),
        (GOLDEN[:36] + b"\0\0\0\2" + GOLDEN[40:], "version 2"),
    ],
)
def test_what_is_no_frame_is_refused(frame: bytes, says: str) -> None:
    with pytest.raises(MalformedMessage, match=says):
        Message.unpack(frame)


@given(st.binary(max_size=300))
def test_no_bytes_whatever_break_the_reader(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        Message.unpack(data)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("", []),
        ("  ls\t-l \n", ["ls", "-l"]),
        ("sh -c 'echo \"a b\"; exit $?'", ["sh", "-c", 'echo "a b"; exit $?']),
        ("sh -c 'it'\"'\"'s'", ["sh", "-c", "it's"]),
        ("''", [""]),
        ("a''b\"c d\"", ["abc d"]),
        # Within double quotes a shell would keep this backslash.
        ('printf "a\\nb"', ["printf", "anb"]),
        (r"printf 'a\nb' c\ d", ["printf", r"a\nb", "c d"]),
        ("a#b # a comment\nc", ["a#b", "c"]),
        ("x; y && z | w > /tmp/v", ["x;", "y", "&&", "z", "|", "w", ">", "/tmp/v"]),
    ],
)
def test_a_command_becomes_words_as_the_agent_makes_them(command: str, expected: list[str]) -> None:
    assert words.split(command) == expected


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("sh -c 'echo", "EOF found when expecting closing quote"),
        ('sh "x', "EOF found when expecting closing quote"),
        ("sh \\", "EOF found after escape character"),
        ('"\\', "EOF found after escape character"),
    ],
)
def test_an_unfinished_command_is_refused_in_the_agents_words(command: str, says: str) -> None:
    with pytest.raises(words.UnfinishedCommand, match=says):
        words.split(command)


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1))
def test_words_in_single_quotes_come_out_as_they_went_in(given_words: list[str]) -> None:
    quoted = " ".join("'" + word.replace("'", "'\"'\"'") + "'" for word in given_words)
    assert words.split(quoted) == given_words


@given(st.text(st.characters(codec="utf-8", exclude_characters="\ufffd")), st.integers(1, 7))
def test_text_that_is_cut_anywhere_comes_out_whole(text: str, size: int) -> None:
    data, rest, sent = text.encode(), b"", b""
    for start in range(0, len(data), size):
        ready, rest = output_goes_by_whole_characters(rest + data[start : start + size])
        ready.decode()
        sent += ready
    assert sent == data
    assert rest == b""


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"abc\xff", (b"abc", b"\xff")),
        (b"\xffabc", (b"\xffabc", b"")),
        (b"a\xff\xfe\xfdbcd", (b"a\xff\xfe\xfdbcd", b"")),
        (b"ab\xe3\x81", (b"ab", b"\xe3\x81")),
        (b"\xe3abcd", (b"\xe3abcd", b"")),
        ("\ufffdabc".encode(), (b"\xefabc", b"")),
    ],
)
def test_what_is_no_character_is_passed_on_but_at_the_end(data: bytes, expected: tuple[bytes, bytes]) -> None:
    assert output_goes_by_whole_characters(data) == expected


@pytest.mark.parametrize(
    ("program", "error", "expected"),
    [
        ("/bin/bash", "x: No such file or directory: /bin/bash", "fork/exec /bin/bash: no such file or directory"),
        ("./x", "x: Permission denied: ./x", "fork/exec ./x: permission denied"),
        ("bash", "x: No such file or directory: bash", 'exec: "bash": executable file not found in $PATH'),
    ],
)
def test_a_program_that_is_not_there_is_told_as_go_tells_it(program: str, error: str, expected: str) -> None:
    assert as_go_says(program, error) == expected


def test_every_nth_is_counted() -> None:
    never, third = Count(0), Count(3)
    assert [never.due() for _ in range(4)] == [False] * 4
    assert [third.due() for _ in range(7)] == [False, False, True, False, False, True, False]


@pytest.mark.parametrize(
    ("stream", "says"),
    [
        ([1], "an object"),
        ({"dublicate": 1}, "unknown in `stream`: dublicate; there are duplicate"),
        ({"duplicate": True}, "`duplicate` is a number"),
        ({"duplicate": 1.5}, "`duplicate` is a number"),
        ({"duplicate": -1}, "`duplicate` is a number from 0"),
        ({"duplicate": None}, "`duplicate` is a number"),
        ({"cut_after": "1"}, "`cut_after` is a number"),
        ({"handshake": "firm"}, "`handshake` is one of agent, "),
    ],
)
def test_a_disturbance_that_makes_no_sense_is_refused(stream: object, says: str) -> None:
    with pytest.raises(FaultError, match=says):
        Fault.parse({"service": "ssmmessages", "operation": "OpenDataChannel", "stream": stream})


def test_disturbances_are_off_unless_they_are_named() -> None:
    assert Disturbances.parse({}) == Disturbances()
    assert Disturbances.parse({"cut_after": 0, "pause_seconds": 1}) == Disturbances(cut_after=0, pause_seconds=1)


class Writer:
    """A command that writes these pieces and ends."""

    def __init__(self, *pieces: bytes) -> None:
        self.left = list(pieces)

    async def read(self, most: int) -> bytes:
        return self.left.pop(0) if self.left else b""


def test_a_command_waits_when_nobody_acknowledges_its_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "MOST_UNACKNOWLEDGED", 5)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def scene() -> None:
        one, command = Agent(send), Writer(*(b"%d" % n for n in range(9)))
        pumping = asyncio.create_task(one.pump(cast(Terminal, command)))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert [message.payload for message in sent] == [b"0", b"1", b"2", b"3", b"4"]
        # One goes on for each that has arrived.
        await one.take(messages.acknowledgement(sent[2]))
        await one.take(messages.acknowledgement(sent[2]))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert len(sent) == 6
        while not pumping.done():
            for message in list(sent):
                await one.take(messages.acknowledgement(message))
            await asyncio.sleep(0.001)
        assert b"".join(message.payload for message in sent) == b"012345678"

    asyncio.run(scene())


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"x",
        b"[]",
        b"{}",
        b'{"AcknowledgedMessageSequenceNumber": "0"}',
        b'{"AcknowledgedMessageSequenceNumber": []}',
    ],
)
def test_an_acknowledgement_of_nothing_changes_nothing(payload: bytes) -> None:
    async def send(message: Message) -> None:
        assert message.kind == "output_stream_data"

    async def scene() -> None:
        one = Agent(send)
        await one.stream(messages.DATA, b"x")
        await one.take(Message(messages.ACKNOWLEDGE, payload))
        assert one.unacknowledged == 1
        await one.take(Message(messages.ACKNOWLEDGE, json.dumps({"AcknowledgedMessageSequenceNumber": 0}).encode()))
        assert one.unacknowledged == 0

    asyncio.run(scene())


def test_input_that_finds_no_room_comes_again_but_what_is_due_finds_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "MOST_AHEAD", 3)
    typed: list[bytes] = []
    acknowledged: list[int] = []

    async def send(message: Message) -> None:
        acknowledged.append(message.document()["AcknowledgedMessageSequenceNumber"])

    async def consume(message: Message) -> None:
        typed.append(message.payload)

    def frame(number: int) -> Message:
        return Message(messages.INPUT, b"%d" % number, number, 0, messages.DATA)

    async def scene() -> None:
        one = Agent(send)
        feeding = asyncio.create_task(one.feed(consume))
        for number in (4, 3, 2, 1, 0):
            await one.take(frame(number))
            for _ in range(10):
                await asyncio.sleep(0)
        assert (typed, sorted(acknowledged)) == ([b"0"], [0, 2, 3, 4])
        await one.take(frame(1))
        for _ in range(10):
            await asyncio.sleep(0)
        assert (typed, sorted(acknowledged)) == ([b"0", b"1", b"2", b"3", b"4"], [0, 1, 2, 3, 4])
        feeding.cancel()

    asyncio.run(scene())


def test_a_payload_that_is_no_object_is_no_document() -> None:
    for payload in (b"", b"[1]", b"1", b"\xff"):
        with pytest.raises(MalformedMessage):
            Message(messages.ACKNOWLEDGE, payload).document()
