"""M1: README.md and README.ja.md say the same: sections, commands, figures, links; both are short enough to be read."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ENGLISH = (CHECKOUT / "README.md").read_text("utf-8")
JAPANESE = (CHECKOUT / "README.ja.md").read_text("utf-8")
CODE = re.compile(r"^ {4,}\S.*$", re.MULTILINE)
SECTIONS = [
    "",
    "smoke",
    "rds.force_ssl",
    "inventories/prd",
    "sweep.yml",
    "monitor.yml",
    "scripts/verify",
    "audit_export.yml",
]
"""What tells each of the first sections in any language."""


def headings(page: str) -> list[int]:
    """Levels of the headings, in order."""
    return [len(marks) for marks in re.findall(r"^(#+) ", page, re.MULTILINE)]


def sections(page: str) -> list[str]:
    return re.split(r"^## ", page, flags=re.MULTILINE)


def commands(page: str) -> list[str]:
    """Lines of code without what explains them: behind `#`, or in the second column."""
    return [re.split(r" +# |(?<=\S)  +(?![….])", line.strip())[0] for line in CODE.findall(page)]


def figures(page: str) -> Counter[str]:
    """Numbers of the text; digits alone, as words for numbers are no figures."""
    text = CODE.sub("", re.sub(r"\]\([^)]*\)", "]", page))
    return Counter(re.findall(r"(?<![\w.])\d+(?:\.\d+)*", text))


def links(page: str) -> Counter[str]:
    return Counter(target for target in re.findall(r"\]\(([^)]+)\)", page) if not target.startswith("README."))


def differences(one: str, other: str) -> list[str]:
    """Names of what is not the same in both."""
    asked = {"headings": headings, "commands": commands, "figures": figures, "links": links}
    return [name for name, of in asked.items() if of(one) != of(other)]


def test_M1_both_are_short_and_name_each_other() -> None:
    assert max(len(ENGLISH.splitlines()), len(JAPANESE.splitlines())) < 300
    assert "](README.ja.md)" in ENGLISH and "](README.md)" in JAPANESE


def test_M1_both_say_the_same() -> None:
    assert headings(JAPANESE) == headings(ENGLISH)
    assert commands(JAPANESE) == commands(ENGLISH)
    assert figures(JAPANESE) - figures(ENGLISH) == figures(ENGLISH) - figures(JAPANESE) == Counter()
    assert links(JAPANESE) == links(ENGLISH)


def test_M1_the_sections_come_in_the_same_order_and_the_named_ones_are_there() -> None:
    for page in (ENGLISH, JAPANESE):
        assert [name for name, text in zip(SECTIONS, sections(page), strict=False) if name not in text] == []
        assert re.search(r"^## .*観測", page, re.MULTILINE) and re.search(r"^## .*CLI証跡", page, re.MULTILINE)


def test_M1_japanese_is_japanese() -> None:
    for text in sections(JAPANESE):
        plain = re.sub(r"`[^`]*`|\]\([^)]*\)|[\W\d_]", "", CODE.sub("", text))
        japanese = re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]", plain)
        assert len(japanese) > 0.3 * len(plain), text[:40]


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("## 監査\n", "### 監査\n", "headings"),
        ("make test ", "make tests ", "commands"),
        ("-e papyrus_audit_days=90", "-e papyrus_audit_days=30", "commands"),
        ("82 秒", "28 秒", "figures"),
        ("(docs/sweep.md)", "(docs/sweeps.md)", "links"),
    ],
)
def test_M1_a_difference_is_found(before: str, after: str, what: str) -> None:
    assert before in JAPANESE
    assert differences(ENGLISH, JAPANESE.replace(before, after, 1)) == [what]


def test_M1_every_file_that_is_linked_is_there() -> None:
    for target in links(ENGLISH) | links(JAPANESE):
        if not target.startswith("https://"):
            assert (CHECKOUT / target).exists(), target


def test_M1_the_picture_is_small() -> None:
    assert 10_000 < (CHECKOUT / "docs" / "images" / "report.png").stat().st_size < 200_000
