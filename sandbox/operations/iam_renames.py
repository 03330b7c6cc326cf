"""IAM: users and groups under another name or path, with all that is theirs; credentials that nobody has here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.operations import operation
from sandbox.operations.iam import not_found
from sandbox.seams.iam import principal_renamed

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

Record = dict[str, Any]


@operation("iam", "UpdateUser")
def update_user(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateUser.html"""
    iam = emulator.service("iam")
    name, new, before = _renamed(iam._users, request, "user")
    if new != name:
        a_renamed_user_keeps_what_it_has(name, new)
    a_renamed_user_is_still_trusted(before, str(iam._users[new]["Arn"]))
    runtime.changed()
    return {}


@operation("iam", "UpdateGroup")
def update_group(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateGroup.html"""
    iam = emulator.service("iam")
    name, new, _ = _renamed(iam._groups, request, "group")
    if new != name:
        a_renamed_group_keeps_its_policies(name, new)
    runtime.changed()
    return {}


def _renamed(store: Any, request: ApiRequest, kind: str) -> tuple[str, str, str]:
    """(old name, new name, old ARN) of a record that lies under its new name now. Raises Refused."""
    title = kind.capitalize()
    name = str(request.parameters[f"{title}Name"])
    record: Record | None = store.get(name)
    if record is None:
        raise not_found(f"The {kind} with name {name} cannot be found.")
    new, before = str(request.parameters.get(f"New{title}Name") or name), str(record["Arn"])
    path = str(request.parameters.get("NewPath") or record["Path"])
    record |= {f"{title}Name": new, "Path": path, "Arn": f"{before.partition(f':{kind}/')[0]}:{kind}{path}{new}"}
    del store[name]
    store[new] = record
    return name, new, before


@behaviour("iam")
def a_renamed_user_keeps_what_it_has(name: str, new: str) -> None:
    """A user that is renamed keeps its unique id, access keys, password, MFA devices, policies and groups.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_users_rename.html
    """
    iam, sts = emulator.service("iam"), emulator.service("sts")
    account = emulator.core("responses").get_account_id()
    for records, member in ((iam._access_keys, "UserName"), (iam._mfa_devices, "User")):
        for record in records.values():
            if record.get(member) == name:
                record[member] = new
    for records in (iam._user_inline_policies, iam._login_profiles):
        if name in records:
            records[new] = records[name]
            del records[name]
    if new in iam._login_profiles:
        iam._login_profiles[new]["UserName"] = new
    for group in iam._groups.values():
        group["Users"] = [new if user == name else user for user in group["Users"]]
    for session in list(sts._sessions.values()):
        if session.get("AccountId") == account and session.get("PrincipalName") == name:
            session["PrincipalName"] = new


@behaviour("iam")
def a_renamed_user_is_still_trusted(before: str, after: str) -> None:
    """Trust policies that name a user as principal follow it when its name or path changes.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_users_rename.html
    """
    principal_renamed(emulator.service("iam"), before, after)


@behaviour("iam")
def a_renamed_group_keeps_its_policies(name: str, new: str) -> None:
    """A group that is renamed keeps its unique id, its users and its policies.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_groups_manage_rename.html
    """
    inline = emulator.service("iam")._group_inline_policies
    if name in inline:
        inline[new] = inline[name]
        del inline[name]


def _nothing(request: ApiRequest, member: str) -> dict[str, Any]:
    """Of a user that exists: nothing here can give it such a credential."""
    name = request.parameters.get("UserName")
    if name is not None and name not in emulator.service("iam")._users:
        raise not_found(f"The user with name {name} cannot be found.")
    return {member: [], "IsTruncated": False}


@operation("iam", "ListSSHPublicKeys")
def list_ssh_public_keys(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListSSHPublicKeys.html"""
    return _nothing(request, "SSHPublicKeys")


@operation("iam", "ListSigningCertificates")
def list_signing_certificates(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListSigningCertificates.html"""
    return _nothing(request, "Certificates")


@operation("iam", "ListServiceSpecificCredentials")
def list_service_specific_credentials(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListServiceSpecificCredentials.html"""
    return _nothing(request, "ServiceSpecificCredentials")
