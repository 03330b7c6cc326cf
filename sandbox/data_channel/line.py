"""One accepted websocket, and the line over it, on which a fault may disturb frames."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from sandbox.data_channel import messages
from sandbox.data_channel.disturbances import Count, Disturbances
from sandbox.data_channel.messages import MalformedMessage, Message
from sandbox.rds.gate import socket_inode

if TYPE_CHECKING:
    from sandbox.runtime import Receive, Scope, Send


class Disconnected(Exception):
    """The client is gone."""


class Socket:
    """Lives in one event loop."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._ends = tuple(scope.get("server") or ()), tuple(scope.get("client") or ())
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

    def cut(self) -> None:
        """End the connection below the websocket, as a network that fails does: no closing frame."""
        self._closed = True
        own, other = self._ends
        name = f"socket:[{socket_inode((own[0], own[1]), (other[0], other[1]))}]"
        with os.scandir("/proc/self/fd") as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if os.readlink(entry.path) == name:
                        with socket.socket(fileno=os.dup(int(entry.name))) as connection:
                            connection.shutdown(socket.SHUT_RDWR)


class Line:
    """Frames over a socket. `kill` ends the session's command, when a fault wants that."""

    def __init__(self, over: Socket, disturbances: Disturbances) -> None:
        self._socket = over
        self._how = disturbances
        self.kill: Callable[[], None] = _nothing
        self._twice, self._late, self._damaged = (
            Count(every) for every in (disturbances.duplicate, disturbances.reorder, disturbances.corrupt)
        )
        self._lost = {
            messages.OUTPUT: Count(disturbances.lose_output),
            messages.ACKNOWLEDGE: Count(disturbances.lose_acks),
        }
        self._lost_of_client = {
            messages.INPUT: Count(disturbances.lose_input),
            messages.ACKNOWLEDGE: Count(disturbances.lose_client_acks),
        }
        self._pauses = disturbances.pause_after
        self._open = asyncio.Event()
        self._open.set()
        self._held: Message | None = None
        self._bytes = 0
        self._last = -1

    async def begin(self) -> None:
        await self._socket.send(Message(messages.START).pack())
        self._end_early()

    async def send(self, message: Message) -> None:
        await self._open.wait()
        if message.kind not in self._lost or not self._lost[message.kind].due():
            await self._pass_on(message)
        if message.kind == messages.OUTPUT and message.number > self._last:
            self._last = message.number
            self._bytes += len(message.payload) if message.payload_type == messages.DATA else 0
            self._end_early()
            self._pauses -= 1
            if self._pauses == 0:
                await self._pause()

    async def _pass_on(self, message: Message) -> None:
        if message.kind != messages.OUTPUT:
            await self._send(message.pack())
        elif self._held is None and self._late.due():
            self._held = message
        else:
            held, self._held = self._held, None
            await self._send(damaged(message.pack()) if self._damaged.due() else message.pack())
            if held is not None:
                await self._send(held.pack())

    async def _send(self, frame: bytes) -> None:
        await self._socket.send(frame)
        if self._twice.due():
            await self._socket.send(frame)

    async def receive(self) -> Message | None:
        """The client's next message; None for what is none, or lost. Raises Disconnected."""
        data = await self._socket.receive()
        if isinstance(data, str):
            return None
        try:
            message = Message.unpack(data)
        except MalformedMessage:
            return None
        if message.kind in self._lost_of_client and self._lost_of_client[message.kind].due():
            return None
        return None if message.kind == messages.INPUT and not self._open.is_set() else message

    async def _pause(self) -> None:
        self._open.clear()
        await self._socket.send(Message(messages.PAUSE).pack())
        try:
            await asyncio.sleep(self._how.pause_seconds)
            await self._socket.send(Message(messages.START).pack())
        finally:
            self._open.set()

    def _end_early(self) -> None:
        if self._how.kill_after is not None and self._bytes >= self._how.kill_after:
            self.kill()
        if self._how.cut_after is not None and self._bytes >= self._how.cut_after:
            self._socket.cut()


def damaged(frame: bytes) -> bytes:
    """With another last byte than its digest is of."""
    return frame[:-1] + bytes([frame[-1] ^ 1])


def _nothing() -> None:
    """There is no command yet."""
