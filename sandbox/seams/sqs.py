"""SQS: the emulator's queues, with what it lets pass and AWS does not."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sandbox.behaviours import behaviour
from sandbox.emulator import service

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Data = Mapping[str, Any]
Handler = Callable[[Data, str], dict[str, Any]]
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html
PURGE_SECONDS = 60


def install(runtime: Runtime) -> None:
    sqs = service("sqs")
    for action, rule in {"CreateQueue": _queue_exists_with_others, "PurgeQueue": _purge_in_progress}.items():
        handler: Handler = sqs._HANDLERS[action]
        sqs._HANDLERS[action] = functools.partial(_checked, sqs, rule, handler)
    for action in ("CreateQueue", "SetQueueAttributes"):
        sqs._HANDLERS[action] = functools.partial(_in_lists, sqs._HANDLERS[action])


def _checked(sqs: Any, rule: Callable[[Any, Data], None], handler: Handler, data: Data, url: str) -> dict[str, Any]:
    rule(sqs, data)
    return handler(data, url)


def _in_lists(handler: Handler, data: Data, url: str) -> dict[str, Any]:
    given = data.get("Attributes") or {}
    if "Policy" in given:
        data = {**data, "Attributes": {**given, "Policy": _a_policy_lists_its_statements(str(given["Policy"]))}}
    return handler(data, url)


@behaviour("sqs", otherwise=lambda text: text)
def _a_policy_lists_its_statements(text: str) -> str:
    """A queue's policy is shown with a list of statements, also where one statement was given by itself.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-creating-custom-policies.html
    """
    try:
        policy = json.loads(text)
    except ValueError:
        return text
    if not isinstance(policy, dict) or not isinstance(policy.get("Statement"), dict):
        return text
    return json.dumps({**policy, "Statement": [policy["Statement"]]}, separators=(",", ":"))


@behaviour("sqs", code="QueueNameExists")
def _queue_exists_with_others(sqs: Any, data: Data) -> None:
    """Creating a queue again gives the same queue, unless an attribute differs: that is refused.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html
    """
    known = sqs._queues.get(sqs._queue_url(str(data.get("QueueName", ""))))
    given = data.get("Attributes") or {}
    for name, value in given.items() if known is not None else ():
        if not _same(known["attributes"].get(name), str(value)):
            text = f"A queue already exists with the same name and a different value for attribute {name}"
            raise sqs._Err("QueueNameExists", text)


def _same(known: str | None, given: str) -> bool:
    if known == given:
        return True
    try:
        return known is not None and bool(json.loads(known) == json.loads(given))
    except ValueError:
        return False


@behaviour("sqs", code="PurgeQueueInProgress")
def _purge_in_progress(sqs: Any, data: Data) -> None:
    """A queue is purged at most once in 60 seconds.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html
    """
    queue, now = sqs._get_q(data.get("QueueUrl")), time.time()
    if now - float(queue.get("_purged_at") or 0) < PURGE_SECONDS:
        text = f"Only one PurgeQueue operation on {queue['name']} is allowed every {PURGE_SECONDS} seconds."
        raise sqs._Err("PurgeQueueInProgress", text, 403)
    queue["_purged_at"] = now
