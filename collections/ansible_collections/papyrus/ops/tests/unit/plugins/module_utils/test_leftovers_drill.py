# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a drill of alarms left is found by names and tags, and only answers prove that nothing is left (C7, N1)."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _leftovers, _leftovers_drill
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers import Scope, by_hand, find
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers_drill import DrillScope
from ansible_collections.papyrus.ops.plugins.module_utils._names import parse_run_id
from ansible_collections.papyrus.ops.plugins.module_utils._run_alb import AlbFailure, remove
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import plan
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Limits, Settings, Stack
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

RUN, OTHER = "20260131T120000Z-abc234", "20260131T110000Z-zzz777"
NOW = dt.datetime(2026, 1, 31, 13, 30, tzinfo=dt.UTC)
TOPIC = "arn:aws:sns:us-west-2:123456789012:svc-alarms"
DRILL = DrillScope("prd", "svc-task", "svc", TOPIC)
SCOPE = Scope(tag_prefix="papyrus", service="svc", run_id=RUN, drill=DRILL)
ALL = Scope(tag_prefix="papyrus", service="svc", drill=DRILL)
ARN = "arn:aws:ecs:us-west-2:123456789012"


def pairs(run_id: str, service: str = "svc") -> dict[str, str]:
    expiry = "2026-01-31T13:00:00Z"
    return {"papyrus:run-id": run_id, "papyrus:expires-at": expiry, "papyrus:service": service}


class World:
    """What drills with these suffixes have left; `bare` have no tags, `inactive` services are deleted already."""

    def __init__(self, *runs: str) -> None:
        self.runs = {run.rsplit("-", 1)[1]: run for run in runs}
        self.bare: set[str] = set()
        self.inactive = False
        self.aws = FakeAws(
            {
                "elbv2.describe_load_balancers": {"LoadBalancers": []},
                "elbv2.describe_target_groups": {"TargetGroups": []},
                "ec2.describe_security_groups": {"SecurityGroups": []},
                "ec2.describe_network_interfaces": {"NetworkInterfaces": []},
                "cloudwatch.describe_alarms": self._alarms,
                "cloudwatch.list_tags_for_resource": lambda sent: {
                    "Tags": self._tags(sent["ResourceARN"], "Key", "Value")
                },
                "sqs.list_queues": self._queues,
                "sqs.list_queue_tags": lambda sent: {
                    "Tags": {tag["k"]: tag["v"] for tag in self._tags(sent["QueueUrl"], "k", "v")}
                },
                "sns.list_subscriptions_by_topic": self._subscriptions,
                "ecs.list_services": lambda sent: {
                    "serviceArns": [f"{ARN}:service/prd/{name}" for name in ["svc", *self._named("papyrus-drill-{}")]]
                },
                "ecs.describe_services": self._services,
                "ecs.list_tasks": {"taskArns": []},
                "ecs.list_task_definition_families": self._families,
                "ecs.list_task_definitions": lambda sent: {
                    "taskDefinitionArns": [f"{ARN}:task-definition/{sent['familyPrefix']}:1"]
                },
                "ecs.describe_task_definition": lambda sent: {
                    "taskDefinition": {},
                    "tags": self._tags(sent["taskDefinition"].rsplit(":", 1)[0], "key", "value"),
                },
            }
        )

    def _named(self, pattern: str) -> list[str]:
        return [pattern.format(suffix) for suffix in self.runs]

    def _tags(self, name: str, key: str, value: str) -> list[dict[str, str]]:
        suffix = name.rsplit("-", 1)[-1]
        if name in self.bare or suffix not in self.runs:
            return []
        return [{key: tag, value: content} for tag, content in pairs(self.runs[suffix]).items()]

    def _alarms(self, sent: Any) -> Any:
        names = [
            "svc-memory",
            "svc-memory-drill-of-old",
            *self._named("svc2-memory-drill-{}"),
            *self._named("svc-memory-drill-{}"),
            *self._named("svc-drill-{}"),
        ]
        arn = "arn:aws:cloudwatch:us-west-2:123456789012:alarm:"
        return {
            "MetricAlarms": [
                {"AlarmName": name, "AlarmArn": f"{arn}{name}", "StateValue": "OK"}
                for name in names
                if name.startswith(sent["AlarmNamePrefix"])
            ]
        }

    def _queues(self, sent: Any) -> Any:
        names = ["papyrus-drill-of-somebody", *self._named("papyrus-drill-{}")]
        urls = [f"https://sqs/123456789012/{name}" for name in names if name.startswith(sent["QueueNamePrefix"])]
        return {"QueueUrls": urls}

    def _subscriptions(self, _sent: Any) -> Any:
        found = [
            {
                "SubscriptionArn": f"{TOPIC}:{name}",
                "Protocol": "sqs",
                "Endpoint": f"arn:aws:sqs:us-west-2:123456789012:{name}",
            }
            for name in ["papyrus-drill-of-somebody", *self._named("papyrus-drill-{}")]
        ]
        mail = {"SubscriptionArn": f"{TOPIC}:m", "Protocol": "email", "Endpoint": "papyrus-drill-abc234"}
        return {"Subscriptions": [*found, mail]}

    def _services(self, sent: Any) -> Any:
        there = [name for name in sent["services"] if name in self._named("papyrus-drill-{}")]
        return {
            "services": [
                {
                    "serviceArn": f"{ARN}:service/prd/{name}",
                    "serviceName": name,
                    "status": "INACTIVE" if self.inactive else "DRAINING",
                    "tags": self._tags(name, "key", "value"),
                }
                for name in there
            ],
            "failures": [],
        }

    def _families(self, sent: Any) -> Any:
        names = ["svc-task-drill-of-old", *self._named("svc-task-drill-{}")]
        return {"families": [name for name in names if name.startswith(sent["familyPrefix"])]}


def left(found: _leftovers.Found) -> list[tuple[str, str]]:
    return [(resource["kind"], resource["name"]) for resource in found.resources]


EVERYTHING = [
    ("alarm", "svc-drill-abc234"),
    ("alarm", "svc-memory-drill-abc234"),
    ("subscription", "papyrus-drill-abc234"),
    ("queue", "papyrus-drill-abc234"),
    ("ecs_service", "papyrus-drill-abc234"),
    ("task_definition", "svc-task-drill-abc234"),
]


def test_C7_everything_of_a_drill_is_found_and_nothing_of_another() -> None:
    found = find(World(RUN, OTHER).aws, SCOPE, now=NOW)
    assert left(found) == EVERYTHING
    assert not found.gone
    assert found.failures == []


def test_N1_all_drills_of_a_service_are_found_with_their_runs() -> None:
    found = find(World(RUN, OTHER).aws, ALL, now=NOW)
    assert len(found.resources) == 2 * len(EVERYTHING)
    assert {resource["run_id"] for resource in found.resources} == {RUN, OTHER}
    assert all(resource["expired"] for resource in found.resources)


def test_N1_only_what_is_named_like_a_drill_is_asked_for_its_tags() -> None:
    world = World(RUN, OTHER)
    find(world.aws, ALL, now=NOW)
    asked = [sent["ResourceARN"].rsplit(":", 1)[1] for sent in world.aws.sent("cloudwatch.list_tags_for_resource")]
    assert len(asked) == 4
    assert {name.rsplit("-", 1)[1] for name in asked} == {"abc234", "zzz777"}
    assert len(world.aws.sent("ecs.list_task_definitions")) == 2


def test_C7_nothing_left_is_told_by_answers() -> None:
    world = World()
    found = find(world.aws, SCOPE, now=NOW)
    assert found.gone
    asked = {entry["operation"] for entry in found.described}
    assert asked >= {
        "DescribeAlarms",
        "ListQueues",
        "ListSubscriptionsByTopic",
        "DescribeServices",
        "ListTasks",
        "ListTaskDefinitionFamilies",
    }


def test_C7_a_service_that_ecs_only_remembers_is_gone_one_that_drains_is_not() -> None:
    world = World(RUN)
    assert ("ecs_service", "papyrus-drill-abc234") in left(find(world.aws, SCOPE, now=NOW))
    world.inactive = True
    assert ("ecs_service", "papyrus-drill-abc234") not in left(find(world.aws, SCOPE, now=NOW))


def test_C7_a_task_of_the_run_is_found() -> None:
    world = World()
    arn, name = f"{ARN}:task/prd/0123", f"papyrus/{RUN}"
    world.aws.answers["ecs.list_tasks"] = {"taskArns": [arn]}
    task = {"taskArn": arn, "startedBy": name, "lastStatus": "RUNNING"}
    others = [{**task, "startedBy": by} for by in (f"payments/{RUN}", "ecs-svc/1", RUN)]
    world.aws.answers["ecs.describe_tasks"] = {"tasks": [*others, task]}
    assert left(find(world.aws, SCOPE, now=NOW)) == [("ecs_task", name)]
    assert left(find(world.aws, ALL, now=NOW)) == [("ecs_task", name)]
    world.aws.answers["ecs.describe_tasks"] = {"tasks": [{**task, "lastStatus": "STOPPED"}]}
    assert left(find(world.aws, SCOPE, now=NOW)) == []
    assert world.aws.sent("ecs.list_tasks")[0]["startedBy"] == f"papyrus/{RUN}"


def test_C7_what_has_the_name_without_the_tags_is_not_ours() -> None:
    world = World(RUN)
    world.bare |= {"arn:aws:cloudwatch:us-west-2:123456789012:alarm:svc-memory-drill-abc234"}
    assert ("alarm", "svc-memory-drill-abc234") not in left(find(world.aws, SCOPE, now=NOW))


@pytest.mark.parametrize(
    "operation",
    [
        "cloudwatch.describe_alarms",
        "sqs.list_queues",
        "sns.list_subscriptions_by_topic",
        "ecs.describe_services",
        "ecs.list_tasks",
        "ecs.list_task_definition_families",
    ],
)
def test_C7_a_call_that_fails_is_never_gone(operation: str) -> None:
    def refuse(_sent: Any) -> Any:
        raise Refusal("AccessDenied")

    world = World()
    world.aws.answers[operation] = refuse
    found = find(world.aws, SCOPE, now=NOW)
    assert not found.gone
    assert [failure["code"] for failure in found.failures] == ["AccessDenied"]


def test_C7_a_queue_that_went_between_two_calls_is_gone() -> None:
    def gone(_sent: Any) -> Any:
        raise Refusal("AWS.SimpleQueueService.NonExistentQueue")

    world = World(RUN)
    world.aws.answers["sqs.list_queue_tags"] = gone
    found = find(world.aws, SCOPE, now=NOW)
    assert found.failures == []
    assert ("queue", "papyrus-drill-abc234") not in left(found)


def test_C6_commands_delete_it_by_hand_in_order() -> None:
    commands = by_hand(find(World(RUN).aws, SCOPE, now=NOW).resources, "us-west-2")
    assert [command.split(" --")[0] for command in commands] == [
        "aws cloudwatch delete-alarms",
        "aws cloudwatch delete-alarms",
        "aws sns unsubscribe",
        "aws sqs delete-queue",
        "aws ecs delete-service",
        "aws ecs deregister-task-definition",
    ]
    assert f"--cluster prd --service {ARN}:service/prd/papyrus-drill-abc234 --force" in commands[4]
    assert _leftovers_drill.by_hand("ecs_task", "t", "prd", "") == ["aws ecs stop-task --cluster prd --task t"]


def test_C6_a_group_that_admits_another_is_deleted_first() -> None:
    world = World()
    world.aws.answers["ec2.describe_security_groups"] = {
        "SecurityGroups": [
            {
                "GroupId": ident,
                "GroupName": name,
                "Tags": [{"Key": key, "Value": value} for key, value in pairs(RUN).items()],
            }
            for ident, name in (("sg-a", "papyrus-drill-abc234"), ("sg-b", "papyrus-drill-task-abc234"))
        ]
    }
    assert [resource["id"] for resource in find(world.aws, SCOPE, now=NOW).resources] == ["sg-b", "sg-a"]


@pytest.mark.parametrize(("missing", "drills"), [("", True), ("topic_arn", False), ("cluster", False)])
def test_C7_the_guard_of_a_drill_looks_for_it_and_that_of_a_smoke_does_not(missing: str, drills: bool) -> None:
    variables = {
        "cluster": "prd",
        "task_family": "svc-task",
        "alarm_name": "svc",
        "topic_arn": TOPIC,
        "vpc_id": "vpc-1",
    }
    variables.pop(missing, None)
    settings = Settings(
        run_id=RUN,
        suffix="abc234",
        folder="",
        private="",
        ledger="",
        service="svc",
        region="us-west-2",
        tag_prefix="papyrus",
        expires_at="2026-01-31T13:00:00Z",
        controller=None,
        stack=Stack(source="", name="papyrus-drill-abc234", variables=variables),
        limits=Limits(),
    )
    assert (settings.scope().drill == DRILL) is drills


def test_C7_a_drill_without_guard_and_folder_is_still_looked_for(tmp_path: Path) -> None:
    options = {"evidence_root": str(tmp_path), "ledger": str(tmp_path), "service": "svc", "tag_prefix": "papyrus"}
    run = {
        **plan({**options, "lease_minutes": 60}, run_id=parse_run_id(RUN)),
        "drill": {"cluster": "prd", "task_family": "svc-task", "alarm_name": "svc", "topic_arn": TOPIC},
    }
    with pytest.raises(AlbFailure, match="alarm svc-drill-abc234") as failure:
        remove(run, 0, clients=lambda: World(RUN).aws)
    assert failure.value.result["gone"] is False
    assert remove(run, 10, clients=lambda: World().aws)["gone"] is True


def test_C7_a_run_knows_where_its_drill_makes_things() -> None:
    variables = {"cluster": "prd", "task_family": "svc-task", "alarm_name": "svc", "topic_arn": TOPIC}
    options = {"evidence_root": "e", "ledger": "l", "service": "svc", "tag_prefix": "papyrus", "lease_minutes": 60}
    drill = {"stack": {"source": "40-drill", "name_prefix": "papyrus-drill", "variables": variables}}
    assert plan({**options, **drill})["drill"] == variables
    assert plan(options)["drill"] == {}
