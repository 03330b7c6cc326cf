# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A guard whose teardown is disturbed: signals, a runner that clears up, a network, credentials, the lease (C6, N1)."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._guard import Guard
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import process
from ansible_collections.papyrus.ops.plugins.module_utils._guard_socket import Client
from ansible_collections.papyrus.ops.plugins.module_utils._names import parse_rfc3339
from ansible_collections.papyrus.ops.plugins.module_utils._run_alb import AlbFailure, remove, start, wait_present
from ansible_collections.papyrus.ops.plugins.module_utils._run_close import close_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_end import alive
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import open_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Settings
from aws_endpoint import AwsEndpoint
from guard_scene import COLLECTIONS, CONTROLLER, Scene, until
from sealing import seal_says

ARN = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/{}/50dc6c495c0c9188"
Make = Callable[..., Scene]


def under_way(run: Scene) -> bool:
    return any(event.startswith("variables") for event in run.events)


def down(opened: dict[str, Any], seconds: float = 120) -> None:
    until(lambda: not Path(opened["private"]).exists(), "the guard has taken the run down", seconds)


def test_C6_no_signal_disturbs_a_teardown(scene: Make) -> None:
    """Ctrl-C again and again, the terminal closed, SIGTERM twice: to the guard, while it destroys."""
    run = scene(FAKE_TF_DESTROY_SECONDS="3")
    run.options["trace_file"] = str(run.folder / "trace.jsonl")
    opened = run.open()
    wait_present(opened, 90)
    guard = run.guard
    run.end_controller(signal.SIGINT)
    until(lambda: "destroying" in run.events, "destroy is under way")
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
        os.kill(guard.pid, number)
        time.sleep(0.1)
    assert guard.alive()
    down(opened)
    assert not [event for event in run.events if event.startswith("signal")]
    assert run.events.count("destroying") == 1 and run.events[-1] == "end destroy 0"
    assert (run.verdict()["result"], run.verdict()["gone"]) == ("FAILED", "ok")
    trace = [json.loads(line) for line in (run.folder / "trace.jsonl").read_bytes().splitlines()]
    assert trace[0]["result"] == "FAILED", "the guard writes the trace of a run that nobody closed"
    asked = {line["operation"] for line in trace if line.get("who") == "guard"}
    assert {"DescribeLoadBalancers", "DescribeSecurityGroups"} <= asked


def test_C6_the_second_ctrl_c_comes_while_terraform_ends_after_the_first(scene: Make) -> None:
    run = scene(FAKE_TF_APPLY_SECONDS="60", FAKE_TF_LINGER_SECONDS="2")
    opened = run.open()
    start(opened)
    until(lambda: under_way(run), "apply is under way")
    guard = run.guard
    run.end_controller(signal.SIGINT)
    until(lambda: "signal SIGINT" in run.events, "Terraform has its one SIGINT")
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(guard.pid, number)
    down(opened)
    assert [event for event in run.events if event.startswith("signal")] == ["signal SIGINT"]
    assert run.events[-1] == "end destroy 0" and run.verdict()["gone"] == "ok"


def tracked(value: str) -> list[int]:
    """Processes that have the runner's mark in their environment, as the runner looks for them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"RUNNER_TRACKING_ID={value}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(below for child in children for below in tree(int(child)))]


def test_C6_a_runner_that_cancels_a_job_and_clears_up_leaves_the_guard(
    scene: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As GitHub's runner does it: signals to the shell of the step alone, then SIGKILL to the tree, then to whatever
    has its mark in the environment (the seconds between, 7.5 and 2.5, do not matter here)."""
    mark = f"github_{os.getpid()}-{time.monotonic_ns()}"
    monkeypatch.setenv("RUNNER_TRACKING_ID", mark)
    run = scene(FAKE_TF_APPLY_SECONDS="60")
    arguments = [str(COLLECTIONS), json.dumps(run.options), str(run.folder / "run.json")]
    with subprocess.Popen(
        ["bash", "-c", '"$@"; true', "step", sys.executable, "-c", CONTROLLER, *arguments],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as step:  # fmt: skip
        until((run.folder / "run.json").exists, "the run is open")
        run.run = json.loads((run.folder / "run.json").read_text())
        until((run.folder / "run.json.pids").exists, "a module is under way")
        start(run.run)
        until(lambda: under_way(run), "apply is under way")
        guard, marked = run.guard, tracked(mark)
        assert guard.pid not in marked and len(marked) >= 3  # the step, the controller, the module
        for number in (signal.SIGINT, signal.SIGTERM):
            step.send_signal(number)
            time.sleep(0.3)
        members = tree(step.pid) if step.poll() is None else []
        for pid in [*members, *tracked(mark)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert guard.alive()
    down(run.run)
    assert run.events[-1] == "end destroy 0" and run.events.count("signal SIGINT") == 1
    assert (run.verdict()["result"], run.verdict()["gone"]) == ("FAILED", "ok")
    until(lambda: not run.left_over(), "no process is left")
    assert tracked(mark) == []


def test_C6_a_network_that_is_away_during_the_teardown(scene: Make, endpoint: AwsEndpoint) -> None:
    """Terraform fails in every attempt; the guard sweeps when the network is back."""
    run = scene(FAKE_TF_DESTROY_FAILURES="9")
    opened = run.open()
    wait_present(opened, 90)
    arn = ARN.format(opened["name"])
    endpoint.left[arn] = opened["tags"]
    endpoint.away = True
    run.end_controller(signal.SIGKILL)
    until(lambda: endpoint.cut > 3, "the guard has asked in vain")
    endpoint.away = False
    down(opened)
    assert endpoint.left == {}
    verdict = run.verdict()
    assert (verdict["result"], verdict["gone"]) == ("FAILED", "ok")
    assert "DependencyViolation" in verdict["failed_destroy"]["cause"]
    said = (run.folder / "stderr").read_text()
    assert "everything it created is gone. Its destroy failed:" in said and "LEFT BEHIND" not in said


def test_C6_static_credentials_that_expire_in_the_middle(scene: Make, endpoint: AwsEndpoint) -> None:
    run = scene(FAKE_TF_DESTROY_FAILURES="9")
    opened = run.open()
    wait_present(opened, 90)
    endpoint.left[ARN.format(opened["name"])] = opened["tags"]
    endpoint.expired = True
    run.end_controller(signal.SIGKILL)
    down(opened)
    said = (run.folder / "stderr").read_text()
    assert "LEFT BEHIND: perhaps everything that is named " + opened["name"] in said and "ExpiredToken" in said
    assert f"ansible-playbook papyrus.ops.sweep -e papyrus_sweep_run_ids={opened['id']} " in said
    assert f"its lease ends at {opened['expires_at']}" in said
    verdict = run.verdict()
    assert (verdict["result"], verdict["gone"]) == ("FAILED", "ng")
    assert seal_says(run.sealed())["by"] == "guard"


def test_C6_what_an_apply_that_failed_has_made_is_taken_down_by_the_guard(scene: Make) -> None:
    run = scene(FAKE_TF_APPLY_ERROR="\nError: AccessDenied: no\n")
    opened = run.open()
    with pytest.raises(AlbFailure, match="AccessDenied"):
        wait_present(opened, 90)
    run.end_controller(signal.SIGKILL)
    down(opened)
    assert run.events[-1] == "end destroy 0" and run.verdict()["gone"] == "ok"


def test_C6_a_destroy_that_left_something_in_the_playbook_is_tried_again_by_the_guard(
    scene: Make, endpoint: AwsEndpoint
) -> None:
    run = scene(FAKE_TF_DESTROY_FAILURES="9")
    opened = run.open()
    wait_present(opened, 90)
    endpoint.left[ARN.format(opened["name"])] = opened["tags"]
    endpoint.refuse.add("DeleteLoadBalancer")
    Client(opened["private"]).ask("destroy")
    result = Client(opened["private"]).wait("destroy", 120)
    assert result is not None and result["gone"] is False
    endpoint.refuse.clear()
    run.end_controller(signal.SIGKILL)
    down(opened)
    assert endpoint.left == {} and run.verdict()["gone"] == "ok"
    assert [line["name"] for line in run.lines()].count("swept.json") == 2


# The lease


class Leased:
    """A run whose guard is in this process, with a clock of its own; its controller sleeps, perhaps for ever."""

    def __init__(self, made: Scene) -> None:
        self.scene = made
        self.controller = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
        facts = {"git": {"commit": "c0ffee", "dirty": False}}
        self.run = open_run(
            made.options,
            facts,
            controller=process(self.controller.pid),
            environ=dict(os.environ),
            start=lambda settings, environ: None,
        )
        made.run = self.run
        self.now = parse_rfc3339(self.run["expires_at"]) - dt.timedelta(seconds=1)
        self.said: list[str] = []
        self.guard = Guard(Settings.load(self.run["private"]), log=self.said.append, now=lambda: self.now)
        self.thread = threading.Thread(target=self.guard.run, daemon=True)
        self.thread.start()
        until(lambda: Client(self.run["private"]).guard() is not None, "the guard is up")

    def expire(self) -> None:
        self.now += dt.timedelta(seconds=1)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.guard.terminate()
            self.thread.join(120)
        self.controller.kill()
        self.controller.wait(10)
        self.scene.run = {}  # its guard is this process


def test_N1_a_stopped_controller_does_not_keep_a_run_alive_beyond_its_lease(scene: Make, endpoint: AwsEndpoint) -> None:
    leased = Leased(scene())
    try:
        wait_present(leased.run, 90)
        leased.controller.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        assert leased.thread.is_alive() and "destroying" not in leased.scene.events
        leased.expire()
        leased.thread.join(120)
        assert not leased.thread.is_alive() and not Path(leased.run["private"]).exists()
        assert leased.scene.events[-1] == "end destroy 0"
        cause = leased.scene.verdict()["first_failure"]["cause"]
        assert f"the lease ended at {leased.run['expires_at']}" in cause
        assert leased.scene.verdict()["gone"] == "ok"
        assert leased.controller.poll() is None  # it is told by whatever it asks next
        with pytest.raises(AlbFailure, match="nothing is created without the guard"):
            start(leased.run)
        assert remove(leased.run, 120)["gone"] is True
        assert close_run(leased.run, {}, [])["verdict"]["result"] == "FAILED"
    finally:
        leased.close()


def test_N1_the_lease_ends_no_run_that_has_nothing_to_take_down(scene: Make, endpoint: AwsEndpoint) -> None:
    leased = Leased(scene())
    try:
        leased.expire()
        time.sleep(2.5)
        assert leased.thread.is_alive() and leased.said[1:] == []
        with pytest.raises(AlbFailure, match=f"the lease ended at {leased.run['expires_at']}, nothing is created"):
            start(leased.run)
        assert leased.thread.is_alive() and leased.scene.events == ["version -json", "end version 0"]
        assert close_run(leased.run, {"step": "F3", "task": "", "cause": "late"}, [])["changed"]
        leased.thread.join(60)
        assert not leased.thread.is_alive()
    finally:
        leased.close()


def test_N1_the_lease_ends_no_run_that_is_destroyed_already_and_no_destroy_under_way(
    scene: Make, endpoint: AwsEndpoint
) -> None:
    leased = Leased(scene(FAKE_TF_DESTROY_SECONDS="3"))
    try:
        wait_present(leased.run, 90)
        Client(leased.run["private"]).ask("destroy")
        until(lambda: "destroying" in leased.scene.events, "destroy is under way")
        leased.expire()
        assert remove(leased.run, 120)["gone"] is True
        time.sleep(2)
        assert leased.thread.is_alive() and leased.scene.events.count("destroying") == 1
    finally:
        leased.close()


def test_N1_the_lease_ends_a_run_whose_destroy_left_something(scene: Make, endpoint: AwsEndpoint) -> None:
    leased = Leased(scene(FAKE_TF_DESTROY_FAILURES="9"))
    try:
        wait_present(leased.run, 90)
        endpoint.left[ARN.format(leased.run["name"])] = leased.run["tags"]
        endpoint.refuse.add("DeleteLoadBalancer")
        Client(leased.run["private"]).ask("destroy")
        result = Client(leased.run["private"]).wait("destroy", 120)
        assert result is not None and result["gone"] is False
        endpoint.refuse.clear()
        leased.expire()
        leased.thread.join(120)
        assert not leased.thread.is_alive() and endpoint.left == {}
        assert leased.scene.verdict()["gone"] == "ok"
    finally:
        leased.close()


def test_C6_a_guard_waits_for_a_network_while_the_lease_lasts_and_no_longer_than_a_sweep(
    scene: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    leased = Leased(scene())
    expires, asked = parse_rfc3339(leased.run["expires_at"]), []

    def destroy(patience: float) -> dict[str, Any]:
        asked.append(patience)
        return {"gone": False}

    try:
        wait_present(leased.run, 90)
        with monkeypatch.context() as patch:
            patch.setattr(leased.guard.stack, "destroy", destroy)
            for seconds in (3600, 12, 0.5):
                leased.now = expires - dt.timedelta(seconds=seconds)
                leased.guard._destroy_everything()
        assert asked == [20, 12, 1]  # `limits.sweep`, the lease, `limits.gone`
    finally:
        leased.close()


def test_N1_a_run_is_alive_while_its_terraform_is(tmp_path: Path, scene: Make) -> None:
    """A sweeper on this machine must not look away from a Terraform that both of its masters left behind."""
    run = scene(FAKE_TF_APPLY_SECONDS="60")
    opened = run.open()
    start(opened)
    until(lambda: under_way(run), "apply is under way")
    settings = Settings.load(opened["private"])
    assert run.controller is not None
    assert [each.pid for each in alive(settings)[:-1]] == [run.guard.pid, run.controller.pid]
    os.kill(run.guard.pid, signal.SIGKILL)
    run.end_controller(signal.SIGKILL)
    until(lambda: not run.guard.alive(), "the guard is dead")
    [terraform] = alive(settings)
    assert "fake_terraform.py" in Path(f"/proc/{terraform.pid}/cmdline").read_text()
    os.kill(terraform.pid, signal.SIGKILL)
    until(lambda: not alive(settings), "nothing lives")
