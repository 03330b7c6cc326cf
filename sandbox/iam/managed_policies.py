"""AWS managed policies that the emulator lacks, as AWS publishes them.

https://docs.aws.amazon.com/aws-managed-policy/latest/reference/policy-list.html
"""

from __future__ import annotations

import json
from typing import Any

Statements = list[dict[str, Any]]
# Name with its path → default version, description, statements.
POLICIES: dict[str, tuple[str, str, Statements]] = {
    "AWSXrayWriteOnlyAccess": (
        "v2",
        "AWS X-Ray write only managed policy",
        [
            {
                "Effect": "Allow",
                "Action": [
                    "xray:PutTraceSegments",
                    "xray:PutTelemetryRecords",
                    "xray:GetSamplingRules",
                    "xray:GetSamplingTargets",
                    "xray:GetSamplingStatisticSummaries",
                ],
                "Resource": ["*"],
            }
        ],
    ),
    "ServiceQuotasReadOnlyAccess": (
        "v2",
        "Provides read only access to Service Quotas",
        [
            {
                "Effect": "Allow",
                "Action": [
                    "autoscaling:DescribeAccountLimits",
                    "cloudformation:DescribeAccountLimits",
                    "cloudwatch:DescribeAlarms",
                    "cloudwatch:DescribeAlarmsForMetric",
                    "cloudwatch:GetMetricData",
                    "cloudwatch:GetMetricStatistics",
                    "dynamodb:DescribeLimits",
                    "elasticloadbalancing:DescribeAccountLimits",
                    "iam:GetAccountSummary",
                    "kinesis:DescribeLimits",
                    "organizations:DescribeAccount",
                    "organizations:DescribeOrganization",
                    "organizations:ListAWSServiceAccessForOrganization",
                    "rds:DescribeAccountAttributes",
                    "route53:GetAccountLimit",
                    "servicequotas:GetAssociationForServiceQuotaTemplate",
                    "servicequotas:GetAWSDefaultServiceQuota",
                    "servicequotas:GetRequestedServiceQuotaChange",
                    "servicequotas:GetServiceQuota",
                    "servicequotas:GetServiceQuotaIncreaseRequestFromTemplate",
                    "servicequotas:ListAWSDefaultServiceQuotas",
                    "servicequotas:ListRequestedServiceQuotaChangeHistory",
                    "servicequotas:ListRequestedServiceQuotaChangeHistoryByQuota",
                    "servicequotas:ListServiceQuotaIncreaseRequestsInTemplate",
                    "servicequotas:ListServiceQuotas",
                    "servicequotas:ListServices",
                    "servicequotas:ListTagsForResource",
                    "tag:GetTagKeys",
                    "tag:GetTagValues",
                ],
                "Resource": "*",
            }
        ],
    ),
    "AWSDenyAll": (
        "v2",
        "Deny all access.",
        [{"Sid": "DenyAll", "Effect": "Deny", "Action": ["*"], "Resource": "*"}],
    ),
    "service-role/AmazonEC2ContainerServiceRole": (
        "v2",
        "Default policy for Amazon ECS service role.",
        [
            {
                "Effect": "Allow",
                "Action": [
                    "ec2:AuthorizeSecurityGroupIngress",
                    "ec2:Describe*",
                    "elasticloadbalancing:DeregisterInstancesFromLoadBalancer",
                    "elasticloadbalancing:DeregisterTargets",
                    "elasticloadbalancing:Describe*",
                    "elasticloadbalancing:RegisterInstancesWithLoadBalancer",
                    "elasticloadbalancing:RegisterTargets",
                ],
                "Resource": "*",
            }
        ],
    ),
    "service-role/AmazonEC2ContainerServiceEventsRole": (
        "v3",
        "Policy to enable CloudWatch Events for EC2 Container Service",
        [
            {"Effect": "Allow", "Action": ["ecs:RunTask"], "Resource": ["*"]},
            {
                "Effect": "Allow",
                "Action": "iam:PassRole",
                "Resource": ["*"],
                "Condition": {"StringLike": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
            },
            {
                "Effect": "Allow",
                "Action": "ecs:TagResource",
                "Resource": "*",
                "Condition": {"StringEquals": {"ecs:CreateAction": ["RunTask"]}},
            },
        ],
    ),
    "service-role/AmazonEC2ContainerServiceAutoscaleRole": (
        "v2",
        "Policy to enable Task Autoscaling for Amazon EC2 Container Service",
        [
            {"Effect": "Allow", "Action": ["ecs:DescribeServices", "ecs:UpdateService"], "Resource": ["*"]},
            {
                "Effect": "Allow",
                "Action": ["cloudwatch:DescribeAlarms", "cloudwatch:PutMetricAlarm"],
                "Resource": ["*"],
            },
        ],
    ),
    "service-role/AmazonRDSEnhancedMonitoringRole": (
        "v1",
        "Provides access to Cloudwatch for RDS Enhanced Monitoring",
        [
            {
                "Sid": "EnableCreationAndManagementOfRDSCloudwatchLogGroups",
                "Effect": "Allow",
                "Action": ["logs:CreateLogGroup", "logs:PutRetentionPolicy"],
                "Resource": ["arn:aws:logs:*:*:log-group:RDS*"],
            },
            {
                "Sid": "EnableCreationAndManagementOfRDSCloudwatchLogStreams",
                "Effect": "Allow",
                "Action": [
                    "logs:CreateLogStream",
                    "logs:PutLogEvents",
                    "logs:DescribeLogStreams",
                    "logs:GetLogEvents",
                ],
                "Resource": ["arn:aws:logs:*:*:log-group:RDS*:log-stream:*"],
            },
        ],
    ),
}


def add(iam: Any) -> None:
    """To those that every account sees."""
    for name, (version, description, statements) in POLICIES.items():
        document = json.dumps({"Version": "2012-10-17", "Statement": statements})
        record: dict[str, Any] = iam._make_aws_managed_record(name, document, description)
        first = record["Versions"].pop("v1")
        record["Versions"][version] = {**first, "VersionId": version}
        record["DefaultVersionId"] = version
        iam._aws_managed_policies[record["Arn"]] = record
