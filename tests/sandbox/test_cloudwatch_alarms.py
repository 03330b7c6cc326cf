"""CloudWatch over its API: data, statistics, alarms that ring with time, history, messages, pages."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from botocore.model import ServiceModel

from tests.sandbox.support import Sandbox, refused, until


def name_of(kind: str) -> str:
    return f"{kind}-{uuid4().hex[:8]}"


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


@pytest.fixture
def cloudwatch(sandbox: Sandbox) -> Any:
    return sandbox.client("cloudwatch")


@contextlib.contextmanager
def alarm(cloudwatch: Any, **other: Any) -> Iterator[str]:
    """An alarm on metric `Errors` of a namespace of its own (its own name)."""
    name = name_of("alarm")
    given: dict[str, Any] = {
        "AlarmName": name,
        "Namespace": name,
        "MetricName": "Errors",
        "Statistic": "Sum",
        "Period": 10,
        "EvaluationPeriods": 1,
        "Threshold": 0.5,
        "ComparisonOperator": "GreaterThanThreshold",
        **other,
    }
    cloudwatch.put_metric_alarm(**{key: value for key, value in given.items() if value is not None})
    try:
        yield name
    finally:
        cloudwatch.delete_alarms(AlarmNames=[name])


@contextlib.contextmanager
def receiver(sandbox: Sandbox) -> Iterator[tuple[str, Any]]:
    """(ARN of a topic, function that gives the alarm messages which arrived at a queue since the last time)."""
    sns, sqs, name = sandbox.client("sns"), sandbox.client("sqs"), name_of("alarms")
    topic = sns.create_topic(Name=name)["TopicArn"]
    queue = sqs.create_queue(QueueName=name)["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage"}
    policy = {"Version": "2012-10-17", "Statement": [{**allow, "Resource": queue_arn}]}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn)

    def arrived() -> list[dict[str, Any]]:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        for one in found:
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=one["ReceiptHandle"])
        envelopes = [json.loads(one["Body"]) for one in found]
        return [{"Subject": one["Subject"], **json.loads(one["Message"])} for one in envelopes]

    try:
        yield topic, arrived
    finally:
        sns.delete_topic(TopicArn=topic)
        sqs.delete_queue(QueueUrl=queue)


def state_of(cloudwatch: Any, name: str) -> str:
    return str(cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateValue"])


def becomes(cloudwatch: Any, name: str, state: str, seconds: float = 4) -> None:
    until(lambda: state_of(cloudwatch, name) == state, f"{name} is {state}", seconds)


def put(cloudwatch: Any, namespace: str, *values: float, seconds_ago: float = 12, **other: Any) -> None:
    at = ago(seconds_ago)
    data = [{"MetricName": "Errors", "Value": value, "Timestamp": at, **other} for value in values]
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)


@pytest.mark.behaviour("cloudwatch.alarms_are_evaluated_with_time")
def test_an_alarm_rings_and_comes_back_as_time_goes_on(sandbox: Sandbox, cloudwatch: Any) -> None:
    """The points are of periods that are over; nothing arrives when the alarm goes back."""
    with alarm(cloudwatch, TreatMissingData="notBreaching") as name:
        becomes(cloudwatch, name, "OK")
        put(cloudwatch, name, 1.0, seconds_ago=22)
        becomes(cloudwatch, name, "ALARM")


def test_an_alarm_tells_its_topic_of_each_transition_once(sandbox: Sandbox, cloudwatch: Any) -> None:
    with receiver(sandbox) as (topic, arrived):
        actions = {"AlarmActions": [topic], "OKActions": [topic], "InsufficientDataActions": [topic]}
        with alarm(cloudwatch, AlarmDescription="errors", DatapointsToAlarm=1, **actions) as name:
            # Nothing is told of an alarm that is as it was born.
            put(cloudwatch, name, 2.0)
            becomes(cloudwatch, name, "ALARM")
            got = until(arrived, "the message arrives")
            assert len(got) == 1
            text = got[0]
            assert text["Subject"].startswith(f'ALARM: "{name}" in ')
            assert text["AlarmName"] == name
            assert text["AlarmDescription"] == "errors"
            assert (text["OldStateValue"], text["NewStateValue"]) == ("INSUFFICIENT_DATA", "ALARM")
            assert text["AWSAccountId"] == sandbox.facts["account_id"]
            assert text["AlarmArn"].endswith(f":alarm:{name}")
            assert text["NewStateReason"].startswith("Threshold Crossed: 1 out of the last 1 datapoints [2.0 (")
            assert text["StateChangeTime"].endswith("+0000")
            assert text["AlarmActions"] == [topic]
            assert text["Trigger"] == {
                "MetricName": "Errors",
                "Namespace": name,
                "StatisticType": "Statistic",
                "Statistic": "SUM",
                "Unit": None,
                "Dimensions": [],
                "Period": 10,
                "EvaluationPeriods": 1,
                "DatapointsToAlarm": 1,
                "ComparisonOperator": "GreaterThanThreshold",
                "Threshold": 0.5,
                "TreatMissingData": "missing",
                "EvaluateLowSampleCountPercentile": "",
            }
            cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="by hand")
            cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="again")
            told = [(one["OldStateValue"], one["NewStateValue"]) for one in until(arrived, "the message arrives")]
            assert told == [("ALARM", "OK")]


@pytest.mark.behaviour("cloudwatch.actions_enabled")
def test_disabled_actions_tell_nobody(sandbox: Sandbox, cloudwatch: Any) -> None:
    with receiver(sandbox) as (topic, arrived), alarm(cloudwatch, AlarmActions=[topic], OKActions=[topic]) as name:
        cloudwatch.disable_alarm_actions(AlarmNames=[name])
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="quiet")
        cloudwatch.enable_alarm_actions(AlarmNames=[name])
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="loud")
        told = [one["NewStateValue"] for one in until(arrived, "the message arrives")]
        assert told == ["OK"]


@pytest.mark.behaviour("cloudwatch.hold")
def test_a_state_by_hand_lasts_until_the_next_evaluation(cloudwatch: Any) -> None:
    with alarm(cloudwatch, TreatMissingData="notBreaching", Period=60) as name:
        becomes(cloudwatch, name, "OK")
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="by hand")
        time.sleep(1.3)
        assert state_of(cloudwatch, name) == "ALARM"
        assert cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]["StateReason"] == "by hand"


def test_a_state_of_no_alarm_cannot_be_set(cloudwatch: Any) -> None:
    with refused("ResourceNotFound", status=404):
        cloudwatch.set_alarm_state(AlarmName=name_of("none"), StateValue="OK", StateReason="x")


@pytest.mark.behaviour("cloudwatch.state_of")
def test_an_alarm_put_again_keeps_its_state(cloudwatch: Any) -> None:
    with alarm(cloudwatch, Period=60) as name:
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="OK", StateReason="by hand")
        before = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
        cloudwatch.put_metric_alarm(
            **{key: before[key] for key in ("AlarmName", "Namespace", "MetricName", "Statistic", "Period")},
            EvaluationPeriods=3,
            Threshold=2.0,
            ComparisonOperator="LessThanThreshold",
            TreatMissingData="ignore",
        )
        after = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
        assert (after["StateValue"], after["StateReason"], after["EvaluationPeriods"]) == ("OK", "by hand", 3)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"Period": 45}, "Period must be 10, 20, 30 or a multiple of 60"),
        ({"Period": 60, "EvaluationPeriods": 1441}, "more than a day"),
        ({"EvaluationPeriods": 2, "DatapointsToAlarm": 3}, "DatapointsToAlarm"),
    ],
)
@pytest.mark.behaviour("cloudwatch.periods_fit")
def test_periods_that_do_not_fit_are_refused(cloudwatch: Any, given: dict[str, Any], match: str) -> None:
    with refused("ValidationError", match, 400), alarm(cloudwatch, **given):
        pass


@pytest.mark.behaviour("cloudwatch.actions_are_arns")
def test_actions_are_arns(cloudwatch: Any) -> None:
    with refused("ValidationError", "Invalid arn syntax"), alarm(cloudwatch, AlarmActions=["mail me"]):
        pass


def test_an_alarm_has_one_statistic(cloudwatch: Any) -> None:
    with refused("ValidationError", "Statistic"), alarm(cloudwatch, ExtendedStatistic="p90"):
        pass


METRICS = [
    {
        "Id": "m1",
        "MetricStat": {"Metric": {"Namespace": "X", "MetricName": "Errors"}, "Period": 10, "Stat": "Sum"},
        "ReturnData": False,
    },
    {"Id": "e1", "Expression": "IF(FILL(m1, 0) > 3, 1, 0)", "Label": "many", "ReturnData": True},
]
WITHOUT_METRIC = dict.fromkeys(("Namespace", "MetricName", "Statistic", "Period"))


def test_an_alarm_of_an_expression_rings(cloudwatch: Any) -> None:
    namespace = name_of("ns")
    metrics = json.loads(json.dumps(METRICS).replace('"X"', f'"{namespace}"'))
    with alarm(cloudwatch, Metrics=metrics, EvaluationPeriods=3, DatapointsToAlarm=1, **WITHOUT_METRIC) as name:
        becomes(cloudwatch, name, "OK")
        put(cloudwatch, namespace, 4.0)
        becomes(cloudwatch, name, "ALARM")
        shown = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
        assert shown["Metrics"][1] == metrics[1]
        assert "Period" not in shown
        assert "Statistic" not in shown


def test_a_wrong_expression_is_refused(cloudwatch: Any) -> None:
    wrong = [METRICS[0], {**METRICS[1], "Expression": "m1 + m9"}]
    with refused("ValidationError", "identifier(s) [m9]"), alarm(cloudwatch, Metrics=wrong, **WITHOUT_METRIC):
        pass


def test_dimensions_are_matched_exactly(cloudwatch: Any) -> None:
    one, two = [{"Name": "A", "Value": "1"}], [{"Name": "A", "Value": "1"}, {"Name": "B", "Value": "2"}]
    with alarm(cloudwatch, Dimensions=one, TreatMissingData="notBreaching") as name:
        becomes(cloudwatch, name, "OK")
        put(cloudwatch, name, 5.0, Dimensions=two)
        put(cloudwatch, name, 5.0)
        time.sleep(1.3)
        assert state_of(cloudwatch, name) == "OK"
        put(cloudwatch, name, 5.0, Dimensions=one)
        becomes(cloudwatch, name, "ALARM")
        found = cloudwatch.describe_alarms_for_metric(Namespace=name, MetricName="Errors", Dimensions=one)
        assert [shown["AlarmName"] for shown in found["MetricAlarms"]] == [name]


@contextlib.contextmanager
def alarms(cloudwatch: Any, count: int) -> Iterator[list[str]]:
    prefix = name_of("many")
    with contextlib.ExitStack() as stack:
        names = [f"{prefix}-{n:03}" for n in range(count)]
        for name in names:
            stack.enter_context(alarm(cloudwatch, AlarmName=name, Period=60))
        yield names
        cloudwatch.delete_alarms(AlarmNames=names)


@pytest.mark.behaviour("cloudwatch.page_of_alarms")
def test_alarms_come_by_pages_in_the_order_of_names(cloudwatch: Any) -> None:
    with alarms(cloudwatch, 7) as names:
        pages = list(
            cloudwatch.get_paginator("describe_alarms").paginate(
                AlarmNamePrefix=names[0][:-4], PaginationConfig={"PageSize": 3}
            )
        )
        assert [len(page["MetricAlarms"]) for page in pages] == [3, 3, 1]
        assert [shown["AlarmName"] for page in pages for shown in page["MetricAlarms"]] == names
        with refused("InvalidNextToken"):
            cloudwatch.describe_alarms(NextToken="nonsense")


def test_unknown_alarms_are_passed_over_when_alarms_are_deleted(cloudwatch: Any) -> None:
    with alarm(cloudwatch) as name:
        cloudwatch.delete_alarms(AlarmNames=[name_of("none"), name])
        assert cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"] == []


def history(cloudwatch: Any, name: str, **other: Any) -> list[dict[str, Any]]:
    pages = cloudwatch.get_paginator("describe_alarm_history").paginate(AlarmName=name, **other)
    return [item for page in pages for item in page["AlarmHistoryItems"]]


def test_history_tells_configuration_states_and_actions(cloudwatch: Any) -> None:
    gone = "arn:aws:sns:us-east-1:123456789012:gone"
    with alarm(cloudwatch, AlarmActions=[gone], Period=60) as name:
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="by hand")
        items = history(cloudwatch, name, ScanBy="TimestampAscending")
        kinds = [item["HistoryItemType"] for item in items]
        assert kinds == ["ConfigurationUpdate", "StateUpdate", "Action"]
        assert items[0]["HistorySummary"] == f'Alarm "{name}" created'
        assert items[1]["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to ALARM"
        data = json.loads(items[1]["HistoryData"])
        assert data["newState"] == {"stateValue": "ALARM", "stateReason": "by hand"}
        assert items[2]["HistorySummary"] == f"Failed to execute action {gone}"
        assert [item["HistoryItemType"] for item in history(cloudwatch, name)] == kinds[::-1]
        assert len(history(cloudwatch, name, HistoryItemType="StateUpdate")) == 1
        assert history(cloudwatch, name, EndDate=ago(60)) == []


@pytest.mark.behaviour("cloudwatch.page_of_history")
def test_history_comes_by_pages_that_new_items_do_not_move(cloudwatch: Any) -> None:
    with alarm(cloudwatch, Period=60) as name:
        for state in ("OK", "ALARM", "OK"):
            cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="by hand")
        before = [item["HistorySummary"] for item in history(cloudwatch, name)]
        first = cloudwatch.describe_alarm_history(AlarmName=name, MaxRecords=2)
        cloudwatch.set_alarm_state(AlarmName=name, StateValue="ALARM", StateReason="meanwhile")
        second = cloudwatch.describe_alarm_history(AlarmName=name, MaxRecords=2, NextToken=first["NextToken"])
        got = [item["HistorySummary"] for item in first["AlarmHistoryItems"] + second["AlarmHistoryItems"]]
        assert got == before
        assert "NextToken" not in second


@contextlib.contextmanager
def composite(cloudwatch: Any, rule: str) -> Iterator[str]:
    name = name_of("composite")
    cloudwatch.put_composite_alarm(AlarmName=name, AlarmRule=rule)
    try:
        yield name
    finally:
        cloudwatch.delete_alarms(AlarmNames=[name])


def test_a_composite_alarm_follows_its_children(cloudwatch: Any) -> None:
    with alarm(cloudwatch, Period=60) as child, composite(cloudwatch, f"ALARM({child})") as name:
        cloudwatch.set_alarm_state(AlarmName=child, StateValue="ALARM", StateReason="by hand")
        found = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
        assert [shown["StateValue"] for shown in found] == ["ALARM"]


@pytest.mark.behaviour("cloudwatch.alarm_types")
def test_composite_alarms_are_shown_when_asked_for(cloudwatch: Any) -> None:
    with alarm(cloudwatch, Period=60) as child, composite(cloudwatch, f"ALARM({child})") as name:
        assert cloudwatch.describe_alarms(AlarmNames=[name])["CompositeAlarms"] == []
        assert history(cloudwatch, name) == []
        assert history(cloudwatch, name, AlarmTypes=["CompositeAlarm"])


@pytest.mark.behaviour("cloudwatch.alarm_is_not_in_a_rule")
def test_an_alarm_that_a_rule_names_is_not_deleted(cloudwatch: Any) -> None:
    with (
        alarm(cloudwatch, Period=60) as child,
        composite(cloudwatch, f"ALARM({child})"),
        refused("ValidationError", "composite alarm(s) depending on it", 400),
    ):
        cloudwatch.delete_alarms(AlarmNames=[child])


WHOLE: dict[str, Any] = {
    "AlarmDescription": "5xx & <more>",
    "Dimensions": [{"Name": "LoadBalancer", "Value": "app/x/1"}],
    "Period": 60,
    "EvaluationPeriods": 5,
    "DatapointsToAlarm": 3,
    "Threshold": 1.5,
    "TreatMissingData": "notBreaching",
    "Unit": "Count",
    "OKActions": ["arn:aws:sns:us-east-1:123456789012:t"],
    "AlarmActions": ["arn:aws:sns:us-east-1:123456789012:t"],
    "InsufficientDataActions": ["arn:aws:sns:us-east-1:123456789012:u"],
    "Statistic": None,
    "ExtendedStatistic": "p99.9",
    "EvaluateLowSampleCountPercentile": "ignore",
}


@pytest.mark.parametrize("protocol", ["smithy-rpc-v2-cbor", "json", "query"])
def test_an_alarm_is_described_whole_in_each_protocol(
    sandbox: Sandbox, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What botocore chooses from those that a service has.
    monkeypatch.setattr(ServiceModel, "resolved_protocol", protocol)
    client = sandbox.client("cloudwatch")
    with alarm(client, **WHOLE) as name:
        shown = client.describe_alarms(AlarmNames=[name])["MetricAlarms"][0]
        assert {key: shown.get(key) for key in WHOLE} == WHOLE
        assert shown["ActionsEnabled"] is True
        assert isinstance(shown["StateUpdatedTimestamp"], datetime)
        assert abs((shown["AlarmConfigurationUpdatedTimestamp"] - ago(0)).total_seconds()) < 30
        client.put_metric_data(Namespace=name, MetricData=[{"MetricName": "Errors", "Value": 2.5, "Unit": "Count"}])
        got = client.get_metric_statistics(
            **{"Namespace": name, "MetricName": "Errors", "Period": 60, "Statistics": ["Sum"]},
            StartTime=ago(120),
            EndTime=ago(-60),
        )
        assert [(point["Sum"], point["Unit"]) for point in got["Datapoints"]] == [(2.5, "Count")]
        with refused("ResourceNotFound", status=404):
            client.set_alarm_state(AlarmName="none", StateValue="OK", StateReason="x")


def data_of(cloudwatch: Any, namespace: str, *stats: str, **other: Any) -> dict[str, Any]:
    metric = {"Namespace": namespace, "MetricName": "Errors"}
    asked = [
        {"Id": f"q{n}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": stat}} for n, stat in enumerate(stats)
    ]
    found: dict[str, Any] = cloudwatch.get_metric_data(
        MetricDataQueries=[*asked, *other.pop("More", [])], StartTime=ago(3600), EndTime=ago(-60), **other
    )
    return found


def test_statistics_percentiles_and_expressions(cloudwatch: Any) -> None:
    namespace = name_of("ns")
    put(cloudwatch, namespace, *range(1, 11), seconds_ago=600)
    more = [{"Id": "e1", "Expression": "q0 / q1"}]
    found = data_of(cloudwatch, namespace, "Sum", "SampleCount", "p90", "Maximum", More=more)["MetricDataResults"]
    assert [row["Values"] for row in found] == [[55.0], [10.0], [pytest.approx(9.1)], [10.0], [5.5]]
    assert {row["StatusCode"] for row in found} == {"Complete"}
    assert [metric["MetricName"] for metric in cloudwatch.list_metrics(Namespace=namespace)["Metrics"]] == ["Errors"]


@pytest.mark.behaviour("cloudwatch.page_of_data")
def test_data_come_by_pages(cloudwatch: Any) -> None:
    namespace = name_of("ns")
    for minutes in range(1, 6):
        put(cloudwatch, namespace, float(minutes), seconds_ago=60 * minutes)
    first = data_of(cloudwatch, namespace, "Sum", MaxDatapoints=3)
    assert first["MetricDataResults"][0]["Values"] == [1.0, 2.0, 3.0]
    assert first["MetricDataResults"][0]["StatusCode"] == "PartialData"
    second = data_of(cloudwatch, namespace, "Sum", MaxDatapoints=3, NextToken=first["NextToken"])
    assert second["MetricDataResults"][0]["Values"] == [4.0, 5.0]
    assert "NextToken" not in second


@pytest.mark.behaviour("cloudwatch.page_of_metrics")
def test_metrics_come_by_pages_of_500(cloudwatch: Any) -> None:
    namespace = name_of("ns")
    data = [{"MetricName": f"m{n:03}", "Value": 1.0} for n in range(501)]
    cloudwatch.put_metric_data(Namespace=namespace, MetricData=data)
    pages = list(cloudwatch.get_paginator("list_metrics").paginate(Namespace=namespace))
    assert [len(page["Metrics"]) for page in pages] == [500, 1]


@pytest.mark.behaviour("cloudwatch.datum_is_of_these_weeks")
@pytest.mark.parametrize("seconds", [15 * 86_400, -3 * 3_600])
def test_data_of_other_weeks_are_refused(cloudwatch: Any, seconds: float) -> None:
    with refused("InvalidParameterValue", "Timestamp must specify a time"):
        put(cloudwatch, name_of("ns"), 1.0, seconds_ago=seconds)


@pytest.mark.behaviour("cloudwatch.namespace_is_not_of_aws")
def test_nobody_publishes_in_awss_namespaces(cloudwatch: Any) -> None:
    with refused("InvalidParameterValue", "AWS/ECS for parameter Namespace"):
        put(cloudwatch, "AWS/ECS", 1.0)


@pytest.mark.behaviour("cloudwatch.range_and_period")
def test_ranges_and_periods_have_their_forms(cloudwatch: Any) -> None:
    common = {"Namespace": "n", "MetricName": "m", "Statistics": ["Sum"]}
    with refused("InvalidParameterValue", "StartTime must be less"):
        cloudwatch.get_metric_statistics(**common, Period=60, StartTime=ago(0), EndTime=ago(60))
    with refused("InvalidParameterValue", "multiple of 60"):
        cloudwatch.get_metric_statistics(**common, Period=90, StartTime=ago(60), EndTime=ago(0))


@pytest.mark.behaviour("cloudwatch.at_most_1440_datapoints")
def test_statistics_give_at_most_1440_datapoints(cloudwatch: Any) -> None:
    with refused("InvalidParameterCombination", "1,440"):
        cloudwatch.get_metric_statistics(
            Namespace="n", MetricName="m", Statistics=["Sum"], Period=60, StartTime=ago(86_500), EndTime=ago(0)
        )


def test_the_chain_from_an_event_to_a_message(sandbox: Sandbox, cloudwatch: Any) -> None:
    """EventBridge → log group → metric filter → alarm → topic → queue, with nothing put by hand but the event."""
    events, logs, name = sandbox.client("events"), sandbox.client("logs"), name_of("chain")
    logs.create_log_group(logGroupName=name)
    group = logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"][0]["arn"]
    allow = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Resource": group}
    statement = {**allow, "Action": ["logs:CreateLogStream", "logs:PutLogEvents"]}
    logs.put_resource_policy(policyName=name, policyDocument=json.dumps({"Statement": [statement]}))
    what = {"metricName": "Errors", "metricNamespace": name, "metricValue": "1", "defaultValue": 0}
    pattern = "{ $.detail.containers[0].exitCode != 0 }"
    logs.put_metric_filter(logGroupName=name, filterName=name, filterPattern=pattern, metricTransformations=[what])
    events.put_rule(Name=name, EventPattern=json.dumps({"source": [name]}))
    events.put_targets(Rule=name, Targets=[{"Id": "logs", "Arn": group}])
    with receiver(sandbox) as (topic, arrived):
        quiet = {"TreatMissingData": "notBreaching", "AlarmActions": [topic]}
        with alarm(cloudwatch, Namespace=name, EvaluationPeriods=3, DatapointsToAlarm=1, **quiet) as alarm_name:
            detail = json.dumps({"containers": [{"exitCode": 3}]})
            events.put_events(Entries=[{"Source": name, "DetailType": "Task", "Detail": detail}])
            text = until(arrived, "the message arrives", 15)[0]
            assert (text["AlarmName"], text["NewStateValue"]) == (alarm_name, "ALARM")
    events.remove_targets(Rule=name, Ids=["logs"])
    events.delete_rule(Name=name)
    logs.delete_resource_policy(policyName=name)
    logs.delete_log_group(logGroupName=name)
