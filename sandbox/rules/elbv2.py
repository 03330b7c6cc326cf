"""What ELBv2 refuses of load balancers, target groups and targets, by its records."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from sandbox.emulator import core, service
from sandbox.rules import Refusal, rule
from sandbox.seams.ec2 import default_groups, free_addresses
from sandbox.seams.ec2_blocks import ipv4_blocks
from sandbox.seams.elbv2_rules import users_of

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

# Private ranges that may be targets though they lie outside the VPC (RFC 1918, RFC 6598).
ROUTABLE = [ipaddress.ip_network(text) for text in ("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16")]
NOWHERE = {"CidrBlock": "127.0.0.0/32"}
FREE_ADDRESSES = 8
TAGS = 50
TARGETS = 1000
AT_A_TIME = 20
DESCRIBES = ("DescribeLoadBalancers", "DescribeTargetGroups")
ON_BALANCER = (
    "DescribeLoadBalancerAttributes",
    "ModifyLoadBalancerAttributes",
    "SetSecurityGroups",
    "SetSubnets",
    "SetIpAddressType",
    "CreateListener",
    "DescribeListeners",
    "DescribeTargetGroups",
)
ON_GROUP = (
    "ModifyTargetGroup",
    "DescribeTargetGroupAttributes",
    "ModifyTargetGroupAttributes",
    "RegisterTargets",
    "DeregisterTargets",
    "DescribeTargetHealth",
)


@rule("elbv2", *ON_BALANCER, *ON_GROUP, *DESCRIBES, "DeleteLoadBalancer", code="ValidationError", stateful=False)
def arns_have_their_form(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An ARN of a load balancer or target group is one of the region and account that are asked.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html
    """
    given, responses = request.parameters, core("responses")
    place = f"arn:aws:elasticloadbalancing:{responses.get_region()}:{responses.get_account_id()}:"
    for kind, part, one, several in (
        ("load balancer", "loadbalancer/", "LoadBalancerArn", "LoadBalancerArns"),
        ("target group", "targetgroup/", "TargetGroupArn", "TargetGroupArns"),
    ):
        for arn in [given[one]] if one in given else given.get(several) or []:
            if not arn.startswith(place + part):
                return Refusal("ValidationError", f"'{arn}' is not a valid {kind} ARN")
    return None


@rule("elbv2", *DESCRIBES, "DescribeTags", code="ValidationError", stateful=False)
def twenty_at_a_time(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A request describes at most 20 load balancers, target groups or resources with tags by their names.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTags.html
    """
    given = request.parameters
    named = [given.get(member) or [] for member in ("LoadBalancerArns", "TargetGroupArns", "Names", "ResourceArns")]
    if max(map(len, named)) <= AT_A_TIME:
        return None
    if request.operation == "DescribeTags":
        return Refusal("ValidationError", f"Cannot have more than {AT_A_TIME} resources described")
    kind = "target groups" if request.operation == "DescribeTargetGroups" else "load balancers"
    return Refusal("ValidationError", f"You cannot describe more than '{AT_A_TIME}' {kind} at a time")


@rule("elbv2", *ON_BALANCER, code="LoadBalancerNotFound")
def load_balancer_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names a load balancer that does not exist is refused.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeListeners.html
    """
    arn = request.parameters.get("LoadBalancerArn")
    if arn is None or arn in service("alb")._lbs:
        return None
    return Refusal("LoadBalancerNotFound", "One or more load balancers not found")


@rule("elbv2", "DescribeLoadBalancers", code="LoadBalancerNotFound")
def listed_load_balancers_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """One unknown name or ARN among several refuses the whole DescribeLoadBalancers.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html
    """
    records = list(service("alb")._lbs.values())
    arns, names = request.parameters.get("LoadBalancerArns") or [], request.parameters.get("Names") or []
    if missing := [name for name in names if name not in {record["LoadBalancerName"] for record in records}]:
        return Refusal("LoadBalancerNotFound", f"Load balancers '[{', '.join(missing)}]' not found")
    if any(arn not in {record["LoadBalancerArn"] for record in records} for arn in arns):
        return Refusal("LoadBalancerNotFound", "One or more load balancers not found")
    return None


def _subnets(request: ApiRequest) -> list[str]:
    mappings = request.parameters.get("SubnetMappings") or []
    return list(request.parameters.get("Subnets") or [mapping.get("SubnetId", "") for mapping in mappings])


def _known_subnets(request: ApiRequest) -> list[dict[str, Any]]:
    known = service("ec2")._subnets
    return [known[subnet] for subnet in _subnets(request) if subnet in known]


@rule("elbv2", "CreateLoadBalancer", "SetSubnets", code="SubnetNotFound")
def subnets_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The subnets of a load balancer must exist.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
    """
    missing = [subnet for subnet in _subnets(request) if subnet not in service("ec2")._subnets]
    return Refusal("SubnetNotFound", f"The subnet ID '{missing[0]}' does not exist") if missing else None


@rule("elbv2", "CreateLoadBalancer", "SetSubnets", code="InvalidConfigurationRequest")
def subnets_of_one_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """All subnets of a load balancer belong to one VPC, also when they are changed.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetSubnets.html
    """
    vpcs = {subnet["VpcId"] for subnet in _known_subnets(request)}
    balancer = service("alb")._lbs.get(request.parameters.get("LoadBalancerArn", ""))
    if balancer is not None:
        vpcs.add(balancer["VpcId"])
    text = "All subnets must belong to the same VPC"
    return Refusal("InvalidConfigurationRequest", text) if len(vpcs) > 1 else None


@rule("elbv2", "CreateLoadBalancer", "SetSubnets", code="InvalidConfigurationRequest")
def one_subnet_a_zone(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A load balancer has at most one subnet in each Availability Zone.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer
    """
    zones = [subnet["AvailabilityZone"] for subnet in _known_subnets(request)]
    text = "A load balancer cannot be attached to multiple subnets in the same Availability Zone"
    return Refusal("InvalidConfigurationRequest", text) if len(set(zones)) < len(zones) else None


@rule("elbv2", "CreateLoadBalancer", "SetSubnets", code="ValidationError", stateful=False)
def two_zones(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An application load balancer has subnets in two Availability Zones at least.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer
    """
    text = "At least two subnets in two different Availability Zones must be specified"
    return Refusal("ValidationError", text) if len(_subnets(request)) < 2 else None


@rule("elbv2", "CreateLoadBalancer", code="InvalidSubnet")
def internet_gateway_needed(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An internet-facing load balancer needs an internet gateway at its VPC.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
    """
    subnets = _known_subnets(request)
    if request.parameters.get("Scheme", "internet-facing") != "internet-facing" or not subnets:
        return None
    vpc, gateways = subnets[0]["VpcId"], service("ec2")._internet_gateways.values()
    if any(link["VpcId"] == vpc for gateway in gateways for link in gateway["Attachments"]):
        return None
    return Refusal("InvalidSubnet", f"VPC {vpc} has no internet gateway")


@rule("elbv2", "CreateLoadBalancer", "SetSubnets", code="InvalidSubnet")
def eight_free_addresses(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A subnet that is new to a load balancer has at least 8 free addresses.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer
    """
    given, records = request.parameters, service("alb")._lbs.values()
    have = [r for r in records if r["LoadBalancerName"] == given.get("Name")]
    have += [r for r in records if r["LoadBalancerArn"] == given.get("LoadBalancerArn")]
    for subnet in _known_subnets(request):
        identifier = subnet["SubnetId"]
        if free_addresses(subnet) < FREE_ADDRESSES and not any(identifier in r["Subnets"] for r in have):
            text = f"Not enough IP space available in {identifier}. ELB requires at least 8 free IP addresses"
            return Refusal("InvalidSubnet", f"{text} in each subnet.")
    return None


@rule("elbv2", "CreateLoadBalancer", "SetSecurityGroups", code="InvalidSecurityGroup")
def security_groups_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The security groups of a load balancer must exist.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetSecurityGroups.html
    """
    groups = request.parameters.get("SecurityGroups") or []
    missing = [group for group in groups if group not in service("ec2")._security_groups]
    return Refusal("InvalidSecurityGroup", f"The security group '{missing[0]}' does not exist") if missing else None


@rule("elbv2", "CreateLoadBalancer", "SetSecurityGroups", code="InvalidConfigurationRequest")
def security_groups_of_its_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The security groups of a load balancer belong to its VPC.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetSecurityGroups.html
    """
    balancer = service("alb")._lbs.get(request.parameters.get("LoadBalancerArn", ""))
    owners = [balancer] if balancer else _known_subnets(request)[:1]
    known = service("ec2")._security_groups
    for group in request.parameters.get("SecurityGroups") or []:
        if owners and group in known and known[group]["VpcId"] != owners[0]["VpcId"]:
            return Refusal("InvalidConfigurationRequest", "One or more security groups are invalid")
    return None


@rule("elbv2", "CreateLoadBalancer", code="DuplicateLoadBalancerName")
def duplicate_load_balancer_name(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A load balancer's name is unique in account and region; other settings under the same name are refused.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
    """
    given, subnets = request.parameters, _known_subnets(request)
    for other in service("alb")._lbs.values():
        if other["LoadBalancerName"] != given.get("Name"):
            continue
        groups = given.get("SecurityGroups") or (default_groups(subnets[0]["VpcId"]) if subnets else [])
        wanted = (given.get("Scheme", "internet-facing"), sorted(_subnets(request)), sorted(groups))
        if wanted != (other["Scheme"], sorted(other["Subnets"]), sorted(other["SecurityGroups"])):
            text = f"A load balancer with the same name '{given['Name']}' exists, but with different settings"
            return Refusal("DuplicateLoadBalancerName", text)
    return None


@rule("elbv2", "DeleteLoadBalancer", code="OperationNotPermitted")
def deletion_protection(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A load balancer with deletion protection cannot be deleted.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteLoadBalancer.html
    """
    arn = request.parameters.get("LoadBalancerArn", "")
    for item in service("alb")._lb_attrs.get(arn, []):
        if item == {"Key": "deletion_protection.enabled", "Value": "true"}:
            text = f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled"
            return Refusal("OperationNotPermitted", text)
    return None


@rule("elbv2", "ModifyLoadBalancerAttributes", code="InvalidConfigurationRequest")
def access_logs_need_their_bucket(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Access logs are switched on only when the bucket is there and its policy lets the log delivery in.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
    """
    arn = request.parameters.get("LoadBalancerArn", "")
    stored = {item["Key"]: item["Value"] for item in service("alb")._lb_attrs.get(arn, [])}
    values = stored | {a.get("Key"): a.get("Value") for a in request.parameters.get("Attributes") or []}
    bucket, s3 = values.get("access_logs.s3.bucket"), service("s3")
    if values.get("access_logs.s3.enabled") != "true" or (bucket in s3._buckets and bucket in s3._bucket_policies):
        return None
    text = f"Access Denied for bucket: {bucket}. Please check S3bucket permission"
    return Refusal("InvalidConfigurationRequest", text)


@rule("elbv2", *ON_GROUP, "DescribeTargetGroups", code="TargetGroupNotFound")
def target_group_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names a target group that does not exist, by ARN or by name, is refused.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html
    """
    given, records = request.parameters, service("alb")._tgs
    arns = [given["TargetGroupArn"]] if "TargetGroupArn" in given else given.get("TargetGroupArns") or []
    names = {record["TargetGroupName"] for record in records.values()}
    if any(arn not in records for arn in arns) or any(name not in names for name in given.get("Names") or []):
        return Refusal("TargetGroupNotFound", "One or more target groups not found")
    return None


def target_group_settings(given: dict[str, Any]) -> dict[str, Any]:
    """What CreateTargetGroup asks for, with ELB's defaults, as the emulator keeps it."""
    defaults = {
        "TargetType": "instance",
        "HealthCheckProtocol": "HTTP",
        "HealthCheckPort": "traffic-port",
        "HealthCheckPath": "/",
        "HealthCheckIntervalSeconds": 30,
        "HealthCheckTimeoutSeconds": 5,
        "HealthyThresholdCount": 5,
        "UnhealthyThresholdCount": 2,
        "Matcher": {"HttpCode": "200"},
    }
    wanted = {name: given.get(name, default) for name, default in defaults.items()}
    return {**wanted, **{name: given[name] for name in ("Protocol", "Port", "VpcId") if name in given}}


@rule("elbv2", "CreateTargetGroup", code="DuplicateTargetGroupName")
def duplicate_target_group_name(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A target group's name is unique in account and region; other settings under the same name are refused.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
    """
    given = request.parameters
    wanted = target_group_settings(given)
    for other in service("alb")._tgs.values():
        if other["TargetGroupName"] == given.get("Name") and any(other[key] != wanted[key] for key in wanted):
            text = f"A target group with the same name '{given['Name']}' exists, but with different settings"
            return Refusal("DuplicateTargetGroupName", text)
    return None


@rule("elbv2", "CreateTargetGroup", code="ValidationError")
def target_group_in_a_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The VPC of a target group must exist.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
    """
    vpc = request.parameters.get("VpcId")
    if vpc is None or vpc in service("ec2")._vpcs:
        return None
    return Refusal("ValidationError", f"The VPC ID '{vpc}' is not found")


@rule("elbv2", "DeleteTargetGroup", code="ResourceInUse")
def target_group_in_use(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A target group to which a listener or a rule forwards cannot be deleted.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteTargetGroup.html
    """
    arn = request.parameters.get("TargetGroupArn", "")
    text = f"Target group '{arn}' is currently in use by a listener or a rule"
    return Refusal("ResourceInUse", text) if users_of(service("alb"), arn) else None


def _targets(request: ApiRequest, kind: str) -> list[dict[str, Any]]:
    """Targets of a request to a target group of this type."""
    group = service("alb")._tgs.get(request.parameters.get("TargetGroupArn", ""))
    return list(request.parameters.get("Targets") or []) if group and group["TargetType"] == kind else []


@rule("elbv2", "RegisterTargets", code="InvalidTarget")
def targets_in_the_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A target's address lies in the VPC of its group, or in a private range that can be routed there.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetDescription.html
    """
    for target in _targets(request, "ip"):
        group = service("alb")._tgs[request.parameters["TargetGroupArn"]]
        blocks = ipv4_blocks(service("ec2")._vpcs.get(group["VpcId"], NOWHERE))
        try:
            address = ipaddress.ip_address(target.get("Id", ""))
        except ValueError:
            text = f"The IP address '{target.get('Id')}' is not a valid IPv4 or IPv6 address"
            return Refusal("ValidationError", text)
        if not any(address in block for block in [*blocks, *ROUTABLE]):
            text = f"The following targets are not in the target group VPC CIDR or a routable range: '{address}'"
            return Refusal("InvalidTarget", text)
    return None


@rule("elbv2", "RegisterTargets", code="ValidationError")
def zone_of_a_target(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A target outside the VPC of its group is registered with the Availability Zone `all`, one inside never.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetDescription.html
    """
    for target in _targets(request, "ip"):
        group = service("alb")._tgs[request.parameters["TargetGroupArn"]]
        blocks = ipv4_blocks(service("ec2")._vpcs.get(group["VpcId"], NOWHERE))
        address, zone = target.get("Id", ""), target.get("AvailabilityZone")
        inside = any(ipaddress.ip_address(address) in block for block in blocks)
        if inside and zone == "all":
            text = f"The IP address '{address}' is within the VPC, and cannot have its Availability Zone overridden"
            return Refusal("ValidationError", f"{text} to 'all'")
        if not inside and zone != "all":
            text = "You must specify a valid Availability Zone or select 'all' for all enabled Availability zones"
            return Refusal("ValidationError", f"{text}, since the IP address '{address}' is outside the VPC")
    return None


@rule("elbv2", "RegisterTargets", code="InvalidTarget")
def instances_exist(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An instance that is registered as a target must exist and run.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
    """
    known = service("ec2")._instances
    for target in _targets(request, "instance"):
        state = (known.get(target.get("Id")) or {}).get("State", {}).get("Name")
        if state != "running":
            text = f"The following targets are not in a running state and cannot be registered: '{target.get('Id')}'"
            return Refusal("InvalidTarget", text)
    return None


@rule("elbv2", "RegisterTargets", code="TooManyTargets")
def too_many_targets(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A target group has at most 1,000 targets.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """
    alb, arn = service("alb"), request.parameters.get("TargetGroupArn", "")
    port = (alb._tgs.get(arn) or {}).get("Port")
    have = {(target["Id"], target.get("Port") or port) for target in alb._targets.get(arn, [])}
    have |= {(target.get("Id"), target.get("Port") or port) for target in request.parameters.get("Targets") or []}
    text = f"The maximum number of targets for target group '{arn}' has been reached"
    return Refusal("TooManyTargets", text) if len(have) > TARGETS else None


@rule("elbv2", "AddTags", code="TooManyTags")
def too_many_tags(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A resource has at most 50 tags.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddTags.html
    """
    fresh = {tag.get("Key") for tag in request.parameters.get("Tags") or []}
    for arn in request.parameters.get("ResourceArns") or []:
        if len(fresh | {tag["Key"] for tag in service("alb")._tags.get(arn, [])}) > TAGS:
            return Refusal("TooManyTags", f"The maximum number of tags has been reached for resource '{arn}'")
    return None


@rule(
    "elbv2",
    "AddTags",
    "CreateLoadBalancer",
    "CreateTargetGroup",
    "CreateListener",
    "CreateRule",
    code="DuplicateTagKeys",
    stateful=False,
)
def duplicate_tag_keys(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A tag key is given once in a request.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_AddTags.html
    """
    keys = [tag.get("Key") for tag in request.parameters.get("Tags") or []]
    return Refusal("DuplicateTagKeys", "Tag keys must be unique") if len(set(keys)) < len(keys) else None
