#!/usr/bin/env python3
"""What evidence costs: appending ten thousand items, sealing and verifying against sha256sum, redaction.

usage: .venv/bin/python bench/evidence.py [--items 10000] [--megabytes 1000] [--folder DIR] [--only append|seal|redact]

Bundles are made in a temporary folder below DIR (default: this checkout, to be on a real
disk) and removed. Those to be sealed are filled with random bytes past the redactor, which is measured by itself.
Seal and verification run in a process of their own each, for its memory; files have been read before, as sha256sum's.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
UNIT_TESTS = CHECKOUT / "collections/ansible_collections/papyrus/ops/tests/unit"
sys.path[:0] = [str(CHECKOUT / "collections"), str(UNIT_TESTS)]
from ansible_collections.papyrus.ops.plugins.module_utils._dsse import load_public_keys
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle, content_bytes
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._seal import seal
from ansible_collections.papyrus.ops.plugins.module_utils._signers import open_signer
from ansible_collections.papyrus.ops.plugins.module_utils._verdict import verdict
from ansible_collections.papyrus.ops.plugins.module_utils._verify import verify
from sealing import signing_key

TRANSCRIPT = b'HTTP/1.1 200 OK\r\nServer: gunicorn\r\nContent-Type: application/json\r\n\r\n{"ok":true}'
META = {"reason": "GET /healthz: 200 from 10.0.0.7:80", "request_ids": ["d6e7e718-ba36-4bae-8f5f-948af1ae8bf8"]}
RUN = {"run_id": "20260131T120000Z-abc234", "service": "papyrus-task-service"}


class Untouched(Redactor):
    """Finds nothing and looks for nothing."""

    def redact(self, data: bytes) -> bytes:
        return data


@contextlib.contextmanager
def folder_in(root: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-evidence-", dir=root) as name:
        yield Path(name)


def load() -> str:
    return f"{os.cpu_count()} cores with a load of {os.getloadavg()[0]:.1f}"


def known(values: int) -> Redactor:
    redactor = Redactor()
    for number in range(values):
        redactor.add("db-password", f"correct-horse-{number:04}-battery")
    return redactor


# Appending


def measure_append(root: Path, items: int) -> None:
    """The curve: do the last appends cost what the first did, with all their files in one folder?

    Wall time is mostly that of three fsyncs, and of whoever else uses the disk; CPU time is the program's own.
    """
    with folder_in(root) as folder:
        bundle = Bundle.create(folder / "run", RUN, known(10))
        wall, cpu, begin = [], [], load()
        for _item in range(items):
            started, worked = time.perf_counter(), time.process_time()
            bundle.append("healthz.log", TRANSCRIPT, status="ok", step="D1", meta=META)
            wall.append((time.perf_counter() - started) * 1000)
            cpu.append((time.process_time() - worked) * 1000)
    part = max(1, items // 100)
    print(f"Appending {items} items ({begin}, {load()} at the end), milliseconds each:\n")
    print("| items | CPU median | CPU p95 | wall median | wall p95 |\n|---|---|---|---|---|")
    for start in sorted({0, items - part, *range(0, items - part, max(part, items // 5))}):
        cells = []
        for taken in (cpu, wall):
            some = sorted(taken[start : start + part])
            cells += [f"{statistics.median(some):.2f}", f"{some[int(len(some) * 0.95)]:.2f}"]
        print(f"| {start + 1} to {start + part} | {' | '.join(cells)} |")
    print(f"\n{sum(wall) / 1000:.1f} s in all, {items / sum(wall) * 1000:.0f} items a second\n")


# Sealing and verifying


def filled(folder: Path, items: int, size: int) -> Bundle:
    bundle = Bundle.create(folder / "run", RUN, Untouched())
    rng = random.Random(7)
    for number in range(items):
        bundle.append(f"item_{number:05}.log", rng.randbytes(size), status="ok", step="D1", meta=META)
    judged = verdict(bundle.lines())
    bundle.append("verdict.json", content_bytes(judged), status="ok", step="all", meta={"result": judged["result"]})
    return bundle


def one(work: str, folder: Path) -> dict[str, Any]:
    """Seals or verifies `folder`/run in this process: seconds and the most memory."""
    bundle, started = Bundle(folder / "run"), time.perf_counter()
    if work == "seal":
        signer = open_signer({"type": "file", "private_key": str(folder / "key.pem")})
        assert signer is not None
        started = time.perf_counter()
        seal(bundle, signer, by="run")
    else:
        found = verify(bundle.folder, load_public_keys([str(folder / "key.pub.pem")]))
        assert found["result"] == "ok", found["findings"]
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def measured(work: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", work, "--folder", str(folder)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def sha256sum(folder: Path) -> float:
    files = sorted(path.name for path in (folder / "run").iterdir())
    started = time.perf_counter()
    subprocess.run(["sha256sum", "--", *files], cwd=folder / "run", check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def measure_seal(root: Path, sizes: list[tuple[int, int]]) -> None:
    print("Sealing and verifying, seconds (MB/s), and the most memory:\n")
    print("| bundle | sha256sum | seal | verify | MiB to seal | MiB to verify | load |\n|---|---|---|---|---|---|---|")
    for items, size in sizes:
        with folder_in(root) as folder:
            filled(folder, items, size)
            signing_key(folder)
            megabytes = sum(path.stat().st_size for path in (folder / "run").iterdir()) / 1_000_000
            sha256sum(folder)
            summed = min(sha256sum(folder) for _time in range(3))
            sealed, begin = measured("seal", folder), load()
            verified = min((measured("verify", folder) for _time in range(3)), key=lambda found: found["seconds"])
        times = [f"{each:.2f} ({megabytes / each:.0f})" for each in (summed, sealed["seconds"], verified["seconds"])]
        memory = f"{sealed['mib']:.0f} | {verified['mib']:.0f}"
        print(f"| {items} items, {megabytes:.0f} MB | {' | '.join(times)} | {memory} | {begin} |")
    print()


# Redaction


def measure_redact(megabytes: int) -> None:
    size = megabytes * 1_000_000
    rng = random.Random(7)
    log = b"".join(
        b"2026-01-31T12:00:00Z info request method=GET path=/healthz status=200 ms=%d trace=%016x\n"
        % (rng.randrange(100), rng.getrandbits(64))
        for _line in range(size // 96 + 1)
    )[:size]
    state = {"type": "aws_lb", "instances": [{"attributes": {"arn": "arn:aws:x", "tags": {"a": "b"}, "id": None}}]}
    kinds = {
        "log lines": log,
        "JSON (a state file)": (json.dumps(state, indent=2).encode() * (size // 150 + 1))[:size],
        "random bytes": rng.randbytes(size),
    }
    print(f"Redaction of {megabytes} MB in memory ({load()}), MB/s by known values:\n")
    print("| | none | 5 | 50 |\n|---|---|---|---|")
    for name, data in kinds.items():
        speeds = []
        for values in (0, 5, 50):
            redactor = known(values)
            redactor.redact(b"warm")
            started = time.perf_counter()
            redactor.redact(data)
            speeds.append(f"{megabytes / (time.perf_counter() - started):.1f}")
        print(f"| {name} | {' | '.join(speeds)} |")
    print()


def main() -> None:
    """Measures and prints."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--only", choices=["append", "seal", "redact"], default="")
    options.add_argument("--items", type=int, default=10_000)
    options.add_argument("--megabytes", type=int, default=1000)
    options.add_argument("--folder", type=Path, default=CHECKOUT)
    options.add_argument("--one", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if asked.one:
        print(json.dumps(one(asked.one, asked.folder)))
        return
    if asked.only in ("", "append"):
        measure_append(asked.folder, asked.items)
    if asked.only in ("", "seal"):
        big = max(1, asked.megabytes // 10)
        measure_seal(asked.folder, [(big, 10_000_000), (asked.items, 1000)])
    if asked.only in ("", "redact"):
        measure_redact(max(1, asked.megabytes // 100))


if __name__ == "__main__":
    main()
