"""What the tests of cloudtrail_export at scale share: a history with its ground truth, the module, what it wrote."""

from __future__ import annotations

import collections
import gzip
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.sandbox.audit_support import Account
from tests.sandbox.support import CHECKOUT, Sandbox

PROCESS = CHECKOUT / "tests" / "sandbox" / "export_process.py"
LOT = 20_000
NAMES = ("RunTask", "DescribeServices", "StopTask", "UpdateService", "AssumeRole")
# A record as services write them; %s are user, time, event name, service, request id, event id, account.
RECORD = (
    '{"eventVersion":"1.11","userIdentity":{"type":"AssumedRole","principalId":"AROAEXAMPLE:%s","arn":'
    '"arn:aws:sts::%s:assumed-role/papyrus-release/%s","accountId":"%s","accessKeyId":"ASIAEXAMPLE"},"eventTime":"%s",'
    '"eventSource":"ecs.amazonaws.com","eventName":"%s","awsRegion":"%s","sourceIPAddress":"192.0.2.7","userAgent":'
    '"Boto3/1.43.0","requestParameters":{"cluster":"papyrus-ecs-prd","service":"%s"},"responseElements":null,'
    '"requestID":"r-%s","eventID":"%s","readOnly":true,"eventType":"AwsApiCall","managementEvent":true,'
    '"recipientAccountId":"%s","eventCategory":"Management"}'
)


@dataclass
class History:
    """Events of an account within [start, end], whole seconds; `truth`: event id → its time."""

    account: Account
    start: int
    end: int
    seed: int = 7
    region: str = "us-west-2"
    truth: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def add(self, events: int, seconds: Iterable[int] = ()) -> dict[str, int]:
        """So many more events, at these seconds (else anywhere) by chance; what is there afterwards and was not."""
        some, made = list(seconds) or range(self.start, self.end + 1), {}
        for first in range(0, events, LOT):
            lines, lot = [], {}
            for _ in range(min(LOT, events - first)):
                at = self._dice.choice(some)
                event_id = f"{self._dice.getrandbits(128):032x}"
                lot[event_id] = at
                lines.append(self._record(event_id, at))
            status, _, body = self.account.sandbox.http("POST", "/_sandbox/cloudtrail", "\n".join(lines).encode())
            assert (status, json.loads(body)["added"]) == (200, len(lot)), body
            made.update(lot)
        self.truth.update(made)
        return made

    def _record(self, event_id: str, at: int) -> str:
        dice, number = self._dice, self.account.number
        user = f"deploy-{dice.randrange(15)}"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        service = "papyrus-task-service" if dice.random() < 0.1 else f"service-{dice.randrange(50)}"
        words = (
            user,
            number,
            user,
            number,
            stamp,
            dice.choice(NAMES),
            self.region,
            service,
            event_id[:12],
            event_id,
            number,
        )
        return RECORD % words

    def arguments(self, path: Path, **more: Any) -> dict[str, Any]:
        """Of the module, for all of the history."""
        facts = self.account.sandbox.facts
        return {
            "path": str(path),
            "start": rfc3339(self.start),
            "end": rfc3339(self.end),
            "rate": 0,
            "quota": 0,
            "region": self.region,
            "endpoint_url": facts["endpoint"],
            "access_key": self.account.number,
            # Not the sandbox's own: Ansible would take that word out of every path in the result.
            "secret_key": "a-secret-of-nobody",
            **more,
        }


def rfc3339(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def seconds(stamp: str) -> float:
    return time.mktime(time.strptime(stamp[:19], "%Y-%m-%dT%H:%M:%S")) - time.timezone + float("0" + stamp[19:-1])


@dataclass
class Ran:
    """What a run of the module said, and what lies in its folder."""

    result: dict[str, Any]
    peak_mib: float

    @property
    def export(self) -> dict[str, Any]:
        found: dict[str, Any] = self.result["exports"][0]
        return found

    @property
    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = self.export["report"]
        return found

    @property
    def full(self) -> Path:
        return Path(self.export["files"][0]["path"])

    def records(self) -> Iterator[dict[str, Any]]:
        return records(self.full)


def last_call(sandbox: Sandbox) -> int:
    return max((call["n"] for call in sandbox.calls()), default=0)


def lookups(sandbox: Sandbox, account: str, after: int) -> list[dict[str, Any]]:
    """The look-ups by an account since that call."""
    wanted = ("LookupEvents", account)
    return [call for call in sandbox.calls(after) if (call["operation"], call["access_key_id"]) == wanted]


def records(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path) as lines:
        yield from map(json.loads, lines)


def ids(found: Iterable[dict[str, Any]]) -> collections.Counter[str]:
    return collections.Counter(record["eventID"] for record in found)


def start(arguments: dict[str, Any], speed: float = 1, largest: int = -1) -> subprocess.Popen[str]:
    """No file of the process may be larger than `largest` bytes: writing more fails, as on a disk that is full."""
    command = [sys.executable, str(PROCESS), json.dumps(arguments), str(speed)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest)),
    )


def finish(process: subprocess.Popen[str], timeout: float = 300, failed: bool = False) -> Ran:
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    result = json.loads(out.splitlines()[-1]) if out.strip() else {}
    assert result and bool(result.get("failed")) == failed, (out[-3000:], err[-3000:])
    return Ran(result, int(err.rsplit("peak ", 1)[1]) / 1024)


def run(arguments: dict[str, Any], timeout: float = 300, failed: bool = False, speed: float = 1) -> Ran:
    return finish(start(arguments, speed), timeout, failed)


def check(ran: Ran, truth: Mapping[str, int], maybe: Iterable[str] = ()) -> None:
    """The export has each event of `truth` once, perhaps some of `maybe`, nothing else; its report says the same."""
    found = ids(ran.records())
    assert {event: times for event, times in found.items() if times > 1} == {}
    lost, strange = set(truth) - set(found), set(found) - set(truth) - set(maybe)
    assert (len(lost), len(strange)) == (0, 0), (sorted(lost)[:5], sorted(strange)[:5])
    report = ran.report
    kept = Path(ran.export["completeness"]).read_text()
    assert json.loads(kept) == report
    assert (report["complete"], report["gaps"]) == (True, [])
    assert report["counts"]["items"] == len(found) == report["files"][0]["lines"]
    assert sum(window["events"] for window in report["windows"]) == len(found)
