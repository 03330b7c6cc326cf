"""Requests through a load balancer of the sandbox, and the health of the targets behind it."""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.support import Network, Sandbox, until

HEADER = {"X-Run": "7"}


class Handler(http.server.BaseHTTPRequestHandler):
    """/status/<code>, /slow, /closes, /stream; else the request's headers, and of a POST the number of bytes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/closes":
            self.close_connection = True
            return
        if self.path == "/stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for part in (b"4\r\none\n\r\n", b"4\r\ntwo\n\r\n", b"0\r\n\r\n"):
                self.wfile.write(part)
            return
        assert isinstance(self.server, Target)
        code = self.server.status if self.path == "/healthz" else 200
        self._answer(code, json.dumps({"path": self.path, "headers": dict(self.headers)}).encode())

    def do_POST(self) -> None:
        size = len(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(201, str(size).encode())

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Set-Cookie", "a=1")
        self.send_header("Set-Cookie", "b=2")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Target(http.server.ThreadingHTTPServer):
    status = 200


@dataclass
class Stage:
    """An internal load balancer with one target group, and a target in this process behind an interface of EC2."""

    sandbox: Sandbox
    host: str
    group: str
    alb_group: str
    target_group: str
    listener: str
    arn: str
    address: str
    server: Target
    rule: dict[str, Any] = field(default_factory=dict)

    def request(
        self,
        path: str = "/",
        headers: dict[str, str] | None = None,
        *,
        host: str = "",
        timeout: float = 20,
        **more: Any,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.sandbox.facts["port"], timeout=timeout)
        connection.request(
            more.get("method", "GET"), path, more.get("body"), {"Host": host or self.host, **(headers or {})}
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()

    def health(self) -> dict[str, str]:
        elb = self.sandbox.client("elbv2")
        target = [{"Id": self.address, "Port": 5000}]
        found = elb.describe_target_health(TargetGroupArn=self.target_group, Targets=target)
        health: dict[str, str] = found["TargetHealthDescriptions"][0]["TargetHealth"]
        return health

    def wait_for(self, state: str, reason: str | None = None, seconds: float = 25) -> dict[str, str]:
        def look() -> dict[str, str] | None:
            health = self.health()
            return health if (health["State"], health.get("Reason")) == (state, reason) else None

        found = until(look, f"target is {state} {reason}", seconds)
        assert found is not None
        return found

    def admit(self, allowed: bool) -> None:
        ec2 = self.sandbox.client("ec2")
        call = ec2.authorize_security_group_ingress if allowed else ec2.revoke_security_group_ingress
        source = {"UserIdGroupPairs": [{"GroupId": self.alb_group}]}
        call(GroupId=self.group, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, **source}])

    def register(self) -> None:
        target = [{"Id": self.address, "Port": 5000}]
        self.sandbox.client("elbv2").register_targets(TargetGroupArn=self.target_group, Targets=target)

    def deregister(self) -> None:
        target = [{"Id": self.address, "Port": 5000}]
        self.sandbox.client("elbv2").deregister_targets(TargetGroupArn=self.target_group, Targets=target)


@pytest.fixture(scope="module")
def stage(sandbox: Sandbox, network: Network) -> Iterator[Stage]:
    ec2, elb = sandbox.client("ec2"), sandbox.client("elbv2")
    groups = [
        ec2.create_security_group(GroupName=f"stage-{name}", Description=name, VpcId=network.vpc)["GroupId"]
        for name in ("targets", "alb")
    ]
    admitted = [
        {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
        for port in (80, 443, 9999)
    ]
    ec2.authorize_security_group_ingress(GroupId=groups[1], IpPermissions=admitted)
    interface = ec2.create_network_interface(SubnetId=network.subnets[0], Groups=[groups[0]])["NetworkInterface"]
    server = Target((interface["PrivateIpAddress"], 5000), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    alb = elb.create_load_balancer(
        Name="stage", Scheme="internal", Subnets=network.subnets, SecurityGroups=[groups[1]]
    )["LoadBalancers"][0]
    target_group = elb.create_target_group(
        Name="stage",
        Protocol="HTTP",
        Port=5000,
        VpcId=network.vpc,
        TargetType="ip",
        HealthCheckPath="/healthz",
        HealthCheckIntervalSeconds=5,
        HealthCheckTimeoutSeconds=2,
        HealthyThresholdCount=2,
        UnhealthyThresholdCount=2,
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.modify_target_group_attributes(
        TargetGroupArn=target_group,
        Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}],
    )
    refuse = {
        "Type": "fixed-response",
        "FixedResponseConfig": {"StatusCode": "403", "ContentType": "text/plain", "MessageBody": "<no> entry"},
    }
    listener = elb.create_listener(
        LoadBalancerArn=alb["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=[refuse]
    )["Listeners"][0]["ListenerArn"]
    elb.create_rule(
        ListenerArn=listener,
        Priority=1,
        Conditions=[{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "x-run", "Values": ["7"]}}],
        Actions=[{"Type": "forward", "TargetGroupArn": target_group}],
    )
    elb.create_rule(
        ListenerArn=listener,
        Priority=2,
        Conditions=[{"Field": "path-pattern", "Values": ["/old/*"]}],
        Actions=[{"Type": "redirect", "RedirectConfig": {"Path": "/new", "StatusCode": "HTTP_302"}}],
    )
    until(
        lambda: elb.describe_load_balancers(Names=["stage"])["LoadBalancers"][0]["State"]["Code"] == "active", "active"
    )
    yield Stage(
        sandbox=sandbox,
        host=alb["DNSName"],
        group=groups[0],
        alb_group=groups[1],
        target_group=target_group,
        listener=listener,
        arn=alb["LoadBalancerArn"],
        address=interface["PrivateIpAddress"],
        server=server,
    )
    server.shutdown()
    elb.delete_load_balancer(LoadBalancerArn=alb["LoadBalancerArn"])
    elb.delete_target_group(TargetGroupArn=target_group)
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    for group in groups:
        ec2.delete_security_group(GroupId=group)


@pytest.fixture(scope="module")
def healthy(stage: Stage) -> Iterator[Stage]:
    stage.admit(True)
    stage.register()
    stage.wait_for("healthy")
    yield stage
    stage.deregister()
    stage.admit(False)


def test_no_target_at_all_is_503_and_the_default_action_answers_the_rest(stage: Stage) -> None:
    status, headers, body = stage.request("/", HEADER)
    assert (status, headers["Server"], headers["Content-Type"]) == (503, "awselb/2.0", "text/html")
    assert b"<title>503 Service Temporarily Unavailable</title>" in body
    status, headers, body = stage.request("/")
    assert (status, headers["Server"], body) == (403, "awselb/2.0", b"<no> entry")


@pytest.mark.behaviour("elbv2.redirect_location")
def test_the_host_header_is_matched_whatever_its_case_and_a_redirect_says_where(stage: Stage) -> None:
    status, headers, _ = stage.request("/old/x?q=1", host=f"{stage.host.upper()}:80")
    assert status == 302
    assert headers["Location"] == f"http://{stage.host.upper()}:80/new?q=1"


@pytest.mark.behaviour("elbv2.listener_of_the_port")
def test_a_port_without_a_listener_closes_and_an_unknown_load_balancer_too(stage: Stage) -> None:
    for host in (f"{stage.host}:9999", "nobody-1.us-west-2.elb.amazonaws.com"):
        with pytest.raises(http.client.RemoteDisconnected):
            stage.request("/", host=host, timeout=5)


def test_without_the_rule_between_the_groups_requests_get_504(stage: Stage) -> None:
    stage.register()
    started = time.monotonic()
    status, _, body = stage.request("/", HEADER)
    assert status == 504 and b"504 Gateway Time-out" in body
    assert time.monotonic() - started >= 9.5, "a connection that is dropped is given up after ten seconds"
    stage.deregister()
    assert stage.wait_for("unused", "Target.NotRegistered")


@pytest.mark.behaviour("elbv2.trace")
def test_a_healthy_target_gets_the_request_as_aws_sends_it(healthy: Stage) -> None:
    status, headers, body = healthy.request("/a%2Fb?x=1&y", {**HEADER, "X-Forwarded-For": "10.1.1.1"})
    got = json.loads(body)
    sent = {name.lower(): value for name, value in got["headers"].items()}
    assert status == 200 and got["path"] == "/a%2Fb?x=1&y"
    assert sent["x-forwarded-for"] == "10.1.1.1, 127.0.0.1"
    assert (sent["x-forwarded-proto"], sent["x-forwarded-port"]) == ("http", "80")
    assert sent["x-amzn-trace-id"].startswith("Root=1-")
    assert sent["host"] == healthy.host and sent["x-run"] == "7"
    assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert headers["Server"].startswith("BaseHTTP") and headers["Date"]


@pytest.mark.behaviour("elbv2.forwarded_for", "elbv2.host_for_target")
def test_attributes_say_which_headers_a_target_gets(healthy: Stage) -> None:
    elb = healthy.sandbox.client("elbv2")

    def sent(**attributes: str) -> dict[str, str]:
        given = [{"Key": f"routing.http.{name}", "Value": value} for name, value in attributes.items()]
        elb.modify_load_balancer_attributes(LoadBalancerArn=healthy.arn, Attributes=given)
        _, _, body = healthy.request("/", {**HEADER, "X-Forwarded-For": "10.1.1.1"}, host=f"{healthy.host}:80")
        return {name.lower(): value for name, value in json.loads(body)["headers"].items()}

    mode, preserve = "xff_header_processing.mode", "preserve_host_header.enabled"
    assert sent(**{mode: "preserve"})["x-forwarded-for"] == "10.1.1.1"
    assert "x-forwarded-for" not in sent(**{mode: "remove"})
    assert sent(**{mode: "append"})["x-forwarded-for"] == "10.1.1.1, 127.0.0.1"
    assert sent(**{preserve: "true"})["host"] == f"{healthy.host}:80"
    assert sent(**{preserve: "false"})["host"] == healthy.host


def test_bodies_of_any_length_pass_both_ways(healthy: Stage) -> None:
    assert healthy.request("/", HEADER, method="POST", body=b"x" * 3_000_000)[2] == b"3000000"
    assert healthy.request("/stream", HEADER)[2] == b"one\ntwo\n"


@pytest.mark.behaviour("elbv2.broken_answer_is_502")
def test_a_target_that_closes_without_an_answer_is_502(healthy: Stage) -> None:
    status, headers, body = healthy.request("/closes", HEADER)
    assert (status, headers["Server"]) == (502, "awselb/2.0")
    assert b"<title>502 Bad Gateway</title>" in body


@pytest.mark.behaviour("elbv2.admitted", "ec2.admits")
def test_a_client_whom_no_rule_admits_gets_no_answer(healthy: Stage) -> None:
    ec2 = healthy.sandbox.client("ec2")
    rule = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}]
    ec2.revoke_security_group_ingress(GroupId=healthy.alb_group, IpPermissions=rule)
    with pytest.raises(TimeoutError):
        healthy.request("/", HEADER, timeout=1)
    ec2.authorize_security_group_ingress(GroupId=healthy.alb_group, IpPermissions=rule)
    assert healthy.request("/", HEADER)[0] == 200


@pytest.mark.behaviour("elbv2.certificate_for", "elbv2.speaks_its_protocol")
def test_an_https_listener_shows_the_certificate_of_its_domain(healthy: Stage) -> None:
    elb, acm = healthy.sandbox.client("elbv2"), healthy.sandbox.client("acm")
    certificate = acm.request_certificate(DomainName="app.example.com")["CertificateArn"]
    settings = {
        "LoadBalancerArn": healthy.arn,
        "Protocol": "HTTPS",
        "Port": 443,
        "DefaultActions": [{"Type": "forward", "TargetGroupArn": healthy.target_group}],
    }
    with pytest.raises(ClientError, match="CertificateNotFound"):
        elb.create_listener(Certificates=[{"CertificateArn": f"{certificate[:-1]}?"}], **settings)
    listener = elb.create_listener(Certificates=[{"CertificateArn": certificate}], **settings)["Listeners"][0]
    more = acm.request_certificate(DomainName="*.shop.example.com")["CertificateArn"]
    elb.add_listener_certificates(ListenerArn=listener["ListenerArn"], Certificates=[{"CertificateArn": more}])
    trusted = ssl.create_default_context(cafile=healthy.sandbox.facts["ca_file"])
    address, _, port = healthy.sandbox.facts["https_address"].partition(":")

    def get(name: str) -> tuple[int, dict[str, Any]]:
        with (
            socket.create_connection((address, int(port)), timeout=5) as plain,
            trusted.wrap_socket(plain, server_hostname=name) as connection,
        ):
            connection.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, json.loads(answer.read())

    status, got = get("app.example.com")
    assert status == 200
    assert (got["headers"]["x-forwarded-proto"], got["headers"]["x-forwarded-port"]) == ("https", "443")
    assert get("en.shop.example.com")[0] == 200
    with pytest.raises(ssl.SSLCertVerificationError):
        get(healthy.host)
    with pytest.raises(http.client.RemoteDisconnected):
        healthy.request("/", host=f"{healthy.host}:443", timeout=5)
    elb.delete_listener(ListenerArn=listener["ListenerArn"])
    for one in (certificate, more):
        acm.delete_certificate(CertificateArn=one)
