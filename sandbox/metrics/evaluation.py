"""Which state an alarm has by the data points of its evaluation range: no clock, no store, only AWS's rules."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sandbox.behaviours import behaviour

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"
# More periods than the evaluation periods are looked at, for data points that stand in for missing ones.
# AWS does not say how many; its own examples have two.
EXTRA_PERIODS = 2
COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
MISSING_DATA = ("missing", "ignore", "breaching", "notBreaching")


@dataclass(frozen=True)
class Datapoint:
    """The value of one period; None is missing."""

    start: float
    value: float | None


@dataclass(frozen=True)
class Rule:
    comparison: str
    threshold: float
    evaluation_periods: int
    datapoints_to_alarm: int
    missing: str = "missing"

    def breaches(self, value: float) -> bool:
        return COMPARISONS[self.comparison][0](value, self.threshold)


@dataclass(frozen=True)
class Verdict:
    state: str
    reason: str
    # Those that decided, the newest first.
    used: tuple[Datapoint, ...] = ()


def range_length(evaluation_periods: int) -> int:
    """How many periods the evaluation range has."""
    return evaluation_periods + EXTRA_PERIODS


def verdict(rule: Rule, datapoints: Sequence[Datapoint]) -> Verdict | None:
    """The state by the datapoints of the evaluation range, the newest first; None leaves it as it is."""
    real = [point for point in datapoints if point.value is not None]
    if not real:
        return _without_data(rule)
    used = _most_recent(real, rule.evaluation_periods)
    missing = rule.evaluation_periods - len(used)
    breaching = sum(1 for point in used if point.value is not None and rule.breaches(point.value))
    if missing > 0:
        if rule.missing == "breaching":
            breaching += missing
        elif rule.missing in ("missing", "ignore") and _premature(rule, datapoints):
            return None if rule.missing == "ignore" else Verdict(ALARM, _reason(rule, used, ALARM), tuple(used))
    state = ALARM if _enough(rule, breaching) else OK
    return Verdict(state, _reason(rule, used, state, max(0, missing)), tuple(used))


@behaviour("cloudwatch", otherwise=lambda real, periods: list(real))
def _most_recent(real: Sequence[Datapoint], periods: int) -> list[Datapoint]:
    """Of the data points in the evaluation range only the most recent, as many as evaluation periods, count.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    return list(real[:periods])


@behaviour("cloudwatch", otherwise=lambda rule, breaching: breaching >= rule.evaluation_periods)
def _enough(rule: Rule, breaching: int) -> bool:
    """An alarm rings when DatapointsToAlarm of the last EvaluationPeriods data points breach (M out of N).

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation.html
    """
    return breaching >= rule.datapoints_to_alarm


@behaviour("cloudwatch", otherwise=lambda *_: False)
def _premature(rule: Rule, datapoints: Sequence[Datapoint]) -> bool:
    """An alarm rings on fewer data points when all breach and the oldest is DatapointsToAlarm periods old.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    ages = [age for age, point in enumerate(datapoints, 1) if point.value is not None]
    values = [point.value for point in datapoints if point.value is not None]
    return bool(ages) and all(map(rule.breaches, values)) and max(ages) >= rule.datapoints_to_alarm


@behaviour("cloudwatch", otherwise=lambda *_: None)
def _without_data(rule: Rule) -> Verdict | None:
    """With no data point in the range TreatMissingData decides: INSUFFICIENT_DATA, the same state, ALARM or OK.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    periods = rule.evaluation_periods
    if rule.missing == "ignore":
        return None
    if rule.missing == "missing":
        were = "datapoint was" if periods == 1 else "datapoints were"
        return Verdict(INSUFFICIENT, f"Insufficient Data: {periods} {were} unknown.")
    treated, state = ("Breaching", ALARM) if rule.missing == "breaching" else ("NonBreaching", OK)
    text = (
        f"Threshold Crossed: no datapoints were received for {periods} period{'s' if periods > 1 else ''} and "
        f"{periods} missing datapoint{'s were' if periods > 1 else ' was'} treated as [{treated}]."
    )
    return Verdict(state, text)


def _reason(rule: Rule, used: Sequence[Datapoint], state: str, missing: int = 0) -> str:
    """Why, in the words that AWS uses in StateReason; of data points that are missing for part of the time, in ours."""
    rings = state == ALARM
    agree = [point for point in used if point.value is not None and rule.breaches(point.value) == rings]
    shown = ", ".join(
        f"{point.value} ({datetime.fromtimestamp(point.start, UTC):%d/%m/%y %H:%M:%S})" for point in agree
    )
    treated = {"breaching": "Breaching", "notBreaching": "NonBreaching"}.get(rule.missing)
    filled = ""
    if missing and treated:
        filled = f" and {missing} missing datapoint{'s were' if missing > 1 else ' was'} treated as [{treated}]"
    needed = rule.datapoints_to_alarm if rings else rule.evaluation_periods - rule.datapoints_to_alarm + 1
    return (
        f"Threshold Crossed: {len(agree)} out of the last {rule.evaluation_periods} datapoints [{shown}] "
        f"{'was' if len(agree) == 1 else 'were'} {'' if rings else 'not '}{COMPARISONS[rule.comparison][1]} "
        f"the threshold ({rule.threshold}){filled} (minimum {needed} datapoint{'' if needed == 1 else 's'} "
        f"for {OK if rings else ALARM} -> {state} transition)."
    )
