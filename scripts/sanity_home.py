"""Makes the folder in which ansible-test works: pip and its settings, a copy of the collection, amazon.aws beside."""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import subprocess
import sys
import sysconfig
import types
from pathlib import Path

COLLECTION = Path("ansible_collections/papyrus/ops")
# Its documentation fragments and module_utils are ours too.
NEEDED = Path("ansible_collections/amazon/aws")


def write_pip_settings(home: Path) -> None:
    """Hand on the user's settings of pip: where ansible-test calls it, there is no environment but HOME and PATH.

    pip reads ``~/.pip/pip.conf`` before ``~/.config/pip/pip.conf``, so the environment wins, as in a call by hand.
    Downloads are cached where the user's are.
    """
    users = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config", "pip", "pip.conf")
    link = home / ".pip" / "pip.conf"
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    if os.access(users, os.R_OK):
        link.symlink_to(users)

    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    values = {"cache-dir": str(caches / "pip")}
    for name, value in os.environ.items():
        if name.startswith("PIP_") and value and name != "PIP_CONFIG_FILE":
            values[name.removeprefix("PIP_").lower().replace("_", "-")] = value
    settings = home / ".config" / "pip" / "pip.conf"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.touch(mode=0o600)  # an index address may carry a password
    settings.write_text("\n".join(["[global]", *(f"{name} = {value}" for name, value in values.items()), ""]))


def write_pip_bootstrap(home: Path) -> None:
    """Put pip as Python itself carries it where ansible-test keeps the script that it would download otherwise."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python_requirements = importlib.import_module("ansible_test._internal.python_requirements")
    release = python_requirements.get_venv_packages(types.SimpleNamespace(version=version))["pip"]
    script = home / ".ansible" / "test" / "cache" / f"get_pip_{release.replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text("import ensurepip\n\nensurepip.bootstrap(upgrade=True, default_pip=True)\n")


def copy_collection(home: Path, source: Path) -> Path:
    """Copy the files that git does not ignore; return the copy's folder.

    ansible-test looks for other collections below the same root only: there, amazon.aws is a link to the installed one.
    """
    root = home / "collections"
    shutil.rmtree(root, ignore_errors=True)
    target = root / COLLECTION
    listing = ["git", "-C", str(source), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, check=True, stdout=subprocess.PIPE).stdout
    for name in sorted({Path(os.fsdecode(raw)) for raw in names.split(b"\0") if raw}):
        if os.path.lexists(source / name):  # git still lists what was removed since the last commit
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name, follow_symlinks=False)

    installed = Path(sysconfig.get_path("purelib")) / NEEDED
    if not installed.is_dir():
        raise SystemExit(f"{NEEDED} is not installed beside ansible-test: scripts/bootstrap dev")
    (root / NEEDED).parent.mkdir(parents=True)
    (root / NEEDED).symlink_to(installed)

    # A repository of its own: of the checkout's it would see ignored files only.
    subprocess.run(["git", "init", "--quiet", "--template=", str(target)], check=True)
    return target


def main() -> None:
    """Make the folder given; print the copy's path."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path)
    parser.add_argument("collections", type=Path)
    arguments = parser.parse_args()
    home = arguments.home.absolute()
    write_pip_settings(home)
    write_pip_bootstrap(home)
    print(copy_collection(home, arguments.collections.absolute() / COLLECTION))


if __name__ == "__main__":
    main()
