# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values of a bundle as the report shows them: nothing hidden, nothing that acts, nothing without end."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from ._names import parse_rfc3339
from ._printable import printable

VALUE_LIMIT = 2000
"""Characters of one value on the page; transcripts have limits of their own (`Block`)."""

# Terminal sequences: CSI, OSC (ended by BEL or ST), other two-character escapes. ECMA-48, 5.4 and 5.6.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")


class Block(str):
    """Text whose length has been bounded already: an excerpt."""

    __slots__ = ()


def visible(text: str) -> str:
    """Control and bidirectional characters as escapes (`\\x1b`, `\\u202e`), line ends as line feeds, tabs kept."""
    lines = text.replace("\r\n", "\n").split("\t")
    return "\t".join(printable(line) for line in lines)


def finalize(value: Any) -> Any:
    """What Jinja does to each value before it escapes it; what is no text are numbers of the page's own."""
    if value is None:
        return ""
    if hasattr(value, "__html__"):
        return value  # made by a template, each value in it has been here
    if isinstance(value, Block):
        return visible(value)
    if isinstance(value, str):
        return visible(cut(value))
    return value


def cut(text: str, limit: int = VALUE_LIMIT) -> str:
    """The beginning of a text, and how much is missing."""
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def without_terminal(text: str) -> tuple[str, int]:
    """Text without terminal sequences, and how many were left out."""
    return _TERMINAL.subn("", text)


def moment(text: Any) -> dt.datetime | None:
    """An RFC 3339 time; None for anything else."""
    try:
        return parse_rfc3339(text) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


def clock(at: dt.datetime | None, *, date: bool = False) -> str:
    """`19:29:22 UTC`, with its date when asked for; "" for None."""
    if at is None:
        return ""
    at = at.astimezone(dt.UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S UTC" if date else "%H:%M:%S UTC")


def duration(seconds: float) -> str:
    """`4.7 ms`, `114 ms`, `14.3 s`, `1 min 02 s`, `2 h 03 min`."""
    if seconds < 0:
        return f"−{duration(-seconds)}"
    if seconds < 0.9995:
        return f"{seconds * 1000:.1f} ms" if seconds < 0.00995 else f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes:02d} min"


def size(count: int) -> str:
    """`813 bytes`, `16.3 kB` (1,000 bytes), `4.2 MB`."""
    if count < 1000:
        return f"{count} byte{'' if count == 1 else 's'}"
    for unit in ("kB", "MB", "GB"):
        value = count / 1000 ** (("kB", "MB", "GB").index(unit) + 1)
        if value < 999.95 or unit == "GB":
            return f"{value:,.1f} {unit}"
    return f"{count} bytes"
