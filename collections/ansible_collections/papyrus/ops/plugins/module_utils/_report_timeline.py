# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's timeline: what took how long and what overlapped, to scale; only what the bundle has measured."""

from __future__ import annotations

import datetime as dt
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ._evidence_items import PHASE_ITEM
from ._report_source import Entry, Source, text_of
from ._report_svg import Bar, Drawing, Tick, axis, lane
from ._report_text import clock, duration, moment

LANES = 24
SPANS = 200
"""Spans in the table."""

READ = 60
"""Items of one kind that are read for their times; a run has a dozen."""

_PLACES = 300
"""Different places of ticks in one lane: items that fall into one place share a tick."""

_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)

_WORK = (
    ("Preflight", re.compile(r"B\d*")),
    ("Image and revision", re.compile(r"F[12]")),
    ("Schema", re.compile(r"G\d*")),
    ("terraform apply", re.compile(r"C[123]|D2")),
    ("Rollout", re.compile(r"rollout\.jsonl")),
    ("Inside the running tasks", re.compile(r"F3")),
    ("Database, from inside", re.compile(r"E1")),
    ("Target and its health", re.compile(r"C[45]")),
    ("Probes", re.compile(r"D1|E2")),
    ("Database, read back", re.compile(r"E3")),
    ("Identity chain", re.compile(r"N2")),
    ("terraform destroy", re.compile(r"C[67]")),
    ("Monitoring", re.compile(r"I\d*")),
    ("The app's log", re.compile(r"K3")),
    ("Exports", re.compile(r"K\d*|N4")),
)
_REST = "The run itself"
_GUARDED = ("terraform apply", "terraform destroy")
"""Lanes of the guard's, which works beside the controller."""

_STARTED = re.compile(r"^started: +(\S+)$", re.MULTILINE)
_ENDED = re.compile(r"^(?:ended|stopped): +(\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Span:
    """Work. `end` None: it has no end in the bundle; `status` is that of the item that it belongs to.

    `most`: not measured, but no longer than this, as the controller works step by step: it began after the item before.
    """

    lane: str
    name: str
    start: dt.datetime
    end: dt.datetime | None
    status: str
    most: bool = False

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds() if self.end else 0.0

    @property
    def took(self) -> str:
        if not self.end:
            return "no end"
        if self.start == self.end:
            return "under 1 s"  # as ECS gives it, in whole seconds
        return f"{'at most ' if self.most else ''}{duration(self.seconds)}"


@dataclass(frozen=True)
class Row:
    """A span for people."""

    lane: str
    name: str
    start: str
    at: str
    took: str
    status: str


@dataclass(frozen=True)
class Lane:
    name: str
    took: str
    drawing: Drawing


@dataclass(frozen=True)
class Timeline:
    lanes: list[Lane]
    axis: Drawing
    rows: list[Row]
    more: int
    note: str
    overlaps: list[str] = field(default_factory=list)


def timeline(source: Source) -> Timeline:
    timed = [entry for entry in source.entries if entry.at is not None]
    spans = [*_at_most(timed), *_phases(timed), *_measured(source)]
    moments = [entry.at for entry in timed if entry.at] + [span.start for span in spans]
    moments += [span.end for span in spans if span.end]
    if not moments:
        return Timeline([], axis([]), [], 0, "No line of the manifest has a time.")
    begin, end = min(moments), max(moments)
    whole = max((end - begin).total_seconds(), 0.001)

    def place(at: dt.datetime) -> float:
        return (at - begin).total_seconds() / whole * 100

    marks = list(_marks(whole))
    grid = [x for x, text in marks]
    work: dict[str, list[Entry]] = {}
    for entry in timed:
        work.setdefault(lane_of(entry), []).append(entry)
    lanes = []
    for name in _lane_names(work, spans)[:LANES]:
        own = [span for span in spans if span.lane == name]
        ticks = list(_ticks(((place(entry.at), entry) for entry in work.get(name, []) if entry.at), begin))
        bars = []
        for span in own[:_PLACES]:
            first, last = sorted((place(span.start), place(span.end or end)))
            bars.append(Bar(first, last, "most" if span.most else span.status, _title(span, begin)))
        words = "; ".join(drawn.title for drawn in bars[:20]) or f"{len(ticks)} moments, none of them measured"
        lanes.append(Lane(name, _sum(own), lane(name, words, bars, ticks, grid)))
    ordered = sorted(spans, key=lambda span: span.start)
    rows = [
        Row(
            span.lane,
            span.name,
            f"+{duration((span.start - begin).total_seconds())}",
            clock(span.start),
            span.took,
            span.status,
        )
        for span in ordered[:SPANS]
    ]
    note = "The runner's clock went back during the run." if _went_back(timed) else ""
    return Timeline(lanes, axis(marks), rows, max(len(spans) - SPANS, 0), note, _overlaps(spans))


def _sum(own: Sequence[Span]) -> str:
    """`2.0 s of ≤ 57.4 s`: what was measured, and what it can have been at most."""
    measured = sum(span.seconds for span in own if not span.most)
    most = sum(span.seconds for span in own if span.most)
    parts = ([duration(measured)] if measured else []) + ([f"≤ {duration(most)}"] if most else [])
    return " of ".join(parts)


def _went_back(timed: Sequence[Entry]) -> bool:
    times = [entry.at for entry in timed if entry.at is not None]
    return any(later < earlier for earlier, later in itertools.pairwise(times))


def lane_of(entry: Entry) -> str:
    if entry.name == PHASE_ITEM:
        return text_of(entry.meta.get("phase")) or _REST
    if export := text_of(entry.meta.get("export")):
        return f"{export} export"
    for name, pattern in _WORK:
        if pattern.fullmatch(entry.name) or (entry.name != "rollout.jsonl" and pattern.fullmatch(entry.step)):
            return name
    return _REST


def _lane_names(work: Mapping[str, Sequence[Entry]], spans: Iterable[Span]) -> list[str]:
    """In the order in which they began; the run's own last."""
    first = {name: min(entry.at for entry in entries if entry.at) for name, entries in work.items()}
    for span in spans:
        first[span.lane] = min(first.get(span.lane, span.start), span.start)
    return sorted(first, key=lambda name: (name == _REST, first[name], name))


def _at_most(timed: Iterable[Entry]) -> Iterator[Span]:
    """From the item before to the last one of each lane's own, where the controller wrote both."""
    before: dt.datetime | None = None
    for name, group in itertools.groupby(timed, lane_of):
        if name in _GUARDED:
            continue
        entries = list(group)
        last = entries[-1].at
        if before is not None and last is not None and before < last and name != _REST:
            worst = max((entry.status for entry in entries), key=("info", "ok", "skip", "ng").index)
            yield Span(name, entries[0].name, before, last, worst, most=True)
        before = last


def _phases(timed: Iterable[Entry]) -> Iterator[Span]:
    """Each start with the next end of the same name."""
    entries = list(timed)
    logs = {entry.name: entry.status for entry in entries}
    begun: dict[str, list[dt.datetime]] = {}
    for entry in entries:
        name = text_of(entry.meta.get("phase")) if entry.name == PHASE_ITEM else ""
        if not name or entry.at is None:
            continue
        if entry.meta.get("event") == "start":
            begun.setdefault(name, []).append(entry.at)
        elif begun.get(name):
            start = begun[name].pop(0)
            yield Span(name, name, start, entry.at, logs.get(f"{name.replace(' ', '_')}.log", "info"))
    for name, starts in begun.items():
        for start in starts:
            yield Span(name, name, start, None, "open")


def _measured(source: Source) -> Iterator[Span]:
    """Work whose item says when it began and ended: transcripts of ECS Exec, polls, rollouts."""
    logs = [e for e in source.entries if e.name.endswith(".log") and e.step[:1] in ("B", "E", "F", "G")]
    followed = source.named("rollout.jsonl", "target_health.jsonl")
    for entry in [*logs[:READ], *followed[:READ]]:
        if entry.name.endswith(".log"):
            text = source.text(entry, 4096)
            started, ended = _STARTED.search(text), _ENDED.search(text)
            start = moment(started.group(1)) if started else None
            end = moment(ended.group(1)) if ended else None
        else:
            records = source.records(entry)
            times = [at for each in records for key in ("at", "last_at") if (at := moment(each.get(key))) is not None]
            start, end = (min(times), max(times)) if len(times) > 1 else (None, None)
        if start is not None and end is not None and start <= end:
            yield Span(lane_of(entry), entry.name, start, end, entry.status)


def _ticks(placed: Iterable[tuple[float, Entry]], begin: dt.datetime) -> Iterator[Tick]:
    """One for each place; what is worst of the items in it gives it its look."""
    places: dict[int, list[tuple[float, Entry]]] = {}
    for x, entry in placed:
        places.setdefault(round(x / 100 * _PLACES), []).append((x, entry))
    for items in places.values():
        names = ", ".join(f"{entry.name} {entry.status.upper()}" for _x, entry in items[:4])
        more = f" and {len(items) - 4} more" if len(items) > 4 else ""
        at = items[0][1].at
        since = f" at +{duration((at - begin).total_seconds())}" if at else ""
        worst = max((entry.status for _x, entry in items), key=("info", "ok", "skip", "ng").index)
        yield Tick(items[0][0], worst, f"{names}{more}{since}")


def _marks(whole: float) -> Iterator[tuple[float, str]]:
    step = next((each for each in _STEPS if whole / each <= 6), whole / 6)
    for i in range(int(whole / step) + 1):
        yield i * step / whole * 100, "0" if i == 0 else _mark(i * step)


def _mark(seconds: float) -> str:
    """`15 s`, from a minute on `1:15` and `2:03:00`: there is little room on a phone."""
    if seconds < 60:
        return f"{seconds:g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _title(span: Span, begin: dt.datetime) -> str:
    start = duration((span.start - begin).total_seconds())
    if span.end is None:
        return f"{span.name}: began at +{start}, has no end"
    return f"{span.name}: from +{start}, took {span.took}"


def _overlaps(spans: Iterable[Span]) -> list[str]:
    """Which measured work lay within which phase: what did not cost time of its own."""
    ended = [(span, span.end) for span in spans if span.end is not None and not span.most]
    phases = [(span, end) for span, end in ended if span.name == span.lane][:50]
    found: dict[str, dict[str, None]] = {}
    for outer, last in phases:
        for inner, end in ended:
            if inner.lane != outer.lane and outer.start < inner.start and end < last:
                found.setdefault(outer.name, {})[inner.lane] = None
    return [f"During {name}: {', '.join(inner)}." for name, inner in list(found.items())[:10]]
