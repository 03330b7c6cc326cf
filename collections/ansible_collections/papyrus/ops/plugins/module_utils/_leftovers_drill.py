# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What drills of alarms have left in AWS: copies of alarms, queue with subscription, service, tasks, definitions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ._aws import AwsFailure, Clients, aws_call, request_id
from ._calls import api_name, batches
from ._names import find_run_id, parse_run_id, tag_keys
from ._task_run import STARTED_BY

KINDS = ("alarm", "subscription", "queue", "ecs_service", "ecs_task", "task_definition")
"""In the order in which they can be deleted."""

_SUFFIX = "[a-z2-7]{6}"
_TASKS = 100  # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeTasks.html
_SERVICES = 10  # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServices.html


@dataclass(frozen=True)
class DrillScope:
    """Where a drill makes things. `alarm_name` is what the permanent alarms' names begin with."""

    cluster: str
    task_family: str
    alarm_name: str
    topic_arn: str


OPTION: dict[str, Any] = {
    "type": "dict",
    "options": {name: {"type": "str", "required": True} for name in DrillScope.__dataclass_fields__},
}
"""Of modules: see the documentation fragment `drill_place`."""


def drill_scope(variables: Mapping[str, Any]) -> DrillScope | None:
    """Of a stack's variables: the stack that drills alarms is the one that has all of these."""
    names = DrillScope.__dataclass_fields__
    return DrillScope(**{name: str(variables[name]) for name in names}) if all(map(variables.get, names)) else None


class Search(Protocol):
    """What `_leftovers` looks with; see there."""

    @property
    def clients(self) -> Clients: ...

    def owner(self, kind: str, name: str) -> Mapping[str, Any] | None: ...

    def pages(self, service: str, operation: str, key: str, resource: str, **parameters: Any) -> list[Any]: ...

    def came(self, operation: str, answer: Mapping[str, Any]) -> str: ...

    def answered(self, operation: str, parameters: Mapping[str, Any], count: int, ids: list[str]) -> None: ...

    def add(self, kind: str, ident: str, name: str, tags: Mapping[str, str], detail: Mapping[str, Any]) -> bool: ...

    def ours(
        self, kind: str, ident: str, name: str, run_id: str, expires_at: str, service: str, detail: Mapping[str, Any]
    ) -> None: ...


class DrillSearch:
    """The parts of the search for one run, or, with an empty `run_id`, for every run of the service."""

    def __init__(self, search: Search, scope: DrillScope, *, run_id: str, service: str, tag_prefix: str) -> None:
        self.search = search
        self.scope = scope
        self.run_id = run_id
        self.service = service
        self.tag_prefix = tag_prefix
        suffix = parse_run_id(run_id).suffix if run_id else ""
        self._suffix = suffix
        self._ends = re.compile(rf".*-drill-{suffix or _SUFFIX}")

    def parts(self) -> tuple[Callable[[], None], ...]:
        """All but `subscriptions`, which are told by queues, and these may be told by a task definition."""
        return (self.alarms, self.queues, self.services, self.tasks, self.task_definitions)

    def _one(self, service: str, operation: str, resource: str, **parameters: Any) -> Mapping[str, Any]:
        with aws_call(api_name(operation), resource):
            answer: Mapping[str, Any] = getattr(self.search.clients(service), operation)(**parameters)
        self.search.came(operation, answer)
        return answer

    def _listed(self, service: str, operation: str, key: str, resource: str, **parameters: Any) -> list[Any]:
        """All pages of a listing within a topic or cluster; nothing when AWS says that this is not there."""
        try:
            return self.search.pages(service, operation, key, resource, **parameters)
        except AwsFailure as failure:
            if not failure.missing:
                raise
            self.search.answered(operation, parameters, 0, [failure.request_id])
            return []

    def alarms(self) -> None:
        found = self.search.pages(
            "cloudwatch",
            "describe_alarms",
            "MetricAlarms",
            f"alarms of {self.scope.alarm_name}",
            AlarmNamePrefix=f"{self.scope.alarm_name}-",
            AlarmTypes=["MetricAlarm"],
        )
        for alarm in found:
            name, arn = alarm["AlarmName"], alarm["AlarmArn"]
            if self._ends.fullmatch(name):
                try:
                    answer = self._one("cloudwatch", "list_tags_for_resource", name, ResourceARN=arn)
                except AwsFailure as failure:
                    if not failure.missing:
                        raise
                    continue  # the listing is older
                tags = {tag["Key"]: tag["Value"] for tag in answer.get("Tags") or []}
                self.search.add("alarm", name, name, tags, {"state": alarm.get("StateValue", "")})

    def queues(self) -> None:
        prefix = f"{self.tag_prefix}-drill-{self._suffix}"
        for url in self.search.pages("sqs", "list_queues", "QueueUrls", f"queues {prefix}…", QueueNamePrefix=prefix):
            name = url.rsplit("/", 1)[-1]
            try:
                tags = self._one("sqs", "list_queue_tags", name, QueueUrl=url).get("Tags") or {}
            except AwsFailure as failure:
                if "NonExistentQueue" in failure.code or "QueueDoesNotExist" in failure.code:
                    continue  # the listing is older
                raise
            self.search.add("queue", url, name, tags, {})

    def subscriptions(self) -> None:
        """They have no tags; whose they are is told by the queue that they lead to."""
        found = self._listed(
            "sns",
            "list_subscriptions_by_topic",
            "Subscriptions",
            self.scope.topic_arn,
            TopicArn=self.scope.topic_arn,
        )
        for each in found:
            queue = str(each.get("Endpoint", "")).rsplit(":", 1)[-1]
            if each.get("Protocol") != "sqs" or not self._is_name(queue):
                continue
            owner = self.search.owner("queue", queue) or {}
            self.search.ours(
                "subscription",
                each["SubscriptionArn"],
                queue,
                str(owner.get("run_id") or self.run_id),
                str(owner.get("expires_at") or ""),
                str(owner.get("service") or ""),
                {"endpoint": each["Endpoint"]},
            )

    def _is_name(self, name: str) -> bool:
        return bool(re.fullmatch(rf"{re.escape(self.tag_prefix)}-drill-{self._suffix or _SUFFIX}", name))

    def services(self) -> None:
        """A service of a run is asked for by its name: while it drains it may be missing in lists."""
        cluster = self.scope.cluster
        names = [f"{self.tag_prefix}-drill-{self._suffix}"]
        if not self.run_id:
            arns = self._listed("ecs", "list_services", "serviceArns", f"services of {cluster}", cluster=cluster)
            names = [name for name in (arn.rsplit("/", 1)[-1] for arn in arns) if self._is_name(name)]
        for batch in batches(names, _SERVICES):
            parameters = {"cluster": cluster, "services": list(batch), "include": ["TAGS"]}
            try:
                answer = self._one("ecs", "describe_services", f"services {', '.join(batch)}", **parameters)
            except AwsFailure as failure:
                if not failure.missing:
                    raise
                self.search.answered("describe_services", parameters, 0, [failure.request_id])
                return
            there = [each for each in answer.get("services", []) if each.get("status") != "INACTIVE"]
            self.search.answered("describe_services", parameters, len(there), [request_id(answer)])
            for each in there:
                detail = {"cluster": cluster, "status": each.get("status", "")}
                self.search.add("ecs_service", each["serviceArn"], each["serviceName"], _ecs_tags(each), detail)

    def tasks(self) -> None:
        """Tasks that runs started themselves, by `startedBy`, which bears the run's id; they end by themselves."""
        cluster = self.scope.cluster
        begins = STARTED_BY.sub("-", f"{self.tag_prefix}/{self.run_id}")
        chosen = {"startedBy": begins} if self.run_id else {}
        arns = self._listed("ecs", "list_tasks", "taskArns", f"tasks of {cluster}", cluster=cluster, **chosen)
        for batch in batches(arns, _TASKS):
            parameters = {"cluster": cluster, "tasks": list(batch), "include": ["TAGS"]}
            answer = self._one("ecs", "describe_tasks", f"{len(batch)} tasks of {cluster}", **parameters)
            there = [each for each in answer.get("tasks", []) if each.get("lastStatus") != "STOPPED"]
            self.search.answered("describe_tasks", parameters, len(there), [request_id(answer)])
            for each in there:
                name = str(each.get("startedBy", ""))
                if name.startswith(begins):
                    detail = {"cluster": cluster, "status": each.get("lastStatus", "")}
                    tags = {tag_keys(self.tag_prefix)[0]: find_run_id(name) or "", **_ecs_tags(each)}
                    self.search.add("ecs_task", each["taskArn"], name, tags, detail)

    def task_definitions(self) -> None:
        families = self.search.pages(
            "ecs",
            "list_task_definition_families",
            "families",
            f"families of {self.scope.task_family}",
            familyPrefix=f"{self.scope.task_family}-drill-{self._suffix}",
            status="ACTIVE",
        )
        for family in families:
            if not self._ends.fullmatch(family):
                continue
            arns = self.search.pages(
                "ecs", "list_task_definitions", "taskDefinitionArns", family, familyPrefix=family, status="ACTIVE"
            )
            for arn in arns:
                answer = self._one("ecs", "describe_task_definition", arn, taskDefinition=arn, include=["TAGS"])
                self.search.add("task_definition", arn, family, _ecs_tags(answer), {})


def _ecs_tags(answer: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in answer.get("tags") or []}


def by_hand(kind: str, ident: str, cluster: str, where: str) -> list[str]:
    """AWS CLI commands that delete one of `KINDS`; every argument is quoted already."""
    match kind:
        case "alarm":
            return [f"aws cloudwatch delete-alarms{where} --alarm-names {ident}"]
        case "subscription":
            return [f"aws sns unsubscribe{where} --subscription-arn {ident}"]
        case "queue":
            return [f"aws sqs delete-queue{where} --queue-url {ident}"]
        case "ecs_service":
            return [f"aws ecs delete-service{where} --cluster {cluster} --service {ident} --force"]
        case "ecs_task":
            return [f"aws ecs stop-task{where} --cluster {cluster} --task {ident}"]
        case "task_definition":
            return [f"aws ecs deregister-task-definition{where} --task-definition {ident}"]
    return []
