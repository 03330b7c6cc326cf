"""How events come into a log group: the rules of PutLogEvents, and what follows from new events."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.logs.metric_filters import MetricFilters
from sandbox.logs.store import EventStore, size_of
from sandbox.seams.refusal import Refused

DAY = 86_400_000
LARGEST_BATCH = 1_048_576
OLDEST, NEWEST = 14 * DAY, 2 * 3_600_000


def invalid(message: str) -> Refused:
    return Refused("InvalidParameterException", message)


def not_found(what: str = "log group") -> Refused:
    return Refused("ResourceNotFoundException", f"The specified {what} does not exist.")


def group_named(name: str | None) -> dict[str, Any]:
    """The group's record in the caller's tenant. Raises Refused."""
    group: dict[str, Any] | None = emulator.service("cloudwatch_logs")._log_groups.get(name)
    if group is None:
        raise not_found()
    return group


def retention_start(group: Mapping[str, Any], now: float) -> int:
    """Milliseconds since 1970 before which the group's events are gone; 0 when it keeps them for ever."""
    days = group.get("retentionInDays")
    return int(now * 1000) - int(days) * DAY if days else 0


class Intake:
    """Takes events for the caller's tenant."""

    def __init__(self, store: EventStore, metric_filters: MetricFilters) -> None:
        self.store = store
        self._metric_filters = metric_filters

    def put(self, group: str | None, stream: str | None, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """As PutLogEvents: its answer, or Refused.

        https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
        """
        known = group_named(group)
        if stream not in known["streams"]:
            raise not_found("log stream")
        now = int(time.time() * 1000)
        given = [(int(event.get("timestamp", now)), str(event["message"])) for event in events]
        _batch_fits(given)
        _batch_is_in_order(given)
        _batch_is_of_a_day([event for event in given if now - OLDEST <= event[0] <= now + NEWEST])
        accepted, rejected = _accepted(given, retention_start(known, time.time()))
        self.accept(str(group), str(stream), accepted)
        answer: dict[str, Any] = {"nextSequenceToken": str(time.time_ns())}
        if rejected:
            answer["rejectedLogEventsInfo"] = rejected
        return answer

    def accept(self, group: str, stream: str, events: Sequence[tuple[int, str]]) -> None:
        """Store them, and let filters see them."""
        if not events:
            return
        self.store.append(group, stream, events)
        self._metric_filters.metric_filters_emit(group, events)
        logs = emulator.service("cloudwatch_logs")
        now = int(time.time() * 1000)
        told = [{"timestamp": at, "message": message, "ingestionTime": now} for at, message in events]
        logs._fanout_to_subscription_filters(group, stream, told)
        logs._fanout_to_live_tail_sessions(group, stream, told)


@behaviour("logs", code="InvalidParameterException", stateful=False)
def _batch_fits(events: Sequence[tuple[int, str]]) -> None:
    """A batch of log events has at most 1 MB, with 26 bytes for each event.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
    """
    size = sum(size_of(message) for _, message in events)
    if size > LARGEST_BATCH:
        raise invalid(f"Upload too large: {size} bytes exceeds limit of {LARGEST_BATCH}")


@behaviour("logs", code="InvalidParameterException", stateful=False)
def _batch_is_in_order(events: Sequence[tuple[int, str]]) -> None:
    """The log events of a batch are in chronological order.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
    """
    if any(one[0] > other[0] for one, other in zip(events, events[1:], strict=False)):
        raise invalid("Log events in a single PutLogEvents request must be in chronological order.")


@behaviour("logs", code="InvalidParameterException", stateful=False)
def _batch_is_of_a_day(events: Sequence[tuple[int, str]]) -> None:
    """The log events of a batch that are neither too old nor too new do not span more than 24 hours.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html
    """
    if events and max(events)[0] - min(events)[0] > DAY:
        raise invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")


@behaviour("logs", otherwise=lambda events, kept_from: (list(events), {}))
def _accepted(events: Sequence[tuple[int, str]], kept_from: int) -> tuple[list[tuple[int, str]], dict[str, int]]:
    """Log events older than 14 days or than the retention, or more than 2 hours ahead, are rejected alone.

    https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_RejectedLogEventsInfo.html
    """
    now = int(time.time() * 1000)
    rejected: dict[str, int] = {}
    too_old = sum(1 for at, _ in events if at < now - OLDEST)
    expired = sum(1 for at, _ in events if at < kept_from)
    too_new = sum(1 for at, _ in events if at > now + NEWEST)
    if too_old:
        rejected["tooOldLogEventEndIndex"] = too_old
    if expired:
        rejected["expiredLogEventEndIndex"] = expired
    if too_new:
        rejected["tooNewLogEventStartIndex"] = len(events) - too_new
    return list(events[max(too_old, expired) : len(events) - too_new]), rejected
