# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares a database secret with its RDS instance, key by key, and proves the password by a login (B2)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from . import _aws
from ._calls import Calls
from ._db_login import Login, LoginResult
from ._rows import Row, json_safe

DBNAME_KEYS = ("dbname", "database")
"""Both spellings in use: RDS' own secrets say `dbname`, much software says `database`."""

MASTER = "master"

TITLES = {
    "secret": "Secret is there and is JSON",
    "host": "Secret's host is the instance's endpoint",
    "port": "Secret's port is the instance's port",
    "dbname": "Secret's database is the instance's",
    "username": "Secret's username is the expected one",
    "password": "Secret has a password",
    "login": "Login with the secret over TLS",
}


@dataclass(frozen=True)
class Question:
    """What to compare. `username_rule` is `master` or the name of a role; `dbname` when the inventory knows it."""

    secret_id: str
    db_instance: str
    username_rule: str = MASTER
    dbname: str | None = None
    login: Literal["direct", "exec", "none"] = "direct"


@dataclass
class Drift:
    """Rows by key; `facts` carries what may be shown: never the password."""

    rows: list[Row] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def failed(self) -> list[str]:
        return [row.id for row in self.rows if row.status == "ng"]


class SecretProblem(Exception):
    """The secret cannot be used at all; the text says why and what to do."""


def read_secret(calls: Calls, secret_id: str) -> dict[str, Any]:
    """GetSecretValue's answer. SecretProblem for a secret that is missing, deleted or without a readable version."""
    try:
        answer = calls.call("secretsmanager", "get_secret_value", f"secret {secret_id}", SecretId=secret_id)
    except _aws.AwsFailure as exc:
        if _aws.is_missing(exc) or exc.code == "ResourceNotFoundException":
            raise SecretProblem(
                f"secret {secret_id} does not exist in this region, or has no current version ({exc.message}); "
                "create it or correct its name"
            ) from exc
        if exc.code == "InvalidRequestException" and "delet" in exc.message.lower():
            raise SecretProblem(f"secret {secret_id} is scheduled for deletion{_deleted_on(calls, secret_id)}") from exc
        raise
    return dict(answer)


def _deleted_on(calls: Calls, secret_id: str) -> str:
    advice = f": 'aws secretsmanager restore-secret --secret-id {secret_id}' brings it back"
    try:
        described = calls.call("secretsmanager", "describe_secret", f"secret {secret_id}", SecretId=secret_id)
    except _aws.AwsFailure:
        return advice
    date = described.get("DeletedDate")
    return f" (deleted {json_safe(date)}){advice}" if date else advice


def parse_secret(answer: Mapping[str, Any], secret_id: str) -> dict[str, Any]:
    """The JSON object in SecretString. SecretProblem says what it is instead, without showing any of it."""
    text = answer.get("SecretString")
    if text is None:
        raise SecretProblem(f"secret {secret_id} is binary; ECS reads JSON keys from a text secret only")
    try:
        value = json.loads(text)
    except ValueError:
        raise SecretProblem(
            f"secret {secret_id} is not JSON ({len(text)} characters); write it as a JSON object"
        ) from None
    if not isinstance(value, dict):
        raise SecretProblem(
            f"secret {secret_id} is JSON but no object ({type(value).__name__}); write it as a JSON object"
        )
    return value


def describe_instance(calls: Calls, db_instance: str) -> dict[str, Any]:
    """The RDS instance. AwsFailure when there is none of this name."""
    answer = calls.call(
        "rds",
        "describe_db_instances",
        f"database instance {db_instance}",
        hint="Check the name of the database instance and the region.",
        DBInstanceIdentifier=db_instance,
    )
    return dict(answer["DBInstances"][0])


def managed_by_rds(answer: Mapping[str, Any], instance: Mapping[str, Any]) -> bool:
    """True when this very secret is the master user secret that RDS keeps: it then holds username and password only.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/rds-secrets-manager.html
    """
    master = (instance.get("MasterUserSecret") or {}).get("SecretArn")
    return bool(master) and master in {answer.get("ARN"), answer.get("Name")}


def compare(secret: Mapping[str, Any], instance: Mapping[str, Any], question: Question, managed: bool) -> list[Row]:
    """Rows host, port, dbname, username and password; pure."""
    endpoint = instance.get("Endpoint") or {}
    expected_user = instance.get("MasterUsername") if question.username_rule == MASTER else question.username_rule
    return [
        _key_row("host", secret.get("host"), endpoint.get("Address"), managed, same=_same_host),
        _key_row("port", secret.get("port"), endpoint.get("Port"), managed, same=_same_port),
        _dbname_row(secret, question.dbname or instance.get("DBName"), managed),
        _key_row("username", secret.get("username"), expected_user, managed),
        _password_row(secret),
    ]


def _same_host(left: Any, right: Any) -> bool:
    return isinstance(left, str) and left.strip().rstrip(".").lower() == str(right).rstrip(".").lower()


def _same_port(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or not isinstance(left, (int, str)):
        return False
    return str(left).strip() == str(right)


def _same(left: Any, right: Any) -> bool:
    return isinstance(left, str) and left == right


def _key_row(
    key: str, value: Any, expected: Any, managed: bool, same: Callable[[Any, Any], bool] = _same, spelled: str = ""
) -> Row:
    data = {"secret": value, "expected": expected, "key": spelled or key}
    if value is None:
        if managed and key != "username":
            return Row(key, TITLES[key], "skip", f"RDS manages this secret, which has no {key!r}", data)
        return Row(key, TITLES[key], "ng", f"the secret has no key {key!r}; add it", data)
    if expected is None:
        return Row(
            key, TITLES[key], "ng", f"RDS reports no {key} to compare with (instance still being created?)", data
        )
    if not same(value, expected):
        return Row(
            key, TITLES[key], "ng", f"the secret says {value!r}, expected is {expected!r}: correct the secret", data
        )
    return Row(key, TITLES[key], "ok", str(value), data)


def _dbname_row(secret: Mapping[str, Any], expected: Any, managed: bool) -> Row:
    spelled = [key for key in DBNAME_KEYS if secret.get(key) is not None]
    values = {str(secret[key]) for key in spelled}
    if len(values) > 1:
        text = " and ".join(f"{key}={secret[key]!r}" for key in spelled)
        return Row("dbname", TITLES["dbname"], "ng", f"the secret contradicts itself: {text}", {"key": spelled})
    value = secret[spelled[0]] if spelled else None
    if value is not None and not expected:
        data = {"secret": value, "expected": None, "key": spelled[0]}
        return Row("dbname", TITLES["dbname"], "skip", "RDS reports no DBName: only the login can prove it", data)
    return _key_row("dbname", value, expected, managed, spelled=spelled[0] if spelled else "")


def _password_row(secret: Mapping[str, Any]) -> Row:
    password = secret.get("password")
    if password is None:
        return Row("password", TITLES["password"], "ng", "the secret has no key 'password'; add it")
    if not isinstance(password, str) or not password:
        return Row("password", TITLES["password"], "ng", "the secret's password is empty or no text; correct it")
    return Row("password", TITLES["password"], "ok", "present, not shown")


def check(
    calls: Calls,
    question: Question,
    login: Callable[[Login], LoginResult],
    *,
    register: Callable[[str], None] = lambda value: None,
    instance: Mapping[str, Any] | None = None,
) -> Drift:
    """All of B2. `register` is told the password before anything else is done with it, so that it can be redacted.

    `instance` spares DescribeDBInstances when the caller knows it. A problem with the secret gives one row `secret`.
    """
    drift = Drift()
    instance = instance or describe_instance(calls, question.db_instance)
    try:
        answer = read_secret(calls, question.secret_id)
        secret = parse_secret(answer, question.secret_id)
    except SecretProblem as exc:
        drift.rows.append(Row("secret", TITLES["secret"], "ng", str(exc)))
        return drift
    password = secret.get("password")
    if isinstance(password, str) and password:
        register(password)
    managed = managed_by_rds(answer, instance)
    drift.facts = {
        "secret_arn": answer.get("ARN"),
        "secret_version": answer.get("VersionId"),
        "secret_keys": sorted(map(str, secret)),
        "managed_by_rds": managed,
        "db_instance": instance.get("DBInstanceIdentifier"),
        "endpoint": instance.get("Endpoint") or {},
    }
    drift.rows.append(Row("secret", TITLES["secret"], "ok", str(answer.get("ARN", question.secret_id))))
    drift.rows.extend(compare(secret, instance, question, managed))
    login_row = _login_row(secret, instance, question, drift, login)
    drift.rows.append(login_row)
    if login_row.status == "ok":
        drift.rows = [_proved(row, login_row) for row in drift.rows]
        drift.facts["login"] = dict(login_row.data)
    return drift


def _proved(row: Row, login: Row) -> Row:
    """dbname that RDS does not report is proved by the login into it."""
    if row.id != "dbname" or row.status != "skip" or row.data.get("secret") is None:
        return row
    return Row(
        row.id, row.title, "ok", f"{login.data['database']}, proved by the login (RDS reports no DBName)", row.data
    )


def _login_row(
    secret: Mapping[str, Any],
    instance: Mapping[str, Any],
    question: Question,
    drift: Drift,
    login: Callable[[Login], LoginResult],
) -> Row:
    title = TITLES["login"]
    if question.login == "none":
        return Row(
            "login",
            title,
            "skip",
            "login is 'none': the password and a database that RDS does not report stay unproved",
        )
    blocking = [key for key in ("host", "port", "username", "password") if key in drift.failed]
    if blocking:  # never send the password to a place that is not the instance
        return Row("login", title, "ng", f"not tried: {', '.join(blocking)} of the secret must be right first")
    endpoint = instance.get("Endpoint") or {}
    spelled = next((key for key in DBNAME_KEYS if secret.get(key)), None)
    database = str(secret[spelled]) if spelled else question.dbname or instance.get("DBName")
    if not database:
        return Row("login", title, "skip", "neither secret nor RDS names a database to log in to; give 'dbname'")
    result = login(
        Login(
            host=str(endpoint["Address"]),
            port=int(endpoint["Port"]),
            dbname=database,
            user=str(secret["username"]),
            password=str(secret["password"]),
        )
    )
    if not result.ok:
        return Row("login", title, "ng", result.reason, {"sqlstate": result.sqlstate} if result.sqlstate else {})
    return Row("login", title, "ok", result.reason, result.facts)
