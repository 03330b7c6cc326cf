"""EC2's network in the sandbox: security groups, interfaces, and what holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from sandbox import network as rules
from tests.sandbox.support import Network, Sandbox, refused


def tcp(port: int, *cidrs: str, group: str | None = None, **more: Any) -> dict[str, Any]:
    permission: dict[str, Any] = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port}
    if cidrs:
        permission["IpRanges"] = [{"CidrIp": cidr, **more} for cidr in cidrs]
    if group:
        permission["UserIdGroupPairs"] = [{"GroupId": group, **more}]
    return permission


@pytest.fixture
def group(sandbox: Sandbox, network: Network, request: pytest.FixtureRequest) -> Iterator[str]:
    ec2 = sandbox.client("ec2")
    name = request.node.name[:200]
    identifier = ec2.create_security_group(GroupName=name, Description="a & b", VpcId=network.vpc)["GroupId"]
    yield identifier
    ec2.delete_security_group(GroupId=identifier)


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


@pytest.mark.behaviour("ec2.duplicate_group_name")
def test_a_group_of_the_same_name_in_the_vpc_is_refused(sandbox: Sandbox, network: Network, group: str) -> None:
    ec2 = sandbox.client("ec2")
    name = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["GroupName"]
    with pytest.raises(ClientError) as error:
        ec2.create_security_group(GroupName=name, Description="x", VpcId=network.vpc)
    assert code_of(error) == "InvalidGroup.Duplicate"
    assert network.vpc in str(error.value)


@pytest.mark.behaviour("ec2.duplicate_permission")
def test_a_rule_exists_once_whatever_its_description(sandbox: Sandbox, group: str) -> None:
    ec2 = sandbox.client("ec2")
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/8", Description="one")])
    with pytest.raises(ClientError) as error:
        ec2.authorize_security_group_ingress(
            GroupId=group, IpPermissions=[tcp(81, "10.0.0.0/8"), tcp(80, "10.0.0.0/8", Description="two")]
        )
    assert code_of(error) == "InvalidPermission.Duplicate"
    shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert [permission["FromPort"] for permission in shown] == [80], "a refused call must change nothing"


@pytest.mark.behaviour("ec2.merged")
def test_each_source_is_a_rule_of_its_own_and_the_group_shows_them_together(sandbox: Sandbox, group: str) -> None:
    ec2 = sandbox.client("ec2")
    made = ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[tcp(5432, "10.0.0.0/8", "192.168.0.0/16", Description="run &7")],
        TagSpecifications=[{"ResourceType": "security-group-rule", "Tags": [{"Key": "run", "Value": "7"}]}],
    )["SecurityGroupRules"]
    assert len({rule["SecurityGroupRuleId"] for rule in made}) == 2
    found = ec2.describe_security_group_rules(
        Filters=[{"Name": "group-id", "Values": [group]}, {"Name": "tag:run", "Values": ["7"]}]
    )["SecurityGroupRules"]
    assert {rule["CidrIpv4"] for rule in found} == {"10.0.0.0/8", "192.168.0.0/16"}
    assert {rule["Description"] for rule in found} == {"run &7"}
    shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert [entry["CidrIp"] for entry in shown[0]["IpRanges"]] == ["10.0.0.0/8", "192.168.0.0/16"]
    ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[made[0]["SecurityGroupRuleId"]])
    shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert [entry["CidrIp"] for entry in shown[0]["IpRanges"]] == ["192.168.0.0/16"]


@pytest.mark.behaviour("ec2.permission_not_found")
@pytest.mark.parametrize(
    ("permission", "code"),
    [
        (tcp(81, "10.0.0.0/8"), "InvalidPermission.NotFound"),
        (tcp(80, group="sg-0a1b2c3d4e5f60718"), "InvalidPermission.NotFound"),
    ],
)
def test_revoking_a_rule_that_is_not_there_is_refused(
    sandbox: Sandbox, group: str, permission: dict[str, Any], code: str
) -> None:
    ec2 = sandbox.client("ec2")
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/8")])
    with pytest.raises(ClientError) as error:
        ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[permission])
    assert code_of(error) == code


@pytest.mark.parametrize(
    ("permission", "code"),
    [
        (tcp(80, group="sg-0a1b2c3d4e5f60718"), "InvalidGroup.NotFound"),
        (tcp(80, "10.0.0.300/8"), "InvalidParameterValue"),
        (tcp(80), "InvalidParameterValue"),
        (
            {"IpProtocol": "tcp", "FromPort": 9, "ToPort": 8, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]},
            "InvalidParameterValue",
        ),
    ],
)
def test_a_rule_that_cannot_be_is_refused(sandbox: Sandbox, group: str, permission: dict[str, Any], code: str) -> None:
    with pytest.raises(ClientError) as error:
        sandbox.client("ec2").authorize_security_group_ingress(GroupId=group, IpPermissions=[permission])
    assert code_of(error) == code


def test_other_protocols_than_four_have_no_ports(sandbox: Sandbox, group: str) -> None:
    ec2, anyone = sandbox.client("ec2"), [{"CidrIp": "127.1.0.0/16"}]
    ec2.authorize_security_group_ingress(
        GroupId=group,
        IpPermissions=[
            {"IpProtocol": "47", "IpRanges": anyone},
            {"IpProtocol": "50", "FromPort": 1, "ToPort": 2, "IpRanges": anyone},
            {"IpProtocol": "icmpv6", "IpRanges": anyone},
        ],
    )
    found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert {one["IpProtocol"]: (one.get("FromPort"), one.get("ToPort")) for one in found} == {
        "47": (None, None),
        "50": (None, None),
        "icmpv6": (-1, -1),
    }


@pytest.mark.behaviour("ec2.group_of_a_rule", "ec2.group_of_an_interface")
def test_a_group_that_a_rule_names_or_an_interface_has_stays(sandbox: Sandbox, network: Network, group: str) -> None:
    ec2 = sandbox.client("ec2")
    used = ec2.create_security_group(GroupName="used", Description="x", VpcId=network.vpc)["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, group=used)])
    with pytest.raises(ClientError) as named:
        ec2.delete_security_group(GroupId=used)
    assert code_of(named) == "DependencyViolation"
    ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, group=used)])
    interface = ec2.create_network_interface(SubnetId=network.subnets[0], Groups=[used])["NetworkInterface"]
    with pytest.raises(ClientError) as held:
        ec2.delete_security_group(GroupId=used)
    assert code_of(held) == "DependencyViolation"
    with pytest.raises(ClientError) as subnet:
        ec2.delete_subnet(SubnetId=network.subnets[0])
    assert code_of(subnet) == "DependencyViolation"
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    ec2.delete_security_group(GroupId=used)
    with pytest.raises(ClientError) as gone:
        ec2.describe_security_groups(GroupIds=[used])
    assert code_of(gone) == "InvalidGroup.NotFound"


@pytest.mark.behaviour("ec2.dry_run")
def test_dry_run_changes_nothing(sandbox: Sandbox, group: str) -> None:
    ec2 = sandbox.client("ec2")
    with pytest.raises(ClientError) as error:
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/8")], DryRun=True)
    assert code_of(error) == "DryRunOperation"
    assert ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"] == []


def test_interfaces_are_found_by_their_filters(sandbox: Sandbox, network: Network, group: str) -> None:
    ec2 = sandbox.client("ec2")
    interface = ec2.create_network_interface(SubnetId=network.subnets[1], Groups=[group], Description="app & more")[
        "NetworkInterface"
    ]
    for name, value in {
        "group-id": group,
        "description": "app*",
        "subnet-id": network.subnets[1],
        "private-ip-address": interface["PrivateIpAddress"],
        "addresses.private-ip-address": interface["PrivateIpAddress"],
        "vpc-id": network.vpc,
    }.items():
        found = ec2.describe_network_interfaces(Filters=[{"Name": name, "Values": [value]}])["NetworkInterfaces"]
        assert interface["NetworkInterfaceId"] in {one["NetworkInterfaceId"] for one in found}, name
    assert interface["PrivateIpAddress"].startswith(sandbox.facts["vpc_cidr"].rsplit(".", 2)[0])
    other = [{"Name": "group-id", "Values": ["sg-0a1b2c3d4e5f60718"]}]
    assert ec2.describe_network_interfaces(Filters=other)["NetworkInterfaces"] == []
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    with pytest.raises(ClientError) as gone:
        ec2.describe_network_interfaces(NetworkInterfaceIds=[interface["NetworkInterfaceId"]])
    assert code_of(gone) == "InvalidNetworkInterfaceID.NotFound"


@pytest.mark.parametrize(("cidr", "code"), [("10.9.0.0/24", "InvalidSubnet.Range"), (None, "InvalidSubnet.Conflict")])
def test_a_subnet_lies_in_its_vpc_and_apart_from_the_others(
    sandbox: Sandbox, network: Network, cidr: str | None, code: str
) -> None:
    ec2 = sandbox.client("ec2")
    taken = ec2.describe_subnets(SubnetIds=network.subnets)["Subnets"][0]["CidrBlock"]
    with pytest.raises(ClientError) as error:
        ec2.create_subnet(VpcId=network.vpc, CidrBlock=cidr or taken)
    assert code_of(error) == code


@pytest.mark.behaviour("ec2.group_not_found", "ec2.malformed_group_id")
def test_a_group_that_does_not_exist_is_refused_by_id_and_by_name(sandbox: Sandbox, group: str) -> None:
    ec2 = sandbox.client("ec2")
    absent = "sg-0a1b2c3d4e5f60718"
    with refused("InvalidGroup.NotFound", f"The security group '{absent}' does not exist", 400):
        ec2.describe_security_groups(GroupIds=[group, absent])
    with refused("InvalidGroup.NotFound", "The security group 'nobody' does not exist"):
        ec2.describe_security_groups(GroupNames=["nobody"])
    with refused("InvalidGroup.NotFound"):
        ec2.authorize_security_group_ingress(GroupId=absent, IpPermissions=[tcp(80, "10.0.0.0/8")])
    with refused("InvalidGroupId.Malformed", 'Invalid id: "group"'):
        ec2.describe_security_groups(GroupIds=["group"])


@pytest.mark.behaviour("ec2.group_not_found", "ec2.groups_are_described_in_ascii")
def test_a_group_is_not_deleted_by_a_name_of_none_nor_described_beyond_ascii(
    sandbox: Sandbox, network: Network
) -> None:
    ec2 = sandbox.client("ec2")
    with refused("InvalidGroup.NotFound", "The security group 'nobodys' does not exist", 400):
        ec2.delete_security_group(GroupName="nobodys")
    with refused("InvalidParameterValue", "Character sets beyond ASCII are not supported.", 400):
        ec2.create_security_group(GroupName="umlaut", Description="für alle", VpcId=network.vpc)


@pytest.mark.behaviour("ec2.rules_are_described_in_plain_characters")
@pytest.mark.parametrize("words", ["für alle", "the runner's", "a|b", "x" * 256])
def test_a_rule_is_described_in_plain_characters(sandbox: Sandbox, group: str, words: str) -> None:
    ec2 = sandbox.client("ec2")
    with refused("InvalidParameterValue", "Invalid rule description.", 400):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/8", Description=words)])
    ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/8", Description="papyrus run_1 (a-b): #1,@[]+=&;{}!$*/")]
    )


@pytest.mark.behaviour("ec2.rules_name_existing_groups", "ec2.rules_name_groups_of_the_vpc")
def test_a_rule_names_a_group_that_exists_in_its_vpc(sandbox: Sandbox, group: str) -> None:
    ec2 = sandbox.client("ec2")
    with refused("InvalidGroup.NotFound", "The security group 'sg-0a1b2c3d4e5f60718' does not exist"):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, group="sg-0a1b2c3d4e5f60718")])
    vpc = ec2.create_vpc(CidrBlock="10.76.0.0/16")["Vpc"]["VpcId"]
    elsewhere = ec2.create_security_group(GroupName="elsewhere", Description="x", VpcId=vpc)["GroupId"]
    with refused("InvalidGroup.NotFound", "two resources that belong to different networks"):
        ec2.authorize_security_group_egress(GroupId=group, IpPermissions=[tcp(80, group=elsewhere)])
    ec2.delete_security_group(GroupId=elsewhere)
    ec2.delete_vpc(VpcId=vpc)


@pytest.mark.behaviour("ec2.rule_id_not_found")
def test_a_rule_that_does_not_exist_is_refused_by_its_id(sandbox: Sandbox, group: str) -> None:
    ec2 = sandbox.client("ec2")
    absent = "sgr-0a1b2c3d4e5f60718"
    words = f"The security group rule ID '{absent}' does not exist"
    with refused("InvalidSecurityGroupRuleId.NotFound", words):
        ec2.revoke_security_group_ingress(GroupId=group, SecurityGroupRuleIds=[absent])
    with refused("InvalidSecurityGroupRuleId.NotFound", words):
        ec2.describe_security_group_rules(SecurityGroupRuleIds=[absent])


@pytest.mark.behaviour("ec2.duplicate_permission")
def test_a_rule_is_not_changed_into_another_one_that_is_there(sandbox: Sandbox, group: str) -> None:
    ec2 = sandbox.client("ec2")
    made = ec2.authorize_security_group_ingress(
        GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/8"), tcp(81, "10.0.0.0/8")]
    )["SecurityGroupRules"]
    change = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "CidrIpv4": "10.0.0.0/8"}
    rule = {"SecurityGroupRuleId": made[1]["SecurityGroupRuleId"], "SecurityGroupRule": change}
    with refused("InvalidPermission.Duplicate", "already exists"):
        ec2.modify_security_group_rules(GroupId=group, SecurityGroupRules=[rule])
    shown = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    assert [permission["FromPort"] for permission in shown] == [80, 81], "a refused call must change nothing"


@pytest.mark.behaviour("ec2.too_many_rules")
def test_a_group_has_sixty_rules_in_a_direction(sandbox: Sandbox, group: str) -> None:
    ec2 = sandbox.client("ec2")
    sixty = [tcp(port, "10.0.0.0/8") for port in range(1000, 1060)]
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=sixty)
    with refused("RulesPerSecurityGroupLimitExceeded", "maximum number of rules"):
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[tcp(80, "10.0.0.0/8")])


GROUPS = {
    "sg-db": {
        "IpPermissions": [
            {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": "sg-task"}]},
            {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5433, "IpRanges": [{"CidrIp": "10.1.0.0/16"}]},
            {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]},
            {"IpProtocol": "tcp", "FromPort": 6, "ToPort": 6, "Ipv6Ranges": [{"CidrIpv6": "fd00::/8"}]},
            {"IpProtocol": "tcp", "FromPort": 7, "ToPort": 7, "PrefixListIds": [{"PrefixListId": "pl-1"}]},
        ]
    },
    "sg-self": {"IpPermissions": [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-self"}]}]},
}


@pytest.mark.parametrize(
    ("destination", "source_groups", "source_ip", "port", "expected"),
    [
        (["sg-db"], ["sg-task"], None, 5432, True),
        (["sg-db"], ["sg-task"], None, 5433, False),
        (["sg-db"], ["sg-alb"], "10.1.2.3", 5433, True),
        (["sg-db"], [], "10.2.2.3", 5432, False),
        (["sg-db"], [], "::ffff:10.1.2.3", 5432, True),
        (["sg-db"], [], "8.8.8.8", 53, False),
        (["sg-db"], [], "fd00::1", 6, True),
        (["sg-db"], [], "10.0.0.1", 7, False),
        (["sg-self"], ["sg-self"], None, 1, True),
        (["sg-self"], ["sg-task"], "10.1.2.3", 1, False),
        (["sg-none", "sg-db"], ["sg-task"], None, 5432, True),
        ([], ["sg-task"], "10.1.2.3", 5432, False),
    ],
)
def test_security_groups_admit_by_group_address_port_and_protocol(
    destination: list[str], source_groups: list[str], source_ip: str | None, port: int, expected: bool
) -> None:
    assert rules.admits(GROUPS, destination, source_groups=source_groups, source_ip=source_ip, port=port) is expected


OPEN = {"IpPermissions": [], "IpPermissionsEgress": [{"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}
TO_DB = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "UserIdGroupPairs": [{"GroupId": "sg-db"}]}


@pytest.mark.parametrize(
    ("egress", "address", "expected"),
    [
        (OPEN["IpPermissionsEgress"], "10.9.0.4", True),
        ([TO_DB], "10.9.0.4", True),
        ([], "10.9.0.4", False),
        ([{**TO_DB, "FromPort": 443, "ToPort": 443}], "10.9.0.4", False),
    ],
)
def test_a_connection_needs_to_be_let_out_as_well_as_in(
    egress: list[dict[str, Any]], address: str, expected: bool
) -> None:
    groups = {**GROUPS, "sg-task": {"IpPermissions": [], "IpPermissionsEgress": egress}}
    task, database = rules.Party(address, ("sg-task",)), rules.Party("10.9.1.5", ("sg-db",))
    assert rules.connects(groups, task, database, 5432) is expected


def test_who_is_outside_the_vpc_has_no_egress_rules_to_pass() -> None:
    database = rules.Party("10.9.1.5", ("sg-db",))
    assert rules.connects(GROUPS, rules.Party("10.1.0.1"), database, 5432)
    assert not rules.connects(GROUPS, rules.Party("10.2.0.1"), database, 5432)
