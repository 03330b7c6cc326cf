# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one way to wait: look at an observation, decide, sleep, look again; the last observation survives."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

from ._progress import PROGRESS

T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    """What was waited for is there."""

    reason: str = ""


@dataclass(frozen=True)
class GoOn:
    """Not yet, and it may still come."""

    reason: str = ""


@dataclass(frozen=True)
class Hopeless:
    """It cannot come any more; waiting on would only lose time."""

    reason: str


Judgement: TypeAlias = "Done | GoOn | Hopeless"


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """How the waiting ended. `elapsed` in seconds of the given clock; `reason` is that of the last judgement."""

    state: Literal["done", "hopeless", "timeout"]
    last: T
    reason: str
    polls: int
    elapsed: float

    @property
    def ok(self) -> bool:
        return self.state == "done"


def poll(
    observe: Callable[[], T],
    judge: Callable[[T], Judgement],
    *,
    timeout: float,
    interval: float,
    first: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    on_observation: Callable[[int, T, Judgement], None] | None = None,
    tell: Callable[[str], None] = PROGRESS.now,
) -> Outcome[T]:
    """Observes at least once, then each `interval` seconds, until the judge says so or `timeout` seconds are over.

    With `first` the second look comes after so many seconds, each further one after twice as long, up to `interval`.
    `judge` is a pure function of one observation. `on_observation(number, observation, judgement)` is called for each,
    number from 1. `tell` gets why it goes on. The last sleep is cut so that one observation is made at the very end.
    Exceptions of `observe` pass.
    """
    if interval <= 0:
        raise ValueError(f"interval must be more than 0 seconds, not {interval}")
    start = clock()
    polls = 0
    pause = interval if first is None else min(first, interval)
    while True:
        observation = observe()
        polls += 1
        judgement = judge(observation)
        if on_observation is not None:
            on_observation(polls, observation, judgement)
        elapsed = clock() - start
        if isinstance(judgement, Done):
            return Outcome("done", observation, judgement.reason, polls, elapsed)
        if isinstance(judgement, Hopeless):
            return Outcome("hopeless", observation, judgement.reason, polls, elapsed)
        if elapsed >= timeout:
            return Outcome("timeout", observation, judgement.reason, polls, elapsed)
        tell(judgement.reason)
        sleep(min(pause, timeout - elapsed))
        pause = min(2 * pause, interval)
