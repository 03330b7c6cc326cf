# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What drills of alarms have left goes, and the permanent alarms, their topic and the service stay (N1, C7)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers import Scope
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers_drill import DrillScope
from ansible_collections.papyrus.ops.plugins.module_utils._sweep import Order, Swept, sweep
from ansible_collections.papyrus.ops.tests.unit.aws_fake import Refusal
from ansible_collections.papyrus.ops.tests.unit.sweep_world import World, marks, text

RUN, YOUNG = "20260131T120000Z-abc234", "20260131T132500Z-yyy222"
NOW = dt.datetime(2026, 1, 31, 13, 30, tzinfo=dt.UTC)
TOPIC = "arn:aws:sns:us-west-2:123456789012:svc-alarms"
SCOPE = Scope("papyrus", "svc", drill=DrillScope("prd", "svc-task", "svc", TOPIC))
ECS = "arn:aws:ecs:us-west-2:123456789012"
PERMANENT = {"svc-memory", "svc", "svc-task:7", "mail", "of-the-service"}
DELETES = [
    "cloudwatch.delete_alarms",
    "sns.unsubscribe",
    "sqs.delete_queue",
    "ecs.delete_service",
    "ecs.stop_task",
    "ecs.deregister_task_definition",
]


class DrillWorld(World):
    """Beside load balancers and groups what a drill makes, by its name; a service drains for `drain_seconds`."""

    def __init__(self) -> None:
        super().__init__()
        self.things: dict[str, str] = dict.fromkeys(PERMANENT, "")  # with the run that made it
        self.until: dict[str, float] = {}
        self.drain_seconds = 0.0
        self.no_topic = self.bare_queue = False
        handlers = {
            "cloudwatch.describe_alarms": lambda sent: {
                "MetricAlarms": [
                    {"AlarmName": name, "AlarmArn": f"arn:aws:cloudwatch:us-west-2:123456789012:alarm:{name}"}
                    for name in self._named(sent["AlarmNamePrefix"])
                    if "task" not in name
                ]
            },
            "cloudwatch.list_tags_for_resource": lambda sent: {"Tags": self._tags(sent["ResourceARN"], "Key", "Value")},
            "cloudwatch.delete_alarms": lambda sent: [self._delete(name) for name in sent["AlarmNames"]][0],
            "sqs.list_queues": lambda sent: {
                "QueueUrls": [f"https://sqs/1/{n}" for n in self._named("papyrus-drill-")]
            },
            "sqs.list_queue_tags": lambda sent: {
                "Tags": {}
                if self.bare_queue
                else {each["k"]: each["v"] for each in self._tags(sent["QueueUrl"], "k", "v")}
            },
            "sqs.delete_queue": lambda sent: self._delete(sent["QueueUrl"].rsplit("/", 1)[1]),
            "sns.list_subscriptions_by_topic": self._subscriptions,
            "sns.unsubscribe": lambda sent: self._delete(sent["SubscriptionArn"]),
            "ecs.list_services": lambda sent: {
                "serviceArns": [f"{ECS}:service/prd/{name}" for name in ["svc", *self._services()]]
            },
            "ecs.describe_services": lambda sent: {
                "services": [
                    {
                        "serviceArn": f"{ECS}:service/prd/{name}",
                        "serviceName": name,
                        "status": "DRAINING" if name in self.until else "ACTIVE",
                        "tags": self._tags(name, "key", "value"),
                    }
                    for name in self._services()
                    if name in sent["services"]
                ]
            },
            "ecs.delete_service": self._drain,
            "ecs.list_tasks": lambda sent: {"taskArns": [f"{ECS}:task/prd/{name}" for name in self._tasks()]},
            "ecs.describe_tasks": lambda sent: {
                "tasks": [
                    {
                        "taskArn": f"{ECS}:task/prd/{name}",
                        "startedBy": f"papyrus/{self.things[name]}" if self.things[name] else "ecs-svc/1",
                        "lastStatus": "RUNNING",
                        "tags": self._tags(name, "key", "value"),
                    }
                    for name in self._tasks()
                ]
            },
            "ecs.stop_task": lambda sent: self._delete(sent["task"].rsplit("/", 1)[1]),
            "ecs.list_task_definition_families": lambda sent: {"families": self._named(sent["familyPrefix"])},
            "ecs.list_task_definitions": lambda sent: {
                "taskDefinitionArns": [f"{ECS}:task-definition/{sent['familyPrefix']}:1"]
            },
            "ecs.describe_task_definition": lambda sent: {
                "taskDefinition": {},
                "tags": self._tags(sent["taskDefinition"].rsplit(":", 1)[0], "key", "value"),
            },
            "ecs.deregister_task_definition": lambda sent: self._delete(
                sent["taskDefinition"].rsplit("/", 1)[1].removesuffix(":1")
            ),
        }
        self.aws.answers |= {name: self._hooked(name, answer) for name, answer in handlers.items()}

    def drill(self, run_id: str) -> None:
        """Everything that a drill makes but for its load balancer."""
        suffix = run_id[-6:]
        names = ("svc-memory-drill-", "svc-drill-", "papyrus-drill-", "svc-task-drill-", "task-", "sub-", "service-")
        self.things |= {f"{name}{suffix}": run_id for name in names}

    def _named(self, prefix: str) -> list[str]:
        return [name for name in self.things if name.startswith(prefix)]

    def _tasks(self) -> list[str]:
        return [*self._named("task-"), *self._named("of-the-service")]

    def _services(self) -> list[str]:
        for name, until in list(self.until.items()):
            if until <= self.now:
                self.things.pop(name.replace("papyrus-drill", "service"), None)
        return [name.replace("service", "papyrus-drill") for name in self._named("service-")]

    def _tags(self, name: str, key: str, value: str) -> list[dict[str, str]]:
        run = next((run for run in self.things.values() if run and name.endswith(run[-6:])), "")
        expires = "2026-01-31T14:25:00Z" if run == YOUNG else "2026-01-31T13:00:00Z"
        return [{key: tag, value: content} for tag, content in marks(run, expires).items()] if run else []

    def _subscriptions(self, _sent: Mapping[str, Any]) -> Any:
        if self.no_topic:
            raise Refusal("NotFound", "Topic does not exist")
        mail = {"SubscriptionArn": "mail", "Protocol": "email", "Endpoint": "papyrus-drill-abc234"}
        return {
            "Subscriptions": [
                mail,
                *(
                    {
                        "SubscriptionArn": name,
                        "Protocol": "sqs",
                        "Endpoint": f"arn:aws:sqs:us-west-2:123456789012:papyrus-drill-{name[-6:]}",
                    }
                    for name in self._named("sub-")
                ),
            ]
        }

    def _drain(self, sent: Mapping[str, Any]) -> Any:
        assert sent["force"] is True
        self.until[sent["service"].rsplit("/", 1)[1]] = self.now + self.drain_seconds
        return {}

    def _delete(self, name: str) -> Any:
        del self.things[name]
        return {}


@pytest.fixture
def world() -> DrillWorld:
    return DrillWorld()


def swept(world: DrillWorld, *run_ids: str, timeout: float = 600) -> Swept:
    order = Order("svc", frozenset(run_ids))
    return sweep(
        world.aws, SCOPE, order, timeout=timeout, interval=10, clock=world.clock, sleep=world.sleep, now=NOW
    )  # fmt: skip


def test_N1_what_an_expired_drill_left_goes_and_the_permanent_stays(world: DrillWorld) -> None:
    world.drill(RUN)
    world.drill(YOUNG)
    result = swept(world)
    assert result.gone and not result.failed
    assert set(world.things) - PERMANENT == {name for name, run in world.things.items() if run == YOUNG}
    assert set(world.things) >= PERMANENT
    assert [name for name in world.aws.names if name in DELETES] == DELETES  # two alarms at once
    assert {each["run_id"] for each in result.spared} == {YOUNG}
    assert swept(world, YOUNG).gone and set(world.things) == PERMANENT


def test_N1_a_service_that_drains_is_deleted_once_and_waited_for(world: DrillWorld) -> None:
    world.drill(RUN)
    world.drain_seconds = 35
    result = swept(world)
    assert result.gone and 35 <= world.now <= 50 and len(world.aws.sent("ecs.delete_service")) == 1
    world.drill(YOUNG)
    world.drain_seconds = 999
    late = swept(world, YOUNG, timeout=30)
    assert not late.gone and [(each["kind"], each["held"]) for each in late.failed] == [("ecs_service", True)]
    assert "ecs_service" not in {each["kind"] for each in late.deleted}  # asked for, and still there


def test_N1_a_queue_stays_as_long_as_its_subscription_does(world: DrillWorld) -> None:
    world.drill(RUN)
    world.refuse["sns.unsubscribe"] = [Refusal("AuthorizationError", "no")]
    result = swept(world, timeout=30)
    assert {each["kind"] for each in result.failed} == {"subscription", "queue"}
    assert {"sub-abc234", "papyrus-drill-abc234"} <= set(world.things)
    assert swept(world).gone  # by the queue the next one knows whose the subscription is


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("operation", ["sns.unsubscribe", "sns.list_subscriptions_by_topic"])
def test_N1_a_queue_goes_after_a_subscription_that_was_throttled(world: DrillWorld, operation: str, times: int) -> None:
    world.drill(RUN)
    world.refuse[operation] = [Refusal("Throttling", "Rate exceeded")] * times
    result = swept(world)
    assert result.gone and set(world.things) == PERMANENT and not result.failed
    assert world.aws.names.index("sqs.delete_queue") > max(
        index for index, name in enumerate(world.aws.names) if name == "sns.unsubscribe"
    )


@pytest.mark.parametrize("operation", ["sns.unsubscribe", "sns.list_subscriptions_by_topic"])
def test_C7_a_subscription_that_cannot_go_is_never_gone_and_keeps_the_queue(world: DrillWorld, operation: str) -> None:
    world.drill(RUN)
    world.refuse[operation] = [Refusal("Throttling", "Rate exceeded")] * 99
    result = swept(world, timeout=120)
    assert not result.gone and not world.aws.sent("sqs.delete_queue")
    assert set(world.things) - PERMANENT == {"sub-abc234", "papyrus-drill-abc234"}
    [kept] = [each for each in result.failed if each["kind"] == "queue"]
    assert kept["error"].startswith("it is kept, as ") and "subscription" in kept["error"]
    world.refuse.clear()
    assert swept(world).gone and set(world.things) == PERMANENT


def test_C7_a_queue_that_is_kept_names_the_call_that_had_no_answer(world: DrillWorld) -> None:
    world.drill(RUN)
    world.refuse["sns.unsubscribe"] = [Refusal("Throttling", "Rate exceeded")] * 2
    result = swept(world, timeout=0)
    [kept] = [each for each in result.failed if each["kind"] == "queue"]
    assert "Unsubscribe on sub-abc234 failed: Throttling" in kept["error"] and not result.gone


def test_N1_what_an_untagged_queue_is_known_by_goes_after_it(world: DrillWorld) -> None:
    world.drill(RUN)
    world.bare_queue = True
    world.refuse["sqs.delete_queue"] = [Refusal("Throttling", "Rate exceeded")] * 2
    result = swept(world)
    assert result.gone and set(world.things) == PERMANENT
    assert world.aws.names.index("ecs.deregister_task_definition") > max(
        index for index, name in enumerate(world.aws.names) if name == "sqs.delete_queue"
    )
    world.drill(RUN)
    world.refuse["sqs.delete_queue"] = [Refusal("AccessDenied", "no")]
    result = swept(world)
    assert not result.gone and {each["kind"] for each in result.failed} == {"queue", "task_definition"}


@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("sqs.delete_queue", "AWS.SimpleQueueService.NonExistentQueue"),
        ("ecs.delete_service", "ServiceNotFoundException"),
        ("ecs.delete_service", "ServiceNotActiveException"),
        ("cloudwatch.delete_alarms", "ResourceNotFound"),
        ("sns.unsubscribe", "NotFound"),
    ],
)
def test_N1_what_another_sweeper_took_is_no_failure(world: DrillWorld, operation: str, code: str) -> None:
    world.drill(RUN)
    names = {"sqs": "papyrus-drill-", "ecs": "service-", "cloudwatch": "svc-drill-", "sns": "sub-"}
    world.before[operation] = lambda: world.things.pop(f"{names[operation.partition('.')[0]]}abc234", None)
    # Both alarms are refused when one is gone, then that one alone.
    world.refuse[operation] = [Refusal(code)] * (2 if operation == "cloudwatch.delete_alarms" else 1)
    result = swept(world)
    assert result.gone and not result.failed
    assert "was gone already" in {each["how"] for each in result.deleted}


def test_N1_a_task_that_has_ended_is_gone(world: DrillWorld) -> None:
    world.drill(RUN)
    world.before["ecs.stop_task"] = lambda: world.things.pop("task-abc234")
    world.refuse["ecs.stop_task"] = [Refusal("InvalidParameterException", "The referenced task was not found.")]
    assert swept(world).gone


@pytest.mark.parametrize("operation", DELETES)
def test_N1_a_refused_delete_of_a_drill_is_told(world: DrillWorld, operation: str) -> None:
    world.drill(RUN)
    world.refuse[operation] = [Refusal("AccessDeniedException", "no") for _number in range(9)]
    result = swept(world, timeout=30)
    assert not result.gone and any("AccessDeniedException" in each["error"] for each in result.failed)
    assert set(world.things) >= PERMANENT


def test_N1_a_queue_that_has_no_tags_yet_belongs_to_the_task_definition_of_its_drill(world: DrillWorld) -> None:
    world.drill(RUN)
    world.drill(YOUNG)
    world.things.pop("sub-abc234")
    world.things.pop("sub-yyy222")
    world.bare_queue = True
    assert swept(world).gone
    assert [name for name in world.things if name.startswith("papyrus-drill-")] == ["papyrus-drill-yyy222"]


def test_C7_a_topic_that_is_not_there_has_no_subscription(world: DrillWorld) -> None:
    world.no_topic = True
    assert swept(world).gone


def test_N1_the_group_of_a_drills_task_goes_when_its_service_has_drained(world: DrillWorld) -> None:
    world.drill(RUN)
    world.drain_seconds = 20
    world.group("sg-alb", "papyrus-drill-abc234", marks(RUN), text(RUN))
    world.group("sg-task", "papyrus-drill-task-abc234", marks(RUN), text(RUN))
    world.rule("sg-task", "sg-alb", text(RUN))
    world.interfaces["eni-task"] = {
        "NetworkInterfaceId": "eni-task", "Description": "arn:aws:ecs:attachment", "Status": "in-use",
        "Groups": [{"GroupId": "sg-task"}], "until": 25,
    }  # fmt: skip
    assert swept(world).gone and world.groups == {} and world.now >= 25
