"""The front door: requests are understood, recorded without secrets, made to fail on demand; side doors are shut."""

from __future__ import annotations

import http.client
import json
import time

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.sandbox.support import Sandbox

SECRET = "hunter2-do-not-keep"


def test_calls_are_recorded_as_boto3_named_them(sandbox: Sandbox) -> None:
    start = max((call["n"] for call in sandbox.calls()), default=0)
    sandbox.client("ec2").describe_vpcs(Filters=[{"Name": "tag:a", "Values": ["b", "c"]}], MaxResults=5)
    s3 = sandbox.client("s3")
    s3.create_bucket(Bucket="recorded", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    s3.put_object(Bucket="recorded", Key="a/b c", Body=b"x", Tagging="k=v")
    with pytest.raises(ClientError):
        sandbox.client("elbv2").describe_target_health(
            TargetGroupArn="arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/none/0123456789abcdef"
        )
    sandbox.client("sts").get_caller_identity()
    calls = [(c["service"], c["operation"], c["status"], c["error_code"], c["read_only"]) for c in sandbox.calls(start)]
    assert calls == [
        ("ec2", "DescribeVpcs", 200, None, True),
        ("s3", "CreateBucket", 200, None, False),
        ("s3", "PutObject", 200, None, False),
        ("elbv2", "DescribeTargetHealth", 400, "TargetGroupNotFound", True),
        ("sts", "GetCallerIdentity", 200, None, True),
    ]
    recorded = sandbox.calls(start)
    assert recorded[0]["parameters"] == {"Filters": [{"Name": "tag:a", "Values": ["b", "c"]}], "MaxResults": 5}
    assert recorded[2]["parameters"]["Key"] == "a/b c"
    assert recorded[0]["access_key_id"] == "test"
    assert "Boto3/" in recorded[0]["user_agent"]


def test_the_record_has_no_secret(sandbox: Sandbox) -> None:
    secrets = sandbox.client("secretsmanager")
    secrets.create_secret(Name="recorded-secret", SecretString=SECRET)
    secrets.put_secret_value(SecretId="recorded-secret", SecretString=json.dumps({"password": SECRET}))
    sandbox.client("ecs").register_task_definition(
        family="secretive",
        containerDefinitions=[
            {"name": "a", "image": "b", "memory": 64, "environment": [{"name": "DB_PASSWORD", "value": SECRET}]}
        ],
    )
    with pytest.raises(ClientError):
        sandbox.client("rds").modify_db_instance(DBInstanceIdentifier="none", MasterUserPassword=SECRET)
    operations = {call["operation"] for call in sandbox.calls()}
    assert {"CreateSecret", "PutSecretValue", "RegisterTaskDefinition", "ModifyDBInstance"} <= operations
    state = sandbox.root / ".sandbox"
    assert SECRET not in json.dumps(sandbox.calls())
    assert SECRET not in (state / "state" / "calls.jsonl").read_text()
    assert SECRET not in (state / "sandbox.log").read_text()


@pytest.mark.parametrize(
    ("service", "operation", "call"),
    [
        ("ec2", "DescribeVpcs", "describe_vpcs"),
        ("elbv2", "DescribeLoadBalancers", "describe_load_balancers"),
        ("ecs", "ListClusters", "list_clusters"),
        ("s3", "ListBuckets", "list_buckets"),
        ("iam", "ListRoles", "list_roles"),
    ],
)
def test_a_fault_reaches_the_client_in_its_protocol(
    no_faults: Sandbox, service: str, operation: str, call: str
) -> None:
    no_faults.faults(
        {"service": service, "operation": operation, "times": 1, "status": 418, "code": "Teapot", "message": "short"}
    )
    with pytest.raises(ClientError) as raised:
        getattr(no_faults.client(service), call)()
    error = raised.value.response
    assert (error["Error"]["Code"], error["Error"]["Message"]) == ("Teapot", "short")
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 418
    getattr(no_faults.client(service), call)()
    assert json.loads(no_faults.http("GET", "/_sandbox/faults")[2]) == []


def test_a_fault_can_be_for_certain_parameters_and_only_slow(no_faults: Sandbox) -> None:
    no_faults.faults(
        {"service": "ecs", "operation": "CreateCluster", "match": {"clusterName": "bad-*"}, "code": "ServerException"},
        {"service": "ecs", "operation": "ListClusters", "times": 1, "delay_seconds": 0.7},
    )
    ecs = no_faults.client("ecs")
    ecs.create_cluster(clusterName="good-one")
    for _ in range(2):
        with pytest.raises(ecs.exceptions.ServerException):
            ecs.create_cluster(clusterName="bad-one")
    begun = time.monotonic()
    ecs.list_clusters()
    assert time.monotonic() - begun >= 0.7


def outcomes(sandbox: Sandbox, calls: int) -> str:
    """F for each of so many calls that failed, . for the others."""
    ecs, found = sandbox.client("ecs"), ""
    for _ in range(calls):
        try:
            ecs.list_clusters()
            found += "."
        except ecs.exceptions.ServerException:
            found += "F"
    return found


def test_a_fault_happens_as_often_as_its_probability_says_and_with_a_seed_to_the_same_calls(no_faults: Sandbox) -> None:
    some = {"service": "ecs", "operation": "ListClusters", "code": "ServerException", "probability": 0.3}
    found = []
    for seed in (7, 7, 8):
        no_faults.faults({**some, "seed": seed})
        found.append(outcomes(no_faults, 200))
    assert found[0] == found[1] != found[2]
    assert all(40 <= each.count("F") <= 80 for each in found), found
    # Only those that happened are counted, and who is spared by one fault may meet the next.
    no_faults.faults({**some, "times": 3}, {**some, "probability": 1, "times": 4})
    assert outcomes(no_faults, 60).count("F") == 7


@pytest.mark.parametrize("after", [0, 1, 30])
def test_a_connection_is_cut_in_the_answer_of_a_call_that_happened(no_faults: Sandbox, after: int) -> None:
    no_faults.faults({"service": "ecs", "operation": "CreateCluster", "times": 1, "cut_after": after})
    ecs, last = no_faults.client("ecs"), max((call["n"] for call in no_faults.calls()), default=0)
    if after == 0:
        with pytest.raises(ConnectionClosedError):
            ecs.create_cluster(clusterName=f"cut-{after}")
    else:
        # botocore compares no body with its Content-Length: what it cannot read of the JSON is an empty answer.
        answer = ecs.create_cluster(clusterName=f"cut-{after}")
        assert list(answer) == ["ResponseMetadata"]
    # Another client: this one's connection is just being closed.
    found = no_faults.client("ecs").describe_clusters(clusters=[f"cut-{after}"])
    assert found["clusters"][0]["status"] == "ACTIVE"
    calls = [(call["operation"], call["status"], call["cut"]) for call in no_faults.calls(last)]
    assert calls == [("CreateCluster", 200, True), ("DescribeClusters", 200, False)]


def test_what_comes_before_the_cut_arrives(no_faults: Sandbox) -> None:
    no_faults.faults({"service": "ecs", "operation": "ListClusters", "times": 1, "cut_after": 7})
    with pytest.raises(http.client.IncompleteRead) as caught:
        no_faults.http(
            "POST",
            "/",
            b"{}",
            {
                "Content-Type": "application/x-amz-json-1.1",
                "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters",
                "Authorization": "AWS4-HMAC-SHA256 Credential=test/20260131/us-west-2/ecs/aws4_request, Signature=x",
            },
        )
    assert len(caught.value.partial) == 7


def test_an_answer_shorter_than_the_cut_arrives(no_faults: Sandbox) -> None:
    no_faults.faults({"service": "ecs", "operation": "ListClusters", "cut_after": 1_000_000})
    for _ in range(2):
        assert "clusterArns" in no_faults.client("ecs").list_clusters()


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[1]",
        '[{"service": "ecs"}]',
        *(
            f'[{{"service": "a", "operation": "b", {wrong}}}]'
            for wrong in (
                '"x": 1',
                '"times": 0',
                '"times": true',
                '"seed": 1.5',
                '"cut_after": -1',
                '"probability": 0',
                '"probability": 1.1',
                '"probability": true',
            )
        ),
    ],
)
def test_faults_that_mean_nothing_are_refused_and_change_nothing(no_faults: Sandbox, body: str) -> None:
    no_faults.faults({"service": "ecs", "operation": "Nothing", "code": "X"})
    assert no_faults.http("PUT", "/_sandbox/faults", body.encode())[0] == 400
    assert len(json.loads(no_faults.http("GET", "/_sandbox/faults")[2])) == 1


def test_a_fault_that_is_added_or_taken_out_brings_no_other_back(no_faults: Sandbox) -> None:
    """Whoever reads the list and puts it back with another one brings back what was used up meanwhile."""
    hit = {"service": "ecs", "operation": "ListClusters", "code": "Teapot", "status": 418}
    no_faults.faults({**hit, "times": 1, "label": "first"}, {**hit, "times": 1, "label": "second"})
    with pytest.raises(ClientError):
        no_faults.client("ecs").list_clusters()
    for method, path, body, labels in (
        ("POST", "faults", [{**hit, "label": "third"}], ["second", "third"]),
        ("POST", "faults", [{"service": "ecs"}], []),
        ("DELETE", "faults?text=second", None, ["third"]),
        ("DELETE", "faults?text=nothing-of-it", None, ["third"]),
    ):
        status, dummy, answer = no_faults.http(method, f"/_sandbox/{path}", json.dumps(body).encode() if body else None)
        assert status == (200 if labels else 400)
        assert not labels or [each["label"] for each in json.loads(answer)] == labels
    assert [each["label"] for each in json.loads(no_faults.http("GET", "/_sandbox/faults")[2])] == ["third"]
    assert no_faults.http("POST", "/_sandbox/switches", b"{}")[0] == 405


@pytest.mark.parametrize("path", ["/_ministack/reset", "/_ministack/health", "/_localstack/health", "/health"])
def test_the_emulators_side_doors_are_shut(sandbox: Sandbox, path: str) -> None:
    for method in ("GET", "POST"):
        assert sandbox.http(method, path, b"" if method == "POST" else None)[0] == 404


@pytest.mark.parametrize("path", ["/_sandbox/calls", "/_sandbox/faults", "/"])
def test_a_page_in_a_browser_gets_nothing(sandbox: Sandbox, path: str) -> None:
    status, headers, _ = sandbox.http("GET", path, headers={"Origin": "http://evil.example"})
    assert status == 403
    assert not any(name.startswith("access-control") for name in headers)


def test_an_unknown_key_is_still_the_sandboxs_account(sandbox: Sandbox) -> None:
    identity = boto3.client(
        "sts",
        endpoint_url=sandbox.endpoint,
        region_name="us-west-2",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    ).get_caller_identity()
    assert identity["Account"] == "123456789012"
