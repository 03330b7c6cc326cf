# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks and durable writes on files that several processes share: bounded waits, fsync, no torn replacements."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_guard = threading.Lock()
_thread_locks: dict[str, threading.Lock] = {}


class LockTimeout(Exception):
    """Somebody else holds the lock for longer than the bounded wait."""


def _thread_lock(path: Path) -> threading.Lock:
    with _guard:
        return _thread_locks.setdefault(os.path.realpath(path), threading.Lock())


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
            raise LockTimeout(f"{path} is locked by {_holder(fd)} for more than {timeout:g} s")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


_FLOCK = "hhqqi4x"  # struct flock on 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid


def _holder(fd: int) -> str:
    """Who holds the lock, as far as the system tells (F_GETLK of fcntl(2), proc_pid_stat(5))."""
    text = "another process"
    if not sys.platform.startswith("linux") or sys.maxsize < 2**32:
        return text
    with contextlib.suppress(OSError, struct.error, IndexError):
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _whence, _start, _length, pid = struct.unpack(_FLOCK, fcntl.fcntl(fd, fcntl.F_GETLK, asked))
        if kind != fcntl.F_UNLCK and pid > 0:  # 0 or -1: on another host, or in another pid namespace
            text += f" (pid {pid})"
            command, _bracket, state = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")
            stopped = ", which is stopped: continue or end it" if state.split()[0] in ("T", "t") else ""
            text = f"another process (pid {pid}, {command.partition('(')[2]!a}{stopped})"
    return text


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_folder(folder: Path) -> None:
    """Makes a rename or a new file in `folder` durable, where the file system can do that at all (fsync(2))."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as exc:
        if exc.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise
    finally:
        os.close(fd)


TEMPORARY_PREFIX = ".tmp-"


class Staged:
    """Bytes on disk under a temporary name, fsynced, not yet anything; dropped when the `with` block ends.

    While it is there it is held by flock(2), which ends with the process: so `remove_stale` knows what nobody needs.
    """

    def __init__(self, folder: Path, chunks: Iterable[bytes], mode: int = 0o666) -> None:
        self.size = 0
        self._temporary = True
        self._digest = hashlib.sha256()
        self._fd, self._path = _new_temporary(folder, mode)
        try:
            for chunk in chunks:
                write_all(self._fd, chunk)
                self._digest.update(chunk)
                self.size += len(chunk)
            os.fsync(self._fd)
        except BaseException:
            self.__exit__()
            raise

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def __enter__(self) -> Staged:
        return self

    def __exit__(self, *exc: object) -> None:
        if self._temporary:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        os.close(self._fd)

    def publish(self, path: Path, *, replace: bool = False) -> None:
        """Gives it its name, durably. FileExistsError when that is taken and `replace` is off."""
        if replace:
            os.replace(self._path, path)
        else:
            _rename_new(self._path, path)
        self._temporary = False
        try:
            sync_folder(path.parent)
        except BaseException:
            if not replace:
                with contextlib.suppress(OSError):
                    os.unlink(path)
            raise


def write_durable(path: Path, data: bytes, *, mode: int = 0o666, replace: bool = False) -> None:
    """The bytes under a temporary name, fsync, then the name, then fsync of the folder: all of it or nothing.

    FileExistsError when the name is taken and `replace` is off; nothing of an attempt stays behind on an error.
    """
    with Staged(path.parent, [data], mode) as staged:
        staged.publish(path, replace=replace)


def _new_temporary(folder: Path, mode: int) -> tuple[int, Path]:
    while True:
        path = folder / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with contextlib.suppress(OSError):  # a file system without such locks
            fcntl.flock(fd, fcntl.LOCK_EX)
        if os.path.lexists(path):  # not taken for stale before it was locked
            return fd, path
        os.close(fd)


def _rename_new(old: Path, new: Path) -> None:
    """Unlike rename(2) never over a file that somebody else made meanwhile."""
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        # No hard links here (exFAT, some network file systems). An empty file of one's own may be renamed over.
        os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
        try:
            os.replace(old, new)
        except BaseException:
            os.unlink(new)
            raise
    else:
        os.unlink(old)


def remove_stale(folder: Path) -> None:
    """Removes the temporary files of writers that were killed; those of living ones stay."""
    for path in folder.glob(f"{TEMPORARY_PREFIX}*"):
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(path)
            finally:
                os.close(fd)
