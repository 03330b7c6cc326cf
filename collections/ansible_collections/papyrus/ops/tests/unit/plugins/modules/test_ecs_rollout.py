# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module ecs_rollout as Ansible runs it (F3)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _rollout_watch
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import ecs_rollout
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.rollout_world import NEW, OLD, World
from ansible_collections.papyrus.ops.tests.unit.told import Told

ASKED = {"cluster": shapes.CLUSTER, "service": shapes.SERVICE, "task_definition": NEW}
SECRET = "the-password-nobody-may-see"


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("AWS_REGION", "us-west-2")

    def run(world: World, check: bool = False, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_aws, "module_clients", lambda wanted: world.aws)
        watcher = _rollout_watch.Watcher

        def timed(*arguments: Any) -> Any:
            return watcher(*arguments, clock=world.clock, sleep=world.sleep)

        monkeypatch.setattr(ecs_rollout, "Watcher", timed)
        arguments = {**ASKED, **options, "_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ecs_rollout.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


def writes(world: World) -> list[str]:
    return [name for name in world.aws.names if not name.split(".")[1].startswith(("describe", "list", "get"))]


def test_F3_the_result_has_the_verdict_the_evidence_and_the_difference(run: Any) -> None:
    result = run(World([lambda w: w.die(51), World.succeed]))
    assert (result["changed"], result["result"], "failed" in result) == (True, "deployed", False)
    assert result["release"] == {
        "result": "deployed",
        "by": "",
        "task_definition": NEW,
        "serving": NEW,
        "previous": OLD,
        "cause": "",
    }
    kinds = [entry["event"] for entry in result["events"]]
    assert kinds[:2] == ["begin", "started"]
    assert kinds[-1] == "verdict"
    assert {"identified", "poll", "task_stopped", "log"} < set(kinds)
    assert result["tasks_stopped"][0]["exit_codes"] == {"app": 3}
    assert result["tasks_stopped"][0]["logs"][0]["lines"] == ["boom"]
    assert result["service_deployment"]["status"] == "SUCCESSFUL"
    assert (result["diff"]["before"]["task_definition"], result["diff"]["after"]["task_definition"]) == (OLD, NEW)


def test_F3_a_rollback_fails_the_task_with_the_verdict_beside_it(run: Any) -> None:
    tripped = {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}
    result = run(World([lambda w: w.go_back(deploymentCircuitBreaker=tripped, statusReason="exceeded")]))
    assert (result["failed"], result["step"], result["changed"]) == (True, "F3", True)
    assert result["msg"].startswith("papyrus-task:8: rolled back by deployment circuit breaker; papyrus-task:7 serves")
    assert result["serving"] == OLD


def test_F3_check_mode_says_what_would_be_updated_and_writes_nothing(run: Any) -> None:
    world = World()
    result = run(world, check=True)
    assert (result["changed"], result["result"]) == (True, "not_started")
    assert result["request"] == {
        "cluster": shapes.CLUSTER,
        "service": shapes.SERVICE,
        "taskDefinition": NEW,
        "forceNewDeployment": True,
    }
    assert result["diff"]["after"]["task_definition"] == NEW
    assert writes(world) == []


def test_F3_check_mode_of_going_back_writes_nothing(run: Any) -> None:
    world = World()
    world.begin(NEW, "ecs-svc/2")
    world.succeed()
    result = run(world, check=True, state="rolled_back", previous=OLD)
    assert (result["changed"], result["task_definition"], result["previous"]) == (True, NEW, OLD)
    assert writes(world) == []


def test_F3_what_is_refused_is_not_started_and_nothing_is_written(run: Any) -> None:
    world = World()
    world.service["deploymentController"] = {"type": "CODE_DEPLOY"}
    result = run(world)
    assert (result["failed"], result["changed"], result["release"]["result"]) == (True, False, "not_started")
    assert "CODE_DEPLOY" in result["msg"]
    assert writes(world) == []


def test_F3_a_service_that_does_not_exist_is_refused_with_what_to_check(run: Any) -> None:
    world = World()
    world.service.clear()
    assert "Check cluster, service and region" in run(world)["msg"]


def test_F3_no_secret_of_the_run_is_in_result_or_progress(run: Any, told: Told, tmp_path: Path) -> None:
    Redactor.prepare(tmp_path)
    Redactor.register(tmp_path, "password", SECRET)
    world = World([lambda w: w.die(51, f"could not connect with {SECRET}"), World.succeed])
    result = run(world, private=str(tmp_path))
    assert "could not connect with [redacted:password:" in told.text
    assert SECRET not in json.dumps(result) + told.text


def test_F3_going_back_is_a_success_of_the_task(run: Any) -> None:
    world = World([World.succeed])
    world.begin(NEW, "ecs-svc/2")
    world.succeed()
    result = run(world, state="rolled_back", previous=OLD, cause="/dbcheck answered 500")
    assert (result["result"], result["by"], result["serving"]) == ("rolled_back", "papyrus.ops", OLD)
    assert "failed" not in result
    assert (
        run(world, state="rolled_back")["msg"] == "state is rolled_back but all of the following are missing: previous"
    )
