"""M1: every message that docs/troubleshooting.md quotes is one that the code says, from its beginning."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
COLLECTION = CHECKOUT / "collections" / "ansible_collections" / "papyrus" / "ops"
PAGE = CHECKOUT / "docs" / "troubleshooting.md"
PUT_IN = "…"


def said(tree: ast.AST) -> Iterator[str]:
    """Texts of a program; what is put into one of them stands as `…`. Not its documentation."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else PUT_IN for part in node.values)


@cache
def texts() -> list[str]:
    programs = [*(COLLECTION / "plugins").rglob("*.py"), *(CHECKOUT / "scripts").glob("*.py")]
    found = [text for path in programs for text in said(ast.parse(path.read_text("utf-8")))]
    shell = [path for path in (CHECKOUT / "scripts").iterdir() if path.is_file() and not path.suffix]
    return found + re.findall(r'echo "([^"]+)"', "\n".join(path.read_text("utf-8") for path in shell))


def quoted(page: str) -> list[str]:
    """Code spans of the first column of the tables that begin with `message`."""
    spans, inside = [], False
    for line in page.splitlines():
        cells = line.split("|")
        if len(cells) < 3:
            inside = False
        elif cells[1].strip() == "message":
            inside = True
        elif inside:
            spans += re.findall(r"`([^`]+)`", cells[1])
    return spans


def is_said(message: str) -> bool:
    """Whether a text of the code begins so; in it, something may be put in where the message has `…`."""
    begins = re.compile(".*?".join(re.escape(part) for part in message.rstrip(PUT_IN).split(PUT_IN)), re.DOTALL)
    return any(begins.match(text) for text in texts())


def test_M1_there_are_messages_of_every_part_of_a_run() -> None:
    page = PAGE.read_text("utf-8")
    assert page.count("\n| message |") >= 6
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| message")]
    assert len(quoted(page)) == len(rows), "every row begins with one message"
    assert len(rows) > 60


@pytest.mark.parametrize("message", quoted(PAGE.read_text("utf-8")))
def test_M1_the_code_says_it(message: str) -> None:
    assert is_said(message), f"no text of the code begins with {message!r}"


@pytest.mark.parametrize("message", ["the database is sad", "no rule of … admits … to door …", "healthy within … s: …"])
def test_M1_what_the_code_does_not_say_is_found(message: str) -> None:
    assert not is_said(message)
