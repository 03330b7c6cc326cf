"""Manifests in the records of ECR, whether they came by its API or by a push."""

from __future__ import annotations

import time
from typing import Any

from sandbox.behaviours import behaviour


def store_manifest(ecr: Any, name: str, digest: str, tag: str | None, media_type: str, manifest: bytes) -> None:
    """Record an image; a tag leaves the image that had it. In the scope of the registry's account and region."""
    ecr._manifest_blobs.setdefault(name, {})[digest] = manifest
    images = ecr._images.setdefault(name, [])
    for image in images:
        if tag in image.get("imageTags", []):
            image["imageTags"].remove(tag)
    found = next((image for image in images if image["imageDigest"] == digest), None)
    if found is None:
        found = {
            "registryId": ecr._registry_id(),
            "repositoryName": name,
            "imageId": {"imageDigest": digest},
            "imageManifest": manifest.decode("utf-8", errors="replace"),
            "imageManifestMediaType": media_type,
            "imageTags": [],
            "imagePushedAt": int(time.time()),
            "imageDigest": digest,
        }
        images.append(found)
    if tag:
        found["imageTags"].append(tag)


@behaviour("ecr")
def pulls_are_recorded(image: dict[str, Any]) -> None:
    """DescribeImages tells when an image was last pulled.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageDetail.html (lastRecordedPullTime)
    """
    image["_pulled"] = int(time.time())
