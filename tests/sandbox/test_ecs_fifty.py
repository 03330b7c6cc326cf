"""A service of fifty tasks: up and down within seconds, without a thread or much memory for each."""

from __future__ import annotations

import re
import time
from pathlib import Path

from tests.sandbox.ecs_stand import SLEEPER, Stand
from tests.sandbox.support import Network, Sandbox, until

TASKS = 50


def status(sandbox: Sandbox, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{sandbox.facts['pid']}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found.group(1))


def test_fifty_tasks_come_and_go(sandbox: Sandbox, network: Network) -> None:
    stand = Stand.make(sandbox, network, "fifty")
    definition = stand.define("fifty", {"image": stand.image(SLEEPER)})
    memory, threads, start = status(sandbox, "VmRSS"), status(sandbox, "Threads"), time.monotonic()
    stand.create("fifty", definition, TASKS)
    until(lambda: stand.service("fifty")["runningCount"] == TASKS, "all run", 60)
    up = time.monotonic() - start
    more_memory, more_threads = status(sandbox, "VmRSS") - memory, status(sandbox, "Threads") - threads
    zones = [task["availabilityZone"] for task in stand.tasks("fifty")]
    assert sorted(zones.count(zone) for zone in set(zones)) == [TASKS // 2, TASKS // 2]
    assert len({task["attachments"][0]["details"][1]["value"] for task in stand.tasks("fifty")}) == TASKS
    start = time.monotonic()
    stand.ecs.update_service(cluster="fifty", service="fifty", desiredCount=0)
    until(lambda: all(t["lastStatus"] == "STOPPED" for t in stand.tasks("fifty", "STOPPED")), "all have stopped", 60)
    down = time.monotonic() - start
    stand.ecs.delete_service(cluster="fifty", service="fifty")
    print(f"up {up:.1f} s, down {down:.1f} s, {more_memory // 1024} MiB and {more_threads} threads more")
    assert more_threads <= 20
    assert more_memory <= 50 * 1024
