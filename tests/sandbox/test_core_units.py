"""The sandbox's own parts without a running sandbox: processes, addresses, task addresses, paths, request parsing."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox import requests, task_init, task_shim
from sandbox.addresses import Addresses, NoAddress
from sandbox.container_health import HealthCheck, Verdict
from sandbox.processes import Processes, StartError, survivors
from sandbox.recording import HIDDEN, is_read_only, without_secrets
from sandbox.responses import error_code, error_response
from tests.sandbox.support import until

ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path)
    yield started
    started.close()
    # It took this process for the sandbox's own; orphans of other tests are not ours to wait for.
    ctypes.CDLL(None).prctl(task_init.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    assert survivors(tmp_path) == []


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 143), ("kill -9 $$", 137)]
)
def test_exit_codes_are_true(processes: Processes, script: str, code: int) -> None:
    assert processes.run(["sh", "-c", script], env=ENV) == code


def test_a_program_gets_exactly_its_environment_and_folder(processes: Processes, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert processes.run(["env"], env={**ENV, "A": "b c"}, cwd=tmp_path, output=output) == 0
    assert sorted(output.read_text().splitlines()) == ["A=b c", "PATH=/usr/bin:/bin"]
    processes.run(["pwd"], env=ENV, cwd=tmp_path, output=output)
    assert output.read_text().splitlines()[-1] == str(tmp_path)


def test_a_program_that_is_not_there_is_told(processes: Processes) -> None:
    with pytest.raises(StartError, match="No such file"):
        processes.start(["no-such-program"], env=ENV)
    with pytest.raises(StartError):
        processes.start(["sh"], env=ENV, cwd="/no/such/folder")


def test_stop_waits_for_sigterm_and_then_kills(processes: Processes, tmp_path: Path) -> None:
    gentle = processes.start(["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"], env=ENV)
    time.sleep(0.2)
    assert gentle.stop(timeout=5) == 7
    stubborn = processes.start(["sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"], env=ENV)
    time.sleep(0.2)
    assert stubborn.stop(timeout=0.3) == 137


def alive(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "Z"
    except FileNotFoundError:
        return False


def forking(output: Path) -> list[str]:
    """A program whose grandchild leaves the session and ignores SIGTERM."""
    program = (
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid(); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        f"    open({str(output)!r}, 'w').write(str(os.getpid()) + '\\n'); time.sleep(99)\n"
        "time.sleep(99)\n"
    )
    return [sys.executable, "-c", program]


def grandchild(output: Path) -> int:
    return int(until(lambda: output.exists() and output.read_text().strip(), "the grandchild"))


@pytest.mark.parametrize("how", ["stop", "kill the program", "kill its init"])
def test_the_whole_tree_ends_with_the_program(processes: Processes, tmp_path: Path, how: str) -> None:
    process = processes.start(forking(tmp_path / "pid"), env=ENV)
    pid = grandchild(tmp_path / "pid")
    assert processes.owner(pid) is process
    if how == "stop":
        process.stop(timeout=2)
    else:
        os.kill(process.pid if how == "kill the program" else process.init, signal.SIGKILL)
    until(lambda: not alive(pid) and not alive(process.pid), how, seconds=8)
    assert process.wait(5) == (143 if how == "stop" else 137)


def test_the_tree_ends_when_the_pipe_to_the_sandbox_breaks(tmp_path: Path) -> None:
    life_in, life_out = os.pipe()
    status_in, status_out = os.pipe()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-S", task_init.__file__, str(life_in), str(status_out), "-1", "-1", "x", "--"]
        + forking(tmp_path / "pid"),
        ENV,
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, fd) for fd in (life_in, status_out)],
        setsid=True,
    )
    child = grandchild(tmp_path / "pid")
    for fd in (life_in, status_in, status_out, life_out):
        os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 137
    assert not alive(child)


def test_starting_from_many_short_lived_threads_is_safe(processes: Processes) -> None:
    started: list[Any] = []
    threads = [
        threading.Thread(target=lambda: started.append(processes.start(["sleep", "99"], env=ENV))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    time.sleep(0.3)
    assert [process.poll() for process in started] == [None] * 5, "they outlive the thread that asked for them"


def test_what_a_killed_init_left_is_ended_while_programs_are_being_started(
    processes: Processes, tmp_path: Path
) -> None:
    noted = tmp_path / "pid"
    process = processes.start(["sh", "-c", f"setsid sleep 600 & echo $! >{noted}; wait"], env=ENV)
    left = Path("/proc") / until(
        lambda: noted.exists() and noted.read_text().strip(), "a child in a session of its own"
    )
    os.kill(process.init, signal.SIGKILL)

    def gone() -> bool:
        processes.run(["true"], env=ENV)
        return not left.exists()

    until(gone, "the end of what the program left", 12)


def test_addresses_are_not_used_again_soon_and_not_those_of_aws() -> None:
    addresses = Addresses(first=lambda usable: usable - 2)
    taken = [addresses.take("127.9.0.0/28") for _ in range(11)]
    assert taken[:3] == ["127.9.0.13", "127.9.0.14", "127.9.0.4"]
    assert len(set(taken)) == 11
    with pytest.raises(NoAddress):
        addresses.take("127.9.0.0/28")
    addresses.release("127.9.0.5")
    assert addresses.take("127.9.0.0/28") == "127.9.0.5"
    fresh = Addresses(first=lambda _: 0)
    first = fresh.take("127.9.0.0/24")
    fresh.release(first)
    assert fresh.take("127.9.0.0/24") != first


@pytest.mark.parametrize(
    ("family", "address", "binding", "expected"),
    [
        (socket.AF_INET, ("0.0.0.0", 5000), True, ("10.0.0.9", 5000)),
        (socket.AF_INET, ("", 5000), True, ("10.0.0.9", 5000)),
        (socket.AF_INET, ("127.0.0.1", 5000), True, ("10.0.0.9", 5000)),
        (socket.AF_INET, ("10.0.0.7", 5000), True, ("10.0.0.7", 5000)),
        (socket.AF_INET6, ("::", 5000, 0, 0), True, ("::ffff:10.0.0.9", 5000, 0, 0)),
        (socket.AF_INET, ("localhost", 5000), False, ("10.0.0.9", 5000)),
        (socket.AF_INET, ("127.0.0.1", 4566), False, ("127.0.0.1", 4566)),
        (socket.AF_INET, ("10.0.0.7", 80), False, ("10.0.0.7", 80)),
        (socket.AF_UNIX, "/run/socket", True, "/run/socket"),
    ],
)
def test_a_tasks_localhost_is_its_own_address(family: int, address: Any, binding: bool, expected: Any) -> None:
    assert task_shim.translate(address, family, "10.0.0.9", binding=binding, gateway_port=4566) == expected


def test_health_needs_as_many_failures_as_retries_and_forgives_the_start() -> None:
    check = HealthCheck.parse({"command": ["CMD", "true"], "retries": 2, "startPeriod": 10})
    assert check is not None
    assert (check.argv, check.interval, check.timeout) == (("true",), 30.0, 5.0)
    verdict = Verdict(check)
    taken = [verdict.take(passed, age) for passed, age in [(False, 5), (False, 9), (False, 11), (True, 12)]]
    assert taken == ["UNKNOWN", "UNKNOWN", "UNKNOWN", "HEALTHY"]
    assert [verdict.take(False, age) for age in (13, 14)] == ["HEALTHY", "UNHEALTHY"]
    assert HealthCheck.parse({"command": ["NONE"]}) is None


def parsed(service: str, body: str, **headers: str) -> Any:
    given = {"content-type": "application/x-www-form-urlencoded; charset=utf-8", **headers}
    return requests.parse("POST", "/", "", given, body.encode())


def test_query_requests_are_read_by_the_service_model() -> None:
    body = (
        "Action=CreateTargetGroup&Version=2015-12-01&Name=tg&Port=5000&Matcher.HttpCode=200"
        "&Tags.member.2.Key=b&Tags.member.2.Value=2&Tags.member.1.Key=a&Tags.member.1.Value=1"
    )
    request = parsed("elbv2", body)
    assert (request.service, request.operation, request.protocol) == ("elbv2", "CreateTargetGroup", "query")
    assert request.parameters == {
        "Name": "tg",
        "Port": 5000,
        "Matcher": {"HttpCode": "200"},
        "Tags": [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}],
    }


def test_ec2_requests_have_names_of_their_own() -> None:
    body = (
        "Action=AuthorizeSecurityGroupIngress&Version=2016-11-15&GroupId=sg-1&DryRun=true"
        "&IpPermissions.1.FromPort=22&IpPermissions.1.IpRanges.1.CidrIp=10.0.0.0%2F8"
    )
    assert parsed("ec2", body).parameters == {
        "GroupId": "sg-1",
        "DryRun": True,
        "IpPermissions": [{"FromPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}],
    }


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "operation"),
    [
        ("GET", "/b", "list-type=2", {}, "ListObjectsV2"),
        ("GET", "/b", "location", {}, "GetBucketLocation"),
        ("PUT", "/b/k", "", {}, "PutObject"),
        ("PUT", "/b/k", "", {"x-amz-copy-source": "/b/o"}, "CopyObject"),
        ("PUT", "/b/k%2Fl/m", "partNumber=1&uploadId=u", {}, "UploadPart"),
        ("HEAD", "/b/k", "", {}, "HeadObject"),
        ("GET", "/", "", {}, "ListBuckets"),
    ],
)
def test_s3_requests_are_told_apart(
    method: str, path: str, query: str, headers: dict[str, str], operation: str
) -> None:
    signed = {"authorization": "AWS4-HMAC-SHA256 Credential=k/20260101/us-west-2/s3/aws4_request, Signature=x"}
    request = requests.parse(method, path, query, {**signed, **headers}, b"")
    assert request is not None
    assert (request.operation, request.access_key_id, request.region) == (operation, "k", "us-west-2")


def test_what_is_no_api_call_is_left_alone() -> None:
    assert requests.parse("GET", "/anything", "", {}, b"") is None
    assert parsed("x", "no=action") is None


@pytest.mark.parametrize("protocol", ["query", "ec2", "json", "rest-json", "rest-xml"])
def test_an_errors_code_is_found_in_what_we_write(protocol: str) -> None:
    status, headers, body = error_response(protocol, 400, "Some.Code", 'a < b & "c"')
    assert status == 400
    assert error_code({}, body) == "Some.Code"
    assert error_code(dict(headers), body) == "Some.Code"


def test_secrets_are_hidden_wherever_they_stand() -> None:
    given = {
        "SecretString": "s",
        "list": [{"MasterUserPassword": "s"}, {"name": "DB_PASSWORD", "value": "s"}, {"name": "PORT", "value": "1"}],
        "blob": b"s",
        "long": "x" * 5000,
    }
    clean = without_secrets(given)
    assert clean["SecretString"] == HIDDEN
    assert clean["list"] == [
        {"MasterUserPassword": HIDDEN},
        {"name": "DB_PASSWORD", "value": HIDDEN},
        {"name": "PORT", "value": "1"},
    ]
    assert clean["blob"] == "(1 bytes)"
    assert len(clean["long"]) < 2100


@pytest.mark.parametrize(
    ("operation", "read"), [("DescribeX", True), ("GetX", True), ("CreateX", False), ("RunTask", False)]
)
def test_reads_are_known_by_their_names(operation: str, read: bool) -> None:
    assert is_read_only(operation) is read


def test_an_init_bears_descriptors_beyond_1023(processes: Processes) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit[1] < 1200:
        pytest.skip(f"only {limit[1]} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit[0], 1200), limit[1]))
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        assert processes.run(["/bin/sh", "-c", "sleep 0.2; exit 5"], env=ENV) == 5
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)
