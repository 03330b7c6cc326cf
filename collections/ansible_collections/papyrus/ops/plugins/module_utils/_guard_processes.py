# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes of a run: what belongs to the controller, whether it still lives, how its left-overs are ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")

GUARD_LINE = "from module_utils._guard import main"
"""Of the program that a guard is started with: the guard of any run is known by it."""


@dataclass(frozen=True)
class Process:
    """A process for ever: a pid alone may come to mean another one, pid and start time may not."""

    pid: int
    start: str

    def alive(self) -> bool:
        """Running; a zombie has ended."""
        stat = _stat(self.pid)
        return stat is not None and stat[2] == self.start and stat[1] not in ("Z", "X")


def _stat(pid: int) -> tuple[int, str, str] | None:
    """Parent pid, state, start time in clock ticks since boot (proc_pid_stat(5), fields 4, 3 and 22)."""
    try:
        text = (PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the command before it may hold anything, blanks and brackets too
    return int(fields[1]), fields[0], fields[19]


def process(pid: int) -> Process | None:
    stat = _stat(pid)
    return None if stat is None else Process(pid, stat[2])


class Watch:
    """Watches a process that need not be a child: by pidfd, else by its start time."""

    def __init__(self, watched: Process) -> None:
        self.watched = watched
        self._fd: int | None = None
        with contextlib.suppress(OSError, AttributeError):
            self._fd = os.pidfd_open(watched.pid)
        if not watched.alive():  # after the open: so the descriptor cannot mean a later process of that pid
            self.close()

    def ended(self) -> bool:
        if self._fd is not None:
            readable = select.select([self._fd], [], [], 0)[0]
            return bool(readable)
        return not self.watched.alive()

    def wait(self, wakeup: int, seconds: float) -> None:
        """Sleeps until the process ends, `wakeup` (a descriptor) becomes readable, or the time is over."""
        fds = [wakeup] + ([self._fd] if self._fd is not None else [])
        select.select(fds, [], [], seconds if self._fd is not None else min(seconds, 0.5))

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _children() -> dict[int, list[tuple[int, str]]]:
    tree: dict[int, list[tuple[int, str]]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            stat = _stat(int(entry.name))
            if stat is not None:
                tree.setdefault(stat[0], []).append((int(entry.name), stat[2]))
    return tree


_APART = (GUARD_LINE.encode(), b"async_wrapper.py")
"""In the command line of what is begun below a controller and has a life of its own: a guard, an asynchronous job.

Both leave the controller's tree within milliseconds, in which a look at it can still see them there. Asynchronous is
what must not be cut off: Terraform on a permanent stack.
"""


def _is_apart(pid: int) -> bool:
    try:
        line = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return False
    return any(mark in line for mark in _APART)


def descendants(roots: Iterable[int], without: Iterable[int] = ()) -> set[Process]:
    """Everything below `roots`, except `without`, guards and asynchronous jobs, and what is below those."""
    tree, skipped = _children(), set(without)
    found: set[Process] = set()
    queue = list(roots)
    while queue:
        for pid, start in tree.get(queue.pop(), []):
            member = Process(pid, start)
            if pid not in skipped and member not in found and not _is_apart(pid):
                found.add(member)
                queue.append(pid)
    return found


def working_in(folder: str | Path) -> list[Process]:
    """What has its working directory in `folder` or below: a Terraform and the providers that it started."""
    place, found = os.path.realpath(folder), []
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                where = os.readlink(entry / "cwd").removesuffix(" (deleted)")
                member = process(int(entry.name)) if f"{where}/".startswith(f"{place}/") else None
                if member is not None and member.alive():
                    found.append(member)
    return sorted(found, key=lambda member: member.pid)


def _pipes(pid: int, first_fd: int = 0) -> set[str]:
    """Pipes and sockets that a process holds, as the kernel names them (`pipe:[123]`)."""
    found: set[str] = set()
    try:
        names = os.listdir(PROC / str(pid) / "fd")
    except OSError:
        return found
    for name in names:
        if int(name) >= first_fd:
            with contextlib.suppress(OSError):
                target = os.readlink(PROC / str(pid) / "fd" / name)
                if target.startswith(("pipe:", "socket:")):
                    found.add(target)
    return found


class Family:
    """The processes that a controller has started, kept up to date while it lives.

    When it dies its children get another parent, so they are remembered by pid and start time. A worker forked in the
    last moment, after the last look, still holds pipes which only the controller and its forks ever held.
    The guards of other runs of the same controller (hosts side by side), asynchronous jobs, and what they have started
    are no members, though they begin as such: each has an end of its own.
    """

    def __init__(self, controller: Process, own: Iterable[int]) -> None:
        self.controller = controller
        self._own = set(own)
        self._members: set[Process] = set()
        self.look()
        kin = {member.pid for member in self._members} | {controller.pid} | self._own
        strangers: set[str] = set()
        for entry in PROC.iterdir():
            if entry.name.isdigit() and int(entry.name) not in kin:
                strangers |= _pipes(int(entry.name))
        self._private_pipes = _pipes(controller.pid, first_fd=3) - _standard(controller.pid) - strangers

    def look(self) -> None:
        """Adds what has been started since the last look, forgets what has ended."""
        self._members = {member for member in self._members if member.alive() and not _is_apart(member.pid)}
        roots = [self.controller.pid] if self.controller.alive() else []
        roots += [member.pid for member in self._members]
        self._members |= descendants(roots, self._own)

    def left(self) -> set[Process]:
        """Members that live on, a late fork of the controller included."""
        self.look()
        if not self._private_pipes:
            return self._members
        for entry in PROC.iterdir():
            if entry.name.isdigit() and int(entry.name) not in self._own | {self.controller.pid}:
                member = process(int(entry.name))
                if member and member not in self._members and _pipes(member.pid) & self._private_pipes:
                    self._members.add(member)
        self.look()
        return self._members

    def end(
        self,
        *,
        grace: float = 3.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> list[Process]:
        """Ends all members: SIGTERM, then SIGKILL after `grace` seconds. Returns those it had to end."""
        ended: set[Process] = set()
        for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 2.0)):
            deadline = clock() + seconds
            while members := self.left():
                for member in members:
                    if member not in ended or number == signal.SIGKILL:
                        send(member, number)
                        ended.add(member)
                if clock() >= deadline:
                    break
                sleep(0.05)
        return sorted(ended, key=lambda member: member.pid)


def _standard(pid: int) -> set[str]:
    """What a process has as standard input, output and error: shared with whoever started it."""
    found: set[str] = set()
    for name in ("0", "1", "2"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(PROC / str(pid) / "fd" / name))
    return found


def send(target: Process, number: int) -> bool:
    """A signal for exactly this process: through a pidfd, so that no other one can get it."""
    try:
        fd = os.pidfd_open(target.pid)
    except (OSError, AttributeError):
        if not target.alive():
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(target.pid, number)
            return True
        return False
    try:
        if not target.alive():
            return False
        signal.pidfd_send_signal(fd, number)
        return True
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(fd)


def describe_process(target: Process) -> Mapping[str, object]:
    """For a log: pid and the program's name. Never its arguments, they may hold anything."""
    try:
        name = (PROC / str(target.pid) / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        name = ""
    return {"pid": target.pid, "command": name}


class Terminal:
    """The terminal or file behind a process' standard error, opened while it lives, to tell a person something later.

    A pipe is never kept open: whoever reads it would wait for its end as long as the teardown takes.
    """

    def __init__(self, pid: int) -> None:
        self._fd: int | None = None
        with contextlib.suppress(OSError):
            path = PROC / str(pid) / "fd" / "2"
            target = os.readlink(path)
            if target.startswith(("/dev/pts/", "/dev/tty")) or os.path.isfile(target):
                self._fd = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK)

    def say(self, text: str) -> None:
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.write(self._fd, f"\n{text}\n".encode())
