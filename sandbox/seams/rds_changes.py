"""What ModifyDBInstance does: at once, in a while, or with the next reboot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from sandbox.behaviours import behaviour
from sandbox.emulator import service
from sandbox.rds.databases import STATE_SECONDS, Database, Databases
from sandbox.rules.rds import VERSIONS, family
from sandbox.seams import rds_groups
from sandbox.seams.refusal import Handler, Params, Refused, Response

Record = dict[str, Any]
# Changes of these take a while; until then the instance is `modifying`.
SLOW = (
    "DBInstanceClass",
    "AllocatedStorage",
    "StorageType",
    "Iops",
    "MultiAZ",
    "EngineVersion",
    "BackupRetentionPeriod",
    "CACertificateIdentifier",
)


def check_password(password: str) -> None:
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


def modify(rds: Any, databases: Databases, record: Record, p: Params, stock: Handler) -> Response:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html"""
    password, group = rds._p(p, "MasterUserPassword"), rds._p(p, "DBParameterGroupName")
    if password:
        check_password(password)
    rds_groups.default_groups_exist(rds)
    had, before = record["DBParameterGroups"], {name: record.get(name) for name in SLOW}
    version = rds._p(p, "EngineVersion")
    if version in VERSIONS:
        same = family(version) == family(record["EngineVersion"])
        p = {**p, "EngineVersion": [record["EngineVersion"] if same else VERSIONS[version][-1]]}
    response = stock(p)
    if response[0] != 200:
        return response
    if not group and family(record["EngineVersion"]) != family(before["EngineVersion"] or ""):
        group = f"default.{family(record['EngineVersion'])}"
    if group:
        record["DBParameterGroups"] = another_group_waits_for_a_reboot(record, group, had)
    if groups := rds._parse_member_list(p, "VpcSecurityGroupIds"):
        the_interface_has_the_groups(record, groups)
    at_once = rds._p(p, "ApplyImmediately") == "true"
    database = databases.of(record)
    steps: list[tuple[str, Callable[[], None]]] = []
    if password:
        steps.append(("resetting-master-credentials", lambda: a_new_password_counts(database, password)))
    if at_once and any(record.get(name) != before[name] for name in SLOW):
        steps.append(("modifying", lambda: time.sleep(STATE_SECONDS)))
    port = int(rds._p(p, "DBPortNumber") or record["Endpoint"]["Port"])
    if port != record["Endpoint"]["Port"]:
        steps.append(("modifying", lambda: a_new_port_counts_at_once(database, port)))
    name = rds._p(p, "NewDBInstanceIdentifier")
    if name and name != record["DBInstanceIdentifier"]:
        if at_once:
            steps.append(("renaming", lambda: an_instance_can_be_renamed(databases, database, name)))
        else:
            record["PendingModifiedValues"] = {**record.get("PendingModifiedValues", {}), "DBInstanceIdentifier": name}
    if steps:
        changes_show_in_the_status(database, steps[0][0])
        database.run(lambda: _work(database, steps))
    answer: Response = rds._single_instance_response("ModifyDBInstanceResponse", "ModifyDBInstanceResult", record)
    return answer


def _work(database: Database, steps: list[tuple[str, Callable[[], None]]]) -> None:
    for status, work in steps:
        changes_show_in_the_status(database, status)
        work()
    database.status("available")


@behaviour("rds")
def changes_show_in_the_status(database: Database, status: str) -> None:
    """While a change is applied the status says which: `modifying`, `renaming`, `resetting-master-credentials`.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/accessing-monitoring.html
    """
    database.status(status)


@behaviour(
    "rds", otherwise=lambda record, group, had: [{"DBParameterGroupName": group, "ParameterApplyStatus": "in-sync"}]
)
def another_group_waits_for_a_reboot(record: Record, group: str, had: list[Record]) -> list[Record]:
    """Another parameter group is `pending-reboot`, and has no effect, until the instance is rebooted.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (DBParameterGroupName)
    """
    if group == had[0]["DBParameterGroupName"]:
        return had
    return [{"DBParameterGroupName": group, "ParameterApplyStatus": "pending-reboot"}]


@behaviour("rds")
def the_interface_has_the_groups(record: Record, groups: list[str]) -> None:
    """Security groups that are changed are those of the instance's network interface, too.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (VpcSecurityGroupIds)
    """
    held = service("ec2")._security_groups
    interface = service("ec2")._network_interfaces.get(record["_interface"])
    if interface is not None:
        interface["Groups"] = [{"GroupId": one, "GroupName": held[one]["GroupName"]} for one in groups]


@behaviour("rds")
def a_new_password_counts(database: Database, password: str) -> None:
    """A new master password replaces the old one within moments, without a reboot.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (MasterUserPassword)
    """
    if database.server is not None:
        database.server.set_password(database.record["MasterUsername"], password)


@behaviour("rds")
def a_new_port_counts_at_once(database: Database, port: int) -> None:
    """A new port restarts the database at once, whatever ApplyImmediately says.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBInstance.html (DBPortNumber)
    """
    database.bring_down()
    database.record["Endpoint"]["Port"] = port
    database.bring_up()


@behaviour("rds")
def an_instance_can_be_renamed(databases: Databases, database: Database, name: str) -> None:
    """A renamed instance has another identifier, ARN and endpoint name, the same data and tags, and was rebooted.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_RenameInstance.html
    """
    rds, record = service("rds"), database.record
    old, arn = record["DBInstanceIdentifier"], record["DBInstanceArn"]
    database.bring_down()
    time.sleep(STATE_SECONDS)
    databases.forget(database)
    record["DBInstanceIdentifier"] = name
    record["DBInstanceArn"] = arn.removesuffix(old) + name
    rds._instances[name] = rds._instances.pop(old)
    if arn in rds._tags:
        rds._tags[record["DBInstanceArn"]] = rds._tags.pop(arn)
    databases.keep(database)
    database.bring_up()
    databases.event(record, f"Renamed instance from {old} to {name}", "notification")
