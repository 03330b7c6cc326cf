"""CloudWatch: metrics, alarms and their clock are the sandbox's own; dashboards, tags, alarm rules the emulator's."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from types import ModuleType
from typing import TYPE_CHECKING

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
    runtime.at_start.append(runtime.alarms.start)
    runtime.at_stop.append(runtime.alarms.close)


def _cbor2() -> ModuleType:
    """The emulator reads and writes CBOR by a library that its package does not bring."""
    module = ModuleType("cbor2")
    parts = {"loads": cbor.loads, "dumps": cbor.dumps, "CBORTag": lambda tag, value: datetime.fromtimestamp(value, UTC)}
    module.__dict__.update(parts)
    return module
