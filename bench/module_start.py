#!/usr/bin/env python3
"""What a module costs before it does anything: in a fork of Ansible's worker, and as the payload that Ansible sends.

usage: .venv/bin/python bench/module_start.py [--times 3]

CPU seconds of ansible-playbook and everything that it waited for, a loop of eleven items against one of one item.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
ITEMS = 10
MODULES: dict[str, dict[str, Any]] = {
    "evidence_capture": {"bundle": "/nowhere", "items": [{"name": "a.log", "step": "all", "content": "x"}]},
    "http_probe": {"url": "http://127.0.0.1:9/", "expect": {"status": [200]}},
    "run_close": {"run": {"folder": "/nowhere", "ledger": "/nowhere", "id": "20260131T120000Z-abc234"}},
}


def cpu(folder: Path, module: str, items: int, here: bool) -> float:
    """CPU seconds of a playbook with so many of a module, which fails at once."""
    task = {f"papyrus.ops.{module}": MODULES[module], "loop": list(range(items)), "failed_when": False}
    play = {"hosts": "all", "gather_facts": False, "tasks": [task]}
    (folder / "play.json").write_text(json.dumps([play]), "utf-8")
    # The same interpreter by another name is another one for the collection.
    python = sys.executable if here else str(folder / "python")
    words = {"ansible_connection": "local", "ansible_pipelining": True, "ansible_python_interpreter": python}
    (folder / "hosts.json").write_text(json.dumps({"all": {"hosts": {"one": words}}}), "utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "hosts.json", "play.json"],
        cwd=folder,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / "collections"), "ANSIBLE_HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode:
        raise SystemExit(ran.stdout + ran.stderr)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    times = parser.parse_args().times
    print("| CPU ms of a module | in a fork | as a payload |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        link = folder / "python"
        link.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', "utf-8")
        link.chmod(0o755)
        for module in MODULES:
            found = []
            for here in (True, False):
                each = [
                    (cpu(folder, module, ITEMS + 1, here) - cpu(folder, module, 1, here)) / ITEMS
                    for _number in range(times)
                ]
                found.append(f"{statistics.median(each) * 1000:.0f}")
            print(f"| `{module}` | {' | '.join(found)} |", flush=True)


if __name__ == "__main__":
    main()
