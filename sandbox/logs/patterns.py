"""Filter patterns of CloudWatch Logs: terms, space-delimited fields, JSON, regular expressions.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass

from sandbox.logs import fields, json_patterns
from sandbox.logs.conditions import PatternError, Regexes, compiled_regex

# What a term without quotes may hold; everything else needs them.
BARE_TERM = re.compile(r"\w+")
TERM = re.compile(r'\s*([-?]?)(?:"((?:[^"\\]|\\.)*)"|%((?:[^%\\]|\\.)*)%|(\S+))')
LONGEST = 1024


@dataclass(frozen=True)
class Pattern:
    """`kind` is terms, fields or json. `extract` gives the event's values by selector when it matches, else None."""

    kind: str
    extract: Callable[[str], dict[str, str] | None]
    # The value of one selector of a matching event, such as $.latency or $bytes; None when it has none.
    select: Callable[[str, str], str | None]
    # Names that a metric's value may use; empty when any does.
    names: frozenset[str] = frozenset()
    regexes: int = 0

    def matches(self, message: str) -> bool:
        return self.extract(message) is not None


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Pattern:
    """Raises PatternError."""
    if len(text) > LONGEST:
        raise PatternError(f"Filter pattern is longer than {LONGEST} characters")
    stripped = text.strip()
    regexes = Regexes()
    if stripped.startswith("{"):
        json_pattern = json_patterns.parse(stripped, regexes)
        return Pattern("json", json_pattern.extract, json_patterns.select, regexes=regexes.count)
    if stripped.startswith("["):
        words = fields.parse(stripped, regexes)
        return Pattern("fields", words.extract, words.select, words.names, regexes.count)
    matches = _terms(stripped, regexes)
    return Pattern(
        "terms",
        lambda message: {} if matches(message) else None,
        lambda selector, message: None,
        frozenset({""}),
        regexes.count,
    )


def _terms(text: str, regexes: Regexes) -> Callable[[str], bool]:
    include: list[Callable[[str], bool]] = []
    exclude: list[Callable[[str], bool]] = []
    optional: list[Callable[[str], bool]] = []
    at = 0
    while at < len(text):
        found = TERM.match(text, at)
        if found is None:
            raise PatternError(f"Invalid filter pattern at character {at}")
        at = found.end()
        if at < len(text) and not text[at].isspace():
            raise PatternError(f"Invalid character(s) in term '{text[found.start() :].split()[0]}'")
        sign, quoted, regex, bare = found.groups()
        {"": include, "-": exclude, "?": optional}[sign].append(_term(quoted, regex, bare, regexes))
    if include or exclude:
        # With other terms beside them, those with a question mark count for nothing.
        return lambda message: all(t(message) for t in include) and not any(t(message) for t in exclude)
    if optional:
        return lambda message: any(term(message) for term in optional)
    return lambda message: True


def _term(quoted: str | None, regex: str | None, bare: str | None, regexes: Regexes) -> Callable[[str], bool]:
    if regex is not None:
        search = compiled_regex(regex, regexes).search
        return lambda message: search(message) is not None
    if quoted is not None:
        word = re.sub(r"\\(.)", r"\1", quoted)
    else:
        word = str(bare)
        if not BARE_TERM.fullmatch(word):
            raise PatternError(f"Invalid character(s) in term '{word}'")
    return lambda message: word in message
