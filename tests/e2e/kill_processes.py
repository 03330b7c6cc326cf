"""Runs a command so that everything that comes of it can be found and killed at once, and its end is proved. Linux.

As a program it is the supervisor: it starts the command, and the kernel gives it every orphan of it (a child subreaper,
prctl(2)), sessions of their own or not. It ends when it has no child left, so its end proves that nothing of it lives.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36


def supervise(pid_file: str, command: list[str]) -> int:
    """Exit code of the command, as a shell says it, once it and all that it has started have ended."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    Path(pid_file).write_text(f"{child.pid}\n", "ascii")
    code = 0
    while True:
        try:
            pid, status = os.wait()
        except ChildProcessError:
            return code
        if pid == child.pid:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code


@dataclass(frozen=True)
class Member:
    """One process below a supervisor."""

    pid: int
    parent: int
    role: str


@dataclass(frozen=True)
class Kill:
    """What was killed, by role; seconds from the first signal to the last of that round, and until none was left."""

    killed: dict[str, int]
    signals_seconds: float
    dead_seconds: float


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            except OSError:
                continue
            if stat[0] != "Z":
                found[int(entry.name)] = int(stat[1])
    return found


def _role(pid: int, controller: int) -> str:
    if pid == controller:
        return "controller"
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace")
    except OSError:
        return "other"
    for mark, role in (
        ("_guard import main", "guard"),
        ("terraform-provider", "provider"),
        ("/terraform/cli.py", "terraform"),
        ("/terraform\0", "terraform"),
        ("ansible-playbook\0", "worker"),
        ("AnsiballZ", "module"),
    ):
        if mark in command:
            return role
    # Modules come through a pipe (pipelining), so that their interpreter has no argument.
    return "module" if command.rstrip("\0").endswith("/python") else "other"


class Supervised:
    """The processes of one command under a supervisor of this file."""

    def __init__(self, supervisor: subprocess.Popen[bytes], pid_file: Path) -> None:
        self.supervisor = supervisor
        deadline = time.monotonic() + 20
        while not (pid_file.exists() and pid_file.read_text("ascii").endswith("\n")):
            if supervisor.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the supervisor {supervisor.args!r} did not start")
            time.sleep(0.02)
        self.controller = int(pid_file.read_text("ascii"))

    def members(self) -> list[Member]:
        """Everything that descends from the supervisor."""
        children: dict[int, list[int]] = {}
        for pid, parent in _parents().items():
            children.setdefault(parent, []).append(pid)
        found, queue = [], [self.supervisor.pid]
        while queue:
            parent = queue.pop()
            for pid in children.get(parent, []):
                found.append(Member(pid, parent, _role(pid, self.controller)))
                queue.append(pid)
        return found

    def ended(self) -> bool:
        """Whether nothing of the command is left."""
        return self.supervisor.poll() is not None

    def kill_everything(self) -> Kill:
        """SIGKILL for all of it, the guard first; again for what was forked meanwhile, until nothing is left."""
        return self._kill(lambda member: True)

    def kill_controller_and_workers(self) -> Kill:
        """SIGKILL for the controller and its workers; modules, guard and Terraform live on."""
        return self._kill(lambda member: member.role in ("controller", "worker"))

    def _kill(self, wanted: Callable[[Member], bool], timeout: float = 180) -> Kill:
        killed: Counter[str] = Counter()
        had: set[int] = set()
        began = signals = 0.0
        deadline = time.monotonic() + timeout
        while members := sorted(filter(wanted, self.members()), key=lambda each: each.role != "guard"):
            if time.monotonic() > deadline and had >= {member.pid for member in members}:
                raise TimeoutError(f"still there {timeout:g} s after SIGKILL: {members}")
            began = began or time.monotonic()
            for member in members:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
            signals = signals or time.monotonic() - began
            killed.update(member.role for member in members if member.pid not in had)
            had |= {member.pid for member in members}
            time.sleep(0.002)
        return Kill(dict(sorted(killed.items())), signals, time.monotonic() - began if began else 0.0)


if __name__ == "__main__":
    sys.exit(supervise(sys.argv[1], sys.argv[2:]))
