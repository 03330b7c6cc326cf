"""RDS: instances that are real servers, parameter groups that take effect, states, events and refusals as on AWS."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from sandbox.addresses import NoAddress
from sandbox.databases import STATE_SECONDS, Database, Databases
from sandbox.emulator import request_scope, service
from sandbox.seams import ec2, rds_groups
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


def install(runtime: Runtime) -> None:
    rds = service("rds")
    # The emulator's own servers are containers; ours are processes, and it is to keep the records alone.
    rds._get_docker = lambda: None
    rds._start_rds_container_for_instance = lambda identifier, instance: None
    databases = Databases(runtime, rds_groups.PASSED_ON)
    rds_groups.install(rds, databases)
    show = rds._instance_xml
    rds._instance_xml = lambda record: _shown(record, show)
    rds._rotate_instance_password = lambda record, old, new: None
    actions = rds._ACTION_MAP
    create, delete, modify = (actions[f"{verb}DBInstance"] for verb in ("Create", "Delete", "Modify"))
    actions.update(
        CreateDBInstance=lambda p: _create(runtime, rds, databases, p, create),
        DeleteDBInstance=lambda p: _delete(runtime, rds, databases, p, delete),
        ModifyDBInstance=lambda p: _modify(rds, databases, p, modify),
        StartDBInstance=lambda p: _start(rds, databases, p),
        StopDBInstance=lambda p: _stop(rds, databases, p),
        RebootDBInstance=lambda p: _reboot(rds, databases, p),
    )
    for name, handler in list(actions.items()):
        actions[name] = answered(rds, handler)
    runtime.at_start.append(lambda: _resume(runtime, rds, databases, delete))
    runtime.at_stop.append(databases.close)


def _shown(record: dict[str, Any], show: Callable[[dict[str, Any]], str]) -> str:
    """Without an endpoint as long as there is none, and without the empty elements."""
    xml = EMPTY.sub("", show({**record, "DBName": record.get("DBName") or ""}))
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
                database.run(_deletion(runtime, rds, databases, database, delete))
            elif record.get("_stopped"):
                database.status("stopped")
            else:
                record["DBInstanceStatus"] = "starting"
                database.run(partial(_up_again, databases, database, "DB instance restarted"))


def _up_again(databases: Databases, database: Database, message: str) -> None:
    database.bring_up()
    databases.event(database.record, message, "availability")
    database.status("available")


def _answer(rds: Any, operation: str, record: dict[str, Any]) -> Response:
    response: Response = rds._single_instance_response(f"{operation}Response", f"{operation}Result", record)
    return response


def _record(rds: Any, p: Params) -> dict[str, Any]:
    identifier = rds._p(p, "DBInstanceIdentifier")
    record: dict[str, Any] | None = rds._resolve_instance(identifier)
    if record is None:
        raise Refused("DBInstanceNotFound", f"DBInstance {identifier} not found.", 404)
    return record


def _expect(record: dict[str, Any], *states: str) -> None:
    if record["DBInstanceStatus"] not in states:
        raise Refused(
            "InvalidDBInstanceState",
            f"Instance {record['DBInstanceIdentifier']} is not in {' or '.join(states)} state.",
        )


def _check_password(password: str) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html, MasterUserPassword"""
    if not 8 <= len(password) <= 128:
        raise Refused(
            "InvalidParameterValue",
            "The parameter MasterUserPassword is not a valid password because it is "
            + ("shorter than 8 characters." if len(password) < 8 else "longer than 128 characters."),
        )
    if any(character in password for character in '/"@ ') or not password.isprintable() or not password.isascii():
        raise Refused(
            "InvalidParameterValue",
            "The parameter MasterUserPassword is not a valid password. Only printable ASCII characters besides "
            "'/', '@', '\"', ' ' may be used.",
        )


def _check_groups(groups: list[str], vpc: str) -> None:
    held = service("ec2")._security_groups
    for group in groups:
        if group not in held:
            raise Refused("InvalidParameterValue", f"Invalid security group , groupId= {group}, groupName=.")
        if held[group]["VpcId"] != vpc:
            raise Refused(
                "InvalidVPCNetworkStateFault", "The DB instance and EC2 security group are in different VPCs."
            )


def _create(runtime: Runtime, rds: Any, databases: Databases, p: Params, create: Handler) -> Response:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html"""
    identifier = rds._p(p, "DBInstanceIdentifier").lower()
    if not IDENTIFIER.fullmatch(identifier) or len(identifier) > 63:
        raise Refused("InvalidParameterValue", "The parameter DBInstanceIdentifier is not a valid identifier.")
    if identifier in rds._instances:
        raise Refused("DBInstanceAlreadyExists", "DB instance already exists")
    if rds._p(p, "Engine") != "postgres":
        raise Refused("InvalidParameterValue", "Invalid DB engine: the sandbox has PostgreSQL only")
    name, password = rds._p(p, "MasterUsername"), rds._p(p, "MasterUserPassword")
    if not MASTER_NAME.fullmatch(name) or len(name) > 63:
        raise Refused("InvalidParameterValue", "The parameter MasterUsername is not a valid identifier.")
    if name.lower() in RESERVED_NAMES:
        raise Refused(
            "InvalidParameterValue", f"MasterUsername {name} cannot be used as it is a reserved word used by the engine"
        )
    _check_password(password)
    subnet_group = rds._subnet_groups.get(rds._p(p, "DBSubnetGroupName"))
    if subnet_group is None:
        raise Refused(
            "DBSubnetGroupNotFoundFault", f"DB subnet group '{rds._p(p, 'DBSubnetGroupName')}' not found.", 404
        )
    groups = rds._parse_member_list(p, "VpcSecurityGroupIds") or ec2.default_groups(subnet_group["VpcId"])
    _check_groups(groups, subnet_group["VpcId"])
    rds_groups.ensure_defaults(rds)
    create_answer = create({**p, "DBInstanceIdentifier": [identifier]})
    if create_answer[0] != 200:
        return create_answer
    record = rds._instances[identifier]
    try:
        _place(runtime, record, subnet_group, groups)
    except NoAddress as error:
        rds._instances.pop(identifier)
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
    record["_interface"] = ec2.create_interface(
        subnets[0], address, groups, "RDSNetworkInterface", requester="amazon-rds", instance_owner="amazon-rds"
    )


def _delete(runtime: Runtime, rds: Any, databases: Databases, p: Params, delete: Handler) -> Response:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DeleteDBInstance.html"""
    record = _record(rds, p)
    if record["DeletionProtection"]:
        raise Refused(
            "InvalidParameterCombination",
            "Cannot delete protected DB Instance, please disable deletion protection and try again.",
        )
    if record["DBInstanceStatus"] == "deleting":
        raise Refused("InvalidDBInstanceState", f"Instance {record['DBInstanceIdentifier']} is already being deleted.")
    if rds._p(p, "SkipFinalSnapshot") != "true" and not rds._p(p, "FinalDBSnapshotIdentifier"):
        raise Refused(
            "InvalidParameterCombination",
            "FinalDBSnapshotIdentifier is required unless SkipFinalSnapshot is specified.",
        )
    database = databases.of(record)
    record["DBInstanceStatus"] = "deleting"
    record["_deleting"] = True
    answer = _answer(rds, "DeleteDBInstance", record)
    database.run(_deletion(runtime, rds, databases, database, delete, dict(p)))
    return answer


def _deletion(
    runtime: Runtime, rds: Any, databases: Databases, database: Database, delete: Handler, p: Params | None = None
) -> Callable[[], None]:
    def work() -> None:
        record = database.record
        database.bring_down()
        if database.server is not None:
            database.server.remove()
        time.sleep(STATE_SECONDS)
        ec2.delete_interface(record.get("_interface", ""))
        runtime.addresses.release(record["Endpoint"]["Address"])
        delete(p or {"DBInstanceIdentifier": record["DBInstanceIdentifier"], "SkipFinalSnapshot": "true"})
        databases.forget(database)
        runtime.changed()

    return work


def _modify(rds: Any, databases: Databases, p: Params, modify: Handler) -> Response:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html"""
    record = _record(rds, p)
    _expect(record, "available")
    password = rds._p(p, "MasterUserPassword")
    if password:
        _check_password(password)
    groups = rds._parse_member_list(p, "VpcSecurityGroupIds")
    _check_groups(groups, record["DBSubnetGroup"]["VpcId"])
    group = rds._p(p, "DBParameterGroupName")
    rds_groups.ensure_defaults(rds)
    if group and group not in rds._param_groups:
        raise Refused("DBParameterGroupNotFound", f"DBParameterGroup not found: {group}", 404)
    had = record["DBParameterGroups"]
    answer = modify(p)
    if group:
        # Another group takes effect with the next reboot only; the same one again changes nothing.
        pending = {"DBParameterGroupName": group, "ParameterApplyStatus": "pending-reboot"}
        record["DBParameterGroups"] = had if group == had[0]["DBParameterGroupName"] else [pending]
    if groups:
        held = service("ec2")._security_groups
        interface = service("ec2")._network_interfaces.get(record["_interface"])
        if interface is not None:
            interface["Groups"] = [{"GroupId": one, "GroupName": held[one]["GroupName"]} for one in groups]
    if password:
        database = databases.of(record)
        record["DBInstanceStatus"] = "resetting-master-credentials"
        database.run(lambda: _reset_password(database, password))
    return _answer(rds, "ModifyDBInstance", record) if answer[0] == 200 else answer


def _reset_password(database: Database, password: str) -> None:
    if database.server is not None:
        database.server.set_password(database.record["MasterUsername"], password)
    database.status("available")


def _start(rds: Any, databases: Databases, p: Params) -> Response:
    record = _record(rds, p)
    _expect(record, "stopped")
    database = databases.of(record)
    record["DBInstanceStatus"] = "starting"
    record["_stopped"] = False
    answer = _answer(rds, "StartDBInstance", record)
    database.run(lambda: _up_again(databases, database, "DB instance started"))
    return answer


def _stop(rds: Any, databases: Databases, p: Params) -> Response:
    record = _record(rds, p)
    _expect(record, "available")
    database = databases.of(record)
    record["DBInstanceStatus"] = "stopping"
    record["_stopped"] = True

    def work() -> None:
        time.sleep(STATE_SECONDS)
        database.bring_down()
        databases.event(record, "DB instance stopped", "notification")
        database.status("stopped")

    answer = _answer(rds, "StopDBInstance", record)
    database.run(work)
    return answer


def _reboot(rds: Any, databases: Databases, p: Params) -> Response:
    record = _record(rds, p)
    _expect(record, "available")
    database = databases.of(record)
    record["DBInstanceStatus"] = "rebooting"

    def work() -> None:
        database.bring_down()
        databases.event(record, "DB instance shutdown", "availability")
        time.sleep(STATE_SECONDS)
        _up_again(databases, database, "DB instance restarted")

    answer = _answer(rds, "RebootDBInstance", record)
    database.run(work)
    return answer
