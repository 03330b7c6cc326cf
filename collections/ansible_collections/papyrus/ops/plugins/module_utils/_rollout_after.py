# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a service runs after a rollout whose verdict nobody was left to give: its run was interrupted (F3, C6)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ._calls import Calls
from ._ecs_tasks import describe_service, short
from ._rollout_tasks import TaskWatch
from ._rows import listing

ITEM = "rollout.jsonl"


@dataclass(frozen=True)
class Unfinished:
    """The note that was written before a rollout, or before going back, began: `release` as the verdict shows it."""

    cluster: str
    service: str
    release: Mapping[str, Any]


def unfinished(lines: Iterable[Mapping[str, Any]]) -> Unfinished | None:
    """The last word about a rollout, when that is the note from before it; None when a verdict followed, or none began.

    Only the note names the service (`meta.service`), as only after it somebody has to ask what runs.
    """
    metas = [meta for line in lines if isinstance((meta := line.get("meta") or {}).get("release"), Mapping)]
    of = metas[-1].get("service") if metas else None
    if not isinstance(of, Mapping):
        return None
    return Unfinished(str(of.get("cluster", "")), str(of.get("service", "")), metas[-1]["release"])


def look(calls: Calls, left: Unfinished) -> tuple[bytes, dict[str, Any]]:
    """Content and meta of the item that says what runs now: three calls for a service of up to a hundred tasks.

    Nobody goes back here: ECS goes on with what it was asked for, and the cause says how far it is.
    """
    service = describe_service(calls, left.cluster, left.service)
    watch = TaskWatch(calls, left.cluster, left.service, log_lines=0, clean=str)
    seen = watch.serving(int(service.get("desiredCount") or 0), "")
    rollouts = [
        f"{short(str(item.get('taskDefinition')))} {item.get('status')} {item.get('rolloutState', '')}".strip()
        for item in service.get("deployments", [])
    ]
    cause = (
        f"{left.release.get('cause') or 'interrupted'}; nobody went back: the service asks for "
        f"{short(str(service.get('taskDefinition', '')))} ({listing(rollouts)}), {seen.text()}"
    )
    entry = {"event": "looked after the interruption", "deployments": rollouts, "running": dict(seen.running)}
    meta = {
        "release": {**left.release, "serving": seen.most, "cause": cause},
        "reason": cause,
        "request_ids": calls.request_ids,
    }
    return (json.dumps(entry, sort_keys=True) + "\n").encode(), meta
