"""EC2's VPCs, subnets, gateways, route tables, interfaces and tags in the sandbox: what holds what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.support import Sandbox, refused

ABSENT = {
    "vpc": "vpc-0a1b2c3d4e5f60718",
    "subnet": "subnet-0a1b2c3d4e5f60718",
    "igw": "igw-0a1b2c3d4e5f60718",
    "rtb": "rtb-0a1b2c3d4e5f60718",
    "eni": "eni-0a1b2c3d4e5f60718",
    "sg": "sg-0a1b2c3d4e5f60718",
    "sgr": "sgr-0a1b2c3d4e5f60718",
}
ANYWHERE = "0.0.0.0/0"


@pytest.fixture(scope="module")
def ec2(sandbox: Sandbox) -> Any:
    return sandbox.client("ec2")


@pytest.fixture
def vpc(ec2: Any) -> Iterator[str]:
    """A VPC of its own, removed with whatever is in it. Its addresses are records: nothing listens there."""
    identifier = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    yield identifier
    remove_vpc(ec2, identifier)


def remove_vpc(ec2: Any, vpc: str) -> None:
    inside = [{"Name": "vpc-id", "Values": [vpc]}]
    for interface in ec2.describe_network_interfaces(Filters=inside)["NetworkInterfaces"]:
        ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    attached = [{"Name": "attachment.vpc-id", "Values": [vpc]}]
    for gateway in ec2.describe_internet_gateways(Filters=attached)["InternetGateways"]:
        ec2.detach_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"], VpcId=vpc)
        ec2.delete_internet_gateway(InternetGatewayId=gateway["InternetGatewayId"])
    for table in ec2.describe_route_tables(Filters=inside)["RouteTables"]:
        if not any(link["Main"] for link in table["Associations"]):
            for link in table["Associations"]:
                ec2.disassociate_route_table(AssociationId=link["RouteTableAssociationId"])
            ec2.delete_route_table(RouteTableId=table["RouteTableId"])
    for subnet in ec2.describe_subnets(Filters=inside)["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    for group in ec2.describe_security_groups(Filters=inside)["SecurityGroups"]:
        if group["GroupName"] != "default":
            ec2.delete_security_group(GroupId=group["GroupId"])
    ec2.delete_vpc(VpcId=vpc)


def subnet_in(ec2: Any, vpc: str, cidr: str = "10.77.1.0/24", **more: Any) -> str:
    return str(ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, **more)["Subnet"]["SubnetId"])


def gateway_of(ec2: Any, vpc: str) -> str:
    identifier = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=identifier, VpcId=vpc)
    return str(identifier)


def table_in(ec2: Any, vpc: str) -> str:
    return str(ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"])


def main_table_of(ec2: Any, vpc: str) -> dict[str, Any]:
    main = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    found: dict[str, Any] = ec2.describe_route_tables(Filters=main)["RouteTables"][0]
    return found


@pytest.mark.behaviour("ec2.vpc_not_found")
def test_nothing_is_made_in_a_vpc_that_does_not_exist(ec2: Any) -> None:
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    for call, given in (
        (ec2.attach_internet_gateway, {"InternetGatewayId": gateway}),
        (ec2.create_route_table, {}),
        (ec2.create_subnet, {"CidrBlock": "10.77.1.0/24"}),
        (ec2.create_security_group, {"GroupName": "nowhere", "Description": "x"}),
    ):
        with refused("InvalidVpcID.NotFound", f"The vpc ID '{ABSENT['vpc']}' does not exist", 400):
            call(VpcId=ABSENT["vpc"], **given)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)


@pytest.mark.behaviour("ec2.subnet_not_found")
def test_nothing_is_made_in_a_subnet_that_does_not_exist(ec2: Any, vpc: str) -> None:
    with refused("InvalidSubnetID.NotFound", f"The subnet ID '{ABSENT['subnet']}' does not exist"):
        ec2.associate_route_table(RouteTableId=table_in(ec2, vpc), SubnetId=ABSENT["subnet"])
    with refused("InvalidSubnetID.NotFound"):
        ec2.create_network_interface(SubnetId=ABSENT["subnet"])


@pytest.mark.behaviour("ec2.listed_resources_exist")
@pytest.mark.parametrize(
    ("what", "name", "code"),
    [
        ("route_tables", "RouteTableIds", "InvalidRouteTableID.NotFound"),
        ("vpcs", "VpcIds", "InvalidVpcID.NotFound"),
        ("subnets", "SubnetIds", "InvalidSubnetID.NotFound"),
        ("internet_gateways", "InternetGatewayIds", "InvalidInternetGatewayID.NotFound"),
    ],
)
def test_one_unknown_id_refuses_the_whole_list(ec2: Any, vpc: str, what: str, name: str, code: str) -> None:
    own = {
        "VpcIds": [vpc],
        "RouteTableIds": [main_table_of(ec2, vpc)["RouteTableId"]],
        "SubnetIds": [subnet_in(ec2, vpc)],
        "InternetGatewayIds": [gateway_of(ec2, vpc)],
    }[name]
    describe = getattr(ec2, f"describe_{what}")
    assert describe(**{name: own})
    absent = ABSENT[own[0].partition("-")[0]]
    with refused(code, f"'{absent}' does not exist"):
        describe(**{name: [*own, absent]})


@pytest.mark.behaviour("ec2.subnet_within_its_vpc", "ec2.subnets_do_not_overlap", "ec2.zone_of_the_region")
def test_a_subnet_lies_in_its_vpc_and_region_and_apart_from_others(ec2: Any, vpc: str) -> None:
    subnet_in(ec2, vpc)
    with refused("InvalidSubnet.Range", "The CIDR '10.78.1.0/24' is invalid."):
        subnet_in(ec2, vpc, "10.78.1.0/24")
    with refused("InvalidSubnet.Range"):
        subnet_in(ec2, vpc, "10.77.2.0/29")
    with refused("InvalidSubnet.Conflict", "The CIDR '10.77.0.0/20' conflicts with another subnet"):
        subnet_in(ec2, vpc, "10.77.0.0/20")
    with refused("InvalidParameterValue", "availabilityZone"):
        subnet_in(ec2, vpc, "10.77.2.0/24", AvailabilityZone="us-west-2z")


@pytest.mark.behaviour("ec2.subnet_in_use")
def test_a_subnet_with_an_interface_stays(ec2: Any, vpc: str) -> None:
    subnet = subnet_in(ec2, vpc)
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    with refused("DependencyViolation", f"The subnet '{subnet}' has dependencies and cannot be deleted.", 400):
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    ec2.delete_subnet(SubnetId=subnet)


@pytest.mark.behaviour("ec2.vpc_in_use")
def test_a_vpc_with_something_in_it_stays(ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    table = table_in(ec2, vpc)
    with refused("DependencyViolation", f"The vpc '{vpc}' has dependencies and cannot be deleted.", 400):
        ec2.delete_vpc(VpcId=vpc)
    ec2.delete_route_table(RouteTableId=table)
    ec2.delete_vpc(VpcId=vpc)
    with refused("InvalidVpcID.NotFound"):
        ec2.delete_vpc(VpcId=vpc)


@pytest.mark.behaviour("ec2.one_gateway_a_vpc", "ec2.gateway_in_use")
def test_a_vpc_has_one_internet_gateway(ec2: Any, vpc: str) -> None:
    attached = gateway_of(ec2, vpc)
    second = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    with refused("InvalidParameterValue", f"Network {vpc} already has an internet gateway attached"):
        ec2.attach_internet_gateway(InternetGatewayId=second, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=second)
    with refused("DependencyViolation", f"The internetGateway '{attached}' has dependencies"):
        ec2.delete_internet_gateway(InternetGatewayId=attached)


@pytest.mark.behaviour("ec2.gateway_not_attached", "ec2.internet_gateway_not_found")
def test_a_gateway_is_detached_from_where_it_is_attached(ec2: Any, vpc: str) -> None:
    loose = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    with refused("Gateway.NotAttached", f"resource {loose} is not attached to network {vpc}"):
        ec2.detach_internet_gateway(InternetGatewayId=loose, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=loose)
    with refused("InvalidInternetGatewayID.NotFound", f"The internetGateway ID '{loose}' does not exist"):
        ec2.detach_internet_gateway(InternetGatewayId=loose, VpcId=vpc)


@pytest.mark.behaviour("ec2.one_route_table_a_subnet", "ec2.association_not_found", "ec2.route_table_in_use")
def test_a_subnet_has_one_route_table_which_stays_as_long(ec2: Any, vpc: str) -> None:
    subnet, first, second = subnet_in(ec2, vpc), table_in(ec2, vpc), table_in(ec2, vpc)
    link = ec2.associate_route_table(RouteTableId=first, SubnetId=subnet)["AssociationId"]
    with refused("Resource.AlreadyAssociated", f"route table {second} conflicts with an existing association"):
        ec2.associate_route_table(RouteTableId=second, SubnetId=subnet)
    with refused("DependencyViolation", f"The routeTable '{first}' has dependencies and cannot be deleted."):
        ec2.delete_route_table(RouteTableId=first)
    ec2.disassociate_route_table(AssociationId=link)
    with refused("InvalidAssociationID.NotFound", link):
        ec2.disassociate_route_table(AssociationId=link)
    ec2.delete_route_table(RouteTableId=first)


@pytest.mark.behaviour("ec2.main_association_stays")
def test_the_main_route_table_stays_the_main_one(ec2: Any, vpc: str) -> None:
    main = main_table_of(ec2, vpc)["Associations"][0]["RouteTableAssociationId"]
    with refused("InvalidParameterValue", f"cannot disassociate the main route table association {main}"):
        ec2.disassociate_route_table(AssociationId=main)


@pytest.mark.behaviour("ec2.route_exists", "ec2.route_not_found", "ec2.local_route_stays")
def test_a_table_has_one_route_to_a_destination_and_keeps_the_local_one(ec2: Any, vpc: str) -> None:
    table, gateway = table_in(ec2, vpc), gateway_of(ec2, vpc)
    route = {"RouteTableId": table, "DestinationCidrBlock": ANYWHERE}
    with refused("InvalidParameterValue", "There is no route defined for '0.0.0.0/0' in the route table"):
        ec2.replace_route(GatewayId=gateway, **route)
    ec2.create_route(GatewayId=gateway, **route)
    with refused("RouteAlreadyExists", f"The route identified by {ANYWHERE} already exists."):
        ec2.create_route(GatewayId=gateway, **route)
    ec2.delete_route(**route)
    with refused("InvalidRoute.NotFound", f"no route with destination-cidr-block {ANYWHERE} in route table {table}"):
        ec2.delete_route(**route)
    with refused("InvalidParameterValue", "cannot remove local route 10.77.0.0/16"):
        ec2.delete_route(RouteTableId=table, DestinationCidrBlock="10.77.0.0/16")


@pytest.mark.behaviour("ec2.route_gateway_not_found", "ec2.route_gateway_of_the_vpc")
def test_a_route_leads_to_a_gateway_of_its_vpc(ec2: Any, vpc: str) -> None:
    table = table_in(ec2, vpc)
    loose = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    with refused("InvalidParameterValue", "belong to different networks"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=loose)
    ec2.delete_internet_gateway(InternetGatewayId=loose)
    with refused("InvalidGatewayID.NotFound", loose):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock=ANYWHERE, GatewayId=loose)


@pytest.mark.behaviour("ec2.interface_not_found")
def test_an_interface_that_does_not_exist_is_neither_shown_nor_deleted(ec2: Any) -> None:
    words = f"The networkInterface ID '{ABSENT['eni']}' does not exist"
    with refused("InvalidNetworkInterfaceID.NotFound", words):
        ec2.describe_network_interfaces(NetworkInterfaceIds=[ABSENT["eni"]])
    with refused("InvalidNetworkInterfaceID.NotFound", words):
        ec2.delete_network_interface(NetworkInterfaceId=ABSENT["eni"])


@pytest.mark.behaviour("ec2.address_in_its_subnet", "ec2.address_of_its_subnet", "ec2.address_in_use")
def test_an_interface_has_an_address_of_its_subnet_alone(ec2: Any, vpc: str) -> None:
    subnet = subnet_in(ec2, vpc)
    given = ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.77.1.9")["NetworkInterface"]
    assert given["PrivateIpAddress"] == "10.77.1.9"
    free = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]
    assert free["PrivateIpAddress"].startswith("10.77.1.")
    assert free["PrivateIpAddress"] != "10.77.1.9"
    with refused("InvalidIPAddress.InUse", "Address 10.77.1.9 is in use."):
        ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.77.1.9")
    with refused("InvalidParameterValue", "Address does not fall within the subnet's address range"):
        ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.77.2.9")


@pytest.mark.behaviour("ec2.subnet_is_full", "ec2.address_comes_back", "ec2.with_free_addresses")
def test_a_subnet_has_as_many_addresses_as_its_block_but_five(ec2: Any, vpc: str) -> None:
    subnet = subnet_in(ec2, vpc, "10.77.3.0/28")

    def free() -> int:
        return int(ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["AvailableIpAddressCount"])

    assert free() == 11
    made = [ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"] for _ in range(11)]
    assert free() == 0
    with refused("InsufficientFreeAddressesInSubnet", "does not have enough free addresses"):
        ec2.create_network_interface(SubnetId=subnet)
    ec2.delete_network_interface(NetworkInterfaceId=made[0]["NetworkInterfaceId"])
    again = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]
    assert again["PrivateIpAddress"] == made[0]["PrivateIpAddress"]


@pytest.mark.behaviour("ec2.default_group_of_the_vpc", "ec2.default_group_stays")
def test_an_interface_without_a_group_has_the_default_one_which_cannot_be_deleted(ec2: Any, vpc: str) -> None:
    inside = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
    default = ec2.describe_security_groups(Filters=inside)["SecurityGroups"][0]["GroupId"]
    interface = ec2.create_network_interface(SubnetId=subnet_in(ec2, vpc))["NetworkInterface"]
    assert [group["GroupId"] for group in interface["Groups"]] == [default]
    with refused("CannotDelete", f'the specified group: "{default}" name: "default" cannot be deleted by a user'):
        ec2.delete_security_group(GroupId=default)


@pytest.mark.behaviour("ec2.same_token_same_resource", "ec2.token_of_another_request")
def test_a_client_token_makes_one_resource(ec2: Any, vpc: str) -> None:
    token = f"token-{vpc}"
    first = ec2.create_route_table(VpcId=vpc, ClientToken=token)["RouteTable"]["RouteTableId"]
    assert ec2.create_route_table(VpcId=vpc, ClientToken=token)["RouteTable"]["RouteTableId"] == first
    other = [{"ResourceType": "route-table", "Tags": [{"Key": "run", "Value": "7"}]}]
    with refused("IdempotentParameterMismatch", "same client token"):
        ec2.create_route_table(VpcId=vpc, ClientToken=token, TagSpecifications=other)


@pytest.mark.behaviour("ec2.page", "ec2.token")
def test_lists_come_page_by_page(ec2: Any, vpc: str) -> None:
    made = {subnet_in(ec2, vpc, f"10.77.{n}.0/24") for n in range(7)}
    inside = [{"Name": "vpc-id", "Values": [vpc]}]
    pages = list(
        ec2.get_paginator("describe_subnets").paginate(Filters=inside, PaginationConfig={"PageSize": 5}),
    )
    assert [len(page["Subnets"]) for page in pages] == [5, 2]
    assert {subnet["SubnetId"] for page in pages for subnet in page["Subnets"]} == made
    for call in (
        ec2.describe_subnets,
        ec2.describe_security_groups,
        ec2.describe_security_group_rules,
        ec2.describe_vpcs,
        ec2.describe_route_tables,
        ec2.describe_network_interfaces,
    ):
        with refused("InvalidPaginationToken", "not valid"):
            call(NextToken="made-up", MaxResults=5)


@pytest.mark.behaviour("ec2.unknown_filter", "ec2.filtered")
@pytest.mark.parametrize(
    ("what", "answer", "wanted", "other"),
    [
        ("vpcs", "Vpcs", {"cidr": "10.77.0.0/16", "is-default": "false", "state": "avail*"}, {"cidr": "10.99.0.0/16"}),
        ("subnets", "Subnets", {"cidr-block": "10.77.?.0/24", "state": "available"}, {"availability-zone": "nowhere"}),
        ("internet_gateways", "InternetGateways", {"attachment.state": "available"}, {"attachment.state": "attached"}),
        ("route_tables", "RouteTables", {"route.destination-cidr-block": "10.77.*"}, {"route.gateway-id": "igw-*"}),
    ],
)
def test_filters_are_joined_by_and_and_unknown_ones_refused(
    ec2: Any, vpc: str, what: str, answer: str, wanted: dict[str, str], other: dict[str, str]
) -> None:
    subnet_in(ec2, vpc)
    gateway_of(ec2, vpc)
    describe = getattr(ec2, f"describe_{what}")
    own = "attachment.vpc-id" if what == "internet_gateways" else "vpc-id"

    def found(**filters: str) -> int:
        given = {own: vpc, **filters}
        return len(describe(Filters=[{"Name": name, "Values": ["x", value]} for name, value in given.items()])[answer])

    assert found(**wanted) == 1
    assert found(**other) == 0
    with refused("InvalidParameterValue", "The filter 'colour' is invalid"):
        found(colour="red")


@pytest.mark.behaviour("ec2.tagged_resources_exist", "ec2.too_many_tags")
def test_what_does_not_exist_cannot_be_tagged_and_what_does_has_fifty_tags(ec2: Any, vpc: str) -> None:
    tags = [{"Key": f"k{n}", "Value": "v"} for n in range(50)]
    for kind, code in (
        ("subnet", "InvalidSubnetID.NotFound"),
        ("sg", "InvalidGroup.NotFound"),
        ("sgr", "InvalidSecurityGroupRuleId.NotFound"),
    ):
        with refused(code, "does not exist"):
            ec2.create_tags(Resources=[vpc, ABSENT[kind]], Tags=tags)
    ec2.create_tags(Resources=[vpc], Tags=tags)
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "k0", "Value": "w"}])
    with refused("TagLimitExceeded", vpc):
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "one more", "Value": ""}])


@pytest.mark.behaviour("ec2.tag_is_meant", "ec2.tags_go_with_it")
def test_a_tag_is_deleted_by_its_value_and_with_its_resource(ec2: Any, vpc: str) -> None:
    subnet = subnet_in(ec2, vpc)

    def tags() -> dict[str, str]:
        found = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [subnet]}])["Tags"]
        return {tag["Key"]: tag["Value"] for tag in found}

    ec2.create_tags(Resources=[subnet], Tags=[{"Key": "run", "Value": "7"}, {"Key": "old", "Value": "x"}])
    ec2.delete_tags(Resources=[subnet], Tags=[{"Key": "run", "Value": "8"}, {"Key": "old"}])
    assert tags() == {"run": "7"}
    ec2.delete_subnet(SubnetId=subnet)
    assert tags() == {}
