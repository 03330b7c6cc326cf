# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""manifest.jsonl of a bundle that may be hostile: read line by line in bounded memory, and its chain judged.

What is said of each kind of change: a line whose bytes differ, that was put in or that stands twice is `invalid`;
lines taken out are a `gap`; lines in another order are `reordered`; a last line without its end is `torn`. Lines cut
off at the end leave a valid chain: only what was sealed tells (`truncated`, see _verify).
"""

from __future__ import annotations

import hashlib
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._evidence import FIRST_PREV, MANIFEST, RUN_FILE, SEALED_FILES, STATUSES, VERDICT, canonical
from ._names import parse_rfc3339
from ._verify_files import Finding, Folder, shown

MAX_LINE = 64 * 1024
MAX_LINES = 100_000
"""Bounds of what is read; a hundred times what a run writes, and each line four times its largest."""

_FIELDS = {"seq", "prev", "at", "name", "path", "media_type", "bytes", "sha256", "status", "step", "meta"}
_HASH = re.compile(r"[0-9a-f]{64}")
_AT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STAMPED = re.compile(r"\d{8}T\d{6}(?:\d{6})?Z_(.+)", re.ASCII)
_MAX_NUMBER = 2**53 - 1  # RFC 8785, section 3.2.2.3: what every reader of JSON understands exactly


@dataclass(frozen=True, slots=True)
class Line:
    """A line in its one valid form. `number` counts the lines of the file from 1, `hash` is that of its own bytes."""

    number: int
    hash: str
    seq: int
    prev: str
    name: str
    path: str
    size: int
    sha256: str


@dataclass
class Chain:
    """`bad`: number of the line → what is wrong with it. `torn` bytes follow the last line end.

    `sha256` is that of the whole file; "" when a line was too long, or there were too many: the rest was not read.
    `first` are the bytes of line 1 when it is in valid form, `head` is the hash of the last line with an end.
    """

    lines: list[Line] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)
    torn: int = 0
    size: int = 0
    sha256: str = ""
    first: bytes = b""
    head: str = ""

    @property
    def count(self) -> int:
        return len(self.lines) + len(self.bad)


def read_chain(folder: Folder, see: Callable[[Line, dict[str, Any]], None] = lambda line, value: None) -> Chain:
    """Every line of manifest.jsonl; `see` is called with each that is in valid form. Raises as Folder.open does."""
    chain = Chain()
    digest = hashlib.sha256()
    with folder.open(MANIFEST) as file:
        while raw := file.readline(MAX_LINE + 1):
            number = chain.count + 1
            if len(raw) > MAX_LINE or number > MAX_LINES:
                chain.bad[number] = (
                    f"is longer than {MAX_LINE} bytes" if len(raw) > MAX_LINE else f"is one of more than {MAX_LINES}"
                ) + "; nothing from there on was read"
                return chain
            digest.update(raw)
            chain.size += len(raw)
            if not raw.endswith(b"\n"):
                chain.torn = len(raw)
                break
            chain.head = hashlib.sha256(raw[:-1]).hexdigest()
            try:
                line, value = parse_line(raw[:-1], number)
            except ValueError as exc:
                chain.bad[number] = str(exc)
                continue
            if number == 1:
                chain.first = raw[:-1]
            chain.lines.append(line)
            see(line, value)
    chain.sha256 = digest.hexdigest()
    return chain


def parse_line(raw: bytes, number: int) -> tuple[Line, dict[str, Any]]:
    """ValueError says how the line differs from the one form that it can have."""
    value = strict_object(raw)
    if set(value) != _FIELDS:
        raise ValueError("does not have exactly the fields of a manifest line")
    checks: dict[str, Callable[[Any], bool]] = {
        "seq": _count,
        "prev": _hash,
        "at": _time,
        "name": lambda name: isinstance(name, str) and bool(_NAME.fullmatch(name)) and _free(name),
        "path": lambda path: isinstance(path, str) and _path_fits(path, value["name"]),
        "media_type": lambda kind: isinstance(kind, str),
        "bytes": _count,
        "sha256": _hash,
        "status": lambda status: status in STATUSES,
        "step": lambda step: isinstance(step, str) and step != "",
        "meta": lambda meta: isinstance(meta, dict),
    }
    for name, good in checks.items():
        if not good(value[name]):
            raise ValueError(f"has a {name} that no item can have: {shown(ascii(value[name]), 100)}")
    own = hashlib.sha256(raw).hexdigest()
    line = Line(number, own, value["seq"], value["prev"], value["name"], value["path"], value["bytes"], value["sha256"])
    return line, value


def strict_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`. ValueError when that is not its RFC 8785 form, or no object.

    That form has each key once, no NaN, no number beyond a double, no other spelling of anything.
    """
    try:
        value = json.loads(raw.decode("utf-8"))
        same = canonical(value) == raw
    except (ValueError, RecursionError) as exc:
        raise ValueError(f"is no JSON that everybody reads alike ({type(exc).__name__})") from exc
    if not isinstance(value, dict):
        raise ValueError("is no JSON object")
    if not same:
        raise ValueError("is not in canonical form (RFC 8785): written or changed by something else")
    return value


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER


def _hash(value: Any) -> bool:
    return isinstance(value, str) and bool(_HASH.fullmatch(value))


def _time(value: Any) -> bool:
    if not isinstance(value, str) or not _AT.fullmatch(value):
        return False
    try:
        parse_rfc3339(value)
    except ValueError:
        return False
    return True


def _free(name: str) -> bool:
    """Names of the files which the bundle itself has are no names of items."""
    return name not in SEALED_FILES and name != MANIFEST


def _path_fits(path: str, name: Any) -> bool:
    """`run.json`, or `<UTC>_<name>`: with the name's own rule, no path can lead out of the folder."""
    if name == RUN_FILE:
        return path == RUN_FILE
    match = _STAMPED.fullmatch(path)
    return match is not None and match.group(1) == name


# The chain


def judge(chain: Chain) -> list[Finding]:
    """Findings about the lines and their order; none for a chain that could be an untouched one.

    Lines that cannot be of it go from `chain.lines` to `chain.bad`. The times of lines are not compared: a clock may go
    back. Two facts decide which line is to blame: whether the next one has its hash (then its bytes are the first
    ones), and whether it has the hash of the one before.
    """
    _set_apart(chain, _strangers(chain.lines))
    _set_apart(chain, _same_paths(chain.lines))
    by_seq = sorted(chain.lines, key=lambda line: line.seq)
    found = [_invalid(number, reason) for number, reason in sorted(chain.bad.items())]
    found += _order(chain.lines, by_seq)
    found += _links(by_seq, sorted(chain.bad))
    found += _after_verdict(by_seq)
    if chain.torn:
        found.append(Finding("torn", MANIFEST, f"its last line is not complete ({chain.torn} bytes without an end)"))
    return found


def _set_apart(chain: Chain, bad: Mapping[int, str]) -> None:
    chain.bad |= bad
    chain.lines = [line for line in chain.lines if line.number not in bad]


def _invalid(number: int, reason: str, seq: int | None = None) -> Finding:
    return Finding("invalid", MANIFEST, f"line {number} {reason}", seq)


def _strangers(lines: Sequence[Line]) -> dict[int, str]:
    """Lines that cannot be of this chain, by their number: after them, each seq is there once."""
    bad: dict[int, str] = {}
    by_hash = {line.hash: line for line in lines}
    by_seq: dict[int, list[Line]] = {}
    for line in lines:
        before = by_hash.get(line.prev)
        if line.prev == FIRST_PREV and line.seq != 0:
            bad[line.number] = f"says to be the first, and to have the number {line.seq}"
        elif before is not None and line.seq != before.seq + 1:
            bad[line.number] = f"follows {before.seq}, and says to have the number {line.seq}"
        else:
            by_seq.setdefault(line.seq, []).append(line)
    followed = {(line.prev, line.seq - 1) for line in lines}
    above = {line.number + 1: line.hash for line in lines}
    for seq, same in by_seq.items():
        kept = max(same, key=lambda line: ((line.hash, line.seq) in followed, above.get(line.number) == line.prev))
        for line in same:
            if line is not kept:
                what = "stands twice" if line.hash == kept.hash else "is not the only one with its number"
                bad[line.number] = f"(number {seq}) {what}: it was put in"
    return bad


def _same_paths(lines: Sequence[Line]) -> dict[int, str]:
    """Lines that name a file which one before them names, by their number."""
    first: dict[str, int] = {}
    return {
        line.number: f"names the file {line.path}, as line {first[line.path]} does"
        for line in lines
        if first.setdefault(line.path, line.number) != line.number
    }


def _order(lines: Sequence[Line], by_seq: Sequence[Line]) -> Iterator[Finding]:
    displaced = [line.seq for line, right in zip(lines, by_seq, strict=True) if line is not right]
    if displaced:
        reason = f"the lines {min(displaced)} to {max(displaced)} are not in the order in which they were written"
        yield Finding("reordered", MANIFEST, reason, min(displaced))


def _links(lines: Sequence[Line], bad: Sequence[int]) -> Iterator[Finding]:
    """`lines` by seq. A line in `bad` (numbers, sorted) that stands where one is missing explains that."""
    followed = {(line.prev, line.seq - 1) for line in lines}
    blamed = -1
    if lines and lines[0].seq == 0 and lines[0].prev != FIRST_PREV:
        yield _invalid(lines[0].number, "has the number 0, and names a line before it", 0)
        blamed = 0
    if lines and lines[0].seq > 0 and not _explained(0, lines[0].number, bad):
        yield Finding("gap", MANIFEST, _missing(0, lines[0].seq - 1), 0)
    for before, line in zip(lines, lines[1:], strict=False):
        if line.seq > before.seq + 1:
            if not _explained(before.number, line.number, bad):
                yield Finding("gap", MANIFEST, _missing(before.seq + 1, line.seq - 1), before.seq + 1)
        elif line.prev != before.hash and blamed != before.seq:
            alone = (line.hash, line.seq) not in followed and line is not lines[-1]
            wrong = line if alone else before
            blamed = wrong.seq
            yield _invalid(wrong.number, "has other bytes than the lines around it say", wrong.seq)


def _explained(first: int, last: int, bad: Sequence[int]) -> bool:
    """Whether a line in `bad` (numbers, sorted) stands between these two."""
    low, high = min(first, last), max(first, last)
    return bisect_right(bad, low) < bisect_left(bad, high)


def _missing(first: int, last: int) -> str:
    return f"line {first} was taken out" if first == last else f"the lines {first} to {last} were taken out"


def _after_verdict(lines: Sequence[Line]) -> Iterator[Finding]:
    """The verdict is the last item of every bundle."""
    ended = False
    for line in lines:
        if ended:
            yield _invalid(line.number, f"({shown(line.name)}) comes after the verdict", line.seq)
        ended = ended or line.name == VERDICT
