"""ECR: pushed by an ordinary client, read back by the API; blobs on disk; images taken apart safely."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import tarfile
from pathlib import Path
from typing import Any

import oras.client
import pytest

from tests.sandbox.support import MANIFEST_TYPE, Sandbox, descriptor, digest


def authorization(sandbox: Sandbox) -> dict[str, str]:
    data = sandbox.client("ecr").get_authorization_token()["authorizationData"][0]
    assert data["proxyEndpoint"] == sandbox.endpoint
    return {"Authorization": f"Basic {data['authorizationToken']}"}


def test_oras_pushes_with_the_token_and_the_digest_is_read_back(sandbox: Sandbox, tmp_path: Path) -> None:
    ecr = sandbox.client("ecr")
    repository = ecr.create_repository(repositoryName="by/oras")["repository"]
    assert repository["repositoryUri"] == "123456789012.dkr.ecr.us-west-2.amazonaws.com/by/oras"
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    user, _, password = base64.b64decode(token).decode().partition(":")
    host = sandbox.endpoint.removeprefix("http://")
    client = oras.client.OrasClient(hostname=host, insecure=True, auth_backend="basic")
    client.login(username=user, password=password, hostname=host, config_path=str(tmp_path / "auth"))
    (tmp_path / "file").write_text("content")
    response = client.push(target=f"{host}/by/oras:v1", files=[str(tmp_path / "file")], disable_path_validation=True)
    pushed = response.headers["Docker-Content-Digest"]
    detail = ecr.describe_images(repositoryName="by/oras", imageIds=[{"imageTag": "v1"}])["imageDetails"][0]
    assert detail["imageDigest"] == pushed
    assert detail["imageTags"] == ["v1"]
    manifest = ecr.batch_get_image(repositoryName="by/oras", imageIds=[{"imageDigest": pushed}])["images"][0]
    assert digest(manifest["imageManifest"].encode()) == pushed


@pytest.mark.behaviour("ecr.token_of_this_registry", "ecr.token_must_not_have_ended")
def test_the_registry_asks_for_the_token(sandbox: Sandbox) -> None:
    status, headers, _ = sandbox.http("GET", "/v2/")
    assert status == 401
    assert headers["www-authenticate"].startswith("Basic ")
    assert sandbox.http("GET", "/v2/", headers=authorization(sandbox))[0] == 200
    made_up = base64.b64encode(b"AWS:made-up").decode()
    assert sandbox.http("GET", "/v2/", headers={"Authorization": f"Basic {made_up}"})[0] == 401
    with sandbox.switched(registry_token_seconds=0):
        status, _, body = sandbox.http("GET", "/v2/", headers=authorization(sandbox))
    assert (status, json.loads(body)["errors"][0]["code"]) == (403, "DENIED")


@pytest.mark.behaviour(
    "ecr.pushed_repository_must_exist",
    "ecr.pushed_blob_must_have_its_digest",
    "ecr.pushed_manifest_names_blobs_that_are_there",
)
def test_wrong_digests_missing_layers_and_unknown_repositories_are_refused(sandbox: Sandbox) -> None:
    sandbox.client("ecr").create_repository(repositoryName="strict")
    headers = authorization(sandbox)
    assert sandbox.http("POST", "/v2/nowhere/blobs/uploads/", b"", headers)[0] == 404
    _, begun, _ = sandbox.http("POST", "/v2/strict/blobs/uploads/", b"", headers)
    status, _, body = sandbox.http("PUT", f"{begun['location']}?digest={digest(b'other')}", b"content", headers)
    assert (status, json.loads(body)["errors"][0]["code"]) == (400, "DIGEST_INVALID")
    absent = {"schemaVersion": 2, "config": descriptor("x", b"absent"), "layers": []}
    status, _, body = sandbox.http(
        "PUT", "/v2/strict/manifests/t", json.dumps(absent).encode(), {**headers, "Content-Type": MANIFEST_TYPE}
    )
    assert (status, json.loads(body)["errors"][0]["code"]) == (404, "BLOB_UNKNOWN")
    ecr = sandbox.client("ecr")
    with pytest.raises(ecr.exceptions.ImageNotFoundException):
        ecr.describe_images(repositoryName="strict", imageIds=[{"imageTag": "none"}])
    with pytest.raises(ecr.exceptions.RepositoryNotFoundException):
        ecr.describe_images(repositoryName="nowhere")


def resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) * 1024


def test_a_large_layer_goes_to_disk_and_not_to_memory(sandbox: Sandbox) -> None:
    sandbox.client("ecr").create_repository(repositoryName="large")
    headers = authorization(sandbox)
    data = os.urandom(1 << 20) * 96
    before = resident(sandbox.facts["pid"])
    _, begun, _ = sandbox.http("POST", "/v2/large/blobs/uploads/", b"", headers)
    status, _, _ = sandbox.http("PUT", f"{begun['location']}?digest={digest(data)}", data, headers)
    assert status == 201
    status, found, back = sandbox.http("GET", f"/v2/large/blobs/{digest(data)}", headers=headers)
    assert (status, hashlib.sha256(back).digest()) == (200, hashlib.sha256(data).digest())
    assert found["content-length"] == str(len(data))
    assert resident(sandbox.facts["pid"]) - before < len(data) // 2


def test_the_base_image_says_what_it_stands_for(sandbox: Sandbox) -> None:
    reference = sandbox.facts["base_image"]
    repository, _, pinned = reference.partition("@")
    assert repository.endswith("/sandbox/host-python")
    found: dict[str, Any] = sandbox.client("ecr").batch_get_image(
        repositoryName="sandbox/host-python", imageIds=[{"imageDigest": pinned}]
    )["images"][0]
    annotations = json.loads(found["imageManifest"])["annotations"]
    assert "Stands for the Python" in annotations["org.opencontainers.image.description"]
    assert annotations["org.opencontainers.image.version"] == sandbox.facts["python"]


def test_an_image_cannot_leave_its_folder(tmp_path: Path) -> None:
    from sandbox.images import ImageError, _extract

    def layer(name: str, **fields: Any) -> Path:
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            entry = tarfile.TarInfo(name)
            for field, value in fields.items():
                setattr(entry, field, value)
            entry.size = 0 if fields else 1
            archive.addfile(entry, io.BytesIO(b"x"))
        file = tmp_path / "layer"
        file.write_bytes(stream.getvalue())
        return file

    root = tmp_path / "root"
    (root / "app").mkdir(parents=True)
    _extract(layer("app/plain"), root)
    _extract(layer("app/link", type=tarfile.SYMTYPE, linkname="/app/plain"), root)
    assert (root / "app" / "link").read_text() == "x", "an absolute link stays inside"
    _extract(layer("/absolute"), root)
    assert (root / "absolute").exists()
    with pytest.raises(ImageError):
        _extract(layer("../outside"), root)
    with pytest.raises(ImageError):
        _extract(layer("app/up", type=tarfile.SYMTYPE, linkname="../../outside"), root)
    assert not (tmp_path / "outside").exists()
    _extract(layer("app/.wh.plain"), root)
    assert not (root / "app" / "plain").exists()
