"""Regions, Availability Zones and the account's attributes in the sandbox's EC2."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.support import Network, Sandbox, refused


@pytest.fixture
def ec2(sandbox: Sandbox) -> Any:
    return sandbox.client("ec2")


@pytest.mark.behaviour("ec2.attributes_of_the_account")
def test_the_account_has_attributes(ec2: Any) -> None:
    found = {
        one["AttributeName"]: [value["AttributeValue"] for value in one["AttributeValues"]]
        for one in ec2.describe_account_attributes()["AccountAttributes"]
    }
    assert found["supported-platforms"] == ["VPC"]
    assert found["vpc-max-security-groups-per-interface"] == ["5"]
    default = [{"Name": "is-default", "Values": ["true"]}]
    assert found["default-vpc"] == [vpc["VpcId"] for vpc in ec2.describe_vpcs(Filters=default)["Vpcs"]] or ["none"]
    asked = ec2.describe_account_attributes(AttributeNames=["default-vpc"])["AccountAttributes"]
    assert [one["AttributeName"] for one in asked] == ["default-vpc"]


@pytest.mark.behaviour("ec2.filtered")
@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"region-name": ["us-west-*"]}, {"us-west-1", "us-west-2"}),
        ({"endpoint": ["ec2.eu-west-1.amazonaws.com"]}, {"eu-west-1"}),
        ({"region-name": ["us-west-2"], "opt-in-status": ["opted-in"]}, set()),
    ],
)
def test_regions_are_found_by_their_filters(ec2: Any, filters: dict[str, list[str]], names: set[str]) -> None:
    asked = [{"Name": name, "Values": values} for name, values in filters.items()]
    assert {region["RegionName"] for region in ec2.describe_regions(Filters=asked)["Regions"]} == names


@pytest.mark.behaviour("ec2.filtered", "ec2.unknown_filter")
def test_zones_are_found_by_their_filters(ec2: Any) -> None:
    everywhere = ec2.describe_availability_zones()["AvailabilityZones"]
    assert [zone["ZoneName"] for zone in everywhere] == [f"us-west-2{letter}" for letter in "abcd"]
    assert all(zone["Messages"] == [] for zone in everywhere)
    asked = [{"Name": "zone-name", "Values": ["us-west-2b"]}, {"Name": "state", "Values": ["available"]}]
    assert ec2.describe_availability_zones(Filters=asked)["AvailabilityZones"] == everywhere[1:2]
    with refused("InvalidParameterValue", "The filter 'zone' is invalid", 400):
        ec2.describe_availability_zones(Filters=[{"Name": "zone", "Values": ["us-west-2b"]}])


@pytest.mark.behaviour("ec2.unknown_zone")
def test_a_zone_that_the_region_has_not_is_refused(ec2: Any) -> None:
    with refused("InvalidParameterValue", "Invalid availability zone: [us-west-2z]", 400):
        ec2.describe_availability_zones(ZoneNames=["us-west-2a", "us-west-2z"])


@pytest.mark.behaviour("ec2.zone_by_its_id")
def test_a_subnet_lies_in_the_zone_of_the_id(ec2: Any, sandbox: Sandbox, network: Network) -> None:
    zone = ec2.describe_availability_zones(ZoneNames=["us-west-2d"])["AvailabilityZones"][0]
    block = sandbox.facts["vpc_cidr"].replace(".0.0/16", ".60.0/24")
    made = ec2.create_subnet(VpcId=network.vpc, CidrBlock=block, AvailabilityZoneId=zone["ZoneId"])["Subnet"]
    ec2.delete_subnet(SubnetId=made["SubnetId"])
    assert made["AvailabilityZone"] == "us-west-2d"
