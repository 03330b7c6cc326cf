"""The alarms of infra/30-monitor by Terraform's provider: they stay, what they watch, who may use their topic (I1)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_terraform import Stacks
from tests.sandbox.ecs_stand import Stand
from tests.sandbox.iam_support import allow, user
from tests.sandbox.support import open_folder, refused, until

STACK, NAME, FAMILY = "30-monitor", "contract-monitor", "contract-monitored"
BALANCER = "app/contract/50dc6c495c0c9188"
KINDS = {"memory", "cpu", "alb-5xx", "alb-latency", "task-exit", "task-start"}
PRIVATE_PATH = "a-key-in-a-url-0123456789"


@dataclass
class Monitor:
    """The stack applied for a service of the cluster, and a queue that hears its topic."""

    stacks: Stacks
    stand: Stand
    queue: str
    variables: dict[str, Any]

    @property
    def outputs(self) -> dict[str, Any]:
        return self.stacks.outputs[STACK]

    @property
    def work(self) -> Path:
        return self.stacks.folder / STACK

    def client(self, service: str) -> Any:
        return self.stand.sandbox.client(service)

    def heard(self) -> list[tuple[str, str]]:
        """(alarm, new state) of each message that arrived since the last time."""
        sqs, told = self.client("sqs"), []
        for one in sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages", []):
            sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=one["ReceiptHandle"])
            message = json.loads(json.loads(one["Body"])["Message"])
            told.append((str(message["AlarmName"]), str(message["NewStateValue"])))
        return told

    def hears(self, alarm: str, state: str, seconds: float = 10) -> None:
        until(lambda: (alarm, state) in self.heard(), f"a message of {alarm}", seconds)

    def stopped(self, kind: str) -> set[str]:
        """ARNs of the tasks whose events are in the log group of that kind."""
        found = self.client("logs").filter_log_events(logGroupName=self.outputs["log_groups"][kind])["events"]
        return {str(json.loads(event["message"])["detail"]["taskArn"]) for event in found}

    def alarms(self) -> dict[str, dict[str, Any]]:
        found = self.client("cloudwatch").describe_alarms(AlarmNamePrefix=f"{NAME}-")["MetricAlarms"]
        return {str(alarm["AlarmName"]).removeprefix(f"{NAME}-"): alarm for alarm in found}


@pytest.fixture(scope="module")
def monitor(stand: Stand) -> Iterator[Monitor]:
    sqs, account = stand.sandbox.client("sqs"), stand.sandbox.facts["account_id"]
    queue = sqs.create_queue(QueueName=NAME)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    topic = f"arn:aws:sns:{stand.sandbox.facts['region']}:{account}:{NAME}-alarms"
    policy = {
        "Statement": {
            "Effect": "Allow",
            "Principal": {"Service": "sns.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": arn,
            "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
        }
    }
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({"Version": "2012-10-17", **policy})})
    variables = {
        "name": NAME,
        "cluster": stand.cluster,
        "service": "contract-monitored",
        "task_family": FAMILY,
        "load_balancer": BALANCER,
        "metric_namespace": "contract/Monitor",
        "subscriptions": [
            {"protocol": "sqs", "endpoint": arn},
            {"protocol": "https", "endpoint": f"https://127.0.0.1:9/{PRIVATE_PATH}"},
        ],
    }
    with open_folder() as folder:
        made = Stacks(stand.sandbox, folder)
        made.apply(STACK, **variables)
        yield Monitor(made, stand, queue, variables)


def test_I1_six_alarms_tell_one_topic_of_both_states_and_a_second_plan_is_empty(monitor: Monitor) -> None:
    alarms, topic = monitor.alarms(), monitor.outputs["topic_arn"]
    assert set(alarms) == KINDS == set(monitor.outputs["alarm_names"])
    assert {
        kind: (a["ActionsEnabled"], a["AlarmActions"], a["OKActions"]) for kind, a in alarms.items()
    } == dict.fromkeys(KINDS, (True, [topic], [topic]))
    planned = monitor.stacks.terraform(STACK, "plan", "-detailed-exitcode", "-input=false", "-no-color")
    assert planned.returncode == 0, planned.stdout + planned.stderr


def test_I1_an_endpoint_is_in_no_plan_that_anybody_reads(monitor: Monitor) -> None:
    """The state has to have it; what Terraform prints has not."""
    shown = monitor.stacks.terraform(STACK, "plan", "-destroy", "-refresh=false", "-input=false", "-no-color")
    said = shown.stdout + shown.stderr
    state = (monitor.work / "terraform.tfstate").read_text("utf-8")
    assert PRIVATE_PATH in state
    assert PRIVATE_PATH not in said
    shown = monitor.stacks.terraform(STACK, "plan", "-input=false", "-no-color", "-replace", subscription_of(state))
    assert "must be replaced" in shown.stdout or "will be replaced" in shown.stdout, shown.stdout + shown.stderr
    assert PRIVATE_PATH not in shown.stdout


def subscription_of(state: str) -> str:
    key = next(key for key in re.findall(r'"index_key": "([^"]+)"', state) if key.startswith("https-"))
    return f'aws_sns_topic_subscription.alarms["{key}"]'


def test_I1_a_destroy_is_refused_as_a_whole(monitor: Monitor) -> None:
    refusal = monitor.stacks.terraform(STACK, "destroy", "-auto-approve", "-input=false", "-no-color")
    assert refusal.returncode != 0
    assert "Instance cannot be destroyed" in refusal.stderr
    assert set(monitor.alarms()) == KINDS
    assert monitor.client("sns").get_topic_attributes(TopicArn=monitor.outputs["topic_arn"])


@pytest.mark.parametrize(
    "kept",
    [
        "aws_sns_topic.alarms",
        "aws_kms_key.alarms",
        'aws_cloudwatch_log_group.stop["task-exit"]',
        'aws_cloudwatch_metric_alarm.stop["task-start"]',
        "aws_cloudwatch_metric_alarm.memory",
        "aws_cloudwatch_metric_alarm.cpu",
    ],
)
def test_I1_nothing_that_stays_is_ever_replaced(monitor: Monitor, kept: str) -> None:
    planned = monitor.stacks.terraform(STACK, "plan", "-refresh=false", "-input=false", "-no-color", f"-replace={kept}")
    assert planned.returncode != 0
    assert f"Resource {kept} has lifecycle.prevent_destroy set" in " ".join(planned.stderr.split())


def test_I1_tasks_that_fail_are_told_apart_from_all_others(monitor: Monitor) -> None:
    stand = monitor.stand
    fails = stand.image("import sys; sys.exit(3)", "fails")
    ends = stand.image("import sys; sys.exit(0)", "ends")
    nowhere = f"{fails.partition('@')[0]}@sha256:{'0' * 64}"
    other = Stand(stand.sandbox, stand.network, "contract-other", stand.repository)
    other.ecs.create_cluster(clusterName=other.cluster)
    exits = {
        stand.run(stand.define(FAMILY, {"image": fails})),
        stand.run(stand.define(f"{FAMILY}-drill-abc234", {"image": fails})),
    }
    never = {stand.run(stand.define(f"{FAMILY}-drill-abc234", {"image": nowhere}))}
    quiet = {
        stand.run(stand.define(FAMILY, {"image": ends})),
        stand.run(stand.define(f"{FAMILY}2", {"image": fails})),
        stand.run(stand.define(f"{FAMILY}2", {"image": nowhere})),
    }
    elsewhere = other.run(other.define(FAMILY, {"image": fails}))
    for arn in exits | never | quiet:
        until(lambda arn=arn: stand.task(arn)["lastStatus"] == "STOPPED", f"{arn} stopped")
    until(lambda: other.task(elsewhere)["lastStatus"] == "STOPPED", "the other cluster's task stopped")
    until(lambda: monitor.stopped("task-exit") >= exits, "the events of the tasks that exit with 3")
    until(lambda: monitor.stopped("task-start") >= never, "the event of the task that cannot be started")
    assert monitor.stopped("task-exit") == exits
    assert monitor.stopped("task-start") == never
    # The whole way: event, log group, metric filter, alarm, encrypted topic, queue. The minute has to be over.
    told: list[tuple[str, str]] = []
    wanted = {(f"{NAME}-task-exit", "ALARM"), (f"{NAME}-task-start", "ALARM")}
    until(lambda: (told.extend(monitor.heard()), wanted <= set(told))[1], "both alarms' messages", 75)


def test_I1_nobody_but_alarms_of_this_name_speaks_on_the_topic(monitor: Monitor) -> None:
    sandbox, topic = monitor.stand.sandbox, monitor.outputs["topic_arn"]
    cloudwatch = monitor.client("cloudwatch")
    mine = cloudwatch.describe_alarms(AlarmNames=[f"{NAME}-cpu"])["MetricAlarms"][0]
    copied = {key: mine[key] for key in ("Namespace", "MetricName", "Statistic", "Period", "EvaluationPeriods")}
    for name in (f"{NAME}-cpu-drill-abc234", "another-service-cpu"):
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Threshold=80,
            ComparisonOperator="GreaterThanThreshold",
            AlarmActions=[topic],
            **copied,
        )
    with sandbox.switched(iam=True), user(sandbox, allow("sns:Publish", "kms:*")) as who:
        for sns in (who.client("sns"), monitor.client("sns")):
            with refused("AuthorizationError", "explicit deny in a resource-based policy", 403):
                sns.publish(TopicArn=topic, Message="a message of somebody")
        for name in ("another-service-cpu", f"{NAME}-cpu-drill-abc234"):
            cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="a test")
        told: list[tuple[str, str]] = []
        wanted = (f"{NAME}-cpu-drill-abc234", "ALARM")
        until(lambda: (told.extend(monitor.heard()), wanted in told)[1], "the drill's copy is heard")
        assert "another-service-cpu" not in {name for name, state in told}
    cloudwatch.delete_alarms(AlarmNames=["another-service-cpu", f"{NAME}-cpu-drill-abc234"])
    history = json.dumps(
        cloudwatch.describe_alarm_history(AlarmName="another-service-cpu")["AlarmHistoryItems"], default=str
    )
    assert "not authorized to perform: SNS:Publish" in history


@pytest.mark.parametrize(
    ("context", "decision"),
    [
        ({"aws:SecureTransport": "true", "aws:PrincipalIsAWSService": "true"}, "allowed"),
        ({"aws:SecureTransport": "false", "aws:PrincipalIsAWSService": "true"}, "explicitDeny"),
        ({"aws:SecureTransport": "true", "aws:PrincipalIsAWSService": "false"}, "explicitDeny"),
    ],
)
def test_I1_the_topics_policy_refuses_plaintext(monitor: Monitor, context: dict[str, str], decision: str) -> None:
    """Asked of the simulator: the local AWS itself speaks for the HTTPS endpoints."""
    topic = monitor.outputs["topic_arn"]
    policy = monitor.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]["Policy"]
    account = monitor.stand.sandbox.facts["account_id"]
    entries = [
        {"ContextKeyName": key, "ContextKeyType": "boolean", "ContextKeyValues": [value]}
        for key, value in context.items()
    ]
    answer = monitor.client("iam").simulate_custom_policy(
        PolicyInputList=[json.dumps(allow("sns:Publish"))],
        ActionNames=["sns:Publish"],
        ResourceArns=[topic],
        ResourcePolicy=policy,
        CallerArn=f"arn:aws:iam::{account}:user/somebody",
        ContextEntries=entries,
    )
    assert [result["EvalDecision"] for result in answer["EvaluationResults"]] == [decision]


def test_I1_taken_down_on_purpose_as_the_readme_says(monitor: Monitor) -> None:
    """Last: without the lines of prevent_destroy in the working copy, everything goes."""
    for path in monitor.work.glob("*.tf"):
        kept = [line for line in path.read_text("utf-8").splitlines(True) if "prevent_destroy" not in line]
        path.write_text("".join(kept), "utf-8")
    done = monitor.stacks.terraform(STACK, "destroy", "-auto-approve", "-input=false", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr
    assert monitor.alarms() == {}
    assert monitor.client("logs").describe_log_groups(logGroupNamePrefix=f"/aws/events/{NAME}")["logGroups"] == []
    assert monitor.client("events").list_rules(NamePrefix=NAME)["Rules"] == []
    assert [p for p in monitor.client("logs").describe_resource_policies()["resourcePolicies"] if NAME in str(p)] == []
    key = monitor.client("kms").describe_key(KeyId=monitor.outputs["topic_key_arn"])["KeyMetadata"]
    assert key["KeyState"] == "PendingDeletion"
