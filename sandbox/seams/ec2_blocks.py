"""Address blocks of VPCs and subnets: their canonical form, further IPv4 blocks, IPv6 blocks from Amazon's pool."""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.behaviours import behaviour
from sandbox.seams.refusal import Handler, Params, Refused, Response

Record = Mapping[str, Any]
Block = dict[str, str]
# Members of a VPC's and of a subnet's record that are not the emulator's.
BLOCKS = "_blocks"
ASSIGNS = "_assigns_ipv6"
FORMER = "_former_ipv6_blocks"


def install(ec2: Any) -> None:
    vpc_xml, subnet_xml, actions = ec2._vpc_fields_xml, ec2._subnet_fields_xml, ec2._ACTION_MAP
    ec2._vpc_fields_xml = lambda vpc, tag="item": _with_further_blocks(ec2, vpc, vpc_xml(vpc, tag))
    ec2._subnet_fields_xml = lambda subnet, tag="item": _with_ipv6(subnet, subnet_xml(subnet, tag), tag)
    vpc, subnet, table, modify = (
        actions[name] for name in ("CreateVpc", "CreateSubnet", "CreateRouteTable", "ModifySubnetAttribute")
    )
    actions["CreateVpc"] = lambda p: _create_vpc(ec2, p, vpc)
    actions["CreateSubnet"] = lambda p: _create_subnet(ec2, p, subnet)
    actions["CreateRouteTable"] = lambda p: _create_table(ec2, p, table)
    actions["ModifySubnetAttribute"] = lambda p: _modify_subnet(ec2, p, modify)
    actions["AssociateVpcCidrBlock"] = lambda p: _associate_vpc(ec2, p)
    actions["DisassociateVpcCidrBlock"] = lambda p: _disassociate(ec2, p, "Vpc")
    actions["AssociateSubnetCidrBlock"] = lambda p: _associate_subnet(ec2, p)
    actions["DisassociateSubnetCidrBlock"] = lambda p: _disassociate(ec2, p, "Subnet")


def further(record: Record, version: int) -> list[Block]:
    """Blocks of a VPC or a subnet besides its first IPv4 one, of IPv4 or of IPv6."""
    return [block for block in record.get(BLOCKS, ()) if (":" in block["CidrBlock"]) == (version == 6)]


def ipv4_blocks(vpc: Record) -> list[ipaddress.IPv4Network]:
    """All IPv4 blocks of a VPC."""
    texts = [vpc["CidrBlock"], *(block["CidrBlock"] for block in further(vpc, 4))]
    return [ipaddress.IPv4Network(text, strict=False) for text in texts]


def holder_of(ec2: Any, association: str) -> tuple[dict[str, Any], Block] | None:
    """(VPC or subnet, block) of an association."""
    for record in [*ec2._vpcs.values(), *ec2._subnets.values()]:
        for block in record.get(BLOCKS, ()):
            if block["AssociationId"] == association:
                return record, block
    return None


@behaviour("ec2", stateful=False, otherwise=lambda p: p)
def _blocks_in_canonical_form(p: Params) -> Params:
    """Host bits of a new VPC's or subnet's block are cleared: 10.0.0.5/16 becomes 10.0.0.0/16.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateVpc.html
    """
    text = next(iter(p.get("CidrBlock", [""])), "")
    with contextlib.suppress(ValueError):
        return {**p, "CidrBlock": [str(ipaddress.IPv4Network(text, strict=False))]}
    return p


def _create_vpc(ec2: Any, p: Params, create: Handler) -> Response:
    before = set(ec2._vpcs)
    answer = create(_blocks_in_canonical_form(p))
    for identifier in set(ec2._vpcs) - before:
        _default_group_admits_itself(ec2, identifier)
        if _yes(ec2, p, "AmazonProvidedIpv6CidrBlock") and (block := _amazons_block()):
            _add(ec2, ec2._vpcs[identifier], "vpc", block)
            answer = ec2._xml(200, "CreateVpcResponse", ec2._vpc_fields_xml(ec2._vpcs[identifier], tag="vpc"))
    return answer


@behaviour("ec2")
def _default_group_admits_itself(ec2: Any, vpc: str) -> None:
    """The default security group of a new VPC admits whatever has that same group.
    https://docs.aws.amazon.com/vpc/latest/userguide/default-security-group.html
    """
    for record in ec2._security_groups.values():
        if record["VpcId"] == vpc and record["GroupName"] == "default" and not record["IpPermissions"]:
            pair = {"GroupId": record["GroupId"], "UserId": record["OwnerId"]}
            empty: dict[str, list[Any]] = {"IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": []}
            record["IpPermissions"] = [{"IpProtocol": "-1", "UserIdGroupPairs": [pair], **empty}]


@behaviour("ec2")
def _amazons_block() -> str | None:
    """A VPC that asks for an IPv6 block gets a /56 of Amazon's pool.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AssociateVpcCidrBlock.html
    """
    number = (0x2600_1F14 << 96) | (secrets.randbits(24) << 72)
    return str(ipaddress.IPv6Network((number, 56)))


def _yes(ec2: Any, p: Params, name: str) -> bool:
    return str(ec2._p(p, name)).lower() == "true"


def _add(ec2: Any, record: dict[str, Any], kind: str, text: str) -> Block:
    block = {"AssociationId": f"{kind}-cidr-assoc-{secrets.token_hex(9)[:17]}", "CidrBlock": text}
    record[BLOCKS] = [*record.get(BLOCKS, ()), block]
    if kind == "vpc":
        for table in ec2._route_tables.values():
            if table["VpcId"] == record["VpcId"]:
                _blocks_are_routed_locally(table, block)
    return block


@behaviour("ec2")
def _blocks_are_routed_locally(table: dict[str, Any], block: Block) -> None:
    """Each block of a VPC has a local route in each of its route tables.
    https://docs.aws.amazon.com/vpc/latest/userguide/RouteTables.html
    """
    member = "DestinationIpv6CidrBlock" if ":" in block["CidrBlock"] else "DestinationCidrBlock"
    route = {member: block["CidrBlock"], "GatewayId": "local", "State": "active", "Origin": "CreateRouteTable"}
    table["Routes"] = [*table["Routes"], route]


def _create_table(ec2: Any, p: Params, create: Handler) -> Response:
    before = set(ec2._route_tables)
    answer = create(p)
    for identifier in set(ec2._route_tables) - before:
        table = ec2._route_tables[identifier]
        for block in ec2._vpcs.get(table["VpcId"], {}).get(BLOCKS, ()):
            _blocks_are_routed_locally(table, block)
            answer = ec2._xml(200, "CreateRouteTableResponse", ec2._rtb_fields_xml(table, tag="routeTable"))
    return answer


def _create_subnet(ec2: Any, p: Params, create: Handler) -> Response:
    before = set(ec2._subnets)
    answer = create(_blocks_in_canonical_form(p))
    for identifier in set(ec2._subnets) - before:
        if text := ec2._p(p, "Ipv6CidrBlock"):
            _add(ec2, ec2._subnets[identifier], "subnet", text)
            answer = ec2._xml(200, "CreateSubnetResponse", ec2._subnet_fields_xml(ec2._subnets[identifier], "subnet"))
    return answer


def _modify_subnet(ec2: Any, p: Params, modify: Handler) -> Response:
    subnet, value = ec2._subnets.get(ec2._p(p, "SubnetId")), ec2._p(p, "AssignIpv6AddressOnCreation.Value")
    if subnet is not None and value:
        _ipv6_is_assigned_where_there_is_a_block(subnet, value.lower())
        subnet[ASSIGNS] = value.lower()
    return modify(p)


@behaviour("ec2", code="InvalidParameterValue")
def _ipv6_is_assigned_where_there_is_a_block(subnet: Record, value: str) -> None:
    """A subnet assigns IPv6 addresses only when it has an IPv6 block.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySubnetAttribute.html
    """
    if value == "true" and not further(subnet, 6):
        text = "The subnet must have an IPv6 CIDR block to allow this option to be set to true."
        raise Refused("InvalidParameterValue", f"Invalid value 'true' for assignIpv6AddressOnCreation. {text}")


def _associate_vpc(ec2: Any, p: Params) -> Response:
    vpc = ec2._vpcs[ec2._p(p, "VpcId")]
    text = ec2._p(p, "CidrBlock") or (_yes(ec2, p, "AmazonProvidedIpv6CidrBlock") and _amazons_block())
    if not text:
        raise Refused("MissingParameter", "Either 'cidrBlock' or 'amazonProvidedIpv6CidrBlock' should be provided.")
    inner = f"<vpcId>{vpc['VpcId']}</vpcId>{_association(ec2, _add(ec2, vpc, 'vpc', text), 'associating')}"
    answer: Response = ec2._xml(200, "AssociateVpcCidrBlockResponse", inner)
    return answer


def _associate_subnet(ec2: Any, p: Params) -> Response:
    subnet = ec2._subnets[ec2._p(p, "SubnetId")]
    block = _add(ec2, subnet, "subnet", ec2._p(p, "Ipv6CidrBlock"))
    inner = f"<subnetId>{subnet['SubnetId']}</subnetId>{_association(ec2, block, 'associating')}"
    answer: Response = ec2._xml(200, "AssociateSubnetCidrBlockResponse", inner)
    return answer


def _disassociate(ec2: Any, p: Params, kind: str) -> Response:
    inner, held = "", holder_of(ec2, ec2._p(p, "AssociationId"))
    if held is not None:
        record, block = held
        identifier = f"<{kind.lower()}Id>{record[f'{kind}Id']}</{kind.lower()}Id>"
        inner = identifier + _association(ec2, block, "disassociating")
        _take_away(ec2, record, block, kind)
    answer: Response = ec2._xml(200, f"Disassociate{kind}CidrBlockResponse", inner)
    return answer


def _take_away(ec2: Any, record: dict[str, Any], block: Block, kind: str) -> None:
    record[BLOCKS] = [other for other in record[BLOCKS] if other != block]
    if ":" in block["CidrBlock"]:
        record[FORMER] = [*record.get(FORMER, ()), block]
    for table in ec2._route_tables.values() if kind == "Vpc" else ():
        if table["VpcId"] == record["VpcId"]:
            table["Routes"] = [route for route in table["Routes"] if block["CidrBlock"] not in route.values()]


def _association(ec2: Any, block: Block, state: str, tag: str = "") -> str:
    """A block with its association, as an element of a set or by itself."""
    sixth, border = ":" in block["CidrBlock"], ec2.get_region()
    name = tag or ("ipv6CidrBlockAssociation" if sixth else "cidrBlockAssociation")
    prefix = "ipv6Cidr" if sixth else "cidr"
    pool = f"<ipv6Pool>Amazon</ipv6Pool><networkBorderGroup>{border}</networkBorderGroup>" if sixth else ""
    return (
        f"<{name}><associationId>{block['AssociationId']}</associationId>"
        f"<{prefix}Block>{block['CidrBlock']}</{prefix}Block>"
        f"<{prefix}BlockState><state>{state}</state></{prefix}BlockState>{pool}</{name}>"
    )


def _items(ec2: Any, blocks: list[Block]) -> Iterator[str]:
    return (_association(ec2, block, "associated", "item") for block in blocks)


@behaviour("ec2", otherwise=lambda record: [])
def former_blocks_are_shown(record: Record) -> list[Block]:
    """An IPv6 block that was taken from a VPC or a subnet is still shown with it, first, as disassociated.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcCidrBlockState.html
    """
    return list(record.get(FORMER, ()))


@behaviour("ec2", otherwise=lambda ec2, vpc, xml: xml)
def _with_further_blocks(ec2: Any, vpc: Record, xml: str) -> str:
    """DescribeVpcs shows the further blocks of a VPC, IPv4 and IPv6, each with its association and state.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Vpc.html
    """
    fourth = "".join(_items(ec2, further(vpc, 4)))
    former = (_association(ec2, block, "disassociated", "item") for block in former_blocks_are_shown(vpc))
    sixth = "".join([*former, *_items(ec2, further(vpc, 6))])
    more = f"<ipv6CidrBlockAssociationSet>{sixth}</ipv6CidrBlockAssociationSet>" if sixth else ""
    end = "</cidrBlockAssociationSet>"
    return xml.replace(end, fourth + end + more)


@behaviour("ec2", otherwise=lambda subnet, xml, tag: xml)
def _with_ipv6(subnet: Record, xml: str, tag: str) -> str:
    """DescribeSubnets shows the IPv6 block of a subnet, and whether it assigns addresses of it.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Subnet.html
    """
    former = former_blocks_are_shown(subnet)
    items = "".join(
        f"<item><associationId>{block['AssociationId']}</associationId><ipv6CidrBlock>{block['CidrBlock']}"
        f"</ipv6CidrBlock><ipv6CidrBlockState><state>{'dis' if block in former else ''}associated</state>"
        "</ipv6CidrBlockState></item>"
        for block in [*former, *further(subnet, 6)]
    )
    name = "assignIpv6AddressOnCreation"
    xml = xml.replace(f"<{name}>false</{name}>", f"<{name}>{subnet.get(ASSIGNS, 'false')}</{name}>")
    end = f"</{tag}>"
    return f"{xml.removesuffix(end)}<ipv6CidrBlockAssociationSet>{items}</ipv6CidrBlockAssociationSet>{end}"
