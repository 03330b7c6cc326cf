"""What load balancers tell CloudWatch: requests, answers, times, and how many of their targets are healthy.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.elbv2.target_health import Finding, Group
    from sandbox.metrics import Metrics
    from sandbox.runtime import Send

NAMESPACE = "AWS/ApplicationELB"
# AWS counts targets once a minute; oftener says the same of averages and extremes, and sooner.
COUNT_SECONDS = 10.0


def balancer_name(arn: str) -> str:
    """As the dimension LoadBalancer has it: app/name/id."""
    return arn.partition(":loadbalancer/")[2]


def group_name(arn: str) -> str:
    """As the dimension TargetGroup has it: targetgroup/name/id."""
    return arn.split(":", 5)[5]


class Meter:
    """Sends one response of a load balancer on, and counts what it is."""

    def __init__(self, metrics: Metrics, balancer: Mapping[str, Any], send: Send) -> None:
        self.inner = send
        self._metrics = metrics
        self._arn = str(balancer["LoadBalancerArn"])
        self._group = ""
        self._asked = 0.0
        self._of_target = False

    def chosen(self, group_arn: str) -> None:
        """A target of this group is asked now."""
        self._group, self._asked = group_arn, time.monotonic()
        self._give("RequestCount", 1, "Count", both=True)

    def answered(self) -> None:
        """The response that begins now is the target's."""
        self._of_target = True
        self._give("TargetResponseTime", time.monotonic() - self._asked, "Seconds", both=True)

    async def __call__(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._count(int(message["status"]))
        await self.inner(message)

    def _count(self, status: int) -> None:
        kind = f"{status // 100}XX"
        if self._of_target:
            self._give(f"HTTPCode_Target_{kind}_Count", 1, "Count", both=True)
        elif status >= 300:
            self._give(f"HTTPCode_ELB_{kind}_Count", 1, "Count", both=False)
            if status in (500, 502, 503, 504):
                self._give(f"HTTPCode_ELB_{status}_Count", 1, "Count", both=False)

    @behaviour("elbv2")
    def _give(self, name: str, value: float, unit: str, *, both: bool) -> None:
        """A load balancer tells CloudWatch requests, target response times and answers by class, only when there are.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
        """
        parts = self._arn.split(":")
        dimensions = {"LoadBalancer": balancer_name(self._arn)}
        sets = [dimensions]
        if both:
            sets.append({**dimensions, "TargetGroup": group_name(self._group)})
        minute = time.time() // 60 * 60
        for chosen in sets:
            # To the minute and the millisecond: what a busy load balancer tells stays small.
            self._metrics.put(
                NAMESPACE, name, chosen, round(value, 3), unit, at=minute, region=parts[3], account=parts[4]
            )


async def count_hosts(
    metrics: Metrics,
    groups: Callable[[], Iterable[Group]],
    finding: Callable[[str, str, int], Finding],
    users: Callable[[str], Iterable[str]],
) -> None:
    """Tell for ever how many targets of each group are healthy; `users` are the load balancers of a group.

    Both are asked within the scope of the group's tenant.
    """
    while True:
        await asyncio.sleep(COUNT_SECONDS)
        for group in groups():
            if group.in_use:
                states = [finding(group.arn, address, port).state for address, port in group.targets]
                hosts_are_counted(metrics, group.arn, list(users(group.arn)), states)


@behaviour("elbv2")
def hosts_are_counted(metrics: Metrics, group_arn: str, balancers: list[str], states: list[str]) -> None:
    """A load balancer tells CloudWatch how many targets of each group are healthy and how many are not.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
    """
    parts = group_arn.split(":")
    counts = {"HealthyHostCount": states.count("healthy"), "UnHealthyHostCount": states.count("unhealthy")}
    for arn in balancers:
        dimensions = {"LoadBalancer": balancer_name(arn), "TargetGroup": group_name(group_arn)}
        for name, count in counts.items():
            metrics.put(NAMESPACE, name, dimensions, count, "Count", region=parts[3], account=parts[4])
