# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A SQL file looked at before anything runs: its hash, its statements, and what makes it unfit for one transaction.

The statements come from PostgreSQL's own parser (pglast), never from looking for semicolons.
"""

from __future__ import annotations

import hashlib
import json
import re
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ._sql_rules import refusal, warnings

try:
    from pglast import get_postgresql_version
    from pglast.parser import ParseError, parse_sql_json

    PGLAST_IMPORT_ERROR: str | None = None
except ImportError:  # modules report it with missing_required_lib
    PGLAST_IMPORT_ERROR = traceback.format_exc()

MAX_BYTES = 8 * 1024 * 1024
"""More is no schema, and travels through a terminal's line slowly."""

_ONE_WORD = {"SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "DoStmt", "CallStmt", "CopyStmt"}
_NOISE = {"OR", "REPLACE", "TEMP", "TEMPORARY", "UNLOGGED", "UNIQUE", "LOCAL", "GLOBAL", "IF", "NOT", "EXISTS"}
_COPY_STDIN = re.compile(r"\bCOPY\b[^;]*\bFROM\s+STDIN\b[^;]*;", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """`start` and `end` are positions of characters in the text, `line` counts from 1."""

    number: int
    kind: str
    line: int
    start: int
    end: int


@dataclass(frozen=True)
class Finding:
    """One line of what is wrong, or worth knowing; `statement` 0 where it is about the file."""

    line: int
    column: int
    statement: int
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return {"line": self.line, "column": self.column, "statement": self.statement, "reason": self.reason}

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}" if self.line else self.reason


@dataclass
class Script:
    """What a file is. Without `refusals` it may run in one transaction; `warnings` say what a ROLLBACK leaves there."""

    name: str
    sha256: str
    size: int
    text: str = ""
    statements: list[Statement] = field(default_factory=list)
    refusals: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)

    @property
    def kinds(self) -> dict[str, int]:
        return dict(sorted(Counter(statement.kind for statement in self.statements).items()))

    @property
    def refused(self) -> str:
        """Every reason in one sentence, or ""."""
        if not self.refusals:
            return ""
        shown = "; ".join(str(finding) for finding in self.refusals[:10])
        more = f" … and {len(self.refusals) - 10} more" if len(self.refusals) > 10 else ""
        return f"{self.name} is refused, nothing was run: {shown}{more}"

    def not_meant(self, expected: str | None) -> str:
        """Why these are not the bytes that were meant, or ""."""
        if not expected or expected == self.sha256:
            return ""
        return (
            f"{self.name} is not the file that was meant: its sha256 is {self.sha256}, not {expected}; "
            "nothing was run. It has been changed since: begin again, with its dry run"
        )

    def as_dict(self) -> dict[str, Any]:
        """For a module's result."""
        return {
            "sha256": self.sha256,
            "bytes": self.size,
            "count": len(self.statements),
            "kinds": self.kinds,
            "refusals": [finding.as_dict() for finding in self.refusals],
            "warnings_of_sql": [finding.as_dict() for finding in self.warnings],
        }


def parser_version() -> str:
    """Version of PostgreSQL whose grammar is used."""
    return ".".join(str(part) for part in get_postgresql_version())


def examine(content: bytes, name: str) -> Script:
    """Never raises for what is in the file."""
    script = Script(name, hashlib.sha256(content).hexdigest(), len(content))
    text = _text(content, script)
    if not script.refusals:
        script.text = text
        _parse(script)
    return script


def _text(content: bytes, script: Script) -> str:
    def refuse(reason: str, line: int = 0) -> str:
        script.refusals.append(Finding(line, 0, 0, reason))
        return ""

    if not content.strip():
        return refuse("the file is empty")
    if len(content) > MAX_BYTES:
        return refuse(f"the file has {len(content)} bytes, more than {MAX_BYTES}")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return refuse("the file is UTF-16: save it as UTF-8")
    if content.startswith(b"\xef\xbb\xbf"):
        return refuse("the file begins with a byte order mark: save it as UTF-8 without one", 1)
    if b"\0" in content:
        line = content.count(b"\n", 0, content.index(b"\0")) + 1
        return refuse("there is a NUL byte, which no SQL text can have", line)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        return refuse(f"the bytes are not UTF-8 (byte {content[exc.start]:#04x})", line)


def _parse(script: Script) -> None:
    text = script.text
    try:
        # As JSON: its places are bytes, counted once here; pglast's own way to characters takes the square of the size.
        parsed = json.loads(parse_sql_json(text)).get("stmts", [])
    except ParseError as exc:
        place = exc.args[1] if len(exc.args) > 1 and exc.args[1] is not None else 0
        script.refusals.append(_finding(text, max(0, place), 0, _syntax(text, max(0, place), str(exc.args[0]))))
        return
    except RecursionError:
        script.refusals.append(Finding(0, 0, 0, "an expression is nested too deeply to be looked at"))
        return
    if not parsed:
        script.refusals.append(Finding(0, 0, 0, "there is no statement in the file"))
        return
    line, counted = 1, 0
    for number, (tree, start, end) in enumerate(_places(text, parsed), 1):
        name, node = next(iter(tree.items()))
        line, counted = line + text.count("\n", counted, start), start
        statement = Statement(number, _kind(name, text[start:end]), line, start, end)
        script.statements.append(statement)
        reason = refusal(name, node)
        if reason:
            script.refusals.append(_finding(text, start, number, f"{statement.kind}: {reason}"))
        script.warnings += [_finding(text, start, number, warning) for warning in warnings(name, node)]


def _places(text: str, parsed: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Each statement's tree with its first and last place in the text; between them are white space and comments."""
    data = text.encode("utf-8")
    at = characters = 0
    for entry in parsed:
        start = int(entry.get("stmt_location", 0))
        end = start + int(entry["stmt_len"]) if entry.get("stmt_len") else len(data)
        characters += len(data[at:start].decode("utf-8"))
        words = data[start:end].decode("utf-8")
        body = words.strip()
        first = characters + words.index(body)
        yield entry["stmt"], first, first + len(body)
        characters += len(words)
        at = end


def _kind(name: str, text: str) -> str:
    """As people say it: the first words without what only qualifies them."""
    words = [word.upper() for word in re.findall(r"[A-Za-z]+", _without_comments(text))[:6]]
    words = [word for word in words if word not in _NOISE] or [name.removesuffix("Stmt").upper()]
    if name in _ONE_WORD:
        return name.removesuffix("Stmt").upper()
    wide = words[1:2] in (["MATERIALIZED"], ["FOREIGN"], ["EVENT"], ["DEFAULT"], ["USER"], ["TEXT"], ["INDEX"])
    size = 3 if wide and words[2:3] and words[2] in _THIRD else 2
    return " ".join(words[:size]) if words[0] in _WITH_OBJECT else words[0]


_WITH_OBJECT = {"CREATE", "ALTER", "DROP", "COMMIT", "PREPARE", "ROLLBACK", "START", "DISCARD", "REINDEX"}
_THIRD = {"VIEW", "TABLE", "DATA", "TRIGGER", "PRIVILEGES", "MAPPING", "SEARCH", "CONCURRENTLY"}


def _without_comments(text: str) -> str:
    return re.sub(r"--[^\n]*|/\*.*?\*/", " ", text[:2000], flags=re.DOTALL)


def _syntax(text: str, place: int, said: str) -> str:
    rest = text[place : place + 40]
    if rest.startswith("\\"):
        word = rest.split()[0]
        return f"{word} is a command of psql, not SQL: write what it does as SQL, or put the file's content here"
    for copy in _COPY_STDIN.finditer(text, 0, place):
        line = text.count("\n", 0, copy.start()) + 1
        return f"COPY … FROM STDIN in line {line}: its data are no SQL; write them as INSERT"
    if re.match(r":['\"]?[A-Za-z_]", rest):
        return f"{rest.split()[0]} is a variable of psql, not SQL"
    return said


def _finding(text: str, place: int, statement: int, reason: str) -> Finding:
    line = text.count("\n", 0, place) + 1
    return Finding(line, place - text.rfind("\n", 0, place), statement, reason)
