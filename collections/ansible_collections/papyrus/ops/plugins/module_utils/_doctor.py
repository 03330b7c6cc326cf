# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A first contact with an account that only reads: every question of the preflight, and those before a first run (N6).

Nothing is opened, made or changed; a question that cannot be answered does not keep the others from being asked.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from . import _doctor_network, _doctor_permissions, _doctor_plan, _doctor_quotas, _doctor_service, _preflight
from ._preflight import Check, Facts
from ._preflight_report import CHECKS, IDENTITY
from ._printable import printable
from ._rows import WORDS, Row, Status, ids_of

WIDTH = 118
"""Columns of the table."""


@dataclass(frozen=True)
class Section:
    title: str
    checks: tuple[Check, ...]


def _preflights(*ids: str) -> tuple[Check, ...]:
    """Rows of the preflight by their ids: what doctor finds OK of them, a run's preflight finds OK as well."""
    known = {check.id: check for check in CHECKS}
    return tuple(known[row] for row in ids)


SECTIONS = (
    Section("Who asks, and from where", (IDENTITY, *_preflights("B14"), _doctor_plan.CLOCK, *_preflights("B11"))),
    Section("What these credentials may do", _doctor_permissions.CHECKS),
    Section(
        "The service",
        (
            *_doctor_service.CHECKS[:1],
            *_preflights("B7", "C4"),
            *_doctor_service.CHECKS[1:],
            *_preflights("B3"),
            *_doctor_permissions.TASK_CHECKS,
            *_doctor_network.EXEC_CHECKS,
            *_preflights("B13", "B1"),
        ),
    ),
    Section("The network", (*_preflights("B8", "C3"), *_doctor_network.CHECKS)),
    Section("The database", _preflights("B12", "B2", "B4", "B5")),
    Section("Names and tags", (*_preflights("C1"), *_doctor_plan.CHECKS)),
    Section("Quotas", _doctor_quotas.CHECKS),
    Section("What a smoke would do", _doctor_plan.PLAN_CHECKS),
)
"""In reading order. Row ids that begin with B or C are the preflight's."""


def run(facts: Facts) -> list[Row]:
    """All rows in reading order; only B10 when account or region are not the expected ones: nothing else is asked."""
    checks = [check for section in SECTIONS for check in section.checks if check is not IDENTITY]
    return _preflight.run(IDENTITY, checks, facts)


def sections(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Title and rows of each section that has any."""
    by_id = {row.id: row for row in rows}
    for number, section in enumerate(SECTIONS, 1):
        mine = [by_id[check.id] for check in section.checks if check.id in by_id]
        if mine:
            yield f"{number}. {section.title}", mine


def todo_of(row: Row) -> str:
    """What to do about a row, or ""; the preflight's rows say it in their reason."""
    return " ".join(str(row.data.get("do") or "").split())


def as_dicts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """For a module's result and for a report: each row with its section and what to do."""
    found = []
    for title, mine in sections(rows):
        for row in mine:
            whole = row.as_dict()
            data = {name: value for name, value in whole.pop("data").items() if name != "do"}
            ids = whole.pop("request_ids")
            found.append({**whole, "section": title, "do": todo_of(row), "data": data, "request_ids": ids})
    return found


def text(rows: Sequence[Row], next_command: str = "", width: int = WIDTH) -> str:
    """The table: a section's title, its rows, below a row what to do; the last line says what comes next."""
    ids = max((len(row.id) for row in rows), default=0)
    lines: list[str] = []
    for title, mine in sections(rows):
        lines.append(title)
        for row in mine:
            head = f"  {WORDS[row.status]:<4}  {row.id:<{ids}}  "
            lines += _wrapped(f"{row.title}: {printable(row.reason)}", head, width)
            if todo_of(row):
                lines += _wrapped(printable(todo_of(row)), f"{'':<{len(head) - 3}}-> ", width)
    return "\n".join([*lines, last_line(rows, next_command)])


def _wrapped(content: str, head: str, width: int) -> list[str]:
    """Lines of at most `width`, of which all but the first are indented; words are left whole, to be copied."""
    return textwrap.wrap(
        content,
        width,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )


def last_line(rows: Sequence[Row], next_command: str = "") -> str:
    """What to do next."""
    bad, doubts = ids_of(rows, "ng"), ids_of(rows, "warn")
    if bad == [IDENTITY.id]:
        return "not this account: correct the credentials or the inventory; nothing else was asked"
    if bad:
        return f"{len(bad)} {'thing' if len(bad) == 1 else 'things'} to mend first: {', '.join(bad)}"
    also = f", {len(doubts)} to look at ({', '.join(doubts)})" if doubts else ""
    return f"ready{also}: {next_command or 'ansible-playbook playbooks/alb_smoke.yml --check'}"


def counts(rows: Sequence[Row]) -> dict[str, int]:
    """How many rows have each status."""
    statuses: tuple[Status, ...] = ("ok", "warn", "ng", "skip")
    return {status: len(ids_of(rows, status)) for status in statuses}


def markdown(rows: Sequence[Row], next_command: str = "") -> str:
    """The table for a ticket or a page."""
    lines = ["# doctor", ""]
    for title, mine in sections(rows):
        lines += [f"## {title}", "", "| | row | question | seen | to do |", "|---|---|---|---|---|"]
        for row in mine:
            cells = (WORDS[row.status], row.id, row.title, row.reason, todo_of(row))
            lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
        lines.append("")
    return "\n".join([*lines, last_line(rows, next_command), ""])


def _cell(content: str) -> str:
    """Printable, on one line, and no end of the cell or HTML in it."""
    shown = printable(" ".join(content.split()))
    for character, written in (("\\", "\\\\"), ("|", "\\|"), ("<", "&lt;"), ("`", "\\`")):
        shown = shown.replace(character, written)
    return shown
