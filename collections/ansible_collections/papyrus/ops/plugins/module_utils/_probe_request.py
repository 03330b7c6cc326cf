# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A probe's request: URL, headers, where to connect (curl's --connect-to and proxy), and the addresses of a name."""

from __future__ import annotations

import ipaddress
import queue
import re
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._poller import Done, GoOn, poll

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name: https://www.rfc-editor.org/rfc/rfc9110.html#name-tokens"""

FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""Controls that no header value may carry (CR and LF would begin another header)."""

OWN_HEADERS = frozenset({"connection", "content-length", "transfer-encoding", "upgrade", "te", "expect"})
METHODS = ("GET", "HEAD", "OPTIONS")
REDACTED = "[redacted]"

_CONNECT_TO = re.compile(r"(\[[^\]]*\]|[^:\[\]]*):(\d*):(\[[^\]]*\]|[^:\[\]]*):(\d*)")


class BadRequest(ValueError):
    """The probe as asked for cannot be sent; the text says what is wrong with it."""


@dataclass(frozen=True)
class Address:
    """One address to connect to, as getaddrinfo gives it."""

    family: int
    sockaddr: Any

    @property
    def text(self) -> str:
        return authority(*self.sockaddr[:2])


@dataclass(frozen=True)
class ConnectTo:
    """`HOST1:PORT1:HOST2:PORT2` of curl's --connect-to; an empty first pair matches any, an empty second keeps."""

    from_host: str
    from_port: int | None
    to_host: str
    to_port: int | None

    @classmethod
    def parse(cls, text: str) -> ConnectTo:
        match = _CONNECT_TO.fullmatch(text.strip())
        if match is None:
            raise BadRequest(f"connect_to {text!r} is not HOST1:PORT1:HOST2:PORT2 (IPv6 addresses in brackets)")
        from_host, from_port, to_host, to_port = match.groups()
        return cls(_bare(from_host), _port(from_port), _bare(to_host), _port(to_port))

    def applies(self, host: str, port: int) -> bool:
        return self.from_host.lower() in {"", host.lower()} and self.from_port in {None, port}


@dataclass(frozen=True)
class Request:
    """A request that is ready to be sent. `connect` is where the connection leads (the proxy, if there is one)."""

    method: str
    url: str
    secure: bool
    host: str
    port: int
    target: str
    headers: tuple[tuple[str, str], ...]
    connect: tuple[str, int]
    tunnel: str = ""
    secret_names: frozenset[str] = field(default=frozenset())

    def head(self, user_agent: str) -> bytes:
        """Request line and headers as they go out; no body."""
        names = {name.lower() for name, dummy in self.headers}
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        if "host" not in names:
            lines.append(f"Host: {host_header(self.host, self.port, self.secure)}")
        if "user-agent" not in names:
            lines.append(f"User-Agent: {user_agent}")
        if "accept" not in names:
            lines.append("Accept: */*")
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append("Connection: close")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("iso-8859-1")

    def shown(self) -> dict[str, Any]:
        """For results and evidence: values of secret headers left out."""
        return {
            "method": self.method,
            "url": self.url,
            "headers": {name: REDACTED if name.lower() in self.secret_names else value for name, value in self.headers},
            "connect": authority(*self.connect),
            "tunnel": self.tunnel or None,
        }


def authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def host_header(host: str, port: int, secure: bool) -> str:
    """Host with its port only where it is not the scheme's own, as browsers and curl send it."""
    if port == (443 if secure else 80):
        return f"[{host}]" if ":" in host else host
    return authority(host, port)


def _bare(host: str) -> str:
    return host[1:-1] if host.startswith("[") else host


def _port(text: str) -> int | None:
    if not text:
        return None
    port = int(text)
    if not 1 <= port <= 65535:
        raise BadRequest(f"{port} is no TCP port")
    return port


def check_header(name: str, value: str) -> tuple[str, str]:
    """The header itself. BadRequest for a name or value that could smuggle another header in."""
    if not TOKEN.fullmatch(name):
        raise BadRequest(f"the header name {name!r} has characters that HTTP does not allow")
    if name.lower() in OWN_HEADERS:
        raise BadRequest(f"the header {name} is the probe's own and cannot be set")
    if FORBIDDEN.search(value):
        raise BadRequest(f"the value of header {name} has control characters (line break?)")
    try:
        value.encode("iso-8859-1")
    except UnicodeEncodeError:
        raise BadRequest(f"the value of header {name} has characters outside ISO-8859-1") from None
    return name, value.strip(" \t")


def build(
    url: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    secret_headers: Mapping[str, str] | None = None,
    connect_to: Sequence[str] = (),
    proxy: str | None = None,
) -> Request:
    """A checked request. Raises BadRequest before anything is sent.

    A proxy is spoken to as curl does: absolute form for http, CONNECT for https and whenever `connect_to` applies.
    """
    if method not in METHODS:
        raise BadRequest(f"the method {method!r} is not one of {', '.join(METHODS)}")
    secure, host, port, target = parse_url(url)
    hidden = dict(secret_headers or {})
    pairs = [check_header(name, str(value)) for name, value in [*(headers or {}).items(), *hidden.items()]]
    names = [name.lower() for name, dummy in pairs]
    if len(set(names)) != len(names):
        raise BadRequest("a header is given twice (names differ in case only, or are in headers and secret_headers)")
    rules = [ConnectTo.parse(text) for text in connect_to]
    rule = next((rule for rule in rules if rule.applies(host, port)), None)
    to_host, to_port = host, port
    if rule is not None:
        to_host, to_port = rule.to_host or host, rule.to_port or port
    connect, tunnel = (to_host, to_port), ""
    if proxy:
        connect = parse_proxy(proxy)
        if secure or (to_host, to_port) != (host, port):
            tunnel = authority(to_host, to_port)
        else:
            target = f"http://{host_header(host, port, secure)}{target}"
    return Request(
        method=method,
        url=url,
        secure=secure,
        host=host,
        port=port,
        target=target,
        headers=tuple(pairs),
        connect=connect,
        tunnel=tunnel,
        secret_names=frozenset(name.lower() for name in hidden),
    )


def parse_url(url: str) -> tuple[bool, str, int, str]:
    """(https?, host, port, path with query). BadRequest for what is no plain http(s) URL."""
    if re.search(r"[\x00-\x20\x7f]", url) or not url.isascii():
        raise BadRequest(f"the URL {url!r} has spaces, controls or non-ASCII characters: percent-encode them")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as exc:
        raise BadRequest(f"the URL {url!r} cannot be read: {exc}") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadRequest(f"the URL {url!r} is not of the form http(s)://host/path")
    if parts.username is not None or parts.password is not None:
        raise BadRequest("a URL with a user name is refused: put credentials into secret_headers")
    secure = parts.scheme == "https"
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    return secure, parts.hostname, port or (443 if secure else 80), target


def parse_proxy(proxy: str) -> tuple[str, int]:
    """Host and port of an http proxy; curl's default port 1080 when none is named."""
    text = proxy if "://" in proxy else f"http://{proxy}"
    try:
        parts = urllib.parse.urlsplit(text)
        port = parts.port
    except ValueError as exc:
        raise BadRequest(f"the proxy {proxy!r} cannot be read: {exc}") from None
    if parts.username is not None:
        raise BadRequest("a proxy with a user name in its URL is refused: it would be shown in results")
    if parts.scheme != "http" or not parts.hostname:
        raise BadRequest(f"the proxy {proxy!r} is not of the form http://host:port")
    return parts.hostname, port or 1080


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def lookup(host: str, port: int, timeout: float) -> list[Address]:
    """Addresses of a name in the resolver's order, without doubles. OSError when there is none within `timeout` s.

    getaddrinfo itself cannot be interrupted: it runs in a thread that is left behind when it takes too long.
    """
    answers: queue.SimpleQueue[list[Any] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as exc:
            answers.put(exc)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError(f"the resolver did not answer within {timeout:g} s") from None
    if isinstance(answer, OSError):
        raise answer
    return list(dict.fromkeys(Address(int(item[0]), item[4]) for item in answer))


@dataclass(frozen=True)
class Resolution:
    """Addresses of a name and how long it took to get the first answer; `error` when there is none."""

    addresses: tuple[Address, ...]
    attempts: int
    elapsed: float
    last_lookup: float
    error: str = ""


def resolve(
    host: str,
    port: int,
    *,
    timeout: float,
    interval: float = 2.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    ask: Callable[[str, int, float], list[Address]] = lookup,
) -> Resolution:
    """Asks until the name resolves: a new load balancer's name needs time. `timeout` 0 asks once (5 s at most)."""
    took = 0.0

    def observe() -> list[Address] | str:
        nonlocal took
        before = clock()
        try:
            return ask(host, port, max(timeout, 5.0))
        except OSError as exc:
            return str(exc.strerror or exc)
        finally:
            took = clock() - before

    outcome = poll(
        observe,
        lambda seen: GoOn(f"the name {host} does not resolve yet: {seen}") if isinstance(seen, str) else Done(),
        timeout=timeout,
        interval=interval,
        clock=clock,
        sleep=sleep,
    )
    if isinstance(outcome.last, str):
        error = f"the name {host} does not resolve ({outcome.polls} tries in {outcome.elapsed:.1f} s): {outcome.last}"
        return Resolution((), outcome.polls, outcome.elapsed, took, error)
    return Resolution(tuple(outcome.last), outcome.polls, outcome.elapsed, took)
