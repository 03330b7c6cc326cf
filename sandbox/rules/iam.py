"""What IAM refuses: entities in use, quotas, names that differ in case only, policies that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.iam import validation
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
KEYS_OF_A_USER = 2
VERSIONS_OF_A_POLICY = 5
ATTACHED = 10
GROUPS_OF_A_USER = 10
TAGS = 50
INLINE_CHARACTERS = {"Role": 10_240, "User": 2048, "Group": 5120}
KINDS = {"RoleName": "Role", "UserName": "User", "GroupName": "Group"}


def store(kind: str) -> Any:
    """Records of one kind: Role, User, Group."""
    iam = emulator.service("iam")
    return {"Role": iam._roles, "User": iam._users, "Group": iam._groups}[kind]


def kind_of(request: ApiRequest) -> tuple[str, str]:
    """("Role", name) of an operation on a role, user or group."""
    for kind in ("Role", "User", "Group"):
        if kind in request.operation:
            return kind, str(request.parameters.get(f"{kind}Name") or "")
    return "", ""


def conflict(message: str) -> Refusal:
    return Refusal("DeleteConflict", f"Cannot delete entity, must {message} first.", 409)


def exceeded(quota: str, number: int) -> Refusal:
    return Refusal("LimitExceeded", f"Cannot exceed quota for {quota}: {number}", 409)


@rule("iam", "CreateAccessKey", code="LimitExceeded")
def two_access_keys_a_user(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A user has at most two access keys, active or not.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    name = request.parameters.get("UserName")
    keys = [key for key in emulator.service("iam")._access_keys.values() if key["UserName"] == name]
    return exceeded("AccessKeysPerUser", KEYS_OF_A_USER) if len(keys) >= KEYS_OF_A_USER else None


@rule("iam", "AttachRolePolicy", "AttachUserPolicy", "AttachGroupPolicy", code="NoSuchEntity")
def attached_policy_must_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Only a managed policy that exists can be attached.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_AttachRolePolicy.html
    """
    arn = str(request.parameters.get("PolicyArn"))
    if emulator.service("iam")._policy_exists(arn):
        return None
    return Refusal("NoSuchEntity", f"Policy {arn} does not exist or is not attachable.", 404)


@rule("iam", "AttachRolePolicy", "AttachUserPolicy", "AttachGroupPolicy", code="LimitExceeded")
def ten_managed_policies_an_entity(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A role, user or group has at most ten managed policies; attaching one again changes nothing.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    kind, name = kind_of(request)
    attached = (store(kind).get(name) or {}).get("AttachedPolicies") or []
    if len(attached) < ATTACHED or request.parameters.get("PolicyArn") in attached:
        return None
    return exceeded(f"PoliciesPer{kind}", ATTACHED)


@rule("iam", "CreatePolicyVersion", code="LimitExceeded")
def five_versions_a_policy(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A managed policy has at most five versions: one must be deleted before a sixth is made.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreatePolicyVersion.html
    """
    policy = emulator.service("iam")._policies.get(request.parameters.get("PolicyArn"))
    if not policy or len(policy["Versions"]) < VERSIONS_OF_A_POLICY:
        return None
    text = (
        "A managed policy can have up to 5 versions. Before you create a new version, you must delete an existing "
        "version."
    )
    return Refusal("LimitExceeded", text, 409)


@rule("iam", "DeletePolicy", code="DeleteConflict")
def versions_go_before_their_policy(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A managed policy can be deleted only when its default version is the only one.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeletePolicy.html
    """
    policy = emulator.service("iam")._policies.get(request.parameters.get("PolicyArn"))
    if not policy or len(policy["Versions"]) == 1:
        return None
    text = (
        "This policy has more than one version. Before you delete a policy, you must delete the policy's versions. "
        "The default version is deleted with the policy."
    )
    return Refusal("DeleteConflict", text, 409)


@rule("iam", "DeletePolicy", code="DeleteConflict")
def a_boundary_holds_its_policy(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A managed policy that is some entity's permissions boundary cannot be deleted.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_manage-delete.html
    """
    used = emulator.service("iam")._boundary_usage_counts().get(request.parameters.get("PolicyArn"))
    return Refusal("DeleteConflict", "Cannot delete a policy attached to entities.", 409) if used else None


@rule("iam", "DeleteUser", code="DeleteConflict")
def a_users_policies_go_first(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A user with inline policies cannot be deleted.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUser.html
    """
    policies = emulator.service("iam")._user_inline_policies.get(request.parameters.get("UserName"))
    return conflict("delete policies") if policies else None


@rule("iam", "DeleteUser", code="DeleteConflict")
def a_user_leaves_its_groups_first(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A user that is in a group cannot be deleted.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteUser.html
    """
    name = request.parameters.get("UserName")
    groups = [group for group in store("Group").values() if name in (group.get("Users") or [])]
    return conflict("remove users from group") if groups else None


@rule("iam", "DeleteGroup", code="DeleteConflict")
def a_group_is_emptied_first(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A group with users or policies cannot be deleted.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteGroup.html
    """
    name = request.parameters.get("GroupName")
    group = store("Group").get(name) or {}
    if group.get("Users"):
        return conflict("remove users from group")
    if group.get("AttachedPolicies"):
        return conflict("detach all policies")
    return conflict("delete policies") if emulator.service("iam")._group_inline_policies.get(name) else None


@rule(
    "iam",
    "CreateUser",
    "CreateRole",
    "CreateGroup",
    "CreateInstanceProfile",
    "CreatePolicy",
    code="EntityAlreadyExists",
)
def names_differ_in_more_than_case(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Names of users, roles, groups, policies and instance profiles are unique whatever their case.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html (RoleName)
    """
    iam = emulator.service("iam")
    kind = request.operation.removeprefix("Create")
    name = str(request.parameters.get(f"{kind}Name") or "")
    if kind == "Policy":
        names = [policy["PolicyName"] for policy in iam._policies.values()]
    else:
        names = list(iam._instance_profiles if kind == "InstanceProfile" else store(kind))
    if name in names and kind != "Policy" or name.lower() not in [other.lower() for other in names]:
        return None
    if kind == "Policy":
        return Refusal(
            "EntityAlreadyExists", f"A policy called {name} already exists. Duplicate names are not allowed.", 409
        )
    return Refusal("EntityAlreadyExists", f"{kind} with name {name} already exists.", 409)


@rule("iam", "UpdateUser", "UpdateGroup", code="EntityAlreadyExists")
def a_new_name_is_nobodys_yet(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A user or group is not renamed to a name that another one has, whatever its case.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateUser.html (EntityAlreadyExists)
    """
    kind, name = kind_of(request)
    new, names = str(request.parameters.get(f"New{kind}Name") or ""), list(store(kind))
    taken = [other.lower() for other in names if other != name]
    if name not in names or new.lower() not in taken:
        return None
    return Refusal("EntityAlreadyExists", f"{kind} with name {new} already exists.", 409)


@rule("iam", "AddUserToGroup", code="LimitExceeded")
def ten_groups_a_user(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A user is in at most ten groups.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    name = request.parameters.get("UserName")
    groups = [key for key, group in store("Group").items() if name in (group.get("Users") or [])]
    full = len(groups) >= GROUPS_OF_A_USER and request.parameters.get("GroupName") not in groups
    return exceeded("GroupsPerUser", GROUPS_OF_A_USER) if full else None


@rule("iam", "PutRolePolicy", "PutUserPolicy", "PutGroupPolicy", code="LimitExceeded")
def inline_policies_have_a_size(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """All inline policies together have 10,240 characters for a role, 2,048 for a user, 5,120 for a group.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    kind, name = kind_of(request)
    iam = emulator.service("iam")
    inline = (iam._roles.get(name) or {}).get("InlinePolicies") if kind == "Role" else None
    inline = iam._user_inline_policies.get(name) if kind == "User" else inline
    inline = iam._group_inline_policies.get(name) if kind == "Group" else inline
    parameters = request.parameters
    documents = {**(inline or {}), str(parameters.get("PolicyName")): str(parameters.get("PolicyDocument"))}
    size = sum(len("".join(str(document).split())) for document in documents.values())
    limit = INLINE_CHARACTERS[kind]
    if size <= limit:
        return None
    return Refusal("LimitExceeded", f"Maximum policy size of {limit} bytes exceeded for {kind.lower()} {name}", 409)


@rule("iam", "CreatePolicy", "CreatePolicyVersion", code="LimitExceeded", stateful=False)
def managed_policies_have_a_size(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A managed policy has at most 6,144 characters without white space.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    """
    size = len("".join(str(request.parameters.get("PolicyDocument")).split()))
    return exceeded("PolicySize", 6144) if size > 6144 else None


@rule(
    "iam",
    "CreatePolicy",
    "CreatePolicyVersion",
    "PutRolePolicy",
    "PutUserPolicy",
    "PutGroupPolicy",
    code="MalformedPolicyDocument",
    stateful=False,
)
def identity_policies_are_well_formed(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An identity policy has statements with Effect, Action and Resource in their forms, and no Principal.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
    """
    kind, name = kind_of(request) if request.operation.startswith("Put") else ("", "")
    if kind and name not in store(kind):
        # Whose it is comes first.
        return None
    text = validation.objection(str(request.parameters.get("PolicyDocument") or ""))
    return Refusal("MalformedPolicyDocument", text) if text else None


def trust_of(request: ApiRequest) -> str:
    return str(request.parameters.get("AssumeRolePolicyDocument") or request.parameters.get("PolicyDocument") or "")


@rule("iam", "CreateRole", "UpdateAssumeRolePolicy", code="MalformedPolicyDocument", stateful=False)
def trust_policies_are_well_formed(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A trust policy has principals and only STS actions, and no Resource.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html (MalformedPolicyDocument)
    """
    text = validation.objection(trust_of(request), trust=True)
    return Refusal("MalformedPolicyDocument", text) if text else None


@rule("iam", "CreateRole", "UpdateAssumeRolePolicy", code="MalformedPolicyDocument")
def principals_of_a_trust_policy_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A user or role of this account that a trust policy names must exist.

    https://repost.aws/knowledge-center/iam-trust-policy-error
    """
    account = emulator.core("responses").get_account_id()
    for kind, value in validation.principals(trust_of(request)):
        parts = value.split(":", 5)
        if kind != "AWS" or len(parts) < 6 or parts[4] != account or parts[5] == "root":
            continue
        entity, _, path = parts[5].partition("/")
        known = {"user": "User", "role": "Role"}.get(entity)
        record = store(known).get(path.rpartition("/")[2]) if known else None
        if known and (record is None or record["Arn"] != value):
            return Refusal("MalformedPolicyDocument", f'Invalid principal in policy: "AWS":"{value}"')
    return None


@rule(
    "iam", "CreateRole", "CreateUser", "PutRolePermissionsBoundary", "PutUserPermissionsBoundary", code="NoSuchEntity"
)
def a_boundary_is_a_policy_that_exists(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A permissions boundary must be a managed policy that exists.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_PutRolePermissionsBoundary.html
    """
    arn = request.parameters.get("PermissionsBoundary")
    if not arn or emulator.service("iam")._policy_exists(arn):
        return None
    return Refusal("NoSuchEntity", f"Scope ARN: {arn} does not exist or is not attachable.", 404)


@rule(
    "iam",
    "DeleteRole",
    "UpdateRole",
    "UpdateAssumeRolePolicy",
    "AttachRolePolicy",
    "DetachRolePolicy",
    "PutRolePolicy",
    "DeleteRolePolicy",
    code="UnmodifiableEntity",
)
def service_linked_roles_are_the_services(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A service-linked role is changed and deleted by its service only.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create-service-linked-role.html
    """
    name = request.parameters.get("RoleName")
    if not str((store("Role").get(name) or {}).get("Path", "")).startswith("/aws-service-role/"):
        return None
    text = f"Cannot perform the operation on the protected role '{name}' - this role is only modifiable by AWS"
    return Refusal("UnmodifiableEntity", text, 400)


@rule("iam", "DeleteAccessKey", code="NoSuchEntity")
def an_access_key_is_its_users(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An access key is found only with the user that has it.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteAccessKey.html
    """
    key, user = str(request.parameters.get("AccessKeyId")), request.parameters.get("UserName")
    record = emulator.service("iam")._access_keys.get(key)
    if record is None or user is None or record["UserName"] == user:
        return None
    return Refusal("NoSuchEntity", f"The Access Key with id {key} cannot be found.", 404)


@rule("iam", "CreateOpenIDConnectProvider", code="ValidationError", stateful=False)
def an_issuer_speaks_https(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The URL of an OpenID Connect provider begins with https://.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateOpenIDConnectProvider.html (Url)
    """
    url = str(request.parameters.get("Url") or "")
    return None if url.startswith("https://") else Refusal("ValidationError", "Invalid Open ID Connect Provider URL")


@rule("iam", "TagRole", "TagUser", "TagPolicy", "TagInstanceProfile", "TagOpenIDConnectProvider", code="LimitExceeded")
def fifty_tags_an_entity(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A role, user or policy has at most 50 tags.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html#id_tags_rules
    """
    iam = emulator.service("iam")
    parameters = request.parameters
    found = [
        iam._roles.get(parameters.get("RoleName")),
        iam._users.get(parameters.get("UserName")),
        iam._policies.get(parameters.get("PolicyArn")),
        iam._instance_profiles.get(parameters.get("InstanceProfileName")),
        iam._oidc_providers.get(parameters.get("OpenIDConnectProviderArn")),
    ]
    record = next((one for one in found if one), None)
    if record is None:
        return None
    keys = {tag["Key"].lower() for tag in (record.get("Tags") or []) + list(parameters.get("Tags") or [])}
    return exceeded("TagsPerResource", TAGS) if len(keys) > TAGS else None
