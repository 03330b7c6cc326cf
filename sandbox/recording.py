"""Remembers each AWS call: what was asked, by whom, with what outcome; secret values never."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

KEPT = 20_000
# A file of this many bytes is put aside once and begun anew: twice this is the most that a sandbox uses.
FILE_BYTES = 32 * 1024 * 1024
HIDDEN = "HIDDEN"
# Parameters whose values are secrets, by name in lower case, whatever the service.
SECRET_NAMES = frozenset(
    {
        "secretstring",
        "secretbinary",
        "masteruserpassword",
        "password",
        "authtoken",
        "privatekey",
        "plaintext",
        "webidentitytoken",
        "samlassertion",
        "tokencode",
        "clientsecret",
        "ssecustomerkey",
        "copysourcessecustomerkey",
    }
)
READ_PREFIXES = (
    "BatchCheck",
    "BatchGet",
    "Describe",
    "Filter",
    "Get",
    "Head",
    "List",
    "Lookup",
    "Search",
    "Select",
    "Simulate",
    "Test",
    "Validate",
)
LONGEST_TEXT = 2_000
LONGEST_LIST = 200


@dataclass(frozen=True)
class Call:
    n: int
    at: str
    service: str
    operation: str
    parameters: dict[str, Any]
    status: int
    error_code: str | None
    read_only: bool
    access_key_id: str | None
    user_agent: str
    # As the response's header and CloudTrail's record have it.
    request_id: str
    # By a fault the client never had this answer; with status 0 it was never asked for.
    cut: bool = False
    # The fault that was in the way.
    fault: str | None = None


def is_read_only(operation: str) -> bool:
    """Whether a call changes nothing, by AWS's naming (CloudTrail's `readOnly`)."""
    return operation.startswith(READ_PREFIXES)


def without_secrets(value: Any, name: str = "") -> Any:
    """The parameters with secret values replaced, long texts and lists cut."""
    if name.lower() in SECRET_NAMES:
        return HIDDEN
    if isinstance(value, Mapping):
        # {"name"/"Key"/"ParameterName": "…password…", "value": …}: environment variables and parameters by name.
        named = next((str(v) for k, v in value.items() if str(k).lower() in ("name", "key", "parametername")), "")
        hide = any(word in named.lower() for word in ("password", "secret", "token"))
        return {
            str(k): HIDDEN if hide and str(k).lower() in ("value", "parametervalue") else without_secrets(v, str(k))
            for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        kept = [without_secrets(item) for item in value[:LONGEST_LIST]]
        return kept if len(value) <= LONGEST_LIST else [*kept, f"… ({len(value)} items)"]
    if isinstance(value, bytes | bytearray):
        return f"({len(value)} bytes)"
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return value[:LONGEST_TEXT] + f"… ({len(value)} characters)"
    return value


class Recording:
    """Numbered calls, the last KEPT in memory and all of them (bounded by size) in a file of JSON lines."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._calls: deque[Call] = deque(maxlen=KEPT)
        self._next = 1
        file.parent.mkdir(parents=True, exist_ok=True)
        self._stream = file.open("a")

    def add(
        self,
        *,
        service: str,
        operation: str,
        parameters: Mapping[str, Any],
        status: int,
        error_code: str | None,
        access_key_id: str | None,
        user_agent: str,
        request_id: str = "",
        cut: bool = False,
        fault: str | None = None,
    ) -> Call:
        clean = without_secrets(parameters)
        with self._lock:
            call = Call(
                n=self._next,
                at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                service=service,
                operation=operation,
                parameters=clean,
                status=status,
                error_code=error_code,
                read_only=is_read_only(operation),
                access_key_id=access_key_id,
                user_agent=user_agent,
                request_id=request_id,
                cut=cut,
                fault=fault,
            )
            self._next += 1
            self._calls.append(call)
            self._write(call)
        return call

    def after(self, n: int) -> list[dict[str, Any]]:
        """Calls with a number above n, oldest first; of a negative n the newest -n."""
        with self._lock:
            first = n if n >= 0 else self._next - 1 + n
            return [asdict(call) for call in self._calls if call.n > first]

    def close(self) -> None:
        with self._lock:
            self._stream.close()

    def _write(self, call: Call) -> None:
        if self._stream.closed:
            return
        if self._stream.tell() > FILE_BYTES:
            self._stream.close()
            self._file.replace(self._file.with_suffix(".1.jsonl"))
            self._stream = self._file.open("a")
        self._stream.write(json.dumps(asdict(call), default=str) + "\n")
        self._stream.flush()
