"""Process 1 of a sandboxed program: forwards signals, reaps, and leaves nothing behind when it or the sandbox ends.

Run as `python -I -S task_init.py LIFE_FD STATUS_FD UID GID STATE [terminal] -- PROGRAM ARG…` in a session of its own,
with the program's environment and folder; with `terminal`, standard input is one and becomes the program's alone.
LIFE_FD is the reading end of a pipe whose only writer is the sandbox: its end means that the sandbox is gone, by
whatever way, and every descendant is killed. The exit code is the program's, or 128 + n when signal n ended it (as a
container runtime reports it). The program's pid goes to STATUS_FD, or `!` and the error when it could not be started
(exit code 127). Imports nothing of the package, so that it starts fast and runs anywhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import sys
import termios
import time
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
ON_TERMINAL = "terminal"
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LIBC = ctypes.CDLL(None, use_errno=True)


def descendants(root: int) -> list[int]:
    """Pids below `root`, by parent links: a program that made a session of its own is found as well."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                # The command name may hold spaces and brackets: the fields start after the last one.
                parent = int((entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    open_ends = [root]
    while open_ends:
        below = children.get(open_ends.pop(), [])
        found += below
        open_ends += below
    return found


def kill_descendants() -> None:
    """As subreaper, whoever loses its parent comes to us: so this ends when there is nobody left to wait for."""
    while True:
        for pid in descendants(os.getpid()):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        time.sleep(0.01)


def given_environment() -> dict[bytes, bytes]:
    """As the sandbox passed it: Python's own start may add LC_CTYPE to os.environ (PEP 538)."""
    pairs = (entry.partition(b"=") for entry in Path("/proc/self/environ").read_bytes().split(b"\0") if b"=" in entry)
    return {name: value for name, _, value in pairs}


def start(program: list[str], status_fd: int, uid: int, gid: int, on_terminal: bool) -> int:
    # Before the change of user: afterwards the kernel no longer lets us read it (proc(5), PR_SET_DUMPABLE).
    environment = given_environment()
    pid = os.fork()
    if pid:
        if on_terminal:
            # Only the program keeps it: its end is the terminal's.
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(nothing, descriptor)
        return pid
    try:
        if on_terminal:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        # Python ignores these two and an ignored signal stays so across exec; caught ones go back by themselves.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        if uid >= 0:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        # After the change of user, which clears it: when we are killed, the program goes as well.
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.execvpe(program[0], program, environment)
    except OSError as error:
        os.write(status_fd, f"!{error.strerror}: {error.filename or program[0]}".encode())
    os._exit(127)


def main(arguments: list[str]) -> int:
    life_fd, status_fd, uid, gid = (int(value) for value in arguments[:4])
    program = arguments[arguments.index("--") + 1 :]
    os.set_inheritable(life_fd, False)
    os.set_inheritable(status_fd, False)
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    # Before the program exists: a signal that comes early waits in the pipe and is forwarded.
    signal.set_wakeup_fd(wake_out)
    for number in (*FORWARDED, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    on_terminal = arguments[5] == ON_TERMINAL
    main_pid = start(program, status_fd, uid, gid, on_terminal)
    os.write(status_fd, str(main_pid).encode())
    os.close(status_fd)
    status: int | None = reap(main_pid)
    # poll, not select: the sandbox may have given us a descriptor beyond 1023.
    poller = select.poll()
    for descriptor in (life_fd, wake_in):
        poller.register(descriptor, select.POLLIN)
    while status is None:
        ready = [descriptor for descriptor, _ in poller.poll()]
        if wake_in in ready:
            for came in os.read(wake_in, 512):
                if came != signal.SIGCHLD:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(main_pid, came)
            status = reap(main_pid)
        elif life_fd in ready:
            kill_descendants()
            return 128 + signal.SIGKILL
    kill_descendants()
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def reap(main_pid: int) -> int | None:
    """Collect whoever ended; the wait status of the program when it is among them."""
    found: int | None = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == main_pid:
                found = status
    return found


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
