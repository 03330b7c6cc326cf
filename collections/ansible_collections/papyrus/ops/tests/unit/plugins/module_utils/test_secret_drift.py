# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secret against database instance, and the login that proves it (B2)."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _db_login, _secret_drift
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._secret_drift import Drift, Question
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

ARN = "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-AbCdEf"
HOST = "papyrus-prd.abc.us-west-2.rds.amazonaws.com"
PASSWORD = "p@ss 'w\"ord/ä"
GOOD = {"host": HOST, "port": 5432, "dbname": "papyrus", "username": "papyrus_app", "password": PASSWORD}
INSTANCE: dict[str, Any] = {
    "DBInstanceIdentifier": "papyrus-prd",
    "MasterUsername": "master",
    "DBName": "papyrus",
    "Endpoint": {"Address": HOST, "Port": 5432},
}
ASKED = Question("papyrus/prd/db", "papyrus-prd", "papyrus_app")


class Logins:
    """Stands for the login; remembers whom it was asked to log in."""

    def __init__(self, result: _db_login.LoginResult | None = None) -> None:
        facts = {"user": "papyrus_app", "database": "papyrus", "ssl": True, "tls_version": "TLSv1.3"}
        self.result = result or _db_login.LoginResult(True, "papyrus_app in papyrus over TLSv1.3", facts)
        self.asked: list[_db_login.Login] = []

    def __call__(self, who: _db_login.Login) -> _db_login.LoginResult:
        self.asked.append(who)
        return self.result


def check(
    secret: dict[str, Any] | str | None = None,
    instance: dict[str, Any] | None = None,
    question: Question = ASKED,
    logins: Logins | None = None,
    **answers: Any,
) -> Drift:
    text = secret if isinstance(secret, str) else json.dumps(GOOD if secret is None else secret)
    aws = FakeAws(
        {
            "secretsmanager.get_secret_value": {"ARN": ARN, "Name": "papyrus/prd/db", "SecretString": text},
            "rds.describe_db_instances": {"DBInstances": [instance or INSTANCE]},
            **answers,
        }
    )
    return _secret_drift.check(Calls(aws), question, logins or Logins())


def statuses(drift: Drift) -> dict[str, str]:
    return {row.id: row.status for row in drift.rows}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def test_B2_a_secret_that_fits_is_ok_in_every_row_and_shows_no_password() -> None:
    drift = check()
    assert statuses(drift) == dict.fromkeys(("secret", "host", "port", "dbname", "username", "password", "login"), "ok")
    shown = json.dumps([row.as_dict() for row in drift.rows]) + json.dumps(drift.facts) + repr(drift)
    assert PASSWORD not in shown
    assert json.dumps(PASSWORD)[1:-1] not in shown


@pytest.mark.parametrize(
    ("key", "value"), [("host", "127.0.0.9"), ("port", 5433), ("dbname", "elsewhere"), ("username", "somebody")]
)
def test_B2_each_drifted_key_is_named_with_both_values(key: str, value: Any) -> None:
    drift = check({**GOOD, key: value})
    assert drift.failed[0] == key
    row = next(row for row in drift.rows if row.id == key)
    assert repr(value) in row.reason
    assert repr(GOOD[key]) in row.reason


@pytest.mark.parametrize("key", ["host", "port", "username"])
def test_B2_the_password_goes_nowhere_when_the_secret_points_elsewhere(key: str) -> None:
    logins = Logins()
    drift = check({**GOOD, key: "elsewhere"}, logins=logins)
    assert logins.asked == []
    assert statuses(drift)["login"] == "ng"


def test_B2_both_spellings_of_the_database_are_read() -> None:
    drift = check({**without("dbname"), "database": "papyrus"})
    assert drift.failed == []
    contradiction = check({**GOOD, "database": "other"})
    assert contradiction.failed == ["dbname"]


@pytest.mark.parametrize("port", ["5432", " 5432 "])
def test_B2_a_port_written_as_text_is_the_same_port(port: str) -> None:
    assert check({**GOOD, "port": port}).failed == []


@pytest.mark.parametrize("port", [True, None, 5432.5, [5432]])
def test_B2_a_port_of_another_type_is_not(port: Any) -> None:
    assert "port" in check({**GOOD, "port": port}).failed


def test_B2_the_host_is_compared_as_a_name() -> None:
    assert check({**GOOD, "host": HOST.upper() + "."}).failed == []


@pytest.mark.parametrize("key", ["host", "port", "dbname", "username", "password"])
def test_B2_a_missing_key_is_ng(key: str) -> None:
    assert key in check(without(key)).failed


def test_B2_keys_that_rds_leaves_out_of_its_own_secret_are_skipped_and_the_login_uses_the_instance() -> None:
    logins = Logins()
    own = {**INSTANCE, "MasterUserSecret": {"SecretArn": ARN}}
    question = Question("papyrus/prd/db", "papyrus-prd", "master")
    drift = check({"username": "master", "password": PASSWORD}, own, question, logins)
    assert {key: statuses(drift)[key] for key in ("host", "port", "dbname")} == dict.fromkeys(
        ("host", "port", "dbname"), "skip"
    )
    assert "RDS manages" in next(row.reason for row in drift.rows if row.id == "host")
    assert drift.failed == []
    assert logins.asked == [_db_login.Login(HOST, 5432, "papyrus", "master", PASSWORD)]


def test_B2_a_database_that_rds_does_not_report_is_proved_by_the_login() -> None:
    instance = {key: value for key, value in INSTANCE.items() if key != "DBName"}
    assert statuses(check(instance=instance))["dbname"] == "ok"
    refused = Logins(_db_login.LoginResult(False, 'database "papyrus" does not exist'))
    drift = check(instance=instance, logins=refused)
    assert statuses(drift)["dbname"] == "skip"
    assert drift.failed == ["login"]


def test_B2_without_a_login_password_and_unreported_database_stay_unproved() -> None:
    drift = check(question=Question("papyrus/prd/db", "papyrus-prd", "papyrus_app", login="none"))
    assert statuses(drift)["login"] == "skip"
    assert drift.failed == []


@pytest.mark.parametrize("text", ["host=db password=hush-hush", "", "[]", '"text"', "null"])
def test_B2_a_secret_that_is_no_json_object_is_named_without_its_content(text: str) -> None:
    drift = check(text)
    assert drift.failed == ["secret"]
    assert "hush" not in drift.rows[0].reason
    assert "JSON" in drift.rows[0].reason


def test_B2_a_binary_secret_is_named() -> None:
    drift = check(**{"secretsmanager.get_secret_value": {"ARN": ARN, "SecretBinary": b"\x00"}})
    assert "binary" in drift.rows[0].reason


def refuse(code: str, message: str) -> Any:
    def answer(sent: object) -> Any:
        raise Refusal(code, message)

    return answer


def test_B2_a_missing_secret_is_ng_not_a_crash() -> None:
    gone = refuse("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
    drift = check(**{"secretsmanager.get_secret_value": gone})
    assert drift.failed == ["secret"]
    assert "papyrus/prd/db does not exist" in drift.rows[0].reason


def test_B2_a_deleted_secret_says_since_when_and_how_to_get_it_back() -> None:
    deleted = refuse("InvalidRequestException", "secret was marked for deletion.")
    described = {"DeletedDate": dt.datetime(2026, 1, 30, 8, tzinfo=dt.UTC)}
    drift = check(**{"secretsmanager.get_secret_value": deleted, "secretsmanager.describe_secret": described})
    assert "2026-01-30T08:00:00Z" in drift.rows[0].reason
    assert "restore-secret" in drift.rows[0].reason


def test_B2_a_denied_secret_is_an_aws_failure_with_the_call() -> None:
    denied = refuse("AccessDeniedException", "not authorized")
    with pytest.raises(AwsFailure, match="secretsmanager:GetSecretValue on secret papyrus/prd/db"):
        check(**{"secretsmanager.get_secret_value": denied})


def test_B2_the_password_is_registered_before_the_login() -> None:
    order: list[str] = []

    def login(who: _db_login.Login) -> _db_login.LoginResult:
        order.append("login")
        return _db_login.LoginResult(True, "x", {"database": "papyrus"})

    aws = FakeAws({"secretsmanager.get_secret_value": {"ARN": ARN, "SecretString": json.dumps(GOOD)}})
    _secret_drift.check(Calls(aws), ASKED, login, register=order.append, instance=INSTANCE)
    assert order == [PASSWORD, "login"]
    assert aws.names == ["secretsmanager.get_secret_value"]


# The login itself


class Connection:
    def __init__(self, ssl: bool = True, used_password: bool = True) -> None:
        self.row = (1, "papyrus_app", "papyrus", ssl, "TLSv1.3" if ssl else None, "TLS_AES_256_GCM_SHA384")
        self.pgconn = type("pgconn", (), {"used_password": used_password})
        self.info = type("info", (), {"server_version": 160004})

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *args: object) -> None:
        return None

    def execute(self, statement: str) -> Connection:
        assert "pg_stat_ssl" in statement
        return self

    def fetchone(self) -> Any:
        return self.row


WHO = _db_login.Login(HOST, 5432, "papyrus", "papyrus_app", PASSWORD)
OVER = _db_login.Transport(ca_file="ca.pem", hostaddr="127.0.0.1")


def test_B2_the_login_verifies_the_servers_certificate_and_has_time_limits() -> None:
    sent: dict[str, Any] = {}

    def connect(**options: Any) -> Connection:
        sent.update(options)
        return Connection()

    result = _db_login.login(WHO, OVER, connect)
    assert result.ok
    assert result.facts["ssl"] is True
    assert (sent["sslmode"], sent["sslrootcert"], sent["host"], sent["hostaddr"]) == (
        "verify-full",
        "ca.pem",
        HOST,
        "127.0.0.1",
    )
    assert (sent["connect_timeout"], sent["options"]) == (15, "-c statement_timeout=15000")


@pytest.mark.parametrize(
    ("connection", "words"),
    [(Connection(ssl=False), "not encrypted"), (Connection(used_password=False), "without asking for the password")],
)
def test_B2_a_login_that_proves_nothing_is_ng(connection: Connection, words: str) -> None:
    result = _db_login.login(WHO, OVER, lambda **options: connection)
    assert not result.ok
    assert words in result.reason


@pytest.mark.parametrize("spell", [str, repr, json.dumps, lambda p: f"postgres://u:{p}@h"])
def test_B2_errors_of_the_driver_lose_the_password(spell: Any) -> None:
    def connect(**options: Any) -> Connection:
        raise OSError(f"connection failed: {spell(options['password'])} password authentication failed\nfor user")

    result = _db_login.login(WHO, OVER, connect, errors=(OSError,))
    assert not result.ok
    assert PASSWORD not in result.reason
    assert "\n" not in result.reason
    assert "correct the secret" in result.reason


def test_B2_without_a_ca_file_nothing_is_sent() -> None:
    result = _db_login.login(WHO, _db_login.Transport(), lambda **options: pytest.fail("connected"))
    assert "ca_file" in result.reason


def test_B2_a_login_is_shown_without_its_password() -> None:
    assert PASSWORD not in repr(WHO)
