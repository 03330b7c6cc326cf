# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waits until targets are healthy, or gone, with each poll kept and the cause of a failure found on the way (C5)."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import _aws, _targets
from ._calls import Calls
from ._names import rfc3339, utc_now
from ._poller import Done, Hopeless, Judgement, Outcome, poll
from ._targets import Observation, Patience

_SOONER = 8
"""The second look comes after this part of the interval: a target that is well may be healthy within a second."""


@dataclass(frozen=True)
class Plan:
    """What to wait for. Times in seconds. Without `cluster` and `task_arns` the tasks are not looked at, without both
    lists of groups security groups are not."""

    target_group_arn: str
    targets: Sequence[Mapping[str, Any]]
    timeout: float = 180.0
    interval: float = 2.0
    patience: Patience = field(default_factory=Patience)
    cluster: str | None = None
    task_arns: tuple[str, ...] = ()
    load_balancer_groups: tuple[str, ...] = ()
    task_groups: tuple[str, ...] = ()
    health_path: str = ""


@dataclass
class Waited:
    """`state` done, hopeless or timeout; `polls` one entry a look, as kept in `target_health.jsonl`."""

    state: str
    cause: str
    diagnosis: str
    polls: list[dict[str, Any]]
    elapsed: float

    @property
    def ok(self) -> bool:
        return self.state == "done"


class Waiter:
    """Observes one plan. Tasks and groups are only asked while a target is not healthy."""

    def __init__(
        self,
        calls: Calls,
        plan: Plan,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self.calls = calls
        self.plan = plan
        self.clock = clock
        self.sleep = sleep
        self.now = now
        self.polls: list[dict[str, Any]] = []
        self._start = clock()
        self._failing: tuple[Any, ...] = ()
        self._since: float | None = None
        self._closed: str | None = None
        self._path = plan.health_path
        self._asked = 0

    def until_healthy(self) -> Waited:
        """Ends early on what cannot heal; a failed look at the health (AWS unreachable) raises AwsFailure."""
        plan = self.plan
        first = plan.interval / _SOONER
        outcome = self._poll(lambda seen: _targets.judge_healthy(seen, plan.patience, self._path), first)
        diagnosis = outcome.reason
        if outcome.state == "timeout":
            diagnosis = f"not healthy within {plan.timeout:g} s: {outcome.reason}"
        return Waited(outcome.state, _targets.cause_of(outcome.last), diagnosis, self.polls, outcome.elapsed)

    def until_gone(self) -> Waited:
        """Waits for the end of draining."""
        outcome = self._poll(_targets.judge_gone)
        cause = "" if outcome.ok else "draining"
        diagnosis = (
            outcome.reason if outcome.ok else f"not deregistered within {self.plan.timeout:g} s: {outcome.reason}"
        )
        return Waited(outcome.state, cause, diagnosis, self.polls, outcome.elapsed)

    def _poll(self, judge: Callable[[Observation], Judgement], first: float | None = None) -> Outcome[Observation]:
        self._start = self.clock()
        return poll(
            self.observe,
            judge,
            timeout=self.plan.timeout,
            interval=self.plan.interval,
            first=first,
            clock=self.clock,
            sleep=self.sleep,
            on_observation=self._keep,
        )

    def observe(self) -> Observation:
        self._asked = len(self.calls.request_ids)
        targets = _targets.states(_targets.describe(self.calls, self.plan.target_group_arn), self.plan.targets)
        seen = Observation(targets, elapsed=self.clock() - self._start)
        if all(target.state == "healthy" for target in targets):
            return self._with_since(seen)
        if not self._path and any(target.reason == "Target.ResponseCodeMismatch" for target in targets):
            self._path = self._health_path()
        return self._with_since(replace(seen, gone=self._gone(), closed=self._closed_reason(seen)))

    def _with_since(self, seen: Observation) -> Observation:
        """Since when the same targets fail in the same way."""
        failing = _targets.failing_key(seen)
        if failing != self._failing:
            self._failing, self._since = failing, seen.elapsed if failing else None
        return replace(seen, failing_since=self._since)

    def _health_path(self) -> str:
        """The path that the target group asks for; a blank when nobody may look, so that it is asked once."""
        try:
            return _targets.health_path(self.calls, self.plan.target_group_arn) or " "
        except _aws.AwsFailure:
            return " "

    def _gone(self) -> tuple[str, ...]:
        plan = self.plan
        if not (plan.cluster and plan.task_arns):
            return ()
        try:
            return tuple(_targets.gone_tasks(self.calls, plan.cluster, plan.task_arns))
        except _aws.AwsFailure:
            return ()  # only a diagnosis: the wait itself goes by the target's health

    def _closed_reason(self, seen: Observation) -> str:
        plan = self.plan
        timed_out = next((target for target in seen.targets if target.reason == "Target.Timeout"), None)
        if timed_out is None or not (plan.load_balancer_groups and plan.task_groups):
            return ""
        if self._closed is None or self._closed:  # an open door is not looked at twice
            self._closed = _targets.closed_group(
                self.calls, plan.load_balancer_groups, plan.task_groups, timed_out.port
            )
        return self._closed

    def _keep(self, number: int, seen: Observation, judgement: Judgement) -> None:
        word = "done" if isinstance(judgement, Done) else "hopeless" if isinstance(judgement, Hopeless) else "go on"
        self.polls.append(
            {
                "poll": number,
                "at": rfc3339(self.now(), microseconds=True),
                "elapsed": round(seen.elapsed, 3),
                "targets": [target.as_dict() for target in seen.targets],
                "tasks_gone": list(seen.gone),
                "judgement": word,
                "reason": judgement.reason,
                "request_ids": self.calls.request_ids[self._asked :],
            }
        )
