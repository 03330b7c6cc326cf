"""Check mode of the temporary ALB: what Terraform is asked, what is shown, and that nothing stays."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._run_plan import planned
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Stack
from ansible_collections.papyrus.ops.plugins.module_utils._run_stack import stage
from ansible_collections.papyrus.ops.plugins.module_utils._terraform import Ran, TerraformError

RUN = {
    "id": "20260131T120000Z-abc234",
    "name": "papyrus-smoke-abc234",
    "expires_at": "2026-01-31T13:00:00Z",
    "problems": [],
}
PLAN = "Terraform will perform the following actions:\n\n  # aws_lb.this will be created\n\nPlan: 8 to add.\n"


class Recorder:
    """A runner that answers like Terraform and remembers commands, variables and folders."""

    def __init__(self, code: int = 0, output: str = PLAN) -> None:
        self.code, self.output = code, output
        self.commands: list[str] = []
        self.variables: dict[str, Any] = {}
        self.folder = Path()

    def run(self, argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: Path, timeout: float) -> Ran:
        self.commands.append(argv[1])
        self.folder = cwd
        self.variables = json.loads((cwd / "run.auto.tfvars.json").read_text("utf-8"))
        output = "Initializing the backend...\n" if argv[1] == "init" else self.output
        with log.open("a", encoding="utf-8") as file:
            file.write(output)
        code = self.code if argv[1] == "plan" else 0
        return Ran(tuple(argv), code, 0.1, output)


def options(tmp_path: Path) -> dict[str, Any]:
    source = tmp_path / "20-alb"
    source.mkdir()
    (source / "main.tf").write_text('variable "run_id" {}\nvariable "expires_at" {}\n', "utf-8")
    return {"stack": {"source": str(source), "variables": {"vpc_id": "vpc-1"}}}


def test_C1_check_mode_shows_terraforms_plan_and_keeps_no_folder(tmp_path: Path) -> None:
    runner = Recorder()
    assert planned(RUN, options(tmp_path), runner) == PLAN
    assert runner.commands == ["init", "plan"]
    assert runner.variables == {
        "vpc_id": "vpc-1", "name": RUN["name"], "run_id": RUN["id"], "expires_at": RUN["expires_at"]
    }  # fmt: skip
    assert not runner.folder.exists()


def test_C1_a_plan_that_fails_says_why(tmp_path: Path) -> None:
    runner = Recorder(1, "Error: Invalid value for variable\n\n  the whole internet is refused\n")
    with pytest.raises(TerraformError, match="Invalid value for variable"):
        planned(RUN, options(tmp_path), runner)
    assert not runner.folder.exists()


def test_C1_a_name_that_aws_refuses_is_not_planned(tmp_path: Path) -> None:
    runner = Recorder()
    with pytest.raises(TerraformError, match="too long"):
        planned({**RUN, "problems": ["too long"]}, options(tmp_path), runner)
    assert runner.commands == []


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"main.tf": 'variable "name" {}\n'}, "no variable expires_at, run_id"),
        ({"main.tf": 'variable "run_id" {}\n# variable "expires_at" {}\n'}, "no variable expires_at,"),
        ({"more.tf": 'resource "a" "b" {\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n'}, "more.tf"),
        ({"inner/deep.tf": "lifecycle {\n  prevent_destroy   =   true\n}\n"}, "prevent_destroy in deep.tf"),
        ({"more.tf.json": '{"lifecycle": {\n "prevent_destroy": true}}'}, "prevent_destroy in more.tf.json"),
    ],
)
def test_I1_a_run_never_takes_a_stack_that_is_not_made_to_be_destroyed(
    tmp_path: Path, files: dict[str, str], why: str
) -> None:
    runner, given = Recorder(), options(tmp_path)
    for name, text in files.items():
        path = Path(given["stack"]["source"], name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    with pytest.raises(TerraformError, match=why):
        planned(RUN, given, runner)
    assert runner.commands == []


def test_I1_a_stack_that_says_in_words_or_by_false_that_it_is_not_protected_is_taken(tmp_path: Path) -> None:
    runner, given = Recorder(), options(tmp_path)
    text = "# prevent_destroy = true would be refused\nlifecycle {\n  prevent_destroy = false\n}\n"
    Path(given["stack"]["source"], "more.tf").write_text(text, "utf-8")
    assert planned(RUN, given, runner) == PLAN


@pytest.fixture
def with_module(tmp_path: Path) -> dict[str, Any]:
    """A stack that has another one as a module."""
    module = tmp_path / "inner"
    module.mkdir()
    for name in ("main.tf", "provider.tf", "old.tfvars", "terraform.tfstate"):
        (module / name).write_text(f"# {name}\n", "utf-8")
    given = options(tmp_path)
    given["stack"]["modules"] = {"alb": str(module)}
    return given


def test_I1_a_stack_has_another_as_a_module_without_its_provider(tmp_path: Path, with_module: dict[str, Any]) -> None:
    stack = Stack.of(with_module, "papyrus-drill-abc234")
    assert stack is not None
    stage(stack, tmp_path / "copy", str(RUN["id"]), str(RUN["expires_at"]))
    assert [path.name for path in (tmp_path / "copy" / "alb").iterdir()] == ["main.tf"]
    assert (tmp_path / "inner" / "provider.tf").exists()


@pytest.mark.parametrize(
    ("name", "source", "why"),
    [
        ("../alb", "inner", "no name of a module"),
        ("", "inner", "no name of a module"),
        ("a/b", "inner", "no name of a module"),
        ("alb", "nowhere", "of the module alb does not exist"),
    ],
)
def test_I1_a_module_stays_below_the_stack(
    tmp_path: Path, with_module: dict[str, Any], name: str, source: str, why: str
) -> None:
    with_module["stack"]["modules"] = {name: str(tmp_path / source)}
    with pytest.raises(TerraformError, match=why):
        planned(RUN, with_module, Recorder())


def test_I1_a_module_that_is_permanent_is_refused(tmp_path: Path, with_module: dict[str, Any]) -> None:
    (tmp_path / "inner" / "main.tf").write_text("lifecycle {\n  prevent_destroy = true\n}\n", "utf-8")
    with pytest.raises(TerraformError, match="prevent_destroy"):
        planned(RUN, with_module, Recorder())
