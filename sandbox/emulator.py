"""The one door to ministack, which has no types: its modules by name, and the tenant that a thread speaks for."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from types import ModuleType
from typing import Any

VERSION = "1.5.33"


def service(name: str) -> Any:
    """ministack.services.<name>, known to its dispatcher as well, so that state is saved whoever loaded it."""
    module = importlib.import_module(f"ministack.services.{name}")
    app()._loaded_modules[name] = module
    return module


def core(name: str) -> Any:
    """ministack.core.<name>."""
    return importlib.import_module(f"ministack.core.{name}")


def app() -> Any:
    """ministack.app; the environment that it reads must be set before the first call."""
    return importlib.import_module("ministack.app")


def module(name: str) -> ModuleType:
    """Any other module of the sandbox's own environment (hypercorn) by its full name."""
    return importlib.import_module(name)


def request_scope(account: str, region: str) -> AbstractContextManager[None]:
    """Within it, ministack's stores show what this account has in this region. Needed on threads of our own."""
    scope: AbstractContextManager[None] = core("responses").request_scope(account, region)
    return scope


@contextmanager
def tenant_scope(access_key_id: str | None, account: str, region: str) -> Iterator[None]:
    """As request_scope(), for a request: the account that ministack takes its key for, or `account` without a key."""
    with request_scope(account, region):
        if access_key_id:
            core("responses").set_request_account_id(access_key_id)
        yield


def json_response(document: dict[str, Any]) -> Any:
    """(status, headers, body) of an answer as the JSON protocols have it."""
    return core("responses").json_response(document)


def json_error(code: str, message: str, status: int = 400) -> Any:
    """(status, headers, body) of an error as the JSON protocols have it."""
    return core("responses").error_response_json(code, message, status)


def now() -> str:
    """The present as the emulator's records have it."""
    text: str = core("responses").now_iso()
    return text


def epoch(stamp: Any) -> float:
    """Seconds since 1970 of a time in a record; now, when there is none in it."""
    if isinstance(stamp, int | float):
        return float(stamp)
    try:
        return datetime.fromisoformat(str(stamp).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return time.time()


def body_of(response: Any) -> dict[str, Any]:
    """The JSON document in a handler's (status, headers, body)."""
    document: dict[str, Any] = json.loads(response[2] or b"{}")
    return document
