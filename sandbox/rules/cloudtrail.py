"""What CloudTrail refuses: too many lookups, attributes, times and page sizes; trails without a place to write to."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from sandbox import emulator
from sandbox.audit.store import RETENTION_SECONDS
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

MOST_TRAILS = 5
# A trail's name. https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_CreateTrail.html
TRAIL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*[A-Za-z0-9]")
IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
# (account, region) → lookups that may still be made, and when that was counted.
_left: dict[tuple[str, str], tuple[float, float]] = {}


@rule("cloudtrail", "LookupEvents", code="ThrottlingException")
def lookups_are_rationed(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """LookupEvents is limited to two requests a second, per account and region (switch lookup_events_rate).

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
    """
    rate = runtime.switches.lookup_events_rate
    if rate <= 0:
        return None
    responses = emulator.core("responses")
    tenant, now = (responses.get_account_id(), responses.get_region()), time.monotonic()
    most = max(rate, 1.0)
    left, counted = _left.get(tenant, (most, now))
    left = min(most, left + (now - counted) * rate)
    _left[tenant] = (left - 1, now) if left >= 1 else (left, now)
    return None if left >= 1 else Refusal("ThrottlingException", "Rate exceeded")


@rule("cloudtrail", "LookupEvents", code="InvalidLookupAttributesException", stateful=False)
def one_lookup_attribute_at_a_time(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """LookupEvents takes one lookup attribute at most.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
    """
    attributes = request.parameters.get("LookupAttributes") or []
    if len(attributes) > 1:
        return Refusal("InvalidLookupAttributesException", "You can specify only one lookup attribute.")
    for attribute in attributes:
        if attribute.get("AttributeKey") == "ReadOnly" and str(attribute.get("AttributeValue")).lower() not in (
            "true",
            "false",
        ):
            return Refusal("InvalidLookupAttributesException", "ReadOnly is true or false.")
    return None


@rule("cloudtrail", "LookupEvents", code="InvalidTimeRangeException")
def the_time_range_is_within_the_history(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A range whose start is after its end, or that ended more than 90 days ago, is refused.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_LookupEvents.html
    """
    start, end = (request.parameters.get(name) for name in ("StartTime", "EndTime"))
    if start is not None and end is not None and _epoch(start) > _epoch(end):
        return Refusal("InvalidTimeRangeException", "The start time is after the end time.")
    if end is not None and _epoch(end) < time.time() - RETENTION_SECONDS:
        return Refusal("InvalidTimeRangeException", "The time range is outside of the last 90 days.")
    return None


def _epoch(stamp: object) -> float:
    return float(stamp) if isinstance(stamp, int | float) else emulator.epoch(stamp)
