# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard's socket: newline-delimited JSON over a Unix socket in the run-private folder; server side and client."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ._guard_processes import Process
from ._run_settings import SOCKET_FILE, guard_process

_MAX_REQUEST = 64 * 1024
_MAX_ANSWER = 16 * 1024 * 1024

Handler = Callable[[dict[str, Any]], dict[str, Any]]


class GuardGone(Exception):
    """The guard of this run is dead; its work has to be done without it."""


class GuardError(Exception):
    """The guard lives and refused, or does not answer."""


class Server:
    """Answers each line of each connection by `handler`; a slow caller holds nobody up."""

    def __init__(self, private: str | Path, handler: Handler) -> None:
        self._handler = handler
        self._path = Path(private) / SOCKET_FILE
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path.unlink(missing_ok=True)
        with _address(private) as address:
            self._socket.bind(address)
        self._path.chmod(0o600)
        self._socket.listen(16)
        threading.Thread(target=self._accept, name="accept", daemon=True).start()

    def close(self) -> None:
        """No further connection; those that are open get an end of file."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _accept(self) -> None:
        while True:
            try:
                connection = self._socket.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            if not _same_user(connection):
                return
            connection.settimeout(120)
            with connection.makefile("rb") as lines:
                while line := lines.readline(_MAX_REQUEST):
                    connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("not an object")
        except ValueError as exc:
            return {"ok": False, "error": f"not a request: {exc}"}
        try:
            return self._handler(request)
        except Exception as exc:  # a fault in one request must not end the guard
            return {"ok": False, "error": f"{type(exc).__name__}: {exc}"}


@contextlib.contextmanager
def _address(private: str | Path) -> Iterator[str]:
    """A name of the socket that is short enough: an address has 107 bytes (unix(7)), temporary folders can be deep."""
    path = os.fspath(Path(private) / SOCKET_FILE)
    if len(os.fsencode(path)) <= 100:
        yield path
        return
    folder = os.open(private, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_FILE}"
    finally:
        os.close(folder)


def _same_user(connection: socket.socket) -> bool:
    """SO_PEERCRED (unix(7)): only the user who opened the run."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the folder's mode 0700 is what is left
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return bool(uid == os.getuid())


class Client:
    """Asks the guard of one run."""

    def __init__(
        self,
        private: str | Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._private = Path(private)
        self._clock = clock
        self._sleep = sleep

    def guard(self) -> Process | None:
        """The guard while it lives, else None."""
        guard = guard_process(self._private)
        return guard if guard is not None and guard.alive() else None

    def ask(self, op: str, *, timeout: float = 30, **arguments: Any) -> dict[str, Any]:
        """One request, one answer. GuardGone when it is dead, GuardError when it refuses or is silent for `timeout`."""
        request = json.dumps({"op": op, **arguments}).encode() + b"\n"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout)
                with _address(self._private) as address:
                    connection.connect(address)
                connection.sendall(request)
                with connection.makefile("rb") as lines:
                    line = lines.readline(_MAX_ANSWER)
        except TimeoutError as exc:
            raise GuardError(f"the guard of the run does not answer {op!r} within {timeout:g} s") from exc
        except OSError as exc:
            if self.guard() is None:
                raise GuardGone(f"the guard of the run is dead ({exc.strerror or exc})") from exc
            raise GuardError(f"the guard of the run takes no requests, it is ending: {exc.strerror or exc}") from exc
        if not line:
            if self.guard() is None:
                raise GuardGone("the guard of the run died while it was asked")
            raise GuardError("the guard of the run is ending")
        answer: dict[str, Any] = json.loads(line)
        if not answer.get("ok"):
            raise GuardError(str(answer.get("error") or "the guard refused"))
        return answer

    def wait(self, job: str, timeout: float, look: Callable[[], None] = lambda: None) -> dict[str, Any] | None:
        """Result of `apply` or `destroy`, or None when it is not there after `timeout` seconds.

        `look` is called about once a second meanwhile.
        """
        deadline = self._clock() + timeout
        while True:
            left = deadline - self._clock()
            answer = self.ask("wait", job=job, seconds=max(0.0, min(left, 1.0)))
            if answer.get("result") is not None:
                return dict(answer["result"])
            if left <= 0:
                return None
            look()
