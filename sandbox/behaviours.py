"""What the sandbox does as AWS does: each documented behaviour is one function, known by name, and can be taken out.

`scripts/behaviours` reads decorators, docstrings and the tests' markers (the table in docs/sandbox-behaviours.md),
and runs each behaviour's tests with it taken out: a test that stays green proves nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import Any, Protocol, cast

# Names, parted by commas, that are taken out from the start (read by sandbox.server).
VARIABLE = "PAPYRUS_SANDBOX_WITHOUT"
_taken_out: set[str] = set()
_known: set[str] = set()


class UnknownBehaviour(ValueError):
    """A name that no behaviour has."""


class Register(Protocol):
    def __call__[**P, R](self, function: Callable[P, R], /) -> Callable[P, R]: ...


def behaviour(
    service: str, *, code: str = "", stateful: bool = True, otherwise: Callable[..., Any] | None = None
) -> Register:
    """Register a function as the behaviour `<service>.<function name>`.

    service: as botocore names it. code: the error codes that AWS answers with, when it refuses.
    stateful: whether records or time decide; False for what the request alone decides (a limit, a form).
    otherwise: called instead while it is taken out; without it the call returns None.
    The docstring says what AWS does in one sentence and names the page that says so.
    """

    def register[**P, R](function: Callable[P, R], /) -> Callable[P, R]:
        name = f"{service}.{function.__name__.lstrip('_')}"
        _known.add(name)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if name not in _taken_out:
                return function(*args, **kwargs)
            return cast(R, otherwise(*args, **kwargs) if otherwise else None)

        return call

    return register


def take_out(names: Collection[str]) -> None:
    """Exactly these are out from now on. Raises UnknownBehaviour and changes nothing when one is not known."""
    if unknown := set(names) - _known:
        raise UnknownBehaviour(f"no behaviour is named {', '.join(sorted(unknown))}")
    _taken_out.clear()
    _taken_out.update(names)
