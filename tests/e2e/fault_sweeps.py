"""What a run has left, and sweeps of it with a fault in the way of each of their calls, once and for ever.

Never "gone" while a call had no answer; nothing of anybody else touched; without the fault the next sweep takes it all.
"""

from __future__ import annotations

import functools
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils import _leftovers, _sweep
from ansible_collections.papyrus.ops.plugins.module_utils._leftovers_drill import DrillScope

from . import harness
from .fault_cells import Api
from .fault_direct import in_the_way, product_clients
from .services import CLUSTER, permanent_service

# Of a service of its own: each run of the permanent one sweeps what that has left.
PREFIX, SERVICE = "papyrus", "fault-matrix"
LOOKS = [
    Api("python", "elbv2", "DescribeLoadBalancers"),
    Api("python", "elbv2", "DescribeTags"),
    Api("python", "elbv2", "DescribeTargetGroups"),
    Api("python", "ec2", "DescribeSecurityGroups"),
    Api("python", "ec2", "DescribeNetworkInterfaces"),
    Api("python", "cloudwatch", "DescribeAlarms"),
    Api("python", "sns", "ListSubscriptionsByTopic"),
    Api("python", "sqs", "ListQueues"),
    Api("python", "sqs", "ListQueueTags"),
    Api("python", "cloudwatch", "ListTagsForResource"),
    Api("python", "ecs", "ListServices"),
    Api("python", "ecs", "ListTasks"),
    Api("python", "ecs", "DescribeTasks"),
    Api("python", "ecs", "ListTaskDefinitionFamilies"),
]
DELETES = [
    Api("python", "elbv2", "DescribeLoadBalancerAttributes"),
    Api("python", "elbv2", "DescribeListeners"),
    Api("python", "elbv2", "DeleteListener"),
    Api("python", "elbv2", "DeleteLoadBalancer"),
    Api("python", "elbv2", "DeleteTargetGroup"),
    Api("python", "ec2", "RevokeSecurityGroupIngress"),
    Api("python", "ec2", "DeleteSecurityGroup"),
    Api("python", "cloudwatch", "DeleteAlarms"),
    Api("python", "sns", "Unsubscribe"),
    Api("python", "sqs", "DeleteQueue"),
]
FOR_EVER = ("throttled", "page 200", "cut off", "expired")
SUFFIX = "abcdefghijklmnopqrstuvwxyz234567"


@dataclass
class Left:
    """What a run whose lease is over has left, of each kind: load balancer, target group, groups, alarm, queue …"""

    run_id: str
    group: str
    tasks: str
    service: str = SERVICE

    @property
    def name(self) -> str:
        return f"{PREFIX}-smoke-{self.run_id.rpartition('-')[2]}"

    @property
    def drilled(self) -> str:
        return f"{PREFIX}-drill-{self.run_id.rpartition('-')[2]}"

    @classmethod
    def make(cls, service: str = SERVICE) -> Left:
        ec2, elb = harness.client("ec2"), harness.client("elbv2")
        begun = datetime.now(UTC) - timedelta(hours=3)
        run_id = f"{begun:%Y%m%dT%H%M%SZ}-{''.join(secrets.choice(SUFFIX) for _each in range(6))}"
        until = f"{begun + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        marks = {f"{PREFIX}:run-id": run_id, f"{PREFIX}:expires-at": until, f"{PREFIX}:service": service}
        tags = [{"Key": key, "Value": value} for key, value in marks.items()]
        text = f"{PREFIX} run {run_id} until {until} of {service}"
        network = permanent_service()["networkConfiguration"]["awsvpcConfiguration"]
        subnets, tasks = network["subnets"], network["securityGroups"][0]
        vpc = ec2.describe_subnets(SubnetIds=subnets[:1])["Subnets"][0]["VpcId"]
        left = cls(run_id, "", tasks, service)
        left.group = ec2.create_security_group(
            GroupName=left.name, Description=text, VpcId=vpc,
            TagSpecifications=[{"ResourceType": "security-group", "Tags": tags}],
        )["GroupId"]  # fmt: skip
        pair = {"GroupId": left.group, "Description": text}
        rule = {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "UserIdGroupPairs": [pair]}
        ec2.authorize_security_group_ingress(GroupId=tasks, IpPermissions=[rule])
        balancer = elb.create_load_balancer(
            Name=left.name,
            Subnets=subnets,
            SecurityGroups=[left.group],
            Scheme="internal",
            Type="application",
            Tags=tags,
        )["LoadBalancers"][0]["LoadBalancerArn"]
        targets = elb.create_target_group(
            Name=left.name, Protocol="HTTP", Port=5000, VpcId=vpc, TargetType="ip", Tags=tags
        )["TargetGroups"][0]["TargetGroupArn"]
        action = {"Type": "forward", "TargetGroupArn": targets}
        elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
        left.drill(tags, marks)
        return left

    def drill(self, tags: list[dict[str, str]], marks: dict[str, str]) -> None:
        """A queue, its subscription and the copy of an alarm, as a drill makes them."""
        sqs, sns = harness.client("sqs"), harness.client("sns")
        url = sqs.create_queue(QueueName=self.drilled, tags=marks)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        sns.subscribe(TopicArn=topic(), Protocol="sqs", Endpoint=arn)
        harness.client("cloudwatch").put_metric_alarm(
            AlarmName=f"{PREFIX}-cpu-{self.drilled}", Namespace="Test", MetricName="m", Statistic="Sum", Period=60,
            EvaluationPeriods=1, Threshold=1, ComparisonOperator="GreaterThanThreshold", Tags=tags,
        )  # fmt: skip

    def there(self) -> list[str]:
        """What of it is there, asked without the product."""
        queues = harness.client("sqs").list_queues(QueueNamePrefix=self.drilled).get("QueueUrls", [])
        told = harness.pages("sns", "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic())
        alarms = harness.pages("cloudwatch", "describe_alarms", "MetricAlarms", AlarmNamePrefix=f"{PREFIX}-cpu-")
        return [
            *harness.left_behind(self.run_id),
            *queues,
            *(each["SubscriptionArn"] for each in told if each["Endpoint"].endswith(self.drilled)),
            *(each["AlarmName"] for each in alarms if each["AlarmName"].endswith(self.drilled)),
        ]


@dataclass
class SweepCell:
    """One sweep with faults in the way. `gone` is what it said; `later` what the next one, without faults, said."""

    api: str
    fault: str
    times: str
    gone: bool
    left: int
    said: str
    seconds: float
    later: bool
    wrong: str = ""


@functools.cache
def topic() -> str:
    """The topic that the drills of this service listen to."""
    arn: str = harness.client("sns").create_topic(Name="fault-matrix")["TopicArn"]
    return arn


def scope(service: str = SERVICE) -> Any:
    """What the sweep of the service looks for, drills included."""

    drill = DrillScope(cluster=CLUSTER, task_family="papyrus-task", alarm_name=PREFIX, topic_arn=topic())
    return _leftovers.Scope(PREFIX, service, name_prefix=f"{PREFIX}-smoke", drill=drill)


def sweep(key: str, run_ids: Iterable[str], where: Any) -> Any:
    """The product's sweep of these runs by this access key; waits little."""

    order = _sweep.Order(where.service, frozenset(run_ids))
    return _sweep.sweep(product_clients(key), where, order, timeout=90, interval=1)


def one(apis: list[Api], fault: str, times: int | None, where: Any) -> SweepCell:
    """Make, sweep with the fault, look, sweep without it, look."""
    left = Left.make()
    name = str(apis[0]) if len(apis) == 1 else "each"
    begun = time.monotonic()
    with in_the_way(apis, fault, times) as key:
        swept = sweep(key, [left.run_id], where)
    seconds = round(time.monotonic() - begun, 1)
    there = left.there()
    said = "; ".join([*(each["text"] for each in swept.after.failures), *(each["error"] for each in swept.failed)])
    again = sweep("later", [left.run_id], where)
    cell = SweepCell(
        name, fault, "once" if times else "always", swept.gone, len(there), said[:400], seconds, again.gone
    )
    finally_there = left.there()
    if swept.gone and there:
        cell.wrong = f"says gone, and there is {there}"
    elif not swept.gone and len(apis) == 1 and apis[0].operation not in said:
        cell.wrong = "does not name the call that failed"
    elif not again.gone or finally_there:
        cell.wrong = f"the next sweep without a fault leaves {finally_there}"
    return cell


def run(
    faults: Iterable[str],
    operations: Collection[str] | None = None,
    at_once: int = 12,
    say: Callable[[str], None] = print,
) -> list[SweepCell]:
    """Each call for ever × fault, and all calls once × fault; with `operations` only these, for ever."""
    where, faults = scope(), list(faults)
    apis = [api for api in LOOKS + DELETES if operations is None or api.operation in operations]
    wanted = [(apis, fault, 1) for fault in faults if operations is None]
    wanted += [([api], fault, None) for fault in faults if fault in FOR_EVER for api in apis]
    with ThreadPoolExecutor(at_once) as pool:
        cells = list(pool.map(lambda each: one(*each, where), wanted))
    for cell in cells:
        if cell.wrong:
            say(f"WRONG {cell}")
    return cells
