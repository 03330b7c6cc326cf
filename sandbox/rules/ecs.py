"""What ECS refuses: limits, network configuration, Fargate's sizes, names that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.rules import Refusal, rule

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


def invalid(message: str) -> Refusal:
    return Refusal("InvalidParameterException", message)


@rule("ecs", "DescribeTasks")
def at_most_100_tasks(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html (tasks)"""
    tasks = request.parameters.get("tasks") or []
    if not tasks:
        return invalid("Tasks cannot be empty.")
    return invalid("Tasks cannot have more than 100 elements") if len(tasks) > 100 else None


@rule("ecs", "DescribeServices")
def at_most_10_services(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html (services)"""
    services = request.parameters.get("services") or []
    if not services:
        return invalid("Services cannot be empty.")
    return invalid("Services cannot have more than 10 elements") if len(services) > 10 else None


@rule("ecs", "RunTask")
def at_most_10_at_once(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (count)"""
    count = request.parameters.get("count", 1)
    return invalid("count should be between 1 and 10") if not 1 <= int(count) <= 10 else None


@rule("ecs", "RunTask", "CreateService")
def awsvpc_needs_a_network(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_NetworkConfiguration.html"""
    definition = task_definition(runtime, request)
    if definition is None or definition.get("networkMode") != "awsvpc":
        return None
    network = (request.parameters.get("networkConfiguration") or {}).get("awsvpcConfiguration")
    if not network:
        return invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    with emulator.request_scope(runtime.settings.account, request.region or runtime.settings.region):
        ec2 = emulator.service("ec2")
        subnets, groups = network.get("subnets") or [], network.get("securityGroups") or []
        if not subnets:
            return invalid("subnets can not be empty.")
        for subnet in subnets:
            if subnet not in ec2._subnets:
                return invalid(f"Error retrieving subnet information for [{subnet}]: The subnet ID does not exist.")
        for group in groups:
            if group not in ec2._security_groups:
                return invalid(f"Error retrieving security group information for [{group}]: The group does not exist.")
        vpcs = {ec2._subnets[s]["VpcId"] for s in subnets} | {ec2._security_groups[g]["VpcId"] for g in groups}
    return invalid("subnets and security groups are not in the same VPC.") if len(vpcs) > 1 else None


@rule("ecs", "CreateService", "UpdateService")
def load_balancers_name_a_port_of_the_task(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LoadBalancer.html"""
    definition = task_definition(runtime, request)
    for balancer in request.parameters.get("loadBalancers") or [] if definition else []:
        name, port = balancer.get("containerName"), balancer.get("containerPort")
        containers = {c["name"]: c for c in (definition or {}).get("containerDefinitions", [])}
        if name not in containers:
            return invalid(f"The container {name} does not exist in the task definition.")
        if port not in [mapping.get("containerPort") for mapping in containers[name].get("portMappings") or []]:
            return invalid(f"The container {name} did not have a container port {port} defined.")
    return None


@rule("ecs", "RegisterTaskDefinition")
def fargate_has_its_sizes(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RegisterTaskDefinition.html (cpu, memory)"""
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
        return Refusal("ClientException", text)
    return None


def task_definition(runtime: Runtime, request: ApiRequest) -> dict[str, Any] | None:
    """The definition that a request names, or that its service has; None when there is none."""
    with emulator.request_scope(runtime.settings.account, request.region or runtime.settings.region):
        ecs = emulator.service("ecs")
        reference = request.parameters.get("taskDefinition")
        if reference is None and request.operation == "UpdateService":
            cluster = ecs._resolve_cluster_name(request.parameters.get("cluster", "default"))
            name = ecs._resolve_service_ref(request.parameters.get("service", ""))
            service = ecs._services.get(f"{cluster}/{name[0]}") if name else None
            reference = (service or {}).get("taskDefinition")
        found: dict[str, Any] | None = ecs._task_defs.get(ecs._resolve_td_key(reference or ""))
        return found
