# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ecs_exec as Ansible runs it: the JSON that it emits (N3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.modules import ecs_exec
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws
from ansible_collections.papyrus.ops.tests.unit.ssm_agent import TOKEN, Agent, running

TASK = shapes.task(1, startedBy="ecs-svc/1")


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")

    def run(agent: Agent, check: bool = False, **options: Any) -> dict[str, Any]:
        answers = shapes.answers([TASK]) | {
            "ecs.describe_services": {"services": [shapes.service()]},
            "ecs.describe_clusters": {"clusters": []},
            "ecs.execute_command": agent.execute,
        }
        monkeypatch.setattr(_aws, "module_clients", lambda wanted: FakeAws(answers))
        arguments = {"cluster": shapes.CLUSTER, "service": shapes.SERVICE, **options, "_ansible_check_mode": check}
        with running(agent), patch_module_args(arguments), pytest.raises(SystemExit):
            ecs_exec.main()
        text = capsys.readouterr().out
        assert TOKEN not in text
        emitted: dict[str, Any] = json.loads(text)
        return emitted

    return run


def test_N3_a_command_that_ends_well_is_a_change(run: Any, tmp_path: Path) -> None:
    result = run(Agent(), command="wc -c; echo é", stdin="given\n", log=str(tmp_path / "x_exec.log"))
    assert (result["changed"], result["outcome"], result["rc"], result["stdout"]) == (True, "exited", 0, "6\né\n")
    documented = set(yaml.safe_load(ecs_exec.RETURN))
    assert documented == set(result) - {"changed", "invocation"}
    assert "exit code:  0" in (tmp_path / "x_exec.log").read_text("utf-8")


def test_N3_any_other_exit_code_fails_with_all_of_the_result(run: Any) -> None:
    result = run(Agent(), argv=["sh", "-c", "echo why; exit 7"])
    assert result["failed"]
    assert result["step"] == "N3"
    assert (result["rc"], result["stdout"]) == (7, "why\n")
    assert "container app" in result["msg"]
    assert "exit code 7" in result["msg"]


def test_N3_unless_that_is_not_wanted(run: Any) -> None:
    result = run(Agent(), command="exit 7", fail=False)
    assert "failed" not in result
    assert result["rc"] == 7


def test_N3_stdin_may_be_a_file_byte_for_byte(run: Any, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(bytes(range(256)))
    result = run(Agent(), command="od -An -tu1 -v | tr -s ' \\n' ' '", stdin_src=str(tmp_path / "in"))
    assert result["stdout"].split() == [str(number) for number in range(256)]


def test_N3_check_mode_runs_nothing(run: Any) -> None:
    agent = Agent()
    result = run(agent, check=True, command="echo x")
    assert (result["changed"], result["skipped"], result["outcome"]) == (False, True, "not_run")
    assert "would run in container app of task" in result["msg"]
    assert agent.commands == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"command": "x", "stdin_src": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"command": "x", "log": "/nowhere/at/all.log"}, "its folder is missing"),
        ({"command": "x" * 40_000}, "as stdin"),
        ({"command": "x", "timeout": 0}, "more than 0"),
    ],
)
def test_N3_mistakes_are_sentences(run: Any, options: dict[str, Any], says: str) -> None:
    agent = Agent()
    result = run(agent, **options)
    assert result["failed"]
    assert says in result["msg"]
    assert agent.commands == []
