"""Service deployments and revisions: the lasting record of each rollout, beside the list of a service's deployments."""

from __future__ import annotations

import copy
import secrets
from typing import Any

from sandbox import emulator

Service = dict[str, Any]
Deployment = dict[str, Any]
Record = dict[str, Any]
KEPT = 100
# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceDeployments.html
MOST_DESCRIBED = 20
OPEN = ("PENDING", "IN_PROGRESS", "ROLLBACK_IN_PROGRESS")


class ServiceDeployments:
    """Records lie with their service (`_service_deployments`, `_service_revisions`), so that they are saved with it."""

    def __init__(self, ecs: Any) -> None:
        self._ecs = ecs

    def install(self) -> None:
        self._ecs._ACTION_MAP.update(
            ListServiceDeployments=self.listed,
            DescribeServiceDeployments=self.describe,
            DescribeServiceRevisions=self.describe_revisions,
        )

    def follow(self, service: Service, primary: Deployment) -> None:
        """Open a record for a primary deployment that has none; an open one of before is superseded."""
        if "_service_deployment" in primary:
            return
        records = service.setdefault("_service_deployments", [])
        current = service.get("_current_revision")
        for record in records:
            if record["status"] in OPEN:
                self._close(record, "STOPPED", "Superseded by a new service deployment.")
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
                self._close(record, "ROLLBACK_SUCCESSFUL", record["statusReason"])
            elif record["serviceDeploymentArn"] == primary.get("_service_deployment") and record["status"] in OPEN:
                if record["deploymentCircuitBreaker"]["status"] == "MONITORING":
                    record["deploymentCircuitBreaker"]["status"] = "MONITORING_COMPLETE"
                self._close(record, "SUCCESSFUL", None)

    def broken(self, service: Service, failed: Deployment, back_to: Deployment | None) -> None:
        """The circuit breaker ended a rollout."""
        reason = "Service deployment rolled back because the circuit breaker threshold was exceeded."
        for record in service.get("_service_deployments", []):
            if record["serviceDeploymentArn"] != failed.get("_service_deployment"):
                continue
            record["deploymentCircuitBreaker"]["status"] = "TRIGGERED"
            record["deploymentCircuitBreaker"]["failureCount"] = failed.get("failedTasks", 0)
            if back_to is None:
                self._close(record, "STOPPED", "The circuit breaker threshold was exceeded.")
                continue
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
        found = [record for record in records if not wanted or record["status"] in wanted]
        start, size = int(data.get("nextToken") or 0), int(data.get("maxResults") or 100)
        answer: dict[str, Any] = {"serviceDeployments": [_brief(record) for record in found[start : start + size]]}
        if start + size < len(found):
            answer["nextToken"] = str(start + size)
        return _respond(answer)

    def describe(self, data: dict[str, Any]) -> Any:
        arns = data.get("serviceDeploymentArns") or []
        if len(arns) > MOST_DESCRIBED:
            return emulator.json_error("InvalidParameterException", f"At most {MOST_DESCRIBED} ARNs can be described.")
        records = {r["serviceDeploymentArn"]: r for r in self._all("_service_deployments")}
        found = [_shown(records[arn]) for arn in arns if arn in records]
        failures = [{"arn": arn, "reason": "MISSING"} for arn in arns if arn not in records]
        return _respond({"serviceDeployments": found, "failures": failures})

    def describe_revisions(self, data: dict[str, Any]) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_DescribeServiceRevisions.html"""
        arns = data.get("serviceRevisionArns") or []
        revisions = {r["serviceRevisionArn"]: r for r in self._all("_service_revisions")}
        found = [_shown(revisions[arn]) for arn in arns if arn in revisions]
        failures = [{"arn": arn, "reason": "MISSING"} for arn in arns if arn not in revisions]
        return _respond({"serviceRevisions": found, "failures": failures})

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

    def _close(self, record: Record, status: str, reason: str | None) -> None:
        record["status"] = status
        record["finishedAt"] = record["updatedAt"] = emulator.now()
        if status == "STOPPED":
            record["stoppedAt"] = record["finishedAt"]
        if reason:
            record["statusReason"] = reason


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


def _respond(document: dict[str, Any]) -> Any:
    return emulator.core("responses").json_response(document)
