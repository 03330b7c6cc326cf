"""CloudWatch's alarms: kept whole, described whole, by pages; what evaluates them is sandbox.metrics.alarms."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sandbox import emulator, pages
from sandbox.behaviours import behaviour
from sandbox.metrics import queries, statistics
from sandbox.metrics.alarms import Alarm
from sandbox.metrics.evaluation import COMPARISONS, INSUFFICIENT, MISSING_DATA
from sandbox.operations import operation
from sandbox.operations.cloudwatch import HIGH_RESOLUTION, Answer, moment
from sandbox.seams.refusal import Refused

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

KEPT_MEMBERS = (
    *("AlarmDescription", "ActionsEnabled", "OKActions", "AlarmActions", "InsufficientDataActions", "MetricName"),
    *("Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit", "EvaluationPeriods"),
    *("DatapointsToAlarm", "Threshold", "ComparisonOperator", "TreatMissingData"),
    *("EvaluateLowSampleCountPercentile", "Metrics"),
)
LISTS = ("OKActions", "AlarmActions", "InsufficientDataActions", "Dimensions")
STATES = ("OK", "ALARM", INSUFFICIENT)
HISTORY_SECONDS = 30 * 86_400
TOKEN_IS_INVALID = "The next token specified is invalid."


def invalid(message: str) -> Refused:
    return Refused("ValidationError", message)


def alarms_of_tenant() -> tuple[Any, Any]:
    """(metric alarms, composite alarms) by name."""
    cloudwatch = emulator.service("cloudwatch")
    return cloudwatch._alarms, cloudwatch._composite_alarms


@operation("cloudwatch", "PutMetricAlarm")
def put_metric_alarm(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"""
    given = request.parameters
    name = str(given.get("AlarmName") or "")
    if not 1 <= len(name) <= 255:
        raise invalid("The alarm name must have 1 to 255 characters.")
    _metric_alarm_is_whole(given)
    _periods_fit(given)
    _actions_are_arns(given)
    metric_alarms, composites = alarms_of_tenant()
    if name in composites:
        raise invalid(f"The alarm {name} already exists as a composite alarm.")
    now = time.time()
    alarm: Alarm = {key: given[key] for key in KEPT_MEMBERS if given.get(key) is not None}
    # Of an alarm of a metric all lists are shown, of one with expressions no dimensions.
    alarm = {**{key: [] for key in LISTS if key != "Dimensions" or "Metrics" not in given}, **alarm}
    responses = emulator.core("responses")
    region, account = responses.get_region(), responses.get_account_id()
    alarm |= {
        "AlarmName": name,
        "AlarmArn": f"arn:aws:cloudwatch:{region}:{account}:alarm:{name}",
        "ActionsEnabled": given.get("ActionsEnabled") is not False,
        "AlarmConfigurationUpdatedTimestamp": now,
        "StateValue": INSUFFICIENT,
        "StateReason": "Unchecked: Initial alarm creation",
        "StateUpdatedTimestamp": now,
        "StateTransitionedTimestamp": now,
    }
    old = metric_alarms.get(name)
    if old is not None:
        alarm |= _state_of(old)
    metric_alarms[name] = alarm
    tags = {tag["Key"]: tag["Value"] for tag in given.get("Tags") or []}
    if old is None and tags:
        emulator.service("cloudwatch")._resource_tags[alarm["AlarmArn"]] = tags
    verb = "created" if old is None else "updated"
    kind = "Create" if old is None else "Update"
    shown = {key: value for key, value in alarm.items() if not key.startswith("_")}
    data = {"version": "1.0", "type": kind, f"{verb}Alarm": shown}
    runtime.alarms.remember(alarm, "ConfigurationUpdate", f'Alarm "{name}" {verb}', data)
    return {}


@behaviour("cloudwatch", otherwise=lambda old: {})
def _state_of(old: Alarm) -> Alarm:
    """An alarm that is put again keeps its state until it is evaluated.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    names = ("StateValue", "StateReason", "StateReasonData", "StateUpdatedTimestamp", "StateTransitionedTimestamp")
    return {key: old[key] for key in names if key in old}


def _metric_alarm_is_whole(given: Mapping[str, Any]) -> None:
    """What belongs together, and what is offered here."""
    comparison = given.get("ComparisonOperator")
    if comparison not in COMPARISONS:
        raise invalid(f"ComparisonOperator {comparison} is not offered here: no anomaly detection.")
    if given.get("ThresholdMetricId") or given.get("Threshold") is None:
        raise invalid("A Threshold is needed; anomaly detection is not offered here.")
    if (given.get("TreatMissingData") or "missing") not in MISSING_DATA:
        raise invalid("Invalid value for TreatMissingData. Valid values are breaching, notBreaching, ignore, missing")
    asked = given.get("Metrics")
    if not asked:
        statistic, extended = given.get("Statistic"), given.get("ExtendedStatistic")
        if bool(statistic) == bool(extended):
            raise invalid("Exactly one of Statistic and ExtendedStatistic must be specified")
        if not statistics.is_known(str(statistic or extended)):
            raise invalid(f"The value {statistic or extended} of the statistic is not supported")
        if not given.get("MetricName") or not given.get("Namespace") or not given.get("Period"):
            raise invalid("MetricName, Namespace and Period must be specified")
        return
    if any(given.get(key) for key in ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Dimensions")):
        raise invalid("Metrics list must not be used together with MetricName, Namespace, Dimensions or a statistic")
    if (wrong := queries.problem(asked)) is not None:
        raise invalid(wrong)
    if sum(1 for query in asked if query.get("ReturnData", True)) != 1:
        raise invalid("Exactly one element of the metrics list should return data.")


@behaviour("cloudwatch", code="ValidationError", stateful=False)
def _periods_fit(given: Mapping[str, Any]) -> None:
    """Periods are 10, 20, 30 or multiples of 60 seconds; evaluation spans a day, or seven with periods of an hour.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    asked = given.get("Metrics")
    period = queries.period_of(asked) if asked else int(given["Period"])
    periods, enough = int(given.get("EvaluationPeriods") or 0), given.get("DatapointsToAlarm")
    if period not in HIGH_RESOLUTION[2:] and (period < 60 or period % 60):
        raise invalid("Period must be 10, 20, 30 or a multiple of 60")
    if periods < 1:
        raise invalid("EvaluationPeriods must be greater than or equal to 1")
    if enough is not None and not 1 <= int(enough) <= periods:
        raise invalid("DatapointsToAlarm must be between 1 and EvaluationPeriods")
    if period * periods > (604_800 if period >= 3600 else 86_400):
        raise invalid("Metrics cannot be checked across more than a day (EvaluationPeriods * Period must be <= 86400).")


@behaviour("cloudwatch", code="ValidationError", stateful=False)
def _actions_are_arns(given: Mapping[str, Any]) -> None:
    """An alarm has at most five actions for each state, each an ARN.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html
    """
    for name in LISTS[:3]:
        actions = given.get(name) or []
        if len(actions) > 5:
            raise invalid(f"{name} must have at most 5 members")
        if wrong := [action for action in actions if not str(action).startswith("arn:")]:
            raise invalid(f"Invalid arn syntax: {wrong[0]}")


@operation("cloudwatch", "DescribeAlarms")
def describe_alarms(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html"""
    given = request.parameters
    names, prefix = given.get("AlarmNames") or [], given.get("AlarmNamePrefix")
    if names and prefix:
        raise invalid("AlarmNamePrefix and AlarmNames exclude one another")
    metric_alarms, composites = alarms_of_tenant()
    kinds = _alarm_types(given.get("AlarmTypes"))
    found = [
        alarm
        for kind, alarms in (("MetricAlarm", metric_alarms), ("CompositeAlarm", composites))
        for name, alarm in alarms.items()
        if kind in kinds
        and (not names or name in names)
        and name.startswith(prefix or "")
        and given.get("StateValue") in (None, alarm["StateValue"])
        and (not given.get("ActionPrefix") or _acts(alarm, given["ActionPrefix"]))
    ]
    found.sort(key=lambda alarm: alarm["AlarmName"])
    page, token = _page_of_alarms(found, given)
    return {
        "MetricAlarms": [alarm for alarm in page if "AlarmRule" not in alarm],
        "CompositeAlarms": [alarm for alarm in page if "AlarmRule" in alarm],
        "NextToken": token,
    }


@behaviour("cloudwatch", otherwise=lambda asked: asked or ["MetricAlarm", "CompositeAlarm"])
def _alarm_types(asked: list[str] | None) -> list[str]:
    """Without AlarmTypes only metric alarms are described, and only their history is.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    return asked or ["MetricAlarm"]


def _acts(alarm: Alarm, prefix: str) -> bool:
    return any(str(action).startswith(prefix) for name in LISTS[:3] for action in alarm.get(name) or [])


@behaviour("cloudwatch", code="InvalidNextToken", otherwise=lambda found, given: (found, None))
def _page_of_alarms(found: list[Alarm], given: Mapping[str, Any]) -> tuple[list[Alarm], str | None]:
    """DescribeAlarms gives 50 alarms a page, or MaxRecords up to 100, in the order of their names.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarms.html
    """
    most = _page_size(given, 50)
    if (token := given.get("NextToken")) is not None:
        after = str(_place_of("alarms", token))
        found = [alarm for alarm in found if alarm["AlarmName"] > after]
    page = found[:most]
    return page, pages.token_of("alarms", page[-1]["AlarmName"]) if len(found) > most else None


def _place_of(kind: str, token: str) -> Any:
    try:
        return pages.place_of(kind, token)
    except ValueError:
        raise Refused("InvalidNextToken", TOKEN_IS_INVALID) from None


def _page_size(given: Mapping[str, Any], default: int) -> int:
    most = given.get("MaxRecords")
    if most is not None and not 1 <= int(most) <= 100:
        raise invalid("1 validation error detected: Value at 'maxRecords' failed to satisfy constraint: 1 to 100")
    return int(most or default)


@operation("cloudwatch", "DescribeAlarmsForMetric")
def describe_alarms_for_metric(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmsForMetric.html"""
    given = request.parameters
    wanted = {pair["Name"]: pair["Value"] for pair in given.get("Dimensions") or []}
    same = ("Statistic", "ExtendedStatistic", "Period", "Unit")
    found = []
    for alarm in alarms_of_tenant()[0].values():
        own = {pair["Name"]: pair["Value"] for pair in alarm.get("Dimensions") or []}
        if (
            (alarm.get("Namespace"), alarm.get("MetricName")) == (given.get("Namespace"), given.get("MetricName"))
            and own == wanted
            and all(given.get(key) in (None, alarm.get(key)) for key in same)
        ):
            found.append(alarm)
    return {"MetricAlarms": found}


@operation("cloudwatch", "DeleteAlarms")
def delete_alarms(runtime: Runtime, request: ApiRequest) -> Answer:
    """Names that no alarm has are passed over.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DeleteAlarms.html
    """
    names = list(request.parameters.get("AlarmNames") or [])
    if len(names) > 100:
        raise invalid("At most 100 alarms can be deleted at once")
    metric_alarms, composites = alarms_of_tenant()
    cloudwatch = emulator.service("cloudwatch")
    if sum(1 for name in set(names) if name in composites) > 1:
        raise invalid("Only one composite alarm can be deleted in a single request")
    for name in names:
        _alarm_is_not_in_a_rule(name)
    for name in names:
        alarm = metric_alarms.pop(name, None) or composites.pop(name, None)
        cloudwatch._composite_triggers.pop(name, None)
        if alarm is not None:
            cloudwatch._resource_tags.pop(alarm["AlarmArn"], None)
            runtime.alarms.remember(
                alarm, "ConfigurationUpdate", f'Alarm "{name}" deleted', {"version": "1.0", "type": "Delete"}
            )
    return {}


@behaviour("cloudwatch", code="ValidationError")
def _alarm_is_not_in_a_rule(name: str) -> None:
    """An alarm that a composite alarm's rule names cannot be deleted.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DeleteAlarms.html
    """
    cloudwatch = emulator.service("cloudwatch")
    if any(name in cloudwatch._composite_children(parent) for parent in cloudwatch._composite_alarms.values()):
        raise invalid(f"Cannot delete {name} as there are composite alarm(s) depending on it.")


@operation("cloudwatch", "EnableAlarmActions")
def enable_alarm_actions(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_EnableAlarmActions.html"""
    return _set_actions(request, True)


@operation("cloudwatch", "DisableAlarmActions")
def disable_alarm_actions(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DisableAlarmActions.html"""
    return _set_actions(request, False)


def _set_actions(request: ApiRequest, enabled: bool) -> Answer:
    for name in request.parameters.get("AlarmNames") or []:
        for alarms in alarms_of_tenant():
            if name in alarms:
                alarms[name]["ActionsEnabled"] = enabled
    return {}


@operation("cloudwatch", "SetAlarmState")
def set_alarm_state(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_SetAlarmState.html"""
    given = request.parameters
    metric_alarms, composites = alarms_of_tenant()
    alarm = metric_alarms.get(given.get("AlarmName")) or composites.get(given.get("AlarmName"))
    if alarm is None:
        raise Refused("ResourceNotFound", "Unknown", 404)
    if given.get("StateValue") not in STATES:
        raise invalid(f"StateValue must be one of {', '.join(STATES)}")
    runtime.alarms.set_state(alarm, given["StateValue"], str(given.get("StateReason")), given.get("StateReasonData"))
    return {}


@operation("cloudwatch", "DescribeAlarmHistory")
def describe_alarm_history(runtime: Runtime, request: ApiRequest) -> Answer:
    """https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html"""
    given = request.parameters
    start = moment(given["StartDate"], "StartDate") if given.get("StartDate") is not None else 0
    end = moment(given["EndDate"], "EndDate") if given.get("EndDate") is not None else float("inf")
    kinds = _alarm_types(given.get("AlarmTypes"))
    entries = emulator.service("cloudwatch")._history_entries()
    oldest = time.time() - HISTORY_SECONDS
    found = [
        {**entry, "Timestamp": at, "n": n}
        for n, entry in enumerate(entries)
        if (at := emulator.epoch(entry["Timestamp"])) >= max(start, oldest)
        and at <= end
        and given.get("AlarmName") in (None, entry["AlarmName"])
        and given.get("HistoryItemType") in (None, entry["HistoryItemType"])
        and entry["AlarmType"] in kinds
    ]
    found.sort(key=lambda entry: (entry["Timestamp"], entry["n"]), reverse=given.get("ScanBy") != "TimestampAscending")
    page, token = _page_of_history(found, given)
    return {"AlarmHistoryItems": page, "NextToken": token}


@behaviour("cloudwatch", code="InvalidNextToken", otherwise=lambda found, given: (found, None))
def _page_of_history(found: list[dict[str, Any]], given: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str | None]:
    """DescribeAlarmHistory gives 100 items a page, or MaxRecords; what happens meanwhile moves no page.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html
    """
    most = _page_size(given, 100)
    if (token := given.get("NextToken")) is not None:
        last = _place_of("history", token)
        places = [n for n, entry in enumerate(found) if entry["n"] == last]
        if not places:
            raise Refused("InvalidNextToken", TOKEN_IS_INVALID)
        found = found[places[0] + 1 :]
    page = found[:most]
    return page, pages.token_of("history", page[-1]["n"]) if len(found) > most else None
