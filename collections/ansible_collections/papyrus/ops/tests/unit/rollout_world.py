# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service of ECS whose rollouts follow a script: each sleep of the code under test makes the next thing happen."""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._rollout import Rollout, Verdict
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_checks import Plan
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_journal import Journal
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_tasks import TaskWatch
from ansible_collections.papyrus.ops.plugins.module_utils._rollout_watch import Watcher
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

OLD, NEW = (f"{shapes.PREFIX}:task-definition/papyrus-task:{number}" for number in (7, 8))
OLD_ID = "ecs-svc/1"
# Years away from the runner's clock: a comparison of the two would be seen.
AWS_NOW = dt.datetime(2031, 5, 1, 12, tzinfo=dt.UTC)
BREAKER = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
Change = Callable[["World"], None]


def definition(arn: str, **changes: Any) -> dict[str, Any]:
    made = {
        **shapes.definition(
            image="papyrus@sha256:" + arn[-1] * 64,
            logConfiguration={
                "logDriver": "awslogs",
                "options": {"awslogs-group": "/papyrus", "awslogs-stream-prefix": "app", "awslogs-region": "us-west-2"},
            },
        ),
        "taskDefinitionArn": arn,
        "status": "ACTIVE",
        "networkMode": "awsvpc",
        "compatibilities": ["EC2", "FARGATE"],
    }
    made.update(changes)
    return made


@dataclass
class World:
    """State of the service and the script; `sleep` and `clock` are those of the code under test."""

    script: list[Change] = field(default_factory=list)
    desired: int = 1
    configuration: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(BREAKER))
    service: dict[str, Any] = field(default_factory=dict)
    definitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    revisions: dict[str, str] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, list[str]] = field(default_factory=dict)
    refuse: dict[str, list[Refusal]] = field(default_factory=dict)
    unlisted: int = 0
    now: float = 0.0
    sleeps: int = 0
    aws: FakeAws = field(default_factory=FakeAws)

    def __post_init__(self) -> None:
        self.definitions |= {arn: definition(arn) for arn in (OLD, NEW)}
        self.service = shapes.service(
            serviceArn=f"{shapes.PREFIX}:service/{shapes.CLUSTER}/{shapes.SERVICE}",
            taskDefinition=OLD,
            desiredCount=self.desired,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-a"]}},
            deploymentConfiguration=self.configuration,
            deployments=[],
        )
        self.begin(OLD, OLD_ID, status="SUCCESSFUL", rollout="COMPLETED")
        for number in range(self.desired):
            self.start(OLD, OLD_ID, number)
        answers = {
            "ecs.describe_services": self._describe_services,
            "ecs.update_service": self._update_service,
            "ecs.describe_task_definition": lambda sent: {"taskDefinition": self.definitions[sent["taskDefinition"]]},
            "ecs.list_service_deployments": self._list_service_deployments,
            "ecs.describe_service_deployments": lambda sent: {
                "serviceDeployments": [
                    r for r in self.records if r["serviceDeploymentArn"] in sent["serviceDeploymentArns"]
                ]
            },
            "ecs.describe_service_revisions": lambda sent: {
                "serviceRevisions": [
                    {"serviceRevisionArn": arn, "taskDefinition": self.revisions[arn]}
                    for arn in sent["serviceRevisionArns"]
                ]
            },
            "ecs.stop_service_deployment": self._stop,
            "ecs.list_tasks": self._list_tasks,
            "ecs.describe_tasks": self._describe_tasks,
            "logs.get_log_events": self._get_log_events,
        }
        self.aws = FakeAws({name: self._refusing(name, answer) for name, answer in answers.items()})

    # Time

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.sleeps += 1
        assert self.sleeps < 2000, "it waits for ever"
        if self.script:
            self.script.pop(0)(self)

    def aws_now(self) -> dt.datetime:
        return AWS_NOW + dt.timedelta(seconds=self.now)

    # What happens

    def begin(self, arn: str, deployment: str, *, status: str = "IN_PROGRESS", rollout: str = "IN_PROGRESS") -> None:
        """A deployment of a revision becomes the primary one."""
        for item in self.service["deployments"]:
            item["status"] = "ACTIVE"
        made = {
            "id": deployment,
            "status": "PRIMARY",
            "taskDefinition": arn,
            "rolloutState": rollout,
            "createdAt": self.aws_now(),
        }
        self.service["deployments"] = [made, *self.service["deployments"]]
        self.service["taskDefinition"] = arn
        number = len(self.records) + 1
        revision = f"{shapes.PREFIX}:service-revision/{shapes.CLUSTER}/{shapes.SERVICE}/{number}"
        self.revisions[revision] = arn
        self.records.insert(
            0,
            {
                "serviceDeploymentArn": f"{shapes.PREFIX}:service-deployment/{shapes.CLUSTER}/x/sd{number}",
                "createdAt": self.aws_now() + dt.timedelta(seconds=1),
                "status": status,
                "targetServiceRevision": {"arn": revision, "requestedTaskCount": self.desired},
                "deploymentCircuitBreaker": {"status": "MONITORING", "failureCount": 0, "threshold": 3},
            },
        )

    @property
    def own(self) -> str:
        """Id of the newest deployment."""
        return str(self.service["deployments"][0]["id"])

    def start(self, arn: str, deployment: str, number: int) -> None:
        task = shapes.task(number, taskDefinitionArn=arn, startedBy=deployment)
        self.tasks[task["taskArn"]] = task

    def end(
        self, number: int, code: str = "ServiceSchedulerInitiated", reason: str = "", exit_code: int | None = 0
    ) -> None:
        """A task stops; without a reason because its service was scaled in."""
        task = self.tasks[shapes.task_arn(number)]
        task.update(
            lastStatus="STOPPED",
            desiredStatus="STOPPED",
            stopCode=code,
            stoppedReason=reason or "Scaling activity initiated by (deployment x)",
            stoppedAt=self.aws_now(),
        )
        if exit_code is not None:
            task["containers"][0]["exitCode"] = exit_code

    def race(self, arn: str, *, before: float, recorded: float = 1) -> None:
        """Somebody else's rollout begins right before ours: so many seconds, and ours is recorded so much later."""

        def update(sent: Any) -> Any:
            self.begin(arn, "ecs-svc/somebody", status="STOPPED")
            self.records[0]["createdAt"] = self.aws_now() - dt.timedelta(seconds=before)
            answer = self._update_service(sent)
            self.records[0]["createdAt"] = self.aws_now() + dt.timedelta(seconds=recorded)
            return answer

        self.aws.answers["ecs.update_service"] = update

    def succeed(self) -> None:
        """The newest deployment runs its desired tasks and has succeeded; the others' tasks are gone."""
        own = self.own
        for number, task in enumerate(list(self.tasks.values())):
            if task["startedBy"] != own and task["lastStatus"] == "RUNNING":
                self.end(int(task["taskArn"].rpartition("/")[2], 16))
            assert number < 10_000
        for number in range(self.desired):
            self.start(self.service["taskDefinition"], own, 1000 * len(self.records) + number)
        self.service["deployments"] = [{**self.service["deployments"][0], "rolloutState": "COMPLETED"}]
        self.records[0]["status"] = "SUCCESSFUL"

    def die(self, number: int, line: str = "boom") -> None:
        """A task of the newest deployment ends with exit code 3."""
        self.start(self.service["taskDefinition"], self.own, number)
        self.end(number, "EssentialContainerExited", "Essential container in task exited", 3)
        self.logs[f"app/app/{number:032x}"] = [line]
        self.records[0]["deploymentCircuitBreaker"]["failureCount"] += 1

    def go_back(self, status: str = "ROLLBACK_SUCCESSFUL", **members: Any) -> None:
        """ECS goes back to the old revision by itself."""
        failed = next((d for d in self.service["deployments"] if d["id"] != OLD_ID), {"id": ""})
        failed.update(status="ACTIVE", rolloutState="FAILED")
        for task in self.tasks.values():
            if task["startedBy"] == failed["id"] and task["lastStatus"] == "RUNNING":
                self.end(int(task["taskArn"].rpartition("/")[2], 16))
        state = "COMPLETED" if status == "ROLLBACK_SUCCESSFUL" else "IN_PROGRESS"
        old = {"id": OLD_ID, "status": "PRIMARY", "taskDefinition": OLD, "rolloutState": state, "createdAt": AWS_NOW}
        self.service["deployments"] = [old, failed] if state == "IN_PROGRESS" else [old]
        self.service["taskDefinition"] = OLD
        self.records[0].update(status=status, **members)

    # Answers

    def _refusing(self, name: str, answer: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(sent: Any) -> Any:
            if self.refuse.get(name):
                raise self.refuse[name].pop(0)
            return answer(sent)

        return call

    def _describe_services(self, sent: Any) -> dict[str, Any]:
        running = [task for task in self.tasks.values() if task["lastStatus"] == "RUNNING"]
        self.service.update(desiredCount=self.desired, runningCount=len(running))
        return {"services": [copy.deepcopy(self.service)] if self.service.get("serviceName") else [], "failures": []}

    def _update_service(self, sent: Any) -> dict[str, Any]:
        self.begin(sent["taskDefinition"], f"ecs-svc/{len(self.records) + 1}")
        if "enableExecuteCommand" in sent:
            self.service["enableExecuteCommand"] = sent["enableExecuteCommand"]
        return {"service": copy.deepcopy(self.service)}

    def _list_service_deployments(self, sent: Any) -> dict[str, Any]:
        records = self.records
        if len(self.records) > 1 and self.unlisted > 0:
            self.unlisted -= 1
            records = self.records[1:]
        after = (sent.get("createdAt") or {}).get("after")
        return {
            "serviceDeployments": [
                {
                    "serviceDeploymentArn": r["serviceDeploymentArn"],
                    "createdAt": r["createdAt"],
                    "status": r["status"],
                    "targetServiceRevisionArn": r["targetServiceRevision"]["arn"],
                }
                for r in records
                if after is None or r["createdAt"] > after
            ]
        }

    def _stop(self, sent: Any) -> dict[str, Any]:
        self.go_back("ROLLBACK_IN_PROGRESS")
        self.script.insert(0, lambda world: world.go_back(statusReason="Service deployment rolled back by request."))
        return {"serviceDeploymentArn": sent["serviceDeploymentArn"]}

    def _list_tasks(self, sent: Any) -> dict[str, Any]:
        arns = [arn for arn, task in self.tasks.items() if task["desiredStatus"] == sent["desiredStatus"]]
        start = int(sent.get("nextToken", 0))
        page: dict[str, Any] = {"taskArns": arns[start : start + 100]}
        return page | ({"nextToken": str(start + 100)} if start + 100 < len(arns) else {})

    def _describe_tasks(self, sent: Any) -> dict[str, Any]:
        assert 1 <= len(sent["tasks"]) <= 100
        return {"tasks": [copy.deepcopy(self.tasks[arn]) for arn in sent["tasks"]], "failures": []}

    def _get_log_events(self, sent: Any) -> dict[str, Any]:
        if sent["logStreamName"] not in self.logs:
            raise Refusal("ResourceNotFoundException", "The specified log stream does not exist.")
        lines = self.logs[sent["logStreamName"]][-sent["limit"] :]
        return {"events": [{"message": line} for line in lines]}

    # The code under test

    def rollout(self, tell: Callable[[str], object] = str, clean: Callable[[str], str] = str, **asked: Any) -> Rollout:
        plan = Plan(shapes.CLUSTER, shapes.SERVICE, asked.pop("task_definition", NEW), **asked)
        calls = Calls(self.aws)
        journal = Journal(tell=tell, clock=self.clock, clean=clean)
        tasks = TaskWatch(calls, plan.cluster, plan.service, log_lines=plan.log_lines, clean=clean)
        return Rollout(Watcher(calls, plan, journal, tasks, clock=self.clock, sleep=self.sleep))

    def forward(self, **asked: Any) -> Verdict:
        rollout = self.rollout(**asked)
        rollout.prepare()
        return rollout.forward()

    def back(self, **asked: Any) -> Verdict:
        rollout = self.rollout(task_definition=OLD, instead_of=NEW, **asked)
        return rollout.back(rollout.prepare_back(), "/dbcheck answered 500")

    @property
    def updates(self) -> list[dict[str, Any]]:
        return self.aws.sent("ecs.update_service")
