"""What ECS refuses, in AWS's words as far as they are documented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.support import Network, Sandbox

CLUSTER = "rules-cluster"
FARGATE: dict[str, Any] = {
    "family": "rules",
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "cpu": "256",
    "memory": "512",
    "containerDefinitions": [{"name": "app", "image": "none", "portMappings": [{"containerPort": 5000}]}],
}


@pytest.fixture(scope="module")
def ecs(sandbox: Sandbox) -> Iterator[Any]:
    client = sandbox.client("ecs")
    client.create_cluster(clusterName=CLUSTER)
    client.register_task_definition(**FARGATE)
    yield client


def refused(call: Any, code: str, words: str, **parameters: Any) -> None:
    with pytest.raises(ClientError) as raised:
        call(**parameters)
    error = raised.value.response["Error"]
    assert error["Code"] == code
    assert words in error["Message"]


@pytest.mark.behaviour("ecs.at_most_100_tasks", "ecs.at_most_10_services")
def test_a_hundred_tasks_and_ten_services_are_described_at_once_and_no_more(ecs: Any) -> None:
    assert len(ecs.describe_tasks(cluster=CLUSTER, tasks=["0" * 32] * 100)["failures"]) == 100
    refused(ecs.describe_tasks, "InvalidParameterException", "100", cluster=CLUSTER, tasks=["0" * 32] * 101)
    refused(ecs.describe_tasks, "InvalidParameterException", "empty", cluster=CLUSTER, tasks=[])
    assert len(ecs.describe_services(cluster=CLUSTER, services=["no"] * 10)["failures"]) == 10
    refused(ecs.describe_services, "InvalidParameterException", "10", cluster=CLUSTER, services=["no"] * 11)


@pytest.mark.behaviour("ecs.at_most_10_at_once")
def test_ten_tasks_are_run_at_once_and_no_more(ecs: Any, network: Network) -> None:
    given = {"cluster": CLUSTER, "taskDefinition": "rules", "networkConfiguration": network.configuration}
    refused(ecs.run_task, "InvalidParameterException", "between 1 and 10", count=11, **given)


@pytest.mark.behaviour("ecs.awsvpc_needs_a_network", "ecs.subnet_and_group_exist")
def test_awsvpc_needs_a_network_that_exists(ecs: Any, network: Network) -> None:
    given = {"cluster": CLUSTER, "taskDefinition": "rules"}
    refused(ecs.run_task, "InvalidParameterException", "Network Configuration must be provided", **given)
    for subnets, groups, words in (
        (["subnet-0123456789abcdef0"], [], "does not exist (ErrorCode: InvalidSubnetID.NotFound)"),
        (network.subnets, ["sg-0123456789abcdef0"], "does not exist (ErrorCode: InvalidGroup.NotFound)"),
    ):
        configuration = {"awsvpcConfiguration": {"subnets": subnets, "securityGroups": groups}}
        refused(ecs.run_task, "InvalidParameterException", words, networkConfiguration=configuration, **given)


@pytest.mark.behaviour("ecs.subnet_and_group_exist")
def test_subnets_and_groups_are_of_one_vpc(sandbox: Sandbox, ecs: Any, network: Network) -> None:
    ec2 = sandbox.client("ec2")
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="elsewhere", Description="x", VpcId=other)["GroupId"]
    configuration = {"awsvpcConfiguration": {"subnets": network.subnets, "securityGroups": [group]}}
    refused(
        ecs.run_task,
        "InvalidParameterException",
        "same VPC",
        cluster=CLUSTER,
        taskDefinition="rules",
        networkConfiguration=configuration,
    )


@pytest.mark.behaviour("ecs.load_balancers_name_a_port_of_the_task")
@pytest.mark.parametrize(
    ("container", "port", "words"), [("web", 5000, "web does not exist"), ("app", 80, "container port 80")]
)
def test_a_services_balancer_names_a_port_of_its_task(
    ecs: Any, network: Network, container: str, port: int, words: str
) -> None:
    arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/x/0123456789abcdef"
    refused(
        ecs.create_service,
        "InvalidParameterException",
        words,
        cluster=CLUSTER,
        serviceName="balanced",
        taskDefinition="rules",
        desiredCount=0,
        networkConfiguration=network.configuration,
        loadBalancers=[{"targetGroupArn": arn, "containerName": container, "containerPort": port}],
    )


@pytest.mark.behaviour("ecs.fargate_has_its_sizes")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"memory": "4096"}, "No Fargate configuration exists"),
        ({"cpu": "300"}, "given values: 300 CPU, 512 memory. See the Amazon ECS documentation"),
        ({"memory": ""}, "'memory' be defined"),
        ({"networkMode": "bridge"}, "only supports network mode"),
    ],
)
def test_fargate_has_its_sizes(ecs: Any, change: dict[str, str], words: str) -> None:
    refused(ecs.register_task_definition, "ClientException", words, **{**FARGATE, **change})


@pytest.mark.behaviour("ecs.fargate_needs_an_execution_role")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image": "123456789012.dkr.ecr.us-west-2.amazonaws.com/app:1"}, "to support ECR images"),
        ({"logConfiguration": {"logDriver": "awslogs"}}, "to support log driver awslogs"),
        ({"secrets": [{"name": "X", "valueFrom": "/x"}]}, "specifying container secrets"),
    ],
)
def test_what_ecs_fetches_itself_needs_an_execution_role(ecs: Any, change: dict[str, Any], words: str) -> None:
    given = {**FARGATE, "containerDefinitions": [{"name": "app", "image": "none", **change}]}
    refused(ecs.register_task_definition, "ClientException", words, **given)


@pytest.mark.behaviour("ecs.cluster_not_found")
def test_nothing_runs_in_a_cluster_that_was_not_created(ecs: Any, network: Network) -> None:
    given = {"taskDefinition": "rules", "networkConfiguration": network.configuration}
    refused(ecs.run_task, "ClusterNotFoundException", "Cluster not found", cluster="nowhere", **given)
    refused(
        ecs.create_service, "ClusterNotFoundException", "", cluster="nowhere", serviceName="s", desiredCount=0, **given
    )
    assert not any(arn.endswith("/nowhere") for arn in ecs.list_clusters()["clusterArns"])
