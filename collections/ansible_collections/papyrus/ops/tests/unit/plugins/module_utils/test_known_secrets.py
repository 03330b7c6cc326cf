# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run knows to be secret when it is opened (EVIDENCE.md, Redaction: known values)."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._known_secrets import check_task_environment, secrets_of
from ansible_collections.papyrus.ops.plugins.module_utils._run_settings import Stack

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "aws-secret-key",
    "AWS_SESSION_TOKEN": "aws-session-token",
    "PGPASSWORD": "variable",
    "GITHUB_TOKEN": "variable",
    "TF_TOKEN_app_terraform_io": "variable",
    "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "variable",
    "SOME_API_KEY": "variable",
}
NO_SECRETS = {
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/token",
    "PAPYRUS_SECRET_NAME": "papyrus/prd/db",
    "DB_SECRET_ARN": "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-AbCdEf",
    "CACHE_TOKEN": "disabled",
    "APP_SECRET": "/run/secrets/app",
    "SHOW_PASSWORD": "True",
    "MAX_TOKEN": "40",
    "TOKEN_LENGTH": "400000",
    "HOME": "/home/runner",
}


@pytest.mark.parametrize("name", SECRETS)
def test_J1_secrets_of_the_environment(name: str) -> None:
    assert list(secrets_of({name: "hunter22/+Hunter22"}, None)) == [(SECRETS[name], "hunter22/+Hunter22")]
    assert list(secrets_of({name: "sunshine"}, None)) == [(SECRETS[name], "sunshine")]


@pytest.mark.parametrize("name", NO_SECRETS)
def test_J1_what_only_sounds_like_a_secret(name: str) -> None:
    assert list(secrets_of({name: NO_SECRETS[name], "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}, None)) == []


def test_J1_passwords_in_urls_in_both_forms() -> None:
    found = dict.fromkeys(
        value for dummy, value in secrets_of({"https_proxy": "http://me:hunt%40er22@proxy:3128"}, None)
    )
    assert list(found) == ["hunt%40er22", "hunt@er22"]


def test_J1_secrets_of_the_stack() -> None:
    stack = Stack(
        source="x",
        name="x",
        variables={"header_value": "run-header-1", "vpc_id": "vpc-0a1b2c3d", "auth": [{"client_secret": "s3cret-42"}]},
        backend={"pg": {"conn_str": "postgres://u:hunter22@db/states"}},
        environment={"PG_PASSWORD": "hunter23-x", "TF_CLI_CONFIG_FILE": "/x/terraformrc"},
    )
    found = set(secrets_of({"AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}, stack))
    assert {
        ("run-header", "run-header-1"),
        ("variable", "s3cret-42"),
        ("password", "hunter22"),
        ("variable", "hunter23-x"),
    } <= found
    assert not {"vpc-0a1b2c3d", "/x/terraformrc"} & {value for dummy, value in found}


@pytest.mark.parametrize(
    ("variable", "section", "profile"),
    [
        ("AWS_SHARED_CREDENTIALS_FILE", "default", ""),
        ("AWS_SHARED_CREDENTIALS_FILE", "release", "release"),
        ("AWS_CONFIG_FILE", "profile release", "release"),
    ],
)
def test_J1_secrets_of_the_profile(tmp_path: Path, variable: str, section: str, profile: str) -> None:
    file = tmp_path / "file"
    file.write_text(
        f"[{section}]\naws_secret_access_key = wJalr%XUtnFEMI/K7\naws_session_token = IQoJb3\n"
        "[other]\naws_secret_access_key = not-this-one\n"
    )
    environ = {"HOME": str(tmp_path), variable: str(file), **({"AWS_PROFILE": profile} if profile else {})}
    assert list(secrets_of(environ, None)) == [("aws-secret-key", "wJalr%XUtnFEMI/K7"), ("aws-session-token", "IQoJb3")]


def test_J1_a_broken_profile_is_the_sdks_matter(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xff\xfe no section\n[")
    assert list(secrets_of({"AWS_SHARED_CREDENTIALS_FILE": str(file), "HOME": str(tmp_path)}, None)) == []


def test_J1_an_aws_secret_in_a_tasks_environment_is_refused() -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "aws_security_token"):
        with pytest.raises(ValueError, match=f"{name} must not be in papyrus_aws_environment") as refused:
            check_task_environment({name: "wJalrXUtnFEMI/K7"})
        assert "wJalr" not in str(refused.value)
    check_task_environment(
        {"AWS_SECRET_ACCESS_KEY": "test", "AWS_PROFILE": "release", "AWS_ACCESS_KEY_ID": "AKIA0123456"}
    )
