# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One command in a fresh task: its exit code, its log, its end; nothing is left running, nothing unknown is success."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _ecs_tasks, _task_run
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

ARN = shapes.task_arn(9)
NETWORK = {
    "awsvpcConfiguration": {"subnets": ["subnet-a"], "securityGroups": ["sg-task"], "assignPublicIp": "DISABLED"}
}
LOGS = {
    "logDriver": "awslogs",
    "options": {"awslogs-group": "/ecs/papyrus", "awslogs-region": "us-west-2", "awslogs-stream-prefix": "app"},
}


def plan(**changes: Any) -> _task_run.Plan:
    given: dict[str, Any] = {
        "cluster": shapes.CLUSTER,
        "service": shapes.SERVICE,
        "command": ("python", "-m", "papyrus.login_cli"),
        "tags": {"papyrus:run-id": "20260131T120000Z-abc234"},
        "started_by": "papyrus.x/20260131T120000Z-abc234",
        "timeout": 10.0,
        "end_timeout": 6.0,
        "log_wait": 3.0,
    }
    return _task_run.Plan(**{**given, **changes})


def state(last: str, exit_code: int | None = None, desired: str = "RUNNING", **more: Any) -> dict[str, Any]:
    container = {"name": "app", "imageDigest": f"sha256:{'a' * 64}", "runtimeId": "rt-1"}
    if exit_code is not None:
        container["exitCode"] = exit_code
    return {"taskArn": ARN, "lastStatus": last, "desiredStatus": desired, "containers": [container], **more}


class Stand:
    """ECS whose task goes through `states`, one a look; the last one stays until StopTask."""

    def __init__(self, states: list[dict[str, Any] | None], lines: list[str] | None = None, **answers: Any) -> None:
        self.now = 0.0
        self.states = states
        self.looks = 0
        self.lines = lines or []
        self.ended_while_waiting = False
        self.aws = FakeAws(
            {
                "ecs.describe_services": {"services": [self.service()]},
                "ecs.describe_task_definition": {"taskDefinition": shapes.definition(logConfiguration=LOGS)},
                "ecs.run_task": {"tasks": [{"taskArn": ARN}]},
                "ecs.describe_tasks": self.describe,
                "ecs.stop_task": self.stop,
                "logs.get_log_events": lambda sent: {"events": [{"message": line} for line in self.lines]},
                **{name.replace("__", "."): answer for name, answer in answers.items()},
            }
        )
        self.calls = Calls(self.aws)

    @staticmethod
    def service(**changes: Any) -> dict[str, Any]:
        primary = {"id": "ecs-svc/2", "status": "PRIMARY", "taskDefinition": f"{shapes.DEFINITION}"}
        old = {
            "id": "ecs-svc/1",
            "status": "ACTIVE",
            "taskDefinition": f"{shapes.PREFIX}:task-definition/papyrus-task:6",
        }
        made = {"networkConfiguration": NETWORK, "launchType": "FARGATE", "platformVersion": "LATEST"}
        return shapes.service(**{**made, "deployments": [old, primary], **changes})

    def describe(self, sent: Any) -> dict[str, Any]:
        found = self.states[min(self.looks, len(self.states) - 1)]
        self.looks += 1
        if found is None:
            return {"tasks": [], "failures": [{"arn": ARN, "reason": "MISSING"}]}
        return {"tasks": [found]}

    def stop(self, sent: Any) -> dict[str, Any]:
        self.states = [{**(self.states[-1] or state("RUNNING")), "lastStatus": "STOPPED", "desiredStatus": "STOPPED"}]
        return {"task": self.states[0]}

    def sleep(self, seconds: float) -> None:
        if self.ended_while_waiting:
            raise SystemExit(143)
        self.now += seconds

    def run(self, asked: _task_run.Plan | None = None) -> _task_run.TaskRun:
        asked = asked or plan()
        runner = _task_run.Runner(self.calls, asked, clock=lambda: self.now, sleep=self.sleep)
        return runner(_task_run.place(self.calls, asked))


DONE = [None, state("PENDING"), state("RUNNING"), state("DEPROVISIONING", 0, "STOPPED"), state("STOPPED", 0, "STOPPED")]


def test_E1_the_task_is_made_like_those_of_the_primary_deployment_with_the_runs_tags() -> None:
    stand = Stand(DONE, ["LOGIN: papyrus_app in papyrus", "TLS: TLSv1.3"])
    run = stand.run(plan(expect=(r"^TLS: TLSv1\.[23]$",)))
    assert (run.outcome, run.rc, run.stopped, run.ok, run.unmatched) == ("exited", 0, True, True, [])
    [sent] = stand.aws.sent("ecs.run_task")
    assert sent["taskDefinition"] == shapes.DEFINITION
    assert sent["networkConfiguration"] == NETWORK
    assert (sent["launchType"], sent["count"]) == ("FARGATE", 1)
    assert sent["tags"] == [{"key": "papyrus:run-id", "value": "20260131T120000Z-abc234"}]
    assert sent["startedBy"] == "papyrus-x/20260131T120000Z-abc234"
    assert sent["overrides"]["containerOverrides"][0]["command"][-4:] == ["60", "python", "-m", "papyrus.login_cli"]
    assert run.log["stream"] == f"app/app/{9:032x}"
    assert "LOGIN: papyrus_app in papyrus" in _task_run.transcript(run, ["python"])


def test_E1_a_task_that_ends_by_itself_is_not_asked_to_stop() -> None:
    stand = Stand(DONE)
    stand.run()
    assert "ecs.stop_task" not in stand.aws.names


def test_E1_capacity_providers_take_the_place_of_the_launch_type() -> None:
    strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    deployment = {"launchType": "FARGATE", "capacityProviderStrategy": strategy}
    made = _task_run.request(plan(), deployment, shapes.DEFINITION, "app")
    assert made["capacityProviderStrategy"] == strategy
    assert "launchType" not in made


@pytest.mark.parametrize(
    ("states", "outcome", "words"),
    [
        ([state("STOPPED", 1, "STOPPED")], "exited", "exit code 1"),
        (
            [
                state(
                    "STOPPED",
                    None,
                    "STOPPED",
                    stopCode="TaskFailedToStart",
                    stoppedReason="CannotPullContainerError: x",
                )
            ],
            "not_started",
            "CannotPullContainerError",
        ),
        ([state("RUNNING")], "timed_out", "did not end within 10 s"),
        ([None], "timed_out", "does not list the task yet"),
    ],
)
def test_E1_whatever_is_not_exit_code_0_is_no_success(states: list[Any], outcome: str, words: str) -> None:
    run = Stand(states).run()
    assert (run.outcome, run.ok) == (outcome, False)
    assert words in run.verdict()
    assert run.rc == (1 if outcome == "exited" else None)


def test_E1_a_task_that_does_not_end_is_stopped_and_proved_stopped() -> None:
    stand = Stand([state("RUNNING")])
    run = stand.run()
    assert [sent["task"] for sent in stand.aws.sent("ecs.stop_task")] == [ARN]
    assert run.stopped is True
    assert stand.now >= 10


def test_E1_a_container_that_ended_while_its_sidecar_lives_is_stopped() -> None:
    sidecar = {"name": "sidecar"}
    alive = state("RUNNING", 0)
    stand = Stand([{**alive, "containers": [*alive["containers"], sidecar]}])
    run = stand.run()
    assert (run.rc, run.stopped) == (0, True)
    assert "ecs.stop_task" in stand.aws.names


def test_E1_a_task_that_is_still_there_after_StopTask_is_named_and_no_success() -> None:
    stuck = state("DEPROVISIONING", 0, "STOPPED")
    run = Stand([stuck], ecs__stop_task={"task": stuck}).run()
    assert (run.rc, run.stopped, run.ok) == (0, False, False)
    assert ARN in run.verdict()
    assert "by hand" in run.verdict()


def refused(sent: object) -> dict[str, object]:
    raise Refusal("AccessDeniedException", "not allowed")


def test_E1_when_ecs_cannot_be_asked_any_more_the_task_is_stopped_all_the_same() -> None:
    stand = Stand([state("RUNNING")], ecs__describe_tasks=refused)
    run = stand.run()
    assert (run.outcome, run.rc, run.stopped, run.ok) == ("indeterminate", None, False, False)
    assert "ecs:DescribeTasks" in run.verdict()
    assert "ecs.stop_task" in stand.aws.names


def test_E1_the_end_of_the_module_stops_the_task() -> None:
    stand = Stand([state("RUNNING")])
    stand.ended_while_waiting = True
    with pytest.raises(SystemExit):
        stand.run()
    assert "ecs.stop_task" in stand.aws.names


def test_E1_no_capacity_is_said_in_ecs_words() -> None:
    failures = {"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time"}]}
    run = Stand([], ecs__run_task=failures).run()
    assert (run.outcome, run.task_arn, run.ok) == ("not_started", "", False)
    assert "Capacity is unavailable" in run.verdict()


def test_E1_expected_lines_that_do_not_come_are_no_success() -> None:
    stand = Stand(DONE, ["something else"])
    run = stand.run(plan(expect=("^TLS: ",)))
    assert (run.rc, run.ok, run.unmatched) == (0, False, ["^TLS: "])
    assert "'^TLS: '" in run.verdict()


def test_E1_lines_come_late_and_the_stream_with_the_first() -> None:
    asked: Iterator[int] = iter(range(9))

    def late(sent: Any) -> dict[str, Any]:
        if next(asked) < 2:
            raise Refusal("ResourceNotFoundException", "The specified log stream does not exist.")
        return {"events": [{"message": "TLS: TLSv1.3\n"}]}

    run = Stand(DONE, logs__get_log_events=late).run(plan(expect=("^TLS: TLSv1.3$",)))
    assert (run.ok, run.lines) == (True, ["TLS: TLSv1.3"])


def test_E1_a_log_that_may_not_be_read_is_no_success_when_lines_are_expected() -> None:
    run = Stand(DONE, logs__get_log_events=refused).run(plan(expect=("^TLS",)))
    assert run.ok is False
    assert "logs:GetLogEvents" in run.verdict()


@pytest.mark.parametrize(("expect", "ok"), [((), True), (("^TLS",), False)])
def test_E1_another_log_driver_leaves_the_exit_code_only(expect: tuple[str, ...], ok: bool) -> None:
    definition = {"taskDefinition": shapes.definition(logConfiguration={"logDriver": "splunk"})}
    run = Stand(DONE, ecs__describe_task_definition=definition).run(plan(expect=expect))
    assert run.ok is ok
    assert ok or "splunk" in run.verdict()


def test_E1_lines_of_another_region_are_not_looked_for_here() -> None:
    elsewhere = {**LOGS, "options": {**LOGS["options"], "awslogs-region": "eu-west-1"}}
    definition = {"taskDefinition": shapes.definition(logConfiguration=elsewhere)}
    stand = Stand(DONE, ["TLS: of somebody else"], ecs__describe_task_definition=definition)
    run = stand.run(plan(expect=("^TLS",)))
    assert run.ok is False
    assert "eu-west-1" in run.verdict()
    assert "logs.get_log_events" not in stand.aws.names


def test_E1_a_service_that_does_not_exist_starts_nothing() -> None:
    stand = Stand([], ecs__describe_services={"failures": [{"reason": "MISSING"}]})
    with pytest.raises(_ecs_tasks.TaskProblem, match="there is no service"):
        stand.run()
    assert "ecs.run_task" not in stand.aws.names


def test_E1_a_refused_RunTask_names_call_and_resource() -> None:
    with pytest.raises(_aws.AwsFailure, match="ecs:RunTask on .*papyrus-task:7"):
        Stand([], ecs__run_task=refused).run()


def test_E1_a_plan_that_makes_no_sense_is_refused() -> None:
    for changes in ({"command": ()}, {"life": -1}, {"timeout": 0}, {"expect": ("(",)}):
        with pytest.raises(ValueError, match=r"\w"):
            plan(**changes)


def shell(command: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
    bounded = _task_run.bounded(command, 30)
    return subprocess.run(bounded, capture_output=True, text=True, timeout=20, check=False, **more)


def test_E1_the_bounded_command_hands_on_output_arguments_and_exit_code() -> None:
    done = shell(["sh", "-c", 'echo "$1"; exit 7', "x", "two words $HOME *"])
    assert (done.returncode, done.stdout) == (7, "two words $HOME *\n")


def test_E1_the_bounded_command_ends_by_itself(tmp_path: Path) -> None:
    soon = tmp_path / "sleep"  # 30 seconds that are over at once
    soon.write_text("#!/bin/sh\nexit 0\n", "utf-8")
    soon.chmod(0o755)
    assert shell(["/bin/sleep", "15"], env={"PATH": f"{tmp_path}:/usr/bin:/bin"}).returncode in {143, 137}


def test_E1_life_0_leaves_the_command_as_it_is() -> None:
    assert _task_run.bounded(("a", "b"), 0) == ["a", "b"]


def test_E1_the_result_is_json() -> None:
    assert json.loads(json.dumps(Stand(DONE).run().as_dict()))["outcome"] == "exited"
