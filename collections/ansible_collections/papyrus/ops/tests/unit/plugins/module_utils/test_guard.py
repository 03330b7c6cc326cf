# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guard against real processes: a controller that is killed, a terraform that takes its time (C6, C7, N1)."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import Process
from ansible_collections.papyrus.ops.plugins.module_utils._guard_socket import Client, GuardError
from ansible_collections.papyrus.ops.plugins.module_utils._run_alb import AlbFailure, remove, start, wait_present
from ansible_collections.papyrus.ops.plugins.module_utils._run_close import CloseError, NotSealed, close_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import guard_process
from aws_endpoint import AwsEndpoint
from sealing import check_seal, seal_says, signing_key

HERE = Path(__file__).resolve()
UNIT = HERE.parents[2]
COLLECTIONS = HERE.parents[7]

# As ansible-playbook does it: a worker in a session of its own opens the run and ends; later one with a module lives.
CONTROLLER = """
import json, os, signal, subprocess, sys, time
# Whoever runs the tests in the background of a shell lets them inherit that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import process
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import open_run
read, write = os.pipe()                    # as the queue between controller and workers
if os.fork() == 0:
    os.setsid()
    run = open_run(json.loads(sys.argv[2]), {"git": {"commit": "c0ffee", "dirty": False}},
                   controller=process(os.getppid()), environ=dict(os.environ))
    with open(sys.argv[3] + ".new", "w") as file:
        json.dump(run, file)
    os.rename(sys.argv[3] + ".new", sys.argv[3])
    os._exit(0)
if os.wait()[1]:
    sys.exit(1)
if os.fork() == 0:
    os.setsid()
    module = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    with open(sys.argv[3] + ".pids", "w") as file:
        file.write(f"{os.getpid()} {module.pid}\\n")
    time.sleep(120)
sys.stderr.write("controller is up\\n")
time.sleep(120)
"""


def until(condition: Callable[[], Any], what: str, seconds: float = 25) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)
    return value


class Scene:
    """One run with its controller, its fake terraform and its fake AWS."""

    def __init__(
        self, folder: Path, endpoint: AwsEndpoint, monkeypatch: pytest.MonkeyPatch, **environment: str
    ) -> None:
        self.folder = folder
        self.record = folder / "record"
        self.record.touch()
        source = folder / "source"
        source.mkdir()
        (source / "main.tf").write_text('# terraform is a fake\nvariable "run_id" {}\nvariable "expires_at" {}\n')
        (source / "somebody.auto.tfvars").write_text('secret = "of another run"\n')
        binary = folder / "terraform"
        binary.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{UNIT / "fake_terraform.py"}" "$@"\n')
        binary.chmod(0o755)
        self.options = {
            "evidence_root": str(folder / "runs"),
            "ledger": str(folder / "ledger"),
            "service": "papyrus-task-service",
            "account_id": "123456789012",
            "region": "us-west-2",
            "tag_prefix": "papyrus",
            "lease_minutes": 60,
            "playbook": "alb_smoke",
            "start_guard": True,
            "signer": signing_key(folder),
            "stack": {
                "source": str(source),
                "name_prefix": "papyrus-smoke",
                "binary": str(binary),
                "variables": {"vpc_id": "vpc-1", "header_value": "headerheaderheader1234"},
                "environment": {"FAKE_TF_RECORD": str(self.record), **environment},
                "limits": {"backoff": 0.05, "gone": 1, "gone_interval": 0.1, "interrupt_grace": 15},
            },
        }
        private_root = folder / "x"
        private_root.mkdir(mode=0o700)
        for name, value in {
            "AWS_ENDPOINT_URL": endpoint.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "testtesttest",
            "AWS_MAX_ATTEMPTS": "1",
            "TMPDIR": str(private_root),
            "XDG_RUNTIME_DIR": "",
        }.items():
            monkeypatch.setenv(name, value)
        self.private_root = private_root
        self.controller: subprocess.Popen[bytes] | None = None
        self.run: dict[str, Any] = {}

    def open(self) -> dict[str, Any]:
        stderr = self.folder / "stderr"
        with stderr.open("wb") as file:
            self.controller = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    CONTROLLER,
                    str(COLLECTIONS),
                    json.dumps(self.options),
                    str(self.folder / "run.json"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=file,
            )
        until(lambda: (self.folder / "run.json").exists() or self.controller.poll() is not None, "the run is open")
        assert (self.folder / "run.json").exists(), stderr.read_text()
        self.run = json.loads((self.folder / "run.json").read_text())
        until(lambda: b"controller is up" in stderr.read_bytes(), "the controller is up")
        return self.run

    @property
    def events(self) -> list[str]:
        return self.record.read_text().splitlines()

    @property
    def guard(self) -> Process:
        guard = guard_process(self.run["private"])
        assert guard is not None
        return guard

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (Path(self.run["folder"]) / "manifest.jsonl").read_text().splitlines()]

    def item(self, name: str) -> bytes:
        line = next(line for line in reversed(self.lines()) if line["name"] == name)
        return (Path(self.run["folder"]) / line["path"]).read_bytes()

    def verdict(self) -> dict[str, Any]:
        assert self.lines()[-1]["name"] == "verdict.json"
        verdict: dict[str, Any] = json.loads(self.item("verdict.json"))
        return verdict

    def sealed(self) -> dict[str, Any]:
        """The statement of the run's bundle, checked; and the ledger has the hash of the attestation."""
        folder = Path(self.run["folder"])
        statement = check_seal(folder, self.folder / "key.pub.pem")
        closed = json.loads((Path(self.run["ledger"]) / f"{self.run['id']}.closed.json").read_text())
        attestation = (folder / "attestation.dsse.json").read_bytes()
        assert closed["attestation_sha256"] == hashlib.sha256(attestation).hexdigest()
        return statement

    def end_controller(self, number: int) -> None:
        assert self.controller is not None
        self.controller.send_signal(number)
        self.controller.wait(10)

    def left_over(self) -> list[int]:
        """Processes of the run that still live: its guard, its terraform, worker and module of the controller."""
        pids = [int(pid) for pid in (self.folder / "run.json.pids").read_text().split()]
        found = [pid for pid in pids if Path(f"/proc/{pid}").exists() and "Z" not in _state(pid)]
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
                cwd = os.readlink(entry / "cwd")
            except OSError:
                continue
            if self.run["suffix"].encode() in command or self.run["suffix"] in cwd:
                found.append(int(entry.name))
        return found

    def close(self) -> None:
        if self.controller is not None and self.controller.poll() is None:
            self.controller.kill()
            self.controller.wait(10)
        if self.run:
            until(lambda: not (guard := guard_process(self.run["private"])) or not guard.alive(), "the guard ends", 40)
        if self.run:
            for pid in self.left_over():
                os.kill(pid, signal.SIGKILL)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.fixture
def endpoint() -> Iterator[AwsEndpoint]:
    server = AwsEndpoint()
    yield server
    server.close()


@pytest.fixture
def scene(tmp_path: Path, endpoint: AwsEndpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Scene]]:
    made: list[Scene] = []

    def make(**environment: str) -> Scene:
        made.append(Scene(tmp_path, endpoint, monkeypatch, **environment))
        return made[-1]

    yield make
    for each in made:
        each.close()


ALB = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-smoke/50dc6c495c0c9188"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_C6_controller_ends_during_apply(scene: Callable[..., Scene], endpoint: AwsEndpoint, number: int) -> None:
    run = scene(FAKE_TF_APPLY_SECONDS="60", FAKE_TF_ALB_ARN=ALB)
    opened = run.open()
    assert start(opened)["changed"]
    until(lambda: any(event.startswith("variables") for event in run.events), "apply is under way")

    run.end_controller(number)
    until(lambda: not Path(opened["private"]).exists(), "the guard has taken the run down")

    assert run.events.count("signal SIGINT") == 1
    assert not [event for event in run.events if event.startswith("signal") and event != "signal SIGINT"]
    assert run.events[-1] == "end destroy 0"
    verdict = run.verdict()
    assert verdict["result"] == "FAILED"
    assert "terraform apply" in verdict["first_failure"]["cause"]
    assert verdict["gone"] == "ok"
    names = [line["name"] for line in run.lines()]
    for name in (
        "run.json", "lease.json", "terraform_apply.log", "terraform.tfstate", "terraform_outputs.json",
        "terraform_destroy.log", "alb_sg_leftover.json", "alb_sg_delete.log", "alb_sg_verify_gone.json",
    ):  # fmt: skip
        assert name in names, names
    gone = json.loads(run.item("alb_sg_verify_gone.json"))
    assert gone["gone"] is True
    assert {"answer": "LoadBalancerNotFound"}.items() <= next(
        entry for entry in gone["described"] if entry["parameters"].get("LoadBalancerArns") == [ALB]
    ).items()
    assert json.loads((Path(opened["ledger"]) / f"{opened['id']}.closed.json").read_text())["result"] == "FAILED"
    statement = run.sealed()
    assert statement["predicate"]["result"] == "FAILED"
    assert statement["predicate"]["failedTests"][0] == "C6 run C6"
    says = seal_says(statement)
    assert (says["by"], says["afterCrash"], says["trust"]) == ("guard", True, "self-asserted")
    assert "controller" in says["note"]
    until(lambda: not run.left_over(), "no process is left")
    said = (run.folder / "stderr").read_text()
    assert f"{opened['id']} ended FAILED, sealed; everything it created is gone." in said and opened["folder"] in said


def test_C6_controller_ends_during_destroy_which_then_simply_ends(scene: Callable[..., Scene]) -> None:
    run = scene(FAKE_TF_DESTROY_SECONDS="2")
    opened = run.open()
    wait_present(opened, 20)
    Client(opened["private"]).ask("destroy")
    until(lambda: "destroying" in run.events, "destroy is under way")
    run.end_controller(signal.SIGKILL)
    until(lambda: not Path(opened["private"]).exists(), "the guard has completed the run")
    assert not [event for event in run.events if event.startswith("signal")]
    assert run.events.count("destroying") == 1 and run.events[-1] == "end destroy 0"
    assert run.verdict()["result"] == "FAILED" and run.verdict()["gone"] == "ok"
    assert [line["name"] for line in run.lines()].count("terraform_destroy.log") == 1


def test_C6_controller_ends_before_anything_was_created(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    run.end_controller(signal.SIGKILL)
    until(lambda: not Path(opened["private"]).exists(), "the guard has completed the run")
    assert not [event for event in run.events if event.startswith(("apply", "destroy"))]
    assert "before its first phase" in run.verdict()["first_failure"]["cause"]
    assert run.sealed()["predicate"]["result"] == "FAILED"
    until(lambda: not run.left_over(), "no process is left")
    until(lambda: "made nothing that would go away with it" in (run.folder / "stderr").read_text(), "the guard says so")


def test_C2_variables_are_private_and_only_of_this_run(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    result = wait_present(opened, 20)
    assert Path(opened["private"]).stat().st_mode & 0o777 == 0o700
    assert "variables 0o600 ['expires_at', 'header_value', 'name', 'run_id', 'vpc_id']" in run.events
    assert not (Path(opened["private"]) / "stack" / "somebody.auto.tfvars").exists()
    assert result["changed"] and not any("headerheader" in event for event in run.events)


def test_C6_destroy_that_fails_once_is_tried_again_and_the_run_closes(scene: Callable[..., Scene]) -> None:
    run = scene(FAKE_TF_DESTROY_FAILURES="1")
    opened = run.open()
    wait_present(opened, 20)
    removed = remove(opened, 20)
    assert [attempt["ok"] for attempt in removed["attempts"]] == [False, True]
    assert "DependencyViolation" in removed["attempts"][0]["error"]
    closed = close_run(opened, {}, [])
    assert closed["verdict"]["result"] == "PASSED", closed["text"]
    until(lambda: not Path(opened["private"]).exists(), "the private folder is gone")
    run.end_controller(signal.SIGTERM)
    assert run.verdict() == closed["verdict"]
    assert seal_says(run.sealed())["by"] == "run" and closed["sealed"]["trust"] == "self-asserted"


def test_C6_destroy_that_fails_always_names_what_is_left(scene: Callable[..., Scene], endpoint: AwsEndpoint) -> None:
    run = scene(FAKE_TF_DESTROY_FAILURES="9")
    opened = run.open()
    wait_present(opened, 20)
    arn = f"arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/{opened['name']}/50dc6c495c0c9188"
    endpoint.left[arn] = opened["tags"]
    with pytest.raises(AlbFailure) as failed:
        remove(opened, 20)
    result = failed.value.result
    assert len(result["attempts"]) == 3 and result["gone"] is False
    assert f"aws elbv2 delete-load-balancer --region us-west-2 --load-balancer-arn {arn}" in result["by_hand"]
    assert "aws_security_group.alb" in str(failed.value) and "DependencyViolation" in str(failed.value)
    closed = close_run(opened, {"step": "D1", "task": "Ask every path", "cause": "/healthz answered 500"}, [])
    assert closed["verdict"]["first_failure"]["cause"] == "/healthz answered 500"
    assert run.sealed()["predicate"]["failedTests"][0] == "D1 run D1"
    assert "DependencyViolation" in closed["verdict"]["failed_destroy"]["cause"]


def test_C6_load_balancer_that_terraform_lost_is_deleted_by_its_tags(
    scene: Callable[..., Scene], endpoint: AwsEndpoint
) -> None:
    run = scene(FAKE_TF_APPLY_ERROR="\nError: killed\n")
    opened = run.open()
    arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/{}/50dc6c495c0c9188"
    lost, of_another_run = arn.format(opened["name"]), arn.format("papyrus-smoke-other2")
    endpoint.left[lost] = opened["tags"]
    endpoint.left[of_another_run] = {**opened["tags"], "papyrus:run-id": "20260101T000000Z-other2"}
    with pytest.raises(AlbFailure):
        wait_present(opened, 20)
    assert remove(opened, 20)["gone"] is True
    assert list(endpoint.left) == [of_another_run]
    assert [resource["id"] for resource in json.loads(run.item("terraform_lost.json"))] == [lost]
    assert close_run(opened, {"step": "C1", "task": "Wait", "cause": "killed"}, [])["verdict"]["result"] == "FAILED"


def test_J1_a_run_that_could_not_be_sealed_is_sealed_by_its_guard_when_the_playbook_ends(
    scene: Callable[..., Scene],
) -> None:
    run = scene()
    opened = run.open()
    wait_present(opened, 20)
    remove(opened, 20)
    key = run.folder / "key.pem"
    key.rename(run.folder / "away.pem")
    failure = {"step": "D1", "task": "Ask every path", "cause": "/healthz answered 500"}
    with pytest.raises(NotSealed) as failed:
        close_run(opened, failure, [])
    assert "/healthz answered 500" in str(failed.value) and "There is no signing key" in str(failed.value)
    assert "papyrus.ops.evidence_seal" in str(failed.value)
    assert not list(Path(opened["ledger"]).glob("*.closed.json"))
    assert not (Path(opened["folder"]) / "SHA256SUMS").exists()
    (run.folder / "away.pem").rename(key)
    run.end_controller(signal.SIGTERM)
    until(lambda: not Path(opened["private"]).exists(), "the guard has ended")
    statement = run.sealed()
    assert run.verdict()["first_failure"]["cause"] == "/healthz answered 500"
    assert (seal_says(statement)["by"], seal_says(statement)["afterCrash"]) == ("guard", False)


def test_J1_a_guard_that_cannot_seal_says_so_and_leaves_no_secret(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    (run.folder / "key.pem").unlink()
    run.end_controller(signal.SIGKILL)
    until(lambda: not Path(opened["private"]).exists(), "the guard has ended")
    until(lambda: "NOT SEALED: There is no signing key" in (run.folder / "stderr").read_text(), "the guard says so")
    assert run.verdict()["result"] == "FAILED"
    assert not list(Path(opened["ledger"]).glob("*.closed.json"))


def test_C7_a_describe_that_fails_is_never_gone(scene: Callable[..., Scene], endpoint: AwsEndpoint) -> None:
    run = scene()
    opened = run.open()
    wait_present(opened, 20)
    endpoint.refuse.add("DescribeNetworkInterfaces")
    with pytest.raises(AlbFailure, match="AccessDenied"):
        remove(opened, 20)
    assert json.loads(run.item("alb_sg_verify_gone.json"))["gone"] is False
    assert close_run(opened, {}, [])["verdict"]["result"] == "FAILED"


def test_C6_guard_killed_during_apply_is_replaced_by_the_module(scene: Callable[..., Scene]) -> None:
    run = scene(FAKE_TF_APPLY_SECONDS="60")
    opened = run.open()
    start(opened)
    until(lambda: any(event.startswith("variables") for event in run.events), "apply is under way")
    os.kill(run.guard.pid, signal.SIGKILL)
    until(lambda: not run.guard.alive(), "the guard is dead")
    with pytest.raises(AlbFailure, match="nothing is created without the guard"):
        start(opened)
    removed = remove(opened, 30)
    assert removed["guard"] == "dead" and removed["gone"] is True
    assert run.events.count("signal SIGINT") == 1
    assert run.events[-1] == "end destroy 0"
    closed = close_run(opened, {"step": "C1", "task": "Wait", "cause": "the guard died"}, [])
    assert closed["verdict"]["result"] == "FAILED"
    assert not Path(opened["private"]).exists()


def test_C1_apply_error_names_resource_and_aws_error(scene: Callable[..., Scene]) -> None:
    error = (
        "\nError: error creating ELBv2 Listener: AccessDenied: no\n\tstatus code: 403, request id: 77\n\n"
        '  with aws_lb_listener.this,\n  on main.tf line 90, in resource "aws_lb_listener" "this":\n'
    )
    run = scene(FAKE_TF_APPLY_ERROR=error)
    opened = run.open()
    with pytest.raises(AlbFailure) as failed:
        wait_present(opened, 20)
    assert "aws_lb_listener.this: error creating ELBv2 Listener: AccessDenied: no" in failed.value.result["cause"]
    assert failed.value.result["step"] == "C1"
    with pytest.raises(CloseError, match="not removed"):
        close_run(opened, {}, [])
    assert remove(opened, 20)["gone"] is True


def test_C6_guard_told_to_stop_takes_the_run_down(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    wait_present(opened, 20)
    os.kill(run.guard.pid, signal.SIGTERM)
    until(lambda: not Path(opened["private"]).exists(), "the guard has ended")
    assert run.verdict()["result"] == "FAILED" and "SIGTERM" in run.verdict()["first_failure"]["cause"]
    assert seal_says(run.sealed())["afterCrash"] is False
    assert run.events[-1] == "end destroy 0"


def test_C6_a_deep_temporary_folder_does_not_matter(
    scene: Callable[..., Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scene()
    deep = run.private_root / ("d" * 120)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    opened = run.open()
    assert len(opened["socket"]) > 120
    assert wait_present(opened, 20)["changed"] and remove(opened, 20)["gone"]


def test_C6_signals_of_the_terminal_do_not_end_the_guard(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    for number in (signal.SIGINT, signal.SIGHUP):
        os.kill(run.guard.pid, number)
    assert Client(opened["private"]).ask("status")["pid"] == run.guard.pid


def test_N1_nothing_is_created_without_a_lease(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    (Path(opened["ledger"]) / f"{opened['id']}.opened.json").unlink()
    with pytest.raises(AlbFailure, match="not announced in the ledger"):
        wait_present(opened, 20)
    assert not [event for event in run.events if event.startswith("apply")]
    assert remove(opened, 20)["attempts"] == []


def test_C1_name_that_aws_refuses_creates_nothing(scene: Callable[..., Scene]) -> None:
    run = scene()
    run.options["stack"]["name_prefix"] = "a-prefix-that-is-far-too-long-for-it"
    opened = run.open()
    with pytest.raises(AlbFailure, match="AWS allows 32"):
        wait_present(opened, 20)
    assert remove(opened, 20)["gone"] is True
    assert close_run(opened, {}, [])["verdict"]["first_failure"]["step"] == "C1"


def test_C6_two_runs_share_nothing_and_no_request_after_the_end(scene: Callable[..., Scene]) -> None:
    run = scene()
    opened = run.open()
    remove(opened, 20)
    with pytest.raises(AlbFailure, match="has been destroyed"):
        start(opened)
    with pytest.raises(GuardError, match="unknown request"):
        Client(opened["private"]).ask("shell")
