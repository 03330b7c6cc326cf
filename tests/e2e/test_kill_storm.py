"""N1: runs whose every process was killed at a random moment are swept by tags alone; nothing else is touched.

The storm of 200 and 50 runs, and ten runs at once, carry the mark soak; docs/kills.md has their figures.
"""

from __future__ import annotations

import datetime as dt
import functools
import json
import os
import random
import re
import shutil
import time
from pathlib import Path

import pytest

from .aws_listing import AwsListing, Listing, difference, kinds, owned
from .kill_bystanders import Bystanders
from .kill_storm import ALB_SMOKE, CONTROL, DRIVER, EVERYTHING, GUARD, Run, Storm, fault, of_kind, phase, start
from .kill_sweeps import Sweeps
from .services import until

STACKS = re.compile(r'"Key": "Stack", "Value": "(00-network|10-rds|15-ecs)"')
OTHERS = re.compile(r"\bt-[a-z]+-[0-9a-f]{6}")
SEED = int(os.environ.get("PAPYRUS_STORM_SEED") or time.time_ns() % 1_000_000)


def killed_whole(run: Run) -> None:
    """SIGKILL for everything of a run; the state of its Terraform goes too, and whatever else the machine knew."""
    kill = run.processes.kill_everything()
    assert run.processes.supervisor.wait(10) is not None
    assert kill.killed["guard"] == 1, kill
    assert list(run.private.glob("papyrus-*/stack")), "the run had not begun its stack"
    shutil.rmtree(run.private)


def has(listing: AwsListing, run: Run, kind: str) -> bool:
    """Whether something of that kind is there for the run."""
    return bool(run.run_id) and bool(owned(listing.take(kind), run.suffix))


def permanent(listing: Listing) -> Listing:
    """What the stacks made, which no other test changes; shared groups change with each run's rule.

    Other tests apply stacks of their own beside this one: 30-monitor, or under a name of `services.unique`.
    """
    return {
        item: text
        for item, text in listing.items()
        if STACKS.search(text) and item[0] != "security group" and not OTHERS.search(f"{item} {text}")
    }


def test_N1_runs_killed_at_random_moments_of_their_creation_are_swept_by_tags_alone(tmp_path: Path) -> None:
    chance, listing = random.Random(SEED), AwsListing()
    before = listing.take()
    runs = [start(tmp_path / str(number), number, EVERYTHING, DRIVER) for number in range(3)]
    try:
        wanted = ("security group", "load balancer", "load balancer")
        for run, kind in zip(runs, wanted, strict=True):
            until(functools.partial(has, listing, run, kind), f"the {kind} of a run", 240)
            time.sleep(chance.uniform(0, 2))
            killed_whole(run)
        there = {run.suffix: owned(listing.take(), run.suffix) for run in runs}
        assert all(there.values()), (SEED, there)
        done = Sweeps(tmp_path / "sweeps").sweep([run.run_id for run in runs], sum(there.values(), []))
    finally:
        for run in runs:
            run.processes.kill_everything()
    assert done["sweep_ok"], done["sweep_said"]
    assert done["foreign_calls"] == [], SEED
    after = listing.take()
    assert {suffix: owned(after, suffix) for suffix in there} == {suffix: [] for suffix in there}, SEED
    assert difference(permanent(before), permanent(after)) == []


@pytest.mark.soak
def test_N1_storm(tmp_path: Path) -> None:
    """By hand with more: python -m tests.e2e.kill_storm, which goes on where it was ended."""
    wanted = {EVERYTHING: int(os.environ.get("PAPYRUS_STORM_RUNS", "200")), GUARD: 50}
    if wanted[EVERYTHING] < 200:
        wanted[GUARD] = wanted[EVERYTHING] // 4
    storm = Storm(tmp_path, seed=SEED, at_once=6, until=float("inf"), runs=wanted)
    try:
        changed = storm.go()
    finally:
        Bystanders().remove()
    assert changed == [], SEED
    assert [(entry["n"], fault(entry)) for entry in storm.done if fault(entry)] == [], SEED
    assert {kind: len(of_kind(storm.done, kind)) for kind in wanted} == wanted
    assert sum(bool(entry.get("there")) for entry in storm.done) > wanted[EVERYTHING] / 3, "kills hit nothing"


@pytest.mark.soak
@pytest.mark.parametrize("way", [ALB_SMOKE, DRIVER])
def test_N1_ten_runs_of_one_service_one_killed_and_swept_meanwhile(tmp_path: Path, way: str) -> None:
    listing, bystanders = AwsListing(), Bystanders()
    bystanders.make()
    runs: list[Run] = []
    try:
        time.sleep(3)
        before = listing.take()
        runs = [start(tmp_path / str(number), number, CONTROL, way) for number in range(10)]
        victim, others = runs[0], runs[1:]
        until(functools.partial(has, listing, victim, "load balancer"), "its load balancer", 400)
        killed_whole(victim)
        theirs = owned(listing.take(), victim.suffix)
        by_id = Sweeps(tmp_path / "sweeps").sweep([victim.run_id], theirs)
        assert by_id["sweep_ok"], by_id["sweep_said"]
        assert by_id["foreign_calls"] == []
        assert owned(listing.take(), victim.suffix) == []
        alive = [run for run in others if not run.processes.ended()]
        assert len(alive) == 9, "the sweep came too late to meet the others"
        expired = Sweeps(tmp_path / "expired").by_module([])  # everything of the service that is expired: nothing is
        assert expired.returncode == 0, expired.stdout + expired.stderr
        until(lambda: all(run.processes.ended() for run in others), "the end of nine runs", 1800)
    finally:
        for run in runs:
            run.processes.kill_everything()
            shutil.rmtree(run.private, ignore_errors=True)
        last = listing.take()
        bystanders.remove()
    said = {run.run_id: run.smoke.output[-2000:] for run in others if run.processes.supervisor.returncode != 0}
    assert said == {}
    results = [line["meta"]["result"] for run in others for line in run.manifest() if line["name"] == "verdict.json"]
    assert len(results) == 9 and set(results) <= {"PASSED", "WARNED"}, results
    assert difference(before, last) == []


def expiry(run: Run) -> dt.datetime:
    """End of its lease, by its bundle."""
    [folder] = run.smoke.bundle_folders()
    return dt.datetime.fromisoformat(json.loads((folder / "run.json").read_bytes())["expires_at"])


def applied(run: Run) -> bool:
    """Whether its apply has ended."""
    return phase(run.manifest(), True).startswith("5")


@pytest.mark.soak
def test_N1_after_a_storm_a_sweep_without_ids_takes_what_is_expired_and_nothing_else(tmp_path: Path) -> None:
    """Leases of minutes that are over by the clock; nothing of the sweep knows the runs."""
    chance, listing, bystanders = random.Random(SEED), AwsListing(), Bystanders()
    bystanders.make()
    runs: list[Run] = []
    try:
        time.sleep(3)
        before = listing.take()
        short = {"papyrus_lease_minutes": 5, "kill_driver_waits": True}
        runs = [start(tmp_path / str(n), n, EVERYTHING, DRIVER, variables=short) for n in range(8)]
        moments = ("security group", "load balancer", "")  # the last: after its apply
        for run, kind in zip(runs, sorted(chance.choices(moments, k=8), key=moments.index), strict=True):
            until(functools.partial(has, listing, run, kind) if kind else functools.partial(applied, run), kind, 240)
            time.sleep(chance.uniform(0, 2))
            killed_whole(run)
            assert dt.datetime.now(dt.UTC) < expiry(run), "its guard may have begun"
        last = max(map(expiry, runs))
        young = start(tmp_path / "young", 8, CONTROL, DRIVER, variables={"kill_driver_waits": True})
        runs.append(young)
        until(functools.partial(has, listing, young, "load balancer"), "the load balancer of the young run", 240)
        until(lambda: dt.datetime.now(dt.UTC) > last, "the end of the leases", 400)
        there = {run.suffix: owned(listing.take(), run.suffix) for run in runs[:8]}
        assert all(there.values()), (SEED, there)
        done = Sweeps(tmp_path / "sweeps").sweep([], sum(there.values(), []), expired=True)
        after = listing.take()
        assert not young.processes.ended(), young.smoke.output[-3000:]
        (tmp_path / "young" / "go-on").touch()
        late = dt.datetime.now(dt.UTC) - last
        print(f"seed {SEED}: {kinds(sum(there.values(), []))} of 8 runs, {late} after the last lease: {done}")
        assert done["sweep_ok"], done["sweep_said"]
        assert done["foreign_calls"] == [], SEED
        assert {suffix: owned(after, suffix) for suffix in there} == {suffix: [] for suffix in there}, SEED
        assert difference(before, after, [young.suffix]) == [], SEED
        until(young.processes.ended, "the end of the young run", 400)
        assert young.processes.supervisor.returncode == 0, young.smoke.output[-3000:]
        assert difference(before, listing.take()) == [], SEED
    finally:
        for run in runs:
            run.processes.kill_everything()
            shutil.rmtree(run.private, ignore_errors=True)
        bystanders.remove()
