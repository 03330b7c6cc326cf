"""The agent of ECS Exec in a container: whether it starts, whether Session Manager reaches it, what it copies."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

from sandbox import emulator, iam
from sandbox.behaviours import behaviour
from sandbox.data_channel.handshake import HandshakeFailed

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Task = dict[str, Any]
Data = dict[str, Any]
AGENT = "ExecuteCommandAgent"
# https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html#ecs-exec-required-iam-permissions
NEEDED = ("CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel")


def agents_are_due(task: Task, definition: Data) -> None:
    """Their containers run for long enough: the agents run now, or never will."""
    of_container = {container["name"]: container for container in definition.get("containerDefinitions") or []}
    for container in task["containers"]:
        for agent in container.get("managedAgents", []):
            if read_only_root_stops_the_agent(of_container.get(container["name"]) or {}):
                agent["lastStatus"] = "STOPPED"
            else:
                agent.update(lastStatus="RUNNING", lastStartedAt=emulator.now())


@behaviour("ecs", otherwise=lambda *_: False)
def read_only_root_stops_the_agent(container: Data) -> bool:
    """The agent of ECS Exec does not run in a container with a read-only root filesystem.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs-exec.html
    """
    return bool(container.get("readonlyRootFilesystem"))


def is_connected(runtime: Runtime, agent: Data, role: str, task_arn: str) -> bool:
    """Whether an agent that runs has its control channel."""
    since = time.time() - emulator.epoch(agent.get("lastStartedAt"))
    return since >= runtime.switches.exec_connect_seconds and agent_connects_by_the_task_role(runtime, role, task_arn)


@behaviour("ecs", code="TargetNotConnectedException", otherwise=lambda *_: True)
def agent_connects_by_the_task_role(runtime: Runtime, role: str, task_arn: str) -> bool:
    """The agent is reached only when the task role allows the four actions of ssmmessages (in IAM mode).

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
    """
    if not runtime.switches.iam:
        return True
    session = task_arn.rpartition("/")[2]
    return bool(role) and not any(
        iam.role_refusal(runtime, role, f"ssmmessages:{action}", "*", session) for action in NEEDED
    )


# What the cluster wants of sessions


@behaviour("ecs", otherwise=lambda *_: "")
def key_of_the_sessions(cluster: Data) -> str:
    """With a kmsKeyId in the cluster's executeCommandConfiguration the agent wants a session's data encrypted by it.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommandConfiguration.html (kmsKeyId)
    """
    return str(_configuration(cluster).get("kmsKeyId") or "")


@behaviour("ecs", otherwise=lambda *_: "")
def log_group_of_the_sessions(cluster: Data) -> str:
    """With logging OVERRIDE a session's output goes to the log group that the cluster names, once it has ended.

    https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ExecuteCommandConfiguration.html (logging)
    """
    configuration = _configuration(cluster)
    logs = configuration.get("logConfiguration") or {}
    return str(logs.get("cloudWatchLogGroupName") or "") if configuration.get("logging") == "OVERRIDE" else ""


def _configuration(cluster: Data) -> Data:
    return dict((cluster.get("configuration") or {}).get("executeCommandConfiguration") or {})


def data_key(runtime: Runtime, role: str, task_arn: str, context: dict[str, str], wrapped: bytes) -> bytes:
    """The agent's call of KMS, by its task role. Raises HandshakeFailed."""
    _, _, _, region, account, _ = task_arn.split(":", 5)
    failed = "Fetching data key failed: Unable to retrieve data key, Error when decrypting data key"
    with emulator.request_scope(account, region):
        kms = emulator.service("kms")
        text = base64.b64encode(wrapped).decode()
        response = kms._decrypt({"CiphertextBlob": text, "EncryptionContext": context})
        document = emulator.body_of(response)
        if response[0] >= 400:
            code = str(document.get("__type", "")).rpartition("#")[2]
            raise HandshakeFailed(f"{failed} {code}: {document.get('message', '')}")
        if role and (refusal := iam.role_refusal(runtime, role, "kms:Decrypt", document["KeyId"], task_arn)):
            raise HandshakeFailed(f"{failed} AccessDeniedException: {refusal}")
    key = base64.b64decode(document["Plaintext"])
    if len(key) != 64:
        raise HandshakeFailed(f"{failed} a key of {len(key)} bytes")
    return key


def copy_to_logs(runtime: Runtime, group: str, stream: str, task_arn: str, output: bytes) -> None:
    """What the command wrote, line by line; nothing when there is no such group."""
    _, _, _, region, account, _ = task_arn.split(":", 5)
    lines = [line.rstrip("\r") for line in output.decode("utf-8", "replace").split("\n")]
    now = int(time.time() * 1000)
    with emulator.request_scope(account, region):
        logs = emulator.service("cloudwatch_logs")
        created = logs._create_log_stream({"logGroupName": group, "logStreamName": stream})
        if created[0] < 400:
            runtime.logs.accept(group, stream, [(now, line) for line in lines if line])
