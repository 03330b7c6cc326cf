"""Small pieces of ASGI that the sandbox's own endpoints share."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.runtime import Receive, Scope, Send

# More than any request that AWS takes compressed.
LARGEST_INFLATED = 16 * 1024 * 1024


class BodyTooLarge(Exception):
    """More bytes than the endpoint takes."""


class Disconnected(Exception):
    """The client went away before its request was whole."""


def headers_of(scope: Scope) -> dict[str, str]:
    """Header names in lower case; of a repeated one, all values joined by commas."""
    result: dict[str, str] = {}
    for raw_name, raw_value in scope.get("headers", []):
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        result[name] = f"{result[name]},{value}" if name in result else value
    return result


def host_of(headers: Mapping[str, str]) -> str:
    """The Host header in lower case without the port."""
    return headers.get("host", "").rpartition("@")[2].partition(":")[0].lower()


def inflated(headers: Mapping[str, str], body: bytes) -> bytes:
    """The body that a client has compressed; as it is when it is not compressed, or does not unpack."""
    if headers.get("content-encoding", "").lower() != "gzip":
        return body
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = unpack.decompress(body, LARGEST_INFLATED)
    except zlib.error:
        return body
    return plain if unpack.eof else body


async def body_of(receive: Receive, limit: int | None = None) -> bytes:
    """The whole body. Raises BodyTooLarge or Disconnected."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        part = message.get("body", b"")
        size += len(part)
        if limit is not None and size > limit:
            raise BodyTooLarge
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def replay(body: bytes, receive: Receive) -> Receive:
    """A receive() that gives `body` once and then whatever the connection says."""
    given = False

    async def again() -> Any:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return again


async def respond(
    send: Send,
    status: int,
    body: bytes = b"",
    headers: Iterable[tuple[str, str]] = (),
    content_type: str | None = "application/json",
) -> None:
    listed = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if content_type is not None:
        listed.append((b"content-type", content_type.encode()))
    if not any(name == b"content-length" for name, _ in listed):
        listed.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})


async def respond_json(send: Send, status: int, document: Any) -> None:
    await respond(send, status, json.dumps(document, default=str).encode())


def transport_of(send: Any) -> Any:
    """The connection behind an ASGI send().

    `send` is hypercorn's HTTPStream.app_send, which sends through its H11Protocol, which sends through its TCPServer.
    """
    # A response that is counted (sandbox.metrics.traffic) has the server's own sender within.
    return getattr(send, "inner", send).__self__.send.__self__.send.__self__.writer.transport


async def hang_up(send: Any) -> None:
    """End the connection without an answer. ASGI has no word for it, so the server's own objects are asked."""
    transport_of(send).abort()
