# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image that a task definition names, as ECR has it: index, platform's manifest, configuration (N2)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import _ecr_lookup, _ecs_tasks
from ._binding import Image
from ._calls import Calls
from ._oci_image import ImageError
from ._registry import Reference, Registry

ARCHITECTURES = {"X86_64": "amd64", "ARM64": "arm64"}
"""Of a task definition's runtimePlatform:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RuntimePlatform.html"""


def platform_of(definition: Mapping[str, Any]) -> str:
    """`os/architecture` of a task definition, as images spell it."""
    given = definition.get("runtimePlatform") or {}
    family = str(given.get("operatingSystemFamily") or "LINUX").lower()
    return f"{family.partition('_')[0]}/{ARCHITECTURES.get(str(given.get('cpuArchitecture') or 'X86_64'), 'amd64')}"


def definition_image(
    calls: Calls, task_definition: str, container: str | None, registry: Callable[[], Registry], index_digest: str = ""
) -> Image:
    """The image of a task definition's container. `index_digest` is an index that is said to hold it.

    Raises AwsFailure, RegistryFailure, TaskProblem; an image that ECR does not have is an answer.
    """
    definition = _ecs_tasks.describe_task_definition(calls, task_definition)
    reference = str(_ecs_tasks.container_definition(definition, container).get("image", ""))
    pinned = reference.rpartition("@")[2] if "@" in reference else ""
    try:
        named = _ecr_lookup.parse_named(
            reference if pinned or ":" in reference.rpartition("/")[2] else f"{reference}:latest"
        )
    except ValueError as exc:
        return Image(reference, pinned, missing=str(exc))
    home = tuple(str(definition.get("taskDefinitionArn", "")).split(":")[4:2:-1])
    where = Reference(named.host, named.repository, named.digest, reference).ecr
    if where != home:
        other = f"ECR of account {where[0]} in {where[1]}" if where else named.host or "Docker Hub"
        return Image(reference, pinned, unasked=f"the image lies in {other}, which is not asked")
    platform = platform_of(definition)
    try:
        found = _ecr_lookup.find(calls.clients, named, platform, registry)
        calls.request_ids += found.request_ids
        index = found.index_digest
        if index_digest and not index:
            above = _ecr_lookup.Named(named.host, named.repository, "", index_digest)
            listed = _ecr_lookup.find(calls.clients, above, platform, registry)
            calls.request_ids += listed.request_ids
            index = index_digest if listed.digest == found.digest else ""
    except ImageError as exc:
        return Image(reference, pinned, missing=str(exc))
    named_digest = found.index_digest or found.digest
    return Image(reference, pinned, named_digest, index, found.digest, found.config_digest)
