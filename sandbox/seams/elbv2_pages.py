"""ELBv2's pages: PageSize, and a Marker that only says where the next page begins."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from sandbox.behaviours import behaviour
from sandbox.seams.refusal import Params, Refused

MOST = 400


@behaviour("elbv2", otherwise=lambda alb, p, records, *_: (records, ""))
def page[Record](alb: Any, p: Params, records: list[Record], size: int = MOST) -> tuple[list[Record], str]:
    """Describe operations answer at most PageSize items (400 by default) and a NextMarker for the rest.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html
    """
    start, size = _unknown_marker(alb._p(p, "Marker")), int(alb._p(p, "PageSize") or size)
    rest = start + size < len(records)
    return records[start : start + size], f"<NextMarker>{_text(start + size)}</NextMarker>" if rest else ""


@behaviour("elbv2", code="ValidationError", otherwise=lambda _: 0)
def _unknown_marker(text: str) -> int:
    """A Marker that no earlier answer gave is refused.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html
    """
    try:
        return int(base64.b64decode(text, validate=True)[3:]) if text else 0
    except (ValueError, binascii.Error) as error:
        raise Refused("ValidationError", f"The marker '{text}' is not valid") from error


def _text(start: int) -> str:
    return base64.b64encode(f"at:{start}".encode()).decode()
