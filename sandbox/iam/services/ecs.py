"""ECS: ARNs out of clusters, services, tasks and families; roles that are passed; condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sandbox import emulator
from sandbox.iam.call import Call, values_of

TASKS = "ecs-tasks.amazonaws.com"
# Calls that start tasks of a definition: whoever makes them passes its roles.
STARTING = ("RunTask", "StartTask", "CreateService", "UpdateService", "CreateTaskSet")


def cluster(call: Call) -> str:
    return call.text("cluster", "clusterName").rpartition("/")[2] or "default"


def resources(call: Call, action: str) -> Sequence[str] | None:
    operation = action.partition(":")[2]
    if operation in ("RunTask", "StartTask", "RegisterTaskDefinition"):
        return [definition(call)]
    if operation in ("TagResource", "UntagResource", "ListTagsForResource") and call.text("resourceArn"):
        return [call.text("resourceArn")]
    if operation in ("CreateService", "UpdateService", "DeleteService", "DescribeServices", "ListServiceDeployments"):
        names = values_of(call.parameters, ("serviceName", "service", "services"))
        return [_arn(call, "service", name) for name in names]
    if operation in ("DescribeTasks", "StopTask", "ExecuteCommand", "GetTaskProtection", "UpdateTaskProtection"):
        found = [_arn(call, "task", name) for name in values_of(call.parameters, ("task", "tasks"))]
        both = [call.arn("ecs", f"cluster/{cluster(call)}")] if operation == "ExecuteCommand" else []
        return [*both, *found]
    if operation == "ListTasks":
        # Without a container instance nothing is named; ecs:cluster narrows it.
        names = values_of(call.parameters, ("containerInstance",))
        return [_arn(call, "container-instance", name) for name in names]
    if operation == "DescribeClusters":
        names = [name.rpartition("/")[2] for name in values_of(call.parameters, ("clusters",))] or ["default"]
        return [call.arn("ecs", f"cluster/{name}") for name in names]
    if operation.endswith("Cluster") or operation.endswith(("ClusterSettings", "CapacityProviders")):
        return [call.arn("ecs", f"cluster/{cluster(call)}")]
    return None


def _arn(call: Call, kind: str, name: str) -> str:
    """The ARN of a service or task named by ARN (of the old form too) or by name, in the call's cluster."""
    return call.arn("ecs", f"{kind}/{cluster(call)}/{name.rpartition('/')[2]}")


def definition(call: Call) -> str:
    """The task definition of a call; its next or newest revision is `*` when none is named."""
    reference = call.text("taskDefinition", "family").rpartition("/")[2]
    family, _, revision = reference.partition(":")
    return call.arn("ecs", f"task-definition/{family}:{revision or '*'}")


def _record(call: Call) -> Mapping[str, Any]:
    """The task definition that a call speaks of, as the emulator has it."""
    ecs = emulator.service("ecs")
    reference = call.text("taskDefinition")
    record = ecs._task_defs.get(ecs._resolve_td_key(reference)) if reference else None
    return record or {}


def passed_roles(call: Call) -> list[tuple[str, str]]:
    """(role, service that it is passed to) of a call.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/security-iam-roles.html
    """
    parameters = call.parameters
    sources: list[Mapping[str, Any]] = []
    if call.operation == "RegisterTaskDefinition":
        sources = [parameters]
    elif call.operation in STARTING:
        # What an override names replaces the definition's.
        sources = [{**_record(call), **{k: v for k, v in (parameters.get("overrides") or {}).items() if v}}]
    found = [
        (str(source[name]), TASKS)
        for source in sources
        for name in ("taskRoleArn", "executionRoleArn")
        if source.get(name)
    ]
    if call.operation in ("CreateService",) and parameters.get("role"):
        found.append((str(parameters["role"]), "ecs.amazonaws.com"))
    return found


def keys(call: Call, resource: str) -> Mapping[str, Sequence[str]]:
    parameters = call.parameters
    found: dict[str, Sequence[str]] = {}
    if call.operation not in ("ListClusters", "RegisterTaskDefinition", "DescribeTaskDefinition"):
        found["ecs:cluster"] = [call.arn("ecs", f"cluster/{cluster(call)}")]
    if parameters.get("taskDefinition"):
        found["ecs:task-definition"] = [definition(call)]
    if "enableExecuteCommand" in parameters:
        found["ecs:enable-execute-command"] = [str(bool(parameters["enableExecuteCommand"])).lower()]
    if parameters.get("propagateTags"):
        found["ecs:propagate-tags"] = [str(parameters["propagateTags"])]
    if "enableECSManagedTags" in parameters:
        found["ecs:enable-ecs-managed-tags"] = [str(bool(parameters["enableECSManagedTags"])).lower()]
    source = _record(call) if call.operation != "RegisterTaskDefinition" else parameters
    for name, key in (("cpu", "ecs:task-cpu"), ("memory", "ecs:task-memory")):
        if source.get(name):
            found[key] = [str(source[name])]
    network = (parameters.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    if network.get("subnets"):
        found["ecs:subnet"] = [call.arn("ec2", f"subnet/{name}") for name in network["subnets"]]
        found["ecs:auto-assign-public-ip"] = [str(network.get("assignPublicIp") == "ENABLED").lower()]
    if call.operation == "ExecuteCommand":
        found["ecs:task"] = [_arn(call, "task", call.text("task"))]
        found["ecs:container-name"] = [call.text("container")]
    if resource.partition(":service/")[2]:
        found["ecs:service"] = [resource]
    return found


def tags(resource: str) -> dict[str, str]:
    from sandbox.iam.call import tags_of

    return tags_of(emulator.service("ecs")._tags.get(resource))


def made(call: Call) -> str:
    """What CreateService, RunTask and the like make and tag."""
    if call.operation in ("RunTask", "StartTask"):
        return call.arn("ecs", f"task/{cluster(call)}/*")
    if call.operation == "RegisterTaskDefinition":
        return definition(call)
    if call.operation == "CreateService":
        return _arn(call, "service", call.text("serviceName"))
    return call.arn("ecs", f"cluster/{cluster(call)}")
