"""Users, roles and clients for the tests of IAM mode."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import boto3
from botocore.config import Config

from tests.sandbox.support import Sandbox

Policy = dict[str, Any]


def allow(*actions: str, resource: str | list[str] = "*", condition: Mapping[str, Any] | None = None) -> Policy:
    """A policy of one statement."""
    return document(statement("Allow", *actions, resource=resource, condition=condition))


def statement(
    effect: str, *actions: str, resource: str | list[str] = "*", condition: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    return {
        "Effect": effect,
        "Action": list(actions),
        "Resource": resource,
        **({"Condition": dict(condition)} if condition else {}),
    }


def document(*statements: dict[str, Any]) -> Policy:
    return {"Version": "2012-10-17", "Statement": list(statements)}


def trust(principal: Mapping[str, Any], action: str | list[str] = "sts:AssumeRole", **condition: Any) -> Policy:
    """A trust policy: trust({"AWS": arn}, StringEquals={"sts:ExternalId": "x"})."""
    one: dict[str, Any] = {"Effect": "Allow", "Principal": dict(principal), "Action": action}
    if condition:
        one["Condition"] = {operator.replace("__", ":"): keys for operator, keys in condition.items()}
    return document(one)


def client(sandbox: Sandbox, service: str, key: Mapping[str, Any], **config: Any) -> Any:
    """A client with an access key as CreateAccessKey or STS gives it."""
    return boto3.client(
        service,
        endpoint_url=sandbox.endpoint,
        region_name=sandbox.facts["region"],
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        aws_session_token=key.get("SessionToken"),
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


def unique(prefix: str) -> str:
    return f"{prefix}-{secrets.token_hex(4)}"


@contextlib.contextmanager
def user(sandbox: Sandbox, policy: Policy | None = None, **more: Any) -> Iterator[User]:
    """A user with an access key and an inline policy; gone afterwards."""
    iam = sandbox.client("iam")
    made = User(sandbox, unique("user"))
    made.record = iam.create_user(UserName=made.name, **more)["User"]
    try:
        made.key = iam.create_access_key(UserName=made.name)["AccessKey"]
        if policy is not None:
            made.put(policy)
        yield made
    finally:
        remove_user(iam, made.name)


class User:
    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self.sandbox, self.name = sandbox, name
        self.record: dict[str, Any] = {}
        self.key: dict[str, Any] = {}

    @property
    def arn(self) -> str:
        return str(self.record["Arn"])

    def client(self, service: str, **config: Any) -> Any:
        return client(self.sandbox, service, self.key, **config)

    def put(self, policy: Policy) -> None:
        """Exactly this is the inline policy from now on."""
        self.sandbox.client("iam").put_user_policy(
            UserName=self.name, PolicyName="own", PolicyDocument=json.dumps(policy)
        )


def remove_user(iam: Any, name: str) -> None:
    with contextlib.suppress(iam.exceptions.NoSuchEntityException):
        for group in iam.list_groups_for_user(UserName=name)["Groups"]:
            iam.remove_user_from_group(UserName=name, GroupName=group["GroupName"])
        for policy in iam.list_user_policies(UserName=name)["PolicyNames"]:
            iam.delete_user_policy(UserName=name, PolicyName=policy)
        for attached in iam.list_attached_user_policies(UserName=name)["AttachedPolicies"]:
            iam.detach_user_policy(UserName=name, PolicyArn=attached["PolicyArn"])
        for key in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
        iam.delete_user(UserName=name)


@contextlib.contextmanager
def role(sandbox: Sandbox, trusts: Policy, policy: Policy | None = None, **more: Any) -> Iterator[str]:
    """The ARN of a role; gone afterwards."""
    iam = sandbox.client("iam")
    name = str(more.pop("RoleName", unique("role")))
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trusts), **more)["Role"]
    try:
        if policy is not None:
            iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=json.dumps(policy))
        yield made["Arn"]
    finally:
        remove_role(iam, name)


def remove_role(iam: Any, name: str) -> None:
    with contextlib.suppress(iam.exceptions.NoSuchEntityException):
        for policy in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=policy)
        for attached in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=name, PolicyArn=attached["PolicyArn"])
        iam.delete_role(RoleName=name)


@contextlib.contextmanager
def managed_policy(sandbox: Sandbox, policy: Policy) -> Iterator[str]:
    """The ARN of a managed policy; gone afterwards, with its versions."""
    iam = sandbox.client("iam")
    arn = iam.create_policy(PolicyName=unique("policy"), PolicyDocument=json.dumps(policy))["Policy"]["Arn"]
    try:
        yield arn
    finally:
        with contextlib.suppress(iam.exceptions.NoSuchEntityException):
            for version in iam.list_policy_versions(PolicyArn=arn)["Versions"]:
                if not version["IsDefaultVersion"]:
                    iam.delete_policy_version(PolicyArn=arn, VersionId=version["VersionId"])
            iam.delete_policy(PolicyArn=arn)
