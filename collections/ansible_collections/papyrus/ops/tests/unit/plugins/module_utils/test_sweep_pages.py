# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sweep of very many things loses none of them between two calls, and what it tells obeys no terminal (N1, H2)."""

from __future__ import annotations

import datetime as dt
import itertools
from collections import Counter
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers import Scope, find
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers_drill import DrillScope
from ansible_collections.papyrus.ops.plugins.module_utils._sweep import Order, Swept, sweep
from ansible_collections.papyrus.ops.plugins.module_utils._sweep_delete import Deleter
from ansible_collections.papyrus.ops.plugins.module_utils._sweep_report import text_of, untouched
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from ansible_collections.papyrus.ops.tests.unit.sweep_world import World, marks, text

RUN = "20260131T120000Z-abc234"
NOW = dt.datetime(2026, 1, 31, 13, 30, tzinfo=dt.UTC)
SUFFIXES = ["".join(pair) + "aaaa" for pair in itertools.product("abcdefghijklmnopqrstu", "abcdefghij")]  # 210


def swept(world: World, *said: list[str], dry: bool = False) -> Swept:
    return sweep(
        world.aws, Scope("papyrus", "svc", name_prefix="papyrus-smoke"), Order("svc"), timeout=900, interval=10,
        now=NOW, clock=world.clock, sleep=world.sleep, dry=dry, say=said[0].append if said else str,
    )  # fmt: skip


def test_N1_deleting_asks_no_more_often_than_aws_needs_it() -> None:
    world = World()
    for suffix in SUFFIXES:
        world.run(f"20260131T120000Z-{suffix}")
    world.interface_seconds = 100
    found = swept(world, dry=True)
    assert len([each for each in found.deleted if each["kind"] == "network_interface"]) == 2 * len(SUFFIXES)
    result = swept(world)
    assert result.gone and world.names() == {"sg-tasks"} and world.now >= 100
    each = {name: count for name, count in result.calls.items() if count == len(SUFFIXES)}
    assert set(each) == {
        "DescribeLoadBalancerAttributes", "DescribeListeners", "DeleteListener", "DeleteLoadBalancer",
        "DeleteTargetGroup", "DeleteSecurityGroup",
    }  # fmt: skip
    others = {name: count for name, count in result.calls.items() if name not in each}
    assert others["RevokeSecurityGroupIngress"] == 3
    assert others["DescribeNetworkInterfaces"] <= 5 * 12 + 8  # batches of 210 groups and 420 interfaces, each 10 s
    assert sum(others.values()) < 120
    revoked = [line for line in result.log if "RevokeSecurityGroupIngress" in line]
    assert len(revoked) == len(SUFFIXES) and all(f"-{suffix} " in " ".join(revoked) for suffix in SUFFIXES)
    filters = [sent["Filters"][0]["Values"] for sent in world.aws.sent("ec2.describe_network_interfaces")]
    assert max(map(len, filters)) == 200
    assert max(len(sent["IpPermissions"]) for sent in world.aws.sent("ec2.revoke_security_group_ingress")) == 100


def test_N1_rules_of_two_groups_are_no_one_call() -> None:
    world = World()
    for suffix, group in zip(SUFFIXES[:4], ("sg-tasks", "sg-tasks", "sg-more", "sg-more"), strict=True):
        run_id = f"20260131T120000Z-{suffix}"
        if group not in world.groups:
            world.group(group, group)
        world.rule(group, world.group(f"sg-{suffix}", f"p-{suffix}", marks(run_id)), text(run_id))
    result = swept(world)
    assert result.gone and world.names() == {"sg-tasks", "sg-more"}
    assert result.calls["RevokeSecurityGroupIngress"] == 2


def test_N1_drills_in_any_number_are_found() -> None:
    services = [f"papyrus-drill-{suffix}" for suffix in SUFFIXES[:12]]
    tasks = [f"20260131T120000Z-{suffix}" for suffix in SUFFIXES]
    arn = "arn:aws:ecs:us-west-2:123456789012"
    aws = FakeAws(
        {
            "elbv2.describe_load_balancers": {"LoadBalancers": []},
            "elbv2.describe_target_groups": {"TargetGroups": []},
            "ec2.describe_security_groups": {"SecurityGroups": []},
            "cloudwatch.describe_alarms": {"MetricAlarms": []},
            "sqs.list_queues": {},
            "sns.list_subscriptions_by_topic": {"Subscriptions": []},
            "ecs.list_services": {"serviceArns": [f"{arn}:service/prd/{name}" for name in services]},
            "ecs.describe_services": lambda sent: {
                "services": [
                    {"serviceArn": f"{arn}:service/prd/{name}", "serviceName": name, "status": "ACTIVE",
                     "tags": [{"key": k, "value": v} for k, v in marks(f"20260131T120000Z-{name[-6:]}").items()]}
                    for name in sent["services"]
                ]
            },
            "ecs.list_tasks": {"taskArns": [f"{arn}:task/prd/{name}" for name in tasks]},
            "ecs.describe_tasks": lambda sent: {
                "tasks": [
                    {"taskArn": name, "startedBy": f"papyrus/{name.rpartition('/')[2]}", "lastStatus": "RUNNING"}
                    for name in sent["tasks"]
                ]
            },
            "ecs.list_task_definition_families": {"families": []},
        }
    )  # fmt: skip
    found = find(aws, Scope("papyrus", "svc", drill=DrillScope("prd", "svc-task", "svc", f"{arn}:topic")), now=NOW)
    assert found.failures == []
    assert {each["name"] for each in found.resources if each["kind"] == "ecs_service"} == set(services)
    assert {each["run_id"] for each in found.resources if each["kind"] == "ecs_task"} == set(tasks)
    assert [len(sent["services"]) for sent in aws.sent("ecs.describe_services")] == [10, 2]
    assert [len(sent["tasks"]) for sent in aws.sent("ecs.describe_tasks")] == [100, 100, 10]


@pytest.mark.parametrize("refused", [False, True])
def test_H2_names_of_others_do_nothing_to_a_terminal(refused: bool) -> None:
    world, said = World(), list[str]()
    evil = "evil\x1b]0;owned\x07\x9b31m\r\n\u202eTASK [all is well] *** -abc234"
    world.group("sg-1", evil, marks(RUN))
    world.group("sg-2", f"{evil}2", marks(RUN))
    if refused:
        world.refuse["ec2.delete_security_group"] = [Refusal("AccessDenied", f"no\x1b[2J {evil}")]
    result = swept(world, said)
    told = {
        "progress": [line for line in said if "evil" in line],
        "log": result.log,
        "left alone": untouched(result),
        "the sentence": [text_of(result, Order("svc"))],
    }
    assert refused or told["progress"]
    assert all("evil" in " ".join(lines) for name, lines in told.items() if refused and name != "progress")
    for name, lines in told.items():
        assert [line for line in lines if not line.isprintable() or "\u202e" in line] == [], name


RULE = {"group_id": "sg-tasks", "direction": "ingress", "permission": {"IpProtocol": "tcp"}}
GONE = [
    ("load_balancer", "elbv2.describe_load_balancer_attributes", "LoadBalancerNotFound", ""),
    ("target_group", "elbv2.delete_target_group", "TargetGroupNotFound", ""),
    ("security_group_rule", "ec2.revoke_security_group_ingress", "InvalidPermission.NotFound", ""),
    ("security_group_rule", "ec2.revoke_security_group_ingress", "InvalidGroup.NotFound", ""),
    ("security_group", "ec2.delete_security_group", "InvalidGroup.NotFound", ""),
    ("alarm", "cloudwatch.delete_alarms", "ResourceNotFound", ""),
    ("subscription", "sns.unsubscribe", "NotFound", ""),
    ("queue", "sqs.delete_queue", "AWS.SimpleQueueService.NonExistentQueue", ""),
    ("queue", "sqs.delete_queue", "QueueDoesNotExist", ""),
    ("ecs_service", "ecs.delete_service", "ServiceNotFoundException", ""),
    ("ecs_service", "ecs.delete_service", "ServiceNotActiveException", ""),
    ("ecs_task", "ecs.stop_task", "InvalidParameterException", "The referenced task was not found."),
]


@pytest.mark.parametrize(("kind", "operation", "code", "message"), GONE)
def test_N1_what_aws_says_is_gone_is_gone_and_nothing_else_is(
    kind: str, operation: str, code: str, message: str
) -> None:
    detail = RULE if kind == "security_group_rule" else {"cluster": "prd"}
    resource: dict[str, Any] = {"kind": kind, "id": "https://sqs/1/x", "name": "x", "run_id": RUN, "detail": detail}

    def asked(refusal: Refusal) -> str:
        def refused(sent: Any) -> Any:
            raise refusal

        return Deleter(FakeAws({operation: refused}), str, Counter()).delete(resource).state

    assert asked(Refusal(code, message)) == "gone"
    assert asked(Refusal("DependencyViolation", "held")) == "held"
    for other in ("AccessDenied", "InvalidParameterException", "OperationNotPermitted", "QueueDeletedRecently"):
        with pytest.raises(AwsFailure):
            asked(Refusal(other, "no"))


def test_N1_a_listener_that_another_took_keeps_no_load_balancer() -> None:
    world = World()
    world.run(RUN)
    world.before["elbv2.delete_listener"] = lambda: [each["listeners"].clear() for each in world.balancers.values()]
    result = swept(world)
    assert result.gone and world.names() == {"sg-tasks"}
    assert [each["how"] for each in result.deleted if each["kind"] == "load_balancer"] == ["deleted"]
    assert result.calls["DeleteLoadBalancer"] == 1 and result.calls["DescribeLoadBalancers"] == 2


@pytest.mark.parametrize("operation", ["elbv2.describe_load_balancers", "ec2.describe_security_groups"])
def test_C7_a_list_that_is_not_answered_is_never_gone_either(operation: str) -> None:
    world = World()
    world.refuse[operation] = [Refusal("AccessDenied", "no")]
    assert not swept(world, dry=True).gone
    assert swept(world, dry=True).gone


def test_C7_a_question_for_interfaces_that_is_not_answered_lets_no_group_be_asked_to_go() -> None:
    world = World()
    world.run(RUN)
    world.interface_seconds = 30
    refused = {"ec2.describe_network_interfaces": [Refusal("AccessDenied", "no")]}
    world.before["elbv2.delete_target_group"] = lambda: world.refuse.update(refused)
    result = swept(world)
    assert result.gone and world.now >= 30 and result.calls["DeleteSecurityGroup"] == 1


def test_N1_what_was_refused_to_us_and_is_gone_by_another_is_no_failure() -> None:
    world = World()
    world.run(RUN)
    world.refuse["elbv2.delete_target_group"] = [Refusal("AccessDenied", "not you")]
    world.before["elbv2.delete_target_group"] = world.target_groups.clear
    result = swept(world)
    assert result.gone and result.failed == [] and world.names() == {"sg-tasks"}


def test_N1_a_delete_that_nobody_answered_is_tried_again() -> None:
    world = World()
    world.run(RUN)
    world.refuse["elbv2.delete_target_group"] = [Refusal("InternalFailure", "sorry", status=500)] * 2
    result = swept(world)
    assert result.gone and result.failed == [] and result.calls["DeleteTargetGroup"] == 3
