# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger: outside every bundle, says which runs were opened and how each ended, so that none can vanish."""

from __future__ import annotations

import datetime as dt
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ._aws import client_factory
from ._ledger_base import MAX_ENTRY, Entry, Ledger, LedgerError, LedgerMissing, entry_name, in_window, split_name
from ._ledger_s3 import Place, S3Ledger
from ._locks import sync_folder, write_durable
from ._names import utc_now

__all__ = ["Entry", "FolderLedger", "Ledger", "LedgerError", "ledger_place", "open_ledger"]

_S3 = "s3://"


def ledger_place(where: str, account_id: str = "") -> str:
    """The address of a ledger as it is kept and shown: a folder's absolute path, or `s3://` with the bucket's owner.

    The owner is `account_id` unless the address says another. ValueError for an address that is none.
    """
    return str(Place.parse(where, account_id)) if where.startswith(_S3) else str(Path(where).absolute())


def open_ledger(where: str, *, region: str = "", now: Callable[[], dt.datetime] = utc_now) -> Ledger:
    """The ledger in a folder, or at `s3://bucket/prefix`. Asks nobody and creates nothing: its `check()` asks.

    Credentials, endpoint and, unless it is given, region are those of the environment. ValueError for an address.
    """
    if where.startswith(_S3):
        session = {"region_name": region} if region else {}
        return S3Ledger(Place.parse(where), lambda: client_factory(session), now=now)
    return FolderLedger(ledger_place(where), now=now)


class FolderLedger(Ledger):
    """A folder, perhaps on a shared disk. Each entry is there as a whole and fsynced, or not at all."""

    def __init__(self, folder: str | Path, *, now: Callable[[], dt.datetime] = utc_now) -> None:
        self.folder = Path(folder)
        self.where = str(folder)
        self._now = now

    def check(self, *, read_only: bool = False) -> str:
        """The folder, or the nearest one above it, can be written to; for a reader: it is there."""
        if read_only:
            if not self.folder.is_dir():
                raise LedgerMissing(f"there is no ledger at {self.where}: no such folder. Check its path.")
            return ""
        nearest = next(folder for folder in (self.folder, *self.folder.absolute().parents) if os.path.lexists(folder))
        if not nearest.is_dir():
            raise LedgerError(f"the ledger {self.where} cannot be kept there: {nearest} is no folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise LedgerError(f"the ledger {self.where} cannot be written: this user may not write to {nearest}")
        return ""

    def runs(self, since: dt.datetime | None = None, until: dt.datetime | None = None) -> Iterator[Entry]:
        names = sorted(entry.name for entry in os.scandir(self.folder)) if self.folder.is_dir() else []
        known = [found for name in names if (found := split_name(name)) is not None]
        present = set(known)
        for run_id in dict.fromkeys(run_id for run_id, _what in known):
            if not in_window(run_id, since, until):
                continue
            opened, closed, problems = None, None, []
            for what in ("opened", "closed"):
                if (run_id, what) not in present:
                    continue
                value = self._read(run_id, what)
                if value is None:
                    problems.append(f"{entry_name(run_id, what)} is no entry of a ledger")
                elif what == "opened":
                    opened = value
                else:
                    closed = value
            yield Entry(run_id, opened, closed, None, tuple(problems))

    def _put(self, name: str, data: bytes) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder.parent)
        write_durable(self.folder / name, data)

    def _get(self, name: str) -> bytes | None:
        try:
            fd = os.open(self.folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno == errno.ELOOP:
                return b""  # a link: no entry
            raise
        with os.fdopen(fd, "rb") as file:
            return file.read(MAX_ENTRY + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
