"""CloudWatch: alarms described whole in the Query protocol, so that who reads them back sees no difference."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from sandbox.emulator import service

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Describe = Callable[..., tuple[int, dict[str, str], bytes]]
TIMES = {"StateUpdatedTimestamp", "AlarmConfigurationUpdatedTimestamp", "StateTransitionedTimestamp"}


def install(runtime: Runtime) -> None:
    cloudwatch = service("cloudwatch")
    describe, put = cloudwatch._describe_alarms, cloudwatch._put_metric_alarm
    cloudwatch._describe_alarms = lambda params, data, is_cbor, is_json=False: (
        describe(params, data, is_cbor, is_json) if is_cbor or is_json else _described(cloudwatch, params, describe)
    )
    cloudwatch._put_metric_alarm = lambda params, data, is_cbor, is_json=False: _put(
        cloudwatch, params, data, is_cbor, is_json, put
    )


def _put(cloudwatch: Any, params: Any, data: Any, is_cbor: bool, is_json: bool, put: Any) -> Any:
    """An alarm has a statistic or a percentile, never both; and its actions on missing data are kept.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    answer = put(params, data, is_cbor, is_json)
    form = not (is_cbor or is_json)
    alarm = cloudwatch._alarms.get(cloudwatch._p(params, "AlarmName") if form else data.get("AlarmName"))
    if alarm is None:
        return answer
    if alarm.get("ExtendedStatistic"):
        alarm.pop("Statistic", None)
    if form:
        actions: list[str] = []
        while action := cloudwatch._p(params, f"InsufficientDataActions.member.{len(actions) + 1}"):
            actions.append(action)
        alarm["InsufficientDataActions"] = actions
        low_samples = cloudwatch._p(params, "EvaluateLowSampleCountPercentile")
    else:
        low_samples = data.get("EvaluateLowSampleCountPercentile")
    if low_samples:
        alarm["EvaluateLowSampleCountPercentile"] = low_samples
    return answer


def _described(cloudwatch: Any, params: Any, describe: Describe) -> Any:
    """The emulator's JSON answer is complete; the Query protocol's is made from it."""
    query: dict[str, Any] = {}
    for name in ("AlarmNames", "AlarmTypes"):
        values: list[str] = []
        while value := cloudwatch._p(params, f"{name}.member.{len(values) + 1}"):
            values.append(value)
        query[name] = values
    for name in ("AlarmNamePrefix", "StateValue", "MaxRecords", "NextToken"):
        if value := cloudwatch._p(params, name):
            query[name] = value
    status, _, body = describe(params, query, False, True)
    if status != 200:
        return describe(params, query, False, False)
    found = json.loads(body)
    inner = "".join(
        f"<{kind}>{''.join(f'<member>{_alarm_xml(alarm)}</member>' for alarm in found.get(kind, []))}</{kind}>"
        for kind in ("MetricAlarms", "CompositeAlarms")
    )
    if token := found.get("NextToken"):
        inner += f"<NextToken>{escape(token)}</NextToken>"
    return cloudwatch._xml(200, "DescribeAlarmsResponse", f"<DescribeAlarmsResult>{inner}</DescribeAlarmsResult>")


def _alarm_xml(alarm: dict[str, Any]) -> str:
    shown = {key: value for key, value in alarm.items() if value is not None and not key.startswith("_")}
    if shown.get("ExtendedStatistic"):
        shown.pop("Statistic", None)
    for key in TIMES & shown.keys():
        if isinstance(shown[key], int | float):
            moment = datetime.datetime.fromtimestamp(shown[key], datetime.UTC)
            shown[key] = moment.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return _xml(shown)


def _xml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "".join(f"<{key}>{_xml(item)}</{key}>" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return "".join(f"<member>{_xml(item)}</member>" for item in value)
    return escape(str(value))
