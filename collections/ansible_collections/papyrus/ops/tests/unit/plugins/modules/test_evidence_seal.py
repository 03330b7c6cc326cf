# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""evidence_seal as Ansible calls it: what a crash left, what it refuses, twice, check mode (J1, N4)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils._dsse import load_public_keys
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import Process, process
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import FolderLedger
from ansible_collections.papyrus.ops.plugins.module_utils._names import rfc3339, utc_now
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Limits, Settings, write_guard_process
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
from ansible_collections.papyrus.ops.plugins.modules import evidence_seal
from sealing import RUN, check_seal, run_bundle, seal_says, signing_key, with_verdict

SEALED = {"junit.xml", "report.html", "SHA256SUMS", "attestation.dsse.json"}
Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Runs the module on the bundle `b` and returns the JSON that it printed."""
    (tmp_path / "x").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "x"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    monkeypatch.setattr("tempfile.tempdir", None)
    signer = signing_key(tmp_path)

    def run(check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {"bundle": str(tmp_path / "b"), "signer": signer, "ledger": str(tmp_path / "ledger"), **arguments}
        given |= {"_ansible_check_mode": check, "_ansible_remote_tmp": "/tmp"}
        with patch_module_args(given), pytest.raises(SystemExit):
            evidence_seal.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def opened(tmp_path: Path, verdict: str = "", **run: Any) -> tuple[Bundle, FolderLedger]:
    bundle, ledger = run_bundle(tmp_path / "b", **run), FolderLedger(tmp_path / "ledger")
    ledger.open(RUN, "svc", hashlib.sha256((bundle.folder / "run.json").read_bytes()).hexdigest())
    return (with_verdict(bundle, verdict) if verdict else bundle), ledger


def files(bundle: Bundle) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in bundle.folder.iterdir()}


def test_J1_a_run_that_could_not_be_sealed_at_its_end_is_sealed_afterwards(tmp_path: Path, call: Call) -> None:
    bundle, ledger = opened(tmp_path, "PASSED")
    result = call()
    assert result["changed"] and not result["already_sealed"] and not result["completed"], result
    says = seal_says(check_seal(bundle.folder, tmp_path / "key.pub.pem"))
    assert (says["by"], says["afterCrash"]) == ("evidence_seal", False)
    assert says["note"] == "sealed afterwards by evidence_seal: the run had its verdict and no seal"
    assert (ledger.closed(RUN) or {})["attestation_sha256"] == result["sealed"]["sha256"]
    assert (ledger.closed(RUN) or {})["result"] == "PASSED" == result["verdict"]["result"]


def test_J1_a_bundle_without_a_verdict_is_completed_as_failed_once_its_lease_is_over(
    tmp_path: Path, call: Call
) -> None:
    bundle, ledger = opened(tmp_path)
    with bundle.manifest.open("ab") as file:
        file.write(b'{"seq":4,"prev":"')  # the writer was killed in the middle of its line
    result = call()
    assert result["completed"] and result["verdict"]["result"] == "FAILED", result
    statement = check_seal(bundle.folder, tmp_path / "key.pub.pem")
    assert statement["predicate"]["failedTests"][0] == "C6 run C6"
    assert seal_says(statement)["afterCrash"] is True
    [first] = [e["annotations"] for e in statement["predicate"]["configuration"] if e["name"] == "verdict"]
    assert "last item before: binding.json" in first["firstFailure"]["cause"]
    assert "continued.json" in [line["name"] for line in bundle.lines()]
    assert (ledger.closed(RUN) or {})["result"] == "FAILED"


def test_J1_a_run_that_may_be_under_way_is_not_completed(tmp_path: Path, call: Call) -> None:
    bundle, ledger = opened(tmp_path)
    lease = {"run_id": RUN, "expires_at": rfc3339(utc_now().replace(year=2099))}
    bundle.append("lease.json", content_bytes(lease), status="info", step="N1")
    before = files(bundle)
    for check in (True, False):
        refused = call(check=check)
        assert refused["failed"] and "its lease lasts until 2099" in refused["msg"]
    assert files(bundle) == before and ledger.closed(RUN) is None
    assert call(abandoned=True)["completed"]
    check_seal(bundle.folder, tmp_path / "key.pub.pem")


def test_J1_a_bundle_without_a_lease_is_completed_only_when_told_that_it_is_abandoned(
    tmp_path: Path, call: Call
) -> None:
    bundle = Bundle.create(tmp_path / "b", {"run_id": RUN, "signer": {"type": "file"}})
    assert "no lease" in call()["msg"]
    assert call(abandoned=True)["completed"]
    check_seal(bundle.folder, tmp_path / "key.pub.pem")


def test_J1_what_is_no_part_of_a_bundle_is_named_taken_out_and_then_nobody_is_accused(
    tmp_path: Path, call: Call
) -> None:
    bundle, _ledger = opened(tmp_path)
    for name in ("notes.txt", "kept.txt"):
        (bundle.folder / name).write_text("of an operator")
    (bundle.folder / "link").symlink_to("notes.txt")
    refused = call()
    assert refused["failed"] and "'link'" in refused["msg"] and "take it out of the folder" in refused["msg"]
    assert not SEALED & {entry.name for entry in bundle.folder.iterdir()}
    (bundle.folder / "link").unlink()
    (bundle.folder / "notes.txt").unlink()
    assert call()["sealed"]
    check_seal(bundle.folder, tmp_path / "key.pub.pem")
    answer = verify(bundle.folder, load_public_keys([str(tmp_path / "key.pub.pem")]))
    assert (answer["result"], answer["findings"]) == ("ok", [])
    (bundle.folder / "kept.txt").unlink()
    assert verify(bundle.folder, load_public_keys([str(tmp_path / "key.pub.pem")]))["result"] == "tampered"


def private_folder(tmp_path: Path, bundle: Bundle, controller: Process | None) -> Path:
    private = tmp_path / "x" / "papyrus-abc234-1"
    private.mkdir(mode=0o700)
    Redactor.prepare(private)
    Settings(
        run_id=RUN, suffix="abc234", folder=str(bundle.folder), private=str(private), ledger="", service="svc",
        region="", tag_prefix="papyrus", expires_at="2026-01-31T13:00:00Z", controller=controller, stack=None,
        limits=Limits(),
    ).save()  # fmt: skip
    return private


def test_J1_a_run_whose_guard_lives_is_refused_whatever_its_lease_says(tmp_path: Path, call: Call) -> None:
    bundle, ledger = opened(tmp_path)
    own = process(os.getpid())
    assert own is not None
    private = private_folder(tmp_path, bundle, None)
    write_guard_process(private, own)
    before = files(bundle)
    refused = call(abandoned=True)
    assert refused["failed"] and f"process {own.pid}" in refused["msg"]
    assert files(bundle) == before and ledger.closed(RUN) is None
    write_guard_process(private, Process(own.pid, "of another process"))
    assert call()["completed"]
    assert not private.exists()  # its secrets are of no more use


def test_N4_twice_changes_nothing(tmp_path: Path, call: Call) -> None:
    bundle, _ledger = opened(tmp_path, "WARNED")
    first, before = call(), files(bundle)
    again = call()
    assert (again["changed"], again["already_sealed"], again["sealed"]) == (False, True, first["sealed"])
    assert files(bundle) == before and "not sealed again" in again["text"]


def test_N4_a_seal_that_the_ledger_does_not_know_is_told_to_it(tmp_path: Path, call: Call) -> None:
    bundle, ledger = opened(tmp_path, "PASSED")
    assert call(ledger=None)["changed"] and ledger.closed(RUN) is None
    assert call(check=True)["changed"] and ledger.closed(RUN) is None
    again = call()
    assert again["changed"] and again["already_sealed"]
    attestation = (bundle.folder / "attestation.dsse.json").read_bytes()
    assert (ledger.closed(RUN) or {})["attestation_sha256"] == hashlib.sha256(attestation).hexdigest()
    assert not call()["changed"]


def test_N4_an_item_that_was_changed_is_named_and_nothing_signed(tmp_path: Path, call: Call) -> None:
    for verdict in ("PASSED", ""):
        bundle, ledger = opened(tmp_path / (verdict or "none"), verdict)
        path = next(bundle.folder.glob("*_healthz.log"))
        path.write_bytes(b"HTTP/1.1 200 OK\r\n\r\n[]")
        refused = call(bundle=str(bundle.folder), ledger=str(ledger.folder))
        assert refused["failed"] and path.name in refused["msg"]
        assert not SEALED & files(bundle).keys() and ledger.closed(RUN) is None


def test_J1_check_mode_predicts_and_writes_nothing(tmp_path: Path, call: Call) -> None:
    bundle, ledger = opened(tmp_path, "PASSED")
    before = files(bundle)
    predicted = call(check=True)
    assert predicted["changed"] and not predicted["completed"] and "would be sealed" in predicted["text"]
    assert files(bundle) == before and ledger.closed(RUN) is None
    next(bundle.folder.glob("*_healthz.log")).unlink()
    assert call(check=True)["failed"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"signer": {"type": "file", "private_key": "/nowhere/key.pem"}}, "/nowhere/key.pem"),
        ({"signer": {"type": "file"}}, "private_key must be given"),
        ({"signer": {"type": "file", "private_key": "/k", "key_id": "x"}}, "unknown option key_id"),
        ({"bundle": "/nowhere"}, "no evidence bundle"),
        ({"ledger": "/dev/null"}, "/dev/null is no folder"),
    ],
)
def test_J1_it_says_what_is_wrong(tmp_path: Path, call: Call, arguments: dict[str, Any], words: str) -> None:
    bundle, _ledger = opened(tmp_path, "PASSED")
    before = files(bundle)
    refused = call(**arguments)
    assert refused["failed"] and words in refused["msg"], refused
    assert files(bundle) == before


@pytest.mark.parametrize("manifest", [b"", b"x\n", b"{}\n", b'{"name":"run.json"}\n', b"[]\n"])
def test_N4_what_is_no_manifest_is_refused(tmp_path: Path, call: Call, manifest: bytes) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "manifest.jsonl").write_bytes(manifest)
    for abandoned in (False, True):
        assert call(abandoned=abandoned)["failed"]
    assert [entry.name for entry in (tmp_path / "b").iterdir()] == ["manifest.jsonl"]
