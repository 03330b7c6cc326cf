"""CloudWatch: metrics, alarms and their clock are the sandbox's own; dashboards, tags, alarm rules the emulator's."""

from __future__ import annotations

import copy
import sys
import time
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING, Any

from sandbox import cbor
from sandbox.emulator import service
from sandbox.metrics import Metrics
from sandbox.metrics.alarms import Alarms

if TYPE_CHECKING:
    from sandbox.runtime import Runtime


def install(runtime: Runtime) -> None:
    sys.modules.setdefault("cbor2", _cbor2())
    cloudwatch = service("cloudwatch")
    runtime.metrics = Metrics(runtime.settings)
    runtime.alarms = Alarms(runtime, runtime.metrics)
    # It would look at alarms when data arrive, and compare with all data of the metric's name.
    cloudwatch._evaluate_alarm = lambda alarm: None
    cloudwatch._evict_old_metrics = lambda: None
    cloudwatch._dispatch_alarm_actions = lambda alarm, old, state, reason: runtime.alarms.act(
        alarm, old, state, reason, time.time()
    )
    cloudwatch.get_state = lambda: _state(cloudwatch)
    runtime.at_start.append(runtime.alarms.start)
    runtime.at_stop.append(runtime.alarms.close)


def _state(cloudwatch: Any) -> dict[str, Any]:
    """What is saved. Of long lists only the list is copied: what is in them does not change in size."""
    state = {
        "alarms": copy.deepcopy(cloudwatch._alarms),
        "composite_alarms": copy.deepcopy(cloudwatch._composite_alarms),
        "composite_triggers": copy.deepcopy(cloudwatch._composite_triggers),
        "dashboards": copy.deepcopy(cloudwatch._dashboards),
        "resource_tags": copy.deepcopy(cloudwatch._resource_tags),
    }
    for name, store in (("metrics", cloudwatch._metrics), ("alarm_history", cloudwatch._alarm_history)):
        state[name] = type(store)()
        for (account, region, key), values in store.all_items():
            state[name].set_scoped(account, region, key, list(values))
    return state


def _cbor2() -> ModuleType:
    """The emulator reads and writes CBOR by a library that its package does not bring."""
    module = ModuleType("cbor2")
    parts = {"loads": cbor.loads, "dumps": cbor.dumps, "CBORTag": lambda tag, value: datetime.fromtimestamp(value, UTC)}
    module.__dict__.update(parts)
    return module
