"""Health of targets in the sandbox: a gallery of good and bad ones, watched from their registration on."""

from __future__ import annotations

import http.client
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.sandbox.support import Network, Sandbox, until

GOOD, WRONG, CLOSED, SILENT, MENDED, LEAVING, LATE, SHUT = 5000, 5001, 5002, 5003, 5004, 5005, 5006, 5020
Health = dict[str, str]
FIXED = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "403"}}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Server)
        body = str(self.server.server_address[1]).encode()
        self.server.answers.wait()
        self.send_response(self.server.health if self.path == "/healthz" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    health = 200
    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.answers = threading.Event()  # until then a request waits for its answer
        self.answers.set()


@dataclass
class Gallery:
    """An internal load balancer whose group `gallery` has one target for each way to be; one for each path beside."""

    sandbox: Sandbox
    host: str
    address: str
    groups: dict[str, str] = field(default_factory=dict)
    # What each target of the group was, with the seconds since its registration, one entry a change.
    seen: dict[int, list[tuple[float, Health]]] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    def health(self, port: int, group: str = "gallery") -> Health:
        elb = self.sandbox.client("elbv2")
        asked = [{"Id": self.address, "Port": port}]
        found = elb.describe_target_health(TargetGroupArn=self.groups[group], Targets=asked)
        health: Health = found["TargetHealthDescriptions"][0]["TargetHealth"]
        return health

    def register(self, port: int, group: str = "gallery") -> None:
        target = [{"Id": self.address, "Port": port}]
        self.sandbox.client("elbv2").register_targets(TargetGroupArn=self.groups[group], Targets=target)

    def deregister(self, port: int, group: str = "gallery") -> None:
        target = [{"Id": self.address, "Port": port}]
        self.sandbox.client("elbv2").deregister_targets(TargetGroupArn=self.groups[group], Targets=target)

    def watch(self, enough: Callable[[], bool], seconds: float) -> None:
        elb, begun = self.sandbox.client("elbv2"), time.monotonic()
        while time.monotonic() - begun < seconds and not enough():
            found = elb.describe_target_health(TargetGroupArn=self.groups["gallery"])["TargetHealthDescriptions"]
            for one in found:
                past = self.seen.setdefault(one["Target"]["Port"], [])
                if not past or past[-1][1] != one["TargetHealth"]:
                    past.append((time.monotonic() - self.started, one["TargetHealth"]))
            time.sleep(0.1)

    def when(self, port: int, state: str) -> float:
        """Seconds from the registration until the target was first seen in this state."""
        return next((at for at, health in self.seen.get(port, ()) if health["State"] == state), float("inf"))

    def last(self, port: int) -> Health:
        return self.seen[port][-1][1]

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.sandbox.facts["port"], timeout=5)
        connection.request("GET", path, headers={"Host": self.host})
        answer = connection.getresponse()
        return answer.status, answer.read()


def serve(address: str, port: int) -> Server:
    server = Server((address, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="module")
def gallery(sandbox: Sandbox, network: Network) -> Iterator[Gallery]:
    ec2, elb = sandbox.client("ec2"), sandbox.client("elbv2")
    names = ("gallery-targets", "gallery-alb", "gallery-no-egress")
    targets, front, no_egress = (
        ec2.create_security_group(GroupName=name, Description=name, VpcId=network.vpc)["GroupId"] for name in names
    )
    admitted = {"UserIdGroupPairs": [{"GroupId": front}, {"GroupId": no_egress}]}
    ec2.authorize_security_group_ingress(
        GroupId=targets, IpPermissions=[{"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5010, **admitted}]
    )
    clients = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}
    ec2.authorize_security_group_ingress(GroupId=front, IpPermissions=[clients])
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    ec2.revoke_security_group_egress(GroupId=no_egress, IpPermissions=[everything])
    interface = ec2.create_network_interface(SubnetId=network.subnets[0], Groups=[targets])["NetworkInterface"]
    address = interface["PrivateIpAddress"]
    servers = {port: serve(address, port) for port in (GOOD, WRONG, MENDED, LEAVING, LATE, SHUT)}
    servers[WRONG].health = servers[MENDED].health = 404
    silent = socket.create_server((address, SILENT))
    internal = {"Scheme": "internal", "Subnets": network.subnets}
    made = [
        elb.create_load_balancer(Name=name, SecurityGroups=[group], **internal)["LoadBalancers"][0]
        for name, group in (("gallery", front), ("gallery-no-egress", no_egress))
    ]
    stage = Gallery(sandbox, made[0]["DNSName"], address)
    idle = [{"Key": "idle_timeout.timeout_seconds", "Value": "1"}]
    elb.modify_load_balancer_attributes(LoadBalancerArn=made[0]["LoadBalancerArn"], Attributes=idle)
    listeners = [
        elb.create_listener(LoadBalancerArn=one["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=[FIXED])
        for one in made
    ]
    checks = {"HealthCheckPath": "/healthz", "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 2}
    thresholds = {"HealthyThresholdCount": 2, "UnhealthyThresholdCount": 2}
    for number, name in enumerate(
        ("gallery", "elsewhere", "closed", "silent", "empty", "leaving", "late", "no-egress"), 1
    ):
        port = {"HealthCheckPort": str(GOOD)} if name == "elsewhere" else {}
        arn = elb.create_target_group(
            Name=f"gallery-{name}",
            Protocol="HTTP",
            Port=GOOD,
            VpcId=network.vpc,
            TargetType="ip",
            **checks,
            **thresholds,
            **port,
        )["TargetGroups"][0]["TargetGroupArn"]
        stage.groups[name] = arn
        delay = [{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
        elb.modify_target_group_attributes(TargetGroupArn=arn, Attributes=delay)
        elb.create_rule(
            ListenerArn=listeners[name == "no-egress"]["Listeners"][0]["ListenerArn"],
            Priority=number,
            Conditions=[{"Field": "path-pattern", "Values": [f"/{name}"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": arn}],
        )
    arns = [one["LoadBalancerArn"] for one in made]
    until(
        lambda: all(
            one["State"]["Code"] == "active"
            for one in elb.describe_load_balancers(LoadBalancerArns=arns)["LoadBalancers"]
        ),
        "active",
    )
    stage.started = time.monotonic()
    servers[GOOD].answers.clear()
    stage.register(GOOD)
    stage.watch(lambda: GOOD in stage.seen, 2)
    servers[GOOD].answers.set()
    for port in (WRONG, CLOSED, SILENT, MENDED, SHUT):
        stage.register(port)
    for name, port in (("elsewhere", CLOSED), ("closed", CLOSED), ("silent", SILENT), ("no-egress", GOOD)):
        stage.register(port, name)
    stage.watch(lambda: stage.when(MENDED, "unhealthy") < 20, 12)
    servers[MENDED].health = 200
    stage.watch(lambda: stage.when(MENDED, "healthy") < 40, 15)
    yield stage
    for server in servers.values():
        server.shutdown()
        server.server_close()
    silent.close()
    for arn in arns:
        elb.delete_load_balancer(LoadBalancerArn=arn)
    for arn in stage.groups.values():
        elb.delete_target_group(TargetGroupArn=arn)
    ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    for group in (targets, front, no_egress):
        ec2.delete_security_group(GroupId=group)


@pytest.mark.behaviour("elbv2.first_finding", "elbv2.one_pass_is_enough_at_first", "ec2.names_a_group")
def test_a_new_target_is_initial_and_healthy_after_one_check(gallery: Gallery) -> None:
    first = gallery.seen[GOOD][0][1]
    assert (first["State"], first.get("Reason")) == ("initial", "Elb.RegistrationInProgress")
    assert gallery.when(GOOD, "healthy") < 5, "the second check comes after five seconds"


@pytest.mark.behaviour("elbv2.unhealthy_threshold")
def test_a_target_is_unhealthy_after_the_second_failure_only(gallery: Gallery) -> None:
    assert 4.5 < gallery.when(CLOSED, "unhealthy") < 8


@pytest.mark.behaviour("elbv2.healthy_threshold")
def test_an_unhealthy_target_is_healthy_after_two_passed_checks(gallery: Gallery) -> None:
    assert 7 < gallery.when(MENDED, "healthy") - gallery.when(MENDED, "unhealthy") < 13


@pytest.mark.behaviour(
    "elbv2.check_refused", "elbv2.check_timeout", "elbv2.code_mismatch", "elbv2.kept_out", "ec2.admits"
)
@pytest.mark.parametrize(
    ("port", "reason", "words"),
    [
        (CLOSED, "Target.FailedHealthChecks", "Health checks failed"),
        (SILENT, "Target.Timeout", "Request timed out"),
        (WRONG, "Target.ResponseCodeMismatch", "Health checks failed with these codes: [404]"),
        (SHUT, "Target.Timeout", "Request timed out"),
    ],
)
def test_each_failure_has_its_reason(gallery: Gallery, port: int, reason: str, words: str) -> None:
    assert gallery.last(port) == {"State": "unhealthy", "Reason": reason, "Description": words}


@pytest.mark.behaviour("elbv2.addresses_of_its_nodes")
def test_a_rule_with_the_range_of_its_nodes_admits_a_load_balancer(gallery: Gallery, network: Network) -> None:
    ec2, elb = gallery.sandbox.client("ec2"), gallery.sandbox.client("elbv2")
    made = ec2.create_security_group(GroupName="by-range", Description="by range", VpcId=network.vpc)["GroupId"]
    block = gallery.sandbox.facts["vpc_cidr"]
    elsewhere = block.replace(".0.0/16", ".200.0/24")
    for port, admitted in ((GOOD, block), (SHUT, elsewhere)):
        ranges = {"FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": admitted}]}
        ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=[{"IpProtocol": "tcp", **ranges}])
    interface = ec2.create_network_interface(SubnetId=network.subnets[1], Groups=[made])["NetworkInterface"]
    address, arn = interface["PrivateIpAddress"], gallery.groups["empty"]
    servers = [serve(address, port) for port in (GOOD, SHUT)]
    targets = [{"Id": address, "Port": port} for port in (GOOD, SHUT)]
    elb.register_targets(TargetGroupArn=arn, Targets=targets)

    def states() -> list[str]:
        found = elb.describe_target_health(TargetGroupArn=arn, Targets=targets)["TargetHealthDescriptions"]
        return [one["TargetHealth"]["State"] for one in found]

    try:
        until(lambda: states()[0] == "healthy", "admitted by its range", 5)
        assert states()[1] != "healthy"
    finally:
        elb.deregister_targets(TargetGroupArn=arn, Targets=targets)
        for server in servers:
            server.shutdown()
            server.server_close()
        ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
        ec2.delete_security_group(GroupId=made)


@pytest.mark.behaviour("elbv2.checked_port")
def test_checks_go_to_the_port_that_the_group_names(gallery: Gallery) -> None:
    assert gallery.health(CLOSED, "elsewhere") == {"State": "healthy"}


@pytest.mark.behaviour("ec2.lets_out")
def test_without_an_egress_rule_no_check_passes(gallery: Gallery) -> None:
    assert gallery.health(GOOD, "no-egress")["State"] == "unhealthy"


@pytest.mark.behaviour("elbv2.only_healthy_ones")
def test_only_healthy_targets_get_requests(gallery: Gallery) -> None:
    assert {gallery.get("/gallery") for _ in range(10)} == {(200, b"5000"), (200, b"5004")}


@pytest.mark.behaviour("elbv2.fails_open", "elbv2.broken_answer_is_502", "elbv2.silent_target_is_504")
def test_with_no_healthy_target_requests_go_to_the_others(gallery: Gallery) -> None:
    status, body = gallery.get("/closed")
    assert (status, b"<title>502 Bad Gateway</title>" in body) == (502, True)
    started = time.monotonic()
    status, body = gallery.get("/silent")
    assert (status, b"<title>504 Gateway Time-out</title>" in body) == (504, True)
    assert time.monotonic() - started > 0.9, "the idle timeout"


@pytest.mark.behaviour("elbv2.no_target_is_503")
def test_without_a_target_it_answers_503(gallery: Gallery) -> None:
    status, body = gallery.get("/empty")
    assert (status, b"<title>503 Service Temporarily Unavailable</title>" in body) == (503, True)


@pytest.mark.behaviour("elbv2.zone_is_not_enabled")
def test_a_target_in_a_zone_without_the_load_balancer_is_unused(gallery: Gallery, network: Network) -> None:
    ec2, elb = gallery.sandbox.client("ec2"), gallery.sandbox.client("elbv2")
    block = gallery.sandbox.facts["vpc_cidr"].replace(".0.0/16", ".61.0/24")
    made = ec2.create_subnet(VpcId=network.vpc, CidrBlock=block, AvailabilityZone="us-west-2c")["Subnet"]["SubnetId"]
    interface = ec2.create_network_interface(SubnetId=made)["NetworkInterface"]
    arn = elb.describe_load_balancers(Names=["gallery"])["LoadBalancers"][0]["LoadBalancerArn"]
    group, targets = gallery.groups["empty"], [{"Id": interface["PrivateIpAddress"], "Port": GOOD}]
    elb.register_targets(TargetGroupArn=group, Targets=targets)

    def health() -> Health:
        found = elb.describe_target_health(TargetGroupArn=group, Targets=targets)["TargetHealthDescriptions"][0]
        shown: Health = found["TargetHealth"]
        return shown

    try:
        until(lambda: health()["State"] == "unused", "unused", 2)
        assert health() == {
            "State": "unused",
            "Reason": "Target.NotInUse",
            "Description": "Target is in an Availability Zone that is not enabled for the load balancer",
        }
        assert gallery.get("/empty")[0] == 503
        elb.set_subnets(LoadBalancerArn=arn, Subnets=[*network.subnets, made])
        until(lambda: health()["State"] != "unused", "used", 2)
    finally:
        elb.set_subnets(LoadBalancerArn=arn, Subnets=network.subnets)
        elb.deregister_targets(TargetGroupArn=group, Targets=targets)
        ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
        ec2.delete_subnet(SubnetId=made)


@pytest.mark.behaviour("elbv2.weighted")
def test_a_target_group_of_weight_0_gets_nothing(gallery: Gallery) -> None:
    elb = gallery.sandbox.client("elbv2")
    balancer = elb.describe_load_balancers(Names=["gallery"])["LoadBalancers"][0]["LoadBalancerArn"]
    listener = elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"][0]["ListenerArn"]
    weights = [
        {"TargetGroupArn": gallery.groups["closed"], "Weight": 0},
        {"TargetGroupArn": gallery.groups["empty"], "Weight": 1},
    ]
    made = elb.create_rule(
        ListenerArn=listener,
        Priority=100,
        Conditions=[{"Field": "path-pattern", "Values": ["/weighted"]}],
        Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": weights}}],
    )["Rules"][0]["RuleArn"]
    assert {gallery.get("/weighted")[0] for _ in range(5)} == {503}
    elb.delete_rule(RuleArn=made)


@pytest.mark.behaviour("elbv2.draining")
def test_a_deregistered_target_drains_for_the_delay_and_gets_nothing(gallery: Gallery) -> None:
    gallery.register(LEAVING, "leaving")
    until(lambda: gallery.health(LEAVING, "leaving")["State"] == "healthy", "healthy", 5)
    assert gallery.get("/leaving") == (200, b"5005")
    gallery.deregister(LEAVING, "leaving")
    until(lambda: gallery.health(LEAVING, "leaving")["State"] == "draining", "draining", 1)
    assert gallery.health(LEAVING, "leaving") == {
        "State": "draining",
        "Reason": "Target.DeregistrationInProgress",
        "Description": "Target deregistration is in progress",
    }
    assert gallery.get("/leaving")[0] == 503
    until(lambda: gallery.health(LEAVING, "leaving")["State"] == "unused", "unused", 3)


@pytest.mark.behaviour("elbv2.health_is_shown_late")
def test_health_may_be_shown_late(gallery: Gallery) -> None:
    elb, arn = gallery.sandbox.client("elbv2"), gallery.groups["late"]

    def listed() -> list[str]:
        found = elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
        return [one["TargetHealth"]["State"] for one in found]

    with gallery.sandbox.switched(health_lag_seconds=1.5):
        started = time.monotonic()
        gallery.register(LATE, "late")
        until(lambda: gallery.health(LATE, "late")["State"] == "healthy", "healthy", 5)
        assert time.monotonic() - started > 1.5
        gallery.deregister(LATE, "late")
        assert listed() == ["healthy"]
        until(lambda: listed() == ["draining"], "draining", 3)
    until(lambda: listed() == [], "gone", 4)
