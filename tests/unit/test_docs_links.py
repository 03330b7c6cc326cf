"""M1: every page of docs/ is found from its index, and every link between files leads to a file and a heading."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)


def pages() -> list[str]:
    """Pages of the checkout, those that are not committed yet included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    return sorted(page for page in listed if (CHECKOUT / page).is_file())


@cache
def anchors(page: Path) -> set[str]:
    """Names of a page's headings as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", each).lower()).replace(" ", "-") for each in headings}


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", CODE.sub("", page.read_text("utf-8")))


def lost(page: Path, target: str) -> bool:
    """Whether a link to a file, or to a heading of one, leads nowhere."""
    if re.match(r"[a-z]+:", target):
        return False
    path, dummy, anchor = target.partition("#")
    found = (page.parent / path).resolve() if path else page
    return not found.exists() or bool(anchor) and anchor not in anchors(found)


@pytest.mark.parametrize("page", pages())
def test_M1_every_link_leads_to_a_file_and_a_heading(page: str) -> None:
    assert [target for target in links(CHECKOUT / page) if lost(CHECKOUT / page, target)] == []


def test_M1_links_that_lead_nowhere_are_found() -> None:
    page = CHECKOUT / "docs" / "sweep.md"
    assert lost(page, "no-page.md") and lost(page, "#no-heading") and lost(page, "runner.md#no-heading")
    assert not lost(page, "#figures") and not lost(page, "runner.md#several-workers") and not lost(page, "https://a.b")


def test_M1_every_page_of_docs_is_linked_from_its_index() -> None:
    index = CHECKOUT / "docs" / "README.md"
    linked = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    missing = [page for page in pages() if page.startswith("docs/") and CHECKOUT / page not in linked | {index}]
    assert missing == [] and len(linked) > 25
