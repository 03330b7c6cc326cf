# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which lines of an export are in its derivative: a rule on the record alone, here and as a program for jq.

Texts are compared as they are, upper and lower case are different. A name or user is found where a text is it, or has
it as one or more whole parts between `:` and `/`: `papyrus-task` in `arn:…:task-definition/papyrus-task:7`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Record = Mapping[str, Any]


class Criterion(Protocol):
    """What selects lines. `name` is part of the derivative's file name, `jq` selects the same lines."""

    name: str
    jq: str

    def matches(self, line: bytes) -> bool:
        """Of a line as it stands in the full file."""


@dataclass(frozen=True)
class Rule:
    """One condition: `matches` of the record, and the same as an expression of jq."""

    jq: str
    matches: Callable[[Record], bool]


class Filter:
    """A line is in when all rules match; each rule matches when one of its values does (as EC2's filters)."""

    def __init__(self, name: str, rules: Sequence[Rule]) -> None:
        self.name = name
        self.jq = _PARTS + " select(" + " and ".join(rule.jq for rule in rules) + ")"
        self._rules = tuple(rules)

    def matches(self, line: bytes) -> bool:
        record = json.loads(line)
        return all(rule.matches(record) for rule in self._rules)


_PARTS = (
    'def parts: "/" + (split(":") | join("/")) + "/";'
    " def named($names): [.. | strings | parts] | any(.[]; . as $text | any($names[]; . as $name"
    " | $text | contains($name)));"
)


def _parts(text: str) -> str:
    return f"/{text.replace(':', '/')}/"


def texts(value: Any) -> Iterator[str]:
    """Every text in JSON-like data, not the names of members."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict):
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)


def _quoted(values: Sequence[str]) -> str:
    """For jq; also inside of single quotes of a shell."""
    return json.dumps(list(values)).replace("'", "\\u0027")


def named(paths: Sequence[str], names: Sequence[str]) -> Rule:
    """One of `names` is found in a text at or below one of `paths` (`requestParameters`, `entry.Resources`)."""
    wanted = [_parts(name) for name in names]

    def matches(record: Record) -> bool:
        return any(name in _parts(text) for path in paths for text in texts(_at(record, path)) for name in wanted)

    return Rule(f"([{_paths(paths)}] | named({_quoted(wanted)}))", matches)


def services(paths: Sequence[str], names: Sequence[str]) -> Rule:
    """A text at one of `paths` is one of `names`, or that with more behind a dot (`ecs`, `ecs.amazonaws.com`)."""
    wanted = tuple(f"{name}." for name in names)

    def matches(record: Record) -> bool:
        found = (_at(record, path) for path in paths)
        return any(isinstance(text, str) and f"{text}.".startswith(wanted) for text in found)

    jq = f'([{_paths(paths)}] | any(.[]; strings | . + "." | startswith({_quoted(wanted)}[])))'
    return Rule(jq, matches)


def containing(values: Sequence[str]) -> Rule:
    """One of `values` stands in some text of the record."""
    wanted = tuple(values)

    def matches(record: Record) -> bool:
        return any(value in text for text in texts(record) for value in wanted)

    return Rule(f"([.. | strings] | any(.[]; contains({_quoted(wanted)}[])))", matches)


def _at(record: Record, path: str) -> Any:
    value: Any = record
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _paths(paths: Sequence[str]) -> str:
    return ", ".join("." + "?.".join(path.split(".")) + "?" for path in paths)
