# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tasks under way, what their modules tell, and the words for it (the callback papyrus.ops.live)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.papyrus.ops.plugins.module_utils._printable import one_line, printable

from .live_screen import cut

SHOWN_AFTER = 1.0
"""Seconds after which a task under way is worth a line."""

NEXT_HOST = 3.0
"""Seconds for which the line is about one host, where several wait."""

BURST = 5.0
"""Seconds between two plain lines of a task about what it waits for now."""

MOST = 256 * 1024
"""Bytes of one file that are read at once."""


@dataclass
class Task:
    """A task of one host under way. Times by the monotonic clock.

    `now` is what it waits for, `tells` that its module says by itself what is important, `said` the last plain line.
    """

    host: str
    name: str
    path: Path
    started: float
    secret: bool
    now: str = ""
    offset: int = 0
    tells: bool = False
    said: str = ""
    said_at: float = field(default=float("-inf"))


class Tasks:
    """By host. Files of the tasks lie in `folder`, which is private; each is gone with its task.

    The main thread begins and ends tasks, another looks at them. `quiet` is the number of seconds between two plain
    lines that differ in their figures only.
    """

    def __init__(self, folder: Path, quiet: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._quiet = quiet
        self._clock = clock
        self._lock = threading.Lock()
        self._tasks: dict[str, Task] = {}
        self._hosts: set[str] = set()
        self._number = 0

    def begin(self, host: str, name: str, secret: bool = False) -> str:
        """Path of a new file for what the task's module tells. Nothing of a `secret` task is shown but its name."""
        with self._lock:
            self._number += 1
            path = self._folder / str(self._number)
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            self._hosts.add(host)
            self._drop(host)
            self._tasks[host] = Task(host, one_line(name), path, self._clock(), secret)
            return str(path)

    def end(self, host: str) -> list[str]:
        """What the task has told last, as lines."""
        with self._lock:
            task = self._tasks.get(host)
            lines = list(self._look(task)) if task else []
            self._drop(host)
            return lines

    def look(self, plain: bool) -> list[str]:
        """Lines of what has been told since the last look; when `plain` also of what is waited for, now and then."""
        with self._lock:
            lines: list[str] = []
            for task in self._tasks.values():
                lines += self._look(task)
                if plain and self._due(task):
                    task.said, task.said_at = task.now, self._clock()
                    lines += self._stamped(task, task.now)
            return lines

    def line(self, columns: int) -> str:
        """The one line about what takes long, "" when nothing does; its name leaves room where columns are few."""
        with self._lock:
            now = self._clock()
            slow = [task for task in self._tasks.values() if now - task.started >= SHOWN_AFTER]
            if not slow:
                return ""
            task = slow[int(now / NEXT_HOST) % len(slow)]
            host = f"{one_line(task.host)}: " if len(self._hosts) > 1 else ""
            more = f"  (+{len(slow) - 1} hosts)" if len(slow) > 1 else ""
            waits = f"  {task.now}" if task.now else ""
            name = cut(task.name, max(12, columns * 2 // 5)) if waits else task.name
            return f"{host}{name}  {span(now - task.started)}{more}{waits}"

    def _drop(self, host: str) -> None:
        task = self._tasks.pop(host, None)
        if task:
            with contextlib.suppress(OSError):
                task.path.unlink()

    def _look(self, task: Task) -> Iterator[str]:
        """Lines that are whole; what is none of ours is left out."""
        with contextlib.suppress(OSError), task.path.open("rb") as file:
            file.seek(task.offset)
            whole, newline, _rest = file.read(MOST).rpartition(b"\n")
            task.offset += len(whole) + len(newline)
            for raw in whole.split(b"\n"):
                with contextlib.suppress(ValueError):
                    told = json.loads(raw)
                    if isinstance(told, dict) and not task.secret:
                        yield from self._told(task, told)

    def _told(self, task: Task, told: dict[str, object]) -> Iterator[str]:
        line, waits = told.get("line"), told.get("now")
        if isinstance(waits, str):
            task.now = one_line(waits)
        if isinstance(line, str):
            task.now = task.said = one_line(line)
            task.said_at, task.tells = self._clock(), True
            yield from self._stamped(task, printable(line).strip("\n"))

    def _due(self, task: Task) -> bool:
        seldom = task.tells or _shape(task.now) == _shape(task.said)
        return bool(task.now) and self._clock() - task.said_at >= (self._quiet if seldom else min(BURST, self._quiet))

    def _stamped(self, task: Task, text: str) -> Iterator[str]:
        stamp = f"[{one_line(task.host)}] [{self._clock() - task.started:5.0f} s]"
        for number, line in enumerate(text.split("\n")):
            yield f"{stamp if number == 0 else ' ' * len(stamp)} {line}"


def span(seconds: float) -> str:
    """90 → "1:30"."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _shape(text: str) -> str:
    return re.sub(r"\d+", "0", text)
