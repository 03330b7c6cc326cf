# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the cases of a drill from what the playbook knows: the alarms as they are, the outputs of the drill's stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from . import _alarms, _drill_conditions, _probe_request, _probe_run, _task_run
from ._aws import Clients
from ._calls import Calls
from ._drill_case import Case, Condition, Limits, Tell

IMPOSSIBLE = "impossible"
"""Container of the task definition whose image nobody has, as the drill's stack calls it."""


class NoDrill(Exception):
    """What was given does not make a drill; the text says what is missing."""


@dataclass(frozen=True)
class Given:
    """What the module was given. `alarms` are by kind as `_alarms.copy_of` makes them, `outputs` those of the stack."""

    run: Mapping[str, Any]
    cluster: str
    service: str
    container: str
    alarms: Mapping[str, Mapping[str, Any]]
    outputs: Mapping[str, Any]
    namespace: str
    exit_command: tuple[str, ...]
    limits: Limits = Limits()

    @property
    def suffix(self) -> str:
        return str(self.run["suffix"])

    def output(self, name: str) -> Any:
        value = self.outputs.get(name)
        if not value:
            raise NoDrill(f"the outputs of the drill's stack have no {name}")
        return value

    def watched(self, kind: str) -> str:
        """Name of the alarm that is watched: the copy's where there is one."""
        if kind not in _alarms.COPIED:
            return str(self.alarms[kind]["name"])
        name = self.output("alarm_names").get(kind)
        if not name:
            raise NoDrill(f"the drill's stack made no copy of {self.alarms[kind]['name']}")
        return str(name)


@dataclass(frozen=True)
class Probing:
    """How the temporary ALB is asked: `path` needs the database, `calm_path` does not."""

    path: str
    calm_path: str
    secret_headers: Mapping[str, str]
    connect_to: tuple[str, ...] = ()
    proxy: str | None = None
    settings: _probe_run.Settings = _probe_run.Settings()


def metric_data(given: Given, calls: Calls) -> dict[str, _drill_conditions.MetricData]:
    """The conditions of alarms of the service's own metrics, by kind."""
    return {
        kind: _drill_conditions.MetricData(calls, given.namespace, given.alarms[kind], given.suffix)
        for kind in _alarms.OF_SERVICE
        if kind in given.alarms
    }


def requests(given: Given, probing: Probing, clean: Callable[[str], str], tell: Tell) -> _drill_conditions.Requests:
    """Requests to the temporary ALB. BadRequest when they cannot be made so."""
    url = str(given.output("url"))
    built = {
        bad: _probe_request.build(
            url + path,
            method="GET",
            headers={},
            secret_headers=probing.secret_headers,
            connect_to=list(probing.connect_to),
            proxy=probing.proxy,
        )
        for bad, path in ((True, probing.path), (False, probing.calm_path))
    }

    def ask(bad: bool) -> _probe_run.Probe:
        any_status = _probe_run.Expect(status=())
        return _probe_run.Prober(built[bad], any_status, probing.settings, clean=clean).run()

    return _drill_conditions.Requests(
        ask,
        (probing.path, probing.calm_path),
        _alarms.lanes_for(given.alarms.get("alb-5xx")),
        tell=lambda text: tell("request", text),
    )


def tasks(given: Given, clients: Clients, tell: Tell) -> dict[str, _drill_conditions.TaskEnds]:
    """A task of the service's own revision that exits, and one whose image nobody has; by kind."""
    plan = _task_run.Plan(
        cluster=given.cluster,
        service=given.service,
        container=given.container,
        command=given.exit_command,
        tags=dict(given.run["tags"]),
        started_by=f"{given.run['tag_prefix']}/{given.run['id']}",
        life=0,
        log_wait=0.001,
    )

    def exits(calls: Calls) -> _task_run.TaskRun:
        return _task_run.Runner(calls, plan)(_task_run.place(calls, plan))

    def never_starts(calls: Calls) -> _task_run.TaskRun:
        definition = str(given.output("impossible_task_definition"))
        place = _task_run.place(calls, plan)
        request = {key: value for key, value in place.request.items() if key != "overrides"}
        request["taskDefinition"] = definition
        impossible = replace(place, request=request, task_definition=definition, definition={"name": IMPOSSIBLE})
        return _task_run.Runner(calls, plan)(impossible)

    made = {
        "task-exit": _drill_conditions.TaskEnds(
            f"a task of {given.service} that runs {' '.join(given.exit_command)!r}",
            clients,
            exits,
            _drill_conditions.ended_badly,
            lambda text: tell("task", text),
        ),
        "task-start": _drill_conditions.TaskEnds(
            "a task of an image that nobody has",
            clients,
            never_starts,
            _drill_conditions.never_started,
            lambda text: tell("task", text),
        ),
    }
    return {kind: condition for kind, condition in made.items() if kind in given.alarms}


def cases(given: Given, probing: Probing, clients: Clients, clean: Callable[[str], str], tell: Tell) -> list[Case]:
    """One case an alarm, in the order of `_alarms.KINDS`. NoDrill, BadRequest."""
    conditions: dict[str, Condition] = {**metric_data(given, Calls(clients)), **tasks(given, clients, tell)}
    if any(kind in given.alarms for kind in _alarms.OF_LOAD_BALANCER):
        asked = requests(given, probing, clean, tell)
        conditions |= dict.fromkeys(_alarms.OF_LOAD_BALANCER, asked)
    return [
        Case(
            kind=kind,
            permanent=str(given.alarms[kind]["name"]),
            alarm=given.watched(kind),
            condition=conditions[kind],
            limits=given.limits,
            tell=tell,
        )
        for kind in _alarms.KINDS
        if kind in given.alarms
    ]
