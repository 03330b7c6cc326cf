# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The teardown of a run whose guard is dead, in the process that finds it so."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ._aws import Clients
from ._guard_processes import send
from ._run_settings import ChildFile, Settings
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
