"""The preflight with each of its calls failing for ever: no row that needs the call is OK, one is NG and says why.

Which rows need a call is told by the request ids of a preflight without faults.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils import _preflight, _preflight_report

from . import harness
from .fault_applies import network_outputs
from .fault_cells import RECORD, Api
from .fault_direct import in_the_way, product_clients
from .services import CLUSTER, DATABASE, SECRET, SERVICE, unique

FOR_EVER = ("throttled", "error 500", "page 200", "cut off", "answer lost", "expired")
TIMEOUT = 240.0
"""Seconds; a machine with other work must not be taken for a fault."""
INFORMS = {("rds:DescribeEvents", "B4")}
"""Calls without whose answer a row may be OK, if it says which one is missing."""
NOT_OF_AWS = {"B1", "B11"}
"""They ask the app's code and Terraform."""


@dataclass
class PreflightCell:
    """A preflight with one call failing. `rows` are those that need the call, with what they said."""

    api: str
    fault: str
    hit: int
    rows: dict[str, str]
    said: str
    seconds: float
    wrong: str = ""
    ok: list[str] = field(default_factory=list)


def preflight(key: str, timeout: float) -> list[Any]:
    """The rows of the permanent service's preflight, asked with this access key."""

    known, outputs = harness.facts(), network_outputs()
    settings = _preflight.Settings(
        account_id=known["account_id"], region=known["region"], cluster=CLUSTER, service=SERVICE, container="app",
        port=5000, task_family="papyrus-task", secret_id=SECRET, db_instance=DATABASE, db_name="papyrus",
        db_username_rule="papyrus_app", db_allowlist=("127.0.0.1/32",), db_ca_file=known["ca_file"],
        vpc_id=outputs["vpc_id"], tasks_sg_id=outputs["ecs_tasks_sg_id"], name_prefix="papyrus-smoke",
        alb_subnet_ids=tuple(outputs["public_subnet_ids"]), alb_ingress_cidrs=("127.0.0.1/32",),
        run_id="20260131T120000Z-abcdef", credentials={"kind": "static", "method": "a test's"}, timeout=timeout,
    )  # fmt: skip
    checks = _preflight_report.chosen([each for each in _preflight_report.IDS if each not in NOT_OF_AWS])
    facts = _preflight.Facts(product_clients(key, retries=_preflight.RETRIES), settings)
    rows: list[Any] = _preflight.run(_preflight_report.IDENTITY, checks, facts)
    return rows


def needs() -> dict[Api, set[str]]:
    """Call → ids of the rows that need it. The preflight is fine without faults, or there is nothing to compare."""
    key = unique("direct")
    rows = preflight(key, TIMEOUT)
    assert {row.status for row in rows} == {"ok"}, [(row.id, row.reason) for row in rows if row.status != "ok"]
    of_id = {call["request_id"]: Api.of(call) for call in RECORD.of(key)}
    found: dict[Api, set[str]] = defaultdict(set)
    for row in rows:
        for request_id in row.request_ids:
            api = of_id.get(request_id.rpartition(" ")[2])
            if api is not None:
                found[api].add(row.id)
    asked = {api for api in of_id.values() if api is not None}
    return {api: found.get(api, set()) for api in asked}


def one(api: Api, fault: str, rows: set[str], timeout: float) -> PreflightCell:
    """Ask with the call failing for ever."""
    begun = time.monotonic()
    with in_the_way([api], fault, None) as key:
        answered = preflight(key, timeout)
    seconds = round(time.monotonic() - begun, 1)
    hit = sum(1 for call in RECORD.of(key) if call["fault"])
    refused = [row for row in answered if row.status == "ng"]
    said = "; ".join(f"{row.id} {row.reason}" for row in refused)
    told = {row.id: row.status for row in answered if row.id in rows}
    cell = PreflightCell(str(api), fault, hit, told, said[:600], seconds)
    well = [row for row in answered if row.id in rows and row.status == "ok"]
    cell.ok = sorted(
        row.id for row in well if (str(api), row.id) not in INFORMS or api.operation not in json.dumps(row.as_dict())
    )
    if not hit:
        cell.wrong = "the call was never made"
    elif cell.ok:
        cell.wrong = f"OK though their call failed: {', '.join(cell.ok)}"
    elif not refused and rows and set(told.values()) != {"ok"}:
        cell.wrong = "no row is NG"
    elif rows and refused and api.operation not in said:
        cell.wrong = "no row names the call"
    return cell


def run(faults: Iterable[str] = FOR_EVER, at_once: int = 6, say: Callable[[str], None] = print) -> list[PreflightCell]:
    """Each call of the preflight × fault."""
    known = needs()
    say(json.dumps({str(api): sorted(rows) for api, rows in sorted(known.items())}))
    with ThreadPoolExecutor(at_once) as pool:
        wanted = [(api, fault, known[api], TIMEOUT) for fault in faults for api in sorted(known)]
        return list(pool.map(lambda each: one(*each), wanted))
