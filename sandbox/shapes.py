"""Whether a request has the shape that the service's model asks for, said as the service says it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox.rules import Refusal

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest


def refusal(request: ApiRequest) -> Refusal | None:
    """What the service would object to; None when the shape is right."""
    return None
