"""The service scheduler: steady state, replacement, rollout, circuit breaker, deletion."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.support import SERVER, Network, Sandbox, execution_role, until

CLUSTER = "services-cluster"


@pytest.fixture(scope="module")
def images(sandbox: Sandbox) -> Iterator[dict[str, str]]:
    sandbox.client("ecs").create_cluster(clusterName=CLUSTER)
    sandbox.client("ecr").create_repository(repositoryName="svc")
    yield {
        "one": push(sandbox, f"NAME = 'one'\n{SERVER}"),
        "two": push(sandbox, f"NAME = 'two'\n{SERVER}"),
        "dies": push(sandbox, "raise SystemExit(3)"),
    }


def push(sandbox: Sandbox, program: str) -> str:
    return sandbox.push("svc", "t", {"app/x.py": program}, ["python", "x.py"])


def define(sandbox: Sandbox, family: str, image: str) -> str:
    definition = sandbox.client("ecs").register_task_definition(
        family=family,
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        executionRoleArn=execution_role(sandbox),
        containerDefinitions=[{"name": "app", "image": image, "portMappings": [{"containerPort": 5000}]}],
    )
    return str(definition["taskDefinition"]["taskDefinitionArn"])


def create(sandbox: Sandbox, network: Network, name: str, image: str, count: int = 1, **more: Any) -> dict[str, Any]:
    created: dict[str, Any] = sandbox.client("ecs").create_service(
        cluster=CLUSTER,
        serviceName=name,
        taskDefinition=define(sandbox, name, image),
        desiredCount=count,
        launchType="FARGATE",
        networkConfiguration=network.configuration,
        **more,
    )["service"]
    return created


def service(sandbox: Sandbox, name: str) -> dict[str, Any]:
    found: dict[str, Any] = sandbox.client("ecs").describe_services(cluster=CLUSTER, services=[name])["services"][0]
    return found


def states(sandbox: Sandbox, name: str) -> list[tuple[str, str, int]]:
    return [(d["status"], d["rolloutState"], d["runningCount"]) for d in service(sandbox, name)["deployments"]]


def running(sandbox: Sandbox, name: str) -> list[str]:
    arns: list[str] = sandbox.client("ecs").list_tasks(cluster=CLUSTER, serviceName=name)["taskArns"]
    return arns


def latest(sandbox: Sandbox, name: str) -> dict[str, Any]:
    """The last service deployment, by way of the list."""
    ecs = sandbox.client("ecs")
    listed = ecs.list_service_deployments(cluster=CLUSTER, service=name)["serviceDeployments"]
    arn = listed[0]["serviceDeploymentArn"]
    assert service(sandbox, name)["currentServiceDeployment"] == arn
    found: dict[str, Any] = ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]
    assert found["status"] == listed[0]["status"]
    return found


def steady(sandbox: Sandbox, name: str, count: int = 1) -> None:
    until(lambda: states(sandbox, name) == [("PRIMARY", "COMPLETED", count)], f"{name} is steady")


def test_a_service_becomes_steady_and_shows_what_aws_shows(
    sandbox: Sandbox, network: Network, images: dict[str, str]
) -> None:
    created = create(sandbox, network, "plain", images["one"], deploymentConfiguration={"maximumPercent": 150})
    assert created["deployments"][0]["rolloutState"] == "IN_PROGRESS"
    assert "roleArn" not in created
    assert created["deploymentConfiguration"]["minimumHealthyPercent"] == 100
    assert created["deploymentConfiguration"]["maximumPercent"] == 150
    steady(sandbox, "plain")
    assert "has reached a steady state" in service(sandbox, "plain")["events"][0]["message"]
    sandbox.client("ecs").get_waiter("services_stable").wait(
        cluster=CLUSTER, services=["plain"], WaiterConfig={"Delay": 1, "MaxAttempts": 5}
    )


@pytest.mark.behaviour("ecs.ended_tasks_are_replaced")
def test_a_stopped_task_of_a_service_is_replaced(sandbox: Sandbox, network: Network, images: dict[str, str]) -> None:
    create(sandbox, network, "replaced", images["one"])
    first = until(lambda: running(sandbox, "replaced"), "a task")
    sandbox.client("ecs").stop_task(cluster=CLUSTER, task=first[0])
    until(lambda: running(sandbox, "replaced") not in ([], first), "another task")
    steady(sandbox, "replaced")


@pytest.mark.behaviour("ecs.still_listed")
def test_a_rollout_starts_the_new_before_it_stops_the_old(
    sandbox: Sandbox, network: Network, images: dict[str, str]
) -> None:
    create(sandbox, network, "rolled", images["one"], count=2)
    steady(sandbox, "rolled", 2)
    old = set(running(sandbox, "rolled"))
    first = latest(sandbox, "rolled")
    assert (first["status"], first["sourceServiceRevisions"]) == ("SUCCESSFUL", [])
    sandbox.client("ecs").update_service(
        cluster=CLUSTER, service="rolled", taskDefinition=define(sandbox, "rolled", images["two"])
    )
    seen = []

    def look() -> bool:
        seen.append(service(sandbox, "rolled")["runningCount"])
        return states(sandbox, "rolled") == [("PRIMARY", "COMPLETED", 2)]

    until(look, "the rollout")
    assert min(seen) >= 2, "minimumHealthyPercent 100"
    assert max(seen) <= 4, "maximumPercent 200"
    assert not old & set(running(sandbox, "rolled"))
    second = latest(sandbox, "rolled")
    assert second["status"] == "SUCCESSFUL"
    assert second["finishedAt"] >= second["startedAt"]
    assert [r["arn"] for r in second["sourceServiceRevisions"]] == [first["targetServiceRevision"]["arn"]]
    listed = sandbox.client("ecs").describe_tasks(cluster=CLUSTER, tasks=running(sandbox, "rolled"))["tasks"]
    assert {t["containers"][0]["imageDigest"] for t in listed} == {images["two"].partition("@")[2]}


@pytest.mark.behaviour("ecs.breaker_threshold", "ecs.last_good_deployment")
def test_the_breaker_rolls_a_dying_release_back(sandbox: Sandbox, network: Network, images: dict[str, str]) -> None:
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    create(sandbox, network, "broken", images["one"], deploymentConfiguration=breaker)
    steady(sandbox, "broken")
    good = service(sandbox, "broken")["taskDefinition"]
    old = running(sandbox, "broken")
    ecs = sandbox.client("ecs")
    ecs.update_service(cluster=CLUSTER, service="broken", taskDefinition=define(sandbox, "broken", images["dies"]))
    until(lambda: any("rolling back" in e["message"] for e in service(sandbox, "broken")["events"]), "a rollback")
    steady(sandbox, "broken")
    assert service(sandbox, "broken")["taskDefinition"] == good
    record = latest(sandbox, "broken")
    assert record["status"] == "ROLLBACK_SUCCESSFUL"
    assert record["deploymentCircuitBreaker"] == {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}
    revisions = ecs.describe_service_revisions(serviceRevisionArns=[record["rollback"]["serviceRevisionArn"]])
    assert revisions["serviceRevisions"][0]["taskDefinition"] == good
    assert running(sandbox, "broken") == old, "the old task was never touched"
    stopped = ecs.list_tasks(cluster=CLUSTER, serviceName="broken", desiredStatus="STOPPED")["taskArns"]
    tasks = ecs.describe_tasks(cluster=CLUSTER, tasks=stopped)["tasks"]
    assert [t["containers"][0]["exitCode"] for t in tasks] == [3, 3, 3]


@pytest.mark.behaviour("ecs.delay_after_failures", "ecs.impaired_event")
def test_starts_after_failures_are_spaced_out(sandbox: Sandbox, network: Network, images: dict[str, str]) -> None:
    create(sandbox, network, "backoff", images["dies"])
    until(lambda: service(sandbox, "backoff")["deployments"][0]["failedTasks"] >= 4, "four failures")
    ecs = sandbox.client("ecs")
    stopped = ecs.list_tasks(cluster=CLUSTER, serviceName="backoff", desiredStatus="STOPPED")["taskArns"]
    times = sorted(t["createdAt"] for t in ecs.describe_tasks(cluster=CLUSTER, tasks=stopped)["tasks"])
    assert (times[3] - times[2]).total_seconds() >= 1.5
    events = [event["message"] for event in service(sandbox, "backoff")["events"]]
    assert any("is unable to consistently start tasks successfully" in event for event in events)
    ecs.update_service(cluster=CLUSTER, service="backoff", desiredCount=0)
    until(lambda: not running(sandbox, "backoff"), "scaled to nothing")


@pytest.mark.behaviour("ecs.deleted_service_drains")
def test_a_deleted_service_drains_and_its_cluster_can_go_only_then(
    sandbox: Sandbox, network: Network, images: dict[str, str]
) -> None:
    ecs = sandbox.client("ecs")
    create(sandbox, network, "deleted", images["one"])
    steady(sandbox, "deleted")
    with pytest.raises(ecs.exceptions.ClusterContainsServicesException):
        ecs.delete_cluster(cluster=CLUSTER)
    with pytest.raises(ecs.exceptions.InvalidParameterException):
        ecs.delete_service(cluster=CLUSTER, service="deleted")
    assert ecs.delete_service(cluster=CLUSTER, service="deleted", force=True)["service"]["status"] == "DRAINING"
    until(lambda: service(sandbox, "deleted")["status"] == "INACTIVE", "inactive")
    assert running(sandbox, "deleted") == []


def test_a_deleted_cluster_is_inactive_and_shows_its_settings(sandbox: Sandbox) -> None:
    ecs = sandbox.client("ecs")
    ecs.create_cluster(clusterName="short", settings=[{"name": "containerInsights", "value": "enabled"}])
    described = ecs.describe_clusters(clusters=["short"])["clusters"][0]
    assert described["settings"] == [{"name": "containerInsights", "value": "enabled"}]
    ecs.delete_cluster(cluster="short")
    assert ecs.describe_clusters(clusters=["short"])["clusters"][0]["status"] == "INACTIVE"
    with pytest.raises(ecs.exceptions.ClusterNotFoundException):
        ecs.run_task(cluster="short", taskDefinition="any")


@pytest.mark.behaviour("ecs.new_deployment_stops_the_last")
def test_a_deployment_that_is_overtaken_is_stopped(sandbox: Sandbox, network: Network, images: dict[str, str]) -> None:
    create(sandbox, network, "overtaken", images["one"])
    overtaken = latest(sandbox, "overtaken")
    assert overtaken["status"] == "IN_PROGRESS"
    ecs = sandbox.client("ecs")
    ecs.update_service(cluster=CLUSTER, service="overtaken", forceNewDeployment=True)
    steady(sandbox, "overtaken")
    assert latest(sandbox, "overtaken")["status"] == "SUCCESSFUL"
    arns = [overtaken["serviceDeploymentArn"]]
    assert ecs.describe_service_deployments(serviceDeploymentArns=arns)["serviceDeployments"][0]["status"] == "STOPPED"
