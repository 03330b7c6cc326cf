# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard of one run: owns Terraform, watches the controller, and takes everything down when that ends too early.

Started by run_open (`_run_open.start_guard`) in a session of its own, by an isolated interpreter which knows this
folder as the package `module_utils`: nothing of Ansible is needed, or loaded.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from . import _rollout_after
from ._aws import Clients, client_factory
from ._calls import Calls
from ._evidence import VERDICT, content_bytes
from ._guard_processes import Family, Process, Terminal, Watch, describe_process, process
from ._guard_socket import Server
from ._names import parse_rfc3339, rfc3339, utc_now
from ._results import run_redactor
from ._run_end import finish, last_phase, remove_private, short_values
from ._run_gone import left_behind
from ._run_settings import GUARD_LOG, Settings, write_guard_process
from ._run_stack import StackRun
from ._trace import record_into
from ._trace_file import export
from ._verdict import release_line

T = TypeVar("T")

LOOK_EVERY = 1.0
"""Seconds between two looks at the controller's processes."""


class Job:
    """One apply or destroy in a thread; its result is there when it ended, `otherwise` with the error of a fault."""

    def __init__(self, work: Callable[[], dict[str, Any]], otherwise: Mapping[str, Any]) -> None:
        self.result: dict[str, Any] | None = None
        self.ended = threading.Event()
        self._work = work
        self._otherwise = otherwise
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self.result = self._work()
        except Exception as exc:  # a fault of ours: the job has failed, the guard goes on to destroy
            self.result = {**self._otherwise, "ok": False, "error": f"{type(exc).__name__}: {exc}"}
        finally:
            self.ended.set()


class Guard:
    """See the module's first line. `run()` returns when the run is closed or torn down."""

    def __init__(
        self,
        settings: Settings,
        *,
        clients: Callable[[], Clients] | None = None,
        terminal: Terminal | None = None,
        log: Callable[[str], None] | None = None,
        now: Callable[[], dt.datetime] = utc_now,
    ) -> None:
        self.settings = settings
        self._log = log or _log
        self._now = now
        self._clients = clients or self._own_clients
        self._terminal = terminal
        self._redactor = run_redactor({"private": settings.private})
        self._expires = parse_rfc3339(settings.expires_at)
        self.stack = None
        if settings.stack is not None:
            self.stack = StackRun(settings, self._clients, log=self._log)
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._terminated = threading.Event()
        self._tearing_down = False
        self._wakeup_read, self._wakeup_write = os.pipe()
        os.set_blocking(self._wakeup_write, False)

    def _own_clients(self) -> Clients:
        region = self.settings.region
        return client_factory({"region_name": region} if region else {})

    # Requests

    def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        op = request.get("op")
        if op == "status":
            return {"ok": True, "jobs": {name: job.result for name, job in self._jobs.items()}, "pid": os.getpid()}
        if op == "wait":
            job = self._jobs.get(str(request.get("job")))
            if job is None:
                return {"ok": False, "error": f"no {request.get('job')} has been started"}
            job.ended.wait(min(float(request.get("seconds") or 0), 60.0))
            return {"ok": True, "result": job.result}
        with self._lock:
            if self._tearing_down or self._terminated.is_set():
                return {"ok": False, "error": "the guard is taking the run down"}
            if op == "apply":
                return self._start_apply()
            if op == "destroy":
                return self._start_destroy(again=bool(request.get("again")))
            if op == "close":
                if any(not job.ended.is_set() for job in self._jobs.values()):
                    return {"ok": False, "error": "Terraform is under way, the run cannot be closed"}
                self._closed.set()
                self.wake()
                return {"ok": True}
        return {"ok": False, "error": f"unknown request {op!r}"}

    def _start_apply(self) -> dict[str, Any]:
        if self.stack is None:
            return {"ok": False, "error": "the run was opened without a stack"}
        if "destroy" in self._jobs:
            return {"ok": False, "error": "the run has been destroyed, nothing is created any more"}
        if self._closed.is_set():
            return {"ok": False, "error": "the run is closed"}
        if self._now() >= self._expires:
            return {"ok": False, "error": f"the lease ended at {self.settings.expires_at}, nothing is created any more"}
        started = "apply" not in self._jobs
        if started:
            self._jobs["apply"] = Job(self.stack.apply, otherwise={"outputs": {}, "seconds": 0.0})
        return {"ok": True, "started": started}

    def _start_destroy(self, again: bool = False, patience: float | None = None) -> dict[str, Any]:
        stack = self.stack
        if stack is None:
            return {"ok": False, "error": "the run was opened without a stack"}
        job = self._jobs.get("destroy")
        if job is not None and not (again and _left(job)):
            return {"ok": True, "started": False}
        apply = self._jobs.get("apply")

        def work() -> dict[str, Any]:
            deadline = time.monotonic() + self._apply_bound()
            while apply is not None and not apply.ended.is_set() and time.monotonic() < deadline:
                stack.interrupt()  # again and again: each command gets it once, also one that has only just begun
                apply.ended.wait(0.5)
            return stack.destroy(patience)

        self._jobs["destroy"] = Job(work, otherwise={"gone": False, "left": [], "by_hand": []})
        return {"ok": True, "started": True}

    def _apply_bound(self) -> float:
        """Seconds within which an interrupted Terraform has ended: the runner kills it after its grace."""
        return self.settings.limits.interrupt_grace + 30

    # Life

    def wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            os.write(self._wakeup_write, b"x")

    def terminate(self, *_: object) -> None:
        """SIGTERM: take the run down, whatever the controller does."""
        self._terminated.set()
        self.wake()

    def run(self, server: Server | None = None) -> int:
        controller = self.settings.controller or Process(0, "")
        watch = Watch(controller)
        family = Family(controller, {os.getpid()})
        server = server or Server(self.settings.private, self.handle)
        write_guard_process(self.settings.private, _self())
        self._log(f"guarding run {self.settings.run_id}, controller {controller.pid}")
        while not self._closed.is_set():
            watch.wait(self._wakeup_read, LOOK_EVERY)
            if watch.ended() or self._terminated.is_set() or self._lease_over():
                break
            family.look()
        try:
            if self._closed.is_set():
                server.close()
            elif watch.ended():
                self._tear_down(server, family, "the controller (ansible-playbook) ended without closing the run")
            elif self._terminated.is_set():
                self._tear_down(server, None, "the guard was told to stop (SIGTERM)")
            else:
                self._tear_down(server, None, f"the lease ended at {self.settings.expires_at}")
        finally:
            remove_private(self.settings.private)
        return 0

    def _lease_over(self) -> bool:
        """Whether the lease is over while something that it is for may be there: from then on any sweeper may take it.

        A run that has nothing temporary, or nothing any more, goes on. A destroy under way is let end.
        """
        if self._now() < self._expires:
            return False
        with self._lock:
            apply, destroy = self._jobs.get("apply"), self._jobs.get("destroy")
            return apply is not None and (destroy is None or _left(destroy))

    def _tear_down(self, server: Server, family: Family | None, cause: str) -> None:
        """Everything of C6 and C7, bounded: each wait in it has its limit."""
        with self._lock:
            self._tearing_down = True
        note = f"completed by the guard: {cause}"
        settings = self.settings
        bundle = settings.bundle()
        none: list[dict[str, Any]] = []
        lines = _attempt(bundle.lines, none, self._log)
        during = last_phase(lines)
        last = lines[-1]["name"] if lines else "none"
        closed = last == VERDICT
        if closed:
            note = "sealed by the guard: the run had written its verdict and not sealed it"
        cause = f"{cause} during: {during}; last item before: {last}"
        self._say(
            f"papyrus.ops: {cause}. Taking run {settings.run_id} down. This goes on by itself, no Ctrl-C stops it; "
            f"a last line says how it ended. Evidence: {settings.folder}"
        )
        if family is not None:
            nobody: list[Process] = []
            ended = _attempt(family.end, nobody, self._log)
            self._log(f"ended left-over processes: {[describe_process(member) for member in ended]}")
        nothing_known = {"gone": False, "error": "the destroy could not be begun"}
        result = _attempt(self._destroy_everything, nothing_known, self._log)
        left = (
            ""
            if result.get("gone")
            else " "
            + left_behind(
                result,
                run_id=settings.run_id,
                expires_at=settings.expires_at,
                name=settings.stack.name if settings.stack else "",
            )
        )
        if not closed:
            _attempt(lambda: self._keep_what_serves(lines), None, self._log)
            _attempt(lambda: self._keep_guard_log(cause), None, self._log)
        failure = {"step": "C6", "task": "", "cause": cause, "after_seq": lines[-1]["seq"] if lines else -1}
        end = _attempt(
            lambda: finish(
                bundle,
                settings.open_ledger(),
                settings.run_id,
                failure,
                settings.allowed_skips,
                signing=settings.signing(),
                by="guard",
                note=note,
                after_crash=family is not None and not closed,
                short_values=short_values(settings.private),
            ),
            None,
            self._log,
        )
        server.close()
        outcome = "ended FAILED;"
        if end is None:
            left += " The verdict could not be written."
        else:
            outcome = f"ended {end['verdict']['result']}, {'sealed' if end['sealed'] else 'not sealed'};"
            if end["verdict"].get("release"):
                left += f" {release_line(end['verdict']['release'])}."
            if end["problem"]:
                left += f" {end['problem']}."
            traced = export(settings.private, settings.folder, settings.trace_file, end["verdict"]["result"])
            left += f" {traced}." if traced else ""
        gone = "everything it created is gone." if result.get("gone") else ""
        if result.get("gone") and not result.get("ok", True):
            gone += f" Its destroy failed: {str(result.get('error')).rstrip('.')}."
        if result.get("nothing"):
            gone = "it had made nothing that would go away with it."
        said = f"papyrus.ops: run {settings.run_id} {outcome} {gone}{left} Evidence: {settings.folder}"
        said = self._redactor.redact_text(said)  # with what is known until now: that goes with the folder
        remove_private(settings.private)
        self._say(said)

    def _destroy_everything(self) -> dict[str, Any]:
        """The result of a destroy under way, or of one begun here; of one more where that has left something."""
        stack, limits = self.stack, self.settings.limits
        with self._lock:
            apply, destroy = self._jobs.get("apply"), self._jobs.get("destroy")
        if stack is None or (apply is None and destroy is None):
            return {"gone": True, "nothing": True}
        # Nobody waits for it: while the lease lasts it can wait for a network that is away.
        leased = (self._expires - self._now()).total_seconds()
        patience = min(max(limits.gone, leased), limits.sweep)
        terraform = limits.attempts * (limits.destroy + limits.interrupt_grace + 2 * limits.lock + 60)
        bound = self._apply_bound() + terraform + 2 * (limits.sweep + limits.gone) + 600
        if destroy is not None and destroy.ended.wait(bound) and not _left(destroy):
            return dict(destroy.result or {})
        with self._lock:
            self._start_destroy(again=True, patience=patience)
            destroy = self._jobs["destroy"]
        if not destroy.ended.wait(bound):
            stack.interrupt()
            destroy.ended.wait(limits.interrupt_grace + 30)  # its Terraform is killed then
            return {"gone": False, "error": f"the destroy did not end within {bound:g} s"}
        return dict(destroy.result or {})

    def _keep_what_serves(self, lines: list[dict[str, Any]]) -> None:
        """After a rollout that was interrupted the verdict says what the service runs, as ECS has gone on."""
        left = _rollout_after.unfinished(lines)
        if left is not None:
            content, meta = _rollout_after.look(Calls(self._clients()), left)
            self.settings.bundle().append(_rollout_after.ITEM, content, status="info", step="F3", meta=meta)

    def _keep_guard_log(self, cause: str) -> None:
        path = os.path.join(self.settings.private, GUARD_LOG)
        with open(path, "rb") as file:
            text = file.read()
        self.settings.bundle().append(
            "guard.log", text or content_bytes(cause), status="info", step="C6", meta={"reason": cause}
        )

    def _say(self, text: str) -> None:
        text = self._redactor.redact_text(text)
        self._log(text)
        if self._terminal is not None:
            self._terminal.say(text)


def _attempt(work: Callable[[], T], otherwise: T, log: Callable[[str], None]) -> T:
    """One step of the teardown: whatever goes wrong in it, the next steps are still done."""
    try:
        return work()
    except Exception as exc:
        log(f"{type(exc).__name__}: {exc}")
        return otherwise


def _left(destroy: Job) -> bool:
    """Whether a destroy ended and may have left something."""
    return destroy.ended.is_set() and not (destroy.result or {}).get("gone")


def _self() -> Process:
    own = process(os.getpid())
    return own or Process(os.getpid(), "")


def _log(text: str) -> None:
    with contextlib.suppress(OSError):  # it is a file: a disk without room must not stop a teardown
        os.write(2, f"{rfc3339(utc_now(), microseconds=True)} {text}\n".encode("utf-8", "replace"))


def main(argv: list[str]) -> int:
    """`argv` is the run-private folder alone."""
    settings = Settings.load(argv[0])
    record_into(settings.private, "guard")
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        # A handler, not SIG_IGN: Terraform would inherit that and never see its one SIGINT.
        signal.signal(number, lambda *_: None)
    terminal = Terminal(settings.controller.pid) if settings.controller else None
    guard = Guard(settings, terminal=terminal)
    signal.signal(signal.SIGTERM, guard.terminate)
    started = time.monotonic()
    code = guard.run()
    _log(f"ended after {time.monotonic() - started:.1f} s")
    return code
