"""Who may talk to whom in the sandbox's VPC: security groups evaluated over EC2's own records.

Pure functions over plain mappings, so that the load balancer, its health checks and the gate before a database
judge alike. Rules: https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.behaviours import behaviour

Records = Mapping[str, Mapping[str, Any]]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class Party:
    """One end of a connection: its private address and the security groups of its network interface.

    Whoever is outside the VPC has an address alone.
    """

    address: str | None
    groups: tuple[str, ...] = ()


def connects(groups: Records, source: Party, destination: Party, port: int, protocol: str = "tcp") -> bool:
    """Whether a connection passes: the groups of the source let it out, those of the destination let it in.

    Groups are stateful, so answers need no rule. A source outside the VPC has nothing to pass on its way out.
    """
    return _lets_out(groups, source, destination, port, protocol) and admits(
        groups, destination.groups, source_groups=source.groups, source_ip=source.address, port=port, protocol=protocol
    )


@behaviour("ec2", otherwise=lambda *_: True)
def _lets_out(groups: Records, source: Party, destination: Party, port: int, protocol: str) -> bool:
    """A connection leaves an interface only where an egress rule of one of its security groups allows it.
    https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html
    """
    return not source.groups or _passes(groups, source.groups, "IpPermissionsEgress", destination, port, protocol)


@behaviour("ec2", otherwise=lambda *_, **__: True)
def admits(
    groups: Records,
    destination: Iterable[str],
    *,
    source_groups: Iterable[str] = (),
    source_ip: str | None = None,
    port: int,
    protocol: str = "tcp",
) -> bool:
    """A connection reaches an interface only where an ingress rule of one of its security groups allows it.
    https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html

    `groups` maps group id to EC2's record (IpPermissions as DescribeSecurityGroups returns them). The source is known
    by the groups of its network interface (a rule naming one of them, the own group included, admits it) and by its
    address (CIDR rules). Prefix lists admit nobody: the sandbox has no lists to look into. No group, no way in.
    """
    source = Party(source_ip, tuple(source_groups))
    return _passes(groups, destination, "IpPermissions", source, port, protocol)


def _passes(groups: Records, judging: Iterable[str], direction: str, other: Party, port: int, protocol: str) -> bool:
    named = set(other.groups)
    address = _address(other.address)
    return any(
        _covers(rule, port, protocol)
        and (_names_a_group(rule, named) or (address is not None and _contains(rule, address)))
        for group in judging
        for rule in groups.get(group, {}).get(direction, [])
    )


def referenced_groups(record: Mapping[str, Any]) -> set[str]:
    """Ids of the security groups that the rules of `record` name, in either direction."""
    return {
        str(pair["GroupId"])
        for direction in ("IpPermissions", "IpPermissionsEgress")
        for rule in record.get(direction, [])
        for pair in rule.get("UserIdGroupPairs", [])
        if pair.get("GroupId")
    }


def groups_at(interfaces: Iterable[Mapping[str, Any]], address: str, vpc: str | None = None) -> list[str] | None:
    """Security groups of the network interface that has this private address, or None when there is no such one."""
    for interface in interfaces:
        if interface.get("PrivateIpAddress") == address and vpc in (None, interface.get("VpcId")):
            return [str(group["GroupId"]) for group in interface.get("Groups", [])]
    return None


def _address(text: str | None) -> Address | None:
    if not text:
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _covers(rule: Mapping[str, Any], port: int, protocol: str) -> bool:
    spoken = str(rule.get("IpProtocol", "-1")).lower()
    if spoken == "-1":
        return True
    if spoken not in (protocol, {"tcp": "6", "udp": "17"}.get(protocol)):
        return False
    first = int(rule.get("FromPort", -1))
    last = int(rule.get("ToPort", first))
    return first == -1 or first <= port <= last


@behaviour("ec2", otherwise=lambda *_: False)
def _names_a_group(rule: Mapping[str, Any], groups: set[str]) -> bool:
    """A rule that names a security group is about the interfaces that have that group, whatever their addresses.
    https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html
    """
    return any(pair.get("GroupId") in groups for pair in rule.get("UserIdGroupPairs", []))


def _contains(rule: Mapping[str, Any], address: Address) -> bool:
    ranges = [entry.get("CidrIp") for entry in rule.get("IpRanges", [])]
    ranges += [entry.get("CidrIpv6") for entry in rule.get("Ipv6Ranges", [])]
    for text in ranges:
        try:
            network = ipaddress.ip_network(str(text), strict=False)
        except ValueError:
            continue
        if address.version == network.version and address in network:
            return True
    return False
