#!/usr/bin/env python3
"""alb_smoke.yml for many services in one run: seconds, memory, calls to AWS.

usage: .venv/bin/python bench/scale.py [--services 1 10 50] with the local AWS and its stacks up

One host of the inventory is one service, each a copy of the permanent one with one task and the same database. Memory
is the proportional set size (pages that processes share are divided between them), looked at every second: of
ansible-playbook itself, and of it with everything that it has started (workers, modules, guards, Terraform, providers).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
from tests.e2e import harness
from tests.e2e.services import Services

PATIENCE = 3600.0
"""Seconds for one run of the playbook."""


def share(pid: int) -> float:
    """Proportional set size in MiB; 0 for a process that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    except (OSError, StopIteration):
        return 0.0


class Look(threading.Thread):
    """Looks at a controller and what descends from it until it is told to end. A guard that leaves stays one of it."""

    def __init__(self, controller: int) -> None:
        super().__init__(daemon=True)
        self.controller, self.own, self.all = controller, 0.0, 0.0
        self.ended = threading.Event()
        self._family = {controller}

    def run(self) -> None:
        while not self.ended.wait(1):
            parents = {}
            for entry in Path("/proc").glob("[0-9]*"):
                try:
                    stat = (entry / "stat").read_text("utf-8", "replace")
                except OSError:
                    continue
                parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
            self._family &= set(parents)
            while new := {pid for pid, parent in parents.items() if parent in self._family} - self._family:
                self._family |= new
            sizes = {pid: share(pid) for pid in self._family}
            self.own = max(self.own, sizes.get(self.controller, 0.0))
            self.all = max(self.all, sum(sizes.values()))


def run(folder: Path, hosts: dict[str, dict[str, str]]) -> harness.RunningSmoke:
    """The playbook for hosts that differ from the one of inventories/sandbox by these variables."""
    stacks = harness.SANDBOX_ROOT / ".sandbox" / "state" / "stacks" / "papyrus-prd"
    common = {"sandbox_checkout": str(CHECKOUT), "papyrus_state_dir": str(stacks)}
    many = {"hosts": {name: common | variables for name, variables in hosts.items()}}
    inventory = folder / "hosts.json"
    inventory.write_text(json.dumps({"all": {"children": {"many": many}}}), "utf-8")
    arguments = ("-i", "inventories/sandbox", "-i", str(inventory), "--forks", str(len(hosts)))
    return harness.RunningSmoke(folder, {"papyrus_hosts": "many"}, arguments)


def measure(services: Services, number: int) -> str:
    """One line of the table."""
    with ThreadPoolExecutor(5) as pool:
        made = list(pool.map(lambda _each: services.service("scale"), range(number)))
    before = max((call["n"] for call in harness.calls()), default=0)
    with tempfile.TemporaryDirectory(prefix="papyrus-scale-") as folder:
        running = run(Path(folder), {f"service-{n + 1}": variables for n, variables in enumerate(made)})
        look = Look(running.process.pid)
        look.start()
        smoke = running.end(PATIENCE)
        look.ended.set()
        look.join()
        left = [each for bundle in smoke.bundles for each in harness.left_behind(bundle.name)]
        if smoke.exit_code or len(smoke.bundles) != number or left:
            raise SystemExit(f"{smoke.output[-6000:]}\nexit code {smoke.exit_code}, left behind: {left}")
    seconds = smoke.seconds
    calls = len(harness.calls(before))
    return (
        f"| {number} | {seconds:.0f} | {seconds / number:.1f} | {look.own:.0f} | {look.all:.0f} "
        f"| {look.all / number:.0f} | {calls / number:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, nargs="+", default=[1, 10, 50])
    numbers = parser.parse_args().services
    services = Services()
    try:
        print("| services | s | s each | ansible-playbook MiB | everything MiB | MiB each | calls to AWS each |")
        print("|---|---|---|---|---|---|---|")
        for number in numbers:
            print(measure(services, number), flush=True)
    finally:
        services.close()


if __name__ == "__main__":
    main()
