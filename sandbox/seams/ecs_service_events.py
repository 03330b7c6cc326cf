"""What a service says in its own list of events (DescribeServices), and of some of it to EventBridge as well."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.seams.ecs_services import Scheduler

Service = dict[str, Any]
Task = dict[str, Any]
IMPAIRED = (
    "is unable to consistently start tasks successfully. For more information, see the Troubleshooting section of "
    "the Amazon ECS Developer Guide."
)


@behaviour("ecs")
def tasks_event(scheduler: Scheduler, service: Service, text: str, tasks: list[Task]) -> None:
    """A service's events name the tasks that it started and stopped.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    """
    named = " ".join(f"(task {task['taskArn'].rpartition('/')[2]})" for task in tasks)
    scheduler.event(service, f"{text} {named}.")


@behaviour("ecs")
def draining_event(scheduler: Scheduler, service: Service, number: int) -> None:
    """A service's events tell when connections of its tasks begin to drain.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    """
    scheduler.event(service, f"has begun draining connections on {number} tasks.")


@behaviour("ecs")
def targets_event(scheduler: Scheduler, service: Service, before: dict[str, set[str]]) -> None:
    """A service's events tell how many targets it registered and deregistered in which target group.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    """
    for arn, ips in (service.get("_published_targets") or {}).items():
        come, gone = set(ips) - before.get(arn, set()), before.get(arn, set()) - set(ips)
        if come:
            scheduler.event(service, f"registered {len(come)} targets in (target-group {arn})")
        if gone:
            scheduler.event(service, f"deregistered {len(gone)} targets in (target-group {arn})")


@behaviour("ecs")
def unhealthy_event(scheduler: Scheduler, service: Service, task: Task, states: dict[str, str]) -> None:
    """A service's events tell which task's port is unhealthy in which target group, and why.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-unhealthy-event-messages.html
    """
    for balancer in service.get("loadBalancers") or []:
        group, port = balancer.get("targetGroupArn"), balancer.get("containerPort")
        if states.get(group) == "unhealthy":
            named = f"(task {task['taskArn'].rpartition('/')[2]}) (port {port})"
            why = scheduler.why_unhealthy(task, group, int(port))
            scheduler.event(service, f"{named} is unhealthy in (target-group {group}) due to (reason {why})")


@behaviour("ecs")
def steady_state_event(scheduler: Scheduler, service: Service) -> None:
    """A service that has all its tasks, healthy, says that it has reached a steady state: in its events and as one.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-event-messages-list.html
    """
    scheduler.event(service, "has reached a steady state.")
    scheduler.tell(service, "SERVICE_STEADY_STATE")


@behaviour("ecs")
def impaired_event(scheduler: Scheduler, service: Service) -> None:
    """A service whose tasks fail again and again says that it cannot consistently start tasks.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-throttle-logic.html
    """
    scheduler.event(service, IMPAIRED)
    scheduler.tell(service, "SERVICE_TASK_START_IMPAIRED", "WARN")
