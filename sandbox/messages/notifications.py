"""SNS: a message on its way from a topic to each of its subscriptions."""

from __future__ import annotations

import contextvars
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.messages import http_delivery
from sandbox.messages.policies import queue_lets_in

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

log = logging.getLogger("sandbox.sns")
Subscription = dict[str, Any]
# Field for field as on AWS, but nobody can check it: the key that would be, is AWS's.
SIGNATURE = {
    "SignatureVersion": "1",
    "Signature": "bm90IHNpZ25lZCBieSBBV1M=",
    "SigningCertURL": "https://127.0.0.1/not-signed-by-aws.pem",
}


def stamp() -> str:
    now = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now * 1000) % 1000:03d}Z"


class Notifications:
    """Delivers for every tenant; what fails for good goes to the subscription's dead-letter queue."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._sns = emulator.service("sns")
        self._sqs = emulator.service("sqs")

    def _link(self, action: str, **parameters: str) -> str:
        query = "".join(f"&{name}={quote(value, safe=':')}" for name, value in parameters.items())
        return f"{self._runtime.settings.endpoint}/?Action={action}&Version=2010-03-31{query}"

    def confirm(self, subscription: Subscription) -> None:
        """Ask the endpoint whether it wants the subscription, in the background."""
        topic, token = subscription["topic_arn"], subscription["token"]
        document = {
            "Type": "SubscriptionConfirmation",
            "MessageId": str(uuid.uuid4()),
            "Token": token,
            "TopicArn": topic,
            "Message": f"You have chosen to subscribe to the topic {topic}.\n"
            "To confirm the subscription, visit the SubscribeURL included in this message.",
            "SubscribeURL": self._link("ConfirmSubscription", TopicArn=topic, Token=token),
            "Timestamp": stamp(),
            **SIGNATURE,
        }
        headers = _headers("SubscriptionConfirmation", document["MessageId"], topic)
        self._in_background(partial(self._post, subscription, json.dumps(document), headers))

    def fan_out(
        self,
        topic_arn: str,
        message_id: str,
        message: str,
        subject: str,
        message_structure: str = "",
        message_attributes: Mapping[str, Any] | None = None,
        message_group_id: str = "",
        message_dedup_id: str = "",
    ) -> None:
        """To every confirmed subscription whose filter policy lets it through."""
        topic = self._sns._topic_by_arn_any_scope(topic_arn)
        if topic is None:
            return
        self._count("NumberOfMessagesPublished", topic_arn)
        attributes = dict(message_attributes or {})
        for subscription in list(topic["subscriptions"]):
            text = self._sns._resolve_message_for_protocol(message, message_structure, subscription["protocol"])
            if not subscription["confirmed"] or not self._passes(subscription, attributes, text):
                continue
            raw = _is_raw(subscription)
            envelope = self._envelope(subscription, message_id, text, subject, attributes)
            if subscription["protocol"] == "sqs":
                order = {"message_group_id": message_group_id, "message_dedup_id": message_dedup_id}
                self._to_queue(subscription, text if raw else envelope, attributes if raw else {}, order)
            elif subscription["protocol"] in ("http", "https"):
                headers = _headers("Notification", message_id, topic_arn, subscription["arn"])
                if raw:
                    headers["x-amz-sns-rawdelivery"] = "true"
                body = text if raw else envelope
                self._in_background(partial(self._post, subscription, body, headers))
            elif subscription["protocol"] == "lambda":
                given = (
                    subscription["endpoint"],
                    envelope,
                    topic_arn,
                    subscription["arn"],
                    message_id,
                    text,
                    attributes,
                )
                self._in_background(partial(self._sns._deliver_to_lambda, *given))

    def _passes(self, subscription: Subscription, attributes: dict[str, Any], text: str) -> bool:
        return bool(self._sns._matches_filter_policy(subscription, attributes, text))

    def _envelope(
        self, subscription: Subscription, message_id: str, text: str, subject: str, attributes: Mapping[str, Any]
    ) -> str:
        """https://docs.aws.amazon.com/sns/latest/dg/http-notification-json.html"""
        document: dict[str, Any] = {"Type": "Notification", "MessageId": message_id}
        document["TopicArn"] = subscription["topic_arn"]
        if subject:
            document["Subject"] = subject
        document |= {"Message": text, "Timestamp": stamp(), **SIGNATURE}
        document["UnsubscribeURL"] = self._link("Unsubscribe", SubscriptionArn=subscription["arn"])
        if attributes:
            document["MessageAttributes"] = {
                name: {
                    "Type": one.get("DataType", "String"),
                    "Value": one.get("StringValue", one.get("BinaryValue", "")),
                }
                for name, one in attributes.items()
            }
        return json.dumps(document)

    def _to_queue(
        self, subscription: Subscription, body: str, attributes: dict[str, Any], order: Mapping[str, str]
    ) -> None:
        topic, endpoint = subscription["topic_arn"], subscription["endpoint"]
        queue = self._sqs._queue_by_arn(endpoint)
        arrived = queue is not None and queue_lets_in(queue, "sns.amazonaws.com", topic)
        if arrived:
            self._sns._deliver_to_sqs(endpoint, body, True, body, message_attributes=attributes, **order)
        else:
            log.warning("%s: %s is not there, or its policy does not let the topic send", topic, endpoint)
        self._settle(subscription, body, arrived)

    def _post(self, subscription: Subscription, body: str, headers: Mapping[str, str]) -> None:
        arrived = http_delivery.deliver(subscription["endpoint"], body, headers, self._runtime.settings.ca_file)
        if headers["x-amz-sns-message-type"] == "Notification":
            self._settle(subscription, body, arrived)

    def _settle(self, subscription: Subscription, body: str, arrived: bool) -> None:
        topic = subscription["topic_arn"]
        self._count("NumberOfNotificationsDelivered" if arrived else "NumberOfNotificationsFailed", topic)
        if not arrived:
            self._to_dead_letter_queue(subscription, body)
        self._runtime.changed()

    @behaviour("sns")
    def _to_dead_letter_queue(self, subscription: Subscription, body: str) -> None:
        """A notification that cannot be delivered goes to the subscription's dead-letter queue.

        https://docs.aws.amazon.com/sns/latest/dg/sns-dead-letter-queues.html
        """
        try:
            target = str(json.loads(subscription["attributes"].get("RedrivePolicy") or "{}")["deadLetterTargetArn"])
        except (ValueError, KeyError, TypeError):
            return
        queue = self._sqs._queue_by_arn(target)
        if queue is not None and queue_lets_in(queue, "sns.amazonaws.com", subscription["topic_arn"]):
            self._sns._deliver_to_sqs(target, body, True, body)

    def _count(self, name: str, topic_arn: str) -> None:
        parts = topic_arn.split(":")
        dimensions = {"TopicName": parts[5]}
        self._runtime.metrics.put("AWS/SNS", name, dimensions, 1, "Count", region=parts[3], account=parts[4])

    def _in_background(self, work: Callable[[], None]) -> None:
        """With the tenant of whoever asks."""
        threading.Thread(target=contextvars.copy_context().run, args=(work,), name="sns", daemon=True).start()


@behaviour("sns", otherwise=lambda subscription: False)
def _is_raw(subscription: Subscription) -> bool:
    """With raw message delivery a subscriber gets the message as it was published, in no envelope.

    https://docs.aws.amazon.com/sns/latest/dg/sns-large-payload-raw-message-delivery.html
    """
    return str(subscription["attributes"].get("RawMessageDelivery", "")).lower() == "true"


@behaviour("sns", otherwise=lambda kind, *_: {"x-amz-sns-message-type": kind})
def _headers(kind: str, message_id: str, topic_arn: str, subscription_arn: str = "") -> dict[str, str]:
    """Notifications over HTTP say in headers what they are, of which topic and subscription.

    https://docs.aws.amazon.com/sns/latest/dg/http-header.html
    """
    headers = {
        "x-amz-sns-message-type": kind,
        "x-amz-sns-message-id": message_id,
        "x-amz-sns-topic-arn": topic_arn,
    }
    return {**headers, "x-amz-sns-subscription-arn": subscription_arn} if subscription_arn else headers
