# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs that a ledger has as opened and not as closed although their lease is over, and how each is closed (N4)."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ._evidence import RUN_FILE
from ._ledger import Ledger
from ._names import MAX_LEASE, parse_rfc3339, parse_run_id, rfc3339
from ._run_end import seal_command
from ._run_settings import Signing


def unclosed(
    ledger: Ledger,
    evidence_root: str | Path,
    *,
    service: str,
    alive: Mapping[str, str],
    now: dt.datetime,
    since: dt.datetime,
    signing: Signing,
) -> Iterator[dict[str, Any]]:
    """Oldest first: `run_id`, `opened_at`, `expires_at`, `bundle` ("" when it is not in `evidence_root`), `command`.

    A run that lives on this machine, or whose lease is not over, may still close itself. Without its bundle its
    lease is not known; the longest one counts then. LedgerError, OSError.
    """
    for entry in ledger.runs(since=since):
        opened = entry.opened or {}
        if entry.closed is not None or str(opened.get("service")) != service or entry.run_id in alive:
            continue
        folder = Path(evidence_root) / entry.run_id
        here = (folder / RUN_FILE).is_file()
        expires_at = _expiry(folder) or rfc3339(parse_run_id(entry.run_id).started + MAX_LEASE)
        if parse_rfc3339(expires_at) > now:
            continue
        yield {
            "run_id": entry.run_id,
            "opened_at": str(opened.get("opened_at") or ""),
            "expires_at": expires_at,
            "bundle": str(folder) if here else "",
            "command": seal_command(folder, ledger.where, signing) if here else "",
        }


def _expiry(folder: Path) -> str:
    """Of run.json, as far as it can be read and is a time."""
    try:
        text = str(json.loads((folder / RUN_FILE).read_bytes())["expires_at"])
        parse_rfc3339(text)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return text


def sentence(found: list[dict[str, Any]], days: float) -> str:
    """What there is to say of them, with the commands."""
    if not found:
        return f"every run of the last {days:g} days that was opened is closed, or its lease is not over"
    said = [
        f"{each['run_id']} was opened and never closed; "
        + (f"close it: {each['command']}" if each["command"] else "its bundle is not on this machine")
        for each in found
    ]
    return "; ".join(said)
