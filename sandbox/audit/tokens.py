"""Page tokens: opaque, signed, of one request only; they wear out when switches say so (page_token_…)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox import emulator

if TYPE_CHECKING:
    from sandbox.audit.store import Store
    from sandbox.switches import Switches

TOKEN_NAMES = frozenset({"NextToken", "nextToken"})
SIGNATURE = 16


def make(store: Store, parameters: Mapping[str, Any], place: list[Any]) -> str:
    """A token for the page that begins after `place`, of a request with these parameters by whoever asks now."""
    before = next((_said(str(parameters[name])) for name in TOKEN_NAMES if parameters.get(name)), None)
    text = json.dumps([time.time(), before[1] + 1 if before else 1, *place]).encode()
    return base64.urlsafe_b64encode(_signature(store, text, parameters) + text).decode()


def belongs(store: Store, parameters: Mapping[str, Any], token: str) -> bool:
    """Whether the token was given for a request with these parameters."""
    raw = _raw(token)
    signature, text = raw[:SIGNATURE], raw[SIGNATURE:]
    return hmac.compare_digest(signature, _signature(store, text, parameters))


def place(token: str) -> list[Any] | None:
    """What the token says, whomever it belongs to; None for what is no token."""
    said = _said(token)
    return said[2:] if said else None


def is_worn(switches: Switches, token: str) -> bool:
    """Whether the token of a request is too old, or has too many pages before it; never without a switch."""
    issued, page = (_said(token) or [0.0, 0])[:2]
    seconds, pages = switches.page_token_seconds, switches.page_token_pages
    return bool(seconds and time.time() - issued > seconds or pages and page > pages)


def _said(token: str) -> list[Any] | None:
    """[when it was made, how many pages came before it, *the place]; None for what is no token."""
    try:
        found = json.loads(_raw(token)[SIGNATURE:])
    except ValueError:
        return None
    return found if isinstance(found, list) and len(found) > 2 else None


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
