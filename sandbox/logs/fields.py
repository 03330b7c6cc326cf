"""Space-delimited patterns: [ip, user, …, status = 4*, bytes > 1000].

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/matching-terms-unstructured-log-events.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.logs.conditions import PatternError, Regexes, test_of

FIELD = re.compile(r'"((?:[^"\\]|\\.)*)"|\[([^\]]*)\]|(\S+)')
NAME = re.compile(r"\s*([A-Za-z_]\w*)")
CONDITION = re.compile(r'\s*(!=|<=|>=|=|<|>)\s*(?:"((?:[^"\\]|\\.)*)"|%((?:[^%\\]|\\.)*)%|([^\s,|&()\]"]+))')
ELLIPSIS = "..."
Check = Callable[[str], bool]


def split(message: str) -> list[str]:
    """The fields of a message: words, and what stands between quotes or square brackets."""
    return [next(part for part in found if part is not None) for found in map(_parts, FIELD.finditer(message))]


def _parts(found: re.Match[str]) -> tuple[str | None, ...]:
    return found.groups()


@dataclass(frozen=True)
class Fields:
    before: tuple[tuple[str, Check | None], ...]
    # What follows an ellipsis; None without one.
    after: tuple[tuple[str, Check | None], ...] | None

    @property
    def names(self) -> frozenset[str]:
        return frozenset(f"${name}" for name, _ in self.before + (self.after or ()))

    def extract(self, message: str) -> dict[str, str] | None:
        """$name → field of a message that matches, else None."""
        words = split(message)
        parts = list(self.before)
        if self.after is None:
            if len(words) != len(parts):
                return None
            pairs = list(zip(parts, words, strict=True))
        else:
            if len(words) < len(parts) + len(self.after):
                return None
            tail = words[len(words) - len(self.after) :]
            pairs = [*zip(parts, words, strict=False), *zip(self.after, tail, strict=True)]
        if any(check is not None and not check(word) for (_, check), word in pairs):
            return None
        return {f"${name}": word for (name, _), word in pairs}

    def select(self, selector: str, message: str) -> str | None:
        return (self.extract(message) or {}).get(selector)


def parse(text: str, regexes: Regexes) -> Fields:
    """Raises PatternError."""
    if not text.endswith("]"):
        raise PatternError("A space-delimited pattern ends with ]")
    parts = [part.strip() for part in _at_commas(text[1:-1])]
    if parts.count(ELLIPSIS) > 1:
        raise PatternError("A space-delimited pattern has at most one ellipsis")
    read = [None if part == ELLIPSIS else _field(part, n, regexes) for n, part in enumerate(parts, 1)]
    names = [field[0] for field in read if field is not None]
    if not names or len(set(names)) != len(names):
        raise PatternError("The fields of a space-delimited pattern have names of their own")
    if None not in read:
        return Fields(tuple(field for field in read if field is not None), None)
    at = read.index(None)
    before, after = read[:at], read[at + 1 :]
    return Fields(
        tuple(field for field in before if field is not None), tuple(field for field in after if field is not None)
    )


def _at_commas(text: str) -> list[str]:
    """Parted at the commas that are in no quotes and in no regular expression."""
    parts, start, inside = [], 0, ""
    for at, letter in enumerate(text):
        if inside:
            inside = "" if letter == inside and text[at - 1] != "\\" else inside
        elif letter in '"%':
            inside = letter
        elif letter == ",":
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _field(text: str, number: int, regexes: Regexes) -> tuple[str, Check | None]:
    """(name, condition) of `status = 4* || status = 5*`; a field without a name is called by its number."""
    if not text:
        return str(number), None
    body = text[1:-1] if text.startswith("(") and text.endswith(")") else text
    alternatives: list[list[Check]] = [[]]
    name, at = "", 0
    while True:
        named = NAME.match(body, at)
        if named is None or (name and named.group(1) != name):
            raise PatternError(f"Invalid field '{text}'")
        name, at = named.group(1), named.end()
        condition = CONDITION.match(body, at)
        if condition is None:
            if alternatives == [[]] and not body[at:].strip():
                return name, None
            raise PatternError(f"Invalid field '{text}'")
        at = condition.end()
        alternatives[-1].append(_check(condition, regexes))
        rest = body[at:].lstrip()
        if not rest:
            break
        if rest[:2] not in ("&&", "||"):
            raise PatternError(f"Invalid field '{text}'")
        if rest.startswith("||"):
            alternatives.append([])
        at = len(body) - len(rest) + 2
    return name, lambda word: any(all(check(word) for check in checks) for checks in alternatives)


def _check(condition: re.Match[str], regexes: Regexes) -> Check:
    sign, quoted, regex, bare = condition.groups()
    if regex is not None:
        return test_of(sign, regex, "regex", regexes)
    if quoted is not None:
        return test_of(sign, re.sub(r"\\(.)", r"\1", quoted), "quoted", regexes)
    return test_of(sign, str(bare), "bare", regexes)
