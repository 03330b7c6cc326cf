"""What a service's model asks of parameters, and how AWS's servers say what does not hold.

Traits: https://smithy.io/2.0/spec/constraint-traits.html
"""

from __future__ import annotations

import base64
import binascii
import functools
import math
import re
import unicodedata
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

# Longer values are shown cut; patterns are not tried on texts that are longer still.
LONGEST_SHOWN = 200
LONGEST_MATCHED = 16_384
INTEGER_LIMITS = {"integer": 2**31, "long": 2**63}
CATEGORY = re.compile(r"\\p\{(\w+)\}")
# Java's named classes that stand in the models besides Unicode's categories.
NAMED_CLASSES = {"ASCII": r"\x00-\x7f", "Alnum": "a-zA-Z0-9", "Alpha": "a-zA-Z", "Digit": "0-9", "Graph": "!-~"}
JSON_TYPES = {
    "string": "a String",
    "integer": "an Integer",
    "long": "a Long",
    "float": "a Float",
    "double": "a Double",
    "boolean": "an Boolean",
    "timestamp": "a Timestamp",
    "blob": "a Blob",
}


class WrongType(ValueError):
    """A value that is not of the parameter's type; the message is AWS's for JSON. `path` and `value` say which."""

    def __init__(self, message: str, path: str, value: Any, kind: str) -> None:
        super().__init__(message)
        self.path = path
        self.value = value
        self.kind = kind


@dataclass(frozen=True)
class Violation:
    """One constraint that does not hold. kind: missing, range, length, pattern, enum."""

    path: str
    kind: str
    constraint: str
    # As AWS shows it; None for what is sensitive.
    shown: str | None
    value: Any
    # The constraint's number.
    limit: int | float | None = None

    def __str__(self) -> str:
        at = f"at '{self.path}'" if self.shown is None else f"{self.shown} at '{self.path}'"
        return f"Value {at} failed to satisfy constraint: {self.constraint}"


Check = Callable[[Any, str, list[Violation]], None]
# Which kinds of constraints count, decided by the service.
Wanted = Callable[[str, Shape], bool]


class Checker:
    """The checks of one structure (an operation's parameters), made from the model once."""

    def __init__(self, shape: Shape, protocol: str, wanted: Wanted) -> None:
        self._shape = shape
        # JSON documents have the names of the wire; the other protocols were read into the model's.
        self._wire = protocol == "json"
        self._blobs_as_text = protocol in ("json", "query", "ec2")
        self._wanted = wanted
        self._made: dict[str, Check] = {}

    def __call__(self, parameters: Mapping[str, Any]) -> list[Violation]:
        """Everything that does not hold. Raises WrongType for the first value of another type."""
        found: list[Violation] = []
        self._check(self._shape)(parameters, "", found)
        return found

    def _check(self, shape: Shape) -> Check:
        # A name stands for the same shape everywhere but for its `sensitive`, which is the shape's own as well.
        known = self._made.get(shape.name)
        if known is None:
            self._made[shape.name] = lambda value, path, found: self._made[shape.name](value, path, found)
            known = self._made[shape.name] = self._make(shape)
        return known

    def _make(self, shape: Shape) -> Check:
        if isinstance(shape, StructureShape):
            return _anything if shape.is_document_type else self._structure(shape)
        if isinstance(shape, ListShape):
            return self._list(shape)
        if isinstance(shape, MapShape):
            return self._map(shape)
        return self._scalar(shape)

    def _structure(self, shape: StructureShape) -> Check:
        members = [
            (
                name,
                str(member.serialization.get("name", name)) if self._wire else name,
                name[:1].lower() + name[1:],
                name in shape.required_members and self._wanted("missing", member),
                self._check(member),
            )
            for name, member in shape.members.items()
        ]

        def check(value: Any, path: str, found: list[Violation]) -> None:
            if not isinstance(value, dict):
                raise _not_a("structure", value, path)
            prefix = f"{path}." if path else ""
            for _, wire, name, required, inner in members:
                given = value.get(wire)
                if given is not None:
                    inner(given, prefix + name, found)
                elif required:
                    found.append(Violation(prefix + name, "missing", "Member must not be null", "null", None))

        return check

    def _list(self, shape: ListShape) -> Check:
        item = self._check(shape.member)
        own = self._limits(shape, "length")
        scalar = not isinstance(shape.member, StructureShape | ListShape | MapShape)

        def check(value: Any, path: str, found: list[Violation]) -> None:
            if not isinstance(value, list):
                raise _not_a("list", value, path)
            own(value, path, found)
            inner: list[Violation] = []
            for number, given in enumerate(value, 1):
                if given is not None:
                    item(given, f"{path}.{number}.member", inner)
            if inner and scalar:
                found.append(_of_items("Member", value, path, inner))
            else:
                found += inner

        return check

    def _map(self, shape: MapShape) -> Check:
        key_check, value_check = self._check(shape.key), self._check(shape.value)
        own = self._limits(shape, "length")
        scalar = not isinstance(shape.value, StructureShape | ListShape | MapShape)

        def check(value: Any, path: str, found: list[Violation]) -> None:
            if not isinstance(value, dict):
                raise _not_a("map", value, path)
            own(value, path, found)
            keys: list[Violation] = []
            values: list[Violation] = []
            for key, given in value.items():
                key_check(key, path, keys)
                if given is not None:
                    value_check(given, f"{path}.{key}.member", values)
            if keys:
                found.append(_of_items("Map keys", value, path, keys))
            if values and scalar:
                found.append(_of_items("Map value", value, path, values))
            else:
                found += values

        return check

    def _scalar(self, shape: Shape) -> Check:
        kind = shape.type_name
        limits = self._limits(shape, "length" if kind in ("string", "blob") else "range")
        as_text = self._blobs_as_text
        if kind != "string":

            def check_other(value: Any, path: str, found: list[Violation]) -> None:
                limits(_typed(kind, value, path, as_text), path, found)

            return check_other
        pattern = _pattern(shape) if self._wanted("pattern", shape) else None
        values = tuple(shape.metadata.get("enum", ())) if self._wanted("enum", shape) else ()
        sensitive = bool(shape.metadata.get("sensitive"))
        # What is far too long is said once: a pattern with repeats in repeats would take its time over it.
        longest = min(LONGEST_MATCHED, max(shape.metadata.get("max", LONGEST_MATCHED), 1024))

        def check_string(value: Any, path: str, found: list[Violation]) -> None:
            if not isinstance(value, str):
                raise _cannot(value, path, kind)
            limits(value, path, found)
            if pattern is not None and len(value) <= longest and not pattern.fullmatch(value):
                text = f"Member must satisfy regular expression pattern: {shape.metadata['pattern']}"
                found.append(Violation(path, "pattern", text, _shown(value, sensitive), value))
            if values and value not in values:
                text = f"Member must satisfy enum value set: [{', '.join(values)}]"
                found.append(Violation(path, "enum", text, _shown(value, sensitive), value))

        return check_string

    def _limits(self, shape: Shape, kind: str) -> Check:
        low, high = (shape.metadata.get(name) for name in ("min", "max"))
        if (low is None and high is None) or not self._wanted(kind, shape):
            return _anything
        what = "length" if kind == "length" else "value"
        sensitive = bool(shape.metadata.get("sensitive"))

        def check(value: Any, path: str, found: list[Violation]) -> None:
            size = len(value) if kind == "length" else value
            if low is not None and size < low:
                text = f"Member must have {what} greater than or equal to {low}"
                found.append(Violation(path, kind, text, _shown(value, sensitive), value, low))
            if high is not None and size > high:
                text = f"Member must have {what} less than or equal to {high}"
                found.append(Violation(path, kind, text, _shown(value, sensitive), value, high))

        return check


def _anything(value: Any, path: str, found: list[Violation]) -> None:
    return


def _of_items(what: str, value: Any, path: str, inner: list[Violation]) -> Violation:
    """The constraint on what a list or map holds, told once for all of it."""
    texts = list(dict.fromkeys(violation.constraint for violation in inner))
    shown = None if any(violation.shown is None for violation in inner) else _shown(value, False)
    return Violation(path, inner[0].kind, f"{what} must satisfy constraint: [{', '.join(texts)}]", shown, value)


def _shown(value: Any, sensitive: bool) -> str | None:
    return None if sensitive else f"'{_plain(value)}'"


def _plain(value: Any) -> str:
    if isinstance(value, list):
        text = f"[{', '.join(_plain(item) for item in value)}]"
    elif isinstance(value, dict):
        text = "{" + ", ".join(f"{key}={_plain(item)}" for key, item in value.items()) + "}"
    else:
        text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def _token(value: Any) -> str:
    """A value's name in the parser that AWS's JSON services have in common."""
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    return "NUMBER_VALUE" if isinstance(value, int | float) else "STRING_VALUE"


def _not_a(kind: str, value: Any, path: str) -> WrongType:
    if isinstance(value, dict):
        return WrongType("Start of structure or map found where not expected.", path, value, kind)
    if isinstance(value, list):
        return WrongType("Start of list found where not expected", path, value, kind)
    return WrongType(f"Expected {kind} or null", path, value, kind)


def _cannot(value: Any, path: str, kind: str) -> WrongType:
    if isinstance(value, dict | list):
        return _not_a(kind, value, path)
    return WrongType(f"{_token(value)} can not be converted to {JSON_TYPES[kind]}", path, value, kind)


def _typed(kind: str, value: Any, path: str, as_text: bool) -> Any:
    """The value to hold against limits. Raises WrongType."""
    if isinstance(value, dict | list):
        raise _cannot(value, path, kind)
    if kind in INTEGER_LIMITS:
        limit = INTEGER_LIMITS[kind]
        if isinstance(value, bool) or not isinstance(value, int | float) or not -limit <= value < limit:
            raise _cannot(value, path, kind)
    elif kind in ("float", "double"):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise _cannot(value, path, kind)
    elif kind == "boolean":
        if not isinstance(value, bool):
            raise _cannot(value, path, kind)
    elif kind == "timestamp":
        if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
            raise _cannot(value, path, kind)
    elif kind == "blob" and as_text:
        if not isinstance(value, str):
            raise _cannot(value, path, kind)
        try:
            return base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise _cannot(value, path, kind) from None
    return value


def _pattern(shape: Shape) -> re.Pattern[str] | None:
    text = shape.metadata.get("pattern")
    return compiled(str(text)) if text is not None else None


@functools.cache
def compiled(pattern: str) -> re.Pattern[str] | None:
    """A model's pattern (Java's) for Python; None for one that Python has no form for, which then refuses nothing."""
    text = pattern.replace(r"\uD800\uDC00-\uDBFF\uDFFF", r"\U00010000-\U0010FFFF")
    try:
        with warnings.catch_warnings():
            # Python warns of sets that it may read otherwise one day.
            warnings.simplefilter("ignore", FutureWarning)
            return re.compile(_ranges(re.sub(r"(\\[wd])-(?!\])", r"\1\\-", text)), re.DOTALL)
    except (re.error, KeyError):
        return None


def _ranges(pattern: str) -> str:
    """Unicode's categories, which Python's patterns do not know, as the ranges that they are."""

    def inner(found: re.Match[str]) -> str:
        name = found[1]
        ranges = NAMED_CLASSES[name] if name in NAMED_CLASSES else _category(name)
        before = pattern[: found.start()]
        within = before.count("[") - before.count(r"\[") > before.count("]") - before.count(r"\]")
        return ranges if within else f"[{ranges}]"

    return CATEGORY.sub(inner, pattern)


@functools.cache
def _category(name: str) -> str:
    """Ranges of the characters whose category begins with this name; those beyond the first plane are all taken in."""
    ranges: list[str] = []
    start: int | None = None
    for number in range(0x10000):
        if unicodedata.category(chr(number)).startswith(name):
            start = number if start is None else start
        elif start is not None:
            ranges.append(f"\\u{start:04x}-\\u{number - 1:04x}")
            start = None
    if not ranges:
        raise KeyError(name)
    return "".join([*ranges, r"\U00010000-\U0010ffff"])
