# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Finds values that are known to be secret in a text, in every form which formats, shells and terminals give them.

Instead of one pattern for each form the text is looked at in four views: as it is, in lower case (for hexadecimal),
plain (escapes undone, quotes and blanks dropped), and as base64. Each view is searched by `bytes.find`, gigabytes a
second, and what is found is traced back to where it stands in the text. Text and value go through the same functions,
so that nested and mixed forms are found as well.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import html.entities
import json
import re
import unicodedata
import urllib.parse
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import escape

from ._redaction_blocks import Span

MIN_LENGTH = 6
"""Known values with fewer characters are not searched for: they would match by chance. So for views of a value."""

_LAYERS = 4
"""How many layers of escapes are undone."""

_MIN_PLAIN = 8
"""Shorter values without blanks and quotes are not searched for across blanks: columns of numbers would match."""

_MIN_LINE = 16
"""Lines of a value of several lines (a private key) are searched for, too, when they are this long."""

_MAX_SPREAD = 48
"""Bytes of text that one byte of a value may take at most: line breaks, escapes and colours between its characters."""

# What is dropped from the plain view: blanks, controls and NUL (UTF-16), quotes, and what escapes or is doubled.
_DROPPED = bytes(range(33)) + b"\x7f\\'\"+$%"
_KEPT = re.compile(b"[^" + re.escape(_DROPPED) + b"]+")
_BASE64_DROPPED = b"+-"
_BASE64_KEPT = re.compile(rb"[^+\-]+")
_BASE64_SAME = bytes.maketrans(b"_", b"/")

# Every alternative begins with a character of its own: these are searched for, not tried at each place. Backslash runs
# are looked at from their beginning and as a whole, so that a text full of them costs no square.
_ESCAPE = re.compile(
    rb"\\(?<!\\\\)\\*+"
    rb"(?:u[dD][89abAB][0-9a-fA-F]{2}\\++u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]{1,6}\}"
    rb"|U[0-9a-fA-F]{8}|x[0-9a-fA-F]{2}|[0-3][0-7]{2}|[nrtbf]|(?=[%&]))"
    rb"|%[0-9a-fA-F]{2}"
    rb"|&(?:\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});"
)
_ESCAPED = (b"\\", b"%", b"&")
# What may stand in the middle of an escape: line breaks with indentation, the box which Terraform draws around errors,
# colours (ECMA-48, CSI).
_WRAP = re.compile(
    rb"\r\n[ \t]{0,200}+(?:\xe2\x94[\x80-\xbf][ +]?)?|\n[ \t]{0,200}+(?:\xe2\x94[\x80-\xbf][ +]?)?"
    rb"|\xe2\x94[\x80-\xbf]|\x1b\[[0-?]{0,32}[ -/]{0,4}[@-~]|\r"
)
_WRAPPED = (b"\n", b"\x1b", b"\xe2\x94", b"\r")
_HEX = re.compile(rb"[0-9a-fA-F]{2,8}")


def _unescaped(match: re.Match[bytes]) -> bytes:
    text = match.group()
    return _undone(text) if len(text) <= 16 else _undone.__wrapped__(text)  # longer ones would fill the cache


@functools.lru_cache(4096)
def _undone(text: bytes) -> bytes:
    first = text[0]
    if first == 0x25:
        return bytes([int(text[1:], 16)])
    if first == 0x26:
        return _entity(text)
    name = text.lstrip(b"\\")
    if name in (b"", b"n", b"r", b"t", b"b", b"f"):
        return b""
    digits = [int(found, 16) for found in _HEX.findall(name)]
    if name[:1] in (b"u", b"U"):
        if len(digits) == 2:  # two halves of UTF-16
            digits = [0x10000 + ((digits[0] & 0x3FF) << 10) + (digits[1] & 0x3FF)]
        return _utf8(digits[0])
    return bytes([digits[0]]) if name[:1] == b"x" else bytes([int(name, 8)])


def _entity(text: bytes) -> bytes:
    name = text[1:].decode("ascii")
    if name[0] != "#":
        return html.entities.html5.get(name, text.decode("ascii")).encode("utf-8")
    hexadecimal = name[1] in "xX"
    return _utf8(int(name[2:-1], 16) if hexadecimal else int(name[1:-1]))


def _utf8(number: int) -> bytes:
    return chr(number).encode("utf-8", "surrogatepass") if number < 0x110000 else b""


class _Step:
    """One transformation of a view, and the way back: pieces of the result with where they come from."""

    def __init__(self, source: bytes, pieces: Callable[[bytes], Iterator[tuple[int, int, int]]]) -> None:
        self._source = source
        self._pieces = pieces
        self._made: tuple[list[int], list[int], list[int]] | None = None

    def back(self, index: int) -> tuple[int, int]:
        """Begin and end in the source of what stands at `index` of the result."""
        if self._made is None:  # only when something was found
            outs, ins, ends = [0], [0], [-1]
            for out, begin, end in self._pieces(self._source):
                outs.append(out)
                ins.append(begin)
                ends.append(end)
            self._made = outs, ins, ends
        outs, ins, ends = self._made
        at = bisect_right(outs, index) - 1
        if ends[at] >= 0:
            return ins[at], ends[at]
        begin = ins[at] + index - outs[at]
        return begin, begin + 1


def _unescaped_pieces(source: bytes) -> Iterator[tuple[int, int, int]]:
    """(place in the result, begin, end) of escapes, and with end -1 of the text behind each."""
    out = last = 0
    for match in _ESCAPE.finditer(source):
        out += match.start() - last
        yield out, match.start(), match.end()
        out += len(_unescaped(match))
        last = match.end()
        yield out, last, -1


def _unwrapped_pieces(source: bytes) -> Iterator[tuple[int, int, int]]:
    out = last = 0
    for match in _WRAP.finditer(source):
        out += match.start() - last
        last = match.end()
        yield out, last, -1


def _kept_pieces(kept: re.Pattern[bytes]) -> Callable[[bytes], Iterator[tuple[int, int, int]]]:
    def pieces(source: bytes) -> Iterator[tuple[int, int, int]]:
        out = 0
        for match in kept.finditer(source):
            yield out, match.start(), -1
            out += match.end() - match.start()

    return pieces


_plain_pieces = _kept_pieces(_KEPT)
_base64_pieces = _kept_pieces(_BASE64_KEPT)


_UNDO: tuple[
    tuple[tuple[bytes, ...], Callable[[bytes], bytes], Callable[[bytes], Iterator[tuple[int, int, int]]]], ...
] = (
    (_WRAPPED, lambda data: _WRAP.sub(b"", data), _unwrapped_pieces),
    (_ESCAPED, lambda data: _ESCAPE.sub(_unescaped, data), _unescaped_pieces),
)


class _View:
    """`data` is what is searched; `steps` lead back to the text, the first one to the text itself."""

    def __init__(self, data: bytes, steps: tuple[_Step, ...] = ()) -> None:
        self.data = data
        self._steps = steps

    def in_text(self, begin: int, end: int) -> tuple[int, int]:
        last = end - 1
        for step in reversed(self._steps):
            begin = step.back(begin)[0]
            last = step.back(last)[1] - 1
        return begin, last + 1

    def plain(self) -> _View:
        data, steps = self.data, list(self._steps)
        for _layer in range(_LAYERS):
            for marks, undone, pieces in _UNDO:
                if any(mark in data for mark in marks):
                    steps.append(_Step(data, pieces))
                    data = undone(data)
            if not any(mark in data for marks, _undone, _pieces in _UNDO for mark in marks):
                break
        steps.append(_Step(data, _plain_pieces))
        return _View(data.translate(None, _DROPPED), tuple(steps))

    def base64(self) -> _View:
        """Of a plain view: both alphabets alike, without `+` (already dropped) and `-`."""
        step = _Step(self.data, _base64_pieces)
        return _View(self.data.translate(_BASE64_SAME, _BASE64_DROPPED), (*self._steps, step))

    def lower(self) -> _View:
        return _View(self.data.lower(), self._steps)


def _plain(value: bytes) -> bytes:
    return _View(value).plain().data


def _variants(value: bytes) -> set[bytes]:
    """The value in other encodings of its characters."""
    found = {value}
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode("utf-8")
        if not text.isascii():
            found |= {unicodedata.normalize(form, text).encode("utf-8") for form in ("NFC", "NFD")}
            # As Python writes it: an escape of two digits is a byte for one reader and a character for another.
            found.add(b"".join(char.encode("latin-1" if char < "\u0100" else "utf-8") for char in text))
            found.add(value.decode("latin-1").encode("utf-8"))  # UTF-8 that was taken for Latin-1, as HTTP headers are
    return found


def _wide(value: bytes) -> set[bytes]:
    """The value in UTF-16, which stands in texts with NULs only."""
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode("utf-8")
        return {text.encode("utf-16-le"), text.encode("utf-16-be")}
    return set()


def _escaped(value: bytes) -> set[bytes]:
    """Forms of a value that has too little left in the plain view."""
    found = {value}
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode("utf-8")
        made = [escape(text), urllib.parse.quote(text, safe=""), urllib.parse.quote_plus(text), repr(text)[1:-1]]
        made += [text.replace("'", "''"), text.replace("'", "'\"'\"'"), text.replace("'", "'\\''")]
        found |= {form.encode("utf-8") for form in made} | _in_json(text)
    return found


def _in_json(text: str) -> set[bytes]:
    return {json.dumps(text)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8")}


def _before_base64(value: bytes) -> set[bytes]:
    """The value as it may stand in what is then encoded as a whole: as it is, in JSON, in UTF-16 (PowerShell)."""
    found = {value}
    with contextlib.suppress(UnicodeDecodeError):
        text = value.decode("utf-8")
        found |= _in_json(text) | {text.encode("utf-16-le")}
    return found


def _cores(value: bytes) -> Iterator[bytes]:
    """The characters of base64 which depend on `value` alone, for each of its three positions in a longer text."""
    for lead, first in ((0, 0), (1, 2), (2, 3)):
        padded = b"\0" * lead + value
        last = len(padded) * 8 // 6  # whole characters; the next one would depend on what follows
        yield base64.b64encode(padded)[first:last]


def _base64_needle(core: bytes) -> bytes:
    return core.translate(_BASE64_SAME, b"+-")


class Known:
    """`values` are secrets and their kinds; `spans` finds them."""

    def __init__(self, values: Mapping[bytes, str]) -> None:
        self._needles: dict[str, dict[bytes, bytes]] = {"text": {}, "wide": {}, "lower": {}, "plain": {}, "base64": {}}
        self._kinds = dict(values)
        for value in sorted(values, key=len, reverse=True):  # of two with one form the longer one has it
            self._add(value)
        longest = max(map(len, values), default=0)
        self.reach = max(16 * 1024, _MAX_SPREAD * (longest + 1))
        """Bytes of text that one value may take."""

    def _add(self, value: bytes) -> None:
        for wide in _wide(value):
            self._needle("wide", wide, value)
        for variant in _variants(value):
            self._needle("text", variant, value)
            self._needle("lower", variant.hex().encode(), value)
            self._plain_needle(variant, value)
        for form in _before_base64(value):
            for core in _cores(form):
                self._needle("base64", _base64_needle(core), value, MIN_LENGTH - 1)
        for core in _cores(value):  # base64 in base64: a login in a JSON that is a value of a secret
            for again in _cores(core):
                self._needle("base64", _base64_needle(again), value, MIN_LENGTH + 2)
        for line in value.splitlines() if b"\n" in value else ():
            if len(line.strip()) >= _MIN_LINE and not line.startswith(b"-----"):
                self._needle("text", line.strip(), value)
                self._plain_needle(line, value)

    def _plain_needle(self, variant: bytes, value: bytes) -> None:
        plain = _plain(variant)
        if len(plain) < MIN_LENGTH or (plain == variant and len(plain) < _MIN_PLAIN):
            for form in _escaped(variant):
                self._needle("text", form, value)
            return
        self._needle("plain", plain, value)
        if variant[:1] in (b"n", b"r", b"t", b"b", b"f"):  # behind a backslash it would be taken for an escape
            self._needle("plain", _plain(variant[1:]), value)

    def _needle(self, view: str, needle: bytes, value: bytes, least: int = MIN_LENGTH) -> None:
        if len(needle) >= least:
            self._needles[view].setdefault(needle, value)

    def spans(self, data: bytes, context: int = 0) -> list[Span]:
        """Where the values are in `data`; spans of two values may overlap."""
        if not self._kinds:
            return []
        text = _View(data)
        plain = text.plain()
        views: Iterable[tuple[str, _View]] = (
            ("text", text),
            ("wide", text if b"\0" in data else _View(b"")),
            ("plain", plain),
            ("base64", plain.base64()),
            ("lower", text.lower()),
            ("lower", plain.lower()),
        )
        found: set[Span] = set()
        for name, view in views:
            for needle, value in self._needles[name].items():
                at = view.data.find(needle)
                while at >= 0:
                    begin, end = view.in_text(at, at + len(needle))
                    if end - begin <= self.reach:
                        found.add(Span(begin, begin, end, self._kinds[value], value))
                    at = view.data.find(needle, at + len(needle))
        return list(found)
