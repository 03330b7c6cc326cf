"""ECS tasks are real processes: of their image, on their address, with true exit codes, logs and reasons."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.ecs_stand import answer
from tests.sandbox.support import SERVER, Network, Sandbox, execution_role, until

CLUSTER = "tasks-cluster"
GROUP = "/ecs/tasks"


@pytest.fixture(scope="module")
def cluster(sandbox: Sandbox) -> Iterator[str]:
    ecs = sandbox.client("ecs")
    ecs.create_cluster(clusterName=CLUSTER)
    sandbox.client("logs").create_log_group(logGroupName=GROUP)
    sandbox.client("ecr").create_repository(repositoryName="app")
    yield CLUSTER
    for arn in ecs.list_tasks(cluster=CLUSTER)["taskArns"]:
        ecs.stop_task(cluster=CLUSTER, task=arn)


def define(sandbox: Sandbox, family: str, image: str, **container: Any) -> str:
    definition = sandbox.client("ecs").register_task_definition(
        family=family,
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        executionRoleArn=execution_role(sandbox),
        containerDefinitions=[
            {
                "name": "app",
                "image": image,
                "essential": True,
                "portMappings": [{"containerPort": 5000}],
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": GROUP,
                        "awslogs-region": sandbox.facts["region"],
                        "awslogs-stream-prefix": "app",
                    },
                },
                **container,
            }
        ],
    )
    return str(definition["taskDefinition"]["taskDefinitionArn"])


def run(sandbox: Sandbox, network: Network, definition: str, **more: Any) -> str:
    started = sandbox.client("ecs").run_task(
        cluster=CLUSTER,
        taskDefinition=definition,
        launchType="FARGATE",
        networkConfiguration=network.configuration,
        **more,
    )
    return str(started["tasks"][0]["taskArn"])


def described(sandbox: Sandbox, arn: str) -> dict[str, Any]:
    task: dict[str, Any] = sandbox.client("ecs").describe_tasks(cluster=CLUSTER, tasks=[arn])["tasks"][0]
    return task


def in_state(sandbox: Sandbox, arn: str, state: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        task = described(sandbox, arn)
        return task if task["lastStatus"] == state else None

    return until(look, f"task {state}")


def details(task: dict[str, Any]) -> dict[str, str]:
    return {d["name"]: d["value"] for d in task["attachments"][0]["details"]}


def server_image(sandbox: Sandbox, name: str, tag: str = "x") -> str:
    files = {"app/server.py": f"NAME = {name!r}\n{SERVER}", "app/data.txt": "data"}
    return sandbox.push("app", tag, files, ["python", "server.py"], Env=["FROM_IMAGE=/app/data.txt"])


@pytest.mark.behaviour("ecs.image_digest")
def test_two_digests_run_two_different_apps_side_by_side(sandbox: Sandbox, network: Network, cluster: str) -> None:
    images = [server_image(sandbox, name, "same-tag") for name in ("one", "two")]
    assert images[0] != images[1]
    arns = [run(sandbox, network, define(sandbox, "two-apps", image)) for image in images]
    tasks = [in_state(sandbox, arn, "RUNNING") for arn in arns]
    assert [answer(task)["name"] for task in tasks] == ["one", "two"]
    assert [task["containers"][0]["imageDigest"] for task in tasks] == [image.partition("@")[2] for image in images]


def test_a_task_gets_its_environment_and_nothing_of_the_sandbox(
    sandbox: Sandbox, network: Network, cluster: str
) -> None:
    image = server_image(sandbox, "env")
    definition = define(sandbox, "env", image, environment=[{"name": "PGSSLROOTCERT", "value": "/app/data.txt"}])
    task = in_state(sandbox, run(sandbox, network, definition), "RUNNING")
    env = answer(task)["env"]
    assert Path(env["PGSSLROOTCERT"]).read_text() == "data", "a path of the image is resolved into it"
    assert Path(env["FROM_IMAGE"]).read_text() == "data"
    assert not {"STATE_DIR", "GATEWAY_PORT", "PYTHONUNBUFFERED", "S3_DATA_DIR"} & set(env)


@pytest.mark.behaviour("ecs.task_metadata")
def test_the_metadata_endpoint_tells_a_task_who_it_is(sandbox: Sandbox, network: Network, cluster: str) -> None:
    image = server_image(sandbox, "metadata")
    definition = define(sandbox, "metadata", image)
    zones = set()
    for arn in [run(sandbox, network, definition) for _ in range(2)]:
        task = in_state(sandbox, arn, "RUNNING")
        uri = answer(task)["env"]["ECS_CONTAINER_METADATA_URI_V4"]
        with urllib.request.urlopen(f"{uri}/task", timeout=5) as response:
            metadata = json.load(response)
        assert metadata["TaskARN"] == arn
        assert metadata["Containers"][0]["ImageID"] == image.partition("@")[2]
        assert metadata["Containers"][0]["Networks"][0]["IPv4Addresses"] == [details(task)["privateIPv4Address"]]
        assert metadata["AvailabilityZone"] == task["availabilityZone"]
        zones.add(metadata["AvailabilityZone"])
    assert len(zones) == 2


@pytest.mark.behaviour("ecs.emptiest_zone", "ecs.task_interface", "ecs.interface_goes_with_its_task")
def test_each_task_has_an_interface_in_ec2_that_goes_with_it(sandbox: Sandbox, network: Network, cluster: str) -> None:
    definition = define(sandbox, "eni", server_image(sandbox, "eni"))
    arns = [run(sandbox, network, definition) for _ in range(2)]
    tasks = [in_state(sandbox, arn, "RUNNING") for arn in arns]
    assert {details(task)["subnetId"] for task in tasks} == set(network.subnets), "subnets are used in turn"
    ec2 = sandbox.client("ec2")
    found = ec2.describe_network_interfaces(NetworkInterfaceIds=[details(tasks[0])["networkInterfaceId"]])
    interface = found["NetworkInterfaces"][0]
    assert interface["PrivateIpAddress"] == details(tasks[0])["privateIPv4Address"]
    assert [group["GroupId"] for group in interface["Groups"]] == [network.group]
    assert interface["AvailabilityZone"] == tasks[0]["availabilityZone"]
    assert not {"containerInstanceArn", "stopCode", "stoppedReason"} & tasks[0].keys(), "AWS leaves them out"
    sandbox.client("ecs").stop_task(cluster=CLUSTER, task=arns[0])
    in_state(sandbox, arns[0], "STOPPED")
    with pytest.raises(ec2.exceptions.ClientError, match="InvalidNetworkInterfaceID.NotFound"):
        ec2.describe_network_interfaces(NetworkInterfaceIds=[interface["NetworkInterfaceId"]])


@pytest.mark.behaviour("ecs.essential_container_exited", "ecs.stop_code_and_reason")
def test_exit_code_3_of_a_dying_task_is_told_with_its_reason(sandbox: Sandbox, network: Network, cluster: str) -> None:
    image = sandbox.push("app", "dies", {"app/x.py": "import sys; print('bye'); sys.exit(3)"}, ["python", "x.py"])
    task = in_state(sandbox, run(sandbox, network, define(sandbox, "dies", image)), "STOPPED")
    assert task["containers"][0]["exitCode"] == 3
    assert task["stopCode"] == "EssentialContainerExited"
    assert task["stoppedReason"] == "Essential container in task exited"


@pytest.mark.behaviour("ecs.stop_timeout", "ecs.exit_code_of_the_process", "ecs.stop_code_and_reason")
@pytest.mark.parametrize(("handler", "code"), [("signal.SIG_DFL", 143), ("signal.SIG_IGN", 137)])
def test_a_stopped_task_ends_by_sigterm_or_else_sigkill(
    sandbox: Sandbox, network: Network, cluster: str, handler: str, code: int
) -> None:
    program = f"import signal, time\nsignal.signal(signal.SIGTERM, {handler})\nprint('up', flush=True)\ntime.sleep(99)"
    image = sandbox.push("app", "stubborn", {"app/x.py": program}, ["python", "x.py"])
    arn = run(sandbox, network, define(sandbox, "stubborn", image, stopTimeout=2))
    in_state(sandbox, arn, "RUNNING")
    until(lambda: messages(sandbox, arn), "the handler is in place")
    stopped = sandbox.client("ecs").stop_task(cluster=CLUSTER, task=arn, reason="enough")["task"]
    assert stopped["desiredStatus"] == "STOPPED"
    task = in_state(sandbox, arn, "STOPPED")
    assert (task["containers"][0]["exitCode"], task["stopCode"]) == (code, "UserInitiated")
    assert task["stoppedReason"] == "enough"


def messages(sandbox: Sandbox, arn: str) -> list[str]:
    logs = sandbox.client("logs")
    stream = f"app/app/{arn.rpartition('/')[2]}"
    try:
        events = logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)["events"]
    except logs.exceptions.ResourceNotFoundException:
        return []
    return [event["message"] for event in events]


def test_logs_arrive_while_the_task_runs_and_after_its_end(sandbox: Sandbox, network: Network, cluster: str) -> None:
    program = "import time\nprint('first', flush=True)\ntime.sleep(2)\nprint('last', end='')"
    image = sandbox.push("app", "talks", {"app/x.py": program}, ["python", "x.py"])
    arn = run(sandbox, network, define(sandbox, "talks", image))
    until(lambda: messages(sandbox, arn) == ["first"], "the first line")
    assert described(sandbox, arn)["lastStatus"] == "RUNNING"
    in_state(sandbox, arn, "STOPPED")
    until(lambda: messages(sandbox, arn) == ["first", "last"], "the last line")


def test_secrets_become_environment_variables(sandbox: Sandbox, network: Network, cluster: str) -> None:
    secret = sandbox.client("secretsmanager").create_secret(Name="tasks/db", SecretString='{"user": "u", "port": 5432}')
    definition = define(
        sandbox,
        "secrets",
        server_image(sandbox, "secrets"),
        secrets=[{"name": n, "valueFrom": f"{secret['ARN']}:{n.lower()}::"} for n in ("USER", "PORT")],
    )
    env = answer(in_state(sandbox, run(sandbox, network, definition), "RUNNING"))["env"]
    assert (env["USER"], env["PORT"]) == ("u", "5432")


@pytest.mark.behaviour("ecs.secret_must_exist", "ecs.secret_must_have_the_key")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("arn:aws:secretsmanager:us-west-2:123456789012:secret:not-there-AbCdEf", "ResourceNotFoundException"),
        ("existing:nokey::", "did not contain json key nokey"),
    ],
)
def test_a_missing_secret_keeps_the_task_from_starting(
    sandbox: Sandbox, network: Network, cluster: str, source: str, said: str
) -> None:
    if source.startswith("existing"):
        secret = sandbox.client("secretsmanager").create_secret(Name=f"tasks/{said[:3]}", SecretString="{}")
        source = source.replace("existing", secret["ARN"])
    definition = define(
        sandbox, "no-secret", server_image(sandbox, "no-secret"), secrets=[{"name": "X", "valueFrom": source}]
    )
    task = in_state(sandbox, run(sandbox, network, definition), "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("ResourceInitializationError: unable to pull secrets")
    assert said in task["stoppedReason"]


@pytest.mark.behaviour("ecs.missing_image")
def test_a_missing_image_is_a_pull_error(sandbox: Sandbox, network: Network, cluster: str) -> None:
    image = f"123456789012.dkr.ecr.us-west-2.amazonaws.com/app@sha256:{'0' * 64}"
    task = in_state(sandbox, run(sandbox, network, define(sandbox, "no-image", image)), "STOPPED")
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"].startswith("CannotPullContainerError: ")
    assert image in task["stoppedReason"]


def test_a_command_that_is_not_there_cannot_start(sandbox: Sandbox, network: Network, cluster: str) -> None:
    image = sandbox.push("app", "nocmd", {"app/x": "x"}, ["no-such-command"])
    task = in_state(sandbox, run(sandbox, network, define(sandbox, "no-command", image)), "STOPPED")
    assert "CannotStartContainerError" in task["stoppedReason"]
    assert "no-such-command" in task["stoppedReason"]


def test_localhost_of_a_task_is_its_own(sandbox: Sandbox, network: Network, cluster: str) -> None:
    client = (
        "import threading, urllib.request, time\n"
        "exec(open('server.py').read().rpartition('http.server.Thr')[0])\n"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 5000), Handler)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "print(json.load(urllib.request.urlopen('http://localhost:5000/'))['name'], server.server_address[0])\n"
    )
    files = {"app/server.py": f"NAME = 'self'\n{SERVER}", "app/client.py": client}
    image = sandbox.push("app", "self", files, ["python", "client.py"])
    arn = run(sandbox, network, define(sandbox, "self", image))
    task = in_state(sandbox, arn, "STOPPED")
    address = details(task)["privateIPv4Address"]
    until(lambda: f"self {address}" in messages(sandbox, arn), "its own answer on its own address")
    assert task["containers"][0]["exitCode"] == 0


def test_exec_agent_comes_up_only_where_it_is_enabled(sandbox: Sandbox, network: Network, cluster: str) -> None:
    definition = define(sandbox, "agent", server_image(sandbox, "agent"))
    with_agent = run(sandbox, network, definition, enableExecuteCommand=True)
    without = in_state(sandbox, run(sandbox, network, definition), "RUNNING")

    def agents() -> list[tuple[str, str]]:
        container = described(sandbox, with_agent)["containers"][0]
        return [(agent["name"], agent["lastStatus"]) for agent in container.get("managedAgents", [])]

    until(lambda: agents() == [("ExecuteCommandAgent", "RUNNING")], "the agent")
    assert "managedAgents" not in without["containers"][0]


def test_container_health_is_the_result_of_its_check(sandbox: Sandbox, network: Network, cluster: str) -> None:
    image = server_image(sandbox, "healthy")
    check = {"command": ["CMD-SHELL", "python -c \"import urllib.request as u; u.urlopen('http://127.0.0.1:5000/')\""]}
    arn = run(sandbox, network, define(sandbox, "healthy", image, healthCheck={**check, "interval": 5, "retries": 1}))
    assert in_state(sandbox, arn, "RUNNING")["healthStatus"] == "UNKNOWN"
    until(lambda: described(sandbox, arn)["healthStatus"] == "HEALTHY", "healthy")


def test_a_killed_init_leaves_nothing_of_its_task(sandbox: Sandbox, network: Network, cluster: str) -> None:
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n    os.setsid()\n    time.sleep(999)\n"
        "print(os.getpid(), os.getppid(), flush=True)\ntime.sleep(999)"
    )
    image = sandbox.push("app", "forks", {"app/x.py": program}, ["python", "x.py"])
    arn = run(sandbox, network, define(sandbox, "forks", image))
    line = until(lambda: next((m for m in messages(sandbox, arn)), None), "pids")
    assert line is not None
    pid, init = (int(word) for word in line.split())
    mark = f"SANDBOX_TASK_IP={details(described(sandbox, arn))['privateIPv4Address']}".encode()
    os.kill(init, signal.SIGKILL)
    task = in_state(sandbox, arn, "STOPPED")
    assert task["containers"][0]["exitCode"] == 137

    def of_task() -> list[str]:
        found = []
        for entry in Path("/proc").glob("[0-9]*/environ"):
            try:
                if mark in entry.read_bytes().split(b"\0"):
                    found.append(entry.parent.name)
            except OSError:
                continue
        return found

    until(lambda: not of_task(), "no process of the task")
    assert not Path(f"/proc/{pid}").exists()


def test_a_secret_without_a_value_has_no_version(sandbox: Sandbox) -> None:
    secrets = sandbox.client("secretsmanager")
    assert "VersionId" not in secrets.create_secret(Name="tasks/empty")
    with pytest.raises(secrets.exceptions.ResourceNotFoundException, match="AWSCURRENT"):
        secrets.get_secret_value(SecretId="tasks/empty")
    secrets.put_secret_value(SecretId="tasks/empty", SecretString="now")
    assert secrets.get_secret_value(SecretId="tasks/empty")["SecretString"] == "now"
