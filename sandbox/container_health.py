"""Runs the health checks of containers, as ECS's agent does: by a command in the container's own environment."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox.behaviours import behaviour
from sandbox.processes import Process, Processes, StartError

if TYPE_CHECKING:
    from sandbox.containers import Container
    from sandbox.tasks import Plan

# How often a check under way is looked at.
GLANCE_SECONDS = 0.1


@dataclass(frozen=True)
class HealthCheck:
    """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html; times in seconds."""

    argv: tuple[str, ...]
    interval: float
    timeout: float
    retries: int
    start_period: float

    @classmethod
    def parse(cls, value: dict[str, Any] | None) -> HealthCheck | None:
        command = list((value or {}).get("command") or [])
        if value is None or not command or command == ["NONE"]:
            return None
        if command[0] == "CMD-SHELL":
            argv = ("/bin/sh", "-c", *command[1:])
        elif command[0] == "CMD":
            argv = tuple(command[1:])
        else:
            argv = ("/bin/sh", "-c", " ".join(command))
        return cls(
            argv=argv,
            interval=float(value.get("interval") or 30),
            timeout=float(value.get("timeout") or 5),
            retries=int(value.get("retries") or 3),
            start_period=float(value.get("startPeriod") or 0),
        )


@behaviour("ecs", otherwise=lambda *_: False)
def start_period_forgives(check: HealthCheck, age: float, status: str) -> bool:
    """A failed container health check within its start period counts for nothing, until one has passed.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html (startPeriod)
    """
    return age < check.start_period and status != "HEALTHY"


@behaviour("ecs", otherwise=lambda *_: True)
def unhealthy_after_retries(check: HealthCheck, failures: int) -> bool:
    """A container is UNHEALTHY only after as many failed health checks in a row as its retries.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html (retries)
    """
    return failures >= check.retries


@dataclass
class Verdict:
    """Counts results."""

    check: HealthCheck
    failures: int = 0
    status: str = "UNKNOWN"

    def take(self, passed: bool, age: float) -> str:
        """The status after one more result, `age` seconds after the container's start."""
        if passed:
            self.failures = 0
            self.status = "HEALTHY"
        elif not start_period_forgives(self.check, age, self.status):
            self.failures += 1
            if unhealthy_after_retries(self.check, self.failures):
                self.status = "UNHEALTHY"
        return self.status


@dataclass
class Watch:
    """One container that has a check."""

    container: Container
    plan: Plan
    check: HealthCheck
    tell: Callable[[str], None]
    verdict: Verdict
    begun: float = field(default_factory=time.monotonic)
    due: float = 0.0
    running: Process | None = None
    deadline: float = 0.0


class HealthRunner:
    """One thread for all containers: it starts the checks that are due and looks at those under way."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._watches: dict[str, Watch] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def watch(self, container: Container, plan: Plan, check: HealthCheck, tell: Callable[[str], None]) -> None:
        """`tell` is called with each new status, from the runner's thread."""
        watch = Watch(container, plan, check, tell, Verdict(check))
        watch.due = watch.begun + check.interval
        with self._changed:
            self._watches[container.id] = watch
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="container-health", daemon=True)
                self._thread.start()
            self._changed.notify()

    def forget(self, container: Container) -> None:
        with self._changed:
            watch = self._watches.pop(container.id, None)
        if watch is not None and watch.running is not None:
            watch.running.kill()

    def _loop(self) -> None:
        while True:
            with self._changed:
                now = time.monotonic()
                pauses = [GLANCE_SECONDS if w.running else max(0.0, w.due - now) for w in self._watches.values()]
                self._changed.wait(min(pauses, default=None))
                watches = list(self._watches.values())
            for watch in watches:
                self._step(watch, time.monotonic())

    def _step(self, watch: Watch, now: float) -> None:
        if watch.running is None:
            if now >= watch.due and watch.container.status == "running":
                self._begin(watch, now)
            elif now >= watch.due:
                watch.due = now + watch.check.interval
            return
        code = watch.running.poll()
        if code is None and now < watch.deadline:
            return
        if code is None:
            watch.running.kill()
        self._take(watch, code == 0, now)

    def _begin(self, watch: Watch, now: float) -> None:
        plan = watch.plan
        try:
            argv = [*plan.inside, *watch.check.argv]
            watch.running = self._processes.start(argv, env=plan.environment, cwd=plan.folder)
        except StartError:
            self._take(watch, False, now)
            return
        watch.deadline = now + watch.check.timeout

    def _take(self, watch: Watch, passed: bool, now: float) -> None:
        watch.running = None
        watch.due = now + watch.check.interval
        before = watch.verdict.status
        if watch.verdict.take(passed, now - watch.begun) != before and watch.container.status == "running":
            watch.tell(watch.verdict.status)
