"""The host's Python as a container image: a bare interpreter for tasks, and the base image that stands for it."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path

from sandbox import task_shim

REPOSITORY = "sandbox/host-python"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
NOTE = (
    f"Stands for the Python {VERSION} of the machine that the sandbox runs on. It holds no interpreter: "
    "the sandbox puts the host's on PATH. Not for use outside the sandbox."
)


def prepare(folder: Path) -> Path:
    """A folder for PATH with python and python3, of an environment without packages; made once."""
    shim = Path(task_shim.__file__).read_text()
    mark = folder / "ready"
    wanted = f"{sys.base_prefix} {sys.version} {hashlib.sha256(shim.encode()).hexdigest()}\n"
    if not mark.exists() or mark.read_text() != wanted or not (folder / "bin" / "python").exists():
        shutil.rmtree(folder, ignore_errors=True)
        base = Path(sys.base_prefix) / "bin" / f"python{VERSION}"
        interpreter = str(base) if base.exists() else sys.executable
        subprocess.run(
            [interpreter, "-I", "-m", "venv", "--without-pip", str(folder)],
            check=True,
            capture_output=True,
            env={"PATH": os.defpath},
        )
        site = folder / "lib" / f"python{VERSION}" / "site-packages"
        (site / "sandbox_task_shim.py").write_text(shim)
        # A .pth file is read even by `python -I`, and leaves the image its own sitecustomize.
        (site / "sandbox_task_shim.pth").write_text("import sandbox_task_shim\n")
        mark.write_text(wanted)
    return folder / "bin"


@dataclass(frozen=True)
class BaseImage:
    """Bytes of the image; the same on every machine with this version of Python."""

    manifest: bytes
    config: bytes
    layer: bytes

    @property
    def digest(self) -> str:
        return _digest(self.manifest)


def base_image() -> BaseImage:
    """One layer with a notice in it, and labels that say what the image stands for."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in (("etc", None), ("etc/sandbox-host-python", NOTE.encode() + b"\n")):
            entry = tarfile.TarInfo(name)
            entry.mode = 0o644 if content else 0o755
            entry.type = tarfile.REGTYPE if content else tarfile.DIRTYPE
            entry.size = len(content or b"")
            archive.addfile(entry, io.BytesIO(content or b""))
    plain = tar.getvalue()
    # Stored, not deflated: the bytes do not depend on the version of zlib.
    layer = gzip.compress(plain, compresslevel=0, mtime=0)
    labels = {
        "org.opencontainers.image.title": REPOSITORY,
        "org.opencontainers.image.version": VERSION,
        "org.opencontainers.image.description": NOTE,
        "ops.papyrus.sandbox.host-python": VERSION,
    }
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
            "Cmd": ["python3"],
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
        "history": [{"created_by": "papyrus.ops sandbox", "comment": NOTE}],
    }
    config_bytes = _json(config)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", config_bytes),
        "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
        "annotations": labels,
    }
    return BaseImage(_json(manifest), config_bytes, layer)


def _json(document: object) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _descriptor(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
