# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks and durable writes on files that several processes share: bounded waits, fsync, no torn replacements."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

_guard = threading.Lock()
_thread_locks: dict[str, threading.Lock] = {}


class LockTimeout(Exception):
    """Somebody else holds the lock for longer than the bounded wait."""


def _thread_lock(path: Path) -> threading.Lock:
    with _guard:
        return _thread_locks.setdefault(os.fspath(path.absolute()), threading.Lock())


@contextlib.contextmanager
def locked_file(
    path: Path, *, flags: int = os.O_RDWR, mode: int = 0o600, timeout: float = 30.0, exclusive: bool = True
) -> Iterator[int]:
    """The file open and locked by `fcntl.lockf`; yields its descriptor. LockTimeout after `timeout` seconds.

    POSIX record locks belong to the process and go away when *any* descriptor of the file is closed (fcntl(2)). So
    every opening of such a file in one process has to come through here, where a lock per path keeps threads apart.
    """
    thread_lock = _thread_lock(path)
    if not thread_lock.acquire(timeout=timeout):
        raise LockTimeout(f"{path} is locked by another thread of this process for more than {timeout:g} s")
    try:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        try:
            _lock(fd, path, timeout, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
            yield fd
        finally:
            os.close(fd)  # gives the lock back
    finally:
        thread_lock.release()


def _lock(fd: int, path: Path, timeout: float, operation: int) -> None:
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        try:
            fcntl.lockf(fd, operation | fcntl.LOCK_NB)
            return
        except OSError as exc:
            if exc.errno not in (errno.EACCES, errno.EAGAIN):
                raise
        if time.monotonic() >= deadline:
            raise LockTimeout(f"{path} is locked by another process for more than {timeout:g} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Makes a rename or a new file in `folder` durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


TEMPORARY_PREFIX = ".tmp-"


def write_durable(path: Path, data: bytes, *, mode: int = 0o666, replace: bool = False) -> None:
    """The bytes under a temporary name, fsync, then the name, then fsync of the folder: all of it or nothing.

    FileExistsError when the name is taken and `replace` is off; nothing of an attempt stays behind on an error.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        if replace:
            os.replace(temporary, path)
        else:
            os.link(temporary, path, follow_symlinks=False)  # unlike rename, never over somebody else's file
            os.unlink(temporary)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_folder(path.parent)
