"""Listeners and their rules as ELBv2 takes, keeps and shows them: actions, conditions, priorities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from sandbox.https_listeners import domains_of
from sandbox.listener_rules import place_of
from sandbox.seams.refusal import Handler, Params, Refused, Response

# Field of a condition → its typed config. https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RuleCondition.html
CONFIGS = {
    "path-pattern": "PathPatternConfig",
    "host-header": "HostHeaderConfig",
    "http-request-method": "HttpRequestMethodConfig",
    "source-ip": "SourceIpConfig",
    "http-header": "HttpHeaderConfig",
    "query-string": "QueryStringConfig",
}
ACTIONS = ("forward", "redirect", "fixed-response")
REDIRECT_DEFAULTS = {
    "Protocol": "#{protocol}",
    "Port": "#{port}",
    "Host": "#{host}",
    "Path": "/#{path}",
    "Query": "#{query}",
}


def install(alb: Any) -> None:
    """Replace the emulator's readers and writers of actions and conditions, and guard listeners and rules."""
    parse = alb._parse_actions
    alb._parse_actions = lambda params, prefix="DefaultActions": _parse_actions(alb, parse, params, prefix)
    alb._action_xml = _action_xml
    alb._parse_conditions = lambda params, prefix="Conditions": _parse_conditions(alb, params, prefix)
    alb._condition_xml = _condition_xml
    actions = alb._ACTION_MAP
    for name, replacement in {
        "CreateListener": _create_listener,
        "ModifyListener": _modify_listener,
        "DescribeListeners": _describe_listeners,
        "CreateRule": _create_rule,
        "ModifyRule": _modify_rule,
        "DeleteRule": _delete_rule,
        "DescribeRules": _describe_rules,
        "SetRulePriorities": _set_priorities,
    }.items():
        actions[name] = _with(alb, replacement, actions[name])


def _with(alb: Any, replacement: Any, original: Handler) -> Handler:
    def handler(p: Params) -> Response:
        answer: Response = replacement(alb, p, original)
        return answer

    return handler


def target_groups_of(actions: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """(target group, weight) of the forward action among `actions`."""
    for action in actions:
        if action["Type"] == "forward":
            groups = (action.get("ForwardConfig") or {}).get("TargetGroups")
            if groups:
                return [(group["TargetGroupArn"], int(group.get("Weight", 1))) for group in groups]
            return [(action["TargetGroupArn"], 1)]
    return []


def users_of(alb: Any, target_group: str) -> list[str]:
    """Load balancers whose listeners or rules forward to the target group."""
    found = []
    for rule in alb._rules.values():
        listener = alb._listeners.get(rule.get("ListenerArn"))
        if listener and any(target_group == arn for arn, _ in target_groups_of(rule.get("Actions") or [])):
            found.append(listener["LoadBalancerArn"])
    return list(dict.fromkeys(found))


def _parse_actions(alb: Any, parse: Any, params: Params, prefix: str) -> list[dict[str, Any]]:
    actions: list[dict[str, Any]] = parse(params, prefix)
    for place, action in enumerate(actions, 1):
        base = f"{prefix}.member.{place}"
        forward = _forward_config(alb, params, f"{base}.ForwardConfig")
        if forward:
            action["ForwardConfig"] = forward
            groups = forward["TargetGroups"]
            if len(groups) == 1:
                action["TargetGroupArn"] = groups[0]["TargetGroupArn"]
        elif action.get("TargetGroupArn"):
            action["ForwardConfig"] = {
                "TargetGroups": [{"TargetGroupArn": action["TargetGroupArn"], "Weight": 1}],
                "Stickiness": {"Enabled": "false"},
            }
    return actions


def _forward_config(alb: Any, params: Params, base: str) -> dict[str, Any]:
    groups: list[dict[str, Any]] = []
    while arn := alb._p(params, f"{base}.TargetGroups.member.{len(groups) + 1}.TargetGroupArn"):
        weight = alb._p(params, f"{base}.TargetGroups.member.{len(groups) + 1}.Weight") or "1"
        groups.append({"TargetGroupArn": arn, "Weight": int(weight)})
    if not groups:
        return {}
    stickiness = {"Enabled": alb._p(params, f"{base}.TargetGroupStickinessConfig.Enabled") or "false"}
    if seconds := alb._p(params, f"{base}.TargetGroupStickinessConfig.DurationSeconds"):
        stickiness["DurationSeconds"] = seconds
    return {"TargetGroups": groups, "Stickiness": stickiness}


def _elements(values: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{escape(str(value))}</{name}>" for name, value in values.items())


def _members(values: list[str]) -> str:
    return "".join(f"<member>{escape(value)}</member>" for value in values)


def _action_xml(action: dict[str, Any]) -> str:
    inner = _elements({"Type": action["Type"], "Order": action.get("Order", 1)})
    if action.get("TargetGroupArn"):
        inner += _elements({"TargetGroupArn": action["TargetGroupArn"]})
    if forward := action.get("ForwardConfig"):
        groups = "".join(f"<member>{_elements(group)}</member>" for group in forward["TargetGroups"])
        sticky = _elements(forward["Stickiness"])
        inner += (
            f"<ForwardConfig><TargetGroups>{groups}</TargetGroups>"
            f"<TargetGroupStickinessConfig>{sticky}</TargetGroupStickinessConfig></ForwardConfig>"
        )
    if redirect := action.get("RedirectConfig"):
        inner += f"<RedirectConfig>{_elements({**REDIRECT_DEFAULTS, **redirect})}</RedirectConfig>"
    if fixed := action.get("FixedResponseConfig"):
        inner += f"<FixedResponseConfig>{_elements(fixed)}</FixedResponseConfig>"
    return f"<member>{inner}</member>"


def _parse_conditions(alb: Any, params: Params, prefix: str) -> list[dict[str, Any]]:
    conditions: list[dict[str, Any]] = []
    while field := alb._p(params, f"{prefix}.member.{len(conditions) + 1}.Field"):
        base = f"{prefix}.member.{len(conditions) + 1}"
        if field not in CONFIGS:
            raise Refused("ValidationError", f"Condition field '{field}' must be one of '[{', '.join(CONFIGS)}]'")
        config = f"{base}.{CONFIGS[field]}"
        condition: dict[str, Any] = {"Field": field}
        values = alb._parse_member_list(params, f"{config}.Values") or alb._parse_member_list(params, f"{base}.Values")
        if field == "query-string":
            pairs: list[dict[str, str]] = []
            while value := alb._p(params, f"{config}.Values.member.{len(pairs) + 1}.Value"):
                key = alb._p(params, f"{config}.Values.member.{len(pairs) + 1}.Key")
                pairs.append({"Key": key, "Value": value} if key else {"Value": value})
            condition["QueryStringConfig"] = {"Values": pairs}
        elif field == "http-header":
            name = alb._p(params, f"{config}.HttpHeaderName")
            if not name:
                raise Refused("ValidationError", "A condition on 'http-header' must specify the name of the header")
            condition["HttpHeaderConfig"] = {"HttpHeaderName": name, "Values": values}
        if field != "query-string" and not values or field == "query-string" and not pairs:
            raise Refused("ValidationError", f"A condition value must be specified for the field '{field}'")
        if field not in ("http-header", "query-string"):
            condition["Values"] = values
        conditions.append(condition)
    return conditions


def _condition_xml(condition: dict[str, Any]) -> str:
    """Both spellings, as AWS gives them: `Values` (not for headers and query strings) and the typed config."""
    field = condition["Field"]
    xml = _elements({"Field": field})
    if field == "http-header":
        config = condition["HttpHeaderConfig"]
        name = _elements({"HttpHeaderName": config["HttpHeaderName"]})
        inner = f"{name}<Values>{_members(config['Values'])}</Values>"
    elif field == "query-string":
        pairs = condition["QueryStringConfig"]["Values"]
        inner = "<Values>" + "".join(f"<member>{_elements(pair)}</member>" for pair in pairs) + "</Values>"
    else:
        inner = f"<Values>{_members(condition['Values'])}</Values>"
        xml += inner
    return f"<member>{xml}<{CONFIGS[field]}>{inner}</{CONFIGS[field]}></member>"


def _check_actions(alb: Any, actions: list[dict[str, Any]], load_balancer: str) -> None:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html, section Errors"""
    if not actions:
        raise Refused("ValidationError", "You must specify at least one action")
    final = [action for action in actions if action["Type"] in ACTIONS]
    if len(final) != 1:
        raise Refused("InvalidLoadBalancerAction", "A rule must have exactly one of forward, redirect, fixed-response")
    if final[0]["Type"] == "fixed-response":
        code = str((final[0].get("FixedResponseConfig") or {}).get("StatusCode", ""))
        if not re.fullmatch(r"[245]\d\d", code):
            raise Refused("ValidationError", f"The fixed-response status code '{code}' must match 2XX, 4XX or 5XX")
    for arn, weight in target_groups_of(actions):
        group = alb._tgs.get(arn)
        if group is None:
            raise Refused("TargetGroupNotFound", "One or more target groups not found")
        if not 0 <= weight <= 999:
            raise Refused("ValidationError", "Target group weight must be between 0 and 999")
        if any(user != load_balancer for user in users_of(alb, arn)):
            raise Refused(
                "TargetGroupAssociationLimit",
                f"The following target groups cannot be associated with more than one load balancer: {arn}",
            )
        if group["TargetType"] != "lambda" and group["VpcId"] != alb._lbs[load_balancer]["VpcId"]:
            raise Refused(
                "InvalidConfigurationRequest",
                f"The following target groups are not in the same VPC as the load balancer: {arn}",
            )


def _check_listener(alb: Any, p: Params, load_balancer: str, own: str | None) -> None:
    port = alb._p(p, "Port")
    protocol = alb._p(p, "Protocol") or (alb._listeners[own]["Protocol"] if own else "")
    if protocol not in ("HTTP", "HTTPS"):
        raise Refused("UnsupportedProtocol", f"Protocol '{protocol}' is not supported by application load balancers")
    if port:
        if not port.isdigit() or not 1 <= int(port) <= 65535:
            raise Refused("ValidationError", f"Port '{port}' must be between 1 and 65535")
        for arn, other in alb._listeners.items():
            if other["LoadBalancerArn"] == load_balancer and other["Port"] == int(port) and arn != own:
                raise Refused(
                    "DuplicateListener",
                    f"A listener already exists on this port for this load balancer '{load_balancer}'",
                )
    elif own is None:
        raise Refused("ValidationError", "A listener port must be specified")
    had = alb._listeners[own].get("Certificates") if own else None
    if protocol == "HTTPS" and not (had or alb._parse_certificate_arns(p)):
        raise Refused("ValidationError", "A certificate must be specified for HTTPS listeners")
    for certificate in alb._parse_certificate_arns(p):
        if not domains_of(certificate):
            raise Refused("CertificateNotFound", f"Certificate '{certificate}' not found")
    actions = alb._parse_actions(p, "DefaultActions")
    if own is None or actions:
        _check_actions(alb, actions, load_balancer)


def _create_listener(alb: Any, p: Params, create: Handler) -> Response:
    load_balancer = alb._p(p, "LoadBalancerArn")
    if load_balancer not in alb._lbs:
        raise Refused("LoadBalancerNotFound", f"Load balancer '{load_balancer}' not found")
    _check_listener(alb, p, load_balancer, None)
    return create(p)


def _modify_listener(alb: Any, p: Params, modify: Handler) -> Response:
    arn = alb._p(p, "ListenerArn")
    if arn not in alb._listeners:
        raise Refused("ListenerNotFound", "One or more listeners not found")
    _check_listener(alb, p, alb._listeners[arn]["LoadBalancerArn"], arn)
    return modify(p)


def _describe_listeners(alb: Any, p: Params, describe: Handler) -> Response:
    load_balancer = alb._p(p, "LoadBalancerArn")
    if load_balancer and load_balancer not in alb._lbs:
        raise Refused("LoadBalancerNotFound", f"Load balancer '{load_balancer}' not found")
    if any(arn not in alb._listeners for arn in alb._parse_member_list(p, "ListenerArns")):
        raise Refused("ListenerNotFound", "One or more listeners not found")
    return describe(p)


def _check_priority(alb: Any, listener: str, priority: str, own: set[str]) -> None:
    if not priority.isdigit() or not 1 <= int(priority) <= 50000:
        raise Refused("ValidationError", f"Priority '{priority}' must be between 1 and 50000")
    for arn, rule in alb._rules.items():
        if rule["ListenerArn"] == listener and str(rule["Priority"]) == priority and arn not in own:
            raise Refused("PriorityInUse", f"Priority '{priority}' is currently in use")


def _create_rule(alb: Any, p: Params, create: Handler) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html"""
    listener = alb._p(p, "ListenerArn")
    if listener not in alb._listeners:
        raise Refused("ListenerNotFound", "One or more listeners not found")
    if not alb._parse_conditions(p):
        raise Refused("ValidationError", "A rule must have at least one condition")
    _check_actions(alb, alb._parse_actions(p, "Actions"), alb._listeners[listener]["LoadBalancerArn"])
    _check_priority(alb, listener, alb._p(p, "Priority"), set())
    return create(p)


def _modify_rule(alb: Any, p: Params, modify: Handler) -> Response:
    arn = alb._p(p, "RuleArn")
    rule = alb._rules.get(arn)
    if rule is None:
        raise Refused("RuleNotFound", "One or more rules not found")
    if actions := alb._parse_actions(p, "Actions"):
        _check_actions(alb, actions, alb._listeners[rule["ListenerArn"]]["LoadBalancerArn"])
    return modify(p)


def _delete_rule(alb: Any, p: Params, delete: Handler) -> Response:
    if alb._p(p, "RuleArn") not in alb._rules:
        raise Refused("RuleNotFound", "One or more rules not found")
    return delete(p)


def _describe_rules(alb: Any, p: Params, describe: Handler) -> Response:
    """By priority, the default rule last. https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeRules.html"""
    listener, wanted = alb._p(p, "ListenerArn"), alb._parse_member_list(p, "RuleArns")
    if not listener and not wanted:
        raise Refused("ValidationError", "You must specify either listener rule ARNs or a listener ARN")
    if listener and listener not in alb._listeners:
        raise Refused("ListenerNotFound", "One or more listeners not found")
    if any(arn not in alb._rules for arn in wanted):
        raise Refused("RuleNotFound", "One or more rules not found")
    found = [
        rule
        for arn, rule in alb._rules.items()
        if (not listener or rule["ListenerArn"] == listener) and (not wanted or arn in wanted)
    ]
    inner = "".join(alb._rule_xml(rule) for rule in sorted(found, key=place_of))
    answer: Response = alb._xml(200, "DescribeRules", f"<Rules>{inner}</Rules>")
    return answer


def _set_priorities(alb: Any, p: Params, work: Handler) -> Response:
    wanted: dict[str, str] = {}
    while arn := alb._p(p, f"RulePriorities.member.{len(wanted) + 1}.RuleArn"):
        if arn not in alb._rules:
            raise Refused("RuleNotFound", "One or more rules not found")
        wanted[arn] = alb._p(p, f"RulePriorities.member.{len(wanted) + 1}.Priority")
    for arn, priority in wanted.items():
        _check_priority(alb, alb._rules[arn]["ListenerArn"], priority, set(wanted))
    return work(p)
