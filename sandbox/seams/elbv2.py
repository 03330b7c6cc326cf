"""ELBv2: load balancers with states and interfaces as on AWS, their data plane and the health checks behind them."""

from __future__ import annotations

import asyncio
import functools
import secrets
import time
from typing import TYPE_CHECKING, Any

from sandbox.background import Background
from sandbox.behaviours import behaviour
from sandbox.elbv2.https_listeners import HttpsListeners
from sandbox.elbv2.load_balancer import LoadBalancers
from sandbox.elbv2.target_health import TargetHealth
from sandbox.emulator import request_scope, service
from sandbox.metrics.traffic import count_hosts
from sandbox.seams import ec2, elbv2_certificates, elbv2_groups, elbv2_pages, elbv2_rules
from sandbox.seams.refusal import Handler, Params, Refused, Response, answered
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
    runtime.target_description = lambda group, address, port: health.finding(group, address, port).description or ""
    elbv2_groups.install(runtime, alb, health)
    elbv2_certificates.install(alb)
    alb._lb_xml = lambda record: _balancer_xml(alb, record)
    actions = alb._ACTION_MAP
    attributes, groups, subnets = (
        actions[name] for name in ("ModifyLoadBalancerAttributes", "SetSecurityGroups", "SetSubnets")
    )
    actions.update(
        CreateLoadBalancer=lambda p: _create(runtime, alb, p),
        DeleteLoadBalancer=lambda p: _delete(runtime, alb, p),
        DescribeLoadBalancers=lambda p: _describe(alb, p),
        ModifyLoadBalancerAttributes=lambda p: _modify_attributes(alb, p, attributes),
        SetSecurityGroups=lambda p: _set_groups(alb, p, groups),
        SetSubnets=lambda p: _set_subnets(runtime, alb, p, subnets),
    )
    for name, handler in list(actions.items()):
        actions[name] = answered(alb, handler)
    # The emulator's own data plane would answer for hosts that end in .alb.localhost.
    alb.find_lb_for_host = lambda host: None
    balancers = LoadBalancers(runtime, health)
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
    # Interfaces whose time was not up when the sandbox ended.
    for (account, region, identifier), interface in list(service("ec2")._network_interfaces._data.items()):
        if until := interface.get("_until"):
            with request_scope(account, region):
                _remove_interface_at(runtime, identifier, until)
    background.submit(health.run())
    users = functools.partial(elbv2_rules.users_of, alb)
    background.submit(count_hosts(runtime.metrics, elbv2_groups.groups_for_health, health.finding, users))


def _interfaces(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        identifier: interface
        for identifier, interface in service("ec2")._network_interfaces.items()
        if interface["Description"] == _description(record)
    }
    return found


def _description(record: dict[str, Any]) -> str:
    return elbv2_groups.interface_description(record["LoadBalancerArn"])


@behaviour("elbv2")
def _interface_in_each_subnet(runtime: Runtime, record: dict[str, Any], subnet: str) -> None:
    """A load balancer has a network interface in each of its subnets, made by amazon-elb with its security groups.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/how-elastic-load-balancing-works.html
    """
    address = runtime.addresses.take(service("ec2")._subnets[subnet]["CidrBlock"])
    identifier = ec2.create_interface(
        subnet,
        address,
        record["SecurityGroups"],
        _description(record),
        requester="amazon-elb",
        attachment_prefix="ela-attach",
        instance_owner="amazon-elb",
    )
    service("ec2")._network_interfaces[identifier]["_public"] = record["Scheme"] == "internet-facing"


@behaviour("elbv2")
def _interfaces_go_with_it(runtime: Runtime, identifier: str) -> None:
    """The network interfaces of a deleted load balancer, or of a subnet that it left, go by themselves.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteLoadBalancer.html
    """
    interface = service("ec2")._network_interfaces[identifier]
    interface["_until"] = time.time() + _interfaces_outlive_it(runtime)
    _remove_interface_at(runtime, identifier, interface["_until"])


@behaviour("elbv2", otherwise=lambda _: 0.0)
def _interfaces_outlive_it(runtime: Runtime) -> float:
    """A deleted load balancer's interfaces stay for minutes and hold its group and subnets (`alb_interface_seconds`).
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-delete.html
    """
    return runtime.switches.alb_interface_seconds


def _remove_interface_at(runtime: Runtime, identifier: str, moment: float) -> None:
    interface = service("ec2")._network_interfaces.get(identifier)

    def remove() -> None:
        ec2.delete_interface(identifier)
        if interface is not None:
            runtime.addresses.release(interface["PrivateIpAddress"])
        runtime.changed()

    if moment <= time.time():
        remove()
        return
    # The loop's callback keeps this context: the account and region that the interface is in.
    (runtime.loop or asyncio.get_running_loop()).call_later(moment - time.time(), remove)


def _subnets_of(alb: Any, p: Params) -> list[str]:
    subnets: list[str] = alb._parse_member_list(p, "Subnets")
    while subnet := alb._p(p, f"SubnetMappings.member.{len(subnets) + 1}.SubnetId"):
        subnets.append(subnet)
    return subnets


@behaviour("elbv2", otherwise=lambda *_: [])
def _default_group_when_none_is_named(vpc: str) -> list[str]:
    """A load balancer for which no security group is named gets the VPC's default one.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-update-security-groups.html
    """
    return ec2.default_groups(vpc)


@behaviour("elbv2")
def _load_balancer_creation_is_idempotent(alb: Any, name: str) -> dict[str, Any] | None:
    """CreateLoadBalancer with the same name and settings again gives the load balancer that there is.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html
    """
    return next((record for record in alb._lbs.values() if record["LoadBalancerName"] == name), None)


@behaviour("elbv2", otherwise=lambda: "active")
def _provisioning_first() -> str:
    """A new load balancer is `provisioning`, and `active` only when it is set up.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerState.html
    """
    return "provisioning"


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
    if (same := _load_balancer_creation_is_idempotent(alb, name)) is not None:
        return _shown(alb, "CreateLoadBalancer", [same])
    subnets = [subnet for subnet in _subnets_of(alb, p) if subnet in service("ec2")._subnets]
    vpc = str(service("ec2")._subnets[subnets[0]]["VpcId"]) if subnets else ""
    identifier = secrets.token_hex(8)
    arn = f"arn:aws:elasticloadbalancing:{alb.get_region()}:{alb.get_account_id()}:loadbalancer/app/{name}/{identifier}"
    prefix = "internal-" if scheme == "internal" else ""
    record = {
        "LoadBalancerArn": arn,
        "LoadBalancerName": name,
        "DNSName": f"{prefix}{name}-{int(identifier[:8], 16)}.{alb.get_region()}.elb.amazonaws.com",
        "Scheme": scheme,
        "VpcId": vpc,
        "State": _provisioning_first(),
        "Type": "application",
        "Subnets": subnets,
        "SecurityGroups": alb._parse_member_list(p, "SecurityGroups") or _default_group_when_none_is_named(vpc),
        "IpAddressType": alb._p(p, "IpAddressType") or "ipv4",
        "CreatedTime": time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime()),
        "_created": time.time(),
    }
    alb._lbs[arn] = record
    alb._tags[arn] = alb._parse_tags(p)
    alb._lb_attrs[arn] = _default_attributes()
    for subnet in subnets:
        _interface_in_each_subnet(runtime, record, subnet)
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
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_LoadBalancerAttribute.html"""
    known = {item["Key"] for item in alb._lb_attrs.get(alb._p(p, "LoadBalancerArn"), [])}
    place = 1
    while known and (key := alb._p(p, f"Attributes.member.{place}.Key")):
        value = alb._p(p, f"Attributes.member.{place}.Value")
        if key not in known:
            raise Refused("ValidationError", f"Load balancer attribute key '{key}' is not recognized")
        if key == "idle_timeout.timeout_seconds" and not (value.isdigit() and 1 <= int(value) <= 4000):
            raise Refused("ValidationError", "'idle_timeout.timeout_seconds' must be between 1 and 4000")
        place += 1
    return modify(p)


@behaviour("elbv2", otherwise=lambda *_: False)
def _deletion_is_idempotent(alb: Any, arn: str) -> bool:
    """DeleteLoadBalancer of one that does not exist, or was deleted before, succeeds.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteLoadBalancer.html
    """
    return arn not in alb._lbs


@behaviour("elbv2")
def _listeners_go_with_it(alb: Any, arn: str) -> None:
    """Deleting a load balancer deletes its listeners and their rules.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteLoadBalancer.html
    """
    for listener in [key for key, value in alb._listeners.items() if value["LoadBalancerArn"] == arn]:
        alb._delete_listener({"ListenerArn": listener})


def _delete(runtime: Runtime, alb: Any, p: Params) -> Response:
    arn = alb._p(p, "LoadBalancerArn")
    record = alb._lbs.get(arn)
    if record is not None:
        _listeners_go_with_it(alb, arn)
        for identifier in _interfaces(record):
            _interfaces_go_with_it(runtime, identifier)
        for store in (alb._lbs, alb._lb_attrs, alb._tags):
            store.pop(arn, None)
    elif not _deletion_is_idempotent(alb, arn):
        raise Refused("LoadBalancerNotFound", f"Load balancer '{arn}' not found")
    answer: Response = alb._empty("DeleteLoadBalancer")
    return answer


def _describe(alb: Any, p: Params) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html"""
    arns, names = alb._parse_member_list(p, "LoadBalancerArns"), alb._parse_member_list(p, "Names")
    if arns and names:
        raise Refused("ValidationError", "Load balancer names and ARNs cannot be specified at the same time")
    found = [
        record
        for record in alb._lbs.values()
        if (not arns or record["LoadBalancerArn"] in arns) and (not names or record["LoadBalancerName"] in names)
    ]
    page, more = elbv2_pages.page(alb, p, found)
    return _shown(alb, "DescribeLoadBalancers", page, more)


def _shown(alb: Any, operation: str, records: list[dict[str, Any]], more: str = "") -> Response:
    inner = "".join(alb._lb_xml(record) for record in records)
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


def _set_groups(alb: Any, p: Params, work: Handler) -> Response:
    answer = work(p)
    record = alb._lbs.get(alb._p(p, "LoadBalancerArn"))
    if record is not None:
        record["SecurityGroups"] = record["SecurityGroups"] or _default_group_when_none_is_named(record["VpcId"])
        _interfaces_take_its_groups(record)
    return answer


@behaviour("elbv2")
def _interfaces_take_its_groups(record: dict[str, Any]) -> None:
    """SetSecurityGroups changes the groups of the load balancer's network interfaces, which lets the old ones go.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetSecurityGroups.html
    """
    held = service("ec2")._security_groups
    for interface in _interfaces(record).values():
        interface["Groups"] = [
            {"GroupId": group, "GroupName": (held.get(group) or {}).get("GroupName", group)}
            for group in record["SecurityGroups"]
        ]


def _set_subnets(runtime: Runtime, alb: Any, p: Params, work: Handler) -> Response:
    record = alb._lbs.get(alb._p(p, "LoadBalancerArn"))
    if record is None:
        return work(p)
    subnets = _subnets_of(alb, p)
    _interfaces_follow_its_subnets(runtime, record, subnets)
    record["Subnets"] = subnets
    answer: Response = alb._xml(
        200,
        "SetSubnets",
        f"<AvailabilityZones>{_zones_xml(record)}</AvailabilityZones>"
        f"<IpAddressType>{record['IpAddressType']}</IpAddressType>",
    )
    return answer


@behaviour("elbv2")
def _interfaces_follow_its_subnets(runtime: Runtime, record: dict[str, Any], subnets: list[str]) -> None:
    """SetSubnets replaces the subnets: interfaces come in the new ones and go from those that are left.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetSubnets.html
    """
    for identifier, interface in _interfaces(record).items():
        if interface["SubnetId"] not in subnets:
            _interfaces_go_with_it(runtime, identifier)
    for subnet in subnets:
        if subnet not in record["Subnets"]:
            _interface_in_each_subnet(runtime, record, subnet)
