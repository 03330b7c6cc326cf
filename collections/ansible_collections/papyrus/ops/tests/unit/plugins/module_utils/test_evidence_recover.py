# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a crash left in a bundle is listed, named or left alone when the bundle is continued (J1; EVIDENCE.md)."""

from __future__ import annotations

import datetime as dt
import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, BundleClosed, BundleError
from ansible_collections.papyrus.ops.plugins.module_utils._evidence_files import hash_of_file
from ansible_collections.papyrus.ops.plugins.module_utils._locks import Staged
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import verdict
from evidence_check import check_chain

NOON = dt.datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=dt.UTC)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "run", {"run_id": "x", "service": "svc"}, now=lambda: NOON)


def test_J1_a_file_without_its_line_gets_one_and_nothing_more_is_claimed(bundle: Bundle) -> None:
    (bundle.folder / "20260131T120000Z_alb_sg_verify_gone.json").write_bytes(b'{"gone": true}')
    (bundle.folder / "20260131T120000123456Z_terraform_apply.log").write_bytes(b"Apply complete!")
    recovered = bundle.recover()
    lines = check_chain(bundle.folder)
    assert [line["name"] for line in lines] == [
        "run.json", "terraform_apply.log", "alb_sg_verify_gone.json", "continued.json",
    ]  # fmt: skip
    assert recovered == lines[-1]
    assert {(line["status"], line["step"]) for line in lines[1:]} == {("info", "J1")}
    assert all(line["meta"]["recovered"] for line in lines[1:3])
    content = json.loads(bundle.data(lines[-1]))
    assert content["adopted"] == [{"path": line["path"], "sha256": line["sha256"]} for line in lines[1:3]]
    assert content["unlisted"] == [] and lines[-1]["meta"]["adopted"] == 2
    assert verdict(lines)["gone"] == "missing", "a file without its status proves nothing"
    assert bundle.recover() is None


@pytest.mark.parametrize(
    "path",
    [
        "notes.txt", "20260131T120000Z_", "20260131T120000Z_.hidden", "20260131_x.log", "20260131T120000Z_run.json",
        "20260131T120000Z_manifest.jsonl", "20260131T120000Z_SHA256SUMS", "20260131T120000Z_a b", "x" * 200,
        "20260131T120000Z_" + "x" * 129, "２０２６０１３１T１２００００Z_x.log", "20260131T120000Z_\u202e.log",
    ],
)  # fmt: skip
def test_J1_a_file_that_no_writer_makes_stays_unlisted_and_is_named(bundle: Bundle, path: str) -> None:
    (bundle.folder / path).write_bytes(b"foreign")
    recovered = bundle.recover()
    assert recovered is not None
    lines = check_chain(bundle.folder, foreign={path})
    assert json.loads(bundle.data(recovered))["unlisted"] == [
        {"path": path, "sha256": hashlib.sha256(b"foreign").hexdigest(), "what": "file"}
    ]
    assert [line["name"] for line in lines] == ["run.json", "continued.json"]
    assert recovered["meta"]["unlisted"] == 1


def test_J1_what_is_no_plain_file_is_named_and_not_touched(bundle: Bundle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret of somebody else")
    (bundle.folder / "20260131T120000Z_link.log").symlink_to(outside)
    (bundle.folder / ".tmp-link").symlink_to(outside)
    (bundle.folder / "20260131T120000Z_folder.log").mkdir()
    os.mkfifo(bundle.folder / "20260131T120000Z_fifo.log")
    (bundle.folder / os.fsdecode(b"not \xff utf-8")).write_bytes(b"")
    recovered = bundle.recover()
    assert recovered is not None
    named = json.loads(bundle.data(recovered))["unlisted"]
    assert {entry["path"]: (entry["what"], bool(entry["sha256"])) for entry in named} == {
        "20260131T120000Z_link.log": ("link", False),
        ".tmp-link": ("link", False),
        "20260131T120000Z_folder.log": ("folder", False),
        "20260131T120000Z_fifo.log": ("special file", False),
        "not \\xff utf-8": ("file", True),
    }  # fmt: skip
    assert outside.read_bytes() == b"secret of somebody else"
    assert [line["name"] for line in bundle.lines()] == ["run.json", "continued.json"]


def test_J1_a_foreign_file_that_cannot_be_read_is_named(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    (bundle.folder / "notes.txt").write_bytes(b"")
    real = os.open

    def refused(path: Any, *rest: Any) -> int:
        if Path(path).name == "notes.txt":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", refused)
    recovered = bundle.recover()
    assert recovered is not None
    assert json.loads(bundle.data(recovered))["unlisted"] == [{"path": "notes.txt", "sha256": "", "what": "file"}]


def test_J1_a_file_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"secret of somebody else")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    with pytest.raises(OSError, match="symbolic links"):
        hash_of_file(tmp_path / "link")


def test_J1_a_foreign_file_with_the_name_of_an_item_is_redacted(tmp_path: Path) -> None:
    redactor = Redactor()
    redactor.add("db-password", "hunter22")
    bundle = Bundle.create(tmp_path / "run", {}, redactor)
    (bundle.folder / "20260131T120000Z_x.log").write_bytes(b"it is hunter22\n" * 3)
    (bundle.folder / "hunter22").write_bytes(b"")
    bundle.recover()
    for line in check_chain(bundle.folder, foreign={"hunter22"}):
        assert b"hunter22" not in bundle.data(line)
    assert b"hunter22" not in bundle.manifest.read_bytes()


def test_J1_run_json_is_the_first_line_whatever_else_was_left(tmp_path: Path) -> None:
    """A run that was killed while it was opened, and whose recovery was killed as well."""
    (tmp_path / "manifest.jsonl").write_bytes(b"")
    (tmp_path / "run.json").write_bytes(b"{}")
    (tmp_path / "20260131T120000Z_continued.json").write_bytes(b"{}")
    Bundle(tmp_path).recover()
    assert [line["name"] for line in check_chain(tmp_path)] == ["run.json", "continued.json", "continued.json"]


def test_J1_two_verdicts_without_a_line_in_one_second_are_both_kept(bundle: Bundle) -> None:
    (bundle.folder / "20260131T120000Z_verdict.json").write_bytes(b"1")
    bundle.recover()
    (bundle.folder / "20260131T120000Z_verdict.json").write_bytes(b"2")
    bundle.recover()
    lines = check_chain(bundle.folder)
    assert [bundle.data(line) for line in lines if line["name"] == "unlisted_verdict.json"] == [b"1", b"2"]
    assert not bundle.closed()


def test_J1_after_the_verdict_a_recovery_changes_nothing(bundle: Bundle) -> None:
    bundle.append("verdict.json", b"{}", status="ok", step="all")
    (bundle.folder / "20260131T120000Z_late.log").write_bytes(b"")
    with bundle.manifest.open("ab") as file:
        file.write(b'{"torn')
    before = {path.name: path.read_bytes() for path in bundle.folder.iterdir()}
    assert bundle.recover() is None
    with pytest.raises(BundleClosed):
        bundle.append("late.log", b"", status="ok", step="D1")
    assert {path.name: path.read_bytes() for path in bundle.folder.iterdir()} == before


def test_J1_temporary_files_of_the_dead_are_removed_and_those_of_the_living_stay(bundle: Bundle) -> None:
    (bundle.folder / ".tmp-0123").write_bytes(b"half")
    with Staged(bundle.folder, [b"of a living writer"]) as staged:
        child = os.fork()
        if child == 0:
            os._exit(0 if Bundle(bundle.folder).recover() is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert [path.name for path in bundle.folder.glob(".tmp-*") if path.name == ".tmp-0123"] == []
        staged.publish(bundle.folder / "20260131T120000Z_living.log")
    assert (bundle.folder / "20260131T120000Z_living.log").read_bytes() == b"of a living writer"
    bundle.recover()
    check_chain(bundle.folder)


def test_J1_a_manifest_with_a_line_that_is_none_is_not_continued(bundle: Bundle) -> None:
    raw = bundle.manifest.read_bytes()
    bundle.manifest.write_bytes(raw + b"[]\n" + raw)
    with pytest.raises(BundleError, match="line 2 of .* is not a manifest line"):
        Bundle(bundle.folder).recover()
    with pytest.raises(BundleError, match="line 2 of .* is not a manifest line"):
        Bundle(bundle.folder).append("verdict.json", b"{}", status="ok", step="all")
