# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clients and errors of AWS: what an operator reads, and that only AWS can say "does not exist"."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _answers, _aws
from aws_fake import FakeAws, Refusal
from botocore.exceptions import EndpointConnectionError


def refuse(code: str, message: str = "said AWS") -> Any:
    def answer(_params: Any) -> Any:
        raise Refusal(code, message)

    return answer


def test_an_error_names_call_resource_answer_and_next_step() -> None:
    aws = FakeAws({"elbv2.describe_load_balancers": refuse("AccessDenied", "not you")})
    with (
        pytest.raises(_aws.AwsFailure) as failed,
        _aws.aws_call("DescribeLoadBalancers", "alb-1", "Ask for the right."),
    ):
        aws("elbv2").describe_load_balancers()
    assert str(failed.value) == (
        "DescribeLoadBalancers on alb-1 failed: AccessDenied: not you (request id request-1). Ask for the right."
    )
    assert not _aws.is_missing(failed.value)


@pytest.mark.parametrize(
    ("code", "missing"),
    [
        ("LoadBalancerNotFound", True),
        ("InvalidGroup.NotFound", True),
        ("ResourceNotFoundException", True),
        ("DBInstanceNotFoundFault", True),
        ("Throttling", False),
        ("AccessDenied", False),
        ("ServiceUnavailable", False),
        ("ExpiredToken", False),
    ],
)
def test_C7_only_aws_can_say_that_something_is_missing(code: str, missing: bool) -> None:
    aws = FakeAws({"ec2.describe_security_groups": refuse(code)})
    with pytest.raises(_aws.AwsFailure) as failed, _aws.aws_call("DescribeSecurityGroups", "sg-1"):
        aws("ec2").describe_security_groups()
    assert _aws.is_missing(failed.value) is missing


def test_C7_no_connection_is_not_missing() -> None:
    with pytest.raises(_aws.AwsFailure) as failed, _aws.aws_call("DescribeSecurityGroups", "sg-1"):
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
    assert failed.value.code == "EndpointConnectionError" and not failed.value.missing


def test_an_endpoint_out_of_reach_is_not_blamed_on_credentials() -> None:
    with (
        pytest.raises(_aws.AwsFailure) as failed,
        _aws.aws_call("GetCallerIdentity", "the caller", "Check credentials."),
    ):
        raise EndpointConnectionError(endpoint_url="http://127.0.0.1:9/")
    assert "AWS_ENDPOINT_URL" in str(failed.value) and "credentials" not in str(failed.value)


@pytest.mark.parametrize("code", ["ExpiredToken", "ExpiredTokenException", "RequestExpired"])
def test_credentials_that_have_expired_are_not_blamed_on_a_right(code: str) -> None:
    aws = FakeAws({"ec2.describe_security_groups": refuse(code)})
    with pytest.raises(_aws.AwsFailure) as failed, _aws.aws_call("DescribeSecurityGroups", "sg-1", "Needs a right."):
        aws("ec2").describe_security_groups()
    assert "Renew the credentials" in str(failed.value) and "right." not in str(failed.value)


def test_faults_of_the_program_pass() -> None:
    with pytest.raises(KeyError), _aws.aws_call("DescribeSecurityGroups"):
        raise KeyError("x")


def test_a_client_is_made_once_and_retries_within_bounds() -> None:
    clients = _aws.client_factory({"region_name": "us-west-2", "aws_access_key_id": "a", "aws_secret_access_key": "b"})
    client = clients("ec2")
    assert clients("ec2") is client
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (5, 20)
    assert config.retries["mode"] == "standard" and config.retries["total_max_attempts"] == 9
    first = clients("sts").meta.config
    assert (first.connect_timeout + first.read_timeout) * first.retries["total_max_attempts"] < 60


def test_module_clients_pass_the_retries_on() -> None:
    asked: list[tuple[str, Any]] = []

    class Module:
        def client(self, service: str, **kwargs: Any) -> Any:
            asked.append((service, kwargs["config"].retries))
            return boto3.client(service, region_name="us-west-2", **kwargs)

    clients = _aws.module_clients(Module())
    assert clients("ecs") is clients("ecs")
    # botocore counts the first attempt in when it makes the client.
    assert asked == [("ecs", {"mode": "standard", "total_max_attempts": 9})]


ANSWER = b'{"clusterArns": ["arn:aws:ecs:us-west-2:123456789012:cluster/one"]}'


@contextlib.contextmanager
def cutting(bodies: list[bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """(URL, requests that came) of an endpoint that promises ANSWER's length and sends one of `bodies` each time."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for body in bodies:
                connection, _peer = listener.accept()
                with connection:
                    came.append(connection.recv(65536))
                    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(ANSWER)}\r\nconnection: close\r\n\r\n"
                    connection.sendall(head.encode() + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", came
        thread.join(10)


def ecs_at(url: str, monkeypatch: pytest.MonkeyPatch, **config: Any) -> Any:
    monkeypatch.setenv("AWS_ENDPOINT_URL", url)
    monkeypatch.setattr(_answers.random, "random", float)
    anybody = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-west-2"}
    return _aws.client_factory(anybody, **config)("ecs")


@pytest.mark.parametrize("cut", [0, 20, len(ANSWER) - 1])
def test_an_answer_cut_off_is_asked_for_again_and_never_taken_for_an_empty_one(
    cut: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with cutting([ANSWER[:cut], ANSWER[:cut], ANSWER]) as (url, came):
        assert len(ecs_at(url, monkeypatch).list_clusters()["clusterArns"]) == 1
    assert len(came) == 3


def test_an_answer_cut_off_is_no_answer_when_there_are_no_more_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    with cutting([ANSWER[:20], ANSWER[:20]]) as (url, came):
        ecs = ecs_at(url, monkeypatch, retries={"total_max_attempts": 2})
        with pytest.raises(_aws.AwsFailure, match="closed before we") as failed, _aws.aws_call("ListClusters"):
            ecs.list_clusters()
    assert (failed.value.code, failed.value.unanswered, len(came)) == ("ConnectionClosedError", True, 2)
