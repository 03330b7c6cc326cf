# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Follows one deployment of a service: finds its service deployment, looks until it ends, names tasks that die."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from . import _aws
from ._calls import Calls
from ._ecs_tasks import TaskProblem, describe_service, short
from ._poller import Done, GoOn, Hopeless, Judgement, Outcome, poll
from ._rollout_checks import OPEN, Plan, primary_of
from ._rollout_journal import Journal
from ._rollout_judge import ROLLBACKS, Observation, Serving, death_text, triggered
from ._rollout_tasks import TaskWatch, end_of
from ._rows import json_safe

MARGIN = dt.timedelta(seconds=60)
"""AWS may stamp the service deployment and its entry in the service's list at different moments."""

PATIENCE = 300.0
"""Seconds for which AWS may not answer while a rollout is watched."""

PASSING = frozenset({"ThrottlingException", "Throttling", "RequestLimitExceeded", "TooManyRequestsException"})
PASSING_SERVER = frozenset(
    {"ServerException", "InternalFailure", "ServiceUnavailable", "InternalError", "RequestTimeout"}
)
DEATHS_KEPT = 50
EVENTS_KNOWN = 300


class Watcher:
    """Looks at one deployment (`own`, its id in the service's list) of one service.

    `known` are ARNs of service deployments that were there before it began. AWS' times are only compared with AWS'.
    """

    def __init__(
        self,
        calls: Calls,
        plan: Plan,
        journal: Journal,
        tasks: TaskWatch,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.calls = calls
        self.plan = plan
        self.journal = journal
        self.tasks = tasks
        self.clock = clock
        self.sleep = sleep
        self.own = ""
        self.definition = ""
        self.began: dt.datetime | None = None
        self.arn = ""
        self.known: set[str] = set()
        self.deaths: list[dict[str, Any]] = []
        self.last = Observation("")
        self._events: list[str] = []
        self._since = clock()
        self._silent_since: float | None = None
        self._stopped_looks = 0
        self._asked = 0

    # What is there before

    def service(self) -> dict[str, Any]:
        return describe_service(self.calls, self.plan.cluster, self.plan.service)

    def listed(self, after: dt.datetime | None, statuses: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Service deployments created after a moment of AWS' clock, as ListServiceDeployments gives them."""
        wanted: dict[str, Any] = {"status": list(statuses)} if statuses else {}
        if after is not None:
            wanted["createdAt"] = {"after": after}
        found: list[dict[str, Any]] = []
        for page in self.calls.pages(
            "ecs",
            "list_service_deployments",
            f"service {self.plan.service} in cluster {self.plan.cluster}",
            token="nextToken",
            hint="Check that ecs:ListServiceDeployments is allowed: the verdict comes from there.",
            cluster=self.plan.cluster,
            service=self.plan.service,
            maxResults=100,
            **wanted,
        ):
            found.extend(page.get("serviceDeployments") or [])
        return found

    def remember(self, service: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Everything that was there before: service deployments (returned), events, stopped tasks."""
        began = primary_of(service).get("createdAt")
        found = self.listed(began - MARGIN if began else None)
        self.known = {str(item.get("serviceDeploymentArn")) for item in found}
        if service.get("currentServiceDeployment"):
            self.known.add(str(service["currentServiceDeployment"]))
        self._events = [str(event.get("id")) for event in service.get("events") or []]
        self.tasks.begin()
        return found

    def follow(self, deployment: Mapping[str, Any], *, fresh: bool = True) -> None:
        """From now on look at this entry of the service's list of deployments; not `fresh` when it was there before."""
        if not fresh:
            self.known = set()
        self.own = str(deployment.get("id") or "")
        self.definition = str(deployment.get("taskDefinition") or "")
        self.began = deployment.get("createdAt")
        self.arn = ""
        self.last = Observation(self.own)
        self._since = self.clock()
        self._stopped_looks = 0

    # Looking

    def until(self, judge: Callable[[Observation], Judgement], timeout: float | None) -> Outcome[Observation]:
        """Looks until the judge has decided. AwsFailure when AWS refuses, or has not answered for PATIENCE seconds."""
        return poll(
            self.observe,
            judge,
            timeout=float("inf") if timeout is None else timeout,
            interval=self.plan.interval,
            clock=self.clock,
            sleep=self.sleep,
            on_observation=self._tell,
        )

    def observe(self) -> Observation:
        """One look; its calls: DescribeServices, DescribeServiceDeployments, ListTasks, DescribeTasks of new ones."""
        self._asked = len(self.calls.request_ids)
        try:
            seen = self._look()
        except _aws.AwsFailure as exc:
            return Observation(self.own, self.last.record, self.last.service, silence=self._silence(exc))
        except TaskProblem as exc:
            raise _aws.AwsFailure(f"{exc}: it was deleted while it was rolled out", missing=True) from exc
        self._silent_since = None
        self.last = seen
        return seen

    def _silence(self, exc: _aws.AwsFailure) -> str:
        """Why AWS did not answer. Raises what asking again does not help, or has not helped for PATIENCE seconds."""
        now = self.clock()
        self._silent_since = now if self._silent_since is None else self._silent_since
        if not passing(exc) or now - self._silent_since > PATIENCE:
            raise exc
        return exc.code or exc.message

    def _look(self) -> Observation:
        service = self.service()
        record = self._record()
        self._tell_events(service)
        self._tell_deaths()
        newer = ""
        if primary_of(service).get("id") != self.own and record.get("status") not in ROLLBACKS:
            newer = self._newer(record)
        if record.get("status") == "STOPPED" and not triggered(record):
            self._stopped_looks += 1
            newer = newer or self._newer(record) or self._other_primary(service)
        unlisted = 0.0 if record else self.clock() - self._since
        return Observation(
            self.own,
            record,
            service,
            newer=newer,
            unlisted=unlisted,
            stopped_looks=self._stopped_looks,
            elapsed=self.journal.elapsed,
        )

    def _record(self) -> dict[str, Any]:
        """The service deployment, found once; {} while ECS does not list it (UpdateService does not name it)."""
        if not self.arn:
            self.arn = self._identify()
            if not self.arn:
                return {}
            self.journal.event("identified", service_deployment=self.arn, deployment=self.own)
        found = self._described(self.arn)
        record = dict(found[0]) if found else dict(self.last.record)
        if not self.last.record and (record.get("alarms") or {}).get("status") == "DISABLED":
            # https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
            names = ", ".join(record["alarms"].get("alarmNames") or [])
            if names:
                text = f"ECS does not watch the alarms {names} during this deployment: one is in ALARM already"
                self.journal.event("alarms_not_watched", text)
        return record

    def _identify(self) -> str:
        """The ARN of the one that was not there before, deploys this revision, and was created when this one was.

        Never the service's currentServiceDeployment: it may still name the one before.
        """
        new = [item for item in self._candidates() if item.get("targetServiceRevisionArn")][:20]
        if not new:
            return ""
        revisions = (
            self.calls.call(
                "ecs",
                "describe_service_revisions",
                f"{len(new)} revisions of service {self.plan.service}",
                hint="Check that ecs:DescribeServiceRevisions is allowed.",
                serviceRevisionArns=sorted({str(item["targetServiceRevisionArn"]) for item in new}),
            ).get("serviceRevisions")
            or []
        )
        definitions = {str(item.get("serviceRevisionArn")): item.get("taskDefinition") for item in revisions}
        mine = [item for item in new if definitions.get(str(item["targetServiceRevisionArn"])) == self.definition]
        return str(min(mine, key=self._distance)["serviceDeploymentArn"]) if mine else ""

    def _candidates(self) -> list[dict[str, Any]]:
        found = self.listed(self.began - MARGIN if self.began else None)
        return [item for item in found if str(item.get("serviceDeploymentArn")) not in self.known]

    def _distance(self, item: Mapping[str, Any]) -> float:
        created = item.get("createdAt")
        return abs((created - self.began).total_seconds()) if created and self.began else float("inf")

    def _newer(self, record: Mapping[str, Any]) -> str:
        """A service deployment that began after this one, by AWS' clock, with its state; "" for none."""
        began = record.get("createdAt") or self.began
        for item in self._candidates():
            arn, created = str(item.get("serviceDeploymentArn")), item.get("createdAt")
            if self.arn and arn != self.arn and (created is None or began is None or created > began):
                return f"{arn} ({item.get('status')})"
        return ""

    def _other_primary(self, service: Mapping[str, Any]) -> str:
        """Of a service whose deployment was stopped, not rolled back: the one that is there instead."""
        primary = primary_of(service)
        other = primary.get("id") != self.own
        return f"{primary.get('id')} of {short(str(primary.get('taskDefinition')))}" if primary and other else ""

    def until_answered(self) -> Observation:
        """One look that AWS answered."""
        return self.until(lambda seen: GoOn(seen.silence) if seen.silence else Done("answered"), None).last

    def who(self, listed: Mapping[str, Any]) -> str:
        """Who ended a service deployment that ListServiceDeployments gave; "" when neither breaker nor alarm did."""
        found = self._described(str(listed.get("serviceDeploymentArn")))
        return triggered(found[0]) if found else ""

    def _described(self, arn: str) -> list[dict[str, Any]]:
        answer = self.calls.call(
            "ecs", "describe_service_deployments", f"service deployment {short(arn)}", serviceDeploymentArns=[arn]
        )
        return list(answer.get("serviceDeployments") or [])

    def open_now(self) -> bool:
        """Whether ECS still works on the deployment."""
        return self.last.status in OPEN

    # What really runs

    def serving_until(self, judge: Callable[[Serving], Judgement], own: str, timeout: float) -> Outcome[Serving]:
        """Looks at the running tasks until the judge is content or the time is over."""

        def observe() -> Serving:
            self._asked = len(self.calls.request_ids)
            try:
                service = self.service()
                seen = self.tasks.serving(int(service.get("desiredCount") or 0), own)
                self._tell_deaths()
            except _aws.AwsFailure as exc:
                return Serving(0, {}, 0, silence=self._silence(exc))
            self._silent_since = None
            return replace(seen, unsettled=unsettled(service), ending=self.tasks.ending)

        def tell(_number: int, seen: Serving, judgement: Judgement) -> None:
            self.journal.look(
                f"serving: {judgement.reason}", {"running": dict(seen.running), "desired": seen.desired}, self._ids()
            )

        return poll(
            observe,
            judge,
            timeout=timeout,
            interval=self.plan.interval,
            clock=self.clock,
            sleep=self.sleep,
            on_observation=tell,
        )

    # Telling

    def _ids(self) -> list[str]:
        """Request ids of this look, which are then no longer kept anywhere else."""
        ids = self.calls.request_ids[self._asked :]
        del self.calls.request_ids[self._asked :]
        return ids

    def _tell(self, _number: int, seen: Observation, judgement: Judgement) -> None:
        word = "done" if isinstance(judgement, Done) else "hopeless" if isinstance(judgement, Hopeless) else "go on"
        record, rollout = seen.record, seen.rollout
        breaker = record.get("deploymentCircuitBreaker") or {}
        target = counts(record.get("targetServiceRevision") or {})
        source = [counts(item) for item in record.get("sourceServiceRevisions") or []]
        data = {
            "status": seen.status,
            "rollout_state": str(rollout.get("rolloutState") or ""),
            "target": target,
            "source": source,
            "failed_tasks": int(breaker.get("failureCount") or rollout.get("failedTasks") or 0),
            "threshold": int(breaker.get("threshold") or 0),
            "alarms": [str(name) for name in (record.get("alarms") or {}).get("triggeredAlarmNames") or []],
            "judgement": word,
        }
        self.journal.look(f"{judgement.reason}{numbers(seen, target, source, data)}", data, self._ids())

    def _tell_events(self, service: Mapping[str, Any]) -> None:
        new = [event for event in service.get("events") or [] if str(event.get("id")) not in self._events]
        for event in reversed(new):
            message = str(event.get("message") or "")
            self.journal.event("service_event", f"ECS: {message}", created_at=json_safe(event.get("createdAt")))
        self._events = [*(str(event.get("id")) for event in new), *self._events][:EVENTS_KNOWN]

    def _tell_deaths(self) -> None:
        for death in self.tasks.new_deaths(self.own):
            if len(self.deaths) < DEATHS_KEPT:
                self.deaths.append(death)
            self.journal.event("task_stopped", death_text(death), **{k: v for k, v in death.items() if k != "logs"})
            for log in death["logs"]:
                if log["note"]:
                    self.journal.event("log", "\n".join(end_of(log)), task_arn=death["task_arn"], **log)
        for death, log in self.tasks.new_lines():
            self.journal.event("log", "\n".join(end_of(log)), task_arn=death["task_arn"], **log)


def unsettled(service: Mapping[str, Any]) -> tuple[str, ...]:
    """Deployments in the service's list that are under way, or were left and are not gone yet."""
    return tuple(
        f"{item.get('id')} ({item.get('status')}, {item.get('rolloutState') or 'no state'})"
        for item in service.get("deployments") or []
        if item.get("status") != "PRIMARY" or item.get("rolloutState") == "IN_PROGRESS"
    )


def counts(revision: Mapping[str, Any]) -> dict[str, Any]:
    """Requested, running and pending tasks of a service revision."""
    return {
        "arn": str(revision.get("arn") or ""),
        "requested": int(revision.get("requestedTaskCount") or 0),
        "running": int(revision.get("runningTaskCount") or 0),
        "pending": int(revision.get("pendingTaskCount") or 0),
    }


def numbers(
    seen: Observation, new: Mapping[str, Any], old: Sequence[Mapping[str, Any]], data: Mapping[str, Any]
) -> str:
    """`; new 0/1 running, 1 pending; old 1 running; failures 2 of 3`."""
    if not seen.record:
        return ""
    text = f"; new {new['running']}/{new['requested']} running, {new['pending']} pending"
    if old:
        text += f"; old {sum(int(item['running']) for item in old)} running"
    if data["threshold"] or data["failed_tasks"]:
        text += f"; failures {data['failed_tasks']}" + (f" of {data['threshold']}" if data["threshold"] else "")
    return text


def passing(failure: _aws.AwsFailure) -> bool:
    """Whether asking again may help: throttled, AWS' own fault, or AWS was not reached."""
    if failure.code in PASSING | PASSING_SERVER:
        return True
    return not failure.request_id and failure.code.endswith(("Error", "Timeout")) and "Credentials" not in failure.code
