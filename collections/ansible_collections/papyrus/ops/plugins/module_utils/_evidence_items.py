# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Evidence items as a playbook gives them, turned into arguments of `Bundle.append`."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ._evidence import STATUSES, Bundle, BundleClosed, content_bytes, media_type_of
from ._evidence_files import read_plain
from ._locks import LockTimeout
from ._names import rfc3339, utc_now
from ._redaction import KEY_FILE

_MAX_REASON = 400
PHASE_ITEM = "phase.json"


@dataclass(frozen=True)
class Item:
    """One item, complete: what `Bundle.append` takes. `data` is the content, or the path of a file that has it."""

    name: str
    data: bytes | Path
    media_type: str
    status: str
    step: str
    meta: dict[str, Any] = field(default_factory=dict)


def item(spec: Mapping[str, Any]) -> Item:
    """ValueError, naming the item, for what cannot be evidence.

    `rows` (id, status, reason) become `meta.rows`; without a `status` of its own the item is `ng` when a row is, and
    without content the rows are its content. A content `{"rows": [check rows]}` needs no `rows` beside it. `reason`
    becomes `meta.reason`: why the item is not `ok`.
    """
    name = str(spec.get("name") or "")
    rows = spec.get("rows") or _rows_of(spec.get("content"))
    if not all({"id", "status"} <= set(row) for row in rows):
        raise ValueError(f"a row of {name} has no id or no status")
    status = spec.get("status") or _status_of(rows, name)
    if status not in STATUSES:
        raise ValueError(f"the status {status!r} of {name} must be one of {', '.join(STATUSES)}")
    step = str(spec.get("step") or "")
    if not name or not step:
        raise ValueError(f"an evidence item needs name and step, not {name!r} and {step!r}")
    meta = dict(spec.get("meta") or {})
    if spec.get("reason"):
        meta["reason"] = _short(spec["reason"])
    if rows:
        meta["rows"] = [
            {"id": str(row["id"]), "status": str(row["status"]), "reason": _short(row.get("reason") or "")}
            for row in rows
        ]
    silent = [row["id"] for row in meta.get("rows", []) if row["status"] == "skip" and not row["reason"]]
    if silent or (status == "skip" and not rows and not meta.get("reason")):
        raise ValueError(f"{', '.join([name, *silent])} is skipped without a reason; a skip counts only with one")
    return Item(name, _data(spec, rows, name), str(spec.get("media_type") or media_type_of(name)), status, step, meta)


def _rows_of(content: Any) -> list[Mapping[str, Any]]:
    rows = content.get("rows") if isinstance(content, Mapping) else None
    checks = isinstance(rows, list) and all(
        isinstance(row, Mapping) and {"id", "status"} <= set(row) and row["status"] in STATUSES for row in rows
    )
    return list(rows) if checks and rows else []


def _status_of(rows: Iterable[Mapping[str, Any]], name: str) -> str:
    statuses = {str(row.get("status")) for row in rows}
    unknown = statuses - set(STATUSES)
    if unknown:
        raise ValueError(f"a row of {name} has the status {sorted(unknown)[0]!r}, not one of {', '.join(STATUSES)}")
    for status in ("ng", "ok", "skip"):
        if status in statuses:
            return status
    return "info"


def _data(spec: Mapping[str, Any], rows: Any, name: str) -> bytes | Path:
    if spec.get("src"):
        if spec.get("content") is not None:
            raise ValueError(f"{name} has both src and content")
        path = Path(str(spec["src"]))
        if not path.is_file():
            raise ValueError(f"{name}: there is no plain file {path} on the host where the module runs")
        return path
    content = spec.get("content")
    if content is None:
        if not rows:
            raise ValueError(f"{name} has neither content nor src nor rows")
        content = {"rows": list(rows)}
    if isinstance(content, list) and name.endswith(".jsonl"):
        return b"".join(_compact(entry) for entry in content)
    return content_bytes(content)


def _compact(entry: Any) -> bytes:
    """One line of a .jsonl item."""
    return (json.dumps(entry, sort_keys=True, ensure_ascii=False, default=str) + "\n").encode("utf-8")


def _short(reason: Any) -> str:
    text = " ".join(str(reason).split())
    return text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…"


def phase_item(phase: Mapping[str, Any]) -> Item:
    """Start or end of a phase; the report's timeline is made of these."""
    event = str(phase.get("event") or "")
    if event not in ("start", "end") or not phase.get("name"):
        raise ValueError("a phase needs a name, and the event start or end")
    content = {"phase": str(phase["name"]), "event": event, "at": rfc3339(utc_now(), microseconds=True)}
    meta = {"phase": content["phase"], "event": event}
    return Item(PHASE_ITEM, content_bytes(content), "application/json", "info", "all", meta)


def capture(bundle: Bundle, items: Iterable[Item], lines: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    """Appends in the given order; returns the manifest lines.

    They are added to `lines` one by one, which so says how far it came when an error ends it.
    """
    lines = [] if lines is None else lines
    for entry in items:
        line = bundle.append(
            entry.name, entry.data, media_type=entry.media_type, status=entry.status, step=entry.step, meta=entry.meta
        )
        lines.append(line)
    return lines


def explained(exc: Exception) -> str:
    """What an error of `Bundle.append` means, and what to do."""
    if isinstance(exc, BundleClosed):
        return f"{exc}; what happens from now on belongs into another run"
    if isinstance(exc, LockTimeout):
        return f"{exc}; nothing was added, run this again once it is free"
    if not isinstance(exc, OSError):
        return str(exc)
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{exc}: the bundle is as it was before; free space, then run this again"
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{exc}: the user with the id {os.geteuid()} may not write there; the bundle is as it was before"
    if isinstance(exc, FileNotFoundError) and Path(str(exc.filename)).name == KEY_FILE:
        return f"{exc}: the run-private folder is gone, as it is when a run has been closed"
    return str(exc)


def predicted(items: Iterable[Item]) -> list[dict[str, Any]]:
    """What `capture` would return, as far as it is known before: no place in the chain, no time, no redaction."""
    lines = []
    for entry in items:
        digest, size = hashlib.sha256(), 0
        for piece in read_plain(entry.data) if isinstance(entry.data, Path) else [entry.data]:
            digest.update(piece)
            size += len(piece)
        lines.append(
            {
                "name": entry.name,
                "media_type": entry.media_type,
                "bytes": size,
                "sha256": digest.hexdigest(),
                "status": entry.status,
                "step": entry.step,
            }
        )
    return lines
