"""RDS of the sandbox as its API shows it: states and what they forbid, names, groups, versions, tags, lists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.rds_support import Instance, create
from tests.sandbox.support import Network, Sandbox, refused, until

GROUP = "api-pg16"
PLACES = {"DBSubnetGroupName": "api", "DBParameterGroupName": GROUP}
UNKNOWN_GROUP = "sg-0a1b2c3d4e5f60718"


@pytest.fixture(scope="module")
def rds(sandbox: Sandbox) -> Any:
    return sandbox.client("rds")


@pytest.fixture(scope="module")
def groups(sandbox: Sandbox, network: Network, rds: Any) -> str:
    """The security group of this module's instances; its subnet and parameter groups are PLACES."""
    rds.create_db_subnet_group(DBSubnetGroupName="api", DBSubnetGroupDescription="x", SubnetIds=network.subnets)
    rds.create_db_parameter_group(DBParameterGroupName=GROUP, DBParameterGroupFamily="postgres16", Description="x")
    ec2 = sandbox.client("ec2")
    return str(ec2.create_security_group(GroupName="api-db", Description="db", VpcId=network.vpc)["GroupId"])


@pytest.fixture(scope="module")
def database(sandbox: Sandbox, groups: str) -> Iterator[Instance]:
    """An available instance, the same after each test."""
    create(sandbox, "api-db", groups, DBName="app", **PLACES)
    instance = Instance(sandbox, "api-db", groups, "first-secret", GROUP)
    instance.wait_for("available")
    instance.address = instance.describe()["Endpoint"]["Address"]
    rule = {"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5433, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
    sandbox.client("ec2").authorize_security_group_ingress(GroupId=groups, IpPermissions=[rule])
    yield instance
    rds = sandbox.client("rds")
    rds.delete_db_instance(DBInstanceIdentifier=instance.name, SkipFinalSnapshot=True)
    until(lambda: instance.name not in listed(rds), "the instance is gone")


def listed(rds: Any) -> list[str]:
    return [one["DBInstanceIdentifier"] for one in rds.describe_db_instances()["DBInstances"]]


@pytest.fixture
def unborn(sandbox: Sandbox, rds: Any, network: Network, groups: str) -> Iterator[dict[str, Any]]:
    """An instance without security groups of its own, as CreateDBInstance shows it: `creating` during the test."""
    settings = {**PLACES, "VpcSecurityGroupIds": []}
    made = create(sandbox, "unborn", groups, **settings)
    yield made
    if "unborn" in listed(rds) and status(rds, "unborn") != "deleting":
        rds.delete_db_instance(DBInstanceIdentifier="unborn", SkipFinalSnapshot=True)
    until(lambda: "unborn" not in listed(rds), "unborn is gone")


def status(rds: Any, name: str) -> str:
    return str(rds.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"][0]["DBInstanceStatus"])


@pytest.mark.parametrize("verb", ["describe", "modify", "delete", "start", "stop", "reboot"])
def test_an_unknown_instance_is_not_found(rds: Any, verb: str) -> None:
    call = rds.describe_db_instances if verb == "describe" else getattr(rds, f"{verb}_db_instance")
    more = {"SkipFinalSnapshot": True} if verb == "delete" else {}
    with refused("DBInstanceNotFound", "nobody not found", 404):
        call(DBInstanceIdentifier="nobody", **more)


@pytest.mark.behaviour("rds.names_ignore_case")
def test_names_are_found_whatever_their_case(rds: Any, database: Instance) -> None:
    settings = {"DBParameterGroupFamily": "postgres16", "Description": "x"}
    rds.create_db_parameter_group(DBParameterGroupName="Mixed-Case", **settings)
    held = [one["DBParameterGroupName"] for one in rds.describe_db_parameter_groups()["DBParameterGroups"]]
    rds.delete_db_parameter_group(DBParameterGroupName="Mixed-Case")
    assert "mixed-case" in held
    found = rds.describe_db_instances(DBInstanceIdentifier="API-Db")["DBInstances"]
    assert [one["DBInstanceIdentifier"] for one in found] == ["api-db"]
    by_id = rds.describe_db_instances(DBInstanceIdentifier=found[0]["DbiResourceId"])["DBInstances"]
    assert by_id == found
    assert rds.describe_db_subnet_groups(DBSubnetGroupName="API")["DBSubnetGroups"]


def test_a_name_is_taken_whatever_its_case(sandbox: Sandbox, groups: str, database: Instance) -> None:
    with refused("DBInstanceAlreadyExists", status=400):
        create(sandbox, "Api-DB", groups, **PLACES)


@pytest.mark.behaviour(
    "rds.endpoint_comes_with_the_database",
    "rds.only_an_available_instance_is_modified",
    "rds.only_an_available_instance_is_rebooted",
    "rds.only_an_available_instance_is_stopped",
    "rds.only_an_available_instance_is_saved",
    "rds.only_a_stopped_instance_is_started",
    "rds.the_last_snapshot_is_of_a_whole_instance",
    "rds.an_instance_is_deleted_once",
    "rds.deletion_takes_its_time",
    "rds.vpc_default_group_counts",
    "rds.major_version_means_its_default",
)
def test_an_instance_comes_and_goes_through_its_states(
    sandbox: Sandbox, rds: Any, network: Network, unborn: dict[str, Any]
) -> None:
    assert (unborn["DBInstanceStatus"], unborn["EngineVersion"]) == ("creating", "16.8")
    assert "Endpoint" not in unborn
    ec2 = sandbox.client("ec2")
    default = [{"Name": "vpc-id", "Values": [network.vpc]}, {"Name": "group-name", "Values": ["default"]}]
    group = ec2.describe_security_groups(Filters=default)["SecurityGroups"][0]["GroupId"]
    assert [one["VpcSecurityGroupId"] for one in unborn["VpcSecurityGroups"]] == [group]
    name = {"DBInstanceIdentifier": "unborn"}
    for call, more in (
        (rds.modify_db_instance, {"BackupRetentionPeriod": 2}),
        (rds.reboot_db_instance, {}),
        (rds.stop_db_instance, {}),
    ):
        with refused("InvalidDBInstanceState", "is not in available state", 400):
            call(**name, **more)
    with refused("InvalidDBInstanceState", "is not currently in the available state", 400):
        rds.create_db_snapshot(**name, DBSnapshotIdentifier="too-early")
    with refused("InvalidDBInstanceState", "cannot be started as it is not in one of the following statuses", 400):
        rds.start_db_instance(**name)
    with refused("InvalidDBInstanceState", "a final snapshot cannot be taken", 400):
        rds.delete_db_instance(**name, FinalDBSnapshotIdentifier="too-early")
    rds.delete_db_instance(**name, SkipFinalSnapshot=True)
    assert "unborn" in listed(rds)
    assert status(rds, "unborn") == "deleting"
    with refused("InvalidDBInstanceState", "is already being deleted", 400):
        rds.delete_db_instance(**name, SkipFinalSnapshot=True)


@pytest.mark.behaviour("rds.a_protected_instance_stays")
def test_a_protected_instance_is_not_deleted(rds: Any, database: Instance) -> None:
    name = {"DBInstanceIdentifier": database.name}
    rds.modify_db_instance(**name, DeletionProtection=True)
    with refused("InvalidParameterCombination", "disable deletion protection", 400):
        rds.delete_db_instance(**name, SkipFinalSnapshot=True)
    rds.modify_db_instance(**name, DeletionProtection=False)


@pytest.mark.behaviour("rds.the_last_snapshot_is_new")
def test_the_last_snapshot_takes_no_name_of_another(rds: Any, database: Instance) -> None:
    snapshot = {"DBSnapshotIdentifier": "api-final"}
    rds.create_db_snapshot(DBInstanceIdentifier=database.name, **snapshot)
    with refused("DBSnapshotAlreadyExists", status=400):
        rds.create_db_snapshot(DBInstanceIdentifier=database.name, **snapshot)
    with refused("DBSnapshotAlreadyExists", "api-final already exists", 400):
        rds.delete_db_instance(DBInstanceIdentifier=database.name, FinalDBSnapshotIdentifier="api-final")
    rds.delete_db_snapshot(**snapshot)
    with refused("DBSnapshotNotFound", status=404):
        rds.describe_db_snapshots(**snapshot)


def test_what_would_pretend_is_refused(rds: Any, database: Instance) -> None:
    with refused("InvalidRestoreFault", "does not offer"):
        rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="again", DBSnapshotIdentifier="any")
    with refused("InvalidDBInstanceState", "does not offer"):
        rds.create_db_instance_read_replica(DBInstanceIdentifier="again", SourceDBInstanceIdentifier=database.name)


@pytest.mark.behaviour(
    "rds.an_instance_lies_in_a_subnet_group",
    "rds.security_groups_exist",
    "rds.a_parameter_group_exists",
    "rds.a_parameter_group_fits_the_version",
    "rds.a_version_is_one_of_the_engine",
)
@pytest.mark.parametrize(
    ("more", "code", "status"),
    [
        ({"DBSubnetGroupName": "nobody"}, "DBSubnetGroupNotFoundFault", 404),
        ({"VpcSecurityGroupIds": [UNKNOWN_GROUP]}, "InvalidParameterValue", 400),
        ({"DBParameterGroupName": "default.postgres9"}, "DBParameterGroupNotFound", 404),
        ({"DBParameterGroupName": "default.postgres15"}, "InvalidParameterCombination", 400),
        ({"EngineVersion": "16.99"}, "InvalidParameterCombination", 400),
    ],
)
def test_an_instance_needs_what_it_names(
    sandbox: Sandbox, rds: Any, groups: str, more: dict[str, Any], code: str, status: int
) -> None:
    try:
        with refused(code, status=status):
            create(sandbox, "needy", groups, **{**PLACES, **more})
    finally:
        if "needy" in listed(rds):
            rds.delete_db_instance(DBInstanceIdentifier="needy", SkipFinalSnapshot=True)
            until(lambda: "needy" not in listed(rds), "needy is gone")


@pytest.mark.behaviour("rds.a_class_is_one_of_rds", "rds.storage_only_grows")
def test_an_instance_has_a_class_and_does_not_shrink(rds: Any, database: Instance) -> None:
    name = {"DBInstanceIdentifier": database.name}
    with refused("InvalidParameterValue", "Invalid DB Instance class: m3.large", 400):
        rds.modify_db_instance(**name, DBInstanceClass="m3.large")
    size = rds.describe_db_instances(**name)["DBInstances"][0]["AllocatedStorage"]
    with refused("InvalidParameterCombination", "Invalid storage size for engine name postgres", 400):
        rds.modify_db_instance(**name, AllocatedStorage=size - 1)


@pytest.mark.behaviour("rds.security_groups_are_of_the_vpc")
def test_security_groups_are_of_the_instances_vpc(sandbox: Sandbox, rds: Any, database: Instance) -> None:
    ec2 = sandbox.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="elsewhere", Description="x", VpcId=vpc)["GroupId"]
    with refused("InvalidParameterCombination", f"the EC2 security group is in {vpc}", 400):
        rds.modify_db_instance(DBInstanceIdentifier=database.name, VpcSecurityGroupIds=[group])
    ec2.delete_security_group(GroupId=group)
    ec2.delete_vpc(VpcId=vpc)


@pytest.mark.behaviour("rds.the_interface_has_the_groups")
def test_the_interface_has_the_instances_groups(
    sandbox: Sandbox, rds: Any, network: Network, database: Instance
) -> None:
    ec2 = sandbox.client("ec2")
    look = [{"Name": "private-ip-address", "Values": [database.address]}]

    def shown() -> list[str]:
        return [
            one["GroupId"] for one in ec2.describe_network_interfaces(Filters=look)["NetworkInterfaces"][0]["Groups"]
        ]

    assert shown() == [database.group]
    for wanted in ([database.group, network.group], [database.group]):
        rds.modify_db_instance(DBInstanceIdentifier=database.name, VpcSecurityGroupIds=wanted)
        assert shown() == wanted


@pytest.mark.behaviour(
    "rds.a_major_upgrade_is_allowed_first", "rds.versions_go_up_only", "rds.a_major_upgrade_names_its_own_group"
)
@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"EngineVersion": "17.4", "DBParameterGroupName": "default.postgres17"}, "AllowMajorVersionUpgrade"),
        ({"EngineVersion": "16.4"}, "Cannot upgrade postgres from 16.8 to 16.4"),
        ({"EngineVersion": "17.4", "AllowMajorVersionUpgrade": True}, "is custom"),
    ],
)
def test_versions_change_on_conditions(rds: Any, database: Instance, more: dict[str, Any], match: str) -> None:
    with refused("InvalidParameterCombination", match, 400):
        rds.modify_db_instance(DBInstanceIdentifier=database.name, **more)


@pytest.mark.behaviour("rds.a_new_name_is_free")
def test_an_instance_takes_no_name_of_another(rds: Any, database: Instance, unborn: dict[str, Any]) -> None:
    with refused("DBInstanceAlreadyExists", status=400):
        rds.modify_db_instance(DBInstanceIdentifier=database.name, NewDBInstanceIdentifier="Unborn")


@pytest.mark.behaviour("rds.an_instance_can_be_renamed")
def test_a_renamed_instance_is_the_same(rds: Any, database: Instance) -> None:
    arn, before = database.describe()["DBInstanceArn"], database.describe()
    rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "kept", "Value": "1"}])
    for old, new in (("api-db", "api-renamed"), ("api-renamed", "api-db")):
        rds.modify_db_instance(DBInstanceIdentifier=old, NewDBInstanceIdentifier=new, ApplyImmediately=True)
        database.name = new
        until(lambda name=new: name in listed(rds), f"{new} is there", 5)
        database.wait_for("available")
        with refused("DBInstanceNotFound", status=404):
            rds.describe_db_instances(DBInstanceIdentifier=old)
        shown = database.describe()
        assert shown["DBInstanceArn"] == arn.replace("api-db", new)
        assert shown["DbiResourceId"] == before["DbiResourceId"]
        assert shown["TagList"] == [{"Key": "kept", "Value": "1"}]
        assert database.login()[0] == "app"
    rds.remove_tags_from_resource(ResourceName=arn, TagKeys=["kept"])


@pytest.mark.behaviour("rds.a_new_port_counts_at_once")
def test_a_new_port_is_where_the_database_is(rds: Any, database: Instance) -> None:
    for port in (5433, 5432):
        rds.modify_db_instance(DBInstanceIdentifier=database.name, DBPortNumber=port)
        database.wait_for("available")
        assert database.describe()["Endpoint"]["Port"] == port
        assert database.login(port=port)[0] == "app"


@pytest.mark.behaviour("rds.changes_show_in_the_status")
def test_a_change_takes_a_while_and_says_so(rds: Any, database: Instance) -> None:
    changed = rds.modify_db_instance(
        DBInstanceIdentifier=database.name, DBInstanceClass="db.t4g.small", ApplyImmediately=True
    )["DBInstance"]
    assert (changed["DBInstanceStatus"], changed["DBInstanceClass"]) == ("modifying", "db.t4g.small")
    with refused("InvalidDBInstanceState", status=400):
        rds.reboot_db_instance(DBInstanceIdentifier=database.name)
    database.wait_for("available")


def test_a_change_that_may_wait_is_pending(rds: Any, database: Instance) -> None:
    name = {"DBInstanceIdentifier": database.name}
    storage = rds.modify_db_instance(**name, AllocatedStorage=40)["DBInstance"]
    assert (storage["AllocatedStorage"], storage["PendingModifiedValues"]["AllocatedStorage"]) == (20, 40)
    assert storage["DBInstanceStatus"] == "available"


@pytest.mark.behaviour("rds.what_happens_is_an_event")
def test_what_happens_to_an_instance_is_an_event(rds: Any, database: Instance) -> None:
    events = rds.describe_events(SourceIdentifier=database.name, SourceType="db-instance")["Events"]
    assert ("DB instance created", ["creation"]) in [(one["Message"], one["EventCategories"]) for one in events]
    with refused("InvalidParameterCombination", status=400):
        rds.describe_events(SourceIdentifier=database.name)


@pytest.mark.behaviour("rds.an_instance_stays_in_its_subnet_group")
def test_an_instance_does_not_move_within_its_vpc(rds: Any, network: Network, database: Instance) -> None:
    rds.create_db_subnet_group(DBSubnetGroupName="other", DBSubnetGroupDescription="x", SubnetIds=network.subnets)
    with refused("InvalidVPCNetworkStateFault", "are in the same VPC", 400):
        rds.modify_db_instance(DBInstanceIdentifier=database.name, DBSubnetGroupName="other")
    rds.delete_db_subnet_group(DBSubnetGroupName="other")


@pytest.mark.behaviour("rds.a_subnet_group_exists_once", "rds.a_subnet_group_covers_two_zones")
def test_subnet_groups_exist_once_and_cover_two_zones(rds: Any, network: Network, groups: str) -> None:
    settings = {"DBSubnetGroupDescription": "x", "SubnetIds": network.subnets}
    with refused("DBSubnetGroupAlreadyExists", status=400):
        rds.create_db_subnet_group(DBSubnetGroupName="Api", **settings)
    with refused("DBSubnetGroupDoesNotCoverEnoughAZs", "at least 2 AZs", 400):
        rds.create_db_subnet_group(DBSubnetGroupName="narrow", **{**settings, "SubnetIds": network.subnets[:1]})
    with refused("DBSubnetGroupNotFoundFault", status=404):
        rds.describe_db_subnet_groups(DBSubnetGroupName="narrow")
    with refused("DBSubnetGroupNotFoundFault", status=404):
        rds.delete_db_subnet_group(DBSubnetGroupName="narrow")


@pytest.mark.behaviour("rds.the_subnets_of_a_subnet_group_exist", "rds.a_subnet_group_stays_in_its_vpc")
def test_subnets_of_a_subnet_group_exist_and_stay_in_its_vpc(
    sandbox: Sandbox, rds: Any, network: Network, groups: str
) -> None:
    absent = "subnet-0a1b2c3d4e5f60718"
    with refused("InvalidParameterValue", f"Some input subnets in :[{absent}] are invalid.", 400):
        rds.create_db_subnet_group(
            DBSubnetGroupName="absent", DBSubnetGroupDescription="x", SubnetIds=[network.subnets[0], absent]
        )
    ec2 = sandbox.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.76.0.0/16")["Vpc"]["VpcId"]
    elsewhere = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.76.{n}.0/24", AvailabilityZone=sandbox.facts["region"] + zone)
        for n, zone in enumerate("ab")
    ]
    subnets = [made["Subnet"]["SubnetId"] for made in elsewhere]
    with refused("InvalidParameterValue", "not in the same Vpc as the existing subnet group", 400):
        rds.modify_db_subnet_group(DBSubnetGroupName="api", SubnetIds=subnets)
    for subnet in subnets:
        ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


@pytest.mark.behaviour("rds.a_subnet_in_use_stays_in_its_group")
def test_a_subnet_with_an_instance_stays_in_its_group(
    sandbox: Sandbox, rds: Any, network: Network, database: Instance
) -> None:
    ec2 = sandbox.client("ec2")
    prefix, zone = ".".join(sandbox.facts["vpc_cidr"].split(".")[:2]), f"{sandbox.facts['region']}c"
    third = ec2.create_subnet(VpcId=network.vpc, CidrBlock=f"{prefix}.77.0/24", AvailabilityZone=zone)["Subnet"][
        "SubnetId"
    ]
    look = [{"Name": "private-ip-address", "Values": [database.address]}]
    used = ec2.describe_network_interfaces(Filters=look)["NetworkInterfaces"][0]["SubnetId"]
    others = [subnet for subnet in [*network.subnets, third] if subnet != used]
    with refused("SubnetAlreadyInUse", used, 400):
        rds.modify_db_subnet_group(DBSubnetGroupName="api", SubnetIds=others)
    rds.modify_db_subnet_group(DBSubnetGroupName="api", SubnetIds=[*others, used])
    rds.modify_db_subnet_group(DBSubnetGroupName="api", SubnetIds=network.subnets)
    ec2.delete_subnet(SubnetId=third)


@pytest.mark.behaviour("rds.a_default_group_is_not_changed", "rds.a_default_group_stays")
def test_default_groups_are_rds_own(rds: Any) -> None:
    parameter = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "immediate"}
    with refused("InvalidParameterValue", "Cannot modify a default", 400):
        rds.modify_db_parameter_group(DBParameterGroupName="default.postgres14", Parameters=[parameter])
    with refused("InvalidDBParameterGroupState", "cannot be deleted", 400):
        rds.delete_db_parameter_group(DBParameterGroupName="default.postgres13")


@pytest.mark.behaviour("rds.so_many_parameters_at_once")
def test_a_request_changes_so_many_parameters(rds: Any, groups: str) -> None:
    parameter = {"ParameterName": "work_mem", "ParameterValue": "4096", "ApplyMethod": "immediate"}
    with refused("InvalidParameterCombination", "Cannot modify more than 20 parameters in a single request", 400):
        rds.modify_db_parameter_group(DBParameterGroupName=GROUP, Parameters=[parameter] * 21)


@pytest.mark.behaviour("rds.parameter_groups_have_a_quota", "rds.lists_come_in_pages")
def test_parameter_groups_have_a_quota_and_come_in_pages(rds: Any, groups: str) -> None:
    made: list[str] = []
    settings = {"DBParameterGroupFamily": "postgres16", "Description": "x"}
    with refused("DBParameterGroupAlreadyExists", status=400):
        rds.create_db_parameter_group(DBParameterGroupName=GROUP, **settings)
    try:
        with refused("DBParameterGroupQuotaExceeded", status=400):
            for number in range(51):
                rds.create_db_parameter_group(DBParameterGroupName=f"many-{number}", **settings)
                made.append(f"many-{number}")
        pages = list(rds.get_paginator("describe_db_parameter_groups").paginate(PaginationConfig={"PageSize": 20}))
        found = [one["DBParameterGroupName"] for page in pages for one in page["DBParameterGroups"]]
        assert [len(page["DBParameterGroups"]) for page in pages][:2] == [20, 20]
        assert len(found) == len(set(found))
        assert {*made, GROUP, "default.postgres16"} <= set(found)
        with refused("InvalidParameterValue", "Marker", 400):
            rds.describe_db_parameter_groups(Marker="nobody-gave-this-out")
        with refused("InvalidParameterValue", "MaxRecords", 400):
            rds.describe_db_parameter_groups(MaxRecords=19)
    finally:
        for name in made:
            rds.delete_db_parameter_group(DBParameterGroupName=name)


@pytest.mark.behaviour("rds.instances_by_filters")
def test_instances_are_found_by_filters(rds: Any, database: Instance) -> None:
    shown = database.describe()

    def names(key: str, value: str) -> list[str]:
        found = rds.describe_db_instances(Filters=[{"Name": key, "Values": [value]}])["DBInstances"]
        return [one["DBInstanceIdentifier"] for one in found]

    assert names("db-instance-id", shown["DBInstanceArn"]) == ["api-db"]
    assert names("dbi-resource-id", shown["DbiResourceId"]) == ["api-db"]
    assert names("dbi-resource-id", "db-NOBODY") == []
    assert names("engine", "mysql") == []
    with refused("InvalidParameterValue", "Unrecognized filter name", 400):
        names("colour", "blue")


@pytest.mark.behaviour("rds.tags_are_of_a_resource", "rds.tags_are_of_an_arn")
def test_tags_are_of_what_exists(rds: Any, database: Instance) -> None:
    arn = database.describe()["DBInstanceArn"]
    rds.add_tags_to_resource(ResourceName=arn, Tags=[{"Key": "run", "Value": "1"}])
    assert rds.list_tags_for_resource(ResourceName=arn)["TagList"] == [{"Key": "run", "Value": "1"}]
    rds.remove_tags_from_resource(ResourceName=arn, TagKeys=["run"])
    start = arn.rpartition(":db:")[0]
    for resource, code in (
        ("db:nobody", "DBInstanceNotFound"),
        ("subgrp:nobody", "DBSubnetGroupNotFoundFault"),
        ("pg:nobody", "DBParameterGroupNotFound"),
        ("snapshot:nobody", "DBSnapshotNotFound"),
    ):
        with refused(code, status=404):
            rds.add_tags_to_resource(ResourceName=f"{start}:{resource}", Tags=[{"Key": "a", "Value": "b"}])
        with refused(code, status=404):
            rds.list_tags_for_resource(ResourceName=f"{start}:{resource}")
    with refused("InvalidParameterValue", "Invalid resource name", 400):
        rds.list_tags_for_resource(ResourceName="api-db")


@pytest.mark.behaviour("rds.engine_versions_have_their_families", "rds.current_classes_can_be_ordered")
def test_versions_and_classes_are_described(rds: Any) -> None:
    default = rds.describe_db_engine_versions(Engine="postgres", EngineVersion="16", DefaultOnly=True)
    version = default["DBEngineVersions"][0]
    assert (version["EngineVersion"], version["DBParameterGroupFamily"]) == ("16.8", "postgres16")
    targets = [one["EngineVersion"] for one in version["ValidUpgradeTarget"] if one["IsMajorVersionUpgrade"]]
    assert "17.4" in targets
    for more in ({}, {"DBInstanceClass": "db.t4g.micro"}):
        options = rds.describe_orderable_db_instance_options(Engine="postgres", **more)["OrderableDBInstanceOptions"]
        assert "db.t4g.micro" in [one["DBInstanceClass"] for one in options]
    assert len(options) == 1
