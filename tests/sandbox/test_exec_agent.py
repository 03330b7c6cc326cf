"""ECS Exec's agent: where it does not run or is not reached, encrypted sessions, copies of sessions, the record."""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.sandbox.ecs_stand import SLEEPER, Stand
from tests.sandbox.exec_client import Client, Frame, agent_status, opened, run, session, started
from tests.sandbox.iam_support import allow, role, trust
from tests.sandbox.support import Network, Sandbox, refused, until

NEEDED = [f"ssmmessages:{action}Channel" for action in ("CreateControl", "CreateData", "OpenControl", "OpenData")]
NOT_ENABLED = "the execute command agent isn\N{RIGHT SINGLE QUOTATION MARK}t running"


@pytest.fixture(scope="module")
def stand(sandbox: Sandbox, network: Network) -> Iterator[Stand]:
    yield Stand.make(sandbox, network, "exec-agent")


def cluster_of(stand: Stand, name: str, **configuration: Any) -> Stand:
    stand.ecs.create_cluster(clusterName=name, configuration={"executeCommandConfiguration": configuration})
    return Stand(stand.sandbox, stand.network, name, stand.repository)


# Where it does not run


@pytest.mark.behaviour("ecs.read_only_root_stops_the_agent", "ecs.exec_agent_runs")
def test_no_agent_runs_on_a_read_only_root(stand: Stand) -> None:
    image = stand.image(SLEEPER, "read-only")
    definition = stand.define(
        "read-only",
        {"image": image, "readonlyRootFilesystem": True},
        {"image": image, "name": "side", "portMappings": []},
    )
    arn = stand.run(definition, enableExecuteCommand=True)
    stand.until_task(arn, "RUNNING")
    until(lambda: agent_status(stand, arn) == "STOPPED", "the agent's end", 5)
    side = stand.task(arn)["containers"][1]["managedAgents"][0]
    assert (side["name"], side["lastStatus"]) == ("ExecuteCommandAgent", "RUNNING")
    given = {"cluster": stand.cluster, "task": arn, "command": "true", "interactive": True}
    with refused("InvalidParameterException", NOT_ENABLED):
        stand.ecs.execute_command(container="app", **given)
    assert stand.ecs.execute_command(container="side", **given)["session"]["tokenValue"]
    stand.stop(arn)


@pytest.mark.behaviour("ecs.exec_agent_is_connected")
def test_an_agent_takes_time_to_run_and_to_be_connected(stand: Stand) -> None:
    with stand.sandbox.switched(exec_agent_seconds=1.5, exec_connect_seconds=2):
        arn = stand.run(stand.define("slow", {"image": stand.image(SLEEPER)}), enableExecuteCommand=True)
        stand.until_task(arn, "RUNNING")
        begun = time.monotonic()
        assert agent_status(stand, arn) == "PENDING"
        with refused("TargetNotConnectedException", "Try again later"):
            session(stand, arn)
        until(lambda: agent_status(stand, arn) == "RUNNING", "the agent", 10)
        with refused("TargetNotConnectedException", "Try again later"):
            session(stand, arn)

        def connected() -> bool:
            try:
                return bool(session(stand, arn))
            except stand.ecs.exceptions.TargetNotConnectedException:
                return False

        until(connected, "the agent's connection", 10)
        assert time.monotonic() - begun > 3
    stand.stop(arn)


@pytest.mark.behaviour("ecs.agent_connects_by_the_task_role")
def test_an_agent_is_connected_by_its_task_role_only(stand: Stand, sandbox: Sandbox) -> None:
    trusts = trust({"Service": "ecs-tasks.amazonaws.com"})
    image, arns = stand.image(SLEEPER), {}
    with (
        role(sandbox, trusts, allow(*NEEDED)) as enough,
        role(sandbox, trusts, allow(*NEEDED[:3])) as less,
        role(sandbox, trusts) as nothing,
    ):
        for name, task_role in {"enough": enough, "less": less, "nothing": nothing, "none": ""}.items():
            more = {"taskRoleArn": task_role} if task_role else {}
            definition = stand.define(f"role-{name}", {"image": image}, **more)
            arns[name] = stand.run(definition, enableExecuteCommand=True)
        for arn in arns.values():
            stand.until_task(arn, "RUNNING")
        until(lambda: {agent_status(stand, arn) for arn in arns.values()} == {"RUNNING"}, "the agents")
        with sandbox.switched(iam=True):
            for name in ("less", "nothing", "none"):
                # The agent's process runs all the same: that is what makes it hard to find.
                assert agent_status(stand, arns[name]) == "RUNNING"
                with refused("TargetNotConnectedException", "internal error"):
                    session(stand, arns[name])
            assert run(stand, arns["enough"], "echo in").output == b"in\r\n"
        for arn in arns.values():
            stand.stop(arn)


# The record


def test_cloudtrail_knows_who_ran_what_and_not_the_token(stand: Stand) -> None:
    arn = started(stand, "recorded")
    given = session(stand, arn, "echo recorded")
    cloudtrail = stand.sandbox.client("cloudtrail")
    wanted = [{"AttributeKey": "EventName", "AttributeValue": "ExecuteCommand"}]

    def events() -> list[dict[str, Any]]:
        found = cloudtrail.lookup_events(LookupAttributes=wanted)["Events"]
        records = [json.loads(event["CloudTrailEvent"]) for event in found]
        return [record for record in records if record["requestParameters"].get("task") == arn]

    record = until(events, "the event")[0]
    assert record["eventSource"] == "ecs.amazonaws.com"
    assert record["readOnly"] is False
    assert record["requestParameters"]["command"] == "echo recorded"
    text = json.dumps(record)
    assert given["sessionId"] in text
    assert given["tokenValue"] not in text
    stand.stop(arn)


# Handshake and encryption


def handshake(client: Client) -> dict[str, Any]:
    while (frame := client.receive()) is not None:
        if frame.payload_type == 5:
            return frame.document
    raise AssertionError("no handshake is asked for")


def respond(client: Client, *actions: dict[str, Any]) -> None:
    response = {"ClientVersion": "1.2.0.0", "ProcessedClientActions": list(actions), "Errors": []}
    client.send(json.dumps(response).encode(), payload_type=6)


def until_type(client: Client, payload_type: int) -> Frame:
    while (frame := client.receive()) is not None:
        if frame.payload_type == payload_type:
            return frame
    raise AssertionError(f"no payload of type {payload_type}")


@pytest.fixture(scope="module")
def task(stand: Stand) -> Iterator[str]:
    arn = started(stand, "plain")
    yield arn
    stand.stop(arn)


def disturb(stand: Stand, **stream: Any) -> None:
    stand.sandbox.faults({"service": "ssmmessages", "operation": "OpenDataChannel", "times": 1, "stream": stream})


def test_the_agent_of_ecs_asks_for_no_handshake(stand: Stand, task: str) -> None:
    client = run(stand, task, "echo x")
    assert {frame.payload_type for frame in client.frames if frame.kind == "output_stream_data"} == {1}


@pytest.mark.behaviour("ssmmessages.input_waits_for_the_handshake")
def test_a_handshake_comes_first_and_input_before_its_end_is_lost(stand: Stand, task: str, no_faults: Sandbox) -> None:
    disturb(stand, handshake="session_type")
    with opened(session(stand, task, "cat")) as client:
        asked = handshake(client)
        assert asked["AgentVersion"]
        action = {"SessionType": "InteractiveCommands", "Properties": None}
        assert asked["RequestedClientActions"] == [{"ActionType": "SessionType", "ActionParameters": action}]
        client.until_acknowledged(client.send(b"too early\n"))
        respond(client, {"ActionType": "SessionType", "ActionStatus": 1, "ActionResult": None, "Error": ""})
        told = until_type(client, 7).document
        assert told["CustomerMessage"] == ""
        assert told["HandshakeTimeToComplete"] > 0
        client.send(b"in time\n")
        client.until_output(b"in time\r\nin time\r\n")
        assert b"too early" not in client.output


@pytest.mark.parametrize(
    ("stream", "answer", "says"),
    [
        (
            {"handshake": "session_type", "handshake_seconds": 1},
            None,
            "Handshake timed out. Please ensure that you have the latest version of the session manager plugin.",
        ),
        (
            {"handshake": "session_type"},
            {"ActionType": "SessionType", "ActionStatus": 2, "Error": "Unknown session type"},
            "SessionType failed on client with status 2 error: Unknown session type",
        ),
        (
            {"handshake": "encryption"},
            {"ActionType": "KMSEncryption", "ActionStatus": 3, "Error": "Unsupported action KMSEncryption"},
            "KMSEncryption failed on client with status 3 error: Unsupported action KMSEncryption",
        ),
        (
            {"handshake": "encryption"},
            {"ActionType": "KMSEncryption", "ActionStatus": 1, "ActionResult": {"KMSCipherTextKey": "AAAA"}},
            "Fetching data key failed: Unable to retrieve data key, Error when decrypting data key "
            "InvalidCiphertextException",
        ),
    ],
)
@pytest.mark.behaviour("ssmmessages.failure_is_told_at_the_close")
def test_a_handshake_that_fails_ends_the_session(
    stand: Stand,
    task: str,
    no_faults: Sandbox,
    stream: dict[str, Any],
    answer: dict[str, Any] | None,
    says: str,
) -> None:
    disturb(stand, **stream)
    with opened(session(stand, task, "echo never")) as client:
        handshake(client)
        if answer is not None:
            respond(client, answer)
        closing = client.until_closed()
    assert client.output == b""
    assert closing is not None
    start = "----------ERROR-------\nEncountered error while initiating handshake. "
    assert closing.document["Output"].startswith(start + says)


def data_key(stand: Stand, given: dict[str, Any], arn: str, key: str) -> tuple[bytes, str]:
    """As the plugin has it made, by what the aws CLI tells it of the target."""
    task = stand.task(arn)
    cluster, task_id = task["clusterArn"].rpartition("/")[2], arn.rpartition("/")[2]
    target = f"ecs:{cluster}_{task_id}_{task['containers'][0]['runtimeId']}"
    made = stand.sandbox.client("kms").generate_data_key(
        KeyId=key,
        NumberOfBytes=64,
        EncryptionContext={"aws:ssm:SessionId": given["sessionId"], "aws:ssm:TargetId": target},
    )
    return made["Plaintext"], base64.b64encode(made["CiphertextBlob"]).decode()


def sealed(key: bytes, data: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + AESGCM(key).encrypt(nonce, data, None)


@pytest.fixture(scope="module")
def encrypted(stand: Stand) -> Iterator[tuple[Stand, str, str]]:
    """A cluster whose sessions are encrypted, a task there, the key."""
    key = stand.sandbox.client("kms").create_key()["KeyMetadata"]["Arn"]
    there = cluster_of(stand, "exec-encrypted", kmsKeyId=key, logging="NONE")
    arn = started(there, "encrypted")
    yield there, arn, key
    there.stop(arn)


@pytest.mark.behaviour("ecs.key_of_the_sessions")
def test_a_cluster_with_a_key_has_its_sessions_encrypted(encrypted: tuple[Stand, str, str]) -> None:
    stand, arn, key = encrypted
    given = session(stand, arn, "cat")
    with opened(given) as client:
        actions = handshake(client)["RequestedClientActions"]
        assert [action["ActionType"] for action in actions] == ["SessionType", "KMSEncryption"]
        assert actions[1]["ActionParameters"] == {"KMSKeyId": key}
        plain, wrapped = data_key(stand, given, arn, key)
        reading, writing = AESGCM(plain[:32]), plain[32:]
        respond(
            client,
            {"ActionType": "SessionType", "ActionStatus": 1},
            {"ActionType": "KMSEncryption", "ActionStatus": 1, "ActionResult": {"KMSCipherTextKey": wrapped}},
        )
        challenge = base64.b64decode(until_type(client, 8).document["Challenge"])
        secret = reading.decrypt(challenge[:12], challenge[12:], None)
        assert len(secret) == 64
        answer = {"Challenge": base64.b64encode(sealed(writing, secret)).decode()}
        client.send(json.dumps(answer).encode(), payload_type=9)
        assert "encrypted using AWS KMS" in until_type(client, 7).document["CustomerMessage"]
        client.until_acknowledged(client.send(b"in clear\n"))
        client.send(sealed(writing, b"in secret\n"))
        said = b""
        while said.count(b"in secret\r\n") < 2:
            frame = until_type(client, 1)
            said += reading.decrypt(frame.payload[:12], frame.payload[12:], None)
        assert said == b"in secret\r\nin secret\r\n"


def test_a_challenge_that_is_not_met_ends_the_session(encrypted: tuple[Stand, str, str]) -> None:
    stand, arn, key = encrypted
    given = session(stand, arn, "echo never")
    with opened(given) as client:
        handshake(client)
        plain, wrapped = data_key(stand, given, arn, key)
        result = {"KMSCipherTextKey": wrapped}
        respond(client, {"ActionType": "KMSEncryption", "ActionStatus": 1, "ActionResult": result})
        until_type(client, 8)
        answer = {"Challenge": base64.b64encode(sealed(plain[32:], b"x" * 64)).decode()}
        client.send(json.dumps(answer).encode(), payload_type=9)
        closing = client.until_closed()
    assert closing is not None
    assert "Encryption challenge does not match!" in closing.document["Output"]


def test_a_key_for_another_session_opens_nothing(encrypted: tuple[Stand, str, str]) -> None:
    stand, arn, key = encrypted
    given, other = session(stand, arn, "echo never"), session(stand, arn, "echo never")
    with opened(given) as client:
        handshake(client)
        _, wrapped = data_key(stand, other, arn, key)
        result = {"KMSCipherTextKey": wrapped}
        respond(client, {"ActionType": "KMSEncryption", "ActionStatus": 1, "ActionResult": result})
        closing = client.until_closed()
    assert closing is not None
    assert "InvalidCiphertextException" in closing.document["Output"]


def test_who_leaves_out_the_encryption_gets_nothing(encrypted: tuple[Stand, str, str]) -> None:
    stand, arn, _ = encrypted
    with opened(session(stand, arn, "echo never")) as client:
        handshake(client)
        respond(client, {"ActionType": "SessionType", "ActionStatus": 1})
        closing = client.until_closed()
    assert closing is not None
    assert "KMSEncryption was not processed" in closing.document["Output"]
    assert client.output == b""


# Copies


@pytest.mark.behaviour("ecs.log_group_of_the_sessions")
def test_sessions_are_copied_to_the_log_group_of_the_cluster(stand: Stand) -> None:
    logs = stand.sandbox.client("logs")
    logs.create_log_group(logGroupName="/exec/sessions")
    there = cluster_of(
        stand,
        "exec-logged",
        logging="OVERRIDE",
        logConfiguration={"cloudWatchLogGroupName": "/exec/sessions"},
    )
    arn = started(there, "logged")
    given = session(there, arn, "sh -c 'stty -echo; echo ready; read secret; echo done'")
    with opened(given) as client:
        client.until_output(b"ready")
        client.send(b"hidden-word\n")
        client.until_closed()

    def messages() -> list[str]:
        try:
            found = logs.get_log_events(logGroupName="/exec/sessions", logStreamName=given["sessionId"])
        except logs.exceptions.ResourceNotFoundException:
            return []
        return [event["message"] for event in found["events"]]

    assert until(messages, "the copy") == ["ready", "done"]
    there.stop(arn)


def test_a_cluster_without_that_copies_nothing(stand: Stand, task: str) -> None:
    logs = stand.sandbox.client("logs")
    before = logs.describe_log_groups()["logGroups"]
    run(stand, task, "echo nowhere")
    assert len(logs.describe_log_groups()["logGroups"]) == len(before)
