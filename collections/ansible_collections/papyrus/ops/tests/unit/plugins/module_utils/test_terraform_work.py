# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The private copy of a stack: complete, private, without leftovers of an older one (C2, H1)."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._terraform_work import StackUnusable, Work


@pytest.fixture
def work(tmp_path: Path) -> Work:
    source = tmp_path / "source"
    source.mkdir()
    (source / "main.tf").write_text("# main\n")
    (source / "README.md").write_text("for people\n")
    override = tmp_path / "local_override.tf"
    override.write_text("# override\n")
    home = tmp_path / "home"
    return Work(source, home / "work", home / "terraform.tfstate", [override], {"name": "x", "zones": ["a", "b"]})


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.is_file()}


def test_copy_is_complete_and_private(work: Work) -> None:
    work.make()
    names = {path.name for path in work.folder.iterdir()}
    assert names == {"main.tf", "local_override.tf", "backend.tf.json", "stack.auto.tfvars.json"}
    assert json.loads((work.folder / "stack.auto.tfvars.json").read_text()) == {"name": "x", "zones": ["a", "b"]}
    backend = json.loads((work.folder / "backend.tf.json").read_text())
    assert backend == {"terraform": {"backend": {"local": {"path": str(work.state)}}}}
    assert modes(work.folder) == {0o600}
    assert stat.S_IMODE(work.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(work.state.parent.stat().st_mode) == 0o700


def test_state_and_backup_are_private_before_terraform_writes_them(work: Work) -> None:
    work.make()
    assert modes(work.state.parent) == {0o600}
    work.state.write_text("{}")
    work.state.chmod(0o644)
    work.make()
    assert work.state.read_text() == "{}"
    assert modes(work.state.parent) == {0o600}


def test_second_time_changes_nothing(work: Work) -> None:
    assert work.make()
    assert work.make() == []


def test_prediction_names_what_would_change_and_changes_nothing(work: Work) -> None:
    assert "main.tf" in work.differences()
    assert not work.folder.exists()
    work.make()
    assert replace(work, variables={"name": "y"}).differences() == ["stack.auto.tfvars.json"]


def test_files_of_an_older_stack_go_and_variables_of_others_stay(work: Work) -> None:
    work.make()
    (work.folder / "renamed.tf").write_text("# old\n")
    (work.folder / "old_override.tf.json").write_text("{}")
    (work.folder / "master.auto.tfvars.json").write_text("{}")
    assert work.make() == ["old_override.tf.json", "renamed.tf"]
    assert (work.folder / "master.auto.tfvars.json").exists()


def test_remote_backend_leaves_no_local_state(work: Work) -> None:
    remote = replace(work, backend={"s3": {"bucket": "b", "key": "k"}})
    remote.make()
    backend = json.loads((work.folder / "backend.tf.json").read_text())
    assert backend == {"terraform": {"backend": {"s3": {"bucket": "b", "key": "k"}}}}
    assert not work.state.exists()


def test_folder_without_terraform_is_refused_before_anything_is_made(work: Work) -> None:
    (work.source / "main.tf").unlink()
    with pytest.raises(StackUnusable, match="no \\*.tf file"):
        work.make()
    assert not work.folder.exists()


def test_two_backends_are_refused(work: Work) -> None:
    with pytest.raises(StackUnusable, match="one backend, not local, s3"):
        replace(work, backend={"s3": {}, "local": {}}).make()
