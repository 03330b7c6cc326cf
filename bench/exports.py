#!/usr/bin/env python3
"""What an export of CloudTrail costs, beside `aws cloudtrail lookup-events`: time, memory, what a bad day does to it.

usage: .venv/bin/python bench/exports.py [--events 20000] [--only speed|throttled|cut]

An event history on loopback answers all (tests/sandbox/endless_history.py): records of 1.1 KB, 50 a page. The command
turns the pages by itself, as its documentation says; so does boto3's paginator, which writes line by line here. Each
program runs in a process of its own, by turns.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))
from tests.sandbox.endless_history import Endless
from tests.sandbox.export_stand import PROCESS, rfc3339

TIMES = 3
PAGINATOR = """
import boto3, sys
pages = boto3.client("cloudtrail").get_paginator("lookup_events").paginate(StartTime=sys.argv[1], EndTime=sys.argv[2])
for page in pages:
    for event in page.get("Events", []):
        print('"EventId": "%s"' % event["EventId"], event["CloudTrailEvent"])
"""


@dataclass
class Took:
    """`events` is how many different ones are in what was written; `code` the exit code."""

    seconds: float
    cpu: float
    mib: float
    events: int
    code: int
    said: str


def measured(command: list[str], output: Path, environment: dict[str, str]) -> tuple[float, float, float, int, str]:
    """Wall and CPU seconds, the most memory in MiB (VmHWM), exit code, last line of stderr."""
    began, peak = time.perf_counter(), 0
    with output.open("wb") as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, env=environment)
        while True:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                status = ""
            peak = max([peak, *(int(found) for found in re.findall(r"VmHWM:\s+(\d+)", status))])
            pid, code, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            time.sleep(0.02)
        process.returncode = os.waitstatus_to_exitcode(code)
        took = time.perf_counter() - began
        err.seek(0)
        said = err.read().decode().strip().rpartition("\n")[2]
    return took, usage.ru_utime + usage.ru_stime, peak / 1024, process.returncode, said


def by_sdk(command: list[str], history: Endless, folder: Path) -> Took:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "AWS_ENDPOINT_URL": history.url,
        "AWS_DEFAULT_REGION": "us-west-2",
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-nobody",
    }
    output = folder / "events"
    seconds, cpu, mib, code, said = measured(command, output, environment)
    found = set(re.findall(rb'"EventId": "([0-9a-f]{32})"', output.read_bytes()))
    return Took(seconds, cpu, mib, len(found), code, said)


def by_command(history: Endless, folder: Path) -> Took:
    command = ["aws", "cloudtrail", "lookup-events", "--output", "json"]
    return by_sdk(
        [*command, "--start-time", rfc3339(history.start), "--end-time", rfc3339(history.end)], history, folder
    )


def by_paginator(history: Endless, folder: Path) -> Took:
    command = [sys.executable, "-c", PAGINATOR, rfc3339(history.start), rfc3339(history.end)]
    return by_sdk(command, history, folder)


def by_module(history: Endless, folder: Path, **options: Any) -> Took:
    arguments = {
        "path": str(folder),
        "start": rfc3339(history.start),
        "end": rfc3339(history.end),
        "rate": 0,
        "quota": 0,
        "region": "us-west-2",
        "endpoint_url": history.url,
        "access_key": "somebody",
        "secret_key": "a-secret-of-nobody",
        **options,
    }
    output = folder / "result.json"
    seconds, cpu, mib, code, said = measured(
        [sys.executable, str(PROCESS), json.dumps(arguments)], output, dict(os.environ)
    )
    result = json.loads(output.read_text().splitlines()[-1])
    with gzip.open(result["exports"][0]["files"][0]["path"]) as lines:
        found = {match[1] for line in lines if (match := re.search(rb'"eventID":"([0-9a-f]{32})"', line))}
    return Took(seconds, cpu, mib, len(found), code, said)


def compare(title: str, events: int, times: int = TIMES, *, options: dict[str, Any], **bad: Any) -> None:
    print(f"{title} ({os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f}), median of {times}:\n")
    print("| | s | CPU s | MiB | events | requests | throttled | exit code |\n|---|---|---|---|---|---|---|---|")
    end = int(time.time()) - 1_000
    programs: dict[str, Callable[..., Took]] = {
        "aws cloudtrail lookup-events": by_command,
        "boto3's paginator": by_paginator,
        "cloudtrail_export": lambda history, folder: by_module(history, folder, **options),
    }
    found: dict[str, list[tuple[Took, Endless]]] = {name: [] for name in programs}
    for _time in range(times):
        for name, program in programs.items():
            with tempfile.TemporaryDirectory() as folder, Endless(events, end - 86_400, end, **bad) as history:
                found[name].append((program(history, Path(folder)), history))
    for name, runs in found.items():
        seconds, cpu, mib = (
            statistics.median(getattr(took, what) for took, _ in runs) for what in ("seconds", "cpu", "mib")
        )
        took, history = runs[-1]
        row = [
            f"{seconds:.1f}",
            f"{cpu:.1f}",
            f"{mib:.0f}",
            f"{took.events} of {events}",
            history.asked,
            history.throttled,
        ]
        print(f"| `{name}` | {' | '.join(map(str, row))} | {took.code}{' ' + took.said if took.code else ''} |")
    print()


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--events", type=int, default=20_000)
    options.add_argument("--only", choices=["speed", "throttled", "cut"], default="")
    asked = options.parse_args()
    if asked.only in ("", "speed"):
        compare("As fast as it goes", asked.events, options={"rate": 0})
    if asked.only in ("", "throttled"):
        compare("Two requests a second, as AWS has it", 4_000, 1, options={"rate": 2}, rate=2)
    if asked.only in ("", "cut"):
        compare("One connection cut in the middle of an answer", 4_000, 1, options={"rate": 0}, cut=20)


if __name__ == "__main__":
    main()
