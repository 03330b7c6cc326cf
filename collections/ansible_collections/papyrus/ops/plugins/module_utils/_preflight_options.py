# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options of the modules that ask the questions of a preflight: their types, and the settings that they make."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypeVar

from . import _names, _preflight_runner
from ._preflight import Settings

S = TypeVar("S", bound=Settings)

_TEXTS = {"type": "list", "elements": "str", "default": []}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "account_id": {"type": "str", "required": True},
    "expected_region": {"type": "str", "required": True},
    "cluster": {"type": "str", "required": True},
    "service": {"type": "str", "required": True},
    "container": {"type": "str"},
    "port": {"type": "int"},
    "task_family": {"type": "str"},
    "exec_required": {"type": "bool", "default": True},
    "secret_id": {"type": "str", "no_log": False},
    "db_instance": {"type": "str"},
    "db_username_rule": {"type": "str", "default": "master"},
    "db_name": {"type": "str"},
    "db_allowlist": _TEXTS,
    "db_login": {"type": "str", "choices": ["direct", "exec", "none"], "default": "direct"},
    "exec_python": {"type": "str", "default": "python"},
    "db_ca_file": {"type": "path"},
    "db_hostaddr": {"type": "str"},
    "vpc_id": {"type": "str"},
    "tasks_sg_id": {"type": "str"},
    "alb_scheme": {"type": "str", "choices": ["internet-facing", "internal"], "default": "internet-facing"},
    "alb_subnet_ids": _TEXTS,
    "alb_ingress_cidrs": _TEXTS,
    "tag_prefix": {"type": "str", "default": "papyrus"},
    "name_prefix": {"type": "str"},
    "lease_minutes": {"type": "int", "default": 60},
    "app_source": {"type": "path"},
    "app_factory": {"type": "str"},
    "app_python": {"type": "path"},
    "app_paths": {"type": "list", "elements": "path", "default": []},
    "app_environment": {"type": "dict", "default": {}},
    "routes_required": _TEXTS,
    "terraform_binary": {"type": "str", "default": "terraform"},
    "timeout": {"type": "float", "default": 120},
}
"""They are described by the fragment `papyrus.ops.preflight`."""


def settings_of(kind: type[S], asked: Mapping[str, Any], *, dry: bool) -> S:
    """Module options as settings: what is not given keeps the default, lists become tuples."""
    known = kind.__dataclass_fields__
    given = {name: value for name, value in asked.items() if name in known and value is not None and name != "region"}
    given.update({name: tuple(value) for name, value in given.items() if isinstance(value, list)})
    return kind(**given, region=asked["expected_region"], credentials=credentials_of(asked), dry=dry)


def credentials_of(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Kind and end of the credentials that the SDK will use; keys of the environment arrive as module options."""
    expires = os.environ.get("AWS_CREDENTIAL_EXPIRATION")
    if asked.get("session_token"):
        return {"kind": "session", "method": "option or environment", "expires_at": expires}
    if asked.get("access_key"):
        return {"kind": "static", "method": "option or environment"}
    import boto3

    session = boto3.session.Session(profile_name=asked.get("profile"))
    found = _preflight_runner.session_credentials(session, _names.utc_now())
    return {"expires_at": expires, **found} if found["kind"] == "session" else found
