# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Preflight rows about the place of the temporary ALB: its subnets, and leftovers in its way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import _leftovers, _network
from ._names import utc_now
from ._preflight import Ask, Check, Finding, ng, ok
from ._preflight_ecs import some_tasks
from ._preflight_runner import planned_name
from ._rows import listing
from ._sweep_choice import Order, choose

INTERNET_FACING = "internet-facing"


def subnets(ask: Ask) -> Finding:
    """B8."""
    settings = ask.settings
    wanted = settings.alb_subnet_ids
    if not wanted:
        return ng("no subnets are given for the ALB (papyrus_alb_subnet_ids)")
    found = [
        subnet
        for page in ask.calls.pages(
            "ec2",
            "describe_subnets",
            listing(wanted),
            token="NextToken",
            Filters=[{"Name": "subnet-id", "Values": list(wanted)}],  # by filter: a missing one is then named by us
        )
        for subnet in page.get("Subnets", [])
    ]
    facing = settings.alb_scheme == INTERNET_FACING
    tables = _route_tables(ask, sorted({str(subnet["VpcId"]) for subnet in found})) if facing and found else []
    vpc = settings.vpc_id or next((str(task["vpc"]) for task in some_tasks(ask) if task["vpc"]), "")
    problems = _network.subnet_problems(wanted, found, tables, vpc, facing)
    data = {
        "vpc": vpc,
        "scheme": settings.alb_scheme,
        "subnets": [
            {
                "id": subnet["SubnetId"],
                "zone": subnet.get("AvailabilityZone"),
                "vpc": subnet.get("VpcId"),
                "cidr": subnet.get("CidrBlock"),
                "free_addresses": subnet.get("AvailableIpAddressCount"),
                "internet_gateway": _network.internet_gateway(_network.route_table_of(subnet, tables)),
            }
            for subnet in found
        ],
    }
    if problems:
        return ng("; ".join(problems), **data)
    zones = sorted({str(subnet.get("AvailabilityZone")) for subnet in found})
    return ok(f"{settings.alb_scheme} in {listing(zones)} of {vpc}", **data)


def _route_tables(ask: Ask, vpcs: Sequence[str]) -> list[Mapping[str, Any]]:
    return [
        table
        for page in ask.calls.pages(
            "ec2",
            "describe_route_tables",
            f"route tables of {listing(vpcs)}",
            token="NextToken",
            Filters=[{"Name": "vpc-id", "Values": list(vpcs)}],
        )
        for table in page.get("RouteTables", [])
    ]


def leftovers(ask: Ask) -> Finding:
    """B9."""
    settings = ask.settings
    prefix = settings.name_prefix or f"{settings.tag_prefix}-smoke"
    names = (planned_name(settings.name_prefix, settings.run_id, settings.tag_prefix),) if settings.run_id else ()
    scope = _leftovers.Scope(
        tag_prefix=settings.tag_prefix,
        service=settings.service,
        names=names,
        name_prefix=prefix,
    )
    found = _leftovers.find(ask.facts.clients, scope)
    ask.calls.request_ids += found.request_ids()
    return judge_leftovers(found, settings.run_id, names, Order(settings.service), settings.vpc_id)


def judge_leftovers(
    found: _leftovers.Found, run_id: str, names: Sequence[str], order: Order, vpc_id: str = ""
) -> Finding:
    """NG when a name of this run is taken by anybody else, or when a Describe call failed; pure.

    `expired` in the data is what a sweep deletes before the run goes on, `alive` what it leaves alone.
    The name of a security group is only taken in its own VPC, those of load balancers and target groups in the region.
    """
    own = [item for item in found.resources if item["run_id"] != run_id]
    chosen, _spared = choose(found, order, found.asked_at or utc_now())
    expired = [item for item in chosen if item["run_id"] != run_id]
    going = {(item["kind"], item["id"]) for item in expired}
    alive = [item for item in own if (item["kind"], item["id"]) not in going]
    colliding = [item for item in found.foreign if item.get("collides")]
    colliding += [item for item in own if item["kind"] != "network_interface" and item["name"] in names]
    colliding = [
        item
        for item in colliding
        if item["kind"] != "security_group" or not vpc_id or item["detail"].get("vpc_id") in {"", vpc_id}
    ]
    data = {"expired": expired, "alive": alive, "foreign": found.foreign}
    if found.failures:
        texts = listing((failure["text"] for failure in found.failures), 2)
        return ng(f"leftovers cannot be looked for: {texts}", **data)
    if colliding:
        return ng(
            "the name of this run is taken by "
            + listing(f"{item['kind'].replace('_', ' ')} {item['name']} ({item['id']})" for item in colliding)
            + ", which is not this run's: look whose it is, then delete or rename it",
            **data,
        )
    parts = []
    if expired:
        parts.append(f"{len(expired)} expired of earlier runs, to be swept: {listing((i['id'] for i in expired), 3)}")
    if alive:
        parts.append(f"{len(alive)} of runs whose lease is not over, or not to be believed")
    if found.foreign:
        parts.append(f"{len(found.foreign)} of like names without our tags, not in the way")
    return ok("; ".join(parts) or "none", **data)


CHECKS = (
    Check("B8", "Subnets suit the ALB", subnets),
    Check("B9", "No leftover is in the way", leftovers),
)
