"""What ECS refuses about clusters, services and single tasks that its records decide."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.rules import Refusal, rule
from sandbox.seams.ecs_roles import role_refusal
from sandbox.seams.elbv2_rules import users_of

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

IN_A_CLUSTER = (
    "CreateService",
    "UpdateService",
    "DeleteService",
    "DescribeServices",
    "ListServices",
    "ListServiceDeployments",
    "RunTask",
    "StopTask",
    "DescribeTasks",
    "ListTasks",
    "ExecuteCommand",
    "DeleteCluster",
    "UpdateCluster",
    "UpdateClusterSettings",
    "PutClusterCapacityProviders",
)
NEEDS_AN_ACTIVE_CLUSTER = ("CreateService", "UpdateService", "RunTask", "UpdateCluster", "UpdateClusterSettings")


def invalid(message: str) -> Refusal:
    return Refusal("InvalidParameterException", message)


def cluster_of(request: ApiRequest) -> str:
    """Its name; empty for an ARN that is none of this account's."""
    ecs = emulator.service("ecs")
    return str(ecs._resolve_cluster_name(request.parameters.get("cluster") or "default") or "")


def service_of(request: ApiRequest) -> dict[str, Any] | None:
    """The service that a request names, if it is there."""
    ecs = emulator.service("ecs")
    reference = request.parameters.get("service") or request.parameters.get("serviceName") or ""
    name = ecs._resolve_service_ref(reference)
    found: dict[str, Any] | None = ecs._services.get(f"{cluster_of(request)}/{name[0]}") if name else None
    return found


def definition_of(request: ApiRequest) -> dict[str, Any] | None:
    """The definition that a request names, or that its service has; None when there is none."""
    ecs = emulator.service("ecs")
    reference = request.parameters.get("taskDefinition")
    if reference is None and request.operation == "UpdateService":
        reference = (service_of(request) or {}).get("taskDefinition")
    found: dict[str, Any] | None = ecs._task_defs.get(ecs._resolve_td_key(reference or ""))
    return found


# Clusters


@rule("ecs", *IN_A_CLUSTER, code="ClusterNotFoundException")
def cluster_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Nothing can be asked of a cluster that was not created.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (Errors)
    """
    if cluster_of(request) in emulator.service("ecs")._clusters:
        return None
    return Refusal("ClusterNotFoundException", "Cluster not found.")


@rule("ecs", *NEEDS_AN_ACTIVE_CLUSTER, code="ClusterNotFoundException")
def cluster_is_inactive(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Nothing can be started in a cluster that was deleted.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Cluster.html (status)
    """
    cluster = emulator.service("ecs")._clusters.get(cluster_of(request)) or {}
    if cluster.get("status") != "INACTIVE":
        return None
    return Refusal("ClusterNotFoundException", "The referenced cluster was inactive.")


@rule("ecs", "DeleteCluster", code="ClusterNotFoundException")
def cluster_is_deleted_once(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A cluster that was deleted cannot be deleted again.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html (Errors)
    """
    cluster = emulator.service("ecs")._clusters.get(cluster_of(request)) or {}
    return Refusal("ClusterNotFoundException", "Cluster not found.") if cluster.get("status") == "INACTIVE" else None


@rule("ecs", "DeleteCluster", code="ClusterContainsServicesException")
def cluster_contains_services(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A cluster with services that are not INACTIVE cannot be deleted.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html (Errors)
    """
    start = f"{cluster_of(request)}/"
    services = [s for key, s in list(emulator.service("ecs")._services.items()) if key.startswith(start)]
    if all(service["status"] == "INACTIVE" for service in services):
        return None
    text = "The Cluster cannot be deleted while Services are active."
    return Refusal("ClusterContainsServicesException", text)


@rule("ecs", "DeleteCluster", code="ClusterContainsTasksException")
def cluster_contains_tasks(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A cluster with tasks that are not STOPPED cannot be deleted.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteCluster.html (Errors)
    """
    mark = f":task/{cluster_of(request)}/"
    tasks = [task for arn, task in list(emulator.service("ecs")._tasks.items()) if mark in arn]
    if all(task["lastStatus"] == "STOPPED" for task in tasks):
        return None
    return Refusal("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")


# Services


@rule("ecs", "CreateService", code="InvalidParameterException")
def service_exists(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An ACTIVE service's name cannot be used again, unless it is the same request again (clientToken).

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html
    """
    service = service_of(request)
    if service is None or service["status"] != "ACTIVE":
        return None
    token = request.parameters.get("clientToken")
    if token and token == service.get("_client_token"):
        return None
    return invalid("Creation of service was not idempotent.")


@rule("ecs", "CreateService", code="InvalidParameterException")
def service_is_draining(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A service's name cannot be used again while it is DRAINING.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html
    """
    service = service_of(request)
    draining = service is not None and service["status"] == "DRAINING"
    return invalid("Unable to Start a service that is still Draining.") if draining else None


@rule("ecs", "UpdateService", code="ServiceNotActiveException")
def service_not_active(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A service that is DRAINING or INACTIVE cannot be updated.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_UpdateService.html (Errors)
    """
    service = service_of(request)
    if service is None or service["status"] == "ACTIVE":
        return None
    return Refusal("ServiceNotActiveException", "Service was not ACTIVE.")


@rule("ecs", "DeleteService", code="InvalidParameterException")
def scaled_service_needs_force(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A service with a desired count above 0 is deleted only with force.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeleteService.html (force)
    """
    service = service_of(request)
    if service is None or request.parameters.get("force") or not service.get("desiredCount"):
        return None
    return invalid("The service cannot be stopped while it is scaled above 0.")


@rule("ecs", "CreateService", "UpdateService", code="InvalidParameterException")
def load_balancers_name_a_port_of_the_task(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A service's load balancer names a container of its task definition, and a port that this one maps.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_LoadBalancer.html
    """
    definition = definition_of(request)
    for balancer in request.parameters.get("loadBalancers") or [] if definition else []:
        name, port = balancer.get("containerName"), balancer.get("containerPort")
        containers = {c["name"]: c for c in (definition or {}).get("containerDefinitions", [])}
        if name not in containers:
            return invalid(f"The container {name} does not exist in the task definition.")
        if port not in [mapping.get("containerPort") for mapping in containers[name].get("portMappings") or []]:
            return invalid(f"The container {name} did not have a container port {port} defined.")
    return None


@rule("ecs", "CreateService", "UpdateService", code="InvalidParameterException")
def target_group_needs_a_load_balancer(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A service's target group must be one that a listener of a load balancer forwards to.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-load-balancing.html
    """
    for balancer in request.parameters.get("loadBalancers") or []:
        arn = balancer.get("targetGroupArn")
        if arn and not users_of(emulator.service("alb"), arn):
            return invalid(f"The target group with targetGroupArn {arn} does not have an associated load balancer.")
    return None


@rule("ecs", "CreateService", "UpdateService", code="InvalidParameterException")
def awsvpc_needs_ip_targets(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A service of awsvpc tasks needs target groups whose targets are IP addresses.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/alb.html
    """
    definition = definition_of(request) or {}
    for balancer in request.parameters.get("loadBalancers") or []:
        arn = balancer.get("targetGroupArn")
        kind = (emulator.service("alb")._tgs.get(arn) or {}).get("TargetType", "ip")
        if kind != "ip" and definition.get("networkMode") == "awsvpc":
            return invalid(
                f"The provided target group {arn} has target type {kind}, which is incompatible with the awsvpc "
                "network mode specified in the task definition."
            )
    return None


@rule("ecs", "CreateService", "UpdateService", code="InvalidParameterException")
def exec_needs_a_task_role(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A service with enableExecuteCommand needs a task role in its task definition.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
    """
    definition = definition_of(request)
    if not request.parameters.get("enableExecuteCommand") or definition is None or definition.get("taskRoleArn"):
        return None
    verb = "created" if request.operation == "CreateService" else "updated"
    return invalid(
        f"The service couldn't be {verb} because a valid taskRoleArn is not being used. Specify a valid task role in "
        "your task definition and try again."
    )


# Task definitions and roles


@rule("ecs", "RunTask", "CreateService", "UpdateService", code="ClientException")
def task_definition_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Nothing runs from a task definition that was not registered.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (taskDefinition)
    """
    if not request.parameters.get("taskDefinition") or definition_of(request) is not None:
        return None
    return Refusal("ClientException", "TaskDefinition not found.")


@rule("ecs", "RunTask", "CreateService", "UpdateService", code="ClientException, InvalidParameterException")
def task_definition_is_inactive(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Nothing new runs from a task definition that was deregistered or deleted.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DeregisterTaskDefinition.html
    """
    definition = definition_of(request) if request.parameters.get("taskDefinition") else None
    if definition is None or definition["status"] == "ACTIVE":
        return None
    text = "TaskDefinition is inactive"
    return invalid(text) if request.operation == "RunTask" else Refusal("ClientException", text)


@rule("ecs", "RunTask", code="ClientException")
def role_of_the_task(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A task whose task or execution role does not exist, or does not trust ECS, is not run.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    """
    definition, overrides = definition_of(request) or {}, request.parameters.get("overrides") or {}
    for name in ("executionRoleArn", "taskRoleArn"):
        role = overrides.get(name) or definition.get(name)
        if role and (text := role_refusal(role)):
            return Refusal("ClientException", text)
    return None


@rule("ecs", "ListTagsForResource", "TagResource", "UntagResource", code="InvalidParameterException")
def tagged_cluster_is_active(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Tags of a deleted cluster can neither be read nor changed.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_TagResource.html (Errors)
    """
    arn = request.parameters.get("resourceArn", "")
    clusters = list(emulator.service("ecs")._clusters.values())
    if not any(cluster["clusterArn"] == arn and cluster["status"] == "INACTIVE" for cluster in clusters):
        return None
    return invalid("The specified cluster is inactive. Specify an active cluster and try again.")


# Networks


@rule("ecs", "RunTask", "CreateService", "UpdateService", code="InvalidParameterException")
def subnet_and_group_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The subnets and security groups of a network configuration exist and are in one VPC.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_AwsVpcConfiguration.html
    """
    network = (request.parameters.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    ec2 = emulator.service("ec2")
    subnets, groups = network.get("subnets") or [], network.get("securityGroups") or []
    for subnet in subnets:
        if subnet not in ec2._subnets:
            text = f"The subnet ID '{subnet}' does not exist (ErrorCode: InvalidSubnetID.NotFound)"
            return invalid(f"Error retrieving subnet information for [{', '.join(subnets)}]: {text}")
    for group in groups:
        if group not in ec2._security_groups:
            text = f"The security group '{group}' does not exist (ErrorCode: InvalidGroup.NotFound)"
            return invalid(f"Error retrieving security group information for [{', '.join(groups)}]: {text}")
    vpcs = {ec2._subnets[s]["VpcId"] for s in subnets} | {ec2._security_groups[g]["VpcId"] for g in groups}
    return invalid("subnets and security groups are not in the same VPC.") if len(vpcs) > 1 else None
