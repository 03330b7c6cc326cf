# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bundle: hash chain, crash safety, several writers, what cannot be evidence (J1, N4; EVIDENCE.md)."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, BundleClosed, BundleError
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from evidence_check import check_chain

NOON = dt.datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=dt.UTC)
COLLECTIONS = Path(__file__).resolve().parents[7]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "run", {"run_id": "x", "service": "svc"}, now=lambda: NOON)


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


def test_J1_nothing_follows_the_verdict(bundle: Bundle) -> None:
    bundle.append("verdict.json", b"{}", status="ng", step="all")
    assert bundle.closed()
    with pytest.raises(BundleClosed, match="late.log was refused"):
        bundle.append("late.log", b"", status="ok", step="B")
    check_chain(bundle.folder)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "../x",
        "a/b",
        ".hidden",
        "x" * 129,
        "manifest.jsonl",
        "SHA256SUMS",
        "a b",
        "ü.log",
        "x\n",
        "-x",
        "..",
        "\ud800",
    ],
)
def test_J1_names_that_cannot_be_items(bundle: Bundle, name: str) -> None:
    with pytest.raises(ValueError):
        bundle.append(name, b"", status="ok", step="B")
    check_chain(bundle.folder)


def test_J1_arguments_that_cannot_be_items(bundle: Bundle) -> None:
    wrongs: list[dict[str, Any]] = [
        {"status": "fine"}, {"step": ""}, {"step": "x" * 101}, {"step": "D1\n"}, {"media_type": "text/plain\x1b[2J"},
        {"meta": {"x": "y" * 20000}}, {"meta": {"x": 2**60}}, {"meta": {"x": float("nan")}}, {"at": "yesterday"},
    ]  # fmt: skip
    for wrong in wrongs:
        with pytest.raises(ValueError):
            bundle.append("x.log", b"", **{"status": "ok", "step": "B", **wrong})
    check_chain(bundle.folder)


def test_J1_a_manifest_changed_by_something_else_is_not_continued(bundle: Bundle) -> None:
    whole = bundle.manifest.read_bytes()
    for line in (b"not a line\n", b"[" * 60_000 + b"\n"):
        bundle.manifest.write_bytes(whole + line)
        with pytest.raises(BundleError, match="not JSON"):
            bundle.append("x.log", b"", status="ok", step="B")


def test_J1_the_last_append_costs_what_the_first_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.create(tmp_path / "run", {})
    read: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: read.append(length) or pread(fd, length, offset))
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    for number in range(600):
        read.clear()
        bundle.append(f"{number}.log", b"", status="ok", step="B", meta={"filler": "x" * 500})
    assert bundle.manifest.stat().st_size > 3 * 128 * 1024
    assert read[-1] == 128 * 1024 and sum(read) < 130 * 1024


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


@pytest.mark.parametrize("where", ["step", "media_type"])
def test_J1_a_secret_as_a_label_is_refused_and_not_repeated(tmp_path: Path, where: str) -> None:
    redactor = Redactor()
    redactor.add("db-password", "hunter22")
    bundle = Bundle.create(tmp_path / "run", {}, redactor)
    with pytest.raises(ValueError, match="redacted:db-password") as caught:
        bundle.append("x.log", b"", **{"status": "ok", "step": "D1", where: "hunter22"})
    assert "hunter22" not in str(caught.value)
    check_chain(bundle.folder)


def test_J1_one_run_one_folder(bundle: Bundle) -> None:
    with pytest.raises(FileExistsError):
        Bundle.create(bundle.folder, {})
