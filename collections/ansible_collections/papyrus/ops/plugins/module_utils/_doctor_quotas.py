# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Doctor's rows about quotas: what is used of them, and whether one smoke fits, and ten at once."""

from __future__ import annotations

from collections.abc import Callable

from . import _network, _preflight_ecs
from ._doctor_settings import mend, only_warns, warn
from ._preflight import Ask, Check, Finding, ok, skip
from ._rows import listing

AT_ONCE = 10
VPC_GROUPS, GROUP_RULES = "L-E79EC296", "L-0EA8095F"
"""Codes of "VPC security groups per Region" and "Inbound or outbound rules per security group":
https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-security-groups"""


def limits(ask: Ask) -> dict[str, float]:
    """Limits of load balancing by name."""
    return ask.fact("limits", _limits)


def _limits(ask: Ask) -> dict[str, float]:
    return {
        str(one["Name"]): float(one["Max"])
        for page in ask.calls.pages(
            "elbv2", "describe_account_limits", "limits of load balancing", token=("Marker", "NextMarker")
        )
        for one in page.get("Limits", [])
    }


def vpc_quotas(ask: Ask) -> dict[str, float]:
    """Applied quotas of VPC by code."""
    return ask.fact("vpc quotas", _vpc_quotas)


def _vpc_quotas(ask: Ask) -> dict[str, float]:
    return {
        str(one["QuotaCode"]): float(one["Value"])
        for page in ask.calls.pages(
            "service-quotas", "list_service_quotas", "quotas of VPC", token="NextToken", ServiceCode="vpc"
        )
        for one in page.get("Quotas", [])
    }


def judge(what: str, used: int, limit: float | None, each: int, ask_for: str) -> Finding:
    """Room for one run and for ten; `each` is what one takes. Pure."""
    data = {"used": used, "limit": limit, "each": each}
    if limit is None:
        return warn(f"{used} {what} are used; AWS tells no quota of them", "look it up in Service Quotas", **data)
    room = int(limit) - used
    text = f"{used} of {int(limit)} {what}"
    if room < each:
        return mend(f"{text}: no room for one more", f"delete what nobody uses, or ask for more: {ask_for}", **data)
    if room < each * AT_ONCE:
        return warn(
            f"{text}: room for {room // each} runs at once, not for {AT_ONCE}",
            f"ask for more before many run at once: {ask_for}",
            **data,
        )
    return ok(f"{text}: room for {AT_ONCE} runs at once", **data)


def increase(service: str, code: str) -> str:
    """The command that asks AWS for more."""
    return f"aws service-quotas request-service-quota-increase --service-code {service} --quota-code {code}"


def _count(ask: Ask, service: str, operation: str, key: str, token: str | tuple[str, str]) -> int:
    return sum(
        len(page.get(key, [])) for page in ask.calls.pages(service, operation, f"all {key} of the region", token=token)
    )


def balancers(ask: Ask) -> Finding:
    used = sum(
        one.get("Type", "application") == "application"
        for page in ask.calls.pages(
            "elbv2", "describe_load_balancers", "all load balancers of the region", token=("Marker", "NextMarker")
        )
        for one in page.get("LoadBalancers", [])
    )
    limit = limits(ask).get("application-load-balancers")
    return judge("application load balancers", used, limit, 1, increase("elasticloadbalancing", "L-53DA6B97"))


def target_groups(ask: Ask) -> Finding:
    pages = ask.calls.pages(
        "elbv2", "describe_target_groups", "all target groups of the region", token=("Marker", "NextMarker")
    )
    used = sum(len(page.get("TargetGroups", [])) for page in pages)
    more = increase("elasticloadbalancing", "L-B22855CB")
    return judge("target groups", used, limits(ask).get("target-groups"), 1, more)


def security_groups(ask: Ask) -> Finding:
    pages = ask.calls.pages(
        "ec2", "describe_security_groups", "all security groups of the region", token="NextToken", MaxResults=1000
    )
    used = sum(len(page.get("SecurityGroups", [])) for page in pages)
    return judge("security groups", used, vpc_quotas(ask).get(VPC_GROUPS), 1, increase("vpc", VPC_GROUPS))


def group_rules(ask: Ask) -> Finding:
    """A run adds one rule to the tasks' group, and ten at once ten."""
    group = ask.settings.tasks_sg_id
    if not group:
        return skip("no tasks_sg_id is given: a run adds no rule to a shared group")
    rules = ask.fact(f"rules of {[group]}", lambda own: _network.security_group_rules(own.calls, [group]))
    used = sum(not rule.get("IsEgress") for rule in rules)
    quota = vpc_quotas(ask).get(GROUP_RULES)
    return judge(f"rules inwards of {group}", used, quota, 1, increase("vpc", GROUP_RULES))


def within_a_balancer(ask: Ask) -> Finding:
    """Listeners, rules and targets of the run's own load balancer."""
    known = limits(ask)
    tasks = len(_preflight_ecs.tasks(ask).tasks)
    wanted = {
        "listeners-per-application-load-balancer": 1,
        "rules-per-application-load-balancer": 1,
        "targets-per-application-load-balancer": tasks,
    }
    short = [
        f"{name}: {number} wanted, {int(known[name])} allowed"
        for name, number in wanted.items()
        if name in known and number > known[name]
    ]
    data = {"wanted": wanted, "limits": {name: known.get(name) for name in wanted}}
    if short:
        return mend(listing(short), "ask for more: aws elbv2 describe-account-limits", **data)
    return ok(f"a run's load balancer gets 1 listener, 1 rule, {tasks} targets", **data)


_ROWS: tuple[tuple[str, str, Callable[[Ask], Finding]], ...] = (
    ("balancers", "Load balancers", balancers),
    ("targets", "Target groups", target_groups),
    ("groups", "Security groups", security_groups),
    ("group_rules", "Rules of the tasks' group", group_rules),
    ("listeners", "Listeners, rules and targets of one ALB", within_a_balancer),
)
CHECKS = tuple(Check(name, f"Quota: {title}", only_warns(answer)) for name, title, answer in _ROWS)
