"""CloudTrail's event history: LookupEvents."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.audit import tokens
from sandbox.audit.store import RETENTION_SECONDS, Found, Query
from sandbox.behaviours import behaviour
from sandbox.operations import operation
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

PAGE = 50
# AttributeKey → column of the store.
ATTRIBUTES = {
    "EventId": "event_id",
    "EventName": "name",
    "EventSource": "source",
    "ReadOnly": "read_only",
    "Username": "username",
    "AccessKeyId": "access_key",
    "ResourceType": "type",
    "ResourceName": "resource",
}


@operation("cloudtrail", "LookupEvents")
def lookup_events(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html"""
    given = request.parameters
    if _insights_are_looked_up_apart(given):
        # No trail here has insights.
        return {"Events": []}
    limit = int(given.get("MaxResults") or PAGE)
    query = _query(runtime, given)
    store = runtime.audit.store
    after = _a_token_is_of_its_request(runtime, given) if given.get("NextToken") else None
    found = store.page(query, after, limit + 1)
    answer: dict[str, Any] = {"Events": [_event(one) for one in found[:limit]]}
    if len(found) > limit:
        last = found[limit - 1]
        answer["NextToken"] = tokens.make(store, given, [last.event.time, last.seq])
    return answer


def _query(runtime: Runtime, given: dict[str, Any]) -> Query:
    now = time.time()
    start, end = given.get("StartTime"), given.get("EndTime")
    # Bounds are inclusive, events have whole seconds.
    first = max(_seconds(start, upwards=True), _history_begins(now))
    last = _seconds(end, upwards=False) if end is not None else int(now) + 1
    attribute = _an_attribute_selects(given)
    responses = emulator.core("responses")
    return Query(
        account=responses.get_account_id(),
        region=responses.get_region(),
        start=first,
        end=last,
        arrived_by=now - _events_show_later(runtime),
        column=ATTRIBUTES[attribute["AttributeKey"]] if attribute else None,
        value=_value(attribute) if attribute else "",
    )


@behaviour("cloudtrail", stateful=False, otherwise=lambda given: False)
def _insights_are_looked_up_apart(given: dict[str, Any]) -> bool:
    """With the event category insight LookupEvents shows Insights events only, else none of them.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
    """
    return given.get("EventCategory") == "insight"


@behaviour("cloudtrail")
def _an_attribute_selects(given: dict[str, Any]) -> dict[str, Any] | None:
    """A lookup attribute selects events whose attribute has exactly this value.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupAttribute.html
    """
    attributes = given.get("LookupAttributes") or [None]
    found: dict[str, Any] | None = attributes[0]
    return found


def _value(attribute: dict[str, Any]) -> str:
    value = str(attribute["AttributeValue"])
    return value.lower() if attribute["AttributeKey"] == "ReadOnly" else value


@behaviour("cloudtrail", otherwise=lambda now: 0)
def _history_begins(now: float) -> int:
    """LookupEvents shows the last 90 days, whatever the start time.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/view-cloudtrail-events.html
    """
    return int(now - RETENTION_SECONDS)


@behaviour("cloudtrail", otherwise=lambda runtime: 0.0)
def _events_show_later(runtime: Runtime) -> float:
    """An event shows up minutes after its call, with the time of the call (switch cloudtrail_seconds).

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html
    """
    return runtime.switches.cloudtrail_seconds


def _seconds(stamp: Any, upwards: bool) -> int:
    """Whole seconds of a time as requests have it: a number, or text of ISO 8601."""
    if stamp is None:
        return 0
    try:
        value = float(stamp)
    except (TypeError, ValueError):
        value = emulator.epoch(stamp)
    whole = int(value)
    return whole + 1 if upwards and value > whole else whole


def _event(found: Found) -> dict[str, Any]:
    event = found.event
    shown: dict[str, Any] = {
        "EventId": event.event_id,
        "EventName": event.name,
        "ReadOnly": "true" if event.read_only else "false",
        "AccessKeyId": event.access_key,
        "EventTime": datetime.fromtimestamp(event.time, UTC),
        "EventSource": event.source,
        "Username": event.username,
        "Resources": [{"ResourceType": kind, "ResourceName": name} for kind, name in event.resources],
        "CloudTrailEvent": event.record,
    }
    return {name: value for name, value in shown.items() if value is not None}


def _place(token: str) -> tuple[int, int] | None:
    found = tokens.place(token)
    return (int(found[0]), int(found[1])) if found else None


@behaviour(
    "cloudtrail", code="InvalidNextTokenException", otherwise=lambda runtime, given: _place(str(given["NextToken"]))
)
def _a_token_is_of_its_request(runtime: Runtime, given: dict[str, Any]) -> tuple[int, int] | None:
    """A NextToken is taken only with the parameters of the request that gave it.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
    """
    token = str(given["NextToken"])
    if not tokens.belongs(runtime.audit.store, given, token) or tokens.is_worn(runtime.switches, token):
        raise Refused("InvalidNextTokenException", "Invalid token or token used with different parameters.")
    return _place(token)
