"""Where the stacks are, and what resources they have."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.terraform.hcl import Block, parse

CHECKOUT = Path(__file__).resolve().parents[2]
INFRA = CHECKOUT / "infra"
TERRAFORM = CHECKOUT / ".sandbox" / "bin" / "terraform"
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


def terraform(
    folder: Path, *arguments: str, timeout: float = 120, **environment: str
) -> subprocess.CompletedProcess[str]:
    """One Terraform run with the providers of the checkout, and with credentials of nobody but those that are given."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
    inherited["TF_CLI_CONFIG_FILE"] = str(TERRAFORM.parents[1] / "terraform" / "terraform.rc")
    inherited |= {"AWS_EC2_METADATA_DISABLED": "true", "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    return subprocess.run(
        [str(TERRAFORM), *arguments],
        cwd=folder,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


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
