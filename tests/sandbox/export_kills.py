"""SIGKILL at random moments of the module cloudtrail_export, each time begun again by the same call.

usage: export_kills.py ARGUMENTS KILLS SEED SNAPSHOTS

ARGUMENTS is the module's (JSON). A process is forked for each try, so that a hundred do not cost a hundred starts of
Python. It is killed at once, a moment after its journal has grown, or by itself before, after or in the middle of one
of its writes, syncs and renames. A try that comes to its end before that leaves a finished export, and the next try
begins another one. SNAPSHOTS gets a line of JSON for each try: when it began and ended (seconds since 1970), whether it
was killed, and of each export that is not finished what the journal says of its units: [token, done, pages, what is
left of it if that is not all]. The last try is left alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.sandbox import export_process

JOURNAL = ".journal.jsonl"


def journals(root: Path) -> dict[Path, int]:
    """Size of the journal of each export that is not finished."""
    found = {}
    for file in root.glob(f"*/{JOURNAL}"):
        with contextlib.suppress(FileNotFoundError):
            if not (file.parent / "completeness.json").exists():
                found[file.parent] = file.stat().st_size
    return found


def units(folder: Path) -> dict[str, Any]:
    """What the journal says of each unit by its last whole line."""
    said = {}
    for line in (folder / JOURNAL).read_bytes().split(b"\n")[:-1]:
        try:
            entry = json.loads(line)
        except ValueError:
            break
        for key, unit in entry.get("units", {}).items():
            said[key] = [unit["token"], unit["done"], unit["pages"], unit.get("unit")]
    return said


def die_at(step: int, dice: random.Random) -> None:
    """SIGKILL for this process at so manieth of its steps on the disk; of what is to be written a part is."""
    left, place = step, dice.random()

    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying(name: str) -> Callable[..., Any]:
        do = getattr(os, name)

        def act(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left == 0:
                if name == "write":
                    do(args[0], args[1][: int(len(args[1]) * place)])
                elif place > 0.5:
                    do(*args, **more)
                kill()
            return do(*args, **more)

        return act

    for name in ("write", "fsync", "replace", "rename", "unlink", "ftruncate"):
        setattr(os, name, dying(name))


def fork(arguments: dict[str, Any], step: int = 0, seed: int = 0) -> int:
    pid = os.fork()
    if pid:
        return pid
    # A call under way at the kill may be recorded after the next try began: its user agent tells whose it is.
    arguments = {**arguments, "aws_config": {"user_agent_extra": f"try-{os.getpid()}"}}
    if step:
        die_at(step, random.Random(seed))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        export_process.run(arguments)
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    finally:
        os._exit(70)
    raise AssertionError


def ended(pid: int) -> int | None:
    """Its exit code (negative: the signal), None while it runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def one(arguments: dict[str, Any], dice: random.Random) -> tuple[int, int]:
    """A try that is killed somewhere; its pid and its exit code."""
    if dice.random() < 0.5:
        pid = fork(arguments, dice.randint(1, 60), dice.randrange(1000))
        return pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    root, before = Path(arguments["path"]), journals(Path(arguments["path"]))
    pid, moments = fork(arguments), dice.choice([0, 1, 1, 2, 3, 5])
    if moments == 0:
        time.sleep(dice.uniform(0, 0.3))
    while moments:
        if (code := ended(pid)) is not None:
            return pid, code
        now = journals(root)
        if now != before:
            before, moments = now, moments - 1
        time.sleep(0.0005)
    time.sleep(dice.uniform(0, 0.02))
    os.kill(pid, signal.SIGKILL)
    return pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> None:
    arguments, kills, dice = json.loads(sys.argv[1]), int(sys.argv[2]), random.Random(int(sys.argv[3]))
    root, snapshots = Path(arguments["path"]), Path(sys.argv[4])
    killed = 0
    with snapshots.open("w") as notes:
        while killed < kills:
            began = time.time()
            pid, code = one(arguments, dice)
            assert code in (0, -signal.SIGKILL), code
            killed += code != 0
            there = {str(folder): units(folder) for folder in journals(root)}
            note = {"began": began, "ended": time.time(), "killed": code != 0, "pid": pid, "unfinished": there}
            notes.write(json.dumps(note) + "\n")
        began, pid = time.time(), fork(arguments)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        last = {"began": began, "ended": time.time(), "killed": False, "pid": pid, "unfinished": {}}
        notes.write(json.dumps(last) + "\n")
    assert code == 0, code


if __name__ == "__main__":
    main()
