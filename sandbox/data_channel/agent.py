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
from sandbox.data_channel.rules import (
    input_ahead_of_its_turn_is_kept,
    input_comes_but_once,
    output_goes_by_whole_characters,
    output_is_sent_again,
)

if TYPE_CHECKING:
    from sandbox.data_channel.handshake import Cipher
    from sandbox.data_channel.terminal import Terminal

PAYLOAD = 1024
RESEND_GLANCE, FIRST_TIMEOUT, LAST_TIMEOUT = 0.1, 0.2, 1.0
# After a read that found little, so that a burst of small writes becomes one frame.
PUMP_PAUSE = 0.001
# How long the end of a session waits for acknowledgements.
FLUSH_SECONDS, FLUSH_GLANCE = 2.0, 0.01
# Fewer than the agent's 100,000: where it would lose output, the command waits here.
MOST_UNACKNOWLEDGED, MOST_AHEAD = 10_000, 1_000
# Of what is copied to CloudWatch Logs at the end.
LONGEST_TRANSCRIPT = 1024 * 1024


@dataclass
class Sent:
    """A frame that was not acknowledged yet."""

    message: Message
    at: float = field(default_factory=time.monotonic)
    timeout: float = FIRST_TIMEOUT


class Agent:
    """Lives in one event loop."""

    def __init__(self, send: Callable[[Message], Awaitable[None]]) -> None:
        self._send = send
        self.cipher: Cipher | None = None
        self.transcript = bytearray()
        # When something last went in or out.
        self.active = time.monotonic()
        self._sent: dict[int, Sent] = {}
        self._next = 0
        self._room = asyncio.Event()
        self._room.set()
        self._expected = 0
        self._waiting: dict[int, Message] = {}
        self._acknowledged: set[int] = set()
        self._arrived = asyncio.Event()

    @property
    def unacknowledged(self) -> int:
        return len(self._sent)

    # Output

    async def pump(self, terminal: Terminal) -> None:
        """All that the command writes; returns when it is at its end and acknowledged, or not in time."""
        rest = b""
        while data := await terminal.read(PAYLOAD - len(rest)):
            ready, rest = output_goes_by_whole_characters(rest + data)
            if ready:
                self.transcript += ready[: LONGEST_TRANSCRIPT - len(self.transcript)]
                await self.stream(messages.DATA, self.cipher.encrypt(ready) if self.cipher else ready)
            await asyncio.sleep(0 if len(data) > PAYLOAD / 2 else PUMP_PAUSE)
        await self.flush()

    async def flush(self) -> None:
        deadline = time.monotonic() + FLUSH_SECONDS
        while self._sent and time.monotonic() < deadline:
            await asyncio.sleep(FLUSH_GLANCE)

    async def stream(self, payload_type: int, payload: bytes) -> None:
        """Send a frame of the output stream, now and until it is acknowledged."""
        await self._room.wait()
        flags = messages.SYN if self._next == 0 else 0
        message = Message(messages.OUTPUT, payload, self._next, flags, payload_type)
        self._next += 1
        self._sent[message.number] = Sent(message)
        if len(self._sent) >= MOST_UNACKNOWLEDGED:
            self._room.clear()
        self.active = time.monotonic()
        await self._send(message)

    async def resend(self) -> None:
        """Without end: the oldest frame again, when it waits for its acknowledgement for too long."""
        while True:
            await asyncio.sleep(RESEND_GLANCE)
            oldest = next(iter(self._sent.values()), None)
            if oldest is not None and output_is_sent_again(time.monotonic() - oldest.at, oldest.timeout):
                oldest.at = time.monotonic()
                oldest.timeout = min(oldest.timeout * 2, LAST_TIMEOUT)
                await self._send(oldest.message)

    # Input

    async def take(self, message: Message) -> None:
        """A message of the client; what is none of the agent's business is left alone."""
        if message.kind == messages.ACKNOWLEDGE:
            with contextlib.suppress(MalformedMessage):
                number = message.document().get("AcknowledgedMessageSequenceNumber")
                if isinstance(number, int):
                    self._sent.pop(number, None)
            if len(self._sent) < MOST_UNACKNOWLEDGED:
                self._room.set()
        elif message.kind == messages.INPUT:
            await self._take_input(message)

    async def _take_input(self, message: Message) -> None:
        number = message.number
        if number in self._acknowledged or input_comes_but_once(number, self._expected):
            await self._acknowledge(message)
        elif number in self._waiting or (len(self._waiting) >= MOST_AHEAD and number != self._expected):
            return
        elif input_ahead_of_its_turn_is_kept(number, self._expected):
            self._waiting[number] = message
            self._arrived.set()

    async def feed(self, consume: Callable[[Message], Awaitable[None]]) -> None:
        """Without end: each message of the input stream in its turn, acknowledged once it is consumed."""
        while True:
            while self._expected not in self._waiting:
                self._arrived.clear()
                await self._acknowledge_those_ahead()
                await self._arrived.wait()
            message = self._waiting[self._expected]
            self.active = time.monotonic()
            with contextlib.suppress(MalformedMessage):
                await consume(message)
            if message.number not in self._acknowledged:
                await self._acknowledge(message)
            self._acknowledged.discard(message.number)
            del self._waiting[message.number]
            self._expected += 1

    async def _acknowledge_those_ahead(self) -> None:
        """What only waits for its forerunners to be typed is acknowledged after them, what is ahead of its turn now."""
        for message in [message for number, message in self._waiting.items() if number not in self._acknowledged]:
            self._acknowledged.add(message.number)
            await self._acknowledge(message)

    async def _acknowledge(self, message: Message) -> None:
        await self._send(messages.acknowledgement(message))
