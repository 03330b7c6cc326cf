# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whole commands over a WebSocket to a real terminal, with faults on the way (N3)."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import ipaddress
import json
import logging
import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _exec, _exec_output, _exec_session, _exec_task
from ansible_collections.papyrus.ops.plugins.module_utils._exec import Command, ExecResult, Files, Target
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from ansible_collections.papyrus.ops.tests.unit.ssm_agent import TOKEN, Agent, Faults, running
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

TARGET = Target(shapes.CLUSTER, service=shapes.SERVICE)


def aws(agent: Agent, tasks: list[dict[str, Any]] | None = None, **answers: Any) -> FakeAws:
    made = shapes.answers(tasks or [shapes.task(1, startedBy="ecs-svc/1", clusterArn=f"x/{shapes.CLUSTER}")])
    made |= {
        "ecs.describe_services": {"services": [shapes.service()]},
        "ecs.describe_clusters": {"clusters": [{"clusterName": shapes.CLUSTER}]},
        "ecs.execute_command": agent.execute,
        "kms.generate_data_key": agent.data_key,
    }
    return FakeAws(made | answers)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for in order to be sure of what AWS will say later is not waited for here."""
    for name in ("CLOSE_GRACE", "INTERRUPT_GRACE", "TERMINATE_GRACE", "KILL_GRACE"):
        monkeypatch.setattr(_exec_session, name, 0.3)
    monkeypatch.setattr(_exec_task, "FATE_SECONDS", 0.0)


def run(
    agent: Agent, command: str, files: Files | None = None, fake: FakeAws | None = None, **given: Any
) -> ExecResult:
    with running(agent):
        return _exec.run_command(fake or aws(agent), TARGET, Command(command, **given), files or Files())


def test_N3_exit_7_is_7_and_says_where_it_ran() -> None:
    agent = Agent()
    result = run(agent, "echo out; echo err >&2; exit 7")
    assert (result.outcome, result.rc, result.reason) == ("exited", 7, "exit code 7")
    assert result.stdout == "out\nerr\n"
    assert not result.ok
    assert (result.task_arn, result.container, result.session_id) == (shapes.task_arn(1), "app", "session-0")
    assert result.request_ids
    assert result.exec_logging == "logged by the task's own log driver, default encryption"
    assert agent.opened[0]["MessageSchemaVersion"] == "1.0"


@pytest.mark.parametrize("agent", [Agent(handshake=True), Agent(kms=True)], ids=["handshake", "encrypted"])
def test_N3_with_a_handshake_it_is_the_same(agent: Agent) -> None:
    data = os.urandom(3000)
    result = run(agent, "cat", stdin=data)
    assert (result.outcome, result.output) == ("exited", data)
    assert agent.responses[0]["Errors"] == []


def test_N3_an_encrypted_session_asks_kms_with_the_sessions_context() -> None:
    agent = Agent(kms=True)
    fake = aws(agent)
    assert run(agent, "true", fake=fake).ok
    (asked,) = fake.sent("kms.generate_data_key")
    assert asked["NumberOfBytes"] == 64
    assert asked["EncryptionContext"]["aws:ssm:SessionId"] == "session-0"
    assert asked["EncryptionContext"]["aws:ssm:TargetId"].startswith(f"ecs:{shapes.CLUSTER}_")


def test_N3_without_the_key_nothing_is_run_and_kms_answer_is_told() -> None:
    def refuse(sent: Any) -> dict[str, Any]:
        raise Refusal("AccessDeniedException", "not for you")

    agent = Agent(kms=True)
    result = run(agent, "true", fake=aws(agent, **{"kms.generate_data_key": refuse}))
    assert result.outcome == "not_run"
    assert "kms:GenerateDataKey" in result.reason
    assert "not for you" in result.reason


@pytest.mark.parametrize(
    "faults",
    [
        Faults(output=lambda number: 2),
        Faults(output=lambda number: 0 if number % 3 == 0 else 1),
        Faults(hold=lambda number: number % 2 == 0),
        Faults(input=lambda number: number % 4 == 1),
        Faults(
            output=lambda number: (1, 0, 3)[number % 3],
            hold=lambda number: number % 5 == 0,
            input=lambda number: number % 7 == 0,
        ),
    ],
    ids=["duplicated", "lost", "reordered", "input lost", "all of it"],
)
def test_N3_faults_on_the_way_change_nothing(faults: Faults) -> None:
    data = os.urandom(40_000)
    result = run(Agent(faults=faults, handshake=True), "cat; exit 5", stdin=data)
    assert (result.outcome, result.rc) == ("exited", 5)
    assert result.output == data


def test_N3_a_socket_that_breaks_in_the_middle_is_indeterminate_and_names_the_tasks_end() -> None:
    agent = Agent(faults=Faults(cut_after=20_000))
    tasks = [shapes.task(1, startedBy="ecs-svc/1")]
    fake = aws(agent, tasks)
    described = fake.answers["ecs.describe_tasks"]
    assert callable(described)

    def later(sent: Any) -> Any:
        if agent.commands:
            tasks[0].update(
                lastStatus="STOPPED", desiredStatus="STOPPED", stopCode="EssentialContainerExited", stoppedReason="gone"
            )
        return described(sent)

    fake.answers["ecs.describe_tasks"] = later
    result = run(agent, "while :; do echo more; done", fake=fake)
    assert (result.outcome, result.rc) == ("indeterminate", None)
    assert "EssentialContainerExited; gone" in result.reason
    assert result.output_bytes > 1000
    assert not result.ok


def test_N3_a_killed_shell_is_indeterminate() -> None:
    result = run(Agent(faults=Faults(close_reason="shell died")), "echo x; kill -9 $PPID")
    assert (result.outcome, result.rc, result.stdout) == ("indeterminate", None, "x\n")
    assert "shell died" in result.reason
    assert "still runs" in result.reason


def test_N3_a_channel_that_closes_before_the_shell_is_ready_has_run_nothing() -> None:
    agent = Agent(faults=Faults(close_reason="no such file: sh"), environment={"PATH": os.environ["PATH"]})
    with running(agent):
        fake = aws(agent)
        fake.answers["ecs.execute_command"] = lambda sent: agent.execute({"command": "true"})
        result = _exec.run_command(fake, TARGET, Command("true"))
    assert result.outcome == "not_run"
    assert "no such file: sh" in result.reason


def test_N3_a_channel_that_stays_silent_is_given_up_in_time() -> None:
    result = run(Agent(faults=Faults(silent=True)), "true", connect_timeout=0.5)
    assert result.outcome == "not_run"
    assert "not ready within 1 s" in result.reason


def test_N3_a_command_that_runs_too_long_is_interrupted() -> None:
    started = time.monotonic()
    result = run(Agent(), "echo begun; sleep 60", timeout=0.3)
    assert (result.outcome, result.rc, result.stdout) == ("timed_out", None, "begun\n")
    assert "ended by Ctrl-C" in result.reason
    assert time.monotonic() - started < 10


def test_N3_one_that_ignores_every_hint_is_killed_in_the_container(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    result = run(Agent(), f"trap '' INT HUP TERM; echo $$ >{pid}; while :; do sleep 0.1; done", timeout=0.3)
    assert result.outcome == "timed_out"
    assert "were killed in the container" in result.reason
    state = Path(f"/proc/{pid.read_text().strip()}/stat")
    assert not state.exists() or ") Z " in state.read_text(), "gone, or only not reaped yet"


def test_N3_whoever_stops_the_program_stops_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, stopped = Agent(), tmp_path / "stopped"

    def stop(recorder: Any, data: bytes, at: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(_exec_output.Recorder, "write", stop)
    with running(agent):
        with pytest.raises(KeyboardInterrupt):
            command = f"trap 'echo yes >{stopped}; exit' INT HUP; echo begun; while :; do sleep 0.05; done"
            _exec.run_command(aws(agent), TARGET, Command(command))
        deadline = time.monotonic() + 10
        while not stopped.exists():
            assert time.monotonic() < deadline


def test_N3_output_beyond_the_limit_is_counted(tmp_path: Path) -> None:
    result = run(Agent(), "head -c 300000 /dev/zero | tr '\\0' x", max_output=1000)
    assert (result.rc, result.output, result.truncated, result.output_bytes) == (0, b"x" * 1000, True, 300_000)


def test_N3_log_and_recording_are_written_and_known_secrets_redacted_everywhere(tmp_path: Path) -> None:
    secret = "the-password-nobody-may-see"
    Redactor.prepare(tmp_path)
    Redactor.register(tmp_path, "password", secret)
    log, cast = tmp_path / "x_exec.log", tmp_path / "x_cli.cast"
    files = Files(log, cast, tmp_path)
    result = run(Agent(), f"printf {secret[:9]}; sleep 0.1; echo {secret[9:]}; echo {secret}", files)
    assert result.ok
    assert result.stdout.count("[redacted:password:") == 2
    for text in (json.dumps(result.as_dict()), log.read_text(), cast.read_text()):
        assert secret not in text
        assert "[redacted:password:" in text
    assert {oct(path.stat().st_mode & 0o777) for path in (log, cast)} == {"0o600"}


def test_N3_the_token_is_nowhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Searched for in argv of every process, output, logs at debug level, results and files."""
    seen: list[str] = []

    def look(number: int) -> int:
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                seen.append((folder / "cmdline").read_bytes().decode("utf-8", "replace"))
        return 1

    caplog.set_level(logging.DEBUG)
    files = Files(tmp_path / "x_exec.log", tmp_path / "x_cli.cast")
    result = run(Agent(faults=Faults(output=look)), "env; cat /proc/self/cmdline; exit 1", files)
    assert result.rc == 1
    broken = run(Agent(faults=Faults(cut_after=10)), "echo hello; sleep 5")
    assert broken.outcome == "indeterminate"
    logging.getLogger("botocore.parsers").debug("Response body:\n%r", json.dumps({"tokenValue": TOKEN}).encode())
    assert seen and caplog.records
    texts = [
        *seen,
        *capfd.readouterr(),
        caplog.text,
        repr(result),
        repr(broken),
        json.dumps([result.as_dict(), broken.as_dict()]),
    ]
    texts += [path.read_text("utf-8", "replace") for path in tmp_path.iterdir()]
    assert TOKEN not in " ".join(texts)
    assert "AAEAAe" not in " ".join(texts)


def test_J2_output_that_comes_with_the_beginning_has_the_time_of_the_beginning(tmp_path: Path) -> None:
    agent = Agent(handshake=True, faults=Faults(output=lambda number: 0))  # sent again together
    assert run(agent, "echo first; sleep 0.3; echo last", Files(cast=tmp_path / "x_cli.cast")).ok
    dummy, *events = [json.loads(line) for line in (tmp_path / "x_cli.cast").read_text().splitlines()]
    assert "".join(event[2] for event in events) == "first\r\nlast\r\n"
    assert 0 <= events[0][0] < 0.2 < events[-1][0] < 3


def test_N3_a_wrong_token_is_an_answer_without_the_token() -> None:
    agent = Agent()
    with running(agent):
        fake = aws(agent)
        fake.answers["ecs.execute_command"] = lambda sent: {
            "session": {**agent.execute(sent)["session"], "tokenValue": "wrong-token-value"}
        }
        result = _exec.run_command(fake, TARGET, Command("true"))
    assert result.outcome == "not_run"
    assert "1008" in result.reason
    assert "wrong-token-value" not in result.reason


@pytest.fixture(name="certificate", scope="module")
def _certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ssl.SSLContext]]:
    folder, key = tmp_path_factory.mktemp("tls"), ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]), dt.datetime.now(dt.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(Encoding.PEM))
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    yield folder / "cert.pem", context


def test_N3_a_server_with_an_unknown_certificate_gets_no_token(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE", raising=False)
    agent = Agent()
    with running(agent, certificate[1]):
        result = _exec.run_command(aws(agent), TARGET, Command("true"))
    assert result.outcome == "not_run"
    assert "certificate verify failed" in result.reason
    assert agent.opened == []


def test_N3_the_ca_bundle_of_aws_is_honoured(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    agent = Agent()
    with running(agent, certificate[1]):
        monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate[0]))
        assert _exec.run_command(aws(agent), TARGET, Command("exit 3")).rc == 3
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "missing.pem"))
        refused = _exec.run_command(aws(agent), TARGET, Command("true"))
    assert refused.outcome == "not_run"
    assert "missing.pem cannot be used" in refused.reason


def test_N3_no_token_goes_over_an_unencrypted_network() -> None:
    agent = Agent()
    fake = aws(agent)
    fake.answers["ecs.execute_command"] = {
        "session": {"sessionId": "s", "streamUrl": "ws://198.51.100.1/v1", "tokenValue": TOKEN}
    }
    result = _exec.run_command(fake, TARGET, Command("true"))
    assert result.outcome == "not_run"
    assert "not encrypted" in result.reason


class Slow:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def world(self, agent: Agent) -> _exec.World:
        moment = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
        return _exec.World(clock=lambda: self.now, sleep=self.sleep, now=lambda: moment)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def not_connected(sent: Any) -> dict[str, Any]:
    raise Refusal("TargetNotConnectedException", "the execute command agent is not running yet")


def test_N3_an_agent_that_is_not_connected_yet_is_waited_for() -> None:
    agent, tries = Agent(), []

    def answer(sent: Any) -> dict[str, Any]:
        tries.append(sent)
        return not_connected(sent) if len(tries) < 4 else agent.execute(sent)

    slow = Slow()
    with running(agent):
        fake = aws(agent, **{"ecs.execute_command": answer})
        result = _exec.run_command(fake, TARGET, Command("exit 2"), Files(), _exec.World(sleep=slow.sleep))
    assert (result.rc, len(tries)) == (2, 4)
    assert slow.now == 3.0


def test_N3_and_only_for_the_time_that_is_given_with_a_reason_at_its_end() -> None:
    agent, slow = Agent(), Slow()
    fake = aws(agent, **{"ecs.execute_command": not_connected})
    result = _exec.run_command(fake, TARGET, Command("true", connect_timeout=20), Files(), slow.world(agent))
    assert result.outcome == "not_run"
    assert 19 <= slow.now <= 21
    for part in ("TargetNotConnectedException", "for 20 s", "ssmmessages:CreateControlChannel"):
        assert part in result.reason


def test_N3_the_runners_own_permissions_are_named() -> None:
    def refuse(sent: Any) -> dict[str, Any]:
        raise Refusal("AccessDeniedException", "not authorized to perform: ecs:ExecuteCommand")

    agent = Agent()
    result = _exec.run_command(aws(agent, **{"ecs.execute_command": refuse}), TARGET, Command("true"))
    assert result.outcome == "not_run"
    assert "The runner needs ecs:ExecuteCommand" in result.reason


def test_N3_the_request_names_task_and_container_and_has_the_command_readable() -> None:
    agent = Agent()
    fake = aws(agent)
    assert run(agent, "echo 'a b'", fake=fake).stdout == "a b\n"
    (sent,) = fake.sent("ecs.execute_command")
    assert sent["interactive"] is True
    assert (sent["cluster"], sent["task"], sent["container"]) == (shapes.CLUSTER, shapes.task_arn(1), "app")
    assert "\n" not in sent["command"]


def test_N3_check_mode_runs_nothing_and_says_what_it_would() -> None:
    agent = Agent()
    fake = aws(agent)
    result = _exec.plan_command(fake, TARGET, Command(argv=("python", "-m", "x y")))
    assert result.outcome == "not_run"
    assert "would run in container app of task" in result.reason
    assert "python -m 'x y'" in result.reason
    assert "ecs.execute_command" not in fake.names


def test_N3_where_the_cluster_copies_sessions_to_is_told() -> None:
    agent = Agent()
    configuration = {
        "executeCommandConfiguration": {
            "logging": "OVERRIDE",
            "kmsKeyId": "key-1",
            "logConfiguration": {"cloudWatchLogGroupName": "/exec"},
        }
    }
    clusters = {"clusters": [{"clusterName": shapes.CLUSTER, "configuration": configuration}]}
    result = run(agent, "true", fake=aws(agent, **{"ecs.describe_clusters": clusters}))
    assert result.exec_logging == "logging OVERRIDE to /exec, KMS key key-1"


def test_N3_a_megabyte_of_stdin_arrives_whole() -> None:
    data = os.urandom(1 << 20)
    result = run(Agent(handshake=True), "sha256sum", stdin=data)
    assert result.stdout.split()[0] == hashlib.sha256(data).hexdigest() == result.stdin_sha256
