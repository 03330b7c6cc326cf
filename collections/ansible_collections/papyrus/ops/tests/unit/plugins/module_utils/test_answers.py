# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is no answer of AWS is asked for again or fails: it is never "nothing found", and never "does not exist"."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _answers, _aws
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from wire_aws import SESSION

PAGE = b"<html>\r\n<head><title>Sign in</title></head>\r\n<body>the guests' network</body>\r\n</html>\r\n"
DOCTYPE = b"<!DOCTYPE html>\n<html><head><meta charset=utf-8><title>502</title></head></html>"
EC2_NS = "http://ec2.amazonaws.com/doc/2016-11-15/"
GROUPS = (
    f'<DescribeSecurityGroupsResponse xmlns="{EC2_NS}"><requestId>r-1</requestId><securityGroupInfo>'
    "<item><groupId>sg-1</groupId></item></securityGroupInfo></DescribeSecurityGroupsResponse>"
).encode()
BALANCERS = (
    b'<DescribeLoadBalancersResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">'
    b"<DescribeLoadBalancersResult><LoadBalancers><member><LoadBalancerName>one</LoadBalancerName></member>"
    b"</LoadBalancers></DescribeLoadBalancersResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>"
    b"</DescribeLoadBalancersResponse>"
)
BUCKETS = b"<ListAllMyBucketsResult><Buckets><Bucket><Name>one</Name></Bucket></Buckets></ListAllMyBucketsResult>"
CLUSTERS = b'{"clusterArns": ["arn:one"]}'
CASES = {
    "ec2": ("describe_security_groups", "SecurityGroups", GROUPS),
    "elbv2": ("describe_load_balancers", "LoadBalancers", BALANCERS),
    "s3": ("list_buckets", "Buckets", BUCKETS),
    "ecs": ("list_clusters", "clusterArns", CLUSTERS),
}


class Wire:
    """A real client whose answers are given: (status, headers, body), the last of them for ever."""

    def __init__(self, service: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("botocore.endpoint.time.sleep", lambda seconds: None)
        config = _aws.retry_config(retries={"mode": "standard", "total_max_attempts": 3})
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-west-2"}
        self.client = _answers.only_whole_answers(SESSION.create_client(service, config=config, **keys))
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.asked = 0
        self.client.meta.events.register("before-send", self._answer)

    def _answer(self, request: Any, **_more: Any) -> AWSResponse:
        self.asked += 1
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        given = {"content-length": str(len(body)), **headers}
        return AWSResponse(request.url, status, HTTPHeaders.from_dict(given), _Raw(body))


class _Raw:
    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_more: Any, **_named: Any) -> Iterator[bytes]:
        yield self._body


def failure(wire: Wire, operation: str, **parameters: Any) -> _aws.AwsFailure:
    with pytest.raises(_aws.AwsFailure) as failed, _aws.aws_call(operation):
        getattr(wire.client, operation)(**parameters)
    return failed.value


@pytest.mark.parametrize("service", CASES)
@pytest.mark.parametrize(
    ("headers", "body"),
    [({}, PAGE), ({}, DOCTYPE), ({}, b""), ({"content-length": "9000"}, None), ({"content-length": "9000"}, b"")],
)
def test_what_is_no_answer_is_asked_for_again(
    service: str, headers: dict[str, str], body: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation, member, whole = CASES[service]
    wire = Wire(service, monkeypatch)
    wire.answers = [(200, headers, whole[:-5] if body is None else body), (200, {}, whole)]
    assert len(getattr(wire.client, operation)()[member]) == 1
    assert wire.asked == 2


@pytest.mark.parametrize("service", CASES)
@pytest.mark.parametrize(
    ("headers", "body", "code"),
    [
        ({}, PAGE, "HTTPClientError"),
        ({}, b"", "HTTPClientError"),
        ({"content-length": "9000"}, b"<", "ConnectionClosedError"),
    ],
)
def test_C7_what_is_no_answer_is_never_nothing_found(
    service: str, headers: dict[str, str], body: bytes, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(service, monkeypatch)
    wire.answers = [(200, headers, body)]
    failed = failure(wire, CASES[service][0])
    assert (failed.code, failed.unanswered, failed.missing, wire.asked) == (code, True, False, 3)
    assert "network, proxy" in failed.hint


@pytest.mark.parametrize("service", ["ec2", "elbv2", "ecs"])
@pytest.mark.parametrize("body", [PAGE, DOCTYPE, b"", b"no such page"])
def test_C7_a_page_that_is_not_found_is_not_a_thing_that_aws_does_not_have(
    service: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(service, monkeypatch)
    wire.answers = [(404, {}, body)]
    failed = failure(wire, CASES[service][0])
    assert (failed.code, failed.missing, wire.asked) == ("HTTPClientError", False, 1)
    assert "status 404" in str(failed)


def test_C7_a_head_without_a_request_id_is_not_of_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire("s3", monkeypatch)
    wire.answers = [(404, {}, b"")]
    assert not failure(wire, "head_object", Bucket="bucket", Key="key").missing
    wire.answers = [(404, {"x-amz-request-id": "r-1"}, b"")]
    assert failure(wire, "head_object", Bucket="bucket", Key="key").missing


@pytest.mark.parametrize("service", CASES)
@pytest.mark.parametrize("body", [PAGE, DOCTYPE, b"", b"busy"])
def test_a_server_in_trouble_is_asked_again_whatever_it_says(
    service: str, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    operation, member, whole = CASES[service]
    wire = Wire(service, monkeypatch)
    wire.answers = [(503, {}, body), (200, {}, whole)]
    assert len(getattr(wire.client, operation)()[member]) == 1
    wire.answers = [(503, {}, body)]
    assert failure(wire, operation).unanswered


@pytest.mark.parametrize(
    ("headers", "body", "answers"),
    [
        ({"smithy-protocol": "rpc-v2-cbor"}, b"\xa0", True),
        ({"smithy-protocol": "rpc-v2-cbor"}, b"", False),
        ({}, PAGE, False),
    ],
)
def test_cbor_is_known_by_its_header(headers: dict[str, str], body: bytes, answers: bool) -> None:
    operation = SESSION.get_service_model("cloudwatch").operation_model("DescribeAlarms")

    class Cbor:
        output_shape, http, has_event_stream_output = operation.output_shape, operation.http, False
        service_model = types.SimpleNamespace(resolved_protocol="smithy-rpc-v2-cbor")

    assert (_answers.no_answer(Cbor, 200, HTTPHeaders.from_dict(headers), body) == "") is answers


TASK = {"family": "f", "containerDefinitions": [{"name": "app", "image": "i"}]}
THROTTLED = b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'
REGISTERED = b'{"taskDefinition": {"family": "f"}}'


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [(500, {}, b'{"__type": "ServerException", "message": "no"}'), (503, {}, PAGE), (200, {}, PAGE),
     (200, {"content-length": "9000"}, REGISTERED), (200, {}, b"")],
)  # fmt: skip
def test_F2_a_change_that_would_be_made_twice_is_not_tried_again_by_the_client(
    status: int, headers: dict[str, str], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire("ecs", monkeypatch)
    wire.answers = [(status, headers, body)]
    assert failure(wire, "register_task_definition", **TASK).unanswered
    assert wire.asked == 1
    assert failure(wire, "update_service", service="s").unanswered
    assert wire.asked == 2


@pytest.mark.parametrize(
    ("error", "asked"), [(ConnectionClosedError, 1), (ReadTimeoutError, 1), (EndpointConnectionError, 2)]
)
def test_F2_a_lost_connection_is_not_tried_again_unless_it_never_was_one(
    error: type[Exception], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, came = Wire("ecs", monkeypatch), []
    wire.answers = [(200, {}, REGISTERED)]

    def lost(**_more: Any) -> None:
        came.append(1)
        if len(came) == 1:
            raise error(endpoint_url="https://ecs")

    wire.client.meta.events.register_first("before-send", lost)
    if asked == 1:
        assert failure(wire, "register_task_definition", **TASK).unanswered
    else:
        assert wire.client.register_task_definition(**TASK)["taskDefinition"]
    assert len(came) == asked


def test_F2_what_aws_refused_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire("ecs", monkeypatch)
    wire.answers = [(400, {}, THROTTLED), (200, {}, REGISTERED)]
    assert wire.client.register_task_definition(**TASK)["taskDefinition"] == {"family": "f"}
    wire.answers = [(500, {}, b""), (200, {}, CLUSTERS)]
    assert wire.client.list_clusters()["clusterArns"]


def test_errors_and_empty_answers_of_aws_are_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = (
        b"<Response><Errors><Error><Code>InvalidGroup.NotFound</Code><Message>no</Message></Error></Errors></Response>"
    )
    ec2 = Wire("ec2", monkeypatch)
    ec2.answers = [(400, {}, missing)]
    assert failure(ec2, "describe_security_groups", GroupIds=["sg-1"]).missing
    ecs = Wire("ecs", monkeypatch)
    ecs.answers = [(400, {}, b'{"__type": "com.amazon#ClusterNotFoundException", "message": "no"}')]
    assert failure(ecs, "describe_services", cluster="c", services=["s"]).missing
    logs = Wire("logs", monkeypatch)  # an operation without an output
    logs.answers = [(200, {}, b"")]
    assert list(logs.client.put_retention_policy(logGroupName="g", retentionInDays=1)) == ["ResponseMetadata"]
    s3 = Wire("s3", monkeypatch)  # whose output is in headers, and a body that is streamed
    s3.answers = [(200, {"etag": '"e"'}, b"")]
    assert s3.client.put_object(Bucket="bucket", Key="key", Body=b"x")["ETag"] == '"e"'
    s3.answers = [(200, {}, PAGE)]
    assert s3.client.get_object(Bucket="bucket", Key="key")["Body"] is not None
    assert (ec2.asked, ecs.asked, logs.asked, s3.asked) == (1, 1, 1, 2)
