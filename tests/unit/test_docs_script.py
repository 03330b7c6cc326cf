"""M1: `scripts/docs site` makes a page of everything in the collection, `scripts/docs changelog` its changelog."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
OWN = Path("collections/ansible_collections/papyrus/ops")
PLANTED = "the planted change of a test"


def docs(checkout: Path, *arguments: str) -> str:
    """What the script of a checkout prints."""
    command = [str(checkout / "scripts" / "docs"), *arguments]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A checkout of its own with what the script needs: the changelog is written where it is."""
    (tmp_path / "scripts").mkdir()
    shutil.copy2(CHECKOUT / "scripts" / "docs", tmp_path / "scripts")
    shutil.copytree(CHECKOUT / OWN, tmp_path / OWN, ignore=shutil.ignore_patterns("__pycache__", "tests"))
    (tmp_path / ".venv").symlink_to(CHECKOUT / ".venv")
    return tmp_path


def changelog(checkout: Path) -> dict[str, Any]:
    releases: dict[str, Any] = yaml.safe_load((checkout / OWN / "changelogs" / "changelog.yaml").read_text("utf-8"))
    return releases["releases"]["0.1.0"] | {"release_date": ""}


def test_M1_the_site_has_a_page_of_everything(tmp_path: Path) -> None:
    printed = docs(CHECKOUT, "site", str(tmp_path / "site"))
    index = Path(printed.split()[-1])
    assert index == tmp_path / "site" / "collections" / "papyrus" / "ops" / "index.html" and index.is_file()
    wanted = {f"{path.name}_role.html" for path in (CHECKOUT / OWN / "roles").iterdir()}
    for folder, kind in (("modules", "module"), ("filter", "filter"), ("callback", "callback")):
        wanted |= {f"{path.stem}_{kind}.html" for path in (CHECKOUT / OWN / "plugins" / folder).glob("[!_]*.py")}
    assert len(wanted) > 50
    assert wanted <= {path.name for path in index.parent.iterdir()}
    page = (index.parent / "evidence_verify_module.html").read_text("utf-8")
    assert "only_shown" in page and "Verify evidence bundles" in page


def test_M1_the_changelog_is_what_the_script_makes_of_the_collection(copy: Path) -> None:
    fragment = copy / OWN / "changelogs" / "fragments" / "planted.yml"
    fragment.write_text(yaml.safe_dump({"minor_changes": [PLANTED]}), "utf-8")
    before = changelog(copy)
    path = copy / OWN / "changelogs" / "changelog.yaml"
    content = yaml.safe_load(path.read_text("utf-8"))
    content["releases"]["0.1.0"]["modules"] = before["modules"][1:]
    path.write_text(yaml.safe_dump(content), "utf-8")
    docs(copy, "changelog")
    after = changelog(copy)
    assert PLANTED in after["changes"].pop("minor_changes")
    before["changes"].pop("minor_changes", None)
    assert after["modules"] == before["modules"]
    assert PLANTED in (copy / OWN / "CHANGELOG.rst").read_text("utf-8")
