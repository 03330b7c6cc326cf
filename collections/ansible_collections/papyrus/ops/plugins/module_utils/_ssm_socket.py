# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one place where a data channel is a socket: a WebSocket client with verified TLS."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import ssl
import uuid
from collections.abc import Mapping
from urllib.parse import urlsplit

from . import _ssm_frames as frames
from ._ssm_channel import CLIENT_VERSION

try:
    from websockets.exceptions import ConnectionClosed, WebSocketException
    from websockets.sync.client import connect

    WEBSOCKETS_IMPORT_ERROR: ImportError | None = None
except ImportError as exc:
    WEBSOCKETS_IMPORT_ERROR = exc

_MAX_MESSAGE = 1024 * 1024
_PING_SECONDS = 60.0
_CLOSE_SECONDS = 2.0


class Disconnected(Exception):
    """There is no connection, or no longer; the text says why and never has the token in it."""


def tls_context(environment: Mapping[str, str]) -> ssl.SSLContext:
    """Verifies names and certificates, against AWS_CA_BUNDLE where it is set as for every other call of AWS.

    Disconnected when that file cannot be used.
    """
    bundle = environment.get("AWS_CA_BUNDLE") or environment.get("REQUESTS_CA_BUNDLE") or None
    try:
        return ssl.create_default_context(
            cafile=bundle if bundle and not os.path.isdir(bundle) else None,
            capath=bundle if bundle and os.path.isdir(bundle) else None,
        )
    except OSError as exc:
        raise Disconnected(f"the CA bundle {bundle} cannot be used: {exc}") from exc


def where(url: str) -> str:
    """A stream's address for messages: without its query, which is opaque."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}"


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Socket:
    """An open data channel: the token has been sent. `receive` gives one message a call."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        timeout: float,
        plaintext: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Disconnected when it cannot be opened within `timeout` seconds.

        Without TLS only on this machine, or where `plaintext` says that AWS itself is asked without it: whoever reads
        the token has the session.
        """
        if WEBSOCKETS_IMPORT_ERROR is not None:
            raise Disconnected("the Python package websockets is not installed") from WEBSOCKETS_IMPORT_ERROR
        parts = urlsplit(url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise Disconnected(f"the stream's address {where(url)!r} is none of a WebSocket")
        if parts.scheme == "ws" and not plaintext and not _loopback(parts.hostname):
            raise Disconnected(f"{where(url)} is not encrypted: the session's token is not sent there")
        quiet = logging.Logger("papyrus.ops.data-channel", logging.CRITICAL)  # its debug messages would have the token
        self._stack = contextlib.ExitStack()
        try:
            self._connection = self._stack.enter_context(
                connect(
                    url,
                    ssl=tls_context(os.environ if environment is None else environment)
                    if parts.scheme == "wss"
                    else None,
                    compression=None,
                    open_timeout=timeout,
                    close_timeout=_CLOSE_SECONDS,
                    ping_interval=_PING_SECONDS,
                    ping_timeout=None,
                    max_size=_MAX_MESSAGE,
                    logger=quiet,
                )
            )
        except (OSError, WebSocketException, ValueError) as exc:
            raise Disconnected(f"{where(url)} cannot be connected to: {exc}") from exc
        self.send(frames.opening(token, str(uuid.uuid4()), str(uuid.uuid4()), CLIENT_VERSION))

    def send(self, message: bytes | str) -> None:
        try:
            self._connection.send(message)
        except (ConnectionClosed, OSError) as exc:
            raise Disconnected(_closed(exc)) from None

    def receive(self, timeout: float) -> bytes | None:
        """The next message, None when none came in time. Text is passed over: messages are binary."""
        try:
            message = self._connection.recv(timeout=timeout)
        except TimeoutError:
            return None
        except (ConnectionClosed, OSError) as exc:
            raise Disconnected(_closed(exc)) from None
        return message if isinstance(message, bytes) else None

    def close(self) -> None:
        with contextlib.suppress(ConnectionClosed, OSError):
            self._stack.close()


def _closed(exc: Exception) -> str:
    if isinstance(exc, ConnectionClosed) and exc.rcvd is not None:
        reason = f": {exc.rcvd.reason}" if exc.rcvd.reason else ""
        return f"the connection was closed (code {exc.rcvd.code}{reason})"
    return "the connection broke off"
