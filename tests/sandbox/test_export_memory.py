"""cloudtrail_export needs the same memory for a million events as for some thousand (K1)."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import pytest

from tests.sandbox.endless_history import Endless
from tests.sandbox.export_stand import rfc3339, run

MOST_MIB = 80e6 / 2**20


@pytest.mark.parametrize("events", [15_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_K1_eighty_megabytes_are_enough_for_a_million_events(tmp_path: Path, events: int) -> None:
    end = int(time.time()) - 1_000
    start = end - 89 * 86_400
    with Endless(events, start, end) as history:
        ran = run(
            {
                "path": str(tmp_path),
                "start": rfc3339(start),
                "end": rfc3339(end),
                "rate": 0,
                "quota": 0,
                "region": "us-west-2",
                "endpoint_url": history.url,
                "access_key": "somebody",
                "secret_key": "a-secret-of-nobody",
                "filter": {"users": ["deploy-3"]},
            },
            timeout=1_500,
        )
    report = ran.report
    assert (report["complete"], report["counts"]["items"], report["requests"]) == (True, events, history.asked)
    wanted = b'"eventID":"'
    with gzip.open(ran.full) as lines:
        found = {int(line[(at := line.index(wanted) + len(wanted)) : at + 32], 16) for line in lines}
    assert len(found) == events and max(found) == events - 1
    assert ran.peak_mib < MOST_MIB, f"{ran.peak_mib:.1f} MiB"
    seconds = report["elapsed_seconds"]
    print(f"{events} events: {ran.peak_mib:.1f} MiB, {seconds:.0f} s, {events / seconds:.0f} events/s")
