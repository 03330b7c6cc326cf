"""Permanent alarms for tests: made without Terraform where no rule is needed, and removed by their names."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import harness
from .services import CLUSTER, SERVICE, Services, unique

KINDS = ("memory", "cpu", "alb-5xx", "alb-latency", "task-exit", "task-start")
LOAD_BALANCER = "app/anything/50dc6c495c0c9188"
METRICS: dict[str, dict[str, Any]] = {
    "memory": {"Namespace": "AWS/ECS", "MetricName": "MemoryUtilization", "Statistic": "Average", "Threshold": 80},
    "cpu": {"Namespace": "AWS/ECS", "MetricName": "CPUUtilization", "Statistic": "Average", "Threshold": 80},
    "alb-5xx": {
        "Namespace": "AWS/ApplicationELB",
        "MetricName": "HTTPCode_Target_5XX_Count",
        "Statistic": "Sum",
        "Threshold": 1,
    },
    "alb-latency": {
        "Namespace": "AWS/ApplicationELB",
        "MetricName": "TargetResponseTime",
        "ExtendedStatistic": "p90",
        "Threshold": 1.5,
    },
    "task-exit": {"Namespace": "of-a-test", "MetricName": "task-exit", "Statistic": "Sum", "Threshold": 0},
    "task-start": {"Namespace": "of-a-test", "MetricName": "task-start", "Statistic": "Sum", "Threshold": 0},
}


def topic_of(name: str) -> str:
    """ARN of the topic of the alarms of that name."""
    return f"arn:aws:sns:{harness.facts()['region']}:{harness.facts()['account_id']}:{name}-alarms"


def named(name: str) -> list[dict[str, Any]]:
    """Alarms whose names begin so."""
    found: list[dict[str, Any]] = harness.pages(
        "cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=f"{name}-"
    )
    return found


@contextlib.contextmanager
def watched(services: Services, folder: Path, kind: str = "drill", **more: Any) -> Iterator[dict[str, Any]]:
    """Variables of a service of its own, with the permanent alarms that monitor.yml makes for it with `more`."""
    service = services.service(kind)
    name = service["papyrus_service"]
    variables = {**service, "papyrus_monitor_name": name, "papyrus_monitor_load_balancer": LOAD_BALANCER}
    monitored = {
        "papyrus_state_dir": str(folder / "state"),
        # Else it rings until the service, which has just been made, has data of four minutes.
        "papyrus_stack_variables": {"30-monitor": {"treat_missing_data": {"memory": "missing"}}},
        "papyrus_allowed_skips": ["I1"],  # nobody has subscribed, which monitor.yml finds strange
    }
    monitor = harness.RunningSmoke(
        folder / "monitor", {**variables, **monitored, **more}, playbook="playbooks/monitor.yml"
    ).end(300)
    assert monitor.exit_code == 0, monitor.output[-3000:]
    yield variables
    remove(name)


def permanent_alarms(services: Services, *, silent: str = "", ringing: str = "") -> str:
    """Topic and six alarms of the permanent service as monitor.yml makes them, but for rules; returns their name.

    The alarm `silent` has no action for ALARM, `ringing` is in that state.
    """
    name, cloudwatch, sns = unique("alarms"), harness.client("cloudwatch"), harness.client("sns")
    topic = sns.create_topic(Name=f"{name}-alarms")["TopicArn"]
    services.undo.append(lambda: sns.delete_topic(TopicArn=topic))
    allow = {"Effect": "Allow", "Principal": {"Service": "cloudwatch.amazonaws.com"}, "Action": "sns:Publish"}
    policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": topic}]}
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy))
    of_service = [{"Name": "ClusterName", "Value": CLUSTER}, {"Name": "ServiceName", "Value": SERVICE}]
    of_balancer = [{"Name": "LoadBalancer", "Value": LOAD_BALANCER}]
    for kind, metric in METRICS.items():
        dimensions = of_service if kind in ("memory", "cpu") else of_balancer if kind.startswith("alb") else []
        cloudwatch.put_metric_alarm(
            AlarmName=f"{name}-{kind}",
            Dimensions=dimensions,
            Period=60,
            EvaluationPeriods=1 if kind.startswith("task") else 5,
            DatapointsToAlarm=1 if kind.startswith("task") else 2,
            ComparisonOperator="GreaterThanThreshold",
            TreatMissingData="breaching"
            if kind == ringing
            else "missing"
            if dimensions is of_service
            else "notBreaching",
            AlarmActions=[] if kind == silent else [topic],
            OKActions=[topic],
            **metric,
        )
    services.undo.append(lambda: cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"] for alarm in named(name)]))
    return name


def remove(name: str) -> None:
    """What monitor.yml made, by its names: Terraform refuses to."""
    cloudwatch, logs, events = harness.client("cloudwatch"), harness.client("logs"), harness.client("events")
    cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"] for alarm in named(name)])
    for kind in ("task-exit", "task-start"):
        events.remove_targets(Rule=f"{name}-{kind}", Ids=["log-group"])
        events.delete_rule(Name=f"{name}-{kind}")
        logs.delete_log_group(logGroupName=f"/aws/events/{name}-{kind}")
    logs.delete_resource_policy(policyName=f"{name}-events")
    harness.client("sns").delete_topic(TopicArn=topic_of(name))
    harness.client("kms").delete_alias(AliasName=f"alias/{name}-alarms")
