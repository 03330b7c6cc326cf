"""SQS: what alarms, topics and rules need of queues."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.sandbox.support import Sandbox, refused, until


@pytest.fixture
def sqs(sandbox: Sandbox) -> Any:
    return sandbox.client("sqs")


@pytest.fixture
def queue(sqs: Any) -> Iterator[str]:
    url = sqs.create_queue(QueueName=f"q-{uuid4().hex[:8]}", Attributes={"VisibilityTimeout": "30"})["QueueUrl"]
    yield url
    sqs.delete_queue(QueueUrl=url)


def receive(sqs: Any, queue: str, **other: Any) -> list[dict[str, Any]]:
    given = {"AttributeNames": ["All"], "MaxNumberOfMessages": 10, **other}
    found: list[dict[str, Any]] = sqs.receive_message(QueueUrl=queue, **given).get("Messages", [])
    return found


@pytest.mark.behaviour("sqs.queue_exists_with_others")
def test_a_queue_created_again_is_the_same_unless_it_differs(sqs: Any, queue: str) -> None:
    name = queue.rpartition("/")[2]
    assert sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "30"})["QueueUrl"] == queue
    with refused("QueueAlreadyExists", "different value for attribute", 400):
        sqs.create_queue(QueueName=name, Attributes={"KmsMasterKeyId": "alias/x"})


@pytest.mark.behaviour("sqs.purge_in_progress")
def test_a_queue_is_purged_once_a_minute(sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    sqs.purge_queue(QueueUrl=queue)
    assert receive(sqs, queue) == []
    with refused("AWS.SimpleQueueService.PurgeQueueInProgress", "every 60 seconds", 403):
        sqs.purge_queue(QueueUrl=queue)


def test_a_queue_that_is_not_there(sqs: Any, queue: str) -> None:
    """The emulator's own, as AWS has it; so are the following."""
    for call in (
        lambda: sqs.send_message(QueueUrl=queue + "x", MessageBody="x"),
        lambda: sqs.get_queue_url(QueueName="none"),
        lambda: sqs.delete_queue(QueueUrl=queue + "x"),
    ):
        with refused("AWS.SimpleQueueService.NonExistentQueue", status=400):
            call()


def test_a_received_message_is_hidden_until_its_timeout(sqs: Any, queue: str) -> None:
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    first = receive(sqs, queue, VisibilityTimeout=1)
    assert [message["Attributes"]["ApproximateReceiveCount"] for message in first] == ["1"]
    assert receive(sqs, queue) == []
    again = until(lambda: receive(sqs, queue), "it is visible again", 3)
    assert again[0]["Attributes"]["ApproximateReceiveCount"] == "2"
    sqs.change_message_visibility(QueueUrl=queue, ReceiptHandle=again[0]["ReceiptHandle"], VisibilityTimeout=0)
    assert len(receive(sqs, queue)) == 1


def test_a_long_poll_waits_for_a_message(sqs: Any, queue: str) -> None:
    start = time.monotonic()
    assert receive(sqs, queue, WaitTimeSeconds=1) == []
    assert time.monotonic() - start >= 1


def test_messages_received_too_often_go_to_the_dead_letter_queue(sqs: Any, queue: str) -> None:
    dead = sqs.create_queue(QueueName=f"dead-{uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "2"})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": redrive})
    sqs.send_message(QueueUrl=queue, MessageBody="x")
    for _ in range(2):
        assert len(receive(sqs, queue, VisibilityTimeout=0)) == 1
    assert receive(sqs, queue, VisibilityTimeout=0) == []
    assert [message["Body"] for message in receive(sqs, dead)] == ["x"]
    sqs.delete_queue(QueueUrl=dead)


@pytest.mark.behaviour("sqs.a_policy_lists_its_statements")
def test_a_policy_comes_back_with_a_list_of_statements(sqs: Any, queue: str) -> None:
    statement = {"Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": statement})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"])["Attributes"]["Policy"]
    assert json.loads(found) == {"Version": "2012-10-17", "Statement": [statement]}
    name = f"q-{uuid4().hex[:8]}"
    made = {sqs.create_queue(QueueName=name, Attributes={"Policy": policy})["QueueUrl"] for _ in range(2)}
    found = sqs.get_queue_attributes(QueueUrl=made.pop(), AttributeNames=["Policy"])["Attributes"]["Policy"]
    sqs.delete_queue(QueueUrl=sqs.get_queue_url(QueueName=name)["QueueUrl"])
    assert (json.loads(found)["Statement"], made) == ([statement], set())
