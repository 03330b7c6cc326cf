"""Target groups and registrations as ELBv2 keeps them: limits, uniqueness, health, draining."""

from __future__ import annotations

import contextlib
import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from sandbox import network
from sandbox.behaviours import behaviour
from sandbox.elbv2.target_health import NOT_IN_USE, NOT_REGISTERED, Finding, Group, TargetHealth, first_finding
from sandbox.emulator import request_scope, service
from sandbox.seams.elbv2_pages import page
from sandbox.seams.elbv2_rules import users_of
from sandbox.seams.refusal import Handler, Params, Refused, Response

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Target = tuple[str, int]
HEALTH_LIMITS = {
    "HealthCheckIntervalSeconds": (5, 300),
    "HealthCheckTimeoutSeconds": (2, 120),
    "HealthyThresholdCount": (2, 10),
    "UnhealthyThresholdCount": (2, 10),
}
NAME = re.compile(r"[A-Za-z0-9-]+")


def install(runtime: Runtime, alb: Any, health: TargetHealth) -> None:
    actions = alb._ACTION_MAP
    show = alb._tg_xml
    alb._tg_xml = lambda group: show({**group, "LoadBalancerArns": users_of(alb, group["TargetGroupArn"])})
    for name, replacement in {
        "CreateTargetGroup": _create,
        "ModifyTargetGroup": _modify,
        "DescribeTargetGroups": _describe,
        "ModifyTargetGroupAttributes": _modify_attributes,
        "RegisterTargets": _register,
        "DeregisterTargets": _deregister,
        "DescribeTargetHealth": lambda alb, p, _: _describe_health(runtime, alb, p, health),
    }.items():
        actions[name] = _with(alb, replacement, actions[name])
    delete = actions["DeleteTargetGroup"]
    actions["DeleteTargetGroup"] = lambda p: _delete(alb, p, delete)
    alb.set_targets_for_group = lambda arn, targets, previous_ids=(): _publish(alb, arn, targets, previous_ids)


def _with(alb: Any, replacement: Callable[[Any, Params, Handler], Response], original: Handler) -> Handler:
    """A handler of ours; what names a group that does not exist is the emulator's to answer."""

    def handler(p: Params) -> Response:
        arn = alb._p(p, "TargetGroupArn")
        return replacement(alb, p, original) if not arn or arn in alb._tgs else original(p)

    return handler


def check_name(kind: str, name: str) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html, Name"""
    if not name:
        raise Refused("ValidationError", f"The {kind} name cannot be empty")
    if len(name) > 32:
        raise Refused("ValidationError", f"The {kind} name '{name}' cannot be longer than '32' characters")
    if not NAME.fullmatch(name):
        raise Refused(
            "ValidationError",
            f"The {kind} name '{name}' can only contain characters that are alphanumeric characters and hyphens(-)",
        )
    if name.startswith("-") or name.endswith("-"):
        raise Refused("ValidationError", f"The {kind} name '{name}' cannot begin or end with a hyphen(-)")


def groups_for_health() -> Iterator[Group]:
    """Every target group of every account and region, as the health checks see it."""
    alb = service("alb")
    for (account, region, arn), record in list(alb._tgs._data.items()):
        with request_scope(account, region):
            balancers = [alb._lbs[user] for user in users_of(alb, arn) if user in alb._lbs]
            in_use = any(one["State"] == "active" for one in balancers) and record["TargetType"] in ("ip", "instance")
            targets = tuple(targets_of(alb, record))
            yield Group(
                arn=arn,
                targets=targets,
                in_use=in_use,
                aside=_aside(balancers[0], targets) if in_use else frozenset(),
                protocol=record["HealthCheckProtocol"],
                port=str(record["HealthCheckPort"]),
                path=record["HealthCheckPath"],
                interval=record["HealthCheckIntervalSeconds"],
                timeout=record["HealthCheckTimeoutSeconds"],
                healthy_threshold=record["HealthyThresholdCount"],
                unhealthy_threshold=record["UnhealthyThresholdCount"],
                matcher=record["Matcher"]["HttpCode"],
                deregistration_delay=float(attribute(alb, arn, "deregistration_delay.timeout_seconds", "300")),
            )


def _aside(balancer: dict[str, Any], targets: tuple[Target, ...]) -> frozenset[Target]:
    """Targets in subnets of Availability Zones in which the load balancer has none."""
    subnets = [one for one in service("ec2")._subnets.values() if one["VpcId"] == balancer["VpcId"]]
    zones = {one["AvailabilityZone"] for one in subnets if one["SubnetId"] in balancer["Subnets"]}
    others = [ipaddress.ip_network(one["CidrBlock"]) for one in subnets if one["AvailabilityZone"] not in zones]
    found = {}
    for target in targets if others else ():
        with contextlib.suppress(ValueError):
            found[target] = any(ipaddress.ip_address(target[0]) in other for other in others)
    return frozenset(target for target, is_aside in found.items() if is_aside)


def targets_of(alb: Any, record: dict[str, Any]) -> list[Target]:
    """Registered targets as (address, port)."""
    return [
        (target["Id"], int(target.get("Port") or record["Port"]))
        for target in alb._targets.get(record["TargetGroupArn"], [])
    ]


def attribute(alb: Any, arn: str, key: str, default: str) -> str:
    """An attribute of a target group."""
    for item in alb._tg_attrs.get(arn, []):
        if item["Key"] == key:
            return str(item["Value"])
    return default


def reaches(arn: str, address: str, port: int) -> bool:
    """Whether a node of a target group's load balancer gets through to a target: its groups and those of the target.

    An address without a network interface is nobody's: packets to it are lost.
    """
    alb, ec2 = service("alb"), service("ec2")
    account, region = scope_of(arn)
    with request_scope(account, region):
        record = alb._tgs.get(arn)
        balancers = [alb._lbs[user] for user in users_of(alb, arn) if user in alb._lbs] if record else []
        if not balancers:
            return False
        groups = network.groups_at(ec2._network_interfaces.values(), address, record["VpcId"])
        target, own = network.Party(address, tuple(groups or ())), tuple(balancers[0]["SecurityGroups"])
        nodes = [network.Party(node, own) for node in _addresses_of_its_nodes(balancers[0]["LoadBalancerArn"])]
        return any(network.connects(ec2._security_groups, node, target, port) for node in nodes)


def interface_description(arn: str) -> str:
    """How the network interfaces of a load balancer describe themselves."""
    return f"ELB {arn.partition(':loadbalancer/')[2]}"


@behaviour("elbv2", otherwise=lambda _: [None])
def _addresses_of_its_nodes(arn: str) -> list[str | None]:
    """A load balancer sends from the private addresses of its interfaces: rules with their range admit it, too.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/userguide/how-elastic-load-balancing-works.html
    """
    name, held = interface_description(arn), service("ec2")._network_interfaces.values()
    return [interface["PrivateIpAddress"] for interface in held if interface["Description"] == name] or [None]


def scope_of(arn: str) -> tuple[str, str]:
    """(account, region) of an ARN."""
    _, _, _, region, account, _ = arn.split(":", 5)
    return account, region


def _check_health_settings(alb: Any, p: Params, record: dict[str, Any]) -> None:
    settings = {name: int(record.get(name, 0)) for name in HEALTH_LIMITS}
    for name, (least, most) in HEALTH_LIMITS.items():
        if text := alb._p(p, name):
            settings[name] = int(text) if text.isdigit() else -1
            if not least <= settings[name] <= most:
                words = " ".join(re.findall("[A-Z][a-z]+", name)).lower()
                raise Refused("ValidationError", f"{words.capitalize()} '{text}' must be between {least} and {most}")
    interval, timeout = settings["HealthCheckIntervalSeconds"], settings["HealthCheckTimeoutSeconds"]
    if timeout >= interval:
        raise Refused(
            "ValidationError", f"Health check timeout '{timeout}' must be smaller than the interval '{interval}'"
        )
    path = alb._p(p, "HealthCheckPath")
    if path and not path.startswith("/"):
        raise Refused("ValidationError", f"Health check path '{path}' must begin with a '/' character")
    port = alb._p(p, "HealthCheckPort")
    if port and port != "traffic-port" and not (port.isdigit() and 1 <= int(port) <= 65535):
        raise Refused("ValidationError", f"Health check port '{port}' must be 'traffic-port' or in the range 1-65535")
    matcher = alb._p(p, "Matcher.HttpCode")
    if matcher and not all(200 <= int(code) <= 499 for code in re.findall(r"\d+", matcher)):
        raise Refused(
            "ValidationError", f"Health check matcher HTTP code '{matcher}' must be within '200-499' inclusive"
        )


@behaviour("elbv2")
def _target_group_creation_is_idempotent(alb: Any, name: str) -> dict[str, Any] | None:
    """CreateTargetGroup with the same name and settings again gives the target group that there is.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html
    """
    return next((group for group in alb._tgs.values() if group["TargetGroupName"] == name), None)


def _create(alb: Any, p: Params, create: Handler) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateTargetGroup.html"""
    name, kind = alb._p(p, "Name"), alb._p(p, "TargetType") or "instance"
    check_name("target group", name)
    defaults = {"HealthCheckIntervalSeconds": 30, "HealthCheckTimeoutSeconds": 5}
    _check_health_settings(alb, p, defaults)
    if kind != "lambda":
        for needed in ("Protocol", "Port", "VpcId"):
            if not alb._p(p, needed):
                words = {"Protocol": "protocol", "Port": "port", "VpcId": "VPC ID"}[needed]
                raise Refused("ValidationError", f"A {words} must be specified")
    if (same := _target_group_creation_is_idempotent(alb, name)) is not None:
        answer: Response = alb._xml(200, "CreateTargetGroup", f"<TargetGroups>{alb._tg_xml(same)}</TargetGroups>")
        return answer
    response = create(p)
    for group in alb._tgs.values():
        if group["TargetGroupName"] == name:
            alb._tg_attrs[group["TargetGroupArn"]] = _default_attributes()
    return response


def _default_attributes() -> list[dict[str, str]]:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html"""
    values = {
        "deregistration_delay.timeout_seconds": "300",
        "stickiness.enabled": "false",
        "stickiness.type": "lb_cookie",
        "stickiness.lb_cookie.duration_seconds": "86400",
        "stickiness.app_cookie.cookie_name": "",
        "stickiness.app_cookie.duration_seconds": "86400",
        "slow_start.duration_seconds": "0",
        "load_balancing.algorithm.type": "round_robin",
        "load_balancing.algorithm.anomaly_mitigation": "off",
        "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
        "target_group_health.dns_failover.minimum_healthy_targets.count": "1",
        "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
    }
    return [{"Key": key, "Value": value} for key, value in values.items()]


def _modify(alb: Any, p: Params, modify: Handler) -> Response:
    _check_health_settings(alb, p, alb._tgs[alb._p(p, "TargetGroupArn")])
    return modify(p)


def _modify_attributes(alb: Any, p: Params, modify: Handler) -> Response:
    known = {item["Key"] for item in alb._tg_attrs.get(alb._p(p, "TargetGroupArn"), [])}
    place = 1
    while key := alb._p(p, f"Attributes.member.{place}.Key"):
        value = alb._p(p, f"Attributes.member.{place}.Value")
        if key not in known:
            raise Refused("ValidationError", f"Target group attribute key '{key}' is not recognized")
        if key == "deregistration_delay.timeout_seconds" and not (value.isdigit() and int(value) <= 3600):
            raise Refused("ValidationError", f"'{value}' must be between 0 and 3600 for attribute '{key}'")
        place += 1
    return modify(p)


@behaviour("elbv2", otherwise=lambda *_: False)
def _target_group_deletion_is_idempotent(alb: Any, arn: str) -> bool:
    """DeleteTargetGroup of one that does not exist succeeds: ResourceInUse is the only error that its page knows.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteTargetGroup.html
    """
    return arn not in alb._tgs


def _delete(alb: Any, p: Params, delete: Handler) -> Response:
    empty: Response = alb._empty("DeleteTargetGroup")
    return empty if _target_group_deletion_is_idempotent(alb, alb._p(p, "TargetGroupArn")) else delete(p)


def _describe(alb: Any, p: Params, describe: Handler) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html"""
    names, arns = alb._parse_member_list(p, "Names"), alb._parse_member_list(p, "TargetGroupArns")
    balancer = alb._p(p, "LoadBalancerArn")
    found = [
        group
        for arn, group in alb._tgs.items()
        if (not names or group["TargetGroupName"] in names)
        and (not arns or arn in arns)
        and (not balancer or _receives_from(alb, arn, balancer))
    ]
    shown, more = page(alb, p, found)
    inner = "".join(alb._tg_xml(group) for group in shown)
    answer: Response = alb._xml(200, "DescribeTargetGroups", f"<TargetGroups>{inner}</TargetGroups>{more}")
    return answer


@behaviour("elbv2", otherwise=lambda *_: True)
def _receives_from(alb: Any, arn: str, balancer: str) -> bool:
    """Target groups of a load balancer are those to which its listeners and rules forward now.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html
    """
    return balancer in users_of(alb, arn)


def _register(alb: Any, p: Params, register: Handler) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html"""
    arn = alb._p(p, "TargetGroupArn")
    record = alb._tgs[arn]
    wanted = alb._parse_targets_param(p)
    if not wanted:
        raise Refused("ValidationError", "You must specify at least one target")
    for target in wanted:
        if not 1 <= int(target.get("Port") or record["Port"]) <= 65535:
            raise Refused("ValidationError", f"Port '{target['Port']}' must be between 1 and 65535")
    have, known = alb._targets.setdefault(arn, []), set(targets_of(alb, record))
    for target in wanted:
        entry = (target["Id"], int(target.get("Port") or record["Port"]))
        if not _is_registered(entry, known):
            known.add(entry)
            have.append({"Id": entry[0], "Port": entry[1]})
    answer: Response = alb._empty("RegisterTargets")
    return answer


@behaviour("elbv2", otherwise=lambda target, known: target[0] in {address for address, _ in known})
def _is_registered(target: Target, known: set[Target]) -> bool:
    """A target is its address and port: the same one again changes nothing, another port is another target.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
    """
    return target in known


def _deregister(alb: Any, p: Params, deregister: Handler) -> Response:
    arn = alb._p(p, "TargetGroupArn")
    record = alb._tgs[arn]
    gone = [(target["Id"], int(target.get("Port") or record["Port"])) for target in alb._parse_targets_param(p)]
    if not _deregistering_the_unknown_succeeds(alb, record, gone):
        raise Refused("InvalidTarget", f"The following targets are not registered: {gone}")
    alb._targets[arn] = [
        {"Id": address, "Port": port} for address, port in targets_of(alb, record) if (address, port) not in gone
    ]
    answer: Response = alb._empty("DeregisterTargets")
    return answer


@behaviour("elbv2", otherwise=lambda alb, record, gone: set(gone) <= set(targets_of(alb, record)))
def _deregistering_the_unknown_succeeds(alb: Any, record: dict[str, Any], gone: list[Target]) -> bool:
    """DeregisterTargets of a target that is not registered succeeds.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html
    """
    return True


def _publish(alb: Any, arn: str, targets: Any, previous: Any) -> bool:
    """ECS brings its own registrations up to date; those of others stay. False when the group is gone."""
    record = alb._tgs.get(arn)
    if record is None:
        return False
    withdrawn = set(previous)
    fresh = [(address, int(port or record["Port"])) for address, port in targets]
    kept = [target for target in targets_of(alb, record) if target in fresh or target[0] not in withdrawn]
    kept += [target for target in fresh if target not in kept]
    alb._targets[arn] = [{"Id": address, "Port": port} for address, port in kept]
    return True


def _as_registered(finding: Finding, used: bool) -> Finding:
    """The finding of a registered target, also in the moment before the checks have seen its registration."""
    if finding.state == "draining" or finding == NOT_REGISTERED:
        return first_finding() if used else NOT_IN_USE
    return first_finding() if finding == NOT_IN_USE and used else finding


@behaviour("elbv2", otherwise=lambda _: 0.0)
def _health_is_shown_late(runtime: Runtime) -> float:
    """DescribeTargetHealth may show a state that targets had a while ago (`health_lag_seconds`).
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html
    """
    return runtime.switches.health_lag_seconds


def _describe_health(runtime: Runtime, alb: Any, p: Params, health: TargetHealth) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html"""
    record = alb._tgs[alb._p(p, "TargetGroupArn")]
    arn, lag = record["TargetGroupArn"], _health_is_shown_late(runtime)
    asked = [(target["Id"], int(target.get("Port") or record["Port"])) for target in alb._parse_targets_param(p)]
    registered, used = dict.fromkeys(targets_of(alb, record)), bool(users_of(alb, arn))
    others = health.known_before(arn, lag) if lag else health.draining(arn)
    inner = ""
    for target in asked or [*registered, *(target for target in others if target not in registered)]:
        finding = health.finding_before(arn, *target, lag) if lag else None
        if finding is None:
            finding = health.finding(arn, *target)
            finding = _as_registered(finding, used) if target in registered else finding
        inner += _health_xml(record, target, finding)
    answer: Response = alb._xml(
        200, "DescribeTargetHealth", f"<TargetHealthDescriptions>{inner}</TargetHealthDescriptions>"
    )
    return answer


def _health_xml(record: dict[str, Any], target: Target, finding: Finding) -> str:
    address, port = target
    checked = port if record["HealthCheckPort"] == "traffic-port" else record["HealthCheckPort"]
    inner = f"<State>{finding.state}</State>"
    if finding.reason:
        inner += f"<Reason>{finding.reason}</Reason><Description>{escape(finding.description or '')}</Description>"
    zone = _zone_of(record["VpcId"], address)
    placed = f"<AvailabilityZone>{zone}</AvailabilityZone>" if zone else ""
    return (
        f"<member><Target><Id>{address}</Id><Port>{port}</Port>{placed}</Target>"
        f"<HealthCheckPort>{checked}</HealthCheckPort><TargetHealth>{inner}</TargetHealth></member>"
    )


def _zone_of(vpc: str, address: str) -> str | None:
    try:
        number = ipaddress.ip_address(address)
    except ValueError:
        return None
    for subnet in service("ec2")._subnets.values():
        if subnet["VpcId"] == vpc and number in ipaddress.ip_network(subnet["CidrBlock"]):
            return str(subnet["AvailabilityZone"])
    return None
