"""What a kill takes from CloudWatch, Logs, SNS and EventBridge: nothing that was there for some seconds."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime, timedelta

from tests.sandbox.support import Sandbox, open_folder, until


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_events_alarms_data_and_subscriptions_survive_a_kill() -> None:
    with open_folder() as root:
        sandbox = Sandbox(root)
        try:
            sandbox.up()
            logs, cloudwatch, sns = (sandbox.client(name) for name in ("logs", "cloudwatch", "sns"))
            logs.create_log_group(logGroupName="g")
            logs.create_log_stream(logGroupName="g", logStreamName="s")
            cloudwatch.put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 2.5}])
            cloudwatch.put_metric_alarm(
                AlarmName="a",
                Namespace="n",
                MetricName="m",
                Statistic="Sum",
                Period=60,
                EvaluationPeriods=1,
                Threshold=1,
                ComparisonOperator="GreaterThanThreshold",
            )
            cloudwatch.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="by hand")
            topic = sns.create_topic(Name="t")["TopicArn"]
            sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="x@example.test")
            # Records are saved every three seconds, events at once.
            time.sleep(3.5)
            now = int(time.time() * 1000)
            events = [{"timestamp": now + n, "message": str(n)} for n in range(3)]
            logs.put_log_events(logGroupName="g", logStreamName="s", logEvents=events)
            first = logs.filter_log_events(logGroupName="g", limit=1)
            pid = int(sandbox.facts["pid"])
            os.kill(pid, signal.SIGKILL)
            until(lambda: gone(pid), "it is gone", 5)
            sandbox.up()
            logs, cloudwatch, sns = (sandbox.client(name) for name in ("logs", "cloudwatch", "sns"))
            # A token goes on over the kill.
            rest = logs.filter_log_events(logGroupName="g", nextToken=first["nextToken"])["events"]
            assert [event["message"] for event in first["events"] + rest] == ["0", "1", "2"]
            assert len({event["eventId"] for event in first["events"] + rest}) == 3
            items = cloudwatch.describe_alarm_history(AlarmName="a", HistoryItemType="StateUpdate")
            assert items["AlarmHistoryItems"][-1]["HistorySummary"].endswith("to ALARM")
            assert cloudwatch.describe_alarms()["MetricAlarms"][0]["Threshold"] == 1
            points = cloudwatch.get_metric_statistics(
                Namespace="n",
                MetricName="m",
                StartTime=datetime.now(UTC) - timedelta(minutes=5),
                EndTime=datetime.now(UTC) + timedelta(minutes=1),
                Period=3600,
                Statistics=["Sum"],
            )["Datapoints"]
            assert [point["Sum"] for point in points] == [2.5]
            listed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
            assert [one["SubscriptionArn"] for one in listed] == ["PendingConfirmation"]
        finally:
            sandbox.down()
