# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts that several of doctor's rows need, and the names of what a run would touch, as ARNs are made of them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from . import _ecs_tasks, _names, _preflight_db, _preflight_ecs
from ._doctor_settings import DoctorSettings, told
from ._ledger_s3 import Place
from ._preflight import Ask

T = TypeVar("T")
SUFFIX = "abc234"
"""Ends the run id that doctor asks about; no run has it."""

_ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^@:]+)")
_KEY_ID = re.compile(r"[0-9a-f-]{36}|mrk-[0-9a-f]{32}")


@dataclass(frozen=True)
class Who:
    """The caller as STS names it, and by how many seconds this machine's clock is ahead of AWS' (None: not known)."""

    arn: str
    ahead: float | None


def who(ask: Ask) -> Who:
    return ask.fact("who", _who)


def _who(ask: Ask) -> Who:
    before = _names.utc_now()
    answer = ask.calls.call("sts", "get_caller_identity", "the caller")
    headers = (answer.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}
    return Who(str(answer["Arn"]), ahead(str(headers.get("date", "")), before, _names.utc_now()))


def ahead(date: str, before: dt.datetime, after: dt.datetime) -> float | None:
    """Seconds by which this clock is ahead of a Date header, which has whole seconds; 0 within the time of the call."""
    try:
        theirs = dt.datetime.strptime(date, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=dt.UTC)
    except ValueError:
        return None
    if before > theirs + dt.timedelta(seconds=1):
        return (before - theirs).total_seconds() - 1
    return min(0.0, (after - theirs).total_seconds())


def cluster(ask: Ask) -> dict[str, Any]:
    """The cluster as ECS describes it; {} when there is none of that name."""
    return ask.fact("cluster", _cluster)


def _cluster(ask: Ask) -> dict[str, Any]:
    name = ask.settings.cluster
    found = ask.calls.call(
        "ecs", "describe_clusters", f"cluster {name}", clusters=[name], include=["CONFIGURATIONS", "SETTINGS"]
    ).get("clusters", [])
    return dict(found[0]) if found else {}


def definition(ask: Ask) -> dict[str, Any]:
    """Task definition of the running tasks, else of the service."""
    return _preflight_ecs.task_definitions(ask)[0]


def container(ask: Ask) -> dict[str, Any]:
    return dict(_ecs_tasks.container_definition(definition(ask), ask.settings.container or None))


def if_known(ask: Ask, find: Callable[[Ask], T], otherwise: T) -> T:
    """A fact, or `otherwise` where it cannot be had: the row that is about it says why."""
    try:
        return find(ask)
    except Exception:  # whatever it is, it is the other row's to tell
        return otherwise


@dataclass(frozen=True)
class Values:
    """Fields of the resources' names; `inexact` are those of which AWS adds a part that nobody knows here."""

    fields: Mapping[str, str]
    inexact: frozenset[str] = frozenset()


def values(ask: Ask) -> Values:
    return ask.fact("values", _values)


def _values(ask: Ask) -> Values:
    settings = told(ask)
    nothing: dict[str, Any] = {}
    revision = if_known(ask, definition, nothing)
    app = if_known(ask, container, nothing)
    logs = (app.get("logConfiguration") or {}).get("options") or {}
    groups = if_known(ask, _parameter_group, "")
    execution = (if_known(ask, cluster, nothing).get("configuration") or {}).get("executeCommandConfiguration") or {}
    partition = who(ask).arn.split(":")[1]
    named = f"{settings.tag_prefix}-%s-{SUFFIX}"
    now = _names.utc_now()
    fields = {
        "partition": partition,
        "region": settings.region,
        "account": settings.account_id,
        "prefix": settings.tag_prefix,
        "suffix": SUFFIX,
        "smoke": f"{settings.name_prefix}-{SUFFIX}" if settings.name_prefix else named % "smoke",
        "drill": named % "drill",
        "hex": "0123456789abcdef",
        "run_id": f"{_names.file_stamp(now)}-{SUFFIX}",
        "expires_at": _names.rfc3339(now + dt.timedelta(minutes=settings.lease_minutes)),
        "cluster": settings.cluster,
        "service": settings.service,
        "task_family": settings.task_family or str(revision.get("family") or ""),
        "container": settings.container or str(app.get("name") or ""),
        "repository": settings.repository,
        "base_repository": base_repository(settings),
        "log_group": settings.log_group or str(logs.get("awslogs-group") or ""),
        "db_instance": settings.db_instance,
        "db_parameter_group": groups,
        "task_role": str(revision.get("taskRoleArn") or ""),
        "execution_role": str(revision.get("executionRoleArn") or ""),
        "vpc": settings.vpc_id or if_known(ask, _vpc, ""),
        "subnets": " ".join(settings.alb_subnet_ids),
        "scheme": settings.alb_scheme,
        "tasks_sg": settings.tasks_sg_id,
        "signing_key": key_arn(settings.signing_key, partition, settings),
        "exec_key": key_arn(str(execution.get("kmsKeyId") or ""), partition, settings),
        "alarm_name": settings.alarm_name or settings.service,
        **ledger_of(settings.ledger),
    }
    fields["topic"] = f"arn:{partition}:sns:{settings.region}:{settings.account_id}:{fields['alarm_name']}-alarms"
    known = [str(one.get("valueFrom", "")) for one in app.get("secrets") or []]
    inexact = set()
    for name, secret_id in (("secret", settings.secret_id), ("db_master_secret", settings.db_master_secret_id)):
        fields[name], exact = secret_arn(secret_id, known, partition, settings)
        if not exact:
            inexact.add(fields[name])
    return Values(fields, frozenset(inexact))


def _parameter_group(ask: Ask) -> str:
    groups = _preflight_db.instance(ask).get("DBParameterGroups", []) if ask.settings.has_database else []
    return str(groups[0]["DBParameterGroupName"]) if groups else ""


def _vpc(ask: Ask) -> str:
    return next((str(task["vpc"]) for task in _preflight_ecs.tasks(ask).tasks if task["vpc"]), "")


def base_repository(settings: DoctorSettings) -> str:
    """Repository of the base image where it is one of this account and region, else ""."""
    found = _ECR.match(settings.base_image)
    return found.group(3) if found and found.groups()[:2] == (settings.account_id, settings.region) else ""


def key_arn(key: str, partition: str, settings: DoctorSettings) -> str:
    """ARN of a KMS key that is named by ARN or id; "" for an alias, whose key nobody knows without asking for it."""
    if ":key/" in key:
        return key
    return f"arn:{partition}:kms:{settings.region}:{settings.account_id}:key/{key}" if _KEY_ID.fullmatch(key) else ""


def ledger_of(where: str) -> dict[str, str]:
    """Bucket and prefix of a ledger in S3; empty for one in a folder."""
    if not where.startswith("s3://"):
        return {"bucket": "", "bucket_prefix": ""}
    place = Place.parse(where)
    return {"bucket": place.bucket, "bucket_prefix": place.prefix}


def secret_arn(secret_id: str, known: list[str], partition: str, settings: DoctorSettings) -> tuple[str, bool]:
    """ARN of a secret, and whether it is exact: that of the task definition has the part that Secrets Manager added."""
    if not secret_id or secret_id.startswith("arn:"):
        return secret_id, True
    for value in known:
        arn = ":".join(value.split(":")[:7])
        if re.fullmatch(rf"arn:.*:secret:{re.escape(secret_id)}-\w{{6}}", arn):
            return arn, True
    return f"arn:{partition}:secretsmanager:{settings.region}:{settings.account_id}:secret:{secret_id}-AbCdEf", False
