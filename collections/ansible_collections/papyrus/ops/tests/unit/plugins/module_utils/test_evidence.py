# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundle: hash chain, crash safety, several writers, what cannot be evidence (J1, N4; EVIDENCE.md)."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _evidence, _locks
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, BundleClosed, BundleError
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor

NOON = dt.datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=dt.UTC)
COLLECTIONS = Path(__file__).resolve().parents[7]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "run", {"run_id": "x", "service": "svc"}, now=lambda: NOON)


def check_chain(folder: Path) -> list[dict[str, Any]]:
    """Independent of the code under test: every line of EVIDENCE.md's manifest, verified from the bytes."""
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
    listed = {entry["path"] for entry in parsed} | {"manifest.jsonl"}
    assert {path.name for path in folder.iterdir()} == listed
    return parsed


def test_J1_items_are_chained_from_run_json_on(bundle: Bundle) -> None:
    line = bundle.append("healthz.log", b"HTTP/1.1 200 OK\n", status="ok", step="D1", meta={"request_ids": ["r-1"]})
    bundle.append("terraform.tfstate", b"{}", status="info", step="D2", at="2026-01-31T13:00:00+01:00")
    lines = check_chain(bundle.folder)
    assert [entry["name"] for entry in lines] == ["run.json", "healthz.log", "terraform.tfstate"]
    assert lines[1] == line
    assert (line["path"], line["media_type"], line["at"]) == (
        "20260131T120000Z_healthz.log", "text/plain", "2026-01-31T12:00:00.123456Z",
    )  # fmt: skip
    assert lines[2]["at"] == "2026-01-31T12:00:00.000000Z"
    assert bundle.head() == hashlib.sha256((bundle.folder / "manifest.jsonl").read_bytes().split(b"\n")[2]).hexdigest()


def test_J1_the_same_name_in_the_same_moment_gets_a_path_of_its_own(bundle: Bundle) -> None:
    paths = [bundle.append("x.log", str(i).encode(), status="ok", step="B")["path"] for i in range(4)]
    assert len(set(paths)) == 4 and all(path.endswith("_x.log") for path in paths)
    check_chain(bundle.folder)


def test_J1_a_clock_that_goes_back_changes_neither_order_nor_chain(tmp_path: Path) -> None:
    moments = iter([NOON, NOON, NOON - dt.timedelta(hours=1), NOON])
    bundle = Bundle.create(tmp_path / "run", {}, now=lambda: next(moments))
    for _writer in range(2):
        bundle.append("x.log", b"", status="ok", step="B")
    assert [line["seq"] for line in check_chain(bundle.folder)] == [0, 1, 2]


def write_many(folder: str, writer: int, count: int) -> None:
    bundle = Bundle(folder)
    for number in range(count):
        bundle.append(
            "burst.log", f"{writer}/{number}".encode(), status="info", step="J1", meta={"w": writer, "n": number}
        )


def test_J1_four_writers_of_two_hundred_items(bundle: Bundle) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(bundle.folder), writer, 200)) for writer in range(4)]
    for process in writers:
        process.start()
    for process in writers:
        process.join(120)
        assert process.exitcode == 0
    lines = check_chain(bundle.folder)
    assert len(lines) == 801
    for writer in range(4):
        assert [line["meta"]["n"] for line in lines[1:] if line["meta"]["w"] == writer] == list(range(200))


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from ansible_collections.papyrus.ops.plugins.module_utils import _evidence
where, half = sys.argv[3], int(sys.argv[4])
if where == "line":
    def write(fd, data):
        os.write(fd, data[:half])
        os.kill(os.getpid(), signal.SIGKILL)
    _evidence.write_all = write
bundle = _evidence.Bundle(sys.argv[2])
bundle.append("before.log", b"1", status="ok", step="B") if where == "bytes" else None
if where == "bytes":
    _evidence.write_all = lambda fd, data: os.kill(os.getpid(), signal.SIGKILL)
bundle.append("lost.log", b"2", status="ok", step="B")
"""


def crash(folder: Path, where: str, half: int = 0) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(COLLECTIONS), str(folder), where, str(half)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_J1_killed_between_bytes_and_line(bundle: Bundle) -> None:
    crash(bundle.folder, "bytes")
    recovered = bundle.recover()
    assert recovered is not None and recovered["name"] == "continued.json"
    named = json.loads(bundle.data(recovered))
    assert [entry["path"].partition("_")[2] for entry in named["unlisted"]] == ["lost.log"]
    bundle.append("after.log", b"3", status="ok", step="B")
    names = [line["name"] for line in bundle.lines()]
    assert names == ["run.json", "before.log", "continued.json", "after.log"]
    assert bundle.recover() is not None, "an unlisted file stays unlisted, and stays named"


@pytest.mark.parametrize("half", [1, 40, 200])
def test_J1_killed_in_the_middle_of_a_line(bundle: Bundle, half: int) -> None:
    crash(bundle.folder, "line", half)
    lines, torn = bundle.read()
    assert len(lines) == 1 and len(torn) == half
    bundle.append("after.log", b"3", status="ok", step="B")
    names = [line["name"] for line in bundle.lines()]
    assert names == ["run.json", "continued.json", "after.log"]
    named = json.loads(bundle.data(bundle.lines()[1]))
    assert named["torn_bytes"] == half and named["torn_line"] == torn.decode()
    assert bundle.read()[1] == b""


def test_J1_half_written_files_of_a_crash_are_removed(bundle: Bundle) -> None:
    (bundle.folder / ".tmp-0123").write_bytes(b"half")
    assert bundle.recover() is None
    check_chain(bundle.folder)


def test_J1_a_full_disk_loses_nothing_that_is_listed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> None:
        os.write(fd, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    for module in (_evidence, _locks):
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_all", full)
            with pytest.raises(OSError, match="No space"):
                bundle.append("x.log", b"data", status="ok", step="B")
    assert bundle.read()[1] == b"" and len(bundle.lines()) == 1
    bundle.append("y.log", b"data", status="ok", step="B")
    assert [line["name"] for line in bundle.lines()] == ["run.json", "y.log"]


def test_J1_nothing_follows_the_verdict(bundle: Bundle) -> None:
    bundle.append("verdict.json", b"{}", status="ng", step="all")
    assert bundle.closed()
    with pytest.raises(BundleClosed, match="late.log was refused"):
        bundle.append("late.log", b"", status="ok", step="B")
    check_chain(bundle.folder)


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".hidden", "x" * 129, "manifest.jsonl", "SHA256SUMS", "a b", "ü.log", "x\n", "-x"]
)
def test_J1_names_that_cannot_be_items(bundle: Bundle, name: str) -> None:
    with pytest.raises(ValueError):
        bundle.append(name, b"", status="ok", step="B")
    check_chain(bundle.folder)


def test_J1_arguments_that_cannot_be_items(bundle: Bundle) -> None:
    for wrong in ({"status": "fine"}, {"step": ""}, {"meta": {"x": "y" * 20000}}, {"at": "yesterday"}):
        with pytest.raises(ValueError):
            bundle.append("x.log", b"", **{"status": "ok", "step": "B", **wrong})
    check_chain(bundle.folder)


def test_J1_a_manifest_changed_by_something_else_is_not_continued(bundle: Bundle) -> None:
    with bundle.manifest.open("ab") as file:
        file.write(b"not a line\n")
    with pytest.raises(BundleError, match="not JSON"):
        bundle.append("x.log", b"", status="ok", step="B")


def test_J1_the_last_append_costs_what_the_first_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.create(tmp_path / "run", {})
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: read.append(length) or pread(fd, length, offset))
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    for number in range(600):
        bundle.append(f"{number}.log", b"", status="ok", step="B", meta={"filler": "x" * 500})
    assert bundle.manifest.stat().st_size > 3 * 128 * 1024
    assert max(read) <= 128 * 1024 and read[-1] == read[-2] == 128 * 1024


def test_J1_a_held_lock_ends_the_wait(bundle: Bundle) -> None:
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, 2); print(1, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(bundle.manifest)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        with pytest.raises(_locks.LockTimeout, match="another process"):
            Bundle(bundle.folder, lock_timeout=0.05).append("x.log", b"", status="ok", step="B")
    finally:
        holder.kill()
        holder.wait()


def test_J1_secrets_are_taken_out_of_data_name_and_meta(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.add("db-password", "hunter22")
    bundle = Bundle.create(tmp_path / "run", {"details": {"x": "hunter22", "password": 7777777}}, redactor)
    line = bundle.append("hunter22.log", b"said hunter22", status="ok", step="B", meta={"reason": "hunter22"})
    for path in bundle.folder.iterdir():
        assert (
            "hunter22" not in path.name and b"hunter22" not in path.read_bytes() and b"7777777" not in path.read_bytes()
        )
    assert line["name"].endswith(".log") and "redacted_db-password" in line["name"]
    check_chain(bundle.folder)


def test_J1_one_run_one_folder(bundle: Bundle) -> None:
    with pytest.raises(FileExistsError):
        Bundle.create(bundle.folder, {})
