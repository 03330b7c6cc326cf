# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Terraform's own calls of AWS, for a run with a trace: read out of its provider's debug log, which is then removed.

That log has everything, signatures and the run's header included, so it lies in the run-private folder (0600) only as
long as a command lasts. What is told of it goes through botocore's models like everything else of a trace.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from . import _trace
from ._trace_shapes import code, shape_of

LOG_FILE = "provider.log"

# As the SDKs of providers 3 to 5 (Go, version 1) and of providers since 5 (Go, version 2) call the services of a stack.
_SERVICES = {
    "elasticloadbalancing": "elbv2",
    "ec2": "ec2",
    "sts": "sts",
    "iam": "iam",
    "Elastic Load Balancing v2": "elbv2",
    "EC2": "ec2",
    "STS": "sts",
    "IAM": "iam",
}
_ENTRY = re.compile(r"^(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d{4})) \[", re.MULTILINE)
_V1 = re.compile(r"DEBUG: (Request|Response) ([\w.-]+)/(\w+) Details:")
_V1_FAILED = re.compile(
    r"DEBUG: (?:Validate Response|Send Request|Unmarshal Response) ([\w.-]+)/(\w+) failed, [^,]*, error (\w[\w.]*)"
)
_V1_BODY = re.compile(r"\[aws-sdk-go\] ((?:<\?xml[^>]*>\s*)?<(\w+)Response\b.*?</\2Response>)", re.DOTALL)
_V2_BODY = re.compile(r"(<(\w+)Response\b.*?</\2Response>)", re.DOTALL)
_V2 = re.compile(r"HTTP (Request Sent|Response Received)\b")
_V2_CODE = re.compile(r"<Code>([\w.]+)</Code>")
_STATUS = re.compile(r"HTTP/[\d.]+ (\d{3})")
_RESOURCE = re.compile(
    r"^(?:module\.[\w-]+\.)*(aws_\w+)\.[\w-]+(?:\[[^\]]*\])?: (Creation|Destruction|Modifications) complete after "
    r"(?:(\d+)h)?(?:(\d+)m)?(\d+)s",
    re.MULTILINE,
)


def debug_environment(private: str | Path) -> dict[str, str]:
    """What makes the provider say what it asks, in a process that records; nothing otherwise.

    Provider 3 tells its requests by TF_LOG alone; Terraform's own log stays off.
    """
    if not _trace.recording():
        return {}
    levels = {"TF_LOG": "DEBUG", "TF_LOG_CORE": "OFF", "TF_LOG_PROVIDER": "DEBUG"}
    return {**levels, "TF_LOG_PATH": str(Path(private) / LOG_FILE)}


def gather(private: str | Path, command: str) -> None:
    """Records what a command has asked and how long its resources took, and removes the debug log. Never raises.

    `<command>.log` in the folder is what the command has said.
    """
    log, said = Path(private) / LOG_FILE, Path(private) / f"{command}.log"
    if not _trace.recording():
        return
    try:
        for path, lines in ((log, calls), (said, functools.partial(resources, command))):
            if path.exists():
                for line in lines(path.read_text("utf-8", "replace")):
                    _trace.note(**line)
    except Exception:
        _trace.note(kind="lost")
    finally:
        with contextlib.suppress(OSError):
            log.unlink(missing_ok=True)


def resources(command: str, output: str) -> Iterator[dict[str, Any]]:
    """Types of resources that Terraform says it made or destroyed, with seconds; their names are not told."""
    for kind, what, hours, minutes, seconds in _RESOURCE.findall(output):
        took = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds)
        yield {"kind": "resource", "command": command, "type": kind, "what": what.lower(), "seconds": took}


def calls(log: str, models: Callable[[str], Any] | None = None) -> list[dict[str, Any]]:
    """The calls in a provider's debug log, as `_trace` writes them; attempts that were repeated are calls of their own.

    Requests and answers of one operation are paired in their order.
    """
    known = models or _models()
    pairs = _Pairs(known)
    zero = time.monotonic_ns() - time.time_ns()
    for stamp, text in _entries(log):
        at = int(stamp.timestamp() * 1e6) * 1000 + zero
        if match := _V1.search(text):
            pairs.v1(match, text, at)
        elif match := _V1_FAILED.search(text):
            pairs.failed(match[1], match[2], match[3])
        elif match := _V1_BODY.search(text):
            pairs.body(match[2], match[1])
        elif match := _V2.search(text):
            pairs.v2(match[1], text, at)
    return pairs.told


def _entries(log: str) -> Iterator[tuple[dt.datetime, str]]:
    """Time and text of each entry; a text may go over many lines."""
    starts = list(_ENTRY.finditer(log))
    ends = [match.start() for match in starts[1:]] + [len(log)]
    for match, end in zip(starts, ends, strict=True):
        yield dt.datetime.fromisoformat(match[1]), log[match.end() : end]


class _Pairs:
    """Requests that wait for their answer, and what is told of those that had one."""

    def __init__(self, models: Callable[[str], Any]) -> None:
        self._models = models
        self._waiting: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.told: list[dict[str, Any]] = []

    def v1(self, match: re.Match[str], text: str, at: int) -> None:
        operation = self._operation(match[2], match[3])
        if operation is None:
            return
        if match[1] == "Request":
            _head, _blank, body = text.replace("\r", "").partition("\n\n")
            self._asked(operation, at, _request(body, operation.input_shape))
        else:
            status = _STATUS.search(text)
            self._answered(operation, at, int(status[1]) if status else 0)

    def v2(self, what: str, text: str, at: int) -> None:
        operation = self._operation(_field(text, "rpc.service"), _field(text, "rpc.method"))
        if operation is None:
            return
        if what == "Request Sent":
            form = _field(text, "http.request.body")
            self._asked(operation, at, _request(form, operation.input_shape) if "Action=" in form else None)
            return
        status = int(_field(text, "http.status_code") or 0)
        self._answered(operation, at, status)
        said = _long_field(text, "http.response.body")
        if status >= 300:
            refused = _V2_CODE.search(said)
            self.failed(_field(text, "rpc.service"), operation.name, refused[1] if refused else "")
        elif match := _V2_BODY.search(said):  # longer ones are cut off by the provider: then nothing is told of them
            self.body(match[2], match[1])

    def failed(self, service: str, name: str, said: str) -> None:
        """The code of the last call of an operation that was refused; a request without an answer is told here."""
        operation = self._operation(service, name)
        if operation is None:
            return
        key = (operation.service_model.service_name, operation.name)
        for call in reversed(self.told):
            if (call["service"], call["operation"]) == key and call["status"] >= 300 and not call["code"]:
                call["code"] = code(said)
                return
        if self._waiting.get(key):
            self._answered(operation, self._waiting[key][0]["at"], 0)
            self.told[-1]["code"] = code(said)

    def body(self, name: str, xml: str) -> None:
        """The answer of the first call of this operation that has none yet."""
        for call in self.told:
            if call["operation"] == name and call["response"] is None and call["status"] < 300:
                operation = self._operation(call["service"], name)
                if operation is not None:
                    parsed = _parsed(operation, call["status"], xml)
                    call["response"] = shape_of(parsed, operation.output_shape, call["service"])
                    call["states"] = _trace.hidden_states(call["service"], name, parsed)
                return

    def _asked(self, operation: Any, at: int, request: Any) -> None:
        key = (operation.service_model.service_name, operation.name)
        self._waiting.setdefault(key, []).append({"at": at, "request": request})

    def _answered(self, operation: Any, at: int, status: int) -> None:
        key = (operation.service_model.service_name, operation.name)
        waiting = self._waiting.get(key)
        if not waiting:
            return
        asked = waiting.pop(0)
        took = round((at - asked["at"]) / 1e6)
        call = {"kind": "call", "who": "terraform", **asked, "ms": took, "service": key[0], "operation": key[1]}
        self.told.append({**call, "status": status, "code": "", "retried": [], "response": None, "states": []})

    def _operation(self, service: str, name: str) -> Any:
        """botocore's model of an operation; None for what it does not know."""
        model = self._models(_SERVICES.get(service, service)) if service in {*_SERVICES, *_SERVICES.values()} else None
        return model.operation_model(name) if model is not None and name in model.operation_names else None


def _request(body: str, model: Any) -> Any:
    """Which parameters a form names, each with its type: the first level, by the model's names."""
    if model is None:
        return {}
    sent = {pair.partition("=")[0].partition(".")[0] for pair in body.split("&")}
    return {
        name: str(member.type_name)
        for name, member in model.members.items()
        if sent & {name, name[:1].upper() + name[1:], *_wire_names(member)}
    }


def _wire_names(member: Any) -> Iterator[str]:
    for key in ("name", "queryName"):
        given = member.serialization.get(key)
        if given:
            yield given
            yield given[:1].upper() + given[1:]


def _parsed(operation: Any, status: int, xml: str) -> Mapping[str, Any]:
    from botocore.parsers import create_parser

    parser = create_parser(operation.service_model.resolved_protocol)
    answer = {"status_code": status, "headers": {}, "body": xml.encode()}
    return dict(parser.parse(answer, operation.output_shape))


def _field(text: str, name: str) -> str:
    """A field of an entry, `name=value` or `name="value with spaces"`."""
    match = re.search(rf'(?<![\w.]){re.escape(name)}=(?:"([^"]*)"|(\S+))', text)
    return (match[1] or match[2] or "") if match else ""


def _long_field(text: str, name: str) -> str:
    """A field whose value is quoted with escapes, or stands below in lines that begin with a bar."""
    below = re.search(rf"{re.escape(name)}=\n((?:[ \t]*\|.*(?:\n|$))+)", text)
    if below:
        return re.sub(r"^[ \t]*\| ?", "", below[1], flags=re.MULTILINE)
    quoted = re.search(rf'{re.escape(name)}=("(?:[^"\\]|\\.)*")', text)
    try:
        return str(json.loads(quoted[1])) if quoted else _field(text, name)
    except ValueError:
        return ""


def _models() -> Callable[[str], Any]:
    import botocore.session

    session, found = botocore.session.get_session(), {}

    def model(service: str) -> Any:
        if service not in found:
            found[service] = session.get_service_model(service)
        return found[service]

    return model
