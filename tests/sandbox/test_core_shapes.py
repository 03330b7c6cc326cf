"""Request shapes: what AWS refuses before it looks at any record, in each service's words; and that nothing else is."""

from __future__ import annotations

import contextlib
import json
import os
from typing import Any

import boto3
import pytest
from botocore.config import Config

from sandbox import constraints, requests, shapes
from sandbox.responses import error_code
from tests.sandbox.support import Sandbox, refused

FORM = "application/x-www-form-urlencoded; charset=utf-8"
XML_WORDS = "The XML you provided was not well-formed"


def careless(sandbox: Sandbox, service: str) -> Any:
    """A client that sends what it is given."""
    return boto3.client(
        service,
        endpoint_url=sandbox.endpoint,
        region_name=sandbox.facts["region"],
        aws_access_key_id=sandbox.facts["access_key_id"],
        aws_secret_access_key=sandbox.facts["secret_access_key"],
        config=Config(retries={"total_max_attempts": 1}, parameter_validation=False),
    )


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "code", "words"),
    [
        # ELBv2, IAM, STS, SNS, CloudWatch: the framework's words under ValidationError.
        (
            "elbv2",
            "create_target_group",
            {"Name": "a", "Port": 0},
            "ValidationError",
            "1 validation error detected: Value '0' at 'port' failed to satisfy constraint: "
            "Member must have value greater than or equal to 1",
        ),
        (
            "elbv2",
            "create_target_group",
            {"Protocol": "SMTP", "Port": 70000},
            "ValidationError",
            "3 validation errors detected: Value null at 'name' failed to satisfy constraint: Member must not be null; "
            "Value 'SMTP' at 'protocol' failed to satisfy constraint: Member must satisfy enum value set: [HTTP,",
        ),
        (
            "iam",
            "create_role",
            {"RoleName": "a b", "AssumeRolePolicyDocument": "{}"},
            "ValidationError",
            "pattern: [\\w+=",
        ),
        (
            "iam",
            "create_role",
            {"RoleName": "a" * 65, "AssumeRolePolicyDocument": "{}"},
            "ValidationError",
            "at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64",
        ),
        (
            "sts",
            "assume_role",
            {"RoleArn": "arn:aws:iam::123456789012:role/a", "RoleSessionName": "a"},
            "ValidationError",
            "Value 'a' at 'roleSessionName' failed to satisfy constraint: "
            "Member must have length greater than or equal to 2",
        ),
        ("sns", "create_topic", {}, "ValidationError", "Value null at 'name'"),
        (
            "cloudwatch",
            "describe_alarms",
            {"MaxRecords": 101},
            "ValidationError",
            "Value '101' at 'maxRecords' failed to satisfy constraint: "
            "Member must have value less than or equal to 100",
        ),
        # EC2 and RDS: words of their own.
        ("ec2", "create_subnet", {}, "MissingParameter", "The request must contain the parameter VpcId"),
        (
            "ec2",
            "describe_subnets",
            {"MaxResults": 3},
            "InvalidParameterValue",
            "Value ( 3 ) for parameter maxResults is invalid. Expecting a value greater than 5.",
        ),
        (
            "ec2",
            "describe_vpcs",
            {"MaxResults": "many"},
            "InvalidParameterValue",
            "Value (many) for parameter maxResults",
        ),
        (
            "rds",
            "create_db_instance",
            {"DBInstanceIdentifier": "a"},
            "InvalidParameterValue",
            "The parameter DBInstanceClass must be provided and must not be blank.",
        ),
        # JSON services.
        ("ecs", "run_task", {"cluster": "a"}, "InvalidParameterException", "TaskDefinition can not be blank."),
        (
            "ecs",
            "run_task",
            {"taskDefinition": "a", "launchType": "MOON"},
            "InvalidParameterException",
            "Value 'MOON' at 'launchType' failed to satisfy constraint: Member must satisfy enum value set: [EC2,",
        ),
        (
            "ecr",
            "create_repository",
            {"repositoryName": "Not_Lower"},
            "InvalidParameterException",
            "Invalid parameter at 'repositoryName' failed to satisfy constraint: 'must satisfy regular expression '",
        ),
        ("logs", "create_log_group", {}, "InvalidParameterException", "Value null at 'logGroupName'"),
        (
            "logs",
            "create_log_group",
            {"logGroupName": "a b"},
            "InvalidParameterException",
            "Value 'a b' at 'logGroupName' failed to satisfy constraint: "
            "Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+",
        ),
        (
            "secretsmanager",
            "put_secret_value",
            {"SecretId": "", "SecretString": "s"},
            "ValidationException",
            "Value '' at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ),
        # What is sensitive is not repeated.
        (
            "secretsmanager",
            "create_secret",
            {"Name": "n", "SecretString": "hunter2" * 10_000},
            "ValidationException",
            "1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have",
        ),
        ("kms", "describe_key", {"KeyId": ""}, "ValidationException", "Value '' at 'keyId'"),
        ("events", "put_rule", {"Name": "a b"}, "ValidationException", "Value 'a b' at 'name'"),
        ("ssm", "get_parameters", {"Names": []}, "ValidationException", "Value '[]' at 'names'"),
        (
            "cloudtrail",
            "lookup_events",
            {"MaxResults": 51},
            "InvalidMaxResultsException",
            "A max results value of 51 is invalid. Specify max results between 1 and 50.",
        ),
        (
            "config",
            "list_discovered_resources",
            {"resourceType": "AWS::No::Thing"},
            "ValidationException",
            "Value 'AWS::No::Thing' at 'resourceType' failed to satisfy constraint: Member must satisfy enum value set",
        ),
        ("sqs", "get_queue_attributes", {}, "MissingParameter", "The request must contain the parameter QueueUrl."),
        # Values within lists and maps.
        (
            "ecr",
            "tag_resource",
            {"resourceArn": "arn:aws:ecr:us-west-2:123456789012:repository/a", "tags": [{"Value": "b"}]},
            "InvalidParameterException",
            "Invalid parameter at 'tags.1.member.key' failed to satisfy constraint: 'must not be null'",
        ),
        (
            "logs",
            "create_log_group",
            {"logGroupName": "a", "tags": {"k" * 129: "v"}},
            "InvalidParameterException",
            "Map keys must satisfy constraint: [Member must have length less than or equal to 128]",
        ),
        (
            "rds",
            "describe_db_instances",
            {"Filters": [{"Name": "engine"}]},
            "InvalidParameterValue",
            "The parameter Values must be provided",
        ),
        # S3's documents.
        (
            "s3",
            "put_bucket_versioning",
            {"Bucket": "bucket", "VersioningConfiguration": {"Status": "On"}},
            "MalformedXML",
            "",
        ),
        (
            "s3",
            "list_objects_v2",
            {"Bucket": "bucket", "MaxKeys": "x"},
            "InvalidArgument",
            "Provided max-keys not an integer",
        ),
    ],
)
def test_each_service_says_what_is_wrong_in_its_own_words(
    sandbox: Sandbox, service: str, operation: str, parameters: dict[str, Any], code: str, words: str
) -> None:
    with refused(code, words, 400):
        getattr(careless(sandbox, service), operation)(**parameters)


def signed(service: str) -> dict[str, str]:
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential=AKIA/20260101/us-west-2/{service}/aws4_request, Signature=x"}


def target(service: str, operation: str = "ListClusters") -> dict[str, str]:
    prefix = {"ecs": "AmazonEC2ContainerServiceV20141113", "logs": "Logs_20140328"}[service]
    return {"X-Amz-Target": f"{prefix}.{operation}", "Content-Type": "application/x-amz-json-1.1"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", ""),
        (b"\xff\xfe{}", ""),
        (b"[]", "Expected structure or null"),
        (b'{"maxResults": NaN}', ""),
        (b'{"cluster": "\\ud800"}', ""),
        (b"[" * 10_000, ""),
        (b'{"maxResults":' + b"9" * 5000 + b"}", ""),
        (b'{"maxResults": 4294967296}', "NUMBER_VALUE can not be converted to an Integer"),
        (b'{"maxResults": "5"}', "STRING_VALUE can not be converted to an Integer"),
        (b'{"nextToken": 5}', "NUMBER_VALUE can not be converted to a String"),
        (b'{"nextToken": true}', "TRUE_VALUE can not be converted to a String"),
        (b'{"nextToken": [1]}', "Start of list found where not expected"),
        (b'{"nextToken": {"a": 1}}', "Start of structure or map found where not expected."),
    ],
)
def test_a_json_service_refuses_what_it_cannot_read(sandbox: Sandbox, body: bytes, words: str) -> None:
    status, headers, answer = sandbox.http("POST", "/", body, {**signed("ecs"), **target("ecs")})
    document = json.loads(answer)
    assert (status, document["__type"], document["message"]) == (400, "SerializationException", words)
    assert headers["content-type"] == "application/x-amz-json-1.1"
    assert headers["x-amzn-requestid"]


@pytest.mark.parametrize("null", [b"null", b""])
def test_a_member_that_is_null_is_a_member_that_is_absent(sandbox: Sandbox, null: bytes) -> None:
    body = b'{"maxResults": null, "nextToken": null, "ofAnotherTime": 1}' if null else null
    assert sandbox.http("POST", "/", body, {**signed("ecs"), **target("ecs")})[0] == 200


@pytest.mark.parametrize(
    ("service", "body", "code", "words"),
    [
        (
            "ec2",
            "Action=NoSuch&Version=2016-11-15",
            "InvalidAction",
            "The action NoSuch is not valid for this web service.",
        ),
        (
            "iam",
            "Action=NoSuch&Version=2010-05-08",
            "InvalidAction",
            "Could not find operation NoSuch for version 2010-05-08",
        ),
        ("rds", "Version=2014-10-31", "MissingAction", "missing an action"),
        (
            "ec2",
            "Action=DescribeVpcs&Version=2016-11-15&Colour=red",
            "UnknownParameter",
            "The parameter Colour is not recog",
        ),
        ("ec2", "Action=DescribeVpcs&Version=2016-11-15&Filter.1.Nme=a", "UnknownParameter", "Filter.1.Nme"),
        (
            "elasticloadbalancing",
            "Action=DescribeLoadBalancers&Version=2015-12-01&Names.1=a",
            "MalformedInput",
            "Unexpected list element termination",
        ),
        (
            "elasticloadbalancing",
            "Action=DescribeLoadBalancers&Version=2015-12-01&PageSize=few",
            "MalformedInput",
            'For input string: "few"',
        ),
        (
            "iam",
            "Action=CreatePolicyVersion&Version=2010-05-08&PolicyArn=arn:aws:iam::1:policy/a&PolicyDocument=b&SetAsDefault=yes",
            "MalformedInput",
            "boolean must follow xsd1.1 definition",
        ),
        ("sts", "Action=GetCallerIdentity&Version=2011-06-15&X=%ff", "MalformedQueryString", "syntax error"),
        ("iam", "Action=ListRoles&Version=2010-05-08&" + "a." * 5000 + "=1", "MalformedInput", ""),
    ],
)
def test_a_query_service_refuses_what_it_cannot_read(
    sandbox: Sandbox, service: str, body: str, code: str, words: str
) -> None:
    status, headers, answer = sandbox.http("POST", "/", body.encode(), {**signed(service), "Content-Type": FORM})
    assert status == 400
    assert f"<Code>{code}</Code>" in answer.decode()
    assert words.replace('"', "&quot;") in answer.decode() or words in answer.decode()
    assert headers["content-type"] == "text/xml"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        (target("ecs", "NoSuch"), 400, "UnknownOperationException"),
        ({**target("ecs"), "Content-Type": "text/plain"}, 400, "UnknownOperationException"),
        ({**target("ecs"), "X-Amz-Target": "Nonsense.ListClusters"}, 400, "UnknownOperationException"),
        ({}, 400, "UnknownOperationException"),
    ],
)
def test_an_operation_that_does_not_exist_is_unknown(
    sandbox: Sandbox, headers: dict[str, str], status: int, code: str
) -> None:
    answered, _, body = sandbox.http("POST", "/", b"{}", {**signed("ecs"), **headers})
    assert (answered, json.loads(body)["__type"]) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("PUT", "/documents?versioning", b"<VersioningConfiguration><Status>Enabled", 400, "MalformedXML"),
        ("PUT", "/documents?versioning", b"", 400, "MissingRequestBodyError"),
        ("POST", "/documents?delete", b"<Delete></Delete>", 400, "MalformedXML"),
        ("DELETE", "/documents?versioning", b"", 405, "MethodNotAllowed"),
    ],
)
def test_s3_refuses_documents_and_methods(
    sandbox: Sandbox, method: str, path: str, body: bytes, status: int, code: str
) -> None:
    with contextlib.suppress(sandbox.client("s3").exceptions.BucketAlreadyOwnedByYou):
        sandbox.client("s3").create_bucket(
            Bucket="documents", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
        )
    answered, _, answer = sandbox.http(method, path, body, signed("s3"))
    assert (answered, f"<Code>{code}</Code>" in answer.decode()) == (status, True)


def test_nonsense_is_the_senders_fault_and_never_ours(sandbox: Sandbox) -> None:
    nonsense = [b"", b"\xff\xfe\x00", os.urandom(300), b"<a/>", b"=&=&=", b"\x00" * 50, b'{"a":' * 3000, b"\xbf" * 300]
    heads: list[dict[str, str]] = [
        {**signed(service), "Content-Type": kind}
        for service in (
            "ecs",
            "ec2",
            "elasticloadbalancing",
            "rds",
            "iam",
            "sns",
            "monitoring",
            "lambda",
            "s3",
            "none",
            "..",
        )
        for kind in (FORM, "application/x-amz-json-1.1", "text/plain")
    ]
    heads += [target("logs", "PutLogEvents"), {"smithy-protocol": "rpc-v2-cbor", "Content-Type": "application/cbor"}]
    paths = ("/", "/service/GraniteServiceVersion20100801/operation/PutMetricData", "/%ff%fe/k?tagging")
    for head in heads:
        for path in paths:
            for body in nonsense:
                status, headers, answer = sandbox.http("POST", path, body, head)
                assert 400 <= status < 500, (head, path, body, answer)
                assert error_code(headers, answer), (head, path, body, answer)


def test_sqs_still_answers_the_query_protocol(sandbox: Sandbox) -> None:
    body = b"Action=CreateQueue&Version=2012-11-05&QueueName=by-query&Attribute.1.Name=DelaySeconds&Attribute.1.Value=1"
    status, _, answer = sandbox.http("POST", "/", body, {**signed("sqs"), "Content-Type": FORM})
    assert (status, b"by-query" in answer) == (200, True)


def test_every_pattern_of_the_services_that_are_held_to_them_is_one_here() -> None:
    """A pattern that Python cannot read would silently refuse nothing."""
    unreadable = []
    for service in shapes.DIALECTS:
        model = requests.service_model(service)
        assert model is not None, service
        for name in model.shape_names:
            pattern = model.shape_for(name).metadata.get("pattern")
            if pattern is not None and constraints.compiled(pattern) is None:
                unreadable.append((service, name, pattern))
    assert unreadable == []


@pytest.mark.parametrize(
    ("pattern", "text", "fits"),
    [
        (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "Größe 5 東京", True),
        (r"^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$", "a<b", False),
        (r"\p{ASCII}+", "é", False),
        (r"[\w-_]*", "a-b_c", True),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*", "a\U0001f600", True),
        (r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*", "a\x01", False),
    ],
)
def test_patterns_mean_what_they_mean_to_java(pattern: str, text: str, fits: bool) -> None:
    compiled = constraints.compiled(pattern)
    assert compiled is not None
    assert bool(compiled.fullmatch(text)) is fits
