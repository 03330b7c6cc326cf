# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What security groups, subnets and CIDRs allow: pure rules over the answers of EC2."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from ._calls import Calls
from ._rows import listing

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

WIDEST = {4: 8, 6: 16}
"""Shortest prefix that an ALB of ours may admit, by IP version."""

FREE_ADDRESSES = 8
"""Free addresses that an ALB wants in each subnet:
https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer"""


def parse_network(text: str) -> Network:
    """A CIDR or a single address. ValueError names it, host bits that are set included."""
    try:
        return ipaddress.ip_network(text.strip())
    except ValueError as exc:
        raise ValueError(f"{text!r} is not a CIDR: {exc}") from exc


def refused_cidrs(cidrs: Iterable[str]) -> list[str]:
    """Why these CIDRs may not be let in, one sentence each; the whole internet in two halves is found as well."""
    problems: list[str] = []
    networks: list[Network] = []
    for text in cidrs:
        try:
            networks.append(parse_network(text))
        except ValueError as exc:
            problems.append(str(exc))
    if not networks and not problems:
        return ["no CIDR is given: name the addresses that may reach the load balancer, such as the runner's own /32"]
    merged: list[Network] = [
        *ipaddress.collapse_addresses(net for net in networks if isinstance(net, ipaddress.IPv4Network)),
        *ipaddress.collapse_addresses(net for net in networks if isinstance(net, ipaddress.IPv6Network)),
    ]
    for network in merged:
        if network.prefixlen == 0:
            problems.append(f"{network} is the whole internet and is refused")
        elif network.prefixlen < WIDEST[network.version]:
            problems.append(f"{network} is wider than /{WIDEST[network.version]} and is refused")
    return problems


def inside(network: Network, allowed: Iterable[Network]) -> bool:
    """True when one allowed network contains all of `network`."""
    for other in allowed:
        if isinstance(network, ipaddress.IPv4Network) and isinstance(other, ipaddress.IPv4Network):
            if network.subnet_of(other):
                return True
        elif (
            isinstance(network, ipaddress.IPv6Network)
            and isinstance(other, ipaddress.IPv6Network)
            and network.subnet_of(other)
        ):
            return True
    return False


def security_group_rules(calls: Calls, group_ids: Sequence[str]) -> list[dict[str, Any]]:
    """Rules of the groups with their own ids (DescribeSecurityGroupRules), all pages."""
    rules: list[dict[str, Any]] = []
    for page in calls.pages(
        "ec2",
        "describe_security_group_rules",
        listing(group_ids),
        token="NextToken",
        Filters=[{"Name": "group-id", "Values": list(group_ids)}],
        MaxResults=1000,
    ):
        rules.extend(page.get("SecurityGroupRules", []))
    return rules


def covers_port(rule: Mapping[str, Any], port: int) -> bool:
    """True when an ingress rule lets TCP to `port` in: protocol tcp, 6 or -1 (all), and a range around the port."""
    if rule.get("IsEgress"):
        return False
    protocol = str(rule.get("IpProtocol", ""))
    if protocol == "-1":
        return True
    if protocol not in {"tcp", "6"}:
        return False
    low, high = rule.get("FromPort"), rule.get("ToPort")
    if low is None or high is None or int(low) == -1:
        return True
    return int(low) <= port <= int(high)


def rule_source(rule: Mapping[str, Any]) -> str:
    """Where a rule lets traffic come from: a CIDR, a prefix list id or a security group id."""
    group = rule.get("ReferencedGroupInfo") or {}
    for value in (rule.get("CidrIpv4"), rule.get("CidrIpv6"), rule.get("PrefixListId"), group.get("GroupId")):
        if value:
            return str(value)
    return ""


def source_allowed(source: str, allowed_ids: Iterable[str], allowed_networks: Iterable[Network]) -> bool:
    """A group or prefix list by its id, a CIDR when an allowed one contains it. An unreadable source is not allowed."""
    if not source:
        return False
    if source in set(allowed_ids):
        return True
    try:
        return inside(parse_network(source), allowed_networks)
    except ValueError:
        return False


def split_allowlist(entries: Iterable[str]) -> tuple[list[str], list[Network]]:
    """Ids (`sg-…`, `pl-…`) and CIDRs of an allowlist. ValueError names what is neither, and the whole internet."""
    ids: list[str] = []
    networks: list[Network] = []
    for entry in entries:
        if entry.startswith(("sg-", "pl-")):
            ids.append(entry)
            continue
        network = parse_network(entry)
        if network.prefixlen == 0:
            raise ValueError(f"{entry!r} in the allowlist is the whole internet")
        networks.append(network)
    return ids, networks


def describe_rule(rule: Mapping[str, Any]) -> str:
    """A rule in words with its id, for a reason: `sgr-1 in sg-db: tcp 5432-5432 from 10.0.0.0/8`."""
    protocol = str(rule.get("IpProtocol", ""))
    ports = "all ports" if protocol == "-1" else f"{protocol} {rule.get('FromPort', 'all')}-{rule.get('ToPort', 'all')}"
    text = f"{rule.get('SecurityGroupRuleId', 'rule without id')} in {rule.get('GroupId', '?')}: {ports}"
    return f"{text} from {rule_source(rule) or 'an unknown source'}"


def admitting(rules: Iterable[Mapping[str, Any]], port: int, sources: Iterable[str]) -> list[Mapping[str, Any]]:
    """Ingress rules which let one of the security groups `sources` reach `port`."""
    wanted = set(sources)
    return [rule for rule in rules if covers_port(rule, port) and rule_source(rule) in wanted]


def offending(
    rules: Iterable[Mapping[str, Any]], port: int, allowed_ids: Iterable[str], allowed_networks: Iterable[Network]
) -> list[Mapping[str, Any]]:
    """Ingress rules which open `port` to anybody outside the allowlist."""
    ids, networks = list(allowed_ids), list(allowed_networks)
    return [rule for rule in rules if covers_port(rule, port) and not source_allowed(rule_source(rule), ids, networks)]


def route_table_of(subnet: Mapping[str, Any], tables: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The table that a subnet uses: its own association, else the main table of its VPC."""
    main: Mapping[str, Any] | None = None
    for candidate in tables:
        for association in candidate.get("Associations", []):
            if association.get("SubnetId") == subnet["SubnetId"]:
                return candidate
            if association.get("Main") and candidate.get("VpcId") == subnet.get("VpcId"):
                main = candidate
    return main


def internet_gateway(route_table: Mapping[str, Any] | None) -> str:
    """Id of the internet gateway that the default route leads to, or ""; a blackhole route leads nowhere."""
    if route_table is None:
        return ""
    for route in route_table.get("Routes", []):
        default = route.get("DestinationCidrBlock") == "0.0.0.0/0" or route.get("DestinationIpv6CidrBlock") == "::/0"
        gateway = str(route.get("GatewayId") or "")
        if default and gateway.startswith("igw-") and route.get("State", "active") == "active":
            return gateway
    return ""


def subnet_problems(
    wanted: Sequence[str],
    subnets: Sequence[Mapping[str, Any]],
    tables: Sequence[Mapping[str, Any]],
    vpc_id: str,
    internet_facing: bool,
) -> list[str]:
    """Why an ALB cannot be put into the subnets `wanted`, one sentence each; [] when it can."""
    problems: list[str] = []
    found = {str(subnet["SubnetId"]): subnet for subnet in subnets}
    missing = [subnet_id for subnet_id in wanted if subnet_id not in found]
    if missing:
        problems.append(f"no such subnet: {listing(missing)}")
    used = [found[subnet_id] for subnet_id in dict.fromkeys(wanted) if subnet_id in found]
    zones: dict[str, list[str]] = {}
    for subnet in used:
        zones.setdefault(str(subnet.get("AvailabilityZone")), []).append(str(subnet["SubnetId"]))
    if len(zones) < 2:
        problems.append(f"an ALB needs subnets in two zones, these lie in {listing(zones) or 'none'}")
    problems.extend(
        f"{listing(ids)} lie in the same zone {zone}; an ALB takes one subnet a zone"
        for zone, ids in sorted(zones.items())
        if len(ids) > 1 and len(zones) > 1
    )
    for subnet in used:
        name = subnet["SubnetId"]
        if vpc_id and subnet.get("VpcId") != vpc_id:
            problems.append(f"{name} is in {subnet.get('VpcId')}, the task in {vpc_id}")
        if int(subnet.get("AvailableIpAddressCount", FREE_ADDRESSES)) < FREE_ADDRESSES:
            problems.append(
                f"{name} has {subnet['AvailableIpAddressCount']} free addresses, an ALB wants {FREE_ADDRESSES}"
            )
        if internet_facing and not internet_gateway(route_table_of(subnet, tables)):
            problems.append(f"{name} has no default route to an internet gateway, which an internet-facing ALB needs")
    return problems
