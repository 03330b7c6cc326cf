# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""doctor_info as Ansible runs it: what it emits, in check mode too, and nothing of a secret (N6)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _aws, _db_login
from ansible_collections.papyrus.ops.plugins.modules import doctor_info
from ansible_collections.papyrus.ops.tests.unit import doctor_stand as stand
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws
from ansible_collections.papyrus.ops.tests.unit.preflight_stand import PASSWORD

OPTIONS: dict[str, Any] = {
    "account_id": "123456789012",
    "expected_region": "us-west-2",
    "cluster": "papyrus-ecs-prd",
    "service": "papyrus-task-service",
    "container": "app",
    "secret_id": "papyrus/prd/db",
    "db_instance": "papyrus-prd",
    "db_username_rule": "papyrus_app",
    "vpc_id": "vpc-1",
    "tasks_sg_id": "sg-task",
    "alb_subnet_ids": ["subnet-a", "subnet-b"],
    "alb_ingress_cidrs": ["203.0.113.7/32"],
    "terraform_binary": "true",
    "repository": "papyrus",
    "timeout": 600,
}


@pytest.fixture(name="run")
def _run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret-key")

    def login(who: _db_login.Login, transport: _db_login.Transport) -> _db_login.LoginResult:
        return _db_login.LoginResult(False, f"a driver that says {who.password}")

    monkeypatch.setattr(_db_login, "login", login)

    def run(aws: FakeAws, check: bool = False, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(_aws, "module_clients", lambda wanted, **config: aws)
        with patch_module_args({**OPTIONS, **options, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            doctor_info.main()
        emitted: dict[str, Any] = json.loads(capsys.readouterr().out)
        return emitted

    return run


@pytest.mark.parametrize("check", [False, True])
def test_N6_the_module_tells_everything_and_fails_for_nothing(run: Any, check: bool) -> None:
    aws = stand.aws()
    result = run(aws, check)
    assert "failed" not in result and result["changed"] is False
    assert result["failed_rows"] == ["B11", "B2"]  # `true` is no Terraform, and the login fails
    assert result["counts"] == {"ok": len(result["rows"]) - 3, "warn": 0, "ng": 2, "skip": 1}
    assert result["next"] == result["table"].splitlines()[-1] == "2 things to mend first: B11, B2"
    assert result["markdown"].startswith("# doctor\n")
    assert PASSWORD not in json.dumps(result)
    assert not [name for name in aws.names if name.partition(".")[2].partition("_")[0] not in
                ("describe", "get", "list", "simulate")]  # fmt: skip


def test_B10_another_account_is_one_row(run: Any) -> None:
    aws = stand.aws()
    result = run(aws, account_id="999999999999")
    assert [row["id"] for row in result["rows"]] == ["B10"]
    assert aws.names == ["sts.get_caller_identity"]
    assert result["next"].startswith("not this account")


def test_N6_a_playbook_that_no_runner_has_is_refused(run: Any) -> None:
    assert "must be one or more of" in run(stand.aws(), must=["stacks"])["msg"]


def test_N6_doctor_cannot_begin_with_a_profile_that_is_not_there(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    result = run(stand.aws(), profile="nobody-has-this")
    assert result["failed"] is True
    assert "doctor cannot begin" in result["msg"]
