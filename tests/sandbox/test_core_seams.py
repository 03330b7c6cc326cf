"""The emulator's version and its parts that the sandbox touches: an upgrade that moves one is told by name."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from sandbox import seams
from tests.sandbox import emulator_seams
from tests.sandbox.support import CHECKOUT

AGAIN = "python -m tests.sandbox.emulator_seams"


@pytest.fixture(scope="module")
def installed() -> dict[str, Any]:
    return emulator_seams.installed()


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(emulator_seams.FILE.read_text("utf-8"))
    return document


def test_every_part_that_is_touched_exists_in_the_installed_version(installed: dict[str, Any]) -> None:
    seams = installed["seams"]
    assert "services.ecs._ACTION_MAP" in seams
    assert len(seams) > 200
    assert [name for name, found in seams.items() if found is None] == []


def test_every_part_is_what_it_was_when_the_sandbox_was_written_for_it(
    installed: dict[str, Any], known: dict[str, Any]
) -> None:
    """Names and order of parameters, and types of what is no function."""
    changed = [
        f"{name}: was {known['seams'][name]}, is {found}"
        for name, found in installed["seams"].items()
        if name in known["seams"] and known["seams"][name] != found
    ]
    assert changed == []


def test_no_part_is_touched_that_was_not_looked_at(installed: dict[str, Any], known: dict[str, Any]) -> None:
    assert [name for name in installed["seams"] if name not in known["seams"]] == [], AGAIN
    assert [name for name in known["seams"] if name not in installed["seams"]] == [], AGAIN


def test_one_version_is_installed_pinned_and_written_for(installed: dict[str, Any], known: dict[str, Any]) -> None:
    pinned = re.search(r'^VERSION = "(.+)"', (CHECKOUT / "sandbox" / "emulator.py").read_text(), re.MULTILINE)
    assert pinned is not None
    assert installed["version"] == pinned.group(1) == known["version"]


def test_the_seams_of_each_service_are_installed() -> None:
    services = {path.stem for path in (CHECKOUT / "sandbox" / "seams").glob("[!_]*.py") if "_" not in path.stem}
    assert services - {"refusal"} == set(seams.ORDER)
