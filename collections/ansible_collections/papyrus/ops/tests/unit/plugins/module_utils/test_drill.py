# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A drill passes only when each alarm went OK, ALARM, OK with both messages, and names each that did not (I1)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _drill
from ansible_collections.papyrus.ops.plugins.module_utils._drill_case import Limits
from ansible_collections.papyrus.ops.tests.unit.aws_fake import Refusal
from ansible_collections.papyrus.ops.tests.unit.drill_world import ANNOUNCEMENT, TOPIC, World


@pytest.fixture
def world() -> World:
    return World()


def told(drill: _drill.Drill, event: str) -> list[dict[str, Any]]:
    return [entry for entry in drill.journal.entries() if entry["event"] == event]


def test_I1_each_alarm_rings_is_heard_and_is_over(world: World) -> None:
    drill = world.drill(world.case("memory"), world.case("task-exit", copied=False, after=90))
    drill.run()
    assert drill.failed == []
    assert drill.text() == "2 of 2 alarms went OK → ALARM → OK with their messages"
    for result in drill.results():
        assert (result["status"], [step["to"] for step in result["transitions"]]) == ("ok", ["OK", "ALARM", "OK"])
        assert [message["new"] for message in result["messages"]] == ["ALARM", "OK"]
        assert result["reason"].startswith("OK → ALARM after ")
    assert {kind: condition.wanted for kind, condition in world.conditions.items()} == {
        "memory": [True, False],
        "task-exit": [True, False],
    }
    assert [condition.ended for condition in world.conditions.values()] == [1, 1]
    states = [(entry["kind"], entry["transition"]["to"]) for entry in told(drill, "state")]
    assert states.count(("memory", "ALARM")) == states.count(("task-exit", "ALARM")) == 1
    assert len(told(drill, "message")) == 4


def test_I1_those_on_call_hear_that_a_drill_begins_and_that_it_is_over(world: World) -> None:
    drill = world.drill(world.case("cpu"))
    drill.run()
    states = [(sent["AlarmName"], sent["StateValue"]) for sent in world.aws.sent("cloudwatch.set_alarm_state")]
    assert states == [(ANNOUNCEMENT, "ALARM"), (ANNOUNCEMENT, "OK")]
    assert "no incident" in world.aws.sent("cloudwatch.set_alarm_state")[0]["StateReason"]
    assert [entry["received"] for entry in drill.announced] == ["yes", "yes"]
    order = world.aws.names
    assert order.index("cloudwatch.set_alarm_state") < order.index("cloudwatch.describe_alarms")


def test_I1_nothing_rings_when_the_announcement_is_not_heard(world: World) -> None:
    world.deaf.add(ANNOUNCEMENT)
    drill = world.drill(world.case("memory"), world.case("cpu"))
    drill.run()
    assert [condition.wanted for condition in world.conditions.values()] == [[], []]
    assert [case.kind for case in drill.failed] == ["memory", "cpu"]
    assert f"no message of {ANNOUNCEMENT} reached the queue" in drill.text()
    assert drill.announced[0]["received"] == "no"
    assert world.time < 300


def test_I1_an_alarm_whose_message_never_comes_fails_and_is_named(world: World) -> None:
    drill = world.drill(world.case("memory"), world.case("cpu"))
    world.deaf.add("svc-cpu-drill-abc234")
    drill.run()
    assert [case.kind for case in drill.failed] == ["cpu"]
    assert "1 of 2 alarms" in drill.text()
    assert "FAILED: svc-cpu: svc-cpu-drill-abc234 went to ALARM, but no message" in drill.text()
    assert drill.results()[0]["status"] == "ok"


def test_I1_the_message_of_the_end_is_waited_for_too(world: World) -> None:
    drill = world.drill(world.case("cpu"))
    world.later(100, lambda: world.deaf.add("svc-cpu-drill-abc234"))
    drill.run()
    assert "svc-cpu-drill-abc234 went to OK, but no message" in drill.text()


def test_I1_an_action_that_cloudwatch_could_not_execute_is_told_at_once(world: World) -> None:
    drill = world.drill(world.case("memory"))
    world.failing.add("svc-memory-drill-abc234")
    drill.run()
    assert f"Failed to execute action {TOPIC}" in drill.text()
    assert "not authorized" in drill.text()
    assert world.time < 60 + 60 + Limits().message


def test_I1_an_alarm_that_does_not_ring_fails_with_what_was_done(world: World) -> None:
    drill = world.drill(world.case("memory", after=10_000, limits=Limits(alarm=300)))
    drill.run()
    assert "was not ALARM within 300 s: it is OK (began as OK); it was made" in drill.text()


def test_I1_an_alarm_that_stays_fails(world: World) -> None:
    drill = world.drill(world.case("memory", limits=Limits(ok=20)))
    drill.run()
    assert "was not OK within 20 s: it is ALARM (now ALARM)" in drill.text()


def test_I1_a_permanent_alarm_that_rings_by_itself_is_no_success(world: World) -> None:
    case = world.case("task-exit", copied=False)
    world.move("svc-task-exit", "ALARM")
    drill = world.drill(case)
    drill.run()
    assert "rang before its condition was made: something else is wrong, or another drill runs" in drill.text()
    assert True not in world.conditions["task-exit"].wanted


def test_I1_a_copy_is_waited_for_until_it_is_ok(world: World) -> None:
    case = world.case("memory")
    world.move("svc-memory-drill-abc234", "ALARM")
    world.later(40, lambda: world.move("svc-memory-drill-abc234", "OK"))
    drill = world.drill(case)
    drill.run()
    assert drill.failed == []
    assert [message["new"] for message in drill.results()[0]["messages"]] == ["ALARM", "OK", "ALARM", "OK"]


def test_I1_messages_of_before_do_not_count(world: World) -> None:
    """Of a copy that rang while it was made: its messages come late, those of the drill never."""
    case = world.case("memory")
    drill = world.drill(case)
    world.deaf.add("svc-memory-drill-abc234")
    before = world.now - dt.timedelta(seconds=30)

    def late() -> None:
        world.page("svc-memory-drill-abc234", "OK", "ALARM", before)
        world.page("svc-memory-drill-abc234", "ALARM", "OK", before + dt.timedelta(seconds=10))

    world.later(70, late)
    drill.run()
    assert "went to ALARM, but no message" in drill.text()


def test_I1_messages_may_come_in_any_order(world: World) -> None:
    case = world.case("memory", after=30)
    drill = world.drill(case)
    alarm = "svc-memory-drill-abc234"
    world.deaf.add(alarm)
    world.later(32, lambda: world.page(alarm, "ALARM", "OK", world.now + dt.timedelta(seconds=40)))
    world.later(50, lambda: world.page(alarm, "OK", "ALARM", world.now - dt.timedelta(seconds=20)))
    drill.run()
    assert drill.failed == []


def test_I1_an_alarm_without_data_for_a_moment_is_not_over_before_it_rang(world: World) -> None:
    case = world.case("memory", after=200)
    drill = world.drill(case)
    world.deaf.add(case.alarm)
    world.later(20, lambda: world.move(case.alarm, "INSUFFICIENT_DATA"))
    world.later(30, lambda: world.move(case.alarm, "OK"))
    world.later(150, world.deaf.clear)
    drill.run()
    assert drill.failed == []
    assert [step["to"] for step in drill.results()[0]["transitions"]] == [
        "OK",
        "INSUFFICIENT_DATA",
        "OK",
        "ALARM",
        "OK",
    ]
    ended = drill.results()[0]["transitions"][-1]["elapsed"]
    assert f"→ OK after {ended - drill.results()[0]['transitions'][0]['elapsed']:.0f} s" in drill.results()[0]["reason"]


def test_I1_the_first_failure_stays(world: World) -> None:
    case = world.case("memory")
    case.fail("the first")
    case.fail("the second")
    assert case.reason == "the first"


def test_I1_a_condition_that_cannot_be_made_fails_its_alarm_alone(world: World) -> None:
    drill = world.drill(world.case("memory"), world.case("task-exit", copied=False))
    world.later(20, lambda: setattr(world.conditions["task-exit"], "problem", "exit code 0"))
    drill.run()
    assert [case.kind for case in drill.failed] == ["task-exit"]
    assert "its condition could not be made: exit code 0" in drill.text()


def test_I1_two_alarms_share_a_condition_as_long_as_one_wants_it(world: World) -> None:
    first, second = world.case("alb-5xx", after=20), world.case("alb-latency", after=20)
    shared = world.conditions["alb-5xx"]
    second.condition = shared
    world.later(80, lambda: world.move(second.alarm, "ALARM"))
    world.later(150, lambda: world.move(second.alarm, "OK"))
    drill = world.drill(first, second)
    drill.run()
    assert drill.failed == []
    assert shared.wanted == [True, False]
    rang = next(step["elapsed"] for step in drill.results()[1]["transitions"] if step["to"] == "ALARM")
    over = next(step["elapsed"] for step in drill.results()[0]["transitions"][2:])
    assert over > rang


def test_I1_a_copy_gets_its_calm_data_until_the_whole_drill_is_over(world: World) -> None:
    drill = world.drill(world.case("memory", after=20), world.case("cpu", after=400))
    drill.run()
    assert drill.failed == []
    memory, cpu = world.conditions["memory"], world.conditions["cpu"]
    assert (memory.wanted, memory.ended) == ([True, False], 1)
    assert memory.last == cpu.last > 400


def test_I1_a_page_of_somebody_else_is_told(world: World) -> None:
    drill = world.drill(world.case("memory"))
    world.later(20, lambda: world.page("other-service-cpu", "OK", "ALARM"))
    drill.run()
    assert [entry["text"] for entry in told(drill, "other_message")] == [
        "NOT OF THIS DRILL: other-service-cpu is ALARM (now ALARM)"
    ]


def test_I1_some_looks_may_fail_and_many_end_it(world: World) -> None:
    drill = world.drill(world.case("memory"))
    world.unanswered = _drill.UNANSWERED - 1
    drill.run()
    assert drill.failed == []
    world = World()
    drill = world.drill(world.case("memory"))
    world.unanswered = 1000
    drill.run()
    assert "AWS could not be asked any more: cloudwatch:DescribeAlarms" in drill.text()
    assert world.conditions["memory"].ended == 1


def test_I1_an_end_that_cannot_be_told_makes_no_good_drill_bad(world: World) -> None:
    drill = world.drill(world.case("memory"))

    def refuse(_params: Any) -> Any:
        raise Refusal("AccessDenied")

    world.aws.answers["cloudwatch.describe_alarm_history"] = refuse
    drill.run()
    assert drill.failed == []
    assert "AccessDenied" in told(drill, "not_told")[0]["text"]


def test_I1_an_interrupted_drill_says_that_it_is_over_and_ends_what_rings(world: World) -> None:
    def interrupt() -> None:
        raise SystemExit(143)

    drill = world.drill(world.case("memory"))
    world.later(20, interrupt)
    with pytest.raises(SystemExit):
        drill.run()
    last = world.aws.sent("cloudwatch.set_alarm_state")[-1]
    assert (last["AlarmName"], last["StateValue"]) == (ANNOUNCEMENT, "OK")
    assert "was interrupted" in last["StateReason"]
    assert world.conditions["memory"].ended == 1


def test_I1_an_alarm_that_is_gone_is_named(world: World) -> None:
    drill = world.drill(world.case("memory", limits=Limits(steady=30)))
    del world.alarms["svc-memory-drill-abc234"]
    drill.run()
    assert "was not OK within 30 s: AWS has no alarm of that name" in drill.text()


@pytest.mark.parametrize(("kinds", "why"), [({}, "no alarm to drill"), ({"disk": {}}, "disk: no such kind of alarm")])
def test_I1_nothing_or_a_strange_kind_is_refused(kinds: dict[str, Any], why: str) -> None:
    assert why in _drill.refused(kinds)
    assert _drill.refused({"memory": {}}) == ""
