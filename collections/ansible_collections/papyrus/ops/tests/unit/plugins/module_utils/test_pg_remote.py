# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""G1: what is sent into a container, how its answer is told from everything else, and what is known when none comes."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _pg_remote
from ansible_collections.papyrus.ops.plugins.module_utils._exec_types import Command, ExecOutcome, ExecResult, Files

PASSWORD = "the-password-nobody-may-see"
PARAMETERS: dict[str, Any] = {
    "name": "x.sql",
    "text": "SELECT 1",
    "sha256": "0" * 64,
    "statements": [[0, 8, 1]],
    "commit": True,
    "catalogue": "SELECT 1",
}


class Exec:
    """Answers each session by the next function, which gets the parameters that arrived."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.commands: list[Command] = []
        self.given: list[dict[str, Any]] = []

    def __call__(self, command: Command, files: Files) -> ExecResult:
        self.commands.append(command)
        assert command.stdin is not None
        self.given.append(json.loads(zlib.decompress(command.stdin))["parameters"])
        result: ExecResult = self.answers.pop(0)(self.given[-1])
        if files.log is not None:
            files.log.write_bytes(result.output)
        return result


def ended(text: str, outcome: ExecOutcome = "exited", rc: int | None = 0, reason: str = "exit code 0") -> Any:
    """A session with this output, `MARK` being what the program was told."""
    return lambda given: ExecResult(outcome, reason, rc, text.replace("MARK", given["mark"]).encode())


def said(**answer: Any) -> str:
    return f"MARK {json.dumps({'op': 'script', 'ok': True, 'error': None, **answer})}\n"


XID = 'MARK {"xid": "4711"}\n'


def place(**changed: Any) -> _pg_remote.Place:
    return _pg_remote.Place(**{"connection": {"user": "u", "password": PASSWORD}, "timeout": 30, **changed})


def test_the_password_goes_by_standard_input_alone() -> None:
    run = Exec(ended(said()))
    _pg_remote.ask(run, place(), "login", {})
    assert run.given[0]["connection"]["password"] == PASSWORD
    assert PASSWORD not in "".join(run.commands[0].argv) + repr(place())
    assert run.commands[0].argv[:2] == ["python", "-c"]
    assert "\n" not in "".join(run.commands[0].argv)
    assert run.given[0]["seconds"] == 25


def test_only_the_line_with_the_mark_is_the_answer() -> None:
    lie = json.dumps({"op": "script", "ok": False})
    answer = _pg_remote.ask(
        Exec(ended(f"{lie}\npapyrus-0 {lie}\n{said(sha256='a')}papyrus-1 {lie}\n")), place(), "script", {}
    )
    assert answer.said and answer.said["sha256"] == "a"
    assert answer.shown == f"{lie}\npapyrus-0 {lie}\npapyrus-1 {lie}\n"


@pytest.mark.parametrize("outcome", ["indeterminate", "timed_out"])
def test_a_session_that_did_not_end_well_is_no_success_even_with_an_answer(outcome: ExecOutcome) -> None:
    answer = _pg_remote.ask(Exec(ended(said(), outcome, None, "the socket closed")), place(), "query", {})
    assert not answer.ok
    assert answer.error["message"] == "the socket closed"


@pytest.mark.parametrize(
    ("text", "rc", "words"),
    [("sh: python: not found\n", 127, "papyrus_exec_python"), ("Killed\n", 137, "exit code 137 and without an answer")],
)
def test_no_answer_is_explained(text: str, rc: int, words: str) -> None:
    answer = _pg_remote.ask(Exec(ended(text, rc=rc)), place(), "query", {})
    assert answer.said is None and words in answer.error["message"]


def script(run: Exec, commit: bool = True, files: Files = _pg_remote.NO_FILES) -> _pg_remote.Outcome:
    return _pg_remote.run_script(run, place(), {**PARAMETERS, "commit": commit}, files)


@pytest.mark.parametrize(
    ("status", "committed"), [("committed", True), ("aborted", False), ("in progress", None), ("", None)]
)
@pytest.mark.parametrize("how", [("indeterminate", None), ("timed_out", None), ("exited", 137)])
def test_G1_a_lost_end_is_asked_for(
    how: tuple[ExecOutcome, int | None], status: str, committed: bool | None, tmp_path: Path
) -> None:
    run = Exec(ended("BEGIN\n" + XID, *how), ended(said(op="outcome", status=status)))
    log = tmp_path / "x.log"
    outcome = script(run, files=Files(log=log))
    assert outcome.committed is committed
    assert (run.given[1]["op"], run.given[1]["xid"]) == ("outcome", "4711")
    assert f"says of transaction 4711: {status}" in outcome.asked_again
    assert outcome.asked_again in log.read_text("utf-8")


def test_G1_an_end_that_nobody_can_be_asked_for_is_indeterminate() -> None:
    lost = ended("", "indeterminate", None, "the socket closed")
    assert script(Exec(lost)).committed is None
    outcome = script(Exec(ended(XID, "indeterminate", None), lost))
    assert outcome.committed is None
    assert "the socket closed" in outcome.asked_again


def test_G1_what_cannot_have_been_committed_is_not_asked_for() -> None:
    assert script(Exec(ended("", "not_run", None, "no task"))).committed is False
    assert script(Exec(ended("Traceback", rc=1))).committed is False
    assert script(Exec(ended(XID, "indeterminate", None)), commit=False).committed is False


def test_G1_an_answer_that_was_cut_off_is_none() -> None:
    cut = said()[:-20]
    outcome = script(Exec(ended(XID + cut, "indeterminate", None), ended(said(op="outcome", status="committed"))))
    assert outcome.committed is True and outcome.answer.said is None


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (
            {"kind": "sql", "message": 'column "x" does not exist', "sqlstate": "42703", "statement": 3, "line": 5},
            'statement 3, line 5: column "x" does not exist (SQLSTATE 42703).',
        ),
        ({"kind": "sql", "message": "canceling; waited 10 s", "sqlstate": "55P03"}, "pg_terminate_backend"),
        ({"kind": "connect", "message": 'FATAL: password authentication failed for user "x"'}, "correct the secret"),
        ({"kind": "plaintext", "message": "not encrypted"}, "rds.force_ssl=1"),
        ({"kind": "setting", "message": "no variable DB_HOST"}, "papyrus_db_environment"),
        ({"kind": "psycopg", "message": "cannot be imported"}, "papyrus_exec_python"),
    ],
)
def test_errors_say_what_to_do(error: dict[str, Any], words: str) -> None:
    assert words in _pg_remote.explained(error)
