"""Which network ACL a subnet has: always one, at first its VPC's default one."""

from __future__ import annotations

import secrets
from typing import Any

from sandbox.behaviours import behaviour
from sandbox.seams.refusal import Handler, Params, Refused, Response

OF_A_SUBNET = "association.subnet-id"


def install(ec2: Any) -> None:
    actions = ec2._ACTION_MAP
    create, remove, describe = (actions[name] for name in ("CreateSubnet", "DeleteSubnet", "DescribeNetworkAcls"))
    drop, replace = actions["DeleteNetworkAcl"], actions["ReplaceNetworkAclAssociation"]
    actions["CreateSubnet"] = lambda p: _create_subnet(ec2, p, create)
    actions["DeleteSubnet"] = lambda p: _delete_subnet(ec2, p, remove)
    actions["DescribeNetworkAcls"] = lambda p: _describe(ec2, p, describe)
    actions["DeleteNetworkAcl"] = lambda p: _delete(ec2, p, drop)
    actions["ReplaceNetworkAclAssociation"] = lambda p: _replace(ec2, p, replace)


def _create_subnet(ec2: Any, p: Params, create: Handler) -> Response:
    before = set(ec2._subnets)
    answer = create(p)
    for identifier in set(ec2._subnets) - before:
        a_subnet_has_the_default_acl(ec2, ec2._subnets[identifier])
    return answer


@behaviour("ec2")
def a_subnet_has_the_default_acl(ec2: Any, subnet: dict[str, Any]) -> None:
    """A new subnet is associated with the default network ACL of its VPC.
    https://docs.aws.amazon.com/vpc/latest/userguide/nacl-basics.html
    """
    for acl in ec2._network_acls.values():
        if acl["VpcId"] == subnet["VpcId"] and acl["IsDefault"]:
            _associate(acl, subnet["SubnetId"])


def _associate(acl: dict[str, Any], subnet: str) -> str:
    identifier = f"aclassoc-{secrets.token_hex(9)[:17]}"
    acl["Associations"] = [*acl["Associations"], {"NetworkAclAssociationId": identifier, "SubnetId": subnet}]
    return identifier


def _take_away(ec2: Any, member: str, value: str) -> str:
    """The subnet of the association that is gone now; empty when there was none."""
    subnet = ""
    for acl in ec2._network_acls.values():
        for held in acl["Associations"]:
            subnet = held["SubnetId"] if held[member] == value else subnet
        acl["Associations"] = [held for held in acl["Associations"] if held[member] != value]
    return subnet


def _delete_subnet(ec2: Any, p: Params, remove: Handler) -> Response:
    answer = remove(p)
    if answer[0] < 400:
        _take_away(ec2, "SubnetId", ec2._p(p, "SubnetId"))
    return answer


def _replace(ec2: Any, p: Params, replace: Handler) -> Response:
    acl = ec2._network_acls.get(ec2._p(p, "NetworkAclId"))
    if acl is None:
        return replace(p)
    association = ec2._p(p, "AssociationId")
    acl_association_not_found(ec2, association)
    identifier = _associate(acl, _take_away(ec2, "NetworkAclAssociationId", association))
    inner = f"<newAssociationId>{identifier}</newAssociationId>"
    answer: Response = ec2._xml(200, "ReplaceNetworkAclAssociationResponse", inner)
    return answer


@behaviour("ec2", code="InvalidAssociationID.NotFound")
def acl_association_not_found(ec2: Any, association: str) -> None:
    """An association of a network ACL that does not exist cannot be replaced.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReplaceNetworkAclAssociation.html
    """
    held = (one["NetworkAclAssociationId"] for acl in ec2._network_acls.values() for one in acl["Associations"])
    if association not in held:
        text = f"The association ID '{association}' does not exist"
        raise Refused("InvalidAssociationID.NotFound", text)


def _delete(ec2: Any, p: Params, drop: Handler) -> Response:
    acl_of_a_subnet(ec2._network_acls.get(ec2._p(p, "NetworkAclId")))
    return drop(p)


@behaviour("ec2", code="DependencyViolation")
def acl_of_a_subnet(acl: dict[str, Any] | None) -> None:
    """A network ACL that a subnet has cannot be deleted.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteNetworkAcl.html
    """
    if acl is not None and acl["Associations"]:
        text = f"The networkAcl '{acl['NetworkAclId']}' has dependencies and cannot be deleted."
        raise Refused("DependencyViolation", text)


def _describe(ec2: Any, p: Params, describe: Handler) -> Response:
    wanted = ec2._parse_filters(p).get(OF_A_SUBNET)
    return describe(p) if wanted is None else describe(acls_of_subnets(ec2, p, wanted))


@behaviour("ec2", otherwise=lambda ec2, p, wanted: p)
def acls_of_subnets(ec2: Any, p: Params, wanted: list[str]) -> Params:
    """DescribeNetworkAcls finds the network ACLs of subnets by the filter association.subnet-id.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkAcls.html
    """
    named = ec2._parse_member_list(p, "NetworkAclId")
    found = [
        acl["NetworkAclId"]
        for acl in ec2._network_acls.values()
        if any(held["SubnetId"] in wanted for held in acl["Associations"])
        and (not named or acl["NetworkAclId"] in named)
    ]
    rest = {name: value for name, value in p.items() if not name.startswith("NetworkAclId.")}
    return {**rest, **{f"NetworkAclId.{n}": [one] for n, one in enumerate(found or ["none"], 1)}}
