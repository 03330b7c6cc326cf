# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What one look at a rollout means: the judge of the wait, who went back and why, what really serves; pure (F3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._ecs_tasks import short
from ._poller import Done, GoOn, Hopeless, Judgement
from ._rollout_checks import primary_of

BREAKER = "deployment circuit breaker"
OURSELVES = "papyrus.ops"
ROLLBACKS = ("ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")
ENDED = ("SUCCESSFUL", "STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED")
STOPPED_LOOKS = 3
"""Looks at a stopped deployment before nobody is said to have overtaken it: ListServiceDeployments may lag behind."""
GOING_BACK = "rolling back to"
"""Part of rolloutStateReason: https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_service_deployment_events.html"""


@dataclass(frozen=True)
class Observation:
    """One look. `record` as DescribeServiceDeployments gives it, {} while ECS does not list it; `own` is the id of
    the deployment that was begun (`ecs-svc/…`); `newer` names one that was begun after it; `silence` why AWS did not
    answer; `unlisted` seconds for which `record` has been looked for; `stopped_looks` counts looks at a stopped one.
    """

    own: str
    record: Mapping[str, Any] = field(default_factory=dict)
    service: Mapping[str, Any] = field(default_factory=dict)
    newer: str = ""
    silence: str = ""
    unlisted: float = 0.0
    stopped_looks: int = 0
    elapsed: float = 0.0

    @property
    def rollout(self) -> Mapping[str, Any]:
        """The deployment's own entry in the service's list; {} when ECS does not list it (any more)."""
        deployments: Sequence[Mapping[str, Any]] = self.service.get("deployments") or []
        return next((item for item in deployments if item.get("id") == self.own), {})

    @property
    def status(self) -> str:
        """The service deployment's, else what the service's list of deployments says in the same words."""
        if self.record:
            return str(self.record.get("status") or "")
        return _status_of_rollout(self.rollout, primary_of(self.service), self.own)


def _status_of_rollout(rollout: Mapping[str, Any], primary: Mapping[str, Any], own: str) -> str:
    state = str(rollout.get("rolloutState") or "")
    back = primary.get("id") != own and GOING_BACK in str(primary.get("rolloutStateReason") or "")
    if back:
        return "ROLLBACK_SUCCESSFUL" if primary.get("rolloutState") == "COMPLETED" else "ROLLBACK_IN_PROGRESS"
    if state == "COMPLETED":
        return "SUCCESSFUL"
    if state == "FAILED" and primary.get("id") == own:
        return "STOPPED"
    return "IN_PROGRESS" if state else ""


def judge(seen: Observation, patience: float = 60.0) -> Judgement:
    """Done when the deployment succeeded, Hopeless when it ended otherwise, GoOn while ECS works, also on its way back.

    `patience` in seconds: how long ECS may not list a deployment that its service does.
    """
    if seen.silence:
        return GoOn(f"AWS did not answer: {seen.silence}")
    status = str(seen.service.get("status") or "ACTIVE")
    if status != "ACTIVE":
        return Hopeless(f"the service is {status}")
    state = seen.status
    if not seen.record and state in ENDED and seen.unlisted < patience:
        return GoOn(f"{state}, but ECS does not list the service deployment yet")
    if state == "SUCCESSFUL":
        return Done("SUCCESSFUL")
    if seen.newer and state not in ROLLBACKS:
        return Hopeless(f"superseded by {seen.newer}")
    if state == "STOPPED" and not triggered(seen.record) and seen.record and seen.stopped_looks < STOPPED_LOOKS:
        return GoOn("STOPPED; looking for who overtook it")
    if state in ENDED:
        return Hopeless(f"{state}: {reason_of(seen.record) or _rollout_reason(seen)}")
    return GoOn(f"{state or 'not listed yet'}{_waiting_for(seen.record)}")


def judge_way_back(seen: Observation) -> Judgement:
    """Of a deployment that was asked to go back: Done when it has."""
    if not seen.silence and seen.status == "ROLLBACK_SUCCESSFUL":
        return Done("ROLLBACK_SUCCESSFUL")
    judged = judge(seen)
    return Hopeless("it succeeded before it could be stopped") if isinstance(judged, Done) else judged


def _waiting_for(record: Mapping[str, Any]) -> str:
    hooks = [
        f"{hook.get('targetType') or 'AWS_LAMBDA'} {hook.get('hookId') or hook.get('targetArn')} {hook.get('status')}"
        for hook in record.get("lifecycleHookDetails") or []
        if hook.get("status") in {"AWAITING_ACTION", "IN_PROGRESS"}
    ]
    stage = str(record.get("lifecycleStage") or "")
    alarms = record.get("alarms") or {}
    baking = _all_new(record) and alarms.get("status") == "MONITORING" and alarms.get("alarmNames")
    return "".join(
        [
            f", {stage}" if stage else "",
            f", lifecycle hook {', '.join(hooks)}" if hooks else "",
            f", bake time of the alarms {', '.join(alarms['alarmNames'])}" if baking else "",
        ]
    )


def _all_new(record: Mapping[str, Any]) -> bool:
    """Whether the new tasks run and the old ones are gone, as far as the service deployment says."""
    target: Mapping[str, Any] = record.get("targetServiceRevision") or {}
    old: Sequence[Mapping[str, Any]] = record.get("sourceServiceRevisions") or []
    wanted = int(target.get("requestedTaskCount") or 0)
    return 0 < wanted <= int(target.get("runningTaskCount") or 0) and not any(
        item.get("runningTaskCount") or item.get("pendingTaskCount") for item in old
    )


def _rollout_reason(seen: Observation) -> str:
    own = str(seen.rollout.get("rolloutStateReason") or "")
    return own or str(primary_of(seen.service).get("rolloutStateReason") or "") or "ECS gives no reason"


def triggered(record: Mapping[str, Any]) -> str:
    """What ended the deployment: BREAKER, "alarm <names>", or "" when neither did."""
    alarms, breaker = record.get("alarms") or {}, record.get("deploymentCircuitBreaker") or {}
    names = ", ".join(str(name) for name in alarms.get("triggeredAlarmNames") or [])
    by_alarm = f"alarm {names}" if names else ""
    if not names and alarms.get("status") == "TRIGGERED":
        by_alarm = f"alarm (one of {', '.join(map(str, alarms.get('alarmNames') or [])) or 'those of the service'})"
    by_breaker = BREAKER if breaker.get("status") == "TRIGGERED" else ""
    if by_alarm and by_breaker:
        return by_alarm if "circuit breaker" not in reason_of(record).lower() else by_breaker
    return by_breaker or by_alarm


def reason_of(record: Mapping[str, Any]) -> str:
    """ECS' own words: why it went back, else why the deployment is as it is."""
    return str((record.get("rollback") or {}).get("reason") or record.get("statusReason") or "")


def explanation(record: Mapping[str, Any], deaths: Sequence[Mapping[str, Any]]) -> str:
    """The cause in one line: ECS' reason with its count, then how the first task died and its last log line."""
    parts = [reason_of(record).rstrip(".")]
    breaker = record.get("deploymentCircuitBreaker") or {}
    if breaker.get("status") == "TRIGGERED" and breaker.get("threshold"):
        parts.append(f"{breaker.get('failureCount', 0)} failures, threshold {breaker['threshold']}")
    names = (record.get("alarms") or {}).get("triggeredAlarmNames") or []
    if names:
        parts.append(f"in ALARM: {', '.join(map(str, names))}")
    if deaths:
        parts.append(death_text(deaths[0]))
    return "; ".join(part for part in parts if part)


def death_text(death: Mapping[str, Any]) -> str:
    """`task 0a1b… stopped: EssentialContainerExited; …; its log ends: …`."""
    text = f"task {short(str(death.get('task_arn')))} stopped: {death.get('reason')}"
    lines = [line for log in death.get("logs") or [] for line in log.get("lines") or [] if str(line).strip()]
    return f"{text}; its log ends: {lines[-1]}" if lines else text


@dataclass(frozen=True)
class Serving:
    """What runs. `running` task definition → RUNNING tasks; `own` those of the deployment in question; `unsettled`
    names deployments that ECS still lists as under way or as left; `ending` counts tasks of the deployment in question
    that die and have not ended; `silence` why AWS did not answer.
    """

    desired: int
    running: Mapping[str, int]
    own: int
    unsettled: tuple[str, ...] = ()
    ending: int = 0
    silence: str = ""

    @property
    def total(self) -> int:
        return sum(self.running.values())

    @property
    def most(self) -> str:
        """The task definition that most running tasks have; "" when none runs."""
        return max(self.running, key=lambda arn: self.running[arn], default="")

    def text(self) -> str:
        parts = [f"{number} × {short(arn)}" for arn, number in sorted(self.running.items())]
        return f"{', '.join(parts) or 'no task'} running, {self.desired} desired"


def only_new(seen: Serving) -> bool:
    """Whether the desired tasks of the deployment run, and no others."""
    return not seen.silence and seen.own >= seen.desired and seen.total == seen.own


def judge_new(seen: Serving) -> Judgement:
    """As `only_new`, and ECS lists no other deployment any more: what asks next shall see a service at rest."""
    if seen.silence:
        return GoOn(f"AWS did not answer: {seen.silence}")
    if only_new(seen) and seen.unsettled:
        return GoOn(f"{seen.text()}; ECS still lists {', '.join(seen.unsettled)}")
    if only_new(seen):
        return Done(seen.text())
    return GoOn(f"{seen.own} of {seen.desired} tasks of the deployment run; {seen.text()}")


def only_old(seen: Serving, previous: str) -> bool:
    """Whether the desired tasks of the previous revision run, and none of the deployment that was left."""
    old = seen.running.get(previous, 0)
    return not seen.silence and seen.own == 0 and old >= seen.desired and seen.total == old


def judge_old(seen: Serving, previous: str) -> Judgement:
    """As `only_old`, and every task that died has ended, so that the verdict can say why."""
    if seen.silence:
        return GoOn(f"AWS did not answer: {seen.silence}")
    if only_old(seen, previous) and seen.ending:
        return GoOn(f"{seen.text()}; the end of {seen.ending} failed is awaited, for its cause")
    if only_old(seen, previous):
        return Done(seen.text())
    return GoOn(f"{seen.running.get(previous, 0)} of {seen.desired} tasks of {short(previous)} run; {seen.text()}")
