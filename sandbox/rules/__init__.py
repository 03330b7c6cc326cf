"""What AWS refuses and the emulator lets pass: one small function per documented behaviour, found by its decorator."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


@dataclass(frozen=True)
class Refusal:
    """An error as the AWS API reference documents it."""

    code: str
    message: str
    status: int = 400


Rule = Callable[["Runtime", "ApiRequest"], Refusal | None]
_RULES: dict[tuple[str, str], list[Rule]] = {}


def rule(service: str, *operations: str, code: str = "", stateful: bool = True) -> Callable[[Rule], Rule]:
    """Register a rule for operations of a botocore service: a behaviour (sandbox.behaviours) that refuses by `code`."""

    def register(function: Rule) -> Rule:
        known = behaviour(service, code=code, stateful=stateful)(function)
        for operation in operations:
            _RULES.setdefault((service, operation), []).append(known)
        return known

    return register


def load() -> None:
    """Import every module of this package, which registers its rules."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def registered() -> dict[tuple[str, str], list[Rule]]:
    return {key: list(found) for key, found in _RULES.items()}


def refusal(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """What the first rule says that objects to the request; None lets it through.

    Rules run in the scope of whoever asks: the emulator's stores show what that account has in that region.
    """
    found = _RULES.get((request.service, request.operation), ())
    if not found:
        return None
    with runtime.scope_of(request):
        return next((objection for function in found if (objection := function(runtime, request)) is not None), None)
