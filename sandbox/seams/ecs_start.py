"""How a task comes up: its role, secrets and images, then its containers in the order of their dependencies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.container_health import HealthCheck, HealthRunner
from sandbox.container_logs import LogShipper
from sandbox.containers import APIError, Container
from sandbox.seams import ecs_execution_role, ecs_secrets
from sandbox.seams.ecs_metadata import TaskEndpoints
from sandbox.seams.ecs_roles import role_refusal

if TYPE_CHECKING:
    from sandbox.runtime import Runtime
    from sandbox.tasks import TaskBackend

log = logging.getLogger("sandbox.ecs")
Task = dict[str, Any]
Definition = dict[str, Any]
# Starting a process is short; the number keeps a service of many tasks from making a thread for each.
WORKERS = 6
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html (stopTimeout)
DEFAULT_STOP_SECONDS = 30


class CannotStart(Exception):
    """Why a task does not come up: its stoppedReason; `container` is the one that is to blame, where one is."""

    def __init__(self, reason: str, container: str = "") -> None:
        super().__init__(reason)
        self.container = container


@dataclass
class Start:
    """A task on its way to RUNNING."""

    task: Task
    definition: Definition
    overrides: list[dict[str, Any]]
    images: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    left: list[Definition] = field(default_factory=list)
    busy: bool = False


class Starter:
    """`fail` ends a task that cannot start, `running` is told of one whose containers all run."""

    def __init__(
        self,
        runtime: Runtime,
        ecs: Any,
        backend: TaskBackend,
        endpoints: TaskEndpoints,
        health: HealthRunner,
        fail: Callable[[Task, str], None],
        announce: Callable[[Task], None],
        running: Callable[[Task], None],
        healthy: Callable[[Task, str, str], None],
    ) -> None:
        self._runtime = runtime
        self._ecs = ecs
        self._backend = backend
        self._endpoints = endpoints
        self._health = health
        self._fail, self._announce, self._tell_running, self._tell_healthy = fail, announce, running, healthy
        self._logs = LogShipper(ecs)
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="task-start")
        self._lock = threading.Lock()
        self._starts: dict[str, Start] = {}

    def begin(self, task: Task, definition: Definition, overrides: list[dict[str, Any]]) -> None:
        start = Start(task, definition, overrides, left=list(definition.get("containerDefinitions", [])))
        with self._lock:
            self._starts[task["taskArn"]] = start
        self._submit(start)

    def busy(self, task: Task) -> bool:
        """Whether a container may come up at this moment; a stop has to wait for that."""
        start = self._starts.get(task["taskArn"])
        return start is not None and start.busy

    def look(self) -> None:
        """Go on with the tasks that wait for one of their containers."""
        for start in list(self._starts.values()):
            if not start.busy:
                self._submit(start)

    def _submit(self, start: Start) -> None:
        with self._lock:
            if start.busy or start.task["taskArn"] not in self._starts:
                return
            start.busy = True
        try:
            self._pool.submit(self._run, start)
        except RuntimeError:
            # The interpreter is going down.
            start.busy = False

    def _run(self, start: Start) -> None:
        task = start.task
        _, _, _, region, account, _ = task["taskArn"].split(":", 5)
        done = True
        try:
            with emulator.request_scope(account, region):
                try:
                    done = self._advance(start)
                except CannotStart as error:
                    _blame(task, error)
                    self._fail(task, str(error))
                except Exception as error:
                    log.exception("task %s", task["taskArn"])
                    self._fail(task, f"ResourceInitializationError: {error}")
        finally:
            with self._lock:
                start.busy = False
                if done:
                    self._starts.pop(task["taskArn"], None)

    def _wanted(self, task: Task) -> bool:
        return task.get("desiredStatus") == "RUNNING" and self._ecs._tasks.get(task["taskArn"]) is task

    def _advance(self, start: Start) -> bool:
        """Start what can be started; whether there is nothing left to do."""
        task, ecs = start.task, self._ecs
        if task["lastStatus"] == "PROVISIONING":
            if not ecs._mark_task_pending(task["taskArn"], task):
                return True
            self._announce(task)
            if not ecs._mark_task_activating(task["taskArn"], task):
                return True
            self._prepare(start)
        for container in list(start.left):
            if not self._wanted(task):
                return True
            blocked = waits_for(self._states(task), container)
            if blocked.startswith("never:"):
                raise CannotStart(f"CannotStartContainerError: {blocked.removeprefix('never:')}", container["name"])
            if not blocked:
                start.left.remove(container)
                self._start_container(start, container)
        if start.left:
            # Started by this very look, perhaps, what the others wait for.
            return False
        if ecs._mark_task_running(task["taskArn"], task):
            self._tell_running(task)
        return True

    def _prepare(self, start: Start) -> None:
        """Everything that can fail before the first container exists."""
        task, definition = start.task, start.definition
        role = (task.get("overrides") or {}).get("executionRoleArn") or definition.get("executionRoleArn")
        for container in definition.get("containerDefinitions", []):
            if role and container.get("secrets") and role_refusal(role):
                raise CannotStart(
                    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
                    f"retrieval failed: unable to assume role {role}"
                )
            if role and (reason := ecs_execution_role.stop_reason(self._runtime, role, container, task["taskArn"])):
                raise CannotStart(reason, container["name"] if reason.startswith("CannotPull") else "")
            try:
                start.secrets[container["name"]] = ecs_secrets.resolve(container)
            except LookupError as error:
                raise CannotStart(
                    "ResourceInitializationError: unable to pull secrets or registry auth: execution resource "
                    f"retrieval failed: {error.args[0]}"
                ) from error
        deployment = self._deployment(task)
        for container in definition.get("containerDefinitions", []):
            image = start.images[container["name"]] = self._image(deployment, container)
            if missing_image(self._runtime.engine.resolve(image), image):
                raise CannotStart(
                    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
                    f"{image}: {image}: not found",
                    container["name"],
                )

    def _deployment(self, task: Task) -> dict[str, Any] | None:
        cluster = self._ecs._cluster_name_from_arn(task["clusterArn"])
        service = self._ecs._services.get(f"{cluster}/{str(task.get('group')).partition(':')[2]}")
        wanted = task.get("_deployment_id")
        return next((d for d in (service or {}).get("deployments", []) if d["id"] == wanted), None)

    def _image(self, deployment: dict[str, Any] | None, container: Definition) -> str:
        image = str(container["image"])
        digest = self._runtime.engine.resolve(image)
        if deployment is None or "@" in image or digest is None:
            return image
        pinned = deployment.setdefault("_image_digests", {})
        return pinned_by_the_deployment(pinned, container, digest) or image

    def _states(self, task: Task) -> Mapping[str, dict[str, Any]]:
        """The task's containers as they are, by name; those that have ended meanwhile as well."""
        real = {c.labels["com.amazonaws.ecs.container-name"]: c for c in self._runtime.engine.of_task(task["taskArn"])}
        for entry in task["containers"]:
            container = real.get(entry["name"])
            if container is not None:
                container.reload()
                if container.status != "running" and entry["lastStatus"] == "RUNNING":
                    entry["lastStatus"], entry["exitCode"] = "STOPPED", container.exit_code
        return {entry["name"]: entry for entry in task["containers"]}

    def _start_container(self, start: Start, definition: Definition) -> None:
        task, name = start.task, str(definition["name"])
        arn, task_id = task["taskArn"], task["taskArn"].rpartition("/")[2]
        override: dict[str, Any] = next((o for o in start.overrides if o.get("name") == name), {})
        environment = {e["name"]: e["value"] for e in definition.get("environment") or []}
        environment |= start.secrets.get(name, {})
        environment |= {e["name"]: e["value"] for e in override.get("environment") or []}
        environment |= self._endpoints.variables(task, start.definition, name)
        try:
            container: Container = self._runtime.engine.containers.run(
                start.images[name],
                environment=environment,
                name=f"ecs-{task_id[:12]}-{name}",
                labels={
                    "ministack": "ecs",
                    "com.amazonaws.ecs.task-arn": arn,
                    "com.amazonaws.ecs.container-name": name,
                },
                command=override.get("command") or definition.get("command"),
                entrypoint=definition.get("entryPoint"),
                working_dir=definition.get("workingDirectory"),
                stop_seconds=stop_timeout(definition),
            )
        except APIError as error:
            text = str(error)
            named = text.partition(":")[0].endswith("Error")
            reason = text if named else f"ResourceInitializationError: unable to start container: {text}"
            raise CannotStart(reason, name) from error
        entry = next(c for c in task["containers"] if c["name"] == name)
        task.setdefault("_docker_ids", []).append(container.id)
        entry["runtimeId"] = f"{task_id}-{container.id[:10]}"
        entry["_startedAt"] = emulator.now()
        image_digest(entry, self._backend.plan(container).image.digest)
        entry["lastStatus"] = "RUNNING"
        self._logs.follow(container, definition, task_id)
        check = HealthCheck.parse(definition.get("healthCheck"))
        if check is not None:
            plan = self._backend.plan(container)
            self._health.watch(container, plan, check, lambda status: self._tell_healthy(task, name, status))


def _blame(task: Task, error: CannotStart) -> None:
    for entry in task["containers"]:
        if entry["name"] == error.container:
            entry["reason"] = str(error)


@behaviour("ecs", otherwise=lambda *_: "")
def waits_for(states: Mapping[str, dict[str, Any]], container: Definition) -> str:
    """A container starts after those it dependsOn have met their condition: START, COMPLETE, SUCCESS or HEALTHY.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html
    Gives what it waits for, with `never:` before it when that cannot come any more, or nothing.
    """
    for dependency in container.get("dependsOn") or []:
        other, condition = states[dependency["containerName"]], dependency["condition"]
        state, code = other["lastStatus"], other.get("exitCode")
        ended = state == "STOPPED"
        met = {
            "START": state in ("RUNNING", "STOPPED"),
            "COMPLETE": ended,
            "SUCCESS": ended and code == 0,
            "HEALTHY": other.get("healthStatus") == "HEALTHY",
        }[condition]
        if not met:
            hopeless = ended and condition in ("SUCCESS", "HEALTHY")
            text = (
                f"dependency graph: container ordering dependency [{other['name']} ({state})"
                f"{f' - Exit: {code}' if ended else ''}] of [{container['name']}] has not met condition {condition}"
            )
            return f"never:{text}" if hopeless else text
    return ""


@behaviour("ecs", otherwise=lambda *_: False)
def missing_image(digest: str | None, image: str) -> bool:
    """A task whose image is not in the registry stops with CannotPullContainerError: Fargate has no cache.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_cannot_pull_image.html
    """
    return digest is None or ".dkr.ecr." not in image


@behaviour("ecs", otherwise=lambda *_: "")
def pinned_by_the_deployment(pinned: dict[str, str], container: Definition, digest: str) -> str:
    """All tasks of a deployment run the digest that the image's tag named when its first task started.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html (container image resolution)
    """
    if container.get("versionConsistency") == "disabled":
        return ""
    repository = str(container["image"]).rpartition(":")[0] or str(container["image"])
    return f"{repository}@{pinned.setdefault(container['name'], digest)}"


@behaviour("ecs")
def image_digest(entry: dict[str, Any], digest: str) -> None:
    """DescribeTasks shows the digest of the image that each container runs.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Container.html (imageDigest)
    """
    entry["imageDigest"] = digest


@behaviour("ecs", otherwise=lambda *_: DEFAULT_STOP_SECONDS)
def stop_timeout(definition: Definition) -> float:
    """A container that does not end within its stopTimeout (30 s by default) after SIGTERM is ended by SIGKILL.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html (stopTimeout)
    """
    return float(definition.get("stopTimeout") or DEFAULT_STOP_SECONDS)
