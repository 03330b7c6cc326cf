"""Listeners and their rules as ELBv2 takes, keeps and shows them: actions, conditions, priorities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

from sandbox.behaviours import behaviour
from sandbox.elbv2.listener_rules import in_order
from sandbox.seams.elbv2_pages import page
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
        if not alb._p(params, f"{base}.Order"):
            order_is_shown_where_it_was_given(action)
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


@behaviour("elbv2")
def order_is_shown_where_it_was_given(action: dict[str, Any]) -> None:
    """The order of an action is shown when the request gave one: needed where a rule has several actions.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Action.html (Order)
    """
    del action["Order"]


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
    inner = _elements({name: action[name] for name in ("Type", "Order") if name in action})
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


def _check_actions(actions: list[dict[str, Any]]) -> None:
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
    for _, weight in target_groups_of(actions):
        if not 0 <= weight <= 999:
            raise Refused("ValidationError", "Target group weight must be between 0 and 999")


def _check_listener(alb: Any, p: Params, own: dict[str, Any] | None) -> None:
    port = alb._p(p, "Port")
    protocol = alb._p(p, "Protocol") or (own["Protocol"] if own else "")
    if protocol not in ("HTTP", "HTTPS"):
        raise Refused("UnsupportedProtocol", f"Protocol '{protocol}' is not supported by application load balancers")
    if port and (not port.isdigit() or not 1 <= int(port) <= 65535):
        raise Refused("ValidationError", f"Port '{port}' must be between 1 and 65535")
    if own is None and not port:
        raise Refused("ValidationError", "A listener port must be specified")
    if protocol == "HTTPS" and not ((own or {}).get("Certificates") or alb._parse_certificate_arns(p)):
        raise Refused("ValidationError", "A certificate must be specified for HTTPS listeners")
    actions = alb._parse_actions(p, "DefaultActions")
    if own is None or actions:
        _check_actions(actions)


def _create_listener(alb: Any, p: Params, create: Handler) -> Response:
    _check_listener(alb, p, None)
    return create(p)


def _modify_listener(alb: Any, p: Params, modify: Handler) -> Response:
    if listener := alb._listeners.get(alb._p(p, "ListenerArn")):
        _check_listener(alb, p, listener)
    return modify(p)


def _describe_listeners(alb: Any, p: Params, describe: Handler) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeListeners.html"""
    balancer, arns = alb._p(p, "LoadBalancerArn"), alb._parse_member_list(p, "ListenerArns")
    if not balancer and not arns:
        raise Refused("ValidationError", "You must specify either listener ARNs or a load balancer ARN")
    found = [
        listener
        for arn, listener in alb._listeners.items()
        if (not balancer or listener["LoadBalancerArn"] == balancer) and (not arns or arn in arns)
    ]
    shown, more = page(alb, p, found)
    inner = "".join(alb._listener_xml(listener) for listener in shown)
    answer: Response = alb._xml(200, "DescribeListeners", f"<Listeners>{inner}</Listeners>{more}")
    return answer


def _check_priority(priority: str) -> None:
    if not priority.isdigit() or not 1 <= int(priority) <= 50000:
        raise Refused("ValidationError", f"Priority '{priority}' must be between 1 and 50000")


def _create_rule(alb: Any, p: Params, create: Handler) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html"""
    if not alb._parse_conditions(p):
        raise Refused("ValidationError", "A rule must have at least one condition")
    _check_actions(alb._parse_actions(p, "Actions"))
    _check_priority(alb._p(p, "Priority"))
    return create(p)


def _modify_rule(alb: Any, p: Params, modify: Handler) -> Response:
    if actions := alb._parse_actions(p, "Actions"):
        _check_actions(actions)
    return modify(p)


def _describe_rules(alb: Any, p: Params, describe: Handler) -> Response:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeRules.html"""
    listener, wanted = alb._p(p, "ListenerArn"), alb._parse_member_list(p, "RuleArns")
    if not listener and not wanted:
        raise Refused("ValidationError", "You must specify either listener rule ARNs or a listener ARN")
    found = [
        rule
        for arn, rule in alb._rules.items()
        if (not listener or rule["ListenerArn"] == listener) and (not wanted or arn in wanted)
    ]
    shown, more = page(alb, p, in_order(found))
    inner = "".join(alb._rule_xml(rule) for rule in shown)
    answer: Response = alb._xml(200, "DescribeRules", f"<Rules>{inner}</Rules>{more}")
    return answer


def _set_priorities(alb: Any, p: Params, work: Handler) -> Response:
    place = 1
    while alb._p(p, f"RulePriorities.member.{place}.RuleArn"):
        _check_priority(alb._p(p, f"RulePriorities.member.{place}.Priority"))
        place += 1
    return work(p)
