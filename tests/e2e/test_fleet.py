"""L1: a fleet of services over two local workers; bundles come back whole, and what fails or dies does so alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import harness
from .harness import CHECKOUT, RunningSmoke, Smoke, left_behind
from .services import Services, until
from .test_interrupts import taken_down_by_the_guard
from .test_redaction import header_of
from .test_runner import PATIENCE, Ended

DOOMED = "tfdoomed"
"""Prefix of what the run makes whose worker is killed."""


def inventory(folder: Path, hosts: dict[str, dict[str, Any]]) -> Path:
    """The local AWS's inventory with these hosts."""
    made = folder / "inventory"
    shutil.copytree(CHECKOUT / "inventories" / "sandbox", made)
    (made / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}), "utf-8")
    return made


def worker_of(folder: Path) -> int:
    """The process that plays the job of this private data dir."""
    [found] = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if path.read_bytes().split(b"\0")[-3:] == [b"--private-data-dir", os.fsencode(folder), b""]
    ]
    return found


def git(*arguments: str) -> list[str]:
    """Lines of what git says in the checkout."""
    command = ["git", *arguments]
    return subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()


@pytest.mark.soak
def test_L1_C6_a_fleet_of_which_one_worker_dies_and_one_service_is_not_there(
    tmp_path: Path, services: Services
) -> None:
    """Four services, two workers: the dead one's second service is played by the other."""
    hosts = {name: services.service(name) for name in ("doomed", "one", "two")}
    hosts["doomed"]["papyrus_tag_prefix"] = DOOMED
    hosts["missing"] = {"papyrus_service": "there-is-none"}
    more = {
        "sandbox_checkout": str(CHECKOUT),
        "papyrus_ledger": str(tmp_path / "ledger"),  # one for all workers
        "papyrus_state_dir": str(harness.SANDBOX_ROOT / ".sandbox" / "state" / "stacks" / "papyrus-prd"),
    }
    (tmp_path / "more.json").write_text(json.dumps(more), "utf-8")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ANSIBLE_"))}
    environ |= {"PAPYRUS_SANDBOX_ROOT": str(harness.SANDBOX_ROOT), "ANSIBLE_HOME": str(tmp_path / "ansible")}
    folder, log, began = tmp_path / "fleet", tmp_path / "log", time.monotonic()
    [before] = git("rev-parse", "HEAD")
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "scripts/fleet.py", "--inventory", inventory(tmp_path, hosts), "--folder", folder,
             "--variables", tmp_path / "more.json", *hosts],
            cwd=CHECKOUT, stdout=stream, stderr=stream, env=environ,
        )  # fmt: skip
    try:
        until(lambda: process.poll() is not None or header_of(DOOMED), "the load balancer of the doomed", PATIENCE)
        [home] = folder.glob("workers/*/doomed")
        os.kill(worker_of(home), signal.SIGKILL)
        code = process.wait(PATIENCE)
    finally:
        process.terminate()  # it cancels what is under way
        process.wait(60)
    said = log.read_text("utf-8")
    assert code == 1, said
    commits = {before, *git("rev-list", f"{before}..HEAD")}  # whoever else works in the checkout may commit meanwhile
    results = {}
    for name in ("one", "two", "missing"):
        root = folder / "results" / "artifacts" / name
        smoke = Smoke(int((root / "rc").read_text("utf-8")), said, root / "evidence", 0.0)
        smoke.bundles = sorted((root / "evidence").glob("*/"))
        results[name] = (smoke.exit_code, smoke.verdict["result"] in ("PASSED", "WARNED"))
        assert smoke.statement["predicate"]["result"] == smoke.verdict["result"]  # sums and signature, after two zips
        assert (tmp_path / "ledger" / f"{smoke.run_id}.closed.json").is_file()
        assert left_behind(smoke.run_id) == []
        assert json.loads((smoke.bundle / "run.json").read_bytes())["git"]["commit"] in commits
        assert f"{name}: exit code {smoke.exit_code}, {smoke.verdict['result']} {smoke.bundle}, by" in said
        # The worker has kept the same, in its own private data dir.
        [kept] = folder.glob(f"workers/*/{name}/artifacts/{name}/evidence/{smoke.run_id}")
        assert (kept / "manifest.jsonl").read_bytes() == (smoke.bundle / "manifest.jsonl").read_bytes()
    logs = "\n".join((folder / f"{name}.log").read_text("utf-8")[-3000:] for name in hosts)
    assert results == {"one": (0, True), "two": (0, True), "missing": (2, False)}, said + logs
    assert "doomed: exit code no answer, FAILED, no bundle came back, by" in said
    # The guard of the run whose worker is dead, in the worker's private data dir.
    dead = RunningSmoke.__new__(RunningSmoke)
    dead.evidence_root, dead.log, dead.started = home / "artifacts" / "doomed" / "evidence", log, began
    dead.process = Ended(-signal.SIGKILL)
    (dead.evidence_root.parent / "ledger").symlink_to(tmp_path / "ledger")
    taken_down_by_the_guard(dead)
