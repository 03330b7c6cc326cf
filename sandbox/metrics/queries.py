"""MetricDataQueries, as GetMetricData and alarms have them: metrics first, then what expressions make of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox.metrics import Metrics, statistics
from sandbox.metrics.expressions import Expression, ExpressionError, Scope, Series, Value, parse

ID = re.compile(r"[a-z][a-zA-Z0-9_]*")
Query = Mapping[str, Any]


def problem(queries: Sequence[Query]) -> str | None:
    """What CloudWatch would object to in the queries, None when nothing.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDataQuery.html
    """
    ids = [str(query.get("Id", "")) for query in queries]
    if wrong := [i for i in ids if not ID.fullmatch(i)]:
        return f"The value {wrong[0]} for parameter Id is not matching the expected pattern ^[a-z][a-zA-Z0-9_]*$."
    if len(set(ids)) != len(ids):
        return "The values for parameter id in MetricDataQueries are not unique."
    for query in queries:
        text, stat = query.get("Expression"), query.get("MetricStat")
        if bool(text) == bool(stat):
            return f"Exactly one of Expression and MetricStat is needed for query '{query['Id']}'."
        if stat and not statistics.is_known(str(stat.get("Stat", ""))):
            return f"The value {stat.get('Stat')} for parameter Stat is not supported."
    try:
        in_order(queries)
    except ExpressionError as error:
        return str(error)
    return None


def in_order(queries: Sequence[Query]) -> list[tuple[str, Expression]]:
    """The expressions, each after those that it names. Raises ExpressionError."""
    waiting: dict[str, Expression] = {}
    for query in queries:
        if query.get("Expression"):
            try:
                waiting[query["Id"]] = parse(str(query["Expression"]))
            except ExpressionError as error:
                raise ExpressionError(f"Error in expression '{query['Id']}' [{error}]") from error
    known = {query["Id"] for query in queries if not query.get("Expression")}
    ordered: list[tuple[str, Expression]] = []
    while waiting:
        ready = [name for name, expression in waiting.items() if expression.ids <= known]
        if not ready:
            name, expression = next(iter(waiting.items()))
            unknown = ", ".join(sorted(expression.ids - known))
            raise ExpressionError(f"Error in expression '{name}' [Unresolved identifier(s) [{unknown}]]")
        for name in ready:
            ordered.append((name, waiting.pop(name)))
            known.add(name)
    return ordered


def period_of(queries: Sequence[Query]) -> int:
    """The longest period in the queries; 60 when none has one."""
    periods = [(query.get("MetricStat") or {}).get("Period") or query.get("Period") for query in queries]
    return max((int(period) for period in periods if period), default=60)


def evaluate(
    metrics: Metrics, queries: Sequence[Query], start: float, end: float, origin: float = 0
) -> dict[str, list[Series]]:
    """Id → its series, of the caller's tenant. Periods are counted from `origin`. Raises ExpressionError."""
    series: dict[str, Value] = {}
    for query in queries:
        if stat := query.get("MetricStat"):
            metric = stat["Metric"]
            dimensions = {pair["Name"]: pair["Value"] for pair in metric.get("Dimensions") or []}
            points = metrics.points(metric["Namespace"], metric["MetricName"], dimensions, start, end, stat.get("Unit"))
            series[query["Id"]] = statistics.by_period(points, int(stat["Period"]), stat["Stat"], origin)
    period = period_of(queries)
    first = origin + -(-(start - origin) // period) * period
    grid = [first + n * period for n in range(max(0, int((end - first) // period)))]
    scope = Scope(series, grid, period, tuple(series))
    for name, expression in in_order(queries):
        series[name] = expression.evaluate(scope)
    return {name: _as_result(value, grid) for name, value in series.items()}


def _as_result(value: Value, grid: Sequence[float]) -> list[Series]:
    if isinstance(value, list):
        return value
    return [dict.fromkeys(grid, value) if isinstance(value, float) else value]
