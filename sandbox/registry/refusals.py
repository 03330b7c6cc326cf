"""What the registry refuses of pushes and pulls, by the distribution specification and as ECR does."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.behaviours import behaviour
from sandbox.registry.tokens import TokenRefused, Tokens


class Refused(Exception):
    """An error of the distribution specification: status, code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class Upload:
    """A layer on its way."""

    repository: str
    hash: Any = field(default_factory=hashlib.sha256)


@behaviour("ecr", code="UNAUTHORIZED", otherwise=lambda *_: ("", time.time() + 60))
def token_of_this_registry(tokens: Tokens, password: str) -> tuple[str, float]:
    """The registry takes only tokens that its GetAuthorizationToken gave.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html
    """
    try:
        return tokens.read(password)
    except TokenRefused as error:
        raise Refused(401, "UNAUTHORIZED", f"authentication required: {error}") from error


@behaviour("ecr", code="DENIED")
def token_must_not_have_ended(end: float) -> None:
    """A registry's token is good for 12 hours.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
    """
    if end < time.time():
        raise Refused(403, "DENIED", "Your authorization token has expired. Reauthenticate and try again.")


@behaviour("ecr", code="NAME_UNKNOWN")
def pushed_repository_must_exist(ecr: Any, name: str, account: str) -> None:
    """Nothing is pushed to, or pulled from, a repository that was not created.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/common-errors-docker.html
    """
    if name not in ecr._repositories:
        text = f"The repository with name '{name}' does not exist in the registry with id '{account}'"
        raise Refused(404, "NAME_UNKNOWN", text)


@behaviour("ecr", code="BLOB_UPLOAD_UNKNOWN")
def pushed_upload_must_exist(upload: Upload | None, name: str, identifier: str) -> Upload:
    """A push goes on only with an upload that was begun in that repository.

    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
    """
    if upload is None or upload.repository != name:
        raise Refused(404, "BLOB_UPLOAD_UNKNOWN", f"upload {identifier} is unknown: begin again")
    return upload


@behaviour("ecr", code="RANGE_INVALID")
def pushed_chunks_follow_each_other(content_range: str | None, size: int) -> None:
    """A chunk of a push begins where the last one ended, else the answer is 416.

    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pushing-a-blob-in-chunks
    """
    first = (content_range or f"{size}-").removeprefix("bytes ").partition("-")[0]
    if first != str(size):
        raise Refused(416, "RANGE_INVALID", f"the next byte is {size}, not {first}")


@behaviour("ecr", code="DIGEST_INVALID")
def pushed_blob_must_have_its_digest(digest: str, named: str | None) -> None:
    """A pushed layer whose content has another digest than the one that is named is refused.

    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
    """
    if digest != named:
        raise Refused(400, "DIGEST_INVALID", f"the content has digest {digest}, not {named}")


@behaviour("ecr", code="BLOB_UNKNOWN", otherwise=lambda file, name, digest: file or Path("/dev/null"))
def pulled_blob_must_exist(file: Path | None, name: str, digest: str) -> Path:
    """A layer is found only in a repository that it was pushed to.

    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
    """
    if file is None:
        raise Refused(404, "BLOB_UNKNOWN", f"{digest} is not in {name}")
    return file


@behaviour("ecr", code="DIGEST_INVALID")
def pushed_manifest_must_have_its_digest(digest: str, reference: str) -> None:
    """A manifest that is pushed by another digest than its own is refused.

    https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes
    """
    if reference.startswith("sha256:") and reference != digest:
        raise Refused(400, "DIGEST_INVALID", f"the manifest has digest {digest}, not {reference}")


@behaviour("ecr", code="BLOB_UNKNOWN")
def pushed_manifest_names_blobs_that_are_there(missing: list[str], name: str) -> None:
    """A manifest is taken only when its configuration and layers were pushed before.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/docker-push-ecr-image.html
    """
    if missing:
        raise Refused(404, "BLOB_UNKNOWN", f"Layers with digests '{', '.join(missing)}' are not in {name}")


@behaviour("ecr", code="MANIFEST_UNKNOWN")
def pushed_index_names_images_that_are_there(ecr: Any, name: str, document: dict[str, Any]) -> None:
    """An index (manifest list) is taken only when the images that it names were pushed before.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/docker-push-multi-architecture-image.html
    """
    named = [str(entry.get("digest")) for entry in document.get("manifests") or []]
    missing = [digest for digest in named if digest not in ecr._manifest_blobs.get(name, {})]
    if missing:
        text = f"Images with digests '{', '.join(missing)}' required for pushing image into {name} do not exist"
        raise Refused(404, "MANIFEST_UNKNOWN", text)


@behaviour("ecr", code="TAG_INVALID")
def pushed_tag_must_not_be_immutable(ecr: Any, name: str, tag: str | None, digest: str) -> None:
    """A push of another image by a tag that is immutable is refused.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
    """
    holders = [i["imageDigest"] for i in ecr._images.get(name, []) if tag and tag in i.get("imageTags", [])]
    if ecr._repositories[name].get("imageTagMutability") == "IMMUTABLE" and holders not in ([], [digest]):
        text = f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the "
        raise Refused(400, "TAG_INVALID", text + "tag is immutable.")
