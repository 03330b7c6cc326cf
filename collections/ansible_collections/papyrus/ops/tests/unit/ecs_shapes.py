# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ECS and EC2 answers in AWS' shapes for tests, with the members that the modules read."""

from __future__ import annotations

import datetime as dt
from typing import Any

ACCOUNT = "123456789012"
CLUSTER = "papyrus-ecs-prd"
SERVICE = "papyrus-task-service"
PREFIX = f"arn:aws:ecs:us-west-2:{ACCOUNT}"
DEFINITION = f"{PREFIX}:task-definition/papyrus-task:7"


def task_arn(number: int) -> str:
    return f"{PREFIX}:task/{CLUSTER}/{number:032x}"


def task(number: int = 1, **changes: Any) -> dict[str, Any]:
    details = {
        "subnetId": "subnet-a",
        "networkInterfaceId": f"eni-{number}",
        "privateIPv4Address": f"10.20.{number // 250}.{number % 250 + 1}",
    }
    made: dict[str, Any] = {
        "taskArn": task_arn(number),
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "availabilityZone": "us-west-2a",
        "taskDefinitionArn": DEFINITION,
        "enableExecuteCommand": True,
        "healthStatus": "HEALTHY",
        "startedAt": dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC),
        "attachments": [
            {
                "type": "ElasticNetworkInterface",
                "status": "ATTACHED",
                "details": [{"name": name, "value": value} for name, value in details.items()],
            }
        ],
        "containers": [
            {
                "name": "app",
                "image": f"{ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com/papyrus@sha256:{'a' * 64}",
                "imageDigest": f"sha256:{'a' * 64}",
                "managedAgents": [{"name": "ExecuteCommandAgent", "lastStatus": "RUNNING"}],
            }
        ],
    }
    made.update(changes)
    return made


def interface(number: int, groups: tuple[str, ...] = ("sg-task",), vpc: str = "vpc-1") -> dict[str, Any]:
    return {
        "NetworkInterfaceId": f"eni-{number}",
        "AvailabilityZone": "us-west-2a",
        "SubnetId": "subnet-a",
        "VpcId": vpc,
        "Groups": [{"GroupId": group, "GroupName": group} for group in groups],
    }


def definition(**container: Any) -> dict[str, Any]:
    made = {
        "name": "app",
        "portMappings": [{"containerPort": 5000, "protocol": "tcp"}],
        "environment": [{"name": "PGSSLMODE", "value": "verify-full"}],
        "linuxParameters": {"initProcessEnabled": True},
    }
    made.update(container)
    return {"taskDefinitionArn": DEFINITION, "family": "papyrus-task", "containerDefinitions": [made]}


def service(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "serviceName": SERVICE,
        "status": "ACTIVE",
        "desiredCount": 1,
        "runningCount": 1,
        "pendingCount": 0,
        "enableExecuteCommand": True,
        "taskDefinition": DEFINITION,
        "deployments": [{"id": "ecs-svc/1", "status": "PRIMARY", "rolloutState": "COMPLETED"}],
        "events": [],
    }
    made.update(changes)
    return made


def answers(tasks: list[dict[str, Any]], stopped: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Paged as ECS does: 100 tasks a page, DescribeTasks by ARN, interfaces by filter."""
    known = {item["taskArn"]: item for item in [*tasks, *(stopped or [])]}

    def list_tasks(sent: Any) -> dict[str, Any]:
        wanted = tasks if sent["desiredStatus"] == "RUNNING" else stopped or []
        arns = [item["taskArn"] for item in wanted]
        start = int(sent.get("nextToken", 0))
        page: dict[str, Any] = {"taskArns": arns[start : start + sent["maxResults"]]}
        if start + sent["maxResults"] < len(arns):
            page["nextToken"] = str(start + sent["maxResults"])
        return page

    def describe_tasks(sent: Any) -> dict[str, Any]:
        assert len(sent["tasks"]) <= 100, "DescribeTasks takes 100 tasks"
        return {
            "tasks": [known[arn] for arn in sent["tasks"] if arn in known],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn in sent["tasks"] if arn not in known],
        }

    def interfaces(sent: Any) -> dict[str, Any]:
        values = sent["Filters"][0]["Values"]
        assert len(values) <= 200, "a filter takes 200 values"
        return {"NetworkInterfaces": [interface(int(value.removeprefix("eni-"))) for value in values]}

    return {
        "ecs.list_tasks": list_tasks,
        "ecs.describe_tasks": describe_tasks,
        "ec2.describe_network_interfaces": interfaces,
        "ecs.describe_task_definition": {"taskDefinition": definition()},
    }
