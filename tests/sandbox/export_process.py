"""The module cloudtrail_export in a process of its own, as Ansible starts it; its result goes to stdout.

usage: export_process.py ARGUMENTS [SPEED]   (JSON; the most memory, in KiB, goes to stderr)

With SPEED its seconds are so much shorter: pauses and slots of requests, not the time of day.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _export_flights,
    _export_job,
    _export_pace,
    _export_run,
    _export_work,
)
from ansible_collections.papyrus.ops.plugins.modules import cloudtrail_export


def run(arguments: dict[str, object]) -> None:
    """Ends the process."""
    with patch_module_args(arguments):
        cloudtrail_export.main()


def speed_up(times: float) -> None:
    class Clock(_export_work.Clock):
        def clock(self) -> float:
            return time.monotonic() * times

    class Threads(_export_flights.Threads):
        def next(self, timeout: float) -> _export_flights.Landed | None:
            return super().next(timeout / times)

    _export_run.Clock, _export_run.Threads = Clock, Threads
    _export_job.Pacer = functools.partial(_export_pace.Pacer, clock=Clock().clock)
    _export_job.Patient = functools.partial(_export_pace.Patient, sleep=lambda seconds: time.sleep(seconds / times))


def peak() -> int:
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


if __name__ == "__main__":
    if len(sys.argv) > 2:
        speed_up(float(sys.argv[2]))
    try:
        run(json.loads(sys.argv[1]))
    finally:
        print(f"peak {peak()}", file=sys.stderr)
