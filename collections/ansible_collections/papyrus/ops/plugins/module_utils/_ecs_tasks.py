# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks of an ECS service with address, network interface and image, and load balancer targets made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._calls import Calls, batches
from ._rows import json_safe, listing

LIST_PAGE = 100
"""ListTasks' maxResults and the number of tasks that DescribeTasks takes:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html"""

FILTER_VALUES = 200
"""Values that one EC2 filter takes: https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html"""

EXEC_AGENT = "ExecuteCommandAgent"


class TaskProblem(Exception):
    """The tasks are not such as a load balancer target needs; the text says which and what to do."""

    def __init__(self, message: str, *, left_out: Sequence[Mapping[str, str]] = ()) -> None:
        self.left_out = list(left_out)
        super().__init__(message)


@dataclass
class Tasks:
    """`tasks` can be targets; `left_out` names every other task with its reason; `stopped` only when none runs.

    `raw` are all tasks as ECS describes them, `interfaces` the network interfaces of `tasks` as EC2 does.
    """

    tasks: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    stopped: list[dict[str, Any]] = field(default_factory=list)
    raw: list[dict[str, Any]] = field(default_factory=list)
    interfaces: dict[str, dict[str, Any]] = field(default_factory=dict)


def describe_service(calls: Calls, cluster: str, service: str) -> dict[str, Any]:
    """The service as ECS describes it. TaskProblem when the cluster has none of that name."""
    answer = calls.call(
        "ecs",
        "describe_services",
        f"service {service} in cluster {cluster}",
        hint="Check cluster, service and region.",
        cluster=cluster,
        services=[service],
    )
    if not answer.get("services"):
        reason = next((str(failure.get("reason")) for failure in answer.get("failures", [])), "MISSING")
        raise TaskProblem(f"there is no service {service} in cluster {cluster} (ECS says {reason})")
    return dict(answer["services"][0])


def list_tasks(calls: Calls, cluster: str, service: str, desired: str = "RUNNING") -> list[str]:
    """ARNs of a service's tasks by desired status, 100 a call."""
    arns: list[str] = []
    for page in calls.pages(
        "ecs",
        "list_tasks",
        f"service {service} in cluster {cluster}",
        token="nextToken",
        hint="Check cluster, service and region, and that ecs:ListTasks is allowed.",
        cluster=cluster,
        serviceName=service,
        desiredStatus=desired,
        maxResults=LIST_PAGE,
    ):
        arns.extend(page.get("taskArns", []))
    return arns


def describe_tasks(
    calls: Calls, cluster: str, arns: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Tasks in the order of `arns`, and those that ECS does not know any more with its reason; 100 a call."""
    found: dict[str, dict[str, Any]] = {}
    missing: list[dict[str, str]] = []
    for batch in batches(arns, LIST_PAGE):
        answer = calls.call(
            "ecs", "describe_tasks", f"{len(batch)} tasks in cluster {cluster}", cluster=cluster, tasks=list(batch)
        )
        found.update({task["taskArn"]: task for task in answer.get("tasks", [])})
        missing.extend(
            {"task_arn": str(failure.get("arn", "")), "reason": f"ECS says {failure.get('reason', 'MISSING')}"}
            for failure in answer.get("failures", [])
        )
    return [found[arn] for arn in arns if arn in found], missing


def describe_interfaces(calls: Calls, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Network interfaces by id, 200 a call; by filter, as one that is gone would fail a call by ids as a whole."""
    interfaces: dict[str, dict[str, Any]] = {}
    for batch in batches(ids, FILTER_VALUES):
        for page in calls.pages(
            "ec2",
            "describe_network_interfaces",
            f"{len(batch)} network interfaces of tasks",
            token="NextToken",
            Filters=[{"Name": "network-interface-id", "Values": list(batch)}],
        ):
            interfaces.update({item["NetworkInterfaceId"]: item for item in page.get("NetworkInterfaces", [])})
    return interfaces


def describe_task_definition(calls: Calls, task_definition: str) -> dict[str, Any]:
    answer = calls.call("ecs", "describe_task_definition", task_definition, taskDefinition=task_definition)
    return dict(answer["taskDefinition"])


def running_tasks(
    calls: Calls, cluster: str, service: str, container: str | None, *, explain_none: bool = True
) -> Tasks:
    """Tasks of the service that run now. When none does, the stopped ones are asked for why (two calls more)."""
    found, missing = describe_tasks(calls, cluster, list_tasks(calls, cluster, service))
    result = Tasks(left_out=missing, raw=found)
    usable: list[dict[str, Any]] = []
    for task in found:
        reason = why_left_out(task)
        if reason:
            result.left_out.append({"task_arn": task["taskArn"], "reason": reason})
        else:
            usable.append(task)
    result.interfaces = describe_interfaces(calls, [eni for eni in map(interface_id, usable) if eni])
    result.tasks = [shape_task(task, container_of(task, container), result.interfaces) for task in usable]
    if not usable and explain_none:
        result.stopped = stopped_tasks(calls, cluster, service)
    return result


def stopped_tasks(calls: Calls, cluster: str, service: str) -> list[dict[str, Any]]:
    """Tasks of the service that ECS still remembers as stopped (about an hour), at most 100; two calls."""
    arns = list_tasks(calls, cluster, service, "STOPPED")[:LIST_PAGE]
    return [stopped_shape(task) for task in describe_tasks(calls, cluster, arns)[0]]


def why_left_out(task: Mapping[str, Any]) -> str:
    """Why a task cannot be a target now, or ""."""
    last, desired = task.get("lastStatus", ""), task.get("desiredStatus", "")
    if desired == "STOPPED" or last in {"DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"}:
        return f"is stopping ({last}): {stop_reason(task)}"
    if last != "RUNNING":
        return f"does not run yet ({last})"
    if not interface_id(task):
        return "has no network interface of its own: only tasks with network mode awsvpc can be ip targets"
    if not private_ip(task):
        return "has no private IPv4 address yet"
    return ""


def stop_reason(task: Mapping[str, Any]) -> str:
    """Stop code, reason and exit codes of a stopped or stopping task in one line."""
    parts = [str(task[key]) for key in ("stopCode", "stoppedReason") if task.get(key)]
    for container in task.get("containers", []):
        if container.get("exitCode") is not None:
            parts.append(f"container {container.get('name')} ended with exit code {container['exitCode']}")
        if container.get("reason"):
            parts.append(f"container {container.get('name')}: {container['reason']}")
    return "; ".join(parts) or "ECS gives no reason"


def stopped_shape(task: Mapping[str, Any]) -> dict[str, Any]:
    shaped: dict[str, Any] = json_safe(
        {
            "task_arn": task["taskArn"],
            "stopped_at": task.get("stoppedAt"),
            "stop_code": task.get("stopCode", ""),
            "started_by": task.get("startedBy", ""),
            "reason": stop_reason(task),
            "exit_codes": {c.get("name", ""): c.get("exitCode") for c in task.get("containers", [])},
            "task_definition": task.get("taskDefinitionArn", ""),
        }
    )
    return shaped


def container_of(task: Mapping[str, Any], name: str | None) -> Mapping[str, Any]:
    """The container called `name`, or the only one. TaskProblem lists the names that the task has."""
    containers: list[Mapping[str, Any]] = list(task.get("containers", []))
    names = [str(container.get("name")) for container in containers]
    if name is None:
        if len(containers) == 1:
            return containers[0]
        raise TaskProblem(
            f"task {task['taskArn']} has several containers ({', '.join(names)}): say which one with 'container'"
        )
    for container in containers:
        if container.get("name") == name:
            return container
    raise TaskProblem(f"task {task['taskArn']} has no container {name!r}; it has: {', '.join(names) or 'none'}")


def container_definition(task_definition: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """The container's part of a task definition. TaskProblem lists the names that it has."""
    definitions: list[dict[str, Any]] = list(task_definition.get("containerDefinitions", []))
    if name is None and len(definitions) == 1:
        return definitions[0]
    for definition in definitions:
        if name is not None and definition.get("name") == name:
            return definition
    names = ", ".join(str(definition.get("name")) for definition in definitions)
    arn = task_definition.get("taskDefinitionArn", "")
    if name is None:
        raise TaskProblem(f"task definition {arn} has several containers ({names}): say which one with 'container'")
    raise TaskProblem(f"task definition {arn} has no container {name!r}; it has: {names}")


def container_port(definition: Mapping[str, Any]) -> int:
    """The container's only TCP port. TaskProblem when it names none or several."""
    ports = sorted(
        {
            int(mapping["containerPort"])
            for mapping in definition.get("portMappings", [])
            if mapping.get("protocol", "tcp") == "tcp" and mapping.get("containerPort")
        }
    )
    if len(ports) == 1:
        return ports[0]
    has = "no TCP port" if not ports else f"several TCP ports ({', '.join(map(str, ports))})"
    raise TaskProblem(f"container {definition.get('name')!r} has {has} in its task definition: give 'port'")


def _details(task: Mapping[str, Any]) -> dict[str, str]:
    for attachment in task.get("attachments", []):
        if attachment.get("type") == "ElasticNetworkInterface" and attachment.get("status") != "DELETED":
            return {item["name"]: item.get("value", "") for item in attachment.get("details", [])}
    return {}


def interface_id(task: Mapping[str, Any]) -> str:
    return _details(task).get("networkInterfaceId", "")


def private_ip(task: Mapping[str, Any]) -> str:
    return _details(task).get("privateIPv4Address", "")


def exec_agent(container: Mapping[str, Any]) -> str:
    """Status of the container's ECS Exec agent; "ABSENT" when the task was started without Exec."""
    for agent in container.get("managedAgents", []):
        if agent.get("name") == EXEC_AGENT:
            return str(agent.get("lastStatus") or "PENDING")
    return "ABSENT"


def shape_task(
    task: Mapping[str, Any], container: Mapping[str, Any], interfaces: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """A task as the modules return it. Zone and groups come from the interface, the zone else from the task."""
    details = _details(task)
    interface = interfaces.get(details.get("networkInterfaceId", ""), {})
    shaped: dict[str, Any] = json_safe(
        {
            "task_arn": task["taskArn"],
            "ip": details.get("privateIPv4Address", ""),
            "eni": details.get("networkInterfaceId", ""),
            "subnet": details.get("subnetId") or interface.get("SubnetId", ""),
            "vpc": interface.get("VpcId", ""),
            "availability_zone": interface.get("AvailabilityZone") or task.get("availabilityZone", ""),
            "security_groups": [group["GroupId"] for group in interface.get("Groups", [])],
            "container": container.get("name", ""),
            "image": container.get("image", ""),
            "image_digest": container.get("imageDigest", ""),
            "task_definition": task.get("taskDefinitionArn", ""),
            "exec_enabled": bool(task.get("enableExecuteCommand", False)),
            "exec_agent": exec_agent(container),
            "last_status": task.get("lastStatus", ""),
            "health_status": task.get("healthStatus", "UNKNOWN"),
            "started_at": task.get("startedAt"),
            "platform": f"{task.get('platformFamily') or ''} {task.get('platformVersion') or ''}".strip(),
        }
    )
    return shaped


def targets_of(tasks: Iterable[Mapping[str, Any]], ports: Mapping[str, int]) -> list[dict[str, Any]]:
    """RegisterTargets' shape; `ports` maps task definition → port. The zone is left out where it is not known."""
    targets: list[dict[str, Any]] = []
    for task in tasks:
        target: dict[str, Any] = {"Id": task["ip"], "Port": ports[task["task_definition"]]}
        if task["availability_zone"]:
            target["AvailabilityZone"] = task["availability_zone"]
        targets.append(target)
    return targets


def task_targets(calls: Calls, tasks: Sequence[Mapping[str, Any]], container: str | None, port: int | None) -> Any:
    """Targets of the tasks; without `port` each task definition in use is asked once for its container's port."""
    ports: dict[str, int] = {}
    for arn in sorted({str(task["task_definition"]) for task in tasks}):
        ports[arn] = port or container_port(container_definition(describe_task_definition(calls, arn), container))
    return targets_of(tasks, ports)


def no_task_message(cluster: str, service: str, found: Tasks) -> str:
    """Why there is nothing to test: what the other tasks do, or how the last ones ended."""
    text = f"service {service} in cluster {cluster} has no RUNNING task"
    if found.left_out:
        return f"{text}: " + listing((f"{short(item['task_arn'])} {item['reason']}" for item in found.left_out), 3)
    if found.stopped:
        last = max(found.stopped, key=lambda task: str(task["stopped_at"] or ""))
        return f"{text}; the last one, {short(last['task_arn'])}, stopped: {last['reason']}. Look at its log."
    return f"{text} and none has stopped lately. Check the service's desired count and its events."


def short(arn: str) -> str:
    """The part of an ARN after the last slash, enough to recognise a task in a sentence."""
    return arn.rsplit("/", 1)[-1]
