"""What EC2 refuses of VPCs, subnets, gateways, route tables, network interfaces and tags, by its records.

Codes: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from sandbox.emulator import service
from sandbox.rules import Refusal, rule
from sandbox.seams.ec2 import free_addresses
from sandbox.seams.ec2_blocks import ipv4_blocks
from sandbox.seams.ec2_places import zones

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

TAGS = 50
# Prefix of an id → the kind's name in AWS's errors, and its code when there is none.
KINDS = {
    "vpc": ("vpc ID", "InvalidVpcID.NotFound"),
    "subnet": ("subnet ID", "InvalidSubnetID.NotFound"),
    "igw": ("internetGateway ID", "InvalidInternetGatewayID.NotFound"),
    "rtb": ("routeTable ID", "InvalidRouteTableID.NotFound"),
    "eni": ("networkInterface ID", "InvalidNetworkInterfaceID.NotFound"),
    "sg": ("security group", "InvalidGroup.NotFound"),
    "sgr": ("security group rule ID", "InvalidSecurityGroupRuleId.NotFound"),
}


def records(prefix: str) -> Any:
    """The store of a kind of resource, by the prefix of its ids; those of rules are the ids alone."""
    ec2 = service("ec2")
    if prefix == "sgr":
        return {
            ec2._sg_rule_id(group, key == "IpPermissionsEgress", known)
            for group, record in ec2._security_groups.items()
            for key in ("IpPermissions", "IpPermissionsEgress")
            for known in record[key]
        }
    return {
        "vpc": ec2._vpcs,
        "subnet": ec2._subnets,
        "igw": ec2._internet_gateways,
        "rtb": ec2._route_tables,
        "eni": ec2._network_interfaces,
        "sg": ec2._security_groups,
    }[prefix]


def missing(prefix: str, identifiers: Iterable[str]) -> Refusal | None:
    """A refusal that names the first of these that does not exist."""
    known = records(prefix)
    for identifier in identifiers:
        if identifier not in known:
            kind, code = KINDS[prefix]
            return Refusal(code, f"The {kind} '{identifier}' does not exist")
    return None


def _given(request: ApiRequest, name: str) -> list[str]:
    value = request.parameters.get(name)
    return [value] if isinstance(value, str) else []


@rule(
    "ec2",
    "CreateSubnet",
    "CreateRouteTable",
    "CreateSecurityGroup",
    "AttachInternetGateway",
    "DetachInternetGateway",
    "DeleteVpc",
    "ModifyVpcAttribute",
    "DescribeVpcAttribute",
    "CreateNetworkAcl",
    "CreateVpcEndpoint",
    "AssociateVpcCidrBlock",
    code="InvalidVpcID.NotFound",
)
def vpc_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names a VPC that does not exist is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AttachInternetGateway.html
    """
    return missing("vpc", _given(request, "VpcId"))


@rule(
    "ec2",
    "AssociateRouteTable",
    "CreateNetworkInterface",
    "DeleteSubnet",
    "ModifySubnetAttribute",
    "CreateNatGateway",
    "AssociateSubnetCidrBlock",
    code="InvalidSubnetID.NotFound",
)
def subnet_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names a subnet that does not exist is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateRouteTable.html
    """
    return missing("subnet", _given(request, "SubnetId"))


@rule(
    "ec2",
    "AttachInternetGateway",
    "DetachInternetGateway",
    "DeleteInternetGateway",
    code="InvalidInternetGatewayID.NotFound",
)
def internet_gateway_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names an internet gateway that does not exist is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachInternetGateway.html
    """
    return missing("igw", _given(request, "InternetGatewayId"))


@rule(
    "ec2",
    "DescribeVpcs",
    "DescribeSubnets",
    "DescribeInternetGateways",
    "DescribeRouteTables",
    code="InvalidVpcID.NotFound by kind",
)
def listed_resources_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """One unknown id among several refuses the whole Describe operation.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRouteTables.html
    """
    members = {"VpcIds": "vpc", "SubnetIds": "subnet", "InternetGatewayIds": "igw", "RouteTableIds": "rtb"}
    found = (missing(prefix, request.parameters.get(name) or []) for name, prefix in members.items())
    return next((refusal for refusal in found if refusal), None)


@rule("ec2", "CreateSubnet", code="InvalidSubnet.Range")
def subnet_within_its_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet's block is a /16 to /28 within a block of its VPC.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSubnet.html
    """
    vpc, block = _block(request)
    if vpc is None or block is None:
        return None
    inside = 16 <= block.prefixlen <= 28 and any(block.subnet_of(one) for one in ipv4_blocks(vpc))
    return None if inside else Refusal("InvalidSubnet.Range", f"The CIDR '{block}' is invalid.")


@rule("ec2", "CreateSubnet", code="InvalidSubnet.Conflict")
def subnets_do_not_overlap(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The blocks of two subnets of a VPC do not overlap.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSubnet.html
    """
    vpc, block = _block(request)
    for other in service("ec2")._subnets.values() if vpc and block else []:
        if other["VpcId"] == vpc["VpcId"] and block.overlaps(ipaddress.IPv4Network(other["CidrBlock"])):
            return Refusal("InvalidSubnet.Conflict", f"The CIDR '{block}' conflicts with another subnet")
    return None


def _block(request: ApiRequest) -> tuple[Any, Any]:
    """(VPC, block) of a subnet to be; None where they are not to be had, which others refuse."""
    try:
        block = ipaddress.IPv4Network(request.parameters.get("CidrBlock", ""), strict=False)
    except ValueError:
        return None, None
    return service("ec2")._vpcs.get(request.parameters.get("VpcId", "")), block


@rule("ec2", "CreateSubnet", code="InvalidParameterValue", stateful=False)
def zone_of_the_region(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet lies in an Availability Zone of the region.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSubnet.html
    """
    zone, known = request.parameters.get("AvailabilityZone"), zones(service("ec2"))
    if zone is None or zone in known:
        return None
    return Refusal(
        "InvalidParameterValue",
        f"Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in the "
        f"following availability zones: {', '.join(known)}.",
    )


@rule("ec2", "DeleteSubnet", code="DependencyViolation")
def subnet_in_use(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet in which there is a network interface cannot be deleted.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSubnet.html
    """
    subnet = request.parameters.get("SubnetId")
    used = any(interface["SubnetId"] == subnet for interface in service("ec2")._network_interfaces.values())
    text = f"The subnet '{subnet}' has dependencies and cannot be deleted."
    return Refusal("DependencyViolation", text) if used else None


@rule("ec2", "DeleteVpc", code="DependencyViolation")
def vpc_in_use(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A VPC that still has subnets, gateways, groups or tables of its own, or endpoints cannot be deleted.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteVpc.html
    """
    ec2, vpc = service("ec2"), request.parameters.get("VpcId")
    held = [*ec2._subnets.values(), *ec2._network_interfaces.values(), *ec2._vpc_endpoints.values()]
    held += [link for gateway in ec2._internet_gateways.values() for link in gateway["Attachments"]]
    held += [group for group in ec2._security_groups.values() if group["GroupName"] != "default"]
    held += [acl for acl in ec2._network_acls.values() if not acl["IsDefault"]]
    held += [gateway for gateway in ec2._nat_gateways.values() if gateway["State"] != "deleted"]
    held += [t for t in ec2._route_tables.values() if not any(link.get("Main") for link in t["Associations"])]
    text = f"The vpc '{vpc}' has dependencies and cannot be deleted."
    return Refusal("DependencyViolation", text) if any(one["VpcId"] == vpc for one in held) else None


@rule("ec2", "AttachInternetGateway", code="InvalidParameterValue")
def one_gateway_a_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A VPC has at most one internet gateway.
    https://docs.aws.amazon.com/vpc/latest/userguide/VPC_Internet_Gateway.html
    """
    vpc, own = request.parameters.get("VpcId"), request.parameters.get("InternetGatewayId")
    for gateway in service("ec2")._internet_gateways.values():
        if gateway["InternetGatewayId"] != own and any(link["VpcId"] == vpc for link in gateway["Attachments"]):
            return Refusal("InvalidParameterValue", f"Network {vpc} already has an internet gateway attached")
    return None


@rule("ec2", "DetachInternetGateway", code="Gateway.NotAttached")
def gateway_not_attached(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An internet gateway is detached only from the VPC that it is attached to.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachInternetGateway.html
    """
    gateway, vpc = request.parameters.get("InternetGatewayId"), request.parameters.get("VpcId")
    links = (service("ec2")._internet_gateways.get(gateway) or {}).get("Attachments", [])
    attached = any(link["VpcId"] == vpc for link in links)
    return None if attached else Refusal("Gateway.NotAttached", f"resource {gateway} is not attached to network {vpc}")


@rule("ec2", "DetachInternetGateway", code="DependencyViolation")
def public_addresses_hold_the_gateway(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A gateway stays attached while an interface of the VPC (of an internet-facing load balancer) is public.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachInternetGateway.html
    """
    vpc = request.parameters.get("VpcId")
    if not any(i["VpcId"] == vpc and i.get("_public") for i in service("ec2")._network_interfaces.values()):
        return None
    text = "has some mapped public address(es). Please unmap those public address(es) before detaching the gateway."
    return Refusal("DependencyViolation", f"Network {vpc} {text}")


@rule("ec2", "DeleteInternetGateway", code="DependencyViolation")
def gateway_in_use(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An internet gateway that is attached to a VPC cannot be deleted.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteInternetGateway.html
    """
    gateway = request.parameters.get("InternetGatewayId")
    links = (service("ec2")._internet_gateways.get(gateway) or {}).get("Attachments")
    text = f"The internetGateway '{gateway}' has dependencies and cannot be deleted."
    return Refusal("DependencyViolation", text) if links else None


@rule("ec2", "AssociateRouteTable", code="Resource.AlreadyAssociated")
def one_route_table_a_subnet(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet is associated with one route table; a second association needs the first one replaced.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateRouteTable.html
    """
    subnet = request.parameters.get("SubnetId")
    links = [link for table in service("ec2")._route_tables.values() for link in table["Associations"]]
    table = request.parameters.get("RouteTableId")
    text = f"the specified association for route table {table} conflicts with an existing association"
    taken = subnet is not None and any(link.get("SubnetId") == subnet for link in links)
    return Refusal("Resource.AlreadyAssociated", text) if taken else None


def _association(request: ApiRequest) -> dict[str, Any] | None:
    for table in service("ec2")._route_tables.values():
        for link in table["Associations"]:
            if link["RouteTableAssociationId"] == request.parameters.get("AssociationId"):
                found: dict[str, Any] = link
                return found
    return None


@rule("ec2", "DisassociateRouteTable", "ReplaceRouteTableAssociation", code="InvalidAssociationID.NotFound")
def association_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An association of a route table that does not exist can be neither ended nor replaced.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateRouteTable.html
    """
    if _association(request):
        return None
    text = f"The association ID '{request.parameters.get('AssociationId')}' does not exist"
    return Refusal("InvalidAssociationID.NotFound", text)


@rule("ec2", "DisassociateRouteTable", code="InvalidParameterValue")
def main_association_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The association of a VPC's main route table cannot be ended.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DisassociateRouteTable.html
    """
    if not (_association(request) or {}).get("Main"):
        return None
    text = f"cannot disassociate the main route table association {request.parameters['AssociationId']}"
    return Refusal("InvalidParameterValue", text)


@rule("ec2", "DeleteRouteTable", code="DependencyViolation")
def route_table_in_use(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A route table that is associated with a subnet, or is the main one of its VPC, cannot be deleted.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteRouteTable.html
    """
    table = request.parameters.get("RouteTableId")
    used = (service("ec2")._route_tables.get(table) or {}).get("Associations")
    text = f"The routeTable '{table}' has dependencies and cannot be deleted."
    return Refusal("DependencyViolation", text) if used else None


def _route(request: ApiRequest) -> dict[str, Any] | None:
    """The route of the request's table and destination."""
    given = request.parameters
    names = ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
    wanted = {name: given[name] for name in names if name in given}
    routes = (service("ec2")._route_tables.get(given.get("RouteTableId")) or {}).get("Routes", [])
    return next((r for r in routes if wanted and all(r.get(name) == wanted[name] for name in wanted)), None)


@rule("ec2", "CreateRoute", code="RouteAlreadyExists")
def route_exists(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A route table has one route to a destination.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRoute.html
    """
    text = f"The route identified by {request.parameters.get('DestinationCidrBlock')} already exists."
    route = _route(request)
    return Refusal("RouteAlreadyExists", text) if route and route.get("GatewayId") != "local" else None


@rule("ec2", "DeleteRoute", "ReplaceRoute", code="InvalidRoute.NotFound")
def route_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A route that is not in the table can be neither deleted nor replaced (InvalidParameterValue, by the latter).
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteRoute.html
    """
    given = request.parameters
    if _route(request) or given.get("RouteTableId") not in service("ec2")._route_tables:
        return None
    target, table = given.get("DestinationCidrBlock"), given.get("RouteTableId")
    if request.operation == "DeleteRoute":
        text = f"no route with destination-cidr-block {target} in route table {table}"
        return Refusal("InvalidRoute.NotFound", text)
    text = f"There is no route defined for '{target}' in the route table. Use CreateRoute instead."
    return Refusal("InvalidParameterValue", text)


@rule("ec2", "DeleteRoute", code="InvalidParameterValue")
def local_route_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The local route of a VPC cannot be deleted.
    https://docs.aws.amazon.com/vpc/latest/userguide/subnet-route-tables.html
    """
    if (_route(request) or {}).get("GatewayId") != "local":
        return None
    target, table = request.parameters.get("DestinationCidrBlock"), request.parameters.get("RouteTableId")
    return Refusal("InvalidParameterValue", f"cannot remove local route {target} in route table {table}")


@rule("ec2", "CreateRoute", "ReplaceRoute", code="InvalidGatewayID.NotFound")
def route_gateway_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A route leads to an internet gateway that exists.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRoute.html
    """
    gateway = request.parameters.get("GatewayId", "")
    if not gateway.startswith("igw-") or gateway in service("ec2")._internet_gateways:
        return None
    return Refusal("InvalidGatewayID.NotFound", f"The gateway ID '{gateway}' does not exist")


@rule("ec2", "CreateRoute", "ReplaceRoute", code="InvalidParameterValue")
def route_gateway_of_the_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A route leads to an internet gateway that is attached to the table's VPC.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateRoute.html
    """
    ec2, given = service("ec2"), request.parameters
    gateway, table = ec2._internet_gateways.get(given.get("GatewayId")), ec2._route_tables.get(given["RouteTableId"])
    if not gateway or not table or any(link["VpcId"] == table["VpcId"] for link in gateway["Attachments"]):
        return None
    names = f"route table {given['RouteTableId']} and network gateway {given['GatewayId']}"
    return Refusal("InvalidParameterValue", f"{names} belong to different networks")


@rule("ec2", "DeleteNetworkInterface", "DescribeNetworkInterfaces", code="InvalidNetworkInterfaceID.NotFound")
def interface_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names a network interface that does not exist is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html
    """
    listed = request.parameters.get("NetworkInterfaceIds") or []
    return missing("eni", [*_given(request, "NetworkInterfaceId"), *listed])


@rule("ec2", "DeleteNetworkInterface", code="InvalidParameterValue")
def interface_in_use(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A network interface that is attached (of a task, a load balancer, a database) cannot be deleted.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteNetworkInterface.html
    """
    identifier = request.parameters.get("NetworkInterfaceId")
    attached = (service("ec2")._network_interfaces.get(identifier) or {}).get("Attachment")
    text = f"Network interface '{identifier}' is currently in use."
    return Refusal("InvalidParameterValue", text) if attached else None


@rule("ec2", "DetachNetworkInterface", code="OperationNotPermitted")
def attachment_of_a_service(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Interfaces that a service made, such as a load balancer's, are not detached by hand.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/requester-managed-eni.html
    """
    attachment = request.parameters.get("AttachmentId", "")
    for interface in service("ec2")._network_interfaces.values():
        if (interface.get("Attachment") or {}).get("AttachmentId") == attachment and interface.get("RequesterManaged"):
            text = f"You are not allowed to manage '{attachment.rpartition('-')[0]}' attachments."
            return Refusal("OperationNotPermitted", text)
    return None


@rule("ec2", "DetachNetworkInterface", code="InvalidAttachmentID.NotFound")
def attachment_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An attachment that does not exist cannot be ended.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachNetworkInterface.html
    """
    attachment = request.parameters.get("AttachmentId")
    have = [interface.get("Attachment") or {} for interface in service("ec2")._network_interfaces.values()]
    if any(one.get("AttachmentId") == attachment for one in have):
        return None
    return Refusal("InvalidAttachmentID.NotFound", f"The attachment ID '{attachment}' does not exist")


def _interface_request(request: ApiRequest) -> tuple[dict[str, Any] | None, str | None]:
    """(subnet, address that is asked for) of CreateNetworkInterface."""
    return service("ec2")._subnets.get(request.parameters.get("SubnetId")), request.parameters.get("PrivateIpAddress")


@rule("ec2", "CreateNetworkInterface", code="InvalidParameterValue")
def address_of_its_subnet(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An interface's address lies in its subnet.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkInterface.html
    """
    subnet, address = _interface_request(request)
    if not subnet or not address or ipaddress.ip_address(address) in ipaddress.ip_network(subnet["CidrBlock"]):
        return None
    return Refusal("InvalidParameterValue", "Address does not fall within the subnet's address range")


@rule("ec2", "CreateNetworkInterface", code="InvalidIPAddress.InUse")
def address_in_use(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An address of a subnet is one interface's.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkInterface.html
    """
    subnet, address = _interface_request(request)
    if subnet is None or address is None:
        return None
    for interface in service("ec2")._network_interfaces.values():
        if interface["PrivateIpAddress"] == address and interface["VpcId"] == subnet["VpcId"]:
            return Refusal("InvalidIPAddress.InUse", f"Address {address} is in use.")
    return None


@rule("ec2", "CreateNetworkInterface", code="InsufficientFreeAddressesInSubnet")
def subnet_is_full(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet without a free address takes no more interfaces.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkInterface.html
    """
    subnet, _ = _interface_request(request)
    text = "The specified subnet does not have enough free addresses to satisfy the request."
    return Refusal("InsufficientFreeAddressesInSubnet", text) if subnet and free_addresses(subnet) < 1 else None


@rule("ec2", "CreateTags", code="InvalidVpcID.NotFound by kind")
def tagged_resources_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Only what exists can be tagged.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateTags.html
    """
    for identifier in request.parameters.get("Resources") or []:
        prefix = identifier.partition("-")[0]
        if prefix in KINDS and (refusal := missing(prefix, [identifier])):
            return refusal
    return None


@rule("ec2", "CreateTags", code="TagLimitExceeded")
def too_many_tags(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A resource has at most 50 tags.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
    """
    fresh = {tag.get("Key") for tag in request.parameters.get("Tags") or []}
    for identifier in request.parameters.get("Resources") or []:
        if len(fresh | {tag["Key"] for tag in service("ec2")._tags.get(identifier, [])}) > TAGS:
            return Refusal("TagLimitExceeded", f"More than {TAGS} tags specified for resource {identifier}")
    return None
