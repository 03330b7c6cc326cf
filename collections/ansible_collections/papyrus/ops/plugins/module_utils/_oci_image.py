# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reproducible OCI images: the same inputs give the same digest on any machine, for any user, at any time.

Layers are tar files without compression: what deflate makes of the same bytes differs between zlib, its forks and
versions, a tar file of fixed fields does not. https://github.com/opencontainers/image-spec/blob/v1.1.0/layer.md
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDEXES = (INDEX, DOCKER_INDEX)

EPOCH = "1970-01-01T00:00:00Z"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

# A layer keeps its bytes, and so its digest, when only the name of its type is translated.
_LAYER_TYPES = {
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER + "+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": LAYER,
    **{LAYER + suffix: LAYER + suffix for suffix in ("", "+gzip", "+zstd")},
}


class ImageError(Exception):
    """What cannot be built, and why; the text is for the operator."""


@dataclass(frozen=True)
class Entry:
    """One file of a layer: its bytes and whether it may be executed. Owner root, times and modes are fixed."""

    data: bytes
    executable: bool = False


@dataclass(frozen=True)
class Blob:
    """Bytes with the descriptor that names them (OCI content descriptor)."""

    data: bytes = field(repr=False)
    media_type: str
    purpose: str = ""

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    def descriptor(self) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data)}


@dataclass(frozen=True)
class Base:
    """Manifest and configuration of one platform's base image, and the digest of the manifest."""

    digest: str
    manifest: Mapping[str, Any]
    config: Mapping[str, Any]


@dataclass(frozen=True)
class Runtime:
    """What the image runs; the fields of the image configuration, with its units (nanoseconds in `healthcheck`).

    https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md
    """

    command: Sequence[str]
    environment: Mapping[str, str]
    working_dir: str = "/app"
    user: str = "10001"
    ports: Sequence[str] = ("5000/tcp",)
    healthcheck: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """A built image: the layers on top of the base, configuration and manifest. `digest` is the manifest's."""

    layers: tuple[Blob, ...]
    config: Blob
    manifest: Blob
    base_layers: tuple[Mapping[str, Any], ...]

    @property
    def digest(self) -> str:
        return self.manifest.digest


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Sorted keys, no white space, UTF-8: one spelling for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _safe_path(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or "\0" in name:
        raise ImageError(f"{name!r} is no path inside an image")
    return str(path)


def layer(entries: Mapping[str, Entry], purpose: str) -> Blob:
    """A tar of the entries (path without leading slash → file) and of the folders above them.

    Sorted by path; mtime 0, uid and gid 0, modes 0755 for folders and executables and 0644 for the rest.
    """
    files = {_safe_path(name): entry for name, entry in entries.items()}
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents} - {"."}
    if both := folders & files.keys():
        raise ImageError(f"{min(both)} would be a file and a folder")
    buffer = io.BytesIO()
    # PAX: long and non-ASCII names without the fields that GNU's format takes from the machine.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(folders | files.keys()):
            info = tarfile.TarInfo(name)
            entry = files.get(name)
            if entry is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            else:
                info.size, info.mode = len(entry.data), 0o755 if entry.executable else 0o644
                tar.addfile(info, io.BytesIO(entry.data))
    return Blob(buffer.getvalue(), LAYER, purpose)


def _is_noise(path: PurePosixPath) -> bool:
    return path.suffix in {".pyc", ".pyo"} or "__pycache__" in path.parts or path.name.startswith(".")


def default_paths(source: Path) -> list[str]:
    """What belongs into an image of an app folder: its Python packages, and the *.py and *.sql files beside them."""
    names = []
    for path in sorted(source.iterdir()):
        package = path.is_dir() and (path / "__init__.py").is_file()
        if not path.name.startswith(".") and (package or (path.is_file() and path.suffix in {".py", ".sql"})):
            names.append(path.name)
    return names


def source_entries(source: Path, paths: Iterable[str], prefix: str) -> dict[str, Entry]:
    """Files of the app: each path (file or folder) below `source`, put below `prefix`.

    Compiled files, caches and hidden files are left out; modes and owners of the checkout do not count. A symbolic
    link is an error, as what it shows may differ between two machines.
    """
    entries: dict[str, Entry] = {}
    for name in paths:
        top = source / _safe_path(name)
        if not top.exists():
            raise ImageError(f"{name} does not exist in {source}")
        for path in sorted([top, *top.rglob("*")] if top.is_dir() else [top]):
            relative = PurePosixPath(path.relative_to(source).as_posix())
            if _is_noise(relative):
                continue
            if path.is_symlink():
                raise ImageError(f"{path} is a symbolic link; an image is made of files only")
            if path.is_file():
                entries[str(PurePosixPath(prefix) / relative)] = Entry(path.read_bytes())
    if not entries:
        raise ImageError(f"{source} has no file for the image")
    return entries


def platforms(index: Mapping[str, Any]) -> list[tuple[str, str]]:
    """`os/architecture[/variant]` and digest of each image in an index.

    Other manifests are left out, such as the attestations that BuildKit adds (of platform unknown/unknown):
    https://docs.docker.com/build/metadata/attestations/attestation-storage/
    """
    found = []
    for descriptor in index.get("manifests", []):
        given = descriptor.get("platform") or {}
        kind = (descriptor.get("annotations") or {}).get("vnd.docker.reference.type", "")
        if kind == "attestation-manifest" or given.get("os") == "unknown":
            continue
        parts = [given.get("os"), given.get("architecture"), given.get("variant")]
        found.append(("/".join(str(part) for part in parts if part), str(descriptor["digest"])))
    return found


def platform_digest(index: Mapping[str, Any], platform: str, what: str = "the base image") -> str:
    """The digest of the manifest for `os/architecture[/variant]` in an image index. ImageError when it has none."""
    found = platforms(index)
    for name, digest in found:
        if name == platform or name.startswith(platform + "/"):
            return digest
    listed = ", ".join(name for name, digest in found)
    raise ImageError(f"{what} has no manifest for {platform}; it has {listed or 'none at all'}")


def _environment(base: Iterable[str], own: Mapping[str, str]) -> list[str]:
    merged = dict(item.partition("=")[::2] for item in base)
    merged.update(own)
    return [f"{name}={value}" for name, value in sorted(merged.items())]


def _base_layers(base: Base) -> list[dict[str, Any]]:
    layers = []
    for descriptor in base.manifest.get("layers", []):
        media_type = _LAYER_TYPES.get(descriptor["mediaType"])
        if media_type is None:
            raise ImageError(f"layer {descriptor['digest']} of the base is of type {descriptor['mediaType']}")
        layers.append({"mediaType": media_type, "digest": descriptor["digest"], "size": descriptor["size"]})
    return layers


def _config(base: Base, layers: Sequence[Blob], runtime: Runtime, platform: str) -> dict[str, Any]:
    config: dict[str, Any] = copy.deepcopy(dict(base.config))
    given = f"{config.get('os')}/{config.get('architecture')}"
    if given != "/".join(platform.split("/")[:2]):
        raise ImageError(f"the base image is for {given}, not for {platform}")
    settings: dict[str, Any] = dict(config.get("config") or {})
    # The base's entry point would run before ours.
    settings.pop("Entrypoint", None)
    settings.update(
        Cmd=list(runtime.command),
        Env=_environment(settings.get("Env") or [], runtime.environment),
        ExposedPorts={port: {} for port in runtime.ports},
        Labels={**(settings.get("Labels") or {}), **runtime.labels},
        StopSignal="SIGTERM",
        User=runtime.user,
        WorkingDir=runtime.working_dir,
    )
    if runtime.healthcheck:
        # Docker's field, ignored by ECS, which has its own in the task definition.
        second = 1_000_000_000
        settings["Healthcheck"] = {
            "Test": ["CMD", *runtime.healthcheck],
            "Interval": 10 * second,
            "Timeout": 5 * second,
            "StartPeriod": 10 * second,
            "Retries": 3,
        }
    rootfs = config.get("rootfs") or {}
    config["config"] = settings
    config["created"] = EPOCH
    config["rootfs"] = {"type": "layers", "diff_ids": [*rootfs.get("diff_ids", []), *(blob.digest for blob in layers)]}
    own = [{"created": EPOCH, "created_by": "papyrus.ops.ecr_image", "comment": blob.purpose} for blob in layers]
    config["history"] = [*(config.get("history") or []), *own]
    return config


def build(base: Base, layers: Sequence[Blob], runtime: Runtime, platform: str) -> Image:
    """The image of `layers` (in this order, uncompressed) on `base`. A pure function of its arguments."""
    base_layers = _base_layers(base)
    diff_ids = (base.config.get("rootfs") or {}).get("diff_ids", [])
    if len(diff_ids) != len(base_layers):
        raise ImageError(f"base {base.digest} has {len(base_layers)} layers and {len(diff_ids)} diff ids")
    config = Blob(canonical_json(_config(base, layers, runtime, platform)), CONFIG, "config")
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [*base_layers, *(blob.descriptor() for blob in layers)],
        "annotations": {"org.opencontainers.image.base.digest": base.digest},
    }
    return Image(tuple(layers), config, Blob(canonical_json(manifest), MANIFEST, "manifest"), tuple(base_layers))
