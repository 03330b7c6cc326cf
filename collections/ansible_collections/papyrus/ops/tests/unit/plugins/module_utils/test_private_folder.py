# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The run-private folder, with key and known secrets in it, is gone after the rarer ends too (J1, Redaction).

Signals, a killed guard and a seal that fails are in test_guard.py and test_run_sealed.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _run_close, _run_open
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import BundleError
from ansible_collections.papyrus.ops.plugins.module_utils._guard import Guard
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import Process, process
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import FolderLedger
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._run_close import CloseError, close_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import OpenError, open_run
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Settings

FACTS = {"git": {"commit": "c0" * 20, "dirty": False}}
SECRET = "wJalrXUtnFEMI/K7MDENG"


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "x"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def opened(tmp_path: Path, controller: Process | None = None, **more: Any) -> dict[str, Any]:
    options = {
        "evidence_root": str(tmp_path / "runs"), "ledger": str(tmp_path / "ledger"), "service": "svc",
        "tag_prefix": "papyrus", "lease_minutes": 60, "start_guard": False, "region": "us-west-2",
    }  # fmt: skip
    environ = {"PATH": os.environ["PATH"], "AWS_SECRET_ACCESS_KEY": SECRET}
    return open_run({**options, **more}, FACTS, controller=controller, environ=environ)


def ended_process() -> Process:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = process(child.pid)
        child.communicate(b"\n")
    assert found is not None
    return found


def refuse(*_arguments: Any, **_options: Any) -> Any:
    raise BundleError(f"disk full beside {SECRET}")


def test_J1_a_bundle_that_cannot_be_begun(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_run_open.Bundle, "create", refuse)
    with pytest.raises(BundleError):
        opened(tmp_path)
    assert not list(root.iterdir())


def test_J1_a_run_that_cannot_be_opened_says_why_without_its_secrets(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderLedger, "open", refuse)
    with pytest.raises(
        OpenError, match="the run could not be opened: disk full beside .redacted:aws-secret-key:"
    ) as said:
        opened(tmp_path)
    assert SECRET not in str(said.value)
    assert said.value.__cause__ is None and said.value.__suppress_context__
    assert not list(root.iterdir())


def test_J1_a_verdict_that_cannot_be_written(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = opened(tmp_path)
    monkeypatch.setattr(_run_close, "finish", refuse)
    with pytest.raises(CloseError, match="the verdict could not be written"):
        close_run(run, {}, [])
    assert not list(root.iterdir())


def guarded(tmp_path: Path, controller: Process, said: list[str]) -> Guard:
    run = opened(tmp_path, controller)
    return Guard(Settings.load(run["private"]), log=said.append)


def test_J1_a_guard_that_fails_in_the_teardown(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = guarded(tmp_path, ended_process(), [])
    monkeypatch.setattr(guard, "_tear_down", refuse)
    with pytest.raises(BundleError):
        guard.run()
    assert not list(root.iterdir())


def test_C6_a_fault_in_the_destroy_is_said_and_stops_neither_verdict_nor_seal(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    guard = guarded(tmp_path, ended_process(), said)
    monkeypatch.setattr(guard, "_destroy_everything", refuse)
    assert guard.run() == 0
    assert "ended FAILED" in said[-1] and "LEFT BEHIND" in said[-1]
    assert f"papyrus_sweep_run_ids={guard.settings.run_id}" in said[-1]
    assert not list(root.iterdir())


def test_C6_what_the_guard_tells_the_terminal_has_no_secret(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def left() -> Mapping[str, Any]:
        Redactor.register(next(root.iterdir()), "db-password", "hunter22-of-the-db")  # read meanwhile
        return {"gone": False, "error": f"AccessDenied for hunter22-of-the-db and {SECRET}", "by_hand": []}

    guard = guarded(tmp_path, ended_process(), said)
    monkeypatch.setattr(guard, "_destroy_everything", left)
    assert guard.run() == 0
    last = said[-1]
    assert (
        "LEFT BEHIND: " in last
        and "(AccessDenied for [redacted:db-password:" in last
        and "[redacted:aws-secret-key:" in last
    )
    assert not any(SECRET in text or "hunter22-of" in text for text in said)
    assert not list(root.iterdir())


def test_J1_a_guard_that_is_told_that_the_run_is_closed(tmp_path: Path, root: Path) -> None:
    own = process(os.getpid())
    assert own is not None
    guard = guarded(tmp_path, own, [])
    guard.handle({"op": "close"})
    assert guard.run() == 0
    assert not list(root.iterdir())
