"""What the tests of ECS share: images, definitions, services and tasks in a cluster of their own."""

from __future__ import annotations

import functools
import json
import urllib.request
from dataclasses import dataclass
from typing import Any

from tests.sandbox.support import SERVER, Network, Sandbox, execution_role, until

# A program that lives until it is told to end; SIGTERM ends it.
SLEEPER = "import time\nprint('up', flush=True)\ntime.sleep(600)"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ],
}


def server(name: str) -> str:
    return f"NAME = {name!r}\n{SERVER}"


@dataclass
class Stand:
    sandbox: Sandbox
    network: Network
    cluster: str
    repository: str

    @classmethod
    def make(cls, sandbox: Sandbox, network: Network, name: str) -> Stand:
        sandbox.client("ecs").create_cluster(clusterName=name)
        sandbox.client("ecr").create_repository(repositoryName=name)
        return cls(sandbox, network, name, name)

    @functools.cached_property
    def ecs(self) -> Any:
        """One client, and so one connection: these tests ask again and again."""
        return self.sandbox.client("ecs")

    def image(self, program: str, tag: str = "t") -> str:
        return self.sandbox.push(self.repository, tag, {"app/x.py": program}, ["python", "x.py"])

    def tagged(self, tag: str) -> str:
        """The image's name by its tag."""
        ecr = self.sandbox.client("ecr")
        found = ecr.describe_repositories(repositoryNames=[self.repository])["repositories"][0]["repositoryUri"]
        return f"{found}:{tag}"

    def define(self, family: str, *containers: dict[str, Any], **more: Any) -> str:
        """Register a revision; its ARN. A container needs an image at least."""
        named = [{"name": "app", "portMappings": [{"containerPort": 5000}], **c} for c in containers]
        definition = self.ecs.register_task_definition(
            family=family,
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            cpu="256",
            memory="512",
            containerDefinitions=named,
            **{"executionRoleArn": execution_role(self.sandbox), **more},
        )
        return str(definition["taskDefinition"]["taskDefinitionArn"])

    def role(self, name: str, trust: dict[str, Any] | None = None) -> str:
        made = self.sandbox.client("iam").create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps(trust or TRUST)
        )
        return str(made["Role"]["Arn"])

    # Services

    def create(self, name: str, definition: str, count: int = 1, **more: Any) -> dict[str, Any]:
        given = {"networkConfiguration": self.network.configuration, "launchType": "FARGATE", **more}
        created: dict[str, Any] = self.ecs.create_service(
            cluster=self.cluster, serviceName=name, taskDefinition=definition, desiredCount=count, **given
        )["service"]
        return created

    def service(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ecs.describe_services(cluster=self.cluster, services=[name])["services"][0]
        return found

    def events(self, name: str) -> list[str]:
        return [event["message"] for event in self.service(name)["events"]]

    def steady(self, name: str, count: int = 1, seconds: float = 30) -> dict[str, Any]:
        def look() -> bool:
            deployments = self.service(name)["deployments"]
            return [(d["rolloutState"], d["runningCount"]) for d in deployments] == [("COMPLETED", count)]

        until(look, f"{name} is steady", seconds)
        return self.service(name)

    def tasks(self, name: str, status: str = "RUNNING") -> list[dict[str, Any]]:
        """Tasks of a service that are to be in this state."""
        arns = self.ecs.list_tasks(cluster=self.cluster, serviceName=name, desiredStatus=status)["taskArns"]
        return self.ecs.describe_tasks(cluster=self.cluster, tasks=arns)["tasks"] if arns else []

    def deployment(self, name: str) -> dict[str, Any]:
        """The service deployment under way or done last."""
        arn = self.service(name)["currentServiceDeployment"]
        found: dict[str, Any] = self.ecs.describe_service_deployments(serviceDeploymentArns=[arn])
        return dict(found["serviceDeployments"][0])

    # Tasks

    def run(self, definition: str, **more: Any) -> str:
        given = {"networkConfiguration": self.network.configuration, "launchType": "FARGATE", **more}
        started = self.ecs.run_task(cluster=self.cluster, taskDefinition=definition, **given)
        return str(started["tasks"][0]["taskArn"])

    def task(self, arn: str, **more: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.ecs.describe_tasks(cluster=self.cluster, tasks=[arn], **more)["tasks"][0]
        return found

    def until_task(self, arn: str, state: str, seconds: float = 20) -> dict[str, Any]:
        def look() -> dict[str, Any]:
            task = self.task(arn)
            if task["lastStatus"] == "STOPPED" != state:
                codes = [container.get("exitCode") for container in task["containers"]]
                raise AssertionError(f"{task['stopCode']}: {task['stoppedReason']}; exit codes {codes}")
            return task if task["lastStatus"] == state else {}

        return until(look, f"task {state}", seconds)

    def stop(self, arn: str, **more: Any) -> dict[str, Any]:
        stopped: dict[str, Any] = self.ecs.stop_task(cluster=self.cluster, task=arn, **more)["task"]
        return stopped


def address(task: dict[str, Any]) -> str:
    return str({d["name"]: d["value"] for d in task["attachments"][0]["details"]}["privateIPv4Address"])


def answer(task: dict[str, Any]) -> dict[str, Any]:
    """What the task's server says; it may need a moment to listen."""

    def ask() -> Any:
        try:
            with urllib.request.urlopen(f"http://{address(task)}:5000/", timeout=5) as response:
                return json.load(response)
        except OSError:
            return None

    document: dict[str, Any] = until(ask, "the task's answer")
    return document
