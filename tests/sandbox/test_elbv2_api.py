"""ELBv2's API in the sandbox: names, uniqueness, dependencies, states, what goes with what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.support import Network, Sandbox, refused

FIXED = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "403"}}


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


@pytest.fixture(scope="module")
def alb(sandbox: Sandbox, network: Network) -> Iterator[dict[str, Any]]:
    elb = sandbox.client("elbv2")
    made = elb.create_load_balancer(
        Name="api", Scheme="internal", Subnets=network.subnets, SecurityGroups=[network.group]
    )["LoadBalancers"][0]
    assert made["State"]["Code"] == "provisioning"
    elb.get_waiter("load_balancer_available").wait(
        LoadBalancerArns=[made["LoadBalancerArn"]], WaiterConfig={"Delay": 1}
    )
    yield made
    elb.delete_load_balancer(LoadBalancerArn=made["LoadBalancerArn"])


@pytest.fixture
def group(sandbox: Sandbox, network: Network) -> Iterator[str]:
    elb = sandbox.client("elbv2")
    arn = target_group(sandbox, network, "group")
    yield arn
    elb.delete_target_group(TargetGroupArn=arn)


def target_group(sandbox: Sandbox, network: Network, name: str, **more: Any) -> str:
    settings = {"Protocol": "HTTP", "Port": 5000, "VpcId": network.vpc, "TargetType": "ip", **more}
    made = sandbox.client("elbv2").create_target_group(Name=name, **settings)
    return str(made["TargetGroups"][0]["TargetGroupArn"])


def test_its_name_says_internal_and_its_zones_are_those_of_its_subnets(alb: dict[str, Any], network: Network) -> None:
    assert alb["DNSName"].startswith("internal-api-")
    assert alb["DNSName"].endswith(".us-west-2.elb.amazonaws.com")
    assert {(zone["ZoneName"], zone["SubnetId"]) for zone in alb["AvailabilityZones"]} == set(
        zip(["us-west-2a", "us-west-2b"], network.subnets, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("a" * 33, "longer than '32'"),
        ("-lead", "begin or end with a hyphen"),
        ("trail-", "begin or end with a hyphen"),
        ("under_score", "alphanumeric"),
        ("internal-x", "cannot begin with 'internal-'"),
    ],
)
def test_names_that_cannot_be_are_refused(sandbox: Sandbox, network: Network, name: str, part: str) -> None:
    with pytest.raises(ClientError, match=part) as error:
        sandbox.client("elbv2").create_load_balancer(Name=name, Subnets=network.subnets, Scheme="internal")
    assert code_of(error) == "ValidationError"


@pytest.mark.parametrize(
    "more",
    [
        {"HealthCheckIntervalSeconds": 301},
        {"HealthCheckTimeoutSeconds": 30},
        {"HealthyThresholdCount": 11},
        {"HealthCheckPath": "healthz"},
        {"Matcher": {"HttpCode": "500"}},
    ],
)
def test_health_checks_are_within_limits(sandbox: Sandbox, network: Network, more: dict[str, Any]) -> None:
    with refused("ValidationError"):
        target_group(sandbox, network, "other", **more)


@pytest.mark.behaviour("elbv2.arns_have_their_form")
def test_an_arn_of_another_region_or_account_is_not_valid(sandbox: Sandbox, alb: dict[str, Any], group: str) -> None:
    elb = sandbox.client("elbv2")
    for arn in (
        "api",
        alb["LoadBalancerArn"].replace("us-west-2", "eu-west-1"),
        alb["LoadBalancerArn"].replace("123456789012", "210987654321"),
        group,
    ):
        for call in (
            lambda arn=arn: elb.describe_load_balancers(LoadBalancerArns=[arn]),
            lambda arn=arn: elb.describe_listeners(LoadBalancerArn=arn),
            lambda arn=arn: elb.delete_load_balancer(LoadBalancerArn=arn),
        ):
            with refused("ValidationError", f"'{arn}' is not a valid load balancer ARN", 400):
                call()
    with refused("ValidationError", f"'{alb['LoadBalancerArn']}' is not a valid target group ARN", 400):
        elb.describe_target_health(TargetGroupArn=alb["LoadBalancerArn"])


@pytest.mark.behaviour("elbv2.twenty_at_a_time")
def test_twenty_are_described_at_a_time(sandbox: Sandbox, alb: dict[str, Any], group: str) -> None:
    elb = sandbox.client("elbv2")
    for call, words in (
        (lambda: elb.describe_target_groups(TargetGroupArns=[group] * 21), "more than '20' target groups"),
        (lambda: elb.describe_target_groups(Names=[f"g{n}" for n in range(21)]), "more than '20' target groups"),
        (lambda: elb.describe_load_balancers(LoadBalancerArns=[alb["LoadBalancerArn"]] * 21), "'20' load balancers"),
        (lambda: elb.describe_tags(ResourceArns=[group] * 21), "more than 20 resources"),
    ):
        with refused("ValidationError", words, 400):
            call()


@pytest.mark.behaviour("elbv2.five_values_a_rule")
def test_the_conditions_of_a_rule_have_five_values(sandbox: Sandbox, alb: dict[str, Any]) -> None:
    elb = sandbox.client("elbv2")
    listener = elb.create_listener(
        LoadBalancerArn=alb["LoadBalancerArn"], Protocol="HTTP", Port=8082, DefaultActions=[FIXED]
    )["Listeners"][0]["ListenerArn"]
    header = {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-Run", "Values": ["1", "2"]}}
    path = {"Field": "path-pattern", "Values": ["/a", "/b", "/c"]}
    host = {"Field": "host-header", "HostHeaderConfig": {"Values": ["a.example"]}}
    with refused("ValidationError", "A rule can only have '5' condition values", 400):
        elb.create_rule(ListenerArn=listener, Priority=1, Conditions=[header, path, host], Actions=[FIXED])
    made = elb.create_rule(ListenerArn=listener, Priority=1, Conditions=[header, path], Actions=[FIXED])["Rules"][0]
    with refused("ValidationError", "A rule can only have '5' condition values", 400):
        elb.modify_rule(RuleArn=made["RuleArn"], Conditions=[header, path, host])
    elb.delete_listener(ListenerArn=listener)


def test_weighted_groups_and_query_conditions_come_back_as_sent(
    sandbox: Sandbox, network: Network, alb: dict[str, Any], group: str
) -> None:
    elb = sandbox.client("elbv2")
    other = target_group(sandbox, network, "weighted")
    groups = [{"TargetGroupArn": group, "Weight": 1}, {"TargetGroupArn": other, "Weight": 9}]
    listener = elb.create_listener(
        LoadBalancerArn=alb["LoadBalancerArn"], Protocol="HTTP", Port=8081, DefaultActions=[FIXED]
    )["Listeners"][0]["ListenerArn"]
    values = [{"Key": "run", "Value": "7"}, {"Value": "any&thing"}]
    elb.create_rule(
        ListenerArn=listener,
        Priority=1,
        Conditions=[{"Field": "query-string", "QueryStringConfig": {"Values": values}}],
        Actions=[{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}],
    )
    rule = elb.describe_rules(ListenerArn=listener)["Rules"][0]
    assert rule["Conditions"][0]["QueryStringConfig"]["Values"] == values
    assert rule["Actions"][0]["ForwardConfig"]["TargetGroups"] == groups
    elb.delete_listener(ListenerArn=listener)
    elb.delete_target_group(TargetGroupArn=other)
