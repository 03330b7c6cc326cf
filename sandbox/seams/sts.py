"""STS on ministack: web identity tokens are verified in IAM mode, and sessions outlive the process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox import emulator, requests
from sandbox.answers import answer_response
from sandbox.behaviours import behaviour
from sandbox.iam import oidc, web_identity
from sandbox.responses import error_response
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

OPERATION = "AssumeRoleWithWebIdentity"


def install(runtime: Runtime) -> None:
    iam, sts = emulator.service("iam"), emulator.service("sts")
    handle, get_state, load_state = sts.handle_request, iam.get_state, iam.load_persisted_state

    async def handle_request(
        method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Any
    ) -> tuple[int, dict[str, str], bytes]:
        request = requests.parse(method, path, "", headers, body) if method == "POST" else None
        if request is not None and request.operation == OPERATION and runtime.switches.iam:
            return await with_web_identity(runtime, request)
        answer: tuple[int, dict[str, str], bytes] = await handle(method, path, headers, body, query_params)
        return answer

    def state() -> dict[str, Any]:
        return {**get_state(), "sessions": sessions_to_keep(sts._sessions)}

    def restore(data: dict[str, Any]) -> Any:
        sts._sessions.update((data or {}).get("sessions") or {})
        return load_state(data)

    sts.handle_request = handle_request
    iam.get_state, iam.load_persisted_state = state, restore


@behaviour("sts", otherwise=lambda kept: {})
def sessions_to_keep(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Temporary credentials stay good until they expire, whatever happens to the service in between.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp.html
    """
    return {key: dict(session) for key, session in list(kept.items())}


async def with_web_identity(runtime: Runtime, request: ApiRequest) -> tuple[int, dict[str, str], bytes]:
    """The keys are fetched beside the server's loop: the issuer may be on this machine, or slow."""
    try:
        token = web_identity.read(request)
        keys: list[Mapping[str, Any]] | None
        try:
            keys = await asyncio.to_thread(oidc.ISSUERS.keys, token.issuer, runtime.settings.ca_file)
        except oidc.Unreachable:
            keys = None
        status, headers, body = answer_response(request, web_identity.assume(runtime, request, keys))
    except Refused as refused:
        status, headers, body = error_response(request.protocol, refused.status, refused.code, refused.message)
    return status, dict(headers), body
