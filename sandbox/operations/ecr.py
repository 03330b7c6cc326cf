"""Operations of ECR that depend on who asks."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox.operations import operation
from sandbox.rules import Refusal

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


@operation("ecr", "GetAuthorizationToken")
def get_authorization_token(runtime: Runtime, request: ApiRequest) -> dict[str, Any] | Refusal:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html"""
    settings = runtime.settings
    password, end = runtime.registry.tokens.issue(
        request.access_key_id or settings.access_key_id, runtime.switches.registry_token_seconds
    )
    data = {
        "authorizationToken": base64.b64encode(f"AWS:{password}".encode()).decode(),
        "expiresAt": datetime.fromtimestamp(int(end), UTC),
        "proxyEndpoint": settings.endpoint,
    }
    return {"authorizationData": [data]}
