# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Items of evidence from the result of an export: its files, and its completeness.json with check rows (K1-K3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

LATE = (
    "read before everything must have arrived: something of the newest part may be missing (with "
    "papyrus_audit_settle the export waits for it)"
)


def export_items(
    result: Mapping[str, Any], *, name: str, things: str, step: str, derived: str = "", only_derived: bool = False
) -> list[dict[str, Any]]:
    """`result` is that of a module that exports, a failed one's as well; items as evidence_capture takes them.

    Files become `<name>.jsonl.gz` and `<name>.<derived>.jsonl.gz`, with the region behind the name when there are
    several. With `only_derived` the derivative alone is kept, as `<name>.jsonl.gz`. What came is counted as `things`.
    """
    exports = result.get("exports") or []
    if not exports:
        reason = str(result.get("msg") or "nothing was exported")
        return [_completeness([_row(step, "ng", reason)], step, {}, content={"reason": reason})]
    return [
        item
        for one in exports
        for item in _of_one(
            one,
            f"{name}.{one['region']}" if len(exports) > 1 else name,
            where=f"{one['region']}: " if len(exports) > 1 else "",
            things=things,
            step=step,
            derived=derived,
            only_derived=only_derived,
            failed=str(result.get("msg") or ""),
        )
    ]


def _of_one(
    one: Mapping[str, Any],
    name: str,
    *,
    where: str,
    things: str,
    step: str,
    derived: str,
    only_derived: bool,
    failed: str,
) -> Iterator[dict[str, Any]]:
    meta = {"export": name.partition("_")[0], "region": one["region"], "folder": one["folder"]}
    files = one["files"]
    names = [f"{name}.jsonl.gz", f"{name}.{derived}.jsonl.gz"]
    for file, own in zip(files[1:], names[:1], strict=False) if only_derived else zip(files, names, strict=False):
        yield {
            "name": own,
            "step": step,
            "status": "info",
            "reason": f"{file['lines']:,} lines",
            "src": file["path"],
            "meta": {**meta, "file": file["name"], "lines": file["lines"]},
        }
    report = one.get("report") or {}
    if not one["complete"]:
        reason = one["reason"] or failed or "it is not complete"
        rows = [_row(step, "ng", f"{where}{reason}")]
    else:
        again = "; begun by an earlier run, which was interrupted" if one["resumed"] else ""
        span = f"no gap from {report['start']} to {report['end']}"
        rows = [_row(step, "ok", f"{where}{one['written']:,} {things}, {span}{again}")]
        if not one["settled"]:
            rows.append(_row(f"{step}.late", "skip", f"{where}{LATE}"))
    if one["completeness"]:
        yield _completeness(rows, step, meta, src=one["completeness"])
    else:
        yield _completeness(rows, step, meta, content=dict(report) or {"reason": one["reason"]})


def _completeness(rows: list[dict[str, str]], step: str, meta: Mapping[str, Any], **what: Any) -> dict[str, Any]:
    return {"name": "completeness.json", "step": step, "rows": rows, "meta": dict(meta), **what}


def _row(row_id: str, status: str, reason: str) -> dict[str, str]:
    return {"id": row_id, "status": status, "reason": reason}
