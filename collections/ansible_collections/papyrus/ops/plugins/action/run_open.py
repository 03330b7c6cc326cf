# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Action plugin: opens a run on the controller, where the guard can watch ansible-playbook itself."""

from __future__ import annotations

import json
import os
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.release import __version__ as core_version
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import BundleError
from ansible_collections.papyrus.ops.plugins.module_utils._guard_processes import process
from ansible_collections.papyrus.ops.plugins.module_utils._known_secrets import check_task_environment
from ansible_collections.papyrus.ops.plugins.module_utils._ledger import LedgerError
from ansible_collections.papyrus.ops.plugins.module_utils._redaction import Redactor
from ansible_collections.papyrus.ops.plugins.module_utils._run_open import (
    OpenError,
    caller_arn,
    check_open,
    git_facts,
    open_run,
)
from ansible_collections.papyrus.ops.plugins.module_utils._signers import SignerError
from ansible_collections.papyrus.ops.plugins.module_utils._timestamps import TimestampError

ARGUMENTS: dict[str, Any] = {
    "evidence_root": {"type": "path", "required": True},
    "ledger": {"type": "path", "required": True},
    "service": {"type": "str", "required": True},
    "account_id": {"type": "str"},
    "region": {"type": "str"},
    "tag_prefix": {"type": "str", "default": "papyrus"},
    "lease_minutes": {"type": "int", "default": 60},
    "playbook": {"type": "str"},
    "details": {"type": "dict", "default": {}},
    "ask_caller": {"type": "bool", "default": False},
    "allowed_skips": {"type": "list", "elements": "str", "default": []},
    "signer": {"type": "dict", "default": {}},
    "timestamp_url": {"type": "str", "default": ""},
    "trace_file": {"type": "path"},
    "start_guard": {"type": "bool", "default": True},
    "stack": {
        "type": "dict",
        "options": {
            "source": {"type": "path", "required": True},
            "name_prefix": {"type": "str"},
            "variables": {"type": "dict", "default": {}},
            "modules": {"type": "dict", "default": {}},
            "override_files": {"type": "list", "elements": "path", "default": []},
            "backend": {"type": "dict", "default": {}},
            "binary": {"type": "str", "default": "terraform"},
            "environment": {"type": "dict", "default": {}},
            "limits": {"type": "dict", "default": {}},
        },
    },
}


class ActionModule(ActionBase):
    """Runs in a worker, a child of ansible-playbook: its parent is the process that the guard watches."""

    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        task_vars = task_vars or {}
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, given = self.validate_argument_spec(ARGUMENTS)
        options = json.loads(json.dumps(given, default=str))  # plain types: templating leaves tagged ones
        for name, value in options.items():
            text = json.dumps(value, ensure_ascii=False)
            if text != text.encode("utf-8", "replace").decode():
                shown = Redactor().redact_text(ascii(text))
                raise AnsibleActionFail(f"{name} holds bytes that are no UTF-8, so nothing was begun: {shown}")
        try:
            environ = self._environment()
            os.environ.update(environ)  # for boto3; this worker is a process of this task alone
            if options["ask_caller"]:
                result["caller_arn"] = caller_arn(str(options["region"] or ""))
                options["details"].setdefault("caller_arn", result["caller_arn"])
            if self._task.check_mode:
                return {**result, "changed": True, "run": check_open(options)[0]}
            facts = {
                "inventory_host": task_vars.get("inventory_hostname"),
                "git": _git(self._loader.get_basedir(), os.getcwd()),
                "versions": versions(),
            }
            run = open_run(options, facts, controller=process(os.getppid()), environ=environ)
        except (SignerError, LedgerError, TimestampError) as exc:
            raise AnsibleActionFail(f"Nothing was begun. {exc}") from exc
        except OSError as exc:
            raise AnsibleActionFail(
                f"The evidence of the run cannot be kept in {options['evidence_root']} with its ledger in "
                f"{options['ledger']}, so nothing was begun: {exc}. Set papyrus_evidence_root and papyrus_ledger to "
                "folders that this user can write to"
            ) from exc
        except (OpenError, BundleError, ValueError) as exc:
            raise AnsibleActionFail(str(exc)) from exc
        return {**result, "changed": True, "run": run}

    def _environment(self) -> dict[str, str]:
        """The controller's environment with `environment:` of play, block and task over it, as modules get it."""
        own: dict[str, Any] = {}
        self._compute_environment_string(own)
        check_task_environment(own)
        return {**os.environ, **{str(key): str(value) for key, value in own.items()}}


def _git(*folders: str) -> dict[str, Any]:
    """Of the first folder that is in a checkout: the playbook's, else the one in which ansible-playbook was started."""
    facts: dict[str, Any] = {}
    for folder in folders:
        facts = git_facts(folder)
        if facts["commit"]:
            break
    return facts


def versions() -> dict[str, str | None]:
    try:
        boto3_version: str | None = metadata.version("boto3")  # importing it takes a third of a second
    except metadata.PackageNotFoundError:
        boto3_version = None
    return {"collection": _collection_version(), "ansible_core": str(core_version), "boto3": boto3_version}


def _collection_version() -> str | None:
    """Version of this collection, from MANIFEST.json (installed) or galaxy.yml (a checkout)."""
    root = Path(__file__).absolute().parents[2]
    for name, key in (("MANIFEST.json", "collection_info"), ("galaxy.yml", "")):
        try:
            content = yaml.safe_load((root / name).read_text("utf-8"))  # JSON is YAML
        except (OSError, yaml.YAMLError):
            continue
        return str((content[key] if key else content)["version"])
    return None
