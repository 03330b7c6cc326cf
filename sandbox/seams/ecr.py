"""ECR on ministack: one registry for API and push, layers on disk, AWS's addresses, the base image of the sandbox."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox import emulator, host_python
from sandbox.images import ImageStore
from sandbox.registry.manifests import store_manifest
from sandbox.seams.ecr_images import Images
from sandbox.seams.ecr_layers import Layers

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


def install(runtime: Runtime) -> None:
    ecr = emulator.service("ecr")
    runtime.engine.images_from = ImageStore(runtime)
    delete_repository = ecr._delete_repository

    def delete(data: dict[str, Any]) -> Any:
        # Whether it is empty is judged by a rule (sandbox.rules.ecr).
        response = delete_repository({**data, "force": True})
        if response[0] < 400:
            name = data["repositoryName"]
            ecr._manifest_blobs.pop(name, None)
            runtime.registry.blobs.forget(name)
        return response

    Images(ecr).install()
    Layers(runtime, ecr).install()
    ecr._delete_repository = delete
    # First of all that runs at the start: sandbox.json names the base image.
    runtime.at_start.insert(0, lambda: _seed(runtime, ecr))


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
            store_manifest(ecr, name, image.digest, host_python.VERSION, host_python.MANIFEST_TYPE, image.manifest)
        runtime.facts["base_image"] = f"{ecr._repo_uri(name)}@{image.digest}"
