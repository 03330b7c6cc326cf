# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a command can run: chooses task and container, waits for the Exec agent, says why there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _ecs_tasks
from ._aws import AwsFailure
from ._calls import Calls
from ._ecs_tasks import TaskProblem, short
from ._exec_types import Target
from ._poller import Done, GoOn, Hopeless, Judgement, poll
from ._preflight_ecs import exec_logging

INTERVAL = 1.0

AGENT_PATIENCE = 10.0
"""Seconds for which a stopped agent is borne: ECS starts it again."""

FATE_SECONDS = 5.0
"""Seconds after a lost session until ECS knows that the task stops, too."""

ROLE_ACTIONS = "ssmmessages:CreateControlChannel, CreateDataChannel, OpenControlChannel and OpenDataChannel"
"""https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html"""


class CannotRun(Exception):
    """The command cannot be started; the text says why and what to do."""


@dataclass(frozen=True)
class Place:
    """One container of one running task."""

    task: Mapping[str, Any]
    container: Mapping[str, Any]

    @property
    def task_arn(self) -> str:
        return str(self.task["taskArn"])

    @property
    def name(self) -> str:
        return str(self.container.get("name", ""))

    @property
    def target_id(self) -> str:
        """How the Session Manager calls the container; part of the encryption context."""
        cluster = short(str(self.task.get("clusterArn", "")))
        return f"ecs:{cluster}_{short(self.task_arn)}_{self.container.get('runtimeId', '')}"

    def __str__(self) -> str:
        return f"container {self.name} of task {short(self.task_arn)}"


@dataclass(frozen=True)
class _Seen:
    """One look. `place` is the best candidate, `reason` why there is none."""

    place: Place | None
    reason: str = ""
    hopeless: bool = False


def find(
    calls: Calls,
    target: Target,
    timeout: float,
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Place:
    """A container whose agent runs; waits for it `timeout` seconds at most. CannotRun, AwsFailure."""
    stopped_since: list[float] = []

    def judge(seen: _Seen) -> Judgement:
        judgement = judge_place(seen.place) if seen.place else None
        if judgement is None:
            return Hopeless(seen.reason) if seen.hopeless else GoOn(seen.reason)
        if isinstance(judgement, Hopeless) and seen.place and _agent(seen.place) == "STOPPED" and _enabled(seen.place):
            stopped_since.append(clock())
            return judgement if clock() - stopped_since[0] >= AGENT_PATIENCE else GoOn(judgement.reason)
        return judgement

    outcome = poll(lambda: look(calls, target), judge, timeout=timeout, interval=INTERVAL, clock=clock, sleep=sleep)
    if outcome.ok and outcome.last.place:
        return outcome.last.place
    text = outcome.reason
    if outcome.state == "timeout" and timeout > 0:
        text += f" (waited {timeout:g} s)"
    if outcome.last.place is not None:
        text += explain(calls, target.cluster, outcome.last.place)
    raise CannotRun(text)


def look(calls: Calls, target: Target) -> _Seen:
    """The best candidate now."""
    try:
        if target.task:
            return _Seen(_place(_task(calls, target.cluster, target.task), target.container))
        return _of_service(calls, target)
    except TaskProblem as exc:
        return _Seen(None, str(exc), hopeless=True)


def _task(calls: Calls, cluster: str, task: str) -> dict[str, Any]:
    answer = calls.call(
        "ecs",
        "describe_tasks",
        f"task {short(task)} in cluster {cluster}",
        hint="Check cluster, task and region, and that ecs:DescribeTasks is allowed.",
        cluster=cluster,
        tasks=[task],
    )
    if not answer.get("tasks"):
        reason = next((str(item.get("reason")) for item in answer.get("failures", [])), "MISSING")
        raise TaskProblem(
            f"cluster {cluster} has no task {short(task)} (ECS says {reason}): it has stopped more than an hour ago, "
            "or never ran there"
        )
    return dict(answer["tasks"][0])


def _of_service(calls: Calls, target: Target) -> _Seen:
    service = _ecs_tasks.describe_service(calls, target.cluster, target.service)
    name = f"service {target.service} in cluster {target.cluster}"
    if service.get("status") != "ACTIVE":
        return _Seen(None, f"{name} is {service.get('status')}", hopeless=True)
    arns = _ecs_tasks.list_tasks(calls, target.cluster, target.service)
    tasks = _ecs_tasks.describe_tasks(calls, target.cluster, arns)[0] if arns else []
    primary: Mapping[str, Any] = next(
        (item for item in service.get("deployments", []) if item.get("status") == "PRIMARY"), {}
    )
    places = [
        _place(task, target.container)
        for task in tasks
        if task.get("startedBy", primary.get("id")) == primary.get("id") and not _stopping(task)
    ]
    if places:
        return _Seen(best(places))
    if not int(service.get("desiredCount", 0)):
        return _Seen(None, f"{name} has a desired count of 0: nothing runs in which a command could run", hopeless=True)
    others = f", only {len(tasks)} of other deployments" if tasks else ""
    return _Seen(None, f"{name} has no RUNNING task of its primary deployment{others}{_last_event(service)}")


def _last_event(service: Mapping[str, Any]) -> str:
    message = next((str(event.get("message", "")) for event in service.get("events", [])), "")
    return f"; its last event: {message}" if message else ""


def best(places: Sequence[Place]) -> Place:
    """The one whose agent runs, of those the one that was started last; pure."""

    def rank(place: Place) -> tuple[bool, bool, float]:
        started = place.task.get("startedAt")
        return (
            isinstance(judge_place(place), Done),
            place.task.get("lastStatus") == "RUNNING",
            started.timestamp() if started else 0.0,
        )

    return max(places, key=rank)


def _place(task: Mapping[str, Any], container: str) -> Place:
    return Place(task, _ecs_tasks.container_of(task, container or None))


def _agent(place: Place) -> str:
    return _ecs_tasks.exec_agent(place.container)


def _enabled(place: Place) -> bool:
    return bool(place.task.get("enableExecuteCommand"))


def _stopping(task: Mapping[str, Any]) -> bool:
    return task.get("desiredStatus") == "STOPPED" or task.get("lastStatus") in {
        "DEACTIVATING",
        "STOPPING",
        "DEPROVISIONING",
        "STOPPED",
    }


def judge_place(place: Place) -> Judgement:
    """Whether a command can run there now; pure."""
    task = short(place.task_arn)
    if _stopping(place.task):
        return Hopeless(f"task {task} is {place.task.get('lastStatus')}: {_ecs_tasks.stop_reason(place.task)}")
    if not _enabled(place):
        return Hopeless(f"task {task} was started without ECS Exec")
    if place.task.get("lastStatus") != "RUNNING":
        return GoOn(f"task {task} does not run yet ({place.task.get('lastStatus')})")
    if place.container.get("lastStatus", "RUNNING") == "STOPPED":
        return Hopeless(f"{place} has stopped: {_ecs_tasks.stop_reason(place.task)}")
    agent = _agent(place)
    if agent == "RUNNING":
        return Done()
    if agent == "STOPPED":
        reason = next(
            (
                str(item.get("reason"))
                for item in place.container.get("managedAgents", [])
                if item.get("name") == _ecs_tasks.EXEC_AGENT and item.get("reason")
            ),
            "ECS gives no reason",
        )
        return Hopeless(f"the Exec agent in {place} has stopped: {reason}")
    return GoOn(f"the Exec agent in {place} is not ready ({agent})")


def explain(calls: Calls, cluster: str, place: Place) -> str:
    """What to do about it, from service and task definition. What cannot be read is left out: this is help."""
    hints: list[str] = []
    group = str(place.task.get("group", ""))
    service = group.removeprefix("service:") if group.startswith("service:") else ""
    if not _enabled(place):
        hints.append(_service_hint(calls, cluster, service))
    elif not _stopping(place.task):
        hints += _definition_hints(calls, place)
    text = " ".join(hint for hint in hints if hint)
    return f". {text}" if text else ""


def explain_now(calls: Calls, cluster: str, place: Place) -> str:
    """Like `explain`, with the task as it is now: it may have stopped, or its agent."""
    try:
        now = _place(_task(calls, cluster, place.task_arn), place.name)
    except (AwsFailure, TaskProblem) as exc:
        return f" {exc}."
    judgement = judge_place(now)
    state = "" if isinstance(judgement, Done) else f" {judgement.reason}"
    return f"{state}{explain(calls, cluster, now)}"


def _service_hint(calls: Calls, cluster: str, service: str) -> str:
    if not service:
        return "Start it with enableExecuteCommand."
    try:
        on = _ecs_tasks.describe_service(calls, cluster, service).get("enableExecuteCommand")
    except (AwsFailure, TaskProblem):
        on = None
    if on:
        return (
            f"Service {service} has ECS Exec enabled, but only tasks started after that have it: "
            "replace them with update-service --force-new-deployment."
        )
    return (
        f"ECS Exec is off on service {service}: "
        "enable it with update-service --enable-execute-command --force-new-deployment."
    )


def _definition_hints(calls: Calls, place: Place) -> list[str]:
    arn = str(place.task.get("taskDefinitionArn", ""))
    try:
        definition = _ecs_tasks.describe_task_definition(calls, arn)
        container = _ecs_tasks.container_definition(definition, place.name)
    except (AwsFailure, TaskProblem):
        return []
    hints = []
    if container.get("readonlyRootFilesystem"):
        hints.append(
            f"Container {place.name} has a read-only root filesystem in {short(arn)} (readonlyRootFilesystem): "
            "the agent must write to it."
        )
    role = str(definition.get("taskRoleArn") or "")
    if not role:
        hints.append(f"{short(arn)} has no task role: the agent needs one that allows {ROLE_ACTIONS}.")
    else:
        hints.append(
            f"Check that task role {short(role)} allows {ROLE_ACTIONS}, and that the task reaches their endpoint."
        )
    return hints


def fate(
    calls: Calls, cluster: str, place: Place, *, clock: Callable[[], float], sleep: Callable[[float], None]
) -> str:
    """What became of the task after its session was lost: its stop reason, or that it still runs."""

    def observe() -> dict[str, Any]:
        return _task(calls, cluster, place.task_arn)

    def judge(task: Mapping[str, Any]) -> Judgement:
        return Done() if _stopping(task) else GoOn()

    try:
        outcome = poll(observe, judge, timeout=FATE_SECONDS, interval=INTERVAL, clock=clock, sleep=sleep)
    except (AwsFailure, TaskProblem) as exc:
        return f"what became of the task is not known: {exc}"
    if outcome.ok:
        task = outcome.last
        return f"task {short(place.task_arn)} is {task.get('lastStatus')}: {_ecs_tasks.stop_reason(task)}"
    return f"task {short(place.task_arn)} still runs"


def session_logging(calls: Calls, cluster: str) -> str:
    """Where the cluster's Exec configuration has sessions copied to, in words; also when it cannot be read."""
    try:
        answer = calls.call(
            "ecs", "describe_clusters", f"cluster {cluster}", clusters=[cluster], include=["CONFIGURATIONS"]
        )
    except AwsFailure as exc:
        return f"not known: {exc}"
    clusters = answer.get("clusters", [])
    configuration = (clusters[0].get("configuration") or {}).get("executeCommandConfiguration") if clusters else None
    return exec_logging(configuration)
