"""Alarms' rules, statistics, metric math and CBOR, without a sandbox: clock and data are given."""

from __future__ import annotations

import math
import random
import struct
from datetime import UTC, datetime
from typing import Any

import pytest

from sandbox import cbor
from sandbox.metrics import queries, statistics
from sandbox.metrics.alarms import datapoints
from sandbox.metrics.evaluation import ALARM, INSUFFICIENT, OK, Datapoint, Rule, verdict
from sandbox.metrics.expressions import ExpressionError, Scope, parse

OVER, UNDER = 9.0, 1.0
KEPT = "kept"


def rule(needed: int, periods: int, missing: str) -> Rule:
    return Rule("GreaterThanThreshold", 5.0, periods, needed, missing)


def state(text: str, needed: int, missing: str) -> str:
    """Of datapoints as AWS writes them, the newest last: X breaches, 0 does not, - is missing."""
    values = {"X": OVER, "0": UNDER, "-": None}
    points = [Datapoint(60.0 * n, values[letter]) for n, letter in enumerate(text.split())]
    found = verdict(rule(needed, 3, missing), points[::-1])
    return KEPT if found is None else found.state


# The two tables of "Configuring how CloudWatch alarms treat missing data": three of three, and two of three.
@pytest.mark.parametrize(
    ("text", "needed", "missing", "ignore", "breaching", "not_breaching"),
    [
        ("0 - X - X", 3, OK, OK, OK, OK),
        ("- - - - 0", 3, OK, OK, OK, OK),
        ("- - - - -", 3, INSUFFICIENT, KEPT, ALARM, OK),
        ("0 X X - X", 3, ALARM, ALARM, ALARM, ALARM),
        ("- - X - -", 3, ALARM, KEPT, ALARM, OK),
        ("0 - X - X", 2, ALARM, ALARM, ALARM, ALARM),
        ("0 0 X 0 X", 2, ALARM, ALARM, ALARM, ALARM),
        ("0 - X - -", 2, OK, OK, ALARM, OK),
        ("- - - - 0", 2, OK, OK, ALARM, OK),
        ("- - - X -", 2, ALARM, KEPT, ALARM, OK),
    ],
)
def test_missing_data_are_treated_as_the_documents_tables_say(
    text: str, needed: int, missing: str, ignore: str, breaching: str, not_breaching: str
) -> None:
    assert state(text, needed, "missing") == missing
    assert state(text, needed, "ignore") == ignore
    assert state(text, needed, "breaching") == breaching
    assert state(text, needed, "notBreaching") == not_breaching


@pytest.mark.behaviour("cloudwatch.most_recent")
def test_older_points_of_the_range_do_not_count_when_newer_ones_suffice() -> None:
    assert state("X X 0 0 X", 3, "missing") == OK
    assert state("X X 0 0 X", 2, "missing") == OK


@pytest.mark.behaviour("cloudwatch.enough")
def test_two_out_of_three_breaching_points_ring() -> None:
    assert state("0 0 X 0 X", 2, "missing") == ALARM


@pytest.mark.behaviour("cloudwatch.premature")
def test_few_points_that_all_breach_ring_early() -> None:
    assert state("- - X - -", 3, "missing") == ALARM
    assert state("- - - - X", 3, "missing") == OK


@pytest.mark.behaviour("cloudwatch.without_data")
@pytest.mark.parametrize(
    ("missing", "expected"), [("missing", INSUFFICIENT), ("breaching", ALARM), ("notBreaching", OK)]
)
def test_without_data_the_setting_decides(missing: str, expected: str) -> None:
    assert state("- - - - -", 3, missing) == expected


@pytest.mark.parametrize(
    ("comparison", "value", "rings"),
    [
        ("GreaterThanThreshold", 5.0, False),
        ("GreaterThanOrEqualToThreshold", 5.0, True),
        ("LessThanThreshold", 5.0, False),
        ("LessThanOrEqualToThreshold", 5.0, True),
        ("LessThanThreshold", 4.9, True),
    ],
)
def test_comparison_operators(comparison: str, value: float, rings: bool) -> None:
    found = verdict(Rule(comparison, 5.0, 1, 1), [Datapoint(0, value)])
    assert found is not None
    assert (found.state == ALARM) == rings


def test_the_reason_is_in_awss_words() -> None:
    found = verdict(rule(2, 3, "missing"), [Datapoint(120.0, OVER), Datapoint(60.0, UNDER), Datapoint(0.0, 7.5)])
    assert found is not None
    assert found.reason == (
        "Threshold Crossed: 2 out of the last 3 datapoints [9.0 (01/01/70 00:02:00), 7.5 (01/01/70 00:00:00)] were "
        "greater than the threshold (5.0) (minimum 2 datapoints for OK -> ALARM transition)."
    )
    few = verdict(rule(2, 3, "breaching"), [Datapoint(120.0, UNDER), Datapoint(60.0, None), Datapoint(0.0, None)])
    assert few is not None
    assert few.reason == (
        "Threshold Crossed: 0 out of the last 3 datapoints [] were greater than the threshold (5.0) and 2 missing "
        "datapoints were treated as [Breaching] (minimum 2 datapoints for OK -> ALARM transition)."
    )
    none = verdict(rule(1, 1, "notBreaching"), [Datapoint(0.0, None)])
    assert none is not None
    assert none.reason == (
        "Threshold Crossed: no datapoints were received for 1 period and 1 missing datapoint was treated as "
        "[NonBreaching]."
    )


def points(*values: float, at: float = 0.0) -> list[dict[str, Any]]:
    return [{"Timestamp": at, "Value": value, "Count": 1, "Unit": "None"} for value in values]


def test_statistics_of_single_values_and_sets() -> None:
    sets = [{"Timestamp": 0.0, "Value": 2.0, "_stat": {"SampleCount": 2, "Sum": 4, "Minimum": 1, "Maximum": 3}}]
    many = points(10.0) + sets
    results = {name: statistics.statistic_of(many, name) for name in statistics.BASIC}
    assert results == {"SampleCount": 3, "Sum": 14, "Average": 14 / 3, "Minimum": 1, "Maximum": 10}
    assert statistics.statistic_of([], "Sum") is None


@pytest.mark.behaviour("cloudwatch.percentile")
def test_percentiles_need_single_values() -> None:
    assert statistics.statistic_of(points(*range(1, 101)), "p90") == pytest.approx(90.1)
    assert statistics.statistic_of(points(3.0), "p99.9") == 3.0
    several = {"Timestamp": 0.0, "Value": 2.0, "_stat": {"SampleCount": 2, "Sum": 4, "Minimum": 1, "Maximum": 3}}
    assert statistics.statistic_of([several], "p50") is None
    assert statistics.statistic_of(points(-1.0, 2.0), "p50") is None


def test_periods_are_counted_from_their_origin() -> None:
    given = points(1.0, at=59.0) + points(2.0, at=60.0) + points(4.0, at=119.0)
    assert statistics.by_period(given, 60, "Sum") == {0: 1.0, 60: 6.0}
    assert statistics.by_period(given, 60, "Sum", origin=30) == {30: 3.0, 90: 4.0}


SCOPE = Scope({"m1": {0: 2.0, 60: 4.0, 120: 0.0}, "m2": {0: 1.0, 120: 0.0}}, [0, 60, 120], 60, ("m1", "m2"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("m1+m2", {0: 3.0, 120: 0.0}),
        ("m1 - 1", {0: 1.0, 60: 3.0, 120: -1.0}),
        ("100*(m2/m1)", {0: 50.0}),
        ("-m1 ^ 2", {0: 4.0, 60: 16.0, 120: 0.0}),
        ("FILL(m2, 0)", {0: 1.0, 60: 0.0, 120: 0.0}),
        ("FILL(m2, REPEAT)", {0: 1.0, 60: 1.0, 120: 0.0}),
        ("FILL(m2, LINEAR)", {0: 1.0, 60: 0.5, 120: 0.0}),
        ("IF(m1 > 1, m1, 7)", {0: 2.0, 60: 4.0, 120: 7.0}),
        ("IF(m1 > 1 AND m1 < 3, 1, 0)", {0: 1.0, 60: 0.0, 120: 0.0}),
        ("IF(m1 > 3, m1)", {60: 4.0}),
        ("SUM(METRICS())", {0: 3.0, 60: 4.0, 120: 0.0}),
        ("MAX([m1, m2])", {0: 2.0, 60: 4.0, 120: 0.0}),
        ("AVG(m1)", 2.0),
        ("SUM(m1) / PERIOD(m1)", 0.1),
        ("RATE(m1)", {60: 2.0 / 60, 120: -4.0 / 60}),
        ("DIFF(m1)", {60: 2.0, 120: -4.0}),
        ("ABS(m1 - 3)", {0: 1.0, 60: 1.0, 120: 3.0}),
        ("m1 == 4 || m1 == 0", {0: 0.0, 60: 1.0, 120: 1.0}),
        ("RUNNING_SUM(m1)", {0: 2.0, 60: 6.0, 120: 6.0}),
    ],
)
def test_metric_math(text: str, expected: Any) -> None:
    result = parse(text).evaluate(SCOPE)
    assert result == (pytest.approx(expected) if isinstance(expected, float) else expected)


@pytest.mark.parametrize("text", ["", "m1 +", "FOO(m1)", "m1 m2", "(m1", "M1", "SUM()", "m1 # 2", "(" * 60 + "m1"])
def test_wrong_expressions_are_said_to_be(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text)


def test_expressions_may_name_one_another_but_not_in_a_ring() -> None:
    metric = {"Id": "m1", "MetricStat": {"Metric": {}, "Period": 60, "Stat": "Sum"}}
    ordered = queries.in_order([{"Id": "e2", "Expression": "e1*2"}, {"Id": "e1", "Expression": "m1+1"}, metric])
    assert [name for name, _ in ordered] == ["e1", "e2"]
    ring = [{"Id": "e1", "Expression": "e2"}, {"Id": "e2", "Expression": "e1"}]
    assert "Unresolved identifier" in str(queries.problem(ring))
    assert "not unique" in str(queries.problem([metric, metric]))


def test_cbor_gives_back_what_it_was_given() -> None:
    chance = random.Random(7)

    def value(depth: int) -> Any:
        kinds = 8 if depth < 4 else 6
        match chance.randrange(kinds):
            case 0:
                return chance.choice([0, 23, 24, 255, 256, 65_536, 2**40, -1, -24, -25, -(2**33)])
            case 1:
                return chance.choice([True, False, None])
            case 2:
                return chance.random() * 10 ** chance.randrange(-9, 9)
            case 3:
                return "é" * chance.randrange(70)
            case 4:
                return bytes(chance.randrange(300))
            case 5:
                return ""
            case 6:
                return [value(depth + 1) for _ in range(chance.randrange(30))]
            case _:
                return {f"k{n}": value(depth + 1) for n in range(chance.randrange(30))}

    for _ in range(200):
        given = value(0)
        assert cbor.loads(cbor.dumps(given)) == given
    moment = datetime(2026, 1, 2, 3, 4, 5, 500_000, UTC)
    assert cbor.loads(cbor.dumps(moment)) == moment.timestamp()


def test_cbor_of_others_is_read_and_nonsense_is_not() -> None:
    assert cbor.loads(bytes.fromhex("bf6161016162 9f0203ff ff".replace(" ", ""))) == {"a": 1, "b": [2, 3]}
    assert cbor.loads(b"\x7f\x61a\x61b\xff") == "ab"
    assert cbor.loads(b"\xf9" + struct.pack(">e", 1.5)) == 1.5
    assert math.isclose(cbor.loads(b"\xfa" + struct.pack(">f", 0.1)), 0.1, rel_tol=1e-6)
    for wrong in (b"", b"\x61", b"\x82\x01", b"\x01\x01", b"\xff", b"\x1c", b"\x81" * 200, b"\xa1\x80\x01"):
        with pytest.raises(cbor.CborError):
            cbor.loads(wrong)


class Points:
    """Stands for sandbox.metrics.Metrics: one value at each of these times."""

    def __init__(self, *times: float) -> None:
        self._times = times

    def points(self, *asked: Any) -> list[dict[str, Any]]:
        _, _, _, start, end, _ = asked
        return [one for at in self._times if start <= at < end for one in points(1.0, at=at)]


# 1,000,000,020 is a whole minute.
@pytest.mark.parametrize(
    ("period", "now", "starts"),
    [
        # Only periods that are over, the newest first, and two more than are evaluated.
        (60, 1_000_000_079.0, [999_999_960, 999_999_900, 999_999_840]),
        (10, 1_000_000_079.0, [1_000_000_060, 1_000_000_050, 1_000_000_040]),
        # Longer periods end at every minute, not at multiples of themselves.
        (300, 1_000_000_079.0, [999_999_720, 999_999_420, 999_999_120]),
    ],
)
def test_the_periods_that_are_evaluated_end_with_the_last_evaluation(
    period: int, now: float, starts: list[float]
) -> None:
    alarm = {"Namespace": "n", "MetricName": "m", "Dimensions": [], "Statistic": "Sum", "Period": period}
    metrics: Any = Points(now, starts[0], starts[2], starts[2] + period - 1, starts[2] - 1)
    found = datapoints(metrics, {**alarm, "EvaluationPeriods": 1}, now)
    assert found == [Datapoint(starts[0], 1.0), Datapoint(starts[1], None), Datapoint(starts[2], 2.0)]
