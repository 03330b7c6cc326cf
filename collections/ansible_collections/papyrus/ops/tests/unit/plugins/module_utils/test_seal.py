# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The seal: once, of nothing that is false, in bounded memory, and after a kill at any moment (J1, N4)."""

from __future__ import annotations

import base64
import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _locks, _seal
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, canonical, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._seal import (
    AlreadySealed,
    SealError,
    check,
    seal,
    sealed_before,
    summarise,
)
from ansible_collections.papyrus.ops.plugins.module_utils._signers import OpenSigner, SignerError, open_signer
from ansible_collections.papyrus.ops.plugins.module_utils._timestamps import check_timestamp
from ansible_collections.papyrus.ops.tests.unit.peak_memory import PEAK
from sealing import DIGEST, check_seal, run_bundle, seal_as_process, seal_says, signing_key, with_verdict
from timestamp_authority import Authority, served

UNIT = Path(__file__).resolve().parents[2]
COLLECTIONS = Path(__file__).resolve().parents[7]
SEALED = {"junit.xml", "report.html", "SHA256SUMS", "attestation.dsse.json"}


@pytest.fixture
def signer(tmp_path: Path) -> OpenSigner:
    opened = open_signer(signing_key(tmp_path))
    assert opened is not None
    return opened


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return with_verdict(run_bundle(tmp_path / "b"))


def public(tmp_path: Path) -> Path:
    return tmp_path / "key.pub.pem"


def names(bundle: Bundle) -> set[str]:
    return {entry.name for entry in bundle.folder.iterdir()}


def test_J1_a_seal_covers_every_file_and_verifies_without_this_project(
    tmp_path: Path, bundle: Bundle, signer: OpenSigner
) -> None:
    made = seal(bundle, signer, by="run", note="as asked")
    statement = check_seal(bundle.folder, public(tmp_path))
    says = seal_says(statement)
    assert says.pop("sealedAt").endswith("Z")
    assert says == {
        "trust": "self-asserted", "keyid": signer.keyid, "identity": "", "signer": "file", "by": "run",
        "afterCrash": False, "note": "as asked",
    }  # fmt: skip
    assert statement["predicate"]["result"] == "PASSED"
    attestation = (bundle.folder / "attestation.dsse.json").read_bytes()
    assert made.attestation_sha256 == hashlib.sha256(attestation).hexdigest()
    assert (made.keyid, made.trust, made.image, made.result) == (signer.keyid, "self-asserted", DIGEST, "PASSED")
    assert made.files == ("junit.xml", "report.html", "SHA256SUMS", "attestation.dsse.json")
    assert b"PASSED" in (bundle.folder / "report.html").read_bytes()
    assert b"<testsuites" in (bundle.folder / "junit.xml").read_bytes()
    before = sealed_before(bundle.folder)
    assert before is not None and (before.attestation_sha256, before.image) == (made.attestation_sha256, DIGEST)


def test_N4_a_bundle_is_sealed_once(bundle: Bundle, signer: OpenSigner) -> None:
    seal(bundle, signer, by="run")
    before = {name: (bundle.folder / name).read_bytes() for name in names(bundle)}
    for again in (lambda: seal(bundle, signer, by="evidence_seal"), lambda: summarise(bundle)):
        with pytest.raises(AlreadySealed):
            again()
    assert {name: (bundle.folder / name).read_bytes() for name in names(bundle)} == before


def test_J1_no_verdict_no_seal(tmp_path: Path, signer: OpenSigner) -> None:
    bundle = run_bundle(tmp_path / "b")
    with pytest.raises(SealError, match=r"no verdict yet: its last item is binding\.json"):
        seal(bundle, signer, by="run")
    bundle = with_verdict(run_bundle(tmp_path / "c"), "SPLENDID")
    with pytest.raises(SealError, match="gives no result"):
        seal(bundle, signer, by="run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SealError, match="no bundle"):
        seal(Bundle(tmp_path / "empty"), signer, by="run")
    assert not names(bundle) & SEALED


def item(bundle: Bundle, name: str = "healthz.log") -> Path:
    return next(bundle.folder.glob(f"*_{name}"))


def changed(bundle: Bundle) -> None:
    data = item(bundle).read_bytes()
    item(bundle).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def longer(bundle: Bundle) -> None:
    item(bundle).write_bytes(item(bundle).read_bytes() + b"\n")


def missing(bundle: Bundle) -> None:
    item(bundle).unlink()


def linked(bundle: Bundle) -> None:
    path, elsewhere = item(bundle), bundle.folder.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def fifo(bundle: Bundle) -> None:
    path = item(bundle)
    path.unlink()
    os.mkfifo(path)


def stray(bundle: Bundle) -> None:
    (bundle.folder / "healthz.log").write_text("x")


def stray_link(bundle: Bundle) -> None:
    (bundle.folder / "link").symlink_to("/etc/hostname")


def stray_folder(bundle: Bundle) -> None:
    (bundle.folder / "healthz.log").mkdir()


@pytest.mark.parametrize("harm", [changed, longer, missing, linked, fifo, stray, stray_link, stray_folder])
def test_N4_nobody_signs_what_is_known_to_be_false(
    bundle: Bundle, signer: OpenSigner, harm: Callable[[Bundle], None]
) -> None:
    harm(bundle)
    for work in (lambda: seal(bundle, signer, by="run"), lambda: check(bundle, ended=True), lambda: summarise(bundle)):
        with pytest.raises(SealError, match=r"healthz\.log|link"):
            work()
    assert not names(bundle) & SEALED


def rewrite(bundle: Bundle, change: Callable[[list[dict[str, Any]]], None], chained: bool = True) -> None:
    """The manifest with changed lines, in canonical form, and chained anew."""
    lines = [json.loads(line) for line in bundle.manifest.read_bytes().splitlines()]
    change(lines)
    raw, previous = b"", "0" * 64
    for line in lines:
        encoded = canonical({**line, "prev": previous} if chained else line)
        previous = hashlib.sha256(encoded).hexdigest()
        raw += encoded + b"\n"
    bundle.manifest.write_bytes(raw)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[2].update(path="../outside"), "no item can have"),
        (lambda lines: lines[2].update(path="/etc/hostname"), "no item can have"),
        (lambda lines: lines[2].update(path="junit.xml"), "no item can have"),
        (lambda lines: lines[2].update(path="manifest.jsonl"), "as another line does"),
        (lambda lines: lines[2].update({key: lines[1][key] for key in ("path", "sha256", "bytes")}), "another line"),
        (lambda lines: lines[2].update(bytes=True), "none that a run has written"),
        (lambda lines: lines[2].update(meta=[]), "none that a run has written"),
        (lambda lines: lines[2].update(meta={"rows": ["x"]}), "none that a run has written"),
        (lambda lines: lines[2].update(status="fine"), "none that a run has written"),
        (lambda lines: lines[2].pop("name"), "none that a run has written"),
        (lambda lines: lines.pop(0), "none that a run has written"),
        (lambda lines: lines[0].update(path="other.json"), "does not begin with run.json"),
    ],
)
def test_N4_a_manifest_that_no_run_has_written_is_not_sealed(
    bundle: Bundle, signer: OpenSigner, change: Callable[[Any], None], words: str
) -> None:
    rewrite(bundle, lambda lines: None)
    check(bundle, ended=True)  # the rewriting itself does no harm
    rewrite(bundle, change)
    with pytest.raises(SealError, match=words):
        seal(bundle, signer, by="run")
    assert not names(bundle) & SEALED


def test_N4_a_chain_that_does_not_hold_is_not_sealed(bundle: Bundle, signer: OpenSigner) -> None:
    rewrite(bundle, lambda lines: lines[1]["meta"].update(x=1), chained=False)
    with pytest.raises(SealError, match="line 2 of the manifest does not follow"):
        seal(bundle, signer, by="run")
    bundle.manifest.write_bytes(bundle.manifest.read_bytes()[:-1])
    with pytest.raises(SealError, match="torn"):
        seal(bundle, signer, by="run")
    pretty = json.dumps(json.loads(bundle.manifest.read_bytes().splitlines()[0])).encode()
    bundle.manifest.write_bytes(pretty + b"\n")
    with pytest.raises(SealError, match="line 0 of the manifest is none"):
        seal(bundle, signer, by="run")


def test_J1_a_file_that_a_crash_left_and_the_bundle_names_is_sealed_with_it(tmp_path: Path, signer: OpenSigner) -> None:
    bundle = run_bundle(tmp_path / "b")
    (bundle.folder / "notes.txt").write_text("of an operator")
    content = {"unlisted": [{"path": "notes.txt", "sha256": hashlib.sha256(b"of an operator").hexdigest()}]}
    bundle.append("continued.json", content_bytes(content), status="info", step="J1")
    with_verdict(bundle)
    (bundle.folder / ".tmp-0123456789abcdef").write_text("half of an item")
    seal(bundle, signer, by="run")
    check_seal(bundle.folder, public(tmp_path))
    assert "  notes.txt\n" in (bundle.folder / "SHA256SUMS").read_text()


# A seal that fails


def test_J1_a_signer_that_fails_leaves_nothing(bundle: Bundle) -> None:
    def refuse(message: bytes) -> Any:
        raise SignerError("KMS Sign: AccessDenied")

    broken = OpenSigner("kms", "kms", "00" * 32, "", "arn:aws:kms:x", refuse)
    with pytest.raises(SignerError, match="AccessDenied"):
        seal(bundle, broken, by="run")
    assert not names(bundle) & SEALED


@pytest.mark.parametrize("written", range(4))
def test_J1_a_disk_that_is_full_is_said_and_the_seal_made_later(
    tmp_path: Path, bundle: Bundle, signer: OpenSigner, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    room = [written]

    def write(path: Path, data: bytes, **options: Any) -> None:
        if not room[0]:
            raise OSError(28, "No space left on device")
        room[0] -= 1
        _locks.write_durable(path, data, **options)

    monkeypatch.setattr(_seal, "write_durable", write)
    with pytest.raises(SealError, match="No space left on device"):
        seal(bundle, signer, by="run")
    room[0] = 9
    seal(bundle, signer, by="evidence_seal")
    assert seal_says(check_seal(bundle.folder, public(tmp_path)))["afterCrash"] is bool(written)


def test_J1_a_report_that_cannot_be_made_is_said(
    bundle: Bundle, signer: OpenSigner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> bytes:
        raise RecursionError("too deep")

    monkeypatch.setattr(_seal, "report_html", fail)
    with pytest.raises(SealError, match="RecursionError: too deep"):
        seal(bundle, signer, by="run")


# Kills and races


# From a server with one thread, which a test worker is not.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["sealing", "securesystemslib.signer"])


def sealer(folder: Path, key: dict[str, str], **more: Any) -> Any:
    """A process that seals, started."""
    process = PROCESSES.Process(target=seal_as_process, args=(str(folder), key), kwargs=more)
    process.start()
    return process


def sealed_in_the_end(folder: Path, signer: OpenSigner, public_key: Path) -> str:
    """Seals again, whatever is there; returns whether that was needed, and after a crash."""
    try:
        seal(Bundle(folder), signer, by="evidence_seal")
        again = "sealed"
    except AlreadySealed:
        again = "was sealed"
    says = seal_says(check_seal(folder, public_key))
    return f"{again}, {'crash' if says['afterCrash'] else 'no crash'}"


@pytest.mark.parametrize("times", [6, pytest.param(200, marks=pytest.mark.soak)])
def test_N4_a_sealer_that_is_killed_at_any_moment_leaves_what_the_next_one_seals(
    tmp_path: Path, bundle: Bundle, signer: OpenSigner, times: int
) -> None:
    chance = random.Random(5)
    key = {"type": "file", "private_key": str(tmp_path / "key.pem")}
    for name in ("warm", "timed"):
        shutil.copytree(bundle.folder, tmp_path / name)
        began = time.monotonic()
        sealer(tmp_path / name, key).join()
        takes = time.monotonic() - began
    outcomes: dict[str, int] = {}
    kills = 0
    for number in range(times):
        folder = tmp_path / f"k{number}"
        shutil.copytree(bundle.folder, folder)
        process = sealer(folder, key)
        time.sleep(chance.uniform(0, takes))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        outcome = sealed_in_the_end(folder, signer, public(tmp_path))
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        shutil.rmtree(folder)
    assert kills >= times / 5, (kills, outcomes)
    assert "was sealed, crash" not in outcomes, outcomes


@pytest.mark.parametrize("step", range(11))
def test_N4_a_sealer_that_is_killed_between_two_writes(
    tmp_path: Path, bundle: Bundle, signer: OpenSigner, step: int
) -> None:
    """Killed before its 1st, 2nd … flush or rename: three for each of four files, but for the last one's last."""
    process = sealer(bundle.folder, {"type": "file", "private_key": str(tmp_path / "key.pem")}, step=step)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    there = names(bundle) & SEALED
    assert len(there) == (step + 1) // 3 and "attestation.dsse.json" not in there
    assert sealed_in_the_end(bundle.folder, signer, public(tmp_path)) == f"sealed, {'crash' if there else 'no crash'}"


def test_N4_of_several_sealers_one_wins(tmp_path: Path, bundle: Bundle, signer: OpenSigner) -> None:
    start = PROCESSES.Barrier(8)
    key = {"type": "file", "private_key": str(tmp_path / "key.pem")}
    processes = [sealer(bundle.folder, key, start=start) for _number in range(8)]
    for process in processes:
        process.join()
    assert sorted(process.exitcode for process in processes) == [0] + [3] * 7
    check_seal(bundle.folder, public(tmp_path))


def test_J1_left_overs_of_a_half_seal_are_said_and_those_of_a_run_without_signer_are_no_crash(
    tmp_path: Path, bundle: Bundle, signer: OpenSigner
) -> None:
    (bundle.folder / "junit.xml").write_text("half")
    seal(bundle, signer, by="evidence_seal")
    assert seal_says(check_seal(bundle.folder, public(tmp_path)))["afterCrash"] is True
    unsigned = with_verdict(run_bundle(tmp_path / "c", signer=None))
    assert summarise(unsigned) == ("junit.xml", "report.html", "SHA256SUMS")
    assert names(unsigned) & SEALED == SEALED - {"attestation.dsse.json"}
    seal(unsigned, signer, by="evidence_seal")
    assert seal_says(check_seal(unsigned.folder, public(tmp_path)))["afterCrash"] is False


def test_N4_without_a_signer_the_sums_hold(tmp_path: Path) -> None:
    bundle = with_verdict(run_bundle(tmp_path / "b", signer=None), "WARNED")
    summarise(bundle)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle.folder, check=True)
    assert sealed_before(bundle.folder) is None


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 5000, b"\xff"])
def test_N4_what_lies_in_the_place_of_an_attestation_is_never_taken_for_one(bundle: Bundle, data: bytes) -> None:
    (bundle.folder / "attestation.dsse.json").write_bytes(data)
    with pytest.raises(SealError, match="no attestation"):
        sealed_before(bundle.folder)


# Time stamps


def test_N4_the_manifest_is_stamped(tmp_path: Path, bundle: Bundle, signer: OpenSigner) -> None:
    authority = Authority()
    with served(authority) as url:
        seal(bundle, signer, by="run", timestamp_url=url)
    [kept] = [
        entry
        for entry in check_seal(bundle.folder, public(tmp_path))["predicate"]["configuration"]
        if entry["name"] == "timestamp"
    ]
    manifest = bundle.manifest.read_bytes()
    check_timestamp(base64.b64decode(kept["content"]), manifest, authority.root_pem)
    assert kept["digest"] == {"sha256": hashlib.sha256(manifest).hexdigest()}


def test_N4_an_authority_that_is_down_does_not_keep_a_bundle_unsealed(
    tmp_path: Path, bundle: Bundle, signer: OpenSigner
) -> None:
    seal(bundle, signer, by="guard", note="completed", timestamp_url="http://127.0.0.1:9/tsa?token=hunter2")
    statement = check_seal(bundle.folder, public(tmp_path))
    note = seal_says(statement)["note"]
    assert note.startswith("completed; no time stamp at sealing: ") and "http://127.0.0.1:9/tsa" in note
    assert "hunter2" not in note
    assert "timestamp" not in [entry["name"] for entry in statement["predicate"]["configuration"]]


# Size

MEASURED = (
    PEAK
    + """
import sys
sys.path[:0] = sys.argv[1:3]
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._seal import seal
from ansible_collections.papyrus.ops.plugins.module_utils._signers import open_signer
seal(Bundle(sys.argv[3]), open_signer({"type": "file", "private_key": sys.argv[4]}), by="run")
print(peak())
"""
)


def test_N4_memory_does_not_grow_with_an_item(tmp_path: Path) -> None:
    key = signing_key(tmp_path)["private_key"]
    kilobytes = []
    for name, size in (("small", 1 << 20), ("large", 1 << 28)):
        bundle = run_bundle(tmp_path / name)
        sparse = tmp_path / f"{name}.bin"
        with sparse.open("wb") as file:
            file.truncate(size)
        line = bundle.append("big.bin", b"", status="info", step="J1")
        sparse.replace(bundle.folder / line["path"])
        with (bundle.folder / line["path"]).open("rb") as file:
            line |= {"bytes": size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}
        raw = bundle.manifest.read_bytes().splitlines(keepends=True)
        bundle.manifest.write_bytes(b"".join(raw[:-1]) + canonical(line) + b"\n")
        with_verdict(Bundle(bundle.folder))
        command = [sys.executable, "-c", MEASURED, str(COLLECTIONS), str(UNIT), str(bundle.folder), key]
        kilobytes.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert kilobytes[1] < kilobytes[0] + 32 * 1024, kilobytes
