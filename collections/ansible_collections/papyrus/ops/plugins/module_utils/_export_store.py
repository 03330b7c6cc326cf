# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an export lies on disk: gzip files that grow by whole members, and a journal that says how far they are good.

Members one after another are one gzip file (RFC 1952, section 2.2). A checkpoint ends the members, makes them durable
and then writes one line of the journal with the sizes of the files: whatever is behind those sizes after a kill is cut
off, and nothing in front of them is asked for again.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import gzip
import hashlib
import json
import os
import re
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._export import ExportRefused
from ._locks import TEMPORARY_PREFIX, LockTimeout, locked_file, sync_folder, write_all, write_durable
from ._names import file_stamp

REPORT = "completeness.json"
REQUEST = ".request.json"
JOURNAL = ".journal.jsonl"


class Finished(Exception):
    """Somebody else has just finished the export."""


class Damaged(Exception):
    """A file has not what was written into it."""


_FOLDER = re.compile(r"(\d{8}T\d{6}Z)(?:-(\d{1,6}))?")
_CHUNK = 1024 * 1024
_GZIP = 31
"""wbits of zlib for a gzip header and trailer; the header has no time and no name."""


class _File:
    """One gzip file. `size` and `lines` are those of the last checkpoint, what came since waits in memory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.lines = 0
        self.waiting = 0
        self._pending: list[bytes] = []
        self._member: Any = None
        self._fd = -1

    def open(self, size: int, lines: int) -> None:
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        os.ftruncate(self._fd, size)
        os.lseek(self._fd, size, os.SEEK_SET)
        self.size, self.lines = size, lines

    def add(self, line: bytes) -> None:
        if self._member is None:
            self._member = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self._keep(self._member.compress(line + b"\n"))
        self.lines += 1

    def checkpoint(self) -> None:
        """OSError when the disk takes it not: the file is then as long as it is, and only good up to the journal's."""
        if self._member is None:
            return
        self._keep(self._member.flush())
        self._member = None
        write_all(self._fd, b"".join(self._pending))
        os.fsync(self._fd)
        self.size += self.waiting
        self._pending, self.waiting = [], 0

    def end(self) -> None:
        """A file without lines is an empty member, not an empty file, which no gzip reads."""
        if not self.size:
            self._member = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
            self.checkpoint()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def whole(self) -> bool:
        """Whether what is on disk can be unpacked, and has as many lines as were written."""
        lines = 0
        try:
            with gzip.open(self.path) as file:
                while chunk := file.read(_CHUNK):
                    lines += chunk.count(b"\n")
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return False
        return lines == self.lines

    def digest(self) -> str:
        found = hashlib.sha256()
        at = 0
        while chunk := os.pread(self._fd, _CHUNK, at):
            found.update(chunk)
            at += len(chunk)
        return found.hexdigest()

    def _keep(self, data: bytes) -> None:
        if data:
            self._pending.append(data)
            self.waiting += len(data)


class Store:
    """An export's folder, held by a lock while the `with` block lasts. `names` are those of its files at the end."""

    def __init__(self, folder: Path, names: Sequence[str], journal: int) -> None:
        self.folder = folder
        self.names = names
        self._journal = journal
        self._end = 0
        self._files = [_File(folder / f"{name}.part") for name in names]
        self._resumed = False

    @property
    def waiting(self) -> int:
        """Bytes since the last checkpoint."""
        return sum(file.waiting for file in self._files)

    @property
    def lines(self) -> list[int]:
        return [file.lines for file in self._files]

    def open(self, replay: Callable[[Mapping[str, Any]], None]) -> None:
        """Gives each line of the journal that is true of the files to `replay`, cuts off whatever is behind the last.

        Files whose name at the end is theirs already are taken as well: all that was missing is the report.
        """
        for left in self.folder.glob(f"{TEMPORARY_PREFIX}*"):  # of somebody who was killed: nobody else writes here
            left.unlink(missing_ok=True)
        for file, name in zip(self._files, self.names, strict=True):
            final = self.folder / name
            if not os.path.lexists(file.path) and os.path.lexists(final):
                file.path = final
        there = [file.path.stat().st_size if file.path.exists() else 0 for file in self._files]
        self._resumed = any(there)
        sizes = lines = [0] * len(self._files)
        for entry, end in _entries(self._journal):
            if "sizes" in entry:
                if any(size > found for size, found in zip(entry["sizes"], there, strict=True)):
                    break
                sizes, lines = entry["sizes"], entry["lines"]
            replay(entry)
            self._end = end
        os.ftruncate(self._journal, self._end)
        for file, size, count in zip(self._files, sizes, lines, strict=True):
            file.open(size, count)

    def forget(self) -> None:
        """The journal from its beginning, before anything was asked."""
        os.ftruncate(self._journal, 0)
        self._end = 0

    def add(self, file: int, line: bytes) -> None:
        self._files[file].add(line)

    def checkpoint(self, entry: Mapping[str, Any]) -> None:
        """What was added is on disk and the journal says so, with `entry`. OSError: it is not; open it anew."""
        for file in self._files:
            file.checkpoint()
        self.note({**entry, "sizes": [file.size for file in self._files], "lines": self.lines})

    def note(self, *entries: Mapping[str, Any]) -> None:
        """Lines of the journal, durable."""
        data = b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)
        os.lseek(self._journal, self._end, os.SEEK_SET)
        write_all(self._journal, data)
        os.fsync(self._journal)
        self._end += len(data)

    def finish(self, report: Callable[[list[dict[str, Any]]], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Gives the files their names and writes what `report` makes of them; then the export is finished.

        OSError for what the disk does not take, Damaged for files that are not as they were left by an earlier process.
        """
        files = []
        for file, name in zip(self._files, self.names, strict=True):
            file.end()
            if self._resumed and not file.whole():
                raise Damaged(f"{file.path} was damaged after it had been written")
            files.append({"name": name, "bytes": file.size, "lines": file.lines, "sha256": file.digest()})
        for file, name in zip(self._files, self.names, strict=True):
            os.replace(file.path, self.folder / name)
            file.path = self.folder / name
        sync_folder(self.folder)
        found = report(files)
        text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
        # Renamed over: whoever holds the journal is alone here, and a kill leaves no second name beside the report.
        write_durable(self.folder / REPORT, text.encode("utf-8", "backslashreplace"), replace=True)
        for name in (JOURNAL, REQUEST):
            with contextlib.suppress(OSError):  # the export is whole without that
                os.unlink(self.folder / name)
        return found

    def close(self) -> None:
        for file in self._files:
            file.close()


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[tuple[Mapping[str, Any], Store]]:
    """The request of an export that is not finished, and its store. ExportRefused when somebody else has it.

    Finished when somebody else has just finished it.
    """
    with contextlib.ExitStack() as stack:
        try:
            request = read_request(folder)
            journal = stack.enter_context(locked_file(folder / JOURNAL, timeout=0.5))
        except LockTimeout as exc:
            raise ExportRefused(f"another export writes into {folder} ({exc})") from exc
        except FileNotFoundError as exc:
            raise Finished from exc
        if request is None or (folder / REPORT).exists():
            raise Finished
        store = Store(folder, request["names"], journal)
        stack.callback(store.close)
        yield request, store


def unfinished(root: Path, request: Mapping[str, Any]) -> Path | None:
    """The newest folder below `root` with an export of the same request that is not finished."""
    found = []
    for folder in root.iterdir() if root.is_dir() else ():
        match = _FOLDER.fullmatch(folder.name)
        if match and (read_request(folder) or {}).get("request") == request and not (folder / REPORT).exists():
            found.append((match[1], int(match[2] or 1), folder))
    return max(found)[2] if found else None


def read_request(folder: Path) -> Mapping[str, Any] | None:
    """What is asked there; None where nothing is, or where it is finished."""
    try:
        found = json.loads((folder / REQUEST).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def stamp_of(moment: float) -> str:
    return file_stamp(dt.datetime.fromtimestamp(moment, dt.UTC))


def create(root: Path, stamp: str, request: Mapping[str, Any]) -> Path:
    """A new folder `<stamp>` (`<stamp>-2`, … when there is one) with this request and an empty journal, at once."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    temporary.mkdir()
    try:
        write_durable(temporary / REQUEST, json.dumps(request).encode() + b"\n")
        write_durable(temporary / JOURNAL, b"", mode=0o600)
        folder = _named(temporary, root, stamp)
    except BaseException:
        for name in (REQUEST, JOURNAL):
            (temporary / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            temporary.rmdir()
        raise
    sync_folder(root)
    return folder


def _named(temporary: Path, root: Path, stamp: str) -> Path:
    number = 1
    while True:
        folder = root / (stamp if number == 1 else f"{stamp}-{number}")
        if not os.path.lexists(folder):
            try:
                os.rename(temporary, folder)
                return folder
            except OSError:
                if not os.path.lexists(folder):
                    raise
        number += 1


def _entries(fd: int) -> Iterator[tuple[dict[str, Any], int]]:
    """Each whole line of the journal with the place of its end; nothing behind a torn one."""
    at, end, rest = 0, 0, b""
    while chunk := os.pread(fd, _CHUNK, at):
        at += len(chunk)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            end += len(line) + 1
            try:
                entry = json.loads(line)
            except ValueError:
                return
            if not isinstance(entry, dict):
                return
            yield entry, end
