#!/usr/bin/env python3
"""What redaction costs in MB/s, against replacing known values as they are, which finds no other form of them.

usage: .venv/bin/python bench/redaction.py [--megabytes 16]

Then 200 MB through `redact_stream`, with the peak of memory before and after.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import random
import resource
import string
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "collections"))
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor


def texts(megabytes: int) -> dict[str, bytes]:
    """What items are made of."""
    dice, size = random.Random(1), megabytes * 1_000_000
    words = [f"{dice.getrandbits(dice.choice([12, 24, 40])):x}" for _number in range(5000)]
    log = " ".join(dice.choice(words) for _number in range(size // 7)).encode()
    line = {"at": "2026-11-26T20:00:00Z", "level": "info", "path": "/healthz"}
    lines = [json.dumps({**line, "message": f'said "{dice.choice(words)}"\n'}) for _number in range(size // 90)]
    return {
        "words of a log": log[:size],
        "lines of JSON": "\n".join(lines).encode()[:size],
        "base64": base64.encodebytes(dice.randbytes(size * 3 // 4))[:size],
    }


def secrets(count: int) -> list[str]:
    """Passwords and keys of usual lengths."""
    dice, letters = random.Random(2), string.ascii_letters + string.digits + "/+!"
    return ["".join(dice.choice(letters) for _letter in range((12, 16, 24, 40, 40)[n % 5])) for n in range(count)]


def rate(work: Callable[[bytes], object], data: bytes) -> float:
    """MB/s, the best of three."""
    best = 0.0
    for _run in range(3):
        started = time.perf_counter()
        work(data)
        best = max(best, len(data) / (time.perf_counter() - started) / 1e6)
    return best


def redactor(values: list[str]) -> Redactor:
    made = Redactor()
    for value in values:
        made.add("db-password", value)
    return made


def replacing(values: list[str]) -> Callable[[bytes], bytes]:
    def work(data: bytes) -> bytes:
        for value in values:
            data = data.replace(value.encode(), b"[redacted]")
        return data

    return work


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


class Source(io.RawIOBase):
    """As many bytes of a text as asked for, with a secret in every megabyte."""

    def __init__(self, text: bytes, left: int) -> None:
        self.text, self.left = text, left

    def read(self, size: int = -1) -> bytes:
        part = self.text[: min(size, self.left)]
        self.left -= len(part)
        return part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--megabytes", type=int, default=16)
    found = texts(parser.parse_args().megabytes)
    print("| MB/s | shapes alone | 5 known values | 20 known values | 20 replaced as they are |\n|---|---|---|---|---|")
    for name, data in found.items():
        rates = [rate(redactor(secrets(count)).redact, data) for count in (0, 5, 20)]
        rates.append(rate(replacing(secrets(20)), data))
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in rates)} |")
    values, before, started = secrets(20), peak(), time.perf_counter()
    text = found["lines of JSON"][:999_000] + values[0].encode() + b"\n"
    redactor(values).redact_stream(Source(text, 200_000_000), lambda piece: None)
    seconds = time.perf_counter() - started
    print(f"\n200 MB as a stream: {seconds:.0f} s, {200 / seconds:.1f} MB/s")
    print(f"peak memory {before} MiB before, {peak()} MiB after")


if __name__ == "__main__":
    main()
