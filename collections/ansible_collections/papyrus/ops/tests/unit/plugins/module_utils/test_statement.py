# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The statement: which image, which tests, which plan; its shape as in-toto's own library reads it (N4)."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._statement import (
    Image,
    image_of,
    repository_of,
    statement,
    task_definition_of,
    tests,
)
from sealing import DIGEST, REPOSITORY, REVISION, binding, run_bundle, with_verdict

OTHER, THIRD = "sha256:" + "cd" * 32, "sha256:" + "ef" * 32
PUSHED = {"image": f"{REPOSITORY}@{OTHER}", "digest": OTHER}
tests.__test__ = False  # a function of the product, not of pytest


def bundle_with(folder: Path, *items: tuple[str, Any, str, dict[str, Any]]) -> BundleView:
    bundle = Bundle.create(folder, {"run_id": "x"})
    for name, content, status, meta in items:
        bundle.append(name, content_bytes(content), status=status, step="N2", meta=meta)
    return BundleView.of(bundle)


def running(*digests: str, status: str = "ok") -> tuple[str, Any, str, dict[str, Any]]:
    images = [{"reference": f"{REPOSITORY}@{digest}", "digest": digest} for digest in digests]
    return "running_image.log", "…", status, {"images": images}


def bound(status: str, digest: str = DIGEST, platform: str = "") -> tuple[str, Any, str, dict[str, Any]]:
    return "binding.json", binding(status, digest, platform), status, {}


PUSH: tuple[str, Any, str, dict[str, Any]] = ("image_push.json", PUSHED, "ok", {})


@pytest.mark.parametrize(
    ("items", "image"),
    [
        ([bound("ok")], Image(REPOSITORY, DIGEST)),
        ([bound("ok", platform=OTHER)], Image(REPOSITORY, DIGEST, OTHER)),
        ([bound("skip")], Image(REPOSITORY, DIGEST)),
        # The proofs win over what was pushed: a release of another image would have failed its binding.
        ([PUSH, running(THIRD), bound("ok")], Image(REPOSITORY, DIGEST)),
        # The last binding is the one that counts.
        ([bound("ng", OTHER), bound("ok")], Image(REPOSITORY, DIGEST)),
        ([bound("ok", OTHER), bound("ok")], Image(REPOSITORY, DIGEST)),
        # A run that failed is about what it was to release …
        ([PUSH, running(THIRD), bound("ng")], Image(REPOSITORY, OTHER)),
        ([PUSH], Image(REPOSITORY, OTHER)),
        # … else about the image whose binding failed, else about what all tasks run.
        ([running(THIRD), bound("ng")], Image(REPOSITORY, DIGEST)),
        ([running(THIRD)], Image(REPOSITORY, THIRD)),
        ([running(THIRD, status="ng")], None),
        ([running(THIRD, OTHER)], None),
        ([("binding.json", {"status": "ng", "reason": "no answer"}, "ng", {})], None),
        ([bound("ok", "sha256:short")], None),
        ([("binding.json", "[]", "ok", {})], None),
        ([], None),
    ],
)
def test_N4_the_subject_is_the_image_that_the_proofs_were_about(tmp_path: Path, items: Any, image: Image) -> None:
    assert image_of(bundle_with(tmp_path / "b", *items)) == image


@pytest.mark.parametrize(
    ("reference", "repository"),
    [
        (f"{REPOSITORY}@{DIGEST}", REPOSITORY),
        (f"{REPOSITORY}:v1@{DIGEST}", REPOSITORY),
        ("localhost:5000/papyrus:v1", "localhost:5000/papyrus"),
        ("localhost:5000/papyrus", "localhost:5000/papyrus"),
        ("papyrus:v1", "papyrus"),
        ("", ""),
    ],
)
def test_N4_a_subject_is_named_by_its_repository(reference: str, repository: str) -> None:
    assert repository_of(reference) == repository


def made(view: BundleView, **more: Any) -> dict[str, Any]:
    return statement(view, b"sums", "00" * 32, {"trust": "self-asserted", "by": "run"}, **more)


def test_N4_in_totos_own_library_accepts_it(tmp_path: Path) -> None:
    from google.protobuf import json_format
    from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
    from in_toto_attestation.v1 import statement_pb2
    from in_toto_attestation.v1.statement import Statement

    bundle = run_bundle(tmp_path / "b")
    bundle.append("binding.json", binding(platform=OTHER), status="ok", step="N2")
    said = made(BundleView.of(with_verdict(bundle)), timestamp=b"\x30\x03token")
    shape = json_format.ParseDict(said, statement_pb2.Statement())  # ParseError for a field that it does not have
    Statement.copy_from_pb(shape).validate()
    result = json_format.ParseDict(said["predicate"], test_result_pb2.TestResult())
    assert result.result == "PASSED" and len(result.passed_tests) == 3
    for described in said["predicate"]["configuration"]:
        assert {"uri", "digest", "content"} & described.keys(), described  # one of them must be there
    assert [entry["name"] for entry in said["subject"]] == [
        REPOSITORY, f"{REPOSITORY} (platform)", "manifest.jsonl", "SHA256SUMS"
    ]  # fmt: skip
    assert said["subject"][3]["digest"] == {"sha256": hashlib.sha256(b"sums").hexdigest()}


def test_N4_it_says_which_run_revision_commit_and_time_stamp(tmp_path: Path) -> None:
    view = BundleView.of(with_verdict(run_bundle(tmp_path / "b", caller_arn="arn:aws:iam::1:user/x")))
    kept = {entry["name"]: entry for entry in made(view, timestamp=b"token")["predicate"]["configuration"]}
    assert kept["run"]["annotations"]["callerArn"] == "arn:aws:iam::1:user/x"
    assert kept["run"]["digest"]["sha256"] == hashlib.sha256((tmp_path / "b" / "run.json").read_bytes()).hexdigest()
    assert kept["taskDefinition"]["uri"] == REVISION
    assert kept["source"] == {
        "name": "source", "digest": {"gitCommit": "c0" * 20}, "annotations": {"dirty": False}
    }  # fmt: skip
    assert kept["timestamp"]["digest"] == {"sha256": "00" * 32}
    assert base64.b64decode(kept["timestamp"]["content"]) == b"token"
    assert "terraformPlan" not in kept and "timestamp" not in {
        e["name"] for e in made(view)["predicate"]["configuration"]
    }


def test_N4_a_release_that_failed_names_the_revision_that_it_was_to_bring(tmp_path: Path) -> None:
    view = bundle_with(tmp_path / "b", PUSH)
    failed = BundleView(view.folder, view.run, view.lines, {"release": {"task_definition": REVISION}})
    assert task_definition_of(failed) == REVISION and task_definition_of(view) == ""


LOG = b"""$ terraform apply
  + create

Terraform will perform the following actions:

  # aws_lb.this will be created
Plan: 8 to add, 0 to change, 0 to destroy.
aws_lb.this: Creating...
"""


def test_N4_the_plan_is_the_one_that_terraform_printed_before_it_applied(tmp_path: Path) -> None:
    view = bundle_with(tmp_path / "b", ("terraform_apply.log", LOG, "ok", {}))
    [plan] = [e for e in made(view)["predicate"]["configuration"] if e["name"] == "terraformPlan"]
    item = view.folder / plan["annotations"]["item"]
    by_hand = subprocess.run(
        f"{plan['annotations']['lines']} {item} | sha256sum", shell=True, capture_output=True, text=True, check=True
    )
    assert by_hand.stdout.split()[0] == plan["digest"]["sha256"]
    assert plan["digest"]["sha256"] == hashlib.sha256(b"".join(LOG.splitlines(keepends=True)[3:7])).hexdigest()


def test_N4_a_bundle_that_holds_next_to_nothing_has_a_statement(tmp_path: Path) -> None:
    said = made(bundle_with(tmp_path / "b", ("binding.json", {"chains": [1, {"links": [None]}], "image": 3}, "ok", {})))
    assert [entry["name"] for entry in said["subject"]] == ["manifest.jsonl", "SHA256SUMS"]
    assert [e["name"] for e in said["predicate"]["configuration"]] == ["run", "seal"]
    json.dumps(said)


# Tests by name


def view_of(lines: list[dict[str, Any]], **verdict: Any) -> BundleView:
    return BundleView(Path("/nowhere"), {}, lines, verdict)


def line(name: str, status: str = "ok", step: str = "D1", **meta: Any) -> dict[str, Any]:
    return {"name": name, "path": name, "status": status, "step": step, "seq": 0, "meta": meta}


def row(id: str, status: str, reason: str = "") -> dict[str, str]:
    return {"id": id, "status": status, "reason": reason}


def test_N4_every_check_is_a_test_with_a_name_of_its_own() -> None:
    rows = [row("B1", "ok"), row("B2", "skip", "managed"), row("B3", "skip", "no Exec"), row("B9", "info")]
    lines = [line("phase.json", "info", "all"), line("preflight.json", "ok", "B", rows=rows)]
    lines += [line("healthz.log"), line("healthz.log"), line("healthz.log", "ng"), line("verdict.json", "ng", "all")]
    skips = [{"id": "B2", "reason": "managed", "allowed": True}, {"id": "B3", "reason": "no Exec", "allowed": False}]
    failures = [
        {"step": "D1", "name": "healthz.log", "cause": "503"},
        {"step": "B3", "name": "", "cause": "skipped, which the inventory does not allow: no Exec"},
    ]
    found = tests(view_of(lines, result="FAILED", skips=skips, failures=failures, first_failure=failures[0]))
    assert found == {
        "passedTests": ["B preflight.json B1", "D1 healthz.log D1", "D1 healthz.log D1 #2"],
        "warnedTests": ["B preflight.json B2"],
        "failedTests": ["D1 healthz.log D1 #3", "B preflight.json B3"],
    }


def test_N4_what_ended_a_run_comes_first_also_when_no_item_shows_it() -> None:
    lines = [line("healthz.log"), line("terraform_destroy.log", "ng", "C6")]
    failures = [
        {"step": "C5", "name": "", "task": "Wait", "cause": "Target.Timeout"},
        {"step": "C6", "name": "terraform_destroy.log", "cause": "DependencyViolation"},
        {"step": "C7", "name": "alb_sg_verify_gone.json", "cause": "nothing shows that it is gone"},
    ]
    found = tests(view_of(lines, result="FAILED", failures=failures, first_failure=failures[0]))
    assert found["failedTests"] == [
        "C5 run C5", "C6 terraform_destroy.log C6", "C7 alb_sg_verify_gone.json C7"
    ]  # fmt: skip


def test_N4_the_cause_of_the_first_failure_stands_in_the_statement(tmp_path: Path) -> None:
    first = {"step": "D1", "name": "", "task": "Ask every path", "cause": "/dbcheck answered 503"}
    bundle = with_verdict(run_bundle(tmp_path / "b"), "FAILED", first_failure=first, failures=[first])
    said = made(BundleView.of(bundle))["predicate"]
    [kept] = [entry for entry in said["configuration"] if entry["name"] == "verdict"]
    assert kept["annotations"]["firstFailure"] == first
    assert (said["result"], said["failedTests"][0]) == ("FAILED", "D1 run D1")
