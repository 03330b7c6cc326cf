# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules about a service as Ansible runs them: the JSON that they emit, check mode, no password (B, C4, D1)."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _db_login
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import (
    alb_targets,
    ecs_task_ip,
    flask_routes_info,
    http_probe,
    preflight_info,
    secrets_rds_drift,
)
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

PASSWORD = "the-password-nobody-may-see"
HOST = "papyrus-prd.abc.us-west-2.rds.amazonaws.com"
INSTANCE = {"DBInstanceIdentifier": "db", "MasterUsername": "master", "Endpoint": {"Address": HOST, "Port": 5432}}
SECRET = {"host": HOST, "port": 5432, "dbname": "papyrus", "username": "master", "password": PASSWORD}
GROUP = "arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/smoke/0123456789abcdef"
TARGET = {"Id": "10.20.0.2", "Port": 5000}


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")

    def run(module: ModuleType, aws: FakeAws | None = None, check: bool = False, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_aws, "module_clients", lambda wanted, **config: aws)
        arguments = {**options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            module.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


@pytest.fixture(name="url")
def _url() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        asked: list[str] = []

        def do_GET(self) -> None:
            body = json.dumps({"ok": True, "seen": self.headers.get("X-Run")}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            self.asked.append(self.path)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/healthz"
        server.shutdown()


def test_C4_ecs_task_ip_emits_tasks_and_targets(run: Any) -> None:
    result = run(ecs_task_ip, FakeAws(shapes.answers([shapes.task(1)])), cluster=shapes.CLUSTER, service=shapes.SERVICE)
    assert result["changed"] is False
    assert result["targets"] == [{"Id": "10.20.0.2", "Port": 5000, "AvailabilityZone": "us-west-2a"}]
    assert result["tasks"][0]["task_arn"] == shapes.task_arn(1)
    assert result["request_ids"] == ["request-1", "request-2", "request-3", "request-4"]


def test_C4_ecs_task_ip_fails_without_tasks_unless_told_otherwise(run: Any) -> None:
    asked = {"cluster": shapes.CLUSTER, "service": shapes.SERVICE}
    failed = run(ecs_task_ip, FakeAws(shapes.answers([])), **asked)
    assert failed["failed"] is True
    assert "has no RUNNING task" in failed["msg"]
    assert failed["step"] == "C4"
    empty = run(ecs_task_ip, FakeAws(shapes.answers([])), empty_ok=True, **asked)
    assert (empty["tasks"], empty["targets"]) == ([], [])


def test_B2_the_password_is_in_nothing_that_the_module_emits_and_known_to_redaction(
    run: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def login(who: _db_login.Login, transport: _db_login.Transport) -> _db_login.LoginResult:
        return _db_login.LoginResult(False, f"a driver that says {who.password}")

    monkeypatch.setattr(_db_login, "login", login)
    aws = FakeAws(
        {
            "secretsmanager.get_secret_value": {"ARN": "arn:secret", "SecretString": json.dumps(SECRET)},
            "rds.describe_db_instances": {"DBInstances": [INSTANCE]},
        }
    )
    Redactor.prepare(tmp_path)
    options = {"secret_id": "papyrus/prd/db", "db_instance": "db", "ca_file": "ca.pem", "private": str(tmp_path)}
    result = run(secrets_rds_drift, aws, **options)
    assert result["failed"] is True
    assert result["drifted"] == ["login"]
    assert PASSWORD not in json.dumps(result)
    assert PASSWORD.encode() not in Redactor(tmp_path).redact(f"x {PASSWORD} y".encode())


def test_B10_the_preflight_answers_a_wrong_account_with_one_row(run: Any) -> None:
    aws = FakeAws({"sts.get_caller_identity": {"Account": "123456789012", "Arn": "arn:a", "UserId": "u"}})
    options = {"account_id": "999999999999", "expected_region": "us-west-2", "cluster": "c", "service": "s"}
    result = run(preflight_info, aws, **options)
    assert (result["ok"], result["failed_rows"]) == (False, ["B10"])
    assert "failed" not in result
    assert result["evidence"][0]["name"] == "preflight.json"
    assert aws.names == ["sts.get_caller_identity"]


def test_B10_a_row_that_does_not_exist_is_refused(run: Any) -> None:
    options = {"account_id": "1", "expected_region": "us-west-2", "cluster": "c", "service": "s", "rows": ["B99"]}
    assert "no row B99" in run(preflight_info, FakeAws(), **options)["msg"]


def test_C4_targets_in_check_mode_are_predicted_without_a_write(run: Any) -> None:
    aws = FakeAws({"elbv2.describe_target_health": {"TargetHealthDescriptions": []}})
    result = run(alb_targets, aws, check=True, target_group_arn=GROUP, targets=[TARGET])
    assert result["changed"] is True
    assert result["changed_targets"] == [TARGET]
    assert result["diff"]["after"] == {"targets": ["10.20.0.2:5000"]}
    assert aws.names == ["elbv2.describe_target_health"]


def test_C4_registering_twice_changes_nothing_the_second_time(run: Any) -> None:
    known: list[dict[str, Any]] = []

    def register(sent: Any) -> dict[str, Any]:
        known.extend({"Target": target, "TargetHealth": {"State": "healthy"}} for target in sent["Targets"])
        return {}

    aws = FakeAws(
        {
            "elbv2.describe_target_health": lambda sent: {"TargetHealthDescriptions": known},
            "elbv2.register_targets": register,
        }
    )
    first = run(alb_targets, aws, target_group_arn=GROUP, targets=[TARGET])
    second = run(alb_targets, aws, target_group_arn=GROUP, targets=[TARGET])
    assert (first["changed"], second["changed"]) == (True, False)
    assert aws.names.count("elbv2.register_targets") == 1
    assert first["health"][0]["state"] == "healthy"
    assert first["polls"][0]["request_ids"]


def test_C5_a_target_group_that_does_not_exist_is_named(run: Any) -> None:
    def refuse(sent: object) -> dict[str, object]:
        raise Refusal("TargetGroupNotFound", "One or more target groups not found")

    result = run(alb_targets, FakeAws({"elbv2.describe_target_health": refuse}), target_group_arn=GROUP, targets=[])
    assert result["failed"] is True
    assert "elbv2:DescribeTargetHealth on target group smoke" in result["msg"]


def test_D1_the_probe_emits_the_answer_and_hides_secret_headers(run: Any, url: str) -> None:
    secret = "a-header-that-stays-secret"
    result = run(http_probe, url=url, secret_headers={"X-Run": secret}, expect={"json": {"ok": True}})
    assert result["ok"] is True
    assert result["responses"][0]["status"] == 200
    assert secret not in json.dumps(result)


def test_D1_an_answer_that_is_not_as_expected_fails_only_when_asked(run: Any, url: str) -> None:
    failed = run(http_probe, url=url, expect={"status": [403]})
    assert failed["failed"] is True
    assert "status is 200, expected is 403" in failed["msg"]
    told = run(http_probe, url=url, expect={"status": [403]}, fail=False)
    assert told["ok"] is False
    assert "failed" not in told
    assert told["responses"][0]["status"] == 200


def test_D1_check_mode_sends_nothing_and_names_the_probe(run: Any, url: str) -> None:
    result = run(http_probe, check=True, url=url)
    assert result["skipped"] is True
    assert url in result["msg"]
    assert result["responses"] == []


def test_D1_a_probe_that_cannot_be_sent_is_refused(run: Any) -> None:
    assert "control characters" in run(http_probe, url="http://h/", headers={"X": "a\r\nb: c"})["msg"]


def test_B1_routes_that_are_missing_fail_with_their_names(run: Any, tmp_path: Path) -> None:
    pytest.importorskip("flask")
    tmp_path.joinpath("web.py").write_text("from flask import Flask\napp = Flask(__name__)\n", "utf-8")
    options = {"source": str(tmp_path), "factory": "web:app", "required": ["/dbcheck"]}
    failed = run(flask_routes_info, **options)
    assert failed["failed"] is True
    assert failed["missing"] == ["/dbcheck"]
    assert "failed" not in run(flask_routes_info, fail=False, **options)
