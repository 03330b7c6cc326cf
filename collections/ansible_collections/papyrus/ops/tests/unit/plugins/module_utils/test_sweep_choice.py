# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever lies in an account and is asked for: only what bears believable marks of the right runs goes (N1)."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers import KINDS, Found, Scope
from ansible_collections.papyrus.ops.plugins.module_utils._names import rule_description
from ansible_collections.papyrus.ops.plugins.module_utils._sweep import sweep
from ansible_collections.papyrus.ops.plugins.module_utils._sweep_choice import Order, choose
from ansible_collections.papyrus.ops.tests.unit.examples import examples
from ansible_collections.papyrus.ops.tests.unit.sweep_world import World, marks, text
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

NOW = dt.datetime(2026, 1, 31, 13, 30, tzinfo=dt.UTC)
RUNS = ("20260131T120000Z-abc234", "20260131T113000Z-zzz777", "20260131T132500Z-yyy222", "20260129T132500Z-old222")
EXPIRIES = (
    *("2026-01-31T13:00:00Z", "2026-01-31T13:29:59Z", "2026-01-31T13:30:01Z", "2026-01-31T14:25:00Z"),
    *("2026-02-01T12:00:01Z", "2026-01-29T14:00:00Z", "2026-01-31T12:00:00Z", "2026-01-31T22:00:00+09:00"),
    *("2026-01-31T13:00:00", "soon", ""),
)
SERVICES = ("svc", "svc2", "SVC", "sv", " svc", "")
NAMES = (
    *("papyrus-smoke-abc234", "papyrus-smoke-zzz777", "papyrus-smoke-yyy222", "papyrus-drill-task-abc234", "x-old222"),
    *("production", "abc234", "papyrus-smoke-abc234-production", "papyrus-smoke-ABC234", "", "svc-drill-abc234"),
)
RUN_IDS = (*RUNS, "", "x", "20260131T120000Z-abc2345", "20261331T120000Z-abc234")


@st.composite
def resources(draw: Any) -> dict[str, Any]:
    """Half of them are believable but for one thing, as the rules are each only seen where all others let it go."""
    kind = draw(st.sampled_from([*KINDS, "security_group_rule", "load_balancer"]))
    near = draw(st.booleans())
    one = draw(st.sampled_from(["run_id", "expires_at", "service", "name", "direction", "peer", "peer_run_id", ""]))
    run = draw(st.sampled_from(RUNS[:2]))
    good = {
        **{"run_id": run, "expires_at": EXPIRIES[0], "service": "svc", "name": f"papyrus-smoke-{run[-6:]}"},
        **{"direction": "ingress", "peer": "sg-1", "peer_run_id": run},
    }

    def value(field: str, *others: Any) -> Any:
        return good[field] if near and field != one else draw(st.sampled_from(others))

    name = value("name", *NAMES)
    detail = {
        "direction": value("direction", "ingress", "egress"),
        "peer": value("peer", "sg-1", "10.0.0.0/8", "pl-1", ""),
        "peer_run_id": value("peer_run_id", None, "", *RUNS),
    }
    return {
        "kind": kind,
        "id": draw(st.uuids()).hex,
        "name": f"{name}:80" if kind == "listener" else name,
        "run_id": value("run_id", *RUN_IDS),
        "expires_at": value("expires_at", *EXPIRIES),
        "expired": draw(st.sampled_from([True, False, None])),
        "service": value("service", *SERVICES),
        "detail": detail if kind == "security_group_rule" else {},
    }


@st.composite
def orders(draw: Any) -> Order:
    alive = draw(st.sets(st.sampled_from(RUNS)))
    return Order(
        draw(st.sampled_from(["svc", "svc2", "SVC"])),
        frozenset(draw(st.sets(st.sampled_from(RUNS)))),
        dict.fromkeys(alive, "process 1"),
    )


def parsed(moment: str) -> dt.datetime | None:
    """Written anew, so that a fault in the product's parser cannot hide itself."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", moment):
        return None
    return dt.datetime.fromisoformat(moment)


def may_go(resource: dict[str, Any], order: Order) -> bool:
    """The rules of docs/sweep.md, each by itself."""
    run, end = resource["run_id"], parsed(resource["expires_at"])
    if run not in RUNS or end is None or resource["service"] != order.service or run in order.alive:
        return False
    start = dt.datetime.strptime(run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
    if end <= start or end - start > dt.timedelta(days=1):
        return False
    if (run not in order.run_ids) if order.run_ids else (end > NOW):
        return False
    name, kind, detail = resource["name"].removesuffix(":80"), resource["kind"], resource["detail"]
    if kind == "security_group_rule":
        of_run = detail["peer_run_id"] is None or detail["peer_run_id"] == run
        return bool(detail["direction"] == "ingress" and detail["peer"].startswith("sg-") and of_run)
    return kind == "network_interface" or name.endswith(run[-7:])


@settings(max_examples=examples(400), deadline=None)
@given(st.lists(resources(), max_size=30), orders())
def test_N1_whatever_is_found_only_what_may_go_is_chosen(found: list[dict[str, Any]], order: Order) -> None:
    foreign = [{"kind": "load_balancer", "id": "f", "name": "papyrus-smoke-qqq222", "collides": True, "detail": {}}]
    chosen, spared = choose(Found(resources=found, foreign=foreign), order, NOW)
    assert chosen == [each for each in found if may_go(each, order)]
    assert len(chosen) + len(spared) == len(found) + 1
    assert all(each["reason"].strip() for each in spared)
    assert {each["id"] for each in chosen}.isdisjoint(each["id"] for each in spared)


OTHERS = {
    "name": NAMES,
    "run_id": RUN_IDS,
    "expires_at": EXPIRIES,
    "service": SERVICES,
    "direction": ("egress", ""),
    "peer": ("10.0.0.0/8", "pl-1", ""),
    "peer_run_id": (None, "", *RUNS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_N1_each_mark_decides_alone(kind: str) -> None:
    detail = {"direction": "ingress", "peer": "sg-1", "peer_run_id": RUNS[0]}
    whole = {"kind": kind, "id": "a", "name": NAMES[0], "run_id": RUNS[0], "expires_at": EXPIRIES[0], "service": "svc"}
    orders = [Order("svc"), Order("svc", frozenset(RUNS[:1])), Order("svc", frozenset(RUNS[1:2]))]
    orders += [Order("svc", order.run_ids, {RUNS[0]: "process 1"}) for order in orders]
    near = [{**whole, "detail": detail}]
    for field, others in OTHERS.items():
        if field in detail:
            near += [{**whole, "detail": {**detail, field: other}} for other in others]
        else:
            near += [{**whole, field: other, "detail": detail} for other in others]
    if kind == "listener":
        near = [{**each, "name": f"{each['name']}:80"} for each in near]
    assert may_go(near[0], orders[0])
    for order in orders:
        for each in near:
            chosen, dummy = choose(Found(resources=[each]), order, NOW)
            assert bool(chosen) is may_go(each, order), (each, order)


THINGS = st.tuples(
    st.sampled_from(["balancer", "target_group", "group", "rule"]),
    st.sampled_from(RUNS[:3]),
    st.sampled_from(
        ["whole", "young", "other service", "other prefix", "no service", "no tags", "leaked", "permanent"]
    ),
)
WORLD = World()


def put(kind: str, run_id: str, how: str, number: int) -> None:
    """One thing of an account; its own name says by whose marks it may go."""
    expires = {"young": "2026-01-31T13:30:01Z"}.get(how, "2026-01-31T13:30:00Z")
    service = {"other service": "svc2", "no service": ""}.get(how, "svc")
    tags = marks(run_id, expires, service, "other" if how == "other prefix" else "papyrus")
    tags = {} if how in ("no tags", "permanent") else tags
    name = f"production{number}" if how in ("leaked", "permanent") else f"p{number}-{run_id[-6:]}"
    match kind:
        case "balancer":
            WORLD.balancer(name, tags, forwards="nothing")
        case "target_group":
            WORLD.target_group(name, tags)
        case "group":
            WORLD.group(f"sg-{number}", name, tags)
        case "rule":
            said = text(run_id, expires, service or "svc2", "other" if how == "other prefix" else "papyrus")
            said = {"no tags": "", "permanent": "permanent", "leaked": f"copied: {said}"}.get(how, said)
            WORLD.rule("sg-tasks", f"sg-peer{number}", said)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(THINGS, max_size=12), st.sets(st.sampled_from(RUNS[:3])), st.sampled_from(["", RUNS[0]]))
@example([("balancer", RUNS[0], "no tags"), ("balancer", RUNS[0], "whole")], set(), "")
def test_N1_whatever_lies_in_an_account_the_rest_of_it_survives_every_sweep(
    things: list[tuple[str, str, str]], named: set[str], alive: str
) -> None:
    WORLD.reset()
    WORLD.group("sg-tasks", "tasks")
    kept, gone = {"sg-tasks"}, set()
    for number, (kind, run_id, how) in enumerate(things):
        before = WORLD.names()
        put(kind, run_id, how, number)
        ours = (how == "whole" or (how == "young" and bool(named))) and run_id != alive
        goes = ours and (run_id in named if named else how == "whole")
        (gone if goes else kept).update(WORLD.names() - before)
    order = Order("svc", frozenset(named), {alive: "process 1"} if alive else {})
    result = sweep(
        WORLD.aws, Scope("papyrus", "svc", name_prefix="p"), order,
        timeout=60, interval=10, clock=WORLD.clock, sleep=WORLD.sleep, now=NOW,
    )  # fmt: skip
    assert WORLD.names() == kept
    assert not result.failed
    assert bool(gone) == bool(result.deleted)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_N1_no_service_makes_a_description_that_reads_as_another(service: str) -> None:
    try:
        said = rule_description("papyrus", RUNS[0], EXPIRIES[0], service)
    except ValueError:
        return
    WORLD.reset()
    WORLD.group("sg-tasks", "tasks")
    WORLD.rule("sg-tasks", "sg-1", said)
    sweep(WORLD.aws, Scope("papyrus", "svc"), Order("svc"), timeout=0, interval=1, now=NOW)
    assert bool(WORLD.groups["sg-tasks"]["IpPermissions"]) is (service != "svc")
