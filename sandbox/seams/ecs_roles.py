"""Roles that ECS assumes for a task: there, and trusting ECS."""

from __future__ import annotations

from sandbox import emulator, iam

PRINCIPAL = "ecs-tasks.amazonaws.com"


def role_refusal(arn: str) -> str:
    """Why ECS cannot assume a role, or nothing. In the scope of the account that asks.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_execution_IAM_role.html
    """
    account, name = arn.split(":")[4], arn.rpartition("/")[2]
    role = emulator.service("iam")._roles.get_scoped(account, None, name)
    # Conditions on the source take a wildcard for the task: the developer guide shows no other form.
    source = f"arn:aws:ecs:{emulator.core('responses').get_region()}:{account}:task"
    if not iam.service_may_assume(role, arn, PRINCIPAL, source):
        return (
            f"ECS was unable to assume the role '{arn}' that was provided for this task. Please verify that the role "
            "being passed has the proper trust relationship and permissions and that your IAM user has permissions to "
            "pass this role."
        )
    return ""
