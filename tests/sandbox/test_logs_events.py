"""CloudWatch Logs over its API: events put, filtered and read by pages; groups, streams, metric filters."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from sandbox.operations import logs as operations
from sandbox.seams.refusal import Refused
from tests.sandbox.support import Sandbox, refused

DAY = 86_400_000


def now() -> int:
    return int(time.time() * 1000)


@pytest.fixture
def logs(sandbox: Sandbox) -> Any:
    return sandbox.client("logs")


@pytest.fixture
def group(logs: Any) -> Iterator[str]:
    name = f"/test/{uuid4().hex[:8]}"
    logs.create_log_group(logGroupName=name)
    yield name
    logs.delete_log_group(logGroupName=name)


def stream(logs: Any, group: str, name: str = "s") -> str:
    logs.create_log_stream(logGroupName=group, logStreamName=name)
    return name


def put(logs: Any, group: str, name: str, *events: tuple[int, str] | str) -> dict[str, Any]:
    at = now()
    pairs = [(at, event) if isinstance(event, str) else event for event in events]
    rows = [{"timestamp": when, "message": text} for when, text in pairs]
    answer: dict[str, Any] = logs.put_log_events(logGroupName=group, logStreamName=name, logEvents=rows)
    return answer


def found(logs: Any, group: str, **other: Any) -> list[str]:
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group, **other)
    return [event["message"] for page in pages for event in page["events"]]


@pytest.mark.behaviour("logs.go_on")
def test_a_limited_page_has_a_token_for_the_rest_in_the_order_of_time(logs: Any, group: str) -> None:
    """Equal times, several streams, and events that arrive while it is read: none is lost, none comes twice."""
    one, two, start = stream(logs, group, "one"), stream(logs, group, "two"), now() - 60_000
    put(logs, group, one, *((start + n // 4, f"a{n}") for n in range(0, 40, 2)))
    put(logs, group, two, *((start + n // 4, f"a{n}") for n in range(1, 40, 2)))
    first = logs.filter_log_events(logGroupName=group, limit=7)
    put(logs, group, one, (start + 30_000, "late"))
    rest = found(logs, group, PaginationConfig={"PageSize": 7})
    got = first["events"]
    token = first["nextToken"]
    while token:
        page = logs.filter_log_events(logGroupName=group, limit=7, nextToken=token)
        got += page["events"]
        token = page.get("nextToken")
    assert [event["message"] for event in got] == rest
    assert sorted(rest) == sorted([f"a{n}" for n in range(40)] + ["late"])
    assert len({event["eventId"] for event in got}) == 41
    times = [event["timestamp"] for event in got]
    assert times == sorted(times)
    assert {event["logStreamName"] for event in got} == {"one", "two"}


def test_the_latest_events_come_first_when_asked_for(logs: Any, group: str) -> None:
    one, two, start = stream(logs, group, "one"), stream(logs, group, "two"), now() - 60_000
    put(logs, group, one, *((start + n, str(n)) for n in range(0, 10, 2)))
    put(logs, group, two, *((start + n, str(n)) for n in range(1, 10, 2)))
    got = found(logs, group, startFromHead=False, startTime=start + 2, PaginationConfig={"PageSize": 3})
    assert got == [str(n) for n in range(9, 1, -1)]
    assert found(logs, group, startFromHead=False, endTime=start + 1) == ["1", "0"]


@pytest.fixture
def many(logs: Any, group: str) -> str:
    """A group of 11,000 events, of which the last one differs."""
    name, start = stream(logs, group), now() - 60_000
    put(logs, group, name, *((start, "dull") for _ in range(10_000)))
    put(logs, group, name, *((start + 1, "dull") for _ in range(999)), (start + 2, "bright"))
    return group


@pytest.mark.behaviour("logs.go_on")
def test_a_page_may_be_empty_and_have_a_token(logs: Any, many: str) -> None:
    first = logs.filter_log_events(logGroupName=many, filterPattern="bright")
    assert first["events"] == []
    assert found(logs, many, filterPattern="bright") == ["bright"]


@pytest.mark.behaviour("logs.page_has_room")
def test_a_page_has_at_most_one_megabyte(logs: Any, group: str) -> None:
    name = stream(logs, group)
    for _ in range(3):
        put(logs, group, name, "x" * 500_000)
    page = logs.filter_log_events(logGroupName=group)
    assert len(page["events"]) == 2
    assert len(found(logs, group)) == 3
    read = logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True)
    assert len(read["events"]) == 2


def test_times_of_a_search_are_included(logs: Any, group: str) -> None:
    name, start = stream(logs, group), now() - 60_000
    put(logs, group, name, *((start + n, str(n)) for n in range(5)))
    assert found(logs, group, startTime=start + 1, endTime=start + 3) == ["1", "2", "3"]
    read = logs.get_log_events(
        logGroupName=group, logStreamName=name, startTime=start + 1, endTime=start + 3, startFromHead=True
    )
    assert [event["message"] for event in read["events"]] == ["1", "2"]


def test_streams_are_chosen_by_name_or_prefix(logs: Any, group: str) -> None:
    for name in ("web/1", "web/2", "job/1"):
        put(logs, group, stream(logs, group, name), name)
    assert found(logs, group, logStreamNamePrefix="web/") == ["web/1", "web/2"]
    assert sorted(found(logs, group, logStreamNames=["job/1", "web/2"])) == ["job/1", "web/2"]
    arn = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupArn"]
    by_arn = logs.filter_log_events(logGroupIdentifier=arn, logStreamNamePrefix="job")["events"]
    assert [event["message"] for event in by_arn] == ["job/1"]


@pytest.mark.behaviour("logs.names_or_prefix")
def test_streams_have_names_or_a_prefix_not_both(logs: Any, group: str) -> None:
    stream(logs, group)
    with refused("InvalidParameterException", status=400):
        logs.filter_log_events(logGroupName=group, logStreamNames=["s"], logStreamNamePrefix="s")


@pytest.mark.behaviour("logs.streams_exist")
def test_unknown_streams_are_refused(logs: Any, group: str) -> None:
    with refused("ResourceNotFoundException", "log stream", 400):
        logs.filter_log_events(logGroupName=group, logStreamNames=["none"])


def test_tokens_of_other_searches_are_invalid(logs: Any, group: str) -> None:
    put(logs, group, stream(logs, group), "a", "b")
    token = logs.filter_log_events(logGroupName=group, limit=1)["nextToken"]
    with refused("InvalidParameterException", "nextToken is invalid"):
        logs.filter_log_events(logGroupName=group, nextToken="nonsense")
    with refused("InvalidParameterException", "nextToken is invalid"):
        logs.filter_log_events(logGroupName=group, nextToken=token, filterPattern="a")


@pytest.mark.behaviour("logs.token_is_young")
def test_tokens_expire_after_a_day() -> None:
    token = operations.token_of("what", [1, 2], 1_000_000.0)
    assert operations.value_of(token, "what", 1_000_000.0 + 86_399) == [1, 2]
    with pytest.raises(Refused, match="expired"):
        operations.value_of(token, "what", 1_000_000.0 + 86_402)


def test_tokens_of_a_search_expire_sooner_when_switched(sandbox: Sandbox, logs: Any, group: str) -> None:
    put(logs, group, stream(logs, group), "a", "b")
    with sandbox.switched(page_token_seconds=1):
        token = logs.filter_log_events(logGroupName=group, limit=1)["nextToken"]
        time.sleep(1.1)
        with refused("InvalidParameterException", "expired"):
            logs.filter_log_events(logGroupName=group, limit=1, nextToken=token)
    assert logs.filter_log_events(logGroupName=group, limit=1, nextToken=token)["events"]


def test_patterns_filter_and_wrong_ones_are_refused(logs: Any, group: str) -> None:
    put(logs, group, stream(logs, group), json.dumps({"level": "ERROR", "status": 500}), '{"level": "INFO"}', "ERROR")
    assert len(found(logs, group, filterPattern='{ ($.level = "ERROR") && ($.status >= 500) }')) == 1
    assert len(found(logs, group, filterPattern="ERROR")) == 2
    for pattern in ("{ $.level }", "no-quotes", "%(%"):
        with refused("InvalidParameterException", "Invalid filter pattern", 400):
            logs.filter_log_events(logGroupName=group, filterPattern=pattern)
    with refused("InvalidParameterException", "Invalid filter pattern"):
        logs.test_metric_filter(filterPattern="{ $.level }", logEventMessages=["x"])


def test_a_pattern_is_tried_out(logs: Any) -> None:
    answer = logs.test_metric_filter(filterPattern="[..., status = 4*, bytes]", logEventMessages=["a 404 7", "b 200 9"])
    expected = {"eventNumber": 1, "eventMessage": "a 404 7", "extractedValues": {"$status": "404", "$bytes": "7"}}
    assert answer["matches"] == [expected]


@pytest.mark.behaviour("logs.same_at_the_end")
def test_reading_a_stream_to_its_end_gives_the_same_token(logs: Any, group: str) -> None:
    name, start = stream(logs, group), now() - 60_000
    put(logs, group, name, *((start + n // 3, str(n)) for n in range(10)))
    read, token = [], None
    while True:
        more = {} if token is None else {"nextToken": token}
        page = logs.get_log_events(logGroupName=group, logStreamName=name, startFromHead=True, limit=4, **more)
        read += [event["message"] for event in page["events"]]
        if page["nextForwardToken"] == token:
            break
        assert len(read) <= 10
        assert page["events"] or token is not None
        token, last = page["nextForwardToken"], token
        assert len(page["events"]) or token == last
    assert read == [str(n) for n in range(10)]
    put(logs, group, name, "new")
    page = logs.get_log_events(logGroupName=group, logStreamName=name, nextToken=token)
    assert [event["message"] for event in page["events"]] == ["new"]


def test_a_stream_is_read_from_its_end_backward(logs: Any, group: str) -> None:
    name, start = stream(logs, group), now() - 60_000
    put(logs, group, name, *((start, str(n)) for n in range(10)))
    page = logs.get_log_events(logGroupName=group, logStreamName=name, limit=4)
    assert [event["message"] for event in page["events"]] == ["6", "7", "8", "9"]
    page = logs.get_log_events(logGroupName=group, logStreamName=name, limit=4, nextToken=page["nextBackwardToken"])
    assert [event["message"] for event in page["events"]] == ["2", "3", "4", "5"]
    page = logs.get_log_events(logGroupName=group, logStreamName=name, limit=4, nextToken=page["nextForwardToken"])
    assert [event["message"] for event in page["events"]] == ["6", "7", "8", "9"]
    with refused("InvalidParameterException", "nextToken is invalid"):
        logs.get_log_events(logGroupName=group, logStreamName=name, nextToken="f/1")


@pytest.mark.behaviour("logs.accepted")
def test_events_of_other_times_are_rejected_alone(logs: Any, group: str) -> None:
    name = stream(logs, group)
    answer = put(logs, group, name, (now() - 14 * DAY - 60_000, "old"), (now() - 14 * DAY + 60_000, "kept"))
    assert answer["rejectedLogEventsInfo"] == {"tooOldLogEventEndIndex": 1}
    answer = put(logs, group, name, (now(), "now"), (now() + 3 * 3_600_000, "new"))
    assert answer["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
    assert found(logs, group) == ["kept", "now"]
    logs.put_retention_policy(logGroupName=group, retentionInDays=1)
    answer = put(logs, group, name, (now() - DAY - 60_000, "expired"), (now() - 60_000, "kept too"))
    assert answer["rejectedLogEventsInfo"] == {"expiredLogEventEndIndex": 1}


@pytest.mark.behaviour("logs.kept_from")
def test_events_older_than_the_retention_are_gone(logs: Any, group: str) -> None:
    name = stream(logs, group)
    put(logs, group, name, (now() - 2 * DAY, "old"))
    put(logs, group, name, "new")
    assert found(logs, group) == ["old", "new"]
    logs.put_retention_policy(logGroupName=group, retentionInDays=1)
    assert found(logs, group) == ["new"]
    assert logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["retentionInDays"] == 1
    with refused("InvalidParameterException", status=400):
        logs.put_retention_policy(logGroupName=group, retentionInDays=2)


@pytest.mark.behaviour("logs.batch_is_in_order")
def test_a_batch_is_in_order(logs: Any, group: str) -> None:
    name = stream(logs, group)
    with refused("InvalidParameterException", "chronological"):
        put(logs, group, name, (now(), "b"), (now() - 5_000, "a"))
    # Between batches there is no order.
    put(logs, group, name, (now(), "b"))
    put(logs, group, name, (now() - 5_000, "a"))
    assert found(logs, group) == ["a", "b"]


@pytest.mark.behaviour("logs.batch_is_of_a_day")
def test_a_batch_is_of_a_day(logs: Any, group: str) -> None:
    with refused("InvalidParameterException", "24 hours"):
        put(logs, group, stream(logs, group), (now() - DAY - 5_000, "a"), (now(), "b"))
    old = put(logs, group, "s", (now() - 20 * DAY, "rejected, and does not count"), (now(), "b"))
    assert old["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"] == 1


@pytest.mark.behaviour("logs.batch_fits")
def test_a_batch_has_at_most_a_megabyte(logs: Any, group: str) -> None:
    with refused("InvalidParameterException", "Upload too large"):
        put(logs, group, stream(logs, group), "x" * 600_000, "x" * 600_000)


def test_what_is_there_and_what_is_not(logs: Any, group: str) -> None:
    """The emulator's own, as AWS has it."""
    stream(logs, group)
    with refused("ResourceAlreadyExistsException", "The specified log group already exists", 400):
        logs.create_log_group(logGroupName=group)
    with refused("ResourceAlreadyExistsException", "The specified log stream already exists", 400):
        stream(logs, group)
    for call in (
        lambda: put(logs, group, "none", "x"),
        lambda: put(logs, "/none", "s", "x"),
        lambda: logs.get_log_events(logGroupName=group, logStreamName="none"),
        lambda: logs.filter_log_events(logGroupName="/none"),
        lambda: logs.delete_log_group(logGroupName="/none"),
        lambda: logs.delete_log_stream(logGroupName=group, logStreamName="none"),
        lambda: logs.describe_log_streams(logGroupName="/none"),
        lambda: logs.put_retention_policy(logGroupName="/none", retentionInDays=1),
    ):
        with refused("ResourceNotFoundException", "does not exist", 400):
            call()


@pytest.mark.behaviour("logs.page_of_names")
def test_groups_come_by_pages_that_deletions_do_not_move(logs: Any, group: str) -> None:
    names = [f"{group}/{n}" for n in range(5)]
    for name in names:
        logs.create_log_group(logGroupName=name)
    first = logs.describe_log_groups(logGroupNamePrefix=f"{group}/", limit=2)
    logs.delete_log_group(logGroupName=names[0])
    second = logs.describe_log_groups(logGroupNamePrefix=f"{group}/", limit=2, nextToken=first["nextToken"])
    assert [known["logGroupName"] for known in second["logGroups"]] == names[2:4]
    with refused("InvalidParameterException", "nextToken is invalid"):
        logs.describe_log_groups(nextToken="nonsense")
    for name in names[1:]:
        logs.delete_log_group(logGroupName=name)


@pytest.mark.behaviour("logs.page_of_streams")
def test_streams_come_by_last_event_from_either_end(logs: Any, group: str) -> None:
    for n, name in enumerate(["b", "c", "a", "d"]):
        put(logs, group, stream(logs, group, name), (now() - 60_000 + n, name))
    names = ["d", "a", "c", "b"]
    pages = list(
        logs.get_paginator("describe_log_streams").paginate(
            logGroupName=group, orderBy="LastEventTime", descending=True, PaginationConfig={"PageSize": 3}
        )
    )
    assert [len(page["logStreams"]) for page in pages] == [3, 1]
    assert [known["logStreamName"] for page in pages for known in page["logStreams"]] == names
    first = pages[0]["logStreams"][0]
    assert first["firstEventTimestamp"] == first["lastEventTimestamp"]
    assert first["arn"].endswith(f":log-group:{group}:log-stream:d")


@pytest.mark.behaviour("logs.prefix_means_order_by_name")
def test_a_prefix_means_order_by_name(logs: Any, group: str) -> None:
    with refused("InvalidParameterException", "Cannot order by LastEventTime", 400):
        logs.describe_log_streams(logGroupName=group, logStreamNamePrefix="x", orderBy="LastEventTime")


def sums(sandbox: Sandbox, namespace: str, **dimensions: str) -> float | None:
    points = sandbox.client("cloudwatch").get_metric_statistics(
        Namespace=namespace,
        MetricName="m",
        Dimensions=[{"Name": name, "Value": value} for name, value in dimensions.items()],
        StartTime=datetime.now(UTC) - timedelta(minutes=10),
        EndTime=datetime.now(UTC) + timedelta(minutes=1),
        Period=3600,
        Statistics=["Sum", "SampleCount"],
    )["Datapoints"]
    return sum(point["Sum"] for point in points) if points else None


def metric_filter(logs: Any, group: str, pattern: str, name: str = "f", **transformation: Any) -> str:
    namespace = f"ns-{uuid4().hex[:8]}"
    what = {"metricName": "m", "metricNamespace": namespace, "metricValue": "1", **transformation}
    logs.put_metric_filter(logGroupName=group, filterName=name, filterPattern=pattern, metricTransformations=[what])
    return namespace


@pytest.mark.behaviour("logs.metric_filters_emit")
def test_a_metric_filter_counts_and_takes_values(sandbox: Sandbox, logs: Any, group: str) -> None:
    name = stream(logs, group)
    counted = metric_filter(logs, group, '{ $.level = "ERROR" }', "count")
    taken = metric_filter(logs, group, "{ $.ms > 0 }", "take", metricValue="$.ms", unit="Milliseconds")
    put(logs, group, name, '{"level": "ERROR", "ms": 5}', '{"level": "ERROR"}', '{"level": "INFO", "ms": 7.5}', "ERROR")
    assert sums(sandbox, counted) == 2
    assert sums(sandbox, taken) == 12.5
    listed = logs.describe_metric_filters(logGroupName=group)["metricFilters"]
    assert [known["filterName"] for known in listed] == ["count", "take"]
    logs.delete_metric_filter(logGroupName=group, filterName="count")
    put(logs, group, name, '{"level": "ERROR"}')
    assert sums(sandbox, counted) == 2


@pytest.mark.behaviour("logs.metric_dimensions")
def test_a_metric_filter_takes_dimensions_from_events(sandbox: Sandbox, logs: Any, group: str) -> None:
    dimensions = {"Code": "$.code"}
    namespace = metric_filter(logs, group, '{ $.level = "ERROR" }', dimensions=dimensions)
    rows = ['{"level": "ERROR", "code": 500}', '{"level": "ERROR", "code": 502}', '{"level": "ERROR"}']
    put(logs, group, stream(logs, group), rows[0], *rows)
    assert sums(sandbox, namespace, Code="500") == 2
    assert sums(sandbox, namespace, Code="502") == 1
    assert sums(sandbox, namespace) is None


@pytest.mark.behaviour("logs.put_default")
def test_a_metric_filter_gives_its_default_value(sandbox: Sandbox, logs: Any, group: str) -> None:
    namespace = metric_filter(logs, group, "ERROR", defaultValue=0)
    put(logs, group, stream(logs, group), "fine")
    assert sums(sandbox, namespace) == 0


@pytest.mark.parametrize(
    ("pattern", "transformation"),
    [
        ("ERROR", {"metricValue": "many"}),
        ("ERROR", {"metricValue": "$.ms"}),
        ("[a, b]", {"metricValue": "$c"}),
        ("{ $.a = 1 }", {"metricValue": "$c"}),
        ("{ $.a = 1 }", {"dimensions": {"A": "$.a"}, "defaultValue": 0}),
        ("{ $.a = 1 }", {"dimensions": dict.fromkeys("ABCD", "$.a")}),
        ("ERROR", {"dimensions": {"A": "$.a"}}),
    ],
)
@pytest.mark.behaviour("logs.transformation_fits")
def test_wrong_transformations_are_refused(logs: Any, group: str, pattern: str, transformation: dict[str, Any]) -> None:
    with refused("InvalidParameterException", status=400):
        metric_filter(logs, group, pattern, **transformation)


@pytest.mark.behaviour("logs.group_has_room_for_a_filter")
def test_a_group_has_at_most_100_metric_filters(logs: Any, group: str) -> None:
    for n in range(100):
        metric_filter(logs, group, "ERROR", f"f{n}")
    metric_filter(logs, group, "ERROR", "f0")
    with refused("LimitExceededException", status=400):
        metric_filter(logs, group, "ERROR", "one more")


@pytest.mark.behaviour("logs.regexes_fit")
def test_a_group_has_at_most_five_filters_with_regular_expressions(logs: Any, group: str) -> None:
    for n in range(5):
        metric_filter(logs, group, "%a%", f"f{n}")
    metric_filter(logs, group, "%b%", "f0")
    with refused("LimitExceededException"):
        metric_filter(logs, group, "%a%", "one more")


@pytest.mark.behaviour("logs.token_is_of_a_page")
def test_tokens_of_no_page_are_refused(logs: Any, group: str) -> None:
    for n in range(3):
        metric_filter(logs, group, "ERROR", f"f{n}")
    first = logs.describe_metric_filters(logGroupName=group, limit=2)
    assert len(logs.describe_metric_filters(logGroupName=group, nextToken=first["nextToken"])["metricFilters"]) == 1
    with refused("InvalidParameterException", "nextToken is invalid", 400):
        logs.describe_metric_filters(logGroupName=group, nextToken=base64.b64encode(b"x").decode())


def subscription(logs: Any, group: str, name: str, pattern: str = "") -> None:
    logs.put_subscription_filter(
        logGroupName=group,
        filterName=name,
        filterPattern=pattern,
        destinationArn="arn:aws:lambda:us-east-1:123456789012:function:none",
    )


@pytest.mark.behaviour("logs.two_subscription_filters_a_group")
def test_a_group_has_at_most_two_subscription_filters(logs: Any, group: str) -> None:
    subscription(logs, group, "one")
    subscription(logs, group, "two")
    subscription(logs, group, "two", "ERROR")
    with refused("LimitExceededException", status=400):
        subscription(logs, group, "three")


@pytest.mark.behaviour("logs.filter_pattern_is_one")
def test_a_subscriptions_pattern_is_read(logs: Any, group: str) -> None:
    with refused("InvalidParameterException", "Invalid filter pattern", 400):
        subscription(logs, group, "one", "{ $.a }")


def test_tags_of_a_group(logs: Any, group: str) -> None:
    """The emulator's own, as AWS has it."""
    arn = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"][0]["logGroupArn"]
    logs.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    logs.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert logs.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}


def test_lines_that_are_cut_off_json_are_taken_by_the_hundred(logs: Any, group: str) -> None:
    """Brackets within texts do not nest."""
    cut = ['{"cut": [{"of', '["\\" {[', "{" * 500]
    put(logs, group, stream(logs, group), *cut * 100)
    assert found(logs, group) == cut * 100
