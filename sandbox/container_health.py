"""Runs the health checks of containers, as ECS's agent does: by a command in the container's own environment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sandbox.processes import Processes, StartError

if TYPE_CHECKING:
    from sandbox.containers import Container
    from sandbox.tasks import Plan


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


@dataclass
class Verdict:
    """Counts results; a failure within the start period counts for nothing."""

    check: HealthCheck
    failures: int = 0
    status: str = "UNKNOWN"

    def take(self, passed: bool, age: float) -> str:
        """The status after one more result, `age` seconds after the container's start."""
        if passed:
            self.failures = 0
            self.status = "HEALTHY"
        elif age >= self.check.start_period or self.status == "HEALTHY":
            self.failures += 1
            if self.failures >= self.check.retries:
                self.status = "UNHEALTHY"
        return self.status


class HealthRunner:
    """One thread for each container that has a check."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._lock = threading.Lock()
        self._ends: dict[str, threading.Event] = {}

    def watch(self, container: Container, plan: Plan, check: HealthCheck, tell: Callable[[str], None]) -> None:
        end = threading.Event()
        with self._lock:
            self._ends[container.id] = end
        name = f"health-{container.id[:8]}"
        threading.Thread(target=self._loop, args=(container, plan, check, tell, end), name=name, daemon=True).start()

    def forget(self, container: Container) -> None:
        with self._lock:
            end = self._ends.pop(container.id, None)
        if end is not None:
            end.set()

    def _loop(
        self,
        container: Container,
        plan: Plan,
        check: HealthCheck,
        tell: Callable[[str], None],
        end: threading.Event,
    ) -> None:
        verdict = Verdict(check)
        age = 0.0
        while not end.wait(check.interval) and container.status == "running":
            age += check.interval
            before = verdict.status
            if verdict.take(self._passes(plan, check), age) != before:
                tell(verdict.status)

    def _passes(self, plan: Plan, check: HealthCheck) -> bool:
        try:
            code = self._processes.run(check.argv, env=plan.environment, cwd=plan.folder, timeout=check.timeout)
        except StartError:
            return False
        return code == 0
