"""Reads AWS requests by botocore's own service models: which service, which operation, which parameters."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, unquote_plus
from xml.etree import ElementTree

from botocore.exceptions import UnknownServiceError
from botocore.loaders import Loader
from botocore.model import (
    ListShape,
    OperationModel,
    OperationNotFoundError,
    ServiceModel,
    Shape,
    StructureShape,
)

from sandbox import cbor, http, query_parameters
from sandbox.responses import CBOR

# Signing name (of the credential scope) → botocore's service, where the two differ.
SERVICE_OF_SIGNING_NAME = {
    "elasticloadbalancing": "elbv2",
    "monitoring": "cloudwatch",
    "tagging": "resourcegroupstaggingapi",
    "email": "sesv2",
    "servicequotas": "service-quotas",
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
    "ServiceQuotasV20190624": "service-quotas",
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

# As botocore names services; anything else in a credential scope is no name to look for.
SERVICE_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
# AWS's own limit is not documented; nothing that is meant comes near it.
DEEPEST_DOCUMENT = 100
TEXT_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?|[{}\[\]]', re.DOTALL)


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
    # Why the parameters cannot be read, in AWS's words; then they are empty or a part.
    malformed: str | None = None
    # Names of the request that the operation does not have (Query and EC2 protocols).
    unknown: tuple[str, ...] = ()


@functools.cache
def service_model(service: str) -> ServiceModel | None:
    """The newest model that botocore ships, None for a service it does not know."""
    loader = _loader()
    try:
        return ServiceModel(loader.load_service_model(service, "service-2"), service_name=service)
    except UnknownServiceError:
        return None


def operations_with(service: str, member: str) -> list[str]:
    """The operations of a service whose request may have this member."""
    model = service_model(service)
    shapes = {name: model.operation_model(name).input_shape for name in model.operation_names} if model else {}
    return [name for name, shape in shapes.items() if shape is not None and member in shape.members]


@functools.cache
def _loader() -> Loader:
    return Loader(include_default_search_paths=True)


def speaks(operation: OperationModel, protocol: str) -> bool:
    """Whether the model is written for this protocol: SQS's is for JSON, though it still answers the Query protocol."""
    metadata = operation.service_model.metadata
    return protocol in metadata.get("protocols", [metadata.get("protocol")])


def parse(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> ApiRequest | None:
    """None when it is no AWS API request (or of an API that botocore does not know).

    `path` is still percent-encoded; header names are in lower case.
    """
    scope = CREDENTIAL.search(headers.get("authorization", "")) or CREDENTIAL.search(
        "Credential=" + unquote(dict(parse_qsl(query)).get("X-Amz-Credential", ""))
    )
    access_key_id, region, signing_name = scope.groups() if scope else (None, None, None)
    if signing_name == "monitoring":
        body = http.inflated(headers, body)
    found = (
        _by_target(signing_name, headers, body)
        or _by_rpc(path, headers, body)
        or _by_query(signing_name, query, headers, body)
        or _by_rest(signing_name, method, path, query, headers, body)
        or _by_signature(signing_name)
    )
    if found is None:
        return None
    return ApiRequest(
        found.service,
        found.operation,
        found.protocol,
        found.parameters,
        region,
        access_key_id,
        found.model,
        found.malformed,
        found.unknown,
    )


class Found(NamedTuple):
    service: str
    operation: str
    protocol: str
    parameters: dict[str, Any]
    model: OperationModel | None
    malformed: str | None = None
    unknown: tuple[str, ...] = ()


def _operation(service: str, name: str) -> OperationModel | None:
    model = service_model(service)
    try:
        return model.operation_model(name) if model else None
    except OperationNotFoundError:
        return None


def _by_target(signing_name: str | None, headers: Mapping[str, str], body: bytes) -> Found | None:
    prefix, _, name = headers.get("x-amz-target", "").rpartition(".")
    service = SERVICE_OF_TARGET.get(prefix) or _signed_for(signing_name, prefix)
    if not service or not name:
        return None
    if not headers.get("content-type", "").lower().startswith(("application/x-amz-json-", "application/json")):
        # The framework that AWS's JSON services share finds the operation by the content type as well.
        return Found(service, name, "json", {}, None)
    parameters, malformed = _json_object(body)
    return Found(service, name, "json", parameters, _operation(service, name), malformed)


def _signed_for(signing_name: str | None, prefix: str) -> str | None:
    """The service whose credential scope and X-Amz-Target prefix these are."""
    service = SERVICE_OF_SIGNING_NAME.get(signing_name or "", signing_name or "")
    model = service_model(service) if prefix and SERVICE_NAME.fullmatch(service) else None
    return service if model is not None and model.metadata.get("targetPrefix") == prefix else None


def _by_rpc(path: str, headers: Mapping[str, str], body: bytes) -> Found | None:
    """https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2.html"""
    named = RPC_PATH.fullmatch(path)
    service = SERVICE_OF_TARGET.get(named["service"]) if named else None
    if named is None or service is None:
        return None
    if "smithy-protocol" not in headers:
        return Found(service, named["operation"], CBOR, {}, None)
    malformed = None
    try:
        document = cbor.loads(body) if body else {}
    except cbor.CborError:
        document, malformed = {}, ""
    if not isinstance(document, dict):
        document, malformed = {}, "Expected structure or null"
    model = _operation(service, named["operation"])
    return Found(service, named["operation"], CBOR, document, model, malformed)


def _json_object(body: bytes) -> tuple[dict[str, Any], str | None]:
    """(the document, why it is none)."""
    if body.count(b"{") + body.count(b"[") > DEEPEST_DOCUMENT and _depth(body) > DEEPEST_DOCUMENT:
        return {}, ""
    try:
        document = json.loads(body or b"{}", parse_constant=_no_constant)
        if b"\\u" in body:
            # Halves of surrogate pairs are no text.
            json.dumps(document, ensure_ascii=False).encode()
    except ValueError:
        return {}, ""
    return (document, None) if isinstance(document, dict) else ({}, "Expected structure or null")


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _depth(body: bytes) -> int:
    """How deep the brackets of a document nest; those within texts do not count."""
    deepest = depth = 0
    for found in TEXT_OR_BRACKET.findall(body):
        if not found.startswith(b'"'):
            depth += 1 if found in b"{[" else -1
            deepest = max(deepest, depth)
    return deepest


def _by_query(signing_name: str | None, query: str, headers: Mapping[str, str], body: bytes) -> Found | None:
    malformed = None
    try:
        pairs = dict(parse_qsl(query, keep_blank_values=True, errors="strict"))
        if headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
            pairs |= dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        malformed = "The query string contains a syntax error"
        pairs = dict(parse_qsl(query + "&" + body.decode("latin-1"), keep_blank_values=True))
    name = pairs.get("Action")
    if not name:
        return None
    service = SERVICE_OF_QUERY_VERSION.get(pairs.get("Version", ""))
    service = service or SERVICE_OF_SIGNING_NAME.get(signing_name or "", signing_name)
    if not service or not SERVICE_NAME.fullmatch(service):
        return None
    operation = _operation(service, name)
    protocol = "ec2" if service == "ec2" else "query"
    parameters: dict[str, Any] = {}
    unknown: tuple[str, ...] = ()
    if operation is not None and malformed is None:
        try:
            parameters, unknown = query_parameters.parameters(operation.input_shape, pairs, protocol == "ec2")
        except query_parameters.Misshapen as error:
            malformed = str(error) if speaks(operation, protocol) else None
    return Found(service, name, protocol, parameters, operation, malformed, unknown)


def _by_signature(signing_name: str | None) -> Found | None:
    """A signed request that names no operation, or takes a path that none has. S3 has more paths than its model."""
    service = SERVICE_OF_SIGNING_NAME.get(signing_name or "", signing_name or "")
    model = service_model(service) if SERVICE_NAME.fullmatch(service) else None
    protocol = str(model.metadata.get("protocol", "")) if model else ""
    return Found(service, "", protocol, {}, None) if protocol in ("json", "query", "ec2", "rest-json", CBOR) else None


def _by_rest(
    signing_name: str | None, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
) -> Found | None:
    service = SERVICE_OF_SIGNING_NAME.get(signing_name or "", signing_name)
    model = service_model(service) if service and SERVICE_NAME.fullmatch(service) else None
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
    if service == "s3" and _subresources() & set(pairs) - _query_names(operation):
        # E.g. DELETE of a bucket's `?versioning`: no operation, and not the bucket's DELETE either.
        return Found(service, name, "rest-xml", {}, None)
    parameters, malformed = _rest_parameters(operation, in_path, pairs, headers, body)
    return Found(service, name, str(model.metadata["protocol"]), parameters, operation, malformed)


@functools.cache
def _rest_routes(service: str) -> list[tuple[str, re.Pattern[str], dict[str, str]]]:
    model = service_model(service)
    routes = []
    # Of two operations with one route (S3's PutBucketLifecycle and its successor) the one in use is met first.
    names = sorted(model.operation_names, key=lambda name: model.operation_model(name).deprecated) if model else []
    for name in names:
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


@functools.cache
def _subresources() -> frozenset[str]:
    """What S3 tells operations apart by in the query string, such as `versioning`."""
    return frozenset(key for _, _, literals in _rest_routes("s3") for key in literals)


def _query_names(operation: OperationModel) -> set[str]:
    """Names that an operation's query string may have."""
    literal = dict(parse_qsl(str(operation.http.get("requestUri", "")).partition("?")[2], keep_blank_values=True))
    members = operation.input_shape.members.items() if operation.input_shape else ()
    return set(literal) | {
        str(member.serialization.get("name", name))
        for name, member in members
        if member.serialization.get("location") == "querystring"
    }


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
) -> tuple[dict[str, Any], str | None]:
    """(parameters, why the body cannot be read)."""
    shape = operation.input_shape
    if shape is None:
        return {}, None
    result: dict[str, Any] = {}
    payload = shape.serialization.get("payload")
    document, malformed = _rest_document(operation, shape, body)
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
            value = document
        elif where is None and payload is None:
            value = document.get(wire) if document else None
        if value is not None:
            result[name] = query_parameters.scalar(member, value) if isinstance(value, str) else value
    return result, malformed


def _rest_document(operation: OperationModel, shape: StructureShape, body: bytes) -> tuple[Any, str | None]:
    """(the body as the model has it, why it cannot be read); None for no body, and for one that is no document."""
    payload = shape.serialization.get("payload")
    member = shape.members[payload] if payload else shape
    if not body or not isinstance(member, StructureShape):
        return None, None
    if operation.service_model.metadata["protocol"] == "rest-json":
        return _json_object(body)
    try:
        return _from_xml(member, ElementTree.fromstring(body)), None
    except (ElementTree.ParseError, ValueError):
        return None, "The XML you provided was not well-formed or did not validate against our published schema"


def _from_xml(shape: Shape, node: ElementTree.Element) -> Any:
    def named(parent: ElementTree.Element, name: str) -> list[ElementTree.Element]:
        return [child for child in parent if child.tag.rpartition("}")[2] == name]

    if isinstance(shape, StructureShape):
        result: dict[str, Any] = {}
        for name, member in shape.members.items():
            wire = str(member.serialization.get("name", name))
            if member.serialization.get("xmlAttribute"):
                local = wire.rpartition(":")[2]
                given = next((text for key, text in node.attrib.items() if key.rpartition("}")[2] == local), None)
                if given is not None:
                    result[name] = given
            elif isinstance(member, ListShape) and member.serialization.get("flattened"):
                values = [_from_xml(member.member, child) for child in named(node, wire)]
                if values:
                    result[name] = values
            elif children := named(node, wire):
                result[name] = _from_xml(member, children[0])
        return result
    if isinstance(shape, ListShape):
        return [_from_xml(shape.member, c) for c in named(node, str(shape.member.serialization.get("name", "member")))]
    return query_parameters.scalar(shape, node.text or "")
