"""Who calls: the user, role session or root of an access key, its policies and tags; as CloudTrail shows it."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam.documents import ManagedDocument
from sandbox.iam.records import Records, counting, live

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

ACCOUNT_KEY = re.compile(r"\d{12}")


@dataclass(frozen=True)
class Principal:
    """`kind` as aws:PrincipalType has it: Account (root), User, AssumedRole, FederatedUser."""

    kind: str
    account: str
    arn: str
    # aws:userid: AIDA… of a user, AROA…:session of a role session, the account's number of root.
    user_id: str
    access_key_id: str
    secret: str
    # The user's or the role's name; empty for root.
    name: str = ""
    token: str | None = None
    expires: float | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    # Policy documents of identity; None for root, whom no identity policy limits.
    policies: list[str] | None = None
    boundary: list[str] | None = None
    session_policies: list[str] | None = None
    # The STS session that the key belongs to, as the emulator keeps it.
    session: Mapping[str, Any] | None = None
    role_arn: str = ""

    @property
    def is_root(self) -> bool:
        return self.kind == "Account"


def session_of(access_key_id: str | None) -> dict[str, Any] | None:
    """The STS session of a temporary access key, expired or not."""
    found: dict[str, Any] | None = emulator.service("sts")._sessions.get(access_key_id)
    return found


def resolve(runtime: Runtime, access_key_id: str, records: Records | None = None) -> Principal | None:
    """The principal of a key that counts now; None for a key that nobody has."""
    records = records or counting(runtime)
    settings = runtime.settings
    if access_key_id == settings.access_key_id or ACCOUNT_KEY.fullmatch(access_key_id):
        account = settings.account if access_key_id == settings.access_key_id else access_key_id
        return _root(account, access_key_id, settings.secret_access_key)
    if (session := session_of(access_key_id)) is not None:
        return _of_session(records, access_key_id, session)
    account = records.account_of_key(access_key_id) or ""
    key = records.get("access_keys", account, access_key_id) if account else None
    if key is None:
        return None
    return _user(records, account, str(key["UserName"]), access_key_id, str(key["SecretAccessKey"]), None)


def _root(account: str, access_key_id: str, secret: str, session: Mapping[str, Any] | None = None) -> Principal:
    arn = f"arn:aws:iam::{account}:root"
    return Principal("Account", account, arn, account, access_key_id, secret, session=session, **_temporary(session))


def _temporary(session: Mapping[str, Any] | None) -> dict[str, Any]:
    return {} if session is None else {"token": session.get("SessionToken"), "expires": session.get("Expiration")}


def _user(
    records: Records, account: str, name: str, key: str, secret: str, session: Mapping[str, Any] | None
) -> Principal | None:
    user = records.get("users", account, name)
    if user is None:
        return None
    return Principal(
        "User",
        account,
        str(user["Arn"]),
        str(user["UserId"]),
        key,
        secret,
        name,
        tags=_tags(user),
        policies=user_policies(records, account, name),
        boundary=boundary_of(records, account, user),
        session=session,
        **_temporary(session),
    )


def _of_session(records: Records, key: str, session: Mapping[str, Any]) -> Principal | None:
    account = str(session.get("AccountId") or str(session["Arn"]).split(":")[4])
    secret, arn = str(session["SecretAccessKey"]), str(session["Arn"])
    kind = session.get("PrincipalType")
    if kind == "User":
        return _user(records, account, str(session["PrincipalName"]), key, secret, session)
    if kind == "Root":
        return _root(account, key, secret, session)
    if kind == "FederatedUser":
        return _federated(records, account, key, session)
    name = arn.split("/")[1] if "/" in arn else ""
    role = _a_session_ends_with_its_role(records, account, name, session)
    tags = {**_tags(role or {}), **{t["Key"]: t["Value"] for t in session.get("SessionTags") or []}}
    return Principal(
        "AssumedRole",
        account,
        arn,
        str(session.get("UserId", "")),
        key,
        secret,
        name,
        tags=tags,
        policies=role_policies(records, account, name) if role else [],
        boundary=boundary_of(records, account, role) if role else None,
        session_policies=_session_policies(records, account, session),
        session=session,
        role_arn=str(role["Arn"]) if role else "",
        **_temporary(session),
    )


@behaviour("sts", otherwise=lambda records, account, name, session: records.get("roles", account, name))
def _a_session_ends_with_its_role(
    records: Records, account: str, name: str, session: Mapping[str, Any]
) -> dict[str, Any] | None:
    """A session may do nothing once its role is deleted, also when another role of that name is made.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_manage_delete.html
    """
    role: dict[str, Any] | None = records.get("roles", account, name)
    wanted = str(session.get("UserId", "")).partition(":")[0]
    return role if role and (not wanted or role["RoleId"] == wanted) else None


def _federated(records: Records, account: str, key: str, session: Mapping[str, Any]) -> Principal:
    name = str(session.get("PrincipalName") or "")
    user = records.get("users", account, name) if name else None
    everything = '{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}'
    return Principal(
        "FederatedUser",
        account,
        str(session["Arn"]),
        str(session.get("UserId", "")),
        key,
        str(session["SecretAccessKey"]),
        name,
        tags={t["Key"]: t["Value"] for t in session.get("SessionTags") or []},
        policies=user_policies(records, account, name) if name else [everything],
        boundary=boundary_of(records, account, user) if user else None,
        session_policies=_session_policies(records, account, session) or [],
        session=session,
        **_temporary(session),
    )


def _tags(record: Mapping[str, Any]) -> dict[str, str]:
    return {str(t["Key"]): str(t["Value"]) for t in record.get("Tags") or []}


def _texts(documents: Mapping[str, Any] | None) -> list[str]:
    return [str(document) for document in (documents or {}).values()]


def _managed(records: Records, account: str, entity: Mapping[str, Any]) -> list[str]:
    found = ((records.document(account, arn), arn) for arn in entity.get("AttachedPolicies") or [])
    return [ManagedDocument(document, arn) for document, arn in found if document]


@behaviour("iam", otherwise=lambda *_: [])
def _a_group_gives_its_policies_to_its_users(records: Records, account: str, user: str) -> list[str]:
    """A user has the inline and managed policies of each group that it is in, while it is in it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_groups.html
    """
    found: list[str] = []
    for name, group in records.each("groups", account):
        if user in (group.get("Users") or []):
            found += _texts(records.get("group_inline_policies", account, name)) + _managed(records, account, group)
    return found


def user_policies(records: Records, account: str, name: str) -> list[str]:
    """Documents of the user's own inline and managed policies and of its groups'."""
    user = records.get("users", account, name) or {}
    own = _texts(records.get("user_inline_policies", account, name)) + _managed(records, account, user)
    return own + _a_group_gives_its_policies_to_its_users(records, account, name)


def role_policies(records: Records, account: str, name: str) -> list[str]:
    role = records.get("roles", account, name) or {}
    return _texts(role.get("InlinePolicies")) + _managed(records, account, role)


def boundary_of(records: Records, account: str, entity: Mapping[str, Any]) -> list[str] | None:
    """The document of the permissions boundary; an empty list (nothing is allowed) when its policy is gone."""
    arn = entity.get("PermissionsBoundary")
    if not arn:
        return None
    document = records.document(account, str(arn))
    return [document] if document else []


def _session_policies(records: Records, account: str, session: Mapping[str, Any]) -> list[str] | None:
    passed = session.get("SessionPolicies")
    if not passed:
        return None
    documents = [str(passed["Policy"])] if passed.get("Policy") else []
    for arn in passed.get("PolicyArns") or []:
        documents += [document] if (document := records.document(account, arn)) else []
    return documents


def identity(runtime: Runtime, access_key_id: str | None) -> dict[str, Any]:
    """CloudTrail's userIdentity of an access key; an unknown key is the account's root, as when IAM mode is off.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-user-identity.html
    """
    key = access_key_id or ""
    principal = resolve(runtime, key, live()) if key else None
    if principal is None:
        principal = _root(runtime.settings.account, key, "")
    kinds = {"Account": "Root", "User": "IAMUser"}
    found: dict[str, Any] = {
        "type": kinds.get(principal.kind, principal.kind),
        "principalId": principal.user_id,
        "arn": principal.arn,
        "accountId": principal.account,
        "accessKeyId": key,
    }
    if principal.kind == "User":
        found["userName"] = principal.name
    if principal.session is not None:
        found["sessionContext"] = _session_context(principal)
    return found


def _session_context(principal: Principal) -> dict[str, Any]:
    session = principal.session or {}
    issued = float(session.get("IssuedAt") or time.time())
    stamp = datetime.fromtimestamp(issued, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    context: dict[str, Any] = {"attributes": {"creationDate": stamp, "mfaAuthenticated": "false"}}
    if principal.kind == "AssumedRole":
        arn = principal.role_arn or f"arn:aws:iam::{principal.account}:role/{principal.name}"
        context["sessionIssuer"] = {
            "type": "Role",
            "principalId": principal.user_id.partition(":")[0],
            "arn": arn,
            "accountId": principal.account,
            "userName": principal.name,
        }
        context["webIdFederationData"] = {}
        if provider := session.get("WebIdentityProvider"):
            context["webIdFederationData"] = {
                "federatedProvider": provider,
                "attributes": dict(session.get("WebIdentityAttributes") or {}),
            }
    elif principal.kind == "FederatedUser":
        context["sessionIssuer"] = {
            "type": "IAMUser" if principal.name else "Root",
            "arn": str(session.get("SourcePrincipalArn", "")),
            "accountId": principal.account,
        }
    if source := session.get("SourceIdentity"):
        context["sourceIdentity"] = source
    return context
