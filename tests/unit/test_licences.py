"""M1: docs/licences.md says of every installed package what the package says of itself."""

from __future__ import annotations

import email.message
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = CHECKOUT / "docs" / "licences.md"


@pytest.fixture(name="script", scope="module")
def _script() -> ModuleType:
    path = CHECKOUT / "scripts" / "licences.py"
    spec = importlib.util.spec_from_file_location("licences", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows(page: str) -> dict[str, str]:
    return dict(re.findall(r"^\| ([a-z0-9-]+) \| ([^|]*?) \|$", page, re.MULTILINE))


def test_M1_the_page_is_what_the_packages_say(script: ModuleType) -> None:
    for environment, lock in script.ENVIRONMENTS.values():
        if not (CHECKOUT / environment).is_dir():
            pytest.skip(f"{environment} is not installed")
        found = script.packages(environment, lock)
        assert len(found) > 20
    page = PAGE.read_text("utf-8")
    assert page == page.partition(script.BEGIN)[0] + script.tables(), "python scripts/licences.py makes it anew"
    assert "" not in rows(page).values()


def test_M1_no_locked_package_is_left_out_but_those_of_other_platforms(script: ModuleType) -> None:
    listed = set(rows(PAGE.read_text("utf-8")))
    for _environment, lock in script.ENVIRONMENTS.values():
        text = (CHECKOUT / "requirements" / lock).read_text("utf-8")
        elsewhere = set(
            re.findall(r"^([a-z0-9.-]+)==\S+ ; .*(?:win32|Windows|python_full_version)", text, re.MULTILINE)
        )
        assert script.locked(text) - {script.normal(name) for name in elsewhere} <= listed


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ([("License-Expression", "MIT"), ("License", "GPL")], "MIT"),
        ([("License", "UNKNOWN")], ""),
        ([("License", "x" * 61), ("Classifier", "License :: OSI Approved :: MIT License")], "MIT License"),
        ([("License", "Dual License"), ("Classifier", "License :: A"), ("Classifier", "License :: B")], "A or B"),
    ],
)
def test_M1_a_licence_is_read_from_whichever_field_says_it(
    script: ModuleType, fields: list[tuple[str, str]], said: str
) -> None:
    message = email.message.Message()
    for name, value in fields:
        message[name] = value
    assert script.licence(message) == said
