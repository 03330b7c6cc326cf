"""N6 against a local AWS: doctor as a user of its own, all in order; then with things planted that it has to tell."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import harness
from .harness import RunningSmoke, Smoke
from .services import Services, unique

PLAYBOOK = "playbooks/doctor.yml"
EVERYTHING = {"Effect": "Allow", "Action": "*", "Resource": "*"}
LIMITS = (
    '<DescribeAccountLimitsResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/">'
    "<DescribeAccountLimitsResult><Limits><member><Name>application-load-balancers</Name><Max>45</Max></member>"
    "</Limits></DescribeAccountLimitsResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>"
    "</DescribeAccountLimitsResponse>"
)


@contextlib.contextmanager
def doctor(folder: Path, *statements: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A user with these statements, and variables by which a playbook works with its key."""
    iam, name, known = harness.client("iam"), unique("doctor"), harness.facts()
    iam.create_user(UserName=name)
    try:
        key = iam.create_access_key(UserName=name)["AccessKey"]
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_user_policy(UserName=name, PolicyName="all", PolicyDocument=json.dumps(policy))
        config = folder / "credentials"
        config.write_text(
            f"[doctor]\naws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n",
            "utf-8",
        )
        config.chmod(0o600)
        environment = {
            "AWS_ENDPOINT_URL": known["endpoint"],
            "AWS_PROFILE": "doctor",
            "AWS_SHARED_CREDENTIALS_FILE": str(config),
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_REGION": known["region"],
            "AWS_DEFAULT_REGION": known["region"],
            "AWS_EC2_METADATA_DISABLED": "true",
            "NO_PROXY": "127.0.0.0/8,localhost",
            "no_proxy": "127.0.0.0/8,localhost",
        }
        yield {"papyrus_aws_environment": environment, "key": key["AccessKeyId"], "user": name}
        iam.delete_access_key(UserName=name, AccessKeyId=key["AccessKeyId"])
    finally:
        for one in iam.list_access_keys(UserName=name)["AccessKeyMetadata"]:
            iam.delete_access_key(UserName=name, AccessKeyId=one["AccessKeyId"])
        for one in iam.list_user_policies(UserName=name)["PolicyNames"]:
            iam.delete_user_policy(UserName=name, PolicyName=one)
        iam.delete_user(UserName=name)


def seen(folder: Path, variables: dict[str, Any], *arguments: str, report: str = "report.json") -> Smoke:
    """The playbook run to its end, with its report beside it."""
    given = {**variables, "papyrus_doctor_report": str(folder / report)}
    run = RunningSmoke(folder / "run", given, arguments, playbook=PLAYBOOK).end()
    assert run.bundles == [] and not run.evidence_root.exists()
    assert not (run.evidence_root.parent / "ledger").exists()
    return run


def rows_of(report: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in json.loads(report.read_text("utf-8"))["rows"]}


def test_N6_everything_is_in_order_and_nothing_is_written(tmp_path: Path) -> None:
    with doctor(tmp_path, EVERYTHING) as who:
        before = harness.last_call()
        traced = {"papyrus_trace_file": str(tmp_path / "trace.jsonl")}
        # Other tests leave things of like names.
        run = seen(tmp_path, {**who, **traced, "papyrus_tag_prefix": unique("doctor")})
        mine = [call for call in harness.calls(before) if call["access_key_id"] == who["key"]]
    assert run.exit_code == 0, run.output[-3000:]
    trace = (tmp_path / "trace.jsonl").read_text("utf-8")
    assert "SimulatePrincipalPolicy" in trace and '"lost":0' in trace
    assert [value for value in (who["user"], who["key"], harness.facts()["account_id"], "arn:") if value in trace] == []
    rows = rows_of(tmp_path / "report.json")
    assert {name: row["reason"] for name, row in rows.items() if row["status"] != "ok"} == {}
    assert f"user/{who['user']}" in rows["B10"]["reason"]
    assert len(mine) > 50
    assert [call["operation"] for call in mine if not call["read_only"]] == []
    assert "ready: ansible-playbook playbooks/alb_smoke.yml" in run.output
    assert (tmp_path / "report.json").stat().st_mode & 0o777 == 0o600


def test_N6_what_is_planted_is_told_of_all_at_once(tmp_path: Path, services: Services) -> None:
    variables = services.service("doctor", execute_command=False, breaker=True)
    refusal = {"Effect": "Deny", "Action": "ecs:RunTask", "Resource": "*"}
    with doctor(tmp_path, EVERYTHING, refusal) as who:
        fault = {
            "service": "elbv2", "operation": "DescribeAccountLimits", "access_key_id": who["key"],
            "status": 200, "body": LIMITS, "content_type": "text/xml", "label": who["key"], "match": {},
        }  # fmt: skip
        harness.add_faults(fault)
        try:
            run = seen(tmp_path, {**who, **variables}, report="report.md")
        finally:
            harness.remove_faults(who["key"])
    assert run.exit_code != 0
    assert "2 things to mend first: alb_smoke, B3" in run.output
    report = (tmp_path / "report.md").read_text("utf-8")
    for words in (
        "| NG | alb_smoke | May run alb_smoke.yml | 1 of ",
        "ecs:RunTask (a Deny of ",
        "| NG | B3 | ECS Exec is usable | ECS Exec is off on the service",
        "of 45 application load balancers: room for ",
        "| OK | B8 |",
    ):
        assert words in report, report
    assert run.output.count("ECS Exec is off") == 1  # in the table: it fails once, with the last line
