"""Load balancers of the sandbox in the API: what they need, what they hold, how they come and go."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.sandbox.support import Network, Sandbox, make_network, open_folder, refused, until
from tests.sandbox.test_ec2_vpc import gateway_of, remove_vpc, subnet_in

FIXED = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "403"}}
ABSENT = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/nobody/0a1b2c3d4e5f6071"


@dataclass
class Elb:
    """Clients, and load balancers that go with the test."""

    sandbox: Sandbox
    network: Network
    api: Any
    ec2: Any
    made: list[str]

    def create(self, name: str, **more: Any) -> dict[str, Any]:
        settings = {
            "Scheme": "internal",
            "Subnets": self.network.subnets,
            "SecurityGroups": [self.network.group],
            **more,
        }
        made: dict[str, Any] = self.api.create_load_balancer(Name=name, **settings)["LoadBalancers"][0]
        self.made.append(made["LoadBalancerArn"])
        return made

    def interfaces(self, arn: str) -> list[dict[str, Any]]:
        named = [{"Name": "description", "Values": [f"ELB {arn.partition('loadbalancer/')[2]}"]}]
        found: list[dict[str, Any]] = self.ec2.describe_network_interfaces(Filters=named)["NetworkInterfaces"]
        return found

    def state(self, arn: str) -> str:
        found = self.api.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"]
        return str(found[0]["State"]["Code"])

    def group(self, name: str) -> str:
        made = self.ec2.create_security_group(GroupName=name, Description="x", VpcId=self.network.vpc)
        return str(made["GroupId"])


@pytest.fixture
def elb(sandbox: Sandbox, network: Network) -> Iterator[Elb]:
    kept = Elb(sandbox, network, sandbox.client("elbv2"), sandbox.client("ec2"), [])
    yield kept
    for arn in kept.made:
        kept.api.delete_load_balancer(LoadBalancerArn=arn)


@contextlib.contextmanager
def vpc_elsewhere(elb: Elb) -> Iterator[str]:
    vpc = elb.ec2.create_vpc(CidrBlock="10.75.0.0/16")["Vpc"]["VpcId"]
    yield vpc
    remove_vpc(elb.ec2, vpc)


@pytest.mark.behaviour("elbv2.load_balancer_not_found", "elbv2.listed_load_balancers_exist")
def test_what_names_a_load_balancer_that_does_not_exist_is_refused(elb: Elb) -> None:
    known = elb.create("known")
    for call, given in (
        (elb.api.describe_listeners, {}),
        (elb.api.describe_target_groups, {}),
        (elb.api.set_security_groups, {"SecurityGroups": [elb.network.group]}),
        (elb.api.create_listener, {"Protocol": "HTTP", "Port": 80, "DefaultActions": [FIXED]}),
    ):
        with refused("LoadBalancerNotFound", "One or more load balancers not found", 400):
            call(LoadBalancerArn=ABSENT, **given)
    with refused("LoadBalancerNotFound", "Load balancers '[nobody]' not found"):
        elb.api.describe_load_balancers(Names=["known", "nobody"])
    with refused("LoadBalancerNotFound"):
        elb.api.describe_load_balancers(LoadBalancerArns=[known["LoadBalancerArn"], ABSENT])


@pytest.mark.behaviour("elbv2.subnets_exist", "elbv2.two_zones", "elbv2.one_subnet_a_zone")
def test_it_needs_two_subnets_in_two_zones(elb: Elb) -> None:
    first, prefix = elb.network.subnets[0], elb.sandbox.facts["vpc_cidr"].rsplit(".", 2)[0]
    beside = subnet_in(elb.ec2, elb.network.vpc, f"{prefix}.78.0/24", AvailabilityZone="us-west-2a")
    with refused("SubnetNotFound", "The subnet ID 'subnet-0a1b2c3d4e5f60718' does not exist"):
        elb.create("zones", Subnets=[first, "subnet-0a1b2c3d4e5f60718"])
    with refused("ValidationError", "At least two subnets in two different Availability Zones"):
        elb.create("zones", Subnets=[first])
    with refused("InvalidConfigurationRequest", "multiple subnets in the same Availability Zone"):
        elb.create("zones", Subnets=[first, beside])
    elb.ec2.delete_subnet(SubnetId=beside)


@pytest.mark.behaviour("elbv2.subnets_of_one_vpc", "elbv2.security_groups_of_its_vpc", "elbv2.security_groups_exist")
def test_its_subnets_and_groups_are_of_one_vpc(elb: Elb) -> None:
    made = elb.create("one-vpc")["LoadBalancerArn"]
    with vpc_elsewhere(elb) as vpc:
        subnets = [
            subnet_in(elb.ec2, vpc, f"10.75.{n}.0/24", AvailabilityZone=f"us-west-2{zone}")
            for n, zone in enumerate("ab")
        ]
        group = elb.ec2.create_security_group(GroupName="elsewhere", Description="x", VpcId=vpc)["GroupId"]
        for call in (
            lambda: elb.create("mixed", Subnets=[elb.network.subnets[0], subnets[1]]),
            lambda: elb.api.set_subnets(LoadBalancerArn=made, Subnets=subnets),
        ):
            with refused("InvalidConfigurationRequest", "All subnets must belong to the same VPC"):
                call()
        for call in (
            lambda: elb.create("mixed", SecurityGroups=[group]),
            lambda: elb.api.set_security_groups(LoadBalancerArn=made, SecurityGroups=[group]),
        ):
            with refused("InvalidConfigurationRequest", "One or more security groups are invalid"):
                call()
    with refused("InvalidSecurityGroup", "The security group 'sg-0a1b2c3d4e5f60718' does not exist"):
        elb.create("mixed", SecurityGroups=["sg-0a1b2c3d4e5f60718"])


@pytest.mark.behaviour("elbv2.internet_gateway_needed", "ec2.public_addresses_hold_the_gateway")
def test_an_internet_facing_one_needs_a_gateway_and_holds_it(elb: Elb) -> None:
    with vpc_elsewhere(elb) as vpc:
        subnets = [
            subnet_in(elb.ec2, vpc, f"10.75.{n}.0/24", AvailabilityZone=f"us-west-2{zone}")
            for n, zone in enumerate("ab")
        ]
        settings = {"Scheme": "internet-facing", "Subnets": subnets, "SecurityGroups": []}
        with refused("InvalidSubnet", f"VPC {vpc} has no internet gateway"):
            elb.create("outside", **settings)
        gateway = gateway_of(elb.ec2, vpc)
        made = elb.create("outside", **settings)["LoadBalancerArn"]
        with refused("DependencyViolation", f"Network {vpc} has some mapped public address(es)."):
            elb.ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        elb.api.delete_load_balancer(LoadBalancerArn=made)


@pytest.mark.behaviour("elbv2.eight_free_addresses")
def test_a_subnet_has_eight_free_addresses_for_it(elb: Elb) -> None:
    prefix = elb.sandbox.facts["vpc_cidr"].rsplit(".", 2)[0]
    small = subnet_in(elb.ec2, elb.network.vpc, f"{prefix}.79.0/28", AvailabilityZone="us-west-2a")
    held = [elb.ec2.create_network_interface(SubnetId=small)["NetworkInterface"] for _ in range(4)]
    with refused("InvalidSubnet", f"Not enough IP space available in {small}. ELB requires at least 8 free"):
        elb.create("small", Subnets=[small, elb.network.subnets[1]])
    for interface in held:
        elb.ec2.delete_network_interface(NetworkInterfaceId=interface["NetworkInterfaceId"])
    made = elb.create("small", Subnets=[small, elb.network.subnets[1]])["LoadBalancerArn"]
    elb.api.delete_load_balancer(LoadBalancerArn=made)
    elb.ec2.delete_subnet(SubnetId=small)


@pytest.mark.behaviour("elbv2.load_balancer_creation_is_idempotent", "elbv2.duplicate_load_balancer_name")
def test_the_same_again_is_the_same_and_other_settings_are_refused(elb: Elb) -> None:
    made = elb.create("twice")
    assert elb.create("twice")["LoadBalancerArn"] == made["LoadBalancerArn"]
    with refused("DuplicateLoadBalancerName", "'twice' exists, but with different settings", 400):
        elb.create("twice", SecurityGroups=[])


@pytest.mark.behaviour("elbv2.provisioning_first", "elbv2.serves_once_active", "elbv2.default_group_when_none_is_named")
def test_it_is_provisioned_before_it_serves_anybody(elb: Elb) -> None:
    made = elb.create("slow", SecurityGroups=[])
    arn = made["LoadBalancerArn"]
    default = elb.ec2.describe_security_groups(GroupIds=made["SecurityGroups"])["SecurityGroups"]
    assert [(group["GroupName"], group["VpcId"]) for group in default] == [("default", elb.network.vpc)]
    elb.api.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[elb.network.group])
    admit_80 = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}]
    elb.ec2.authorize_security_group_ingress(GroupId=elb.network.group, IpPermissions=admit_80)
    elb.api.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[FIXED])
    try:
        assert (made["State"]["Code"], elb.state(arn)) == ("provisioning", "provisioning")
        with pytest.raises(http.client.RemoteDisconnected):
            get(elb.sandbox, made["DNSName"])
        until(lambda: elb.state(arn) == "active", "active", 5)
        assert get(elb.sandbox, made["DNSName"]) == 403
    finally:
        elb.ec2.revoke_security_group_ingress(GroupId=elb.network.group, IpPermissions=admit_80)


def get(sandbox: Sandbox, host: str, path: str = "/") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", sandbox.facts["port"], timeout=5)
    connection.request("GET", path, headers={"Host": host})
    return connection.getresponse().status


@pytest.mark.behaviour(
    "elbv2.interface_in_each_subnet",
    "elbv2.interfaces_go_with_it",
    "ec2.interface_in_use",
    "ec2.attachment_of_a_service",
    "ec2.attachment_not_found",
)
def test_its_interfaces_come_and_go_with_it_and_not_by_hand(elb: Elb) -> None:
    group = elb.group("interfaces")
    arn = elb.create("interfaces", SecurityGroups=[group])["LoadBalancerArn"]
    found = elb.interfaces(arn)
    assert {one["SubnetId"] for one in found} == set(elb.network.subnets)
    assert {(one["RequesterId"], one["RequesterManaged"], one["Status"]) for one in found} == {
        ("amazon-elb", True, "in-use")
    }
    with refused("InvalidParameterValue", f"'{found[0]['NetworkInterfaceId']}' is currently in use."):
        elb.ec2.delete_network_interface(NetworkInterfaceId=found[0]["NetworkInterfaceId"])
    with refused("OperationNotPermitted", "You are not allowed to manage 'ela-attach' attachments."):
        elb.ec2.detach_network_interface(AttachmentId=found[0]["Attachment"]["AttachmentId"])
    with refused("InvalidAttachmentID.NotFound", "'eni-attach-0a1b2c3d4e5f60718' does not exist"):
        elb.ec2.detach_network_interface(AttachmentId="eni-attach-0a1b2c3d4e5f60718")
    with refused("DependencyViolation", f"resource {group} has a dependent object"):
        elb.ec2.delete_security_group(GroupId=group)
    elb.api.delete_load_balancer(LoadBalancerArn=arn)
    assert elb.interfaces(arn) == []
    elb.ec2.delete_security_group(GroupId=group)


@pytest.mark.behaviour("elbv2.interfaces_take_its_groups", "elbv2.interfaces_follow_its_subnets")
def test_its_interfaces_follow_when_groups_and_subnets_are_changed(elb: Elb) -> None:
    group, prefix = elb.group("changed"), elb.sandbox.facts["vpc_cidr"].rsplit(".", 2)[0]
    third = subnet_in(elb.ec2, elb.network.vpc, f"{prefix}.80.0/24", AvailabilityZone="us-west-2c")
    arn = elb.create("changed")["LoadBalancerArn"]
    assert elb.api.set_security_groups(LoadBalancerArn=arn, SecurityGroups=[group])["SecurityGroupIds"] == [group]
    assert [g["GroupId"] for one in elb.interfaces(arn) for g in one["Groups"]] == [group, group]
    subnets = [elb.network.subnets[0], third]
    zones = elb.api.set_subnets(LoadBalancerArn=arn, Subnets=subnets)["AvailabilityZones"]
    assert {zone["ZoneName"] for zone in zones} == {"us-west-2a", "us-west-2c"}
    assert {one["SubnetId"] for one in elb.interfaces(arn)} == set(subnets)
    elb.api.delete_load_balancer(LoadBalancerArn=arn)
    elb.ec2.delete_subnet(SubnetId=third)
    elb.ec2.delete_security_group(GroupId=group)


@pytest.mark.behaviour("elbv2.deletion_protection", "elbv2.deletion_is_idempotent", "elbv2.listeners_go_with_it")
def test_a_deletion_takes_listeners_along_may_be_repeated_and_forbidden(elb: Elb) -> None:
    arn = elb.create("deleted")["LoadBalancerArn"]
    listener = elb.api.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=80, DefaultActions=[FIXED])
    protect = {"Key": "deletion_protection.enabled", "Value": "true"}
    elb.api.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[protect])
    with refused("OperationNotPermitted", "because deletion protection is enabled", 400):
        elb.api.delete_load_balancer(LoadBalancerArn=arn)
    elb.api.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=[{**protect, "Value": "false"}])
    elb.api.delete_load_balancer(LoadBalancerArn=arn)
    elb.api.delete_load_balancer(LoadBalancerArn=arn)
    with refused("ListenerNotFound"):
        elb.api.describe_listeners(ListenerArns=[listener["Listeners"][0]["ListenerArn"]])


@pytest.mark.behaviour("elbv2.access_logs_need_their_bucket")
def test_access_logs_need_a_bucket_that_lets_them_in(elb: Elb) -> None:
    arn, s3 = elb.create("logged")["LoadBalancerArn"], elb.sandbox.client("s3")
    wanted = [
        {"Key": "access_logs.s3.enabled", "Value": "true"},
        {"Key": "access_logs.s3.bucket", "Value": "elbv2-access-logs"},
    ]
    s3.create_bucket(
        Bucket="elbv2-access-logs", CreateBucketConfiguration={"LocationConstraint": elb.sandbox.facts["region"]}
    )
    with refused("InvalidConfigurationRequest", "Access Denied for bucket: elbv2-access-logs."):
        elb.api.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=wanted)
    delivery = {
        "Effect": "Allow",
        "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": "arn:aws:s3:::elbv2-access-logs/*",
    }
    policy = {"Version": "2012-10-17", "Statement": [delivery]}
    s3.put_bucket_policy(Bucket="elbv2-access-logs", Policy=json.dumps(policy))
    elb.api.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=wanted)
    s3.delete_bucket_policy(Bucket="elbv2-access-logs")
    s3.delete_bucket(Bucket="elbv2-access-logs")


@pytest.mark.behaviour("elbv2.page", "elbv2.unknown_marker")
def test_lists_come_page_by_page(elb: Elb) -> None:
    arn = elb.create("paged")["LoadBalancerArn"]
    listeners = [
        elb.api.create_listener(LoadBalancerArn=arn, Protocol="HTTP", Port=port, DefaultActions=[FIXED])
        for port in range(8000, 8005)
    ]
    made = {listener["Listeners"][0]["ListenerArn"] for listener in listeners}
    pages = list(
        elb.api.get_paginator("describe_listeners").paginate(LoadBalancerArn=arn, PaginationConfig={"PageSize": 2})
    )
    assert [len(page["Listeners"]) for page in pages] == [2, 2, 1]
    assert {listener["ListenerArn"] for page in pages for listener in page["Listeners"]} == made
    calls: list[Callable[..., Any]] = [elb.api.describe_load_balancers, elb.api.describe_target_groups]
    for call in calls:
        with refused("ValidationError", "'made-up'"):
            call(Marker="made-up")


@pytest.mark.behaviour("elbv2.too_many_tags", "elbv2.duplicate_tag_keys")
def test_a_resource_has_fifty_tags_with_different_keys(elb: Elb) -> None:
    arn = elb.create("tagged", Tags=[{"Key": "k0", "Value": "v"}])["LoadBalancerArn"]
    tags = [{"Key": f"k{n}", "Value": "w"} for n in range(50)]
    elb.api.add_tags(ResourceArns=[arn], Tags=tags)
    shown = elb.api.describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"]
    assert shown == tags
    with refused("TooManyTags", arn):
        elb.api.add_tags(ResourceArns=[arn], Tags=[{"Key": "one more", "Value": ""}])
    with refused("DuplicateTagKeys", "Tag keys must be unique"):
        elb.api.add_tags(ResourceArns=[arn], Tags=[tags[0], tags[0]])


@pytest.mark.behaviour("elbv2.name_is_not_known_yet")
def test_nobody_knows_a_new_name_for_a_while(elb: Elb) -> None:
    with elb.sandbox.switched(dns_seconds=2.5):
        made = elb.create("late")
        until(lambda: elb.state(made["LoadBalancerArn"]) == "active", "active", 5)
        with pytest.raises(http.client.RemoteDisconnected):
            get(elb.sandbox, made["DNSName"])
        elb.api.create_listener(
            LoadBalancerArn=made["LoadBalancerArn"], Protocol="HTTP", Port=80, DefaultActions=[FIXED]
        )
        admit_80 = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "127.0.0.1/32"}]}]
        elb.ec2.authorize_security_group_ingress(GroupId=elb.network.group, IpPermissions=admit_80)
        try:
            with pytest.raises(http.client.RemoteDisconnected):
                get(elb.sandbox, made["DNSName"])

            def known() -> bool:
                with contextlib.suppress(http.client.RemoteDisconnected):
                    return get(elb.sandbox, made["DNSName"]) == 403
                return False

            until(known, "the name is known", 5)
        finally:
            elb.ec2.revoke_security_group_ingress(GroupId=elb.network.group, IpPermissions=admit_80)


@pytest.mark.behaviour("elbv2.interfaces_outlive_it")
def test_its_interfaces_may_outlive_it_and_hold_group_and_subnet(elb: Elb) -> None:
    group, prefix = elb.group("outlived"), elb.sandbox.facts["vpc_cidr"].rsplit(".", 2)[0]
    third = subnet_in(elb.ec2, elb.network.vpc, f"{prefix}.81.0/24", AvailabilityZone="us-west-2c")
    subnets = [elb.network.subnets[0], third]
    with elb.sandbox.switched(alb_interface_seconds=2):
        arn = elb.create("outlived", SecurityGroups=[group], Subnets=subnets)["LoadBalancerArn"]
        elb.api.delete_load_balancer(LoadBalancerArn=arn)
        assert len(elb.interfaces(arn)) == 2
        with refused("DependencyViolation"):
            elb.ec2.delete_security_group(GroupId=group)
        with refused("DependencyViolation"):
            elb.ec2.delete_subnet(SubnetId=third)
    until(lambda: not elb.interfaces(arn), "interfaces go", 5)
    elb.ec2.delete_security_group(GroupId=group)
    elb.ec2.delete_subnet(SubnetId=third)


def test_interfaces_that_outlive_it_go_on_time_over_a_restart() -> None:
    with open_folder() as root:
        running = Sandbox(root).up()
        try:
            network = make_network(running)
            elb = Elb(running, network, running.client("elbv2"), running.client("ec2"), [])
            with running.switched(alb_interface_seconds=4):
                arn = elb.create("restarted")["LoadBalancerArn"]
                elb.api.delete_load_balancer(LoadBalancerArn=arn)
            running.down()
            running.up()
            elb = Elb(running, network, running.client("elbv2"), running.client("ec2"), [])
            assert len(elb.interfaces(arn)) == 2
            until(lambda: not elb.interfaces(arn), "interfaces go", 6)
        finally:
            running.down()
