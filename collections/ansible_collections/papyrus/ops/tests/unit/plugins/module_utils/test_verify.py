# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a verification says of bundles that are whole, unsealed, copied, asked for wrongly or signed wrongly (N4)."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _seal, _verify_files
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, canonical
from ansible_collections.papyrus.ops.plugins.module_utils._seal import seal, summarise
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
from ansible_collections.papyrus.ops.plugins.module_utils._verify_files import VerifyError
from ansible_collections.papyrus.ops.tests.unit.peak_memory import PEAK
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import (
    NOON,
    PLATFORM,
    Key,
    listed_in,
    make_key,
    manifest_lines,
    run_bundle,
    sealed_bundle,
    write,
)
from ansible_collections.papyrus.ops.tests.unit.sealing import DIGEST, check_seal

COLLECTIONS = Path(__file__).resolve().parents[7]
OTHER_IMAGE = "sha256:" + "00" * 32
ATTESTATION = "attestation.dsse.json"

Said = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def not_for_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def rng() -> random.Random:
    return random.Random(7)


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return make_key(tmp_path / "key")


@pytest.fixture
def folder(tmp_path: Path, rng: random.Random, key: Key) -> Path:
    """Sealed, about an image, without a crash; its verdict is PASSED."""
    return passed(tmp_path / "runs", key)


def passed(root: Path, key: Key, **how: Any) -> Path:
    return sealed_bundle(root, random.Random(7), key, **{"image": True, "crash": "", "good": True, **how})


def said(result: dict[str, Any]) -> Said:
    return [(finding["class"], finding["path"]) for finding in result["findings"]]


# Whole bundles


def test_N4_a_whole_bundle_is_ok_and_says_what_was_signed(folder: Path, key: Key) -> None:
    result = verify(folder, [key.trusted])
    assert (result["result"], result["exit_code"], result["findings"]) == ("ok", 0, [])
    assert (result["run_id"], result["verdict"], result["image"]) == (folder.name, "PASSED", DIGEST)
    assert result["signature"] == {
        "class": "ok", "keyid": key.trusted.keyid, "trust": "self-asserted", "identity": "", "reason": "",
    }  # fmt: skip
    assert result["sealed"]["by"] == "run" and result["sealed"]["sealedAt"] == "2026-01-31T12:00:00.123456Z"
    lines = [json.loads(line) for line in manifest_lines(folder)]
    assert result["files"] == [
        {"seq": line["seq"], "name": line["name"], "path": line["path"], "class": "ok"} for line in lines
    ]
    assert result["counts"] == {"ok": len(lines)}
    assert result["sha256"] == {
        "run": lines[0]["sha256"],
        "manifest": hashlib.sha256((folder / "manifest.jsonl").read_bytes()).hexdigest(),
        "head": Bundle(folder).head(),
        "attestation": hashlib.sha256((folder / ATTESTATION).read_bytes()).hexdigest(),
    }
    assert (result["ledger"], result["online"], result["timestamps"]) == (None, None, [])
    json.dumps(result)


def test_N4_a_sealed_bundle_verifies_without_this_project(folder: Path, key: Key) -> None:
    check_seal(folder, key.public)  # sha256sum --check --strict, and the envelope by cryptography alone
    strange = folder / listed_in(folder)[0]
    write(strange, strange.read_bytes() + b" ")
    with pytest.raises(AssertionError):
        check_seal(folder, key.public)


@pytest.mark.parametrize("how", ["cp", "tar", "git", "hard links", "through a link"])
def test_N4_a_copy_is_never_accused(tmp_path: Path, folder: Path, key: Key, how: str) -> None:
    copy = tmp_path / "copy"
    if how == "cp":
        shutil.copytree(folder, copy, copy_function=shutil.copyfile)
        for path in copy.iterdir():
            path.chmod(0o600)
            os.utime(path, (0, 0))
    elif how == "tar":
        copy.mkdir()
        tar = subprocess.run(["tar", "-C", folder, "-c", "."], capture_output=True, check=True).stdout
        subprocess.run(["tar", "-C", copy, "-x"], input=tar, check=True)
    elif how == "git":
        source = tmp_path / "source"
        shutil.copytree(folder, source / "runs")
        (source / ".gitattributes").write_text("runs/** -text\n")
        git = ["git", "-c", "core.autocrlf=true", "-c", "user.name=x", "-c", "user.email=x@example.com"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
            subprocess.run([*git, *command], cwd=source, check=True)
        subprocess.run([*git, "clone", "-q", source, tmp_path / "clone"], check=True)
        copy = tmp_path / "clone" / "runs"
    elif how == "hard links":
        shutil.copytree(folder, copy, copy_function=os.link)
    else:
        copy.symlink_to(folder)
    result = verify(copy, [key.trusted])
    assert (result["result"], result["findings"]) == ("ok", [])


@pytest.mark.soak
def test_N4_ten_thousand_items_are_ok(tmp_path: Path, key: Key, rng: random.Random) -> None:
    big = sealed_bundle(tmp_path / "runs", rng, key, items=10_000)
    result = verify(big, [key.trusted])
    assert (result["result"], result["findings"]) == ("ok", []) and result["counts"]["ok"] > 10_000
    path = json.loads(manifest_lines(big)[5_000])["path"]
    write(big / path, b"other")
    assert said(verify(big, [key.trusted])) == [("invalid", path)]


_MEASURED = (
    PEAK
    + """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from ansible_collections.papyrus.ops.plugins.module_utils._dsse import load_public_keys
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
result = verify(sys.argv[2], load_public_keys([sys.argv[3]]))
print(result["result"], peak())
"""
)


def test_N4_memory_does_not_grow_with_an_item(tmp_path: Path, key: Key, rng: random.Random) -> None:
    size = 300 * 1024 * 1024
    bundle = run_bundle(tmp_path / "runs", rng, items=2, ended=False, crash="")
    path = "20260131T120001Z_huge.log"
    with (bundle.folder / path).open("wb") as file:
        file.truncate(size)
    digest = hashlib.sha256()
    for _piece in range(300):
        digest.update(bytes(1024 * 1024))
    last = json.loads(manifest_lines(bundle.folder)[-1])
    line = {
        **last, "seq": last["seq"] + 1, "prev": bundle.head(), "name": "huge.log", "path": path, "bytes": size,
        "sha256": digest.hexdigest(), "status": "ok", "meta": {},
    }  # fmt: skip
    with bundle.manifest.open("ab") as manifest:
        manifest.write(canonical(line) + b"\n")
    bundle.append("verdict.json", b'{"result": "PASSED"}', status="ok", step="all")
    seal(bundle, key.signer, by="run")
    command = [sys.executable, "-I", "-c", _MEASURED, str(COLLECTIONS), str(bundle.folder), str(key.public)]
    result, used = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert result == "ok"
    assert int(used) * 1024 < 150 * 1024 * 1024, f"{used} KiB"


# Bundles without a seal


def unsealed(root: Path, kind: str) -> tuple[Path, Said]:
    """What a crash leaves, and what has to be said of it besides `unsealed`."""
    bundle = run_bundle(root, random.Random(3), ended=kind in ("ended", "half sealed", "without a signer"), crash="")
    folder, manifest = bundle.folder, bundle.manifest
    stray = "20260131T120001Z_unfinished.log"
    more: Said = []
    if kind in ("line torn", "line torn after its item"):
        with manifest.open("ab") as file:
            file.write(b'{"at":"2026-01-31T')
        more.append(("torn", "manifest.jsonl"))
    if kind in ("item without line", "line torn after its item"):
        (folder / stray).write_bytes(b"whole")
        more.append(("unlisted", stray))
    if kind == "temporary file":
        (folder / ".tmp-0123456789abcdef").write_bytes(b"")
        more.append(("unlisted", ".tmp-0123456789abcdef"))
    if kind == "half sealed":
        (folder / "junit.xml").write_bytes(b"<testsuites/>")
        (folder / ".tmp-0123456789abcdef").write_bytes(b"<html>")
        more.append(("unlisted", ".tmp-0123456789abcdef"))
    if kind == "without a signer":
        summarise(bundle)
    if kind == "before its first line":
        manifest.write_bytes(b"")
        more = [("unlisted", path.name) for path in sorted(folder.iterdir()) if path.name[0] == "2"]
    return folder, more


@pytest.mark.parametrize(
    "kind",
    [
        "ended", "not ended", "line torn", "item without line", "line torn after its item", "temporary file",
        "half sealed", "without a signer",
    ],
)  # fmt: skip
def test_N4_what_a_crash_leaves_is_incomplete_and_accused_of_nothing(tmp_path: Path, key: Key, kind: str) -> None:
    folder, more = unsealed(tmp_path / "runs", kind)
    result = verify(folder, [key.trusted])
    assert (result["result"], result["exit_code"]) == ("incomplete", 3)
    assert sorted(said(result)) == sorted([("unsealed", ATTESTATION), *more])
    assert (result["signature"]["class"], result["signature"]["trust"], result["sealed"]) == ("unsealed", "", {})
    assert all(item["class"] == "ok" for item in result["files"])
    [reason] = [finding["reason"] for finding in result["findings"] if finding["class"] == "unsealed"]
    assert ("no verdict" in reason) == (kind not in ("ended", "half sealed", "without a signer"))


def _change_item(folder: Path) -> Said:
    path = json.loads(manifest_lines(folder)[1])["path"]
    write(folder / path, b"other")
    return [("invalid", path)]


def _change_line(folder: Path) -> Said:
    lines = manifest_lines(folder)
    lines[1] = canonical({**json.loads(lines[1]), "sha256": "00" * 32}) + b"\n"
    write(folder / "manifest.jsonl", b"".join(lines))
    return [("invalid", "manifest.jsonl")]


def _drop_line(folder: Path) -> Said:
    lines = manifest_lines(folder)
    path = json.loads(lines.pop(1))["path"]
    write(folder / "manifest.jsonl", b"".join(lines))
    return [("gap", "manifest.jsonl"), ("unlisted", path)]


def _add_file(folder: Path) -> Said:
    (folder / "proof.txt").write_bytes(b"believe me")
    return [("unlisted", "proof.txt")]


def _add_link(folder: Path) -> Said:
    (folder / "20260131T120001Z_link.log").symlink_to("/etc/hostname")
    return [("unlisted", "20260131T120001Z_link.log")]


def _add_line_after_verdict(folder: Path) -> Said:
    last = json.loads(manifest_lines(folder)[-1])
    (folder / "20260131T120001Z_late.log").write_bytes(b"")
    line = {
        **last, "seq": last["seq"] + 1, "prev": Bundle(folder).head(), "name": "late.log", "bytes": 0,
        "path": "20260131T120001Z_late.log", "sha256": hashlib.sha256(b"").hexdigest(),
    }  # fmt: skip
    with (folder / "manifest.jsonl").open("ab") as file:
        file.write(canonical(line) + b"\n")
    return [("invalid", "manifest.jsonl")]


@pytest.mark.parametrize(
    "change", [_change_item, _change_line, _drop_line, _add_file, _add_link, _add_line_after_verdict]
)
def test_N4_without_a_seal_what_no_crash_does_is_still_tampering(
    tmp_path: Path, key: Key, change: Callable[[Path], Said]
) -> None:
    folder, _more = unsealed(tmp_path / "runs", "ended")
    expected = change(folder)
    result = verify(folder, [key.trusted])
    assert (result["result"], result["exit_code"]) == ("tampered", 2)
    assert sorted(said(result)) == sorted([("unsealed", ATTESTATION), *expected])


def test_N4_a_file_that_a_copy_left_out_of_an_unsealed_bundle_is_missing(tmp_path: Path, key: Key) -> None:
    folder, _more = unsealed(tmp_path / "runs", "ended")
    path = json.loads(manifest_lines(folder)[1])["path"]
    (folder / path).unlink()
    result = verify(folder, [key.trusted])
    assert result["result"] == "incomplete" and sorted(said(result)) == [("missing", path), ("unsealed", ATTESTATION)]


def test_N4_sums_of_an_unsealed_bundle_tell_that_its_end_was_cut_off(tmp_path: Path, key: Key) -> None:
    folder, _more = unsealed(tmp_path / "runs", "without a signer")
    write(folder / "manifest.jsonl", b"".join(manifest_lines(folder)[:-2]))
    result = verify(folder, [key.trusted])
    assert result["result"] == "tampered"
    assert sorted(said(result)) == [("truncated", "manifest.jsonl"), ("unsealed", ATTESTATION)]


@pytest.mark.parametrize("written", range(4))
def test_N4_a_second_seal_that_ends_half_way_accuses_nobody(
    tmp_path: Path, key: Key, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """A run without signer has its SHA256SUMS; whoever seals it later writes another junit.xml and report.html."""
    bundle = run_bundle(tmp_path / "runs", random.Random(3), crash="")
    summarise(bundle)
    real, count = _seal.write_durable, iter(range(written))

    def write_some(path: Path, data: bytes, **more: Any) -> None:
        if next(count, None) is None:
            raise OSError(28, "No space left on device")
        real(path, data, **more)

    monkeypatch.setattr(_seal, "write_durable", write_some)
    with pytest.raises(_seal.SealError):
        seal(bundle, key.signer, by="evidence_seal")
    result = verify(bundle.folder, [key.trusted])
    assert (result["result"], said(result)) == ("incomplete", [("unsealed", ATTESTATION)])


@pytest.mark.parametrize("of", ["item", "junit.xml", "report.html", "manifest.jsonl"])
@pytest.mark.parametrize("sealed", [True, False])
def test_N4_a_hash_that_was_changed_in_the_sums_accuses_the_sums_alone(
    tmp_path: Path, key: Key, sealed: bool, of: str
) -> None:
    bundle = run_bundle(tmp_path / "runs", random.Random(3), crash="")
    if sealed:
        seal(bundle, key.signer, by="run")
    else:
        summarise(bundle)
    path = json.loads(manifest_lines(bundle.folder)[1])["path"] if of == "item" else of
    lines = (bundle.folder / "SHA256SUMS").read_text().splitlines(keepends=True)
    changed = ["00" * 32 + line[64:] if line[66:-1] == path else line for line in lines]
    write(bundle.folder / "SHA256SUMS", "".join(changed).encode())
    found = set(said(verify(bundle.folder, [key.trusted]))) - {("unsealed", ATTESTATION)}
    # Without a seal nothing tells which of the two was changed, where only one other file knows the hash.
    alone = sealed or of == "item"
    assert found == {("invalid", "SHA256SUMS" if alone else path)}


# Crashes before the seal


def test_N4_files_that_a_run_went_on_with_are_held_to_what_was_said_of_them(
    tmp_path: Path, key: Key, rng: random.Random
) -> None:
    folder = sealed_bundle(tmp_path / "runs", rng, key, crash="stray")
    assert verify(folder, [key.trusted])["result"] == "ok"
    write(folder / "notes.txt", b"other")
    assert said(verify(folder, [key.trusted])) == [("invalid", "notes.txt")]
    (folder / "notes.txt").unlink()
    assert said(verify(folder, [key.trusted])) == [("missing", "notes.txt")]


def test_N4_a_change_beside_such_files_is_called_by_its_name(tmp_path: Path, key: Key, rng: random.Random) -> None:
    folder = sealed_bundle(tmp_path / "runs", rng, key, crash="stray")
    kept = (folder / "manifest.jsonl").read_bytes()
    write(folder / "manifest.jsonl", kept[:-9])
    assert said(verify(folder, [key.trusted])) == [("torn", "manifest.jsonl")]
    write(folder / "manifest.jsonl", kept)
    told = [path for path in listed_in(folder) if path.endswith("continued.json")]
    for path in told:
        (folder / path).unlink()
    assert sorted(said(verify(folder, [key.trusted]))) == sorted(("missing", path) for path in told)


# The question


def test_N4_another_image_or_verdict_than_asked_for_is_a_mismatch(folder: Path, key: Key) -> None:
    for image in (DIGEST, PLATFORM):
        assert verify(folder, [key.trusted], image=image, results=["PASSED", "WARNED"])["result"] == "ok"
    result = verify(folder, [key.trusted], image=OTHER_IMAGE)
    assert (result["result"], result["exit_code"], said(result)) == ("mismatch", 4, [("wrong-subject", ATTESTATION)])
    assert OTHER_IMAGE in result["findings"][0]["reason"] and DIGEST in result["findings"][0]["reason"]
    [verdict] = [item["path"] for item in result["files"] if item["name"] == "verdict.json"]
    result = verify(folder, [key.trusted], results=["FAILED"])
    assert (result["exit_code"], said(result)) == (4, [("wrong-subject", "verdict.json")]) and verdict
    write(folder / listed_in(folder)[0], b"other")
    assert verify(folder, [key.trusted], image=OTHER_IMAGE)["result"] == "tampered"


def test_N4_a_bundle_about_no_image_is_about_no_image(tmp_path: Path, key: Key) -> None:
    folder = passed(tmp_path / "runs", key, image=False)
    assert verify(folder, [key.trusted])["result"] == "ok"
    result = verify(folder, [key.trusted], image=DIGEST)
    assert result["result"] == "mismatch" and "no image" in result["findings"][0]["reason"]


@pytest.mark.parametrize(("image", "results"), [("sha256:abc", []), ("ab" * 32, []), ("", ["passed"])])
def test_N4_a_question_that_nothing_could_answer_is_refused(
    folder: Path, key: Key, image: str, results: list[str]
) -> None:
    with pytest.raises(ValueError, match=image or "passed"):
        verify(folder, [key.trusted], image=image, results=results)


def test_N4_a_failed_run_that_is_intact_is_ok(tmp_path: Path, key: Key) -> None:
    for number in range(100):
        folder = sealed_bundle(tmp_path / "runs", random.Random(number), key)
        result = verify(folder, [key.trusted])
        assert result["result"] == "ok"
        if result["verdict"] == "FAILED":
            return
    raise AssertionError("no run fails")


# What cannot be asked


def test_N4_what_is_no_bundle_is_not_called_tampered(tmp_path: Path, key: Key) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "fifo")
    for name, why in (("gone", "No such file"), ("file", "Not a directory"), ("fifo", "Not a directory"),
                      ("empty", "has no manifest.jsonl"), ("nul\0", "null")):  # fmt: skip
        with pytest.raises(VerifyError, match=why):
            verify(tmp_path / name, [key.trusted])


def test_N4_a_file_that_cannot_be_read_is_no_accusation(
    folder: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = json.loads(manifest_lines(folder)[1])["path"]
    real = os.open

    def refuse(name: Any, *args: Any, **more: Any) -> int:
        if name == path:
            raise PermissionError(13, "Permission denied")
        return real(name, *args, **more)

    monkeypatch.setattr(_verify_files.os, "open", refuse)
    with pytest.raises(VerifyError, match=f"{path} cannot be read: Permission denied"):
        verify(folder, [key.trusted])


def test_N4_times_that_go_back_accuse_nobody(tmp_path: Path, key: Key) -> None:
    moments = iter([NOON - dt.timedelta(days=number) for number in range(100)])
    folder = passed(tmp_path / "runs", key, clock=lambda: next(moments), items=3)
    assert verify(folder, [key.trusted])["result"] == "ok"
