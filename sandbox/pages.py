"""Page tokens of lists, opaque to clients: which list a token is of, and where its next page begins.

CloudTrail's and Config's, which are good for one request only, are signed (sandbox.audit.tokens).
"""

from __future__ import annotations

import base64
import json
from typing import Any


def token_of(kind: str, place: Any) -> str:
    """`place` is whatever JSON can say: how many items came before, the last one's name."""
    return base64.urlsafe_b64encode(json.dumps([kind, place]).encode()).decode()


def place_of(kind: str, token: str) -> Any:
    """The place in a token that token_of() made for this kind of list. Raises ValueError for any other text."""
    found = json.loads(base64.b64decode(token, altchars=b"-_", validate=True))
    if not isinstance(found, list) or len(found) != 2 or found[0] != kind:
        raise ValueError("a token of another list")
    return found[1]


def start_of(kind: str, token: str | None) -> int:
    """How many items come before the page: 0 without a token. Raises ValueError."""
    start = place_of(kind, token) if token else 0
    if not isinstance(start, int):
        raise ValueError("a token of another list")
    return start
