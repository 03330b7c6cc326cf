# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets that a run knows before it has read any: of its environment, its AWS profile and its Terraform stack."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ._redaction_known import MIN_LENGTH
from ._run_settings import Stack

_AWS = {
    "aws_secret_access_key": "aws-secret-key",
    "aws_session_token": "aws-session-token",
    "aws_security_token": "aws-session-token",
}
_NAME = re.compile(
    r"(?i).*(?:passw(?:or)?d|passphrase|secret|token|credential|api_?key|access_?key|private_?key|conn_str)|TF_TOKEN_.*"
)
# Names of files, of secrets and the like, and switches.
_NO_SECRET = re.compile(r"(?i).*(?:_file|_path|_dir|_url|_uri|_name|_names|_id|_ids|_arn|_arns|_type|_ttl|_expir\w*)")
_SWITCH = re.compile(r"(?i)true|false|none|null|default|enabled|disabled|required|optional|[0-9]{1,5}|/[\w./-]*")
_LOGIN = re.compile(r"://[^\s/:@]*:([^\s/]+)@")


def secrets_of(environ: Mapping[str, str], stack: Stack | None) -> Iterator[tuple[str, str]]:
    """(kind, value), each as `Redactor.register` takes it; a value may come twice."""
    yield from _of_variables(environ)
    yield from _of_profile(environ)
    if stack is not None:
        yield from _of_data(stack.variables)
        yield from _of_data(stack.backend)
        yield from _of_variables(stack.environment)


def check_task_environment(variables: Mapping[str, Any]) -> None:
    """ValueError when an AWS secret is in the `environment` of play, block or task.

    Ansible writes that into the command line of every task, which -vvv prints and every user of the host can read.
    A placeholder of a local AWS is shorter than what is searched for.
    """
    found = sorted(name for name, value in variables.items() if name.lower() in _AWS and len(str(value)) >= MIN_LENGTH)
    if found:
        raise ValueError(
            f"{', '.join(found)} must not be in papyrus_aws_environment: Ansible makes a task's environment a part of "
            "its command line, which -vvv prints and other users of this host can read. Give it to ansible-playbook as "
            "an environment variable, or set AWS_PROFILE"
        )


def _of_variables(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in variables.items():
        if name.lower() in _AWS:
            yield _AWS[name.lower()], value
        else:
            yield from _of_value(name, value)


def _of_value(name: str, value: str) -> Iterator[tuple[str, str]]:
    if name == "header_value":
        yield "run-header", value
    elif _NAME.fullmatch(name) and not _NO_SECRET.fullmatch(name) and not _SWITCH.fullmatch(value):
        yield "variable", value
    for login in _LOGIN.findall(value):  # a proxy, a database of states
        yield from (("password", login), ("password", unquote(login)))


def _of_data(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _of_data(item, str(key))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _of_data(item, name)
    elif isinstance(value, str):
        yield from _of_value(name, value)


def _of_profile(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Of the profile that the SDK takes: the file is read here, as the SDK would take a third of a second to load.

    https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    profile = environ.get("AWS_PROFILE") or environ.get("AWS_DEFAULT_PROFILE") or "default"
    home = Path(environ.get("HOME") or "~").expanduser()
    for variable, default, section in (
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", profile),
        ("AWS_CONFIG_FILE", "config", profile if profile == "default" else f"profile {profile}"),
    ):
        path = Path(environ.get(variable) or home / ".aws" / default).expanduser()
        parser = configparser.RawConfigParser(strict=False, default_section="")
        try:
            parser.read(path, "utf-8")
        except (OSError, ValueError, configparser.Error):
            continue  # the SDK says what is wrong with it
        if parser.has_section(section):
            yield from (
                (kind, parser.get(section, name)) for name, kind in _AWS.items() if parser.has_option(section, name)
            )
