# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What happened to a manifest is told by its right name, and of the right line (N4)."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, canonical
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import (
    Key,
    manifest_lines,
    run_bundle,
    write,
)

ATTESTATION = "attestation.dsse.json"

pytestmark = pytest.mark.usefixtures("not_for_keeping")


def said(result: dict[str, Any]) -> list[tuple[str, str]]:
    return [(finding["class"], finding["path"]) for finding in result["findings"]]


def _lines(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    write(folder / "manifest.jsonl", b"".join(change(manifest_lines(folder))))


@pytest.mark.parametrize(
    ("change", "kind", "seq", "reason"),
    [
        (lambda lines: lines[:2] + lines[3:], "gap", 2, "line 2 was taken out"),
        (lambda lines: lines[:1] + lines[4:], "gap", 1, "the lines 1 to 3 were taken out"),
        (lambda lines: lines[1:], "gap", 0, "line 0 was taken out"),
        (lambda lines: lines[:-2] + lines[-1:], "gap", None, "was taken out"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "reordered", 1, "the lines 1 to 2 are not in"),
        (lambda lines: lines[:-2], "truncated", None, "2 of its lines, or more, were cut off"),
        (lambda lines: [*lines[:-1], lines[-1][:-9]], "torn", None, "not complete"),
        (lambda lines: [*lines[:2], lines[1], *lines[2:]], "invalid", None, "line 3 (number 1) stands twice"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"status":"', b'"status":"ok'), *lines[3:]], "invalid", None,
         "line 3 has a status"),
        (lambda lines: [*lines[:2], lines[2].replace(b":12:0", b":13:0", 1).replace(b"T12:", b"T13:"), *lines[3:]],
         "invalid", 2, "line 3 has other bytes than the lines around it say"),
    ],
)  # fmt: skip
def test_N4_what_happened_to_the_manifest_is_told(
    folder: Path, key: Key, change: Any, kind: str, seq: int | None, reason: str
) -> None:
    _lines(folder, change)
    result = verify(folder, [key.trusted])
    assert said(result) == [(kind, "manifest.jsonl")], result["findings"]
    [finding] = result["findings"]
    assert reason in finding["reason"] and (seq is None or finding["seq"] == seq)


FIELDS: dict[str, Any] = {
    "seq": [1, 2, 3, 4, 57, 10**15], "prev": ["00" * 32, "ab" * 32], "at": ["2031-01-31T12:00:00.000000Z"],
    "status": ["skip"], "step": ["Z9"], "bytes": [10**6], "sha256": ["ab" * 32], "media_type": ["text/x-other"],
    "meta": [{"reason": "another"}],
}  # fmt: skip


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("at", [0, 1, 2, -2, -1])
@pytest.mark.parametrize("field", FIELDS)
def test_N4_a_line_with_another_value_is_invalid_and_no_other_line_is_accused(
    folder: Path, key: Key, field: str, at: int, sealed: bool
) -> None:
    """Without a seal only SHA256SUMS is there to tell: it has the hash of the manifest."""
    if not sealed:
        (folder / ATTESTATION).unlink()
    lines = manifest_lines(folder)
    was = json.loads(lines[at])
    for value in FIELDS[field]:
        if was[field] == value:
            continue
        changed = [*lines]
        changed[at] = canonical({**was, field: value}) + b"\n"
        write(folder / "manifest.jsonl", b"".join(changed))
        result = verify(folder, [key.trusted])
        found = [each for each in result["findings"] if each["class"] != "unsealed"]
        assert [(each["class"], each["path"]) for each in found] == [("invalid", "manifest.jsonl")], (value, found)
        if at != -1 and field not in ("seq", "prev"):
            assert found[0]["seq"] == was["seq"], found


def test_N4_the_beginning_of_another_run_is_not_taken_for_a_truncated_manifest(
    tmp_path: Path, folder: Path, key: Key
) -> None:
    other = run_bundle(tmp_path / "other", random.Random(8), ended=False)
    write(folder / "manifest.jsonl", other.manifest.read_bytes())
    assert said(verify(folder, [key.trusted])) == [("invalid", "manifest.jsonl")]


def test_N4_the_only_line_of_a_run_that_died_begins_its_chain(tmp_path: Path, key: Key) -> None:
    bundle = Bundle.create(tmp_path / "runs" / "20260131T120000Z-abc234", {"run_id": "20260131T120000Z-abc234"})
    assert said(verify(bundle.folder, [key.trusted])) == [("unsealed", ATTESTATION)]
    line = json.loads(bundle.manifest.read_bytes())
    write(bundle.manifest, canonical({**line, "prev": "ab" * 32}) + b"\n")
    assert said(verify(bundle.folder, [key.trusted])) == [("invalid", "manifest.jsonl"), ("unsealed", ATTESTATION)]
