"""The aws command, unmodified: version 1 of the checkout's environment, and version 2 where this machine has one."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.contract.conftest import Web
from tests.sandbox.ecs_stand import Stand
from tests.sandbox.support import CHECKOUT, Sandbox, until

V1 = Path(sys.executable).with_name("aws")


@functools.cache
def second_version() -> Path | None:
    """An `aws` of version 2 on the path."""
    for folder in os.get_exec_path():
        found = Path(folder) / "aws"
        if not os.access(found, os.X_OK) or CHECKOUT in found.resolve().parents:
            continue
        said = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60)
        if said.stdout.startswith("aws-cli/2"):
            return found
    return None


@dataclass(frozen=True)
class Cli:
    """The command with the sandbox's environment, and nobody's files."""

    program: Path
    environment: dict[str, str]

    def run(self, *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *arguments], env=self.environment, capture_output=True, text=True, timeout=timeout
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


def environment_of(sandbox: Sandbox, home: Path) -> dict[str, str]:
    facts = sandbox.facts
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
        "AWS_ENDPOINT_URL": sandbox.endpoint,
        "AWS_ACCESS_KEY_ID": facts["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": facts["secret_access_key"],
        "AWS_DEFAULT_REGION": facts["region"],
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_PAGER": "",
        "AWS_MAX_ATTEMPTS": "1",
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }


@pytest.fixture(params=["v1", "v2"])
def aws(request: pytest.FixtureRequest, sandbox: Sandbox, tmp_path: Path) -> Cli:
    program = V1 if request.param == "v1" else second_version()
    if program is None:
        pytest.skip("no aws command of version 2 on the path")
    assert program.exists(), f"{program} is not installed: scripts/bootstrap dev"
    return Cli(program, environment_of(sandbox, tmp_path))


@pytest.fixture
def aws2(sandbox: Sandbox, tmp_path: Path) -> Cli:
    program = second_version()
    if program is None:
        pytest.skip("no aws command of version 2 on the path, and version 1 has no `logs tail`")
    return Cli(program, environment_of(sandbox, tmp_path))


def test_it_waits_for_targets_and_for_services(aws: Cli, web: Web) -> None:
    wait = ("wait", "services-stable", "--cluster", web.stand.cluster, "--services", web.service)
    stable = aws.run("ecs", *wait)
    assert (stable.returncode, stable.stdout, stable.stderr) == (0, "", "")
    healthy = aws.run("elbv2", "wait", "target-in-service", "--target-group-arn", web.group)
    assert (healthy.returncode, healthy.stderr) == (0, "")


def test_its_waits_fail_where_nothing_comes(aws: Cli, web: Web) -> None:
    gone = aws.run("ecs", "wait", "services-stable", "--cluster", web.stand.cluster, "--services", "contract-nobody")
    assert gone.returncode == 255
    assert "Waiter ServicesStable failed: Waiter encountered a terminal failure state" in gone.stderr
    nowhere = aws.run("elbv2", "wait", "target-in-service", "--target-group-arn", f"{web.group[:-16]}0123456789abcdef")
    assert nowhere.returncode == 255
    assert "An error occurred (TargetGroupNotFound)" in nowhere.stderr


def test_run_task_waits_and_stop_task(aws: Cli, stand: Stand, sleeper: str) -> None:
    subnets = ",".join(stand.network.subnets)
    network = f"awsvpcConfiguration={{subnets=[{subnets}],securityGroups=[{stand.network.group}]}}"
    where = ("--cluster", stand.cluster)
    started = aws.json(
        *("ecs", "run-task", *where, "--task-definition", sleeper, "--launch-type", "FARGATE", "--count", "2"),
        *("--network-configuration", network, "--tags", "key=a,value=b", "--started-by", "contract"),
    )
    arns = [task["taskArn"] for task in started["tasks"]]
    assert (len(arns), started["failures"]) == (2, [])
    until(lambda: running(stand, arns), "both tasks run")
    assert aws.run("ecs", "wait", "tasks-running", *where, "--tasks", *arns).returncode == 0
    assert set(aws.json("ecs", "list-tasks", *where, "--started-by", "contract")["taskArns"]) == set(arns)
    for arn in arns:
        aws.json("ecs", "stop-task", *where, "--task", arn, "--reason", "enough")
    until(lambda: not running(stand, arns), "both tasks have stopped")
    assert aws.run("ecs", "wait", "tasks-stopped", *where, "--tasks", *arns).returncode == 0
    reasons = [task["stoppedReason"] for task in aws.json("ecs", "describe-tasks", *where, "--tasks", *arns)["tasks"]]
    assert reasons == ["enough", "enough"]
    refused = aws.run("ecs", "run-task", *where, "--task-definition", "contract-nobody")
    assert refused.returncode in (254, 255)
    assert "An error occurred (ClientException) when calling the RunTask operation" in refused.stderr


def running(stand: Stand, arns: list[str]) -> bool:
    tasks = stand.ecs.describe_tasks(cluster=stand.cluster, tasks=arns)["tasks"]
    return all(task["lastStatus"] == "RUNNING" for task in tasks) if tasks else False


@pytest.fixture(scope="module")
def reachable(stand: Stand, sleeper: str) -> Iterator[str]:
    """A task whose Exec agent runs."""
    arn = stand.run(sleeper, enableExecuteCommand=True)

    def agents() -> list[str]:
        containers = stand.task(arn)["containers"]
        return [agent["lastStatus"] for container in containers for agent in container.get("managedAgents", [])]

    until(lambda: agents() == ["RUNNING"], "the agent runs")
    yield arn
    stand.stop(arn)


def execute(aws: Cli, stand: Stand, task: str) -> subprocess.CompletedProcess[str]:
    return aws.run(
        *("ecs", "execute-command", "--cluster", stand.cluster, "--task", task),
        *("--container", "app", "--command", "/bin/sh", "--interactive"),
    )


def test_execute_command_wants_its_plugin(aws: Cli, stand: Stand, reachable: str) -> None:
    done = execute(aws, stand, reachable)
    assert done.returncode in (252, 253, 254, 255)
    assert "SessionManagerPlugin is not found" in done.stderr


def test_execute_command_starts_its_plugin_with_a_session(
    aws: Cli, stand: Stand, reachable: str, tmp_path: Path
) -> None:
    plugin = tmp_path / "bin" / "session-manager-plugin"
    plugin.parent.mkdir()
    # In the plugin's place: writes down what it was started with.
    plugin.write_text('#!/bin/sh\n[ $# = 0 ] || printf "%s\\n" "$@" >"$HOME/started-with"\n')
    plugin.chmod(0o755)
    aws.environment["PATH"] = f"{plugin.parent}:{aws.environment['PATH']}"
    done = execute(aws, stand, reachable)
    assert (done.returncode, done.stderr) == (0, "")
    session, region, action, _, wanted, *_ = (tmp_path / "started-with").read_text().split("\n")
    assert (region, action) == (stand.sandbox.facts["region"], "StartSession")
    assert set(json.loads(session)) == {"sessionId", "streamUrl", "tokenValue"}
    assert json.loads(wanted)["Target"].startswith(f"ecs:{stand.cluster}_{reachable.rsplit('/', 1)[1]}_")


def log_lines(sandbox: Sandbox, group: str, count: int) -> None:
    logs = sandbox.client("logs")
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="s")
    now = int(time.time() * 1000)
    events = [
        {"timestamp": now - count + n, "message": f"line {n} {'ERROR' if n % 10 == 0 else 'ok'}"} for n in range(count)
    ]
    logs.put_log_events(logGroupName=group, logStreamName="s", logEvents=events)


def test_logs_tail_follows_what_is_written(aws2: Cli, sandbox: Sandbox) -> None:
    log_lines(sandbox, "/contract/follow", 3)
    arguments = [aws2.program, "logs", "tail", "/contract/follow", "--since", "5m", "--follow", "--format", "short"]
    with subprocess.Popen(arguments, env=aws2.environment, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        too_late = threading.Timer(30, following.kill)
        too_late.start()
        try:
            first = [following.stdout.readline() for _ in range(3)]
            event = {"timestamp": int(time.time() * 1000), "message": "written later"}
            sandbox.client("logs").put_log_events(logGroupName="/contract/follow", logStreamName="s", logEvents=[event])
            later = following.stdout.readline()
        finally:
            too_late.cancel()
            following.terminate()
    assert "line 0 ERROR" in first[0]
    assert later.endswith("written later\n")
    sandbox.client("logs").delete_log_group(logGroupName="/contract/follow")


def test_logs_tail_shows_the_lines(aws2: Cli, sandbox: Sandbox) -> None:
    log_lines(sandbox, "/contract/tail", 30)
    shown = aws2.run("logs", "tail", "/contract/tail", "--since", "5m", "--format", "short")
    assert shown.returncode == 0, shown.stderr
    assert [line.split(" ", 1)[1] for line in shown.stdout.splitlines()][:2] == ["line 0 ERROR", "line 1 ok"]
    assert len(shown.stdout.splitlines()) == 30
    filtered = aws2.run("logs", "tail", "/contract/tail", "--since", "5m", "--filter-pattern", "ERROR")
    assert len(filtered.stdout.splitlines()) == 3
    missing = aws2.run("logs", "tail", "/contract/none")
    assert "ResourceNotFoundException" in missing.stderr
    sandbox.client("logs").delete_log_group(logGroupName="/contract/tail")


def test_filter_log_events_is_read_page_by_page(aws: Cli, sandbox: Sandbox) -> None:
    log_lines(sandbox, "/contract/filter", 50)
    filter_events = ("logs", "filter-log-events", "--log-group-name", "/contract/filter")
    everything = aws.json(*filter_events, "--page-size", "7")
    assert len(everything["events"]) == 50
    some = aws.json(*filter_events, "--max-items", "12", "--page-size", "5")
    assert len(some["events"]) == 12
    rest = aws.json(*filter_events, "--page-size", "5", "--starting-token", some["NextToken"])
    messages = [event["message"] for page in (some, rest) for event in page["events"]]
    assert messages == [event["message"] for event in everything["events"]]
    assert len(aws.json(*filter_events, "--filter-pattern", "ERROR", "--page-size", "2")["events"]) == 5
    sandbox.client("logs").delete_log_group(logGroupName="/contract/filter")


def test_lists_are_read_page_by_page(aws: Cli, stand: Stand) -> None:
    iam = stand.sandbox.client("iam")
    names = [f"contract-page-{n}" for n in range(5)]
    for name in names:
        iam.create_user(UserName=name, Path="/contract/")
    listed = ("iam", "list-users", "--path-prefix", "/contract/")
    assert [user["UserName"] for user in aws.json(*listed, "--page-size", "2")["Users"]] == names
    first = aws.json(*listed, "--max-items", "3", "--page-size", "2")
    second = aws.json(*listed, "--starting-token", first["NextToken"])
    assert [user["UserName"] for page in (first, second) for user in page["Users"]] == names
    for name in names:
        iam.delete_user(UserName=name)
    groups = aws.json(
        "ec2", "describe-security-groups", "--page-size", "5", "--filters", f"Name=vpc-id,Values={stand.network.vpc}"
    )
    assert stand.network.group in [group["GroupId"] for group in groups["SecurityGroups"]]


def test_lookup_events_finds_what_the_command_did(aws: Cli, sandbox: Sandbox) -> None:
    name = f"contract-event-{aws.program.parent.parent.name.strip('.')}"
    aws.json("ecs", "create-cluster", "--cluster-name", name)
    attribute = "AttributeKey=EventName,AttributeValue=CreateCluster"
    found: list[dict[str, Any]] = []

    def looked_up() -> bool:
        done = aws.run(
            "cloudtrail", "lookup-events", "--lookup-attributes", attribute, "--max-items", "20", "--output", "json"
        )
        if done.returncode:
            assert "ThrottlingException" in done.stderr, done.stderr
            return False
        records = [json.loads(event["CloudTrailEvent"]) for event in json.loads(done.stdout)["Events"]]
        found[:] = [record for record in records if record["requestParameters"]["clusterName"] == name]
        return bool(found)

    until(looked_up, "the event")
    assert found[0]["eventSource"] == "ecs.amazonaws.com"
    assert "aws-cli/" in found[0]["userAgent"]
    aws.json("ecs", "delete-cluster", "--cluster", name)
