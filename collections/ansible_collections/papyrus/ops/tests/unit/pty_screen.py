# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A terminal without a person: a real pseudo terminal, and what would be on its screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import unicodedata

_TOKEN = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|\r|\n|[^\x1b\r\n]")


class Screen:
    """Rows of text by what was written to a terminal of so many columns: as much of one as is used here."""

    def __init__(self, columns: int = 80) -> None:
        self.columns = columns
        self.rows: list[list[str]] = [[]]
        self.column = 0
        self.states: list[str] = []
        """The last row as it was whenever the cursor went to its beginning: what a person has seen there."""

    def feed(self, data: bytes) -> Screen:
        for token in _TOKEN.finditer(data.decode("utf-8", "replace")):
            self._one(token)
        return self

    @property
    def text(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.rows]

    def _one(self, token: re.Match[str]) -> None:
        what = token.group()
        if what == "\r":
            if self.text[-1] and self.text[-1] != (self.states or [""])[-1]:
                self.states.append(self.text[-1])
            self.column = 0
        elif what == "\n":
            self.rows.append([])
        elif token.group(2) == "K":
            del self.rows[-1][self.column :]
        elif token.group(2):
            assert token.group(2) == "m", f"not known here: {what!r}"
        else:
            self._put(what)

    def _put(self, character: str) -> None:
        wide = 2 if unicodedata.east_asian_width(character) in "WF" else 0 if unicodedata.combining(character) else 1
        if self.column + wide > self.columns:  # a terminal goes on in the next row
            self.rows.append([])
            self.column = 0
        row = self.rows[-1]
        row.extend(" " * (self.column - len(row)))
        if not wide and self.column:
            row[self.column - 1] += character  # put over the one before
            return
        row[self.column : self.column + wide] = [character] + [""] * (wide - 1)
        self.column += wide


class Terminal:
    """A pseudo terminal of so many columns; `slave` is what a program gets."""

    def __init__(self, columns: int = 80) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(columns)

    def become_controlling(self) -> None:
        """For a child in a session of its own: Ctrl-C comes from here."""
        fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("4H", 24, columns, 0, 0))

    def read(self, wait: float = 0.0) -> bytes:
        """What has been written since; nothing more than what is there."""
        found = b""
        while select.select([self.master], [], [], wait)[0]:
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # EIO: the last program has closed it
                break
            if not piece:
                break
            found += piece
        return found

    def close(self) -> None:
        for fd in (self.master, self.slave):
            try:
                os.close(fd)
            except OSError:
                continue
