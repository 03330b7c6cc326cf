# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules that export have in common: their options, several regions side by side, what they return."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ._export import ExportRefused, Request
from ._export_filter import Criterion
from ._export_report import moment
from ._export_run import Outcome, identity
from ._export_store import REPORT, unfinished
from ._names import parse_rfc3339

ARGUMENTS: dict[str, Any] = {
    "path": {"type": "path", "required": True},
    "start": {"type": "str"},
    "end": {"type": "str"},
    "hours": {"type": "int"},
    "days": {"type": "int"},
    "lag": {"type": "float", "default": 0.0},
    "regions": {"type": "list", "elements": "str", "default": []},
    "rate": {"type": "float", "default": 1.0},
    "quota": {"type": "float"},
    "lanes": {"type": "int", "default": 2},
    "settle": {"type": "bool", "default": False},
    "delivery": {"type": "float"},
    "resume": {"type": "bool", "default": True},
    "private": {"type": "path"},
}
"""See doc_fragments/export.py."""
EXCLUSIVE = [("start", "hours", "days"), ("end", "hours", "days")]
ONE_OF = [("start", "hours", "days")]

_REGION = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")
_LONGEST = 3650 * 86400
_LATEST = 86400.0
_SKEW = 300.0
"""Seconds that the clock here may be wrong."""


def span(asked: Mapping[str, Any], now: float, retention: float = 0.0) -> tuple[float, float, dict[str, Any]]:
    """Start and end in whole seconds since 1970, and what was asked for as it was given. ExportRefused for nonsense."""
    for name in ("lag", "delivery"):
        seconds = asked.get(name) or 0.0
        if not 0 <= seconds <= _LATEST:
            raise ExportRefused(f"{name} must be 0 to {_LATEST:g} seconds, not {seconds:g}")
    for name, length in (("hours", 3600), ("days", 86400)):
        if asked[name] is not None:
            if not 1 <= asked[name] <= _LONGEST // length:
                raise ExportRefused(f"{name} must be 1 to {_LONGEST // length}, not {asked[name]}")
            lag = asked.get("lag") or 0.0
            end, given = math.floor(now - lag), {name: asked[name], **({"lag": lag} if lag else {})}
            start = end - asked[name] * length
            if retention and start > now - retention - lag - _SKEW:
                start = max(start, math.floor(now - retention))  # the oldest that is kept: the lag costs it, no more
            break
    else:
        given = {name: asked[name] for name in ("start", "end") if asked[name] is not None}
        start = math.floor(_time("start", asked["start"]))
        end = math.floor(now) if asked["end"] is None else math.ceil(_time("end", asked["end"]))
    if end > now + _SKEW:
        raise ExportRefused(f"the end {asked['end']} is not yet over; it is {moment(now)}")
    if not start < end:
        raise ExportRefused(f"the start {moment(start)} must be before the end {moment(end)}")
    if retention and start < now - retention - _SKEW:
        raise ExportRefused(
            f"the start {moment(start)} is more than {retention / 86400:g} days ago, and nothing older is kept there"
        )
    return float(start), float(end), given


def check_rate(rate: float, quota: float) -> None:
    """ExportRefused for more than the quota, which all who ask share. A quota of 0 is none, and allows a rate of 0."""
    if not math.isfinite(rate) or rate < 0 or not math.isfinite(quota) or quota < 0:
        raise ExportRefused(f"rate and quota are requests a second, not {rate:g} and {quota:g}")
    if quota and not 0 < rate <= quota:
        raise ExportRefused(
            f"rate must be more than 0 and at most {quota:g} requests a second, not {rate:g}: all who ask share what "
            f"AWS takes"
        )


def roots(path: str, regions: Sequence[str], own: str) -> dict[str, Path]:
    """The folder for each region's exports: `path` itself without a list of regions, else one below for each."""
    if not regions:
        return {own: Path(path)}
    for region in regions:
        if not _REGION.fullmatch(region):
            raise ExportRefused(f"{region!r} is no region")
    if len(set(regions)) < len(regions):
        raise ExportRefused("a region is listed twice")
    return {region: Path(path) / region for region in regions}


def planned(
    requests: Mapping[str, Request], folders: Mapping[str, Path], criterion: Criterion | None, asked: Mapping[str, Any]
) -> dict[str, str]:
    """For check mode: by region the folder of the export that would be gone on with, "" for a new one."""
    found = {}
    for region, request in requests.items():
        wanted = identity(request, criterion, asked["settle"])
        found[region] = str(unfinished(folders[region], wanted) or "") if asked["resume"] else ""
    return found


def speaker(tell: Callable[[str], None], prefix: str) -> Callable[[str], None]:
    """`tell` for texts that begin with `prefix`, where there is one."""
    return lambda text: tell(f"{prefix}: {text}" if prefix else text)


def side_by_side(regions: Sequence[str], work: Callable[[str], Outcome]) -> dict[str, Outcome | Exception]:
    """`work` for each region, each on a thread; in the order given. Exceptions are results."""
    found: dict[str, Outcome | Exception] = {}

    def run(region: str) -> None:
        try:
            found[region] = work(region)
        except Exception as exc:
            found[region] = exc

    threads = [threading.Thread(target=run, args=[region], name=region, daemon=True) for region in regions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {region: found[region] for region in regions}


def told(found: Mapping[str, Outcome | Exception]) -> dict[str, Any]:
    """The result of a module."""
    exports = [_told(region, outcome) for region, outcome in found.items()]
    return {
        "exports": exports,
        "complete": all(one["complete"] for one in exports),
        "settled": all(one["settled"] for one in exports),
        "written": sum(one["written"] for one in exports),
        "requests": sum(one["requests"] for one in exports),
    }


def why_not(found: Mapping[str, Outcome | Exception]) -> str:
    """What went wrong, for a message; "" when every export is complete."""
    reasons = []
    for region, outcome in found.items():
        if isinstance(outcome, Exception):
            reasons.append(f"{region}: {outcome}")
        elif outcome.reason:
            reasons.append(
                f"{region}: stopped: {outcome.reason.rstrip('.')}. Everything up to there is kept in {outcome.folder}; "
                f"the same call goes on from there."
            )
        elif not outcome.complete:
            gaps = "; ".join(f"{gap['start']} to {gap['end']}: {gap['reason']}" for gap in outcome.report["gaps"])
            reasons.append(f"{region}: not complete: {gaps}")
    return " ".join(reasons)


def _told(region: str, outcome: Outcome | Exception) -> dict[str, Any]:
    if isinstance(outcome, Exception):
        return {
            "region": region,
            "reason": str(outcome),
            **dict.fromkeys(("folder", "completeness", "filter_jq"), ""),
            **dict.fromkeys(("complete", "settled", "resumed"), False),
            **dict.fromkeys(("written", "requests"), 0),
            "files": [],
            "report": {},
        }
    finished = not outcome.reason
    return {
        "region": region,
        "folder": str(outcome.folder),
        "filter_jq": (outcome.report["filter"] or {}).get("jq", ""),
        "complete": outcome.complete,
        "settled": outcome.settled,
        "resumed": outcome.resumed,
        "reason": outcome.reason,
        "written": outcome.report["counts"]["items"],
        "requests": outcome.report["requests"],
        "files": [{**file, "path": str(outcome.folder / file["name"])} for file in outcome.files],
        "completeness": str(outcome.folder / REPORT) if finished else "",
        "report": dict(outcome.report),
    }


def _time(name: str, text: str) -> float:
    try:
        return parse_rfc3339(text).timestamp()
    except ValueError as exc:
        raise ExportRefused(f"{name}: {exc}") from exc
