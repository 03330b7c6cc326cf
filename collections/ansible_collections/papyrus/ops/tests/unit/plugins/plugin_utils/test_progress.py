# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the action plugins of long modules show while these run (F3, K1)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.action import cloudtrail_export, config_export, ecs_rollout, logs_export
from ansible_collections.papyrus.ops.plugins.plugin_utils import progress

PLUGINS = [ecs_rollout, cloudtrail_export, config_export, logs_export]


class Connection:
    has_native_async = False
    _shell = SimpleNamespace(tmpdir=None)

    def __init__(self, transport: str = "local", become: object = None) -> None:
        self.transport = transport
        self.become = become


@pytest.mark.parametrize("action", PLUGINS)
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
    action: ModuleType,
    connection: Connection,
    task: dict[str, Any],
    sees: bool,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(progress.C, "DEFAULT_LOCAL_TMP", str(tmp_path))
    monkeypatch.setattr(progress.ActionBase, "run", lambda self, tmp, task_vars: {})
    seen: list[tuple[str, int]] = []
    plugin = action.ActionModule.__new__(action.ActionModule)
    plugin._task = SimpleNamespace(**{"args": {"cluster": "c"}, "async_val": 0, "check_mode": False, **task})
    plugin._connection = connection

    def execute(module_args: dict[str, Any], **_: Any) -> dict[str, Any]:
        path = Path(module_args.get("progress", "none"))
        if path.is_file():
            seen.append((path.parent.name.rpartition("-")[0], path.parent.stat().st_mode & 0o777))
        return {"result": "deployed", "asked": module_args}

    plugin._execute_module = execute
    plugin._remove_tmp_path = lambda path: None
    result = plugin.run(task_vars={"inventory_hostname": "prd"})
    assert result["result"] == "deployed"
    assert seen == ([(action.ActionModule.what, 0o700)] if sees else [])
    assert list(tmp_path.iterdir()) == [], "the folder is gone"


def test_the_action_plugin_shows_each_line_at_once_and_the_rest_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(progress.display, "display", shown.append)
    monkeypatch.setattr(progress, "SECONDS", 0.01)
    path = tmp_path / "progress"
    path.touch()
    with progress.Follower(path, "prd"), path.open("a", encoding="utf-8") as file:
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

    monkeypatch.setattr(progress, "display", SimpleNamespace(display=display))
    path = tmp_path / "progress"
    path.write_text("a line\n")
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        follower = progress.Follower(path, "prd")
        with progress.after_the_line(follower.showing), follower:
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
