"""Network ACLs of the sandbox's EC2: which one a subnet has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.support import Sandbox, refused
from tests.sandbox.test_ec2_vpc import remove_vpc


@pytest.fixture
def ec2(sandbox: Sandbox) -> Any:
    return sandbox.client("ec2")


@pytest.fixture
def vpc(ec2: Any) -> Iterator[str]:
    made = ec2.create_vpc(CidrBlock="10.81.0.0/16")["Vpc"]["VpcId"]
    yield str(made)
    remove_vpc(ec2, made)


@pytest.fixture
def subnet(ec2: Any, vpc: str) -> str:
    return str(ec2.create_subnet(VpcId=vpc, CidrBlock="10.81.1.0/24")["Subnet"]["SubnetId"])


def acls_of(ec2: Any, name: str, value: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ec2.describe_network_acls(Filters=[{"Name": name, "Values": [value]}])["NetworkAcls"]
    return found


@pytest.mark.behaviour("ec2.a_subnet_has_the_default_acl", "ec2.acls_of_subnets")
def test_a_subnet_has_the_default_acl_until_it_is_deleted(ec2: Any, vpc: str, subnet: str) -> None:
    other = ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
    found = acls_of(ec2, "association.subnet-id", subnet)
    assert [(acl["VpcId"], acl["IsDefault"]) for acl in found] == [(vpc, True)]
    assert [held["SubnetId"] for held in found[0]["Associations"]] == [subnet]
    ec2.delete_subnet(SubnetId=subnet)
    assert acls_of(ec2, "association.subnet-id", subnet) == []
    assert [acl["Associations"] for acl in acls_of(ec2, "vpc-id", vpc)] == [[], []]
    ec2.delete_network_acl(NetworkAclId=other)


@pytest.mark.behaviour("ec2.acl_association_not_found", "ec2.acl_of_a_subnet")
def test_a_subnet_changes_its_acl_which_stays_meanwhile(ec2: Any, vpc: str, subnet: str) -> None:
    default = next(acl for acl in acls_of(ec2, "vpc-id", vpc) if acl["IsDefault"])
    own = ec2.create_network_acl(VpcId=vpc)["NetworkAcl"]["NetworkAclId"]
    first = default["Associations"][0]["NetworkAclAssociationId"]
    second = ec2.replace_network_acl_association(AssociationId=first, NetworkAclId=own)["NewAssociationId"]
    assert second != first
    for named in (own, default["NetworkAclId"]):
        held = ec2.describe_network_acls(NetworkAclIds=[named])["NetworkAcls"][0]["Associations"]
        assert [one["SubnetId"] for one in held] == ([subnet] if named == own else [])
    with refused("InvalidAssociationID.NotFound", first, 400):
        ec2.replace_network_acl_association(AssociationId=first, NetworkAclId=own)
    with refused("DependencyViolation", "has dependencies and cannot be deleted", 400):
        ec2.delete_network_acl(NetworkAclId=own)
    ec2.replace_network_acl_association(AssociationId=second, NetworkAclId=default["NetworkAclId"])
    ec2.delete_network_acl(NetworkAclId=own)
