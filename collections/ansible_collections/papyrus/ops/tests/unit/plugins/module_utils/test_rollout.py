# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rollouts against a scripted ECS: every verdict, who went back, what serves at the end (F3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_checks import Refused
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import Refusal
from ansible_collections.papyrus.ops.tests.unit.rollout_world import NEW, OLD, OLD_ID, World

EXCEEDED = "Service deployment rolled back because the circuit breaker threshold was exceeded."
TRIPPED = {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}
NO_ROLLBACK = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}


def test_F3_deployed_sends_only_what_changes_and_reads_only_its_own_deployment() -> None:
    world = World([lambda w: None, World.succeed])
    verdict = world.forward()
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
    world.forward()
    assert world.updates[0]["enableExecuteCommand"] is True


def test_F3_nothing_is_sent_when_nothing_changes_and_nothing_is_forced() -> None:
    world = World()
    verdict = world.forward(task_definition=OLD, force=False)
    assert (verdict.result, verdict.changed, world.updates) == ("deployed", False, [])
    other = World([World.succeed])
    assert other.forward(force=False).result == "deployed"
    assert "forceNewDeployment" not in other.updates[0]


def test_F3_the_circuit_breaker_is_named_with_exit_code_and_last_log_line() -> None:
    lines: list[str] = []
    world = World(
        [
            lambda w: w.die(51),
            lambda w: w.die(52),
            lambda w: w.go_back("ROLLBACK_IN_PROGRESS", deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED),
            lambda w: w.go_back(),
        ]
    )
    verdict = world.forward(tell=lines.append)
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "deployment circuit breaker", OLD)
    for part in (EXCEEDED[:-1], "3 failures, threshold 3", "exit code 3", "its log ends: boom"):
        assert part in verdict.cause
    told = "\n".join(lines)
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
    verdict = world.forward()
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", by, OLD)


def test_F3_a_task_that_is_scaled_in_by_a_rollback_has_not_died() -> None:
    alarms = {"status": "TRIGGERED", "triggeredAlarmNames": ["5xx"]}
    world = World([lambda w: w.start(NEW, w.own, 51), lambda w: w.go_back(alarms=alarms, statusReason="rings")])
    rollout = world.rollout()
    rollout.prepare()
    assert rollout.forward().by == "alarm 5xx"
    assert rollout.watcher.deaths == []


def test_F3_a_deployment_that_somebody_stopped_is_rolled_back_by_nobody_we_know() -> None:
    world = World([lambda w: w.go_back(statusReason="Service deployment rolled back by request.")])
    verdict = world.forward()
    assert (verdict.result, verdict.by) == ("rolled_back", "")
    assert verdict.cause.startswith("stopped on request; Service deployment rolled back by request")


def test_F3_a_rollback_that_fails_is_a_failure_and_says_what_serves() -> None:
    world = World(
        [lambda w: w.go_back("ROLLBACK_FAILED", deploymentCircuitBreaker=TRIPPED, statusReason="no capacity")]
    )
    verdict = world.forward()
    assert (verdict.result, verdict.by, verdict.serving) == ("failed", "deployment circuit breaker", OLD)
    assert "the rollback has not succeeded (ROLLBACK_FAILED): no capacity" in verdict.cause


def test_F3_a_rollback_after_which_the_old_revision_does_not_run_is_a_failure() -> None:
    def gone(world: World) -> None:
        world.go_back(deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED)
        world.end(0, "EssentialContainerExited", "Essential container in task exited", 1)

    verdict = World([gone]).forward()
    assert (verdict.result, verdict.serving) == ("failed", "")
    assert "rolled back, but 0 of 1 tasks of papyrus-task:7 run" in verdict.cause


def test_F3_a_task_that_ends_after_ecs_went_back_is_still_in_the_journal() -> None:
    def gone(world: World) -> None:
        world.die(51)
        world.tasks[shapes.task_arn(51)]["lastStatus"] = "STOPPING"
        world.go_back(deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED)

    def ended(world: World) -> None:
        world.tasks[shapes.task_arn(51)]["lastStatus"] = "STOPPED"

    def verdict_of(script: list[Callable[[World], None]]) -> tuple[str, int]:
        rollout = World(script).rollout()
        rollout.prepare()
        verdict = rollout.forward()
        told = [entry for entry in rollout.watcher.journal.entries() if entry["event"] == "task_stopped"]
        return verdict.result, len(told)

    assert verdict_of([gone, ended]) == ("rolled_back", 1)
    assert verdict_of([gone]) == ("rolled_back", 0), "a task whose end never comes changes no verdict"


def test_F3_stopped_without_a_way_back_is_taken_back_explicitly() -> None:
    def stop(world: World) -> None:
        world.records[0].update(status="STOPPED", deploymentCircuitBreaker=TRIPPED, statusReason="threshold exceeded")
        world.service["deployments"][0]["rolloutState"] = "FAILED"

    world = World([lambda w: w.die(51), stop, World.succeed], configuration=NO_ROLLBACK)
    verdict = world.forward()
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "papyrus.ops", OLD)
    assert "threshold exceeded" in verdict.cause
    assert [sent["taskDefinition"] for sent in world.updates] == [NEW, OLD]


def test_F3_stopped_is_the_result_when_nobody_goes_back() -> None:
    def stop(world: World) -> None:
        world.records[0].update(status="STOPPED", statusReason="by hand")

    world = World([stop])
    verdict = world.forward(roll_back=False)
    assert (verdict.result, verdict.by) == ("stopped", "")
    assert "by hand" in verdict.cause
    assert len(world.updates) == 1


def test_F3_the_time_limit_ends_an_endless_rollout_by_ecs_own_rollback() -> None:
    world = World(configuration={})
    verdict = world.forward(timeout=60)
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "papyrus.ops", OLD)
    assert "not deployed within 60 s" in verdict.cause
    assert world.aws.sent("ecs.stop_service_deployment")[0]["stopType"] == "ROLLBACK"
    assert len(world.updates) == 1, "the running tasks were left alone"


def test_F3_where_ecs_cannot_stop_it_the_old_revision_is_rolled_out() -> None:
    world = World([lambda w: None] * 12 + [World.succeed], configuration={})
    world.refuse["ecs.stop_service_deployment"] = [Refusal("ConflictException", "nothing to go back to")]
    verdict = world.forward(timeout=60)
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "papyrus.ops", OLD)
    assert [sent["taskDefinition"] for sent in world.updates] == [NEW, OLD]


def test_F3_the_time_limit_does_not_cut_off_a_rollback_of_ecs() -> None:
    def going(world: World) -> None:
        world.go_back("ROLLBACK_IN_PROGRESS", deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED)

    world = World([going, *[lambda w: None] * 5, lambda w: w.go_back()])
    verdict = world.forward(timeout=20)
    assert (verdict.result, verdict.by) == ("rolled_back", "deployment circuit breaker")
    assert world.aws.sent("ecs.stop_service_deployment") == []


def test_F3_successful_is_not_enough_when_its_tasks_do_not_run() -> None:
    def hollow(world: World) -> None:
        world.succeed()
        world.end(2000, "EssentialContainerExited", "Essential container in task exited", 1)

    world = World([hollow])
    verdict = world.forward(settle_timeout=20, roll_back=False)
    assert (verdict.result, verdict.serving) == ("failed", "")
    assert "ECS calls it SUCCESSFUL, but after 20 s 0 of 1 tasks of the deployment run" in verdict.cause


def test_F3_tasks_of_the_same_revision_that_another_deployment_started_do_not_count() -> None:
    def foreign(world: World) -> None:
        world.succeed()
        world.tasks[shapes.task_arn(2000)]["startedBy"] = "ecs-svc/somebody"

    verdict = World([foreign]).forward(settle_timeout=20, roll_back=False)
    assert verdict.result == "failed"


def test_F3_deployments_that_ecs_still_lists_are_waited_for_but_not_for_ever() -> None:
    def lag(world: World) -> None:
        old = world.service["deployments"][-1]
        world.succeed()
        world.service["deployments"].append({**old, "status": "ACTIVE"})

    def settle(world: World) -> None:
        del world.service["deployments"][1:]

    world = World([lag, lambda w: None, settle])
    verdict = world.forward()
    assert (verdict.result, verdict.cause, world.now) == ("deployed", "", 15)
    verdict = World([lag]).forward(settle_timeout=20)
    assert verdict.result == "deployed"
    assert "ECS still lists ecs-svc/1 (ACTIVE, COMPLETED)" in verdict.cause


def test_F3_old_tasks_that_still_drain_after_successful_are_waited_for() -> None:
    def early(world: World) -> None:
        world.succeed()
        world.start(OLD, OLD_ID, 0)

    world = World([early, lambda w: None, lambda w: w.end(0)])
    assert world.forward().result == "deployed"


def test_F3_a_service_that_is_deleted_meanwhile_ends_the_wait() -> None:
    world = World([lambda w: w.service.update(status="DRAINING"), lambda w: w.service.clear()])
    world.refuse["ecs.stop_service_deployment"] = [Refusal("ConflictException", "no")]
    verdict = world.forward(roll_back=False)
    assert verdict.result == "failed"
    assert "the service is DRAINING" in verdict.cause


def in_flight(world: World) -> None:
    world.begin(OLD, "ecs-svc/somebody")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda w: w.service.update(deploymentConfiguration={}), "give 'timeout'"),
        (lambda w: w.service.update(status="DRAINING"), "is DRAINING"),
        (lambda w: w.definitions[NEW].update(status="INACTIVE"), "register it again and release"),
        (lambda w: w.definitions[OLD].update(status="INACTIVE"), "which served before, is INACTIVE"),
        (in_flight, "another rollout of service papyrus-task-service is in flight"),
        (lambda w: w.records[0].update(status="ROLLBACK_IN_PROGRESS"), "sd1 .ROLLBACK_IN_PROGRESS. *"),
    ],
)
def test_F3_what_stands_against_it_is_found_before_anything_is_changed(spoil: Any, words: str) -> None:
    world = World()
    spoil(world)
    with pytest.raises(Refused, match=words):
        world.forward()
    assert world.updates == []


def test_F3_a_forced_rollout_of_the_same_revision_that_fails_has_nothing_to_go_back_to() -> None:
    def stop(world: World) -> None:
        world.records[0].update(status="STOPPED", deploymentCircuitBreaker=TRIPPED, statusReason="threshold exceeded")

    world = World([stop], configuration=NO_ROLLBACK)
    verdict = world.forward(task_definition=OLD)
    assert (verdict.result, len(world.updates)) == ("failed", 1)
    assert "the same revision served before, so there is none to go back to" in verdict.cause


# Going back


def released(script: list[Any] | None = None) -> World:
    """The new revision is deployed."""
    world = World(list(script or []))
    world.begin(NEW, "ecs-svc/2")
    world.succeed()
    return world


def test_F3_back_rolls_the_previous_revision_out_and_looks_at_its_tasks() -> None:
    world = released([World.succeed])
    verdict = world.back()
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
    verdict = world.back()
    assert (verdict.result, verdict.by, verdict.changed) == ("rolled_back", "deployment circuit breaker", False)
    assert verdict.cause.startswith("ECS is at papyrus-task:7 already")
    assert world.updates == []


def test_F3_gone_back_only_when_the_old_revision_really_runs() -> None:
    def hollow(world: World) -> None:
        world.succeed()
        world.end(3000, "EssentialContainerExited", "Essential container in task exited", 1)

    verdict = released([hollow]).back(settle_timeout=20)
    assert (verdict.result, verdict.serving) == ("failed", "")
    assert "gone back, but 0 of 1 tasks of papyrus-task:7 run" in verdict.cause


def test_F3_back_stops_a_rollout_under_way() -> None:
    world = World()
    world.begin(NEW, "ecs-svc/2")
    verdict = world.back()
    assert (verdict.result, verdict.by, verdict.serving) == ("rolled_back", "papyrus.ops", OLD)
    assert world.updates == []


def test_F3_back_leaves_somebody_elses_revision_alone() -> None:
    world = released()
    other = NEW[:-1] + "9"
    world.begin(other, "ecs-svc/somebody")
    with pytest.raises(Refused, match=r"at papyrus-task:9, which is neither papyrus-task:8 nor papyrus-task:7"):
        world.back()
    assert world.updates == []


def test_F3_back_to_a_revision_that_is_gone_is_refused_with_what_to_do() -> None:
    world = released()
    world.definitions[OLD]["status"] = "INACTIVE"
    with pytest.raises(Refused, match=r"Register it again"):
        world.back()


def test_F3_back_from_the_revision_that_served_before_as_well_is_not_called_a_rollback() -> None:
    world = World()
    rollout = world.rollout(task_definition=OLD, instead_of=OLD)
    verdict = rollout.back(rollout.prepare_back(), "/dbcheck answered 500")
    assert (verdict.result, verdict.by, verdict.changed) == ("deployed", "", False)
    assert "no other revision to go back to" in verdict.cause


def test_F3_going_back_that_fails_says_so() -> None:
    world = released()
    world.refuse["ecs.update_service"] = [Refusal("AccessDeniedException", "not allowed")]
    verdict = world.back()
    assert verdict.result == "failed"
    assert "going back failed" in verdict.cause
    assert "not allowed" in verdict.cause
