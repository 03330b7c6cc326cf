# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds bundles against the ledger: which runs were opened and never shown, and is what is shown what was announced?"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ._ledger_base import Entry, Ledger, LedgerError, LedgerMissing
from ._names import parse_rfc3339, parse_run_id, rfc3339
from ._printable import printable
from ._verdict import RESULTS

ANNOUNCED_WITHIN = dt.timedelta(minutes=15)
"""Between the time in a run's id and its announcement; a run that was announced once it had gone well is later."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORSE = {"ok": 0, "incomplete": 1, "tampered": 2}


def against_ledger(
    ledger: Ledger,
    shown: Sequence[Mapping[str, Any]],
    *,
    service: str = "",
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
) -> dict[str, Any]:
    """`shown` are bundles: run_id, run_sha256, attestation_sha256 ("" when not sealed), folder; where they are known
    result and manifest_head. Asked for are all runs of the ledger that began in the time, of `service` where given.

    Returns `result` (ok, incomplete, tampered), `findings` ({class, result, reason, run_id, path}), `opened`, `shown`,
    `never_shown` and `unclosed` (run ids), `where`, `protection` (what keeps entries there, "" when nothing does).
    LedgerError when the ledger cannot be read.
    """
    findings: list[dict[str, Any]] = []

    def note(kind: str, result: str, run_id: str, reason: str, folder: str = "") -> None:
        found = {"class": kind, "result": result, "run_id": run_id, "reason": printable(reason), "path": folder}
        findings.append(found)

    try:
        protection = ledger.check(read_only=True)
    except LedgerMissing:
        raise  # a wrong path must accuse nobody
    except LedgerError as exc:
        protection = ""
        note("ledger-unsafe", "incomplete", "", str(exc))
    entries = {entry.run_id: entry for entry in ledger.runs(since, until)}
    asked = [entry for entry in entries.values() if not service or _service(entry) in (service, "")]
    for bundle in shown:
        run_id, folder = str(bundle["run_id"]), str(bundle.get("folder") or "")
        entry = entries.get(run_id) or _one(ledger, run_id)
        if entry is None or (entry.opened is None and entry.closed is None and not entry.problems):
            note("never-opened", "tampered", run_id, f"run {run_id} was never announced in {ledger.where}", folder)
            continue
        entries[run_id] = entry
        for kind, result, reason in _compare(entry, bundle):
            note(kind, result, run_id, f"run {run_id}: {reason}", folder)
    known = {str(bundle["run_id"]) for bundle in shown}
    never_shown = [entry.run_id for entry in asked if entry.run_id not in known]
    looked_at = {entry.run_id: entry for entry in asked} | {one: entries[one] for one in known if one in entries}
    for run_id, entry in sorted(looked_at.items()):
        for reason in [*entry.problems, *_wrong(entry)]:
            note("ledger-entry", "tampered", run_id, f"run {run_id}: {reason}")
        if run_id in never_shown:
            note("never-shown", "incomplete", run_id, f"{_story(entry)}; no bundle of it was shown")
    unclosed = sorted(one for one, entry in looked_at.items() if entry.opened is not None and entry.closed is None)
    for run_id in unclosed:
        why = f"run {run_id} was opened and not closed: it is under way, or its end was never told"
        note("unclosed", "incomplete", run_id, why)
    return {
        "result": max((one["result"] for one in findings), key=_WORSE.__getitem__, default="ok"),
        "findings": findings,
        "opened": len(asked),
        "shown": len(shown),
        "never_shown": never_shown,
        "unclosed": unclosed,
        "where": ledger.where,
        "protection": protection,
    }


def _one(ledger: Ledger, run_id: str) -> Entry | None:
    """The entry of a run that did not begin in the time that was asked for; None for an id that is none."""
    try:
        started = parse_run_id(run_id).started
    except ValueError:
        return None
    return next((entry for entry in ledger.runs(started, started) if entry.run_id == run_id), None)


def _compare(entry: Entry, bundle: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Class, result and reason of each difference between what is shown and what the ledger holds of it."""
    opened, closed = entry.opened or {}, entry.closed or {}
    if entry.opened is not None and opened.get("run_sha256") != bundle.get("run_sha256"):
        yield "run-differs", "tampered", "its run.json is not the one that was announced"
    if entry.closed is None:
        return
    announced, attested = closed.get("attestation_sha256"), bundle.get("attestation_sha256")
    same_head = bool(bundle.get("manifest_head")) and closed.get("manifest_head") == bundle.get("manifest_head")
    if bundle.get("manifest_head") and not same_head:
        yield "manifest-differs", "tampered", "its manifest is not the one with which it was closed"
    if announced and announced != attested:
        what = "its attestation is not the one" if attested else "it was sealed, and is shown without the attestation"
        yield "attestation-differs", "tampered", f"{what} with which it was closed"
    elif attested and not announced and not same_head:
        yield "sealed-later", "incomplete", "it was sealed after it was closed: the ledger does not hold this seal"
    if bundle.get("result") and bundle["result"] != closed.get("result"):
        yield "result-differs", "tampered", f"it was closed as {closed.get('result')}, and says {bundle['result']}"


def _wrong(entry: Entry) -> Iterator[str]:
    """What cannot be in an entry that this collection wrote."""
    if entry.opened is None and entry.closed is not None:
        yield "it was closed, and its opening is not there"
    for what, value in (("opened", entry.opened), ("closed", entry.closed)):
        if value is None:
            continue
        if value.get("run_id") != entry.run_id:
            yield f"the entry {what} speaks of run {value.get('run_id')}"
        try:
            at = parse_rfc3339(str(value.get(f"{what}_at")))
        except ValueError:
            yield f"the entry {what} has no time"
            continue
        if what == "opened":
            yield from _late(entry, at)
        elif value.get("result") not in RESULTS:
            yield f"it was closed as {value.get('result')!r}, which is no result"
    if entry.opened is not None and not _SHA256.fullmatch(str(entry.opened.get("run_sha256"))):
        yield "the entry opened has no hash of run.json"


def _late(entry: Entry, opened_at: dt.datetime) -> Iterator[str]:
    started = parse_run_id(entry.run_id).started
    for who, at in (("it says", opened_at), ("the store says", entry.stored_at)):
        if at is not None and abs(at - started) > ANNOUNCED_WITHIN:
            yield f"{who} that it was announced at {rfc3339(at)}, not when it began"


def _service(entry: Entry) -> str:
    """The service of a run; "" when its entry does not say: then it is asked for with every service."""
    return str((entry.opened or {}).get("service") or "")


def _story(entry: Entry) -> str:
    opened, closed = entry.opened or {}, entry.closed or {}
    end = f"closed {closed.get('result')} at {closed.get('closed_at')}" if closed else "never closed"
    return f"run {entry.run_id} of {opened.get('service')} was opened at {opened.get('opened_at')} and {end}"
