# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A sweep deletes what may go and nothing else, whoever sweeps beside it, and AWS alone says what is gone (N1, C7)."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers import Scope
from ansible_collections.papyrus.ops.plugins.module_utils._sweep import Order, Swept, sweep
from ansible_collections.papyrus.ops.plugins.module_utils._sweep_report import (
    evidence,
    held_only,
    text_of,
    told,
    unswept,
    untouched,
)
from ansible_collections.papyrus.ops.tests.unit.aws_fake import Refusal
from ansible_collections.papyrus.ops.tests.unit.sweep_world import World, arn, marks, text

RUN, OTHER, YOUNG = "20260131T120000Z-abc234", "20260131T113000Z-zzz777", "20260131T132500Z-yyy222"
NOW = dt.datetime(2026, 1, 31, 13, 30, tzinfo=dt.UTC)
LATER = "2026-01-31T14:25:00Z"
SCOPE = Scope("papyrus", "svc", name_prefix="papyrus-smoke")
DELETES = [
    "elbv2.delete_listener",
    "elbv2.delete_load_balancer",
    "elbv2.delete_target_group",
    "ec2.revoke_security_group_ingress",
    "ec2.delete_security_group",
]
LOOKS = [
    "elbv2.describe_load_balancers",
    "elbv2.describe_target_groups",
    "elbv2.describe_tags",
    "ec2.describe_security_groups",
    "ec2.describe_network_interfaces",
]


@pytest.fixture
def world() -> World:
    return World()


def swept(world: World, *run_ids: str, timeout: float = 900, **more: Any) -> Swept:
    order = Order("svc", frozenset(run_ids), more.pop("alive", {}))
    scope = more.pop("scope", SCOPE)
    given: dict[str, Any] = {"now": NOW, "clock": world.clock, "sleep": world.sleep, **more}
    return sweep(world.aws, scope, order, timeout=timeout, interval=10, **given)


def deleted(result: Swept) -> set[str]:
    return {each["kind"] for each in result.deleted}


def test_N1_everything_of_an_expired_run_goes_in_the_order_in_which_aws_lets_go(world: World) -> None:
    world.run(RUN)
    result = swept(world)
    assert result.gone and not result.failed and not result.left
    assert world.names() == {"sg-tasks"}
    calls = [name for name in world.aws.names if name in DELETES]
    assert calls == DELETES
    assert deleted(result) == {
        "load_balancer", "target_group", "security_group_rule", "security_group", "network_interface",
    }  # fmt: skip
    assert [line.split()[1] for line in result.log] == [
        "DeleteListener", "DeleteLoadBalancer", "DeleteTargetGroup", "RevokeSecurityGroupIngress",
        "DeleteSecurityGroup",
    ]  # fmt: skip
    assert all("request-" in line for line in result.log)


def test_N1_a_second_sweep_finds_nothing_and_changes_nothing(world: World) -> None:
    world.run(RUN)
    swept(world)
    number = len(world.aws.names)
    again = swept(world)
    assert again.gone and again.deleted == [] and text_of(again, Order("svc")).startswith("nothing was to be deleted")
    assert not [name for name in world.aws.names[number:] if name in DELETES]


def test_N1_an_unexpired_run_goes_only_when_it_is_named(world: World) -> None:
    world.run(YOUNG, marks(YOUNG, LATER), described=text(YOUNG, LATER))
    there = world.names()
    result = swept(world)
    assert result.gone and result.deleted == [] and world.names() == there
    assert {each["reason"] for each in result.spared} == {f"the lease of its run lasts until {LATER}"}
    assert untouched(result)[0].startswith("left alone: 1 load balancer, 1 target group, 1 security group rule, ")
    result = swept(world, YOUNG)
    assert result.gone and world.names() == {"sg-tasks"}


def test_N1_a_run_that_is_named_takes_no_other_with_it(world: World) -> None:
    world.run(RUN)
    world.run(OTHER)
    result = swept(world, RUN)
    assert result.gone and {each["run_id"] for each in result.deleted} == {RUN}
    assert {each["reason"] for each in result.spared} == {f"its run {OTHER} was not named"}
    assert arn("loadbalancer/app", "papyrus-smoke-zzz777") in world.names()


def test_N1_a_run_that_is_alive_is_never_touched(world: World) -> None:
    world.run(RUN)
    there = world.names()
    for named in ((), (RUN,)):
        result = swept(world, *named, alive={RUN: "process 12"})
        assert world.names() == there and not result.deleted
        assert {each["reason"] for each in result.spared} == {"its run is alive on this machine: process 12"}
        assert result.gone is not bool(named)  # whoever names it asks for its absence
    assert "is left alone" in text_of(result, Order("svc", frozenset({RUN})))


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (marks(RUN, service=""), "it has no mark for service"),
        (marks(RUN, expires=""), "it has no mark for expiry"),
        (marks(RUN, expires="soon"), "'soon' is not an RFC 3339 time"),
        (marks(RUN, expires="2026-01-31T12:00:00Z"), "is none that the run"),
        (marks(RUN, expires="2026-01-30T13:00:00Z"), "is none that the run"),
        (marks("yesterday"), "'yesterday' is not a run id"),
        (marks(OTHER), "does not end with -zzz777: the tags may have been copied"),
    ],
)
def test_N1_marks_that_cannot_be_believed_delete_nothing(world: World, tags: dict[str, str], reason: str) -> None:
    world.balancer("papyrus-smoke-abc234", tags)
    world.target_group("papyrus-smoke-abc234", tags)
    world.group("sg-1", "papyrus-smoke-abc234", tags)
    there = world.names()
    for named in ((), (RUN,), (RUN, OTHER)):
        result = swept(world, *named)
        assert world.names() == there and not result.deleted
    assert [each for each in result.spared if reason in each["reason"]]


def test_N1_the_longest_lease_is_swept_and_one_second_more_is_not_believed(world: World) -> None:
    tomorrow = NOW + dt.timedelta(days=2)
    world.run(RUN, marks(RUN, "2026-02-01T12:00:00Z"), described=text(RUN, "2026-02-01T12:00:00Z"))
    world.run(OTHER, marks(OTHER, "2026-02-01T11:30:01Z"), described=text(OTHER, "2026-02-01T11:30:01Z"))
    result = swept(world, now=tomorrow)
    assert {each["run_id"] for each in result.deleted} == {RUN}
    assert arn("targetgroup", "papyrus-smoke-zzz777") in world.names()


@pytest.mark.parametrize(
    "tags", [{}, marks(RUN, service="other"), marks(RUN, prefix="other"), {"papyrus:service": "svc"}]
)
def test_N1_nothing_of_others_goes(world: World, tags: dict[str, str]) -> None:
    world.run(RUN, tags, described=text(RUN, service="other"))
    world.balancer("papyrus-smoke-production", {"Name": "production"})
    there = world.names()
    assert not swept(world).deleted and not swept(world, RUN).deleted
    assert world.names() == there


def test_N1_leaked_tags_on_a_production_load_balancer_delete_nothing(world: World) -> None:
    world.run(RUN)
    world.group("sg-production", "production", marks(RUN))
    world.balancer("production", marks(RUN), "sg-production")
    world.target_group("production", marks(RUN))
    result = swept(world)
    assert result.gone and deleted(result)
    assert {arn("loadbalancer/app", "production"), arn("targetgroup", "production"), "sg-production"} <= world.names()
    assert not swept(world, RUN).gone  # of a run that is named, everything that smells of it counts


def test_N1_a_load_balancer_with_deletion_protection_keeps_its_listener(world: World) -> None:
    world.group("sg-abc234", "papyrus-smoke-abc234", marks(RUN))
    world.balancer("papyrus-smoke-abc234", marks(RUN), "sg-abc234", protected=True)
    world.target_group("papyrus-smoke-abc234", marks(RUN))
    there = world.names()
    result = swept(world)
    assert world.names() == there and not result.deleted
    assert "it has deletion protection" in [each["reason"] for each in result.spared]
    assert {each["kind"]: each["error"] for each in result.failed}["security_group"] == (
        "it is kept, as load balancer papyrus-smoke-abc234 could not be deleted"
    )
    assert world.now == 0  # nothing was waited for that cannot come


@pytest.mark.parametrize("peer", ["sg-permanent", "10.0.0.0/8"])
def test_N1_a_rule_that_runs_do_not_make_stays(world: World, peer: str) -> None:
    world.group("sg-tasks", "tasks")
    world.group("sg-permanent", "permanent")
    if peer.startswith("sg-"):
        world.rule("sg-tasks", peer, text(RUN))
    else:
        world.cidr("sg-tasks", peer, text(RUN))
    there = world.names()
    assert not swept(world).deleted and not swept(world, RUN).gone
    assert world.names() == there


def test_N1_a_group_that_has_no_tags_yet_is_known_by_its_description(world: World) -> None:
    world.group("sg-1", "papyrus-smoke-abc234", {}, text(RUN))
    assert swept(world).gone and world.names() == set()
    world.group("sg-1", "papyrus-smoke-abc234", {"papyrus:run-id": RUN}, text(RUN))  # tags that say less are not mended
    assert not swept(world).deleted


def test_N1_a_target_group_that_has_no_tags_yet_belongs_to_the_group_of_its_name(world: World) -> None:
    world.group("sg-1", "papyrus-smoke-abc234", marks(RUN))
    world.group("sg-2", "papyrus-smoke-yyy222", marks(YOUNG, LATER))
    for name in ("papyrus-smoke-abc234", "papyrus-smoke-yyy222", "papyrus-smoke-zzz777", "papyrus-smoke-abc234x"):
        world.target_group(name, {"Name": "bare"})
    result = swept(world)
    assert result.gone and {each["name"] for each in result.deleted} == {"papyrus-smoke-abc234"}
    assert {each["name"] for each in world.target_groups.values()} == {
        "papyrus-smoke-yyy222", "papyrus-smoke-zzz777", "papyrus-smoke-abc234x",
    }  # fmt: skip
    assert "it bears our name and none of our tags" in [
        each["reason"] for each in result.spared if each["name"] == "papyrus-smoke-zzz777"
    ]


def test_N1_a_load_balancer_without_tags_is_never_adopted(world: World) -> None:
    world.group("sg-1", "papyrus-smoke-abc234", marks(RUN))
    world.balancer("papyrus-smoke-abc234", {}, "sg-other")
    for named in ((), (RUN,)):
        swept(world, *named)
        assert arn("loadbalancer/app", "papyrus-smoke-abc234") in world.names()


def test_C7_interfaces_that_outlive_their_load_balancer_are_waited_for(world: World) -> None:
    world.run(RUN)
    world.interface_seconds = 1500
    said: list[str] = []
    result = swept(world, timeout=2100, say=said.append)
    assert result.gone and 1500 <= world.now <= 1520
    waits = [line for line in said if line.startswith("waits")]
    assert 5 <= len(waits) <= 12 and "eni-papyrus-smoke-abc234-0" in waits[0] and "papyrus-smoke-abc234" in waits[0]
    assert len(world.aws.sent("elbv2.describe_load_balancers")) <= 8  # waiting lists little anew


def test_C7_what_aws_still_holds_when_the_time_is_over_is_told_with_its_holder(world: World) -> None:
    world.run(RUN)
    world.interface_seconds = 1500
    result = swept(world, timeout=60)
    assert not result.gone and held_only(result) and world.now == 60
    assert {each["kind"] for each in result.failed} == {"security_group", "network_interface"}
    group = next(each for each in result.failed if each["kind"] == "security_group")
    assert "eni-papyrus-smoke-abc234-0" in group["error"]
    assert [each["kind"] for each in unswept(result)] == [each["kind"] for each in result.failed]
    world.now = 2000
    assert swept(world).gone


def test_C7_a_group_that_another_rule_names_is_not_gone(world: World) -> None:
    world.run(RUN)
    world.group("sg-mine", "somebody")
    world.rule("sg-mine", "sg-abc234", "added by hand")
    result = swept(world, timeout=30)
    assert not result.gone and [each["id"] for each in result.failed] == ["sg-abc234"]
    assert "Another group's rule may name it" in result.failed[0]["hint"]
    assert "added by hand" in " ".join(world.names())


@pytest.mark.parametrize("operation", DELETES)
def test_N1_a_refused_delete_stops_nothing_else(world: World, operation: str) -> None:
    world.run(RUN)
    world.run(OTHER)
    together = operation == "ec2.revoke_security_group_ingress"  # refused for both rules, then for the first alone
    world.refuse[operation] = [Refusal("AccessDenied", "no")] * (2 if together else 1)
    result = swept(world, timeout=30)
    assert not result.gone and len({each["run_id"] for each in result.failed}) == 1
    assert any("AccessDenied" in each["error"] for each in result.failed)
    assert not held_only(result)
    [stuck] = {each["run_id"] for each in result.failed}
    assert not [name for name in world.names() if ({RUN, OTHER} - {stuck}).pop()[-6:] in name]
    assert swept(world).gone  # the next one does the rest


@pytest.mark.parametrize("operation", DELETES)
def test_N1_a_throttled_delete_is_tried_again(world: World, operation: str) -> None:
    world.run(RUN)
    world.refuse[operation] = [Refusal("Throttling", "Rate exceeded")] * 2
    result = swept(world)
    assert result.gone and result.failed == [] and world.names() == {"sg-tasks"}
    assert 0 < world.now < 900


@pytest.mark.parametrize(
    ("operation", "empty"),
    [*((each, False) for each in LOOKS), *((each, True) for each in (LOOKS[0], LOOKS[1], LOOKS[3]))],
)
def test_C7_a_look_that_is_not_answered_is_never_gone(world: World, operation: str, empty: bool) -> None:
    if not empty:
        world.run(RUN)
    world.refuse[operation] = [Refusal("AccessDenied", "no") for _number in range(99)]
    result = swept(world, timeout=120)
    assert not result.gone and not held_only(result) and world.now < 120
    assert "not known" in text_of(result, Order("svc"))
    assert evidence(result, Order("svc"), step="C7", hand=[], tolerate_held=True)[-1]["status"] == "ng"


@pytest.mark.parametrize("operation", LOOKS)
def test_C7_a_look_that_fails_once_is_asked_again(world: World, operation: str) -> None:
    world.run(RUN)
    world.refuse[operation] = [Refusal("InternalError", "sorry")]
    result = swept(world)
    assert result.gone and world.names() == {"sg-tasks"}


@pytest.mark.parametrize(
    "operation", [*LOOKS, *DELETES, "elbv2.describe_listeners", "elbv2.describe_load_balancer_attributes"]
)
def test_N1_another_sweeper_between_any_two_calls_does_no_harm(world: World, operation: str) -> None:
    world.run(RUN)
    world.run(OTHER)
    results: list[Swept] = []
    world.before[operation] = lambda: results.append(swept(world))
    mine = swept(world)
    [theirs] = results
    assert mine.gone and theirs.gone and not mine.failed and not theirs.failed
    assert world.names() == {"sg-tasks"}
    both = [each["id"] for result in (mine, theirs) for each in result.deleted if each["how"] == "deleted"]
    assert {arn("targetgroup", "papyrus-smoke-abc234"), "sg-abc234", "sg-zzz777"} <= set(both)


def test_N1_what_appears_while_it_is_swept_goes_as_well(world: World) -> None:
    world.group("sg-abc234", "papyrus-smoke-abc234", marks(RUN), text(RUN))
    world.before["ec2.delete_security_group"] = lambda: world.balancer("papyrus-smoke-abc234", marks(RUN), "sg-abc234")
    assert swept(world).gone and world.names() == set()
    assert world.now < 60  # whose interfaces nobody knows is looked for at once


def test_N1_half_of_a_run_is_swept_like_a_whole_one(world: World) -> None:
    parts = ("group", "rule", "balancer", "target_group")
    for missing in range(1, 2 ** len(parts)):
        world.reset()
        world.run(RUN)
        for number, part in enumerate(parts):
            if missing & 1 << number and part == "balancer":
                world.balancers.clear()
                world.interfaces.clear()
            elif missing & 1 << number and part == "target_group":
                world.target_groups.clear()
            elif missing & 1 << number and part == "rule":
                world.groups["sg-tasks"]["IpPermissions"].clear()
        assert swept(world).gone and world.names() == {"sg-tasks"}, missing


def test_N1_a_dry_sweep_says_what_it_would_do_and_does_nothing(world: World) -> None:
    world.run(RUN)
    there = world.names()
    result = swept(world, dry=True)
    assert world.names() == there and not result.gone
    assert deleted(result) == deleted(swept(world))


def test_N1_aws_clock_decides_what_is_expired(world: World) -> None:
    world.run(RUN)
    world.aws.date = "Sat, 31 Jan 2026 12:59:59 GMT"
    assert not swept(world, now=None).deleted
    world.aws.date = "Sat, 31 Jan 2026 13:00:00 GMT"
    assert swept(world, now=None).gone and world.names() == {"sg-tasks"}


def test_N1_calls_are_counted_and_grow_by_pages(world: World) -> None:
    for number in range(50):
        suffix = f"{'abcdefghij'[number // 10]}{'abcdefghij'[number % 10]}aaaa"
        world.run(f"20260131T120000Z-{suffix}")
    looked = swept(world, dry=True)
    assert sum(looked.calls.values()) == 1 + 3 + 1 + 3 + 1 + 2 and looked.calls["DescribeTags"] == 6
    result = swept(world)
    assert result.gone
    assert sum(result.calls.values()) == len(world.aws.names) - sum(looked.calls.values())


def test_N1_rules_that_aws_refuses_together_go_one_by_one(world: World) -> None:
    for run in (RUN, OTHER):
        world.run(run)
    world.before["ec2.revoke_security_group_ingress"] = lambda: world.groups["sg-tasks"]["IpPermissions"].pop(0)
    result = swept(world)
    assert result.gone and not result.failed and world.names() == {"sg-tasks"}
    assert result.calls["RevokeSecurityGroupIngress"] == 3
    how = {each["run_id"]: each["how"] for each in result.deleted if each["kind"] == "security_group_rule"}
    assert how == {RUN: "was gone already", OTHER: "deleted"}
    assert [line for line in result.log if "of 2 at once, now one by one" in line]


def test_C7_the_evidence_tells_what_was_found_done_and_proved(world: World) -> None:
    world.run(RUN)
    world.run(YOUNG, marks(YOUNG, LATER), described=text(YOUNG, LATER))
    result, order = swept(world), Order("svc")
    leftover, log, gone = evidence(result, order, step="C7", hand=[])
    assert [each["name"] for each in (leftover, log, gone)] == [
        "alb_sg_leftover.json", "alb_sg_delete.log", "alb_sg_verify_gone.json",
    ]  # fmt: skip
    listed = {(each["run_id"], each["swept"], each["age"]) for each in leftover["content"]["leftovers"]}
    assert {swept_ for run, swept_, _age in listed if run == RUN} == {True}
    assert {swept_ for run, swept_, _age in listed if run == YOUNG} == {False}
    assert "DeleteLoadBalancer papyrus-smoke-abc234" in log["content"] and "yyy222" not in log["content"]
    assert gone["status"] == "ok" and gone["content"]["gone"] is True and gone["content"]["resources"] == []
    assert gone["content"]["described"] and {each["run_id"] for each in gone["content"]["spared"]} == {YOUNG}
    [one] = evidence(result, order, step="B9", hand=[])
    assert (one["name"], one["step"], one["status"]) == ("leftovers_swept.json", "B9", "ok")


def test_N1_the_list_says_how_old_and_why(world: World) -> None:
    world.run(RUN)
    found = swept(world, dry=True).before
    listed = told(found, Order("svc"), NOW)
    assert {(each["age"], each["reason"]) for each in listed} == {
        (5400, "the lease of its run ended at 2026-01-31T13:00:00Z")
    }


@pytest.mark.parametrize(("service", "runs"), [("", []), ("  ", []), ("svc", ["x"])])
def test_N1_a_sweep_without_a_service_or_of_no_run_is_refused(service: str, runs: list[str]) -> None:
    with pytest.raises(ValueError):
        Order(service, frozenset(runs))
