"""Services whose calls name a resource otherwise than its ARN does: IAM, secrets, logs, EventBridge, SQS, KMS."""

from __future__ import annotations

from collections.abc import Sequence

from sandbox import emulator
from sandbox.iam.call import Call, values_of

# Parameter of IAM → (kind of record, word in the ARN).
IAM_NAMES = {
    "RoleName": ("_roles", "role"),
    "UserName": ("_users", "user"),
    "GroupName": ("_groups", "group"),
    "InstanceProfileName": ("_instance_profiles", "instance-profile"),
}
# The resource of these is the role or user, not the policy that they name as well.
ABOUT_AN_ENTITY = ("Attach", "Detach", "Put", "Add", "Remove")


def iam_resources(call: Call, action: str) -> Sequence[str] | None:
    """https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html"""
    if action.startswith("sts:"):
        return [call.text("RoleArn")] if call.text("RoleArn") else None
    for name in ("OpenIDConnectProviderArn", "PolicySourceArn"):
        if call.text(name):
            return [call.text(name)]
    operation = action.partition(":")[2]
    if call.text("PolicyArn") and not operation.startswith(ABOUT_AN_ENTITY):
        return [call.text("PolicyArn")]
    if operation == "CreatePolicy":
        return [_iam_arn(call, "policy", call.text("Path"), call.text("PolicyName"))]
    if operation == "CreateOpenIDConnectProvider":
        return [_iam_arn(call, "oidc-provider", "", call.text("Url").partition("://")[2].rstrip("/"))]
    if operation == "CreateServiceLinkedRole":
        service = call.text("AWSServiceName")
        return [_iam_arn(call, "role", f"/aws-service-role/{service}/", "*")]
    for parameter in ("InstanceProfileName", "RoleName", "GroupName", "UserName"):
        if call.text(parameter):
            return [_of_record(call, parameter)]
    if operation in ("GetUser", "ListAccessKeys", "CreateAccessKey", "DeleteAccessKey", "UpdateAccessKey"):
        return [_caller(call)]
    return None


def _iam_arn(call: Call, kind: str, path: str, name: str) -> str:
    return f"arn:aws:iam::{call.account}:{kind}{path or '/'}{name}"


def _of_record(call: Call, parameter: str) -> str:
    store, kind = IAM_NAMES[parameter]
    record = getattr(emulator.service("iam"), store).get(call.text(parameter))
    if record and not call.operation.startswith("Create"):
        return str(record["Arn"])
    return _iam_arn(call, kind, call.text("Path"), call.text(parameter))


def _caller(call: Call) -> str:
    """Without a name these calls speak of the caller."""
    from sandbox.iam.principals import resolve

    principal = resolve(call.runtime, call.request.access_key_id or "")
    return principal.arn if principal else "*"


def secrets(call: Call, action: str) -> Sequence[str] | None:
    """A secret's ARN ends with six characters that only it knows."""
    if call.operation == "CreateSecret":
        return [call.arn("secretsmanager", f"secret:{call.text('Name')}-??????")]
    found = []
    for name in values_of(call.parameters, ("SecretId", "SecretIdList")):
        records = emulator.service("secretsmanager")._secrets.values()
        known = next((r["ARN"] for r in records if name in (r.get("Name"), r.get("ARN"))), None)
        found.append(str(known or (name if name.startswith("arn:") else call.arn("secretsmanager", f"secret:{name}"))))
    return found or None


def logs(call: Call, action: str) -> Sequence[str] | None:
    """Only tagging names a log group without `:*` behind it.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/iam-access-control-overview-cwl.html
    """
    operation = action.partition(":")[2]
    given = values_of(call.parameters, ("logGroupName", "logGroupIdentifier", "logGroupNames", "resourceArn"))
    if not given:
        return None
    found = []
    for name in given:
        group = name.partition(":log-group:")[2].removesuffix(":*") if name.startswith("arn:") else name
        plain = call.arn("logs", f"log-group:{group}")
        bare = operation in ("TagResource", "UntagResource", "ListTagsForResource", "TagLogGroup", "UntagLogGroup")
        found.append(plain if bare else f"{plain}:log-stream:{call.text('logStreamName')}")
    return found


def events(call: Call, action: str) -> Sequence[str] | None:
    name, bus = call.text("Name", "Rule"), call.text("EventBusName").rpartition("/")[2]
    if call.operation == "PutEvents":
        buses = {
            str(one.get("EventBusName") or "default").rpartition("/")[2] for one in call.parameters.get("Entries") or []
        }
        return [call.arn("events", f"event-bus/{one}") for one in sorted(buses)]
    if "EventBus" in call.operation:
        return [call.arn("events", f"event-bus/{name}")] if name else None
    if not name:
        return None
    return [call.arn("events", f"rule/{name}" if bus in ("", "default") else f"rule/{bus}/{name}")]


def rds(call: Call, action: str) -> Sequence[str] | None:
    """A new instance is checked against its option, parameter and subnet group too, named or not.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/security_iam_id-based-policy-examples.html
    """
    if call.operation != "CreateDBInstance":
        return None
    engine, major = call.text("Engine"), call.text("EngineVersion").partition(".")[0] or "*"
    names = {
        "db": call.text("DBInstanceIdentifier"),
        "og": call.text("OptionGroupName") or f"default:{engine}-{major}",
        "pg": call.text("DBParameterGroupName") or f"default.{engine}{major}",
        "subgrp": call.text("DBSubnetGroupName") or "default",
    }
    kinds = names if action == "rds:CreateDBInstance" else ("db",)
    return [call.arn("rds", f"{kind}:{names[kind]}") for kind in kinds]


def sqs(call: Call, action: str) -> Sequence[str] | None:
    name = call.text("QueueUrl").rpartition("/")[2] or call.text("QueueName")
    return [call.arn("sqs", name)] if name else None


def kms(call: Call, action: str) -> Sequence[str] | None:
    """Aliases count as the key that they name."""
    name = call.text("KeyId", "TargetKeyId")
    if not name:
        return None
    record = emulator.service("kms")._resolve_key(name)
    if record is None:
        return [name if name.startswith("arn:") else call.arn("kms", f"key/{name}")]
    return [str(record.get("Arn") or call.arn("kms", f"key/{record.get('KeyId')}"))]
