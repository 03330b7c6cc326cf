"""What RDS refuses about instances: states that do not fit, names that are taken, versions that do not follow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

Record = dict[str, Any]
# Major version → minor versions, the default one last. https://docs.aws.amazon.com/AmazonRDS/latest/PostgreSQLReleaseNotes/
VERSIONS: dict[str, tuple[str, ...]] = {
    "12": ("12.20", "12.22"),
    "13": ("13.16", "13.20"),
    "14": ("14.13", "14.17"),
    "15": ("15.8", "15.12"),
    "16": ("16.4", "16.8"),
    "17": ("17.2", "17.4"),
    "18": ("18.1", "18.3"),
}
CLASS = re.compile(r"db\.[a-z]+[1-9][a-z0-9]*(\.tpc\d\.mem\dx)?\.(micro|small|medium|large|\d*xlarge)")
RESOURCE_ID = re.compile(r"db-[A-Z0-9]{20,}")


def plain(name: str) -> str:
    """A name as RDS keeps it; an instance's resource id stays as it is."""
    return name if RESOURCE_ID.fullmatch(name) else name.lower()


def instance_of(request: ApiRequest) -> Record | None:
    """The instance that a request names by identifier, ARN or resource id."""
    rds = emulator.service("rds")
    found: Record | None = rds._resolve_instance(plain(request.parameters.get("DBInstanceIdentifier", "")))
    return found


def family(version: str) -> str:
    return f"postgres{version.partition('.')[0]}"


def _in_state(request: ApiRequest, *states: str) -> Refusal | None:
    record = instance_of(request)
    if record is None or record["DBInstanceStatus"] in states:
        return None
    name = record["DBInstanceIdentifier"]
    return Refusal("InvalidDBInstanceState", f"Instance {name} is not in {' or '.join(states)} state.")


@rule("rds", "ModifyDBInstance", code="InvalidDBInstanceState")
def only_an_available_instance_is_modified(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance can be modified only while it is available.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (InvalidDBInstanceState)
    """
    return _in_state(request, "available")


@rule("rds", "RebootDBInstance", code="InvalidDBInstanceState")
def only_an_available_instance_is_rebooted(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance can be rebooted only while it is available.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_RebootInstance.html
    """
    return _in_state(request, "available")


@rule("rds", "StopDBInstance", code="InvalidDBInstanceState")
def only_an_available_instance_is_stopped(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance can be stopped only while it is available.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StopInstance.html
    """
    return _in_state(request, "available")


@rule("rds", "StartDBInstance", code="InvalidDBInstanceState")
def only_a_stopped_instance_is_started(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance can be started only while it is stopped.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StartInstance.html
    """
    if (refusal := _in_state(request, "stopped")) is None:
        return None
    name = request.parameters["DBInstanceIdentifier"]
    text = f"Instance {name} cannot be started as it is not in one of the following statuses: 'stopped'"
    return Refusal(refusal.code, text)


@rule("rds", "CreateDBSnapshot", code="InvalidDBInstanceState")
def only_an_available_instance_is_saved(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A snapshot can be made of an available instance only.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSnapshot.html (InvalidDBInstanceState)
    """
    refusal = _in_state(request, "available")
    return Refusal(refusal.code, _no_snapshot(request)) if refusal else None


def _no_snapshot(request: ApiRequest) -> str:
    name = request.parameters["DBInstanceIdentifier"]
    return f"Cannot create a snapshot because the database instance {name} is not currently in the available state."


@rule("rds", "DeleteDBInstance", code="InvalidDBInstanceState")
def an_instance_is_deleted_once(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance that is being deleted cannot be deleted again.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBInstance.html (InvalidDBInstanceState)
    """
    record = instance_of(request)
    if record is None or record["DBInstanceStatus"] != "deleting":
        return None
    name = record["DBInstanceIdentifier"]
    return Refusal("InvalidDBInstanceState", f"Instance {name} is already being deleted.")


@rule("rds", "DeleteDBInstance", code="InvalidParameterCombination")
def a_protected_instance_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance with deletion protection cannot be deleted until that is taken away.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_DeleteInstance.html
    """
    record = instance_of(request)
    if record is None or not record["DeletionProtection"]:
        return None
    text = "Cannot delete protected DB Instance, please disable deletion protection and try again."
    return Refusal("InvalidParameterCombination", text)


@rule("rds", "DeleteDBInstance", code="InvalidParameterCombination", stateful=False)
def the_last_snapshot_is_named_or_skipped(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A deletion names its final snapshot, or says that none is wanted; not both.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBInstance.html (FinalDBSnapshotIdentifier)
    """
    skipped = request.parameters.get("SkipFinalSnapshot") is True
    named = bool(request.parameters.get("FinalDBSnapshotIdentifier"))
    if skipped != named:
        return None
    text = "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified."
    if skipped:
        text = "FinalDBSnapshotIdentifier can not be specified when deleting with SkipFinalSnapshot."
    return Refusal("InvalidParameterCombination", text)


@rule("rds", "DeleteDBInstance", code="DBSnapshotAlreadyExists")
def the_last_snapshot_is_new(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance is not deleted when a snapshot of the final one's name exists.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBInstance.html (DBSnapshotAlreadyExists)
    """
    name = (request.parameters.get("FinalDBSnapshotIdentifier") or "").lower()
    if instance_of(request) is None or name not in emulator.service("rds")._snapshots:
        return None
    text = f"Cannot create the snapshot because a snapshot with the identifier {name} already exists."
    return Refusal("DBSnapshotAlreadyExists", text)


@rule("rds", "DeleteDBInstance", code="InvalidDBInstanceState")
def the_last_snapshot_is_of_a_whole_instance(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A final snapshot is taken of an available instance only.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBInstance.html (SkipFinalSnapshot)
    """
    record = instance_of(request)
    if record is None or not request.parameters.get("FinalDBSnapshotIdentifier"):
        return None
    if record["DBInstanceStatus"] == "available":
        return None
    text = f"Instance {record['DBInstanceIdentifier']} is currently creating - a final snapshot cannot be taken."
    return Refusal(
        "InvalidDBInstanceState", text if record["DBInstanceStatus"] == "creating" else _no_snapshot(request)
    )


@rule("rds", "ModifyDBInstance", code="DBInstanceAlreadyExists")
def a_new_name_is_free(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance cannot be given the name of another.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (NewDBInstanceIdentifier)
    """
    record = instance_of(request)
    new = (request.parameters.get("NewDBInstanceIdentifier") or "").lower()
    if record is None or new == record["DBInstanceIdentifier"] or new not in emulator.service("rds")._instances:
        return None
    return Refusal("DBInstanceAlreadyExists", "DB instance already exists")


@rule("rds", "CreateDBInstance", "ModifyDBInstance", code="InvalidParameterValue", stateful=False)
def a_class_is_one_of_rds(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance has a class of the form that RDS's classes have.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html (DBInstanceClass)
    """
    name = request.parameters.get("DBInstanceClass")
    if name is None or CLASS.fullmatch(name):
        return None
    return Refusal("InvalidParameterValue", f"Invalid DB Instance class: {name}")


@rule("rds", "ModifyDBInstance", code="InvalidParameterCombination")
def storage_only_grows(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The storage of an instance cannot be made smaller.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (AllocatedStorage)
    """
    record, wanted = instance_of(request), request.parameters.get("AllocatedStorage")
    if record is None or wanted is None or wanted >= int(record["AllocatedStorage"]):
        return None
    kind = request.parameters.get("StorageType") or record["StorageType"]
    text = f"Invalid storage size for engine name postgres and storage type {kind}: {wanted}"
    return Refusal("InvalidParameterCombination", text)


@rule("rds", "CreateDBInstance", code="DBSubnetGroupNotFoundFault")
def an_instance_lies_in_a_subnet_group(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance cannot be created in a subnet group that does not exist.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html (DBSubnetGroupNotFoundFault)
    """
    name = request.parameters.get("DBSubnetGroupName")
    if name is None or name.lower() in emulator.service("rds")._subnet_groups:
        return None
    return Refusal("DBSubnetGroupNotFoundFault", f"DB subnet group '{name}' does not exist.", 404)


@rule("rds", "ModifyDBInstance", code="InvalidVPCNetworkStateFault")
def an_instance_stays_in_its_subnet_group(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance cannot be moved to another subnet group of the same VPC.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (DBSubnetGroupName)
    """
    record, name = instance_of(request), (request.parameters.get("DBSubnetGroupName") or "").lower()
    new = emulator.service("rds")._subnet_groups.get(name)
    if record is None or new is None or name == record["DBSubnetGroup"]["DBSubnetGroupName"]:
        return None
    if new["VpcId"] != record["DBSubnetGroup"]["VpcId"]:
        return None
    return Refusal(
        "InvalidVPCNetworkStateFault",
        f"You cannot move DB instance {record['DBInstanceIdentifier']} to subnet group {name}. The specified DB subnet "
        "group and DB instance are in the same VPC. Choose a DB subnet group in different VPC than the specified DB "
        "instance and try again.",
    )


def _vpc(request: ApiRequest) -> str | None:
    """The VPC that an instance is in, or will be."""
    group = emulator.service("rds")._subnet_groups.get((request.parameters.get("DBSubnetGroupName") or "").lower())
    record = instance_of(request) if request.operation == "ModifyDBInstance" else None
    found: Record | None = record["DBSubnetGroup"] if record else group
    return found["VpcId"] if found else None


@rule("rds", "CreateDBInstance", "ModifyDBInstance", code="InvalidParameterValue")
def security_groups_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The security groups of an instance have to exist.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html (VpcSecurityGroupIds)
    """
    held = emulator.service("ec2")._security_groups
    for group in request.parameters.get("VpcSecurityGroupIds") or []:
        if group not in held:
            return Refusal("InvalidParameterValue", f"Invalid security group , groupId= {group}, groupName=.")
    return None


@rule("rds", "CreateDBInstance", "ModifyDBInstance", code="InvalidParameterCombination")
def security_groups_are_of_the_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The security groups of an instance have to be of its VPC.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/Overview.RDSSecurityGroups.html
    """
    held, vpc = emulator.service("ec2")._security_groups, _vpc(request)
    groups = [held[group] for group in request.parameters.get("VpcSecurityGroupIds") or [] if group in held]
    strange = [group["VpcId"] for group in groups if group["VpcId"] != vpc]
    if vpc is None or not strange:
        return None
    return Refusal(
        "InvalidParameterCombination",
        f"The DB instance and EC2 security group are in different VPCs. The DB instance is in {vpc} and the EC2 "
        f"security group is in {strange[0]}",
    )


@rule("rds", "CreateDBInstance", "ModifyDBInstance", code="InvalidParameterCombination", stateful=False)
def a_version_is_one_of_the_engine(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An engine version that RDS does not offer is refused.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html (EngineVersion)
    """
    version = request.parameters.get("EngineVersion")
    if not version or version in VERSIONS or version in VERSIONS.get(version.partition(".")[0], ()):
        return None
    return Refusal("InvalidParameterCombination", f"Cannot find version {version} for postgres")


def _upgrade(request: ApiRequest) -> tuple[str, str] | None:
    """(present, wanted) engine version of a change that has one."""
    record, wanted = instance_of(request), request.parameters.get("EngineVersion")
    return (record["EngineVersion"], wanted) if record and wanted else None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


@rule("rds", "ModifyDBInstance", code="InvalidParameterCombination")
def a_major_upgrade_is_allowed_first(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The major version changes only when the request allows that.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (AllowMajorVersionUpgrade)
    """
    versions = _upgrade(request)
    if versions is None or family(versions[1]) == family(versions[0]) or _numbers(versions[1]) < _numbers(versions[0]):
        return None
    if request.parameters.get("AllowMajorVersionUpgrade") is True:
        return None
    text = "The AllowMajorVersionUpgrade flag must be present when upgrading to a new major version."
    return Refusal("InvalidParameterCombination", text)


@rule("rds", "ModifyDBInstance", code="InvalidParameterCombination")
def versions_go_up_only(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance does not go back to an older engine version.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_UpgradeDBInstance.PostgreSQL.html
    """
    versions = _upgrade(request)
    if versions is None or versions[1] == versions[0].partition(".")[0]:
        return None
    if _numbers(versions[1]) >= _numbers(versions[0]):
        return None
    text = f"Cannot upgrade postgres from {versions[0]} to {versions[1]}"
    return Refusal("InvalidParameterCombination", text)


@rule("rds", "CreateDBInstance", "ModifyDBInstance", code="DBParameterGroupNotFound")
def a_parameter_group_exists(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The parameter group of an instance has to exist, a default one of its family too.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (DBParameterGroupNotFound)
    """
    name = (request.parameters.get("DBParameterGroupName") or "").lower()
    if not name or name in emulator.service("rds")._param_groups or name.removeprefix("default.postgres") in VERSIONS:
        return None
    return Refusal("DBParameterGroupNotFound", f"DBParameterGroup not found: {name}", 404)


@rule("rds", "CreateDBInstance", "ModifyDBInstance", code="InvalidParameterCombination")
def a_parameter_group_fits_the_version(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The family of an instance's parameter group is that of its major version.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithParamGroups.html
    """
    given = request.parameters
    name = (given.get("DBParameterGroupName") or "").lower()
    record = instance_of(request) if request.operation == "ModifyDBInstance" else None
    version = given.get("EngineVersion") or (record or {}).get("EngineVersion")
    group = emulator.service("rds")._param_groups.get(name, {})
    has = group.get("DBParameterGroupFamily", name.removeprefix("default."))
    if not name or not version or has == family(version):
        return None
    return Refusal(
        "InvalidParameterCombination",
        f"The parameter group {name} with DBParameterGroupFamily {has} can't be used for this instance. Use a "
        f"parameter group with DBParameterGroupFamily {family(version)}.",
    )


@rule("rds", "ModifyDBInstance", code="InvalidParameterCombination")
def a_major_upgrade_names_its_own_group(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A major upgrade of an instance with a parameter group of one's own names a group for the new version.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (DBParameterGroupName)
    """
    record, versions = instance_of(request), _upgrade(request)
    if record is None or versions is None or family(versions[0]) == family(versions[1]):
        return None
    group = record["DBParameterGroups"][0]["DBParameterGroupName"]
    if request.parameters.get("DBParameterGroupName") or group.startswith("default."):
        return None
    return Refusal(
        "InvalidParameterCombination",
        f"The current DB instance parameter group {group} is custom. You must explicitly specify a new DB instance "
        "parameter group, either default or custom, for the engine version upgrade.",
    )
