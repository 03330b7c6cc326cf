"""What a task asks about itself: metadata endpoint version 4, and the credentials of its role."""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.usage import Snapshot, Usage

if TYPE_CHECKING:
    from sandbox.containers import Container
    from sandbox.runtime import Runtime
    from sandbox.tasks import TaskBackend

Task = dict[str, Any]
METADATA = re.compile(r"^/v4/(?P<token>[A-Za-z0-9_-]{8,})(?P<rest>/.*)?$")
CREDENTIALS = re.compile(r"^/v2/credentials/(?P<id>[0-9a-f-]{36})$")
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html: rotated, six hours at most.
CREDENTIAL_SECONDS, RENEWED_BEFORE = 6 * 3600, 3600


@dataclass(frozen=True)
class Place:
    """Whose token it is."""

    account: str
    region: str
    task: str
    container: str


class TaskEndpoints:
    """Answers from the records as they are at that moment; tokens and ids live as long as the task."""

    def __init__(self, runtime: Runtime, ecs: Any, backend: TaskBackend) -> None:
        self._runtime = runtime
        self._ecs = ecs
        self._backend = backend
        self._places: dict[str, Place] = {}
        self._roles: dict[str, Place] = {}
        self._issued: dict[str, dict[str, Any]] = {}

    def install(self) -> None:
        emulator.service("ecs_metadata").handle_request = self.metadata
        imds = emulator.service("imds")
        instance = imds.handle_request

        async def handle(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
            if path.startswith("/v2/credentials"):
                return self.credentials(path)
            return await instance(method, path, headers, body, query)

        imds.handle_request = handle

    def variables(self, task: Task, definition: dict[str, Any], container: str) -> dict[str, str]:
        """Environment variables that lead a container to its metadata and its credentials. In the task's scope."""
        _, _, _, region, account, _ = task["taskArn"].split(":", 5)
        token = secrets.token_urlsafe(24)
        place = Place(account, region, task["taskArn"], container)
        self._places[token] = place
        endpoint = self._runtime.settings.endpoint
        found = {"ECS_CONTAINER_METADATA_URI_V4": f"{endpoint}/v4/{token}", "AWS_ENDPOINT_URL": endpoint}
        if has_credentials(task_role(task, definition)):
            identifier = task.setdefault("_credentials", emulator.core("responses").new_uuid())
            self._roles[identifier] = place
            # As Fargate gives it: on 169.254.170.2, which for the task's Python is this sandbox (sandbox.task_shim).
            found["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"] = f"/v2/credentials/{identifier}"
        return found

    def forget(self, task: Task) -> None:
        for token in [token for token, place in list(self._places.items()) if place.task == task["taskArn"]]:
            self._places.pop(token, None)
        identifier = task.pop("_credentials", "")
        self._roles.pop(identifier, None)
        self._issued.pop(identifier, None)

    # Credentials

    def credentials(self, path: str) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html"""
        respond = emulator.core("responses").json_response
        matched = CREDENTIALS.match(path)
        place = self._roles.get(matched["id"]) if matched else None
        if matched is None or place is None:
            text = {"code": "InvalidIdInRequest", "message": "CredentialsV2Request: Credentials not found"}
            return respond({**text, "HTTPErrorCode": 404}, 404)
        issued = self._issued.get(matched["id"])
        if issued is None or issued["expires"] - time.time() < RENEWED_BEFORE:
            task = self._ecs._tasks.get_scoped(place.account, place.region, place.task)
            definition = self._ecs._task_defs.get_scoped(place.account, place.region, _revision(task)) or {}
            with emulator.request_scope(place.account, place.region):
                issued = self._issued[matched["id"]] = task_role_session(task, definition)
        return respond(issued["document"])

    # Metadata

    async def metadata(self, _method: str, path: str, _headers: Any, _body: bytes, _query: Any) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html"""
        respond = emulator.core("responses").json_response
        matched = METADATA.match(path)
        place = self._places.get(matched["token"]) if matched else None
        task = self._ecs._tasks.get_scoped(place.account, place.region, place.task) if place else None
        if matched is None or place is None or task is None:
            return respond({"message": "not found"}, 404)
        with emulator.request_scope(place.account, place.region):
            definition = self._ecs._task_defs.get(_revision(task)) or {}
            rest = (matched["rest"] or "").rstrip("/")
            containers = {c.labels["com.amazonaws.ecs.container-name"]: c for c in self._engine_of(task)}
            if rest in ("/stats", "/task/stats"):
                snapshot, pids = Snapshot(), {c.id: self._backend.program(c) for c in containers.values()}
                used = {identifier: snapshot.of(pid) if pid else Usage() for identifier, pid in pids.items()}
                stats = {c.id: container_stats(c, task, used[c.id]) for c in containers.values()}
                own = containers.get(place.container)
                found = stats if rest == "/task/stats" else stats.get(own.id if own else "")
            elif rest in ("", "/task", "/taskWithTags"):
                shown = {name: self._container(task, definition, name, containers.get(name)) for name in _names(task)}
                if rest == "":
                    found = shown.get(place.container)
                else:
                    found = task_metadata(task, definition, list(shown.values()))
                if found is not None and rest == "/taskWithTags":
                    found["TaskTags"] = {t["key"]: t["value"] for t in task.get("tags") or []}
            else:
                found = None
        return respond({"message": "not found"}, 404) if found is None else respond(found)

    def _engine_of(self, task: Task) -> list[Container]:
        return self._runtime.engine.of_task(task["taskArn"])

    def _container(self, task: Task, definition: dict[str, Any], name: str, real: Container | None) -> dict[str, Any]:
        entry = next(c for c in task["containers"] if c["name"] == name)
        given: dict[str, Any] = next((c for c in definition.get("containerDefinitions", []) if c["name"] == name), {})
        family, revision = definition.get("family", ""), str(definition.get("revision", ""))
        found: dict[str, Any] = {
            "DockerId": real.id if real else "",
            "Name": name,
            "DockerName": f"{family}-{revision}-{name}",
            "Image": entry["image"],
            "ImageID": entry.get("imageDigest", ""),
            "Labels": {
                "com.amazonaws.ecs.cluster": task["clusterArn"],
                "com.amazonaws.ecs.container-name": name,
                "com.amazonaws.ecs.task-arn": task["taskArn"],
                "com.amazonaws.ecs.task-definition-family": family,
                "com.amazonaws.ecs.task-definition-version": revision,
            },
            "DesiredStatus": task["desiredStatus"],
            "KnownStatus": entry.get("lastStatus", "PENDING"),
            "Limits": {"CPU": given.get("cpu", 0)},
            "Type": "NORMAL",
            "ContainerARN": entry["containerArn"],
        }
        if given.get("memory"):
            found["Limits"]["Memory"] = given["memory"]
        if entry.get("_startedAt"):
            found["CreatedAt"] = found["StartedAt"] = entry["_startedAt"]
        if entry.get("exitCode") is not None:
            found["ExitCode"] = entry["exitCode"]
        if given.get("healthCheck"):
            found["Health"] = {"status": entry.get("healthStatus", "UNKNOWN")}
        if options := (given.get("logConfiguration") or {}).get("options"):
            found["LogDriver"] = "awslogs"
            prefix, task_id = options.get("awslogs-stream-prefix", ""), task["taskArn"].rpartition("/")[2]
            found["LogOptions"] = {
                "awslogs-group": options.get("awslogs-group", ""),
                "awslogs-region": options.get("awslogs-region", self._runtime.settings.region),
                "awslogs-stream": f"{prefix}/{name}/{task_id}",
            }
        details = {d["name"]: d["value"] for a in task.get("attachments") or [] for d in a["details"]}
        if address := details.get("privateIPv4Address"):
            subnet = emulator.service("ec2")._subnets.get(details["subnetId"]) or {}
            network = {
                "NetworkMode": "awsvpc",
                "IPv4Addresses": [address],
                "AttachmentIndex": 0,
                "MACAddress": details["macAddress"],
                "IPv4SubnetCIDRBlock": subnet.get("CidrBlock", ""),
                "PrivateDNSName": details["privateDnsName"],
            }
            found["Networks"] = [network]
        return found


@behaviour("ecs", otherwise=lambda *_: True)
def has_credentials(role: str) -> bool:
    """A task without a task role has no credentials: nothing in its environment leads to any.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
    """
    return bool(role)


def task_role_session(task: Task, definition: dict[str, Any]) -> dict[str, Any]:
    """Credentials that STS knows as a session, with the time when they end."""
    iam = emulator.service("iam")
    role, expires = task_role(task, definition), time.time() + CREDENTIAL_SECONDS
    key, secret, token = iam._gen_session_access_key(), iam._gen_secret(), iam._gen_session_token()
    account, name = (role.split(":")[4], role.rpartition("/")[2]) if role else ("", "")
    record = iam._roles.get_scoped(account, None, name) if role else None
    session = session_of_task(task, account, name)
    emulator.service("sts").register_session(
        key,
        {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
            "UserId": f"{(record or {}).get('RoleId', 'AROA')}:{session}",
            "SecretAccessKey": secret,
            "SessionToken": token,
            "Expiration": expires,
            "AccountId": account,
            "PrincipalType": "AssumedRole",
        },
    )
    document = {
        "RoleArn": role,
        "AccessKeyId": key,
        "SecretAccessKey": secret,
        "Token": token,
        "Expiration": datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return {"expires": expires, "document": document}


@behaviour("ecs", otherwise=lambda *_: "session")
def session_of_task(task: Task, account: str, role: str) -> str:
    """Inside a task the caller is the task role's session assumed-role/<role>/<task id>.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
    """
    return str(task["taskArn"].rpartition("/")[2])


def task_role(task: Task, definition: dict[str, Any]) -> str:
    """An override of RunTask counts more than the definition."""
    return str((task.get("overrides") or {}).get("taskRoleArn") or definition.get("taskRoleArn") or "")


@behaviour("ecs")
def task_metadata(task: Task, definition: dict[str, Any], containers: list[dict[str, Any]]) -> dict[str, Any]:
    """The metadata endpoint's /task tells a task its ARN, family, service, zone, states, limits and containers.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate-response.html
    """
    found = {
        "Cluster": task["clusterArn"],
        "TaskARN": task["taskArn"],
        "Family": definition.get("family", ""),
        "Revision": str(definition.get("revision", "")),
        "DesiredStatus": task["desiredStatus"],
        "KnownStatus": task["lastStatus"],
        "Limits": {"CPU": _number(task.get("cpu")) / 1024, "Memory": _number(task.get("memory"))},
        "PullStartedAt": task.get("pullStartedAt"),
        "PullStoppedAt": task.get("pullStoppedAt"),
        "AvailabilityZone": task["availabilityZone"],
        "LaunchType": task["launchType"],
        "Containers": containers,
        "EphemeralStorageMetrics": {"Reserved": 20496},
    }
    if str(task.get("group", "")).startswith("service:"):
        found["ServiceName"] = task["group"].partition(":")[2]
    return {name: value for name, value in found.items() if value is not None}


@behaviour("ecs")
def container_stats(container: Container, task: Task, used: Usage) -> dict[str, Any]:
    """The metadata endpoint's /stats tells what a container uses: CPU time, memory, number of processes.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate.html
    """
    return {
        "read": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "id": container.id,
        "name": container.name,
        "pids_stats": {"current": used.processes},
        "cpu_stats": {"cpu_usage": {"total_usage": int(used.seconds * 1_000_000_000)}},
        "memory_stats": {"usage": used.bytes, "limit": _number(task.get("memory")) * 1024 * 1024},
    }


def _number(text: Any) -> int:
    """Units of a task's size; 0 when it is not written as a number."""
    return int(text) if str(text).isdigit() else 0


def _names(task: Task) -> list[str]:
    return [str(container["name"]) for container in task["containers"]]


def _revision(task: Task) -> str:
    return str(task["taskDefinitionArn"].rpartition("/")[2])
