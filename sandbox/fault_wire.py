"""An answer's way through a disturbed wire: late, slowly, in part, by another answer, or not at all."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from sandbox import http
from sandbox.faults import Fault

# In how many parts a slow body travels.
PARTS = 20


class Disturbed:
    """Passes a response on as `fault` wants it; what is left of one that was cut goes nowhere.

    `instead` is given for the call's own answer, which then nobody has.
    """

    def __init__(self, send: Any, fault: Fault, instead: tuple[int, list[tuple[str, str]], bytes] | None) -> None:
        self._send = send
        self._fault = fault
        self._instead = instead
        self._left = fault.cut_after
        self._over = False

    async def __call__(self, message: Any) -> None:
        if self._over:
            return
        if message["type"] == "http.response.start":
            if self._instead is not None:
                (status, headers, body), self._over = self._instead, True
                # It may be late and cut as well.
                await http.respond(Disturbed(self._send, self._fault, None), status, body, headers, content_type=None)
                return
            await asyncio.sleep(self._fault.late_seconds)
            if self._left == 0:
                self._over = True
                await end(self._send, self._fault.reset)
            else:
                await self._send({**message, "headers": self._headers(message["headers"])})
        elif message["type"] == "http.response.body":
            await self._body(message)
        else:
            await self._send(message)

    def _headers(self, headers: Any) -> list[tuple[bytes, bytes]]:
        result = []
        for name, value in headers:
            if name.lower() == b"content-length":
                if self._fault.chunked:
                    continue
                value = str(int(value) + self._fault.length_over).encode()
            result.append((name, value))
        return result

    async def _body(self, message: Any) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._left is not None and len(body) >= self._left:
            body, self._over = body[: self._left], True
        if self._left is not None:
            self._left -= len(body)
        size = max(1, -(-len(body) // PARTS)) if self._fault.body_seconds else max(1, len(body))
        for start in range(0, len(body), size):
            await self._send({**message, "body": body[start : start + size], "more_body": True})
            if self._fault.body_seconds:
                await asyncio.sleep(self._fault.body_seconds / PARTS)
        if self._over or (self._fault.length_over and not more):
            self._over = True
            await end(self._send, self._fault.reset)
        elif not more:
            await self._send({**message, "body": b"", "more_body": False})


async def end(send: Any, reset: bool) -> None:
    """End the connection: what was written before goes out first, unless it is reset, which drops it at once."""
    transport = http.transport_of(send)
    if reset:
        # Closing with a linger of nothing sends RST (socket(7), SO_LINGER).
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
