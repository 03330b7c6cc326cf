# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a command has said: as much as shall be kept, with the time of each piece, and the rest counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix

from ._redaction import Redactor

SLACK = 16 * 1024
"""Bytes kept beyond the limit while redacting, so that a secret at the cut is seen whole. Longer than any secret."""

MOMENT = 0.01
"""Seconds within which pieces count as one: a recording of a gigabyte in single bytes must not need memory for each."""


@dataclass(frozen=True)
class Piece:
    """`at` seconds since the command began."""

    at: float
    data: bytes


@dataclass(frozen=True)
class Final:
    """The output to be shown: redacted, and cut where there was more than the limit."""

    data: bytes
    pieces: list[Piece]
    total: int
    truncated: bool
    duration: float

    @property
    def cut_note(self) -> str:
        """The mark that stands where output was left out, "" when it is whole."""
        if not self.truncated:
            return ""
        return f"[papyrus.ops: output cut here, the command wrote {self.total} bytes in all]"


@dataclass
class Recorder:
    """Memory does not grow beyond `limit`, however much is written."""

    limit: int
    clock: Callable[[], float]
    total: int = 0
    started: float | None = None
    ended: float | None = None
    _data: bytearray = field(default_factory=bytearray)
    _ends: list[tuple[float, int]] = field(default_factory=list)

    def start(self) -> None:
        """The command begins."""
        self.started = self.clock()

    def end(self) -> None:
        """It has said its exit code; should it say another, the later one is the end."""
        self.ended = self.clock()

    def write(self, data: bytes, at: float) -> None:
        """`at` by the same clock."""
        self.total += len(data)
        room = self.limit + SLACK - len(self._data)
        if room <= 0:
            return
        self._data += data[:room]
        if self.started is None:
            raise ValueError("output before the command began")
        at = max(0.0, at - self.started)
        if self._ends and at - self._ends[-1][0] < MOMENT:
            self._ends[-1] = (self._ends[-1][0], len(self._data))
        else:
            self._ends.append((at, len(self._data)))

    def final(self, redactor: Redactor | None, duration: float) -> Final:
        pieces, start = [], 0
        for at, end in self._ends:
            pieces.append(Piece(at, bytes(self._data[start:end])))
            start = end
        cut = self.total > self.limit
        shown = self.limit
        if redactor is not None:
            pieces = redacted(pieces, redactor)
            if cut:
                # As far as what lies beyond the limit makes no difference: a secret across it is not shown in part.
                kept = bytes(self._data)
                shown = len(commonprefix([redactor.redact(kept[: self.limit]), redactor.redact(kept)]))
        if cut:
            pieces = _first(pieces, shown)
        data = b"".join(piece.data for piece in pieces)
        return Final(data, pieces, self.total, cut, duration)


def redacted(pieces: Sequence[Piece], redactor: Redactor) -> list[Piece]:
    """The pieces without secrets, also without one that was cut between pieces.

    Joined they are what redacting the whole at once gives; a piece may be left without a byte.
    """
    clean = redactor.redact_pieces([piece.data for piece in pieces])
    return [Piece(piece.at, data) for piece, data in zip(pieces, clean, strict=True) if data]


def _first(pieces: Sequence[Piece], length: int) -> list[Piece]:
    kept = []
    for piece in pieces:
        if length <= 0:
            break
        kept.append(Piece(piece.at, piece.data[:length]))
        length -= len(piece.data)
    return kept
