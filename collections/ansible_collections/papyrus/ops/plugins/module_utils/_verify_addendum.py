# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The link from an addendum to the bundle that it adds to: an addendum names that bundle by the hashes of its parts.

A bundle that was changed, written anew or sealed again after its addendum was made is another one, also for a key that
signed both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ._names import parse_run_id

ADDENDUM = "addendum.json"
PARTS = {"run": "run.json", "manifest": "manifest", "attestation": "attestation"}
"""Key in `sha256` of a verification, and in the addendum with `_sha256` behind it → what it is, for people."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def link_of(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an addendum.json says of the bundle that it adds to, in the form of a part of a verification.

    `said` is its content, {} when the bundle has none; then None.
    """
    if not said:
        return None
    first = said.get("of")
    named = first if isinstance(first, Mapping) else {}
    link: dict[str, Any] = {"run_id": _run_id(named.get("run_id")), "sha256": {}, "shown": False}
    for part in PARTS:
        value = named.get(f"{part}_sha256")
        link["sha256"][part] = value if isinstance(value, str) and _SHA256.fullmatch(value) else ""
    whole = link["run_id"] and all(link["sha256"].values())
    wrong = _finding("no-link", "incomplete", f"its {ADDENDUM} does not name a bundle by run id and hashes")
    return link | {"result": "ok" if whole else "incomplete", "findings": [] if whole else [wrong]}


def check_links(bundles: Sequence[dict[str, Any]]) -> None:
    """Holds each addendum against the bundles that are shown with it (results of _verify.verify); says so in it."""
    for bundle in bundles:
        link = bundle["addendum"]
        shown = [one for one in bundles if link and one is not bundle and one["run_id"] == link["run_id"]]
        if not link or link["findings"] or not shown:
            continue
        link["shown"] = True
        for one in shown:
            other = [name for part, name in PARTS.items() if one["sha256"][part] != link["sha256"][part]]
            if other:
                reason = f"{one['bundle']} is not the bundle that it adds to: it has another {' and '.join(other)}"
                link["findings"].append(_finding("other-bundle", "tampered", reason))
                link["result"] = "tampered"


def _finding(kind: str, result: str, reason: str) -> dict[str, str]:
    return {"class": kind, "result": result, "reason": reason}


def _run_id(value: Any) -> str:
    try:
        return parse_run_id(str(value)).text
    except ValueError:
        return ""
