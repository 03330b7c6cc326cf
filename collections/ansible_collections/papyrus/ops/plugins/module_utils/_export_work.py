# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one who works on an export: starts requests when there is a slot, writes what comes, decides about failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ._aws import AwsFailure
from ._export import Item, Page, Progress, Source
from ._export_filter import Criterion
from ._export_flights import Flights, Landed
from ._export_lines import clean_lines
from ._export_pace import THROTTLES, TRANSIENTS, Pacer, kind_of, pause_after
from ._export_report import Estimate, estimate, moment, span
from ._export_state import State
from ._export_store import Store
from ._redaction import Redactor

SAMPLES = 5
"""Units whose first page is asked before all others, for the estimate."""
LOST_TOKENS = 5
"""Tokens that a unit may lose in a row without a new item between."""

_WAITING_BYTES = 1024 * 1024
_WAITING_SECONDS = 0.5
_TOLD_SECONDS = 1.0


class Clock:
    """`now` is the time of day in seconds since 1970, `clock` measures durations."""

    def now(self) -> float:
        return time.time()

    def clock(self) -> float:
        return time.monotonic()


class Stopped(Exception):
    """It cannot go on now; everything up to here is kept."""

    def __init__(self, reason: str, failure: AwsFailure | None = None) -> None:
        super().__init__(reason)
        self.failure = failure


class Coordinator:
    """Alone touches state and store. `work` returns when all units are done, or raises Stopped; then all is on disk."""

    def __init__(
        self,
        source: Source,
        state: State,
        store: Store,
        *,
        pacer: Pacer,
        flights: Flights,
        lanes: int,
        redactor: Redactor,
        criterion: Criterion | None,
        settle: bool,
        long: int,
        say: Callable[[str], object],
        now: Callable[[str], object],
        clock: Clock,
    ) -> None:
        self._source = source
        self._state = state
        self._store = store
        self._pacer = pacer
        self._flights = flights
        self._lanes = lanes
        self._redactor = redactor
        self._criterion = criterion
        self._settle = settle
        self._long = long
        self._say = say
        self._now = now
        self._clock = clock
        self._order = list(state.progress)
        self._first_open = 0
        self._flying: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._failures: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._pages: dict[str, int] = {}
        self._left: dict[str, float] = {}
        self._samples = self._spread()
        self._estimated = False
        self._ticked = self._told = self._written = clock.clock()

    def work(self) -> None:
        try:
            while self._state.done < len(self._order):
                self._depart()
                self._keep()
                landed = self._wait()
                if landed is not None:
                    self._land(*landed)
                self._tell()
        except Stopped:
            self._keep(at_once=True)
            raise
        self._keep(at_once=True)

    def _wait(self) -> Landed | None:
        """Until something landed, or there is something else to do. To wait for what comes late is no work."""
        began = self._clock.clock()
        idle = not self._flying and not self._not_before and self._next() is None
        landed = self._flights.next(self._patience())
        if idle:
            self._ticked += self._clock.clock() - began
        return landed

    # Which unit is next

    def _spread(self) -> list[str]:
        """Some units all over the plan; none of an export that is resumed, nor one that would not be settled."""
        units = self._state.progress
        if any(one.requests for one in units.values()):
            return []
        fresh = [key for key, one in units.items() if self._may_begin(one)]
        if len(fresh) <= SAMPLES:
            return fresh
        return [fresh[round(number * (len(fresh) - 1) / (SAMPLES - 1))] for number in range(SAMPLES)]

    def _may_begin(self, one: Progress) -> bool:
        """Whether all that belongs to the unit is in the source by now."""
        return self._clock.now() >= one.asked.end + self._source.delivery

    def _depart(self) -> None:
        while len(self._flying) < self._lanes and self._pacer.wait() <= 0:
            key = self._next()
            if key is None:
                return
            self._pacer.take()
            self._flying[key] = self._clock.now()
            one = self._state.progress[key]
            self._flights.start(key, one.unit, one.token)

    def _next(self) -> str | None:
        now = self._clock.clock()
        for key in self._candidates():
            one = self._state.progress[key]
            if one.done or key in self._flying or self._not_before.get(key, now) > now:
                continue
            if self._settle and not one.pages and not self._may_begin(one):
                continue
            return key
        return None

    def _candidates(self) -> list[str]:
        """The oldest that are open, one for each lane.

        While one of them waits after a failure no other takes its place: a failing AWS is not asked for all in turn.
        """
        if self._samples:
            return self._samples
        while self._first_open < len(self._order) and self._state.progress[self._order[self._first_open]].done:
            self._first_open += 1
        found: list[str] = []
        for number in range(self._first_open, len(self._order)):
            if len(found) == self._lanes:
                break
            if not self._state.progress[self._order[number]].done:
                found.append(self._order[number])
        return found

    def _patience(self) -> float:
        """Seconds to wait for an answer before there is something else to do."""
        now = self._clock.clock()
        until = [now + _TOLD_SECONDS]
        if self._state.pending:
            until.append(self._written + _WAITING_SECONDS)
        if len(self._flying) < self._lanes:
            if self._next() is not None:
                until.append(now + self._pacer.wait())
            until += [at for at in self._not_before.values() if at > now]
        return max(min(until) - now, 0.0)

    # What came of it

    def _land(self, key: str, result: Page | AwsFailure) -> None:
        began = self._flying.pop(key)
        one = self._state.change(key)
        one.requests += 1
        self._state.counts.requests += 1
        self._not_before.pop(key, None)
        if isinstance(result, AwsFailure):
            self._failed(key, one, result)
            return
        self._pacer.answered()
        self._failures.pop(key, None)
        if one.began is None:
            one.began = began
        if result.token and result.token == one.token:
            raise Stopped(f"{self._source.operation} answers with the token that it was asked with")
        self._write(key, result)
        self._state.page(key, result, self._clock.now())
        self._after_page(key, one, result)

    def _write(self, key: str, page: Page) -> None:
        new = [item for item in page.items if self._state.new(key, item)]
        for line in clean_lines(self._redactor, [item.line for item in new]):
            self._store.add(0, line)
            if self._criterion is not None and self._criterion.matches(line):
                self._store.add(1, line)
        if new:
            self._lost.pop(key, None)

    def _after_page(self, key: str, one: Progress, page: Page) -> None:
        if key in self._samples:
            self._samples.remove(key)
        if page.items:
            one.reached_id, one.reached_at = page.items[-1].id, page.items[-1].at
        if one.done:
            for known in (self._pages, self._left):
                known.pop(key, None)
            return
        rest = self._rest(one)
        if rest is None:
            return
        whole = one.asked.end - one.asked.start
        self._left[key] = (rest.end - rest.start) / whole if whole else 1.0
        self._pages[key] = self._pages.get(key, 0) + 1
        if self._pages[key] >= self._long and (rest.start, rest.end) != (one.unit.start, one.unit.end):
            one.cuts += 1
            self._pages[key] = 0
            self._state.go_on_from(key, rest)

    def _rest(self, one: Progress) -> Any:
        if one.reached_at is None:
            return None
        return self._source.rest(one.unit, Item(one.reached_id, one.reached_at, b""))

    def _failed(self, key: str, one: Progress, failure: AwsFailure) -> None:
        kind = kind_of(failure, one.token)
        if kind == "throttled":
            self._state.counts.throttles += 1
            self._pacer.throttled()
            if self._pacer.throttled_in_a_row < THROTTLES:
                return
        elif kind == "transient":
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            if failures < TRANSIENTS:
                self._state.counts.retried(failure)
                self._not_before[key] = self._clock.clock() + pause_after(failures)
                return
        elif kind == "token":
            self._lost[key] = self._lost.get(key, 0) + 1
            if self._lost[key] <= LOST_TOKENS:
                one.lost_tokens += 1
                self._pages[key] = 0
                self._state.go_on_from(key, self._rest(one) or one.unit)
                return
        raise Stopped(str(failure), failure)

    # Disk and terminal

    def _keep(self, at_once: bool = False) -> None:
        """What came is made durable: each page where requests are paced, else a megabyte or half a second."""
        now = self._clock.clock()
        if not self._state.pending:
            return
        late = now - self._written >= _WAITING_SECONDS or self._store.waiting >= _WAITING_BYTES
        if at_once or self._pacer.rate or late:
            self._state.elapsed += now - self._ticked
            self._ticked = now
            self._store.checkpoint(self._state.entry())
            self._written = now

    def _tell(self) -> None:
        now = self._clock.clock()
        if not self._samples and not self._estimated:
            self._estimated = True
            found = estimate(self._state, self._left)
            if found is not None:
                self._say(self._expected(found))
        if now - self._told >= _TOLD_SECONDS:
            self._told = now
            self._now(self.line())

    def _expected(self, found: Estimate) -> str:
        rate = f"{self._pacer.rate:g} requests/s" if self._pacer.rate else "no set rate"
        return (
            f"about {found.items:.0f} items and {found.requests:.0f} requests, reckoned from {found.known} of "
            f"{len(self._order)} units; at {rate} about {span(found.seconds(self._state, self._pacer.rate))}"
        )

    def line(self) -> str:
        """How far it is."""
        state = self._state
        elapsed = state.elapsed + self._clock.clock() - self._ticked
        items = sum(one.items for one in state.progress.values())
        reached = state.counts.requests / elapsed if elapsed else 0.0
        text = f"{state.done} of {len(self._order)} units, {items} items, {reached:.2f} requests/s"
        found = estimate(state, self._left)
        if found is not None:
            text = f"about {span(found.seconds(state, self._pacer.rate))} left, {text}"
        if not self._flying and self._next() is None and state.done < len(self._order):
            waiting = state.progress[self._order[self._first_open]]
            text += f"; waits until {moment(waiting.asked.end + self._source.delivery)} for what comes late"
        return text
