# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An account in which runs have left something, and in which AWS lets go of it only in the right order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .aws_fake import FakeAws, Refusal

EXPIRES = "2026-01-31T13:00:00Z"


def arn(kind: str, name: str) -> str:
    return f"arn:aws:elasticloadbalancing:us-west-2:123456789012:{kind}/{name}/50dc6c495c0c9188"


def marks(run_id: str, expires: str = EXPIRES, service: str = "svc", prefix: str = "papyrus") -> dict[str, str]:
    return {f"{prefix}:run-id": run_id, f"{prefix}:expires-at": expires, f"{prefix}:service": service}


def text(run_id: str, expires: str = EXPIRES, service: str = "svc", prefix: str = "papyrus") -> str:
    return f"{prefix} run {run_id} until {expires} of {service}"


class World:
    """`interface_seconds` is how long interfaces outlive their load balancer; sleeping moves the clock."""

    def __init__(self) -> None:
        self.reset()
        handlers = {
            "elbv2.describe_load_balancers": self._balancers,
            "elbv2.describe_load_balancer_attributes": self._attributes,
            "elbv2.describe_target_groups": self._target_groups,
            "elbv2.describe_tags": self._tags,
            "elbv2.describe_listeners": self._listeners,
            "elbv2.delete_listener": self._delete_listener,
            "elbv2.delete_load_balancer": self._delete_balancer,
            "elbv2.delete_target_group": self._delete_target_group,
            "ec2.describe_security_groups": self._groups,
            "ec2.describe_network_interfaces": self._interfaces,
            "ec2.revoke_security_group_ingress": self._revoke,
            "ec2.revoke_security_group_egress": self._revoke,
            "ec2.delete_security_group": self._delete_group,
        }
        self.aws = FakeAws({name: self._hooked(name, answer) for name, answer in handlers.items()})

    def reset(self) -> None:
        self.now = 0.0
        self.interface_seconds = 0.0
        self.balancers: dict[str, dict[str, Any]] = {}
        self.target_groups: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.interfaces: dict[str, dict[str, Any]] = {}
        self.refuse: dict[str, list[Refusal]] = {}
        self.before: dict[str, Any] = {}

    def _hooked(self, name: str, answer: Any) -> Any:
        def answered(sent: Mapping[str, Any]) -> Any:
            hook = self.before.pop(name, None)
            if hook:
                hook()
            if self.refuse.get(name):
                raise self.refuse[name].pop(0)
            return answer(sent)

        return answered

    # Time

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(seconds, 0.01)

    # What is there

    def group(self, ident: str, name: str, tags: Mapping[str, str] | None = None, description: str = "") -> str:
        self.groups[ident] = {
            "GroupId": ident, "GroupName": name, "VpcId": "vpc-1", "Description": description or name,
            "Tags": [{"Key": key, "Value": value} for key, value in (tags or {}).items()], "IpPermissions": [],
        }  # fmt: skip
        return ident

    def rule(self, group: str, peer: str, description: str) -> None:
        pair = {"GroupId": peer, "UserId": "123456789012", "Description": description}
        permission = {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "UserIdGroupPairs": [pair]}
        self.groups[group]["IpPermissions"].append(permission)

    def cidr(self, group: str, cidr: str, description: str) -> None:
        ranges = [{"CidrIp": cidr, "Description": description}]
        permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": ranges}
        self.groups[group]["IpPermissions"].append(permission)

    def target_group(self, name: str, tags: Mapping[str, str]) -> None:
        self.target_groups[arn("targetgroup", name)] = {"name": name, "tags": tags}

    def balancer(
        self, name: str, tags: Mapping[str, str], group: str = "", *, protected: bool = False, forwards: str = ""
    ) -> None:
        ident = arn("loadbalancer/app", name)
        self.balancers[ident] = {
            "name": name, "tags": tags, "protected": protected,
            "listeners": {ident.replace("loadbalancer", "listener") + "/1": arn("targetgroup", forwards or name)},
        }  # fmt: skip
        for number in range(2):
            eni = f"eni-{name}-{number}"
            self.interfaces[eni] = {
                "NetworkInterfaceId": eni, "Description": f"ELB app/{name}/50dc", "Status": "in-use",
                "Groups": [{"GroupId": group}] if group else [], "until": None,
            }  # fmt: skip

    def run(self, run_id: str, tags: Mapping[str, str] | None = None, *, name: str = "", described: str = "") -> None:
        """Everything that a run makes."""
        suffix = run_id.rsplit("-", 1)[1]
        name, tags = name or f"papyrus-smoke-{suffix}", marks(run_id) if tags is None else tags
        described = described or text(run_id)
        if "sg-tasks" not in self.groups:
            self.group("sg-tasks", "tasks")
        group = self.group(f"sg-{suffix}", name, tags, described)
        self.rule("sg-tasks", group, described)
        self.balancer(name, tags, group)
        self.target_group(name, tags)

    def names(self) -> set[str]:
        """All that is there."""
        rules = {
            f"{group} {pair.get('GroupId', '')} {pair.get('Description', '')}"
            for group, each in self.groups.items()
            for permission in each["IpPermissions"]
            for pair in [*permission.get("UserIdGroupPairs", []), *permission.get("IpRanges", [])]
        }
        listeners = {ident for each in self.balancers.values() for ident in each["listeners"]}
        return {*self.balancers, *self.target_groups, *self.groups, *self._there(), *rules, *listeners}

    # Answers

    def _there(self) -> dict[str, dict[str, Any]]:
        self.interfaces = {
            ident: each for ident, each in self.interfaces.items() if each["until"] is None or each["until"] > self.now
        }
        return self.interfaces

    def _balancers(self, sent: Mapping[str, Any]) -> Any:
        return {
            "LoadBalancers": [
                {"LoadBalancerArn": ident, "LoadBalancerName": each["name"], "State": {"Code": "active"}}
                for ident, each in self.balancers.items()
            ]
        }

    def _known(self, ident: str) -> dict[str, Any]:
        if ident not in self.balancers:
            raise Refusal("LoadBalancerNotFound")
        return self.balancers[ident]

    def _attributes(self, sent: Mapping[str, Any]) -> Any:
        value = "true" if self._known(sent["LoadBalancerArn"])["protected"] else "false"
        return {"Attributes": [{"Key": "deletion_protection.enabled", "Value": value}]}

    def _target_groups(self, sent: Mapping[str, Any]) -> Any:
        return {
            "TargetGroups": [
                {"TargetGroupArn": ident, "TargetGroupName": each["name"]} for ident, each in self.target_groups.items()
            ]
        }

    def _tags(self, sent: Mapping[str, Any]) -> Any:
        known = {**self.balancers, **self.target_groups}
        for ident in sent["ResourceArns"]:
            if ident not in known:
                raise Refusal("LoadBalancerNotFound" if "loadbalancer" in ident else "TargetGroupNotFound")
        return {
            "TagDescriptions": [
                {"ResourceArn": i, "Tags": [{"Key": k, "Value": v} for k, v in known[i]["tags"].items()]}
                for i in sent["ResourceArns"]
            ]
        }

    def _listeners(self, sent: Mapping[str, Any]) -> Any:
        known = self._known(sent["LoadBalancerArn"])["listeners"]
        return {"Listeners": [{"ListenerArn": ident, "Port": 80} for ident in known]}

    def _delete_listener(self, sent: Mapping[str, Any]) -> Any:
        for each in self.balancers.values():
            if each["listeners"].pop(sent["ListenerArn"], None) is not None:
                return {}
        raise Refusal("ListenerNotFound")

    def _delete_balancer(self, sent: Mapping[str, Any]) -> Any:
        gone = self.balancers.pop(sent["LoadBalancerArn"], None)  # AWS says nothing about one that is gone
        for each in self.interfaces.values():
            if gone and each["Description"].startswith(f"ELB app/{gone['name']}/"):
                each["until"] = self.now + self.interface_seconds
        return {}

    def _delete_target_group(self, sent: Mapping[str, Any]) -> Any:
        if any(sent["TargetGroupArn"] in each["listeners"].values() for each in self.balancers.values()):
            raise Refusal("ResourceInUse", "is currently in use by a listener or a rule")
        self.target_groups.pop(sent["TargetGroupArn"], None)
        return {}

    def _groups(self, sent: Mapping[str, Any]) -> Any:
        return {"SecurityGroups": list(self.groups.values())}

    def _interfaces(self, sent: Mapping[str, Any]) -> Any:
        (condition,) = sent["Filters"]
        values = [value.rstrip("*") for value in condition["Values"]]
        found = []
        for each in self._there().values():
            groups = [group["GroupId"] for group in each["Groups"]]
            named = {
                "description": any(each["Description"].startswith(value) for value in values),
                "group-id": any(group in values for group in groups),
                "network-interface-id": each["NetworkInterfaceId"] in values,
            }
            if named[condition["Name"]]:
                found.append({key: value for key, value in each.items() if key != "until"})
        return {"NetworkInterfaces": found}

    def _revoke(self, sent: Mapping[str, Any]) -> Any:
        if sent["GroupId"] not in self.groups:
            raise Refusal("InvalidGroup.NotFound")
        kept = self.groups[sent["GroupId"]]["IpPermissions"]
        for permission in sent["IpPermissions"]:
            if permission not in kept:
                raise Refusal("InvalidPermission.NotFound")
            kept.remove(permission)
        return {"Return": True}

    def _delete_group(self, sent: Mapping[str, Any]) -> Any:
        ident = sent["GroupId"]
        if ident not in self.groups:
            raise Refusal("InvalidGroup.NotFound")
        held = any(group["GroupId"] == ident for each in self._there().values() for group in each["Groups"])
        named = any(
            pair["GroupId"] == ident
            for other, each in self.groups.items()
            for permission in each["IpPermissions"]
            for pair in permission.get("UserIdGroupPairs", [])
            if other != ident
        )
        if held or named:
            raise Refusal("DependencyViolation", f"resource {ident} has a dependent object")
        del self.groups[ident]
        return {}
