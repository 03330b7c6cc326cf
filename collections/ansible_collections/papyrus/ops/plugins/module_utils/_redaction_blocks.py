# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replaces parts of a stream that need not fit into memory: in blocks which overlap, so that none is cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

BLOCK = 512 * 1024
CONTEXT = 256
"""Bytes before a block that are shown with it: what stands there decides what a place means."""


class Span(NamedTuple):
    """`start` to `end` is secret; it is known to be so from `begin` on (a label before it). `value` names it.

    `quote` stands around what takes its place: a number in JSON becomes a string.
    """

    begin: int
    start: int
    end: int
    kind: str
    value: bytes
    quote: bytes = b""


Find = Callable[[bytes, int], Iterable[Span]]
"""(data, context) → spans, of which those that begin in the first `context` bytes are not used; none is longer than the
reach."""

Token = Callable[[str, bytes], bytes]


class Blocks:
    """One pass over a stream. What is written does not depend on how the stream is cut into `feed`s.

    `find` sees each byte with at least `reach` bytes after it (or the end of the stream).
    """

    def __init__(self, find: Find, token: Token, reach: int) -> None:
        self._find = find
        self._token = token
        self._reach = reach
        self._block = max(BLOCK, 2 * reach)
        self._context = b""
        self._kept = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        self._kept += data
        whole = self._block + self._reach
        while len(self._kept) >= whole:
            yield self._replaced(whole, self._block)

    def end(self) -> Iterator[bytes]:
        if self._kept:
            yield self._replaced(len(self._kept), len(self._kept))

    def _replaced(self, length: int, decided: int) -> bytes:
        """Takes at least `decided` bytes off the stream, having looked at `length`."""
        context = len(self._context)
        with memoryview(self._kept) as kept:
            data = self._context + bytes(kept[:length])
        spans = sorted(span for span in self._find(data, context) if span.begin >= context)  # not what is done
        decided += context
        for span in spans:
            if span.begin < decided < span.end:
                decided = span.end
        out = replaced(data, context, decided, merged(span for span in spans if span.begin < decided), self._token)
        del self._kept[: decided - context]
        self._context = data[max(0, decided - CONTEXT) : decided]
        return out


def merged(spans: Iterable[Span]) -> list[Span]:
    """Without overlaps; of spans that overlap the longest gives its name to all of them."""
    result: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if result and span.start < result[-1].end:
            last = result[-1]
            name = span if span.end - span.start > last.end - last.start else last
            result[-1] = name._replace(begin=last.begin, start=last.start, end=max(last.end, span.end))
        else:
            result.append(span)
    return result


def replaced(data: bytes, begin: int, end: int, spans: Sequence[Span], token: Token) -> bytes:
    parts, last = [], begin
    for span in spans:
        parts += [data[last : span.start], span.quote, token(span.kind, span.value), span.quote]
        last = span.end
    parts.append(data[last:end])
    return b"".join(parts)


def moved(cuts: Iterable[int], spans: Sequence[Span], token: Token) -> list[int]:
    """Where `cuts` (ascending) lie after `replaced`; one inside of a span lies behind what takes its place."""
    result, shift, at = [], 0, 0
    for cut in cuts:
        while at < len(spans) and spans[at].end <= cut:
            shift += _growth(spans[at], token)
            at += 1
        if at < len(spans) and spans[at].start < cut:
            result.append(spans[at].end + shift + _growth(spans[at], token))
        else:
            result.append(cut + shift)
    return result


def _growth(span: Span, token: Token) -> int:
    return 2 * len(span.quote) + len(token(span.kind, span.value)) - (span.end - span.start)
