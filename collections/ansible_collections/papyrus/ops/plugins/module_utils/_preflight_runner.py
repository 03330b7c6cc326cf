# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Preflight rows about the runner: identity, application's routes, Terraform, credentials, names and CIDRs."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from . import _names, _network, _processes, _routes
from ._preflight import Ask, Check, Finding, ng, ok, skip

TEARDOWN_SECONDS = 30 * 60
"""What the teardown may need after the lease: on AWS the interfaces of an ALB hold its group for many minutes."""

LONGEST_LIFE = 36 * 3600
"""Upper end of the search for the remaining life; no role session lives longer than 12 hours."""


def identity(ask: Ask) -> Finding:
    """B10. The region is that of the client, so whatever decided it (option, profile, environment) is checked."""
    settings = ask.settings
    region = str(ask.facts.clients("sts").meta.region_name)
    if region != settings.region:
        return ng(
            f"the SDK would work in region {region}, the inventory expects {settings.region}: "
            "check papyrus_region and the SDK's environment",
            region=region,
        )
    who = ask.calls.call("sts", "get_caller_identity", "the caller", hint="Check the credentials of the runner.")
    data = {"account": who["Account"], "arn": who["Arn"], "user_id": who.get("UserId", ""), "region": region}
    if who["Account"] != settings.account_id:
        return ng(
            f"the credentials are for account {who['Account']} ({who['Arn']}), "
            f"the inventory expects {settings.account_id}: nothing else was asked there",
            **data,
        )
    return ok(f"{who['Arn']} in {region}", **data)


def routes(ask: Ask) -> Finding:
    """B1, B6."""
    settings = ask.settings
    if not (settings.app_source and settings.app_factory):
        return skip("no application source is given (papyrus_app_source, papyrus_app_factory)")
    found = ask.fact("routes", dump_routes)
    data = {"routes": found.routes, "missing": found.missing, "factory": settings.app_factory}
    if not found.ok:
        return ng(found.reason, **data)
    return ok(f"ROUTES: {json.dumps(found.rules)}", **data)


def dump_routes(ask: Ask) -> _routes.Routes:
    settings = ask.settings
    return _routes.dump(
        _routes.Question(
            factory=settings.app_factory,
            source=settings.app_source,
            python=settings.app_python,
            paths=settings.app_paths,
            environment=settings.app_environment,
            required=settings.routes_required,
            timeout=ask.facts.left(),
        )
    )


def terraform(ask: Ask) -> Finding:
    """B11. The environment of the child is bare: a version needs neither credentials nor network."""
    binary = shutil.which(ask.settings.terraform_binary)
    if binary is None:
        return ng(f"{ask.settings.terraform_binary} is not found: install Terraform or set papyrus_terraform_binary")
    environment = {**_processes.bare_environment(os.environ), "CHECKPOINT_DISABLE": "1"}
    try:
        answer = _processes.ask([binary, "version", "-json"], env=environment, timeout=ask.facts.left())
    except OSError as exc:
        return ng(f"{binary} version does not answer: {exc}", binary=binary)
    version = terraform_version(answer.text)
    if answer.returncode != 0 or not version:
        said = (answer.complaint.splitlines() or ["no output"])[-1]
        return ng(f"{binary} version ended with {answer.returncode}: {said}", binary=binary)
    return ok(version, version=version, binary=binary)


def terraform_version(output: str) -> str:
    """Version out of `version -json` (Terraform and OpenTofu), or out of `Terraform v1.2.3`; "" when there is none."""
    try:
        found = json.loads(output)
    except ValueError:
        match = re.search(r"^(?:Terraform|OpenTofu) v(\d+\.\d+\.\d+\S*)", output, re.MULTILINE)
        return match.group(1) if match else ""
    return str(found.get("terraform_version") or "") if isinstance(found, dict) else ""


def credentials(ask: Ask) -> Finding:
    """B14."""
    settings = ask.settings
    return judge_credentials(settings.credentials, settings.lease_minutes * 60 + TEARDOWN_SECONDS, _names.utc_now())


def judge_credentials(found: Mapping[str, Any], needed: float, now: dt.datetime) -> Finding:
    """`found`: kind (static, session, refreshable, none), expires_at (RFC 3339) when known, method. Pure."""
    kind, method = found.get("kind", "none"), found.get("method", "")
    data: dict[str, Any] = {"kind": kind, "method": method, "needed_seconds": int(needed)}
    if kind == "none":
        return ng("the SDK finds no credentials")
    if kind == "static":
        return ok("long-lived keys, no expiry", **data)
    if kind == "refreshable" and not found.get("expires_at"):
        return ok(f"the SDK renews them by itself ({method})", **data)
    if not found.get("expires_at"):
        return skip(
            "a session token whose expiry is not known: set AWS_CREDENTIAL_EXPIRATION, or use a profile or role "
            "that the SDK can renew",
            **data,
        )
    expires = _names.parse_rfc3339(str(found["expires_at"]))
    left = int((expires - now).total_seconds())
    data.update(expires_at=_names.rfc3339(expires), left_seconds=left)
    if left >= needed:
        return ok(f"{left // 60} minutes left, {int(needed) // 60} needed", **data)
    text = f"{max(left, 0) // 60} minutes left, run and teardown need {int(needed) // 60}"
    if kind == "refreshable" and left > 0:
        return ok(f"{text}; the SDK and Terraform renew them by themselves ({method})", **data)
    return ng(f"{text}: take fresh credentials or shorten papyrus_lease_minutes", **data)


def remaining_life(refresh_needed: Callable[[int], bool], longest: int = LONGEST_LIFE) -> int | None:
    """Seconds until refreshable credentials end, found by halving; None when they do not end within `longest`.

    `refresh_needed(seconds)` is botocore's: whether less than that is left. It has no public name for the time itself.
    """
    if not refresh_needed(longest):
        return None
    low, high = 0, longest
    while high - low > 1:
        middle = (low + high) // 2
        if refresh_needed(middle):
            high = middle
        else:
            low = middle
    return low


def session_credentials(session: Any, now: dt.datetime) -> dict[str, Any]:
    """What is known about a boto3 session's credentials, without any of their values."""
    found = session.get_credentials()
    if found is None:
        return {"kind": "none"}
    method = str(getattr(found, "method", ""))
    if hasattr(found, "refresh_needed"):
        found.get_frozen_credentials()  # deferred ones are fetched now, so that their end is known
        left = remaining_life(found.refresh_needed)
        expires = None if left is None else _names.rfc3339(now + dt.timedelta(seconds=left))
        # The environment's keys have an end, but nobody renews them.
        return {"kind": "session" if method == "env" else "refreshable", "method": method, "expires_at": expires}
    return {"kind": "session" if found.token else "static", "method": method}


def names_and_cidrs(ask: Ask) -> Finding:
    """C1, before anything is created: what AWS would refuse, and whom the ALB would let in."""
    settings = ask.settings
    problems = _network.refused_cidrs(settings.alb_ingress_cidrs)
    name = ""
    try:
        name = planned_name(settings.name_prefix, settings.run_id, settings.tag_prefix)
        _names.check_prefix(settings.tag_prefix)
    except ValueError as exc:
        problems.append(str(exc))
    if problems:
        return ng("; ".join(problems), name=name, cidrs=list(settings.alb_ingress_cidrs))
    return ok(
        f"{name}, open to {', '.join(settings.alb_ingress_cidrs)}", name=name, cidrs=list(settings.alb_ingress_cidrs)
    )


def planned_name(name_prefix: str, run_id: str, tag_prefix: str) -> str:
    """The name that ALB, target group and security group of this run will bear; ValueError when AWS would refuse it."""
    suffix = _names.parse_run_id(run_id).suffix if run_id else "a" * 6
    return _names.resource_name(name_prefix or f"{tag_prefix}-smoke", suffix)


IDENTITY = Check("B10", "Account and region are the expected ones", identity)
CHECKS = (
    Check("B1", "Routes of the application are registered", routes),
    Check("B11", "Terraform is there", terraform),
    Check("B14", "Credentials outlive run and teardown", credentials),
    Check("C1", "Name and CIDRs of the temporary ALB", names_and_cidrs),
)
