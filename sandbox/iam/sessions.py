"""STS sessions: who may assume a role, for how long, with which tags; what a session is made of.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam import records, validation
from sandbox.iam.call import Call, Need, tags_of
from sandbox.iam.context import RequestContext
from sandbox.iam.evaluator import Decision, ResourcePolicy, decide
from sandbox.iam.mode import caller_of
from sandbox.iam.principals import Principal, resolve
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

CHAINED_SECONDS = 3600


def caller(runtime: Runtime, request: ApiRequest) -> Principal:
    """Whoever asks; root of the account for a key that nobody has, as long as IAM mode is off."""
    key = request.access_key_id or runtime.settings.access_key_id
    found = resolve(runtime, key, None if runtime.switches.iam else records.live())
    if found is None:
        found = resolve(runtime, runtime.settings.access_key_id)
    if found is None:
        raise Refused("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    return found


def role_of(runtime: Runtime, role_arn: str) -> tuple[str, str, Mapping[str, Any] | None]:
    """(account, name, record) of a role's ARN. Raises Refused for what is no role's ARN."""
    parts = role_arn.split(":", 5)
    if len(parts) != 6 or parts[2] != "iam" or not parts[4].isdigit() or not parts[5].startswith("role/"):
        raise Refused("ValidationError", f"{role_arn} is invalid")
    name = parts[5].rpartition("/")[2]
    found = records.counting(runtime) if runtime.switches.iam else records.live()
    role = found.get("roles", parts[4], name)
    return parts[4], name, role if role and role.get("Arn") == role_arn else None


def trusted(
    runtime: Runtime, request: ApiRequest, principal: Principal, role_arn: str, role: Mapping[str, Any] | None
) -> None:
    """Raises Refused unless caller, role and their policies agree. While IAM mode is off, the role has to exist."""
    if not runtime.switches.iam:
        absent_roles_are_assumed_by_nobody(principal, role_arn, role)
        return
    root_assumes_no_role(principal)
    settings = runtime.settings
    call = Call(runtime, request, principal.account, request.region or settings.region)
    for action in ["sts:AssumeRole", *tags_and_source_need_permissions(request)]:
        decision = trust_policy_decides(call, principal, action, role_arn, role)
        if not decision.allowed:
            why = ""
            if decision.kind == "explicitDeny":
                why = f" with an explicit deny in a{'n' if decision.by.startswith('i') else ''} {decision.by}"
            text = f"User: {principal.arn} is not authorized to perform: {action} on resource: {role_arn}{why}"
            raise Refused("AccessDenied", text, 403)


@behaviour("sts", code="AccessDenied")
def absent_roles_are_assumed_by_nobody(principal: Principal, role_arn: str, role: Mapping[str, Any] | None) -> None:
    """A role that does not exist cannot be assumed; whether it exists is not told.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_roles.html#troubleshoot_roles_cant-assume-role
    """
    if role is None:
        text = f"User: {principal.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}"
        raise Refused("AccessDenied", text, 403)


@behaviour("sts", code="AccessDenied", otherwise=lambda request: [])
def tags_and_source_need_permissions(request: ApiRequest) -> list[str]:
    """Session tags need sts:TagSession, a source identity sts:SetSourceIdentity, beside sts:AssumeRole.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_permissions-required
    """
    found = ["sts:TagSession"] if request.parameters.get("Tags") else []
    return [*found, "sts:SetSourceIdentity"] if request.parameters.get("SourceIdentity") else found


@behaviour("sts", code="AccessDenied")
def root_assumes_no_role(principal: Principal) -> None:
    """Root of an account cannot assume a role.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_roles.html#troubleshoot_roles_cant-assume-role
    """
    if principal.is_root:
        raise Refused("AccessDenied", "Roles may not be assumed by root accounts.", 403)


@behaviour("sts", code="AccessDenied", otherwise=lambda *_: Decision("allowed"))
def trust_policy_decides(
    call: Call, principal: Principal, action: str, role_arn: str, role: Mapping[str, Any] | None
) -> Decision:
    """A role is assumed only by whom its trust policy names, all conditions met, and whose own policies allow it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
    """
    if role is None:
        return Decision("implicitDeny")
    need = Need(action, [role_arn])
    view = RequestContext(call, principal, need, role_arn)
    policy = ResourcePolicy(str(role.get("AssumeRolePolicyDocument") or "{}"), role_arn.split(":")[4], required=True)
    return decide(caller_of(principal), action, role_arn, view, policy)


def duration(runtime: Runtime, request: ApiRequest, principal: Principal | None, role: Mapping[str, Any] | None) -> int:
    """Seconds that the session lives. Raises Refused when that is too long."""
    seconds = int(request.parameters.get("DurationSeconds") or 3600)
    if runtime.switches.iam:
        longer_than_the_role_allows(seconds, role)
        longer_than_a_chain_allows(seconds, principal)
    return seconds


@behaviour("sts", code="ValidationError")
def longer_than_the_role_allows(seconds: int, role: Mapping[str, Any] | None) -> None:
    """A session lives no longer than its role's MaxSessionDuration.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html (DurationSeconds)
    """
    if seconds > int((role or {}).get("MaxSessionDuration") or 3600):
        text = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise Refused("ValidationError", text)


@behaviour("sts", code="ValidationError")
def longer_than_a_chain_allows(seconds: int, principal: Principal | None) -> None:
    """A role assumed with a role's credentials lives one hour at most, whatever its MaxSessionDuration.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
    """
    if principal is not None and principal.kind == "AssumedRole" and seconds > CHAINED_SECONDS:
        text = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        raise Refused("ValidationError", text)


def policies_of(runtime: Runtime, request: ApiRequest, account: str) -> dict[str, Any] | None:
    """Session policies of a request. Raises Refused."""
    document = str(request.parameters.get("Policy") or "")
    session_policy_is_one(document)
    arns = [str(one.get("arn")) for one in request.parameters.get("PolicyArns") or []]
    session_policies_exist(account, arns)
    return {"Policy": document, "PolicyArns": arns} if document or arns else None


@behaviour("sts", code="MalformedPolicyDocument", stateful=False)
def session_policy_is_one(document: str) -> None:
    """The policy that a session is given is JSON, and an identity policy.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html (MalformedPolicyDocument)
    """
    if not document:
        return
    try:
        json.loads(document)
    except ValueError:
        raise Refused("MalformedPolicyDocument", "The policy is not in the valid JSON format.") from None
    if text := validation.objection(document):
        raise Refused("MalformedPolicyDocument", text)


@behaviour("sts", code="ValidationError")
def session_policies_exist(account: str, arns: Sequence[str]) -> None:
    """The managed policies that a session is given must exist in the role's account.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html (PolicyArns)
    """
    if any(records.live().document(account, arn) is None for arn in arns):
        text = "At least one Policy ARN in the PolicyArns parameter does not match an existing IAM Managed Policy ARN."
        raise Refused("ValidationError", text)


def start(
    runtime: Runtime, arn: str, user_id: str, account: str, kind: str, seconds: int, **more: Any
) -> dict[str, Any]:
    """Remember a new session; its Credentials as STS gives them."""
    iam, sts = emulator.service("iam"), emulator.service("sts")
    key = iam._gen_session_access_key()
    expires = time.time() + (runtime.switches.session_seconds or seconds)
    session = {
        "Arn": arn,
        "UserId": user_id,
        "SecretAccessKey": iam._gen_secret(),
        "SessionToken": iam._gen_session_token(),
        "Expiration": expires,
        "AccountId": account,
        "PrincipalType": kind,
        **{name: value for name, value in more.items() if value},
    }
    sts.register_session(key, session)
    runtime.changed()
    return {
        "AccessKeyId": key,
        "SecretAccessKey": session["SecretAccessKey"],
        "SessionToken": session["SessionToken"],
        "Expiration": datetime.fromtimestamp(int(expires), UTC),
    }


@behaviour("sts", otherwise=lambda request, principal: tags_of(request.parameters.get("Tags")))
def tags_of_the_session(request: ApiRequest, principal: Principal) -> dict[str, str]:
    """Transitive session tags go on through every role of a chain, and cannot be changed there.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_role-chaining
    """
    inherited = {key: principal.tags[key] for key in transitive(principal) if key in principal.tags}
    return {**tags_of(request.parameters.get("Tags")), **inherited}


def transitive(principal: Principal) -> list[str]:
    return list((principal.session or {}).get("TransitiveTagKeys") or [])


def assume(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """AssumeRole. Raises Refused."""
    role_arn, name = str(request.parameters["RoleArn"]), str(request.parameters["RoleSessionName"])
    principal = caller(runtime, request)
    account, role_name, role = role_of(runtime, role_arn)
    trusted(runtime, request, principal, role_arn, role)
    seconds = duration(runtime, request, principal, role)
    tags = tags_of_the_session(request, principal)
    own = [str(key) for key in request.parameters.get("TransitiveTagKeys") or []]
    source = request.parameters.get("SourceIdentity") or (principal.session or {}).get("SourceIdentity")
    arn = f"arn:aws:sts::{account}:assumed-role/{role_name}/{name}"
    user_id = f"{_role_id(role)}:{name}"
    credentials = start(
        runtime,
        arn,
        user_id,
        account,
        "AssumedRole",
        seconds,
        SessionTags=[{"Key": key, "Value": value} for key, value in tags.items()],
        TransitiveTagKeys=list(dict.fromkeys([*own, *transitive(principal)])),
        SessionPolicies=policies_of(runtime, request, account),
        SourceIdentity=source,
        SourceAccessKeyId=principal.access_key_id,
        SourcePrincipalArn=principal.arn,
    )
    answer: dict[str, Any] = {"Credentials": credentials, "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": arn}}
    if source:
        answer["SourceIdentity"] = source
    if request.parameters.get("Policy") or request.parameters.get("Tags"):
        answer["PackedPolicySize"] = 1 + len(str(request.parameters.get("Policy") or "")) * 100 // 4096
    return answer


def _role_id(role: Mapping[str, Any] | None) -> str:
    return str(role["RoleId"]) if role else str(emulator.service("iam")._gen_id("AROA"))
