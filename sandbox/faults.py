"""Switches that make chosen AWS calls fail or linger, for tests of those who call."""

from __future__ import annotations

import fnmatch
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.data_channel.disturbances import Disturbances

KEYS = {
    "service",
    "operation",
    "times",
    "probability",
    "seed",
    "status",
    "code",
    "message",
    "delay_seconds",
    "cut_after",
    "match",
    "stream",
}
# Keys with a whole number or null, and the least that they may be.
WHOLE = {"times": 1, "seed": 0, "cut_after": 0}


class FaultError(ValueError):
    """A fault that cannot be understood; the message says which key."""


@dataclass
class Fault:
    """`service` and `operation` as botocore names them (patterns allowed); `times` is how often, None for always.

    Without a `code` the call is answered as ever, only later or in part: the connection ends once `cut_after` bytes of
    the answer's body were sent; 0 is before the answer's first byte. A call that could fail does so with `probability`;
    with a `seed` the same ones each time. `match` holds patterns for parameters of the call, e.g. {"Name": "a*"}.
    `stream` disturbs a data channel of ECS Exec (service ssmmessages, operation OpenDataChannel).
    """

    service: str
    operation: str
    times: int | None = None
    probability: float = 1.0
    seed: int | None = None
    status: int = 400
    code: str | None = None
    message: str = "A fault that was switched on in the sandbox."
    delay_seconds: float = 0.0
    cut_after: int | None = None
    match: dict[str, str] = field(default_factory=dict)
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
        return cls(
            service=str(value["service"]),
            operation=str(value["operation"]),
            times=times,
            probability=float(probability),
            seed=seed,
            status=int(value.get("status", 400)),
            code=None if value.get("code") is None else str(value["code"]),
            message=str(value.get("message", cls.message)),
            delay_seconds=float(value.get("delay_seconds", 0)),
            cut_after=cut_after,
            match={str(name): str(pattern) for name, pattern in match.items()},
            stream=stream,
        )

    def applies(self, service: str, operation: str, parameters: Mapping[str, Any]) -> bool:
        return (
            fnmatch.fnmatchcase(service, self.service)
            and fnmatch.fnmatchcase(operation, self.operation)
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


def _any_matches(value: Any, pattern: str) -> bool:
    if isinstance(value, list):
        return any(_any_matches(item, pattern) for item in value)
    return value is not None and fnmatch.fnmatchcase(str(value), pattern)


class Faults:
    """The switched-on faults: the first that matches, and happens, wins; a used-up fault is dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def replace(self, document: Any) -> None:
        """Switch on exactly these. Raises FaultError and changes nothing when one is not understood."""
        if not isinstance(document, list):
            raise FaultError("faults are a list")
        parsed = [Fault.parse(value) for value in document]
        with self._lock:
            self._faults = parsed

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [fault.as_dict() for fault in self._faults]

    def take(self, service: str, operation: str, parameters: Mapping[str, Any]) -> Fault | None:
        """The fault for this call, counted down; None when there is none."""
        with self._lock:
            for fault in self._faults:
                if fault.applies(service, operation, parameters) and fault.happens():
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times == 0:
                            self._faults.remove(fault)
                    return fault
        return None
