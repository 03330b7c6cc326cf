"""Roles that ECS assumes for a task: there, and trusting ECS."""

from __future__ import annotations

import json
from typing import Any

from sandbox import emulator

PRINCIPAL = "ecs-tasks.amazonaws.com"


def role_refusal(arn: str) -> str:
    """Why ECS cannot assume a role, or nothing. In the scope of the account that asks.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    """
    account, name = arn.split(":")[4], arn.rpartition("/")[2]
    role = emulator.service("iam")._roles.get_scoped(account, None, name)
    if role is None or not _trusted(role.get("AssumeRolePolicyDocument") or "{}"):
        return (
            f"ECS was unable to assume the role '{arn}' that was provided for this task. Please verify that the role "
            "being passed has the proper trust relationship and permissions and that your IAM user has permissions to "
            "pass this role."
        )
    return ""


def _trusted(document: Any) -> bool:
    """Whether a trust policy lets ECS in; its conditions are those of the confused deputy, and hold here."""
    try:
        policy = json.loads(document) if isinstance(document, str) else document
    except ValueError:
        return False
    statements = policy.get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        principal = statement.get("Principal") or {}
        services = principal.get("Service", []) if isinstance(principal, dict) else principal
        actions = statement.get("Action", [])
        if (
            statement.get("Effect") == "Allow"
            and PRINCIPAL in ([services] if isinstance(services, str) else services)
            and {"sts:AssumeRole", "sts:*", "*"} & set([actions] if isinstance(actions, str) else actions)
        ):
            return True
    return False
