# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The RFC 3161 time stamps of a bundle: over its first manifest line, and over the sealed manifest."""

from __future__ import annotations

import datetime as dt
from typing import Any

from ._evidence import ATTESTATION, MANIFEST
from ._names import parse_rfc3339, rfc3339
from ._timestamps import MAX_TOKEN, TIMESTAMP_ITEM, TimestampError, check_timestamp
from ._verify_bundle import Case
from ._verify_files import Finding

_ACCURACY = dt.timedelta(seconds=60)
_CLOCKS = dt.timedelta(minutes=5)


def check_times(case: Case, roots_pem: bytes) -> list[dict[str, Any]]:
    """One entry a time stamp: `of` (opening, sealing), `path`, `checked`, `time` (RFC 3339, "" unless checked), `note`.

    Without roots they are reported and not checked. One that does not hold is a finding, also when the roots are those
    of another authority. The runner's own clock accuses nobody: that it differs is a note.
    """
    stamps: list[dict[str, Any]] = []
    times: dict[str, dt.datetime] = {}

    def look(of: str, path: str, token: bytes, data: bytes, own: str) -> None:
        entry = {"of": of, "path": path, "checked": False, "time": "", "note": ""}
        stamps.append(entry)
        if not roots_pem:
            return
        try:
            times[of] = check_timestamp(token, data, roots_pem)
        except TimestampError as exc:
            case.findings.append(Finding("invalid", path, f"the time stamp of its {of} is not good: {exc}"))
            return
        entry |= {"checked": True, "time": rfc3339(times[of]), "note": _clocks(times[of], own)}

    opening = case.item(TIMESTAMP_ITEM)
    if opening is not None and case.chain.first:
        look("opening", opening.path, case.folder.read(opening.path, MAX_TOKEN), case.chain.first, case.started)
    claims = case.claims
    if claims is not None and claims.timestamp and case.manifest_sealed:
        data = case.folder.read(MANIFEST, case.chain.size)
        look("sealing", ATTESTATION, claims.timestamp, data, str(claims.seal.get("sealedAt") or ""))
    if len(times) == 2 and times["opening"] > times["sealing"] + _ACCURACY and opening is not None:
        case.findings.append(
            Finding("invalid", opening.path, "was stamped after the bundle was sealed, as the authorities say")
        )
    return stamps


def _clocks(stamped: dt.datetime, own: str) -> str:
    try:
        difference = stamped - parse_rfc3339(own)
    except ValueError:
        return ""
    if abs(difference) <= _CLOCKS:
        return ""
    return f"the runner's clock said {own}, which differs by {round(abs(difference).total_seconds())} s"
