# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Permanent alarms are judged before anything is created, and copied with only the metric's place changed (I1)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _alarms
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws
from ansible_collections.papyrus.ops.tests.unit.drill_world import TOPIC, permanent

OTHER = "arn:aws:sns:us-west-2:123456789012:somebody"


def judged(kind: str, alarm: dict[str, Any] | None, *, load_balancer: bool = True) -> tuple[str, str]:
    row = _alarms.judge(kind, f"svc-{kind}", alarm, TOPIC, load_balancer=load_balancer)
    return row.status, row.reason


@pytest.mark.parametrize("kind", _alarms.KINDS)
def test_I1_an_alarm_in_order_is_ok(kind: str) -> None:
    assert judged(kind, permanent(kind)) == ("ok", "OK, rings svc-alarms")


@pytest.mark.parametrize(
    ("kind", "changes", "why"),
    [
        (
            "memory",
            {"AlarmActions": []},
            "AlarmActions do not have the topic svc-alarms (none), so nobody hears that it rings",
        ),
        ("memory", {"AlarmActions": [OTHER]}, f"({OTHER})"),
        ("task-exit", {"OKActions": [OTHER]}, "so nobody hears that it is over"),
        ("cpu", {"ActionsEnabled": False}, "its actions are disabled"),
        ("task-start", {"StateValue": "ALARM", "StateReason": "two of them"}, "in ALARM already (two of them)"),
        (
            "cpu",
            {"StateValue": "INSUFFICIENT_DATA"},
            "AWS/ECS MemoryUtilization of ClusterName=prd, ServiceName=svc has no data",
        ),
        ("memory", {"ComparisonOperator": "LessThanLowerThreshold"}, "LessThanLowerThreshold is a comparison"),
        ("alb-5xx", {"Threshold": 100.0}, "10 requests at a time do not bring so many errors as it needs (100)"),
        ("alb-latency", {"Dimensions": []}, "not every metric of it has the dimension LoadBalancer"),
    ],
)
def test_I1_what_would_not_be_heard_or_cannot_be_rung_is_named(kind: str, changes: dict[str, Any], why: str) -> None:
    status, reason = judged(kind, permanent(kind, **changes))
    assert status == "ng"
    assert reason.startswith(f"svc-{kind}: ")
    assert why in reason


def test_I1_a_memory_alarm_of_several_metrics_cannot_be_fed() -> None:
    computed = permanent("alb-5xx")
    assert judged("memory", computed)[0] == "ng"
    assert "computed of several metrics" in judged("memory", computed)[1]


def test_I1_a_young_alarm_of_events_may_have_no_state_yet() -> None:
    assert judged("task-exit", permanent("task-exit", StateValue="INSUFFICIENT_DATA"))[0] == "ok"


def test_I1_alarms_of_a_load_balancer_are_skipped_only_when_none_is_named() -> None:
    assert judged("alb-5xx", None, load_balancer=False)[0] == "skip"
    assert judged("alb-5xx", None) == ("ng", "there is no alarm svc-alb-5xx: apply playbooks/monitor.yml")
    assert judged("memory", None, load_balancer=False)[0] == "ng"
    assert judged("alb-5xx", permanent("alb-5xx", AlarmActions=[]), load_balancer=False)[0] == "ng"


def test_I1_a_copy_of_one_metric_is_the_alarm_itself() -> None:
    assert _alarms.copy_of(permanent("alb-latency")) == {
        "name": "svc-alb-latency",
        "description": "Something is wrong.",
        "comparison_operator": "GreaterThanThreshold",
        "threshold": 1.5,
        "evaluation_periods": 5,
        "datapoints_to_alarm": 2,
        "treat_missing_data": "breaching",
        "evaluate_low_sample_count_percentiles": "evaluate",
        "actions_enabled": True,
        "alarm_actions": [TOPIC],
        "ok_actions": [TOPIC],
        "insufficient_data_actions": [],
        "metrics": [
            {
                "id": "",
                "namespace": "AWS/ApplicationELB",
                "metric_name": "TargetResponseTime",
                "dimensions": {"LoadBalancer": "app/permanent/1"},
                "period": 60,
                "unit": None,
                "statistic": None,
                "extended_statistic": "p90",
            }
        ],
        "expressions": [],
    }


def test_I1_a_copy_of_an_expression_has_its_queries() -> None:
    copied = _alarms.copy_of(permanent("alb-5xx"))
    assert [query["expression"] for query in copied["expressions"]] == ["SUM([FILL(target, 0), FILL(balancer, 0)])"]
    assert [(metric["id"], metric["metric_name"], metric["statistic"]) for metric in copied["metrics"]] == [
        ("target", "HTTPCode_Target_5XX_Count", "Sum"),
        ("balancer", "HTTPCode_ELB_5XX_Count", "Sum"),
    ]
    assert [metric["return_data"] for metric in copied["metrics"]] == [False, False]


@pytest.mark.parametrize(
    ("operator", "threshold", "rings", "calm"),
    [
        ("GreaterThanThreshold", 80, 88, 72),
        ("GreaterThanOrEqualToThreshold", 0, 1, -1),
        ("LessThanThreshold", 5, 4, 6),
        ("LessThanOrEqualToThreshold", -40, -44, -36),
    ],
)
def test_I1_data_lie_off_the_threshold_on_the_right_side(
    operator: str, threshold: float, rings: float, calm: float
) -> None:
    copied = {"comparison_operator": operator, "threshold": threshold}
    assert _alarms.values_around(copied) == (rings, calm)


@pytest.mark.parametrize(("threshold", "lanes"), [(1, 1), (5, 3), (19, 10)])
def test_I1_so_many_requests_side_by_side_as_the_threshold_needs(threshold: float, lanes: int) -> None:
    assert _alarms.lanes_for(_alarms.copy_of(permanent("alb-5xx", Threshold=threshold))) == lanes
    assert _alarms.lanes_for(None) == 1


@pytest.mark.parametrize(
    ("image", "repository"),
    [
        ("1.dkr.ecr.us-west-2.amazonaws.com/papyrus@sha256:abc", "1.dkr.ecr.us-west-2.amazonaws.com/papyrus"),
        ("registry:5000/team/app:v1", "registry:5000/team/app"),
        ("registry:5000/app:v1@sha256:abc", "registry:5000/app"),
        ("app", "app"),
    ],
)
def test_I1_the_impossible_image_is_of_the_same_repository(image: str, repository: str) -> None:
    assert _alarms.repository(image) == repository


def world(*answers: list[dict[str, Any]], subscriptions: list[dict[str, str]] | None = None) -> FakeAws:
    """Each look gets the next of the answers, the last one for ever."""
    left = list(answers)
    return FakeAws(
        {
            "cloudwatch.describe_alarms": lambda _params: {"MetricAlarms": left.pop(0) if len(left) > 1 else left[0]},
            "sns.list_subscriptions_by_topic": {"Subscriptions": subscriptions or []},
        }
    )


def test_I1_the_look_asks_for_all_six_at_once_and_says_who_hears() -> None:
    there = [permanent(kind) for kind in _alarms.KINDS if kind != "cpu"]
    subscriptions = [
        {"Protocol": "email", "SubscriptionArn": f"{TOPIC}:1", "Endpoint": "somebody@example.org"},
        {"Protocol": "email", "SubscriptionArn": f"{TOPIC}:2", "Endpoint": "other@example.org"},
        {"Protocol": "https", "SubscriptionArn": "PendingConfirmation", "Endpoint": "https://example.org"},
    ]
    aws = world(there, subscriptions=subscriptions)
    seen = _alarms.look(Calls(aws), "svc", TOPIC, load_balancer=True)
    assert seen.kinds("ng") == ["cpu"]
    assert seen.kinds("ok") == [kind for kind in _alarms.KINDS if kind != "cpu"]
    assert aws.sent("cloudwatch.describe_alarms")[0]["AlarmNames"] == [f"svc-{kind}" for kind in _alarms.KINDS]
    assert seen.heard_by() == "2 email (1 not confirmed)"
    assert "example" not in str(seen.subscriptions)


def test_I1_alarms_that_were_made_just_now_are_looked_at_again() -> None:
    there = [permanent(kind) for kind in _alarms.KINDS]
    young = [{**alarm, "StateValue": "INSUFFICIENT_DATA"} for alarm in there]
    slept: list[float] = []
    aws = world(young, young, there)
    seen = _alarms.look(
        Calls(aws), "svc", TOPIC, load_balancer=True, settle=60, clock=lambda: sum(slept), sleep=slept.append
    )
    assert (seen.kinds("ng"), len(slept)) == ([], 2)
    aws, slept = world(young), []
    seen = _alarms.look(
        Calls(aws), "svc", TOPIC, load_balancer=True, settle=60, clock=lambda: sum(slept), sleep=slept.append
    )
    assert (seen.kinds("ng"), sum(slept)) == (["memory", "cpu"], 60)


def test_I1_what_serves_is_that_of_the_primary_deployment() -> None:
    network = {"subnets": ["subnet-1"], "securityGroups": ["sg-tasks"], "assignPublicIp": "ENABLED"}
    service = {
        "serviceName": "svc",
        "status": "ACTIVE",
        "taskDefinition": "svc:8",
        "deployments": [
            {"status": "ACTIVE", "taskDefinition": "svc:7"},
            {
                "status": "PRIMARY",
                "taskDefinition": "svc:8",
                "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
                "platformVersion": "1.4.0",
                "networkConfiguration": {"awsvpcConfiguration": network},
            },
        ],
    }
    definition = {
        "taskDefinitionArn": "arn:aws:ecs:us-west-2:123456789012:task-definition/svc:8",
        "executionRoleArn": "arn:aws:iam::123456789012:role/exec",
        "containerDefinitions": [{"name": "app", "image": "registry/app@sha256:abc"}],
    }
    aws = FakeAws(
        {
            "ecs.describe_services": {"services": [service]},
            "ecs.describe_task_definition": {"taskDefinition": definition},
        }
    )
    assert _alarms.running(Calls(aws), "prd", "svc", "app") == {
        "task_definition": "arn:aws:ecs:us-west-2:123456789012:task-definition/svc:8",
        "image_repository": "registry/app",
        "execution_role_arn": "arn:aws:iam::123456789012:role/exec",
        "subnets": ["subnet-1"],
        "assign_public_ip": True,
        "launch_type": None,
        "platform_version": "1.4.0",
        "capacity_providers": [{"name": "FARGATE_SPOT", "weight": 1, "base": 0}],
    }
