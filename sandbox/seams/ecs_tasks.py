"""How an ECS task lives and stops here, by the states, codes and reasons that AWS documents."""

from __future__ import annotations

import itertools
import logging
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.container_health import HealthRunner
from sandbox.containers import Container, NotFound
from sandbox.seams.ecs_events import Events, shown, task_state_change_events
from sandbox.seams.ecs_exec_agent import AGENT, agents_are_due
from sandbox.seams.ecs_metadata import TaskEndpoints
from sandbox.seams.ecs_start import DEFAULT_STOP_SECONDS, Starter

if TYPE_CHECKING:
    from sandbox.runtime import Runtime
    from sandbox.tasks import TaskBackend

log = logging.getLogger("sandbox.ecs")
Task = dict[str, Any]
EXITED = "EssentialContainerExited"


class TaskLife:
    """Replaces the emulator's handling of tasks; `look_at_all` is what moves them on."""

    def __init__(self, runtime: Runtime, ecs: Any, backend: TaskBackend, events: Events) -> None:
        self._runtime = runtime
        self._ecs = ecs
        self._backend = backend
        self._events = events
        self._launch = threading.Lock()
        self._turn = itertools.count()
        self._health = HealthRunner(runtime.processes)
        self._endpoints = TaskEndpoints(runtime, ecs, backend)
        self._starter = Starter(
            runtime,
            ecs,
            backend,
            self._endpoints,
            self._health,
            fail=lambda task, reason: self.end(task, reason, "TaskFailedToStart"),
            announce=self._announce,
            running=self._running,
            healthy=self._healthy,
        )

    def install(self) -> None:
        ecs = self._ecs
        self._endpoints.install()
        self._run_task, self._resolve = ecs._run_task, ecs._resolve_task
        ecs._sanitize = shown
        ecs._run_task = self.run_task
        # Its thread for each task only hands the task over.
        ecs._run_task_worker = self._begin
        ecs._resolve_task = self._resolve_task
        # One thread looks at all tasks instead of one for each.
        ecs._maybe_mark_stopped = nothing
        ecs._ACTION_MAP["StopTask"] = ecs._stop_task = self.stop_task
        self._runtime.at_start.append(self._end_restored)

    # Start

    def run_task(self, data: dict[str, Any]) -> Any:
        """Make the record of one task: in the zone that has the fewest of its group, with its groups and tags."""
        network = (data.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
        definition = self._ecs._task_defs.get(self._ecs._resolve_td_key(data.get("taskDefinition", ""))) or {}
        group = data.get("group") or group_of_a_single_task(definition)
        with self._launch:
            if subnets := network.get("subnets") or []:
                chosen = self._subnet(subnets, group, self._ecs._resolve_cluster_name(data.get("cluster", "default")))
                data = {**data, "networkConfiguration": {"awsvpcConfiguration": {**network, "subnets": [chosen]}}}
            response = self._run_task({**data, "group": group})
            for started in emulator.body_of(response).get("tasks", []) if response[0] < 400 else []:
                task = self._ecs._tasks[started["taskArn"]]
                task["_security_groups"] = list(network.get("securityGroups") or [])
                task["_request"] = data.get("_request")
                place = emulator.service("ec2")._subnets.get(task.get("_subnet") or "") or {}
                task["availabilityZone"] = place.get("AvailabilityZone", task["availabilityZone"])
                self._announce(task)
        return response

    def _subnet(self, subnets: list[str], group: str, cluster: str) -> str:
        known = emulator.service("ec2")._subnets
        zones = {subnet: str((known.get(subnet) or {}).get("AvailabilityZone", "")) for subnet in subnets}
        live = [
            str(task["availabilityZone"])
            for arn, task in list(self._ecs._tasks.items())
            if task.get("group") == group and f"/{cluster}/" in arn and task.get("desiredStatus") == "RUNNING"
        ]
        candidates = emptiest_zone(zones, live)
        return candidates[next(self._turn) % len(candidates)]

    def _begin(self, task: Task, definition: Any, overrides: Any, _: Any, account: str, region: str) -> None:
        with self._launch, emulator.request_scope(account, region):
            if task.get("enableExecuteCommand"):
                for container in task["containers"]:
                    container["managedAgents"] = [{"name": AGENT, "lastStatus": "PENDING"}]
        self._starter.begin(task, definition, overrides)

    # While it runs

    def _running(self, task: Task) -> None:
        self._announce(task)
        if task.get("enableExecuteCommand"):
            task["_agent_due"] = time.time() + self._runtime.switches.exec_agent_seconds

    def _stop_agents(self, task: Task) -> None:
        for container in task["containers"]:
            for agent in container.get("managedAgents", []):
                agent["lastStatus"] = "STOPPED"

    def _healthy(self, task: Task, name: str, status: str) -> None:
        """A task is as healthy as its essential containers that have a check."""
        essential = task.get("_container_essentials") or []
        states = set()
        for place, container in enumerate(task["containers"]):
            if container["name"] == name:
                container["healthStatus"] = status
            if container["healthStatus"] != "UNKNOWN" and (place >= len(essential) or essential[place]):
                states.add(container["healthStatus"])
        task["healthStatus"] = next((s for s in ("UNHEALTHY", "UNKNOWN", "HEALTHY") if s in states), "UNKNOWN")

    def look_at_all(self) -> None:
        """Called again and again: notice what has ended, move on what comes up or stops."""
        self._starter.look()
        for (account, region, _), task in list(self._ecs._tasks.all_items()):
            if task.get("lastStatus") == "STOPPED":
                continue
            with emulator.request_scope(account, region):
                if task.get("desiredStatus") == "STOPPED":
                    self._stop_on(task)
                elif task.get("_docker_ids"):
                    self._look(task)

    def _containers(self, task: Task) -> dict[str, Container]:
        found = self._runtime.engine.of_task(task["taskArn"])
        return {container.labels["com.amazonaws.ecs.container-name"]: container for container in found}

    def _look(self, task: Task) -> None:
        """Take note of containers that have ended; an essential one ends its task."""
        # Once, before looking: meanwhile it may come to run.
        known_as = task.get("lastStatus")
        if known_as not in ("ACTIVATING", "RUNNING"):
            return
        if task.get("_agent_due", 0) and time.time() >= task["_agent_due"]:
            task["_agent_due"] = 0
            revision = task["taskDefinitionArn"].rpartition("/")[2]
            agents_are_due(task, self._ecs._task_defs.get(revision) or {})
        essential = task.get("_container_essentials") or []
        needed_ended, running = False, False
        real = self._containers(task)
        for index, entry in enumerate(task["containers"]):
            container = real.get(entry["name"])
            if container is None:
                continue
            container.reload()
            if container.status in ("created", "running"):
                running = True
                continue
            entry["lastStatus"], entry["exitCode"] = "STOPPED", container.exit_code
            needed_ended = needed_ended or index >= len(essential) or bool(essential[index])
        if essential_container_exited(needed_ended, running or known_as != "RUNNING"):
            self.end(task, "Essential container in task exited", EXITED)

    # Stop

    def stop_task(self, data: dict[str, Any]) -> Any:
        """Answer at once, stop in the background. https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html"""
        ecs = self._ecs
        task = ecs._resolve_task(data.get("task", ""), ecs._resolve_cluster_name(data.get("cluster", "default")))
        if task is None:
            return emulator.json_error("InvalidParameterException", "The referenced task was not found.")
        if task.get("lastStatus") != "STOPPED":
            self.end(task, data.get("reason") or "Task stopped by user", "UserInitiated")
        return emulator.json_response({"task": shown(task)})

    def end(self, task: Task, reason: str, code: str) -> None:
        """Begin to stop a task; nothing happens when that has begun already."""
        with emulator.core("concurrency").resource_lock("ecs-task", task["taskArn"]):
            if task.get("desiredStatus") == "STOPPED":
                return
            task["desiredStatus"] = "STOPPED"
            task["_was_running"] = task.get("lastStatus") == "RUNNING"
            task["stoppingAt"] = emulator.now()
            stop_code_and_reason(task, code, reason)
            task["version"] = int(task.get("version") or 1) + 1
        self._stop_agents(task)
        self._announce(task)
        task["lastStatus"] = "DEACTIVATING"
        self._refresh(task)

    def _stop_on(self, task: Task) -> None:
        """One step on the way from DEACTIVATING to STOPPED, as far as it goes without waiting."""
        if self._starter.busy(task):
            return
        if task["lastStatus"] == "DEACTIVATING":
            if targets_drain_first(self._draining(task)):
                return
            task["lastStatus"] = "STOPPING"
        if self._end_containers(task, self._containers(task)):
            self._settle(task)

    def _draining(self, task: Task) -> bool:
        """Whether a target group still lets requests of this task come to their end, or has not begun to."""
        ask, ip = self._runtime.target_state, self._ecs._task_ip(task)
        cluster = self._ecs._cluster_name_from_arn(task["clusterArn"])
        service = self._ecs._services.get(f"{cluster}/{str(task.get('group')).partition(':')[2]}") or {}
        return any(
            ask(balancer["targetGroupArn"], ip, int(balancer["containerPort"])) != "unused"
            for balancer in service.get("loadBalancers") or []
            if ask and ip and balancer.get("targetGroupArn")
        )

    def _end_containers(self, task: Task, real: dict[str, Container]) -> bool:
        """SIGTERM, after stopTimeout SIGKILL; whether all have ended. Those that others depend on go after them."""
        definition = self._ecs._task_defs.get(task["taskDefinitionArn"].rpartition("/")[2]) or {}
        needs = {
            c["name"]: {d["containerName"] for d in c.get("dependsOn") or []}
            for c in definition.get("containerDefinitions", [])
        }
        for container in real.values():
            container.reload()
        alive = {name: container for name, container in real.items() if container.status == "running"}
        for name, container in alive.items():
            if any(name in needs.get(other, ()) for other in alive):
                continue
            deadline = container.options.get("stop_deadline")
            if deadline is None:
                seconds = float(container.options.get("stop_seconds") or DEFAULT_STOP_SECONDS)
                container.options["stop_deadline"] = time.monotonic() + seconds
                if container.process is not None:
                    container.process.send(signal.SIGTERM)
            elif time.monotonic() >= deadline:
                self._backend.kill(container)
        for entry in task["containers"]:
            ended = real.get(entry["name"])
            if ended is not None and ended.status != "running":
                exit_code_of_the_process(entry, ended.exit_code)
        return not alive

    def _settle(self, task: Task) -> None:
        task["executionStoppedAt"] = task.get("executionStoppedAt") or emulator.now()
        for container in task.get("containers", []):
            container["lastStatus"] = "STOPPED"
        self._moved(task, "DEPROVISIONING")
        for identifier in list(task.get("_docker_ids") or []):
            try:
                container = self._runtime.engine.containers.get(identifier)
            except NotFound:
                continue
            self._health.forget(container)
            container.remove(force=True)
        task["_docker_ids"] = []
        self._endpoints.forget(task)
        task["stoppedAt"] = emulator.now()
        self._moved(task, "STOPPED")
        self._refresh(task)
        self._runtime.changed()

    def _moved(self, task: Task, status: str) -> None:
        task["version"] = int(task.get("version") or 1) + 1
        task["lastStatus"] = status
        self._announce(task)

    def _refresh(self, task: Task) -> None:
        cluster = self._ecs._cluster_name_from_arn(task.get("clusterArn", ""))
        if cluster:
            self._ecs._recount_cluster(cluster)
            self._ecs._refresh_service_state(cluster, task.get("group", ""))

    def _end_restored(self) -> None:
        """Tasks of the last run: their processes are gone, so they are stopped tasks now."""
        for (account, region, _), task in list(self._ecs._tasks.all_items()):
            task["_docker_ids"] = []
            task.pop("_credentials", None)
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
        limit = time.time() - self._runtime.switches.stopped_task_seconds
        for key, task in list(self._ecs._tasks._data.items()):
            if task.get("lastStatus") == "STOPPED" and stopped_task_is_forgotten(task, limit):
                self._ecs._tasks._data.pop(key, None)

    def _resolve_task(self, reference: str, cluster: str | None = "default") -> Task | None:
        found: Task | None = self._resolve(reference, cluster)
        return None if found is not None and of_another_cluster(found, reference, cluster) else found

    def _announce(self, task: Task) -> None:
        log.info("task %s", _described(task))
        task_state_change_events(self._events, task)


@behaviour("ecs", otherwise=lambda *_: "")
def group_of_a_single_task(definition: dict[str, Any]) -> str:
    """A task that is run without a group has the group family:<family of its definition>.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (group)
    """
    return f"family:{definition['family']}" if definition else ""


@behaviour("ecs", otherwise=lambda zones, _: list(zones)[:1])
def emptiest_zone(zones: dict[str, str], live: list[str]) -> list[str]:
    """Fargate tasks are spread over the availability zones of their subnets: the next goes where the fewest run.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-placement-strategies.html
    Gives the subnets of that zone; `live` are the zones of the tasks that run.
    """
    fewest = min(live.count(zone) for zone in zones.values())
    return [subnet for subnet, zone in zones.items() if live.count(zone) == fewest]


@behaviour("ecs", otherwise=lambda *_: False)
def essential_container_exited(essential_ended: bool, some_run: bool) -> bool:
    """A task stops as soon as one of its essential containers ends, and with the last of the others.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html (essential)
    """
    return essential_ended or not some_run


@behaviour("ecs")
def stop_code_and_reason(task: Task, code: str, reason: str) -> None:
    """A stopped task says why: stopCode (who ended it) and stoppedReason.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
    """
    task["stopCode"], task["stoppedReason"] = code, reason


@behaviour("ecs", otherwise=lambda *_: False)
def targets_drain_first(draining: bool) -> bool:
    """A task that is a load balancer's target is deregistered, and runs on for the deregistration delay (DEACTIVATING).

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html
    """
    return draining


@behaviour("ecs")
def exit_code_of_the_process(entry: dict[str, Any], code: int | None) -> None:
    """A container's exitCode is its process's: 143 when it ended by SIGTERM, 137 by SIGKILL.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
    """
    entry["exitCode"] = code


@behaviour("ecs", otherwise=lambda *_: False)
def stopped_task_is_forgotten(task: Task, limit: float) -> bool:
    """A stopped task can be described for an hour, then it is MISSING.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
    """
    return emulator.epoch(task.get("stoppedAt")) < limit


@behaviour("ecs", otherwise=lambda *_: False)
def of_another_cluster(task: Task, reference: str, cluster: str | None) -> bool:
    """A task is known in its own cluster alone and by its whole id: else DescribeTasks names it as MISSING.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html (failures)
    """
    whole, identifier = task["taskArn"], reference.rpartition("/")[2]
    return not (f":task/{cluster}/" in whole and whole.endswith(f"/{identifier}"))


def _described(task: Task) -> str:
    """For the log: which task of whom, its state, and why it ends."""
    text = f"{task['taskArn'].rpartition('/')[2]} ({task.get('group', '')}): {task.get('lastStatus')}"
    if task.get("stoppedReason"):
        text += f", {task.get('stopCode')}: {task['stoppedReason']}"
    codes = [f"{c['name']} {c['exitCode']}" for c in task.get("containers", []) if c.get("exitCode") is not None]
    return f"{text}; exit codes: {', '.join(codes)}" if codes else text


def nothing(*_: Any, **__: Any) -> None:
    """In place of something of the emulator's that is done here in another way."""
