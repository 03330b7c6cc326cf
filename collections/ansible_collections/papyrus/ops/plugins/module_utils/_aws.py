# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients for AWS with retries, and one way to turn their errors into a readable failure."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from ._answers import only_whole_answers
from ._trace import recorded

Clients = Callable[[str], Any]
"""Service name as botocore spells it (`elbv2`, `ec2`, …) → client."""

_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_MISSING_CODES = frozenset({"404", "NotFound", "NoSuchEntity", "NoSuchKey", "NoSuchBucket", "ParameterNotFound"})
_MISSING_SUFFIXES = ("NotFound", "NotFoundException", "NotFoundFault", ".Malformed.NotFound")


class _ClientModule(Protocol):
    def client(self, service: str, **kwargs: Any) -> Any: ...


def _errors(*names: str) -> tuple[type[Exception], ...]:
    """Exception classes of botocore, or none when it was never imported: then nothing can have raised them.

    boto3 takes a third of a second to import, and most tasks of a run never ask AWS; so only clients import it.
    """
    exceptions = sys.modules.get("botocore.exceptions")
    return tuple(getattr(exceptions, name) for name in names) if exceptions else ()


class AwsFailure(Exception):
    """One failed AWS call, said so that an operator can act on it.

    `str()` of it: what was tried, on which resource, what AWS said, what to do next. `code` is AWS' error code, or
    the class name of a botocore error which never reached AWS (`EndpointConnectionError`, `NoCredentialsError`).
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        operation: str = "",
        resource: str = "",
        request_id: str = "",
        hint: str = "",
        missing: bool = False,
        unanswered: bool = False,
    ) -> None:
        self.message = message
        self.code = code
        self.operation = operation
        self.resource = resource
        self.request_id = request_id
        self.hint = hint
        self.missing = missing
        self.unanswered = unanswered
        super().__init__(message)

    def __str__(self) -> str:
        text = self.operation or "An AWS call"
        if self.resource:
            text += f" on {self.resource}"
        text += " failed: "
        text += f"{self.code}: {self.message}" if self.code else self.message
        if self.request_id:
            text += f" (request id {self.request_id})"
        text = text.rstrip(".") + "."
        return f"{text} {self.hint}" if self.hint else text

    def as_dict(self) -> dict[str, str]:
        """For a module's result and for evidence."""
        return {
            "message": self.message,
            "code": self.code,
            "operation": self.operation,
            "resource": self.resource,
            "request_id": self.request_id,
            "hint": self.hint,
        }


# The first question of a run is who is asking. An endpoint that swallows it must not cost minutes.
_FIRST_QUESTION: dict[str, Any] = {"retries": {"mode": "standard", "max_attempts": 2}, "read_timeout": 8}


def retry_config(**overrides: Any) -> Any:
    """botocore Config with bounded time-outs (seconds) and `standard` retries.

    https://docs.aws.amazon.com/boto3/latest/guide/retries.html: `standard` retries throttling, 5xx and connection
    errors with jitter, in paginators too, which Ansible's retry decorators do not reach.
    """
    settings: dict[str, Any] = {
        "retries": {"mode": "standard", "max_attempts": 8},
        "connect_timeout": 5,
        "read_timeout": 20,
    }
    settings.update(overrides)
    from botocore.config import Config

    return Config(**settings)


def client_factory(session_kwargs: Mapping[str, Any] | None = None, **config: Any) -> Clients:
    """Clients from a boto3 session of its own, made once per service; safe to call from threads.

    `session_kwargs` are boto3.session.Session's (`region_name`, `profile_name`, …); the SDK's environment does the
    rest.
    """
    try:
        import boto3
    except ImportError as exc:
        raise AwsFailure(f"boto3 cannot be imported: {exc}", hint="Install boto3 for this Python.") from exc
    lock = threading.Lock()
    clients: dict[str, Any] = {}
    session: Any = boto3.session.Session(**dict(session_kwargs or {}))

    def client(service: str) -> Any:
        with lock:  # making clients from one session is not thread-safe, using them is
            if service not in clients:
                settings = retry_config(**{**(_FIRST_QUESTION if service == "sts" else {}), **config})
                clients[service] = recorded(only_whole_answers(session.client(service, config=settings)))
            return clients[service]

    return client


def module_clients(module: _ClientModule, *, region: str | None = None, **config: Any) -> Clients:
    """Clients through an AnsibleAWSModule (its region, profile and endpoint options), made once per service.

    `region` instead of the module's own; `config` as for `retry_config`. AwsFailure where verification is switched off.
    """
    if (getattr(module, "params", None) or {}).get("validate_certs") is False:
        raise AwsFailure(
            "validate_certs: false is refused, AWS' certificates are always verified.",
            hint="Name your own CA bundle by aws_ca_bundle or AWS_CA_BUNDLE.",
        )
    lock = threading.Lock()
    clients: dict[str, Any] = {}
    elsewhere = {} if region is None else {"region": region}

    def client(service: str) -> Any:
        with lock:
            if service not in clients:
                settings = retry_config(**{**(_FIRST_QUESTION if service == "sts" else {}), **config})
                clients[service] = recorded(only_whole_answers(module.client(service, config=settings, **elsewhere)))
            return clients[service]

    return client


def request_id(response: Mapping[str, Any]) -> str:
    """AWS' request id of a response, or "" where the answer carries none."""
    meta = response.get("ResponseMetadata") or {}
    return str(meta.get("RequestId") or "")


def _response(exc: BaseException) -> Mapping[str, Any]:
    response = getattr(exc, "response", None)
    return response if isinstance(response, Mapping) else {}


def error_code(exc: BaseException) -> str:
    """AWS' error code, or the class name of an error which never reached AWS."""
    if isinstance(exc, AwsFailure):
        return exc.code
    if isinstance(exc, _errors("ClientError")):
        return str(_response(exc).get("Error", {}).get("Code", ""))
    return type(exc).__name__


def is_missing(exc: BaseException) -> bool:
    """True only when AWS itself says that the named thing does not exist.

    A failed call (throttled, denied, no connection) is never "missing".
    """
    if isinstance(exc, AwsFailure):
        return exc.missing
    if not isinstance(exc, _errors("ClientError")):
        return False
    code = error_code(exc)
    return code in _MISSING_CODES or code.endswith(_MISSING_SUFFIXES)


def unanswered(exc: BaseException) -> bool:
    """True when nobody knows whether AWS did it: no answer came, or one of a server in trouble."""
    if isinstance(exc, AwsFailure):
        return exc.unanswered
    if isinstance(exc, _errors("ClientError")):
        return int((_response(exc).get("ResponseMetadata") or {}).get("HTTPStatusCode") or 0) >= 500
    return isinstance(exc, _errors("HTTPClientError", "ConnectionError"))


def to_failure(exc: BaseException, operation: str = "", resource: str = "", hint: str = "") -> AwsFailure:
    """AwsFailure for an error of boto3 or botocore; an AwsFailure is returned as it is."""
    if isinstance(exc, AwsFailure):
        return exc
    if isinstance(exc, _errors("ClientError")):
        error = _response(exc).get("Error", {})
        if error.get("Code") in _EXPIRED:
            # Whatever right the call needs, nobody has looked at it.
            hint = "Renew the credentials, look whether the clock of this machine is right, and run it again."
        return AwsFailure(
            str(error.get("Message") or exc),
            code=str(error.get("Code", "")),
            operation=operation or str(getattr(exc, "operation_name", "")),
            resource=resource,
            request_id=request_id(_response(exc)),
            hint=hint,
            missing=is_missing(exc),
            unanswered=unanswered(exc),
        )
    if isinstance(exc, _errors("HTTPClientError", "ConnectionError")):
        # Whatever the call was about, it is not to blame: AWS was never asked, or did not answer.
        hint = "Check that this endpoint can be reached from here (network, proxy, AWS_ENDPOINT_URL)."
    return AwsFailure(
        str(exc) or type(exc).__name__,
        code=type(exc).__name__,
        operation=operation,
        resource=resource,
        hint=hint,
        unanswered=unanswered(exc),
    )


@contextlib.contextmanager
def aws_call(operation: str, resource: str = "", hint: str = "") -> Iterator[None]:
    """Around one API call, as context manager or decorator: errors of botocore become AwsFailure.

    Other exceptions pass: they are faults of the program and shall look like it.
    """
    try:
        yield
    except Exception as exc:
        if not isinstance(exc, _errors("ClientError", "BotoCoreError")):
            raise
        raise to_failure(exc, operation, resource, hint) from exc
