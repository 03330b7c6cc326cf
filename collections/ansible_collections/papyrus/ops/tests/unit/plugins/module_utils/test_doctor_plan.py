# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""doctor's clock, and what it says a smoke would create and cost (N6)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _doctor_plan, _doctor_values, _rows
from ansible_collections.papyrus.ops.tests.unit import doctor_stand as stand
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws


def one(row_id: str, fake: FakeAws, **changes: Any) -> _rows.Row:
    return stand.evaluate(fake, [row_id], **changes)[row_id]


@pytest.mark.parametrize(
    ("ahead", "status"), [(0.0, "ok"), (-29.0, "ok"), (31.0, "warn"), (-31.0, "warn"), (301.0, "ng"), (None, "warn")]
)
def test_N6_clock(ahead: float | None, status: str) -> None:
    assert _doctor_plan.judge_clock(_doctor_values.Who("arn:aws:iam::1:root", ahead)).status == status


def test_N6_the_clock_is_compared_with_whole_seconds() -> None:
    def at(seconds: float) -> dt.datetime:
        return dt.datetime(2026, 1, 31, 12, 0, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)

    date = "Sat, 31 Jan 2026 12:00:00 GMT"
    assert _doctor_values.ahead(date, at(0.2), at(0.9)) == 0.0
    assert _doctor_values.ahead(date, at(-0.5), at(0.3)) == 0.0
    assert _doctor_values.ahead(date, at(61.5), at(62)) == 60.5
    assert _doctor_values.ahead(date, at(-62), at(-60)) == -60.0
    assert _doctor_values.ahead("yesterday", at(0), at(0)) is None


def test_N6_a_clock_that_is_wrong_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = stand.aws()
    fake.date = "Sat, 31 Jan 2026 12:00:00 GMT"
    assert one("clock", fake).status == "ng"


def test_N6_what_a_smoke_would_make_is_named() -> None:
    reason = one("plan", stand.aws()).reason
    for words in (
        "load balancer papyrus-smoke-xxxxxx",
        "one rule in sg-task",
        "203.0.113.7/32",
        "60 minutes",
        "one task",
    ):
        assert words in reason
    assert "port 443" in one("plan", stand.aws(), certificate_arn="arn:aws:acm:us-west-2:1:x/y").reason
    assert "sg-task" not in one("plan", stand.aws(), tasks_sg_id="").reason


def test_N6_the_cost_is_the_sum_of_known_prices_or_nothing() -> None:
    found = _doctor_plan.judge_cost(stand.settings(), stand.definition())
    # One hour of load balancer and unit, two addresses; five minutes of 0.25 vCPU and 0.5 GB.
    assert found.data["total"] == round(0.0225 + 0.008 + 2 * 0.005 + (0.25 * 0.04048 + 0.5 * 0.004445) / 12, 4)
    assert found.reason.startswith("about 0.04 USD")
    internal = _doctor_plan.judge_cost(stand.settings(alb_scheme="internal", fresh_login=False), {})
    assert internal.data["total"] == 0.0305
    longer = _doctor_plan.judge_cost(stand.settings(lease_minutes=121), stand.definition())
    assert longer.data["longest"] == pytest.approx(found.data["total"] + 2 * 0.0405, abs=2e-4)
    elsewhere = _doctor_plan.judge_cost(stand.settings(region="eu-north-1"), stand.definition())
    assert (elsewhere.status, "USD" in elsewhere.reason) == ("skip", False)


def test_N6_a_task_of_another_architecture_has_no_price_here() -> None:
    arm = {**stand.definition(), "runtimePlatform": {"cpuArchitecture": "ARM64"}}
    found = _doctor_plan.judge_cost(stand.settings(), arm)
    assert found.data["total"] == 0.0405
    assert "without the fresh task" in found.reason
