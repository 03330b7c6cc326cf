"""The registry in IAM mode: a token carries the permissions of whoever asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam import denials
from sandbox.iam.call import Need
from sandbox.iam.mode import may
from sandbox.requests import ApiRequest

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


@behaviour("ecr", code="DENIED", otherwise=lambda *_: "")
def registry_refusal(runtime: Runtime, access_key_id: str, operation: str, repository: str) -> str:
    """Pushing and pulling need the permissions of ECR's own operations (ecr:BatchGetImage, ecr:PutImage and so on).

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
    """
    if not runtime.switches.iam:
        return ""
    settings = runtime.settings
    request = ApiRequest("ecr", operation, "json", {"repositoryName": repository}, settings.region, access_key_id, None)
    arn = f"arn:aws:ecr:{settings.region}:{settings.account}:repository/{repository}"
    with emulator.request_scope(settings.account, settings.region):
        principal, decision = may(runtime, access_key_id, request, Need(f"ecr:{operation}", [arn]))
    if decision.allowed:
        return ""
    who = principal.arn if principal else access_key_id
    return denials.denied("ecr", "json", who, f"ecr:{operation}", arn, decision).message
