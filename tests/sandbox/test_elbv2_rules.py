"""Listener rules of the sandbox, asked by requests: conditions, priorities, fixed responses, certificates."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.sandbox.support import Network, Sandbox, refused, until


def fixed(code: int, body: str = "") -> dict[str, Any]:
    more = {"ContentType": "text/plain", "MessageBody": body} if body else {}
    return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": str(code), **more}}


@dataclass
class Front:
    """A load balancer whose rules answer by themselves; without a matching one, 404."""

    sandbox: Sandbox
    api: Any
    host: str
    arn: str
    listener: str
    made: list[str] = field(default_factory=list)

    def rule(self, priority: int, code: int, *conditions: dict[str, Any], body: str = "") -> None:
        made = self.api.create_rule(
            ListenerArn=self.listener, Priority=priority, Conditions=list(conditions), Actions=[fixed(code, body)]
        )
        self.made.append(made["Rules"][0]["RuleArn"])

    def ask(self, path: str = "/", method: str = "GET", **headers: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.sandbox.facts["port"], timeout=5)
        connection.request(method, path, headers={"Host": self.host, **headers})
        return connection.getresponse().status


@pytest.fixture(scope="module")
def stage(sandbox: Sandbox, network: Network) -> Iterator[Front]:
    ec2, elb = sandbox.client("ec2"), sandbox.client("elbv2")
    group = ec2.create_security_group(GroupName="rules", Description="x", VpcId=network.vpc)["GroupId"]
    clients = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[clients])
    alb = elb.create_load_balancer(Name="rules", Scheme="internal", Subnets=network.subnets, SecurityGroups=[group])
    arn, host = (alb["LoadBalancers"][0][name] for name in ("LoadBalancerArn", "DNSName"))
    listener = elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[fixed(404)])
    until(lambda: elb.describe_load_balancers(Names=["rules"])["LoadBalancers"][0]["State"]["Code"] == "active", "up")
    yield Front(sandbox, elb, host, arn, listener["Listeners"][0]["ListenerArn"])
    elb.delete_load_balancer(LoadBalancerArn=arn)
    ec2.delete_security_group(GroupId=group)


@pytest.fixture
def front(stage: Front) -> Iterator[Front]:
    yield stage
    while stage.made:
        stage.api.delete_rule(RuleArn=stage.made.pop())


@pytest.mark.behaviour("elbv2.path_condition")
def test_a_path_is_compared_with_regard_to_case(front: Front) -> None:
    front.rule(1, 201, {"Field": "path-pattern", "Values": ["/Api/*", "/v?"]})
    assert [front.ask(path) for path in ("/Api/x", "/v1?q=1", "/api/x", "/v10")] == [201, 201, 404, 404]


@pytest.mark.behaviour("elbv2.host_condition")
def test_a_host_is_compared_without_regard_to_case(front: Front) -> None:
    front.rule(1, 201, {"Field": "host-header", "Values": ["other.example.com"]})
    assert front.ask() == 404
    front.rule(2, 202, {"Field": "host-header", "Values": ["INTERNAL-*.elb.amazonaws.com"]})
    assert front.ask() == 202


@pytest.mark.behaviour("elbv2.method_condition")
def test_a_method_is_named_exactly(front: Front) -> None:
    front.rule(1, 201, {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["PUT", "DELETE"]}})
    assert [front.ask(method=method) for method in ("PUT", "GET")] == [201, 404]


@pytest.mark.behaviour("elbv2.source_condition")
def test_a_client_is_known_by_its_address(front: Front) -> None:
    front.rule(1, 201, {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}})
    assert front.ask() == 404
    front.rule(2, 202, {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8", "127.0.0.0/8"]}})
    assert front.ask() == 202


@pytest.mark.behaviour("elbv2.header_condition")
def test_a_header_is_compared_without_regard_to_case(front: Front) -> None:
    config = {"HttpHeaderName": "X-Run", "Values": ["run-*"]}
    front.rule(1, 201, {"Field": "http-header", "HttpHeaderConfig": config})
    assert front.ask(**{"x-run": "RUN-7"}) == 201
    assert front.ask(**{"x-run": "walk-7"}) == 404
    assert front.ask() == 404


@pytest.mark.behaviour("elbv2.query_condition")
def test_a_query_is_compared_by_key_and_value(front: Front) -> None:
    pairs = [{"Key": "colour", "Value": "red"}, {"Value": "any*"}]
    front.rule(1, 201, {"Field": "query-string", "QueryStringConfig": {"Values": pairs}})
    asked = ("/?COLOUR=Red", "/?x=anything", "/?colour=blue", "/")
    assert [front.ask(path) for path in asked] == [201, 201, 404, 404]


@pytest.mark.behaviour("elbv2.in_order")
def test_the_lowest_priority_that_matches_counts(front: Front) -> None:
    everything = {"Field": "path-pattern", "Values": ["/*"]}
    front.rule(20, 202, everything)
    front.rule(10, 201, everything)
    front.rule(5, 200, everything, {"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["PUT"]}})
    assert [front.ask(), front.ask(method="PUT")] == [201, 200], "all conditions of a rule must hold"


@pytest.mark.behaviour("elbv2.fixed_response")
def test_a_fixed_response_is_sent_as_it_is(front: Front) -> None:
    front.rule(1, 503, {"Field": "path-pattern", "Values": ["/closed"]}, body="<b> & so on")
    connection = http.client.HTTPConnection("127.0.0.1", front.sandbox.facts["port"], timeout=5)
    connection.request("GET", "/closed", headers={"Host": front.host})
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Content-Type"], answer.read()) == (503, "text/plain", b"<b> & so on")
    assert answer.headers["Server"] == "awselb/2.0"


@pytest.mark.behaviour("elbv2.certificate_is_there", "elbv2.too_many_certificates", "elbv2.default_certificate_stays")
def test_a_listener_has_further_certificates(front: Front) -> None:
    acm, elb = front.sandbox.client("acm"), front.api
    made = [acm.request_certificate(DomainName=f"c{n}.example.com")["CertificateArn"] for n in range(27)]
    default, further = made[0], [{"CertificateArn": arn} for arn in made[1:]]
    listener = elb.create_listener(
        LoadBalancerArn=front.arn,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": default}],
        DefaultActions=[fixed(404)],
    )["Listeners"][0]["ListenerArn"]

    def shown() -> list[tuple[str, bool]]:
        found = elb.describe_listener_certificates(ListenerArn=listener)["Certificates"]
        return [(one["CertificateArn"], one["IsDefault"]) for one in found]

    elb.add_listener_certificates(ListenerArn=listener, Certificates=further[:1])
    elb.add_listener_certificates(ListenerArn=listener, Certificates=further[:1])
    assert shown() == [(default, True), (made[1], False)]
    with refused("OperationNotPermitted", "Default certificate cannot be removed"):
        elb.remove_listener_certificates(ListenerArn=listener, Certificates=[{"CertificateArn": default}])
    elb.add_listener_certificates(ListenerArn=listener, Certificates=further[1:25])
    with refused("TooManyCertificates", "25"):
        elb.add_listener_certificates(ListenerArn=listener, Certificates=further[25:])
    elb.remove_listener_certificates(ListenerArn=listener, Certificates=further[:24])
    assert shown() == [(default, True), (made[25], False)]
    elb.delete_listener(ListenerArn=listener)
    for certificate in made:
        acm.delete_certificate(CertificateArn=certificate)


@pytest.mark.behaviour("elbv2.order_is_shown_where_it_was_given")
def test_an_action_shows_the_order_that_it_was_given(front: Front) -> None:
    condition = {"Field": "path-pattern", "Values": ["/ordered"]}
    orders = []
    for priority, more in ((91, {}), (92, {"Order": 5})):
        made = front.api.create_rule(
            ListenerArn=front.listener, Priority=priority, Conditions=[condition], Actions=[{**fixed(404), **more}]
        )["Rules"][0]
        front.made.append(made["RuleArn"])
        shown = front.api.describe_rules(RuleArns=[made["RuleArn"]])["Rules"][0]["Actions"]
        orders.append([action.get("Order") for action in [*made["Actions"], *shown]])
    assert orders == [[None, None], [5, 5]]
