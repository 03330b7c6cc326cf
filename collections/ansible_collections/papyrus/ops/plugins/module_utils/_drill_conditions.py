# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes alarms ring: metric data for copies, requests through the temporary ALB, tasks that end badly."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import _alarms, _task_run
from ._aws import AwsFailure, Clients
from ._calls import Calls
from ._names import utc_now
from ._probe_run import Probe

EVERY = 15.0
"""Seconds between two data points; alarms look at minutes."""

BASELINE_MINUTES = 10
"""So that a copy is OK when it is looked at first: more than the periods that an alarm of 2 of 5 minutes looks at."""


class MetricData:
    """Data of a copy's metric, off its threshold on the wanted side; `copied` is what `_alarms.copy_of` made."""

    def __init__(
        self,
        calls: Calls,
        namespace: str,
        copied: Mapping[str, Any],
        suffix: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self.calls = calls
        self.namespace = namespace
        [metric] = copied["metrics"]
        self.metric: dict[str, Any] = {
            "MetricName": metric["metric_name"],
            "Dimensions": [
                {"Name": name, "Value": value} for name, value in {**metric["dimensions"], "Drill": suffix}.items()
            ],
            **({"Unit": metric["unit"]} if metric.get("unit") else {}),
        }
        self.ringing, self.calm = _alarms.values_around(copied)
        self.problem = ""
        self.said = "no metric data was put"
        self._clock = clock
        self._now = now
        self._last: tuple[float, bool] | None = None
        self._count = 0

    def baseline(self) -> None:
        """Data of the last minutes, of which a new alarm makes its first state. AwsFailure."""
        now = self._now()
        self._put(self.calm, [now - dt.timedelta(minutes=minute) for minute in range(BASELINE_MINUTES)])

    def tick(self, wanted: bool) -> None:
        if self._last is not None and self._last[1] == wanted and self._clock() - self._last[0] < EVERY:
            return
        value = self.ringing if wanted else self.calm
        try:
            self._put(value, [self._now()])
        except AwsFailure as exc:
            self.problem = str(exc)
            return
        self._last = (self._clock(), wanted)
        self._count += 1
        self.said = f"{self._count} data points were put, the last {value:g}"

    def _put(self, value: float, moments: Sequence[dt.datetime]) -> None:
        self.calls.call(
            "cloudwatch",
            "put_metric_data",
            f"metric {self.metric['MetricName']} in {self.namespace}",
            Namespace=self.namespace,
            MetricData=[{**self.metric, "Value": value, "Timestamp": moment} for moment in moments],
        )

    def end(self) -> None:
        return None


@dataclass(frozen=True)
class Asked:
    """One answer to one request, or why there was none."""

    path: str
    status: int | None
    seconds: float
    reason: str


class Requests:
    """Requests of the bad path while it is wanted, of the calm one while it is not, in a few lanes side by side."""

    def __init__(
        self,
        ask: Callable[[bool], Probe],
        paths: tuple[str, str],
        lanes: int,
        *,
        tell: Callable[[str], None] = lambda text: None,
        pause: float = _alarms.PAUSE,
    ) -> None:
        self._ask = ask  # True: the bad path
        self._paths = paths  # the bad one, the calm one
        self._tell = tell
        self._pause = pause
        self._bad = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._answers: list[Asked] = []
        self._lanes = [
            threading.Thread(target=self._lane, name="drill-requests", daemon=True) for _lane in range(lanes)
        ]
        self.problem = ""

    @property
    def said(self) -> str:
        """How the bad path answered, by status, and its slowest answer."""
        with self._lock:
            bad = [each for each in self._answers if each.path == self._paths[0]]
        if not bad:
            return f"{self._paths[0]} was not asked"
        answered = [str(each.status) if each.status is not None else "no answer" for each in bad]
        counted = ", ".join(f"{answered.count(what)} × {what}" for what in sorted(set(answered)))
        longest = max(each.seconds for each in bad)
        text = f"GET {self._paths[0]} was answered {counted}, the slowest after {longest:.1f} s"
        reason = next((each.reason for each in reversed(bad) if each.status is None), "")
        return f"{text} ({reason})" if reason else text

    def tick(self, wanted: bool) -> None:
        if wanted:
            self._bad.set()
        else:
            self._bad.clear()
        for lane in self._lanes:
            if lane.ident is None:
                lane.start()

    def _lane(self) -> None:
        while not self._ended.is_set():
            bad = self._bad.is_set()
            try:
                self._keep(bad, self._ask(bad))
            except Exception as exc:  # a fault of ours: it must not end unseen in this thread
                self.problem = f"{type(exc).__name__}: {exc}"
                return
            self._ended.wait(self._pause)

    def _keep(self, bad: bool, probe: Probe) -> None:
        answer = probe.responses[-1] if probe.responses else {}
        seconds = float((answer.get("timings") or {}).get("total") or 0.0)
        asked = Asked(self._paths[0 if bad else 1], answer.get("status"), seconds, "" if answer else probe.reason)
        with self._lock:
            new = all((each.path, each.status) != (asked.path, asked.status) for each in self._answers)
            self._answers.append(asked)
        if new:
            self._tell(f"GET {asked.path}: {asked.status or asked.reason} after {asked.seconds:.1f} s")

    def end(self) -> None:
        self._ended.set()


@dataclass
class TaskEnds:
    """One task that ends as it should not. `good` says why the way in which it ended is none that rings, or ""."""

    what: str
    clients: Clients
    runner: Callable[[Calls], _task_run.TaskRun]
    good: Callable[[_task_run.TaskRun], str]
    tell: Callable[[str], None] = lambda text: None
    problem: str = ""
    said: str = "no task was run"
    run: _task_run.TaskRun | None = None
    request_ids: list[str] = field(default_factory=list)
    _thread: threading.Thread | None = None

    def tick(self, wanted: bool) -> None:
        if wanted and self._thread is None:
            self.said = f"{self.what} is under way"  # before it can have an end to tell
            self._thread = threading.Thread(target=self._run, name="drill-task", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        calls = Calls(self.clients)
        try:
            run = self.runner(calls)
            self.run = run
            # Of a task that never ran the one has the other in it.
            how = run.reason if run.stop_reason in run.reason else f"{run.reason}; {run.stop_reason}".strip("; ")
            self.said = f"task {run.task_arn.rsplit('/', 1)[-1] or 'none'}: {how}"
            self.problem = self.good(run)
            self.tell(f"{self.what}: {self.said}")
        except Exception as exc:  # AwsFailure, or a fault of ours that must not end unseen in this thread
            self.problem = str(exc) if isinstance(exc, AwsFailure) else f"{type(exc).__name__}: {exc}"
        self.request_ids = calls.request_ids

    def end(self) -> None:
        return None


def ended_badly(run: _task_run.TaskRun) -> str:
    """Why a task did not end with an exit code other than 0, or ""."""
    if run.outcome == "exited" and run.rc:
        return ""
    return f"the task has to end with an exit code other than 0, but: {run.reason}"


def never_started(run: _task_run.TaskRun) -> str:
    """Why a task did not fail to start, or ""."""
    if run.outcome == "not_started" and run.stop_reason.startswith("TaskFailedToStart"):
        return ""
    return f"the task has to fail to start, but: {run.reason}; {run.stop_reason or 'no stop reason'}"
