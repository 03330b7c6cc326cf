# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The JSON secret: what is written, what is kept, what never shows (H1, B2)."""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any

import boto3
import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _secret_json
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from botocore.stub import Stubber

ARN = "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-AbCdEf"
VERSION = "3f0c9a52-4d0e-4b6b-8a57-b0f6d1a3d2c1"


class Stubbed:
    """Calls of a stubbed client; `sent` keeps every request's parameters by operation."""

    def __init__(self) -> None:
        self.client = boto3.client(
            "secretsmanager", region_name="us-west-2", aws_access_key_id="test", aws_secret_access_key="test"
        )
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.client.meta.events.register("provide-client-params.secretsmanager.*", self._remember)
        self.stubber = Stubber(self.client)
        self.stubber.activate()

    def _remember(self, params: dict[str, Any], model: Any, **_rest: Any) -> None:
        self.sent.append((model.name, params))

    def secret(self, value: str | None, **described: Any) -> Stubbed:
        stages = {VERSION: ["AWSCURRENT"]} if value is not None else {}
        self.stubber.add_response("describe_secret", {"ARN": ARN, "VersionIdsToStages": stages, **described})
        if value is not None and "DeletedDate" not in described:
            self.stubber.add_response("get_secret_value", {"ARN": ARN, "VersionId": VERSION, "SecretString": value})
        return self

    def missing(self) -> Stubbed:
        self.stubber.add_client_error("describe_secret", "ResourceNotFoundException", "not found", 400)
        return self

    def written(self, operation: str) -> Stubbed:
        self.stubber.add_response(operation, {"ARN": ARN, "Name": "papyrus/prd/db", "VersionId": VERSION})
        return self

    def keep(self, check: bool = False, **wanted: Any) -> _secret_json.Kept:
        calls = Calls(lambda service: self.client)
        kept = _secret_json.keep(calls, _secret_json.Wanted("papyrus/prd/db", **wanted), check=check)
        self.stubber.assert_no_pending_responses()
        return kept


def test_generated_passwords_differ_and_hold_what_rds_allows() -> None:
    passwords = {_secret_json.generate_password() for _attempt in range(50)}
    assert len(passwords) == 50
    assert all(re.fullmatch(r"[A-Za-z][A-Za-z0-9]{31}", password) for password in passwords)


def test_container_without_value_gets_a_first_version() -> None:
    stubbed = Stubbed().secret(None).written("put_secret_value")
    kept = stubbed.keep(values={"host": "db"}, generate=["password"])
    operation, sent = stubbed.sent[-1]
    assert operation == "PutSecretValue"
    document = json.loads(sent["SecretString"])
    assert document == {"host": "db", "password": kept.document["password"]}
    assert kept.changes == {"host": "added", "password": "generated"}
    assert kept.version_id == VERSION


def test_existing_password_and_foreign_keys_stay() -> None:
    stubbed = Stubbed().secret('{"host": "old", "password": "kept-password", "other": 1}').written("put_secret_value")
    kept = stubbed.keep(values={"host": "new"}, generate=["password"])
    assert json.loads(stubbed.sent[-1][1]["SecretString"]) == {"host": "new", "password": "kept-password", "other": 1}
    assert kept.changes == {"host": "changed"}


def test_nothing_is_written_when_nothing_changes() -> None:
    stubbed = Stubbed().secret('{"host": "db", "password": "kept-password"}')
    kept = stubbed.keep(values={"host": "db"}, generate=["password"])
    assert [operation for operation, _parameters in stubbed.sent] == ["DescribeSecret", "GetSecretValue"]
    assert kept.changes == {}


def test_check_mode_predicts_and_writes_nothing() -> None:
    stubbed = Stubbed().missing()
    kept = stubbed.keep(check=True, values={"host": "db"}, generate=["password"], create=True)
    assert [operation for operation, _parameters in stubbed.sent] == ["DescribeSecret"]
    assert kept.created
    assert kept.changes == {"host": "added", "password": "generated"}


def test_missing_secret_is_made_only_when_asked() -> None:
    stubbed = Stubbed().missing().written("create_secret")
    assert stubbed.keep(generate=["password"], create=True, description="d").created
    assert stubbed.sent[-1][0] == "CreateSecret"
    with pytest.raises(_secret_json.SecretUnusable, match="does not exist"):
        Stubbed().missing().keep(generate=["password"])


def test_deleted_secret_says_how_to_bring_it_back() -> None:
    with pytest.raises(_secret_json.SecretUnusable, match="restore-secret --secret-id papyrus/prd/db"):
        Stubbed().secret("{}", DeletedDate=1).keep()


@pytest.mark.parametrize("value", ["not json, but secret-text", '["secret-text"]'])
def test_other_value_is_neither_overwritten_nor_shown(value: str) -> None:
    stubbed = Stubbed().secret(value)
    with pytest.raises(_secret_json.SecretUnusable, match="not a JSON object") as raised:
        stubbed.keep(values={"host": "db"})
    assert "secret-text" not in str(raised.value)


def test_export_is_private_and_written_once(tmp_path: Path) -> None:
    target = tmp_path / "master.auto.tfvars.json"
    names = {"password": "master_password"}
    document = {"password": "first", "username": "u"}
    assert _secret_json.export(document, target, names, check=True)
    assert not target.exists()
    assert _secret_json.export(document, target, names)
    assert json.loads(target.read_text()) == {"master_password": "first"}
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert not _secret_json.export(document, target, names)
    target.chmod(0o644)
    assert _secret_json.export(document, target, names)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_export_of_a_key_that_is_not_there_names_it(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="absent"):
        _secret_json.export({}, tmp_path / "file", {"absent": "x"})
