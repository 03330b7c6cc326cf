# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Requests in flight: a few threads that ask, so that latency does not cost rate."""

from __future__ import annotations

import queue
import threading
from typing import Protocol

from ._aws import AwsFailure
from ._export import Page, Source, Unit

Landed = tuple[str, Page | AwsFailure]
"""Key of the unit, and what came of the request."""


class Flights(Protocol):
    """Requests that are under way, as the coordinator sees them."""

    def start(self, key: str, unit: Unit, token: str) -> None:
        """One request, at once."""

    def next(self, timeout: float) -> Landed | None:
        """The next one that ended; None when none did within `timeout` seconds."""

    def end(self) -> None:
        """Nothing more is started; those that are under way are left to themselves."""


class Threads:
    """Flights on `lanes` threads, which do nothing else and keep nobody from ending the process."""

    def __init__(self, source: Source, lanes: int) -> None:
        self._source = source
        self._asked: queue.SimpleQueue[tuple[str, Unit, str] | None] = queue.SimpleQueue()
        self._landed: queue.SimpleQueue[tuple[str, Page | Exception]] = queue.SimpleQueue()
        self._lanes = lanes
        for number in range(lanes):
            threading.Thread(target=self._fly, name=f"export-{number}", daemon=True).start()

    def start(self, key: str, unit: Unit, token: str) -> None:
        self._asked.put((key, unit, token))

    def next(self, timeout: float) -> Landed | None:
        try:
            key, result = self._landed.get(timeout=max(timeout, 0.0))
        except queue.Empty:
            return None
        if isinstance(result, Page | AwsFailure):
            return key, result
        raise result

    def end(self) -> None:
        for _lane in range(self._lanes):
            self._asked.put(None)

    def _fly(self) -> None:
        while (asked := self._asked.get()) is not None:
            key, unit, token = asked
            try:
                self._landed.put((key, self._source.ask(unit, token)))
            except Exception as exc:
                self._landed.put((key, exc))
