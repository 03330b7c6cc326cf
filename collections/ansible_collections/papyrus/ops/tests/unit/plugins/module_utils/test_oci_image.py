# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Layers, configuration and manifest: reproducible, complete, nothing of this machine in them (F1)."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import _oci_image as oci

DIGEST = "sha256:" + "0" * 64
KNOWN = "sha256:aedfbfafda881e2c80ea7f0b502253f1aca58011e5938cac01542fbf9d006421"
RUNTIME = oci.Runtime(
    command=["python", "-m", "app"],
    environment={"PYTHONPATH": "/app"},
    healthcheck=["python", "-m", "health"],
    labels={"org.opencontainers.image.revision": "abc"},
)


def base(**config: Any) -> oci.Base:
    settings = {
        "Env": ["PATH=/bin", "PYTHONPATH=/old"],
        "Entrypoint": ["/entry"],
        "Labels": {"of": "base"},
        "User": "0",
    }
    given = {
        "os": "linux",
        "architecture": "amd64",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "1" * 64]},
        "history": [{"created_by": "base"}],
        **config,
    }
    layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "digest": DIGEST, "size": 7}
    return oci.Base(DIGEST, {"layers": [layer]}, given)


def members(blob: oci.Blob) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(blob.data)) as tar:
        return tar.getmembers()


def test_f1_a_layer_is_sorted_and_has_fixed_owners_times_and_modes() -> None:
    long = "app/" + "d" * 120 + "/ü.py"
    blob = oci.layer({"app/z.py": oci.Entry(b"z"), long: oci.Entry(b"u"), "app/run": oci.Entry(b"r", True)}, "app")
    found = members(blob)
    assert [member.name for member in found] == ["app", "app/" + "d" * 120, long, "app/run", "app/z.py"]
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in found} == {
        (0, 0, 0, "", "")
    }
    assert [member.mode for member in found] == [0o755, 0o755, 0o644, 0o755, 0o644]


def test_f1_the_order_of_the_entries_does_not_count() -> None:
    entries = {f"app/{name}.py": oci.Entry(name.encode()) for name in "abc"}
    assert oci.layer(entries, "").digest == oci.layer(dict(reversed(entries.items())), "").digest


def test_f1_a_known_layer_has_a_known_digest() -> None:
    # Made once and kept: an interpreter that writes other tar bytes shows here.
    blob = oci.layer({"app/a.py": oci.Entry(b"print(1)\n"), "app/bin/x": oci.Entry(b"#!/bin/sh\n", True)}, "app")
    assert (len(blob.data), blob.digest) == (10240, KNOWN)


@pytest.mark.parametrize("name", ["/etc/passwd", "app/../../etc/passwd", "", "a\\b"])
def test_f1_no_entry_leaves_the_image(name: str) -> None:
    with pytest.raises(oci.ImageError, match="no path inside an image"):
        oci.layer({name: oci.Entry(b"")}, "")


def test_f1_a_file_is_not_also_a_folder() -> None:
    with pytest.raises(oci.ImageError, match="a file and a folder"):
        oci.layer({"app": oci.Entry(b""), "app/x": oci.Entry(b"")}, "")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    package = tmp_path / "source" / "papyrus"
    (package / "__pycache__").mkdir(parents=True)
    (package / "__pycache__" / "x.cpython-313.pyc").write_bytes(b"compiled")
    for name in ("__init__.py", "db.py", ".hidden"):
        (package / name).write_text(name)
    (tmp_path / "source" / "tests").mkdir()
    (tmp_path / "source" / "tests" / "test_x.py").write_text("")
    for name in ("gunicorn.conf.py", "init.sql", "README.md", "Dockerfile", "requirements.txt"):
        (tmp_path / "source" / name).write_text(name)
    return tmp_path / "source"


def test_f1_packages_python_and_sql_files_go_in_and_nothing_else(source: Path) -> None:
    assert oci.default_paths(source) == ["gunicorn.conf.py", "init.sql", "papyrus"]
    entries = oci.source_entries(source, oci.default_paths(source), "app")
    assert sorted(entries) == [
        *("app/gunicorn.conf.py", "app/init.sql", "app/papyrus/__init__.py", "app/papyrus/db.py")
    ]


def test_f1_modes_of_the_checkout_do_not_count(source: Path) -> None:
    before = oci.layer(oci.source_entries(source, ["papyrus"], "app"), "").digest
    (source / "papyrus" / "db.py").chmod(0o700)
    os.utime(source / "papyrus" / "db.py", (1, 1))
    assert oci.layer(oci.source_entries(source, ["papyrus"], "app"), "").digest == before
    (source / "papyrus" / "db.py").write_text("changed")
    assert oci.layer(oci.source_entries(source, ["papyrus"], "app"), "").digest != before


def test_f1_symbolic_links_and_missing_files_are_named(source: Path) -> None:
    with pytest.raises(oci.ImageError, match=r"nothing\.py does not exist"):
        oci.source_entries(source, ["nothing.py"], "app")
    (source / "papyrus" / "link.py").symlink_to("db.py")
    with pytest.raises(oci.ImageError, match=r"link\.py is a symbolic link"):
        oci.source_entries(source, ["papyrus"], "app")


def test_f1_the_configuration_says_what_runs_and_keeps_what_the_base_says() -> None:
    layer = oci.layer({"app/a": oci.Entry(b"a")}, "app")
    image = oci.build(base(), [layer], RUNTIME, "linux/amd64")
    config = json.loads(image.config.data)
    assert config["config"] == {
        "Cmd": ["python", "-m", "app"],
        "Env": ["PATH=/bin", "PYTHONPATH=/app"],
        "ExposedPorts": {"5000/tcp": {}},
        "Healthcheck": {
            "Test": ["CMD", "python", "-m", "health"],
            **{"Interval": 10**10, "Timeout": 5 * 10**9, "StartPeriod": 10**10, "Retries": 3},
        },
        "Labels": {"of": "base", "org.opencontainers.image.revision": "abc"},
        "StopSignal": "SIGTERM",
        "User": "10001",
        "WorkingDir": "/app",
    }
    assert config["rootfs"]["diff_ids"] == ["sha256:" + "1" * 64, layer.digest]
    assert [item["created_by"] for item in config["history"]] == ["base", "papyrus.ops.ecr_image"]
    assert config["created"] == "1970-01-01T00:00:00Z"


def test_f1_the_manifest_is_oci_whatever_the_base_is() -> None:
    layer = oci.layer({"app/a": oci.Entry(b"a")}, "app")
    image = oci.build(base(), [layer], RUNTIME, "linux/amd64")
    manifest = json.loads(image.manifest.data)
    assert manifest["mediaType"] == image.manifest.media_type == oci.MANIFEST
    assert [part["mediaType"] for part in manifest["layers"]] == [oci.LAYER + "+gzip", oci.LAYER]
    assert manifest["layers"][1] == {"mediaType": oci.LAYER, "digest": layer.digest, "size": len(layer.data)}
    assert manifest["config"]["digest"] == image.config.digest
    assert manifest["annotations"] == {"org.opencontainers.image.base.digest": DIGEST}


def test_f1_each_input_changes_the_digest() -> None:
    layer = oci.layer({"app/a": oci.Entry(b"a")}, "app")
    other = oci.layer({"app/a": oci.Entry(b"b")}, "app")
    builds = [
        oci.build(base(), [layer], RUNTIME, "linux/amd64"),
        oci.build(base(), [other], RUNTIME, "linux/amd64"),
        oci.build(base(), [layer], oci.Runtime(command=["x"], environment={}), "linux/amd64"),
        oci.build(base(author="else"), [layer], RUNTIME, "linux/amd64"),
    ]
    assert len({image.digest for image in builds}) == 4
    assert oci.build(base(), [layer], RUNTIME, "linux/amd64").digest == builds[0].digest


def test_f1_a_base_for_another_platform_is_refused() -> None:
    with pytest.raises(oci.ImageError, match="for linux/amd64, not for linux/arm64"):
        oci.build(base(), [], RUNTIME, "linux/arm64")


def test_f1_an_index_is_resolved_to_the_platform() -> None:
    index = {
        "manifests": [
            {"digest": "sha256:arm", "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"}},
            {"digest": "sha256:amd", "platform": {"os": "linux", "architecture": "amd64"}},
            {"digest": "sha256:att", "platform": {"os": "unknown", "architecture": "unknown"}},
        ]
    }
    assert oci.platform_digest(index, "linux/amd64") == "sha256:amd"
    assert oci.platform_digest(index, "linux/arm64") == "sha256:arm"
    with pytest.raises(oci.ImageError, match="no manifest for linux/s390x; it has linux/arm64/v8, linux/amd64"):
        oci.platform_digest(index, "linux/s390x")
