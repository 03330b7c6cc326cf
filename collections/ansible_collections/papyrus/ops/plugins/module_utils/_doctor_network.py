# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Doctor's rows about the network: how the tasks get out, what their security group has, names inside the VPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _network, _preflight_ecs
from ._doctor_service import secrets_in_use
from ._doctor_settings import mend, only_warns, told, warn
from ._doctor_values import container, if_known, values
from ._preflight import Ask, Check, Finding, ok
from ._rows import listing

EVERYWHERE = "0.0.0.0/0"
TARGETS = ("NatGatewayId", "TransitGatewayId", "NetworkInterfaceId", "VpcPeeringConnectionId", "GatewayId")
"""Members of a route that name where it leads."""


@dataclass(frozen=True)
class Exit:
    """How a subnet's tasks reach AWS' endpoints: `open` True, False, or None where it cannot be seen from here."""

    open: bool | None
    how: str


def _of_vpc(ask: Ask, operation: str, key: str, vpc: str) -> list[dict[str, Any]]:
    filters: Any = [{"Name": "vpc-id", "Values": [vpc]}]
    given = {"Filter" if operation == "describe_nat_gateways" else "Filters": filters}
    return [
        one
        for page in ask.calls.pages("ec2", operation, f"VPC {vpc}", token="NextToken", **given)
        for one in page.get(key, [])
    ]


def task_subnets(ask: Ask) -> tuple[list[str], bool]:
    """Subnets that the service gives its tasks, and whether they get a public address."""
    network = (_preflight_ecs.service(ask).get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    return [str(one) for one in network.get("subnets", [])], network.get("assignPublicIp") == "ENABLED"


def egress(ask: Ask) -> Finding:
    """Without a way to ssmmessages there is no Exec, without one to ECR, Logs and Secrets Manager no task."""
    ids, public = task_subnets(ask)
    if not ids:
        return warn("the service names no subnets: its tasks are not in network mode awsvpc", "see row platform")
    found = [
        one
        for page in ask.calls.pages(
            "ec2",
            "describe_subnets",
            listing(ids),
            token="NextToken",
            Filters=[{"Name": "subnet-id", "Values": ids}],
        )
        for one in page.get("Subnets", [])
    ]
    if missing := sorted(set(ids) - {str(one["SubnetId"]) for one in found}):
        return mend(f"no such subnet: {listing(missing)}", "give the service subnets that exist")
    vpc = str(found[0]["VpcId"])
    tables = _of_vpc(ask, "describe_route_tables", "RouteTables", vpc)
    gateways = {
        str(one["NatGatewayId"]): str(one.get("State"))
        for one in _of_vpc(ask, "describe_nat_gateways", "NatGateways", vpc)
    }
    endpoints = _of_vpc(ask, "describe_vpc_endpoints", "VpcEndpoints", vpc)
    nothing: dict[str, Any] = {}
    needed = needed_endpoints(if_known(ask, container, nothing), ask.settings.exec_required)
    return judge_egress(found, tables, gateways, endpoints, public, needed, ask.settings.region)


def needed_endpoints(app: Mapping[str, Any], exec_required: bool) -> list[str]:
    """Services that a task of Fargate asks, by the ends of their endpoints' names.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/vpc-endpoints.html
    """
    needed = ["ecr.api", "ecr.dkr", "s3"]
    if (app.get("logConfiguration") or {}).get("logDriver", "awslogs") == "awslogs":
        needed.append("logs")
    if exec_required:
        needed.append("ssmmessages")
    if secrets_in_use(app) or not app:
        needed.append("secretsmanager")
    return needed


def exit_of(table: Mapping[str, Any] | None, gateways: Mapping[str, str], public: bool) -> Exit:
    """Where the default route of a subnet leads; pure."""
    for route in (table or {}).get("Routes", []):
        if route.get("DestinationCidrBlock") != EVERYWHERE:
            continue
        target = next(
            (
                str(route[key])
                for key in (
                    "NatGatewayId",
                    "TransitGatewayId",
                    "NetworkInterfaceId",
                    "VpcPeeringConnectionId",
                    "GatewayId",
                )
                if route.get(key)
            ),
            "",
        )
        if route.get("State", "active") != "active":
            return Exit(False, f"{target or 'its default route'} is a blackhole")
        if target.startswith("igw-"):
            how = f"{target} with a public address" if public else f"{target}, but its tasks get no public address"
            return Exit(public, how)
        if target.startswith("nat-"):
            state = gateways.get(target, "unknown")
            return Exit(state == "available", f"{target} ({state})")
        return Exit(None, f"{target or 'a target'}, behind which nothing is seen from here")
    return Exit(False, "no default route")


def judge_egress(
    subnets: Sequence[Mapping[str, Any]],
    tables: Sequence[Mapping[str, Any]],
    gateways: Mapping[str, str],
    endpoints: Sequence[Mapping[str, Any]],
    public: bool,
    needed: Sequence[str],
    region: str,
) -> Finding:
    """Each subnet of the tasks needs a way out, or endpoints for all that a task asks; pure."""
    closed: list[str] = []
    unseen: list[str] = []
    how: list[str] = []
    lacking: set[str] = set()
    for subnet in subnets:
        table = _network.route_table_of(subnet, tables)
        way = exit_of(table, gateways, public)
        name = str(subnet["SubnetId"])
        how.append(f"{name}: {way.how}")
        if way.open:
            continue
        without = [
            one for one in needed if not has_endpoint(one, endpoints, str((table or {}).get("RouteTableId")), region)
        ]
        if without:
            (closed if way.open is False else unseen).append(name)
            lacking.update(without)
        else:
            how[-1] += "; endpoints for all that a task asks"
    data = {"ways": how, "needed": list(needed), "lacking": sorted(lacking)}
    names = listing((f"com.amazonaws.{region}.{one}" for one in sorted(lacking)), 8)
    if closed:
        return mend(
            f"{listing(closed)} cannot reach {names} ({'; '.join(how)})",
            f"add a NAT gateway, a public address for the tasks, or endpoints: {names}",
            **data,
        )
    if unseen:
        return warn(
            f"{'; '.join(how)}: whether that leads to {names} cannot be seen from here",
            "look at the running task: rows B3 (Exec) and B7 (steady) say whether it got out",
            **data,
        )
    return ok("; ".join(how), **data)


def has_endpoint(name: str, endpoints: Sequence[Mapping[str, Any]], table: str, region: str) -> bool:
    """Whether a usable endpoint is there: for S3 in this route table or with private names, else with private names."""
    for one in endpoints:
        if not str(one.get("ServiceName", "")).endswith(f".{region}.{name}"):
            continue
        if str(one.get("State", "")).lower() != "available":
            continue
        if one.get("VpcEndpointType") == "Gateway":
            if table in one.get("RouteTableIds", []):
                return True
        elif one.get("PrivateDnsEnabled"):
            return True
    return False


def tasks_rules(ask: Ask) -> Finding:
    """Rules of the tasks' group, as far as they can be seen."""
    groups = [ask.settings.tasks_sg_id] if ask.settings.tasks_sg_id else _preflight_ecs.task_groups(ask)
    if not groups:
        return warn("the tasks have no security group that could be looked at", "give papyrus_tasks_sg_id")
    rules = ask.fact(f"rules of {groups}", lambda own: _network.security_group_rules(own.calls, groups))
    return judge_rules(rules, groups)


def judge_rules(rules: Sequence[Mapping[str, Any]], groups: Sequence[str]) -> Finding:
    """A group without a rule outwards keeps its tasks from everything; pure."""
    out = [rule for rule in rules if rule.get("IsEgress")]
    inward = len(rules) - len(out)
    data = {"groups": list(groups), "inbound": inward, "outbound": len(out)}
    text = f"{listing(groups)}: {inward} rules inwards, {len(out)} outwards"
    if not out:
        return mend(
            f"{text}: the tasks reach nothing",
            f"aws ec2 authorize-security-group-egress --group-id {groups[0]} --protocol tcp --port 443 "
            f"--cidr {EVERYWHERE}",
            **data,
        )
    return ok(f"{text}; that their Terraform writes them as resources of their own cannot be seen from here", **data)


def names_inside(ask: Ask) -> Finding:
    """The tasks find the database and AWS by name."""
    vpc = ask.settings.vpc_id or values(ask).fields["vpc"]
    if not vpc:
        return warn("no VPC is known", "give papyrus_vpc_id")
    seen = {
        name: bool(
            ask.calls.call("ec2", "describe_vpc_attribute", f"VPC {vpc}", VpcId=vpc, Attribute=name)
            .get(name[0].upper() + name[1:], {})
            .get("Value")
        )
        for name in ("enableDnsSupport", "enableDnsHostnames")
    }
    if not seen["enableDnsSupport"]:
        return mend(
            f"{vpc} resolves no names",
            f"aws ec2 modify-vpc-attribute --vpc-id {vpc} --enable-dns-support '{{\"Value\": true}}'",
            **seen,
        )
    if not seen["enableDnsHostnames"] and _of_vpc(ask, "describe_vpc_endpoints", "VpcEndpoints", vpc):
        return warn(
            f"{vpc} has endpoints, and no DNS host names: their private names do not work",
            f"aws ec2 modify-vpc-attribute --vpc-id {vpc} --enable-dns-hostnames '{{\"Value\": true}}'",
            **seen,
        )
    hosts = "on" if seen["enableDnsHostnames"] else "off, and nothing needs them"
    return ok(f"{vpc}: names are resolved, host names {hosts}", **seen)


def certificate(ask: Ask) -> Finding:
    """HTTPS where a certificate is given. Whether it is good is asked at the creation of the listener."""
    arn = told(ask).certificate_arn
    if not arn:
        return ok("HTTP on port 80: no certificate is given (papyrus_alb_certificate_arn)")
    region = arn.split(":")[3] if arn.count(":") >= 5 else ""
    if region != ask.settings.region:
        return mend(
            f"the certificate {arn} is of {region or 'no region'}, a load balancer needs one of {ask.settings.region}",
            "name a certificate of ACM in the service's own region",
        )
    return ok(f"HTTPS on port 443 with {arn}")


EXEC_CHECKS = (Check("egress", "Tasks reach ECR, Logs, secrets and Exec", only_warns(egress)),)
CHECKS = (
    Check("rules", "Rules of the tasks' security group", only_warns(tasks_rules)),
    Check("dns", "Names are resolved inside the VPC", only_warns(names_inside)),
    Check("https", "Certificate of the temporary ALB", certificate),
)
