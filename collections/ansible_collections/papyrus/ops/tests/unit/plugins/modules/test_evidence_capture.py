# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""evidence_capture as Ansible calls it: what it repeats at -vvv, in the system's log, and when it fails (J1)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.modules import evidence_capture
from evidence_check import check_chain

SECRET = "a sentence that nobody knows to be secret"
Call = Callable[..., dict[str, Any]]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle.create(tmp_path / "run", {})


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What goes to the log of the system."""
    lines: list[str] = []
    monkeypatch.setattr(AnsibleModule, "log", lambda self, msg, log_args=None: lines.append(f"{msg} {log_args}"))
    return lines


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], logged: list[str]) -> Call:
    """Runs main() as at -vvv and returns the JSON that it printed."""

    def run(check: bool = False, **arguments: Any) -> dict[str, Any]:
        given = {**arguments, "_ansible_check_mode": check, "_ansible_diff": True, "_ansible_remote_tmp": "/tmp"}
        given |= {"_ansible_inject_invocation": True, "_ansible_verbosity": 3}
        with patch_module_args(given), pytest.raises(SystemExit):
            evidence_capture.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def spec(**more: Any) -> dict[str, Any]:
    return {
        "name": "x.log", "step": "D1", "content": SECRET, "reason": SECRET, "meta": {"note": SECRET},
        "rows": [{"id": "D1", "status": "ok", "reason": SECRET}], **more,
    }  # fmt: skip


def without_lines(result: dict[str, Any]) -> str:
    """All of a result but the manifest lines, which have reasons and meta as they are in the bundle."""
    return json.dumps({key: value for key, value in result.items() if key != "captured"})


@pytest.mark.parametrize(
    ("items", "failed"),
    [
        ([spec()], False),
        ([spec(status="good")], True),
        ([spec(name="no/item")], True),
        ([spec(contents=SECRET)], True),
        ([spec(), SECRET], True),
        ([spec(step=None)], True),
        (SECRET, True),
        ({"name": SECRET}, True),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_J1_contents_are_nowhere_but_in_the_bundle(
    bundle: Bundle, call: Call, logged: list[str], items: Any, failed: bool, check: bool
) -> None:
    result = call(check=check, bundle=str(bundle.folder), items=items)
    if not (check and items == [spec(name="no/item")]):
        assert bool(result.get("failed")) == failed, result
    assert SECRET not in without_lines(result) and SECRET not in str(logged)
    assert "invocation" in result
    if not failed:
        assert result["invocation"]["module_args"]["items"] == [{"name": "x.log", "step": "D1"}]
        assert any("Invoked with x.log (D1)" in line for line in logged)
    check_chain(bundle.folder)


def test_J1_items_of_one_name_are_files_of_their_own(bundle: Bundle, call: Call) -> None:
    items = [{"name": "x.log", "step": "D1", "content": str(number)} for number in range(5)]
    result = call(bundle=str(bundle.folder), items=items, phase={"name": "probes", "event": "start"})
    assert [bundle.data(line) for line in result["captured"][1:]] == [b"0", b"1", b"2", b"3", b"4"]
    assert result["captured"] == bundle.lines()[1:] == check_chain(bundle.folder)[1:]


def test_J1_a_failure_says_what_came_before_it(bundle: Bundle, call: Call) -> None:
    items = [{"name": name, "step": "D1", "content": "x"} for name in ("first.log", "no/item", "third.log")]
    result = call(bundle=str(bundle.folder), items=items)
    assert result["failed"] and [line["name"] for line in result["captured"]] == ["first.log"]
    assert "the item name 'no/item' must be at most" in result["msg"] and str(bundle.folder) in result["msg"]
    assert [line["name"] for line in check_chain(bundle.folder)] == ["run.json", "first.log"]


def test_J1_failures_say_where_and_what_to_do(bundle: Bundle, call: Call, tmp_path: Path) -> None:
    items = [{"name": "x.log", "step": "D1", "content": "x"}]
    absent = call(bundle=str(tmp_path / "none"), items=items)
    assert absent["failed"] and "none/manifest.jsonl is not there: no run was opened in this folder" in absent["msg"]
    private = call(bundle=str(bundle.folder), private=str(tmp_path / "gone"), items=items)
    assert private["failed"] and "the run-private folder is gone" in private["msg"]
    source = call(bundle=str(bundle.folder), items=[{"name": "x.log", "step": "D1", "src": str(tmp_path / "gone.log")}])
    assert source["failed"] and f"x.log: there is no plain file {tmp_path / 'gone.log'}" in source["msg"]
    bundle.append("verdict.json", b"{}", status="ok", step="all")
    closed = call(bundle=str(bundle.folder), items=items)
    assert closed["failed"] and "belongs into another run" in closed["msg"] and closed["captured"] == []


def test_J1_a_file_is_captured_by_its_path(bundle: Bundle, call: Call, tmp_path: Path) -> None:
    (tmp_path / "apply.log").write_bytes(os.urandom(100) + b"\npassword=hunter22x\n")
    result = call(
        bundle=str(bundle.folder), items=[{"name": "a.log", "step": "C1", "src": str(tmp_path / "apply.log")}]
    )
    data = bundle.data(result["captured"][0])
    assert b"hunter22x" not in data and data[:100] == (tmp_path / "apply.log").read_bytes()[:100]
    check_chain(bundle.folder)
