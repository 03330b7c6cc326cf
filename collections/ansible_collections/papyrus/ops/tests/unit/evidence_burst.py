# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Four writers of one bundle, killed one after the other in the middle of a burst; a process of its own, for fork(2).

usage: evidence_burst.py COLLECTIONS FOLDER KILLS SEED      (a bundle in FOLDER; prints figures as JSON)

After every kill the manifest is checked from its bytes alone, under its lock, while the other writers go on. What a
writer was told to be listed, it notes in a file of its own.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

WRITERS = 4
LARGEST = 200_000
HIGH = bytes(byte | 0x80 for byte in range(256))  # no letter, digit or sign: nothing that looks like a secret by chance


def write_for_ever(folder: Path, acknowledged: Path, seed: int) -> None:
    """Takes the bundle over (sometimes) and appends items of all sizes until it is killed.

    Half of the writers give the disk their bytes in many small pieces, so that a kill finds them in the middle of one.
    """
    from ansible_collections.papyrus.ops.plugins.module_utils import _evidence, _locks

    rng = random.Random(seed)
    if seed % 2:

        def in_pieces(fd: int, data: bytes) -> None:
            view = memoryview(data)
            size = max(20, len(view) // 20)
            for begin in range(0, len(view), size):
                os.write(fd, view[begin : begin + size])
                time.sleep(0.0002)

        _locks.write_all = _evidence.write_all = in_pieces
    notes = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    bundle = _evidence.Bundle(folder)
    if rng.random() < 0.5:
        bundle.recover()
    number = 0
    while True:
        data = rng.randbytes(rng.choice((0, 10, 1000, LARGEST))).translate(HIGH)
        line = bundle.append(
            rng.choice(("healthz.log", "dbcheck.log", f"writer_{seed}.log")),
            data,
            status="ok",
            step="J1",
            meta={"writer": seed, "number": number},
        )
        os.write(notes, f"{line['seq']} {line['path']} {hashlib.sha256(data).hexdigest()}\n".encode())
        number += 1


class Reader:
    """Follows the manifest of a bundle: each line once, chained to the one before, with its bytes on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[dict[str, Any]] = []
        self.torn = self.strays = self.temporary = 0
        self._offset = 0
        self._prev = "0" * 64

    def look(self) -> None:
        """RuntimeError when the chain is wrong. No writer is in the middle of an append: the lock is held."""
        with (self.folder / "manifest.jsonl").open("rb") as file:
            fcntl.lockf(file, fcntl.LOCK_SH)
            file.seek(self._offset)
            complete, newline, torn = file.read().rpartition(b"\n")
            names = {name for name in os.listdir(self.folder) if name != "manifest.jsonl"}
        self._offset += len(complete) + len(newline)
        for raw in complete.split(b"\n") if newline else []:
            line = json.loads(raw)
            data = (self.folder / line["path"]).read_bytes()
            good = (line["seq"], line["prev"]) == (len(self.lines), self._prev)
            if not good or (len(data), hashlib.sha256(data).hexdigest()) != (line["bytes"], line["sha256"]):
                raise RuntimeError(f"line {len(self.lines)} is wrong: {raw!r}")
            self._prev = hashlib.sha256(raw).hexdigest()
            self.lines.append(line)
        listed = {line["path"] for line in self.lines}
        if listed - names:
            raise RuntimeError(f"listed and not there: {listed - names}")
        self.torn += bool(torn)
        self.temporary += any(name.startswith(".tmp-") for name in names)
        self.strays += any(not name.startswith(".tmp-") for name in names - listed)


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    importlib.import_module("ansible_collections.papyrus.ops.plugins.module_utils._evidence")  # once, not after a fork

    folder, kills, seed = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    rng = random.Random(seed)
    reader = Reader(folder)
    started = time.monotonic()
    writers: dict[int, int] = {}
    born = 0

    def start(slot: int) -> None:
        nonlocal born
        born += 1
        pid = os.fork()
        if pid == 0:
            try:
                write_for_ever(folder, folder.parent / f"acknowledged-{born}", seed * 100_000 + born)
            finally:
                os._exit(1)
        writers[slot] = pid

    for slot in range(WRITERS):
        start(slot)
    try:
        for _kill in range(kills):
            time.sleep(rng.uniform(0.005, 0.06))
            slot = rng.randrange(WRITERS)
            os.kill(writers[slot], signal.SIGKILL)
            if os.waitstatus_to_exitcode(os.waitpid(writers.pop(slot), 0)[1]) != -signal.SIGKILL:
                raise RuntimeError("a writer ended by itself")
            reader.look()
            start(slot)
    finally:
        for pid in writers.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    reader.look()
    names = [line["name"] for line in reader.lines]
    figures = {
        "kills": kills + WRITERS,
        "lines": len(names),
        "torn lines seen": reader.torn,
        "files without a line seen": reader.strays,
        "temporary files seen": reader.temporary,
        "continued": names.count("continued.json"),
        "adopted": sum("recovered" in line["meta"] for line in reader.lines),
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
