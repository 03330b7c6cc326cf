# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run created, and what ended each of it, as CloudTrail's events have it. A failed call did neither."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._names import rfc3339
from ._trail import Event

ELB, EC2 = "elasticloadbalancing", "ec2"
# Event → (list in the answer, id in each of it), and the parameter that names what it hangs on.
_CREATES = {
    (ELB, "CreateLoadBalancer"): ("loadBalancers", "loadBalancerArn", ""),
    (ELB, "CreateTargetGroup"): ("targetGroups", "targetGroupArn", ""),
    (ELB, "CreateListener"): ("listeners", "listenerArn", "loadBalancerArn"),
    (ELB, "CreateRule"): ("rules", "ruleArn", "listenerArn"),
    (EC2, "CreateSecurityGroup"): ("", "groupId", ""),
    (EC2, "AuthorizeSecurityGroupIngress"): ("", "", "groupId"),
    (EC2, "AuthorizeSecurityGroupEgress"): ("", "", "groupId"),
}
_ENDS = {
    (ELB, "DeleteLoadBalancer"): "loadBalancerArn",
    (ELB, "DeleteTargetGroup"): "targetGroupArn",
    (ELB, "DeleteListener"): "listenerArn",
    (ELB, "DeleteRule"): "ruleArn",
    (EC2, "DeleteSecurityGroup"): "groupId",
    (EC2, "RevokeSecurityGroupIngress"): "",
    (EC2, "RevokeSecurityGroupEgress"): "",
}
ENDED_BY = {
    "CreateLoadBalancer": "DeleteLoadBalancer",
    "CreateTargetGroup": "DeleteTargetGroup",
    "CreateListener": "DeleteListener",
    "CreateRule": "DeleteRule",
    "CreateSecurityGroup": "DeleteSecurityGroup",
    "AuthorizeSecurityGroupIngress": "RevokeSecurityGroupIngress",
    "AuthorizeSecurityGroupEgress": "RevokeSecurityGroupEgress",
}


@dataclass
class Created:
    """`resource` is its ARN or id (of a rule of a security group: group and rule), `parent` what it goes with."""

    resource: str
    name: str
    parent: str
    event: Event
    permissions: frozenset[str] = frozenset()
    end: Event | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "resource": self.resource,
            "name": self.name,
            "created_by": self.event.principal,
            "created_at": rfc3339(self.event.time),
            "deleted_at": rfc3339(self.end.time) if self.end else None,
            "deleted_by": self.end.principal if self.end else "",
        }


@dataclass
class Pairs:
    """`marks` are what only this run has in its calls: its id and the names of its resources."""

    marks: Sequence[str]
    created: list[Created] = field(default_factory=list)
    ends: list[Event] = field(default_factory=list)

    def add(self, events: Iterable[Event]) -> None:
        """Takes creations of the run and ends of anything, each event once however often it is seen."""
        seen = {one.event.id for one in self.created} | {one.id for one in self.ends}
        for event in events:
            if event.error or event.read_only or event.id in seen:
                continue
            kind = (event.service, event.name)
            if kind in _ENDS:
                self.ends.append(event)
                seen.add(event.id)
            elif kind in _CREATES and self._is_of_the_run(event):
                self.created.extend(_created(event))
                seen.add(event.id)

    def pair(self) -> list[Created]:
        """Gives each creation its end where there is one; returns those without."""
        for one in self.created:
            if one.end is None:
                one.end = min((end for end in self.ends if _ends(end, one)), key=lambda end: end.time, default=None)
        by_id = {one.resource: one for one in self.created}
        for one in self.created:
            above = by_id.get(one.parent)
            while one.end is None and above is not None:  # listeners go with their balancer, rules with their group
                one.end, above = above.end, by_id.get(above.parent)
        return [one for one in self.created if one.end is None]

    def _is_of_the_run(self, event: Event) -> bool:
        text = json.dumps([event.parameters, event.answer])
        return any(mark in text for mark in self.marks)


def _created(event: Event) -> Iterator[Created]:
    listed, key, parent = _CREATES[(event.service, event.name)]
    above = str(event.parameters.get(parent) or "") if parent else ""
    if not key:
        permissions = frozenset(_permissions(event.parameters))
        rules = ", ".join(sorted(_rule_ids(event.answer))) or "; ".join(sorted(permissions))
        yield Created(f"{above} {rules}", "", above, event, permissions)
        return
    name = str(event.parameters.get("name") or event.parameters.get("groupName") or "")
    answers = event.answer.get(listed) if listed else [event.answer]
    for one in answers if isinstance(answers, list) else []:
        if isinstance(one, Mapping) and one.get(key):
            yield Created(str(one[key]), name, above, event)


def _ends(end: Event, one: Created) -> bool:
    if end.name != ENDED_BY[one.event.name] or end.time < one.event.time:
        return False
    key = _ENDS[(end.service, end.name)]
    if key:
        return str(end.parameters.get(key) or "") == one.resource
    if end.parameters.get("groupId") != one.parent:
        return False
    revoked = set(_rule_ids(end.answer)) | set(_rule_ids(end.parameters))
    rules = set(_rule_ids(one.event.answer))
    return bool(rules and rules <= revoked) or bool(
        one.permissions and one.permissions <= set(_permissions(end.parameters))
    )


def _permissions(parameters: Mapping[str, Any]) -> Iterator[str]:
    """The rules which a call names, each in one form whatever the order of its parts."""
    for permission in _items(parameters.get("ipPermissions")):
        ports = f"{permission.get('ipProtocol')} {permission.get('fromPort')}-{permission.get('toPort')}"
        for group in _items(permission.get("groups")):
            yield f"{ports} {group.get('groupId')}"
        for listed, key in (("ipRanges", "cidrIp"), ("ipv6Ranges", "cidrIpv6"), ("prefixListIds", "prefixListId")):
            for one in _items(permission.get(listed)):
                yield f"{ports} {one.get(key)}"


def _rule_ids(value: Mapping[str, Any]) -> Iterator[str]:
    for name in ("securityGroupRuleSet", "revokedSecurityGroupRuleSet"):
        for one in _items(value.get(name)):
            if one.get("securityGroupRuleId"):
                yield str(one["securityGroupRuleId"])
    for one in _items(value.get("securityGroupRuleIds"), plain=True):
        yield str(one.get("securityGroupRuleId") or one.get("item"))


def _items(value: Any, *, plain: bool = False) -> Iterator[Mapping[str, Any]]:
    """Entries of a list in either form that CloudTrail has for EC2: `[…]` or `{"items": […]}`."""
    listed = value.get("items") if isinstance(value, Mapping) else value
    for one in listed if isinstance(listed, list) else []:
        if isinstance(one, Mapping):
            yield one
        elif plain:
            yield {"item": one}
