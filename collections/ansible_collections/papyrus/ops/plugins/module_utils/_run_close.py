# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What run_close does: verdict, ledger, guard, private folder; refused while the temporary ALB may still be there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ._evidence import Bundle, BundleError
from ._guard_socket import Client, GuardError, GuardGone
from ._ledger import open_ledger
from ._locks import LockTimeout
from ._redaction import Redactor
from ._run_end import finish, remove_private, short_values


class CloseError(Exception):
    """The run cannot be closed; the message says what happens now."""


def close_run(run: Mapping[str, Any], failure: Mapping[str, Any], allowed_skips: Iterable[str]) -> dict[str, Any]:
    """Returns `changed`, `verdict`, `text`."""
    private = str(run.get("private") or "")
    client = Client(private) if private and run.get("guarded") else None
    if client is not None:
        _require_idle(client)
    redactor = Redactor(private) if private and Path(private).is_dir() else Redactor()
    bundle = Bundle(str(run["folder"]), redactor)
    try:
        end = finish(
            bundle,
            open_ledger(str(run["ledger"]), region=str(run.get("region") or "")),
            str(run["id"]),
            failure,
            allowed_skips,
            short_values=short_values(private),
        )
    except (OSError, ValueError, BundleError, LockTimeout) as exc:
        raise CloseError(f"the verdict could not be written to {run['folder']}: {exc}") from exc
    if client is not None:
        try:
            client.ask("close")
            return end  # the guard removes the private folder
        except GuardError:
            return end  # it is ending, and does so as well
        except GuardGone:
            pass
    if private:
        remove_private(private)
    return end


def _require_idle(client: Client) -> None:
    """CloseError while Terraform is under way, or when something was applied and never destroyed."""
    try:
        jobs = client.ask("status")["jobs"]
    except GuardGone:
        return
    except GuardError as exc:
        raise CloseError(f"{exc}; it completes the run by itself") from exc
    under_way = [name for name, result in jobs.items() if result is None]
    if under_way or ("apply" in jobs and "destroy" not in jobs):
        what = f"terraform {under_way[0]} is under way" if under_way else "the temporary ALB was not removed"
        raise CloseError(f"{what}; the guard of the run takes it down when the playbook ends, and completes the bundle")
