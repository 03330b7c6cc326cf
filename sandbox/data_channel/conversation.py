"""One session from its first frame to its last: handshake, command, and whatever ends them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.data_channel import messages, rules, words
from sandbox.data_channel.agent import Agent
from sandbox.data_channel.handshake import Handshake, HandshakeFailed, Unwrap
from sandbox.data_channel.line import Disconnected
from sandbox.data_channel.messages import MalformedMessage, Message
from sandbox.data_channel.terminal import Terminal
from sandbox.processes import StartError

if TYPE_CHECKING:
    from sandbox.containers import Container
    from sandbox.data_channel.disturbances import Disturbances
    from sandbox.data_channel.line import Line
    from sandbox.processes import Processes
    from sandbox.switches import Switches
    from sandbox.tasks import Further

GLANCE_SECONDS = 0.2


@dataclasses.dataclass
class Place:
    """Where a session's command runs, and how."""

    name: str
    container: Container
    command: str
    # KMS key that the session's data is to be encrypted by, or nothing.
    key: str
    unwrap: Unwrap
    further: Callable[[list[str]], Further]
    processes: Processes
    switches: Switches


class Conversation:
    def __init__(self, place: Place, line: Line, disturbances: Disturbances) -> None:
        self._place = place
        self._line = line
        self._agent = Agent(line.send)
        wanted = disturbances.handshake
        if wanted == "none" or (wanted == "agent" and not place.key):
            self._handshake = None
        else:
            key = "" if wanted == "session_type" else place.key or "alias/aws/ssm"
            seconds = disturbances.handshake_seconds
            self._handshake = Handshake(self._agent.stream, key, place.unwrap, seconds)
        self._shaking_hands = self._handshake is not None
        self._terminal: Terminal | None = None
        self._started = asyncio.Event()

    @property
    def output(self) -> bytes:
        """What the command has written, as far as it is kept."""
        return bytes(self._agent.transcript)

    async def hold(self) -> str:
        """To the end; gives what the agent says of a failure. Raises Disconnected when the client ended it."""
        ends = [self._work(), self._listen(), self._until_the_task_stops(), self._until_idle()]
        tasks = [asyncio.create_task(end) for end in ends]
        helpers = [asyncio.create_task(helper) for helper in (self._agent.feed(self._consume), self._agent.resend())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(task.result() for task in tasks if task in done)
        except Disconnected:
            await self._linger()
            raise
        finally:
            for task in (*tasks, *helpers):
                task.cancel()
            await asyncio.gather(*tasks, *helpers, return_exceptions=True)
            if self._terminal is not None:
                await self._terminal.end()

    async def _work(self) -> str:
        try:
            if self._handshake is not None:
                self._agent.cipher = await self._handshake.perform()
                self._shaking_hands = False
            await self._start()
        except (HandshakeFailed, MalformedMessage) as error:
            await self._agent.flush()
            return rules.failure_is_told_at_the_close(f"Encountered error while initiating handshake. {error}\n")
        except (StartError, words.UnfinishedCommand) as error:
            return rules.failure_is_told_at_the_close(f"Unable to start command: {error}\n")
        assert self._terminal is not None
        await asyncio.sleep(self._place.switches.exec_output_seconds)
        await self._agent.pump(self._terminal)
        return ""

    async def _start(self) -> None:
        """Raises StartError or UnfinishedCommand, with what the agent says of it."""
        place = self._place
        argv = rules.command_is_started_without_a_shell(place.command)
        try:
            how = place.further(argv)
            self._terminal = await Terminal.start(place.processes, how.argv, how.environment, how.folder, place.name)
        except StartError as error:
            raise StartError(f"Failed to start pty: {rules.as_go_says(argv[0], str(error))}\n") from error
        self._line.kill = self._terminal.kill
        self._started.set()

    async def _consume(self, message: Message) -> None:
        """What the agent does with a message of the input stream. Flags are none of an interactive command's business.

        https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/shell/shell_unix.go
        """
        if message.payload_type in (messages.HANDSHAKE_RESPONSE, messages.CHALLENGE_RESPONSE):
            if self._handshake is not None:
                self._handshake.answer(message)
            return
        if rules.input_waits_for_the_handshake(self._shaking_hands):
            return
        await self._started.wait()
        assert self._terminal is not None
        if message.payload_type == messages.DATA:
            cipher = self._agent.cipher
            await self._terminal.write(cipher.decrypt(message.payload) if cipher else message.payload)
        elif message.payload_type == messages.SIZE:
            size = message.document()
            with contextlib.suppress(struct.error):
                self._terminal.resize(size.get("cols", 0), size.get("rows", 0))

    async def _listen(self) -> str:
        while True:
            message = await self._line.receive()
            if message is not None:
                await self._agent.take(message)

    async def _until_the_task_stops(self) -> str:
        while rules.session_ends_with_its_container(self._place.container.status):
            await asyncio.sleep(GLANCE_SECONDS)
            self._place.container.reload()
        return ""

    async def _until_idle(self) -> str:
        switches = self._place.switches
        while not rules.session_ends_when_idle(time.monotonic() - self._agent.active, switches.exec_idle_seconds):
            await asyncio.sleep(GLANCE_SECONDS)
        return ""

    async def _linger(self) -> None:
        """The client is gone: the command lives on for as long as a switch says, its output unread."""
        deadline = time.monotonic() + self._place.switches.exec_linger_seconds
        while time.monotonic() < deadline and self._terminal is not None and self._terminal.running:
            if self._place.container.status != "running":
                return
            await asyncio.sleep(GLANCE_SECONDS)
