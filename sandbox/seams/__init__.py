"""Where the sandbox touches ministack's private parts: one file per service, each with install(runtime)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

# In this order: a service's seams may build on those of the services before it.
ORDER = ("iam", "s3", "secretsmanager", "ec2", "cloudwatch", "rds", "ecr", "ecs", "elbv2")


def install_all(runtime: Runtime) -> list[str]:
    """Call install(runtime) of every seam that exists; the names installed."""
    installed: list[str] = []
    for name in ORDER:
        try:
            module = importlib.import_module(f"{__name__}.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"{__name__}.{name}":
                raise
            continue
        module.install(runtime)
        installed.append(name)
    return installed
