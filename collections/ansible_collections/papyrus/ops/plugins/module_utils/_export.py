# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every export of an audit trail is made of: a source is asked unit by unit, page by page, for items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ._aws import AwsFailure


def listed(answer: Mapping[str, Any], member: str, operation: str, resource: str) -> list[Any]:
    """What an answer lists, perhaps nothing. AwsFailure for one that does not even say so.

    botocore takes what is no JSON, or a part of it, for an answer without any member: nothing found, no next page.
    """
    found = answer.get(member)
    if isinstance(found, list):
        return found
    raise AwsFailure(
        f"the answer has no {member}, not even none",
        code="BrokenAnswer",
        operation=operation,
        resource=resource,
        unanswered=True,
    )


class ExportRefused(Exception):
    """What was asked makes no sense, or somebody else writes there; nothing was asked of AWS, nothing written."""


@dataclass(frozen=True)
class Item:
    """One line of an export. `id` tells it from every other item of the export, `at` is its time in seconds since 1970.

    `line` is JSON without a line break; `malformed` says that the source's own record was none and lies in a wrapper.
    """

    id: str
    at: float
    line: bytes
    malformed: bool = False


@dataclass(frozen=True)
class Page:
    """The answer to one request. `token` leads to the next page; "" at the end of the unit.

    `counts` are the source's own (`resources`, `not_json` …), summed up by name in the report, for each unit and for
    all, also over a resume. `note` says of the unit what a reader of the report has to know (`AWS refuses this type`).
    """

    items: tuple[Item, ...]
    token: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Unit:
    """What is asked with one series of pages: a window of time, a resource, a log group's window.

    `key` is its name in journal and report, the same at each start. `start` and `end` are seconds since 1970, both
    inclusive. `parameters` are the source's own, of JSON.
    """

    key: str
    start: float
    end: float
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Request:
    """What is exported. Calls with the same request go on with the same unfinished export.

    `stem` begins the names of files (`cloudtrail_events`). `asked` is what was asked for as it was given, of JSON
    (`{"hours": 24}`, or start and end, with log group, attributes …). `start` and `end`, seconds since 1970, are made
    of it when the export begins; whoever resumes it takes those of the beginning.
    """

    stem: str
    account: str
    region: str
    asked: Mapping[str, Any]
    start: float
    end: float


@dataclass
class Progress:
    """How far one unit is, and what came of it. `unit` is what is left of it; `asked` is it as it was planned.

    Times are seconds since 1970: `first` and `last` those of the oldest and newest item written, `began` and `ended`
    those of the first request that was answered and of the last page. `requests` counts retries as well. `reached_id`
    and `reached_at` are of the last item that came.
    """

    asked: Unit
    unit: Unit
    token: str = ""
    done: bool = False
    items: int = 0
    duplicates: int = 0
    malformed: int = 0
    requests: int = 0
    pages: int = 0
    cuts: int = 0
    lost_tokens: int = 0
    first: float | None = None
    last: float | None = None
    began: float | None = None
    ended: float | None = None
    counts: dict[str, int] = field(default_factory=dict)
    note: str = ""
    reached_id: str = ""
    reached_at: float | None = None


class Source(Protocol):
    """Where an export comes from."""

    name: str
    """Of what, for messages: `CloudTrail's event history of 123456789012 in us-west-2`."""
    operation: str
    """The call as policies name it: `cloudtrail:LookupEvents`."""
    delivery: float
    """Seconds that an item may be late in the source: a unit asked before its end and that long is not settled."""
    retention: float
    """Seconds that the source keeps an item; 0 when it is not known to forget any."""

    def units(self, start: float, end: float) -> Sequence[Unit]:
        """All that has to be asked, in the order in which it is asked; may make calls of its own (AwsFailure)."""

    def ask(self, unit: Unit, token: str) -> Page:
        """One request, without any retry of its own, on any thread. AwsFailure for every failure."""

    def rest(self, unit: Unit, last: Item) -> Unit | None:
        """What of a unit is left after `last` without its token, `last` itself included; None for the whole unit.

        Of `last` only `id` and `at` are set. The key is the same, start and end lie within the unit's.
        """

    def summary(self, progress: Sequence[Progress]) -> Mapping[str, Any]:
        """The source's own part of completeness.json (`{"windows": […]}`, see `_export_report.windows`)."""
