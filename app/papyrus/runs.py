"""Run ids, as the operator's tool makes them: nothing else gets into the database or a log line."""

from __future__ import annotations

import re
from datetime import datetime

_RUN_ID = re.compile(r"(\d{8}T\d{6})Z-[a-z2-7]{6}", re.ASCII)


def is_run_id(text: str) -> bool:
    """`<UTC yyyymmddThhmmssZ>-<6 characters of lower-case base32>` with a date that exists."""
    match = _RUN_ID.fullmatch(text)
    if match is None:
        return False
    try:
        datetime.strptime(match.group(1), "%Y%m%dT%H%M%S")
    except ValueError:
        return False
    return True
