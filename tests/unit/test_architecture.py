"""The direction of the arrows: the collection knows neither the local AWS nor the app, nor do they know it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"


def tracked(*folders: str) -> list[Path]:
    """Text files that git tracks (or would) below the folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *folders],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [path for name in listed if (path := CHECKOUT / name).is_file() and not path.is_symlink()]


def lines_with(pattern: str, *folders: str) -> list[str]:
    """`file:line: text` of every line that matches."""
    expression = re.compile(pattern)
    return [
        f"{path.relative_to(CHECKOUT)}:{number}: {line.strip()}"
        for path in tracked(*folders)
        if path.suffix in {".py", ".yml", ".yaml", ".tf", ".cfg", ".sh", ".j2"}
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if expression.search(line)
    ]


def test_the_collection_and_the_playbooks_never_mention_the_sandbox() -> None:
    assert lines_with(r"(?i)sandbox|ministack", "collections", "playbooks/*.yml", "infra") == []


def test_the_collection_never_imports_the_app() -> None:
    assert lines_with(r"^\s*(from|import)\s+papyrus\b(?!\.ops)", "collections") == []


def test_the_sandbox_never_imports_the_collection() -> None:
    assert lines_with(r"ansible_collections|^\s*(from|import)\s+ansible", "sandbox") == []


def test_module_utils_import_each_other_relatively_and_no_other_collection() -> None:
    utils = str((COLLECTION / "plugins" / "module_utils").relative_to(CHECKOUT))
    assert lines_with(r"^\s*(from|import)\s+ansible_collections", utils) == []


def test_module_files_are_thin() -> None:
    bodies = {
        path.name: len(path.read_text("utf-8").split('RETURN = r"""')[-1].split('"""', 1)[-1].splitlines())
        for path in (COLLECTION / "plugins" / "modules").glob("*.py")
        if path.name != "__init__.py"
    }
    assert bodies
    assert {name: lines for name, lines in bodies.items() if lines > 150} == {}


@pytest.mark.parametrize("words", [r"\bTODO\b|\bFIXME\b|\bXXX\b", r"#\s*noqa|type:\s*ignore|pylint:\s*disable"])
def test_nothing_is_unfinished_or_switched_off(words: str) -> None:
    here = str(Path(__file__).relative_to(CHECKOUT))
    assert [
        line
        for line in lines_with(
            words, "app", "bench", "collections", "playbooks", "sandbox", "scripts", "tests", "infra"
        )
        if here not in line
    ] == []


def test_files_are_small_enough_to_read_in_one_go() -> None:
    long = {
        str(path.relative_to(CHECKOUT)): count
        for path in tracked(
            "app",
            "bench",
            "collections",
            "playbooks",
            "sandbox",
            "scripts",
            "tests",
            "infra",
            "inventories",
            "molecule",
        )
        if path.suffix in {".py", ".yml", ".tf"} and (count := len(path.read_text("utf-8").splitlines())) > 500
    }
    assert long == {}
