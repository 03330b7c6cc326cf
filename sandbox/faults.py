"""Switches that make chosen AWS calls fail or linger, for tests of those who call."""

from __future__ import annotations

import fnmatch
import json
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox import aws_errors
from sandbox.data_channel.disturbances import Disturbances

KEYS = {
    "service",
    "operation",
    "times",
    "probability",
    "seed",
    "status",
    "code",
    "kind",
    "body",
    "content_type",
    "message",
    "delay_seconds",
    "late_seconds",
    "body_seconds",
    "cut_after",
    "reset",
    "length_over",
    "chunked",
    "carried_out",
    "match",
    "user_agent",
    "access_key_id",
    "label",
    "stream",
}
# Keys with a whole number or null, and the least that they may be.
WHOLE = {"times": 1, "seed": 0, "cut_after": 0}
LONGEST_WAIT = 3600


class FaultError(ValueError):
    """A fault that cannot be understood; the message says which key."""


@dataclass
class Fault:
    """`service` and `operation` as botocore names them (patterns allowed); `times` is how often, None for always.

    Whom it hits: `match` holds patterns for parameters of the call, e.g. {"Name": "a*"}, `user_agent` and
    `access_key_id` patterns for the caller. A call that could be hit is with `probability`; with a `seed` the same ones
    each time. The record of calls names `label` with what was hit.

    What is answered instead: an error of AWS (`code` and `status`, or a `kind` of aws_errors, which each service spells
    in its own way), or what somebody between here and AWS says (`body` with `status` and `content_type`). Then the call
    is not carried out, unless `carried_out` says so: nobody but AWS knows that it happened.

    How the answer travels: `delay_seconds` before the call is carried out, `late_seconds` after it; its body takes
    `body_seconds`; the connection ends once `cut_after` bytes of the body were sent (0: before the answer's first
    byte; without `carried_out`, before the call), by `reset` if wanted so; its Content-Length says `length_over` bytes
    too many; `chunked`: it has none.

    `stream` disturbs a data channel of ECS Exec (service ssmmessages, operation OpenDataChannel).
    """

    service: str
    operation: str
    times: int | None = None
    probability: float = 1.0
    seed: int | None = None
    status: int = 400
    code: str | None = None
    kind: str | None = None
    body: str | None = None
    content_type: str | None = None
    message: str = "A fault that was switched on in the sandbox."
    delay_seconds: float = 0.0
    late_seconds: float = 0.0
    body_seconds: float = 0.0
    cut_after: int | None = None
    reset: bool = False
    length_over: int = 0
    chunked: bool = False
    carried_out: bool | None = None
    match: dict[str, str] = field(default_factory=dict)
    user_agent: str = "*"
    access_key_id: str = "*"
    label: str = ""
    stream: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    @classmethod
    def parse(cls, value: Any) -> Fault:
        if not isinstance(value, dict) or not {"service", "operation"} <= set(value):
            raise FaultError("a fault is an object with at least `service` and `operation`")
        if unknown := set(value) - KEYS:
            raise FaultError(f"unknown keys in a fault: {', '.join(sorted(unknown))}")
        times, seed, cut_after = (_whole(value, name, least) for name, least in WHOLE.items())
        probability = value.get("probability", 1.0)
        if isinstance(probability, bool) or not isinstance(probability, int | float) or not 0 < probability <= 1:
            raise FaultError("`probability` is a number above 0, up to 1")
        match = value.get("match") or {}
        if not isinstance(match, dict):
            raise FaultError("`match` maps parameter names to patterns")
        stream = value.get("stream") or {}
        try:
            Disturbances.parse(stream)
        except ValueError as error:
            raise FaultError(str(error)) from error
        fault = cls(
            service=str(value["service"]),
            operation=str(value["operation"]),
            times=times,
            probability=float(probability),
            seed=seed,
            status=int(value.get("status", 400)),
            message=str(value.get("message", cls.message)),
            cut_after=cut_after,
            length_over=_whole(value, "length_over", 0) or 0,
            carried_out=_flag(value, "carried_out"),
            match={str(name): str(pattern) for name, pattern in match.items()},
            user_agent=str(value.get("user_agent", "*")),
            access_key_id=str(value.get("access_key_id", "*")),
            label=str(value.get("label", "")),
            stream=stream,
            delay_seconds=_seconds(value, "delay_seconds"),
            late_seconds=_seconds(value, "late_seconds"),
            body_seconds=_seconds(value, "body_seconds"),
            reset=bool(_flag(value, "reset")),
            chunked=bool(_flag(value, "chunked")),
            code=_text(value, "code"),
            kind=_text(value, "kind"),
            body=_text(value, "body"),
            content_type=_text(value, "content_type"),
        )
        fault.check()
        return fault

    def check(self) -> None:
        """Raises FaultError for keys that do not go together."""
        if sum(each is not None for each in (self.code, self.kind, self.body)) > 1:
            raise FaultError("an answer is one of `code`, `kind`, `body`")
        if self.kind is not None and self.kind not in aws_errors.KINDS:
            raise FaultError(f"`kind` is one of {', '.join(aws_errors.KINDS)}")
        if self.reset and self.cut_after is None:
            raise FaultError("`reset` is how a connection ends: it wants `cut_after`")
        if self.carried_out is False and not self.replaces and self.cut_after != 0:
            raise FaultError("a call that is not carried out has no answer of its own: give another, or `cut_after` 0")
        if self.length_over and self.chunked:
            raise FaultError("a chunked answer has no Content-Length that could be wrong")

    @property
    def replaces(self) -> bool:
        """Whether another answer than the call's own is given."""
        return self.code is not None or self.kind is not None or self.body is not None

    @property
    def happens_all_the_same(self) -> bool:
        """Whether AWS does what was asked."""
        return not self.replaces if self.carried_out is None else self.carried_out

    @property
    def keeps_the_answer(self) -> bool:
        """Whether the caller never has the call's own answer as it was."""
        return self.happens_all_the_same and (self.replaces or self.cut_after is not None or self.length_over > 0)

    @property
    def called(self) -> str:
        """What happens, in a word or two, for the log."""
        return (
            self.label
            or self.code
            or self.kind
            or (f"status {self.status}" if self.body is not None else "")
            or ("cut" if self.cut_after is not None else "")
            or f"{self.delay_seconds + self.late_seconds + self.body_seconds} s late"
        )

    def applies(
        self, service: str, operation: str, parameters: Mapping[str, Any], user_agent: str = "", key: str = ""
    ) -> bool:
        return (
            fnmatch.fnmatchcase(service, self.service)
            and fnmatch.fnmatchcase(operation, self.operation)
            and fnmatch.fnmatchcase(user_agent, self.user_agent)
            and fnmatch.fnmatchcase(key, self.access_key_id)
            and all(_any_matches(parameters.get(name), pattern) for name, pattern in self.match.items())
        )

    def happens(self) -> bool:
        """Whether it does this time."""
        return self.probability == 1 or self._dice.random() < self.probability

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in sorted(KEYS)}


def _whole(document: Mapping[str, Any], name: str, least: int) -> int | None:
    value = document.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise FaultError(f"`{name}` is a whole number from {least}, or null")
    return value


def _seconds(document: Mapping[str, Any], name: str) -> float:
    value = document.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_WAIT:
        raise FaultError(f"`{name}` is a number from 0 to {LONGEST_WAIT}")
    return float(value)


def _flag(document: Mapping[str, Any], name: str) -> bool | None:
    value = document.get(name)
    if value is not None and not isinstance(value, bool):
        raise FaultError(f"`{name}` is true or false")
    return value


def _text(document: Mapping[str, Any], name: str) -> str | None:
    return None if document.get(name) is None else str(document[name])


def _any_matches(value: Any, pattern: str) -> bool:
    if isinstance(value, list):
        return any(_any_matches(item, pattern) for item in value)
    return value is not None and fnmatch.fnmatchcase(str(value), pattern)


def _parsed(document: Any) -> list[Fault]:
    if not isinstance(document, list):
        raise FaultError("faults are a list")
    return [Fault.parse(value) for value in document]


class Faults:
    """The switched-on faults: the first that matches, and happens, wins; a used-up fault is dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def replace(self, document: Any) -> None:
        """Switch on exactly these. Raises FaultError and changes nothing when one is not understood."""
        parsed = _parsed(document)
        with self._lock:
            self._faults = parsed

    def add(self, document: Any) -> None:
        """Switch these on behind those that are on, which keep their counts. Raises FaultError as `replace` does."""
        parsed = _parsed(document)
        with self._lock:
            self._faults += parsed

    def drop(self, text: str) -> None:
        """Switch those off with a value in which the text occurs."""
        with self._lock:
            self._faults = [
                fault for fault in self._faults if not any(text in json.dumps(v) for v in fault.as_dict().values())
            ]

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [fault.as_dict() for fault in self._faults]

    def take(
        self, service: str, operation: str, parameters: Mapping[str, Any], user_agent: str = "", key: str = ""
    ) -> Fault | None:
        """The fault for this call, counted down; None when there is none."""
        with self._lock:
            for fault in self._faults:
                if fault.applies(service, operation, parameters, user_agent, key) and fault.happens():
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times == 0:
                            self._faults.remove(fault)
                    return fault
        return None
