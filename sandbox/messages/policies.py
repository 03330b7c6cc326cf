"""Whether a resource's policy lets a service of AWS send to it, as it must there whoever owns both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam.documents import Statement, statements
from sandbox.iam.patterns import matches

CLOUDWATCH = "cloudwatch.amazonaws.com"


def service_may(document: str, service: str, action: str, resource: str, context: Mapping[str, str]) -> bool:
    """`context`: condition keys by their names in lower case. A Deny wins."""

    def values(name: str) -> list[str] | None:
        found = context.get(name.lower())
        return None if found is None else [found]

    covering = [
        statement
        for statement in statements(document or "{}")
        if _names(statement, service) and statement.covers(action, resource, values)
    ]
    return bool(covering) and all(statement.allows for statement in covering)


def _names(statement: Statement, service: str) -> bool:
    """Service principals are no AWS accounts: of those only everybody means them."""
    return any(value == "*" or (kind == "Service" and matches(value, service)) for kind, value in statement.principals)


def _source(source_arn: str) -> dict[str, str]:
    """Condition keys of a service's own request on behalf of a resource."""
    account = source_arn.split(":")[4]
    return {"aws:sourcearn": source_arn, "aws:sourceaccount": account, "aws:principalisawsservice": "true"}


@behaviour("cloudwatch", otherwise=lambda alarm_arn: {})
def alarms_say_who_they_are(alarm_arn: str) -> dict[str, str]:
    """An alarm publishes with its ARN and account as aws:SourceArn and aws:SourceAccount, for policies to ask for.

    https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
    """
    return _source(alarm_arn)


@behaviour("events", otherwise=_source)
def rules_say_nothing_to_topics(rule_arn: str) -> dict[str, str]:
    """A topic's policy must let EventBridge publish without conditions: they are not supported, and match nothing.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-troubleshooting.html
    """
    return {}


@behaviour("kms", otherwise=_source)
def rules_say_nothing_to_keys(rule_arn: str) -> dict[str, str]:
    """The key of a topic for EventBridge has no aws:SourceArn, aws:SourceAccount in its policy: not supported there.

    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services
    """
    return {}


@behaviour("sqs", otherwise=lambda *_: True)
def queue_lets_in(queue: Mapping[str, Any], service: str, source_arn: str) -> bool:
    """SNS and EventBridge reach a queue only when its policy lets them send.

    https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html
    """
    attributes = queue["attributes"]
    return service_may(
        attributes.get("Policy") or "", service, "sqs:SendMessage", attributes["QueueArn"], _source(source_arn)
    )


@behaviour("sns", otherwise=lambda *_: True)
def topic_lets_in(topic: Mapping[str, Any], service: str, source_arn: str) -> bool:
    """A topic's policy must let EventBridge publish; the default one lets CloudWatch of the own account.

    https://docs.aws.amazon.com/sns/latest/dg/sns-access-policy-use-cases.html
    """
    if service == CLOUDWATCH:
        context = alarms_say_who_they_are(source_arn) | {"aws:sourceowner": source_arn.split(":")[4]}
    else:
        context = rules_say_nothing_to_topics(source_arn)
    return service_may(topic["attributes"].get("Policy") or "", service, "sns:Publish", topic["arn"], context)


@behaviour("kms", otherwise=lambda *_: True)
def topic_key_lets_in(topic: Mapping[str, Any], service: str, source_arn: str) -> bool:
    """A service publishes to an encrypted topic only when the key's policy lets it: never with alias/aws/sns.

    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html#compatibility-with-aws-services
    """
    name = topic["attributes"].get("KmsMasterKeyId")
    if not name:
        return True
    kms = emulator.service("kms")
    if str(name).endswith("alias/aws/sns"):
        return False
    key = kms._resolve_key(name)
    if key is None or key.get("KeyState") != "Enabled":
        return False
    document = key.get("Policy") or ""
    source = alarms_say_who_they_are if service == CLOUDWATCH else rules_say_nothing_to_keys
    context = {**source(source_arn), "kms:encryptioncontext:aws:sns:topicarn": str(topic["arn"])}
    wanted = ("kms:GenerateDataKey", "kms:Decrypt")
    return all(service_may(document, service, action, key["Arn"], context) for action in wanted)


@behaviour("logs", otherwise=lambda *_: True)
def log_group_lets_in(group_arn: str, rule_arn: str) -> bool:
    """EventBridge writes to a log group only when a resource policy of CloudWatch Logs lets it.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html
    """
    documents = [str(p["policyDocument"]) for p in emulator.service("cloudwatch_logs")._resource_policies.values()]
    stream = f"{group_arn.removesuffix(':*')}:log-stream:x"
    services = ("events.amazonaws.com", "delivery.logs.amazonaws.com")
    return all(
        any(service_may(d, service, action, stream, _source(rule_arn)) for d in documents for service in services)
        for action in ("logs:CreateLogStream", "logs:PutLogEvents")
    )
