"""Roles that a service assumes for its customer: an ECS task's own role and its execution role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sandbox.behaviours import behaviour
from sandbox.iam import denials, records
from sandbox.iam.decisions import Question
from sandbox.iam.evaluator import Caller, Decision, ResourcePolicy, decide
from sandbox.iam.principals import boundary_of, role_policies

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


@behaviour("iam", otherwise=lambda *_: True)
def service_may_assume(role: Mapping[str, Any] | None, role_arn: str, service: str, source_arn: str) -> bool:
    """A service assumes a role only if its trust policy names the service and the conditions on the source hold.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/confused-deputy.html
    """
    if role is None or role.get("Arn") != role_arn:
        return False
    account = role_arn.split(":")[4]
    keys: dict[str, Sequence[str]] = {
        "aws:sourceaccount": [account],
        "aws:sourcearn": [source_arn],
        "aws:principalservicename": [service],
    }
    caller = Caller(account, service, policies=[], kind="Service")
    policy = ResourcePolicy(str(role.get("AssumeRolePolicyDocument") or "{}"), account, required=True)
    return decide(caller, "sts:AssumeRole", role_arn, lambda key: keys.get(key.lower()), policy).allowed


def role_refusal(runtime: Runtime, role_arn: str, action: str, resource: str, session_name: str) -> str:
    """What AWS says when a role may not do something itself (an execution role that reads a secret).

    Empty when it may, and while IAM mode is off.
    """
    if not runtime.switches.iam:
        return ""
    decision = permissions_of_the_execution_role(runtime, role_arn, action, resource)
    sids = tuple(statement.sid for statement in decision.statements if statement.sid)
    runtime.decisions.add(Question(role_arn, action, resource, "a task", decision.allowed, sids))
    if decision.allowed:
        return ""
    account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    who = f"arn:aws:sts::{account}:assumed-role/{name}/{session_name}"
    return denials.denied(action.partition(":")[0], "json", who, action, resource, decision).message


@behaviour("iam", code="AccessDeniedException", otherwise=lambda *_: Decision("allowed"))
def permissions_of_the_execution_role(runtime: Runtime, role_arn: str, action: str, resource: str) -> Decision:
    """Images are pulled, secrets read and logs opened with the permissions of the task's execution role.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    """
    account, name = role_arn.split(":")[4], role_arn.rpartition("/")[2]
    found = records.counting(runtime)
    role = found.get("roles", account, name) or {}
    keys = {
        "aws:principalarn": [role_arn],
        "aws:principalaccount": [account],
        "aws:principaltype": ["AssumedRole"],
        "aws:requestedregion": [runtime.settings.region],
    }
    caller = Caller(account, role_arn, role_arn, role_policies(found, account, name), boundary_of(found, account, role))
    return decide(caller, action, resource, lambda key: keys.get(key.lower()))
