"""I1: no run takes a permanent stack: what a run applies, it destroys."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._run_stack import require_temporary
from ansible_collections.papyrus.ops.plugins.module_utils._terraform import TerraformError

INFRA = Path(__file__).resolve().parents[2] / "infra"
NAMES = sorted(folder.name for folder in INFRA.iterdir() if any(folder.glob("*.tf")))
# Made for a run and destroyed with it; every other stack is permanent.
TEMPORARY = {"20-alb", "40-drill"}


@pytest.mark.parametrize("stack", sorted(set(NAMES) - TEMPORARY))
def test_I1_a_permanent_stack_is_refused(stack: str) -> None:
    why = r"prevent_destroy in main\.tf" if stack == "30-monitor" else "no variable expires_at, run_id"
    with pytest.raises(TerraformError, match=why):
        require_temporary(INFRA / stack)


@pytest.mark.parametrize("stack", sorted(set(NAMES) & TEMPORARY))
def test_I1_a_temporary_stack_is_taken(stack: str) -> None:
    require_temporary(INFRA / stack)
