"""Runs a playbook for many services on several workers: ansible-runner's transmit | worker | process, a job a service.

usage: .venv/bin/python scripts/fleet.py --inventory FOLDER --folder FOLDER [--worker COMMAND]... [SERVICE]...
Each worker takes the next service when it is done with one; one that gives no answer gets no other. FOLDER gets
results/artifacts/SERVICE with the job's events, output and evidence/, the run's bundle; docs/runner.md says what lies
where when a job is cancelled, or a worker dies. Ends with 0 when every run was PASSED or WARNED. `{job}` in a worker's
command becomes the service's name; two local workers are the default.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_end import verdict_of
from workflow_play import PLAYBOOKS, RUN_ID, service

CHECKOUT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
NEEDED = (
    ".gitignore",
    "ansible.cfg",
    "app",
    "collections",
    "infra",
    "inventories",
    "playbooks",
    "sandbox/aws.config",
    "sandbox/terraform",
)
"""What a job takes along of the checkout."""
EVIDENCE = "{{ lookup('ansible.builtin.env', 'AWX_ISOLATED_DATA_DIR') }}/evidence"
"""In the job's artifacts, which come back."""
NO_ANSWER = "no answer"
"""Exit code of a job whose worker did not get to its end."""


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run a playbook for many services on several workers.")
    parser.add_argument("--playbook", choices=PLAYBOOKS, default="alb_smoke")
    parser.add_argument("--inventory", required=True, type=Path, help="folder of the inventory")
    parser.add_argument("--folder", required=True, type=Path, help="what goes out and what comes back; not there yet")
    parser.add_argument(
        "--worker", action="append", help="command of a worker; reads a job from stdin, answers to stdout"
    )
    parser.add_argument("--variables", type=Path, help="file of JSON with more variables, for every job")
    parser.add_argument("services", nargs="*", type=service, help="hosts of the inventory; all when left out")
    return parser.parse_args(argv)


def git(folder: Path, *arguments: str, given: str = "") -> str:
    """What git says. CalledProcessError when it refuses."""
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, input=given, stdout=subprocess.PIPE, text=True, check=True).stdout


def make_a_checkout(project: Path) -> None:
    """Files that were copied become a checkout of the same commit, so that a bundle names it, and what differs."""
    git(project, "init", "--quiet")
    git(project, "fetch", "--quiet", "--depth", "1", CHECKOUT.as_uri(), "HEAD")
    git(project, "update-ref", "--no-deref", "HEAD", "FETCH_HEAD")
    git(project, "read-tree", "HEAD")
    left_here = git(project, "ls-files", "-z", "--", ":/", *(f":(exclude){name}" for name in NEEDED))
    git(project, "update-index", "-z", "--skip-worktree", "--stdin", given=left_here)
    (project / ".git" / "info" / "exclude").write_text("/inventories/fleet/\n", "utf-8")


def make_job(asked: argparse.Namespace) -> Path:
    """The private data dir that every job takes along: the checkout's files, the inventory, the variables."""
    job = asked.folder / "job"
    listed = git(CHECKOUT, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *NEEDED)
    for name in filter(None, listed.split("\0")):
        source, target = CHECKOUT / name, job / "project" / name
        if source.is_symlink() or source.is_file():  # not one that is deleted, and not yet committed so
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    make_a_checkout(job / "project")
    shutil.copytree(asked.inventory, job / "project" / "inventories" / "fleet")
    (job / "env").mkdir()
    for name in ("settings", "envvars"):
        shutil.copy(CHECKOUT / "runner" / "env" / name, job / "env" / name)
    told: dict[str, Any] = {"papyrus_evidence_root": EVIDENCE}
    if asked.variables:
        told |= json.loads(asked.variables.read_bytes())
    (job / "env" / "extravars").write_text(json.dumps(told), "utf-8")
    (job / "env" / "cmdline").write_text("-i inventories/fleet", "utf-8")
    return job


def services_of(inventory: Path) -> list[str]:
    listed = [str(BIN / "ansible-inventory"), "-i", str(inventory), "--list"]
    content = json.loads(subprocess.run(listed, cwd=CHECKOUT, capture_output=True, check=True).stdout)
    return sorted(content["_meta"]["hostvars"]) or sorted(content.get("ungrouped", {}).get("hosts", []))


class Fleet:
    """Jobs, the workers that take them, and what came back."""

    def __init__(self, asked: argparse.Namespace, services: Sequence[str]) -> None:
        self.folder, self.playbook = asked.folder, asked.playbook
        self.job, self.waiting = make_job(asked), queue.SimpleQueue[str]()
        for each in services:
            self.waiting.put(each)
        self.environ = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        self.under_way: set[subprocess.Popen[bytes]] = set()
        self.told: dict[str, tuple[str, str, str]] = {}
        self.cancelled = False

    def work(self, worker: str) -> None:
        while not self.cancelled:
            try:
                name = self.waiting.get_nowait()
            except queue.Empty:
                return
            self.told[name] = (worker, *self.play(name, shlex.split(worker.replace("{job}", name))))
            if self.told[name][1] == NO_ANSWER:  # dead, or never reached: it would take all others as fast as it can
                return

    def play(self, name: str, worker: list[str]) -> tuple[str, str]:
        """Sends a job, waits for it; its exit code and its verdict, with the bundle's path."""
        runner, results = str(BIN / "ansible-runner"), self.folder / "results"
        playbook = f"playbooks/{self.playbook}.yml"
        log = (self.folder / f"{name}.log").open("wb")
        send = [runner, "transmit", str(self.job), "-p", playbook, "--limit", name, "--ident", name, "--omit-env-files"]
        take = [runner, "process", str(results), "--ident", name]
        with log:
            chain: list[subprocess.Popen[bytes]] = []
            for command in (send, worker, take):
                given = chain[-1].stdout if chain else None
                out = log if command is take else subprocess.PIPE
                chain.append(subprocess.Popen(command, stdin=given, stdout=out, stderr=log, env=self.environ))
                if given:
                    given.close()  # so that who reads no more is noticed
            self.under_way.add(chain[1])
            if self.cancelled:  # between its start and here
                chain[1].terminate()
            for each in chain:
                each.wait()
            self.under_way.discard(chain[1])
        return came_back(results / "artifacts" / name)

    def cancel(self, *_: object) -> None:
        """SIGTERM to each worker: it cancels its job, and the run's guard takes it down, on the worker."""
        self.cancelled = True
        for each in list(self.under_way):
            each.terminate()


def came_back(job: Path) -> tuple[str, str]:
    """Exit code of a job, and the result of its bundle with the bundle's path; what is not there is said so."""
    code = (job / "rc").read_text("utf-8") if (job / "rc").is_file() else NO_ANSWER
    for bundle in sorted(job.glob("evidence/*/")):
        if RUN_ID.fullmatch(bundle.name):
            try:
                return code, f"{verdict_of(bundle)[1]['result']} {bundle}"
            except (OSError, ValueError, LookupError):
                return code, f"FAILED, no verdict in {bundle}"
    return code, "FAILED, no bundle came back"


def main(argv: list[str]) -> int:
    asked = arguments(argv)
    asked.folder = asked.folder.absolute()
    local = str(asked.folder / "workers" / "{n}" / "{job}")
    workers = asked.worker or [
        f"ansible-runner worker --private-data-dir {shlex.quote(local.replace('{n}', str(n)))}" for n in (1, 2)
    ]
    services = asked.services or services_of(asked.inventory)
    asked.folder.mkdir(mode=0o700, parents=True)
    fleet = Fleet(asked, services)
    signal.signal(signal.SIGTERM, fleet.cancel)
    signal.signal(signal.SIGINT, fleet.cancel)
    threads = [threading.Thread(target=fleet.work, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    good = 0
    for name in services:
        worker, code, verdict = fleet.told.get(name, ("", "not begun", "FAILED, no worker took it"))
        print(f"{name}: exit code {code}, {verdict}" + (f", by {worker}" if worker else ""))
        good += code == "0" and re.match(r"(PASSED|WARNED) ", verdict) is not None
    return 0 if good == len(services) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
