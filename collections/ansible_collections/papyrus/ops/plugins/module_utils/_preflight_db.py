# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Preflight rows about the database: secret, force_ssl, who may connect, instance available."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from . import _aws, _db_login, _db_login_exec, _network, _secret_drift
from ._calls import Calls
from ._exec_types import Target
from ._preflight import NO_DATABASE, Ask, Check, Finding, later, ng, ok, skip
from ._preflight_ecs import exec_works_now, task_groups
from ._rows import json_safe, listing

FORCE_SSL = "rds.force_ssl"
EVENT_MINUTES = 14 * 24 * 60
"""How far back RDS keeps events: https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_DescribeEvents.html"""


def instance(ask: Ask) -> dict[str, Any]:
    return ask.fact("db instance", _instance)


def _instance(ask: Ask) -> dict[str, Any]:
    return _secret_drift.describe_instance(ask.calls, ask.settings.db_instance)


def drift(ask: Ask) -> _secret_drift.Drift:
    return ask.fact("drift", _drift)


def login_waits(ask: Ask) -> bool:
    """Before a release Exec may be off or no task run: the login through it is then made after the rollout."""
    return ask.settings.releasing and ask.settings.db_login == "exec" and not exec_works_now(ask)


def login_left_out(ask: Ask) -> bool:
    """Check mode opens no Exec session."""
    return ask.settings.dry and ask.settings.db_login == "exec"


def _drift(ask: Ask) -> _secret_drift.Drift:
    settings = ask.settings
    if settings.db_login == "exec":
        target = Target(cluster=settings.cluster, service=settings.service, container=settings.container)
        login = partial(
            _db_login_exec.login,
            clients=ask.facts.clients,
            target=target,
            python=settings.exec_python,
            private=settings.private,
        )
    else:
        transport = _db_login.Transport(ca_file=settings.db_ca_file, hostaddr=settings.db_hostaddr)
        login = partial(_db_login.login, transport=transport)
    return _secret_drift.check(
        ask.calls,
        _secret_drift.Question(
            secret_id=settings.secret_id,
            db_instance=settings.db_instance,
            username_rule=settings.db_username_rule,
            dbname=settings.db_name,
            login="none" if login_waits(ask) or login_left_out(ask) else settings.db_login,
        ),
        login,
        register=ask.facts.register,
        instance=instance(ask),
    )


def secret(ask: Ask) -> Finding:
    """B2: NG when one key is, SKIP when one could not be compared, with each reason."""
    settings = ask.settings
    if not settings.has_database:
        return skip(NO_DATABASE)
    if not settings.secret_id:
        return ng(f"no secret is named for database instance {settings.db_instance} (papyrus_secret_id)")
    found = drift(ask)
    data = {"rows": [row.as_dict() for row in found.rows], "facts": found.facts}
    for status, answer in (("ng", ng), ("skip", skip)):
        reasons = [f"{row.id} ({row.reason})" for row in found.rows if row.status == status]
        if reasons and status == "skip" and login_left_out(ask):
            return skip("check mode: no login through Exec is tried", **data)
        if reasons and status == "skip" and login_waits(ask):
            return later(f"no login: Exec does not work now ({'; '.join(reasons)})", **data)
        if reasons:
            return answer("; ".join(reasons), **data)
    return ok(next(row.reason for row in found.rows if row.id == "login"), **data)


def available(ask: Ask) -> Finding:
    """B12."""
    if not ask.settings.has_database:
        return skip(NO_DATABASE)
    found = instance(ask)
    data = {
        "status": found.get("DBInstanceStatus"),
        "engine": f"{found.get('Engine')} {found.get('EngineVersion')}",
        "ca": found.get("CACertificateIdentifier"),
        "publicly_accessible": found.get("PubliclyAccessible"),
    }
    if found.get("DBInstanceStatus") != "available":
        return ng(f"{ask.settings.db_instance} is {found.get('DBInstanceStatus')}: wait until it is available", **data)
    return ok(f"{ask.settings.db_instance} is available, {data['engine']}", **data)


def force_ssl(ask: Ask) -> Finding:
    """B4."""
    if not ask.settings.has_database:
        return skip(NO_DATABASE)
    found = instance(ask)
    parameters = ask.fact("parameters", _parameters)
    return judge_force_ssl(found.get("DBParameterGroups", []), parameters)


def _parameters(ask: Ask) -> dict[str, Any]:
    """rds.force_ssl in each parameter group of the instance, and the instance's last restart."""
    groups = [str(group["DBParameterGroupName"]) for group in instance(ask).get("DBParameterGroups", [])]
    return {
        "force_ssl": {group: find_parameter(ask.calls, group, FORCE_SSL) for group in groups},
        "last_restart": last_restart(ask.calls, ask.settings.db_instance),
    }


def find_parameter(calls: Calls, group: str, name: str) -> dict[str, Any] | None:
    """One parameter of a group. Those that somebody set come on one page; only a default needs the other pages."""
    for source in ({"Source": "user"}, {}):
        for page in calls.pages(
            "rds",
            "describe_db_parameters",
            f"parameter group {group}",
            token="Marker",
            DBParameterGroupName=group,
            MaxRecords=100,
            **source,
        ):
            for parameter in page.get("Parameters", []):
                if parameter.get("ParameterName") == name:
                    return dict(json_safe(parameter))
    return None


def last_restart(calls: Calls, db_instance: str) -> dict[str, Any]:
    """The newest restart among the instance's events of 14 days, or why it is not known."""
    try:
        events = [
            event
            for page in calls.pages(
                "rds",
                "describe_events",
                f"database instance {db_instance}",
                token="Marker",
                SourceIdentifier=db_instance,
                SourceType="db-instance",
                Duration=EVENT_MINUTES,
            )
            for event in page.get("Events", [])
        ]
    except _aws.AwsFailure as exc:
        return {"at": None, "reason": str(exc)}
    restarts = [event for event in events if "restart" in str(event.get("Message", "")).lower()]
    if not restarts:
        return {"at": None, "reason": "no restart among the events of the last 14 days"}
    newest = max(restarts, key=lambda event: str(json_safe(event.get("Date"))))
    return {"at": json_safe(newest.get("Date")), "reason": str(newest.get("Message", ""))}


def judge_force_ssl(groups: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any]) -> Finding:
    """In effect means: 1 in every group of the instance, and no group that waits for a reboot; pure."""
    restart = parameters["last_restart"]
    data = {"groups": list(groups), **parameters}
    if not groups:
        return ng("the instance reports no parameter group", **data)
    problems = []
    for group in groups:
        name = str(group["DBParameterGroupName"])
        parameter = parameters["force_ssl"].get(name)
        value = (parameter or {}).get("ParameterValue")
        if str(value) not in {"1", "on", "true"}:
            problems.append(f"{FORCE_SSL} is {value if parameter else 'not set'} in {name}: set it to 1")
            continue
        state = group.get("ParameterApplyStatus", "in-sync")
        if state != "in-sync":
            kind = (parameter or {}).get("ApplyType", "unknown")
            todo = "reboot the instance" if state == "pending-reboot" else "wait until it is applied"
            problems.append(f"{name} is {state} ({FORCE_SSL} is {kind}), so it may not be in effect: {todo}")
    if problems:
        return ng("; ".join(problems), **data)
    return ok(f"{FORCE_SSL}=1 in effect, last restart {restart['at'] or 'unknown'}", **data)


def inbound(ask: Ask) -> Finding:
    """B5."""
    settings = ask.settings
    if not settings.has_database:
        return skip(NO_DATABASE)
    found = instance(ask)
    groups = [
        str(group["VpcSecurityGroupId"])
        for group in found.get("VpcSecurityGroups", [])
        if group.get("Status", "active") != "removing"
    ]
    if not groups:
        return ng(f"database instance {settings.db_instance} has no VPC security group")
    port = int((found.get("Endpoint") or {}).get("Port") or 5432)
    # Without a group in the inventory it is those that the running tasks really have.
    sources = [settings.tasks_sg_id] if settings.tasks_sg_id else task_groups(ask)
    rules = ask.fact("db rules", lambda own: _network.security_group_rules(own.calls, groups))
    return judge_inbound(rules, groups, port, sources, settings.db_allowlist)


def judge_inbound(
    rules: Sequence[Mapping[str, Any]],
    groups: Sequence[str],
    port: int,
    sources: Sequence[str],
    allowlist: Sequence[str],
) -> Finding:
    """The database's port is open to the tasks' groups and the allowlist, and to nobody else; pure."""
    ids, networks = _network.split_allowlist(allowlist)
    relevant = [rule for rule in rules if _network.covers_port(rule, port)]
    bad = _network.offending(rules, port, [*sources, *ids], networks)
    data = {
        "groups": list(groups),
        "port": port,
        "tasks": list(sources),
        "allowlist": list(allowlist),
        "rules": [dict(rule) for rule in relevant],
        "offending": [str(rule.get("SecurityGroupRuleId", "")) for rule in bad],
    }
    if bad:
        text = f"port {port} is open to others than {listing(sources)} and the allowlist: "
        return ng(text + "; ".join(_network.describe_rule(rule) for rule in bad), **data)
    if not _network.admitting(rules, port, sources):
        return ng(f"no rule of {listing(groups)} lets {listing(sources)} reach port {port}", **data)
    extra = f" and {listing(allowlist)}" if allowlist else ""
    return ok(f"port {port} only from {listing(sources)}{extra}", **data)


CHECKS = (
    Check("B2", "Secret fits the database, login proved", secret),
    Check("B4", "rds.force_ssl is in effect", force_ssl),
    Check("B5", "Database is open to the tasks alone", inbound),
    Check("B12", "Database is available", available),
)
