"""AssumeRoleWithWebIdentity: a token of an OpenID Connect provider that the account knows, for a role that trusts it.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox.behaviours import behaviour
from sandbox.iam import oidc, records, reference, sessions
from sandbox.iam.call import tags_of
from sandbox.iam.evaluator import Caller, Decision, ResourcePolicy, decide
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

ACTION = "sts:AssumeRoleWithWebIdentity"
TAGS_CLAIM = "https://aws.amazon.com/tags"
NO_KEY = (
    "Couldn't retrieve verification key from your identity provider, please reference AssumeRoleWithWebIdentity "
    "documentation for requirements"
)


def invalid(message: str) -> Refused:
    return Refused("InvalidIdentityToken", message)


def assume(runtime: Runtime, request: ApiRequest, keys: list[Mapping[str, Any]] | None) -> dict[str, Any]:
    """The session of a token. `keys` are its issuer's; None when they could not be had. Raises Refused."""
    role_arn, name = str(request.parameters["RoleArn"]), str(request.parameters["RoleSessionName"])
    token = read(request)
    account, role_name, role = sessions.role_of(runtime, role_arn)
    found = records.counting(runtime)
    host = token.issuer.partition("://")[2].rstrip("/")
    arn = f"arn:aws:iam::{account}:oidc-provider/{host}"
    provider = found.get("oidc_providers", account, arn)
    issuer_is_known(token, provider)
    signature_of_the_token(token, keys)
    audience_of_the_token(token, provider or {})
    token_has_expired(token)
    conditions = _conditions(token, host, name)
    tags = _session_tags(token)
    for action in [ACTION, *(["sts:TagSession"] if tags else [])]:
        if not role_trusts_the_token(role, role_arn, arn, action, conditions).allowed:
            raise Refused("AccessDenied", f"Not authorized to perform {action}", 403)
    seconds = sessions.duration(runtime, request, None, role)
    session_arn = f"arn:aws:sts::{account}:assumed-role/{role_name}/{name}"
    user_id = f"{(role or {}).get('RoleId', '')}:{name}"
    credentials = sessions.start(
        runtime,
        session_arn,
        user_id,
        account,
        "AssumedRole",
        seconds,
        SessionTags=[{"Key": key, "Value": value} for key, value in tags.items()],
        TransitiveTagKeys=[str(key) for key in _aws_tags(token).get("transitive_tag_keys") or []],
        SessionPolicies=sessions.policies_of(runtime, request, account),
        WebIdentityProvider=arn,
        WebIdentityAttributes={key: values[0] for key, values in conditions.items() if key.startswith(f"{host}:")},
    )
    return {
        "Credentials": credentials,
        "SubjectFromWebIdentityToken": str(token.claims["sub"]),
        "AssumedRoleUser": {"AssumedRoleId": user_id, "Arn": session_arn},
        "Provider": arn,
        "Audience": token.audiences[0],
    }


def read(request: ApiRequest) -> oidc.Token:
    """Raises Refused for what is no token."""
    try:
        return oidc.parse(str(request.parameters.get("WebIdentityToken") or ""))
    except oidc.NotAToken as error:
        text = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
        raise invalid(text) from error


@behaviour("sts", code="InvalidIdentityToken")
def issuer_is_known(token: oidc.Token, provider: Mapping[str, Any] | None) -> None:
    """The token's issuer must be an OpenID Connect provider of the role's account.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html (InvalidIdentityToken)
    """
    if provider is None:
        raise invalid(f"No OpenIDConnect provider found in your account for {token.issuer}")


@behaviour("sts", code="InvalidIdentityToken")
def signature_of_the_token(token: oidc.Token, keys: list[Mapping[str, Any]] | None) -> None:
    """The token's signature is verified with the keys that the issuer publishes; IDPCommunicationError without them.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html (Errors)
    """
    if keys is None:
        raise Refused("IDPCommunicationError", f"{token.issuer}: the identity provider cannot be reached")
    wanted = token.header.get("kid")
    if not any(wanted is None or key.get("kid") == wanted for key in keys):
        raise invalid(NO_KEY)
    if not oidc.verified(token, keys):
        raise invalid("Invalid Identity Token: the signature of the token does not match")


@behaviour("sts", code="InvalidIdentityToken")
def audience_of_the_token(token: oidc.Token, provider: Mapping[str, Any]) -> None:
    """The token's audience must be among the provider's client ids.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_create_oidc.html
    """
    if not set(token.audiences) & set(provider.get("ClientIDList") or []):
        raise invalid("Incorrect token audience")


@behaviour("sts", code="ExpiredTokenException")
def token_has_expired(token: oidc.Token) -> None:
    """A web identity token counts until its `exp`.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html (ExpiredTokenException)
    """
    if token.expired():
        now, until = datetime.now(UTC), datetime.fromtimestamp(float(token.claims["exp"]), UTC)
        text = f"Token expired: current date/time {now:%s} must be before the expiration date/time {until:%s}"
        raise Refused("ExpiredTokenException", text)


@behaviour("sts", code="AccessDenied", otherwise=lambda *_: Decision("allowed"))
def role_trusts_the_token(
    role: Mapping[str, Any] | None,
    role_arn: str,
    provider_arn: str,
    action: str,
    conditions: Mapping[str, Sequence[str]],
) -> Decision:
    """The role's trust policy must name the provider, and its conditions on the token's `sub` and `aud` must hold.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp_oidc.html
    """
    if role is None:
        return Decision("implicitDeny")
    account = role_arn.split(":")[4]
    caller = Caller(account, provider_arn, policies=[], kind="Federated")
    policy = ResourcePolicy(str(role.get("AssumeRolePolicyDocument") or "{}"), account, required=True)
    return decide(caller, action, role_arn, lambda key: conditions.get(key.lower()), policy)


def _conditions(token: oidc.Token, host: str, session_name: str) -> dict[str, Sequence[str]]:
    """`<issuer>:aud`, `:sub` and `:amr` of every provider; other claims only where the reference lists their key."""
    known = reference.action(ACTION)
    listed = known.keys if known else frozenset()
    found: dict[str, Sequence[str]] = {"sts:rolesessionname": [session_name], "aws:federatedprovider": [host]}
    for claim, value in token.claims.items():
        key = f"{host}:{claim}".lower()
        if claim in ("sub", "amr") or key in listed:
            found[key] = [str(item) for item in (value if isinstance(value, list) else [value])]
    found[f"{host}:aud".lower()] = token.audiences
    if token.claims.get("azp"):
        given = token.claims["aud"]
        found[f"{host}:oaud".lower()] = [str(item) for item in (given if isinstance(given, list) else [given])]
    tags = _session_tags(token)
    found |= {f"aws:requesttag/{key}".lower(): [value] for key, value in tags.items()}
    if tags:
        found["aws:tagkeys"] = list(tags)
    return found


def _aws_tags(token: oidc.Token) -> Mapping[str, Any]:
    given = token.claims.get(TAGS_CLAIM)
    return given if isinstance(given, Mapping) else {}


def _session_tags(token: oidc.Token) -> dict[str, str]:
    """https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_adding-assume-role-idp"""
    given = _aws_tags(token).get("principal_tags") or {}
    return tags_of({key: value[0] if isinstance(value, list) and value else value for key, value in given.items()})
