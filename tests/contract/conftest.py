"""The same sandbox as in tests/sandbox, and in it one service behind a load balancer for all of these tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.sandbox import conftest
from tests.sandbox.ecs_stand import SLEEPER, Stand, server
from tests.sandbox.support import Network, Sandbox, until

sandbox = conftest.sandbox
network = conftest.network
CLUSTER = "contract"


@dataclass(frozen=True)
class Web:
    """A service of two tasks that are targets of a load balancer."""

    stand: Stand
    service: str
    definition: str
    balancer: str
    group: str


@pytest.fixture(scope="session")
def stand(sandbox: Sandbox, network: Network) -> Stand:
    """A cluster, and a way to the internet for its network."""
    ec2 = sandbox.client("ec2")
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=network.vpc)
    return Stand.make(sandbox, network, CLUSTER)


@pytest.fixture(scope="session")
def sleeper(stand: Stand) -> str:
    """A task definition whose tasks live until they are ended."""
    return stand.define("contract-sleeper", {"image": stand.image(SLEEPER, "sleeper")})


@pytest.fixture(scope="session")
def web(stand: Stand) -> Iterator[Web]:
    sandbox, network = stand.sandbox, stand.network
    ec2, elbv2 = sandbox.client("ec2"), sandbox.client("elbv2")
    open_to_all = {
        "IpProtocol": "tcp",
        "FromPort": 5000,
        "ToPort": 5000,
        "UserIdGroupPairs": [{"GroupId": network.group}],
    }
    ec2.authorize_security_group_ingress(GroupId=network.group, IpPermissions=[open_to_all])
    balancer = elbv2.create_load_balancer(Name="contract", Subnets=network.subnets, SecurityGroups=[network.group])
    arn = balancer["LoadBalancers"][0]["LoadBalancerArn"]
    group = elbv2.create_target_group(
        Name="contract",
        Protocol="HTTP",
        Port=5000,
        VpcId=network.vpc,
        TargetType="ip",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        HealthyThresholdCount=2,
    )["TargetGroups"][0]["TargetGroupArn"]
    elbv2.create_listener(
        LoadBalancerArn=arn,
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    definition = stand.define("contract-web", {"image": stand.image(server("web"), "web")})
    stand.create(
        "contract-web",
        definition,
        2,
        loadBalancers=[{"targetGroupArn": group, "containerName": "app", "containerPort": 5000}],
    )
    yield Web(stand, "contract-web", definition, arn, group)
    stand.ecs.delete_service(cluster=stand.cluster, service="contract-web", force=True)
    elbv2.delete_load_balancer(LoadBalancerArn=arn)
    until(lambda: not stand.tasks("contract-web"), "the service's tasks are gone")
    elbv2.delete_target_group(TargetGroupArn=group)
