"""Environment variables of a task from Secrets Manager and Parameter Store, with the reasons that Fargate gives."""

from __future__ import annotations

import json
from typing import Any

from sandbox import emulator
from sandbox.behaviours import behaviour

RETRIED = "service call has been retried 1 time(s)"


def resolve(definition: dict[str, Any]) -> dict[str, str]:
    """Name → value for a container definition's `secrets`. Raises LookupError, whose text becomes part of the reason.

    valueFrom: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_Secret.html
    """
    resolved: dict[str, str] = {}
    for secret in definition.get("secrets") or []:
        source = secret["valueFrom"]
        value = _secret(source) if ":secretsmanager:" in source else _parameter(source)
        if value is not None:
            resolved[secret["name"]] = value
    return resolved


def _secret(source: str) -> str | None:
    """arn:…:secret:name-suffix[:json-key[:version-stage[:version-id]]]"""
    parts = source.split(":")
    arn, rest = ":".join(parts[:7]), [*parts[7:], "", "", ""]
    key, stage, version = rest[0], rest[1] or "AWSCURRENT", rest[2] or None
    value: str | None = emulator.service("secretsmanager").resolve_secret_string(arn, stage, version)
    secret_must_exist(value, arn)
    if value is None or not key:
        return value
    try:
        document = json.loads(value)
    except ValueError:
        document = None
    secret_must_have_the_key(document, key, arn)
    found = document.get(key) if isinstance(document, dict) else None
    return found if isinstance(found, str) or found is None else json.dumps(found)


@behaviour("ecs", code="ResourceInitializationError")
def secret_must_exist(value: str | None, arn: str) -> None:
    """A task whose secret or version is not in Secrets Manager stops with ResourceInitializationError.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/resource-initialization-error.html
    """
    if value is None:
        raise LookupError(
            f"unable to retrieve secret from asm: {RETRIED}: failed to fetch secret {arn} from secrets manager: "
            "ResourceNotFoundException: Secrets Manager can't find the specified secret."
        )


@behaviour("ecs", code="ResourceInitializationError")
def secret_must_have_the_key(document: Any, key: str, arn: str) -> None:
    """A task whose secret is no JSON object with the key that it names stops with ResourceInitializationError.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
    """
    start = f"unable to retrieve secret from asm: {RETRIED}: retrieved secret from Secrets Manager"
    if not isinstance(document, dict):
        raise LookupError(f"{start} is not a JSON object: {arn}")
    if key not in document:
        raise LookupError(f"{start} did not contain json key {key}")


def _parameter(source: str) -> str | None:
    value: str | None = emulator.service("ssm").resolve_parameter_value(source)
    parameter_must_exist(value, source)
    return value


@behaviour("ecs", code="ResourceInitializationError")
def parameter_must_exist(value: str | None, source: str) -> None:
    """A task whose parameter is not in Parameter Store stops with ResourceInitializationError.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-ssm-paramstore.html
    """
    if value is None:
        raise LookupError(f"unable to retrieve secrets from ssm: {RETRIED}: invalid parameters: {source}")
