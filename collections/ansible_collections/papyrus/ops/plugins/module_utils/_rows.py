# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of a check: OK, SKIP, NG or (of doctor alone) WARN with the reason, and the table that an operator reads."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ._printable import printable

Status = Literal["ok", "ng", "skip", "warn"]
WORDS: dict[Status, str] = {"ok": "OK", "ng": "NG", "skip": "SKIP", "warn": "WARN"}


@dataclass(frozen=True)
class Row:
    """One answered question. `id` is that of MISSION.md; a SKIP or NG without a reason is a fault of the program."""

    id: str
    title: str
    status: Status
    reason: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    request_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.status != "ok" and not self.reason.strip():
            raise ValueError(f"row {self.id}: {WORDS[self.status]} needs a reason")

    def as_dict(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "status": self.status,
            "reason": self.reason,
            "data": json_safe(self.data),
            "request_ids": list(self.request_ids),
        }


def json_safe(value: Any) -> Any:
    """A copy which JSON can carry: times as RFC 3339 in UTC, tuples and sets as lists, bytes by their number."""
    if isinstance(value, Mapping):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((json_safe(item) for item in value), key=str)
    if isinstance(value, (list, tuple)):
        return [json_safe(item) for item in value]
    if isinstance(value, dt.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=dt.UTC)
        return moment.astimezone(dt.UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    if isinstance(value, (bytes, bytearray)):
        return f"[{len(value)} bytes]"
    return value


def without_metadata(response: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of boto3 without ResponseMetadata, safe for JSON."""
    return {key: json_safe(item) for key, item in response.items() if key != "ResponseMetadata"}


def table(rows: Iterable[Row]) -> str:
    """One line a row: status, id, title, reason; columns aligned, a reason on one line and fit for a terminal."""
    lines = [(WORDS[row.status], row.id, row.title, printable(" ".join(row.reason.split()))) for row in rows]
    if not lines:
        return ""
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(line[:3], widths, strict=True)), line[3]]).rstrip()
        for line in lines
    )


def ids_of(rows: Iterable[Row], status: Status) -> list[str]:
    return [row.id for row in rows if row.status == status]


def listing(items: Iterable[object], limit: int = 5) -> str:
    """Names for a sentence: `a, b, c` or `a, b … and 7 more`."""
    texts = [str(item) for item in items]
    if len(texts) <= limit:
        return ", ".join(texts)
    return f"{', '.join(texts[:limit])} … and {len(texts) - limit} more"
