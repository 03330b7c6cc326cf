"""IAM operations that the emulator lacks, or answers by what it does not know (who asks, what evaluation says)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam import records, simulation
from sandbox.iam.principals import resolve
from sandbox.operations import operation
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
CLIENT_IDS = 100
# Service principal → name of its role. https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_aws-services-that-work-with-iam.html
LINKED_ROLES = {
    "ecs.amazonaws.com": "AWSServiceRoleForECS",
    "elasticloadbalancing.amazonaws.com": "AWSServiceRoleForElasticLoadBalancing",
    "rds.amazonaws.com": "AWSServiceRoleForRDS",
    "ecs.application-autoscaling.amazonaws.com": "AWSServiceRoleForApplicationAutoScaling_ECSService",
    "autoscaling.amazonaws.com": "AWSServiceRoleForAutoScaling",
    "config.amazonaws.com": "AWSServiceRoleForConfig",
}


def not_found(message: str) -> Refused:
    return Refused("NoSuchEntity", message, 404)


@operation("iam", "SetDefaultPolicyVersion")
def set_default_policy_version(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_SetDefaultPolicyVersion.html"""
    arn, version = str(request.parameters["PolicyArn"]), str(request.parameters["VersionId"])
    policy = emulator.service("iam")._policies.get(arn)
    if policy is None:
        raise not_found(f"Policy {arn} does not exist or is not attachable.")
    if version not in policy["Versions"]:
        raise not_found(f"Policy {arn} version {version} does not exist or is not attachable.")
    the_default_version_counts(policy, version)
    policy["UpdateDate"] = emulator.now()
    runtime.changed()
    return {}


@behaviour("iam")
def the_default_version_counts(policy: dict[str, Any], version: str) -> None:
    """The default version of a managed policy is the one that counts, wherever it is attached.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SetDefaultPolicyVersion.html
    """
    for name, record in policy["Versions"].items():
        record["IsDefaultVersion"] = name == version
    policy["DefaultVersionId"] = version


@operation("iam", "GetAccessKeyLastUsed")
def get_access_key_last_used(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetAccessKeyLastUsed.html"""
    key = str(request.parameters["AccessKeyId"])
    record = emulator.service("iam")._access_keys.get(key)
    if record is None:
        raise not_found(f"The Access Key with id {key} cannot be found.")
    used = a_key_knows_its_last_use(record) or {}
    found = {"Region": used.get("Region", "N/A"), "ServiceName": used.get("Service", "N/A")}
    if used:
        found["LastUsedDate"] = emulator.epoch(used["At"])
    return {"UserName": record["UserName"], "AccessKeyLastUsed": found}


@behaviour("iam")
def a_key_knows_its_last_use(record: dict[str, Any]) -> dict[str, Any] | None:
    """An access key knows when, in which region and with which service it was used last.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_AccessKeyLastUsed.html
    """
    used: dict[str, Any] | None = record.get("LastUsed")
    return used


@operation("iam", "GetUser")
def get_user(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetUser.html"""
    name = request.parameters.get("UserName") or a_call_without_a_name_is_about_the_caller(runtime, request)
    account = emulator.core("responses").get_account_id()
    if name is None:
        # Root, or a role, which is no user: then AWS asks for a name.
        since = runtime.settings.state.stat().st_ctime
        return {"User": {"UserId": account, "Arn": f"arn:aws:iam::{account}:root", "CreateDate": since}}
    user = emulator.service("iam")._users.get(name)
    if user is None:
        raise not_found(f"The user with name {name} cannot be found.")
    found = {key: user[key] for key in ("UserName", "Path", "UserId", "Arn")}
    found["CreateDate"] = emulator.epoch(user["CreateDate"])
    if user.get("Tags"):
        found["Tags"] = user["Tags"]
    if user.get("PermissionsBoundary"):
        found["PermissionsBoundary"] = {
            "PermissionsBoundaryType": "Policy",
            "PermissionsBoundaryArn": user["PermissionsBoundary"],
        }
    return {"User": found}


@behaviour("iam")
def a_call_without_a_name_is_about_the_caller(runtime: Runtime, request: ApiRequest) -> str | None:
    """Without a name GetUser speaks of the user whose access key signed the request.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_GetUser.html (UserName)
    """
    principal = resolve(runtime, request.access_key_id or "", records.live())
    if principal is not None and principal.kind == "AssumedRole":
        raise Refused("ValidationError", "Must specify userName when calling with non-User credentials")
    return principal.name if principal is not None and principal.kind == "User" else None


@operation("iam", "CreateServiceLinkedRole")
def create_service_linked_role(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateServiceLinkedRole.html"""
    iam = emulator.service("iam")
    service = str(request.parameters["AWSServiceName"])
    name = LINKED_ROLES.get(service) or f"AWSServiceRoleFor{service.partition('.')[0].capitalize()}"
    if suffix := request.parameters.get("CustomSuffix"):
        name = f"{name}_{suffix}"
    one_linked_role_a_service(name)
    account = emulator.core("responses").get_account_id()
    trusts = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    path = f"/aws-service-role/{service}/"
    role = {
        "RoleName": name,
        "Arn": f"arn:aws:iam::{account}:role{path}{name}",
        "RoleId": iam._gen_id("AROA"),
        "CreateDate": emulator.now(),
        "Path": path,
        "AssumeRolePolicyDocument": json.dumps({"Version": "2012-10-17", "Statement": [trusts]}),
        "Description": str(request.parameters.get("Description") or ""),
        "MaxSessionDuration": 3600,
        "AttachedPolicies": [],
        "InlinePolicies": {},
        "Tags": [],
    }
    iam._roles[name] = role
    runtime.changed()
    shown = ("RoleName", "RoleId", "Arn", "Path", "AssumeRolePolicyDocument", "Description")
    return {"Role": {**{key: role[key] for key in shown}, "CreateDate": datetime.now(UTC)}}


@behaviour("iam", code="InvalidInput")
def one_linked_role_a_service(name: str) -> None:
    """A service has one service-linked role an account: a second is refused.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateServiceLinkedRole.html
    """
    if name in emulator.service("iam")._roles:
        text = f"Service role name {name} has been taken in this account, please try a different suffix."
        raise Refused("InvalidInput", text)


def provider_of(request: ApiRequest) -> dict[str, Any]:
    arn = str(request.parameters["OpenIDConnectProviderArn"])
    found: dict[str, Any] | None = emulator.service("iam")._oidc_providers.get(arn)
    if found is None:
        raise not_found(f"OpenIDConnect Provider not found for arn {arn}")
    return found


@operation("iam", "AddClientIDToOpenIDConnectProvider")
def add_client_id(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_AddClientIDToOpenIDConnectProvider.html"""
    provider, client = provider_of(request), str(request.parameters["ClientID"])
    known = provider.setdefault("ClientIDList", [])
    if client not in known:
        if len(known) >= CLIENT_IDS:
            raise Refused(
                "LimitExceeded", f"Cannot exceed quota for ClientIdsPerOpenIdConnectProvider: {CLIENT_IDS}", 409
            )
        known.append(client)
        runtime.changed()
    return {}


@operation("iam", "RemoveClientIDFromOpenIDConnectProvider")
def remove_client_id(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_RemoveClientIDFromOpenIDConnectProvider.html"""
    provider, client = provider_of(request), str(request.parameters["ClientID"])
    provider["ClientIDList"] = [one for one in provider.get("ClientIDList") or [] if one != client]
    runtime.changed()
    return {}


@operation("iam", "UpdateOpenIDConnectProviderThumbprint")
def update_thumbprint(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateOpenIDConnectProviderThumbprint.html"""
    provider_of(request)["ThumbprintList"] = list(request.parameters["ThumbprintList"])
    runtime.changed()
    return {}


@operation("iam", "DeleteOpenIDConnectProvider")
def delete_provider(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteOpenIDConnectProvider.html"""
    arn = str(request.parameters["OpenIDConnectProviderArn"])
    providers = emulator.service("iam")._oidc_providers
    if providers.pop(arn, None) is None and not a_missing_provider_is_deleted_already(arn):
        raise not_found(f"OpenIDConnect Provider not found for arn {arn}")
    runtime.changed()
    return {}


@behaviour("iam", otherwise=lambda arn: False)
def a_missing_provider_is_deleted_already(arn: str) -> bool:
    """Deleting an OpenID Connect provider that does not exist succeeds.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteOpenIDConnectProvider.html
    """
    return ":oidc-provider/" in arn


@operation("iam", "TagOpenIDConnectProvider")
def tag_provider(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_TagOpenIDConnectProvider.html"""
    provider = provider_of(request)
    tags = {tag["Key"]: tag for tag in [*(provider.get("Tags") or []), *request.parameters["Tags"]]}
    provider["Tags"] = list(tags.values())
    runtime.changed()
    return {}


@operation("iam", "UntagOpenIDConnectProvider")
def untag_provider(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_UntagOpenIDConnectProvider.html"""
    provider = provider_of(request)
    gone = set(request.parameters["TagKeys"])
    provider["Tags"] = [tag for tag in provider.get("Tags") or [] if tag["Key"] not in gone]
    runtime.changed()
    return {}


@operation("iam", "ListOpenIDConnectProviderTags")
def list_provider_tags(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_ListOpenIDConnectProviderTags.html"""
    return {"Tags": list(provider_of(request).get("Tags") or []), "IsTruncated": False}


@operation("iam", "SimulatePrincipalPolicy")
def simulate_principal_policy(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html"""
    return simulation.of_principal(request)


@operation("iam", "SimulateCustomPolicy")
def simulate_custom_policy(runtime: Runtime, request: ApiRequest) -> dict[str, Any]:
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulateCustomPolicy.html"""
    return simulation.of_documents(runtime, request)
