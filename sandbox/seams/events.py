"""EventBridge: the emulator's rules and patterns; targets are reached only when their policies let it."""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sandbox import emulator
from sandbox.behaviours import behaviour
from sandbox.emulator import service
from sandbox.messages import policies
from sandbox.messages.http_delivery import address_of

if TYPE_CHECKING:
    from sandbox.metrics import Metrics
    from sandbox.runtime import Runtime

log = logging.getLogger("sandbox.events")
EVENTS = "events.amazonaws.com"
KEPT_EVENTS = 1_000
Record = Mapping[str, Any]


def install(runtime: Runtime) -> None:
    eventbridge = service("eventbridge")
    targets = Targets(runtime, eventbridge, eventbridge._invoke_target)
    eventbridge._invoke_target = targets.invoke
    Matches(Counter(runtime.metrics), eventbridge).install()
    open_url = eventbridge._http_open

    def only_here(request: Any, timeout: int = 5) -> Any:
        """API destinations that are not on this machine are never connected to."""
        address_of(urlsplit(request.full_url).hostname)
        return open_url(request, timeout)

    eventbridge._http_open = only_here
    known = eventbridge._events_log_list

    def bounded() -> list[Any]:
        """The emulator keeps every event for ever, and saves them all; nothing here reads them."""
        events: list[Any] = known()
        del events[:-KEPT_EVENTS]
        return events

    eventbridge._events_log_list = bounded


class Counter:
    """Tells CloudWatch what a rule does, for the rule and for all rules together."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def rule(self, name: str, rule: Record) -> None:
        self._put(name, rule_dimensions(rule), str(rule["Arn"]))

    def all_rules(self, name: str, rule: Record) -> None:
        self._put(name, {}, str(rule["Arn"]))

    def _put(self, name: str, dimensions: Mapping[str, str], arn: str) -> None:
        _, _, _, region, account, _ = arn.split(":", 5)
        self._metrics.put("AWS/Events", name, dimensions, 1, "Count", region=region, account=account)


@behaviour("events", otherwise=lambda rule: {"RuleName": str(rule["Name"])})
def rule_dimensions(rule: Record) -> dict[str, str]:
    """Metrics of a rule have the dimension RuleName on the default bus, EventBusName and RuleName on any other.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
    """
    bus, name = str(rule.get("EventBusName") or "default"), {"RuleName": str(rule["Name"])}
    return name if bus == "default" else {"EventBusName": bus, **name}


class Matches:
    """Counts events that match rules, whether these have targets or not."""

    def __init__(self, counter: Counter, eventbridge: Any) -> None:
        self._counter = counter
        self._eventbridge = eventbridge
        # Of this thread: the rules that the event under way has matched so far.
        self._here = threading.local()

    def install(self) -> None:
        eventbridge = self._eventbridge
        self._dispatch, self._matches = eventbridge._dispatch_event, eventbridge._matches_pattern_view
        eventbridge._dispatch_event, eventbridge._matches_pattern_view = self.dispatch, self.matches

    def dispatch(self, event: Record, view: Any = None) -> None:
        # A target may be another bus: then the next event begins within this one.
        outer, self._here.rules = getattr(self._here, "rules", None), []
        try:
            self._dispatch(event, view)
        finally:
            matched_events_are_counted(self._counter, self._here.rules)
            self._here.rules = outer

    def matches(self, pattern: str, view: Any, owner: str = "rule") -> bool:
        found = bool(self._matches(pattern, view, owner))
        rules = getattr(self._here, "rules", None)
        # Archives have patterns, too.
        kind, _, key = owner.partition(" ")
        if found and kind == "rule" and rules is not None and key in self._eventbridge._rules:
            rules.append(self._eventbridge._rules[key])
        return found


@behaviour("events")
def matched_events_are_counted(counter: Counter, rules: list[Record]) -> None:
    """MatchedEvents counts an event for each rule that it matches and once for all; TriggeredRules counts the rules.

    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
    """
    for rule in rules:
        counter.rule("MatchedEvents", rule)
        counter.rule("TriggeredRules", rule)
        counter.all_rules("TriggeredRules", rule)
    if rules:
        counter.all_rules("MatchedEvents", rules[0])


class Targets:
    """Gives a matching event to one target of a rule."""

    def __init__(self, runtime: Runtime, eventbridge: Any, invoke: Callable[..., None]) -> None:
        self._runtime = runtime
        self._counter = Counter(runtime.metrics)
        self._eventbridge = eventbridge
        self._invoke = invoke

    def invoke(self, target: Record, event: Record, rule: Record, view: Any = None) -> None:
        self._counter.rule("Invocations", rule)
        self._counter.all_rules("Invocations", rule)
        kind, arn = target["Arn"].split(":")[2], str(rule["Arn"])
        if not self._may_reach(kind, str(target["Arn"]), arn):
            log.warning(
                "rule %s does not reach %s: not there, or its policy does not let it", rule["Name"], target["Arn"]
            )
            self._counter.rule("FailedInvocations", rule)
            self._to_dead_letter_queue(target, event, rule, view)
        elif kind == "logs":
            self._to_log_group(target, event, rule, view)
        else:
            self._invoke(target, event, rule, view)

    def _may_reach(self, kind: str, target_arn: str, rule_arn: str) -> bool:
        if kind == "sqs":
            queue = service("sqs")._queue_by_arn(target_arn)
            return queue is not None and policies.queue_lets_in(queue, EVENTS, rule_arn)
        if kind == "sns":
            topic = service("sns")._topics.get(target_arn)
            return (
                topic is not None
                and policies.topic_lets_in(topic, EVENTS, rule_arn)
                and policies.topic_key_lets_in(topic, EVENTS, rule_arn)
            )
        if kind == "logs":
            known = service("cloudwatch_logs")._log_groups.get(_group_name(target_arn))
            return known is not None and policies.log_group_lets_in(target_arn, rule_arn)
        return True

    def _text(self, target: Record, event: Record, rule: Record, view: Any) -> str:
        seen = view or self._eventbridge._pattern_event_view(event)
        if target.get("InputTransformer"):
            return str(self._eventbridge._apply_input_transformer(target["InputTransformer"], rule, seen))
        return json.dumps(seen.event_with_detail())

    @behaviour("events")
    def _to_log_group(self, target: Record, event: Record, rule: Record, view: Any) -> None:
        """An event whose rule has a log group as target becomes a log event of it.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-targets.html
        """
        name = _group_name(str(target["Arn"]))
        logs = service("cloudwatch_logs")
        stream = str(uuid.uuid5(uuid.NAMESPACE_URL, str(rule["Arn"])))
        if stream not in logs._log_groups[name]["streams"]:
            logs._create_log_stream({"logGroupName": name, "logStreamName": stream})
        self._runtime.logs.accept(name, stream, [(int(time.time() * 1000), self._text(target, event, rule, view))])
        self._runtime.changed()

    @behaviour("events")
    def _to_dead_letter_queue(self, target: Record, event: Record, rule: Record, view: Any) -> None:
        """An event that does not reach its target goes to the target's dead-letter queue.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-rule-dlq.html
        """
        arn = (target.get("DeadLetterConfig") or {}).get("Arn")
        queue = service("sqs")._queue_by_arn(arn) if arn else None
        if queue is not None and policies.queue_lets_in(queue, EVENTS, str(rule["Arn"])):
            text = self._text(target, event, rule, view)
            self._eventbridge._dispatch_to_sqs(emulator.core("arn").parse_arn(arn), text)
            self._runtime.changed()


def _group_name(arn: str) -> str:
    return arn.split(":", 6)[6].removesuffix(":*")
