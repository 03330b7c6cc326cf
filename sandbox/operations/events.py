"""EventBridge: a rule's targets, by pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sandbox.behaviours import behaviour
from sandbox.operations import operation
from sandbox.rules import Refusal
from sandbox.rules.events import place_of, targets_of
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime


@operation("events", "ListTargetsByRule")
def list_targets_by_rule(runtime: Runtime, request: ApiRequest) -> dict[str, Any] | Refusal:
    """https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListTargetsByRule.html"""
    given = request.parameters
    return _page_of_targets(targets_of(place_of(request)[0]), given.get("NextToken"), int(given.get("Limit") or 100))


@behaviour("events", code="ValidationException", otherwise=lambda targets, token, most: {"Targets": targets})
def _page_of_targets(targets: list[dict[str, Any]], token: str | None, most: int) -> dict[str, Any]:
    """A rule's targets come by pages of Limit.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListTargetsByRule.html
    """
    ids = [target["Id"] for target in targets]
    if token is not None and token not in ids:
        raise Refused("ValidationException", "Parameter NextToken is not valid.")
    start = ids.index(token) + 1 if token is not None else 0
    answer: dict[str, Any] = {"Targets": targets[start : start + most]}
    if start + most < len(targets):
        answer["NextToken"] = ids[start + most - 1]
    return answer
