"""Quotas: what an account may have in a region, as Elastic Load Balancing and Service Quotas tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator, pages
from sandbox.operations import operation
from sandbox.rules import Refusal
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

Answer = dict[str, Any] | Refusal
MOST = 100
# Defaults of a new account, by the names of
# https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_Limit.html; numbers of
# https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html
LIMITS = {
    "application-load-balancers": 50,
    "certificates-per-application-load-balancer": 25,
    "condition-values-per-alb-rule": 5,
    "listeners-per-application-load-balancer": 50,
    "rules-per-application-load-balancer": 100,
    "target-groups": 3000,
    "target-groups-per-action-on-application-load-balancer": 5,
    "target-groups-per-application-load-balancer": 100,
    "targets-per-application-load-balancer": 1000,
    "targets-per-target-group": 1000,
}
# Service code → code, name, default, adjustable: https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html
QUOTAS: dict[str, tuple[str, tuple[tuple[str, str, float, bool], ...]]] = {
    "vpc": (
        "Amazon Virtual Private Cloud (Amazon VPC)",
        (
            ("L-0EA8095F", "Inbound or outbound rules per security group", 60.0, True),
            ("L-2AFB9258", "Security groups per network interface", 5.0, True),
            ("L-A4707A72", "Internet gateways per Region", 5.0, True),
            ("L-E79EC296", "VPC security groups per Region", 2500.0, True),
            ("L-F678F1CE", "VPCs per Region", 5.0, True),
        ),
    ),
}


@operation("elbv2", "DescribeAccountLimits")
def describe_account_limits(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeAccountLimits.html"""
    found = [{"Name": name, "Max": str(most)} for name, most in LIMITS.items()]
    try:
        start = pages.start_of("limits", request.parameters.get("Marker"))
    except ValueError:
        raise Refused("ValidationError", "The marker is not valid") from None
    size = int(request.parameters.get("PageSize") or 400)
    answer: dict[str, Any] = {"Limits": found[start : start + size]}
    if start + size < len(found):
        answer["NextMarker"] = pages.token_of("limits", start + size)
    return answer


@operation("service-quotas", "ListServiceQuotas")
def list_service_quotas(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_ListServiceQuotas.html"""
    parameters = request.parameters
    code = str(parameters["ServiceCode"])
    if code not in QUOTAS:
        raise Refused("NoSuchResourceException", f"The request failed because the service {code} does not exist.")
    name, quotas = QUOTAS[code]
    wanted = parameters.get("QuotaCode")
    where = f"arn:aws:servicequotas:{request.region}:{emulator.core('responses').get_account_id()}:{code}"
    found = [
        {
            "ServiceCode": code,
            "ServiceName": name,
            "QuotaArn": f"{where}/{quota}",
            "QuotaCode": quota,
            "QuotaName": title,
            "Value": value,
            "Unit": "None",
            "Adjustable": adjustable,
            "GlobalQuota": False,
            "QuotaAppliedAtLevel": "ACCOUNT",
        }
        for quota, title, value, adjustable in quotas
        if wanted in (None, quota)
    ]
    try:
        start = pages.start_of(f"quotas of {code}", parameters.get("NextToken"))
    except ValueError:
        raise Refused("InvalidPaginationTokenException", "Invalid input was provided.") from None
    size = int(parameters.get("MaxResults") or MOST)
    answer: dict[str, Any] = {"Quotas": found[start : start + size]}
    if start + size < len(found):
        answer["NextToken"] = pages.token_of(f"quotas of {code}", start + size)
    return answer
