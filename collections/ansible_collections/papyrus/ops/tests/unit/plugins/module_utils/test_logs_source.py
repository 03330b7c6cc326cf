# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A log group as a source: every event of the span, whatever its line is, in the order of time (K3)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._export import Item, Progress, Unit
from ansible_collections.papyrus.ops.plugins.module_utils._export_pace import Pacer, Patient
from ansible_collections.papyrus.ops.plugins.module_utils._logs_source import (
    LogsSource,
    found_in,
    item_of,
)
from wire_aws import Refused, Wire

START, GROUP = 1_800_000_000.0, "/ecs/papyrus"
DAY = 86_400


def event(number: int, at: float = START, message: str = '{"a": 1}') -> dict[str, Any]:
    return {
        "eventId": f"{number:056d}",
        "timestamp": round(at * 1000),
        "ingestionTime": round(at * 1000) + 20,
        "logStreamName": "app/app/1",
        "message": message,
    }


@dataclass
class Logs:
    """`events` of one group; each page looks at `looked` of them and shows those that match the pattern."""

    events: list[dict[str, Any]] = field(default_factory=list)
    looked: int = 10_000
    groups: list[dict[str, Any]] = field(default_factory=lambda: [{"logGroupName": GROUP}])
    refused: Refused | None = None

    def __call__(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        if operation == "DescribeLogGroups":
            if self.refused:
                raise self.refused
            place = int(asked.get("nextToken", 0))
            more = {"nextToken": str(place + 1)} if place + 1 < len(self.groups) else {}
            return {"logGroups": self.groups[place : place + 1], **more}
        if self.refused:
            raise self.refused
        within = [one for one in self.events if asked["startTime"] <= one["timestamp"] <= asked["endTime"]]
        place = int(asked.get("nextToken", 0))
        shown = [e for e in within[place : place + self.looked] if asked.get("filterPattern", "") in e["message"]]
        more = {"nextToken": str(place + self.looked)} if place + self.looked < len(within) else {}
        return {"events": shown, **more}


def source_of(logs: Logs, group: str = GROUP, **options: Any) -> tuple[LogsSource, Wire]:
    wire = Wire("logs", logs)
    return LogsSource(wire.client, "123456789012 in us-west-2", Patient(Pacer(0)), group=group, **options), wire


def read(source: LogsSource, end: float = START + 100) -> list[Item]:
    items: list[Item] = []
    for unit in source.units(START, end):
        token = ""
        while True:
            page = source.ask(unit, token)
            items += page.items
            token = page.token
            if not token:
                break
    return items


def test_K3_pages_without_events_are_followed_by_their_token() -> None:
    events = [
        event(n, START + n / 100, '{"n": "wanted"}' if n in (0, 7_999) else '{"n": "other"}') for n in range(8_000)
    ]
    source, wire = source_of(Logs(events, looked=1_000), pattern="wanted")
    assert [item.id for item in read(source)] == [events[0]["eventId"], events[7_999]["eventId"]]
    asked = wire.asked("FilterLogEvents")
    assert len(asked) == 8 and asked[1] == asked[0] | {"nextToken": "1000"}
    assert asked[0] == {
        "logGroupName": GROUP,
        "filterPattern": "wanted",
        "limit": 10_000,
        "startTime": round(START * 1000),
        "endTime": round(START * 1000) + 100_000,
    }


def test_K3_events_at_both_ends_and_of_one_millisecond_are_all_read() -> None:
    at = (START, START, START + 50, START + 50, START + 100)
    beside = [event(90, START - 0.001), event(91, START + 100.001)]
    events = [event(n, when) for n, when in enumerate(at)]
    assert [item.id for item in read(source_of(Logs(events + beside, looked=2))[0])] == [e["eventId"] for e in events]


@pytest.mark.parametrize(("span", "hours"), [(0, 1), (100, 1), (3600, 1), (3601, 2), (DAY, 24), (90 * DAY, 2160)])
def test_K3_hours_cover_the_span_without_a_gap(span: int, hours: int) -> None:
    units = source_of(Logs())[0].units(START, START + span)
    assert len(units) == hours == len({unit.key for unit in units})
    assert (units[0].start, units[-1].end) == (START, START + span)
    assert all(one.end == other.start for one, other in zip(units, units[1:], strict=False))
    assert units[0].key == "2027-01-15T08:00:00Z"


def test_K3_without_its_token_a_unit_goes_on_from_the_last_event_on() -> None:
    events = [event(n, START + n // 2) for n in range(40)]
    source, wire = source_of(Logs(events, looked=7))
    (unit,) = source.units(START, START + 100)
    first = source.ask(unit, "").items
    rest = source.rest(unit, first[-1])
    assert rest is not None and (rest.key, rest.start, rest.end) == (unit.key, START + 3, unit.end)
    seen = {item.id for item in first}
    token = ""
    while True:
        page = source.ask(rest, token)
        seen |= {item.id for item in page.items}
        token = page.token
        if not token:
            break
    assert seen == {one["eventId"] for one in events}
    assert wire.asked("FilterLogEvents")[1]["startTime"] == round(START * 1000) + 3_000


def test_K3_fractions_of_a_second_survive_the_way_to_the_request() -> None:
    at = START + 1.001
    source, wire = source_of(Logs([event(1, at)]))
    (unit,) = source.units(START, START + 100)
    rest = source.rest(unit, source.ask(unit, "").items[0])
    assert rest is not None and [item.id for item in source.ask(rest, "").items] == [event(1)["eventId"]]
    assert wire.asked("FilterLogEvents")[1]["startTime"] == 1_800_000_001_001


@pytest.mark.parametrize(
    "line",
    [
        '{"request_id": "a", "text": "日本 \\ud83d\\ude00 \\u2028"}',
        '{"n": 1.50, "n": 2, "big": 123456789012345678901234567890}',
        '{"a" : {"b": [null, true]}}',
        '{"a":' * 200 + "1" + "}" * 200,
        '{"brackets in a text": "' + "[{" * 300 + '"}',
        '{"long": "' + "x" * 1_000_000 + '"}',
    ],
)
def test_K3_a_json_object_is_kept_byte_for_byte(line: str) -> None:
    item = item_of(event(1, message=line))
    assert item.line == line.encode() and not item.malformed


def test_K3_line_breaks_between_the_parts_of_json_become_spaces() -> None:
    text = '\r\n{\n  "a": 1,\r\n  "b": "x\\ny"\n}\n'
    assert item_of(event(1, message=text)).line == b'{   "a": 1,    "b": "x\\ny" }'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Traceback (most recent call last):",
        "[1, 2]",
        '"text"',
        "42",
        '{"a": NaN}',
        '{"a": Infinity}',
        '{"a": 1} {"b": 2}',
        '{"a": "broken\nin the middle"}',
        '{"cut": "of',
        "\ufeff{}",
        "[" * 100_000,
        "\x00\x1b[31m",
        '{"half as an escape": "\\uD83D"}',
        '{"a":' * 201 + "1" + "}" * 201,
        "y" * 1_000_000,
    ],
)
def test_K3_any_other_text_is_kept_in_a_wrapper_with_all_that_is_known_of_it(text: str) -> None:
    wanted = event(1, message=text)
    item = item_of(wanted)
    assert item.malformed and b"\n" not in item.line
    assert json.loads(item.line) == {"malformed": True, "entry": wanted}
    assert (item.id, item.at) == (wanted["eventId"], START)


def test_K3_a_missing_log_group_is_said_before_anything_is_asked_of_it() -> None:
    source, wire = source_of(Logs(groups=[{"logGroupName": GROUP + "-other"}, {"logGroupName": GROUP + "2"}]))
    with pytest.raises(
        AwsFailure, match=r"on log group /ecs/papyrus failed: .*no such log group.*Check.*region"
    ) as caught:
        source.units(START, START)
    assert caught.value.missing and len(wire.asked("DescribeLogGroups")) == 2
    assert not wire.asked("FilterLogEvents")


def test_K3_a_group_that_goes_meanwhile_is_a_failure_with_the_same_hint() -> None:
    source, _wire = source_of(Logs(refused=Refused("ResourceNotFoundException", "gone")))
    with pytest.raises(AwsFailure, match="Check the log group") as caught:
        source.ask(Unit("u", START, START + 1, {"group": {}}), "")
    assert caught.value.missing


def test_K3_a_class_that_cannot_be_searched_is_said() -> None:
    group = {"logGroupName": GROUP, "logGroupClass": "INFREQUENT_ACCESS"}
    with pytest.raises(AwsFailure, match=r"INFREQUENT_ACCESS.*Insights"):
        source_of(Logs(groups=[group]))[0].units(START, START)


def test_K3_who_may_not_describe_groups_may_still_export() -> None:
    logs = Logs([event(1)], refused=Refused("AccessDeniedException"))
    source, _wire = source_of(logs)
    (unit,) = source.units(START, START + 100)
    logs.refused = None
    assert unit.parameters == {"group": {}} and len(source.ask(unit, "").items) == 1
    logs.refused = Refused("KMSAccessDenied")
    with pytest.raises(AwsFailure):
        source.units(START, START)


def test_K3_what_retention_has_taken_is_a_gap_also_for_who_goes_on_with_the_export() -> None:
    group = {"logGroupName": GROUP, "retentionInDays": 2, "creationTime": round(START * 1000)}
    source, _wire = source_of(Logs([event(1)], groups=[group]))
    units = source.units(START, START + 3601)
    told = {"class": "STANDARD", "retention_days": 2, "created": "2027-01-15T08:00:00Z"}
    assert [unit.parameters for unit in units] == [{"group": told}] * 2
    other, _wire = source_of(Logs([event(1)]))
    other.ask(units[1], "")
    assert other.retention == 2 * DAY
    summary = other.summary([Progress(unit, unit, items=3, done=True, ended=START) for unit in units])
    assert summary["log_group"] == {"name": GROUP, **told}
    assert [(window["start"], window["events"]) for window in summary["windows"]] == [
        ("2027-01-15T08:00:00Z", 3),
        ("2027-01-15T09:00:00Z", 3),
    ]


def test_K3_an_arn_and_a_prefix_of_streams_go_into_the_request() -> None:
    arn = "arn:aws:logs:us-west-2:210987654321:log-group:/ecs/papyrus"
    source, wire = source_of(Logs([event(1)]), group=f"{arn}:*", prefix="app/")
    assert len(read(source)) == 1
    (asked,) = wire.asked("FilterLogEvents")
    assert asked["logGroupIdentifier"] == arn and "logGroupName" not in asked
    assert asked["logStreamNamePrefix"] == "app/" and not wire.asked("DescribeLogGroups")


def test_K3_ids_are_found_in_lines_and_looking_ends_with_the_last() -> None:
    def lines() -> Any:
        yield b'{"request_id": "one"}'
        yield b"two and three"
        raise AssertionError("looked on")

    assert found_in(lines(), ["three", "one"]) == {"one", "three"}
    assert found_in([b"on e", b""], ["one"]) == set()


def test_K3_an_answer_without_its_list_is_no_empty_page() -> None:
    source, _wire = source_of(Logs())
    (unit,) = source.units(START, START + 1)
    wire = Wire("logs", lambda operation, asked: {})
    other = LogsSource(wire.client, "here", Patient(Pacer(0)), group=GROUP)
    with pytest.raises(AwsFailure, match="no events, not even none") as caught:
        other.ask(unit, "")
    assert caught.value.unanswered


def test_K3_half_a_character_is_spelled_out_in_the_wrapper() -> None:
    """jq and Python make different things of it."""
    line = item_of(event(1, message='{"half": "\ud83d"}')).line
    assert json.loads(line)["entry"]["message"] == '{"half": "\\ud83d"}'
