# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a trace tells of Terraform's own calls, out of a debug log that has signatures, names and the run's header."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _trace, _trace_terraform
from wire_aws import SESSION

SIGNATURE, HEADER, NAME = "a6a44c86446421e1b0e28c58", "RunHeaderValue0123456789", "papyrus-smoke-abc234"
ARN = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/papyrus-smoke-abc234/1"
P = "[INFO]  provider.terraform-provider-aws_v3.39.0_x5: 2026/11/27 10:01:11 [DEBUG] [aws-sdk-go]"


def entry(second: float, text: str) -> str:
    stamp = f"2026-11-27T10:01:{second:06.3f}Z"
    return f"{stamp} {P} {text}: timestamp={stamp}\n"


def request(second: float, service: str, operation: str, form: str) -> str:
    """As provider 3.39 wrote it here."""
    head = f"POST / HTTP/1.1\nHost: {NAME}\nAuthorization: AWS4-HMAC-SHA256 Signature={SIGNATURE}"
    body = f"Action={operation}&{form}&Version=1"
    bars = "---[ REQUEST POST-SIGN ]-----------------------------"
    return entry(second, f"DEBUG: Request {service}/{operation} Details:\n{bars}\n{head}\n\n{body}\n-----")


def answer(second: float, service: str, operation: str, status: str, body: str) -> str:
    bars = "---[ RESPONSE ]--------------------------------------"
    head = f"DEBUG: Response {service}/{operation} Details:\n{bars}\nHTTP/1.1 {status}\nX: {NAME}\n\n\n-----"
    return entry(second, head) + entry(second, body)


def balancer(state: str, operation: str = "DescribeLoadBalancers") -> str:
    inner = f"<member><LoadBalancerArn>{ARN}</LoadBalancerArn>\n<State><Code>{state}</Code></State></member>"
    return (
        f'<?xml version="1.0"?><{operation}Response xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">'
        f"<{operation}Result><LoadBalancers>{inner}</LoadBalancers></{operation}Result></{operation}Response>"
    )


ELB = "elasticloadbalancing"
LOG = (
    "2026-11-27T10:01:10.000Z [DEBUG] provider: plugin started: path=/tmp/x\n"
    + request(11, ELB, "CreateLoadBalancer", f"Name={NAME}&Subnets.member.1=subnet-1&Bogus.1={HEADER}")
    + answer(11.5, ELB, "CreateLoadBalancer", "200 OK", balancer("provisioning", "CreateLoadBalancer"))
    + request(12, "elasticloadbalancing", "DescribeLoadBalancers", f"LoadBalancerArns.member.1={ARN}")
    + request(12.1, "ec2", "RevokeSecurityGroupEgress", "GroupId=sg-1&IpPermissions.1.FromPort=80")
    + answer(12.2, "ec2", "RevokeSecurityGroupEgress", "400 Bad Request", f"<Response>{NAME}</Response>")
    + entry(12.3, "DEBUG: Validate Response ec2/RevokeSecurityGroupEgress failed, attempt 0/5, error "
                  f"InvalidPermission.NotFound: {NAME} is not there")
    + answer(12.4, "elasticloadbalancing", "DescribeLoadBalancers", "200 OK", balancer("active"))
    + request(13, "elasticloadbalancing", "ForgedOperation", f"Name={HEADER}")
    + request(14, "sts", "GetCallerIdentity", "")
    + entry(15, f"DEBUG: Send Request sts/GetCallerIdentity failed, attempt 0/25, error RequestError: {NAME}")
)  # fmt: skip
P2 = "[DEBUG] provider.terraform-provider-aws_v6.25.0_x5:"


def v2(second: float, what: str, operation: str, service: str, fields: str) -> str:
    """As the source of the provider's logger and of Terraform's log have it; seen by nobody here."""
    stamp = f"2026-11-27T10:01:{second:06.3f}Z"
    return f"{stamp} {P2} HTTP {what}: rpc.method={operation} rpc.service={service} tf_aws.x=y {fields}\n"


def below(xml: str) -> str:
    return "\n  http.response.body=\n" + "\n".join(f"  | {line}" for line in xml.splitlines())


ELB2 = '"Elastic Load Balancing v2"'
V2 = (
    v2(11, "Request Sent", "DescribeTargetGroups", ELB2,
       f'http.request.header.authorization="{SIGNATURE}" http.request.body="Action=X&Names.member.1={NAME}"')
    + v2(11.25, "Response Received", "DescribeTargetGroups", ELB2, "http.status_code=400 http.duration=249"
         + below(f"<Error><Code>TargetGroupNotFound</Code><Message>{NAME}</Message></Error>"))
    + v2(12, "Request Sent", "DescribeLoadBalancers", ELB2, f'http.request.body="Action=X&Names.member.1={NAME}"')
    + v2(12.5, "Response Received", "DescribeLoadBalancers", ELB2, f"http.status_code=200{below(balancer('active'))}")
    + v2(13, "Request Sent", "GetCallerIdentity", "STS", 'http.request.body="Action=GetCallerIdentity&Version=1"')
    + v2(13.1, "Response Received", "GetCallerIdentity", "STS", 'http.status_code=200 http.response.body="'
         f'<GetCallerIdentityResponse xmlns=\\"https://sts.amazonaws.com/doc/2011-06-15/\\"><GetCallerIdentityResult><Arn>{ARN}'
         '</Arn></GetCallerIdentityResult></GetCallerIdentityResponse>"')
    + v2(14, "Request Sent", "DescribeSecurityGroups", "EC2", 'http.request.body="Action=X&GroupId.1=sg-1"')
    + v2(14.1, "Response Received", "DescribeSecurityGroups", "EC2",
         "http.status_code=200" + below("<DescribeSecurityGroupsResponse><securityGroupInfo><item>\n[truncated...]"))
)  # fmt: skip


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Path]:
    _trace.begin(tmp_path, "trace.jsonl")
    yield tmp_path
    _trace.record_into(None, "")


def test_L3_terraforms_calls_are_told_by_operation_status_code_and_shape(private: Path) -> None:
    told = _trace_terraform.calls(LOG, SESSION.get_service_model)
    assert [(call["operation"], call["status"], call["code"], call["ms"]) for call in told] == [
        ("CreateLoadBalancer", 200, "", 500),
        ("RevokeSecurityGroupEgress", 400, "InvalidPermission.NotFound", 100),
        ("DescribeLoadBalancers", 200, "", 400),
        ("GetCallerIdentity", 0, "RequestError", 0),
    ]
    assert told[0]["request"] == {"Name": "string", "Subnets": "list"}
    assert told[2]["response"] == {"LoadBalancers": [{"LoadBalancerArn": "string", "State": {"Code": "string=active"}}]}
    assert [call["states"][0][2] for call in told if call["states"]] == [
        {"State.Code": "provisioning"}, {"State.Code": "active"}
    ]  # fmt: skip


def test_L3_the_newer_sdk_is_understood_as_its_source_has_it(private: Path) -> None:
    refused, found, who, cut = _trace_terraform.calls(V2, SESSION.get_service_model)
    assert (refused["service"], refused["operation"], refused["status"]) == ("elbv2", "DescribeTargetGroups", 400)
    assert (refused["code"], refused["ms"], refused["request"]) == ("TargetGroupNotFound", 250, {"Names": "list"})
    assert found["response"]["LoadBalancers"] == [{"LoadBalancerArn": "string", "State": {"Code": "string=active"}}]
    assert found["states"][0][2] == {"State.Code": "active"}
    assert (who["request"], who["response"]) == ({}, {"Arn": "string"})
    assert (cut["status"], cut["request"], cut["response"]) == (200, {"GroupIds": "list"}, None)


def test_L3_no_value_of_the_debug_log_is_told_and_the_log_goes(private: Path) -> None:
    log = private / _trace_terraform.LOG_FILE
    log.write_text(LOG + V2, "utf-8")
    (private / "apply.log").write_text(
        "module.alb.aws_lb.this: Creation complete after 2m3s [id=" + ARN + "]\n"
        'aws_security_group_rule.x["' + NAME + '"]: Creation complete after 1s [id=sgr-1]\n'
        "aws_lb.this: Still creating... [10s elapsed]\n",
        "utf-8",
    )
    _trace_terraform.gather(private, "apply")
    assert not log.exists()
    text = (private / _trace.RAW_FILE).read_text("utf-8")
    for value in (SIGNATURE, HEADER, NAME, ARN, "123456789012", "sg-1", "subnet-1", "us-west-2", "Bogus", "Forged"):
        assert value not in text, value
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["who"] for line in lines if line["kind"] == "call"} == {"terraform"}
    assert [(line["type"], line["seconds"]) for line in lines if line["kind"] == "resource"] == [
        ("aws_lb", 123), ("aws_security_group_rule", 1)
    ]  # fmt: skip


def test_L3_a_log_that_nobody_understands_breaks_nothing_and_is_removed(
    private: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(log: str) -> Any:
        raise ValueError(log)

    (private / _trace_terraform.LOG_FILE).write_text(LOG, "utf-8")
    monkeypatch.setattr(_trace_terraform, "calls", broken)
    _trace_terraform.gather(private, "destroy")
    assert [path.name for path in private.iterdir()] == [_trace.RAW_FILE]
    assert '"lost"' in (private / _trace.RAW_FILE).read_text("utf-8")


def test_L3_terraform_writes_no_debug_log_in_a_run_without_a_trace(private: Path) -> None:
    assert _trace_terraform.debug_environment(private)["TF_LOG_PATH"] == str(private / _trace_terraform.LOG_FILE)
    _trace.record_into(None, "")
    assert _trace_terraform.debug_environment(private) == {}
