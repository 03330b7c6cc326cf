"""Errors as each of AWS's protocols writes and carries them."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from sandbox import cbor

# (status, headers, body)
RawResponse = tuple[int, list[tuple[str, str]], bytes]
# As botocore's models name the protocol.
CBOR = "smithy-rpc-v2-cbor"

CODE_IN_XML = re.compile(rb"<Code>([^<]+)</Code>")
CODE_IN_JSON = re.compile(rb'"(?:__type|code)"\s*:\s*"(?:[^"]*#)?([^"]+)"')


def error_response(protocol: str, status: int, code: str, message: str, query_compatible: bool = False) -> RawResponse:
    """An error; `protocol` as botocore's models name it; with the code of the Query protocol for who spoke that before.

    Shapes: https://smithy.io/2.0/aws/protocols/index.html, and the EC2 API's own.
    """
    request_id = str(uuid.uuid4())
    headers = [("x-amzn-requestid", request_id)]
    if protocol == CBOR or query_compatible:
        # https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait
        headers.append(("x-amzn-query-error", f"{code.rpartition('#')[2]};{'Sender' if status < 500 else 'Receiver'}"))
    if protocol == CBOR:
        headers += [
            ("content-type", "application/cbor"),
            ("smithy-protocol", "rpc-v2-cbor"),
            ("x-amzn-errortype", code),
        ]
        return status, headers, cbor.dumps({"__type": code, "message": message})
    if protocol in ("json", "rest-json"):
        version = "1.1" if protocol == "json" else "1.0"
        content_type = f"application/x-amz-json-{version}" if protocol == "json" else "application/json"
        headers += [("content-type", content_type), ("x-amzn-errortype", code)]
        return status, headers, json.dumps({"__type": code, "message": message}).encode()
    inner = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    if protocol == "ec2":
        text = f"<Response><Errors><Error>{inner}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
    elif protocol == "rest-xml":
        text = f"<Error>{inner}<RequestId>{request_id}</RequestId></Error>"
    else:
        kind = "Sender" if status < 500 else "Receiver"
        text = (
            f"<ErrorResponse><Error><Type>{kind}</Type>{inner}</Error><RequestId>{request_id}</RequestId>"
            "</ErrorResponse>"
        )
    headers.append(("content-type", "text/xml"))
    return status, headers, b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode()


def error_code(headers: Mapping[str, str], body: bytes) -> str | None:
    """The error code in a response of any protocol."""
    if code := headers.get("x-amzn-errortype"):
        return code.partition(":")[0].rpartition("#")[2]
    found = CODE_IN_XML.search(body) or CODE_IN_JSON.search(body)
    return found.group(1).decode() if found else None


def json_response(protocol: str, document: Mapping[str, Any]) -> RawResponse:
    """The answer of an operation of a JSON protocol; times are seconds since 1970, as those protocols have them."""
    content_type = "application/json" if protocol == "rest-json" else "application/x-amz-json-1.1"
    headers = [("x-amzn-requestid", str(uuid.uuid4())), ("content-type", content_type)]
    return 200, headers, json.dumps(document, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.timestamp()
    raise TypeError(f"{type(value).__name__} has no form in JSON")
