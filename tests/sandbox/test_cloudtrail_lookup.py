"""LookupEvents: what it finds, in which order, page by page, how often and how far back."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.audit_support import Account, new_account
from tests.sandbox.support import Sandbox, refused, until


@pytest.fixture
def account(sandbox: Sandbox) -> Iterator[Account]:
    """An account with an empty history, where LookupEvents may be called as often as one likes."""
    with sandbox.switched(lookup_events_rate=0):
        yield new_account(sandbox)


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["EventId"] for event in events]


def test_events_come_newest_first_and_each_page_goes_on_where_the_last_ended(account: Account) -> None:
    now = int(time.time()) - 1000
    records = [account.made_up(now + n) for n in range(120)]
    assert account.load(*records) == {"lines": 120, "added": 120, "refused": []}
    wanted = [record["eventID"] for record in reversed(records)]
    window = {"StartTime": now, "EndTime": now + 200}
    trail = account.client("cloudtrail")
    first = trail.lookup_events(**window)
    assert ids(first["Events"]) == wanted[:50]
    small = trail.lookup_events(MaxResults=7, **window)
    assert ids(small["Events"]) == wanted[:7]
    assert ids(account.events(**window)) == wanted
    assert ids(account.events(MaxResults=11, **window)) == wanted


def test_thousands_of_events_of_one_second_are_each_found_once(account: Account) -> None:
    second = int(time.time()) - 500
    records = [account.made_up(second) for _ in range(3_000)]
    account.load(*records)
    found = ids(account.events(StartTime=second, EndTime=second))
    assert len(found) == 3_000
    assert set(found) == {record["eventID"] for record in records}


def test_pages_stay_whole_while_new_events_arrive(account: Account) -> None:
    second = int(time.time()) - 500
    before = [account.made_up(second) for _ in range(200)]
    account.load(*before)
    trail = account.client("cloudtrail")
    page = trail.lookup_events()
    found = ids(page["Events"])
    while "NextToken" in page:
        account.load(*(account.made_up(int(time.time())) for _ in range(30)))
        page = trail.lookup_events(NextToken=page["NextToken"])
        found += ids(page["Events"])
    assert len(found) == len(set(found))
    assert {record["eventID"] for record in before} <= set(found)


@pytest.mark.behaviour("cloudtrail.an_attribute_selects")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("EventId", "00000000-1111-2222-3333-444444444444"),
        ("EventName", "CreateService"),
        ("EventSource", "elasticloadbalancing.amazonaws.com"),
        ("ReadOnly", "true"),
        ("Username", "alice"),
        ("AccessKeyId", "AKIAOTHER"),
        ("ResourceType", "AWS::ECS::Service"),
        ("ResourceName", "checkout"),
    ],
)
def test_each_attribute_finds_what_has_it(account: Account, key: str, value: str) -> None:
    at = int(time.time()) - 100
    one = account.made_up(
        at,
        eventName="CreateService",
        eventSource="elasticloadbalancing.amazonaws.com" if key == "EventSource" else "ecs.amazonaws.com",
        readOnly=True,
        userIdentity={"type": "IAMUser", "userName": "alice", "accessKeyId": "AKIAOTHER"},
        requestParameters={"serviceName": "checkout", "cluster": "c"},
    )
    if key == "EventId":
        one["eventID"] = str(uuid.uuid4())
        value = one["eventID"]
    others = [account.made_up(at, readOnly=False) for _ in range(3)]
    account.load(*others, one)
    attributes = [{"AttributeKey": key, "AttributeValue": value}]
    assert ids(account.events(LookupAttributes=attributes, EndTime=at)) == [one["eventID"]]


@pytest.mark.behaviour("cloudtrail.one_lookup_attribute_at_a_time")
def test_two_attributes_are_refused(account: Account) -> None:
    attributes = [{"AttributeKey": "EventName", "AttributeValue": name} for name in ("RunTask", "StopTask")]
    with refused("InvalidLookupAttributesException", status=400):
        account.client("cloudtrail").lookup_events(LookupAttributes=attributes)


@pytest.mark.behaviour("cloudtrail.the_time_range_is_within_the_history")
def test_a_range_that_ends_before_it_begins_or_before_the_history_is_refused(account: Account) -> None:
    trail, now = account.client("cloudtrail"), time.time()
    with refused("InvalidTimeRangeException", status=400):
        trail.lookup_events(StartTime=now, EndTime=now - 10)
    with refused("InvalidTimeRangeException"):
        trail.lookup_events(StartTime=now - 100 * 86_400, EndTime=now - 91 * 86_400)
    trail.lookup_events(StartTime=now - 100 * 86_400, EndTime=now)


@pytest.mark.behaviour("cloudtrail.history_begins")
def test_what_is_older_than_90_days_is_not_shown(account: Account) -> None:
    now = int(time.time())
    old, young = account.made_up(now - 90 * 86_400 - 60), account.made_up(now - 90 * 86_400 + 600)
    account.load(old, young)
    assert ids(account.events(StartTime=now - 200 * 86_400)) == [young["eventID"]]


def test_both_bounds_of_the_range_are_within_it(account: Account) -> None:
    at = int(time.time()) - 100
    records = [account.made_up(at + n) for n in range(4)]
    account.load(*records)
    wanted = [records[2]["eventID"], records[1]["eventID"]]
    assert ids(account.events(StartTime=at + 1, EndTime=at + 2)) == wanted
    assert ids(account.events(StartTime=at + 0.5, EndTime=at + 2.9)) == wanted


@pytest.mark.behaviour("cloudtrail.a_token_is_of_its_request")
def test_a_token_is_refused_with_other_parameters_or_when_it_is_none(account: Account) -> None:
    at = int(time.time()) - 100
    account.load(*(account.made_up(at) for _ in range(5)))
    trail = account.client("cloudtrail")
    token = trail.lookup_events(MaxResults=2, EndTime=at)["NextToken"]
    with refused("InvalidNextTokenException", status=400):
        trail.lookup_events(MaxResults=2, EndTime=at + 1, NextToken=token)
    with refused("InvalidNextTokenException"):
        new_account(account.sandbox).client("cloudtrail").lookup_events(MaxResults=2, EndTime=at, NextToken=token)
    with refused("InvalidNextTokenException"):
        trail.lookup_events(NextToken="bm9uZQ==")
    assert len(trail.lookup_events(MaxResults=2, EndTime=at, NextToken=token)["Events"]) == 2


def test_tokens_wear_out_by_age_and_by_pages_when_switched(sandbox: Sandbox) -> None:
    account = new_account(sandbox)
    at = int(time.time()) - 100
    account.load(*(account.made_up(at) for _ in range(8)))
    trail, query = account.client("cloudtrail"), {"MaxResults": 2, "EndTime": at}
    with sandbox.switched(lookup_events_rate=0, page_token_pages=2):
        tokens = [trail.lookup_events(**query)["NextToken"]]
        for _ in range(2):
            tokens.append(trail.lookup_events(**query, NextToken=tokens[-1])["NextToken"])
        for _ in range(2):
            with refused("InvalidNextTokenException"):
                trail.lookup_events(**query, NextToken=tokens[2])
        assert len(trail.lookup_events(**query, NextToken=tokens[1])["Events"]) == 2
    with sandbox.switched(lookup_events_rate=0, page_token_seconds=0.4):
        young = trail.lookup_events(**query)["NextToken"]
        assert len(trail.lookup_events(**query, NextToken=young)["Events"]) == 2
        time.sleep(0.5)
        with refused("InvalidNextTokenException"):
            trail.lookup_events(**query, NextToken=young)
    with sandbox.switched(lookup_events_rate=0):
        assert len(trail.lookup_events(**query, NextToken=tokens[2])["Events"]) == 2


@pytest.mark.behaviour("cloudtrail.lookups_are_rationed")
def test_more_than_two_lookups_a_second_are_throttled(sandbox: Sandbox) -> None:
    account = new_account(sandbox)
    trail = account.client("cloudtrail")
    trail.lookup_events()
    trail.lookup_events()
    with refused("ThrottlingException", "Rate exceeded", 400):
        for _ in range(4):
            trail.lookup_events()
    # Another region and another account have their own.
    account.client("cloudtrail", "eu-west-1").lookup_events()
    new_account(sandbox).client("cloudtrail").lookup_events()
    time.sleep(0.6)
    assert "ThrottlingException" in [
        json.loads(event["CloudTrailEvent"]).get("errorCode") for event in trail.lookup_events()["Events"]
    ]


@pytest.mark.behaviour("cloudtrail.events_show_later")
def test_events_show_up_later_with_the_time_of_their_call(sandbox: Sandbox) -> None:
    account = new_account(sandbox)
    with sandbox.switched(cloudtrail_seconds=1, lookup_events_rate=0):
        called = account.client("ecs").list_clusters()["ResponseMetadata"]["RequestId"]
        attributes = [{"AttributeKey": "EventName", "AttributeValue": "ListClusters"}]
        assert account.events(LookupAttributes=attributes) == []
        (event,) = until(lambda: account.events(LookupAttributes=attributes), "the event", 5)
        assert json.loads(event["CloudTrailEvent"])["requestID"] == called
        assert time.time() - event["EventTime"].timestamp() > 0.9


@pytest.mark.behaviour("cloudtrail.insights_are_looked_up_apart")
def test_there_are_no_insights_without_a_trail_that_has_them(account: Account) -> None:
    account.load(account.made_up(time.time() - 10))
    assert account.client("cloudtrail").lookup_events(EventCategory="insight")["Events"] == []
    assert account.events()


def test_an_imported_event_is_kept_as_it_is_and_only_once(account: Account) -> None:
    at = int(time.time()) - 100
    event = {
        "AccountId": account.number,
        "AwsRegion": account.sandbox.facts["region"],
        "EventId": "odd",
        "EventName": "Odd",
        "EventSource": "odd.amazonaws.com",
        "EventTime": at,
        "Username": "somebody",
        "Resources": [{"ResourceType": "AWS::Odd::Thing", "ResourceName": "thing"}],
        "CloudTrailEvent": '{"torn": ',
    }
    strange = account.made_up(at, fieldOfTomorrow={"x": [1]})
    assert account.load(event, strange, event)["added"] == 2
    attributes = [{"AttributeKey": "ResourceName", "AttributeValue": "thing"}]
    (odd,) = account.events(LookupAttributes=attributes)
    assert odd["CloudTrailEvent"] == '{"torn": '
    assert odd["Username"] == "somebody"
    kept = [json.loads(e["CloudTrailEvent"]) for e in account.events() if e["EventId"] == strange["eventID"]]
    assert kept == [strange]


def test_lines_that_are_no_records_are_named(account: Account) -> None:
    answer = account.load({"eventID": "x"}, account.made_up(time.time() - 10))
    assert (answer["lines"], answer["added"]) == (2, 1)
    assert answer["refused"][0].startswith("line 1: a record needs eventTime")
