"""Blobs of the registry on disk: layers and configurations by their digests."""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class BlobStore:
    """Blobs by digest on disk, one set of links per repository (a layer is visible only where it was pushed)."""

    def __init__(self, folder: Path) -> None:
        self._blobs = folder / "blobs"
        self._links = folder / "repositories"
        self.uploads = folder / "uploads"
        for path in (self._blobs, self._links, self.uploads):
            path.mkdir(parents=True, exist_ok=True)
        # Uploads do not survive a restart: clients begin them anew.
        for left in self.uploads.iterdir():
            left.unlink()

    def path(self, repository: str, digest: str) -> Path | None:
        """The blob's file, None when the repository does not have it."""
        blob = self._blobs / digest.partition(":")[2]
        return blob if self._link(repository, digest).exists() and blob.exists() else None

    def has(self, repository: str, digest: str) -> bool:
        return self.path(repository, digest) is not None

    def add(self, repository: str, digest: str, file: Path) -> None:
        """Take over a finished file."""
        file.replace(self._blobs / digest.partition(":")[2])
        self.link(repository, digest)

    def add_bytes(self, repository: str, data: bytes) -> str:
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        scratch = self.uploads / str(uuid.uuid4())
        scratch.write_bytes(data)
        self.add(repository, digest, scratch)
        return digest

    def link(self, repository: str, digest: str) -> None:
        link = self._link(repository, digest)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.touch()

    def forget(self, repository: str) -> None:
        """The repository is gone: so are its links (the blobs stay, others may have them)."""
        folder = self._link(repository, "sha256:").parent
        for link in folder.glob("*"):
            link.unlink()

    def _link(self, repository: str, digest: str) -> Path:
        return self._links / repository.replace("/", "+") / (digest.partition(":")[2] or "_")
