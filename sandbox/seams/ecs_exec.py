"""ExecuteCommand: who may be reached, and the session that leads there (sandbox.data_channel)."""

from __future__ import annotations

import hmac
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.seams import ecs_exec_agent
from sandbox.seams.ecs_exec_agent import AGENT
from sandbox.seams.ecs_metadata import task_role
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Task = dict[str, Any]
# How long a token waits for its first use. AWS names no time.
TOKEN_SECONDS = 600.0
NOT_ENABLED = (
    "The execute command failed because execute command was not enabled when the task was run or the execute command "
    "agent isn\N{RIGHT SINGLE QUOTATION MARK}t running. Wait and try again or run a new task with execute command "
    "enabled and try again."
)


@dataclass(frozen=True)
class Session:
    """What a data channel opens with. `target` names the container as Session Manager does."""

    identifier: str
    token: str
    task: str
    container: str
    target: str
    command: str
    role: str
    # The cluster's: a KMS key for the data, a log group for a copy of the output; or nothing.
    key: str
    log_group: str
    begun: float = field(default_factory=time.monotonic)


class Sessions:
    """Sessions by their id, as long as the sandbox runs: AWS's tokens end within minutes, too."""

    def __init__(self, runtime: Runtime, ecs: Any) -> None:
        self._runtime = runtime
        self._ecs = ecs
        self.known: dict[str, Session] = {}

    def install(self) -> None:
        self._ecs._ACTION_MAP["ExecuteCommand"] = self.execute

    def execute(self, data: dict[str, Any]) -> Any:
        """https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html"""
        ecs = self._ecs
        task = ecs._resolve_task(data.get("task", ""), ecs._resolve_cluster_name(data.get("cluster", "default")))
        if task is None:
            raise Refused("InvalidParameterException", "The referenced task was not found.")
        name = data.get("container") or the_only_container(task)
        container = next((c for c in task["containers"] if c["name"] == name), None)
        exec_container_exists(task, name, container)
        exec_task_runs(task)
        exec_is_enabled(task)
        role = task_role(task, ecs._task_defs.get(task["taskDefinitionArn"].rpartition("/")[2]) or {})
        agent: dict[str, Any] = next(
            (a for a in (container or {}).get("managedAgents") or [] if a["name"] == AGENT), {}
        )
        exec_agent_runs(agent)
        exec_agent_is_connected(agent, self._runtime, role, task["taskArn"])
        identifier = f"ecs-execute-command-{secrets.token_hex(13)[:25]}"
        cluster, task_id = task["clusterArn"].rpartition("/")[2], task["taskArn"].rpartition("/")[2]
        wanted = ecs._clusters.get(cluster) or {}
        session = Session(
            identifier,
            secrets.token_urlsafe(120),
            task["taskArn"],
            name,
            f"ecs:{cluster}_{task_id}_{(container or {}).get('runtimeId', '')}",
            str(data.get("command", "")),
            role,
            ecs_exec_agent.key_of_the_sessions(wanted),
            ecs_exec_agent.log_group_of_the_sessions(wanted),
        )
        self.known[identifier] = session
        endpoint = self._runtime.settings.endpoint.replace("http://", "ws://", 1)
        answer = {
            "clusterArn": task["clusterArn"],
            "containerArn": (container or {}).get("containerArn", ""),
            "containerName": name,
            "interactive": bool(data.get("interactive", True)),
            "session": {
                "sessionId": identifier,
                "streamUrl": f"{endpoint}/v1/data-channel/{identifier}?role=publish_subscribe",
                "tokenValue": session.token,
            },
            "taskArn": task["taskArn"],
        }
        return emulator.json_response(answer)

    def opened(self, identifier: str, message: Any) -> Session | None:
        """The session that a data channel's first message opens with its token, once."""
        for name, old in list(self.known.items()):
            if time.monotonic() - old.begun > TOKEN_SECONDS:
                self.known.pop(name, None)
        session, given = self.known.get(identifier), message if isinstance(message, dict) else {}
        if session is None or not token_opens_the_channel(session, given):
            return None
        return self.known.pop(identifier, None)

    def unwrapped(self, session: Session, wrapped: bytes) -> bytes:
        """The data key that a client had made by KMS for this session. Raises HandshakeFailed."""
        context = {"aws:ssm:SessionId": session.identifier, "aws:ssm:TargetId": session.target}
        return ecs_exec_agent.data_key(self._runtime, session.role, session.task, context, wrapped)

    def recorded(self, session: Session, output: bytes) -> None:
        """A session has ended, with this output."""
        if session.log_group and output:
            ecs_exec_agent.copy_to_logs(self._runtime, session.log_group, session.identifier, session.task, output)


@behaviour("ssmmessages", otherwise=lambda *_: True)
def token_opens_the_channel(session: Session, message: dict[str, Any]) -> bool:
    """A session's stream opens only for who sends its token first.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Session.html (tokenValue)
    """
    return hmac.compare_digest(str(message.get("TokenValue", "")).encode(), session.token.encode())


@behaviour("ecs", code="InvalidParameterException", otherwise=lambda task: str(task["containers"][0]["name"]))
def the_only_container(task: Task) -> str:
    """ExecuteCommand needs the container's name when the task has more than one.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html (container)
    """
    if len(task["containers"]) > 1:
        raise Refused("InvalidParameterException", "Container name is required for tasks with multiple containers.")
    return str(task["containers"][0]["name"])


@behaviour("ecs", code="InvalidParameterException")
def exec_container_exists(task: Task, name: str, container: dict[str, Any] | None) -> None:
    """ExecuteCommand is refused for a container that the task does not have.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html
    """
    if container is None:
        text = f"The container name {name} was not found in the task {task['taskArn'].rpartition('/')[2]}."
        raise Refused("InvalidParameterException", text)


@behaviour("ecs", code="InvalidParameterException")
def exec_task_runs(task: Task) -> None:
    """ExecuteCommand is refused for a task that does not run.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html
    """
    if task["lastStatus"] != "RUNNING" or task["desiredStatus"] != "RUNNING":
        text = "The specified task is not running. Specify a task with the RUNNING status and try again."
        raise Refused("InvalidParameterException", text)


@behaviour("ecs", code="InvalidParameterException")
def exec_is_enabled(task: Task) -> None:
    """ExecuteCommand is refused for a task that was started without enableExecuteCommand.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec-troubleshooting.html
    """
    if not task.get("enableExecuteCommand"):
        raise Refused("InvalidParameterException", NOT_ENABLED)


@behaviour("ecs", code="InvalidParameterException")
def exec_agent_runs(agent: dict[str, Any]) -> None:
    """ExecuteCommand is refused for a container whose agent is stopped.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec-troubleshooting.html
    """
    if agent.get("lastStatus") == "STOPPED":
        raise Refused("InvalidParameterException", NOT_ENABLED)


@behaviour("ecs", code="TargetNotConnectedException")
def exec_agent_is_connected(agent: dict[str, Any], runtime: Runtime, role: str, task_arn: str) -> None:
    """ExecuteCommand finds no target until the container's agent runs and has its channel to Session Manager.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommand.html (TargetNotConnectedException)
    """
    if agent.get("lastStatus") != "RUNNING" or not ecs_exec_agent.is_connected(runtime, agent, role, task_arn):
        text = "The execute command failed due to an internal error. Try again later."
        raise Refused("TargetNotConnectedException", text)
