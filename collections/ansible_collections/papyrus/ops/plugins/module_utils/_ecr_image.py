# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From an app folder and a lock to an image in ECR: build, compare with what is there, push what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import _oci_image, _registry, _wheels
from ._ecr_lookup import Repository, image_detail
from ._oci_image import Base, Entry, Image, ImageError
from ._registry import Reference, Registry, RegistryFailure

ROOT = "app"


@dataclass(frozen=True)
class Inputs:
    """Everything that the digest depends on, besides the base. `ca_file` "" leaves the CA bundle out."""

    source: Path
    paths: Sequence[str]
    lock: Path
    ca_file: str
    target: _wheels.Target
    runtime: _oci_image.Runtime
    cache: Path
    pip: Sequence[str]


@dataclass(frozen=True)
class Stored:
    """What ECR knows: `tagged` is the digest that the tag names now, `tags` those of the digest, None: not there."""

    tagged: str | None
    tags: tuple[str, ...] | None


def build(inputs: Inputs, base: Base, runner: _wheels.Runner) -> Image:
    """The image, in memory. ImageError says which input is at fault."""
    try:
        lock = inputs.lock.read_text(encoding="utf-8")
        ca = Path(inputs.ca_file).read_bytes() if inputs.ca_file else b""
    except (OSError, UnicodeDecodeError) as exc:
        raise ImageError(f"an input of the image cannot be read: {exc}") from exc
    if not inputs.source.is_dir():
        raise ImageError(f"the app's folder {inputs.source} does not exist")
    if inputs.ca_file and b"-----BEGIN CERTIFICATE-----" not in ca:
        raise ImageError(f"{inputs.ca_file} has no PEM certificate; PostgreSQL's TLS could not be verified with it")
    locked = _wheels.read_lock(lock, inputs.target)
    wheels = _wheels.download(locked, inputs.target, inputs.cache, inputs.pip, runner)
    dependencies = _wheels.unpack(wheels, f"{ROOT}/site-packages")
    paths = inputs.paths or _oci_image.default_paths(inputs.source)
    app = _oci_image.source_entries(inputs.source, paths, ROOT)
    if ca:
        app[f"{ROOT}/rds-ca.pem"] = Entry(ca)
    # What changes seldom lies below what changes with each commit.
    layers = [_oci_image.layer(dependencies, "dependencies"), _oci_image.layer(app, "app")]
    return _oci_image.build(base, layers, inputs.runtime, inputs.target.platform)


def stored(client: Callable[[str], Any], repository: str, digest: str, tag: str) -> Stored:
    image = image_detail(client, repository, {"imageDigest": digest})
    if image is not None and tag in (image.get("imageTags") or []):
        return Stored(digest, tuple(sorted(image["imageTags"])))
    tagged = image_detail(client, repository, {"imageTag": tag})
    tags = None if image is None else tuple(sorted(image.get("imageTags") or []))
    return Stored(None if tagged is None else str(tagged["imageDigest"]), tags)


def check_tag(repository: Repository, digest: str, tag: str, now: Stored) -> None:
    """ImageError when the tag is taken and cannot be moved."""
    if repository.immutable and now.tagged not in (None, digest):
        raise ImageError(
            f"tag {tag} of {repository.name} is immutable and names {now.tagged}, not {digest} which was built from"
            " these inputs. Push with another tag (without a tag, one is made from the digest)."
        )


def default_tag(digest: str) -> str:
    """An image without a tag is what lifecycle rules delete first; this one never has to move."""
    return "sha256-" + digest.partition(":")[2][:16]


def open_base(clients: Callable[[str], Any], reference: Reference, own: Registry, uri: str) -> tuple[Registry, str]:
    """The registry that holds the base, and the repository in it."""
    if reference.ecr is None:
        endpoint = _registry.public_endpoint(reference)
        docker_hub = endpoint.host == "registry-1.docker.io"
        official = docker_hub and "/" not in reference.repository
        return Registry(endpoint), f"library/{reference.repository}" if official else reference.repository
    if reference.host == uri.partition("/")[0]:
        return own, reference.repository
    raise ImageError(
        f"the base {reference.text} lies in another registry than {uri};"
        " copy or replicate it to this account and region"
    )


def read_back(client: Callable[[str], Any], registry: Registry, repository: str, digest: str, tag: str) -> list[str]:
    """Two witnesses that the tag names the digest: the registry's HEAD and ECR's DescribeImages. The image's tags.

    RegistryFailure when they differ.
    """
    tried = f"Reading back {repository}:{tag}"
    by_head = registry.head(repository, tag)
    if by_head != digest:
        raise RegistryFailure(
            tried, f"the registry names {by_head}, pushed was {digest}", hint="Is someone else pushing?"
        )
    detail = image_detail(client, repository, {"imageTag": tag})
    if detail is None or detail["imageDigest"] != digest:
        said = "knows no such image" if detail is None else f"names {detail['imageDigest']}"
        raise RegistryFailure(tried, f"DescribeImages {said}, pushed was {digest}")
    return sorted(detail.get("imageTags") or [])
