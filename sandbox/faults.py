"""Switches that make chosen AWS calls fail or linger, for tests of those who call."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.data_channel.disturbances import Disturbances

KEYS = {"service", "operation", "times", "status", "code", "message", "delay_seconds", "match", "stream"}


class FaultError(ValueError):
    """A fault that cannot be understood; the message says which key."""


@dataclass
class Fault:
    """`service` and `operation` as botocore names them (patterns allowed); `times` is how often, None for always.

    Without a `code` the call is only delayed. `match` holds patterns for parameters of the call, e.g. {"Name": "a*"}.
    `stream` disturbs a data channel of ECS Exec (service ssmmessages, operation OpenDataChannel).
    """

    service: str
    operation: str
    times: int | None = None
    status: int = 400
    code: str | None = None
    message: str = "A fault that was switched on in the sandbox."
    delay_seconds: float = 0.0
    match: dict[str, str] = field(default_factory=dict)
    stream: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Any) -> Fault:
        if not isinstance(value, dict) or not {"service", "operation"} <= set(value):
            raise FaultError("a fault is an object with at least `service` and `operation`")
        if unknown := set(value) - KEYS:
            raise FaultError(f"unknown keys in a fault: {', '.join(sorted(unknown))}")
        times = value.get("times")
        if times is not None and (not isinstance(times, int) or times < 1):
            raise FaultError("`times` is a number from 1, or null for always")
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
            status=int(value.get("status", 400)),
            code=None if value.get("code") is None else str(value["code"]),
            message=str(value.get("message", cls.message)),
            delay_seconds=float(value.get("delay_seconds", 0)),
            match={str(name): str(pattern) for name, pattern in match.items()},
            stream=stream,
        )

    def applies(self, service: str, operation: str, parameters: Mapping[str, Any]) -> bool:
        return (
            fnmatch.fnmatchcase(service, self.service)
            and fnmatch.fnmatchcase(operation, self.operation)
            and all(_any_matches(parameters.get(name), pattern) for name, pattern in self.match.items())
        )

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in sorted(KEYS)}


def _any_matches(value: Any, pattern: str) -> bool:
    if isinstance(value, list):
        return any(_any_matches(item, pattern) for item in value)
    return value is not None and fnmatch.fnmatchcase(str(value), pattern)


class Faults:
    """The switched-on faults, first match wins; a used-up fault is dropped."""

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
                if fault.applies(service, operation, parameters):
                    if fault.times is not None:
                        fault.times -= 1
                        if fault.times == 0:
                            self._faults.remove(fault)
                    return fault
        return None
