# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shows what is waited for while a task runs long, and at the end how each run ended."""

from __future__ import annotations

DOCUMENTATION = r"""
name: live
type: notification
short_description: One live line while something runs long, and a table of the verdicts at the end
version_added: 0.1.0
author:
  - papyrus.ops contributors (@papyrus-ops)
description:
  - In a terminal one line shows the task that takes long, its time, and what it waits for, as the modules of this
    collection tell it, for example which resource Terraform is making, the health of the target, the state of a
    rollout, how far an export is. The line is gone before anything else is printed. With several hosts it takes turns.
  - Elsewhere, in CI and under ansible-runner, there is no such line. A plain one is printed when what is waited for
    changes, and now and then while it does not.
  - What the modules call important, such as each step of a rollout, is printed at once in both.
  - At the end of the playbook a table has for each run the verdict, the first failure, and where its evidence is.
  - It works beside any stdout callback. Nothing depends on it. Evidence is the same without it, and an error in it
    ends the line, never the run.
  - Modules that run on another machine or as another user tell nothing. Their tasks are shown with name and time.
requirements:
  - enabled in configuration (C(callbacks_enabled=papyrus.ops.live))
options:
  mode:
    description:
      - V(line) shows the live line, V(plain) prints lines, V(off) does nothing, the table included.
      - V(auto) is V(line) in a terminal, and V(plain) when standard output is none, when E(CI) is set, when
        E(TERM) is C(dumb) or not set, and under ansible-runner.
      - Where a line cannot be shown V(line) is V(plain).
    type: str
    choices: [auto, line, plain, "off"]
    default: auto
    env:
      - name: PAPYRUS_OPS_LIVE_MODE
    ini:
      - section: callback_papyrus_ops_live
        key: mode
  interval:
    description: Seconds between two looks at what modules tell, and so between two paints of the line.
    type: float
    default: 0.3
    env:
      - name: PAPYRUS_OPS_LIVE_INTERVAL
    ini:
      - section: callback_papyrus_ops_live
        key: interval
  quiet:
    description: Seconds between two plain lines of one task that say the same but for their figures.
    type: float
    default: 30
    env:
      - name: PAPYRUS_OPS_LIVE_QUIET
    ini:
      - section: callback_papyrus_ops_live
        key: quiet
notes:
  - The table has the colours of Ansible, and so none when E(NO_COLOR) is set. The line has none.
"""

EXAMPLES = r"""
# In ansible.cfg:
#
# [defaults]
# callbacks_enabled = papyrus.ops.live
#
# [callback_papyrus_ops_live]
# interval = 0.5
"""

import atexit
import contextlib
import functools
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible import constants as C
from ansible.plugins.callback import CallbackBase
from ansible_collections.papyrus.ops.plugins.module_utils._progress import VARIABLE
from ansible_collections.papyrus.ops.plugins.plugin_utils.live_screen import Screen
from ansible_collections.papyrus.ops.plugins.plugin_utils.live_tasks import Tasks
from ansible_collections.papyrus.ops.plugins.plugin_utils.live_verdicts import Verdicts

OPENS = "papyrus.ops.run_open"
CLOSES = "papyrus.ops.run_close"
ASKS = {"ansible.builtin.pause", "ansible.legacy.pause", "pause"}
"""Actions that ask a person: nothing may be written over the question."""

LEAST_INTERVAL = 0.05
COLORS = {"PASSED": C.COLOR_OK, "WARNED": C.COLOR_CHANGED, "": None}


def never_breaks(hook: Callable[..., None]) -> Callable[..., None]:
    """Whatever goes wrong in it ends what this callback shows, with one warning; the run goes on."""

    @functools.wraps(hook)
    def safe(self: CallbackModule, *args: Any, **kwargs: Any) -> None:
        try:
            if self.works:
                hook(self, *args, **kwargs)
        except Exception as exc:
            self.give_up(exc)

    return safe


class CallbackModule(CallbackBase):
    """The main process alone has this at work; a thread of it looks and paints, under the lock of Ansible's display.

    So nothing here can hold a lock while a worker is forked, and workers and modules have no part in the showing.
    """

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "papyrus.ops.live"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, display: Any = None, options: Any = None) -> None:
        super().__init__(display=display, options=options)
        self.works = False
        self._screen: Screen | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._asked: set[str] = set()
        """Hosts whose task asks a person."""
        self._names: dict[str, str] = {}
        """Of tasks by their id, as only the strategy knows them with their variables in."""

    def v2_playbook_on_start(self, playbook: Any) -> None:
        if self.get_option("mode") == "off":
            return
        self.works = True
        self._start()

    @never_breaks
    def _start(self) -> None:
        # 0700, and in the controller's own temporary folder: it goes with that.
        folder = Path(tempfile.mkdtemp(prefix="live-", dir=C.DEFAULT_LOCAL_TMP))
        self._tasks = Tasks(folder, self.get_option("quiet"))
        self._verdicts = Verdicts()
        self._interval = max(LEAST_INTERVAL, self.get_option("interval"))
        if self.get_option("mode") == "line" or (self.get_option("mode") == "auto" and line_is_fit(os.environ)):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                self._screen = Screen(self._display._lock, [sys.stdout, sys.stderr])
        atexit.register(self._stop, os.getpid())
        self._thread = threading.Thread(target=self._follow, name="papyrus.ops.live", daemon=True)
        self._thread.start()

    @never_breaks
    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._names[task._uuid] = _name(task)

    @never_breaks
    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._names[task._uuid] = _name(task)

    @never_breaks
    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """Ansible calls it in the main thread just before it forks the worker, which so inherits the path."""
        name = self._names.get(task._uuid) or _name(task)
        os.environ[VARIABLE] = self._tasks.begin(host.get_name(), name, bool(task.no_log))
        if _action(task) in ASKS:
            self._asked.add(host.get_name())
            if self._screen:
                self._screen.clear()

    @never_breaks
    def v2_runner_on_ok(self, result: Any) -> None:
        self._ended(result)

    @never_breaks
    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._ended(result)

    @never_breaks
    def v2_runner_on_skipped(self, result: Any) -> None:
        self._ended(result)

    @never_breaks
    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._ended(result)

    @never_breaks
    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._stop(os.getpid())
        table = list(self._verdicts.table())
        if table:
            self._display.banner("VERDICT")
        for text, result in table:
            self._display.display(text, color=COLORS.get(result, C.COLOR_ERROR))

    def give_up(self, exc: BaseException) -> None:
        """Ends this callback, not the run."""
        self.works = False
        with contextlib.suppress(Exception):
            self._stop(os.getpid())
        with contextlib.suppress(Exception):  # also of a standard error that is closed
            self._display.warning(f"papyrus.ops.live shows nothing any more: {type(exc).__name__}: {exc}")

    def _ended(self, result: Any) -> None:
        host, found = result.host.get_name(), result.result
        self._asked.discard(host)
        self._say(self._tasks.end(host))
        action = _action(result.task)
        if action == OPENS and (found.get("run") or {}).get("private"):
            self._verdicts.opened(host, found["run"])
        elif action == CLOSES and found.get("verdict"):
            self._verdicts.closed(host, found["verdict"])

    def _follow(self) -> None:
        # A signal that this thread got would wait for the main thread, which may sleep.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while not self._end.wait(self._interval):
            self._look()

    @never_breaks
    def _look(self) -> None:
        self._say(self._tasks.look(plain=self._screen is None))
        screen = self._screen
        line = self._tasks.line(screen.columns) if screen and not self._asked else ""
        if screen and line:
            screen.paint(line)

    def _say(self, lines: list[str]) -> None:
        for line in lines:
            self._display.display(line)
        if lines:
            sys.stdout.flush()  # into a pipe or file too: whoever follows a job wants it now

    def _stop(self, pid: int) -> None:
        """Takes the line away, and ends the thread before the interpreter does, which could be in the middle of it."""
        if pid != os.getpid():
            return  # a fork of the main process
        os.environ.pop(VARIABLE, None)
        self._end.set()
        if self._thread and self._thread is not threading.current_thread():
            self._thread.join(1)
        if self._screen:
            screen, self._screen = self._screen, None
            screen.close()


def _name(task: Any) -> str:
    """Without the role."""
    return str(task.get_name()).rpartition(" : ")[2]


def _action(task: Any) -> str:
    """With its collection; the property of that name warns where Ansible does not know it."""
    return str(getattr(task, "_resolved_action", None) or task.action)


def line_is_fit(environ: Any) -> bool:
    """Whether a line that comes and goes is of use to who reads standard output."""
    return (
        sys.stdout.isatty()
        and environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
        and not environ.get("CI")
        and "AWX_ISOLATED_DATA_DIR" not in environ  # ansible-runner: a pseudo terminal that nobody looks at
        and C.DEFAULT_STDOUT_CALLBACK != "awx_display"
    )
