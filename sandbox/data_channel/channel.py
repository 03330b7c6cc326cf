"""Where clients open data channels: token, then the session's frames until one side ends it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from typing import TYPE_CHECKING

from sandbox.data_channel import messages
from sandbox.data_channel.conversation import Conversation, Place
from sandbox.data_channel.disturbances import Disturbances
from sandbox.data_channel.line import Disconnected, Line, Socket

if TYPE_CHECKING:
    from sandbox.runtime import Receive, Runtime, Scope, Send
    from sandbox.seams.ecs_exec import Session, Sessions
    from sandbox.tasks import TaskBackend

PATH = re.compile(r"/v1/data-channel/([^/]+)")
# RFC 6455, 7.4.1
NORMAL, REFUSED = 1000, 1008
FIRST_MESSAGE_SECONDS = 10.0
# How long a client has to close its side after the last message.
CLOSE_SECONDS = 1.0
# How long all channels have to end with the sandbox.
LAST_SECONDS = 3.0
log = logging.getLogger("sandbox.exec")


class DataChannels:
    """Serves websockets: each is a data channel, or nothing."""

    def __init__(self, runtime: Runtime, sessions: Sessions, backend: TaskBackend) -> None:
        self._runtime = runtime
        self._sessions = sessions
        self._backend = backend
        self._open: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for channel in self._open:
            channel.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=LAST_SECONDS)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        channel = asyncio.current_task()
        assert channel is not None
        self._open.add(channel)
        try:
            await self._serve(scope, receive, send)
        finally:
            self._open.discard(channel)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = PATH.fullmatch(scope["path"])
        await receive()
        # A page in somebody's browser has no business here.
        foreign = any(name.lower() == b"origin" for name, _ in scope.get("headers", []))
        if path is None or foreign or path[1] not in self._sessions.known:
            await send({"type": "websocket.close", "code": REFUSED})
            return
        await send({"type": "websocket.accept"})
        socket = Socket(scope, receive, send)
        try:
            session = await self._opened(path[1], socket)
            if session is None:
                await socket.close(REFUSED)
                return
            wanted = {"sessionId": session.identifier, "task": session.task, "container": session.container}
            fault = self._runtime.faults.take("ssmmessages", "OpenDataChannel", {**wanted, "command": session.command})
            if fault is not None:
                log.info("%s: %s", session.identifier, fault.code or fault.stream or f"{fault.delay_seconds} s late")
                await asyncio.sleep(fault.delay_seconds)
            if fault is not None and fault.code is not None:
                await socket.close(REFUSED)
                return
            await self._run(session, socket, Disturbances.parse(fault.stream if fault else {}))
        except Disconnected:
            return

    async def _opened(self, identifier: str, socket: Socket) -> Session | None:
        """The session, when the first message has its token."""
        try:
            async with asyncio.timeout(FIRST_MESSAGE_SECONDS):
                first = await socket.receive()
            document = json.loads(first) if isinstance(first, str) else None
        except (TimeoutError, ValueError):
            return None
        return self._sessions.opened(identifier, document)

    async def _run(self, session: Session, socket: Socket, disturbances: Disturbances) -> None:
        line = Line(socket, disturbances)
        await line.begin()
        log.info("%s begins in %s of %s", session.identifier, session.container, session.task.rpartition("/")[2])
        output = "the sandbox goes down"
        try:
            output = await self._hold(session, line, disturbances)
        except Disconnected:
            output = "the client is gone"
            raise
        finally:
            log.info("%s ended%s", session.identifier, f": {' '.join(output.split())}" if output else "")
        await socket.send(messages.closing(session.identifier, session.target, output).pack())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while True:
                    await socket.receive()
        await socket.close(NORMAL)

    async def _hold(self, session: Session, line: Line, disturbances: Disturbances) -> str:
        """Raises Disconnected."""
        containers = self._runtime.engine.of_task(session.task)
        by_name = {container.labels["com.amazonaws.ecs.container-name"]: container for container in containers}
        container = by_name.get(session.container)
        if container is None or container.status != "running":
            return ""
        place = Place(
            session.identifier,
            container,
            session.command,
            session.key,
            lambda wrapped: self._sessions.unwrapped(session, wrapped),
            lambda argv: self._backend.further(container, argv),
            self._runtime.processes,
            self._runtime.switches,
        )
        conversation = Conversation(place, line, disturbances)
        try:
            return await conversation.hold()
        finally:
            await asyncio.to_thread(self._sessions.recorded, session, conversation.output)
