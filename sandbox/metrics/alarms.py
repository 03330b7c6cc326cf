"""Alarms: looked at with time by a clock of their own, moved from state to state, their history and their messages."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.messages import policies
from sandbox.metrics import Metrics, queries
from sandbox.metrics.evaluation import INSUFFICIENT, Datapoint, Rule, Verdict, range_length, verdict
from sandbox.metrics.expressions import ExpressionError

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

log = logging.getLogger("sandbox.alarms")
Alarm = dict[str, Any]
# How often the clock looks. AWS: every 10 s when the period is shorter than a minute, else every minute; the periods
# that are looked at are the same as there, so that only data that come late are seen sooner.
TICK_SECONDS = 1.0
# AWS keeps history for 30 days, however much it is.
MOST_HISTORY = 20_000
ACTIONS = {"ALARM": "AlarmActions", "OK": "OKActions", "INSUFFICIENT_DATA": "InsufficientDataActions"}


def step_of(period: int) -> int:
    """How far apart evaluations are, in seconds.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    """
    return 10 if period < 60 else 60


def queries_of(alarm: Alarm) -> list[dict[str, Any]]:
    """The queries of an alarm; an alarm of one metric as one query."""
    if alarm.get("Metrics"):
        return list(alarm["Metrics"])
    names = ("Namespace", "MetricName", "Dimensions")
    stat = {
        "Metric": {name: alarm.get(name) for name in names},
        "Period": alarm["Period"],
        "Stat": alarm.get("ExtendedStatistic") or alarm.get("Statistic"),
        "Unit": alarm.get("Unit"),
    }
    return [{"Id": "m1", "MetricStat": stat, "ReturnData": True}]


def datapoints(metrics: Metrics, alarm: Alarm, now: float) -> list[Datapoint]:
    """The periods of the evaluation range that are over, the newest first, of the caller's tenant."""
    asked = queries_of(alarm)
    period = queries.period_of(asked)
    step = step_of(period)
    end = now // step * step
    count = range_length(alarm["EvaluationPeriods"])
    start = end - count * period
    returned = next(query["Id"] for query in asked if query.get("ReturnData", True))
    results = queries.evaluate(metrics, asked, start, end, origin=start)[returned]
    series = results[0] if results else {}
    starts = [end - (n + 1) * period for n in range(count)]
    return [Datapoint(at, series.get(at)) for at in starts]


def rule_of(alarm: Alarm) -> Rule:
    periods = int(alarm["EvaluationPeriods"])
    return Rule(
        comparison=alarm["ComparisonOperator"],
        threshold=float(alarm["Threshold"]),
        evaluation_periods=periods,
        datapoints_to_alarm=int(alarm.get("DatapointsToAlarm") or periods),
        missing=alarm.get("TreatMissingData") or "missing",
    )


class Alarms:
    """Evaluates every tenant's alarms; `clock` is the present in seconds since 1970."""

    def __init__(self, runtime: Runtime, metrics: Metrics, clock: Callable[[], float] = time.time) -> None:
        self._runtime = runtime
        self._metrics = metrics
        self._clock = clock
        self._cloudwatch = emulator.service("cloudwatch")
        # Transitions come from the clock's thread and from requests.
        self._lock = threading.RLock()
        self._ended = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="alarms", daemon=True).start()

    def close(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(TICK_SECONDS):
            try:
                self.tick()
            except Exception:
                log.exception("the clock of alarms stumbled and goes on")

    @behaviour("cloudwatch")
    def _alarms_are_evaluated_with_time(self, alarm: Alarm, now: float) -> Verdict | None:
        """Alarms are evaluated as time goes on, also when no data arrives.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
        """
        try:
            found = datapoints(self._metrics, alarm, now)
        except ExpressionError as error:
            return Verdict(INSUFFICIENT, f"Error in expression: {error}")
        return verdict(rule_of(alarm), found)

    def tick(self) -> None:
        """Evaluate each alarm once."""
        now = self._clock()
        for (account, region, name), alarm in self._cloudwatch._alarms.all_items():
            if _held(alarm, now) or "EvaluationPeriods" not in alarm:
                continue
            with emulator.request_scope(account, region), self._lock:
                found = self._alarms_are_evaluated_with_time(alarm, now)
                if found is not None and self._cloudwatch._alarms.get(name) is alarm:
                    self.move(alarm, found.state, found.reason, _reason_data(alarm, found, now))

    def set_state(self, alarm: Alarm, state: str, reason: str, data: str | None) -> None:
        """As SetAlarmState: until the next evaluation."""
        with self._lock:
            _hold(alarm, self._clock())
            self.move(alarm, state, reason, data)

    def move(self, alarm: Alarm, state: str, reason: str, data: str | None) -> None:
        """To this state, with history and actions when it is another one than before. In the tenant's scope."""
        old, now = alarm["StateValue"], self._clock()
        if old == state:
            return
        previous = {"stateValue": old, "stateReason": alarm.get("StateReason", "")}
        alarm |= {"StateValue": state, "StateReason": reason, "StateUpdatedTimestamp": now}
        alarm["StateTransitionedTimestamp"] = now
        alarm.pop("StateReasonData", None)
        if data:
            alarm["StateReasonData"] = data
        kept = {"version": "1.0", "oldState": previous, "newState": {"stateValue": state, "stateReason": reason}}
        self.remember(alarm, "StateUpdate", f"Alarm updated from {old} to {state}", kept)
        log.info("%s: %s -> %s: %s", alarm["AlarmName"], old, state, reason)
        self.act(alarm, old, state, reason, now)
        self._cloudwatch._evaluate_parent_alarms(alarm)
        self._runtime.changed()

    def remember(self, alarm: Alarm, kind: str, summary: str, data: Any) -> None:
        """One item of the alarm's history."""
        entry = {
            "AlarmName": alarm["AlarmName"],
            "AlarmType": "CompositeAlarm" if "AlarmRule" in alarm else "MetricAlarm",
            "Timestamp": self._clock(),
            "HistoryItemType": kind,
            "HistorySummary": summary,
            "HistoryData": json.dumps(data),
        }
        entries = self._cloudwatch._history_entries()
        entries.append(entry)
        if len(entries) > MOST_HISTORY:
            del entries[: len(entries) - MOST_HISTORY]

    def act(self, alarm: Alarm, old: str, state: str, reason: str, now: float) -> None:
        """Tell those whom the alarm tells of this state."""
        actions = alarm.get(ACTIONS[state]) or []
        if not _actions_enabled(alarm):
            return
        sns = emulator.service("sns")
        name = alarm["AlarmName"]
        for action in actions:
            if not self._cloudwatch._is_sns_action_arn(action):
                self.remember(alarm, "Action", f"Failed to execute action {action}", {"error": "not offered here"})
                continue
            topic = sns._topics.get(action)
            error = _publishing_error(topic, alarm["AlarmArn"])
            if topic is not None and error is None:
                subject = f'{state}: "{name}" in {region_name(action)}'[:100]
                text = json.dumps(message(alarm, old, state, reason, now, action))
                sns._fanout(action, emulator.core("responses").new_uuid(), text, subject)
            done = "Successfully executed" if error is None else "Failed to execute"
            data: dict[str, Any] = {
                "actionState": "Succeeded" if error is None else "Failed",
                "stateUpdateTimestamp": int(now * 1000),
                "notificationResource": action,
            }
            self.remember(alarm, "Action", f"{done} action {action}", {**data, "error": error} if error else data)


def _publishing_error(topic: Mapping[str, Any] | None, alarm_arn: str) -> str | None:
    """Why CloudWatch cannot publish to a topic, in its words; None when it can."""
    if topic is None:
        return "Resource not found. Please verify that the resource exists and try again"
    if not policies.topic_lets_in(topic, policies.CLOUDWATCH, alarm_arn):
        return f"CloudWatch Alarms is not authorized to perform: SNS:Publish on resource: {topic['arn']}"
    if not policies.topic_key_lets_in(topic, policies.CLOUDWATCH, alarm_arn):
        return "CloudWatch Alarms does not have authorization to access the SNS topic encryption key."
    return None


@behaviour("cloudwatch", otherwise=lambda alarm: True)
def _actions_enabled(alarm: Alarm) -> bool:
    """An alarm whose actions are disabled changes its state and tells nobody.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DisableAlarmActions.html
    """
    return alarm.get("ActionsEnabled") is not False


@behaviour("cloudwatch", otherwise=lambda alarm, now: None)
def _hold(alarm: Alarm, now: float) -> None:
    """A state set by SetAlarmState lasts until the next evaluation.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_SetAlarmState.html
    """
    step = step_of(queries.period_of(queries_of(alarm))) if "EvaluationPeriods" in alarm else 60
    # A whole step at least: the one that is under way may end in a moment.
    alarm["_held_until"] = now // step * step + 2 * step


def _held(alarm: Alarm, now: float) -> bool:
    return now < float(alarm.get("_held_until") or 0)


def stamp(moment: float) -> str:
    """A time as alarms' messages have it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "+0000")


def _reason_data(alarm: Alarm, found: Verdict, now: float) -> str | None:
    if not found.used:
        return None
    document = {
        "version": "1.0",
        "queryDate": stamp(now),
        "startDate": stamp(min(point.start for point in found.used)),
        "statistic": alarm.get("Statistic") or alarm.get("ExtendedStatistic"),
        "period": alarm.get("Period"),
        "recentDatapoints": [point.value for point in reversed(found.used)],
        "threshold": alarm.get("Threshold"),
        "evaluatedDatapoints": [{"timestamp": stamp(point.start), "value": point.value} for point in found.used],
    }
    return json.dumps({name: value for name, value in document.items() if value is not None})


def region_name(arn: str) -> str:
    """The region of an ARN. AWS writes its long name in messages; that list is not kept here."""
    return arn.split(":")[3]


def message(alarm: Alarm, old: str, state: str, reason: str, now: float, topic: str) -> dict[str, Any]:
    """What a subscriber of the topic reads.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/AlarmThatSendsEmail.html
    """
    return {
        "AlarmName": alarm["AlarmName"],
        "AlarmDescription": alarm.get("AlarmDescription") or None,
        "AWSAccountId": alarm["AlarmArn"].split(":")[4],
        "AlarmConfigurationUpdatedTimestamp": stamp(float(alarm["AlarmConfigurationUpdatedTimestamp"])),
        "NewStateValue": state,
        "NewStateReason": reason,
        "StateChangeTime": stamp(now),
        "Region": region_name(topic),
        "AlarmArn": alarm["AlarmArn"],
        "OldStateValue": old,
        "OKActions": alarm.get("OKActions") or [],
        "AlarmActions": alarm.get("AlarmActions") or [],
        "InsufficientDataActions": alarm.get("InsufficientDataActions") or [],
        **({"AlarmRule": alarm["AlarmRule"]} if "AlarmRule" in alarm else {"Trigger": _trigger(alarm)}),
    }


def _trigger(alarm: Alarm) -> dict[str, Any]:
    common = {
        "EvaluationPeriods": alarm.get("EvaluationPeriods"),
        "DatapointsToAlarm": alarm.get("DatapointsToAlarm"),
        "ComparisonOperator": alarm.get("ComparisonOperator"),
        "Threshold": alarm.get("Threshold"),
        "TreatMissingData": alarm.get("TreatMissingData") or "missing",
        "EvaluateLowSampleCountPercentile": alarm.get("EvaluateLowSampleCountPercentile") or "",
    }
    if common["DatapointsToAlarm"] is None:
        del common["DatapointsToAlarm"]
    if alarm.get("Metrics"):
        period = queries.period_of(alarm["Metrics"])
        return {"Period": period, **common, "Metrics": alarm["Metrics"]}
    pairs = [{"value": pair["Value"], "name": pair["Name"]} for pair in alarm.get("Dimensions") or []]
    extended = alarm.get("ExtendedStatistic")
    statistic = {"StatisticType": "ExtendedStatistic", "ExtendedStatistic": extended}
    if not extended:
        names = {"SampleCount": "SAMPLE_COUNT"}
        given = str(alarm.get("Statistic"))
        statistic = {"StatisticType": "Statistic", "Statistic": names.get(given, given.upper())}
    return {
        "MetricName": alarm.get("MetricName"),
        "Namespace": alarm.get("Namespace"),
        **statistic,
        "Unit": alarm.get("Unit"),
        "Dimensions": pairs,
        "Period": alarm.get("Period"),
        **common,
    }
