# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules of a run as Ansible calls them: check mode, diff, what they print, what they refuse (J1, C6, C7)."""

from __future__ import annotations

import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import Process, process
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import open_ledger
from ansible_collections.papyrus.ops.plugins.module_utils._names import parse_rfc3339
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._run_end import purge_stale
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import caller_arn, open_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import write_guard_process
from ansible_collections.papyrus.ops.plugins.modules import (
    evidence_capture,
    run_close,
    run_leftovers_info,
    temporary_alb,
)
from aws_endpoint import AwsEndpoint

RUN = "20260131T120000Z-abc234"
Call = Callable[..., dict[str, Any]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a module's main() and returns the JSON that it printed."""

    def run(module: Any, check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}
        with patch_module_args(given), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    (tmp_path / "x").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "x"))
    monkeypatch.setattr("tempfile.tempdir", None)
    options = {
        "evidence_root": str(tmp_path / "runs"), "ledger": str(tmp_path / "ledger"), "service": "svc",
        "tag_prefix": "papyrus", "lease_minutes": 60, "start_guard": False,
        "details": {"caller_arn": "arn:aws:iam::123456789012:user/x", "endpoint": "http://127.0.0.1:1", "more": 1},
    }  # fmt: skip
    git = {"git": {"commit": "c0ffee", "dirty": False}, "versions": {"boto3": "1"}, "inventory_host": "papyrus"}
    environ = {"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI", "PATH": os.environ["PATH"]}
    return open_run(options, git, controller=None, environ=environ)


def test_J1_a_run_without_account_region_or_guard_has_a_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = opened(tmp_path, monkeypatch)
    content = json.loads((Path(run["folder"]) / "run.json").read_text())
    assert (content["account_id"], content["region"], content["endpoint"]) == (None, None, "http://127.0.0.1:1")
    assert content["caller_arn"] == "arn:aws:iam::123456789012:user/x" and content["details"] == {"more": 1}
    assert content["git"] == {"commit": "c0ffee", "dirty": False} and content["versions"]["terraform"] is None
    assert [line["name"] for line in Bundle(run["folder"]).lines()] == ["run.json", "lease.json"]
    assert open_ledger(run["ledger"]).unclosed() == [run["id"]]
    assert Path(run["private"]).stat().st_mode & 0o777 == 0o700


def test_J1_capture_appends_in_order_and_does_not_repeat_contents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    run = opened(tmp_path, monkeypatch)
    Redactor.register(run["private"], "db-password", "hunter22")
    items = [
        {"name": "healthz.log", "step": "D1", "status": "ok", "content": "said hunter22 and wJalrXUtnFEMI"},
        {"name": "polls.jsonl", "step": "C5", "content": [{"state": "initial"}]},
    ]
    result = call(evidence_capture, run=run, items=items, phase={"name": "probes", "event": "end"})
    assert [line["name"] for line in result["captured"]] == ["healthz.log", "polls.jsonl", "phase.json"]
    assert result["changed"] and "hunter22" not in json.dumps(result)
    stored = (Path(run["folder"]) / result["captured"][0]["path"]).read_text()
    assert "[redacted:db-password:" in stored and "[redacted:aws-secret-key:" in stored
    assert result["diff"]["after"].splitlines()[0].split() == ["ok", "D1", "healthz.log"]


def test_J1_capture_repeats_no_contents_and_no_name_with_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    run = opened(tmp_path, monkeypatch)
    Redactor.register(run["private"], "db-password", "hunter22")
    logged: list[str] = []
    monkeypatch.setattr(evidence_capture.QuietModule, "log", lambda self, text, **more: logged.append(text))
    for more in ({}, {"status": "wrong"}):
        items = [{"name": "of-hunter22.log", "step": "D1", "content": "s3cret contents", "reason": "hunter22", **more}]
        result = call(evidence_capture, run=run, items=items, _ansible_inject_invocation=True)
        assert "hunter22" not in json.dumps(result) and "s3cret" not in json.dumps(result)
        [shown] = result["invocation"]["module_args"]["items"]
        assert shown["name"].startswith("of-[redacted:db-password:") and shown["step"] == "D1"
    assert logged and not any("hunter22" in text or "s3cret" in text for text in logged)
    [path] = [line["path"] for line in Bundle(run["folder"]).lines() if "of-" in line["name"]]
    assert "hunter22" not in path


def test_J1_capture_in_check_mode_predicts_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    run = opened(tmp_path, monkeypatch)
    before = sorted(Path(run["folder"]).iterdir())
    items = [{"name": "x.log", "step": "B", "content": "x"}]
    result = call(evidence_capture, check=True, run=run, items=items)
    assert result["changed"] and result["captured"][0]["bytes"] == 1 and "seq" not in result["captured"][0]
    assert sorted(Path(run["folder"]).iterdir()) == before
    absent = {**run, "private": "", "folder": str(tmp_path / "never")}
    assert call(evidence_capture, check=True, run=absent, items=items)["changed"]


def test_J1_capture_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    run = opened(tmp_path, monkeypatch)
    result = call(evidence_capture, run=run, items=[{"name": "x.log", "step": "B", "content": "x", "status": "skip"}])
    assert result["failed"] and "skipped without a reason" in result["msg"]
    result = call(
        evidence_capture, bundle=str(tmp_path / "none"), items=[{"name": "x.log", "step": "B", "content": "x"}]
    )
    assert result["failed"] and str(tmp_path / "none") in result["msg"]


def test_J1_close_writes_the_verdict_once_and_removes_the_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    run = opened(tmp_path, monkeypatch)
    assert not call(run_close, check=True, run=run)["changed"]
    failure = {"step": "B10", "task": "Validate", "cause": ["papyrus_region is missing", "papyrus_port is missing"]}
    first = call(run_close, run=run, failure=failure)
    assert first["changed"] and first["verdict"]["result"] == "FAILED"
    assert first["verdict"]["first_failure"]["cause"] == "papyrus_region is missing; papyrus_port is missing"
    assert first["text"].splitlines()[-1] == f"FAILED  evidence: {run['folder']}"
    assert not Path(run["private"]).exists()
    again = call(run_close, run=run)
    assert not again["changed"] and again["verdict"] == first["verdict"]
    assert (open_ledger(run["ledger"]).closed(run["id"]) or {})["result"] == "FAILED"


def test_C6_nothing_is_created_without_a_guard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call) -> None:
    run = opened(tmp_path, monkeypatch)
    result = call(temporary_alb, run=run, state="present")
    assert result["failed"] and result["step"] == "C1" and "without the guard" in result["cause"]


def test_C1_check_mode_names_what_would_be_created(call: Call) -> None:
    run = {"id": RUN, "private": "", "names": {"load_balancer": "papyrus-smoke-abc234"}, "name": "papyrus-smoke-abc234"}
    result = call(temporary_alb, check=True, run=run, state="started")
    assert result["changed"] and result["names"] == {"load_balancer": "papyrus-smoke-abc234"}
    assert not call(temporary_alb, check=True, run=run, state="absent")["changed"]


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Any:
    endpoint = AwsEndpoint()
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint.url, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-west-2", "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield endpoint
    endpoint.close()


def test_C7_leftovers_of_a_run(call: Call, aws: AwsEndpoint) -> None:
    arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-smoke-abc234/50dc"
    tags = {"papyrus:run-id": RUN, "papyrus:expires-at": "2026-01-31T13:00:00Z", "papyrus:service": "svc"}
    asked = {"run_id": RUN, "service": "svc"}
    assert call(run_leftovers_info, **asked)["gone"] is True
    aws.left[arn] = tags
    found = call(run_leftovers_info, **asked)
    assert found["gone"] is False and found["changed"] is False
    assert [entry["id"] for entry in found["resources"]] == [arn] and arn in found["by_hand"][0]


def test_C7_leftovers_with_a_call_that_fails_are_not_gone(call: Call, aws: AwsEndpoint) -> None:
    aws.refuse.add("DescribeTargetGroups")
    result = call(run_leftovers_info, run_id=RUN, service="svc")
    assert result["failed"] and result["gone"] is False and "AccessDenied" in result["msg"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"all": True},
        {"all": True, "service": "svc", "run_id": RUN},
        {"run_id": "x"},
        {"run_id": RUN, "tag_prefix": "aws"},
    ],
)
def test_N1_leftovers_are_never_looked_for_without_saying_whose(call: Call, aws: AwsEndpoint, arguments: Any) -> None:
    assert call(run_leftovers_info, **arguments)["failed"]
    assert aws.actions == []


def test_J1_private_folders_of_runs_that_were_killed_whole_are_removed_when_their_lease_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(tmp_path, monkeypatch)
    root = Path(run["private"]).parent
    (root / "papyrus-not-ours").mkdir()
    end = parse_rfc3339(run["expires_at"])
    assert purge_stale(root, end - dt.timedelta(seconds=1)) == []
    own = process(os.getpid())
    assert own is not None
    write_guard_process(run["private"], own)
    assert purge_stale(root, end + dt.timedelta(seconds=1)) == []
    write_guard_process(run["private"], Process(own.pid, "of another process"))
    assert purge_stale(root, end + dt.timedelta(seconds=1)) == [Path(run["private"]).name]
    assert [entry.name for entry in root.iterdir()] == ["papyrus-not-ours"]


def test_J1_who_asks_is_known_when_aws_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint = AwsEndpoint()
    for name, value in {"ENDPOINT_URL": endpoint.url, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    try:
        assert caller_arn("us-west-2") == "arn:aws:iam::123456789012:user/ci"
        endpoint.expired = True
        assert caller_arn("us-west-2") is None
        endpoint.away = True
        assert caller_arn("us-west-2") is None
        assert 1 <= endpoint.cut <= 2
    finally:
        endpoint.close()
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert caller_arn("") is None
