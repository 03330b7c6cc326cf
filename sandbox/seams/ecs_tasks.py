"""How an ECS task starts, lives and stops here, by the states, codes and reasons that AWS documents."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.container_health import HealthCheck, HealthRunner
from sandbox.containers import Container, NotFound
from sandbox.seams import ecs_secrets

if TYPE_CHECKING:
    from sandbox.runtime import Runtime
    from sandbox.tasks import TaskBackend

log = logging.getLogger("sandbox.ecs")
Task = dict[str, Any]
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html (stopTimeout)
DEFAULT_STOP_SECONDS = 30
# The Exec agent comes up after its container.
AGENT_SECONDS = 1.0
# Stopped tasks can be described for about an hour.
KEPT_STOPPED_SECONDS = 3600


class TaskLife:
    """Replaces the emulator's handling of tasks. `failed` is called with each task of a service that ended badly."""

    def __init__(self, runtime: Runtime, ecs: Any, backend: TaskBackend) -> None:
        self._runtime = runtime
        self._ecs = ecs
        self._backend = backend
        self._launch = threading.Lock()
        self._turn = itertools.count()
        self._health = HealthRunner(runtime.processes)

    def install(self) -> None:
        ecs = self._ecs
        self._run_task = ecs._run_task
        self._start_worker = ecs._start_task_worker
        self._build_run_kwargs = ecs._build_run_kwargs
        self._attach_container = ecs._attach_started_container
        self._register_metadata = ecs._register_metadata
        self._mark_running = ecs._mark_task_running
        ecs._sanitize = shown
        ecs._run_task = self.run_task
        ecs._start_task_worker = self._start_after_launch
        ecs._build_run_kwargs = self._run_kwargs
        ecs._run_docker_container = self._pull_and_run
        ecs._attach_started_container = self._attach
        ecs._register_metadata = self._metadata
        ecs._mark_task_running = self._running
        ecs._mark_task_stopped = self._stopped
        ecs._cleanup_task_resources = self._cleanup
        # One thread looks at all tasks instead of one for each.
        ecs._maybe_mark_stopped = ecs._watch_task_lifecycle = nothing
        ecs._resolve_container_secrets = lambda definition: ecs_secrets.resolve(ecs, definition)
        ecs._ACTION_MAP["StopTask"] = ecs._stop_task = self.stop_task
        self._runtime.at_start.append(self._end_restored)

    # Start

    def run_task(self, data: dict[str, Any]) -> Any:
        """Put the tasks into the subnets of their configuration in turn, and keep their security groups."""
        network = (data.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
        subnets = network.get("subnets") or []
        if subnets:
            chosen = subnets[next(self._turn) % len(subnets)]
            network = {**network, "subnets": [chosen]}
            data = {**data, "networkConfiguration": {"awsvpcConfiguration": network}}
        with self._launch:
            response = self._run_task(data)
            if response[0] < 400:
                for started in emulator.body_of(response)["tasks"]:
                    task = self._ecs._tasks[started["taskArn"]]
                    task["_security_groups"] = list(network.get("securityGroups") or [])
                    place = emulator.service("ec2")._subnets.get(task.get("_subnet") or "") or {}
                    task["availabilityZone"] = place.get("AvailabilityZone", task["availabilityZone"])
                    self._announce(task)
        return response

    def _start_after_launch(self, task: Task, definition: Any, overrides: Any, client: Any) -> None:
        with self._launch:
            if task.get("enableExecuteCommand"):
                for container in task["containers"]:
                    container["managedAgents"] = [{"name": "ExecuteCommandAgent", "lastStatus": "PENDING"}]
        self._start_worker(task, definition, overrides, client)

    def _run_kwargs(self, definition: dict[str, Any], *rest: Any, **named: Any) -> dict[str, Any]:
        options: dict[str, Any] = self._build_run_kwargs(definition, *rest, **named)
        options["entrypoint"] = definition.get("entryPoint")
        options["working_dir"] = definition.get("workingDirectory")
        options["stop_seconds"] = definition.get("stopTimeout") or DEFAULT_STOP_SECONDS
        options["health_check"] = definition.get("healthCheck")
        # Processes have no platform to be emulated; an image of another one is refused when it is unpacked.
        options.pop("platform", None)
        return options

    def _pull_and_run(self, client: Any, definition: Any, options: Any, **_: Any) -> Any:
        """Fargate pulls at every start and has no cache to fall back on."""
        image = definition["image"]
        if self._runtime.engine.resolve(image) is None or ".dkr.ecr." not in image:
            raise self._ecs._ImagePullError(
                f"pull image manifest has been retried 1 time(s): failed to resolve ref {image}: {image}: not found"
            )
        return client.containers.run(image, **options)

    def _attach(self, task: Task, container: Container, index: int, token: str, network: Any) -> bool:
        attached: bool = self._attach_container(task, container, index, token, network)
        if attached:
            plan = self._backend.plan(container)
            entry = task["containers"][index]
            entry["imageDigest"] = plan.image.digest
            metadata = emulator.service("ecs_metadata")._TOKEN_TO_CONTAINER.get(token)
            if metadata is not None:
                metadata["ImageID"] = plan.image.digest
                metadata["StartedAt"] = emulator.now()
                networks = {"NetworkMode": "awsvpc", "IPv4Addresses": [container.ip]}
                metadata["Networks"] = [networks]
            check = HealthCheck.parse(container.options.get("health_check"))
            if check is not None:
                self._health.watch(container, plan, check, lambda status: self._healthy(task, index, status))
        return attached

    def _metadata(self, task_arn: str, cluster_arn: str, definition: Any, container: Any, *rest: Any) -> str:
        """Task metadata endpoint version 4, with what the emulator leaves out.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate-response.html
        """
        token: str = self._register_metadata(task_arn, cluster_arn, definition, container, *rest)
        metadata = emulator.service("ecs_metadata")
        task = self._ecs._tasks.get(task_arn) or {}
        entry: dict[str, Any] = next((c for c in task.get("containers", []) if c["name"] == container["name"]), {})
        payload = metadata._TOKEN_TO_CONTAINER[token]
        payload["DockerName"] = f"{definition.get('family')}-{definition.get('revision')}-{container['name']}"
        payload["ImageID"] = container["image"].partition("@")[2]
        payload["ContainerARN"] = entry.get("containerArn", "")
        payload["CreatedAt"] = emulator.now()
        payload["Limits"] = {"CPU": container.get("cpu", 0)}
        if options := (container.get("logConfiguration") or {}).get("options"):
            prefix = options.get("awslogs-stream-prefix", "")
            task_id = task_arn.rpartition("/")[2]
            payload["LogDriver"] = "awslogs"
            payload["LogOptions"] = {
                "awslogs-group": options.get("awslogs-group", ""),
                "awslogs-region": options.get("awslogs-region", self._runtime.settings.region),
                "awslogs-stream": f"{prefix}/{container['name']}/{task_id}",
            }
        whole = metadata._TASKS[task_arn]
        whole["AvailabilityZone"] = task.get("availabilityZone", whole.get("AvailabilityZone"))
        if task.get("group", "").startswith("service:"):
            whole["ServiceName"] = task["group"].partition(":")[2]
        return token

    # While it runs

    def _running(self, arn: str, task: Task) -> bool:
        marked: bool = self._mark_running(arn, task)
        if marked:
            self._announce(task)
            if task.get("enableExecuteCommand"):
                timer = threading.Timer(AGENT_SECONDS, self._agents, args=(task, "RUNNING"))
                timer.daemon = True
                timer.start()
        return marked

    def _agents(self, task: Task, status: str) -> None:
        if status == "RUNNING" and task.get("desiredStatus") != "RUNNING":
            return
        for container in task["containers"]:
            for agent in container.get("managedAgents", []):
                agent["lastStatus"] = status
                if status == "RUNNING":
                    agent["lastStartedAt"] = emulator.now()

    def _healthy(self, task: Task, index: int, status: str) -> None:
        """A task is as healthy as its essential containers that have a check."""
        task["containers"][index]["healthStatus"] = status
        essential = task.get("_container_essentials") or []
        states = {
            container["healthStatus"]
            for place, container in enumerate(task["containers"])
            if container["healthStatus"] != "UNKNOWN" and (place >= len(essential) or essential[place])
        }
        task["healthStatus"] = next((s for s in ("UNHEALTHY", "UNKNOWN", "HEALTHY") if s in states), "UNKNOWN")

    def look_at_all(self) -> None:
        """Called again and again: notice what has ended."""
        for (account, region, _), task in list(self._ecs._tasks.all_items()):
            if task.get("_docker_ids"):
                with emulator.request_scope(account, region):
                    self._look(task)

    def _look(self, task: Task) -> None:
        """Take note of containers that have ended; an essential one ends its task."""
        if task.get("lastStatus") != "RUNNING" or task.get("desiredStatus") != "RUNNING":
            return
        essential = task.get("_container_essentials") or []
        codes: list[int] = []
        essential_ended, running = False, False
        for index, identifier in enumerate(list(task.get("_docker_ids") or [])):
            try:
                container = self._runtime.engine.containers.get(identifier)
            except NotFound:
                continue
            container.reload()
            if container.status == "running":
                running = True
                continue
            code = container.exit_code or 0
            codes.append(code)
            if index < len(task["containers"]):
                task["containers"][index]["lastStatus"] = "STOPPED"
                task["containers"][index]["exitCode"] = code
            essential_ended = essential_ended or index >= len(essential) or bool(essential[index])
        if codes and (essential_ended or not running):
            reason = "Essential container in task exited"
            self.end(task, reason, "EssentialContainerExited")

    # Stop

    def stop_task(self, data: dict[str, Any]) -> Any:
        """Answer at once, stop in the background. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html"""
        ecs = self._ecs
        cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
        if cluster is None or (ecs._clusters.get(cluster) or {}).get("status") != "ACTIVE":
            return emulator.json_error("ClusterNotFoundException", "Cluster not found.")
        task = ecs._resolve_task(data.get("task", ""), cluster)
        if task is None:
            return emulator.json_error("InvalidParameterException", "The referenced task was not found.")
        self.end(task, data.get("reason", "Task stopped by user"), "UserInitiated")
        return emulator.core("responses").json_response({"task": shown(task)})

    def end(self, task: Task, reason: str, code: str) -> None:
        """Begin to stop a task; nothing happens when that has begun already."""
        arn = task["taskArn"]
        with emulator.core("concurrency").resource_lock("ecs-task", arn):
            if task.get("desiredStatus") == "STOPPED":
                return
            task["desiredStatus"] = "STOPPED"
            task["_was_running"] = task.get("lastStatus") == "RUNNING"
            task["stoppingAt"] = emulator.now()
            task["stoppedReason"], task["stopCode"] = reason, code
            task["version"] = int(task.get("version") or 1) + 1
            if task["lastStatus"] in self._ecs._PRE_STOP_STATUSES:
                task["lastStatus"] = "DEACTIVATING"
        self._agents(task, "STOPPED")
        self._announce(task)
        self._refresh(task)
        threading.Thread(target=self._finish, args=(task,), daemon=True, name=f"stop-{arn[-8:]}").start()

    def _finish(self, task: Task) -> None:
        _, _, _, region, account, _ = task["taskArn"].split(":", 5)
        with emulator.request_scope(account, region):
            try:
                task["lastStatus"] = "STOPPING"
                self._stop_containers(task)
            finally:
                self._settle(task)

    def _stop_containers(self, task: Task) -> None:
        containers: list[Container | None] = []
        for identifier in list(task.get("_docker_ids") or []):
            try:
                containers.append(self._runtime.engine.containers.get(identifier))
            except NotFound:
                containers.append(None)
        stops = [
            threading.Thread(target=c.stop, args=(float(c.options.get("stop_seconds") or DEFAULT_STOP_SECONDS),))
            for c in containers
            if c is not None
        ]
        for stop in stops:
            stop.start()
        for stop in stops:
            stop.join()
        for index, container in enumerate(containers):
            if container is not None and index < len(task["containers"]):
                task["containers"][index]["exitCode"] = container.exit_code

    def _settle(self, task: Task) -> None:
        task["lastStatus"] = "DEPROVISIONING"
        self._cleanup(task, None)
        now = emulator.now()
        for container in task.get("containers", []):
            container["lastStatus"] = "STOPPED"
        task["executionStoppedAt"] = task.get("executionStoppedAt") or now
        task["stoppedAt"] = now
        task["version"] = int(task.get("version") or 1) + 1
        task["lastStatus"] = "STOPPED"
        self._announce(task)
        self._refresh(task)
        self._runtime.changed()

    def _stopped(self, arn: str, task: Task, reason: str, code: str, exit_code: int | None = None) -> bool:
        """Where the emulator finds that a task cannot start or has ended."""
        if task.get("desiredStatus") == "STOPPED":
            return False
        self.end(task, reason, code)
        return True

    def _cleanup(self, task: Task, _client: Any = None, extra: Any = None) -> None:
        """Remove containers, metadata tokens, address and interface of a task that is over."""
        if task.get("lastStatus") in self._ecs._PRE_STOP_STATUSES and task.get("desiredStatus") == "RUNNING":
            return
        identifiers, task["_docker_ids"] = list(task.get("_docker_ids") or []), []
        tokens, task["_metadata_tokens"] = list(task.get("_metadata_tokens") or []), []
        for token in tokens:
            emulator.service("ecs_metadata").unregister_token(token)
        doomed = [] if extra is None else [extra]
        for identifier in identifiers:
            try:
                doomed.append(self._runtime.engine.containers.get(identifier))
            except NotFound:
                continue
        for container in doomed:
            self._health.forget(container)
            container.stop(timeout=5)
            container.remove(force=True)

    def _refresh(self, task: Task) -> None:
        cluster = self._ecs._cluster_name_from_arn(task.get("clusterArn", ""))
        if cluster:
            self._ecs._recount_cluster(cluster)
            self._ecs._refresh_service_state(cluster, task.get("group", ""))

    def _end_restored(self) -> None:
        """Tasks of the last run: their processes are gone, so they are stopped tasks now."""
        for (account, region, _), task in list(self._ecs._tasks.all_items()):
            task["_docker_ids"], task["_metadata_tokens"] = [], []
            if task.get("desiredStatus") != "STOPPED" or not task.get("stoppedAt"):
                task["desiredStatus"] = "STOPPED"
                task["stoppedAt"] = task["stoppingAt"] = task["executionStoppedAt"] = emulator.now()
                task["stoppedReason"] = task.get("stoppedReason") or "The sandbox was ended while the task ran."
                task["stopCode"] = task.get("stopCode") or "TerminationNotice"
                for container in task.get("containers", []):
                    container["lastStatus"] = "STOPPED"
            with emulator.request_scope(account, region):
                for attachment in task.get("attachments", []):
                    attachment["status"] = "DELETED"
                if interface := task.pop("_interface", None):
                    gone = emulator.service("ec2")._network_interfaces.pop(interface, {})
                    self._runtime.addresses.release(gone.get("PrivateIpAddress", ""))

    def prune(self) -> None:
        """Forget tasks that stopped long ago."""
        limit = time.time() - KEPT_STOPPED_SECONDS
        for key, task in list(self._ecs._tasks._data.items()):
            if task.get("lastStatus") == "STOPPED" and emulator.epoch(task.get("stoppedAt")) < limit:
                self._ecs._tasks._data.pop(key, None)

    def _announce(self, task: Task) -> None:
        """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html"""
        log.info("task %s", _described(task))
        event = {
            "Source": "aws.ecs",
            "DetailType": "ECS Task State Change",
            "Detail": json.dumps(shown(task)),
            "Resources": [task["taskArn"]],
        }
        try:
            emulator.service("eventbridge")._put_events({"Entries": [event]}, allow_aws_source=True)
        except Exception:
            # A broken rule or target of somebody's must not keep a task from stopping.
            log.exception("event of task %s was not delivered", task["taskArn"])


def shown(record: Any) -> Any:
    """A record without inner keys and empty members: a copy, made from snapshots, as other threads change it."""
    if isinstance(record, dict):
        return {k: shown(v) for k, v in list(record.items()) if not k.startswith("_") and v is not None}
    return [shown(item) for item in list(record)] if isinstance(record, list) else record


def _described(task: Task) -> str:
    """For the log: which task of whom, its state, and why it ends."""
    text = f"{task['taskArn'].rpartition('/')[2]} ({task.get('group', '')}): {task.get('lastStatus')}"
    if task.get("stoppedReason"):
        text += f", {task.get('stopCode')}: {task['stoppedReason']}"
    codes = [f"{c['name']} {c['exitCode']}" for c in task.get("containers", []) if c.get("exitCode") is not None]
    return f"{text}; exit codes: {', '.join(codes)}" if codes else text


def nothing(*_: Any, **__: Any) -> None:
    """In place of something of the emulator's that is done here in another way."""
