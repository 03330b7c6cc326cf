# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long an export may take, reckoned from some of its units (K1)."""

from __future__ import annotations

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._export import Unit
from ansible_collections.papyrus.ops.plugins.module_utils._export_report import estimate
from ansible_collections.papyrus.ops.plugins.module_utils._export_state import State

DAY = 86_400
# Ninety days from noon to noon, the last quarter of an hour apart: 1,000 events a day, 20 requests.
BOUNDS = [0, *range(DAY // 2, 90 * DAY, DAY), 90 * DAY - 900, 90 * DAY]


def state(known: dict[int, float]) -> tuple[State, dict[str, float]]:
    """Of these units (by number) such a part was read."""
    made, left = State(), {}
    list(made.plan([Unit(str(n), *pair) for n, pair in enumerate(zip(BOUNDS, BOUNDS[1:], strict=False))]))
    for number, part in known.items():
        one = made.progress[str(number)]
        days = (one.asked.end - one.asked.start) / DAY
        one.items, one.requests, one.done = round(1_000 * days * part), max(round(20 * days * part), 1), part == 1
        if not one.done:
            left[str(number)] = 1 - part
    return made, left


@pytest.mark.parametrize(
    "known", [{0: 0.1, 22: 0.05, 45: 0.05, 67: 0.05, 91: 1.0}, {0: 1.0}, {45: 0.5}, dict.fromkeys(range(60), 1.0)]
)
def test_K1_short_units_at_the_ends_do_not_make_an_export_look_shorter(known: dict[int, float]) -> None:
    found = estimate(*state(known))
    assert found is not None and found.known == len(known)
    assert found.items == pytest.approx(90_000, rel=0.02)
    assert found.requests == pytest.approx(1_800, rel=0.05)


def test_K1_an_empty_history_takes_one_request_a_unit() -> None:
    made, left = state({})
    assert estimate(made, left) is None
    made.progress["45"].done, made.progress["45"].requests = True, 1
    found = estimate(made, left)
    assert found is not None and (found.items, found.requests) == (0, pytest.approx(len(BOUNDS) - 1, rel=0.05))
