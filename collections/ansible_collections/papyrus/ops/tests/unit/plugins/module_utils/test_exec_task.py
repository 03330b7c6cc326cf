# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a command can run, and why it cannot (N3, B3)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _exec_task
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._exec_task import CannotRun, Place
from ansible_collections.papyrus.ops.plugins.module_utils._exec_types import Target
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

SERVICE = Target(shapes.CLUSTER, service=shapes.SERVICE)
PRIMARY = "ecs-svc/1"


def agent(status: str, **more: Any) -> list[dict[str, Any]]:
    return [{"name": "app", "managedAgents": [{"name": "ExecuteCommandAgent", "lastStatus": status, **more}]}]


def task(number: int, minute: int = 0, **changes: Any) -> dict[str, Any]:
    started = dt.datetime(2026, 1, 31, 12, minute, tzinfo=dt.UTC)
    return shapes.task(number, startedBy=PRIMARY, startedAt=started, group=f"service:{shapes.SERVICE}", **changes)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def find(
    tasks: list[dict[str, Any]], target: Target = SERVICE, timeout: float = 30, **answers: Any
) -> tuple[Place, Clock]:
    clock = Clock()
    given = shapes.answers(tasks) | {"ecs.describe_services": {"services": [shapes.service()]}} | answers
    place = _exec_task.find(Calls(FakeAws(given)), target, timeout, clock=lambda: clock.now, sleep=clock.sleep)
    return place, clock


def refusal(tasks: list[dict[str, Any]], target: Target = SERVICE, timeout: float = 30, **answers: Any) -> str:
    with pytest.raises(CannotRun) as caught:
        find(tasks, target, timeout, **answers)
    return str(caught.value)


def test_N3_the_newest_task_of_the_primary_deployment_whose_agent_runs_is_chosen() -> None:
    tasks = [
        task(1, 1),
        task(2, 5),
        task(3, 9, containers=agent("PENDING")),
        task(4, 8) | {"startedBy": "ecs-svc/old"},
        task(5, 7, desiredStatus="STOPPED"),
    ]
    assert find(tasks)[0].task_arn == shapes.task_arn(2)


def test_N3_only_when_no_agent_runs_it_is_waited_for() -> None:
    tasks = [task(1, containers=agent("PENDING"))]
    looks = []

    def services(sent: Any) -> dict[str, Any]:
        looks.append(sent)
        if len(looks) == 5:
            tasks[0]["containers"] = agent("RUNNING")
        return {"services": [shapes.service()]}

    place, clock = find(tasks, **{"ecs.describe_services": services})
    assert (place.name, clock.now) == ("app", 4.0)


def test_N3_a_task_is_found_by_arn_or_id() -> None:
    described = {"tasks": [task(1)], "failures": []}
    for name in (shapes.task_arn(1), f"{1:032x}"):
        place, dummy = find([], Target(shapes.CLUSTER, task=name), **{"ecs.describe_tasks": described})
        assert place.task_arn == shapes.task_arn(1)


def test_N3_a_container_must_be_named_where_there_are_several() -> None:
    tasks = [task(1, containers=[*agent("RUNNING"), {"name": "sidecar"}])]
    assert "app, sidecar" in refusal(tasks)
    place, dummy = find(tasks, Target(shapes.CLUSTER, service=shapes.SERVICE, container="app"))
    assert place.name == "app"
    assert "has no container 'db'" in refusal(tasks, Target(shapes.CLUSTER, service=shapes.SERVICE, container="db"))


@pytest.mark.parametrize(
    ("enabled", "says"),
    [
        (False, "ECS Exec is off on service papyrus-task-service: enable it with update-service"),
        (True, "only tasks started after that have it: replace them with update-service --force-new-deployment"),
    ],
)
def test_N3_a_task_without_exec_is_told_from_a_service_without_it(enabled: bool, says: str) -> None:
    services = {"services": [shapes.service(enableExecuteCommand=enabled)]}
    text = refusal([task(1, enableExecuteCommand=False)], **{"ecs.describe_services": services})
    assert "was started without ECS Exec" in text
    assert says in text


def test_N3_an_agent_that_stopped_is_borne_for_a_while_and_then_explained() -> None:
    definition = shapes.definition(readonlyRootFilesystem=True) | {"taskRoleArn": "arn:aws:iam::1:role/papyrus-task"}
    clock_text = refusal(
        [task(1, containers=agent("STOPPED", reason="Received Container Stopped event"))],
        **{"ecs.describe_task_definition": {"taskDefinition": definition}},
    )
    assert "has stopped: Received Container Stopped event" in clock_text
    assert "read-only root filesystem" in clock_text
    assert "task role papyrus-task allows ssmmessages:CreateControlChannel" in clock_text
    assert "waited" not in clock_text, "not for the whole time"


def test_N3_a_missing_task_role_is_named() -> None:
    assert "has no task role" in refusal([task(1, containers=agent("PENDING"))], timeout=3)


def test_N3_what_stops_has_its_reason_named() -> None:
    stopping = task(1, lastStatus="STOPPED", desiredStatus="STOPPED", stoppedReason="Essential container exited")
    target = Target(shapes.CLUSTER, task=shapes.task_arn(1))
    text = refusal([], target, **{"ecs.describe_tasks": {"tasks": [stopping], "failures": []}})
    assert "is STOPPED: Essential container exited" in text


def test_N3_a_task_that_ecs_does_not_know_is_said() -> None:
    text = refusal([], Target(shapes.CLUSTER, task="0" * 32))
    assert "has no task 0000" in text
    assert "MISSING" in text


@pytest.mark.parametrize(
    ("service", "says"),
    [
        ({"desiredCount": 0}, "desired count of 0"),
        ({"status": "DRAINING"}, "is DRAINING"),
        ({"events": [{"message": "unable to place a task"}]}, "its last event: unable to place a task"),
    ],
)
def test_N3_a_service_without_tasks_says_why(service: dict[str, Any], says: str) -> None:
    assert says in refusal([], **{"ecs.describe_services": {"services": [shapes.service(**service)]}})


def test_N3_an_unknown_service_is_an_answer() -> None:
    text = refusal([], **{"ecs.describe_services": {"services": [], "failures": [{"reason": "MISSING"}]}})
    assert "there is no service papyrus-task-service" in text


def test_N3_a_refused_call_names_operation_and_resource() -> None:
    def refuse(sent: Any) -> dict[str, Any]:
        raise Refusal("AccessDeniedException")

    with pytest.raises(AwsFailure, match="ecs:DescribeServices on service papyrus-task-service"):
        find([], **{"ecs.describe_services": refuse})


def test_N3_the_session_managers_name_of_a_container() -> None:
    place = Place(
        {"taskArn": "arn:aws:ecs:r:1:task/cluster/abc", "clusterArn": "arn:aws:ecs:r:1:cluster/cluster"},
        {"name": "app", "runtimeId": "abc-123"},
    )
    assert place.target_id == "ecs:cluster_abc_abc-123"


def test_N3_what_became_of_a_task_is_asked_until_ecs_knows() -> None:
    clock, looks = Clock(), []
    running = task(1)

    def described(sent: Any) -> dict[str, Any]:
        looks.append(sent)
        if len(looks) == 3:
            running.update(desiredStatus="STOPPED", lastStatus="DEPROVISIONING", stopCode="UserInitiated")
        return {"tasks": [running], "failures": []}

    calls = Calls(FakeAws({"ecs.describe_tasks": described}))
    place = Place(running, running["containers"][0])
    text = _exec_task.fate(calls, shapes.CLUSTER, place, clock=lambda: clock.now, sleep=clock.sleep)
    assert text.endswith("is DEPROVISIONING: UserInitiated")
    assert clock.now == 2.0


def test_N3_a_cluster_that_may_not_be_read_is_no_reason_to_run_nothing() -> None:
    def refuse(sent: Any) -> dict[str, Any]:
        raise Refusal("AccessDeniedException")

    calls = Calls(FakeAws({"ecs.describe_clusters": refuse}))
    assert _exec_task.session_logging(calls, "c").startswith("not known: ecs:DescribeClusters")
