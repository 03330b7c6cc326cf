"""The agent's end of one session: output in numbered frames until each is acknowledged, input in its order.

Times and sizes are those of agent/session/config in https://github.com/aws/amazon-ssm-agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sandbox.data_channel import messages
from sandbox.data_channel.messages import MalformedMessage, Message

if TYPE_CHECKING:
    from sandbox.data_channel.terminal import Terminal

PAYLOAD = 1024
RESEND_GLANCE, FIRST_TIMEOUT, LAST_TIMEOUT = 0.1, 0.2, 1.0
# After a read that found little, so that a burst of small writes becomes one frame.
PUMP_PAUSE = 0.001
# How long the end of a session waits for acknowledgements.
FLUSH_SECONDS, FLUSH_GLANCE = 2.0, 0.01
# Fewer than the agent's 100,000: where it would lose output, the command waits here.
MOST_UNACKNOWLEDGED, MOST_AHEAD = 10_000, 1_000
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
LONGEST_CHARACTER = 4


@dataclass
class Sent:
    """A frame that was not acknowledged yet."""

    frame: bytes
    at: float = field(default_factory=time.monotonic)
    timeout: float = FIRST_TIMEOUT


class Agent:
    """Lives in one event loop; `send` takes whole frames."""

    def __init__(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        self._send = send
        self._sent: dict[int, Sent] = {}
        self._next = 0
        self._room = asyncio.Event()
        self._room.set()
        self._expected = 0
        self._waiting: dict[int, Message] = {}
        self._acknowledged: set[int] = set()
        self._arrived = asyncio.Event()
        # When something last went in or out: a session without it ends.
        self.active = time.monotonic()

    # Output

    async def pump(self, terminal: Terminal) -> None:
        """All that the command writes; returns when it is at its end and acknowledged, or not in time."""
        rest = b""
        while data := await terminal.read(PAYLOAD - len(rest)):
            ready, rest = sendable(rest + data)
            if ready:
                await self.stream(messages.DATA, ready)
            await asyncio.sleep(0 if len(data) > PAYLOAD / 2 else PUMP_PAUSE)
        deadline = time.monotonic() + FLUSH_SECONDS
        while self._sent and time.monotonic() < deadline:
            await asyncio.sleep(FLUSH_GLANCE)

    async def stream(self, payload_type: int, payload: bytes) -> None:
        """Send a frame of the output stream, now and until it is acknowledged."""
        await self._room.wait()
        number = self._next
        self._next += 1
        flags = messages.SYN if number == 0 else 0
        frame = Message(messages.OUTPUT, payload, number, flags, payload_type).pack()
        self._sent[number] = Sent(frame)
        if len(self._sent) >= MOST_UNACKNOWLEDGED:
            self._room.clear()
        self.active = time.monotonic()
        await self._send(frame)

    async def resend(self) -> None:
        """Without end: the oldest frame again, when it waits for its acknowledgement for too long."""
        while True:
            await asyncio.sleep(RESEND_GLANCE)
            oldest = next(iter(self._sent.values()), None)
            if oldest is not None and time.monotonic() - oldest.at > oldest.timeout:
                oldest.at = time.monotonic()
                oldest.timeout = min(oldest.timeout * 2, LAST_TIMEOUT)
                await self._send(oldest.frame)

    # Input

    async def take(self, message: Message) -> None:
        """A message of the client; what is none of the agent's business is left alone."""
        if message.kind == messages.ACKNOWLEDGE:
            with contextlib.suppress(MalformedMessage):
                self._sent.pop(message.document().get("AcknowledgedMessageSequenceNumber", -1), None)
            if len(self._sent) < MOST_UNACKNOWLEDGED:
                self._room.set()
        elif message.kind == messages.INPUT:
            await self._take_input(message)

    async def _take_input(self, message: Message) -> None:
        number = message.number
        if number < self._expected or number in self._acknowledged:
            await self.acknowledge(message)
        elif number not in self._waiting and len(self._waiting) < MOST_AHEAD:
            self._waiting[number] = message
            if number != self._expected and self._expected not in self._waiting:
                # Ahead of its turn: kept. What only waits for its forerunners to be typed is acknowledged after them.
                self._acknowledged.add(number)
                await self.acknowledge(message)
            self._arrived.set()

    async def feed(self, consume: Callable[[Message], Awaitable[None]]) -> None:
        """Without end: each message of the input stream in its turn, acknowledged once it is consumed."""
        while True:
            while self._expected not in self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            message = self._waiting[self._expected]
            self.active = time.monotonic()
            with contextlib.suppress(MalformedMessage):
                await consume(message)
            if message.number not in self._acknowledged:
                await self.acknowledge(message)
            self._acknowledged.discard(message.number)
            del self._waiting[message.number]
            self._expected += 1

    async def acknowledge(self, message: Message) -> None:
        await self._send(messages.acknowledgement(message).pack())


def sendable(data: bytes) -> tuple[bytes, bytes]:
    """(what the agent sends of it, what it keeps until more has come).

    It looks for whole characters of UTF-8. What is none is passed on byte by byte, but at the very end, where it may be
    cut, kept; and of a true U+FFFD, which Go takes for an error of its own, only the first byte is passed on
    (ShellPlugin.processStdoutData in agent/session/shell/shell.go).
    """
    with contextlib.suppress(UnicodeDecodeError):
        if REPLACEMENT not in data.decode():
            return data, b""
    sent = bytearray()
    place = 0
    while place < len(data):
        character = _character(data[place : place + LONGEST_CHARACTER])
        if character and character != REPLACEMENT:
            size = len(character.encode())
            sent += data[place : place + size]
            place += size
        elif len(data) - place < LONGEST_CHARACTER:
            break
        else:
            sent.append(data[place])
            place += len(character.encode()) if character else 1
    return bytes(sent), data[place:]


def _character(data: bytes) -> str:
    """The character that these bytes begin with, if they do."""
    for size in range(1, len(data) + 1):
        with contextlib.suppress(UnicodeDecodeError):
            return data[:size].decode()
    return ""
