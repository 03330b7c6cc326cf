"""Wildcards, policy variables and ARNs as IAM matches them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence

# The values of a condition key in the request; None when the key is not in it. Names are compared without case.
Context = Callable[[str], Sequence[str] | None]
VARIABLE = re.compile(r"\$\{([^}]*)\}")
# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars
SPECIAL = {"*": "*", "?": "?", "$": "$"}


class NoValue(Exception):
    """A policy variable has no value in the request and no default: nothing matches."""


def matches(pattern: str, value: str, context: Context | None = None, *, arn: bool = False) -> bool:
    """Whether the value fits the pattern with `*` and `?`; policy variables count when there is a context."""
    if context is None or "${" not in pattern:
        return _compiled(pattern, arn).fullmatch(value) is not None
    try:
        return re.compile(_regex(pattern, context, arn), re.DOTALL).fullmatch(value) is not None
    except NoValue:
        return False


@functools.lru_cache(maxsize=4096)
def _compiled(pattern: str, arn: bool) -> re.Pattern[str]:
    return re.compile(_wild(pattern, arn), re.DOTALL)


def _regex(pattern: str, context: Context, arn: bool) -> str:
    """Variables stand for themselves: a wildcard in a value is a plain character."""
    result, at = "", 0
    for found in VARIABLE.finditer(pattern):
        result += _wild(pattern[at : found.start()], arn) + re.escape(value_of(found[1], context))
        at = found.end()
    return result + _wild(pattern[at:], arn)


def _wild(text: str, arn: bool) -> str:
    """In the first five parts of an ARN a `*` stays within its part, unless it ends it.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html
    """
    result, colons = "", 0
    for index, char in enumerate(text):
        if char == "*":
            ends = index + 1 == len(text) or text[index + 1] == ":"
            result += ".*" if not arn or colons >= 5 or ends else "[^:]*"
        else:
            result += "." if char == "?" else re.escape(char)
            colons += char == ":"
    return result


def value_of(variable: str, context: Context) -> str:
    """What `${variable}` stands for. Raises NoValue."""
    if variable in SPECIAL:
        return SPECIAL[variable]
    name, _, default = variable.partition(",")
    values = context(name.strip())
    if values is not None and len(values) == 1:
        return values[0]
    default = default.strip()
    if len(default) >= 2 and default[0] == default[-1] == "'":
        return default[1:-1]
    raise NoValue(name)


def resolved(text: str, context: Context) -> str | None:
    """The text with its variables put in; None when one has no value."""
    try:
        return VARIABLE.sub(lambda found: value_of(found[1], context), text)
    except NoValue:
        return None


def same_arn(pattern: str, value: str, context: Context | None = None) -> bool:
    """ArnLike: each of the six parts by itself.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_ARN
    """
    if pattern == "*":
        return True
    wanted, given = _parts(pattern), _parts(value)
    if len(wanted) != 6 or len(given) != 6:
        return False
    return all(matches(one, other, context) for one, other in zip(wanted, given, strict=True))


def _parts(arn: str) -> list[str]:
    """Split at the first five colons that are not inside a variable."""
    hidden = VARIABLE.sub(lambda found: found[0].replace(":", "\0"), arn)
    return [part.replace("\0", ":") for part in hidden.split(":", 5)]
