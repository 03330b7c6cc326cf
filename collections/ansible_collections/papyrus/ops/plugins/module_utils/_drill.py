# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drill of a service's alarms: announces itself, makes conditions, watches alarms and messages, says it is over."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _alarms
from ._aws import AwsFailure
from ._calls import Calls
from ._drill_case import Case, Limits
from ._drill_messages import Page, Receiver
from ._poller import Done, GoOn, poll
from ._progress import PROGRESS
from ._rollout_journal import Journal
from ._rows import json_safe, listing

UNHEARD = 10.0
"""Seconds without its message after which an alarm's history is asked what became of its action, and then each time."""

UNANSWERED = 5
"""Looks in a row that may fail, each after the SDK's own retries."""

HISTORY = 50
"""Items of an alarm's history that are kept."""


@dataclass(frozen=True)
class Plan:
    """What the coordinator needs of the run. `announcement` is the alarm which says that a drill is under way."""

    run_id: str
    topic_arn: str
    announcement: str
    interval: float = 5.0
    limits: Limits = Limits()


class Drill:
    """Runs cases side by side; `run()` returns when each is over. Nothing raises but what a fault of ours raises."""

    def __init__(
        self,
        calls: Calls,
        plan: Plan,
        cases: Sequence[Case],
        receiver: Receiver,
        journal: Journal,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.calls = calls
        self.plan = plan
        self.cases = list(cases)
        self.receiver = receiver
        self.journal = journal
        self.announced: list[dict[str, str]] = []
        self.histories: dict[str, list[dict[str, Any]]] = {}
        self._clock = clock
        self._sleep = sleep
        self._start = clock()
        self._asked: dict[str, float] = {}
        self._awaited = ""

    @property
    def elapsed(self) -> float:
        return self._clock() - self._start

    @property
    def failed(self) -> list[Case]:
        return [case for case in self.cases if case.phase != "done"]

    def run(self) -> None:
        try:
            why = self._announce("ALARM", f"DRILL of run {self.plan.run_id} begins: no incident")
            if why:
                self._fail_all(f"not rung, as nobody would have heard it: {why}")
            unanswered = 0
            while not all(case.over for case in self.cases):
                try:
                    self._look()
                    unanswered = 0
                except AwsFailure as exc:
                    unanswered += 1
                    self.journal.event("unanswered", f"AWS could not be asked: {exc}")
                    if unanswered == UNANSWERED:
                        raise
                self._conditions()
                if not all(case.over for case in self.cases):
                    self._sleep(self.plan.interval)
        except AwsFailure as exc:
            self._fail_all(f"AWS could not be asked any more: {exc}")
        except BaseException:  # interrupted: those on call shall not wait for an end that nobody tells
            with contextlib.suppress(AwsFailure):
                self._set_announcement("OK", f"DRILL of run {self.plan.run_id} was interrupted: no alarm of it is real")
            raise
        finally:
            for case in self.cases:
                case.condition.end()
        self._over()

    # Announcing: CloudWatch alone may publish to the topic, so an alarm of the drill's own says it

    def _announce(self, state: str, reason: str) -> str:
        """Sets the announcement's state; why its message did not come through topic and queue, or ""."""
        name, limit = self.plan.announcement, self.plan.limits.message
        self._set_announcement(state, reason)
        self.journal.event("announced", f"told the topic through {name}: {reason}", alarm=name, state=state)

        def observe() -> bool:
            return any(page.alarm == name and page.new == state for page in self._hear())

        waited = poll(
            observe,
            lambda there: Done() if there else GoOn(),
            timeout=limit,
            interval=self.plan.interval,
            clock=self._clock,
            sleep=self._sleep,
        )
        self.announced.append({"alarm": name, "state": state, "received": "yes" if waited.ok else "no"})
        if waited.ok:
            return ""
        return f"no message of {name} reached the queue within {waited.elapsed:.0f} s{self._failed_action(name)}"

    def _set_announcement(self, state: str, reason: str) -> None:
        name = self.plan.announcement
        self.calls.call("cloudwatch", "set_alarm_state", name, AlarmName=name, StateValue=state, StateReason=reason)

    def _over(self) -> None:
        """Ends the announcement and keeps the histories; neither can make a good drill bad."""
        try:
            for case in self.cases:
                self.histories[case.kind] = self._history(case.alarm)
            why = self._announce("OK", f"DRILL of run {self.plan.run_id} is over: {self.text()}"[:1000])
        except AwsFailure as exc:
            why = str(exc)
        if why:
            self.journal.event("not_told", f"that the drill is over could not be told: {why}")

    # Watching

    def _look(self) -> None:
        """One look at alarms and queue, and what follows from it."""
        found = _alarms.describe(self.calls, [case.alarm for case in self.cases])
        now = self.elapsed
        for case in self.cases:
            case.see(found.get(case.alarm), now)
        self._hear()
        for case in self.cases:
            unheard = case.missing_message(now)
            if unheard >= UNHEARD and unheard - self._asked.get(case.alarm, 0.0) >= UNHEARD:
                self._asked[case.alarm] = unheard
                action = self._failed_action(case.alarm)
                if action:
                    case.fail(f"{case.alarm} is {case.state}, but its message was not sent{action}")
            case.advance(self.elapsed)
        self._say_what_is_awaited()

    def _say_what_is_awaited(self) -> None:
        awaited: dict[str, list[str]] = {}
        for case in self.cases:
            awaited.setdefault(case.now_waiting(), []).append(case.kind)
        text = "; ".join(f"{what}: {', '.join(kinds)}" for what, kinds in awaited.items())
        if text != self._awaited:
            self.journal.event("waiting", text)
            self._awaited = text
        PROGRESS.now(text)

    def _hear(self) -> list[Page]:
        """Pages that came, each given to its case; those of others are told: somebody may be needed elsewhere."""
        pages = self.receiver.receive()
        cases = {case.alarm: case for case in self.cases}
        for page in pages:
            if page.alarm in cases:
                cases[page.alarm].hear(page, self.elapsed)
            elif page.alarm != self.plan.announcement:
                text = f"NOT OF THIS DRILL: {page.alarm} is {page.new} ({page.reason})"
                self.journal.event("other_message", text, message=page.as_dict())
        return pages

    def _conditions(self) -> None:
        """Cases may share a condition, which is made as long as one of them wants it.

        Until the drill's end each goes on without it: a copy that hears nothing more would ring once again.
        """
        conditions = {id(case.condition): case.condition for case in self.cases}
        for key, condition in conditions.items():
            condition.tick(any(case.wants for case in self.cases if id(case.condition) == key))

    def _failed_action(self, alarm: str) -> str:
        """What CloudWatch says of an action that failed, as the end of a sentence; "" when it says nothing of one."""
        failed = [
            item
            for item in self._history(alarm, "Action")
            if "Failed to execute" in str(item.get("HistorySummary")) and self.plan.topic_arn in str(item)
        ]
        if not failed:
            return ""
        return f": {failed[0]['HistorySummary']} ({failed[0].get('HistoryData') or 'no more is said'})"

    def _history(self, alarm: str, kind: str = "") -> list[dict[str, Any]]:
        """Newest first."""
        answer = self.calls.call(
            "cloudwatch",
            "describe_alarm_history",
            alarm,
            AlarmName=alarm,
            MaxRecords=HISTORY,
            ScanBy="TimestampDescending",
            **({"HistoryItemType": kind} if kind else {}),
        )
        items: list[dict[str, Any]] = json_safe(answer.get("AlarmHistoryItems") or [])
        return items

    def _fail_all(self, reason: str) -> None:
        for case in self.cases:
            case.fail(reason)

    # What it comes to

    def text(self) -> str:
        """The outcome in a sentence, with the names of the alarms that failed."""
        done = len(self.cases) - len(self.failed)
        text = f"{done} of {len(self.cases)} alarms went OK → ALARM → OK with their messages"
        if self.failed:
            text += "; FAILED: " + "; ".join(f"{case.permanent}: {case.reason}" for case in self.failed)
        return text

    def results(self) -> list[dict[str, Any]]:
        return [{**case.result(), "history": self.histories.get(case.kind, [])} for case in self.cases]


def refused(kinds: Mapping[str, Any]) -> str:
    """Why nothing can be drilled, or ""."""
    unknown = sorted(set(kinds) - set(_alarms.KINDS))
    if unknown:
        return f"{listing(unknown)}: no such kind of alarm; there are {', '.join(_alarms.KINDS)}"
    return "" if kinds else "there is no alarm to drill"
