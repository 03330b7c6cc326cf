"""CloudWatch's metrics: published, listed and read as AWS does."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox import emulator, pages
from sandbox.behaviours import behaviour
from sandbox.metrics import queries, statistics
from sandbox.operations import operation
from sandbox.rules import Refusal
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

Answer = dict[str, Any] | Refusal
HIGH_RESOLUTION = (1, 5, 10, 20, 30)
MOST_DATAPOINTS = 1440
MOST_METRIC_DATAPOINTS = 100_800
LISTED_PER_PAGE = 500
EARLIEST, LATEST = 14 * 86_400, 2 * 3_600


def invalid(message: str) -> Refused:
    return Refused("InvalidParameterValue", message)


def moment(value: Any, name: str) -> float:
    """A time of a request, in seconds since 1970: a number, or text in the Query protocol."""
    if value is None:
        raise Refused("MissingParameter", f"The parameter {name} is required.")
    return emulator.epoch(float(value) if str(value).replace(".", "", 1).isdigit() else value)


def _dimensions(pairs: list[Mapping[str, str]] | None) -> dict[str, str]:
    return {pair["Name"]: pair["Value"] for pair in pairs or []}


@operation("cloudwatch", "PutMetricData")
def put_metric_data(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html"""
    given = request.parameters
    namespace = str(given.get("Namespace") or "")
    _namespace_is_not_of_aws(namespace)
    data = list(given.get("MetricData") or [])
    if not data:
        raise Refused("MissingParameter", "The parameter MetricData is required.")
    if len(data) > 1000:
        raise invalid("The collection MetricData must not have a size greater than 1000.")
    now = time.time()
    points = [point for n, datum in enumerate(data, 1) for point in _points(datum, n, now)]
    for name, dimensions, point in points:
        runtime.metrics.add(namespace, name, dimensions, point)
    return {}


@behaviour("cloudwatch", code="InvalidParameterValue", stateful=False)
def _namespace_is_not_of_aws(namespace: str) -> None:
    """Nobody but AWS publishes in a namespace that begins with AWS/.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html
    """
    if not namespace or namespace.startswith("AWS/"):
        raise invalid(f"The value {namespace} for parameter Namespace is invalid.")


def _points(datum: Mapping[str, Any], n: int, now: float) -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    where = f"MetricData.member.{n}"
    at = moment(datum.get("Timestamp") or now, "Timestamp")
    _datum_is_of_these_weeks(at, now, where)
    values, single, published = datum.get("Values"), datum.get("Value"), datum.get("StatisticValues")
    if sum(given is not None for given in (values, single, published)) != 1:
        text = f"At least one of the parameters {where}.Value, {where}.Values or {where}.StatisticValues is required."
        if single is None and values is None and published is None:
            raise Refused("MissingParameter", text)
        raise Refused(
            "InvalidParameterCombination", f"The parameters {where}.Value and {where}.Values exclude another."
        )
    dimensions = _dimensions(datum.get("Dimensions"))
    name, unit = str(datum.get("MetricName") or ""), str(datum.get("Unit") or "None")
    base = {"Timestamp": at, "Unit": unit}
    if published is not None:
        value = {key: float(published[key]) for key in ("SampleCount", "Sum", "Minimum", "Maximum")}
        mean = value["Sum"] / value["SampleCount"] if value["SampleCount"] else 0.0
        return [(name, dimensions, {**base, "Value": mean, "_stat": value})]
    numbers = [float(number) for number in (values if values is not None else [single or 0])]
    counts = list(datum.get("Counts") or [1] * len(numbers)) if values is not None else [1]
    if len(numbers) > 150 or len(counts) != len(numbers):
        raise invalid(f"The collections {where}.Values and {where}.Counts must have the same size, at most 150.")
    if not all(math.isfinite(number) for number in numbers):
        raise invalid(f"The value for parameter {where}.Value must be a finite number.")
    pairs = zip(numbers, counts, strict=True)
    return [(name, dimensions, {**base, "Value": v, "Count": float(count)}) for v, count in pairs]


@behaviour("cloudwatch", code="InvalidParameterValue")
def _datum_is_of_these_weeks(at: float, now: float, where: str) -> None:
    """Data of more than two weeks ago, or of more than two hours from now, are refused.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html
    """
    if at < now - EARLIEST:
        raise invalid(f"The parameter {where}.Timestamp must specify a time within the past two weeks.")
    if at > now + LATEST:
        raise invalid(f"The parameter {where}.Timestamp must specify a time no more than two hours in the future.")


@operation("cloudwatch", "ListMetrics")
def list_metrics(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html"""
    given = request.parameters
    wanted = [(pair["Name"], pair.get("Value")) for pair in given.get("Dimensions") or []]
    since = time.time() - 3 * 3600 if given.get("RecentlyActive") == "PT3H" else 0
    found = [
        (namespace, name, dimensions)
        for namespace, name, dimensions, last in runtime.metrics.listed()
        if given.get("Namespace") in (None, namespace)
        and given.get("MetricName") in (None, name)
        and last >= since
        and all(key in dimensions and value in (None, dimensions[key]) for key, value in wanted)
    ]
    found.sort(key=lambda metric: (metric[0], metric[1], sorted(metric[2].items())))
    return _page_of_metrics(found, given.get("NextToken"))


@behaviour("cloudwatch", code="InvalidParameterValue", otherwise=lambda found, token: {"Metrics": _listed(found)})
def _page_of_metrics(found: list[tuple[str, str, dict[str, str]]], token: str | None) -> dict[str, Any]:
    """ListMetrics gives 500 metrics a page.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html
    """
    try:
        start = pages.start_of("metrics", token)
    except ValueError:
        raise invalid("Request parameter NextToken is not valid.") from None
    end = start + LISTED_PER_PAGE
    page: dict[str, Any] = {"Metrics": _listed(found[start:end])}
    if end < len(found):
        page["NextToken"] = pages.token_of("metrics", end)
    return page


def _listed(found: list[tuple[str, str, dict[str, str]]]) -> list[dict[str, Any]]:
    return [
        {
            "Namespace": namespace,
            "MetricName": name,
            "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
        }
        for namespace, name, dimensions in found
    ]


@behaviour("cloudwatch", code="InvalidParameterValue", stateful=False)
def _range_and_period(start: float, end: float, period: int) -> None:
    """A range ends after it starts; a period is 1, 5, 10, 20, 30 or a multiple of 60 seconds.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html
    """
    if start >= end:
        raise invalid("The parameter StartTime must be less than the parameter EndTime.")
    if period not in HIGH_RESOLUTION and (period < 60 or period % 60):
        raise invalid("The parameter Period must be 1, 5, 10, 20, 30, or a multiple of 60.")


@operation("cloudwatch", "GetMetricStatistics")
def get_metric_statistics(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html"""
    given = request.parameters
    start, end = moment(given.get("StartTime"), "StartTime"), moment(given.get("EndTime"), "EndTime")
    period = int(given.get("Period") or 0)
    _range_and_period(start, end, period)
    _at_most_1440_datapoints(start, end, period)
    plain, extended = list(given.get("Statistics") or []), list(given.get("ExtendedStatistics") or [])
    if not plain and not extended:
        raise Refused(
            "MissingParameter", "At least one of the parameters Statistics or ExtendedStatistics is required."
        )
    if wrong := [name for name in plain + extended if not statistics.is_known(name)]:
        raise invalid(f"The value {wrong[0]} for parameter Statistics is not supported.")
    metric, dimensions = str(given.get("MetricName") or ""), _dimensions(given.get("Dimensions"))
    first = start // period * period
    points = runtime.metrics.points(str(given.get("Namespace")), metric, dimensions, first, end, given.get("Unit"))
    found: dict[tuple[float, str], dict[str, Any]] = {}
    for unit in {point["Unit"] for point in points}:
        same = [point for point in points if point["Unit"] == unit]
        for name in plain + extended:
            for at, value in statistics.by_period(same, period, name).items():
                datapoint = found.setdefault((at, unit), {"Timestamp": at, "Unit": unit})
                if name in plain:
                    datapoint[name] = value
                else:
                    datapoint.setdefault("ExtendedStatistics", {})[name] = value
    return {"Label": metric, "Datapoints": list(found.values())}


@behaviour("cloudwatch", code="InvalidParameterCombination", stateful=False)
def _at_most_1440_datapoints(start: float, end: float, period: int) -> None:
    """GetMetricStatistics gives at most 1,440 data points.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html
    """
    asked = math.ceil((end - start) / period)
    if asked > MOST_DATAPOINTS:
        text = (
            f"You have requested up to {asked:,} datapoints, which exceeds the limit of {MOST_DATAPOINTS:,}. "
            "You may reduce the datapoints requested by increasing Period, or decreasing the time range."
        )
        raise Refused("InvalidParameterCombination", text)


@operation("cloudwatch", "GetMetricData")
def get_metric_data(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html"""
    given = request.parameters
    asked = list(given.get("MetricDataQueries") or [])
    start, end = moment(given.get("StartTime"), "StartTime"), moment(given.get("EndTime"), "EndTime")
    if not asked or len(asked) > 500:
        raise Refused("ValidationError", "MetricDataQueries must have 1 to 500 members.")
    if (wrong := queries.problem(asked)) is not None:
        raise Refused("ValidationError", wrong)
    for query in asked:
        _range_and_period(start, end, int((query.get("MetricStat") or {}).get("Period") or 60))
    shown = [query for query in asked if query.get("ReturnData", True)]
    if not shown:
        raise Refused("ValidationError", "At least one query must have ReturnData true.")
    longest = queries.period_of(asked)
    values = queries.evaluate(runtime.metrics, asked, start // longest * longest, end)
    newest_first = given.get("ScanBy", "TimestampDescending") != "TimestampAscending"
    rows: list[tuple[dict[str, Any], list[tuple[float, float]]]] = []
    for query in shown:
        for series in values[query["Id"]]:
            label = query.get("Label") or (query.get("MetricStat") or {}).get("Metric", {}).get("MetricName")
            row = {"Id": query["Id"], "Label": label or query["Id"]}
            rows.append((row, sorted(series.items(), reverse=newest_first)))
    return _page_of_data(rows, int(given.get("MaxDatapoints") or MOST_METRIC_DATAPOINTS), given.get("NextToken"))


@behaviour(
    "cloudwatch",
    code="InvalidNextToken",
    otherwise=lambda rows, most, token: {"MetricDataResults": [_row(row, series, False) for row, series in rows]},
)
def _page_of_data(
    rows: list[tuple[dict[str, Any], list[tuple[float, float]]]], most: int, token: str | None
) -> dict[str, Any]:
    """GetMetricData gives at most MaxDatapoints a page, and says PartialData of what goes on.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html
    """
    try:
        start = pages.start_of("data", token)
    except ValueError:
        raise Refused("InvalidNextToken", "The next token specified is invalid.") from None
    end = start + max(1, most // max(1, len(rows)))
    results = [_row(row, series[start:end], end < len(series)) for row, series in rows]
    page: dict[str, Any] = {"MetricDataResults": results, "Messages": []}
    if any(end < len(series) for _, series in rows):
        page["NextToken"] = pages.token_of("data", end)
    return page


def _row(row: dict[str, Any], series: list[tuple[float, float]], more: bool) -> dict[str, Any]:
    return {
        **row,
        "Timestamps": [at for at, _ in series],
        "Values": [value for _, value in series],
        "StatusCode": "PartialData" if more else "Complete",
    }
