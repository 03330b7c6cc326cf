# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image of a task definition as ECR has it: index, platform and configuration, or why it is not there (N2)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _binding_image
from ansible_collections.papyrus.ops.plugins.module_utils._binding import Image
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls
from ansible_collections.papyrus.ops.plugins.module_utils._oci_image import CONFIG, INDEX, MANIFEST, digest_of
from ansible_collections.papyrus.ops.plugins.module_utils._registry import Manifest
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

HOST = "123456789012.dkr.ecr.us-west-2.amazonaws.com"


class Repository:
    """A repository with one image a platform below one index, as the registry and as ECR's API show it."""

    def __init__(self) -> None:
        self.contents: dict[str, tuple[bytes, str]] = {}
        self.images = {name: self._image(name) for name in ("amd64", "arm64")}
        listed = [
            {"digest": digest, "platform": {"os": "linux", "architecture": name}}
            for name, digest in self.images.items()
        ]
        self.index = self._add({"mediaType": INDEX, "manifests": listed}, INDEX)
        self.aws = FakeAws(
            {
                "ecr.describe_repositories": {"repositories": [{"repositoryUri": f"{HOST}/papyrus"}]},
                "ecr.describe_images": self._describe,
            }
        )

    def _add(self, content: Any, media_type: str) -> str:
        data = json.dumps(content).encode()
        self.contents[digest_of(data)] = (data, media_type)
        return digest_of(data)

    def _image(self, architecture: str) -> str:
        config = self._add({"os": "linux", "architecture": architecture}, CONFIG)
        return self._add({"mediaType": MANIFEST, "config": {"digest": config}, "layers": []}, MANIFEST)

    def _describe(self, sent: Any) -> dict[str, Any]:
        wanted = sent["imageIds"][0]
        digest = {"v1": self.index}.get(wanted.get("imageTag"), wanted.get("imageDigest", ""))
        if digest not in self.contents:
            raise Refusal("ImageNotFoundException", "does not exist")
        return {"imageDetails": [{"imageDigest": digest}]}

    def manifest(self, repository: str, reference: str) -> Manifest:
        return Manifest(*self.contents[reference], reference)

    def blob(self, repository: str, digest: str) -> bytes:
        return self.contents[digest][0]

    def config(self, architecture: str) -> str:
        digest: str = json.loads(self.contents[self.images[architecture]][0])["config"]["digest"]
        return digest

    def image_of(self, reference: str, index_digest: str = "", **definition: Any) -> Image:
        made = {**shapes.definition(image=reference), **definition}
        self.aws.answers["ecs.describe_task_definition"] = {"taskDefinition": made}
        registry: Any = self
        return _binding_image.definition_image(
            Calls(self.aws), shapes.DEFINITION, "app", lambda: registry, index_digest
        )


@pytest.mark.parametrize(("cpu", "name"), [(None, "amd64"), ("X86_64", "amd64"), ("ARM64", "arm64")])
def test_N2_an_index_is_followed_to_the_platform_of_the_definition(cpu: str | None, name: str) -> None:
    there = Repository()
    runs_on = {"runtimePlatform": {"cpuArchitecture": cpu, "operatingSystemFamily": "LINUX"}} if cpu else {}
    image = there.image_of(f"{HOST}/papyrus@{there.index}", **runs_on)
    assert (image.pinned, image.digest, image.index) == (there.index, there.index, there.index)
    assert (image.platform, image.config) == (there.images[name], there.config(name))
    assert image.names == {there.index, there.images[name], there.config(name)}


def test_N2_a_platforms_manifest_stands_for_itself_unless_a_release_names_its_index() -> None:
    there = Repository()
    pinned = there.images["amd64"]
    alone = there.image_of(f"{HOST}/papyrus@{pinned}")
    assert (alone.digest, alone.index, alone.platform) == (pinned, "", pinned)
    below = there.image_of(f"{HOST}/papyrus@{pinned}", there.index)
    assert (below.digest, below.index, below.platform) == (pinned, there.index, pinned)


def test_N2_an_index_that_does_not_hold_the_image_is_not_recorded_as_its_index() -> None:
    there = Repository()
    there.images["amd64"] = there._add(
        {"mediaType": MANIFEST, "config": {"digest": there.config("amd64")}, "layers": [], "annotations": {"a": "b"}},
        MANIFEST,
    )
    assert there.image_of(f"{HOST}/papyrus@{there.images['amd64']}", there.index).index == ""


def test_N2_a_tag_is_what_it_names_now() -> None:
    there = Repository()
    image = there.image_of(f"{HOST}/papyrus:v1")
    assert (image.pinned, image.digest, image.platform) == ("", there.index, there.images["amd64"])


@pytest.mark.parametrize("reference", [f"{HOST}/papyrus@sha256:{'e' * 64}", f"{HOST}/papyrus:gone", f"{HOST}/papyrus"])
def test_N2_an_image_that_ecr_does_not_have_is_an_answer(reference: str) -> None:
    assert "ECR has no image papyrus" in Repository().image_of(reference).missing


@pytest.mark.parametrize(
    ("reference", "where"),
    [
        (f"quay.io/papyrus@sha256:{'e' * 64}", "quay.io"),
        ("python:3.13", "Docker Hub"),
        ("999999999999.dkr.ecr.us-west-2.amazonaws.com/papyrus:v1", "ECR of account 999999999999 in us-west-2"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com/papyrus:v1", "ECR of account 123456789012 in eu-west-1"),
    ],
)
def test_N2_other_registries_are_not_asked_and_that_is_said(reference: str, where: str) -> None:
    there = Repository()
    image = there.image_of(reference)
    assert image.unasked == f"the image lies in {where}, which is not asked"
    assert there.aws.names == ["ecs.describe_task_definition"]
