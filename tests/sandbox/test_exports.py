"""config_export and logs_export against the local AWS: all that is there, once, through faults and kills (K2, K3)."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sandbox.audit_support import Account, new_account
from tests.sandbox.support import CHECKOUT, Sandbox

sys.path.insert(0, str(CHECKOUT / "collections"))

from ansible_collections.papyrus.ops.plugins.module_utils._config_source import ConfigSource
from ansible_collections.papyrus.ops.plugins.module_utils._export import Item
from ansible_collections.papyrus.ops.plugins.module_utils._export_pace import Pacer, Patient

GROUP, VPC, CLUSTER = "AWS::EC2::SecurityGroup", "AWS::EC2::VPC", "AWS::ECS::Cluster"
MODULES = "ansible_collections.papyrus.ops.plugins.modules"
END = 1.1
"""Seconds: an export ends with the second in which it begins, at its start."""
TROUBLE = [
    {"code": "ThrottlingException", "probability": 0.03, "times": None, "seed": 1},
    {"code": "InternalFailure", "status": 500, "probability": 0.03, "times": None, "seed": 2},
    {"cut_after": 40, "probability": 0.03, "times": None, "seed": 3},
]


class Export:
    """One of the modules in a process of its own, as an account of the local AWS."""

    def __init__(self, name: str, account: Account, folder: Path, **options: Any) -> None:
        self.name, self.account, self.folder = name, account, folder
        self.options = {"path": str(folder / "out"), "rate": 0, "quota": 0, "lanes": 4, **options}

    def start(self) -> subprocess.Popen[bytes]:
        arguments = self.folder / "arguments.json"
        arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": self.options}))
        facts = self.account.sandbox.facts
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AWS_")},
            "PYTHONPATH": str(CHECKOUT / "collections"),
            "AWS_ENDPOINT_URL": self.account.sandbox.endpoint,
            "AWS_REGION": facts["region"],
            "AWS_ACCESS_KEY_ID": self.account.number,
            "AWS_SECRET_ACCESS_KEY": "is-taken-out-of-results",
        }
        command = [sys.executable, "-m", f"{MODULES}.{self.name}", str(arguments)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def run(self) -> dict[str, Any]:
        process = self.start()
        out, err = process.communicate(timeout=120)
        assert out.strip(), err.decode()
        result: dict[str, Any] = json.loads(out)
        return result

    def done(self) -> dict[str, Any]:
        result = self.run()
        assert not result.get("failed"), result["msg"]
        assert result["complete"] is True
        return result

    def requests(self, after: int = 0) -> list[dict[str, Any]]:
        """Its calls but the first, in which it asks who it is."""
        calls = self.account.sandbox.calls(after)
        return [
            call
            for call in calls
            if call["access_key_id"] == self.account.number
            and call["operation"] in ASKING
            and "Boto3" in call["user_agent"]
        ]

    def interrupted(self, generator: random.Random, most: int, kills: int = 2) -> dict[str, Any]:
        """Killed that often, each time after 1 to `most` pages came to the disk, then left to come to its end."""
        for _kill in range(kills):
            process, enough = self.start(), self._journal() + generator.randint(1, most)
            while process.poll() is None and self._journal() < enough:
                time.sleep(0.01)
            process.kill()
            process.communicate()
        result = self.done()
        assert result["exports"][0]["report"]["resumed"] == kills, "it was done before"
        return result

    def _journal(self) -> int:
        return sum(path.read_bytes().count(b"\n") for path in (self.folder / "out").glob("*/.journal.jsonl"))


ASKING = {"ListDiscoveredResources", "GetResourceConfigHistory", "FilterLogEvents"}


def read(result: dict[str, Any]) -> list[dict[str, Any]]:
    (one,) = result["exports"]
    (file,) = one["files"]
    with gzip.open(file["path"]) as lines:
        found = [json.loads(line) for line in lines]
    report = json.loads(Path(one["completeness"]).read_text())
    assert len(found) == file["lines"] == result["written"] == report["counts"]["items"]
    assert report["complete"] and report["gaps"] == [] and report == one["report"]
    return found


@pytest.fixture(autouse=True)
def _calm(sandbox: Sandbox) -> Iterator[None]:
    """All faults and switches off afterwards."""
    yield
    sandbox.http("DELETE", "/_sandbox/faults")
    sandbox.http("DELETE", "/_sandbox/switches")


# Config


@dataclass
class Recorded:
    """Security groups and their VPC in an account with a recorder; `items` by group."""

    account: Account
    items: Counter[str]
    deleted: int


def record(account: Account, *types: str) -> None:
    here = {"LocationConstraint": account.sandbox.facts["region"]}
    bucket = f"config-{account.number}"
    account.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=here)
    config = account.client("config")
    group = {"allSupported": False, "resourceTypes": list(types)}
    recorder = {"name": "default", "roleARN": f"arn:aws:iam::{account.number}:role/config", "recordingGroup": group}
    config.put_configuration_recorder(ConfigurationRecorder=recorder)
    config.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": bucket})
    config.start_configuration_recorder(ConfigurationRecorderName="default")


@pytest.fixture(scope="module")
def recorded(sandbox: Sandbox) -> Recorded:
    """More groups than a page has, some of them deleted, one with more items than a page has."""
    account = new_account(sandbox)
    record(account, GROUP, VPC)
    ec2 = account.client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    names = [group["GroupId"] for group in ec2.describe_security_groups()["SecurityGroups"]]
    for number in range(105):
        made = ec2.create_security_group(GroupName=f"group-{number}", Description="d", VpcId=vpc)
        names.append(made["GroupId"])
    items = Counter(names)
    for number in range(110):
        ec2.create_tags(Resources=names[:1], Tags=[{"Key": "n", "Value": str(number)}])
    for name in names[-5:]:
        ec2.delete_security_group(GroupId=name)
    time.sleep(END)
    return Recorded(account, items + Counter({names[0]: 110}) + Counter(names[-5:]), 5)


def config_of(account: Account, tmp_path: Path, **options: Any) -> Export:
    return Export("config_export", account, tmp_path, hours=1, resource_types=[CLUSTER, GROUP, VPC], **options)


def groups_in(items: list[dict[str, Any]]) -> Counter[str]:
    return Counter(item["resourceId"] for item in items if item["resourceType"] == GROUP)


def keys(items: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    names = ("resourceType", "resourceId", "configurationItemCaptureTime", "configurationStateId")
    return {tuple(item[name] for name in names) for item in items}


def test_k2_every_item_of_every_resource_is_exported_once(recorded: Recorded, tmp_path: Path) -> None:
    result = config_of(recorded.account, tmp_path).done()
    items = read(result)
    assert groups_in(items) == recorded.items
    assert len(keys(items)) == len(items)
    gone = [item for item in items if item["configurationItemStatus"] == "ResourceDeleted"]
    assert len(gone) == recorded.deleted and "configuration" not in gone[0]
    report = result["exports"][0]["report"]
    types = {told["type"]: told for told in report["types"]}
    assert types[GROUP]["resources"] == len(recorded.items) > 100
    assert types[GROUP]["deleted"] == recorded.deleted
    assert types[CLUSTER] | {"read_at": ""} == {
        "type": CLUSTER,
        "items": 0,
        "requests": 1,
        "read_at": "",
    }
    assert report["recorder"]["recording"] is True


def test_k2_all_types_are_asked_and_those_that_aws_refuses_are_told(sandbox: Sandbox, tmp_path: Path) -> None:
    account = new_account(sandbox)
    account.client("ec2").describe_vpcs()
    record(account, VPC)
    time.sleep(END)
    refused = {"service": "config", "operation": "ListDiscoveredResources", "times": None}
    words = {"code": "ValidationException", "message": "Resource type is not supported in this region"}
    sandbox.faults({**refused, **words, "match": {"resourceType": "AWS::K*"}})
    result = Export("config_export", account, tmp_path, hours=1).done()
    assert {item["resourceType"] for item in read(result)} == {VPC}
    report = result["exports"][0]["report"]
    told = {one["type"]: one.get("note", "") for one in report["types"]}
    assert len(told) > 500 and told["AWS::KMS::Key"].endswith("not supported in this region") and not told[GROUP]
    assert report["counts"]["types_refused"] == sum(kind.startswith("AWS::K") for kind in told) > 3


def test_k2_a_region_without_a_recorder_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    result = config_of(new_account(sandbox), tmp_path).run()
    assert result["failed"] and "no configuration recorder in this region" in result["msg"]
    assert result["step"] == "K2" and result["exports"][0]["files"] == []


def test_k2_an_item_at_an_end_of_the_time_is_in_and_one_beside_it_is_not(recorded: Recorded) -> None:
    source = ConfigSource(recorded.account.client("config"), "here", Patient(Pacer(0)), types=[VPC])

    def between(start: float, end: float) -> list[Item]:
        (unit,) = source.units(start, end)
        found, token = [], ""
        while True:
            page = source.ask(unit, token)
            found += page.items
            token = page.token
            if not token:
                return found

    (item,) = between(0.0, time.time())
    assert between(item.at, item.at) == [item]
    assert between(item.at - 5, item.at) == [item] == between(item.at, item.at + 5)
    assert between(item.at - 5, item.at - 0.001) == [] == between(item.at + 0.001, item.at + 5)


def test_k2_through_faults_lost_tokens_and_kills_the_export_is_the_same(recorded: Recorded, tmp_path: Path) -> None:
    calm = config_of(recorded.account, tmp_path)
    truth = keys(read(calm.done()))
    span = {"start": "2026-01-01T00:00:00Z", "end": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    storm = config_of(recorded.account, tmp_path)
    storm.options = {name: value for name, value in storm.options.items() if name != "hours"} | span | {"rate": 60}
    sandbox = recorded.account.sandbox
    sandbox.http("PUT", "/_sandbox/switches", json.dumps({"page_token_pages": 1}).encode())
    sandbox.faults(*({"service": "config", "operation": "*", **fault} for fault in TROUBLE))
    items = read(storm.interrupted(random.Random(3), 20))
    assert keys(items) == truth and len(items) == len(truth)


# Logs


NAME = "/test/exports"
PIECES = ("plain text", '{"cut": "of', '{"a": 1}', '{"level": "info", "n": 1}')


@dataclass
class Logged:
    """A log group of two streams; `messages` by event id."""

    account: Account
    messages: dict[str, str]


@pytest.fixture(scope="module")
def logged(sandbox: Sandbox) -> Logged:
    """15,001 events of two hours, many of one millisecond, some no JSON, one long."""
    account, generator = new_account(sandbox), random.Random(5)
    logs = account.client("logs")
    logs.create_log_group(logGroupName=NAME)
    until, lot = int(time.time()) * 1000 - 60_000, 3_000
    for stream in ("app/1", "app/2"):
        logs.create_log_stream(logGroupName=NAME, logStreamName=stream)
        times = sorted(
            until - generator.choice((0, 1, 5_000, 3_600_000, generator.randrange(7_200_000))) for _ in range(7_500)
        )
        for first in range(0, len(times), lot):
            events = [
                {"timestamp": at, "message": generator.choice(PIECES).replace("1", str(first + place))}
                for place, at in enumerate(times[first : first + lot])
            ]
            logs.put_log_events(logGroupName=NAME, logStreamName=stream, logEvents=events)
    line = {"request_id": "wanted-0001", "long": "x" * 200_000}
    event = [{"timestamp": until, "message": json.dumps(line)}]
    logs.put_log_events(logGroupName=NAME, logStreamName="app/1", logEvents=event)
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=NAME)
    truth = {one["eventId"]: one["message"] for page in pages for one in page["events"]}
    assert len(truth) == 15_001
    return Logged(account, truth)


def logs_of(account: Account, tmp_path: Path, **options: Any) -> Export:
    return Export("logs_export", account, tmp_path, log_group=NAME, **{"hours": 4, **options})


def messages(lines: list[dict[str, Any]]) -> Counter[str]:
    """What was logged, of JSON in one form."""
    return Counter(line["entry"]["message"] if line.get("malformed") else json.dumps(line) for line in lines)


def in_one_form(logged: Logged) -> Counter[str]:
    def form(text: str) -> str:
        try:
            return json.dumps(json.loads(text))
        except ValueError:
            return text

    return Counter(form(message) for message in logged.messages.values())


def test_k3_every_event_is_exported_once_whatever_its_time_and_text(logged: Logged, tmp_path: Path) -> None:
    result = logs_of(logged.account, tmp_path, expect=["wanted-0001"]).done()
    lines = read(result)
    assert messages(lines) == in_one_form(logged)
    report = result["exports"][0]["report"]
    assert report["counts"]["malformed"] == sum(line.get("malformed", False) for line in lines) > 5_000
    assert [window["events"] for window in report["windows"]][0] == 0 and len(report["windows"]) == 4
    assert (result["expected"], result["missing"]) == (["wanted-0001"], [])
    assert report["log_group"]["class"] == "STANDARD"


def test_k3_a_text_that_no_line_has_is_named_and_the_export_is_kept(logged: Logged, tmp_path: Path) -> None:
    export = logs_of(logged.account, tmp_path, expect=["wanted-0001", "wanted-0002"], pattern='"wanted"')
    result = export.run()
    assert result["failed"] and result["msg"] == f"no line of {NAME} within this time has wanted-0002"
    assert (result["expected"], result["missing"]) == (["wanted-0001"], ["wanted-0002"])
    (line,) = read(result)
    assert line["request_id"] == "wanted-0001" and len(line["long"]) == 200_000
    windows = result["exports"][0]["report"]["windows"]
    assert sum(window["requests"] for window in windows) > len(windows), "no page was empty and had a token"


def test_k3_a_log_group_that_is_not_there_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    export = logs_of(new_account(sandbox), tmp_path)
    result = export.run()
    assert result["failed"] and f"log group {NAME} failed" in result["msg"] and "no such log group" in result["msg"]
    assert result["step"] == "K3" and export.requests() == []


def test_k3_what_retention_has_taken_makes_the_export_incomplete(sandbox: Sandbox, tmp_path: Path) -> None:
    account = new_account(sandbox)
    logs = account.client("logs")
    logs.create_log_group(logGroupName=NAME)
    logs.put_retention_policy(logGroupName=NAME, retentionInDays=1)
    result = logs_of(account, tmp_path, hours=30).run()
    assert result["failed"] and "older than the 1 days" in result["msg"] and not result["complete"]
    assert logs_of(account, tmp_path, hours=24).run()["complete"]


def test_k3_through_faults_worn_tokens_and_kills_the_export_is_the_same(logged: Logged, tmp_path: Path) -> None:
    sandbox = logged.account.sandbox
    sandbox.http("PUT", "/_sandbox/switches", json.dumps({"page_token_seconds": 1}).encode())
    sandbox.faults(*({"service": "logs", "operation": "FilterLogEvents", **fault} for fault in TROUBLE))
    export = logs_of(logged.account, tmp_path, hours=40, rate=20)
    assert messages(read(export.interrupted(random.Random(4), 6))) == in_one_form(logged)


def test_k3_what_is_on_disk_is_not_asked_for_again(logged: Logged, tmp_path: Path) -> None:
    sandbox = logged.account.sandbox
    before = sandbox.calls()[-1]["n"]
    result = logs_of(logged.account, tmp_path, hours=40, rate=20, lanes=1).interrupted(random.Random(6), 8)
    assert messages(read(result)) == in_one_form(logged)
    asked = [call["parameters"] for call in sandbox.calls(before) if call["operation"] == "FilterLogEvents"]
    windows = {json.dumps(parameters, sort_keys=True) for parameters in asked}
    assert len(asked) <= len(windows) + 2, "more than what was under way at each kill"
