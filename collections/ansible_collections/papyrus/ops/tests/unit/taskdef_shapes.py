# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A task definition with everything that a release must not touch, in AWS' shapes, and an ECS that keeps revisions."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from .aws_fake import FakeAws, Refusal
from .ecs_shapes import ACCOUNT, PREFIX, service

REPOSITORY = f"{ACCOUNT}.dkr.ecr.us-west-2.amazonaws.com/papyrus"
IMAGE = f"{REPOSITORY}@sha256:{'b' * 64}"
OLD_IMAGE = f"{REPOSITORY}@sha256:{'a' * 64}"
SECRET_ARN = f"arn:aws:secretsmanager:us-west-2:{ACCOUNT}:secret:papyrus/prd/db-AbCdEf"
FAMILY = "papyrus-task"
TAGS = [{"key": "Project", "value": "papyrus"}, {"key": "aws:cloudformation:stack-name", "value": "theirs"}]


def arn(revision: int) -> str:
    return f"{PREFIX}:task-definition/{FAMILY}:{revision}"


def definition() -> dict[str, Any]:
    """As it may be registered; the first of two containers is `app`."""
    made: dict[str, Any] = {
        "family": FAMILY,
        "networkMode": "awsvpc",
        "cpu": "256",
        "memory": "512",
        "requiresCompatibilities": ["FARGATE"],
        "executionRoleArn": f"arn:aws:iam::{ACCOUNT}:role/execution",
        "taskRoleArn": f"arn:aws:iam::{ACCOUNT}:role/task",
        "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
        "ephemeralStorage": {"sizeInGiB": 30},
        "enableFaultInjection": False,
        "volumes": [{"name": "scratch"}],
        "containerDefinitions": [
            {
                "name": "app",
                "image": OLD_IMAGE,
                "repositoryCredentials": {"credentialsParameter": f"{SECRET_ARN}-registry"},
                "essential": True,
                "command": ["a", "b"],
                "portMappings": [{"containerPort": 5000}],
                "environment": [{"name": "PGSSLMODE", "value": "require"}, {"name": "LOG_LEVEL", "value": "info"}],
                "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::bucket/app.env"}],
                "secrets": [
                    {"name": "DB_PASSWORD", "valueFrom": f"{SECRET_ARN}:password::"},
                    {"name": "DB_USER", "valueFrom": f"{SECRET_ARN}:username::"},
                ],
                "dependsOn": [{"containerName": "proxy", "condition": "START"}],
                "healthCheck": {"command": ["CMD", "python", "-m", "papyrus.healthcheck"]},
                "logConfiguration": {
                    "logDriver": "splunk",
                    "options": {"splunk-url": "https://splunk.example"},
                    "secretOptions": [{"name": "splunk-token", "valueFrom": f"{SECRET_ARN}-splunk"}],
                },
            },
            {"name": "proxy", "image": "envoy:1", "environment": [{"name": "MODE", "value": "egress"}]},
        ],
    }
    return made


class Ecs:
    """Revisions by number; `aws` answers the calls that make a revision. `alter` changes what is stored."""

    def __init__(self, *given: Mapping[str, Any], runs: int = 1) -> None:
        self.revisions: dict[int, dict[str, Any]] = {}
        self.alter: Any = None
        for each in given or (definition(),):
            self.keep(each, TAGS)
        self.service = service(taskDefinition=arn(runs))
        self.aws = FakeAws(
            {
                "ecs.describe_services": lambda sent: {"services": [self.service]},
                "ecs.describe_task_definition": self.describe,
                "ecs.list_task_definitions": self.list,
                "ecs.register_task_definition": self.register,
                "ecr.describe_images": self.image,
            }
        )
        self.images = {"b" * 64: "application/vnd.oci.image.manifest.v1+json"}

    def keep(self, given: Mapping[str, Any], tags: Any = (), status: str = "ACTIVE") -> dict[str, Any]:
        number = len(self.revisions) + 1
        stored = {**copy.deepcopy(dict(given)), "taskDefinitionArn": arn(number), "revision": number, "status": status}
        stored["compatibilities"] = ["EC2", "FARGATE"]
        stored["requiresAttributes"] = [{"name": "com.amazonaws.ecs.capability.task-eni"}]
        self.revisions[number] = {"taskDefinition": stored, "tags": list(tags)}
        return self.revisions[number]

    def describe(self, sent: Mapping[str, Any]) -> Any:
        assert sent["include"] == ["TAGS"]
        number = sent["taskDefinition"].rsplit(":", 1)[1]
        if int(number) not in self.revisions:
            raise Refusal("ClientException", "Unable to describe task definition.")
        return self.revisions[int(number)]

    def list(self, sent: Mapping[str, Any]) -> Any:
        assert (sent["familyPrefix"], sent["status"], sent["sort"]) == (FAMILY, "ACTIVE", "DESC")
        active = [n for n, found in self.revisions.items() if found["taskDefinition"]["status"] == "ACTIVE"]
        return {"taskDefinitionArns": [arn(n) for n in sorted(active, reverse=True)][: sent["maxResults"]]}

    def register(self, sent: Mapping[str, Any]) -> Any:
        given = {name: value for name, value in sent.items() if name != "tags"}
        stored = self.keep(given, sent.get("tags", ()))
        if self.alter:
            self.alter(stored["taskDefinition"])
        return stored

    def image(self, sent: Mapping[str, Any]) -> Any:
        digest = sent["imageIds"][0]["imageDigest"]
        kind = self.images.get(digest.partition(":")[2])
        if kind is None:
            raise Refusal("ImageNotFoundException", "The image does not exist")
        return {"imageDetails": [{"imageDigest": digest, "imageManifestMediaType": kind}]}

    @property
    def registered(self) -> list[dict[str, Any]]:
        return self.aws.sent("ecs.register_task_definition")
