"""What a task's execution role must be allowed before its first container runs; asked in IAM mode only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import iam

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

UNABLE = "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed:"
RETRIED = "service call has been retried 1 time(s)"


def stop_reason(runtime: Runtime, role: str, container: dict[str, Any], task_arn: str) -> str:
    """Why a container cannot be prepared by this role, as Fargate says it; empty when it can.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/stopped-task-error-codes.html
    """
    session = task_arn.rpartition("/")[2]

    def refusal(action: str, resource: str) -> str:
        return iam.role_refusal(runtime, role, action, resource, session)

    for secret in container.get("secrets") or []:
        source = str(secret["valueFrom"])
        if ":secretsmanager:" in source:
            arn = ":".join(source.split(":")[:7])
            if text := refusal("secretsmanager:GetSecretValue", arn):
                told = f"unable to retrieve secret from asm: {RETRIED}: failed to fetch secret {arn}"
                return f"{UNABLE} {told} from secrets manager: AccessDeniedException: {text}"
        else:
            arn = source if source.startswith("arn:") else _arn(runtime, "ssm", f"parameter/{source.lstrip('/')}")
            if text := refusal("ssm:GetParameters", arn):
                return f"{UNABLE} unable to retrieve secrets from ssm: {RETRIED}: AccessDeniedException: {text}"
    image = str(container.get("image") or "")
    if ".dkr.ecr." in image:
        if text := refusal("ecr:GetAuthorizationToken", "*"):
            told = f"unable to retrieve ecr registry auth: {RETRIED}: AccessDeniedException: {text}"
            return f"{UNABLE} {told}"
        repository = image.partition("/")[2].partition("@")[0].partition(":")[0]
        for action in ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"):
            if refusal(action, _arn(runtime, "ecr", f"repository/{repository}")):
                return (
                    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
                    f"{image}: unexpected status from HEAD request to {image.partition('/')[0]}: 403 Forbidden"
                )
    options = (container.get("logConfiguration") or {}).get("options") or {}
    group, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix", "")
    if group:
        stream = f"{prefix}/{container['name']}/{session}"
        if text := refusal("logs:CreateLogStream", _arn(runtime, "logs", f"log-group:{group}:log-stream:{stream}")):
            return (
                "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: "
                f"failed to create Cloudwatch log stream: AccessDeniedException: {text} : exit status 1"
            )
    return ""


def _arn(runtime: Runtime, service: str, resource: str) -> str:
    return f"arn:aws:{service}:{runtime.settings.region}:{runtime.settings.account}:{resource}"
