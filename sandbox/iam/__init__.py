"""IAM mode: who calls, and whether identity policies let them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sandbox.rules import Refusal

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


def refusal(runtime: Runtime, request: ApiRequest, headers: Mapping[str, str], body: bytes) -> Refusal | None:
    """Why the caller may not do this; None when they may, or while IAM mode is off."""
    return None
