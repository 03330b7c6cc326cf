# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Items as playbooks give them: rows, reasons, files of any size, errors that say what to do (J1)."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, BundleClosed
from ansible_collections.papyrus.ops.plugins.module_utils._evidence_items import (
    capture,
    explained,
    item,
    phase_item,
    predicted,
)
from ansible_collections.papyrus.ops.plugins.module_utils._locks import LockTimeout
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.tests.unit.peak_memory import PEAK
from evidence_check import check_chain

COLLECTIONS = Path(__file__).resolve().parents[7]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "run", {})


def test_J1_rows_give_the_status_and_are_the_content() -> None:
    rows = [{"id": "B1", "status": "ok"}, {"id": "B2", "status": "skip", "reason": "no\n secret  " + "x" * 500}]
    made = item({"name": "rows.json", "step": "B", "rows": rows})
    assert (made.status, made.media_type) == ("ok", "application/json")
    assert made.meta["rows"][1]["reason"].startswith("no secret xxx") and len(made.meta["rows"][1]["reason"]) == 400
    assert item({"name": "r.json", "step": "B", "rows": [*rows, {"id": "B3", "status": "ng"}]}).status == "ng"
    assert item({"name": "x.log", "step": "B", "content": "é"}).data == "é".encode()
    assert item({"name": "x.jsonl", "step": "B", "content": [{"b": 1, "a": 2}, "x"]}).data == b'{"a": 2, "b": 1}\n"x"\n'


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"step": "B", "content": "x"}, "needs name and step"),
        ({"name": "x.log", "content": "x"}, "needs name and step"),
        ({"name": "x.log", "step": "B"}, "x.log has neither content nor src nor rows"),
        ({"name": "x.log", "step": "B", "content": "x", "src": "y"}, "x.log has both src and content"),
        ({"name": "x.log", "step": "B", "src": "/nowhere/y"}, "x.log: there is no plain file /nowhere/y on the host"),
        ({"name": "x.log", "step": "B", "src": "/"}, "x.log: there is no plain file / on the host"),
        ({"name": "x.log", "step": "B", "src": "/dev/zero"}, "there is no plain file /dev/zero"),
        ({"name": "x.log", "step": "B", "content": "x", "status": "good"}, "the status 'good' of x.log must be one of"),
        ({"name": "x.log", "step": "B", "rows": [{"id": "B", "status": "fine"}]}, "row of x.log has the status 'fine'"),
        ({"name": "x.log", "step": "B", "rows": [{"status": "ok"}]}, "a row of x.log has no id"),
        ({"name": "x.log", "step": "B", "content": "x", "status": "skip"}, "x.log is skipped without a reason"),
        ({"name": "x.log", "step": "B", "rows": [{"id": "B7", "status": "skip"}]}, "x.log, B7 is skipped without"),
    ],
)  # fmt: skip
def test_J1_what_cannot_be_evidence(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        item(spec)


def test_J1_a_phase_is_an_item_of_the_timeline() -> None:
    made = phase_item({"name": "terraform apply", "event": "start"})
    assert (made.name, made.status, made.meta) == (
        "phase.json", "info", {"phase": "terraform apply", "event": "start"},
    )  # fmt: skip
    for wrong in ({"name": "x", "event": "middle"}, {"event": "end"}):
        with pytest.raises(ValueError, match="a phase needs a name"):
            phase_item(wrong)


def test_J1_a_file_is_copied_redacted_and_predicted(bundle: Bundle, tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.add("db-password", "hunter22")
    (tmp_path / "big.log").write_bytes(b"line with hunter22\n" * 100_000)
    made = item({"name": "big.log", "step": "D1", "src": str(tmp_path / "big.log")})
    raw = (tmp_path / "big.log").read_bytes()
    [foreseen] = predicted([made])
    assert (foreseen["bytes"], foreseen["sha256"]) == (len(raw), hashlib.sha256(raw).hexdigest())
    [line] = capture(Bundle(bundle.folder, redactor), [made])
    check_chain(bundle.folder)
    data = bundle.data(line)
    assert data == redactor.redact(raw) and b"hunter22" not in data
    assert data.count(b"\n") == data.count(b"line with [redacted:db-password:") == 100_000


def test_J1_a_file_that_goes_away_or_becomes_another_thing_is_not_evidence(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"x")
    made = item({"name": "x.log", "step": "D1", "src": str(tmp_path / "x")})
    (tmp_path / "x").unlink()
    with pytest.raises(FileNotFoundError):
        capture(bundle, [made])
    os.mkfifo(tmp_path / "x")
    with pytest.raises(ValueError, match="is no plain file"):
        capture(bundle, [made])
    assert [line["name"] for line in check_chain(bundle.folder)] == ["run.json"]


def test_J1_what_was_captured_before_an_error_is_known(bundle: Bundle) -> None:
    good = item({"name": "first.log", "step": "D1", "content": "x"})
    bad = item({"name": "no/item", "step": "D1", "content": "x"})
    lines: list[dict[str, Any]] = []
    with pytest.raises(ValueError, match="no/item"):
        capture(bundle, [good, bad, good], lines)
    assert [line["name"] for line in lines] == ["first.log"]


MEMORY = (
    PEAK
    + """
import hashlib, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
folder, megabytes, real = Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "redacted"
redactor = Redactor()
redactor.add("db-password", "hunter22")
if not real:
    redactor.stream = lambda chunks: chunks
bundle = Bundle.create(folder / "run", {}, redactor)
block = (b"2026-01-31T12:00:00Z GET /healthz 200 in 3 ms from 10.0.0.1 trace=abcdef0123456789\\n" * 13000)[: 1 << 20]
with open(folder / "big", "wb") as file:
    for _each in range(megabytes):
        file.write(block)
(folder / "small").write_bytes(block)
bundle.append("small.log", folder / "small", status="ok", step="D1")
before = peak()
line = bundle.append("big.log", folder / "big", status="ok", step="D1")
assert line["bytes"] == megabytes << 20, line
print(peak() - before)
"""
)


@pytest.mark.parametrize(
    ("megabytes", "how"),
    [(300, "as it is"), (12, "redacted"), pytest.param(300, "redacted", marks=pytest.mark.soak)],
)
def test_J1_memory_does_not_grow_with_a_file(tmp_path: Path, megabytes: int, how: str) -> None:
    command = [sys.executable, "-c", MEMORY, str(COLLECTIONS), str(tmp_path), str(megabytes), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 10 * 1024, "KiB more than for a file of 1 MiB"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the bundle is as it was before; free space"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "may not write there"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "may not write there"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/p/redaction.key"), "the run-private folder is gone"),
        (BundleClosed("has its verdict"), "belongs into another run"),
        (LockTimeout("is locked by another process (pid 7)"), "pid 7.*run this again once it is free"),
        (ValueError("the item name is wrong"), "^the item name is wrong$"),
        (OSError(errno.EIO, "Input/output error"), "^.Errno 5. Input/output error$"),
    ],
)
def test_J1_errors_say_what_to_do(error: Exception, said: str) -> None:
    assert re.search(said, explained(error)), explained(error)


@pytest.mark.parametrize("as_file", [True, False])
def test_J1_compressed_bytes_stay_as_they_are_whatever_they_look_like(
    bundle: Bundle, tmp_path: Path, as_file: bool
) -> None:
    like_a_secret = gzip.compress(b"{}\n") + gzip.compress(b"password=hunter2-hunter2\n", compresslevel=0)
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(like_a_secret)
    line = bundle.append("events.jsonl.gz", path if as_file else like_a_secret, status="ok", step="K1")
    assert (line["media_type"], line["sha256"]) == ("application/gzip", hashlib.sha256(like_a_secret).hexdigest())
    assert bundle.data(line) == like_a_secret


def test_J1_text_that_only_has_the_name_of_something_compressed_is_redacted(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl.gz"
    path.write_bytes(b"password=hunter2-hunter2\n")
    assert b"hunter2" not in bundle.data(bundle.append("events.jsonl.gz", path, status="ok", step="K1"))
    compressed = gzip.compress(b"password=hunter2-hunter2\n", compresslevel=0)
    assert b"hunter2" not in bundle.data(bundle.append("events.log", compressed, status="ok", step="K1"))
