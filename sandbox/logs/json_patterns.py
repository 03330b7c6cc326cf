"""JSON patterns: { ($.level = "ERROR") && ($.status >= 500) }.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/matching-terms-json-log-events.html
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sandbox.logs.conditions import OPERATORS, PatternError, Regexes, Test, test_of, text_of

SELECTOR = re.compile(r"\$(?:\.?\[(?:\d+|\*|'[^']*'|\"[^\"]*\")\]|\.[^\s.\[\]=!<>()&|{}\"'$]+)+")
STEP = re.compile(r"\.?\[(?:(\d+)|(\*)|'([^']*)'|\"([^\"]*)\")\]|\.([^.\[\]]+)")
VALUE = re.compile(r'"((?:[^"\\]|\\.)*)"|%((?:[^%\\]|\\.)*)%|([^\s()&|{}"%]+)')
IS = re.compile(r"IS\s+(TRUE|FALSE|NULL)\b")
NOT_EXISTS = re.compile(r"NOT\s+EXISTS\b")
EXISTS = re.compile(r"EXISTS\b")
DEEPEST = 50
LITERALS = {"TRUE": True, "FALSE": False, "NULL": None}
ABSENT = object()

Step = str | int
Condition = Callable[[Any], bool]


@functools.lru_cache(maxsize=1024)
def steps_of(selector: str) -> tuple[Step, ...]:
    """$.a[0].b as ("a", 0, "b"); -1 is any element of an array."""
    steps: list[Step] = []
    for found in STEP.finditer(selector[1:]):
        index, star, single, double, name = found.groups()
        if index is not None:
            steps.append(int(index))
        elif star:
            steps.append(-1)
        else:
            steps.append(next(part for part in (single, double, name) if part is not None))
    return tuple(steps)


def values_at(document: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    """Every value of the document at this place."""
    if not steps:
        yield document
        return
    first, rest = steps[0], steps[1:]
    if isinstance(first, int):
        if isinstance(document, list):
            chosen = document if first == -1 else document[first : first + 1]
            for item in chosen:
                yield from values_at(item, rest)
    elif isinstance(document, dict) and first in document:
        yield from values_at(document[first], rest)


def document_of(message: str) -> Any:
    """The JSON object or array that a message is, as a whole; ABSENT when it is none."""
    text = message.strip()
    if not text.startswith(("{", "[")):
        return ABSENT
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return ABSENT


def select(selector: str, message: str) -> str | None:
    """The first plain value at the selector, as text."""
    document = document_of(message)
    if document is ABSENT or not SELECTOR.fullmatch(selector):
        return None
    return _first(document, selector)


def _first(document: Any, selector: str) -> str | None:
    plain = (value for value in values_at(document, steps_of(selector)) if isinstance(value, str | int | float))
    return next((text_of(value) for value in plain), None)


@dataclass
class JsonPattern:
    holds: Condition
    selectors: list[str] = field(default_factory=list)

    def extract(self, message: str) -> dict[str, str] | None:
        """Selector → value of an event that matches, else None."""
        document = document_of(message)
        if document is ABSENT or not self.holds(document):
            return None
        found = ((selector, _first(document, selector)) for selector in self.selectors)
        return {selector: text for selector, text in found if text is not None}


def parse(text: str, regexes: Regexes) -> JsonPattern:
    """Raises PatternError."""
    if not text.endswith("}"):
        raise PatternError("A JSON pattern ends with }")
    return _Parser(text[1:-1], regexes).whole()


class _Parser:
    def __init__(self, text: str, regexes: Regexes) -> None:
        self._text = text
        self._regexes = regexes
        self._at = 0
        self._depth = 0
        self._selectors: list[str] = []

    def whole(self) -> JsonPattern:
        holds = self._either()
        self._skip()
        if self._at != len(self._text):
            raise PatternError(f"Invalid JSON pattern at '{self._text[self._at :]}'")
        return JsonPattern(holds, self._selectors)

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _take(self, word: str) -> bool:
        self._skip()
        if self._text.startswith(word, self._at):
            self._at += len(word)
            return True
        return False

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        self._skip()
        found = pattern.match(self._text, self._at)
        if found is not None:
            self._at = found.end()
        return found

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._take("||"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else lambda document: any(part(document) for part in parts)

    def _both(self) -> Condition:
        parts = [self._one()]
        while self._take("&&"):
            parts.append(self._one())
        return parts[0] if len(parts) == 1 else lambda document: all(part(document) for part in parts)

    def _one(self) -> Condition:
        if not self._take("("):
            return self._condition()
        self._depth += 1
        if self._depth > DEEPEST:
            raise PatternError("The JSON pattern is nested too deeply")
        inner = self._either()
        if not self._take(")"):
            raise PatternError("A closing parenthesis is missing in the JSON pattern")
        self._depth -= 1
        return inner

    def _condition(self) -> Condition:
        selector = self._match(SELECTOR)
        if selector is None:
            raise PatternError(f"A selector such as $.name is missing at '{self._text[self._at :]}'")
        self._selectors.append(selector.group())
        steps = steps_of(selector.group())
        if self._match(NOT_EXISTS):
            return lambda document: next(values_at(document, steps), ABSENT) is ABSENT
        if self._match(EXISTS):
            return lambda document: next(values_at(document, steps), ABSENT) is not ABSENT
        if literal := self._match(IS):
            wanted = LITERALS[literal.group(1)]
            return lambda document: any(value is wanted for value in values_at(document, steps))
        sign = next((sign for sign in OPERATORS if self._take(sign)), "")
        if not sign:
            raise PatternError(f"An operator is missing at '{self._text[self._at :]}'")
        test = self._value(sign)
        return lambda document: any(
            test(value) for value in values_at(document, steps) if isinstance(value, str | int | float)
        )

    def _value(self, sign: str) -> Test:
        found = self._match(VALUE)
        if found is None:
            raise PatternError(f"A value is missing after {sign}")
        quoted, regex, bare = found.groups()
        if regex is not None:
            return test_of(sign, regex, "regex", self._regexes)
        if quoted is not None:
            return test_of(sign, re.sub(r"\\(.)", r"\1", quoted), "quoted", self._regexes)
        return test_of(sign, bare, "bare", self._regexes)
