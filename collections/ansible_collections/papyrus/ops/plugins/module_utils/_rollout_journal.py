# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rollout tells while it runs: lines for the terminal, entries for the evidence, both bounded (F3)."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ._names import rfc3339, utc_now
from ._printable import printable

KEPT = 400
"""Entries kept of the beginning, and as many of the end: a rollout of hours must not fill the memory."""

QUIET = 60.0
"""Seconds after which a wait in which nothing changes says that it still waits."""


class Journal:
    """Entries in order. A look that saw what the last one saw only counts up (`repeats`, `last_at`, `last_elapsed`).

    `path` gets each line at once (the file is there already). Times of entries (`at`) are the runner's; they
    are never compared with those of AWS.
    """

    def __init__(
        self,
        path: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], dt.datetime] = utc_now,
        clean: Callable[[str], str] = str,
    ) -> None:
        self._path = Path(path) if path else None
        self._clock = clock
        self._now = now
        self._clean = clean
        self._start = clock()
        self._said = self._start
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
        """Something that happened; `text`, where there is any, is a line for the terminal."""
        text = self._clean(text)
        self._keep({"event": event, **self._stamp(), **({"text": text} if text else {}), **data})
        self._look = ()
        if text:
            self.say(text)

    def look(self, text: str, data: Mapping[str, Any], request_ids: list[str]) -> None:
        """One poll. It is only told when it differs from the last one, or after a long silence."""
        text = self._clean(text)
        seen = (text, *sorted((key, str(value)) for key, value in data.items()))
        if seen == self._look:
            last = (self._last or self._first)[-1]
            stamp = self._stamp()
            last.update(repeats=last.get("repeats", 0) + 1, last_at=stamp["at"], last_elapsed=stamp["elapsed"])
            if self._clock() - self._said >= QUIET:
                self.say(f"still {text}")
            return
        self._look = seen
        self._keep({"event": "poll", **self._stamp(), "text": text, **data, "request_ids": list(request_ids)})
        self.say(text)

    def say(self, text: str) -> None:
        """A line for the terminal, and those below it as they are; no secret and nothing that a terminal obeys."""
        self._said = self._clock()
        if self._path is None:
            return
        seconds = f"[{self.elapsed:5.0f} s]"
        lines = [printable(line) for line in self._clean(text).splitlines()]
        whole = "".join(
            f"{seconds if number == 0 else ' ' * len(seconds)} {line}\n" for number, line in enumerate(lines)
        )
        try:
            with self._path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(whole)
        except OSError:
            self._path = None  # who shows it is gone; the rollout is not about that

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
