"""How EC2 lists: by id, by filter, page by page. The emulator ignores most filters and has no pages."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox import pages
from sandbox.behaviours import behaviour
from sandbox.seams.ec2_blocks import former_blocks_are_shown, further
from sandbox.seams.refusal import Handler, Params, Refused, Response

MOST = 1000
KIND = "ec2"
Record = Mapping[str, Any]
Values = Mapping[str, list[str]]


@dataclass(frozen=True)
class Kind:
    """One Describe operation: `store` has its records, `name` is the parameter of ids, `items` the answer's element."""

    operation: str
    store: Any
    name: str
    items: str
    xml: Callable[[Record], str]
    values: Callable[[Record], Values]


def describe(ec2: Any, kind: Kind) -> Handler:
    """The handler of a Describe operation."""

    def handler(p: Params) -> Response:
        wanted, filters = ec2._parse_member_list(p, kind.name), ec2._parse_filters(p)
        found = [
            record
            for identifier, record in kind.store.items()
            if (not wanted or identifier in wanted) and passes(ec2, identifier, kind.values(record), filters)
        ]
        shown, more = page(ec2, p, found)
        inner = "".join(kind.xml(record) for record in shown)
        answer: Response = ec2._xml(200, f"{kind.operation}Response", f"<{kind.items}>{inner}</{kind.items}>{more}")
        return answer

    return handler


def passes(ec2: Any, identifier: str, values: Values, filters: Values) -> bool:
    """Whether a resource with these values, by filter name, is meant. Tags are looked at by the emulator."""
    named = {name: wanted for name, wanted in filters.items() if not name.startswith("tag")}
    _unknown_filter(values, named)
    return ec2._resource_matches_tag_filters(identifier, filters) and all(
        _filtered(values.get(name), wanted) for name, wanted in named.items()
    )


@behaviour("ec2", code="InvalidParameterValue")
def _unknown_filter(values: Values, filters: Values) -> None:
    """A filter that the operation does not know is refused, not ignored.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
    """
    for name in filters:
        if name not in values:
            raise Refused("InvalidParameterValue", f"The filter '{name}' is invalid")


@behaviour("ec2", otherwise=lambda *_: True)
def _filtered(have: list[str] | None, wanted: list[str]) -> bool:
    """Filters are joined by and, their values by or; `*` and `?` in a value are wildcards.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html
    """
    return have is None or any(fnmatch.fnmatchcase(value, pattern) for value in have for pattern in wanted)


@behaviour("ec2", otherwise=lambda ec2, p, records: (records, ""))
def page[Item](ec2: Any, p: Params, records: list[Item]) -> tuple[list[Item], str]:
    """Describe operations answer at most MaxResults items (1,000 here without it) and a nextToken for the rest.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Query-Requests.html#api-pagination
    """
    start, size = _token(ec2._p(p, "NextToken")), int(ec2._p(p, "MaxResults") or MOST)
    rest = pages.token_of(KIND, start + size) if start + size < len(records) else ""
    return records[start : start + size], f"<nextToken>{rest}</nextToken>" if rest else ""


@behaviour("ec2", code="InvalidPaginationToken", otherwise=lambda _: 0)
def _token(text: str) -> int:
    """A NextToken that no earlier answer gave is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    try:
        return pages.start_of(KIND, text)
    except ValueError as error:
        raise Refused("InvalidPaginationToken", "The specified pagination token is not valid or is expired.") from error


def vpc_values(vpc: Record) -> Values:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcs.html"""
    default = [_yes(vpc["IsDefault"])]
    fourth = [{"CidrBlock": vpc["CidrBlock"], "AssociationId": f"vpc-cidr-assoc-{vpc['VpcId'][4:]}"}, *further(vpc, 4)]
    return {
        "vpc-id": [vpc["VpcId"]],
        "cidr": [vpc["CidrBlock"]],
        # Not documented for VPCs; amazon.aws.ec2_vpc_net finds its VPC by it.
        "cidr-block": [vpc["CidrBlock"]],
        "cidr-block-association.cidr-block": [block["CidrBlock"] for block in fourth],
        "cidr-block-association.association-id": [block["AssociationId"] for block in fourth],
        "cidr-block-association.state": ["associated"],
        "dhcp-options-id": [vpc["DhcpOptionsId"]],
        "is-default": default,
        "isDefault": default,
        "owner-id": [vpc["OwnerId"]],
        "state": [vpc["State"]],
        **_ipv6_values(vpc),
        "ipv6-cidr-block-association.ipv6-pool": ["Amazon" for _ in further(vpc, 6)],
    }


def _ipv6_values(record: Record) -> dict[str, list[str]]:
    former, present = former_blocks_are_shown(record), further(record, 6)
    blocks = [*former, *present]
    return {
        "ipv6-cidr-block-association.ipv6-cidr-block": [block["CidrBlock"] for block in blocks],
        "ipv6-cidr-block-association.association-id": [block["AssociationId"] for block in blocks],
        "ipv6-cidr-block-association.state": [*("disassociated" for _ in former), *("associated" for _ in present)],
    }


def subnet_values(subnet: Record) -> Values:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html"""
    default = [_yes(subnet.get("DefaultForAz"))]
    zone, zone_id = [subnet["AvailabilityZone"]], [subnet.get("AvailabilityZoneId", "")]
    block = [subnet["CidrBlock"]]
    none = ("outpost-arn", "customer-owned-ipv4-pool")
    return {
        "subnet-id": [subnet["SubnetId"]],
        "vpc-id": [subnet["VpcId"]],
        "availability-zone": zone,
        "availabilityZone": zone,
        "availability-zone-id": zone_id,
        "availabilityZoneId": zone_id,
        "cidr-block": block,
        "cidr": block,
        "cidrBlock": block,
        "default-for-az": default,
        "defaultForAz": default,
        "ipv6-native": ["false"],
        "map-public-ip-on-launch": [_yes(subnet.get("MapPublicIpOnLaunch"))],
        "owner-id": [subnet["OwnerId"]],
        "state": [subnet["State"]],
        **_ipv6_values(subnet),
        **{name: [] for name in none},
    }


def gateway_values(gateway: Record) -> Values:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInternetGateways.html"""
    return {
        "internet-gateway-id": [gateway["InternetGatewayId"]],
        "owner-id": [gateway["OwnerId"]],
        "attachment.vpc-id": [link["VpcId"] for link in gateway["Attachments"]],
        "attachment.state": [link["State"] for link in gateway["Attachments"]],
    }


def table_values(table: Record) -> Values:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRouteTables.html"""
    links, routes = table["Associations"], table["Routes"]
    targets = {
        "destination-cidr-block": "DestinationCidrBlock",
        "destination-ipv6-cidr-block": "DestinationIpv6CidrBlock",
        "destination-prefix-list-id": "DestinationPrefixListId",
        "gateway-id": "GatewayId",
        "instance-id": "InstanceId",
        "nat-gateway-id": "NatGatewayId",
        "transit-gateway-id": "TransitGatewayId",
        "vpc-peering-connection-id": "VpcPeeringConnectionId",
        "origin": "Origin",
        "state": "State",
    }
    return {
        "route-table-id": [table["RouteTableId"]],
        "vpc-id": [table["VpcId"]],
        "owner-id": [table["OwnerId"]],
        "association.gateway-id": [],
        "association.main": [_yes(link.get("Main")) for link in links],
        "association.route-table-association-id": [link["RouteTableAssociationId"] for link in links],
        "association.route-table-id": [link["RouteTableId"] for link in links],
        "association.subnet-id": [link["SubnetId"] for link in links if link.get("SubnetId")],
        **{f"route.{name}": [route[key] for route in routes if route.get(key)] for name, key in targets.items()},
    }


def interface_values(interface: Record) -> Values:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html"""
    attachment, address = interface.get("Attachment") or {}, [interface["PrivateIpAddress"]]
    none = ("allocation-id", "association-id", "ip-owner-id", "public-ip", "public-dns-name")
    return {
        "network-interface-id": [interface["NetworkInterfaceId"]],
        "subnet-id": [interface["SubnetId"]],
        "vpc-id": [interface["VpcId"]],
        "availability-zone": [interface["AvailabilityZone"]],
        "description": [interface["Description"]],
        "status": [interface["Status"]],
        "private-ip-address": address,
        "addresses.private-ip-address": address,
        "addresses.primary": ["true"],
        "mac-address": [interface["MacAddress"]],
        "owner-id": [interface["OwnerId"]],
        "interface-type": [interface.get("InterfaceType", "interface")],
        "requester-id": [interface.get("RequesterId", "")],
        "requester-managed": [_yes(interface.get("RequesterManaged"))],
        "source-dest-check": [_yes(interface.get("SourceDestCheck", True))],
        "group-id": [group["GroupId"] for group in interface["Groups"]],
        "group-name": [group["GroupName"] for group in interface["Groups"]],
        "attachment.attachment-id": [attachment.get("AttachmentId", "")],
        "attachment.instance-id": [attachment.get("InstanceId", "")],
        "attachment.instance-owner-id": [attachment.get("InstanceOwnerId", "")],
        "attachment.device-index": [str(attachment.get("DeviceIndex", ""))],
        "attachment.status": [attachment.get("Status", "")],
        **{f"association.{name}": [] for name in none},
    }


def _yes(value: Any) -> str:
    return "true" if value else "false"
