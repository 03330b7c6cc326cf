# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the identity chain is made of: looks at ECS, EC2 and load balancer, answers through fresh connections (N2)."""

from __future__ import annotations

import datetime as dt
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from . import _ecs_tasks, _targets
from ._binding import Answer, Facts, Image, Look, Released, Tally, Task, judge_answers
from ._calls import Calls
from ._names import rfc3339
from ._poller import poll
from ._probe_run import Probe

ATTACHMENT = "ElasticNetworkInterface"

HEADER_KEPT = 600
"""Characters of a header that are kept: an ARN and more, not whatever an application likes to send."""


@dataclass(frozen=True)
class Subject:
    """The service and the target group before it. `headers` are the names of the identity headers (task, image)."""

    cluster: str
    service: str
    container: str | None
    port: int
    target_group_arn: str
    headers: tuple[str, str] | None


@dataclass(frozen=True)
class Limits:
    """Seconds, and requests a target: not fewer than `least`, not more than `most`."""

    timeout: float = 60.0
    interval: float = 0.05
    least: int = 2
    most: int = 30


def look(calls: Calls, subject: Subject) -> Look:
    """TaskProblem when there is no such service or container; a service without a running task is an answer."""
    at = rfc3339(dt.datetime.now(dt.UTC), microseconds=True)
    service = _ecs_tasks.describe_service(calls, subject.cluster, subject.service)
    primary = [item for item in service.get("deployments", []) if item.get("status") == "PRIMARY"]
    found = _ecs_tasks.running_tasks(calls, subject.cluster, subject.service, subject.container, explain_none=False)
    targets = []
    for item in _targets.describe(calls, subject.target_group_arn):
        health = item.get("TargetHealth", {})
        words = (str(health.get(key, "")) for key in ("State", "Reason", "Description"))
        state = _targets.TargetState(*_targets.key_of(item["Target"]), *words)
        if _targets.registered(state):
            targets.append(state)
    return Look(
        at=at,
        task_definition=str(primary[0]["taskDefinition"] if primary else service.get("taskDefinition", "")),
        deployments=len(service.get("deployments", [])),
        tasks=tuple(found.tasks),
        targets=tuple(targets),
        interfaces=found.interfaces,
        attachments={str(task["taskArn"]): attachment_id(task) for task in found.raw},
        left_out={item["task_arn"]: item["reason"] for item in found.left_out},
    )


def attachment_id(task: Mapping[str, Any]) -> str:
    """Id by which ECS attached the task's network interface, or ""."""
    for attachment in task.get("attachments", []):
        if attachment.get("type") == ATTACHMENT and attachment.get("status") != "DELETED":
            return str(attachment.get("id", ""))
    return ""


def strangers(calls: Calls, cluster: str, names: Iterable[str]) -> dict[str, str]:
    """What ECS says of the cluster's tasks among `names`; whatever is no task of this cluster is left out."""
    form = re.compile(r"arn:aws[a-z-]*:ecs:[a-z0-9-]+:\d{12}:task/([A-Za-z0-9_-]{1,255})/[0-9a-f]{32}")
    own = cluster.rpartition("/")[2]
    arns = [name for name in names if (match := form.fullmatch(name)) and match.group(1) == own]
    if not arns:
        return {}
    tasks, missing = _ecs_tasks.describe_tasks(calls, cluster, arns[: _ecs_tasks.LIST_PAGE])
    said = {item["task_arn"]: item["reason"] for item in missing}
    for task in tasks:
        if task.get("desiredStatus") == "STOPPED" or task.get("lastStatus") == "STOPPED":
            said[task["taskArn"]] = f"is {task.get('lastStatus')}: {_ecs_tasks.stop_reason(task)}"
        else:
            said[task["taskArn"]] = f"is {task.get('lastStatus')} in {task.get('group', 'no service')}"
    return said


def ask(
    probe: Callable[[], Probe],
    headers: tuple[str, str],
    url: str,
    before: Look,
    tally: Tally,
    port: int,
    limits: Limits,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Adds answers to `tally` until every registered target has given one. Why the asking ended, in one line."""
    targets = max(1, len(before.targets))

    def observe() -> Tally:
        asked = probe()
        for response in asked.responses:
            tally.add(answer_of(response, headers, url))
        if not asked.responses:
            tally.add(Answer(None, None, 0, "", url, asked.reason))
        return tally

    outcome = poll(
        observe,
        lambda seen: judge_answers(before, seen, port, least=limits.least * targets, most=limits.most * targets),
        timeout=limits.timeout,
        interval=limits.interval,
        clock=clock,
        sleep=sleep,
    )
    return outcome.reason if outcome.state != "timeout" else f"{outcome.reason} within {limits.timeout:g} s"


def answer_of(response: Mapping[str, Any], headers: tuple[str, str], url: str) -> Answer:
    """An answer of a probe; a header that came several times is joined, so that it equals no identity."""
    values: list[str | None] = []
    for name in headers:
        found = [str(item["value"]) for item in response["headers"] if item["name"].lower() == name.lower()]
        values.append(", ".join(found)[:HEADER_KEPT] if found else None)
    return Answer(values[0], values[1], int(response["status"]), str(response["remote"]), url)


def gather(
    calls: Calls,
    subject: Subject,
    image_of: Callable[[str], Image],
    probe: Callable[[], Probe],
    url: str,
    registered: Iterable[Task],
    given: Iterable[Mapping[str, Any]],
    released: Released,
    limits: Limits,
) -> tuple[Facts, str]:
    """Looks, asks, looks again. `given` are results of probes from before; `image_of` task definition → image.

    Returns the facts and why the asking ended. Raises AwsFailure and TaskProblem.
    """
    registered = tuple(registered)
    tally, ended = Tally(), "not asked"
    first = look(calls, subject)
    if subject.headers is not None:
        for result in given:
            for response in result["responses"]:
                tally.add(answer_of(response, subject.headers, result["request"]["url"]))
        ended = ask(probe, subject.headers, url, first, tally, subject.port, limits)
    last = look(calls, subject)
    unknown = tally.strangers(last.tasks)
    unknown += [str(task["task_arn"]) for task in (*registered, *first.tasks)]
    running = {str(task["task_arn"]) for task in last.tasks} | set(last.left_out)
    facts = Facts(
        image=image_of(last.task_definition),
        registered=registered,
        first=first,
        last=last,
        answers=tally,
        port=subject.port,
        headers=subject.headers,
        released=released,
        strangers=strangers(calls, subject.cluster, [arn for arn in dict.fromkeys(unknown) if arn not in running]),
    )
    return facts, ended


def shown(facts: Facts) -> dict[str, Any]:
    """Everything that was compared, for evidence."""
    return {
        "task_definition": facts.last.task_definition,
        "image": vars(facts.image),
        "released": vars(facts.released),
        "looks": [
            {
                "at": seen.at,
                "tasks": list(seen.tasks),
                "left_out": dict(seen.left_out),
                "targets": [target.as_dict() for target in seen.targets],
            }
            for seen in (facts.first, facts.last)
        ],
        "answers": facts.answers.as_list(),
        "strangers": dict(facts.strangers),
    }
