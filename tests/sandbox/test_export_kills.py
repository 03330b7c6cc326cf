"""cloudtrail_export killed at random: what is on disk is not asked for again, and in the end all is there (K1)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.audit_support import new_account
from tests.sandbox.export_stand import History, Ran, check, last_call, lookups, rfc3339
from tests.sandbox.support import CHECKOUT, Sandbox

KILLS = CHECKOUT / "tests" / "sandbox" / "export_kills.py"
LANES = 3


def asked(call: dict[str, Any]) -> tuple[str, str, str]:
    """(key of the unit, its end, token) of a look-up."""
    given = call["parameters"]
    return rfc3339(float(given["StartTime"])), rfc3339(float(given["EndTime"])), given.get("NextToken", "")


def went_on_from_the_journal(before: dict[str, Any], calls: list[dict[str, Any]]) -> int:
    """A try asked first of each unit what the journal of the one before says is next; how many units were checked."""
    (units,) = before["unfinished"].values()
    seen, checked = set(), 0
    for key, end, token in map(asked, calls):
        if key in seen:
            continue
        seen.add(key)
        if key in units:
            next_token, done, _pages, left = units[key]
            assert not done, f"{key} was done and is asked again"
            assert token == next_token, f"{key} goes on elsewhere"
            assert left is None or end == rfc3339(left["end"])
            checked += 1
        else:
            assert token == ""
    return checked


@pytest.mark.parametrize(
    "kills", [10, pytest.param(50, marks=pytest.mark.soak), pytest.param(200, marks=pytest.mark.soak)]
)
def test_K1_killed_at_random_it_goes_on_and_asks_for_nothing_twice(
    sandbox: Sandbox, tmp_path: Path, kills: int
) -> None:
    end = int(time.time()) - 1_000
    history = History(new_account(sandbox), end - 5 * 3600, end)
    history.add(500)
    # The full hours are the bounds of windows: both of two neighbours find these.
    history.add(
        250, [history.start, history.end - history.end % 3600, history.end - history.end % 3600 - 7200, history.end]
    )
    seed, after = random.randrange(100_000), last_call(sandbox)
    arguments = history.arguments(tmp_path / "out", rate=150, lanes=LANES, filter={"users": ["deploy-1"]})
    (tmp_path / "out").mkdir()
    notes = tmp_path / "notes.jsonl"
    with sandbox.switched(lookup_events_rate=0):
        command = [sys.executable, str(KILLS), json.dumps(arguments), str(kills), str(seed), str(notes)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, f"seed {seed}: {done.stderr[-3000:]}"
    tries = [json.loads(line) for line in notes.read_text().splitlines()]
    assert sum(one["killed"] for one in tries) == kills
    calls, checked = lookups(sandbox, history.account.number, after), 0
    assert {call["status"] for call in calls} == {200}
    for before, this in zip(tries, tries[1:], strict=False):
        if before["unfinished"]:
            own = f" try-{this['pid']}"
            checked += went_on_from_the_journal(before, [call for call in calls if call["user_agent"].endswith(own)])
    assert checked >= kills / 2, f"seed {seed}"

    finished = [
        json.loads(file.read_text()) | {"file": file} for file in (tmp_path / "out").glob("*/completeness.json")
    ]
    assert finished
    for report in finished:
        folder = report.pop("file").parent
        files = [{**file, "path": str(folder / file["name"])} for file in report["files"]]
        export = {"report": report, "files": files, "completeness": str(folder / "completeness.json")}
        check(Ran({"exports": [export]}, 0.0), history.truth)
        # Killed between the report and their removal, these two stay.
        names = {file.name for file in folder.iterdir()} - {".journal.jsonl", ".request.json"}
        assert names == {"completeness.json", *(file["name"] for file in report["files"])}
    # An answer that was under way at a kill is asked for again, and nothing else.
    pages = sum(report["counts"]["pages"] for report in finished)
    assert pages <= len(calls) <= pages + LANES * kills
    print(f"seed {seed}: {kills} kills, {len(tries)} tries, {len(finished)} exports, {pages} pages, {len(calls)} calls")
