"""I1: no run takes a permanent stack: what a run applies, it destroys. H1: nothing cuts an apply of one short."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.papyrus.ops.plugins.module_utils._run_stack import require_temporary
from ansible_collections.papyrus.ops.plugins.module_utils._terraform import TerraformError
from jinja2.nativetypes import NativeEnvironment

CHECKOUT = Path(__file__).resolve().parents[2]
INFRA = CHECKOUT / "infra"
ROLES = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops" / "roles"
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


def applying(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Tasks, also those of blocks, in which Terraform changes something."""
    for task in tasks:
        for part in ("block", "rescue", "always"):
            yield from applying(task.get(part, []))
        command = task.get("ansible.builtin.command", {}).get("argv", "")
        if "community.general.terraform" in task or "'apply'" in str(command) or "'destroy'" in str(command):
            yield task


def settings(role: str) -> dict[str, Any]:
    """Variables of a role that is no rehearsal."""
    files = [ROLES / role / folder / "main.yml" for folder in ("defaults", "vars")]
    found: dict[str, Any] = {"ansible_check_mode": False}
    for path in files:
        found |= yaml.safe_load(path.read_text("utf-8")) if path.is_file() else {}
    return found


def seconds(value: Any, known: dict[str, Any]) -> int:
    """What `async` says, its variables filled in."""
    while isinstance(value, str):
        value = NativeEnvironment().from_string(value).render(known)
    return int(value)


def test_H1_every_apply_of_a_permanent_stack_has_a_session_of_its_own() -> None:
    """What ends ansible-playbook gives a module under way a second signal: Terraform forgets what it is making."""
    found = [
        (task["name"], seconds(task.get("async", 0), settings(role)))
        for role in ("stacks", "monitor")
        for path in sorted((ROLES / role / "tasks").glob("*.yml"))
        for task in applying(yaml.safe_load(path.read_text("utf-8")))
    ]
    assert len(found) == 5, found
    assert [name for name, asynchronous in found if asynchronous < 600] == []
