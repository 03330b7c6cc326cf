# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode of the temporary ALB: Terraform's own plan, made in a folder that is gone afterwards."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._run_settings import Stack
from ._run_stack import stage
from ._terraform import ProcessRunner, Runner, Terraform, TerraformError, environment, why_failed

_PLAN_BEGINS = ("Terraform will perform", "OpenTofu will perform", "No changes.")


def planned(run: Mapping[str, Any], options: Mapping[str, Any], runner: Runner | None = None) -> str:
    """What Terraform would create for a run, as `terraform plan` words it; sensitive values are not shown by it.

    `run` is the prediction of run_open, `options` has `stack` as run_open takes it. TerraformError names what failed.
    """
    stack = Stack.of(options, str(run.get("name") or ""))
    if stack is None:
        return ""
    problems = [str(problem) for problem in run.get("problems") or []]
    if problems:
        raise TerraformError("; ".join(problems))
    with tempfile.TemporaryDirectory(prefix="papyrus-plan-") as name:
        folder, log = Path(name) / "stack", Path(name) / "plan.log"
        stage(stack, folder, str(run["id"]), str(run["expires_at"]))
        env = environment(os.environ, stack.environment, Path(name) / "tf")
        terraform = Terraform(stack.binary, folder, env, runner or ProcessRunner(grace=30), log)
        for ran in (terraform.init(), terraform.plan()):
            if not ran.ok:
                raise TerraformError(why_failed(ran))
        return _body(log.read_text("utf-8", "replace"))


def _body(text: str) -> str:
    """The plan without init's and the command's own lines."""
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith(_PLAN_BEGINS)), 0)
    last = next((number for number, line in enumerate(lines) if line.startswith("Plan: ")), len(lines) - 1)
    return "\n".join(line for line in lines[first : last + 1]) + "\n"
