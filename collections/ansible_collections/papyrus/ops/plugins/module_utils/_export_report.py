# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of an export: how long it may take, how far it is, and at the end what is in it and what is not."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ._export import Progress, Request, Source
from ._export_state import State
from ._names import rfc3339

SCHEMA = "papyrus.ops/export/1"
RETENTION_SLACK = 3600.0
"""Seconds at the old end that a source may forget while it is read; more than that is a gap."""


def moment(at: float | None) -> str | None:
    """RFC 3339, with a fraction where there is one."""
    if at is None:
        return None
    return rfc3339(dt.datetime.fromtimestamp(at, dt.UTC), microseconds=not float(at).is_integer())


def settled(progress: Progress, delivery: float) -> bool:
    """Whether everything that belongs to the unit must have been in the source when it was first asked."""
    return progress.began is not None and progress.began >= progress.asked.end + delivery


def windows(progress: Iterable[Progress], delivery: float) -> list[dict[str, Any]]:
    """Each unit as a window of time; an empty one as well. For `Source.summary`."""
    return [
        {
            "start": moment(one.asked.start),
            "end": moment(one.asked.end),
            "events": one.items,
            "duplicates": one.duplicates,
            "malformed": one.malformed,
            "requests": one.requests,
            "first": moment(one.first),
            "last": moment(one.last),
            "began": moment(one.began),
            "read_at": moment(one.ended) if one.done else None,
            "settled": settled(one, delivery),
            "cuts": one.cuts,
            "lost_tokens": one.lost_tokens,
            **({"counts": one.counts} if one.counts else {}),
            **({"note": one.note} if one.note else {}),
        }
        for one in progress
    ]


def gaps(source: Source, request: Request, progress: Sequence[Progress]) -> list[dict[str, Any]]:
    """What was not read: units that are not done, and what the source had forgotten before it was asked."""
    found = [
        {
            "unit": one.asked.key,
            "start": moment(one.asked.start),
            "end": moment(one.unit.end if one.pages else one.asked.end),
            "reason": "not read to its end" if one.pages else "not read",
        }
        for one in progress
        if not one.done
    ]
    kept_from = forgotten(source, progress)
    if kept_from is not None and kept_from - request.start > RETENTION_SLACK:
        reason = f"older than the {source.retention / 86400:g} days that the source keeps, when it was read"
        found.append({"unit": "", "start": moment(request.start), "end": moment(kept_from), "reason": reason})
    return found


def forgotten(source: Source, progress: Iterable[Progress]) -> float | None:
    """Up to when the source may have forgotten what was asked of it, while it was asked; None where it did not."""
    if not source.retention:
        return None
    found = None
    for one in progress:
        if one.ended is not None and one.asked.start < one.ended - source.retention:
            found = max(found or 0.0, min(one.ended - source.retention, one.asked.end))
    return found


def report(
    source: Source,
    request: Request,
    state: State,
    files: Sequence[Mapping[str, Any]],
    *,
    rate: float,
    criterion: Mapping[str, Any] | None,
    began: float,
    ended: float,
) -> dict[str, Any]:
    """completeness.json. `files` is empty as long as the export is not finished."""
    progress = list(state.progress.values())
    missing = gaps(source, request, progress)
    kept_from = forgotten(source, progress)
    # Between the first request and the last there is one pause less than there are requests.
    reached = max(state.counts.requests - 1 - state.resumed, 0) / state.elapsed if state.elapsed else 0.0
    sums = {name: sum(getattr(one, name) for one in progress) for name in _SUMS}
    for one in progress:
        for name, count in one.counts.items():
            sums[name] = sums.get(name, 0) + count
    return {
        "schema": SCHEMA,
        "export": request.stem,
        "source": source.name,
        "operation": source.operation,
        "account": request.account,
        "region": request.region,
        "asked": request.asked,
        "start": moment(request.start),
        "end": moment(request.end),
        "complete": state.planned and not missing,
        "settled": state.planned and all(settled(one, source.delivery) for one in progress),
        "delivery_seconds": source.delivery,
        "counts": {"units": len(progress), "units_done": state.done, **sums},
        "first": moment(min((one.first for one in progress if one.first is not None), default=None)),
        "last": moment(max((one.last for one in progress if one.last is not None), default=None)),
        "gaps": missing,
        "retention": {"seconds": source.retention, "kept_from": moment(kept_from)} if source.retention else None,
        **source.summary(progress),
        "requests": state.counts.requests,
        "throttles": state.counts.throttles,
        "retries": state.counts.retries,
        "resumed": state.resumed,
        "rate": {"set": rate, "reached": round(reached, 3)},
        "began": moment(began),
        "ended": moment(ended),
        "elapsed_seconds": round(state.elapsed, 3),
        "filter": criterion,
        "files": list(files),
    }


_SUMS = ("items", "duplicates", "malformed", "pages", "cuts", "lost_tokens")


@dataclass(frozen=True)
class Estimate:
    """What all of an export may come to. `known` is the number of units that this was reckoned from."""

    items: float
    requests: float
    known: int

    def seconds(self, state: State, rate: float) -> float:
        """Time left, at the set rate or, where there is none, at that which was reached."""
        pace = rate or (state.counts.requests / state.elapsed if state.elapsed else 0.0)
        left = max(self.requests - state.counts.requests, 0.0)
        return left / pace if pace else 0.0


def estimate(state: State, left: Mapping[str, float]) -> Estimate | None:
    """From the units that were asked at least once; `left` is which part of a unit is still to come, by key.

    A unit counts by its time: the first and the last are often short.
    """
    items = requests = asked = 0.0
    known = 0
    every = sum(_length(one) for one in state.progress.values())
    for key, one in state.progress.items():
        if one.done:
            part = 1.0
        elif key in left:
            part = max(1 - left[key], 1 / _length(one))
        else:
            continue
        known += 1
        asked += _length(one)
        items += one.items / part
        requests += max(one.requests / part, 1.0)
    if not known:
        return None
    scale = every / asked
    return Estimate(items * scale, max(requests * scale, len(state.progress)), known)


def _length(one: Progress) -> float:
    """Seconds of a unit, whose ends are both asked."""
    return one.asked.end - one.asked.start + 1


def span(seconds: float) -> str:
    """`3 h 05 min`, `12 min`, `8 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 60} min" if whole >= 120 else f"{whole} s"
