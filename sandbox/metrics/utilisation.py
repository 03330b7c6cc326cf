"""What ECS tells CloudWatch of its services: how much of their tasks' size the real processes use."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.usage import Snapshot, Usage

if TYPE_CHECKING:
    from sandbox.metrics import Metrics
    from sandbox.runtime import Runtime
    from sandbox.tasks import TaskBackend

log = logging.getLogger("sandbox.ecs")
Task = Mapping[str, Any]
NAMESPACE = "AWS/ECS"
# How often the clock sees whether a look is due.
TICK_SECONDS = 0.5
# A look comes so long before its minute ends (a quarter of shorter times at most): alarms are evaluated when it is
# over, and find the point then.
BEFORE_THE_END = 2.0


def next_look(now: float, interval: float) -> float:
    """When the tasks are looked at for the first time after `now`."""
    early = min(BEFORE_THE_END, interval / 4)
    return ((now + early) // interval + 1) * interval - early


class Utilisation:
    """Looks at the tasks of all services, once in `utilisation_seconds` (a switch; as on AWS every minute)."""

    def __init__(self, runtime: Runtime, ecs: Any, backend: TaskBackend) -> None:
        self._runtime = runtime
        self._ecs = ecs
        self._backend = backend
        # Task → when it was looked at last, and its CPU time then.
        self._before: dict[str, tuple[float, float]] = {}
        self._ended = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="utilisation", daemon=True).start()

    def close(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        last = time.time()
        while not self._ended.wait(TICK_SECONDS):
            now, interval = time.time(), self._runtime.switches.utilisation_seconds
            if interval and now >= next_look(last, interval):
                last = now
                try:
                    self.look(now, interval)
                except Exception:
                    log.exception("looking at what tasks use")

    def look(self, now: float, interval: float) -> None:
        """Tell of each task that ran through half of the interval at least: before, its start weighs too much."""
        everything = Snapshot()
        seen: dict[str, tuple[float, float]] = {}
        for (_, _, arn), task in list(self._ecs._tasks.all_items()):
            places = utilisation_dimensions(str(task.get("clusterArn")).rpartition("/")[2], str(task.get("group")))
            if task.get("lastStatus") != "RUNNING" or not places:
                continue
            used = sum((everything.of(pid) for pid in self._programs(arn)), Usage())
            seen[arn] = (now, used.seconds)
            since, before = self._before.get(arn) or (emulator.epoch(task.get("startedAt")), 0.0)
            if now - since >= interval / 2:
                busy = max(0.0, used.seconds - before) / (now - since)
                moment = now // interval * interval
                for dimensions in places:
                    service_utilisation(self._runtime.metrics, task, dimensions, busy, used.bytes, moment)
        self._before = seen

    def _programs(self, arn: str) -> list[int]:
        found = [self._backend.program(container) for container in self._runtime.engine.of_task(arn)]
        return [pid for pid in found if pid]


@behaviour("ecs", otherwise=lambda cluster, group: [{"ClusterName": cluster}])
def utilisation_dimensions(cluster: str, group: str) -> list[dict[str, str]]:
    """Of tasks on Fargate CloudWatch has utilisation by service only, none of clusters and of single tasks.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/cluster_utilization.html
    """
    kind, _, name = group.partition(":")
    return [{"ClusterName": cluster, "ServiceName": name}] if kind == "service" else []


@behaviour("ecs")
def service_utilisation(
    metrics: Metrics, task: Task, dimensions: Mapping[str, str], busy: float, memory: int, moment: float
) -> None:
    """ECS tells CloudWatch every minute what percentage of its CPU units and memory each task of a service uses.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service_utilization.html
    """
    _, _, _, region, account, _ = str(task["taskArn"]).split(":", 5)
    for name, percent in percentages(task, busy, memory).items():
        metrics.put(NAMESPACE, name, dimensions, percent, "Percent", at=moment, region=region, account=account)


def percentages(task: Task, busy: float, memory: int) -> dict[str, float]:
    """Of the task's size. `busy`: CPUs that it kept busy; `memory`: bytes."""
    units, mebibytes = (int(task[name]) if str(task.get(name)).isdigit() else 0 for name in ("cpu", "memory"))
    found = {}
    if units:
        found["CPUUtilization"] = round(busy * 1024 * 100 / units, 3)
    if mebibytes:
        found["MemoryUtilization"] = round(memory * 100 / (mebibytes * 1024 * 1024), 3)
    return found
