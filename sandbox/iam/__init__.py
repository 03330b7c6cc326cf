"""IAM mode: who calls, and whether policies let them."""

from __future__ import annotations

from sandbox.iam.mode import refusal, refuses_the_unknown
from sandbox.iam.oidc import ISSUERS
from sandbox.iam.principals import identity
from sandbox.iam.registry import registry_refusal
from sandbox.iam.service_roles import role_refusal, service_may_assume
from sandbox.iam.signatures import Wire

__all__ = [
    "ISSUERS",
    "Wire",
    "identity",
    "refusal",
    "refuses_the_unknown",
    "registry_refusal",
    "role_refusal",
    "service_may_assume",
]
