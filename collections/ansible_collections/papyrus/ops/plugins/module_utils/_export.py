# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every export of an audit trail is made of: a source is asked unit by unit, page by page, for items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol


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


class Source(Protocol):
    """Where an export comes from."""

    name: str
    """Of what, for messages: `CloudTrail's event history of 123456789012 in us-west-2`."""
    operation: str
    """The call as policies name it: `cloudtrail:LookupEvents`."""

    def units(self) -> Sequence[Unit]:
        """All that has to be asked, in the order in which it is asked; may make calls of its own."""

    def ask(self, unit: Unit, token: str) -> Page:
        """One request, without any retry of its own. AwsFailure for every failure."""

    def rest(self, unit: Unit, last: Item) -> Unit | None:
        """What of a unit is left after `last` without its token, `last` itself included; None for the whole unit."""
