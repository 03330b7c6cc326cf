# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks of a rollout: those that die, with the last lines of their log, and those that run (F3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import _aws
from ._calls import Calls
from ._container_log import last_lines, place
from ._ecs_tasks import describe_task_definition, describe_tasks, list_tasks, stopped_shape
from ._rollout_judge import Serving

SCALING = "Scaling activity initiated by"
"""Stopped reason of a task that its service no longer needs: not a death."""

DEATHS_WITH_LOGS = 20
"""Deaths of one rollout whose log is read; further ones die of the same, and are counted."""

LOG_LOOKS = 6
"""Looks for the last lines of a log: CloudWatch Logs shows them seconds after the task has ended."""

LINE = 500
"""Characters of a log line that are kept."""


class TaskWatch:
    """Knows which stopped tasks have been seen, so that each is described once it has ended, and not again.

    `ending` is the number of those that are dying: ECS counts a task as failed before its exit codes are there.
    """

    def __init__(
        self, calls: Calls, cluster: str, service: str, *, log_lines: int, clean: Callable[[str], str]
    ) -> None:
        self.calls = calls
        self.cluster = cluster
        self.service = service
        self.log_lines = log_lines
        self.clean = clean
        self.deaths = 0
        self.ending = 0
        self._settled: set[str] = set()
        self._definitions: dict[str, dict[str, Any]] = {}
        self._waiting: list[tuple[dict[str, Any], dict[str, Any], int]] = []

    def begin(self) -> None:
        """Tasks that have stopped already have nothing to do with what begins now; one call for each hundred."""
        self._settled.update(list_tasks(self.calls, self.cluster, self.service, "STOPPED"))

    def new_deaths(self, deployment: str) -> list[dict[str, Any]]:
        """Tasks of the deployment that have stopped since the last look, unless it was scaled in; oldest first.

        Calls: ListTasks and DescribeTasks, each once for a hundred tasks, the latter only for tasks not seen before.
        """
        stopped = list_tasks(self.calls, self.cluster, self.service, "STOPPED")
        self._settled &= set(stopped)  # ECS forgets stopped tasks after about an hour; so does this
        tasks, missing = describe_tasks(self.calls, self.cluster, [arn for arn in stopped if arn not in self._settled])
        self._settled.update(item["task_arn"] for item in missing)
        deaths = []
        self.ending = 0
        for task in tasks:
            mine = task.get("startedBy") == deployment
            died = mine and not str(task.get("stoppedReason") or "").startswith(SCALING)
            if mine and task.get("lastStatus") not in {"STOPPED", "DEPROVISIONING"}:
                self.ending += died
                continue  # exit codes are not there yet
            self._settled.add(task["taskArn"])
            if died:
                deaths.append(self._death(task))
        return sorted(deaths, key=lambda death: str(death["stopped_at"] or ""))

    def _death(self, task: Mapping[str, Any]) -> dict[str, Any]:
        death = stopped_shape(task)
        death["reason"] = self.clean(death["reason"])
        death["logs"] = []
        self.deaths += 1
        if self.deaths <= DEATHS_WITH_LOGS and self.log_lines > 0:
            for container in dead_containers(task):
                log = self._log_of(task, container)
                death["logs"].append(log)
                if not log["note"]:
                    self._waiting.append((death, log, 0))
        return death

    def new_lines(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """(death, log) whose last lines have been found by this look; a look is one GetLogEvents each."""
        found, still = [], []
        for death, log, looks in self._waiting:
            self._read(log)
            if log["lines"] or log["note"]:
                found.append((death, log))
            elif looks + 1 >= LOG_LOOKS:
                log["note"] = "the log stream is empty"
                found.append((death, log))
            else:
                still.append((death, log, looks + 1))
        self._waiting = still
        return found

    def _log_of(self, task: Mapping[str, Any], container: str) -> dict[str, Any]:
        log: dict[str, Any] = {"container": container, "group": "", "stream": "", "lines": [], "note": ""}
        arn = str(task.get("taskDefinitionArn"))
        try:
            if arn not in self._definitions:
                self._definitions[arn] = describe_task_definition(self.calls, arn)
        except _aws.AwsFailure as exc:
            return {**log, "note": f"the task definition could not be read: {exc}"}
        definitions: Sequence[Mapping[str, Any]] = self._definitions[arn].get("containerDefinitions") or []
        definition: Mapping[str, Any] = next((item for item in definitions if item.get("name") == container), {})
        return {**log, **place(definition, task)}

    def _read(self, log: dict[str, Any]) -> None:
        lines, log["note"] = last_lines(self.calls, log, self.log_lines)
        log["lines"] = [line[:LINE] for line in self.clean("\n".join(lines)).splitlines()]

    def serving(self, desired: int, deployment: str) -> Serving:
        """RUNNING tasks of the service by task definition; ListTasks and DescribeTasks, each once for a hundred."""
        tasks, dummy = describe_tasks(self.calls, self.cluster, list_tasks(self.calls, self.cluster, self.service))
        live = [
            task for task in tasks if task.get("lastStatus") == "RUNNING" and task.get("desiredStatus") == "RUNNING"
        ]
        running: dict[str, int] = {}
        for task in live:
            arn = str(task.get("taskDefinitionArn"))
            running[arn] = running.get(arn, 0) + 1
        own = sum(1 for task in live if deployment and task.get("startedBy") == deployment)
        return Serving(desired, running, own)


def dead_containers(task: Mapping[str, Any]) -> list[str]:
    """Containers whose log is worth reading: those that ended with an error, else all that have ended; at most two.

    None for a task whose containers never started (image or secret missing): there is no log then.
    """
    ended = [item for item in task.get("containers") or [] if item.get("exitCode") is not None]
    failed = [item for item in ended if item["exitCode"] != 0]
    return [str(item.get("name")) for item in failed or ended][:2]


def end_of(log: Mapping[str, Any]) -> Sequence[str]:
    """A log's last lines for a terminal, or the note in their place."""
    return [f"{log['container']} | {line}" for line in log["lines"]] or [f"{log['container']}: {log['note']}"]
