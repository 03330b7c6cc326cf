"""What Secrets Manager refuses: secrets on their way out, tokens used twice, labels and keys in the wrong place."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

Secret = dict[str, Any]
VALUES = ("SecretString", "SecretBinary")


def secret_of(request: ApiRequest) -> Secret | None:
    """The secret that a request names, by name or ARN."""
    secrets = emulator.service("secretsmanager")
    found: Secret | None = secrets._resolve(request.parameters.get("SecretId"))[1]
    return found


def invalid_request(message: str) -> Refusal:
    return Refusal("InvalidRequestException", message)


@rule("secretsmanager", "CreateSecret", code="InvalidRequestException")
def name_is_taken_until_the_secret_is_gone(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """While a secret is scheduled for deletion, no other can be created under its name.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html (InvalidRequestException)
    """
    held = emulator.service("secretsmanager")._secrets.get(request.parameters.get("Name", ""))
    if held and held.get("DeletedDate"):
        return invalid_request(
            "You can't create this secret because a secret with this name is already scheduled for deletion."
        )
    return None


@rule(
    "secretsmanager", "PutResourcePolicy", "GetResourcePolicy", "DeleteResourcePolicy", code="InvalidRequestException"
)
def no_policy_of_a_secret_that_goes(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The resource policy of a secret that is marked for deletion can be neither read nor changed.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutResourcePolicy.html
    """
    secret = secret_of(request)
    if secret and secret.get("DeletedDate"):
        return invalid_request("You can't perform this operation on the secret because it was marked for deletion.")
    return None


@rule("secretsmanager", "PutResourcePolicy", code="MalformedPolicyDocumentException", stateful=False)
def a_resource_policy_is_a_policy(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A resource policy that is no JSON document with statements is refused.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutResourcePolicy.html
    """
    try:
        document = json.loads(request.parameters.get("ResourcePolicy", ""))
    except ValueError:
        document = None
    if not isinstance(document, dict) or not document.get("Statement"):
        return Refusal("MalformedPolicyDocumentException", "This resource policy is not a valid policy document.")
    return None


@rule("secretsmanager", "PutSecretValue", "UpdateSecret", code="ResourceExistsException")
def a_version_never_changes(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A request token that a version has already cannot be used again with another value.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html (ClientRequestToken)
    """
    secret, token = secret_of(request), request.parameters.get("ClientRequestToken")
    version = secret["Versions"].get(token) if secret and token else None
    if version is None or same_value(version, request.parameters) or not given_values(request):
        return None
    return Refusal(
        "ResourceExistsException",
        "You can't use ClientRequestToken because that value is already in use for a version of this secret.",
    )


def given_values(request: ApiRequest) -> list[str]:
    return [name for name in VALUES if request.parameters.get(name) is not None]


def same_value(version: Secret, given: Secret) -> bool:
    return all(version.get(name) == given.get(name) for name in VALUES)


@rule("secretsmanager", "PutSecretValue", code="InvalidRequestException", stateful=False)
def a_version_has_a_value(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A version holds a string or binary data: one of them has to be given.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html
    """
    if given_values(request):
        return None
    return invalid_request("You must provide either SecretString or SecretBinary.")


@rule(
    "secretsmanager",
    "CreateSecret",
    "PutSecretValue",
    "UpdateSecret",
    code="InvalidParameterException",
    stateful=False,
)
def a_version_has_one_value(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A version cannot hold a string and binary data at the same time.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html (SecretBinary)
    """
    if len(given_values(request)) < 2:
        return None
    return Refusal(
        "InvalidParameterException",
        "You can't specify both a binary secret value and a string secret value in the same secret.",
    )


@rule("secretsmanager", "GetSecretValue", code="InvalidRequestException")
def version_and_stage_agree(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """When a version id and a stage are both given, they have to mean the same version.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html (VersionStage)
    """
    secret, given = secret_of(request), request.parameters
    version = secret["Versions"].get(given.get("VersionId")) if secret else None
    if version and given.get("VersionStage") and given["VersionStage"] not in version["Stages"]:
        return invalid_request("You provided a VersionStage that is not associated to the provided VersionId.")
    return None


@rule("secretsmanager", "UpdateSecretVersionStage", code="InvalidParameterException")
def current_is_moved_not_removed(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """AWSCURRENT can be moved to another version but not taken from a secret.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_UpdateSecretVersionStage.html
    """
    secret, given = secret_of(request), request.parameters
    if secret is None or given.get("VersionStage") != "AWSCURRENT" or given.get("MoveToVersionId"):
        return None
    holder = secret["Versions"].get(given.get("RemoveFromVersionId"), {})
    if "AWSCURRENT" not in holder.get("Stages", ()):
        return None
    return Refusal(
        "InvalidParameterException",
        "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.",
    )


@rule("secretsmanager", "RotateSecret", code="InvalidRequestException")
def rotation_needs_a_function(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A secret with which no rotation function is associated cannot be rotated.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html (InvalidRequestException)
    """
    secret = secret_of(request)
    if secret is None or secret.get("DeletedDate"):
        return None
    if request.parameters.get("RotationLambdaARN") or secret.get("RotationLambdaARN"):
        return None
    return invalid_request("No Lambda rotation function ARN is associated with this secret.")


@rule("secretsmanager", "RotateSecret", code="AccessDeniedException")
def rotation_function_must_let_itself_be_called(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Rotation is refused when the function does not exist, or does not admit Secrets Manager: here it never does.

    https://docs.aws.amazon.com/secretsmanager/latest/userguide/troubleshoot_rotation.html
    """
    secret = secret_of(request)
    if secret is None or secret.get("DeletedDate"):
        return None
    if not (request.parameters.get("RotationLambdaARN") or secret.get("RotationLambdaARN")):
        return None
    return Refusal(
        "AccessDeniedException",
        "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access "
        "to the principal secretsmanager.amazonaws.com.",
    )


@rule("secretsmanager", "ListSecrets", "ListSecretVersionIds", code="InvalidNextTokenException", stateful=False)
def pages_go_on_by_their_token(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A NextToken that was not given out is refused.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_ListSecrets.html (NextToken)
    """
    token = request.parameters.get("NextToken")
    if token is None or position(token) is not None:
        return None
    return Refusal("InvalidNextTokenException", "The NextToken value is invalid.")


def position(token: str) -> int | None:
    """Where the page of an emulator's token begins."""
    try:
        text = base64.b64decode(token, validate=True).decode()
    except ValueError:
        return None
    return int(text) if text.isdigit() else None


@rule("secretsmanager", "CreateSecret", "PutSecretValue", "UpdateSecret", code="EncryptionFailure")
def values_need_a_usable_key(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A value cannot be stored under a KMS key that does not exist, is disabled or pending deletion.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_PutSecretValue.html (EncryptionFailure)
    """
    secret = secret_of(request) if "SecretId" in request.parameters else None
    name = request.parameters.get("KmsKeyId") or (secret or {}).get("KmsKeyId")
    if not name or not given_values(request) or usable(name):
        return None
    return Refusal(
        "EncryptionFailure",
        "Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key "
        "is available, enabled, and not in an invalid state.",
    )


@rule("secretsmanager", "GetSecretValue", code="DecryptionFailure")
def values_are_read_by_a_usable_key(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A value cannot be read while the KMS key that it is stored under is disabled, pending deletion or gone.

    https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html (DecryptionFailure)
    """
    secret = secret_of(request)
    if secret is None or secret.get("DeletedDate") or not secret.get("KmsKeyId") or usable(secret["KmsKeyId"]):
        return None
    return Refusal(
        "DecryptionFailure", "Secrets Manager can't decrypt the protected secret text using the provided KMS key."
    )


def usable(name: str) -> bool:
    """Whether a KMS key can encrypt; the AWS managed one always can."""
    key = emulator.service("kms")._resolve_key(name)
    return name.endswith("alias/aws/secretsmanager") or (key is not None and key["KeyState"] == "Enabled")
