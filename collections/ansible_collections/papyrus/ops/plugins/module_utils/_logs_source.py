# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A log group of CloudWatch Logs as the source of an export: its events of a span of time, oldest first.

https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
"""

from __future__ import annotations

import datetime as dt
import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ._aws import AwsFailure, aws_call
from ._export import Item, Page, Progress, Unit, listed
from ._export_pace import Patient
from ._export_record import record_of, wrapped
from ._export_report import windows
from ._names import rfc3339

MOST_A_SECOND = 5.0
"""Requests that AWS takes at least, for all who ask together:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html"""
PAGE = 10_000
"""The most events of a page, which has 1 MB at most."""
WINDOW = 3600
"""Seconds of a unit."""
_HINT = "Check the log group's name, account and region."


class LogsSource:
    """The Source of an export. `client` is botocore's for `logs`, without retries of its own.

    `group` is a log group's name or ARN, `pattern` a filter pattern of CloudWatch Logs, `prefix` the beginning of the
    names of the log streams.
    """

    operation = "logs:FilterLogEvents"
    delivery = 300.0

    def __init__(
        self,
        client: Any,
        where: str,
        patient: Patient,
        *,
        group: str,
        pattern: str = "",
        prefix: str = "",
    ) -> None:
        self.name = f"log group {group} of {where}"
        self.retention = 0.0
        self._client = client
        self._patient = patient
        self._group = group
        # Policies and descriptions write ARNs with `:*` at the end, which this call does not take.
        arn = group.removesuffix(":*") if group.startswith("arn:") else ""
        self._asked: dict[str, Any] = {"logGroupIdentifier": arn} if arn else {"logGroupName": group}
        if pattern:
            self._asked["filterPattern"] = pattern
        if prefix:
            self._asked["logStreamNamePrefix"] = prefix

    def units(self, start: float, end: float) -> list[Unit]:
        """One for each hour; neighbours share their boundary. AwsFailure where the group is missing or not readable.

        Each has what is known of the group among its parameters: whoever resumes an export knows its units only.
        """
        group = group_of(self._client, self._patient, self._group)
        edges = [start]
        while edges[-1] + WINDOW < end:
            edges.append(edges[-1] + WINDOW)
        spans = zip(edges, [*edges[1:], end], strict=True)
        return [Unit(_named(one), one, two, {"group": group}) for one, two in spans]

    def ask(self, unit: Unit, token: str) -> Page:
        """One request. A page can be empty and still have a token."""
        self.retention = 86_400.0 * int(unit.parameters["group"].get("retention_days") or 0)
        asked = {**self._asked, "limit": PAGE, "startTime": _ms(unit.start), "endTime": _ms(unit.end)}
        if token:
            asked["nextToken"] = token
        with aws_call(self.operation, self.name, _HINT):
            answer = self._client.filter_log_events(**asked)
            events = listed(answer, "events", self.operation, self.name)
        return Page(tuple(item_of(event) for event in events), str(answer.get("nextToken") or ""))

    def rest(self, unit: Unit, last: Item) -> Unit | None:
        """From the time of the last event on, as events come oldest first."""
        return replace(unit, start=last.at)

    def summary(self, progress: Sequence[Progress]) -> dict[str, Any]:
        """The group, and each hour that was asked."""
        group = progress[0].asked.parameters.get("group", {}) if progress else {}
        return {"log_group": {"name": self._group, **group}, "windows": windows(progress, self.delivery)}


def group_of(client: Any, patient: Patient, named: str) -> dict[str, Any]:
    """Retention and class of a log group. AwsFailure when it is not there, or of a class that cannot be searched.

    Empty for an ARN (of another account, perhaps) and for who may not describe groups: the search itself says more.
    """
    token = ""
    while not named.startswith("arn:"):
        try:
            page = patient.ask(functools.partial(_groups, client, named, token))
        except AwsFailure as failure:
            if failure.code in ("AccessDeniedException", "AccessDenied"):
                return {}
            raise
        for group in page.get("logGroups") or []:
            if group.get("logGroupName") == named:
                return _searchable(group)
        token = str(page.get("nextToken") or "")
        if not token:
            raise AwsFailure(
                "there is no such log group",
                code="ResourceNotFoundException",
                operation="logs:DescribeLogGroups",
                resource=f"log group {named}",
                hint=_HINT,
                missing=True,
            )
    return {}


def _groups(client: Any, named: str, token: str) -> Mapping[str, Any]:
    with aws_call("logs:DescribeLogGroups", f"log group {named}", _HINT):
        further = {"nextToken": token} if token else {}
        answer: Mapping[str, Any] = client.describe_log_groups(logGroupNamePrefix=named, **further)
        return answer


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
    created = (
        rfc3339(dt.datetime.fromtimestamp(group["creationTime"] / 1000, dt.UTC)) if "creationTime" in group else ""
    )
    return {"class": kind, "retention_days": group.get("retentionInDays"), "created": created}


def item_of(event: Mapping[str, Any]) -> Item:
    """The message as it came when it is a JSON object, else the whole event in a wrapper."""
    record = record_of(event.get("message"))
    line = wrapped(event) if record is None else record[0]
    return Item(str(event["eventId"]), event["timestamp"] / 1000, line, malformed=record is None)


def found_in(lines: Iterable[bytes], ids: Sequence[str]) -> set[str]:
    """Those of the ids that any of the lines has."""
    left = set(ids)
    for line in lines if left else ():
        left -= {one for one in left if one.encode() in line}
        if not left:
            break
    return set(ids) - left


def _named(at: float) -> str:
    return rfc3339(dt.datetime.fromtimestamp(math.floor(at), dt.UTC))


def _ms(at: float) -> int:
    return round(at * 1000)
