# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module run_addendum_info as Ansible runs it (K1, N4)."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws
from ansible_collections.papyrus.ops.plugins.modules import run_addendum_info
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal
from ansible_collections.papyrus.ops.tests.unit.sealed_bundles import NOON, Key, make_key, sealed_bundle, write

IDENTITY = {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/auditor", "UserId": "A"}


@pytest.fixture(name="key", scope="module")
def _key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return make_key(tmp_path_factory.mktemp("key"))


@pytest.fixture(name="bundle")
def _bundle(tmp_path: Path, key: Key) -> Path:
    return sealed_bundle(tmp_path / "runs", random.Random(7), key, image=True, crash="", good=True)


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: Key) -> Any:
    monkeypatch.setenv("AWS_REGION", "us-west-2")

    def run(bundle: Path, answers: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_aws, "module_clients", lambda module: FakeAws(answers or {}))
        monkeypatch.setattr(run_addendum_info, "utc_now", lambda: NOON + dt.timedelta(hours=1))
        given = {"bundle": str(bundle), "keys": [str(key.public)], **options}
        with patch_module_args(given), pytest.raises(SystemExit):
            run_addendum_info.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


def test_K1_what_to_export_is_said_without_asking_aws(run: Any, bundle: Path) -> None:
    result = run(bundle)
    assert result["first"]["run_id"] == bundle.name == result["text"][0]
    assert result["start"] < result["end"] < result["settled_at"] and "addendum" not in result
    assert {len(result["first"][f"{part}_sha256"]) for part in ("run", "manifest", "attestation")} == {64}


def test_N4_a_bundle_that_was_changed_is_refused(run: Any, bundle: Path, tmp_path: Path) -> None:
    write(next(bundle.glob("*_binding.json")), b"{}")
    result = run(bundle, records=[str(tmp_path / "x.gz")])
    assert (result["failed"], result["step"]) == (True, "N4")
    assert "is not as it was sealed (tampered)" in result["msg"]


def test_N4_nobody_is_trusted_unasked(run: Any, bundle: Path) -> None:
    result = run(bundle, keys=None)
    assert result["failed"] and "wrong-key" in result["msg"] and "no public key was given" in result["msg"]


def test_K1_records_are_judged_and_the_first_bundle_is_named_by_its_hashes(
    run: Any, bundle: Path, tmp_path: Path
) -> None:
    records = tmp_path / "run.jsonl.gz"
    records.write_bytes(gzip.compress(b""))
    addendum = run(bundle, {"sts.get_caller_identity": IDENTITY}, records=[str(records)])["addendum"]
    assert [row["id"] for row in addendum["rows"]] == ["N4", "K1"]
    assert addendum["of"]["run_id"] == bundle.name and addendum["records"] == 0


@pytest.mark.parametrize(
    "data", [b"no gzip", gzip.compress(b"{}\n" * 1000)[:-20], None], ids=["no gzip", "cut off", "no file"]
)
def test_K1_records_that_cannot_be_read_are_no_records(run: Any, bundle: Path, tmp_path: Path, data: Any) -> None:
    records = tmp_path / "run.jsonl.gz"
    if data is not None:
        records.write_bytes(data)
    result = run(bundle, {"sts.get_caller_identity": IDENTITY}, records=[str(records)])
    assert (result["failed"], result["step"]) == (True, "K1")
    assert result["msg"].startswith("the records cannot be judged: ")


def test_K1_who_may_not_ask_who_he_is_is_told_so(run: Any, bundle: Path, tmp_path: Path) -> None:
    def refuse(sent: Any) -> Any:
        raise Refusal("AccessDenied")

    result = run(bundle, {"sts.get_caller_identity": refuse}, records=[])
    assert result["failed"] and "sts:GetCallerIdentity" in result["msg"]
