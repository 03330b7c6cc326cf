# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Terraform's command line: what it is told, how it is ended, what its errors say (C1, C2, C6)."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._terraform import (
    ProcessRunner,
    Ran,
    Terraform,
    TerraformError,
    environment,
    outputs_of,
    parse_version,
    problems,
    why_failed,
)

OLD = """
aws_security_group.alb: Creation complete after 0s [id=sg-1]

Error: error creating ELBv2 Listener (arn:aws:elasticloadbalancing:…:loadbalancer/app/x/1): AccessDenied: not you
\tstatus code: 403, request id: 7a1b2c3d-0000-4000-8000-9e8d7c6b5a40

  with aws_lb_listener.this,
  on main.tf line 90, in resource "aws_lb_listener" "this":
  90: resource "aws_lb_listener" "this" {

Error: InvalidGroup.Duplicate: The security group 'x' already exists
\tstatus code: 400, request id: r-2

  with aws_security_group.alb,
  on main.tf line 20, in resource "aws_security_group" "alb":
"""
NEW = """
╷
│ Error: creating ELBv2 application Load Balancer (x): operation error Elastic Load Balancing v2:
│ CreateLoadBalancer, https response error StatusCode: 400, RequestID: 1b2c, api error DuplicateLoadBalancerName: A load
│ balancer with the same name 'x' exists
│
│   with aws_lb.this,
│   on main.tf line 60, in resource "aws_lb" "this":
│   60: resource "aws_lb" "this" {
│
╵
╷
│ Warning: something else
│
│   with aws_lb_target_group.app,
╵
"""
NO_VARIABLE = """
Error: No value for required variable

  on variables.tf line 3:
   3: variable "region" {

The root module input variable "region" is not set, and has no default value.
"""


def test_C1_errors_of_provider_3_name_resource_code_and_request() -> None:
    first, second = problems(OLD)
    assert (first.resource, first.code, first.request_id) == (
        "aws_lb_listener.this", "AccessDenied", "7a1b2c3d-0000-4000-8000-9e8d7c6b5a40",
    )  # fmt: skip
    assert str(first).startswith("aws_lb_listener.this: error creating ELBv2 Listener") and "\n" not in str(first)
    assert (second.resource, second.code) == ("aws_security_group.alb", "InvalidGroup.Duplicate")


def test_C1_errors_in_boxes_of_provider_6() -> None:
    (found,) = problems(NEW)
    assert (found.resource, found.code, found.request_id) == ("aws_lb.this", "DuplicateLoadBalancerName", "1b2c")
    assert "same name 'x' exists" in str(found) and "│" not in str(found)


def test_C1_an_error_before_any_resource() -> None:
    (found,) = problems(NO_VARIABLE)
    assert found.resource == "" and '"region" is not set' in str(found)


def test_C6_one_line_says_how_a_command_ended() -> None:
    ran = Ran(("terraform", "apply"), 1, 2.0, OLD)
    assert why_failed(ran).startswith("terraform apply ended with exit code 1: aws_lb_listener.this: ")
    assert "InvalidGroup.Duplicate" in why_failed(ran)
    assert "killed" in why_failed(Ran(("terraform", "destroy"), -9, 2.0, "", killed=True))
    assert why_failed(Ran(("terraform", "init"), 1, 0.1, "a\nlast words\n")).endswith(": last words")
    assert "apply was ended from outside by SIGKILL" in why_failed(Ran(("terraform", "apply"), -9, 2.0, ""))


class FakeRunner:
    def __init__(self) -> None:
        self.argv: list[list[str]] = []

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path, timeout: float) -> Ran:
        self.argv.append(list(argv))
        return Ran(tuple(argv), 0, 0.5, "done")


def test_C2_no_variable_is_ever_in_argv(tmp_path: Path) -> None:
    runner = FakeRunner()
    terraform = Terraform("terraform", tmp_path, {}, runner, tmp_path / "log")
    terraform.init()
    terraform.apply(60)
    terraform.destroy(60, lock_timeout=5)
    assert runner.argv == [
        ["terraform", "init", "-input=false", "-no-color"],
        ["terraform", "apply", "-auto-approve", "-input=false", "-no-color", "-lock-timeout=60s"],
        ["terraform", "destroy", "-auto-approve", "-input=false", "-no-color", "-lock-timeout=5s"],
    ]
    assert (
        (tmp_path / "log")
        .read_text()
        .startswith("$ terraform init -input=false -no-color\n\n# exit code 0 after 0.5 s")
    )
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_C2_the_operators_shell_changes_nothing(tmp_path: Path) -> None:
    shell = {
        "PATH": "/bin", "AWS_PROFILE": "p", "TF_VAR_vpc_id": "x", "TF_CLI_ARGS": "-no", "TF_LOG": "trace",
        "TF_WORKSPACE": "w", "PGPASSWORD": "secret", "GITHUB_TOKEN": "secret", "TF_CLI_CONFIG_FILE": "a",
        "https_proxy": "p:1", "LC_ALL": "C",
    }  # fmt: skip
    env = environment(shell, {"TF_VAR_endpoint": "given", "TF_CLI_CONFIG_FILE": "b"}, tmp_path)
    assert env == {
        "PATH": "/bin", "AWS_PROFILE": "p", "https_proxy": "p:1", "LC_ALL": "C", "TF_IN_AUTOMATION": "1",
        "TF_INPUT": "0", "CHECKPOINT_DISABLE": "1", "TF_DATA_DIR": str(tmp_path), "TF_VAR_endpoint": "given",
        "TF_CLI_CONFIG_FILE": "b", "GOGC": "400",
    }  # fmt: skip


def test_l3_an_operator_can_ask_terraforms_collector_to_save_memory() -> None:
    assert environment({"GOGC": "50", "GOMEMLIMIT": "256MiB"}, {}).items() >= {("GOGC", "50"), ("GOMEMLIMIT", "256MiB")}
    assert environment({"GOGC": "50"}, {"GOGC": "off"})["GOGC"] == "off"


STUBBORN = """
import signal, sys, time
count = 0
def on(number, frame):
    global count
    count += 1
    print("got", count, flush=True)
signal.signal(signal.SIGINT, on)
print("up", flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and not (count and sys.argv[2] == "obeys"):
    time.sleep(0.01)
sys.exit(1 if count else 0)
"""


def run(runner: ProcessRunner, tmp_path: Path, seconds: float, manner: str, timeout: float) -> Ran:
    argv = [sys.executable, "-c", STUBBORN, str(seconds), manner]
    return runner.run(argv, cwd=tmp_path, env={}, log=tmp_path / "log", timeout=timeout)


def test_C6_time_limit_is_one_sigint(tmp_path: Path) -> None:
    ran = run(ProcessRunner(grace=20), tmp_path, 60, "obeys", timeout=0.5)
    assert (ran.returncode, ran.interrupted, ran.killed) == (1, True, False)
    assert ran.output.count("got") == 1


def test_C6_never_two_sigints_however_often_it_is_asked(tmp_path: Path) -> None:
    runner = ProcessRunner(grace=1.0)
    done: list[Ran] = []
    thread = threading.Thread(target=lambda: done.append(run(runner, tmp_path, 60, "ignores", timeout=60)))
    thread.start()
    log = tmp_path / "log"
    while not log.exists() or "up" not in log.read_text():
        threading.Event().wait(0.01)
    sent = [runner.interrupt() for _attempt in range(5)]
    thread.join(20)
    assert sent == [True, False, False, False, False]
    assert done[0].output.count("got") == 1
    assert (done[0].killed, done[0].returncode) == (True, -signal.SIGKILL)
    assert runner.interrupt() is False


def test_C6_the_child_is_in_a_group_of_its_own(tmp_path: Path) -> None:
    code = "import os; print(os.getpgid(0) == os.getpid())"
    ran = ProcessRunner().run([sys.executable, "-c", code], cwd=tmp_path, env={}, log=tmp_path / "log", timeout=20)
    assert ran.output == "True\n" and ran.ok


def test_B11_a_binary_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TerraformError, match="papyrus_terraform_binary"):
        ProcessRunner().run(["no-such-terraform"], cwd=tmp_path, env={}, log=tmp_path / "log", timeout=1)


def test_B11_version_of_terraform_and_provider() -> None:
    raw = b'{"terraform_version": "1.15.5", "provider_selections": {"hashicorp/aws": "3.39.0"}}'
    assert parse_version(raw)["providers"] == {"hashicorp/aws": "3.39.0"}
    with pytest.raises(TerraformError):
        parse_version(b"Terraform v1.5")


def test_D2_state_outputs_and_providers_come_from_files(tmp_path: Path) -> None:
    terraform = Terraform("no-such-binary", tmp_path, {}, FakeRunner(), tmp_path / "log")
    (tmp_path / "terraform.tfstate").write_text(
        '{"resources": [{}], "outputs": {"url": {"value": "http://x"}, "key": {"value": "s", "sensitive": true}}}'
    )
    assert outputs_of(terraform.state()) == {"url": "http://x"}
    (tmp_path / ".terraform.lock.hcl").write_text(
        'provider "registry.terraform.io/hashicorp/aws" {\n  version     = "3.39.0"\n  constraints = ">= 3.39"\n}\n'
    )
    assert terraform.providers() == {"registry.terraform.io/hashicorp/aws": "3.39.0"}
    (tmp_path / "terraform.tfstate").write_text("half a st")
    with pytest.raises(TerraformError, match="cannot be read"):
        terraform.state()
