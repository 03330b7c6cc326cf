# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Targets of a target group: what to register, whether to wait on, and what is wrong in words (C4, C5)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from . import _aws
from ._calls import Calls
from ._ecs_tasks import describe_tasks, short, stop_reason
from ._network import admitting, covers_port, rule_source, security_group_rules
from ._poller import Done, GoOn, Hopeless, Judgement
from ._rows import listing

CODES = re.compile(r"\[([\d,\s]+)\]")

Key = tuple[str, int]


@dataclass(frozen=True)
class TargetState:
    """One target's health as DescribeTargetHealth says it; `state` "absent" when it is not registered.

    States and reasons: https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
    """

    id: str
    port: int
    state: str
    reason: str = ""
    description: str = ""

    def as_dict(self) -> dict[str, Any]:
        return dict(vars(self))

    def __str__(self) -> str:
        text = f"{self.id}:{self.port} {self.state}"
        if self.reason:
            text += f" ({self.reason})"
        return text


@dataclass(frozen=True)
class Observation:
    """One look at all awaited targets. `elapsed` seconds since the wait began; `cause` is a stable word or ""."""

    targets: tuple[TargetState, ...]
    elapsed: float = 0.0
    gone: tuple[str, ...] = ()
    closed: str = ""
    failing_since: float | None = None


@dataclass(frozen=True)
class Patience:
    """Seconds for which a failing state that may still heal is borne, by how likely it heals.

    `answers` for what an application that starts may answer (5xx, refused connection), `settings` for what only a
    changed setting can heal (404, target group not attached); AWS has then failed the threshold of checks already.
    """

    answers: float = 45.0
    settings: float = 6.0


@dataclass(frozen=True)
class Verdict:
    """`cause` is a stable word for programs, `text` says it to an operator."""

    cause: str
    text: str
    heals_after: float | None = field(default=None, compare=False)


def key_of(target: Mapping[str, Any]) -> Key:
    return str(target["Id"]), int(target["Port"])


def describe(calls: Calls, target_group_arn: str) -> list[dict[str, Any]]:
    """TargetHealthDescriptions of the whole group (the API has no pages)."""
    answer = calls.call(
        "elbv2",
        "describe_target_health",
        f"target group {short_group(target_group_arn)}",
        hint="Check that the target group exists in this region.",
        TargetGroupArn=target_group_arn,
    )
    return list(answer.get("TargetHealthDescriptions", []))


def health_path(calls: Calls, target_group_arn: str) -> str:
    answer = calls.call(
        "elbv2",
        "describe_target_groups",
        f"target group {short_group(target_group_arn)}",
        TargetGroupArns=[target_group_arn],
    )
    return str(answer["TargetGroups"][0].get("HealthCheckPath", ""))


def short_group(arn: str) -> str:
    """`targetgroup/<name>/<hex>` → name; anything else as it is."""
    parts = arn.split(":")[-1].split("/")
    return parts[1] if len(parts) > 2 else arn


def states(descriptions: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> tuple[TargetState, ...]:
    """State of each wanted target, "absent" where the group does not list it."""
    known = {key_of(item["Target"]): item.get("TargetHealth", {}) for item in descriptions}
    found = []
    for target in wanted:
        key = key_of(target)
        health = known.get(key)
        if health is None:
            found.append(TargetState(*key, "absent", "Target.NotRegistered", "the target is not registered"))
        else:
            found.append(
                TargetState(
                    *key, health.get("State", "unknown"), health.get("Reason", ""), health.get("Description", "")
                )
            )
    return tuple(found)


def registered(state: TargetState) -> bool:
    """Draining and unregistered targets are not (any more) registered."""
    return state.state not in {"absent", "draining"} and state.reason != "Target.NotRegistered"


def to_register(
    descriptions: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    return [target for target, state in zip(wanted, states(descriptions, wanted), strict=True) if not registered(state)]


def to_deregister(
    descriptions: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """The group's own spelling of each wanted target that is registered (its zone included)."""
    keys = {key_of(target) for target in wanted}
    found = []
    for item in descriptions:
        health = item.get("TargetHealth", {})
        state = TargetState(*key_of(item["Target"]), health.get("State", ""), health.get("Reason", ""))
        if key_of(item["Target"]) in keys and registered(state):
            found.append(dict(item["Target"]))
    return found


def register(calls: Calls, target_group_arn: str, targets: Sequence[Mapping[str, Any]]) -> None:
    calls.call(
        "elbv2",
        "register_targets",
        f"target group {short_group(target_group_arn)}",
        hint="An ip target must lie in the VPC of the target group.",
        TargetGroupArn=target_group_arn,
        Targets=[dict(target) for target in targets],
    )


def deregister(calls: Calls, target_group_arn: str, targets: Sequence[Mapping[str, Any]]) -> None:
    calls.call(
        "elbv2",
        "deregister_targets",
        f"target group {short_group(target_group_arn)}",
        TargetGroupArn=target_group_arn,
        Targets=[dict(target) for target in targets],
    )


def difference(
    descriptions: Sequence[Mapping[str, Any]], changes: Sequence[Mapping[str, Any]], present: bool
) -> dict[str, Any]:
    """Ansible's `diff` of the registered targets before and after the change."""
    before = {
        f"{key[0]}:{key[1]}"
        for item in descriptions
        for key in [key_of(item["Target"])]
        if registered(TargetState(*key, item.get("TargetHealth", {}).get("State", "")))
    }
    changed = {f"{target['Id']}:{target['Port']}" for target in changes}
    after = before | changed if present else before - changed
    return {"diff": {"before": {"targets": sorted(before)}, "after": {"targets": sorted(after)}}}


def codes_of(description: str) -> list[int]:
    """HTTP codes in `Health checks failed with these codes: [404]`."""
    match = CODES.search(description)
    return [int(code) for code in match.group(1).split(",") if code.strip()] if match else []


def diagnose(target: TargetState, patience: Patience = Patience(), closed: str = "", path: str = "") -> Verdict:
    """What one unhealthy target's state means. `heals_after` None: it may heal until the time limit is over."""
    where = f"{target.id}:{target.port}"
    said = f" (AWS: {': '.join(filter(None, (target.reason, target.description)))})" if target.reason else ""
    at_path = f" on {path}" if path.strip() else " on the health check's path"
    if target.state in {"initial", "unavailable", "unknown"}:
        return Verdict("pending", f"{where} is still being registered or checked for the first time{said}")
    if target.state == "healthy":
        return Verdict("healthy", f"{where} is healthy")
    if target.reason == "Target.ResponseCodeMismatch":
        codes = codes_of(target.description)
        text = f"{where} answers {listing(codes) or 'another code than expected'}{at_path}"
        if any(code >= 500 for code in codes):
            return Verdict("path_5xx", f"{text}: the application fails; look at its log{said}", patience.answers)
        if 404 in codes:
            return Verdict(
                "path_404", f"{text}: the route is not there (Blueprint not registered?){said}", patience.settings
            )
        return Verdict("path_other", f"{text}: path or matcher of the health check do not fit{said}", patience.settings)
    if target.reason == "Target.Timeout":
        if closed:
            return Verdict(
                "security_group_closed", f"{where} does not answer in time: {closed}{said}", patience.settings
            )
        return Verdict(
            "timeout",
            f"{where} does not answer in time: a security group is closed, the port is wrong, "
            f"or the application hangs{said}",
        )
    if target.reason == "Target.FailedHealthChecks":
        return Verdict(
            "connection_failed",
            f"{where} refuses or breaks the connection: wrong port, or the application does not listen (yet){said}",
            patience.answers,
        )
    if target.reason == "Target.NotInUse":
        return Verdict(
            "not_in_use",
            f"{where} is not used: no listener forwards to the target group, "
            f"or its zone is not enabled on the load balancer{said}",
            patience.settings,
        )
    if target.reason in {"Target.InvalidState", "Target.IpUnusable"}:
        return Verdict("target_unusable", f"{where} cannot be a target: {target.reason}{said}", patience.settings)
    if target.state == "draining":
        return Verdict("draining", f"{where} is being deregistered by somebody{said}", patience.settings)
    if not registered(target):
        return Verdict("not_registered", f"{where} is not registered any more{said}", patience.settings)
    return Verdict("unknown", f"{where} is {target.state} {target.reason}{said}")


def judge_healthy(observation: Observation, patience: Patience = Patience(), path: str = "") -> Judgement:
    """Done when every target is healthy, Hopeless when one cannot heal, else GoOn with the first one's state."""
    if observation.gone:
        return Hopeless(f"task gone: {listing(observation.gone, 2)}")
    verdicts = [diagnose(target, patience, observation.closed, path) for target in observation.targets]
    waiting = [verdict for verdict in verdicts if verdict.cause != "healthy"]
    if not waiting:
        return Done(f"{len(verdicts)} of {len(verdicts)} targets are healthy")
    for verdict in waiting:
        since = observation.failing_since
        if verdict.heals_after is not None and since is not None and observation.elapsed - since >= verdict.heals_after:
            return Hopeless(verdict.text)
    return GoOn(waiting[0].text)


def judge_gone(observation: Observation) -> Judgement:
    """Done when no target is listed any more."""
    left = [str(target) for target in observation.targets if target.reason != "Target.NotRegistered"]
    return GoOn(f"still listed: {listing(left)}") if left else Done("no target is registered")


def cause_of(observation: Observation) -> str:
    """The stable word for why an observation is not healthy; "" when it is."""
    if observation.gone:
        return "task_gone"
    verdicts = (diagnose(target, closed=observation.closed) for target in observation.targets)
    return next((verdict.cause for verdict in verdicts if verdict.cause != "healthy"), "")


def failing_key(observation: Observation) -> tuple[tuple[str, str, str], ...]:
    """Which targets fail, and how: as long as it stays the same, nothing is healing."""
    return tuple(
        (target.id, target.reason, ",".join(map(str, codes_of(target.description))))
        for target in observation.targets
        if target.state not in {"initial", "healthy", "unavailable"}
    )


def gone_tasks(calls: Calls, cluster: str, task_arns: Sequence[str]) -> list[str]:
    """Sentences about tasks that have stopped, stop, or are unknown to ECS."""
    tasks, missing = describe_tasks(calls, cluster, task_arns)
    gone = [f"{short(item['task_arn'])}: {item['reason']}" for item in missing]
    for task in tasks:
        if task.get("desiredStatus") == "STOPPED" or task.get("lastStatus") == "STOPPED":
            gone.append(f"{short(task['taskArn'])} is {task.get('lastStatus')}: {stop_reason(task)}")
    return gone


def closed_group(calls: Calls, load_balancer_groups: Sequence[str], task_groups: Sequence[str], port: int) -> str:
    """Why the tasks' groups do not let the load balancer in; "" when a rule does or may, or when they cannot be read.

    A CIDR or prefix list around the port may contain the load balancer's addresses: that is not called closed.
    """
    try:
        rules = security_group_rules(calls, task_groups)
    except _aws.AwsFailure:
        return ""  # a question that could not be asked must not end the wait
    if admitting(rules, port, load_balancer_groups):
        return ""
    if any(covers_port(rule, port) and not rule_source(rule).startswith("sg-") for rule in rules):
        return ""
    return (
        f"no rule of {listing(task_groups)} admits {listing(load_balancer_groups)} to port {port}, "
        "the ingress rule is missing (is ecs_tasks_sg_id given?)"
    )
