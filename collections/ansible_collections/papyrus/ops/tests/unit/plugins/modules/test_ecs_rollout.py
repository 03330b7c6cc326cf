# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module ecs_rollout as Ansible runs it, and what its action plugin shows (F3)."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.action import ecs_rollout as action
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _rollout_watch
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.modules import ecs_rollout
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.rollout_world import NEW, OLD, World

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


def test_F3_no_secret_of_the_run_is_in_result_or_progress(run: Any, tmp_path: Path) -> None:
    Redactor.prepare(tmp_path)
    Redactor.register(tmp_path, "password", SECRET)
    progress = tmp_path / "progress"
    world = World([lambda w: w.die(51, f"could not connect with {SECRET}"), World.succeed])
    result = run(world, private=str(tmp_path), progress=str(progress))
    assert "could not connect with [redacted:password:" in progress.read_text("utf-8")
    assert SECRET not in json.dumps(result) + progress.read_text("utf-8")


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


class Connection:
    has_native_async = False
    _shell = SimpleNamespace(tmpdir=None)

    def __init__(self, transport: str = "local", become: object = None) -> None:
        self.transport = transport
        self.become = become


@pytest.mark.parametrize(
    ("connection", "task", "sees"),
    [
        (Connection(), {}, True),
        (Connection("ssh"), {}, False),
        (Connection(become=object()), {}, False),
        (Connection(), {"check_mode": True}, False),
        (Connection(), {"async_val": 60}, False),
        (Connection(), {"args": {"progress": "/own/file"}}, False),
    ],
)
def test_the_action_plugin_gives_a_private_file_only_to_a_module_that_sees_it(
    connection: Connection, task: dict[str, Any], sees: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(action.C, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(action.ActionBase, "run", lambda self, tmp, task_vars: {})
    seen: list[tuple[str, int]] = []
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task = SimpleNamespace(**{"args": {"cluster": "c"}, "async_val": 0, "check_mode": False, **task})
    plugin._connection = connection

    def execute(module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        path = Path(module_args.get("progress", "none"))
        if path.is_file():
            seen.append((path.parent.name[:8], path.parent.stat().st_mode & 0o777))
        return {"result": "deployed", "asked": module_args}

    plugin._execute_module = execute
    plugin._remove_tmp_path = lambda path: None
    result = plugin.run(task_vars={"inventory_hostname": "prd"})
    assert result["result"] == "deployed"
    assert seen == ([("rollout-", 0o700)] if sees else [])
    assert list(tmp_path.iterdir()) == [], "the folder is gone"


def test_the_action_plugin_shows_each_line_at_once_and_the_rest_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(action.display, "display", shown.append)
    monkeypatch.setattr(action, "SECONDS", 0.01)
    path = tmp_path / "progress"
    path.touch()
    with action.Follower(path, "prd"), path.open("a", encoding="utf-8") as file:
        file.write("first\nhal")
        file.flush()
        deadline = time.monotonic() + 5
        while not shown and time.monotonic() < deadline:
            time.sleep(0.01)
        assert shown == ["[prd] first"], "while the module runs, and no half line"
        file.write("f\nlast\n")
    assert shown == ["[prd] first", "[prd] half", "[prd] last"]


def test_F3_a_signal_waits_for_the_line_that_is_being_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a worker dies with the queue's lock in its hand, and the interrupted controller waits for it for ever."""
    read, write = os.pipe()

    def display(text: str) -> None:
        os.write(write, b"begun ")
        time.sleep(0.3)
        os.write(write, b"ended")

    monkeypatch.setattr(action, "display", SimpleNamespace(display=display))
    path = tmp_path / "progress"
    path.write_text("a line\n")
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        follower = action.Follower(path, "prd")
        with action.after_the_line(follower.showing), follower:
            time.sleep(10)
        os._exit(0)
    try:
        assert os.read(read, 6) == b"begun "
        os.kill(pid, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGTERM
        os.close(write)
        assert os.read(read, 6) == b"ended"
    finally:
        os.close(read)
