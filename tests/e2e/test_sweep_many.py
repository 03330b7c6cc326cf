"""A thousand leftovers in calls that grow by pages, and several sweepers over the same ones (N1)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import harness, leftovers, sweeper
from .services import unique

RUNS = 200  # five things each: load balancer, target group, group, rule, listener, and two interfaces


@pytest.fixture
def place() -> Iterator[leftovers.Place]:
    """A VPC of its own; that it can be removed shows that nothing is left in it."""
    made = leftovers.Place.make()
    yield made
    made.remove()


@pytest.fixture
def late_interfaces() -> Iterator[int]:
    """A deleted load balancer's interfaces stay, as on AWS."""
    harness.control("PUT", "switches", {**harness.control("GET", "switches"), "alb_interface_seconds": 15})
    yield 15
    harness.control("PUT", "switches", {**harness.control("GET", "switches"), "alb_interface_seconds": 0})


@pytest.mark.soak
def test_N1_a_thousand_leftovers_cost_calls_by_pages(place: leftovers.Place, late_interfaces: int) -> None:
    for _number in range(RUNS // 50):
        place.another_group()
    service, before = unique("many"), leftovers.everything()
    for number in range(RUNS):
        if number and number % 50 == 0:
            place.groups.insert(0, place.groups.pop())
        leftovers.leave(leftovers.run(service), place)
    balancers, target_groups = (len(leftovers.everything()[kind]) for kind in ("LoadBalancers", "TargetGroups"))
    pages = 2 * (balancers // 400 + 1) + (balancers // 20 + 1) + (target_groups // 20 + 1) + 4 * (RUNS // 200 + 1) + 4
    found = sweeper.end(sweeper.start(service, dry=True))
    print(f"{found['found']} found in {sum(found['calls'].values())} calls: {found['calls']}")
    assert found["found"] >= 5 * RUNS and sum(found["calls"].values()) <= pages
    done = sweeper.end(sweeper.start(service))
    print(f"{len(done['deleted'])} deleted in {done['seconds']} s: {done['calls']}")
    assert done["gone"] and not done["failed"] and leftovers.everything() == before
    assert done["seconds"] >= late_interfaces
    by_item = {operation for operation, count in done["calls"].items() if count >= RUNS}
    assert by_item == {
        "DescribeLoadBalancerAttributes", "DescribeListeners", "DeleteListener", "DeleteLoadBalancer",
        "DeleteTargetGroup", "DeleteSecurityGroup",
    }  # fmt: skip
    assert sum(done["calls"].values()) <= len(by_item) * RUNS + 3 * pages


@pytest.mark.soak
def test_N1_sweepers_at_once_delete_everything_once(place: leftovers.Place) -> None:
    service, before = unique("race"), leftovers.everything()
    for _number in range(12):
        leftovers.leave(leftovers.run(service), place)
    under_way = [sweeper.start(service) for _number in range(4)]
    results = [sweeper.end(each) for each in under_way]
    assert [(each["gone"], each["failed"]) for each in results] == [(True, [])] * 4
    assert leftovers.everything() == before
    taken = {ident for each in results for kind, ident, _how in each["deleted"] if kind == "security_group"}
    assert len(taken) == 12
