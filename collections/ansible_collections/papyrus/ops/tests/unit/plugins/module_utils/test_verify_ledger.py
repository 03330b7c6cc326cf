# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bundles against the ledger: no failure can be discarded, nothing shown that was never announced (J1)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import Entry, FolderLedger, LedgerError
from ansible_collections.papyrus.ops.plugins.module_utils._names import rfc3339
from ansible_collections.papyrus.ops.plugins.module_utils._verify_ledger import against_ledger

NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
FIRST, SECOND, THIRD = "20260131T120000Z-abc234", "20260131T130000Z-abc235", "20260201T120000Z-abc236"
RUN_SHA, HEAD, SEAL = "11" * 32, "22" * 32, "33" * 32


def ledger_of(folder: Path, *runs: str, service: str = "svc", result: str = "PASSED") -> FolderLedger:
    for run in runs:
        began = dt.datetime.strptime(run[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=dt.UTC)
        ledger = FolderLedger(folder, now=lambda began=began: began + dt.timedelta(seconds=3))
        ledger.open(run, service, RUN_SHA)
        if result:
            ledger.close(run, result, HEAD, SEAL)
    return FolderLedger(folder)


def shown(run: str, **changes: Any) -> dict[str, Any]:
    bundle = {"run_id": run, "run_sha256": RUN_SHA, "attestation_sha256": SEAL, "folder": f"/runs/{run}"}
    return {**bundle, "result": "PASSED", "manifest_head": HEAD, **changes}


def classes(answer: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["class"], one["result"], one["run_id"]) for one in answer["findings"]]


def test_J1_all_that_was_opened_is_shown(tmp_path: Path) -> None:
    answer = against_ledger(ledger_of(tmp_path, FIRST, SECOND), [shown(FIRST), shown(SECOND)])
    assert answer["result"] == "ok" and not answer["findings"]
    assert (answer["opened"], answer["shown"], answer["never_shown"], answer["unclosed"]) == (2, 2, [], [])
    assert answer["where"] == str(tmp_path) and answer["protection"] == ""


def test_J1_a_failure_that_is_not_shown_is_named(tmp_path: Path) -> None:
    ledger_of(tmp_path, FIRST, result="FAILED")
    answer = against_ledger(ledger_of(tmp_path, SECOND), [shown(SECOND)])
    assert answer["result"] == "incomplete" and answer["never_shown"] == [FIRST]
    (found,) = answer["findings"]
    assert found["class"] == "never-shown" and FIRST in found["reason"] and "FAILED" in found["reason"]


def test_J1_a_run_that_was_never_opened_is_not_believed(tmp_path: Path) -> None:
    answer = against_ledger(ledger_of(tmp_path, FIRST), [shown(FIRST), shown(SECOND)])
    assert answer["result"] == "tampered" and classes(answer) == [("never-opened", "tampered", SECOND)]
    assert answer["findings"][0]["path"] == f"/runs/{SECOND}"
    (tmp_path / "none").mkdir()
    assert against_ledger(FolderLedger(tmp_path / "none"), [shown("../x")])["result"] == "tampered"


def test_J1_a_run_without_an_end_is_incomplete(tmp_path: Path) -> None:
    answer = against_ledger(ledger_of(tmp_path, FIRST, result=""), [shown(FIRST)])
    assert answer["result"] == "incomplete" and answer["unclosed"] == [FIRST]
    assert classes(answer) == [("unclosed", "incomplete", FIRST)]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"run_sha256": "44" * 32}, "run-differs"),
        ({"attestation_sha256": "44" * 32}, "attestation-differs"),
        ({"attestation_sha256": ""}, "attestation-differs"),
        ({"result": "WARNED"}, "result-differs"),
        ({"manifest_head": "44" * 32}, "manifest-differs"),
    ],
)
def test_J1_what_is_shown_must_be_what_was_announced_and_closed(
    tmp_path: Path, changes: dict[str, str], kind: str
) -> None:
    answer = against_ledger(ledger_of(tmp_path, FIRST), [shown(FIRST, **changes)])
    assert classes(answer) == [(kind, "tampered", FIRST)] and answer["result"] == "tampered"


def test_J1_a_seal_after_the_close_counts_when_the_manifest_is_the_same(tmp_path: Path) -> None:
    ledger = FolderLedger(tmp_path, now=lambda: NOON)
    ledger.open(FIRST, "svc", RUN_SHA)
    ledger.close(FIRST, "PASSED", HEAD)
    assert against_ledger(ledger, [shown(FIRST)])["result"] == "ok"
    answer = against_ledger(ledger, [shown(FIRST, manifest_head="")])
    assert classes(answer) == [("sealed-later", "incomplete", FIRST)]


def change(folder: Path, run: str, what: str, **changes: Any) -> None:
    path = folder / f"{run}.{what}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("what", "changes", "says"),
    [
        ("opened", {"run_id": SECOND}, f"the entry opened speaks of run {SECOND}"),
        ("closed", {"run_id": SECOND}, f"the entry closed speaks of run {SECOND}"),
        ("opened", {"opened_at": rfc3339(NOON + dt.timedelta(minutes=16))}, "announced at 2026-01-31T12:16:00Z"),
        ("opened", {"opened_at": "noon"}, "the entry opened has no time"),
        ("closed", {"closed_at": None}, "the entry closed has no time"),
        ("closed", {"result": "GREAT"}, "'GREAT', which is no result"),
        ("opened", {"run_sha256": ""}, "no hash of run.json"),
    ],
)
def test_J1_an_entry_that_was_not_written_by_a_run_is_named(
    tmp_path: Path, what: str, changes: dict[str, Any], says: str
) -> None:
    ledger = ledger_of(tmp_path, FIRST)
    change(tmp_path, FIRST, what, **changes)
    answer = against_ledger(ledger, [])
    found = [one for one in answer["findings"] if one["class"] == "ledger-entry"]
    assert answer["result"] == "tampered" and len(found) == 1 and says in found[0]["reason"]


class StoredLater(FolderLedger):
    """As S3 has it: the store itself says when an entry came."""

    def runs(self, since: dt.datetime | None = None, until: dt.datetime | None = None) -> Iterator[Entry]:
        return (replace(entry, stored_at=NOON + dt.timedelta(hours=1)) for entry in super().runs(since, until))


def test_J1_a_run_that_was_announced_once_it_had_gone_well_is_named(tmp_path: Path) -> None:
    """Its entry is dated back; the store knows better."""
    ledger_of(tmp_path, FIRST)
    assert against_ledger(FolderLedger(tmp_path), [shown(FIRST)])["result"] == "ok"
    answer = against_ledger(StoredLater(tmp_path), [shown(FIRST)])
    assert classes(answer) == [("ledger-entry", "tampered", FIRST)]
    assert "the store says that it was announced at 2026-01-31T13:00:00Z" in answer["findings"][0]["reason"]


def test_J1_a_run_whose_opening_vanished_or_is_garbled_is_named(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, FIRST, SECOND)
    (tmp_path / f"{FIRST}.opened.json").unlink()
    (tmp_path / f"{SECOND}.opened.json").write_text("[")
    answer = against_ledger(ledger, [shown(FIRST), shown(SECOND)], service="svc")
    assert answer["result"] == "tampered" and answer["opened"] == 2
    assert {one["run_id"] for one in answer["findings"] if one["class"] == "ledger-entry"} == {FIRST, SECOND}


def test_J1_an_end_that_is_garbled_is_not_a_run_under_way(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, FIRST)
    (tmp_path / f"{FIRST}.closed.json").write_text("[")
    answer = against_ledger(ledger, [shown(FIRST)])
    assert answer["result"] == "tampered" and ("ledger-entry", "tampered", FIRST) in classes(answer)


def test_J1_all_runs_of_one_service_since_a_time(tmp_path: Path) -> None:
    ledger_of(tmp_path, FIRST, SECOND)
    ledger_of(tmp_path, THIRD, service="other")
    ledger = FolderLedger(tmp_path)
    assert against_ledger(ledger, [])["never_shown"] == [FIRST, SECOND, THIRD]
    assert against_ledger(ledger, [], service="svc")["never_shown"] == [FIRST, SECOND]
    since = NOON + dt.timedelta(minutes=1)
    assert against_ledger(ledger, [], service="svc", since=since)["never_shown"] == [SECOND]
    assert against_ledger(ledger, [], until=NOON)["never_shown"] == [FIRST]
    earlier = against_ledger(ledger, [shown(FIRST, run_sha256="44" * 32)], since=NOON + dt.timedelta(hours=12))
    assert earlier["never_shown"] == [THIRD] and ("run-differs", "tampered", FIRST) in classes(earlier)


def test_J1_a_ledger_that_cannot_be_trusted_is_said(tmp_path: Path) -> None:
    class Unlocked(FolderLedger):
        def check(self, *, read_only: bool = False) -> str:
            raise LedgerError("no Object Lock")

    answer = against_ledger(Unlocked(tmp_path), [])
    assert classes(answer) == [("ledger-unsafe", "incomplete", "")] and answer["result"] == "incomplete"


def test_J1_a_wrong_path_of_the_ledger_accuses_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in ("file", "nowhere"):
        with pytest.raises(LedgerError, match="there is no ledger at .*Check its path"):
            against_ledger(FolderLedger(tmp_path / place), [shown(FIRST)])


def test_J1_a_reader_needs_no_right_to_write(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, FIRST)
    tmp_path.chmod(0o555)
    try:
        assert against_ledger(ledger, [])["never_shown"] == [FIRST]
    finally:
        tmp_path.chmod(0o755)


def test_J1_hostile_words_of_an_entry_do_not_reach_a_terminal(tmp_path: Path) -> None:
    ledger = ledger_of(tmp_path, FIRST)
    change(tmp_path, FIRST, "opened", service="\x1b[2Jsvc\u202e")
    reasons = "".join(one["reason"] for one in against_ledger(ledger, [])["findings"])
    assert "\\x1b[2J" in reasons and reasons.isprintable()
