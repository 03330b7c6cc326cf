# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rollouts against a scripted ECS: every verdict, who went back, what serves at the end (F3)."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.module_utils._rollout import Verdict
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_checks import Refused
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_watch import PATIENCE
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import Refusal
from ansible_collections.papyrus.ops.tests.unit.rollout_world import NEW, OLD, OLD_ID, World
from botocore.exceptions import ReadTimeoutError

EXCEEDED = "Service deployment rolled back because the circuit breaker threshold was exceeded."
TRIPPED = {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}
NO_ROLLBACK = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}


def forward(world: World, **asked: Any) -> Verdict:
    rollout = world.rollout(**asked)
    rollout.prepare()
    return rollout.forward()


def back(world: World, **asked: Any) -> Verdict:
    rollout = world.rollout(task_definition=OLD, instead_of=NEW, **asked)
    return rollout.back(rollout.prepare_back(), "/dbcheck answered 500")


def test_F3_deployed_sends_only_what_changes_and_reads_only_its_own_deployment() -> None:
    world = World([lambda w: None, World.succeed])
    verdict = forward(world)
    assert verdict.release() == {
        "result": "deployed",
        "by": "",
        "task_definition": NEW,
        "serving": NEW,
        "previous": OLD,
        "cause": "",
    }
    assert world.updates == [
        {"cluster": shapes.CLUSTER, "service": shapes.SERVICE, "taskDefinition": NEW, "forceNewDeployment": True}
    ]
    assert verdict.record["serviceDeploymentArn"].endswith("/sd2")
    assert (verdict.changed, verdict.deployment, verdict.running) == (True, "ecs-svc/2", {NEW: 1})


def test_F3_exec_is_switched_on_where_it_is_off_and_never_off() -> None:
    world = World([World.succeed])
    world.service["enableExecuteCommand"] = False
    forward(world)
    assert world.updates[0]["enableExecuteCommand"] is True


def test_F3_nothing_is_sent_when_nothing_changes_and_nothing_is_forced() -> None:
    world = World()
    verdict = forward(world, task_definition=OLD, force=False)
    assert (verdict.result, verdict.changed, world.updates) == ("deployed", False, [])
    other = World([World.succeed])
    assert forward(other, force=False).result == "deployed"
    assert "forceNewDeployment" not in other.updates[0]


def test_F3_the_circuit_breaker_is_named_with_exit_code_and_last_log_line(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    world = World(
        [
            lambda w: w.die(51),
            lambda w: w.die(52),
            lambda w: w.go_back("ROLLBACK_IN_PROGRESS", deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED),
            lambda w: w.go_back(),
        ]
    )
    verdict = forward(world, path=str(progress))
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "deployment circuit breaker", OLD)
    for part in (EXCEEDED[:-1], "3 failures, threshold 3", "exit code 3", "its log ends: boom"):
        assert part in verdict.cause
    told = progress.read_text("utf-8")
    assert told.index("ended with exit code 3") < told.index("ROLLBACK_IN_PROGRESS"), "named while waiting"
    assert "app | boom" in told
    assert len(world.updates) == 1, "ECS went back, nobody else"


@pytest.mark.parametrize(
    ("alarms", "by"),
    [
        ({"status": "TRIGGERED", "alarmNames": ["a", "b"], "triggeredAlarmNames": ["b"]}, "alarm b"),
        ({"status": "TRIGGERED", "alarmNames": ["a"]}, "alarm (one of a)"),
    ],
)
def test_F3_the_alarm_is_named(alarms: dict[str, Any], by: str) -> None:
    world = World([lambda w: w.go_back("ROLLBACK_IN_PROGRESS", alarms=alarms), lambda w: w.go_back()])
    verdict = forward(world)
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", by, OLD)


def test_F3_a_deployment_that_somebody_stopped_is_rolled_back_by_nobody_we_know() -> None:
    world = World([lambda w: w.go_back(statusReason="Service deployment rolled back by request.")])
    verdict = forward(world)
    assert (verdict.result, verdict.by) == ("rolled_back", "")
    assert verdict.cause.startswith("stopped on request; Service deployment rolled back by request")


def test_F3_a_rollback_that_fails_is_a_failure_and_says_what_serves() -> None:
    world = World(
        [lambda w: w.go_back("ROLLBACK_FAILED", deploymentCircuitBreaker=TRIPPED, statusReason="no capacity")]
    )
    verdict = forward(world)
    assert (verdict.result, verdict.by, verdict.serving) == ("failed", "deployment circuit breaker", OLD)
    assert "the rollback has not succeeded (ROLLBACK_FAILED): no capacity" in verdict.cause


def test_F3_a_rollback_after_which_the_old_revision_does_not_run_is_a_failure() -> None:
    def gone(world: World) -> None:
        world.go_back(deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED)
        world.end(0, "EssentialContainerExited", "Essential container in task exited", 1)

    verdict = forward(World([gone]))
    assert (verdict.result, verdict.serving) == ("failed", "")
    assert "rolled back, but 0 of 1 tasks of papyrus-task:7 run" in verdict.cause


def test_F3_superseded_by_a_newer_rollout_is_left_alone() -> None:
    def overtake(world: World) -> None:
        world.records[0]["status"] = "STOPPED"
        world.begin(OLD, "ecs-svc/somebody")

    world = World([lambda w: None, overtake])
    verdict = forward(world)
    assert verdict.result == "superseded"
    assert "/sd3 (IN_PROGRESS)" in verdict.cause
    assert len(world.updates) == 1
    assert world.aws.sent("ecs.stop_service_deployment") == []


def test_F3_superseded_also_while_ecs_still_calls_it_in_progress() -> None:
    world = World([lambda w: w.begin(NEW, "ecs-svc/somebody")])
    verdict = forward(world)
    assert (verdict.result, verdict.record["status"]) == ("superseded", "IN_PROGRESS")


def test_F3_somebody_elses_rollout_just_before_ours_is_not_taken_for_ours() -> None:
    world = World([World.succeed])
    update = world._update_service

    def race(sent: Any) -> dict[str, Any]:
        world.begin(NEW, "ecs-svc/somebody", status="STOPPED")
        world.records[0]["createdAt"] -= dt.timedelta(seconds=5)
        return update(sent)

    world.aws.answers["ecs.update_service"] = race
    verdict = forward(world)
    assert verdict.result == "deployed"
    assert verdict.record["serviceDeploymentArn"].endswith("/sd3")


def test_F3_stopped_without_a_way_back_is_taken_back_explicitly() -> None:
    def stop(world: World) -> None:
        world.records[0].update(status="STOPPED", deploymentCircuitBreaker=TRIPPED, statusReason="threshold exceeded")
        world.service["deployments"][0]["rolloutState"] = "FAILED"

    world = World([lambda w: w.die(51), stop, World.succeed], configuration=NO_ROLLBACK)
    verdict = forward(world)
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "papyrus.ops", OLD)
    assert "threshold exceeded" in verdict.cause
    assert [sent["taskDefinition"] for sent in world.updates] == [NEW, OLD]


def test_F3_a_stopped_deployment_whose_overtaker_is_not_listed_yet_is_not_taken_back() -> None:
    def overtake(world: World) -> None:
        world.records[0]["status"] = "STOPPED"
        world.begin(NEW, "ecs-svc/somebody")
        del world.records[0]

    world = World([overtake])
    verdict = forward(world)
    assert verdict.result == "superseded"
    assert "ecs-svc/somebody of papyrus-task:8" in verdict.cause
    assert len(world.updates) == 1


def test_F3_somebody_who_rolls_out_between_our_look_and_our_update_is_left_alone() -> None:
    world = World()
    rollout = world.rollout()
    rollout.prepare()
    world.begin(OLD, "ecs-svc/somebody")
    with pytest.raises(Refused, match=r"ecs-svc/somebody of papyrus-task:7 has taken the place of ecs-svc/1"):
        rollout.forward()
    assert world.updates == []


def test_F3_going_back_never_overwrites_somebody_elses_rollout() -> None:
    def stop(world: World) -> None:
        world.records[0].update(status="STOPPED", deploymentCircuitBreaker=TRIPPED)
        world.begin(NEW[:-1] + "9", "ecs-svc/somebody")

    world = World([stop], configuration=NO_ROLLBACK)
    verdict = forward(world)
    assert verdict.result == "superseded"
    assert len(world.updates) == 1


def test_F3_stopped_is_the_result_when_nobody_goes_back() -> None:
    def stop(world: World) -> None:
        world.records[0].update(status="STOPPED", statusReason="by hand")

    world = World([stop])
    verdict = forward(world, roll_back=False)
    assert (verdict.result, verdict.by) == ("stopped", "")
    assert "by hand" in verdict.cause
    assert len(world.updates) == 1


def test_F3_the_time_limit_ends_an_endless_rollout_by_ecs_own_rollback() -> None:
    world = World(configuration={})
    verdict = forward(world, timeout=60)
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "papyrus.ops", OLD)
    assert "not deployed within 60 s" in verdict.cause
    assert world.aws.sent("ecs.stop_service_deployment")[0]["stopType"] == "ROLLBACK"
    assert len(world.updates) == 1, "the running tasks were left alone"


def test_F3_where_ecs_cannot_stop_it_the_old_revision_is_rolled_out() -> None:
    world = World([lambda w: None] * 12 + [World.succeed], configuration={})
    world.refuse["ecs.stop_service_deployment"] = [Refusal("ConflictException", "nothing to go back to")]
    verdict = forward(world, timeout=60)
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "papyrus.ops", OLD)
    assert [sent["taskDefinition"] for sent in world.updates] == [NEW, OLD]


def test_F3_the_time_limit_does_not_cut_off_a_rollback_of_ecs() -> None:
    def going(world: World) -> None:
        world.go_back("ROLLBACK_IN_PROGRESS", deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED)

    world = World([going, *[lambda w: None] * 5, lambda w: w.go_back()])
    verdict = forward(world, timeout=20)
    assert (verdict.result, verdict.by) == ("rolled_back", "deployment circuit breaker")
    assert world.aws.sent("ecs.stop_service_deployment") == []


def test_F3_successful_is_not_enough_when_its_tasks_do_not_run() -> None:
    def hollow(world: World) -> None:
        world.succeed()
        world.end(2000, "EssentialContainerExited", "Essential container in task exited", 1)

    world = World([hollow])
    verdict = forward(world, settle_timeout=20, roll_back=False)
    assert (verdict.result, verdict.serving) == ("failed", "")
    assert "ECS calls it SUCCESSFUL, but after 20 s 0 of 1 tasks of the deployment run" in verdict.cause


def test_F3_tasks_of_the_same_revision_that_another_deployment_started_do_not_count() -> None:
    def foreign(world: World) -> None:
        world.succeed()
        world.tasks[shapes.task_arn(2000)]["startedBy"] = "ecs-svc/somebody"

    verdict = forward(World([foreign]), settle_timeout=20, roll_back=False)
    assert verdict.result == "failed"


def test_F3_old_tasks_that_still_drain_after_successful_are_waited_for() -> None:
    def early(world: World) -> None:
        world.succeed()
        world.start(OLD, OLD_ID, 0)

    world = World([early, lambda w: None, lambda w: w.end(0)])
    assert forward(world).result == "deployed"


def test_F3_a_service_deployment_that_is_listed_late_is_waited_for() -> None:
    world = World([lambda w: None] * 3 + [World.succeed], unlisted=3)
    verdict = forward(world)
    assert verdict.result == "deployed"
    assert verdict.record["serviceDeploymentArn"].endswith("/sd2")


def test_F3_one_that_is_never_listed_is_judged_by_the_services_own_list() -> None:
    world = World([World.succeed], unlisted=10_000)
    assert forward(world).result == "deployed"
    assert world.now >= 60, "only after the patience"

    def broken(world: World) -> None:
        world.go_back()
        world.service["deployments"][0]["rolloutStateReason"] = (
            "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1."
        )

    verdict = forward(World([broken], unlisted=10_000))
    assert (verdict.result, verdict.by) == ("rolled_back", "deployment circuit breaker")


def test_F3_throttling_and_lost_connections_do_not_end_the_wait() -> None:
    world = World([lambda w: None] * 4 + [World.succeed])
    rollout = world.rollout()
    rollout.prepare()
    world.refuse["ecs.describe_service_deployments"] = [Refusal("ThrottlingException", "Rate exceeded")] * 2
    world.refuse["ecs.list_tasks"] = [Refusal("ServerException", "Service Unavailable")]

    def succeed_unseen(world: World) -> None:
        world.succeed()
        world.refuse["ecs.describe_tasks"] = [Refusal("ThrottlingException", "Rate exceeded")]

    world.script[-1] = succeed_unseen
    assert rollout.forward().result == "deployed"
    assert world.refuse["ecs.describe_tasks"] == []
    silent = [entry for entry in rollout.journal.entries() if "did not answer" in entry.get("text", "")]
    assert silent


def test_F3_what_aws_never_answers_is_not_known_and_says_so() -> None:
    world = World()
    rollout = world.rollout()
    rollout.prepare()
    world.refuse["ecs.describe_service_deployments"] = [Refusal("ThrottlingException", "Rate exceeded")] * 1000
    verdict = rollout.forward()
    assert (verdict.result, verdict.changed, verdict.serving) == ("failed", True, "")
    assert "how it ended is not known" in verdict.cause
    assert PATIENCE <= world.now <= PATIENCE + 30


def test_F3_expired_credentials_end_the_wait_at_once() -> None:
    world = World()
    rollout = world.rollout()
    rollout.prepare()
    world.refuse["ecs.describe_service_deployments"] = [Refusal("ExpiredTokenException", "expired")] * 9
    verdict = rollout.forward()
    assert verdict.result == "failed"
    assert "ExpiredTokenException" in verdict.cause
    assert world.now == 0


def test_F3_what_update_service_refuses_was_not_begun() -> None:
    world = World()
    rollout = world.rollout()
    rollout.prepare()
    world.refuse["ecs.update_service"] = [Refusal("AccessDeniedException", "not allowed")]
    with pytest.raises(_aws.AwsFailure, match=r"the service is as it was"):
        rollout.forward()


def test_F3_an_answer_that_was_lost_is_looked_for_before_anything_is_said() -> None:
    def lost(world: World, begins: bool) -> Any:
        def update(sent: Any) -> Any:
            if begins:
                world._update_service(sent)
            raise ReadTimeoutError(endpoint_url="https://ecs.us-west-2.amazonaws.com/")

        return update

    world = World([World.succeed])
    world.aws.answers["ecs.update_service"] = lost(world, begins=True)
    assert forward(world).result == "deployed"
    other = World()
    other.aws.answers["ecs.update_service"] = lost(other, begins=False)
    with pytest.raises(_aws.AwsFailure, match="ReadTimeoutError"):
        forward(other)


def test_F3_a_service_that_is_deleted_meanwhile_ends_the_wait() -> None:
    world = World([lambda w: w.service.update(status="DRAINING"), lambda w: w.service.clear()])
    world.refuse["ecs.stop_service_deployment"] = [Refusal("ConflictException", "no")]
    verdict = forward(world, roll_back=False)
    assert verdict.result == "failed"
    assert "the service is DRAINING" in verdict.cause


def test_F3_a_deployment_begun_before_is_followed_not_begun_again() -> None:
    world = World([World.succeed])
    world.begin(NEW, "ecs-svc/ours")
    verdict = forward(world, deployment="ecs-svc/ours")
    assert (verdict.result, verdict.deployment, world.updates) == ("deployed", "ecs-svc/ours", [])


# Going back


def released(script: list[Any] | None = None) -> World:
    """The new revision is deployed."""
    world = World(list(script or []))
    world.begin(NEW, "ecs-svc/2")
    world.succeed()
    return world


def test_F3_back_rolls_the_previous_revision_out_and_looks_at_its_tasks() -> None:
    world = released([World.succeed])
    verdict = back(world)
    assert verdict.release() == {
        "result": "rolled_back",
        "by": "papyrus.ops",
        "task_definition": NEW,
        "serving": OLD,
        "previous": OLD,
        "cause": "/dbcheck answered 500",
    }
    assert world.updates == [
        {"cluster": shapes.CLUSTER, "service": shapes.SERVICE, "taskDefinition": OLD, "forceNewDeployment": True}
    ]


def test_F3_back_changes_nothing_when_ecs_has_gone_back_and_says_who_did() -> None:
    world = World()
    world.begin(NEW, "ecs-svc/2")
    world.go_back(deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED)
    verdict = back(world)
    assert (verdict.result, verdict.by, verdict.changed) == ("rolled_back", "deployment circuit breaker", False)
    assert verdict.cause.startswith("ECS is at papyrus-task:7 already")
    assert world.updates == []


def test_F3_back_stops_a_rollout_under_way() -> None:
    world = World()
    world.begin(NEW, "ecs-svc/2")
    verdict = back(world)
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "papyrus.ops", OLD)
    assert world.updates == []


def test_F3_back_leaves_somebody_elses_revision_alone() -> None:
    world = released()
    other = NEW[:-1] + "9"
    world.begin(other, "ecs-svc/somebody")
    with pytest.raises(Refused, match=r"at papyrus-task:9, which is neither papyrus-task:8 nor papyrus-task:7"):
        back(world)
    assert world.updates == []


def test_F3_back_to_a_revision_that_is_gone_is_refused_with_what_to_do() -> None:
    world = released()
    world.definitions[OLD]["status"] = "INACTIVE"
    with pytest.raises(Refused, match=r"Register it again"):
        back(world)


def test_F3_back_from_the_revision_that_served_before_as_well_is_not_called_a_rollback() -> None:
    world = World()
    rollout = world.rollout(task_definition=OLD, instead_of=OLD)
    verdict = rollout.back(rollout.prepare_back(), "/dbcheck answered 500")
    assert (verdict.result, verdict.by, verdict.changed) == ("deployed", "", False)
    assert "no other revision to go back to" in verdict.cause


def test_F3_going_back_that_fails_says_so() -> None:
    world = released()
    world.refuse["ecs.update_service"] = [Refusal("AccessDeniedException", "not allowed")]
    verdict = back(world)
    assert verdict.result == "failed"
    assert "going back failed" in verdict.cause
    assert "not allowed" in verdict.cause


# Sizes


def test_F3_200_tasks_are_described_once_each_in_batches() -> None:
    script = [lambda w, first=first: [w.end(n) for n in range(first, first + 50)] for first in (0, 50, 100, 150)]
    world = World([*script, World.succeed], desired=200)
    verdict = forward(world)
    assert (verdict.result, verdict.running) == ("deployed", {NEW: 200})
    described = [arn for sent in world.aws.sent("ecs.describe_tasks") for arn in sent["tasks"]]
    assert len(world.aws.sent("ecs.describe_tasks")) == 4 + 2
    assert len(described) == 200 + 200
    assert len(world.aws.requests) <= 60


def test_F3_a_rollout_of_hours_keeps_little() -> None:
    world = World([lambda w: None] * 720 + [World.succeed])
    rollout = world.rollout(interval=50)
    rollout.prepare()
    assert rollout.forward().result == "deployed"
    assert world.now >= 10 * 3600
    polls = [entry for entry in rollout.journal.entries() if entry["event"] == "poll"]
    assert len(polls) < 10
    assert max(poll.get("repeats", 0) for poll in polls) > 700
    assert len(rollout.calls.request_ids) < 20


def test_F3_hundreds_of_deaths_are_counted_and_few_logs_read() -> None:
    script = [lambda w, number=number: w.die(number) for number in range(100, 400)]
    world = World([*script, lambda w: w.go_back(deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED)])
    rollout = world.rollout()
    rollout.prepare()
    assert rollout.forward().result == "rolled_back"
    assert rollout.watcher.tasks.deaths == 300
    assert len(rollout.watcher.deaths) == 50
    assert len(world.aws.sent("logs.get_log_events")) == 20
    assert len(rollout.journal.entries()) <= 801
