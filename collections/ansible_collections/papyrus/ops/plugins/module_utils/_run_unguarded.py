# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The teardown of a run whose guard is dead, in the process that finds it so; with its private folder or without."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ._aws import Clients
from ._evidence import Bundle
from ._guard_processes import send
from ._run_gone import SWEPT, Keeper, Rest
from ._run_settings import ChildFile, Limits, Settings, Stack
from ._run_stack import StackRun

_SIGINT, _SIGKILL = 2, 9


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


def sweep_without_state(
    run: Mapping[str, Any],
    clients: Callable[[], Clients],
    timeout: float,
    *,
    log: Callable[[str], None] = lambda text: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """The end of a run (as run_open returns it) whose private folder is gone, and with it state, variables and guard.

    What is left is found and deleted by its tags, within `timeout` seconds. Returns what `StackRun.destroy` returns.
    """
    start = clock()
    settings = _settings_of(run, timeout)
    keep = Keeper(Bundle(settings.folder), log).keep
    rest = Rest(settings, clients, keep, log=log, clock=clock, sleep=sleep)
    gone = rest.prove({}, [], timeout=0)
    swept, error = not gone["gone"], ""
    if swept:
        error = f"guard and private folder of the run are gone; {gone['error']}"
        gone = rest.prove({}, rest.sweep(error, settings.limits.gone), timeout=0)
        if gone["gone"]:
            error += SWEPT
    keys = {key: gone[key] for key in ("gone", "left", "by_hand")}
    seconds = round(clock() - start, 1)
    return {
        "ok": not swept,
        "created": swept,
        "error": error,
        "attempts": [],
        "swept": swept,
        "seconds": seconds,
        **keys,
    }


def _settings_of(run: Mapping[str, Any], timeout: float) -> Settings:
    """As far as they are known without the private folder: enough to look and to sweep."""
    return Settings(
        run_id=str(run["id"]),
        suffix=str(run["suffix"]),
        folder=str(run["folder"]),
        private="",
        ledger=str(run["ledger"]),
        service=str(run["service"]),
        region=str(run.get("region") or ""),
        tag_prefix=str(run["tag_prefix"]),
        expires_at=str(run["expires_at"]),
        controller=None,
        stack=Stack(source="", name=str(run.get("name") or ""), variables=dict(run.get("drill") or {})),
        limits=Limits(gone=min(timeout, Limits.gone), sweep=timeout),
    )


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
