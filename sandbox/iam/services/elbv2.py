"""Elastic Load Balancing: names of what is made, condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_awselasticloadbalancingv2.html
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sandbox import emulator
from sandbox.iam.call import Call, tags_of, values_of

SERVICE = "elasticloadbalancing"
KINDS = {"application": "app", "network": "net", "gateway": "gwy"}


def resources(call: Call, action: str) -> Sequence[str] | None:
    operation = action.partition(":")[2]
    if operation in ("AddTags", "RemoveTags"):
        return values_of(call.parameters, ("ResourceArns",)) or [made(call)]
    if operation in ("CreateLoadBalancer", "CreateTargetGroup"):
        return [made(call)]
    by_operation = {"CreateListener": "LoadBalancerArn", "CreateRule": "ListenerArn", "SetRulePriorities": ""}
    if by_operation.get(operation):
        return values_of(call.parameters, (by_operation[operation],))
    if operation == "SetRulePriorities":
        return [str(one.get("RuleArn")) for one in call.parameters.get("RulePriorities") or []]
    return None


def made(call: Call) -> str:
    """What a call makes: it has no id yet."""
    name = call.text("Name")
    kind = KINDS.get(call.text("Type") or "application", "app")
    if call.operation == "CreateTargetGroup":
        return call.arn(SERVICE, f"targetgroup/{name}/*")
    if call.operation == "CreateListener":
        balancer = call.text("LoadBalancerArn").partition(":loadbalancer/")[2]
        return call.arn(SERVICE, f"listener/{balancer}/*")
    if call.operation == "CreateRule":
        listener = call.text("ListenerArn").partition(":listener/")[2]
        return call.arn(SERVICE, f"listener-rule/{listener}/*")
    return call.arn(SERVICE, f"loadbalancer/{kind}/{name}/*")


def keys(call: Call, resource: str) -> Mapping[str, Sequence[str]]:
    found: dict[str, Sequence[str]] = {}
    subnets = values_of(call.parameters, ("Subnets",))
    subnets += [str(one["SubnetId"]) for one in call.parameters.get("SubnetMappings") or [] if one.get("SubnetId")]
    if subnets:
        found["elasticloadbalancing:subnet"] = subnets
    if groups := values_of(call.parameters, ("SecurityGroups",)):
        found["elasticloadbalancing:securitygroup"] = groups
    if call.operation == "CreateLoadBalancer":
        found["elasticloadbalancing:scheme"] = [call.text("Scheme") or "internet-facing"]
    if protocol := call.text("Protocol"):
        found["elasticloadbalancing:listenerprotocol"] = [protocol]
    if policy := call.text("SslPolicy"):
        found["elasticloadbalancing:securitypolicy"] = [policy]
    return found


def tags(resource: str) -> dict[str, str]:
    return tags_of(emulator.service("alb")._tags.get(resource))
