"""What runs have left goes by its marks alone, without state or runner: before a run (B9). Playbook: tests/molecule."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import harness, leftovers
from .services import unique

MINUTES = dt.timedelta(minutes=1)


@pytest.fixture
def place() -> Iterator[leftovers.Place]:
    """A VPC of its own; that it can be removed shows that nothing is left in it."""
    made = leftovers.Place.make()
    yield made
    made.remove()


def added(before: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is there beside what was there before."""
    return {kind: there - before[kind] for kind, there in leftovers.everything().items() if there - before[kind]}


def of(left: leftovers.Left) -> set[str]:
    """Ids of what one run has left."""
    return {left.balancer, left.target_group, left.group} - {""}


def test_B9_what_is_expired_goes_before_the_next_run_of_the_service(tmp_path: Path, place: leftovers.Place) -> None:
    service = unique("b9")
    before = leftovers.everything()
    expired = leftovers.leave(leftovers.run(service), place)
    young = leftovers.leave(leftovers.run(service, began=-5 * MINUTES), place, balancer=False)
    here = {
        "papyrus_vpc_id": place.vpc,
        "papyrus_alb_subnet_ids": place.subnets,
        "papyrus_tasks_sg_id": place.tasks_group,
    }
    # There is no such service: other rows are NG, and the run creates nothing.
    smoke = harness.run_smoke(tmp_path, {"papyrus_service": service, **here})
    there = {ident for ids in added(before).values() for ident in ids}
    assert smoke.rows["B9"]["status"] == "ok" and len(smoke.rows["B9"]["data"]["expired"]) == 6
    [line] = [line for line in smoke.lines if line["name"] == "leftovers_swept.json"]
    assert (line["step"], line["status"]) == ("B9", "ok")
    assert of(young) <= there and not of(expired) & there
    assert smoke.verdict["gone"] == "not needed"
    leftovers.delete(young, place)
