# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lease of a run: what it may create and until when, in bundle and ledger before the first create call."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from ._evidence import Bundle, content_bytes
from ._ledger import Ledger
from ._names import parse_rfc3339, resource_name, utc_now

LEASE_ITEM = "lease.json"


class NoLease(Exception):
    """The run may not create anything; the message says what is missing."""


def planned_names(name_prefix: str, suffix: str) -> dict[str, str]:
    """AWS names of what the temporary stack creates. ValueError when AWS would refuse one."""
    name = resource_name(name_prefix, suffix)
    return {"load_balancer": name, "target_group": name, "security_group": name}


def write_lease(bundle: Bundle, lease: Mapping[str, Any]) -> dict[str, Any]:
    """Puts the lease into the bundle; `lease` has run_id, service, account_id, region, expires_at, tags, planned."""
    return bundle.append(LEASE_ITEM, content_bytes(dict(lease)), status="info", step="N1")


def require_lease(
    bundle: Bundle, ledger: Ledger, run_id: str, expires_at: str, *, now: Callable[[], dt.datetime] = utc_now
) -> None:
    """NoLease unless the bundle has the lease, the ledger has the run opened and not closed, and it has not expired."""
    if not bundle.has(LEASE_ITEM):
        raise NoLease(f"run {run_id} has no lease in its bundle {bundle.folder}: nothing may be created")
    if ledger.opened(run_id) is None:
        raise NoLease(f"run {run_id} is not announced in the ledger {ledger.where}: nothing may be created")
    if ledger.closed(run_id) is not None:
        raise NoLease(f"run {run_id} is closed in the ledger {ledger.where}: nothing may be created any more")
    if parse_rfc3339(expires_at) <= now():
        raise NoLease(f"the lease of run {run_id} expired at {expires_at}: a sweeper may delete what it creates")
