"""Reads AWS requests by botocore's own service models: which service, which operation, which parameters."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus
from xml.etree import ElementTree

from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader
from botocore.model import (
    ListShape,
    MapShape,
    OperationModel,
    OperationNotFoundError,
    ServiceModel,
    Shape,
    StructureShape,
)

from sandbox import cbor
from sandbox.responses import CBOR

# Signing name (of the credential scope) → botocore's service, where the two differ.
SERVICE_OF_SIGNING_NAME = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "tagging": "resourcegroupstaggingapi",
    "email": "sesv2",
}
# X-Amz-Target prefix → service.
SERVICE_OF_TARGET = {
    "AmazonEC2ContainerServiceV20141113": "ecs",
    "AmazonEC2ContainerRegistry_V20150921": "ecr",
    "secretsmanager": "secretsmanager",
    "Logs_20140328": "logs",
    "CloudTrail_20131101": "cloudtrail",
    "com.amazonaws.cloudtrail.v20131101.CloudTrail_20131101": "cloudtrail",
    "StarlingDoveService": "config",
    "AWSEvents": "events",
    "AmazonSSM": "ssm",
    "AmazonSQS": "sqs",
    "TrentService": "kms",
    "CertificateManager": "acm",
    "GraniteServiceVersion20100801": "cloudwatch",
    "ResourceGroupsTaggingAPI_20170126": "resourcegroupstaggingapi",
}
RPC_PATH = re.compile(r"/service/(?P<service>\w+)/operation/(?P<operation>\w+)")
CREDENTIAL = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]*)/([^/]+)/aws4_request")
# Until a request names itself: what a query API's Version says.
SERVICE_OF_QUERY_VERSION = {
    "2015-12-01": "elbv2",
    "2012-06-01": "elb",
    "2016-11-15": "ec2",
    "2014-10-31": "rds",
    "2010-05-08": "iam",
    "2011-06-15": "sts",
    "2010-03-31": "sns",
    "2010-08-01": "cloudwatch",
    "2012-11-05": "sqs",
    "2011-01-01": "autoscaling",
}


@dataclass(frozen=True)
class ApiRequest:
    """`parameters` as boto3 would name and type them; streaming bodies are left out."""

    service: str
    operation: str
    protocol: str
    parameters: dict[str, Any]
    region: str | None
    access_key_id: str | None
    model: OperationModel | None = field(default=None, repr=False, compare=False)


@functools.cache
def service_model(service: str) -> ServiceModel | None:
    """The newest model that botocore ships, None for a service it does not know."""
    loader = _loader()
    try:
        return ServiceModel(loader.load_service_model(service, "service-2"), service_name=service)
    except UnknownServiceError:
        return None


@functools.cache
def _loader() -> Loader:
    return Loader(include_default_search_paths=True)


def parse(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> ApiRequest | None:
    """None when it is no AWS API request (or of an API that botocore does not know).

    `path` is still percent-encoded; header names are in lower case.
    """
    scope = CREDENTIAL.search(headers.get("authorization", "")) or CREDENTIAL.search(
        "Credential=" + unquote(dict(parse_qsl(query)).get("X-Amz-Credential", ""))
    )
    access_key_id, region, signing_name = scope.groups() if scope else (None, None, None)
    found = (
        _by_target(headers, body)
        or _by_rpc(path, headers, body)
        or _by_query(signing_name, query, headers, body)
        or _by_rest(signing_name, method, path, query, headers, body)
    )
    if found is None:
        return None
    service, operation, protocol, parameters, model = found
    return ApiRequest(service, operation, protocol, parameters, region, access_key_id, model)


Found = tuple[str, str, str, dict[str, Any], OperationModel | None]


def _operation(service: str, name: str) -> OperationModel | None:
    model = service_model(service)
    try:
        return model.operation_model(name) if model else None
    except OperationNotFoundError:
        return None


def _by_target(headers: Mapping[str, str], body: bytes) -> Found | None:
    prefix, _, name = headers.get("x-amz-target", "").rpartition(".")
    service = SERVICE_OF_TARGET.get(prefix)
    if not service or not name:
        return None
    return service, name, "json", _json_object(body), _operation(service, name)


def _by_rpc(path: str, headers: Mapping[str, str], body: bytes) -> Found | None:
    """https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html"""
    named = RPC_PATH.fullmatch(path)
    service = SERVICE_OF_TARGET.get(named["service"]) if named and "smithy-protocol" in headers else None
    if named is None or service is None:
        return None
    try:
        document = cbor.loads(body) if body else {}
    except cbor.CborError:
        document = {}
    parameters = document if isinstance(document, dict) else {}
    return service, named["operation"], CBOR, parameters, _operation(service, named["operation"])


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body or b"{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _by_query(signing_name: str | None, query: str, headers: Mapping[str, str], body: bytes) -> Found | None:
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    if headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        pairs |= dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
    name = pairs.get("Action")
    if not name:
        return None
    service = SERVICE_OF_QUERY_VERSION.get(pairs.get("Version", ""))
    service = service or SERVICE_OF_SIGNING_NAME.get(signing_name or "", signing_name)
    if not service:
        return None
    operation = _operation(service, name)
    protocol = "ec2" if service == "ec2" else "query"
    if operation is None or operation.input_shape is None:
        return service, name, protocol, {}, operation
    parameters = _from_pairs(operation.input_shape, pairs, "", protocol == "ec2")
    return service, name, protocol, parameters, operation


def _from_pairs(shape: StructureShape, pairs: Mapping[str, str], prefix: str, ec2: bool) -> dict[str, Any]:
    """A structure out of flattened names, e.g. Listeners.member.1.Port (query) or IpPermissions.1.FromPort (ec2)."""
    result: dict[str, Any] = {}
    for name, member in shape.members.items():
        wire = _wire_name(name, member, ec2)
        value = _value_from_pairs(member, pairs, f"{prefix}{wire}", ec2)
        if value is not None:
            result[name] = value
    return result


def _wire_name(name: str, member: Shape, ec2: bool) -> str:
    serialization = member.serialization
    if not ec2:
        return str(serialization.get("name", name))
    if "queryName" in serialization:
        return str(serialization["queryName"])
    given = str(serialization.get("name", name))
    return given[:1].upper() + given[1:]


def _value_from_pairs(shape: Shape, pairs: Mapping[str, str], prefix: str, ec2: bool) -> Any:
    if isinstance(shape, StructureShape):
        if not any(key.startswith(f"{prefix}.") for key in pairs):
            return None
        return _from_pairs(shape, pairs, f"{prefix}.", ec2)
    if isinstance(shape, ListShape):
        flat = ec2 or bool(shape.serialization.get("flattened"))
        item_prefix = prefix if flat else f"{prefix}.{shape.member.serialization.get('name', 'member')}"
        numbers = _indexes(pairs, item_prefix)
        if not numbers:
            return None
        return [_value_from_pairs(shape.member, pairs, f"{item_prefix}.{number}", ec2) for number in numbers]
    if isinstance(shape, MapShape):
        item_prefix = prefix if shape.serialization.get("flattened") else f"{prefix}.entry"
        key_name = shape.key.serialization.get("name", "key")
        value_name = shape.value.serialization.get("name", "value")
        numbers = _indexes(pairs, item_prefix)
        return {
            pairs.get(f"{item_prefix}.{n}.{key_name}", ""): _value_from_pairs(
                shape.value, pairs, f"{item_prefix}.{n}.{value_name}", ec2
            )
            for n in numbers
        } or None
    return None if prefix not in pairs else _scalar(shape, pairs[prefix])


def _indexes(pairs: Mapping[str, str], prefix: str) -> list[int]:
    start = f"{prefix}."
    heads = (key[len(start) :].partition(".")[0] for key in pairs if key.startswith(start))
    return sorted({int(head) for head in heads if head.isdigit()})


def _scalar(shape: Shape, text: str) -> Any:
    if shape.type_name in ("integer", "long") and re.fullmatch(r"-?\d+", text):
        return int(text)
    if shape.type_name in ("float", "double") and re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text)
    if shape.type_name == "boolean" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text


def _by_rest(
    signing_name: str | None, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> Found | None:
    service = SERVICE_OF_SIGNING_NAME.get(signing_name or "", signing_name)
    model = service_model(service) if service else None
    if service is None or model is None or not model.metadata.get("protocol", "").startswith("rest"):
        return None
    pairs = dict(parse_qsl(query, keep_blank_values=True))
    best: tuple[int, str, dict[str, str]] | None = None
    for name, pattern, literals in _rest_routes(service):
        matched = pattern.match(f"{method} {path}")
        if matched is None or any(pairs.get(k) != v if v else k not in pairs for k, v in literals.items()):
            continue
        operation = model.operation_model(name)
        wanted = _required_outside(operation)
        if not all(pairs.get(n) is not None if where == "querystring" else n in headers for where, n in wanted):
            continue
        score = 10 * len(literals) + len(wanted) + pattern.pattern.count("/") * 100
        if best is None or score > best[0]:
            best = (score, name, {k: unquote_plus(v) for k, v in matched.groupdict().items()})
    if best is None:
        return None
    _, name, in_path = best
    operation = model.operation_model(name)
    parameters = _rest_parameters(operation, in_path, pairs, headers, body)
    return service, name, str(model.metadata["protocol"]), parameters, operation


@functools.cache
def _rest_routes(service: str) -> list[tuple[str, re.Pattern[str], dict[str, str]]]:
    model = service_model(service)
    routes = []
    for name in model.operation_names if model else []:
        http = model.operation_model(name).http if model else {}
        uri, _, literal = str(http.get("requestUri", "/")).partition("?")
        pattern = ""
        for part in re.split(r"(\{[^}]+\})", uri):
            if part.endswith("+}"):
                pattern += f"(?P<{_group(part[1:-2])}>.+)"
            elif part.startswith("{"):
                pattern += f"(?P<{_group(part[1:-1])}>[^/]+)"
            else:
                pattern += re.escape(part)
        compiled = re.compile(f"{http.get('method', 'POST')} {pattern.rstrip('/') or '/'}/?$")
        routes.append((name, compiled, dict(parse_qsl(literal, keep_blank_values=True))))
    return routes


def _group(name: str) -> str:
    return name.replace("-", "_")


def _required_outside(operation: OperationModel) -> list[tuple[str, str]]:
    """(location, name) of required members that travel in the query string or in a header."""
    shape = operation.input_shape
    if shape is None:
        return []
    found = []
    for name in shape.required_members:
        serialization = shape.members[name].serialization
        if (where := serialization.get("location")) in ("querystring", "header"):
            found.append(
                (
                    where,
                    str(serialization.get("name", name)).lower()
                    if where == "header"
                    else str(serialization.get("name", name)),
                )
            )
    return found


def _rest_parameters(
    operation: OperationModel,
    in_path: Mapping[str, str],
    pairs: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
) -> dict[str, Any]:
    shape = operation.input_shape
    if shape is None:
        return {}
    result: dict[str, Any] = {}
    payload = shape.serialization.get("payload")
    document = _json_object(body) if operation.service_model.metadata["protocol"] == "rest-json" else {}
    for name, member in shape.members.items():
        wire = str(member.serialization.get("name", name))
        where = member.serialization.get("location")
        value: Any = None
        if where == "uri":
            value = in_path.get(_group(wire))
        elif where == "querystring":
            value = pairs.get(wire)
        elif where == "header":
            value = headers.get(wire.lower())
        elif where is None and name == payload:
            value = _payload(member, document, body)
        elif where is None and payload is None:
            value = document.get(wire)
        if value is not None:
            result[name] = _scalar(member, value) if isinstance(value, str) else value
    return result


def _payload(shape: Shape, document: dict[str, Any], body: bytes) -> Any:
    if not isinstance(shape, StructureShape):
        return None
    if document:
        return document
    try:
        return _from_xml(shape, ElementTree.fromstring(body)) if body else None
    except ElementTree.ParseError:
        return None


def _from_xml(shape: Shape, node: ElementTree.Element) -> Any:
    def named(parent: ElementTree.Element, name: str) -> list[ElementTree.Element]:
        return [child for child in parent if child.tag.rpartition("}")[2] == name]

    if isinstance(shape, StructureShape):
        result: dict[str, Any] = {}
        for name, member in shape.members.items():
            wire = str(member.serialization.get("name", name))
            if isinstance(member, ListShape) and member.serialization.get("flattened"):
                values = [_from_xml(member.member, child) for child in named(node, wire)]
                if values:
                    result[name] = values
            elif children := named(node, wire):
                result[name] = _from_xml(member, children[0])
        return result
    if isinstance(shape, ListShape):
        return [_from_xml(shape.member, c) for c in named(node, str(shape.member.serialization.get("name", "member")))]
    return _scalar(shape, node.text or "")
