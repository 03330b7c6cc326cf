"""L1: many services on several workers by transmit | worker | process, with an ansible-playbook that only pretends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workflow_files import CHECKOUT

SERVICES = ["svc-a", "svc-b", "svc-c"]
STUB = """#!/bin/sh
root=%s
echo "$@" >>"$root/asked"
while [ "$1" != --limit ]; do shift; done
service=$2
pwd >"$root/cwd-$service"
ls >"$root/files-$service"
(git rev-parse HEAD; git status --porcelain) >"$root/git-$service" 2>&1
while [ -e "$root/hold" ]; do touch "$root/held-$service"; sleep 0.1; done
folder="$AWX_ISOLATED_DATA_DIR/evidence/20261124T120000Z-aaaaaa"
mkdir -p "$folder"
result=PASSED; [ "$service" != "${BAD:-}" ] || result=FAILED
echo '{"result": "'$result'"}' >"$folder/verdict.json"
echo '{"name": "verdict.json", "path": "verdict.json"}' >"$folder/manifest.jsonl"
[ $result = PASSED ] || exit 2
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in git with the script, ansible-runner, and the stub."""
    for folder in ("scripts", "runner/env", ".venv/bin", "playbooks", "inventories/prd"):
        (tmp_path / folder).mkdir(parents=True)
    copied = ("fleet", "workflow_play", "workflow_end")
    for name in [f"scripts/{each}.py" for each in copied] + ["runner/env/settings", "runner/env/envvars"]:
        (tmp_path / name).write_bytes((CHECKOUT / name).read_bytes())
    (tmp_path / "playbooks" / "alb_smoke.yml").write_text("[]", "utf-8")
    (tmp_path / "inventories" / "prd" / "hosts.yml").write_text("all: {hosts: {}}", "utf-8")
    (tmp_path / ".gitignore").write_text(".venv/\n", "utf-8")
    (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)
    programs = {
        "ansible-runner": f'#!/bin/sh\nexec {tmp_path}/.venv/bin/python -m ansible_runner "$@"\n',
        "ansible-playbook": STUB % tmp_path,
    }
    for name, text in programs.items():
        (tmp_path / ".venv" / "bin" / name).write_text(text, "utf-8")
        (tmp_path / ".venv" / "bin" / name).chmod(0o755)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "--all")
    git(tmp_path, "-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "one")
    return tmp_path


def git(checkout: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", checkout, *arguments], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()


def fleet(checkout: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(checkout), "PYTHONPATH": os.pathsep.join(packages), **environment}
    command = [".venv/bin/python", "scripts/fleet.py", "--inventory", "inventories/prd", "--folder", "out", *arguments]
    return subprocess.Popen(
        [*command, *SERVICES], cwd=checkout, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition: Path, there: bool = True) -> None:
    deadline = time.monotonic() + 60
    while condition.exists() is not there:
        assert time.monotonic() < deadline, condition
        time.sleep(0.05)


def test_L1_every_service_is_played_once_and_its_bundle_comes_back(checkout: Path) -> None:
    variables = checkout / "more.json"
    variables.write_text(json.dumps({"planted": "not-in-argv"}), "utf-8")
    (checkout / "hold").touch()
    process = fleet(checkout, "--variables", "more.json")
    wait_for(checkout / "held-svc-a")
    wait_for(checkout / "held-svc-b")  # two workers at once
    assert not (checkout / "held-svc-c").exists()
    (checkout / "hold").unlink()
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    asked = (checkout / "asked").read_text("utf-8")
    assert [asked.count(f"--limit {name} ") for name in SERVICES] == [1, 1, 1]
    assert "not-in-argv" not in asked and "-i inventories/fleet" in asked
    for name in SERVICES:
        job = checkout / "out" / "results" / "artifacts" / name
        assert (job / "rc").read_text("utf-8") == "0"
        assert (job / "evidence" / "20261124T120000Z-aaaaaa" / "verdict.json").is_file()
        assert f"{name}: exit code 0, PASSED {job}" in output
    told = json.loads((checkout / "out" / "job" / "env" / "extravars").read_bytes())
    assert told["planted"] == "not-in-argv" and "AWX_ISOLATED_DATA_DIR" in told["papyrus_evidence_root"]


def test_L1_a_worker_gets_the_checkout_and_nothing_that_is_not_part_of_it(checkout: Path) -> None:
    (checkout / ".gitignore").write_text(".venv/\n*.secret\n", "utf-8")
    (checkout / "playbooks" / "a.secret").touch()
    process = fleet(checkout)
    process.communicate(timeout=120)
    assert [path.name for path in (checkout / "out" / "job" / "project" / "playbooks").iterdir()] == ["alb_smoke.yml"]
    for number, name in enumerate(SERVICES[:2], 1):
        where = (checkout / f"cwd-{name}").read_text("utf-8").strip()
        assert where.startswith(str(checkout / "out" / "workers")) and where.endswith(f"/{name}/project"), number
        assert (checkout / f"files-{name}").read_text("utf-8").split() == ["inventories", "playbooks"]


@pytest.mark.parametrize("changed", ["", " M playbooks/alb_smoke.yml"])
def test_L1_a_worker_knows_the_commit_and_what_differs_from_it(checkout: Path, changed: str) -> None:
    """So that the bundle names it. What a job does not take along (scripts/, here) is no difference."""
    (checkout / "scripts" / "fleet.py").open("a", encoding="utf-8").write("# changed\n")
    if changed:
        (checkout / changed[3:]).write_text("[ ]", "utf-8")
    output = fleet(checkout).communicate(timeout=120)[0]
    commit, *differs = (checkout / "git-svc-a").read_text("utf-8").splitlines()
    assert commit == git(checkout, "rev-parse", "HEAD"), output
    assert differs == ([changed] if changed else []), output


def test_L1_one_service_that_fails_fails_the_fleet_and_none_of_the_others(checkout: Path) -> None:
    process = fleet(checkout, BAD="svc-b")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    results = [line.split(",")[0] + line.split(",")[1].split()[0].join((" ", "")) for line in output.splitlines()]
    assert results == ["svc-a: exit code 0 PASSED", "svc-b: exit code 2 FAILED", "svc-c: exit code 0 PASSED"]


def test_L1_a_worker_that_answers_nothing_is_no_success(checkout: Path) -> None:
    process = fleet(checkout, "--worker", "false")
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    assert output.splitlines() == [
        "svc-a: exit code no answer, FAILED, no bundle came back, by false",
        "svc-b: exit code not begun, FAILED, no worker took it",
        "svc-c: exit code not begun, FAILED, no worker took it",
    ]


def test_L1_a_worker_that_dies_takes_one_service_with_it_and_the_others_go_on(checkout: Path) -> None:
    local = f"ansible-runner worker --private-data-dir {checkout}/worker/{{job}}"
    process = fleet(checkout, "--worker", "false", "--worker", local)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 1
    results = sorted(line.partition(": ")[2].split(" /")[0] for line in output.splitlines())
    assert results == [
        "exit code 0, PASSED",
        "exit code 0, PASSED",
        "exit code no answer, FAILED, no bundle came back, by false",
    ]


def test_C6_a_cancelled_fleet_cancels_its_jobs_and_begins_no_other(checkout: Path) -> None:
    (checkout / "hold").touch()
    process = fleet(checkout)
    wait_for(checkout / "held-svc-a")
    wait_for(checkout / "held-svc-b")
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1
    assert [line.partition(",")[0] for line in output.splitlines()] == [
        "svc-a: exit code 254", "svc-b: exit code 254", "svc-c: exit code not begun"
    ]  # fmt: skip
