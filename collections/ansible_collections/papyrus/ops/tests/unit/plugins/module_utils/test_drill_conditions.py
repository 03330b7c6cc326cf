# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What rings alarms: metric data, requests and tasks; each says what it did, and why it could not (I1)."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _alarms, _drill_conditions, _drill_setup, _task_run
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._probe_run import Probe
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from ansible_collections.papyrus.ops.tests.unit.drill_world import RUN, permanent

NOW = dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC)


def until(condition: Callable[[], Any]) -> None:
    """Threads get a moment; nothing here takes one."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


# Metric data


class Data:
    """Metric data of a copy, at a time of the test's own."""

    def __init__(self, **answers: Any) -> None:
        self.seconds = 0.0
        self.aws = FakeAws({"cloudwatch.put_metric_data": {}, **answers})
        self.metric = _drill_conditions.MetricData(
            Calls(self.aws),
            "papyrus/Drill",
            _alarms.copy_of(permanent("memory")),
            "abc234",
            clock=lambda: self.seconds,
            now=lambda: NOW + dt.timedelta(seconds=self.seconds),
        )

    @property
    def sent(self) -> list[dict[str, Any]]:
        return self.aws.sent("cloudwatch.put_metric_data")


def test_I1_data_are_those_of_the_copys_metric_and_no_other() -> None:
    data = Data()
    data.metric.tick(True)
    assert data.sent == [
        {
            "Namespace": "papyrus/Drill",
            "MetricData": [
                {
                    "MetricName": "MemoryUtilization",
                    "Dimensions": [
                        {"Name": "ClusterName", "Value": "prd"},
                        {"Name": "ServiceName", "Value": "svc"},
                        {"Name": "Drill", "Value": "abc234"},
                    ],
                    "Value": 88.0,
                    "Timestamp": NOW,
                }
            ],
        }
    ]
    assert "1 data points were put, the last 88" in data.metric.said


def test_I1_data_are_put_now_and_then_and_at_each_change() -> None:
    data = Data()
    for second, wanted in ((0, False), (5, False), (10, True), (15, True), (24, True), (25, True), (26, False)):
        data.seconds = second
        data.metric.tick(wanted)
    assert [sent["MetricData"][0]["Value"] for sent in data.sent] == [72.0, 88.0, 88.0, 72.0]


def test_I1_a_copy_finds_data_of_the_minutes_before_it_was_made() -> None:
    data = Data()
    data.metric.baseline()
    [sent] = data.sent
    moments = [point["Timestamp"] for point in sent["MetricData"]]
    assert (max(moments), min(moments), len(moments)) == (NOW, NOW - dt.timedelta(minutes=9), 10)
    assert {point["Value"] for point in sent["MetricData"]} == {72.0}


def test_I1_data_that_cannot_be_put_are_a_problem() -> None:
    def refuse(_params: Any) -> Any:
        raise Refusal("AccessDenied")

    data = Data(**{"cloudwatch.put_metric_data": refuse})
    data.metric.tick(True)
    assert "AccessDenied" in data.metric.problem
    assert "metric MemoryUtilization in papyrus/Drill" in data.metric.problem


# Requests


class Asking:
    """Answers to requests, by whether the bad path was asked."""

    def __init__(self, *, lanes: int = 1, fault: Exception | None = None) -> None:
        self.asked: list[bool] = []
        self.told: list[str] = []
        self.at_once = threading.Barrier(lanes)
        self.fault = fault
        self.requests = _drill_conditions.Requests(
            self.ask, ("/dbcheck", "/healthz"), lanes, tell=self.told.append, pause=0.001
        )

    def ask(self, bad: bool) -> Probe:
        if self.fault:
            raise self.fault
        self.at_once.wait(10)
        self.asked.append(bad)
        status, seconds = (503, 2.25) if bad else (200, 0.01)
        return Probe(ok=True, reason="", responses=[{"status": status, "timings": {"total": seconds}}])


def test_I1_the_bad_path_is_asked_only_while_it_is_wanted() -> None:
    asking = Asking()
    asking.requests.tick(False)
    until(lambda: len(asking.asked) >= 3)
    assert set(asking.asked) == {False}
    assert asking.requests.said == "/dbcheck was not asked"
    asking.requests.tick(True)
    until(lambda: asking.asked.count(True) >= 2)
    asking.requests.tick(False)
    until(lambda: asking.asked[-1] is False)
    asking.requests.end()
    assert asking.requests.said.startswith("GET /dbcheck was answered ")
    assert "× 503, the slowest after 2.2 s" in asking.requests.said
    assert asking.told == ["GET /healthz: 200 after 0.0 s", "GET /dbcheck: 503 after 2.2 s"]


def test_I1_lanes_ask_side_by_side_and_end() -> None:
    asking = Asking(lanes=3)
    asking.requests.tick(True)
    until(lambda: len(asking.asked) >= 6)  # the barrier lets three through at once, or nobody
    asking.requests.end()
    asking.at_once.abort()
    until(lambda: not any(thread.name == "drill-requests" and thread.is_alive() for thread in threading.enumerate()))


def test_I1_no_answer_is_told_with_its_reason() -> None:
    requests = _drill_conditions.Requests(
        lambda bad: Probe(ok=False, reason="connection refused"), ("/dbcheck", "/healthz"), 1, pause=0.001
    )
    requests.tick(True)
    until(lambda: "no answer" in requests.said)
    requests.end()
    assert "(connection refused)" in requests.said


def test_I1_a_fault_in_a_lane_is_a_problem_not_silence() -> None:
    asking = Asking(fault=RuntimeError("ours"))
    asking.requests.tick(True)
    until(lambda: asking.requests.problem)
    assert asking.requests.problem == "RuntimeError: ours"


# Tasks


def given(**changes: Any) -> _drill_setup.Given:
    made: dict[str, Any] = {
        "run": RUN,
        "cluster": shapes.CLUSTER,
        "service": shapes.SERVICE,
        "container": "app",
        "alarms": {kind: _alarms.copy_of(permanent(kind)) for kind in _alarms.KINDS},
        "outputs": {
            "alarm_names": {kind: f"svc-{kind}-drill-abc234" for kind in _alarms.COPIED},
            "impossible_task_definition": f"{shapes.PREFIX}:task-definition/papyrus-task-drill-abc234:1",
            "url": "http://alb.example",
        },
        "namespace": "papyrus/Drill",
        "exit_command": ("sh", "-c", "exit 3"),
    }
    return _drill_setup.Given(**{**made, **changes})


class Cluster:
    """ECS in which a task ends as `task` says."""

    def __init__(self, task: dict[str, Any]) -> None:
        network = {"awsvpcConfiguration": {"subnets": ["subnet-a"], "securityGroups": ["sg-task"]}}
        deployment = {"status": "PRIMARY", "taskDefinition": shapes.DEFINITION}
        service = shapes.service(deployments=[deployment], networkConfiguration=network, launchType="FARGATE")
        stopped = {"taskArn": shapes.task_arn(9), "lastStatus": "STOPPED", "desiredStatus": "STOPPED", **task}
        self.aws = FakeAws(
            {
                "ecs.describe_services": {"services": [service]},
                "ecs.describe_task_definition": {"taskDefinition": shapes.definition()},
                "ecs.run_task": {"tasks": [{"taskArn": shapes.task_arn(9)}]},
                "ecs.describe_tasks": {"tasks": [stopped]},
            }
        )
        self.told: list[str] = []

    def run(self, kind: str) -> _drill_conditions.TaskEnds:
        condition = _drill_setup.tasks(given(), self.aws, lambda event, text, **data: self.told.append(text))[kind]
        condition.tick(False)
        assert self.aws.requests == []
        condition.tick(True)
        condition.tick(True)
        until(lambda: self.told or condition.problem)
        assert len(self.aws.sent("ecs.run_task")) == 1
        return condition


def test_I1_the_task_that_exits_is_the_services_own_with_another_command() -> None:
    cluster = Cluster({"stopCode": "EssentialContainerExited", "containers": [{"name": "app", "exitCode": 3}]})
    condition = cluster.run("task-exit")
    assert condition.problem == ""
    assert "exit code 3" in condition.said
    [sent] = cluster.aws.sent("ecs.run_task")
    assert sent["taskDefinition"] == shapes.DEFINITION
    assert sent["overrides"]["containerOverrides"] == [{"name": "app", "command": ["sh", "-c", "exit 3"]}]
    assert sent["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"] == ["sg-task"]
    assert sent["tags"] == [{"key": "papyrus:run-id", "value": RUN["id"]}]
    assert sent["startedBy"] == f"papyrus/{RUN['id']}"


def test_I1_a_task_that_exits_with_0_rings_nothing() -> None:
    cluster = Cluster({"stopCode": "EssentialContainerExited", "containers": [{"name": "app", "exitCode": 0}]})
    assert "exit code other than 0, but: exit code 0" in cluster.run("task-exit").problem


def test_I1_the_task_that_cannot_start_is_of_the_image_that_nobody_has() -> None:
    cluster = Cluster({"stopCode": "TaskFailedToStart", "stoppedReason": "CannotPullContainerError: not found"})
    condition = cluster.run("task-start")
    assert condition.problem == ""
    assert condition.said.count("CannotPullContainerError") == 1
    [sent] = cluster.aws.sent("ecs.run_task")
    assert sent["taskDefinition"].endswith(":task-definition/papyrus-task-drill-abc234:1")
    assert "overrides" not in sent


def test_I1_a_task_that_starts_though_it_should_not_is_a_problem() -> None:
    cluster = Cluster({"stopCode": "EssentialContainerExited", "containers": [{"name": "impossible", "exitCode": 0}]})
    assert "has to fail to start, but: exit code 0" in cluster.run("task-start").problem


def test_I1_a_task_that_may_not_be_run_is_a_problem() -> None:
    def refuse(_params: Any) -> Any:
        raise Refusal("AccessDeniedException")

    cluster = Cluster({})
    cluster.aws.answers["ecs.run_task"] = refuse
    assert "AccessDeniedException" in cluster.run("task-exit").problem


@pytest.mark.parametrize(
    ("outcome", "rc", "stop", "exits", "starts"),
    [
        ("exited", 3, "EssentialContainerExited", True, False),
        ("exited", 0, "EssentialContainerExited", False, False),
        ("not_started", None, "TaskFailedToStart; CannotPullContainerError", False, True),
        ("not_started", None, "", False, False),
        ("timed_out", None, "UserInitiated", False, False),
        ("indeterminate", None, "", False, False),
    ],
)
def test_I1_only_the_right_end_rings(outcome: Any, rc: int | None, stop: str, exits: bool, starts: bool) -> None:
    run = _task_run.TaskRun(outcome=outcome, rc=rc, stop_reason=stop, reason="how it ended")
    assert (_drill_conditions.ended_badly(run) == "") is exits
    assert (_drill_conditions.never_started(run) == "") is starts


# Cases


def test_I1_copies_are_watched_where_there_are_copies_and_requests_are_shared() -> None:
    probing = _drill_setup.Probing("/dbcheck", "/healthz", {"X-Papyrus-Run": "secret"})
    cases = _drill_setup.cases(given(), probing, FakeAws(), str, lambda event, text, **data: None)
    assert [(case.kind, case.alarm) for case in cases] == [
        ("memory", "svc-memory-drill-abc234"),
        ("cpu", "svc-cpu-drill-abc234"),
        ("alb-5xx", "svc-alb-5xx-drill-abc234"),
        ("alb-latency", "svc-alb-latency-drill-abc234"),
        ("task-exit", "svc-task-exit"),
        ("task-start", "svc-task-start"),
    ]
    by_kind = {case.kind: case.condition for case in cases}
    assert by_kind["alb-5xx"] is by_kind["alb-latency"]
    assert by_kind["memory"] is not by_kind["cpu"]


def test_I1_without_alarms_of_a_load_balancer_nothing_is_asked() -> None:
    alarms = {kind: _alarms.copy_of(permanent(kind)) for kind in ("memory", "task-exit")}
    probing = _drill_setup.Probing("/dbcheck", "/healthz", {})
    outputs = {"alarm_names": {"memory": "svc-memory-drill-abc234"}}
    made = given(alarms=alarms, outputs=outputs)
    cases = _drill_setup.cases(made, probing, FakeAws(), str, lambda event, text, **data: None)
    assert [case.kind for case in cases] == ["memory", "task-exit"]


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ({}, "no url"),
        ({"url": "http://alb"}, "no alarm_names"),
        ({"url": "http://alb", "alarm_names": {"cpu": "x"}}, "no copy"),
    ],
)
def test_I1_a_stack_without_what_is_needed_is_no_drill(outputs: dict[str, Any], why: str) -> None:
    probing = _drill_setup.Probing("/dbcheck", "/healthz", {})
    with pytest.raises(_drill_setup.NoDrill, match=why):
        _drill_setup.cases(given(outputs=outputs), probing, FakeAws(), str, lambda event, text, **data: None)
