# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a sweep tells: a list with age and reason, one sentence, the items of evidence (C7)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any

from ._leftovers import Found
from ._names import parse_run_id, rfc3339, utc_now
from ._printable import one_line
from ._rows import json_safe, listing
from ._sweep import Order, Resource, Swept, choose, counted

_IDS = 50


def told(found: Found, order: Order, now: dt.datetime) -> list[Resource]:
    """What was found, in order, each with `age` (seconds since its run began, None where no run is known), `swept`
    (whether the order allows to delete it) and `reason`: why it does, or why it does not."""
    chosen, spared = choose(found, order, now)
    return [{**each, "age": age_of(each, now), "swept": True, "reason": why_left(each, order)} for each in chosen] + [
        {**each, "age": age_of(each, now), "swept": False} for each in spared
    ]


def why_left(resource: Mapping[str, Any], order: Order) -> str:
    if resource["run_id"] in order.run_ids:
        return "its run was named"
    return f"the lease of its run ended at {resource['expires_at']}"


def age_of(resource: Mapping[str, Any], now: dt.datetime) -> int | None:
    try:
        started = parse_run_id(str(resource.get("run_id") or "")).started
    except ValueError:
        return None
    return max(0, int((now - started).total_seconds()))


def held_only(swept: Swept) -> bool:
    """Whether all that stays is what AWS has still to let go of: nothing refused, every question answered."""
    return not swept.after.failures and bool(swept.failed) and all(each.get("held") for each in swept.failed)


def text_of(swept: Swept, order: Order) -> str:
    """The sweep in one sentence."""
    runs = sorted({each["run_id"] for each in swept.deleted})
    parts = [f"{counted(swept.deleted)} deleted of {listing(runs, 3)}"] if runs else []
    parts += [f"{_what(each)}: {each['error']}" for each in swept.failed]
    parts += [f"not known: {failure['text']}" for failure in swept.after.failures]
    parts += [f"{_what(each)} is left alone: {each['reason']}" for each in named_spared(swept, order)]
    if swept.gone:
        whole = f"{sum(swept.calls.values())} calls, the last look was answered whole and shows nothing that was to go"
        parts = [*(parts or ["nothing was to be deleted"]), whole]
    return one_line("; ".join(parts) or "something is left")


def named_spared(swept: Swept, order: Order) -> list[Resource]:
    """Of the runs that were named, what was not deleted all the same."""
    return [each for each in swept.spared if each.get("run_id") in order.run_ids]


def untouched(swept: Swept) -> list[str]:
    """What was left alone, a line for each run and reason."""
    groups: dict[tuple[str, str], list[Resource]] = {}
    for each in swept.spared:
        groups.setdefault((str(each.get("run_id") or ""), each["reason"]), []).append(each)
    return [
        one_line(
            f"left alone: {counted(those)}{f' of {run_id}' if run_id else ''} "
            f"({listing((each['name'] or each['id'] for each in those), 2)}): {reason}"
        )
        for (run_id, reason), those in groups.items()
    ]


def evidence(swept: Swept, order: Order, *, step: str, hand: list[str], tolerate_held: bool = False) -> list[Any]:
    """Items for papyrus.ops.evidence_capture.

    C7: `alb_sg_leftover.json`, `alb_sg_delete.log`, `alb_sg_verify_gone.json`. B9: the same in one item,
    `leftovers_swept.json`, as those names speak of what the run itself has made.
    """
    text = text_of(swept, order)
    now = swept.before.asked_at or utc_now()
    asked = {
        "service": order.service,
        "run_ids": sorted(order.run_ids),
        "alive": dict(order.alive),
        "now": rfc3339(now),
    }
    left = {"asked": asked, "leftovers": told(swept.before, order, now), **swept.before.as_dict()}
    status = "ok" if swept.gone else "info" if tolerate_held and held_only(swept) else "ng"
    gone: dict[str, Any] = {"at": rfc3339(utc_now(), microseconds=True), "asked": asked, "reason": text}
    gone |= {**swept.after.as_dict(), "gone": swept.gone, "resources": swept.left, "calls": swept.calls}
    gone |= {"deleted": swept.deleted, "spared": swept.spared, "failed": swept.failed, "seconds": swept.seconds}
    if hand:
        gone["delete_by_hand"] = hand
    proof = {"status": status, "step": step, "reason": text, "meta": {"request_ids": swept.after.request_ids()[:_IDS]}}
    if step == "B9":
        whole = {"leftover": left, "delete": swept.log, "verify_gone": gone}
        return [{"name": "leftovers_swept.json", "content": json_safe(whole), **proof}]
    log = "".join(f"{line}\n" for line in swept.log) or "nothing was deleted\n"
    return [
        {"name": "alb_sg_leftover.json", "status": "info", "step": step, "content": json_safe(left)},
        {"name": "alb_sg_delete.log", "status": "info", "step": step, "content": log},
        {"name": "alb_sg_verify_gone.json", "content": json_safe(gone), **proof},
    ]


def unswept(swept: Swept) -> Iterable[Resource]:
    """What a person may delete by hand: what was to go and is still there."""
    there = {(each["kind"], each["id"]) for each in swept.after.resources}
    return [each for each in swept.failed if (each["kind"], each["id"]) in there]


def _what(resource: Mapping[str, Any]) -> str:
    return f"{str(resource['kind']).replace('_', ' ')} {resource['name'] or resource['id']}"
