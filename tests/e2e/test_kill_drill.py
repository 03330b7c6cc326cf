"""N1: a drill of alarms of which everything was killed is swept by its id; the alarms that it has copied stay."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import alarms, harness
from .aws_listing import AwsListing, Listing, kinds, owned
from .kill_bystanders import marks
from .kill_storm import EVERYTHING, Run, start
from .kill_sweeps import Sweeps
from .services import Services, unique, until
from .test_kill_storm import killed_whole


@pytest.fixture
def post(services: Services) -> str:
    """ARN of a queue to which the alarms go all the time."""
    sqs = harness.client("sqs")
    url = sqs.create_queue(QueueName=unique("post"))["QueueUrl"]
    services.undo.append(lambda: sqs.delete_queue(QueueUrl=url))
    arn: str = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    return arn


@pytest.fixture
def watched(services: Services, tmp_path: Path, post: str) -> Iterator[dict[str, Any]]:
    subscriptions = [{"protocol": "sqs", "endpoint": post}]
    with alarms.watched(services, tmp_path, "kill", papyrus_monitor_subscriptions=subscriptions) as variables:
        yield variables


@pytest.fixture
def bystanders(watched: dict[str, Any]) -> Iterator[Callable[[], list[str]]]:
    """Makes what a sweep of a drill meets and has to leave: a drill's that is alive elsewhere, nobody's, others'."""
    cloudwatch, sqs, name = harness.client("cloudwatch"), harness.client("sqs"), watched["papyrus_monitor_name"]
    names, urls = [f"{name}-memory-drill-living", f"{name}-memory-drill-of-old"], []

    def make() -> list[str]:
        now = dt.datetime.now(dt.UTC)
        living = marks(f"{now:%Y%m%dT%H%M%SZ}-living", f"{now + dt.timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}", name)
        listed = [{"Key": key, "Value": value} for key, value in living.items()]
        for alarm, more in ((names[0], {"Tags": listed}), (names[1], {})):
            cloudwatch.put_metric_alarm(
                AlarmName=alarm, Namespace="of-a-test", MetricName="x", Statistic="Sum", Threshold=1, Period=60,
                EvaluationPeriods=1, ComparisonOperator="GreaterThanThreshold", **more,
            )  # fmt: skip
        for queue, tags in (("papyrus-drill-living", living), ("papyrus-drill-notags", {})):
            urls.append(sqs.create_queue(QueueName=queue, tags=tags)["QueueUrl"])
        return [*names, *urls]

    yield make
    cloudwatch.delete_alarms(AlarmNames=names)
    for url in urls:
        sqs.delete_queue(QueueUrl=url)


def early(run: Run, there: dict[str, int]) -> bool:
    """Its copies of alarms and its queue are there, its load balancer takes its minute."""
    return there.get("alarm", 0) >= 2 and "queue" in there and "load balancer" in there


def ringing(run: Run, there: dict[str, int]) -> bool:
    """Everything of it is there."""
    return "its condition is made now" in run.smoke.output


def of(listing: Listing, *words: str) -> Listing:
    """What has one of the words in its id or its content."""
    return {item: text for item, text in listing.items() if any(word in item[1] + text for word in words)}


def remembered(kind: str, ident: str) -> bool:
    """ECS shows the tags of what is INACTIVE; what is not is listed as service or task definition too."""
    return kind == "tagged" and ":ecs:" in ident and any(word in ident for word in (":service/", ":task-definition/"))


@pytest.mark.soak
@pytest.mark.parametrize("moment", [early, ringing])
def test_N1_a_drill_killed_in_its_midst_is_swept_by_its_id_and_the_permanent_alarms_stay(
    tmp_path: Path,
    watched: dict[str, Any],
    post: str,
    bystanders: Callable[[], list[str]],
    moment: Callable[[Run, dict[str, int]], bool],
) -> None:
    listing, name = AwsListing(), watched["papyrus_monitor_name"]
    permanent = of(listing.take(), f"{name}-", post)
    assert {"alarm", "topic", "topic's policy", "subscription", "event rule"} <= set(kinds(permanent)), kinds(permanent)
    run = start(tmp_path / "drill", 1, EVERYTHING, playbook="playbooks/alarm_drill.yml", variables=watched)
    try:

        def now() -> bool:
            assert not run.processes.ended(), run.smoke.output[-3000:]
            return bool(run.run_id) and moment(run, kinds(owned(listing.take(), run.suffix)))

        until(now, f"the moment {moment.__name__}", 900)
        killed_whole(run)
    finally:
        run.processes.kill_everything()
        shutil.rmtree(run.private, ignore_errors=True)
    made = bystanders()
    before = listing.take()
    theirs = owned(before, run.suffix)
    print(f"{moment.__name__}: {run.run_id} left {kinds(theirs)}")
    assert {"alarm", "queue", "subscription", "task definition", "security group"} <= set(kinds(theirs)), theirs
    if moment is ringing:
        assert {"service", "load balancer", "listener", "target group"} <= set(kinds(theirs)), theirs
    done = Sweeps(tmp_path / "sweeps").sweep([run.run_id], theirs, **watched, papyrus_sweep_interval=3)
    print(f"swept in {done['sweep_seconds']} s: {done['sweep_calls']}")
    assert done["sweep_ok"], done["sweep_said"]
    assert done["foreign_calls"] == []
    after = listing.take()
    assert [item for item in owned(after, run.suffix) if not remembered(*item)] == []
    words = [f"{name}-{kind}" for kind in alarms.KINDS] + [alarms.topic_of(name), post, *made]
    assert of(after, *words) == of({item: text for item, text in before.items() if item not in theirs}, *words)
    assert {item for item in permanent if item not in after} == set()
    assert {alarm["AlarmName"] for alarm in alarms.named(name)} == {f"{name}-{kind}" for kind in alarms.KINDS} | {
        f"{name}-memory-drill-living", f"{name}-memory-drill-of-old",
    }  # fmt: skip
