# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The JSON lines that an app has logged about some requests: found in CloudWatch Logs by the requests' ids (K3)."""

from __future__ import annotations

import datetime as dt
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._calls import Calls
from ._container_log import place
from ._poller import Done, GoOn, Judgement, Outcome, poll
from ._rows import listing

MOST_LINES = 1000
"""Lines that are kept at most; `Found.cut` says that there were more."""

CLOCKS = dt.timedelta(minutes=5)
"""By so much the clock that stamps the lines may be behind the one that says since when."""

_MAX_PATTERN = 1024
_ID = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,200}")  # neither pattern nor JSON has to escape anything in it
_HINT = "The run needs this right on the log group."


class LogProblem(Exception):
    """There is nothing to look for, or nowhere to look; the message says why."""


@dataclass(frozen=True)
class Question:
    """Which requests, in which log group, since when; for how long a line may still arrive (seconds)."""

    group: str
    ids: tuple[str, ...]
    since: dt.datetime
    timeout: float = 60.0
    interval: float = 2.0

    def __post_init__(self) -> None:
        if not self.ids:
            raise LogProblem("no request id is given")
        if wrong := [one for one in self.ids if not _ID.fullmatch(one)]:
            raise LogProblem(f"a log cannot be searched for the request id {wrong[0]!r}")


@dataclass
class Found:
    """`lines` as they were logged, oldest first, each a JSON object that has one of the ids as a value.

    `plain`: ids that stand in lines which are no JSON objects, or only inside a longer value.
    """

    lines: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    plain: set[str] = field(default_factory=set)
    cut: bool = False


def log_group(calls: Calls, task_definitions: Sequence[str], container: str) -> str:
    """The one log group to which this container of all the revisions logs. LogProblem, AwsFailure."""
    groups = {_group(calls, arn, container) for arn in dict.fromkeys(task_definitions)}
    if len(groups) != 1:
        raise LogProblem(
            f"the tasks log to more than one log group ({listing(sorted(groups))}); name the one to search"
            if groups
            else "no task is known whose log could be searched"
        )
    return groups.pop()


def _group(calls: Calls, arn: str, container: str) -> str:
    answer = calls.call("ecs", "describe_task_definition", arn, taskDefinition=arn)
    containers = answer["taskDefinition"]["containerDefinitions"]
    own = [each for each in containers if each["name"] == container or len(containers) == 1]
    if not own:
        raise LogProblem(f"{arn} has no container {container}")
    # The stream is of no interest: its task's id stands for any.
    where = place(own[0], {"taskArn": arn, "containers": [{"name": own[0]["name"], "runtimeId": "any"}]})
    if "note" in where:
        raise LogProblem(f"the container {own[0]['name']} logs to no log group that could be searched: {where['note']}")
    region = str(calls.clients("logs").meta.region_name)
    if where["region"] and where["region"] != region:
        raise LogProblem(f"the log group {where['group']} is in {where['region']}, and {region} is asked")
    return where["group"]


def wait(
    calls: Calls,
    question: Question,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Outcome[Found]:
    """Looks until every id has a line, or the time is up: lines arrive seconds after what they tell. AwsFailure."""
    return poll(
        lambda: look(calls, question),
        lambda found: judge(question.ids, found),
        timeout=question.timeout,
        interval=question.interval,
        clock=clock,
        sleep=sleep,
    )


def judge(ids: Sequence[str], found: Found) -> Judgement:
    missing = [one for one in ids if one not in found.ids]
    if not missing:
        more = f"; only the first {MOST_LINES} are kept" if found.cut else ""
        return Done(f"{len(found.lines)} JSON lines about all {len(ids)} requests{more}")
    if any(one in found.plain for one in missing):
        return GoOn(f"the log has {listing(missing, 3)}, but in no JSON object that has it as a value")
    return GoOn(f"the log has no line about {len(missing)} of {len(ids)} requests: {listing(missing, 3)}")


def look(calls: Calls, question: Question) -> Found:
    """One look at what has arrived. https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html"""
    events: dict[str, Mapping[str, Any]] = {}
    for pattern in patterns(question.ids):
        pages = calls.pages(
            "logs",
            "filter_log_events",
            f"log group {question.group}",
            token="nextToken",
            hint=_HINT,
            logGroupName=question.group,
            startTime=int((question.since - CLOCKS).timestamp() * 1000),
            filterPattern=pattern,
        )
        events.update((str(event["eventId"]), event) for page in pages for event in page.get("events") or [])
    found = Found()
    for event in sorted(events.values(), key=lambda event: (event["timestamp"], str(event["eventId"]))):
        _take(found, str(event.get("message") or "").rstrip("\r\n"), question.ids)
    return found


def _take(found: Found, line: str, ids: Sequence[str]) -> None:
    told = set(_values(_object(line))).intersection(ids)
    found.ids |= told
    found.plain |= {one for one in ids if one in line} - told
    if told and len(found.lines) < MOST_LINES:
        found.lines.append(line)
    elif told:
        found.cut = True


def patterns(ids: Sequence[str]) -> Iterator[str]:
    """Filter patterns that match lines with any of the ids, as few as CloudWatch Logs' longest allows."""
    pattern = ""
    for one in ids:
        term = f'?"{one}"'
        if pattern and len(pattern) + 1 + len(term) > _MAX_PATTERN:
            yield pattern
            pattern = ""
        pattern = f"{pattern} {term}".strip()
    yield pattern


def _object(line: str) -> Mapping[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _values(value: Any) -> Iterator[str]:
    """Every text in it that is a value of its own."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
