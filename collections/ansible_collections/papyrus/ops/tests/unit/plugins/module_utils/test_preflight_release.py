# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Before a release: what it changes itself does not refuse it, everything else does; login through Exec (B2, B3)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _db_login,
    _db_login_exec,
    _exec,
    _rows,
)
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.preflight_stand import PASSWORD, aws, evaluate, settings

LOGIN = _db_login.Login(host="db", port=5432, dbname="papyrus", user="papyrus_app", password=PASSWORD)
TARGET = _exec.Target(cluster="c", service="s")
CHANGES = "the release changes that, and asks again after its rollout"


@pytest.fixture(autouse=True)
def _terraform_and_database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = _db_login.LoginResult(True, "papyrus_app in papyrus over TLSv1.3", {"database": "papyrus"})
    monkeypatch.setattr(_db_login, "login", lambda who, transport: result)
    binary = tmp_path / "terraform"
    binary.write_text('#!/bin/sh\necho \'{"terraform_version": "1.15.5"}\'\n', "utf-8")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def release(answers: dict[str, Any] | None = None, before: str = "release", **changes: Any) -> dict[str, _rows.Row]:
    """Rows of an account in which these answers differ."""
    given = {name.replace(".", "__"): answer for name, answer in (answers or {}).items()}
    rows, dummy = evaluate(aws(**given), settings(before=before, **changes))
    return rows


def service(**changes: Any) -> dict[str, Any]:
    return {"ecs.describe_services": {"services": [shapes.service(**changes)]}}


def without_tasks() -> dict[str, Any]:
    dead = shapes.task(3, lastStatus="STOPPED", desiredStatus="STOPPED", containers=[{"name": "app", "exitCode": 3}])
    network = {"awsvpcConfiguration": {"subnets": ["subnet-a"], "securityGroups": ["sg-task"]}}
    return {**shapes.answers([], [dead]), **service(runningCount=0, networkConfiguration=network)}


def silent_agent() -> dict[str, Any]:
    task = shapes.task(1)
    task["containers"][0]["managedAgents"] = []
    return shapes.answers([task])


def weak_mode() -> dict[str, Any]:
    environment = [{"name": "PGSSLMODE", "value": "prefer"}]
    return {"ecs.describe_task_definition": {"taskDefinition": shapes.definition(environment=environment)}}


def secret_mode() -> dict[str, Any]:
    definition = shapes.definition(environment=[], secrets=[{"name": "PGSSLMODE", "valueFrom": "arn:x"}])
    return {"ecs.describe_task_definition": {"taskDefinition": definition}}


@pytest.mark.parametrize(
    ("answers", "changed", "words"),
    [
        (service(enableExecuteCommand=False), {"B3"}, "enableExecuteCommand is false"),
        (silent_agent(), {"B3"}, "(ABSENT)"),
        (weak_mode(), {"B13"}, "has prefer"),
        (secret_mode(), {"B13"}, "comes from a secret"),
        (service(runningCount=0), {"B7"}, "0 of 1 tasks run"),
        (
            service(
                deployments=[
                    {"id": "d", "status": "PRIMARY", "rolloutState": "FAILED"},
                    {"id": "e", "status": "ACTIVE"},
                ]
            ),
            {"B7"},
            "the last deployment failed",
        ),
        (without_tasks(), {"B3", "B7", "C4"}, "exit code 3"),
    ],
)
def test_B_what_the_release_changes_is_ok_with_a_text_that_says_so(
    answers: dict[str, Any], changed: set[str], words: str
) -> None:
    rows = release(answers)
    assert {row.id: row.reason for row in rows.values() if row.status == "ng"} == {}
    assert {row.id for row in rows.values() if CHANGES in row.reason} == changed
    assert all(words in rows[row_id].reason for row_id in changed)
    smoke = release(answers, before="smoke")
    assert {row.id for row in smoke.values() if row.status != "ok"} - {"B1"} >= changed


@pytest.mark.parametrize(
    ("answers", "row", "words"),
    [
        (service(deployments=[{"id": "d", "status": "PRIMARY", "rolloutState": "IN_PROGRESS"}]), "B7", "in flight (d)"),
        (
            service(deployments=[{"id": "d", "status": "PRIMARY"}, {"id": "e", "status": "ACTIVE"}]),
            "B7",
            "in flight (e)",
        ),
        (service(desiredCount=0, runningCount=0), "B7", "desired count is 0"),
        (service(status="DRAINING"), "B7", "DRAINING"),
        (
            {"ecs.describe_task_definition": {"taskDefinition": shapes.definition(readonlyRootFilesystem=True)}},
            "B3",
            "read-only",
        ),
        (
            {
                **service(enableExecuteCommand=False),
                "ecs.describe_task_definition": {"taskDefinition": shapes.definition(readonlyRootFilesystem=True)},
            },
            "B3",
            "read-only",
        ),
    ],
)
def test_B_what_the_release_does_not_change_refuses_it(answers: dict[str, Any], row: str, words: str) -> None:
    found = release(answers)[row]
    assert found.status == "ng"
    assert words in found.reason


def test_C3_without_tasks_the_services_own_groups_are_compared() -> None:
    rows = release(without_tasks(), tasks_sg_id="sg-other")
    assert rows["C3"].status == "ng"
    assert "sg-task" in rows["C3"].reason
    assert release(without_tasks())["C3"].status == "ok"


def test_B3_each_tasks_agent_is_named_and_a_run_without_exec_skips_it() -> None:
    tasks = [shapes.task(1), shapes.task(2)]
    running = {**shapes.answers(tasks), **service(desiredCount=2, runningCount=2)}
    reason = release(running, before="smoke")["B3"].reason
    assert f"agent of {1:032x} RUNNING, agent of {2:032x} RUNNING" in reason
    tasks[1]["containers"][0]["managedAgents"] = [{"name": "ExecuteCommandAgent", "lastStatus": "STOPPED"}]
    stopped = {**shapes.answers(tasks), **service(desiredCount=2, runningCount=2)}
    assert f"{2:032x} (STOPPED)" in release(stopped, before="smoke")["B3"].reason
    row = release(stopped, before="smoke", exec_required=False)["B3"]
    assert row.status == "skip"
    assert "no path of this run uses Exec" in row.reason


def answers_login(monkeypatch: pytest.MonkeyPatch, said: dict[str, Any] | None, **result: Any) -> list[Any]:
    """Every command in a container is answered with this; returns what was asked."""
    asked: list[Any] = []

    def run(clients: Any, target: Any, command: _exec.Command, files: _exec.Files) -> _exec.ExecResult:
        asked.append((target, command, files))
        mark = json.loads(_payload(command))["parameters"]["mark"]
        output = f"chatter\n{mark} {json.dumps({'op': 'login', **said})}\n" if said is not None else "chatter\n"
        given = {"outcome": "exited", "reason": "exit code 0", "rc": 0, "task_arn": "arn/t", **result}
        return _exec.ExecResult(output=output.encode(), **given)

    monkeypatch.setattr(_exec, "run_command", run)
    return asked


def _payload(command: _exec.Command) -> bytes:
    return zlib.decompress(command.stdin or b"")


SESSION = {
    "user": "papyrus_app",
    "database": "papyrus",
    "tls": "TLSv1.3",
    "server_version": "17.4",
    "password_asked": True,
}
CONNECTED = {"ok": True, "connected": True, "refused_plaintext": False, "session": SESSION, "error": None}
WRONG = {"kind": "connect", "message": "FATAL: password authentication failed", "sqlstate": "28P01"}


def test_B2_the_login_through_exec_sends_the_secrets_values_by_standard_input_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = answers_login(monkeypatch, CONNECTED)
    rows = release(before="smoke", db_login="exec")
    assert rows["B2"].status == "ok"
    assert "from inside the task" in rows["B2"].reason
    [(target, command, dummy)] = asked
    assert (target.service, target.container) == (shapes.SERVICE, "app")
    sent = json.loads(_payload(command))["parameters"]
    assert sent["connection"]["password"] == PASSWORD
    assert sent["connection"]["user"] == "papyrus_app"
    assert PASSWORD not in json.dumps([command.command, *command.argv])


@pytest.mark.parametrize(
    ("said", "result", "words"),
    [
        ({"ok": False, "connected": False, "error": WRONG}, {"rc": 1}, "password authentication failed"),
        (None, {}, "without an answer"),
        (CONNECTED, {"outcome": "indeterminate", "rc": None, "reason": "the socket closed"}, ""),
        (None, {"outcome": "not_run", "rc": None, "reason": "ECS Exec is off"}, "ECS Exec is off"),
        ({**CONNECTED, "session": {**SESSION, "tls": ""}}, {}, "not encrypted"),
        ({**CONNECTED, "session": {**SESSION, "password_asked": False}}, {}, "without asking for the password"),
    ],
)
def test_B2_a_login_through_exec_that_is_not_proved_is_ng(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, Any] | None, result: dict[str, Any], words: str
) -> None:
    answers_login(monkeypatch, said, **result)
    found = _db_login_exec.login(LOGIN, lambda service: None, TARGET, "python")
    assert found.ok is False
    assert words in found.reason
    assert release(before="smoke", db_login="exec")["B2"].status == "ng"


def test_B2_before_a_release_the_login_waits_for_an_exec_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers_login(monkeypatch, CONNECTED)
    row = release(service(enableExecuteCommand=False), db_login="exec")["B2"]
    assert (row.status, asked) == ("ok", [])
    assert CHANGES in row.reason
    assert release(db_login="exec")["B2"].status == "ok"
    assert len(asked) == 1


def test_B2_check_mode_opens_no_exec_session(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers_login(monkeypatch, CONNECTED)
    row = release(before="smoke", db_login="exec", dry=True)["B2"]
    assert (row.status, row.reason, asked) == ("skip", "check mode: no login through Exec is tried", [])
    assert release(before="smoke", db_login="exec", dry=True, db_username_rule="x")["B2"].status == "ng"


def test_B2_before_a_release_a_drifted_secret_refuses_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_login(monkeypatch, CONNECTED)
    row = release(service(enableExecuteCommand=False), db_login="exec", db_username_rule="somebody")["B2"]
    assert row.status == "ng"
    assert "somebody" in row.reason


def test_B2_no_spelling_of_the_password_leaves_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_login(monkeypatch, {"ok": False, "connected": False, "error": {**WRONG, "message": f"no {PASSWORD}"}})
    found = _db_login_exec.login(LOGIN, lambda service: None, TARGET, "python")
    assert PASSWORD not in json.dumps([found.reason, found.facts])


def test_B_the_rows_are_the_same_before_both() -> None:
    assert list(release()) == list(release(before="smoke"))


@pytest.mark.parametrize(("later_on", "status"), [("RUNNING", "ok"), ("PENDING", "ng")])
def test_B3_an_agent_that_is_still_starting_is_waited_for(later_on: str, status: str) -> None:
    states = iter(["PENDING", "PENDING", *[later_on] * 1000])

    def task(sent: Any) -> dict[str, Any]:
        agent = {"name": "ExecuteCommandAgent", "lastStatus": next(states)}
        return {"tasks": [shapes.task(1, containers=[{**shapes.task(1)["containers"][0], "managedAgents": [agent]}])]}

    asked = settings(agent_timeout=0.05, agent_interval=0.01)
    row = evaluate(aws(ecs__describe_tasks=task), asked)[0]["B3"]
    assert row.status == status, row.reason
    assert later_on in row.reason
