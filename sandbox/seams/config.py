"""Config: the emulator keeps recorders and delivery channels; what they record is ours (sandbox.audit)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import emulator

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


def install(runtime: Runtime) -> None:
    # Loaded from the start, so that a recorder of before the restart goes on.
    emulator.service("config")
    runtime.at_start.append(lambda: runtime.audit.configurations.start(runtime))
