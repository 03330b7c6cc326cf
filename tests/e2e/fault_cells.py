"""The faults of the matrix, the calls that a playbook makes, and what became of each call that was hit by a fault."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import harness
from .recorded import Recorded

PAGE = (
    "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n"
    "<body>\r\n<center><h1>503 Service Temporarily Unavailable</h1></center>\r\n</body>\r\n</html>\r\n"
)
DOCTYPE = "<!DOCTYPE html>\n<html><head><meta charset=utf-8><title>Sign in to the network</title></head></html>\n"

FAULTS: dict[str, dict[str, Any]] = {
    "throttled": {"kind": "throttled"},
    "error 500": {"kind": "internal"},
    "empty 500": {"status": 500, "body": ""},
    "page 503": {"status": 503, "body": PAGE, "content_type": "text/html"},
    "page 200": {"status": 200, "body": DOCTYPE, "content_type": "text/html"},
    "reset before": {"cut_after": 0, "carried_out": False, "reset": True},
    "answer lost": {"cut_after": 0},
    "500 but done": {"kind": "internal", "carried_out": True},
    "cut off": {"cut_after": 10},  # an empty list in JSON has twenty
    "too short": {"length_over": 7},
    "late": {"late_seconds": 2.0},
    "slow body": {"body_seconds": 2.0},
    "expired": {"kind": "expired"},
}
"""Each as sandbox/faults.py takes it."""
HAPPENS = ("answer lost", "500 but done", "cut off", "too short", "late", "slow body")
"""AWS does what was asked, whatever comes of the answer."""

AGENTS = {"python": "*Botocore*", "terraform": "*Terraform*"}
WRITES = re.compile(
    r"Create|Delete|Authorize|Revoke|Register|Deregister|Run|Start|Stop|Put|Add|Modify|Set|Execute|Update"
)


@dataclass(frozen=True, order=True)
class Api:
    """One operation, and who calls it."""

    caller: str
    service: str
    operation: str

    def __str__(self) -> str:
        return f"{self.service}:{self.operation}"

    def rule(self, fault: str, key: str, times: int | None = 1) -> dict[str, Any]:
        """A fault of the local AWS that is in the way of this call, of runs with this access key."""
        return {
            "service": self.service,
            "operation": self.operation,
            "times": times,
            "user_agent": AGENTS[self.caller],
            "access_key_id": key,
            "label": fault,
            **FAULTS[fault],
        }

    @classmethod
    def of(cls, call: Mapping[str, Any]) -> Api | None:
        """The API of a recorded call; None when neither an SDK of Python nor Terraform made it."""
        agent = str(call["user_agent"])
        caller = "terraform" if "Terraform" in agent else "python" if "Botocore" in agent else ""
        return cls(caller, call["service"], call["operation"]) if caller and call["operation"] else None


class Record:
    """The local AWS's record of calls, read on from where it was read before: whole it is megabytes."""

    def __init__(self) -> None:
        self._lock, self._last = threading.Lock(), 0
        self._of: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def of(self, key: str) -> list[dict[str, Any]]:
        """The calls of an access key so far. One that is used for one run only."""
        with self._lock:
            for call in harness.calls(self._last):
                self._of[str(call["access_key_id"])].append(call)
                self._last = call["n"]
            return list(self._of[key])


RECORD = Record()


def add(rules: Iterable[Mapping[str, Any]]) -> None:
    """Switch faults on beside those that are on."""
    harness.add_faults(*map(dict, rules))


def remove(key: str) -> None:
    """Switch the faults of one access key off."""
    harness.remove_faults(key)


@dataclass
class Cell:
    """How often an API was called, hit, and asked again after it was hit."""

    called: int = 0
    hit: int = 0
    again: int = 0


@dataclass
class Outcome:
    """One run of a playbook with a fault in the way of each of its calls."""

    playbook: str
    fault: str
    exit_code: int
    result: str
    cause: str
    seconds: float
    left: list[str]
    gone: str = ""
    wrong: str = ""
    cells: dict[str, Cell] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    """How many calls of each kind that change something AWS carried out."""

    @property
    def passed(self) -> bool:
        """WARNED too: a working tree with changes is one."""
        return self.exit_code == 0 and self.result in ("PASSED", "WARNED")

    def contradiction(self) -> str:
        """What of the verdict cannot be so: well with something left or another exit code, bad without a cause."""
        if self.left and (self.passed or self.gone == "ok"):
            return f"{self.result}, gone: {self.gone}, and there is {self.left}"
        if (self.exit_code == 0) != (self.result in ("PASSED", "WARNED")):
            return f"{self.result}, with exit code {self.exit_code}"
        return "" if self.passed or self.cause else "failed, and does not say by what"

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "cells": {name: vars(cell) for name, cell in self.cells.items()}}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Outcome:
        return cls(**{**given, "cells": {name: Cell(**cell) for name, cell in given["cells"].items()}})


def cells_of(calls: Iterable[Mapping[str, Any]]) -> dict[str, Cell]:
    """`caller service:Operation` → what became of it."""
    cells: dict[str, Cell] = {}
    waiting: set[str] = set()
    for call in calls:
        api = Api.of(call)
        if api is None:
            continue
        name = f"{api.caller} {api}"
        cell = cells.setdefault(name, Cell())
        cell.called += 1
        if call["fault"]:
            cell.hit += 1
            waiting.add(name)
        elif name in waiting:
            cell.again += 1
            waiting.discard(name)
    return cells


def done(calls: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Changes that AWS carried out, whether the caller had the answer or not. Those of one client token are one."""
    seen: set[tuple[str, str]] = set()
    counts: Counter[str] = Counter()
    for call in calls:
        not_asked = call["fault"] and call["fault"] not in HAPPENS
        if call["read_only"] or not_asked or not 200 <= call["status"] < 300:
            continue
        name, token = f"{call['service']}:{call['operation']}", str(call["parameters"].get("clientToken") or "")
        if not token or (name, token) not in seen:
            counts[name] += 1
        seen.add((name, token))
    return dict(sorted(counts.items()))


@dataclass
class Around:
    """What a run gets: its variables, and the access key that it must have, "" for any.

    `left` lists what is left of a run of this id; `wrong` says what of its verdict is not so, "" when all of it is.
    """

    variables: dict[str, Any] = field(default_factory=dict)
    key: str = ""
    left: Callable[[str], list[str]] = harness.left_behind
    wrong: Callable[[harness.Smoke], str] = lambda smoke: ""


class Faulty(Recorded):
    """A run of a playbook under way, with one fault in the way of each of `apis`."""

    def __init__(
        self,
        folder: Path,
        playbook: str,
        fault: str,
        apis: Iterable[Api],
        around: Around,
        times: int | None = 1,
    ) -> None:
        self.playbook, self.fault, self.apis, self.times = playbook, fault, list(apis), times
        self.around = around
        super().__init__(folder, around.variables, (), playbook, around.key)

    def prepare(self) -> None:
        """The faults are there before the first call."""
        add(api.rule(self.fault, self.key, self.times) for api in self.apis)

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What the run has asked so far; who prepared it may have had its key as well."""
        return [call for call in RECORD.of(self.key) if call["n"] > self.before]

    def outcome(self, timeout: float) -> Outcome:
        """Wait for its end. A run that does not end in time raises."""
        try:
            ended = self.end(timeout)
            if not ended.bundles:
                return self._unopened(ended)
            smoke = self.end_by_guard(timeout)
        finally:
            remove(self.key)
        mine = self.calls
        verdict = smoke.verdict
        outcome = Outcome(
            playbook=Path(self.playbook).stem,
            fault=self.fault,
            exit_code=smoke.exit_code,
            result=verdict["result"],
            cause=str((verdict.get("first_failure") or {}).get("cause", "")),
            seconds=round(smoke.seconds, 1),
            left=self.around.left(smoke.run_id),
            gone=verdict["gone"],
            cells=cells_of(mine),
            done=done(mine),
        )
        outcome.wrong = outcome.contradiction() or self.around.wrong(smoke)
        return outcome

    def _unopened(self, ended: harness.Smoke) -> Outcome:
        """Of one that ended before it had a run: nothing can have been made, and its output says why."""
        words = ended.output.partition("fatal:")[2].partition("PLAY RECAP")[0].split()
        outcome = Outcome(
            playbook=Path(self.playbook).stem,
            fault=self.fault,
            exit_code=ended.exit_code,
            result="no run",
            cause=" ".join(words)[:500],
            seconds=round(ended.seconds, 1),
            left=[],
            cells=cells_of(self.calls),
            done=done(self.calls),
        )
        outcome.wrong = outcome.contradiction() or ("made something without a run" if outcome.done else "")
        return outcome


def save(folder: Path, name: str, value: Any) -> None:
    """Keep a result for the table."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", "utf-8")
