# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A log group of CloudWatch Logs as the source of an export: its events of a span of time, oldest first.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ._aws import AwsFailure, Clients, aws_call
from ._export import Item, Page, Unit
from ._names import rfc3339

PAGE = 10_000
"""The most events of a page, which has 1 MB at most."""
WINDOW = 3600
"""Seconds of a unit."""
_BREAKS = re.compile(r"[\r\n]+")
_HINT = "Check the log group's name, account and region."


class LogsSource:
    """Events of `start` to `end` (seconds since 1970, both included), as the Source of an export.

    `group` is a log group's name or ARN. `client` is botocore's for `logs`, without retries of its own; `clients` are
    ordinary ones. `pattern` is one of CloudWatch Logs, `prefix` the beginning of the names of log streams.
    """

    operation = "logs:FilterLogEvents"

    def __init__(
        self,
        clients: Clients,
        client: Any,
        where: str,
        span: tuple[float, float],
        group: str,
        *,
        pattern: str = "",
        prefix: str = "",
        now: Callable[[], float] = time.time,
    ) -> None:
        self.name = f"log group {group} of {where}"
        self.group: dict[str, Any] = {}
        self._clients = clients
        self._client = client
        self._start, self._end = span
        self._named = group
        self._now = now
        self._asked: dict[str, Any] = {"logGroupIdentifier" if group.startswith("arn:") else "logGroupName": group}
        if pattern:
            self._asked["filterPattern"] = pattern
        if prefix:
            self._asked["logStreamNamePrefix"] = prefix

    def units(self) -> list[Unit]:
        """One for each hour; neighbours share their boundary. AwsFailure where the group is missing or not readable."""
        self.group = group_of(self._clients("logs"), self._named)
        edges = [self._start]
        while edges[-1] + WINDOW < self._end:
            edges.append(edges[-1] + WINDOW)
        return [Unit(_named(first), first, last) for first, last in zip(edges, [*edges[1:], self._end], strict=True)]

    def ask(self, unit: Unit, token: str) -> Page:
        """One request. A page can be empty and still have a token."""
        asked = {**self._asked, "limit": PAGE, "startTime": _ms(unit.start), "endTime": _ms(unit.end)}
        if token:
            asked["nextToken"] = token
        with aws_call(self.operation, self.name, _HINT):
            answer = self._client.filter_log_events(**asked)
        items = tuple(item_of(event) for event in answer.get("events") or [])
        return Page(items, str(answer.get("nextToken") or ""), note="" if token else self._kept(unit))

    def rest(self, unit: Unit, last: Item) -> Unit | None:
        """From the time of the last event on, as events come oldest first."""
        return replace(unit, start=last.at)

    def _kept(self, unit: Unit) -> str:
        """What of a unit is not there any more."""
        days = self.group.get("retention_days")
        if not days:
            return ""
        since = self._now() - int(days) * 86_400
        if unit.start >= since:
            return ""
        return f"the log group keeps events for {days} days: those before {_named(since)} are gone"


def group_of(client: Any, named: str) -> dict[str, Any]:
    """Retention and class of a log group. AwsFailure when it is not there, or of a class that cannot be searched.

    Empty for an ARN (of another account, perhaps) and for who may not describe groups: the search itself says more.
    """
    if named.startswith("arn:"):
        return {}
    token = ""
    while True:
        further = {"nextToken": token} if token else {}
        try:
            with aws_call("logs:DescribeLogGroups", f"log group {named}", _HINT):
                answer = client.describe_log_groups(logGroupNamePrefix=named, **further)
        except AwsFailure as failure:
            if failure.code in ("AccessDeniedException", "AccessDenied"):
                return {}
            raise
        for group in answer.get("logGroups") or []:
            if group.get("logGroupName") == named:
                return _searchable(group)
        token = str(answer.get("nextToken") or "")
        if not token:
            raise AwsFailure(
                "there is no such log group",
                code="ResourceNotFoundException",
                operation="logs:DescribeLogGroups",
                resource=f"log group {named}",
                hint=_HINT,
                missing=True,
            )


def _searchable(group: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(group.get("logGroupClass") or "STANDARD")
    if kind != "STANDARD":
        # https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/CloudWatch_Logs_Log_Classes.html
        raise AwsFailure(
            f"its class is {kind}, and FilterLogEvents reads the class STANDARD only",
            operation="logs:FilterLogEvents",
            resource=f"log group {group['logGroupName']}",
            hint="Use a query of CloudWatch Logs Insights instead.",
        )
    return {"class": kind, "retention_days": group.get("retentionInDays"), "arn": str(group.get("logGroupArn") or "")}


def item_of(event: Mapping[str, Any]) -> Item:
    """The message as it came when it is a JSON object, else the whole event in a wrapper."""
    at = event["timestamp"] / 1000
    line = json_line(str(event.get("message") or ""))
    if line is not None:
        return Item(str(event["eventId"]), at, line)
    wrapped = json.dumps({"malformed": True, "entry": dict(event)}, separators=(",", ":"), default=str)
    return Item(str(event["eventId"]), at, wrapped.encode(), malformed=True)


def json_line(text: str) -> bytes | None:
    """A JSON object on one line, otherwise byte for byte; None for any other text.

    Line breaks can only stand between the parts of JSON, where a space means the same.
    """
    try:
        if not isinstance(json.loads(text, parse_constant=_no_number), dict):
            return None
        return _BREAKS.sub(" ", text.strip()).encode()
    except (ValueError, RecursionError):
        return None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def found_in(lines: Iterable[bytes], ids: Sequence[str]) -> set[str]:
    """Those of the ids that any of the lines has."""
    left = set(ids)
    for line in lines if left else ():
        left -= {one for one in left if one.encode() in line}
        if not left:
            break
    return set(ids) - left


def any_of(ids: Sequence[str]) -> str:
    """The pattern of events that have at least one of the ids; 1,024 characters at most are allowed.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
    """
    quoted = ['"' + one.replace("\\", "\\\\").replace('"', '\\"') + '"' for one in ids]
    return quoted[0] if len(quoted) == 1 else " ".join("?" + one for one in quoted)


def _named(at: float) -> str:
    return rfc3339(dt.datetime.fromtimestamp(math.floor(at), dt.UTC))


def _ms(at: float) -> int:
    return round(at * 1000)
