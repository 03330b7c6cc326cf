#!/usr/bin/env python3
"""What ECS Exec costs: a command in a task against the same one as a local subprocess; stdin and output in bulk.

usage: .venv/bin/python bench/exec_overhead.py [--times 20] [--megabytes 200] [--service NAME] [--cluster NAME]

Against the local AWS that PAPYRUS_SANDBOX_ROOT (or this checkout) has up, with the service's running task. The first
table is the median of single commands, from asking ECS for the task to the closed channel; the second is bulk.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(CHECKOUT), str(CHECKOUT / "collections")]
from ansible_collections.papyrus.ops.plugins.module_utils import _exec
from ansible_collections.papyrus.ops.plugins.module_utils._exec import Command, ExecResult, Target

from tests.e2e import harness


def milliseconds(action: Callable[[], Any], times: int) -> list[float]:
    """How long each of so many runs took."""
    taken = []
    for _time in range(times):
        started = time.perf_counter()
        action()
        taken.append((time.perf_counter() - started) * 1000)
    return taken


def row(name: str, taken: list[float]) -> str:
    """A line of the table."""
    return f"| {name} | {statistics.median(taken):.1f} | {min(taken):.1f} | {max(taken):.1f} |"


def peak_mib() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--times", type=int, default=20)
    options.add_argument("--megabytes", type=int, default=200)
    options.add_argument("--cluster", default="papyrus-ecs-prd")
    options.add_argument("--service", default="papyrus-task-service")
    asked = options.parse_args()
    target = Target(asked.cluster, service=asked.service)
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            clients[service] = harness.client(service)
        return clients[service]

    def run(command: str, **given: Any) -> ExecResult:
        result = _exec.run_command(client, target, Command(command, **given))
        assert result.outcome == "exited", result.reason
        return result

    def local(command: str, given: bytes = b"") -> None:
        subprocess.run(["sh", "-c", command], input=given, capture_output=True, check=True)

    run("true")  # clients and models are loaded
    print(f"Load: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print(f"| of {asked.times} | median ms | min | max |\n|---|---|---|---|")
    print(row("`true` as a local subprocess", milliseconds(lambda: local("true"), asked.times)))
    print(row("`true` by ECS Exec", milliseconds(lambda: run("true"), asked.times)))
    data = os.urandom(1 << 20)

    def megabyte() -> None:
        assert run("sha256sum", stdin=data, timeout=300).stdout.split()[0] == hashlib.sha256(data).hexdigest()

    few = max(1, asked.times // 4)
    print(row("1 MiB of stdin to a local subprocess", milliseconds(lambda: local("sha256sum", data), few)))
    print(row("1 MiB of stdin by ECS Exec", milliseconds(megabyte, few)))
    before, started = peak_mib(), time.perf_counter()
    size = asked.megabytes * 1_000_000
    result = run(f"head -c {size} /dev/zero | tr '\\0' x", timeout=3600)
    seconds = time.perf_counter() - started
    assert (result.rc, result.output_bytes, result.truncated) == (0, size, True), result.reason
    print(f"\n{asked.megabytes} MB of output: {seconds:.1f} s ({asked.megabytes / seconds:.1f} MB/s), ", end="")
    print(f"peak memory of the client {before:.0f} MiB before, {peak_mib():.0f} MiB after")


if __name__ == "__main__":
    main()
