# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Differences between task definitions as people may see them: no value that a name or a shape betrays as a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ._redaction import Redactor
from ._taskdef import Difference

# Broad on purpose: a harmless value that is masked costs a look at the console, a shown secret a rotation.
_SECRET_NAME = re.compile(
    r"pass|pwd|secret|token|credential|private|signature|salt|dsn|auth|cookie|session|bearer|conn(?:ection)?[_-]?str"
    r"|(?:^|_)pin(?:$|_)|(?:^|[_-])key(?:$|[_-]|s$|id$)|(?:api|access|encryption|signing|license|account|master)[_-]?key",
    re.IGNORECASE,
)

# Members that name where a secret lies; what lies there they do not say.
_REFERENCES = frozenset({"valueFrom", "credentialsParameter"})


def looks_secret(name: str) -> bool:
    """Whether a variable, an option or a label of this name may hold a secret."""
    return _SECRET_NAME.search(name) is not None


def masked(value: Any, redactor: Redactor, name: str = "") -> Any:
    """The value without secrets: masked whole where its name looks like one, else what has the shape of one.

    Equal values have equal masks within one redactor, so that a change shows.
    """
    if isinstance(value, Mapping):
        # `{"name": …, "value": …}` of environment lists, tags and the like: the value's name is the other member.
        named = str(value.get("name") or value.get("key") or "")
        return {key: masked(item, redactor, named if key == "value" else str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, redactor, name) for item in value]
    if not isinstance(value, str) or not value or name in _REFERENCES:
        return value
    if looks_secret(name):
        return redactor.token("variable", value.encode("utf-8", "surrogateescape")).decode()
    return redactor.redact_text(value)


def shown(found: Iterable[Difference], redactor: Redactor) -> list[dict[str, Any]]:
    """The differences for a module's result and for evidence."""
    return [
        {
            "container": item.container,
            "member": item.member,
            "name": item.name,
            "before": masked(item.before, redactor, item.name or item.member),
            "after": masked(item.after, redactor, item.name or item.member),
        }
        for item in found
    ]


def as_diff(rows: Iterable[Mapping[str, Any]], before: str, after: str) -> dict[str, Any]:
    """For Ansible's --diff: only what differs, variables by name; headers name the two revisions."""
    sides: dict[str, dict[str, Any]] = {"before": {}, "after": {}}
    for row in rows:
        for side, content in sides.items():
            if row[side] is None:
                continue
            place = content.setdefault(f"container {row['container']}", {}) if row["container"] else content
            if row["name"]:
                place = place.setdefault(row["member"], {})
            place[row["name"] or row["member"]] = row[side]
    return {**sides, "before_header": before, "after_header": after}
