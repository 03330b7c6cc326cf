# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The callback papyrus.ops.live in one process (issue 8): when it shows a line, and that its faults are its own."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.callback import live
from ansible_collections.papyrus.ops.plugins.module_utils._progress import VARIABLE
from ansible_collections.papyrus.ops.tests.unit.pty_screen import Terminal

TERMINAL = {"TERM": "xterm"}


class Display:
    """What the callback says, by a lock as that of Ansible's."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.shown: list[str] = []
        self.warned: list[str] = []
        self.verbosity = 0

    def display(self, text: str, **_more: Any) -> None:
        self.shown.append(text)

    def banner(self, text: str) -> None:
        self.shown.append(text)

    def warning(self, text: str) -> None:
        self.warned.append(text)


class Stand:
    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(live.C, "DEFAULT_LOCAL_TMP", str(tmp_path))
        monkeypatch.setenv(VARIABLE, "")
        self.folder, self.patch = tmp_path, monkeypatch
        self.terminal: Terminal | None = None
        self.display = Display()
        self.options: dict[str, Any] = {"mode": "plain", "interval": 0.05, "quiet": 30.0}
        self.callback = live.CallbackModule(display=self.display)
        monkeypatch.setattr(self.callback, "get_option", self.options.__getitem__)

    def start(self) -> None:
        if self.terminal:
            stream = os.fdopen(os.dup(self.terminal.slave), "w", encoding="utf-8", buffering=1)
            self.patch.setattr(sys, "stdout", stream)  # here, as pytest puts its own back for each phase of a test
        self.callback.v2_playbook_on_start(None)

    def begin(self, action: str = "papyrus.ops.http_probe") -> str:
        task = SimpleNamespace(_uuid="1", action=action, no_log=False, get_name=lambda: "role : Ask")
        self.callback.v2_playbook_on_task_start(task, False)
        self.callback.v2_runner_on_start(SimpleNamespace(get_name=lambda: "prd"), task)
        return os.environ.get(VARIABLE, "")

    def end(self, action: str = "papyrus.ops.http_probe", **result: Any) -> None:
        task = SimpleNamespace(action=action)
        self.callback.v2_runner_on_ok(
            SimpleNamespace(host=SimpleNamespace(get_name=lambda: "prd"), task=task, result=result)
        )

    def wait_for(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, (self.display.shown, self.display.warned)
            time.sleep(0.01)


@pytest.fixture
def stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    made = Stand(tmp_path, monkeypatch)
    yield made
    made.callback.v2_playbook_on_stats(None)
    assert not [thread for thread in threading.enumerate() if thread.name == live.CallbackModule.CALLBACK_NAME]


def test_a_worker_inherits_a_private_file_and_what_its_module_writes_is_shown(stand: Stand) -> None:
    stand.start()
    path = Path(stand.begin())
    assert path.parent.stat().st_mode & 0o777 == 0o700 and path.parent.parent == stand.folder
    path.write_text('{"now": "waits"}\n{"line": "done"}\n')
    stand.wait_for(lambda: len(stand.display.shown) == 1)
    assert stand.display.shown[0].endswith(" done")
    stand.end()
    assert not path.exists()
    stand.callback.v2_playbook_on_stats(None)
    assert VARIABLE not in os.environ


def test_off_does_nothing_at_all(stand: Stand) -> None:
    stand.options["mode"] = "off"
    stand.start()
    assert stand.begin() == "" and list(stand.folder.iterdir()) == []
    assert not stand.callback.works


def test_a_run_is_in_the_table_and_a_predicted_one_is_not(stand: Stand) -> None:
    stand.start()
    run = {"id": "20260131T120000Z-abc234", "service": "svc", "folder": str(stand.folder), "private": ""}
    stand.end(live.OPENS, run=run)
    stand.end(live.CLOSES, verdict={"result": "CHECK MODE"})
    stand.callback.v2_playbook_on_stats(None)
    stand.end("papyrus.ops.run_unclosed_info", run={**run, "private": "/run/y"})
    stand.callback.v2_playbook_on_stats(None)
    assert stand.display.shown == []
    stand.end(live.OPENS, run={**run, "private": "/run/x"})
    stand.end(live.CLOSES, verdict={"result": "PASSED"})
    stand.end("papyrus.ops.evidence_capture", verdict={"result": "FAILED"})
    stand.callback.v2_playbook_on_stats(None)
    assert stand.display.shown[0] == "VERDICT" and stand.display.shown[1].startswith("PASSED  prd  svc  2026")


@pytest.mark.parametrize("hook", ["begin", "end"])
def test_a_fault_ends_the_showing_with_one_warning_and_nothing_else(stand: Stand, hook: str) -> None:
    stand.start()
    stand.begin()
    stand.callback._tasks = None
    for _again in range(3):
        getattr(stand, hook)()
    assert len(stand.display.warned) == 1 and "shows nothing any more" in stand.display.warned[0]
    assert VARIABLE not in os.environ and not stand.callback.works


def test_a_fault_of_the_thread_ends_the_showing_with_one_warning(stand: Stand) -> None:
    stand.start()
    stand.begin()
    stand.callback._tasks.look = int
    stand.wait_for(lambda: stand.display.warned)
    time.sleep(0.2)
    assert len(stand.display.warned) == 1 and "TypeError" in stand.display.warned[0]
    stand.end()


@pytest.mark.parametrize("what", ["no folder", "full disk", "removed folder"])
def test_a_disk_that_fails_is_not_the_runs_fault(stand: Stand, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "no folder":
        monkeypatch.setattr(live.C, "DEFAULT_LOCAL_TMP", str(stand.folder / "none"))
    stand.start()
    if what == "full disk":

        def begin(*dummy: object) -> str:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(live.Tasks, "begin", begin)
    if what == "removed folder":
        [folder] = stand.folder.iterdir()
        folder.rmdir()
    assert stand.begin() == ""
    stand.end()
    assert len(stand.display.warned) == 1


def test_a_standard_error_that_is_closed_is_not_the_runs_fault(stand: Stand) -> None:
    def warning(text: str) -> None:
        raise BrokenPipeError(text)

    stand.display.warning = warning
    stand.start()
    stand.callback._tasks = None
    stand.begin()
    assert not stand.callback.works


@pytest.mark.parametrize(
    ("environ", "is_tty", "callback", "fit"),
    [
        (TERMINAL, True, "default", True),
        (TERMINAL | {"NO_COLOR": "1"}, True, "default", True),
        (TERMINAL, False, "default", False),
        (TERMINAL | {"CI": "true"}, True, "default", False),
        (TERMINAL | {"CI": ""}, True, "default", True),
        ({"TERM": "dumb"}, True, "default", False),
        ({}, True, "default", False),
        (TERMINAL | {"AWX_ISOLATED_DATA_DIR": "/runner"}, True, "default", False),
        (TERMINAL, True, "awx_display", False),
    ],
)
def test_a_line_is_for_terminals_with_a_person_before_them(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], is_tty: bool, callback: str, fit: bool
) -> None:
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: is_tty))
    monkeypatch.setattr(live.C, "DEFAULT_STDOUT_CALLBACK", callback)
    assert live.line_is_fit(environ) is fit


@pytest.fixture
def terminal(stand: Stand) -> Iterator[Terminal]:
    stand.terminal = Terminal(60)
    stand.options["mode"] = "line"
    yield stand.terminal
    stand.terminal.close()


def test_the_line_is_painted_again_and_again_but_not_over_a_question(stand: Stand, terminal: Terminal) -> None:
    stand.start()
    stand.begin()
    stand.callback._tasks._tasks["prd"].started -= 60
    stand.wait_for(lambda: b"Ask  1:0" in terminal.read())
    stand.end()
    stand.begin("ansible.builtin.pause")
    stand.callback._tasks._tasks["prd"].started -= 60
    terminal.read(0.2)
    assert terminal.read(0.3) == b""
    stand.end("ansible.builtin.pause")
    stand.begin()
    stand.callback._tasks._tasks["prd"].started -= 60
    stand.wait_for(lambda: b"Ask  1:0" in terminal.read())


def test_a_terminal_that_is_gone_ends_the_line_and_not_the_run(stand: Stand, terminal: Terminal) -> None:
    stand.start()
    stand.begin()
    stand.callback._tasks._tasks["prd"].started -= 60
    os.close(terminal.master)
    stand.wait_for(lambda: stand.display.warned)
    stand.end()
    assert len(stand.display.warned) == 1


def test_line_without_a_terminal_is_plain(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", (stand.folder / "out").open("w"))
    stand.options["mode"] = "line"
    stand.start()
    Path(stand.begin()).write_text('{"now": "waits"}\n')
    stand.wait_for(lambda: stand.display.shown)
    assert stand.display.warned == []
