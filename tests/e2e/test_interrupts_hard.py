"""Ends of a run that come from below or from above: Terraform killed, a runner that clears up, a network, credentials.

What of it needs no AWS is in the unit tests `test_guard_teardown.py` and `test_run_stack.py`, with every other case.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import harness
from .harness import RunningSmoke, left_behind, private_folders, processes_of
from .services import unique

SLOW = 900.0
"""Seconds: these are about what happens, not how fast."""

TERRAFORM = {
    "binary": "{{ papyrus_terraform_binary }}",
    "environment": "{{ papyrus_terraform_environment }}",
    "override_files": "{{ papyrus_terraform_override_files }}",
}


def run_of(running: RunningSmoke) -> str:
    """Id of the run, once it is open."""
    running.wait_for(running.bundle_folders, SLOW)
    return running.bundle_folders()[0].name


def private(running: RunningSmoke, name: str) -> Path:
    """A file of the run's private folder."""
    [folder] = private_folders(run_of(running))
    return folder / name


def pid_in(path: Path) -> int:
    """Of guard or Terraform, as the run has written it down."""
    return int(json.loads(path.read_text("utf-8"))["pid"])


def balancers(run_id: str) -> list[str]:
    """Load balancers of the run, asked without the product's code."""
    return [name for name in left_behind(run_id) if ":loadbalancer/" in name]


def wait_for_the_balancer(running: RunningSmoke) -> str:
    """Return when AWS has begun to make the run's load balancer, for which Terraform waits for a minute."""
    run_id = run_of(running)
    running.wait_for(lambda: balancers(run_id), SLOW)
    return run_id


def nothing_is_left(smoke: harness.Smoke) -> None:
    assert left_behind(smoke.run_id) == []
    deadline = time.monotonic() + 15
    while processes_of(smoke.run_id) and time.monotonic() < deadline:  # a guard whose run is closed says its last words
        time.sleep(0.2)
    assert processes_of(smoke.run_id) == []
    assert private_folders(smoke.run_id) == []
    assert smoke.verdict["result"] == "FAILED" == smoke.closed["result"]
    assert smoke.verdict["gone"] == "ok"


def in_bucket(name: str) -> list[str]:
    """Keys of what lies there."""
    return sorted(found["Key"] for found in harness.pages("s3", "list_objects_v2", "Contents", Bucket=name))


@pytest.fixture(name="states")
def _states() -> Iterator[str]:
    """A bucket for Terraform's states."""
    s3, name = harness.client("s3"), unique("states")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": harness.facts()["region"]})
    yield name
    for key in in_bucket(name):
        s3.delete_object(Bucket=name, Key=key)
    s3.delete_bucket(Bucket=name)


@pytest.mark.soak
@pytest.mark.parametrize("when", ["making", "made"])
def test_C6_terraform_is_killed_and_leaves_the_lock_of_its_state(tmp_path: Path, states: str, when: str) -> None:
    """While AWS makes the load balancer no state knows anything: all is swept. Afterwards Terraform destroys it, once
    the lock of the dead one is freed."""
    backend = {
        "bucket": states,
        "key": "papyrus/{run_id}.tfstate",
        "region": harness.facts()["region"],
        "use_lockfile": True,
        "use_path_style": True,
    }
    running = RunningSmoke(
        tmp_path, {"run_terraform": {**TERRAFORM, "backend": {"s3": backend}, "limits": {"lock": 3}}}
    )
    run_id = wait_for_the_balancer(running)
    state, label = f"papyrus/{run_id}.tfstate", unique("listener")
    if when == "made":
        # Terraform has written the load balancer down and waits for the answer about its listener: it holds the lock.
        balancer = {"LoadBalancerArn": f"*{run_id.rsplit('-', 1)[1]}*"}
        asked = {"service": "elbv2", "operation": "CreateListener", "late_seconds": 60, "match": balancer}
        harness.add_faults({**asked, "label": label})
        running.wait_for(lambda: state in in_bucket(states), SLOW)
    assert f"{state}.tflock" in in_bucket(states)
    os.kill(pid_in(private(running, "terraform.json")), signal.SIGKILL)
    harness.remove_faults(label)
    smoke = running.end(SLOW)
    assert smoke.exit_code != 0
    assert "SIGKILL" in smoke.verdict["first_failure"]["cause"]
    nothing_is_left(smoke)
    names = [line["name"] for line in smoke.lines]
    [log] = [line for line in smoke.lines if line["name"] == "terraform_destroy.log"]
    if when == "making":
        assert "load_balancer" in {each["kind"] for each in json.loads(smoke.item("swept.json"))["deleted"]}
        assert in_bucket(states) == [f"{state}.tflock"]  # nothing was left to destroy, so nobody met it
        return
    assert "swept.json" not in names
    assert [attempt["ok"] for attempt in log["meta"]["attempts"]] == [False, True]
    assert log["meta"]["attempts"][0]["unlocked"].endswith("was freed: whoever held it is dead")
    assert in_bucket(states) == [state]


@pytest.mark.soak
def test_C6_a_github_runner_cancels_the_job(tmp_path: Path) -> None:
    """SIGINT, 7.5 s later SIGTERM, 2.5 s later SIGKILL to the tree, then to whatever has the runner's mark."""
    mark = unique("github")
    launcher = ("bash", "-c", '"$@"; true', "step")
    running = RunningSmoke(tmp_path, {}, environment={"RUNNER_TRACKING_ID": mark}, launcher=launcher)
    wait_for_the_balancer(running)
    step = running.process.pid
    for number, seconds in ((signal.SIGINT, 7.5), (signal.SIGTERM, 2.5)):
        os.kill(step, number)
        time.sleep(seconds)
    for pid in [*tree(step), *marked(mark)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    smoke = running.end_by_guard(SLOW)
    nothing_is_left(smoke)
    assert "the controller (ansible-playbook) ended" in smoke.verdict["first_failure"]["cause"]


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()
    except OSError:
        return []
    return [pid, *(below for child in children for below in tree(int(child)))]


def marked(value: str) -> list[int]:
    """Processes with the runner's mark in their environment."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"RUNNER_TRACKING_ID={value}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


@pytest.mark.soak
@pytest.mark.parametrize("how", ["ctrl-c", "alone"])
def test_C6_every_call_of_aws_is_cut_for_a_minute(tmp_path: Path, how: str) -> None:
    """Once with a Ctrl-C in it: then Terraform's own attempts fail as well, and the guard sweeps when it is back."""
    running = RunningSmoke(tmp_path, {})
    run_id = wait_for_the_balancer(running)
    label = unique("away")
    harness.add_faults({"service": "*", "operation": "*", "cut_after": 0, "reset": True, "match": {}, "label": label})
    began = time.monotonic()
    try:
        if how == "ctrl-c":
            running.interrupt()
        time.sleep(max(0.0, 60 - (time.monotonic() - began)))
    finally:
        harness.remove_faults(label)
    smoke = running.end_by_guard(SLOW)
    assert smoke.run_id == run_id
    nothing_is_left(smoke)


@pytest.mark.soak
def test_N1_a_controller_that_is_stopped_is_taken_down_at_the_end_of_its_lease(tmp_path: Path) -> None:
    running = RunningSmoke(tmp_path, {"papyrus_lease_minutes": 3})
    run_id = wait_for_the_balancer(running)
    running.signal(signal.SIGSTOP)
    deadline = time.monotonic() + SLOW
    while private_folders(run_id):
        assert time.monotonic() < deadline, "the guard has not taken it down"
        time.sleep(0.5)
    assert left_behind(run_id) == []
    running.signal(signal.SIGCONT)
    smoke = running.end(SLOW)
    assert smoke.exit_code != 0
    nothing_is_left(smoke)
    assert "the lease ended at" in smoke.verdict["first_failure"]["cause"]


# Credentials that end in the middle


def switch(**values: Any) -> None:
    """Set switches of the local AWS beside those that are set."""
    harness.control("PUT", "switches", {**harness.control("GET", "switches"), **values})


@pytest.fixture(name="_credentials_count")
def _iam_mode() -> Iterator[None]:
    """Only in this mode does the local AWS look at who asks, and whether that one's session is over."""
    switch(iam=True)
    yield
    switch(iam=False)


def session(seconds: int) -> dict[str, Any]:
    """Temporary credentials that live so long, as a process of credentials tells them."""
    switch(session_seconds=seconds)
    try:
        made = harness.client("sts").get_session_token()["Credentials"]
    finally:
        switch(session_seconds=0)
    return {**made, "Expiration": made["Expiration"].isoformat()}


def environment_of(config: Path) -> dict[str, str]:
    """The inventory's environment with a profile instead of keys."""
    known = harness.facts()
    return {
        "AWS_ENDPOINT_URL": known["endpoint"],
        "AWS_REGION": known["region"],
        "AWS_DEFAULT_REGION": known["region"],
        "AWS_PROFILE": "default",
        "AWS_CONFIG_FILE": str(config),
        "AWS_SDK_LOAD_CONFIG": "1",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.0/8,localhost",
        "no_proxy": "127.0.0.0/8,localhost",
    }


def profile(folder: Path, text: str) -> Path:
    """A configuration file of the SDK with one profile."""
    path = folder / "aws.config"
    path.touch(mode=0o600)
    path.write_text(f"[default]\n{text}", "utf-8")
    return path


@pytest.mark.soak
@pytest.mark.usefixtures("_credentials_count")
def test_C6_static_credentials_that_expire_in_the_middle_are_told_with_the_command_that_sweeps(tmp_path: Path) -> None:
    began, made = time.monotonic(), session(300)
    keys = {"aws_access_key_id": "AccessKeyId", "aws_secret_access_key": "SecretAccessKey"}
    lines = {key: made[name] for key, name in {**keys, "aws_session_token": "SessionToken"}.items()}
    config = profile(tmp_path, "".join(f"{key} = {value}\n" for key, value in lines.items()))
    running = RunningSmoke(tmp_path / "run", {"papyrus_aws_environment": environment_of(config)})
    run_id = wait_for_the_balancer(running)
    running.signal(signal.SIGSTOP)  # so that they end in the middle, however fast this machine is
    time.sleep(max(0.0, 302 - (time.monotonic() - began)))
    running.signal(signal.SIGCONT)
    smoke = running.end(SLOW)
    assert smoke.exit_code != 0
    assert balancers(run_id)
    assert "LEFT BEHIND" in smoke.output
    assert f"ansible-playbook papyrus.ops.sweep -e papyrus_sweep_run_ids={run_id}" in smoke.output
    assert "ExpiredToken" in smoke.output
    assert smoke.verdict["result"] == "FAILED"
    assert smoke.verdict["gone"] == "ng"
    assert made["SecretAccessKey"] not in smoke.output
    sweep = RunningSmoke(tmp_path / "sweep", {"papyrus_sweep_run_ids": run_id}, playbook="playbooks/sweep.yml").end(
        SLOW
    )
    assert sweep.exit_code == 0, sweep.output[-3000:]
    assert left_behind(run_id) == []


PROCESS = """#!{python} -I
# Credentials for a minute, new ones when half of it is over. The SDK asks before each call, as they are short.
import json, os, sys, time
from pathlib import Path
known = Path({known!r})
if not known.exists() or known.stat().st_mtime < time.time() - 30:
    os.environ["PAPYRUS_SANDBOX_ROOT"] = {root!r}
    sys.path.insert(0, {checkout!r})
    from tests.e2e.test_interrupts_hard import session
    fresh = known.with_suffix(f".{{time.monotonic_ns()}}")
    fresh.write_text(json.dumps({{"Version": 1, **session(60)}}))
    fresh.rename(known)
    with open({record!r}, "a") as file:
        file.write(".")
print(known.read_text())
"""


@pytest.mark.soak
@pytest.mark.usefixtures("_credentials_count")
def test_C6_credentials_of_a_process_are_renewed_while_the_guard_takes_the_run_down(tmp_path: Path) -> None:
    """Each lives for a minute; the run has as many of them as it needs, Terraform and the guard too."""
    record, process = tmp_path / "record", tmp_path / "process"
    python = harness.CHECKOUT / ".venv" / "bin" / "python"
    places = {"known": tmp_path / "known", "record": record, "checkout": harness.CHECKOUT, "root": harness.SANDBOX_ROOT}
    names = {name: str(place) for name, place in places.items()}
    process.write_text(PROCESS.format(python=python, **names), "utf-8")
    process.chmod(process.stat().st_mode | stat.S_IXUSR)
    config = profile(tmp_path, f"credential_process = {process}\n")
    running = RunningSmoke(tmp_path / "run", {"papyrus_aws_environment": environment_of(config)})
    wait_for_the_balancer(running)
    before = len(record.read_text("utf-8"))
    running.signal(signal.SIGSTOP)
    time.sleep(62)
    running.signal(signal.SIGCONT)
    running.interrupt()
    smoke = running.end_by_guard(SLOW)
    nothing_is_left(smoke)
    assert len(record.read_text("utf-8")) > before


# The permanent stacks


@pytest.mark.soak
def test_H1_ctrl_c_in_the_middle_of_the_network_loses_nothing_of_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    variables = {"papyrus_state_dir": str(state), "papyrus_name": unique("net"), "papyrus_vpc_cidr": "10.99.0.0/16"}
    running = RunningSmoke(tmp_path / "run", variables, playbook="playbooks/stacks.yml")
    path, work = state / "00-network" / "terraform.tfstate", state / "00-network" / "work"
    running.wait_for(lambda: path.is_file() and '"aws_vpc"' in path.read_text("utf-8"), SLOW)
    os.killpg(running.process.pid, signal.SIGINT)
    assert running.process.wait(60) != 0
    deadline = time.monotonic() + SLOW
    while processes_in(work):
        assert time.monotonic() < deadline, processes_in(work)
        time.sleep(0.5)
    try:
        planned = terraform(work, "plan", "-detailed-exitcode")  # 2 when something is missing or unknown to the state
        assert planned.returncode == 0, planned.stdout[-2000:]
    finally:
        done = terraform(work, "destroy", "-auto-approve")
    assert done.returncode == 0, done.stderr[-2000:]


def processes_in(folder: Path) -> list[str]:
    """What has its working folder there."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(entry / "cwd") == str(folder):
                found.append(entry.name)
    return found


def terraform(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Terraform by hand, with the local AWS' environment."""
    known, sandbox = harness.facts(), harness.CHECKOUT / ".sandbox"
    given = {
        "AWS_ENDPOINT_URL": known["endpoint"],
        "AWS_ACCESS_KEY_ID": known["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
        "AWS_REGION": known["region"],
        "TF_CLI_CONFIG_FILE": str(sandbox / "terraform" / "terraform.rc"),
        "TF_VAR_sandbox_endpoint": known["endpoint"],
    }
    return subprocess.run(
        [str(sandbox / "bin" / "terraform"), *arguments, "-input=false", "-no-color"],
        cwd=folder, env=os.environ | given, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
