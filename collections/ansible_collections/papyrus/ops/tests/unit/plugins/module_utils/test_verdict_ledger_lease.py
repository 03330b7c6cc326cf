# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verdict, ledger and lease: what a run may be called, and that none can vanish (J1, N1, N4)."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._evidence_items import item, phase_item
from ansible_collections.papyrus.ops.plugins.module_utils._lease import (
    NoLease,
    planned_names,
    require_lease,
    write_lease,
)
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import FolderLedger
from ansible_collections.papyrus.ops.plugins.module_utils._run_end import finish, last_phase
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Signing
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import release_line, verdict, verdict_text
from sealing import signing_key

RUN = "20260131T120000Z-abc234"


def line(name: str, status: str = "ok", step: str = "D1", seq: int = 0, **meta: Any) -> dict[str, Any]:
    return {"name": name, "status": status, "step": step, "seq": seq, "meta": meta}


GOOD = [line("lease.json", "info", "N1"), line("healthz.log"), line("alb_sg_verify_gone.json", "ok", "C7")]


def test_verdict_passed_needs_every_check_ok_gone_and_a_clean_tree() -> None:
    result = verdict(GOOD)
    assert (result["result"], result["first_failure"], result["gone"]) == ("PASSED", None, "ok")
    assert result["counts"] == {"ok": 2, "ng": 0, "skip": 0, "info": 1}


@pytest.mark.parametrize(("dirty", "word"), [(True, "changes"), (None, "not known")])
def test_verdict_a_tree_that_is_not_clean_is_warned(dirty: bool | None, word: str) -> None:
    result = verdict(GOOD, dirty=dirty)
    assert result["result"] == "WARNED" and word in result["warnings"][0]


def test_verdict_of_a_run_that_nobody_signs_is_warned() -> None:
    result = verdict(GOOD, signed=False)
    assert result["result"] == "WARNED" and "no signer" in result["warnings"][0]


def test_verdict_a_skip_counts_as_the_inventory_says() -> None:
    lines = [
        *GOOD,
        line("preflight.json", "ok", "B", rows=[{"id": "B2", "status": "skip", "reason": "managed by RDS"}]),
    ]
    assert verdict(lines, allowed_skips=["B2"])["result"] == "WARNED"
    failed = verdict(lines)
    assert failed["result"] == "FAILED" and failed["first_failure"]["step"] == "B2"
    assert "managed by RDS" in failed["first_failure"]["cause"]


def test_verdict_rows_inside_an_item_count_each() -> None:
    rows = [{"id": "B1", "status": "ok"}, {"id": "B3", "status": "ng", "reason": "Exec is off"}]
    result = verdict([*GOOD, line("preflight.json", "ng", "B", rows=rows)])
    assert result["counts"]["ok"] == 3 and result["counts"]["ng"] == 1
    assert result["first_failure"] == {"step": "B3", "name": "preflight.json", "task": "", "cause": "Exec is off"}


def test_verdict_without_a_gone_check_is_failed() -> None:
    for begun in (line("terraform_apply.log"), line("phase.json", "info", phase="terraform apply", event="start")):
        result = verdict([*GOOD[:2], begun])
        assert (result["result"], result["gone"]) == ("FAILED", "missing")


def test_verdict_of_a_run_that_could_create_nothing_needs_no_gone_check() -> None:
    assert verdict([line("schema.log")])["gone"] == verdict(GOOD[:2])["gone"] == "not needed"


RELEASE = {
    "result": "deployed",
    "by": "",
    "task_definition": "arn:aws:ecs:us-west-2:1:task-definition/papyrus-task:8",
    "serving": "arn:aws:ecs:us-west-2:1:task-definition/papyrus-task:8",
    "previous": "arn:aws:ecs:us-west-2:1:task-definition/papyrus-task:7",
    "cause": "",
}


def test_F3_a_deployed_revision_is_proven_only_when_the_whole_run_passed() -> None:
    rollout = line("rollout.jsonl", "ok", "F3", release=RELEASE)
    passed = verdict([*GOOD, rollout])
    assert passed["release"] == {**RELEASE, "proven": True}
    assert "Release: papyrus-task:8 deployed and proven" in verdict_text(passed, GOOD, "/bundle")
    failed = verdict([*GOOD, rollout, line("dbcheck.log", "ng", reason="/dbcheck answered 503")])
    assert failed["release"]["proven"] is False
    assert "papyrus-task:8 was deployed but is not proven; papyrus-task:7 served" in release_line(failed["release"])


def test_F3_the_last_word_about_the_rollout_counts() -> None:
    back = {
        **RELEASE,
        "result": "rolled_back",
        "by": "deployment circuit breaker",
        "serving": RELEASE["previous"],
        "cause": "exit code 3",
    }
    begun = line("rollout.jsonl", "info", "F3", release=RELEASE)
    result = verdict([*GOOD, begun, line("rollout.jsonl", "ng", "F3", release=back)])
    assert result["result"] == "FAILED"
    assert release_line(result["release"]) == (
        "Release: papyrus-task:8: rolled back by deployment circuit breaker; papyrus-task:7 serves (exit code 3)"
    )


def test_F3_a_run_that_releases_nothing_says_nothing_about_it() -> None:
    assert verdict(GOOD)["release"] is None
    assert "Release:" not in verdict_text(verdict(GOOD), GOOD, "/bundle")


def test_verdict_without_any_check_is_failed() -> None:
    assert verdict([line("run.json", "info")])["first_failure"]["cause"] == "the run holds no check"


def test_C6_a_failed_destroy_fails_the_run_and_never_hides_the_first_failure() -> None:
    lines = [
        GOOD[0],
        line("dbcheck.log", "ng", seq=1, reason="/dbcheck answered 503"),
        line("terraform_destroy.log", "ng", "C6", 2, reason="DependencyViolation"),
        line("alb_sg_verify_gone.json", "ng", "C7", 3, reason="left: sg-1"),
    ]
    result = verdict(lines, {"step": "", "task": "Every answer", "cause": "1 answer differs"})
    assert result["first_failure"] == {
        "step": "D1", "name": "dbcheck.log", "task": "Every answer", "cause": "/dbcheck answered 503",
    }  # fmt: skip
    assert result["failed_destroy"]["cause"] == "DependencyViolation"
    only_destroy = verdict(
        [GOOD[0], GOOD[1], *lines[2:]], {"step": "C6", "task": "Remove", "cause": "cannot be removed"}
    )
    assert only_destroy["result"] == "FAILED" and only_destroy["first_failure"]["step"] == "C6"


def test_C6_a_failure_without_evidence_comes_before_what_its_teardown_left() -> None:
    lines = [*GOOD[:2], line("terraform_destroy.log", "ng", "C6", 2, reason="no"), GOOD[2]]
    result = verdict(lines, {"step": "C5", "task": "Wait", "cause": "Target.Timeout"})
    assert result["first_failure"]["cause"] == "Target.Timeout"


def test_C6_items_after_the_end_of_the_controller_are_its_consequences() -> None:
    lines = [*GOOD, line("terraform_apply.log", "ng", "C1", 9, reason="interrupted")]
    failure = {"step": "C6", "cause": "the controller ended", "after_seq": 8}
    assert verdict(lines, failure)["first_failure"]["cause"] == "the controller ended"


def test_verdict_text_has_a_row_per_check_and_says_where_to_look() -> None:
    lines = [line("healthz.log"), line("dbcheck.log", "ng", reason="answered\n503"), line("phase.json", "info")]
    text = verdict_text(verdict(lines), lines, "/runs/x").splitlines()
    assert text[0].split() == ["D1", "OK", "healthz.log"]
    assert text[1].split() == ["D1", "NG", "dbcheck.log", "answered", "503"]
    assert text[-2] == "First failure: D1 answered\n503".splitlines()[0] or text[-1].startswith("FAILED")
    assert text[-1] == "FAILED  evidence: /runs/x" and not any("phase" in row for row in text)


def test_N4_ledger_entries_are_written_once(tmp_path: Path) -> None:
    ledger = FolderLedger(tmp_path / "ledger")
    ledger.open(RUN, "svc", "00" * 32)
    with pytest.raises(FileExistsError):
        ledger.open(RUN, "svc", "11" * 32)
    assert ledger.unclosed() == [RUN]
    ledger.close(RUN, "FAILED", "22" * 32)
    with pytest.raises(FileExistsError):
        ledger.close(RUN, "PASSED", "22" * 32)
    assert ledger.unclosed() == []
    assert (ledger.opened(RUN) or {})["run_sha256"] == "00" * 32 and (ledger.closed(RUN) or {})["result"] == "FAILED"
    with pytest.raises(ValueError):
        ledger.open("../escape", "svc", "")


def test_N1_lease_is_in_bundle_and_ledger_before_anything_is_created(tmp_path: Path) -> None:
    bundle, ledger = Bundle.create(tmp_path / RUN, {}), FolderLedger(tmp_path / "ledger")
    later = "2026-01-31T13:00:00Z"
    noon = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)

    def check(moment: dt.datetime = noon) -> None:
        require_lease(bundle, ledger, RUN, later, now=lambda: moment)

    with pytest.raises(NoLease, match="no lease"):
        check()
    write_lease(bundle, {"run_id": RUN, "expires_at": later})
    with pytest.raises(NoLease, match="not announced"):
        check()
    ledger.open(RUN, "svc", "")
    check()
    with pytest.raises(NoLease, match="expired"):
        check(noon + dt.timedelta(hours=1))
    ledger.close(RUN, "FAILED", "")
    with pytest.raises(NoLease, match="closed"):
        check()
    assert json.loads(bundle.data(bundle.lines()[1]))["run_id"] == RUN
    assert planned_names("papyrus-smoke", "abc234")["security_group"] == "papyrus-smoke-abc234"


def test_J1_the_verdict_is_written_once(tmp_path: Path) -> None:
    bundle, ledger = Bundle.create(tmp_path / RUN, {"git": {"dirty": False}}), FolderLedger(tmp_path / "ledger")
    ledger.open(RUN, "svc", "")
    bundle.append("healthz.log", b"", status="ok", step="D1")
    signing = Signing(signing_key(tmp_path))
    first = finish(bundle, ledger, RUN, signing=signing)
    assert first["verdict"]["result"] == "PASSED" and first["changed"]
    again = finish(bundle, ledger, RUN, {"cause": "too late"}, signing=signing)
    assert again["verdict"] == first["verdict"] and not again["changed"] and again["text"] == first["text"]
    assert again["sealed"] == first["sealed"] and first["problem"] == ""
    assert [line["name"] for line in bundle.lines()][-1] == "verdict.json"
    assert (ledger.closed(RUN) or {})["manifest_head"] == bundle.head()
    attestation = (bundle.folder / "attestation.dsse.json").read_bytes()
    assert (ledger.closed(RUN) or {})["attestation_sha256"] == hashlib.sha256(attestation).hexdigest()


def test_C6_the_cause_names_the_phase_that_was_under_way() -> None:
    def phase(name: str, event: str) -> dict[str, Any]:
        return line("phase.json", "info", "all", phase=name, event=event)

    assert last_phase([]) == "before its first phase"
    assert last_phase([phase("apply", "start"), phase("slow proofs", "start")]) == "apply, slow proofs"
    assert last_phase([phase("apply", "start"), phase("apply", "end")]) == "after apply"


def test_J1_items_of_a_playbook() -> None:
    made = item({"name": "x.json", "step": "B", "rows": [{"id": "B1", "status": "ok"}, {"id": "B2", "status": "ng"}]})
    assert made.status == "ng" and json.loads(made.data)["rows"][1]["id"] == "B2"
    assert made.meta["rows"][0] == {"id": "B1", "status": "ok", "reason": ""}
    polls = item({"name": "target_health.jsonl", "step": "C5", "content": [{"n": 1}, {"n": 2}], "status": "ok"})
    assert polls.data == b'{"n": 1}\n{"n": 2}\n' and polls.media_type == "application/x-ndjson"
    given = item(
        {"name": "preflight.json", "step": "B", "content": {"rows": [{"id": "B1", "status": "skip", "reason": "r"}]}}
    )
    assert given.status == "skip" and given.meta["rows"][0]["reason"] == "r"
    assert phase_item({"name": "probes", "event": "start"}).status == "info"


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "x.log", "step": "B"},
        {"name": "x.log", "content": "x"},
        {"name": "x.log", "step": "B", "content": "x", "status": "skip"},
        {"name": "x.log", "step": "B", "rows": [{"id": "B1", "status": "skip"}]},
        {"name": "x.log", "step": "B", "rows": [{"id": "B1", "status": "perhaps"}]},
        {"name": "x.log", "step": "B", "content": "x", "src": "/etc/hostname"},
    ],
)
def test_J1_items_that_say_too_little(spec: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        item(spec)
