"""What ECS tells EventBridge: task states, service actions, deployments; delivered in order by one thread."""

from __future__ import annotations

import json
import logging
import queue
import threading
from datetime import UTC, datetime
from typing import Any

from sandbox import emulator
from sandbox.behaviours import behaviour

log = logging.getLogger("sandbox.ecs")
Record = dict[str, Any]
# Members of a task that its event has as DescribeTasks shows them; times are texts there.
TASK_MEMBERS = (
    "attachments",
    "availabilityZone",
    "capacityProviderName",
    "clusterArn",
    "connectivity",
    "connectivityAt",
    "containers",
    "cpu",
    "createdAt",
    "desiredStatus",
    "enableExecuteCommand",
    "ephemeralStorage",
    "executionStoppedAt",
    "group",
    "healthStatus",
    "launchType",
    "lastStatus",
    "memory",
    "overrides",
    "platformVersion",
    "pullStartedAt",
    "pullStoppedAt",
    "startedAt",
    "startedBy",
    "stoppingAt",
    "stoppedAt",
    "stoppedReason",
    "stopCode",
    "taskArn",
    "taskDefinitionArn",
    "version",
)


class Events:
    """Events wait in a queue, so that a slow target of somebody's rule holds up no task."""

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[str, str, Record]] = queue.SimpleQueue()
        threading.Thread(target=self._deliver, name="ecs-events", daemon=True).start()

    def put(self, kind: str, arn: str, detail: Record) -> None:
        """`arn` is the resource; account and region of the event are its own."""
        _, _, _, region, account, _ = arn.split(":", 5)
        entry = {"Source": "aws.ecs", "DetailType": kind, "Detail": json.dumps(detail), "Resources": [arn]}
        self._waiting.put((account, region, entry))

    def _deliver(self) -> None:
        while True:
            account, region, entry = self._waiting.get()
            try:
                with emulator.request_scope(account, region):
                    emulator.service("eventbridge")._put_events({"Entries": [entry]}, allow_aws_source=True)
            except Exception:
                # A broken rule or target of somebody's must not keep the next event from its own.
                log.exception("event of %s was not delivered", entry["Resources"][0])


@behaviour("ecs")
def task_state_change_events(events: Events, task: Record) -> None:
    """Each change of a task's state is an "ECS Task State Change" event with the task as detail and its version.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
    """
    whole = shown(task)
    detail = {name: whole[name] for name in TASK_MEMBERS if whole.get(name) not in (None, "")}
    for name in [name for name in detail if name.endswith("At")]:
        detail[name] = _text(detail[name])
    detail["updatedAt"] = _text(emulator.now())
    events.put("ECS Task State Change", task["taskArn"], detail)


@behaviour("ecs")
def service_action_events(events: Events, service: Record, name: str, kind: str = "INFO", reason: str = "") -> None:
    """What a service's scheduler reaches or cannot do is an "ECS Service Action" event.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_events.html
    """
    detail = {
        "eventType": kind,
        "eventName": name,
        "clusterArn": service["clusterArn"],
        **({"reason": reason} if reason else {}),
        "createdAt": _text(emulator.now()),
    }
    events.put("ECS Service Action", service["serviceArn"], detail)


@behaviour("ecs")
def deployment_state_change_events(events: Events, service: Record, deployment: Record, name: str) -> None:
    """A deployment that begins, completes or fails is an "ECS Deployment State Change" event.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html
    """
    detail = {
        "eventType": "ERROR" if name.endswith("_FAILED") else "INFO",
        "eventName": name,
        "deploymentId": deployment["id"],
        "updatedAt": _text(emulator.now()),
        "reason": deployment.get("rolloutStateReason", ""),
    }
    events.put("ECS Deployment State Change", service["serviceArn"], detail)


def _text(value: Any) -> str:
    moment = datetime.fromtimestamp(emulator.epoch(value), UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


_NOT_YET = ("stopCode", "stoppedReason")
"""Members of a task that AWS leaves out as long as it has not ended; the emulator keeps them as ""."""


def shown(record: Any) -> Any:
    """A record without inner keys and empty members: a copy, made from snapshots, as other threads change it."""
    if isinstance(record, dict):
        return {
            k: shown(v)
            for k, v in list(record.items())
            if not k.startswith("_") and v is not None and not (v == "" and k in _NOT_YET)
            if k != "containerInstanceArn" or record.get("launchType") != "FARGATE"
        }
    return [shown(item) for item in list(record)] if isinstance(record, list) else record
