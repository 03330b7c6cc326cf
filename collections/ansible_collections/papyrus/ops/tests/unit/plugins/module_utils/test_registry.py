# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Pull and push against a registry on loopback: what is sent, what is not sent twice, what is not believed (F1)."""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _oci_image as oci
from ansible_collections.papyrus.ops.plugins.module_utils import _registry
from ansible_collections.papyrus.ops.plugins.module_utils._progress import PROGRESS
from ansible_collections.papyrus.ops.tests.unit.plugins.module_utils.registry_server import (
    TOKEN,
    RegistryServer,
    Repository,
    base_image,
    digest_of,
)
from ansible_collections.papyrus.ops.tests.unit.told import Told

RUNTIME = oci.Runtime(command=["x"], environment={})


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    running = RegistryServer()
    running.repositories["papyrus"] = Repository()
    yield running
    running.close()


def registry(server: RegistryServer, slept: list[float] | None = None, **given: Any) -> _registry.Registry:
    endpoint = _registry.Endpoint("http", server.host, "AWS", TOKEN)
    waits: list[float] = [] if slept is None else slept
    return _registry.Registry(endpoint, sleep=waits.append, **given)


def image(client: _registry.Registry, base: str) -> oci.Image:
    found = _registry.fetch_base(client, "base/python", base, "linux/amd64")
    return oci.build(found, [oci.layer({"app/a": oci.Entry(b"a")}, "app")], RUNTIME, "linux/amd64")


def test_f1_the_login_comes_from_ecr_and_the_endpoint_decides_scheme_and_host() -> None:
    class Ecr:
        def get_authorization_token(self) -> Any:
            token = base64.b64encode(b"AWS:pass:word").decode()
            return {"authorizationData": [{"authorizationToken": token, "proxyEndpoint": "https://registry.test:8443"}]}

    endpoint = _registry.ecr_endpoint(lambda service: Ecr())
    assert endpoint == _registry.Endpoint("https", "registry.test:8443", "AWS", "pass:word")
    assert "pass:word" not in repr(endpoint)


@pytest.mark.parametrize(
    ("text", "host", "repository", "ecr"),
    [
        ("python@{d}", "", "python", None),
        ("docker.io/library/python:3.13@{d}", "docker.io", "library/python", None),
        (
            "123456789012.dkr.ecr.us-west-2.amazonaws.com/a/b@{d}",
            *("123456789012.dkr.ecr.us-west-2.amazonaws.com", "a/b", ("123456789012", "us-west-2")),
        ),
    ],
)
def test_f1_references_by_digest(text: str, host: str, repository: str, ecr: Any) -> None:
    digest = "sha256:" + "a" * 64
    found = _registry.parse_reference(text.format(d=digest))
    assert (found.host, found.repository, found.digest, found.ecr) == (host, repository, digest, ecr)


@pytest.mark.parametrize("text", ["python:3.13", "python", "python@sha256:12", "Python@sha256:" + "a" * 64, ""])
def test_f1_a_reference_without_digest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an image by digest"):
        _registry.parse_reference(text)


def test_f1_a_push_sends_what_is_missing_and_the_manifest_last(server: RegistryServer) -> None:
    client = registry(server)
    built = image(client, base_image(server))
    server.requests.clear()
    pushed = _registry.push_image(client, "papyrus", "v1", built, client, "base/python")
    assert pushed.blobs == (digest_of(b"a layer of the base"), built.layers[0].digest, built.config.digest)
    assert server.writes()[-1] == ("PUT", "/v2/papyrus/manifests/v1")
    assert len(server.writes()) == 7  # POST and PUT of three blobs, then the manifest
    stored = server.repositories["papyrus"]
    assert stored.manifests[built.digest] == (built.manifest.data, oci.MANIFEST)
    assert client.head("papyrus", "v1") == client.head("papyrus", built.digest) == built.digest


def test_f1_blobs_that_are_there_are_not_sent_again(server: RegistryServer) -> None:
    client = registry(server)
    built = image(client, base_image(server))
    _registry.push_image(client, "papyrus", "v1", built, client, "base/python")
    server.requests.clear()
    pushed = _registry.push_image(client, "papyrus", "v2", built, client, "base/python")
    assert pushed.blobs == ()
    assert server.writes() == [("PUT", "/v2/papyrus/manifests/v2")]
    assert not any(method == "GET" for method, _path in server.requests)


def test_f1_an_index_is_followed_to_the_platform(server: RegistryServer) -> None:
    amd, arm = base_image(server), base_image(server, architecture="arm64")
    index = {
        "schemaVersion": 2,
        "mediaType": oci.INDEX,
        "manifests": [
            {"digest": digest, "size": 1, "platform": {"os": "linux", "architecture": architecture}}
            for digest, architecture in ((amd, "amd64"), (arm, "arm64"))
        ],
    }
    digest = server.add_image("base/python", index, [])
    found = _registry.fetch_base(registry(server), "base/python", digest, "linux/arm64")
    assert (found.digest, found.config["architecture"]) == (arm, "arm64")


def test_f1_bytes_that_do_not_match_their_digest_are_refused(server: RegistryServer) -> None:
    client = registry(server)
    digest = digest_of(b"a layer of the base")
    base_image(server)
    server.corrupt.add(digest)
    with pytest.raises(_registry.RegistryFailure, match=f"instead of {digest}"):
        client.blob("base/python", digest)


def test_f1_passing_faults_are_waited_out_and_lasting_ones_named(server: RegistryServer, told: Told) -> None:
    PROGRESS.open(str)
    slept: list[float] = []
    client = registry(server, slept)
    server.faults[("POST", "uploads")] = [503, 429]
    assert client.push_blob("papyrus", b"data", digest_of(b"data")) is True
    assert slept == [0.5, 1.0]
    assert told.text == "uploading 0.0 MB of the image"
    assert server.repositories["papyrus"].blobs[digest_of(b"data")] == b"data"
    server.faults[("HEAD", "manifests")] = [500] * 9
    with pytest.raises(_registry.RegistryFailure, match=r"HEAD of manifest papyrus:v1 failed: 500 .*after 4 attempts"):
        client.head("papyrus", "v1")


def test_f1_a_registry_that_is_not_there_is_a_failure_in_bounded_tries() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
        slept: list[float] = []
        client = _registry.Registry(_registry.Endpoint("http", host, "AWS", "x"), sleep=slept.append)
        with pytest.raises(_registry.RegistryFailure, match=f"Is http://{host} reachable from here"):
            client.head("papyrus", "v1")
    assert slept == [0.5, 1.0, 2.0]


def test_f1_a_wrong_login_is_said_and_not_shown(server: RegistryServer) -> None:
    client = _registry.Registry(_registry.Endpoint("http", server.host, "AWS", "wrong-secret"))
    with pytest.raises(_registry.RegistryFailure, match="did not accept the login") as caught:
        client.head("papyrus", "v1")
    assert "wrong-secret" not in str(caught.value)
    assert caught.value.status == 401


def test_f1_a_missing_manifest_is_none_and_a_missing_repository_too(server: RegistryServer) -> None:
    client = registry(server)
    assert client.head("papyrus", "nothing") is None
    with pytest.raises(_registry.RegistryFailure, match="Does the repository exist"):
        client.push_manifest("nowhere", "v1", b"{}", oci.MANIFEST)


def test_f1_an_immutable_tag_is_explained(server: RegistryServer) -> None:
    client = registry(server)
    built = image(client, base_image(server))
    _registry.push_image(client, "papyrus", "v1", built, client, "base/python")
    server.repositories["papyrus"].mutability = "IMMUTABLE"
    other = oci.canonical_json({**json.loads(built.manifest.data), "annotations": {}})
    with pytest.raises(_registry.RegistryFailure, match=r"TAG_INVALID.*push with another tag") as caught:
        client.push_manifest("papyrus", "v1", other, oci.MANIFEST)
    assert caught.value.code == "TAG_INVALID"
