"""What runs have left goes by its marks alone, without state or runner: by the playbook, before a run (N1, C7, B9)."""

from __future__ import annotations

import datetime as dt
import json
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


@pytest.fixture
def late_interfaces() -> Iterator[float]:
    """A deleted load balancer's interfaces stay, as on AWS."""
    harness.control("PUT", "switches", {**harness.control("GET", "switches"), "alb_interface_seconds": 12})
    yield 12
    harness.control("PUT", "switches", {**harness.control("GET", "switches"), "alb_interface_seconds": 0})


def added(before: dict[str, set[str]]) -> dict[str, set[str]]:
    """What is there beside what was there before."""
    return {kind: there - before[kind] for kind, there in leftovers.everything().items() if there - before[kind]}


def of(left: leftovers.Left) -> set[str]:
    """Ids of what one run has left."""
    return {left.balancer, left.target_group, left.group} - {""}


def delete(left: leftovers.Left, place: leftovers.Place) -> None:
    """By hand, what a test has made and a sweep has to leave alone."""
    ec2, elb = harness.client("ec2"), harness.client("elbv2")
    if left.balancer:
        elb.delete_load_balancer(LoadBalancerArn=left.balancer)
    elb.delete_target_group(TargetGroupArn=left.target_group)
    pair = {"GroupId": left.group, "Description": left.description}
    permission = {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "UserIdGroupPairs": [pair]}
    ec2.revoke_security_group_ingress(GroupId=place.tasks_group, IpPermissions=[permission])
    ec2.delete_security_group(GroupId=left.group)


def test_N1_the_playbook_sweeps_what_is_expired_and_nothing_else(
    tmp_path: Path, place: leftovers.Place, late_interfaces: float
) -> None:
    service = unique("sweep")
    before = leftovers.everything()
    expired = leftovers.leave(leftovers.run(service), place)
    young = leftovers.leave(leftovers.run(service, began=-5 * MINUTES), place, balancer=False)
    other = leftovers.leave(leftovers.run(f"{service}-2"), place, balancer=False)
    name = leftovers.run(service).name
    bare = harness.client("elbv2").create_load_balancer(Name=name, Scheme="internal", Subnets=place.subnets)
    tagless = bare["LoadBalancers"][0]["LoadBalancerArn"]
    variables = {"papyrus_service": service, "papyrus_sweep_interval": 2, "papyrus_sweep_timeout": 120}
    sweep = harness.RunningSmoke(tmp_path, variables, playbook="playbooks/sweep.yml").end()
    assert sweep.exit_code == 0, sweep.output[-4000:]
    there = {ident for ids in added(before).values() for ident in ids}
    assert of(young) | of(other) | {tagless} <= there and not of(expired) & there
    lines = {line["name"]: line for line in sweep.lines}
    names = ("alb_sg_leftover.json", "alb_sg_delete.log", "alb_sg_verify_gone.json")
    assert [(lines[name]["status"], lines[name]["step"]) for name in names] == [
        ("info", "C7"), ("info", "C7"), ("ok", "C7"),
    ]  # fmt: skip
    deleted, gone = sweep.item("alb_sg_delete.log"), json.loads(sweep.item("alb_sg_verify_gone.json"))
    assert [line.split()[1] for line in deleted.splitlines()] == [
        "DeleteListener", "DeleteLoadBalancer", "DeleteTargetGroup", "RevokeSecurityGroupIngress",
        "DeleteSecurityGroup",
    ]  # fmt: skip
    assert {each["run_id"] for each in gone["deleted"]} == {expired.run_id}
    assert young.run_id in {each["run_id"] for each in gone["spared"]} and gone["seconds"] >= late_interfaces
    assert gone["calls"]["DescribeLoadBalancers"] == 2 and gone["calls"]["DeleteLoadBalancer"] == 1
    assert tagless in {each["id"] for each in gone["spared"]}
    assert "waits until AWS takes 2 network interfaces" in sweep.output and young.run_id in sweep.output
    assert sweep.verdict["result"] in ("PASSED", "WARNED") and sweep.statement and sweep.closed
    for left in (young, other):
        delete(left, place)
    harness.client("elbv2").delete_load_balancer(LoadBalancerArn=tagless)


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
    delete(young, place)
