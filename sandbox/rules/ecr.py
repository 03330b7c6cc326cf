"""What ECR refuses: repositories, images, tags, layers and policies that are there already, or are not."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.iam.sessions import caller
from sandbox.requests import operations_with
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

IN_A_REPOSITORY = (
    "BatchCheckLayerAvailability",
    "BatchDeleteImage",
    "BatchGetImage",
    "CompleteLayerUpload",
    "DeleteLifecyclePolicy",
    "DeleteRepository",
    "DeleteRepositoryPolicy",
    "DescribeImages",
    "GetDownloadUrlForLayer",
    "GetLifecyclePolicy",
    "GetRepositoryPolicy",
    "InitiateLayerUpload",
    "ListImages",
    "PutImage",
    "PutImageScanningConfiguration",
    "PutImageTagMutability",
    "PutLifecyclePolicy",
    "SetRepositoryPolicy",
    "UploadLayerPart",
)


def where(request: ApiRequest) -> str:
    """The repository as ECR's messages name it."""
    account = emulator.core("responses").get_account_id()
    return f"the repository with name '{request.parameters.get('repositoryName')}' in the registry with id '{account}'"


def images_of(request: ApiRequest) -> list[dict[str, Any]]:
    return list(emulator.service("ecr")._images.get(request.parameters.get("repositoryName", ""), []))


# First of all: whether a stranger's repository exists is told to nobody.
@rule("ecr", *operations_with("ecr", "registryId"), code="AccessDeniedException")
def another_registry_is_closed(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Another account's registry is closed to whom no policy of its repositories lets in.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/repository-policies.html
    """
    principal, other = caller(runtime, request), request.parameters.get("registryId")
    if other in (None, principal.account):
        return None
    action, region = f"ecr:{request.operation}", emulator.core("responses").get_region()
    named = request.parameters.get("repositoryNames") or [request.parameters.get("repositoryName") or "*"]
    arn = f"arn:aws:ecr:{region}:{other}:repository/{named[0]}"
    text = f"User: {principal.arn} is not authorized to perform: {action} on resource: {arn}"
    return Refusal("AccessDeniedException", f"{text} because no resource-based policy allows the {action} action")


@rule("ecr", "CreateRepository", code="RepositoryAlreadyExistsException")
def repository_already_exists(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A repository's name is used once in a registry.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CreateRepository.html (Errors)
    """
    name, account = request.parameters.get("repositoryName"), emulator.core("responses").get_account_id()
    if name not in emulator.service("ecr")._repositories:
        return None
    text = f"The repository with name '{name}' already exists in the registry with id '{account}'"
    return Refusal("RepositoryAlreadyExistsException", text)


@rule("ecr", *IN_A_REPOSITORY, code="RepositoryNotFoundException")
def repository_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Nothing can be asked of a repository that does not exist.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html (Errors)
    """
    name, account = request.parameters.get("repositoryName"), emulator.core("responses").get_account_id()
    if name in emulator.service("ecr")._repositories:
        return None
    text = f"The repository with name '{name}' does not exist in the registry with id '{account}'"
    return Refusal("RepositoryNotFoundException", text)


@rule("ecr", "DeleteRepository", code="RepositoryNotEmptyException")
def repository_not_empty(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A repository that holds images is deleted only with force.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DeleteRepository.html (force)
    """
    if request.parameters.get("force") or not images_of(request):
        return None
    name, account = request.parameters.get("repositoryName"), emulator.core("responses").get_account_id()
    text = f"The repository with name '{name}' in registry with id '{account}' cannot be deleted because it still "
    return Refusal("RepositoryNotEmptyException", text + "contains images")


@rule("ecr", "GetLifecyclePolicy", "DeleteLifecyclePolicy", code="LifecyclePolicyNotFoundException")
def lifecycle_policy_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A repository without a lifecycle policy says so.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetLifecyclePolicy.html (Errors)
    """
    if request.parameters.get("repositoryName") in emulator.service("ecr")._lifecycle_policies:
        return None
    return Refusal("LifecyclePolicyNotFoundException", f"Lifecycle policy does not exist for {where(request)}")


@rule("ecr", "GetRepositoryPolicy", "DeleteRepositoryPolicy", code="RepositoryPolicyNotFoundException")
def repository_policy_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A repository without a policy says so.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetRepositoryPolicy.html (Errors)
    """
    if request.parameters.get("repositoryName") in emulator.service("ecr")._repo_policies:
        return None
    return Refusal("RepositoryPolicyNotFoundException", f"Repository policy does not exist for {where(request)}")


@rule("ecr", "DescribeImages", code="ImageNotFoundException")
def image_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """DescribeImages refuses when one of the images that it is asked for does not exist.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html (Errors)
    """
    name, account = request.parameters.get("repositoryName"), emulator.core("responses").get_account_id()
    for wanted in request.parameters.get("imageIds") or []:
        if emulator.service("ecr")._find_image(name, wanted) is None:
            digest, tag = wanted.get("imageDigest", "null"), wanted.get("imageTag", "null")
            text = f"The image with imageId {{imageDigest:'{digest}', imageTag:'{tag}'}} does not exist within "
            text += f"the repository with name '{name}' in the registry with id '{account}'"
            return Refusal("ImageNotFoundException", text)
    return None


# PutImage


def _digest(request: ApiRequest) -> str:
    return f"sha256:{hashlib.sha256(request.parameters.get('imageManifest', '').encode()).hexdigest()}"


@rule("ecr", "PutImage", code="ImageDigestDoesNotMatchException")
def image_digest_does_not_match(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """PutImage refuses a manifest that has another digest than the one that comes with it.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html (imageDigest)
    """
    given, real = request.parameters.get("imageDigest"), _digest(request)
    if not given or given == real:
        return None
    text = f"The provided image digest '{given}' does not match the digest calculated by ECR '{real}'"
    return Refusal("ImageDigestDoesNotMatchException", text)


@rule("ecr", "PutImage", code="ImageAlreadyExistsException")
def image_already_exists(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """PutImage refuses an image that has that digest and that tag already.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html (Errors)
    """
    digest, tag = _digest(request), request.parameters.get("imageTag")
    for image in images_of(request):
        if image["imageDigest"] == digest and (tag is None or tag in image.get("imageTags", [])):
            named = f"Image with digest '{digest}'" + (f" and tag '{tag}'" if tag else "")
            return Refusal("ImageAlreadyExistsException", f"{named} already exists in {where(request)}")
    return None


@rule("ecr", "PutImage", code="ImageTagAlreadyExistsException")
def image_tag_is_immutable(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """In a repository with immutable tags, a tag never moves to another digest.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-tag-mutability.html
    """
    tag, name = request.parameters.get("imageTag"), request.parameters.get("repositoryName", "")
    repository = emulator.service("ecr")._repositories.get(name) or {}
    taken = any(tag in image.get("imageTags", []) for image in images_of(request))
    if repository.get("imageTagMutability") != "IMMUTABLE" or not taken:
        return None
    text = f"The image tag '{tag}' already exists in the '{name}' repository and cannot be overwritten because the "
    return Refusal("ImageTagAlreadyExistsException", text + "tag is immutable.")


@rule("ecr", "PutImage", code="LayersNotFoundException")
def layers_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """PutImage refuses a manifest whose layers or configuration were not uploaded to the repository.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_PutImage.html (Errors)
    """
    name = request.parameters.get("repositoryName", "")
    missing = [digest for digest in _named(request) if not runtime.registry.blobs.has(name, digest)]
    if not missing:
        return None
    text = f"Layers with digests '{', '.join(missing)}' required for pushing image into {where(request)} do not exist"
    return Refusal("LayersNotFoundException", text)


def _named(request: ApiRequest) -> list[str]:
    try:
        manifest = json.loads(request.parameters.get("imageManifest", ""))
        config = [manifest["config"]["digest"]] if "config" in manifest else []
        return [*config, *(str(layer["digest"]) for layer in manifest.get("layers", []))]
    except (ValueError, TypeError, KeyError):
        return []


@rule("ecr", "GetDownloadUrlForLayer", code="LayersNotFoundException")
def layer_to_download_not_found(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A layer that the repository does not have cannot be downloaded.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetDownloadUrlForLayer.html (Errors)
    """
    name, digest = request.parameters.get("repositoryName", ""), request.parameters.get("layerDigest", "")
    if runtime.registry.blobs.has(name, digest):
        return None
    return Refusal("LayersNotFoundException", f"The layer with digest '{digest}' does not exist in {where(request)}")


@rule("ecr", "DescribeImages", "DescribeRepositories", code="InvalidParameterException", stateful=False)
def pages_or_names(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """maxResults and nextToken do not go with images or repositories that are named.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html (maxResults)
    """
    given = request.parameters
    named = given.get("imageIds") or given.get("repositoryNames")
    if not named or not (given.get("maxResults") or given.get("nextToken")):
        return None
    text = (
        "Invalid parameter at 'maxResults' failed to satisfy constraint: 'must not be given with names of what to show'"
    )
    return Refusal("InvalidParameterException", text)
