"""Secrets Manager on ministack: a secret without a value has no version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


def install(runtime: Runtime) -> None:
    secrets = emulator.service("secretsmanager")
    store, create = secrets._store_new_secret, secrets._create_secret

    def store_new_secret(name: str, secret_string: Any = None, secret_binary: Any = None, **rest: Any) -> Any:
        """Terraform makes the secret, somebody else its value: until then GetSecretValue finds no AWSCURRENT.

        https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html
        """
        made = store(name, secret_string=secret_string, secret_binary=secret_binary, **rest)
        if secret_string is None and secret_binary is None:
            secrets._secrets[name]["Versions"] = {}
        return made

    def create_secret(data: dict[str, Any]) -> Any:
        response = create(data)
        if response[0] < 400 and "SecretString" not in data and "SecretBinary" not in data:
            document = emulator.body_of(response)
            document.pop("VersionId", None)
            return emulator.core("responses").json_response(document)
        return response

    secrets._store_new_secret = store_new_secret
    secrets._create_secret = create_secret
