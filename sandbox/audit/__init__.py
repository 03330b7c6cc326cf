"""The audit side of the local AWS: CloudTrail's event history and Config's configuration items."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox import emulator, iam
from sandbox.audit import records
from sandbox.audit.configuration import Configurations
from sandbox.audit.records import Outcome
from sandbox.audit.store import Event, Store
from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

__all__ = ["Audit", "Outcome"]
# Records are written in lots of this many, so that nobody waits long for the database.
LOT = 2_000
MOST_REFUSED = 20


class Audit:
    """Every method may be called on any thread."""

    def __init__(self, file: Path) -> None:
        self.store = Store(file)
        self.configurations = Configurations(self.store)

    def record(self, runtime: Runtime, request: ApiRequest, outcome: Outcome, address: str, agent: str) -> None:
        """Remember a call in the account that made it."""
        if not records.is_recorded(request, outcome):
            return
        identity = iam.identity(runtime, request.access_key_id)
        region = request.region or runtime.settings.region
        record = records.make(request, outcome, identity, region, address, agent, _kms_key(runtime, request))
        self.store.add(records.to_event(record, outcome.at, at=int(outcome.at)))

    def load(self, lines: bytes) -> dict[str, Any]:
        """Take in a history: each line is a CloudTrail record, or an event as LookupEvents shows it.

        Of the second form the CloudTrailEvent is kept as it is, be it JSON or not. Lines whose event id is known
        change nothing.
        """
        counts = {"lines": 0, "added": 0}
        refused: list[str] = []
        lot: list[Event] = []
        for number, line in enumerate(io.BytesIO(lines), 1):
            if not line.strip():
                continue
            counts["lines"] += 1
            try:
                lot.append(_imported(line))
            except ValueError as error:
                if len(refused) < MOST_REFUSED:
                    refused.append(f"line {number}: {error}")
            if len(lot) >= LOT:
                counts["added"] += self.store.add_all(lot)
                lot = []
        counts["added"] += self.store.add_all(lot)
        return {**counts, "refused": refused}

    def close(self) -> None:
        self.store.close()


@behaviour("cloudtrail", otherwise=lambda runtime, request: "")
def _kms_key(runtime: Runtime, request: ApiRequest) -> str:
    """A record of KMS has the key's ARN in its resources, whatever id or alias the caller gave.

    https://docs.aws.amazon.com/kms/latest/developerguide/ct-sign.html
    """
    name = request.parameters.get("KeyId") if request.service == "kms" else None
    if not isinstance(name, str):
        return ""
    with runtime.scope_of(request):
        key = emulator.service("kms")._resolve_key(name)
    return str(key["Arn"]) if key else ""


def _imported(line: bytes) -> Event:
    document = json.loads(line)
    if not isinstance(document, dict):
        raise ValueError("a record is an object")
    if "CloudTrailEvent" not in document:
        # History has arrived long ago: no delay is left for it.
        return records.to_event(document, 0.0, line.strip().decode())
    try:
        stamp = document["EventTime"]
        at = stamp if isinstance(stamp, int | float) else records.seconds(str(stamp))
        return Event(
            account=str(document["AccountId"]),
            region=str(document["AwsRegion"]),
            time=int(at),
            arrived=0.0,
            event_id=str(document["EventId"]),
            name=str(document["EventName"]),
            source=str(document["EventSource"]),
            read_only=str(document.get("ReadOnly", "false")) == "true",
            username=document.get("Username"),
            access_key=document.get("AccessKeyId"),
            resources=tuple((str(r["ResourceType"]), str(r["ResourceName"])) for r in document.get("Resources") or []),
            record=str(document["CloudTrailEvent"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"an event needs AccountId, AwsRegion, EventId, EventName, EventSource, EventTime: {error}"
        ) from error
