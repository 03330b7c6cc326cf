# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Targets: what is registered, when waiting ends, and the cause in words (C4, C5)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _targets, _targets_wait
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._progress import PROGRESS
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from ansible_collections.papyrus.ops.tests.unit.told import Told

GROUP = "arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/papyrus-smoke-abc234/0123456789abcdef"
TARGET = {"Id": "10.20.0.2", "Port": 5000, "AvailabilityZone": "us-west-2a"}
HEALTHY = {"State": "healthy"}
INITIAL = {
    "State": "initial",
    "Reason": "Elb.RegistrationInProgress",
    "Description": "Target registration is in progress",
}
TIMEOUT = {"State": "unhealthy", "Reason": "Target.Timeout", "Description": "Request timed out"}
REFUSED = {"State": "unhealthy", "Reason": "Target.FailedHealthChecks", "Description": "Health checks failed"}
NOT_IN_USE = {"State": "unused", "Reason": "Target.NotInUse", "Description": "Target group is not configured"}


def code(number: int) -> dict[str, str]:
    description = f"Health checks failed with these codes: [{number}]"
    return {"State": "unhealthy", "Reason": "Target.ResponseCodeMismatch", "Description": description}


def described(health: dict[str, str], target: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"Target": dict(target or TARGET), "TargetHealth": health}


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def wait(
    health: Callable[[float], dict[str, str]], aws: FakeAws | None = None, **plan: Any
) -> tuple[_targets_wait.Waited, FakeAws]:
    """Waits while the target's health is a function of time."""
    time = Time()
    aws = aws or FakeAws()
    aws.answers["elbv2.describe_target_health"] = lambda sent: {
        "TargetHealthDescriptions": [described(health(time.now))]
    }
    aws.answers.setdefault("elbv2.describe_target_groups", {"TargetGroups": [{"HealthCheckPath": "/healthz"}]})
    waiter = _targets_wait.Waiter(
        Calls(aws),
        _targets_wait.Plan(GROUP, [TARGET], **plan),
        clock=time.clock,
        sleep=time.sleep,
        now=lambda: dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC),
    )
    return waiter.until_healthy(), aws


def test_C5_each_look_is_kept_with_state_reason_and_judgement() -> None:
    """The first looks come soon, the others at the interval."""
    waited, aws = wait(lambda now: INITIAL if now < 4 else HEALTHY)
    assert waited.ok
    assert [poll["targets"][0]["state"] for poll in waited.polls] == ["initial"] * 5 + ["healthy"]
    assert [poll["judgement"] for poll in waited.polls] == ["go on"] * 5 + ["done"]
    assert waited.polls[0]["targets"][0]["reason"] == "Elb.RegistrationInProgress"
    assert [poll["elapsed"] for poll in waited.polls] == [0.0, 0.25, 0.75, 1.75, 3.75, 5.75]
    assert aws.sent("elbv2.describe_target_health") == [{"TargetGroupArn": GROUP}] * 6


def test_L1_which_target_is_waited_for_is_told(told: Told) -> None:
    PROGRESS.open(str)
    wait(lambda now: INITIAL if now < 4 else HEALTHY)
    assert "10.20.0.2:5000 is still being registered" in told.text
    told.clear()
    wait(lambda now: HEALTHY)
    assert told.all == [], "nobody waits for a target that is healthy at the first look"


@pytest.mark.parametrize(
    ("health", "cause", "words", "at_most"),
    [
        (code(404), "path_404", ("404", "/healthz"), 10),
        (code(500), "path_5xx", ("500", "/healthz", "application fails"), 50),
        (code(302), "path_other", ("302", "matcher"), 10),
        (REFUSED, "connection_failed", ("wrong port",), 50),
        (NOT_IN_USE, "not_in_use", ("no listener forwards",), 10),
        ({"State": "unused", "Reason": "Target.IpUnusable"}, "target_unusable", ("Target.IpUnusable",), 10),
        ({"State": "draining", "Reason": "Target.DeregistrationInProgress"}, "draining", ("deregistered",), 10),
    ],
)
def test_C5_what_cannot_heal_ends_the_wait_early_with_its_cause(
    health: dict[str, str], cause: str, words: tuple[str, ...], at_most: float
) -> None:
    waited, dummy = wait(lambda now: INITIAL if now < 4 else health, timeout=300)
    assert (waited.state, waited.cause) == ("hopeless", cause)
    assert waited.elapsed <= at_most + 4
    for word in words:
        assert word in waited.diagnosis


@pytest.mark.parametrize("health", [REFUSED, code(503), TIMEOUT])
def test_C5_an_application_that_starts_is_given_its_time(health: dict[str, str]) -> None:
    waited, dummy = wait(lambda now: health if now < 30 else HEALTHY)
    assert waited.ok


def test_C5_failing_in_changing_ways_is_not_yet_hopeless() -> None:
    waited, dummy = wait(lambda now: code(404) if int(now) % 8 < 4 else INITIAL if now < 60 else HEALTHY, timeout=300)
    assert waited.ok


def test_C5_a_timeout_without_a_rule_is_named_as_closed_security_group() -> None:
    aws = FakeAws({"ec2.describe_security_group_rules": {"SecurityGroupRules": []}})
    waited, dummy = wait(lambda now: TIMEOUT, aws, load_balancer_groups=("sg-alb",), task_groups=("sg-task",))
    assert (waited.state, waited.cause) == ("hopeless", "security_group_closed")
    assert "no rule of sg-task admits sg-alb to port 5000" in waited.diagnosis
    assert "Target.Timeout" in waited.diagnosis
    assert aws.sent("ec2.describe_security_group_rules")[0] == {
        "Filters": [{"Name": "group-id", "Values": ["sg-task"]}],
        "MaxResults": 1000,
    }


@pytest.mark.parametrize("source", [{"ReferencedGroupInfo": {"GroupId": "sg-alb"}}, {"CidrIpv4": "10.20.0.0/16"}])
def test_C5_a_timeout_behind_an_open_group_waits_to_the_end(source: dict[str, Any]) -> None:
    rule = {"IsEgress": False, "IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, **source}
    aws = FakeAws({"ec2.describe_security_group_rules": {"SecurityGroupRules": [rule]}})
    waited, dummy = wait(
        lambda now: TIMEOUT, aws, load_balancer_groups=("sg-alb",), task_groups=("sg-task",), timeout=60
    )
    assert (waited.state, waited.cause) == ("timeout", "timeout")
    assert waited.elapsed == 60
    assert aws.names.count("ec2.describe_security_group_rules") == 1


def test_C5_groups_that_nobody_may_read_do_not_end_the_wait() -> None:
    def denied(sent: object) -> dict[str, object]:
        raise Refusal("UnauthorizedOperation")

    aws = FakeAws({"ec2.describe_security_group_rules": denied})
    waited, dummy = wait(
        lambda now: TIMEOUT if now < 30 else HEALTHY, aws, load_balancer_groups=("sg-alb",), task_groups=("sg-task",)
    )
    assert waited.ok


def test_C5_a_stopped_task_ends_the_wait_with_its_exit_code() -> None:
    dead = shapes.task(1, lastStatus="STOPPED", desiredStatus="STOPPED", containers=[{"name": "app", "exitCode": 3}])
    aws = FakeAws(shapes.answers([dead]))
    waited, dummy = wait(lambda now: REFUSED, aws, cluster=shapes.CLUSTER, task_arns=(shapes.task_arn(1),))
    assert (waited.state, waited.cause, waited.elapsed) == ("hopeless", "task_gone", 0.0)
    assert "exit code 3" in waited.diagnosis
    assert waited.polls[-1]["tasks_gone"]


def test_C5_tasks_are_not_asked_for_while_all_is_healthy() -> None:
    waited, aws = wait(lambda now: HEALTHY, cluster=shapes.CLUSTER, task_arns=(shapes.task_arn(1),))
    assert waited.ok
    assert aws.names == ["elbv2.describe_target_health"]


def test_C5_the_time_limit_keeps_the_last_observation() -> None:
    waited, dummy = wait(lambda now: INITIAL, timeout=5)
    assert (waited.state, waited.cause) == ("timeout", "pending")
    assert "not healthy within 5 s" in waited.diagnosis
    assert waited.polls[-1]["targets"][0]["state"] == "initial"


def test_C4_only_targets_that_are_not_registered_are_registered() -> None:
    other = {"Id": "10.20.0.3", "Port": 5000}
    drained = {"Id": "10.20.0.4", "Port": 5000}
    known = [described(HEALTHY), described({"State": "draining"}, drained)]
    assert _targets.to_register(known, [TARGET, other, drained]) == [other, drained]


def test_C4_a_target_of_another_port_is_another_target() -> None:
    assert _targets.to_register([described(HEALTHY)], [{"Id": TARGET["Id"], "Port": 5001}])


def test_C4_deregistering_uses_the_groups_own_spelling() -> None:
    wanted = [{"Id": "10.20.0.2", "Port": 5000}, {"Id": "10.20.0.9", "Port": 5000}]
    assert _targets.to_deregister([described(HEALTHY)], wanted) == [TARGET]
    assert _targets.to_deregister([described({"State": "draining"})], wanted) == []


def test_C4_the_requests_carry_group_and_targets() -> None:
    aws = FakeAws({"elbv2.register_targets": {}, "elbv2.deregister_targets": {}})
    _targets.register(Calls(aws), GROUP, [TARGET])
    _targets.deregister(Calls(aws), GROUP, [TARGET])
    assert aws.requests == [
        ("elbv2.register_targets", {"TargetGroupArn": GROUP, "Targets": [TARGET]}),
        ("elbv2.deregister_targets", {"TargetGroupArn": GROUP, "Targets": [TARGET]}),
    ]


def test_C4_the_difference_names_what_is_registered_before_and_after() -> None:
    added = _targets.difference([described(HEALTHY)], [{"Id": "10.20.0.3", "Port": 5000}], present=True)
    assert added["diff"] == {
        "before": {"targets": ["10.20.0.2:5000"]},
        "after": {"targets": ["10.20.0.2:5000", "10.20.0.3:5000"]},
    }
    removed = _targets.difference([described(HEALTHY)], [TARGET], present=False)
    assert removed["diff"]["after"] == {"targets": []}


def test_waiting_for_the_end_of_draining() -> None:
    time = Time()
    draining = {"State": "draining", "Reason": "Target.DeregistrationInProgress"}
    aws = FakeAws(
        {
            "elbv2.describe_target_health": lambda sent: {
                "TargetHealthDescriptions": [described(draining)] if time.now < 6 else []
            }
        }
    )
    plan = _targets_wait.Plan(GROUP, [TARGET])
    waited = _targets_wait.Waiter(Calls(aws), plan, clock=time.clock, sleep=time.sleep).until_gone()
    assert waited.ok
    assert waited.elapsed == 6
