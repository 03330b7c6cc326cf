"""Service deployments and revisions: the lasting record of each rollout, beside the list of a service's deployments."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox import emulator
from sandbox.behaviours import behaviour

Service = dict[str, Any]
Deployment = dict[str, Any]
Record = dict[str, Any]
KEPT = 100
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceDeployments.html
MOST_DESCRIBED = 20
OPEN = ("PENDING", "IN_PROGRESS", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html
STOPPING = ("STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")


@dataclass(frozen=True)
class Monitor:
    """What ends a rollout: its member of a service deployment, its name in rolloutStateReason, and its reasons."""

    member: str
    name: str
    failed: str
    exceeded: str


BREAKER = Monitor(
    "deploymentCircuitBreaker",
    "ECS deployment circuit breaker",
    "tasks failed to start",
    "the circuit breaker threshold was exceeded.",
)
ALARMS = Monitor("alarms", "ECS deployment alarms", "alarm detected", "a CloudWatch alarm went into the ALARM state.")


class ServiceDeployments:
    """Records lie with their service (`_service_deployments`, `_service_revisions`), so that they are saved with it."""

    def __init__(self, ecs: Any) -> None:
        self._ecs = ecs

    def install(self, stop: Callable[[Service, Record], bool]) -> None:
        """`stop` asks the scheduler for the way back; false when there is none."""
        self._stop_deployment = stop
        self._ecs._ACTION_MAP.update(
            ListServiceDeployments=self.listed,
            DescribeServiceDeployments=self.describe,
            DescribeServiceRevisions=self.describe_revisions,
            StopServiceDeployment=self.stop,
        )

    def follow(self, service: Service, primary: Deployment) -> bool:
        """Open a record for a primary deployment that has none: whether it is new."""
        if "_service_deployment" in primary:
            return False
        records = service.setdefault("_service_deployments", [])
        current = service.get("_current_revision")
        for record in records:
            if record["status"] in OPEN:
                new_deployment_stops_the_last(self, record)
        revision = self._new_revision(service, primary)
        record = {
            "serviceDeploymentArn": self._arn(service, "service-deployment"),
            "serviceArn": service["serviceArn"],
            "clusterArn": service["clusterArn"],
            "createdAt": emulator.now(),
            "startedAt": emulator.now(),
            "updatedAt": emulator.now(),
            "sourceServiceRevisions": [_revision_counts(current)] if current else [],
            "targetServiceRevision": _revision_counts(revision),
            "status": "IN_PROGRESS",
            "deploymentConfiguration": copy.deepcopy(service.get("deploymentConfiguration") or {}),
            "deploymentCircuitBreaker": {"status": "DISABLED", "failureCount": 0, "threshold": 0},
        }
        primary["_service_deployment"] = record["serviceDeploymentArn"]
        primary["_service_revision"] = revision
        service["_service_deployments"] = [record, *records][:KEPT]
        return True

    def update(self, service: Service, threshold: int) -> None:
        """Counts of all records that are open."""
        deployments = service.get("deployments", [])
        counts = {d.get("_service_revision"): d for d in deployments}
        breaker = (service.get("deploymentConfiguration") or {}).get("deploymentCircuitBreaker") or {}
        for record in service.get("_service_deployments", []):
            if record["status"] not in OPEN:
                continue
            for entry in [record["targetServiceRevision"], *record["sourceServiceRevisions"]]:
                deployment = counts.get(entry["arn"], {})
                entry["requestedTaskCount"] = deployment.get("desiredCount", 0)
                entry["runningTaskCount"] = deployment.get("runningCount", 0)
                entry["pendingTaskCount"] = deployment.get("pendingCount", 0)
            own = counts.get(record["targetServiceRevision"]["arn"], {})
            if breaker.get("enable"):
                triggered = record["deploymentCircuitBreaker"]["status"] == "TRIGGERED"
                record["deploymentCircuitBreaker"] = {
                    "status": "TRIGGERED" if triggered else "MONITORING",
                    "failureCount": own.get("failedTasks", 0),
                    "threshold": threshold,
                }

    def completed(self, service: Service, primary: Deployment) -> None:
        """The primary deployment is steady: its rollout succeeded, or the way back to it did."""
        service["_current_revision"] = primary.get("_service_revision")
        for record in service.get("_service_deployments", []):
            if record["status"] == "ROLLBACK_IN_PROGRESS":
                self.close(record, "ROLLBACK_SUCCESSFUL", record["statusReason"])
            elif record["serviceDeploymentArn"] == primary.get("_service_deployment") and record["status"] in OPEN:
                for monitor in (BREAKER, ALARMS):
                    if record.get(monitor.member, {}).get("status") == "MONITORING":
                        record[monitor.member]["status"] = "MONITORING_COMPLETE"
                self.close(record, "SUCCESSFUL", None)

    def broken(self, service: Service, failed: Deployment, back_to: Deployment | None, monitor: Monitor) -> None:
        """The circuit breaker or an alarm ended a rollout."""
        record = self.of(service, failed)
        if record is None:
            return
        record[monitor.member]["status"] = "TRIGGERED"
        if monitor is BREAKER:
            record[monitor.member]["failureCount"] = failed.get("failedTasks", 0)
        if back_to is None:
            self.close(record, "STOPPED", monitor.exceeded[0].upper() + monitor.exceeded[1:])
        else:
            self._roll_back(record, f"Service deployment rolled back because {monitor.exceeded}", back_to)

    def rollback_requested(self, service: Service, primary: Deployment) -> bool:
        record = self.of(service, primary)
        return record is not None and record["status"] == "ROLLBACK_REQUESTED"

    def roll_back(self, service: Service, stopped: Deployment, back_to: Deployment) -> None:
        """Somebody stopped a rollout."""
        record = self.of(service, stopped)
        if record is not None:
            self._roll_back(record, record["statusReason"], back_to)

    def of(self, service: Service, deployment: Deployment) -> Record | None:
        arn = deployment.get("_service_deployment")
        return next((r for r in service.get("_service_deployments", []) if r["serviceDeploymentArn"] == arn), None)

    def _roll_back(self, record: Record, reason: str, back_to: Deployment) -> None:
        record["status"], record["statusReason"] = "ROLLBACK_IN_PROGRESS", reason
        record["updatedAt"] = emulator.now()
        record["rollback"] = {
            "reason": reason,
            "startedAt": emulator.now(),
            "serviceRevisionArn": back_to.get("_service_revision", ""),
        }

    # API

    def listed(self, data: dict[str, Any]) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html"""
        ecs = self._ecs
        name = ecs._resolve_service_ref(data.get("service", ""))
        cluster = ecs._resolve_cluster_name(data.get("cluster") or (name and name[1]) or "default")
        service = ecs._services.get(f"{cluster}/{name[0]}") if name else None
        if service is None:
            return emulator.json_error("ServiceNotFoundException", "Service not found.")
        records, wanted = service.get("_service_deployments", []), data.get("status")
        found = deployments_created(deployments_in_states(records, wanted), data.get("createdAt") or {})
        return emulator.json_response({"serviceDeployments": [_brief(record) for record in found]})

    def describe(self, data: dict[str, Any]) -> Any:
        arns = data.get("serviceDeploymentArns") or []
        if len(arns) > MOST_DESCRIBED:
            return emulator.json_error("InvalidParameterException", f"At most {MOST_DESCRIBED} ARNs can be described.")
        records = {r["serviceDeploymentArn"]: r for r in self._all("_service_deployments")}
        found = [_shown(records[arn]) for arn in arns if arn in records]
        return emulator.json_response(
            {"serviceDeployments": found, "failures": unknown_arns_are_missing(arns, records)}
        )

    def stop(self, data: dict[str, Any]) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_StopServiceDeployment.html"""
        arn = data.get("serviceDeploymentArn", "")
        for service in list(self._ecs._services.values()):
            for record in service.get("_service_deployments", []):
                if record["serviceDeploymentArn"] == arn:
                    if (text := ended_deployment(record)) is not None:
                        return emulator.json_error("ConflictException", text)
                    if not stop_by_rollback(self, service, record):
                        text = "There is no previous service revision to roll back to."
                        return emulator.json_error("ConflictException", text)
                    return emulator.json_response({"serviceDeploymentArn": arn})
        return emulator.json_error("ServiceDeploymentNotFoundException", "The service deployment was not found.")

    def ask_back(self, service: Service, record: Record) -> bool:
        return self._stop_deployment(service, record)

    def describe_revisions(self, data: dict[str, Any]) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceRevisions.html"""
        arns = data.get("serviceRevisionArns") or []
        revisions = {r["serviceRevisionArn"]: r for r in self._all("_service_revisions")}
        found = [_shown(revisions[arn]) for arn in arns if arn in revisions]
        return emulator.json_response(
            {"serviceRevisions": found, "failures": unknown_arns_are_missing(arns, revisions)}
        )

    def _all(self, key: str) -> list[Record]:
        return [record for service in list(self._ecs._services.values()) for record in service.get(key, [])]

    def _new_revision(self, service: Service, deployment: Deployment) -> str:
        definition = self._ecs._task_defs.get(self._ecs._resolve_td_key(deployment["taskDefinition"])) or {}
        images = [
            {
                "containerName": container["name"],
                "image": container["image"],
                **({"imageDigest": container["image"].partition("@")[2]} if "@" in container["image"] else {}),
            }
            for container in definition.get("containerDefinitions", [])
        ]
        arn = self._arn(service, "service-revision")
        revision = {
            "serviceRevisionArn": arn,
            "serviceArn": service["serviceArn"],
            "clusterArn": service["clusterArn"],
            "taskDefinition": deployment["taskDefinition"],
            "launchType": service.get("launchType"),
            "platformVersion": service.get("platformVersion") or "1.4.0",
            "platformFamily": "Linux",
            "loadBalancers": copy.deepcopy(service.get("loadBalancers") or []),
            "networkConfiguration": copy.deepcopy(service.get("networkConfiguration") or {}),
            "containerImages": images,
            "createdAt": emulator.now(),
        }
        service["_service_revisions"] = [revision, *service.get("_service_revisions", [])][:KEPT]
        return arn

    def _arn(self, service: Service, kind: str) -> str:
        start, _, path = service["serviceArn"].partition(":service/")
        number = "".join(secrets.choice("0123456789") for _ in range(19))
        tail = number if kind == "service-revision" else secrets.token_urlsafe(16)[:21].replace("_", "-")
        return f"{start}:{kind}/{path}/{tail}"

    def close(self, record: Record, status: str, reason: str | None) -> None:
        record["status"] = status
        record["finishedAt"] = record["updatedAt"] = emulator.now()
        if status == "STOPPED":
            record["stoppedAt"] = record["finishedAt"]
        if reason:
            record["statusReason"] = reason


@behaviour("ecs")
def new_deployment_stops_the_last(records: ServiceDeployments, record: Record) -> None:
    """A service deployment that the next one overtakes is STOPPED.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-deployment.html
    """
    records.close(record, "STOPPED", "Superseded by a new service deployment.")


@behaviour("ecs", otherwise=lambda records, _: records)
def deployments_in_states(records: list[Record], wanted: list[str] | None) -> list[Record]:
    """ListServiceDeployments gives a service's deployments, the newest first, in the states that are asked for.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html
    """
    return [record for record in records if not wanted or record["status"] in wanted]


@behaviour("ecs", otherwise=lambda records, _: records)
def deployments_created(records: list[Record], wanted: dict[str, Any]) -> list[Record]:
    """ListServiceDeployments gives those that were created after and before the moments that are asked for.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListServiceDeployments.html (createdAt)
    """
    after, before = emulator.epoch(wanted.get("after") or 0), wanted.get("before")
    last = emulator.epoch(before) if before else float("inf")
    return [record for record in records if after <= emulator.epoch(record["createdAt"]) <= last]


@behaviour("ecs", otherwise=lambda *_: [])
def unknown_arns_are_missing(arns: list[str], known: dict[str, Any]) -> list[dict[str, str]]:
    """DescribeServiceDeployments and DescribeServiceRevisions name ARNs that do not exist as failures, MISSING.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceDeployments.html
    """
    return [{"arn": arn, "reason": "MISSING"} for arn in arns if arn not in known]


@behaviour("ecs", code="ConflictException")
def ended_deployment(record: Record) -> str | None:
    """A service deployment that is over cannot be stopped.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html
    """
    if record["status"] in (*OPEN, *STOPPING):
        return None
    return f"The service deployment is in the {record['status']} state and cannot be stopped."


@behaviour("ecs", code="ConflictException", otherwise=lambda *_: True)
def stop_by_rollback(records: ServiceDeployments, service: Service, record: Record) -> bool:
    """StopServiceDeployment takes a deployment under way back to the previous revision: ROLLBACK_REQUESTED and on.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stop-service-deployment.html
    """
    return record["status"] in STOPPING or records.ask_back(service, record)


def _revision_counts(arn: str) -> dict[str, Any]:
    return {"arn": arn, "requestedTaskCount": 0, "runningTaskCount": 0, "pendingTaskCount": 0}


def _brief(record: Record) -> dict[str, Any]:
    names = (
        "serviceDeploymentArn",
        "serviceArn",
        "clusterArn",
        "createdAt",
        "startedAt",
        "finishedAt",
        "status",
        "statusReason",
    )
    brief = {name: record[name] for name in names if name in record}
    brief["targetServiceRevisionArn"] = record["targetServiceRevision"]["arn"]
    return _shown(brief)


def _shown(record: Record) -> dict[str, Any]:
    """Times as the JSON protocol has them: seconds since 1970."""
    return {
        name: emulator.epoch(value) if name.endswith("At") else _nested(value) for name, value in list(record.items())
    }


def _nested(value: Any) -> Any:
    return _shown(value) if isinstance(value, dict) else value
