"""EC2: resources by their ids, `*` for those that a call makes, tags on creation, condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox import emulator
from sandbox.iam.call import Call, Need, tags_of, values_of

# Resource type → parameters that name one.
IDS: dict[str, tuple[str, ...]] = {
    "security-group": ("GroupId", "GroupIds", "SecurityGroupIds", "SecurityGroupId", "Groups"),
    "security-group-rule": ("SecurityGroupRuleIds", "SecurityGroupRuleId"),
    "vpc": ("VpcId", "VpcIds"),
    "subnet": ("SubnetId", "SubnetIds"),
    "network-interface": ("NetworkInterfaceId", "NetworkInterfaceIds"),
    "internet-gateway": ("InternetGatewayId",),
    "route-table": ("RouteTableId",),
    "elastic-ip": ("AllocationId",),
    "natgateway": ("NatGatewayId",),
    "vpc-endpoint": ("VpcEndpointId", "VpcEndpointIds"),
    "instance": ("InstanceId", "InstanceIds"),
    "network-acl": ("NetworkAclId",),
    "vpc-flow-log": ("FlowLogId", "FlowLogIds"),
    "prefix-list": ("PrefixListId",),
    "dhcp-options": ("DhcpOptionsId",),
}
# Prefix of an id → its resource type in an ARN.
TYPES = {
    "sg": "security-group",
    "sgr": "security-group-rule",
    "vpc": "vpc",
    "subnet": "subnet",
    "eni": "network-interface",
    "igw": "internet-gateway",
    "rtb": "route-table",
    "eipalloc": "elastic-ip",
    "nat": "natgateway",
    "vpce": "vpc-endpoint",
    "i": "instance",
    "acl": "network-acl",
    "fl": "vpc-flow-log",
    "pl": "prefix-list",
    "dopt": "dhcp-options",
    "vol": "volume",
    "eigw": "egress-only-internet-gateway",
    "lt": "launch-template",
    "ami": "image",
    "snap": "snapshot",
}
# What a call makes: it has no id yet.
MADE = {
    "CreateSecurityGroup": "security-group",
    "CreateVpc": "vpc",
    "CreateSubnet": "subnet",
    "CreateNetworkInterface": "network-interface",
    "CreateInternetGateway": "internet-gateway",
    "CreateRouteTable": "route-table",
    "AllocateAddress": "elastic-ip",
    "CreateNatGateway": "natgateway",
    "CreateVpcEndpoint": "vpc-endpoint",
    "CreateNetworkAcl": "network-acl",
    "CreateFlowLogs": "vpc-flow-log",
}
# Only looked at when the call gives them tags. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_AuthorizeSecurityGroupIngress.html
MADE_WITH_TAGS = {
    "AuthorizeSecurityGroupIngress": "security-group-rule",
    "AuthorizeSecurityGroupEgress": "security-group-rule",
}


def resources(call: Call, action: str) -> Sequence[str] | None:
    from sandbox.iam import reference

    known = reference.action(action)
    kinds = {kind.name: kind for kind in known.resource_types} if known else {}
    if action in ("ec2:CreateTags", "ec2:DeleteTags"):
        return [arn_of(call, name) for name in values_of(call.parameters, ("Resources",))]
    made = MADE.get(call.operation) or (MADE_WITH_TAGS.get(call.operation) if specified_tags(call) else None)
    found = [call.arn("ec2", f"{made}/*")] if made else []
    for kind, names in IDS.items():
        if kind in kinds and kind != made:
            found += [call.arn("ec2", f"{kind}/{name}") for name in values_of(call.parameters, names)]
    if not found:
        found = [call.arn("ec2", f"{name}/*") for name, kind in kinds.items() if kind.required]
    return found or None


def arn_of(call: Call, name: str) -> str:
    return call.arn("ec2", f"{TYPES.get(name.partition('-')[0], '*')}/{name}")


def specified_tags(call: Call) -> dict[str, dict[str, str]]:
    """Resource type → tags that the call gives to what it makes."""
    found: dict[str, dict[str, str]] = {}
    for specification in call.parameters.get("TagSpecifications") or []:
        tags = tags_of(specification.get("Tags"))
        if tags:
            found[str(specification.get("ResourceType") or "*")] = tags
    return found


def tagging(call: Call) -> list[Need]:
    """CreateTags on whatever the call makes with tags.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/supported-iam-actions-tagging.html
    """
    return [
        Need("ec2:CreateTags", [call.arn("ec2", f"{kind}/*")], {"ec2:createaction": [call.operation]}, tags)
        for kind, tags in specified_tags(call).items()
    ]


def keys(call: Call, resource: str) -> Mapping[str, Sequence[str]]:
    """Condition keys of EC2 on one resource of a call."""
    kind, _, name = resource.rpartition(":")[2].partition("/")
    found: dict[str, Sequence[str]] = {"ec2:region": [call.region]}
    vpc = _vpc_of(call, kind, name)
    if vpc:
        found["ec2:vpc"] = [call.arn("ec2", f"vpc/{vpc}")]
    ids = {"security-group": "ec2:securitygroupid", "vpc": "ec2:vpcid", "subnet": "ec2:subnetid"}
    if kind in ids and name != "*":
        found[ids[kind]] = [name]
    if kind == "network-interface" and name != "*":
        found["ec2:networkinterfaceid"] = [name]
    if kind == "subnet" and (record := emulator.service("ec2")._subnets.get(name)):
        found["ec2:availabilityzone"] = [str(record.get("AvailabilityZone", ""))]
    if kind == "vpc":
        found["ec2:tenancy"] = ["default"]
    return found


def _vpc_of(call: Call, kind: str, name: str) -> str:
    ec2 = emulator.service("ec2")
    stores: dict[str, Any] = {
        "security-group": ec2._security_groups,
        "subnet": ec2._subnets,
        "network-interface": ec2._network_interfaces,
        "route-table": ec2._route_tables,
    }
    if kind not in stores:
        return ""
    return str((stores[kind].get(name) or {}).get("VpcId") or "")


def tags(resource: str) -> dict[str, str]:
    return tags_of(emulator.service("ec2")._tags.get(resource.rpartition("/")[2]))
