"""Policy documents: statements as the evaluator reads them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.iam.conditions import Condition, all_hold, parse_block
from sandbox.iam.patterns import Context, matches


@dataclass(frozen=True)
class Statement:
    """Names as in the document; None where the element is not there."""

    sid: str
    allows: bool
    actions: tuple[str, ...] | None
    not_actions: tuple[str, ...] | None
    resources: tuple[str, ...] | None
    not_resources: tuple[str, ...] | None
    conditions: tuple[Condition, ...]
    # (kind, value): ("AWS", "arn:…"), ("Service", "…"), ("Federated", "…"), ("*", "*"); empty in identity policies.
    principals: tuple[tuple[str, str], ...] = ()
    not_principals: tuple[tuple[str, str], ...] = ()
    # Policy variables exist since this version of the language.
    variables: bool = True

    def covers(self, action: str, resource: str, context: Context) -> bool:
        """Whether it speaks of this action on this resource in this request (the principal is not looked at)."""
        return self.names(action, resource, context) and all_hold(self.conditions, context, self.variables)

    def names(self, action: str, resource: str, context: Context) -> bool:
        """As covers(), whatever its conditions say."""
        return self._names_action(action.lower()) and self._names_resource(resource, context)

    def _names_action(self, action: str) -> bool:
        if self.actions is not None:
            return any(matches(pattern, action) for pattern in self.actions)
        return not any(matches(pattern, action) for pattern in self.not_actions or ())

    def _names_resource(self, resource: str, context: Context) -> bool:
        variables = context if self.variables else None
        if self.resources is not None:
            return any(matches(pattern, resource, variables, arn=True) for pattern in self.resources)
        if self.not_resources is not None:
            return not any(matches(pattern, resource, variables, arn=True) for pattern in self.not_resources)
        # A trust policy has no Resource: it is the role's own.
        return True


@functools.lru_cache(maxsize=2048)
def statements(document: str) -> tuple[Statement, ...]:
    """The statements of a stored document; one that cannot be read grants nothing (IAM takes none such)."""
    try:
        parsed = json.loads(document)
    except ValueError:
        return ()
    if not isinstance(parsed, Mapping):
        return ()
    listed = parsed.get("Statement", [])
    variables = parsed.get("Version") == "2012-10-17"
    listed = [listed] if isinstance(listed, Mapping) else listed
    return tuple(statement(one, variables) for one in listed if isinstance(one, Mapping))


class ManagedDocument(str):
    """The text of a managed policy, whose ARN goes with it: denials name it."""

    arn: str

    def __new__(cls, text: str, arn: str) -> ManagedDocument:
        made = super().__new__(cls, text)
        made.arn = arn
        return made


def statement(document: Mapping[str, Any], variables: bool = True) -> Statement:
    return Statement(
        sid=str(document.get("Sid", "")),
        allows=document.get("Effect") == "Allow",
        actions=_lower(_texts(document.get("Action"))),
        not_actions=_lower(_texts(document.get("NotAction"))),
        resources=_texts(document.get("Resource")),
        not_resources=_texts(document.get("NotResource")),
        conditions=parse_block(document.get("Condition") or {}),
        principals=_principals(document.get("Principal")),
        not_principals=_principals(document.get("NotPrincipal")),
        variables=variables,
    )


def _texts(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(str(item) for item in value) if isinstance(value, list) else (str(value),)


def _lower(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(value.lower() for value in values)


def _principals(value: Any) -> tuple[tuple[str, str], ...]:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        return tuple(("*", text) for text in _texts(value) or ())
    return tuple((str(kind), text) for kind, given in value.items() for text in _texts(given) or ())
