# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""evidence_verify as Ansible calls it: what fails, what is returned, what the documentation promises (N4, J1)."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.modules import evidence_verify
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import Key, make_key, sealed_bundle


@pytest.fixture(autouse=True)
def not_for_keeping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def key(tmp_path: Path) -> Key:
    return make_key(tmp_path / "key")


@pytest.fixture
def folder(tmp_path: Path, key: Key) -> Path:
    return sealed_bundle(tmp_path / "runs", random.Random(7), key, image=True, crash="", good=True)


def call(capsys: pytest.CaptureFixture[str], check: bool = False, **arguments: Any) -> dict[str, Any]:
    given = {**arguments, "_ansible_check_mode": check, "_ansible_remote_tmp": "/tmp"}
    with patch_module_args(given), pytest.raises(SystemExit):
        evidence_verify.main()
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


@pytest.mark.parametrize("check", [False, True])
def test_N4_an_intact_bundle_passes(folder: Path, key: Key, capsys: pytest.CaptureFixture[str], check: bool) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    result = call(capsys, check, bundles=[str(folder)], keys=[str(key.public)], require_results=["PASSED"])
    assert (result["changed"], result["result"], result["exit_code"]) == (False, "ok", 0) and "failed" not in result
    assert result["text"].startswith(f"OK  {folder.name} is as it was sealed. The run PASSED.")
    assert result["bundles"][0]["signature"]["keyid"] == key.trusted.keyid
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_N4_anything_else_fails_unless_it_is_accepted(
    folder: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "report.html").unlink()
    asked = {"bundles": [str(folder)], "keys": [str(key.public)]}
    result = call(capsys, **asked)
    assert result["failed"] and result["step"] == "J1"
    assert result["msg"] == f"tampered: {folder.name}: missing report.html is not there"
    assert result["bundles"][0]["findings"][0]["class"] == "missing"
    assert "failed" not in call(capsys, **asked, accept=["ok", "tampered"])
    assert call(capsys, **asked, accept=["incomplete"])["failed"]
    result = call(capsys, bundles=[str(folder / "gone")], keys=[str(key.public)])
    assert result["failed"] and result["msg"].startswith("unknown: ") and "No such file" in result["msg"]


def test_N4_a_wrong_question_verifies_nothing(folder: Path, key: Key, capsys: pytest.CaptureFixture[str]) -> None:
    for asked, why in (
        ({"bundles": [str(folder)]}, "Nothing was verified: no public key is given"),
        ({"keys": [str(key.public)]}, "no bundle is given"),
        ({"bundles": [str(folder)], "identity": "x"}, "identity, issuer"),
        ({"bundles": [str(folder)], "keys": [str(key.path)]}, "this is a private key"),
    ):
        result = call(capsys, **asked)
        assert result["failed"] and why in result["msg"] and "bundles" not in result


def test_N4_a_package_that_is_not_there_is_named(
    folder: Path, key: Key, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_verify, "RFC8785_IMPORT_ERROR", ImportError("no module rfc8785"))
    result = call(capsys, bundles=[str(folder)], keys=[str(key.public)])
    assert result["failed"] and "rfc8785" in result["msg"]


def test_N4_everything_that_is_returned_is_documented(
    folder: Path, key: Key, capsys: pytest.CaptureFixture[str]
) -> None:
    documented = yaml.safe_load(evidence_verify.RETURN)
    result = call(capsys, bundles=[str(folder)], keys=[str(key.public)])
    assert set(result) - {"changed", "invocation"} == set(documented)
    assert set(result["bundles"][0]) == set(documented["bundles"]["contains"])
    options = yaml.safe_load(evidence_verify.DOCUMENTATION)["options"]
    assert set(options) == set(evidence_verify.ARGUMENTS)
