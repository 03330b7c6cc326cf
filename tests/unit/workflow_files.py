"""The workflows of this repository as data, and their steps' scripts as GitHub's runner starts them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))


def path_of(name: str) -> Path:
    return CHECKOUT / ".github" / "workflows" / f"{name}.yml"


def loaded(path: Path) -> dict[str, Any]:
    """A workflow; YAML reads the key `on` as true."""
    content: dict[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = loaded(path)["jobs"]
    return result


def steps(path: Path) -> list[dict[str, Any]]:
    return [each for job in jobs(path).values() for each in job.get("steps", [])]


def step(workflow: str, name: str) -> dict[str, Any]:
    [found] = [each for each in steps(path_of(workflow)) if each["name"] == name]
    return found


def command(script: str, folder: Path) -> list[str]:
    """How GitHub's runner starts a script: as a file, which bash does not become as it would the last command of -c."""
    file = folder / "step.sh"
    file.write_text(script, "utf-8")
    return ["bash", "-e", str(file)]


def run_step(
    workflow: str, name: str, checkout: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """The script of a step with exactly this environment: what the step's `env` names has to be among it."""
    found = step(workflow, name)
    assert set(found.get("env", {})) <= set(environment), set(found.get("env", {})) - set(environment)
    return subprocess.run(
        command(found["run"], checkout), cwd=checkout, env=dict(environment), capture_output=True, text=True,
        check=False,
    )  # fmt: skip
