# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An export as a module was asked for it: checked in every region, then done in all of them side by side."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ._aws import Clients
from ._calls import Calls
from ._export import Request, Source
from ._export_filter import Criterion
from ._export_module import check_rate, planned, roots, side_by_side, span, speaker
from ._export_pace import ONE_TRY, Pacer, Patient
from ._export_run import Outcome, check, export
from ._progress import PROGRESS
from ._results import run_redactor


class ClientsOf(Protocol):
    """`_aws.module_clients` of a module."""

    def __call__(self, *, region: str | None = None, **config: Any) -> Clients: ...


@dataclass(frozen=True)
class Job:
    """What an export is of. `given` are those of the module's options that say what is asked for.

    `stem` begins the names of its files. `most` requests a second are allowed. `source` makes the source from a client
    of the service that does not retry, a text that says of which account and region it is, and the one who asks.
    `criterion` selects what is written once more, `retention` is how many seconds back there is anything.
    """

    service: str
    stem: str
    most: float
    given: Mapping[str, Any]
    source: Callable[[Any, str, Patient], Source]
    criterion: Criterion | None = None
    retention: float = 0.0


@dataclass(frozen=True)
class Ready:
    """An export that may begin. By region: what is asked for, the client that asks, the folder it goes to."""

    job: Job
    asked: Mapping[str, Any]
    requests: Mapping[str, Request]
    clients: Mapping[str, Any]
    folders: Mapping[str, Path]

    def plan(self) -> dict[str, str]:
        """By region the folder of the export that would be gone on with; "" for a new one."""
        return planned(self.requests, self.folders, self.job.criterion, self.asked)

    def export(self) -> dict[str, Outcome | Exception]:
        """What came of it, by region."""
        return side_by_side(list(self.requests), self._export)

    def _export(self, region: str) -> Outcome:
        asked, request = self.asked, self.requests[region]
        prefix = region if len(self.requests) > 1 else ""
        patient = Patient(Pacer(asked["rate"]))
        source = self.job.source(self.clients[region], f"{request.account} in {region}", patient)
        if asked.get("delivery") is not None:
            source.delivery = asked["delivery"]
        return export(
            source,
            request,
            self.folders[region],
            redactor=run_redactor(asked),
            lanes=asked["lanes"],
            criterion=self.job.criterion,
            settle=asked["settle"],
            resume=asked["resume"],
            say=speaker(PROGRESS.line, prefix),
            now=speaker(PROGRESS.now, prefix),
            patient=patient,
        )


def prepare(job: Job, asked: Mapping[str, Any], own: str, clients: ClientsOf, *, now: float | None = None) -> Ready:
    """ExportRefused and AwsFailure for what cannot be exported so. Asks STS only. `own` is the module's region."""
    start, end, given = span(asked, time.time() if now is None else now, job.retention)
    folders = roots(asked["path"], asked["regions"], own)
    asking = {region: clients(region=region, retries=ONE_TRY)(job.service) for region in folders}
    check_rate(asked["rate"], job.most if asked.get("quota") is None else asked["quota"])
    caller = Calls(clients(region=next(iter(folders))))
    account = str(caller.call("sts", "get_caller_identity", "the caller")["Account"])
    requests = {region: Request(job.stem, account, region, {**given, **job.given}, start, end) for region in folders}
    for request in requests.values():
        check(request, lanes=asked["lanes"], criterion=job.criterion)
    return Ready(job, asked, requests, asking, folders)


def lines(found: Mapping[str, Outcome | Exception]) -> Iterator[bytes]:
    """Each line of those exports that came to their end."""
    for outcome in found.values():
        if isinstance(outcome, Outcome):
            for file in outcome.files:
                with gzip.open(outcome.folder / file["name"]) as opened:
                    yield from opened
