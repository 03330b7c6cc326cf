"""How a seam says no: an exception with AWS's error code, turned into the service's own error document."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from xml.sax.saxutils import escape

from sandbox import emulator

Params = Mapping[str, Any]
Response = tuple[int, dict[str, str], bytes]
Handler = Callable[[Params], Response]


class Refused(Exception):
    """AWS would answer with this error code, message and HTTP status."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status


def answered(module: Any, handler: Handler) -> Handler:
    """The handler of an emulator's module, with its refusals as error documents of that module."""

    def answer(p: Params) -> Response:
        try:
            return handler(p)
        except Refused as refusal:
            # ELBv2's error writer escapes the message itself, the others do not.
            text = refusal.message if module.__name__.endswith(".alb") else escape(refusal.message)
            response: Response = module._error(refusal.code, text, refusal.status)
            return response

    return answer


def answered_in_json(handler: Callable[[dict[str, Any]], Any]) -> Callable[[dict[str, Any]], Any]:
    """As answered(), of a module whose service speaks JSON."""

    def answer(data: dict[str, Any]) -> Any:
        try:
            return handler(data)
        except Refused as refusal:
            return emulator.json_error(refusal.code, refusal.message, refusal.status)

    return answer


def guarded(module: Any, rule: Callable[[Any, Params], None], handler: Handler) -> Handler:
    """The handler behind a rule, which raises Refused when the request must not pass."""

    def guard(p: Params) -> Response:
        rule(module, p)
        return handler(p)

    return guard
