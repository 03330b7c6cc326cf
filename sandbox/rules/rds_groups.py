"""What RDS refuses about subnet groups, parameter groups and tags: what exists, what is in use, what is RDS's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

# Of each account and region. https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html
MOST_PARAMETER_GROUPS = 50
MOST_PARAMETERS_AT_ONCE = 20
# Resource type in an ARN → (store of the emulator, what AWS says when nothing is there).
TAGGED = {
    "db": ("_instances", "DBInstanceNotFound", "DBInstance {} not found."),
    "subgrp": ("_subnet_groups", "DBSubnetGroupNotFoundFault", "DB subnet group '{}' not found."),
    "pg": ("_param_groups", "DBParameterGroupNotFound", "DBParameterGroup not found: {}"),
    "snapshot": ("_snapshots", "DBSnapshotNotFound", "DBSnapshot {} not found."),
}


def _subnet_group(request: ApiRequest) -> str:
    return str(request.parameters.get("DBSubnetGroupName", "")).lower()


def _parameter_group(request: ApiRequest) -> str:
    return str(request.parameters.get("DBParameterGroupName", "")).lower()


@rule("rds", "CreateDBSubnetGroup", code="DBSubnetGroupAlreadyExists")
def a_subnet_group_exists_once(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet group's name exists once in an account and region.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSubnetGroup.html (DBSubnetGroupAlreadyExists)
    """
    name = _subnet_group(request)
    if name not in emulator.service("rds")._subnet_groups:
        return None
    return Refusal("DBSubnetGroupAlreadyExists", f"The DB subnet group '{name}' already exists.")


@rule("rds", "CreateDBSubnetGroup", "ModifyDBSubnetGroup", code="InvalidParameterValue")
def the_subnets_of_a_subnet_group_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet group has subnets that exist.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSubnetGroup.html (SubnetIds)
    """
    known = emulator.service("ec2")._subnets
    absent = [subnet for subnet in request.parameters.get("SubnetIds") or [] if subnet not in known]
    text = f"Some input subnets in :[{', '.join(absent)}] are invalid."
    return Refusal("InvalidParameterValue", text) if absent else None


@rule("rds", "ModifyDBSubnetGroup", code="InvalidParameterValue")
def a_subnet_group_stays_in_its_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The new subnets of a subnet group lie in the VPC that the group is in.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html
    """
    group = emulator.service("rds")._subnet_groups.get(_subnet_group(request))
    known = emulator.service("ec2")._subnets
    vpcs = {known[subnet]["VpcId"] for subnet in request.parameters.get("SubnetIds") or [] if subnet in known}
    text = "The new Subnets are not in the same Vpc as the existing subnet group"
    return Refusal("InvalidParameterValue", text) if group and vpcs - {group["VpcId"]} else None


@rule("rds", "CreateDBSubnetGroup", "ModifyDBSubnetGroup", code="DBSubnetGroupDoesNotCoverEnoughAZs")
def a_subnet_group_covers_two_zones(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The subnets of a subnet group lie in two availability zones at least.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSubnetGroup.html
    """
    subnets = emulator.service("ec2")._subnets
    given = request.parameters.get("SubnetIds") or []
    zones = {str(subnets[subnet]["AvailabilityZone"]) for subnet in given if subnet in subnets}
    if len(zones) != 1:
        return None
    return Refusal(
        "DBSubnetGroupDoesNotCoverEnoughAZs",
        "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current AZ coverage: "
        f"{', '.join(zones)}. Add subnets to cover at least 2 AZs.",
    )


@rule("rds", "ModifyDBSubnetGroup", code="SubnetAlreadyInUse")
def a_subnet_in_use_stays_in_its_group(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet cannot be taken out of a subnet group while an instance of the group has its address there.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBSubnetGroup.html (SubnetAlreadyInUse)
    """
    given = request.parameters.get("SubnetIds") or []
    interfaces = emulator.service("ec2")._network_interfaces
    for record in emulator.service("rds")._instances.values():
        interface: dict[str, Any] = interfaces.get(record.get("_interface", ""), {})
        used = interface.get("SubnetId")
        if record["DBSubnetGroup"]["DBSubnetGroupName"] == _subnet_group(request) and used and used not in given:
            text = f"Some of the subnets to be deleted are currently in use: {used}"
            return Refusal("SubnetAlreadyInUse", text)
    return None


@rule("rds", "DeleteDBSubnetGroup", code="InvalidDBSubnetGroupStateFault")
def a_subnet_group_in_use_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet group cannot be deleted while an instance lies in it.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBSubnetGroup.html
    """
    name = _subnet_group(request)
    for record in emulator.service("rds")._instances.values():
        if record["DBSubnetGroup"]["DBSubnetGroupName"] == name:
            return Refusal(
                "InvalidDBSubnetGroupStateFault",
                f"Cannot delete the subnet group '{name}' because at least one database instance: "
                f"{record['DBInstanceIdentifier']} is still using it.",
            )
    return None


@rule("rds", "CreateDBParameterGroup", code="DBParameterGroupQuotaExceeded")
def parameter_groups_have_a_quota(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An account has 50 parameter groups at most in a region, the default ones not counted.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Limits.html
    """
    held = emulator.service("rds")._param_groups
    own = [name for name in held if not name.startswith("default.")]
    if len(own) < MOST_PARAMETER_GROUPS or _parameter_group(request) in held:
        return None
    return Refusal("DBParameterGroupQuotaExceeded", "Request would result in user exceeding the allowed amount.")


@rule("rds", "ModifyDBParameterGroup", "ResetDBParameterGroup", code="InvalidParameterValue")
def a_default_group_is_not_changed(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The parameters of a default parameter group cannot be changed.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithParamGroups.html
    """
    if not _parameter_group(request).startswith("default."):
        return None
    return Refusal("InvalidParameterValue", "Cannot modify a default parameter group.")


@rule("rds", "DeleteDBParameterGroup", code="InvalidDBParameterGroupState")
def a_default_group_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A default parameter group cannot be deleted.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBParameterGroup.html
    """
    name = _parameter_group(request)
    if not name.startswith("default."):
        return None
    return Refusal("InvalidDBParameterGroupState", f"Default DBParameterGroup cannot be deleted: {name}")


@rule("rds", "DeleteDBParameterGroup", code="InvalidDBParameterGroupState")
def a_parameter_group_in_use_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A parameter group cannot be deleted while an instance has it, or will have until its next reboot.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBParameterGroup.html
    """
    name = _parameter_group(request)
    for record in emulator.service("rds")._instances.values():
        if name in (record.get("_group"), record["DBParameterGroups"][0]["DBParameterGroupName"]):
            return Refusal(
                "InvalidDBParameterGroupState",
                f"One or more database instances are still members of this parameter group {name}, so the group "
                "cannot be deleted",
            )
    return None


@rule("rds", "ModifyDBParameterGroup", "ResetDBParameterGroup", code="InvalidParameterCombination", stateful=False)
def so_many_parameters_at_once(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A request changes 20 parameters at most.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBParameterGroup.html (Parameters)
    """
    if len(request.parameters.get("Parameters") or []) <= MOST_PARAMETERS_AT_ONCE:
        return None
    return Refusal("InvalidParameterCombination", "Cannot modify more than 20 parameters in a single request")


@rule(
    "rds",
    "AddTagsToResource",
    "RemoveTagsFromResource",
    "ListTagsForResource",
    code="DBInstanceNotFound DBSubnetGroupNotFoundFault DBParameterGroupNotFound DBSnapshotNotFound",
)
def tags_are_of_a_resource(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Tags can be put on, and listed of, what exists only.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_AddTagsToResource.html (Errors)
    """
    parts = str(request.parameters.get("ResourceName", "")).split(":", 6)
    if len(parts) < 7 or parts[5] not in TAGGED:
        return None
    store, code, text = TAGGED[parts[5]]
    name = parts[6]
    if name in getattr(emulator.service("rds"), store) or name.startswith("default."):
        return None
    return Refusal(code, text.format(name), 404)


@rule(
    "rds",
    "AddTagsToResource",
    "ListTagsForResource",
    "RemoveTagsFromResource",
    code="InvalidParameterValue",
    stateful=False,
)
def tags_are_of_an_arn(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Tags are asked for by the ARN of a resource, not by its name.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ListTagsForResource.html (ResourceName)
    """
    name = str(request.parameters.get("ResourceName", ""))
    if name.startswith("arn:") and name.count(":") >= 6:
        return None
    return Refusal("InvalidParameterValue", f"Invalid resource name: {name}")
