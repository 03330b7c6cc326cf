# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""AWS Config as a source: every type, every resource, every item of the span, and what AWS refuses is told (K2)."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._config_source import ConfigSource, item_of
from ansible_collections.papyrus.ops.plugins.module_utils._export import Item, Progress, Unit
from ansible_collections.papyrus.ops.plugins.module_utils._export_pace import Pacer, Patient
from wire_aws import Refused, Wire

START, END = 1_800_000_000.0, 1_800_086_400.0
VPC, KEY = "AWS::EC2::VPC", "AWS::KMS::Key"


def entry(identifier: str, at: float, state: str = "1", **more: Any) -> dict[str, Any]:
    return {
        "resourceType": VPC,
        "resourceId": identifier,
        "configurationItemCaptureTime": at,
        "configurationStateId": state,
        "configuration": '{"cidr": "10.0.0.0/16"}',
        **more,
    }


@dataclass
class Config:
    """Resources of one type or more with their items; `page` of them in an answer, tokens `<place>`."""

    resources: dict[str, dict[str, list[dict[str, Any]]]]
    deleted: dict[str, float] = field(default_factory=dict)
    page: int = 100
    recorder: bool = True
    refusals: dict[str, Refused] = field(default_factory=dict)
    """By type, by resource id, or by token: answered once for a token, always else."""
    always: bool = False
    """Also for a token."""
    counted: tuple[str, ...] = ()

    def __call__(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
        if operation == "DescribeConfigurationRecorderStatus":
            status = {"name": "default", "recording": True, "lastStartTime": START - 10, "lastStatus": "SUCCESS"}
            return {"ConfigurationRecordersStatus": [status] if self.recorder else []}
        if operation == "GetDiscoveredResourceCounts":
            place = int(asked.get("nextToken", 0))
            counts = {"resourceCounts": [{"resourceType": kind, "count": 1} for kind in self.counted[place:][:1]]}
            return counts | ({"nextToken": str(place + 1)} if place + 1 < len(self.counted) else {})
        if asked.get("nextToken") in self.refusals:
            refusal = self.refusals[asked["nextToken"]]
            self.refusals = self.refusals if self.always else {}
            raise refusal
        listing = operation == "ListDiscoveredResources"
        name = asked["resourceType"] if listing else asked["resourceId"]
        if name in self.refusals:
            raise self.refusals[name]
        known = self.resources.get(asked["resourceType"], {})
        if listing:
            found: list[Any] = [self._identifier(asked["resourceType"], one) for one in known]
        else:
            if asked["resourceId"] not in known:
                raise Refused("ResourceNotDiscoveredException")
            found = [
                one
                for one in known[asked["resourceId"]]
                if asked["earlierTime"] <= one.get("configurationItemCaptureTime", START) <= asked["laterTime"]
            ]
        place = int(str(asked.get("nextToken", "-0")).rpartition("-")[2])
        page = found[place : place + self.page]
        answer: dict[str, Any] = {"resourceIdentifiers" if listing else "configurationItems": page}
        if place + self.page < len(found):
            answer["nextToken"] = f"{name}-{place + self.page}"
        return answer

    def _identifier(self, kind: str, one: str) -> dict[str, Any]:
        gone = {"resourceDeletionTime": self.deleted[one]} if one in self.deleted else {}
        return {"resourceType": kind, "resourceId": one, **gone}


def source_of(config: Any, **options: Any) -> tuple[ConfigSource, Wire]:
    wire = Wire("config", config)
    return ConfigSource(wire.client, "123456789012 in us-west-2", Patient(Pacer(0)), **options), wire


@dataclass
class Read:
    """All pages of one unit, with the tokens that led to them."""

    items: list[Item] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    @property
    def counted(self) -> dict[str, int]:
        return {name: number for name, number in self.counts.items() if number}

    @property
    def ids(self) -> list[str]:
        return [json.loads(item.line)["resourceId"] for item in self.items]


def read(source: ConfigSource, kind: str = VPC, token: str = "", into: Read | None = None) -> Read:
    done, unit = into or Read(), Unit(kind, START, END)
    while True:
        done.tokens.append(token)
        assert len(done.tokens) < 2_000, "it goes round and round"
        page = source.ask(unit, token)
        done.items += page.items
        done.notes += [page.note] if page.note else []
        for name, number in page.counts.items():
            done.counts[name] = done.counts.get(name, 0) + number
        token = page.token
        if not token:
            return done


def test_K2_every_type_that_the_model_knows_and_every_one_that_config_has_counted_is_a_unit() -> None:
    source, _wire = source_of(Config({}, counted=("AWS::New::Thing", VPC, "AWS::New::Other")))
    units = source.units(START, END)
    keys = [unit.key for unit in units]
    assert keys == sorted(set(keys))
    assert {"AWS::New::Thing", "AWS::New::Other", VPC, "AWS::ECS::Service", KEY} <= set(keys) and len(keys) > 400
    assert all((unit.start, unit.end) == (START, END) for unit in units)
    assert [unit for unit in units if unit.parameters] == units[:1]
    assert units[0].parameters["recorder"] == {
        "name": "default",
        "recording": True,
        "started": "2027-01-15T07:59:50.000Z",
        "stopped": "",
        "last_status": "SUCCESS",
    }


def test_K2_named_types_are_asked_instead_of_all() -> None:
    source, wire = source_of(Config({}), types=[KEY, VPC, KEY])
    assert [unit.key for unit in source.units(START, END)] == [VPC, KEY]
    assert not wire.asked("GetDiscoveredResourceCounts")


def test_K2_without_a_recorder_the_error_says_what_to_do() -> None:
    source, _wire = source_of(Config({}, recorder=False))
    with pytest.raises(AwsFailure, match=r"no configuration recorder.*PutConfigurationRecorder") as caught:
        source.units(START, END)
    assert caught.value.code == "NoAvailableConfigurationRecorderException"


def test_K2_a_recorder_that_goes_meanwhile_is_a_failure_of_the_listing() -> None:
    source, _wire = source_of(Config({}, refusals={VPC: Refused("NoAvailableConfigurationRecorderException")}))
    with pytest.raises(AwsFailure, match="PutConfigurationRecorder"):
        read(source)


def test_K2_more_resources_and_more_items_than_a_page_are_all_read_one_request_at_a_time() -> None:
    items = {f"vpc-{n}": [entry(f"vpc-{n}", START + m, str(m)) for m in range(n % 4)] for n in range(250)}
    items["vpc-7"] = [entry("vpc-7", START + m, str(m)) for m in range(230)]
    source, wire = source_of(Config({VPC: items}))
    done = read(source)
    assert sorted(done.ids) == sorted(one["resourceId"] for many in items.values() for one in many)
    assert len({item.id for item in done.items}) == len(done.items)
    assert len(wire.sent) == len(done.tokens) == 3 + 250 + 2
    listings, histories = wire.asked("ListDiscoveredResources"), wire.asked("GetResourceConfigHistory")
    assert [one.get("nextToken") for one in listings] == [None, f"{VPC}-100", f"{VPC}-200"]
    assert all(one["includeDeletedResources"] is True and one["limit"] == 100 for one in listings)
    assert all(one["limit"] == 100 and one["chronologicalOrder"] == "Forward" for one in histories)
    assert done.counted == {"resources": 250, "without_items": sum(not many for many in items.values())}


def test_K2_items_at_both_ends_are_in_and_a_millisecond_beside_them_out() -> None:
    at = {"first": START, "last": END, "before": START - 0.001, "after": END + 0.001}
    source, wire = source_of(Config({VPC: {name: [entry(name, when)] for name, when in at.items()}}))
    done = read(source)
    assert done.ids == ["first", "last"]
    assert done.counts["without_items"] == 2
    asked = wire.asked("GetResourceConfigHistory")[0]
    assert asked["earlierTime"] < START and asked["laterTime"] > END


def test_K2_a_resource_whose_last_page_has_nothing_of_the_span_is_not_one_without_items() -> None:
    items = [entry("a", START, "1"), entry("a", END + 0.5, "2")]
    done = read(source_of(Config({VPC: {"a": items}}, page=1))[0])
    assert (done.ids, done.counted) == (["a"], {"resources": 1})


def test_K2_items_of_one_moment_are_told_apart_by_their_state_or_what_they_say() -> None:
    same = [
        entry("a", START + 1, "1"),
        entry("a", START + 1, "2"),
        entry("a", START + 1, ""),
        entry("a", START + 1, ""),
    ]
    same[3]["configuration"] = "{}"
    source, _wire = source_of(Config({VPC: {"a": same}}, page=1))
    done = read(source)
    assert len({item.id for item in done.items}) == 4
    assert done.items[0].id == f"{VPC}/a/2027-01-15T08:00:01.000Z/1"


def test_K2_deleted_resources_are_asked_unless_they_went_long_before() -> None:
    gone = {"in": START + 5, "a day before": START - 86_400, "long before": START - 86_401}
    items = {name: [entry(name, START + 5, configurationItemStatus="ResourceDeleted")] for name in [*gone, "there"]}
    done = read(source_of(Config({VPC: items}, deleted=gone))[0])
    assert done.ids == ["in", "a day before", "there"]
    assert done.counted == {"resources": 4, "deleted": 3, "deleted_long_before": 1}
    everything = read(source_of(Config({VPC: items}, deleted=gone), all_deleted=True)[0])
    assert everything.ids == ["in", "a day before", "long before", "there"]
    assert everything.counts["deleted_long_before"] == 0


def test_K2_a_type_that_aws_refuses_is_told_and_no_failure() -> None:
    refused = Refused("ValidationException", "ResourceType not supported in region")
    done = read(source_of(Config({}, refusals={VPC: refused}))[0])
    assert done.counts == {"types_refused": 1} and done.tokens == [""]
    assert done.notes == ["AWS refuses to list this type: ResourceType not supported in region"]


def test_K2_a_refused_token_is_never_taken_for_a_refused_type_or_history() -> None:
    """Else the rest of the type, or of the resource, would be missing silently."""
    refusals = {f"{VPC}-1": Refused("ValidationException", "1 validation error: nextToken")}
    source, _wire = source_of(Config({VPC: {"a": [], "b": []}}, page=1, refusals=dict(refusals)))
    with pytest.raises(AwsFailure, match="ListDiscoveredResources on resource type AWS::EC2::VPC.*nextToken"):
        read(source)
    items = [entry("a", START + n, str(n)) for n in range(3)]
    refusals = {"a-2": Refused("ValidationException", "1 validation error: nextToken")}
    source, _wire = source_of(Config({VPC: {"a": items}}, page=2, refusals=refusals))
    with pytest.raises(AwsFailure, match="GetResourceConfigHistory on AWS::EC2::VPC a "):
        read(source)


@pytest.mark.parametrize(
    ("code", "count", "notes"),
    [
        ("ValidationException", "history_refused", ["AWS refuses the history of b: no"]),
        ("ResourceNotDiscoveredException", "without_history", []),
    ],
)
def test_K2_a_resource_whose_history_aws_refuses_is_told_and_the_others_are_read(
    code: str, count: str, notes: list[str]
) -> None:
    items = {name: [entry(name, START)] for name in "abc"}
    done = read(source_of(Config({VPC: items}, refusals={"b": Refused(code)}))[0])
    assert done.ids == ["a", "c"] and done.notes == notes
    assert done.counted == {"resources": 3, count: 1}


@pytest.mark.parametrize("code", ["AccessDeniedException", "ThrottlingException", "InternalFailure"])
def test_K2_what_is_not_about_the_type_or_resource_stays_a_failure(code: str) -> None:
    items = {"a": [entry("a", START)]}
    for name in (VPC, "a"):
        with pytest.raises(AwsFailure) as caught:
            read(source_of(Config({VPC: items}, refusals={name: Refused(code)}))[0])
        assert caught.value.code == code


@pytest.mark.parametrize("worn", [1, 2, 3])
def test_K2_without_its_token_a_history_goes_on_from_the_last_item_on(worn: int) -> None:
    """Tokens that are good for some pages only cost a page each time, and neither an item nor a count."""
    items = {"a": [entry("a", START + n, str(n)) for n in range(50)], "b": []}

    class Worn(Config):
        def __call__(self, operation: str, asked: dict[str, Any]) -> dict[str, Any]:
            if int(asked.get("nextToken", "-0").rpartition("-")[2]) > worn * self.page:
                raise Refused("InvalidNextTokenException")
            return super().__call__(operation, asked)

    source, wire = source_of(Worn({VPC: items}, page=4))
    done = read(source)
    assert {item.id for item in done.items} == {f"{VPC}/a/{at(START + n)}/{n}" for n in range(50)}
    assert done.counted == {"resources": 2, "without_items": 1}
    assert len(wire.sent) < 50


def at(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def test_K2_a_lost_token_of_a_listing_costs_what_was_listed_and_counts_nothing_twice() -> None:
    items = {name: [entry(name, START)] if name != "b" else [] for name in "abcde"}
    for lost in range(1, 5):
        config = Config({VPC: items}, page=1, refusals={f"{VPC}-{lost}": Refused("InvalidNextTokenException")})
        source, wire = source_of(config)
        done = read(source)
        assert set(done.ids) == set("acde")
        assert done.counted == {"resources": 5, "without_items": 1}
        assert len(wire.asked("ListDiscoveredResources")) == 5 + lost + 1


@pytest.mark.parametrize("token", [f"{VPC}-1", "a-1"])
def test_K2_a_token_that_is_lost_again_and_again_is_a_failure(token: str) -> None:
    items = {name: [entry(name, START + n, str(n)) for n in range(2)] for name in "ab"}
    config = Config({VPC: items}, page=1, refusals={token: Refused("InvalidNextTokenException")}, always=True)
    source, wire = source_of(config)
    with pytest.raises(AwsFailure, match="InvalidNextToken"):
        read(source)
    assert len(wire.sent) < 20
    assert source.rest(Unit(VPC, START, END), Item("x", START, b"{}")) is None


@pytest.mark.parametrize("page", [1, 2, 3, 100])
def test_K2_another_process_goes_on_from_any_token_without_a_gap_and_counts_nothing_twice(page: int) -> None:
    items = {f"r{n}": [entry(f"r{n}", START + m, str(m)) for m in range(n)] for n in range(5)}
    config = Config({VPC: items}, page=page, deleted={"r2": START + 9})
    whole = read(source_of(config)[0])
    for cut in range(1, len(whole.tokens)):
        source, _wire = source_of(config)
        first = Read()
        for token in whole.tokens[:cut]:
            answer = source.ask(Unit(VPC, START, END), token)
            first.items += answer.items
            for name, number in answer.counts.items():
                first.counts[name] = first.counts.get(name, 0) + number
        other, wire = source_of(config)
        resumed = read(other, token=whole.tokens[cut], into=first)
        assert [item.id for item in resumed.items] == [item.id for item in whole.items]
        assert resumed.counts == whole.counts
        assert len(wire.sent) <= len(whole.tokens) - cut + 1, "one listing more than without the break"


def test_K2_a_resource_that_is_not_in_its_page_any_more_makes_the_page_begin_again() -> None:
    items = {name: [entry(name, START)] for name in "abc"}
    tokens = read(source_of(Config({VPC: items}))[0]).tokens
    gone = {name: [entry(name, START)] for name in "acd"}
    done = read(source_of(Config({VPC: {"b": [], **gone}}))[0], token=tokens[2])
    assert set(done.ids) >= {"c", "d"}


def test_K2_fields_that_this_botocore_does_not_know_are_kept_and_times_are_written_as_config_does() -> None:
    new = entry("a", START + 0.25, brandNewField={"deep": [1]}, resourceCreationTime=START - 1)
    (item,) = read(source_of(Config({VPC: {"a": [new]}}))[0]).items
    line = json.loads(item.line)
    assert line["brandNewField"] == {"deep": [1]}
    assert line["configurationItemCaptureTime"] == "2027-01-15T08:00:00.250Z"
    assert line["resourceCreationTime"] == "2027-01-15T07:59:59.000Z"
    assert line["configuration"] == '{"cidr": "10.0.0.0/16"}' and item.at == START + 0.25
    assert b"\n" not in item.line


@pytest.mark.parametrize("broken", [{"resourceId": "a"}, "text", None, {"configurationItemCaptureTime": "soon"}])
def test_K2_an_item_without_a_time_is_kept_in_a_wrapper(broken: Any) -> None:
    item = item_of(broken, Unit(VPC, START, END), "a")
    assert item.malformed and item.at == START
    assert json.loads(item.line) == {
        "malformed": True,
        "entry": {"resourceType": VPC, "resourceId": "a", "item": broken},
    }
    assert item.id != item_of({"resourceId": "b"}, Unit(VPC, START, END), "a").id


def test_K2_the_summary_has_every_type_with_what_was_counted_of_it_and_the_recorder() -> None:
    source, _wire = source_of(Config({VPC: {"a": [entry("a", START)], "b": []}}), types=[VPC, KEY])
    asked, empty = source.units(START, END)
    counts = read(source).counts
    units = [
        Progress(asked, asked, done=True, items=1, requests=3, first=START, last=START, ended=END, counts=counts),
        Progress(empty, empty, done=True, requests=1, ended=END, counts={"types_refused": 1}, note="AWS refuses"),
    ]
    told = source.summary(units)
    assert told["recorder"]["name"] == "default"
    at = "2027-01-15T08:00:00.000Z"
    assert told["types"][0] | {"read_at": ""} == {
        "type": VPC,
        "items": 1,
        "requests": 3,
        "first": at,
        "last": at,
        "read_at": "",
        "resources": 2,
        "without_items": 1,
    }
    assert told["types"][1] == {
        "type": KEY,
        "items": 0,
        "requests": 1,
        "read_at": "2027-01-16T08:00:00.000Z",
        "types_refused": 1,
        "note": "AWS refuses",
    }
    unread = source.summary([Progress(empty, empty, ended=END)])["types"][0]
    assert unread == {"type": KEY, "items": 0, "requests": 0, "read_at": None}
    json.dumps(told)


@pytest.mark.parametrize("operation", ["ListDiscoveredResources", "GetResourceConfigHistory"])
def test_K2_an_answer_without_its_list_is_no_empty_page(operation: str) -> None:
    """What botocore makes of JSON that was cut off."""

    class Cut(Config):
        def __call__(self, asked: str, parameters: dict[str, Any]) -> dict[str, Any]:
            return {} if asked == operation else super().__call__(asked, parameters)

    with pytest.raises(AwsFailure, match="not even none") as caught:
        read(source_of(Cut({VPC: {"a": []}}))[0])
    assert caught.value.unanswered
