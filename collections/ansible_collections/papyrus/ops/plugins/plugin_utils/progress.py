# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shows the progress of a long module while it runs: what action plugins of such modules have in common."""

from __future__ import annotations

import contextlib
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from ansible import constants as C
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

display = Display()

SECONDS = 0.3
"""How often the file of progress is looked at."""

SHOWN_WITHIN = 2.0
"""Seconds for which a signal waits until the line under way has been handed to the controller."""


class ShownModule(ActionBase):
    """Runs the module of the same name. On the controller it gets a file in a private folder, whose lines are shown.

    The module has an option `progress`: a file to which it appends lines, each whole and without secrets.
    """

    what = "progress"
    """Begins the name of the folder."""

    _supports_check_mode = True
    _supports_async = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments, in_background = dict(self._task.args), bool(self._task.async_val)
        if in_background or self._task.check_mode or arguments.get("progress") or not self._sees_files():
            result.update(self._execute_module(module_args=arguments, task_vars=task_vars, wrap_async=in_background))
        else:
            result.update(self._shown(arguments, task_vars))
        if not in_background:
            self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _sees_files(self) -> bool:
        """Whether the module runs here and as this user, so that both see the same private file."""
        return self._connection.transport == "local" and not self._connection.become

    def _shown(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        # 0700, and in the controller's own temporary folder: it goes with that when this worker is killed.
        folder = tempfile.mkdtemp(prefix=f"{self.what}-", dir=C.DEFAULT_LOCAL_TMP)
        try:
            path = Path(folder) / "progress"
            path.touch(0o600)
            follower = Follower(path, str(task_vars.get("inventory_hostname") or ""))
            with after_the_line(follower.showing), follower:
                found: dict[str, Any] = self._execute_module(
                    module_args={**arguments, "progress": str(path)}, task_vars=task_vars
                )
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return found


@contextlib.contextmanager
def after_the_line(showing: threading.Lock) -> Iterator[None]:
    """SIGINT and SIGTERM end this worker only between two lines.

    Lines go to the controller through a queue with a lock of its own. A worker that dies while its thread holds that
    lock leaves it locked, and an interrupted controller would wait for it for ever.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        showing.acquire(timeout=SHOWN_WITHIN)  # never given back: nothing is shown any more
        handler = before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Follower:
    """Shows each line that is appended to a file, at once, and what is left at the end."""

    def __init__(self, path: Path, host: str) -> None:
        self._path = path
        self._host = host
        self.showing = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="progress", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._end.set()
        self._thread.join(5)

    def _follow(self) -> None:
        # A signal that this thread got would wait for the main thread, which sleeps until the module ends.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        rest = b""
        with self._path.open("rb") as file:
            while True:
                last = self._end.is_set()
                *lines, rest = (rest + file.read()).split(b"\n")
                for line in lines:
                    with self.showing:
                        display.display(f"[{self._host}] {line.decode('utf-8', 'replace')}")
                if last:
                    return
                self._end.wait(SECONDS)
