"""The stacks by Terraform itself: format, validity with provider 3.39, and *.tftest.hcl (no AWS is asked)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.terraform import stacks
from tests.terraform.stacks import terraform

HERE = Path(__file__).resolve().parent


@pytest.fixture(params=stacks.NAMES)
def stack(request: pytest.FixtureRequest) -> str:
    """Each stack in turn."""
    return str(request.param)


@pytest.fixture
def work(stack: str, tmp_path: Path) -> Path:
    """An initialised copy of the stack with its tests."""
    stacks.copy(stack, tmp_path)
    for path in HERE.glob(f"{stack}.tftest.hcl"):
        shutil.copy(path, tmp_path)
    started = terraform(tmp_path, "init", "-no-color", "-input=false")
    assert started.returncode == 0, started.stderr
    return tmp_path


def test_h1_stack_is_valid_and_holds_its_tests(stack: str, work: Path) -> None:
    # It validates the stack first, as scripts/terraform-validate does.
    tested = terraform(work, "test", "-json")
    assert tested.returncode == 0, tested.stdout
    summaries = [
        line["test_summary"] for line in map(json.loads, tested.stdout.splitlines()) if line["type"] == "test_summary"
    ]
    assert summaries
    assert summaries[0]["passed"] > 0
    assert (summaries[0]["failed"], summaries[0]["errored"], summaries[0]["skipped"]) == (0, 0, 0)


def test_h1_stacks_are_formatted() -> None:
    checked = terraform(stacks.CHECKOUT, "fmt", "-check", "-recursive", "infra", "collections", "tests/terraform")
    assert checked.returncode == 0, checked.stdout


def test_h1_each_stack_has_a_readme_and_no_account_in_it(stack: str) -> None:
    readme = (stacks.INFRA / stack / "README.md").read_text("utf-8")
    for word in ("## Variables", "## Commands", "evidence"):
        assert word in readme, f"{stack}/README.md says nothing under {word!r}"
    for path in stacks.files(stack):
        for line in path.read_text("utf-8").splitlines():
            assert "us-west-2" not in line, f"{path}: {line}"
