# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs one command in a fresh task made like a service's, to its exit code, its log lines and its proved end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from . import _aws, _container_log, _ecs_tasks
from ._calls import Calls
from ._poller import Done, GoOn, Hopeless, Judgement, poll
from ._rows import json_safe, listing

Outcome = Literal["exited", "timed_out", "not_started", "indeterminate"]

# Ends the command after $1 seconds and hands on what ECS sends it: a task whose run has died must not live for ever.
WATCH = (
    'life=$1; shift; "$@" & child=$!; '
    "trap 'kill -TERM \"$child\"' TERM INT; "
    '( sleep "$life"; kill -TERM "$child"; sleep 5; kill -KILL "$child" ) >/dev/null 2>&1 & watch=$!; '
    'while :; do wait "$child"; code=$?; kill -0 "$child" 2>/dev/null || break; done; '
    'kill "$watch" 2>/dev/null; exit "$code"'
)

STARTED_BY = re.compile(r"[^A-Za-z0-9/_-]")
"""Not allowed in startedBy: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html"""


@dataclass(frozen=True)
class Plan:
    """What to run, and how long it may take; times in seconds.

    `life` bounds the command inside the container (0: not at all), `timeout` the way from RunTask to its end,
    `end_timeout` the way from there to STOPPED. `expect` are regular expressions; each has to match a line of the log.
    """

    cluster: str
    service: str
    command: tuple[str, ...]
    container: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    started_by: str = ""
    life: int = 60
    timeout: float = 300.0
    end_timeout: float = 180.0
    interval: float = 2.0
    expect: tuple[str, ...] = ()
    log_wait: float = 15.0
    log_lines: int = 200

    def __post_init__(self) -> None:
        if not self.command:
            raise ValueError("the command has no words")
        if self.life < 0 or self.timeout <= 0 or self.end_timeout <= 0 or self.interval <= 0:
            raise ValueError("life cannot be negative; timeout, end_timeout and interval must be more than 0 seconds")
        for pattern in self.expect:
            try:
                re.compile(pattern)
            except re.error as exc:
                raise ValueError(f"expect has {pattern!r}, which is no regular expression: {exc}") from exc


@dataclass(frozen=True)
class Place:
    """What the task is made from: `request` is RunTask's, `definition` the container's part of the task definition."""

    request: dict[str, Any]
    task_definition: str
    definition: Mapping[str, Any]

    @property
    def container(self) -> str:
        return str(self.definition["name"])


@dataclass
class TaskRun:
    """How it went. `rc` is an int only when `outcome` is `exited`; `stopped` only when ECS itself said STOPPED.

    `log` is the place of its lines (`_container_log.place`), with a `note` where they could not be read.
    """

    outcome: Outcome = "indeterminate"
    reason: str = ""
    rc: int | None = None
    task_arn: str = ""
    task_definition: str = ""
    container: str = ""
    image_digest: str = ""
    stopped: bool = False
    stop_reason: str = ""
    started_at: str | None = None
    stopped_at: str | None = None
    log: dict[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    duration: float = 0.0

    @property
    def ok(self) -> bool:
        """The command said 0, its log has what was expected, and nothing of it is left."""
        return self.outcome == "exited" and self.rc == 0 and not self.unmatched and self.stopped

    def as_dict(self) -> dict[str, Any]:
        return {name: json_safe(value) for name, value in vars(self).items()}

    def verdict(self) -> str:
        """Why it is ok or not, in one line."""
        text = self.reason or "nobody knows how it ended"
        if self.outcome == "exited" and self.rc == 0 and self.unmatched:
            where = self.log.get("note") or f"log stream {self.log.get('stream', '')}"
            text += f", but no line matches {listing(map(repr, self.unmatched))} ({where})"
        elif not self.ok and self.lines:
            text += f"; last line: {self.lines[-1]}"
        return " ".join(text.split())


def place(calls: Calls, plan: Plan) -> Place:
    """Task definition, network and launch type of the service's primary deployment. TaskProblem for what has none."""
    service = _ecs_tasks.describe_service(calls, plan.cluster, plan.service)
    deployments = [item for item in service.get("deployments", []) if item.get("status") == "PRIMARY"]
    primary = {**service, **{key: value for item in deployments[:1] for key, value in item.items() if value}}
    definition = _ecs_tasks.describe_task_definition(calls, str(primary["taskDefinition"]))
    container = _ecs_tasks.container_definition(definition, plan.container or None)
    return Place(
        request=request(plan, primary, str(definition["taskDefinitionArn"]), str(container["name"])),
        task_definition=str(definition["taskDefinitionArn"]),
        definition=container,
    )


def request(plan: Plan, deployment: Mapping[str, Any], task_definition: str, container: str) -> dict[str, Any]:
    """RunTask's parameters; pure. Placed as the service's own tasks are."""
    made: dict[str, Any] = {
        "cluster": plan.cluster,
        "taskDefinition": task_definition,
        "count": 1,
        "overrides": {"containerOverrides": [{"name": container, "command": bounded(plan.command, plan.life)}]},
    }
    for key in ("networkConfiguration", "platformVersion"):
        if deployment.get(key):
            made[key] = deployment[key]
    # One or the other: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (launchType)
    if deployment.get("capacityProviderStrategy"):
        made["capacityProviderStrategy"] = deployment["capacityProviderStrategy"]
    elif deployment.get("launchType"):
        made["launchType"] = deployment["launchType"]
    if plan.started_by:
        made["startedBy"] = STARTED_BY.sub("-", plan.started_by)[:128]
    if plan.tags:
        made["tags"] = [{"key": key, "value": value} for key, value in plan.tags.items()]
    return made


def bounded(command: Sequence[str], life: int) -> list[str]:
    """The command with an end of its own after `life` seconds; needs `sh` and `sleep` in the container."""
    return ["sh", "-c", WATCH, "sh", str(life), *command] if life else list(command)


def judge(task: Mapping[str, Any] | None, container: str) -> Judgement:
    """Whether the command has ended; pure. `None`: DescribeTasks does not know the task yet."""
    if task is None:
        return GoOn("ECS does not list the task yet")
    found = _container(task, container)
    if isinstance(found.get("exitCode"), int):
        return Done(f"exit code {found['exitCode']}")
    status = str(task.get("lastStatus", ""))
    if status == "STOPPED":
        return Hopeless(_ecs_tasks.stop_reason(task))
    return GoOn(status or "unknown")


def _container(task: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next((item for item in task.get("containers", []) if item.get("name") == name), {})


class Runner:
    """One run of a plan; clock and sleep may be replaced. Whatever happens after RunTask, StopTask is asked for."""

    def __init__(
        self,
        calls: Calls,
        plan: Plan,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.calls = calls
        self.plan = plan
        self.clock = clock
        self.sleep = sleep
        self.run = TaskRun()
        self.last: Mapping[str, Any] = {}

    def __call__(self, where: Place) -> TaskRun:
        """Never raises for what AWS says after the task was asked for: that is the outcome."""
        run, began = self.run, self.clock()
        run.task_definition, run.container = where.task_definition, where.container
        arn = self._start(where)
        if not arn:
            return run
        run.task_arn = arn
        ended = False
        try:
            self._await_end()
            self._end()
            ended = True
            self._read_log(where.definition)
        except _aws.AwsFailure as exc:
            run.reason = f"{run.reason}; {exc}".lstrip("; ")
        finally:
            if not ended:  # also when this very process is being ended
                self._stop_now()
            run.duration = round(self.clock() - began, 3)
        return run

    def _start(self, where: Place) -> str:
        resource = f"{where.task_definition} in cluster {self.plan.cluster}"
        answer = self.calls.call("ecs", "run_task", resource, **where.request)
        if answer.get("tasks"):
            return str(answer["tasks"][0]["taskArn"])
        why = listing(
            f"{failure.get('reason', 'no reason')} {failure.get('detail') or ''}".strip()
            for failure in answer.get("failures", [])
        )
        self.run.outcome, self.run.stopped = "not_started", True
        self.run.reason = f"ECS started no task: {why or 'it gives no reason'}"
        return ""

    def _observe(self) -> Mapping[str, Any] | None:
        found, dummy = _ecs_tasks.describe_tasks(self.calls, self.plan.cluster, [self.run.task_arn])
        if found:
            self.last = found[0]
        return found[0] if found else None

    def _await_end(self) -> None:
        plan, run = self.plan, self.run
        waited = poll(
            self._observe,
            lambda task: judge(task, run.container),
            timeout=plan.timeout,
            interval=plan.interval,
            clock=self.clock,
            sleep=self.sleep,
        )
        found = _container(self.last, run.container)
        if waited.ok:
            run.outcome, run.rc = "exited", int(found["exitCode"])
            run.reason = f"exit code {run.rc}" + (f": {found['reason']}" if found.get("reason") else "")
        elif waited.state == "hopeless":
            run.outcome, run.reason = "not_started", f"the container never gave an exit code: {waited.reason}"
        else:
            run.outcome = "timed_out"
            run.reason = f"did not end within {plan.timeout:g} s (last: {waited.reason}), stopped"

    def _end(self) -> None:
        """STOPPED, said by ECS. A task that ends by itself is not asked to."""
        plan, run = self.plan, self.run
        if run.outcome != "not_started" and self.last.get("desiredStatus") != "STOPPED":
            self._ask_to_stop()
        waited = poll(
            self._observe,
            lambda task: (
                Done() if task and task.get("lastStatus") == "STOPPED" else GoOn(str((task or {}).get("lastStatus")))
            ),
            timeout=plan.end_timeout,
            interval=plan.interval,
            clock=self.clock,
            sleep=self.sleep,
        )
        run.stopped = waited.ok
        run.image_digest = str(_container(self.last, run.container).get("imageDigest") or "")
        run.started_at, run.stopped_at = json_safe(self.last.get("startedAt")), json_safe(self.last.get("stoppedAt"))
        run.stop_reason = _ecs_tasks.stop_reason(self.last)
        if not run.stopped:
            run.reason += (
                f"; task {run.task_arn} is still {waited.reason} after {plan.end_timeout:g} s: stop it by hand"
            )

    def _ask_to_stop(self) -> None:
        self.calls.call(
            "ecs",
            "stop_task",
            f"task {self.run.task_arn}",
            hint="Stop it by hand; its command ends by itself.",
            cluster=self.plan.cluster,
            task=self.run.task_arn,
            reason="the run needs it no longer",
        )

    def _stop_now(self) -> None:
        try:
            self._ask_to_stop()
        except _aws.AwsFailure as exc:
            self.run.reason += f"; {exc}"

    def _read_log(self, definition: Mapping[str, Any]) -> None:
        run, plan = self.run, self.plan
        run.unmatched, run.log = list(plan.expect), _container_log.place(definition, self.last)
        if "note" in run.log:
            return

        def enough(read: tuple[list[str], str]) -> Judgement:
            run.lines, why = read
            run.unmatched = unmatched(plan.expect, run.lines)
            if why:
                run.log["note"] = why
                return Hopeless(why)
            wanted = run.unmatched if run.rc == 0 else not run.lines
            return GoOn() if wanted else Done()

        poll(
            lambda: _container_log.last_lines(self.calls, run.log, plan.log_lines),
            enough,
            timeout=plan.log_wait,
            interval=1.0,
            clock=self.clock,
            sleep=self.sleep,
        )


def unmatched(expect: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Patterns that no line has; pure."""
    return [pattern for pattern in expect if not any(re.search(pattern, line) for line in lines)]


def transcript(run: TaskRun, command: Sequence[str]) -> str:
    """Content of the evidence: what was run where, how it ended, then the lines of its log."""
    head = [
        f"command:         {' '.join(command)}",
        f"task:            {run.task_arn or 'none'}",
        f"task definition: {run.task_definition}",
        f"container:       {run.container} {run.image_digest}".rstrip(),
        f"started:         {run.started_at or 'never'}",
        f"stopped:         {run.stopped_at or ('not proved' if not run.stopped else 'never started')}",
        f"stop reason:     {run.stop_reason or 'none'}",
        f"outcome:         {run.outcome}",
        f"exit code:       {run.rc if run.rc is not None else 'none'}",
        f"log:             {run.log.get('note') or run.log.get('group', '') + ' ' + run.log.get('stream', '')}",
    ]
    return "\n".join([*head, "", *run.lines]) + "\n"
