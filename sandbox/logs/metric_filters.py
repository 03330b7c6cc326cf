"""Metric filters: what matching events put into CloudWatch's metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.logs.conditions import PatternError, number_of
from sandbox.logs.patterns import Pattern, parse

if TYPE_CHECKING:
    from sandbox.metrics import Metrics

MINUTE = 60_000


class MetricFilters:
    """Emits for the filters of a group, in the caller's tenant."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # Filter's place → the minute in which it last gave anything.
        self._spoke: dict[tuple[str, str, str, str], int] = {}

    @behaviour("logs")
    def metric_filters_emit(self, group: str, events: Sequence[tuple[int, str]]) -> None:
        """Each event that matches a metric filter becomes a data point, at the event's time.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/MonitoringLogData.html
        """
        for (name, filter_name), known in emulator.service("cloudwatch_logs")._metric_filters.items():
            if name == group:
                self._emit(known, group, filter_name, events)

    def _emit(self, known: Mapping[str, Any], group: str, name: str, events: Sequence[tuple[int, str]]) -> None:
        try:
            pattern = parse(known.get("filterPattern", ""))
        except PatternError:
            return
        matching = [(at, message) for at, message in events if pattern.matches(message)]
        for transformation in known["metricTransformations"]:
            self._put(transformation, pattern, matching)
        responses = emulator.core("responses")
        place = (responses.get_account_id(), responses.get_region(), group, name)
        if matching:
            self._spoke[place] = int(time.time() * 1000) // MINUTE
        else:
            self._put_default(place, known["metricTransformations"], events)

    def _put(self, what: Mapping[str, Any], pattern: Pattern, events: Iterable[tuple[int, str]]) -> None:
        seen: Counter[tuple[int, float, tuple[tuple[str, str], ...]]] = Counter()
        for at, message in events:
            value = metric_value(what, pattern, message)
            dimensions = metric_dimensions(what, pattern, message)
            if value is not None and dimensions is not None:
                seen[(at // 1000, value, tuple(sorted(dimensions.items())))] += 1
        for (second, value, pairs), count in seen.items():
            self._give(what, value, dict(pairs), second, count)

    @behaviour("logs")
    def _put_default(
        self, place: tuple[str, str, str, str], transformations: Iterable[Mapping[str, Any]], events: Any
    ) -> None:
        """A metric filter gives its default value in minutes in which events arrive and none matches.

        https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/MonitoringLogData.html
        """
        minute = int(time.time() * 1000) // MINUTE
        if self._spoke.get(place) == minute or not events:
            return
        self._spoke[place] = minute
        for what in transformations:
            if what.get("defaultValue") is not None:
                self._give(what, float(what["defaultValue"]), {}, int(time.time()), 1)

    def _give(self, what: Mapping[str, Any], value: float, dimensions: dict[str, str], second: int, count: int) -> None:
        responses = emulator.core("responses")
        self._metrics.put(
            str(what["metricNamespace"]),
            str(what["metricName"]),
            dimensions,
            value,
            str(what.get("unit") or "None"),
            count=count,
            at=second,
            region=responses.get_region(),
            account=responses.get_account_id(),
        )


def metric_value(what: Mapping[str, Any], pattern: Pattern, message: str) -> float | None:
    """The number, or that of the field, which a matching event gives; None when the field is no number."""
    given = str(what["metricValue"])
    if not given.startswith("$"):
        return number_of(given)
    text = pattern.select(given, message)
    return None if text is None else number_of(text)


@behaviour("logs", otherwise=lambda what, pattern, message: {})
def metric_dimensions(what: Mapping[str, Any], pattern: Pattern, message: str) -> dict[str, str] | None:
    """A metric filter's dimensions come from fields of the event; an event without one of them gives no data point.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntaxForMetricFilters.html
    """
    found = {name: pattern.select(selector, message) for name, selector in (what.get("dimensions") or {}).items()}
    return None if None in found.values() else {name: str(text) for name, text in found.items()}
