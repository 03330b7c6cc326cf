# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The span of an export that ends where everything has arrived (K1, K2)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._export import ExportRefused
from ansible_collections.papyrus.ops.plugins.module_utils._export_module import span

NOW, DAY = 1_769_860_800.5, 86_400


def of(**asked: Any) -> tuple[float, float, dict[str, Any]]:
    given = {"hours": None, "days": None, "start": None, "end": None, **asked}
    return span(given, NOW, 90 * DAY)


def test_K2_a_lag_moves_both_ends_so_that_one_export_a_day_leaves_no_gap() -> None:
    start, end, given = of(hours=24, lag=900.0)
    assert (NOW - 0.5 - end, end - start, given) == (900, DAY, {"hours": 24, "lag": 900.0})
    assert of(hours=24, lag=0.0) == of(hours=24) == (NOW - 0.5 - DAY, NOW - 0.5, {"hours": 24})


def test_K1_of_the_whole_history_a_lag_costs_the_newest_part_and_is_not_refused() -> None:
    start, end, dummy = of(days=90, lag=900.0)
    assert (NOW - 0.5 - end, NOW - 0.5 - start) == (900, 90 * DAY)


@pytest.mark.parametrize("asked", [{"hours": 1, "lag": -1.0}, {"days": 91, "lag": 900.0}, {"days": 91}])
def test_K1_nonsense_is_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(ExportRefused):
        of(**asked)
