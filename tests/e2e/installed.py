"""The collection as users get it: built, installed offline beside its declared dependencies, under some ansible-core.

`scripts/bootstrap dev` makes an environment of each requirements/ansible-*.txt: that ansible-core with what the
collection's own requirements name. Of the collections in the package ansible it finds only those that galaxy.yml names.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import harness

COLLECTION = harness.CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"
LOCKS = harness.CHECKOUT / "requirements"
VERSIONS = sorted(
    (path.stem.removeprefix("ansible-") for path in LOCKS.glob("ansible-*.txt")), key=lambda v: v.split(".")
)
NEWEST = VERSIONS[-1]


def galaxy() -> dict[str, Any]:
    """galaxy.yml of the checkout."""
    content: dict[str, Any] = yaml.safe_load((COLLECTION / "galaxy.yml").read_text("utf-8"))
    return content


@dataclass(frozen=True)
class Installed:
    """An ansible-core, the collections that it finds, and an empty folder to work in."""

    version: str
    collections: Path
    empty: Path

    @property
    def tools(self) -> Path:
        """Its commands."""
        return harness.CHECKOUT / ".sandbox" / f"ansible-{self.version}" / "bin"

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of what the caller's environment says about Ansible and AWS."""
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_", "PYTHON"))
        }
        return kept | {
            "HOME": str(self.empty),
            "ANSIBLE_HOME": str(self.empty / ".ansible"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "PATH": f"{self.tools}:/usr/bin:/bin",
            "PAPYRUS_SANDBOX_ROOT": str(harness.SANDBOX_ROOT),
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
        }

    def run(self, tool: str, *arguments: str | Path, succeeds: bool = True) -> str:
        """What one of its commands prints in the empty folder."""
        assert (self.tools / tool).is_file(), f"{self.tools} is not there: scripts/bootstrap dev makes it"
        done = subprocess.run(
            [str(self.tools / tool), *map(str, arguments)],
            cwd=self.empty,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        assert (done.returncode == 0) == succeeds, f"{tool} {arguments}: {done.stdout[-6000:]}"
        return done.stdout

    def document(self, kind: str, *names: str) -> dict[str, Any]:
        """What ansible-doc says of plugins of one kind, of all of the collection without names."""
        listed = ["--list", "papyrus.ops"] if not names else list(names)
        said: dict[str, Any] = json.loads(self.run("ansible-doc", "--type", kind, "--json", *listed))
        return said


def dependencies() -> dict[str, Path]:
    """Folders of the collections that galaxy.yml names, and of those that these name: the package ansible has them."""
    here = Path(str(distribution("ansible").locate_file("ansible_collections")))
    wanted, found = list(galaxy()["dependencies"]), dict[str, Path]()
    while wanted:
        name = wanted.pop()
        found[name] = here / name.replace(".", "/")
        wanted += json.loads((found[name] / "MANIFEST.json").read_bytes())["collection_info"]["dependencies"]
    return found


def build(made: Installed, source: Path, folder: Path) -> Path:
    """The tarball of a collection's source."""
    made.run("ansible-galaxy", "collection", "build", source, "--output-path", folder)
    (tarball,) = folder.glob("papyrus-ops-*.tar.gz")
    return tarball


def install(folder: Path, version: str = NEWEST, tarball: Path | None = None, source: Path = COLLECTION) -> Installed:
    """Installs the tarball, or builds it of source; it finds its dependencies there and asks no server for them."""
    made = Installed(version, folder / "collections", folder / "empty")
    made.empty.mkdir(parents=True, mode=0o700)
    for name, path in dependencies().items():
        link = made.collections / "ansible_collections" / name.replace(".", "/")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path)
    tarball = tarball or build(made, source, folder)
    made.run("ansible-galaxy", "collection", "install", tarball, "--offline", "--collections-path", made.collections)
    return made


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """One worker at a time."""
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def shared(factory: pytest.TempPathFactory, version: str, empty: Path) -> Installed:
    """The checkout's collection under that ansible-core, once for all workers; `empty` is the caller's own folder."""
    base = factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "installed"
    home.mkdir(exist_ok=True)
    with locked(home / "lock"):
        built = home / "built"
        if not built.is_dir():
            build(Installed(NEWEST, home, home), COLLECTION, built)
        if not (home / version / "done").exists():
            (tarball,) = built.glob("*.tar.gz")
            install(home / version, version, tarball)
            (home / version / "done").touch()
    empty.mkdir(mode=0o700)
    return Installed(version, home / version / "collections", empty)
