# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The end of a run: its verdict, its ledger entry, the private folder gone; and its teardown when the guard is dead."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ._aws import Clients
from ._evidence import RUN_FILE, VERDICT, Bundle, content_bytes
from ._guard_processes import send
from ._ledger import Ledger
from ._names import parse_rfc3339
from ._redaction import Redactor
from ._run_settings import ChildFile, Settings, guard_process
from ._run_stack import StackRun
from ._verdict import verdict, verdict_text

_SIGINT, _SIGKILL = 2, 9


def finish(
    bundle: Bundle,
    ledger: Ledger,
    run_id: str,
    failure: Mapping[str, Any] | None = None,
    allowed_skips: Iterable[str] = (),
    *,
    short_values: int = 0,
) -> dict[str, Any]:
    """Writes the verdict as the last item and closes the ledger. What is there already stays: both are written once.

    Returns `verdict`, `text` (for a terminal), `changed`.
    """
    bundle.recover()
    lines = bundle.lines()
    changed = False
    if lines and lines[-1]["name"] == VERDICT:
        result = json.loads(bundle.data(lines[-1]))
        lines = lines[:-1]
    else:
        result = {
            "run_id": run_id,
            **verdict(lines, failure, allowed_skips, tree_dirty(bundle.folder), short_values=short_values),
        }
        first = result["first_failure"]
        status = "ng" if result["result"] == "FAILED" else "ok"
        reason = f"{first['step']} {first['cause']}".strip() if first else ""
        bundle.append(
            VERDICT,
            content_bytes(result),
            status=status,
            step="all",
            meta={"result": result["result"], "reason": reason},
        )
        changed = True
    if ledger.opened(run_id) is not None and ledger.closed(run_id) is None:
        ledger.close(run_id, result["result"], bundle.head())
        changed = True
    return {"verdict": result, "text": verdict_text(result, lines, str(bundle.folder)), "changed": changed}


def tree_dirty(folder: Path) -> bool | None:
    """Whether the working tree differed from its commit when the run was opened; None when nobody knows."""
    try:
        dirty = json.loads((folder / RUN_FILE).read_bytes())["git"]["dirty"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dirty if isinstance(dirty, bool) else None


def short_values(private: str) -> int:
    """How many secrets of the run were too short to be searched for."""
    if not private or not Path(private).is_dir():
        return 0
    redactor = Redactor(private)
    redactor.redact(b"")
    return redactor.short_values


def remove_private(private: str | Path) -> None:
    """Removes the run-private folder with key, known values and variables; nothing else is ever removed by it."""
    folder = Path(private)
    if folder.name.startswith(PRIVATE_PREFIX) and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


PRIVATE_PREFIX = "papyrus-"


def purge_stale(root: str | Path, now: dt.datetime) -> list[str]:
    """Removes private folders which a run left when everything of it was killed at once: they hold secrets.

    Only those of this user, whose lease has expired, and whose guard and controller are dead. Returns their names.
    """
    removed = []
    for folder in Path(root).glob(f"{PRIVATE_PREFIX}*-*"):
        try:
            settings = Settings.load(folder)
            stale = folder.stat().st_uid == os.getuid() and parse_rfc3339(settings.expires_at) < now
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not one of ours, or still being made
        alive = [each for each in (guard_process(folder), settings.controller) if each is not None and each.alive()]
        if stale and not alive and settings.private == str(folder):
            remove_private(folder)
            removed.append(folder.name)
    return removed


def last_phase(lines: Iterable[Mapping[str, Any]]) -> str:
    """The phases under way at the end of `lines`, or the last that ended, for the cause of a verdict."""
    under_way: list[str] = []
    last = ""
    for line in lines:
        meta = line.get("meta") or {}
        name = str(meta.get("phase") or "")
        if line["name"] != "phase.json" or not name:
            continue
        if meta.get("event") == "start":
            under_way.append(name)
        else:
            under_way = [other for other in under_way if other != name]
            last = name
    return ", ".join(under_way) if under_way else f"after {last}" if last else "before its first phase"


def destroy_without_guard(
    settings: Settings,
    clients: Callable[[], Clients],
    *,
    log: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The guard's destroy in this process, for when the guard was killed. A Terraform which it left ends first."""
    wait_for_orphan(ChildFile(settings.private), settings.limits.interrupt_grace, log=log, clock=clock, sleep=sleep)
    return StackRun(settings, clients, log=log, clock=clock, sleep=sleep, environ=environ).destroy()


def wait_for_orphan(
    file: ChildFile,
    grace: float,
    *,
    log: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Ends a Terraform whose guard is dead: one SIGINT if it had none yet, then as long as it needs within `grace`."""
    found = file.read()
    if found is None:
        return
    child, interrupted = found
    if child.alive() and not interrupted:
        file.write(child, True)  # before the signal: a second one would lose what the first one saves
        send(child, _SIGINT)
    deadline = clock() + grace
    while child.alive() and clock() < deadline:
        sleep(0.2)
    if child.alive():
        log(f"Terraform (pid {child.pid}) did not end within {grace:g} s of its SIGINT and was killed")
        send(child, _SIGKILL)
    file.remove()
