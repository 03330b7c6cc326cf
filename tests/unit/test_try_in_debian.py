"""M1: the packages that README.md names are what scripts/try-in-debian puts into an empty Debian, in both languages."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
RECORDS = '#!/bin/sh\nprintf "%s|" "$(basename "$0")" "$@" >>"$ASKED"\n'


def tried(folder: Path, *arguments: str, without: str = "") -> tuple[subprocess.CompletedProcess[str], str]:
    """The script with programs that only write down how they are called; what they wrote."""
    programs, asked = folder / "bin", folder / "asked"
    programs.mkdir()
    (folder / "root" / "opt").mkdir(parents=True)
    asked.touch()
    for name in {"debootstrap", "unshare", "chroot", "mount", "id"} - {without}:
        text = "#!/bin/sh\necho 0\n" if name == "id" else RECORDS
        (programs / name).write_text(text, "utf-8")
        (programs / name).chmod(0o755)
    for name in ("sh", "dirname", "basename", "sed", "git", "realpath"):
        found = next(path for path in map(Path, ("/usr/bin", "/bin")) if (path / name).exists()) / name
        (programs / name).symlink_to(found)
    done = subprocess.run(
        [CHECKOUT / "scripts" / "try-in-debian", *arguments],
        env={"PATH": str(programs), "ASKED": str(asked), "HOME": os.environ.get("HOME", "/")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, asked.read_text("utf-8")


def named(page: str) -> list[str]:
    return re.findall(r"`apt install ([^`]+)`", (CHECKOUT / page).read_text("utf-8"))


def test_M1_it_makes_an_empty_debian_and_goes_on_in_namespaces_of_its_own(tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    done, asked = tried(tmp_path, root, "PIP_CERT=/x.pem")
    assert done.returncode == 0, done.stderr
    assert asked.startswith(f"debootstrap|--variant=minbase|trixie|{root}|unshare|")
    assert asked.endswith(f"|--inside|{root}|PIP_CERT=/x.pem|")
    assert (tmp_path / "root" / "opt" / "papyrus.bundle").is_file()


def test_M1_inside_it_installs_what_the_readme_names_and_runs_its_command_as_two_users(tmp_path: Path) -> None:
    done, asked = tried(tmp_path, "--inside", str(tmp_path / "root"), "PIP_CERT=/x.pem")
    assert done.returncode == 0, done.stderr
    [packages] = named("README.md")
    assert named("README.ja.md") == [packages] and packages.split()[0] == "python3"
    assert f"apt-get install -q -y {packages}|chroot" in asked and "debootstrap" not in asked
    assert re.findall(r"--userspec=(\w+)\|.*?PIP_CERT=/x.pem\|.*?(make smoke)?; make sandbox-down", asked) == [
        ("root", "make smoke"), ("tryer", "make smoke")
    ]  # fmt: skip


@pytest.mark.parametrize(("arguments", "without"), [([], ""), (["root"], "debootstrap")])
def test_M1_without_a_folder_or_debootstrap_it_says_so_and_does_nothing(
    tmp_path: Path, arguments: list[str], without: str
) -> None:
    done, asked = tried(tmp_path, *(str(tmp_path / each) for each in arguments), without=without)
    assert done.returncode == 1 and asked == ""
    assert ("apt install debootstrap" if without else "usage: ") in done.stderr


def test_M1_the_commands_of_make_run_in_a_locale_that_every_machine_has() -> None:
    """Ansible ends at its start in one that the machine lacks, such as what ssh brings along."""
    shown = subprocess.run(
        ["make", "-s", "--eval", "shown: ; @echo $$LC_ALL", "shown"],
        cwd=CHECKOUT, env={**os.environ, "LC_ALL": "xx_XX.UTF-8"}, stdout=subprocess.PIPE, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown == "C.UTF-8\n"
