#!/usr/bin/env python3
"""A service of many tasks in the local AWS: how long up and down take, and what memory they need.

usage: .venv/bin/python bench/service_of_50.py [--tasks 50]

Every task is a process with an HTTP server on its own address, behind a load balancer that checks each.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
from bench.front_door import resident
from tests.sandbox.support import (
    SERVER,
    Sandbox,
    children_of_state,
    execution_role,
    make_network,
    open_folder,
    until,
)

PATIENCE = 300.0


def balanced(sandbox: Sandbox, vpc: str, subnets: list[str], group: str) -> str:
    """The ARN of a target group behind a listener."""
    elb = sandbox.client("elbv2")
    balancer = elb.create_load_balancer(Name="bench", Scheme="internal", Subnets=subnets, SecurityGroups=[group])
    target_group = elb.create_target_group(
        Name="bench",
        Protocol="HTTP",
        Port=5000,
        VpcId=vpc,
        TargetType="ip",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.modify_target_group_attributes(
        TargetGroupArn=target_group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "5"}]
    )
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": target_group}],
    )
    return str(target_group)


def measure(sandbox: Sandbox, tasks: int) -> None:
    ecs, ec2, elb = sandbox.client("ecs"), sandbox.client("ec2"), sandbox.client("elbv2")
    network = make_network(sandbox)
    ec2.authorize_security_group_ingress(
        GroupId=network.group,
        IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "UserIdGroupPairs": [{"GroupId": network.group}]}
        ],
    )
    target_group = balanced(sandbox, network.vpc, network.subnets, network.group)
    sandbox.client("ecr").create_repository(repositoryName="bench")
    image = sandbox.push("bench", "1", {"app/main.py": SERVER.replace("NAME", "'bench'")}, ["python", "main.py"])
    ecs.create_cluster(clusterName="bench")
    definition = ecs.register_task_definition(
        family="bench",
        requiresCompatibilities=["FARGATE"],
        networkMode="awsvpc",
        cpu="256",
        memory="512",
        executionRoleArn=execution_role(sandbox),
        containerDefinitions=[{"name": "web", "image": image, "portMappings": [{"containerPort": 5000}]}],
    )["taskDefinition"]["taskDefinitionArn"]
    pid = int(sandbox.facts["pid"])
    idle = resident(pid)

    def service() -> dict[str, Any]:
        found: dict[str, Any] = ecs.describe_services(cluster="bench", services=["bench"])["services"][0]
        return found

    def healthy() -> bool:
        found = elb.describe_target_health(TargetGroupArn=target_group)["TargetHealthDescriptions"]
        return sum(target["TargetHealth"]["State"] == "healthy" for target in found) == tasks

    start = time.monotonic()
    ecs.create_service(
        cluster="bench",
        serviceName="bench",
        taskDefinition=definition,
        desiredCount=tasks,
        launchType="FARGATE",
        networkConfiguration=network.configuration,
        loadBalancers=[{"targetGroupArn": target_group, "containerName": "web", "containerPort": 5000}],
    )
    until(lambda: service()["runningCount"] == tasks, "running", PATIENCE)
    running = time.monotonic() - start
    until(healthy, "healthy", PATIENCE)
    print(f"{tasks} tasks: running after {running:.1f} s, all targets healthy after {time.monotonic() - start:.1f} s")
    until(lambda: service()["deployments"][0]["rolloutState"] == "COMPLETED", "completed", PATIENCE)
    print(f"deployment COMPLETED after {time.monotonic() - start:.1f} s")
    children = [child for child in children_of_state(sandbox.root) if child != pid]
    print(
        f"local AWS: {idle:.0f} MB before, {resident(pid):.0f} MB now; {len(children)} processes of it with "
        f"{sum(resident(child) for child in children):.0f} MB (shared pages counted in each)"
    )
    start = time.monotonic()
    ecs.update_service(cluster="bench", service="bench", desiredCount=0)
    until(lambda: service()["runningCount"] == 0, "down", PATIENCE)
    until(lambda: [c for c in children_of_state(sandbox.root) if c != pid] == [], "processes gone", PATIENCE)
    print(f"down, and every process gone, after {time.monotonic() - start:.1f} s; local AWS {resident(pid):.0f} MB")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=50)
    tasks = parser.parse_args().tasks
    with open_folder() as root:
        sandbox = Sandbox(root).up()
        try:
            measure(sandbox, tasks)
        finally:
            sandbox.down()
    return 0


if __name__ == "__main__":
    sys.exit(main())
