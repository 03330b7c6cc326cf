# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pull and push through a registry's HTTP API with `oras`, bounded in time, every byte checked by its digest.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import base64
import importlib
import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from . import _oci_image
from ._aws import aws_call
from ._oci_image import INDEXES, MANIFESTS, digest_of
from ._progress import PROGRESS

try:
    import requests

    _PROVIDER: Any = importlib.import_module("oras.provider")
    _CONTAINER: Any = importlib.import_module("oras.container")
    ORAS_IMPORT_ERROR: ImportError | None = None
    _CONNECTION_ERRORS: tuple[type[Exception], ...] = (requests.exceptions.RequestException,)
except ImportError as exc:  # modules report it with missing_required_lib
    ORAS_IMPORT_ERROR = exc
    _CONNECTION_ERRORS = ()

Clients = Callable[[str], Any]

# https://docs.aws.amazon.com/AmazonECR/latest/userguide/Registries.html, with the China regions' suffix
_ECR_HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(\.cn)?")
_REFERENCE = re.compile(
    r"(?:(?P<host>[^/@]+[.:][^/@]*|localhost)/)?(?P<repository>[a-z0-9._/-]+)(?::(?P<tag>[\w][\w.-]{0,127}))?"
    r"@(?P<digest>sha256:[0-9a-f]{64})"
)
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_MANIFEST_LIMIT = 4 * 1024 * 1024  # what registries accept at most


class RegistryFailure(Exception):
    """A request that a registry did not fulfil. `status` 0: no answer came."""

    def __init__(self, tried: str, said: str, *, status: int = 0, code: str = "", hint: str = "") -> None:
        self.status = status
        self.code = code
        super().__init__(f"{tried} failed: {said.rstrip('.')}." + (f" {hint}" if hint else ""))


class _Transient(Exception):
    """An answer, or none, after which the same request may succeed."""

    def __init__(self, said: str, status: int = 0) -> None:
        super().__init__(said)
        self.status = status


@dataclass(frozen=True)
class Endpoint:
    """Where a registry is; user and password for Basic authentication, empty for anonymous access."""

    scheme: str
    host: str
    username: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True)
class Reference:
    """An image by digest. `host` is "" where the reference names none (then it is Docker Hub's)."""

    host: str
    repository: str
    digest: str
    text: str

    @property
    def ecr(self) -> tuple[str, str] | None:
        """Account and region when it lies in a private ECR registry."""
        match = _ECR_HOST.fullmatch(self.host)
        return (match["account"], match["region"]) if match else None


@dataclass(frozen=True)
class Manifest:
    data: bytes
    media_type: str
    digest: str

    @property
    def is_index(self) -> bool:
        return self.media_type in INDEXES or "manifests" in self.json()

    def json(self) -> dict[str, Any]:
        value = json.loads(self.data)
        if not isinstance(value, dict):
            raise RegistryFailure(f"Reading manifest {self.digest}", "it is not a JSON object")
        return value


def parse_reference(text: str) -> Reference:
    """ValueError for everything that is not pinned by a sha256 digest: a tag is not an input that stays the same."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an image by digest such as registry/repository@sha256:<64 hex digits>")
    return Reference(match["host"] or "", match["repository"], match["digest"], text)


def ecr_endpoint(clients: Clients) -> Endpoint:
    """Endpoint of the caller's registry, by GetAuthorizationToken: its `proxyEndpoint` says scheme and host.

    https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_GetAuthorizationToken.html
    """
    with aws_call("GetAuthorizationToken", "ECR", "The runner needs ecr:GetAuthorizationToken on *."):
        answer = clients("ecr").get_authorization_token()
    data = answer["authorizationData"][0]
    username, password = base64.b64decode(data["authorizationToken"]).decode().split(":", 1)
    url = urlsplit(data["proxyEndpoint"])
    return Endpoint(url.scheme, url.netloc, username, password)


def public_endpoint(reference: Reference) -> Endpoint:
    """Anonymous access over HTTPS; images without a host are Docker Hub's."""
    host = reference.host or "registry-1.docker.io"
    return Endpoint("https", "registry-1.docker.io" if host in {"docker.io", "index.docker.io"} else host)


class Registry:
    """One registry. Attempts are bounded, waits between them grow; `sleep` is injected by tests."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout: tuple[float, float] = (5.0, 60.0),
        attempts: int = 4,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._attempts = attempts
        self._sleep = sleep
        self._oras = _PROVIDER.Registry(hostname=endpoint.host, insecure=endpoint.scheme == "http")
        if endpoint.username:
            # On the session: not sent to another host when an answer redirects to storage, and .netrc has no say.
            self._oras.session.auth = (endpoint.username, endpoint.password)
        # oras' own request has no time limit and up to two minutes of waits that nobody can inject.
        self._oras.do_request = self._request

    def _request(
        self,
        url: str,
        method: str = "GET",
        data: Any = None,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        stream: bool = False,
    ) -> Any:
        """What oras calls for each request. _Transient when repeating may help, else the response."""
        given = {**(headers or {}), **self._oras.auth.get_auth_header()}
        for fresh_token in (True, False):
            try:
                response = self._oras.session.request(
                    method, url, data=data, json=json, headers=given, stream=stream, timeout=self._timeout
                )
            except _CONNECTION_ERRORS as exc:
                raise _Transient(f"{type(exc).__name__}: {exc}") from exc
            if response.status_code in _RETRIED:
                raise _Transient(_said(response), response.status_code)
            if response.status_code != 401 or self.endpoint.username or not fresh_token:
                return response
            # Public registries answer the first request with where an anonymous token is to be had.
            given, changed = self._oras.auth.authenticate_request(response, given, refresh=True)
            if not changed:
                return response
        return response

    def _try(self, tried: str, operation: Callable[[], Any]) -> Any:
        for attempt in range(1, self._attempts + 1):
            try:
                return operation()
            except _Transient as exc:
                if attempt == self._attempts:
                    raise RegistryFailure(
                        tried,
                        f"{exc} (after {attempt} attempts)",
                        status=exc.status,
                        hint=f"Is {self.endpoint.scheme}://{self.endpoint.host} reachable from here?",
                    ) from exc
                self._sleep(0.5 * 2 ** (attempt - 1))
        raise AssertionError("unreachable: attempts is at least 1")

    def _container(self, repository: str, reference: str = "") -> Any:
        separator = "@" if reference.startswith("sha256:") else ":"
        name = f"{self.endpoint.host}/{repository}{separator}{reference}" if reference else repository
        return _CONTAINER.Container(name, registry=self.endpoint.host)

    def _url(self, path: str) -> str:
        return f"{self._oras.prefix}://{path}"

    def head(self, repository: str, reference: str) -> str | None:
        """Digest of the manifest that a tag or digest names, as the registry says it; None when there is none."""
        url = self._url(self._container(repository, reference).manifest_url())
        accept = {"Accept": ", ".join([*MANIFESTS, *INDEXES])}
        tried = f"HEAD of manifest {repository}:{reference}"
        response = self._try(tried, lambda: self._oras.do_request(url, "HEAD", headers=accept))
        if response.status_code == 404:
            return None
        _expect(tried, response, 200)
        return str(response.headers.get("Docker-Content-Digest", "")) or None

    def manifest(self, repository: str, digest: str) -> Manifest:
        """The manifest or index of that digest; RegistryFailure when the bytes are others than named."""
        url = self._url(self._container(repository, digest).manifest_url())
        accept = {"Accept": ", ".join([*MANIFESTS, *INDEXES])}
        tried = f"GET of manifest {repository}@{digest}"
        response = self._try(tried, lambda: self._oras.do_request(url, "GET", headers=accept))
        _expect(tried, response, 200)
        data = _checked(tried, response.content, digest)
        media_type = str(response.headers.get("Content-Type", "")).partition(";")[0].strip()
        return Manifest(data, media_type, digest)

    def has_blob(self, repository: str, digest: str) -> bool:
        container = self._container(repository)
        return bool(
            self._try(
                f"HEAD of blob {digest} in {repository}",
                lambda: self._oras.blob_exists({"digest": digest}, container),
            )
        )

    def blob(self, repository: str, digest: str) -> bytes:
        """The bytes of a blob, checked. Storage behind a redirect (ECR's is S3) is followed."""
        container = self._container(repository)
        tried = f"GET of blob {digest} from {repository}"
        response = self._try(tried, lambda: self._oras.get_blob(container, digest))
        _expect(tried, response, 200)
        return _checked(tried, response.content, digest)

    def push_blob(self, repository: str, data: bytes, digest: str) -> bool:
        """Upload unless it is there. True when bytes went over the wire."""
        if self.has_blob(repository, digest):
            return False
        container = self._container(repository)
        tried = f"Upload of blob {digest} to {repository}"
        PROGRESS.now(f"uploading {len(data) / 1e6:.1f} MB of the image")
        with tempfile.NamedTemporaryFile(prefix="blob-") as file:
            file.write(data)
            file.flush()
            # The whole upload is what is repeated: a session that failed in the middle is not continued.
            descriptor = {"digest": digest, "size": len(data)}
            response = self._try(tried, lambda: self._put_blob(file.name, container, descriptor, tried))
        _expect(tried, response, 201)
        return True

    def _put_blob(self, path: str, container: Any, descriptor: Mapping[str, Any], tried: str) -> Any:
        try:
            return self._oras.put_upload(path, container, descriptor)
        except ValueError as exc:  # oras: no session was opened
            raise RegistryFailure(tried, str(exc)) from exc

    def push_manifest(self, repository: str, reference: str, data: bytes, media_type: str) -> str:
        """PUT the bytes as they are; the registry's digest of them, which is compared with ours."""
        url = self._url(self._container(repository, reference).manifest_url())
        tried = f"PUT of manifest {repository}:{reference}"
        headers = {"Content-Type": media_type}
        response = self._try(tried, lambda: self._oras.do_request(url, "PUT", data=data, headers=headers))
        _expect(tried, response, 200, 201)
        own = digest_of(data)
        if response.headers.get("Docker-Content-Digest", own) != own:
            raise RegistryFailure(tried, f"the registry stored {response.headers['Docker-Content-Digest']}, not {own}")
        return own


def _errors(response: Any) -> Iterator[tuple[str, str]]:
    """Code and message of each error, as the distribution specification shapes them."""
    try:
        errors = response.json().get("errors", [])
    except (ValueError, AttributeError):
        return
    for error in errors if isinstance(errors, list) else []:
        if isinstance(error, dict):
            yield str(error.get("code", "")), str(error.get("message", ""))


def _said(response: Any) -> str:
    said = "; ".join(f"{code}: {message}" for code, message in _errors(response))
    return f"{response.status_code} {said or response.reason or ''}".strip()


def _expect(tried: str, response: Any, *statuses: int) -> None:
    if response.status_code in statuses:
        return
    code = next((code for code, message in _errors(response)), "")
    hint = {
        401: "The registry did not accept the login.",
        403: "The runner lacks a permission on this repository (ecr:BatchGetImage, ecr:PutImage, ecr:…LayerUpload …).",
        404: "Does the repository exist, and does it hold this image?",
    }.get(response.status_code, "")
    if code in {"TAG_INVALID", "IMAGE_TAG_ALREADY_EXISTS"}:
        hint = "The tag is immutable and in use: push with another tag."
    raise RegistryFailure(tried, _said(response), status=response.status_code, code=code, hint=hint)


def _checked(tried: str, data: bytes, digest: str) -> bytes:
    if digest_of(data) != digest:
        raise RegistryFailure(tried, f"the registry sent {digest_of(data)} instead of {digest}")
    return data


def fetch_base(registry: Registry, repository: str, digest: str, platform: str) -> _oci_image.Base:
    """Manifest and configuration of the base for one platform; an index is resolved. ImageError, RegistryFailure."""
    return resolve(registry, repository, registry.manifest(repository, digest), platform, "the base image")


def resolve(registry: Registry, repository: str, manifest: Manifest, platform: str, what: str) -> _oci_image.Base:
    """The same for a manifest or index that is there already; `what` names it in errors."""
    if manifest.is_index:
        manifest = registry.manifest(repository, _oci_image.platform_digest(manifest.json(), platform, what))
    content = manifest.json()
    if "config" not in content or "layers" not in content:
        raise _oci_image.ImageError(f"{repository}@{manifest.digest} is not an image ({manifest.media_type})")
    config = json.loads(registry.blob(repository, content["config"]["digest"]))
    return _oci_image.Base(manifest.digest, content, config)


@dataclass(frozen=True)
class Pushed:
    """`blobs`: digests whose bytes were sent."""

    blobs: tuple[str, ...]


def push_image(
    registry: Registry, repository: str, reference: str, image: _oci_image.Image, base: Registry, base_repository: str
) -> Pushed:
    """Layers and configuration where missing, then the manifest, which makes the image visible."""
    sent = []
    for descriptor in image.base_layers:
        digest = str(descriptor["digest"])
        if not registry.has_blob(repository, digest):
            # ECR shares layers between repositories only where the registry's blob mounting is on: copy.
            data = base.blob(base_repository, digest)
            if registry.push_blob(repository, data, digest):
                sent.append(digest)
    for blob in (*image.layers, image.config):
        if registry.push_blob(repository, blob.data, blob.digest):
            sent.append(blob.digest)
    registry.push_manifest(repository, reference, image.manifest.data, image.manifest.media_type)
    return Pushed(tuple(sent))
