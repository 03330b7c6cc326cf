# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds what runs have left in AWS by tags and rule descriptions alone, and proves absence by Describe answers."""

from __future__ import annotations

import datetime as dt
import json
import re
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import _leftovers_drill
from ._aws import AwsFailure, Clients, aws_call, request_id
from ._leftovers_drill import DrillScope, DrillSearch
from ._names import parse_rfc3339, run_id_of_description, tag_keys, utc_now
from ._poller import Done, GoOn, Judgement, poll

_TAG_BATCH = 20  # https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html

# The order in which they can be deleted: each may hold what comes after it.
KINDS = (
    *_leftovers_drill.KINDS,
    "listener",
    "load_balancer",
    "target_group",
    "security_group_rule",
    "network_interface",
    "security_group",
)


@dataclass(frozen=True)
class Scope:
    """What to look for: one run (`run_id`) or every run of `service` ("" for any service of this prefix).

    `names` are the exact AWS names a run is about to take, `name_prefix` that of all runs: a resource of such a name
    without our three tags is `foreign`. `tasks_sg_id` and `vpc_id` say where rules without tags are looked for, `drill`
    where what a drill of alarms makes.
    """

    tag_prefix: str
    service: str = ""
    run_id: str = ""
    vpc_id: str = ""
    tasks_sg_id: str = ""
    names: tuple[str, ...] = ()
    name_prefix: str = ""
    drill: DrillScope | None = None


@dataclass
class Found:
    """`resources` are ours, `foreign` bear our names only; `described` are answers, `failures` calls without one."""

    resources: list[dict[str, Any]] = field(default_factory=list)
    foreign: list[dict[str, Any]] = field(default_factory=list)
    described: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, str]] = field(default_factory=list)

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
        }


class _Search:
    def __init__(self, clients: Clients, scope: Scope, now: dt.datetime) -> None:
        self.clients = clients
        self.scope = scope
        self.now = now
        self.found = Found()
        self.run_key, self.expiry_key, self.service_key = tag_keys(scope.tag_prefix)

    # Calls

    def pages(self, service: str, operation: str, key: str, resource: str, **parameters: Any) -> list[dict[str, Any]]:
        """All pages of one Describe call; the answer is kept with its request ids. AwsFailure when it has none."""
        items: list[dict[str, Any]] = []
        ids: list[str] = []
        with aws_call(_api_name(operation), resource):
            for page in self.clients(service).get_paginator(operation).paginate(**parameters):
                items += page.get(key, [])
                ids.append(request_id(page))
        self.answered(operation, parameters, len(items), ids)
        return items

    def answered(self, operation: str, parameters: Mapping[str, Any], count: int, ids: list[str]) -> None:
        self.found.described.append(
            {"operation": _api_name(operation), "parameters": dict(parameters), "count": count, "request_ids": ids}
        )

    def guarded(self, step: Callable[[], None]) -> None:
        """One part of the search; a failed call is kept, so that the others still say what they see."""
        try:
            step()
        except AwsFailure as failure:
            self.found.failures.append({**failure.as_dict(), "text": str(failure)})

    # Judging

    def add(self, kind: str, ident: str, name: str, tags: Mapping[str, str], detail: Mapping[str, Any]) -> bool:
        """Sorts one resource into ours, foreign, or none of our business. True when it is ours."""
        ours = all(tags.get(key) for key in (self.run_key, self.expiry_key, self.service_key))
        if ours:
            if self.scope.run_id and tags[self.run_key] != self.scope.run_id:
                return False
            if self.scope.service and tags[self.service_key] != self.scope.service:
                return False
            self.ours(kind, ident, name, tags[self.run_key], tags[self.expiry_key], tags[self.service_key], detail)
            return True
        collides = name in self.scope.names
        pattern = rf"{re.escape(self.scope.name_prefix)}-[a-z2-7]{{6}}"
        if collides or (self.scope.name_prefix and re.fullmatch(pattern, name)):
            self.found.foreign.append(
                {"kind": kind, "id": ident, "name": name, "collides": collides, "detail": dict(detail)}
            )
        return False

    def ours(
        self, kind: str, ident: str, name: str, run_id: str, expires_at: str, service: str, detail: Mapping[str, Any]
    ) -> None:
        if any(known["kind"] == kind and known["id"] == ident for known in self.found.resources):
            return
        try:
            expired: bool | None = parse_rfc3339(expires_at) <= self.now
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
        result: dict[str, dict[str, str]] = {}
        for start in range(0, len(arns), _TAG_BATCH):
            batch = list(arns[start : start + _TAG_BATCH])
            with aws_call("DescribeTags", f"{len(batch)} load balancers or target groups"):
                answer = self.clients("elbv2").describe_tags(ResourceArns=batch)
            self.answered(
                "describe_tags", {"ResourceArns": batch}, len(answer["TagDescriptions"]), [request_id(answer)]
            )
            for entry in answer["TagDescriptions"]:
                result[entry["ResourceArn"]] = _tag_dict(entry.get("Tags"))
        return result

    def load_balancers(self) -> None:
        balancers = self.pages("elbv2", "describe_load_balancers", "LoadBalancers", "all load balancers")
        tags = self.elbv2_tags([balancer["LoadBalancerArn"] for balancer in balancers])
        for balancer in balancers:
            arn, name = balancer["LoadBalancerArn"], balancer["LoadBalancerName"]
            detail = {"state": balancer.get("State", {}).get("Code", ""), "dns_name": balancer.get("DNSName", "")}
            if self.add("load_balancer", arn, name, tags.get(arn, {}), {**detail, "vpc_id": balancer.get("VpcId", "")}):
                own = self.found.resources[-1]
                for listener in self.pages("elbv2", "describe_listeners", "Listeners", name, LoadBalancerArn=arn):
                    port = listener.get("Port")
                    self.ours(
                        "listener", listener["ListenerArn"], f"{name}:{port}", own["run_id"], own["expires_at"],
                        own["service"], {"load_balancer": arn},
                    )  # fmt: skip

    def target_groups(self) -> None:
        groups = self.pages("elbv2", "describe_target_groups", "TargetGroups", "all target groups")
        tags = self.elbv2_tags([group["TargetGroupArn"] for group in groups])
        for group in groups:
            arn = group["TargetGroupArn"]
            self.add(
                "target_group", arn, group["TargetGroupName"], tags.get(arn, {}), {"vpc_id": group.get("VpcId", "")}
            )

    def security_groups(self) -> None:
        value = [self.scope.run_id] if self.scope.run_id else ["*"]
        filters = [{"Name": f"tag:{self.run_key}", "Values": value}]
        groups = self.pages(
            "ec2", "describe_security_groups", "SecurityGroups", "security groups with the run's tag", Filters=filters
        )
        if self.scope.names:
            by_name = [{"Name": "group-name", "Values": list(self.scope.names)}]
            groups += self.pages(
                "ec2",
                "describe_security_groups",
                "SecurityGroups",
                "security groups of the run's name",
                Filters=by_name,
            )
        if self.scope.name_prefix:
            by_prefix = [{"Name": "group-name", "Values": [f"{self.scope.name_prefix}-*"]}]
            groups += self.pages(
                "ec2", "describe_security_groups", "SecurityGroups", "security groups of the prefix", Filters=by_prefix
            )
        for group in {group["GroupId"]: group for group in groups}.values():
            detail = {"vpc_id": group.get("VpcId", "")}
            self.add("security_group", group["GroupId"], group["GroupName"], _tag_dict(group.get("Tags")), detail)

    def rules(self) -> None:
        """Rules on groups that are not ours, by description: the tasks' group, else every group of the VPC."""
        if self.scope.tasks_sg_id:
            parameters: dict[str, Any] = {"GroupIds": [self.scope.tasks_sg_id]}
        elif self.scope.vpc_id:
            parameters = {"Filters": [{"Name": "vpc-id", "Values": [self.scope.vpc_id]}]}
        else:
            return
        where = self.scope.tasks_sg_id or self.scope.vpc_id
        own = {resource["id"] for resource in self.found.resources if resource["kind"] == "security_group"}
        for group in self.pages("ec2", "describe_security_groups", "SecurityGroups", where, **parameters):
            if group["GroupId"] in own:
                continue  # they go with their group
            for direction, key in (("ingress", "IpPermissions"), ("egress", "IpPermissionsEgress")):
                for permission in group.get(key, []):
                    self._rule(group["GroupId"], direction, permission)

    def _rule(self, group_id: str, direction: str, permission: Mapping[str, Any]) -> None:
        base = {key: permission[key] for key in ("IpProtocol", "FromPort", "ToPort") if key in permission}
        for key in ("UserIdGroupPairs", "IpRanges", "Ipv6Ranges", "PrefixListIds"):
            for source in permission.get(key, []):
                run_id = run_id_of_description(self.scope.tag_prefix, source.get("Description") or "")
                if run_id is None or (self.scope.run_id and run_id != self.scope.run_id):
                    continue
                peer = (
                    source.get("GroupId")
                    or source.get("CidrIp")
                    or source.get("CidrIpv6")
                    or source.get("PrefixListId")
                )
                # A rule carries no expiry of its own: it is that of its run, where anything else of it is left.
                expiry = next((r["expires_at"] for r in self.found.resources if r["run_id"] == run_id), "")
                detail = {"group_id": group_id, "direction": direction, "permission": {**base, key: [dict(source)]}}
                ident = f"{group_id}/{direction}/{base.get('IpProtocol')}/{base.get('FromPort')}/{peer}"
                self.ours(
                    "security_group_rule", ident, source["Description"], run_id, expiry, self.scope.service, detail
                )

    def network_interfaces(self) -> None:
        """Interfaces of our load balancers, `ELB app/<name>/<id>`: on AWS they outlive them by minutes."""
        ours = {r["name"]: r for r in self.found.resources if r["kind"] in ("load_balancer", "security_group")}
        names = sorted(set(ours) | (set(self.scope.names) if self.scope.run_id else set()))
        groups = {r["id"]: r for r in self.found.resources if r["kind"] == "security_group"}
        interfaces: list[dict[str, Any]] = []
        for key, values in (("description", [f"ELB app/{name}/*" for name in names]), ("group-id", sorted(groups))):
            for start in range(0, len(values), 100):  # a filter takes up to 200 values
                filters = [{"Name": key, "Values": values[start : start + 100]}]
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
    """Looks in the order in which one finding leads to the next; a failed call is in `failures`, never "nothing"."""
    search = _Search(clients, scope, now or utc_now())
    steps: list[Callable[[], None]] = [
        search.load_balancers,
        search.target_groups,
        search.security_groups,
        search.rules,
        search.network_interfaces,
    ]
    if scope.drill is not None:
        names = {"run_id": scope.run_id, "service": scope.service, "tag_prefix": scope.tag_prefix}
        steps += DrillSearch(search, scope.drill, **names).parts()
    for step in steps:
        search.guarded(step)
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
            with aws_call(_api_name(operation), ident):
                answer = getattr(clients(service), operation)(**{parameter: [ident]})
        except AwsFailure as failure:
            entry = {"operation": _api_name(operation), "parameters": {parameter: [ident]}, "count": 0}
            if failure.missing:
                found.described.append({**entry, "answer": failure.code, "request_ids": [failure.request_id]})
            else:
                found.failures.append({**failure.as_dict(), "text": str(failure)})
            continue
        count = sum(len(value) for value in answer.values() if isinstance(value, list))
        ids = [request_id(answer)]
        found.described.append(
            {"operation": _api_name(operation), "parameters": {parameter: [ident]}, "count": count, "request_ids": ids}
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


def by_hand(resources: Iterable[Mapping[str, Any]], region: str = "") -> list[str]:
    """AWS CLI commands that delete `resources`, in the order in which AWS lets them go."""
    where = f" --region {shlex.quote(region)}" if region else ""
    commands: list[str] = []
    for resource in sorted(resources, key=lambda r: KINDS.index(r["kind"])):
        ident = shlex.quote(str(resource["id"]))
        match resource["kind"]:
            case "listener":
                commands.append(f"aws elbv2 delete-listener{where} --listener-arn {ident}")
            case "load_balancer":
                commands.append(f"aws elbv2 delete-load-balancer{where} --load-balancer-arn {ident}")
                commands.append(f"aws elbv2 wait load-balancers-deleted{where} --load-balancer-arns {ident}")
            case "target_group":
                commands.append(f"aws elbv2 delete-target-group{where} --target-group-arn {ident}")
            case "security_group_rule":
                detail = resource["detail"]
                permissions = shlex.quote(json.dumps([detail["permission"]], sort_keys=True))
                group = shlex.quote(detail["group_id"])
                commands.append(
                    f"aws ec2 revoke-security-group-{detail['direction']}{where} --group-id {group}"
                    f" --ip-permissions {permissions}"
                )
            case "network_interface":
                commands.append(
                    f"aws ec2 describe-network-interfaces{where} --network-interface-ids {ident}  # until it is gone"
                )
            case "security_group":
                commands.append(f"aws ec2 delete-security-group{where} --group-id {ident}")
            case kind:
                cluster = shlex.quote(str(resource.get("detail", {}).get("cluster", "")))
                commands += _leftovers_drill.by_hand(str(kind), ident, cluster, where)
    return commands


def _api_name(operation: str) -> str:
    return "".join(part.capitalize() for part in operation.split("_"))


def _tag_dict(tags: Any) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags or []}
