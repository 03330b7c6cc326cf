# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which text is a record, and what becomes of one that is none: a line that every reader of JSON takes, either way."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

_DEPTH = 200
"""Brackets within brackets that a record may have: every program that reads JSON can do that."""
_TEXT_OR_BRACKET = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_HALF = re.compile("[\ud800-\udfff]")
"""Half of a character of UTF-16: Python reads it in JSON, jq ends with an error."""
_BREAKS = bytes.maketrans(b"\r\n", b"  ")


def record_of(text: Any) -> tuple[bytes, dict[str, Any]] | None:
    """The text as a line, and the JSON object that it is; None for anything else.

    The line is the text byte for byte, but for line breaks: they can only stand between the parts of JSON, where a
    space means the same.
    """
    if not isinstance(text, str):
        return None
    try:
        line = text.strip().encode().translate(_BREAKS)
        record = json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or _too_deep(line):
        return None
    if b"\\ud" in line.lower() and _HALF.search(json.dumps(record, ensure_ascii=False)):
        return None
    return line, record


def wrapped(entry: Mapping[str, Any]) -> bytes:
    """A line with all of an entry that has no record. Halves of characters are written as texts: `\\\\ud83d`."""
    whole = {"malformed": True, "entry": entry}
    text = json.dumps(whole, default=str, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return _HALF.sub(_spelled_out, text).encode()


def _spelled_out(half: re.Match[str]) -> str:
    return f"\\\\u{ord(half[0]):04x}"


def _refused(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _too_deep(line: bytes) -> bool:
    """Of JSON."""
    if line.count(b"{") + line.count(b"[") <= _DEPTH:
        return False
    depth = 0
    for found in _TEXT_OR_BRACKET.findall(line):
        if not found.startswith(b'"'):
            depth += 1 if found in b"{[" else -1
            if depth > _DEPTH:
                return True
    return False
