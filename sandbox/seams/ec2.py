"""EC2's network: interfaces that come and go with what they belong to, dependencies that hold, DryRun."""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from sandbox.emulator import service
from sandbox.seams import ec2_groups
from sandbox.seams.refusal import Params, Refused, Response, answered, guarded

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

MAX_PAGE = 1000


def install(runtime: Runtime) -> None:
    ec2 = service("ec2")
    ec2_groups.install(ec2)
    actions = ec2._ACTION_MAP
    for name, rule in {
        "CreateSubnet": _check_subnet,
        "DeleteSubnet": _check_subnet_is_free,
        "DeleteVpc": _check_vpc_is_free,
        "CreateNetworkInterface": _check_interface_request,
        "DeleteNetworkInterface": _check_interface_is_free,
        "DetachInternetGateway": _check_gateway_is_attached,
        "DeleteInternetGateway": _check_gateway_is_detached,
        "AssociateRouteTable": _check_one_table_per_subnet,
        "DeleteRouteTable": _check_table_is_free,
        "CreateRoute": _check_route_is_new,
    }.items():
        actions[name] = guarded(ec2, rule, actions[name])
    create_interface_operation = actions["CreateNetworkInterface"]
    actions["CreateNetworkInterface"] = lambda p: _with_subnet_address(runtime, p, create_interface_operation)
    actions["DescribeNetworkInterfaces"] = lambda p: _describe_interfaces(ec2, p)
    ec2._eni_fields_xml = _interface_xml
    for name, handler in list(actions.items()):
        actions[name] = answered(ec2, guarded(ec2, _dry_run, handler))
    runtime.at_start.append(lambda: _claim_addresses(runtime, ec2))


def _claim_addresses(runtime: Runtime, ec2: Any) -> None:
    """What was in use before a restart of the sandbox still is."""
    for interface in ec2._network_interfaces._data.values():
        runtime.addresses.claim(interface["PrivateIpAddress"])


def create_interface(
    subnet: str,
    address: str,
    groups: list[str],
    description: str,
    *,
    interface_type: str = "interface",
    requester: str = "amazon-aws",
    attachment_prefix: str = "eni-attach",
    instance_owner: str = "amazon-aws",
) -> str:
    """Add an interface that an AWS service made (a task's, a load balancer's, a database's); its id.

    To be called in the request scope of the account and region it belongs to.
    """
    ec2 = service("ec2")
    place = ec2._subnets.get(subnet) or {}
    identifier = f"eni-{secrets.token_hex(9)[:17]}"
    ec2._network_interfaces[identifier] = {
        "NetworkInterfaceId": identifier,
        "SubnetId": subnet,
        "VpcId": place.get("VpcId", ""),
        "AvailabilityZone": place.get("AvailabilityZone", ""),
        "Description": description,
        "OwnerId": ec2.get_account_id(),
        "RequesterId": requester,
        "RequesterManaged": True,
        "Status": "in-use",
        "PrivateIpAddress": address,
        "InterfaceType": interface_type,
        "SourceDestCheck": True,
        "MacAddress": mac_address(),
        "Groups": [
            {"GroupId": group, "GroupName": ec2._security_groups.get(group, {}).get("GroupName", group)}
            for group in groups
        ],
        "Attachment": {
            "AttachmentId": f"{attachment_prefix}-{secrets.token_hex(9)[:17]}",
            "InstanceOwnerId": instance_owner,
            "DeviceIndex": 1,
            "Status": "attached",
            "AttachTime": _now(),
        },
    }
    return identifier


def delete_interface(identifier: str) -> None:
    """Take an interface of a service away; nothing happens when it is gone already."""
    service("ec2")._network_interfaces.pop(identifier, None)


def default_groups(vpc: str) -> list[str]:
    """The VPC's default security group, which whoever names none gets."""
    return [
        str(group)
        for group, record in service("ec2")._security_groups.items()
        if record["VpcId"] == vpc and record["GroupName"] == "default"
    ]


def mac_address() -> str:
    """Locally administered, as EC2's are."""
    return "02:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(5))


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def _dry_run(ec2: Any, p: Params) -> None:
    """Nothing may change. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html"""
    if str(ec2._p(p, "DryRun")).lower() == "true":
        raise Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def _check_subnet(ec2: Any, p: Params) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSubnet.html"""
    vpc = ec2._vpcs.get(ec2._p(p, "VpcId"))
    if vpc is None:
        raise Refused("InvalidVpcID.NotFound", f"The vpc ID '{ec2._p(p, 'VpcId')}' does not exist")
    text = ec2._p(p, "CidrBlock")
    try:
        block = ipaddress.ip_network(text, strict=True)
    except ValueError as error:
        raise Refused(
            "InvalidParameterValue",
            f"Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block.",
        ) from error
    if block.version != 4:
        raise Refused("InvalidParameterValue", f"Value ({text}) for parameter cidrBlock is invalid.")
    if not 16 <= block.prefixlen <= 28 or not block.subnet_of(ipaddress.IPv4Network(vpc["CidrBlock"])):
        raise Refused("InvalidSubnet.Range", f"The CIDR '{text}' is invalid.")
    for other in ec2._subnets.values():
        if other["VpcId"] == vpc["VpcId"] and block.overlaps(ipaddress.IPv4Network(other["CidrBlock"])):
            raise Refused("InvalidSubnet.Conflict", f"The CIDR '{text}' conflicts with another subnet")
    zone = ec2._p(p, "AvailabilityZone")
    if zone and not (zone[:-1] == ec2.get_region() and zone[-1] in "abcd"):
        raise Refused(
            "InvalidParameterValue",
            f"Value ({zone}) for parameter availabilityZone is invalid. Subnets can currently "
            f"only be created in the following availability zones: {', '.join(ec2.get_region() + z for z in 'abcd')}.",
        )


def _check_subnet_is_free(ec2: Any, p: Params) -> None:
    subnet = ec2._p(p, "SubnetId")
    if any(interface["SubnetId"] == subnet for interface in ec2._network_interfaces.values()):
        raise Refused("DependencyViolation", f"The subnet '{subnet}' has dependencies and cannot be deleted.")


def _check_vpc_is_free(ec2: Any, p: Params) -> None:
    vpc = ec2._p(p, "VpcId")
    tables = [
        table
        for table in ec2._route_tables.values()
        if table["VpcId"] == vpc and not any(link.get("Main") for link in table["Associations"])
    ]
    if tables:
        raise Refused("DependencyViolation", f"The vpc '{vpc}' has dependencies and cannot be deleted.")


def _check_interface_request(ec2: Any, p: Params) -> None:
    if ec2._p(p, "SubnetId") not in ec2._subnets:
        raise Refused("InvalidSubnetID.NotFound", f"The subnet ID '{ec2._p(p, 'SubnetId')}' does not exist")
    for group in ec2._parse_member_list(p, "SecurityGroupId"):
        if group not in ec2._security_groups:
            raise Refused("InvalidGroup.NotFound", f"The security group '{group}' does not exist")


def _with_subnet_address(runtime: Runtime, p: Params, create: Callable[[Params], Response]) -> Response:
    """The emulator invents an address anywhere; EC2 takes one of the subnet's."""
    ec2 = service("ec2")
    before = set(ec2._network_interfaces)
    answer = create(p)
    for identifier in set(ec2._network_interfaces) - before:
        interface = ec2._network_interfaces[identifier]
        invented = interface["PrivateIpAddress"]
        interface["PrivateIpAddress"] = runtime.addresses.take(ec2._subnets[interface["SubnetId"]]["CidrBlock"])
        ec2._parse_tag_specs(p, "network-interface", identifier)
        body = answer[2].replace(invented.encode(), interface["PrivateIpAddress"].encode())
        answer = (answer[0], answer[1], body)
    return answer


def _check_interface_is_free(ec2: Any, p: Params) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteNetworkInterface.html"""
    identifier = ec2._p(p, "NetworkInterfaceId")
    interface = ec2._network_interfaces.get(identifier)
    if interface is None:
        raise Refused("InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{identifier}' does not exist")
    if interface.get("Attachment"):
        raise Refused("InvalidParameterValue", f"Network interface '{identifier}' is currently in use.")


def _check_gateway_is_attached(ec2: Any, p: Params) -> None:
    gateway, vpc = ec2._p(p, "InternetGatewayId"), ec2._p(p, "VpcId")
    record = ec2._internet_gateways.get(gateway)
    if record is None:
        raise Refused("InvalidInternetGatewayID.NotFound", f"The internetGateway ID '{gateway}' does not exist")
    if not any(link["VpcId"] == vpc for link in record["Attachments"]):
        raise Refused("Gateway.NotAttached", f"resource {gateway} is not attached to network {vpc}")


def _check_gateway_is_detached(ec2: Any, p: Params) -> None:
    gateway = ec2._p(p, "InternetGatewayId")
    if ec2._internet_gateways.get(gateway, {}).get("Attachments"):
        raise Refused("DependencyViolation", f"The internetGateway '{gateway}' has dependencies and cannot be deleted.")


def _check_one_table_per_subnet(ec2: Any, p: Params) -> None:
    subnet = ec2._p(p, "SubnetId")
    if subnet and any(
        link.get("SubnetId") == subnet for table in ec2._route_tables.values() for link in table["Associations"]
    ):
        raise Refused("Resource.AlreadyAssociated", f"the specified association for subnet {subnet} already exists")


def _check_table_is_free(ec2: Any, p: Params) -> None:
    table = ec2._p(p, "RouteTableId")
    if ec2._route_tables.get(table, {}).get("Associations"):
        raise Refused("DependencyViolation", f"The routeTable '{table}' has dependencies and cannot be deleted.")


def _check_route_is_new(ec2: Any, p: Params) -> None:
    table, target = ec2._p(p, "RouteTableId"), ec2._p(p, "DestinationCidrBlock")
    routes = ec2._route_tables.get(table, {}).get("Routes", [])
    if any(route.get("DestinationCidrBlock") == target for route in routes):
        raise Refused("RouteAlreadyExists", f"The route identified by {target} already exists.")


def _describe_interfaces(ec2: Any, p: Params) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html"""
    wanted = ec2._parse_member_list(p, "NetworkInterfaceId")
    for identifier in wanted:
        if identifier not in ec2._network_interfaces:
            raise Refused(
                "InvalidNetworkInterfaceID.NotFound", f"The networkInterface ID '{identifier}' does not exist"
            )
    filters = ec2._parse_filters(p)
    found = [
        interface
        for identifier, interface in ec2._network_interfaces.items()
        if (not wanted or identifier in wanted)
        and ec2._resource_matches_tag_filters(identifier, filters)
        and _matches(interface, filters)
    ]
    start = int(ec2._p(p, "NextToken") or 0)
    size = int(ec2._p(p, "MaxResults") or MAX_PAGE)
    items = "".join(ec2._eni_fields_xml(interface) for interface in found[start : start + size])
    token = f"<nextToken>{start + size}</nextToken>" if start + size < len(found) else ""
    answer: Response = ec2._xml(
        200, "DescribeNetworkInterfacesResponse", f"<networkInterfaceSet>{items}</networkInterfaceSet>{token}"
    )
    return answer


def _matches(interface: Mapping[str, Any], filters: Mapping[str, list[str]]) -> bool:
    attachment = interface.get("Attachment") or {}
    address = interface["PrivateIpAddress"]
    values: dict[str, list[str]] = {
        "network-interface-id": [interface["NetworkInterfaceId"]],
        "subnet-id": [interface["SubnetId"]],
        "vpc-id": [interface["VpcId"]],
        "availability-zone": [interface["AvailabilityZone"]],
        "description": [interface["Description"]],
        "status": [interface["Status"]],
        "private-ip-address": [address],
        "addresses.private-ip-address": [address],
        "addresses.primary": ["true"],
        "mac-address": [interface["MacAddress"]],
        "owner-id": [interface["OwnerId"]],
        "interface-type": [interface.get("InterfaceType", "interface")],
        "requester-id": [interface.get("RequesterId", "")],
        "requester-managed": ["true" if interface.get("RequesterManaged") else "false"],
        "group-id": [group["GroupId"] for group in interface["Groups"]],
        "group-name": [group["GroupName"] for group in interface["Groups"]],
        "attachment.attachment-id": [attachment.get("AttachmentId", "")],
        "attachment.instance-id": [attachment.get("InstanceId", "")],
        "attachment.instance-owner-id": [attachment.get("InstanceOwnerId", "")],
        "attachment.status": [attachment.get("Status", "")],
    }
    return ec2_groups.passes(values, filters)


def _interface_xml(interface: Mapping[str, Any], tag: str = "item") -> str:
    ec2 = service("ec2")
    address = interface["PrivateIpAddress"]
    name = f"ip-{address.replace('.', '-')}.{interface['AvailabilityZone'][:-1] or ec2.get_region()}.compute.internal"
    groups = "".join(
        f"<item><groupId>{group['GroupId']}</groupId><groupName>{escape(group['GroupName'])}</groupName></item>"
        for group in interface["Groups"]
    )
    requester = interface.get("RequesterId")
    return (
        f"<{tag}><networkInterfaceId>{interface['NetworkInterfaceId']}</networkInterfaceId>"
        f"<subnetId>{interface['SubnetId']}</subnetId><vpcId>{interface['VpcId']}</vpcId>"
        f"<availabilityZone>{interface['AvailabilityZone']}</availabilityZone>"
        f"<description>{escape(interface['Description'])}</description><ownerId>{interface['OwnerId']}</ownerId>"
        + (f"<requesterId>{requester}</requesterId>" if requester else "")
        + f"<requesterManaged>{'true' if interface.get('RequesterManaged') else 'false'}</requesterManaged>"
        f"<status>{interface['Status']}</status><macAddress>{interface['MacAddress']}</macAddress>"
        f"<privateIpAddress>{address}</privateIpAddress><privateDnsName>{name}</privateDnsName>"
        f"<sourceDestCheck>{'true' if interface.get('SourceDestCheck', True) else 'false'}</sourceDestCheck>"
        f"<groupSet>{groups}</groupSet>{_attachment_xml(interface.get('Attachment'))}"
        f"<privateIpAddressesSet><item><privateIpAddress>{address}</privateIpAddress>"
        f"<privateDnsName>{name}</privateDnsName><primary>true</primary></item></privateIpAddressesSet>"
        f"<ipv6AddressesSet/><interfaceType>{interface.get('InterfaceType', 'interface')}</interfaceType>"
        f"{ec2._tag_set_xml(interface['NetworkInterfaceId'])}</{tag}>"
    )


def _attachment_xml(attachment: Mapping[str, Any] | None) -> str:
    if not attachment:
        return ""
    instance = attachment.get("InstanceId")
    owner = attachment.get("InstanceOwnerId")
    return (
        f"<attachment><attachmentId>{attachment['AttachmentId']}</attachmentId>"
        + (f"<instanceId>{instance}</instanceId>" if instance else "")
        + (f"<instanceOwnerId>{owner}</instanceOwnerId>" if owner else "")
        + f"<deviceIndex>{attachment.get('DeviceIndex', 0)}</deviceIndex><status>{attachment['Status']}</status>"
        f"<attachTime>{attachment.get('AttachTime') or _now()}</attachTime>"
        "<deleteOnTermination>false</deleteOnTermination></attachment>"
    )
