"""Makes what runs leave in the local AWS, by boto3 alone: a run's worth of it takes no Terraform and no minute."""

from __future__ import annotations

import contextlib
import datetime as dt
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from . import harness

BASE32 = "abcdefghijklmnopqrstuvwxyz234567"


def stamp(moment: dt.datetime) -> str:
    """RFC 3339 in UTC, whole seconds."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class Place:
    """A VPC of its own with two subnets and a group of permanent tasks, so that one delete cannot hide another."""

    vpc: str = ""
    subnets: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)

    @property
    def tasks_group(self) -> str:
        """The group of permanent tasks in which rules are left."""
        return self.groups[-1]

    @classmethod
    def make(cls) -> Place:
        """In an address range that no other VPC of the local AWS has."""
        ec2 = harness.client("ec2")
        taken = {each["CidrBlock"] for each in harness.pages("ec2", "describe_vpcs", "Vpcs")}
        cidr = next(c for c in (f"10.{number}.0.0/16" for number in range(200, 256)) if c not in taken)
        vpc = ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"]
        zones = [each["ZoneName"] for each in ec2.describe_availability_zones()["AvailabilityZones"]][:2]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=cidr.replace("0.0/16", f"{number}.0/24"), AvailabilityZone=zone)[
                "Subnet"
            ]["SubnetId"]
            for number, zone in enumerate(zones)
        ]
        place = cls(vpc, subnets)
        place.another_group()
        return place

    def another_group(self) -> None:
        """A group has room for 60 rules."""
        name = f"permanent-tasks-{len(self.groups)}"
        made = harness.client("ec2").create_security_group(GroupName=name, Description="Permanent", VpcId=self.vpc)
        self.groups.append(made["GroupId"])

    def remove(self) -> None:
        """Everything of it, when the interfaces of load balancers are gone; what else is in there makes it fail."""
        ec2 = harness.client("ec2")
        here = [{"Name": "vpc-id", "Values": [self.vpc]}]
        deadline = time.monotonic() + 60
        while ec2.describe_network_interfaces(Filters=here)["NetworkInterfaces"]:
            assert time.monotonic() < deadline, "interfaces of the test's load balancers are still there"
            time.sleep(0.5)
        for group in self.groups:
            ec2.delete_security_group(GroupId=group)
        for subnet in self.subnets:
            ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_vpc(VpcId=self.vpc)


@dataclass
class Left:
    """What one run has left; `name` ends with its suffix unless a test says otherwise."""

    service: str
    run_id: str
    expires_at: str
    name: str
    group: str = ""
    balancer: str = ""
    target_group: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """The three marks."""
        return {
            "papyrus:run-id": self.run_id,
            "papyrus:expires-at": self.expires_at,
            "papyrus:service": self.service,
        }

    @property
    def description(self) -> str:
        """The three marks in one text."""
        return f"papyrus run {self.run_id} until {self.expires_at} of {self.service}"


def run(
    service: str,
    *,
    began: dt.timedelta = dt.timedelta(hours=-3),
    lease: dt.timedelta = dt.timedelta(hours=1),
    prefix: str = "papyrus-smoke",
) -> Left:
    """A run that began so long ago; nothing of it is made yet."""
    start = (dt.datetime.now(dt.UTC) + began).replace(microsecond=0)
    suffix = "".join(secrets.choice(BASE32) for _number in range(6))
    return Left(service, f"{start:%Y%m%dT%H%M%SZ}-{suffix}", stamp(start + lease), f"{prefix}-{suffix}")


def leave(left: Left, place: Place, *, tags: dict[str, str] | None = None, balancer: bool = True) -> Left:
    """Makes load balancer, listener, target group, group and the rule on the tasks' group, as 20-alb does."""
    ec2, elb = harness.client("ec2"), harness.client("elbv2")
    pairs = [{"Key": key, "Value": value} for key, value in (left.tags if tags is None else tags).items()]
    left.group = ec2.create_security_group(
        GroupName=left.name,
        Description=left.description,
        VpcId=place.vpc,
        **({"TagSpecifications": [{"ResourceType": "security-group", "Tags": pairs}]} if pairs else {}),
    )["GroupId"]
    ec2.authorize_security_group_ingress(
        GroupId=place.tasks_group,
        IpPermissions=[
            {
                "IpProtocol": "tcp",
                "FromPort": 5000,
                "ToPort": 5000,
                "UserIdGroupPairs": [{"GroupId": left.group, "Description": left.description}],
            }
        ],
    )
    more: dict[str, Any] = {"Tags": pairs} if pairs else {}
    if balancer:
        left.balancer = elb.create_load_balancer(
            Name=left.name, Scheme="internal", Subnets=place.subnets, SecurityGroups=[left.group], **more
        )["LoadBalancers"][0]["LoadBalancerArn"]
    left.target_group = elb.create_target_group(
        Name=left.name, TargetType="ip", Protocol="HTTP", Port=5000, VpcId=place.vpc, **more
    )["TargetGroups"][0]["TargetGroupArn"]
    if balancer:
        action = {"Type": "forward", "TargetGroupArn": left.target_group}
        elb.create_listener(LoadBalancerArn=left.balancer, Port=80, Protocol="HTTP", DefaultActions=[action])
    return left


@contextlib.contextmanager
def perhaps_gone() -> Iterator[None]:
    """What is to go may have gone."""
    try:
        yield
    except ClientError as error:
        if not error.response["Error"]["Code"].endswith("NotFound"):
            raise


def delete(left: Left, place: Place) -> None:
    """By hand, what a test has made and a sweep has to leave alone; nothing where it was deleted all the same."""
    ec2, elb = harness.client("ec2"), harness.client("elbv2")
    if left.balancer:
        elb.delete_load_balancer(LoadBalancerArn=left.balancer)
    elb.delete_target_group(TargetGroupArn=left.target_group)
    pair = {"GroupId": left.group, "Description": left.description}
    permission = {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "UserIdGroupPairs": [pair]}
    with perhaps_gone():
        ec2.revoke_security_group_ingress(GroupId=place.tasks_group, IpPermissions=[permission])
    with perhaps_gone():
        ec2.delete_security_group(GroupId=left.group)


def everything() -> dict[str, set[str]]:
    """Every thing of the kinds that runs make, of anybody, asked without the product's code."""
    groups = harness.pages("ec2", "describe_security_groups", "SecurityGroups")
    rules = {
        f"{group['GroupId']} {permission.get('FromPort')} {pair['GroupId']} {pair.get('Description', '')}"
        for group in groups
        for permission in group["IpPermissions"]
        for pair in permission["UserIdGroupPairs"]
    }
    names = (("LoadBalancers", "LoadBalancerArn"), ("TargetGroups", "TargetGroupArn"))
    found = {
        key: {each[arn] for each in harness.pages("elbv2", operation, key)}
        for (key, arn), operation in zip(names, ("describe_load_balancers", "describe_target_groups"), strict=True)
    }
    interfaces = harness.pages("ec2", "describe_network_interfaces", "NetworkInterfaces")
    return {
        **found,
        "SecurityGroups": {group["GroupId"] for group in groups},
        "Rules": rules,
        "NetworkInterfaces": {each["NetworkInterfaceId"] for each in interfaces},
    }
