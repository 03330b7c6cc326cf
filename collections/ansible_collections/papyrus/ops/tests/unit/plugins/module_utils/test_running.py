# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the running tasks are: each image, each environment, the URL map; an unknown exit code is never OK (F3, B13)."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _ecs_tasks, _exec, _running
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws

DIGEST, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
INDEX = f"sha256:{'c' * 64}"
MODES = ("require", "verify-ca", "verify-full")
ROUTES = 'ROUTES: ["/", "/dbcheck", "/healthz"]\n/ GET -> index\n'


def question(**changes: Any) -> _running.Question:
    given: dict[str, Any] = {
        "cluster": shapes.CLUSTER,
        "service": shapes.SERVICE,
        "container": "app",
        "environment": {"PGSSLMODE": MODES},
        "routes_command": "python -m papyrus.routes",
        "routes_required": ("/healthz", "/dbcheck"),
    }
    return _running.Question(**{**given, **changes})


def answered(stdout: str = "", rc: int | None = 0, outcome: Any = "exited", reason: str = "") -> _exec.ExecResult:
    return _exec.ExecResult(
        outcome, reason or f"exit code {rc}", rc=rc, output=stdout.encode(), request_ids=["request-x"]
    )


class Container:
    """Answers commands by the beginning of their text; keeps who was asked what."""

    def __init__(self, **answers: _exec.ExecResult) -> None:
        self.answers = {"env": answered("verify-full\n"), "routes": answered(ROUTES), **answers}
        self.asked: list[tuple[str, str]] = []
        self.lock = threading.Lock()

    def __call__(self, clients: Any, target: Any, command: Any, files: Any) -> _exec.ExecResult:
        kind = "env" if "printenv" in command.command else "routes"
        with self.lock:
            self.asked.append((kind, target.task))
        files.log.write_text(f"transcript of {kind} in {target.task}\n", "utf-8")
        return self.answers.get(f"{kind}_{_ecs_tasks.short(target.task)[-1]}", self.answers[kind])


def other_image(number: int) -> dict[str, Any]:
    task = shapes.task(number)
    repository = task["containers"][0]["image"].partition("@")[0]
    task["containers"][0] |= {"imageDigest": OTHER, "image": f"{repository}@{OTHER}"}
    return task


def look(container: Container, asked: _running.Question, tasks: list[dict[str, Any]], **more: Any) -> _running.Look:
    return _running.look(FakeAws(shapes.answers(tasks)), asked, None, run=container, **more)


def rows(found: _running.Look) -> dict[str, tuple[str, str]]:
    return {row.id: (row.status, row.reason) for row in found.rows}


def test_F3_every_running_task_is_looked_at_and_one_of_each_image_for_its_routes(tmp_path: Path) -> None:
    container = Container()
    tasks = [shapes.task(1), shapes.task(2), shapes.task(3)]
    found = look(container, question(expected=(DIGEST,)), tasks)
    assert {status for status, dummy in rows(found).values()} == {"ok"}
    assert sorted(task for kind, task in container.asked if kind == "env") == [shapes.task_arn(n) for n in (1, 2, 3)]
    assert [task for kind, task in container.asked if kind == "routes"] == [shapes.task_arn(1)]
    by_name = {item["name"]: item for item in found.evidence}
    assert list(by_name) == ["running_image.log", "pgsslmode_env.log", "flask_url_map_after.log"]
    for number in (1, 2, 3):
        assert f"transcript of env in {shapes.task_arn(number)}" in by_name["pgsslmode_env.log"]["content"]
        assert shapes.task_arn(number) in by_name["running_image.log"]["content"]
    assert by_name["pgsslmode_env.log"]["meta"]["request_ids"] == ["request-x"] * 3
    assert {item["step"] for item in found.evidence} == {"F3"}


def test_F3_a_task_with_another_image_is_named() -> None:
    found = look(Container(), question(expected=(DIGEST,)), [shapes.task(1), other_image(2)])
    status, reason = rows(found)["F3"]
    assert status == "ng"
    assert f"{2:032x} runs {OTHER}" in reason
    assert DIGEST in reason


def test_F3_index_and_platform_digest_are_both_the_image() -> None:
    found = look(Container(), question(expected=(OTHER, DIGEST)), [shapes.task(1), other_image(2)])
    assert rows(found)["F3"][0] == "ok"


def test_F3_without_an_expectation_each_task_must_run_what_its_own_definition_pins() -> None:
    assert rows(look(Container(), question(), [shapes.task(1), other_image(2)]))["F3"][0] == "ok"
    lying = shapes.task(1)
    lying["containers"][0]["imageDigest"] = OTHER
    assert rows(look(Container(), question(), [lying]))["F3"][0] == "ng"


@pytest.mark.parametrize("image", ["papyrus:v1", "papyrus"])
def test_F3_an_image_by_tag_is_a_skip_with_its_reason(image: str) -> None:
    task = shapes.task(1)
    task["containers"][0]["image"] = image
    status, reason = rows(look(Container(), question(), [task]))["F3"]
    assert status == "skip"
    assert image in reason


@pytest.mark.parametrize(("expected", "status"), [((), "ok"), ((INDEX,), "ok"), (("sha256:" + "d" * 64,), "ng")])
def test_F3_ecs_may_name_the_platforms_manifest_of_a_pinned_index(expected: tuple[str, ...], status: str) -> None:
    task = shapes.task(1)
    task["containers"][0]["image"] = f"papyrus@{INDEX}"
    asked: list[str] = []

    def names_of(task_definition: str) -> frozenset[str]:
        asked.append(task_definition)
        return frozenset({INDEX, DIGEST, OTHER})

    found = look(Container(), question(expected=expected), [task, {**shapes.task(2)}], names_of=names_of)
    assert rows(found)["F3"][0] == status
    assert asked == [shapes.DEFINITION]
    assert found.images == {shapes.DEFINITION: frozenset({INDEX, DIGEST, OTHER})}
    strict = look(Container(), question(), [task])
    assert rows(strict)["F3"][0] == "ng"


def test_F3_an_image_by_tag_is_what_ecr_has_under_it() -> None:
    task = shapes.task(1)
    task["containers"][0]["image"] = "papyrus:v1"
    assert rows(look(Container(), question(), [task], names_of=lambda arn: frozenset({DIGEST})))["F3"][0] == "ok"
    assert rows(look(Container(), question(), [task], names_of=lambda arn: frozenset({OTHER})))["F3"][0] == "ng"


def test_F3_a_digest_that_ecs_does_not_say_is_ng() -> None:
    task = shapes.task(1)
    del task["containers"][0]["imageDigest"]
    assert rows(look(Container(), question(expected=(DIGEST,)), [task]))["F3"][0] == "ng"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answered("prefer\n"), "PGSSLMODE is prefer in"),
        (answered("", 1), "PGSSLMODE is not set in"),
        (answered("verify-full\n", None, "indeterminate", "the socket closed"), "cannot be read: the socket closed"),
        (answered("verify-full\n", None, "timed_out", "ran longer than 30 s"), "ran longer"),
        (answered("sh: 1: boom\n", 2), "boom"),
        (answered("verify-full\nverify-full\n"), "PGSSLMODE is 'verify-full"),
        (answered("", None, "not_run", "ECS Exec is off"), "ECS Exec is off"),
    ],
)
def test_B13_one_task_without_a_strict_mode_makes_it_ng(answer: _exec.ExecResult, words: str) -> None:
    found = look(Container(env_2=answer), question(), [shapes.task(1), shapes.task(2)])
    status, reason = rows(found)["B13"]
    assert status == "ng"
    assert words in reason
    assert f"{2:032x}" in reason


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (answered('ROUTES: ["/", "/healthz"]\n'), "does not have /dbcheck"),
        (answered("no such module\n", 1), "no such module"),
        (answered("nothing\n"), "printed no line ROUTES"),
        (answered("ROUTES: [broken\n"), "printed no line ROUTES"),
        (answered(ROUTES, None, "indeterminate", "the mark never came"), "the mark never came"),
    ],
)
def test_B1_a_url_map_without_a_required_route_is_ng(answer: _exec.ExecResult, words: str) -> None:
    status, reason = rows(look(Container(routes=answer), question(), [shapes.task(1)]))["B1"]
    assert status == "ng"
    assert words in reason


def test_B3_exec_that_does_not_work_is_a_skip_only_where_the_run_does_not_need_it() -> None:
    off = answered("", None, "not_run", "ECS Exec is off on the service")
    asked = question(exec_required=False)
    found = look(Container(env=off, routes=off), asked, [shapes.task(1)])
    assert [(row.id, row.status) for row in found.rows] == [("F3", "ok"), ("B3", "skip"), ("B3", "skip")]
    bad = look(Container(env=answered("prefer\n")), asked, [shapes.task(1)])
    assert rows(bad)["B13"][0] == "ng"


def test_F3_a_service_without_database_skips_its_environment_with_the_reason() -> None:
    found = look(Container(), question(environment={}, without_environment="no database"), [shapes.task(1)])
    assert rows(found)["B13"] == ("skip", "no database")
    assert [item["name"] for item in found.evidence].count("pgsslmode_env.log") == 1


def test_F3_no_running_task_is_said_with_the_cause() -> None:
    with pytest.raises(_ecs_tasks.TaskProblem, match="no RUNNING task"):
        look(Container(), question(), [])
    assert rows(look(Container(), question(), [], dry=True))["F3"][0] == "skip"


def test_F3_check_mode_opens_no_session() -> None:
    container = Container()
    found = look(container, question(), [shapes.task(1)], dry=True)
    assert container.asked == []
    assert list(rows(found)) == ["F3"]


def test_F3_a_fault_in_one_session_is_not_swallowed() -> None:
    def broken(*arguments: Any) -> _exec.ExecResult:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        _running.look(FakeAws(shapes.answers([shapes.task(1)])), question(), None, run=broken)


@pytest.mark.parametrize(
    ("environment", "answer"), [({"X": "a  b"}, (0, "a  b\n")), ({}, (1, "")), ({"X": ""}, (0, "\n"))]
)
@pytest.mark.parametrize("printenv", [True, False])
def test_B13_the_variable_is_read_with_and_without_printenv(
    tmp_path: Path, environment: dict[str, str], answer: tuple[int, str], printenv: bool
) -> None:
    path = "/usr/bin:/bin" if printenv else str(tmp_path)
    command = ["/bin/sh", "-c", _running.environment_command("X")]
    done = subprocess.run(command, env={"PATH": path, **environment}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (*answer, "")


def test_F3_the_name_of_a_variable_cannot_carry_a_command() -> None:
    with pytest.raises(ValueError, match="no name of an environment variable"):
        question(environment={"X; rm -rf /": ("a",)})
