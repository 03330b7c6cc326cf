# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""SIGKILL in a burst of captures by four writers: the chain holds, is continued, sealed and verified (J1)."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._seal import seal
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import verdict
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
from evidence_check import check_chain
from sealed_bundles import make_key

COLLECTIONS = Path(__file__).resolve().parents[7]
BURST = Path(__file__).resolve().parents[2] / "evidence_burst.py"


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_J1_sigkills_during_a_burst_of_captures_by_four_writers(tmp_path: Path, kills: int) -> None:
    bundle = Bundle.create(tmp_path / "run", {"run_id": "20260131T120000Z-abc234", "service": "svc"})
    seed = random.randrange(10_000)
    command = [sys.executable, str(BURST), str(COLLECTIONS), str(bundle.folder), str(kills), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"seed {seed}: {done.stderr}"
    print(f"seed {seed}: {done.stdout}")
    figures = json.loads(done.stdout)

    Bundle(bundle.folder).recover()
    lines = check_chain(bundle.folder)
    assert len(lines) >= figures["lines"] > kills / 4
    noted = 0
    for file in tmp_path.glob("acknowledged-*"):
        for note in file.read_text().splitlines():
            seq, path, sha256 = note.split()
            assert (lines[int(seq)]["path"], lines[int(seq)]["sha256"]) == (path, sha256), f"seed {seed}: {note}"
            noted += 1
    assert noted > kills / 4

    judged = verdict(lines, {"step": "J1", "task": "burst", "cause": "the writers were killed"}, dirty=False)
    bundle.append("verdict.json", content_bytes(judged), status="ng", step="all", meta={"result": judged["result"]})
    key = make_key(tmp_path)
    assert seal(bundle, key.signer, by="evidence_seal", after_crash=True).result == "FAILED"
    found = verify(bundle.folder, [key.trusted])
    assert (found["result"], found["findings"]) == ("ok", [])
