"""Roles that a service assumes for its customer: an ECS task's own role and its execution role."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.iam import records
from sandbox.iam.evaluator import Caller, Decision, ResourcePolicy, decide
from sandbox.iam.principals import boundary_of, role_policies

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


class NotAssumable(Exception):
    """A service cannot assume a role; the message is AWS's."""


def assume_for_service(
    runtime: Runtime,
    role_arn: str,
    service: str,
    session_name: str,
    *,
    source_arn: str = "",
    seconds: float = 6 * 3600,
) -> dict[str, Any]:
    """Credentials of a role for a service principal (`ecs-tasks.amazonaws.com`), as STS keeps sessions.

    The keys are those of the metadata endpoint: RoleArn, AccessKeyId, SecretAccessKey, Token, Expiration (seconds
    since 1970). With IAM mode off the trust policy is not looked at, and the role need not exist.
    Raises NotAssumable.
    """
    account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    found = records.counting(runtime)
    role = found.get("roles", account, name)
    if runtime.switches.iam and not service_may_assume(runtime, role, role_arn, service, source_arn):
        raise NotAssumable(
            f"ECS was unable to assume the role '{role_arn}' that was provided for this task. Please verify that the "
            "role being passed has the proper trust relationship and permissions and that your IAM user has "
            "permissions to pass this role."
        )
    iam, sts = emulator.service("iam"), emulator.service("sts")
    key = iam._gen_session_access_key()
    expires = time.time() + (runtime.switches.session_seconds or seconds)
    session = {
        "Arn": f"arn:aws:sts::{account}:assumed-role/{name}/{session_name}",
        "UserId": f"{(role or {}).get('RoleId', '')}:{session_name}",
        "SecretAccessKey": iam._gen_secret(),
        "SessionToken": iam._gen_session_token(),
        "Expiration": expires,
        "AccountId": account,
        "PrincipalType": "AssumedRole",
        "InvokedBy": service,
    }
    sts.register_session(key, session)
    runtime.changed()
    return {
        "RoleArn": role_arn,
        "AccessKeyId": key,
        "SecretAccessKey": session["SecretAccessKey"],
        "Token": session["SessionToken"],
        "Expiration": expires,
    }


@behaviour("iam", otherwise=lambda *_: True)
def service_may_assume(
    runtime: Runtime, role: Mapping[str, Any] | None, role_arn: str, service: str, source_arn: str
) -> bool:
    """A service assumes a role only if its trust policy names the service and its conditions hold.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html
    """
    if role is None or role.get("Arn") != role_arn:
        return False
    account = role_arn.split(":")[4]
    keys: dict[str, Sequence[str]] = {"aws:sourceaccount": [account], "aws:principalservicename": [service]}
    if source_arn:
        keys["aws:sourcearn"] = [source_arn]
    caller = Caller(account, service, policies=[], kind="Service")
    policy = ResourcePolicy(str(role.get("AssumeRolePolicyDocument") or "{}"), account, required=True)
    return decide(caller, "sts:AssumeRole", role_arn, lambda key: keys.get(key.lower()), policy).allowed


def role_refusal(runtime: Runtime, role_arn: str, action: str, resource: str, session_name: str) -> str | None:
    """What AWS says when a role may not do something itself (an execution role that reads a secret); None: it may.

    Nothing is refused while IAM mode is off.
    """
    if not runtime.switches.iam:
        return None
    decision = permissions_of_the_execution_role(runtime, role_arn, action, resource)
    if decision.allowed:
        return None
    account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    why = (
        f"with an explicit deny in an {decision.by}"
        if decision.kind == "explicitDeny"
        else f"because no {decision.by} allows the {action} action"
    )
    who = f"arn:aws:sts::{account}:assumed-role/{name}/{session_name}"
    return f"User: {who} is not authorized to perform: {action} on resource: {resource} {why}"


@behaviour("iam", otherwise=lambda *_: Decision("allowed"))
def permissions_of_the_execution_role(runtime: Runtime, role_arn: str, action: str, resource: str) -> Decision:
    """Images are pulled, secrets read and logs written with the execution role's permissions, not the task's.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    """
    account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    found = records.counting(runtime)
    role = found.get("roles", account, name) or {}
    keys = {
        "aws:principalarn": [role_arn],
        "aws:principalaccount": [account],
        "aws:requestedregion": [runtime.settings.region],
        "aws:principaltype": ["AssumedRole"],
    }
    caller = Caller(account, role_arn, role_arn, role_policies(found, account, name), boundary_of(found, account, role))
    return decide(caller, action, resource, lambda key: keys.get(key.lower()))
