"""The kill storm's own instruments: nothing of a run escapes the kill, nothing new or changed escapes the listing."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import kill_processes
from .aws_listing import Listing, canonical, difference, owned
from .kill_processes import Supervised
from .kill_storm import CONTROL, EVERYTHING, GUARD, fault, phase
from .kill_sweeps import foreign

# A daemon as a guard is one: in a session of its own, its parent gone. The controller lives on.
DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        open(sys.argv[1], "w").write(str(os.getpid()))
        time.sleep(600)
    os._exit(0)
time.sleep(600)
"""


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[tuple[Supervised, int]]:
    said, pid_file = tmp_path / "daemon.pid", tmp_path / "controller.pid"
    supervisor = subprocess.Popen(
        [sys.executable, kill_processes.__file__, str(pid_file), sys.executable, "-c", DAEMON, str(said)]
    )
    processes = Supervised(supervisor, pid_file)
    deadline = time.monotonic() + 20
    while not (said.exists() and said.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield processes, int(said.read_text())
    processes.kill_everything()


def test_N1_a_daemon_in_a_session_of_its_own_dies_with_everything(daemon: tuple[Supervised, int]) -> None:
    processes, pid = daemon
    assert pid in {member.pid for member in processes.members()}
    kill = processes.kill_everything()
    assert kill.killed == {"controller": 1, "other": 1}
    processes.supervisor.wait(10)  # it ends when it has no descendant
    assert not Path(f"/proc/{pid}").exists()


def test_N1_the_kill_of_a_controller_leaves_its_daemon(daemon: tuple[Supervised, int]) -> None:
    processes, pid = daemon
    assert processes.kill_controller_and_workers().killed == {"controller": 1}
    assert not processes.ended()
    assert [member.pid for member in processes.members()] == [pid]


def group(ident: str, name: str, *descriptions: str) -> str:
    ranges = [{"CidrIp": "10.0.0.0/8", "Description": text} for text in descriptions]
    return canonical({"GroupId": ident, "GroupName": name, "IpPermissions": [{"IpRanges": ranges}] if ranges else []})


BEFORE: Listing = {
    ("security group", "sg-1"): group("sg-1", "tasks", "permanent"),
    ("load balancer", "arn:prd"): canonical({"LoadBalancerName": "prd", "SecurityGroups": ["sg-1"]}),
}
DURING: Listing = BEFORE | {
    ("security group", "sg-1"): group("sg-1", "tasks", "permanent", "papyrus run x-abc234 temporary"),
    ("security group", "sg-2"): group("sg-2", "papyrus-smoke-abc234"),
    ("rule of a group", "sgr-9"): canonical({"GroupId": "sg-1", "ReferencedGroupInfo": {"GroupId": "sg-2"}}),
}


def test_N1_a_run_owns_what_bears_its_suffix_or_names_its_group() -> None:
    assert owned(DURING, "abc234") == [("rule of a group", "sgr-9"), ("security group", "sg-2")]
    assert owned(BEFORE, "abc234") == []


def test_N1_what_a_run_that_is_alive_owns_is_no_difference_and_everything_else_is() -> None:
    assert difference(BEFORE, DURING, ["abc234"]) == []
    said = difference(BEFORE, DURING)
    assert [line.split(":")[0] for line in said] == ["new", "new", "changed"]
    gone = {item: text for item, text in DURING.items() if item[0] != "load balancer"}
    assert difference(BEFORE, gone, ["abc234"]) == ["gone: load balancer arn:prd"]
    other = BEFORE | {("load balancer", "arn:prd"): canonical({"LoadBalancerName": "prd", "SecurityGroups": []})}
    assert [line.split(":")[0] for line in difference(BEFORE, other)] == ["changed"]
    lost = DURING | {("security group", "sg-1"): group("sg-1", "tasks", "papyrus run x-abc234 temporary")}
    assert [line.split(":")[0] for line in difference(BEFORE, lost, ["abc234"])] == ["changed"]


def test_N1_a_change_that_names_nothing_of_the_runs_is_foreign() -> None:
    calls = [
        {"operation": "DeleteLoadBalancer", "parameters": {"LoadBalancerArn": "arn:own"}},
        {"operation": "DeleteLoadBalancer", "parameters": {"LoadBalancerArn": "arn:prd"}},
    ]
    assert foreign(calls, ["arn:own"]) == ['DeleteLoadBalancer {"LoadBalancerArn": "arn:prd"}']
    rules = [{"UserIdGroupPairs": [{"GroupId": "sg-own"}, {"GroupId": "sg-prd"}]}, {"IpRanges": [{"CidrIp": "any"}]}]
    calls = [
        {"operation": "RevokeSecurityGroupIngress", "parameters": {"GroupId": "sg-own", "IpPermissions": rules}},
        {"operation": "DeleteAlarms", "parameters": {"AlarmNames": ["a-own", "a"]}},
    ]
    assert foreign(calls, ["sg-own", "a-own"]) == [
        'RevokeSecurityGroupIngress {"GroupId": "sg-prd"}', 'RevokeSecurityGroupIngress {"CidrIp": "any"}',
        'DeleteAlarms "a"',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": EVERYTHING, "all_dead": True, "left": []}, ""),
        ({"kind": EVERYTHING, "all_dead": True, "left": ["load balancer x"]}, "left"),
        ({"kind": EVERYTHING, "all_dead": True, "changed": ["gone: role x"]}, "changed"),
        ({"kind": EVERYTHING, "all_dead": True, "foreign_calls": ["DeleteRole"]}, "foreign_calls"),
        ({"kind": EVERYTHING, "all_dead": True, "sweep_ok": False, "sweep_said": "no"}, "the sweep failed"),
        ({"kind": EVERYTHING}, "not everything was dead"),
        ({"kind": CONTROL, "exit_code": 0, "verdict": "PASSED"}, ""),
        ({"kind": CONTROL, "exit_code": 2, "verdict": "FAILED"}, "exit code 2"),
        ({"kind": GUARD, "run_id": "r", "phase": "6 destroy", "verdict": "FAILED", "sealed": True}, ""),
        ({"kind": GUARD, "run_id": "r", "phase": "6 destroy", "verdict": "PASSED", "sealed": True}, "verdict"),
        ({"kind": GUARD, "run_id": "r", "phase": "6 destroy", "verdict": "FAILED", "sealed": False}, "sealed"),
        ({"kind": GUARD, "run_id": "r", "private_folders": ["papyrus-abc234-x"]}, "private_folders"),
    ],
)
def test_N1_the_storm_says_what_is_not_as_it_should_be(entry: dict[str, object], said: str) -> None:
    assert (said in fault(entry)) if said else (fault(entry) == "")


def test_N1_the_phase_of_a_kill_is_told_by_the_manifest() -> None:
    def line(name: str, **meta: str) -> dict[str, Any]:
        return {"name": name, "meta": meta}

    apply = [line("preflight.json"), line("phase.json", phase="terraform apply", event="start")]
    assert phase([], False).startswith("0")
    assert phase([line("run.json")], False) == "1 preflight, or the start of the apply"
    assert phase(apply, False) == "3 apply, no load balancer yet"
    assert phase(apply, True) == "4 apply, the load balancer is there"
    destroy = [*apply, line("phase.json", phase="terraform destroy", event="start")]
    assert phase(destroy, True) == "6 destroy"
    assert phase([*destroy, line("verdict.json")], False) == "8 after the verdict"
