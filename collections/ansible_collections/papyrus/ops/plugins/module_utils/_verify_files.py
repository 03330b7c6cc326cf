# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a bundle that may be hostile: nothing outside of its folder is touched, nothing in it is executed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ._evidence import ATTESTATION, SUMS
from ._printable import printable

MAX_FILES = 200_000
MAX_SUMS = 64 * 1024 * 1024
_CHUNK = 1024 * 1024

_KINDS = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SUMS_LINE = re.compile(rb"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]{0,199})\n")


class VerifyError(Exception):
    """The bundle could not be examined at all (no such folder, not allowed to read it); nothing was found out."""


class NotPlain(Exception):
    """What is there under this name is no plain file; it was not opened. The message says what it is."""


@dataclass(frozen=True)
class Finding:
    """One accusation or gap in the proof. `kind` is a class of EVIDENCE.md, `seq` that of the manifest line."""

    kind: str
    path: str
    reason: str
    seq: int | None = None

    def as_dict(self) -> dict[str, object]:
        return {"class": self.kind, "path": shown(self.path), "seq": self.seq, "reason": self.reason}


def shown(name: str, limit: int = 300) -> str:
    """A name out of the bundle for a message: one line, short, fit for a terminal."""
    text = printable(name).replace("\n", "\\n")
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


class Folder:
    """A folder, opened once; names are looked up in it and nowhere else (openat(2), links are not followed).

    Hard links are not refused: backups and snapshots make them of untouched bundles. OSError as of open(2).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._fd)

    def names(self) -> Iterator[str]:
        """Every name in the folder, hidden ones too; bytes that are no UTF-8 as surrogates."""
        with os.scandir(self._fd) as entries:
            for entry in entries:
                yield entry.name

    def is_file(self, name: str) -> bool:
        """Whether a name out of `names` is a plain file; it is not opened."""
        try:
            return stat.S_ISREG(os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def open(self, name: str) -> BinaryIO:
        """The plain file of this name. FileNotFoundError, NotPlain, VerifyError (permission, input/output error).

        What is not plain is not opened, as opening alone has effects on a device or waits on a FIFO; O_NOFOLLOW and
        O_NONBLOCK are for a bundle that somebody changes meanwhile.
        """
        if not PLAIN_NAME.fullmatch(name):
            raise NotPlain("not a name that a file of a bundle can have")
        try:
            _require_plain(os.stat(name, dir_fd=self._fd, follow_symlinks=False).st_mode)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            file = os.fdopen(os.open(name, flags, dir_fd=self._fd), "rb")
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise VerifyError(f"{self.path / name} cannot be read: {exc.strerror or exc}") from exc
        try:
            _require_plain(os.fstat(file.fileno()).st_mode)
        except NotPlain:
            file.close()
            raise
        return file

    def read(self, name: str, limit: int) -> bytes:
        """At most `limit` + 1 bytes, so that the caller sees when there is more. Raises as `open` does."""
        with self.open(name) as file:
            return file.read(limit + 1)

    def difference(self, name: str, sha256: str, size: int | None = None) -> str:
        """How a file differs from what is known of it, in words; "" when it does not. Raises as `open` does.

        Reads in pieces: memory does not grow with the file. `size` None: not known. A file of another size is not read.
        """
        with self.open(name) as file:
            found = os.fstat(file.fileno()).st_size
            if size is not None and found != size:
                return f"has {found} bytes instead of {size}"
            return "" if _sha256(file, found) == sha256 else "has other bytes"

    def sha256(self, name: str) -> str:
        """Of the plain file of this name; "" when there is none."""
        try:
            with self.open(name) as file:
                return _sha256(file, os.fstat(file.fileno()).st_size)
        except (FileNotFoundError, NotPlain):
            return ""


def _require_plain(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    raise NotPlain(next((f"{words}, not a file" for test, words in _KINDS if test(mode)), "not a file"))


def _sha256(file: BinaryIO, size: int) -> str:
    """Of `size` bytes and one more, where there is one: a file that grows meanwhile has no end."""
    digest = hashlib.sha256()
    left = size + 1
    while left > 0 and (chunk := file.read(min(_CHUNK, left))):
        digest.update(chunk)
        left -= len(chunk)
    return digest.hexdigest()


def parse_sums(data: bytes) -> dict[str, str]:
    """Path → SHA-256. ValueError for any other form than the one that sealing writes.

    Sorted, each path once, no folder in it, no backslash (by which coreutils' sha256sum marks escaped names).
    """
    if len(data) > MAX_SUMS:
        raise ValueError(f"is larger than {MAX_SUMS} bytes")
    sums: dict[str, str] = {}
    end, last = 0, ""
    while end < len(data):
        match = _SUMS_LINE.match(data, end)
        if match is None:
            raise ValueError(f"its line {len(sums) + 1} is not '<SHA-256>  <name>'")
        path = match.group(2).decode("ascii")
        if path in (SUMS, ATTESTATION):
            raise ValueError(f"lists {path}, which it cannot know")
        if path <= last:
            raise ValueError(f"its line {len(sums) + 1} is not in order, or lists {path} again")
        sums[path] = match.group(1).decode("ascii")
        end, last = match.end(), path
    return sums
