"""What ELBv2 refuses of listeners and their rules, by its records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.elbv2.https_listeners import domains_of
from sandbox.emulator import service
from sandbox.rules import Refusal, rule
from sandbox.seams.elbv2_rules import users_of

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

LISTENERS = 50
RULES = 100
VALUES = 5
WITH_ACTIONS = ("CreateListener", "ModifyListener", "CreateRule", "ModifyRule")


@rule(
    "elbv2",
    "DescribeListeners",
    "DescribeRules",
    "ModifyListener",
    "DeleteListener",
    "CreateRule",
    "DescribeListenerAttributes",
    "ModifyListenerAttributes",
    "AddListenerCertificates",
    "RemoveListenerCertificates",
    "DescribeListenerCertificates",
    code="ListenerNotFound",
)
def listener_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names a listener that does not exist is refused, its deletion too.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteListener.html
    """
    given = request.parameters
    arns = [given["ListenerArn"]] if "ListenerArn" in given else given.get("ListenerArns") or []
    missing = any(arn not in service("alb")._listeners for arn in arns)
    return Refusal("ListenerNotFound", "One or more listeners not found") if missing else None


@rule("elbv2", "DescribeRules", "ModifyRule", "DeleteRule", "SetRulePriorities", code="RuleNotFound")
def rule_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Whatever names a rule that does not exist is refused, its deletion too.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeleteRule.html
    """
    missing = any(arn not in service("alb")._rules for arn in _rules(request))
    return Refusal("RuleNotFound", "One or more rules not found") if missing else None


def _rules(request: ApiRequest) -> list[str]:
    given = request.parameters
    if "RuleArn" in given:
        return [given["RuleArn"]]
    pairs = given.get("RulePriorities") or []
    return list(given.get("RuleArns") or [pair.get("RuleArn", "") for pair in pairs])


@rule("elbv2", "ModifyRule", "DeleteRule", "SetRulePriorities", code="OperationNotPermitted")
def default_rule_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A listener's default rule cannot be deleted, changed as a rule, or given a number.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-rules.html
    """
    for arn in _rules(request):
        if (service("alb")._rules.get(arn) or {}).get("IsDefault"):
            return Refusal("OperationNotPermitted", f"Default rule '{arn}' cannot be modified")
    return None


@rule("elbv2", "CreateListener", "ModifyListener", code="DuplicateListener")
def duplicate_listener(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A load balancer has one listener on a port.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
    """
    own, balancer, port = request.parameters.get("ListenerArn"), _balancer(request), request.parameters.get("Port")
    for arn, other in service("alb")._listeners.items():
        if arn != own and other["LoadBalancerArn"] == balancer and other["Port"] == port:
            text = f"A listener already exists on this port for this load balancer '{balancer}'"
            return Refusal("DuplicateListener", text)
    return None


@rule("elbv2", "CreateListener", code="TooManyListeners")
def too_many_listeners(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A load balancer has at most 50 listeners.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """
    balancer = _balancer(request)
    have = sum(other["LoadBalancerArn"] == balancer for other in service("alb")._listeners.values())
    text = f"The maximum number of listeners has been reached for load balancer '{balancer}'"
    return Refusal("TooManyListeners", text) if have >= LISTENERS else None


@rule("elbv2", "CreateRule", code="TooManyRules")
def too_many_rules(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A load balancer has at most 100 rules, the default ones not counted.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """
    alb, balancer = service("alb"), _balancer(request)
    listeners = {arn for arn, listener in alb._listeners.items() if listener["LoadBalancerArn"] == balancer}
    have = sum(known["ListenerArn"] in listeners and not known["IsDefault"] for known in alb._rules.values())
    text = f"The maximum number of rules has been reached for load balancer '{balancer}'"
    return Refusal("TooManyRules", text) if have >= RULES else None


@rule("elbv2", "CreateListener", "ModifyListener", "AddListenerCertificates", code="CertificateNotFound")
def certificate_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The certificate of an HTTPS listener must exist in ACM.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
    """
    for certificate in request.parameters.get("Certificates") or []:
        if not domains_of(certificate.get("CertificateArn", "")):
            return Refusal("CertificateNotFound", f"Certificate '{certificate.get('CertificateArn')}' not found")
    return None


@rule("elbv2", "CreateRule", "SetRulePriorities", code="PriorityInUse")
def priority_in_use(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Two rules of a listener never have the same priority.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_SetRulePriorities.html
    """
    known, given = service("alb")._rules, request.parameters
    pairs = given.get("RulePriorities") or [{"Priority": given.get("Priority")}]
    moved = {pair["RuleArn"] for pair in pairs if "RuleArn" in pair}
    wanted = [
        (known.get(pair.get("RuleArn"), {}).get("ListenerArn", given.get("ListenerArn")), str(pair.get("Priority")))
        for pair in pairs
    ]
    taken = {(other["ListenerArn"], str(other["Priority"])) for arn, other in known.items() if arn not in moved}
    for place, pair in enumerate(wanted):
        if pair in taken or pair in wanted[:place]:
            return Refusal("PriorityInUse", f"Priority '{pair[1]}' is currently in use")
    return None


def _balancer(request: ApiRequest) -> str | None:
    """The load balancer that the request's listener or rule belongs to."""
    alb, given = service("alb"), request.parameters
    listener = given.get("ListenerArn") or (alb._rules.get(given.get("RuleArn")) or {}).get("ListenerArn")
    arn = given.get("LoadBalancerArn") or (alb._listeners.get(listener) or {}).get("LoadBalancerArn")
    return str(arn) if arn else None


def _groups(request: ApiRequest) -> list[str]:
    """Target groups to which the request's actions forward."""
    found: list[str] = []
    for action in request.parameters.get("DefaultActions") or request.parameters.get("Actions") or []:
        config: dict[str, Any] = action.get("ForwardConfig") or {}
        found += [group.get("TargetGroupArn", "") for group in config.get("TargetGroups") or []]
        found += [action["TargetGroupArn"]] if "TargetGroupArn" in action else []
    return found


@rule("elbv2", "CreateRule", "ModifyRule", code="ValidationError", stateful=False)
def five_values_a_rule(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The conditions of a rule have at most 5 values together.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
    """
    count = 0
    for condition in request.parameters.get("Conditions") or []:
        configs = [one for name, one in condition.items() if name.endswith("Config")]
        count += max(len(one.get("Values") or []) for one in [condition, *configs])
    text = f"A rule can only have '{VALUES}' condition values"
    return Refusal("ValidationError", text) if count > VALUES else None


@rule("elbv2", *WITH_ACTIONS, code="TargetGroupNotFound")
def forwards_to_what_exists(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The target groups to which a listener or a rule forwards must exist.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateRule.html
    """
    missing = any(arn not in service("alb")._tgs for arn in _groups(request))
    return Refusal("TargetGroupNotFound", "One or more target groups not found") if missing else None


@rule("elbv2", *WITH_ACTIONS, code="TargetGroupAssociationLimit")
def one_load_balancer_a_target_group(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A target group receives from one load balancer only.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-target-groups.html
    """
    for arn in _groups(request):
        if any(user != _balancer(request) for user in users_of(service("alb"), arn)):
            text = f"The following target groups cannot be associated with more than one load balancer: {arn}"
            return Refusal("TargetGroupAssociationLimit", text)
    return None


@rule("elbv2", *WITH_ACTIONS, code="InvalidConfigurationRequest")
def forwards_within_its_vpc(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A listener or a rule forwards only to target groups in the VPC of its load balancer.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateListener.html
    """
    alb = service("alb")
    balancer = alb._lbs.get(_balancer(request) or "")
    for arn in _groups(request) if balancer else []:
        group = alb._tgs.get(arn)
        if group and group["TargetType"] != "lambda" and group["VpcId"] != balancer["VpcId"]:
            owner = balancer["LoadBalancerArn"]
            text = f"Target group '{arn}' is in a different VPC than load balancer '{owner}'"
            return Refusal("InvalidConfigurationRequest", text)
    return None
