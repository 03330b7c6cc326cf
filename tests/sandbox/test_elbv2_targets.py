"""Target groups, targets, listeners and rules of the sandbox in the API: uniqueness, dependencies, limits."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.support import Network, Sandbox, refused
from tests.sandbox.test_ec2_vpc import remove_vpc

PREFIX = "arn:aws:elasticloadbalancing:us-west-2:123456789012:"
NO_GROUP = f"{PREFIX}targetgroup/nobody/0a1b2c3d4e5f6071"
NO_LISTENER = f"{PREFIX}listener/app/nobody/0a1b2c3d4e5f6071/0a1b2c3d4e5f6071"
NO_RULE = f"{PREFIX}listener-rule/app/nobody/0a1b2c3d4e5f6071/0a1b2c3d4e5f6071/0a1b2c3d4e5f6071"
FIXED = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "403"}}
PATH = [{"Field": "path-pattern", "Values": ["/x"]}]


@pytest.fixture(scope="module")
def elb(sandbox: Sandbox) -> Any:
    return sandbox.client("elbv2")


def make_balancer(elb: Any, network: Network, name: str) -> str:
    settings = {"Scheme": "internal", "Subnets": network.subnets, "SecurityGroups": [network.group]}
    return str(elb.create_load_balancer(Name=name, **settings)["LoadBalancers"][0]["LoadBalancerArn"])


def make_group(elb: Any, network: Network, name: str, **more: Any) -> str:
    settings = {"Protocol": "HTTP", "Port": 5000, "VpcId": network.vpc, "TargetType": "ip", **more}
    return str(elb.create_target_group(Name=name, **settings)["TargetGroups"][0]["TargetGroupArn"])


def listen(elb: Any, balancer: str, port: int, *actions: dict[str, Any], **more: Any) -> str:
    made = elb.create_listener(
        LoadBalancerArn=balancer, Port=port, DefaultActions=list(actions) or [FIXED], **{"Protocol": "HTTP", **more}
    )
    return str(made["Listeners"][0]["ListenerArn"])


def rule(elb: Any, listener: str, priority: int, action: dict[str, Any] | None = None) -> str:
    made = elb.create_rule(ListenerArn=listener, Priority=priority, Conditions=PATH, Actions=[action or FIXED])
    return str(made["Rules"][0]["RuleArn"])


def forward(group: str) -> dict[str, Any]:
    return {"Type": "forward", "TargetGroupArn": group}


@pytest.fixture
def balancer(elb: Any, network: Network) -> Iterator[str]:
    arn = make_balancer(elb, network, "targets")
    yield arn
    elb.delete_load_balancer(LoadBalancerArn=arn)


@pytest.fixture
def group(elb: Any, network: Network) -> Iterator[str]:
    arn = make_group(elb, network, "targets")
    yield arn
    elb.delete_target_group(TargetGroupArn=arn)


@contextlib.contextmanager
def group_elsewhere(sandbox: Sandbox) -> Iterator[str]:
    elb, ec2 = sandbox.client("elbv2"), sandbox.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.74.0.0/16")["Vpc"]["VpcId"]
    settings = {"Protocol": "HTTP", "Port": 5000, "VpcId": vpc, "TargetType": "ip"}
    arn = elb.create_target_group(Name="elsewhere", **settings)["TargetGroups"][0]["TargetGroupArn"]
    yield arn
    elb.delete_target_group(TargetGroupArn=arn)
    remove_vpc(ec2, vpc)


@pytest.mark.behaviour("elbv2.target_group_not_found")
def test_what_names_a_target_group_that_does_not_exist_is_refused(elb: Any, group: str) -> None:
    for given in ({"Names": ["nobody"]}, {"Names": ["targets", "nobody"]}, {"TargetGroupArns": [group, NO_GROUP]}):
        with refused("TargetGroupNotFound", "One or more target groups not found", 400):
            elb.describe_target_groups(**given)
    with refused("TargetGroupNotFound", "One or more target groups not found"):
        elb.describe_target_health(TargetGroupArn=NO_GROUP)


@pytest.mark.behaviour("elbv2.target_group_creation_is_idempotent", "elbv2.duplicate_target_group_name")
def test_the_same_target_group_again_is_the_same_and_other_settings_are_refused(
    elb: Any, network: Network, group: str
) -> None:
    assert make_group(elb, network, "targets") == group
    for more in ({"Port": 6000}, {"HealthCheckPath": "/healthz"}, {"Matcher": {"HttpCode": "204"}}):
        with refused("DuplicateTargetGroupName", "'targets' exists, but with different settings", 400):
            make_group(elb, network, "targets", **more)


@pytest.mark.behaviour("elbv2.target_group_in_a_vpc")
def test_a_target_group_is_in_a_vpc_that_exists(elb: Any, network: Network) -> None:
    with refused("ValidationError", "The VPC ID 'vpc-0a1b2c3d4e5f60718' is not found"):
        make_group(elb, network, "nowhere", VpcId="vpc-0a1b2c3d4e5f60718")


@pytest.mark.behaviour("elbv2.target_group_in_use", "elbv2.target_group_deletion_is_idempotent", "elbv2.receives_from")
def test_a_target_group_stays_while_a_rule_forwards_to_it(
    elb: Any, network: Network, balancer: str, group: str
) -> None:
    other = make_group(elb, network, "unused")
    listener = listen(elb, balancer, 80)
    made = rule(elb, listener, 1, forward(group))
    with refused("ResourceInUse", f"Target group '{group}' is currently in use by a listener or a rule", 400):
        elb.delete_target_group(TargetGroupArn=group)
    shown = elb.describe_target_groups(LoadBalancerArn=balancer)["TargetGroups"]
    assert [one["TargetGroupArn"] for one in shown] == [group]
    elb.delete_rule(RuleArn=made)
    elb.delete_target_group(TargetGroupArn=other)
    elb.delete_target_group(TargetGroupArn=other)


@pytest.mark.behaviour("elbv2.targets_in_the_vpc")
def test_targets_outside_the_vpc_are_refused(elb: Any, group: str) -> None:
    with refused("InvalidTarget", "not in the target group VPC CIDR or a routable range: '8.8.8.8'"):
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "8.8.8.8", "Port": 5000}])
    with refused("ValidationError", "The IP address 'somewhere' is not a valid"):
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "somewhere"}])


@pytest.mark.behaviour("elbv2.zone_of_a_target")
def test_a_target_outside_the_vpc_is_of_all_zones(elb: Any, network: Network, group: str, sandbox: Sandbox) -> None:
    inside = sandbox.facts["vpc_cidr"].replace(".0.0/16", ".10.99")
    with refused("ValidationError", "since the IP address '10.1.1.1' is outside the VPC", 400):
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.1.1.1"}])
    with refused("ValidationError", f"The IP address '{inside}' is within the VPC", 400):
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": inside, "AvailabilityZone": "all"}])
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "10.1.1.1", "AvailabilityZone": "all"}])


@pytest.mark.behaviour("elbv2.instances_exist")
def test_an_instance_that_does_not_run_is_no_target(elb: Any, network: Network) -> None:
    group = make_group(elb, network, "instances", TargetType="instance")
    with refused("InvalidTarget", "not in a running state and cannot be registered: 'i-0a1b2c3d4e5f60718'"):
        elb.register_targets(TargetGroupArn=group, Targets=[{"Id": "i-0a1b2c3d4e5f60718"}])
    elb.delete_target_group(TargetGroupArn=group)


@pytest.mark.behaviour("elbv2.too_many_targets")
def test_a_target_group_has_a_thousand_targets(elb: Any, group: str) -> None:
    everywhere = {"Port": 80, "AvailabilityZone": "all"}
    targets = [{"Id": f"10.1.{n // 250}.{n % 250}", **everywhere} for n in range(1001)]
    elb.register_targets(TargetGroupArn=group, Targets=targets[:1000])
    with refused("TooManyTargets", group):
        elb.register_targets(TargetGroupArn=group, Targets=targets[1000:])
    elb.register_targets(TargetGroupArn=group, Targets=targets[:1])


@pytest.mark.behaviour("elbv2.is_registered", "elbv2.deregistering_the_unknown_succeeds", "elbv2.not_in_use")
def test_a_target_is_its_address_and_port(sandbox: Sandbox, elb: Any, group: str) -> None:
    address = sandbox.facts["vpc_cidr"].rsplit(".", 2)[0] + ".10.200"
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": address}, {"Id": address, "Port": 6000}])
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": address, "Port": 5000}])

    def shown() -> list[tuple[int, str, str]]:
        found = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return [(one["Target"]["Port"], one["TargetHealth"]["State"], one["TargetHealth"]["Reason"]) for one in found]

    # Long enough for the checks to look at new targets, were there a load balancer.
    time.sleep(0.3)
    assert shown() == [(5000, "unused", "Target.NotInUse"), (6000, "unused", "Target.NotInUse")]
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": address}])
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": address}])
    assert shown() == [(6000, "unused", "Target.NotInUse")]


@pytest.mark.behaviour("elbv2.not_registered")
def test_a_target_that_is_not_registered_is_unused(elb: Any, group: str) -> None:
    asked = [{"Id": "10.1.1.1", "Port": 5000}]
    found = elb.describe_target_health(TargetGroupArn=group, Targets=asked)["TargetHealthDescriptions"]
    assert [one["TargetHealth"] for one in found] == [
        {
            "State": "unused",
            "Reason": "Target.NotRegistered",
            "Description": "Target is not registered to the target group",
        }
    ]


@pytest.mark.behaviour("elbv2.listener_not_found", "elbv2.rule_not_found")
def test_what_names_a_listener_or_rule_that_does_not_exist_is_refused(elb: Any, balancer: str) -> None:
    listener = listen(elb, balancer, 80)
    with refused("ListenerNotFound", "One or more listeners not found", 400):
        elb.describe_listeners(ListenerArns=[listener, NO_LISTENER])
    with refused("ListenerNotFound", "One or more listeners not found"):
        elb.delete_listener(ListenerArn=NO_LISTENER)
    with refused("RuleNotFound", "One or more rules not found", 400):
        elb.delete_rule(RuleArn=NO_RULE)
    with refused("RuleNotFound"):
        elb.set_rule_priorities(RulePriorities=[{"RuleArn": NO_RULE, "Priority": 1}])


@pytest.mark.behaviour("elbv2.duplicate_listener")
def test_a_port_has_one_listener(elb: Any, balancer: str) -> None:
    listen(elb, balancer, 80)
    other = listen(elb, balancer, 81)
    words = f"A listener already exists on this port for this load balancer '{balancer}'"
    with refused("DuplicateListener", words, 400):
        listen(elb, balancer, 80)
    with refused("DuplicateListener", words):
        elb.modify_listener(ListenerArn=other, Port=80)


@pytest.mark.behaviour("elbv2.priority_in_use", "elbv2.in_order")
def test_a_priority_has_one_rule_and_rules_are_listed_by_it(elb: Any, balancer: str) -> None:
    listener = listen(elb, balancer, 80)
    ten, nine = rule(elb, listener, 10), rule(elb, listener, 9)
    with refused("PriorityInUse", "Priority '10' is currently in use", 400):
        rule(elb, listener, 10)
    with refused("PriorityInUse"):
        elb.set_rule_priorities(RulePriorities=[{"RuleArn": nine, "Priority": 10}])
    with refused("PriorityInUse"):
        elb.set_rule_priorities(
            RulePriorities=[{"RuleArn": nine, "Priority": 5}, {"RuleArn": ten, "Priority": 5}],
        )
    shown = [one["Priority"] for one in elb.describe_rules(ListenerArn=listener)["Rules"]]
    assert shown == ["9", "10", "default"]
    elb.set_rule_priorities(RulePriorities=[{"RuleArn": nine, "Priority": 10}, {"RuleArn": ten, "Priority": 9}])
    shown = [one["RuleArn"] for one in elb.describe_rules(ListenerArn=listener)["Rules"]]
    assert shown[:2] == [ten, nine]


@pytest.mark.behaviour("elbv2.default_rule_stays")
def test_the_default_rule_stays_as_it_is(elb: Any, balancer: str) -> None:
    default = elb.describe_rules(ListenerArn=listen(elb, balancer, 80))["Rules"][0]["RuleArn"]
    for call in (
        lambda: elb.set_rule_priorities(RulePriorities=[{"RuleArn": default, "Priority": 7}]),
        lambda: elb.delete_rule(RuleArn=default),
    ):
        with refused("OperationNotPermitted", f"Default rule '{default}'", 400):
            call()


@pytest.mark.behaviour("elbv2.forwards_to_what_exists", "elbv2.forwards_within_its_vpc")
def test_listeners_and_rules_forward_to_groups_that_exist_in_their_vpc(
    sandbox: Sandbox, elb: Any, balancer: str
) -> None:
    listener = listen(elb, balancer, 80)
    weighted = {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": NO_GROUP, "Weight": 1}]}}
    for call in (
        lambda: listen(elb, balancer, 81, forward(NO_GROUP)),
        lambda: rule(elb, listener, 1, weighted),
        lambda: elb.modify_listener(ListenerArn=listener, DefaultActions=[forward(NO_GROUP)]),
    ):
        with refused("TargetGroupNotFound", "One or more target groups not found"):
            call()
    with (
        group_elsewhere(sandbox) as group,
        refused("InvalidConfigurationRequest", f"Target group '{group}' is in a different VPC than load balancer"),
    ):
        rule(elb, listener, 1, forward(group))


@pytest.mark.behaviour("elbv2.one_load_balancer_a_target_group")
def test_a_target_group_receives_from_one_load_balancer(elb: Any, network: Network, balancer: str, group: str) -> None:
    listener = listen(elb, balancer, 80, forward(group))
    other = make_balancer(elb, network, "targets-2")
    with refused("TargetGroupAssociationLimit", "cannot be associated with more than one load balancer"):
        listen(elb, other, 80, forward(group))
    elb.delete_load_balancer(LoadBalancerArn=other)
    elb.delete_listener(ListenerArn=listener)


@pytest.mark.behaviour("elbv2.certificate_not_found")
def test_an_https_listener_has_a_certificate_that_exists(sandbox: Sandbox, elb: Any, balancer: str) -> None:
    absent = "arn:aws:acm:us-west-2:123456789012:certificate/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
    with refused("CertificateNotFound", f"Certificate '{absent}' not found", 400):
        listen(elb, balancer, 443, Protocol="HTTPS", Certificates=[{"CertificateArn": absent}])
    acm = sandbox.client("acm")
    certificate = acm.request_certificate(DomainName="targets.example.com")["CertificateArn"]
    listener = listen(elb, balancer, 443, Protocol="HTTPS", Certificates=[{"CertificateArn": certificate}])
    with refused("CertificateNotFound"):
        elb.modify_listener(ListenerArn=listener, Certificates=[{"CertificateArn": absent}])
    elb.delete_listener(ListenerArn=listener)
    acm.delete_certificate(CertificateArn=certificate)


@pytest.mark.behaviour("elbv2.too_many_listeners", "elbv2.too_many_rules")
def test_a_load_balancer_has_fifty_listeners_and_a_hundred_rules(elb: Any, balancer: str) -> None:
    listeners = [listen(elb, balancer, 8000 + n) for n in range(50)]
    with refused("TooManyListeners", balancer):
        listen(elb, balancer, 8050)
    for number in range(100):
        rule(elb, listeners[number % 2], 1 + number)
    with refused("TooManyRules", balancer):
        rule(elb, listeners[2], 1)
