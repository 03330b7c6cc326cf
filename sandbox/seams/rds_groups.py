"""RDS's parameter and subnet groups: defaults that exist, parameters that reach the server, members that hold them."""

from __future__ import annotations

from typing import Any

from sandbox.databases import Databases
from sandbox.emulator import service
from sandbox.seams.refusal import Handler, Params, Refused, Response, guarded

MAJORS = range(12, 19)
# name → (default, apply type, data type). The ones that a release check or its operators touch, not all 400 of RDS.
PARAMETERS: dict[str, tuple[str, str, str]] = {
    "application_name": ("", "dynamic", "string"),
    "deadlock_timeout": ("", "dynamic", "integer"),
    "idle_in_transaction_session_timeout": ("86400000", "dynamic", "integer"),
    "idle_session_timeout": ("", "dynamic", "integer"),
    "lock_timeout": ("", "dynamic", "integer"),
    "log_connections": ("", "dynamic", "boolean"),
    "log_disconnections": ("", "dynamic", "boolean"),
    "log_lock_waits": ("", "dynamic", "boolean"),
    "log_min_duration_statement": ("", "dynamic", "integer"),
    "log_statement": ("", "dynamic", "string"),
    "maintenance_work_mem": ("", "dynamic", "integer"),
    "max_connections": ("LEAST({DBInstanceClassMemory/9531392},5000)", "static", "integer"),
    "random_page_cost": ("", "dynamic", "float"),
    "rds.force_ssl": ("", "dynamic", "boolean"),
    "rds.log_retention_period": ("4320", "dynamic", "integer"),
    "shared_buffers": ("{DBInstanceClassMemory/32768}", "static", "integer"),
    "statement_timeout": ("", "dynamic", "integer"),
    "work_mem": ("", "dynamic", "integer"),
}
PASSED_ON = frozenset(name for name in PARAMETERS if not name.startswith("rds.") and name != "shared_buffers")
DESCRIPTIONS = {"rds.force_ssl": "Force SSL connections."}


def install(rds: Any, databases: Databases) -> None:
    rds._default_parameters_for_family = _parameters
    actions = rds._ACTION_MAP
    for name, rule in {
        "CreateDBParameterGroup": _check_new_group,
        "ModifyDBParameterGroup": _check_change,
        "ResetDBParameterGroup": _check_not_default,
        "DeleteDBParameterGroup": _check_group_is_free,
        "DescribeDBParameterGroups": _with_defaults,
        "DescribeDBParameters": _with_defaults,
        "CreateDBSubnetGroup": _check_new_subnet_group,
        "ModifyDBSubnetGroup": _check_zones,
        "DeleteDBSubnetGroup": _check_subnet_group_is_free,
    }.items():
        actions[name] = guarded(rds, rule, actions[name])
    modify, reset = actions["ModifyDBParameterGroup"], actions["ResetDBParameterGroup"]
    actions["ModifyDBParameterGroup"] = lambda p: _change(rds, databases, p, modify)
    actions["ResetDBParameterGroup"] = lambda p: _change(rds, databases, p, reset)


def _parameters(family: str) -> list[dict[str, Any]]:
    """What the emulator describes a family by."""
    major = family.removeprefix("postgres")
    force = "1" if major.isdigit() and int(major) >= 15 else "0"
    return [
        {
            "name": name,
            "default": force if name == "rds.force_ssl" else default,
            "description": DESCRIPTIONS.get(name, f"PostgreSQL's {name}."),
            "apply_type": apply_type,
            "data_type": data_type,
            "modifiable": True,
        }
        for name, (default, apply_type, data_type) in PARAMETERS.items()
    ]


def ensure_defaults(rds: Any) -> None:
    """Each family has a default group in every account and region from the start."""
    for major in MAJORS:
        name = f"default.postgres{major}"
        if name not in rds._param_groups:
            rds._param_groups[name] = {
                "DBParameterGroupName": name,
                "DBParameterGroupFamily": f"postgres{major}",
                "Description": f"Default parameter group for postgres{major}",
                "DBParameterGroupArn": f"arn:aws:rds:{rds.get_region()}:{rds.get_account_id()}:pg:{name}",
                "Parameters": {},
            }


def _with_defaults(rds: Any, p: Params) -> None:
    ensure_defaults(rds)


def _check_new_group(rds: Any, p: Params) -> None:
    name, family = rds._p(p, "DBParameterGroupName"), rds._p(p, "DBParameterGroupFamily")
    if name.lower().startswith("default."):
        raise Refused("InvalidParameterValue", "The parameter DBParameterGroupName is not a valid identifier.")
    if family not in {f"postgres{major}" for major in MAJORS}:
        raise Refused("InvalidParameterValue", f"ParameterGroupFamily {family} is not a valid parameter group family")


def _group(rds: Any, p: Params) -> dict[str, Any]:
    ensure_defaults(rds)
    name = rds._p(p, "DBParameterGroupName")
    group: dict[str, Any] | None = rds._param_groups.get(name)
    if group is None:
        raise Refused("DBParameterGroupNotFound", f"DBParameterGroup not found: {name}", 404)
    return group


def _check_not_default(rds: Any, p: Params) -> None:
    if _group(rds, p)["DBParameterGroupName"].startswith("default."):
        raise Refused("InvalidParameterValue", "Cannot modify a default parameter group.")


def _check_change(rds: Any, p: Params) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBParameterGroup.html"""
    _check_not_default(rds, p)
    prefix = rds._parameter_member_prefix(p)
    place = 1
    while name := rds._p(p, f"{prefix}.{place}.ParameterName"):
        if name not in PARAMETERS:
            raise Refused("InvalidParameterValue", f"Could not find parameter with name: {name}")
        value, method = (rds._p(p, f"{prefix}.{place}.{key}") for key in ("ParameterValue", "ApplyMethod"))
        _, apply_type, data_type = PARAMETERS[name]
        if data_type == "boolean" and value not in ("0", "1"):
            raise Refused(
                "InvalidParameterValue", f"Invalid parameter value: {value} for: {name} allowed values are: 0,1"
            )
        if data_type == "integer" and not value.lstrip("-").isdigit():
            raise Refused("InvalidParameterValue", f"Invalid parameter value: {value} for: {name}")
        if apply_type == "static" and method == "immediate":
            raise Refused("InvalidParameterCombination", "cannot use immediate apply method for static parameter")
        place += 1


def _check_group_is_free(rds: Any, p: Params) -> None:
    name = _group(rds, p)["DBParameterGroupName"]
    if name.startswith("default."):
        raise Refused("InvalidDBParameterGroupState", f"Default DBParameterGroup cannot be deleted: {name}")
    for record in rds._instances.values():
        if name in (record.get("_group"), record["DBParameterGroups"][0]["DBParameterGroupName"]):
            raise Refused(
                "InvalidDBParameterGroupState",
                f"One or more database instances are still members of this parameter group {name}, so the group "
                "cannot be deleted",
            )


def _change(rds: Any, databases: Databases, p: Params, change: Handler) -> Response:
    """Dynamic parameters that are to be applied at once reach the running servers; the others wait for a reboot.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithParamGroups.html
    """
    name = rds._p(p, "DBParameterGroupName")
    before = dict(_group(rds, p).get("Parameters") or {})
    answer = change(p)
    if answer[0] != 200:
        return answer
    after: dict[str, Any] = rds._param_groups[name].get("Parameters") or {}
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    at_once = {
        key
        for key in changed
        if PARAMETERS[key][1] == "dynamic" and (after.get(key) or {}).get("ApplyMethod", "immediate") == "immediate"
    }
    for record in rds._instances.values():
        membership = record["DBParameterGroups"][0]
        if not changed or name != record.get("_group") or name != membership["DBParameterGroupName"]:
            continue
        for key in at_once:
            record["_parameters"].pop(key, None)
            if key in after:
                record["_parameters"][key] = str(after[key]["ParameterValue"])
        waits = changed - at_once or membership["ParameterApplyStatus"] == "pending-reboot"
        database = databases.of(record)
        if database.server is not None and database.server.running:
            membership["ParameterApplyStatus"] = "applying"
            with database.lock:
                database.server.reload(database.configuration())
        membership["ParameterApplyStatus"] = "pending-reboot" if waits else "in-sync"
        databases.event(record, f"Updated parameters in group {name}", "configuration change")
    return answer


def _zones(rds: Any, p: Params) -> set[str]:
    subnets = service("ec2")._subnets
    return {
        str(subnets[subnet]["AvailabilityZone"])
        for subnet in rds._parse_member_list(p, "SubnetIds")
        if subnet in subnets
    }


def _check_zones(rds: Any, p: Params) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBSubnetGroup.html"""
    zones = _zones(rds, p)
    if len(zones) == 1:
        raise Refused(
            "DBSubnetGroupDoesNotCoverEnoughAZs",
            "The DB subnet group doesn't meet Availability Zone (AZ) coverage requirement. Current AZ coverage: "
            f"{', '.join(zones)}. Add subnets to cover at least 2 AZs.",
        )


def _check_new_subnet_group(rds: Any, p: Params) -> None:
    name = rds._p(p, "DBSubnetGroupName")
    if name in rds._subnet_groups:
        raise Refused("DBSubnetGroupAlreadyExists", f"The DB subnet group '{name}' already exists.")
    _check_zones(rds, p)


def _check_subnet_group_is_free(rds: Any, p: Params) -> None:
    name = rds._p(p, "DBSubnetGroupName")
    for record in rds._instances.values():
        if record["DBSubnetGroup"]["DBSubnetGroupName"] == name:
            raise Refused(
                "InvalidDBSubnetGroupStateFault",
                f"Cannot delete the subnet group '{name}' because at least one database instance: "
                f"{record['DBInstanceIdentifier']} is still using it.",
            )
