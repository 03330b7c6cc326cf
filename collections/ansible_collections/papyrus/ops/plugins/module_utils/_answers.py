# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is an answer of AWS: whole, and in the protocol of the service; anything else is no answer, never "nothing"."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

NOT_TWICE = {"ecs": ("RegisterTaskDefinition", "UpdateService")}
"""Changes that make another thing each time and take no token by which AWS would know them again. Without an answer, or
with one of a server in trouble, they are not tried again here; whoever calls them looks first (`_calls.once`)."""

_NEVER_SENT = ("EndpointConnectionError", "ConnectTimeoutError", "ProxyConnectionError")
_NO_ANSWER = "papyrus.ops:no-answer"
_ANSWER = "", 500
_CBOR = "smithy-rpc-v2-cbor"
_REQUEST_IDS = ("x-amzn-requestid", "x-amz-request-id")


def only_whole_answers(client: Any) -> Any:
    """The client, which from now on takes no answer but a whole one of AWS.

    botocore 1.44 compares no body with its Content-Length (`enforce_content_length=False` in httpsession.py). JSON that
    was cut off, and any page of a proxy with status 200, is to it an answer without members: nothing found, no next
    page. A page with status 404 is a thing that AWS does not have. XML that was cut off is an error of its parser that
    is none of botocore's errors, and not tried again.

    Here such an answer is tried again as lost connections are, as often as the client's settings say, and is
    ConnectionClosedError (cut off) or HTTPClientError (somebody else's) in the end. A page with status 300 to 499 is
    HTTPClientError at once; with 500 and more botocore tries again by itself.
    """
    most = int((client.meta.config.retries or {}).get("total_max_attempts", 1))

    def judge(
        operation_model: Any, response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **more: Any
    ) -> None:
        reason = no_answer(
            operation_model, response_dict["status_code"], response_dict["headers"], response_dict["body"]
        )
        if reason:
            customized_response_dict[_NO_ANSWER] = reason, response_dict["status_code"]
            # In a form that no parser fails on: that would be the end, without another try.
            response_dict.update(status_code=max(500, response_dict["status_code"]), body=b"")

    def look(response: Any, operation: Any, attempts: int, request_dict: Mapping[str, Any], **more: Any) -> Any:
        reason, status = response[1].pop(_NO_ANSWER, _ANSWER) if response is not None else _ANSWER
        if status >= 500 and reason != _CUT:
            return None
        twice = operation.name in NOT_TWICE.get(operation.service_model.service_name, ())
        if attempts < most and (status < 300 or reason == _CUT) and not twice:
            return min(2.0 ** (attempts - 1), 20.0) * random.random()
        from botocore.exceptions import ConnectionClosedError, HTTPClientError

        if reason == _CUT:
            raise ConnectionClosedError(endpoint_url=request_dict["url"])
        raise HTTPClientError(error=f"{request_dict['url']} answered with status {status} and {reason}")

    def not_twice(response: Any, operation: Any, caught_exception: Any = None, **more: Any) -> None:
        if response is None:
            if caught_exception is not None and type(caught_exception).__name__ not in _NEVER_SENT:
                raise caught_exception
        elif response[0].status_code >= 500:
            from botocore.exceptions import ClientError

            raise ClientError(response[1], operation.name)

    for name in NOT_TWICE.get(client.meta.service_model.service_name, ()):
        client.meta.events.register_first(f"needs-retry.*.{name}", not_twice)
    client.meta.events.register("before-parse", judge)
    client.meta.events.register("needs-retry", look)
    return client


_CUT = "a body that is shorter than it says"


def no_answer(operation: Any, status: int, headers: Mapping[str, str], body: Any) -> str:
    """Why this is no answer of AWS to `operation` (botocore's model of it), or "".

    `headers` know no case. A body that is streamed is not looked into.
    """
    if operation.has_event_stream_output or not isinstance(body, bytes):
        return ""
    if operation.http.get("method") == "HEAD":
        named = status < 400 or any(headers.get(name) for name in _REQUEST_IDS)
        return "" if named else "no request id of AWS"
    told = str(headers.get("content-length", ""))
    if told.isdigit() and len(body) < int(told):
        return _CUT
    if not body and (status >= 500 or (status < 300 and not _has_document(operation))):
        return ""
    understood = _understood(operation, status, headers, body)
    return "" if understood else "something that AWS does not say: a proxy's page, perhaps"


def _has_document(operation: Any) -> bool:
    """Whether members of the operation's output travel in the body."""
    shape = operation.output_shape
    return shape is not None and any(member.serialization.get("location") is None for member in shape.members.values())


def _understood(operation: Any, status: int, headers: Mapping[str, str], body: bytes) -> bool:
    """Whether a body is written in the operation's protocol: https://smithy.io/2.0/aws/protocols/index.html"""
    protocol = str(
        getattr(operation.service_model, "resolved_protocol", "") or operation.service_model.metadata.get("protocol")
    )
    if protocol == _CBOR:
        return bool(body) and headers.get("smithy-protocol", "") == "rpc-v2-cbor"
    if protocol in ("json", "rest-json"):
        if not body:
            return bool(headers.get("x-amzn-errortype"))
        return not _is_document(operation, status) or _is_object(body)
    try:
        root = ElementTree.fromstring(body).tag.rpartition("}")[2]
    except ElementTree.ParseError:
        return not _is_document(operation, status)
    if protocol == "rest-xml":
        return root.lower() != "html"
    return root.endswith("Response")


def _is_document(operation: Any, status: int) -> bool:
    """Whether the body is a document of the protocol, not the payload of a member (text, bytes)."""
    shape = operation.output_shape
    payload = shape.serialization.get("payload") if shape is not None and status < 300 else None
    return payload is None or shape.members[payload].type_name == "structure"


def _is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except ValueError:
        return False
