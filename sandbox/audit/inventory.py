"""What Config sees of the local AWS: the resources of an account in a region, as the emulator's records have them.

Types and identifiers: https://docs.aws.amazon.com/config/latest/developerguide/resource-config-reference.html
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from sandbox import emulator
from sandbox.audit import shapes
from sandbox.requests import service_model


@dataclass(frozen=True)
class Resource:
    type: str
    id: str
    name: str | None
    arn: str
    zone: str
    created: str | None
    tags: dict[str, str]
    configuration: dict[str, Any]
    # What other operations of the service say of it: by name, JSON as text.
    supplement: dict[str, str] = field(default_factory=dict)
    # (type, id, how)
    relationships: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Kind:
    """`service` and `shape` of botocore's model, `module` and `store` of the emulator; the rest are members' names."""

    type: str
    service: str
    module: str
    store: str
    shape: str
    id: str
    name: str = ""
    # A member, or with {account}, {region}, {id} a form.
    arn: str = ""
    created: str = ""


EC2_ARN = "arn:aws:ec2:{region}:{account}:"
ELB = "AWS::ElasticLoadBalancingV2::"
KINDS = (
    Kind("AWS::EC2::VPC", "ec2", "ec2", "_vpcs", "Vpc", "VpcId", arn=EC2_ARN + "vpc/{id}"),
    Kind("AWS::EC2::Subnet", "ec2", "ec2", "_subnets", "Subnet", "SubnetId", arn=EC2_ARN + "subnet/{id}"),
    Kind(
        "AWS::EC2::SecurityGroup",
        "ec2",
        "ec2",
        "_security_groups",
        "SecurityGroup",
        "GroupId",
        "GroupName",
        EC2_ARN + "security-group/{id}",
    ),
    Kind(
        "AWS::EC2::NetworkInterface",
        "ec2",
        "ec2",
        "_network_interfaces",
        "NetworkInterface",
        "NetworkInterfaceId",
        arn=EC2_ARN + "network-interface/{id}",
    ),
    Kind(
        "AWS::EC2::InternetGateway",
        "ec2",
        "ec2",
        "_internet_gateways",
        "InternetGateway",
        "InternetGatewayId",
        arn=EC2_ARN + "internet-gateway/{id}",
    ),
    Kind(
        "AWS::EC2::RouteTable",
        "ec2",
        "ec2",
        "_route_tables",
        "RouteTable",
        "RouteTableId",
        arn=EC2_ARN + "route-table/{id}",
    ),
    Kind(
        ELB + "LoadBalancer",
        "elbv2",
        "alb",
        "_lbs",
        "LoadBalancer",
        "LoadBalancerArn",
        "LoadBalancerName",
        "LoadBalancerArn",
        "CreatedTime",
    ),
    Kind(
        ELB + "TargetGroup",
        "elbv2",
        "alb",
        "_tgs",
        "TargetGroup",
        "TargetGroupArn",
        "TargetGroupName",
        "TargetGroupArn",
    ),
    Kind(ELB + "Listener", "elbv2", "alb", "_listeners", "Listener", "ListenerArn", arn="ListenerArn"),
    Kind("AWS::ECS::Cluster", "ecs", "ecs", "_clusters", "Cluster", "clusterArn", "clusterName", "clusterArn"),
    Kind(
        "AWS::ECS::Service",
        "ecs",
        "ecs",
        "_services",
        "Service",
        "serviceArn",
        "serviceName",
        "serviceArn",
        "createdAt",
    ),
    Kind(
        "AWS::ECS::TaskDefinition",
        "ecs",
        "ecs",
        "_task_defs",
        "TaskDefinition",
        "taskDefinitionArn",
        arn="taskDefinitionArn",
        created="registeredAt",
    ),
    Kind(
        "AWS::ECR::Repository",
        "ecr",
        "ecr",
        "_repositories",
        "Repository",
        "repositoryName",
        "repositoryName",
        "repositoryArn",
        "createdAt",
    ),
    Kind(
        "AWS::RDS::DBInstance",
        "rds",
        "rds",
        "_instances",
        "DBInstance",
        "DbiResourceId",
        "DBInstanceIdentifier",
        "DBInstanceArn",
        "InstanceCreateTime",
    ),
    Kind(
        "AWS::RDS::DBSubnetGroup",
        "rds",
        "rds",
        "_subnet_groups",
        "DBSubnetGroup",
        "DBSubnetGroupName",
        "DBSubnetGroupName",
        "DBSubnetGroupArn",
    ),
    Kind(
        "AWS::SecretsManager::Secret",
        "secretsmanager",
        "secretsmanager",
        "_secrets",
        "SecretListEntry",
        "ARN",
        "Name",
        "ARN",
        "CreatedDate",
    ),
    Kind("AWS::IAM::Role", "iam", "iam", "_roles", "Role", "RoleId", "RoleName", "Arn", "CreateDate"),
    Kind("AWS::IAM::Policy", "iam", "iam", "_policies", "Policy", "PolicyId", "PolicyName", "Arn", "CreateDate"),
    Kind("AWS::IAM::User", "iam", "iam", "_users", "User", "UserId", "UserName", "Arn", "CreateDate"),
    Kind("AWS::S3::Bucket", "s3", "s3", "_buckets", "Bucket", "Name", "Name", "arn:aws:s3:::{id}", "CreationDate"),
    Kind(
        "AWS::CloudWatch::Alarm",
        "cloudwatch",
        "cloudwatch",
        "_alarms",
        "MetricAlarm",
        "AlarmName",
        "AlarmName",
        "AlarmArn",
    ),
    Kind("AWS::SNS::Topic", "sns", "sns", "_topics", "", "TopicArn", "TopicName", "TopicArn"),
    Kind("AWS::SQS::Queue", "sqs", "sqs", "_queues", "", "QueueUrl", "QueueName", "QueueArn"),
    Kind("AWS::KMS::Key", "kms", "kms", "_keys", "KeyMetadata", "KeyId", arn="Arn", created="CreationDate"),
    Kind("AWS::CloudTrail::Trail", "cloudtrail", "cloudtrail", "_trails", "Trail", "Name", "Name", "TrailARN"),
)
GLOBAL_TYPES = frozenset({"AWS::IAM::Role", "AWS::IAM::Policy", "AWS::IAM::User"})
# State that comes and goes by itself is no configuration.
VOLATILE = frozenset(
    {
        "AvailableIpAddressCount",
        "LastAccessedDate",
        "RoleLastUsed",
        "PasswordLastUsed",
        "AttachmentCount",
        "LatestRestorableTime",
        "StateReason",
        "StateReasonData",
        "StateUpdatedTimestamp",
        "StateTransitionedTimestamp",
        "StateValue",
        "activeServicesCount",
        "deployments",
        "events",
        "pendingCount",
        "pendingTasksCount",
        "registeredContainerInstancesCount",
        "runningCount",
        "runningTasksCount",
        "statistics",
        "taskSets",
    }
)
# Where the emulator's modules keep tags, by ARN or id.
TAG_STORES = ("_resource_tags", "_bucket_tags", "_tags")
# Member of a configuration → type that it names, and how Config says it.
RELATIONS = {
    "vpcId": ("AWS::EC2::VPC", "Is contained in Vpc"),
    "subnetId": ("AWS::EC2::Subnet", "Is contained in Subnet"),
    "subnetIdentifier": ("AWS::EC2::Subnet", "Is contained in Subnet"),
    "subnets": ("AWS::EC2::Subnet", "Is contained in Subnet"),
    "groupId": ("AWS::EC2::SecurityGroup", "Is associated with SecurityGroup"),
    "securityGroups": ("AWS::EC2::SecurityGroup", "Is associated with SecurityGroup"),
    "vpcSecurityGroupId": ("AWS::EC2::SecurityGroup", "Is associated with SecurityGroup"),
    "loadBalancerArn": (ELB + "LoadBalancer", "Is associated with LoadBalancer"),
    "loadBalancerArns": (ELB + "LoadBalancer", "Is associated with LoadBalancer"),
    "targetGroupArn": (ELB + "TargetGroup", "Is associated with TargetGroup"),
    "clusterArn": ("AWS::ECS::Cluster", "Is contained in Cluster"),
    "taskDefinition": ("AWS::ECS::TaskDefinition", "Is associated with TaskDefinition"),
    "dBSubnetGroupName": ("AWS::RDS::DBSubnetGroup", "Is associated with DBSubnetGroup"),
}


def resources(account: str, region: str, kinds: tuple[Kind, ...] = KINDS) -> Iterator[Resource]:
    """Everything of these kinds that is there now."""
    application = emulator.app()
    loaded = application._loaded_modules
    with emulator.request_scope(account, region):
        for kind in kinds:
            module = loaded.get(kind.module)
            for key, record in list(getattr(module, kind.store, {}).items()):
                if isinstance(record, Mapping) and not _is_gone(record, kind, region):
                    yield _resource(module, kind, str(key), record, account, region)


def _is_gone(record: Mapping[str, Any], kind: Kind, region: str) -> bool:
    """Deleted for its owner, though a record is kept; or of another region."""
    if kind.module == "s3":
        return bool(record.get("region", region) != region)
    return record.get("status") == "INACTIVE" or bool(record.get("DeletedDate"))


def _resource(module: Any, kind: Kind, key: str, record: Mapping[str, Any], account: str, region: str) -> Resource:
    members = _members(module, kind, key, record)
    shape = _shape(kind.service, kind.shape) if kind.shape else None
    configuration = shapes.written(shape, projected(shape, members), "config")
    identifier = str(members.get(kind.id) or key)
    arn = kind.arn.format(account=account, region=region, id=identifier)
    arn = str(members.get(arn, arn))
    relations = {
        (other, named, how) for other, named, how in _relations(configuration) if named not in (identifier, arn)
    }
    return Resource(
        type=kind.type,
        id=identifier,
        name=str(members[kind.name]) if members.get(kind.name) else None,
        arn=arn,
        zone=str(members.get("AvailabilityZone") or "Not Applicable"),
        created=iso(members[kind.created]) if members.get(kind.created) else None,
        tags=_tags(module, kind, identifier, arn, members),
        configuration=configuration,
        supplement=_bucket(module, key) if kind.type == "AWS::S3::Bucket" else {},
        relationships=sorted(relations),
    )


def _members(module: Any, kind: Kind, key: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The record by the names of the service's API, where the emulator has others."""
    members = {name: value for name, value in record.items() if name not in VOLATILE and not name.startswith("_")}
    if kind.type == ELB + "LoadBalancer":
        ec2 = emulator.service("ec2")
        members["AvailabilityZones"] = [
            {"SubnetId": subnet, "ZoneName": (ec2._subnets.get(subnet) or {}).get("AvailabilityZone")}
            for subnet in record.get("Subnets") or []
        ]
        members["State"] = {"Code": record.get("State")}
    elif kind.type == "AWS::S3::Bucket":
        members = {"Name": key, "CreationDate": record.get("created")}
    elif kind.type == "AWS::SNS::Topic":
        members = {"TopicName": record.get("name"), **dict(record.get("attributes") or {}), "tags": record.get("tags")}
        for count in ("SubscriptionsConfirmed", "SubscriptionsPending", "SubscriptionsDeleted"):
            members.pop(count, None)
    elif kind.type == "AWS::SQS::Queue":
        attributes = {k: v for k, v in (record.get("attributes") or {}).items() if not k.startswith("Approximate")}
        members = {"QueueUrl": key, "QueueName": record.get("name"), **attributes, "tags": record.get("tags")}
    return members


def _bucket(s3: Any, name: str) -> dict[str, str]:
    policy, versioning = s3._bucket_policies.get(name), s3._bucket_versioning.get(name)
    return {
        "BucketPolicy": json.dumps({"policyText": policy}),
        "BucketVersioningConfiguration": json.dumps({"status": versioning or "Off"}, default=str),
    }


@functools.cache
def _shape(service: str, name: str) -> Shape | None:
    model = service_model(service)
    return model.shape_for(name) if model else None


def projected(shape: Shape | None, value: Any) -> Any:
    """What the service's model knows of a value; times as text of ISO 8601."""
    if value is None or value == "":
        return None
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        kept = {name: projected(member, value.get(name)) for name, member in shape.members.items()}
        return {name: item for name, item in kept.items() if item is not None}
    if isinstance(shape, ListShape) and isinstance(value, list | tuple):
        return [projected(shape.member, item) for item in value]
    if isinstance(shape, MapShape) and isinstance(value, Mapping):
        return {str(name): projected(shape.value, item) for name, item in value.items()}
    if shape is not None and shape.type_name == "timestamp":
        return iso(value)
    return value


def iso(stamp: Any) -> str:
    at = datetime.fromtimestamp(emulator.epoch(stamp), UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _tags(module: Any, kind: Kind, identifier: str, arn: str, members: Mapping[str, Any]) -> dict[str, str]:
    """Tags lie in the record, or beside it by id or ARN."""
    own = members.get("Tags") or members.get("tags") or members.get("TagList")
    if not own:
        beside = next((getattr(module, store) for store in TAG_STORES if hasattr(module, store)), None)
        own = (beside.get(arn) or beside.get(identifier)) if beside is not None else None
    if isinstance(own, Mapping):
        return {str(key): str(value) for key, value in own.items()}
    pairs = [{str(k).lower(): v for k, v in tag.items()} for tag in own or [] if isinstance(tag, Mapping)]
    return {
        str(pair.get("key", pair.get("tagkey"))): str(pair.get("value", pair.get("tagvalue", ""))) for pair in pairs
    }


def _relations(value: Any) -> Iterator[tuple[str, str, str]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            known = RELATIONS.get(name)
            named = [item] if isinstance(item, str) else item if isinstance(item, list) else []
            if known and named and all(isinstance(one, str) for one in named):
                yield from ((known[0], one, known[1]) for one in named)
            else:
                yield from _relations(item)
    elif isinstance(value, list):
        for item in value:
            yield from _relations(item)
