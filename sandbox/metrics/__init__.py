"""CloudWatch's metrics: where data points are kept, and how others of the sandbox publish theirs."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox import emulator

if TYPE_CHECKING:
    from sandbox.config import Settings

# As AWS keeps what is asked for with a period of 60 s.
KEPT_SECONDS = 15 * 86_400

# Of one metric; then the oldest go. A busy one has some values a minute.
MOST_POINTS = 20_000

# One value, or several together: Timestamp (seconds), Unit, Value and Count, or a statistic set under `_stat`.
Point = dict[str, Any]
# (namespace, name, dimensions as the emulator writes them in a key)
Key = tuple[str, str, str]


def _moment(point: Point) -> float:
    return float(point["Timestamp"])


def _place(point: Point) -> tuple[float, float]:
    """Equal values of one moment stand together, so that they become one point."""
    return float(point["Timestamp"]), float(point["Value"])


class Metrics:
    """Data points by metric, in the order of their times; kept by the emulator's store. Thread-safe."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()

    def put(
        self,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        value: float,
        unit: str = "None",
        *,
        count: float = 1,
        at: float | None = None,
        region: str | None = None,
        account: str | None = None,
    ) -> None:
        """Publish a value that was seen `count` times, as a service of AWS does: to the whole second, any thread."""
        with emulator.request_scope(account or self._settings.account, region or self._settings.region):
            point = {"Timestamp": float(int(at or time.time())), "Unit": unit, "Value": float(value), "Count": count}
            self.add(namespace, name, dict(dimensions), point)

    def add(self, namespace: str, name: str, dimensions: dict[str, str], point: Point) -> None:
        """Keep a point, in the tenant of the caller's scope."""
        cloudwatch = emulator.service("cloudwatch")
        key: Key = (namespace, name, cloudwatch._dims_key(dimensions))
        with self._lock:
            points = cloudwatch._metrics.setdefault(key, [])
            at = bisect_right(points, _place(point), key=_place)
            last = points[at - 1] if at else None
            if last is not None and "Count" in last and "Count" in point and _same(last, point):
                last["Count"] += point["Count"]
                return
            points.insert(at, {**point, "Dimensions": dimensions})
            if len(points) > MOST_POINTS or points[0]["Timestamp"] < time.time() - KEPT_SECONDS:
                gone = bisect_left(points, time.time() - KEPT_SECONDS, key=_moment)
                del points[: max(gone, len(points) - MOST_POINTS)]

    def points(
        self,
        namespace: str,
        name: str,
        dimensions: Mapping[str, str],
        start: float,
        end: float,
        unit: str | None = None,
    ) -> list[Point]:
        """Those from `start` up to but not at `end`, of exactly these dimensions, in the caller's scope."""
        cloudwatch = emulator.service("cloudwatch")
        with self._lock:
            points = cloudwatch._metrics.get((namespace, name, cloudwatch._dims_key(dict(dimensions)))) or []
            found = points[bisect_left(points, start, key=_moment) : bisect_left(points, end, key=_moment)]
            return [dict(point) for point in found if unit is None or point["Unit"] == unit]

    def listed(self) -> list[tuple[str, str, dict[str, str], float]]:
        """(namespace, name, dimensions, time of the last point) of each metric in the caller's scope."""
        with self._lock:
            return [
                (namespace, name, dict(points[-1].get("Dimensions") or {}), float(points[-1]["Timestamp"]))
                for (namespace, name, _), points in emulator.service("cloudwatch")._metrics.items()
                if points
            ]


def _same(one: Point, other: Point) -> bool:
    return all(one[name] == other[name] for name in ("Timestamp", "Unit", "Value"))
