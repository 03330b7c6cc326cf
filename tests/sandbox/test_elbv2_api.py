"""ELBv2's API in the sandbox: names, uniqueness, dependencies, states, what goes with what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.support import Network, Sandbox, until

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


def test_two_subnets_in_two_zones_are_needed(sandbox: Sandbox, network: Network) -> None:
    ec2, elb = sandbox.client("ec2"), sandbox.client("elbv2")
    prefix = sandbox.facts["vpc_cidr"].rsplit(".", 2)[0]
    same_zone = ec2.create_subnet(VpcId=network.vpc, CidrBlock=f"{prefix}.77.0/24", AvailabilityZone="us-west-2a")
    second = same_zone["Subnet"]["SubnetId"]
    for subnets, code in (
        ([network.subnets[0]], "ValidationError"),
        ([network.subnets[0], second], "InvalidConfigurationRequest"),
        ([network.subnets[0], "subnet-0a1b2c3d4e5f60718"], "SubnetNotFound"),
    ):
        with pytest.raises(ClientError) as error:
            elb.create_load_balancer(Name="zones", Subnets=subnets, Scheme="internal")
        assert code_of(error) == code
    ec2.delete_subnet(SubnetId=second)


def test_an_internet_facing_one_needs_an_internet_gateway(sandbox: Sandbox, network: Network) -> None:
    with pytest.raises(ClientError, match="no internet gateway") as error:
        sandbox.client("elbv2").create_load_balancer(Name="outside", Subnets=network.subnets)
    assert code_of(error) == "InvalidSubnet"


def test_the_same_name_again_is_the_same_one_or_refused(
    sandbox: Sandbox, network: Network, alb: dict[str, Any]
) -> None:
    elb = sandbox.client("elbv2")
    same = elb.create_load_balancer(
        Name="api", Scheme="internal", Subnets=network.subnets, SecurityGroups=[network.group]
    )["LoadBalancers"][0]
    assert same["LoadBalancerArn"] == alb["LoadBalancerArn"]
    with pytest.raises(ClientError) as error:
        elb.create_load_balancer(Name="api", Scheme="internal", Subnets=network.subnets)
    assert code_of(error) == "DuplicateLoadBalancerName"


def test_target_groups_are_unique_by_name_and_within_limits(sandbox: Sandbox, network: Network, group: str) -> None:
    assert target_group(sandbox, network, "group") == group
    for more, code in (
        ({"Port": 6000}, "DuplicateTargetGroupName"),
        ({"HealthCheckIntervalSeconds": 301}, "ValidationError"),
        ({"HealthCheckTimeoutSeconds": 30}, "ValidationError"),
        ({"HealthyThresholdCount": 11}, "ValidationError"),
        ({"HealthCheckPath": "healthz"}, "ValidationError"),
        ({"Matcher": {"HttpCode": "500"}}, "ValidationError"),
        ({"VpcId": "vpc-0a1b2c3d4e5f60718"}, "ValidationError"),
    ):
        name = "group" if code.startswith("Duplicate") else "other"
        with pytest.raises(ClientError) as error:
            target_group(sandbox, network, name, **more)
        assert code_of(error) == code, more
    with pytest.raises(ClientError) as error:
        sandbox.client("elbv2").describe_target_groups(Names=["nobody"])
    assert code_of(error) == "TargetGroupNotFound"


def test_a_port_has_one_listener_and_a_priority_one_rule(sandbox: Sandbox, alb: dict[str, Any], group: str) -> None:
    elb = sandbox.client("elbv2")
    listen = {"LoadBalancerArn": alb["LoadBalancerArn"], "Protocol": "HTTP", "DefaultActions": [FIXED]}
    listener = elb.create_listener(Port=8080, **listen)["Listeners"][0]["ListenerArn"]
    with pytest.raises(ClientError) as error:
        elb.create_listener(Port=8080, **listen)
    assert code_of(error) == "DuplicateListener"
    rule = {
        "ListenerArn": listener,
        "Priority": 5,
        "Conditions": [{"Field": "path-pattern", "PathPatternConfig": {"Values": ["/x"]}}],
    }
    made = elb.create_rule(Actions=[{"Type": "forward", "TargetGroupArn": group}], **rule)["Rules"][0]
    assert made["Conditions"][0]["PathPatternConfig"]["Values"] == ["/x"]
    with pytest.raises(ClientError) as error:
        elb.create_rule(Actions=[FIXED], **rule)
    assert code_of(error) == "PriorityInUse"
    with pytest.raises(ClientError) as error:
        elb.delete_target_group(TargetGroupArn=group)
    assert code_of(error) == "ResourceInUse"
    shown = elb.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]
    assert shown["LoadBalancerArns"] == [alb["LoadBalancerArn"]]
    elb.delete_rule(RuleArn=made["RuleArn"])
    assert elb.describe_target_groups(TargetGroupArns=[group])["TargetGroups"][0]["LoadBalancerArns"] == []
    elb.delete_listener(ListenerArn=listener)
    with pytest.raises(ClientError) as error:
        elb.describe_listeners(ListenerArns=[listener])
    assert code_of(error) == "ListenerNotFound"


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


@pytest.mark.parametrize(("address", "code"), [("8.8.8.8", "InvalidTarget"), ("somewhere", "ValidationError")])
def test_targets_outside_the_vpc_are_refused(sandbox: Sandbox, group: str, address: str, code: str) -> None:
    with pytest.raises(ClientError) as error:
        sandbox.client("elbv2").register_targets(TargetGroupArn=group, Targets=[{"Id": address, "Port": 5000}])
    assert code_of(error) == code


def test_a_target_is_its_address_and_port(sandbox: Sandbox, group: str) -> None:
    elb = sandbox.client("elbv2")
    address = sandbox.facts["vpc_cidr"].rsplit(".", 2)[0] + ".10.200"
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": address}, {"Id": address, "Port": 6000}])
    elb.register_targets(TargetGroupArn=group, Targets=[{"Id": address, "Port": 5000}])

    def shown() -> list[tuple[int, str, str]]:
        found = elb.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        return [(one["Target"]["Port"], one["TargetHealth"]["State"], one["TargetHealth"]["Reason"]) for one in found]

    assert shown() == [(5000, "unused", "Target.NotInUse"), (6000, "unused", "Target.NotInUse")]
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": address}])
    elb.deregister_targets(TargetGroupArn=group, Targets=[{"Id": address}])
    assert shown() == [(6000, "unused", "Target.NotInUse")]


def test_deleting_takes_listeners_and_interfaces_along_and_may_be_repeated(sandbox: Sandbox, network: Network) -> None:
    elb, ec2 = sandbox.client("elbv2"), sandbox.client("ec2")
    group = ec2.create_security_group(GroupName="deleted", Description="x", VpcId=network.vpc)["GroupId"]
    made = elb.create_load_balancer(Name="deleted", Scheme="internal", Subnets=network.subnets, SecurityGroups=[group])[
        "LoadBalancers"
    ][0]
    arn = made["LoadBalancerArn"]
    listener = elb.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[FIXED])
    description = f"ELB {arn.partition('loadbalancer/')[2]}"
    look = [{"Name": "description", "Values": [description]}]
    interfaces = ec2.describe_network_interfaces(Filters=look)["NetworkInterfaces"]
    assert {one["SubnetId"] for one in interfaces} == set(network.subnets)
    assert all(one["RequesterManaged"] and one["RequesterId"] == "amazon-elb" for one in interfaces)
    with pytest.raises(ClientError) as error:
        ec2.delete_security_group(GroupId=group)
    assert code_of(error) == "DependencyViolation"
    protect = {"Key": "deletion_protection.enabled", "Value": "true"}
    elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[protect])
    with pytest.raises(ClientError) as error:
        elb.delete_load_balancer(LoadBalancerArn=arn)
    assert code_of(error) == "OperationNotPermitted"
    elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{**protect, "Value": "false"}])
    elb.delete_load_balancer(LoadBalancerArn=arn)
    elb.delete_load_balancer(LoadBalancerArn=arn)
    for look_up in (
        lambda: elb.describe_load_balancers(LoadBalancerArns=[arn]),
        lambda: elb.describe_listeners(ListenerArns=[listener["Listeners"][0]["ListenerArn"]]),
    ):
        with pytest.raises(ClientError):
            look_up()
    until(lambda: not ec2.describe_network_interfaces(Filters=look)["NetworkInterfaces"], "interfaces go")
    ec2.delete_security_group(GroupId=group)
