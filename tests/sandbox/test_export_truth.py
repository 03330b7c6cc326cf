"""cloudtrail_export against a history whose every event is known: nothing lost, twice or invented (K1)."""

from __future__ import annotations

import gzip
import json
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.audit_support import new_account
from tests.sandbox.export_stand import History, Ran, check, finish, ids, records, rfc3339, run, seconds, start
from tests.sandbox.support import Sandbox

FILTER = {
    "name": "papyrus",
    "resource_names": ["papyrus-task-service"],
    "users": ["deploy-1", "deploy-2", "papyrus-none"],
}


def jq(program: str, path: Path) -> list[bytes]:
    """Lines that the jq command makes of a gzip file."""
    done = subprocess.run(["jq", "-c", program], input=gzip.decompress(path.read_bytes()), capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("events", [6_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_K1_the_export_is_the_history_while_new_events_arrive(sandbox: Sandbox, tmp_path: Path, events: int) -> None:
    end = int(time.time()) - 1_000
    history = History(new_account(sandbox), end - 6 * 3600 - 1234, end)
    # A third of all lies in three seconds, two of which are the bounds of what is asked for.
    history.add(events - events // 3)
    history.add(events // 3, [history.start, history.end - 5000, history.end])
    before, arrived = dict(history.truth), {}
    with sandbox.switched(lookup_events_rate=0):
        process = start(history.arguments(tmp_path, filter=FILTER))

        def arrive() -> None:
            while process.poll() is None:
                arrived.update(dict.fromkeys(history.add(20), time.time()))
                time.sleep(0.05)

        arriving = threading.Thread(target=arrive)
        arriving.start()
        ran = finish(process, 600)
        arriving.join()
    check(ran, before, arrived)
    assert len(arrived) > 20
    # What had arrived before its window was begun is there as well: a window is read as it was then, or better.
    began = [(seconds(w["start"]), seconds(w["end"]), seconds(w["began"])) for w in ran.report["windows"]]
    due = {
        event
        for event, came in arrived.items()
        if all(came < asked for first, last, asked in began if first <= history.truth[event] <= last)
    }
    found = ids(ran.records())
    assert due - set(found) == set()
    same_as_jq(ran)
    print(
        f"{events} events: {ran.report['elapsed_seconds']} s, {ran.report['requests']} requests, {ran.peak_mib:.0f} MiB"
    )


def same_as_jq(ran: Ran) -> None:
    """The derivative is what jq's command and its library make of the full file, line by line."""
    derivative = [
        json.loads(line) for line in gzip.decompress(Path(ran.export["files"][1]["path"]).read_bytes()).splitlines()
    ]
    by_jq = [json.loads(line) for line in jq(ran.export["filter_jq"], ran.full)]
    assert derivative == by_jq
    everything = ran.report["counts"]["items"]
    assert 0.005 * everything < len(derivative) < 0.1 * everything
    # Counted here by hand: neither of the two is the reference of the other alone.
    wanted = [
        record["eventID"]
        for record in ran.records()
        if record["requestParameters"]["service"] == "papyrus-task-service"
        and record["userIdentity"]["principalId"].endswith((":deploy-1", ":deploy-2"))
    ]
    assert [record["eventID"] for record in derivative] == wanted


def odd_entries(history: History) -> dict[str, dict[str, Any]]:
    """What CloudTrail should never give, as LookupEvents' events, by their ids."""
    at = history.start + 10
    texts = {
        "torn": '{"eventID":"torn","eventName":',
        "empty": "",
        "no-object": '["a"]',
        "other-id": '{"eventID":"somebody else\'s"}',
        "nan": '{"eventID":"nan","value":NaN}',
        "line-breaks": '{"eventID":"line-breaks",\n"requestParameters":\r\n{"a":"b"}}',
        "of-tomorrow": '{"eventID":"of-tomorrow","fieldOfTomorrow":{"x":[1,{"y":null}]},"z":1e999}',
        "deep": '{"eventID":"deep","x":' + "[" * 5_000 + "]" * 5_000 + "}",
        "unicode": '{"eventID":"unicode","x":"\\ud83d\\ude00 \u00e9 \\u0000 \u2028"}',
        "half-a-character": '{"eventID":"half-a-character","x":"\\uD800"}',
        "large": '{"eventID":"large","x":"' + "y" * 250_000 + '"}',
        "twice": '{"eventID":"twice","a":1,"a":2}',
    }
    return {
        name: {
            "AccountId": history.account.number,
            "AwsRegion": history.account.sandbox.facts["region"],
            "EventId": name,
            "EventName": "Odd",
            "EventSource": "odd.amazonaws.com",
            "EventTime": at,
            "CloudTrailEvent": text,
        }
        for name, text in texts.items()
    }


def test_K1_what_is_malformed_unknown_or_empty_is_kept_and_told(sandbox: Sandbox, tmp_path: Path) -> None:
    end = int(time.time()) - 7_200
    end -= end % 3600
    history = History(new_account(sandbox), end - 4 * 3600, end)
    odd = odd_entries(history)
    assert history.account.load(*odd.values())["added"] == len(odd)
    history.add(5, [history.end - 60])
    with sandbox.switched(lookup_events_rate=0):
        ran = run(history.arguments(tmp_path))
    lines = gzip.decompress(ran.full.read_bytes()).splitlines()
    assert len(lines) == len(odd) + 5 == ran.report["counts"]["items"]
    found = [json.loads(line) for line in lines]
    wrapped = {one["entry"]["EventId"]: one["entry"] for one in found if one.get("malformed")}
    assert set(wrapped) == {"torn", "empty", "no-object", "other-id", "nan", "deep", "half-a-character"}
    assert ran.report["counts"]["malformed"] == len(wrapped)
    assert {name: one.get("CloudTrailEvent") for name, one in wrapped.items()} == {
        name: odd[name]["CloudTrailEvent"] for name in wrapped
    }
    plain = {one["eventID"]: line for one, line in zip(found, lines, strict=True) if not one.get("malformed")}
    for name in set(odd) - set(wrapped):
        text = odd[name]["CloudTrailEvent"]
        assert plain[name].decode() == text.replace("\r", " ").replace("\n", " ")
    # Each of them is a line for jq as well.
    assert len(jq(".", ran.full)) == len(lines)
    windows = [(window["events"], window["first"], window["requests"] > 0) for window in ran.report["windows"]]
    assert [events for events, _first, _asked in windows] == [len(odd), 0, 0, 0, 5]
    assert windows[1:4] == [(0, None, True)] * 3


def test_K1_a_history_without_any_event_is_a_complete_export(sandbox: Sandbox, tmp_path: Path) -> None:
    end = int(time.time()) - 7_200
    history = History(new_account(sandbox), end - 3 * 3600, end)
    with sandbox.switched(lookup_events_rate=0):
        ran = run(history.arguments(tmp_path, filter=FILTER))
    check(ran, {})
    assert list(ran.records()) == list(records(Path(ran.export["files"][1]["path"]))) == []
    assert (ran.report["first"], ran.report["last"], ran.report["settled"]) == (None, None, True)
    assert all((w["events"], w["requests"]) == (0, 1) for w in ran.report["windows"])


def test_K1_what_the_history_forgets_while_it_is_read_does_not_end_the_export(sandbox: Sandbox, tmp_path: Path) -> None:
    oldest = int(time.time()) - 90 * 86_400
    history = History(new_account(sandbox), oldest - 200, oldest + 7_200)
    history.add(300, range(oldest + 3_600, history.end))
    # The first window ends before the history begins, as it does when midnight comes right after the start.
    with sandbox.switched(lookup_events_rate=0):
        gone = run(history.arguments(tmp_path / "gone", end=rfc3339(oldest - 100)))
        check(gone, {})
        assert "90 days" in gone.report["windows"][0]["note"]
        check(run(history.arguments(tmp_path / "all")), history.truth)


def test_K1_regions_side_by_side_each_have_their_own_history(sandbox: Sandbox, tmp_path: Path) -> None:
    account, end = new_account(sandbox), int(time.time()) - 1_000
    histories = [
        History(account, end - 7_200, end, seed, region) for seed, region in enumerate(("us-west-2", "eu-west-1"))
    ]
    for number, history in enumerate(histories):
        history.add(400 + number)
    with sandbox.switched(lookup_events_rate=0):
        ran = run(histories[0].arguments(tmp_path, regions=[history.region for history in histories]))
    for export, history in zip(ran.result["exports"], histories, strict=True):
        assert (export["region"], Path(export["folder"]).parent) == (history.region, tmp_path / history.region)
        check(Ran({"exports": [export]}, 0.0), history.truth)
