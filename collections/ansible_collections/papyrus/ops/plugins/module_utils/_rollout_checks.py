# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands against a rollout before anything is changed, and the request that begins it; pure (F3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._ecs_tasks import short

OPEN = ("PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
"""States of a service deployment that has not ended:
https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html"""

CONTROLLERS = {
    "CODE_DEPLOY": "CodeDeploy rolls it out: create a CodeDeploy deployment instead",
    "EXTERNAL": "a third party rolls it out by task sets",
}
STRATEGIES = {
    "BLUE_GREEN": "its traffic is shifted between two revisions at once",
    "LINEAR": "its traffic is shifted in steps",
    "CANARY": "its traffic is shifted after a share of it was tried",
}
FARGATE_PROVIDERS = frozenset({"FARGATE", "FARGATE_SPOT"})


class Refused(Exception):
    """The rollout was not begun, and nothing was changed; the text says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """What is asked of a rollout. Times in seconds.

    `timeout` None leaves the end to ECS' circuit breaker. `roll_back` goes back explicitly where ECS does not.
    `instead_of` is the revision that is left when going back; `deployment` one that was begun before.
    """

    cluster: str
    service: str
    task_definition: str
    force: bool = True
    enable_exec: bool = True
    timeout: float | None = None
    interval: float = 5.0
    roll_back: bool = True
    back_timeout: float = 900.0
    settle_timeout: float = 180.0
    log_lines: int = 10
    instead_of: str = ""
    deployment: str = ""


def family_of(task_definition: str) -> str:
    """`arn:…:task-definition/papyrus-task:7` → `papyrus-task`."""
    return short(task_definition).rpartition(":")[0] or short(task_definition)


def breaker_of(service: Mapping[str, Any]) -> tuple[bool, bool]:
    """Whether the deployment circuit breaker is on, and whether it rolls back."""
    breaker = (service.get("deploymentConfiguration") or {}).get("deploymentCircuitBreaker") or {}
    return bool(breaker.get("enable")), bool(breaker.get("enable") and breaker.get("rollback"))


def alarms_of(service: Mapping[str, Any]) -> tuple[list[str], bool]:
    """Names of the deployment alarms that are in use, and whether they roll back."""
    alarms = (service.get("deploymentConfiguration") or {}).get("alarms") or {}
    names = [str(name) for name in alarms.get("alarmNames") or []] if alarms.get("enable") else []
    return names, bool(names and alarms.get("rollback"))


def primary_of(service: Mapping[str, Any]) -> dict[str, Any]:
    """The deployment which the service shall run; {} where ECS lists none."""
    deployments: Sequence[Mapping[str, Any]] = service.get("deployments") or []
    return next((dict(item) for item in deployments if item.get("status") == "PRIMARY"), {})


def check_service(service: Mapping[str, Any]) -> None:
    """Raises Refused for a service whose rollouts this is not about: gone, without tasks, or rolled out otherwise."""
    name = f"service {service.get('serviceName')}"
    status = str(service.get("status") or "ACTIVE")
    if status != "ACTIVE":
        raise Refused(f"{name} is {status}: create it again before it can be rolled out.")
    controller = str((service.get("deploymentController") or {}).get("type") or "ECS")
    if controller != "ECS":
        why = CONTROLLERS.get(controller, "it is not known here")
        raise Refused(f"{name} has the deployment controller {controller}: {why}. Only ECS' own is handled here.")
    strategy = str((service.get("deploymentConfiguration") or {}).get("strategy") or "ROLLING")
    if strategy != "ROLLING":
        why = STRATEGIES.get(strategy, "it is not known here")
        raise Refused(f"{name} has the deployment strategy {strategy}: {why}. Only ROLLING is handled here.")
    if service.get("resourceManagementType") == "ECS":
        raise Refused(f"{name} is an Express service that ECS manages: change it by UpdateExpressGatewayService.")
    if int(service.get("desiredCount") or 0) < 1:
        what = "no container instance takes it" if service.get("schedulingStrategy") == "DAEMON" else "desired count 0"
        raise Refused(f"{name} runs no task ({what}): ECS would call any revision successful. Scale it up first.")


def check_limit(service: Mapping[str, Any], timeout: float | None) -> None:
    """Raises Refused when nothing would ever end a rollout that cannot succeed."""
    if timeout is None and not breaker_of(service)[0]:
        raise Refused(
            f"service {service.get('serviceName')} has no deployment circuit breaker, so ECS would try a failing "
            "revision for ever: turn the breaker on, or give 'timeout'."
        )


def check_in_flight(service: Mapping[str, Any], listed: Sequence[Mapping[str, Any]], own: str = "") -> None:
    """Raises Refused when another rollout is under way. `listed` as ListServiceDeployments gives them."""
    name = f"service {service.get('serviceName')}"
    deployments: Sequence[Mapping[str, Any]] = service.get("deployments") or []
    going = [str(item.get("id")) for item in deployments if item.get("rolloutState") == "IN_PROGRESS"]
    leaving = [
        f"{item.get('id')} ({item.get('status')}, {item.get('runningCount', 0)} running)"
        for item in deployments
        if item.get("status") != "PRIMARY" and primary_of(service).get("rolloutState") != "FAILED"
    ]
    opened = [
        f"{short(str(item.get('serviceDeploymentArn')))} ({item.get('status')})"
        for item in listed
        if item.get("status") in OPEN
    ]
    if own and primary_of(service).get("id") == own:
        return
    if going or leaving or opened:
        what = ", ".join([*going, *leaving, *opened])
        raise Refused(f"another rollout of {name} is in flight: {what}. Wait until it has ended.")


def check_definition(service: Mapping[str, Any], definition: Mapping[str, Any]) -> None:
    """Raises Refused for a revision that this service cannot run, before ECS finds out task by task."""
    arn = short(str(definition.get("taskDefinitionArn")))
    if str(definition.get("status") or "ACTIVE") != "ACTIVE":
        raise Refused(f"task definition {arn} is {definition['status']}: register it again and release that revision.")
    family = family_of(str(service.get("taskDefinition") or ""))
    if definition.get("family") != family:
        raise Refused(
            f"task definition {arn} is of the family {definition.get('family')}, but service "
            f"{service.get('serviceName')} runs {family}: is this the right service?"
        )
    needed = launch_type(service)
    usable = definition.get("compatibilities") or definition.get("requiresCompatibilities") or []
    if needed and usable and needed not in usable:
        raise Refused(f"task definition {arn} cannot run on {needed} (it is compatible with {', '.join(usable)}).")
    awsvpc = bool((service.get("networkConfiguration") or {}).get("awsvpcConfiguration"))
    mode = str(definition.get("networkMode") or "bridge")
    if awsvpc != (mode == "awsvpc"):
        raise Refused(
            f"task definition {arn} has the network mode {mode}, but service {service.get('serviceName')} has "
            f"{'a' if awsvpc else 'no'} network configuration for awsvpc."
        )
    for target in [*(service.get("loadBalancers") or []), *(service.get("serviceRegistries") or [])]:
        _check_target(arn, definition, target)


def _check_target(arn: str, definition: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    name, port = target.get("containerName"), target.get("containerPort")
    if not name:
        return
    containers = {str(c.get("name")): c for c in definition.get("containerDefinitions") or []}
    if name not in containers:
        raise Refused(f"task definition {arn} has no container {name}, which the service's load balancer needs.")
    ports = {mapping.get("containerPort") for mapping in containers[name].get("portMappings") or []}
    if port and port not in ports:
        raise Refused(f"container {name} of {arn} has no port {port}, which the service's load balancer needs.")


def check_way_back(previous: Mapping[str, Any], roll_back: bool) -> None:
    """Raises Refused when the revision that serves now could not be started again after a failed release."""
    if roll_back and str(previous.get("status") or "ACTIVE") != "ACTIVE":
        raise Refused(
            f"{short(str(previous.get('taskDefinitionArn')))}, which served before, is {previous['status']}: after a "
            "failed release ECS could not start it again. Register it again and roll that out first, or set "
            "'roll_back' to false."
        )


def launch_type(service: Mapping[str, Any]) -> str:
    """FARGATE, EC2, EXTERNAL, …; "" where capacity providers alone decide and are not Fargate's."""
    providers = {str(item.get("capacityProvider")) for item in service.get("capacityProviderStrategy") or []}
    if providers:
        return "FARGATE" if providers <= FARGATE_PROVIDERS else ""
    return str(service.get("launchType") or "")


def request_of(plan: Plan, service: Mapping[str, Any], arn: str) -> dict[str, Any]:
    """UpdateService's parameters: the revision always, so that no other can slip in; else only what changes.

    {} when nothing would change and no new deployment is forced.
    """
    switch_on = plan.enable_exec and not service.get("enableExecuteCommand")
    if not plan.force and not switch_on and service.get("taskDefinition") == arn:
        return {}
    request: dict[str, Any] = {"cluster": plan.cluster, "service": plan.service, "taskDefinition": arn}
    if plan.force:
        request["forceNewDeployment"] = True
    if switch_on:
        request["enableExecuteCommand"] = True
    return request


def images_of(definition: Mapping[str, Any]) -> dict[str, str]:
    """Container → image."""
    return {str(c.get("name")): str(c.get("image") or "") for c in definition.get("containerDefinitions") or []}


def difference(service: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], request: Any) -> Any:
    """Ansible's diff: revision, images and Exec; values of variables are the business of who makes the revision."""

    def state(definition: Mapping[str, Any], exec_enabled: bool) -> dict[str, Any]:
        return {
            "task_definition": str(definition.get("taskDefinitionArn") or ""),
            "images": images_of(definition),
            "enable_execute_command": exec_enabled,
        }

    now = bool(service.get("enableExecuteCommand"))
    return {
        "before": state(before, now),
        "after": state(after, now or bool(request.get("enableExecuteCommand"))) if request else state(before, now),
    }
