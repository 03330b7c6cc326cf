# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollout tells while it runs: lines for who looks on, entries for the evidence, both bounded (F3)."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from typing import Any

from ._names import rfc3339, utc_now
from ._progress import PROGRESS

KEPT = 400
"""Entries kept of the beginning, and as many of the end: a rollout of hours must not fill the memory."""


class Journal:
    """Entries in order. A look that saw what the last one saw only counts up (`repeats`, `last_at`, `last_elapsed`).

    `tell` gets each line at once. Times of entries (`at`) are the runner's; they are never compared with those of AWS.
    """

    def __init__(
        self,
        *,
        tell: Callable[[str], None] = PROGRESS.line,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], dt.datetime] = utc_now,
        clean: Callable[[str], str] = str,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._now = now
        self._clean = clean
        self._start = clock()
        self._first: list[dict[str, Any]] = []
        self._last: list[dict[str, Any]] = []
        self._left_out = 0
        self._look: tuple[Any, ...] = ()

    @property
    def elapsed(self) -> float:
        return self._clock() - self._start

    def entries(self) -> list[dict[str, Any]]:
        gap = [{"event": "left_out", "entries": self._left_out}] if self._left_out else []
        return [*self._first, *gap, *self._last]

    def event(self, event: str, text: str = "", **data: Any) -> None:
        """Something that happened; `text`, where there is any, is a line for who looks on."""
        text = self._clean(text)
        self._keep({"event": event, **self._stamp(), **({"text": text} if text else {}), **data})
        self._look = ()
        if text:
            self._tell(text)

    def look(self, text: str, data: Mapping[str, Any], request_ids: list[str]) -> None:
        """One poll. It is only told when it differs from the last one."""
        text = self._clean(text)
        seen = (text, *sorted((key, str(value)) for key, value in data.items()))
        if seen == self._look:
            last = (self._last or self._first)[-1]
            stamp = self._stamp()
            last.update(repeats=last.get("repeats", 0) + 1, last_at=stamp["at"], last_elapsed=stamp["elapsed"])
            return
        self._look = seen
        self._keep({"event": "poll", **self._stamp(), "text": text, **data, "request_ids": list(request_ids)})
        self._tell(text)

    def _stamp(self) -> dict[str, Any]:
        return {"at": rfc3339(self._now(), microseconds=True), "elapsed": round(self.elapsed, 3)}

    def _keep(self, entry: dict[str, Any]) -> None:
        if len(self._first) < KEPT:
            self._first.append(entry)
            return
        self._last.append(entry)
        if len(self._last) > KEPT:
            del self._last[0]
            self._left_out += 1
