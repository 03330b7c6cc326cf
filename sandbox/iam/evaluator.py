"""The decision: which policies apply to a request, and what they say together.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_policy-eval-basics.html
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sandbox.behaviours import behaviour
from sandbox.iam.documents import ManagedDocument, Statement, statements
from sandbox.iam.patterns import Context

IDENTITY, RESOURCE = "identity-based policy", "resource-based policy"
BOUNDARY, SESSION = "permissions boundary", "session policy"
ACCOUNT = re.compile(r"(?:arn:[\w-]+:iam::)?(\d{12})(?::root)?")


@dataclass(frozen=True)
class Decision:
    """`kind` as SimulatePrincipalPolicy says it; `by` is the kind of policy that refuses."""

    kind: str
    by: str = IDENTITY
    statements: tuple[Statement, ...] = ()
    # The managed policy that holds the Deny, if one does.
    policy_arn: str = ""

    @property
    def allowed(self) -> bool:
        return self.kind == "allowed"


@dataclass(frozen=True)
class Caller:
    """What evaluation knows of a principal. `names` are the ARNs by which a resource's policy may name it."""

    account: str
    # Its own ARN (of the user or the session): named by it, no boundary and no session policy limits it.
    arn: str
    role_arn: str = ""
    # None: root, which no identity policy limits.
    policies: Sequence[str] | None = None
    boundary: Sequence[str] | None = None
    session_policies: Sequence[str] | None = None
    # ("Service", "ecs-tasks.amazonaws.com"), ("Federated", "arn:…:oidc-provider/…"); else it is an AWS principal.
    kind: str = "AWS"


@dataclass(frozen=True)
class ResourcePolicy:
    document: str
    account: str
    # A KMS key's or a role's own policy must allow in its own account as well.
    required: bool = False


@dataclass
class _Found:
    allows: list[Statement] = field(default_factory=list)
    denies: list[Statement] = field(default_factory=list)
    # The managed policy of the first Deny.
    denying_arn: str = ""


def decide(
    caller: Caller, action: str, resource: str, context: Context, policy: ResourcePolicy | None = None
) -> Decision:
    """What all policies together say of one action on one resource."""
    layers = {
        IDENTITY: _look(caller.policies, action, resource, context),
        BOUNDARY: _look(limits_of_the_boundary(caller), action, resource, context),
        SESSION: _look(limits_of_the_session(caller), action, resource, context),
    }
    granted, delegated, direct, denied = _of_resource(caller, action, resource, context, policy)
    layers[RESOURCE] = _Found(denies=denied)
    for by, found in layers.items():
        if found is not None and (denies := explicit_denials(found.denies)):
            return Decision("explicitDeny", by, tuple(denies), found.denying_arn)
    own = policy is None or policy.account == caller.account
    identity, by_policy = layers[IDENTITY], None
    if identity is None or identity.allows:
        by_policy = identity.allows if identity else []
    resource_ok = bool(granted or (delegated and own) or (delegated and policy is not None and policy.required))
    if own and policy is not None and policy.required and not resource_ok:
        return Decision("implicitDeny", RESOURCE)
    if not own and not (granted or delegated):
        return Decision("implicitDeny", RESOURCE)
    if direct and own:
        return Decision("allowed", RESOURCE, tuple(direct))
    if by_policy is None and not (granted and own):
        return Decision("implicitDeny", IDENTITY)
    for by in (BOUNDARY, SESSION):
        found = layers[by]
        if found is not None and not found.allows:
            return Decision("implicitDeny", by)
    return Decision("allowed", IDENTITY if by_policy is not None else RESOURCE, tuple(by_policy or granted))


@behaviour("iam", code="AccessDenied", otherwise=lambda denies: [])
def explicit_denials(denies: list[Statement]) -> list[Statement]:
    """An explicit Deny in any policy that applies wins over every Allow.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic_AccessPolicyLanguage_Interplay.html
    """
    return denies


@behaviour("iam", code="AccessDenied")
def limits_of_the_boundary(caller: Caller) -> Sequence[str] | None:
    """A user or role with a permissions boundary may do only what the boundary allows as well.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html
    """
    return caller.boundary


@behaviour("sts", code="AccessDenied")
def limits_of_the_session(caller: Caller) -> Sequence[str] | None:
    """A session with policies of its own may do only what those and the role's policies both allow.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies.html#policies_session
    """
    return caller.session_policies


def _look(documents: Iterable[str] | None, action: str, resource: str, context: Context) -> _Found | None:
    """The statements of a layer that cover the request; None when there is no such layer."""
    if documents is None:
        return None
    found = _Found()
    for document in documents:
        for statement in statements(document):
            if statement.covers(action, resource, context):
                if not statement.allows and not found.denies and isinstance(document, ManagedDocument):
                    found.denying_arn = document.arn
                (found.allows if statement.allows else found.denies).append(statement)
    return found


Lists = tuple[list[Statement], list[Statement], list[Statement], list[Statement]]


def _of_resource(caller: Caller, action: str, resource: str, context: Context, policy: ResourcePolicy | None) -> Lists:
    """Statements of the resource's policy: that name the caller, only its account, exactly it; and that deny."""
    granted: list[Statement] = []
    delegated: list[Statement] = []
    direct: list[Statement] = []
    denied: list[Statement] = []
    for statement in statements(policy.document) if policy else ():
        how = _named(caller, statement)
        if how is None or not statement.covers(action, resource, context):
            continue
        if not statement.allows:
            denied.append(statement)
        elif how == "account":
            delegated.append(statement)
        else:
            granted.append(statement)
            if how == "direct":
                direct.append(statement)
    return granted, delegated, direct, denied


def _named(caller: Caller, statement: Statement) -> str | None:
    """How a statement names the caller: "direct", "role", "anybody", "account"; None when it does not."""
    if statement.not_principals:
        return None if _how(caller, statement.not_principals) else "anybody"
    return _how(caller, statement.principals)


def _how(caller: Caller, principals: Sequence[tuple[str, str]]) -> str | None:
    ways = {way for kind, value in principals if (way := _way(caller, kind, value))}
    return next((way for way in ("direct", "role", "anybody", "account") if way in ways), None)


def _way(caller: Caller, kind: str, value: str) -> str | None:
    if kind == "*" or (kind == "AWS" and value == "*"):
        return "anybody"
    if kind != caller.kind:
        return None
    if kind != "AWS":
        return "role" if value == caller.arn else None
    if value == caller.arn and not value.endswith(":root"):
        return "direct"
    if caller.role_arn and value == caller.role_arn:
        return "role"
    account = ACCOUNT.fullmatch(value)
    return "account" if account and account[1] == caller.account else None
