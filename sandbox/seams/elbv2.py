"""ELBv2: load balancers with states and interfaces as on AWS, their data plane and the health checks behind them."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Any

from sandbox.background import Background
from sandbox.emulator import service
from sandbox.https_listeners import HttpsListeners
from sandbox.load_balancer import LoadBalancers
from sandbox.seams import ec2, elbv2_groups, elbv2_rules
from sandbox.seams.refusal import Handler, Params, Refused, Response, answered
from sandbox.target_health import TargetHealth
from sandbox.tls import Authority

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

# How long a load balancer stays in `provisioning`. AWS: minutes.
PROVISIONING_SECONDS = 1.0
ZONE_IDS = {"us-west-2": "Z1H1FL5HABSF5", "us-east-1": "Z35SXDOTRQ7X7K"}


def install(runtime: Runtime) -> None:
    alb = service("alb")
    elbv2_rules.install(alb)
    health = TargetHealth(elbv2_groups.groups_for_health, elbv2_groups.reaches)
    runtime.target_state = lambda group, address, port: health.finding(group, address, port).state
    elbv2_groups.install(alb, health)
    alb._lb_xml = lambda record: _balancer_xml(alb, record)
    actions = alb._ACTION_MAP
    attributes = actions["ModifyLoadBalancerAttributes"]
    actions.update(
        CreateLoadBalancer=lambda p: _create(runtime, alb, p),
        DeleteLoadBalancer=lambda p: _delete(runtime, alb, p),
        DescribeLoadBalancers=lambda p: _describe(alb, p),
        ModifyLoadBalancerAttributes=lambda p: _modify_attributes(alb, p, attributes),
        SetSecurityGroups=lambda p: _set_groups(alb, p),
        SetSubnets=lambda p: _set_subnets(runtime, alb, p),
    )
    for name, handler in list(actions.items()):
        actions[name] = answered(alb, handler)
    # The emulator's own data plane would answer for hosts that end in .alb.localhost.
    alb.find_lb_for_host = lambda host: None
    balancers = LoadBalancers(health)
    runtime.data_planes.append(balancers)
    https = HttpsListeners(runtime, balancers, Authority(runtime.settings.ca_file.parent))
    runtime.at_start.append(https.start)
    runtime.at_stop.append(https.stop)
    background = Background("elbv2")
    runtime.at_start.append(lambda: _start(runtime, alb, background, health))
    runtime.at_stop.append(background.close)


def _start(runtime: Runtime, alb: Any, background: Background, health: TargetHealth) -> None:
    for record in alb._lbs._data.values():
        if record["State"] == "provisioning":
            record["State"] = "active"
    background.submit(health.run())


def _interfaces(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        identifier: interface
        for identifier, interface in service("ec2")._network_interfaces.items()
        if interface["Description"] == _description(record)
    }
    return found


def _description(record: dict[str, Any]) -> str:
    return f"ELB {record['LoadBalancerArn'].partition(':loadbalancer/')[2]}"


def _add_interface(runtime: Runtime, record: dict[str, Any], subnet: str) -> None:
    address = runtime.addresses.take(service("ec2")._subnets[subnet]["CidrBlock"])
    ec2.create_interface(
        subnet,
        address,
        record["SecurityGroups"],
        _description(record),
        requester="amazon-elb",
        attachment_prefix="ela-attach",
        instance_owner="amazon-elb",
    )


def _remove_interface(runtime: Runtime, identifier: str, interface: dict[str, Any]) -> None:
    ec2.delete_interface(identifier)
    runtime.addresses.release(interface["PrivateIpAddress"])


def _subnets_of(alb: Any, p: Params) -> list[str]:
    subnets: list[str] = alb._parse_member_list(p, "Subnets")
    while subnet := alb._p(p, f"SubnetMappings.member.{len(subnets) + 1}.SubnetId"):
        subnets.append(subnet)
    return subnets


def _check_subnets(subnets: list[str], scheme: str) -> str:
    """The VPC of a load balancer's subnets. https://docs.aws.amazon.com/elasticloadbalancing/latest/application/application-load-balancers.html#subnets-load-balancer"""
    state = service("ec2")
    for subnet in subnets:
        if subnet not in state._subnets:
            raise Refused("SubnetNotFound", f"The subnet ID '{subnet}' does not exist")
    vpcs = {state._subnets[subnet]["VpcId"] for subnet in subnets}
    if len(vpcs) > 1:
        raise Refused("InvalidConfigurationRequest", "All subnets must belong to the same VPC")
    zones = [state._subnets[subnet]["AvailabilityZone"] for subnet in subnets]
    if len(set(zones)) < len(zones):
        raise Refused(
            "InvalidConfigurationRequest",
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        )
    if len(zones) < 2:
        raise Refused("ValidationError", "At least two subnets in two different Availability Zones must be specified")
    vpc = str(vpcs.pop())
    if scheme == "internet-facing" and not any(
        link["VpcId"] == vpc for gateway in state._internet_gateways.values() for link in gateway["Attachments"]
    ):
        raise Refused("InvalidSubnet", f"VPC {vpc} has no internet gateway")
    return vpc


def _check_groups(groups: list[str], vpc: str) -> list[str]:
    state = service("ec2")
    if not groups:
        return ec2.default_groups(vpc)
    for group in groups:
        record = state._security_groups.get(group)
        if record is None:
            raise Refused("InvalidSecurityGroup", f"The security group '{group}' does not exist")
        if record["VpcId"] != vpc:
            raise Refused("InvalidConfigurationRequest", f"Security group '{group}' is not in VPC '{vpc}'")
    return groups


def _create(runtime: Runtime, alb: Any, p: Params) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html"""
    name = alb._p(p, "Name")
    elbv2_groups.check_name("load balancer", name)
    if name.startswith("internal-"):
        raise Refused("ValidationError", f"The load balancer name '{name}' cannot begin with 'internal-'")
    if (alb._p(p, "Type") or "application") != "application":
        raise Refused("ValidationError", "the sandbox has application load balancers only")
    scheme = alb._p(p, "Scheme") or "internet-facing"
    if scheme not in ("internet-facing", "internal"):
        raise Refused("InvalidScheme", f"The scheme '{scheme}' is not valid")
    subnets = _subnets_of(alb, p)
    vpc = _check_subnets(subnets, scheme)
    groups = _check_groups(alb._parse_member_list(p, "SecurityGroups"), vpc)
    wanted = {"Scheme": scheme, "Subnets": sorted(subnets), "SecurityGroups": sorted(groups)}
    for other in alb._lbs.values():
        if other["LoadBalancerName"] == name:
            have = {key: sorted(other[key]) if isinstance(other[key], list) else other[key] for key in wanted}
            if have != wanted:
                raise Refused(
                    "DuplicateLoadBalancerName",
                    f"A load balancer with the same name '{name}' exists, but with different settings",
                )
            return _shown(alb, "CreateLoadBalancer", [other])
    identifier = secrets.token_hex(8)
    arn = f"arn:aws:elasticloadbalancing:{alb.get_region()}:{alb.get_account_id()}:loadbalancer/app/{name}/{identifier}"
    prefix = "internal-" if scheme == "internal" else ""
    record = {
        "LoadBalancerArn": arn,
        "LoadBalancerName": name,
        "DNSName": f"{prefix}{name}-{int(identifier[:8], 16)}.{alb.get_region()}.elb.amazonaws.com",
        "Scheme": scheme,
        "VpcId": vpc,
        "State": "provisioning",
        "Type": "application",
        "Subnets": subnets,
        "SecurityGroups": groups,
        "IpAddressType": alb._p(p, "IpAddressType") or "ipv4",
        "CreatedTime": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
    }
    alb._lbs[arn] = record
    alb._tags[arn] = alb._parse_tags(p)
    alb._lb_attrs[arn] = _default_attributes()
    for subnet in subnets:
        _add_interface(runtime, record, subnet)
    _activate_later(runtime, record)
    return _shown(alb, "CreateLoadBalancer", [record])


def _activate_later(runtime: Runtime, record: dict[str, Any]) -> None:
    def activate() -> None:
        record["State"] = "active"
        runtime.changed()

    loop = runtime.loop or asyncio.get_running_loop()
    loop.call_soon_threadsafe(loop.call_later, PROVISIONING_SECONDS, activate)


def _default_attributes() -> list[dict[str, str]]:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html"""
    values = {
        "access_logs.s3.enabled": "false",
        "access_logs.s3.bucket": "",
        "access_logs.s3.prefix": "",
        "connection_logs.s3.enabled": "false",
        "connection_logs.s3.bucket": "",
        "connection_logs.s3.prefix": "",
        "idle_timeout.timeout_seconds": "60",
        "client_keep_alive.seconds": "3600",
        "deletion_protection.enabled": "false",
        "routing.http2.enabled": "true",
        "routing.http.drop_invalid_header_fields.enabled": "false",
        "routing.http.xff_client_port.enabled": "false",
        "routing.http.preserve_host_header.enabled": "false",
        "routing.http.xff_header_processing.mode": "append",
        "routing.http.desync_mitigation_mode": "defensive",
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled": "false",
        "load_balancing.cross_zone.enabled": "true",
        "waf.fail_open.enabled": "false",
        "zonal_shift.config.enabled": "false",
    }
    return [{"Key": key, "Value": value} for key, value in values.items()]


def _modify_attributes(alb: Any, p: Params, modify: Handler) -> Response:
    """Access logs need a bucket that lets the log delivery in.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/enable-access-logging.html
    """
    arn = alb._p(p, "LoadBalancerArn")
    if arn not in alb._lbs:
        raise Refused("LoadBalancerNotFound", f"Load balancer '{arn}' not found")
    values = {item["Key"]: item["Value"] for item in alb._lb_attrs[arn]}
    known = set(values)
    place = 1
    while key := alb._p(p, f"Attributes.member.{place}.Key"):
        if key not in known:
            raise Refused("ValidationError", f"Load balancer attribute key '{key}' is not recognized")
        values[key] = alb._p(p, f"Attributes.member.{place}.Value")
        place += 1
    if not 1 <= int(values["idle_timeout.timeout_seconds"] or 0) <= 4000:
        raise Refused("ValidationError", "'idle_timeout.timeout_seconds' must be between 1 and 4000")
    if values["access_logs.s3.enabled"] == "true":
        bucket = values["access_logs.s3.bucket"]
        s3 = service("s3")
        if bucket not in s3._buckets or bucket not in s3._bucket_policies:
            raise Refused(
                "InvalidConfigurationRequest", f"Access Denied for bucket: {bucket}. Please check S3bucket permission"
            )
    return modify(p)


def _delete(runtime: Runtime, alb: Any, p: Params) -> Response:
    """Listeners and rules go with it; asked again, it succeeds.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteLoadBalancer.html
    """
    arn = alb._p(p, "LoadBalancerArn")
    record = alb._lbs.get(arn)
    if record is not None:
        protected = any(
            item["Key"] == "deletion_protection.enabled" and item["Value"] == "true" for item in alb._lb_attrs[arn]
        )
        if protected:
            raise Refused(
                "OperationNotPermitted",
                f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
            )
        for listener in [key for key, value in alb._listeners.items() if value["LoadBalancerArn"] == arn]:
            alb._delete_listener({"ListenerArn": listener})
        for identifier, interface in _interfaces(record).items():
            _remove_interface(runtime, identifier, interface)
        for store in (alb._lbs, alb._lb_attrs, alb._tags):
            store.pop(arn, None)
    answer: Response = alb._empty("DeleteLoadBalancer")
    return answer


def _describe(alb: Any, p: Params) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html"""
    arns, names = alb._parse_member_list(p, "LoadBalancerArns"), alb._parse_member_list(p, "Names")
    if arns and names:
        raise Refused("ValidationError", "Load balancer names and ARNs cannot be specified at the same time")
    found = list(alb._lbs.values())
    for wanted, key in ((arns, "LoadBalancerArn"), (names, "LoadBalancerName")):
        missing = [value for value in wanted if value not in {record[key] for record in found}]
        if missing:
            what = (
                "One or more load balancers" if key == "LoadBalancerArn" else f"Load balancers '[{', '.join(missing)}]'"
            )
            raise Refused("LoadBalancerNotFound", f"{what} not found")
        if wanted:
            found = [record for record in found if record[key] in wanted]
    start, size = int(alb._p(p, "Marker") or 0), int(alb._p(p, "PageSize") or 400)
    return _shown(
        alb, "DescribeLoadBalancers", found[start : start + size], start + size if start + size < len(found) else None
    )


def _shown(alb: Any, operation: str, records: list[dict[str, Any]], marker: int | None = None) -> Response:
    inner = "".join(alb._lb_xml(record) for record in records)
    more = f"<NextMarker>{marker}</NextMarker>" if marker else ""
    answer: Response = alb._xml(200, operation, f"<LoadBalancers>{inner}</LoadBalancers>{more}")
    return answer


def _zones_xml(record: dict[str, Any]) -> str:
    state = service("ec2")
    return "".join(
        f"<member><ZoneName>{(state._subnets.get(subnet) or {}).get('AvailabilityZone', '')}</ZoneName>"
        f"<SubnetId>{subnet}</SubnetId><LoadBalancerAddresses/></member>"
        for subnet in record["Subnets"]
    )


def _balancer_xml(alb: Any, record: dict[str, Any]) -> str:
    groups = "".join(f"<member>{group}</member>" for group in record["SecurityGroups"])
    plain = "".join(
        f"<{key}>{record[key]}</{key}>"
        for key in ("LoadBalancerArn", "LoadBalancerName", "DNSName", "CreatedTime", "Scheme", "VpcId", "Type")
    )
    return (
        f"<member>{plain}<CanonicalHostedZoneId>{ZONE_IDS.get(alb.get_region(), 'Z1H1FL5HABSF5')}"
        f"</CanonicalHostedZoneId><State><Code>{record['State']}</Code></State>"
        f"<AvailabilityZones>{_zones_xml(record)}</AvailabilityZones><SecurityGroups>{groups}</SecurityGroups>"
        f"<IpAddressType>{record['IpAddressType']}</IpAddressType></member>"
    )


def _known(alb: Any, p: Params) -> dict[str, Any]:
    record: dict[str, Any] | None = alb._lbs.get(alb._p(p, "LoadBalancerArn"))
    if record is None:
        raise Refused("LoadBalancerNotFound", f"Load balancer '{alb._p(p, 'LoadBalancerArn')}' not found")
    return record


def _set_groups(alb: Any, p: Params) -> Response:
    record = _known(alb, p)
    record["SecurityGroups"] = _check_groups(alb._parse_member_list(p, "SecurityGroups"), record["VpcId"])
    held = service("ec2")._security_groups
    for interface in _interfaces(record).values():
        interface["Groups"] = [
            {"GroupId": group, "GroupName": held[group]["GroupName"]} for group in record["SecurityGroups"]
        ]
    members = "".join(f"<member>{group}</member>" for group in record["SecurityGroups"])
    answer: Response = alb._xml(200, "SetSecurityGroups", f"<SecurityGroupIds>{members}</SecurityGroupIds>")
    return answer


def _set_subnets(runtime: Runtime, alb: Any, p: Params) -> Response:
    record = _known(alb, p)
    subnets = _subnets_of(alb, p)
    if _check_subnets(subnets, record["Scheme"]) != record["VpcId"]:
        raise Refused("InvalidConfigurationRequest", "Subnets must belong to the VPC of the load balancer")
    for identifier, interface in _interfaces(record).items():
        if interface["SubnetId"] not in subnets:
            _remove_interface(runtime, identifier, interface)
    for subnet in subnets:
        if subnet not in record["Subnets"]:
            _add_interface(runtime, record, subnet)
    record["Subnets"] = subnets
    answer: Response = alb._xml(
        200,
        "SetSubnets",
        f"<AvailabilityZones>{_zones_xml(record)}</AvailabilityZones>"
        f"<IpAddressType>{record['IpAddressType']}</IpAddressType>",
    )
    return answer
