# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules alarm_drill_info and alarm_drill as Ansible runs them (I1)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _alarms, _aws, _drill, _drill_setup
from ansible_collections.papyrus.ops.plugins.module_utils._drill_case import Case
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import alarm_drill, alarm_drill_info
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from ansible_collections.papyrus.ops.tests.unit.drill_world import (
    ANNOUNCEMENT,
    QUEUE,
    RUN,
    TOPIC,
    Scripted,
    World,
    permanent,
)
from ansible_collections.papyrus.ops.tests.unit.told import Told

KINDS = ("memory", "task-exit")
ALARMS = {kind: _alarms.copy_of(permanent(kind)) for kind in KINDS}
OUTPUTS = {
    "queue_url": QUEUE,
    "announcement": ANNOUNCEMENT,
    "alarm_names": {"memory": "svc-memory-drill-abc234"},
    "impossible_task_definition": "svc-drill:1",
}
ASKED = {
    "run": RUN,
    "cluster": shapes.CLUSTER,
    "service": shapes.SERVICE,
    "container": "app",
    "topic_arn": TOPIC,
    "alarms": ALARMS,
    "outputs": OUTPUTS,
    "metric_namespace": "papyrus/Drill",
}
SECRET = "the-header-nobody-may-see"


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("AWS_REGION", "us-west-2")

    def run(module: Any, aws: FakeAws, check: bool = False, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_aws, "module_clients", lambda wanted: aws)
        with patch_module_args({**options, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


# alarm_drill_info


def account(*alarms: dict[str, Any]) -> FakeAws:
    network = {"awsvpcConfiguration": {"subnets": ["subnet-a"], "securityGroups": ["sg-task"]}}
    deployment = {"status": "PRIMARY", "taskDefinition": shapes.DEFINITION}
    service = shapes.service(deployments=[deployment], networkConfiguration=network, launchType="FARGATE")
    return FakeAws(
        {
            "cloudwatch.describe_alarms": {"MetricAlarms": list(alarms)},
            "sns.list_subscriptions_by_topic": {"Subscriptions": []},
            "ecs.describe_services": {"services": [service]},
            "ecs.describe_task_definition": {"taskDefinition": shapes.definition(image="registry/app@sha256:abc")},
        }
    )


INFO = {"name": "svc", "topic_arn": TOPIC, "cluster": shapes.CLUSTER, "service": shapes.SERVICE, "container": "app"}


@pytest.mark.parametrize("check", [False, True])
def test_I1_the_look_changes_nothing_and_says_what_can_be_drilled(run: Any, check: bool) -> None:
    aws = account(*(permanent(kind) for kind in _alarms.KINDS if not kind.startswith("alb")))
    result = run(alarm_drill_info, aws, check, **INFO)
    assert (result["changed"], result["ok"], result["problems"]) == (False, True, [])
    assert result["drilled"] == ["memory", "cpu", "task-exit", "task-start"]
    assert set(result["copied"]) == {"memory", "cpu"}
    assert [kind for kind, row in result["rows"].items() if row["status"] == "skip"] == ["alb-5xx", "alb-latency"]
    assert result["running"]["task_definition"] == shapes.DEFINITION
    assert all(name.split(".")[1].startswith(("describe_", "list_")) for name in aws.names)


def test_I1_the_look_names_what_cannot_be_drilled_and_does_not_fail(run: Any) -> None:
    alarms = [permanent(kind) for kind in _alarms.KINDS]
    alarms[1]["AlarmActions"] = []
    result = run(alarm_drill_info, account(*alarms), **INFO, load_balancer=True)
    assert (result["ok"], "failed" in result) == (False, False)
    assert len(result["problems"]) == 1
    assert result["problems"][0].startswith("svc-cpu: AlarmActions do not have the topic")
    assert "NG  " in result["text"]
    assert "cpu" not in result["alarms"]


def test_I1_a_topic_that_is_not_there_fails_with_what_to_do(run: Any) -> None:
    def missing(_params: Any) -> Any:
        raise Refusal("NotFound", "Topic does not exist")

    aws = account()
    aws.answers["sns.list_subscriptions_by_topic"] = missing
    result = run(alarm_drill_info, aws, **INFO)
    assert (result["failed"], result["step"]) == (True, "I1")
    assert TOPIC in result["msg"]
    assert "Apply playbooks/monitor.yml" in result["msg"]


# alarm_drill


@pytest.fixture(name="drilled")
def _drilled(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world in which the module's drill runs, in the world's own time and with its conditions."""
    world = World()
    world.alarm("svc-memory-drill-abc234")
    world.alarm("svc-task-exit")

    def cases(given: Any, probing: Any, clients: Any, clean: Any, tell: Any) -> list[Case]:
        world.conditions = {kind: Scripted(world, given.watched(kind)) for kind in given.alarms}
        return [
            Case(kind, alarm["name"], given.watched(kind), world.conditions[kind], given.limits, tell)
            for kind, alarm in given.alarms.items()
        ]

    made = _drill.Drill

    def timed(*arguments: Any) -> Any:
        return made(*arguments, clock=world.clock, sleep=world.sleep)

    monkeypatch.setattr(_drill_setup, "cases", cases)
    monkeypatch.setattr(_drill, "Drill", timed)
    return world


def test_I1_a_drill_says_what_became_of_each_alarm(run: Any, drilled: World) -> None:
    result = run(alarm_drill, drilled.aws, **ASKED)
    assert (result["ok"], result["changed"], "failed" in result) == (True, True, False)
    assert [(alarm["kind"], alarm["alarm"], alarm["copied"]) for alarm in result["alarms"]] == [
        ("memory", "svc-memory-drill-abc234", True),
        ("task-exit", "svc-task-exit", False),
    ]
    assert {event["event"] for event in result["events"]} >= {"announced", "state", "message", "phase", "waiting"}
    assert result["text"] == "2 of 2 alarms went OK → ALARM → OK with their messages"
    assert result["request_ids"]


@pytest.mark.parametrize("fail", [True, False])
def test_I1_an_alarm_that_is_not_heard_fails_the_module(run: Any, drilled: World, fail: bool) -> None:
    drilled.deaf.add("svc-task-exit")
    result = run(alarm_drill, drilled.aws, **ASKED, fail=fail)
    assert (result["ok"], result.get("failed", False), result["changed"]) == (False, fail, True)
    assert "FAILED: svc-task-exit: svc-task-exit went to ALARM, but no message" in result["text"]
    if fail:
        assert (result["msg"], result["step"]) == (result["text"], "I1")


def test_I1_time_limits_are_those_that_were_asked_for(run: Any, drilled: World) -> None:
    drilled.deaf.add("svc-task-exit")
    result = run(alarm_drill, drilled.aws, **ASKED, message_timeout=30, fail=False)
    assert "within 30 s" in result["text"]


def test_I1_progress_is_told_line_by_line_and_what_is_awaited_after_each(run: Any, drilled: World, told: Told) -> None:
    run(alarm_drill, drilled.aws, **ASKED)
    assert any("waits for ALARM: memory, task-exit" in line for line in told.lines)
    number = next(i for i, each in enumerate(told.all) if "svc-task-exit: OK → ALARM" in each.get("line", ""))
    assert "waits for" in next(each["now"] for each in told.all[number:] if "now" in each)


def test_I1_a_known_secret_is_in_no_result(run: Any, drilled: World, told: Told, tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    Redactor.prepare(private)
    Redactor.register(private, "run-header", SECRET)
    drilled.later(20, lambda: drilled.page("other", "OK", f"ALARM {SECRET}"))
    asked = {**ASKED, "run": {**RUN, "private": str(private)}, "secret_headers": {"X-Papyrus-Run": SECRET}}
    result = run(alarm_drill, drilled.aws, **asked)
    assert "[redacted:run-header:" in json.dumps(result)
    assert SECRET not in json.dumps(result)
    assert "[redacted:run-header:" in told.text and SECRET not in told.text


def test_I1_check_mode_names_what_would_ring_and_asks_nothing(run: Any) -> None:
    aws = FakeAws()
    result = run(alarm_drill, aws, True, **ASKED)
    assert (result["changed"], result["ok"]) == (True, True)
    assert result["text"] == "check mode: would ring svc-memory, svc-task-exit"
    assert aws.requests == []


def test_I1_data_are_put_before_the_copies_are_made(run: Any) -> None:
    aws = FakeAws({"cloudwatch.put_metric_data": {}})
    result = run(alarm_drill, aws, **{**ASKED, "outputs": {}}, state="prepared")
    assert (result["changed"], result["text"]) == (True, "data were put for memory")
    assert [sent["MetricData"][0]["MetricName"] for sent in aws.sent("cloudwatch.put_metric_data")] == [
        "MemoryUtilization"
    ]
    only_tasks = {**ASKED, "alarms": {"task-exit": ALARMS["task-exit"]}}
    assert run(alarm_drill, FakeAws(), **only_tasks, state="prepared")["changed"] is False


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"alarms": {}}, "there is no alarm to drill"),
        ({"alarms": {"disk": {"name": "svc-disk"}}}, "disk: no such kind of alarm"),
        ({"outputs": {}}, "outputs of the drill's stack have no"),
    ],
)
def test_I1_what_is_no_drill_fails_before_anything_is_asked(run: Any, changes: dict[str, Any], why: str) -> None:
    aws = FakeAws()
    result = run(alarm_drill, aws, **{**ASKED, **changes})
    assert (result["failed"], result["ok"]) == (True, False)
    assert why in result["msg"]
    assert aws.requests == []
