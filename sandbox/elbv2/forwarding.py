"""One request to one target over HTTP/1.1, bodies passed on as they come, as a load balancer does it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import h11

from sandbox.addresses import is_ours
from sandbox.behaviours import behaviour

Headers = list[tuple[bytes, bytes]]
CHUNK = 64 * 1024
# Meant for one connection only, never passed on (RFC 9110, 7.6.1).
HOP_BY_HOP = {
    b"connection",
    b"keep-alive",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
}


class TargetError(Exception):
    """The target gave no usable answer; `status` is what a load balancer says then (502 or 504)."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


@behaviour("elbv2", otherwise=lambda: 500)
def broken_answer_is_502() -> int:
    """A target that refuses or closes the connection, or answers no HTTP, makes the load balancer answer 502.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
    """
    return 502


@behaviour("elbv2", otherwise=lambda: 500)
def silent_target_is_504() -> int:
    """A target that cannot be connected to in 10 s, or is silent for the idle timeout, makes it answer 504.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-troubleshooting.html
    """
    return 504


class ClientGone(Exception):
    """Whoever asked has closed the connection."""


@dataclass
class Answer:
    status: int
    headers: Headers
    body: AsyncIterator[bytes]


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers without those of the connection, including the ones that Connection names."""
    listed = [(name.lower(), value) for name, value in headers]
    named = {word.strip().lower() for name, value in listed if name == b"connection" for word in value.split(b",")}
    return [(name, value) for name, value in listed if name not in HOP_BY_HOP and name not in named]


class Exchange:
    """A connection to a target for one request. `idle` is the load balancer's idle timeout in seconds."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: float) -> None:
        self._reader = reader
        self._writer = writer
        self._idle = idle
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=CHUNK)

    @classmethod
    async def open(cls, address: str, port: int, connect_timeout: float, idle: float) -> Exchange:
        """Raises TargetError: 504 when nobody answers in time, 502 when the connection is refused.

        An address outside 127.0.0.0/8 is a real host's: never connected to, it counts as one that is not there.
        """
        if not is_ours(address):
            raise TargetError(silent_target_is_504(), f"{address} lies outside the local AWS")
        try:
            async with asyncio.timeout(connect_timeout):
                reader, writer = await asyncio.open_connection(address, port)
        except TimeoutError as error:
            raise TargetError(
                silent_target_is_504(), f"no connection to {address}:{port} within {connect_timeout} s"
            ) from error
        except OSError as error:
            raise TargetError(broken_answer_is_502(), f"no connection to {address}:{port}: {error}") from error
        return cls(reader, writer, idle)

    async def ask(
        self, method: bytes, target: bytes, headers: Headers, receive: Callable[[], Awaitable[Any]]
    ) -> Answer:
        """Send the request, its body from ASGI's receive(); the head of the answer, its body still to come.

        Raises TargetError, or ClientGone when the client left while it sent its body.
        """
        sending = asyncio.create_task(self._send(method, target, headers, receive))
        reading = asyncio.create_task(self._head())
        try:
            # A target may answer before it has read the whole body.
            await asyncio.wait({sending, reading}, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and isinstance(sending.exception(), ClientGone):
                raise ClientGone
            head = await reading
        finally:
            for task in (sending, reading):
                task.cancel()
            await asyncio.gather(sending, reading, return_exceptions=True)
        kept = [pair for pair in end_to_end(head.headers) if pair[0] != b"date"]
        return Answer(head.status_code, kept, self._body())

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _send(
        self, method: bytes, target: bytes, headers: Headers, receive: Callable[[], Awaitable[Any]]
    ) -> None:
        try:
            await self._write(h11.Request(method=method, target=target, headers=headers))
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                more = message.get("more_body", False)
                if message.get("body"):
                    await self._write(h11.Data(data=message["body"]))
            await self._write(h11.EndOfMessage())
        except (OSError, h11.LocalProtocolError) as error:
            # The target closed: what it said before is still read.
            raise TargetError(broken_answer_is_502(), f"the target closed the connection: {error}") from error

    async def _write(self, event: h11.Event) -> None:
        data = self._state.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def _event(self) -> Any:
        while True:
            event = self._state.next_event()
            if event is not h11.NEED_DATA:
                return event
            async with asyncio.timeout(self._idle):
                self._state.receive_data(await self._reader.read(CHUNK))

    async def _head(self) -> h11.Response:
        try:
            while True:
                event = await self._event()
                if isinstance(event, h11.Response):
                    return event
                if not isinstance(event, h11.InformationalResponse):
                    raise TargetError(broken_answer_is_502(), "the target closed the connection without an answer")
        except TimeoutError as error:
            raise TargetError(silent_target_is_504(), f"no answer within {self._idle} s") from error
        except (OSError, h11.RemoteProtocolError) as error:
            raise TargetError(broken_answer_is_502(), f"no HTTP answer: {error}") from error

    async def _body(self) -> AsyncIterator[bytes]:
        """Raises TargetError when the body breaks off."""
        try:
            while isinstance(event := await self._event(), h11.Data):
                yield bytes(event.data)
        except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
            raise TargetError(broken_answer_is_502(), f"the answer broke off: {error}") from error
