# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One line of a terminal that comes and goes between what others print (the callback papyrus.ops.live)."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import unicodedata
from collections.abc import Callable
from typing import Any

ERASE = b"\r\x1b[K"
"""To the first column, and the line is empty."""


def width(character: str) -> int:
    """Columns that a terminal gives to it: 2 for wide ones, 0 for what is put over the one before."""
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def cut(text: str, columns: int) -> str:
    """`text` where it fits into so many columns, else its beginning and an ellipsis."""
    if sum(map(width, text)) <= columns:
        return text
    kept, used = "", 1
    for character in text:
        used += width(character)
        if used > columns:
            break
        kept += character
    return kept + "…" if columns > 0 else ""


def own_terminal(fd: int) -> int:
    """The terminal behind `fd` opened once more, so that a write which cannot be done at once is left.

    That must not be set for `fd` itself, which the shell shares. OSError where it is no terminal, or of another user.
    """
    if not os.isatty(fd):
        raise OSError(errno.ENOTTY, "no terminal")
    flags = os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    with contextlib.suppress(OSError):
        return os.open(f"/proc/self/fd/{fd}", flags)  # also where it has no name, as in some containers
    return os.open(os.ttyname(fd), flags)


class Screen:
    """`lock` is that of Ansible's display: who prints holds it, and nothing is forked while somebody holds it.

    The cursor rests in the first column, so that whoever else writes there does so over the line. OSError where no line
    can be shown.
    """

    def __init__(self, lock: Any, streams: list[Any]) -> None:
        self._lock = lock
        self._fd = own_terminal(streams[0].fileno())
        self._encoding = streams[0].encoding or "utf-8"
        self._painted = ""
        self._unended: set[int] = set()
        """Streams with something that is not out yet, or is no whole line."""
        self._undo: list[Callable[[], None]] = []
        for stream in streams:
            if stream.isatty():
                self._watch(stream.buffer)

    @property
    def columns(self) -> int:
        return os.get_terminal_size(self._fd).columns or 80

    def paint(self, text: str) -> None:
        """Shows the line in place of the last one; not where somebody has begun a line, and not in the background."""
        with self._lock:
            if not self._unended and self._is_ours():
                self._painted = cut(text, self.columns - 1)  # a character in the last column could begin a new line
                self._write(b"\r" + self._painted.encode(self._encoding, "replace") + b"\x1b[K\r")

    def clear(self) -> None:
        with self._lock:
            if self._painted:
                self._painted = ""
                self._write(ERASE)

    def close(self) -> None:
        """Takes the line away for good; OSError never comes out of it."""
        with self._lock, contextlib.suppress(OSError):
            undo, self._undo = self._undo, []
            for each in undo:
                each()
            fd, self._fd = self._fd, -1
            try:
                if self._painted:
                    os.write(fd, ERASE)
            finally:
                os.close(fd)

    def _is_ours(self) -> bool:
        """Whether this is in the terminal's foreground, where it may write. True when it is not our session's."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return True

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):  # the terminal is held (Ctrl-S): Ansible itself waits, this does not
            os.write(self._fd, data)

    def _watch(self, buffer: Any) -> None:
        """Clears the line before that stream says something, in the way in which Ansible has put its lock there."""
        write, flush, this = buffer.write, buffer.flush, id(buffer)
        at_once = isinstance(buffer, io.RawIOBase)  # PYTHONUNBUFFERED: nobody will flush it
        ended = [True]

        def watched_write(data: Any) -> Any:
            with self._lock:
                self.clear_before_others()
                self._unended.add(this)
                ended[0] = bytes(data[-1:]) == b"\n" if len(data) else ended[0]
                written = write(data)
                if at_once:
                    is_out()
                return written

        def watched_flush() -> Any:
            with self._lock:
                flushed = flush()
                is_out()
                return flushed

        def is_out() -> None:
            if ended[0]:
                self._unended.discard(this)

        def undo() -> None:
            buffer.write, buffer.flush = write, flush

        buffer.write, buffer.flush = watched_write, watched_flush
        self._undo.append(undo)

    def clear_before_others(self) -> None:
        with contextlib.suppress(OSError):
            self.clear()
