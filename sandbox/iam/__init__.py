"""IAM mode: who calls, and whether policies let them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sandbox.iam.principals import identity
from sandbox.rules import Refusal

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

__all__ = ["identity", "refusal"]


def refusal(runtime: Runtime, request: ApiRequest, headers: Mapping[str, str], body: bytes) -> Refusal | None:
    """Why the caller may not do this; None when they may, or while IAM mode is off."""
    return None
