"""The service scheduler: keeps desired tasks running, rolls deployments out by AWS's rules, breaks and rolls back."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.seams import ecs_rollout as rollout
from sandbox.seams.ecs_alarms import DeploymentAlarms, bake_seconds
from sandbox.seams.ecs_definitions import deleted_revision_goes
from sandbox.seams.ecs_deployments import ALARMS, BREAKER, Monitor, ServiceDeployments
from sandbox.seams.ecs_events import Events, deployment_state_change_events, service_action_events
from sandbox.seams.ecs_roles import role_refusal
from sandbox.seams.ecs_service_events import (
    draining_event,
    impaired_event,
    steady_state_event,
    targets_event,
    tasks_event,
    unhealthy_event,
)
from sandbox.seams.ecs_tasks import TaskLife, nothing

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

log = logging.getLogger("sandbox.ecs")
Service = dict[str, Any]
Deployment = dict[str, Any]
Task = dict[str, Any]
TICK_SECONDS = 0.25
# How often what is over is forgotten, in ticks.
PRUNE_TICKS = 8
KEPT_EVENTS = 100
# AWS names ten tasks in one event at most.
TOLD_AT_ONCE = 10
SCHEDULER = "ServiceSchedulerInitiated"
BAD_ENDS = ("EssentialContainerExited", "TaskFailedToStart")


class Scheduler:
    """One thread for all tasks and services; `reconcile` is also called by the emulator right after a change."""

    def __init__(self, runtime: Runtime, ecs: Any, life: TaskLife, events: Events) -> None:
        self._runtime = runtime
        self._ecs = ecs
        self._life = life
        self._events = events
        self._records = ServiceDeployments(ecs)
        self._alarms = DeploymentAlarms(self._records)
        self._end = threading.Event()
        self._lock = threading.RLock()

    def install(self) -> None:
        ecs = self._ecs
        self._records.install(self.stop_deployment)
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
        ecs._refresh_service_state = self.refresh

    def start(self) -> None:
        threading.Thread(target=self._loop, name="service-scheduler", daemon=True).start()

    def close(self) -> None:
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
            if rounds % PRUNE_TICKS == 0:
                self._life.prune()
                deleted_revision_goes(self._ecs)

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
                if self._records.follow(service, primary):
                    self._alarms.begin(service, primary)
                    deployment_state_change_events(self._events, service, primary, "SERVICE_DEPLOYMENT_IN_PROGRESS")
                self._count_failures(service, primary, tasks)
                self._look_at_alarms(service, primary)
                self._roll_back_on_request(service, primary)
                primary = self._ecs._primary_deployment(service) or primary
                self._stop_unhealthy(service, live)
                live = [task for task in live if task.get("desiredStatus") == "RUNNING"]
                self._reset_failures(service, primary, live)
                self._scale(cluster, service, primary, live)
                self._complete(service, primary, self._tasks_of(service))
            self.refresh(cluster, f"service:{service['serviceName']}")
            self._records.update(service, rollout.breaker_threshold(service))

    def _tasks_of(self, service: Service) -> list[Task]:
        group, cluster = f"service:{service['serviceName']}", service["clusterArn"]
        return [t for t in list(self._ecs._tasks.values()) if t.get("group") == group and t["clusterArn"] == cluster]

    def _drain(self, service: Service, tasks: list[Task], live: list[Task]) -> None:
        self._end_tasks(service, live, "Service deleted", "has stopped")
        if all(task.get("lastStatus") == "STOPPED" for task in tasks):
            service["status"] = "INACTIVE"
            service["deployments"] = []
            rollout.deployments_go_with_their_service(service)
            self._runtime.changed()

    def _scale(self, cluster: str, service: Service, primary: Deployment, live: list[Task]) -> None:
        """Rolling update. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html"""
        desired = int(service.get("desiredCount", 0))
        least, most = rollout.minimum_healthy_percent(service, desired), rollout.maximum_percent(service, desired)
        mine = [task for task in live if task.get("_deployment_id") == primary["id"]]
        others = [task for task in live if task.get("_deployment_id") != primary["id"]]
        healthy = [task for task in mine if self._is_healthy(service, task)]
        failed = primary.get("rolloutState") == "FAILED"
        scaling = f"Scaling activity initiated by (deployment {primary['id']})"
        self._end_tasks(service, rollout.scale_in_order(mine)[: max(0, len(mine) - desired)], scaling, "has stopped")
        started = int(primary.get("_started", 0))
        need = 0 if failed else rollout.ended_tasks_are_replaced(desired, len(mine), started)
        room = max(0, most - len(live))
        if need > 0 and time.time() >= primary.get("_next_start", 0):
            self._launch(cluster, service, primary, min(need, room))
        # The old ones go as new ones take their place; where there is no room for new ones, as far as the minimum lets.
        keep = max(0, desired - len(healthy))
        if not failed and need > room:
            keep = min(keep, max(0, least - len(healthy)))
        if failed:
            keep = len(others)
        self._end_tasks(service, others[keep:], scaling, "has stopped")

    def _end_tasks(self, service: Service, tasks: list[Task], reason: str, verb: str) -> None:
        if not tasks:
            return
        behind = [t for t in tasks if t.get("lastStatus") == "RUNNING" and service.get("loadBalancers")]
        for task in tasks:
            self._life.end(task, reason, SCHEDULER)
        if behind:
            draining_event(self, service, len(behind))
        for start in range(0, len(tasks), TOLD_AT_ONCE):
            part = tasks[start : start + TOLD_AT_ONCE]
            tasks_event(self, service, f"{verb} {len(part)} running tasks:", part)

    def _launch(self, cluster: str, service: Service, primary: Deployment, number: int) -> None:
        tasks: list[Task] = []
        for _ in range(number):
            if (reason := self._refusal(service, primary)) or (reason := self._launch_one(cluster, service, primary)):
                self.event(service, f"failed to launch a task with (error {reason}).")
                service_action_events(self._events, service, "SERVICE_TASK_CONFIGURATION_FAILURE", "ERROR", reason)
                self._failed(service, primary)
                break
            tasks.append(self._ecs._tasks[primary["_last"]])
        primary["_started"] = int(primary.get("_started", 0)) + len(tasks)
        for start in range(0, len(tasks), TOLD_AT_ONCE):
            part = tasks[start : start + TOLD_AT_ONCE]
            tasks_event(self, service, f"has started {len(part)} tasks:", part)

    def _refusal(self, service: Service, primary: Deployment) -> str:
        definition = self._ecs._task_defs.get(self._ecs._resolve_td_key(primary["taskDefinition"])) or {}
        roles = (definition.get("executionRoleArn"), definition.get("taskRoleArn"))
        return role_of_the_service(next((text for role in roles if role and (text := role_refusal(role))), ""))

    def _launch_one(self, cluster: str, service: Service, primary: Deployment) -> str:
        """Why not; nothing when it is on its way."""
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
                "tags": tags_of_a_services_task(self._ecs, service, primary),
                "_deploymentId": primary["id"],
            }
        )
        document = emulator.body_of(response)
        if response[0] >= 400:
            return str(document.get("message"))
        primary["_last"] = document["tasks"][0]["taskArn"]
        return ""

    # Health

    def _is_healthy(self, service: Service, task: Task) -> bool:
        """Running, its containers' checks passed, and every target of it healthy."""
        if task.get("lastStatus") != "RUNNING":
            return False
        if not rollout.container_health_counts(task, self._has_health_check(task)):
            return False
        states = self._target_states(service, task)
        if not rollout.target_health_counts(states):
            return False
        checked = any(c.get("healthStatus") == "HEALTHY" for c in task["containers"])
        age = time.time() - emulator.epoch(task.get("startedAt"))
        return bool(states) or checked or age >= rollout.STEADY_SECONDS

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

    def why_unhealthy(self, task: Task, group: str, port: int) -> str:
        """As DescribeTargetHealth describes it."""
        ask, ip = self._runtime.target_description, self._ecs._task_ip(task)
        return ask(group, ip, port) if ask is not None and ip else ""

    def _stop_unhealthy(self, service: Service, live: list[Task]) -> None:
        for task in live:
            if task.get("lastStatus") != "RUNNING" or rollout.grace_period_runs(service, task):
                continue
            states = self._target_states(service, task)
            if reason := rollout.unhealthy_target(states):
                unhealthy_event(self, service, task, states)
            elif reason := rollout.unhealthy_container(task):
                self.event(service, f"(task {task['taskArn'].rpartition('/')[2]}) failed container health checks.")
            if reason:
                task["_failed"] = True
                self._end_tasks(service, [task], reason, "has stopped")

    # Failures

    def _count_failures(self, service: Service, primary: Deployment, tasks: list[Task]) -> None:
        for task in tasks:
            if task.get("desiredStatus") != "STOPPED" or task.get("_counted"):
                continue
            task["_counted"] = True
            badly = task.get("_failed") or task.get("stopCode") in BAD_ENDS
            if badly and task.get("_deployment_id") == primary["id"]:
                self._failed(service, primary)

    def _reset_failures(self, service: Service, primary: Deployment, live: list[Task]) -> None:
        for task in live:
            if task.get("_deployment_id") == primary["id"] and not task.get("_seen_healthy"):
                task["_seen_healthy"] = self._is_healthy(service, task)
                if task["_seen_healthy"] and rollout.healthy_task_resets_failures(service):
                    primary["_failures"] = 0
                    if primary.get("rolloutState") == "IN_PROGRESS":
                        primary["failedTasks"] = 0

    def _failed(self, service: Service, deployment: Deployment) -> None:
        """One more failure in a row: wait longer before the next start; break the deployment when there are too many.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
        """
        failures = deployment["_failures"] = int(deployment.get("_failures", 0)) + 1
        deployment["_next_start"] = time.time() + rollout.delay_after_failures(failures)
        deployment["updatedAt"] = emulator.now()
        if failures == rollout.LEAST_FAILURES:
            impaired_event(self, service)
        if deployment.get("rolloutState") != "IN_PROGRESS":
            return
        deployment["failedTasks"] = int(deployment.get("failedTasks", 0)) + 1
        breaker = (service.get("deploymentConfiguration") or {}).get("deploymentCircuitBreaker") or {}
        if not breaker.get("enable") or deployment["failedTasks"] < rollout.breaker_threshold(service):
            return
        self._break(service, deployment, bool(breaker.get("rollback")), BREAKER)

    def _look_at_alarms(self, service: Service, primary: Deployment) -> None:
        if primary.get("rolloutState") == "IN_PROGRESS" and self._alarms.triggered(service, primary):
            alarms = (service.get("deploymentConfiguration") or {}).get("alarms") or {}
            self._break(service, primary, bool(alarms.get("rollback")), ALARMS)

    def _break(self, service: Service, deployment: Deployment, rollback: bool, monitor: Monitor) -> None:
        """End a rollout as FAILED, and go back where the monitor that ended it does."""
        deployment["rolloutState"], deployment["rolloutStateReason"] = "FAILED", f"{monitor.name}: {monitor.failed}."
        self.event(service, f"(deployment {deployment['id']}) deployment failed: {monitor.failed}.")
        deployment_state_change_events(self._events, service, deployment, "SERVICE_DEPLOYMENT_FAILED")
        last_good = rollout.last_good_deployment(service, deployment, rollback)
        self._records.broken(service, deployment, last_good, monitor)
        if last_good is not None:
            self._roll_back(service, deployment, last_good, monitor.name)

    def _roll_back(self, service: Service, failed: Deployment, last_good: Deployment, why: str) -> None:
        failed["status"], failed["desiredCount"] = "ACTIVE", 0
        last_good["status"], last_good["desiredCount"] = "PRIMARY", service.get("desiredCount", 0)
        last_good["rolloutState"] = "IN_PROGRESS"
        last_good["rolloutStateReason"] = f"{why}: rolling back to deploymentId {last_good['id']}."
        last_good["updatedAt"] = emulator.now()
        last_good["_failures"], last_good["_next_start"], last_good["_started"] = 0, 0, 0
        service["taskDefinition"] = last_good["taskDefinition"]
        service.update(last_good.get("_configuration") or {})
        self.event(service, f"rolling back to deployment {last_good['id']}.")
        deployment_state_change_events(self._events, service, last_good, "SERVICE_DEPLOYMENT_IN_PROGRESS")

    def stop_deployment(self, service: Service, record: dict[str, Any]) -> bool:
        """Ask for the way back; false when there is no deployment to go back to."""
        with self._lock:
            arn = record["serviceDeploymentArn"]
            going = next((d for d in service["deployments"] if d.get("_service_deployment") == arn), None)
            if going is None or rollout.last_good_deployment(service, going, True) is None:
                return False
            record["status"], record["statusReason"] = (
                "ROLLBACK_REQUESTED",
                "Service deployment rolled back by request.",
            )
            record["updatedAt"] = emulator.now()
        self._runtime.changed()
        return True

    def _roll_back_on_request(self, service: Service, primary: Deployment) -> None:
        if not self._records.rollback_requested(service, primary):
            return
        last_good = rollout.last_good_deployment(service, primary, True)
        if last_good is not None:
            primary["rolloutState"] = "FAILED"
            primary["rolloutStateReason"] = f"ECS deployment {primary['id']} was stopped."
            self._records.roll_back(service, primary, last_good)
            self._roll_back(service, primary, last_good, "ECS deployment stopped")

    # Success

    def _complete(self, service: Service, primary: Deployment, tasks: list[Task]) -> None:
        desired = int(service.get("desiredCount", 0))
        going = {t.get("_deployment_id") for t in tasks if t.get("lastStatus") != "STOPPED"}
        mine = [t for t in tasks if t.get("_deployment_id") == primary["id"] and t.get("desiredStatus") == "RUNNING"]
        healthy = [task for task in mine if self._is_healthy(service, task)]
        others_live = any(
            t.get("desiredStatus") == "RUNNING" and t.get("_deployment_id") != primary["id"] for t in tasks
        )
        steady = len(healthy) == len(mine) == desired and not others_live
        primary["_steady_since"] = (primary.get("_steady_since") or time.time()) if steady else None
        baked = steady and time.time() - primary["_steady_since"] >= bake_seconds(service)
        if baked and primary.get("rolloutState") == "IN_PROGRESS":
            primary["_failures"] = 0
            self._records.completed(service, primary)
            primary["rolloutState"] = "COMPLETED"
            primary["rolloutStateReason"] = f"ECS deployment {primary['id']} completed."
            primary["failedTasks"] = 0
            primary["updatedAt"] = emulator.now()
            self.event(service, f"(deployment {primary['id']}) deployment completed.")
            deployment_state_change_events(self._events, service, primary, "SERVICE_DEPLOYMENT_COMPLETED")
        if steady != service.get("_steady"):
            service["_steady"] = steady
            if steady:
                steady_state_event(self, service)
            self._runtime.changed()
        if primary.get("rolloutState") == "COMPLETED":
            service["deployments"] = [d for d in service["deployments"] if rollout.still_listed(d, primary, going)]

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
        before = {arn: set(ips) for arn, ips in (service.get("_published_targets") or {}).items()}
        with contextlib.suppress(KeyError):
            self._ecs._sync_service_targets(cluster, service)
        targets_event(self, service, before)

    def event(self, service: Service, text: str) -> None:
        """One line of the service's events. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages.html"""
        message = f"(service {service['serviceName']}) {text}"
        log.info("%s", message)
        identifier = emulator.core("responses").new_uuid()
        event = {"id": identifier, "createdAt": emulator.now(), "message": message, "_ours": True}
        service["events"] = [event, *service.get("events", [])][:KEPT_EVENTS]

    def tell(self, service: Service, name: str, kind: str = "INFO") -> None:
        service_action_events(self._events, service, name, kind)


@behaviour("ecs", code="ClientException", otherwise=lambda *_: "")
def role_of_the_service(reason: str) -> str:
    """A service whose task or execution role is gone, or does not trust ECS, launches nothing and says so in an event.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    """
    return reason


@behaviour("ecs")
def tags_of_a_services_task(ecs: Any, service: Service, primary: Deployment) -> list[dict[str, str]]:
    """propagateTags copies a service's or its task definition's tags to its tasks; ECS's own come with them if asked.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-using-tags.html
    """
    source = {"SERVICE": service["serviceArn"], "TASK_DEFINITION": primary["taskDefinition"]}
    tags = [dict(tag) for tag in ecs._tags.get(source.get(service.get("propagateTags") or "", ""), [])]
    if service.get("enableECSManagedTags"):
        cluster = service["clusterArn"].rpartition("/")[2]
        own = {"aws:ecs:clusterName": cluster, "aws:ecs:serviceName": service["serviceName"]}
        tags += [{"key": key, "value": value} for key, value in own.items()]
    return tags
