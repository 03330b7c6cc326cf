"""Sweeps what killed runs left, by the playbook and by the module, and judges each call that changed something.

The sweeper has an access key of its own, so that the local AWS's record tells its calls from all others.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from . import harness
from .aws_listing import Item
from .services import SERVICE

KEY = "SWEEPERSTORM0000"
PLAYBOOK_EVERY = 4
"""Each so many batches the playbook sweeps, with its evidence; the module costs a third of its time."""


def environment() -> dict[str, str]:
    """The SDK's variables of the sweeper, as the inventory of the local AWS gives them to a run."""
    known = harness.facts()
    return {
        "AWS_ENDPOINT_URL": known["endpoint"],
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
        "AWS_REGION": known["region"],
        "AWS_DEFAULT_REGION": known["region"],
        "AWS_CONFIG_FILE": str(harness.CHECKOUT / "sandbox" / "aws.config"),
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.0/8,localhost",
    }


class Sweeps:
    """One sweep after the other; each says how it went and what it called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.last_call = 0

    def sweep(
        self, run_ids: list[str], items: Iterable[Item], *, expired: bool = False, **variables: Any
    ) -> dict[str, Any]:
        """Sweeps these runs by id, or without any what is `expired`. Changes may name nothing but `items`.

        `variables` are more of the playbook, which then sweeps, as it does by expiry.
        """
        if not run_ids and not expired:
            return {"swept_by": "nothing to name", "sweep_seconds": 0.0}
        self._calls()  # those before are of no interest
        self.count += 1
        by = "playbook" if expired or variables or self.count % PLAYBOOK_EVERY == 1 else "module"
        began = time.monotonic()
        ran = self.by_playbook(run_ids, **variables) if by == "playbook" else self.by_module(run_ids)
        seconds = round(time.monotonic() - began, 2)
        calls = [call for call in self._calls() if call["access_key_id"] == KEY]
        changes = [call for call in calls if not call["read_only"]]
        return {
            "swept_by": by,
            "swept_at": round(time.time()),
            "sweep_of": len(run_ids),
            "sweep_seconds": seconds,
            "sweep_ok": ran.returncode == 0,
            "sweep_said": "" if ran.returncode == 0 else (ran.stdout + ran.stderr)[-3000:],
            "sweep_calls": dict(sorted(Counter(call["operation"] for call in calls).items())),
            "foreign_calls": foreign(changes, [ident for _kind, ident in items]),
        }

    def by_playbook(self, run_ids: list[str], **more: Any) -> subprocess.CompletedProcess[str]:
        """sweep.yml with evidence of its own; the bundles of the runs are no help to it."""
        folder = self.folder / f"{self.count:04}"
        variables = {
            "papyrus_sweep_run_ids": run_ids,
            "papyrus_aws_environment": environment(),
            "papyrus_evidence_root": str(folder / "runs"),
            "papyrus_ledger": str(folder / "ledger"),
            **more,
        }
        return self._ansible(["ansible-playbook", "playbooks/sweep.yml", "-e", json.dumps(variables)], folder)

    def by_module(self, run_ids: list[str]) -> subprocess.CompletedProcess[str]:
        """The module alone, as by hand from a shell."""
        options = {"service": SERVICE, "run_ids": run_ids, "interval": 3}
        arguments = ["ansible", "localhost", "-m", "papyrus.ops.run_leftovers", "-a", json.dumps(options)]
        return self._ansible(arguments, self.folder / f"{self.count:04}")

    def _ansible(self, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
        folder.mkdir(parents=True, exist_ok=True)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "ANSIBLE_"))}
        inherited |= {
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
            "PAPYRUS_SANDBOX_ROOT": str(harness.SANDBOX_ROOT),
        }
        if arguments[0] == "ansible":  # the playbook has its own; a module by hand takes what the shell has
            inherited |= environment()
        return subprocess.run(
            [str(harness.PLAYBOOK.with_name(arguments[0])), *arguments[1:]],
            cwd=harness.CHECKOUT,
            env=inherited,
            capture_output=True,
            text=True,
            check=False,
            timeout=2400,
        )

    def _calls(self) -> list[dict[str, Any]]:
        found = harness.calls(self.last_call)
        if found:
            self.last_call = found[-1]["n"]
        return found


def foreign(changes: Iterable[dict[str, Any]], idents: Iterable[str]) -> list[str]:
    """Changes that name none of the items, also those of one call for several: each is one too many."""
    known = list(idents)
    return [
        f"{call['operation']} {json.dumps(part)}"
        for call in changes
        for part in _parts(call["parameters"])
        if not any(ident in json.dumps(part) for ident in known)
    ]


def _parts(parameters: dict[str, Any]) -> list[Any]:
    """What one call changes: each of its alarms, each source of its rules, else all of it."""
    if "AlarmNames" in parameters:
        return list(parameters["AlarmNames"])
    if "IpPermissions" not in parameters:
        return [parameters]
    kinds = ("UserIdGroupPairs", "IpRanges", "Ipv6Ranges", "PrefixListIds")
    return [each for one in parameters["IpPermissions"] for kind in kinds for each in one.get(kind) or []]
