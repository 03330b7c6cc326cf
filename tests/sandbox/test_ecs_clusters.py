"""ECS's clusters, service names, idempotency, task definitions and lists, as its records decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.ecs_stand import SLEEPER, Stand
from tests.sandbox.support import Network, Sandbox, refused, until


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Iterator[Stand]:
    made = Stand.make(sandbox, network, "clusters")
    made.define("idle", {"image": made.image(SLEEPER)})
    yield made


def idle(stand: Stand, name: str, **more: Any) -> dict[str, Any]:
    return stand.create(name, "idle", 0, **more)


# Clusters


@pytest.mark.behaviour("ecs.cluster_not_found")
def test_nothing_is_asked_of_a_cluster_that_was_not_created(stand: Stand) -> None:
    ecs = stand.ecs
    for call, given in (
        (ecs.run_task, {"taskDefinition": "idle", "networkConfiguration": stand.network.configuration}),
        (ecs.list_tasks, {}),
        (ecs.list_services, {}),
        (ecs.describe_tasks, {"tasks": ["0" * 32]}),
        (ecs.stop_task, {"task": "0" * 32}),
    ):
        with refused("ClusterNotFoundException", "Cluster not found.", 400):
            call(cluster="no-such-cluster", **given)
    assert not any(arn.endswith("/no-such-cluster") for arn in ecs.list_clusters()["clusterArns"])


@pytest.mark.behaviour("ecs.cluster_is_inactive", "ecs.deleted_cluster_stays_inactive", "ecs.cluster_is_deleted_once")
@pytest.mark.behaviour("ecs.tagged_cluster_is_active")
def test_a_deleted_cluster_is_inactive_and_starts_nothing(stand: Stand) -> None:
    ecs = stand.ecs
    arn = ecs.create_cluster(clusterName="gone", tags=[{"key": "a", "value": "b"}])["cluster"]["clusterArn"]
    assert ecs.delete_cluster(cluster="gone")["cluster"]["status"] == "INACTIVE"
    assert [c["status"] for c in ecs.describe_clusters(clusters=["gone"])["clusters"]] == ["INACTIVE"]
    given = {"taskDefinition": "idle", "networkConfiguration": stand.network.configuration}
    with refused("ClusterNotFoundException", "The referenced cluster was inactive."):
        ecs.create_service(cluster="gone", serviceName="s", desiredCount=0, **given)
    with refused("ClusterNotFoundException", "Cluster not found."):
        ecs.delete_cluster(cluster="gone")
    with refused("InvalidParameterException", "The specified cluster is inactive."):
        ecs.list_tags_for_resource(resourceArn=arn)
    assert ecs.create_cluster(clusterName="gone")["cluster"]["status"] == "ACTIVE"
    ecs.delete_cluster(cluster="gone")


@pytest.mark.behaviour("ecs.cluster_contains_services", "ecs.deleted_service_drains")
def test_a_cluster_with_services_is_kept_until_they_are_inactive(stand: Stand) -> None:
    ecs = stand.ecs
    ecs.create_cluster(clusterName="kept")
    given = {"taskDefinition": "idle", "networkConfiguration": stand.network.configuration, "launchType": "FARGATE"}
    ecs.create_service(cluster="kept", serviceName="s", desiredCount=1, **given)
    until(lambda: ecs.describe_services(cluster="kept", services=["s"])["services"][0]["runningCount"] == 1, "a task")
    with refused("ClusterContainsServicesException", "cannot be deleted while Services are active"):
        ecs.delete_cluster(cluster="kept")
    assert ecs.delete_service(cluster="kept", service="s", force=True)["service"]["status"] == "DRAINING"
    assert ecs.list_services(cluster="kept")["serviceArns"] == []
    ecs.get_waiter("services_inactive").wait(
        cluster="kept", services=["s"], WaiterConfig={"Delay": 1, "MaxAttempts": 10}
    )
    ecs.delete_cluster(cluster="kept")


@pytest.mark.behaviour("ecs.cluster_contains_tasks")
def test_a_cluster_with_tasks_is_kept_until_they_have_stopped(stand: Stand) -> None:
    ecs = stand.ecs
    ecs.create_cluster(clusterName="tasks-kept")
    given = {"cluster": "tasks-kept", "networkConfiguration": stand.network.configuration, "launchType": "FARGATE"}
    arn = ecs.run_task(taskDefinition="idle", **given)["tasks"][0]["taskArn"]
    waiting = {"cluster": "tasks-kept", "tasks": [arn], "WaiterConfig": {"Delay": 1, "MaxAttempts": 15}}
    ecs.get_waiter("tasks_running").wait(**waiting)
    with refused("ClusterContainsTasksException", "cannot be deleted while Tasks are active"):
        ecs.delete_cluster(cluster="tasks-kept")
    ecs.stop_task(cluster="tasks-kept", task=arn)
    ecs.get_waiter("tasks_stopped").wait(**waiting)
    ecs.delete_cluster(cluster="tasks-kept")


# Services' names


@pytest.mark.behaviour("ecs.service_exists", "ecs.same_create_again")
def test_a_name_is_used_once_but_the_same_request_may_come_again(stand: Stand) -> None:
    first = idle(stand, "once", clientToken="token-once")
    assert idle(stand, "once", clientToken="token-once")["serviceArn"] == first["serviceArn"]
    with refused("InvalidParameterException", "Creation of service was not idempotent."):
        idle(stand, "once")


@pytest.mark.behaviour("ecs.service_is_draining", "ecs.service_not_active")
def test_a_name_of_a_draining_service_is_free_only_when_it_is_inactive(stand: Stand) -> None:
    program = (
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)"
    )
    definition = stand.define("stubborn", {"image": stand.image(program), "stopTimeout": 2})
    stand.create("draining", definition, 1)
    until(lambda: stand.service("draining")["runningCount"] == 1, "a task that runs")
    stand.ecs.delete_service(cluster=stand.cluster, service="draining", force=True)
    with refused("InvalidParameterException", "still Draining"):
        idle(stand, "draining")
    with refused("ServiceNotActiveException", "Service was not ACTIVE."):
        stand.ecs.update_service(cluster=stand.cluster, service="draining", desiredCount=1)
    until(lambda: stand.service("draining")["status"] == "INACTIVE", "inactive")
    assert idle(stand, "draining")["status"] == "ACTIVE"


@pytest.mark.behaviour("ecs.deployments_go_with_their_service")
def test_the_deployments_of_a_deleted_service_are_gone(stand: Stand) -> None:
    idle(stand, "history")
    until(lambda: stand.service("history").get("currentServiceDeployment"), "a service deployment")
    arn = stand.service("history")["currentServiceDeployment"]
    assert stand.ecs.describe_service_deployments(serviceDeploymentArns=[arn])["failures"] == []
    stand.ecs.delete_service(cluster=stand.cluster, service="history")
    until(lambda: stand.service("history")["status"] == "INACTIVE", "inactive")
    answer = stand.ecs.describe_service_deployments(serviceDeploymentArns=[arn])
    assert answer["failures"] == [{"arn": arn, "reason": "MISSING"}]
    assert "currentServiceDeployment" not in stand.service("history")


@pytest.mark.behaviour("ecs.scaled_service_needs_force")
def test_a_service_with_a_desired_count_is_deleted_only_by_force(stand: Stand) -> None:
    stand.create("scaled", "idle", 1)
    with refused("InvalidParameterException", "cannot be stopped while it is scaled above 0"):
        stand.ecs.delete_service(cluster=stand.cluster, service="scaled")
    stand.ecs.delete_service(cluster=stand.cluster, service="scaled", force=True)


def test_what_is_not_there_is_a_failure_in_a_list_and_an_error_alone(stand: Stand) -> None:
    described = stand.ecs.describe_services(cluster=stand.cluster, services=["no-such-service"])
    assert [(f["reason"], f["arn"].rpartition("/")[2]) for f in described["failures"]] == [
        ("MISSING", "no-such-service")
    ]
    for call in (stand.ecs.update_service, stand.ecs.delete_service):
        with refused("ServiceNotFoundException", "Service not found."):
            call(cluster=stand.cluster, service="no-such-service")


@pytest.mark.behaviour("ecs.tags_are_shown_when_asked")
def test_a_services_tags_are_shown_when_they_are_asked_for(stand: Stand) -> None:
    idle(stand, "tagged", tags=[{"key": "run", "value": "1"}])
    assert "tags" not in stand.service("tagged")
    asked = stand.ecs.describe_services(cluster=stand.cluster, services=["tagged"], include=["TAGS"])
    assert asked["services"][0]["tags"] == [{"key": "run", "value": "1"}]


@pytest.mark.behaviour("ecs.changed_configuration_starts_a_deployment")
def test_another_network_is_another_deployment_and_another_count_is_not(stand: Stand) -> None:
    first = idle(stand, "moved")["deployments"][0]["id"]
    update = {"cluster": stand.cluster, "service": "moved"}
    counted = stand.ecs.update_service(**update, desiredCount=0, healthCheckGracePeriodSeconds=5)["service"]
    assert counted["deployments"][0]["id"] == first
    same = stand.ecs.update_service(**update, networkConfiguration=stand.network.configuration)["service"]
    assert same["deployments"][0]["id"] == first
    other = {"awsvpcConfiguration": {"subnets": stand.network.subnets[:1], "securityGroups": [stand.network.group]}}
    changed = stand.ecs.update_service(**update, networkConfiguration=other)["service"]
    assert changed["deployments"][0]["id"] != first
    assert changed["networkConfiguration"]["awsvpcConfiguration"]["subnets"] == stand.network.subnets[:1]


# Task definitions


@pytest.mark.behaviour("ecs.task_definition_not_found")
def test_nothing_runs_from_a_definition_that_was_not_registered(stand: Stand) -> None:
    with refused("ClientException", "TaskDefinition not found."):
        stand.create("undefined", "no-such-family", 0)
    idle(stand, "defined")
    with refused("ClientException", "TaskDefinition not found."):
        stand.ecs.update_service(cluster=stand.cluster, service="defined", taskDefinition="idle:99")


@pytest.mark.behaviour("ecs.task_definition_is_inactive", "ecs.latest_active_revision")
def test_a_deregistered_revision_starts_nothing_and_its_family_means_the_one_before(stand: Stand) -> None:
    first, second = (stand.define("revised", {"image": "x"}) for _ in range(2))
    stand.ecs.deregister_task_definition(taskDefinition=second)
    with refused("ClientException", "TaskDefinition is inactive"):
        stand.create("revised", second, 0)
    with refused("InvalidParameterException", "TaskDefinition is inactive"):
        stand.run(second)
    described = stand.ecs.describe_task_definition(taskDefinition="revised")["taskDefinition"]
    assert described["taskDefinitionArn"] == first
    assert stand.ecs.describe_task_definition(taskDefinition=second)["taskDefinition"]["status"] == "INACTIVE"
    assert stand.define("revised", {"image": "x"}).endswith("revised:3")


@pytest.mark.behaviour("ecs.still_active", "ecs.deleted_revision_goes")
def test_a_revision_is_deleted_after_its_registration_and_after_its_services(stand: Stand) -> None:
    ecs, arn = stand.ecs, stand.define("deleted", {"image": "x"})
    answer = ecs.delete_task_definitions(taskDefinitions=[arn])
    assert (answer["taskDefinitions"], answer["failures"][0]["arn"]) == ([], arn)
    assert "still in ACTIVE status" in answer["failures"][0]["reason"]
    stand.create("holds-it", arn, 0)
    ecs.deregister_task_definition(taskDefinition=arn)
    assert ecs.delete_task_definitions(taskDefinitions=[arn])["taskDefinitions"][0]["status"] == "DELETE_IN_PROGRESS"

    def status() -> str:
        try:
            return str(ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]["status"])
        except ecs.exceptions.ClientException:
            return "gone"

    ecs.delete_service(cluster=stand.cluster, service="holds-it")
    until(lambda: status() == "gone", "the revision goes with its service", 8)


# Lists


@pytest.mark.behaviour("ecs.of_the_family")
def test_a_family_is_listed_by_its_whole_name(stand: Stand) -> None:
    for family in ("listed", "listed-too"):
        stand.define(family, {"image": "x"})
    arns = stand.ecs.list_task_definitions(familyPrefix="listed")["taskDefinitionArns"]
    assert [arn.rpartition("/")[2] for arn in arns] == ["listed:1"]


@pytest.mark.behaviour("ecs.listed_in_pages", "ecs.offset_of")
def test_lists_come_in_pages(stand: Stand) -> None:
    ecs = stand.ecs
    ecs.create_cluster(clusterName="many")
    given = {"taskDefinition": "idle", "networkConfiguration": stand.network.configuration, "launchType": "FARGATE"}
    for number in range(11):
        ecs.create_service(cluster="many", serviceName=f"s{number}", desiredCount=0, **given)
    first = ecs.list_services(cluster="many")
    assert len(first["serviceArns"]) == 10
    second = ecs.list_services(cluster="many", nextToken=first["nextToken"])
    assert len(second["serviceArns"]) == 1
    assert "nextToken" not in second
    pages = ecs.get_paginator("list_services").paginate(cluster="many", PaginationConfig={"PageSize": 4})
    assert [len(page["serviceArns"]) for page in pages] == [4, 4, 3]
    with refused("InvalidParameterException", "Invalid token."):
        ecs.list_services(cluster="many", nextToken="made-up")
    with refused("InvalidParameterException", "Invalid token."):
        ecs.list_tasks(cluster="many", nextToken=first["nextToken"])
