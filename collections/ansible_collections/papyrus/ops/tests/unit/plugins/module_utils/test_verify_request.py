# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verification as people and pipelines ask for it: exit codes, JSON, words, ledger, CloudTrail, time stamps (N4)."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _verify_request
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._dsse import parse_envelope
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, canonical
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import open_ledger
from ansible_collections.papyrus.ops.plugins.module_utils._names import parse_rfc3339
from ansible_collections.papyrus.ops.plugins.module_utils._seal import seal
from ansible_collections.papyrus.ops.plugins.module_utils._verify_cli import main
from ansible_collections.papyrus.ops.plugins.module_utils._verify_request import Request, RequestError, examine
from ansible_collections.papyrus.ops.plugins.module_utils._verify_text import summary, text
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import (
    NOON,
    Key,
    listed_in,
    manifest_lines,
    run_bundle,
    sealed_bundle,
    write,
)
from ansible_collections.papyrus.ops.tests.unit.sealing import DIGEST

ATTESTATION = "attestation.dsse.json"
OTHER_IMAGE = "sha256:" + "00" * 32

pytestmark = pytest.mark.usefixtures("not_for_keeping")


@pytest.fixture
def other(tmp_path: Path, key: Key) -> Path:
    return sealed_bundle(tmp_path / "runs", random.Random(8), key, image=True, crash="", good=True)


def change(folder: Path) -> str:
    path = str(json.loads(manifest_lines(folder)[1])["path"])
    write(folder / path, b"other")
    return path


def asked(folder: Path, key: Key, **more: Any) -> dict[str, Any]:
    return examine(Request(bundles=[str(folder)], keys=[str(key.public)], **more))


# The command


def test_N4_the_command_says_the_answer_first(folder: Path, key: Key, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--key", str(key.public)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"OK  {folder.name} is as it was sealed. The run PASSED."
    assert f"  image      {DIGEST}" in lines and any("whether that machine told the truth" in line for line in lines)
    assert lines[-1].startswith("Not checked: whether other runs were left out (--ledger); whether AWS saw")


def test_N4_the_command_tells_by_its_exit_code(
    tmp_path: Path, folder: Path, other: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    public = ["--key", str(key.public)]
    assert main([str(folder), *public, "--image", DIGEST, "--require-result", "PASSED"]) == 0
    assert main([str(folder), *public, "--image", f"registry.example.com/papyrus@{DIGEST}"]) == 0
    assert main([str(folder), *public, "--image", OTHER_IMAGE]) == 4
    assert main([str(folder), *public, "--require-result", "FAILED"]) == 4
    assert capsys.readouterr().out.splitlines()[-2].startswith("  sealed")
    (other / ATTESTATION).unlink()
    assert main([str(other), *public]) == 3
    out = capsys.readouterr().out
    assert out.startswith(f"INCOMPLETE  {other.name} is not proved") and "says PASSED, and nobody signed that" in out
    assert main([str(folder), str(other), *public]) == 3
    assert capsys.readouterr().out.startswith("INCOMPLETE  1 ok, 1 incomplete\n")
    path = change(folder)
    assert main([str(folder), *public]) == 2
    out = capsys.readouterr().out
    assert out.startswith(f"TAMPERED  {folder.name} is not what was sealed") and f"{path} (item 1): has " in out
    assert main([str(folder), str(tmp_path / "gone"), *public]) == 2
    assert main([str(other), str(tmp_path / "gone"), *public]) == 1
    assert "UNKNOWN  1 incomplete; 1 could not be asked" in capsys.readouterr().out


def test_N4_the_command_shows_that_an_intact_run_has_failed(
    tmp_path: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = run_bundle(tmp_path / "runs", random.Random(7), ended=False, good=True)
    bundle.append("verdict.json", b'{"result": "FAILED"}', status="ng", step="all")
    seal(bundle, key.signer, by="guard")
    assert main([str(bundle.folder), "--key", str(key.public)]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("is as it was sealed. The run FAILED.")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "no bundle is given"),
        (["--key", "KEY"], "no bundle is given"),
        (["--key", "KEY", "--root", "gone"], "cannot be|has no bundles"),
        (["BUNDLE"], "no public key is given: take it from whoever runs the releases"),
        (["BUNDLE", "--key", "gone.pem"], "gone.pem: the public key cannot be read"),
        (["BUNDLE", "--key", "PRIVATE"], "this is a private key"),
        (["BUNDLE", "--key", "KEY", "--image", "latest"], "'latest' is not the digest of an image"),
        (["BUNDLE", "--key", "KEY", "--require-result", "GOOD"], "invalid choice: 'GOOD'"),
        (["BUNDLE", "--key", "KEY", "--since", "2026-01-31T12:00:00Z"], "none is given"),
        (["BUNDLE", "--key", "KEY", "--ledger", "x", "--since", "yesterday"], "'yesterday' is not an RFC 3339 time"),
        (["BUNDLE", "--key", "KEY", "--ledger", "s3://"], "s3://"),
        (["BUNDLE", "--key", "KEY", "--ledger", "x", "--only-shown", "--since", "2026-01-31T12:00:00Z"], "do not go"),
        (["BUNDLE", "--identity", "x"], "both the identity and its issuer"),
        (["BUNDLE", "--key", "KEY", "--timestamp-roots", "KEY"], "no file of PEM certificates"),
        (["BUNDLE", "--key", "KEY", "--timestamp-roots", "gone"], "root certificates gone cannot be read"),
        (["BUNDLE", "--key", "KEY", "--loud"], "unrecognized arguments: --loud"),
        (["BUNDLE", "--key", "INSIDE"], "lies in the bundle itself"),
        (["BUNDLE", "--key", "LINKED"], "lies in the bundle itself"),
        (["BUNDLE", "--key", "KEY", "--timestamp-roots", "INSIDE"], "lies in the bundle itself"),
    ],
)
def test_N4_a_wrong_question_is_told_from_a_bad_bundle(
    tmp_path: Path, folder: Path, key: Key, capsys: pytest.CaptureFixture[str], arguments: list[str], why: str
) -> None:
    shutil.copy(key.public, folder / "own.pem")
    (tmp_path / "linked.pem").symlink_to(folder / "own.pem")
    given = {"BUNDLE": folder, "KEY": key.public, "PRIVATE": key.path, "INSIDE": folder / "own.pem",
             "LINKED": tmp_path / "linked.pem"}  # fmt: skip
    assert main([str(given.get(argument, argument)) for argument in arguments]) == 1
    shown = capsys.readouterr()
    assert shown.out == "" and any(word in shown.err for word in why.split("|")), shown.err
    assert shown.err.startswith("verify: ")


def test_N4_the_json_has_everything(folder: Path, key: Key, capsys: pytest.CaptureFixture[str]) -> None:
    path = change(folder)
    assert main([str(folder), "--key", str(key.public), "--json"]) == 2
    answer = json.loads(capsys.readouterr().out)
    assert (answer["result"], answer["exit_code"], answer["ledger"], answer["errors"]) == ("tampered", 2, None, [])
    [bundle] = answer["bundles"]
    [finding] = bundle["findings"]
    assert (finding["class"], finding["path"], finding["seq"]) == ("invalid", path, 1)
    assert [item["class"] for item in bundle["files"] if item["path"] == path] == ["invalid"]


def test_N4_all_bundles_of_a_folder_are_found(
    tmp_path: Path, folder: Path, other: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs" / "notes").mkdir()
    (tmp_path / "runs" / "link").symlink_to(folder)
    third = tmp_path / "runs" / "renamed"
    shutil.copytree(folder, third)
    answer = examine(Request(root=str(tmp_path / "runs"), keys=[str(key.public)]))
    assert {bundle["bundle"] for bundle in answer["bundles"]} == {str(folder), str(other), str(third)}
    (tmp_path / "runs" / "20260131T120000Z-zzzzzz").mkdir()  # a run of which nothing is left
    assert main(["--root", str(tmp_path / "runs"), "--key", str(key.public)]) == 1
    assert "3 ok; 1 could not be asked" in capsys.readouterr().out


def test_N4_many_findings_are_counted_and_not_all_shown(folder: Path, key: Key) -> None:
    for number in range(50):
        (folder / f"more{number:02}").write_bytes(b"")
    shown = text(asked(folder, key)).splitlines()
    assert sum("unlisted" in line for line in shown) == 20 and "  … and 30 more (--json has all of them)" in shown
    assert summary(asked(folder, key)).endswith("… and 47 more")


def test_N4_the_script_needs_no_ansible_and_no_environment(tmp_path: Path, folder: Path, key: Key) -> None:
    script = Path(__file__).resolve().parents[8] / "scripts" / "verify"
    if not script.exists():
        pytest.skip("the collection is tested without its checkout")
    command = [str(script), folder.name, "--key", os.path.relpath(key.public, folder.parent)]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.environ["PATH"]}
        return subprocess.run(
            [*command, *more], cwd=folder.parent, env=environment, capture_output=True, text=True, check=False
        )

    done = run()
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(f"OK  {folder.name} ")
    change(folder)
    assert run().returncode == 2
    (folder / ATTESTATION).unlink()
    assert run("--no-such").returncode == 1
    done = run("--help")
    assert done.returncode == 0 and "exit code: 0 ok; 2 tampered; 3 incomplete" in done.stdout


# The ledger


def announced(tmp_path: Path, *folders: Path) -> Path:
    """A ledger that has these runs, closed with the seals that they have."""
    where = tmp_path / "ledger"
    for folder in folders:
        ledger = open_ledger(str(where), now=lambda: NOON)
        ledger.open(folder.name, "svc", hashlib.sha256((folder / "run.json").read_bytes()).hexdigest())
        attestation = hashlib.sha256((folder / ATTESTATION).read_bytes()).hexdigest()
        ledger.close(folder.name, "PASSED", Bundle(folder).head(), attestation)
    return where


def test_N4_the_ledger_knows_what_is_shown_and_what_is_not(tmp_path: Path, folder: Path, other: Path, key: Key) -> None:
    where = str(announced(tmp_path, folder, other))
    whole = examine(Request(root=str(tmp_path / "runs"), keys=[str(key.public)], ledger=where))
    assert (whole["result"], whole["ledger"]["never_shown"]) == ("ok", [])
    assert [bundle["ledger"] for bundle in whole["bundles"]] == [{"result": "ok", "findings": []}] * 2
    assert "--ledger" not in text(whole)
    one = asked(folder, key, ledger=where)
    assert (one["result"], one["exit_code"], one["ledger"]["never_shown"]) == ("incomplete", 3, [other.name])
    assert one["bundles"][0]["result"] == "ok" and other.name in summary(one)
    lines = text(one).splitlines()
    assert lines[0].startswith("OK  ") and any(line.startswith("INCOMPLETE  ledger ") for line in lines)
    assert any(line.startswith("  never-shown") and other.name in line for line in lines)
    assert asked(folder, key, ledger=where, only_shown=True)["result"] == "ok"
    assert asked(folder, key, ledger=where, service="another")["result"] == "ok"
    assert asked(folder, key, ledger=where, until="2026-01-30T00:00:00Z")["result"] == "ok"


def test_N4_a_seal_taken_away_is_known_to_the_ledger(tmp_path: Path, folder: Path, key: Key) -> None:
    where = str(announced(tmp_path, folder))
    (folder / ATTESTATION).unlink()
    assert asked(folder, key)["result"] == "incomplete"
    answer = asked(folder, key, ledger=where)
    assert (answer["result"], answer["bundles"][0]["result"], answer["bundles"][0]["exit_code"]) == (
        "tampered", "tampered", 2,
    )  # fmt: skip
    assert "it was sealed, and is shown without the attestation" in text(answer)


def test_N4_a_bundle_that_was_made_anew_with_the_right_key_is_known_to_the_ledger(
    tmp_path: Path, folder: Path, key: Key
) -> None:
    where = str(announced(tmp_path, folder))
    again = json.loads(parse_envelope((folder / ATTESTATION).read_bytes()).payload)
    again["predicate"]["url"] = "https://example.com"
    write(folder / ATTESTATION, key.signer.envelope(canonical(again)))
    assert asked(folder, key)["result"] == "ok"
    assert asked(folder, key, ledger=where)["result"] == "tampered"


def test_N4_a_ledger_that_cannot_be_read_is_no_proof(tmp_path: Path, folder: Path, key: Key) -> None:
    where = announced(tmp_path, folder)
    shutil.rmtree(where)
    where.write_bytes(b"")
    answer = asked(folder, key, ledger=str(where))
    assert answer["result"] != "ok" and answer["exit_code"] in (1, 2, 3)


# CloudTrail


def look(monkeypatch: pytest.MonkeyPatch, result: str | AwsFailure) -> list[Any]:
    calls: list[Any] = []

    def fake(view: Any, clients: Any, *, now: dt.datetime) -> dict[str, Any]:
        calls.append((view, clients, now))
        if isinstance(result, AwsFailure):
            raise result
        finding = {"class": "not-created", "result": result, "reason": "CloudTrail has no CreateLoadBalancer",
                   "seq": None, "path": ""}  # fmt: skip
        return {
            "result": result, "findings": [finding] if result != "ok" else [], "looked_up": 3, "endpoint": "https://x",
            "request_ids": {"asked": 2, "found": 2, "not_logged": {}},
        }  # fmt: skip

    monkeypatch.setattr(_verify_request, "online", fake)
    return calls


@pytest.mark.parametrize(("result", "code"), [("ok", 0), ("incomplete", 3), ("tampered", 2)])
def test_N4_what_aws_saw_counts_as_well(
    folder: Path, key: Key, monkeypatch: pytest.MonkeyPatch, result: str, code: int
) -> None:
    calls = look(monkeypatch, result)
    request = Request(bundles=[str(folder)], keys=[str(key.public)], online=True)
    regions: list[str] = []
    answer = examine(request, clients=lambda region: regions.append(region) or (lambda service: None), now=lambda: NOON)
    assert (answer["result"], answer["exit_code"], answer["bundles"][0]["online"]["looked_up"]) == (result, code, 3)
    [(view, _clients, now)] = calls
    assert (regions, now) == (["us-west-2"], NOON)
    assert [line["seq"] for line in view.lines] == list(range(len(manifest_lines(folder))))
    assert view.run["run_id"] == folder.name and view.verdict["result"] == "PASSED"
    assert ("not-created" in text(answer)) == (result != "ok") and "2 of 2 requests found in CloudTrail" in text(answer)


def test_N4_aws_is_not_asked_about_a_bundle_that_was_tampered_with(
    folder: Path, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = look(monkeypatch, "ok")
    change(folder)
    answer = asked(folder, key, online=True)
    assert (answer["result"], answer["bundles"][0]["online"], calls) == ("tampered", None, [])


def test_N4_an_aws_that_lets_nobody_look_is_no_proof(folder: Path, key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    look(monkeypatch, AwsFailure("not authorized", code="AccessDenied", operation="cloudtrail:LookupEvents"))
    answer = examine(Request(bundles=[str(folder)], keys=[str(key.public)], online=True), clients=lambda region: print)
    assert (answer["result"], answer["exit_code"]) == ("unknown", 1)
    assert "AccessDenied" in answer["errors"][0]["reason"] and text(answer).startswith("UNKNOWN  1 ok; 1 could not")


# Time stamps


@pytest.fixture
def authority() -> Any:
    pytest.importorskip("asn1crypto")
    pytest.importorskip("rfc3161_client")
    from ansible_collections.papyrus.ops.tests.unit import timestamp_authority

    return timestamp_authority


def stamped(root: Path, key: Key, stand: Any, opening: Any, sealing: Any, data: bytes | None = None) -> Path:
    """A sealed bundle with a time stamp over its first line by one authority, and over its manifest by another."""
    from ansible_collections.papyrus.ops.plugins.module_utils._timestamps import request_timestamp

    bundle = run_bundle(root, random.Random(7), items=0, image=False, crash="", ended=False)
    with stand.served(opening) as url:
        token = request_timestamp(url, data or bundle.manifest.read_bytes().rstrip(b"\n"))
    bundle.append("run_timestamp.tsr", token, media_type="application/timestamp-reply", status="info", step="J1")
    bundle.append("verdict.json", b'{"result": "PASSED"}', status="ok", step="all")
    with stand.served(sealing) as url:
        seal(bundle, key.signer, by="run", timestamp_url=url)
    return bundle.folder


def roots_of(tmp_path: Path, *authorities: Any) -> str:
    (tmp_path / "roots.pem").write_bytes(b"".join(each.root_pem for each in authorities))
    return str(tmp_path / "roots.pem")


def test_N4_time_stamps_are_checked_with_roots_and_else_said_not_to_be(
    tmp_path: Path, key: Key, authority: Any
) -> None:
    own = authority.Authority()
    folder = stamped(tmp_path / "runs", key, authority, own, own)
    without = asked(folder, key)
    assert without["result"] == "ok"
    assert [(stamp["of"], stamp["checked"]) for stamp in without["bundles"][0]["timestamps"]] == [
        ("opening", False), ("sealing", False),
    ]  # fmt: skip
    assert "the time stamps (--timestamp-roots)" in text(without)
    answer = asked(folder, key, timestamp_roots=roots_of(tmp_path, own))
    stamps = answer["bundles"][0]["timestamps"]
    assert answer["result"] == "ok" and all(stamp["checked"] for stamp in stamps)
    now = dt.datetime.now(dt.UTC)
    assert all(now - dt.timedelta(minutes=2) < parse_rfc3339(stamp["time"]) <= now for stamp in stamps)
    assert "which differs by" in stamps[0]["note"]  # the bundle is of noon
    assert "--timestamp-roots" not in text(answer) and "time stamp of its opening: existed at" in text(answer)


def test_N4_time_stamps_of_another_authority_or_over_something_else_are_named(
    tmp_path: Path, key: Key, authority: Any
) -> None:
    own, other = authority.Authority(), authority.Authority()
    folder = stamped(tmp_path / "runs", key, authority, own, other)
    path = next(path for path in listed_in(folder) if path.endswith(".tsr"))
    for root, wrong in ((own, ATTESTATION), (other, path)):
        answer = asked(folder, key, timestamp_roots=roots_of(tmp_path, root))
        assert answer["result"] == "tampered"
        assert [(f["class"], f["path"]) for f in answer["bundles"][0]["findings"]] == [("invalid", wrong)]
    assert asked(folder, key, timestamp_roots=roots_of(tmp_path, own, other))["result"] == "ok"
    shutil.rmtree(folder)
    folder = stamped(tmp_path / "runs", key, authority, own, own, data=b"another line")
    [finding] = asked(folder, key, timestamp_roots=roots_of(tmp_path, own))["bundles"][0]["findings"]
    assert (finding["class"], finding["path"]) == ("invalid", path) and "for other data" in finding["reason"]


def test_N4_a_run_that_was_stamped_after_its_seal_is_named(tmp_path: Path, key: Key, authority: Any) -> None:
    late, own = authority.Authority(shift=dt.timedelta(minutes=10)), authority.Authority()
    folder = stamped(tmp_path / "runs", key, authority, late, own)
    answer = asked(folder, key, timestamp_roots=roots_of(tmp_path, late, own))
    [finding] = answer["bundles"][0]["findings"]
    assert finding["path"].endswith(".tsr") and "stamped after the bundle was sealed" in finding["reason"]


def test_N4_a_changed_manifest_is_not_said_to_be_stamped_wrongly(tmp_path: Path, key: Key, authority: Any) -> None:
    own = authority.Authority()
    folder = stamped(tmp_path / "runs", key, authority, own, own)
    write(folder / "manifest.jsonl", b"".join(manifest_lines(folder)[:-1]))
    answer = asked(folder, key, timestamp_roots=roots_of(tmp_path, own))
    assert [(f["class"], f["path"]) for f in answer["bundles"][0]["findings"]] == [("truncated", "manifest.jsonl")]


def test_N4_a_time_stamp_in_the_statement_is_over_its_manifest(tmp_path: Path, key: Key, authority: Any) -> None:
    own = authority.Authority()
    folder = stamped(tmp_path / "runs", key, authority, own, own)
    statement = json.loads(parse_envelope((folder / ATTESTATION).read_bytes()).payload)
    [stamp] = [each for each in statement["predicate"]["configuration"] if each["name"] == "timestamp"]
    for changes in ({"digest": {"sha256": "00" * 32}}, {"content": "?"}):
        kept = dict(stamp)
        stamp.update(changes)
        write(folder / ATTESTATION, key.signer.envelope(canonical(statement)))
        assert [f["path"] for f in asked(folder, key)["bundles"][0]["findings"]] == [ATTESTATION]
        stamp.update(kept)


def test_N4_a_request_takes_options_as_modules_give_them(folder: Path, key: Key) -> None:
    request = Request.of({"bundles": [str(folder)], "keys": [str(key.public)], "image": None, "ledger": None})
    assert request == Request(bundles=[str(folder)], keys=[str(key.public)])
    with pytest.raises(RequestError, match="is not a verdict"):
        examine(Request(bundles=[str(folder)], keys=[str(key.public)], results=["passed"]))
