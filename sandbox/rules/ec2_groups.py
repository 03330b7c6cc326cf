"""What EC2 refuses of security groups, by its records. Duplicates and absent rules: sandbox.seams.ec2_groups."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sandbox.emulator import service
from sandbox.network import referenced_groups
from sandbox.rules import Refusal, rule
from sandbox.rules.ec2 import missing

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

AUTHORIZE = ("AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress")
REVOKE = ("RevokeSecurityGroupIngress", "RevokeSecurityGroupEgress")
DESCRIPTIONS = ("UpdateSecurityGroupRuleDescriptionsIngress", "UpdateSecurityGroupRuleDescriptionsEgress")
PLAIN = re.compile(r"[a-zA-Z0-9. _\-:/()#,@\[\]+=&;{}!$*]{0,255}")
ON_GROUPS = (
    *AUTHORIZE,
    *REVOKE,
    *DESCRIPTIONS,
    "DescribeSecurityGroups",
    "ModifySecurityGroupRules",
    "CreateNetworkInterface",
)


def _groups(request: ApiRequest) -> list[str]:
    given = request.parameters
    return [given["GroupId"]] if "GroupId" in given else list(given.get("GroupIds") or given.get("Groups") or [])


@rule("ec2", *ON_GROUPS, code="InvalidGroupId.Malformed", stateful=False)
def malformed_group_id(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A security group's id is `sg-` and 8 or 17 hexadecimal digits.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    known = service("ec2")._security_groups
    for group in _groups(request):
        if group not in known and service("ec2")._is_malformed_security_group_id(group):
            return Refusal("InvalidGroupId.Malformed", f'Invalid id: "{group}"')
    return None


@rule("ec2", *ON_GROUPS, "DeleteSecurityGroup", code="InvalidGroup.NotFound")
def group_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names a security group that does not exist, by id or by name, is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html
    """
    if refusal := missing("sg", _groups(request)):
        return refusal
    have = {group["GroupName"] for group in service("ec2")._security_groups.values()}
    named = request.parameters.get("GroupName")
    for name in [named] if named else request.parameters.get("GroupNames") or []:
        if name not in have:
            return Refusal("InvalidGroup.NotFound", f"The security group '{name}' does not exist")
    return None


@rule("ec2", "CreateSecurityGroup", code="InvalidGroup.Duplicate")
def duplicate_group_name(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A security group's name is unique in its VPC.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html
    """
    name, vpc = request.parameters.get("GroupName"), request.parameters.get("VpcId") or service("ec2")._DEFAULT_VPC_ID
    taken = any(g["GroupName"] == name and g["VpcId"] == vpc for g in service("ec2")._security_groups.values())
    text = f"The security group '{name}' already exists for VPC '{vpc}'"
    return Refusal("InvalidGroup.Duplicate", text) if taken else None


@rule("ec2", "DeleteSecurityGroup", code="CannotDelete")
def default_group_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A VPC's default security group cannot be deleted, whoever uses it.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html
    """
    group = request.parameters.get("GroupId")
    if (service("ec2")._security_groups.get(group) or {}).get("GroupName") != "default":
        return None
    return Refusal("CannotDelete", f'the specified group: "{group}" name: "default" cannot be deleted by a user')


@rule("ec2", "DeleteSecurityGroup", code="DependencyViolation")
def group_of_an_interface(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A security group that a network interface has cannot be deleted.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html
    """
    group, interfaces = request.parameters.get("GroupId"), service("ec2")._network_interfaces.values()
    used = any(group == held["GroupId"] for interface in interfaces for held in interface["Groups"])
    return Refusal("DependencyViolation", f"resource {group} has a dependent object") if used else None


@rule("ec2", "DeleteSecurityGroup", code="DependencyViolation")
def group_of_a_rule(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A security group that a rule of another group names cannot be deleted.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html
    """
    group, known = request.parameters.get("GroupId"), service("ec2")._security_groups
    named = any(group in referenced_groups(record) for other, record in known.items() if other != group)
    text = f"resource {group} has a dependent object"
    return Refusal("DependencyViolation", text) if group in known and named else None


def _pairs(request: ApiRequest) -> list[dict[str, Any]]:
    permissions = request.parameters.get("IpPermissions") or []
    return [pair for permission in permissions for pair in permission.get("UserIdGroupPairs") or []]


@rule("ec2", "CreateSecurityGroup", code="InvalidParameterValue", stateful=False)
def groups_are_described_in_ascii(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A security group's description has ASCII characters only.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateSecurityGroup.html
    """
    words = str(request.parameters.get("Description", ""))
    text = f"Value ({words}) for parameter GroupDescription is invalid. Character sets beyond ASCII are not supported."
    return None if words.isascii() else Refusal("InvalidParameterValue", text)


@rule("ec2", *AUTHORIZE, *DESCRIPTIONS, code="InvalidParameterValue", stateful=False)
def rules_are_described_in_plain_characters(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A rule's description has at most 255 characters, of letters, digits, space and `._-:/()#,@[]+=&;{}!$*`.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpRange.html
    """
    for permission in request.parameters.get("IpPermissions") or []:
        for kind in ("IpRanges", "Ipv6Ranges", "PrefixListIds", "UserIdGroupPairs"):
            for one in permission.get(kind) or []:
                if not PLAIN.fullmatch(one.get("Description", "")):
                    text = "Valid descriptions are strings less than 256 characters from the following set:"
                    return Refusal(
                        "InvalidParameterValue",
                        f"Invalid rule description. {text}  a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*",
                    )
    return None


@rule("ec2", *AUTHORIZE, code="InvalidGroup.NotFound")
def rules_name_existing_groups(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A security group that a new rule names must exist.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AuthorizeSecurityGroupIngress.html
    """
    known = service("ec2")._security_groups
    for pair in _pairs(request):
        named = pair.get("GroupId") or pair.get("GroupName")
        owner = known.get(request.parameters.get("GroupId")) or {}
        same = [g for g in known.values() if g["GroupName"] == named and g["VpcId"] == owner.get("VpcId")]
        if not (named in known if "GroupId" in pair else same):
            return Refusal("InvalidGroup.NotFound", f"The security group '{named}' does not exist")
    return None


@rule("ec2", *AUTHORIZE, code="InvalidGroup.NotFound")
def rules_name_groups_of_the_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A security group that a new rule names belongs to the same VPC.
    https://docs.aws.amazon.com/vpc/latest/userguide/security-group-rules.html
    """
    known = service("ec2")._security_groups
    owner = known.get(request.parameters.get("GroupId"))
    for pair in _pairs(request):
        other = known.get(pair.get("GroupId"))
        if owner and other and other["VpcId"] != owner["VpcId"]:
            text = "You have specified two resources that belong to different networks."
            return Refusal("InvalidGroup.NotFound", text)
    return None


@rule(
    "ec2", *REVOKE, "DescribeSecurityGroupRules", "ModifySecurityGroupRules", code="InvalidSecurityGroupRuleId.NotFound"
)
def rule_id_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names a security group rule that does not exist by its id is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroupRules.html
    """
    changed = [change.get("SecurityGroupRuleId", "") for change in request.parameters.get("SecurityGroupRules") or []]
    return missing("sgr", [*(request.parameters.get("SecurityGroupRuleIds") or []), *changed])
