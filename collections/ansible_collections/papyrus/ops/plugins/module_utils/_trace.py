# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records each call of AWS of a run that was opened with a trace: shapes, codes, states and times, no values.

Every process of the run appends whole lines to one file of the run-private folder; `_trace_file` makes the trace of it.
A fault in here never breaks a call: the line is lost then, and counted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._trace_shapes import code, shape_of, states_of

RAW_FILE = "trace.jsonl"
_KEPT = "papyrus.ops:trace"


@dataclass(frozen=True)
class Sink:
    """Where this process writes, as whom, and the salt that hides what it tells things apart by."""

    path: Path
    who: str
    salt: str


_sink: list[Sink] = []


def begin(private: str | Path, trace_file: str) -> None:
    """Makes the file of a run that is to have a trace (0600), and records from here on."""
    if not trace_file:
        return
    first = {"kind": "begin", "at": time.monotonic_ns(), "salt": secrets.token_hex(16)}
    fd = os.open(Path(private) / RAW_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(json.dumps(first).encode() + b"\n")
    record_into(private, "run_open")


def record_into(private: object, who: str) -> None:
    """From here on clients of this process record for the run of this private folder, if that has a trace."""
    _sink.clear()
    if not private:
        return
    path = Path(str(private)) / RAW_FILE
    try:
        with path.open("rb") as file:
            salt = str(json.loads(file.readline())["salt"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    name = who.rpartition(".")[2]
    _sink.append(Sink(path, name if re.fullmatch(r"[a-z_]{1,40}", name) else "module", salt))


def recorded(client: Any) -> Any:
    """The client, whose calls are recorded from now on where this process records."""
    if not _sink:
        return client
    sink, events, service = _sink[0], client.meta.events, str(client.meta.service_model.service_name)

    def asked(params: Mapping[str, Any], model: Any, context: dict[str, Any], **more: Any) -> None:
        with _harmless(sink):
            kept = {"at": time.monotonic_ns(), "request": shape_of(params, model.input_shape, service), "tries": []}
            context[_KEPT] = {**kept, "operation": str(model.name)}

    def tried(parsed_response: Any, exception: Any, context: dict[str, Any], **more: Any) -> None:
        with _harmless(sink):
            context[_KEPT]["tries"].append(_said(parsed_response, exception))

    def answered(
        http_response: Any, parsed: Mapping[str, Any], model: Any, context: dict[str, Any], **_more: Any
    ) -> None:
        with _harmless(sink):
            failed = "Error" in parsed and http_response.status_code >= 300
            append(
                sink,
                **_line(service, context, int(http_response.status_code), _said(parsed, None)),
                response=None if failed else shape_of(parsed, model.output_shape, service),
                states=[] if failed else _states(sink, service, str(model.name), parsed),
            )

    def failed(exception: BaseException, context: dict[str, Any], **more: Any) -> None:
        with _harmless(sink):
            answer = getattr(exception, "response", None)
            status = (answer or {}).get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            line = _line(service, context, int(status), _said(answer, exception))
            append(sink, **line, response=None, states=[])

    events.register("provide-client-params", asked)
    events.register("response-received", tried)
    events.register("after-call", answered)
    events.register("after-call-error", failed)
    return client


def _line(service: str, context: dict[str, Any], status: int, said: str) -> dict[str, Any]:
    kept = context[_KEPT]
    return {
        "kind": "call",
        "at": kept["at"],
        "ms": round((time.monotonic_ns() - kept["at"]) / 1e6),
        "service": service,
        "operation": kept["operation"],
        "request": kept["request"],
        "status": status,
        "code": said,
        "retried": kept["tries"][:-1],
    }


def _said(answer: Any, exception: Any) -> str:
    """The error code of an answer, or the name of what came instead of one."""
    told = (answer or {}).get("Error", {}).get("Code", "") if isinstance(answer, Mapping) else ""
    return code(told or (type(exception).__name__ if exception is not None else ""))


def _states(sink: Sink, service: str, operation: str, answer: Mapping[str, Any]) -> list[list[Any]]:
    return [
        [kind, hashlib.sha256(f"{sink.salt}{kind}{told}".encode()).hexdigest()[:16], state]
        for kind, told, state in states_of(service, operation, answer)
    ]


def append(sink: Sink, **line: Any) -> None:
    """One whole line: O_APPEND puts it behind those of other processes and threads."""
    data = json.dumps({"who": sink.who, **line}, separators=(",", ":")).encode() + b"\n"
    fd = os.open(sink.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def note(**line: Any) -> None:
    """A line that is no call of this process (Terraform's), where it records at all."""
    if _sink:
        with _harmless(_sink[0]):
            append(_sink[0], **line)


def hidden_states(service: str, operation: str, answer: Mapping[str, Any]) -> list[list[Any]]:
    """States of the things in an answer, by kind and by what hides whose they are; none where nothing is recorded."""
    return _states(_sink[0], service, operation, answer) if _sink else []


def recording() -> bool:
    """Whether this process records."""
    return bool(_sink)


@contextlib.contextmanager
def _harmless(sink: Sink) -> Iterator[None]:
    """A line that cannot be made or written is lost and counted; the call that it was about goes on."""
    try:
        yield
    except Exception:
        with contextlib.suppress(Exception):
            append(sink, kind="lost")
