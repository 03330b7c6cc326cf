# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of the preflight: identity alone and first, every answer on its own, shared questions asked once (B1-B14)."""

from __future__ import annotations

import datetime as dt
import json
import re
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _db_login,
    _leftovers,
    _preflight,
    _preflight_alb,
    _preflight_db,
    _preflight_ecs,
    _preflight_report,
    _preflight_runner,
    _rows,
)
from ansible_collections.papyrus.ops.plugins.module_utils._names import file_stamp, rfc3339, utc_now
from ansible_collections.papyrus.ops.plugins.module_utils._preflight import Check, Facts
from ansible_collections.papyrus.ops.plugins.module_utils._progress import PROGRESS
from ansible_collections.papyrus.ops.plugins.module_utils._sweep_choice import Order
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import Refusal
from ansible_collections.papyrus.ops.tests.unit.preflight_stand import (
    FORCE_SSL,
    INSTANCE,
    PASSWORD,
    RUN_ID,
    aws,
    evaluate,
    settings,
)
from ansible_collections.papyrus.ops.tests.unit.told import Told


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    facts = {"user": "papyrus_app", "database": "papyrus", "ssl": True}
    result = _db_login.LoginResult(True, "papyrus_app in papyrus over TLSv1.3", facts)
    monkeypatch.setattr(_db_login, "login", lambda who, transport: result)
    binary = tmp_path / "terraform"
    binary.write_text('#!/bin/sh\necho \'{"terraform_version": "1.15.5"}\'\n', "utf-8")
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


def test_B_all_rows_are_there_and_ok_and_shared_questions_are_asked_once() -> None:
    fake = aws()
    rows, dummy = evaluate(fake)
    assert {row.id: row.reason for row in rows.values() if row.status == "ng"} == {}
    assert [row.id for row in rows.values() if row.status == "skip"] == ["B1"]
    assert list(rows) == ["B10", *(f"B{n}" for n in (1, 2, 3, 4, 5, 7, 8, 9, 11, 12, 13, 14)), "C1", "C3", "C4"]
    for name in ("ecs.describe_services", "ecs.list_tasks", "rds.describe_db_instances", "ecs.describe_tasks"):
        assert fake.names.count(name) == 1, name
    assert fake.names[0] == "sts.get_caller_identity"
    assert rows["B12"].request_ids
    assert rows["B2"].request_ids[0] == rows["B12"].request_ids[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"account_id": "999999999999"}, "999999999999"), ({"region": "eu-west-1"}, "the inventory expects eu-west-1")],
)
def test_B10_a_wrong_account_or_region_ends_it_before_any_other_call(changes: dict[str, str], words: str) -> None:
    fake = aws()
    rows, dummy = evaluate(fake, settings(**changes))
    assert list(rows) == ["B10"]
    assert rows["B10"].status == "ng"
    assert words in rows["B10"].reason
    assert set(fake.names) <= {"sts.get_caller_identity"}


def test_B10_credentials_that_do_not_work_are_a_row_not_a_crash() -> None:
    def refuse(sent: object) -> dict[str, object]:
        raise Refusal("InvalidClientTokenId", "The security token included in the request is invalid.")

    rows, dummy = evaluate(aws(sts__get_caller_identity=refuse))
    assert list(rows) == ["B10"]
    assert "InvalidClientTokenId" in rows["B10"].reason


def test_B_a_row_whose_call_fails_is_ng_with_the_cause_and_the_others_go_on() -> None:
    def refuse(sent: object) -> dict[str, object]:
        raise Refusal("DBInstanceNotFound", "DBInstance papyrus-prd not found.")

    rows, dummy = evaluate(aws(rds__describe_db_instances=refuse))
    assert {row.id for row in rows.values() if row.status == "ng"} == {"B2", "B4", "B5", "B12"}
    assert "rds:DescribeDBInstances on database instance papyrus-prd" in rows["B12"].reason
    assert rows["B7"].status == "ok"


def test_B_a_fault_of_the_program_is_ng_too() -> None:
    rows, dummy = evaluate(aws(ecs__describe_clusters={"clusters": [{"configuration": 7}]}))
    assert rows["B3"].status == "ng"
    assert "AttributeError" in rows["B3"].reason


def test_B_the_password_is_in_no_row_fact_or_item_of_evidence() -> None:
    rows, facts = evaluate(aws())
    shown = json.dumps(
        [
            [row.as_dict() for row in rows.values()],
            _preflight_report.facts_for_later(facts),
            _preflight_report.evidence(list(rows.values()), facts, "papyrus:create_app"),
        ]
    )
    assert PASSWORD not in shown


def test_B_the_password_is_made_known_for_redaction() -> None:
    facts = Facts(aws(), settings())
    known: list[str] = []
    facts.register = known.append
    _preflight.run(_preflight_report.IDENTITY, _preflight_report.chosen(["B2"]), facts)
    assert known == [PASSWORD]


def test_B_evidence_carries_each_row_in_the_manifests_meta() -> None:
    rows, facts = evaluate(aws(ecs__describe_services={"services": [shapes.service(desiredCount=0, runningCount=0)]}))
    items = _preflight_report.evidence(list(rows.values()), facts, "")
    assert [item["name"] for item in items] == [
        "preflight.json",
        "secrets_rds_drift.json",
        "rds_sg_inbound_after.json",
        "rds_parameters.json",
    ]
    assert items[0]["status"] == "ng"
    meta = {row["id"]: row["status"] for row in items[0]["meta"]["rows"]}
    assert meta["B7"] == "ng"
    assert meta["B12"] == "ok"


def test_B_only_the_named_rows_are_evaluated() -> None:
    assert [check.id for check in _preflight_report.chosen(["B8", "B3"])] == ["B3", "B8"]
    with pytest.raises(ValueError, match="no row B99"):
        _preflight_report.chosen(["B99"])


def test_B_a_service_without_database_skips_its_rows_with_the_reason() -> None:
    fake = aws()
    rows, dummy = evaluate(fake, settings(db_instance="", secret_id=""))
    for row in ("B2", "B4", "B5", "B12", "B13"):
        assert (rows[row].status, rows[row].reason) == ("skip", _preflight.NO_DATABASE)
    assert not [name for name in fake.names if name.startswith(("rds.", "secretsmanager."))]


def test_B_rows_run_side_by_side_and_a_late_one_does_not_hold_the_others(told: Told) -> None:
    PROGRESS.open(str)
    gate = threading.Event()
    together = threading.Barrier(3, timeout=5)

    def meets(ask: object) -> _preflight.Finding:
        together.wait()
        return _preflight.ok("met")

    def hangs(ask: object) -> _preflight.Finding:
        gate.wait(30)
        return _preflight.ok("late")

    checks = [Check(f"B{number}", "meets", meets) for number in (1, 2, 3)] + [Check("B4", "hangs", hangs)]
    before = time.monotonic()
    rows = _preflight.evaluate_all(checks, Facts(aws(), settings(timeout=0.5)))
    gate.set()
    assert [row.status for row in rows] == ["ok", "ok", "ok", "ng"]
    assert "not answered within 0.5 s" in rows[3].reason
    assert (told.all[0]["now"], told.all[-1]["now"]) == ("no answer yet: B1, B2, B3, B4", "no answer yet: B4")
    assert time.monotonic() - before < 5


def test_B_a_late_row_says_whose_answer_it_waits_for() -> None:
    asked, gate, fake = threading.Event(), threading.Event(), aws()
    looks: list[float] = []

    def hangs(sent: Any) -> Any:
        asked.set()
        gate.wait(60)
        raise Refusal("Unavailable")

    def clock() -> float:
        """The time is up once the call is under way."""
        looks.append(60.0 if looks and asked.wait(60) else 0.0)
        return looks[-1]

    fake.answers["ec2.describe_subnets"] = hangs
    [row] = _preflight.evaluate_all(_preflight_report.chosen(["B8"]), Facts(fake, settings(timeout=60.0)), clock=clock)
    gate.set()
    assert row.status == "ng"
    assert row.reason.startswith("not answered within 60 s; AWS was still being asked for ec2:DescribeSubnets on ")


def test_B_programs_have_the_time_that_all_rows_have_and_are_ended_before_a_row_is_late(tmp_path: Path) -> None:
    """B1 and B11: a controller with much to do answers later, and one that hangs leaves no process behind."""
    assert 110 < Facts(aws(), settings(timeout=120.0)).left() < 120
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)", "utf-8")
    slow = tmp_path / "slow"
    slow.write_text(f"#!/bin/sh\necho $$ >{tmp_path}/pid\nexec sleep 60\n", "utf-8")
    slow.chmod(0o755)
    facts = Facts(aws(), settings(
        app_source=str(tmp_path), app_factory="slow:app", terraform_binary=str(slow), timeout=5.0,
    ))  # fmt: skip
    routes, terraform = _preflight.evaluate_all(_preflight_report.chosen(["B1", "B11"]), facts)
    assert re.fullmatch(r"did not load within (3|2\.\d) s", routes.reason)
    assert re.fullmatch(r".*/slow version does not answer: no answer within (3|2\.\d) s", terraform.reason)
    assert not Path("/proc", (tmp_path / "pid").read_text("utf-8").strip()).exists()


# Single rows


def service(**changes: Any) -> _preflight.Finding:
    return _preflight_ecs.judge_service(shapes.service(**changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"desiredCount": 0, "runningCount": 0}, "desired count is 0"),
        ({"runningCount": 0}, "0 of 1 tasks run"),
        ({"pendingCount": 1}, "1 pending"),
        ({"status": "DRAINING"}, "DRAINING"),
        ({"deployments": [{"id": "d", "status": "PRIMARY", "rolloutState": "IN_PROGRESS"}]}, "in flight"),
        ({"deployments": [{"id": "d", "status": "PRIMARY"}, {"id": "e", "status": "ACTIVE"}]}, "in flight (e)"),
        ({"deployments": [{"id": "d", "status": "PRIMARY", "rolloutState": "FAILED"}]}, "failed"),
    ],
)
def test_B7_a_service_that_is_not_steady_is_ng(changes: dict[str, Any], words: str) -> None:
    finding = service(**changes)
    assert finding.status == "ng"
    assert words in finding.reason


def test_B7_the_last_stopped_task_says_why_nothing_runs() -> None:
    dead = shapes.task(3, lastStatus="STOPPED", desiredStatus="STOPPED", containers=[{"name": "app", "exitCode": 3}])
    answers = {name.replace(".", "__"): answer for name, answer in shapes.answers([], [dead]).items()}
    rows, dummy = evaluate(aws(**answers, ecs__describe_services={"services": [shapes.service(runningCount=0)]}))
    assert "exit code 3" in rows["B7"].reason
    assert "exit code 3" in rows["C4"].reason


@pytest.mark.parametrize("state", ["IN_PROGRESS", "FAILED"])
def test_B7_a_rollout_whose_tasks_die_says_how_though_one_runs_at_the_moment(state: str) -> None:
    ended = {"lastStatus": "STOPPED", "desiredStatus": "STOPPED"}
    dead = shapes.task(3, **ended, startedBy="ecs-svc/2", containers=[{"name": "app", "exitCode": 3}])
    replaced = shapes.task(4, **ended, startedBy="ecs-svc/1", stoppedReason="Scaling activity initiated")
    answers = {
        name.replace(".", "__"): answer for name, answer in shapes.answers([shapes.task(1)], [dead, replaced]).items()
    }
    rollout = [{"id": "ecs-svc/2", "status": "PRIMARY", "rolloutState": state}]
    rows, dummy = evaluate(aws(**answers, ecs__describe_services={"services": [shapes.service(deployments=rollout)]}))
    assert "exit code 3" in rows["B7"].reason
    assert "Scaling" not in rows["B7"].reason


@pytest.mark.parametrize(
    ("found_service", "agent", "container", "words"),
    [
        ({"enableExecuteCommand": False}, "RUNNING", {}, "enableExecuteCommand"),
        ({}, "STOPPED", {}, "agent does not run"),
        ({}, "RUNNING", {"readonlyRootFilesystem": True}, "read-only"),
    ],
)
def test_B3_what_keeps_exec_from_working_is_named(
    found_service: dict[str, Any], agent: str, container: dict[str, Any], words: str
) -> None:
    task = {"task_arn": "arn/x", "exec_agent": agent}
    problems = _preflight_ecs.exec_problems(shapes.service(**found_service), [task], [container])
    assert len(problems) == 1
    assert words in problems[0]


def test_B3_the_clusters_exec_configuration_is_reported() -> None:
    configuration = {
        "executeCommandConfiguration": {
            "logging": "OVERRIDE",
            "kmsKeyId": "key-1",
            "logConfiguration": {"cloudWatchLogGroupName": "/ecs/exec"},
        }
    }
    fake = aws(ecs__describe_clusters={"clusters": [{"configuration": configuration}]})
    rows, dummy = evaluate(fake)
    agent = f"agent of {1:032x} RUNNING"
    assert rows["B3"].reason == f"{agent}; sessions: logging OVERRIDE to /ecs/exec, KMS key key-1"
    assert fake.sent("ecs.describe_clusters")[0]["include"] == ["CONFIGURATIONS", "SETTINGS"]


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", None, "REQUIRE"])
def test_B13_anything_that_lets_plaintext_pass_is_ng(mode: str | None) -> None:
    assert _preflight_ecs.judge_sslmodes({"papyrus-task:7": mode}).status == "ng"


@pytest.mark.parametrize("mode", ["require", "verify-ca", "verify-full"])
def test_B13_require_or_stricter_is_ok(mode: str) -> None:
    assert _preflight_ecs.judge_sslmodes({"papyrus-task:7": mode}).status == "ok"
    assert _preflight_ecs.judge_sslmodes({"papyrus-task:7": mode, "papyrus-task:6": "prefer"}).status == "ng"


def force_ssl(value: str | None, state: str = "in-sync") -> _preflight.Finding:
    parameter = {"ParameterValue": value, "ApplyType": "dynamic"} if value is not None else None
    return _preflight_db.judge_force_ssl(
        [{"DBParameterGroupName": "papyrus", "ParameterApplyStatus": state}],
        {"force_ssl": {"papyrus": parameter}, "last_restart": {"at": "2026-01-30T08:00:00Z", "reason": ""}},
    )


def test_B4_force_ssl_counts_only_when_it_is_in_effect() -> None:
    assert force_ssl("1").status == "ok"
    assert "2026-01-30T08:00:00Z" in force_ssl("1").reason
    assert "rds.force_ssl is 0 in papyrus" in force_ssl("0").reason
    assert "not set" in force_ssl(None).reason
    assert "reboot" in force_ssl("1", "pending-reboot").reason
    assert {force_ssl("0").status, force_ssl(None).status, force_ssl("1", "pending-reboot").status} == {"ng"}
    assert _preflight_db.judge_force_ssl([], {"force_ssl": {}, "last_restart": {"at": None}}).status == "ng"


def test_B4_a_default_is_looked_for_on_all_pages_after_the_set_ones() -> None:
    def parameters(sent: Any) -> dict[str, Any]:
        if sent.get("Source") == "user":
            return {"Parameters": [{"ParameterName": "work_mem"}]}
        if "Marker" not in sent:
            return {"Parameters": [{"ParameterName": "a"}], "Marker": "2"}
        return {"Parameters": [FORCE_SSL]}

    fake = aws(rds__describe_db_parameters=parameters)
    rows, dummy = evaluate(fake)
    assert rows["B4"].status == "ok"
    assert [(sent.get("Source"), sent.get("Marker")) for sent in fake.sent("rds.describe_db_parameters")] == [
        ("user", None),
        (None, None),
        (None, "2"),
    ]


def test_B4_the_last_restart_is_the_newest_among_the_events() -> None:
    events = [
        {"Date": dt.datetime(2026, 1, day, 8, tzinfo=dt.UTC), "Message": message}
        for day, message in ((2, "DB instance restarted"), (9, "DB instance restarted"), (12, "Backing up DB instance"))
    ]
    fake = aws(rds__describe_events={"Events": events})
    rows, dummy = evaluate(fake)
    assert rows["B4"].data["last_restart"]["at"] == "2026-01-09T08:00:00Z"
    assert fake.sent("rds.describe_events")[0]["Duration"] == 20160


def test_B12_an_instance_that_is_not_available_is_ng() -> None:
    rows, dummy = evaluate(
        aws(rds__describe_db_instances={"DBInstances": [{**INSTANCE, "DBInstanceStatus": "rebooting"}]})
    )
    assert "rebooting" in rows["B12"].reason
    assert rows["B12"].status == "ng"


NOW = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("found", "status", "words"),
    [
        ({"kind": "static"}, "ok", "long-lived"),
        ({"kind": "none"}, "ng", "no credentials"),
        ({"kind": "session"}, "skip", "expiry is not known"),
        ({"kind": "session", "expires_at": "2026-01-31T12:50:00Z"}, "ng", "50 minutes left"),
        ({"kind": "session", "expires_at": "2026-01-31T14:00:00Z"}, "ok", "120 minutes left"),
        ({"kind": "refreshable", "expires_at": "2026-01-31T12:50:00Z"}, "ok", "renew"),
        ({"kind": "refreshable"}, "ok", "renews"),
    ],
)
def test_B14_the_credentials_must_outlive_run_and_teardown(found: dict[str, str], status: str, words: str) -> None:
    finding = _preflight_runner.judge_credentials(found, 3600, NOW)
    assert finding.status == status
    assert words in finding.reason


@pytest.mark.parametrize("left", [0, 1, 59, 3600, 43199])
def test_B14_the_remaining_life_is_found_through_botocores_public_question(left: int) -> None:
    assert _preflight_runner.remaining_life(lambda seconds: left < seconds) == left
    assert _preflight_runner.remaining_life(lambda seconds: False) is None


def test_B11_the_version_is_read_and_a_missing_binary_named(tmp_path: Path) -> None:
    rows, dummy = evaluate(aws())
    assert (rows["B11"].status, rows["B11"].reason) == ("ok", "1.15.5")
    rows, dummy = evaluate(aws(), settings(terraform_binary="no-such-terraform"))
    assert "no-such-terraform is not found" in rows["B11"].reason
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho cannot load plugin >&2\nexit 1\n", "utf-8")
    broken.chmod(0o755)
    rows, dummy = evaluate(aws(), settings(terraform_binary=str(broken)))
    assert "cannot load plugin" in rows["B11"].reason


def test_C1_names_and_cidrs_are_checked_together() -> None:
    rows, dummy = evaluate(
        aws(), settings(alb_ingress_cidrs=("0.0.0.0/0",), name_prefix="a-prefix-that-is-far-too-long")
    )
    assert "whole internet" in rows["C1"].reason
    assert "AWS allows 32" in rows["C1"].reason


def test_C3_a_group_that_the_task_does_not_have_is_ng() -> None:
    rows, dummy = evaluate(aws(), settings(tasks_sg_id="sg-other"))
    assert "sg-other is not a group of" in rows["C3"].reason


def found(**lists: Any) -> _leftovers.Found:
    return _leftovers.Found(**lists)


OURS = {
    "kind": "load_balancer",
    "id": "arn:lb",
    "name": "papyrus-smoke-zzz234",
    "run_id": "20260131T000000Z-zzz234",
    "expires_at": "2026-01-31T01:00:00Z",
    "service": "svc",
    "detail": {},
}
FOREIGN = {
    "kind": "security_group",
    "id": "sg-9",
    "name": "papyrus-smoke-abc234",
    "collides": True,
    "detail": {"vpc_id": "vpc-1"},
}


def judge(leftovers: _leftovers.Found) -> _preflight.Finding:
    return _preflight_alb.judge_leftovers(leftovers, RUN_ID, ("papyrus-smoke-abc234",), Order("svc"), "vpc-1")


def test_B9_own_leftovers_are_told_and_not_in_the_way() -> None:
    assert judge(found()).reason == "none"
    later = (utc_now() + dt.timedelta(hours=1)).replace(microsecond=0)
    run = f"{file_stamp(utc_now())}-yyy222"
    alive = {"id": "arn:lb2", "name": "papyrus-smoke-yyy222", "run_id": run, "expires_at": rfc3339(later)}
    copied = {"id": "arn:lb3", "name": "production"}
    finding = judge(found(resources=[OURS, {**OURS, **alive}, {**OURS, **copied}]))
    assert finding.status == "ok"
    assert [each["id"] for each in finding.data["expired"]] == ["arn:lb"]
    assert "1 expired of earlier runs, to be swept: arn:lb" in finding.reason
    assert "2 of runs whose lease is not over, or not to be believed" in finding.reason


def test_B9_a_foreign_group_of_the_same_name_is_ng_in_the_same_vpc_only() -> None:
    finding = judge(found(foreign=[FOREIGN]))
    assert finding.status == "ng"
    assert "security group papyrus-smoke-abc234 (sg-9)" in finding.reason
    assert judge(found(foreign=[{**FOREIGN, "detail": {"vpc_id": "vpc-2"}}])).status == "ok"
    assert judge(found(foreign=[{**FOREIGN, "collides": False}])).status == "ok"


def test_B9_what_could_not_be_looked_for_is_never_taken_for_absent() -> None:
    assert judge(found(failures=[{"text": "DescribeLoadBalancers failed"}])).status == "ng"


def test_a_table_has_one_line_a_row_with_aligned_columns() -> None:
    rows = [_rows.Row("B1", "short", "ok", "fine"), _rows.Row("B10", "longer title", "ng", "two\nlines")]
    assert _rows.table(rows) == "OK  B1   short         fine\nNG  B10  longer title  two lines"


def test_a_row_without_a_reason_cannot_be_skipped() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        _rows.Row("B1", "title", "skip", " ")
