"""The service scheduler: keeps desired tasks running, rolls deployments out by AWS's rules, breaks and rolls back."""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.seams.ecs_deployments import ServiceDeployments
from sandbox.seams.ecs_tasks import TaskLife, nothing

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

log = logging.getLogger("sandbox.ecs")
Service = dict[str, Any]
Deployment = dict[str, Any]
Task = dict[str, Any]
TICK_SECONDS = 0.25
# How long a task without any health check must run before it counts for a deployment's success.
STEADY_SECONDS = 5.0
# Starts after failures are spaced out, doubling from the first to the second number (AWS: up to 15 minutes).
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html
FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
KEPT_EVENTS = 100
SCHEDULER = "ServiceSchedulerInitiated"
BAD_ENDS = ("EssentialContainerExited", "TaskFailedToStart")


class Scheduler:
    """One thread for all tasks and services; `reconcile` is also called by the emulator right after a change."""

    def __init__(self, runtime: Runtime, ecs: Any, life: TaskLife) -> None:
        self._runtime = runtime
        self._ecs = ecs
        self._life = life
        self._records = ServiceDeployments(ecs)
        self._end = threading.Event()
        self._lock = threading.RLock()

    def install(self) -> None:
        ecs = self._ecs
        self._records.install()
        make = ecs._make_deployment

        def make_deployment(definition: str, desired: int, status: str = "PRIMARY") -> Deployment:
            made: Deployment = make(definition, desired, status)
            made["launchType"] = "FARGATE"
            made["rolloutState"] = "IN_PROGRESS"
            made["rolloutStateReason"] = f"ECS deployment {made['id']} in progress."
            return made

        ecs._make_deployment = make_deployment
        ecs._reconcile_service_tasks = self.reconcile
        # Its scheduling of rollouts, piece by piece: ours looks at every service all the time.
        ecs._complete_service_deployment = nothing
        ecs._schedule_service_deployment_completion = nothing
        ecs._record_service_task_failure = nothing
        ecs._record_service_task_healthy = nothing
        ecs._refresh_service_state = self.refresh
        ecs._ACTION_MAP["DeleteService"] = ecs._delete_service = self._delete(ecs._delete_service)

    def start(self) -> None:
        threading.Thread(target=self._loop, name="service-scheduler", daemon=True).start()

    def stop(self) -> None:
        self._end.set()

    def _loop(self) -> None:
        rounds = 0
        while not self._end.wait(TICK_SECONDS):
            rounds += 1
            try:
                self._life.look_at_all()
            except Exception:
                log.exception("looking at the tasks")
            for (account, region, key), _ in list(self._ecs._services.all_items()):
                with emulator.request_scope(account, region):
                    try:
                        self.reconcile(key.partition("/")[0], key)
                    except Exception:
                        log.exception("service %s", key)
            if rounds % 240 == 0:
                self._life.prune()

    # One service

    def reconcile(self, cluster: str, key: str) -> None:
        """Bring one service nearer to what it should be. In the request scope of its account and region."""
        if self._end.is_set():
            return
        with self._lock:
            service = self._ecs._services.get(key)
            if service is None or service["status"] == "INACTIVE":
                return
            tasks = self._tasks_of(service)
            live = [task for task in tasks if task.get("desiredStatus") == "RUNNING"]
            if service["status"] == "DRAINING":
                self._drain(service, tasks, live)
            elif (primary := self._ecs._primary_deployment(service)) is not None:
                self._records.follow(service, primary)
                self._count_failures(service, primary, tasks)
                primary = self._ecs._primary_deployment(service) or primary
                self._stop_unhealthy(service, live)
                live = [task for task in live if task.get("desiredStatus") == "RUNNING"]
                self._scale(cluster, service, primary, live)
                self._complete(service, primary, tasks)
            self.refresh(cluster, f"service:{service['serviceName']}")
            self._records.update(service, self._ecs._circuit_breaker_threshold(service))

    def _tasks_of(self, service: Service) -> list[Task]:
        group, cluster = f"service:{service['serviceName']}", service["clusterArn"]
        return [t for t in list(self._ecs._tasks.values()) if t.get("group") == group and t["clusterArn"] == cluster]

    def _drain(self, service: Service, tasks: list[Task], live: list[Task]) -> None:
        for task in live:
            self._life.end(task, "Service deleted", "ServiceSchedulerInitiated")
        if all(task.get("lastStatus") == "STOPPED" for task in tasks):
            service["status"] = "INACTIVE"
            service["deployments"] = []
            self._runtime.changed()

    def _scale(self, cluster: str, service: Service, primary: Deployment, live: list[Task]) -> None:
        """Rolling update. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html"""
        desired = int(service.get("desiredCount", 0))
        configuration = service.get("deploymentConfiguration") or {}
        least = math.ceil(desired * int(configuration.get("minimumHealthyPercent", 100)) / 100)
        most = math.floor(desired * int(configuration.get("maximumPercent", 200)) / 100)
        mine = [task for task in live if task.get("_deployment_id") == primary["id"]]
        others = [task for task in live if task.get("_deployment_id") != primary["id"]]
        healthy = [task for task in mine if self._is_healthy(service, task)]
        failed = primary.get("rolloutState") == "FAILED"
        # Too many of the current deployment: the youngest go.
        for task in sorted(mine, key=lambda t: str(t.get("createdAt")), reverse=True)[: max(0, len(mine) - desired)]:
            self._life.end(task, f"Scaling activity initiated by (deployment {primary['id']})", SCHEDULER)
        need = 0 if failed else desired - len(mine)
        room = max(0, most - len(live))
        if need > 0 and time.time() >= primary.get("_next_start", 0):
            for _ in range(min(need, room)):
                self._launch(cluster, service, primary)
        # The old ones go as new ones take their place; where there is no room for new ones, as far as the minimum lets.
        keep = max(0, desired - len(healthy))
        if not failed and need > room:
            keep = min(keep, max(0, least - len(healthy)))
        if failed:
            keep = len(others)
        for task in others[keep:]:
            self._life.end(task, f"Scaling activity initiated by (deployment {primary['id']})", SCHEDULER)

    def _launch(self, cluster: str, service: Service, primary: Deployment) -> None:
        response = self._ecs._run_task(
            {
                "cluster": cluster,
                "taskDefinition": primary["taskDefinition"],
                "count": 1,
                "group": f"service:{service['serviceName']}",
                "startedBy": primary["id"],
                "launchType": service.get("launchType"),
                "capacityProviderStrategy": service.get("capacityProviderStrategy"),
                "platformVersion": service.get("platformVersion", ""),
                "networkConfiguration": service.get("networkConfiguration", {}),
                "enableExecuteCommand": service.get("enableExecuteCommand", False),
                "_deploymentId": primary["id"],
            }
        )
        if response[0] >= 400:
            self._event(service, f"was unable to place a task. Reason: {emulator.body_of(response).get('message')}")
            self._failed(service, primary)
            return
        task_id = emulator.body_of(response)["tasks"][0]["taskArn"].rpartition("/")[2]
        self._event(service, f"has started 1 tasks: (task {task_id}).")

    # Health

    def _is_healthy(self, service: Service, task: Task) -> bool:
        """Running, its containers' checks passed, and every target of it healthy."""
        if task.get("lastStatus") != "RUNNING":
            return False
        checked = any(c.get("healthStatus") == "HEALTHY" for c in task["containers"])
        if self._has_health_check(task) and task.get("healthStatus") != "HEALTHY":
            return False
        states = self._target_states(service, task)
        if states:
            return all(state == "healthy" for state in states.values())
        return checked or time.time() - emulator.epoch(task.get("startedAt")) >= STEADY_SECONDS

    def _has_health_check(self, task: Task) -> bool:
        definition = self._ecs._task_defs.get(self._ecs._resolve_td_key(task["taskDefinitionArn"])) or {}
        return any(
            c.get("healthCheck") and c.get("essential", True) for c in definition.get("containerDefinitions", [])
        )

    def _target_states(self, service: Service, task: Task) -> dict[str, str]:
        ask, ip = self._runtime.target_state, self._ecs._task_ip(task)
        if ask is None or not ip:
            return {}
        return {
            balancer["targetGroupArn"]: ask(balancer["targetGroupArn"], ip, int(balancer["containerPort"]))
            for balancer in service.get("loadBalancers") or []
            if balancer.get("targetGroupArn")
        }

    def _stop_unhealthy(self, service: Service, live: list[Task]) -> None:
        grace = int(service.get("healthCheckGracePeriodSeconds") or 0)
        for task in live:
            if task.get("lastStatus") != "RUNNING":
                continue
            reason = "Task failed container health checks" if task.get("healthStatus") == "UNHEALTHY" else None
            if time.time() - emulator.epoch(task.get("startedAt")) >= grace:
                for group, state in self._target_states(service, task).items():
                    if state == "unhealthy":
                        reason = f"Task failed ELB health checks in (target-group {group})"
            if reason:
                self._event(service, f"(task {task['taskArn'].rpartition('/')[2]}) {reason[5:]}")
                task["_failed"] = True
                self._life.end(task, reason, SCHEDULER)

    # Failures

    def _count_failures(self, service: Service, primary: Deployment, tasks: list[Task]) -> None:
        for task in tasks:
            if task.get("desiredStatus") != "STOPPED" or task.get("_counted"):
                continue
            task["_counted"] = True
            badly = task.get("_failed") or task.get("stopCode") in BAD_ENDS
            if badly and task.get("_deployment_id") == primary["id"]:
                self._failed(service, primary)

    def _failed(self, service: Service, deployment: Deployment) -> None:
        """One more failure in a row: wait longer before the next start; break the deployment when there are too many.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
        """
        failures = deployment["_failures"] = int(deployment.get("_failures", 0)) + 1
        deployment["_next_start"] = time.time() + min(LONGEST_DELAY, FIRST_DELAY * 2 ** (failures - 1))
        deployment["updatedAt"] = emulator.now()
        if deployment.get("rolloutState") != "IN_PROGRESS":
            return
        deployment["failedTasks"] = int(deployment.get("failedTasks", 0)) + 1
        breaker = (service.get("deploymentConfiguration") or {}).get("deploymentCircuitBreaker") or {}
        if not breaker.get("enable") or deployment["failedTasks"] < self._ecs._circuit_breaker_threshold(service):
            return
        deployment["rolloutState"] = "FAILED"
        deployment["rolloutStateReason"] = "ECS deployment circuit breaker: tasks failed to start."
        self._event(service, f"(deployment {deployment['id']}) deployment failed: tasks failed to start.")
        others = [d for d in service["deployments"] if d is not deployment and d.get("rolloutState") == "COMPLETED"]
        last_good = others[0] if others and breaker.get("rollback") else None
        self._records.broken(service, deployment, last_good)
        if last_good is not None:
            self._roll_back(service, deployment, last_good)

    def _roll_back(self, service: Service, failed: Deployment, last_good: Deployment) -> None:
        failed["status"], failed["desiredCount"] = "ACTIVE", 0
        last_good["status"], last_good["desiredCount"] = "PRIMARY", service.get("desiredCount", 0)
        last_good["rolloutState"] = "IN_PROGRESS"
        last_good["rolloutStateReason"] = (
            f"ECS deployment circuit breaker: rolling back to deploymentId {last_good['id']}."
        )
        last_good["updatedAt"] = emulator.now()
        last_good["_failures"], last_good["_next_start"] = 0, 0
        service["taskDefinition"] = last_good["taskDefinition"]
        self._event(service, f"(deployment {failed['id']}) rolling back to (deployment {last_good['id']}).")

    # Success

    def _complete(self, service: Service, primary: Deployment, tasks: list[Task]) -> None:
        desired = int(service.get("desiredCount", 0))
        going = {t.get("_deployment_id") for t in tasks if t.get("lastStatus") != "STOPPED"}
        mine = [t for t in tasks if t.get("_deployment_id") == primary["id"] and t.get("desiredStatus") == "RUNNING"]
        healthy = [task for task in mine if self._is_healthy(service, task)]
        others_live = any(
            t.get("desiredStatus") == "RUNNING" and t.get("_deployment_id") != primary["id"] for t in tasks
        )
        if len(healthy) == len(mine) == desired and not others_live:
            primary["_failures"] = 0
            if primary.get("rolloutState") == "IN_PROGRESS":
                self._records.completed(service, primary)
                primary["rolloutState"] = "COMPLETED"
                primary["rolloutStateReason"] = f"ECS deployment {primary['id']} completed."
                primary["failedTasks"] = 0
                primary["updatedAt"] = emulator.now()
                self._event(service, f"(deployment {primary['id']}) deployment completed.")
                self._event(service, "has reached a steady state.")
                self._runtime.changed()
        if primary.get("rolloutState") == "COMPLETED":
            # What has no tasks any more is no longer listed: services_stable waits for one deployment.
            service["deployments"] = [d for d in service["deployments"] if d is primary or d["id"] in going]

    def refresh(self, cluster: str, group: str) -> None:
        """Counts of a service and its deployments; targets follow its running tasks."""
        if not (group or "").startswith("service:"):
            return
        service = self._ecs._services.get(f"{cluster}/{group.partition(':')[2]}")
        if service is None:
            return
        running: dict[Any, int] = {}
        pending: dict[Any, int] = {}
        for task in self._tasks_of(service):
            if task.get("desiredStatus") == "RUNNING":
                counts = running if task.get("lastStatus") == "RUNNING" else pending
                counts[task.get("_deployment_id")] = counts.get(task.get("_deployment_id"), 0) + 1
        service["runningCount"], service["pendingCount"] = sum(running.values()), sum(pending.values())
        for deployment in service.get("deployments", []):
            deployment["runningCount"] = running.get(deployment["id"], 0)
            deployment["pendingCount"] = pending.get(deployment["id"], 0)
            if deployment["status"] == "PRIMARY":
                deployment["desiredCount"] = service.get("desiredCount", 0)
        with contextlib.suppress(KeyError):
            self._ecs._sync_service_targets(cluster, service)

    def _event(self, service: Service, text: str) -> None:
        message = f"(service {service['serviceName']}) {text}"
        log.info("%s", message)
        event = {"id": emulator.core("responses").new_uuid(), "createdAt": emulator.now(), "message": message}
        service["events"] = [event, *service.get("events", [])][:KEPT_EVENTS]

    def _delete(self, delete: Any) -> Any:
        def delete_service(data: dict[str, Any]) -> Any:
            """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html"""
            ecs = self._ecs
            response = delete(data)
            if response[0] >= 400:
                return response
            cluster = ecs._resolve_cluster_name(data.get("cluster", "default"))
            name = ecs._resolve_service_ref(data.get("service", ""))[0]
            service = ecs._services[f"{cluster}/{name}"]
            service["status"] = "DRAINING"
            document = emulator.body_of(response)
            document["service"]["status"] = "DRAINING"
            document["service"].pop("roleArn", None)
            return emulator.core("responses").json_response(document)

        return delete_service
