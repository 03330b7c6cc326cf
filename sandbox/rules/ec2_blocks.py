"""What EC2 refuses of address blocks of VPCs and subnets, by its records."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from sandbox.emulator import service
from sandbox.rules import Refusal, rule
from sandbox.seams.ec2_blocks import further, holder_of, ipv4_blocks

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

# Of each family. https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
MOST_BLOCKS = 5


@rule("ec2", "CreateVpc", "AssociateVpcCidrBlock", code="InvalidVpc.Range", stateful=False)
def range_of_a_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An IPv4 block of a VPC is a /16 to /28.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpc.html
    """
    text = request.parameters.get("CidrBlock")
    try:
        small = text is None or 16 <= ipaddress.IPv4Network(text, strict=False).prefixlen <= 28
    except ValueError:
        return None
    return None if small else Refusal("InvalidVpc.Range", f"The CIDR '{text}' is invalid.")


@rule("ec2", "AssociateVpcCidrBlock", code="CidrLimitExceeded")
def so_many_blocks(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A VPC has at most 5 IPv4 blocks and 5 IPv6 blocks.
    https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
    """
    given = request.parameters
    vpc = service("ec2")._vpcs.get(given.get("VpcId"))
    have = 0 if vpc is None else 1 + len(further(vpc, 4)) if "CidrBlock" in given else len(further(vpc, 6))
    text = f"This network '{given.get('VpcId')}' has met its maximum number of allowed CIDRs: {MOST_BLOCKS}"
    return Refusal("CidrLimitExceeded", text) if have >= MOST_BLOCKS else None


@rule("ec2", "CreateRoute", "ReplaceRoute", code="InvalidParameterValue")
def gateways_are_for_other_addresses(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A route to addresses of the VPC itself cannot lead to an internet gateway: the local route has them.
    https://docs.aws.amazon.com/vpc/latest/userguide/subnet-route-tables.html
    """
    ec2, given = service("ec2"), request.parameters
    table = ec2._route_tables.get(given.get("RouteTableId")) or {}
    vpc, gateway = ec2._vpcs.get(table.get("VpcId")), given.get("GatewayId", "")
    text = given.get("DestinationCidrBlock", "0.0.0.0/0")
    try:
        wanted = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None
    if not vpc or not gateway.startswith("igw-") or not any(wanted.subnet_of(block) for block in ipv4_blocks(vpc)):
        return None
    words = f"The destination CIDR block {text} is equal to or more specific than one of this VPC's CIDR blocks."
    return Refusal("InvalidParameterValue", f"{words} This route can target only an interface or an instance.")


@rule("ec2", "DisassociateVpcCidrBlock", code="OperationNotPermitted")
def first_block_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The first IPv4 block of a VPC cannot be taken from it.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateVpcCidrBlock.html
    """
    association = request.parameters.get("AssociationId", "")
    if f"vpc-{association.removeprefix('vpc-cidr-assoc-')}" not in service("ec2")._vpcs:
        return None
    text = "may not be disassociated. It is the primary IPv4 CIDR block of the VPC"
    return Refusal("OperationNotPermitted", f"The vpc CIDR block with association ID {association} {text}")


@rule(
    "ec2",
    "DisassociateVpcCidrBlock",
    "DisassociateSubnetCidrBlock",
    code="InvalidVpcCidrBlockAssociationID.NotFound InvalidSubnetCidrBlockAssociationID.NotFound",
)
def block_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An association of a block that does not exist cannot be ended.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateVpcCidrBlock.html
    """
    kind = "Vpc" if request.operation == "DisassociateVpcCidrBlock" else "Subnet"
    association = request.parameters.get("AssociationId", "")
    held = holder_of(service("ec2"), association)
    if held is not None and association.startswith(kind.lower()):
        return None
    text = f"The {kind.lower()} CIDR block association ID '{association}' does not exist"
    return Refusal(f"Invalid{kind}CidrBlockAssociationID.NotFound", text)


@rule("ec2", "DisassociateVpcCidrBlock", code="InvalidCidrBlock.InUse")
def block_in_use(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A block of a VPC stays while a subnet lies in it.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateVpcCidrBlock.html
    """
    held = holder_of(service("ec2"), request.parameters.get("AssociationId", ""))
    if held is None:
        return None
    vpc, block = held[0]["VpcId"], ipaddress.ip_network(held[1]["CidrBlock"])
    subnets = [subnet for subnet in service("ec2")._subnets.values() if subnet["VpcId"] == vpc]
    texts = [text["CidrBlock"] for subnet in subnets for text in [subnet, *further(subnet, 6)]]
    inside = any(ipaddress.ip_network(text).overlaps(block) for text in texts)
    text = f"The vpc {vpc} currently has a subnet within CIDR block {block}"
    return Refusal("InvalidCidrBlock.InUse", text) if inside else None


@rule("ec2", "CreateSubnet", "AssociateSubnetCidrBlock", code="InvalidSubnet.Range InvalidSubnet.Conflict")
def ipv6_block_of_its_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet's IPv6 block is a /64 within one of its VPC's, and no other subnet's.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateSubnetCidrBlock.html
    """
    ec2, given = service("ec2"), request.parameters
    vpc = given.get("VpcId") or ec2._subnets.get(given.get("SubnetId"), {}).get("VpcId")
    if "Ipv6CidrBlock" not in given or vpc not in ec2._vpcs:
        return None
    refused = Refusal("InvalidSubnet.Range", f"The CIDR '{given['Ipv6CidrBlock']}' is invalid.")
    try:
        wanted = ipaddress.IPv6Network(given["Ipv6CidrBlock"])
    except ValueError:
        return refused
    have = [ipaddress.IPv6Network(block["CidrBlock"]) for block in further(ec2._vpcs[vpc], 6)]
    if wanted.prefixlen != 64 or not any(wanted.subnet_of(block) for block in have):
        return refused
    others = [other for subnet in ec2._subnets.values() for other in further(subnet, 6)]
    if any(wanted.overlaps(ipaddress.IPv6Network(other["CidrBlock"])) for other in others):
        return Refusal("InvalidSubnet.Conflict", f"The IPv6 CIDR '{wanted}' conflicts with another subnet")
    return None
