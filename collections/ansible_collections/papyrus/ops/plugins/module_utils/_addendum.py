# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an addendum adds to a sealed bundle: CloudTrail's records of its run, and what they say of it (K1, N4).

CloudTrail shows calls minutes later, so a run cannot keep them itself.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._aws import Clients
from ._bundle_view import BundleView
from ._dsse import BadKeyFile, DsseError, load_public_keys
from ._evidence import BundleError
from ._names import parse_rfc3339, parse_run_id, rfc3339
from ._rows import Row, Status, listing
from ._trail import DELIVERY, Event
from ._verify import verify
from ._verify_addendum import PARTS
from ._verify_files import VerifyError
from ._verify_online import MARGIN, marks, online, outputs, request_ids
from ._verify_request import from_elsewhere, view_of


class AddendumRefused(Exception):
    """Nothing can be added to this bundle; the message says why."""


@dataclass(frozen=True)
class First:
    """The bundle that is added to, as it was sealed. `start` and `end` are those of its run, with a margin."""

    said: Mapping[str, Any]
    view: BundleView
    start: dt.datetime
    end: dt.datetime

    @property
    def text(self) -> list[str]:
        """What only this run has in its calls: request ids, its own id, and names and ids of what it made."""
        ids, dummy = request_ids(self.view)
        return list(dict.fromkeys([*marks(self.view), *(one for dummy, one in outputs(self.view)), *ids]))

    @property
    def settled_at(self) -> dt.datetime:
        """From then on CloudTrail shows all of it."""
        return self.end + DELIVERY

    def as_dict(self) -> dict[str, Any]:
        run = self.view.run
        facts = {key: run.get(key) for key in ("service", "account_id", "region", "playbook", "started_at")}
        hashes = {f"{part}_sha256": self.said["sha256"][part] for part in PARTS}
        return {"run_id": self.said["run_id"], "verdict": self.said["verdict"], **facts, **hashes}


def first_of(folder: str, keys: Sequence[str], identity: str = "", issuer: str = "") -> First:
    """The bundle in `folder`, verified with public keys from elsewhere. AddendumRefused unless it is intact."""
    try:
        for key in keys:
            from_elsewhere(key, [folder], "public key")
        said = verify(folder, load_public_keys(keys), identity=identity, issuer=issuer)
        if said["result"] != "ok":
            found = [f"{one['class']} {one['path']} {one['reason']}" for one in said["findings"]]
            raise AddendumRefused(f"{folder} is not as it was sealed ({said['result']}): {listing(found, 3)}")
        view = view_of(folder)
        times = [parse_rfc3339(str(line["at"])) for line in view.lines]
        started = parse_run_id(str(said["run_id"])).started
    except (VerifyError, BadKeyFile, DsseError, BundleError, ValueError, OSError) as exc:
        raise AddendumRefused(f"nothing can be added to {folder}: {exc}") from exc
    return First(said, view, min([started, *times]) - MARGIN, max(times) + MARGIN)


def judge(first: First, records: Sequence[str], clients: Clients, *, now: dt.datetime) -> dict[str, Any]:
    """Content of addendum.json. `records` are files of an export that holds the run's records. AwsFailure, OSError.

    `rows`: whether the first bundle is as it was sealed, and whether AWS saw its run do what it says.
    """
    exported = Exported(records)
    seen = online(first.view, clients, now=now, events=exported)
    link = "manifest {manifest:.12}, seal {attestation:.12}".format(**first.said["sha256"])
    rows = [
        Row("N4", "The bundle that is added to", "ok", f"run {first.said['run_id']} is as it was sealed: {link}"),
        Row("K1", "CloudTrail's records of the run", *_judged(seen)),
    ]
    return {
        "what": "CloudTrail's records of a run that has a sealed bundle of its own",
        "of": first.as_dict(),
        "start": rfc3339(first.start),
        "end": rfc3339(first.end),
        "records": exported.count,
        **{key: seen[key] for key in ("request_ids", "principal", "created", "findings", "endpoint", "aws")},
        "rows": [row.as_dict() for row in rows],
    }


def _judged(seen: Mapping[str, Any]) -> tuple[Status, str]:
    """What contradicts the run is NG; what is not there, and does not contradict it, is SKIP."""
    wrong = [one for one in seen["findings"] if one["result"] == seen["result"] != "ok"]
    if wrong:
        return "ng" if seen["result"] == "tampered" else "skip", listing([one["reason"] for one in wrong], 3)
    ids, made = seen["request_ids"], seen["created"]
    ended = sum(1 for one in made if one["deleted_at"])
    what = f"; {len(made)} creations, {ended} of them with their deletion" if made else ""
    return "ok", f"{ids['found']} of {ids['asked']} requests of the bundle are in CloudTrail{what}"


class Exported:
    """CloudTrail's events out of an export's files (`_trail.Events`), read anew for each question, line by line."""

    def __init__(self, files: Sequence[str]) -> None:
        self.calls = 0
        self.cut = False
        self.count = 0
        self._files = [Path(file) for file in files]

    def events(
        self, start: dt.datetime, end: dt.datetime, attribute: str = "", value: str = "", *, most: int | None = None
    ) -> Iterator[Event]:
        self.count = 0
        for path in self._files:
            with gzip.open(path) as file:
                for line in file:
                    self.count += 1
                    event = _event(line)
                    if event is not None and start <= event.time <= end:
                        yield event


def _event(line: bytes) -> Event | None:
    try:
        return Event.of_record(json.loads(line))
    except (ValueError, RecursionError):
        return None
