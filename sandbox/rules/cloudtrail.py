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


@rule("cloudtrail", "CreateTrail", code="InvalidTrailNameException", stateful=False)
def a_trail_has_a_proper_name(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A trail's name has 3 to 128 letters, digits, dots, underscores and dashes, and is no IP address.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_CreateTrail.html
    """
    name = str(request.parameters.get("Name", ""))
    if not 3 <= len(name) <= 128:
        return Refusal("InvalidTrailNameException", "Trail name must be between 3 and 128 characters.")
    if not TRAIL_NAME.fullmatch(name) or re.search(r"[._-]{2}", name) or IP_ADDRESS.fullmatch(name):
        words = "Trail name or ARN can only contain uppercase letters, lowercase letters, numbers, periods (.),"
        return Refusal("InvalidTrailNameException", f"{words} hyphens (-), and underscores (_).")
    return None


@rule("cloudtrail", "CreateTrail", code="MaximumNumberOfTrailsExceededException")
def five_trails_a_region(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """There are five trails per account and region at most.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/WhatIsCloudTrail-Limits.html
    """
    trails = emulator.service("cloudtrail")
    responses = emulator.core("responses")
    if request.parameters.get("Name") in trails._trails or len(trails._trails) < MOST_TRAILS:
        return None
    words = f"User: {responses.get_account_id()} already has {MOST_TRAILS} trails in {responses.get_region()}."
    return Refusal("MaximumNumberOfTrailsExceededException", words)


@rule("cloudtrail", "CreateTrail", "UpdateTrail", code="S3BucketDoesNotExistException")
def a_trail_needs_its_bucket(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The bucket that a trail writes to must exist.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_CreateTrail.html
    """
    bucket = request.parameters.get("S3BucketName")
    s3 = emulator.service("s3")
    if bucket and bucket not in s3._buckets:
        return Refusal("S3BucketDoesNotExistException", f"S3 bucket {bucket} does not exist!")
    return None


@rule("cloudtrail", "CreateTrail", "UpdateTrail", code="InsufficientS3BucketPolicyException")
def a_trail_may_write_to_its_bucket(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The policy of a trail's bucket must let CloudTrail look at the bucket and write to it.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/create-s3-bucket-policy-for-cloudtrail.html
    """
    bucket = request.parameters.get("S3BucketName")
    s3 = emulator.service("s3")
    if not bucket or bucket not in s3._buckets:
        return None
    policy = s3._bucket_policies.get(bucket)
    text = policy if isinstance(policy, str) else bytes(policy or b"").decode("utf-8", "replace")
    if "cloudtrail.amazonaws.com" in text and "s3:PutObject" in text and "s3:GetBucketAcl" in text:
        return None
    return Refusal(
        "InsufficientS3BucketPolicyException", f"Incorrect S3 bucket policy is detected for bucket: {bucket}"
    )


@rule(
    "cloudtrail",
    "DeleteTrail",
    "GetTrail",
    "GetTrailStatus",
    "StartLogging",
    "StopLogging",
    "UpdateTrail",
    code="TrailNotFoundException",
)
def only_trails_that_are_there(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An operation on a trail that is not there is refused with HTTP status 400.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_GetTrailStatus.html
    """
    named = str(request.parameters.get("Name", ""))
    trails, responses = emulator.service("cloudtrail"), emulator.core("responses")
    try:
        found = trails._find_visible_trail(named)[2] if named else {}
    except ValueError:
        return None
    if found is not None:
        return None
    account = responses.get_account_id()
    arn = named if named.startswith("arn:") else f"arn:aws:cloudtrail:{responses.get_region()}:{account}:trail/{named}"
    return Refusal("TrailNotFoundException", f"Unknown trail: {arn} for the user: {account}")
