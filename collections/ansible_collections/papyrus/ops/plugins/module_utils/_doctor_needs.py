# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each playbook has to be allowed: actions, on what, and with which condition keys a real call would come.

One list: a test holds it against what runs of the playbooks asked of policies when they were recorded, both ways.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

PLAYBOOKS = ("alb_smoke", "release", "schema", "audit_export", "sweep")
"""That a runner's role is for. `stacks`, `monitor` and `alarm_drill` are an administrator's."""

TASK, EXECUTION = "task", "execution"
"""What the two roles of the service's tasks have to be allowed."""

_WHO = {
    "M": "alb_smoke",
    "R": "release",
    "C": "schema",
    "A": "audit_export",
    "W": "sweep",
    "T": TASK,
    "E": EXECUTION,
}

_HERE = "arn:{partition}:%s:{region}:{account}"
_ELB, _EC2, _ECS = (_HERE % name for name in ("elasticloadbalancing", "ec2", "ecs"))
RESOURCES = {
    "*": "*",
    "alarm": _HERE % "cloudwatch" + ":alarm:{alarm_name}-cpu-drill-{suffix}",
    "alarms": _HERE % "cloudwatch" + ":alarm:*",
    "balancer": _ELB + ":loadbalancer/app/{smoke}/{hex}",
    "base": _HERE % "ecr" + ":repository/{base_repository}",
    "bucket": "arn:{partition}:s3:::{bucket}",
    "cluster": _ECS + ":cluster/{cluster}",
    "db": _HERE % "rds" + ":db:{db_instance}",
    "deployment": _ECS + ":service-deployment/{cluster}/{service}/{hex}",
    "drill": _ECS + ":service/{cluster}/{drill}",
    "entries": "arn:{partition}:s3:::{bucket}/{bucket_prefix}/{run_id}.opened.json",
    "exec key": "{exec_key}",
    "execution role": "{execution_role}",
    "group": _EC2 + ":security-group/sg-0123456789abcdef0",
    "key": "{signing_key}",
    "linked role": "arn:{partition}:iam::{account}:role/aws-service-role/elasticloadbalancing.amazonaws.com/"
    "AWSServiceRoleForElasticLoadBalancing",
    "listener": _ELB + ":listener/app/{smoke}/{hex}/{hex}",
    "log": _HERE % "logs" + ":log-group:{log_group}:*",
    "audited log": _HERE % "logs" + ":log-group:{audit_log_group}:*",
    "new group": _EC2 + ":security-group/*",
    "owner secret": "{db_master_secret}",
    "parameters": _HERE % "rds" + ":pg:{db_parameter_group}",
    "queue": _HERE % "sqs" + ":{drill}",
    "recorder": _HERE % "config" + ":configuration-recorder/*",
    "repository": _HERE % "ecr" + ":repository/{repository}",
    "revision": _ECS + ":task-definition/{task_family}:*",
    "rule": _ELB + ":listener-rule/app/{smoke}/{hex}/{hex}/{hex}",
    "secret": "{secret}",
    "service": _ECS + ":service/{cluster}/{service}",
    "service revision": _ECS + ":service-revision/{cluster}/{service}/{hex}",
    "subscription": "{topic}:0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0",
    "target group": _ELB + ":targetgroup/{smoke}/{hex}",
    "task": _ECS + ":task/{cluster}/{hex}{hex}",
    "task role": "{task_role}",
    "tasks group": _EC2 + ":security-group/{tasks_sg}",
    "topic": "{topic}",
    "vpc": _EC2 + ":vpc/{vpc}",
}
"""By the names of the table below. A field that the inventory leaves open leaves the need out."""

_MARKS = (("service", "{service}"), ("run-id", "{run_id}"), ("expires-at", "{expires_at}"))
_GIVEN = {
    **{"aws:RequestTag/{prefix}:" + name: (value,) for name, value in _MARKS},
    "aws:TagKeys": tuple("{prefix}:" + name for name, dummy in _MARKS),
}
_BORNE = {"aws:ResourceTag/{prefix}:" + name: (value,) for name, value in _MARKS}
_CLUSTER = {"ecs:cluster": (RESOURCES["cluster"],)}
CONTEXTS: dict[str, Mapping[str, tuple[str, ...]]] = {
    "": {},
    "given": _GIVEN,
    "borne": _BORNE,
    "group": {**_GIVEN, "ec2:CreateAction": ("CreateSecurityGroup",)},
    "balancer": {**_GIVEN, "elasticloadbalancing:Scheme": ("{scheme}",), "elasticloadbalancing:Subnet": ("{subnets}",)},
    "cluster": _CLUSTER,
    "container": {"ecs:container-name": ("{container}",)},
    "run task": {**_CLUSTER, **_GIVEN},
    "tag task": {**_GIVEN, "ecs:CreateAction": ("RunTask",)},
    "tag revision": {"ecs:CreateAction": ("RegisterTaskDefinition",)},
    "roll out": {**_CLUSTER, "ecs:task-definition": (_ECS + ":task-definition/{task_family}:1",)},
    "pass": {"iam:PassedToService": ("ecs-tasks.amazonaws.com",)},
    "linked": {"iam:AWSServiceName": ("elasticloadbalancing.amazonaws.com",)},
    "new object": {"s3:if-none-match": ("*",)},
}
"""Condition keys as the calls have them: those that the policies of infra/iam ask for, with AWS' own names."""

SOMETIMES = {
    "elasticloadbalancing:DescribeCapacityReservation": "provider 6.x reads it",
    "elasticloadbalancing:DescribeListenerAttributes": "provider 6.x reads it",
    "iam:CreateServiceLinkedRole": "only the account's first load balancer makes that role",
}
"""Not every account needs them: without, a run may pass."""

# Whose letters (M smoke, R release, C schema, A audit, W sweep, T and E the tasks' roles) | on | context | actions
_TABLE = """
MRE | * | | ecr:GetAuthorizationToken
MR | * | | ec2:DescribeAccountAttributes ec2:DescribeAddresses ec2:DescribeInstances ec2:DescribeInternetGateways
MR | * | | ec2:DescribeRouteTables ec2:DescribeSecurityGroupRules ec2:DescribeSubnets ec2:DescribeVpcs
MR | * | | elasticloadbalancing:DescribeCapacityReservation elasticloadbalancing:DescribeListenerAttributes
MR | * | | elasticloadbalancing:DescribeRules elasticloadbalancing:DescribeTargetGroupAttributes
MR | * | | elasticloadbalancing:DescribeTargetHealth
MRC | * | | rds:DescribeEvents
MRCW | * | | ec2:DescribeNetworkInterfaces ecs:DescribeTaskDefinition
MRCW | * | cluster | ecs:ListTasks
MRW | * | | ec2:DescribeSecurityGroups elasticloadbalancing:DescribeListeners
MRW | * | | elasticloadbalancing:DescribeLoadBalancerAttributes elasticloadbalancing:DescribeLoadBalancers
MRW | * | | elasticloadbalancing:DescribeTags elasticloadbalancing:DescribeTargetGroups
A | * | | cloudtrail:LookupEvents config:GetDiscoveredResourceCounts config:GetResourceConfigHistory
A | * | | config:ListDiscoveredResources logs:DescribeLogGroups
RW | * | | ecs:ListTaskDefinitions
W | * | cluster | ecs:ListServices
W | * | | ecs:ListTaskDefinitionFamilies sqs:ListQueues
T | * | | ssmmessages:CreateControlChannel ssmmessages:CreateDataChannel
T | * | | ssmmessages:OpenControlChannel ssmmessages:OpenDataChannel
A | recorder | | config:DescribeConfigurationRecorderStatus
MR | vpc | | ec2:CreateSecurityGroup
MR | new group | given | ec2:CreateSecurityGroup
MR | new group | group | ec2:CreateTags
MR | group | borne | ec2:AuthorizeSecurityGroupEgress ec2:AuthorizeSecurityGroupIngress
MR | group | borne | ec2:RevokeSecurityGroupEgress ec2:RevokeSecurityGroupIngress
MRW | group | borne | ec2:DeleteSecurityGroup
MR | tasks group | | ec2:AuthorizeSecurityGroupIngress
MRW | tasks group | | ec2:RevokeSecurityGroupIngress
MRE | repository | | ecr:BatchGetImage ecr:GetDownloadUrlForLayer
MR | repository | | ecr:DescribeImages ecr:DescribeRepositories
RE | repository | | ecr:BatchCheckLayerAvailability
R | repository | | ecr:CompleteLayerUpload ecr:InitiateLayerUpload ecr:PutImage ecr:UploadLayerPart
R | base | | ecr:BatchGetImage ecr:GetDownloadUrlForLayer
MRC | cluster | | ecs:DescribeClusters
MRC | cluster | container | ecs:ExecuteCommand
MRC | service | | ecs:DescribeServices
R | service | | ecs:ListServiceDeployments
R | service | roll out | ecs:UpdateService
R | deployment | | ecs:DescribeServiceDeployments ecs:StopServiceDeployment
R | service revision | | ecs:DescribeServiceRevisions
MR | revision | run task | ecs:RunTask
R | revision | | ecs:RegisterTaskDefinition
R | revision | tag revision | ecs:TagResource
MR | task | tag task | ecs:TagResource
MR | task | borne | ecs:StopTask
MRC | task | container | ecs:ExecuteCommand
MRCW | task | | ecs:DescribeTasks
MR | balancer | given | elasticloadbalancing:AddTags
MR | balancer | balancer | elasticloadbalancing:CreateLoadBalancer
MR | balancer | borne | elasticloadbalancing:CreateListener
MR | balancer | borne | elasticloadbalancing:ModifyLoadBalancerAttributes elasticloadbalancing:SetSecurityGroups
MRW | balancer | borne | elasticloadbalancing:DeleteLoadBalancer
MR | listener | borne | elasticloadbalancing:CreateRule
MRW | listener | borne | elasticloadbalancing:DeleteListener
MR | rule | borne | elasticloadbalancing:DeleteRule
MR | target group | given | elasticloadbalancing:AddTags elasticloadbalancing:CreateTargetGroup
MR | target group | borne | elasticloadbalancing:ModifyTargetGroup elasticloadbalancing:ModifyTargetGroupAttributes
MR | target group | borne | elasticloadbalancing:RegisterTargets
MRW | target group | borne | elasticloadbalancing:DeleteTargetGroup
MR | linked role | linked | iam:CreateServiceLinkedRole
MR | task role | pass | iam:PassRole
MR | execution role | pass | iam:PassRole
MRC | exec key | | kms:GenerateDataKey
MRCAW | key | | kms:GetPublicKey kms:Sign
MR | log | | logs:FilterLogEvents logs:GetLogEvents
A | audited log | | logs:FilterLogEvents
E | log | | logs:CreateLogStream logs:PutLogEvents
MRC | db | | rds:DescribeDBInstances
MRC | parameters | | rds:DescribeDBParameters
MRCAW | bucket | | s3:GetBucketObjectLockConfiguration s3:ListBucket
W | bucket | | s3:ListBucketVersions
MRCAW | entries | | s3:GetObject
MRCAW | entries | new object | s3:PutObject
W | entries | | s3:GetObjectVersion
MRCE | secret | | secretsmanager:GetSecretValue
RC | owner secret | | secretsmanager:GetSecretValue
W | alarms | | cloudwatch:DescribeAlarms
W | alarm | | cloudwatch:ListTagsForResource
W | alarm | borne | cloudwatch:DeleteAlarms
W | * | | ecs:DeregisterTaskDefinition
W | drill | | ecs:DescribeServices
W | drill | borne | ecs:DeleteService
W | task | borne | ecs:StopTask
W | queue | | sqs:ListQueueTags
W | queue | borne | sqs:DeleteQueue
W | topic | | sns:ListSubscriptionsByTopic
W | subscription | | sns:Unsubscribe
"""

ONLY_DRILLS = frozenset(
    {
        "cloudwatch:DeleteAlarms",
        "ecs:DeleteService",
        "ecs:DeregisterTaskDefinition",
        "sns:Unsubscribe",
        "sqs:DeleteQueue",
    }
)
"""Of a sweep, beside `ecs:StopTask`: what takes away leftovers of alarm drills. Looking for them it always does."""


@dataclass(frozen=True)
class Need:
    """`resource` and `context` are names of RESOURCES and CONTEXTS; `who` are playbooks and roles."""

    action: str
    resource: str
    context: str
    who: frozenset[str]


def _read(table: str) -> Iterator[Need]:
    for line in table.strip().splitlines():
        letters, resource, context, actions = (part.strip() for part in line.split("|"))
        who = frozenset(_WHO[letter] for letter in letters)
        for action in actions.split():
            yield Need(action, resource, context, who)


NEEDS: tuple[Need, ...] = tuple(_read(_TABLE))


def of(who: str, *, drills: bool = False) -> list[Need]:
    """What a playbook, or TASK or EXECUTION, has to be allowed."""
    left_out = frozenset() if drills else ONLY_DRILLS | {"ecs:StopTask"}
    return [need for need in NEEDS if who in need.who and not (who == "sweep" and need.action in left_out)]


@dataclass(frozen=True)
class Question:
    """One simulation: several actions on one resource, with the same condition keys."""

    resource: str
    context: tuple[tuple[str, tuple[str, ...]], ...]
    actions: tuple[str, ...]


def fill(template: str, values: Mapping[str, str]) -> str | None:
    """The text with its fields filled, or None where one of them is not known (missing or empty)."""
    try:
        text = template.format_map(values)
    except KeyError:
        return None
    fields = [part.partition("}")[0] for part in template.split("{")[1:]]
    return text if all(values[name] for name in fields) else None


def question_of(need: Need, values: Mapping[str, str]) -> Question | None:
    """The need as AWS would be asked; None where the inventory leaves its resource open.

    Condition keys of which nothing is known are left out: AWS then names them as missing.
    """
    resource = fill(RESOURCES[need.resource], values)
    if resource is None:
        return None
    context = []
    for key, texts in CONTEXTS[need.context].items():
        filled = [fill(text, values) for text in texts]
        name = fill(key, values)
        if name and all(filled):
            each = [part for text in filled if text for part in text.split()]
            context.append((name, tuple(each)))
    return Question(resource, tuple(context), (need.action,))


def together(questions: Sequence[Question]) -> list[Question]:
    """The same questions in as few as it takes: one for each resource and set of condition keys."""
    actions: dict[tuple[str, tuple[tuple[str, tuple[str, ...]], ...]], dict[str, None]] = {}
    for one in questions:
        actions.setdefault((one.resource, one.context), {}).update(dict.fromkeys(one.actions))
    return [Question(resource, context, tuple(found)) for (resource, context), found in actions.items()]
