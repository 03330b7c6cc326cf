# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a look at a rollout means, and what is refused before anything is changed: pure functions (F3)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _container_log
from ansible_collections.papyrus.ops.plugins.module_utils import _rollout_checks as checks
from ansible_collections.papyrus.ops.plugins.module_utils import _rollout_tasks as tasks
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._poller import Done, GoOn, Hopeless
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_journal import KEPT, Journal
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_judge import (
    Observation,
    Serving,
    explanation,
    judge,
    judge_new,
    judge_old,
    judge_way_back,
    only_new,
    triggered,
)
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from ansible_collections.papyrus.ops.tests.unit.rollout_world import NEW, OLD, definition
from botocore.session import get_session

OWN = "ecs-svc/2"
TRIPPED = {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}
ALARMED = {"status": "TRIGGERED", "triggeredAlarmNames": ["cpu"]}


def seen(status: str, **changes: Any) -> Observation:
    record = {"status": status, **changes.pop("record", {})}
    return Observation(OWN, record, {"status": "ACTIVE", "deployments": [{"id": OWN, "status": "PRIMARY"}]}, **changes)


def test_every_state_that_aws_has_is_judged() -> None:
    shape = get_session().get_service_model("ecs").shape_for("ServiceDeploymentStatus")
    judged = {status: type(judge(seen(status, stopped_looks=9))) for status in shape.enum}
    assert judged == {
        "PENDING": GoOn,
        "IN_PROGRESS": GoOn,
        "STOP_REQUESTED": GoOn,
        "ROLLBACK_REQUESTED": GoOn,
        "ROLLBACK_IN_PROGRESS": GoOn,
        "SUCCESSFUL": Done,
        "STOPPED": Hopeless,
        "ROLLBACK_SUCCESSFUL": Hopeless,
        "ROLLBACK_FAILED": Hopeless,
    }


def test_a_state_that_aws_adds_later_is_waited_for() -> None:
    assert judge(seen("PAUSED_BY_SOMETHING_NEW")) == GoOn("PAUSED_BY_SOMETHING_NEW")


def test_a_lifecycle_hook_that_waits_for_somebody_is_named() -> None:
    hook = {"hookId": "ecs-pause-1", "targetType": "PAUSE", "status": "AWAITING_ACTION"}
    record = {"lifecycleStage": "POST_SCALE_UP", "lifecycleHookDetails": [hook]}
    text = judge(seen("IN_PROGRESS", record=record)).reason
    assert text == "IN_PROGRESS, POST_SCALE_UP, lifecycle hook PAUSE ecs-pause-1 AWAITING_ACTION"


def test_the_bake_time_of_alarms_is_told() -> None:
    record = {
        "targetServiceRevision": {"requestedTaskCount": 2, "runningTaskCount": 2},
        "sourceServiceRevisions": [{"runningTaskCount": 0}],
        "alarms": {"status": "MONITORING", "alarmNames": ["cpu", "5xx"]},
    }
    assert judge(seen("IN_PROGRESS", record=record)).reason == "IN_PROGRESS, bake time of the alarms cpu, 5xx"
    record["sourceServiceRevisions"] = [{"runningTaskCount": 1}]
    assert judge(seen("IN_PROGRESS", record=record)).reason == "IN_PROGRESS"


def test_a_stopped_deployment_is_not_final_before_the_overtaker_could_be_listed() -> None:
    assert isinstance(judge(seen("STOPPED")), GoOn)
    assert isinstance(judge(seen("STOPPED", stopped_looks=3)), Hopeless)
    assert judge(seen("STOPPED", newer="sd3")) == Hopeless("superseded by sd3")
    assert isinstance(judge(seen("STOPPED", record={"deploymentCircuitBreaker": TRIPPED})), Hopeless)


def test_a_rollback_is_never_taken_for_somebody_elses_rollout() -> None:
    assert isinstance(judge(seen("ROLLBACK_IN_PROGRESS", newer="sd3")), GoOn)


def test_silence_of_aws_decides_nothing() -> None:
    assert isinstance(judge(seen("ROLLBACK_SUCCESSFUL", silence="Throttling")), GoOn)
    assert isinstance(judge_way_back(seen("ROLLBACK_SUCCESSFUL", silence="Throttling")), GoOn)


def test_the_way_back_ends_when_the_rollback_has_and_knows_that_it_came_too_late() -> None:
    assert isinstance(judge_way_back(seen("ROLLBACK_IN_PROGRESS")), GoOn)
    assert isinstance(judge_way_back(seen("ROLLBACK_SUCCESSFUL")), Done)
    assert isinstance(judge_way_back(seen("ROLLBACK_FAILED")), Hopeless)
    assert judge_way_back(seen("SUCCESSFUL")) == Hopeless("it succeeded before it could be stopped")


@pytest.mark.parametrize(
    ("record", "by"),
    [
        ({}, ""),
        ({"deploymentCircuitBreaker": {"status": "MONITORING"}, "alarms": {"status": "MONITORING"}}, ""),
        ({"deploymentCircuitBreaker": TRIPPED}, "deployment circuit breaker"),
        ({"alarms": ALARMED}, "alarm cpu"),
        ({"alarms": {"status": "TRIGGERED", "triggeredAlarmNames": ["cpu", "5xx"]}}, "alarm cpu, 5xx"),
        (
            {"deploymentCircuitBreaker": TRIPPED, "alarms": ALARMED, "statusReason": "the circuit breaker threshold"},
            "deployment circuit breaker",
        ),
        ({"deploymentCircuitBreaker": TRIPPED, "alarms": ALARMED, "rollback": {"reason": "an alarm"}}, "alarm cpu"),
    ],
)
def test_who_ended_it(record: dict[str, Any], by: str) -> None:
    assert triggered(record) == by


def test_the_explanation_has_ecs_words_the_count_and_the_first_death() -> None:
    death = {"task_arn": shapes.task_arn(5), "reason": "exit code 3", "logs": [{"lines": ["a", "the last", " "]}]}
    text = explanation({"statusReason": "broken.", "deploymentCircuitBreaker": TRIPPED}, [death])
    assert text == f"broken; 3 failures, threshold 3; task {5:032x} stopped: exit code 3; its log ends: the last"


def test_deployed_means_all_desired_tasks_of_this_deployment_and_no_others() -> None:
    assert isinstance(judge_new(Serving(2, {NEW: 2}, 2)), Done)
    assert isinstance(judge_new(Serving(2, {NEW: 1}, 1)), GoOn)
    assert isinstance(judge_new(Serving(2, {NEW: 2}, 2, ("ecs-svc/1 (ACTIVE, COMPLETED)",))), GoOn)
    assert only_new(Serving(2, {NEW: 2}, 2, ("ecs-svc/1 (ACTIVE, COMPLETED)",)))
    assert not only_new(Serving(0, {}, 0, silence="ThrottlingException"))
    assert isinstance(judge_new(Serving(2, {NEW: 2, OLD: 1}, 2)), GoOn)
    assert isinstance(judge_new(Serving(2, {NEW: 2}, 0)), GoOn), "the same revision, but of another deployment"


def test_gone_back_means_all_desired_tasks_of_the_old_revision_and_none_that_were_left() -> None:
    assert isinstance(judge_old(Serving(2, {OLD: 2}, 0), OLD), Done)
    assert isinstance(judge_old(Serving(2, {OLD: 1}, 0), OLD), GoOn)
    assert isinstance(judge_old(Serving(2, {OLD: 2, NEW: 1}, 1), OLD), GoOn)
    assert isinstance(judge_old(Serving(2, {OLD: 3}, 1), OLD), GoOn), "the same revision was forced"


# Refusals


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"status": "DRAINING"}, "is DRAINING"),
        ({"status": "INACTIVE"}, "is INACTIVE"),
        ({"deploymentController": {"type": "CODE_DEPLOY"}}, "deployment controller CODE_DEPLOY"),
        ({"deploymentController": {"type": "EXTERNAL"}}, "deployment controller EXTERNAL"),
        ({"deploymentConfiguration": {"strategy": "BLUE_GREEN"}}, "deployment strategy BLUE_GREEN"),
        ({"deploymentConfiguration": {"strategy": "LINEAR"}}, "deployment strategy LINEAR"),
        ({"deploymentConfiguration": {"strategy": "CANARY"}}, "deployment strategy CANARY"),
        ({"deploymentConfiguration": {"strategy": "LATER"}}, "deployment strategy LATER"),
        ({"desiredCount": 0}, "desired count 0"),
        ({"desiredCount": 0, "schedulingStrategy": "DAEMON"}, "no container instance takes it"),
        ({"resourceManagementType": "ECS"}, "Express service"),
    ],
)
def test_services_that_are_rolled_out_otherwise_are_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(checks.Refused, match=words):
        checks.check_service(shapes.service(**changes))


def test_every_strategy_and_controller_that_aws_has_is_refused_or_handled() -> None:
    model = get_session().get_service_model("ecs")
    assert {*checks.STRATEGIES, "ROLLING"} == set(model.shape_for("DeploymentStrategy").enum)
    assert {*checks.CONTROLLERS, "ECS"} == set(model.shape_for("DeploymentControllerType").enum)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"deploymentController": {"type": "ECS"}, "deploymentConfiguration": {"strategy": "ROLLING"}},
        {"schedulingStrategy": "DAEMON", "desiredCount": 3},
    ],
)
def test_rolling_services_of_ecs_are_not_refused(changes: dict[str, Any]) -> None:
    checks.check_service(shapes.service(**changes))


def test_without_circuit_breaker_a_time_limit_is_needed() -> None:
    breaker = {"deploymentConfiguration": {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}}
    checks.check_limit(shapes.service(**breaker), None)
    checks.check_limit(shapes.service(), 600)
    with pytest.raises(checks.Refused, match="give 'timeout'"):
        checks.check_limit(shapes.service(), None)


@pytest.mark.parametrize(
    ("deployments", "listed", "words"),
    [
        ([{"id": "ecs-svc/9", "status": "PRIMARY", "rolloutState": "IN_PROGRESS"}], [], "ecs-svc/9"),
        (
            [
                {"id": "ecs-svc/9", "status": "PRIMARY", "rolloutState": "COMPLETED"},
                {"id": "ecs-svc/8", "status": "ACTIVE", "runningCount": 1},
            ],
            [],
            r"ecs-svc/8 \(ACTIVE, 1 running\)",
        ),
        ([], [{"serviceDeploymentArn": "x/sd9", "status": "ROLLBACK_IN_PROGRESS"}], r"sd9 \(ROLLBACK_IN_PROGRESS\)"),
        ([], [{"serviceDeploymentArn": "x/sd9", "status": "PENDING"}], r"sd9 \(PENDING\)"),
    ],
)
def test_another_rollout_in_flight_is_refused(deployments: list[Any], listed: list[Any], words: str) -> None:
    with pytest.raises(checks.Refused, match=words):
        checks.check_in_flight(shapes.service(deployments=deployments), listed)


def test_a_rollout_that_failed_and_stayed_can_be_followed_by_another() -> None:
    failed = [
        {"id": "ecs-svc/9", "status": "PRIMARY", "rolloutState": "FAILED"},
        {"id": "ecs-svc/8", "status": "ACTIVE", "runningCount": 1, "rolloutState": "COMPLETED"},
    ]
    checks.check_in_flight(shapes.service(deployments=failed), [{"serviceDeploymentArn": "x/sd9", "status": "STOPPED"}])


SERVICE = shapes.service(
    launchType="FARGATE", networkConfiguration={"awsvpcConfiguration": {"subnets": ["a"]}}, taskDefinition=OLD
)


@pytest.mark.parametrize(
    ("service", "changes", "words"),
    [
        ({}, {"status": "INACTIVE"}, "is INACTIVE"),
        ({}, {"family": "other"}, "is of the family other"),
        ({}, {"compatibilities": ["EC2"]}, "cannot run on FARGATE"),
        ({"launchType": None, "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT"}]}, {}, ""),
        ({}, {"networkMode": "bridge"}, "network mode bridge"),
        ({"loadBalancers": [{"containerName": "web", "containerPort": 5000}]}, {}, "no container web"),
        ({"loadBalancers": [{"containerName": "app", "containerPort": 8080}]}, {}, "no port 8080"),
        ({"loadBalancers": [{"containerName": "app", "containerPort": 5000}]}, {}, ""),
    ],
)
def test_a_revision_that_the_service_cannot_run_is_refused(
    service: dict[str, Any], changes: dict[str, Any], words: str
) -> None:
    if not words:
        checks.check_definition({**SERVICE, **service}, definition(NEW, **changes))
        return
    with pytest.raises(checks.Refused, match=words):
        checks.check_definition({**SERVICE, **service}, definition(NEW, **changes))


# Logs


@pytest.mark.parametrize(
    ("configuration", "place"),
    [
        (None, {"note": "it has no log driver"}),
        ({"logDriver": "splunk"}, {"note": "its log goes to the log driver splunk: look there"}),
        (
            {"logDriver": "awslogs", "options": {"awslogs-group": "/g"}},
            {"group": "/g", "stream": "runtime-1", "region": ""},
        ),
        (
            {"logDriver": "awslogs", "options": {}},
            {"note": "its log stream is not known (log group none, no stream prefix, no runtime id)"},
        ),
        (
            {"logDriver": "awslogs", "options": {"awslogs-group": "/g", "awslogs-stream-prefix": "p"}},
            {"group": "/g", "stream": f"p/app/{1:032x}", "region": ""},
        ),
    ],
)
def test_where_the_log_of_a_dead_container_is(configuration: Any, place: dict[str, str]) -> None:
    task = shapes.task(1, containers=[{"name": "app", "runtimeId": "runtime-1"}])
    assert _container_log.place({"name": "app", "logConfiguration": configuration}, task) == place


def test_a_log_in_another_region_or_that_may_not_be_read_says_so_and_one_that_is_not_there_yet_is_empty() -> None:
    def refusing(code: str) -> Calls:
        def answer(sent: object) -> dict[str, Any]:
            raise Refusal(code)

        return Calls(FakeAws({"logs.get_log_events": answer}))

    log = {"group": "/g", "stream": "s", "region": "eu-west-1"}
    assert (
        _container_log.last_lines(refusing("none"), log, 5)[1]
        == "its log is in the region eu-west-1, which is not asked"
    )
    log["region"] = ""
    assert "AccessDenied" in _container_log.last_lines(refusing("AccessDeniedException"), log, 5)[1]
    assert _container_log.last_lines(refusing("ResourceNotFoundException"), log, 5) == ([], "")


def test_the_log_is_read_of_the_container_that_failed_and_of_none_that_never_started() -> None:
    task = {"containers": [{"name": "proxy", "exitCode": 0}, {"name": "app", "exitCode": 3}, {"name": "late"}]}
    assert tasks.dead_containers(task) == ["app"]
    assert tasks.dead_containers({"containers": [{"name": "app", "reason": "CannotPullContainerError"}]}) == []


# The journal


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def utc(self) -> dt.datetime:
        return dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC) + dt.timedelta(seconds=self.now)


def test_a_look_that_sees_the_same_is_counted_and_not_told_again() -> None:
    clock, told = Clock(), list[str]()
    journal = Journal(tell=told.append, clock=clock, now=clock.utc)
    for number in range(30):
        clock.now = number * 6.0
        journal.look("IN_PROGRESS", {"running": 0}, [f"r{number}"])
    entry = journal.entries()[0]
    assert (len(journal.entries()), entry["repeats"], entry["request_ids"]) == (1, 29, ["r0"])
    assert entry["last_elapsed"] == 29 * 6.0
    journal.look("IN_PROGRESS", {"running": 1}, ["r30"])
    assert told == ["IN_PROGRESS", "IN_PROGRESS"]


def test_entries_are_bounded_and_what_is_left_out_is_counted() -> None:
    journal = Journal()
    for number in range(3 * KEPT):
        journal.event("x", number=number)
    entries = journal.entries()
    assert (entries[0]["number"], entries[-1]["number"]) == (0, 3 * KEPT - 1)
    assert entries[KEPT] == {"event": "left_out", "entries": KEPT}


def test_entries_and_what_is_told_hold_no_secret() -> None:
    told: list[str] = []
    journal = Journal(tell=told.append, clean=lambda text: text.replace("hunter2!", "[redacted]"))
    journal.event("log", "app | password is hunter2!\nsecond")
    journal.look("hunter2!", {}, [])
    assert told == ["app | password is [redacted]\nsecond", "[redacted]"]
    assert "hunter2!" not in str(journal.entries())
