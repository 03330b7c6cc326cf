"""Reads which arguments a Terraform file uses: blocks and names, no values.

Enough of HCL's native syntax (https://github.com/hashicorp/hcl/blob/main/hclsyntax/spec.md) for files that
`terraform validate` has accepted: strings with interpolation, comments, brackets, blocks with labels; no heredocs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r'(?P<skip>[ \t]+|#[^\n]*|//[^\n]*)|(?P<newline>\n)|(?P<name>[A-Za-z_][\w-]*)|(?P<quote>")|(?P<other>.)'
)
_OPEN, _CLOSE = "([{", ")]}"


@dataclass
class Block:
    """One block: its type and labels, the names of its attributes, and the blocks in it."""

    type: str
    labels: list[str]
    attributes: list[str] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


class _Reader:
    def __init__(self, text: str) -> None:
        self.tokens = list(_tokens(text))
        self.at = 0

    def body(self, block: Block) -> Block:
        """Read attributes and blocks up to the closing brace or the end."""
        while self.at < len(self.tokens):
            kind, text = self.tokens[self.at]
            self.at += 1
            if text == "}":
                return block
            if kind != "name":
                continue
            labels: list[str] = []
            while self.tokens[self.at][0] in ("name", "string"):
                labels.append(self.tokens[self.at][1])
                self.at += 1
            following = self.tokens[self.at][1]
            self.at += 1
            if following == "=":
                block.attributes.append(text)
                self._skip_expression()
            elif following == "{":
                block.blocks.append(self.body(Block(text, labels)))
            else:
                raise ValueError(f"after {text!r} comes {following!r}, neither = nor {{")
        return block

    def _skip_expression(self) -> None:
        depth = 0
        while self.at < len(self.tokens):
            kind, text = self.tokens[self.at]
            if depth == 0 and (kind == "newline" or text == "}"):
                return
            depth += (text in _OPEN) - (text in _CLOSE) if kind == "other" else 0
            self.at += 1


def _string_end(text: str, at: int) -> int:
    """Index after the closing quote of the string whose content begins at `at`; interpolations may hold strings."""
    depth = 0
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        if text.startswith(("${", "%{"), at) and not text.startswith(("$${", "%%{"), at - 1):
            depth += 1
            at += 2
            continue
        if text[at] == "}" and depth:
            depth -= 1
        elif text[at] == '"':
            if not depth:
                return at + 1
            at = _string_end(text, at + 1)
            continue
        at += 1
    raise ValueError("a string does not end")


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None
        kind = str(match.lastgroup)
        at = match.end()
        if kind == "quote":
            end = _string_end(text, at)
            yield "string", text[at : end - 1]
            at = end
        elif kind != "skip":
            yield kind, match.group()


def parse(text: str) -> Block:
    """The file as one block without a type. ValueError for what is not understood."""
    return _Reader(text).body(Block("", []))
