"""Layers by ECR's API: uploaded in parts to the same store as the registry's, which docker and oras push to."""

from __future__ import annotations

import base64
import hashlib
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.seams.refusal import Refused, answered_in_json

if TYPE_CHECKING:
    from pathlib import Path

    from sandbox.runtime import Runtime

Data = dict[str, Any]
PART_BYTES = 20 * 1024 * 1024


@dataclass
class Upload:
    repository: str
    file: Path
    size: int = 0
    hash: Any = field(default_factory=hashlib.sha256)


class Layers:
    """Uploads do not survive a restart: clients begin them anew."""

    def __init__(self, runtime: Runtime, ecr: Any) -> None:
        self._runtime = runtime
        self._ecr = ecr
        self._uploads: dict[str, Upload] = {}

    def install(self) -> None:
        ecr = self._ecr
        ecr._initiate_layer_upload = self.initiate
        ecr._upload_layer_part = answered_in_json(self.part)
        ecr._complete_layer_upload = answered_in_json(self.complete)
        ecr._batch_check_layer_availability = self.check
        ecr._get_download_url_for_layer = self.url

    def initiate(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_InitiateLayerUpload.html"""
        identifier = str(uuid.uuid4())
        file = self._runtime.registry.blobs.uploads / identifier
        file.touch()
        self._uploads[identifier] = Upload(data["repositoryName"], file)
        return emulator.json_response({"uploadId": identifier, "partSize": PART_BYTES})

    def part(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_UploadLayerPart.html"""
        upload = upload_must_exist(self._uploads.get(data.get("uploadId", "")), data)
        blob = base64.b64decode(data.get("layerPartBlob") or "")
        parts_follow_each_other(upload, int(data.get("partFirstByte") or 0))
        with upload.file.open("ab") as stream:
            stream.write(blob)
        upload.hash.update(blob)
        upload.size += len(blob)
        return emulator.json_response({**self._named(data), "lastByteReceived": max(0, upload.size - 1)})

    def complete(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CompleteLayerUpload.html"""
        name, blobs = data["repositoryName"], self._runtime.registry.blobs
        upload = upload_must_exist(self._uploads.get(data.get("uploadId", "")), data)
        upload_must_not_be_empty(upload)
        digest = f"sha256:{upload.hash.hexdigest()}"
        layer_must_have_its_digest(digest, data.get("layerDigests") or [])
        layer_must_be_new(name, digest, blobs.has(name, digest))
        del self._uploads[data["uploadId"]]
        blobs.add(name, digest, upload.file)
        return emulator.json_response({**self._named(data), "layerDigest": digest})

    def check(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_BatchCheckLayerAvailability.html"""
        layers, failures = [], []
        for digest in data.get("layerDigests") or []:
            file = self._runtime.registry.blobs.path(data["repositoryName"], digest)
            if file is not None:
                size = file.stat().st_size
                layers.append({"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": size})
            elif re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
                layers.append({"layerDigest": digest, "layerAvailability": "UNAVAILABLE"})
            else:
                reason = f"Invalid layer digest '{digest}'"
                failures.append({"layerDigest": digest, "failureCode": "InvalidLayerDigest", "failureReason": reason})
        return emulator.json_response({"layers": layers, "failures": failures})

    def url(self, data: Data) -> Any:
        """https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetDownloadUrlForLayer.html"""
        path = f"/v2/{data['repositoryName']}/blobs/{data['layerDigest']}"
        return emulator.json_response(
            {"downloadUrl": self._runtime.settings.endpoint + path, "layerDigest": data["layerDigest"]}
        )

    def _named(self, data: Data) -> Data:
        registry = self._ecr._registry_id()
        return {"registryId": registry, "repositoryName": data["repositoryName"], "uploadId": data["uploadId"]}


@behaviour("ecr", code="UploadNotFoundException", otherwise=lambda upload, data: upload)
def upload_must_exist(upload: Upload | None, data: Data) -> Upload:
    """A layer's upload that was not begun in this repository, or is complete, cannot go on.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_UploadLayerPart.html (Errors)
    """
    if upload is None or upload.repository != data["repositoryName"]:
        text = f"The upload with id '{data.get('uploadId')}' was not found in the repository '{data['repositoryName']}'"
        raise Refused("UploadNotFoundException", text)
    return upload


@behaviour("ecr", code="InvalidLayerPartException")
def parts_follow_each_other(upload: Upload, first: int) -> None:
    """The parts of a layer follow each other without a gap.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_UploadLayerPart.html (Errors)
    """
    if first != upload.size:
        text = f"The layer part is not valid: its first byte is {first}, the last byte received is {upload.size - 1}"
        raise Refused("InvalidLayerPartException", text)


@behaviour("ecr", code="EmptyUploadException")
def upload_must_not_be_empty(upload: Upload) -> None:
    """An upload without a part cannot be completed.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CompleteLayerUpload.html (Errors)
    """
    if not upload.size:
        raise Refused("EmptyUploadException", "The specified layer upload does not contain any layer parts.")


@behaviour("ecr", code="InvalidLayerException")
def layer_must_have_its_digest(digest: str, named: list[str]) -> None:
    """A layer whose bytes have another digest than the one that is named is refused.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CompleteLayerUpload.html (Errors)
    """
    if named and digest not in named:
        text = f"The layer digest '{', '.join(named)}' does not match the digest calculated by ECR '{digest}'"
        raise Refused("InvalidLayerException", text)


@behaviour("ecr", code="LayerAlreadyExistsException")
def layer_must_be_new(name: str, digest: str, there: bool) -> None:
    """A layer that the repository has already is not completed again.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_CompleteLayerUpload.html (Errors)
    """
    if there:
        text = f"The layer with digest '{digest}' already exists in the repository '{name}'"
        raise Refused("LayerAlreadyExistsException", text)
