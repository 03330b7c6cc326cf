"""Runs playbooks with each fault in the way of each call, and keeps what became of it. By hand, or by the soak tests.

    PAPYRUS_SANDBOX_ROOT=… python -m tests.e2e.fault_matrix RESULTS once [--playbook alb_smoke] [--fault throttled …]

A run of each playbook without faults says which calls there are. Then one run for each fault, in which it is in the way
of each of these calls once. `direct` asks the read calls of all of these runs by themselves.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from . import fault_applies, fault_direct, fault_preflight, fault_sweeps, harness
from .aws_listing import AwsListing
from .fault_cells import FAULTS, Api, Faulty, Outcome, done, save
from .fault_runs import PLAYBOOKS

DELAYS = {"alb_interface_seconds": 15, "dns_seconds": 5, "health_lag_seconds": 2}


@contextlib.contextmanager
def delays() -> Iterator[None]:
    """AWS' own delays, shortened: interfaces that outlive their load balancer, a name and a health that come late."""
    harness.control("PUT", "switches", DELAYS)
    try:
        yield
    finally:
        harness.control("DELETE", "switches")


def whole(folder: Path, name: str, fault: str, apis: Iterable[Api]) -> tuple[Faulty, Outcome]:
    """A run of the playbook to its end, with what it needs around it."""
    playbook, timeout, around = PLAYBOOKS[name]
    where = folder / "runs" / f"{name}-{fault.replace(' ', '-') if apis else 'baseline'}-{time.time_ns()}"
    with around(where) as given:
        run = Faulty(where, playbook, fault, apis, given)
        return run, run.outcome(timeout)


def baseline(folder: Path, name: str) -> dict[str, Any]:
    """A run without faults: the APIs that are called, and how many changes AWS carries out."""
    kept = folder / f"{name}.baseline.json"
    if kept.exists():
        result: dict[str, Any] = json.loads(kept.read_text("utf-8"))
        return result
    run, outcome = whole(folder, name, next(iter(FAULTS)), [])
    assert outcome.passed and not outcome.wrong, (outcome, run.output[-4000:])
    mine = run.calls
    apis = sorted({api for call in mine if (api := Api.of(call)) is not None})
    found = {"apis": [vars(api) for api in apis], "done": done(mine), "seconds": outcome.seconds, "calls": mine}
    save(folder, f"{name}.baseline", found)
    return found


def once(folder: Path, name: str, fault: str) -> Outcome:
    """One run with the fault in the way of each call of the playbook once."""
    known = baseline(folder, name)
    apis = [Api(**api) for api in known["apis"]]
    dummy, outcome = whole(folder, name, fault, apis)
    save(folder, f"{name}.once.{fault.replace(' ', '-')}", outcome.as_dict())
    hit = sum(1 for cell in outcome.cells.values() if cell.hit)
    more = {what: count for what, count in outcome.done.items() if count > known["done"].get(what, 0)}
    text = f"{name} / {fault}: {outcome.result} {outcome.exit_code} in {outcome.seconds} s, {hit} of {len(apis)} hit"
    said = f"left {outcome.left}, more than without: {more}; {outcome.cause}"
    print(text, said, outcome.wrong and f"WRONG {outcome.wrong}", flush=True)
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("what", choices=list(PARTS))
    parser.add_argument("--playbook", action="append", choices=list(PLAYBOOKS))
    parser.add_argument("--fault", action="append", choices=list(FAULTS))
    parser.add_argument("--api", action="append", help="of these operations only (sweep: for ever; apply)")
    parser.add_argument("--at-once", type=int, default=2)
    given = parser.parse_args()
    before = AwsListing().take()
    with delays():
        PARTS[given.what](given)
    after = AwsListing().take()
    print("left of all runs:", sorted(set(after) - set(before)) or "nothing", flush=True)


def direct_part(given: argparse.Namespace) -> None:
    """Each read call by itself."""
    calls = [call for name in given.playbook or PLAYBOOKS for call in baseline(given.results, name)["calls"]]
    asked = fault_direct.run({"calls": calls}, given.fault or list(FAULTS))
    some = "".join(f".{fault.replace(' ', '-')}" for fault in given.fault or ())
    save(given.results, f"direct{some}", [vars(each) for each in asked])
    tell(asked)


def sweep_part(given: argparse.Namespace) -> None:
    """Sweeps."""
    cells = fault_sweeps.run(given.fault or list(FAULTS), given.api)
    save(given.results, "sweeps" + "".join(f".{name}" for name in given.api or ()), [vars(each) for each in cells])
    tell(cells)


def tell(cells: Sequence[Any]) -> None:
    """What is wrong, each in a line."""
    wrong = [each for each in cells if each.wrong]
    print(f"{len(cells)} cells, {len(wrong)} wrong")
    for each in wrong:
        print(" ", each)


def once_part(given: argparse.Namespace) -> None:
    """Whole playbooks."""
    with ThreadPoolExecutor(given.at_once) as pool:
        for name in given.playbook or list(PLAYBOOKS):
            baseline(given.results, name)
            futures = {fault: pool.submit(once, given.results, name, fault) for fault in given.fault or list(FAULTS)}
            for fault, future in futures.items():
                try:
                    future.result()
                except Exception:
                    print(f"{name} / {fault}: the run could not be judged\n{traceback.format_exc()}", flush=True)


def apply_part(given: argparse.Namespace) -> None:
    """Terraform's calls."""
    apis = [Api(**api) for api in baseline(given.results, "alb_smoke")["apis"]]
    apis = [api for api in apis if not given.api or api.operation in given.api]
    cells = fault_applies.run(given.results / "applies", apis, given.at_once)
    save(given.results, "applies" + "".join(f".{name}" for name in given.api or ()), [vars(each) for each in cells])
    tell(cells)


def preflight_part(given: argparse.Namespace) -> None:
    """The preflight's calls."""
    cells = fault_preflight.run(given.fault or fault_preflight.FOR_EVER)
    save(given.results, "preflight", [vars(each) for each in cells])
    tell(cells)


PARTS = {
    "preflight": preflight_part,
    "apply": apply_part,
    "once": once_part,
    "direct": direct_part,
    "sweep": sweep_part,
}


if __name__ == "__main__":
    main()
