# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run with real processes: a controller that opens it, its guard, a terraform and an AWS that are stand-ins."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import Process
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import guard_process
from aws_endpoint import AwsEndpoint
from sealing import check_seal, signing_key

HERE = Path(__file__).resolve()
UNIT = HERE.parent
COLLECTIONS = HERE.parents[5]

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
    with open(sys.argv[3] + ".pids.new", "w") as file:
        file.write(f"{os.getpid()} {module.pid}\\n")
    os.rename(sys.argv[3] + ".pids.new", sys.argv[3] + ".pids")
    time.sleep(120)
while not os.path.exists(sys.argv[3] + ".pids"):
    time.sleep(0.01)
sys.stderr.write("controller is up\\n")
time.sleep(120)
"""


def until(condition: Callable[[], Any], what: str, seconds: float = 90) -> Any:
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
                "limits": {"backoff": 0.05, "gone": 1, "gone_interval": 0.1, "interrupt_grace": 15, "sweep": 20},
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
            until(lambda: not (guard := guard_process(self.run["private"])) or not guard.alive(), "the guard ends")
        if self.run:
            for pid in self.left_over():
                os.kill(pid, signal.SIGKILL)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"
