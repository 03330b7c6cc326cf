"""What one value of an event is compared with, in JSON patterns and in space-delimited ones."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

MOST_REGEXES = 2
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html: characters, then operators.
REGEX_CHARACTERS = re.compile(r"(?:[A-Za-z0-9:_#=@/;,\- ^$?\[\]{}|*+.]|\\[\x20-\x7e])*")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
ORDER: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OPERATORS = ("!=", "<=", ">=", "=", "<", ">")

Test = Callable[[str | float | bool], bool]


class PatternError(ValueError):
    """A filter pattern that AWS would call invalid; the message says why."""


@dataclass
class Regexes:
    """How many regular expressions a pattern has."""

    count: int = 0


def compiled_regex(text: str, regexes: Regexes) -> re.Pattern[str]:
    """Raises PatternError for what AWS's own small language of regular expressions has not."""
    regexes.count += 1
    if regexes.count > MOST_REGEXES:
        raise PatternError(f"A filter pattern has at most {MOST_REGEXES} regular expressions")
    if not text or not REGEX_CHARACTERS.fullmatch(text):
        raise PatternError(f"Invalid regular expression '{text}'")
    try:
        return re.compile(text, re.ASCII)
    except re.error as error:
        raise PatternError(f"Invalid regular expression '{text}': {error}") from error


def number_of(value: str | float | bool) -> float | None:
    """The number that a value is, or says."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    return float(value) if NUMBER.fullmatch(value) else None


def text_of(value: str | float | bool) -> str:
    """A value as text, as JSON writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _with_stars(text: str) -> Callable[[str], bool]:
    if "*" not in text:
        return lambda value: value == text
    full = re.compile(".*".join(map(re.escape, text.split("*"))), re.DOTALL).fullmatch
    return lambda value: full(value) is not None


def test_of(sign: str, text: str, kind: str, regexes: Regexes) -> Test:
    """A test of a value against `text`, which was quoted, a regex, or bare (`kind`). Raises PatternError."""
    if sign in ORDER:
        if kind == "regex" or (limit := number_of(text)) is None:
            raise PatternError(f"'{text}' is not a number, which {sign} needs")
        bound = limit
        return lambda value: (number := number_of(value)) is not None and ORDER[sign](number, bound)
    if kind == "regex":
        search = compiled_regex(text, regexes).search
        return _as_said(sign, lambda value: search(text_of(value)) is not None)
    same = _with_stars(text)
    number = number_of(text) if kind == "bare" else None
    if number is None:
        return _as_said(sign, lambda value: same(text_of(value)))
    return _as_said(sign, lambda value: number_of(value) == number or same(text_of(value)))


def _as_said(sign: str, test: Test) -> Test:
    return test if sign == "=" else lambda value: not test(value)
