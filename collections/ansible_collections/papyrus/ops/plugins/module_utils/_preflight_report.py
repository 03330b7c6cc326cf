# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a preflight hands on: the checks in reading order, facts for later steps, items of evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import _preflight_alb, _preflight_db, _preflight_ecs, _preflight_runner
from ._preflight import Check, Facts
from ._rows import Row, ids_of, json_safe, table, without_metadata

IDENTITY = _preflight_runner.IDENTITY
_ALL = (*_preflight_runner.CHECKS, *_preflight_ecs.CHECKS, *_preflight_db.CHECKS, *_preflight_alb.CHECKS)
CHECKS: tuple[Check, ...] = tuple(sorted(_ALL, key=lambda check: (check.id[0], int(check.id[1:]))))
IDS = tuple(check.id for check in (IDENTITY, *CHECKS))

REASON_LIMIT = 300
"""Characters of a reason in the manifest's line; the item has it in full."""


def chosen(ids: Sequence[str]) -> list[Check]:
    """The checks of these ids in reading order; all when none are named. ValueError for an id that does not exist."""
    unknown = sorted(set(ids) - set(IDS))
    if unknown:
        raise ValueError(f"there is no row {', '.join(unknown)}; there are {', '.join(IDS)}")
    return [check for check in CHECKS if not ids or check.id in ids]


def facts_for_later(facts: Facts) -> dict[str, Any]:
    """Answers that later steps use, by stable names; None for what was not asked for or has no answer."""
    known = facts.known()
    tasks, routes, drift = known.get("tasks"), known.get("routes"), known.get("drift")
    definitions = [value for name, value in known.items() if name.startswith("task definition ")]
    return {
        "tasks": tasks.tasks if tasks else None,
        "left_out": tasks.left_out if tasks else None,
        "targets": known.get("targets"),
        "service": without_metadata(known["service"]) if "service" in known else None,
        "task_definition": json_safe(definitions[0]) if len(definitions) == 1 else None,
        "routes": routes.routes if routes else None,
        "drift": {"rows": [row.as_dict() for row in drift.rows], "facts": json_safe(drift.facts)} if drift else None,
        "sg_inbound": json_safe(known.get("db rules")),
        "parameters": json_safe(known.get("parameters")),
    }


def evidence(rows: Sequence[Row], facts: Facts, factory: str) -> list[dict[str, Any]]:
    """Items for `evidence_capture`. preflight.json carries the verdict on each row; the others only inform."""
    by_id = {row.id: row for row in rows}
    items = [
        {
            "name": "preflight.json",
            "content": {"rows": [row.as_dict() for row in rows], "table": table(rows).splitlines()},
            "status": "ng" if ids_of(rows, "ng") else "ok",
            "step": "B",
            "media_type": "application/json",
            "meta": {
                "rows": [{"id": row.id, "status": row.status, "reason": row.reason[:REASON_LIMIT]} for row in rows],
                "request_ids": [request_id for row in rows for request_id in row.request_ids][:20],
            },
        }
    ]
    routes = facts.known().get("routes")
    if routes is not None:
        items.append(_informs("routes.log", routes.log(factory), by_id.get("B1"), "text/plain"))
    for name, row_id in (
        ("secrets_rds_drift.json", "B2"),
        ("rds_sg_inbound_after.json", "B5"),
        ("rds_parameters.json", "B4"),
    ):
        row = by_id.get(row_id)
        if row is not None and row.data:
            items.append(_informs(name, {"row": row.as_dict()}, row, "application/json"))
    return items


def _informs(name: str, content: Any, row: Row | None, media_type: str) -> dict[str, Any]:
    meta: Mapping[str, Any] = {"row": row.id, "request_ids": list(row.request_ids)[:20]} if row else {}
    return {
        "name": name,
        "content": content,
        "status": "info",
        "step": row.id if row else "B",
        "media_type": media_type,
        "meta": dict(meta),
    }
