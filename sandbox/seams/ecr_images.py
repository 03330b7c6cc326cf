"""Images of ECR's API: put, got, listed and deleted as AWS does, over the same records as the registry's."""

from __future__ import annotations

import json
from typing import Any

from sandbox import emulator, pages
from sandbox.behaviours import behaviour
from sandbox.registry.blobs import digest_of
from sandbox.registry.manifests import pulls_are_recorded, store_manifest
from sandbox.seams.refusal import Refused, answered_in_json

Image = dict[str, Any]
Data = dict[str, Any]
# https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html (maxResults)
PAGE = 100
ALL = 10**9


class Images:
    def __init__(self, ecr: Any) -> None:
        self._ecr = ecr
        self._describe_repositories = ecr._describe_repositories

    def install(self) -> None:
        ecr = self._ecr
        ecr._put_image, ecr._batch_get_image, ecr._batch_delete_image = self.put, self.get, self.delete
        ecr._list_images = answered_in_json(self.list)
        ecr._describe_images = answered_in_json(self.describe)
        ecr._describe_repositories = answered_in_json(self.repositories)

    def put(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html"""
        name, manifest = data["repositoryName"], data.get("imageManifest", "").encode()
        digest, tag = digest_of(manifest), data.get("imageTag")
        media_type = data.get("imageManifestMediaType") or _media_type(manifest)
        store_manifest(self._ecr, name, digest, tag, media_type, manifest)
        return emulator.json_response(
            {
                "image": {
                    "registryId": self._ecr._registry_id(),
                    "repositoryName": name,
                    "imageId": _identifier(digest, tag),
                    "imageManifest": data.get("imageManifest", ""),
                    "imageManifestMediaType": media_type,
                }
            }
        )

    def get(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchGetImage.html"""
        name, found, failures = data["repositoryName"], [], []
        for wanted in data.get("imageIds") or []:
            image = self._ecr._find_image(name, wanted)
            if (failure := failure_of(image, wanted)) is not None:
                failures.append(failure)
            elif image is not None:
                pulls_are_recorded(image)
                found.append(
                    {
                        "registryId": self._ecr._registry_id(),
                        "repositoryName": name,
                        "imageId": _identifier(image["imageDigest"], wanted.get("imageTag")),
                        "imageManifest": image["imageManifest"],
                        "imageManifestMediaType": image["imageManifestMediaType"],
                    }
                )
        return emulator.json_response({"images": found, "failures": failures})

    def delete(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html"""
        name, deleted, failures = data["repositoryName"], [], []
        for wanted in data.get("imageIds") or []:
            image = self._ecr._find_image(name, wanted)
            failure = failure_of(image, wanted)
            if failure is None and image is not None:
                failure = image_of_an_index_stays(self._ecr, name, image, wanted)
            if failure is not None:
                failures.append(failure)
            elif image is not None:
                deleted += self._remove(name, image, wanted.get("imageTag"))
        return emulator.json_response({"imageIds": deleted, "failures": failures})

    def _remove(self, name: str, image: Image, tag: str | None) -> list[dict[str, str]]:
        if tag and only_the_tag_goes(image):
            image["imageTags"].remove(tag)
            return [_identifier(image["imageDigest"], tag)]
        self._ecr._images[name].remove(image)
        self._ecr._manifest_blobs.get(name, {}).pop(image["imageDigest"], None)
        return [_identifier(image["imageDigest"], known) for known in image.get("imageTags") or [None]]

    def list(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImages.html"""
        listed = [
            _identifier(image["imageDigest"], tag)
            for image in _filtered(self._ecr._images.get(data["repositoryName"], []), data)
            for tag in each_tag_is_listed(image)
        ]
        return _paged(data, "imageIds", listed)

    def describe(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html"""
        name = data["repositoryName"]
        images = list(self._ecr._images.get(name, []))
        if data.get("imageIds"):
            found = [self._ecr._find_image(name, wanted) for wanted in data["imageIds"]]
            images = list({image["imageDigest"]: image for image in found if image}.values())
        return _paged(data, "imageDetails", [self._detail(name, image) for image in _filtered(images, data)])

    def _detail(self, name: str, image: Image) -> Data:
        manifest = json.loads(image["imageManifest"] or "{}")
        config = manifest.get("config", {})
        detail = {
            "registryId": self._ecr._registry_id(),
            "repositoryName": name,
            "imageDigest": image["imageDigest"],
            "imagePushedAt": image["imagePushedAt"],
            "imageManifestMediaType": image["imageManifestMediaType"],
            "artifactMediaType": config.get("mediaType", image["imageManifestMediaType"]),
            "imageSizeInBytes": size_of_the_layers(manifest, image),
        }
        if image.get("imageTags"):
            detail["imageTags"] = list(image["imageTags"])
        if image.get("_pulled"):
            detail["lastRecordedPullTime"] = image["_pulled"]
        return detail

    def repositories(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeRepositories.html"""
        for name in data.get("repositoryNames") or []:
            if name not in self._ecr._repositories:
                text = f"The repository with name '{name}' does not exist in the registry with id "
                return emulator.json_error("RepositoryNotFoundException", f"{text}'{self._ecr._registry_id()}'")
        response = self._describe_repositories({**data, "maxResults": ALL})
        return _paged(data, "repositories", emulator.body_of(response)["repositories"])


def _identifier(digest: str, tag: str | None) -> dict[str, str]:
    return {"imageDigest": digest, "imageTag": tag} if tag else {"imageDigest": digest}


def _media_type(manifest: bytes) -> str:
    try:
        return str(json.loads(manifest)["mediaType"])
    except (ValueError, KeyError, TypeError):
        return "application/vnd.docker.distribution.manifest.v2+json"


def _filtered(images: list[Image], data: Data) -> list[Image]:
    wanted = (data.get("filter") or {}).get("tagStatus")
    return [
        i for i in images if wanted not in ("TAGGED", "UNTAGGED") or bool(i.get("imageTags")) == (wanted == "TAGGED")
    ]


@behaviour("ecr")
def failure_of(image: Image | None, wanted: dict[str, str]) -> Data | None:
    """BatchGetImage and BatchDeleteImage name what they did not find, each with a code, and do the rest.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageFailure.html
    """
    code, reason = "", ""
    if not wanted.get("imageDigest") and not wanted.get("imageTag"):
        code, reason = "MissingDigestAndTag", "Invalid request parameters: both tag and digest cannot be null"
    elif image is None:
        code, reason = "ImageNotFound", "Requested image not found"
    elif wanted.get("imageDigest") not in (None, image["imageDigest"]) or wanted.get("imageTag") not in (
        None,
        *image.get("imageTags", []),
    ):
        code, reason = "ImageTagDoesNotMatchDigest", "The image tag does not belong to the digest"
    return {"imageId": wanted, "failureCode": code, "failureReason": reason} if code else None


@behaviour("ecr")
def image_of_an_index_stays(ecr: Any, name: str, image: Image, wanted: dict[str, str]) -> Data | None:
    """An image that an index (manifest list) names is not deleted before the index.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageFailure.html (ImageReferencedByManifestList)
    """
    for other in ecr._images.get(name, []):
        named = [entry.get("digest") for entry in json.loads(other["imageManifest"] or "{}").get("manifests", [])]
        if image["imageDigest"] in named:
            reason = f"Requested image referenced by manifest list: [{other['imageDigest']}]"
            return {"imageId": wanted, "failureCode": "ImageReferencedByManifestList", "failureReason": reason}
    return None


@behaviour("ecr", otherwise=lambda *_: False)
def only_the_tag_goes(image: Image) -> bool:
    """Deleting an image by one of its tags takes the tag away; the image goes with its last tag.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchDeleteImage.html
    """
    return len(image.get("imageTags", [])) > 1


@behaviour("ecr", otherwise=lambda image: [(image.get("imageTags") or [None])[-1]])
def each_tag_is_listed(image: Image) -> list[str | None]:
    """ListImages has one entry for each tag of a digest.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ListImages.html
    """
    return list(image.get("imageTags") or [None])


@behaviour("ecr", otherwise=lambda _, image: len(image["imageManifest"]))
def size_of_the_layers(manifest: Data, image: Image) -> int:
    """imageSizeInBytes is what configuration and compressed layers take.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_ImageDetail.html
    """
    layers = sum(int(layer.get("size", 0)) for layer in manifest.get("layers", []))
    return layers + int(manifest.get("config", {}).get("size", 0))


# Pages


def _paged(data: Data, member: str, items: list[Any]) -> Any:
    start = offset_of(member, data.get("nextToken"))
    length = listed_in_pages(data.get("maxResults"))
    answer: Data = {member: items[start : start + length]}
    if start + length < len(items):
        answer["nextToken"] = pages.token_of(member, start + length)
    return emulator.json_response(answer)


@behaviour("ecr", otherwise=lambda *_: ALL)
def listed_in_pages(asked: Any) -> int:
    """DescribeImages, ListImages and DescribeRepositories come in pages of maxResults, 100 unless asked.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html (maxResults)
    """
    return int(asked) if asked else PAGE


@behaviour("ecr", code="InvalidParameterException", otherwise=lambda *_: 0)
def offset_of(member: str, token: str | None) -> int:
    """A nextToken that the list did not give is refused.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html (nextToken, Errors)
    """
    try:
        return pages.start_of(member, token)
    except ValueError:
        text = "failed to satisfy constraint: 'must be the nextToken of the page before'"
        raise Refused("InvalidParameterException", f"Invalid parameter at 'nextToken' {text}") from None
