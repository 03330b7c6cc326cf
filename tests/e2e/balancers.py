"""Load balancers before services without Terraform, and single modules: what needs no whole run takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from . import harness
from .services import CLUSTER, Services, permanent_service, unique, until

MODULES = harness.CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops" / "plugins" / "modules"


def run_module(folder: Path, name: str, options: dict[str, Any]) -> dict[str, Any]:
    """What the module answers in a fresh Python, as Ansible runs it; that it failed is an answer."""
    known = harness.facts()
    arguments = folder / f"{unique(name)}.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": options}), "utf-8")
    answer = subprocess.run(
        [sys.executable, str(MODULES / f"{name}.py"), str(arguments)],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(harness.CHECKOUT / "collections"),
            "AWS_ENDPOINT_URL": known["endpoint"],
            "AWS_ACCESS_KEY_ID": known["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
            "AWS_REGION": known["region"],
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout.startswith("\n{"), answer.stdout + answer.stderr
    result: dict[str, Any] = json.loads(answer.stdout)
    return result


class Balancer:
    """A load balancer that forwards everything to one target group, admitted by the tasks' security group."""

    def __init__(self, services: Services) -> None:
        self.elb, ec2, name = harness.client("elbv2"), harness.client("ec2"), unique("alb")
        network = permanent_service()["networkConfiguration"]["awsvpcConfiguration"]
        tasks, subnets = network["securityGroups"][0], network["subnets"]
        vpc = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
        group = ec2.create_security_group(GroupName=name, Description="balancer of a test", VpcId=vpc)["GroupId"]
        services.undo.append(lambda: ec2.delete_security_group(GroupId=group))
        from_runner = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[from_runner])
        from_group = [{"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "UserIdGroupPairs": [{"GroupId": group}]}]
        ec2.authorize_security_group_ingress(GroupId=tasks, IpPermissions=from_group)
        services.undo.append(lambda: ec2.revoke_security_group_ingress(GroupId=tasks, IpPermissions=from_group))
        balancer = self.elb.create_load_balancer(
            Name=name, Subnets=subnets, SecurityGroups=[group], Scheme="internal", Type="application"
        )["LoadBalancers"][0]
        arn, self.dns_name = balancer["LoadBalancerArn"], balancer["DNSName"]
        self.group: str = self.elb.create_target_group(
            Name=name,
            Protocol="HTTP",
            Port=5000,
            VpcId=vpc,
            TargetType="ip",
            HealthCheckPath="/healthz",
            HealthCheckIntervalSeconds=5,
            HealthCheckTimeoutSeconds=2,
        )["TargetGroups"][0]["TargetGroupArn"]
        self.elb.create_listener(
            LoadBalancerArn=arn,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": self.group}],
        )
        services.undo.append(lambda: self.elb.delete_target_group(TargetGroupArn=self.group))
        services.undo.append(lambda: self.elb.delete_load_balancer(LoadBalancerArn=arn))

    def register(self, *addresses: str) -> None:
        """Register addresses and return when all are healthy."""
        targets = [{"Id": address, "Port": 5000} for address in addresses]
        self.elb.register_targets(TargetGroupArn=self.group, Targets=targets)

        def healthy() -> bool:
            found = self.elb.describe_target_health(TargetGroupArn=self.group)["TargetHealthDescriptions"]
            return {item["TargetHealth"]["State"] for item in found} == {"healthy"}

        until(healthy, f"health of {addresses}")


def addresses(service: dict[str, Any]) -> list[str]:
    """Private addresses of a service's running tasks."""
    return [
        detail["value"]
        for task in Services.running(service["papyrus_service"])
        for detail in task["attachments"][0]["details"]
        if detail["name"] == "privateIPv4Address"
    ]


def binding_options(balancer: Balancer, service: str, **more: Any) -> dict[str, Any]:
    """Options of run_binding for a service behind the balancer."""
    return {
        "cluster": CLUSTER,
        "service": service,
        "container": "app",
        "port": 5000,
        "target_group_arn": balancer.group,
        "url": f"http://{balancer.dns_name}/healthz",
        "connect_to": [f"::127.0.0.1:{harness.facts()['port']}"],
        "identity_headers": {"task": "X-Papyrus-Task", "image": "X-Papyrus-Image"},
        **more,
    }
