# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ecs_postgresql and sql_script_info as Ansible runs them: what they emit, check mode, no password (E, G1)."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _exec
from ansible_collections.papyrus.ops.plugins.module_utils._exec_types import Command, ExecResult, Files, Target
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import ecs_postgresql, sql_script_info
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

PASSWORD = "the-password-nobody-may-see"
APP_PASSWORD = "the-password-of-the-app"
OWNER = {"username": "owner", "password": PASSWORD, "host": "db.example", "port": 5432}
SQL = "CREATE SCHEMA s;\nCREATE TABLE s.t ();\n"
DIGEST = sha256(SQL.encode()).hexdigest()
SESSION = {"database": "papyrus", "user": "owner", "tls": "TLSv1.3", "pid": 1, "server_version": "18.6"}


def secret(params: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"owner": OWNER, "app": {"password": APP_PASSWORD}, "empty": {"username": "x"}}
    if params["SecretId"] not in known:
        raise Refusal("ResourceNotFoundException", "can't find the specified secret")
    return {"ARN": "arn:secret", "SecretString": json.dumps(known[params["SecretId"]])}


class Container:
    """Stands for `_exec.run_command`; `answers` are the program's, by what was asked for."""

    def __init__(self, answers: dict[str, dict[str, Any]]) -> None:
        self.answers = answers
        self.given: list[dict[str, Any]] = []
        self.targets: list[Target] = []
        self.output = ""

    def __call__(self, clients: Any, target: Target, command: Command, files: Files) -> ExecResult:
        assert command.stdin is not None
        given = json.loads(zlib.decompress(command.stdin))["parameters"]
        self.given.append(given)
        self.targets.append(target)
        said = {"op": given["op"], "error": None, "session": SESSION, **self.answers[given["op"]]}
        text = f"{self.output}{given['mark']} {json.dumps(said)}\n"
        return ExecResult("exited", "exit code 0", 0 if said["ok"] else 1, text.encode(), task_arn="arn:task/1")


Run = Callable[..., dict[str, Any]]


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")

    def run(
        module: ModuleType, container: Container | None = None, check: bool = False, **options: Any
    ) -> dict[str, Any]:
        aws = FakeAws({"secretsmanager.get_secret_value": secret})
        monkeypatch.setattr(_aws, "module_clients", lambda wanted: aws)
        monkeypatch.setattr(_exec, "run_command", container)
        where = {"cluster": "c", "service": "s"} if module is ecs_postgresql and "task" not in options else {}
        with patch_module_args({**where, **options, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert PASSWORD not in json.dumps(emitted) and APP_PASSWORD not in json.dumps(emitted)
        return emitted

    return run


def scripted(**said: Any) -> Container:
    return Container({"script": {"ok": True, "sha256": DIGEST, "committed": True, "alters": True, **said}})


def test_G1_a_script_is_sent_with_its_statements_and_the_owners_login(run: Run) -> None:
    container = scripted()
    result = run(
        ecs_postgresql, container, secret_id="owner", dbname="papyrus", script={"content": SQL, "commit": True}
    )
    assert (result["changed"], result["committed"], result["sha256"]) == (True, True, DIGEST)
    given = container.given[0]
    assert given["connection"] == {
        "password": PASSWORD,
        "host": "db.example",
        "port": "5432",
        "user": "owner",
        "dbname": "papyrus",
    }
    assert given["statements"] == [[0, 15, 1], [17, 36, 2]]
    assert (given["text"], given["sha256"], given["commit"]) == (SQL, DIGEST, True)
    assert result["session"] == SESSION and result["error"] is None and given["mark"] not in json.dumps(result)


def test_G1_a_rehearsal_changes_nothing_and_says_whether_the_apply_will(run: Run) -> None:
    result = run(ecs_postgresql, scripted(committed=False), script={"content": SQL})
    assert (result["changed"], result["committed"], result["alters"]) == (False, False, True)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"committed": False}, "Nothing of it is left."),
        ({"committed": None}, "INDETERMINATE"),
        ({"committed": True}, "It was COMMITTED nevertheless"),
    ],
)
def test_G1_a_failed_apply_says_what_is_left(run: Run, said: dict[str, Any], words: str) -> None:
    error = {"kind": "sql", "message": "division by zero", "sqlstate": "22012", "statement": 2, "line": 2}
    result = run(ecs_postgresql, scripted(ok=False, error=error, **said), script={"content": SQL, "commit": True})
    assert result["failed"] and words in result["msg"] and result["step"] == "G1"
    assert "statement 2, line 2: division by zero (SQLSTATE 22012)" in result["msg"] and "arn:task/1" in result["msg"]
    assert result["changed"] is (said["committed"] is True)


def test_G1_a_rehearsal_that_says_it_committed_is_a_failure(run: Run) -> None:
    assert run(ecs_postgresql, scripted(committed=True), script={"content": SQL})["failed"]


def test_G1_forbidden_and_other_bytes_are_refused_without_a_session(run: Run, tmp_path: Path) -> None:
    container = scripted()
    refused = run(ecs_postgresql, container, script={"content": SQL + "COMMIT;"})
    assert refused["failed"] and "line 3: COMMIT" in refused["msg"]
    file = tmp_path / "x.sql"
    file.write_text(SQL, "utf-8")
    other = run(ecs_postgresql, container, script={"src": str(file), "sha256": "0" * 64})
    assert other["failed"] and "x.sql is not the file that was meant" in other["msg"]
    missing = run(ecs_postgresql, container, script={"src": str(tmp_path / "none.sql")})
    assert missing["failed"] and "cannot be read" in missing["msg"]
    assert container.given == []


def test_E_a_refused_login_is_an_answer(run: Run) -> None:
    error = {"kind": "connect", "message": "FATAL: no pg_hba.conf entry, no encryption", "sqlstate": "28000"}
    said = {"ok": False, "connected": False, "refused_plaintext": True, "error": error, "session": {}}
    container = Container({"login": said})
    result = run(ecs_postgresql, container, login={"sslmode": "disable"})
    assert result["failed"] is False and result["rc"] == 1
    assert (result["connected"], result["refused_plaintext"], result["sqlstate"]) == (False, True, "28000")
    assert container.given[0]["connection"] == {"sslmode": "disable"}


def test_E_a_login_that_could_not_be_tried_fails(run: Run) -> None:
    error = {"kind": "setting", "message": "the container has no variable DB_HOST", "sqlstate": ""}
    result = run(ecs_postgresql, Container({"login": {"ok": False, "error": error}}), login={})
    assert result["failed"] and "papyrus_db_environment" in result["msg"] and result["step"] == "E1"


def test_E3_rows_come_back_by_name(run: Run) -> None:
    container = Container({"query": {"ok": True, "rows": {"a": [[1, "0.00"]]}}})
    queries = [{"name": "a", "sql": "SELECT %s, 0.00", "args": [1]}]
    result = run(ecs_postgresql, container, query=queries, environment={"host": "DB_HOST"}, task="abc", cluster="c")
    assert result["rows"] == {"a": [[1, "0.00"]]} and result["changed"] is False
    assert container.given[0]["queries"] == queries
    assert container.given[0]["environment"]["host"] == "DB_HOST"
    assert container.given[0]["environment"]["user"] == "PGUSER"
    assert (container.targets[0].task, container.targets[0].service) == ("abc", "")


def test_G1_prepare_begins_in_the_database_that_every_server_has(run: Run) -> None:
    container = Container({"prepare": {"ok": True, "changes": ["create role app"], "left_out": []}})
    wanted = {"database": "papyrus", "role": "app", "password_secret_id": "app", "schema": "s", "grants": ["SELECT"]}
    result = run(ecs_postgresql, container, secret_id="owner", prepare=wanted)
    assert (result["changed"], result["changes"]) == (True, ["create role app"])
    given = container.given[0]
    assert given["connection"]["dbname"] == "postgres"
    assert (given["password"], given["grants"]) == (APP_PASSWORD, ["SELECT"])


@pytest.mark.parametrize(("name", "words"), [("none", "does not exist"), ("empty", "no password")])
def test_G1_a_secret_that_cannot_be_used_is_said_before_any_session(run: Run, name: str, words: str) -> None:
    container = scripted()
    result = run(ecs_postgresql, container, secret_id=name, script={"content": SQL})
    assert result["failed"] and words in result["msg"] and container.given == []


def test_G1_passwords_become_known_to_redaction(run: Run, tmp_path: Path) -> None:
    Redactor.prepare(tmp_path)
    container = scripted()
    container.output = f"a driver that says {PASSWORD}\n"
    result = run(
        ecs_postgresql, container, secret_id="owner", private=str(tmp_path), script={"content": SQL, "commit": True}
    )
    assert "a driver that says" in result["stdout"]
    assert PASSWORD.encode() not in Redactor(tmp_path).redact(PASSWORD.encode())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"script": {"content": SQL}}, f"would rehearse (ROLLBACK) content, 2 statements, sha256 {DIGEST},"),
        ({"script": {"content": SQL, "commit": True}}, "would apply (COMMIT) content"),
        ({"prepare": {"database": "d", "role": "r"}}, "would make what is missing of database d, role r"),
        ({"login": {}}, "would log in"),
        ({"query": [{"name": "a", "sql": "SELECT 1"}]}, "would ask 1 queries"),
    ],
)
def test_G1_check_mode_opens_no_session_and_reads_no_secret(run: Run, options: dict[str, Any], words: str) -> None:
    container = Container({})
    result = run(ecs_postgresql, container, check=True, secret_id="none", **options)
    assert result["skipped"] and result["changed"] is False
    assert words in result["msg"] and "service s of c" in result["msg"]
    assert container.given == []


def test_G1_check_mode_refuses_what_would_be_refused(run: Run) -> None:
    assert run(ecs_postgresql, Container({}), check=True, script={"content": "COMMIT"})["failed"]


def test_G1_sql_script_info_tells_hash_statements_and_refusals(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "x.sql"
    file.write_text(SQL, "utf-8")
    result = run(sql_script_info, src=str(file), check=True)
    assert (result["sha256"], result["count"], result["bytes"]) == (DIGEST, 2, len(SQL))
    assert result["kinds"] == {"CREATE SCHEMA": 1, "CREATE TABLE": 1}
    assert result["refusals"] == [] and "AS fingerprint" in result["catalogue_query"]
    refused = run(sql_script_info, content="SELECT 1;\nVACUUM")
    assert refused["failed"] and "content is refused" in refused["msg"] and refused["step"] == "G1"
    told = run(sql_script_info, content="SELECT 1;\nVACUUM", fail=False)
    assert "failed" not in told and told["refusals"][0]["line"] == 2
    assert "not the file that was meant" in run(sql_script_info, content=SQL, sha256="0" * 64)["msg"]
