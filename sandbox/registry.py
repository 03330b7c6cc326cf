"""The registry API (OCI distribution) before ECR: layers stream to files, manifests go to the emulator."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sandbox import emulator, http, iam
from sandbox.behaviours import behaviour
from sandbox.registry_tokens import TokenRefused, Tokens

if TYPE_CHECKING:
    from sandbox.runtime import Receive, Runtime, Scope, Send

# https://github.com/opencontainers/distribution-spec/blob/main/spec.md#endpoints
NAME = r"/v2/(?P<name>[a-z0-9]+(?:[._/-][a-z0-9]+)*)"
BASE = re.compile(r"^/v2/?$")
UPLOADS = re.compile(NAME + r"/blobs/uploads/?$")
UPLOAD = re.compile(NAME + r"/blobs/uploads/(?P<upload>[0-9a-f-]{36})$")
BLOB = re.compile(NAME + r"/blobs/(?P<digest>sha256:[0-9a-f]{64})$")
MANIFEST = re.compile(NAME + r"/manifests/(?P<reference>[A-Za-z0-9_][A-Za-z0-9._:-]{0,127})$")
TAGS = re.compile(NAME + r"/tags/list$")
# https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html: a manifest has 4 MiB at most.
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
LARGEST_MANIFEST = 4 * 1024 * 1024
CHUNK = 1024 * 1024
# What CloudTrail calls these requests. https://docs.aws.amazon.com/AmazonECR/latest/userguide/logging-using-cloudtrail.html
OPERATIONS = {
    ("uploads", "POST"): "InitiateLayerUpload",
    ("upload", "PATCH"): "UploadLayerPart",
    ("upload", "PUT"): "CompleteLayerUpload",
    ("blob", "HEAD"): "BatchCheckLayerAvailability",
    ("blob", "GET"): "GetDownloadUrlForLayer",
    ("manifest", "PUT"): "PutImage",
    ("manifest", "GET"): "BatchGetImage",
    ("manifest", "HEAD"): "BatchGetImage",
    ("manifest", "DELETE"): "BatchDeleteImage",
    ("tags", "GET"): "ListImages",
}


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


class BlobStore:
    """Blobs by digest on disk, one set of links per repository (a layer is visible only where it was pushed)."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._links = folder / "repositories"
        self.uploads = folder / "uploads"
        for path in (self._blobs, self._links, self.uploads):
            path.mkdir(parents=True, exist_ok=True)
        # Uploads do not survive a restart: clients begin them anew.
        for left in self.uploads.iterdir():
            left.unlink()

    def path(self, repository: str, digest: str) -> Path | None:
        """The blob's file, None when the repository does not have it."""
        blob = self._blobs / digest.partition(":")[2]
        return blob if self._link(repository, digest).exists() and blob.exists() else None

    def has(self, repository: str, digest: str) -> bool:
        return self.path(repository, digest) is not None

    def add(self, repository: str, digest: str, file: Path) -> None:
        """Take over a finished file."""
        file.replace(self._blobs / digest.partition(":")[2])
        self.link(repository, digest)

    def add_bytes(self, repository: str, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        scratch = self.uploads / str(uuid.uuid4())
        scratch.write_bytes(data)
        self.add(repository, digest, scratch)
        return digest

    def link(self, repository: str, digest: str) -> None:
        link = self._link(repository, digest)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.touch()

    def forget(self, repository: str) -> None:
        """The repository is gone: so are its links (the blobs stay, others may have them)."""
        folder = self._link(repository, "sha256:").parent
        for link in folder.glob("*"):
            link.unlink()

    def _link(self, repository: str, digest: str) -> Path:
        return self._links / repository.replace("/", "+") / (digest.partition(":")[2] or "_")


class Registry:
    """ASGI endpoint under /v2/. Basic authentication with the token of GetAuthorizationToken, as ECR has it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.blobs = BlobStore(runtime.settings.state / "ecr")
        self.tokens = Tokens(runtime.settings.state / "ecr" / "key")
        self._uploads: dict[str, Upload] = {}

    def serves(self, path: str) -> bool:
        return any(pattern.match(path) for pattern in (BASE, UPLOADS, UPLOAD, BLOB, MANIFEST, TAGS))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        kind, match = next(
            (kind, found)
            for kind, pattern in (
                ("base", BASE),
                ("uploads", UPLOADS),
                ("upload", UPLOAD),
                ("blob", BLOB),
                ("manifest", MANIFEST),
                ("tags", TAGS),
            )
            if (found := pattern.match(path))
        )
        operation = OPERATIONS.get((kind, method))
        fields = match.groupdict()
        try:
            key = self._authorize(http.headers_of(scope))
            if operation is not None and (text := iam.registry_refusal(self._runtime, key, operation, fields["name"])):
                raise Refused(403, "DENIED", text)
            if operation is not None:
                await self._maybe_fail(operation, fields)
            status, headers, body = await self._answer(kind, method, fields, scope, receive)
            code = None
        except Refused as refused:
            key = None
            status, code = refused.status, refused.code
            headers = {"www-authenticate": 'Basic realm="sandbox",service="ecr"'} if status == 401 else {}
            body = json.dumps({"errors": [{"code": code, "message": refused.message}]}).encode()
            headers["content-type"] = "application/json"
        if operation is not None and not (kind == "upload" and method == "PATCH"):
            self._runtime.recording.add(
                service="ecr",
                operation=operation,
                parameters={"repositoryName": fields["name"], **{k: v for k, v in fields.items() if k != "name" and v}},
                status=status,
                error_code=code,
                access_key_id=key,
                user_agent=http.headers_of(scope).get("user-agent", ""),
            )
        await self._send(send, method, status, headers, body)

    async def _send(self, send: Send, method: str, status: int, headers: dict[str, str], body: bytes | Path) -> None:
        headers.setdefault("docker-distribution-api-version", "registry/2.0")
        if isinstance(body, bytes):
            length = headers.pop("content-length", str(len(body)))
            shown = b"" if method == "HEAD" else body
            await http.respond(send, status, shown, [*headers.items(), ("content-length", length)], content_type=None)
            return
        listed = [*headers.items(), ("content-length", str(body.stat().st_size))]
        start = [(name.encode(), value.encode()) for name, value in listed]
        await send({"type": "http.response.start", "status": status, "headers": start})
        with body.open("rb") as stream:
            while method != "HEAD" and (part := stream.read(CHUNK)):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    def _authorize(self, headers: dict[str, str]) -> str:
        """Access key of whoever asked for the token."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        with contextlib.suppress(ValueError):
            user, _, password = base64.b64decode(token).decode().partition(":")
            if scheme.lower() == "basic" and user == "AWS" and password:
                access_key_id, end = token_of_this_registry(self.tokens, password)
                token_must_not_have_ended(end)
                return access_key_id or self._runtime.settings.access_key_id
        raise Refused(401, "UNAUTHORIZED", "authentication required: user AWS, token of GetAuthorizationToken")

    async def _maybe_fail(self, operation: str, fields: dict[str, str]) -> None:
        fault = self._runtime.faults.take("ecr", operation, {"repositoryName": fields["name"]})
        if fault is not None:
            await asyncio.sleep(fault.delay_seconds)
            if fault.code is not None:
                raise Refused(fault.status, fault.code, fault.message)

    async def _answer(
        self, kind: str, method: str, fields: dict[str, str], scope: Scope, receive: Receive
    ) -> tuple[int, dict[str, str], bytes | Path]:
        if kind == "base":
            return 200, {"content-type": "application/json"}, b"{}"
        settings = self._runtime.settings
        name = fields["name"]
        query = dict(parse_qsl(scope["query_string"].decode()))
        with emulator.request_scope(settings.account, settings.region):
            ecr = emulator.service("ecr")
            pushed_repository_must_exist(ecr, name, settings.account)
        if kind == "uploads" and method == "POST":
            return await self._begin(name, query, receive)
        if kind == "upload" and method in ("PATCH", "PUT"):
            return await self._continue(name, fields["upload"], method, query, receive, http.headers_of(scope))
        if kind == "upload" and method in ("GET", "DELETE"):
            return self._look_at_upload(name, fields["upload"], method)
        if kind == "blob" and method in ("GET", "HEAD"):
            file = pulled_blob_must_exist(self.blobs.path(name, fields["digest"]), name, fields["digest"])
            found = {"docker-content-digest": fields["digest"], "content-type": "application/octet-stream"}
            return 200, found, file
        if kind == "manifest":
            return await self._manifest(name, fields["reference"], method, http.headers_of(scope), receive)
        if kind == "tags" and method == "GET":
            with emulator.request_scope(settings.account, settings.region):
                status, headers, body = ecr._v2_list_tags(name, query)
            return status, dict(headers), body
        raise Refused(405, "UNSUPPORTED", f"{method} is not supported here")

    async def _begin(
        self, name: str, query: dict[str, str], receive: Receive
    ) -> tuple[int, dict[str, str], bytes | Path]:
        mounted = query.get("mount", "")
        if re.fullmatch(r"sha256:[0-9a-f]{64}", mounted) and self.blobs.has(query.get("from", ""), mounted):
            self.blobs.link(name, mounted)
            return 201, {"location": f"/v2/{name}/blobs/{mounted}", "docker-content-digest": mounted}, b""
        upload = str(uuid.uuid4())
        (self.blobs.uploads / upload).touch()
        self._uploads[upload] = Upload(name)
        if "digest" in query:
            return await self._continue(name, upload, "PUT", query, receive, {})
        headers = {"location": f"/v2/{name}/blobs/uploads/{upload}", "docker-upload-uuid": upload, "range": "0-0"}
        return 202, headers, b""

    def _look_at_upload(self, name: str, upload: str, method: str) -> tuple[int, dict[str, str], bytes | Path]:
        pushed_upload_must_exist(self._uploads.get(upload), name, upload)
        file = self.blobs.uploads / upload
        if method == "DELETE":
            del self._uploads[upload]
            file.unlink()
            return 204, {}, b""
        headers = {"location": f"/v2/{name}/blobs/uploads/{upload}", "docker-upload-uuid": upload}
        return 204, {**headers, "range": f"0-{max(0, file.stat().st_size - 1)}"}, b""

    async def _continue(
        self, name: str, upload: str, method: str, query: dict[str, str], receive: Receive, headers: dict[str, str]
    ) -> tuple[int, dict[str, str], bytes | Path]:
        known = pushed_upload_must_exist(self._uploads.get(upload), name, upload) or Upload(name)
        file = self.blobs.uploads / upload
        pushed_chunks_follow_each_other(headers.get("content-range"), file.stat().st_size if file.exists() else 0)
        with file.open("ab") as stream:
            async for part in _parts(receive):
                stream.write(part)
                known.hash.update(part)
        size = file.stat().st_size
        if method == "PATCH":
            answer = {"location": f"/v2/{name}/blobs/uploads/{upload}", "range": f"0-{max(0, size - 1)}"}
            return 202, {**answer, "docker-upload-uuid": upload}, b""
        self._uploads.pop(upload, None)
        digest = f"sha256:{known.hash.hexdigest()}"
        try:
            pushed_blob_must_have_its_digest(digest, query.get("digest"))
        except Refused:
            file.unlink()
            raise
        self.blobs.add(name, digest, file)
        return 201, {"location": f"/v2/{name}/blobs/{digest}", "docker-content-digest": digest}, b""

    async def _manifest(
        self, name: str, reference: str, method: str, headers: dict[str, str], receive: Receive
    ) -> tuple[int, dict[str, str], bytes | Path]:
        settings = self._runtime.settings
        body, document = b"", {}
        if method == "PUT":
            try:
                body = await http.body_of(receive, LARGEST_MANIFEST)
            except http.BodyTooLarge as error:
                raise Refused(413, "MANIFEST_INVALID", "a manifest has 4 MiB at most") from error
            document = self._manifest_of(name, reference, body)
        with emulator.request_scope(settings.account, settings.region):
            ecr = emulator.service("ecr")
            if method == "PUT":
                media_type = headers.get("content-type") or document.get("mediaType") or MANIFEST_TYPE
                digest, tag = digest_of(body), None if reference.startswith("sha256:") else reference
                pushed_index_names_images_that_are_there(ecr, name, document)
                pushed_tag_must_not_be_immutable(ecr, name, tag, digest)
                store_manifest(ecr, name, digest, tag, media_type, body)
                self._runtime.changed()
                return 201, {"location": f"/v2/{name}/manifests/{digest}", "docker-content-digest": digest}, b""
            if method in ("GET", "HEAD"):
                status, found, answer = ecr._v2_get_manifest(name, reference)
                if status == 200 and method == "GET":
                    _pulled(ecr, name, reference)
            else:
                raise Refused(405, "UNSUPPORTED", "delete images by BatchDeleteImage")
        return status, {str(k).lower(): str(v) for k, v in found.items() if k.lower() != "content-length"}, answer

    def _manifest_of(self, name: str, reference: str, body: bytes) -> dict[str, Any]:
        """ECR takes a manifest only when all that it names is there."""
        pushed_manifest_must_have_its_digest(digest_of(body), reference)
        try:
            document: dict[str, Any] = json.loads(body)
            named = list(_digests(document))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise Refused(400, "MANIFEST_INVALID", f"not a manifest: {error}") from error
        pushed_manifest_names_blobs_that_are_there([item for item in named if not self.blobs.has(name, item)], name)
        return document


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


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


def _pulled(ecr: Any, name: str, reference: str) -> None:
    from sandbox.seams.ecr_images import pulls_are_recorded

    key = "imageDigest" if reference.startswith("sha256:") else "imageTag"
    if (image := ecr._find_image(name, {key: reference})) is not None:
        pulls_are_recorded(image)


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


def _digests(manifest: dict[str, Any]) -> Iterator[str]:
    """Config and layers (an index names manifests instead, which are no blobs)."""
    if "config" in manifest:
        yield manifest["config"]["digest"]
    for layer in manifest.get("layers", []):
        yield layer["digest"]


async def _parts(receive: Receive) -> Any:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise http.Disconnected
        if part := message.get("body", b""):
            yield part
        if not message.get("more_body", False):
            return
