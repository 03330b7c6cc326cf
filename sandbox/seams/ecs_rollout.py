"""How a service's tasks are counted, judged and replaced: one function for each rule of AWS's scheduler."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from sandbox import emulator
from sandbox.behaviours import behaviour

Service = dict[str, Any]
Deployment = dict[str, Any]
Task = dict[str, Any]
# How long a task without any health check must run before it counts for a deployment's success.
STEADY_SECONDS = 5.0
# Starts after failures are spaced out, doubling from the first to the second number (AWS: up to 15 minutes).
FIRST_DELAY, LONGEST_DELAY = 0.5, 60.0
NO_THRESHOLD = 10**9
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
LEAST_FAILURES, MOST_FAILURES, FAILED_PERCENT = 3, 200, 50.0


@behaviour("ecs", otherwise=lambda *_: 0)
def minimum_healthy_percent(service: Service, desired: int) -> int:
    """A rollout never takes a service below minimumHealthyPercent of its desired tasks (rounded up).

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
    """
    return math.ceil(
        desired * int((service.get("deploymentConfiguration") or {}).get("minimumHealthyPercent", 100)) / 100
    )


@behaviour("ecs", otherwise=lambda _, desired: 2 * desired)
def maximum_percent(service: Service, desired: int) -> int:
    """A rollout never has more than maximumPercent of a service's desired tasks (rounded down).

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentConfiguration.html
    """
    return math.floor(desired * int((service.get("deploymentConfiguration") or {}).get("maximumPercent", 200)) / 100)


@behaviour("ecs", otherwise=lambda desired, mine, started: max(0, desired - started))
def ended_tasks_are_replaced(desired: int, mine: int, started: int) -> int:
    """A service starts a new task for each that died, was stopped or was unhealthy: desiredCount is kept.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_services.html
    """
    return max(0, desired - mine)


@behaviour("ecs", otherwise=lambda tasks: sorted(tasks, key=lambda task: str(task.get("createdAt")), reverse=True))
def scale_in_order(tasks: list[Task]) -> list[Task]:
    """A service that scales in keeps its availability zones balanced: first go tasks of the zone with the most.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-service-parameters.html
    """
    left = sorted(tasks, key=lambda task: str(task.get("createdAt")), reverse=True)
    ordered: list[Task] = []
    while left:
        zones = [task.get("availabilityZone") for task in left]
        fullest = max(left, key=lambda task: zones.count(task.get("availabilityZone")))
        left.remove(fullest)
        ordered.append(fullest)
    return ordered


# Health


@behaviour("ecs", otherwise=lambda *_: True)
def container_health_counts(task: Task, checked: bool) -> bool:
    """A task with container health checks counts for a deployment only when it is HEALTHY.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
    """
    return not checked or task.get("healthStatus") == "HEALTHY"


@behaviour("ecs", otherwise=lambda *_: True)
def target_health_counts(states: Mapping[str, str]) -> bool:
    """A task behind load balancers counts for a deployment only when its targets are healthy.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-type-ecs.html
    """
    return all(state == "healthy" for state in states.values())


@behaviour("ecs", otherwise=lambda *_: False)
def grace_period_runs(service: Service, task: Task) -> bool:
    """Within healthCheckGracePeriodSeconds of a task's start, unhealthy targets and containers do not end it.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_CreateService.html (healthCheckGracePeriodSeconds)
    """
    return time.time() - emulator.epoch(task.get("startedAt")) < int(service.get("healthCheckGracePeriodSeconds") or 0)


@behaviour("ecs", otherwise=lambda *_: "")
def unhealthy_container(task: Task) -> str:
    """A service stops and replaces a task whose essential container is UNHEALTHY.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/healthcheck.html
    """
    return "Task failed container health checks" if task.get("healthStatus") == "UNHEALTHY" else ""


@behaviour("ecs", otherwise=lambda *_: "")
def unhealthy_target(states: Mapping[str, str]) -> str:
    """A service stops and replaces a task whose target is unhealthy.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/troubleshoot-service-load-balancers.html
    """
    for group, state in states.items():
        if state == "unhealthy":
            return f"Task failed ELB health checks in (target-group {group})"
    return ""


# Failures


@behaviour("ecs", otherwise=lambda *_: 0.0)
def delay_after_failures(failures: int) -> float:
    """After tasks that fail to start, each further start waits longer, up to a limit.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html
    Gives seconds.
    """
    return float(min(LONGEST_DELAY, FIRST_DELAY * 2 ** (failures - 1)))


@behaviour("ecs", otherwise=lambda *_: NO_THRESHOLD)
def breaker_threshold(service: Service) -> int:
    """The circuit breaker breaks a deployment after failures of half its desired tasks, at least 3 and at most 200.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
    """
    breaker = (service.get("deploymentConfiguration") or {}).get("deploymentCircuitBreaker") or {}
    given = breaker.get("thresholdConfiguration") or {}
    kind, value = given.get("type", "BOUNDED_PERCENT"), float(given.get("value", FAILED_PERCENT))
    if kind == "COUNT":
        return max(1, int(value))
    share = math.ceil(value * int(service.get("desiredCount", 0)) / 100)
    return max(1, share) if kind == "UNBOUNDED_PERCENT" else min(MOST_FAILURES, max(LEAST_FAILURES, share))


@behaviour("ecs", otherwise=lambda *_: False)
def healthy_task_resets_failures(service: Service) -> bool:
    """A task that becomes healthy sets the circuit breaker's count of failures back to 0.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeploymentCircuitBreaker.html (resetOnHealthyTask)
    """
    breaker = (service.get("deploymentConfiguration") or {}).get("deploymentCircuitBreaker") or {}
    return bool(breaker.get("resetOnHealthyTask", True))


@behaviour("ecs", otherwise=lambda *_: None)
def last_good_deployment(service: Service, failed: Deployment, rollback: bool) -> Deployment | None:
    """With rollback on, a broken deployment gives way to the last that completed; without, the service stays as it is.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-circuit-breaker.html
    """
    good = [d for d in service["deployments"] if d is not failed and d.get("rolloutState") == "COMPLETED"]
    return good[0] if good and rollback else None


# The list of deployments


@behaviour("ecs")
def deployments_go_with_their_service(service: Service) -> None:
    """When a service is deleted, ECS deletes its service deployments.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
    """
    service.pop("_service_deployments", None)


@behaviour("ecs", otherwise=lambda *_: True)
def still_listed(deployment: Deployment, primary: Deployment, with_tasks: set[Any]) -> bool:
    """A deployment without tasks is no longer listed once the next has completed: services_stable waits for that.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Service.html (deployments)
    """
    return deployment is primary or deployment["id"] in with_tasks
