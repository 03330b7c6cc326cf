# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keeps a JSON secret as it should be: fixed keys, keys that are generated once, and a private copy for one user."""

from __future__ import annotations

import json
import os
import secrets
import stat
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import _aws
from ._calls import Calls

PASSWORD_LENGTH = 32
_ALPHABET = string.ascii_letters + string.digits


class SecretUnusable(Exception):
    """The secret cannot be kept; the text says why and what to do, and shows nothing of its value."""


def generate_password(length: int = PASSWORD_LENGTH) -> str:
    """Letters and digits, a letter first (about 190 bits for 32): valid for RDS, which refuses / @ " and blanks.

    https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html
    """
    rest = (secrets.choice(_ALPHABET) for _position in range(length - 1))
    return secrets.choice(string.ascii_letters) + "".join(rest)


@dataclass(frozen=True)
class Wanted:
    """What a secret should be. `values` are public facts, `generate` the keys whose values are made once and kept."""

    secret_id: str
    values: Mapping[str, Any] = field(default_factory=dict)
    generate: Sequence[str] = ()
    create: bool = False
    description: str = ""


@dataclass
class Kept:
    """`document` holds secret values: it goes into the private copy and nowhere else. `changes` are key → why."""

    document: dict[str, Any]
    changes: dict[str, str]
    created: bool = False
    version_id: str = ""


def merge(
    current: Mapping[str, Any], wanted: Wanted, make: Callable[[], str] = generate_password
) -> tuple[dict[str, Any], dict[str, str]]:
    """The document as it should be, and what is different by key: `added`, `changed` or `generated`.

    Keys that nobody asked about stay: a secret may have more readers than this one knows.
    """
    document = dict(current)
    changes: dict[str, str] = {}
    for key, value in wanted.values.items():
        if key not in document:
            changes[key] = "added"
        elif document[key] != value:
            changes[key] = "changed"
        document[key] = value
    for key in wanted.generate:
        if not document.get(key):
            document[key] = make()
            changes[key] = "generated"
    return document, changes


def _parse(answer: Mapping[str, Any], secret_id: str) -> dict[str, Any]:
    try:
        document = json.loads(answer["SecretString"])
    except (KeyError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise SecretUnusable(
            f"secret {secret_id} has a value that is not a JSON object; it is not overwritten. "
            "Correct or delete it by hand, then run this again"
        )
    return document


def _describe(calls: Calls, secret_id: str) -> Mapping[str, Any] | None:
    try:
        described: Mapping[str, Any] = calls.call(
            "secretsmanager", "describe_secret", f"secret {secret_id}", SecretId=secret_id
        )
    except _aws.AwsFailure as exc:
        if _aws.is_missing(exc):
            return None
        raise
    if described.get("DeletedDate"):
        raise SecretUnusable(
            f"secret {secret_id} is scheduled for deletion; bring it back with "
            f"'aws secretsmanager restore-secret --secret-id {secret_id}'"
        )
    return described


def keep(calls: Calls, wanted: Wanted, *, check: bool = False) -> Kept:
    """Bring the secret to what is wanted; with `check` nothing is written and generated values are thrown away.

    A secret that is missing is made when `create` is set, else SecretUnusable. Writing a whole new version is
    PutSecretValue's way: https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
    """
    resource = f"secret {wanted.secret_id}"
    described = _describe(calls, wanted.secret_id)
    if described is None and not wanted.create:
        raise SecretUnusable(
            f"{resource} does not exist in this region; apply the stack that makes it, or correct its name"
        )
    current: dict[str, Any] = {}
    if described is not None and described.get("VersionIdsToStages"):
        answer = calls.call("secretsmanager", "get_secret_value", resource, SecretId=wanted.secret_id)
        current = _parse(answer, wanted.secret_id)
    document, changes = merge(current, wanted)
    kept = Kept(document, changes, created=described is None)
    if check or not (changes or kept.created):
        return kept
    text = json.dumps(document, sort_keys=True)
    if described is None:
        written = calls.call(
            "secretsmanager",
            "create_secret",
            resource,
            Name=wanted.secret_id,
            Description=wanted.description,
            SecretString=text,
        )
    else:
        written = calls.call(
            "secretsmanager", "put_secret_value", resource, SecretId=wanted.secret_id, SecretString=text
        )
    kept.version_id = str(written.get("VersionId", ""))
    return kept


def export(document: Mapping[str, Any], path: Path, names: Mapping[str, str], *, check: bool = False) -> bool:
    """Write chosen keys as a JSON object of mode 0600; `names` maps a key of the secret to its name in the file.

    True when the file is or would be different. The folder must exist: who reads it decides who may enter it.
    """
    text = json.dumps({name: document[key] for key, name in names.items()}, sort_keys=True) + "\n"
    if path.is_file() and not path.is_symlink():
        same = path.read_text("utf-8") == text and stat.S_IMODE(path.stat().st_mode) == 0o600
        if same:
            return False
    if check:
        return True
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    temporary.replace(path)
    return True
