# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Deletes one thing that a run has left; what is gone already is no failure, and what AWS still holds is told apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from . import _leftovers_drill
from ._aws import AwsFailure, Clients, aws_call, request_id
from ._calls import api_name, batches

_Resource = Mapping[str, Any]

ORDER = ("load_balancer", *_leftovers_drill.KINDS, "target_group", "security_group_rule", "security_group")
"""Load balancers first: their network interfaces take AWS minutes. Listeners go with them, interfaces by themselves."""

TOGETHER = {"alarm": "AlarmNames", "security_group_rule": "IpPermissions"}
"""Kinds of which one call takes several, with the parameter: alarms, and rules of one group."""

_AT_ONCE = 100  # https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DeleteAlarms.html
_HELD = frozenset({"ResourceInUse", "ResourceInUseException", "DependencyViolation", "InvalidGroup.InUse"})
# What says that it is gone and does not end as such errors do elsewhere (`_aws.is_missing`).
_GONE = frozenset(
    {
        "ServiceNotActiveException",
        "AWS.SimpleQueueService.NonExistentQueue",
        "QueueDoesNotExist",
        "ResourceNotFound",
    }
)
_TASK_GONE = "task was not found"  # https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopTask.html


@dataclass(frozen=True)
class Step:
    """What became of one try. `held`: AWS will let go of it later. `spared`: AWS says that it is not to be deleted."""

    state: Literal["deleted", "gone", "held", "spared"]
    text: str = ""


class Deleter:
    """Deletes by kind. `log` gets a line for each call that deletes, `calls` counts all by operation."""

    def __init__(self, clients: Clients, log: Callable[[str], None], calls: Counter[str]) -> None:
        self.clients = clients
        self.log = log
        self.calls = calls

    def delete(self, resource: Mapping[str, Any]) -> Step:
        """One try. AwsFailure for what is neither gone nor held."""
        kind, ident = str(resource["kind"]), str(resource["id"])
        try:
            spared = self._protected(ident) if kind == "load_balancer" else ""
            if spared:
                return Step("spared", spared)
            if kind == "load_balancer":
                self._listeners(ident)
            service, operation, parameters = request_of(resource)
            self._do(service, operation, str(resource["name"] or ident), ident, **parameters)
        except AwsFailure as failure:
            if is_gone(failure):
                self.log(f"{failure.operation} {ident}: is gone already ({failure.code})")
                return Step("gone", failure.code)
            if failure.code in _HELD:
                return Step("held", failure.message)
            self.log(f"{failure.operation} {ident}: {failure}")
            raise
        return Step("deleted")

    def together(self, resources: Iterable[_Resource]) -> list[_Resource]:
        """Those of `TOGETHER` that calls for several at once have deleted; the others, one by one, are for `delete`."""
        alike: dict[tuple[str, str], list[_Resource]] = {}
        for resource in resources:
            operation, parameters = request_of(resource)[1:]
            alike.setdefault((operation, str(parameters.get("GroupId"))), []).append(resource)
        found = [batch for those in alike.values() for batch in batches(those, _AT_ONCE) if len(batch) > 1]
        return [resource for batch in found if self._all(batch) for resource in batch]

    def _all(self, batch: Sequence[_Resource]) -> bool:
        """Whether one call has deleted them. AWS deletes none of them when one is gone or refused."""
        service, operation, parameters = request_of(batch[0])
        key = TOGETHER[batch[0]["kind"]]
        parameters[key] = [value for each in batch for value in request_of(each)[2][key]]
        try:
            answer = self.call(service, operation, f"{len(batch)} at once", **parameters)
        except AwsFailure as failure:
            self.log(f"{failure.operation} of {len(batch)} at once, now one by one: {failure}")
            return False
        for each in batch:
            self._done(operation, str(each["name"] or each["id"]), str(each["id"]), answer)
        return True

    def call(self, service: str, operation: str, resource: str, /, **parameters: Any) -> Mapping[str, Any]:
        """One call, counted."""
        self.calls[api_name(operation)] += 1
        with aws_call(api_name(operation), resource):
            answer: Mapping[str, Any] = getattr(self.clients(service), operation)(**parameters)
        return answer

    def _do(self, service: str, operation: str, name: str, ident: str, /, **parameters: Any) -> None:
        self._done(operation, name, ident, self.call(service, operation, ident, **parameters))

    def _done(self, operation: str, name: str, ident: str, answer: Mapping[str, Any]) -> None:
        label = ident if name == ident else f"{name} ({ident})"
        self.log(f"{api_name(operation)} {label}: done (request id {request_id(answer)})")

    def _protected(self, arn: str) -> str:
        """Asked before its listeners are touched: whoever protects a load balancer wants to keep it."""
        answer = self.call("elbv2", "describe_load_balancer_attributes", arn, LoadBalancerArn=arn)
        values = {each["Key"]: each["Value"] for each in answer.get("Attributes", [])}
        return "it has deletion protection" if values.get("deletion_protection.enabled") == "true" else ""

    def _listeners(self, arn: str) -> None:
        """Before the load balancer, so that nothing is forwarded any more and the target group is free at once."""
        for listener in self.call("elbv2", "describe_listeners", arn, LoadBalancerArn=arn).get("Listeners", []):
            ident = listener["ListenerArn"]
            try:
                self._do("elbv2", "delete_listener", ident, ident, ListenerArn=ident)
            except AwsFailure as failure:
                if not is_gone(failure):
                    raise


def is_gone(failure: AwsFailure) -> bool:
    """Whether AWS says that the thing is not there."""
    return failure.missing or failure.code in _GONE or _TASK_GONE in failure.message


def request_of(resource: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """Service, operation and parameters that delete it. ValueError for a kind that is not deleted by itself."""
    ident, detail = str(resource["id"]), dict(resource.get("detail") or {})
    match resource["kind"]:
        case "load_balancer":
            return "elbv2", "delete_load_balancer", {"LoadBalancerArn": ident}
        case "target_group":
            return "elbv2", "delete_target_group", {"TargetGroupArn": ident}
        case "security_group":
            return "ec2", "delete_security_group", {"GroupId": ident}
        case "security_group_rule":
            operation = f"revoke_security_group_{detail['direction']}"
            return "ec2", operation, {"GroupId": detail["group_id"], "IpPermissions": [detail["permission"]]}
        case "alarm":
            return "cloudwatch", "delete_alarms", {"AlarmNames": [ident]}
        case "subscription":
            return "sns", "unsubscribe", {"SubscriptionArn": ident}
        case "queue":
            return "sqs", "delete_queue", {"QueueUrl": ident}
        case "ecs_service":
            return "ecs", "delete_service", {"cluster": detail["cluster"], "service": ident, "force": True}
        case "ecs_task":
            reason = f"left by the run {resource['run_id']}"
            return "ecs", "stop_task", {"cluster": detail["cluster"], "task": ident, "reason": reason}
        case "task_definition":
            return "ecs", "deregister_task_definition", {"taskDefinition": ident}
        case kind:
            raise ValueError(f"a {kind} is not deleted by itself")
