"""IAM mode: who calls, and whether policies let them."""

from __future__ import annotations

from sandbox.iam.mode import may, refusal, refuses_the_unknown
from sandbox.iam.oidc import ISSUERS
from sandbox.iam.principals import identity
from sandbox.iam.service_roles import NotAssumable, assume_for_service, role_refusal
from sandbox.iam.signatures import Wire

__all__ = [
    "ISSUERS",
    "NotAssumable",
    "Wire",
    "assume_for_service",
    "identity",
    "may",
    "refusal",
    "refuses_the_unknown",
    "role_refusal",
]
