"""What CloudWatch Logs refuses of what the emulator answers: tokens and subscription filters."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from sandbox import emulator
from sandbox.logs.conditions import PatternError
from sandbox.logs.patterns import parse
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


def invalid(message: str) -> Refusal:
    return Refusal("InvalidParameterException", message)


@rule(
    "logs",
    "DescribeMetricFilters",
    "DescribeSubscriptionFilters",
    "DescribeDestinations",
    code="InvalidParameterException",
    stateful=False,
)
def token_is_of_a_page(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A nextToken that no page has given is refused.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeMetricFilters.html
    """
    token = request.parameters.get("nextToken")
    if token is None:
        return None
    try:
        int(base64.b64decode(token, validate=True))
    except ValueError:
        return invalid("The specified nextToken is invalid.")
    return None


@rule("logs", "PutSubscriptionFilter", code="LimitExceededException")
def two_subscription_filters_a_group(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A log group has at most two subscription filters.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutSubscriptionFilter.html
    """
    given = request.parameters
    group = emulator.service("cloudwatch_logs")._log_groups.get(given.get("logGroupName")) or {}
    others = set(group.get("subscriptionFilters") or ()) - {given.get("filterName")}
    return Refusal("LimitExceededException", "Resource limit exceeded.") if len(others) >= 2 else None


@rule("logs", "PutSubscriptionFilter", "StartLiveTail", code="InvalidParameterException", stateful=False)
def filter_pattern_is_one(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A filter pattern that cannot be read is refused.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    given = request.parameters
    try:
        parse(given.get("filterPattern") or given.get("logEventFilterPattern") or "")
    except PatternError as error:
        return invalid(f"Invalid filter pattern: {error}")
    return None
