"""ECS on ministack: AWS's answers where the emulator's differ; tasks and services have files of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.images import ImageStore
from sandbox.seams.ecs_services import Scheduler
from sandbox.seams.ecs_tasks import TaskLife
from sandbox.tasks import TaskBackend

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Handler = Callable[[dict[str, Any]], Any]
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
DEPLOYMENT_DEFAULTS = {"maximumPercent": 200, "minimumHealthyPercent": 100}
BREAKER_DEFAULT = {"enable": False, "rollback": False}


def install(runtime: Runtime) -> None:
    ecs = emulator.service("ecs")
    images = runtime.engine.images_from
    if not isinstance(images, ImageStore):
        raise RuntimeError("the ECR seam comes before ECS's")
    backend = TaskBackend(runtime, images, ecs)
    runtime.backends["ecs"] = backend
    life = TaskLife(runtime, ecs, backend)
    life.install()
    scheduler = Scheduler(runtime, ecs, life)
    scheduler.install()
    _mend_clusters(ecs)
    _mend_services(ecs)
    runtime.at_start.append(scheduler.start)
    runtime.at_stop.append(scheduler.stop)


def _mend_clusters(ecs: Any) -> None:
    delete_cluster, cluster_view = ecs._delete_cluster, ecs._cluster_view

    def delete(data: dict[str, Any]) -> Any:
        """A deleted cluster stays visible as INACTIVE; one in use is refused.

        https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html
        """
        name = ecs._resolve_cluster_name(data.get("cluster", "default"))
        cluster = ecs._clusters.get(name)
        if cluster is None or cluster["status"] != "ACTIVE":
            return emulator.json_error("ClusterNotFoundException", "Cluster not found.")
        services = [service for key, service in _items(ecs._services) if key.startswith(f"{name}/")]
        if any(service["status"] != "INACTIVE" for service in services):
            text = "The Cluster cannot be deleted while Services are active."
            return emulator.json_error("ClusterContainsServicesException", text)
        arn = cluster["clusterArn"]
        if any(t.get("clusterArn") == arn and t.get("lastStatus") != "STOPPED" for _, t in _items(ecs._tasks)):
            text = "The Cluster cannot be deleted while Tasks are active."
            return emulator.json_error("ClusterContainsTasksException", text)
        response = delete_cluster(data)
        ecs._clusters[name] = {**cluster, "status": "INACTIVE"}
        return response

    def view(cluster: dict[str, Any], include: set[str]) -> dict[str, Any]:
        # Terraform's provider reads settings without asking for them; AWS answers with them since Container Insights.
        shown: dict[str, Any] = cluster_view(cluster, include)
        shown["settings"] = cluster.get("settings") or []
        return shown

    ecs._delete_cluster = ecs._ACTION_MAP["DeleteCluster"] = delete
    ecs._cluster_view = view


def _mend_services(ecs: Any) -> None:
    create, update, describe = ecs._create_service, ecs._update_service, ecs._describe_services

    def create_service(data: dict[str, Any]) -> Any:
        if (objection := _cluster_objection(ecs, data)) is not None:
            return objection
        response = create({**data, "deploymentConfiguration": _deployment_configuration(data)})
        return _shown(ecs, response, "service")

    def update_service(data: dict[str, Any]) -> Any:
        if "deploymentConfiguration" in data:
            data = {**data, "deploymentConfiguration": _deployment_configuration(data)}
        return _shown(ecs, update(data), "service")

    def run_task(data: dict[str, Any]) -> Any:
        if (objection := _cluster_objection(ecs, data)) is not None:
            return objection
        # One by one, so that each has its own subnet.
        tasks: list[Any] = []
        for _ in range(int(data.get("count", 1))):
            response = ecs._run_task({**data, "count": 1})
            if response[0] >= 400:
                return response
            tasks += emulator.body_of(response)["tasks"]
        return emulator.core("responses").json_response({"tasks": tasks, "failures": []})

    ecs._ACTION_MAP["CreateService"] = ecs._create_service = create_service
    ecs._ACTION_MAP["UpdateService"] = ecs._update_service = update_service
    ecs._ACTION_MAP["DescribeServices"] = ecs._describe_services = lambda data: _shown(ecs, describe(data), "services")
    ecs._ACTION_MAP["RunTask"] = run_task


def _cluster_objection(ecs: Any, data: dict[str, Any]) -> Any:
    """The emulator makes clusters as they are named; AWS knows none that was not created."""
    name = ecs._resolve_cluster_name(data.get("cluster", "default"))
    cluster = ecs._clusters.get(name)
    if cluster is None or cluster["status"] != "ACTIVE":
        return emulator.json_error("ClusterNotFoundException", "Cluster not found.")
    return None


def _deployment_configuration(data: dict[str, Any]) -> dict[str, Any]:
    given = data.get("deploymentConfiguration") or {}
    merged = {**DEPLOYMENT_DEFAULTS, **{k: v for k, v in given.items() if v is not None}}
    merged["deploymentCircuitBreaker"] = given.get("deploymentCircuitBreaker") or dict(BREAKER_DEFAULT)
    return merged


def _shown(ecs: Any, response: Any, key: str) -> Any:
    """A service as AWS shows it: no empty role (Terraform's provider panics on one), its latest service deployment."""
    if response[0] >= 400:
        return response
    document = emulator.body_of(response)
    for service in document[key] if isinstance(document[key], list) else [document[key]]:
        if not service.get("roleArn"):
            service.pop("roleArn", None)
        stored = next((s for _, s in _items(ecs._services) if s["serviceArn"] == service["serviceArn"]), {})
        if records := stored.get("_service_deployments"):
            service["currentServiceDeployment"] = records[0]["serviceDeploymentArn"]
    return emulator.core("responses").json_response(document)


def _items(store: Any) -> list[tuple[str, dict[str, Any]]]:
    return list(store.items())
