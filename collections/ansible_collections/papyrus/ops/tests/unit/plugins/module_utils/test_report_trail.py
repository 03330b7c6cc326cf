# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of an audit: what was exported, what is missing, whose bundle was added to (J1, K1, N4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._report import model, report_html

SHA = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
COMPLETE: dict[str, Any] = {
    "source": "CloudTrail's event history of 123456789012 in us-west-2",
    "start": "2026-01-30T12:00:00Z", "end": "2026-01-31T12:00:00Z", "gaps": [], "requests": 33, "throttles": 2,
    "retries": {"unanswered": 1}, "rate": {"set": 2.0, "reached": 1.98},
    "counts": {"items": 1431, "malformed": 1, "duplicates": 0}, "windows": [{"events": 1431}, {"events": 0}],
    "files": [{"name": "cloudtrail_events_x.jsonl.gz", "bytes": 49900, "lines": 1431, "sha256": SHA}],
}  # fmt: skip
ADDED = {
    "of": {"run_id": "20260131T120000Z-abc234", "verdict": "PASSED", "manifest_sha256": SHA},
    "request_ids": {"asked": 61, "found": 60},
    "created": [{"resource": "sg-1", "created_at": "2026-01-31T12:00:01Z", "deleted_at": None}],
}
OK_ROW = {"id": "K2", "status": "ok", "reason": "1,431 events, no gap"}


def shown(folder: Path, *items: tuple[str, Any, list[dict[str, str]]], playbook: str = "audit_export") -> Any:
    """The page's model and its text."""
    bundle = Bundle.create(folder / "run", {"run_id": "x", "playbook": playbook})
    for name, content, rows in items:
        status = max((row["status"] for row in rows), key=["skip", "ok", "ng"].index) if rows else "info"
        meta = {"rows": rows, "export": "cloudtrail"}
        bundle.append(name, content_bytes(content), status=status, step="K2", meta=meta)
    view = BundleView.of(bundle)
    made = model(view, {})
    assert made["broken"] == []
    return made, report_html(view, {}).decode()


def claims(made: Any) -> list[tuple[str, str]]:
    return [(claim.status, claim.title) for claim in made["s"].claims]


def test_K2_an_export_is_shown_with_its_counts_its_pace_and_its_files(tmp_path: Path) -> None:
    made, page = shown(tmp_path, ("completeness.json", COMPLETE, [OK_ROW]))
    [export] = made["trail"].exports
    assert export.counted == "1,431 lines, 2 windows, 1 of them empty, 1 that were no record of their source"
    assert export.asked == "33 requests, 1.98 a second (at most 2 were allowed), 2 throttled, 1 tried again"
    assert export.files == [("cloudtrail_events_x.jsonl.gz", "49.9 kB", "1,431", SHA)]
    assert claims(made) == [("ok", "Nothing is missing in what was exported")]
    assert 'id="trail"' in page and SHA in page and "That AWS recorded everything" in page
    assert made["chain"] is None and "What is not proved" in page and "The app&#39;s own word" not in page
    assert [lane.name for lane in made["timeline"].lanes] == ["cloudtrail export", "The run itself"]


def test_K2_a_gap_and_what_may_still_come_are_on_the_first_screen(tmp_path: Path) -> None:
    gap = {"start": "2026-01-30T13:00:00Z", "end": "2026-01-30T14:00:00Z", "reason": "not read"}
    made, page = shown(
        tmp_path,
        ("completeness.json", {**COMPLETE, "gaps": [gap]}, [{"id": "K2", "status": "ng", "reason": "a gap"}]),
        ("completeness.json", COMPLETE, [OK_ROW, {"id": "K2.late", "status": "skip", "reason": "read too early"}]),
    )
    assert claims(made) == [("ng", "Nothing is missing in what was exported")]
    assert "2026-01-30T13:00:00Z to 2026-01-30T14:00:00Z: not read" in page
    only_late, dummy = shown(
        tmp_path / "late", ("completeness.json", COMPLETE, [OK_ROW, {"id": "x", "status": "skip", "reason": "early"}])
    )
    assert claims(only_late)[0][0] == "skip"


def test_N4_an_addendum_names_the_bundle_and_what_is_not_gone(tmp_path: Path) -> None:
    rows = [
        {"id": "N4", "status": "ok", "reason": "as it was sealed"},
        {"id": "K1", "status": "ng", "reason": "CloudTrail has no DeleteSecurityGroup"},
    ]
    made, page = shown(tmp_path, ("addendum.json", ADDED, rows))
    assert claims(made) == [
        ("ok", "The bundle that is added to is as it was sealed"), ("ng", "CloudTrail bears the run out"),
    ]  # fmt: skip
    added = made["trail"].added
    assert added.created == [("ng", "sg-1", "2026-01-31T12:00:01Z", "not deleted")]
    assert ("SHA-256 of its manifest", SHA) in added.facts and (
        "Request ids",
        "60 of 61 are in CloudTrail",
    ) in added.facts
    assert "20260131T120000Z-abc234" in page


def test_N4_an_addendum_that_could_not_be_made_says_so(tmp_path: Path) -> None:
    made, dummy = shown(tmp_path, ("addendum.json", {"reason": "tampered"}, []))
    assert claims(made) == [
        ("info", "The bundle that is added to is as it was sealed"), ("none", "CloudTrail bears the run out"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "hostile",
    [[], "x", None, {"counts": [], "windows": "x", "rate": 1, "gaps": {"a": 1}, "files": [1, {"bytes": "x"}]},
     {"retries": {"a": "b"}, "rate": {"set": "x"}, "counts": {"resources": "x"}, "of": 3, "created": [None, {}]}],
)  # fmt: skip
def test_J1_a_garbled_item_breaks_no_part_of_the_page(tmp_path: Path, hostile: Any) -> None:
    rows = [{"id": "<b>", "status": "ok", "reason": "<script>"}]
    made, page = shown(tmp_path, ("completeness.json", hostile, rows), ("addendum.json", hostile, []))
    assert made["trail"] is not None and "<script>" not in page


def test_J1_runs_without_exports_have_no_such_part(tmp_path: Path) -> None:
    made, page = shown(tmp_path, playbook="alb_smoke")
    assert made["trail"] is None and 'id="trail"' not in page
    assert made["chain"] is not None and "The app&#39;s own word" in page
