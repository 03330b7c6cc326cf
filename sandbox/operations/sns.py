"""SNS: subscriptions, which are pending until their endpoint confirms them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.operations import operation
from sandbox.rules import Refusal
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

Answer = dict[str, Any] | Refusal
Subscription = dict[str, Any]
PAGE = 100
PENDING = "pending confirmation"
CONFIRMED_BY_ENDPOINT = ("http", "https", "email", "email-json")
SETTABLE = ("DeliveryPolicy", "FilterPolicy", "FilterPolicyScope", "RawMessageDelivery", "RedrivePolicy")
PROTOCOLS = (*CONFIRMED_BY_ENDPOINT, "sms", "sqs", "application", "lambda", "firehose")


def invalid(message: str) -> Refused:
    return Refused("InvalidParameter", f"Invalid parameter: {message}")


def topic_named(arn: str | None) -> dict[str, Any]:
    """The topic of an ARN. Raises Refused."""
    if len(str(arn or "").split(":")) < 6:
        raise invalid("TopicArn")
    topic: dict[str, Any] | None = emulator.service("sns")._topic_by_arn_any_scope(arn)
    if topic is None:
        raise Refused("NotFound", "Topic does not exist", 404)
    return topic


@operation("sns", "Subscribe")
def subscribe(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html"""
    given = request.parameters
    topic = topic_named(given.get("TopicArn"))
    protocol, endpoint = str(given.get("Protocol") or ""), str(given.get("Endpoint") or "")
    _endpoint_fits(protocol, endpoint)
    attributes = {str(name): str(value) for name, value in (given.get("Attributes") or {}).items()}
    for name, value in attributes.items():
        _attribute_fits(name, value)
    shown = bool(given.get("ReturnSubscriptionArn"))
    for known in topic["subscriptions"]:
        if (known["protocol"], known["endpoint"]) == (protocol, endpoint):
            _same_attributes(known, attributes)
            _ask(runtime, known)
            return {"SubscriptionArn": known["arn"] if known["confirmed"] or shown else PENDING}
    subscription = _new(topic, protocol, endpoint, attributes)
    topic["subscriptions"].append(subscription)
    sns = emulator.service("sns")
    sns._sub_arn_to_topic[subscription["arn"]] = topic["arn"]
    sns._refresh_subscription_counts(topic)
    _ask(runtime, subscription)
    return {"SubscriptionArn": subscription["arn"] if subscription["confirmed"] or shown else PENDING}


def _new(topic: Mapping[str, Any], protocol: str, endpoint: str, attributes: Mapping[str, str]) -> Subscription:
    arn, account = f"{topic['arn']}:{uuid4()}", emulator.core("responses").get_account_id()
    waits = _waits_for_confirmation(protocol)
    return {
        "arn": arn,
        "protocol": protocol,
        "endpoint": endpoint,
        "confirmed": not waits,
        "topic_arn": topic["arn"],
        "owner": account,
        "token": secrets.token_hex(128) if waits else None,
        "attributes": {
            "SubscriptionArn": arn,
            "TopicArn": topic["arn"],
            "Protocol": protocol,
            "Endpoint": endpoint,
            "Owner": account,
            "SubscriptionPrincipal": f"arn:aws:iam::{account}:root",
            "ConfirmationWasAuthenticated": "false" if waits else "true",
            "PendingConfirmation": "true" if waits else "false",
            "RawMessageDelivery": "false",
            **attributes,
        },
    }


@behaviour("sns", otherwise=lambda protocol: False)
def _waits_for_confirmation(protocol: str) -> bool:
    """A subscription of an HTTP or mail endpoint is pending until the endpoint confirms it by its token.

    https://docs.aws.amazon.com/sns/latest/dg/sns-http-https-endpoint-as-subscriber.html
    """
    return protocol in CONFIRMED_BY_ENDPOINT


def _ask(runtime: Runtime, subscription: Subscription) -> None:
    if not subscription["confirmed"] and subscription["protocol"] in ("http", "https"):
        runtime.notifications.confirm(subscription)


@behaviour("sns", code="InvalidParameter", stateful=False)
def _endpoint_fits(protocol: str, endpoint: str) -> None:
    """A subscription's endpoint has the form of its protocol: a URL, an address, an ARN.

    https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html
    """
    if protocol not in PROTOCOLS:
        raise invalid(f"Does not support this protocol string: {protocol}")
    if protocol in ("http", "https") and not endpoint.startswith(f"{protocol}://"):
        raise invalid("Endpoint must match the specified protocol")
    if protocol in ("email", "email-json") and "@" not in endpoint:
        raise invalid("Email address")
    if protocol in ("sqs", "lambda", "firehose") and endpoint.split(":")[2:3] != [protocol]:
        raise invalid(f"{protocol.upper()} endpoint ARN")


def _attribute_fits(name: str, value: str) -> None:
    if name not in (*SETTABLE, "SubscriptionRoleArn"):
        raise invalid("AttributeName")
    if name in ("FilterPolicy", "RedrivePolicy", "DeliveryPolicy") and value:
        _is_json_object(name, value)


@behaviour("sns", code="InvalidParameter", stateful=False)
def _is_json_object(name: str, value: str) -> None:
    """The policies of a subscription are JSON objects.

    https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html
    """
    try:
        document = json.loads(value)
    except ValueError:
        raise invalid(f"{name}: failed to parse JSON.") from None
    if not isinstance(document, dict):
        raise invalid(f"{name}: must be a JSON object.")


@behaviour("sns", code="InvalidParameter")
def _same_attributes(known: Subscription, attributes: Mapping[str, str]) -> None:
    """Subscribing an endpoint again gives the same subscription, unless attributes differ: those are refused.

    https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html
    """
    if any(known["attributes"].get(name) != value for name, value in attributes.items()):
        raise invalid("Attributes Reason: Subscription already exists with different attributes")


@operation("sns", "ConfirmSubscription")
def confirm_subscription(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/sns/latest/api/API_ConfirmSubscription.html"""
    arn, token = str(request.parameters.get("TopicArn") or ""), request.parameters.get("Token")
    parts = arn.split(":")
    if len(parts) < 6:
        raise invalid("TopicArn")
    # Who opens the link that came by HTTP signs nothing.
    with emulator.request_scope(parts[4], parts[3]):
        topic = topic_named(arn)
        subscription = next((one for one in topic["subscriptions"] if token and one.get("token") == token), None)
        if subscription is None:
            raise invalid("Token")
        subscription["confirmed"] = True
        signed = "true" if request.access_key_id else "false"
        subscription["attributes"] |= {"PendingConfirmation": "false", "ConfirmationWasAuthenticated": signed}
        emulator.service("sns")._refresh_subscription_counts(topic)
    return {"SubscriptionArn": subscription["arn"]}


def _shown(subscription: Subscription) -> dict[str, str]:
    return {
        "SubscriptionArn": _shown_arn(subscription),
        "Owner": subscription["owner"],
        "Protocol": subscription["protocol"],
        "Endpoint": subscription["endpoint"],
        "TopicArn": subscription["topic_arn"],
    }


@behaviour("sns", otherwise=lambda subscription: subscription["arn"])
def _shown_arn(subscription: Subscription) -> str:
    """In lists a subscription that is not confirmed has no ARN, but the word PendingConfirmation.

    https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html
    """
    return str(subscription["arn"]) if subscription["confirmed"] else "PendingConfirmation"


@operation("sns", "ListSubscriptionsByTopic")
def list_subscriptions_by_topic(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html"""
    topic = topic_named(request.parameters.get("TopicArn"))
    return _page_of_subscriptions(topic["subscriptions"], request.parameters.get("NextToken"))


@operation("sns", "ListSubscriptions")
def list_subscriptions(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptions.html"""
    topics = emulator.service("sns")._topics.values()
    found = [subscription for topic in topics for subscription in topic["subscriptions"]]
    return _page_of_subscriptions(found, request.parameters.get("NextToken"))


@behaviour(
    "sns", code="InvalidParameter", otherwise=lambda found, token: {"Subscriptions": [_shown(one) for one in found]}
)
def _page_of_subscriptions(found: list[Subscription], token: str | None) -> dict[str, Any]:
    """Subscriptions are listed 100 a page.

    https://docs.aws.amazon.com/sns/latest/api/API_ListSubscriptionsByTopic.html
    """
    ordered = sorted(found, key=lambda subscription: str(subscription["arn"]))
    if token is not None:
        if len(token.split(":")) < 7:
            raise invalid("NextToken")
        ordered = [subscription for subscription in ordered if subscription["arn"] > token]
    page = ordered[:PAGE]
    answer: dict[str, Any] = {"Subscriptions": [_shown(subscription) for subscription in page]}
    if len(ordered) > PAGE:
        answer["NextToken"] = page[-1]["arn"]
    return answer
