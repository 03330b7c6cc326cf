"""Operations that the sandbox answers itself, because the emulator has no answer or not AWS's."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sandbox.rules import Refusal
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

# Gives the answer's members as the service's model names them (times as datetime), or refuses.
Operation = Callable[["Runtime", "ApiRequest"], dict[str, Any] | Refusal]
_OPERATIONS: dict[tuple[str, str], Operation] = {}


def operation(service: str, name: str) -> Callable[[Operation], Operation]:
    """Register who answers an operation of a botocore service; the docstring names the API reference page."""

    def register(function: Operation) -> Operation:
        _OPERATIONS[(service, name)] = function
        return function

    return register


def load() -> None:
    """Import every module of this package, which registers its operations."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def answer(runtime: Runtime, request: ApiRequest) -> dict[str, Any] | Refusal | None:
    """The answer to a request; None when it is the emulator's to answer.

    Operations run in the scope of whoever asks, as rules do; they refuse by a Refusal or by raising Refused.
    """
    found = _OPERATIONS.get((request.service, request.operation))
    if found is None:
        return None
    with runtime.scope_of(request):
        try:
            return found(runtime, request)
        except Refused as refused:
            return Refusal(refused.code, refused.message, refused.status)
