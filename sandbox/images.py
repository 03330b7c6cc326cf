"""Container images in the sandbox's registry: looked up by reference, unpacked once per digest."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from sandbox import emulator

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

REFERENCE = re.compile(
    r"^(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<repository>[a-z0-9._/-]+)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?$"
)
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"


class ImageError(Exception):
    """The image cannot be used; the message is what a container runtime would say."""


@dataclass(frozen=True)
class Unpacked:
    """An image's files and its configuration (the `config` object of the OCI image configuration)."""

    digest: str
    root: Path
    config: dict[str, Any]


class ImageStore:
    """Reads ECR's images. https://github.com/opencontainers/image-spec/blob/main/layer.md"""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._folder = runtime.settings.state / "images"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        for left in self._folder.glob("*.partial"):
            shutil.rmtree(left, ignore_errors=True)

    def digest(self, reference: str) -> str | None:
        """Digest of the manifest (or index) that a reference names, None when ECR has none such."""
        parts = REFERENCE.match(reference)
        if parts is None:
            return None
        found = self._manifest(parts, parts["digest"] or parts["tag"] or "latest")
        return found[0] if found else None

    def unpack(self, reference: str, files: bool = True) -> Unpacked:
        """The image's configuration, and its files, unpacked at the first call with `files`. Raises ImageError."""
        parts = REFERENCE.match(reference)
        if parts is None:
            raise ImageError(f"{reference}: not a reference of this account's ECR")
        found = self._manifest(parts, parts["digest"] or parts["tag"] or "latest")
        if found is None:
            raise ImageError(f"{reference}: not found")
        top, manifest = found
        if manifest.get("mediaType") in INDEX_TYPES or "manifests" in manifest:
            found = self._manifest(parts, _for_this_platform(reference, manifest))
            if found is None:
                raise ImageError(f"{reference}: the index names a manifest that is not in the repository")
            manifest = found[1]
        config_file = self._blob(parts["repository"], manifest["config"]["digest"])
        config: dict[str, Any] = json.loads(config_file.read_text()).get("config") or {}
        root = self._folder / found[0].partition(":")[2]
        with self._lock:
            if files and not root.is_dir():
                partial = root.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir()
                for layer in manifest["layers"]:
                    _extract(self._blob(parts["repository"], layer["digest"]), partial)
                partial.replace(root)
        return Unpacked(digest=top, root=root, config=config)

    def _manifest(self, parts: re.Match[str], reference: str) -> tuple[str, dict[str, Any]] | None:
        with emulator.request_scope(parts["account"], parts["region"]):
            digest, body, _ = emulator.service("ecr")._resolve_manifest(parts["repository"], reference)
        return None if digest is None else (digest, json.loads(body))

    def _blob(self, repository: str, digest: str) -> Path:
        file = self._runtime.registry.blobs.path(repository, digest)
        if file is None:
            raise ImageError(f"{repository}: layer {digest} is not in the repository")
        return file


def _for_this_platform(reference: str, index: dict[str, Any]) -> str:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    for entry in index["manifests"]:
        platform = entry.get("platform") or {}
        if platform.get("os", "linux") == "linux" and platform.get("architecture", machine) == machine:
            return str(entry["digest"])
    raise ImageError(f"image Manifest does not contain descriptor matching platform 'linux/{machine}': {reference}")


def _extract(layer: Path, root: Path) -> None:
    """Apply a layer: gzip, bzip2, xz or plain tar; nothing leaves `root`, devices and owners are left out."""
    with tarfile.open(layer, mode="r:*") as archive:
        for member in _members(archive, root):
            try:
                archive.extract(member, root, filter=_inside)
            except tarfile.FilterError as error:
                raise ImageError(f"failed to extract layer: {error}") from error


def _members(archive: tarfile.TarFile, root: Path) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        name = PurePosixPath(member.name)
        parent = root.joinpath(*[part for part in name.parent.parts if part not in ("/", "..")])
        if name.name == OPAQUE:
            for entry in parent.iterdir() if _within(parent, root) and parent.is_dir() else ():
                _remove(entry)
        elif name.name.startswith(WHITEOUT):
            if _within(parent, root):
                _remove(parent / name.name.removeprefix(WHITEOUT))
        elif not (member.ischr() or member.isblk() or member.isfifo()):
            yield member


def _inside(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
    # A link to /x means the image's /x: made relative, it stays inside wherever the image lies.
    if member.issym() and member.linkname.startswith("/"):
        depth = len([part for part in PurePosixPath(member.name).parent.parts if part not in ("/", ".")])
        member = member.replace(linkname="../" * depth + member.linkname.lstrip("/"), deep=False)
    elif member.islnk():
        member = member.replace(linkname=member.linkname.lstrip("/"), deep=False)
    return tarfile.data_filter(member, path)


def _within(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _remove(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        shutil.rmtree(path)
    else:
        path.unlink()
