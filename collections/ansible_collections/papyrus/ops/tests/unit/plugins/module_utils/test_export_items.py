# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of an export becomes evidence, and when that is NG or SKIP (K1-K3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.filter.export_items import FilterModule
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._evidence_items import capture, item
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import verdict

export_items = FilterModule().filters()["export_items"]
ASKED = {"name": "cloudtrail_24h", "things": "events", "step": "K2", "derived": "papyrus"}


def made(folder: Path, region: str = "us-west-2", **more: Any) -> dict[str, Any]:
    names = ["events.jsonl.gz", "events.papyrus.jsonl.gz"]
    for name in names:
        (folder / name).write_bytes(b"\x1f\x8b\x08" + name.encode())
    (folder / "completeness.json").write_text('{"complete":true}')
    files = [
        {"name": name, "path": str(folder / name), "lines": 1234 // number} for number, name in enumerate(names, 1)
    ]
    return {
        "region": region, "folder": str(folder), "complete": True, "settled": True, "resumed": False, "reason": "",
        "written": 1234,
        "files": files, "completeness": str(folder / "completeness.json"),
        "report": {"start": "2026-01-30T12:00:00Z", "end": "2026-01-31T12:00:00Z"}, **more,
    }  # fmt: skip


def kept(folder: Path, result: dict[str, Any], **asked: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Manifest lines without run.json, and the verdict when nothing else was in the run."""
    bundle = Bundle.create(folder / "run", {})
    lines = capture(bundle, [item(one) for one in export_items(result, **{**ASKED, **asked})])
    return lines, verdict(bundle.lines())


def rows(line: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(row["id"], row["status"], row["reason"]) for row in line["meta"]["rows"]]


def test_K2_a_complete_export_is_kept_byte_for_byte_and_ok(tmp_path: Path) -> None:
    lines, said = kept(tmp_path, {"exports": [made(tmp_path)]})
    assert [(line["name"], line["status"]) for line in lines] == [
        ("cloudtrail_24h.jsonl.gz", "info"), ("cloudtrail_24h.papyrus.jsonl.gz", "info"), ("completeness.json", "ok"),
    ]  # fmt: skip
    assert (tmp_path / "run" / lines[0]["path"]).read_bytes() == b"\x1f\x8b\x08events.jsonl.gz"
    assert (tmp_path / "run" / lines[2]["path"]).read_bytes() == b'{"complete":true}'
    assert rows(lines[2]) == [("K2", "ok", "1,234 events, no gap from 2026-01-30T12:00:00Z to 2026-01-31T12:00:00Z")]
    assert lines[1]["meta"]["reason"] == "617 lines" and said["result"] == "PASSED"


def test_K2_an_export_that_is_not_settled_is_a_skip_which_the_inventory_has_to_allow(tmp_path: Path) -> None:
    lines, said = kept(tmp_path, {"exports": [made(tmp_path, settled=False)]})
    assert [row[:2] for row in rows(lines[-1])] == [("K2", "ok"), ("K2.late", "skip")]
    assert said["result"] == "FAILED"
    assert verdict(Bundle(tmp_path / "run").lines(), allowed_skips=["K2.late"])["result"] == "WARNED"


def test_K2_an_export_that_was_gone_on_with_says_so_beside_its_span(tmp_path: Path) -> None:
    lines, said = kept(tmp_path, {"exports": [made(tmp_path, resumed=True)]})
    assert rows(lines[-1])[0][2].endswith("to 2026-01-31T12:00:00Z; begun by an earlier run, which was interrupted")
    assert said["result"] == "PASSED"


def test_K2_an_export_that_stopped_is_ng_with_its_reason_and_what_is_known(tmp_path: Path) -> None:
    stopped = {"complete": False, "settled": False, "files": [], "completeness": "", "reason": "ExpiredToken."}
    result = {"failed": True, "msg": "stopped", "exports": [made(tmp_path, **stopped)]}
    lines, said = kept(tmp_path, result)
    assert [line["name"] for line in lines] == ["completeness.json"]
    assert rows(lines[0]) == [("K2", "ng", "ExpiredToken.")] and said["result"] == "FAILED"
    assert json.loads((tmp_path / "run" / lines[0]["path"]).read_text())["end"] == "2026-01-31T12:00:00Z"


def test_K2_an_export_with_a_gap_keeps_its_files_and_is_ng(tmp_path: Path) -> None:
    lines, dummy = kept(tmp_path, {"msg": "not complete: a gap", "exports": [made(tmp_path, complete=False)]})
    assert len(lines) == 3 and rows(lines[2]) == [("K2", "ng", "not complete: a gap")]


@pytest.mark.parametrize("result", [{"msg": "refused"}, {"msg": "refused", "exports": []}])
def test_K2_a_module_that_was_refused_is_ng(tmp_path: Path, result: dict[str, Any]) -> None:
    lines, said = kept(tmp_path, result)
    assert rows(lines[0]) == [("K2", "ng", "refused")] and said["result"] == "FAILED"


def test_K2_several_regions_have_names_of_their_own_and_one_that_failed_is_ng(tmp_path: Path) -> None:
    refused = {"region": "xx-1", "folder": "", "complete": False, "settled": False, "items": 0, "files": []}
    refused |= {"reason": "no such region", "completeness": "", "report": {}}
    lines, dummy = kept(tmp_path, {"exports": [made(tmp_path), refused]})
    assert [line["name"] for line in lines] == [
        "cloudtrail_24h.us-west-2.jsonl.gz", "cloudtrail_24h.us-west-2.papyrus.jsonl.gz",
        "completeness.json", "completeness.json",
    ]  # fmt: skip
    assert [line["meta"]["region"] for line in lines[2:]] == ["us-west-2", "xx-1"]
    assert rows(lines[2])[0][2].startswith("us-west-2: 1,234 events, no gap")
    assert rows(lines[3]) == [("K2", "ng", "xx-1: no such region")]


def test_K1_of_an_addendum_only_the_runs_own_records_are_kept(tmp_path: Path) -> None:
    lines, dummy = kept(tmp_path, {"exports": [made(tmp_path)]}, name="cloudtrail_run", only_derived=True)
    assert [line["name"] for line in lines] == ["cloudtrail_run.jsonl.gz", "completeness.json"]
    assert (tmp_path / "run" / lines[0]["path"]).read_bytes() == b"\x1f\x8b\x08events.papyrus.jsonl.gz"
