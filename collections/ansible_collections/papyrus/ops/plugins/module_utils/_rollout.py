# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rollout with a verdict: forward to a revision, back to the one that served before (F3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from . import _aws
from . import _rollout_checks as checks
from ._calls import once
from ._ecs_tasks import TaskProblem, describe_task_definition, short
from ._poller import Judgement, Outcome
from ._rollout_checks import Plan, Refused, primary_of
from ._rollout_judge import (
    BREAKER,
    OURSELVES,
    ROLLBACKS,
    Observation,
    Serving,
    explanation,
    judge,
    judge_new,
    judge_old,
    judge_way_back,
    only_new,
    only_old,
    reason_of,
    triggered,
)
from ._rollout_watch import Watcher
from ._rows import json_safe


@dataclass
class Verdict:
    """`result` deployed, rolled_back, stopped, superseded, failed or not_started; `by` who went back.

    `serving` is the task definition that most running tasks have at the end; `record` the service deployment.
    """

    result: str
    task_definition: str
    previous: str = ""
    by: str = ""
    serving: str = ""
    cause: str = ""
    changed: bool = False
    deployment: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)

    def release(self) -> dict[str, str]:
        """As the manifest of the evidence has it."""
        return {
            "result": self.result,
            "by": self.by,
            "task_definition": self.task_definition,
            "serving": self.serving,
            "previous": self.previous,
            "cause": self.cause,
        }

    def text(self) -> str:
        """One sentence."""
        what = self.result.replace("_", " ") + (f" by {self.by}" if self.by else "")
        text = f"{short(self.task_definition)}: {what}; {short(self.serving) or 'no revision'} serves"
        return f"{text}: {self.cause}" if self.cause else text


class Rollout:
    """One rollout of one service. `prepare` reads only; `forward` and `back` change the service and tell the end."""

    def __init__(self, watcher: Watcher) -> None:
        self.watcher = watcher
        self.plan: Plan = watcher.plan
        self.journal = watcher.journal
        self.calls = watcher.calls
        self.service: dict[str, Any] = {}
        self.before: dict[str, Any] = {}
        self.after: dict[str, Any] = {}
        self.request: dict[str, Any] = {}
        self.left: list[dict[str, Any]] = []

    @property
    def previous(self) -> str:
        return str(self.before.get("taskDefinitionArn") or "")

    @property
    def arn(self) -> str:
        return str(self.after.get("taskDefinitionArn") or self.plan.task_definition)

    # Forward

    def prepare(self) -> None:
        """Everything that must hold before anything is changed. Raises Refused; AwsFailure when AWS refuses to say."""
        plan = self.plan
        try:
            self.service = self.watcher.service()
        except TaskProblem as exc:
            raise Refused(f"{exc}. Check cluster, service and region.") from exc
        checks.check_service(self.service)
        checks.check_limit(self.service, plan.timeout)
        self.after = describe_task_definition(self.calls, plan.task_definition)
        checks.check_definition(self.service, self.after)
        current = str(self.service.get("taskDefinition") or "")
        self.before = self.after if current == self.arn else describe_task_definition(self.calls, current)
        checks.check_way_back(self.before, plan.roll_back)
        found = self.watcher.remember(self.service)
        checks.check_in_flight(self.service, found, plan.deployment)
        self.request = checks.request_of(plan, self.service, self.arn)

    def difference(self) -> Any:
        return checks.difference(self.service, self.before, self.after, self.request)

    def forward(self) -> Verdict:
        """After `prepare`. AwsFailure and Refused pass only before the service was changed."""
        verdict = Verdict("failed", self.arn, self.previous)
        primary = primary_of(self.service)
        if self.plan.deployment and primary.get("id") == self.plan.deployment:
            self.journal.event("resumed", f"follows {primary['id']}, which was begun before")
            self.watcher.follow(primary, fresh=False)
        elif not self.request:
            return self._unchanged(verdict)
        else:
            self._begin(verdict)
        verdict.changed = True
        verdict.deployment = self.watcher.own
        try:
            return self._ended(verdict, self.watcher.until(judge, self.plan.timeout))
        except _aws.AwsFailure as exc:
            return self._lost(verdict, exc)

    def _unchanged(self, verdict: Verdict) -> Verdict:
        outcome = self._serving_old(self.arn)
        verdict.result = "deployed" if outcome.ok else "failed"
        verdict.cause = "it served already" if outcome.ok else f"nothing was to be changed, but {outcome.reason}"
        return self._with(verdict, outcome)

    def _begin(self, verdict: Verdict) -> None:
        enabled, rolls_back = checks.breaker_of(self.service)
        alarms, dummy = checks.alarms_of(self.service)
        guards = (
            [f"circuit breaker {'with' if rolls_back else 'without'} rollback"] if enabled else ["no circuit breaker"]
        )
        guards += [f"alarms {', '.join(alarms)}"] if alarms else []
        guards += [f"at most {self.plan.timeout:g} s"] if self.plan.timeout is not None else []
        text = f"rollout of {short(self.arn)} to {self.plan.service} (now {short(self.previous)}): {', '.join(guards)}"
        self.journal.event("begin", text, request=self.request, previous=self.previous)
        self._start(self.request, str(primary_of(self.service).get("id")))

    def _start(self, request: Mapping[str, Any], instead_of: str) -> None:
        """UpdateService, whose answer names the deployment that it began. One that gave no answer is looked for.

        Refused when the primary deployment is no longer the one that this is about.
        """
        now = self.watcher.service()
        there = primary_of(now)
        if there.get("id") != instead_of:
            raise Refused(
                f"{there.get('id')} of {short(str(there.get('taskDefinition')))} has taken the place of {instead_of} "
                "meanwhile: somebody else rolls out, and is left alone."
            )
        known = {str(item.get("id")) for item in now.get("deployments") or []}
        definition = str(request["taskDefinition"])

        def update() -> Mapping[str, Any]:
            answer = self.calls.call(
                "ecs",
                "update_service",
                f"service {self.plan.service} in cluster {self.plan.cluster}",
                hint="Nothing was rolled out; the service is as it was.",
                **request,
            )
            service: Mapping[str, Any] = answer["service"]
            return service

        def lost() -> Mapping[str, Any] | None:
            service = self.watcher.service()
            if not self._is_new(primary_of(service), known, definition):
                return None
            self.journal.event("answer_lost", "UpdateService gave no answer, but its rollout has begun")
            return service

        service = once(update, lost, self.watcher.sleep)
        primary = primary_of(service)
        if not self._is_new(primary, known, definition) and request.get("forceNewDeployment"):
            raise _aws.AwsFailure(
                f"its answer names {primary.get('id')}, no new deployment of {short(definition)}",
                operation="ecs:UpdateService",
                resource=f"service {self.plan.service}",
                hint="Look at the service's deployments.",
            )
        self.watcher.follow(primary)
        self.journal.event("started", f"deployment {self.watcher.own} has begun", deployment=self.watcher.own)

    @staticmethod
    def _is_new(primary: Mapping[str, Any], known: set[str], definition: str) -> bool:
        return bool(primary) and primary.get("id") not in known and primary.get("taskDefinition") == definition

    def _ended(self, verdict: Verdict, outcome: Outcome[Observation]) -> Verdict:
        if outcome.state == "timeout" and outcome.last.status in ROLLBACKS:
            outcome = self.watcher.until(judge, self.plan.back_timeout)  # ECS goes back by itself: let it
        seen = outcome.last
        verdict.record = json_safe(dict(seen.record))
        status = seen.status
        if outcome.ok:
            return self._deployed(verdict)
        if seen.newer and status not in ROLLBACKS:
            verdict.result, verdict.cause = "superseded", f"another rollout overtook it: {seen.newer}"
            return self._look_at_tasks(verdict)
        said = "" if reason_of(seen.record) else outcome.reason
        why = "; ".join(part for part in (said, explanation(seen.record, self.watcher.deaths)) if part)
        if status == "ROLLBACK_SUCCESSFUL":
            verdict.by = triggered(seen.record) or by_words(outcome.reason)
            return self._rolled_back(verdict, why if verdict.by else f"stopped on request; {why}")
        if status in ROLLBACKS:
            verdict.by, verdict.cause = triggered(seen.record), f"the rollback has not succeeded ({status}): {why}"
            return self._look_at_tasks(verdict)
        if outcome.state == "timeout":
            return self._give_up(verdict, f"not deployed within {self.plan.timeout:g} s: {why}")
        if status == "STOPPED" and not triggered(seen.record):
            verdict.result = "stopped"
        return self._give_up(verdict, why)

    def _deployed(self, verdict: Verdict) -> Verdict:
        """SUCCESSFUL: true only when the desired tasks of this very deployment run, and no others."""
        outcome = self._serving(judge_new, self.watcher.own)
        self._with(verdict, outcome)
        if outcome.ok or only_new(outcome.last):
            verdict.result, verdict.cause = "deployed", "" if outcome.ok else outcome.reason
            return verdict
        why = f"ECS calls it SUCCESSFUL, but after {self.plan.settle_timeout:g} s {outcome.reason}"
        return self._give_up(verdict, why)

    def _rolled_back(self, verdict: Verdict, why: str) -> Verdict:
        outcome = self._serving_old(self.previous, self.watcher.own)
        self._with(verdict, outcome)
        verdict.result = "rolled_back" if outcome.ok else "failed"
        verdict.cause = why if outcome.ok else f"{why}; rolled back, but {outcome.reason}"
        return verdict

    def _give_up(self, verdict: Verdict, why: str) -> Verdict:
        """ECS does not go back by itself: go back, where that is wanted and there is another revision, else say why."""
        verdict.cause = why
        if not self.plan.roll_back:
            return self._look_at_tasks(verdict)
        if self.previous == self.arn and not self.watcher.open_now():
            verdict.cause = f"{why}; the same revision served before, so there is none to go back to"
            return self._look_at_tasks(verdict)
        self.journal.event("going_back", f"goes back to {short(self.previous)}: {why}")
        return self._go_back(verdict, why)

    def _lost(self, verdict: Verdict, exc: _aws.AwsFailure) -> Verdict:
        verdict.cause = f"the rollout was begun, but how it ended is not known: {exc}"
        verdict.record = json_safe(dict(self.watcher.last.record))
        return verdict

    # Back

    def _go_back(self, verdict: Verdict, why: str) -> Verdict:
        """By ECS' own rollback while the deployment is open, which leaves running tasks alone; else by UpdateService.

        Tasks that run have the secrets of their start: a release that dies of a drifted secret must not restart them.
        """
        left = self.watcher.own
        try:
            outcome = self._stop() if self.watcher.open_now() and self.watcher.arn else None
            if outcome is None or (not outcome.ok and outcome.last.status not in ROLLBACKS):
                self._roll_out_previous(left)
                outcome = self.watcher.until(judge, self.plan.back_timeout)
            if not outcome.ok:
                verdict.result, verdict.cause = "failed", f"{why}; going back failed: {outcome.reason}"
                return self._look_at_tasks(verdict)
            verdict.by = OURSELVES
            serving = self._serving_old(self.previous, left)
        except Refused as exc:
            verdict.result, verdict.cause = "superseded", f"{why}; not gone back: {exc}"
            return self._look_at_tasks(verdict)
        except _aws.AwsFailure as exc:
            verdict.result, verdict.cause = "failed", f"{why}; going back failed: {exc}"
            return verdict
        self._with(verdict, serving)
        verdict.result = "rolled_back" if serving.ok else "failed"
        verdict.cause = why if serving.ok else f"{why}; gone back, but {serving.reason}"
        return verdict

    def _roll_out_previous(self, left: str) -> None:
        request = {"cluster": self.plan.cluster, "service": self.plan.service, "taskDefinition": self.previous}
        self._start({**request, "forceNewDeployment": True}, left)

    def _stop(self) -> Outcome[Observation] | None:
        """StopServiceDeployment and the wait for its end; None when ECS does not do it."""
        try:
            self.calls.call(
                "ecs",
                "stop_service_deployment",
                f"service deployment {short(self.watcher.arn)}",
                serviceDeploymentArn=self.watcher.arn,
                stopType="ROLLBACK",
            )
        except _aws.AwsFailure as exc:
            self.journal.event("not_stopped", f"ECS does not stop it ({exc.code}: {exc.message})")
            return None
        return self.watcher.until(judge_way_back, self.plan.back_timeout)

    def prepare_back(self) -> str:
        """For `back`: why there is nothing to do, or "". Raises Refused when somebody else's revision is there."""
        try:
            self.service = self.watcher.service()
        except TaskProblem as exc:
            raise Refused(f"{exc}. There is nothing to go back to.") from exc
        self.after = describe_task_definition(self.calls, self.plan.instead_of)
        self.before = describe_task_definition(self.calls, self.plan.task_definition)
        self.left = self.watcher.remember(self.service)
        primary = primary_of(self.service)
        now = str(primary.get("taskDefinition") or self.service.get("taskDefinition") or "")
        if self.previous == self.arn:
            return f"{short(self.arn)} served before as well: there is no other revision to go back to"
        if now == self.previous:
            return f"ECS is at {short(now)} already"
        if now != self.arn:
            raise Refused(
                f"service {self.plan.service} is at {short(now)}, which is neither {short(self.arn)} nor "
                f"{short(self.previous)}: somebody else has rolled out since, and is left alone."
            )
        checks.check_service(self.service)
        checks.check_way_back(self.before, True)
        self.watcher.follow(primary, fresh=False)
        return ""

    def back(self, nothing_to_do: str, why: str) -> Verdict:
        """After `prepare_back`, with its answer."""
        verdict = Verdict("failed", self.arn, self.previous, cause=why)
        if nothing_to_do:
            return self._already(verdict, nothing_to_do, why)
        self.journal.event("begin", f"goes back to {short(self.previous)}: {why}", previous=self.previous)
        verdict.changed, verdict.deployment = True, self.watcher.own
        try:
            self.watcher.until_answered()
        except _aws.AwsFailure as exc:
            return self._lost(verdict, exc)
        return self._go_back(verdict, why)

    def _already(self, verdict: Verdict, nothing_to_do: str, why: str) -> Verdict:
        self.journal.event("nothing_to_do", f"{nothing_to_do}; nothing is changed")
        outcome = self._serving_old(self.previous)
        self._with(verdict, outcome)
        if not outcome.ok:
            verdict.cause = f"{nothing_to_do}, but {outcome.reason}"
        elif self.previous == self.arn:
            verdict.result, verdict.cause = "deployed", f"{nothing_to_do}; {why}"
        else:
            verdict.result, verdict.cause = "rolled_back", f"{nothing_to_do}; {why}"
            back = [item for item in self.left if str(item.get("status")).startswith("ROLLBACK")]
            if back:
                verdict.by = self.watcher.who(max(back, key=lambda item: str(item.get("createdAt"))))
        return verdict

    # What serves

    def _serving(self, judge_it: Callable[[Serving], Judgement], own: str) -> Outcome[Serving]:
        return self.watcher.serving_until(judge_it, own, self.plan.settle_timeout)

    def _serving_old(self, previous: str, own: str = "") -> Outcome[Serving]:
        """Done also when only the end of tasks that died was awaited in vain: their cause is then less complete."""
        outcome = self._serving(lambda seen: judge_old(seen, previous), own)
        return replace(outcome, state="done") if only_old(outcome.last, previous) else outcome

    def _look_at_tasks(self, verdict: Verdict) -> Verdict:
        try:
            seen = self.watcher.tasks.serving(0, self.watcher.own)
        except _aws.AwsFailure as exc:
            verdict.cause += f"; what serves is not known: {exc}"
            return verdict
        verdict.serving, verdict.running = seen.most, dict(seen.running)
        return verdict

    @staticmethod
    def _with(verdict: Verdict, outcome: Outcome[Serving]) -> Verdict:
        verdict.serving, verdict.running = outcome.last.most, dict(outcome.last.running)
        return verdict


def by_words(reason: str) -> str:
    """Who went back by ECS' words alone, where a service deployment could not be read."""
    return BREAKER if "circuit breaker" in reason.lower() else ""
