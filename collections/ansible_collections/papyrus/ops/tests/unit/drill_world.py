# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Alarms, a topic and a queue whose time is the test's own; conditions ring the alarms as real ones do."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._drill import Drill, Plan
from ansible_collections.papyrus.ops.plugins.module_utils._drill_case import Case, Limits
from ansible_collections.papyrus.ops.plugins.module_utils._drill_messages import Receiver
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_journal import Journal
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

TOPIC = "arn:aws:sns:us-west-2:123456789012:svc-alarms"
QUEUE = "https://sqs.us-west-2.amazonaws.com/123456789012/papyrus-drill-abc234"
ANNOUNCEMENT = "svc-drill-abc234"
RUN = {
    "id": "20260131T120000Z-abc234",
    "suffix": "abc234",
    "tag_prefix": "papyrus",
    "private": "",
    "tags": {"papyrus:run-id": "20260131T120000Z-abc234"},
}


def permanent(kind: str, **changes: Any) -> dict[str, Any]:
    """An alarm of the permanent stack as DescribeAlarms has it."""
    alarm: dict[str, Any] = {
        "AlarmName": f"svc-{kind}",
        "AlarmArn": f"arn:aws:cloudwatch:us-west-2:123456789012:alarm:svc-{kind}",
        "AlarmDescription": "Something is wrong.",
        "ActionsEnabled": True,
        "OKActions": [TOPIC],
        "AlarmActions": [TOPIC],
        "InsufficientDataActions": [],
        "StateValue": "OK",
        "StateReason": "all is well",
        "Namespace": "AWS/ECS",
        "MetricName": "MemoryUtilization",
        "Dimensions": [{"Name": "ClusterName", "Value": "prd"}, {"Name": "ServiceName", "Value": "svc"}],
        "Statistic": "Average",
        "Period": 60,
        "EvaluationPeriods": 5,
        "DatapointsToAlarm": 2,
        "Threshold": 80.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "breaching",
    }
    if kind == "alb-5xx":
        names = {"target": "HTTPCode_Target_5XX_Count", "balancer": "HTTPCode_ELB_5XX_Count"}
        metrics: list[dict[str, Any]] = [
            {
                "Id": "errors",
                "Expression": "SUM([FILL(target, 0), FILL(balancer, 0)])",
                "Label": "5xx",
                "ReturnData": True,
            }
        ]
        metrics += [
            {
                "Id": ident,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/ApplicationELB",
                        "MetricName": name,
                        "Dimensions": [{"Name": "LoadBalancer", "Value": "app/permanent/1"}],
                    },
                    "Period": 60,
                    "Stat": "Sum",
                },
                "ReturnData": False,
            }
            for ident, name in names.items()
        ]
        for gone in ("Namespace", "MetricName", "Dimensions", "Statistic", "Period"):
            del alarm[gone]
        alarm |= {"Metrics": metrics, "Threshold": 1.0}
    if kind == "alb-latency":
        del alarm["Statistic"]
        alarm |= {
            "Namespace": "AWS/ApplicationELB",
            "MetricName": "TargetResponseTime",
            "Dimensions": [{"Name": "LoadBalancer", "Value": "app/permanent/1"}],
            "ExtendedStatistic": "p90",
            "EvaluateLowSampleCountPercentile": "evaluate",
            "Threshold": 1.5,
        }
    return alarm | changes


@dataclass
class Scripted:
    """A condition that rings its alarm `after` seconds, and lets it be over as much later."""

    world: World
    alarm: str
    after: float = 60.0
    problem: str = ""
    said: str = "it was made"
    wanted: list[bool] = field(default_factory=list)
    ended: int = 0
    last: float = 0.0

    def tick(self, wanted: bool) -> None:
        if self.ended:
            raise AssertionError("asked behind its end")
        self.last = self.world.time
        if not self.wanted or self.wanted[-1] != wanted:
            self.wanted.append(wanted)
            state = "ALARM" if wanted else "OK"
            if wanted or len(self.wanted) > 1:
                self.world.later(self.after, lambda: self.world.move(self.alarm, state))

    def end(self) -> None:
        self.ended += 1


class World:
    """`deaf` are alarms whose messages never come, `failing` those of which CloudWatch says so in their history."""

    def __init__(self) -> None:
        self.time = 0.0
        self.alarms: dict[str, dict[str, Any]] = {}
        self.queue: list[dict[str, Any]] = []
        self.deaf: set[str] = set()
        self.failing: set[str] = set()
        self.history: list[dict[str, Any]] = []
        self.unanswered = 0
        self.deleted = 0
        self.conditions: dict[str, Scripted] = {}
        self.lines: list[str] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self.aws = FakeAws(
            {
                "cloudwatch.describe_alarms": self._describe,
                "cloudwatch.set_alarm_state": self._set_state,
                "cloudwatch.describe_alarm_history": self._history,
                "sqs.receive_message": self._receive,
                "sqs.delete_message_batch": self._delete,
            }
        )
        self.alarm(ANNOUNCEMENT, "INSUFFICIENT_DATA")

    # Time

    def clock(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        due = [entry for entry in self._later if entry[0] <= self.time]
        self._later = [entry for entry in self._later if entry[0] > self.time]
        for entry in sorted(due, key=lambda each: each[0]):
            entry[1]()

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        self._later.append((self.time + seconds, action))

    @property
    def now(self) -> dt.datetime:
        return dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC) + dt.timedelta(seconds=self.time)

    # CloudWatch and SNS

    def alarm(self, name: str, state: str = "OK") -> None:
        self.alarms[name] = {
            "AlarmName": name,
            "StateValue": state,
            "StateReason": f"began as {state}",
            "StateTransitionedTimestamp": self.now,
        }

    def move(self, name: str, state: str) -> None:
        alarm = self.alarms[name]
        if alarm["StateValue"] == state:
            return
        old = alarm["StateValue"]
        alarm |= {"StateValue": state, "StateReason": f"now {state}", "StateTransitionedTimestamp": self.now}
        if name in self.failing:
            self.history.append(
                {
                    "AlarmName": name,
                    "Timestamp": self.now,
                    "HistoryItemType": "Action",
                    "HistorySummary": f"Failed to execute action {TOPIC}",
                    "HistoryData": '{"error": "not authorized"}',
                }
            )
        elif name not in self.deaf:
            self.page(name, old, state)

    def page(self, name: str, old: str, new: str, at: dt.datetime | None = None) -> None:
        stamp = (at or self.now).isoformat(timespec="milliseconds").replace("+00:00", "+0000")
        message = {
            "AlarmName": name,
            "OldStateValue": old,
            "NewStateValue": new,
            "StateChangeTime": stamp,
            "NewStateReason": f"now {new}",
            "AlarmDescription": "DRILL",
        }
        self.put(
            {
                "Type": "Notification",
                "TopicArn": TOPIC,
                "MessageId": f"message-{len(self.queue) + self.deleted}",
                "Subject": f'{new}: "{name}"',
                "Timestamp": "2026-01-31T12:00:00.000Z",
                "Message": json.dumps(message),
            }
        )

    def put(self, envelope: dict[str, Any]) -> None:
        self.queue.append({"Body": json.dumps(envelope), "ReceiptHandle": f"r{len(self.queue)}", "MessageId": "q"})

    def _describe(self, params: Any) -> Any:
        if self.unanswered:
            self.unanswered -= 1
            raise Refusal("InternalFailure")
        return {"MetricAlarms": [self.alarms[name] for name in params["AlarmNames"] if name in self.alarms]}

    def _set_state(self, params: Any) -> Any:
        self.move(params["AlarmName"], params["StateValue"])
        return {}

    def _history(self, params: Any) -> Any:
        kind = params.get("HistoryItemType")
        return {
            "AlarmHistoryItems": [
                item
                for item in self.history
                if item["AlarmName"] == params["AlarmName"] and kind in (None, item["HistoryItemType"])
            ]
        }

    def _receive(self, params: Any) -> Any:
        return {"Messages": self.queue[: params["MaxNumberOfMessages"]]}

    def _delete(self, params: Any) -> Any:
        self.deleted += len(params["Entries"])
        del self.queue[: len(params["Entries"])]
        return {"Successful": [], "Failed": []}

    # The drill

    def case(self, kind: str, *, copied: bool = True, after: float = 60.0, limits: Limits | None = None) -> Case:
        name = f"svc-{kind}-drill-abc234" if copied else f"svc-{kind}"
        self.alarm(name)
        self.conditions[kind] = Scripted(self, name, after)
        return Case(kind, f"svc-{kind}", name, self.conditions[kind], limits or Limits())

    def drill(self, *cases: Case) -> Drill:
        calls = Calls(self.aws)
        journal = Journal(clock=self.clock, now=lambda: self.now)
        for case in cases:
            case.tell = journal.event
        plan = Plan(str(RUN["id"]), TOPIC, ANNOUNCEMENT)
        receiver = Receiver(calls, QUEUE, TOPIC)
        return Drill(calls, plan, cases, receiver, journal, clock=self.clock, sleep=self.sleep)
