"""I1 against a local AWS: the playbook applies the alarms, proves them, and a task that exits with 3 is heard of."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .harness import RunningSmoke, Smoke
from .services import CLUSTER, REGISTERABLE, permanent_service, unique, until

PLAYBOOK = "playbooks/monitor.yml"
KINDS = ("memory", "cpu", "alb-5xx", "alb-latency", "task-exit", "task-start")


@dataclass
class Monitor:
    """The alarms of a service that does not exist, with a task family and a queue that hears them."""

    folder: Path
    name: str = field(default_factory=lambda: unique("monitor"))
    queue: str = ""
    told: list[tuple[str, str]] = field(default_factory=list)
    runs: int = 0

    @property
    def variables(self) -> dict[str, Any]:
        subscription = {"protocol": "sqs", "endpoint": self.arn(self.queue)}
        return {
            "papyrus_service": self.name,
            "papyrus_task_family": self.name,
            "papyrus_monitor_name": self.name,
            "papyrus_monitor_load_balancer": "app/anything/50dc6c495c0c9188",
            "papyrus_monitor_subscriptions": [subscription],
            "papyrus_state_dir": str(self.folder / "state"),
        }

    def begin(self, *arguments: str, **variables: Any) -> RunningSmoke:
        self.runs += 1
        folder = self.folder / f"run-{self.runs}"
        return RunningSmoke(folder, self.variables | variables, arguments, playbook=PLAYBOOK)

    def run(self, *arguments: str, **variables: Any) -> Smoke:
        return self.begin(*arguments, **variables).end(200)

    def make_queue(self) -> None:
        sqs = harness.client("sqs")
        self.queue = sqs.create_queue(QueueName=self.name)["QueueUrl"]
        allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": self.arn(self.queue)}]}
        sqs.set_queue_attributes(QueueUrl=self.queue, Attributes={"Policy": json.dumps(policy)})

    @staticmethod
    def arn(queue: str) -> str:
        found = harness.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        return str(found["Attributes"]["QueueArn"])

    def hear(self) -> list[tuple[str, str]]:
        """(kind, new state) of every message so far."""
        sqs = harness.client("sqs")
        for one in sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", []):
            message = json.loads(json.loads(one["Body"])["Message"])
            self.told.append((message["AlarmName"].removeprefix(f"{self.name}-"), message["NewStateValue"]))
            sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=one["ReceiptHandle"])
        return self.told

    def task_that_exits_with(self, code: int) -> None:
        """A task of the service's family, in the image of the permanent service."""
        ecs, service = harness.client("ecs"), permanent_service()
        definition = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
        app = {**definition["containerDefinitions"][0], "command": ["python", "-c", f"raise SystemExit({code})"]}
        registered = ecs.register_task_definition(
            family=self.name,
            containerDefinitions=[app],
            **{key: definition[key] for key in REGISTERABLE if definition.get(key)},
        )["taskDefinition"]["taskDefinitionArn"]
        ecs.run_task(
            cluster=CLUSTER,
            taskDefinition=registered,
            launchType="FARGATE",
            networkConfiguration=service["networkConfiguration"],
        )

    def alarms(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = harness.pages(
            "cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=f"{self.name}-"
        )
        return found

    def states(self) -> dict[str, str]:
        """By kind."""
        return {alarm["AlarmName"].removeprefix(f"{self.name}-"): alarm["StateValue"] for alarm in self.alarms()}

    def writes_since(self, number: int) -> list[str]:
        """What was asked to change something of these alarms."""
        return [
            call["operation"]
            for call in harness.calls(number)
            if not call["read_only"] and self.name in json.dumps(call["parameters"])
        ]


@pytest.fixture(name="monitor")
def _monitor(tmp_path: Path) -> Iterator[Monitor]:
    made = Monitor(tmp_path)
    made.make_queue()
    yield made
    if made.alarms():
        remove(made)
    harness.client("sqs").delete_queue(QueueUrl=made.queue)


def remove(made: Monitor) -> None:
    """What the playbook made, by its names: Terraform refuses to."""
    cloudwatch, logs, events = harness.client("cloudwatch"), harness.client("logs"), harness.client("events")
    cloudwatch.delete_alarms(AlarmNames=[alarm["AlarmName"] for alarm in made.alarms()])
    for kind in ("task-exit", "task-start"):
        events.remove_targets(Rule=f"{made.name}-{kind}", Ids=["log-group"])
        events.delete_rule(Name=f"{made.name}-{kind}")
        logs.delete_log_group(logGroupName=f"/aws/events/{made.name}-{kind}")
    logs.delete_resource_policy(policyName=f"{made.name}-events")
    account, region = harness.facts()["account_id"], harness.facts()["region"]
    harness.client("sns").delete_topic(TopicArn=f"arn:aws:sns:{region}:{account}:{made.name}-alarms")
    harness.client("kms").delete_alias(AliasName=f"alias/{made.name}-alarms")


def test_I1_another_account_is_refused_before_anything_is_made(monitor: Monitor) -> None:
    before = harness.last_call()
    smoke = monitor.run(papyrus_account_id="999999999999")
    assert smoke.exit_code != 0
    assert (smoke.verdict["result"], smoke.verdict["first_failure"]["step"]) == ("FAILED", "B10")
    assert monitor.writes_since(before) == []


def test_I1_an_apply_that_fails_is_sealed_the_next_one_goes_on_and_a_task_that_exits_with_3_is_heard_of(
    monitor: Monitor,
) -> None:
    refused = {"service": "cloudwatch", "operation": "PutMetricAlarm", "times": None, "status": 400}
    said = {"code": "LimitExceeded", "message": "no more alarms", "match": {"AlarmName": f"{monitor.name}-cpu"}}
    harness.add_faults(refused | said)
    try:
        failed = monitor.run()
    finally:
        harness.remove_faults(monitor.name)
    assert failed.exit_code != 0
    first = failed.verdict["first_failure"]
    assert (failed.verdict["result"], first["step"], first["name"]) == ("FAILED", "I1", "monitor_apply.log")
    assert "no more alarms" in first["cause"] and "no more alarms" in failed.item("monitor_apply.log")
    assert failed.statement["predicate"]["result"] == "FAILED"
    assert monitor.states().keys() == set(KINDS) - {"cpu"}

    smoke = monitor.run()
    assert smoke.exit_code == 0, smoke.output[-3000:]
    assert smoke.verdict["result"] in ("PASSED", "WARNED")
    assert smoke.statement["predicate"]["result"] == smoke.verdict["result"]
    checked = {line["name"] for line in smoke.lines if line["status"] == "ok" and line["step"] == "I1"}
    proved = {"monitor_apply.log", "monitor_second_plan.log", "alarm_topic.json", "alarm_subscriptions.json"}
    assert checked == {f"alarm_{kind}.json" for kind in KINDS} | proved
    assert "1 added, 0 changed, 0 destroyed" in smoke.item("monitor_apply.log")
    assert "No changes." in smoke.item("monitor_second_plan.log")
    assert json.loads(smoke.item("alarm_memory.json"))["Threshold"] == 80
    endpoint = monitor.arn(monitor.queue)
    for run in (failed, smoke):
        assert endpoint not in run.output
        assert [path.name for path in run.bundle.iterdir() if endpoint.encode() in path.read_bytes()] == []

    monitor.task_that_exits_with(3)
    until(lambda: ("task-exit", "ALARM") in monitor.hear(), "the message of the task that exits with 3", 100)
    assert ("task-start", "ALARM") not in monitor.told
    states = monitor.states()
    # Nothing of this service runs: one alarm says so, and one that has no data does not ring.
    assert (states["memory"], states["cpu"], states["task-start"]) == ("ALARM", "INSUFFICIENT_DATA", "OK")


@pytest.mark.soak
def test_I1_ctrl_c_in_the_middle_of_an_apply_loses_nothing_of_it(monitor: Monitor) -> None:
    """The terminal's whole group gets it: with two signals Terraform would end at once and forget what it had made."""
    slow = {"service": "cloudwatch", "operation": "PutMetricAlarm", "times": None, "delay_seconds": 4}
    harness.add_faults({**slow, "match": {"AlarmName": f"{monitor.name}-*"}})
    before = harness.last_call()
    try:
        running = monitor.begin()
        running.wait_for(lambda: "CreateLogGroup" in monitor.writes_since(before))
        os.killpg(running.process.pid, signal.SIGINT)
        interrupted = running.end_by_guard()
    finally:
        harness.remove_faults(monitor.name)
    assert interrupted.exit_code != 0
    assert interrupted.verdict["result"] == "FAILED"
    smoke = monitor.run()
    assert smoke.exit_code == 0, smoke.output[-3000:]
    assert "No changes." in smoke.item("monitor_second_plan.log")
    assert monitor.states().keys() == set(KINDS)


@pytest.mark.soak
def test_I1_an_alarm_says_when_it_is_over_and_what_was_changed_by_hand_is_put_right(monitor: Monitor) -> None:
    cloudwatch = harness.client("cloudwatch")
    assert monitor.run().exit_code == 0
    monitor.task_that_exits_with(3)
    until(lambda: ("task-exit", "ALARM") in monitor.hear(), "the message of the task that exits with 3", 100)
    begun = len(monitor.told)
    until(lambda: ("task-exit", "OK") in monitor.hear()[begun:], "the message that it is over", 400)

    cloudwatch.disable_alarm_actions(AlarmNames=[f"{monitor.name}-cpu"])
    before = harness.last_call()
    predicted = monitor.run("--check")
    assert predicted.exit_code == 0, predicted.output[-3000:]
    assert "~ actions_enabled" in predicted.output and "false -> true" in predicted.output
    assert monitor.writes_since(before) == []
    mended = monitor.run()
    assert mended.exit_code == 0, mended.output[-3000:]
    assert "0 added, 1 changed, 0 destroyed" in mended.item("monitor_apply.log")
    assert all(alarm["ActionsEnabled"] for alarm in monitor.alarms())


@pytest.mark.soak
def test_I1_alarms_that_do_not_stay_as_they_were_made_are_a_failure(monitor: Monitor) -> None:
    """A resource that differs at each plan, laid beside the stack's copy."""
    drifts = monitor.folder / "drifts.tf"
    drifts.write_text(
        'resource "aws_cloudwatch_event_rule" "drifts" {\n'
        f'  name                = "{monitor.name}-drifts"\n'
        "  description         = timestamp()\n"
        '  schedule_expression = "rate(1 day)"\n'
        "}\n",
        "utf-8",
    )
    beside = [str(path) for path in sorted((harness.CHECKOUT / "sandbox" / "terraform").glob("*.tf"))]
    try:
        smoke = monitor.run(papyrus_terraform_override_files=[*beside, str(drifts)])
    finally:
        harness.client("events").delete_rule(Name=f"{monitor.name}-drifts")
    assert smoke.exit_code != 0
    first = smoke.verdict["first_failure"]
    assert (smoke.verdict["result"], first["step"], first["name"]) == ("FAILED", "I1", "monitor_second_plan.log")
    assert first["cause"].startswith("the second plan is not empty")
