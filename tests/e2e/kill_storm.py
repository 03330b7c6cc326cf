"""Kills runs of alb_smoke at random moments, sweeps, and compares everything in the local AWS with what was before.

    python -m tests.e2e.kill_storm run RESULTS --everything 200 --guard 50 --at-once 6 [--seed N] [--until HH:MM]
    python -m tests.e2e.kill_storm table RESULTS        # of any number of storms: Markdown for docs/kills.md
    python -m tests.e2e.kill_storm clear RESULTS        # takes the bystanders out of the local AWS

RESULTS is a folder; runs that are in its results.jsonl count, so that a storm which was ended goes on (a file `stop` in
it ends it in good order). A run is killed
at a uniformly random moment of its expected life, measured all the while by runs that nobody kills ("control").
What differs from the listing before is in the results, never mended: everything is evidence.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import queue
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import harness, kill_bystanders, kill_sweeps
from .aws_listing import AwsListing, Listing, difference, kinds, owned
from .harness import RunningSmoke
from .kill_processes import Supervised

EVERYTHING, GUARD, CONTROL = "everything", "guard", "control"
ALB_SMOKE, DRIVER = "alb_smoke", "driver"
"""Whole runs of the playbook, and runs without proofs and Ansible (kill_driver.py), which cost a quarter."""
AFTER = 1.02
"""Up to which part of the expected life kills are drawn: a little beyond, as no two runs take the same time."""
LIVES = 7
"""The expected life is the median of the last so many runs that nobody killed."""
CONTROL_EVERY = 15
"""After so many kills without a run that ended by itself, one is let live: the machine may have become slower."""
GUARD_SECONDS = 900
MOST = 24
"""Runs at once, whatever is asked for."""


@dataclass
class Run:
    """One run of the storm, from its start to its end."""

    number: int
    kind: str
    way: str
    smoke: RunningSmoke
    processes: Supervised
    private: Path
    started: float = field(default_factory=time.monotonic)

    @property
    def run_id(self) -> str:
        folders = self.smoke.bundle_folders()
        return folders[0].name if folders else ""

    @property
    def suffix(self) -> str:
        return self.run_id.rsplit("-", 1)[-1]

    def manifest(self) -> list[dict[str, Any]]:
        """Lines that are whole: the last one may have been cut by the kill."""
        found = []
        for path in self.smoke.evidence_root.glob("*/manifest.jsonl"):
            for raw in path.read_bytes().splitlines():
                try:
                    found.append(json.loads(raw))
                except ValueError:
                    break
        return found


def start(
    folder: Path,
    number: int,
    kind: str,
    way: str = ALB_SMOKE,
    *,
    playbook: str = "playbooks/alb_smoke.yml",
    variables: dict[str, Any] | None = None,
) -> Run:
    """A run below a supervisor, with a temporary folder of its own: what is left of it goes with that."""
    private = Path(tempfile.mkdtemp(prefix="ks"))
    pid_file, beside = private / "controller.pid", Path(__file__).parent
    smoke = RunningSmoke(
        folder,
        variables or {},
        playbook=playbook,
        environment={"TMPDIR": str(private), "XDG_RUNTIME_DIR": ""},
        launcher=(
            *(sys.executable, str(beside / "kill_processes.py"), str(pid_file)),
            *((sys.executable, str(beside / "kill_driver.py")) if way == DRIVER else ()),
        ),
    )
    return Run(number, kind, way, smoke, Supervised(smoke.process, pid_file), private)


def phase(lines: list[dict[str, Any]], balancer: bool) -> str:
    """Where a run was, by its manifest and by whether its load balancer was there."""
    events = [(line["meta"].get("phase"), line["meta"].get("event")) for line in lines if line["name"] == "phase.json"]
    if not lines:
        return "0 before the run is open"
    if any(line["name"] == "verdict.json" for line in lines):
        return "8 after the verdict"
    if ("terraform destroy", "end") in events:
        return "7 after the destroy"
    if ("terraform destroy", "start") in events:
        return "6 destroy"
    if ("terraform apply", "end") in events:
        return "5 targets, probes, proofs"
    if ("terraform apply", "start") in events:
        return "4 apply, the load balancer is there" if balancer else "3 apply, no load balancer yet"
    if any(line["name"] == "preflight.json" for line in lines):
        return "2 after the preflight"
    return "1 preflight, or the start of the apply"


class Storm:
    """See the module's first lines."""

    def __init__(
        self, results: Path, *, seed: int, at_once: int, until: float, runs: dict[str, int], whole: float = 1.0
    ) -> None:
        results.mkdir(parents=True, exist_ok=True)
        self.results, self.at_once, self.until = results, at_once, until
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.done = read(results)
        self.left = {kind: max(0, count - len(of_kind(self.done, kind))) for kind, count in runs.items()}
        self.number = max((entry["n"] for entry in self.done), default=0)
        self.whole = whole
        self.lives: dict[str, list[float]] = {ALB_SMOKE: [], DRIVER: []}
        for entry in of_kind(self.done, CONTROL):
            self.lives[entry.get("way", ALB_SMOKE)].append(entry["seconds"])
        self.since_control = dict.fromkeys(self.lives, 0)
        self.controls = dict.fromkeys(self.lives, 0)
        self.alive: dict[int, Run] = {}
        self.killed: queue.Queue[Run | None] = queue.Queue()
        self.entries: dict[int, dict[str, Any]] = {}
        self.listing = AwsListing()
        self.before: Listing = {}
        self.commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=harness.CHECKOUT, capture_output=True, text=True, check=False
        ).stdout.strip()
        self.sweeps = kill_sweeps.Sweeps(results / "sweeps")

    # The plan

    def next(self) -> tuple[int, str, str, float] | None:
        """Number, kind, way and part of the expected life of the next run; None when there is none."""
        with self.lock:
            if time.time() >= self.until or (self.results / "stop").exists() or not any(self.left.values()):
                return None
            self.number += 1
            way = ALB_SMOKE if self.random.random() < self.whole else DRIVER
            few = len(self.lives[way]) + self.controls[way] < 2
            if few or (self.since_control[way] >= CONTROL_EVERY and not self.controls[way]):
                self.since_control[way] = 0
                self.controls[way] += 1
                return self.number, CONTROL, way, 0.0
            kind = self.random.choices(list(self.left), list(self.left.values()))[0]
            self.left[kind] -= 1
            self.since_control[way] += 1
            return self.number, kind, way, self.random.uniform(0, AFTER)

    def expected(self, way: str) -> float:
        """Seconds that a run takes now; waits for the first that has ended."""
        while not self.lives[way]:
            time.sleep(1)
        return statistics.median(self.lives[way][-LIVES:])

    # One run

    def allowed(self) -> int:
        """How many runs there may be at once: a file `at-once` in the results says so while the storm goes on."""
        try:
            return int((self.results / "at-once").read_text("ascii"))
        except (OSError, ValueError):
            return self.at_once

    def work(self, place: int) -> None:
        """Runs one after the other until there are none; only as long as there are so many places."""
        while True:
            while place >= self.allowed() and not (self.results / "stop").exists() and any(self.left.values()):
                time.sleep(1)
            if (planned := self.next()) is None:
                return
            number, kind, way, part = planned
            at = part * self.expected(way) if kind != CONTROL else 0.0
            run = start(self.results / f"{number:04}", number, kind, way)
            with self.lock:
                self.alive[number] = run
            try:
                self.one(run, part, at)
            except Exception as exc:  # a fault of the harness, or of what it watches: it is in the results
                run.processes.kill_everything()
                self.write(run, {"error": f"{type(exc).__name__}: {exc}"[:2000]})
                self.over(run)

    def one(self, run: Run, part: float, at: float) -> None:
        """Lets a run live as long as it is planned, kills it, and takes down what is seen."""
        deadline = run.started + at if run.kind != CONTROL else run.started + 1800
        while not run.processes.ended() and time.monotonic() < deadline:
            time.sleep(min(0.05, max(0.0, deadline - time.monotonic())))
        seconds = time.monotonic() - run.started
        entry: dict[str, Any] = {"part": round(part, 4), "planned": round(at, 2), "seconds": round(seconds, 2)}
        if run.processes.ended():
            self.ended_by_itself(run, entry)
            return
        kill = run.processes.kill_controller_and_workers() if run.kind == GUARD else run.processes.kill_everything()
        lines = run.manifest()
        there = self.listing_of(run) if run.suffix else []
        entry |= {
            "run_id": run.run_id,
            "phase": phase(lines, any(kind == "load balancer" for kind, _ident in there)),
            "task": run.smoke.output.rpartition("\nTASK [")[2].partition("]")[0],
            "killed": kill.killed,
            "signals_ms": round(kill.signals_seconds * 1000, 2),
            "dead_ms": round(kill.dead_seconds * 1000, 1),
            "there": kinds(there),
        }
        if run.kind == GUARD:
            self.by_the_guard(run, entry)
            return
        entry["all_dead"] = run.processes.supervisor.wait(10) is not None
        entry["state_deleted"] = bool(list(run.private.glob("papyrus-*/stack/*.tfstate")))
        shutil.rmtree(run.private)
        self.entries[run.number] = entry
        self.killed.put(run)

    def listing_of(self, run: Run) -> list[tuple[str, str]]:
        return owned(self.listing.take(), run.suffix)

    def ended_by_itself(self, run: Run, entry: dict[str, Any]) -> None:
        """A run that nobody killed, or whose end came before its kill: it has passed, and left nothing."""
        with self.lock:
            self.lives[run.way].append(entry["seconds"])
            if run.kind != CONTROL:
                self.left[run.kind] += 1
        verdict = [line for line in run.manifest() if line["name"] == "verdict.json"]
        entry |= {
            "run_id": run.run_id,
            "planned_as": run.kind,
            "exit_code": run.processes.supervisor.returncode,
            "verdict": verdict[-1]["meta"]["result"] if verdict else "",
            "left": self.left_of(run),
        }
        run.kind = CONTROL
        self.close(run, entry)

    def by_the_guard(self, run: Run, entry: dict[str, Any]) -> None:
        """The guard lives: it alone takes the run down, in bounded time."""
        began = time.monotonic()
        while not run.processes.ended() and time.monotonic() < began + GUARD_SECONDS:
            time.sleep(0.1)
        entry["sweep_seconds"] = round(time.monotonic() - began, 2)
        entry["swept_by"] = "guard" if entry["run_id"] else "nobody"
        if not run.processes.ended():
            entry["error"] = f"the guard had not ended after {GUARD_SECONDS} s"
            run.processes.kill_everything()
        verdict = [line for line in run.manifest() if line["name"] == "verdict.json"]
        entry |= {
            "verdict": verdict[-1]["meta"]["result"] if verdict else "",
            "sealed": any(run.smoke.evidence_root.glob("*/attestation.dsse.json")),
            "private_folders": [path.name for path in run.private.glob("papyrus-*")],
            "left": self.left_of(run),
        }
        self.close(run, entry)

    def left_of(self, run: Run) -> list[str]:
        return [f"{kind} {ident}" for kind, ident in (self.listing_of(run) if run.suffix else [])]

    def close(self, run: Run, entry: dict[str, Any]) -> None:
        """The entry is written, and the folders of a run that is as it should be are removed."""
        self.write(run, entry)
        self.over(run)
        shutil.rmtree(run.private, ignore_errors=True)
        if not fault(entry | {"kind": run.kind}):
            shutil.rmtree(self.results / f"{run.number:04}", ignore_errors=True)

    def over(self, run: Run) -> None:
        with self.lock:
            self.alive.pop(run.number, None)
            self.controls[run.way] = sum(r.kind == CONTROL and r.way == run.way for r in self.alive.values())

    def write(self, run: Run, entry: dict[str, Any]) -> None:
        entry = {"n": run.number, "kind": run.kind, "way": run.way, "at": now(), "commit": self.commit, **entry}
        with self.lock, (self.results / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            self.done.append(entry)
        if said := fault(entry):
            print(f"{now()} run {run.number} {run.run_id}: {said}", flush=True)

    # Sweeping

    def sweep(self, batch: int) -> None:
        """Sweeps killed runs in batches until the end (None); after each, everything else has to be as before."""
        over = False
        while not over:
            runs: list[Run] = []
            while len(runs) < batch and not over:
                try:
                    run = self.killed.get(timeout=20)
                except queue.Empty:
                    if runs:
                        break
                    continue
                if run is None:
                    over = True
                else:
                    runs.append(run)
            if runs:
                self.sweep_batch(runs)

    def sweep_batch(self, runs: list[Run]) -> None:
        listing = self.listing.take()
        theirs = {run.number: owned(listing, run.suffix) if run.suffix else [] for run in runs}
        run_ids = [run.run_id for run in runs if run.run_id]
        done = self.sweeps.sweep(run_ids, [item for items in theirs.values() for item in items])
        others = self.others(theirs)  # before and after: runs begin and end while it is listed
        after = self.listing.take()
        changed = difference(self.before, after, others | self.others(theirs))
        for run in runs:
            left = [f"{kind} {ident}" for kind, ident in (owned(after, run.suffix) if run.suffix else [])]
            entry = self.entries.pop(run.number)
            self.close(run, entry | {"left": left, **done, "changed": changed})
        lives = {way: round(self.expected(way)) for way, known in self.lives.items() if known}
        print(
            f"{now()} swept {len(runs)} by {done['swept_by']} in {done['sweep_seconds']} s; killed until now: "
            f"{len(of_kind(self.done, EVERYTHING))}, {len(of_kind(self.done, GUARD))} of the controller; lives {lives}",
            flush=True,
        )

    def others(self, numbers: Iterable[int]) -> set[str]:
        """Suffixes of the runs under way but for these: what is theirs is no difference."""
        with self.lock:
            return {run.suffix for number, run in self.alive.items() if number not in numbers and run.suffix}

    def go(self, batch: int = 8) -> list[str]:
        """The whole storm; what differs at its end from before it. [] is: as it was."""
        stored = self.results / "before.json"
        if not stored.exists():
            kill_bystanders.Bystanders().make()
            time.sleep(3)  # until they are active
        self.before = self.listing.take()  # makes the clients too, which is nothing for threads
        if stored.exists():
            self.before = {(kind, ident): content for kind, ident, content in json.loads(stored.read_text("utf-8"))}
        else:
            stored.write_text(json.dumps([[*item, content] for item, content in self.before.items()]), "utf-8")
        sweeper = threading.Thread(target=self.sweep, args=(batch,))
        workers = [threading.Thread(target=self.work, args=(place,)) for place in range(MOST)]
        sweeper.start()
        for worker in workers:
            worker.start()
            time.sleep(0.5)
        for worker in workers:
            worker.join()
        self.killed.put(None)
        sweeper.join()
        changed = difference(self.before, self.listing.take())
        (self.results / "end.json").write_text(json.dumps({"at": now(), "changed": changed}, indent=1), "utf-8")
        return changed


def fault(entry: dict[str, Any]) -> str:
    """What is not as it should be, or ""."""
    said = [f"{key}: {entry[key]}" for key in ("error", "left", "changed", "foreign_calls", "private_folders")
            if entry.get(key)]  # fmt: skip
    if entry.get("sweep_ok") is False:
        said.append(f"the sweep failed: {entry.get('sweep_said', '')[-600:]}")
    if entry["kind"] == CONTROL and (entry.get("exit_code") != 0 or entry.get("verdict") not in ("PASSED", "WARNED")):
        said.append(f"exit code {entry.get('exit_code')}, verdict {entry.get('verdict')!r}")
    if entry["kind"] == EVERYTHING and not entry.get("all_dead"):
        said.append("not everything was dead")
    if entry["kind"] == GUARD and "guard" not in entry.get("killed", {}) and entry.get("run_id"):
        wanted = ("PASSED", "FAILED") if entry.get("phase", "").startswith("8") else ("FAILED",)
        if entry.get("verdict") not in wanted or not entry.get("sealed"):
            said.append(f"verdict {entry.get('verdict')!r}, sealed: {entry.get('sealed')}")
    return "; ".join(said)


def read(results: Path) -> list[dict[str, Any]]:
    """Entries of the runs so far."""
    path = results / "results.jsonl"
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def of_kind(entries: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [entry for entry in entries if entry["kind"] == kind]


def now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def main(argv: list[str]) -> int:
    """Exit code 1 when anything was not as it should be."""
    parser = argparse.ArgumentParser(prog="kill_storm")
    parser.add_argument("command", choices=["run", "table", "clear"])
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--everything", type=int, default=200)
    parser.add_argument("--guard", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=6)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--whole", type=float, default=1.0, help="part of whole runs of alb_smoke, of 1")
    parser.add_argument("--life", type=float, default=0, help="seconds to expect of both ways until one was measured")
    parser.add_argument("--interfaces", type=float, default=0, help="seconds that an ALB's interfaces outlive it")
    parser.add_argument("--until", default="", help="HH:MM (UTC): no run is begun after it")
    options = parser.parse_args(argv)
    if options.command == "clear":
        kill_bystanders.Bystanders().remove()
        return 0
    if options.command == "table":
        from .kill_table import table

        print(table([entry for results in options.results for entry in read(results)], fault))
        return 0
    harness.control("PUT", "switches", {"alb_interface_seconds": options.interfaces})
    until = float("inf")
    if options.until:
        hour, minute = options.until.split(":")
        until = dt.datetime.now(dt.UTC).replace(hour=int(hour), minute=int(minute), second=0).timestamp()
    print(f"seed {options.seed}, local AWS {harness.facts()['endpoint']}", flush=True)
    storm = Storm(
        options.results[0], seed=options.seed, at_once=options.at_once, until=until,
        runs={EVERYTHING: options.everything, GUARD: options.guard},
        whole=options.whole,
    )  # fmt: skip
    if options.life:
        for lives in storm.lives.values():
            lives[:0] = [options.life]
    changed = storm.go(options.batch)
    faults = [entry for entry in storm.done if fault(entry)]
    print("\n".join(["at the end:", *changed]) if changed else "at the end: as before", flush=True)
    return 1 if changed or faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
