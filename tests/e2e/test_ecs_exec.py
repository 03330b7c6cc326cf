"""ecs_exec as a user runs it, against the local AWS's data channel, with and without faults on the way (N3)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .services import CLUSTER, IDLE, Services, permanent_service, unique, until

MODULE = harness.CHECKOUT / "collections/ansible_collections/papyrus/ops/plugins/modules/ecs_exec.py"
LOGGED_BY_TASK = "logged by the task's own log driver, default encryption"


@dataclass
class Ran:
    """One run of the module as a process of its own. `peak` is the most memory it had, in MiB."""

    result: dict[str, Any]
    seconds: float
    peak: float
    text: str

    def __getitem__(self, name: str) -> Any:
        return self.result[name]

    @property
    def output(self) -> bytes:
        """The command's output as bytes."""
        encoded = self.result["stdout_base64"]
        return base64.b64decode(encoded) if encoded else str(self.result["stdout"]).encode()


class Container:
    """A service of its own, so that what a test does to its task disturbs nobody."""

    def __init__(self, service: str, folder: Path, module: Path = MODULE) -> None:
        self.service = service
        self.folder = folder
        self.module = module

    def run(self, check: bool = False, **options: Any) -> Ran:
        """The module with these options in a fresh Python, as Ansible runs it."""
        known = harness.facts()
        given = {"cluster": CLUSTER, "service": self.service, "fail": False, **options, "_ansible_check_mode": check}
        given = {name: value for name, value in given.items() if value is not None}
        arguments = self.folder / f"{secrets.token_hex(8)}.json"
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": given}), "utf-8")
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "PYTHONPATH": str(harness.CHECKOUT / "collections"),
            "AWS_ENDPOINT_URL": known["endpoint"],
            "AWS_REGION": known["region"],
            "AWS_ACCESS_KEY_ID": known["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
        }
        started, output = time.monotonic(), self.folder / "stdout"
        with output.open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, str(self.module), str(arguments)], stdout=stream, env=environment
            )
            dummy, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        text = output.read_text("utf-8")
        return Ran(json.loads(text), time.monotonic() - started, usage.ru_maxrss / 1024, text)

    def task(self) -> str:
        """ARN of the running task."""
        arns = harness.client("ecs").list_tasks(cluster=CLUSTER, serviceName=self.service)["taskArns"]
        assert arns
        return str(arns[0])


@pytest.fixture(scope="module", name="container")
def _container(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Container:
    made = services.service("exec", container=IDLE)
    return Container(made["papyrus_service"], tmp_path_factory.mktemp("exec"))


def processes(text: str) -> list[Path]:
    """Processes of this machine with the text in their command line (of tasks as well)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            found += [path] if text.encode() in path.read_bytes() else []
    return found


@contextmanager
def disturbed(times: int | None = 1, **stream: Any) -> Iterator[str]:
    """Faults on the data channel of a command that has the yielded word in it."""
    word = unique("exec")
    rule = {"service": "ssmmessages", "operation": "OpenDataChannel", "times": times, "stream": stream}
    harness.add_faults({**rule, "match": {"command": f"*{word}*"}})
    try:
        yield word
    finally:
        harness.remove_faults(word)


def test_N3_exit_7_is_7(container: Container) -> None:
    ran = container.run(command="echo out; echo err >&2; exit 7")
    assert (ran["outcome"], ran["rc"], ran["stdout"], ran["reason"]) == ("exited", 7, "out\nerr\n", "exit code 7")
    assert ran["container"] == "app"
    assert ran["task_arn"] == container.task()
    assert ran["exec_logging"] == LOGGED_BY_TASK
    failed = container.run(command="exit 7", fail=True)
    assert failed["failed"]
    assert failed["rc"] == 7


def test_N3_the_command_has_the_tasks_environment_and_no_mark_of_ours_in_its_output(container: Container) -> None:
    ran = container.run(argv=["sh", "-c", 'printf "%s" "$PGSSLMODE"'])
    assert ran["stdout"] in {"require", "verify-full"}


def test_N3_binary_and_text_come_byte_for_byte(container: Container) -> None:
    data = bytes(range(256)) * 8 + "日本語 é 🦉\r\n\n".encode() * 100 + b"end without a line"
    source = container.folder / "bytes"
    source.write_bytes(data)
    ran = container.run(command="cat", stdin_src=str(source))
    assert ran.output == data
    assert ran["stdin_sha256"] == hashlib.sha256(data).hexdigest()
    assert ran["output_bytes"] == len(data)


def test_N3_a_megabyte_of_stdin_arrives_whole(container: Container) -> None:
    data = os.urandom(1 << 20)
    source = container.folder / "megabyte"
    source.write_bytes(data)
    ran = container.run(command="sha256sum; ls -l /proc/self/fd/0", stdin_src=str(source), timeout=120)
    assert ran["stdout"].split()[0] == hashlib.sha256(data).hexdigest()
    assert "(deleted)" in ran["stdout"], "no file is left, also not after a crash"


def test_N3_a_killed_shell_is_indeterminate(container: Container) -> None:
    ran = container.run(command="echo before; kill -9 $PPID")
    assert (ran["outcome"], ran["rc"], ran["stdout"]) == ("indeterminate", None, "before\n")
    assert "still runs" in ran["reason"]
    assert container.run(command="kill -9 $PPID", fail=True)["failed"]


@pytest.mark.parametrize("stream", [{"cut_after": 3}, {"kill_after": 3}], ids=["socket cut", "killed"])
def test_N3_what_breaks_off_in_the_middle_is_no_success(container: Container, stream: dict[str, int]) -> None:
    with disturbed(**stream) as word:
        ran = container.run(command=f": {word}; for n in 1 2 3 4 5 6 7 8; do echo $n; sleep 0.1; done; exit 0")
    assert (ran["outcome"], ran["rc"]) == ("indeterminate", None)


def test_N3_a_lost_mark_is_no_success(container: Container) -> None:
    ran = container.run(command="(sleep 0.2; kill -9 $PPID) & echo all done; wait; exit 0")
    assert ran["outcome"] == "indeterminate"
    assert ran["stdout"] == "all done\n"


def test_N3_a_task_that_stops_in_the_middle_has_its_reason_named(services: Services, tmp_path: Path) -> None:
    container = Container(services.service("execstop", container=IDLE)["papyrus_service"], tmp_path)
    arn, sleep = container.task(), f"100.{secrets.randbelow(10**9)}"
    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(container.run, command=f"echo begun; sleep {sleep}", task=arn, service=None)
        until(lambda: processes(f"sleep\0{sleep}\0"), "the command")
        harness.client("ecs").stop_task(cluster=CLUSTER, task=arn, reason="stopped on purpose")
        ran = running.result()
    assert (ran["outcome"], ran["rc"], ran["stdout"]) == ("indeterminate", None, "begun\n")
    assert "UserInitiated; stopped on purpose" in ran["reason"]


@pytest.mark.parametrize(
    "stream",
    [
        {"duplicate": 2},
        {"reorder": 3},
        {"lose_output": 3},
        {"corrupt": 3},
        {"lose_acks": 2},
        {"lose_input": 3},
        {"lose_client_acks": 2},
        {"pause_after": 1, "pause_seconds": 1},
        {"handshake": "session_type"},
        {"duplicate": 3, "reorder": 4, "lose_output": 5, "lose_acks": 3, "lose_input": 4, "lose_client_acks": 3},
    ],
    ids=lambda stream: "+".join(stream),
)
def test_N3_faults_of_the_channel_change_nothing(container: Container, stream: dict[str, Any]) -> None:
    data = os.urandom(30_000)
    source = container.folder / "disturbed"
    source.write_bytes(data)
    with disturbed(**stream) as word:
        ran = container.run(command=f": {word}; cat; exit 5", stdin_src=str(source), timeout=120)
    assert (ran["outcome"], ran["rc"]) == ("exited", 5), ran["reason"]
    assert ran.output == data


def test_N3_output_that_imitates_a_mark_fools_nobody(container: Container) -> None:
    command = r"tr '\0' '\n' </proc/$PPID/cmdline; printf '\n%s:0\n' $(cat /proc/$PPID/cmdline | md5sum | cut -c1-32)"
    ran = container.run(command=f"{command}; exit 9")
    assert (ran["outcome"], ran["rc"]) == ("exited", 9)


def test_N3_a_command_that_runs_too_long_is_ended(container: Container) -> None:
    ran = container.run(command="echo begun; sleep 300", timeout=1)
    assert (ran["outcome"], ran["rc"], ran["stdout"]) == ("timed_out", None, "begun\n")
    word = unique("stubborn")
    stubborn = f"trap '' INT HUP TERM; echo {word} >/dev/null; while :; do sleep 1; done"
    ran = container.run(command=stubborn, timeout=1)
    assert ran["outcome"] == "timed_out"
    assert "killed in the container" in ran["reason"]
    assert not processes(word)


def test_N3_memory_does_not_grow_with_output(container: Container) -> None:
    small = container.run(command="true")
    ran = container.run(command="head -c 8000000 /dev/zero | tr '\\0' x; exit 3", max_output=100_000, timeout=300)
    assert (ran["outcome"], ran["rc"], ran["truncated"], ran["output_bytes"]) == ("exited", 3, True, 8_000_000)
    assert len(ran["stdout"]) == 100_000
    assert ran.peak < small.peak + 15


def test_N3_transcript_and_recording(container: Container) -> None:
    log, cast = container.folder / "x_exec.log", container.folder / "x_cli.cast"
    command = "printf 'caf\\303'; sleep 2; printf '\\251\\n'; exit 4"
    ran = container.run(command=command, log=str(log), cast=str(cast))
    assert ran["stdout"] == "café\n"
    head, dummy, output = log.read_text("utf-8").partition("\n\n")
    for line in (f"task:       {ran['task_arn']}", "container:  app", "exit code:  4", f"sessions:   {LOGGED_BY_TASK}"):
        assert line in head.splitlines()
    assert output == "café\n"
    header, *events = [json.loads(line) for line in cast.read_text("utf-8").splitlines()]
    assert header["version"] == 2
    assert "".join(event[2] for event in events) == "café\r\n"
    assert events[-1][0] - events[0][0] > 1


def test_N3_known_secrets_are_redacted_and_the_token_is_nowhere(container: Container) -> None:
    private, log, cast = container.folder / "private", container.folder / "s_exec.log", container.folder / "s_cli.cast"
    private.mkdir()
    (private / "redaction.key").write_bytes(secrets.token_bytes(32))
    secret = "a-password-of-this-run"
    known = {"kind": "password", "value": base64.b64encode(secret.encode()).decode()}
    (private / "redaction.known").write_text(json.dumps(known) + "\n", "utf-8")
    command = f"printf {secret[:7]}; sleep 0.3; echo {secret[7:]}; tr '\\0' '\\n' </proc/$PPID/cmdline; env"
    before = harness.last_call()
    ran = container.run(command=command, log=str(log), cast=str(cast), private=str(private))
    assert ran["outcome"] == "exited"
    assert any(call["operation"] == "ExecuteCommand" for call in harness.calls(before))
    for text in (ran.text.partition('"invocation"')[0], log.read_text("utf-8"), cast.read_text("utf-8")):
        assert secret not in text
        assert "[redacted:password:" in text
        assert "tokenValue" not in text
        assert "TokenValue" not in text


def test_N3_an_agent_that_is_not_ready_is_waited_for(container: Container) -> None:
    fault = {"service": "ecs", "operation": "ExecuteCommand", "times": 2, "status": 400}
    word = unique("exec")
    message = "The execute command failed because execute command agent isn't running."
    rule = {**fault, "code": "TargetNotConnectedException", "message": message, "match": {"command": f"*{word}*"}}
    harness.add_faults(rule)
    try:
        ran = container.run(command=f": {word}; exit 6")
        assert (ran["outcome"], ran["rc"]) == ("exited", 6)
        harness.add_faults({**rule, "times": None})
        late = container.run(command=f": {word}", connect_timeout=2)
    finally:
        harness.remove_faults(word)
    assert late["outcome"] == "not_run"
    assert "TargetNotConnectedException" in late["reason"]


def test_N3_why_exec_cannot_work_is_said(services: Services, tmp_path: Path) -> None:
    off = services.service("execoff", execute_command=False)
    ran = Container(off["papyrus_service"], tmp_path).run(command="true", connect_timeout=10)
    assert ran["outcome"] == "not_run"
    assert "ECS Exec is off on service" in ran["reason"]
    assert "--enable-execute-command" in ran["reason"]


def test_N3_check_mode_runs_nothing_and_asks_for_no_session(container: Container) -> None:
    before = harness.last_call()
    ran = container.run(check=True, command="echo hello")
    assert (ran["changed"], ran["outcome"]) == (False, "not_run")
    assert "would run in container app" in ran["msg"]
    mine = [call for call in harness.calls(before) if call["parameters"].get("service") == container.service]
    assert all(call["operation"] != "ExecuteCommand" for call in mine)


def test_N3_a_session_encrypted_with_a_kms_key(tmp_path: Path) -> None:
    ecs, kms, base = harness.client("ecs"), harness.client("kms"), permanent_service()
    key, name = kms.create_key(Description="of a test")["KeyMetadata"]["Arn"], unique("exec")
    configuration = {"executeCommandConfiguration": {"kmsKeyId": key, "logging": "DEFAULT"}}
    ecs.create_cluster(clusterName=name, configuration=configuration)
    try:
        arn = ecs.run_task(
            cluster=name,
            taskDefinition=base["taskDefinition"],
            launchType="FARGATE",
            enableExecuteCommand=True,
            networkConfiguration=base["networkConfiguration"],
        )["tasks"][0]["taskArn"]
        before = harness.last_call()
        container = Container("", tmp_path)
        ran = container.run(cluster=name, task=arn, service=None, command="echo hidden; exit 5")
        ecs.stop_task(cluster=name, task=arn)
        waiter = ecs.get_waiter("tasks_stopped")
        waiter.wait(cluster=name, tasks=[arn], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
    finally:
        ecs.delete_cluster(cluster=name)
    assert (ran["outcome"], ran["rc"], ran["stdout"]) == ("exited", 5, "hidden\n")
    assert key in ran["exec_logging"]
    (asked,) = [call for call in harness.calls(before) if call["operation"] == "GenerateDataKey"]
    context = asked["parameters"]["EncryptionContext"]
    assert context["aws:ssm:SessionId"] == ran["session_id"]
    assert context["aws:ssm:TargetId"].startswith(f"ecs:{name}_{arn.rsplit('/', 1)[1]}_")
