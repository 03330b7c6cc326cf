"""STS: who calls, and sessions that know what they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.behaviours import behaviour
from sandbox.iam import sessions
from sandbox.iam.principals import Principal
from sandbox.operations import operation
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


@operation("sts", "GetCallerIdentity")
def get_caller_identity(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html"""
    found = sessions.caller(runtime, request)
    return {"UserId": found.user_id, "Account": found.account, "Arn": found.arn}


@operation("sts", "AssumeRole")
def assume_role(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html"""
    return sessions.assume(runtime, request)


@operation("sts", "GetSessionToken")
def get_session_token(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetSessionToken.html"""
    principal = sessions.caller(runtime, request)
    only_for_long_term_keys(runtime, request, principal)
    seconds = int(request.parameters.get("DurationSeconds") or 43_200)
    seconds = min(seconds, 3600) if principal.is_root else seconds
    credentials = sessions.start(
        runtime,
        principal.arn,
        principal.user_id,
        principal.account,
        "Root" if principal.is_root else "User",
        seconds,
        PrincipalName=principal.name,
        SourceAccessKeyId=principal.access_key_id,
    )
    return {"Credentials": credentials}


@behaviour("sts", code="AccessDenied")
def only_for_long_term_keys(runtime: Runtime, request: ApiRequest, principal: Principal) -> None:
    """GetSessionToken and GetFederationToken cannot be called with temporary credentials.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_sts-comparison.html
    """
    if runtime.switches.iam and principal.session is not None:
        raise Refused("AccessDenied", f"Cannot call {request.operation} with session credentials", 403)


@operation("sts", "GetFederationToken")
def get_federation_token(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/STS/latest/APIReference/API_GetFederationToken.html"""
    name = str(request.parameters["Name"])
    principal = sessions.caller(runtime, request)
    only_for_long_term_keys(runtime, request, principal)
    policies = sessions.policies_of(runtime, request, principal.account)
    arn, user_id = f"arn:aws:sts::{principal.account}:federated-user/{name}", f"{principal.account}:{name}"
    credentials = sessions.start(
        runtime,
        arn,
        user_id,
        principal.account,
        "FederatedUser",
        int(request.parameters.get("DurationSeconds") or 43_200),
        PrincipalName=principal.name,
        SessionPolicies=policies,
        SessionTags=list(request.parameters.get("Tags") or []),
        SourcePrincipalArn=principal.arn,
    )
    return {"Credentials": credentials, "FederatedUser": {"FederatedUserId": user_id, "Arn": arn}}
