# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An export as a whole, in simulated time: all that is there, each item once, and what is said about it (K1)."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._cloudtrail_source import cloudtrail_filter
from ansible_collections.papyrus.ops.plugins.module_utils._export import ExportRefused, Item
from ansible_collections.papyrus.ops.plugins.module_utils._export_pace import THROTTLES, TRANSIENTS
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.tests.unit.export_world import (
    DAY,
    NOW,
    History,
    SimClock,
    asked,
    event,
    lines,
    run,
    spread,
)

HOUR = 3600.0


@pytest.fixture(autouse=True)
def _no_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def numbers(found: list[dict[str, Any]]) -> list[int]:
    return sorted(line["number"] for line in found)


def report_of(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "completeness.json").read_text())
    return report


def test_K1_the_folder_has_the_events_the_derivative_and_what_is_said_about_them(tmp_path: Path) -> None:
    events = [
        event(number, NOW - DAY + 60 * number, eventSource=f"s{number % 3}.amazonaws.com") for number in range(900)
    ]
    rule = cloudtrail_filter("papyrus", sources=["s1"])
    ran = run(History(events, SimClock()), tmp_path, asked(NOW - DAY, NOW), criterion=rule)
    assert ran.outcome is not None
    stamp = "20260202T120000Z"
    whole, part = f"cloudtrail_events_{stamp}.jsonl.gz", f"cloudtrail_events_{stamp}.papyrus.jsonl.gz"
    assert ran.outcome.folder == tmp_path / stamp
    assert sorted(path.name for path in ran.outcome.folder.iterdir()) == [whole, part, "completeness.json"]
    found = lines(ran.outcome.folder / whole)
    assert numbers(found) == list(range(900))
    assert {line["eventID"]: line for line in found} == {item.id: json.loads(item.line) for item in events}
    assert lines(ran.outcome.folder / part) == [line for line in found if line["eventSource"] == "s1.amazonaws.com"]
    report = report_of(ran.outcome.folder)
    assert report == ran.outcome.report
    for file in report["files"]:
        data = (ran.outcome.folder / file["name"]).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert file["lines"] == len(gzip.decompress(data).splitlines())
    assert {
        name: report[name] for name in ("schema", "account", "region", "complete", "gaps", "resumed", "throttles")
    } == {
        "schema": "papyrus.ops/export/1",
        "account": "123456789012",
        "region": "us-west-2",
        "complete": True,
        "gaps": [],
        "resumed": 0,
        "throttles": 0,
    }
    assert (report["first"], report["last"]) == ("2026-02-01T12:00:00Z", "2026-02-02T02:59:00Z")
    assert sum(window["events"] for window in report["windows"]) == report["counts"]["items"] == 900
    assert sum(window["requests"] for window in report["windows"]) == report["requests"] == len(ran.flights.started)
    assert report["filter"]["jq"] == rule.jq


def test_K1_an_empty_window_is_a_recorded_fact_and_so_is_an_empty_history(tmp_path: Path) -> None:
    events = [event(1, NOW - 20 * HOUR), event(2, NOW - 2 * HOUR)]
    ran = run(History(events, SimClock()), tmp_path, asked(NOW - DAY, NOW))
    assert ran.outcome is not None
    windows = ran.outcome.report["windows"]
    assert len(windows) == 25
    assert [window["events"] for window in windows].count(0) == 23
    assert all(window["requests"] == 1 for window in windows)
    assert windows[0]["start"] == "2026-02-01T12:00:00Z"
    assert windows[-1]["end"] == "2026-02-02T12:00:00Z"
    assert all(one["end"] == other["start"] for one, other in zip(windows, windows[1:], strict=False))
    nothing = run(History([], SimClock(NOW + 1)), tmp_path, asked(NOW - DAY, NOW))
    assert nothing.outcome is not None
    assert nothing.outcome.complete
    assert nothing.whole == []
    data = (nothing.outcome.folder / nothing.outcome.files[0]["name"]).read_bytes()
    assert (data[:2], gzip.decompress(data)) == (
        b"\x1f\x8b",
        b"",
    )  # of nothing at all gzip says that it ended too early


def test_K1_events_at_the_second_between_two_windows_are_there_once(tmp_path: Path) -> None:
    border = NOW - 5 * HOUR
    events = [event(number, border + (number % 3 - 1)) for number in range(600)]
    ran = run(History(events, SimClock()), tmp_path, asked(NOW - DAY, NOW), lanes=3)
    assert ran.outcome is not None
    assert numbers(ran.whole) == list(range(600))
    assert ran.outcome.report["counts"]["duplicates"] == 200


def test_K1_any_number_of_events_in_one_second_is_read(tmp_path: Path) -> None:
    events = [event(number, NOW - 5 * HOUR - 7) for number in range(5000)]
    ran = run(History(events, SimClock()), tmp_path, asked(NOW - DAY, NOW), long=10)
    assert ran.outcome is not None
    assert numbers(ran.whole) == list(range(5000))
    assert ran.outcome.report["counts"]["cuts"] <= 1


def test_K1_a_long_window_is_cut_where_it_is_and_the_ids_in_memory_stay_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.papyrus.ops.plugins.module_utils import _export_state

    seen: list[int] = []
    page = _export_state.State.page

    def watched(self: _export_state.State, *arguments: Any) -> None:
        page(self, *arguments)
        seen.append(self.seen)

    monkeypatch.setattr(_export_state.State, "page", watched)
    start = NOW - 3 * HOUR
    source = History(spread(20_000, start, start + HOUR), SimClock())
    ran = run(source, tmp_path, asked(NOW - DAY, NOW), long=20)
    assert ran.outcome is not None
    assert numbers(ran.whole) == list(range(20_000))
    counts = ran.outcome.report["counts"]
    assert counts["cuts"] >= 19
    assert counts["duplicates"] < 20 * 10
    assert max(seen) < 20 * 50 + 4 * 50
    assert seen[-1] == 0
    assert len(ran.flights.started) < 400 + 25 + counts["cuts"] + 5


def test_K1_what_is_on_disk_is_not_asked_for_again_wherever_an_export_is_killed(tmp_path: Path) -> None:
    events = spread(800, NOW - 5 * HOUR, NOW)
    never = run(History(events, SimClock()), tmp_path / "never", asked(NOW - 5 * HOUR, NOW))
    total = len(never.flights.started)
    assert total > 15
    for number in range(total):
        source = History(events, SimClock())
        root = tmp_path / str(number)
        killed = run(source, root, asked(NOW - 5 * HOUR, NOW), stop_after=number)
        assert killed.outcome is None
        source.clock.sleep(60)
        ran = run(source, root, asked(NOW - 5 * HOUR, NOW))
        assert ran.outcome is not None
        assert ran.outcome.resumed == (number > 0 or ran.outcome.report["resumed"] > 0)
        assert sorted(ran.ids) == sorted(never.ids)
        again = len(killed.flights.started) + len(ran.flights.started) - total
        assert again <= 2, f"killed after {number} of {total} answers"
        assert ran.outcome.report["resumed"] == 1


def test_K1_an_export_that_is_killed_again_and_again_comes_to_its_end(tmp_path: Path) -> None:
    events = spread(3000, NOW - DAY, NOW)
    source = History(events, SimClock())
    kills = 0
    while (ran := run(source, tmp_path, asked(NOW - DAY, NOW), stop_after=3, lanes=3)).outcome is None:
        kills += 1
    assert kills > 20
    report = ran.outcome.report
    assert report["resumed"] == kills
    assert report["counts"]["pages"] >= 72
    assert report["requests"] == sum(window["requests"] for window in report["windows"]) >= report["counts"]["pages"]
    assert numbers(ran.whole) == list(range(3000))
    assert len(list(tmp_path.iterdir())) == 1


def test_K1_a_resumed_export_keeps_its_window_and_another_request_has_its_own_folder(tmp_path: Path) -> None:
    source = History(spread(1000, NOW - 2 * DAY, NOW), SimClock())
    run(source, tmp_path, asked(NOW - DAY, NOW), stop_after=5)
    source.clock.sleep(10)
    later = asked(NOW - DAY + 7, NOW + 7)
    later = type(later)(later.stem, later.account, later.region, asked(NOW - DAY, NOW).asked, later.start, later.end)
    for other in (
        asked(NOW - DAY, NOW, attribute={"key": "Username"}),
        type(later)("other_events", later.account, later.region, later.asked, later.start, later.end),
        type(later)(later.stem, "210987654321", later.region, later.asked, later.start, later.end),
        type(later)(later.stem, later.account, "us-east-1", later.asked, later.start, later.end),
    ):
        assert run(source, tmp_path, other).outcome.resumed is False
    rule = cloudtrail_filter("papyrus", text=["x"])
    assert run(source, tmp_path, later, criterion=rule).outcome.resumed is False
    assert run(source, tmp_path, later, settle=True).outcome.resumed is False
    assert run(source, tmp_path, later, resume=False).outcome.resumed is False
    before = len(list(tmp_path.iterdir()))
    ran = run(source, tmp_path, later)
    assert ran.outcome.resumed is True
    assert (ran.outcome.report["start"], ran.outcome.report["end"]) == ("2026-02-01T12:00:00Z", "2026-02-02T12:00:00Z")
    assert len(list(tmp_path.iterdir())) == before == 8
    assert run(source, tmp_path, later).outcome.resumed is False


def test_K1_the_newest_of_several_unfinished_exports_is_gone_on_with(tmp_path: Path) -> None:
    source = History(spread(1000, NOW - DAY, NOW), SimClock())
    folders = []
    for _number in range(12):  # in one second: <stamp>, <stamp>-2, … <stamp>-12
        run(source, tmp_path, asked(NOW - DAY, NOW), stop_after=0, resume=False, rate=0.0, latency=lambda: 0.0)
        (new,) = {path.name for path in tmp_path.iterdir()} - set(folders)
        folders.append(new)
    assert folders[-1] == "20260202T120000Z-12"
    assert run(source, tmp_path, asked(NOW - DAY, NOW)).outcome.folder.name == folders[-1]


def lost(after: int) -> Any:
    """Every token is lost once the request with this number was made."""
    gone: set[str] = set()

    def fails(number: int, token: str) -> AwsFailure | None:
        if token and number % after == 0 and token not in gone:
            gone.add(token)
            return AwsFailure("Invalid token", code="InvalidNextTokenException")
        return None

    return fails


def test_K1_a_lost_token_costs_the_second_that_was_reached_and_no_more(tmp_path: Path) -> None:
    events = spread(10_000, NOW - DAY, NOW)
    never = run(History(events, SimClock()), tmp_path / "never", asked(NOW - DAY, NOW))
    ran = run(History(events, SimClock(), fails=lost(7)), tmp_path / "lost", asked(NOW - DAY, NOW))
    assert ran.outcome is not None
    assert sorted(ran.ids) == sorted(never.ids)
    tokens = ran.outcome.report["counts"]["lost_tokens"]
    assert tokens > 20
    assert len(ran.flights.started) <= len(never.flights.started) + 2 * tokens
    assert ran.outcome.report["counts"]["duplicates"] <= never.outcome.report["counts"]["duplicates"] + 2 * tokens


def test_K1_a_token_that_died_while_nobody_worked_costs_no_more_either(tmp_path: Path) -> None:
    events = spread(10_000, NOW - DAY, NOW)
    source = History(events, SimClock())
    run(source, tmp_path, asked(NOW - DAY, NOW), stop_after=30)
    dead = source.tokens - {""}
    source.fails = lambda number, token: (
        AwsFailure("Invalid token", code="InvalidNextTokenException") if token in dead else None
    )
    ran = run(source, tmp_path, asked(NOW - DAY, NOW))
    assert numbers(ran.whole) == list(range(10_000))
    assert ran.outcome.report["counts"]["lost_tokens"] >= 1
    assert ran.outcome.report["counts"]["duplicates"] < 60


def test_K1_a_unit_whose_tokens_are_always_lost_stops_the_export_and_nothing_is_gone(tmp_path: Path) -> None:
    def fails(number: int, token: str) -> AwsFailure | None:
        return AwsFailure("Invalid token", code="InvalidNextTokenException") if token else None

    events = [event(number, NOW - 5 * HOUR - 7) for number in range(500)]
    source = History(events, SimClock(), fails=fails)
    ran = run(source, tmp_path, asked(NOW - DAY, NOW))
    assert (ran.outcome.complete, ran.outcome.failure.code) == (False, "InvalidNextTokenException")
    source.fails = lambda number, token: None
    assert numbers(run(source, tmp_path, asked(NOW - DAY, NOW)).whole) == list(range(500))


def test_K1_throttling_server_errors_and_lost_connections_are_waited_out_and_counted(tmp_path: Path) -> None:
    failures = {
        3: AwsFailure("Rate exceeded", code="ThrottlingException"),
        5: AwsFailure("Bad gateway", code="502", unanswered=True),
        6: AwsFailure("closed", code="ConnectionClosedError", unanswered=True),
        9: AwsFailure("Rate exceeded", code="ThrottlingException"),
    }
    source = History(spread(1000, NOW - DAY, NOW), SimClock(), fails=lambda number, token: failures.get(number))
    ran = run(source, tmp_path, asked(NOW - DAY, NOW))
    assert ran.outcome is not None
    assert numbers(ran.whole) == list(range(1000))
    report = ran.outcome.report
    assert (report["throttles"], report["retries"]) == (2, {"502": 1, "ConnectionClosedError": 1})
    assert report["requests"] == len(ran.flights.started)


@pytest.mark.parametrize(
    ("failure", "tries"),
    [
        (AwsFailure("Rate exceeded", code="ThrottlingException"), THROTTLES),
        (AwsFailure("Bad gateway", code="502", unanswered=True), 2 * TRANSIENTS),
        (AwsFailure("denied", code="AccessDeniedException", operation="cloudtrail:LookupEvents"), 2),
        (AwsFailure("expired", code="ExpiredTokenException"), 2),
    ],
)
def test_K1_what_does_not_pass_stops_the_export_and_the_same_call_goes_on(
    tmp_path: Path, failure: AwsFailure, tries: int
) -> None:
    source = History(spread(1000, NOW - DAY, NOW), SimClock())
    source.fails = lambda number, token: failure if number > 10 else None
    ran = run(source, tmp_path, asked(NOW - DAY, NOW))
    assert (ran.outcome.complete, ran.outcome.failure) == (False, failure)
    assert ran.outcome.reason == str(failure)
    assert len(source.asked) <= 10 + tries
    assert not (ran.outcome.folder / "completeness.json").exists()
    kept = ran.outcome.report["counts"]["items"]
    assert kept > 100
    assert ran.outcome.report["gaps"] != []
    before = len(source.asked)
    source.fails = lambda number, token: None
    again = run(source, tmp_path, asked(NOW - DAY, NOW))
    assert (again.outcome.complete, again.outcome.resumed) == (True, True)
    assert again.outcome.folder == ran.outcome.folder
    assert numbers(again.whole) == list(range(1000))
    assert len(source.asked) - before <= 1000 / 50 + 26 - 10 + 8


def test_K1_what_came_before_it_stopped_is_kept_also_where_pages_are_written_together(tmp_path: Path) -> None:
    events = spread(1000, NOW - DAY, NOW)
    quick: dict[str, Any] = {"rate": 0.0, "latency": lambda: 0.001}
    never = len(run(History(events, SimClock()), tmp_path / "never", asked(NOW - DAY, NOW), **quick).flights.started)
    denied = AwsFailure("denied", code="AccessDeniedException")
    source = History(events, SimClock(), fails=lambda number, token: denied if number > 20 else None)
    root = tmp_path / "stopped"
    stopped = run(source, root, asked(NOW - DAY, NOW), **quick)
    assert stopped.outcome is not None
    assert stopped.outcome.failure is denied
    source.fails = lambda number, token: None
    ran = run(source, root, asked(NOW - DAY, NOW), **quick)
    assert numbers(ran.whole) == list(range(1000))
    assert len(source.asked) <= never + 2


def test_K1_an_answer_that_leads_nowhere_stops_the_export(tmp_path: Path) -> None:
    source = History(spread(5000, NOW - DAY, NOW), SimClock())
    ask = source.ask
    source.ask = lambda unit, token: ask(unit, "") if token else ask(unit, token)
    ran = run(source, tmp_path, asked(NOW - DAY, NOW))
    assert "the token that it was asked with" in ran.outcome.reason


def test_K1_without_waiting_the_newest_window_is_read_and_not_called_settled(tmp_path: Path) -> None:
    source = History(spread(100, NOW - DAY, NOW), SimClock())
    source.arrives = [(NOW + 600, event(100, NOW - 300))]
    ran = run(source, tmp_path, asked(NOW - DAY, NOW))
    windows = ran.outcome.report["windows"]
    assert (ran.outcome.complete, ran.outcome.settled) == (True, False)
    assert [window["settled"] for window in windows] == [True] * 24 + [False]
    assert (windows[-1]["start"], windows[-1]["end"]) == ("2026-02-02T11:45:00Z", "2026-02-02T12:00:00Z")
    assert numbers(ran.whole) == list(range(100))


def test_K1_with_settle_the_newest_window_is_read_when_all_of_it_is_there(tmp_path: Path) -> None:
    source = History(spread(100, NOW - DAY, NOW), SimClock())
    source.arrives = [(NOW + 600, event(100, NOW - 300)), (NOW + 890, event(101, NOW))]
    said: list[str] = []
    ran = run(source, tmp_path, asked(NOW - DAY, NOW), settle=True, now=said.append)
    assert (ran.outcome.complete, ran.outcome.settled) == (True, True)
    assert numbers(ran.whole) == list(range(102))
    assert NOW + 900 <= source.clock.now() < NOW + 905
    assert any("waits until 2026-02-02T12:15:00Z for what comes late" in line for line in said)
    assert len(ran.flights.started) < 30
    assert ran.outcome.report["elapsed_seconds"] < 40  # to wait is no work


def test_K1_what_the_history_forgot_while_nobody_worked_is_a_gap(tmp_path: Path) -> None:
    start = NOW - 90 * DAY
    source = History(spread(2000, start, NOW), SimClock())
    ran = run(source, tmp_path / "at-once", asked(start, NOW))
    assert (ran.outcome.complete, ran.outcome.report["gaps"]) == (True, [])
    assert ran.outcome.report["retention"]["kept_from"] is not None
    source = History(spread(2000, start, NOW), SimClock())
    run(source, tmp_path / "late", asked(start, NOW), stop_after=0)
    source.clock.sleep(3 * DAY)
    ran = run(source, tmp_path / "late", asked(start, NOW))
    (gap,) = ran.outcome.report["gaps"]
    assert ran.outcome.complete is False
    assert gap["start"] == "2025-11-04T12:00:00Z"
    assert gap["end"].startswith("2025-11-07T12:0")
    assert "90 days" in gap["reason"]


def test_K1_how_long_it_takes_is_said_from_the_first_pages_of_five_windows(tmp_path: Path) -> None:
    said, told = list[tuple[int, str]](), list[str]()
    source = History(spread(20_000, NOW - DAY, NOW), SimClock())
    ran = run(
        source,
        tmp_path,
        asked(NOW - DAY, NOW),
        say=lambda text: said.append((len(source.asked), text)),
        now=told.append,
    )
    [(asked_before, text)] = said
    assert asked_before <= 7
    assert len({key for _at, key, _token in source.asked[:5]}) == 5
    items, requests = [int(word) for word in text.split() if word.isdigit()][:2]
    assert items == pytest.approx(20_000, rel=0.1)
    assert requests == pytest.approx(len(ran.flights.started), rel=0.1)
    assert "at 1 requests/s about 6 min" in text or "at 1 requests/s about 7 min" in text
    assert len(ran.flights.started) <= 20_000 / 50 + 25  # the first pages were not asked twice
    assert all("units" in line and "items" in line and "requests/s" in line and "left" in line for line in told)
    assert 300 < len(told) < 450  # once a second


def test_K1_secrets_are_taken_out_line_by_line_and_lines_stay_json(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.add("rds-secret", "the-password-nobody-may-see")
    events = spread(100, NOW - DAY, NOW)
    events[17] = event(17, events[17].at, requestParameters={"text": "say the-password-nobody-may-see\nagain"})
    events[18] = event(18, events[18].at, requestParameters={"masterUserPassword": 87651234})
    events[19] = event(19, events[19].at, requestParameters={"key": "-----BEGIN PRIVATE KEY-----\nMIIE"})
    assert redactor.add("odd-secret", 'sand"}')  # by chance it stands where a text ends
    events[20] = event(20, events[20].at, password="the-password-nobody-may-see", requestParameters={"text": "sand"})
    request = asked(NOW - DAY, NOW, user="the-password-nobody-may-see")
    ran = run(History(events, SimClock()), tmp_path, request, redactor=redactor)
    found = {line["number"]: line for line in ran.whole}
    assert sorted(found) == list(range(100))
    text = json.dumps([ran.whole, ran.outcome.report])
    assert "nobody-may-see" not in text
    assert "87651234" not in text
    assert "MIIE" not in text
    assert "[redacted:rds-secret:" in found[17]["requestParameters"]["text"]
    assert found[16] == json.loads(events[16].line)
    assert found[20]["requestParameters"] == {"text": "sand"}
    assert found[20]["password"].startswith("[redacted:")


def test_K1_a_line_break_inside_a_record_does_not_break_the_line(tmp_path: Path) -> None:
    item = event(1, NOW - HOUR)
    pretty = Item(item.id, item.at, json.dumps(json.loads(item.line), indent=2).replace("\n", "\r\n").encode())
    ran = run(History([pretty], SimClock()), tmp_path, asked(NOW - DAY, NOW))
    assert ran.whole == [json.loads(item.line)]


@pytest.mark.parametrize("how", [{"lanes": 0}, {"lanes": 9}, {"criterion": "name"}, {"request": "turned"}])
def test_K1_nonsense_is_refused_before_anything_is_made_or_asked(tmp_path: Path, how: dict[str, Any]) -> None:
    source = History([], SimClock())
    request = asked(NOW, NOW - DAY) if how.pop("request", "") else asked(NOW - DAY, NOW)
    if "criterion" in how:
        how["criterion"] = cloudtrail_filter("../up", text=["x"])
    with pytest.raises(ExportRefused):
        run(source, tmp_path / "root", request, **how)
    assert not (tmp_path / "root").exists()
    assert source.asked == []


def test_K1_a_folder_that_cannot_be_written_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    source = History([], SimClock())
    with pytest.raises(ExportRefused, match="no export can be written"):
        run(source, tmp_path / "file", asked(NOW - DAY, NOW))
    assert source.asked == []
