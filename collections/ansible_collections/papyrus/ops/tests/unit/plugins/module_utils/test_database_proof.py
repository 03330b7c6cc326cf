# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Proofs of a database write: what is not known is never a success, only the server's own refusal is one (E1, E3)."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _database_proof as proof

RUN = "20260131T120000Z-abc234"
TASK, OTHER = "arn:aws:ecs:us-west-2:123456789012:task/c/1111", "arn:aws:ecs:us-west-2:123456789012:task/c/2222"
DIGEST, OLD = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
OUTPUT = f"INSERT 0 1\nMARK: {RUN} cli committed\nTLS: TLSv1.3\n"
ROWS = [["SKU-APP", "health", "0.00"], ["SKU-CLI", "health", "0.00"]]
MARKS = [["app", TASK, DIGEST, "2026-01-31T12:01:00.5+00:00"], ["cli", TASK, DIGEST, "2026-01-31T12:00:30+00:00"]]
WORDS = {"cli": "TLSv1.3", "app": "TLSv1.2"}
LINE = "ROWS: [('SKU-CLI','health',0), ('SKU-APP','health',0)]"


def expected(**changes: Any) -> proof.Expected:
    given: dict[str, Any] = {
        "run_id": RUN,
        "tasks": [{"task_arn": TASK, "image_digest": DIGEST}],
        "output": (r"^INSERT 0 \d+$", "^MARK: {run_id} cli committed$"),
        "tls": r"^TLS: (\S+)$",
        "rows": {"cli": ["SKU-CLI", "health", 0], "app": ["SKU-APP", "health", 0]},
    }
    return proof.Expected(**{**given, **changes})


def ran(**changes: Any) -> dict[str, Any]:
    return {"outcome": "exited", "rc": 0, "stdout": OUTPUT, "task_arn": TASK, "reason": "exit code 0", **changes}


def test_E1_a_committed_write_over_tls_in_a_running_task_is_ok() -> None:
    row = proof.judge_cli(ran(request_ids=["r"]), expected())
    assert (row.status, row.request_ids) == ("ok", ("r",))
    assert "INSERT 0 1" in row.reason
    assert "TLSv1.3" in row.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rc": 1, "stdout": "database not usable: authentication\n"}, "exit code 1: database not usable"),
        ({"outcome": "indeterminate", "rc": None, "reason": "the socket closed"}, "the socket closed"),
        ({"outcome": "timed_out", "rc": None, "reason": "ran longer than 60 s"}, "ran longer"),
        ({"outcome": "not_run", "rc": None, "reason": "ECS Exec is off"}, "ECS Exec is off"),
        ({"rc": None}, "not known to have ended"),
        ({"stdout": OUTPUT.replace("INSERT 0 1", "INSERTED")}, "INSERT 0"),
        ({"stdout": OUTPUT.replace("abc234", "zzz234")}, "MARK"),
        ({"stdout": OUTPUT.replace("committed", "not there")}, "MARK"),
        ({"stdout": OUTPUT.replace("TLSv1.3", "none")}, "it says none"),
        ({"stdout": OUTPUT.replace("TLS: TLSv1.3\n", "")}, "it says nothing"),
        ({"task_arn": OTHER}, "not a running task"),
    ],
)
def test_E1_anything_else_is_ng_with_its_cause(changes: dict[str, Any], words: str) -> None:
    row = proof.judge_cli(ran(**changes), expected())
    assert row.status == "ng"
    assert words in row.reason


def test_E1_a_module_that_failed_says_why() -> None:
    for result in ({"failed": True, "msg": "no such cluster"}, {"skipped": True}, {}):
        row = proof.judge_cli(result, expected())
        assert row.status == "ng"
    assert "no such cluster" in proof.judge_cli({"failed": True, "msg": "no such cluster"}, expected()).reason


def refused(**changes: Any) -> dict[str, Any]:
    text = 'no pg_hba.conf entry for host "10.0.0.9", user "papyrus_app", database "papyrus", no encryption'
    given = {"outcome": "exited", "rc": 0, "connected": False, "refused_plaintext": True, "sqlstate": "28000"}
    return {**given, "error": {"message": text}, **changes}


def test_E1_the_servers_refusal_of_plaintext_is_the_proof() -> None:
    row = proof.judge_plaintext(refused())
    assert row.status == "ok"
    assert "no encryption" in row.reason


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"connected": True, "refused_plaintext": False, "user": "papyrus_app"}, "PLAINTEXT ACCEPTED"),
        ({"connected": True, "refused_plaintext": True}, "PLAINTEXT ACCEPTED"),
        ({"refused_plaintext": False, "sqlstate": "28P01", "error": "password authentication failed"}, "28P01"),
        ({"refused_plaintext": False, "sqlstate": "", "error": "connection timeout expired"}, "timeout expired"),
        ({"refused_plaintext": False, "sqlstate": "", "error": "connection refused"}, "connection refused"),
        ({"refused_plaintext": None}, "not because"),
        ({"outcome": "indeterminate", "rc": None, "reason": "lost"}, "nobody knows"),
        ({"outcome": "timed_out", "rc": None, "reason": "too long"}, "nobody knows"),
    ],
)
def test_E1_nothing_but_that_refusal_is(changes: dict[str, Any], words: str) -> None:
    row = proof.judge_plaintext(refused(**changes))
    assert row.status == "ng"
    assert words in row.reason
    assert proof.judge_plaintext({}).status == "ng"


def test_E1_a_fresh_task_must_log_in_and_be_gone() -> None:
    good = {"ok": True, "lines": ["LOGIN: papyrus_app in papyrus", "TLS: TLSv1.3"], "task_arn": TASK, "stopped": True}
    assert proof.judge_fresh_login(good).status == "ok"
    assert "is not proved stopped" in proof.judge_fresh_login({**good, "stopped": False}).reason
    bad = {**good, "ok": False, "reason": "exit code 1; last line: database not usable: authentication"}
    assert "database not usable: authentication" in proof.judge_fresh_login(bad).reason
    assert proof.judge_fresh_login({"failed": True, "msg": "no"}).status == "ng"


def read_back(**changes: Any) -> tuple[Any, str]:
    given: dict[str, Any] = {"rows": ROWS, "marks": MARKS, "tls": WORDS, **changes}
    asked = given.pop("asked", expected())
    result = given.pop("result", {"rows": {"rows": [], "marks": []}, "task_arn": TASK, "session_id": "s-1"})
    return proof.judge_read_back(result, proof.ReadBack(**given), asked, given.get("cli_task", TASK))


def test_E3_rows_marks_and_words_of_both_paths_are_the_evidence() -> None:
    row, text = read_back()
    assert (row.status, row.reason) == ("ok", LINE)
    assert text.splitlines()[1] == LINE
    assert f"MARK: cli task_arn={TASK} image_digest={DIGEST} marked_at=2026-01-31T12:00:30+00:00" in text
    assert "TLS: cli TLSv1.3" in text
    assert "TLS: app TLSv1.2" in text


@pytest.mark.parametrize("price", ["0.00", "0", 0, 0.0, "0E-2"])
def test_E3_numbers_are_shown_by_their_value(price: Any) -> None:
    row, dummy = read_back(rows=[["SKU-CLI", "health", price], ["SKU-APP", "health", price]])
    assert row.reason == LINE


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": ROWS[:1]}, "the row of path cli, ('SKU-CLI','health',0), is not there"),
        ({"rows": [["SKU-APP", "health", "0.01"], ROWS[1]]}, "path app"),
        ({"rows": [["SKU-APP", "other", "0.00"], ROWS[1]]}, "path app"),
        ({"rows": [["SKU-APP", "health", None], ROWS[1]]}, "path app"),
        ({"marks": MARKS[:1]}, "path cli has 0 marks"),
        ({"marks": []}, "path app has 0 marks"),
        ({"marks": [["app", OTHER, DIGEST, MARKS[0][3]], MARKS[1]]}, "is by task"),
        ({"marks": [["app", None, None, MARKS[0][3]], MARKS[1]]}, "by task unknown"),
        ({"marks": [["app", TASK, OLD, MARKS[0][3]], MARKS[1]]}, f"names image {OLD}"),
        ({"marks": [["app", TASK, None, MARKS[0][3]], MARKS[1]]}, "names image none"),
        ({"marks": [["app", TASK, DIGEST, "2026-01-31T11:00:00+00:00"], MARKS[1]]}, "of 2026-01-31T11"),
        ({"marks": [["app", TASK, DIGEST, None], MARKS[1]]}, "no time"),
        ({"tls": {"cli": "TLSv1.3", "app": "none"}}, "path app"),
        ({"tls": {"app": "TLSv1.3"}}, "path cli"),
        ({"tls": {"cli": "TLSv1.3", "app": "TLSv1.3 maybe"}}, "path app"),
        ({"result": {"failed": True, "msg": "Exec is off"}}, "cannot be read back: Exec is off"),
        ({"result": {"outcome": "indeterminate", "reason": "lost", "rows": None}}, "lost"),
    ],
)
def test_E3_anything_that_is_missing_is_ng_and_named(changes: dict[str, Any], words: str) -> None:
    row, text = read_back(**changes)
    assert row.status == "ng"
    assert words in row.reason
    assert text.splitlines()[-1] == f"NG: {row.reason}"


def test_E3_the_app_writes_from_behind_the_load_balancer_the_command_from_any_running_task() -> None:
    tasks = [{"task_arn": TASK, "image_digest": DIGEST}, {"task_arn": OTHER, "image_digest": DIGEST}]
    marks = [["app", OTHER, DIGEST, MARKS[0][3]], MARKS[1]]
    assert read_back(marks=marks, asked=expected(tasks=tasks, behind=[OTHER]))[0].status == "ok"
    row, dummy = read_back(marks=marks, asked=expected(tasks=tasks, behind=[TASK]))
    assert row.status == "ng"
    assert "not behind the load balancer" in row.reason


def test_E3_a_container_may_know_its_image_by_another_digest_of_it() -> None:
    marks = [["app", TASK, OLD, MARKS[0][3]], MARKS[1]]
    assert read_back(marks=marks, asked=expected(images=[[OLD, DIGEST]]))[0].status == "ok"
    assert read_back(marks=marks, asked=expected(images=[[OLD], [DIGEST]]))[0].status == "ng"


def test_E3_the_cli_mark_is_by_the_task_in_which_the_command_ran() -> None:
    tasks = [{"task_arn": TASK, "image_digest": DIGEST}, {"task_arn": OTHER, "image_digest": DIGEST}]
    marks = [MARKS[0], ["cli", OTHER, DIGEST, MARKS[1][3]]]
    row, dummy = read_back(marks=marks, asked=expected(tasks=tasks))
    assert "the command ran in 1111" in row.reason


@pytest.mark.parametrize(("path", "line"), [("cli", "'SKU-CLI'"), ("app", "'SKU-APP'")])
def test_E3_a_path_left_out_is_not_asked_for(path: str, line: str) -> None:
    rows = [row for row in ROWS if repr(row[0]) == line]
    marks = [mark for mark in MARKS if mark[0] == path]
    row, text = read_back(rows=rows, marks=marks, tls={path: "TLSv1.3"}, asked=expected(paths=(path,)))
    assert (row.status, row.reason) == ("ok", f"ROWS: [({line},'health',0)]")
    assert len([text_line for text_line in text.splitlines() if text_line.startswith("TLS: ")]) == 1


def answer(*words: str) -> dict[str, Any]:
    return {"responses": [{"headers": [{"name": "x-papyrus-db-tls", "value": word}] if word else []} for word in words]}


@pytest.mark.parametrize(
    ("answers", "word"),
    [(("TLSv1.3",), "TLSv1.3"), (("TLSv1.3", "none"), "none"), (("TLSv1.3", ""), ""), ((), "")],
)
def test_E3_every_answer_of_the_app_counts(answers: tuple[str, ...], word: str) -> None:
    assert proof.header_tls(answer(*answers), "X-Papyrus-Db-Tls") == word
    assert proof.header_tls(None, "X-Papyrus-Db-Tls") == ""


def test_E_expectations_that_make_no_sense_are_refused() -> None:
    for changes in ({"run_id": "x"}, {"output": ("(",)}, {"tls": "no group"}, {"tls": "(a)(b)"}):
        with pytest.raises(ValueError, match=r"\w"):
            expected(**changes)


def test_E_a_run_id_is_no_pattern() -> None:
    assert expected().of_run("{run_id}") == RUN.replace("-", r"\-")
