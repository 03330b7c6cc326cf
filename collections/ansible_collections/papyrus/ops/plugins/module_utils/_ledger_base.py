# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every ledger is: `<run id>.opened.json` and `<run id>.closed.json`, each written once, never replaced."""

from __future__ import annotations

import abc
import datetime as dt
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ._evidence import content_bytes
from ._names import parse_run_id, rfc3339

What = Literal["opened", "closed"]

MAX_ENTRY = 64 * 1024
"""Bytes of one entry; what is larger was not written by this."""


class LedgerError(OSError):
    """The ledger cannot be used; the message says why and what to do."""


class LedgerMissing(LedgerError):
    """There is no ledger where a reader was sent."""


@dataclass(frozen=True)
class Entry:
    """Both entries of a run as they lie in the ledger; None for one that is not there or cannot be read.

    `stored_at` is when the store itself says that the opening was written (S3; None for a folder, whose times anybody
    can set). `problems` says what is wrong with the entries themselves.
    """

    run_id: str
    opened: dict[str, Any] | None
    closed: dict[str, Any] | None
    stored_at: dt.datetime | None = None
    problems: tuple[str, ...] = ()


class Ledger(abc.ABC):
    """FileExistsError when a run is opened or closed twice: an entry is never replaced. LedgerError, OSError.

    `where` is the folder or the `s3://` address, for messages.
    """

    where: str
    _now: Callable[[], dt.datetime]

    def open(self, run_id: str, service: str, run_sha256: str) -> dict[str, Any]:
        """Announces a run before it creates anything."""
        return self._write(run_id, "opened", {"service": service, "run_sha256": run_sha256})

    def close(
        self, run_id: str, result: str, manifest_head: str, attestation_sha256: str | None = None
    ) -> dict[str, Any]:
        """Closes a run: its result, the hash of the last manifest line, and that of the attestation once sealed."""
        content = {"result": result, "manifest_head": manifest_head, "attestation_sha256": attestation_sha256}
        return self._write(run_id, "closed", content)

    def opened(self, run_id: str) -> dict[str, Any] | None:
        return self._read(run_id, "opened")

    def closed(self, run_id: str) -> dict[str, Any] | None:
        return self._read(run_id, "closed")

    def unclosed(self) -> list[str]:
        """Ids of the runs that were opened and not closed, oldest first."""
        return [entry.run_id for entry in self.runs() if entry.closed is None]

    @abc.abstractmethod
    def check(self, *, read_only: bool = False) -> str:
        """LedgerError unless entries can be kept here, or for a reader read; writes nothing.

        Says what keeps them: "" when nothing does. LedgerMissing when a reader's ledger is not there at all.
        """

    @abc.abstractmethod
    def runs(self, since: dt.datetime | None = None, until: dt.datetime | None = None) -> Iterator[Entry]:
        """Every run of the ledger that began in this time (by its run id), oldest first."""

    @abc.abstractmethod
    def _put(self, name: str, data: bytes) -> None:
        """Writes one entry durably. FileExistsError when the name is taken."""

    @abc.abstractmethod
    def _get(self, name: str) -> bytes | None:
        """The bytes of one entry, MAX_ENTRY + 1 at most; None when there is none."""

    def _write(self, run_id: str, what: What, content: dict[str, Any]) -> dict[str, Any]:
        entry = {"run_id": run_id, f"{what}_at": rfc3339(self._now(), microseconds=True), **content}
        name, data = entry_name(run_id, what), content_bytes(entry)
        try:
            self._put(name, data)
        except FileExistsError:
            if self._get(name) != data:  # else it is this very entry, and its answer was lost (S3, NFS)
                raise
        return entry

    def _read(self, run_id: str, what: What) -> dict[str, Any] | None:
        data = self._get(entry_name(run_id, what))
        return None if data is None else parse_entry(data)


def entry_name(run_id: str, what: What) -> str:
    """ValueError for what is no run id: nothing else becomes part of a path or a key."""
    return f"{parse_run_id(run_id)}.{what}.json"


def parse_entry(data: bytes) -> dict[str, Any] | None:
    """The entry, or None when the bytes are none: too many, no JSON, no object."""
    if len(data) > MAX_ENTRY:
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def split_name(name: str) -> tuple[str, What] | None:
    """Run id and kind of an entry's name; None for what is not named like an entry."""
    for what in ("opened", "closed"):
        run_id = name.removesuffix(f".{what}.json")
        if run_id != name:
            try:
                return parse_run_id(run_id).text, what
            except ValueError:
                return None
    return None


def in_window(run_id: str, since: dt.datetime | None, until: dt.datetime | None) -> bool:
    started = parse_run_id(run_id).started
    return (since is None or started >= since.replace(microsecond=0)) and (until is None or started <= until)
