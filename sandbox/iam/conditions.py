"""The Condition block of a policy statement.

https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
"""

from __future__ import annotations

import base64
import contextlib
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sandbox.iam.patterns import Context, matches, resolved, same_arn

# Whether one value of the request fits one value of the policy.
Compare = Callable[[str, str, Context | None], bool]


def _text(compare: Callable[[str, str], bool]) -> Compare:
    def with_variables(given: str, wanted: str, context: Context | None) -> bool:
        text = resolved(wanted, context) if context is not None else wanted
        return text is not None and compare(given, text)

    return with_variables


def _like(given: str, wanted: str, context: Context | None) -> bool:
    return matches(wanted, given, context)


def _arn(given: str, wanted: str, context: Context | None) -> bool:
    return same_arn(wanted, given, context)


def _number(compare: Callable[[float, float], bool]) -> Compare:
    def numbers(given: str, wanted: str, _: Context | None) -> bool:
        with contextlib.suppress(ValueError):
            return compare(float(given), float(wanted))
        return False

    return numbers


def _moment(text: str) -> float:
    """Seconds since 1970 of an ISO 8601 time or of such a number. Raises ValueError."""
    with contextlib.suppress(ValueError):
        return float(text)
    found = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _date(compare: Callable[[float, float], bool]) -> Compare:
    def dates(given: str, wanted: str, _: Context | None) -> bool:
        with contextlib.suppress(ValueError):
            return compare(_moment(given), _moment(wanted))
        return False

    return dates


def _ip(given: str, wanted: str, _: Context | None) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(given) in ipaddress.ip_network(wanted, strict=False)
    return False


def _binary(given: str, wanted: str, _: Context | None) -> bool:
    with contextlib.suppress(ValueError):
        return base64.b64decode(given) == base64.b64decode(wanted)
    return False


def _equal(given: float, wanted: float) -> bool:
    return given == wanted


COMPARISONS: dict[str, Compare] = {
    "stringequals": _text(lambda given, wanted: given == wanted),
    "stringequalsignorecase": _text(lambda given, wanted: given.lower() == wanted.lower()),
    "stringlike": _like,
    "numericequals": _number(_equal),
    "numericlessthan": _number(lambda given, wanted: given < wanted),
    "numericlessthanequals": _number(lambda given, wanted: given <= wanted),
    "numericgreaterthan": _number(lambda given, wanted: given > wanted),
    "numericgreaterthanequals": _number(lambda given, wanted: given >= wanted),
    "dateequals": _date(_equal),
    "datelessthan": _date(lambda given, wanted: given < wanted),
    "datelessthanequals": _date(lambda given, wanted: given <= wanted),
    "dategreaterthan": _date(lambda given, wanted: given > wanted),
    "dategreaterthanequals": _date(lambda given, wanted: given >= wanted),
    "bool": _text(lambda given, wanted: given.lower() == wanted.lower()),
    "binaryequals": _binary,
    "ipaddress": _ip,
    "arnequals": _arn,
    "arnlike": _arn,
}
# Operators that hold when nothing matches, also when the key is not in the request at all.
NEGATED = {
    "stringnotequals": "stringequals",
    "stringnotequalsignorecase": "stringequalsignorecase",
    "stringnotlike": "stringlike",
    "numericnotequals": "numericequals",
    "datenotequals": "dateequals",
    "notipaddress": "ipaddress",
    "arnnotequals": "arnequals",
    "arnnotlike": "arnlike",
}


@dataclass(frozen=True)
class Condition:
    """One operator with one key: `values` are alternatives."""

    key: str
    values: tuple[str, ...]
    # "" or "forallvalues" or "foranyvalue"
    quantifier: str
    comparison: str
    negated: bool = False
    if_exists: bool = False

    def holds(self, context: Context, variables: bool) -> bool:
        given = context(self.key)
        if self.comparison == "null":
            absent = given is None or not list(given)
            return any((value.lower() == "true") == absent for value in self.values)
        if given is None and self.if_exists:
            return True
        return self._compare(list(given or ()), given is None, context if variables else None)

    def _compare(self, given: list[str], missing: bool, context: Context | None) -> bool:
        compare = COMPARISONS[self.comparison]

        def fits(value: str) -> bool:
            return any(compare(value, wanted, context) for wanted in self.values) != self.negated

        if self.quantifier == "forallvalues":
            return all(fits(value) for value in given)
        if self.quantifier == "foranyvalue":
            return any(fits(value) for value in given)
        if missing or len(given) != 1:
            # A key with several values never equals one: set operators are for those.
            return self.negated
        return fits(given[0])


class UnknownOperator(ValueError):
    """A condition operator that IAM does not have."""


def parse(operator: str, key: str, values: Any) -> Condition:
    """Raises UnknownOperator."""
    quantifier, _, name = operator.lower().rpartition(":")
    if_exists = name.endswith("ifexists")
    name = name.removesuffix("ifexists")
    comparison = NEGATED.get(name, name)
    if comparison not in COMPARISONS and comparison != "null" or quantifier not in ("", "forallvalues", "foranyvalue"):
        raise UnknownOperator(operator)
    listed = values if isinstance(values, list) else [values]
    texts = tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in listed)
    return Condition(key, texts, quantifier, comparison, name in NEGATED, if_exists)


def parse_block(block: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Every condition of a statement; all of them must hold."""
    return tuple(parse(operator, key, value) for operator, keys in block.items() for key, value in dict(keys).items())


def all_hold(conditions: Sequence[Condition], context: Context, variables: bool) -> bool:
    return all(condition.holds(context, variables) for condition in conditions)
