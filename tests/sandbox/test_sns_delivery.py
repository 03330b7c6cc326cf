"""SNS: topics, subscriptions and their confirmation, deliveries to HTTP endpoints and queues."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sandbox.messages import http_delivery
from tests.sandbox.support import Sandbox, refused, until


@pytest.fixture
def sns(sandbox: Sandbox) -> Any:
    return sandbox.client("sns")


@pytest.fixture
def topic(sns: Any) -> Iterator[str]:
    arn = sns.create_topic(Name=f"t-{uuid4().hex[:8]}")["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


class Endpoint:
    """An HTTP endpoint that keeps what it gets; `statuses` are answered first, then 200."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], str]] = []
        self.statuses: list[int] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                outer.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(outer.statuses.pop(0) if outer.statuses else 200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/in"

    def of_type(self, kind: str) -> list[tuple[dict[str, str], str]]:
        return [one for one in self.got if one[0]["x-amz-sns-message-type"] == kind]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    running = Endpoint()
    yield running
    running.close()


def subscribed(sns: Any, topic: str, endpoint: Endpoint, **attributes: str) -> str:
    """A confirmed HTTP subscription (its ARN)."""
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url, Attributes=attributes)
    _, body = until(lambda: endpoint.of_type("SubscriptionConfirmation"), "it is asked")[0]
    token = json.loads(body)["Token"]
    return str(sns.confirm_subscription(TopicArn=topic, Token=token)["SubscriptionArn"])


@pytest.mark.behaviour("sns.waits_for_confirmation")
def test_an_http_subscription_is_confirmed_by_the_link_that_its_endpoint_gets(
    sns: Any, topic: str, endpoint: Endpoint
) -> None:
    assert (
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url)["SubscriptionArn"]
        == "pending confirmation"
    )
    headers, body = until(lambda: endpoint.of_type("SubscriptionConfirmation"), "it is asked")[0]
    document = json.loads(body)
    assert headers["x-amz-sns-topic-arn"] == topic == document["TopicArn"]
    assert headers["x-amz-sns-message-id"] == document["MessageId"]
    sns.publish(TopicArn=topic, Message="before")
    with refused("InvalidParameter", "Token", 400):
        sns.confirm_subscription(TopicArn=topic, Token="other")
    with urllib.request.urlopen(document["SubscribeURL"], timeout=5) as answer:
        assert b"<SubscriptionArn>arn:aws:sns:" in answer.read()
    sns.publish(TopicArn=topic, Message="after")
    until(lambda: endpoint.of_type("Notification"), "it arrives")
    assert [json.loads(text)["Message"] for _, text in endpoint.of_type("Notification")] == ["after"]


def test_links_in_messages_need_no_signature_in_iam_mode_either(
    sandbox: Sandbox, sns: Any, topic: str, endpoint: Endpoint
) -> None:
    sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=endpoint.url)
    _, body = until(lambda: endpoint.of_type("SubscriptionConfirmation"), "it is asked")[0]
    with sandbox.switched(iam=True), urllib.request.urlopen(json.loads(body)["SubscribeURL"], timeout=5) as answer:
        assert answer.status == 200
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"] == "1"


@pytest.mark.behaviour("sns.headers")
def test_a_notification_says_in_headers_and_body_what_it_is(sns: Any, topic: str, endpoint: Endpoint) -> None:
    arn = subscribed(sns, topic, endpoint)
    attributes = {"kind": {"DataType": "String", "StringValue": "x"}}
    sent = sns.publish(TopicArn=topic, Message="hello", Subject="greeting", MessageAttributes=attributes)
    headers, body = until(lambda: endpoint.of_type("Notification"), "it arrives")[0]
    assert headers["x-amz-sns-subscription-arn"] == arn
    assert headers["x-amz-sns-topic-arn"] == topic
    assert headers["x-amz-sns-message-id"] == sent["MessageId"]
    assert headers["content-type"] == "text/plain; charset=UTF-8"
    assert headers["user-agent"] == "Amazon Simple Notification Service Agent"
    document = json.loads(body)
    assert {name: document[name] for name in ("Type", "MessageId", "TopicArn", "Subject", "Message")} == {
        "Type": "Notification",
        "MessageId": sent["MessageId"],
        "TopicArn": topic,
        "Subject": "greeting",
        "Message": "hello",
    }
    assert document["MessageAttributes"] == {"kind": {"Type": "String", "Value": "x"}}
    assert document["SignatureVersion"] == "1"
    urllib.request.urlopen(document["UnsubscribeURL"], timeout=5).close()
    assert sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"] == []


@pytest.mark.behaviour("sns.is_raw")
def test_raw_delivery_has_no_envelope(sns: Any, topic: str, endpoint: Endpoint) -> None:
    subscribed(sns, topic, endpoint, RawMessageDelivery="true")
    sns.publish(TopicArn=topic, Message="plain")
    headers, body = until(lambda: endpoint.of_type("Notification"), "it arrives")[0]
    assert body == "plain"
    assert headers["x-amz-sns-rawdelivery"] == "true"


@pytest.mark.behaviour("sns.waits")
def test_a_notification_is_sent_again_when_the_endpoint_fails(sns: Any, topic: str, endpoint: Endpoint) -> None:
    subscribed(sns, topic, endpoint)
    endpoint.statuses = [503, 429]
    sent = sns.publish(TopicArn=topic, Message="hello")["MessageId"]
    until(lambda: len(endpoint.of_type("Notification")) == 3, "the third try")
    assert {headers["x-amz-sns-message-id"] for headers, _ in endpoint.of_type("Notification")} == {sent}


def delivery(*statuses: int | Exception) -> tuple[bool, list[float]]:
    """(whether it arrived, how long was waited) with an endpoint that answers so."""
    left, waited = list(statuses), []

    def post(*_: Any) -> int:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    arrived = http_delivery.deliver("http://127.0.0.1/", "x", {}, Path("/nowhere"), waited.append, post)
    return arrived, waited


@pytest.mark.behaviour("sns.is_permanent")
def test_what_the_endpoint_refuses_for_good_is_not_sent_again() -> None:
    assert delivery(404, 200) == (False, [])


def test_deliveries_are_given_up_after_three_retries() -> None:
    assert delivery(500, OSError("gone"), 429, 200) == (True, [0.25, 0.5, 1.0])
    assert delivery(500, 500, 500, 500) == (False, [0.25, 0.5, 1.0])


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/", "http://10.0.0.1:80/", "http://example.test/", "http://[::1]/", "http://127.0.0.1.x/"]
)
def test_nothing_is_sent_to_others_than_this_machine(url: str) -> None:
    with pytest.raises(http_delivery.NotLoopback):
        http_delivery.post_once(url, "x", {}, Path("/nowhere"))
    assert http_delivery.address_of("127.3.2.1") == "127.3.2.1"
    assert http_delivery.address_of("localhost") == "127.0.0.1"


@contextlib.contextmanager
def queue(sandbox: Sandbox, policy: bool = True) -> Iterator[tuple[str, str]]:
    """(URL, ARN) of a queue, that everybody may send to if `policy`."""
    sqs = sandbox.client("sqs")
    url = sqs.create_queue(QueueName=f"q-{uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    if policy:
        allow_sns(sandbox, url, arn)
    try:
        yield url, arn
    finally:
        sqs.delete_queue(QueueUrl=url)


def allow_sns(sandbox: Sandbox, url: str, arn: str, **condition: Any) -> None:
    statement = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [{**statement, "Resource": arn, **condition}]}
    sandbox.client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})


def bodies(sandbox: Sandbox, url: str, wait: int = 0) -> list[str]:
    answer = sandbox.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait)
    return [message["Body"] for message in answer.get("Messages", [])]


@pytest.mark.behaviour("sqs.queue_lets_in")
def test_a_queue_gets_what_its_policy_lets_in(sandbox: Sandbox, sns: Any, topic: str) -> None:
    with queue(sandbox, policy=False) as (url, arn):
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        sns.publish(TopicArn=topic, Message="denied")
        other = {"Condition": {"ArnEquals": {"aws:SourceArn": topic + "x"}}}
        allow_sns(sandbox, url, arn, **other)
        sns.publish(TopicArn=topic, Message="denied too")
        allow_sns(sandbox, url, arn, Condition={"ArnEquals": {"aws:SourceArn": topic}})
        sns.publish(TopicArn=topic, Message="let in")
        assert [json.loads(body)["Message"] for body in bodies(sandbox, url, 1)] == ["let in"]


def test_a_queue_gets_raw_messages_with_their_attributes(sandbox: Sandbox, sns: Any, topic: str) -> None:
    with queue(sandbox) as (url, arn):
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
        attributes = {"kind": {"DataType": "String", "StringValue": "x"}}
        sns.publish(TopicArn=topic, Message="plain", MessageAttributes=attributes)
        answer = sandbox.client("sqs").receive_message(QueueUrl=url, MessageAttributeNames=["All"])["Messages"][0]
        assert answer["Body"] == "plain"
        assert answer["MessageAttributes"]["kind"]["StringValue"] == "x"


@pytest.mark.behaviour("sns.to_dead_letter_queue")
def test_what_cannot_be_delivered_goes_to_the_dead_letter_queue(sandbox: Sandbox, sns: Any, topic: str) -> None:
    with queue(sandbox, policy=False) as (_, closed), queue(sandbox) as (url, dead):
        redrive = json.dumps({"deadLetterTargetArn": dead})
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=closed, Attributes={"RedrivePolicy": redrive})
        sns.publish(TopicArn=topic, Message="lost")
        assert [json.loads(body)["Message"] for body in bodies(sandbox, url, 1)] == ["lost"]


@pytest.mark.parametrize(
    ("policy", "kind", "passes"),
    [
        ({"kind": ["a", "b"]}, "a", True),
        ({"kind": ["a", "b"]}, "c", False),
        ({"kind": [{"prefix": "al"}]}, "alarm", True),
        ({"kind": [{"anything-but": ["a"]}]}, "a", False),
        ({"kind": [{"exists": False}]}, "a", False),
    ],
)
def test_filter_policies(sandbox: Sandbox, sns: Any, topic: str, policy: Any, kind: str, passes: bool) -> None:
    """The emulator's own, as AWS has it."""
    with queue(sandbox) as (url, arn):
        given = {"FilterPolicy": json.dumps(policy), "RawMessageDelivery": "true"}
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes=given)
        attributes = {"kind": {"DataType": "String", "StringValue": kind}}
        sns.publish(TopicArn=topic, Message="x", MessageAttributes=attributes)
        assert bodies(sandbox, url) == ["x"] * passes


@pytest.mark.behaviour("sns.shown_arn")
def test_a_pending_subscription_is_listed_without_an_arn(sns: Any, topic: str) -> None:
    answer = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="x@example.test", ReturnSubscriptionArn=True)
    listed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [one["SubscriptionArn"] for one in listed] == ["PendingConfirmation"]
    attributes = sns.get_subscription_attributes(SubscriptionArn=answer["SubscriptionArn"])["Attributes"]
    assert attributes["PendingConfirmation"] == "true"
    counts = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert (counts["SubscriptionsPending"], counts["SubscriptionsConfirmed"]) == ("1", "0")


@pytest.mark.behaviour("sns.subscription_arn_is_whole")
def test_a_pending_subscription_cannot_be_deleted_by_its_word(sns: Any) -> None:
    with refused("InvalidParameter", "at least 6 elements, not 1", 400):
        sns.unsubscribe(SubscriptionArn="PendingConfirmation")


@pytest.mark.behaviour("sns.same_attributes")
def test_subscribing_again_gives_the_same_subscription(sandbox: Sandbox, sns: Any, topic: str) -> None:
    with queue(sandbox) as (_, arn):
        given = {"TopicArn": topic, "Protocol": "sqs", "Endpoint": arn}
        first = sns.subscribe(**given, Attributes={"RawMessageDelivery": "true"})["SubscriptionArn"]
        assert sns.subscribe(**given)["SubscriptionArn"] == first
        with refused("InvalidParameter", "already exists with different attributes", 400):
            sns.subscribe(**given, Attributes={"RawMessageDelivery": "false"})


@pytest.mark.behaviour("sns.page_of_subscriptions")
def test_subscriptions_come_by_pages_of_100(sns: Any, topic: str) -> None:
    for n in range(101):
        sns.subscribe(TopicArn=topic, Protocol="email", Endpoint=f"{n}@example.test")
    pages = list(sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic))
    assert [len(page["Subscriptions"]) for page in pages] == [100, 1]
    assert len({one["Endpoint"] for page in pages for one in page["Subscriptions"]}) == 101
    with refused("InvalidParameter", "NextToken"):
        sns.list_subscriptions_by_topic(TopicArn=topic, NextToken="nonsense")


@pytest.mark.parametrize(
    ("protocol", "endpoint"),
    [("http", "https://127.0.0.1/"), ("email", "nobody"), ("sqs", "q"), ("pigeon", "x"), ("lambda", "arn:aws:sqs:x")],
)
@pytest.mark.behaviour("sns.endpoint_fits")
def test_endpoints_have_the_form_of_their_protocol(sns: Any, topic: str, protocol: str, endpoint: str) -> None:
    with refused("InvalidParameter", "Invalid parameter", 400):
        sns.subscribe(TopicArn=topic, Protocol=protocol, Endpoint=endpoint)


@pytest.mark.behaviour("sns.is_json_object")
def test_policies_of_a_subscription_are_json(sns: Any, topic: str) -> None:
    for text in ("{", "[]"):
        with refused("InvalidParameter", "FilterPolicy", 400):
            sns.subscribe(
                TopicArn=topic, Protocol="email", Endpoint="x@example.test", Attributes={"FilterPolicy": text}
            )


@pytest.mark.behaviour("sns.topic_exists_with_others")
def test_a_topic_created_again_is_the_same_unless_it_differs(sns: Any, topic: str) -> None:
    name = topic.rpartition(":")[2]
    assert sns.create_topic(Name=name)["TopicArn"] == topic
    with refused("InvalidParameter", "different attributes", 400):
        sns.create_topic(Name=name, Attributes={"DisplayName": "other"})
    with refused("InvalidParameter", "different tags", 400):
        sns.create_topic(Name=name, Tags=[{"Key": "a", "Value": "b"}])


@pytest.mark.behaviour("sns.topic_name_fits")
def test_topic_names(sns: Any) -> None:
    with refused("InvalidParameter", "Topic Name", 400):
        sns.create_topic(Name="no spaces")


@pytest.mark.behaviour("sns.topic_policy_is_one")
def test_a_topics_policy_is_a_policy(sns: Any, topic: str) -> None:
    for text in ("{", "[]", "{}"):
        with refused("InvalidParameter", "Policy", 400):
            sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=text)


@pytest.mark.parametrize(
    "given",
    [
        {"Message": ""},
        {"Message": "x", "Subject": "two\nlines"},
        {"Message": "x", "Subject": "s" * 101},
        {"Message": '{"email": "x"}', "MessageStructure": "json"},
        {"Message": "x", "MessageStructure": "json"},
    ],
)
@pytest.mark.behaviour("sns.message_is_whole")
def test_messages_that_are_not_whole_are_refused(sns: Any, topic: str, given: dict[str, str]) -> None:
    with refused("InvalidParameter", "Invalid parameter", 400):
        sns.publish(TopicArn=topic, **given)


@pytest.mark.behaviour("sns.topics_token_is_one")
def test_tokens_of_no_page_are_refused(sns: Any) -> None:
    with refused("InvalidParameter", "NextToken", 400):
        sns.list_topics(NextToken="nonsense")


def test_what_is_not_there(sns: Any, topic: str) -> None:
    none = topic + "x"
    for call in (
        lambda: sns.publish(TopicArn=none, Message="x"),
        lambda: sns.get_topic_attributes(TopicArn=none),
        lambda: sns.subscribe(TopicArn=none, Protocol="email", Endpoint="x@example.test"),
        lambda: sns.list_subscriptions_by_topic(TopicArn=none),
        lambda: sns.get_subscription_attributes(SubscriptionArn=f"{topic}:{uuid4()}"),
    ):
        with refused("NotFound", status=404):
            call()
    sns.delete_topic(TopicArn=none)


def alarm_history(sandbox: Sandbox, action: str) -> list[str]:
    """What an alarm with this action remembers of it after it rang."""
    cloudwatch, name = sandbox.client("cloudwatch"), f"a-{uuid4().hex[:8]}"
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace=name,
        MetricName="m",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
        AlarmActions=[action],
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="by hand")
    items = cloudwatch.describe_alarm_history(AlarmName=name, HistoryItemType="Action")["AlarmHistoryItems"]
    cloudwatch.delete_alarms(AlarmNames=[name])
    return [f"{item['HistorySummary']} {item['HistoryData']}" for item in items]


@pytest.mark.behaviour("sns.topic_lets_in")
def test_a_topic_of_a_policy_that_lets_nobody_in_gets_no_alarm(sandbox: Sandbox, sns: Any, topic: str) -> None:
    assert alarm_history(sandbox, topic)[0].startswith(f"Successfully executed action {topic}")
    policy = {"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "sns:Publish", "Resource": topic}]}
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy))
    assert "not authorized to perform: SNS:Publish" in alarm_history(sandbox, topic)[0]


@pytest.mark.behaviour("cloudwatch.alarms_say_who_they_are")
def test_a_topic_may_ask_whose_alarm_it_is(sandbox: Sandbox, sns: Any, topic: str) -> None:
    account, region = sandbox.facts["account_id"], sandbox.facts["region"]

    def history(account: str, alarm: str) -> str:
        condition = {
            "StringEquals": {"aws:SourceAccount": account},
            "ArnLike": {"aws:SourceArn": f"arn:aws:cloudwatch:{region}:{account}:alarm:{alarm}"},
            "Bool": {"aws:PrincipalIsAWSService": "true"},
        }
        service = {"Service": "cloudwatch.amazonaws.com"}
        statement = {"Effect": "Allow", "Principal": service, "Action": "sns:Publish", "Resource": topic}
        text = json.dumps({"Statement": [{**statement, "Condition": condition}]})
        sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=text)
        return alarm_history(sandbox, topic)[0]

    assert history(account, "a-*").startswith("Successfully executed")
    assert "not authorized to perform: SNS:Publish" in history(account, "b-*")
    assert "not authorized to perform: SNS:Publish" in history("210987654321", "a-*")


@contextlib.contextmanager
def key(
    sandbox: Sandbox, service: dict[str, str], topic: str, condition: dict[str, Any]
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """The topic is encrypted by a key that lets a service use it on this condition; given another, on that."""
    kms = sandbox.client("kms")
    identifier = kms.create_key()["KeyMetadata"]["KeyId"]
    root = {"AWS": f"arn:aws:iam::{sandbox.facts['account_id']}:root"}

    def let_in(condition: dict[str, Any]) -> None:
        statements: list[dict[str, Any]] = [
            {"Effect": "Allow", "Principal": root, "Action": "kms:*", "Resource": "*"},
            {
                "Effect": "Allow",
                "Principal": service,
                "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
                "Resource": "*",
                **condition,
            },
        ]
        kms.put_key_policy(KeyId=identifier, PolicyName="default", Policy=json.dumps({"Statement": statements}))

    let_in(condition)
    sandbox.client("sns").set_topic_attributes(
        TopicArn=topic, AttributeName="KmsMasterKeyId", AttributeValue=identifier
    )
    try:
        yield let_in
    finally:
        kms.schedule_key_deletion(KeyId=identifier, PendingWindowInDays=7)


@pytest.mark.behaviour("kms.topic_key_lets_in")
def test_an_encrypted_topic_gets_no_alarm_without_its_keys_policy(sandbox: Sandbox, sns: Any, topic: str) -> None:
    sns.set_topic_attributes(TopicArn=topic, AttributeName="KmsMasterKeyId", AttributeValue="alias/aws/sns")
    failed = alarm_history(sandbox, topic)[0]
    assert failed.startswith(f"Failed to execute action {topic}")
    assert "encryption key" in failed
    service, account = {"Service": "cloudwatch.amazonaws.com"}, sandbox.facts["account_id"]
    with key(sandbox, {"Service": "events.amazonaws.com"}, topic, {}):
        assert "encryption key" in alarm_history(sandbox, topic)[0]
    with key(sandbox, service, topic, {}) as encrypting:
        assert alarm_history(sandbox, topic)[0].startswith("Successfully executed")
        encrypting({"Condition": {"StringEquals": {"aws:SourceAccount": account}}})
        assert alarm_history(sandbox, topic)[0].startswith("Successfully executed")
        encrypting({"Condition": {"StringEquals": {"aws:SourceAccount": "210987654321"}}})
        assert "encryption key" in alarm_history(sandbox, topic)[0]
        encrypting({"Condition": {"StringEquals": {"kms:EncryptionContext:aws:sns:topicArn": topic}}})
        assert alarm_history(sandbox, topic)[0].startswith("Successfully executed")
    # A key that is to be deleted encrypts no more.
    assert "encryption key" in alarm_history(sandbox, topic)[0]


def test_deliveries_are_counted(sandbox: Sandbox, sns: Any, topic: str) -> None:
    name = topic.rpartition(":")[2]
    with queue(sandbox) as (_, arn):
        sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        sns.publish(TopicArn=topic, Message="x")
    found = sandbox.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SNS",
        MetricName="NumberOfNotificationsDelivered",
        Dimensions=[{"Name": "TopicName", "Value": name}],
        StartTime=time.time() - 120,
        EndTime=time.time() + 60,
        Period=3600,
        Statistics=["Sum"],
    )
    assert sum(point["Sum"] for point in found["Datapoints"]) == 1
