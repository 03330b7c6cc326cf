# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small registry on loopback for tests: the distribution API and the few ECR calls, with a record of requests."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

HOST = "123456789012.dkr.ecr.us-west-2.amazonaws.com"
TOKEN = "t0ken"
AUTHORIZATION = "Basic " + base64.b64encode(f"AWS:{TOKEN}".encode()).decode()


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass
class Repository:
    mutability: str = "MUTABLE"
    blobs: dict[str, bytes] = field(default_factory=dict)
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


class RegistryServer:
    """`requests`: (method, path) of /v2 and (`ECR`, operation); `faults`: (method, path pattern) → statuses."""

    def __init__(self, authorization: str = AUTHORIZATION) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults: dict[tuple[str, str], list[int]] = {}
        self.authorization = authorization
        self.corrupt: set[str] = set()
        outer = self

        class Handler(_Handler):
            server_state = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def writes(self) -> list[tuple[str, str]]:
        return [request for request in self.requests if request[0] in {"POST", "PUT", "PATCH", "DELETE"}]

    def add_image(self, name: str, manifest: dict[str, Any], blobs: list[bytes], tag: str = "") -> str:
        repository = self.repositories.setdefault(name, Repository())
        for blob in blobs:
            repository.blobs[digest_of(blob)] = blob
        data = json.dumps(manifest).encode()
        repository.manifests[digest_of(data)] = (data, manifest["mediaType"])
        if tag:
            repository.tags[tag] = digest_of(data)
        return digest_of(data)


def base_image(
    server: RegistryServer, name: str = "base/python", architecture: str = "amd64", entrypoint: bool = True
) -> str:
    """A base of one layer with a configuration as Docker writes it; the digest of its manifest."""
    layer = b"a layer of the base"
    config: dict[str, Any] = {
        "os": "linux",
        "architecture": architecture,
        "config": {
            "Env": ["PATH=/usr/local/bin:/usr/bin", "LANG=C.UTF-8"],
            "Cmd": ["python3"],
            "Labels": {"of": "base"},
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
        "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "base"}],
    }
    if entrypoint:
        config["config"]["Entrypoint"] = ["/entry"]
    raw = json.dumps(config).encode()
    kind = "application/vnd.docker."
    manifest = {
        "schemaVersion": 2,
        "mediaType": kind + "distribution.manifest.v2+json",
        "config": {"mediaType": kind + "container.image.v1+json", "digest": digest_of(raw), "size": len(raw)},
        "layers": [
            {"mediaType": kind + "image.rootfs.diff.tar.gzip", "digest": digest_of(layer), "size": len(layer)},
        ],
    }
    return server.add_image(name, manifest, [raw, layer])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: RegistryServer

    def log_message(self, format: str, *args: Any) -> None:
        """Tests read `requests`."""

    def _send(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _error(self, status: int, code: str, message: str = "") -> None:
        body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
        self._send(status, body, Content_Type="application/json")

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _handle(self) -> None:
        state, body = self.server_state, self._body()
        if target := self.headers.get("X-Amz-Target"):
            operation = target.rpartition(".")[2]
            state.requests.append(("ECR", operation))
            self._ecr(operation, json.loads(body))
            return
        url = urlsplit(self.path)
        state.requests.append((self.command, url.path))
        for (method, pattern), statuses in state.faults.items():
            if method == self.command and re.search(pattern, url.path) and statuses:
                self._error(statuses.pop(0), "PLANTED", "planted")
                return
        if state.authorization and self.headers.get("Authorization") != state.authorization:
            self._error(401, "UNAUTHORIZED", "authentication required")
            return
        match = re.fullmatch(r"/v2/(.+)/(blobs|manifests)/(.*)", url.path)
        repository = state.repositories.get(match[1]) if match else None
        if match is None or repository is None:
            self._error(404, "NAME_UNKNOWN", "no such repository")
        elif match[2] == "blobs":
            self._blob(repository, match[1], match[3], parse_qs(url.query), body)
        else:
            self._manifest(repository, match[3], body)

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def _blob(self, repository: Repository, name: str, rest: str, query: dict[str, list[str]], body: bytes) -> None:
        if self.command == "POST":
            self._send(202, Location=f"/v2/{name}/blobs/uploads/session-1")
        elif self.command == "PUT":
            digest = query["digest"][0]
            if digest_of(body) != digest:
                self._error(400, "DIGEST_INVALID", "the bytes are others")
            else:
                repository.blobs[digest] = body
                self._send(201)
        elif rest not in repository.blobs:
            self._error(404, "BLOB_UNKNOWN")
        else:
            data = repository.blobs[rest]
            self._send(200, data + b"!" if rest in self.server_state.corrupt else data)

    def _manifest(self, repository: Repository, reference: str, body: bytes) -> None:
        if self.command == "PUT":
            digest = digest_of(body)
            wanted = json.loads(body)
            missing = [
                blob["digest"]
                for blob in [wanted["config"], *wanted["layers"]]
                if blob["digest"] not in repository.blobs
            ]
            if missing:
                self._error(400, "MANIFEST_BLOB_UNKNOWN", f"blob {missing[0]} is not there")
                return
            taken = repository.tags.get(reference, digest)
            if repository.mutability == "IMMUTABLE" and taken != digest:
                self._error(400, "TAG_INVALID", f"tag {reference} is immutable")
                return
            repository.manifests[digest] = (body, self.headers["Content-Type"])
            if not reference.startswith("sha256:"):
                repository.tags[reference] = digest
            self._send(201, Docker_Content_Digest=digest)
            return
        digest = repository.tags.get(reference, reference)
        if digest not in repository.manifests:
            self._error(404, "MANIFEST_UNKNOWN")
            return
        data, media_type = repository.manifests[digest]
        self._send(200, data, Docker_Content_Digest=digest, Content_Type=media_type)

    def _ecr(self, operation: str, given: dict[str, Any]) -> None:
        state = self.server_state
        if operation == "GetAuthorizationToken":
            token = base64.b64encode(f"AWS:{TOKEN}".encode()).decode()
            self._json({"authorizationData": [{"authorizationToken": token, "proxyEndpoint": state.url}]})
            return
        name = given["repositoryName"] if "repositoryName" in given else given["repositoryNames"][0]
        repository = state.repositories.get(name)
        if repository is None:
            self._fault("RepositoryNotFoundException", f"The repository with name '{name}' does not exist")
        elif operation == "DescribeRepositories":
            shown = {"repositoryUri": f"{HOST}/{name}", "imageTagMutability": repository.mutability}
            self._json({"repositories": [shown]})
        else:
            wanted = given["imageIds"][0]
            digest = wanted.get("imageDigest") or repository.tags.get(wanted["imageTag"])
            if digest not in repository.manifests:
                self._fault("ImageNotFoundException", "The image does not exist")
                return
            tags = sorted(tag for tag, named in repository.tags.items() if named == digest)
            data, media_type = repository.manifests[digest]
            detail = {"imageDigest": digest, "imageTags": tags, "imageManifestMediaType": media_type}
            detail["imageSizeInBytes"] = sum(layer["size"] for layer in json.loads(data).get("layers", []))
            self._json({"imageDetails": [{**detail, "imagePushedAt": 1767225600}]})

    def _json(self, value: Any, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), Content_Type="application/x-amz-json-1.1")

    def _fault(self, code: str, message: str) -> None:
        self._json({"__type": code, "message": message}, 400)
