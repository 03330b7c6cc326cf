"""What KMS refuses: keys in the wrong state or of the wrong use, aliases, policies that are none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

Key = dict[str, Any]
PENDING = ("PendingDeletion", "PendingReplicaDeletion")
ENCRYPT, SIGN = "ENCRYPT_DECRYPT", "SIGN_VERIFY"
USAGE = {"Encrypt": ENCRYPT, "GenerateDataKey": ENCRYPT, "Sign": SIGN, "Verify": SIGN}


def key_of(request: ApiRequest, name: str = "KeyId") -> Key | None:
    """The key that a request names by id, ARN or alias."""
    kms = emulator.service("kms")
    found: Key | None = kms._resolve_key(request.parameters.get(name, ""))
    return found


def invalid_state(key: Key, what: str) -> Refusal:
    return Refusal("KMSInvalidStateException", f"{key['Arn']} {what}.")


@rule(
    "kms",
    "ScheduleKeyDeletion",
    "EnableKey",
    "DisableKey",
    "EnableKeyRotation",
    "DisableKeyRotation",
    "UpdateKeyDescription",
    "TagResource",
    "UntagResource",
    code="KMSInvalidStateException",
)
def a_key_that_goes_is_left_alone(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A key that is pending deletion can be neither changed, nor enabled, disabled, tagged or scheduled again.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
    """
    key = key_of(request)
    return invalid_state(key, "is pending deletion") if key and key["KeyState"] in PENDING else None


@rule("kms", "CancelKeyDeletion", code="KMSInvalidStateException")
def only_a_scheduled_deletion_is_cancelled(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Only the deletion of a key that is pending deletion can be cancelled.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
    """
    key = key_of(request)
    return invalid_state(key, "is not pending deletion") if key and key["KeyState"] not in PENDING else None


@rule("kms", "CreateAlias", "UpdateAlias", code="KMSInvalidStateException")
def no_alias_for_a_key_that_goes(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """No alias can be given to a key that is pending deletion.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
    """
    key = key_of(request, "TargetKeyId")
    return invalid_state(key, "is pending deletion") if key and key["KeyState"] in PENDING else None


@rule("kms", "GetPublicKey", code="DisabledException KMSInvalidStateException")
def public_key_needs_an_enabled_key(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The public key of a key that is disabled or pending deletion cannot be had from KMS.

    https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
    """
    key = key_of(request)
    if key and key["KeyState"] in PENDING:
        return invalid_state(key, "is pending deletion")
    return Refusal("DisabledException", f"{key['Arn']} is disabled.") if key and key["KeyState"] == "Disabled" else None


@rule("kms", "EnableKeyRotation", "DisableKeyRotation", code="DisabledException")
def rotation_needs_an_enabled_key(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Automatic rotation of a disabled key cannot be switched.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_EnableKeyRotation.html
    """
    key = key_of(request)
    return Refusal("DisabledException", f"{key['Arn']} is disabled.") if key and key["KeyState"] == "Disabled" else None


@rule("kms", "EnableKeyRotation", "DisableKeyRotation", code="UnsupportedOperationException")
def only_symmetric_keys_rotate(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Automatic rotation is for symmetric encryption keys only.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_EnableKeyRotation.html
    """
    key = key_of(request)
    return Refusal("UnsupportedOperationException", "") if key and key["KeySpec"] != "SYMMETRIC_DEFAULT" else None


@rule("kms", "Encrypt", "GenerateDataKey", "Sign", "Verify", code="InvalidKeyUsageException")
def a_key_is_used_for_what_it_was_made(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A signing key does not encrypt and an encryption key does not sign.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html (InvalidKeyUsageException)
    """
    key = key_of(request)
    if not key or key["KeyState"] != "Enabled" or key["KeyUsage"] == USAGE[request.operation]:
        return None
    text = f"{key['Arn']} key usage is {key['KeyUsage']} which is not valid for {request.operation}."
    return Refusal("InvalidKeyUsageException", text)


@rule("kms", "Sign", code="DryRunOperationException")
def a_dry_run_signs_nothing(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Sign with DryRun never signs: it fails by DryRunOperationException where it would have succeeded.

    https://docs.aws.amazon.com/kms/latest/developerguide/testing-permissions.html
    """
    key, given = key_of(request), request.parameters
    if not given.get("DryRun") or not key or key["KeyState"] != "Enabled" or key["KeyUsage"] != SIGN:
        return None
    if given.get("SigningAlgorithm") not in key.get("SigningAlgorithms", ()):
        return None
    return Refusal("DryRunOperationException", "The request was rejected because the DryRun parameter was specified.")


@rule("kms", "CreateKey", code="ValidationException", stateful=False)
def usage_fits_the_key_spec(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A key of an elliptic curve has to be made for signing: KeyUsage has no default for it.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html (KeyUsage)
    """
    given = request.parameters
    spec = given.get("KeySpec") or given.get("CustomerMasterKeySpec") or "SYMMETRIC_DEFAULT"
    usage = given.get("KeyUsage", ENCRYPT)
    if (usage == ENCRYPT and spec.startswith("ECC_")) or (usage == SIGN and spec == "SYMMETRIC_DEFAULT"):
        return Refusal("ValidationException", f"KeyUsage {usage} is not compatible with KeySpec {spec}")
    return None


@rule("kms", "UpdateAlias", code="ValidationException")
def an_alias_moves_between_keys_of_one_kind(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An alias moves to a key of the same type and usage only.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_UpdateAlias.html
    """
    present, new = key_of(request, "AliasName"), key_of(request, "TargetKeyId")
    if present and new and (_kind(present) != _kind(new)):
        name = request.parameters["AliasName"]
        return Refusal("ValidationException", f"Alias {name} cannot be changed to a key of another type or usage.")
    return None


def _kind(key: Key) -> tuple[bool, str]:
    return key["KeySpec"] == "SYMMETRIC_DEFAULT", key["KeyUsage"]


@rule("kms", "CreateAlias", code="ValidationException", stateful=False)
def an_alias_names_a_key(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The target of an alias is a key's id or ARN, never another alias.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html (TargetKeyId)
    """
    if "alias/" in request.parameters.get("TargetKeyId", ""):
        return Refusal("ValidationException", "Aliases must refer to keys. Not aliases")
    return None


@rule("kms", "CreateAlias", "UpdateAlias", "DeleteAlias", code="NotAuthorizedException", stateful=False)
def aliases_of_aws_are_reserved(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Aliases that begin with alias/aws/ are AWS's own.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateAlias.html (AliasName)
    """
    if request.parameters.get("AliasName", "").startswith("alias/aws/"):
        return Refusal("NotAuthorizedException", "")
    return None


@rule("kms", "CreateKey", "PutKeyPolicy", code="MalformedPolicyDocumentException", stateful=False)
def a_key_policy_is_a_policy(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A key policy that is no JSON document with statements is refused.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_PutKeyPolicy.html
    """
    text = request.parameters.get("Policy")
    if text is None:
        return None
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict) or not document.get("Statement"):
        return Refusal("MalformedPolicyDocumentException", "The new key policy is not valid.")
    return None


@rule("kms", "ListAliases", code="NotFoundException")
def aliases_of_a_key_that_exists(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The aliases of a key that does not exist are not an empty list but an error.

    https://docs.aws.amazon.com/kms/latest/APIReference/API_ListAliases.html (KeyId)
    """
    name = request.parameters.get("KeyId")
    return Refusal("NotFoundException", f"Key '{name}' does not exist") if name and key_of(request) is None else None
