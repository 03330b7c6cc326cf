# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs an export: one coordinator, a few requests in flight, each page on disk as soon as it is there.

    outcome = export(source, request, root, rate=1.0, lanes=2, redactor=redactor, criterion=None, settle=False,
                     resume=True, say=PROGRESS.line, now=PROGRESS.now)

`source` is a `_export.Source`, `request` a `_export.Request`, `root` the folder below which `<UTC timestamp>/` with
`<stem>_<UTC>.jsonl.gz`, `<stem>_<UTC>.<filter name>.jsonl.gz` and `completeness.json` come into being. `rate` is
requests a second (0: not paced), `redactor` a `_redaction.Redactor`, `criterion` a `_export_filter.Filter` or None,
`say` gets what happens, `now` how far it is. A source whose `units` makes calls asks by a `_export_pace.Patient`, which
is given to `export` as `patient` instead of a rate: then all share the slots, and all is counted.

The `Outcome` has `folder`, `complete`, `settled`, `resumed`, `reason` ("" or why it stopped before its end), `failure`
(the AwsFailure behind it, if any), `files` (name, bytes, lines, sha256) and `report` (what completeness.json has, or
would have). An export that stopped has no completeness.json: the same call goes on with it. ExportRefused for what
makes no sense and for a folder in which somebody else exports: nothing was written then.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._aws import AwsFailure
from ._export import ExportRefused, Request, Source, Unit
from ._export_filter import Criterion
from ._export_flights import Flights, Threads
from ._export_pace import Pacer, Patient
from ._export_report import report
from ._export_state import State
from ._export_store import Damaged, Finished, Store, create, opened, stamp_of, unfinished
from ._export_work import Clock, Coordinator, Stopped
from ._redaction import Redactor

LONG = 200
"""Pages after which a unit is cut at the moment reached, so that the ids in memory stay few."""
MOST_LANES = 8

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_FORMAT = 1


@dataclass(frozen=True)
class Outcome:
    """What became of an export. `reason` says why it stopped before its end, `failure` is behind it."""

    folder: Path
    report: Mapping[str, Any]
    resumed: bool
    reason: str = ""
    failure: AwsFailure | None = None

    @property
    def complete(self) -> bool:
        return not self.reason and bool(self.report["complete"])

    @property
    def settled(self) -> bool:
        return not self.reason and bool(self.report["settled"])

    @property
    def files(self) -> Sequence[Mapping[str, Any]]:
        files: Sequence[Mapping[str, Any]] = self.report["files"]
        return files


@dataclass(frozen=True)
class _How:
    """The options of `export`."""

    redactor: Redactor
    patient: Patient
    lanes: int
    criterion: Criterion | None
    settle: bool
    say: Callable[[str], object]
    now: Callable[[str], object]
    clock: Clock
    flights: Flights | None
    long: int


def export(
    source: Source,
    request: Request,
    root: Path,
    *,
    redactor: Redactor,
    rate: float = 1.0,
    lanes: int = 2,
    criterion: Criterion | None = None,
    settle: bool = False,
    resume: bool = True,
    say: Callable[[str], object] = str,
    now: Callable[[str], object] = str,
    patient: Patient | None = None,
    clock: Clock | None = None,
    flights: Flights | None = None,
    long: int = LONG,
) -> Outcome:
    """The whole export, begun or gone on with; see the file's first lines. AwsFailure never leaves it."""
    check(request, lanes=lanes, criterion=criterion)
    clock = clock or Clock()
    patient = patient or Patient(Pacer(rate, clock=clock.clock))
    how = _How(redactor, patient, lanes, criterion, settle, say, now, clock, flights, long)
    wanted = identity(request, criterion, settle)
    try:
        folder = unfinished(root, wanted) if resume else None
        if folder is not None:
            with contextlib.suppress(Finished):
                return _export(source, request, folder, how, resumed=True)
        folder = _create(root, request, wanted, how)
    except OSError as exc:
        raise ExportRefused(f"no export can be written to {root}: {exc}") from exc
    return _export(source, request, folder, how, resumed=False)


def check(request: Request, *, lanes: int = 1, criterion: Criterion | None = None) -> None:
    """ExportRefused for what makes no sense."""
    if not request.start < request.end:
        raise ExportRefused("the end of what is exported must be after its start")
    if not 1 <= lanes <= MOST_LANES:
        raise ExportRefused(f"lanes must be 1 to {MOST_LANES}, not {lanes}")
    if criterion is not None and not _NAME.fullmatch(criterion.name):
        raise ExportRefused(
            f"the filter's name {criterion.name!r} must be 1 to 32 lower-case letters, digits, '-' or '_': it becomes "
            f"part of a file's name"
        )


def identity(request: Request, criterion: Criterion | None, settle: bool) -> dict[str, Any]:
    """What tells one export from another, of JSON."""
    found: dict[str, Any] = json.loads(
        json.dumps(
            {
                "format": _FORMAT,
                "stem": request.stem,
                "account": request.account,
                "region": request.region,
                "asked": dict(request.asked),
                "filter": _criterion(criterion),
                "settle": settle,
            }
        )
    )
    return found


def _criterion(criterion: Criterion | None) -> dict[str, str] | None:
    return None if criterion is None else {"name": criterion.name, "jq": criterion.jq}


def _create(root: Path, request: Request, wanted: Mapping[str, Any], how: _How) -> Path:
    began = how.clock.now()
    stamp = stamp_of(began)
    names = [f"{request.stem}_{stamp}.jsonl.gz"]
    if how.criterion is not None:
        names.append(f"{request.stem}_{stamp}.{how.criterion.name}.jsonl.gz")
    kept = {"request": wanted, "start": request.start, "end": request.end, "began": began, "names": names}
    return create(root, stamp, kept)


def _export(source: Source, request: Request, folder: Path, how: _How, *, resumed: bool) -> Outcome:
    with opened(folder) as (kept, store):
        request = Request(
            request.stem, request.account, request.region, request.asked, float(kept["start"]), float(kept["end"])
        )
        state = State()

        def told(files: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
            found = report(
                source,
                request,
                state,
                files,
                rate=how.patient.pacer.rate,
                criterion=_criterion(how.criterion),
                began=float(kept["began"]),
                ended=how.clock.now(),
            )
            clean: dict[str, Any] = how.redactor.redact_object(found)
            return clean

        reason, failure = "", None
        try:
            _work(source, request, store, state, how)
            return Outcome(folder, store.finish(told), resumed)
        except Stopped as exc:
            reason, failure = str(exc), exc.failure
        except Damaged as exc:
            reason = f"{exc}. Begin a new export (resume: false)."
        except OSError as exc:
            reason = f"the disk does not take it: {exc}"
        return Outcome(folder, told([]), resumed, reason, failure)


def _work(source: Source, request: Request, store: Store, state: State, how: _How) -> None:
    store.open(state.replay)
    if state.planned:
        store.note({"resumed": how.clock.now()})
        state.resumed += 1
        how.say(f"goes on with {store.folder}: {state.done} of {len(state.progress)} units are there")
    else:
        _plan(source, request, store, state, how)
    flights = how.flights or Threads(source, how.lanes)
    try:
        Coordinator(
            source,
            state,
            store,
            pacer=how.patient.pacer,
            flights=flights,
            lanes=how.lanes,
            redactor=how.redactor,
            criterion=how.criterion,
            settle=how.settle,
            long=how.long,
            say=how.say,
            now=how.now,
            clock=how.clock,
        ).work()
    finally:
        flights.end()


def _plan(source: Source, request: Request, store: Store, state: State, how: _How) -> None:
    began = how.clock.clock()
    state.clear()
    store.forget()
    try:
        units: Sequence[Unit] = source.units(request.start, request.end)
    except AwsFailure as failure:
        raise Stopped(str(failure), failure) from failure
    store.note(*state.plan(units))
    state.counts = how.patient.counts
    state.elapsed = how.clock.clock() - began
