# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CloudTrail's event history, asked slowly: two look-ups a second, fifty events a page, a bounded number of calls.

https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ._aws import aws_call
from ._export_pace import Pacer, Patient
from ._names import parse_rfc3339
from ._progress import PROGRESS

MOST_A_SECOND = 2.0
"""Look-ups that AWS takes, of an account in a region, from all who ask together."""
DELIVERY = dt.timedelta(minutes=15)
"""An event can be that late in the history."""
RETENTION = dt.timedelta(days=90)

_PAGE = 50
_TRIES = 7
"""Throttled answers in a row; other failures were tried again by the client."""


@dataclass(frozen=True)
class Event:
    """One call as CloudTrail has it. `error` is "" for one that succeeded, `service` begins eventSource."""

    id: str
    name: str
    service: str
    time: dt.datetime
    read_only: bool
    request_id: str
    error: str
    principal: str
    account: str
    region: str
    parameters: Mapping[str, Any]
    answer: Mapping[str, Any]

    @classmethod
    def of(cls, listed: Mapping[str, Any]) -> Event | None:
        """From an entry of LookupEvents; None for one that is no record of a call."""
        try:
            return cls.of_record(json.loads(listed["CloudTrailEvent"]))
        except (KeyError, TypeError, ValueError, RecursionError):
            return None

    @classmethod
    def of_record(cls, record: Any) -> Event | None:
        """From CloudTrail's own record, as exports have it; None as `of`."""
        try:
            identity = record.get("userIdentity") or {}
            return cls(
                id=str(record["eventID"]),
                name=str(record["eventName"]),
                service=str(record["eventSource"]).partition(".")[0],
                time=parse_rfc3339(str(record["eventTime"])),
                read_only=bool(record.get("readOnly")),
                request_id=str(record.get("requestID") or ""),
                error=str(record.get("errorCode") or ""),
                principal=str(identity.get("arn") or ""),
                account=str(record.get("recipientAccountId") or identity.get("accountId") or ""),
                region=str(record.get("awsRegion") or ""),
                parameters=_mapping(record.get("requestParameters")),
                answer=_mapping(record.get("responseElements")),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            return None


class Events(Protocol):
    """Where events are looked up: AWS (`Trail`), or an export of them. Attributes as those of `Trail`."""

    cut: bool

    @property
    def calls(self) -> int: ...

    def events(
        self, start: dt.datetime, end: dt.datetime, attribute: str = "", value: str = "", *, most: int | None = None
    ) -> Iterator[Event]:
        """As `Trail.events`; may give more than those with this attribute."""


class Trail:
    """`calls` is how many look-ups were made, `cut` whether one was left out because there were too many."""

    def __init__(
        self,
        client: Any,
        *,
        most: int = 400,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cut = False
        self._client = client
        self._most = most
        self._patient = Patient(Pacer(MOST_A_SECOND, clock=clock), sleep=sleep, throttles=_TRIES, transients=1)

    @property
    def calls(self) -> int:
        return self._patient.counts.requests

    def events(
        self, start: dt.datetime, end: dt.datetime, attribute: str = "", value: str = "", *, most: int | None = None
    ) -> Iterator[Event]:
        """Events between the two times, newest first, `most` look-ups of them. AwsFailure when AWS refuses."""
        parameters: dict[str, Any] = {"StartTime": start, "EndTime": end, "MaxResults": _PAGE}
        if attribute:
            parameters["LookupAttributes"] = [{"AttributeKey": attribute, "AttributeValue": value}]
        bound = self._most if most is None else min(self._most, self.calls + most)
        while True:
            if self.calls >= bound:
                self.cut = True
                return
            PROGRESS.now(f"look-up {self.calls + 1} in CloudTrail, {MOST_A_SECOND:g} a second")
            answer = self._patient.ask(functools.partial(self._ask, parameters))
            yield from filter(None, map(Event.of, answer.get("Events") or []))
            if not answer.get("NextToken"):
                return
            parameters["NextToken"] = answer["NextToken"]

    def _ask(self, parameters: Mapping[str, Any]) -> Mapping[str, Any]:
        with aws_call("cloudtrail:LookupEvents", "the event history", "The auditor needs this right."):
            answer: Mapping[str, Any] = self._client.lookup_events(**parameters)
            return answer


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
