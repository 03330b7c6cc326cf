"""Where the stacks are, and what resources they have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from tests.terraform.hcl import Block, parse

CHECKOUT = Path(__file__).resolve().parents[2]
INFRA = CHECKOUT / "infra"
NAMES = sorted(folder.name for folder in INFRA.iterdir() if any(folder.glob("*.tf")))


# Stacks that a stack has as modules, by the name of their folder in it; without their providers, as a run stages them.
MODULES = {"40-drill": {"alb": "20-alb"}}


def copy(stack: str, folder: Path) -> None:
    """The stack into the folder, ready for Terraform."""
    ignored = shutil.ignore_patterns(".terraform*")
    shutil.copytree(INFRA / stack, folder, dirs_exist_ok=True, ignore=ignored)
    for name, module in MODULES.get(stack, {}).items():
        shutil.copytree(INFRA / module, folder / name, ignore=ignored)
        (folder / name / "provider.tf").unlink()


def files(stack: str) -> list[Path]:
    """The Terraform files of one stack."""
    return sorted((INFRA / stack).glob("*.tf"))


def resources(*names: str) -> Iterator[Block]:
    """Resource and data blocks of the named stacks, or of all."""
    for name in names or NAMES:
        for path in files(name):
            for block in parse(path.read_text("utf-8")).blocks:
                if block.type in ("resource", "data") and block.labels[0].startswith("aws_"):
                    yield block
