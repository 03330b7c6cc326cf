# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The seal in the life of a run: asked for before anything exists, made at every end (J1, N4)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _run_end
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, BundleError, canonical
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import FolderLedger, LedgerError
from ansible_collections.papyrus.ops.plugins.module_utils._run_close import NotSealed, close_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_end import finish
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import (
    OpenError,
    check_open,
    guard_environment,
    open_run,
)
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Settings, Signing
from ansible_collections.papyrus.ops.plugins.module_utils._seal import SealError, check
from ansible_collections.papyrus.ops.plugins.module_utils._signers import SignerError
from ansible_collections.papyrus.ops.plugins.module_utils._timestamps import TimestampError, check_timestamp
from sealing import RUN, check_seal, run_bundle, seal_says, signing_key, with_verdict
from timestamp_authority import Authority, served

FACTS = {"git": {"commit": "c0" * 20, "dirty": False}}
Start = Callable[[Settings, Mapping[str, str]], None]


@pytest.fixture(autouse=True)
def private_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "x"
    root.mkdir()
    monkeypatch.setenv("TMPDIR", str(root))
    monkeypatch.setattr("tempfile.tempdir", None)
    return root


def options(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    given = {
        "evidence_root": str(tmp_path / "runs"), "ledger": str(tmp_path / "ledger"), "service": "svc",
        "tag_prefix": "papyrus", "lease_minutes": 60, "start_guard": False, "region": "us-west-2",
    }  # fmt: skip
    return given | changes


def opened(tmp_path: Path, start: Start | None = None, **changes: Any) -> dict[str, Any]:
    given = options(tmp_path, **changes)
    return open_run(given, FACTS, controller=None, environ={"PATH": os.environ["PATH"]}, start=start)


def nothing_was_begun(tmp_path: Path) -> None:
    assert not list((tmp_path / "runs").glob("*"))
    assert not (tmp_path / "ledger").exists()
    assert not list((tmp_path / "x").iterdir())


def public_mode(signer: dict[str, str]) -> dict[str, str]:
    Path(signer["private_key"]).chmod(0o644)
    return signer


def absent(signer: dict[str, str]) -> dict[str, str]:
    Path(signer["private_key"]).unlink()
    return signer


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (absent, "There is no signing key"),
        (public_mode, "key.pem"),
        (lambda signer: {"type": "kms", "key_id": "alias/x"}, "KMS GetPublicKey"),
    ],
)
def test_J1_a_signer_that_cannot_sign_is_refused_before_anything_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[dict[str, str]], dict[str, str]], words: str
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "testtest",
        "AWS_MAX_ATTEMPTS": "1", "AWS_REGION": "us-west-2",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    signer = spoil(signing_key(tmp_path))
    with pytest.raises(SignerError, match=words):
        opened(tmp_path, signer=signer)
    nothing_was_begun(tmp_path)
    with pytest.raises(SignerError, match=words):  # check mode says the same
        check_open(options(tmp_path, signer=signer))


def test_N4_an_authority_that_does_not_answer_is_refused_before_anything_exists(tmp_path: Path) -> None:
    with pytest.raises(TimestampError):
        opened(tmp_path, signer=signing_key(tmp_path), timestamp_url="http://127.0.0.1:9/")
    nothing_was_begun(tmp_path)
    with served(Authority(granted=False)) as url, pytest.raises(TimestampError, match="not today"):
        opened(tmp_path, timestamp_url=url)
    nothing_was_begun(tmp_path)


def test_N4_the_first_line_is_stamped_before_the_lease(tmp_path: Path) -> None:
    authority = Authority()
    with served(authority) as url:
        run = opened(tmp_path, signer=signing_key(tmp_path), timestamp_url=url)
        end = close_run(run, {}, [])
    bundle = Bundle(run["folder"])
    lines = bundle.lines()
    assert [line["name"] for line in lines[:3]] == ["run.json", "run_timestamp.tsr", "lease.json"]
    assert (lines[1]["media_type"], lines[1]["step"]) == ("application/timestamp-reply", "J1")
    first = bundle.manifest.read_bytes().split(b"\n")[0]
    check_timestamp(bundle.data(lines[1]), first, authority.root_pem)
    kept = json.loads(bundle.data(lines[0]))
    assert kept["timestamps"] is True and kept["signer"]["trust"] == "self-asserted"
    assert kept["signer"]["keyid"] == end["sealed"]["keyid"]
    statement = check_seal(bundle.folder, tmp_path / "key.pub.pem")
    assert "timestamp" in [entry["name"] for entry in statement["predicate"]["configuration"]]


def test_J1_a_run_that_could_not_be_opened_is_sealed_as_failed(tmp_path: Path) -> None:
    def refuse(settings: Settings, environ: Mapping[str, str]) -> None:
        raise OpenError("the guard of the run did not start: it said nothing")

    with pytest.raises(OpenError, match=r"the guard of the run did not start.*Its bundle: "):
        opened(tmp_path, refuse, signer=signing_key(tmp_path), start_guard=True)
    [folder] = (tmp_path / "runs").iterdir()
    statement = check_seal(folder, tmp_path / "key.pub.pem")
    assert (statement["predicate"]["result"], statement["predicate"]["failedTests"]) == ("FAILED", ["N1 run N1"])
    closed = FolderLedger(tmp_path / "ledger").closed(folder.name) or {}
    attestation = (folder / "attestation.dsse.json").read_bytes()
    assert closed["attestation_sha256"] == hashlib.sha256(attestation).hexdigest()
    assert not list((tmp_path / "x").iterdir())


def test_J1_a_run_that_could_neither_be_opened_nor_sealed_says_both_and_leaves_no_secret(tmp_path: Path) -> None:
    signer = signing_key(tmp_path)

    def refuse(settings: Settings, environ: Mapping[str, str]) -> None:
        Path(signer["private_key"]).unlink()
        raise OpenError("the guard of the run did not start: it said nothing")

    with pytest.raises(OpenError, match=r"the guard of the run did not start.*NOT SEALED: There is no signing key"):
        opened(tmp_path, refuse, signer=signer, start_guard=True)
    assert not list((tmp_path / "x").iterdir())
    assert len(FolderLedger(tmp_path / "ledger").unclosed()) == 1


def test_J1_without_a_signer_the_run_is_warned_and_closed(tmp_path: Path) -> None:
    run = opened(tmp_path)
    Bundle(run["folder"]).append("healthz.log", b"", status="ok", step="D1")
    end = close_run(run, {}, [])
    assert end["verdict"]["result"] == "WARNED" and "no signer" in end["verdict"]["warnings"][0]
    assert end["sealed"] == {} and "Sealed" not in end["text"]
    there = {entry.name for entry in Path(run["folder"]).iterdir()}
    assert {"junit.xml", "report.html", "SHA256SUMS"} <= there and "attestation.dsse.json" not in there
    assert (FolderLedger(run["ledger"]).closed(run["id"]) or {"attestation_sha256": ""})["attestation_sha256"] is None
    assert json.loads((Path(run["folder"]) / "run.json").read_text())["signer"] is None


def test_J1_the_text_says_by_whom_it_was_sealed_and_how_to_verify_it(tmp_path: Path) -> None:
    run = opened(tmp_path, signer=signing_key(tmp_path))
    end = close_run(run, {"step": "D1", "task": "Ask", "cause": "503"}, [])
    *_rows, seal_line, last = end["text"].splitlines()
    assert last == f"FAILED  evidence: {run['folder']}"
    assert seal_line == (
        f"Sealed with the runner's own key file, key {end['sealed']['keyid'][:16]}. Verify: ansible-playbook "
        f"papyrus.ops.verify_evidence -e papyrus_verify_bundle={run['folder']} -e papyrus_verify_key=…"
    )
    assert end["sealed"]["attestation"] == f"{run['folder']}/attestation.dsse.json"


def test_J1_a_seal_that_fails_hides_nothing_and_the_private_folder_goes(tmp_path: Path) -> None:
    run = opened(tmp_path, signer=signing_key(tmp_path))
    Path(run["signer"]["private_key"]).unlink()
    with pytest.raises(NotSealed) as failed:
        close_run(run, {"step": "D1", "task": "Ask", "cause": "/dbcheck answered 503"}, [])
    said = str(failed.value).splitlines()
    assert "First failure: D1 /dbcheck answered 503" in said[-3]
    assert said[-2].startswith("NOT SEALED: There is no signing key") and said[-1].startswith("FAILED  evidence: ")
    assert f'-m papyrus.ops.evidence_seal -a \'{{"bundle": "{run["folder"]}"' in said[-2]
    assert failed.value.end["verdict"]["result"] == "FAILED" and failed.value.end["sealed"] == {}
    assert not Path(run["private"]).exists()
    assert FolderLedger(run["ledger"]).unclosed() == [run["id"]]


def test_J1_a_fault_of_ours_while_sealing_does_not_cost_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise ZeroDivisionError("ours")

    run = opened(tmp_path, signer=signing_key(tmp_path))
    monkeypatch.setattr(_run_end, "seal", fail)
    with pytest.raises(NotSealed, match="NOT SEALED: ZeroDivisionError: ours"):
        close_run(run, {"cause": "503"}, [])
    assert Bundle(run["folder"]).closed() and not Path(run["private"]).exists()


def test_N4_a_ledger_that_cannot_be_closed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> Any:
        raise LedgerError("PutObject s3://ledger: AccessDenied")

    run = opened(tmp_path, signer=signing_key(tmp_path))
    monkeypatch.setattr(FolderLedger, "close", refuse)
    with pytest.raises(NotSealed, match="NOT CLOSED in the ledger .* AccessDenied"):
        close_run(run, {"cause": "503"}, [])
    check_seal(Path(run["folder"]), tmp_path / "key.pub.pem")
    assert not Path(run["private"]).exists()


def test_N4_nothing_is_added_to_a_bundle_that_is_sealed(tmp_path: Path) -> None:
    bundle = with_verdict(run_bundle(tmp_path / "b"))
    signing = Signing(signing_key(tmp_path))
    first = finish(bundle, None, RUN, signing=signing)
    (bundle.folder / "stray.txt").write_text("x")
    before = bundle.manifest.read_bytes()
    again = finish(bundle, None, RUN, {"cause": "too late"}, signing=signing)
    assert bundle.manifest.read_bytes() == before and again["sealed"] == first["sealed"] and not again["changed"]


def test_N4_a_second_verdict_is_not_given(tmp_path: Path) -> None:
    bundle = run_bundle(tmp_path / "b")
    failure = {"step": "D1", "name": "", "task": "Ask", "cause": "503"}
    with_verdict(bundle, "FAILED", first_failure=failure, failures=[failure])
    lines = bundle.manifest.read_bytes().splitlines()
    more = json.loads(lines[2]) | {"seq": len(lines), "prev": hashlib.sha256(lines[-1]).hexdigest()}
    bundle.manifest.write_bytes(b"\n".join([*lines, canonical(more)]) + b"\n")
    with pytest.raises(BundleError, match="goes on behind the verdict"):
        finish(Bundle(bundle.folder), None, RUN, signing=Signing(signing_key(tmp_path)))
    with pytest.raises(SealError, match="goes on behind the verdict"):
        check(bundle, ended=False)


def test_N4_only_a_keyless_run_hands_the_workflows_identity_to_its_guard(tmp_path: Path) -> None:
    environ = {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t", "GITHUB_ACTIONS": "true", "GITHUB_TOKEN": "no", "PATH": "/bin"}
    environ["RUNNER_TRACKING_ID"] = "github_1"  # by which a runner finds what it kills at the end of a job
    kept = {}
    for kind in ("sigstore", "file"):
        settings = Settings(
            run_id="", suffix="", folder="", private="", ledger="", service="", region="", tag_prefix="", expires_at="",
            controller=None, stack=None, limits=Any, signer={"type": kind},
        )  # fmt: skip
        kept[kind] = guard_environment(settings, environ)
    assert {"ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GITHUB_ACTIONS", "PATH"} <= kept["sigstore"].keys()
    assert "GITHUB_TOKEN" not in kept["sigstore"]
    assert not [name for name in kept["file"] if "ACTIONS" in name]
    assert not [kind for kind, given in kept.items() if "RUNNER_TRACKING_ID" in given]


def test_J1_who_sealed_is_said_in_the_statement(tmp_path: Path) -> None:
    bundle = with_verdict(run_bundle(tmp_path / "b"))
    finish(bundle, None, RUN, signing=Signing(signing_key(tmp_path)), by="guard", note="why")
    says = seal_says(check_seal(bundle.folder, tmp_path / "key.pub.pem"))
    assert (says["by"], says["note"], says["afterCrash"]) == ("guard", "why", False)
