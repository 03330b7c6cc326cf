"""Which actions a call takes: its own, and those that come with it (tags on creation, roles that are passed)."""

from __future__ import annotations

from collections.abc import Callable

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam import reference, resources
from sandbox.iam.call import Call, Need, request_tags, values_of
from sandbox.iam.services import ec2, ecs, elbv2, s3

# Operations whose action has another name than they have.
ACTIONS = {
    ("sqs", "SendMessageBatch"): "sqs:SendMessage",
    ("sqs", "DeleteMessageBatch"): "sqs:DeleteMessage",
    ("sqs", "ChangeMessageVisibilityBatch"): "sqs:ChangeMessageVisibility",
    ("sns", "PublishBatch"): "sns:Publish",
    ("events", "TestEventPattern"): "events:TestEventPattern",
    ("kms", "ReEncrypt"): "kms:ReEncryptFrom",
    ("lambda", "Invoke"): "lambda:InvokeFunction",
}
# Everybody may. https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
FREE = {"sts:GetCallerIdentity", "sts:GetSessionToken"}
# Decided by the role's own trust policy and the token, not by whoever asks: there is nobody yet.
UNSIGNED = {"AssumeRoleWithWebIdentity", "AssumeRoleWithSAML"}
# (service, parameter) → the service that a role in it is passed to.
PASSED: dict[tuple[str, str], str] = {
    ("rds", "MonitoringRoleArn"): "monitoring.rds.amazonaws.com",
    ("events", "RoleArn"): "events.amazonaws.com",
    ("cloudtrail", "CloudWatchLogsRoleArn"): "cloudtrail.amazonaws.com",
    ("logs", "roleArn"): "logs.amazonaws.com",
    ("lambda", "Role"): "lambda.amazonaws.com",
    ("application-autoscaling", "RoleARN"): "application-autoscaling.amazonaws.com",
    ("ec2", "DeliverLogsPermissionArn"): "vpc-flow-logs.amazonaws.com",
}
# Operations that make something and may tag it at once → the action that this takes beside their own.
TAGGING = {
    "ecs": "ecs:TagResource",
    "elbv2": "elasticloadbalancing:AddTags",
    "rds": "rds:AddTagsToResource",
    "ecr": "ecr:TagResource",
    "secretsmanager": "secretsmanager:TagResource",
    "logs": "logs:TagResource",
    "sns": "sns:TagResource",
    "sqs": "sqs:TagQueue",
    "kms": "kms:TagResource",
    "events": "events:TagResource",
    "cloudwatch": "cloudwatch:TagResource",
    "cloudtrail": "cloudtrail:AddTags",
    "config": "config:TagResource",
}
IAM_TAGGING = {
    "CreateRole": "iam:TagRole",
    "CreateUser": "iam:TagUser",
    "CreatePolicy": "iam:TagPolicy",
    "CreateInstanceProfile": "iam:TagInstanceProfile",
    "CreateOpenIDConnectProvider": "iam:TagOpenIDConnectProvider",
}
MAKES = ("Create", "Put", "Register", "Run", "Start")


def of(call: Call) -> list[Need]:
    """Everything that must be allowed for the call, in the order in which a refusal names it."""
    action = action_of(call)
    needs = [Need(action, resources.of(call, action))]
    for more in (
        roles_that_are_passed,
        tags_on_creation,
        objects_that_are_copied,
        absences_that_are_told,
        names_that_are_taken,
    ):
        needs += more(call)
    return needs


def action_of(call: Call) -> str:
    if call.service == "s3":
        return s3.action(call)
    special = ACTIONS.get((call.service, call.operation))
    return special or f"{reference.prefix_of(call.service)}:{call.operation}"


@behaviour("iam", code="AccessDenied", otherwise=lambda call: [])
def names_that_are_taken(call: Call) -> list[Need]:
    """Whoever renames a user needs the permission on its new name as well.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_UpdateUser.html
    """
    new = call.text("NewUserName")
    if (call.service, call.operation) != ("iam", "UpdateUser") or not new:
        return []
    user = emulator.service("iam")._users.get(call.text("UserName")) or {}
    path = call.text("NewPath") or user.get("Path") or "/"
    return [Need("iam:UpdateUser", [f"arn:aws:iam::{call.account}:user{path}{new}"])]


@behaviour("iam", code="AccessDenied", otherwise=lambda call: [])
def roles_that_are_passed(call: Call) -> list[Need]:
    """Whoever gives a role to a service needs iam:PassRole on it, for that service (iam:PassedToService).

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_use_passrole.html
    """
    found = list(ecs.passed_roles(call)) if call.service == "ecs" else []
    for (service, parameter), passed_to in PASSED.items():
        if service == call.service:
            found += [(role, passed_to) for role in values_of(call.parameters, (parameter,))]
    if call.service == "events":
        targets = call.parameters.get("Targets") or []
        found += [(str(one["RoleArn"]), "events.amazonaws.com") for one in targets if one.get("RoleArn")]
    roles = [
        (role if role.startswith("arn:") else f"arn:aws:iam::{call.account}:role/{role}", to) for role, to in found
    ]
    return [Need("iam:PassRole", [role], {"iam:passedtoservice": [to]}) for role, to in dict.fromkeys(roles)]


@behaviour("iam", code="AccessDenied", otherwise=lambda call: [])
def tags_on_creation(call: Call) -> list[Need]:
    """Tags given at creation need the permission to tag as well, with the service's CreateAction as a condition key.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/access_tags.html
    """
    if call.service == "ec2":
        return ec2.tagging(call)
    tags = request_tags(call.parameters)
    if not tags or not call.operation.startswith(MAKES):
        return []
    action = IAM_TAGGING.get(call.operation) if call.service == "iam" else TAGGING.get(call.service)
    if action is None:
        return []
    created: dict[str, Callable[[Call], str]] = {"ecs": ecs.made, "elbv2": elbv2.made}
    made = [created[call.service](call)] if call.service in created else resources.of(call, action_of(call))
    prefix = reference.prefix_of(call.service)
    return [Need(action, made, {f"{prefix}:createaction": [call.operation]}, tags)]


def objects_that_are_copied(call: Call) -> list[Need]:
    """https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html (Authentication and authorization)"""
    source = call.text("CopySource") if call.service == "s3" else ""
    if not source:
        return []
    path, _, version = source.lstrip("/").partition("?versionId=")
    return [Need("s3:GetObjectVersion" if version else "s3:GetObject", [f"arn:aws:s3:::{path}"])]


@behaviour("s3", code="AccessDenied", otherwise=lambda call: [])
def absences_that_are_told(call: Call) -> list[Need]:
    """That an object does not exist is told only to who may list the bucket, others are denied.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    """
    if call.service != "s3" or call.operation not in ("GetObject", "HeadObject"):
        return []
    bucket = call.text("Bucket")
    known = emulator.service("s3")._buckets.get(bucket)
    if known is None or call.text("Key") in known["objects"]:
        return []
    return [Need("s3:ListBucket", [f"arn:aws:s3:::{bucket}"])]
