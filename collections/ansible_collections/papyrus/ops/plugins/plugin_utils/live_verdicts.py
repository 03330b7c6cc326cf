# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the runs of a playbook ended, as a small table for a terminal (the callback papyrus.ops.live)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils._printable import one_line, printable

from .live_tasks import span

NOT_CLOSED = "NOT CLOSED"
REPORT = "report.html"


@dataclass
class Run:
    """One run of one host; `verdict` is the content of verdict.json, empty until it is closed."""

    host: str
    run: Mapping[str, Any]
    began: float
    verdict: Mapping[str, Any] = field(default_factory=dict)
    ended: float = 0.0


class Verdicts:
    """The runs in the order in which they were opened."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._runs: list[Run] = []

    def opened(self, host: str, run: Mapping[str, Any]) -> None:
        self._runs.append(Run(host, run, self._clock()))

    def closed(self, host: str, verdict: Mapping[str, Any]) -> None:
        """Of the last run that the host has opened."""
        for each in reversed(self._runs):
            if each.host == host:
                each.verdict, each.ended = verdict, self._clock()
                return

    def table(self) -> Iterator[tuple[str, str]]:
        """Lines, each with the result that it is about. Paths have lines of their own, whole, to be copied."""
        rows = [
            (
                str(each.verdict.get("result") or NOT_CLOSED),
                one_line(each.host),
                one_line(str(each.run.get("service", ""))),
                one_line(str(each.run.get("id", ""))),
                span((each.ended or self._clock()) - each.began),
            )
            for each in self._runs
        ]
        wide = [max(len(row[column]) for row in rows) for column in range(5)] if rows else []
        for row, each in zip(rows, self._runs, strict=True):
            yield "  ".join(cell.ljust(wide[column]) for column, cell in enumerate(row)).rstrip(), row[0]
            for line in _details(each):
                yield f"    {line}", ""


def _details(run: Run) -> Iterator[str]:
    folder = str(run.run.get("folder", ""))
    failure = run.verdict.get("first_failure") or {}
    if not run.verdict and run.run.get("guarded"):
        yield "its guard takes it down, and writes and seals the verdict; a last line tells how that ended"
    if failure:
        words = [str(failure.get(key) or "") for key in ("step", "name", "task")]
        yield one_line(f"first failure: {' '.join(filter(None, words))}: {failure.get('cause', '')}")
    yield f"evidence: {_path(folder)}"
    if (Path(folder) / REPORT).is_file():
        yield f"report:   {_path(folder)}/{REPORT}"


def _path(text: str) -> str:
    return printable(text).replace("\n", "\\n")
