"""Page tokens: opaque, signed, and of one request only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox import emulator

if TYPE_CHECKING:
    from sandbox.audit.store import Store

TOKEN_NAMES = frozenset({"NextToken", "nextToken"})
SIGNATURE = 16


def make(store: Store, parameters: Mapping[str, Any], place: list[Any]) -> str:
    """A token for the page that begins after `place`, of a request with these parameters by whoever asks now."""
    text = json.dumps(place).encode()
    return base64.urlsafe_b64encode(_signature(store, text, parameters) + text).decode()


def belongs(store: Store, parameters: Mapping[str, Any], token: str) -> bool:
    """Whether the token was given for a request with these parameters."""
    raw = _raw(token)
    signature, text = raw[:SIGNATURE], raw[SIGNATURE:]
    return hmac.compare_digest(signature, _signature(store, text, parameters))


def place(token: str) -> list[Any] | None:
    """What the token says, whomever it belongs to; None for what is no token."""
    try:
        found = json.loads(_raw(token)[SIGNATURE:])
    except ValueError:
        return None
    return found if isinstance(found, list) else None


def _raw(token: str) -> bytes:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        return b""


def _signature(store: Store, text: bytes, parameters: Mapping[str, Any]) -> bytes:
    responses = emulator.core("responses")
    given = {name: value for name, value in parameters.items() if name not in TOKEN_NAMES}
    tenant = [responses.get_account_id(), responses.get_region()]
    asked = json.dumps([tenant, given], sort_keys=True, default=str).encode()
    return hmac.digest(store.secret, asked + b"\0" + text, hashlib.sha256)[:SIGNATURE]
