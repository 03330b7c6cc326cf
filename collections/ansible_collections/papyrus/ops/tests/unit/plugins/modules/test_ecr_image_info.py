# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images resolved in ECR, and the login of one build, against a registry on loopback (F1)."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _registry
from ansible_collections.papyrus.ops.plugins.module_utils._ecr_login import docker_config, write_login
from ansible_collections.papyrus.ops.plugins.modules import ecr_docker_login, ecr_image_info
from ansible_collections.papyrus.ops.tests.unit.plugins.module_utils.registry_server import (
    HOST,
    TOKEN,
    RegistryServer,
    base_image,
)

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"


@pytest.fixture(name="server")
def _server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryServer]:
    running = RegistryServer()
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
    yield running
    running.close()


@pytest.fixture(name="run")
def _run(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def call(module: Any = ecr_image_info, check: bool = False, **options: Any) -> dict[str, Any]:
        keys = {"region": "us-west-2", "access_key": "test", "secret_key": "test-secret-key"}
        with patch_module_args({**keys, **options, "_ansible_check_mode": check}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


Run = Callable[..., dict[str, Any]]


def index(server: RegistryServer, media_type: str = OCI_INDEX, tag: str = "v1") -> dict[str, str]:
    """An index as BuildKit pushes it: two platforms and an attestation for one of them. Digests by name."""
    amd, arm = base_image(server, "papyrus"), base_image(server, "papyrus", architecture="arm64")
    attestation = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": "sha256:" + "9" * 64,
        "platform": {"os": "unknown", "architecture": "unknown"},
        "annotations": {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": amd},
    }
    manifests = [
        attestation,
        {"digest": amd, "platform": {"os": "linux", "architecture": "amd64"}},
        {"digest": arm, "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
    ]
    top = server.add_image("papyrus", {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}, [], tag)
    return {"index": top, "linux/amd64": amd, "linux/arm64": arm}


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_LIST])
@pytest.mark.parametrize("platform", ["linux/amd64", "linux/arm64"])
def test_F1_an_index_is_resolved_to_its_platforms_digest_and_both_are_told(
    server: RegistryServer, run: Run, media_type: str, platform: str
) -> None:
    digests = index(server, media_type)
    result = run(image="papyrus:v1", platform=platform)
    assert result["image"] == f"{HOST}/papyrus@{digests[platform]}"
    assert (result["digest"], result["index_digest"]) == (digests[platform], digests["index"])
    assert (result["tags"], result["untagged"], result["exists"]) == (["v1"], False, True)
    assert result["platforms"] == ["linux/amd64", "linux/arm64/v8"]
    assert result["pushed_at"] == "2026-01-01T00:00:00Z"
    assert (result["labels"], len(result["layers"])) == ({"of": "base"}, 1)
    assert server.writes() == []


def test_F1_an_index_without_the_platform_names_those_that_it_has(server: RegistryServer, run: Run) -> None:
    index(server)
    message = run(image="papyrus:v1", platform="linux/s390x")["msg"]
    assert message == "papyrus:v1 has no manifest for linux/s390x; it has linux/amd64, linux/arm64/v8"


def test_F1_an_index_whose_image_is_gone_is_said(server: RegistryServer, run: Run) -> None:
    digests = index(server)
    del server.repositories["papyrus"].manifests[digests["linux/amd64"]]
    assert "Does the repository exist, and does it hold this image?" in run(image="papyrus:v1")["msg"]


def test_F1_an_image_of_one_platform_has_no_index(server: RegistryServer, run: Run) -> None:
    digest = base_image(server, "papyrus")
    server.repositories["papyrus"].tags["v1"] = digest
    for name in ("papyrus:v1", f"papyrus@{digest}", f"{HOST}/papyrus:v1", f"{HOST}/papyrus:other@{digest}"):
        result = run(image=name)
        assert (result["digest"], result["index_digest"], result["platforms"]) == (digest, None, ["linux/amd64"]), name


def test_F1_an_image_for_another_processor_is_refused(server: RegistryServer, run: Run) -> None:
    digest = base_image(server, "papyrus", architecture="arm64")
    message = run(image=f"papyrus@{digest}")["msg"]
    assert f"papyrus@{digest} is for linux/arm64, not for linux/amd64: its tasks could not start" in message


def test_F1_an_image_without_a_tag_is_warned_of(server: RegistryServer, run: Run) -> None:
    result = run(image=f"papyrus@{base_image(server, 'papyrus')}")
    assert result["untagged"] is True
    assert "a lifecycle rule of papyrus may delete it" in str(result["warnings"])


def test_F1_what_is_missing_is_said_by_its_kind(server: RegistryServer, run: Run) -> None:
    assert "RepositoryNotFoundException" in run(image="nothing:v1")["msg"]
    base_image(server, "papyrus")
    missing = run(image="papyrus:v2")
    assert missing["failed"] is True
    assert f"ECR has no image papyrus:v2 in {HOST}. Push it first" in missing["msg"]
    allowed = run(image="papyrus:v2", required=False)
    assert (allowed["exists"], allowed["repository_uri"]) == (False, f"{HOST}/papyrus")
    assert "RepositoryNotFoundException" in run(image="nothing:v1", required=False)["msg"]


@pytest.mark.parametrize("name", ["papyrus", "Papyrus:v1", "papyrus@sha256:12", "papyrus:v1 ", "", ":v1"])
def test_F1_what_names_no_image_is_refused(server: RegistryServer, run: Run, name: str) -> None:
    result = run(image=name)
    assert result["failed"] is True
    assert repr(name) in result["msg"]
    assert server.requests == []


def test_F1_an_image_of_another_registry_is_refused(server: RegistryServer, run: Run) -> None:
    base_image(server, "papyrus")
    name = "999999999999.dkr.ecr.us-west-2.amazonaws.com/papyrus:v1"
    assert f"lies in another registry than these credentials see ({HOST})" in run(image=name)["msg"]


def test_F1_a_login_lies_in_a_private_folder_and_nowhere_else(server: RegistryServer, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "login"
    folder.mkdir(mode=0o700)
    result = run(ecr_docker_login, folder=str(folder), hosts=[HOST])
    path = folder / "config.json"
    auth = base64.b64encode(f"AWS:{TOKEN}".encode()).decode()
    assert json.loads(path.read_text())["auths"] == {server.host: {"auth": auth}, HOST: {"auth": auth}}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert TOKEN not in json.dumps(result)
    assert auth not in json.dumps(result)


def test_F1_a_login_is_not_written_where_others_can_read(server: RegistryServer, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)  # whatever the umask is
    result = run(ecr_docker_login, folder=str(folder))
    assert "may be entered by others (mode 0755)" in result["msg"]
    assert list(folder.iterdir()) == []


def test_F1_check_mode_asks_for_no_token(server: RegistryServer, run: Run, tmp_path: Path) -> None:
    assert run(ecr_docker_login, check=True, folder=str(tmp_path))["changed"] is True
    assert server.requests == []


def test_F1_plugins_of_the_user_are_found_beside_the_login(tmp_path: Path) -> None:
    endpoint = _registry.Endpoint("https", HOST, "AWS", TOKEN)
    assert "cliPluginsExtraDirs" not in json.loads(docker_config(endpoint, [], tmp_path))
    plugins = tmp_path / ".docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    assert json.loads(docker_config(endpoint, [], tmp_path))["cliPluginsExtraDirs"] == [str(plugins)]


def test_F1_a_second_login_replaces_the_first(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    for content in (b"one", b"two"):
        write_login(tmp_path, content)
    assert (tmp_path / "config.json").read_bytes() == b"two"
