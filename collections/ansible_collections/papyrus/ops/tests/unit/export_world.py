# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulated event history, with time of its own: requests take time, fail, and days pass in seconds."""

from __future__ import annotations

import gzip
import heapq
import itertools
import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils import _export_run
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._cloudtrail_source import CloudTrailSource
from ansible_collections.papyrus.ops.plugins.module_utils._export import Item, Page, Request, Unit
from ansible_collections.papyrus.ops.plugins.module_utils._export_pace import Pacer, Patient
from ansible_collections.papyrus.ops.plugins.module_utils._export_run import Outcome
from ansible_collections.papyrus.ops.plugins.module_utils._export_work import Clock
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor

DAY = 86400
NOW = 1_770_000_000 // DAY * DAY + 43200.0
"""Noon of a day in UTC."""


Fails = Callable[[int, str], AwsFailure | None]
"""(number of the request from 1, its token) → what it fails with."""


class SimClock(Clock):
    """Starts at NOW; `clock` begins somewhere else, as a monotonic clock does."""

    def __init__(self, at: float = NOW) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def clock(self) -> float:
        return self.at - 1_000_000_000.25

    def sleep(self, seconds: float) -> None:
        self.at += max(seconds, 1e-6)  # time goes on, however short the sleep


def event(number: int, at: float, **more: object) -> Item:
    record = {"eventVersion": "1.09", "eventID": f"{number:08x}-0000-4000-8000-000000000000", "number": number, **more}
    return Item(str(record["eventID"]), at, json.dumps(record).encode())


def spread(count: int, start: float, end: float) -> list[Item]:
    """Events of whole seconds, evenly spread."""
    return [event(number, float(int(start + (end - start) * number / count))) for number in range(count)]


class History(CloudTrailSource):
    """Windows, rest and report are those of CloudTrail; the answers come from a list.

    `arrives` has events that come in late, as (time of day, event). Tokens know their window and place, and are only
    taken with that window; `tokens` are all that were given out.
    """

    def __init__(self, events: list[Item], clock: SimClock, *, fails: Fails | None = None, page: int = 50) -> None:
        super().__init__(None, "123456789012 in us-west-2")
        self.clock = clock
        self.page = page
        self.fails = fails or (lambda number, token: None)
        self.asked: list[tuple[float, str, str]] = []
        self.tokens: set[str] = set()
        self.arrives: list[tuple[float, Item]] = []
        self.take(events)

    def take(self, events: list[Item]) -> None:
        self.events = sorted(events, key=_place)
        self._at = [item.at for item in self.events]

    def ask(self, unit: Unit, token: str) -> Page:
        self.asked.append((self.clock.now(), unit.key, token))
        late = [item for at, item in self.arrives if at <= self.clock.now()]
        if late:
            self.arrives = [(at, item) for at, item in self.arrives if at > self.clock.now()]
            self.take([*self.events, *late])
        failure = self.fails(len(self.asked), token)
        if failure is not None:
            raise failure
        end = bisect_right(self._at, unit.end)
        if token:
            window, place = token.split("|")
            if window != f"{unit.start} {unit.end}":
                raise AwsFailure("token used with different parameters", code="InvalidNextTokenException")
            at, identity = place.split(" ")
            end = bisect_left(self.events, (float(at), identity), key=_place)
        begin = max(bisect_left(self._at, unit.start), end - self.page)
        found = self.events[begin:end][::-1]
        more = begin > bisect_left(self._at, unit.start)
        token = f"{unit.start} {unit.end}|{found[-1].at} {found[-1].id}" if more else ""
        self.tokens.add(token)
        return Page(tuple(found), token)


def _place(item: Item) -> tuple[float, str]:
    return item.at, item.id


class SimFlights:
    """Answers come `latency` seconds after the request; all on one thread."""

    def __init__(self, source: History, clock: SimClock, latency: Callable[[], float]) -> None:
        self.source = source
        self.clock = clock
        self.latency = latency
        self.started: list[float] = []
        self.landed = 0
        self.stop_after: int | None = None
        self._numbers = itertools.count()
        self._flying: list[Any] = []

    def start(self, key: str, unit: Unit, token: str) -> None:
        self.started.append(self.clock.clock())
        result: Page | AwsFailure
        try:
            result = self.source.ask(unit, token)
        except AwsFailure as failure:
            result = failure
        heapq.heappush(self._flying, (self.clock.at + self.latency(), next(self._numbers), key, result))

    def next(self, timeout: float) -> tuple[str, Page | AwsFailure] | None:
        until = self.clock.at + max(timeout, 1e-6)
        if self._flying and self._flying[0][0] <= until:
            at, _number, key, result = heapq.heappop(self._flying)
            self.clock.at = max(self.clock.at, at)
            self.landed += 1
            if self.stop_after is not None and self.landed > self.stop_after:
                raise Killed
            return key, result
        self.clock.at = until
        return None

    def end(self) -> None:
        pass


class Killed(BaseException):
    """The end of the process, at a moment that the test chooses."""


def asked(start: float, end: float, **more: object) -> Request:
    return Request("cloudtrail_events", "123456789012", "us-west-2", {"start": start, **more}, start, end)


@dataclass
class Ran:
    """`outcome` is None of an export that was killed."""

    outcome: Outcome | None
    flights: SimFlights

    @property
    def whole(self) -> list[dict[str, Any]]:
        assert self.outcome is not None
        return lines(self.outcome.folder / self.outcome.files[0]["name"])

    @property
    def ids(self) -> list[str]:
        return [line["eventID"] for line in self.whole]


def run(
    source: History,
    root: Path,
    request: Request,
    *,
    rate: float = 1.0,
    latency: Callable[[], float] = lambda: 0.2,
    stop_after: int | None = None,
    **how: Any,
) -> Ran:
    """An export in simulated time; killed when the answer after `stop_after` comes."""
    clock = source.clock
    flights = SimFlights(source, clock, latency)
    flights.stop_after = stop_after
    patient = Patient(Pacer(rate, clock=clock.clock, jitter=lambda: 0.0), sleep=clock.sleep)
    how = {"redactor": Redactor(), "patient": patient, "clock": clock, "flights": flights, **how}
    try:
        return Ran(_export_run.export(source, request, root, **how), flights)
    except Killed:
        return Ran(None, flights)


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rb") as file:
        return [json.loads(line) for line in file]
