# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a sweep may delete of what was found: a pure function, and the strict half of it. Looking is generous."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ._leftovers import Found
from ._names import check_marks, parse_run_id

Resource = dict[str, Any]


@dataclass(frozen=True)
class Order:
    """What may be deleted: of exactly this service; of the runs named, or, when none is, of all whose lease is over.

    `alive` are runs that live on this machine, by id, with what of them lives: nothing of them is touched. ValueError
    for an empty service and for what is no run id.
    """

    service: str
    run_ids: frozenset[str] = frozenset()
    alive: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.service.strip():
            raise ValueError("a sweep is of one service: name it")
        for run_id in self.run_ids:
            parse_run_id(run_id)


def choose(found: Found, order: Order, now: dt.datetime) -> tuple[list[Resource], list[Resource]]:
    """What is deleted, in the order of `found`, and what is not, each with its `reason`.

    Network interfaces are never deleted by us: AWS takes them away with what they belong to, so they share its lot.
    """
    chosen: list[Resource] = []
    spared: list[Resource] = []
    reasons = {str(each["id"]): why_spared(each, order, now) for each in found.resources}
    for resource in found.resources:
        owner = str((resource.get("detail") or {}).get("owner") or "")
        reason = reasons.get(owner) or reasons[str(resource["id"])]
        if reason:
            spared.append({**resource, "reason": reason})
        else:
            chosen.append(resource)
    unmarked = {"run_id": "", "expires_at": "", "service": "", "reason": "it bears our name and none of our tags"}
    spared += [{**foreign, **unmarked} for foreign in found.foreign]
    return chosen, spared


def why_spared(resource: Mapping[str, Any], order: Order, now: dt.datetime) -> str:
    """Why this may not be deleted, or "" when it may."""
    run_id, expires_at, service = (str(resource.get(key) or "") for key in ("run_id", "expires_at", "service"))
    kind = str(resource["kind"])
    try:
        end = check_marks(run_id, expires_at, service, named(resource))
    except ValueError as exc:
        return str(exc)
    if service != order.service:
        return f"it is of the service {service}"
    if run_id in order.alive:
        return f"its run is alive on this machine: {order.alive[run_id]}"
    if run_id not in order.run_ids:
        if order.run_ids:
            return f"its run {run_id} was not named"
        if end > now:
            return f"the lease of its run lasts until {expires_at}"
    if kind == "security_group_rule":
        return _why_no_rule(resource)
    return ""


def named(resource: Mapping[str, Any]) -> str:
    """What has to end with the suffix of the run. Of what has no name of its own, that of what it belongs to.

    A rule's description was compared as a whole; of an interface the load balancer or group counts, which AWS alone
    takes away.
    """
    if resource["kind"] in ("security_group_rule", "network_interface"):
        return "-" + str(resource.get("run_id") or "").rpartition("-")[2]
    name = str(resource.get("name") or "")
    return name.rpartition(":")[0] if resource["kind"] == "listener" else name


def _why_no_rule(resource: Mapping[str, Any]) -> str:
    """Runs make one kind of rule on groups of others: let the run's own group in."""
    detail = resource.get("detail") or {}
    if detail.get("direction") != "ingress" or not str(detail.get("peer") or "").startswith("sg-"):
        return "runs make no such rule: it does not let in a security group"
    if detail.get("peer_run_id") not in (None, resource["run_id"]):
        return f"it lets in {detail['peer']}, which is not of this run"
    return ""
