"""What no sweep may touch: load balancers, groups and rules that look like those of a run, and are not the run's."""

from __future__ import annotations

import datetime as dt
import functools
from typing import Any

from . import harness
from .services import SERVICE, permanent_service, until

RULE = "papyrus run by the night shift"


def marks(run_id: str, expires_at: str, service: str = SERVICE, prefix: str = "papyrus") -> dict[str, str]:
    """The three tags of a run."""
    return {f"{prefix}:run-id": run_id, f"{prefix}:expires-at": expires_at, f"{prefix}:service": service}


class Bystanders:
    """Made once in a local AWS; `remove` takes them away again."""

    def __init__(self) -> None:
        self.elb, self.ec2 = harness.client("elbv2"), harness.client("ec2")
        network = permanent_service()["networkConfiguration"]["awsvpcConfiguration"]
        self.tasks, self.subnets = network["securityGroups"][0], network["subnets"]
        self.vpc = self.ec2.describe_subnets(SubnetIds=self.subnets[:1])["Subnets"][0]["VpcId"]

    def make(self) -> list[str]:
        """Names of the load balancers."""
        now = dt.datetime.now(dt.UTC).replace(microsecond=0)
        yesterday, soon = now - dt.timedelta(days=1), now + dt.timedelta(hours=20)

        def run_id(moment: dt.datetime, suffix: str) -> str:
            return f"{moment:%Y%m%dT%H%M%SZ}-{suffix}"

        def end(moment: dt.datetime) -> str:
            return f"{moment:%Y-%m-%dT%H:%M:%SZ}"

        over = end(yesterday + dt.timedelta(hours=1))
        self._balancer("papyrus-smoke-notags", {})
        self._balancer("papyrus-smoke-foreig", marks(run_id(yesterday, "foreig"), over, "another-service"))
        self._balancer("papyrus-smoke-others", marks(run_id(yesterday, "others"), over, prefix="payments"))
        self._balancer("papyrus-smoke-living", marks(run_id(now, "living"), end(soon)))
        self._balancer("papyrus-prd-public", marks(run_id(yesterday, "leaked"), over))
        self._rule([{"CidrIp": "127.0.0.9/32", "Description": RULE}])
        return ["notags", "foreig", "others", "living", "public"]

    def _balancer(self, name: str, tags: dict[str, str]) -> None:
        listed = [{"Key": key, "Value": value} for key, value in tags.items()]
        specified = [{"ResourceType": "security-group", "Tags": listed}] if listed else []
        group = self.ec2.create_security_group(
            GroupName=name, Description="of a bystander", VpcId=self.vpc, TagSpecifications=specified
        )["GroupId"]
        more: dict[str, Any] = {"Tags": listed} if listed else {}
        balancer = self.elb.create_load_balancer(
            Name=name, Subnets=self.subnets, SecurityGroups=[group], Scheme="internal", **more
        )["LoadBalancers"][0]["LoadBalancerArn"]
        target_group = self.elb.create_target_group(
            Name=name, Protocol="HTTP", Port=5000, VpcId=self.vpc, TargetType="ip", **more
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elb.create_listener(
            LoadBalancerArn=balancer,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": target_group}],
        )

    def _rule(self, ranges: list[dict[str, str]]) -> None:
        permission = {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "IpRanges": ranges}
        self.ec2.authorize_security_group_ingress(GroupId=self.tasks, IpPermissions=[permission])

    def _deleted(self, group: str) -> bool:
        try:
            self.ec2.delete_security_group(GroupId=group)
        except self.ec2.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "DependencyViolation":
                raise
            return False
        return True

    def remove(self) -> None:
        """What of them is there goes."""
        names = ("papyrus-smoke-notags", "papyrus-smoke-foreig", "papyrus-smoke-others", "papyrus-smoke-living",
                 "papyrus-prd-public")  # fmt: skip
        for balancer in harness.pages("elbv2", "describe_load_balancers", "LoadBalancers"):
            if balancer["LoadBalancerName"] in names:
                self.elb.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
        for group in harness.pages("elbv2", "describe_target_groups", "TargetGroups"):
            if group["TargetGroupName"] in names:
                self.elb.delete_target_group(TargetGroupArn=group["TargetGroupArn"])
        for group in harness.pages("ec2", "describe_security_groups", "SecurityGroups"):
            if group["GroupName"] in names:
                until(functools.partial(self._deleted, group["GroupId"]), "the end of the interfaces", 120)
            mine = [
                {**permission, "IpRanges": [r for r in permission["IpRanges"] if r.get("Description") == RULE],
                 "UserIdGroupPairs": [], "Ipv6Ranges": [], "PrefixListIds": []}
                for permission in group["IpPermissions"]
                if any(r.get("Description") == RULE for r in permission["IpRanges"])
            ]  # fmt: skip
            if mine:
                self.ec2.revoke_security_group_ingress(GroupId=group["GroupId"], IpPermissions=mine)
