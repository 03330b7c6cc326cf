"""Tokens of the registry: whose they are and when they end, signed with a key that this sandbox keeps."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path


class TokenRefused(Exception):
    """The token is none of this registry's; the message says why."""


class Tokens:
    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch(mode=0o600)
            file.write_bytes(secrets.token_bytes(32))
        self._key = file.read_bytes()

    def issue(self, access_key_id: str, seconds: float) -> tuple[str, float]:
        """(password for user AWS, end in seconds since 1970)."""
        end = time.time() + seconds
        payload = base64.urlsafe_b64encode(json.dumps([access_key_id, end]).encode()).decode()
        return f"{payload}.{self._sign(payload)}", end

    def read(self, password: str) -> tuple[str, float]:
        """(access key of whoever asked for it, its end). Raises TokenRefused."""
        payload, _, signature = password.partition(".")
        if not hmac.compare_digest(self._sign(payload), signature):
            raise TokenRefused("the token was not given by GetAuthorizationToken")
        access_key_id, end = json.loads(base64.urlsafe_b64decode(payload))
        return str(access_key_id), float(end)

    def _sign(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()
