"""CloudWatch Logs: events are stored, found and turned into metrics here; groups, streams, tags are the emulator's."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.emulator import service
from sandbox.logs.conditions import PatternError
from sandbox.logs.intake import Intake
from sandbox.logs.metric_filters import MetricFilters
from sandbox.logs.patterns import parse
from sandbox.logs.store import EventStore
from sandbox.seams.refusal import Params, Response, answered_in_json

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


def install(runtime: Runtime) -> None:
    logs = service("cloudwatch_logs")
    store = EventStore(runtime.settings.state / "log-events")
    runtime.logs = Intake(store, MetricFilters(runtime.metrics))
    _install_saving(logs, store)
    _install_deleting(logs, store)
    # What writes logs inside the emulator: container log drivers, EventBridge, builds, functions.
    logs._put_log_events = answered_in_json(lambda data: _put(runtime.logs, data))
    logs._append_log_events = lambda stream, events: _append(logs, runtime.logs, stream, events)
    logs._subscription_pattern_matches = _matches


def _put(intake: Intake, data: Params) -> Any:
    return emulator.json_response(
        intake.put(data.get("logGroupName"), data.get("logStreamName"), list(data.get("logEvents") or []))
    )


def _append(logs: Any, intake: Intake, stream: Any, events: list[dict[str, Any]]) -> None:
    for group, known in logs._log_groups.items():
        for name, candidate in known["streams"].items():
            if candidate is stream:
                intake.accept(group, name, [(event["timestamp"], event["message"]) for event in events])
                return


def _matches(pattern: str, message: str) -> bool:
    try:
        return parse(pattern or "").matches(message or "")
    except PatternError:
        return False


def _install_saving(logs: Any, store: EventStore) -> None:
    """Records are saved without events, which have files of their own."""
    restore = logs._restore_state

    def get_state() -> dict[str, Any]:
        groups = type(logs._log_groups)()
        for (account, region, name), group in logs._log_groups.all_items():
            streams = {n: {**stream, "events": [], "_bytes": 0} for n, stream in list(group["streams"].items())}
            kept = copy.deepcopy({key: value for key, value in group.items() if key != "streams"})
            groups.set_scoped(account, region, name, {**kept, "streams": streams})
        return {
            "log_groups": groups,
            "destinations": copy.deepcopy(logs._destinations),
            "resource_policies": copy.deepcopy(logs._resource_policies),
            "log_group_policies": copy.deepcopy(logs._log_group_policies),
            "metric_filters": copy.deepcopy(logs._metric_filters),
            "queries": copy.deepcopy(logs._queries),
            "delivery_sources": copy.deepcopy(logs._delivery_sources),
            "delivery_destinations": copy.deepcopy(logs._delivery_destinations),
            "deliveries": copy.deepcopy(logs._deliveries),
        }

    def load(data: Any) -> None:
        restore(data)
        store.load()

    logs.get_state = get_state
    logs.load_persisted_state = load


def _install_deleting(logs: Any, store: EventStore) -> None:
    delete_group, delete_stream = logs._delete_log_group, logs._delete_log_stream

    def group_deleted(data: Params) -> Response:
        name = data.get("logGroupName")
        streams = list((logs._log_groups.get(name) or {}).get("streams") or ())
        answer: Response = delete_group(data)
        if answer[0] < 400:
            store.forget(str(name), streams)
        return answer

    def stream_deleted(data: Params) -> Response:
        answer: Response = delete_stream(data)
        if answer[0] < 400:
            store.forget(str(data.get("logGroupName")), [str(data.get("logStreamName"))])
        return answer

    logs._delete_log_group, logs._delete_log_stream = group_deleted, stream_deleted
