# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast AWS is asked: never above the set rate, nearly always at it, slower when it throttles (K1)."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._export_pace import (
    THROTTLES,
    TRANSIENTS,
    Counts,
    Pacer,
    Patient,
    kind_of,
    pause_after,
)
from ansible_collections.papyrus.ops.tests.unit.export_world import DAY, NOW, History, SimClock, asked, run, spread

THROTTLED = AwsFailure("Rate exceeded", code="ThrottlingException")
BROKEN = AwsFailure("Bad gateway", code="502", unanswered=True)


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def most_in_a_second(started: list[float]) -> int:
    first = most = 0
    for last, at in enumerate(started):
        while at - started[first] >= 1.0:
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.parametrize("rate", [1.0, 2.0])
def test_K1_ninety_days_are_read_at_the_set_rate_and_no_second_has_more(tmp_path: Path, rate: float) -> None:
    clock, chance = SimClock(), random.Random(11)
    source = History(spread(30_000, NOW - 90 * DAY, NOW), clock, page=5)

    def latency() -> float:  # often longer than a slot, sometimes very long
        return chance.choice([0.05, 0.3, 0.9, 1.1]) / rate

    begun = clock.clock()
    ran = run(source, tmp_path, asked(NOW - 90 * DAY, NOW), rate=rate, latency=latency)
    started = ran.flights.started
    assert len(set(ran.ids)) == len(ran.ids) == 30_000
    assert len(started) > 6000
    assert most_in_a_second(started) == rate
    assert len(started) / (clock.clock() - begun) >= 0.98 * rate
    assert ran.outcome is not None
    assert ran.outcome.report["rate"] == {"set": rate, "reached": pytest.approx(rate, rel=0.02)}


def test_K1_slots_that_were_missed_are_not_made_up_for() -> None:
    clock = SimClock()
    pacer = Pacer(2.0, clock=clock.clock)
    started = []
    for busy in (0.0, 5.0, 0.0, 0.1, 0.0, 0.7, 0.0, 0.0):
        clock.sleep(busy)
        while (wait := pacer.wait()) > 0:
            clock.sleep(wait)
        pacer.take()
        started.append(clock.clock())
    assert most_in_a_second(started) == 2


@pytest.mark.parametrize("rate", [0.3, 1.0, 1.7, 3.0, 10.0])
@pytest.mark.parametrize("begin", [0.0, 0.1, 1e6 + 0.1])
def test_K1_no_rounding_makes_a_second_have_one_more(rate: float, begin: float) -> None:
    """Ten times a tenth, summed up, is less than one."""
    at = [begin]
    pacer = Pacer(rate, clock=lambda: at[0])
    started = []
    for _number in range(1000):
        if (wait := pacer.wait()) > 0:
            at[0] += wait
        pacer.take()
        started.append(at[0])
    assert most_in_a_second(started) <= max(-(-rate // 1), 1)


def test_K1_throttling_pauses_twice_as_long_each_time_and_the_first_answer_brings_the_rate_back() -> None:
    clock = SimClock()
    pacer = Pacer(1.0, clock=clock.clock, jitter=lambda: 0.0)
    waits = []
    for _number in range(8):
        pacer.take()
        pacer.throttled()
        waits.append(round(pacer.wait(), 3))
        clock.sleep(pacer.wait())
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    pacer.take()
    pacer.answered()
    assert pacer.wait() == pytest.approx(1.0)
    clock.sleep(1.1)
    pacer.take()
    pacer.throttled()
    assert pacer.wait() == pytest.approx(1.0)


def test_K1_a_pause_is_not_the_same_for_all_who_were_throttled_together() -> None:
    clock = SimClock()
    one, other = (Pacer(1.0, clock=clock.clock, jitter=lambda part=part: part) for part in (0.0, 1.0))
    for pacer in (one, other):
        pacer.take()
        pacer.throttled()
        pacer.throttled()
    assert (round(one.wait(), 3), round(other.wait(), 3)) == (2.0, 2.5)


def test_K1_no_rate_means_no_waiting_and_a_negative_one_is_refused() -> None:
    clock = SimClock()
    pacer = Pacer(0.0, clock=clock.clock)
    for _number in range(100):
        assert pacer.wait() <= 0
        pacer.take()
    with pytest.raises(ValueError, match="-1"):
        Pacer(-1.0)


@pytest.mark.parametrize(
    ("code", "message", "unanswered", "token", "kind"),
    [
        ("ThrottlingException", "", False, "", "throttled"),
        ("TooManyRequestsException", "", False, "t", "throttled"),
        ("RequestLimitExceeded", "", True, "", "throttled"),
        ("InternalFailure", "", False, "", "transient"),
        ("ConnectionClosedError", "", True, "t", "transient"),
        ("InvalidNextTokenException", "", False, "t", "token"),
        ("InvalidNextTokenException", "", False, "", "fatal"),
        ("InvalidParameterException", "The specified nextToken is invalid.", False, "t", "token"),
        ("InvalidParameterException", "The log group name is invalid.", False, "t", "fatal"),
        ("ExpiredTokenException", "", False, "t", "credentials"),
        ("NoCredentialsError", "", False, "", "credentials"),
        ("AccessDeniedException", "", False, "t", "fatal"),
    ],
)
def test_K1_each_failure_is_taken_for_what_it_is(
    code: str, message: str, unanswered: bool, token: str, kind: str
) -> None:
    assert kind_of(AwsFailure(message, code=code, unanswered=unanswered), token) == kind


def test_K1_pauses_after_failures_grow_to_half_a_minute() -> None:
    assert [pause_after(number) for number in range(1, 9)] == [1, 2, 4, 8, 16, 30, 30, 30]


class Asked:
    """A call that fails as often as it is told to."""

    def __init__(self, *failures: AwsFailure) -> None:
        self.failures = list(failures)

    def __call__(self) -> str:
        if self.failures:
            raise self.failures.pop(0)
        return "answer"


def patient(**how: int) -> tuple[Patient, SimClock]:
    clock = SimClock()
    return Patient(Pacer(1.0, clock=clock.clock, jitter=lambda: 0.0), sleep=clock.sleep, **how), clock


def test_K1_a_single_request_waits_for_its_slot_and_out_of_what_passes() -> None:
    asker, clock = patient()
    assert asker.ask(Asked(THROTTLED, BROKEN, THROTTLED, BROKEN)) == "answer"
    assert asker.counts == Counts(requests=5, throttles=2, retries={"502": 2})
    before = clock.clock()
    assert asker.ask(Asked()) == "answer"
    assert clock.clock() - before == pytest.approx(1.0)


def test_K1_a_single_request_is_given_up_after_so_many_failures() -> None:
    asker, _clock = patient()
    with pytest.raises(AwsFailure, match="Bad gateway"):
        asker.ask(Asked(*[BROKEN] * TRANSIENTS))
    assert (asker.counts.requests, asker.counts.retries) == (TRANSIENTS, {"502": TRANSIENTS - 1})
    asker, _clock = patient()
    with pytest.raises(AwsFailure, match="Rate exceeded"):
        asker.ask(Asked(*[THROTTLED] * THROTTLES))
    assert asker.counts.requests == THROTTLES
    asker, _clock = patient()
    with pytest.raises(AwsFailure, match="no"):
        asker.ask(Asked(AwsFailure("no", code="AccessDeniedException")))
    assert asker.counts.requests == 1
