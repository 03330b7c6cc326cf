# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Doctor's rows about names, leftovers, and what a smoke would create: by name, for how long, for how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from . import _names, _preflight_alb, _rows
from ._doctor_settings import DoctorSettings, mend, told, warn
from ._doctor_values import SUFFIX, Who, definition, if_known
from ._doctor_values import who as caller
from ._preflight import Ask, Check, Finding, ok, skip

ALB_HOUR, LCU_HOUR, IPV4_HOUR, VCPU_HOUR, GB_HOUR = "alb", "lcu", "ipv4", "vcpu", "gb"
PRICES: dict[str, dict[str, float]] = {
    "us-west-2": {ALB_HOUR: 0.0225, LCU_HOUR: 0.008, IPV4_HOUR: 0.005, VCPU_HOUR: 0.04048, GB_HOUR: 0.004445},
}
"""List prices in USD by region. docs/doctor.md has page, date and doubts of each; no region is guessed from another."""

PRICE_PAGES = "aws.amazon.com/elasticloadbalancing/pricing, /vpc/pricing, /fargate/pricing"
LOGIN_MINUTES = 5
"""Life of the fresh task in the estimate; Fargate bills one minute at least."""

SKEW_WARN, SKEW_REFUSED = 30.0, 300.0
"""Seconds. AWS refuses a signature that is older or newer than five minutes:
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html"""


def clock(ask: Ask) -> Finding:
    return judge_clock(caller(ask))


def judge_clock(found: Who) -> Finding:
    """Leases and sweeps go by the clock; pure."""
    if found.ahead is None:
        return warn("AWS' answer had no Date header to compare with", "compare it: date -u; chronyc tracking")
    by = abs(found.ahead)
    text = f"{by:.0f} s {'ahead of' if found.ahead > 0 else 'behind'} AWS"
    do = "let the clock be set: timedatectl set-ntp true"
    if by >= SKEW_REFUSED:
        return mend(f"{text}: signatures are refused from 300 s on", do, seconds=found.ahead)
    if by >= SKEW_WARN:
        return warn(f"{text}: leases of runs end as much too early or too late", do, seconds=found.ahead)
    return ok(f"{text}" if by >= 1 else "agrees with AWS' to the second", seconds=found.ahead)


def description(ask: Ask) -> Finding:
    """The marks of a run are a rule's description; a service whose name does not fit is found here."""
    settings = told(ask)
    now = _names.utc_now()
    run_id = f"{_names.file_stamp(now)}-{SUFFIX}"
    try:
        text = _names.rule_description(settings.tag_prefix, run_id, _names.rfc3339(now), settings.service)
    except ValueError as exc:
        return mend(str(exc), "choose a shorter papyrus_tag_prefix, or another name of the service")
    keys = ", ".join(_names.tag_keys(settings.tag_prefix))
    return ok(f"tags {keys}; {len(text)} of {_names.MAX_DESCRIPTION} characters of description", text=text)


def leftovers(ask: Ask) -> Finding:
    """B9, and what a run would tolerate is told as well."""
    found = _preflight_alb.leftovers(ask)
    if found.status != "ok":
        return found
    data = dict(found.data)
    if data["expired"]:
        runs = sorted({str(item["run_id"]) for item in data["expired"]})
        return warn(found.reason, f"ansible-playbook playbooks/sweep.yml (expired: {_rows.listing(runs)})", **data)
    if data["foreign"]:
        names = _rows.listing(f"{item['kind']} {item['name']}" for item in data["foreign"])
        return warn(f"{found.reason}: {names}", "look whose they are; runs leave them alone", **data)
    return found


def made(settings: DoctorSettings, login: bool) -> list[str]:
    """What a smoke would make, by kind and name; the run's own suffix stands where `xxxxxx` does. Pure."""
    name = f"{settings.name_prefix or settings.tag_prefix + '-smoke'}-xxxxxx"
    port = 443 if settings.certificate_arn else 80
    cidrs = ", ".join(settings.alb_ingress_cidrs) or "nobody"
    things = [
        f"load balancer {name} ({settings.alb_scheme}, {len(settings.alb_subnet_ids)} subnets)",
        f"its listener on port {port}, with one rule",
        f"target group {name}",
        f"security group {name} (in from {cidrs}, out to the tasks)",
    ]
    if settings.tasks_sg_id:
        things.append(f"one rule in {settings.tasks_sg_id}")
    if login:
        things.append(f"one task of {settings.task_family or 'the service'} that logs in once")
    return things


def plan(ask: Ask) -> Finding:
    settings = told(ask)
    things = made(settings, settings.fresh_login and settings.has_database)
    return ok(
        f"{'; '.join(things)}. All of it is gone when the run ends, expired after {settings.lease_minutes} minutes",
        things=things,
    )


def cost(ask: Ask) -> Finding:
    nothing: dict[str, Any] = {}
    return judge_cost(told(ask), if_known(ask, definition, nothing))


def judge_cost(settings: DoctorSettings, revision: Mapping[str, Any]) -> Finding:
    """An estimate by list prices, or a SKIP where no price of the region is known; pure."""
    prices = PRICES.get(settings.region)
    if prices is None:
        return skip(f"no list price of {settings.region} is known here; see {PRICE_PAGES}")
    facing = settings.alb_scheme == _preflight_alb.INTERNET_FACING
    addresses = len(settings.alb_subnet_ids) if facing else 0
    lines = [
        ("load balancer, one hour (each begun hour counts)", 1.0, prices[ALB_HOUR]),
        ("load balancer capacity, one unit at most", 1.0, prices[LCU_HOUR]),
        (f"{addresses} public IPv4 addresses, one hour", float(addresses), prices[IPV4_HOUR]),
    ]
    architecture = str((revision.get("runtimePlatform") or {}).get("cpuArchitecture") or "X86_64")
    left_out = "data, logs, requests of KMS and S3, taxes, discounts"
    if settings.fresh_login and settings.has_database:
        if architecture == "X86_64" and revision.get("cpu") and revision.get("memory"):
            hours = LOGIN_MINUTES / 60
            lines.append(("fresh task's vCPU", int(revision["cpu"]) / 1024 * hours, prices[VCPU_HOUR]))
            lines.append(("fresh task's memory", int(revision["memory"]) / 1024 * hours, prices[GB_HOUR]))
        else:
            left_out = f"the fresh task, {left_out}"
    total = sum(number * price for dummy, number, price in lines)
    hours = max(1, math.ceil(settings.lease_minutes / 60))
    longest = total + (hours - 1) * (prices[ALB_HOUR] + prices[LCU_HOUR] + addresses * prices[IPV4_HOUR])
    text = f"about {total:.2f} USD"
    if hours > 1:
        text += f", {longest:.2f} if it lives for its whole lease"
    return ok(
        f"{text}: list price of {settings.region}, without {left_out}; docs/doctor.md says where each figure is from",
        total=round(total, 4),
        longest=round(longest, 4),
        lines=[{"what": what, "number": round(number, 4), "price": price} for what, number, price in lines],
    )


CLOCK = Check("clock", "This clock agrees with AWS'", clock)
CHECKS = (
    Check("marks", "Tags and descriptions fit", description),
    Check("B9", "Nothing of those names is there now", leftovers),
)
PLAN_CHECKS = (
    Check("plan", "What a smoke would create", plan),
    Check("cost", "What a smoke would cost", cost),
)
