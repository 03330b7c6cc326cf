# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What EVIDENCE.md says of a manifest, checked from the bytes alone: nothing of the code under test is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def check_chain(folder: Path, foreign: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Every line in its form, chained, with its bytes; and no file in the folder but those and `foreign`."""
    raw = (folder / "manifest.jsonl").read_bytes()
    assert raw.endswith(b"\n")
    lines = raw[:-1].split(b"\n")
    prev, parsed = "0" * 64, []
    for seq, line in enumerate(lines):
        entry = json.loads(line)
        assert list(entry) == sorted(entry) and b": " not in line.split(b'"meta"')[0]
        assert set(entry) == {
            "seq", "prev", "at", "name", "path", "media_type", "bytes", "sha256", "status", "step", "meta",
        }  # fmt: skip
        assert (entry["seq"], entry["prev"]) == (seq, prev)
        data = (folder / entry["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])
        prev = hashlib.sha256(line).hexdigest()
        parsed.append(entry)
    assert len({entry["path"] for entry in parsed}) == len(parsed)
    listed = {entry["path"] for entry in parsed} | {"manifest.jsonl"} | set(foreign)
    assert {path.name for path in folder.iterdir()} == listed
    return parsed
