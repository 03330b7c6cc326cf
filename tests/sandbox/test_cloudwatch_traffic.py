"""What load balancers tell CloudWatch."""

from __future__ import annotations

import asyncio
import http.client
import time
from typing import Any
from uuid import uuid4

import pytest

from sandbox.metrics.traffic import Meter, hosts_are_counted
from tests.sandbox.support import Network, Sandbox, until

BALANCER = "arn:aws:elasticloadbalancing:us-east-1:123456789012:loadbalancer/app/b/1f"
GROUP = "arn:aws:elasticloadbalancing:us-east-1:123456789012:targetgroup/g/2e"
ONE = {"LoadBalancer": "app/b/1f"}
BOTH = {**ONE, "TargetGroup": "targetgroup/g/2e"}


class Told:
    """Stands for sandbox.metrics.Metrics."""

    def __init__(self) -> None:
        self.values: list[tuple[str, dict[str, str], float]] = []

    def put(self, namespace: str, name: str, dimensions: dict[str, str], value: float, unit: str, **_: Any) -> None:
        assert namespace == "AWS/ApplicationELB"
        self.values.append((name, dimensions, value))


def answered(status: int, of_target: bool, chosen: bool = True) -> list[tuple[str, dict[str, str]]]:
    """What a response of this status is told as."""
    told, sent = Told(), []

    async def send(message: Any) -> None:
        sent.append(message)

    async def run() -> None:
        meter = Meter(told, {"LoadBalancerArn": BALANCER}, send)
        if chosen:
            meter.chosen(GROUP)
        if of_target:
            meter.answered()
        await meter({"type": "http.response.start", "status": status})
        await meter({"type": "http.response.body", "body": b""})

    asyncio.run(run())
    assert len(sent) == 2
    return [(name, dimensions) for name, dimensions, _ in told.values]


@pytest.mark.behaviour("elbv2.give")
def test_answers_are_told_by_class_and_by_whose_they_are() -> None:
    requests = [("RequestCount", ONE), ("RequestCount", BOTH)]
    times = [("TargetResponseTime", ONE), ("TargetResponseTime", BOTH)]
    target = [("HTTPCode_Target_5XX_Count", ONE), ("HTTPCode_Target_5XX_Count", BOTH)]
    assert answered(500, of_target=True) == requests + times + target
    own = [("HTTPCode_ELB_5XX_Count", ONE), ("HTTPCode_ELB_502_Count", ONE)]
    assert answered(502, of_target=False) == requests + own
    assert answered(404, of_target=False, chosen=False) == [("HTTPCode_ELB_4XX_Count", ONE)]
    assert answered(200, of_target=False, chosen=False) == []


@pytest.mark.behaviour("elbv2.hosts_are_counted")
def test_healthy_and_unhealthy_targets_are_counted() -> None:
    told = Told()
    hosts_are_counted(told, GROUP, [BALANCER], ["healthy", "unhealthy", "healthy", "initial"])
    assert told.values == [("HealthyHostCount", BOTH, 2), ("UnHealthyHostCount", BOTH, 1)]


def test_an_answer_of_the_load_balancer_itself_arrives_in_cloudwatch(sandbox: Sandbox, network: Network) -> None:
    elb, name = sandbox.client("elbv2"), f"m-{uuid4().hex[:8]}"
    balancer = elb.create_load_balancer(
        Name=name, Subnets=network.subnets, SecurityGroups=[network.group], Scheme="internal"
    )
    arn, dns = (balancer["LoadBalancers"][0][key] for key in ("LoadBalancerArn", "DNSName"))
    ec2 = sandbox.client("ec2")
    admitted = {"IpProtocol": "tcp", "FromPort": 8123, "ToPort": 8123, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
    ec2.authorize_security_group_ingress(GroupId=network.group, IpPermissions=[admitted])
    action = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}
    elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=8123, DefaultActions=[action])
    try:
        until(lambda: status_of(sandbox, dns) == 503, "it is active")
        found = sandbox.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/ApplicationELB",
            MetricName="HTTPCode_ELB_5XX_Count",
            Dimensions=[{"Name": "LoadBalancer", "Value": arn.partition(":loadbalancer/")[2]}],
            StartTime=time.time() - 120,
            EndTime=time.time() + 60,
            Period=3600,
            Statistics=["Sum"],
        )
        assert sum(point["Sum"] for point in found["Datapoints"]) == 1
    finally:
        elb.delete_load_balancer(LoadBalancerArn=arn)
        ec2.revoke_security_group_ingress(GroupId=network.group, IpPermissions=[admitted])


def status_of(sandbox: Sandbox, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.facts["port"], timeout=5)
    try:
        connection.request("GET", "/", headers={"Host": f"{host}:8123"})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()
