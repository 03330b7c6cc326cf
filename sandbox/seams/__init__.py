"""Where the sandbox touches ministack's private parts: one file per service, each with install(runtime)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

# In this order: a service's seams may build on those of the services before it.
ORDER = (
    "sts",
    "iam",
    "kms",
    "s3",
    "secretsmanager",
    "ec2",
    "cloudwatch",
    "logs",
    "sns",
    "sqs",
    "events",
    "rds",
    "ecr",
    "ecs",
    "elbv2",
    "acm",
    "config",
)


def install_all(runtime: Runtime) -> None:
    """Call install(runtime) of every service's seams."""
    for name in ORDER:
        importlib.import_module(f"{__name__}.{name}").install(runtime)
