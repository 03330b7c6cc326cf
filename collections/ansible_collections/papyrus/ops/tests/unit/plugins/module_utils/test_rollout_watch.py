# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rollouts against a scripted ECS: whose deployment it is, what AWS does not answer, and how much is asked (F3)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_checks import Refused
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_watch import PATIENCE
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import Refusal
from ansible_collections.papyrus.ops.tests.unit.rollout_world import NEW, OLD, World
from botocore.exceptions import ClientError, ReadTimeoutError

EXCEEDED = "Service deployment rolled back because the circuit breaker threshold was exceeded."
TRIPPED = {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}
NO_ROLLBACK = {"deploymentCircuitBreaker": {"enable": True, "rollback": False}}


def test_F3_superseded_by_a_newer_rollout_is_left_alone() -> None:
    def overtake(world: World) -> None:
        world.records[0]["status"] = "STOPPED"
        world.begin(OLD, "ecs-svc/somebody")

    world = World([lambda w: None, overtake])
    verdict = world.forward()
    assert verdict.result == "superseded"
    assert "/sd3 (IN_PROGRESS)" in verdict.cause
    assert len(world.updates) == 1
    assert world.aws.sent("ecs.stop_service_deployment") == []


def test_F3_superseded_also_while_ecs_still_calls_it_in_progress() -> None:
    world = World([lambda w: w.begin(NEW, "ecs-svc/somebody")])
    verdict = world.forward()
    assert (verdict.result, verdict.record["status"]) == ("superseded", "IN_PROGRESS")


def test_F3_somebody_elses_rollout_just_before_ours_is_not_taken_for_ours() -> None:
    world = World([World.succeed])
    world.race(NEW, before=5)
    verdict = world.forward()
    assert verdict.result == "deployed"
    assert verdict.record["serviceDeploymentArn"].endswith("/sd3")


def test_F3_somebody_elses_rollout_of_another_revision_is_never_ours_however_near_it_is() -> None:
    other = NEW[:-1] + "9"
    world = World([World.succeed])
    world.race(other, before=0, recorded=30)
    verdict = world.forward()
    assert verdict.result == "deployed"
    assert verdict.record["serviceDeploymentArn"].endswith("/sd3")


def test_F3_somebody_who_began_before_us_has_not_overtaken_us() -> None:
    world = World([lambda w: w.records[0].update(status="STOPPED", statusReason="by hand")])
    world.race(NEW, before=5)
    verdict = world.forward(roll_back=False)
    assert (verdict.result, "by hand" in verdict.cause) == ("stopped", True)


def test_F3_the_last_rollout_of_the_same_revision_is_not_taken_for_a_new_one_that_is_listed_late() -> None:
    def fail(world: World) -> None:
        world.records[0].update(status="ROLLBACK_SUCCESSFUL", deploymentCircuitBreaker=TRIPPED, statusReason=EXCEEDED)

    world = World([lambda w: None] * 4 + [fail], unlisted=3)
    verdict = world.forward(task_definition=OLD)
    assert verdict.by == "deployment circuit breaker", "the last one was SUCCESSFUL"
    assert verdict.record["serviceDeploymentArn"].endswith("/sd2")


def test_F3_a_stopped_deployment_whose_overtaker_is_not_listed_yet_is_not_taken_back() -> None:
    def overtake(world: World) -> None:
        world.records[0]["status"] = "STOPPED"
        world.begin(NEW, "ecs-svc/somebody")
        del world.records[0]

    world = World([overtake])
    verdict = world.forward()
    assert verdict.result == "superseded"
    assert "ecs-svc/somebody of papyrus-task:8" in verdict.cause
    assert len(world.updates) == 1
    other = World([overtake])
    assert other.forward(roll_back=False).result == "superseded"


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
    verdict = world.forward()
    assert verdict.result == "superseded"
    assert len(world.updates) == 1


def test_F3_a_service_deployment_that_is_listed_late_is_waited_for() -> None:
    world = World([lambda w: None] * 3 + [World.succeed], unlisted=3)
    verdict = world.forward()
    assert verdict.result == "deployed"
    assert verdict.record["serviceDeploymentArn"].endswith("/sd2")


def test_F3_one_that_is_never_listed_is_judged_by_the_services_own_list() -> None:
    world = World([World.succeed], unlisted=10_000)
    assert world.forward().result == "deployed"
    assert world.now >= 60, "only after the patience"

    def broken(world: World) -> None:
        world.go_back()
        world.service["deployments"][0]["rolloutStateReason"] = (
            "ECS deployment circuit breaker: rolling back to deploymentId ecs-svc/1."
        )

    verdict = World([broken], unlisted=10_000).forward()
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
    assert world.forward().result == "deployed"
    assert len(world.updates) == 1
    other = World()
    other.aws.answers["ecs.update_service"] = lost(other, begins=False)
    with pytest.raises(_aws.AwsFailure, match="ReadTimeoutError"):
        other.forward()
    assert other.aws.names.count("ecs.update_service") == 3


def test_F3_an_answer_of_a_server_in_trouble_is_looked_for_too() -> None:
    world = World([World.succeed])

    def update(sent: Any) -> Any:
        world._update_service(sent)
        answer = {"Error": {"Code": "ServerException"}, "ResponseMetadata": {"HTTPStatusCode": 500, "RequestId": "r-1"}}
        raise ClientError(answer, "UpdateService")

    world.aws.answers["ecs.update_service"] = update
    assert world.forward().result == "deployed"
    assert len(world.updates) == 1


def test_F3_a_deployment_begun_before_is_followed_not_begun_again() -> None:
    world = World([World.succeed])
    world.begin(NEW, "ecs-svc/ours")
    verdict = world.forward(deployment="ecs-svc/ours")
    assert (verdict.result, verdict.deployment, world.updates) == ("deployed", "ecs-svc/ours", [])


def test_F3_a_death_is_named_once_with_its_exit_code_and_never_that_of_another_deployments_task() -> None:
    def stopping(world: World) -> None:
        world.die(51)
        world.tasks[shapes.task_arn(51)]["lastStatus"] = "STOPPING"
        del world.tasks[shapes.task_arn(51)]["containers"][0]["exitCode"]
        world.end(0, "EssentialContainerExited", "Essential container in task exited", 1)

    def stopped(world: World) -> None:
        world.end(51, "EssentialContainerExited", "Essential container in task exited", 3)

    world = World([stopping, stopped, World.succeed])
    rollout = world.rollout()
    rollout.prepare()
    assert rollout.forward().result == "deployed"
    assert [(death["task_arn"], death["exit_codes"]) for death in rollout.watcher.deaths] == [
        (shapes.task_arn(51), {"app": 3})
    ]


def test_F3_200_tasks_are_described_once_each_in_batches() -> None:
    script = [lambda w, first=first: [w.end(n) for n in range(first, first + 50)] for first in (0, 50, 100, 150)]
    world = World([*script, World.succeed], desired=200)
    verdict = world.forward()
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
