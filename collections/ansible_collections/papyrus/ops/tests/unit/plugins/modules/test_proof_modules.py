# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules of the database proof as Ansible runs them: the JSON that they emit, check mode, redaction (E1, E3, F3)."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _running
from ansible_collections.papyrus.ops.plugins.module_utils._evidence_items import item
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import database_proof_info, ecs_running_info, ecs_task_run
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws

RUN = "20260131T120000Z-abc234"
PASSWORD = "the-password-nobody-may-see"
ARN = shapes.task_arn(9)
CLUSTER = {"cluster": shapes.CLUSTER, "service": shapes.SERVICE}
LOGS = {"logDriver": "awslogs", "options": {"awslogs-group": "/ecs/p", "awslogs-stream-prefix": "app"}}


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")

    def run(module: ModuleType, aws: FakeAws | None = None, check: bool = False, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_aws, "module_clients", lambda wanted: aws)
        with patch_module_args({**options, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


def ended(exit_code: int, line: str) -> FakeAws:
    task = {
        "taskArn": ARN,
        "lastStatus": "STOPPED",
        "desiredStatus": "STOPPED",
        "containers": [{"name": "app", "exitCode": exit_code}],
    }
    return FakeAws(
        {
            "ecs.describe_services": {"services": [shapes.service(launchType="FARGATE")]},
            "ecs.describe_task_definition": {"taskDefinition": shapes.definition(logConfiguration=LOGS)},
            "ecs.run_task": {"tasks": [{"taskArn": ARN}]},
            "ecs.describe_tasks": {"tasks": [task]},
            "logs.get_log_events": {"events": [{"message": line}]},
        }
    )


def test_E1_ecs_task_run_emits_exit_code_lines_and_transcript(run: Any) -> None:
    result = run(ecs_task_run, ended(0, "TLS: TLSv1.3"), command=["a", "b"], expect=["^TLS"], **CLUSTER)
    assert (result["ok"], result["rc"], result["changed"], result["lines"]) == (True, 0, True, ["TLS: TLSv1.3"])
    assert "exit code:       0" in result["transcript"]
    assert result["request_ids"]


def test_E1_ecs_task_run_fails_with_the_cause_unless_told_otherwise(run: Any) -> None:
    failed = run(ecs_task_run, ended(1, "database not usable: authentication"), command=["a"], **CLUSTER)
    assert (failed["failed"], failed["step"], failed["rc"]) == (True, "E1", 1)
    assert "database not usable: authentication" in failed["msg"]
    borne = run(ecs_task_run, ended(1, "x"), command=["a"], fail=False, **CLUSTER)
    assert "failed" not in borne
    assert borne["ok"] is False


def test_E1_ecs_task_run_runs_nothing_in_check_mode(run: Any) -> None:
    aws = ended(0, "x")
    result = run(ecs_task_run, aws, check=True, command=["a"], **CLUSTER)
    assert (result["changed"], result["outcome"], result["rc"]) == (True, "not_run", None)
    assert result["request"]["taskDefinition"] == shapes.DEFINITION
    assert set(aws.names) == {"ecs.describe_services", "ecs.describe_task_definition"}


def test_E1_known_secrets_leave_ecs_task_run_neither_in_lines_nor_in_reasons(run: Any, tmp_path: Path) -> None:
    Redactor.prepare(tmp_path)
    Redactor.register(tmp_path, "db-password", PASSWORD)
    result = run(ecs_task_run, ended(1, f"wrong: {PASSWORD}"), command=["a"], private=str(tmp_path), **CLUSTER)
    assert PASSWORD not in json.dumps(result)
    assert "[redacted:db-password:" in result["msg"]


def test_E1_ecs_task_run_names_what_makes_no_sense(run: Any) -> None:
    result = run(ecs_task_run, ended(0, ""), command=["a"], expect=["("], **CLUSTER)
    assert result["failed"] is True
    assert "no regular expression" in result["msg"]


def test_F3_ecs_running_info_emits_rows_and_items_that_are_evidence(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def look(clients: Any, question: Any, private: Any, names_of: Any, dry: bool) -> _running.Look:
        asked.append((question, dry))
        found = _running.Look(tasks=[{"task_arn": ARN}])
        task = {"task_arn": ARN, "task_definition": "t:1", "image": "x:1", "image_digest": ""}
        row = _running.judge_images([task], ["sha256:1"])
        found.add("running_image.log", row, "text\n")
        return found

    monkeypatch.setattr(_running, "look", look)
    environment = {"PGSSLMODE": ["require"]}
    result = run(ecs_running_info, FakeAws(), environment=environment, expected_digests=["sha256:1"], **CLUSTER)
    assert result["failed_rows"] == ["F3"]
    assert result["table"].startswith("NG")
    assert [item(spec).status for spec in result["evidence"]] == ["ng"]
    assert asked[0][0].environment == {"PGSSLMODE": ("require",)}
    assert asked[0][1] is False
    run(ecs_running_info, FakeAws(), check=True, **CLUSTER)
    assert asked[1][1] is True


def test_F3_ecs_running_info_fails_without_a_running_task(run: Any) -> None:
    result = run(ecs_running_info, FakeAws(shapes.answers([])), **CLUSTER)
    assert (result["failed"], result["step"]) == (True, "F3")
    assert "no RUNNING task" in result["msg"]


WRITTEN = {
    "outcome": "exited",
    "rc": 0,
    "stdout": f"INSERT 0 1\nMARK: {RUN} cli committed\nTLS: TLSv1.3\n",
    "task_arn": ARN,
}
TASKS = [{"task_arn": ARN, "image_digest": "sha256:1"}]
CLI = {"result": WRITTEN, "expect": ["^MARK: {run_id} cli committed$"], "tls": r"^TLS: (\S+)$"}
FOUND = {
    "rows": {
        "rows": [["SKU-CLI", "health", "0.00"]],
        "marks": [["cli", ARN, "sha256:1", "2026-01-31T12:00:30+00:00"]],
    },
    "task_arn": ARN,
}


def test_E1_database_proof_info_keeps_transcript_and_recording_where_they_are(run: Any, tmp_path: Path) -> None:
    log, cast = tmp_path / "x.log", tmp_path / "x.cast"
    log.write_text("transcript\n", "utf-8")
    cast.write_text("{}\n", "utf-8")
    result = run(
        database_proof_info, run_id=RUN, tasks=TASKS, cli={**CLI, "log": str(log), "cast": str(cast)}, plaintext={}
    )
    assert result["failed_rows"] == ["E1"]
    items = {spec["name"]: item(spec) for spec in result["evidence"]}
    assert {name: entry.status for name, entry in items.items()} == {
        "papyrus_psql_insert_cli.log": "ok",
        "plaintext_refused.log": "ng",
        "papyrus_psql_insert_cli.cast": "info",
    }
    assert items["papyrus_psql_insert_cli.log"].data == log


def test_E3_database_proof_info_judges_what_was_read_back(run: Any) -> None:
    asked = {"result": FOUND, "rows": {"cli": ["SKU-CLI", "health", 0]}}
    result = run(database_proof_info, run_id=RUN, paths=["cli"], tasks=TASKS, cli=CLI, read_back=asked)
    assert result["failed_rows"] == []
    assert [row["id"] for row in result["rows"]] == ["E3"]
    assert "ROWS: [('SKU-CLI','health',0)]\n" in result["evidence"][0]["content"]


def test_E_database_proof_info_skips_what_is_asked_with_the_reason(run: Any) -> None:
    result = run(database_proof_info, run_id=RUN, skip="no database", cli=CLI, fresh_login={})
    assert [(row["id"], row["status"], row["reason"]) for row in result["rows"]] == [("E1", "skip", "no database")] * 2
    assert [item(spec).status for spec in result["evidence"]] == ["skip", "skip"]
    later = run(database_proof_info, run_id=RUN, skip="no Exec", cli=CLI, read_back={})
    assert [row["id"] for row in later["rows"]] == ["E3"]


def test_E_database_proof_info_names_what_makes_no_sense(run: Any) -> None:
    assert "run id" in run(database_proof_info, run_id="x", cli=CLI)["msg"]
