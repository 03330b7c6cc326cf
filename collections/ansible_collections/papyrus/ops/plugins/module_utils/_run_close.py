# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What run_close does: verdict, seal, ledger, guard, private folder; refused while the temporary ALB may be there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ._evidence import Bundle, BundleError
from ._guard_socket import Client, GuardError, GuardGone
from ._ledger import LedgerError, open_ledger
from ._locks import LockTimeout
from ._redaction import Redactor
from ._run_end import finish, remove_private, short_values
from ._run_settings import Signing
from ._seal import SealError
from ._trace_file import export


class CloseError(Exception):
    """The run cannot be closed; the message says what happens now."""


class NotSealed(CloseError):
    """The verdict is written, but not sealed, or not in the ledger. `end` is what close_run would have returned."""

    def __init__(self, message: str, end: dict[str, Any]) -> None:
        super().__init__(message)
        self.end = end


def close_run(run: Mapping[str, Any], failure: Mapping[str, Any], allowed_skips: Iterable[str]) -> dict[str, Any]:
    """Returns `changed`, `verdict`, `text`, `sealed`, `trace`. NotSealed when the verdict is there, the seal not."""
    private = str(run.get("private") or "")
    client = Client(private) if private and run.get("guarded") else None
    if client is not None:
        _require_idle(client)
    redactor = Redactor(private) if private and Path(private).is_dir() else Redactor()
    bundle = Bundle(str(run["folder"]), redactor)
    signing = Signing.of(run)
    try:
        end = finish(
            bundle,
            open_ledger(str(run["ledger"]), region=signing.region),
            str(run["id"]),
            failure,
            allowed_skips,
            signing=signing,
            short_values=short_values(private),
        )
    except (OSError, ValueError, BundleError, LockTimeout, LedgerError, SealError) as exc:
        if private and (client is None or client.guard() is None):
            remove_private(private)  # nobody else would
        raise CloseError(f"the verdict could not be written to {run['folder']}: {exc}") from exc
    problem = end.pop("problem")
    if problem and client is not None and client.guard() is not None:
        raise NotSealed(f"{end['text']}\nThe guard of the run tries once more when the playbook ends.", end)
    end["trace"] = export(private, str(run["folder"]), str(run.get("trace_file") or ""), end["verdict"]["result"])
    end["text"] += f"\n{end['trace']}" if end["trace"] else ""
    _end_guard(client, private)
    if problem:
        raise NotSealed(end["text"], end)
    return end


def _end_guard(client: Client | None, private: str) -> None:
    """Ends the guard, which removes the private folder; without one it is removed here."""
    if client is not None:
        try:
            client.ask("close")
            return
        except GuardError:
            return  # it is ending, and does so as well
        except GuardGone:
            pass
    if private:
        remove_private(private)


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
