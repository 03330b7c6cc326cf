"""An operation's answer, as the protocol of the request writes it: JSON, the Query protocol's XML, or CBOR."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from botocore.model import ListShape, MapShape, Shape, StructureShape

from sandbox import cbor
from sandbox.responses import CBOR, RawResponse, json_response

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest


def answer_response(request: ApiRequest, document: Mapping[str, Any]) -> RawResponse:
    """The response with these members; what the model does not know, and what is None, is left out."""
    shape = request.model.output_shape if request.model else None
    members: Any = document if shape is None else _modelled(shape, document)
    if request.protocol == CBOR:
        headers = [("content-type", "application/cbor"), ("smithy-protocol", "rpc-v2-cbor")]
        return 200, [("x-amzn-requestid", str(uuid.uuid4())), *headers], cbor.dumps(members)
    if request.protocol == "query":
        return _query_response(request, shape, members)
    return json_response(request.protocol, members)


def _modelled(shape: Shape, value: Any) -> Any:
    if isinstance(shape, StructureShape):
        given = {name: value.get(name) for name in shape.members}
        return {name: _modelled(shape.members[name], v) for name, v in given.items() if v is not None}
    if isinstance(shape, ListShape):
        return [_modelled(shape.member, item) for item in value]
    if isinstance(shape, MapShape):
        return {key: _modelled(shape.value, item) for key, item in value.items()}
    if shape.type_name == "timestamp" and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return float(value) if shape.type_name in ("double", "float") else value


def _query_response(request: ApiRequest, shape: Shape | None, members: Any) -> RawResponse:
    request_id, name = str(uuid.uuid4()), request.operation
    namespace = request.model.service_model.metadata.get("xmlNamespace", "") if request.model else ""
    inner = _xml(shape, members) if shape is not None else ""
    wrapper = f"<{name}Result>{inner}</{name}Result>" if shape is not None else ""
    text = (
        f'<{name}Response xmlns="{namespace}">{wrapper}'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{name}Response>"
    )
    headers = [("x-amzn-requestid", request_id), ("content-type", "text/xml")]
    return 200, headers, b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode()


def _xml(shape: Shape, value: Any) -> str:
    if isinstance(shape, StructureShape):
        return "".join(_element(name, shape.members[name], item) for name, item in value.items())
    if isinstance(shape, ListShape):
        name = str(shape.member.serialization.get("name", "member"))
        return "".join(f"<{name}>{_xml(shape.member, item)}</{name}>" for item in value)
    if isinstance(shape, MapShape):
        key_name = str(shape.key.serialization.get("name", "key"))
        value_name = str(shape.value.serialization.get("name", "value"))
        return "".join(
            f"<entry><{key_name}>{escape(str(key))}</{key_name}>"
            f"<{value_name}>{_xml(shape.value, item)}</{value_name}></entry>"
            for key, item in value.items()
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return escape(str(value))


def _element(name: str, shape: Shape, value: Any) -> str:
    wire = str(shape.serialization.get("name", name))
    if isinstance(shape, ListShape) and shape.serialization.get("flattened"):
        wire = str(shape.member.serialization.get("name", wire))
        return "".join(f"<{wire}>{_xml(shape.member, item)}</{wire}>" for item in value)
    return f"<{wire}>{_xml(shape, value)}</{wire}>"
