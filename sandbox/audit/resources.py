"""Which resources a CloudTrail record names, by the names of its parameters and of its answer's members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sandbox.behaviours import behaviour

MOST = 50
DEEPEST = 8

EC2 = {
    "groupid": "AWS::EC2::SecurityGroup",
    "securitygroupid": "AWS::EC2::SecurityGroup",
    "vpcid": "AWS::EC2::VPC",
    "subnetid": "AWS::EC2::Subnet",
    "networkinterfaceid": "AWS::EC2::NetworkInterface",
    "internetgatewayid": "AWS::EC2::InternetGateway",
    "natgatewayid": "AWS::EC2::NatGateway",
    "routetableid": "AWS::EC2::RouteTable",
    "allocationid": "AWS::EC2::EIP",
    "instanceid": "AWS::EC2::Instance",
}
# Service (of eventSource) → member's name in lower case, or "parent.member" → resource type.
NAMES: dict[str, dict[str, str]] = {
    "ec2": EC2,
    "elasticloadbalancing": {
        "loadbalancerarn": "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "loadbalancername": "AWS::ElasticLoadBalancingV2::LoadBalancer",
        "targetgrouparn": "AWS::ElasticLoadBalancingV2::TargetGroup",
        "targetgroupname": "AWS::ElasticLoadBalancingV2::TargetGroup",
        "listenerarn": "AWS::ElasticLoadBalancingV2::Listener",
        "rulearn": "AWS::ElasticLoadBalancingV2::ListenerRule",
        "securitygroups": "AWS::EC2::SecurityGroup",
        "subnets": "AWS::EC2::Subnet",
        "subnetid": "AWS::EC2::Subnet",
        "vpcid": "AWS::EC2::VPC",
    },
    "ecs": {
        "cluster": "AWS::ECS::Cluster",
        "clustername": "AWS::ECS::Cluster",
        "clusterarn": "AWS::ECS::Cluster",
        "service": "AWS::ECS::Service",
        "servicename": "AWS::ECS::Service",
        "servicearn": "AWS::ECS::Service",
        "taskdefinition": "AWS::ECS::TaskDefinition",
        "taskdefinitionarn": "AWS::ECS::TaskDefinition",
        "task": "AWS::ECS::Task",
        "taskarn": "AWS::ECS::Task",
        "targetgrouparn": "AWS::ElasticLoadBalancingV2::TargetGroup",
        "subnets": "AWS::EC2::Subnet",
        "securitygroups": "AWS::EC2::SecurityGroup",
        "executionrolearn": "AWS::IAM::Role",
        "taskrolearn": "AWS::IAM::Role",
    },
    "ecr": {"repositoryname": "AWS::ECR::Repository", "repositoryarn": "AWS::ECR::Repository"},
    "rds": {
        "dbinstanceidentifier": "AWS::RDS::DBInstance",
        "dbinstancearn": "AWS::RDS::DBInstance",
        "dbsubnetgroupname": "AWS::RDS::DBSubnetGroup",
        "dbparametergroupname": "AWS::RDS::DBParameterGroup",
        "dbsnapshotidentifier": "AWS::RDS::DBSnapshot",
        "vpcsecuritygroupids": "AWS::EC2::SecurityGroup",
        "vpcsecuritygroupid": "AWS::EC2::SecurityGroup",
    },
    "secretsmanager": {
        "secretid": "AWS::SecretsManager::Secret",
        "arn": "AWS::SecretsManager::Secret",
        "requestparameters.name": "AWS::SecretsManager::Secret",
    },
    "iam": {
        "rolename": "AWS::IAM::Role",
        "role.arn": "AWS::IAM::Role",
        "role.roleid": "AWS::IAM::Role",
        "username": "AWS::IAM::User",
        "user.arn": "AWS::IAM::User",
        "user.userid": "AWS::IAM::User",
        "policyarn": "AWS::IAM::Policy",
        "policy.arn": "AWS::IAM::Policy",
        "policy.policyname": "AWS::IAM::Policy",
        "groupname": "AWS::IAM::Group",
        "instanceprofilename": "AWS::IAM::InstanceProfile",
        "openidconnectproviderarn": "AWS::IAM::OIDCProvider",
        "accesskeyid": "AWS::IAM::AccessKey",
    },
    "sts": {
        "credentials.accesskeyid": "AWS::IAM::AccessKey",
        "assumedroleuser.assumedroleid": "AWS::STS::AssumedRole",
        "assumedroleuser.arn": "AWS::STS::AssumedRole",
        "rolearn": "AWS::IAM::Role",
    },
    "logs": {"loggroupname": "AWS::Logs::LogGroup", "logstreamname": "AWS::Logs::LogStream"},
    "monitoring": {"alarmname": "AWS::CloudWatch::Alarm", "alarmnames": "AWS::CloudWatch::Alarm"},
    "sns": {
        "topicarn": "AWS::SNS::Topic",
        "requestparameters.name": "AWS::SNS::Topic",
        "subscriptionarn": "AWS::SNS::Subscription",
    },
    "sqs": {"queuename": "AWS::SQS::Queue", "queueurl": "AWS::SQS::Queue"},
    "s3": {"bucketname": "AWS::S3::Bucket"},
    "kms": {"keyid": "AWS::KMS::Key", "keymetadata.arn": "AWS::KMS::Key", "aliasname": "AWS::KMS::Alias"},
    "events": {
        "rule": "AWS::Events::Rule",
        "requestparameters.name": "AWS::Events::Rule",
        "rulearn": "AWS::Events::Rule",
    },
    "cloudtrail": {
        "requestparameters.name": "AWS::CloudTrail::Trail",
        "trailarn": "AWS::CloudTrail::Trail",
        "s3bucketname": "AWS::S3::Bucket",
    },
    "config": {"configurationrecordername": "AWS::Config::ConfigurationRecorder"},
    "acm": {"certificatearn": "AWS::ACM::Certificate"},
}
# Ids tell what EC2's CreateTags and DeleteTags, and ELB's tags, are about.
PREFIXES = {
    "sg-": "AWS::EC2::SecurityGroup",
    "vpc-": "AWS::EC2::VPC",
    "subnet-": "AWS::EC2::Subnet",
    "eni-": "AWS::EC2::NetworkInterface",
    "igw-": "AWS::EC2::InternetGateway",
    "rtb-": "AWS::EC2::RouteTable",
    "nat-": "AWS::EC2::NatGateway",
    "eipalloc-": "AWS::EC2::EIP",
    "i-": "AWS::EC2::Instance",
}
# Lists and descriptions name what they look for, not what they touch: AWS shows no resources for them.
LOOKS = ("Describe", "List")


@behaviour("cloudtrail", otherwise=lambda record: [])
def resources_are_named(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """LookupEvents names the resources that a call touched, by type and name, and finds events by either.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_Event.html
    """
    found: dict[tuple[str, str], None] = {}
    for resource in record.get("resources") or []:
        if isinstance(resource, Mapping) and resource.get("type") and resource.get("ARN"):
            found[(str(resource["type"]), str(resource["ARN"]))] = None
    service = str(record.get("eventSource", "")).partition(".")[0]
    names = NAMES.get(service)
    if names and not str(record.get("eventName", "")).startswith(LOOKS):
        for where in ("requestParameters", "responseElements"):
            for pair in _named(names, record.get(where), where.lower(), 0):
                found[pair] = None
                if len(found) >= MOST:
                    return list(found)
    return list(found)


def _named(names: Mapping[str, str], value: Any, parent: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > DEEPEST:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            name = str(key).lower()
            kind = names.get(name) or names.get(f"{parent}.{name}")
            if name == "resourceid" and isinstance(item, str):
                kind = next((known for prefix, known in PREFIXES.items() if item.startswith(prefix)), None)
            if kind and isinstance(item, str) and item:
                yield kind, item
            elif kind and isinstance(item, list) and item and all(isinstance(one, str) for one in item):
                yield from ((kind, one) for one in item)
            else:
                yield from _named(names, item, name, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _named(names, item, parent, depth + 1)
