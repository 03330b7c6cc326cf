# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image that a task definition names, as ECR has it: index, platform's manifest, configuration (N2)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from . import _ecs_tasks
from ._binding import Image
from ._calls import Calls
from ._oci_image import INDEXES, MANIFESTS, ImageError, digest_of, platform_digest

_ECR_IMAGE = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?/(?P<repository>[a-z0-9._/-]+)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
ARCHITECTURES = {"X86_64": "amd64", "ARM64": "arm64"}
"""Of a task definition's runtimePlatform:
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RuntimePlatform.html"""


def platform_of(definition: Mapping[str, Any]) -> str:
    """`os/architecture` of a task definition, as images spell it."""
    given = definition.get("runtimePlatform") or {}
    family = str(given.get("operatingSystemFamily") or "LINUX").lower()
    return f"{family.partition('_')[0]}/{ARCHITECTURES.get(str(given.get('cpuArchitecture') or 'X86_64'), 'amd64')}"


def definition_image(calls: Calls, task_definition: str, container: str | None, index_digest: str = "") -> Image:
    """The image of a task definition's container. `index_digest` is an index that is said to hold it."""
    definition = _ecs_tasks.describe_task_definition(calls, task_definition)
    named = str(_ecs_tasks.container_definition(definition, container).get("image", ""))
    return registry_image(calls, named, platform_of(definition), index_digest)


def registry_image(calls: Calls, reference: str, platform: str, index_digest: str = "") -> Image:
    """What ECR has under a reference, every manifest checked by its own digest; other registries are not asked."""
    match = _ECR_IMAGE.fullmatch(reference)
    if match is None:
        pinned = reference.rpartition("@")[2] if "@sha256:" in reference else ""
        where = reference.partition("/")[0] if "/" in reference else "Docker Hub"
        return Image(reference, pinned, unasked=f"the image lies in {where}, which is not ECR and is not asked")
    pinned = match["digest"] or ""
    wanted = {"imageDigest": pinned} if pinned else {"imageTag": match["tag"] or "latest"}
    try:
        digest, manifest = _manifest(calls, match["account"], match["repository"], wanted)
        index = digest if manifest.get("mediaType") in INDEXES or "manifests" in manifest else ""
        if not index and index_digest:
            above, listed = _manifest(calls, match["account"], match["repository"], {"imageDigest": index_digest})
            index = above if platform_digest(listed, platform) == digest else ""
        elif index:
            below = {"imageDigest": platform_digest(manifest, platform)}
            digest, manifest = _manifest(calls, match["account"], match["repository"], below)
    except ImageError as exc:
        return Image(reference, pinned, missing=str(exc))
    config = str((manifest.get("config") or {}).get("digest", ""))
    named = index if pinned == index and index else digest
    return Image(reference, pinned, named, index, digest, config)


def _manifest(calls: Calls, account: str, repository: str, wanted: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Digest and manifest. ImageError when ECR does not have it, or gives bytes of another digest.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchGetImage.html
    """
    what = next(iter(wanted.values()))
    answer = calls.call(
        "ecr",
        "batch_get_image",
        f"{repository} {what}",
        hint="Check the repository, and that ecr:BatchGetImage is allowed.",
        registryId=account,
        repositoryName=repository,
        imageIds=[dict(wanted)],
        acceptedMediaTypes=[*MANIFESTS, *INDEXES],
    )
    if not answer.get("images"):
        reason = next((str(failure.get("failureReason")) for failure in answer.get("failures", [])), "nothing found")
        raise ImageError(f"ECR does not have {what} in {repository} ({reason})")
    image = answer["images"][0]
    text, digest = str(image["imageManifest"]), str(image["imageId"]["imageDigest"])
    if digest_of(text.encode()) != digest:
        raise ImageError(f"ECR's manifest of {what} in {repository} has not the digest {digest} that ECR says")
    manifest = json.loads(text)
    return digest, dict(manifest)
