"""Requests made from the services' own models: what boto3 lets through is not refused by its shape, what breaks a
constraint is, and nothing that can be sent makes the reader of requests fall over."""

from __future__ import annotations

import copy
import functools
import string
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.awsrequest import create_request_object, prepare_request_dict
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from sandbox import constraints, requests, shapes

OPERATIONS = [
    ("elbv2", "CreateLoadBalancer"),
    ("elbv2", "CreateTargetGroup"),
    ("elbv2", "CreateListener"),
    ("elbv2", "CreateRule"),
    ("elbv2", "ModifyTargetGroup"),
    ("elbv2", "RegisterTargets"),
    ("elbv2", "DescribeLoadBalancers"),
    ("ec2", "CreateSecurityGroup"),
    ("ec2", "AuthorizeSecurityGroupIngress"),
    ("ec2", "CreateSubnet"),
    ("ec2", "CreateTags"),
    ("ec2", "DescribeNetworkInterfaces"),
    ("ec2", "DescribeSubnets"),
    ("ecs", "CreateService"),
    ("ecs", "RegisterTaskDefinition"),
    ("ecs", "RunTask"),
    ("ecs", "UpdateService"),
    ("ecs", "DescribeServices"),
    ("ecs", "ExecuteCommand"),
    ("ecr", "CreateRepository"),
    ("ecr", "DescribeImages"),
    ("ecr", "PutImage"),
    ("ecr", "BatchDeleteImage"),
    ("rds", "CreateDBInstance"),
    ("rds", "ModifyDBParameterGroup"),
    ("rds", "DescribeDBInstances"),
    ("rds", "AddTagsToResource"),
    ("secretsmanager", "CreateSecret"),
    ("secretsmanager", "GetSecretValue"),
    ("secretsmanager", "ListSecrets"),
    ("iam", "CreateRole"),
    ("iam", "CreatePolicy"),
    ("iam", "TagRole"),
    ("sts", "AssumeRole"),
    ("sts", "AssumeRoleWithWebIdentity"),
    ("logs", "PutLogEvents"),
    ("logs", "FilterLogEvents"),
    ("logs", "PutMetricFilter"),
    ("cloudwatch", "PutMetricAlarm"),
    ("cloudwatch", "GetMetricData"),
    ("cloudwatch", "PutMetricData"),
    ("cloudtrail", "LookupEvents"),
    ("config", "ListDiscoveredResources"),
    ("config", "GetResourceConfigHistory"),
    ("events", "PutRule"),
    ("events", "PutTargets"),
    ("events", "PutEvents"),
    ("sns", "Publish"),
    ("sns", "Subscribe"),
    ("sqs", "SendMessage"),
    ("kms", "CreateKey"),
    ("kms", "Encrypt"),
    ("ssm", "PutParameter"),
    ("s3", "PutBucketVersioning"),
    ("s3", "PutBucketTagging"),
    ("s3", "PutBucketOwnershipControls"),
    ("s3", "PutBucketEncryption"),
    ("s3", "DeleteObjects"),
]
# For patterns: one of these fits each that the operations above have.
TEXTS = [
    "a",
    "ab",
    "a-name",
    "Some name, with words.",
    "line\nline",
    "Größe",
    "1",
    "123456789012",
    "a" * 40,
    "0.5",
    "/",
    "/path/",
    "{}",
    "AKIAIOSFODNN7EXAMPLE",
    "sha256:" + "a" * 64,
    "arn:aws:iam::123456789012:role/a-role",
    "arn:aws:ecs:us-west-2:123456789012:cluster/a",
    "arn:aws:logs:us-west-2:123456789012:log-group:a",
    "aws.partner/a/b",
    "eyJhbGciOiJub25lIn0",
    "AWS::EC2::VPC",
    "ipv4pool-coip-1",
    "ipam-pool-1",
    "404",
    "HTTP",
    "80",
    "us-west-2",
    "arn:aws:secretsmanager:us-west-2:123456789012:secret:a",
]
ASCII = string.ascii_letters + string.digits + " -_./:"
SIGNED_AS = {"elbv2": "elasticloadbalancing", "cloudwatch": "monitoring"}
LIMITED = settings(
    max_examples=5,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
by_operation = pytest.mark.parametrize(("service", "name"), OPERATIONS)


def operation_of(service: str, name: str) -> OperationModel:
    model = requests.service_model(service)
    assert model is not None
    return model.operation_model(name)


def protocol_of(operation: OperationModel) -> str:
    return str(operation.service_model.metadata["protocol"])


def values(shape: Shape, protocol: str, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values that keep to all that the model says of the shape."""
    low, high = shape.metadata.get("min"), shape.metadata.get("max")
    if isinstance(shape, StructureShape):
        return structures(shape, protocol, depth)
    if isinstance(shape, ListShape):
        # EC2's protocol and XML have no empty list.
        least = max(low or 0, 1 if protocol in ("ec2", "rest-xml") else 0)
        return st.lists(values(shape.member, protocol, depth + 1), min_size=least, max_size=min(high or 99, least + 2))
    if isinstance(shape, MapShape):
        keys, inner = values(shape.key, protocol, depth + 1), values(shape.value, protocol, depth + 1)
        return st.dictionaries(keys, inner, min_size=max(low or 0, 1), max_size=max(low or 0, 2))
    if shape.type_name in ("integer", "long"):
        least = low if low is not None else 0
        return st.integers(least, high if high is not None else least + 1000)
    if shape.type_name in ("float", "double"):
        return st.floats(low if low is not None else 0, high if high is not None else 1e6, allow_nan=False)
    if shape.type_name == "boolean":
        return st.booleans()
    if shape.type_name == "timestamp":
        return st.datetimes()
    if shape.type_name == "blob":
        return st.binary(min_size=low or 0, max_size=(low or 0) + 9)
    return texts(shape)


def texts(shape: Shape) -> st.SearchStrategy[str]:
    if shape.serialization.get("location") == "uri":
        return st.just("bucket")
    low, high = shape.metadata.get("min") or 0, shape.metadata.get("max") or 200
    if "enum" in shape.metadata:
        return st.sampled_from(list(shape.metadata["enum"]))
    if "pattern" in shape.metadata:
        pattern = constraints.compiled(shape.metadata["pattern"])
        assert pattern is not None
        fitting = [text for text in TEXTS if low <= len(text) <= high and pattern.fullmatch(text)]
        assert fitting, f"no text here fits {shape.name}: {shape.metadata}"
        return st.sampled_from(fitting)
    return st.text(ASCII, min_size=low, max_size=min(high, low + 9))


def structures(shape: StructureShape, protocol: str, depth: int) -> st.SearchStrategy[dict[str, Any]]:
    names = [name for name in shape.members if not shape.members[name].serialization.get("eventstream")]
    required = [name for name in names if name in shape.required_members]
    optional = [] if depth > 3 else [name for name in names if name not in required]

    @st.composite
    def build(draw: st.DrawFn) -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(optional), max_size=4, unique=True)) if optional else []
        if shape.metadata.get("union") and not required:
            chosen = chosen[:1]
        if not required and not chosen and depth and names:
            # An empty structure is not sent by the Query protocols.
            chosen = names[:1]
        return {name: draw(values(shape.members[name], protocol, depth + 1)) for name in [*required, *chosen]}

    return build()


def sent(operation: OperationModel, parameters: dict[str, Any]) -> requests.ApiRequest:
    """The request as boto3 would write it, read by the front door."""
    service = operation.service_model.service_name
    protocol = protocol_of(operation)
    written = create_serializer(protocol, include_validation=False).serialize_to_request(parameters, operation)
    prepare_request_dict(written, "http://127.0.0.1", context={}, user_agent="test")
    prepared = create_request_object(written).prepare()
    headers = {
        name.lower(): str(value, "latin-1") if isinstance(value, bytes) else str(value)
        for name, value in prepared.headers.items()
    }
    scope = f"A/20260101/us-west-2/{SIGNED_AS.get(service, service)}/aws4_request"
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={scope}, Signature=x"
    body = prepared.body or b""
    path, _, query = prepared.url.removeprefix("http://127.0.0.1").partition("?")
    found = requests.parse(
        prepared.method, path or "/", query, headers, body.encode() if isinstance(body, str) else bytes(body)
    )
    assert found is not None
    assert (found.service, found.operation) == (service, operation.name)
    return found


@functools.cache
def parameters_of(service: str, name: str) -> st.SearchStrategy[dict[str, Any]]:
    operation = operation_of(service, name)
    assert isinstance(operation.input_shape, StructureShape)
    return structures(operation.input_shape, protocol_of(operation), 0)


@by_operation
def test_what_boto3_lets_through_and_the_model_allows_is_not_refused(service: str, name: str) -> None:
    operation = operation_of(service, name)

    @LIMITED
    @given(parameters_of(service, name))
    def check(parameters: dict[str, Any]) -> None:
        assume(not ParamValidator().validate(parameters, operation.input_shape).has_errors())
        assert shapes.refusal(sent(operation, parameters)) is None

    check()


def breaks(shape: Shape, value: Any, enforced: Any, protocol: str, top: bool = True) -> Iterator[Any]:
    """The value with one constraint broken, once for each that can be."""
    if isinstance(shape, StructureShape):
        for name in value:
            if name in shape.required_members and "missing" in enforced and (top or len(value) > 1):
                yield {key: given for key, given in value.items() if key != name}
            for broken in breaks(shape.members[name], value[name], enforced, protocol, False):
                yield {**value, name: broken}
    elif isinstance(shape, ListShape):
        if "length" in enforced and value and (most := shape.metadata.get("max")) and most < 100:
            yield [copy.deepcopy(value[0]) for _ in range(most + 1)]
        for number, item in enumerate(value):
            for broken in breaks(shape.member, item, enforced, protocol, False):
                yield [*value[:number], broken, *value[number + 1 :]]
    elif isinstance(shape, MapShape):
        for key, item in value.items():
            for broken in breaks(shape.value, item, enforced, protocol, False):
                yield {**value, key: broken}
    elif shape.type_name == "string":
        yield from broken_texts(shape, enforced)
        if protocol == "json":
            yield from (5, True, ["a"], {"a": "b"})
    elif shape.type_name == "boolean" and protocol == "json":
        yield "perhaps"
    elif shape.type_name in ("integer", "long"):
        if protocol in ("json", "query", "ec2"):
            yield "many"
        if "range" in enforced:
            yield from (shape.metadata[end] + step for end, step in (("min", -1), ("max", 1)) if end in shape.metadata)


def broken_texts(shape: Shape, enforced: Any) -> Iterator[str]:
    if "enum" in shape.metadata and "enum" in enforced:
        yield "no such value"
    if "length" in enforced and (most := shape.metadata.get("max")) and most < 5000:
        yield "a" * (most + 1)
    if "pattern" in shape.metadata and "pattern" in enforced:
        pattern = constraints.compiled(shape.metadata["pattern"])
        yield from (text for text in ("<\x7f>", "\u0001", "") if pattern and not pattern.fullmatch(text))


@by_operation
def test_what_breaks_a_constraint_is_refused(service: str, name: str) -> None:
    operation = operation_of(service, name)
    shape = operation.input_shape
    assert isinstance(shape, StructureShape)
    protocol = protocol_of(operation)
    enforced = {"missing", "enum"} if service == "s3" else shapes.DIALECTS[service].enforced
    seen = 0

    @LIMITED
    @given(parameters_of(service, name), st.data())
    def check(parameters: dict[str, Any], data: st.DataObject) -> None:
        nonlocal seen
        if service == "s3":
            payload = str(shape.serialization["payload"])
            inner = parameters.get(payload)
            assume(inner is not None)
            broken = [
                {**parameters, payload: bad} for bad in breaks(shape.members[payload], inner, enforced, protocol, False)
            ]
        else:
            broken = list(breaks(shape, parameters, enforced, protocol))
        assume(broken)
        bad = data.draw(st.sampled_from(broken))
        request = sent(operation, bad)
        answer = shapes.refusal(request)
        assert answer is not None, request.parameters
        assert answer.code
        assert 400 <= answer.status < 500
        seen += 1

    check()
    assert seen


HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "authorization": st.sampled_from(
            [
                f"AWS4-HMAC-SHA256 Credential=A/20260101/us-west-2/{service}/aws4_request"
                for service in ("s3", "ecs", "ec2", "rds", "iam", "lambda", "route53", "monitoring", "../x", "é")
            ]
        )
        | st.text(max_size=50),
        "content-type": st.sampled_from(
            ["application/x-www-form-urlencoded", "application/x-amz-json-1.1", "text/xml"]
        ),
        "x-amz-target": st.sampled_from(["Logs_20140328.PutLogEvents", "AmazonSSM.PutParameter", "AmazonSSM.", "."])
        | st.text(max_size=30),
        "smithy-protocol": st.just("rpc-v2-cbor"),
    },
)
BODIES = (
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ).map(lambda value: repr(value).encode("utf-8", "replace"))
    | st.lists(
        st.tuples(
            st.sampled_from(["Action", "Version", "Filter.1.Name", "Tags.member.1", "Tags.member.x.Key", "A.1.2.3"]),
            st.sampled_from(["CreateTags", "DescribeVpcs", "2016-11-15", "2010-05-08", "CreateRole", "x", "%ff", ""]),
        ),
        max_size=6,
    ).map(lambda pairs: "&".join(f"{name}={value}" for name, value in pairs).encode())
)


@settings(max_examples=400, deadline=None, database=None, derandomize=True)
@given(
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "FOO"]),
    st.sampled_from(["/", "/b", "/b/k", "/%ff%fe", "/service/GraniteServiceVersion20100801/operation/PutMetricData"]),
    st.sampled_from(["", "versioning", "list-type=2&max-keys=x", "Action=ListUsers&Version=2010-05-08", "%ff&=&&"]),
    HEADERS,
    BODIES,
)
def test_whatever_is_sent_is_read_or_refused(
    method: str, path: str, query: str, headers: dict[str, str], body: bytes
) -> None:
    request = requests.parse(method, path, query, headers, body)
    answer = shapes.refusal(request) if request is not None else None
    assert answer is None or (answer.code and 400 <= answer.status < 500)
