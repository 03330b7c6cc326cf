# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Preflight rows about the ECS service: steady, Exec usable, running task reachable, PGSSLMODE."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import _ecs_tasks
from ._poller import Done, GoOn, poll
from ._preflight import NO_DATABASE, Ask, Check, Finding, later, ng, ok, skip
from ._rows import listing

STRICT_SSLMODES = frozenset({"require", "verify-ca", "verify-full"})
"""libpq's modes that refuse plaintext: https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION"""


def service(ask: Ask) -> dict[str, Any]:
    return ask.fact("service", _service)


def _service(ask: Ask) -> dict[str, Any]:
    return _ecs_tasks.describe_service(ask.calls, ask.settings.cluster, ask.settings.service)


def tasks(ask: Ask) -> _ecs_tasks.Tasks:
    return ask.fact("tasks", _tasks)


def _tasks(ask: Ask) -> _ecs_tasks.Tasks:
    settings = ask.settings
    return _ecs_tasks.running_tasks(ask.calls, settings.cluster, settings.service, settings.container or None)


def some_tasks(ask: Ask) -> list[dict[str, Any]]:
    """Running tasks; TaskProblem says why there is none."""
    found = tasks(ask)
    if not found.tasks:
        raise _ecs_tasks.TaskProblem(_ecs_tasks.no_task_message(ask.settings.cluster, ask.settings.service, found))
    return found.tasks


def tasks_if_any(ask: Ask) -> list[dict[str, Any]]:
    """Running tasks. Before a release there may be none: it mends a service whose tasks die."""
    return tasks(ask).tasks if ask.settings.releasing else some_tasks(ask)


def task_definitions(ask: Ask) -> list[dict[str, Any]]:
    """Task definitions of the running tasks (one, unless a rollout is under way), else that of the service."""
    arns = sorted({str(task["task_definition"]) for task in tasks_if_any(ask)}) or [str(service(ask)["taskDefinition"])]
    return [ask.fact(f"task definition {arn}", _definition(arn)) for arn in arns]


def task_groups(ask: Ask) -> list[str]:
    """Security groups that the running tasks have, else those that the service gives its tasks."""
    found = tasks_if_any(ask)
    if found:
        return sorted({str(group) for task in found for group in task["security_groups"]})
    network = service(ask).get("networkConfiguration") or {}
    return sorted(map(str, (network.get("awsvpcConfiguration") or {}).get("securityGroups", [])))


def _definition(arn: str) -> Callable[[Ask], dict[str, Any]]:
    return lambda ask: _ecs_tasks.describe_task_definition(ask.calls, arn)


def running(ask: Ask) -> Finding:
    """C4: at least one task can be a target, and ECS keeps its image digest."""
    settings = ask.settings
    if not tasks_if_any(ask):
        return later(_ecs_tasks.no_task_message(settings.cluster, settings.service, tasks(ask)))
    found = some_tasks(ask)
    targets = ask.fact("targets", _targets)
    families = {_family(str(task["task_definition"])) for task in found}
    data = {"tasks": found, "targets": targets, "left_out": tasks(ask).left_out}
    if settings.task_family and families != {settings.task_family}:
        return ng(
            f"running tasks are of family {listing(sorted(families))}, expected is {settings.task_family}", **data
        )
    ids = {task["vpc"] for task in found if task["vpc"]}
    if settings.vpc_id and ids and ids != {settings.vpc_id}:
        return ng(f"the tasks run in {listing(sorted(ids))}, the inventory says {settings.vpc_id}", **data)
    return ok(listing(f"{target['Id']}:{target['Port']}" for target in targets), **data)


def _targets(ask: Ask) -> list[dict[str, Any]]:
    settings = ask.settings
    made: list[dict[str, Any]] = _ecs_tasks.task_targets(
        ask.calls, some_tasks(ask), settings.container or None, settings.port
    )
    return made


def _family(task_definition: str) -> str:
    return _ecs_tasks.short(task_definition).rsplit(":", 1)[0]


def steady(ask: Ask) -> Finding:
    """B7. How tasks ended is part of the answer: all when none runs, else those of a rollout in flight or failed."""
    found = service(ask)
    return judge_service(found, _deaths(ask, found), ask.settings.releasing)


def _deaths(ask: Ask, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    if int(found.get("runningCount", 0)) < 1 and (stopped := tasks(ask).stopped):
        return stopped
    rollouts = {
        item.get("id") for item in found.get("deployments", []) if item.get("rolloutState") in {"IN_PROGRESS", "FAILED"}
    }
    if not rollouts:
        return []
    stopped = _ecs_tasks.stopped_tasks(ask.calls, ask.settings.cluster, ask.settings.service)
    return [task for task in stopped if task["started_by"] in rollouts]


def judge_service(
    found: Mapping[str, Any], stopped: Sequence[Mapping[str, Any]] = (), releasing: bool = False
) -> Finding:
    """Desired = running ≥ 1 and one completed deployment; pure.

    A release may begin on a service whose tasks die or whose last deployment failed, never in the middle of a rollout.
    """
    desired, run, pending = (int(found.get(key, 0)) for key in ("desiredCount", "runningCount", "pendingCount"))
    deployments: Sequence[Mapping[str, Any]] = found.get("deployments", [])
    data = {
        "status": found.get("status"),
        "desired": desired,
        "running": run,
        "pending": pending,
        "deployments": [
            {key: item.get(key) for key in ("id", "status", "rolloutState", "rolloutStateReason", "taskDefinition")}
            for item in deployments
        ],
    }
    last_event = next((str(event.get("message", "")) for event in found.get("events", [])), "")
    lasting, passing = [], []  # what a release finds as well, and what it mends
    if found.get("status") != "ACTIVE":
        lasting.append(f"the service is {found.get('status')}")
    if desired < 1:
        lasting.append("desired count is 0: nothing runs that could be tested")
    if run != desired or pending:
        passing.append(f"{run} of {desired} tasks run, {pending} pending")
    if stopped:
        last = max(stopped, key=lambda task: str(task["stopped_at"] or ""))
        passing.append(f"the last task, {_ecs_tasks.short(str(last['task_arn']))}, stopped: {last['reason']}")
    in_flight = [item for item in deployments if item.get("rolloutState") == "IN_PROGRESS"]
    others = [item for item in deployments if item.get("status") != "PRIMARY"]
    failed = [item for item in deployments if item.get("status") == "PRIMARY" and item.get("rolloutState") == "FAILED"]
    if in_flight or (others and not (releasing and failed)):
        names = [str(item.get("id")) for item in in_flight or others]
        lasting.append(f"a rollout is in flight ({listing(names)}): wait until it has ended")
    if failed:
        passing.append(f"the last deployment failed: {failed[0].get('rolloutStateReason') or 'no reason given'}")
    if lasting or passing:
        text = "; ".join([*lasting, *passing])
        text = f"{text}. Last event: {last_event}" if last_event else text
        return later(text, **data) if releasing and not lasting else ng(text, **data)
    return ok(f"{run} of {desired} tasks run, no rollout in flight", **data)


def exec_usable(ask: Ask) -> Finding:
    """B3. The cluster's Exec configuration decides where sessions are logged, so it is part of the evidence."""
    settings = ask.settings
    found_service = service(ask)
    clusters = ask.calls.call(
        "ecs",
        "describe_clusters",
        f"cluster {settings.cluster}",
        clusters=[settings.cluster],
        include=["CONFIGURATIONS", "SETTINGS"],
    ).get("clusters", [])
    configuration = (clusters[0].get("configuration") or {}).get("executeCommandConfiguration") if clusters else None
    found = with_agents(ask, tasks_if_any(ask))
    definitions = [
        _ecs_tasks.container_definition(definition, settings.container or None) for definition in task_definitions(ask)
    ]
    problems = exec_problems(found_service, found, definitions)
    if not found:
        problems.append(_ecs_tasks.no_task_message(settings.cluster, settings.service, tasks(ask)))
    data = {
        "enabled": bool(found_service.get("enableExecuteCommand")),
        "agents": {_ecs_tasks.short(task["task_arn"]): task["exec_agent"] for task in found},
        "readonly_root": any(item.get("readonlyRootFilesystem") for item in definitions),
        "init_process": all((item.get("linuxParameters") or {}).get("initProcessEnabled") for item in definitions),
        "cluster_configuration": configuration or {"logging": "DEFAULT"},
    }
    if problems and not settings.exec_required:
        return skip(f"no path of this run uses Exec ({problems[0]})", **data)
    if problems and settings.releasing and not data["readonly_root"]:
        return later("; ".join(problems), **data)
    if problems:
        return ng("; ".join(problems), **data)
    agents = listing(f"agent of {_ecs_tasks.short(task['task_arn'])} {task['exec_agent']}" for task in found)
    return ok(f"{agents}; sessions: {exec_logging(configuration)}", **data)


def with_agents(ask: Ask, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The tasks when none of their agents is PENDING any more: one starts some seconds after its container.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ManagedAgent.html
    """
    settings = ask.settings
    arns = [str(task["task_arn"]) for task in found]

    def look() -> list[dict[str, Any]]:
        known = {task["taskArn"]: task for task in _ecs_tasks.describe_tasks(ask.calls, settings.cluster, arns)[0]}
        return [
            {**task, "exec_agent": _ecs_tasks.exec_agent(_ecs_tasks.container_of(known[arn], task["container"]))}
            if (arn := str(task["task_arn"])) in known
            else task
            for task in found
        ]

    if not any(task["exec_agent"] == "PENDING" for task in found):
        return list(found)
    pending = GoOn("an agent is PENDING")
    return poll(
        look,
        lambda seen: pending if any(task["exec_agent"] == "PENDING" for task in seen) else Done(),
        timeout=settings.agent_timeout,
        interval=settings.agent_interval,
    ).last


def exec_works_now(ask: Ask) -> bool:
    """Whether a command could be run in a task of this service at the moment."""
    return bool(service(ask).get("enableExecuteCommand")) and any(
        task["exec_agent"] == "RUNNING" for task in tasks(ask).tasks
    )


def exec_problems(
    found_service: Mapping[str, Any], found: Sequence[Mapping[str, Any]], definitions: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What keeps Exec from working; pure. https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html"""
    problems = []
    if not found_service.get("enableExecuteCommand"):
        problems.append(
            "ECS Exec is off on the service (enableExecuteCommand is false): enable it with "
            "update-service --enable-execute-command --force-new-deployment"
        )
    silent = [
        f"{_ecs_tasks.short(task['task_arn'])} ({task['exec_agent']})"
        for task in found
        if task["exec_agent"] != "RUNNING"
    ]
    if silent:
        problems.append(
            f"the Exec agent does not run in {listing(silent)}: the task was started before Exec was enabled, "
            "or its task role lacks ssmmessages"
        )
    if any(item.get("readonlyRootFilesystem") for item in definitions):
        problems.append("the container's root filesystem is read-only, the Exec agent must write to it")
    return problems


def exec_logging(configuration: Mapping[str, Any] | None) -> str:
    """Where the cluster sends Exec sessions, and with which key, in words."""
    if not configuration:
        return "logged by the task's own log driver, default encryption"
    text = f"logging {configuration.get('logging', 'DEFAULT')}"
    logs = configuration.get("logConfiguration") or {}
    place = logs.get("cloudWatchLogGroupName") or logs.get("s3BucketName")
    if place:
        text += f" to {place}"
    return f"{text}, KMS key {configuration.get('kmsKeyId') or 'default'}"


def sslmode(ask: Ask) -> Finding:
    """B13."""
    settings = ask.settings
    if not settings.has_database:
        return skip(NO_DATABASE)
    modes: dict[str, str | None] = {}
    for definition in task_definitions(ask):
        container = _ecs_tasks.container_definition(definition, settings.container or None)
        name = _ecs_tasks.short(str(definition.get("taskDefinitionArn", "")))
        modes[name] = environment_value(container, "PGSSLMODE")
        if any(secret.get("name") == "PGSSLMODE" for secret in container.get("secrets", [])):
            answer = later if settings.releasing else skip
            return answer(f"PGSSLMODE of {name} comes from a secret and cannot be read", modes=modes)
    judged = judge_sslmodes(modes)
    return later(judged.reason, modes=modes) if judged.status == "ng" and settings.releasing else judged


def environment_value(container: Mapping[str, Any], name: str) -> str | None:
    """The last value counts, as it does in the container."""
    values = [str(item.get("value", "")) for item in container.get("environment", []) if item.get("name") == name]
    return values[-1] if values else None


def judge_sslmodes(modes: Mapping[str, str | None]) -> Finding:
    """Every running task definition must refuse plaintext; pure."""
    weak = [f"{name} has {mode or 'none'}" for name, mode in modes.items() if mode not in STRICT_SSLMODES]
    if weak:
        return ng(
            f"PGSSLMODE must be require or stricter, {listing(weak)}: release a revision that sets it", modes=modes
        )
    return ok(listing(f"{name}: {mode}" for name, mode in modes.items()), modes=modes)


def tasks_group(ask: Ask) -> Finding:
    """C3: the temporary ingress rule goes to a group that every running task really has."""
    wanted = ask.settings.tasks_sg_id
    found = tasks_if_any(ask)
    if not wanted:
        return ok("no tasks_sg_id is given: no ingress rule is made, the task's groups must admit the ALB already")
    if not found:  # only before a release
        groups = task_groups(ask)
        if wanted not in groups:
            return ng(f"{wanted} is not a group of the service, which has {listing(groups)}", groups=groups)
        return ok(f"{wanted} is what the service gives its tasks; none runs now", groups=groups)
    without = [_ecs_tasks.short(task["task_arn"]) for task in found if wanted not in task["security_groups"]]
    if without:
        groups = sorted({group for task in found for group in task["security_groups"]})
        return ng(f"{wanted} is not a group of {listing(without)}, which has {listing(groups)}", groups=groups)
    return ok(f"{wanted} is on every running task")


CHECKS = (
    Check("B3", "ECS Exec is usable", exec_usable),
    Check("B7", "Service is steady", steady),
    Check("B13", "PGSSLMODE refuses plaintext", sslmode),
    Check("C3", "Tasks have the security group of the inventory", tasks_group),
    Check("C4", "A running task can be a target", running),
)
