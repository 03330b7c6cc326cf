"""ELBv2's pages: PageSize, and a Marker that only says where the next page begins."""

from __future__ import annotations

from typing import Any

from sandbox import pages
from sandbox.behaviours import behaviour
from sandbox.seams.refusal import Params, Refused

MOST = 400
KIND = "elbv2"


@behaviour("elbv2", otherwise=lambda alb, p, records, *_: (records, ""))
def page[Record](alb: Any, p: Params, records: list[Record], size: int = MOST) -> tuple[list[Record], str]:
    """Describe operations answer at most PageSize items (400 by default) and a NextMarker for the rest.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeLoadBalancers.html
    """
    start, size = _unknown_marker(alb._p(p, "Marker")), int(alb._p(p, "PageSize") or size)
    marker = pages.token_of(KIND, start + size) if start + size < len(records) else ""
    return records[start : start + size], f"<NextMarker>{marker}</NextMarker>" if marker else ""


@behaviour("elbv2", code="ValidationError", otherwise=lambda _: 0)
def _unknown_marker(text: str) -> int:
    """A Marker that no earlier answer gave is refused.
    https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetGroups.html
    """
    try:
        return pages.start_of(KIND, text)
    except ValueError as error:
        raise Refused("ValidationError", f"The marker '{text}' is not valid") from error
