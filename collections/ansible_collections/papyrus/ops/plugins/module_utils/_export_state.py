# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an export knows of itself: how far each unit is, which items it has; all of it comes back from the journal."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ._export import Item, Page, Progress, Unit
from ._export_pace import Counts

_DIGEST = 12
"""Bytes kept of an item's id: two of a million are alike once in 10^17 exports."""
_PLAN_LINES = 500


class Seen:
    """Ids of the items written, as long as they can come again: those of units that are open.

    Units that share a moment, the end of one and the start of the next, share its ids.
    """

    def __init__(self) -> None:
        self._open: Counter[float] = Counter()
        self._edges: dict[float, set[bytes]] = {}
        self._inside: dict[str, dict[float, set[bytes]]] = {}

    def plan(self, unit: Unit) -> None:
        self._open.update({unit.start, unit.end})

    def add(self, key: str, at: float, digest: bytes) -> bool:
        """Whether it is new."""
        if at in self._open:
            ids = self._edges.setdefault(at, set())
        else:
            ids = self._inside.setdefault(key, {}).setdefault(at, set())
        if digest in ids:
            return False
        ids.add(digest)
        return True

    def narrow(self, key: str, start: float, end: float) -> None:
        """Of this unit only what lies between the two is asked any more."""
        inside = self._inside.get(key, {})
        for at in [at for at in inside if not start <= at <= end]:
            del inside[at]

    def finish(self, unit: Unit) -> None:
        self._inside.pop(unit.key, None)
        for at in dict.fromkeys((unit.start, unit.end)):
            self._open[at] -= 1
            if self._open[at] <= 0:
                del self._open[at]
                self._edges.pop(at, None)

    def __len__(self) -> int:
        inside = (ids for moments in self._inside.values() for ids in moments.values())
        return sum(map(len, inside)) + sum(map(len, self._edges.values()))


class State:
    """`progress` by key in the order of the plan; what changed since the last `entry` goes into the next one.

    `resumed` counts how often the export was gone on with, `elapsed` is how many seconds were worked on it.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.progress: dict[str, Progress] = {}
        self.planned = False
        self.counts = Counts()
        self.resumed = 0
        self.elapsed = 0.0
        self.done = 0
        self._seen = Seen()
        self._changed: set[str] = set()
        self._ids: dict[str, dict[float, list[bytes]]] = {}

    @property
    def seen(self) -> int:
        """How many ids are in memory."""
        return len(self._seen)

    @property
    def pending(self) -> bool:
        return bool(self._changed)

    def plan(self, units: Sequence[Unit]) -> Iterator[dict[str, Any]]:
        """Takes the plan, and gives it as lines of the journal. ValueError when two units have one key."""
        for at in range(0, len(units), _PLAN_LINES):
            some = units[at : at + _PLAN_LINES]
            self._plan(some)
            yield {"plan": [dataclasses.asdict(unit) for unit in some]}
        self.planned = True
        yield {"planned": len(units)}

    def _plan(self, units: Iterable[Unit]) -> None:
        for unit in units:
            if unit.key in self.progress:
                raise ValueError(f"two units of the export are called {unit.key}")
            self.progress[unit.key] = Progress(unit, unit)
            self._seen.plan(unit)

    def change(self, key: str) -> Progress:
        self._changed.add(key)
        return self.progress[key]

    def new(self, key: str, item: Item) -> bool:
        """Whether nobody has had this item yet; from now on somebody has."""
        digest = hashlib.blake2b(item.id.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
        progress = self.change(key)
        if not self._seen.add(key, item.at, digest):
            progress.duplicates += 1
            return False
        self._ids.setdefault(key, {}).setdefault(item.at, []).append(digest)
        progress.items += 1
        progress.malformed += item.malformed
        progress.first = item.at if progress.first is None else min(progress.first, item.at)
        progress.last = item.at if progress.last is None else max(progress.last, item.at)
        return True

    def page(self, key: str, page: Page, now: float) -> None:
        """Its items are written; the unit goes on with its token, or is done."""
        progress = self.change(key)
        progress.pages += 1
        progress.token = page.token
        progress.ended = now
        progress.note = page.note or progress.note
        for name, count in page.counts.items():
            progress.counts[name] = progress.counts.get(name, 0) + count
        if not page.token:
            self._finish(progress)

    def go_on_from(self, key: str, rest: Unit) -> None:
        """The unit goes on without its token."""
        progress = self.change(key)
        progress.token = ""
        progress.unit = dataclasses.replace(rest, key=key)
        self._seen.narrow(key, rest.start, rest.end)

    def _finish(self, progress: Progress) -> None:
        progress.done = True
        progress.token = ""
        self.done += 1
        self._seen.finish(progress.asked)

    def entry(self) -> dict[str, Any]:
        """What changed, for the journal."""
        units = {key: _short(self.progress[key]) for key in self._changed}
        ids = {
            key: [[at, base64.b64encode(b"".join(some)).decode()] for at, some in moments.items()]
            for key, moments in self._ids.items()
        }
        self._changed, self._ids = set(), {}
        return {
            "counts": dataclasses.asdict(self.counts),
            "elapsed": round(self.elapsed, 3),
            "units": units,
            "ids": ids,
        }

    def replay(self, entry: Mapping[str, Any]) -> None:
        """One line of the journal, in order."""
        if "plan" in entry:
            self._plan(Unit(**unit) for unit in entry["plan"])
        elif "planned" in entry:
            self.planned = True
        elif "resumed" in entry:
            self.resumed += 1
        elif "units" in entry:
            self._replay_units(entry)

    def _replay_units(self, entry: Mapping[str, Any]) -> None:
        self.counts = Counts(**entry["counts"])
        self.elapsed = float(entry["elapsed"])
        for key, moments in entry["ids"].items():
            for at, joined in moments:
                digests = base64.b64decode(joined)
                for begin in range(0, len(digests), _DIGEST):
                    self._seen.add(key, float(at), digests[begin : begin + _DIGEST])
        for key, short in entry["units"].items():
            before = self.progress[key]
            after = _long(before.asked, short)
            self.progress[key] = after
            self._seen.narrow(key, after.unit.start, after.unit.end)
            if after.done and not before.done:
                self._finish(after)


def _short(progress: Progress) -> dict[str, Any]:
    """Without the plan, and without what is left of it where that is all."""
    found = {
        field.name: getattr(progress, field.name)
        for field in dataclasses.fields(progress)
        if field.name not in ("asked", "unit")
    }
    if progress.unit is not progress.asked:
        found["unit"] = dataclasses.asdict(progress.unit)
    return found


def _long(asked: Unit, short: Mapping[str, Any]) -> Progress:
    unit = Unit(**short["unit"]) if "unit" in short else asked
    return Progress(asked, **{**short, "unit": unit})
