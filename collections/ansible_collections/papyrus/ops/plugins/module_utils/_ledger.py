# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger: outside every bundle, says which runs were opened and how each ended, so that none can vanish."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ._evidence import content_bytes
from ._locks import write_durable
from ._names import parse_run_id, rfc3339, utc_now


class Ledger:
    """A folder with `<run id>.opened.json` and `<run id>.closed.json`; each is written once and fsynced.

    FileExistsError when a run is opened or closed twice: an entry is never replaced.
    """

    def __init__(self, folder: str | Path, *, now: Callable[[], dt.datetime] = utc_now) -> None:
        self.folder = Path(folder)
        self._now = now

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
        names = {path.name for path in self.folder.glob("*.json")}
        ids = {name.removesuffix(".opened.json") for name in names if name.endswith(".opened.json")}
        return sorted(run_id for run_id in ids if f"{run_id}.closed.json" not in names)

    def _path(self, run_id: str, what: str) -> Path:
        return self.folder / f"{parse_run_id(run_id)}.{what}.json"

    def _write(self, run_id: str, what: str, content: dict[str, Any]) -> dict[str, Any]:
        path = self._path(run_id, what)
        self.folder.mkdir(parents=True, exist_ok=True)
        entry = {"run_id": run_id, f"{what}_at": rfc3339(self._now(), microseconds=True), **content}
        write_durable(path, content_bytes(entry))
        return entry

    def _read(self, run_id: str, what: str) -> dict[str, Any] | None:
        try:
            value = json.loads(self._path(run_id, what).read_bytes())
        except FileNotFoundError:
            return None
        return value if isinstance(value, dict) else None
