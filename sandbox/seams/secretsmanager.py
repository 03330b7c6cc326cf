"""Secrets Manager on ministack: a secret that is created without a value has none, not an empty one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


def install(runtime: Runtime) -> None:
    secretsmanager = emulator.service("secretsmanager")
    store = secretsmanager._store_new_secret

    def store_new_secret(name: str, secret_string: Any = None, secret_binary: Any = None, **others: Any) -> Any:
        """https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_CreateSecret.html: the first version is
        made with SecretString or SecretBinary; until then GetSecretValue answers ResourceNotFoundException."""
        answer = store(name, secret_string=secret_string, secret_binary=secret_binary, **others)
        if secret_string is None and secret_binary is None:
            secretsmanager._secrets[name]["Versions"].clear()
        return answer

    secretsmanager._store_new_secret = store_new_secret
