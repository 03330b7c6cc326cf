"""Lists everything that is in the local AWS, with boto3 alone: what was there before must be there after, unchanged.

Nothing of the product is used here, and nothing is looked for by name: an item belongs to a run when it bears the run's
suffix, or names something that does.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from botocore.exceptions import ClientError

from . import harness

Item = tuple[str, str]
"""Kind and id."""
Listing = dict[Item, str]
"""Content of each item as JSON, without what changes by itself."""

# kind, service, operation, key of the answer, key of the id ("" for items that are ids), arguments
PLAIN: tuple[tuple[str, str, str, str, str, dict[str, Any]], ...] = (
    ("load balancer", "elbv2", "describe_load_balancers", "LoadBalancers", "LoadBalancerArn", {}),
    ("target group", "elbv2", "describe_target_groups", "TargetGroups", "TargetGroupArn", {}),
    ("security group", "ec2", "describe_security_groups", "SecurityGroups", "GroupId", {}),
    ("rule of a group", "ec2", "describe_security_group_rules", "SecurityGroupRules", "SecurityGroupRuleId", {}),
    ("interface", "ec2", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId", {}),
    ("VPC", "ec2", "describe_vpcs", "Vpcs", "VpcId", {}),
    ("subnet", "ec2", "describe_subnets", "Subnets", "SubnetId", {}),
    ("route table", "ec2", "describe_route_tables", "RouteTables", "RouteTableId", {}),
    ("internet gateway", "ec2", "describe_internet_gateways", "InternetGateways", "InternetGatewayId", {}),
    ("instance", "ec2", "describe_instances", "Reservations", "ReservationId", {}),
    ("volume", "ec2", "describe_volumes", "Volumes", "VolumeId", {}),
    ("elastic address", "ec2", "describe_addresses", "Addresses", "AllocationId", {}),
    ("alarm", "cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName", {}),
    ("event rule", "events", "list_rules", "Rules", "Name", {}),
    ("topic", "sns", "list_topics", "Topics", "TopicArn", {}),
    ("subscription", "sns", "list_subscriptions", "Subscriptions", "SubscriptionArn", {}),
    ("queue", "sqs", "list_queues", "QueueUrls", "", {}),
    ("log group", "logs", "describe_log_groups", "logGroups", "logGroupName", {}),
    ("metric filter", "logs", "describe_metric_filters", "metricFilters", "filterName", {}),
    ("cluster", "ecs", "list_clusters", "clusterArns", "", {}),
    ("task definition", "ecs", "list_task_definitions", "taskDefinitionArns", "", {}),
    ("repository", "ecr", "describe_repositories", "repositories", "repositoryName", {}),
    ("database", "rds", "describe_db_instances", "DBInstances", "DBInstanceIdentifier", {}),
    ("snapshot", "rds", "describe_db_snapshots", "DBSnapshots", "DBSnapshotIdentifier", {}),
    ("parameter group", "rds", "describe_db_parameter_groups", "DBParameterGroups", "DBParameterGroupName", {}),
    ("subnet group", "rds", "describe_db_subnet_groups", "DBSubnetGroups", "DBSubnetGroupName", {}),
    ("secret", "secretsmanager", "list_secrets", "SecretList", "ARN", {}),
    ("role", "iam", "list_roles", "Roles", "RoleName", {}),
    ("policy", "iam", "list_policies", "Policies", "Arn", {"Scope": "Local"}),
    ("key", "kms", "list_keys", "Keys", "KeyId", {}),
    ("bucket", "s3", "list_buckets", "Buckets", "Name", {}),
    ("certificate", "acm", "list_certificates", "CertificateSummaryList", "CertificateArn", {}),
    ("trail", "cloudtrail", "list_trails", "Trails", "TrailARN", {}),
    ("parameter", "ssm", "describe_parameters", "Parameters", "Name", {}),
    ("tagged", "resourcegroupstaggingapi", "get_resources", "ResourceTagMappingList", "ResourceARN", {}),
)

# What changes though nobody changes it.
BY_ITSELF = frozenset(
    {"StateReason", "StateReasonData", "StateUpdatedTimestamp", "StateTransitionedTimestamp", "StateValue",
     "storedBytes", "LastAccessedDate", "LatestRestorableTime", "AvailableIpAddressCount", "RoleLastUsed",
     "lastRecordedPullTime", "events", "updatedAt", "HealthStatus", "ResponseMetadata"}
)  # fmt: skip


class AwsListing:
    """Lists with clients that are made once."""

    def __init__(self) -> None:
        self._client = functools.cache(harness.client)

    def take(self, *only: str) -> Listing:
        """Everything, or kinds of `PLAIN` alone. A call without an answer raises: then nobody knows what is there."""
        found: Listing = {}
        for kind, service, operation, key, ident, arguments in PLAIN:
            if only and kind not in only:
                continue
            for item in self._all(service, operation, key, arguments):
                if kind == "tagged" and ":task/" in item["ResourceARN"]:
                    continue  # shown for an hour after its end; those that run are listed as tasks
                if kind == "interface" and item.get("Description", "").startswith("arn:aws:ecs:"):
                    continue  # of a task, with which it comes and goes
                found[kind, item if not ident else str(item.get(ident))] = canonical(item)
        for kind, ident, item in self._dependants([] if only else list(found)):
            found[kind, ident] = canonical(item)
        return found

    def _all(self, service: str, operation: str, key: str, arguments: dict[str, Any]) -> list[Any]:
        client = self._client(service)
        if not client.can_paginate(operation):
            return list(getattr(client, operation)(**arguments).get(key, []))
        return [item for page in client.get_paginator(operation).paginate(**arguments) for item in page.get(key, [])]

    def _dependants(self, items: Iterable[Item]) -> Iterator[tuple[str, str, Any]]:
        """What is asked for item by item. An item that went away since it was listed has none."""
        asked = {
            "load balancer": self._of_balancer,
            "target group": self._of_target_group,
            "topic": self._of_topic,
            "queue": self._of_queue,
            "cluster": self._of_cluster,
            "event rule": self._of_rule,
        }
        for kind, ident in items:
            if kind in asked:
                try:
                    yield from asked[kind](ident)
                except ClientError as error:
                    if "NotFound" not in str(error) and "NonExistent" not in str(error):
                        raise

    def _of_balancer(self, arn: str) -> Iterator[tuple[str, str, Any]]:
        yield "tags", arn, self._client("elbv2").describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"]
        for listener in self._all("elbv2", "describe_listeners", "Listeners", {"LoadBalancerArn": arn}):
            yield "listener", listener["ListenerArn"], listener
            for rule in self._all("elbv2", "describe_rules", "Rules", {"ListenerArn": listener["ListenerArn"]}):
                yield "rule of a listener", rule["RuleArn"], rule

    def _of_target_group(self, arn: str) -> Iterator[tuple[str, str, Any]]:
        yield "tags", arn, self._client("elbv2").describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"]
        answer = self._client("elbv2").describe_target_health(TargetGroupArn=arn)
        for each in answer["TargetHealthDescriptions"]:
            yield "target", f"{arn} {each['Target']['Id']}", each["Target"]

    def _of_topic(self, arn: str) -> Iterator[tuple[str, str, Any]]:
        attributes = self._client("sns").get_topic_attributes(TopicArn=arn)["Attributes"]
        yield "topic's policy", arn, attributes.get("Policy")

    def _of_queue(self, url: str) -> Iterator[tuple[str, str, Any]]:
        yield "queue's tags", url, self._client("sqs").list_queue_tags(QueueUrl=url).get("Tags")

    def _of_cluster(self, arn: str) -> Iterator[tuple[str, str, Any]]:
        ecs = self._client("ecs")
        for service in self._all("ecs", "list_services", "serviceArns", {"cluster": arn}):
            yield "service", service, ecs.describe_services(cluster=arn, services=[service])["services"][0]
        # A service replaces a task whose health check fails: its tasks are counted, all others are named.
        groups: Counter[str] = Counter()
        arns = self._all("ecs", "list_tasks", "taskArns", {"cluster": arn})
        for task in ecs.describe_tasks(cluster=arn, tasks=arns[:100])["tasks"] if arns else []:
            groups[task["group"]] += 1
            service = task["group"].startswith("service:")
            name = f"{task['group']} {groups[task['group']]}" if service else task["taskArn"]
            yield "task", name, [task["group"], task["taskDefinitionArn"], task.get("startedBy") if not service else ""]

    def _of_rule(self, name: str) -> Iterator[tuple[str, str, Any]]:
        for target in self._client("events").list_targets_by_rule(Rule=name)["Targets"]:
            yield "event target", f"{name} {target['Id']}", target


def canonical(value: Any) -> str:
    """JSON of an answer without what changes by itself; what is in no order is put into one."""
    return json.dumps(_stable(value), sort_keys=True, default=str)


def _stable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stable(item) for key, item in value.items() if key not in BY_ITSELF}
    if isinstance(value, list):
        return sorted((_stable(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True, default=str))
    return value


def owned(listing: Listing, suffix: str) -> list[Item]:
    """Items that bear the suffix of a run, and those that name one of its security groups.

    A group that others share changes with each run's rule on it: the rule belongs to the run, not the group.
    """
    own = {item for item, content in listing.items() if _bears(item, content, suffix)}
    groups = [ident for kind, ident in own if kind == "security group"]
    for item, content in listing.items():
        if item[0] not in ("security group", "service") and any(group in content for group in groups):
            own.add(item)
    return sorted(own)


def _bears(item: Item, content: str, suffix: str) -> bool:
    if item[0] == "security group":
        content = json.dumps({key: v for key, v in json.loads(content).items() if not key.startswith("IpPermissions")})
    return suffix in item[1] or suffix in content


def kinds(items: Iterable[Item]) -> dict[str, int]:
    """How many there are of each kind."""
    return dict(sorted(Counter(kind for kind, _ident in items).items()))


def without_rules(content: str, suffixes: Iterable[str]) -> str:
    """A shared security group without the permissions that bear one of the suffixes."""
    group = json.loads(content)
    for key in ("IpPermissions", "IpPermissionsEgress"):
        kept = []
        for permission in group.get(key, []):
            for pairs in ("IpRanges", "Ipv6Ranges", "UserIdGroupPairs", "PrefixListIds"):
                permission[pairs] = [
                    pair for pair in permission.get(pairs, []) if not any(s in json.dumps(pair) for s in suffixes)
                ]
            if any(permission[pairs] for pairs in ("IpRanges", "Ipv6Ranges", "UserIdGroupPairs", "PrefixListIds")):
                kept.append(permission)
        group[key] = kept
    return canonical(group)


def difference(before: Listing, after: Listing, alive: Iterable[str] = ()) -> list[str]:
    """What differs, but for what runs of the suffixes `alive` own; [] is: everything is as it was."""
    alive = [suffix for suffix in alive if suffix]
    theirs = {item for suffix in alive for item in owned(after, suffix)}
    said = [f"new: {kind} {ident}" for kind, ident in sorted(set(after) - set(before) - theirs)]
    said += [f"gone: {kind} {ident}" for kind, ident in sorted(set(before) - set(after))]
    for item in sorted(set(before) & set(after)):
        old, new = before[item], after[item]
        if item[0] == "security group":
            old, new = without_rules(old, ()), without_rules(new, alive)
        if old != new:
            said.append(f"changed: {item[0]} {item[1]}: {old} -> {new}")
    return said
