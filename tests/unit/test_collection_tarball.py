"""The collection as users get it: the tarball, and its playbook. Its modules: tests/e2e/test_installed.py."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"
TOOLS = Path(sys.prefix) / "bin"
# Made by the build, and the one that the build reads and leaves out.
MADE, READ = {"MANIFEST.json", "FILES.json"}, {"galaxy.yml"}


def ansible(tool: str, *arguments: str | Path, cwd: Path, collections: Path | None = None) -> str:
    """Standard output of one of Ansible's commands, without anything that the environment says about Ansible."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment |= {"HOME": str(cwd), "ANSIBLE_HOME": str(cwd / ".ansible"), "PATH": f"{TOOLS}:{os.environ['PATH']}"}
    environment |= {"LC_ALL": "C.UTF-8", "NO_COLOR": "1"}
    if collections is not None:
        environment["ANSIBLE_COLLECTIONS_PATH"] = str(collections)
    command = [str(TOOLS / tool), *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, f"{tool} {arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


@dataclass(frozen=True)
class Installed:
    """The tarball, the folder that it was installed below, and an empty one to work in."""

    tarball: Path
    collections: Path
    empty: Path

    @property
    def folder(self) -> Path:
        return self.collections / "ansible_collections" / "papyrus" / "ops"

    def members(self) -> list[tarfile.TarInfo]:
        with tarfile.open(self.tarball) as archive:
            return archive.getmembers()

    def play(self, *arguments: str) -> str:
        """What ansible-playbook prints in the empty folder."""
        return ansible("ansible-playbook", "-i", "localhost,", *arguments, cwd=self.empty, collections=self.collections)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    root = tmp_path_factory.mktemp("tarball")
    (empty := root / "empty").mkdir()
    ansible("ansible-galaxy", "collection", "build", COLLECTION, "--output-path", root, cwd=empty)
    (tarball,) = root.glob("papyrus-ops-*.tar.gz")
    collections = root / "collections"
    arguments: Sequence[str | Path] = ("--no-deps", "--offline", "--collections-path", collections)
    ansible("ansible-galaxy", "collection", "install", tarball, *arguments, cwd=empty)
    return Installed(tarball, collections, empty)


def tracked() -> set[str]:
    """Files of the collection that git tracks, or would."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=COLLECTION, capture_output=True, text=True, check=True).stdout.split("\0")
    return {name for name in names if name and (COLLECTION / name).is_file()}


def test_L1_the_tarball_has_the_files_of_the_checkout_and_no_other(installed: Installed) -> None:
    names = {member.name for member in installed.members() if not member.isdir()}
    assert names - MADE == tracked() - READ
    assert names >= MADE


def test_L1_no_link_is_in_the_tarball_or_made_of_it(installed: Installed) -> None:
    assert [member.name for member in installed.members() if not (member.isfile() or member.isdir())] == []
    assert [path for path in installed.folder.rglob("*") if path.is_symlink()] == []


def test_C1_the_terraform_of_the_temporary_alb_is_installed_with_its_role(installed: Installed) -> None:
    stack = installed.folder / "roles" / "temporary_alb" / "files" / "20-alb"
    source = CHECKOUT / "infra" / "20-alb"
    assert {path.name for path in stack.glob("*.tf")} >= {"main.tf", "outputs.tf", "variables.tf", "versions.tf"}
    assert {p.name: p.read_bytes() for p in stack.iterdir()} == {
        p.name: p.read_bytes() for p in source.iterdir() if not p.name.startswith((".terraform", "terraform.tfstate"))
    }


def test_L1_the_smoke_playbook_is_found_by_its_name_in_an_empty_folder(installed: Installed) -> None:
    playbook = installed.folder / "playbooks" / "alb_smoke.yml"
    assert installed.play("papyrus.ops.alb_smoke", "--syntax-check").strip() == f"playbook: {playbook}"
    listed = installed.play("papyrus.ops.alb_smoke", "--list-tasks")
    for role in ("run", "preflight", "temporary_alb", "probes"):
        assert f"papyrus.ops.{role} : " in listed
    assert list(installed.empty.glob("[!.]*")) == [], "a look at the playbook wrote into the working folder"
