"""Starts and ends the sandbox's real programs, so that none outlives it and each exit code is true."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sandbox import task_init

TASK_INIT = Path(task_init.__file__).resolve()
SWEEP_SECONDS = 2.0


class StartError(Exception):
    """A program could not be started; the message is the system's."""


@dataclass
class Process:
    """A running program under its `task_init`. `pid` is the program's, `init` the pid (and session id) above it."""

    name: str
    pid: int
    init: int
    _popen: subprocess.Popen[bytes] = field(repr=False)
    _life: int = field(repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _code: int | None = None

    def poll(self) -> int | None:
        """Exit code when ended (128 + n after signal n), else None."""
        with self._lock:
            if self._code is None:
                code = self._popen.poll()
                if code is not None:
                    self._code = code if code >= 0 else 128 - code
                    with contextlib.suppress(OSError):
                        os.close(self._life)
            return self._code

    def wait(self, timeout: float | None = None) -> int:
        """Exit code once ended. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pause = 0.005
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{self.name} (pid {self.pid}) still runs after {timeout} s")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        return code

    def send(self, number: signal.Signals) -> None:
        """Pass a signal to the program (through its init, which forwards it)."""
        with self._lock:
            if self._code is None:
                with contextlib.suppress(ProcessLookupError):
                    self._popen.send_signal(number)

    def kill(self) -> int:
        """SIGKILL to the program; its init then ends whatever it left."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(self.pid, signal.SIGKILL)
        return self.wait(10)

    def stop(self, timeout: float = 10, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask with `number`, wait `timeout` seconds, then SIGKILL. Exit code: 143 after SIGTERM, 137 after SIGKILL."""
        if (code := self.poll()) is not None:
            return code
        self.send(number)
        try:
            return self.wait(timeout)
        except TimeoutError:
            return self.kill()


class Processes:
    """All programs of one sandbox. Thread-safe; start() may be called from anywhere."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._known: dict[int, Process] = {}
        self._closed = False
        # Whoever loses its init becomes our child, so that we can find and end it.
        ctypes.CDLL(None).prctl(task_init.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # One thread for the sandbox's whole life: forks are in one place, and sweeping never meets one half done.
        self._thread = threading.Thread(target=self._work, name="spawner", daemon=True)
        self._thread.start()

    def start(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | str = "/",
        output: Path | None = None,
        user: str | None = None,
        name: str | None = None,
        terminal: int | None = None,
    ) -> Process:
        """Start a program with exactly this environment; stdout and stderr are appended to `output`.

        `user` is dropped to when we are root and ignored otherwise. `terminal`, a descriptor that stays the caller's,
        becomes its input, output and controlling terminal. Raises StartError when it cannot be executed.
        """
        answer: queue.SimpleQueue[Process | BaseException] = queue.SimpleQueue()

        def job() -> None:
            try:
                known_as = name or Path(argv[0]).name
                answer.put(self._spawn(list(argv), dict(env), str(cwd), output, user, known_as, terminal))
            except BaseException as error:
                answer.put(error)

        self._jobs.put(job)
        result = answer.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | str = "/",
        output: Path | None = None,
        user: str | None = None,
        timeout: float = 60,
    ) -> int:
        """Start a program, wait for its end, give its exit code; killed at the time limit (137)."""
        process = self.start(argv, env=env, cwd=cwd, output=output, user=user)
        try:
            return process.wait(timeout)
        except TimeoutError:
            return process.kill()

    def owner(self, pid: int) -> Process | None:
        """The program that `pid` belongs to, found by walking up its parents."""
        inits = {process.init: process for process in list(self._known.values())}
        for _ in range(64):
            if pid in inits:
                return inits[pid]
            try:
                pid = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                return None
            if pid <= 1:
                return None
        return None

    def close(self, timeout: float = 5) -> None:
        """End every program, all at the same time."""
        self._closed = True
        running = [process for process in list(self._known.values()) if process.poll() is None]
        for process in running:
            process.send(signal.SIGTERM)
        deadline = time.monotonic() + timeout
        for process in running:
            with contextlib.suppress(TimeoutError):
                process.wait(max(0.0, deadline - time.monotonic()))
        for process in running:
            with contextlib.suppress(TimeoutError):
                process.kill()
        self._jobs.put(None)
        self._thread.join(timeout=5)

    def _work(self) -> None:
        sweep_at = time.monotonic() + SWEEP_SECONDS
        while True:
            try:
                job = self._jobs.get(timeout=max(0.0, sweep_at - time.monotonic()))
            except queue.Empty:
                job = _nothing
            if job is not None:
                job()
            # By the clock, not only when nothing is to be started: a server that is started again and again, because
            # left-overs of its last life are in its way, would else wait for them for ever.
            if job is None or time.monotonic() >= sweep_at:
                self._sweep()
                sweep_at = time.monotonic() + SWEEP_SECONDS
            if job is None:
                return

    def _spawn(
        self,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        output: Path | None,
        user: str | None,
        name: str,
        terminal: int | None,
    ) -> Process:
        if self._closed:
            raise StartError(f"{name}: the sandbox is going down")
        uid, gid = -1, -1
        if user is not None and os.geteuid() == 0:
            entry = pwd.getpwnam(user)
            uid, gid = entry.pw_uid, entry.pw_gid
        life_in, life_out = os.pipe2(os.O_CLOEXEC)
        status_in, status_out = os.pipe2(os.O_CLOEXEC)
        command = [sys.executable, "-I", "-S", str(TASK_INIT)]
        command += [str(life_in), str(status_out), str(uid), str(gid), str(self._state)]
        command += [*([] if terminal is None else [task_init.ON_TERMINAL]), "--", *argv]
        try:
            with contextlib.ExitStack() as stack:
                sink = stack.enter_context(output.open("ab")) if output else subprocess.DEVNULL
                popen = subprocess.Popen(
                    command,
                    env=env,
                    cwd=cwd,
                    stdin=subprocess.DEVNULL if terminal is None else terminal,
                    stdout=sink if terminal is None else terminal,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(life_in, status_out),
                )
        except OSError as error:
            os.close(life_out)
            os.close(status_in)
            raise StartError(f"{name}: {error}") from error
        finally:
            os.close(life_in)
            os.close(status_out)
        with os.fdopen(status_in, "rb") as stream:
            said = stream.read().decode()
        digits = "".join(character for character in said.partition("!")[0] if character.isdigit())
        process = Process(name=name, pid=int(digits or popen.pid), init=popen.pid, _popen=popen, _life=life_out)
        if "!" in said or not digits:
            process.wait(10)
            raise StartError(f"{name}: {said.partition('!')[2].rstrip('0123456789') or 'its init ended at once'}")
        self._known[popen.pid] = process
        return process

    def _sweep(self) -> None:
        """Drop ended programs; end what an init that was itself killed has left behind."""
        for init, process in list(self._known.items()):
            if process.poll() is not None:
                del self._known[init]
        own = os.getpid()
        session = os.getsid(0)
        for pid in task_init.descendants(own):
            with contextlib.suppress(OSError, ValueError, IndexError):
                fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
                state, parent, its_session = fields[0], int(fields[1]), int(fields[3])
                if parent != own or pid in self._known or its_session == session:
                    continue
                for below in [*task_init.descendants(pid), pid] if state != "Z" else []:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(below, signal.SIGKILL)
                os.waitpid(pid, os.WNOHANG)


def _nothing() -> None:
    """The job of a sweep alone."""


def survivors(state: Path) -> list[int]:
    """Pids of inits that belong to the sandbox with this state folder, whoever started them."""
    mark = [os.fsencode(TASK_INIT), os.fsencode(state)]
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if words[3:4] == mark[:1] and words[8:9] == mark[1:]:
                    found.append(int(entry.name))
    return found
