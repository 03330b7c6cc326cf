# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One HTTP/1.1 request over a socket of its own: the answer as received, timings per phase, no redirects followed."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._probe_request import Address, Request, authority

_LONGEST_WORD = 4096
USER_AGENT = "papyrus.ops"


class ProbeFailure(Exception):
    """No complete answer came. `phase` is dns, proxy, connect, tls, request, first_byte or body."""

    def __init__(self, phase: str, reason: str) -> None:
        self.phase = phase
        self.reason = reason
        super().__init__(reason)


@dataclass
class Answer:
    """What came back. `head` are the bytes of status line and headers as received; `body` is what they announced.

    `timings` in seconds: how long dns, connect and tls took, then from the start to first byte and end.
    """

    status: int
    head: bytes
    headers: list[tuple[str, str]]
    body: bytes
    truncated: bool
    remote: str
    timings: dict[str, float] = field(default_factory=dict)

    def header(self, name: str) -> str | None:
        """All values of a header joined by comma (RFC 9110 section 5.3), None when it is absent."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        return ", ".join(values) if values else None

    @property
    def text(self) -> str | None:
        """The body as text, None when it is not text in its charset (UTF-8 when none is named)."""
        charset = "utf-8"
        for parameter in (self.header("content-type") or "").split(";")[1:]:
            name, dummy, value = parameter.partition("=")
            if name.strip().lower() == "charset":
                charset = value.strip().strip('"') or charset
        try:
            text = self.body.decode(charset)
        except (LookupError, UnicodeDecodeError):
            return None
        return None if "\x00" in text else text

    @property
    def transcript(self) -> str:
        """What `curl -si` prints; a body that is not text is named by size and hash instead."""
        head = self.head.decode("iso-8859-1")
        text = self.text
        if text is None:
            text = f"[binary body: {len(self.body)} bytes, sha256 {hashlib.sha256(self.body).hexdigest()}]\n"
        if self.truncated:
            text += f"\n[cut after {len(self.body)} bytes]\n"
        return head + text

    def parsed(self) -> Any:
        """The body as JSON. ValueError when it is not, or was cut."""
        if self.truncated:
            raise ValueError(f"the body was cut after {len(self.body)} bytes")
        if self.text is None:
            raise ValueError("the body is not text")
        return json.loads(self.text)

    def as_dict(self) -> dict[str, Any]:
        text = self.text
        try:
            parsed = self.parsed()
        except ValueError:
            parsed = None
        return {
            "status": self.status,
            "transcript": self.transcript,
            "headers": [{"name": name, "value": value} for name, value in self.headers],
            "body": text,
            "body_base64": None if text is not None else base64.b64encode(self.body).decode("ascii"),
            "body_bytes": len(self.body),
            "truncated": self.truncated,
            "json": parsed,
            "timings": self.timings,
            "remote": self.remote,
        }


class _Source(io.RawIOBase):
    """Reads a socket under one deadline for the whole answer, however slowly it drips."""

    def __init__(self, sock: socket.socket, remaining: Callable[[], float]) -> None:
        super().__init__()
        self._sock = sock
        self._remaining = remaining

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._remaining())
        return self._sock.recv_into(buffer)


class _Head(io.BufferedReader):
    """Keeps the bytes of the lines that http.client reads: status line and headers, before the body."""

    def __init__(self, source: _Source) -> None:
        super().__init__(source)
        self.kept = bytearray()
        self.keeping = True
        self.first_byte: Callable[[], None] = lambda: None

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if self.keeping:
            if line and not self.kept:
                self.first_byte()
            self.kept += line
        return line


class _Connected:
    """Stands where http.client's response wants a socket: it only asks it for a reader, and gets ours."""

    def __init__(self, reader: _Head) -> None:
        self._reader = reader

    def makefile(self, *args: Any, **kwargs: Any) -> Any:
        return self._reader


def fetch(
    request: Request,
    address: Address,
    *,
    timeout: float,
    max_body: int,
    ca_file: str | None = None,
    dns_seconds: float = 0.0,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Sends `request` to `address` and reads the answer to its end, all within `timeout` seconds.

    TLS is verified against the URL's host (and `ca_file`), wherever the connection leads. Raises ProbeFailure.
    """
    start = clock()
    timings = {"dns": round(dns_seconds, 6)}

    def remaining() -> float:
        left = timeout - (clock() - start)
        if left <= 0:
            raise TimeoutError(f"no complete answer within {timeout:g} s")
        return left

    sock = _connect(address, remaining)
    timings["connect"] = round(clock() - start, 6)
    phase = "proxy"
    try:
        if request.tunnel:
            _tunnel(sock, request.tunnel, remaining)
        phase = "tls"
        if request.secure:
            before = clock()
            sock = _wrap(sock, request.host, ca_file, remaining)
            timings["tls"] = round(clock() - before, 6)
        phase = "request"
        sock.settimeout(remaining())
        sock.sendall(request.head(USER_AGENT))
        phase = "first_byte"
        reader = _Head(_Source(sock, remaining))

        def first_byte() -> None:
            timings["first_byte"] = round(clock() - start, 6)

        reader.first_byte = first_byte
        connected: Any = _Connected(reader)
        response = http.client.HTTPResponse(connected, method=request.method)
        response.begin()
        reader.keeping = False
        phase = "body"
        body, truncated = _read_body(response, max_body)
        timings["total"] = round(clock() - start + dns_seconds, 6)
        return Answer(
            response.status, bytes(reader.kept), response.getheaders(), body, truncated, address.text, timings
        )
    except (OSError, http.client.HTTPException) as exc:
        raise ProbeFailure(phase, f"{authority(*address.sockaddr[:2])}: {_why(phase, exc)}") from exc
    finally:
        sock.close()


def _read_body(response: http.client.HTTPResponse, limit: int) -> tuple[bytes, bool]:
    body = bytearray()
    while len(body) <= limit:
        chunk = response.read(min(65536, limit + 1 - len(body)))
        if not chunk:
            if response.length:  # the peer closed before Content-Length was reached
                raise http.client.IncompleteRead(bytes(body), response.length)
            return bytes(body), False
        body += chunk
    return _between_words(bytes(body[:limit])), True


def _between_words(body: bytes) -> bytes:
    """Without the word at its end, which is cut: no part of a secret is known for what it is."""
    blank = max(body.rfind(mark, -_LONGEST_WORD) for mark in (b" ", b"\n", b"\t", b'"', b",", b">"))
    return body[: blank + 1] if blank >= 0 else body


def _connect(address: Address, remaining: Callable[[], float]) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.settimeout(remaining())
        sock.connect(address.sockaddr)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as exc:
        sock.close()
        raise ProbeFailure("connect", f"{authority(*address.sockaddr[:2])}: {_why('connect', exc)}") from exc
    return sock


def _tunnel(sock: socket.socket, target: str, remaining: Callable[[], float]) -> None:
    """CONNECT through a proxy (RFC 9110 section 9.3.6). Only the proxy's head is read: what follows is the server's."""
    sock.settimeout(remaining())
    sock.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {USER_AGENT}\r\n\r\n".encode("ascii"))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        sock.settimeout(remaining())
        byte = sock.recv(1)  # byte by byte, so that nothing of the tunnel is swallowed
        if not byte or len(head) > 16384:
            raise http.client.HTTPException(f"the proxy broke off: {head!r}")
        head += byte
    status_line = head.split(b"\r\n", 1)[0].decode("iso-8859-1")
    parts = status_line.split(" ", 2)
    if len(parts) < 2 or not parts[1].startswith("2"):
        raise http.client.HTTPException(f"the proxy refuses CONNECT {target}: {status_line!r}")


def _wrap(sock: socket.socket, host: str, ca_file: str | None, remaining: Callable[[], float]) -> socket.socket:
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    sock.settimeout(remaining())
    return context.wrap_socket(sock, server_hostname=host)


def _why(phase: str, exc: BaseException) -> str:
    """An error in an operator's words."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"certificate verification failed: {exc.verify_message}"
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed: {exc.reason or exc}"
    if isinstance(exc, TimeoutError):
        return str(exc) if str(exc).startswith("no complete") else f"timed out ({phase})"
    if isinstance(exc, ConnectionRefusedError):
        return "connection refused"
    if isinstance(exc, http.client.RemoteDisconnected):
        return "closed the connection without an answer"
    if isinstance(exc, ConnectionError):
        return f"broke the connection ({exc.strerror or exc})"
    if isinstance(exc, http.client.IncompleteRead):
        missing = f", {exc.expected} bytes missing" if exc.expected else ""
        return f"broke off in the body after {len(exc.partial)} bytes{missing}"
    if isinstance(exc, http.client.BadStatusLine):
        return f"does not speak HTTP: {str(exc)!r}"
    if isinstance(exc, http.client.HTTPException):
        return f"sent a malformed answer: {exc}" if phase != "proxy" else str(exc)
    return str(getattr(exc, "strerror", None) or exc)
