# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The audit trail in the report: what was exported, that nothing is missing, what records say of a run (K1, N4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ._report_source import Entry, Source, dict_of, dicts_of, list_of, number_of, text_of
from ._report_text import size
from ._verify_addendum import ADDENDUM

COMPLETENESS = "completeness.json"

_EXPORTS = 50
_SHOWN = 40
_STATUSES = ("ok", "info", "skip", "ng")


@dataclass(frozen=True)
class Export:
    """One completeness.json. `files` are name, size, lines and SHA-256; `gaps` and `rows` are sentences."""

    entry: Entry
    title: str
    span: str
    counted: str
    asked: str
    rows: list[tuple[str, str]]
    gaps: list[str]
    files: list[tuple[str, str, str, str]]


@dataclass(frozen=True)
class Added:
    """An addendum.json. `created` are status, resource, when it was created and when it was deleted."""

    entry: Entry
    facts: list[tuple[str, str]]
    rows: list[tuple[str, str]]
    created: list[tuple[str, str, str, str]]
    more: int


@dataclass(frozen=True)
class Trail:
    exports: list[Export]
    added: Added | None


def trail(source: Source) -> Trail | None:
    """None for a run that exported nothing."""
    exports = [_export(source, entry) for entry in source.named(COMPLETENESS)[:_EXPORTS]]
    entry = source.last(ADDENDUM)
    added = None if entry is None else _added(source, entry)
    return Trail(exports, added) if exports or added else None


def claims(source: Source) -> Iterator[tuple[str, str, str]]:
    """Status, title and text of what the run shows of trails."""
    found, added = source.named(COMPLETENESS)[:_EXPORTS], source.last(ADDENDUM)
    if found and added is None:
        yield _worst(found), "Nothing is missing in what was exported", "; ".join(map(_said, found))
    if added is not None:
        rows = {text_of(row.get("id")): row for row in added.rows}
        first, records = rows.get("N4", {}), rows.get("K1", {})
        link = "The bundle that is added to is as it was sealed"
        yield _status(first) or added.status, link, text_of(first.get("reason")) or added.reason
        said = text_of(records.get("reason")) or "Not reached: the records were not compared."
        yield _status(records) or "none", "CloudTrail bears the run out", said


def _export(source: Source, entry: Entry) -> Export:
    said = dict_of(source.value(entry))
    counts, units = dict_of(said.get("counts")), dicts_of(said.get("windows"))
    empty = sum(1 for unit in units if unit.get("events") == 0)
    windows = f"{len(units):,} windows, {empty:,} of them empty" if units else ""
    if counts.get("resources") is not None:
        windows = f"{_number(counts, 'resources')} resources, {_number(counts, 'deleted')} of them deleted"
    doubled = [f"{_number(counts, key)} {word}" for key, word in _SIDE.items() if number_of(counts.get(key))]
    rate, retries = dict_of(said.get("rate")), dict_of(said.get("retries")).values()
    most = number_of(rate.get("set"))
    pace = f", {number_of(rate.get('reached')) or 0:.2f} a second (at most {most:g} were allowed)" if most else ""
    again = f"{_number(said, 'throttles')} throttled, {sum(number_of(one) or 0 for one in retries):,.0f} tried again"
    return Export(
        entry,
        text_of(said.get("source")) or "Not known",
        f"{text_of(said.get('start'))} to {text_of(said.get('end'))}" if said.get("start") else "not known",
        ", ".join(part for part in (f"{_number(counts, 'items')} lines", windows, *doubled) if part),
        f"{_number(said, 'requests')} requests{pace}, {again}",
        _rows(entry),
        [f"{text_of(gap.get('start'))} to {text_of(gap.get('end'))}: {text_of(gap.get('reason'))}" for gap in
         dicts_of(said.get("gaps"))[:_SHOWN]],
        [(text_of(file.get("name")), size(int(number_of(file.get("bytes")) or 0)), _number(file, "lines"),
          text_of(file.get("sha256"))) for file in dicts_of(said.get("files"))[:_SHOWN]],
    )  # fmt: skip


_SIDE = {"malformed": "that were no record of their source", "duplicates": "that came twice and are there once"}


def _added(source: Source, entry: Entry) -> Added:
    said = dict_of(source.value(entry))
    of, ids = dict_of(said.get("of")), dict_of(said.get("request_ids"))
    names = {"run_id": "Run", "verdict": "Its verdict", "service": "Service", "playbook": "Playbook"}
    hashes = {"run": "its run.json", "manifest": "its manifest", "attestation": "its attestation"}
    facts = [(title, text_of(of.get(key))) for key, title in names.items()]
    facts += [(f"SHA-256 of {title}", text_of(of.get(f"{part}_sha256"))) for part, title in hashes.items()]
    if ids:
        facts.append(("Request ids", f"{_number(ids, 'found')} of {_number(ids, 'asked')} are in CloudTrail"))
    made = dicts_of(said.get("created"))
    created = [
        ("ok" if each.get("deleted_at") else "ng", text_of(each.get("resource")), text_of(each.get("created_at")),
         text_of(each.get("deleted_at")) or "not deleted")
        for each in made[:_SHOWN]
    ]  # fmt: skip
    rows = _rows(entry)
    return Added(entry, [fact for fact in facts if fact[1]], rows, created, max(len(made) - _SHOWN, 0))


def _rows(entry: Entry) -> list[tuple[str, str]]:
    found = [(_status(row) or "none", text_of(row.get("reason"))) for row in list_of(entry.rows)]
    return found[:_SHOWN] or ([(entry.status, entry.reason)] if entry.reason else [])


def _said(entry: Entry) -> str:
    return "; ".join(reason for _status, reason in _rows(entry)) or "an export without a result"


def _worst(entries: list[Entry]) -> str:
    """Of all rows: a skip beside an ok is shown, as the verdict shows it."""
    found = {status for entry in entries for status, _reason in _rows(entry)} | {entry.status for entry in entries}
    return max((status for status in found if status in _STATUSES), key=_STATUSES.index, default="none")


def _status(row: Mapping[str, Any]) -> str:
    status = text_of(row.get("status"))
    return status if status in _STATUSES else ""


def _number(said: Mapping[str, Any], key: str) -> str:
    return f"{number_of(said.get(key)) or 0:,.0f}"
