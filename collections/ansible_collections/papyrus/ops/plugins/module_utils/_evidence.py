# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The evidence bundle of one run: a folder of items and a hash-chained manifest that only grows (EVIDENCE.md)."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ._locks import TEMPORARY_PREFIX, locked_file, sync_folder, write_all, write_durable
from ._names import file_stamp, parse_rfc3339, rfc3339, utc_now
from ._redaction import Redactor

try:
    import rfc8785

    RFC8785_IMPORT_ERROR: ImportError | None = None
except ImportError as exc:
    RFC8785_IMPORT_ERROR = exc

Status = Literal["ok", "ng", "skip", "info"]
STATUSES = ("ok", "ng", "skip", "info")

MANIFEST = "manifest.jsonl"
RUN_FILE = "run.json"
VERDICT = "verdict.json"
FIRST_PREV = "0" * 64
SEALED_FILES = frozenset({"junit.xml", "report.html", "SHA256SUMS", "attestation.dsse.json"})

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MAX_META = 16 * 1024
_MAX_LINE = 64 * 1024

MEDIA_TYPES = {
    "json": "application/json",
    "jsonl": "application/x-ndjson",
    "log": "text/plain",
    "txt": "text/plain",
    "tfstate": "application/json",
    "cast": "application/x-asciicast",
    "gz": "application/gzip",
    "xml": "application/xml",
    "html": "text/html",
}


class BundleError(Exception):
    """The bundle cannot take an item; the message says which and why."""


class BundleClosed(BundleError):
    """The verdict is there, and the verdict is the last item."""


def canonical(value: Any) -> bytes:
    """RFC 8785 canonical JSON (JCS), without a line end."""
    if RFC8785_IMPORT_ERROR is not None:
        raise BundleError("the Python package rfc8785 is not installed where the evidence is written") from (
            RFC8785_IMPORT_ERROR
        )
    return bytes(rfc8785.dumps(value))


def content_bytes(content: Any) -> bytes:
    """Bytes of an item: text as UTF-8, anything else as JSON for people (sorted keys, indented, one line end)."""
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode("utf-8", "surrogateescape")
    return (json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, default=str) + "\n").encode("utf-8")


def media_type_of(name: str) -> str:
    return MEDIA_TYPES.get(name.rpartition(".")[2], "application/octet-stream")


class Bundle:
    """Appends to and reads one bundle. Any number of processes may do so at the same time.

    `redactor` sees data, name and meta of each item before anything is written.
    """

    def __init__(
        self,
        folder: str | Path,
        redactor: Redactor | None = None,
        *,
        now: Callable[[], dt.datetime] = utc_now,
        lock_timeout: float = 30.0,
    ) -> None:
        self.folder = Path(folder)
        self.manifest = self.folder / MANIFEST
        self._redactor = redactor or Redactor()
        self._now = now
        self._lock_timeout = lock_timeout

    @classmethod
    def create(
        cls,
        folder: str | Path,
        run: Mapping[str, Any],
        redactor: Redactor | None = None,
        *,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> Bundle:
        """A new bundle with run.json as item 0. FileExistsError when the folder is there: one run, one folder."""
        folder = Path(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
        sync_folder(folder.parent)
        bundle = cls(folder, redactor, now=now)
        write_durable(bundle.manifest, b"")
        data = content_bytes(bundle._redactor.redact_object(dict(run)))
        bundle.append(RUN_FILE, data, media_type="application/json", status="info", step="all")
        return bundle

    def append(
        self,
        name: str,
        data: bytes,
        *,
        media_type: str = "",
        status: str,
        step: str,
        meta: Mapping[str, Any] | None = None,
        at: str | None = None,
    ) -> dict[str, Any]:
        """Writes one item and its manifest line, durably and in this order; returns the line.

        `name` is the interface (`healthz.log`), the file becomes `<UTC>_<name>`. Errors: ValueError for arguments,
        BundleClosed after the verdict, BundleError for a manifest that cannot be continued, LockTimeout, OSError
        (disk full: the manifest is as it was before). The cost does not depend on how many items there are.
        """
        name = self._checked_name(name)
        if status not in STATUSES:
            raise ValueError(f"the status {status!r} of {name} must be one of {', '.join(STATUSES)}")
        if not step:
            raise ValueError(f"{name} needs a step: the id of what it shows, such as D1")
        if at is not None:
            at = rfc3339(parse_rfc3339(at), microseconds=True)
        data = self._redactor.redact(data)
        clean_meta = self._redactor.redact_object(dict(meta or {}))
        if len(canonical(clean_meta)) > _MAX_META:
            raise ValueError(f"meta of {name} is larger than {_MAX_META} bytes; put it into the item itself")
        with self._locked() as fd:
            previous, end = self._tail(fd, repair=True)
            return self._write(
                fd, end, previous, name, data, media_type or media_type_of(name), status, step, clean_meta, at
            )

    def lines(self) -> list[dict[str, Any]]:
        """All complete manifest lines. BundleError when one of them is no JSON object."""
        return self.read()[0]

    def read(self) -> tuple[list[dict[str, Any]], bytes]:
        """The complete lines, and the bytes of a torn last line (empty when there is none)."""
        with self._locked() as fd:
            raw = _read_range(fd, 0, os.fstat(fd).st_size)
        complete, _newline, torn = raw.rpartition(b"\n")
        result = []
        for number, line in enumerate(complete.split(b"\n") if complete else []):
            result.append(_parse(line, f"line {number + 1} of {self.manifest}"))
        return result, torn

    def last_line(self) -> dict[str, Any] | None:
        """The last complete line, read from the tail alone."""
        with self._locked() as fd:
            previous, _end = self._tail(fd, repair=False)
        return None if previous is None else _parse(previous, f"the last line of {self.manifest}")

    def head(self) -> str:
        """SHA-256 of the last complete line: names the whole chain."""
        with self._locked() as fd:
            previous, _end = self._tail(fd, repair=False)
        return FIRST_PREV if previous is None else hashlib.sha256(previous).hexdigest()

    def has(self, name: str) -> bool:
        return any(line["name"] == name for line in self.lines())

    def closed(self) -> bool:
        last = self.last_line()
        return last is not None and last["name"] == VERDICT

    def data(self, line: Mapping[str, Any]) -> bytes:
        """Bytes of an item, as they are on disk."""
        return (self.folder / str(line["path"])).read_bytes()

    def recover(self) -> dict[str, Any] | None:
        """After a crash of a writer: names a torn last line and files without a line in an item `continued.json`.

        Removes half-written temporary files, which never were evidence. Returns the new line, or None when there was
        nothing to name. Reads the whole manifest, so it is for taking over a bundle, not for each append.
        """
        with self._locked() as fd:
            raw = _read_range(fd, 0, os.fstat(fd).st_size)
            complete, _newline, torn = raw.rpartition(b"\n")
            listed = {json.loads(line)["path"] for line in complete.split(b"\n") if line}
            unlisted = []
            for entry in sorted(self.folder.iterdir()):
                if entry.name.startswith(TEMPORARY_PREFIX):
                    entry.unlink()
                elif entry.is_file() and entry.name not in listed | SEALED_FILES | {MANIFEST}:
                    unlisted.append({"path": entry.name, "sha256": hashlib.sha256(entry.read_bytes()).hexdigest()})
            if not torn and not unlisted:
                return None
            previous, end = self._tail(fd, repair=True, unlisted=unlisted)
            if torn:
                return _parse(previous or b"", "the line just written")
            return self._write_continued(fd, end, previous, b"", unlisted)

    # The manifest, under its lock

    def _locked(self) -> Any:
        return locked_file(self.manifest, timeout=self._lock_timeout)

    def _tail(self, fd: int, *, repair: bool, unlisted: list[dict[str, str]] | None = None) -> tuple[bytes | None, int]:
        """The last complete line (None in an empty manifest) and the offset at which the next one begins.

        A torn last line was never fsynced as a whole, so it lists nothing: with `repair` it is cut off, and an item
        that carries its bytes takes its place, for everybody to see.
        """
        size = os.fstat(fd).st_size
        window = min(size, 2 * _MAX_LINE)
        tail = _read_range(fd, size - window, window)
        complete, newline, torn = tail.rpartition(b"\n")
        if not newline and window < size:
            raise BundleError(f"the last line of {self.manifest} is longer than {_MAX_LINE} bytes: not written by this")
        end = size - len(torn)
        previous = complete.rpartition(b"\n")[2] if newline else None
        if torn and repair:
            os.ftruncate(fd, end)
            os.fsync(fd)
            line = self._write_continued(fd, end, previous, torn, unlisted or [])
            previous = canonical(line)
            end += len(previous) + 1
        return previous, end

    def _write_continued(
        self, fd: int, end: int, previous: bytes | None, torn: bytes, unlisted: list[dict[str, str]]
    ) -> dict[str, Any]:
        content = {
            "what": "a writer ended in the middle of an append; the bundle was continued here",
            "torn_line": torn.decode("utf-8", "replace"),
            "torn_bytes": len(torn),
            "unlisted": unlisted,
        }
        meta = {"torn_sha256": hashlib.sha256(torn).hexdigest() if torn else "", "unlisted": len(unlisted)}
        data = self._redactor.redact(content_bytes(content))
        return self._write(
            fd, end, previous, "continued.json", data, "application/json", "info", "J1", meta, None, True
        )

    def _write(
        self,
        fd: int,
        end: int,
        previous: bytes | None,
        name: str,
        data: bytes,
        media_type: str,
        status: str,
        step: str,
        meta: Mapping[str, Any],
        at: str | None,
        even_if_closed: bool = False,
    ) -> dict[str, Any]:
        last = None if previous is None else _parse(previous, f"the last line of {self.manifest}")
        if last is not None and last.get("name") == VERDICT and not even_if_closed:
            raise BundleClosed(f"{self.folder} has its verdict, nothing can be added: {name} was refused")
        moment = self._now()
        path = self._store(name, moment, data)
        line = {
            "seq": 0 if last is None else _seq(last, self.manifest) + 1,
            "prev": FIRST_PREV if previous is None else hashlib.sha256(previous).hexdigest(),
            "at": at or rfc3339(moment, microseconds=True),
            "name": name,
            "path": path,
            "media_type": media_type,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "status": status,
            "step": step,
            "meta": dict(meta),
        }
        try:
            os.lseek(fd, end, os.SEEK_SET)
            write_all(fd, canonical(line) + b"\n")
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, end)  # disk full: back to the last whole line
            raise
        return line

    def _store(self, name: str, moment: dt.datetime, data: bytes) -> str:
        """Stores the bytes under a name that no other item has; returns it."""
        if name == RUN_FILE:
            write_durable(self.folder / RUN_FILE, data)
            return RUN_FILE
        stamp = file_stamp(moment)
        while True:
            path = f"{stamp}_{name}"
            if not os.path.lexists(self.folder / path):
                with contextlib.suppress(FileExistsError):
                    write_durable(self.folder / path, data)
                    return path
            stamp = moment.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%S%fZ")  # same name, same second
            moment += dt.timedelta(microseconds=1)

    def _checked_name(self, name: str) -> str:
        redacted = self._redactor.redact_text(name)
        if redacted != name:
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", redacted).lstrip("._-")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"the item name {name!r} must be at most 128 letters, digits, '.', '_' or '-', "
                "and begin with a letter or digit"
            )
        if name in SEALED_FILES or name == MANIFEST:
            raise ValueError(f"the item name {name!r} is reserved for the bundle itself")
        return name


def _read_range(fd: int, offset: int, length: int) -> bytes:
    chunks = []
    while length > 0:
        chunk = os.pread(fd, length, offset)
        if not chunk:
            break
        chunks.append(chunk)
        offset += len(chunk)
        length -= len(chunk)
    return b"".join(chunks)


def _parse(line: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError as exc:
        raise BundleError(f"{where} is not JSON: the bundle was changed by something else, do not continue it") from exc
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise BundleError(f"{where} is not a manifest line: the bundle was changed by something else")
    return value


def _seq(line: Mapping[str, Any], manifest: Path) -> int:
    seq = line.get("seq")
    if not isinstance(seq, int) or isinstance(seq, bool):
        raise BundleError(
            f"the last line of {manifest} has no sequence number: the bundle was changed by something else"
        )
    return seq
