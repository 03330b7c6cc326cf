"""ECR on ministack: one registry for API and push, layers on disk, AWS's addresses, the base image of the sandbox."""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from sandbox import emulator, host_python
from sandbox.images import ImageStore

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

TOKEN_SECONDS = 12 * 3600


def install(runtime: Runtime) -> None:
    ecr = emulator.service("ecr")
    runtime.engine.images_from = ImageStore(runtime)
    describe_images = ecr._describe_images
    delete_repository = ecr._delete_repository
    respond = emulator.core("responses").json_response
    blobs = runtime.registry.blobs

    def get_authorization_token(_: dict[str, Any]) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html"""
        token = base64.b64encode(f"AWS:{secrets.token_urlsafe(48)}".encode()).decode()
        data = {
            "authorizationToken": token,
            "expiresAt": int(time.time()) + TOKEN_SECONDS,
            "proxyEndpoint": runtime.settings.endpoint,
        }
        return respond({"authorizationData": [data]})

    def batch_check_layer_availability(data: dict[str, Any]) -> Any:
        name = data.get("repositoryName", "")
        if name not in ecr._repositories:
            return _no_repository(runtime, name)
        layers, failures = [], []
        for digest in data.get("layerDigests", []):
            file = blobs.path(name, digest)
            if file is None:
                reason = f"Layer with digest '{digest}' is not in the repository"
                failures.append({"layerDigest": digest, "failureCode": "MissingLayerDigest", "failureReason": reason})
            else:
                size = file.stat().st_size
                layers.append({"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": size})
        return respond({"layers": layers, "failures": failures})

    def describe(data: dict[str, Any]) -> Any:
        """Unknown images are an error, sizes are those of the layers.

        https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImages.html
        """
        name = data.get("repositoryName", "")
        if name not in ecr._repositories:
            return _no_repository(runtime, name)
        for wanted in data.get("imageIds") or []:
            if ecr._find_image(name, wanted) is None:
                digest, tag = wanted.get("imageDigest", "null"), wanted.get("imageTag", "null")
                shown = f"imageDigest:'{digest}', imageTag:'{tag}'"
                return emulator.json_error(
                    "ImageNotFoundException",
                    f"The image with imageId {{{shown}}} does not exist within the repository with name '{name}' in "
                    f"the registry with id '{runtime.settings.account}'",
                )
        status, headers, body = describe_images(data)
        document = json.loads(body)
        for detail in document.get("imageDetails", []):
            _, manifest, media_type = ecr._resolve_manifest(name, detail["imageDigest"])
            parsed = json.loads(manifest) if manifest else {}
            detail["imageManifestMediaType"] = media_type
            config = parsed.get("config", {})
            detail["artifactMediaType"] = config.get("mediaType", media_type)
            detail["imageSizeInBytes"] = sum(layer.get("size", 0) for layer in parsed.get("layers", [])) + config.get(
                "size", 0
            )
            if not detail.get("imageTags"):
                detail.pop("imageTags", None)
        return respond(document)

    def delete(data: dict[str, Any]) -> Any:
        response = delete_repository(data)
        if response[0] < 400:
            name = data["repositoryName"]
            ecr._manifest_blobs.pop(name, None)
            blobs.forget(name)
        return response

    ecr._get_authorization_token = get_authorization_token
    ecr._batch_check_layer_availability = batch_check_layer_availability
    ecr._describe_images = describe
    ecr._delete_repository = delete
    # First of all that runs at the start: sandbox.json names the base image.
    runtime.at_start.insert(0, lambda: _seed(runtime, ecr))


def _no_repository(runtime: Runtime, name: str) -> Any:
    text = f"The repository with name '{name}' does not exist in the registry with id '{runtime.settings.account}'"
    return emulator.json_error("RepositoryNotFoundException", text)


def _seed(runtime: Runtime, ecr: Any) -> None:
    """Put the base image into its repository, by the same ways as a client would."""
    settings = runtime.settings
    image = host_python.base_image()
    name = host_python.REPOSITORY
    with emulator.request_scope(settings.account, settings.region):
        if name not in ecr._repositories:
            ecr._create_repository({"repositoryName": name})
        for data in (image.config, image.layer):
            runtime.registry.blobs.add_bytes(name, data)
        if ecr._resolve_manifest(name, image.digest)[0] is None:
            headers = {"content-type": host_python.MANIFEST_TYPE}
            ecr._v2_put_manifest(name, host_python.VERSION, headers, image.manifest)
        runtime.facts["base_image"] = f"{ecr._repo_uri(name)}@{image.digest}"
