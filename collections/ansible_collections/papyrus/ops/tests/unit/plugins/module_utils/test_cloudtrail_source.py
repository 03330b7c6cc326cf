# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CloudTrail's event history as the source of an export: what is asked, and what becomes of what comes (K1)."""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import Any

import jq
import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._cloudtrail_source import CloudTrailSource, items
from ansible_collections.papyrus.ops.plugins.module_utils._export import Item, Unit
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

AT = dt.datetime(2026, 2, 2, 12, 0, 7, tzinfo=dt.UTC)
HOUR, DAY = 3600, 86400
NOON = dt.datetime(2026, 2, 2, 12, tzinfo=dt.UTC).timestamp()
UNIT = Unit("2026-02-02T12:00:00Z", NOON, NOON + HOUR)


def source(answer: Any = None, **how: Any) -> tuple[CloudTrailSource, FakeAws]:
    aws = FakeAws({"cloudtrail.lookup_events": answer or {"Events": []}})
    return CloudTrailSource(aws("cloudtrail"), "123456789012 in us-west-2", **how), aws


def entry(record: Any, **more: Any) -> dict[str, Any]:
    text = record if isinstance(record, str) else json.dumps(record)
    return {"EventId": "one", "EventTime": AT, "EventName": "RunTask", "CloudTrailEvent": text, **more}


def test_K1_both_ends_of_a_window_and_the_token_are_asked() -> None:
    trail, aws = source({"Events": [entry({"eventID": "one", "new": 1})], "NextToken": "more"})
    page = trail.ask(UNIT, "")
    assert page.token == "more"
    assert [(item.id, item.at, json.loads(item.line), item.malformed) for item in page.items] == [
        ("one", AT.timestamp(), {"eventID": "one", "new": 1}, False)
    ]
    trail.ask(UNIT, "more")
    sent = {
        "StartTime": dt.datetime.fromtimestamp(NOON, dt.UTC),
        "EndTime": dt.datetime.fromtimestamp(NOON + HOUR, dt.UTC),
        "MaxResults": 50,
    }
    assert [parameters for _name, parameters in aws.requests] == [sent, {**sent, "NextToken": "more"}]


def test_K1_a_lookup_attribute_is_asked_with_every_page() -> None:
    trail, aws = source(attribute={"key": "Username", "value": "papyrus"})
    trail.ask(UNIT, "")
    assert aws.requests[0][1]["LookupAttributes"] == [{"AttributeKey": "Username", "AttributeValue": "papyrus"}]


def test_K1_what_aws_refuses_names_the_call_and_the_right_that_is_needed() -> None:
    def refuse(_asked: Any) -> Any:
        raise Refusal("AccessDeniedException", "not authorized")

    with pytest.raises(AwsFailure) as failure:
        source(refuse)[0].ask(UNIT, "")
    assert str(failure.value).startswith(
        "cloudtrail:LookupEvents on CloudTrail's event history of 123456789012 in us-west-2 failed: "
        "AccessDeniedException: not authorized"
    )
    assert "needs the right cloudtrail:LookupEvents" in str(failure.value)


def test_K1_a_window_that_aws_keeps_no_more_is_empty_and_says_so() -> None:
    def refuse(_asked: Any) -> Any:
        raise Refusal("InvalidTimeRangeException", "outside of the last 90 days")

    trail, _aws = source(refuse)
    now = time.time()
    page = trail.ask(Unit("old", now - 91 * DAY, now - 90 * DAY - 1), "")
    assert (page.items, page.token, page.note) == ((), "", "not asked: outside of the last 90 days")
    with pytest.raises(AwsFailure, match="InvalidTimeRangeException"):
        trail.ask(Unit("young", now - 90 * DAY, now - 89 * DAY), "")


def test_K1_an_answer_without_events_is_no_empty_page() -> None:
    with pytest.raises(AwsFailure, match="not even none") as failure:
        source({"NextToken": "more"})[0].ask(UNIT, "")
    assert failure.value.unanswered is True


@pytest.mark.parametrize(
    ("span", "long", "count"),
    [
        (DAY, HOUR, 25),
        (2 * DAY, HOUR, 49),
        (7 * DAY, 6 * HOUR, 29),
        (90 * DAY, DAY, 92),
        (HOUR, HOUR, 2),
        (60, HOUR, 1),
    ],
)
def test_K1_windows_begin_at_whole_hours_or_days_and_share_their_second(span: int, long: int, count: int) -> None:
    units = source()[0].units(NOON - span, NOON)
    assert len(units) == count
    assert (units[0].start, units[-1].end) == (NOON - span, NOON)
    assert all(one.end == other.start for one, other in zip(units, units[1:], strict=False))
    assert all(unit.start % long == 0 for unit in units[1:-1])
    assert len({unit.key for unit in units}) == count


def test_K1_what_may_still_get_events_is_a_window_of_its_own() -> None:
    trail, _aws = source()
    assert [unit.start - NOON for unit in trail.units(NOON - 2 * HOUR, NOON + 1800)] == [-2 * HOUR, -HOUR, 0, 900]
    trail.delivery = 30.0
    assert [unit.start - NOON for unit in trail.units(NOON - 2 * HOUR, NOON)] == [-2 * HOUR, -HOUR, -30]


def test_K1_parts_of_a_second_at_the_ends_are_asked_whole() -> None:
    units = source()[0].units(NOON - 10.5, NOON + 0.25)
    assert (units[0].start, units[-1].end) == (NOON - 11, NOON + 1)


def test_K1_the_rest_of_a_window_is_what_is_older_and_the_second_reached() -> None:
    trail, _aws = source()
    assert trail.rest(UNIT, Item("one", NOON + 7, b"")) == Unit(UNIT.key, NOON, NOON + 7)
    assert trail.rest(UNIT, Item("one", NOON + 7.25, b"")) == Unit(UNIT.key, NOON, NOON + 8)
    assert trail.rest(UNIT, Item("one", NOON - 99, b"")) == Unit(UNIT.key, NOON, NOON)
    assert trail.rest(UNIT, Item("one", NOON + 2 * HOUR, b"")) == UNIT


@pytest.mark.parametrize(
    "record",
    [
        "no json",
        "",
        "[1]",
        '"text"',
        "null",
        "{}",
        '{"eventID": "another"}',
        '{"eventID": 7}',
        '{"eventID": "one", "cost": NaN}',
        '{"eventID": "one", "cost": -Infinity}',
        '{"eventID": "one"',
        '{"eventID": "one"} {"eventID": "one"}',
        '\ufeff{"eventID": "one"}',
        '{"eventID": "one", "raw": "\ud800"}',
        '{"eventID": "one", "raw": "a\nb"}',
        '{"eventID": "one", "deep": ' + "[" * 300 + "]" * 300 + "}",
        '{"eventID": "one", "deep": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
    ids=lambda record: record[:25].encode("ascii", "backslashreplace").decode(),
)
def test_K1_what_is_no_record_is_kept_whole_in_a_wrapper(record: str) -> None:
    given = entry(record, Username="somebody", Unknown=[1])
    (item,) = items([given], UNIT)
    assert (item.id, item.at, item.malformed, b"\n" in item.line) == ("one", AT.timestamp(), True, False)
    kept = json.loads(item.line)
    assert kept["malformed"] is True
    assert kept["entry"]["Username"] == "somebody"
    assert kept["entry"]["EventTime"] == str(AT)
    assert kept["entry"]["CloudTrailEvent"] == record.replace("\ud800", "\\ud800")
    assert jq.compile(".entry.EventId").input_text(item.line.decode()).first() == "one"


def test_K1_a_record_is_written_as_it_came_with_fields_that_nobody_knows() -> None:
    text = (
        '{ "eventID":"one", "future": {"a": [1, 2.50, 1e3]}, "deep": ' + "[" * 150 + "]" * 150 + ', "ä": "\\u00e4[[{"}'
    )
    (item,) = items([entry(text)], UNIT)
    assert (item.line, item.malformed) == (text.encode(), False)
    wide = json.dumps({"eventID": "one", "many": ['{[\\"' for _number in range(500)]})
    assert next(iter(items([entry(wide)], UNIT))).malformed is False


def test_K1_entries_without_id_record_or_time_are_kept_each_with_an_id_of_its_own() -> None:
    given: list[dict[str, Any]] = [
        entry({"eventID": "one"}),
        {"EventTime": AT, "EventName": "no id", "CloudTrailEvent": "{}"},
        {"EventName": "nothing else"},
        {"EventId": "", "EventTime": AT, "CloudTrailEvent": '{"eventID": ""}'},
        {"EventId": "five", "EventTime": AT - dt.timedelta(seconds=9)},
    ]
    found = list(items(given, UNIT))
    assert [item.malformed for item in found] == [False, True, True, True, True]
    assert len({item.id for item in found}) == 5
    assert [item.at - NOON for item in found] == [7, 7, 7, 7, -2]
    assert [json.loads(item.line)["entry"].get("EventName") for item in found[1:3]] == ["no id", "nothing else"]
    assert [item.id for item in items(given, UNIT)] == [item.id for item in found]
    (first,) = items(given[2:3], UNIT)
    assert first.at == UNIT.end
