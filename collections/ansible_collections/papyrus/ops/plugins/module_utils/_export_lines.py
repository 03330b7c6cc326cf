# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines of JSON without secrets and without line breaks: what may be compressed, as nobody looks into it later."""

from __future__ import annotations

import json
from collections.abc import Sequence

from ._redaction import Redactor

_BETWEEN = b"\n\x1f\n"
"""No secret, label or escape reaches across it."""
_BREAKS = bytes.maketrans(b"\r\n", b"  ")


def clean_lines(redactor: Redactor, lines: Sequence[bytes]) -> list[bytes]:
    """Each line redacted by itself, still JSON. All are looked at at once first: most have nothing to redact."""
    lines = [line.translate(_BREAKS) for line in lines]
    joined = _BETWEEN.join(lines)
    if redactor.redact(joined) == joined:
        return lines
    return [_clean(redactor, line) for line in lines]


def _clean(redactor: Redactor, line: bytes) -> bytes:
    clean = redactor.redact(line)
    if clean == line or _is_json(clean):
        return clean
    # What was taken out reached over a quote or bracket: value by value then.
    return json.dumps(redactor.redact_object(json.loads(line)), ensure_ascii=False).encode("utf-8", "backslashreplace")


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True
