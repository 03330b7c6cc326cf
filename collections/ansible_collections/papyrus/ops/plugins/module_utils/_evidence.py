# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The evidence bundle of one run: a folder of items and a hash-chained manifest that only grows (EVIDENCE.md)."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ._evidence_files import find_strays, hash_of_file, read_plain
from ._locks import Staged, locked_file, remove_stale, sync_folder, write_all, write_durable
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
CONTINUED = "continued.json"
FIRST_PREV = "0" * 64
JUNIT = "junit.xml"
REPORT = "report.html"
SUMS = "SHA256SUMS"
ATTESTATION = "attestation.dsse.json"
SEALED_FILES = frozenset({JUNIT, REPORT, SUMS, ATTESTATION})
_RESERVED = SEALED_FILES | {MANIFEST}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STAMPED = re.compile(r"\d{8}T\d{6}(?:\d{6})?Z_(.+)", re.ASCII)
_LABEL = re.compile(r"[A-Za-z0-9][\x20-\x7e]{0,99}")
_GZIP = b"\x1f\x8b\x08"  # RFC 1952, section 2.3.1
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


@dataclass(frozen=True)
class _Tail:
    """The end of a manifest: its last complete line (None when there is none), where the next one begins, and the
    bytes that a killed writer left from there on."""

    previous: bytes | None
    end: int
    torn: bytes = b""


class Bundle:
    """Appends to and reads one bundle. Any number of processes and threads may do so at the same time.

    `redactor` sees all of an item before anything is written.
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
        self._seen: tuple[int, bytes] | None = None

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
        data: bytes | Path,
        *,
        media_type: str = "",
        status: str,
        step: str,
        meta: Mapping[str, Any] | None = None,
        at: str | None = None,
    ) -> dict[str, Any]:
        """Writes one item and its manifest line, durably and in this order; returns the line.

        `name` is the interface (`healthz.log`), the file becomes `<UTC>_<name>`. `data` may be the path of a plain
        file, which is copied in bounded memory. Errors: ValueError for arguments, BundleClosed after the verdict,
        BundleError for a manifest that cannot be continued, LockTimeout, OSError (disk full: the bundle is as it was
        before). The cost does not depend on how many items there are.
        """
        name = self._checked_name(name)
        if status not in STATUSES:
            raise ValueError(f"the status {status!r} of {name} must be one of {', '.join(STATUSES)}")
        step, media_type = (self._redactor.redact_text(text) for text in (step, media_type or media_type_of(name)))
        for what, text in (("step", step), ("media type", media_type)):
            if not _LABEL.fullmatch(text):
                raise ValueError(f"{name} needs a {what} of at most 100 letters, digits and signs, not {text[:120]!r}")
        if at is not None:
            at = rfc3339(parse_rfc3339(at), microseconds=True)
        clean_meta = self._redactor.redact_object(dict(meta or {}))
        if len(canonical(clean_meta)) > _MAX_META:
            raise ValueError(f"meta of {name} is larger than {_MAX_META} bytes; put it into the item itself")
        self._require_manifest()
        with Staged(self.folder, self._redacted(name, data)) as staged, self._locked() as fd:
            tail = self._tail(fd)
            if _is_verdict(tail.previous):
                raise BundleClosed(f"{self.folder} has its verdict, nothing can be added: {name} was refused")
            if (tail.previous is None) != (name == RUN_FILE):
                raise BundleError(
                    f"{self.manifest} has no line, and begins with {RUN_FILE}: it was emptied by something else"
                    if tail.previous is None
                    else f"{self.folder} has its {RUN_FILE}, a second one was refused"
                )
            if name == VERDICT:  # nothing can be listed after it
                tail = self._take_over(fd, tail)
            elif tail.torn:
                tail = self._continue(fd, tail, [], [])
            moment = self._now()
            fields = {
                "name": name,
                "path": self._publish(name, moment, staged),
                "media_type": media_type,
                "bytes": staged.size,
                "sha256": staged.sha256,
                "status": status,
                "step": step,
                "meta": clean_meta,
                "at": at or rfc3339(moment, microseconds=True),
            }
            self._list(fd, tail, fields, discard=True)
            return _parse(self._seen_line(), "the line just written")

    def lines(self) -> list[dict[str, Any]]:
        """All complete manifest lines. BundleError when one of them is no JSON object."""
        return self.read()[0]

    def read(self) -> tuple[list[dict[str, Any]], bytes]:
        """The complete lines, and the bytes of a torn last line (empty when there is none)."""
        with self._locked(write=False) as fd:
            raw = _read_range(fd, 0, os.fstat(fd).st_size)
        return self._parsed(raw)

    def last_line(self) -> dict[str, Any] | None:
        """The last complete line, read from the tail alone."""
        with self._locked(write=False) as fd:
            previous = self._tail(fd).previous
        return None if previous is None else _parse(previous, f"the last line of {self.manifest}")

    def head(self) -> str:
        """SHA-256 of the last complete line: names the whole chain."""
        with self._locked(write=False) as fd:
            return _hash_of(self._tail(fd).previous)

    def has(self, name: str) -> bool:
        return any(line["name"] == name for line in self.lines())

    def closed(self) -> bool:
        last = self.last_line()
        return last is not None and last["name"] == VERDICT

    def data(self, line: Mapping[str, Any]) -> bytes:
        """Bytes of an item, as they are on disk."""
        return (self.folder / str(line["path"])).read_bytes()

    def recover(self) -> dict[str, Any] | None:
        """After a crash of a writer: lists what it left, and says so in an item `continued.json`, which it returns.

        A file in the form of an item whose line was never written gets one (`info`, `meta.recovered`): its bytes are
        whole. Any other file stays unlisted, and is named. Temporary files of dead writers, which never were evidence,
        are removed. None when there was nothing to name, or when the verdict is there: nothing follows that. Reads the
        whole manifest, so it is for taking over a bundle, not for each append.
        """
        with self._locked() as fd:
            tail = self._tail(fd)
            if _is_verdict(tail.previous) or self._take_over(fd, tail) is tail:
                return None
            return _parse(self._seen_line(), "the line just written")

    # The manifest, under its lock

    @contextlib.contextmanager
    def _locked(self, *, write: bool = True) -> Iterator[int]:
        self._require_manifest()
        flags = os.O_RDWR if write else os.O_RDONLY
        with locked_file(self.manifest, flags=flags, timeout=self._lock_timeout, exclusive=write) as fd:
            self._require_manifest(fd)
            yield fd

    def _require_manifest(self, fd: int | None = None) -> None:
        """BundleError when it is not there, is no plain file, or is another file than the one that is open."""
        try:
            found = os.lstat(self.manifest)
        except (FileNotFoundError, NotADirectoryError) as exc:
            raise BundleError(
                f"{self.manifest} is not there: no run was opened in this folder, or its bundle was moved or removed"
            ) from exc
        if not stat.S_ISREG(found.st_mode):
            raise BundleError(f"{self.manifest} is no plain file: it was replaced by something else")
        if fd is not None and not os.path.samestat(found, os.fstat(fd)):
            raise BundleError(f"{self.manifest} was replaced by another file while it was in use")

    def _tail(self, fd: int) -> _Tail:
        """Reads the end alone. BundleError when what this object has appended is not there any more."""
        if self._seen is not None and _read_range(fd, self._seen[0], len(self._seen[1])) != self._seen[1]:
            raise BundleError(f"{self.manifest} has lost lines that were in it: it was rewritten by something else")
        size = os.fstat(fd).st_size
        window = min(size, 2 * _MAX_LINE)
        complete, newline, torn = _read_range(fd, size - window, window).rpartition(b"\n")
        if not newline and window < size:
            raise BundleError(f"the last line of {self.manifest} is longer than {_MAX_LINE} bytes: not written by this")
        return _Tail(complete.rpartition(b"\n")[2] if newline else None, size - len(torn), torn)

    def _list(self, fd: int, tail: _Tail, fields: Mapping[str, Any], *, discard: bool = False) -> _Tail:
        """Appends the line of a file that is there. With `discard` the file is removed when that fails."""
        line = {
            "seq": 0 if tail.previous is None else _seq(tail.previous, self.manifest) + 1,
            "prev": _hash_of(tail.previous),
            **fields,
        }
        data = canonical(line)
        try:
            os.lseek(fd, tail.end, os.SEEK_SET)
            write_all(fd, data + b"\n")
            os.fsync(fd)
        except OSError:
            with contextlib.suppress(OSError):  # disk full: back to the last whole line, else the next writer does it
                os.ftruncate(fd, tail.end)
                os.fsync(fd)
                if discard:
                    os.unlink(self.folder / line["path"])
            raise
        self._require_manifest(fd)
        self._seen = (tail.end, data + b"\n")
        return _Tail(data, tail.end + len(data) + 1)

    def _seen_line(self) -> bytes:
        return b"" if self._seen is None else self._seen[1]

    def _publish(self, name: str, moment: dt.datetime, staged: Staged) -> str:
        """Gives the bytes a name that no other item has; returns it."""
        if name == RUN_FILE:
            staged.publish(self.folder / RUN_FILE)
            return RUN_FILE
        stamp = file_stamp(moment)
        while True:
            path = f"{stamp}_{name}"
            if not os.path.lexists(self.folder / path):
                with contextlib.suppress(FileExistsError):
                    staged.publish(self.folder / path)
                    return path
            stamp = moment.astimezone(dt.UTC).strftime("%Y%m%dT%H%M%S%fZ")  # same name, same second
            moment = moment.replace(microsecond=secrets.randbelow(1_000_000))  # and same microsecond

    # What a crash left

    def _take_over(self, fd: int, tail: _Tail) -> _Tail:
        """Lists or names everything in the folder that no line lists; `tail` itself when there was nothing."""
        remove_stale(self.folder)
        lines, _torn = self._parsed(_read_range(fd, 0, tail.end))
        known = _RESERVED | {str(line.get("path")) for line in lines}
        found, foreign = find_strays(self.folder, known, lambda path: _name_of(path, begun=bool(lines)))
        if not (tail.torn or found or foreign):
            return tail
        found.sort(key=lambda each: each[1] != RUN_FILE)  # the first line of every bundle
        return self._continue(fd, tail, [self._adopted(*each) for each in found], foreign)

    def _adopted(self, path: str, name: str) -> dict[str, Any]:
        """The fields of its line. What came here without a writer of ours is redacted where it has to be."""
        file = self.folder / path
        before = hash_of_file(file)
        with Staged(self.folder, self._redacted(name, file, follow=False)) as staged:
            if name == VERDICT:  # never given, as it has no line, and must not be taken for one
                name = f"unlisted_{VERDICT}"
                path = self._publish(name, self._now(), staged)
                os.unlink(file)
            elif staged.sha256 != before:
                staged.publish(file, replace=True)
        return {
            "name": name,
            "path": path,
            "media_type": media_type_of(name),
            "bytes": staged.size,
            "sha256": staged.sha256,
            "status": "info",
            "step": "all" if name == RUN_FILE else "J1",
            "meta": {"recovered": "its writer ended before it had appended this line"},
        }

    def _continue(self, fd: int, tail: _Tail, adopted: list[dict[str, Any]], foreign: list[dict[str, str]]) -> _Tail:
        """Writes `continued.json`, cuts off a torn line, lists what was adopted, and `continued.json` last.

        A torn line was never fsynced as a whole, so it lists nothing. Its bytes are on disk in the item before they are
        cut off: a crash in here is recovered from like any other.
        """
        content = {
            "what": "a writer ended in the middle of an append; the bundle was continued here",
            "torn_line": tail.torn.decode("utf-8", "replace"),
            "torn_bytes": len(tail.torn),
            "adopted": [{key: each[key] for key in ("path", "sha256")} for each in adopted],
            "unlisted": foreign,
        }
        with Staged(self.folder, self._redacted(CONTINUED, content_bytes(content))) as staged:
            moment = self._now()
            fields = {
                "name": CONTINUED,
                "path": self._publish(CONTINUED, moment, staged),
                "media_type": "application/json",
                "bytes": staged.size,
                "sha256": staged.sha256,
                "status": "info",
                "step": "J1",
                "meta": {
                    "torn_sha256": hashlib.sha256(tail.torn).hexdigest() if tail.torn else "",
                    "adopted": len(adopted),
                    "unlisted": len(foreign),
                },
            }
        at = rfc3339(moment, microseconds=True)
        os.ftruncate(fd, tail.end)
        os.fsync(fd)
        for each in (*adopted, fields):
            tail = self._list(fd, tail, {**each, "at": at})
        return tail

    # Arguments

    def _redacted(self, name: str, data: bytes | Path, *, follow: bool = True) -> Iterable[bytes]:
        """In pieces. Compressed bytes stay as they are: whoever compressed them has redacted before, and some of them
        look like a secret by chance."""
        pieces = read_plain(data, follow=follow) if isinstance(data, Path) else iter([data])
        first = next(pieces, b"")
        whole = itertools.chain([first], pieces)
        return whole if name.endswith(".gz") and first.startswith(_GZIP) else self._redactor.stream(whole)

    def _parsed(self, raw: bytes) -> tuple[list[dict[str, Any]], bytes]:
        complete, _newline, torn = raw.rpartition(b"\n")
        lines = complete.split(b"\n") if complete else []
        return [_parse(line, f"line {number} of {self.manifest}") for number, line in enumerate(lines, 1)], torn

    def _checked_name(self, name: str) -> str:
        redacted = self._redactor.redact_text(name)
        if redacted != name:
            name = re.sub(r"[^A-Za-z0-9._-]+", "_", redacted).lstrip("._-")
        if not _NAME.fullmatch(name):
            raise ValueError(
                f"the item name {name!r} must be at most 128 letters, digits, '.', '_' or '-', "
                "and begin with a letter or digit"
            )
        if name in _RESERVED:
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
    except (ValueError, RecursionError) as exc:
        raise BundleError(f"{where} is not JSON: the bundle was changed by something else, do not continue it") from exc
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise BundleError(f"{where} is not a manifest line: the bundle was changed by something else")
    return value


def _seq(line: bytes, manifest: Path) -> int:
    seq = _parse(line, f"the last line of {manifest}").get("seq")
    if not isinstance(seq, int) or isinstance(seq, bool):
        raise BundleError(
            f"the last line of {manifest} has no sequence number: the bundle was changed by something else"
        )
    return seq


def _name_of(path: str, *, begun: bool) -> str:
    """The name of the item that could have this path, else "". Only a manifest without lines is without run.json."""
    if path == RUN_FILE:
        return "" if begun else RUN_FILE
    match = _STAMPED.fullmatch(path)
    name = match.group(1) if match else ""
    return name if _NAME.fullmatch(name) and name not in _RESERVED | {RUN_FILE} else ""


def _is_verdict(line: bytes | None) -> bool:
    return line is not None and _parse(line, "the last line of the manifest")["name"] == VERDICT


def _hash_of(line: bytes | None) -> str:
    return FIRST_PREV if line is None else hashlib.sha256(line).hexdigest()
