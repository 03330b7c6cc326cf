"""The registry API (OCI distribution) before ECR: layers stream to files, manifests go to the emulator."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from sandbox import emulator, http, iam
from sandbox.registry.blobs import BlobStore, digest_of
from sandbox.registry.manifests import pulls_are_recorded, store_manifest
from sandbox.registry.refusals import (
    Refused,
    Upload,
    pulled_blob_must_exist,
    pushed_blob_must_have_its_digest,
    pushed_chunks_follow_each_other,
    pushed_index_names_images_that_are_there,
    pushed_manifest_must_have_its_digest,
    pushed_manifest_names_blobs_that_are_there,
    pushed_repository_must_exist,
    pushed_tag_must_not_be_immutable,
    pushed_upload_must_exist,
    token_must_not_have_ended,
    token_of_this_registry,
)
from sandbox.registry.tokens import Tokens

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
                key = "imageDigest" if reference.startswith("sha256:") else "imageTag"
                image = ecr._find_image(name, {key: reference})
                if status == 200 and method == "GET" and image is not None:
                    pulls_are_recorded(image)
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
