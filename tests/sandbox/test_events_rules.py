"""EventBridge: rules, their patterns and targets, and whom they reach."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.sandbox.support import Sandbox, refused
from tests.sandbox.test_sns_delivery import bodies, key, queue


@pytest.fixture
def events(sandbox: Sandbox) -> Any:
    return sandbox.client("events")


@pytest.fixture
def rule(events: Any) -> Iterator[str]:
    """A rule whose events have the source of its name."""
    name = f"r-{uuid4().hex[:8]}"
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    yield name
    ids = [target["Id"] for target in events.list_targets_by_rule(Rule=name)["Targets"]]
    if ids:
        events.remove_targets(Rule=name, Ids=ids)
    events.delete_rule(Name=name)


def put(events: Any, source: str, detail: Any = None) -> dict[str, Any]:
    entry = {"Source": source, "DetailType": "test", "Detail": json.dumps(detail or {})}
    answer: dict[str, Any] = events.put_events(Entries=[entry])
    return answer


def counted(sandbox: Sandbox, name: str, **dimensions: str) -> float:
    """The sum of a metric of EventBridge so far."""
    found = sandbox.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/Events",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=time.time() - 3600,
        EndTime=time.time() + 60,
        Period=3600,
        Statistics=["Sum"],
    )
    return sum(point["Sum"] for point in found["Datapoints"])


def allow(sandbox: Sandbox, url: str, arn: str) -> None:
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [{**statement, "Resource": arn}]}
    sandbox.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})


def test_a_queue_gets_events_when_its_policy_lets_them_in(sandbox: Sandbox, events: Any, rule: str) -> None:
    with queue(sandbox, policy=False) as (url, arn):
        events.put_targets(Rule=rule, Targets=[{"Id": "q", "Arn": arn}])
        put(events, rule, {"n": 1})
        assert bodies(sandbox, url) == []
        allow(sandbox, url, arn)
        put(events, rule, {"n": 2})
        got = [json.loads(body) for body in bodies(sandbox, url, 1)]
        assert [(event["source"], event["detail"]) for event in got] == [(rule, {"n": 2})]


@pytest.mark.behaviour("events.to_dead_letter_queue")
def test_what_does_not_reach_its_target_goes_to_the_dead_letter_queue(sandbox: Sandbox, events: Any, rule: str) -> None:
    with queue(sandbox, policy=False) as (url, dead):
        allow(sandbox, url, dead)
        target = {"Id": "q", "Arn": dead + "-none", "DeadLetterConfig": {"Arn": dead}}
        events.put_targets(Rule=rule, Targets=[target])
        put(events, rule)
        assert len(bodies(sandbox, url, 1)) == 1
        assert counted(sandbox, "FailedInvocations", RuleName=rule) == 1


@pytest.mark.behaviour("events.matched_events_are_counted")
def test_events_are_counted_that_match_rules_with_and_without_targets(sandbox: Sandbox, events: Any, rule: str) -> None:
    same = f"{rule}-same"
    events.put_rule(Name=same, EventPattern=json.dumps({"source": [rule]}))
    before = {name: counted(sandbox, name) for name in ("MatchedEvents", "TriggeredRules")}
    put(events, rule)
    put(events, rule)
    put(events, f"{rule}-none")
    for name in (rule, same):
        assert counted(sandbox, "MatchedEvents", RuleName=name) == 2
        assert counted(sandbox, "TriggeredRules", RuleName=name) == 2
        assert counted(sandbox, "Invocations", RuleName=name) == 0
    # An event that matches two rules is one event.
    assert counted(sandbox, "MatchedEvents") - before["MatchedEvents"] == 2
    assert counted(sandbox, "TriggeredRules") - before["TriggeredRules"] == 4
    events.delete_rule(Name=same)


@pytest.mark.behaviour("events.rule_dimensions")
def test_rules_of_another_bus_are_counted_with_its_name(sandbox: Sandbox, events: Any) -> None:
    name = f"b-{uuid4().hex[:8]}"
    events.create_event_bus(Name=name)
    events.put_rule(Name=name, EventBusName=name, EventPattern=json.dumps({"source": [name]}))
    entry = {"Source": name, "DetailType": "test", "Detail": "{}", "EventBusName": name}
    events.put_events(Entries=[entry])
    assert counted(sandbox, "MatchedEvents", EventBusName=name, RuleName=name) == 1
    assert counted(sandbox, "MatchedEvents", RuleName=name) == 0
    events.delete_rule(Name=name, EventBusName=name)
    events.delete_event_bus(Name=name)


@pytest.mark.behaviour("events.rules_say_nothing_to_topics", "kms.rules_say_nothing_to_keys")
def test_a_topic_and_its_key_let_events_in_without_conditions_only(sandbox: Sandbox, events: Any, rule: str) -> None:
    topic = sandbox.client("sns").create_topic(Name=rule)["TopicArn"]
    service, account = {"Service": "events.amazonaws.com"}, sandbox.facts["account_id"]
    source = {"Condition": {"StringEquals": {"aws:SourceAccount": account}}}

    def topic_lets(**condition: Any) -> None:
        statement = {"Effect": "Allow", "Principal": service, "Action": "sns:Publish", "Resource": topic, **condition}
        text = json.dumps({"Statement": [statement]})
        sandbox.client("sns").set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=text)

    def failures() -> float:
        put(events, rule)
        return counted(sandbox, "FailedInvocations", RuleName=rule)

    events.put_targets(Rule=rule, Targets=[{"Id": "t", "Arn": topic}])
    topic_lets(**source)
    assert failures() == 1
    topic_lets()
    assert failures() == 1
    with key(sandbox, service, topic, source) as encrypting:
        assert failures() == 2
        # What the topic's own name says, in the encryption context, counts.
        encrypting({"Condition": {"StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": topic}}})
        assert failures() == 2
    sandbox.client("sns").delete_topic(TopicArn=topic)


@pytest.fixture
def group(sandbox: Sandbox) -> Iterator[tuple[str, str]]:
    """(name, ARN) of a log group."""
    logs, name = sandbox.client("logs"), f"/aws/events/{uuid4().hex[:8]}"
    logs.create_log_group(logGroupName=name)
    yield name, logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]["arn"]
    logs.delete_log_group(logGroupName=name)


def let_in(sandbox: Sandbox, arn: str) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": ["events.amazonaws.com", "delivery.logs.amazonaws.com"]},
        "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
        "Resource": arn,
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sandbox.client("logs").put_resource_policy(policyName="test-events", policyDocument=document)


def written(sandbox: Sandbox, name: str) -> list[Any]:
    found = sandbox.client("logs").filter_log_events(logGroupName=name)["events"]
    return [json.loads(event["message"])["detail"] for event in found]


@pytest.mark.behaviour("events.to_log_group")
def test_a_log_group_gets_events(sandbox: Sandbox, events: Any, rule: str, group: tuple[str, str]) -> None:
    name, arn = group
    events.put_targets(Rule=rule, Targets=[{"Id": "l", "Arn": arn}])
    let_in(sandbox, arn)
    put(events, rule, {"n": 1})
    put(events, rule, {"n": 2})
    assert written(sandbox, name) == [{"n": 1}, {"n": 2}]
    sandbox.client("logs").delete_resource_policy(policyName="test-events")


@pytest.mark.behaviour("logs.log_group_lets_in")
def test_a_log_group_gets_no_events_without_a_resource_policy(
    sandbox: Sandbox, events: Any, rule: str, group: tuple[str, str]
) -> None:
    name, arn = group
    events.put_targets(Rule=rule, Targets=[{"Id": "l", "Arn": arn}])
    put(events, rule, {"n": 1})
    assert written(sandbox, name) == []
    assert counted(sandbox, "FailedInvocations", RuleName=rule) == 1


def test_an_account_has_ten_resource_policies_of_logs(sandbox: Sandbox) -> None:
    """The emulator's own, as AWS has it."""
    logs = sandbox.client("logs")
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "logs:PutLogEvents"}
    document = json.dumps({"Statement": [{**statement, "Resource": "*"}]})
    assert logs.describe_resource_policies()["resourcePolicies"] == []
    for n in range(10):
        logs.put_resource_policy(policyName=f"p{n}", policyDocument=document)
    with refused("LimitExceededException", status=400):
        logs.put_resource_policy(policyName="p10", policyDocument=document)
    logs.put_resource_policy(policyName="p9", policyDocument=document)
    for n in range(10):
        logs.delete_resource_policy(policyName=f"p{n}")


@pytest.mark.parametrize(
    ("pattern", "detail", "matches"),
    [
        ({"exit": [3]}, {"exit": 3}, True),
        ({"exit": [3]}, {"exit": 4}, False),
        ({"exit": [{"anything-but": [0]}]}, {"exit": 3}, True),
        ({"exit": [{"anything-but": [0]}]}, {"exit": 0}, False),
        ({"exit": [{"numeric": [">", 0, "<=", 5]}]}, {"exit": 5}, True),
        ({"exit": [{"numeric": [">", 0, "<=", 5]}]}, {"exit": 6}, False),
        ({"exit": [{"exists": True}]}, {}, False),
        ({"exit": [{"exists": False}]}, {}, True),
        ({"why": [{"prefix": "Task failed"}]}, {"why": "Task failed to start"}, True),
        ({"containers": {"exit": [1]}}, {"containers": [{"exit": 0}, {"exit": 1}]}, True),
    ],
)
def test_event_patterns(events: Any, pattern: Any, detail: Any, matches: bool) -> None:
    """The emulator's own, as AWS has it."""
    event = {"id": "1", "account": "123456789012", "source": "s", "time": "2026-01-01T00:00:00Z", "region": "x"}
    event |= {"resources": [], "detail-type": "t", "detail": detail}
    answer = events.test_event_pattern(EventPattern=json.dumps({"detail": pattern}), Event=json.dumps(event))
    assert answer["Result"] is matches


def test_events_of_aws_are_not_taken_from_others(events: Any) -> None:
    """The emulator's own, as AWS has it; so are the two following."""
    answer = put(events, "aws.ecs")
    assert answer["FailedEntryCount"] == 1
    assert answer["Entries"][0]["ErrorCode"] == "NotAuthorizedForSourceException"


def test_a_wrong_pattern_is_refused(events: Any) -> None:
    with refused("InvalidEventPatternException", status=400):
        events.put_rule(Name="wrong", EventPattern='{"source": "no list"}')


def test_a_disabled_rule_gives_nothing(sandbox: Sandbox, events: Any, rule: str) -> None:
    with queue(sandbox, policy=False) as (url, arn):
        allow(sandbox, url, arn)
        events.put_targets(Rule=rule, Targets=[{"Id": "q", "Arn": arn}])
        events.disable_rule(Name=rule)
        put(events, rule)
        assert bodies(sandbox, url) == []


@pytest.mark.behaviour("events.rule_has_targets")
def test_a_rule_with_targets_is_not_deleted(events: Any, rule: str) -> None:
    events.put_targets(Rule=rule, Targets=[{"Id": "q", "Arn": "arn:aws:sqs:us-east-1:123456789012:q"}])
    with refused("ValidationException", "since it has targets", 400):
        events.delete_rule(Name=rule)


@pytest.mark.behaviour("events.rule_is_there")
def test_a_rule_that_is_not_there(events: Any) -> None:
    target = {"Id": "q", "Arn": "arn:aws:sqs:us-east-1:123456789012:q"}
    for call in (
        lambda: events.enable_rule(Name="none"),
        lambda: events.disable_rule(Name="none"),
        lambda: events.remove_targets(Rule="none", Ids=["q"]),
        lambda: events.list_targets_by_rule(Rule="none"),
        lambda: events.put_targets(Rule="none", Targets=[target]),
        lambda: events.describe_rule(Name="none"),
    ):
        with refused("ResourceNotFoundException", "none does not exist", 400):
            call()
    events.delete_rule(Name="none")


@pytest.mark.behaviour("events.rule_has_a_trigger")
def test_a_rule_has_a_pattern_or_a_schedule(events: Any) -> None:
    with refused("ValidationException", "EventPattern or ScheduleExpression", 400):
        events.put_rule(Name="idle")


def targets(count: int) -> list[dict[str, str]]:
    return [{"Id": f"t{n}", "Arn": f"arn:aws:sqs:us-east-1:123456789012:q{n}"} for n in range(count)]


@pytest.mark.behaviour("events.five_targets_a_rule")
def test_a_rule_has_at_most_five_targets(events: Any, rule: str) -> None:
    events.put_targets(Rule=rule, Targets=targets(5))
    events.put_targets(Rule=rule, Targets=targets(1))
    with refused("LimitExceededException", status=400):
        events.put_targets(Rule=rule, Targets=targets(6)[5:])


@pytest.mark.behaviour("events.page_of_targets")
def test_targets_come_by_pages(events: Any, rule: str) -> None:
    events.put_targets(Rule=rule, Targets=targets(5))
    pages = list(events.get_paginator("list_targets_by_rule").paginate(Rule=rule, PaginationConfig={"PageSize": 2}))
    assert [[target["Id"] for target in page["Targets"]] for page in pages] == [["t0", "t1"], ["t2", "t3"], ["t4"]]
    with refused("ValidationException", "NextToken", 400):
        events.list_targets_by_rule(Rule=rule, NextToken="nonsense")


@pytest.mark.behaviour("events.rules_token_is_one")
def test_rules_come_by_pages_and_nonsense_is_no_token(events: Any) -> None:
    prefix = f"p-{uuid4().hex[:8]}"
    for n in range(3):
        events.put_rule(Name=f"{prefix}-{n}", EventPattern='{"source": ["x"]}')
    first = events.list_rules(NamePrefix=prefix, Limit=2)
    second = events.list_rules(NamePrefix=prefix, Limit=2, NextToken=first["NextToken"])
    assert [rule["Name"] for rule in first["Rules"] + second["Rules"]] == [f"{prefix}-{n}" for n in range(3)]
    with refused("ValidationException", "NextToken", 400):
        events.list_rules(NextToken="nonsense!")
    for n in range(3):
        events.delete_rule(Name=f"{prefix}-{n}")
