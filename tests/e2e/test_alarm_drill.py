"""I1: the drill rings each alarm and hears it, names the one that nobody would hear, and leaves nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from . import alarms, harness
from .alarms import KINDS, LOAD_BALANCER
from .harness import RunningSmoke, Smoke, left_behind
from .services import CLUSTER, Services
from .test_interrupts import taken_down_by_the_guard
from .together import RunningTogether

PLAYBOOK = "playbooks/alarm_drill.yml"


def drill_left(run_id: str, topic_arn: str) -> list[str]:
    """What is left of a drill beside what a smoke can leave, asked without the product's code."""
    suffix = run_id.rsplit("-", 1)[1]
    ecs = harness.client("ecs")
    found = [alarm["AlarmName"] for alarm in harness.pages("cloudwatch", "describe_alarms", "MetricAlarms")]
    found += harness.pages("sqs", "list_queues", "QueueUrls")
    subscribed = harness.pages("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic_arn)
    found += [each["Endpoint"] for each in subscribed]
    found += harness.pages("ecs", "list_task_definitions", "taskDefinitionArns", status="ACTIVE")
    found += harness.pages("ecs", "list_services", "serviceArns", cluster=CLUSTER)
    found += [
        task["taskArn"] + f" {suffix}"
        for arn in harness.pages("ecs", "list_tasks", "taskArns", cluster=CLUSTER)
        for task in ecs.describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"]
        if suffix in json.dumps([task.get("startedBy"), task.get("group")])
    ]
    return [name for name in found if suffix in name] + left_behind(run_id)


@pytest.fixture(name="watched")
def _watched(services: Services, tmp_path: Path) -> Iterator[dict[str, Any]]:
    with alarms.watched(services, tmp_path) as variables:
        yield variables


def test_I1_each_alarm_rings_is_heard_and_is_over(watched: dict[str, Any], tmp_path: Path) -> None:
    name = watched["papyrus_monitor_name"]
    smoke = RunningSmoke(tmp_path / "drill", watched, playbook=PLAYBOOK).end(1200)
    assert smoke.exit_code == 0, smoke.output[-5000:]
    assert smoke.verdict["result"] in ("PASSED", "WARNED")
    assert smoke.verdict["skips"] == []
    events = [json.loads(line) for line in smoke.item("alarm_drill.jsonl").splitlines()]
    for kind in KINDS:
        result = json.loads(smoke.item(f"alarm_{kind}.json"))
        assert (result["status"], result["permanent"]) == ("ok", f"{name}-{kind}")
        copied = kind not in ("task-exit", "task-start")
        assert (result["alarm"] != f"{name}-{kind}") is copied
        assert [step["to"] for step in result["transitions"]][-3:] == ["OK", "ALARM", "OK"], result["transitions"]
        messages = [message for message in result["messages"] if message["old"] != "INSUFFICIENT_DATA"]
        assert [message["new"] for message in messages] == ["ALARM", "OK"]
        assert all(("DRILL" in message["description"]) is copied for message in messages)
        assert any("Successfully executed action" in item["HistorySummary"] for item in result["history"])
        told = [each["transition"]["to"] for each in events if each["event"] == "state" and each["kind"] == kind]
        assert told[-3:] == ["OK", "ALARM", "OK"]
    assert "503" in json.loads(smoke.item("alarm_alb-5xx.json"))["condition"]
    assert "exit code 3" in json.loads(smoke.item("alarm_task-exit.json"))["condition"]
    assert "CannotPullContainerError" in json.loads(smoke.item("alarm_task-start.json"))["condition"]
    cases = {case.get("name") for case in ElementTree.parse(smoke.bundle / "junit.xml").iter("testcase")}
    assert {f"I1 alarm_{kind}.json" for kind in KINDS} <= cases
    assert re.search(r"^\[papyrus-prd\] \[ +\d+ s\] .*OK → ALARM", smoke.output, re.MULTILINE), "no live progress"
    assert "DRILL: 6 alarms of" in smoke.output
    assert smoke.statement["predicate"]["result"] == smoke.verdict["result"]
    assert drill_left(smoke.run_id, alarms.topic_of(name)) == []
    assert {alarm["AlarmName"] for alarm in alarms.named(name)} == {f"{name}-{kind}" for kind in KINDS}


def refused(smoke: Smoke, kind: str, name: str, why: str) -> None:
    """Require a FAILED verdict that names the alarm, in a sealed bundle, without anything having been created."""
    assert smoke.exit_code != 0
    first = smoke.verdict["first_failure"]
    assert (smoke.verdict["result"], first["step"], first["name"]) == ("FAILED", "I1", f"alarm_{kind}.json")
    assert f"{name}-{kind}: " in first["cause"]
    assert why in first["cause"]
    assert smoke.verdict["gone"] == "not needed"
    assert smoke.statement["predicate"]["result"] == "FAILED"
    assert [line["name"] for line in smoke.lines if line["name"].startswith("terraform")] == []
    assert drill_left(smoke.run_id, alarms.topic_of(name)) == []


def test_I1_an_alarm_without_its_action_or_in_alarm_is_named_before_anything_rings(
    services: Services, tmp_path: Path
) -> None:
    names = {
        "silent": alarms.permanent_alarms(services, silent="cpu"),
        "ringing": alarms.permanent_alarms(services, ringing="task-exit"),
    }
    cases: dict[str, dict[str, Any]] = {
        case: {"papyrus_monitor_name": name, "papyrus_monitor_load_balancer": LOAD_BALANCER}
        for case, name in names.items()
    }
    smokes = RunningTogether(tmp_path, cases, PLAYBOOK).smokes(300)
    refused(smokes["silent"], "cpu", names["silent"], "AlarmActions do not have the topic")
    refused(smokes["ringing"], "task-exit", names["ringing"], "it is in ALARM already")


def test_I1_a_drill_that_is_interrupted_leaves_nothing(services: Services, tmp_path: Path) -> None:
    name = alarms.permanent_alarms(services)
    variables = {"papyrus_monitor_name": name, "papyrus_monitor_load_balancer": LOAD_BALANCER}
    running = RunningSmoke(tmp_path, variables, playbook=PLAYBOOK)
    running.wait_for(lambda: "its condition is made now" in running.output, 300)
    assert drill_left(running.bundle_folders()[0].name, alarms.topic_of(name)) != []
    running.interrupt()
    smoke = taken_down_by_the_guard(running)
    announcement = f"{name}-drill-{smoke.run_id.rsplit('-', 1)[1]}"
    told = harness.client("cloudwatch").describe_alarm_history(AlarmName=announcement, HistoryItemType="StateUpdate")
    assert [item["HistorySummary"] for item in told["AlarmHistoryItems"]][:1] == ["Alarm updated from ALARM to OK"]
    assert drill_left(smoke.run_id, alarms.topic_of(name)) == []
    assert len(alarms.named(name)) == len(KINDS)
