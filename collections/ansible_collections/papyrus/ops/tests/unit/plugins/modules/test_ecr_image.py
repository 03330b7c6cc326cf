# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module as Ansible runs it, against a registry and ECR on loopback: requests, results, failures (F1)."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.papyrus.ops.plugins.module_utils import _registry, _wheels
from ansible_collections.papyrus.ops.plugins.module_utils._oci_image import ImageError
from ansible_collections.papyrus.ops.plugins.modules import ecr_image
from ansible_collections.papyrus.ops.tests.unit.plugins.module_utils.registry_server import (
    HOST,
    RegistryServer,
    Repository,
    base_image,
)

# Stands in for pip: puts the wheels which lie beside it where --dest says, and keeps how it was called.
FAKE_PIP = """
import json, os, pathlib, shutil, sys
here = pathlib.Path(__file__).parent
(here / "environment").write_text(json.dumps(dict(os.environ)))
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
destination = pathlib.Path(sys.argv[sys.argv.index("--dest") + 1])
destination.mkdir()
for wheel in here.glob("*.whl"):
    shutil.copy(wheel, destination)
"""


def wheel(folder: Path, name: str, files: dict[str, str], tag: str = "py3-none-any") -> str:
    """A wheel and its line in a lock."""
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
    return f"{name}==1.0 --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Inputs:
    """An app folder, a lock with two wheels, a CA and a pip, all in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.source = folder / "app"
        (self.source / "papyrus").mkdir(parents=True)
        (self.source / "papyrus" / "__init__.py").write_text("")
        (self.source / "gunicorn.conf.py").write_text("workers = 2\n")
        (self.source / "init.sql").write_text("SELECT 1;\n")
        pip = folder / "pip"
        pip.mkdir()
        (pip / "fake_pip.py").write_text(FAKE_PIP)
        metadata = {"one-1.0.dist-info/METADATA": "Name: one", "one-1.0.dist-info/RECORD": "noise"}
        lines = wheel(pip, "one", {"one/__init__.py": "", "one/x.pyc": "", **metadata})
        lines += wheel(pip, "two", {"two.py": "", "two-1.0.data/platlib/two.so": "", "two-1.0.data/scripts/two": ""})
        (folder / "lock.txt").write_text(
            "# made by hand\n" + lines + "three==1.0 ; python_version < '3.13' --hash=sha256:" + "0" * 64 + "\n"
        )
        (folder / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")

    def arguments(self, base: str, **more: Any) -> dict[str, Any]:
        return {
            "repository": "papyrus",
            "source": str(self.source),
            "lock": str(self.folder / "lock.txt"),
            "base": f"{HOST}/base/python@{base}",
            "ca_file": str(self.folder / "ca.pem"),
            "cache": str(self.folder / "cache"),
            "pip": [sys.executable, str(self.folder / "pip" / "fake_pip.py")],
            "region": "us-west-2",
            "access_key": "test",
            "secret_key": "test",
            **more,
        }

    def pip_calls(self) -> list[list[str]]:
        calls = self.folder / "pip" / "calls"
        return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RegistryServer]:
    running = RegistryServer()
    running.repositories["papyrus"] = Repository()
    monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
    # The base's reference names ECR's host, as in production; its endpoint is the server.
    yield running
    running.close()


@pytest.fixture
def inputs(tmp_path: Path) -> Inputs:
    return Inputs(tmp_path / "inputs")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def call(arguments: dict[str, Any], **internal: bool) -> dict[str, Any]:
        arguments = {**arguments, **{f"_ansible_{name}": value for name, value in internal.items()}}
        with patch_module_args(arguments), pytest.raises(SystemExit):
            ecr_image.main()
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return call


Run = Callable[..., dict[str, Any]]


def files(server: RegistryServer, digest: str) -> list[str]:
    """Names of all files in the image's own layers, as stored in the registry."""
    repository = server.repositories["papyrus"]
    manifest = json.loads(repository.manifests[digest][0])
    names: list[str] = []
    for descriptor in manifest["layers"][1:]:
        with tarfile.open(fileobj=io.BytesIO(repository.blobs[descriptor["digest"]])) as tar:
            names += [member.name for member in tar.getmembers() if member.isfile()]
    return names


def test_f1_the_first_run_pushes_and_reads_the_digest_back(server: RegistryServer, inputs: Inputs, run: Run) -> None:
    result = run(inputs.arguments(base_image(server), tag="v1"))
    assert (result["changed"], result["pushed"], len(result["pushed_blobs"])) == (True, True, 4)
    assert result["image"] == f"{HOST}/papyrus@{result['digest']}"
    assert server.repositories["papyrus"].tags == {"v1": result["digest"]}
    assert [layer["purpose"] for layer in result["layers"]] == ["base", "dependencies", "app"]
    assert files(server, result["digest"]) == [
        *("app/site-packages/one-1.0.dist-info/METADATA", "app/site-packages/one/__init__.py"),
        *("app/site-packages/two.py", "app/site-packages/two.so"),
        *("app/gunicorn.conf.py", "app/init.sql", "app/papyrus/__init__.py", "app/rds-ca.pem"),
    ]
    assert server.requests[-2:] == [("HEAD", "/v2/papyrus/manifests/v1"), ("ECR", "DescribeImages")]


def test_f1_the_second_run_changes_and_sends_nothing(server: RegistryServer, inputs: Inputs, run: Run) -> None:
    arguments = inputs.arguments(base_image(server), tag="v1")
    first = run(arguments)
    server.requests.clear()
    second = run(arguments)
    assert (second["changed"], second["pushed"], second["digest"]) == (False, False, first["digest"])
    assert server.writes() == []
    assert len(inputs.pip_calls()) == 1


def test_f1_check_mode_predicts_the_digest_and_writes_nothing(server: RegistryServer, inputs: Inputs, run: Run) -> None:
    arguments = inputs.arguments(base_image(server), tag="v1")
    predicted = run(arguments, check_mode=True, diff=True)
    assert (predicted["changed"], predicted["pushed"], predicted["tags"]) == (True, True, ["v1"])
    assert predicted["diff"]["before"] == {"repository": "papyrus", "tag": "v1", "digest": None}
    assert predicted["diff"]["after"]["digest"] == predicted["digest"]
    assert server.writes() == []
    assert run(arguments)["digest"] == predicted["digest"]


def test_f1_without_a_tag_one_is_made_from_the_digest(server: RegistryServer, inputs: Inputs, run: Run) -> None:
    result = run(inputs.arguments(base_image(server)))
    assert result["tag"] == "sha256-" + result["digest"][7:23]
    assert server.repositories["papyrus"].tags == {result["tag"]: result["digest"]}


def test_f1_an_image_that_is_there_is_only_tagged(server: RegistryServer, inputs: Inputs, run: Run) -> None:
    base = base_image(server)
    run(inputs.arguments(base, tag="v1"))
    server.requests.clear()
    result = run(inputs.arguments(base, tag="v2"))
    assert (result["changed"], result["pushed"], result["tags"]) == (True, False, ["v1", "v2"])
    assert server.writes() == [("PUT", "/v2/papyrus/manifests/v2")]


def test_f1_an_immutable_tag_is_refused_before_anything_is_pushed(
    server: RegistryServer, inputs: Inputs, run: Run
) -> None:
    base = base_image(server)
    old = run(inputs.arguments(base, tag="v1"))["digest"]
    server.repositories["papyrus"].mutability = "IMMUTABLE"
    (inputs.source / "init.sql").write_text("SELECT 2;\n")
    server.requests.clear()
    for check_mode in (True, False):
        result = run(inputs.arguments(base, tag="v1"), check_mode=check_mode)
        assert result["failed"] is True
        assert f"tag v1 of papyrus is immutable and names {old}" in result["msg"]
    assert server.writes() == []


def test_f1_folder_umask_time_zone_and_order_do_not_count(
    server: RegistryServer, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = base_image(server)
    digests = []
    for name, mask, zone in (("a", 0o022, "UTC"), ("b/c", 0o077, "Asia/Tokyo")):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        before = os.umask(mask)
        try:
            made = Inputs(tmp_path / name)
            lines = (made.folder / "lock.txt").read_text().splitlines(keepends=True)
            if mask == 0o077:
                shutil.copytree(tmp_path / "a" / "pip", made.folder / "pip", dirs_exist_ok=True)
                lines = list(reversed((tmp_path / "a" / "lock.txt").read_text().splitlines(keepends=True)))
            (made.folder / "lock.txt").write_text("".join(lines))
        finally:
            os.umask(before)
        digests.append(run(made.arguments(base), check_mode=True)["digest"])
    monkeypatch.undo()
    time.tzset()
    assert digests[0] == digests[1]


@pytest.mark.parametrize("changed", ["app/papyrus/__init__.py", "ca.pem"])
def test_f1_one_changed_byte_gives_another_digest(
    server: RegistryServer, inputs: Inputs, run: Run, changed: str
) -> None:
    arguments = inputs.arguments(base_image(server))
    before = run(arguments, check_mode=True)["digest"]
    path = inputs.folder / changed
    path.write_text(path.read_text() + "#")
    assert run(arguments, check_mode=True)["digest"] != before


def test_f1_wheels_are_asked_for_the_target_with_hashes(server: RegistryServer, inputs: Inputs, run: Run) -> None:
    run(inputs.arguments(base_image(server), python="3.14"), check_mode=True)
    (call,) = inputs.pip_calls()
    assert call[0] == "download"
    assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(call)
    options = list(zip(call, call[1:], strict=False))
    for wanted in (("--python-version", "3.14"), ("--abi", "cp314"), ("--platform", "manylinux2014_x86_64")):
        assert wanted in options


def test_H2_pip_gets_its_own_settings_and_no_credentials(
    server: RegistryServer, inputs: Inputs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = {
        "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_SESSION_TOKEN": "t0ken",
        "GITHUB_TOKEN": "ghp",
        "DB_PASSWORD": "pw",
    }
    own = {"PIP_INDEX_URL": "https://mirror.example/simple", "https_proxy": "http://proxy.example:3128", "LC_ALL": "C"}
    for name, value in {**secret, **own}.items():
        monkeypatch.setenv(name, value)
    run(inputs.arguments(base_image(server)), check_mode=True)
    told = json.loads((inputs.folder / "pip" / "environment").read_text())
    assert told.items() >= own.items() and "PATH" in told
    assert not {name for name in told if name.startswith("AWS_")} | (told.keys() & secret)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"repository": "nothing"}, "DescribeRepositories on nothing failed: RepositoryNotFoundException"),
        ({"base": "python:3.13"}, "is not an image by digest"),
        ({"base": "999999999999.dkr.ecr.us-west-2.amazonaws.com/x@sha256:" + "0" * 64}, "lies in another registry"),
        ({"base": f"{HOST}/base/python@sha256:" + "0" * 64}, "Does the repository exist, and does it hold this image?"),
        ({"platform": "linux/arm64"}, "the base image is for linux/amd64, not for linux/arm64"),
        ({"lock": "/nowhere/lock.txt"}, "an input of the image cannot be read"),
        ({"source": "/nowhere"}, "the app's folder /nowhere does not exist"),
        ({"pip": ["/nowhere/pip"]}, "pip could not be run (/nowhere/pip)"),
        ({"python": "three"}, "is not a version such as 3.13"),
    ],
)
def test_f1_each_fault_of_an_input_is_one_clear_line(
    server: RegistryServer, inputs: Inputs, run: Run, change: dict[str, Any], message: str
) -> None:
    result = run({**inputs.arguments(base_image(server)), **change})
    assert result["failed"] is True
    assert message in result["msg"]
    assert "Traceback" not in json.dumps(result)
    assert server.writes() == []


def test_f1_a_ca_file_without_a_certificate_is_refused(server: RegistryServer, inputs: Inputs, run: Run) -> None:
    (inputs.folder / "ca.pem").write_text("<html>not found</html>")
    result = run(inputs.arguments(base_image(server)))
    assert "has no PEM certificate" in result["msg"]


def test_f1_a_missing_library_is_named(
    server: RegistryServer, inputs: Inputs, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_registry, "ORAS_IMPORT_ERROR", ImportError("no oras here"))
    assert "Failed to import the required Python library (oras)" in run(inputs.arguments(base_image(server)))["msg"]


TARGET = _wheels.Target("3.13", "linux/amd64")


def started(command: Sequence[str]) -> tuple[int, str, str]:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.returncode, result.stdout, result.stderr


SUM = "--hash=sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flask==3.1.3\n", "flask is not pinned by == with a sha256 hash"),
        (f"flask>=3 {SUM}\n", "flask is not pinned"),
        (f"flask==3.* {SUM}\n", "flask is not pinned"),
        (f"--index-url https://example.test\nflask==3.1 {SUM}\n", "the option --index-url"),
        (f"not a requirement {SUM}\n", "no requirement: 'not a requirement'"),
        ("# nothing\n", "no requirement for the target"),
    ],
)
def test_f1_a_lock_that_leaves_anything_open_is_refused(text: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        _wheels.read_lock(text, TARGET)


def test_f1_markers_are_judged_for_the_image_not_for_this_machine() -> None:
    text = (
        f"a==1 ; sys_platform == 'win32' \\\n    {SUM}\n"
        f"b==1 ; python_full_version < '3.13' \\\n    {SUM}\n    # via x\n"
        f"c==1 ; platform_machine == 'aarch64' {SUM}\n"
    )
    arm = _wheels.read_lock(text, _wheels.Target("3.12", "linux/arm64"))
    assert [item.requirement for item in arm] == ["b==1", "c==1"]
    with pytest.raises(ImageError, match="no requirement for the target"):
        _wheels.read_lock(text, TARGET)


def test_f1_a_cache_that_was_tampered_with_is_not_used(inputs: Inputs, tmp_path: Path) -> None:
    locked = _wheels.read_lock((inputs.folder / "lock.txt").read_text(), TARGET)
    pip = [sys.executable, str(inputs.folder / "pip" / "fake_pip.py")]
    wheels = _wheels.download(locked, TARGET, tmp_path / "cache", pip, started)
    wheels[0].write_bytes(b"something else")
    again = _wheels.download(locked, TARGET, tmp_path / "cache", pip, started)
    assert len(inputs.pip_calls()) == 2
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in again} == {
        value for item in locked for value in item.hashes
    }


def test_f1_a_python_without_pip_gets_a_hint(inputs: Inputs, tmp_path: Path) -> None:
    locked = _wheels.read_lock((inputs.folder / "lock.txt").read_text(), TARGET)

    def runner(command: Sequence[str]) -> tuple[int, str, str]:
        return 1, "", "/usr/bin/python: No module named pip\n"

    with pytest.raises(ImageError, match=r"on linux/amd64 ended with 1: .* No module named pip Install pip"):
        _wheels.download(locked, TARGET, tmp_path / "cache", ["python", "-m", "pip"], runner)


def test_f1_pip_that_brings_other_files_is_not_believed(inputs: Inputs, tmp_path: Path) -> None:
    locked = [_wheels.Locked("one==1.0", frozenset({"f" * 64}))]
    pip = [sys.executable, str(inputs.folder / "pip" / "fake_pip.py")]
    with pytest.raises(ImageError, match="not those of the lock"):
        _wheels.download(locked, TARGET, tmp_path / "cache", pip, started)


def test_f1_two_wheels_with_the_same_file_are_refused(tmp_path: Path) -> None:
    wheel(tmp_path, "one", {"shared.py": "1"})
    wheel(tmp_path, "two", {"shared.py": "2"})
    with pytest.raises(ImageError, match=r"two wheels bring a different shared\.py; the second is two-1\.0"):
        _wheels.unpack(sorted(tmp_path.glob("*.whl")), "app")
