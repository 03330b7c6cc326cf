"""Statistics of data points over periods, as CloudWatch computes them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from sandbox.behaviours import behaviour
from sandbox.metrics import Point

BASIC = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
PERCENTILE = re.compile(r"p(100|\d{1,2}(\.\d{1,10})?)")


def is_percentile(statistic: str) -> bool:
    return PERCENTILE.fullmatch(statistic) is not None


def is_known(statistic: str) -> bool:
    return statistic in BASIC or is_percentile(statistic)


def _parts(point: Point) -> tuple[float, float, float, float]:
    """(count, sum, minimum, maximum) of a point: a value seen so often, or a statistic set."""
    if (published := point.get("_stat")) is not None:
        count, total = float(published["SampleCount"]), float(published["Sum"])
        return count, total, float(published["Minimum"]), float(published["Maximum"])
    count, value = float(point.get("Count", 1)), float(point["Value"])
    return count, value * count, value, value


def statistic_of(points: Iterable[Point], statistic: str) -> float | None:
    """One statistic of the points of one period; None when there is nothing to compute it from."""
    kept = [point for point in points if _parts(point)[0] > 0]
    parts = [_parts(point) for point in kept]
    if not parts:
        return None
    if is_percentile(statistic):
        return _percentile(kept, float(statistic[1:]))
    count, total = sum(part[0] for part in parts), sum(part[1] for part in parts)
    values = {
        "SampleCount": count,
        "Sum": total,
        "Average": total / count,
        "Minimum": min(part[2] for part in parts),
        "Maximum": max(part[3] for part in parts),
    }
    return values[statistic]


@behaviour("cloudwatch", otherwise=lambda points, percent: statistic_of(points, "Average"))
def _percentile(points: list[Point], percent: float) -> float | None:
    """Percentiles need single values: with a statistic set of several values, or with negative ones, there is none.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Percentiles
    """
    samples = []
    for point in points:
        count, total, low, high = _parts(point)
        if low < 0 or ("_stat" in point and not (low == high and total == low * count)):
            return None
        samples.append((low, count))
    samples.sort()
    rank = percent / 100 * (sum(count for _, count in samples) - 1)
    below = _at(samples, int(max(rank, 0)))
    return below + (_at(samples, int(max(rank, 0)) + 1) - below) * (max(rank, 0) % 1)


def _at(samples: list[tuple[float, float]], index: int) -> float:
    """The value at this place when each stands there as often as it was seen."""
    seen = 0.0
    for value, count in samples:
        seen += count
        if index < seen:
            return value
    return samples[-1][0]


def by_period(points: Iterable[Point], period: int, statistic: str, origin: float = 0) -> dict[float, float]:
    """Start of each period (counted from `origin`) that has data → its statistic."""
    groups: dict[float, list[Point]] = {}
    for point in points:
        start = origin + (point["Timestamp"] - origin) // period * period
        groups.setdefault(start, []).append(point)
    found = {start: statistic_of(group, statistic) for start, group in groups.items()}
    return {start: value for start, value in sorted(found.items()) if value is not None}
