"""Environment variables of a task from Secrets Manager and Parameter Store, with the reasons that Fargate gives."""

from __future__ import annotations

import json
from typing import Any

from sandbox import emulator

RETRIED = "service call has been retried 1 time(s)"


def resolve(ecs: Any, definition: dict[str, Any]) -> dict[str, str]:
    """Name → value for a container definition's `secrets`; a missing one keeps the task from starting.

    valueFrom: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Secret.html. Raises the emulator's
    _SecretResolutionError, whose text becomes the task's stoppedReason.
    """
    resolved: dict[str, str] = {}
    for secret in definition.get("secrets", []):
        source = secret["valueFrom"]
        try:
            resolved[secret["name"]] = _secret(source) if ":secretsmanager:" in source else _parameter(source)
        except LookupError as error:
            raise ecs._SecretResolutionError(str(error.args[0])) from error
    return resolved


def _secret(source: str) -> str:
    """arn:…:secret:name-suffix[:json-key[:version-stage[:version-id]]]"""
    parts = source.split(":")
    arn, rest = ":".join(parts[:7]), [*parts[7:], "", "", ""]
    key, stage, version = rest[0], rest[1] or "AWSCURRENT", rest[2] or None
    value = emulator.service("secretsmanager").resolve_secret_string(arn, stage, version)
    if value is None:
        raise LookupError(
            f"unable to retrieve secret from asm: {RETRIED}: failed to fetch secret {arn} from secrets manager: "
            "ResourceNotFoundException: Secrets Manager can't find the specified secret."
        )
    if not key:
        return str(value)
    try:
        document = json.loads(value)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise LookupError(
            f"unable to retrieve secret from asm: {RETRIED}: retrieved secret from Secrets Manager is not a JSON "
            f"object: {arn}"
        )
    if key not in document:
        raise LookupError(
            f"unable to retrieve secret from asm: {RETRIED}: retrieved secret from Secrets Manager did not contain "
            f"json key {key}"
        )
    found = document[key]
    return found if isinstance(found, str) else json.dumps(found)


def _parameter(source: str) -> str:
    value = emulator.service("ssm").resolve_parameter_value(source)
    if value is None:
        raise LookupError(f"unable to retrieve secrets from ssm: {RETRIED}: invalid parameters: {source}")
    return str(value)
