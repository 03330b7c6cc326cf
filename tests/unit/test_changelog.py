"""M1: the changelog of the collection knows its release, and every module and filter that is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"
AGAIN = "scripts/docs changelog makes it anew"


def release() -> dict[str, Any]:
    """What changelog.yaml has of the version in galaxy.yml."""
    version = yaml.safe_load((COLLECTION / "galaxy.yml").read_text("utf-8"))["version"]
    releases = yaml.safe_load((COLLECTION / "changelogs" / "changelog.yaml").read_text("utf-8"))["releases"]
    found: dict[str, Any] = releases[version]
    return found


def names(folder: str) -> list[str]:
    return sorted(path.stem for path in (COLLECTION / "plugins" / folder).glob("*.py") if path.stem != "__init__")


def test_M1_every_module_and_filter_is_in_the_changelog() -> None:
    assert [module["name"] for module in release()["modules"]] == names("modules"), AGAIN
    assert [plugin["name"] for plugin in release()["plugins"]["filter"]] == names("filter"), AGAIN


def test_M1_the_page_says_what_the_data_say() -> None:
    page = (COLLECTION / "CHANGELOG.rst").read_text("utf-8")
    assert release()["changes"]["release_summary"] in page, AGAIN
    for entry in release()["modules"]:
        assert f"\n- {entry['name']} - " in page, AGAIN
