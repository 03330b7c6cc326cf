"""What SNS refuses: topics that are there with other properties, messages and policies of a wrong form."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from sandbox import emulator
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

TOPIC_NAME = re.compile(r"[A-Za-z0-9_-]{1,256}|[A-Za-z0-9_-]{1,251}\.fifo")
SUBJECT = re.compile(r"[^\x00-\x1f\x7f]{1,100}")


def invalid(message: str) -> Refusal:
    return Refusal("InvalidParameter", f"Invalid parameter: {message}")


@rule("sns", "CreateTopic", code="InvalidParameter", stateful=False)
def topic_name_fits(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A topic's name has up to 256 letters, digits, hyphens and underscores.

    https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html
    """
    return None if TOPIC_NAME.fullmatch(str(request.parameters.get("Name") or "")) else invalid("Topic Name")


@rule("sns", "CreateTopic", code="InvalidParameter")
def topic_exists_with_others(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Creating a topic again gives the same topic, unless attributes or tags differ: those are refused.

    https://docs.aws.amazon.com/sns/latest/api/API_CreateTopic.html
    """
    given, responses = request.parameters, emulator.core("responses")
    arn = f"arn:aws:sns:{responses.get_region()}:{responses.get_account_id()}:{given.get('Name')}"
    topic = emulator.service("sns")._topics.get(arn)
    if topic is None:
        return None
    for name, value in (given.get("Attributes") or {}).items():
        if topic["attributes"].get(name) != value:
            return invalid("Attributes Reason: Topic already exists with different attributes")
    tags = {tag["Key"]: tag["Value"] for tag in given.get("Tags") or []}
    if tags and tags != topic["tags"]:
        return invalid("Tags Reason: Topic already exists with different tags")
    return None


@rule("sns", "SetTopicAttributes", "CreateTopic", code="InvalidParameter", stateful=False)
def topic_policy_is_one(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A topic's policy is a JSON document with statements.

    https://docs.aws.amazon.com/sns/latest/api/API_SetTopicAttributes.html
    """
    given = request.parameters
    text = (given.get("Attributes") or {}).get("Policy")
    if request.operation == "SetTopicAttributes" and given.get("AttributeName") == "Policy":
        text = given.get("AttributeValue")
    if not text:
        return None
    try:
        document = json.loads(text)
    except ValueError:
        return invalid("Policy Error: null")
    return None if isinstance(document, dict) and document.get("Statement") else invalid("Policy Error: null")


@rule("sns", "Publish", code="InvalidParameter", stateful=False)
def message_is_whole(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A message is not empty, its subject is a short line, and as JSON it has a default entry.

    https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
    """
    given = request.parameters
    message = str(given.get("Message") or "")
    if not message:
        return invalid("Empty message")
    subject = given.get("Subject")
    if subject is not None and not SUBJECT.fullmatch(str(subject)):
        return invalid("Subject")
    if given.get("MessageStructure") == "json":
        try:
            entries = json.loads(message)
        except ValueError:
            return invalid("Message Structure - JSON message body failed to parse")
        if not isinstance(entries, dict) or "default" not in entries:
            return invalid("Message Structure - No default entry in JSON message body")
    return None


@rule("sns", "ListTopics", code="InvalidParameter", stateful=False)
def topics_token_is_one(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A NextToken that no page has given is refused.

    https://docs.aws.amazon.com/sns/latest/api/API_ListTopics.html
    """
    token = request.parameters.get("NextToken")
    return invalid("NextToken") if token and not str(token).isdecimal() else None


@rule(
    "sns",
    "Unsubscribe",
    "GetSubscriptionAttributes",
    "SetSubscriptionAttributes",
    code="InvalidParameter",
    stateful=False,
)
def subscription_arn_is_whole(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subscription that is pending has no ARN by which it can be changed or deleted.

    https://docs.aws.amazon.com/sns/latest/api/API_Unsubscribe.html
    """
    parts = str(request.parameters.get("SubscriptionArn") or "").split(":")
    if len(parts) < 6:
        return invalid(f"SubscriptionArn Reason: An ARN must have at least 6 elements, not {len(parts)}")
    return None
