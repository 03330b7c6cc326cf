# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ECR has of an image: a tag or an index resolved to the digest that one platform runs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import _oci_image, _registry
from ._aws import AwsFailure, aws_call, is_missing, request_id
from ._oci_image import INDEXES, ImageError
from ._rows import json_safe

Client = Callable[[str], Any]

_NAMED = re.compile(
    r"(?:(?P<host>[^/@]+[.:][^/@]*|localhost)/)?(?P<repository>[a-z0-9._/-]+)"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_REVISION = "org.opencontainers.image.revision"


@dataclass(frozen=True)
class Repository:
    name: str
    uri: str
    immutable: bool


@dataclass(frozen=True)
class Named:
    """An image as people name it. `host` "" is the caller's registry; tag or digest may be "", not both."""

    host: str
    repository: str
    tag: str
    digest: str

    @property
    def text(self) -> str:
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Found:
    """`index_digest` "": there is no index. `tags`: those of the image and of its index."""

    repository: Repository
    digest: str
    index_digest: str
    config_digest: str
    media_type: str
    tags: tuple[str, ...]
    pushed_at: str
    size: int
    platform: str
    platforms: tuple[str, ...]
    labels: Mapping[str, str]
    layers: tuple[Mapping[str, Any], ...]
    request_ids: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """As modules return it."""
        return {
            "image": f"{self.repository.uri}@{self.digest}",
            "digest": self.digest,
            "index_digest": self.index_digest or None,
            "repository_uri": self.repository.uri,
            "media_type": self.media_type,
            "tags": list(self.tags),
            "untagged": not self.tags,
            "pushed_at": self.pushed_at,
            "size": self.size,
            "platform": self.platform,
            "platforms": list(self.platforms),
            "labels": dict(self.labels),
            "revision": self.labels.get(_REVISION, ""),
            "layers": [dict(layer) for layer in self.layers],
            "request_ids": list(self.request_ids),
        }


class ImageMissing(ImageError):
    """ECR has the repository, and no such image in it."""

    def __init__(self, message: str, repository: Repository) -> None:
        self.repository = repository
        super().__init__(message)


def parse_named(text: str) -> Named:
    """`[registry/]repository:tag` or `…@sha256:…`; a digest wins over a tag. ValueError for everything else."""
    match = _NAMED.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an image such as papyrus:v1 or papyrus@sha256:<64 hex digits>")
    named = Named(match["host"] or "", match["repository"], match["tag"] or "", match["digest"] or "")
    if not named.tag and not named.digest:
        raise ValueError(f"{text!r} has neither tag nor digest: say which image of the repository is meant")
    return named


def describe_repository(client: Client, name: str) -> Repository:
    """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeRepositories.html"""
    hint = "Apply the stack that makes the repository first, or correct its name."
    with aws_call("DescribeRepositories", name, hint):
        answer = client("ecr").describe_repositories(repositoryNames=[name])
    found = answer["repositories"][0]
    # IMMUTABLE_WITH_EXCLUSION and the like depend on the tag: ECR itself refuses then.
    return Repository(name, found["repositoryUri"], found.get("imageTagMutability") == "IMMUTABLE")


def image_detail(
    client: Client, repository: str, image_id: Mapping[str, str], registry_id: str = ""
) -> Mapping[str, Any] | None:
    """ECR's record of an image, by digest or tag; None: it has none.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html
    """
    other = {"registryId": registry_id} if registry_id else {}
    try:
        with aws_call("DescribeImages", f"{repository} {next(iter(image_id.values()))}"):
            answer = client("ecr").describe_images(repositoryName=repository, imageIds=[dict(image_id)], **other)
    except AwsFailure as exc:
        if is_missing(exc):
            return None
        raise
    details = answer.get("imageDetails") or []
    return {**details[0], "request_id": request_id(answer)} if details else None


def find(client: Client, named: Named, platform: str, registry: Callable[[], _registry.Registry]) -> Found:
    """The image that a service on this platform runs. ImageError, AwsFailure, RegistryFailure."""
    repository = describe_repository(client, named.repository)
    own = repository.uri.partition("/")[0]
    if named.host and named.host != own:
        raise ImageError(f"{named.host}/{named.text} lies in another registry than these credentials see ({own})")
    asked = {"imageDigest": named.digest} if named.digest else {"imageTag": named.tag}
    detail = image_detail(client, named.repository, asked)
    if detail is None:
        raise ImageMissing(
            f"ECR has no image {named.text} in {own}. Push it first, or list what is there with: "
            f"aws ecr describe-images --repository-name {named.repository}",
            repository,
        )
    source, top = registry(), str(detail["imageDigest"])
    manifest = source.manifest(named.repository, top)
    image = _registry.resolve(source, named.repository, manifest, platform, named.text)
    given = _platform(image.config)
    if given != platform and not given.startswith(platform + "/"):
        raise ImageError(f"{named.text} is for {given or 'no platform'}, not for {platform}: its tasks could not start")
    details = [detail]
    if image.digest != top:
        below = image_detail(client, named.repository, {"imageDigest": image.digest})
        if below is None:
            raise ImageError(f"ECR has the index {named.text}, but not its image {image.digest} for {platform}")
        details.append(below)
    return Found(
        repository=repository,
        digest=image.digest,
        index_digest=top if image.digest != top else "",
        config_digest=str(image.manifest["config"]["digest"]),
        media_type=str(details[-1].get("imageManifestMediaType") or manifest.media_type),
        tags=tuple(sorted({tag for one in details for tag in one.get("imageTags") or []})),
        pushed_at=str(json_safe(details[-1].get("imagePushedAt")) or ""),
        size=int(details[-1].get("imageSizeInBytes") or 0),
        platform=given,
        platforms=tuple(name for name, dummy in _oci_image.platforms(manifest.json())) or (given,),
        labels={str(k): str(v) for k, v in ((image.config.get("config") or {}).get("Labels") or {}).items()},
        layers=tuple(
            {"digest": layer["digest"], "size": layer["size"], "media_type": layer["mediaType"]}
            for layer in image.manifest["layers"]
        ),
        request_ids=tuple(str(one["request_id"]) for one in details),
    )


def _platform(config: Mapping[str, Any]) -> str:
    return "/".join(str(config[key]) for key in ("os", "architecture", "variant") if config.get(key))


def check_pinned(client: Client, image: str, *, look: bool) -> str:
    """The image by digest, as a task definition may name it; with `look` ECR is asked whether it has it.

    ImageError with what to do for a tag, for an index and for an image that is not there. Images in other regions and
    outside of ECR are not looked for. Returns AWS' request id, "" when nothing was asked.
    """
    try:
        reference = _registry.parse_reference(image)
    except ValueError as exc:
        raise ImageError(
            f"{exc}. A tag may name another image when the next task starts: resolve it with "
            "papyrus.ops.ecr_image_info and give its 'image'"
        ) from exc
    if not look or reference.ecr is None or reference.ecr[1] != client("ecr").meta.region_name:
        return ""
    detail = image_detail(client, reference.repository, {"imageDigest": reference.digest}, reference.ecr[0])
    if detail is None:
        raise ImageError(
            f"ECR has no image {reference.repository}@{reference.digest} in {reference.host}: no task could start with "
            "it. Push it first, or correct the digest"
        )
    if str(detail.get("imageManifestMediaType", "")) in INDEXES:
        raise ImageError(
            f"{image} is an index of several platforms, and which image runs would be decided by each task. Resolve it "
            "with papyrus.ops.ecr_image_info for the service's platform and give its 'image'"
        )
    return str(detail["request_id"])
