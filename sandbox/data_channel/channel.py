"""Where clients open data channels: token, then the session's frames until one side ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import struct
from typing import TYPE_CHECKING

from sandbox.data_channel import messages, words
from sandbox.data_channel.agent import Agent
from sandbox.data_channel.messages import MalformedMessage, Message
from sandbox.data_channel.terminal import Terminal
from sandbox.processes import StartError

if TYPE_CHECKING:
    from sandbox.containers import Container
    from sandbox.runtime import Receive, Runtime, Scope, Send
    from sandbox.seams.ecs_exec import Session, Sessions
    from sandbox.tasks import TaskBackend

PATH = re.compile(r"/v1/data-channel/([^/]+)")
# RFC 6455, 7.4.1
NORMAL, GOING_AWAY, UNSUPPORTED, REFUSED = 1000, 1001, 1003, 1008
FIRST_MESSAGE_SECONDS = 10.0
TASK_GLANCE = 0.2
# How long a client has to close its side after the last message.
CLOSE_SECONDS = 1.0
log = logging.getLogger("sandbox.exec")


class Disconnected(Exception):
    """The client is gone."""


class DataChannels:
    """The ASGI application for websockets."""

    def __init__(self, runtime: Runtime, sessions: Sessions, backend: TaskBackend) -> None:
        self._runtime = runtime
        self._sessions = sessions
        self._backend = backend

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = PATH.fullmatch(scope["path"])
        await receive()
        # A page in somebody's browser has no business here.
        foreign = any(name.lower() == b"origin" for name, _ in scope.get("headers", []))
        if path is None or foreign or path[1] not in self._sessions.known:
            await send({"type": "websocket.close", "code": REFUSED})
            return
        await send({"type": "websocket.accept"})
        socket = Socket(receive, send)
        try:
            session = await self._opened(path[1], socket)
            if session is None:
                await socket.close(REFUSED)
            else:
                await self._run(session, socket)
        except Disconnected:
            return

    async def _opened(self, identifier: str, socket: Socket) -> Session | None:
        """The session, when the first message has its token."""
        try:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                first = await socket.receive()
        except TimeoutError:
            return None
        try:
            document = json.loads(first) if isinstance(first, str) else None
        except ValueError:
            document = None
        return self._sessions.opened(identifier, document)

    async def _run(self, session: Session, socket: Socket) -> None:
        container = next(
            (
                c
                for c in self._runtime.engine.of_task(session.task)
                if c.labels["com.amazonaws.ecs.container-name"] == session.container
            ),
            None,
        )
        await socket.send(Message(messages.START).pack())
        log.info("%s begins in %s of %s", session.identifier, session.container, session.task.rpartition("/")[2])
        output = ""
        if container is not None and container.status == "running":
            output = await self._converse(session, container, socket)
        log.info("%s ended%s", session.identifier, f": {output.strip()}" if output else "")
        await socket.send(messages.closing(session.identifier, session.target, output).pack())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while True:
                    await socket.receive()
        await socket.close(NORMAL)

    async def _converse(self, session: Session, container: Container, socket: Socket) -> str:
        """From the first frame to the last; an error of the agent, or nothing. Raises Disconnected."""
        try:
            terminal = await self._start(session, container)
        except (StartError, words.UnfinishedCommand) as error:
            return f"----------ERROR-------\nUnable to start command: {error}\n"
        agent = Agent(socket.send)

        async def consume(message: Message) -> None:
            await typed(message, terminal)

        ends = [
            asyncio.create_task(work)
            for work in (agent.pump(terminal), listen(socket, agent), until_it_stops(container))
        ]
        helpers = [asyncio.create_task(work) for work in (agent.feed(consume), agent.resend())]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*ends, *helpers):
                task.cancel()
            await asyncio.gather(*ends, *helpers, return_exceptions=True)
            await terminal.end()
        return ""

    async def _start(self, session: Session, container: Container) -> Terminal:
        """Raises StartError or UnfinishedCommand, with what the agent says of it."""
        try:
            argv = words.split(session.command) or ["sh"]
        except words.UnfinishedCommand as error:
            raise words.UnfinishedCommand(f"Failed to parse commands input: {error}\n") from error
        try:
            how = self._backend.further(container, argv)
            return await Terminal.start(
                self._runtime.processes, how.argv, how.environment, how.folder, session.identifier
            )
        except StartError as error:
            raise StartError(f"Failed to start pty: {_as_go_says(argv[0], str(error))}\n") from error


async def typed(message: Message, terminal: Terminal) -> None:
    """What the agent does with a message of the input stream; flags are none of an interactive command's.

    https://github.com/aws/amazon-ssm-agent/blob/mainline/agent/session/shell/shell_unix.go (InputStreamMessageHandler)
    """
    if message.payload_type == messages.DATA:
        await terminal.write(message.payload)
    elif message.payload_type == messages.SIZE:
        size = message.document()
        with contextlib.suppress(struct.error, TypeError):
            terminal.resize(size.get("cols", 0), size.get("rows", 0))


async def listen(socket: Socket, agent: Agent) -> None:
    """Without end: what the client says. Raises Disconnected."""
    while True:
        data = await socket.receive()
        if isinstance(data, bytes):
            with contextlib.suppress(MalformedMessage):
                await agent.take(Message.unpack(data))


async def until_it_stops(container: Container) -> None:
    while container.status == "running":
        await asyncio.sleep(TASK_GLANCE)
        container.reload()


class Socket:
    """One accepted websocket."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._one_at_a_time = asyncio.Lock()
        self._closed = False

    async def receive(self) -> str | bytes:
        """The next message. Raises Disconnected."""
        event = await self._receive()
        if event["type"] == "websocket.disconnect":
            self._closed = True
            raise Disconnected
        text: str | None = event.get("text")
        data: bytes = event.get("bytes") or b""
        return data if text is None else text

    async def send(self, data: bytes) -> None:
        async with self._one_at_a_time:
            if not self._closed:
                await self._send({"type": "websocket.send", "bytes": data})

    async def close(self, code: int) -> None:
        async with self._one_at_a_time:
            if not self._closed:
                self._closed = True
                await self._send({"type": "websocket.close", "code": code})


def _as_go_says(program: str, error: str) -> str:
    """The words of Go's os/exec for what a program could not be started by."""
    reason = error.partition(": ")[2].partition(":")[0].lower()
    if "/" in program:
        return f"fork/exec {program}: {reason}"
    return f'exec: "{program}": executable file not found in $PATH'
