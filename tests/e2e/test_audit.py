"""audit_export.yml: exports of two accounts side by side, killed and gone on with. An addendum: test_alb_smoke.py."""

from __future__ import annotations

import gzip
import json
import secrets
import signal
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest

from . import harness
from .harness import RunningSmoke, Smoke

PLAYBOOK = "playbooks/audit_export.yml"
HOUR = 3600


@dataclass
class Account:
    """An account of the local AWS with a history, a log group and a recorder of Config of its own."""

    number: str
    events: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)

    def client(self, service: str) -> Any:
        """An access key of twelve digits is the root of that account."""
        known = harness.facts()
        return boto3.client(
            service, endpoint_url=known["endpoint"], region_name=known["region"],
            aws_access_key_id=self.number, aws_secret_access_key=known["secret_access_key"],
        )  # fmt: skip

    def prepare(self) -> None:
        """Events of ten hours, 60 at one moment; a recorder that saw a security group come and go; log lines."""
        now, records = time.time(), []
        for number in range(160):
            at = now - (number % 10 + 1) * HOUR if number < 100 else now - 5 * HOUR
            records.append(self._record(at, number))
        self.events = {record["eventID"] for record in records}
        harness.control("POST", "cloudtrail", "\n".join(map(json.dumps, records)).encode())
        self._configure()
        logs = self.client("logs")
        logs.create_log_group(logGroupName="/ecs/app")
        logs.create_log_stream(logGroupName="/ecs/app", logStreamName="app/app/1")
        self.lines = [json.dumps({"message": f"line {number}", "request_id": uuid.uuid4().hex}) for number in range(40)]
        events = [{"timestamp": int((now - HOUR) * 1000) + n, "message": line} for n, line in enumerate(self.lines)]
        logs.put_log_events(logGroupName="/ecs/app", logStreamName="app/app/1", logEvents=events)

    def _record(self, at: float, number: int) -> dict[str, Any]:
        return {
            "eventVersion": "1.11", "eventID": str(uuid.uuid4()), "requestID": str(uuid.uuid4()),
            "eventTime": datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventSource": "ecs.amazonaws.com", "eventName": "RunTask", "awsRegion": harness.facts()["region"],
            "userIdentity": {"type": "Root", "accountId": self.number}, "recipientAccountId": self.number,
            "requestParameters": {"cluster": "papyrus-ecs-prd" if number % 4 == 0 else "another"},
            "responseElements": None, "readOnly": False, "eventType": "AwsApiCall",
        }  # fmt: skip

    def _configure(self) -> None:
        config, bucket = self.client("config"), f"config-{self.number}"
        here = {"LocationConstraint": harness.facts()["region"]}
        self.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=here)
        group = {"resourceTypes": ["AWS::EC2::SecurityGroup"]}
        recorder = {"name": "default", "roleARN": f"arn:aws:iam::{self.number}:role/config", "recordingGroup": group}
        config.put_configuration_recorder(ConfigurationRecorder=recorder)
        config.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": bucket})
        config.start_configuration_recorder(ConfigurationRecorderName="default")
        ec2 = self.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/24")["Vpc"]["VpcId"]
        made = ec2.create_security_group(GroupName="gone", Description="of a test", VpcId=vpc)["GroupId"]
        ec2.delete_security_group(GroupId=made)
        self.deleted = made

    @property
    def variables(self) -> dict[str, Any]:
        """Of its host in the inventory."""
        known = harness.facts()
        return {
            "papyrus_account_id": self.number,
            "papyrus_service": f"app-{self.number[-3:]}",
            "papyrus_aws_environment": {
                "AWS_ENDPOINT_URL": known["endpoint"],
                "AWS_ACCESS_KEY_ID": self.number,
                "AWS_SECRET_ACCESS_KEY": known["secret_access_key"],
                "AWS_REGION": known["region"],
            },
            "papyrus_audit_log_groups": ["/ecs/app"],
            "papyrus_audit_parts": ["cloudtrail", "config", "logs"],
        }


@dataclass
class Audited:
    """Two runs over both accounts with one command each: the first killed, the second to its end."""

    accounts: list[Account]
    killed: list[Smoke]
    ended: list[Smoke]
    output: str
    before: int
    """Number of the last request before them."""

    def of(self, account: Account, smokes: list[Smoke]) -> Smoke:
        """The run of an account."""
        [found] = [s for s in smokes if json.loads((s.bundle / "run.json").read_text())["account_id"] == account.number]
        return found


def lines_of(smoke: Smoke, name: str) -> list[dict[str, Any]]:
    """Of the newest item of that name, which is gzip."""
    path = [line["path"] for line in smoke.lines if line["name"] == name][-1]
    return [json.loads(line) for line in gzip.decompress((smoke.bundle / path).read_bytes()).splitlines()]


def completeness(smoke: Smoke, export: str) -> dict[str, Any]:
    """completeness.json of one of the run's exports."""
    [path] = [
        line["path"] for line in smoke.lines
        if line["name"] == "completeness.json" and line["meta"]["export"] == export
    ]  # fmt: skip
    found: dict[str, Any] = json.loads((smoke.bundle / path).read_text("utf-8"))
    return found


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Audited:
    """Both accounts side by side, hosts of one inventory."""
    folder = tmp_path_factory.mktemp("audit")
    accounts = [Account(f"6{secrets.randbelow(10**11):011d}") for dummy in range(2)]
    for account in accounts:
        account.prepare()
    hosts = {f"account-{number}": account.variables for number, account in enumerate(accounts)}
    inventory = folder / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}))
    asked = ("-i", "inventories/sandbox", "-i", str(inventory))
    before = harness.last_call()
    first = RunningSmoke(folder, {"papyrus_hosts": "account-*"}, asked, PLAYBOOK)
    first.wait_for(lambda: first.output.count("reckoned from") >= 2, 120)
    time.sleep(1)
    first.signal(signal.SIGKILL)
    first.process.wait(60)
    until_sealed(first, 2)
    killed = [Smoke(1, first.output, first.evidence_root, 0, [bundle]) for bundle in first.bundle_folders()]
    second = RunningSmoke(folder, {"papyrus_hosts": "account-*"}, asked, PLAYBOOK).end()
    known = {smoke.bundle for smoke in killed}
    ended = [
        Smoke(second.exit_code, second.output, second.evidence_root, second.seconds, [bundle])
        for bundle in second.bundles
        if bundle not in known
    ]
    return Audited(accounts, killed, ended, second.output, before)


def until_sealed(running: RunningSmoke, count: int, timeout: float = 120) -> None:
    """Return when the guards have sealed so many bundles."""
    deadline = time.monotonic() + timeout
    while len(list(running.evidence_root.glob("*/attestation.dsse.json"))) < count:
        assert time.monotonic() < deadline, running.output[-3000:]
        time.sleep(0.2)


def test_K2_every_event_of_each_account_is_in_its_bundle_once_and_no_other(audited: Audited) -> None:
    for account in audited.accounts:
        smoke = audited.of(account, audited.ended)
        assert smoke.exit_code == 0, smoke.output[-4000:]
        records = lines_of(smoke, "cloudtrail_24h.jsonl.gz")
        ids = [record["eventID"] for record in records]
        assert len(ids) == len(set(ids)) and set(ids) >= account.events
        assert {record["recipientAccountId"] for record in records} == {account.number}
        filtered = [record["eventID"] for record in lines_of(smoke, "cloudtrail_24h.papyrus.jsonl.gz")]
        assert filtered == [one["eventID"] for one in records if "papyrus" in json.dumps(one)] and len(filtered) >= 40
        said = completeness(smoke, "cloudtrail")
        assert (said["complete"], said["gaps"], said["counts"]["items"]) == (True, [], len(ids))
        assert any(window["events"] == 0 for window in said["windows"]), "an empty window is a fact"


def test_K1_what_was_on_disk_when_the_run_was_killed_is_not_asked_for_again(audited: Audited) -> None:
    for account in audited.accounts:
        killed, ended = (audited.of(account, smokes) for smokes in (audited.killed, audited.ended))
        assert killed.verdict["result"] == "FAILED" and killed.sealed["by"] == "guard"
        assert "cloudtrail export" in killed.verdict["first_failure"]["cause"]
        said = completeness(ended, "cloudtrail")
        asked = [
            call
            for call in harness.calls(audited.before)
            if call["access_key_id"] == account.number and call["operation"] == "LookupEvents"
        ]
        answered = [call for call in asked if not call.get("error_code")]
        assert said["resumed"] == 1
        # One page may have been under way when the first run was killed, and one on its way to the disk.
        assert len(said["windows"]) <= said["counts"]["pages"] <= len(answered) <= said["counts"]["pages"] + 2
    assert "goes on with " in audited.output


def test_K2_config_and_the_apps_log_are_in_the_bundle_as_well(audited: Audited) -> None:
    for account in audited.accounts:
        smoke = audited.of(account, audited.ended)
        items = lines_of(smoke, "config_24h.jsonl.gz")
        of_deleted = [one["configurationItemStatus"] for one in items if one["resourceId"] == account.deleted]
        assert of_deleted and of_deleted[-1] == "ResourceDeleted"
        logged = [line["message"] for line in lines_of(smoke, "logs_24h.jsonl.gz")]
        assert logged == [json.loads(line)["message"] for line in account.lines]
        assert {name: completeness(smoke, name)["complete"] for name in ("config", "logs")} == {
            "config": True,
            "logs": True,
        }


def test_K1_the_bundle_holds_the_files_of_the_export_byte_for_byte(audited: Audited) -> None:
    for smoke in audited.ended:
        for line in smoke.lines:
            if line["name"].endswith(".jsonl.gz"):
                kept = (Path(line["meta"]["folder"]) / line["meta"]["file"]).read_bytes()
                assert sha256(kept).hexdigest() == line["sha256"], line["name"]
                said = completeness(smoke, line["meta"]["export"])["files"]
                assert line["sha256"] in [file["sha256"] for file in said]
        assert smoke.sealed["by"] == "run" and smoke.statement["predicate"]["failedTests"] == []
