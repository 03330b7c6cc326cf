# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks of a service: paging, batches, what is left out and why, targets (C4)."""

from __future__ import annotations

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _ecs_tasks
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal


def find(aws: FakeAws, container: str | None = "app") -> _ecs_tasks.Tasks:
    return _ecs_tasks.running_tasks(Calls(aws), shapes.CLUSTER, shapes.SERVICE, container)


def test_C4_a_running_task_has_all_that_its_evidence_needs() -> None:
    aws = FakeAws(shapes.answers([shapes.task(1)]))
    found = find(aws).tasks
    assert found == [
        {
            "task_arn": shapes.task_arn(1),
            "ip": "10.20.0.2",
            "eni": "eni-1",
            "subnet": "subnet-a",
            "vpc": "vpc-1",
            "availability_zone": "us-west-2a",
            "security_groups": ["sg-task"],
            "container": "app",
            "image": f"123456789012.dkr.ecr.us-west-2.amazonaws.com/papyrus@sha256:{'a' * 64}",
            "image_digest": f"sha256:{'a' * 64}",
            "task_definition": shapes.DEFINITION,
            "exec_enabled": True,
            "exec_agent": "RUNNING",
            "last_status": "RUNNING",
            "health_status": "HEALTHY",
            "started_at": "2026-01-31T12:00:00Z",
            "platform": "",
        }
    ]
    assert aws.sent("ecs.list_tasks") == [
        {
            "cluster": shapes.CLUSTER,
            "serviceName": shapes.SERVICE,
            "desiredStatus": "RUNNING",
            "maxResults": 100,
        }
    ]


def test_C4_two_thousand_tasks_are_listed_and_described_in_forty_calls() -> None:
    aws = FakeAws(shapes.answers([shapes.task(number) for number in range(2000)]))
    found = find(aws)
    assert len(found.tasks) == 2000
    assert aws.names.count("ecs.list_tasks") == 20
    assert aws.names.count("ecs.describe_tasks") == 20
    assert aws.names.count("ec2.describe_network_interfaces") == 10
    assert len(aws.names) == 50


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lastStatus": "PENDING"}, "does not run yet (PENDING)"),
        ({"desiredStatus": "STOPPED", "stoppedReason": "Scaling activity"}, "is stopping (RUNNING): Scaling activity"),
        ({"lastStatus": "DEACTIVATING"}, "is stopping (DEACTIVATING)"),
        ({"attachments": []}, "network mode awsvpc"),
    ],
)
def test_C4_tasks_that_cannot_be_targets_are_left_out_with_their_reason(changes: dict[str, object], words: str) -> None:
    found = find(FakeAws(shapes.answers([shapes.task(1), shapes.task(2, **changes)])))
    assert [task["task_arn"] for task in found.tasks] == [shapes.task_arn(1)]
    assert [item["task_arn"] for item in found.left_out] == [shapes.task_arn(2)]
    assert words in found.left_out[0]["reason"]


def test_C4_a_task_that_vanishes_between_the_calls_is_named() -> None:
    aws = FakeAws(shapes.answers([shapes.task(1)]))
    aws.answers["ecs.list_tasks"] = {"taskArns": [shapes.task_arn(1), shapes.task_arn(9)]}
    found = find(aws)
    assert found.left_out == [{"task_arn": shapes.task_arn(9), "reason": "ECS says MISSING"}]


def test_C4_without_a_running_task_the_stopped_ones_say_why() -> None:
    dead = shapes.task(
        3,
        lastStatus="STOPPED",
        desiredStatus="STOPPED",
        stopCode="EssentialContainerExited",
        stoppedReason="Essential container in task exited",
        containers=[{"name": "app", "exitCode": 3}],
    )
    aws = FakeAws(shapes.answers([], [dead]))
    found = find(aws)
    message = _ecs_tasks.no_task_message(shapes.CLUSTER, shapes.SERVICE, found)
    assert found.tasks == []
    assert "no RUNNING task" in message
    assert "exit code 3" in message
    assert [sent["desiredStatus"] for sent in aws.sent("ecs.list_tasks")] == ["RUNNING", "STOPPED"]


def test_C4_an_unknown_container_lists_those_that_are_there() -> None:
    with pytest.raises(_ecs_tasks.TaskProblem, match="no container 'web'; it has: app"):
        find(FakeAws(shapes.answers([shapes.task(1)])), "web")


def test_C4_several_containers_need_a_name() -> None:
    two = shapes.task(1, containers=[{"name": "app"}, {"name": "proxy"}])
    with pytest.raises(_ecs_tasks.TaskProblem, match="app, proxy"):
        find(FakeAws(shapes.answers([two])), None)


def test_C4_targets_take_the_port_of_the_containers_definition() -> None:
    aws = FakeAws(shapes.answers([shapes.task(1), shapes.task(2)]))
    calls = Calls(aws)
    targets = _ecs_tasks.task_targets(calls, find(aws).tasks, "app", None)
    assert targets == [
        {"Id": "10.20.0.2", "Port": 5000, "AvailabilityZone": "us-west-2a"},
        {"Id": "10.20.0.3", "Port": 5000, "AvailabilityZone": "us-west-2a"},
    ]
    assert aws.sent("ecs.describe_task_definition") == [{"taskDefinition": shapes.DEFINITION}]


def test_C4_a_given_port_spares_the_task_definition() -> None:
    aws = FakeAws(shapes.answers([shapes.task(1)]))
    assert _ecs_tasks.task_targets(Calls(aws), find(aws).tasks, "app", 8080)[0]["Port"] == 8080
    assert "ecs.describe_task_definition" not in aws.names


@pytest.mark.parametrize(
    ("mappings", "words"),
    [([], "no TCP port"), ([{"containerPort": 80}, {"containerPort": 81}], "several TCP ports (80, 81)")],
)
def test_C4_a_port_that_cannot_be_guessed_is_asked_for(mappings: list[dict[str, int]], words: str) -> None:
    with pytest.raises(_ecs_tasks.TaskProblem) as caught:
        _ecs_tasks.container_port({"name": "app", "portMappings": mappings})
    assert words in str(caught.value)


def test_C4_a_refused_call_names_operation_resource_and_next_step() -> None:
    def refuse(sent: object) -> dict[str, object]:
        raise Refusal("ClusterNotFoundException", "Cluster not found.")

    aws = FakeAws({"ecs.list_tasks": refuse})
    with pytest.raises(AwsFailure) as caught:
        find(aws)
    text = str(caught.value)
    assert "ecs:ListTasks" in text
    assert "service papyrus-task-service in cluster papyrus-ecs-prd" in text
    assert "ClusterNotFoundException" in text
    assert "Check cluster, service and region" in text


def test_exec_agent_of_a_task_without_exec_is_absent() -> None:
    assert _ecs_tasks.exec_agent({"name": "app"}) == "ABSENT"
