"""ECS tasks as containers (PAPYRUS_SANDBOX_ENGINE): whole with the engine that is here, and what needs none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import container_engine, container_network, container_tasks
from tests.sandbox.ecs_stand import Stand, address, answer, server
from tests.sandbox.support import Sandbox, make_network, open_folder, until

ENGINE = next((name for name in container_engine.ENGINES if shutil.which(name, path=container_engine.PATH)), "")


def with_engine(test: Callable[..., None]) -> Callable[..., None]:
    """By `make soak` only: an engine that is installed but cannot run containers is no fault of the checkout."""
    return pytest.mark.soak(pytest.mark.skipif(not ENGINE, reason="neither docker nor podman is installed")(test))


# Answers GET /HOST/PORT/PATH with what it gets from there, and with what it knows of itself. Binds as the caller says.
RELAY = """
import http.server, json, os, socket, time, urllib.request
if os.fork() == 0: time.sleep(3600)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"peer": self.client_address[0], "uid": os.getuid(), "cwd": os.getcwd(), "env": dict(os.environ)}
        said["interfaces"] = [name for _, name in socket.if_nameindex()]
        try:
            open("/mark", "w").close()
            said["writable"] = True
        except OSError:
            said["writable"] = False
        if self.path != "/":
            host, port, path = self.path[1:].split("/", 2)
            try:
                with urllib.request.urlopen(f"http://{host}:{port}/{path}", timeout=3) as other:
                    said["got"] = json.load(other)
            except OSError as error:
                said["error"] = str(error)
        body = json.dumps(said).encode()
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *a): pass
hidden = socket.create_server(("127.0.0.1", 6000))
print("up", flush=True)
http.server.ThreadingHTTPServer(("0.0.0.0", 5000), Handler).serve_forever()
"""
# Ends with 3 on SIGTERM, as a program that is told to end and does; `deaf` does not hear it.
ENDING = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\nprint('up', flush=True)\n"


@pytest.fixture(scope="module")
def stand() -> Iterator[Stand]:
    with open_folder() as root, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAPYRUS_SANDBOX_ENGINE", ENGINE)
        running = Sandbox(root)
        try:
            yield Stand.make(running.up(), make_network(running), "boxes")
        finally:
            running.down()
            assert of_sandbox(root) == []


def of_sandbox(root: Path) -> list[str]:
    return container_engine.Client(ENGINE).of_sandbox(root / ".sandbox" / "state")


def on_base(stand: Stand, program: str) -> str:
    """An image that stands for this machine's Python, as those of this repository's stacks do."""
    labels = {"ops.papyrus.sandbox.host-python": "3"}
    return stand.sandbox.push(stand.repository, "t", {"app/x.py": program}, ["python", "x.py"], Labels=labels)


def started(stand: Stand, family: str, *containers: dict[str, Any], **more: Any) -> dict[str, Any]:
    # As the first process of its own namespace a program does not end by a SIGTERM that it does not handle.
    definition = stand.define(family, *({"stopTimeout": 2, **container} for container in containers), **more)
    return stand.until_task(stand.run(definition), "RUNNING")


def get(task: dict[str, Any], path: str = "") -> dict[str, Any]:
    with urllib.request.urlopen(f"http://{address(task)}:5000/{path}", timeout=10) as response:
        document: dict[str, Any] = json.load(response)
    return document


@with_engine
def test_a_task_has_loopback_only_and_reaches_the_sandbox_and_other_tasks(stand: Stand) -> None:
    secrets = stand.sandbox.client("secretsmanager")
    secret = secrets.create_secret(Name="boxes", SecretString="first\nsecond line")["ARN"]
    container = {"image": on_base(stand, RELAY), "secrets": [{"name": "SECRET", "valueFrom": secret}]}
    limits = {"user": "1234", "readonlyRootFilesystem": True, "workingDirectory": "/app", "memory": 256}
    role = stand.role("boxes")
    plain = {"environment": [{"name": "PLAIN", "value": "a b=c"}]}
    first = started(stand, "first", {**container, **plain}, taskRoleArn=role)
    second = started(stand, "second", {**container, **limits})
    ip, other = address(first), address(second)
    answer(first), answer(second)
    said = get(first)
    assert said["interfaces"] == ["lo"]
    assert said["env"]["PLAIN"] == "a b=c"
    assert said["env"]["SECRET"] == "first\nsecond line"
    assert (said["uid"], said["writable"]) == (0, True)
    limited = get(second)
    assert (limited["uid"], limited["writable"], limited["cwd"]) == (1234, False, "/app")
    # Both listen on all addresses at the same port, and each sees who calls by the address that AWS would show.
    assert get(first, f"{other}/5000/")["got"]["peer"] == ip
    assert get(first, "127.0.0.1/5000/")["got"]["peer"] == "127.0.0.1"
    metadata = said["env"]["ECS_CONTAINER_METADATA_URI_V4"].removeprefix("http://").replace(":", "/", 1)
    assert get(first, f"{metadata}/task")["got"]["TaskARN"] == first["taskArn"]
    # What is measured is the container's own program and its child, not the engine's client.
    assert get(first, f"{metadata}/stats")["got"]["pids_stats"] == {"current": 2}
    credentials = said["env"]["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"]
    assert get(first, f"169.254.170.2/80{credentials}")["got"]["RoleArn"] == role
    assert "error" in get(first, f"{other}/5001/")
    # Neither another loopback address of this machine, nor the world.
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        assert "refused" in get(first, f"127.0.0.1/{elsewhere.getsockname()[1]}/")["error"]
    assert "unreachable" in get(first, "192.0.2.1/80/")["error"]
    # What listens on 127.0.0.1 is the task's alone.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((ip, 6000), timeout=5)
    outside = {line.split()[1].partition(":")[0] for line in listeners() if line.split()[1].endswith(":1388")}
    assert {packed(ip), packed(other)} <= outside
    assert packed("0.0.0.0") not in outside
    # The secret is neither in an argument nor left in a file.
    argv = b"".join(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in os.listdir("/proc") if readable(pid))
    assert b"second line" not in argv
    assert not list((stand.sandbox.root / ".sandbox" / "state" / "tasks").rglob("environment"))
    for task in (first, second):
        stand.stop(task["taskArn"])


def readable(pid: str) -> bool:
    return pid.isdigit() and os.access(f"/proc/{pid}/cmdline", os.R_OK)


def listeners() -> list[str]:
    return [line for line in Path("/proc/net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"]


def packed(ip: str) -> str:
    return f"{struct.unpack('=I', socket.inet_aton(ip))[0]:08X}"


@with_engine
def test_containers_of_a_task_share_localhost_and_their_checks_run_inside(stand: Stand) -> None:
    check = "import urllib.request; urllib.request.urlopen('http://localhost:5000/')"
    health = {"command": ["CMD", "python", "-c", check], "interval": 5, "timeout": 4, "retries": 1}
    logs = {"logDriver": "awslogs", "options": {"awslogs-group": "/boxes", "awslogs-region": "us-west-2"}}
    logs["options"] |= {"awslogs-stream-prefix": "x", "awslogs-create-group": "true"}
    beside = {"name": "beside", "image": on_base(stand, "import time\ntime.sleep(600)"), "portMappings": []}
    image = on_base(stand, server("app"))
    task = started(stand, "pair", {"image": image, "logConfiguration": logs}, {**beside, "healthCheck": health})
    healthy = until(lambda: stand.task(task["taskArn"])["healthStatus"] == "HEALTHY", "the check within beside", 15)
    assert healthy
    found = stand.sandbox.client("logs").filter_log_events(logGroupName="/boxes")["events"]
    assert [event["message"] for event in found] == ["started app"]
    stand.stop(task["taskArn"])


@with_engine
def test_exit_codes_and_what_cannot_start_are_true(stand: Stand) -> None:
    quick, deaf = on_base(stand, "raise SystemExit(7)"), on_base(stand, "import time\ntime.sleep(600)")
    seven = stand.run(stand.define("seven", {"image": quick}))
    nothing = {"image": quick, "entryPoint": ["/no/such/program"], "command": ["x"]}
    absent = stand.run(stand.define("nothing", nothing))
    tasks = [
        started(stand, "told", {"image": on_base(stand, f"{ENDING}time.sleep(600)"), "stopTimeout": 10}),
        started(stand, "deaf", {"image": deaf}),
    ]
    for task in tasks:
        stand.stop(task["taskArn"])
    codes = [stand.until_task(t["taskArn"], "STOPPED")["containers"][0]["exitCode"] for t in tasks]
    assert codes == [3, 137]
    assert stand.until_task(seven, "STOPPED")["containers"][0]["exitCode"] == 7
    failed = stand.until_task(absent, "STOPPED")
    assert failed["stoppedReason"].startswith("CannotStartContainerError: ")
    assert "/no/such/program" in failed["stoppedReason"]
    until(lambda: not of_sandbox(stand.sandbox.root), "containers and networks of stopped tasks are gone")


@with_engine
def test_nothing_outlives_a_killed_sandbox(stand: Stand) -> None:
    task = started(stand, "orphan", {"image": on_base(stand, server("orphan"))})
    answer(task)
    os.kill(int(stand.sandbox.facts["pid"]), signal.SIGKILL)
    until(lambda: not of_sandbox(stand.sandbox.root), "the engine has none of its containers", 15)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address(task), 5000), timeout=5)
    stand.sandbox.up()
    stand.stop(started(stand, "after", {"image": on_base(stand, server("after"))})["taskArn"])


@pytest.mark.parametrize(("name", "said"), [("lxc", "choose one of"), ("docker", "docker is not installed")])
def test_up_refuses_an_engine_that_is_not_there(name: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which(name, path=container_engine.PATH):
        pytest.skip(f"{name} is installed here")
    monkeypatch.setenv("PAPYRUS_SANDBOX_ENGINE", name)
    with open_folder() as root:
        done = Sandbox(root).run("up", check=False)
        assert done.returncode == 1
        assert said in done.stderr
        assert not (root / ".sandbox").exists()


FAKE = """#!/bin/sh
echo "$@" >> {log}
case "$1" in
  ps) echo one two ;;
  images) echo 127.0.0.1:2001/a@sha256:1 127.0.0.1:20010/b@sha256:2 c@sha256:3 ;;
esac
"""


@pytest.mark.parametrize(
    ("name", "removal"),
    [("docker", "rm --force --volumes one two"), ("podman", "rm --force --volumes --time=0 --depend one two")],
)
def test_the_sweep_takes_what_is_ours(name: str, removal: str, tmp_path: Path) -> None:
    client = container_engine.Client(name)
    client.program = str(tmp_path / name)
    Path(client.program).write_text(FAKE.format(log=tmp_path / "log"))
    Path(client.program).chmod(0o755)
    client.sweep(Path("/state"), 2001)
    calls = (tmp_path / "log").read_text().splitlines()
    assert calls[0] == "ps --all --quiet --no-trunc --filter label=papyrus.sandbox=/state"
    assert calls[1] == removal
    assert calls[3:] == ["rmi 127.0.0.1:2001/a@sha256:1"]


def test_a_definition_becomes_options() -> None:
    own = {
        "cpu": 1,
        "user": "app:app",
        "readonlyRootFilesystem": True,
        "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"], "add": ["SYS_PTRACE"]}},
        "ulimits": [{"name": "nofile", "softLimit": 1024, "hardLimit": 4096}],
    }
    words = container_tasks.definition_words(own, {"cpu": "512", "memory": "1024"}, "docker")
    assert words == [
        *("--memory=1024m", "--cpus=0.5", "--cpu-shares=2", "--user=app:app", "--read-only", "--init"),
        *("--cap-add=SYS_PTRACE", "--cap-drop=ALL", "--ulimit=nofile=1024:4096"),
    ]
    assert container_tasks.definition_words({"memory": 64}, {"cpu": None, "memory": "512"}, "podman") == [
        "--memory=64m"
    ]
    given = {"entrypoint": ["/bin/sh", "-c"], "command": ["exit 1"]}
    assert container_tasks.command_words(given, "i") == ["--entrypoint", "/bin/sh", "i", "-c", "exit 1"]
    assert container_tasks.command_words({"command": ["x"]}, "i") == ["i", "x"]
    assert container_tasks.split_environment({"A": "1", "B": "2\n3"}) == ("A=1\n", {"B": "2\n3"})


def test_ports_that_others_reach() -> None:
    lines = [
        *("head", "0: 00000000:1388 00000000:0000 0A", "1: 0100007F:1389 00000000:0000 0A"),
        *(f"2: {packed('127.9.1.2')}:138A 00000000:0000 0A", "3: 00000000:138B 0100007F:1111 01"),
        *(f"4: {'0' * 32}:138C {'0' * 32}:0000 0A", f"5: {'0' * 16}FFFF0000{packed('127.9.1.2')}:138D x 0A"),
    ]
    assert container_network.listening("\n".join(lines), "127.9.1.2") == {5000, 5002, 5004, 5005}
