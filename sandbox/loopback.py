"""Keeps the server's process on 127.0.0.0/8, whatever code in it opens a socket: ours, the emulator's, a library's."""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

# Audit events of the socket module (https://docs.python.org/3/library/audit_events.html) with the place of the address.
ADDRESSES = {"socket.connect": 1, "socket.sendto": 1, "socket.bind": 1}
NAMES = {"socket.getaddrinfo": 0, "socket.gethostbyname": 0}
NO_NAMES = (None, "", b"", "localhost", b"localhost")


class NotLoopback(OSError):
    """Something wanted to reach, or to be reached at, an address that is not this machine's own."""


def install() -> None:
    """For the rest of the process's life; there is no way back."""
    sys.addaudithook(_look)


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ADDRESSES:
        address = arguments[ADDRESSES[event]]
        # Of a socket of the file system the address is a path.
        if isinstance(address, tuple) and not is_loopback(address[0]):
            raise NotLoopback(f"{event} of {address[0]}: only 127.0.0.0/8 is for the sandbox")
    elif event in NAMES:
        name = arguments[NAMES[event]]
        if name not in NO_NAMES and not is_loopback(name):
            raise NotLoopback(f"{name!r} is no address of 127.0.0.0/8, and names are asked of nobody")


def is_loopback(host: Any) -> bool:
    if host in ("localhost", b"localhost"):
        return True
    try:
        return ipaddress.IPv4Address(host.decode() if isinstance(host, bytes) else host).is_loopback
    except (ValueError, TypeError):
        return False
