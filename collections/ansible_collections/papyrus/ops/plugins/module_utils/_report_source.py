# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A bundle for the report: lines and items of any content, incomplete or garbled, without an exception and bounded."""

from __future__ import annotations

import codecs
import datetime as dt
import hashlib
import io
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._bundle_view import BundleView
from ._evidence import MANIFEST, STATUSES
from ._report_text import Block, moment, visible, without_terminal

HEAD, TAIL = 12_000, 4_000
"""Bytes of a transcript that the page has: of its beginning and of its end."""

BUDGET = 1_000_000
"""Bytes of transcripts on one page; what comes after them is named, not shown."""


RECORDS = 20_000
"""Objects of one .jsonl item that are looked at: a poll every two seconds for eleven hours."""


@dataclass(frozen=True)
class Entry:
    """A manifest line with the types it should have; `at` None, `size` -1 and "" for what it does not say.

    `place` is where it stands, whatever it says of itself (`seq`).
    """

    place: int
    seq: str
    at: dt.datetime | None
    name: str
    path: str
    size: int
    sha256: str
    status: str
    step: str
    media_type: str
    meta: Mapping[str, Any]
    line: Mapping[str, Any] = field(repr=False)

    @property
    def reason(self) -> str:
        return text_of(self.meta.get("reason"))

    @property
    def rows(self) -> list[Mapping[str, Any]]:
        return [row for row in list_of(self.meta.get("rows")) if isinstance(row, Mapping)]

    @property
    def request_ids(self) -> list[str]:
        return [text_of(each) for each in list_of(self.meta.get("request_ids")) if each]


@dataclass(frozen=True)
class Excerpt:
    """Beginning and end of an item as text. `left` bytes lie between them, `note` says why there is no text."""

    path: str
    size: int
    head: Block = Block()
    tail: Block = Block()
    left: int = 0
    note: str = ""


_ASKS_NOTHING = ("audit_export", "monitor")
"""Playbooks that ask the service itself nothing."""


class Source:
    """What the parts of the page are made from. `shown` are the places in the manifest of items with an excerpt."""

    def __init__(self, view: BundleView) -> None:
        self.view = BundleView(view.folder, view.run, [_clean(line) for line in view.lines], view.verdict)
        self.run: Mapping[str, Any] = view.run
        self.verdict: Mapping[str, Any] = view.verdict
        self.entries = [entry_of(line, number) for number, line in enumerate(self.view.lines)]
        self.shown: set[int] = set()
        self._budget = BUDGET

    @property
    def asks(self) -> bool:
        """Whether the run may have asked the service itself something."""
        return text_of(self.run.get("playbook")) not in _ASKS_NOTHING or self.last("binding.json") is not None

    # Lines

    def named(self, *names: str) -> list[Entry]:
        return [entry for entry in self.entries if entry.name in names]

    def last(self, name: str) -> Entry | None:
        return next((entry for entry in reversed(self.entries) if entry.name == name), None)

    # Items

    def value(self, entry: Entry | None) -> Any:
        """What a JSON item holds; None when it is missing, garbled or too long."""
        content = None if entry is None else self.view.read(entry.line)
        return None if content is None or content.cut else parsed(content.data)

    def object(self, name: str) -> Mapping[str, Any]:
        return dict_of(self.value(self.last(name)))

    def records(self, entry: Entry) -> list[Mapping[str, Any]]:
        """The first `RECORDS` lines of a .jsonl item that are objects, as far as the view reads."""
        content = self.view.read(entry.line)
        lines = io.BytesIO(b"" if content is None else content.data)
        objects = (value for line in lines if isinstance(value := parsed(line), Mapping))
        return list(itertools.islice(objects, RECORDS))

    def text(self, entry: Entry | None, limit: int = HEAD) -> str:
        """The beginning of an item; "" when there is none."""
        content = None if entry is None else self.view.read(entry.line, limit)
        return "" if content is None else content.text.replace("\r\n", "\n")

    def file_size(self, entry: Entry) -> int | None:
        """That of the file, None when it is missing."""
        content = self.view.read(entry.line, 0)
        return None if content is None else content.size

    def excerpt(self, entry: Entry, head: int = HEAD, tail: int = TAIL) -> Excerpt:
        """Text for the page, as long as the budget lasts."""
        self.shown.add(entry.place)
        ends = self.view.ends(entry.line, head + tail, tail)
        if ends is None:
            return Excerpt(entry.path, entry.size, note="The manifest lists this file, the bundle does not hold it.")
        content, end = ends
        if b"\0" in content.data or entry.media_type == "application/gzip":
            return Excerpt(entry.path, content.size, note="Not text.")
        data, end = (content.data[:head], (content.data[head:] + end)[-tail:]) if end else (content.data, b"")
        if len(data) + len(end) > self._budget:
            return Excerpt(
                entry.path, content.size, note="Not shown: this page has as many transcripts as it may hold."
            )
        self._budget -= len(data) + len(end)
        first = codecs.getincrementaldecoder("utf-8")("replace").decode(data, final=not end)
        return Excerpt(
            entry.path, content.size, block(first), block(_from_character(end)), content.size - len(data) - len(end)
        )

    def head(self) -> str:
        """SHA-256 of the manifest's last complete line, which names the whole chain; "" when there is none."""
        ends = self.view.ends({"path": MANIFEST}, 0, 128 * 1024)
        complete = b"" if ends is None else ends[1].rpartition(b"\n")[0]
        return hashlib.sha256(complete.rpartition(b"\n")[2]).hexdigest() if complete else ""


def _clean(line: Mapping[str, Any]) -> dict[str, Any]:
    """The line with a name and a meta, which everybody relies on who reads one."""
    return {**line, "name": text_of(line.get("name")), "meta": dict_of(line.get("meta"))}


def entry_of(line: Mapping[str, Any], number: int) -> Entry:
    size, status = line.get("bytes"), text_of(line.get("status"))
    return Entry(
        number,
        text_of(line.get("seq")),
        moment(line.get("at")),
        line["name"],
        text_of(line.get("path")),
        size if isinstance(size, int) and 0 <= size < 10**15 else -1,
        text_of(line.get("sha256")),
        status if status in STATUSES else "info",
        text_of(line.get("step")),
        text_of(line.get("media_type")),
        line["meta"],
        line,
    )


def block(text: str) -> Block:
    """Text of an item, line ends as line feeds; terminal sequences stay, to be seen."""
    return Block(visible(text))


def plain(text: str) -> tuple[Block, int]:
    """Without terminal sequences, and how many there were."""
    clean, count = without_terminal(text)
    return Block(visible(clean)), count


def _from_character(data: bytes) -> str:
    """Decoded from the first whole character on: the cut may have fallen into one."""
    start = next((i for i in range(min(4, len(data))) if data[i] & 0xC0 != 0x80), 0)
    return data[start:].decode("utf-8", "replace")


# Values of any type


def parsed(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def text_of(value: Any) -> str:
    """A string as it is, nothing for None, other values as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    except (TypeError, ValueError, RecursionError):
        return "(a value without a text)"


def dict_of(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def list_of(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else []


def dicts_of(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in list_of(value) if isinstance(each, Mapping)]


def number_of(value: Any) -> float | None:
    """A finite number of a sane size, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -1e12 < value < 1e12 and math.isfinite(value) else None


def spread(values: Sequence[Any], limit: int) -> Iterator[tuple[int, Any]]:
    """At most `limit` of the values with their places: two thirds of the beginning, the rest of the end."""
    if len(values) <= limit:
        yield from enumerate(values)
        return
    first = limit * 2 // 3
    yield from enumerate(values[:first])
    start = len(values) - (limit - first)
    yield from enumerate(values[start:], start)
