"""L1: the execution environment has what the modules import, and ansible-builder makes its build context of it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"
DEFINITION = CHECKOUT / "execution-environment.yml"
BIN = Path(sys.executable).parent
OPTIONAL = {"sigstore"}
"""Imported where it is there; few install it."""
CALLED = {"pip"}
"""Run as a program."""
NOT_THE_COLLECTIONS = {"ansible", "ansible-runner", "flask", "gunicorn", "python-json-logger"}
"""In product.in for other reasons: what starts the playbooks, and the app of this repository."""


def lines(path: Path) -> set[str]:
    """Requirements of a file, without comments; an include or a pin is not what this asks for."""
    text = [line.split("#")[0].split("==")[0].strip() for line in path.read_text("utf-8").splitlines()]
    return {line for line in text if line and not line.startswith("-r")}


def names(requirements: set[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def imported() -> set[str]:
    """Top-level modules of others that the plugins import, by statement or by name."""
    found = set()
    for path in (COLLECTION / "plugins").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module)
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                found |= {str(each.value) for each in node.args if isinstance(each, ast.Constant)}
    tops = {each.split(".")[0] for each in found}
    return tops - set(sys.stdlib_module_names) - {"ansible", "ansible_collections"}


def required_by(distribution: str) -> set[str]:
    return names({each for each in metadata.requires(distribution) or [] if "extra ==" not in each})


def test_L1_the_collections_requirements_are_what_its_modules_import() -> None:
    owners = metadata.packages_distributions()
    used = {canonicalize_name(owners[each][0]) for each in imported()}
    needed = used - required_by("ansible-core") - required_by("oras") - OPTIONAL | CALLED
    assert names(lines(COLLECTION / "requirements.txt")) == needed


def test_L1_the_checkout_installs_the_same_for_its_own_environment() -> None:
    product, collection = lines(CHECKOUT / "requirements" / "product.in"), lines(COLLECTION / "requirements.txt")
    assert collection <= product  # extras too
    assert names(product - collection) == NOT_THE_COLLECTIONS


def test_L1_introspection_finds_the_collections_requirements() -> None:
    done = subprocess.run(
        [BIN / "ansible-builder", "introspect", "--sanitize", CHECKOUT / "collections"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = yaml.safe_load(done.stdout)
    assert {each.split("#")[0].strip() for each in found["python"]} == lines(COLLECTION / "requirements.txt")
    assert {each.split("#")[0].strip() for each in found["system"]} == {
        "git-core [platform:rpm]",
        "git [platform:dpkg]",
    }


@pytest.fixture(scope="module", name="context")
def _context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("context")
    command = [BIN / "ansible-builder", "create", "--file", DEFINITION, "--context", folder]
    # By itself it is named for the engine of this machine: Dockerfile where there is no podman.
    subprocess.run([*command, "--output-filename", "Containerfile"], check=True, capture_output=True)
    return folder


def test_L1_the_build_context_is_made_without_a_container_engine(context: Path) -> None:
    steps = (context / "Containerfile").read_text("utf-8")
    assert re.findall(r"^FROM (\S+)", steps, re.MULTILINE) == ["$EE_BASE_IMAGE", "base", "base", "base"]
    # Nothing that nobody has verified is a default: an image that resolves nowhere, Terraform by checksum alone.
    assert re.search(r'^ARG EE_BASE_IMAGE="[a-z.-]+\.invalid/[^"]*"$', steps, re.MULTILINE)
    assert "ARG TERRAFORM_SHA256\n" in steps and "sha256sum -c" in steps
    assert "latest" not in steps


def test_L1_versions_are_those_of_the_lock_and_collections_those_of_the_manifest() -> None:
    defined: dict[str, Any] = yaml.safe_load(DEFINITION.read_text("utf-8"))["dependencies"]
    locked = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (CHECKOUT / "requirements" / "product.txt").read_text(), re.M))
    for key, name in (("ansible_core", "ansible-core"), ("ansible_runner", "ansible-runner")):
        assert defined[key]["package_pip"] == f"{name}=={locked[name]}"
    own, *others = defined["galaxy"]["collections"]
    assert own == {"name": "/build/papyrus_ops", "type": "dir"}
    manifest = yaml.safe_load((COLLECTION / "galaxy.yml").read_text("utf-8"))
    assert {each["name"]: each["version"] for each in others} == manifest["dependencies"]
    assert set(defined["python"]) == NOT_THE_COLLECTIONS - {"ansible", "ansible-runner"}


def test_L1_the_collection_in_the_context_installs_and_brings_its_requirements(context: Path, tmp_path: Path) -> None:
    """As the galaxy stage does it, from a folder; then introspected as the builder stage does it."""
    wanted = tmp_path / "requirements.yml"
    entry = {"name": str(context / "_build" / "papyrus_ops"), "type": "dir"}
    wanted.write_text(yaml.safe_dump({"collections": [entry]}), "utf-8")
    subprocess.run(
        [BIN / "ansible-galaxy", "collection", "install", "--no-deps", "-r", wanted, "-p", tmp_path / "collections"],
        check=True, capture_output=True, cwd=tmp_path,
        env={"PATH": f"{BIN}:/usr/bin:/bin", "ANSIBLE_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    installed = tmp_path / "collections" / "ansible_collections" / "papyrus" / "ops"
    for name in ("requirements.txt", "bindep.txt", "meta/execution-environment.yml"):
        assert (installed / name).read_bytes() == (COLLECTION / name).read_bytes()
    assert not list(installed.rglob("__pycache__"))
