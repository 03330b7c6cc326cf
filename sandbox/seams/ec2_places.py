"""Where EC2 is: the account's attributes, regions, Availability Zones."""

from __future__ import annotations

from typing import Any

from sandbox.behaviours import behaviour
from sandbox.seams.ec2_lists import passes
from sandbox.seams.refusal import Params, Refused, Response

# Letters of the Availability Zones; the other regions have three.
ZONES = {"us-east-1": "abcdef", "us-west-2": "abcd"}


def install(ec2: Any) -> None:
    for name, handler in {
        "DescribeAccountAttributes": _describe_attributes,
        "DescribeRegions": _describe_regions,
        "DescribeAvailabilityZones": _describe_zones,
    }.items():
        ec2._ACTION_MAP[name] = lambda p, handler=handler: handler(ec2, p)


def zones(ec2: Any) -> dict[str, str]:
    """Availability Zones of the region: name → id."""
    region = ec2.get_region()
    names = [region + letter for letter in ZONES.get(region, "abc")]
    return {name: ec2._az_id_for_zone_name(name) for name in names}


@behaviour("ec2", otherwise=lambda _: {})
def _attributes_of_the_account(ec2: Any) -> dict[str, str]:
    """The account's attributes are its platform, its default VPC or `none`, and limits of interfaces and addresses.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAccountAttributes.html
    """
    return {
        "supported-platforms": "VPC",
        "default-vpc": next((vpc["VpcId"] for vpc in ec2._vpcs.values() if vpc["IsDefault"]), "none"),
        "vpc-max-security-groups-per-interface": "5",
        "max-instances": "20",
        "max-elastic-ips": "5",
        "vpc-max-elastic-ips": "5",
    }


def _describe_attributes(ec2: Any, p: Params) -> Response:
    wanted = ec2._parse_member_list(p, "AttributeName")
    items = "".join(
        f"<item><attributeName>{name}</attributeName><attributeValueSet><item><attributeValue>{value}"
        "</attributeValue></item></attributeValueSet></item>"
        for name, value in _attributes_of_the_account(ec2).items()
        if not wanted or name in wanted
    )
    answer: Response = ec2._xml(
        200, "DescribeAccountAttributesResponse", f"<accountAttributeSet>{items}</accountAttributeSet>"
    )
    return answer


def _describe_regions(ec2: Any, p: Params) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeRegions.html"""
    wanted, filters = ec2._parse_member_list(p, "RegionName"), ec2._parse_filters(p)
    items = ""
    for name, opted in ec2._AWS_REGIONS:
        endpoint = f"ec2.{name}.amazonaws.com"
        values = {"region-name": [name], "endpoint": [endpoint], "opt-in-status": [opted]}
        if (not wanted or name in wanted) and passes(ec2, name, values, filters):
            items += (
                f"<item><regionName>{name}</regionName><regionEndpoint>{endpoint}</regionEndpoint>"
                f"<optInStatus>{opted}</optInStatus></item>"
            )
    answer: Response = ec2._xml(200, "DescribeRegionsResponse", f"<regionInfo>{items}</regionInfo>")
    return answer


@behaviour("ec2", code="InvalidParameterValue")
def _unknown_zone(ec2: Any, names: list[str]) -> None:
    """An Availability Zone that the region has not is refused.
    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAvailabilityZones.html
    """
    for name in names:
        if name not in zones(ec2):
            raise Refused("InvalidParameterValue", f"Invalid availability zone: [{name}]")


def _describe_zones(ec2: Any, p: Params) -> Response:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeAvailabilityZones.html"""
    names, ids = ec2._parse_member_list(p, "ZoneName"), ec2._parse_member_list(p, "ZoneId")
    filters, region = ec2._parse_filters(p), ec2.get_region()
    _unknown_zone(ec2, names)
    items = ""
    for name, identifier in zones(ec2).items():
        members = {
            "groupName": f"{region}-zg-1",
            "networkBorderGroup": region,
            "optInStatus": "opt-in-not-required",
            "regionName": region,
            "zoneId": identifier,
            "zoneName": name,
            "zoneState": "available",
            "zoneType": "availability-zone",
        }
        values = {
            "group-name": [members["groupName"]],
            "opt-in-status": [members["optInStatus"]],
            "region-name": [region],
            "state": ["available"],
            "zone-id": [identifier],
            "zone-name": [name],
            "zone-type": [members["zoneType"]],
            **{other: [] for other in ("message", "parent-zone-id", "parent-zone-name")},
        }
        if (not names or name in names) and (not ids or identifier in ids) and passes(ec2, name, values, filters):
            items += f"<item>{''.join(f'<{key}>{value}</{key}>' for key, value in members.items())}<messageSet/></item>"
    answer: Response = ec2._xml(
        200, "DescribeAvailabilityZonesResponse", f"<availabilityZoneInfo>{items}</availabilityZoneInfo>"
    )
    return answer
