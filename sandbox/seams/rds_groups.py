"""RDS's parameter and subnet groups: defaults that exist, parameters that reach the server, members that hold them."""

from __future__ import annotations

from typing import Any

from sandbox.behaviours import behaviour
from sandbox.rds.databases import Databases, tls_is_forced_from_15
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
        "ResetDBParameterGroup": _with_defaults,
        "DescribeDBParameterGroups": _with_defaults,
        "DescribeDBParameters": _with_defaults,
    }.items():
        actions[name] = guarded(rds, rule, actions[name])
    modify, reset = actions["ModifyDBParameterGroup"], actions["ResetDBParameterGroup"]
    actions["ModifyDBParameterGroup"] = lambda p: _change(rds, databases, p, modify)
    actions["ResetDBParameterGroup"] = lambda p: _change(rds, databases, p, reset)


def _parameters(family: str) -> list[dict[str, Any]]:
    """What the emulator describes a family by."""
    major = family.removeprefix("postgres")
    force = tls_is_forced_from_15(major)
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


@behaviour("rds")
def default_groups_exist(rds: Any) -> None:
    """Each family has a default parameter group in every account and region from the start.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/parameter-groups-overview.html
    """
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
    default_groups_exist(rds)


def _check_new_group(rds: Any, p: Params) -> None:
    name, family = rds._p(p, "DBParameterGroupName"), rds._p(p, "DBParameterGroupFamily")
    if name.lower().startswith("default."):
        raise Refused("InvalidParameterValue", "The parameter DBParameterGroupName is not a valid identifier.")
    if family not in {f"postgres{major}" for major in MAJORS}:
        raise Refused("InvalidParameterValue", f"ParameterGroupFamily {family} is not a valid parameter group family")


def _check_change(rds: Any, p: Params) -> None:
    """https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_ModifyDBParameterGroup.html"""
    default_groups_exist(rds)
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


def _change(rds: Any, databases: Databases, p: Params, change: Handler) -> Response:
    """https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithParamGroups.html"""
    name = rds._p(p, "DBParameterGroupName")
    before = dict((rds._param_groups.get(name) or {}).get("Parameters") or {})
    answer = change(p)
    if answer[0] != 200:
        return answer
    after: dict[str, Any] = rds._param_groups[name].get("Parameters") or {}
    changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
    at_once = {key for key in changed if _is_applied_at_once(key, after)}
    for record in rds._instances.values():
        membership = record["DBParameterGroups"][0]
        if not changed or name != record.get("_group") or name != membership["DBParameterGroupName"]:
            continue
        waits = changed - at_once or membership["ParameterApplyStatus"] == "pending-reboot"
        dynamic_parameters_take_effect_at_once(databases, record, at_once, after)
        the_others_wait_for_a_reboot(membership, bool(waits))
        databases.event(record, f"Updated parameters in group {name}", "configuration change")
    return answer


def _is_applied_at_once(name: str, values: dict[str, Any]) -> bool:
    return PARAMETERS[name][1] == "dynamic" and values.get(name, {}).get("ApplyMethod", "immediate") == "immediate"


@behaviour("rds")
def dynamic_parameters_take_effect_at_once(
    databases: Databases, record: dict[str, Any], names: set[str], values: dict[str, Any]
) -> None:
    """Dynamic parameters that are to be applied immediately reach the running server without a reboot.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithParamGroups.html
    """
    for name in names:
        record["_parameters"].pop(name, None)
        if name in values:
            record["_parameters"][name] = str(values[name]["ParameterValue"])
    database = databases.of(record)
    if database.server is not None and database.server.running:
        record["DBParameterGroups"][0]["ParameterApplyStatus"] = "applying"
        with database.lock:
            database.server.reload(database.configuration())


@behaviour("rds", otherwise=lambda membership, waits: membership.update(ParameterApplyStatus="in-sync"))
def the_others_wait_for_a_reboot(membership: dict[str, Any], waits: bool) -> None:
    """Static parameters, and those that are to wait, leave the group `pending-reboot` at its instances.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/USER_WorkingWithParamGroups.html
    """
    membership["ParameterApplyStatus"] = "pending-reboot" if waits else "in-sync"
