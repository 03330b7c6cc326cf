# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wheels of a hashed lock for another platform: chosen, downloaded by pip, verified, unpacked."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ._oci_image import Entry, ImageError

try:
    from packaging.requirements import InvalidRequirement, Requirement

    PACKAGING_IMPORT_ERROR: ImportError | None = None
except ImportError as exc:  # modules report it with missing_required_lib
    PACKAGING_IMPORT_ERROR = exc

Runner = Callable[[Sequence[str]], tuple[int, str, str]]
"""Runs a command: exit code, stdout, stderr as text. OSError when it cannot be started."""

# Oldest glibc first: https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/
# 2.28 is Debian 10's; slim Python images are newer.
_GLIBC = ("2_5", "2_12", "2_17", "2_24", "2_26", "2_27", "2_28")
_LEGACY = {"2_5": "manylinux1", "2_12": "manylinux2010", "2_17": "manylinux2014"}
_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_LEFT_OUT = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "RECORD.jws", "RECORD.p7s"}


@dataclass(frozen=True)
class Locked:
    """One requirement of the lock that counts on the target, and the sha256 sums which it may have."""

    requirement: str
    hashes: frozenset[str]

    def line(self) -> str:
        return " ".join([self.requirement, *(f"--hash=sha256:{value}" for value in sorted(self.hashes))])


@dataclass(frozen=True)
class Target:
    """The CPython (`3.13`) and platform (`linux/amd64`) that the image has, whatever runs here."""

    python: str
    platform: str

    def __post_init__(self) -> None:
        if self.platform not in _MACHINES:
            raise ImageError(f"platform {self.platform!r} is not one of {', '.join(sorted(_MACHINES))}")
        if not re.fullmatch(r"3\.\d{1,2}", self.python):
            raise ImageError(f"python {self.python!r} is not a version such as 3.13")

    @property
    def machine(self) -> str:
        return _MACHINES[self.platform]

    def marker_environment(self) -> dict[str, str]:
        """https://packaging.python.org/en/latest/specifications/dependency-specifiers/#environment-markers"""
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python}.0",
            "python_version": self.python,
            "sys_platform": "linux",
            "extra": "",
        }

    def pip_options(self) -> list[str]:
        tag = "cp" + self.python.replace(".", "")
        options = ["--implementation", "cp", "--python-version", self.python]
        for abi in (tag, "abi3", "none"):
            options += ["--abi", abi]
        for glibc in reversed(_GLIBC):
            options += ["--platform", f"manylinux_{glibc}_{self.machine}"]
            if glibc in _LEGACY:
                options += ["--platform", f"{_LEGACY[glibc]}_{self.machine}"]
        return options


def read_lock(text: str, target: Target) -> list[Locked]:
    """The requirements of a pip lock (`name==version ; marker --hash=…`) whose markers hold on the target.

    pip itself would judge the markers by the machine it runs on. ImageError for a line without pin or hash.
    """
    locked = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if not line:
            continue
        if line.startswith("-"):
            raise ImageError(
                f"the lock has the option {line.split()[0]}; only pinned requirements with hashes may be in it"
            )
        hashes = frozenset(_HASH.findall(line))
        specification = _HASH.sub("", line).strip()
        try:
            requirement = Requirement(specification)
        except InvalidRequirement as exc:
            raise ImageError(f"the lock has a line that is no requirement: {specification[:80]!r}") from exc
        pins = [pin for pin in requirement.specifier if pin.operator == "==" and "*" not in pin.version]
        if len(pins) != 1 or len(requirement.specifier) != 1 or not hashes:
            raise ImageError(f"{requirement.name} is not pinned by == with a sha256 hash in the lock")
        if requirement.marker is None or requirement.marker.evaluate(target.marker_environment()):
            locked.append(Locked(f"{requirement.name}=={pins[0].version}", hashes))
    if not locked:
        raise ImageError("the lock has no requirement for the target")
    return sorted(locked, key=lambda item: item.requirement.lower())


def find(folder: Path, locked: Iterable[Locked]) -> list[Path] | None:
    """One wheel for each requirement, chosen by hash, or None when one is missing."""
    by_hash = {hashlib.sha256(path.read_bytes()).hexdigest(): path for path in sorted(folder.glob("*.whl"))}
    wheels = []
    for item in locked:
        path = next((by_hash[value] for value in sorted(item.hashes) if value in by_hash), None)
        if path is None:
            return None
        wheels.append(path)
    return wheels


def download(locked: Sequence[Locked], target: Target, cache: Path, pip: Sequence[str], runner: Runner) -> list[Path]:
    """Wheels for the target in a folder of `cache` named by what was asked for; pip runs when it is not there.

    Every file is verified against the lock here as well, so a cache that was tampered with is not used.
    """
    lines = "\n".join(item.line() for item in locked) + "\n"
    asked = "\0".join([target.python, target.platform, lines])
    folder = cache / hashlib.sha256(asked.encode()).hexdigest()
    if (wheels := find(folder, locked)) is not None:
        return wheels
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="wheels-") as scratch:
        lock = Path(scratch) / "lock.txt"
        lock.write_text(lines, encoding="utf-8")
        fresh = Path(scratch) / "wheels"
        command = [*pip, "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
        command += ["--timeout", "20", "--retries", "3"]
        command += ["--require-hashes", "--only-binary", ":all:", *target.pip_options()]
        command += ["--dest", str(fresh), "--requirement", str(lock)]
        try:
            code, stdout, stderr = runner(command)
        except OSError as exc:
            raise ImageError(f"pip could not be run ({pip[0]}): {exc}") from exc
        if code != 0:
            said = " ".join((stderr or stdout).split())[-800:]
            no_pip = "No module named pip" in said
            hint = " Install pip for this Python, or name another command by the option pip." if no_pip else ""
            raise ImageError(
                f"pip download for CPython {target.python} on {target.platform} ended with {code}: {said}{hint}"
            )
        wheels = find(fresh, locked)
        if wheels is None:
            raise ImageError("pip downloaded files which are not those of the lock")
        try:
            fresh.rename(folder)
        except OSError:  # another run was faster, or what lies there is not complete
            if (there := find(folder, locked)) is not None:
                return there
            shutil.rmtree(folder)
            fresh.rename(folder)
    return [folder / path.name for path in wheels]


def _destination(path: PurePosixPath) -> PurePosixPath | None:
    """Where a member of a wheel goes in site-packages; None for what an image does not need.

    https://packaging.python.org/en/latest/specifications/binary-distribution-format/
    """
    if path.suffix in {".pyc", ".pyo"} or "__pycache__" in path.parts:
        return None
    if path.parts[0].endswith(".dist-info") and path.name in _LEFT_OUT and len(path.parts) == 2:
        return None
    if path.parts[0].endswith(".data"):
        if len(path.parts) < 3 or path.parts[1] not in {"purelib", "platlib"}:
            return None
        return PurePosixPath(*path.parts[2:])
    return path


def unpack(wheels: Iterable[Path], prefix: str) -> dict[str, Entry]:
    """Files of the wheels below `prefix`. What an installer would write about this machine is left out."""
    entries: dict[str, Entry] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                path = PurePosixPath(member.filename)
                if member.is_dir():
                    continue
                if path.is_absolute() or ".." in path.parts or not path.parts:
                    raise ImageError(f"{wheel.name} has a member {member.filename!r} outside itself")
                if (destination := _destination(path)) is None:
                    continue
                entry = Entry(archive.read(member), bool(member.external_attr >> 16 & 0o111))
                name = str(PurePosixPath(prefix) / destination)
                if entries.get(name, entry).data != entry.data:
                    raise ImageError(f"two wheels bring a different {destination}; the second is {wheel.name}")
                entries[name] = entry
    return entries


PIP = (
    r"PIP_[A-Z_]+|XDG_[A-Z_]+|NETRC|PYTHON[A-Z]+|SSL_CERT_FILE|SSL_CERT_DIR|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|(?i:https?_proxy|no_proxy|all_proxy)"
)
"""Names of what pip needs of the environment, beside what every program does."""


def default_cache() -> Path:
    """`papyrus-ops/wheels` in the user's cache folder (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "papyrus-ops" / "wheels"
