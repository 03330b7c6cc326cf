"""What a fault does to an answer on its way, seen by plain HTTP and by an SDK."""

from __future__ import annotations

import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, HTTPClientError

from sandbox.faults import Fault, FaultError

from .support import Sandbox

GATEWAY = "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n</html>"
ECS = {"service": "ecs", "operation": "CreateCluster", "times": 1}
LIST = {"service": "ecs", "operation": "ListClusters", "times": 1}


def raw(sandbox: Sandbox, target: str = "ListClusters", body: bytes = b"{}") -> tuple[bytes, float]:
    """(all bytes of an answer until the connection ends or nothing comes for a second, seconds to the first).

    Raises ConnectionResetError.
    """
    address = urlsplit(sandbox.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
        head = (
            f"POST / HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/x-amz-json-1.1\r\n"
            f"X-Amz-Target: AmazonEC2ContainerServiceV20141113.{target}\r\nContent-Length: {len(body)}\r\n"
            "Authorization: AWS4-HMAC-SHA256 Credential=test/20260131/us-west-2/ecs/aws4_request, Signature=x\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        begun, first, answer = time.monotonic(), 0.0, b""
        while True:
            try:
                part = connection.recv(65536)
            except TimeoutError:
                return answer, first
            if not part:
                return answer, first
            first = first or time.monotonic() - begun
            connection.settimeout(1)
            answer += part


def length_and_body(answer: bytes) -> tuple[int, bytes]:
    """(Content-Length, body)."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = dict(line.lower().split(b": ", 1) for line in head.splitlines()[1:])
    return int(lines[b"content-length"]), body


def made(sandbox: Sandbox, name: str) -> bool:
    """Whether the cluster is there."""
    return bool(sandbox.client("ecs").describe_clusters(clusters=[name])["clusters"])


def test_a_page_of_something_between_is_answered_as_it_is(no_faults: Sandbox) -> None:
    no_faults.faults({**LIST, "status": 503, "body": GATEWAY, "content_type": "text/html"})
    answer, _ = raw(no_faults)
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"content-type: text/html" in answer.lower()
    assert length_and_body(answer)[1] == GATEWAY.encode()
    no_faults.faults({**LIST, "status": 500, "body": ""})
    with pytest.raises(ClientError) as raised:
        no_faults.client("ecs").list_clusters()
    assert raised.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500


@pytest.mark.parametrize(
    ("how", "carried_out", "status"),
    [
        ({"status": 503, "body": GATEWAY}, True, 200),
        ({"status": 503, "body": GATEWAY}, False, 503),
        ({"kind": "internal"}, True, 200),
        ({"kind": "internal"}, False, 500),
        ({"cut_after": 0, "reset": True}, True, 200),
        ({"cut_after": 0, "reset": True}, False, 0),
        ({"cut_after": 0}, False, 0),
    ],
)
def test_a_lost_answer_is_of_a_call_that_happened_or_of_one_that_did_not(
    no_faults: Sandbox, how: dict[str, Any], carried_out: bool, status: int
) -> None:
    name = f"lost-{time.monotonic_ns()}"
    last = max((call["n"] for call in no_faults.calls()), default=0)
    no_faults.faults({**ECS, **how, "carried_out": carried_out, "label": "lost"})
    with pytest.raises((ClientError, ConnectionClosedError, HTTPClientError)):
        no_faults.client("ecs").create_cluster(clusterName=name)
    [call] = [call for call in no_faults.calls(last) if call["operation"] == "CreateCluster"]
    assert (call["fault"], call["status"]) == ("lost", status)
    assert call["cut"] is (carried_out or "cut_after" in how)
    assert made(no_faults, name) is carried_out


def test_a_connection_is_reset(no_faults: Sandbox) -> None:
    for more in ({"carried_out": False}, {}):
        no_faults.faults({**LIST, "cut_after": 0, "reset": True, **more})
        with pytest.raises(ConnectionResetError):
            raw(no_faults)
    no_faults.faults({**LIST, "cut_after": 0})
    assert raw(no_faults) == (b"", 0.0)


def test_an_answer_is_late_after_it_happened(no_faults: Sandbox) -> None:
    name = f"late-{time.monotonic_ns()}"
    no_faults.faults({**ECS, "late_seconds": 1.5})
    answer, first = raw(no_faults, "CreateCluster", json.dumps({"clusterName": name}).encode())
    assert first >= 1.5
    assert name.encode() in answer


def test_a_body_is_slow_and_whole(no_faults: Sandbox) -> None:
    no_faults.faults({**LIST, "body_seconds": 1.0})
    begun = time.monotonic()
    answer, first = raw(no_faults)
    assert first < 0.5
    assert time.monotonic() - begun >= 0.9
    length, body = length_and_body(answer)
    assert len(body) == length
    assert "clusterArns" in json.loads(body)


def test_a_length_is_more_than_there_is(no_faults: Sandbox) -> None:
    no_faults.faults({**LIST, "length_over": 5})
    length, body = length_and_body(raw(no_faults)[0])
    assert length == len(body) + 5
    assert "clusterArns" in json.loads(body)
    no_faults.faults({**LIST, "length_over": 5, "status": 500, "body": "", "carried_out": True})
    length, body = length_and_body(raw(no_faults)[0])
    assert (length, body) == (5, b"")


def test_a_chunked_answer_ends_before_its_last_chunk(no_faults: Sandbox) -> None:
    no_faults.faults({**LIST, "chunked": True, "cut_after": 6})
    answer, _ = raw(no_faults)
    assert b"transfer-encoding: chunked" in answer.lower()
    assert not answer.endswith(b"0\r\n\r\n")
    no_faults.faults({**LIST, "chunked": True, "cut_after": 6})
    with pytest.raises((ConnectionClosedError, HTTPClientError)):
        no_faults.client("ecs").list_clusters()


@pytest.mark.parametrize(
    ("service", "call", "throttled", "expired"),
    [
        ("ec2", "describe_vpcs", ("RequestLimitExceeded", 503), ("RequestExpired", 400)),
        ("elbv2", "describe_load_balancers", ("Throttling", 400), ("ExpiredToken", 403)),
        ("sts", "get_caller_identity", ("Throttling", 400), ("ExpiredToken", 403)),
        ("rds", "describe_db_instances", ("Throttling", 400), ("ExpiredToken", 403)),
        ("s3", "list_buckets", ("SlowDown", 503), ("ExpiredToken", 400)),
        ("ecs", "list_clusters", ("ThrottlingException", 400), ("ExpiredTokenException", 400)),
        ("logs", "describe_log_groups", ("ThrottlingException", 400), ("ExpiredTokenException", 400)),
    ],
)
def test_each_service_has_its_own_word_for_an_error(
    no_faults: Sandbox, service: str, call: str, throttled: tuple[str, int], expired: tuple[str, int]
) -> None:
    for kind, wanted in (("throttled", throttled), ("expired", expired)):
        no_faults.faults({"service": service, "operation": "*", "times": 1, "kind": kind})
        with pytest.raises(ClientError) as raised:
            getattr(no_faults.client(service), call)()
        answer = raised.value.response
        assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == wanted


def test_a_fault_can_be_for_one_caller_only(no_faults: Sandbox) -> None:
    last = max((call["n"] for call in no_faults.calls()), default=0)
    no_faults.faults(
        {**LIST, "times": None, "user_agent": "*Terraform*", "code": "No"},
        {**LIST, "times": None, "access_key_id": "other*", "code": "No"},
    )
    assert "clusterArns" in no_faults.client("ecs").list_clusters()
    no_faults.faults({**LIST, "times": None, "user_agent": "Boto3/*", "access_key_id": "te*", "code": "Mine"})
    with pytest.raises(ClientError, match="Mine"):
        no_faults.client("ecs").list_clusters()
    assert [call["fault"] for call in no_faults.calls(last)] == [None, "Mine"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"code": "X", "kind": "expired"},
        {"kind": "tired"},
        {"reset": True},
        {"reset": 1, "cut_after": 0},
        {"carried_out": False},
        {"carried_out": False, "cut_after": 5},
        {"length_over": -1},
        {"length_over": 5, "chunked": True},
        {"late_seconds": -1},
        {"body_seconds": "2"},
    ],
)
def test_a_fault_that_means_nothing_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(FaultError):
        Fault.parse({"service": "ecs", "operation": "ListClusters", **wrong})
