# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One command in a container of an ECS task through ECS Exec, from choosing the task to its exit code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._exec_types import Command, ExecResult, Files, Target

__all__ = ["Command", "ExecResult", "Files", "Target", "plan_command", "run_command"]

NO_FILES = Files()


def plan_command(clients: Callable[[str], Any], target: Target, command: Command) -> ExecResult:
    """For check mode: reads only, runs nothing; `not_run` with task, container and a reason that says what would run."""
    raise NotImplementedError


def run_command(clients: Callable[[str], Any], target: Target, command: Command, files: Files = NO_FILES) -> ExecResult:
    """Runs one command and waits for it. Never raises for what AWS, the network or the container did: that is the outcome.

    ValueError only for a caller's mistake, OSError when log or recording cannot be written. Secrets that the run knows
    are taken out of `output` and `reason` when `files.private` is given.
    """
    raise NotImplementedError
