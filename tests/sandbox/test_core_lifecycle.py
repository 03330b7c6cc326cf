"""Up, down, status, env: repeatable, side by side, and nothing left whatever way the sandbox ends."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.sandbox.support import (
    PYTHON,
    SERVER,
    Sandbox,
    children_of_state,
    execution_role,
    make_network,
    open_folder,
    until,
)


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Sandbox]:
    """A second sandbox, beside the session's."""
    second = Sandbox(tmp_path)
    try:
        yield second
    finally:
        second.down()


def start_service(sandbox: Sandbox) -> str:
    network = make_network(sandbox)
    ecs = sandbox.client("ecs")
    ecs.create_cluster(clusterName="c")
    sandbox.client("ecr").create_repository(repositoryName="rr")
    image = sandbox.push("rr", "t", {"app/x.py": f"NAME = 'x'\n{SERVER}"}, ["python", "x.py"])
    ecs.register_task_definition(
        family="f",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        executionRoleArn=execution_role(sandbox),
        containerDefinitions=[{"name": "app", "image": image}],
    )
    ecs.create_service(
        cluster="c",
        serviceName="s",
        taskDefinition="f",
        desiredCount=1,
        launchType="FARGATE",
        networkConfiguration=network.configuration,
    )
    return running_task(sandbox, set())


def running_task(sandbox: Sandbox, known: set[str]) -> str:
    ecs = sandbox.client("ecs")

    def look() -> str | None:
        arns = [arn for arn in ecs.list_tasks(cluster="c", serviceName="s")["taskArns"] if arn not in known]
        tasks = ecs.describe_tasks(cluster="c", tasks=arns)["tasks"] if arns else []
        return next((task["taskArn"] for task in tasks if task["lastStatus"] == "RUNNING"), None)

    found = until(look, "a running task")
    assert found is not None
    return found


def test_env_prints_nothing_but_exports_that_a_shell_takes(sandbox: Sandbox) -> None:
    printed = sandbox.run("env").stdout
    lines = printed.splitlines()
    assert all(re.fullmatch(r"export [A-Z0-9_]+=\S+", line) for line in lines), printed
    names = {line.removeprefix("export ").partition("=")[0] for line in lines}
    assert names >= {
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "TF_CLI_CONFIG_FILE",
    }
    done = subprocess.run(
        ["/bin/sh", "-c", f"eval {shlex.quote(printed)}; echo $AWS_ENDPOINT_URL"], capture_output=True, text=True
    )
    assert done.stdout.strip() == sandbox.endpoint


def test_env_and_status_of_a_sandbox_that_is_down(other: Sandbox) -> None:
    env, status = other.run("env", check=False), other.run("status", check=False)
    assert (env.returncode, env.stdout) == (1, "")
    assert "is down" in env.stderr
    assert (status.returncode, status.stdout.strip()) == (1, "sandbox: is down")


def test_up_when_up_says_so(sandbox: Sandbox) -> None:
    before = json.loads((sandbox.root / ".sandbox" / "sandbox.json").read_text())
    done = sandbox.run("up")
    assert "is up at" in done.stdout
    assert json.loads((sandbox.root / ".sandbox" / "sandbox.json").read_text()) == before


def test_two_sandboxes_run_side_by_side(sandbox: Sandbox, other: Sandbox) -> None:
    other.up()
    for fact in ("endpoint", "vpc_cidr", "pid"):
        assert other.facts[fact] != sandbox.facts[fact]
    other.client("ecs").create_cluster(clusterName="only-there")
    arns = sandbox.client("ecs").list_clusters()["clusterArns"]
    assert not any(arn.endswith("/only-there") for arn in arns)


def test_two_ups_at_the_same_time_make_one_sandbox(other: Sandbox) -> None:
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda _: other.run("up"), range(2)))
    assert sorted("is up at" in one.stdout for one in done) == [False, True]
    other.up()


@pytest.mark.parametrize("content", ["", "999999\n", "rubbish", pytest.param(str(os.getpid()), id="a living process")])
def test_stale_files_are_no_hindrance(other: Sandbox, content: str) -> None:
    home = other.root / ".sandbox"
    (home / "state" / "emulator").mkdir(parents=True)
    (home / "sandbox.pid").write_text(content)
    (home / "sandbox.json").write_text('{"endpo')
    (home / "state" / "address.json").write_text('{"port": ')
    (home / "state" / "emulator" / "ecs.json").write_text('{"__ministack')
    other.up()
    assert other.client("ecs").list_clusters()["clusterArns"] == []


def test_state_and_services_survive_down_and_up(other: Sandbox) -> None:
    other.up()
    first = start_service(other)
    other.client("s3").create_bucket(
        Bucket="kept-bucket", CreateBucketConfiguration={"LocationConstraint": other.facts["region"]}
    )
    other.client("s3").put_object(Bucket="kept-bucket", Key="k", Body=b"v")
    other.client("secretsmanager").create_secret(Name="kept", SecretString="v")
    before = dict(other.facts)
    other.down()
    assert children_of_state(other.root / ".sandbox" / "state") == []
    assert not (other.root / ".sandbox" / "sandbox.json").exists()
    other.up()
    assert {k: v for k, v in other.facts.items() if k != "pid"} == {k: v for k, v in before.items() if k != "pid"}
    assert other.client("s3").get_object(Bucket="kept-bucket", Key="k")["Body"].read() == b"v"
    assert other.client("secretsmanager").get_secret_value(SecretId="kept")["SecretString"] == "v"
    second = running_task(other, {first})
    ecs = other.client("ecs")
    old, new = (ecs.describe_tasks(cluster="c", tasks=[arn])["tasks"][0] for arn in (first, second))
    assert (old["lastStatus"], old["desiredStatus"]) == ("STOPPED", "STOPPED")
    interfaces = other.client("ec2").describe_network_interfaces()["NetworkInterfaces"]
    details = {d["name"]: d["value"] for d in new["attachments"][0]["details"]}
    assert [i["NetworkInterfaceId"] for i in interfaces] == [details["networkInterfaceId"]]


def test_nothing_is_left_when_the_supervisor_is_killed(other: Sandbox) -> None:
    other.up()
    first = start_service(other)
    state = other.root / ".sandbox" / "state"
    assert children_of_state(state), "the test sees the task"
    saved = state / "emulator" / "ecs.json"
    until(lambda: saved.exists() and first in saved.read_text(), "state is saved while it runs")
    os.kill(other.facts["pid"], signal.SIGKILL)
    until(lambda: not children_of_state(state), "all processes gone", seconds=10)
    other.up()
    assert running_task(other, {first}) != first


def test_serve_ends_by_itself_when_told(other: Sandbox) -> None:
    other.up()
    os.kill(other.facts["pid"], signal.SIGTERM)
    until(lambda: not Path(f"/proc/{other.facts['pid']}").exists(), "its end")
    assert other.run("status", check=False).returncode == 1


def test_it_listens_on_loopback_only(sandbox: Sandbox) -> None:
    start_service(sandbox)
    ports = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            address, state, inode = fields[1], fields[3], fields[9]
            if state == "0A" and inode in _inodes(sandbox):
                ports.add(address)
    assert ports
    assert all(re.match(r"^[0-9A-F]{6}7F:", address) for address in ports), ports


def _inodes(sandbox: Sandbox) -> set[str]:
    found = set()
    for pid in [sandbox.facts["pid"], *children_of_state(sandbox.root / ".sandbox" / "state")]:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


def test_the_sandbox_needs_only_its_own_environment(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(PYTHON), "-m", "sandbox", "status"],
        cwd=PYTHON.parents[3],
        env={"PAPYRUS_SANDBOX_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "sandbox: is down\n"), done.stderr


@pytest.fixture
def open_root() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


def as_nobody(root: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(PYTHON), "-m", "sandbox", command],
        cwd=PYTHON.parents[3],
        env={"PATH": "/usr/bin:/bin", "PAPYRUS_SANDBOX_ROOT": str(root)},
        user=65534,
        group=65534,
        extra_groups=[],
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_an_ordinary_user_can_have_one(open_root: Path) -> None:
    os.chown(open_root, 65534, 65534)
    try:
        done = as_nobody(open_root, "up")
        assert done.returncode == 0, done.stderr
        theirs = Sandbox(open_root, json.loads((open_root / ".sandbox" / "sandbox.json").read_text()))
        start_service(theirs)
        assert Path(f"/proc/{theirs.facts['pid']}").stat().st_uid == 65534
    finally:
        done = as_nobody(open_root, "down")
    assert done.returncode == 0, done.stderr
    assert children_of_state(open_root / ".sandbox" / "state") == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make somebody else's folder")
def test_somebody_elses_sandbox_is_told_in_one_line(open_root: Path) -> None:
    (open_root / ".sandbox").mkdir()
    done = as_nobody(open_root, "up")
    assert done.returncode == 1
    assert "made by another one" in done.stderr
    assert len(done.stderr.splitlines()) == 1
