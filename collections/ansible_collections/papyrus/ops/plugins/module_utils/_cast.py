# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recordings of terminal sessions as asciicast v2: https://docs.asciinema.org/manual/asciicast/v2/."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Iterator


def lines(
    pieces: Iterable[tuple[float, bytes]], *, columns: int, rows: int, timestamp: int, command: str, title: str
) -> Iterator[str]:
    """The file line by line, each with its line end. `pieces` are (seconds since the beginning, bytes in order).

    Bytes are decoded across pieces, so that a character cut in two is whole again; what is no UTF-8 becomes U+FFFD.
    Line ends become what a terminal needs, CR LF.
    """
    header = {
        "version": 2,
        "width": columns,
        "height": rows,
        "timestamp": timestamp,
        "command": command,
        "title": title,
        "env": {"TERM": "xterm-256color"},
    }
    yield json.dumps(header, ensure_ascii=False) + "\n"
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    last = 0.0
    for at, data in pieces:
        last = max(last, at)  # players want times that do not go back
        yield from _event(last, decoder.decode(data))
    yield from _event(last, decoder.decode(b"", True))


def _event(at: float, text: str) -> Iterator[str]:
    if text:
        yield json.dumps([round(at, 6), "o", text.replace("\n", "\r\n")], ensure_ascii=False) + "\n"
