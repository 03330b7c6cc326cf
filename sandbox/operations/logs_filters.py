"""CloudWatch Logs: metric filters put and tried out."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.logs.conditions import number_of
from sandbox.logs.intake import group_named, invalid
from sandbox.logs.patterns import Pattern
from sandbox.operations import operation
from sandbox.operations.logs import Answer, pattern_of
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

MOST_FILTERS, MOST_DIMENSIONS, MOST_WITH_REGEX = 100, 3, 5


@operation("logs", "PutMetricFilter")
def put_metric_filter(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutMetricFilter.html"""
    given = request.parameters
    group, name = str(given.get("logGroupName")), str(given.get("filterName"))
    group_named(group)
    pattern = pattern_of(given.get("filterPattern"))
    for transformation in given.get("metricTransformations") or []:
        _transformation_fits(transformation, pattern)
    logs = emulator.service("cloudwatch_logs")
    others = [known for (of, known_name), known in logs._metric_filters.items() if of == group and known_name != name]
    _group_has_room_for_a_filter(len(others))
    _regexes_fit(pattern, others)
    logs._metric_filters[(group, name)] = {
        "filterName": name,
        "logGroupName": group,
        "filterPattern": given.get("filterPattern", ""),
        "metricTransformations": given["metricTransformations"],
        "creationTime": int(time.time() * 1000),
    }
    return {}


@behaviour("logs", code="InvalidParameterException", stateful=False)
def _transformation_fits(what: Mapping[str, Any], pattern: Pattern) -> None:
    """A metric filter's value is a number or a field of its pattern; dimensions need fields, and no default value.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_MetricTransformation.html
    """
    value, dimensions = str(what.get("metricValue")), what.get("dimensions") or {}
    if dimensions and pattern.kind == "terms":
        raise invalid("The specified filter pattern does not support dimensions")
    if not value.startswith("$") and number_of(value) is None:
        raise invalid(f"Invalid metricValue '{value}': a number, or a field of the pattern")
    for selector in [value] * value.startswith("$") + list(dimensions.values()):
        if pattern.names and selector not in pattern.names:
            raise invalid(f"Invalid metric transformation: '{selector}' is not a field of the filter pattern")
        if pattern.kind == "json" and not selector.startswith("$."):
            raise invalid(f"Invalid metric transformation: '{selector}' is not a selector such as $.name")
    if len(dimensions) > MOST_DIMENSIONS:
        raise invalid(f"A metric filter has at most {MOST_DIMENSIONS} dimensions")
    if dimensions and what.get("defaultValue") is not None:
        raise invalid("Invalid metric transformation: dimensions and default value are mutually exclusive properties")


@behaviour("logs", code="LimitExceededException")
def _group_has_room_for_a_filter(others: int) -> None:
    """A log group has at most 100 metric filters.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutMetricFilter.html
    """
    if others >= MOST_FILTERS:
        raise Refused("LimitExceededException", "Resource limit exceeded.")


@behaviour("logs", code="LimitExceededException")
def _regexes_fit(pattern: Pattern, others: list[Mapping[str, Any]]) -> None:
    """A log group has at most five filters whose patterns hold regular expressions.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    held = sum(1 for known in others if pattern_of(known.get("filterPattern")).regexes)
    if pattern.regexes and held >= MOST_WITH_REGEX:
        raise Refused("LimitExceededException", "Resource limit exceeded.")


@operation("logs", "TestMetricFilter")
def test_metric_filter(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_TestMetricFilter.html"""
    pattern = pattern_of(request.parameters.get("filterPattern"))
    matches = []
    for number, message in enumerate(request.parameters.get("logEventMessages") or [], 1):
        values = pattern.extract(message)
        if values is not None:
            matches.append({"eventNumber": number, "eventMessage": message, "extractedValues": values})
    return {"matches": matches}
