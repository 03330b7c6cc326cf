"""Metric math: a parser and evaluator of what alarms and GetMetricData need of it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/using-metric-math.html
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

Series = dict[float, float]
Value = float | Series | list[Series]
Evaluate = Callable[["Scope"], Value]

TOKEN = re.compile(
    r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?)|([A-Za-z]\w*)|\"([^\"]*)\"|(==|!=|<=|>=|&&|\|\||[-+*/^<>()\[\],]))"
)
ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "^": operator.pow,
}
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
DEEPEST = 50


class ExpressionError(ValueError):
    """An expression that is wrong, or that uses what is not offered here; the message says what."""


@dataclass(frozen=True)
class Scope:
    """What an expression is evaluated over: the other series by id, and the grid of periods."""

    series: Mapping[str, Value]
    grid: Sequence[float]
    period: int
    # Ids that METRICS() means: metrics, not expressions, in the order of the request.
    metrics: Sequence[str] = ()


@dataclass
class Expression:
    """A parsed expression and the ids that it names."""

    text: str
    evaluate: Evaluate
    ids: set[str] = field(default_factory=set)


def parse(text: str) -> Expression:
    """Raises ExpressionError."""
    return _Parser(text).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        self._at = 0
        self._depth = 0
        self._ids: set[str] = set()
        at, end = 0, len(text.rstrip())
        while at < end:
            found = TOKEN.match(text, at)
            if found is None:
                raise ExpressionError(f"Unsupported operand at character {at}")
            kind = ("number", "name", "text", "sign")[(found.lastindex or 1) - 1]
            self._tokens.append((kind, found.group(found.lastindex or 1)))
            at = found.end()

    def whole(self) -> Expression:
        evaluate = self._either()
        if self._at != len(self._tokens):
            raise ExpressionError(f"Unexpected '{self._tokens[self._at][1]}'")
        return Expression(self._text, evaluate, self._ids)

    def _take(self, *words: str) -> str:
        """The next token when it is one of these signs or words, else empty."""
        if self._at < len(self._tokens):
            kind, word = self._tokens[self._at]
            if kind in ("sign", "name") and word in words:
                self._at += 1
                return word
        return ""

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise ExpressionError(f"Expected '{word}'")

    def _chain(self, operand: Callable[[], Evaluate], signs: Mapping[str, Callable[[float, float], float]]) -> Evaluate:
        left = operand()
        while sign := self._take(*signs):
            left = _binary(signs[sign], left, operand())
        return left

    def _either(self) -> Evaluate:
        return self._chain(self._both, {"OR": _or, "||": _or})

    def _both(self) -> Evaluate:
        return self._chain(self._compared, {"AND": _and, "&&": _and})

    def _compared(self) -> Evaluate:
        return self._chain(self._sum, COMPARISONS)

    def _sum(self) -> Evaluate:
        return self._chain(self._term, {sign: ARITHMETIC[sign] for sign in "+-"})

    def _term(self) -> Evaluate:
        return self._chain(self._power, {sign: ARITHMETIC[sign] for sign in "*/"})

    def _power(self) -> Evaluate:
        base = self._unary()
        return _binary(ARITHMETIC["^"], base, self._power()) if self._take("^") else base

    def _unary(self) -> Evaluate:
        if self._take("-"):
            operand = self._unary()
            return lambda scope: _mapped(operator.neg, operand(scope))
        return self._atom()

    def _atom(self) -> Evaluate:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ExpressionError("The expression is nested too deeply")
        try:
            return self._read_atom()
        finally:
            self._depth -= 1

    def _read_atom(self) -> Evaluate:
        if self._take("("):
            inner = self._either()
            self._need(")")
            return inner
        if self._take("["):
            items = self._list("]")
            return lambda scope: [one for item in items for one in _as_list(item(scope))]
        if self._at >= len(self._tokens):
            raise ExpressionError("The expression ends too early")
        kind, word = self._tokens[self._at]
        if kind not in ("number", "name"):
            raise ExpressionError(f"Unexpected '{word}'")
        self._at += 1
        if kind == "number":
            number = float(word)
            return lambda scope: number
        if self._take("("):
            return self._call(word)
        if not word[0].islower():
            raise ExpressionError(f"'{word}' is not an id")
        self._ids.add(word)
        return lambda scope: scope.series[word]

    def _list(self, end: str) -> list[Evaluate]:
        items: list[Evaluate] = []
        while not self._take(end):
            if items:
                self._need(",")
            items.append(self._either())
        return items

    def _call(self, name: str) -> Evaluate:
        if name == "METRICS":
            part = ""
            if self._at < len(self._tokens) and self._tokens[self._at][0] == "text":
                part = self._tokens[self._at][1]
                self._at += 1
            self._need(")")
            return lambda scope: [_as_series(scope.series[i]) for i in scope.metrics if part in i]
        if name == "FILL":
            return self._fill()
        found = FUNCTIONS.get(name)
        if found is None:
            raise ExpressionError(f"Function {name} is not supported")
        least, most, function = found
        arguments = self._list(")")
        if not least <= len(arguments) <= most:
            raise ExpressionError(f"{name} takes {least if least == most else f'{least} to {most}'} arguments")
        return lambda scope: function(scope, *(argument(scope) for argument in arguments))

    def _fill(self) -> Evaluate:
        series = self._either()
        self._need(",")
        way = self._take("REPEAT", "LINEAR")
        filler: Evaluate = (lambda scope: 0.0) if way else self._either()
        self._need(")")

        def evaluate(scope: Scope) -> Value:
            value = series(scope)
            filled = [_filled(one, scope, way, filler(scope)) for one in _as_list(value)]
            return filled if isinstance(value, list) else filled[0]

        return evaluate


def _or(left: float, right: float) -> float:
    return float(bool(left) or bool(right))


def _and(left: float, right: float) -> float:
    return float(bool(left) and bool(right))


def _binary(function: Callable[[float, float], float], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda scope: _combined(function, left(scope), right(scope))


def _combined(function: Callable[[float, float], float], left: Value, right: Value) -> Value:
    """Point by point where both have one; a point that cannot be computed (a division by zero) is left out."""
    if isinstance(left, list):
        if isinstance(right, list):
            raise ExpressionError("An operation on two arrays is not supported")
        return [_as_series(_combined(function, one, right)) for one in left]
    if isinstance(right, list):
        return [_as_series(_combined(function, left, one)) for one in right]
    if isinstance(left, dict):
        pairs = {at: (value, right.get(at) if isinstance(right, dict) else right) for at, value in left.items()}
    elif isinstance(right, dict):
        pairs = {at: (left, value) for at, value in right.items()}
    else:
        number = _number(function, left, right)
        return {} if number is None else number
    values = {at: _number(function, one, other) for at, (one, other) in pairs.items() if other is not None}
    return {at: value for at, value in values.items() if value is not None}


def _number(function: Callable[[float, float], float], left: float, right: float) -> float | None:
    try:
        number = float(function(left, right))
    except (ArithmeticError, TypeError):
        return None
    return number if math.isfinite(number) else None


def _mapped(function: Callable[[float], float], value: Value) -> Value:
    if isinstance(value, list):
        return [{at: float(function(one)) for at, one in series.items()} for series in value]
    if isinstance(value, dict):
        return {at: float(function(one)) for at, one in value.items()}
    return float(function(value))


def _as_list(value: Value) -> list[Series]:
    return value if isinstance(value, list) else [_as_series(value)]


def _as_series(value: Value) -> Series:
    if isinstance(value, dict):
        return value
    raise ExpressionError("A time series is needed here")


def _filled(series: Series, scope: Scope, way: str, filler: Value) -> Series:
    grid = sorted({*scope.grid, *series})
    result = dict(series)
    known = sorted(series)
    for at in grid:
        if at in series:
            continue
        before = [point for point in known if point < at]
        after = [point for point in known if point > at]
        if way == "REPEAT":
            if before:
                result[at] = series[before[-1]]
        elif way == "LINEAR":
            if before and after:
                low, high = before[-1], after[0]
                result[at] = series[low] + (series[high] - series[low]) * (at - low) / (high - low)
        elif isinstance(filler, dict):
            if at in filler:
                result[at] = filler[at]
        elif isinstance(filler, float):
            result[at] = filler
    return dict(sorted(result.items()))


def _over(reduce: Callable[[list[float]], float]) -> Callable[..., Value]:
    """Of one series a number; of several, one series over them."""

    def apply(scope: Scope, value: Value) -> Value:
        if isinstance(value, float):
            return value
        if isinstance(value, dict):
            return reduce(list(value.values())) if value else {}
        times = sorted({at for series in value for at in series})
        return {at: reduce([series[at] for series in value if at in series]) for at in times}

    return apply


def _if(scope: Scope, condition: Value, then: Value, otherwise: Value = math.nan) -> Value:
    """Point by point; without a third argument only where the condition holds."""
    if isinstance(condition, list):
        raise ExpressionError("The condition of IF is no array")
    if isinstance(condition, float):
        chosen = then if condition else otherwise
        return {} if isinstance(chosen, float) and math.isnan(chosen) else chosen
    result: Series = {}
    for at, holds in condition.items():
        chosen = then if holds else otherwise
        value = chosen.get(at) if isinstance(chosen, dict) else chosen
        if isinstance(value, float) and not math.isnan(value):
            result[at] = value
    return result


def _steps(per_second: bool) -> Callable[..., Value]:
    def apply(scope: Scope, value: Value) -> Value:
        series = sorted(_as_series(value).items())
        pairs = zip(series, series[1:], strict=False)
        return {at: (one - last) / ((at - before) if per_second else 1) for (before, last), (at, one) in pairs}

    return apply


def _running(scope: Scope, value: Value) -> Value:
    total, result = 0.0, {}
    for at, one in sorted(_as_series(value).items()):
        total += one
        result[at] = total
    return result


def _each(function: Callable[[float], float]) -> Callable[..., Value]:
    return lambda scope, value: _mapped(function, value)


# Name → fewest and most arguments, and what it does.
FUNCTIONS: dict[str, tuple[int, int, Callable[..., Value]]] = {
    "SUM": (1, 1, _over(math.fsum)),
    "AVG": (1, 1, _over(lambda values: math.fsum(values) / len(values))),
    "MIN": (1, 1, _over(min)),
    "MAX": (1, 1, _over(max)),
    "METRIC_COUNT": (1, 1, lambda scope, value: float(len(_as_list(value)))),
    "ABS": (1, 1, _each(abs)),
    "CEIL": (1, 1, _each(math.ceil)),
    "FLOOR": (1, 1, _each(math.floor)),
    "IF": (2, 3, _if),
    "RATE": (1, 1, _steps(True)),
    "DIFF": (1, 1, _steps(False)),
    "RUNNING_SUM": (1, 1, _running),
    "PERIOD": (1, 1, lambda scope, value: float(scope.period)),
    "TIME_SERIES": (1, 1, lambda scope, value: dict.fromkeys(scope.grid, value) if isinstance(value, float) else value),
}
