"""The front door of IAM mode: signature, then policies; off unless the switch `iam` is on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam import context, denials, needs, records, signatures
from sandbox.iam.call import Call, Need
from sandbox.iam.decisions import Question
from sandbox.iam.evaluator import Caller, Decision, decide
from sandbox.iam.principals import Principal, resolve, session_of
from sandbox.iam.resource_policies import policy_of
from sandbox.iam.signatures import Signed, Wire
from sandbox.recording import is_read_only
from sandbox.rules import Refusal

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


def refusal(runtime: Runtime, request: ApiRequest, wire: Wire) -> Refusal | None:
    """Why the caller may not do this; None when they may, or while IAM mode is off."""
    if not runtime.switches.iam or unsigned_is_enough(request):
        return None
    signed = signatures.read(wire)
    objection = _unauthenticated(runtime, request, wire, signed)
    if objection is not None:
        return objection
    principal = resolve(runtime, signed.access_key_id if signed else "")
    if principal is None or signed is None:
        return None
    region = request.region or runtime.settings.region
    with runtime.scope_of(request):
        _remember_use(request, signed)
        call = Call(runtime, request, principal.account, region, wire.headers)
        objection = no_iam_with_a_session_token(call, principal) or unauthorized(call, principal)
        if objection is None and request.service == "iam" and not is_read_only(request.operation):
            records.about_to_change(runtime)
    return objection


def refuses_the_unknown(runtime: Runtime) -> bool:
    """Whether a request that is no API call we can read (an unsigned one, say) must go: nobody may do it."""
    return runtime.switches.iam


@behaviour("sts", stateful=False, otherwise=lambda request: False)
def unsigned_is_enough(request: ApiRequest) -> bool:
    """AssumeRoleWithWebIdentity and AssumeRoleWithSAML are called without credentials, as are links in SNS messages.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
    """
    if request.service == "sns":
        return request.access_key_id is None and request.operation in ("ConfirmSubscription", "Unsubscribe")
    return request.service == "sts" and request.operation in needs.UNSIGNED


def _unauthenticated(runtime: Runtime, request: ApiRequest, wire: Wire, signed: Signed | None) -> Refusal | None:
    """Why nobody is known by this signature."""
    if signed is None:
        return no_signature(request, wire)
    principal = resolve(runtime, signed.access_key_id)
    for kind in (
        unknown_access_key(principal),
        inactive_access_key(runtime, principal),
        session_token_is_wrong(principal, signed),
        session_has_expired(principal),
        signature_is_too_old(signed) and "skewed",
        signature_does_not_match(principal, wire, signed),
    ):
        if kind:
            detail = signatures.skew(signed) if kind == "skewed" else ""
            return denials.unauthenticated(kind, request.service, request.protocol, detail)
    return None


@behaviour("iam", code="MissingAuthenticationToken")
def no_signature(request: ApiRequest, wire: Wire) -> Refusal | None:
    """A request without a signature is refused, one with a malformed signature too.

    https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
    """
    kind = "incomplete" if wire.headers.get("authorization") else "missing"
    return denials.unauthenticated(kind, request.service, request.protocol)


@behaviour("iam", code="InvalidClientTokenId")
def unknown_access_key(principal: Principal | None) -> str | None:
    """An access key that no user and no session has (deleted, or not yet known) is refused.

    https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html (InvalidClientTokenId)
    """
    return "unknown" if principal is None else None


@behaviour("iam", code="InvalidClientTokenId")
def inactive_access_key(runtime: Runtime, principal: Principal | None) -> str | None:
    """An access key that was made inactive is refused until it is active again.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateAccessKey.html
    """
    if principal is None or principal.session is not None:
        return None
    record = records.counting(runtime).get("access_keys", principal.account, principal.access_key_id)
    return "unknown" if record and record.get("Status") != "Active" else None


@behaviour("sts", code="InvalidClientTokenId")
def session_token_is_wrong(principal: Principal | None, signed: Signed) -> str | None:
    """A temporary access key counts only with its own session token, a long-term key only without one.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_use-resources.html
    """
    return "token" if principal and (signed.token or None) != (principal.token or None) else None


@behaviour("sts", code="ExpiredToken")
def session_has_expired(principal: Principal | None) -> str | None:
    """Temporary credentials end with their duration.

    https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html (ExpiredTokenException)
    """
    return "expired" if principal and principal.expires is not None and time.time() > principal.expires else None


@behaviour("iam", code="SignatureDoesNotMatch", otherwise=lambda signed: False)
def signature_is_too_old(signed: Signed) -> bool:
    """A signature is good within 15 minutes of the service's time, a presigned URL until it expires.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html
    """
    return bool(signatures.skew(signed))


@behaviour("iam", code="SignatureDoesNotMatch")
def signature_does_not_match(principal: Principal | None, wire: Wire, signed: Signed) -> str | None:
    """The signature is calculated again from the request and the key's secret, and must be the same.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
    """
    return "signature" if principal and not signatures.matches(wire, signed, principal.secret) else None


@behaviour("sts", code="InvalidClientTokenId")
def no_iam_with_a_session_token(call: Call, principal: Principal) -> Refusal | None:
    """Credentials of GetSessionToken without MFA call no IAM operation, those of GetFederationToken neither.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_sts-comparison.html
    """
    temporary = principal.session is not None and principal.kind in ("User", "FederatedUser")
    return denials.unauthenticated("unknown", "iam", "query") if temporary and call.service == "iam" else None


def unauthorized(call: Call, principal: Principal) -> Refusal | None:
    """What the policies refuse of a call."""
    if call.service == "sts" and call.operation.startswith("AssumeRole"):
        # The role's trust policy decides as well: sandbox.iam.sessions.
        return None
    for need in needs.of(call):
        for resource in need.resources:
            decision = decision_on(call, principal, need, resource)
            _remember(call, principal, need, resource, decision)
            if not decision.allowed:
                named = denials.shown(call.service, resource, call.region, principal.account)
                return denials.denied(call.service, call.request.protocol, principal.arn, need.action, named, decision)
    return None


@behaviour("iam", code="AccessDenied", otherwise=lambda *_: Decision("allowed"))
def decision_on(call: Call, principal: Principal, need: Need, resource: str) -> Decision:
    """What no policy allows is denied; root may do everything, and everybody may ask who they are.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html
    """
    if need.action in needs.FREE:
        return Decision("allowed")
    view = context.RequestContext(call, principal, need, resource)
    return decide(caller_of(principal), need.action, resource, view, policy_of(call, need, resource))


def caller_of(principal: Principal) -> Caller:
    return Caller(
        principal.account,
        principal.arn,
        principal.role_arn,
        principal.policies,
        principal.boundary,
        principal.session_policies,
    )


def may(
    runtime: Runtime,
    access_key_id: str,
    request: ApiRequest,
    need: Need,
    keys: Mapping[str, Sequence[str]] | None = None,
) -> tuple[Principal | None, Decision]:
    """Whether a key's principal may do one thing that is no API call of its own (the registry's, a task's)."""
    principal = resolve(runtime, access_key_id)
    if principal is None:
        return None, Decision("implicitDeny")
    call = Call(runtime, request, principal.account, request.region or runtime.settings.region)
    for resource in need.resources:
        view = context.RequestContext(call, principal, need, resource, keys)
        found = decide(caller_of(principal), need.action, resource, view, policy_of(call, need, resource))
        _remember(call, principal, need, resource, found)
        if not found.allowed:
            return principal, found
    return principal, Decision("allowed")


def _remember(call: Call, principal: Principal, need: Need, resource: str, decision: Decision) -> None:
    who, asked_by = principal.role_arn or principal.arn, f"{call.service}:{call.operation}"
    sids = tuple(statement.sid for statement in decision.statements if statement.sid)
    call.runtime.decisions.add(Question(who, need.action, resource, asked_by, decision.allowed, sids))


def _remember_use(request: ApiRequest, signed: Signed) -> None:
    """For GetAccessKeyLastUsed."""
    if session_of(signed.access_key_id) is None:
        key = emulator.service("iam")._access_keys.get(signed.access_key_id)
        if key is not None:
            key["LastUsed"] = {"At": emulator.now(), "Region": request.region or "N/A", "Service": signed.service}
