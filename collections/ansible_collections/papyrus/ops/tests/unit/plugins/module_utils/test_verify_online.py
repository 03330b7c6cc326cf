# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run looked up in CloudTrail: what AWS did not see is not believed, what it may not show yet is not accused (J1)."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils._aws import AwsFailure
from ansible_collections.papyrus.ops.plugins.module_utils._bundle_view import BundleView
from ansible_collections.papyrus.ops.plugins.module_utils._calls import Calls, unlogged
from ansible_collections.papyrus.ops.plugins.module_utils._evidence import Bundle
from ansible_collections.papyrus.ops.plugins.module_utils._progress import PROGRESS
from ansible_collections.papyrus.ops.plugins.module_utils._verify_online import online
from ansible_collections.papyrus.ops.tests.unit.told import Told
from aws_fake import FakeAws, Refusal

RUN = "20260131T120000Z-abc234"
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
AFTER = NOON + dt.timedelta(hours=1)
ACCOUNT, REGION, NAME = "123456789012", "us-west-2", "papyrus-smoke-abc234"
ROLE = f"arn:aws:sts::{ACCOUNT}:assumed-role/release/ci-7"
ELB, EC2, ECS = "elasticloadbalancing", "ec2", "ecs"
ALB = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:loadbalancer/app/{NAME}/1"
GROUP = f"arn:aws:elasticloadbalancing:{REGION}:{ACCOUNT}:targetgroup/{NAME}/2"
LISTENER, RULE = (
    ALB.replace("loadbalancer/", "listener/") + "/3",
    ALB.replace("loadbalancer/", "listener-rule/") + "/3/4",
)
OUTPUTS = {"alb_arn": ALB, "target_group_arn": GROUP, "alb_sg_id": "sg-1", "listener_arn": LISTENER}
OUTPUTS["listener_rule_arn"] = RULE
IDS = [f"request-of-run-{number}" for number in range(5)]


def minute(number: float) -> dt.datetime:
    return NOON + dt.timedelta(minutes=number)


@dataclass
class Trail(FakeAws):
    """CloudTrail of one account: `records` oldest first; `throttled` look-ups are refused before one is answered."""

    account: str = ACCOUNT
    page: int = 50
    throttled: int = 0
    records: list[dict[str, Any]] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        identity = {"Account": self.account, "Arn": f"arn:aws:iam::{self.account}:user/auditor", "UserId": "A"}
        self.answers = {"sts.get_caller_identity": identity, "cloudtrail.lookup_events": self._lookup}

    def call(self, service: str, name: str, at: float, **more: Any) -> dict[str, Any]:
        """One call of the run, `at` minutes after it began."""
        who = more.pop("who", ROLE)
        record = {
            "eventName": name,
            "eventSource": f"{service}.amazonaws.com",
            "eventTime": minute(at).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "eventID": str(uuid.uuid4()),
            "requestID": str(uuid.uuid4()),
            "readOnly": name.startswith(("Describe", "List", "Get")),
            "userIdentity": {"arn": who},
            "awsRegion": REGION,
            "recipientAccountId": self.account,
            "requestParameters": None,
            "responseElements": None,
            **more,
        }
        self.records.append(record)
        return record

    def drop(self, *names: str) -> None:
        self.records = [record for record in self.records if record["eventName"] not in names]

    def _lookup(self, sent: Any) -> Any:
        if self.throttled:
            self.throttled -= 1
            raise Refusal("ThrottlingException")
        asked = {one["AttributeKey"]: one["AttributeValue"] for one in sent.get("LookupAttributes") or []}
        found = []
        for record in reversed(self.records):
            seen = {"Username": record["userIdentity"]["arn"].rpartition("/")[2], "EventName": record["eventName"]}
            at = dt.datetime.fromisoformat(record["eventTime"])
            if sent["StartTime"] <= at <= sent["EndTime"] and all(seen[key] == value for key, value in asked.items()):
                found.append({"CloudTrailEvent": json.dumps(record), "EventName": record["eventName"]})
        begin = int(sent.get("NextToken") or 0)
        more = {"NextToken": str(begin + self.page)} if len(found) > begin + self.page else {}
        return {"Events": found[begin : begin + self.page], **more}


def rule(group: str, other: str) -> dict[str, Any]:
    groups = {"items": [{"groupId": other, "description": f"papyrus run {RUN} temporary"}]}
    items = [{"ipProtocol": "tcp", "fromPort": 80, "toPort": 80, "groups": groups}]
    return {"groupId": group, "ipPermissions": {"items": items}}


def smoke(trail: Trail, who: str = ROLE) -> None:
    """What CloudTrail has of a smoke run that went well: its reads, creations and deletions."""
    for number, request_id in enumerate(IDS):
        trail.call(ECS, "DescribeTasks", number / 10, who=who, requestID=request_id)
    create = {
        "CreateLoadBalancer": ({"name": NAME}, {"loadBalancers": [{"loadBalancerArn": ALB}]}),
        "CreateTargetGroup": ({"name": NAME}, {"targetGroups": [{"targetGroupArn": GROUP}]}),
        "CreateListener": ({"loadBalancerArn": ALB}, {"listeners": [{"listenerArn": LISTENER}]}),
        "CreateRule": ({"listenerArn": LISTENER}, {"rules": [{"ruleArn": RULE}]}),
    }
    for name, (given, answer) in create.items():
        trail.call(ELB, name, 1, who=who, requestParameters=given, responseElements=answer)
    made = {"requestParameters": {"groupName": NAME}, "responseElements": {"groupId": "sg-1"}}
    trail.call(EC2, "CreateSecurityGroup", 1, who=who, **made)
    trail.call(EC2, "AuthorizeSecurityGroupEgress", 1, who=who, requestParameters=rule("sg-1", "sg-tasks"))
    trail.call(EC2, "AuthorizeSecurityGroupIngress", 1, who=who, requestParameters=rule("sg-tasks", "sg-1"))
    delete = {"DeleteRule": ("ruleArn", RULE), "DeleteListener": ("listenerArn", LISTENER)}
    delete |= {"DeleteLoadBalancer": ("loadBalancerArn", ALB), "DeleteTargetGroup": ("targetGroupArn", GROUP)}
    for name, (key, value) in delete.items():
        trail.call(ELB, name, 5, who=who, requestParameters={key: value})
    trail.call(EC2, "RevokeSecurityGroupIngress", 5, who=who, requestParameters=rule("sg-tasks", "sg-1"))
    trail.call(EC2, "DeleteSecurityGroup", 5, who=who, requestParameters={"groupId": "sg-1"})


def bundle(
    folder: Path, *, gone: bool = True, result: str = "PASSED", ids: list[str] | None = None, **run: Any
) -> Path:
    begun = {"run_id": RUN, "account_id": ACCOUNT, "region": REGION, "endpoint": None, "caller_arn": ROLE}
    names = {"load_balancer": NAME, "target_group": NAME, "security_group": NAME}
    made = Bundle.create(folder / RUN, {**begun, "names": names, **run}, now=lambda: NOON)

    def add(name: str, at: float, content: Any, status: str = "ok", **meta: Any) -> None:
        data = json.dumps(content).encode()
        Bundle(made.folder, now=lambda: minute(at)).append(name, data, status=status, step="D1", meta=meta)

    ids = IDS if ids is None else ids
    add("ecs_task.json", 1, {}, request_ids=ids[:3])
    add("terraform_apply.log", 2, "")
    add("terraform_outputs.json", 2, OUTPUTS)
    if gone:
        add("alb_sg_verify_gone.json", 6, {}, request_ids=ids[3:])
    add("verdict.json", 7, {"result": result}, "ok" if result != "FAILED" else "ng")
    return made.folder


def look(folder: Path, trail: Trail, now: dt.datetime = AFTER, **more: Any) -> dict[str, Any]:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        trail.pauses.append(seconds)
        clock[0] += seconds

    return online(BundleView.of(Bundle(folder)), trail, now=now, sleep=sleep, clock=lambda: clock[0], **more)


def classes(answer: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["class"], one["result"]) for one in answer["findings"]]


@pytest.fixture
def trail() -> Trail:
    trail = Trail()
    smoke(trail)
    return trail


def test_J1_a_run_that_aws_saw_is_ok(tmp_path: Path, trail: Trail) -> None:
    answer = look(bundle(tmp_path), trail)
    assert answer["result"] == "ok" and not answer["findings"] and answer["aws"]
    assert answer["request_ids"] == {"asked": 5, "found": 5, "not_logged": {}}
    assert answer["principal"] == {"claimed": ROLE, "seen": {ROLE: 5}}
    assert len(answer["created"]) == 7 and all(one["deleted_at"] == "2026-01-31T12:05:00Z" for one in answer["created"])
    assert answer["looked_up"] == len(trail.sent("cloudtrail.lookup_events")) == 1
    (sent,) = trail.sent("cloudtrail.lookup_events")
    assert sent["LookupAttributes"] == [{"AttributeKey": "Username", "AttributeValue": "ci-7"}]
    assert (sent["StartTime"], sent["EndTime"]) == (minute(-5), minute(12))


def test_J1_pages_are_read_at_two_a_second(tmp_path: Path, trail: Trail) -> None:
    trail.page = 4
    answer = look(bundle(tmp_path), trail)
    assert answer["result"] == "ok" and answer["looked_up"] == 5
    assert trail.pauses == pytest.approx([0.5] * 4)


def test_J1_a_throttled_look_up_waits_longer_each_time(tmp_path: Path, trail: Trail) -> None:
    trail.throttled = 3
    assert look(bundle(tmp_path), trail)["result"] == "ok"
    assert all(least <= pause <= 1.25 * least for least, pause in zip([1.0, 2.0, 4.0], trail.pauses, strict=True))
    trail.throttled = 100
    with pytest.raises(AwsFailure, match="ThrottlingException"):
        look(bundle(tmp_path / "again"), trail)


def test_J1_who_may_not_look_is_told_the_right(tmp_path: Path, trail: Trail) -> None:
    def denied(_sent: Any) -> Any:
        raise Refusal("AccessDeniedException")

    trail.answers["cloudtrail.lookup_events"] = denied
    with pytest.raises(AwsFailure, match="cloudtrail:LookupEvents"):
        look(bundle(tmp_path), trail)


def test_J1_a_run_that_aws_never_saw_is_tampered(tmp_path: Path, told: Told) -> None:
    PROGRESS.open(str)
    answer = look(bundle(tmp_path), Trail())
    assert answer["result"] == "tampered" and ("not-in-cloudtrail", "tampered") in classes(answer)
    assert told.all[0]["now"].startswith("look-up 1 in CloudTrail") and len(told.all) == answer["looked_up"]
    assert ("not-created", "tampered") in classes(answer)


def test_J1_a_run_of_minutes_ago_is_not_accused(tmp_path: Path) -> None:
    answer = look(bundle(tmp_path), Trail(), now=minute(21))
    assert answer["result"] == "incomplete" and {kind for kind, _result in classes(answer)} == {"too-young"}
    assert look(bundle(tmp_path / "old"), Trail(), now=minute(22.1))["result"] == "tampered"


def test_J1_a_run_before_the_history_is_not_looked_up(tmp_path: Path, trail: Trail) -> None:
    answer = look(bundle(tmp_path), trail, now=NOON + dt.timedelta(days=90, minutes=1))
    assert classes(answer) == [("too-old", "incomplete")] and answer["looked_up"] == 0


def test_J1_a_run_that_is_still_to_come_is_not_believed(tmp_path: Path, trail: Trail) -> None:
    assert classes(look(bundle(tmp_path), trail, now=minute(-10))) == [("in-future", "incomplete")]


def test_J1_some_requests_that_aws_never_saw_are_named(tmp_path: Path, trail: Trail) -> None:
    answer = look(bundle(tmp_path, ids=[*IDS[:3], "invented", IDS[4]]), trail)
    assert classes(answer) == [("not-in-cloudtrail", "incomplete")]
    assert "invented of alb_sg_verify_gone.json" in answer["findings"][0]["reason"]
    assert answer["findings"][0]["path"].endswith("_alb_sg_verify_gone.json")
    assert answer["request_ids"] == {"asked": 5, "found": 4, "not_logged": {}}


def test_J1_requests_outside_of_the_runs_time_are_not_its_own(tmp_path: Path, trail: Trail) -> None:
    """Real request ids of another day, put into a bundle."""
    for record in trail.records:
        record["eventTime"] = record["eventTime"].replace("01-31", "01-30")
    assert ("not-in-cloudtrail", "tampered") in classes(look(bundle(tmp_path), trail))


@pytest.mark.parametrize(
    "who",
    [
        f"arn:aws:sts::{ACCOUNT}:assumed-role/other/ci-7",
        f"arn:aws:iam::{ACCOUNT}:user/ci-7",
        "arn:aws:sts::210987654321:assumed-role/release/ci-7",
        f"arn:aws:sts::{ACCOUNT}:assumed-role/other/another",
        "",
    ],
)
def test_J1_calls_of_somebody_else_are_not_the_runs(tmp_path: Path, who: str) -> None:
    trail = Trail()
    smoke(trail, who)
    answer = look(bundle(tmp_path), trail)
    assert answer["result"] == "tampered" and {kind for kind, _result in classes(answer)} == {"other-principal"}
    assert ROLE in answer["findings"][0]["reason"]


@pytest.mark.parametrize("begins", ["Describe", "Create"])
def test_J1_nor_are_only_its_reads_or_only_its_creations(tmp_path: Path, trail: Trail, begins: str) -> None:
    for record in trail.records:
        if record["eventName"].startswith(begins):
            record["userIdentity"] = {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/other/ci-7"}
    answer = look(bundle(tmp_path), trail)
    assert answer["result"] == "tampered" and {kind for kind, _result in classes(answer)} == {"other-principal"}


def test_J1_each_process_may_have_a_session_of_its_own(tmp_path: Path) -> None:
    trail = Trail()
    smoke(trail, ROLE.replace("ci-7", "botocore-session-1"))
    answer = look(bundle(tmp_path), trail)
    assert answer["result"] == "ok" and list(answer["principal"]["seen"]) == [
        ROLE.replace("ci-7", "botocore-session-1")
    ]


def test_J1_another_account_is_said(tmp_path: Path) -> None:
    trail = Trail(account="210987654321")
    smoke(trail)
    answer = look(bundle(tmp_path), trail)
    assert classes(answer) == [("other-account", "tampered")] and answer["looked_up"] == 0
    forged = look(bundle(tmp_path / "forged", account_id="210987654321"), trail)
    assert classes(forged) == [("other-account", "tampered")]
    # A run that failed for that reason is honest; it has to be looked up elsewhere.
    wrong = look(bundle(tmp_path / "wrong", account_id="210987654321", result="FAILED"), trail)
    assert classes(wrong) == [("other-account", "incomplete")]


def test_J1_another_region_is_said(tmp_path: Path, trail: Trail) -> None:
    assert classes(look(bundle(tmp_path, region="eu-west-1"), trail)) == [("other-region", "incomplete")]


def test_J1_a_run_of_a_local_aws_cannot_pass_for_one_of_aws(tmp_path: Path, trail: Trail) -> None:
    answer = look(bundle(tmp_path, endpoint="http://127.0.0.1:20365"), trail)
    assert classes(answer) == [("not-aws", "tampered")] and "127.0.0.1:20365" in answer["findings"][0]["reason"]
    near = look(bundle(tmp_path / "near", endpoint="https://xamazonaws.com"), trail)
    assert classes(near) == [("not-aws", "tampered")]
    vpc_endpoint = f"https://vpce-1.ec2.{REGION}.vpce.amazonaws.com"
    assert look(bundle(tmp_path / "vpce", endpoint=vpc_endpoint), trail)["result"] == "ok"


def test_J1_a_run_that_says_aws_is_not_proven_by_a_local_one(
    tmp_path: Path, trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:20365")
    answer = look(bundle(tmp_path), trail)
    assert classes(answer) == [("not-aws", "tampered")] and not answer["aws"]
    local = look(bundle(tmp_path / "local", endpoint="http://127.0.0.1:20365"), trail)
    assert local["result"] == "ok" and not local["aws"]


@pytest.mark.parametrize(
    "missing", ["CreateLoadBalancer", "CreateTargetGroup", "CreateSecurityGroup", "CreateListener"]
)
def test_J1_a_creation_that_aws_never_saw_is_tampered(tmp_path: Path, trail: Trail, missing: str) -> None:
    trail.drop(missing)
    answer = look(bundle(tmp_path), trail)
    assert answer["result"] == "tampered" and ("not-created", "tampered") in classes(answer)
    assert missing in answer["findings"][0]["reason"]


def test_J1_a_creation_that_failed_is_none(tmp_path: Path, trail: Trail) -> None:
    for record in trail.records:
        if record["eventName"] == "CreateListener":
            record["errorCode"] = "TooManyListeners"
    assert ("not-created", "tampered") in classes(look(bundle(tmp_path), trail))


@pytest.mark.parametrize(
    ("missing", "left"),
    [
        ("DeleteLoadBalancer", [ALB]),
        ("DeleteTargetGroup", [GROUP]),
        ("DeleteSecurityGroup", ["sg-1", "sg-1 tcp 80-80 sg-tasks"]),
        ("RevokeSecurityGroupIngress", ["sg-tasks tcp 80-80 sg-1"]),
    ],
)
def test_J1_a_creation_without_its_deletion_is_tampered(
    tmp_path: Path, trail: Trail, missing: str, left: list[str]
) -> None:
    trail.drop(missing)
    answer = look(bundle(tmp_path), trail)
    assert answer["result"] == "tampered" and {kind for kind, _result in classes(answer)} == {"not-deleted"}
    assert [one["resource"] for one in answer["created"] if one["deleted_at"] is None] == left[::-1]


def test_J1_the_deletion_of_something_else_is_not_its_own(tmp_path: Path, trail: Trail) -> None:
    for record in trail.records:
        if record["eventName"] == "DeleteTargetGroup":
            record["requestParameters"] = {"targetGroupArn": GROUP.replace("abc234", "zzz234")}
    assert classes(look(bundle(tmp_path), trail)) == [("not-deleted", "tampered")]


def test_J1_a_deletion_before_the_creation_is_not_its_own(tmp_path: Path, trail: Trail) -> None:
    for record in trail.records:
        if record["eventName"] == "DeleteTargetGroup":
            record["eventTime"] = minute(0).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert classes(look(bundle(tmp_path), trail)) == [("not-deleted", "tampered")]


def test_J1_a_deletion_that_failed_is_none(tmp_path: Path, trail: Trail) -> None:
    for record in trail.records:
        if record["eventName"] == "DeleteTargetGroup":
            record["errorCode"] = "ResourceInUse"
    assert classes(look(bundle(tmp_path), trail)) == [("not-deleted", "tampered")]


def test_J1_listeners_and_rules_go_with_their_balancer(tmp_path: Path, trail: Trail) -> None:
    trail.drop("DeleteListener", "DeleteRule")
    answer = look(bundle(tmp_path), trail)
    assert answer["result"] == "ok" and all(one["deleted_at"] for one in answer["created"])


def test_J1_a_rule_is_known_by_its_id_as_well(tmp_path: Path, trail: Trail) -> None:
    for record in trail.records:
        rules = {"items": [{"securityGroupRuleId": "sgr-9"}]}
        if record["eventName"] == "AuthorizeSecurityGroupIngress":
            record["responseElements"] = {"securityGroupRuleSet": rules}
        if record["eventName"] == "RevokeSecurityGroupIngress":
            record["requestParameters"] = {"groupId": "sg-tasks", "securityGroupRuleIds": {"items": ["sgr-9"]}}
    answer = look(bundle(tmp_path), trail)
    assert answer["result"] == "ok" and "sg-tasks sgr-9" in [one["resource"] for one in answer["created"]]
    trail.records[-2]["requestParameters"]["securityGroupRuleIds"] = {"items": ["sgr-8"]}
    assert classes(look(bundle(tmp_path / "other"), trail)) == [("not-deleted", "tampered")]


def test_J1_what_a_sweeper_deleted_later_is_found(tmp_path: Path, trail: Trail) -> None:
    """A failed run that does not claim that everything is gone: nothing is held against it."""
    trail.drop("DeleteTargetGroup")
    failed = bundle(tmp_path, gone=False, result="FAILED", ids=IDS[:3])
    answer = look(failed, trail)
    assert classes(answer) == [("left-behind", "ok")] and answer["result"] == "ok"
    sweeper = f"arn:aws:sts::{ACCOUNT}:assumed-role/sweeper/s"
    trail.call(ELB, "DeleteTargetGroup", 40, who=sweeper, requestParameters={"targetGroupArn": GROUP})
    answer = look(failed, trail)
    assert answer["result"] == "ok" and not answer["findings"]
    assert [one["deleted_by"] for one in answer["created"] if one["resource"] == GROUP] == [sweeper]
    claimed = look(bundle(tmp_path / "claimed"), trail)
    assert classes(claimed) == [("deleted-later", "tampered")]


def test_J1_a_failed_run_that_claims_that_all_is_gone_is_held_to_it(tmp_path: Path, trail: Trail) -> None:
    trail.drop("DeleteTargetGroup")
    assert classes(look(bundle(tmp_path, result="FAILED"), trail)) == [("not-deleted", "tampered")]


def test_J1_a_passed_run_cannot_leave_something_behind(tmp_path: Path, trail: Trail) -> None:
    trail.drop("DeleteTargetGroup")
    answer = look(bundle(tmp_path, gone=False, ids=IDS[:3]), trail)
    assert classes(answer) == [("not-deleted", "tampered")]


def test_J1_what_another_run_created_is_not_this_ones(tmp_path: Path, trail: Trail) -> None:
    other = {"requestParameters": {"groupName": "papyrus-smoke-zzz234"}, "responseElements": {"groupId": "sg-2"}}
    trail.call(EC2, "CreateSecurityGroup", 2, **other)
    assert look(bundle(tmp_path), trail)["result"] == "ok"


def test_J1_a_history_too_long_to_be_read_accuses_nobody(tmp_path: Path, trail: Trail) -> None:
    trail.page = 3
    answer = look(bundle(tmp_path), trail, most_calls=4)
    assert answer["result"] == "incomplete" and answer["looked_up"] == 4
    assert {kind for kind, _result in classes(answer)} == {"not-looked-through"}


def test_J1_a_bundle_without_request_ids_or_caller_proves_nothing(tmp_path: Path, trail: Trail) -> None:
    assert classes(look(bundle(tmp_path, ids=[]), trail)) == [("nothing-to-look-up", "incomplete")]
    assert classes(look(bundle(tmp_path / "nobody", caller_arn=None), trail)) == [("no-caller", "incomplete")]
    assert classes(look(bundle(tmp_path / "when", run_id="x"), trail)) == [("no-time", "incomplete")]


def test_J1_data_events_are_not_expected(tmp_path: Path, trail: Trail) -> None:
    answer = look(bundle(tmp_path, ids=[*IDS[:4], "cloudwatch:GetMetricData 1-2-3"]), trail)
    assert answer["result"] == "ok"
    assert answer["request_ids"] == {"asked": 4, "found": 4, "not_logged": {"cloudwatch:GetMetricData": 1}}
    only = look(bundle(tmp_path / "only", ids=["s3:GetObject 1"] * 5), trail)
    assert classes(only) == [("nothing-to-look-up", "incomplete")]


def test_J1_ids_that_the_history_cannot_have_say_their_call() -> None:
    aws = FakeAws({"s3.get_object": {}, "ecs.describe_tasks": {"tasks": []}})
    calls = Calls(aws)
    calls.call("s3", "get_object", "b", Bucket="b", Key="k")
    calls.call("ecs", "describe_tasks", "t", tasks=["t"])
    assert calls.request_ids == ["s3:GetObject request-1", "request-2"]
    assert [unlogged(one) for one in calls.request_ids] == ["s3:GetObject", ""]
    assert unlogged("ecs:DescribeTasks 1") == ""


def test_J1_hostile_words_do_not_reach_a_terminal(tmp_path: Path, trail: Trail) -> None:
    answer = look(bundle(tmp_path, endpoint="http://\x1b[2J"), trail)
    assert answer["findings"][0]["reason"].isprintable()
