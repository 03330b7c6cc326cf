"""CloudWatch Logs: events put, found, read by pages; groups and streams described by pages."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sandbox import emulator, pages
from sandbox.behaviours import behaviour
from sandbox.logs.conditions import PatternError
from sandbox.logs.intake import group_named, invalid, not_found, retention_start
from sandbox.logs.patterns import Pattern, parse
from sandbox.logs.store import (
    END,
    LAST_NUMBER,
    START,
    Event,
    Position,
    Stream,
    after,
    event_id,
    merged,
    merged_back,
    position,
    size_of,
)
from sandbox.operations import operation
from sandbox.rules import Refusal

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

Answer = dict[str, Any] | Refusal
MOST_EVENTS = 10_000
LARGEST_PAGE = 1_048_576
# So many events are looked at for one page; when fewer match, the page is short, or empty, and has a token.
LOOKED_AT = 10_000
TOKEN_SECONDS = 24 * 3_600
TOKEN_IS_INVALID = "The specified nextToken is invalid."


def group_of(given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and record of the group that a request names, by name or identifier. Raises Refused."""
    name, identifier = given.get("logGroupName"), given.get("logGroupIdentifier")
    if bool(name) == bool(identifier):
        raise invalid("Exactly one of logGroupName and logGroupIdentifier must be given.")
    if identifier and str(identifier).startswith("arn:"):
        name = emulator.service("cloudwatch_logs")._log_group_name_from_identifier_arn(identifier)
    return str(name or identifier), group_named(name or identifier)


def pattern_of(text: str | None) -> Pattern:
    """Raises Refused for a pattern that is wrong."""
    try:
        return parse(text or "")
    except PatternError as error:
        raise invalid(f"Invalid filter pattern: {error}") from error


def token_of(what: str, value: Any, now: float) -> str:
    return pages.token_of(what, [value, int(now)])


def value_of(token: str, what: str, now: float, seconds: float = TOKEN_SECONDS) -> Any:
    """What a token of ours says. Raises Refused when it is of something else, or nonsense."""
    try:
        value, issued = pages.place_of(what, token)
    except (ValueError, TypeError):
        raise invalid(TOKEN_IS_INVALID) from None
    _token_is_young(issued, now, seconds)
    return value


@behaviour("logs", code="InvalidParameterException")
def _token_is_young(issued: float, now: float, seconds: float) -> None:
    """The token of a page expires after 24 hours (FilterLogEvents' sooner by the switch page_token_seconds).

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
    """
    if now - issued > seconds:
        raise invalid("The specified nextToken has expired.")


@operation("logs", "PutLogEvents")
def put_log_events(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html"""
    given = request.parameters
    return runtime.logs.put(given.get("logGroupName"), given.get("logStreamName"), given.get("logEvents") or [])


@operation("logs", "FilterLogEvents")
def filter_log_events(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html"""
    given, now = request.parameters, time.time()
    name, group = group_of(given)
    pattern = pattern_of(given.get("filterPattern"))
    streams = _chosen(group["streams"], given.get("logStreamNames"), given.get("logStreamNamePrefix"))
    # A token goes on with what it came from, and with nothing else.
    asked = [name, sorted(streams) if given.get("logStreamNames") else given.get("logStreamNamePrefix")]
    what = json.dumps([*asked, given.get("filterPattern"), given.get("startTime"), given.get("endTime")])
    start = _start_of(group, given.get("startTime"), now)
    until = given.get("endTime")
    end = END if until is None else (int(until), LAST_NUMBER)
    back = given.get("startFromHead") is False
    if (token := given.get("nextToken")) is not None:
        at, number, back = value_of(token, what, now, runtime.switches.page_token_seconds or TOKEN_SECONDS)
        start, end = (start, min(end, (at, number))) if back else (max(start, (at, number)), end)
    limit = min(int(given.get("limit") or MOST_EVENTS), MOST_EVENTS)
    events = merged_back(streams, start, end) if back else merged(streams, start, until)
    found, last = _page(events, pattern, end if back else start, limit)
    answer: dict[str, Any] = {"events": found, "searchedLogStreams": []}
    if last is not None:
        _go_on(answer, token_of(what, [*last, back], now))
    return answer


def _start_of(group: Mapping[str, Any], start_time: int | None, now: float) -> Position:
    """The position before the first event that is asked for and still kept."""
    begin = max(int(start_time or 0), _kept_from(group, now))
    return (begin - 1, LAST_NUMBER) if begin else START


@behaviour("logs", otherwise=lambda group, now: 0)
def _kept_from(group: Mapping[str, Any], now: float) -> int:
    """Log events that are older than the group's retention are not shown any more.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
    """
    return retention_start(group, now)


@behaviour("logs")
def _go_on(answer: dict[str, Any], token: str) -> None:
    """A page of FilterLogEvents that is not the last has a token, also when nothing in it matched.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
    """
    answer["nextToken"] = token


def _chosen(streams: Mapping[str, Stream], names: Sequence[str] | None, prefix: str | None) -> dict[str, Stream]:
    _names_or_prefix(names, prefix)
    if names:
        _streams_exist(streams, names)
        return {name: streams[name] for name in names if name in streams}
    return {name: stream for name, stream in list(streams.items()) if name.startswith(prefix or "")}


@behaviour("logs", code="InvalidParameterException", stateful=False)
def _names_or_prefix(names: Sequence[str] | None, prefix: str | None) -> None:
    """Log streams are named, or have a prefix, not both.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
    """
    if names and prefix:
        raise invalid("logStreamNames and logStreamNamePrefix exclude one another.")


@behaviour("logs", code="ResourceNotFoundException")
def _streams_exist(streams: Mapping[str, Stream], names: Sequence[str]) -> None:
    """Log streams that are searched by their names exist.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
    """
    if any(name not in streams for name in names):
        raise not_found("log stream")


def _page(
    events: Iterator[tuple[Event, str]], pattern: Pattern, start: Position, limit: int
) -> tuple[list[dict[str, Any]], Position | None]:
    """Those that match, up to the page's limits, and where to go on; None at the end."""
    found: list[dict[str, Any]] = []
    last, size = start, 0
    for looked, (event, stream) in enumerate(events):
        if looked >= LOOKED_AT or len(found) >= limit:
            return found, last
        if pattern.matches(event["message"]):
            size += size_of(event["message"])
            if not _page_has_room(found, size):
                return found, last
            found.append({**_shown(event), "logStreamName": stream, "eventId": event_id(event)})
        last = position(event)
    return found, None


@behaviour("logs", otherwise=lambda found, size: True)
def _page_has_room(found: Sequence[Any], size: int) -> bool:
    """A page of log events has at most 1 MB.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_FilterLogEvents.html
    """
    return not found or size <= LARGEST_PAGE


def _shown(event: Event) -> dict[str, Any]:
    return {name: event[name] for name in ("timestamp", "message", "ingestionTime")}


@operation("logs", "GetLogEvents")
def get_log_events(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html"""
    given, now = request.parameters, time.time()
    _, group = group_of(given)
    stream = group["streams"].get(given.get("logStreamName"))
    if stream is None:
        raise not_found("log stream")
    events: list[Event] = stream["events"]
    first = after(events, _start_of(group, given.get("startTime"), now))
    # Events at the end time are not included here.
    until = given.get("endTime")
    end = len(events) if until is None else max(first, after(events, (int(until) - 1, LAST_NUMBER)))
    limit = min(int(given.get("limit") or MOST_EVENTS), MOST_EVENTS)
    forward = bool(given.get("startFromHead"))
    token = given.get("nextToken")
    here = first if forward else end
    if token is not None:
        forward, place = _direction(token)
        # What a token stands between is after its position when it leads forward, before it when back.
        here = after(events, place) if forward else after(events, (place[0], place[1] - 1))
        here = min(max(here, first), end)
    low, high = (here, min(here + limit, end)) if forward else (max(first, here - limit), here)
    page = _fitting(events[low:high], forward)
    if page:
        forward_token, backward_token = _token("f", position(page[-1])), _token("b", position(page[0]))
    else:
        beside = position(events[here - 1]) if 0 < here <= len(events) else (0, 0)
        forward_token, backward_token = _token("f", beside), _token("b", (beside[0], beside[1] + 1))
        forward_token, backward_token = _same_at_the_end(token, forward_token, backward_token)
    return {
        "events": [_shown(event) for event in page],
        "nextForwardToken": forward_token,
        "nextBackwardToken": backward_token,
    }


@behaviour("logs", otherwise=lambda token, forward, backward: (forward + "0", backward + "0"))
def _same_at_the_end(token: str | None, forward: str, backward: str) -> tuple[str, str]:
    """At the end of a stream GetLogEvents gives the token back that it was given.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_GetLogEvents.html
    """
    if token is None:
        return forward, backward
    return (token, backward) if token.startswith("f/") else (forward, token)


def _token(direction: str, place: Position) -> str:
    return f"{direction}/{place[0]:020d}{place[1]:036d}/s"


def _direction(token: str) -> tuple[bool, Position]:
    """(whether it leads forward, its position). Raises Refused."""
    direction, _, rest = token.partition("/")
    digits = rest.partition("/")[0]
    if direction not in ("f", "b") or len(digits) < 56 or not digits.isdecimal():
        raise invalid(TOKEN_IS_INVALID)
    return direction == "f", (int(digits[:20]), int(digits[20:]))


def _fitting(page: list[Event], forward: bool) -> list[Event]:
    size, kept = 0, 0
    for event in page if forward else reversed(page):
        size += size_of(event["message"])
        if not _page_has_room(page[:kept], size):
            break
        kept += 1
    return page[:kept] if forward else page[len(page) - kept :]


@operation("logs", "DescribeLogGroups")
def describe_log_groups(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html"""
    given, now = request.parameters, time.time()
    prefix, part = given.get("logGroupNamePrefix"), given.get("logGroupNamePattern")
    if prefix and part:
        raise invalid("logGroupNamePrefix and logGroupNamePattern exclude one another.")
    logs = emulator.service("cloudwatch_logs")
    names = sorted(
        name
        for name, group in logs._log_groups.items()
        if name.startswith(prefix or "")
        and (part or "").lower() in name.lower()
        and given.get("logGroupClass") in (None, group.get("logGroupClass") or "STANDARD")
    )
    page, token = _page_of_names(names, given, "groups", now)
    filters = Counter(name for name, _ in logs._metric_filters)
    return {"logGroups": [_group(name, filters[name]) for name in page], "nextToken": token}


@behaviour("logs", otherwise=lambda names, given, what, now: (names, None))
def _page_of_names(names: list[str], given: Mapping[str, Any], what: str, now: float) -> tuple[list[str], str | None]:
    """Log groups and streams are described 50 a page at most; what is made or deleted meanwhile moves no page.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogGroups.html
    """
    if (token := given.get("nextToken")) is not None:
        last = value_of(token, what, now)
        names = [name for name in names if name > last]
    page = names[: int(given.get("limit") or 50)]
    return page, token_of(what, page[-1], now) if len(names) > len(page) else None


def _group(name: str, filters: int) -> dict[str, Any]:
    logs = emulator.service("cloudwatch_logs")
    group = logs._log_groups[name]
    return {
        "logGroupName": name,
        "arn": group["arn"],
        "logGroupArn": str(group["arn"]).removesuffix(":*"),
        "creationTime": group["creationTime"],
        "storedBytes": sum(stream.get("_bytes", 0) for stream in group["streams"].values()),
        "metricFilterCount": filters,
        "logGroupClass": group.get("logGroupClass") or "STANDARD",
        "retentionInDays": group.get("retentionInDays"),
        "kmsKeyId": group.get("kmsKeyId"),
    }


@operation("logs", "DescribeLogStreams")
def describe_log_streams(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html"""
    given, now = request.parameters, time.time()
    name, group = group_of(given)
    streams: dict[str, Stream] = dict(group["streams"])
    prefix, by_time = given.get("logStreamNamePrefix"), given.get("orderBy") == "LastEventTime"
    _prefix_means_order_by_name(prefix, by_time)
    chosen = [stream for stream in streams if stream.startswith(prefix or "")]
    keys = {stream: _order(stream, streams[stream], by_time) for stream in chosen}
    ordered = sorted(chosen, key=lambda stream: keys[stream], reverse=bool(given.get("descending")))
    what = json.dumps(["streams", name, prefix, by_time, bool(given.get("descending"))])
    page, token = _page_of_streams(ordered, keys, given, what, now)
    shown = [_stream(str(group["arn"]).removesuffix(":*"), stream, streams[stream]) for stream in page]
    return {"logStreams": shown, "nextToken": token}


def _order(name: str, stream: Stream, by_time: bool) -> tuple[int, str]:
    return (int(stream.get("lastEventTimestamp") or 0) if by_time else 0), name


@behaviour("logs", code="InvalidParameterException", stateful=False)
def _prefix_means_order_by_name(prefix: str | None, by_time: bool) -> None:
    """Log streams with a prefix cannot be ordered by the time of their last event.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html
    """
    if prefix and by_time:
        raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")


@behaviour("logs", otherwise=lambda ordered, keys, given, what, now: (ordered, None))
def _page_of_streams(
    ordered: list[str], keys: Mapping[str, tuple[int, str]], given: Mapping[str, Any], what: str, now: float
) -> tuple[list[str], str | None]:
    """Log streams come 50 a page at most, by name or by last event, from either end.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_DescribeLogStreams.html
    """
    if (token := given.get("nextToken")) is not None:
        last = tuple(value_of(token, what, now))
        back = bool(given.get("descending"))
        ordered = [name for name in ordered if (keys[name] < last if back else keys[name] > last)]
    page = ordered[: int(given.get("limit") or 50)]
    return page, token_of(what, keys[page[-1]], now) if len(ordered) > len(page) else None


def _stream(group_arn: str, name: str, stream: Stream) -> dict[str, Any]:
    members = ("creationTime", "firstEventTimestamp", "lastEventTimestamp", "lastIngestionTime", "uploadSequenceToken")
    # AWS keeps no count for streams any more and says 0.
    return {
        "logStreamName": name,
        "arn": f"{group_arn}:log-stream:{name}",
        "storedBytes": 0,
        **{member: stream.get(member) for member in members},
    }
