"""What EventBridge refuses: rules that are not there or still have targets, too many targets, tokens of no page."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

MOST_TARGETS = 5


def place_of(request: ApiRequest) -> tuple[str, str, str]:
    """(the rule's key in the records, its name, its bus)."""
    given = request.parameters
    name = str(given.get("Rule") or given.get("Name") or "")
    bus = str(given.get("EventBusName") or "default").rpartition("/")[2]
    return emulator.service("eventbridge")._rule_key(name, bus), name, bus


def targets_of(key: str) -> list[dict[str, Any]]:
    return list(emulator.service("eventbridge")._targets.get(key) or [])


@rule("events", "DeleteRule", code="ValidationException")
def rule_has_targets(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A rule that has targets is not deleted.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DeleteRule.html
    """
    if targets_of(place_of(request)[0]):
        return Refusal("ValidationException", "Rule can't be deleted since it has targets.")
    return None


@rule(
    "events",
    *("EnableRule", "DisableRule", "RemoveTargets", "ListTargetsByRule", "PutTargets"),
    code="ResourceNotFoundException",
)
def rule_is_there(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Of a rule that does not exist nothing can be changed or listed.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListTargetsByRule.html
    """
    key, name, bus = place_of(request)
    if key not in emulator.service("eventbridge")._rules:
        return Refusal("ResourceNotFoundException", f"Rule {name} does not exist on EventBus {bus}.")
    return None


@rule("events", "PutRule", code="ValidationException", stateful=False)
def rule_has_a_trigger(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A rule has an event pattern or a schedule.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutRule.html
    """
    given = request.parameters
    if given.get("EventPattern") or given.get("ScheduleExpression"):
        return None
    text = "Parameter(s) EventPattern or ScheduleExpression must be specified."
    return Refusal("ValidationException", text)


@rule("events", "PutTargets", code="LimitExceededException")
def five_targets_a_rule(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A rule has at most five targets.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-quota.html
    """
    ids = {target["Id"] for target in targets_of(place_of(request)[0])}
    ids |= {target.get("Id") for target in request.parameters.get("Targets") or []}
    if len(ids) > MOST_TARGETS:
        return Refusal("LimitExceededException", "The requested resource exceeds the maximum number allowed.")
    return None


@rule("events", "ListRules", "ListRuleNamesByTarget", code="ValidationException", stateful=False)
def rules_token_is_one(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A NextToken that no page has given is refused.

    https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_ListRules.html
    """
    token = request.parameters.get("NextToken")
    if token is None:
        return None
    try:
        int(base64.urlsafe_b64decode(str(token) + "=" * (-len(str(token)) % 4)))
    except ValueError:
        return Refusal("ValidationException", "Parameter NextToken is not valid.")
    return None
