"""EC2's network: interfaces that come and go with what they belong to, dependencies that hold, DryRun."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from sandbox.addresses import RESERVED_AT_START, NoAddress
from sandbox.behaviours import behaviour
from sandbox.emulator import service
from sandbox.seams import ec2_acls, ec2_blocks, ec2_groups, ec2_places
from sandbox.seams.ec2_lists import (
    Kind,
    describe,
    gateway_values,
    interface_values,
    subnet_values,
    table_values,
    vpc_values,
)
from sandbox.seams.refusal import Handler, Params, Refused, Response, answered, guarded

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

# Operations that end a resource → the parameter that names it.
DELETIONS = {
    "DeleteVpc": "VpcId",
    "DeleteSubnet": "SubnetId",
    "DeleteInternetGateway": "InternetGatewayId",
    "DeleteRouteTable": "RouteTableId",
    "DeleteNetworkInterface": "NetworkInterfaceId",
    "DeleteSecurityGroup": "GroupId",
}


def install(runtime: Runtime) -> None:
    ec2 = service("ec2")
    ec2_groups.install(ec2)
    ec2_blocks.install(ec2)
    ec2_acls.install(ec2)
    ec2_places.install(ec2)
    ec2._eni_fields_xml = _interface_xml
    subnet_xml = ec2._subnet_fields_xml
    ec2._subnet_fields_xml = lambda subnet, tag="item": subnet_xml(_with_free_addresses(subnet), tag)
    actions = ec2._ACTION_MAP
    for kind in (
        Kind("DescribeVpcs", ec2._vpcs, "VpcId", "vpcSet", ec2._vpc_fields_xml, vpc_values),
        Kind("DescribeSubnets", ec2._subnets, "SubnetId", "subnetSet", ec2._subnet_fields_xml, subnet_values),
        Kind(
            "DescribeInternetGateways",
            ec2._internet_gateways,
            "InternetGatewayId",
            "internetGatewaySet",
            ec2._igw_fields_xml,
            gateway_values,
        ),
        Kind(
            "DescribeRouteTables", ec2._route_tables, "RouteTableId", "routeTableSet", ec2._rtb_fields_xml, table_values
        ),
        Kind(
            "DescribeNetworkInterfaces",
            ec2._network_interfaces,
            "NetworkInterfaceId",
            "networkInterfaceSet",
            _interface_xml,
            interface_values,
        ),
        Kind(
            "DescribeSecurityGroups",
            ec2._security_groups,
            "GroupId",
            "securityGroupInfo",
            ec2._sg_xml,
            ec2_groups.values,
        ),
    ):
        actions[kind.operation] = describe(ec2, kind)
    by_name = actions["DescribeSecurityGroups"]
    actions["DescribeSecurityGroups"] = lambda p: by_name(_names_as_filter(ec2, p))
    subnet = guarded(ec2, _check_block, actions["CreateSubnet"])
    actions["CreateSubnet"] = lambda p: subnet(_zone_by_its_id(ec2, p))
    actions["DeleteTags"] = lambda p: _delete_tags(ec2, p)
    interface, table = actions["CreateNetworkInterface"], actions["CreateRouteTable"]
    actions["CreateNetworkInterface"] = lambda p: _once(
        ec2, p, ec2._network_interfaces, lambda p: _create_interface(runtime, ec2, p, interface), _shown_interface
    )
    actions["CreateRouteTable"] = lambda p: _once(ec2, p, ec2._route_tables, table, _shown_table)
    for name, parameter in DELETIONS.items():
        actions[name] = _ending(runtime, ec2, parameter, actions[name])
    for name, handler in list(actions.items()):
        actions[name] = answered(ec2, guarded(ec2, _dry_run, handler))
    runtime.at_start.append(lambda: _claim_addresses(runtime, ec2))


@behaviour("ec2", otherwise=lambda ec2, p: p)
def _zone_by_its_id(ec2: Any, p: Params) -> Params:
    """A subnet's Availability Zone can be given by its id, which is the same zone in every account.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSubnet.html
    """
    wanted = ec2._p(p, "AvailabilityZoneId")
    name = next((name for name, identifier in ec2_places.zones(ec2).items() if identifier == wanted), None)
    return {**p, "AvailabilityZone": [name]} if name else p


def _names_as_filter(ec2: Any, p: Params) -> Params:
    names = ec2._parse_member_list(p, "GroupName")
    place = len(ec2._parse_filters(p)) + 1
    more = {f"Filter.{place}.Value.{number}": [name] for number, name in enumerate(names, 1)}
    return {**p, **more, f"Filter.{place}.Name": ["group-name"]} if names else p


def _ending(runtime: Runtime, ec2: Any, parameter: str, delete: Handler) -> Handler:
    """A deletion, and what goes with it."""

    def handler(p: Params) -> Response:
        identifier = ec2._p(p, parameter)
        interface = ec2._network_interfaces.get(identifier)
        answer = delete(p)
        if answer[0] == 200:
            _tags_go_with_it(ec2, identifier)
            if interface is not None:
                _address_comes_back(runtime, interface)
        return answer

    return handler


@behaviour("ec2")
def _tags_go_with_it(ec2: Any, identifier: str) -> None:
    """The tags of a deleted resource go with it.
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Tags.html
    """
    ec2._tags.pop(identifier, None)


@behaviour("ec2")
def _address_comes_back(runtime: Runtime, interface: Mapping[str, Any]) -> None:
    """The address of a deleted interface is its subnet's again.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteNetworkInterface.html
    """
    runtime.addresses.release(interface["PrivateIpAddress"])


def _delete_tags(ec2: Any, p: Params) -> Response:
    wanted = {tag["Key"]: tag["Value"] for tag in ec2._parse_tags(p)}
    for identifier in ec2._parse_member_list(p, "ResourceId"):
        kept = [tag for tag in ec2._tags.get(identifier, []) if not _tag_is_meant(tag, wanted)]
        if identifier in ec2._tags:
            ec2._tags[identifier] = kept
    answer: Response = ec2._xml(200, "DeleteTagsResponse", "<return>true</return>")
    return answer


@behaviour("ec2", otherwise=lambda tag, wanted: tag["Key"] in wanted)
def _tag_is_meant(tag: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """DeleteTags with a value takes a tag only when it has that value; without any tag it takes all.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteTags.html
    """
    return not wanted or (tag["Key"] in wanted and wanted[tag["Key"]] in ("", tag["Value"]))


def _once(ec2: Any, p: Params, records: Any, create: Handler, show: Callable[[Any, Any], Response]) -> Response:
    """A creation with a client token."""
    token, asked = ec2._p(p, "ClientToken"), _fingerprint(p)
    if (made := _same_token_same_resource(records, token)) is not None:
        _token_of_another_request(made, asked)
        return show(ec2, made)
    before = set(records)
    answer = create(p)
    for identifier in set(records) - before:
        records[identifier]["_client"] = [token, asked]
    return answer


@behaviour("ec2")
def _same_token_same_resource(records: Any, token: str) -> dict[str, Any] | None:
    """A creation with a ClientToken that was used before gives the resource that was made then.
    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    return next((record for record in records.values() if token and record.get("_client", [""])[0] == token), None)


@behaviour("ec2", code="IdempotentParameterMismatch")
def _token_of_another_request(made: Mapping[str, Any], asked: str) -> None:
    """A ClientToken that was used with other parameters is refused.
    https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-idempotency.html
    """
    if made["_client"][1] != asked:
        text = "The request uses the same client token as a previous, but non-identical request."
        raise Refused("IdempotentParameterMismatch", text)


def _fingerprint(p: Params) -> str:
    return hashlib.sha256(json.dumps(sorted((key, value) for key, value in p.items())).encode()).hexdigest()


def _shown_interface(ec2: Any, record: Any) -> Response:
    answer: Response = ec2._xml(200, "CreateNetworkInterfaceResponse", _interface_xml(record, "networkInterface"))
    return answer


def _shown_table(ec2: Any, record: Any) -> Response:
    answer: Response = ec2._xml(200, "CreateRouteTableResponse", ec2._rtb_fields_xml(record, tag="routeTable"))
    return answer


@behaviour("ec2", otherwise=lambda subnet: subnet)
def _with_free_addresses(subnet: dict[str, Any]) -> dict[str, Any]:
    """AvailableIpAddressCount counts the addresses of a subnet that are neither reserved nor an interface's.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Subnet.html
    """
    return {**subnet, "AvailableIpAddressCount": free_addresses(subnet)}


def free_addresses(subnet: Mapping[str, Any]) -> int:
    """How many addresses of a subnet are nobody's: AWS keeps the first four and the last one."""
    taken = sum(i["SubnetId"] == subnet["SubnetId"] for i in service("ec2")._network_interfaces.values())
    size = ipaddress.ip_network(subnet["CidrBlock"]).num_addresses
    return size - RESERVED_AT_START - 1 - int(taken)


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


@behaviour("ec2", code="DryRunOperation", stateful=False)
def _dry_run(ec2: Any, p: Params) -> None:
    """A request with DryRun changes nothing and is answered with an error, also where it would succeed.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html
    """
    if str(ec2._p(p, "DryRun")).lower() == "true":
        raise Refused("DryRunOperation", "Request would have succeeded, but DryRun flag is set.", 412)


def _check_block(ec2: Any, p: Params) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSubnet.html"""
    text = ec2._p(p, "CidrBlock")
    try:
        ipaddress.IPv4Network(text, strict=False)
    except ValueError as error:
        raise Refused(
            "InvalidParameterValue",
            f"Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block.",
        ) from error


def _create_interface(runtime: Runtime, ec2: Any, p: Params, create: Handler) -> Response:
    """The emulator invents an address anywhere, and takes a group of another VPC when none is named."""
    before = set(ec2._network_interfaces)
    answer = create(p)
    for identifier in set(ec2._network_interfaces) - before:
        interface = ec2._network_interfaces[identifier]
        _address_in_its_subnet(runtime, interface, ec2._p(p, "PrivateIpAddress"))
        if not ec2._parse_member_list(p, "SecurityGroupId"):
            _default_group_of_the_vpc(ec2, interface)
        ec2._parse_tag_specs(p, "network-interface", identifier)
        answer = _shown_interface(ec2, interface)
    return answer


@behaviour("ec2")
def _address_in_its_subnet(runtime: Runtime, interface: dict[str, Any], asked: str) -> None:
    """A network interface has the address of its subnet that is asked for, or a free one.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkInterface.html
    """
    if asked:
        runtime.addresses.claim(asked)
        interface["PrivateIpAddress"] = asked
        return
    subnet = service("ec2")._subnets.get(interface["SubnetId"])
    with contextlib.suppress(NoAddress):
        interface["PrivateIpAddress"] = runtime.addresses.take(subnet["CidrBlock"])


@behaviour("ec2")
def _default_group_of_the_vpc(ec2: Any, interface: dict[str, Any]) -> None:
    """A network interface for which no security group is named gets the VPC's default one.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkInterface.html
    """
    interface["Groups"] = [
        {"GroupId": group, "GroupName": ec2._security_groups[group]["GroupName"]}
        for group in default_groups(interface["VpcId"])
    ]


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
