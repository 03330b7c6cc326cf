# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run ids, names, tags and descriptions of temporary resources, and the poller (C1, C5, N1)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _names
from ansible_collections.papyrus.ops.plugins.module_utils._poller import Done, GoOn, Hopeless, Judgement, poll

NOON = dt.datetime(2026, 1, 31, 12, 0, 0, tzinfo=dt.UTC)
RUN = "20260131T120000Z-abc234"


def test_C1_run_id_has_its_time_and_suffix() -> None:
    run = _names.new_run_id(NOON.astimezone(dt.timezone(dt.timedelta(hours=9))))
    assert run.text == f"20260131T120000Z-{run.suffix}" and run.started == NOON
    assert _names.parse_run_id(run.text) == run
    assert len({_names.new_run_id(NOON).suffix for _attempt in range(50)}) == 50


@pytest.mark.parametrize(
    "text",
    [
        "",
        "20260131T120000Z-ABC234",
        "20260131T120000Z-abc018",
        "../20260131T120000Z-abc234",
        f"{RUN}\n",
        "20261331T120000Z-abc234",
    ],
)
def test_N1_what_is_no_run_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        _names.parse_run_id(text)


def test_C1_a_name_is_never_cut() -> None:
    assert _names.resource_name("p" * 25, "abc234") == "p" * 25 + "-abc234"
    with pytest.raises(ValueError, match="33 characters, AWS allows 32: shorten the prefix .* by 1"):
        _names.resource_name("p" * 26, "abc234")


@pytest.mark.parametrize("prefix", ["internal-x", "-x", "pap_yrus", "pap.yrus", "ü"])
def test_C1_a_name_that_elb_refuses(prefix: str) -> None:
    with pytest.raises(ValueError):
        _names.resource_name(prefix, "abc234")


def test_N1_tags_have_run_expiry_and_service() -> None:
    assert _names.tags("papyrus", RUN, NOON, "svc") == {
        "papyrus:run-id": RUN,
        "papyrus:expires-at": "2026-01-31T12:00:00Z",
        "papyrus:service": "svc",
    }
    with pytest.raises(ValueError, match="aws"):
        _names.tags("AWSome", RUN, NOON, "svc")
    with pytest.raises(ValueError):
        _names.tags("papyrus", RUN, "tomorrow", "svc")


@pytest.mark.parametrize(
    ("description", "run_id"),
    [
        (_names.rule_description("papyrus", RUN, "2026-01-31T13:00:00Z", "svc"), RUN),
        (f"papyrus {RUN}", RUN),
        (f"papyrusx run {RUN}", None),
        (f"papyrus-2 run {RUN}", None),
        (f"somebody said papyrus run {RUN}", None),
        ("papyrus run of yesterday", None),
        (f"papyrus run {RUN}5", None),
        ("", None),
    ],
)
def test_N1_only_our_own_descriptions_count(description: str, run_id: str | None) -> None:
    assert _names.run_id_of_description("papyrus", description) == run_id


@pytest.mark.parametrize("text", ["2026-01-31T12:00:00", "2026-01-31", "20260131T120000Z", "2026-01-31 12:00:00Z", "x"])
def test_J1_times_without_zone_or_of_another_form_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        _names.parse_rfc3339(text)


def test_J1_times_are_written_in_utc() -> None:
    assert _names.rfc3339(_names.parse_rfc3339("2026-01-31T21:00:00.25+09:00"), microseconds=True) == (
        "2026-01-31T12:00:00.250000Z"
    )
    with pytest.raises(ValueError):
        _names.rfc3339(dt.datetime(2026, 1, 31))


class Clock:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def wait(
    answers: list[Judgement], timeout: float = 10, interval: float = 4
) -> tuple[Any, Clock, list[tuple[int, int]]]:
    clock = Clock()
    seen: list[tuple[int, int]] = []
    numbers = iter(range(1, 100))
    outcome = poll(
        lambda: next(numbers),
        lambda number: answers[min(number, len(answers)) - 1],
        timeout=timeout,
        interval=4,
        clock=clock,
        sleep=clock.sleep,
        on_observation=lambda poll_number, observation, _judgement: seen.append((poll_number, observation)),
    )
    return outcome, clock, seen


def test_C5_poll_ends_when_it_is_there() -> None:
    outcome, clock, seen = wait([GoOn("a"), Done("there")])
    assert (outcome.state, outcome.last, outcome.reason, outcome.polls, outcome.elapsed) == ("done", 2, "there", 2, 4)
    assert clock.slept == [4] and seen == [(1, 1), (2, 2)]


def test_C5_poll_ends_early_on_what_cannot_heal() -> None:
    outcome, clock, _seen = wait([Hopeless("task gone")])
    assert (outcome.state, outcome.reason, clock.slept) == ("hopeless", "task gone", [])


def test_C5_poll_looks_once_more_at_the_very_end_and_keeps_it() -> None:
    outcome, clock, seen = wait([GoOn("initial")])
    assert (outcome.state, outcome.last, outcome.polls) == ("timeout", 4, 4)
    assert clock.slept == [4, 4, 2] and len(seen) == 4


def test_C5_poll_looks_sooner_at_first_and_never_faster_than_asked() -> None:
    clock = Clock()
    outcome = poll(lambda: 0, lambda _seen: GoOn(), timeout=12, interval=3, first=1, clock=clock, sleep=clock.sleep)
    assert (outcome.state, clock.slept) == ("timeout", [1, 2, 3, 3, 3])


def test_C5_poll_observes_once_even_without_time() -> None:
    outcome, clock, _seen = wait([GoOn()], timeout=0)
    assert (outcome.state, outcome.polls, clock.slept) == ("timeout", 1, [])
