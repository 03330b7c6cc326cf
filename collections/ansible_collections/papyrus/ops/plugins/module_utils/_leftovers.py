# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds what runs have left in AWS by tags and rule descriptions alone, and proves absence by Describe answers."""

from __future__ import annotations

import datetime as dt
import email.utils
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._aws import AwsFailure, Clients, aws_call, request_id
from ._calls import api_name, batches
from ._leftovers_drill import DrillScope, DrillSearch
from ._leftovers_hand import KINDS, by_hand
from ._names import marks_of_description, parse_rfc3339, run_id_of_description, tag_keys, utc_now
from ._poller import Done, GoOn, Judgement, poll

__all__ = ["KINDS", "Found", "Scope", "ask_by_id", "by_hand", "date_of", "describe", "find", "wait_gone"]

_TAG_BATCH = 20  # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html
_FILTER_VALUES = 200  # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html

# The largest pages: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html,
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSecurityGroups.html and their neighbours.
_PAGES = {
    "describe_load_balancers": 400,
    "describe_target_groups": 400,
    "describe_security_groups": 1000,
    "describe_network_interfaces": 1000,
}

_DRILL = re.compile(r"-drill(-[a-z2-7]{6})$")


def _of_one_drill(name: str, other: str) -> bool:
    mine, its = _DRILL.search(name), _DRILL.search(other)
    return bool(mine and its and mine.group(1) == its.group(1))


# Made without tags and tagged by a second call (provider 3.39): a kill can come between. By the stacks something
# of the same run is made before and goes after it, tagged at once: a group of its name, a task definition of its drill.
_SIBLINGS: dict[str, tuple[str, Callable[[str, str], bool]]] = {
    "target_group": ("security_group", str.__eq__),
    "queue": ("task_definition", _of_one_drill),
}

_PEERS = (
    ("UserIdGroupPairs", "GroupId"),
    ("IpRanges", "CidrIp"),
    ("Ipv6Ranges", "CidrIpv6"),
    ("PrefixListIds", "PrefixListId"),
)


@dataclass(frozen=True)
class Scope:
    """What to look for: one run (`run_id`) or every run of `service` ("" for any service of this prefix).

    `names` are exact AWS names. Those that a run is about to take: what bears one without our tags is `foreign`. With
    `run_id` those that it has taken: what bears one is left, whatever its tags. `name_prefix` is that of all runs.
    `drill` says where a drill of alarms makes things. `balancers` are load balancers by name, as found before: their
    interfaces are asked for also when they are gone.
    """

    tag_prefix: str
    service: str = ""
    run_id: str = ""
    names: tuple[str, ...] = ()
    name_prefix: str = ""
    drill: DrillScope | None = None
    balancers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass
class Found:
    """`resources` smell of our runs, `foreign` bear our names only; `described` are answers, `failures` calls without
    one. `calls` counts requests by operation, `asked_at` is AWS' time of the first answer (the runner's without one).
    """

    resources: list[dict[str, Any]] = field(default_factory=list)
    foreign: list[dict[str, Any]] = field(default_factory=list)
    described: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    asked_at: dt.datetime | None = None

    @property
    def gone(self) -> bool:
        """True only when every Describe call was answered and none of the answers has anything of ours."""
        return not self.failures and not self.resources

    def request_ids(self) -> list[str]:
        return [rid for entry in self.described for rid in entry["request_ids"] if rid]

    def as_dict(self) -> dict[str, Any]:
        return {
            "gone": self.gone,
            "resources": self.resources,
            "foreign": self.foreign,
            "described": self.described,
            "failures": self.failures,
            "calls": dict(sorted(self.calls.items())),
        }


class _Search:
    def __init__(self, clients: Clients, scope: Scope, now: dt.datetime | None) -> None:
        self.clients = clients
        self.scope = scope
        self.found = Found(asked_at=now)
        self.run_key, self.expiry_key, self.service_key = tag_keys(scope.tag_prefix)
        self.unmarked: list[tuple[str, str, str, Mapping[str, Any]]] = []
        self._known: set[tuple[str, str]] = set()

    # Calls

    def pages(self, service: str, operation: str, key: str, resource: str, **parameters: Any) -> list[dict[str, Any]]:
        """All pages of one Describe call; the answer is kept with its request ids. AwsFailure when it has none."""
        items: list[dict[str, Any]] = []
        ids: list[str] = []
        size = {"PaginationConfig": {"PageSize": _PAGES[operation]}} if operation in _PAGES else {}
        with aws_call(api_name(operation), resource):
            for page in self.clients(service).get_paginator(operation).paginate(**parameters, **size):
                items += page.get(key, [])
                ids.append(self.came(operation, page))
        self.answered(operation, parameters, len(items), ids)
        return items

    def came(self, operation: str, answer: Mapping[str, Any]) -> str:
        """Counts an answer, learns AWS' time from the first one, and returns its request id."""
        self.found.calls[api_name(operation)] += 1
        if self.found.asked_at is None:
            self.found.asked_at = date_of(answer)
        return request_id(answer)

    def answered(self, operation: str, parameters: Mapping[str, Any], count: int, ids: list[str]) -> None:
        self.found.described.append(
            {"operation": api_name(operation), "parameters": dict(parameters), "count": count, "request_ids": ids}
        )

    def guarded(self, step: Callable[[], None]) -> None:
        """One part of the search; a failed call is kept, so that the others still say what they see."""
        try:
            step()
        except AwsFailure as failure:
            self.found.failures.append({**failure.as_dict(), "text": str(failure)})

    # Judging

    def add(
        self,
        kind: str,
        ident: str,
        name: str,
        tags: Mapping[str, str],
        detail: Mapping[str, Any],
        description: str = "",
    ) -> bool:
        """Sorts one resource into ours, foreign, or none of our business. True when it is ours.

        Without any of the tags its `description` may say the same: AWS has made it, and the tags were to come.
        """
        marks = tuple(tags.get(key, "") for key in (self.run_key, self.expiry_key, self.service_key))
        if not any(marks):
            marks = marks_of_description(self.scope.tag_prefix, description) or marks
        if not any(marks) and kind in _SIBLINGS:
            self.unmarked.append((kind, ident, name, detail))
            return False
        return self._sort(kind, ident, name, marks, detail)

    def _sort(self, kind: str, ident: str, name: str, marks: Sequence[str], detail: Mapping[str, Any]) -> bool:
        run_id, expires_at, service = marks
        scope = self.scope
        if scope.run_id:
            ours = run_id == scope.run_id or (not run_id and name in scope.names)
        else:
            ours = bool(run_id) and (not scope.service or service in ("", scope.service))
        if ours:
            self.ours(kind, ident, name, run_id or scope.run_id, expires_at, service, detail)
            return True
        collides = name in scope.names
        pattern = rf"{re.escape(scope.name_prefix)}-[a-z2-7]{{6}}"
        if not run_id and (collides or (scope.name_prefix and re.fullmatch(pattern, name))):
            self.found.foreign.append(
                {"kind": kind, "id": ident, "name": name, "collides": collides, "detail": dict(detail)}
            )
        return False

    def adopt(self) -> None:
        """What the provider tags only after AWS has made it belongs to whom its sibling belongs to, which was first."""
        for kind, ident, name, detail in self.unmarked:
            sibling_kind, same = _SIBLINGS[kind]
            those = (r for r in self.found.resources if r["kind"] == sibling_kind and same(name, r["name"]))
            sibling = next(those, None)
            if sibling is None:
                self._sort(kind, ident, name, ("", "", ""), detail)
                continue
            run_id, expires_at, service = (sibling[key] for key in ("run_id", "expires_at", "service"))
            self.ours(kind, ident, name, run_id, expires_at, service, {**detail, "sibling": sibling["id"]})

    def ours(
        self, kind: str, ident: str, name: str, run_id: str, expires_at: str, service: str, detail: Mapping[str, Any]
    ) -> None:
        if (kind, ident) in self._known:
            return
        self._known.add((kind, ident))
        try:
            expired: bool | None = parse_rfc3339(expires_at) <= (self.found.asked_at or utc_now())
        except ValueError:
            expired = None  # unreadable: nobody may take it for expired
        self.found.resources.append(
            {
                "kind": kind,
                "id": ident,
                "name": name,
                "run_id": run_id,
                "expires_at": expires_at,
                "expired": expired,
                "service": service,
                "detail": dict(detail),
            }
        )

    def owner(self, kind: str, name: str) -> Mapping[str, Any] | None:
        """What was found of this kind and name."""
        return next((r for r in self.found.resources if (r["kind"], r["name"]) == (kind, name)), None)

    # The parts

    def elbv2_tags(self, arns: Sequence[str]) -> dict[str, dict[str, str]]:
        """By ARN; what went since it was listed has none. AWS refuses a batch whole in which one is not there."""
        result: dict[str, dict[str, str]] = {}
        todo = [list(batch) for batch in batches(arns, _TAG_BATCH)]
        while todo:
            batch = todo.pop(0)
            try:
                with aws_call("DescribeTags", f"{len(batch)} load balancers or target groups"):
                    answer = self.clients("elbv2").describe_tags(ResourceArns=batch)
            except AwsFailure as failure:
                if not failure.missing:
                    raise
                half = len(batch) // 2
                todo += [part for part in (batch[:half], batch[half:]) if half]
                continue
            descriptions = answer["TagDescriptions"]
            ids = [self.came("describe_tags", answer)]
            self.answered("describe_tags", {"ResourceArns": batch}, len(descriptions), ids)
            result |= {arn: {} for arn in batch}
            result |= {entry["ResourceArn"]: _tag_dict(entry.get("Tags")) for entry in descriptions}
        return result

    def load_balancers(self) -> None:
        balancers = self.pages("elbv2", "describe_load_balancers", "LoadBalancers", "all load balancers")
        tags = self.elbv2_tags([balancer["LoadBalancerArn"] for balancer in balancers])
        for balancer in (each for each in balancers if each["LoadBalancerArn"] in tags):
            arn, name = balancer["LoadBalancerArn"], balancer["LoadBalancerName"]
            if arn not in tags:
                continue
            detail = {"state": balancer.get("State", {}).get("Code", ""), "dns_name": balancer.get("DNSName", "")}
            if self.add("load_balancer", arn, name, tags[arn], {**detail, "vpc_id": balancer.get("VpcId", "")}):
                self._listeners(self.found.resources[-1])

    def _listeners(self, balancer: Mapping[str, Any]) -> None:
        """Of one run; in a list of all runs they would cost a call for each load balancer, with which they go."""
        if not self.scope.run_id:
            return
        arn, name = balancer["id"], balancer["name"]
        try:
            listeners = self.pages("elbv2", "describe_listeners", "Listeners", name, LoadBalancerArn=arn)
        except AwsFailure as failure:
            if not failure.missing:
                raise
            listeners = []  # it went since it was listed
        for listener in listeners:
            run_id, expires_at, service = (balancer[key] for key in ("run_id", "expires_at", "service"))
            label = f"{name}:{listener.get('Port')}"
            detail = {"load_balancer": arn}
            self.ours("listener", listener["ListenerArn"], label, run_id, expires_at, service, detail)

    def target_groups(self) -> None:
        groups = self.pages("elbv2", "describe_target_groups", "TargetGroups", "all target groups")
        tags = self.elbv2_tags([group["TargetGroupArn"] for group in groups])
        for group in groups:
            arn = group["TargetGroupArn"]
            if arn in tags:
                self.add("target_group", arn, group["TargetGroupName"], tags[arn], {"vpc_id": group.get("VpcId", "")})

    def security_groups(self) -> None:
        """Groups by tags or description, and rules on other groups by description, from one list of all groups."""
        groups = self.pages("ec2", "describe_security_groups", "SecurityGroups", "all security groups")
        for group in groups:
            tags, detail = _tag_dict(group.get("Tags")), {"vpc_id": group.get("VpcId", "")}
            described = str(group.get("Description", ""))
            self.add("security_group", group["GroupId"], group["GroupName"], tags, detail, described)
        runs = {group["GroupId"]: "" for group in groups}  # by group; "" for what is none of ours
        runs |= {r["id"]: r["run_id"] for r in self.found.resources if r["kind"] == "security_group"}
        for group in groups:
            if runs[group["GroupId"]]:
                continue  # its rules go with it
            for direction, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
                for permission in group.get(key, []):
                    self._rules(group["GroupId"], direction, permission, runs)

    def _rules(self, group_id: str, direction: str, permission: Mapping[str, Any], runs: Mapping[str, str]) -> None:
        base = {key: permission[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in permission}
        for key, peer_key in _PEERS:
            for source in permission.get(key, []):
                text = str(source.get("Description") or "")
                run_id = run_id_of_description(self.scope.tag_prefix, text)
                if run_id is None or (self.scope.run_id and run_id != self.scope.run_id):
                    continue
                marks = marks_of_description(self.scope.tag_prefix, text) or (run_id, "", "")
                if not self.scope.run_id and self.scope.service and marks[2] not in ("", self.scope.service):
                    continue
                peer = str(source.get(peer_key) or "")
                detail: dict[str, Any] = {"group_id": group_id, "direction": direction}
                detail |= {"permission": {**base, key: [dict(source)]}, "peer": peer, "peer_run_id": runs.get(peer)}
                ident = f"{group_id}/{direction}/{base.get('IpProtocol')}/{base.get('FromPort')}/{peer}"
                self.ours("security_group_rule", ident, text, *marks, detail)

    def network_interfaces(self) -> None:
        """Interfaces of our load balancers, `ELB app/<name>/<id>`: on AWS they outlive them by minutes."""
        ours = dict(self.scope.balancers)
        ours |= {r["name"]: r for r in self.found.resources if r["kind"] in ("load_balancer", "security_group")}
        names = sorted(set(ours) | (set(self.scope.names) if self.scope.run_id else set()))
        groups = {r["id"]: r for r in self.found.resources if r["kind"] == "security_group"}
        interfaces: list[dict[str, Any]] = []
        for key, values in (("description", [f"ELB app/{name}/*" for name in names]), ("group-id", sorted(groups))):
            for batch in batches(values, _FILTER_VALUES):
                filters = [{"Name": key, "Values": list(batch)}]
                interfaces += self.pages(
                    "ec2", "describe_network_interfaces", "NetworkInterfaces", "interfaces of the run", Filters=filters
                )
        for interface in interfaces:
            match = re.match(r"ELB app/([^/]+)/", interface.get("Description", ""))
            owner = ours.get(match.group(1)) if match else None
            owner = owner or next(
                (groups[g["GroupId"]] for g in interface.get("Groups", []) if g["GroupId"] in groups), None
            )
            detail = {"description": interface.get("Description", ""), "status": interface.get("Status", "")}
            detail["owner"] = owner["id"] if owner else ""
            run_id = owner["run_id"] if owner else self.scope.run_id
            expiry, service = (owner["expires_at"], owner["service"]) if owner else ("", self.scope.service)
            self.ours(
                "network_interface",
                interface["NetworkInterfaceId"],
                detail["description"],
                run_id,
                expiry,
                service,
                detail,
            )


def find(clients: Clients, scope: Scope, *, now: dt.datetime | None = None) -> Found:
    """Looks in the order in which one finding leads to the next; a failed call is in `failures`, never "nothing".

    What is expired is told by AWS' clock, unless `now` is given.
    """
    search = _Search(clients, scope, now)
    steps: list[Callable[[], None]] = [
        search.load_balancers,
        search.target_groups,
        search.security_groups,
        search.network_interfaces,
    ]
    if scope.drill is not None:
        names = {"run_id": scope.run_id, "service": scope.service, "tag_prefix": scope.tag_prefix}
        drill = DrillSearch(search, scope.drill, **names)
        steps += [*drill.parts(), search.adopt, drill.subscriptions]
    else:
        steps.append(search.adopt)
    for step in steps:
        search.guarded(step)
    search.found.asked_at = search.found.asked_at or utc_now()
    # Of security groups the longer name first: the group of a task, named after that of its load balancer, admits it.
    search.found.resources.sort(
        key=lambda found: (
            KINDS.index(found["kind"]),
            -len(found["name"]) if found["kind"] == "security_group" else 0,
            found["id"],
        )
    )
    return search.found


_BY_ID: dict[str, tuple[str, str, str, str]] = {
    "alb_arn": ("load_balancer", "elbv2", "describe_load_balancers", "LoadBalancerArns"),
    "listener_arn": ("listener", "elbv2", "describe_listeners", "ListenerArns"),
    "target_group_arn": ("target_group", "elbv2", "describe_target_groups", "TargetGroupArns"),
    "alb_sg_id": ("security_group", "ec2", "describe_security_groups", "GroupIds"),
}


def ask_by_id(clients: Clients, known: Mapping[str, Any], found: Found) -> None:
    """Asks for each thing that Terraform named, by its id: AWS itself says "…NotFound". Completes `found`."""
    for key, (kind, service, operation, parameter) in _BY_ID.items():
        ident = str(known.get(key) or "")
        if not ident:
            continue
        try:
            with aws_call(api_name(operation), ident):
                answer = getattr(clients(service), operation)(**{parameter: [ident]})
        except AwsFailure as failure:
            entry = {"operation": api_name(operation), "parameters": {parameter: [ident]}, "count": 0}
            if failure.missing:
                found.described.append({**entry, "answer": failure.code, "request_ids": [failure.request_id]})
            else:
                found.failures.append({**failure.as_dict(), "text": str(failure)})
            continue
        found.calls[api_name(operation)] += 1
        count = sum(len(value) for value in answer.values() if isinstance(value, list))
        ids = [request_id(answer)]
        found.described.append(
            {"operation": api_name(operation), "parameters": {parameter: [ident]}, "count": count, "request_ids": ids}
        )
        if count and not any(resource["id"] == ident for resource in found.resources):
            found.resources.append(
                {"kind": kind, "id": ident, "name": "", "run_id": "", "expires_at": "", "expired": None, "service": ""}
            )


def wait_gone(
    clients: Clients,
    scope: Scope,
    known: Mapping[str, Any],
    *,
    timeout: float,
    interval: float = 5,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Found:
    """Looks until everything is gone or `timeout` seconds are over; the last look is returned, whatever it says.

    Waits only for what goes by itself (network interfaces, a load balancer being deleted) and for failed calls.
    """

    def observe() -> Found:
        found = find(clients, scope)
        ask_by_id(clients, known, found)
        return found

    def judge(found: Found) -> Judgement:
        if found.gone:
            return Done("every Describe call was answered, nothing of the run is there")
        return GoOn(describe(found))

    return poll(observe, judge, timeout=timeout, interval=interval, clock=clock, sleep=sleep).last


def describe(found: Found) -> str:
    """What is left, in one line."""
    left = [f"{resource['kind'].replace('_', ' ')} {resource['id']}" for resource in found.resources]
    failed = [failure["text"] for failure in found.failures]
    if not left and not failed:
        return "nothing is left"
    return "; ".join(
        (["left: " + ", ".join(left)] if left else []) + (["not known: " + " ".join(failed)] if failed else [])
    )


def date_of(answer: Mapping[str, Any]) -> dt.datetime | None:
    """AWS' own time of an answer (its header `Date`), or None without one."""
    headers = (answer.get("ResponseMetadata") or {}).get("HTTPHeaders") or {}
    try:
        moment = email.utils.parsedate_to_datetime(str(headers.get("date", "")))
    except ValueError:
        return None
    return moment.astimezone(dt.UTC) if moment.tzinfo else None


def _tag_dict(tags: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags or []}
