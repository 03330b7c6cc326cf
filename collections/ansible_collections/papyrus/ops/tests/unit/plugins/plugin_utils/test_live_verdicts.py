# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table at the end of a playbook (issue 8): how each run ended, and where its evidence is."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.papyrus.ops.plugins.plugin_utils.live_verdicts import NOT_CLOSED, Verdicts

FAILURE = {"step": "D1", "name": "dbcheck.log", "task": "Ask every path", "cause": "/dbcheck answered\n503 \x1b[2J"}


def test_each_run_has_its_verdict_first_failure_evidence_and_time(tmp_path: Path) -> None:
    now = [0.0]
    verdicts = Verdicts(lambda: now[0])
    passed, failed = tmp_path / "20260131T120000Z-abc234", tmp_path / "20260131T120001Z-xyz567"
    passed.mkdir()
    (passed / "report.html").touch()
    run = {"service": "papyrus-task-service", "guarded": True}
    verdicts.opened("prd", {"id": passed.name, "folder": str(passed), **run})
    verdicts.opened("second", {"id": failed.name, "service": "other", "folder": str(failed)})
    now[0] = 83.0
    verdicts.closed("prd", {"result": "PASSED", "first_failure": None})
    now[0] = 90.0
    verdicts.closed("second", {"result": "FAILED", "first_failure": FAILURE})
    now[0] = 200.0
    assert list(verdicts.table()) == [
        ("PASSED  prd     papyrus-task-service  20260131T120000Z-abc234  1:23", "PASSED"),
        (f"    evidence: {passed}", ""),
        (f"    report:   {passed}/report.html", ""),
        ("FAILED  second  other                 20260131T120001Z-xyz567  1:30", "FAILED"),
        ("    first failure: D1 dbcheck.log Ask every path: /dbcheck answered 503 \\x1b[2J", ""),
        (f"    evidence: {failed}", ""),
    ]


def test_a_run_that_nobody_closed_is_called_so(tmp_path: Path) -> None:
    verdicts = Verdicts(lambda: 0.0)
    verdicts.opened("prd", {"id": "one", "service": "s", "folder": str(tmp_path), "guarded": True})
    verdicts.closed("other", {"result": "PASSED"})
    [(head, result), (note, _plain), *_rest] = verdicts.table()
    assert head.startswith(f"{NOT_CLOSED}  prd") and result == NOT_CLOSED
    assert "its guard takes it down" in note


def test_a_verdict_is_about_the_last_run_of_its_host(tmp_path: Path) -> None:
    verdicts = Verdicts(lambda: 0.0)
    for host, name in (("prd", "one"), ("prd", "two"), ("other", "three")):
        verdicts.opened(host, {"id": name, "service": "s", "folder": str(tmp_path)})
    verdicts.closed("prd", {"result": "PASSED"})
    assert [text.split()[-2] + result for text, result in verdicts.table() if result] == [
        f"one{NOT_CLOSED}",
        "twoPASSED",
        f"three{NOT_CLOSED}",
    ]


def test_without_runs_there_is_no_table() -> None:
    assert list(Verdicts().table()) == []
