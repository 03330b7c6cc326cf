"""ECS on ministack: clusters and services as AWS answers; tasks, rollouts and definitions have their own files."""

from __future__ import annotations

import copy
import hashlib
import json
import secrets
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.config import PROCESSES
from sandbox.container_tasks import ContainerBackend
from sandbox.data_channel.channel import DataChannels
from sandbox.images import ImageStore
from sandbox.metrics.utilisation import Utilisation
from sandbox.seams import ecs_pages
from sandbox.seams.ecs_definitions import Definitions
from sandbox.seams.ecs_events import Events, shown
from sandbox.seams.ecs_exec import Sessions
from sandbox.seams.ecs_services import Scheduler
from sandbox.seams.ecs_tasks import TaskLife
from sandbox.seams.refusal import answered_in_json
from sandbox.tasks import TaskBackend

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Data = dict[str, Any]
Service = dict[str, Any]
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
DEPLOYMENT_DEFAULTS = {"maximumPercent": 200, "minimumHealthyPercent": 100}
BREAKER_DEFAULT = {"enable": False, "rollback": False}
# What belongs to a service revision beside its task definition, and what UpdateService changes without one.
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
OF_A_REVISION = ("networkConfiguration", "loadBalancers", "platformVersion", "serviceRegistries")
AT_ONCE = ("propagateTags", "enableECSManagedTags", "availabilityZoneRebalancing")


def install(runtime: Runtime) -> None:
    ecs = emulator.service("ecs")
    images = runtime.engine.images_from
    if not isinstance(images, ImageStore):
        raise RuntimeError("the ECR seam comes before ECS's")
    # Ids of tasks and containers are 32 hexadecimal digits.
    ecs.new_uuid = lambda: secrets.token_hex(16)
    kind = TaskBackend if runtime.settings.engine == PROCESSES else ContainerBackend
    backend = kind(runtime, images, ecs)
    runtime.backends["ecs"] = backend
    events = Events()
    Definitions(ecs).install()
    life = TaskLife(runtime, ecs, backend, events)
    life.install()
    scheduler = Scheduler(runtime, ecs, life, events)
    scheduler.install()
    sessions = Sessions(runtime, ecs)
    sessions.install()
    runtime.websockets = DataChannels(runtime, sessions, backend)
    _mend_clusters(ecs)
    Services(ecs).install()
    ecs_pages.install(ecs)
    for name, handler in list(ecs._ACTION_MAP.items()):
        ecs._ACTION_MAP[name] = answered_in_json(handler)
    utilisation = Utilisation(runtime, ecs, backend)
    for part in (scheduler, utilisation):
        runtime.at_start.append(part.start)
        runtime.at_stop.append(part.close)


def _mend_clusters(ecs: Any) -> None:
    delete_cluster, cluster_view = ecs._delete_cluster, ecs._cluster_view

    def delete(data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html"""
        name = ecs._resolve_cluster_name(data.get("cluster", "default"))
        cluster = ecs._clusters.get(name)
        response = delete_cluster(data)
        if response[0] < 400:
            deleted_cluster_stays_inactive(ecs, name, cluster)
        return response

    def view(cluster: Data, include: set[str]) -> Data:
        # Terraform's provider reads settings without asking for them; AWS answers with them since Container Insights.
        found: Data = cluster_view(cluster, include)
        found["settings"] = cluster.get("settings") or []
        return found

    ecs._delete_cluster = ecs._ACTION_MAP["DeleteCluster"] = delete
    ecs._cluster_view = view


@behaviour("ecs")
def deleted_cluster_stays_inactive(ecs: Any, name: str, cluster: Data) -> None:
    """A deleted cluster stays visible as INACTIVE, and its name can be used again.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html
    """
    ecs._clusters[name] = {**cluster, "status": "INACTIVE"}


class Services:
    """CreateService, UpdateService, DeleteService, DescribeServices, RunTask, DescribeTasks."""

    def __init__(self, ecs: Any) -> None:
        self._ecs = ecs
        self._create, self._update = ecs._create_service, ecs._update_service
        self._delete, self._describe = ecs._delete_service, ecs._describe_services
        self._describe_tasks = ecs._describe_tasks

    def install(self) -> None:
        ecs = self._ecs
        ecs._ACTION_MAP["CreateService"] = ecs._create_service = self.create
        ecs._ACTION_MAP["UpdateService"] = ecs._update_service = self.update
        ecs._ACTION_MAP["DeleteService"] = ecs._delete_service = self.delete
        ecs._ACTION_MAP["DescribeServices"] = ecs._describe_services = self.describe
        ecs._ACTION_MAP["RunTask"] = self.run
        ecs._ACTION_MAP["DescribeTasks"] = ecs._describe_tasks = self.describe_tasks

    def create(self, data: Data) -> Any:
        request = fingerprint(data)
        if (existing := same_create_again(self._ecs, data, request)) is not None:
            return self._answer({"service": shown(existing)}, "service")
        response = self._create({**data, "deploymentConfiguration": _deployment_configuration(data)})
        if response[0] < 400:
            service = self._named(data.get("cluster"), data.get("serviceName", ""))
            service["_client_token"], service["_request"] = data.get("clientToken"), request
            _primary(service)["_configuration"] = _configuration(service)
        return self._shown(response, "service")

    def update(self, data: Data) -> Any:
        service = self._named(data.get("cluster"), data.get("service", ""))
        if "deploymentConfiguration" in data:
            data = {**data, "deploymentConfiguration": _deployment_configuration(data, service)}
        if changed_configuration_starts_a_deployment(service, data):
            data = {**data, "forceNewDeployment": True}
        service.update({name: data[name] for name in AT_ONCE if data.get(name) is not None} if service else {})
        response = self._update(data)
        if response[0] >= 400:
            return response
        # The emulator's word about connections that drain: ours is said when they do.
        service["events"] = [event for event in service["events"] if event.get("_ours")]
        _primary(service)["_configuration"] = _configuration(service)
        return self._answer({"service": shown(service)}, "service")

    def delete(self, data: Data) -> Any:
        service = self._named(data.get("cluster"), data.get("service", ""))
        if not service:
            return self._delete(data)
        deleted = deleted_service_drains(self._ecs, service)
        response = emulator.json_response({"service": shown(service)}) if deleted else None
        return self._shown(response or self._delete({**data, "force": True}), "service")

    def describe(self, data: Data) -> Any:
        response = self._describe(data)
        if response[0] >= 400:
            return response
        document = emulator.body_of(response)
        for service in document["services"]:
            tags_are_shown_when_asked(service, data.get("include") or [])
        return self._answer(document, "services")

    def describe_tasks(self, data: Data) -> Any:
        response = self._describe_tasks(data)
        if response[0] >= 400:
            return response
        document = emulator.body_of(response)
        for task in document["tasks"]:
            tags_are_shown_when_asked(task, data.get("include") or [])
        return emulator.json_response(document)

    def run(self, data: Data) -> Any:
        """One by one, so that each has its own subnet."""
        ecs, request = self._ecs, fingerprint(data)
        cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
        tasks = same_run_again(ecs, data.get("clientToken"), cluster, request)
        if isinstance(tasks, str):
            return emulator.json_error("ConflictException", tasks)
        if tasks is None:
            tasks = []
            tags = tags_of_a_single_task(ecs, data)
            for _ in range(int(data.get("count") or 1)):
                response = ecs._run_task(
                    {**data, "count": 1, "tags": tags, "_request": [data.get("clientToken"), request]}
                )
                if response[0] >= 400:
                    return response
                tasks += emulator.body_of(response)["tasks"]
        return emulator.json_response({"tasks": [shown(task) for task in tasks], "failures": []})

    def _named(self, cluster: str | None, reference: str) -> Service:
        name = self._ecs._resolve_service_ref(reference or "")
        key = f"{self._ecs._resolve_cluster_name(cluster or 'default')}/{name[0] if name else ''}"
        found: Service = self._ecs._services.get(key) or {}
        return found

    def _shown(self, response: Any, key: str) -> Any:
        return response if response[0] >= 400 else self._answer(emulator.body_of(response), key)

    def _answer(self, document: Data, key: str) -> Any:
        """A service as AWS shows it: no empty role (Terraform's provider panics on one), its service deployment."""
        for service in document[key] if isinstance(document[key], list) else [document[key]]:
            if not service.get("roleArn"):
                service.pop("roleArn", None)
            stored: Service = next(
                (s for s in list(self._ecs._services.values()) if s["serviceArn"] == service["serviceArn"]), {}
            )
            if records := stored.get("_service_deployments"):
                service["currentServiceDeployment"] = records[0]["serviceDeploymentArn"]
        return emulator.json_response(document)


@behaviour("ecs")
def same_create_again(ecs: Any, data: Data, request: str) -> Service | None:
    """CreateService with the clientToken and the parameters of a service that is there gives that service.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html (clientToken)
    """
    token = data.get("clientToken")
    for service in list(ecs._services.values()):
        same = service.get("_client_token") == token and service.get("_request") == request
        if token and same and service["status"] == "ACTIVE":
            return dict(service)
    return None


@behaviour("ecs", code="ConflictException")
def same_run_again(ecs: Any, token: str | None, cluster: str, request: str) -> list[Data] | str | None:
    """RunTask with a clientToken again gives the tasks that it started; with other parameters it is refused.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html
    """
    known = [
        task
        for arn, task in list(ecs._tasks.items())
        if token and f":task/{cluster}/" in arn and (task.get("_request") or [None])[0] == token
    ]
    if any(task["_request"][1] != request for task in known):
        return "The provided clientToken is already in use with a different RunTask request."
    return known or None


@behaviour("ecs", otherwise=lambda *_: False)
def changed_configuration_starts_a_deployment(service: Service, data: Data) -> bool:
    """UpdateService with another network, platform version or load balancers starts a new deployment.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html
    """
    return any(data.get(name) is not None and data[name] != service.get(name) for name in OF_A_REVISION) and bool(
        service
    )


@behaviour("ecs", otherwise=lambda *_: False)
def deleted_service_drains(ecs: Any, service: Service) -> bool:
    """A deleted service is DRAINING while its tasks stop, INACTIVE afterwards, and can still be described.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html
    """
    cluster = service["clusterArn"].rpartition("/")[2]
    service["status"], service["desiredCount"] = "DRAINING", 0
    ecs._reconcile_service_tasks(cluster, f"{cluster}/{service['serviceName']}")
    ecs._recount_cluster(cluster)
    return True


@behaviour("ecs")
def tags_are_shown_when_asked(record: Data, include: list[str]) -> None:
    """DescribeServices and DescribeTasks show tags only with include TAGS.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html (include)
    """
    if "TAGS" not in include:
        record.pop("tags", None)


@behaviour("ecs", otherwise=lambda _, data: data.get("tags") or [])
def tags_of_a_single_task(ecs: Any, data: Data) -> list[dict[str, str]]:
    """RunTask with propagateTags TASK_DEFINITION copies the definition's tags to the task, below its own.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (propagateTags)
    """
    tags: dict[str, str] = {}
    if data.get("propagateTags") == "TASK_DEFINITION":
        definition = ecs._task_defs.get(ecs._resolve_td_key(data.get("taskDefinition", ""))) or {}
        tags = {tag["key"]: tag["value"] for tag in ecs._tags.get(definition.get("taskDefinitionArn", ""), [])}
    tags |= {tag["key"]: tag.get("value", "") for tag in data.get("tags") or []}
    if data.get("enableECSManagedTags"):
        tags["aws:ecs:clusterName"] = ecs._resolve_cluster_name(data.get("cluster", "default"))
    return [{"key": key, "value": value} for key, value in tags.items()]


def fingerprint(data: Data) -> str:
    """Of a request's parameters without its token: whether two are the same."""
    text = json.dumps({name: value for name, value in data.items() if name != "clientToken"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _primary(service: Service) -> Data:
    return next((d for d in service.get("deployments") or [] if d["status"] == "PRIMARY"), {})


def _configuration(service: Service) -> Data:
    return {name: copy.deepcopy(service[name]) for name in OF_A_REVISION if name in service}


def _deployment_configuration(data: Data, service: Service | None = None) -> Data:
    given = {k: v for k, v in (data.get("deploymentConfiguration") or {}).items() if v is not None}
    before = (service or {}).get("deploymentConfiguration") or {}
    merged = {**DEPLOYMENT_DEFAULTS, **before, **given}
    merged["deploymentCircuitBreaker"] = merged.get("deploymentCircuitBreaker") or dict(BREAKER_DEFAULT)
    return merged
