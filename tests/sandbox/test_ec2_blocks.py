"""Address blocks of VPCs and subnets in the sandbox: canonical form, further IPv4 blocks, IPv6 blocks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.support import Sandbox, refused
from tests.sandbox.test_ec2_vpc import gateway_of, main_table_of, remove_vpc, subnet_in, table_in


@pytest.fixture
def ec2(sandbox: Sandbox) -> Any:
    return sandbox.client("ec2")


@pytest.fixture
def vpc(ec2: Any) -> Iterator[str]:
    """A VPC with an IPv6 block."""
    made = ec2.create_vpc(CidrBlock="10.79.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]
    yield made["VpcId"]
    remove_vpc(ec2, made["VpcId"])


def shown(ec2: Any, vpc: str) -> dict[str, Any]:
    found: dict[str, Any] = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]
    return found


def ipv6_of(ec2: Any, vpc: str) -> dict[str, Any]:
    found: dict[str, Any] = shown(ec2, vpc)["Ipv6CidrBlockAssociationSet"][0]
    return found


def subnets_of(block: str) -> list[str]:
    """The first two /64 of an IPv6 block."""
    parts = ipaddress.IPv6Network(block).subnets(new_prefix=64)
    return [str(next(parts)), str(next(parts))]


@pytest.mark.behaviour("ec2.blocks_in_canonical_form", "ec2.range_of_a_vpc")
def test_a_block_of_a_vpc_has_its_canonical_form_and_size(ec2: Any) -> None:
    made = ec2.create_vpc(CidrBlock="10.78.0.5/16")["Vpc"]
    subnet = ec2.create_subnet(VpcId=made["VpcId"], CidrBlock="10.78.1.5/24")["Subnet"]
    remove_vpc(ec2, made["VpcId"])
    assert (made["CidrBlock"], subnet["CidrBlock"]) == ("10.78.0.0/16", "10.78.1.0/24")
    for block in ("10.0.0.0/15", "10.0.0.0/29"):
        with refused("InvalidVpc.Range", f"The CIDR '{block}' is invalid.", 400):
            ec2.create_vpc(CidrBlock=block)


@pytest.mark.behaviour("ec2.amazons_block", "ec2.with_further_blocks", "ec2.blocks_are_routed_locally")
def test_a_vpc_gets_an_ipv6_block_of_amazons_pool(ec2: Any, vpc: str) -> None:
    found = shown(ec2, vpc).get("Ipv6CidrBlockAssociationSet", [])
    assert [(one["Ipv6Pool"], one["Ipv6CidrBlockState"]["State"]) for one in found] == [("Amazon", "associated")]
    block = ipaddress.IPv6Network(found[0]["Ipv6CidrBlock"])
    assert block.prefixlen == 56
    asked = [{"Name": "ipv6-cidr-block-association.ipv6-cidr-block", "Values": [str(block)]}]
    assert [one["VpcId"] for one in ec2.describe_vpcs(Filters=asked)["Vpcs"]] == [vpc]
    made = ec2.create_route_table(VpcId=vpc)["RouteTable"]
    for table in (main_table_of(ec2, vpc), made):
        local = [route for route in table["Routes"] if route["GatewayId"] == "local"]
        assert [route.get("DestinationIpv6CidrBlock") for route in local] == [None, str(block)]


@pytest.mark.behaviour("ec2.with_further_blocks", "ec2.so_many_blocks", "ec2.subnet_within_its_vpc")
def test_a_vpc_has_five_blocks_of_a_family_and_subnets_in_each(ec2: Any, vpc: str) -> None:
    for number in range(80, 84):
        answer = ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock=f"10.{number}.0.0/16")
        assert answer["CidrBlockAssociation"]["CidrBlockState"]["State"] == "associating"
    with refused("CidrLimitExceeded", "has met its maximum number of allowed CIDRs: 5", 400):
        ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.84.0.0/16")
    blocks = [one["CidrBlock"] for one in shown(ec2, vpc)["CidrBlockAssociationSet"]]
    assert blocks == [f"10.{number}.0.0/16" for number in range(79, 84)]
    subnet_in(ec2, vpc, "10.83.1.0/24")
    with refused("InvalidSubnet.Range", "The CIDR '10.84.1.0/24' is invalid.", 400):
        subnet_in(ec2, vpc, "10.84.1.0/24")


@pytest.mark.behaviour("ec2.first_block_stays", "ec2.block_in_use", "ec2.block_not_found")
def test_a_block_goes_when_nothing_lies_in_it_but_never_the_first(ec2: Any, vpc: str) -> None:
    table_in(ec2, vpc)
    first = shown(ec2, vpc)["CidrBlockAssociationSet"][0]["AssociationId"]
    with refused("OperationNotPermitted", "It is the primary IPv4 CIDR block of the VPC", 400):
        ec2.disassociate_vpc_cidr_block(AssociationId=first)
    more = ec2.associate_vpc_cidr_block(VpcId=vpc, CidrBlock="10.80.0.0/16")["CidrBlockAssociation"]["AssociationId"]
    subnet = subnet_in(ec2, vpc, "10.80.1.0/24")
    with refused("InvalidCidrBlock.InUse", f"The vpc {vpc} currently has a subnet within CIDR block", 400):
        ec2.disassociate_vpc_cidr_block(AssociationId=more)
    ec2.delete_subnet(SubnetId=subnet)
    gone = ec2.disassociate_vpc_cidr_block(AssociationId=more)
    assert (gone["VpcId"], gone["CidrBlockAssociation"]["CidrBlockState"]["State"]) == (vpc, "disassociating")
    assert len(shown(ec2, vpc)["CidrBlockAssociationSet"]) == 1
    assert all(route.get("DestinationCidrBlock") != "10.80.0.0/16" for route in main_table_of(ec2, vpc)["Routes"]), (
        "its local routes go with it"
    )
    with refused("InvalidVpcCidrBlockAssociationID.NotFound", f"'{more}' does not exist", 400):
        ec2.disassociate_vpc_cidr_block(AssociationId=more)


@pytest.mark.behaviour("ec2.with_ipv6", "ec2.ipv6_block_of_its_vpc", "ec2.ipv6_is_assigned_where_there_is_a_block")
def test_a_subnet_has_an_ipv6_block_of_its_vpc(ec2: Any, vpc: str) -> None:
    block = ipv6_of(ec2, vpc)["Ipv6CidrBlock"]
    first, second = subnets_of(block)
    subnet, plain = subnet_in(ec2, vpc, "10.79.1.0/24", Ipv6CidrBlock=first), subnet_in(ec2, vpc, "10.79.2.0/24")
    wrong = (
        ("InvalidSubnet.Range", block),
        ("InvalidSubnet.Range", "2001:db8::/64"),
        ("InvalidSubnet.Conflict", first),
    )
    for code, text in wrong:
        with refused(code, f"CIDR '{text}'", 400):
            ec2.associate_subnet_cidr_block(SubnetId=plain, Ipv6CidrBlock=text)
    with refused("InvalidParameterValue", "The subnet must have an IPv6 CIDR block", 400):
        ec2.modify_subnet_attribute(SubnetId=plain, AssignIpv6AddressOnCreation={"Value": True})
    ec2.associate_subnet_cidr_block(SubnetId=plain, Ipv6CidrBlock=second)
    ec2.modify_subnet_attribute(SubnetId=plain, AssignIpv6AddressOnCreation={"Value": True})
    found = {one["SubnetId"]: one for one in ec2.describe_subnets(SubnetIds=[subnet, plain])["Subnets"]}
    have = {name: [b["Ipv6CidrBlock"] for b in one["Ipv6CidrBlockAssociationSet"]] for name, one in found.items()}
    assert have == {subnet: [first], plain: [second]}
    assert found[plain]["AssignIpv6AddressOnCreation"]


@pytest.mark.behaviour("ec2.block_not_found")
def test_an_ipv6_block_leaves_its_subnet_and_then_the_vpc(ec2: Any, vpc: str) -> None:
    block = ipv6_of(ec2, vpc)
    subnet = subnet_in(ec2, vpc, "10.79.1.0/24", Ipv6CidrBlock=subnets_of(block["Ipv6CidrBlock"])[0])
    with refused("InvalidCidrBlock.InUse", block["Ipv6CidrBlock"], 400):
        ec2.disassociate_vpc_cidr_block(AssociationId=block["AssociationId"])
    held = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["Ipv6CidrBlockAssociationSet"][0]["AssociationId"]
    ec2.disassociate_subnet_cidr_block(AssociationId=held)
    with refused("InvalidSubnetCidrBlockAssociationID.NotFound", f"'{held}' does not exist", 400):
        ec2.disassociate_subnet_cidr_block(AssociationId=held)
    ec2.disassociate_vpc_cidr_block(AssociationId=block["AssociationId"])
    left = shown(ec2, vpc).get("Ipv6CidrBlockAssociationSet", [])
    assert [one for one in left if one["Ipv6CidrBlockState"]["State"] != "disassociated"] == []
    again = ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)["Ipv6CidrBlockAssociation"]
    assert again["Ipv6CidrBlockState"]["State"] == "associating"


@pytest.mark.behaviour("ec2.gateways_are_for_other_addresses")
@pytest.mark.parametrize("block", ["10.79.0.0/16", "10.79.1.0/24"])
def test_addresses_of_the_vpc_are_not_routed_to_a_gateway(ec2: Any, vpc: str, block: str) -> None:
    table, gateway = table_in(ec2, vpc), gateway_of(ec2, vpc)
    with refused("InvalidParameterValue", "is equal to or more specific than one of this VPC's CIDR blocks.", 400):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock=block, GatewayId=gateway)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/8", GatewayId=gateway)


@pytest.mark.behaviour("ec2.default_group_admits_itself")
def test_the_default_group_of_a_vpc_admits_itself(ec2: Any, vpc: str) -> None:
    asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    group = ec2.describe_security_groups(Filters=asked)["SecurityGroups"][0]
    sources = [
        pair["GroupId"]
        for permission in group["IpPermissions"]
        for pair in permission["UserIdGroupPairs"]
        if permission["IpProtocol"] == "-1"
    ]
    assert sources == [group["GroupId"]]


@pytest.mark.behaviour("ec2.former_blocks_are_shown")
def test_a_block_that_was_taken_from_a_subnet_is_still_shown(ec2: Any, vpc: str) -> None:
    block = subnets_of(ipv6_of(ec2, vpc)["Ipv6CidrBlock"])[0]
    subnet = subnet_in(ec2, vpc, "10.79.1.0/24", Ipv6CidrBlock=block)
    held = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["Ipv6CidrBlockAssociationSet"][0]["AssociationId"]
    ec2.disassociate_subnet_cidr_block(AssociationId=held)
    wanted = [{"Name": "ipv6-cidr-block-association.state", "Values": ["disassociated"]}]
    found = ec2.describe_subnets(SubnetIds=[subnet], Filters=wanted)["Subnets"]
    assert [one["Ipv6CidrBlockAssociationSet"][0]["AssociationId"] for one in found] == [held]
    again = ec2.associate_subnet_cidr_block(SubnetId=subnet, Ipv6CidrBlock=block)["Ipv6CidrBlockAssociation"]
    assert again["Ipv6CidrBlock"] == block


@pytest.mark.behaviour("ec2.former_blocks_are_shown")
def test_a_block_that_was_taken_from_a_vpc_is_still_shown(ec2: Any, vpc: str) -> None:
    former = ipv6_of(ec2, vpc)
    ec2.disassociate_vpc_cidr_block(AssociationId=former["AssociationId"])
    ec2.associate_vpc_cidr_block(VpcId=vpc, AmazonProvidedIpv6CidrBlock=True)
    found = shown(ec2, vpc)["Ipv6CidrBlockAssociationSet"]
    assert [one["Ipv6CidrBlockState"]["State"] for one in found] == ["disassociated", "associated"]
    assert found[0]["AssociationId"] == former["AssociationId"]
