# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CloudTrail's event history as a source of an export: windows of time, fifty events a page, newest first.

https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._aws import AwsFailure, aws_call
from ._export import ExportRefused, Item, Page, Progress, Unit, listed
from ._export_filter import Filter, containing, named, services
from ._export_pace import Patient
from ._export_record import record_of, wrapped
from ._export_report import windows
from ._trail import DELIVERY, RETENTION

ATTRIBUTES = (
    "AccessKeyId",
    "EventId",
    "EventName",
    "EventSource",
    "ReadOnly",
    "ResourceName",
    "ResourceType",
    "Username",
)

_PAGE = 50
_HOUR = 3600
_SKEW = 300.0
"""Seconds that the clock here may be wrong."""
_OPERATION = "cloudtrail:LookupEvents"
_HINT = "The export needs the right cloudtrail:LookupEvents."


class CloudTrailSource:
    """The Source of an export. `client` is botocore's for `cloudtrail`, without retries of its own.

    `attribute` has `key` and `value` of a lookup attribute.
    """

    operation = _OPERATION
    retention = RETENTION.total_seconds()

    def __init__(
        self,
        client: Any,
        where: str,
        patient: Patient | None = None,
        *,
        attribute: Mapping[str, str] | None = None,
    ) -> None:
        self.name = f"CloudTrail's event history of {where}"
        self.delivery = DELIVERY.total_seconds()
        self._client = client
        self._attribute = attribute

    def units(self, start: float, end: float) -> Sequence[Unit]:
        """Windows between whole hours or days of UTC; what may still get events is a window of its own.

        Neighbours share the second between them: both ends of a window are asked.
        """
        begin, finish = math.floor(start), math.ceil(end)
        long = _HOUR if finish - begin <= 48 * _HOUR else 6 * _HOUR if finish - begin <= 336 * _HOUR else 24 * _HOUR
        cuts = {begin, finish, *range(begin - begin % long + long, finish, long)}
        late = math.floor(finish - self.delivery)
        if begin < late:
            cuts.add(late)
        at = sorted(cuts)
        return [Unit(_stamp(first), first, last) for first, last in zip(at, at[1:], strict=False)]

    def ask(self, unit: Unit, token: str) -> Page:
        parameters: dict[str, Any] = {"StartTime": _moment(unit.start), "EndTime": _moment(unit.end)}
        parameters["MaxResults"] = _PAGE
        if self._attribute is not None:
            key, value = self._attribute["key"], self._attribute["value"]
            parameters["LookupAttributes"] = [{"AttributeKey": key, "AttributeValue": value}]
        if token:
            parameters["NextToken"] = token
        try:
            with aws_call(_OPERATION, self.name, _HINT):
                answer = self._client.lookup_events(**parameters)
                events = listed(answer, "Events", _OPERATION, self.name)
        except AwsFailure as failure:
            # A window that was over for so long: when the export was begun, or gone on with, too late for it.
            if failure.code == "InvalidTimeRangeException" and unit.end < time.time() - self.retention + _SKEW:
                return Page((), note=f"not asked: {failure.message}")
            raise
        return Page(tuple(items(events, unit)), answer.get("NextToken") or "")

    def rest(self, unit: Unit, last: Item) -> Unit | None:
        """Newest first: what is older than the last one, and its second."""
        end = min(max(math.ceil(last.at), unit.start), unit.end)
        return dataclasses.replace(unit, end=end)

    def summary(self, progress: Sequence[Progress]) -> Mapping[str, Any]:
        return {"windows": windows(progress, self.delivery)}


def items(events: Iterable[Mapping[str, Any]], unit: Unit) -> Iterable[Item]:
    """Each entry of LookupEvents as CloudTrail's own record; in a wrapper with all that came where that is none."""
    at = unit.end
    for event in events:
        at = _time(event, at)
        identity = event.get("EventId")
        line = _record(event.get("CloudTrailEvent"), identity)
        if line is not None:
            yield Item(str(identity), at, line)
            continue
        whole = wrapped(event)
        if not isinstance(identity, str) or not identity:
            identity = f"malformed {hashlib.sha256(whole).hexdigest()}"
        yield Item(identity, at, whole, malformed=True)


def _record(text: Any, identity: Any) -> bytes | None:
    """The text, when it is a record with this event id."""
    found = record_of(text)
    if found is None or not isinstance(identity, str) or not identity or found[1].get("eventID") != identity:
        return None
    return found[0]


def _time(event: Mapping[str, Any], before: float) -> float:
    """Seconds since 1970; of an entry without a time that of its neighbour, as they come in order."""
    found = event.get("EventTime")
    return found.timestamp() if isinstance(found, dt.datetime) else before


def _moment(at: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(at, dt.UTC)


def _stamp(at: float) -> str:
    return _moment(at).strftime("%Y-%m-%dT%H:%M:%SZ")


def cloudtrail_filter(
    name: str,
    *,
    resource_names: Sequence[str] = (),
    users: Sequence[str] = (),
    sources: Sequence[str] = (),
    text: Sequence[str] = (),
) -> Filter:
    """Of CloudTrail's records; of one that is none, by what LookupEvents says of it. ExportRefused without any value.

    Resources are looked for in what was asked, answered and listed (`requestParameters`, `responseElements`,
    `resources`), users in `userIdentity`, sources in `eventSource`, text everywhere.
    """
    values = [*resource_names, *users, *sources, *text]
    if not values or "" in values:
        raise ExportRefused("a filter needs a value, and no empty one, or it would select everything")
    rules = []
    if sources:
        rules.append(services(("eventSource", "entry.EventSource"), sources))
    if users:
        rules.append(named(("userIdentity", "entry.Username"), users))
    if resource_names:
        paths = ("requestParameters", "responseElements", "resources", "entry.Resources")
        rules.append(named(paths, resource_names))
    if text:
        rules.append(containing(text))
    return Filter(name, rules)
