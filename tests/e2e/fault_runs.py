"""What each playbook of the matrix needs around it, and what would be a wrong word of it: made for one run alone."""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from . import alarms, fault_sweeps, harness
from .fault_cells import Around
from .recorded import changed_app
from .releases import Served
from .services import Services
from .test_alarm_drill import drill_left
from .test_audit import Account, completeness, lines_of

Say = Callable[[harness.Smoke], str]
Stage = Callable[[Path], AbstractContextManager[Around]]
LOCK = threading.Lock()
"""What is around a run is made for one at a time: some look for a free name first."""


@contextlib.contextmanager
def smoke(folder: Path) -> Iterator[Around]:
    """Of the permanent service."""
    yield Around()


@contextlib.contextmanager
def sweep(folder: Path) -> Iterator[Around]:
    """Of a service of its own, for which an expired run and a drill have left something of each kind."""
    with LOCK:
        left = fault_sweeps.Left.make(f"fault-{secrets.token_hex(3)}")
    variables = {
        "papyrus_service": left.service,
        "papyrus_monitor_name": fault_sweeps.PREFIX,
        "papyrus_drill_topic_arn": fault_sweeps.topic(),
        "papyrus_sweep_timeout": 240,
        "papyrus_sweep_interval": 1,
    }
    yield Around(variables, left=lambda run_id: left.there())
    fault_sweeps.sweep("later", [left.run_id], fault_sweeps.scope(left.service))


@contextlib.contextmanager
def audit(folder: Path) -> Iterator[Around]:
    """Of an account of its own, which this access key is the root of."""
    account = Account(f"6{secrets.randbelow(10**11):011d}")
    with LOCK:
        account.prepare()
    names = ("papyrus_account_id", "papyrus_service", "papyrus_audit_log_groups", "papyrus_audit_parts")
    yield Around(
        {name: account.variables[name] for name in names}, account.number, lambda run_id: [], _exported(account)
    )


def _exported(account: Account) -> Say:
    """An export that is complete has every event and line that was put there, once."""

    def wrong(smoke: harness.Smoke) -> str:
        if smoke.verdict["result"] == "FAILED":
            return ""
        events = [each["eventID"] for each in lines_of(smoke, "cloudtrail_24h.jsonl.gz")]
        logged = [each["message"] for each in lines_of(smoke, "logs_24h.jsonl.gz")]
        if len(events) != len(set(events)) or not account.events <= set(events):
            return f"complete, with {len(set(events) & account.events)} of {len(account.events)} events"
        if logged != [json.loads(line)["message"] for line in account.lines]:
            return f"complete, with {len(logged)} of {len(account.lines)} lines of the log"
        config = [each["resourceId"] for each in lines_of(smoke, "config_24h.jsonl.gz")]
        if account.deleted not in config:
            return "complete, without the group that Config saw"
        said = [completeness(smoke, name)["complete"] for name in ("cloudtrail", "config", "logs")]
        return "" if all(said) else f"passed, and not complete: {said}"

    return wrong


@contextlib.contextmanager
def release(folder: Path) -> Iterator[Around]:
    """Of a changed app, to a service of its own, which goes away afterwards."""
    services = Services()
    with contextlib.closing(services):
        with LOCK:
            service = services.service("faulty", breaker=True)
        old = Served(service).revision
        folder.mkdir(parents=True)
        variables = service | changed_app(folder) | {"rollout_interval": 1}
        yield Around(variables, wrong=lambda smoke: _released(smoke, service, old))


def _released(smoke: harness.Smoke, service: dict[str, Any], old: str) -> str:
    """What the verdict says serves is what serves; a release that passed is the new revision alone."""
    told, served = smoke.verdict["release"] or {}, Served(service)
    if told and told["serving"] != served.revision:
        return f"says that {told['serving']} serves, and it is {served.revision}"
    if smoke.verdict["result"] != "FAILED" and (served.revision == old or not served.only(served.revision)):
        return f"passed, and {served.revisions} run: {served.deployments}"
    if told.get("result") == "rolled_back" and not served.only(old):
        return f"says that it went back, and {served.revisions} run: {served.deployments}"
    return ""


@contextlib.contextmanager
def drill(folder: Path) -> Iterator[Around]:
    """Of a service of its own, with the alarms that monitor.yml makes for it."""
    services = Services()
    with contextlib.closing(services), alarms.watched(services, folder / "watched") as variables:
        name = str(variables["papyrus_monitor_name"])
        topic = alarms.topic_of(name)
        yield Around(
            variables, left=lambda run_id: drill_left(run_id, topic), wrong=lambda smoke: _drilled(smoke, name)
        )


def _drilled(smoke: harness.Smoke, name: str) -> str:
    """A drill that passed has rung every alarm and was heard; the permanent ones are there after any."""
    there = {alarm["AlarmName"] for alarm in alarms.named(name)}
    if not {f"{name}-{kind}" for kind in alarms.KINDS} <= there:
        return f"of the permanent alarms there are {sorted(there)}"
    if smoke.verdict["result"] == "FAILED":
        return ""
    unheard = [
        kind
        for kind in alarms.KINDS
        if {message["new"] for message in json.loads(smoke.item(f"alarm_{kind}.json"))["messages"]} < {"ALARM", "OK"}
    ]
    return f"passed, and nobody was told of {unheard}" if unheard else ""


PLAYBOOKS: dict[str, tuple[str, float, Stage]] = {
    "alb_smoke": ("playbooks/alb_smoke.yml", 1800.0, smoke),
    "sweep": ("playbooks/sweep.yml", 900.0, sweep),
    "audit_export": ("playbooks/audit_export.yml", 900.0, audit),
    "release": ("playbooks/release.yml", 2400.0, release),
    "alarm_drill": ("playbooks/alarm_drill.yml", 3600.0, drill),
}
"""Name → playbook, seconds, what is around it."""
