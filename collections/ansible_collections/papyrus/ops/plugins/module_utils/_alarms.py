# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The permanent alarms of a service as AWS has them: whether they can be drilled, and how they are copied (I1)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import _ecs_tasks
from ._calls import Calls
from ._poller import Done, GoOn, Judgement, poll
from ._rows import Row, json_safe, listing

OF_LOAD_BALANCER = ("alb-5xx", "alb-latency")
OF_SERVICE = ("memory", "cpu")
OF_TASKS = ("task-exit", "task-start")
KINDS = (*OF_SERVICE, *OF_LOAD_BALANCER, *OF_TASKS)
COPIED = (*OF_SERVICE, *OF_LOAD_BALANCER)
"""Kinds that are drilled by a copy: their metric cannot be moved at will without harm to the service."""

STEP = "I1"

PAUSE = 5.0
"""Seconds between two requests of a lane of the drill."""

SLOWEST = 10.0
"""Seconds that a request may take beside that pause, for how many lanes a threshold needs."""

MOST_LANES = 10

_COMPARISONS = {
    "GreaterThanThreshold": 1,
    "GreaterThanOrEqualToThreshold": 1,
    "LessThanThreshold": -1,
    "LessThanOrEqualToThreshold": -1,
}


@dataclass
class Look:
    """What there is. `alarms` are DescribeAlarms' by kind, `subscriptions` those of the topic without endpoints."""

    rows: dict[str, Row]
    alarms: dict[str, dict[str, Any]] = field(default_factory=dict)
    subscriptions: list[dict[str, str]] = field(default_factory=list)

    def kinds(self, status: str) -> list[str]:
        return [kind for kind, row in self.rows.items() if row.status == status]

    def heard_by(self) -> str:
        """Who hears the topic, in words: protocols and how many, never an address."""
        confirmed = [each["protocol"] for each in self.subscriptions if each["state"] == "confirmed"]
        counted = [f"{confirmed.count(protocol)} {protocol}" for protocol in sorted(set(confirmed))]
        pending = len(self.subscriptions) - len(confirmed)
        text = listing(counted) if counted else "nobody"
        return f"{text} ({pending} not confirmed)" if pending else text


def alarm_names(name: str) -> dict[str, str]:
    """By kind, as the permanent stack calls them."""
    return {kind: f"{name}-{kind}" for kind in KINDS}


def look(
    calls: Calls,
    name: str,
    topic_arn: str,
    *,
    load_balancer: bool,
    settle: float = 0.0,
    interval: float = 5.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Look:
    """Alarms and topic; reads only. `load_balancer` is whether one is named, so that its alarms must be there.

    An alarm that was made just now has no data yet: for those it looks again, `settle` seconds at the most.
    """

    def observe() -> Look:
        found = describe(calls, list(alarm_names(name).values()))
        alarms = {kind: found[alarm] for kind, alarm in alarm_names(name).items() if alarm in found}
        rows = {
            kind: judge(kind, alarm, alarms.get(kind), topic_arn, load_balancer=load_balancer)
            for kind, alarm in alarm_names(name).items()
        }
        return Look(rows, alarms)

    def settled(seen: Look) -> Judgement:
        young = [alarm["AlarmName"] for alarm in seen.alarms.values() if alarm["StateValue"] == "INSUFFICIENT_DATA"]
        return GoOn(listing(young)) if young else Done()

    seen = poll(observe, settled, timeout=settle, interval=interval, clock=clock, sleep=sleep).last
    seen.subscriptions = subscriptions(calls, topic_arn)
    return seen


def describe(calls: Calls, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Metric alarms by name, up to 100 of them; what is not there is left out."""
    answer = calls.call(
        "cloudwatch",
        "describe_alarms",
        listing(names),
        AlarmNames=list(names),
        AlarmTypes=["MetricAlarm"],
        MaxRecords=100,
    )
    return {str(alarm["AlarmName"]): dict(alarm) for alarm in answer.get("MetricAlarms", [])}


def subscriptions(calls: Calls, topic_arn: str) -> list[dict[str, str]]:
    """Protocol and state of each subscription. An address is somebody's, and no business of the evidence."""
    pages = calls.pages(
        "sns",
        "list_subscriptions_by_topic",
        topic_arn,
        hint="Apply playbooks/monitor.yml, or name the topic of the alarms.",
        token="NextToken",
        TopicArn=topic_arn,
    )
    return [
        {
            "protocol": str(each.get("Protocol", "")),
            "state": "confirmed" if str(each.get("SubscriptionArn", "")).startswith("arn:") else "pending",
        }
        for page in pages
        for each in page.get("Subscriptions", [])
    ]


def judge(kind: str, name: str, alarm: Mapping[str, Any] | None, topic_arn: str, *, load_balancer: bool) -> Row:
    """Whether this alarm can be drilled; pure. NG says what is wrong with it, before anything is created."""
    if alarm is None:
        if kind in OF_LOAD_BALANCER and not load_balancer:
            return Row(STEP, name, "skip", "no load balancer is named, so the service has no such alarm")
        return Row(STEP, name, "ng", f"there is no alarm {name}: apply playbooks/monitor.yml")
    problems = [
        *without_the_topic(alarm, topic_arn),
        *_not_copyable(kind, alarm),
        *_wrong_state(kind, alarm),
    ]
    if problems:
        return Row(STEP, name, "ng", f"{name}: {'; '.join(problems)}")
    return Row(STEP, name, "ok", f"{alarm['StateValue']}, rings {_topic_name(topic_arn)}")


def without_the_topic(alarm: Mapping[str, Any], topic_arn: str) -> list[str]:
    problems = [
        f"{key} do not have the topic {_topic_name(topic_arn)} ({listing(alarm.get(key) or []) or 'none'}), "
        f"so nobody hears that it {what}"
        for key, what in (("AlarmActions", "rings"), ("OKActions", "is over"))
        if topic_arn not in (alarm.get(key) or [])
    ]
    if not alarm.get("ActionsEnabled", True):
        problems.append("its actions are disabled, so nobody hears it")
    return problems


def _not_copyable(kind: str, alarm: Mapping[str, Any]) -> list[str]:
    if alarm.get("ComparisonOperator") not in _COMPARISONS:
        return [f"{alarm.get('ComparisonOperator')} is a comparison that the drill does not know"]
    metrics, expressions = _metrics(alarm), _expressions(alarm)
    if kind in OF_SERVICE and expressions:
        return ["it is computed of several metrics, for which the drill cannot choose data"]
    if kind in OF_LOAD_BALANCER and not all("LoadBalancer" in each["dimensions"] for each in metrics):
        return ["not every metric of it has the dimension LoadBalancer"]
    if kind == "alb-5xx" and lanes_for(copy_of(alarm)) > MOST_LANES:
        return [f"{MOST_LANES} requests at a time do not bring so many errors as it needs ({alarm['Threshold']:g})"]
    return []


def _wrong_state(kind: str, alarm: Mapping[str, Any]) -> list[str]:
    state, reason = str(alarm.get("StateValue")), str(alarm.get("StateReason") or "no reason")
    if state == "ALARM":
        return [f"it is in ALARM already ({reason}): see to that first, a drill would hide it"]
    if state == "INSUFFICIENT_DATA" and kind in OF_SERVICE:
        where = _metrics(alarm)[0]
        dimensions = ", ".join(f"{key}={value}" for key, value in where["dimensions"].items())
        return [f"{where['namespace']} {where['metric_name']} of {dimensions} has no data, so it cannot ring"]
    return []


def _topic_name(topic_arn: str) -> str:
    return topic_arn.rsplit(":", 1)[-1]


# Copies


def copy_of(alarm: Mapping[str, Any]) -> dict[str, Any]:
    """An alarm of DescribeAlarms as the drill's stack takes it: everything but the metric's place stays. JSON."""
    copied: dict[str, Any] = json_safe(
        {
            "name": alarm["AlarmName"],
            "description": alarm.get("AlarmDescription") or "no description",
            "comparison_operator": alarm["ComparisonOperator"],
            "threshold": alarm["Threshold"],
            "evaluation_periods": alarm["EvaluationPeriods"],
            "datapoints_to_alarm": alarm.get("DatapointsToAlarm") or alarm["EvaluationPeriods"],
            "treat_missing_data": alarm.get("TreatMissingData") or "missing",
            "evaluate_low_sample_count_percentiles": alarm.get("EvaluateLowSampleCountPercentile") or None,
            "actions_enabled": alarm.get("ActionsEnabled", True),
            "alarm_actions": alarm.get("AlarmActions") or [],
            "ok_actions": alarm.get("OKActions") or [],
            "insufficient_data_actions": alarm.get("InsufficientDataActions") or [],
            "metrics": _metrics(alarm),
            "expressions": _expressions(alarm),
        }
    )
    return copied


def _metrics(alarm: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not alarm.get("Metrics"):
        statistic = {"statistic": alarm.get("Statistic"), "extended_statistic": alarm.get("ExtendedStatistic")}
        return [{"id": "", **_place(alarm), "period": alarm.get("Period"), "unit": alarm.get("Unit"), **statistic}]
    return [
        {
            "id": query["Id"],
            **_place(query["MetricStat"]["Metric"]),
            "period": query["MetricStat"]["Period"],
            "statistic": query["MetricStat"]["Stat"],
            "unit": query["MetricStat"].get("Unit"),
            "label": query.get("Label"),
            "return_data": query.get("ReturnData", True),
        }
        for query in alarm["Metrics"]
        if query.get("MetricStat")
    ]


def _expressions(alarm: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "id": query["Id"],
            "expression": query["Expression"],
            "label": query.get("Label"),
            "return_data": query.get("ReturnData", True),
        }
        for query in alarm.get("Metrics") or []
        if query.get("Expression")
    ]


def _place(metric: Mapping[str, Any]) -> dict[str, Any]:
    pairs = {str(pair["Name"]): str(pair["Value"]) for pair in metric.get("Dimensions") or []}
    return {"namespace": metric.get("Namespace"), "metric_name": metric.get("MetricName"), "dimensions": pairs}


def values_around(alarm: Mapping[str, Any]) -> tuple[float, float]:
    """A value that rings the copy and one that does not, both well off its threshold; `alarm` as `copy_of` has it."""
    threshold = float(alarm["threshold"])
    distance = max(1.0, abs(threshold) * 0.1) * _COMPARISONS[str(alarm["comparison_operator"])]
    return threshold + distance, threshold - distance


def lanes_for(copied: Mapping[str, Any] | None) -> int:
    """How many requests side by side bring twice the answers that the alarm of 5xx counts in a period; 1 without it."""
    if copied is None:
        return 1
    answers = 2 * (float(copied["threshold"]) + 1)
    return max(1, math.ceil(answers * (PAUSE + SLOWEST) / float(copied["metrics"][0]["period"])))


# What serves


def running(calls: Calls, cluster: str, service: str, container: str | None) -> dict[str, Any]:
    """The service's revision, image and network as the drill's stack takes them. TaskProblem, AwsFailure."""
    described = _ecs_tasks.describe_service(calls, cluster, service)
    primary = [each for each in described.get("deployments", []) if each.get("status") == "PRIMARY"]
    given = {**described, **{key: value for each in primary[:1] for key, value in each.items() if value}}
    definition = _ecs_tasks.describe_task_definition(calls, str(given["taskDefinition"]))
    image = str(_ecs_tasks.container_definition(definition, container)["image"])
    network = (given.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    return {
        "task_definition": str(definition["taskDefinitionArn"]),
        "image_repository": repository(image),
        "execution_role_arn": definition.get("executionRoleArn"),
        "subnets": list(network.get("subnets") or []),
        "assign_public_ip": network.get("assignPublicIp") == "ENABLED",
        "launch_type": given.get("launchType"),
        "platform_version": given.get("platformVersion"),
        "capacity_providers": [
            {"name": each["capacityProvider"], "weight": each.get("weight", 0), "base": each.get("base", 0)}
            for each in given.get("capacityProviderStrategy") or []
        ],
    }


def repository(image: str) -> str:
    """An image's reference without tag and digest; a port of the registry stays."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"
