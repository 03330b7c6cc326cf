"""What ECS refuses by the request alone: limits, sizes of Fargate, dependencies of containers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.rules import Refusal, rule
from sandbox.rules.ecs import definition_of, invalid

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

# CPU units → MiB of memory. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-tasks-services.html
FARGATE_MEMORY: dict[int, list[int]] = {
    256: [512, 1024, 2048],
    512: list(range(1024, 4097, 1024)),
    1024: list(range(2048, 8193, 1024)),
    2048: list(range(4096, 16385, 1024)),
    4096: list(range(8192, 30721, 1024)),
    8192: list(range(16384, 61441, 4096)),
    16384: list(range(32768, 122881, 8192)),
}
CONDITIONS = ("START", "COMPLETE", "SUCCESS", "HEALTHY")


@rule("ecs", "DescribeTasks", code="InvalidParameterException", stateful=False)
def at_most_100_tasks(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """DescribeTasks takes from 1 to 100 tasks.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html (tasks)
    """
    tasks = request.parameters.get("tasks") or []
    if not tasks:
        return invalid("Tasks cannot be empty.")
    return invalid("Tasks cannot have more than 100 elements") if len(tasks) > 100 else None


@rule("ecs", "DescribeServices", code="InvalidParameterException", stateful=False)
def at_most_10_services(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """DescribeServices takes from 1 to 10 services.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html (services)
    """
    services = request.parameters.get("services") or []
    if not services:
        return invalid("Services cannot be empty.")
    return invalid("Services cannot have more than 10 elements") if len(services) > 10 else None


@rule("ecs", "RunTask", code="InvalidParameterException", stateful=False)
def at_most_10_at_once(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """RunTask starts from 1 to 10 tasks.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (count)
    """
    count = request.parameters.get("count", 1)
    return invalid("count should be between 1 and 10") if not 1 <= int(count) <= 10 else None


@rule("ecs", "StopServiceDeployment", code="InvalidParameterException", stateful=False)
def deployments_stop_by_rollback(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """StopServiceDeployment's stopType is ROLLBACK; ABORT is in the model, and not documented as valid.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopServiceDeployment.html (stopType)
    """
    kind = request.parameters.get("stopType") or "ROLLBACK"
    return None if kind == "ROLLBACK" else invalid(f"The stop type {kind} is not supported.")


@rule("ecs", "ExecuteCommand", code="InvalidParameterException", stateful=False)
def exec_is_interactive(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """ExecuteCommand is interactive, always.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html (interactive)
    """
    if request.parameters.get("interactive"):
        return None
    return invalid("Interactive is the only mode supported currently.")


@rule("ecs", "RunTask", "CreateService", code="InvalidParameterException")
def awsvpc_needs_a_network(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Tasks whose definition has the network mode awsvpc need subnets.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_NetworkConfiguration.html
    """
    definition = definition_of(request)
    if definition is None or definition.get("networkMode") != "awsvpc":
        return None
    network = (request.parameters.get("networkConfiguration") or {}).get("awsvpcConfiguration")
    if not network:
        return invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    return None if network.get("subnets") else invalid("subnets can not be empty.")


@rule("ecs", "RegisterTaskDefinition", code="ClientException", stateful=False)
def fargate_has_its_sizes(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Fargate takes pairs of CPU and memory from a table, and the network mode awsvpc alone.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html (cpu, memory)
    """
    given = request.parameters
    if "FARGATE" not in (given.get("requiresCompatibilities") or []):
        return None
    if given.get("networkMode") != "awsvpc":
        return Refusal("ClientException", "Fargate only supports network mode 'awsvpc'.")
    cpu, memory = str(given.get("cpu") or ""), str(given.get("memory") or "")
    for name, value in (("cpu", cpu), ("memory", memory)):
        if not value:
            return Refusal("ClientException", f"Fargate requires that '{name}' be defined at the task level.")
    # Written as "1 vCPU" and "2 GB" they mean the same numbers; the emulator keeps them as they are.
    if not cpu.isdigit() or not memory.isdigit():
        return None
    if int(memory) not in FARGATE_MEMORY.get(int(cpu), []):
        text = f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory."
        return Refusal("ClientException", f"{text} See the Amazon ECS documentation for the valid values.")
    return None


@rule("ecs", "RegisterTaskDefinition", code="ClientException", stateful=False)
def fargate_needs_an_execution_role(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """On Fargate, images of ECR, the awslogs driver and secrets need an execution role.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    """
    given = request.parameters
    if "FARGATE" not in (given.get("requiresCompatibilities") or []) or given.get("executionRoleArn"):
        return None
    start = "Fargate requires task definition to have execution role ARN to support"
    for container in given.get("containerDefinitions") or []:
        if ".dkr.ecr." in container.get("image", ""):
            return Refusal("ClientException", f"{start} ECR images.")
        if (container.get("logConfiguration") or {}).get("logDriver") == "awslogs":
            return Refusal("ClientException", f"{start} log driver awslogs.")
        if container.get("secrets"):
            text = "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
            return Refusal("ClientException", text)
    return None


@rule("ecs", "RegisterTaskDefinition", code="ClientException", stateful=False)
def dependencies_make_sense(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """dependsOn names containers of the same definition, in no circle, and HEALTHY only with a health check.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html
    """
    containers = {c.get("name"): c for c in request.parameters.get("containerDefinitions") or []}
    needs: dict[str, set[str]] = {}
    for name, container in containers.items():
        for dependency in container.get("dependsOn") or []:
            other, condition = dependency.get("containerName"), dependency.get("condition")
            if other not in containers or condition not in CONDITIONS:
                return Refusal("ClientException", f"Container '{name}' depends on '{other}', which does not exist.")
            if condition == "HEALTHY" and not containers[other].get("healthCheck"):
                text = f"Container '{name}' needs '{other}' to be HEALTHY, which has no health check."
                return Refusal("ClientException", text)
            needs.setdefault(name, set()).add(other)
    while needs:
        free = [name for name, others in needs.items() if not others & set(needs)]
        if not free:
            return Refusal("ClientException", "The dependencies between the containers form a circle.")
        for name in free:
            del needs[name]
    return None
