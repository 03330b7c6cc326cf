"""RDS: instances that are real servers, through the states, events and refusals of AWS."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sandbox.addresses import NoAddress
from sandbox.behaviours import behaviour
from sandbox.emulator import request_scope, service
from sandbox.rds.databases import STATE_SECONDS, Database, Databases
from sandbox.rules.rds import VERSIONS, plain
from sandbox.seams import ec2, rds_changes, rds_groups, rds_lists
from sandbox.seams.refusal import Handler, Params, Refused, Response, answered

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

IDENTIFIER = re.compile(r"[A-Za-z](-?[A-Za-z0-9])*")
MASTER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED_NAMES = {"rdsadmin", "admin", "postgres_admin", "rds_superuser", "rds_password", "public"}
# Elements that AWS leaves out when they have no value; the emulator writes them empty.
OPTIONAL = [
    "DBName",
    "ReadReplicaSourceDBInstanceIdentifier",
    "ReplicaMode",
    "DBClusterIdentifier",
    "KmsKeyId",
    "EnhancedMonitoringResourceArn",
    "MonitoringRoleArn",
]
EMPTY = re.compile(rf"\s*<({'|'.join(OPTIONAL)})></\1>")
# Parameters that are names, which RDS keeps in lower case.
NAMES = (
    "DBInstanceIdentifier",
    "NewDBInstanceIdentifier",
    "DBParameterGroupName",
    "DBSubnetGroupName",
    "DBSnapshotIdentifier",
    "FinalDBSnapshotIdentifier",
)


def install(runtime: Runtime) -> None:
    rds = service("rds")
    # The emulator's own servers are containers; ours are processes, and it is to keep the records alone.
    rds._get_docker = lambda: None
    rds._start_rds_container_for_instance = lambda identifier, instance: None
    databases = Databases(runtime, rds_groups.PASSED_ON)
    rds_groups.install(rds, databases)
    rds_lists.install(rds)
    show = rds._instance_xml
    rds._instance_xml = lambda record: _shown(record, show)
    rds._rotate_instance_password = lambda record, old, new: None
    actions = rds._ACTION_MAP
    create, delete, modify = (actions[f"{verb}DBInstance"] for verb in ("Create", "Delete", "Modify"))
    reboot, start, stop = (actions[f"{verb}DBInstance"] for verb in ("Reboot", "Start", "Stop"))
    actions.update(
        CreateDBInstance=lambda p: _create(runtime, rds, databases, p, create),
        DeleteDBInstance=_of_instance(rds, delete, lambda p, one: _delete(runtime, rds, databases, one, p, delete)),
        ModifyDBInstance=_of_instance(rds, modify, lambda p, one: rds_changes.modify(rds, databases, one, p, modify)),
        StartDBInstance=_of_instance(rds, start, lambda p, one: _start(rds, databases, one)),
        StopDBInstance=_of_instance(rds, stop, lambda p, one: _stop(rds, databases, one)),
        RebootDBInstance=_of_instance(rds, reboot, lambda p, one: _reboot(rds, databases, one)),
        RestoreDBInstanceFromDBSnapshot=_not_offered("InvalidRestoreFault", "a snapshot holds no data"),
        CreateDBInstanceReadReplica=_not_offered("InvalidDBInstanceState", "an instance has no replicas"),
    )
    for name, handler in list(actions.items()):
        actions[name] = answered(rds, _by_lower_names(handler))
    runtime.at_start.append(lambda: _resume(runtime, rds, databases, delete))
    runtime.at_stop.append(databases.close)


def _by_lower_names(handler: Handler) -> Handler:
    return lambda p: handler(names_ignore_case(p))


@behaviour("rds", otherwise=lambda p: p)
def names_ignore_case(p: Params) -> Params:
    """Names of instances, groups and snapshots are kept in lower case, and found whatever their case.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html (DBInstanceIdentifier)
    """
    return {key: [plain(value[0])] if key in NAMES and isinstance(value, list) else value for key, value in p.items()}


def _of_instance(
    rds: Any, stock: Handler, handler: Callable[[Params, dict[str, Any]], Response]
) -> Callable[[Params], Response]:
    """The handler of an operation on an instance that exists; the emulator says it when there is none."""

    def call(p: Params) -> Response:
        record = rds._resolve_instance(rds._p(p, "DBInstanceIdentifier"))
        return stock(p) if record is None else handler(p, record)

    return call


def _not_offered(code: str, why: str) -> Handler:
    def call(p: Params) -> Response:
        raise Refused(code, f"The sandbox does not offer this: {why}.")

    return call


def _shown(record: dict[str, Any], show: Callable[[dict[str, Any]], str]) -> str:
    """Without the elements that have no value."""
    xml = EMPTY.sub("", show({**record, "DBName": record.get("DBName") or ""}))
    return endpoint_comes_with_the_database(record, xml)


@behaviour("rds", otherwise=lambda record, xml: xml)
def endpoint_comes_with_the_database(record: dict[str, Any], xml: str) -> str:
    """An instance that is being created has no endpoint yet.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DBInstance.html (Endpoint)
    """
    if record["DBInstanceStatus"] == "creating":
        xml = re.sub(r"\s*<Endpoint>.*?</Endpoint>", "", xml, flags=re.DOTALL)
    return xml


def _resume(runtime: Runtime, rds: Any, databases: Databases, delete: Handler) -> None:
    """After a restart of the sandbox: whatever ran runs again, what was stopped stays so."""
    databases.start_watching()
    for (account, region, _), record in list(rds._instances._data.items()):
        with request_scope(account, region):
            database = databases.of(record)
            runtime.addresses.claim(record["Endpoint"]["Address"])
            if record.get("_deleting"):
                database.run(_deletion(runtime, databases, database, delete))
            elif record.get("_stopped"):
                database.status("stopped")
            else:
                record["DBInstanceStatus"] = "starting"
                database.run(partial(up_again, databases, database, "DB instance restarted"))


def up_again(databases: Databases, database: Database, message: str) -> None:
    database.bring_up()
    databases.event(database.record, message, "availability")
    database.status("available")


def _answer(rds: Any, operation: str, record: dict[str, Any]) -> Response:
    response: Response = rds._single_instance_response(f"{operation}Response", f"{operation}Result", record)
    return response


def _check_new(rds: Any, p: Params) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html"""
    identifier = rds._p(p, "DBInstanceIdentifier")
    if not IDENTIFIER.fullmatch(identifier) or len(identifier) > 63:
        raise Refused("InvalidParameterValue", "The parameter DBInstanceIdentifier is not a valid identifier.")
    if rds._p(p, "Engine") != "postgres":
        raise Refused("InvalidParameterValue", "Invalid DB engine: the sandbox has PostgreSQL only")
    name = rds._p(p, "MasterUsername")
    if not MASTER_NAME.fullmatch(name) or len(name) > 63:
        raise Refused("InvalidParameterValue", "The parameter MasterUsername is not a valid identifier.")
    if name.lower() in RESERVED_NAMES:
        raise Refused(
            "InvalidParameterValue", f"MasterUsername {name} cannot be used as it is a reserved word used by the engine"
        )
    rds_changes.check_password(rds._p(p, "MasterUserPassword"))


def _create(runtime: Runtime, rds: Any, databases: Databases, p: Params, create: Handler) -> Response:
    _check_new(rds, p)
    subnet_group = rds._subnet_groups.get(rds._p(p, "DBSubnetGroupName"))
    if subnet_group is None:
        # The one of the default VPC, whose addresses no process here can have.
        raise Refused("InvalidSubnet", "No default subnet detected in VPC. Name a DB subnet group.")
    groups = rds._parse_member_list(p, "VpcSecurityGroupIds") or vpc_default_group_counts(subnet_group["VpcId"])
    rds_groups.default_groups_exist(rds)
    response = create({**p, "EngineVersion": [major_version_means_its_default(rds._p(p, "EngineVersion") or "17")]})
    if response[0] != 200:
        return response
    record = rds._instances[rds._p(p, "DBInstanceIdentifier")]
    try:
        _place(runtime, record, subnet_group, groups)
    except NoAddress as error:
        rds._instances.pop(record["DBInstanceIdentifier"])
        raise Refused("InvalidVPCNetworkStateFault", f"No IP address is left in the subnets: {error}") from error
    record["DBName"] = rds._p(p, "DBName")
    record["Endpoint"]["Port"] = int(rds._p(p, "Port") or 5432)
    record["VpcSecurityGroups"] = [{"VpcSecurityGroupId": group, "Status": "active"} for group in groups]
    record["DBInstanceStatus"] = "creating"
    database = databases.of(record)

    def work() -> None:
        database.bring_up()
        databases.event(record, "DB instance created", "creation")
        database.status("available")

    answer = _answer(rds, "CreateDBInstance", record)
    database.run(work)
    return answer


@behaviour("rds", otherwise=lambda version: version)
def major_version_means_its_default(version: str) -> str:
    """A major version stands for its default minor version, which the instance then shows.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_UpgradeDBInstance.PostgreSQL.MinorVersion.html
    """
    return VERSIONS[version][-1] if version in VERSIONS else version


@behaviour("rds", otherwise=lambda vpc: [])
def vpc_default_group_counts(vpc: str) -> list[str]:
    """An instance for which no security group is named has the default one of its VPC.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html (VpcSecurityGroupIds)
    """
    return ec2.default_groups(vpc)


def _place(runtime: Runtime, record: dict[str, Any], subnet_group: dict[str, Any], groups: list[str]) -> None:
    """An address and an interface in one of the group's subnets."""
    state = service("ec2")
    zone = record["AvailabilityZone"]
    subnets = [entry["SubnetIdentifier"] for entry in subnet_group["Subnets"]]
    subnets.sort(key=lambda subnet: state._subnets[subnet]["AvailabilityZone"] != zone)
    subnet = state._subnets[subnets[0]]
    address = runtime.addresses.take_to_listen(subnet["CidrBlock"])
    record["AvailabilityZone"] = subnet["AvailabilityZone"]
    record["Endpoint"]["Address"] = address
    record["_interface"] = instance_has_an_interface(subnets[0], address, groups)


@behaviour("rds", otherwise=lambda *_: "")
def instance_has_an_interface(subnet: str, address: str, groups: list[str]) -> str:
    """An instance shows in EC2 as a network interface of RDS, with its security groups, until it is deleted.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_VPC.WorkingWithRDSInstanceinaVPC.html
    """
    return ec2.create_interface(
        subnet, address, groups, "RDSNetworkInterface", requester="amazon-rds", instance_owner="amazon-rds"
    )


def _delete(
    runtime: Runtime, rds: Any, databases: Databases, record: dict[str, Any], p: Params, delete: Handler
) -> Response:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBInstance.html"""
    database = databases.of(record)
    record["DBInstanceStatus"] = "deleting"
    record["_deleting"] = True
    answer = _answer(rds, "DeleteDBInstance", record)
    deletion_takes_its_time(database, _deletion(runtime, databases, database, delete, dict(p)))
    return answer


@behaviour("rds", otherwise=lambda database, work: work())
def deletion_takes_its_time(database: Database, work: Callable[[], None]) -> None:
    """A deleted instance is shown as `deleting` for as long as its deletion takes.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html
    """
    database.run(work)


def _deletion(
    runtime: Runtime, databases: Databases, database: Database, delete: Handler, p: Params | None = None
) -> Callable[[], None]:
    def work() -> None:
        record = database.record
        database.bring_down()
        if database.server is not None:
            database.server.remove()
        time.sleep(STATE_SECONDS)
        ec2.delete_interface(record.get("_interface", ""))
        runtime.addresses.release(record["Endpoint"]["Address"])
        record["DeletionProtection"] = False
        delete(p or {"DBInstanceIdentifier": record["DBInstanceIdentifier"], "SkipFinalSnapshot": "true"})
        databases.event(record, "DB instance deleted", "deletion")
        databases.forget(database)
        runtime.changed()

    return work


def _start(rds: Any, databases: Databases, record: dict[str, Any]) -> Response:
    database = databases.of(record)
    record["DBInstanceStatus"] = "starting"
    record["_stopped"] = False
    answer = _answer(rds, "StartDBInstance", record)
    database.run(lambda: up_again(databases, database, "DB instance started"))
    return answer


def _stop(rds: Any, databases: Databases, record: dict[str, Any]) -> Response:
    database = databases.of(record)
    record["DBInstanceStatus"] = "stopping"
    record["_stopped"] = True

    def work() -> None:
        time.sleep(STATE_SECONDS)
        stopped_is_out_of_reach(database)
        databases.event(record, "DB instance stopped", "notification")
        database.status("stopped")

    answer = _answer(rds, "StopDBInstance", record)
    database.run(work)
    return answer


@behaviour("rds")
def stopped_is_out_of_reach(database: Database) -> None:
    """A stopped instance takes no connections, and keeps its data for the next start.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_StopInstance.html
    """
    database.bring_down()


def _reboot(rds: Any, databases: Databases, record: dict[str, Any]) -> Response:
    database = databases.of(record)
    record["DBInstanceStatus"] = "rebooting"

    def work() -> None:
        a_reboot_restarts_the_server(databases, database)
        databases.event(database.record, "DB instance restarted", "availability")
        database.status("available")

    answer = _answer(rds, "RebootDBInstance", record)
    database.run(work)
    return answer


@behaviour("rds", otherwise=lambda databases, database: time.sleep(STATE_SECONDS))
def a_reboot_restarts_the_server(databases: Databases, database: Database) -> None:
    """A reboot restarts the database server: sessions end, and parameters that waited for it take effect.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_RebootInstance.html
    """
    database.bring_down()
    databases.event(database.record, "DB instance shutdown", "availability")
    time.sleep(STATE_SECONDS)
    database.bring_up()
