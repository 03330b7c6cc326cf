# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""H2: what the children of a run get to see: git and a version no credentials, Terraform those of AWS and no others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import git_facts, terraform_versions
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Stack
from ansible_collections.papyrus.ops.plugins.module_utils._run_stack import stage
from ansible_collections.papyrus.ops.plugins.module_utils._terraform import ProcessRunner, environment

SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "s3cret",
    "AWS_SESSION_TOKEN": "t0ken",
    "GITHUB_TOKEN": "ghp",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "jwt",
    "PGPASSWORD": "pw",
}
PROGRAM = """#!/bin/sh
env >"$(dirname "$0")/told"
echo '{said}'
"""


def program(folder: Path, name: str, said: str) -> Path:
    """A program that keeps its environment in the file `told` beside it."""
    path = folder / name
    path.write_text(PROGRAM.replace("{said}", said), "utf-8")
    path.chmod(0o755)
    return path


def told(folder: Path) -> set[str]:
    return {line.partition("=")[0] for line in (folder / "told").read_text("utf-8").splitlines()}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def test_H2_git_is_asked_without_anybodys_credentials(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(folder, "git", "c0ffee")
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "0")
    assert git_facts(str(folder)) == {"commit": "c0ffee", "dirty": True}
    assert not told(folder) & SECRETS.keys()
    assert {"PATH", "GIT_CONFIG_COUNT"} <= told(folder)


def test_H2_a_version_needs_no_credentials(folder: Path) -> None:
    said = json.dumps({"terraform_version": "1.9.5"})
    given = {"source": str(folder), "name_prefix": "p", "environment": {"TF_CLI_CONFIG_FILE": "rc"}}
    stack = Stack.of({"stack": {**given, "binary": str(program(folder, "terraform", said))}}, "p-abc234")
    assert terraform_versions(stack, os.environ)["terraform"] == "1.9.5"
    assert not told(folder) & SECRETS.keys()
    assert "TF_CLI_CONFIG_FILE" in told(folder)


def test_H2_terraform_has_the_credentials_of_aws_and_no_others(folder: Path) -> None:
    binary = program(folder, "terraform", "applied")
    runner = ProcessRunner()
    env = environment(os.environ, {})
    runner.run([str(binary), "apply"], cwd=folder, env=env, log=folder / "log", timeout=20)
    assert told(folder) & SECRETS.keys() == {name for name in SECRETS if name.startswith("AWS_")}
    for name in ("told", "log"):
        assert oct((folder / name).stat().st_mode & 0o777) == "0o600", name


def test_H2_the_runs_copy_of_a_stack_is_for_the_run_alone(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "templates").mkdir(parents=True)
    (source / "main.tf").write_text('variable "run_id" {}\nvariable "expires_at" {}\n', "utf-8")
    (source / "templates" / "a.json").write_text("{}", "utf-8")
    (tmp_path / "override.tf").write_text("", "utf-8")
    stack = Stack.of(
        {"stack": {"source": str(source), "name_prefix": "p", "override_files": [str(tmp_path / "override.tf")]}}, "p-a"
    )
    assert stack is not None
    stage(stack, tmp_path / "copy", "20261124T120000Z-abc234", "2026-11-24T13:00:00Z")
    modes = {
        str(path.relative_to(tmp_path)): oct(path.stat().st_mode & 0o777)
        for path in [tmp_path / "copy", *(tmp_path / "copy").rglob("*")]
    }
    assert len(modes) == 6
    assert set(modes.values()) == {"0o600", "0o700"}
    assert {name for name, mode in modes.items() if mode == "0o700"} == {"copy", "copy/templates"}
