# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""doctor's permissions: who is simulated, what is asked with which keys, and how a refusal is told (N6)."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.papyrus.ops.plugins.module_utils import (
    _db_login,
    _doctor_needs,
    _doctor_permissions,
    _doctor_values,
    _rows,
)
from ansible_collections.papyrus.ops.tests.unit import doctor_stand as stand
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws, Refusal

SESSION = "arn:aws:sts::123456789012:assumed-role/deployer/somebody"
Keys = Mapping[str, list[str]]


@pytest.fixture(autouse=True)
def _login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_db_login, "login", lambda who, transport: _db_login.LoginResult(True, "in", {}))


def rows_of(decide: stand.Decide, **changes: Any) -> dict[str, _rows.Row]:
    return asked_of(stand.aws(iam__simulate_principal_policy=stand.simulation(decide)), **changes)


def asked_of(fake: FakeAws, **changes: Any) -> dict[str, _rows.Row]:
    return stand.evaluate(fake, (*_doctor_needs.PLAYBOOKS, "task_role", "execution_role"), **changes)


def caller(arn: str, **answers: Any) -> FakeAws:
    who = {"Account": "123456789012", "Arn": arn, "UserId": "AROA:x"}
    return stand.aws(sts__get_caller_identity=who, **answers)


def simulated(fake: FakeAws) -> set[str]:
    """Whose policies were asked for, but those of the tasks' roles."""
    return {
        sent["PolicySourceArn"]
        for sent in fake.sent("iam.simulate_principal_policy")
        if not sent["PolicySourceArn"].startswith(f"{stand.ROLES}/papyrusTask")
    }


# Who


@pytest.mark.parametrize(
    ("arn", "principal", "kind"),
    [
        ("arn:aws:iam::123456789012:user/ops/runner", "arn:aws:iam::123456789012:user/ops/runner", "user"),
        (SESSION, "arn:aws:iam::123456789012:role/teams/deployer", "role"),
        (f"{SESSION}-2", "arn:aws:iam::123456789012:role/teams/deployer", "role"),
        ("arn:aws:iam::123456789012:root", "", "root"),
        ("arn:aws:sts::123456789012:federated-user/x", "", "federated-user"),
    ],
)  # fmt: skip
def test_N6_the_principal_behind_a_caller(arn: str, principal: str, kind: str) -> None:
    found = _doctor_permissions.principal_of(arn, lambda role: f"arn:aws:iam::123456789012:role/teams/{role}")
    assert (found.arn, found.kind) == (principal, kind)
    assert bool(found.note) is (not principal)


def test_N6_a_session_is_simulated_as_its_role_with_the_path_that_iam_says() -> None:
    role = {"Role": {"Arn": "arn:aws:iam::123456789012:role/teams/deployer"}}
    fake = caller(SESSION, iam__get_role=role)
    rows = asked_of(fake)
    assert simulated(fake) == {"arn:aws:iam::123456789012:role/teams/deployer"}
    assert fake.names.count("iam.get_role") == 1
    assert rows["alb_smoke"].status == "ok"


def test_N6_without_get_role_the_path_is_guessed_and_said() -> None:
    def refuse(sent: Any) -> Any:
        raise Refusal("AccessDenied")

    fake = caller(SESSION, iam__get_role=refuse)
    rows = asked_of(fake)
    assert simulated(fake) == {"arn:aws:iam::123456789012:role/deployer"}
    assert rows["alb_smoke"].status == "ok"
    assert "without a path" in rows["alb_smoke"].reason

    def nobody(sent: Any) -> Any:
        raise Refusal("NoSuchEntity")

    rows = asked_of(caller(SESSION, iam__get_role=refuse, iam__simulate_principal_policy=nobody))
    assert rows["alb_smoke"].status == "warn"
    assert "iam:GetRole" in rows["alb_smoke"].data["do"]


def test_N6_root_is_told_and_not_simulated() -> None:
    fake = caller("arn:aws:iam::123456789012:root")
    rows = asked_of(fake)
    assert {rows[name].status for name in _doctor_needs.PLAYBOOKS} == {"warn"}
    assert "root has every permission" in rows["alb_smoke"].reason
    assert simulated(fake) == set()


def test_N6_a_simulation_that_is_denied_is_a_warning_with_the_statement_and_never_ok() -> None:
    def refuse(sent: Any) -> Any:
        raise Refusal("AccessDenied")

    rows = asked_of(stand.aws(iam__simulate_principal_policy=refuse))
    for name in (*_doctor_needs.PLAYBOOKS, "task_role", "execution_role"):
        assert rows[name].status == "warn", name
        assert '"iam:SimulatePrincipalPolicy"' in rows[name].data["do"]
    assert stand.RUNNER in rows["alb_smoke"].data["do"]


# What is asked


def test_N6_each_question_is_asked_once_with_its_actions_together() -> None:
    fake = stand.aws()
    asked_of(fake)
    sent = [json.dumps(one, sort_keys=True) for one in fake.sent("iam.simulate_principal_policy")]
    assert len(sent) == len(set(sent))
    places = [
        (one["PolicySourceArn"], one["ResourceArns"][0], json.dumps(one["ContextEntries"]))
        for one in fake.sent("iam.simulate_principal_policy")
    ]
    assert len(places) == len(set(places)) < 60
    assert all(len(one["ResourceArns"]) == 1 for one in fake.sent("iam.simulate_principal_policy"))


def test_N6_rows_side_by_side_do_not_ask_the_same_twice() -> None:
    together = threading.Barrier(2, timeout=120)
    seen: list[str] = []
    answer = stand.simulation()

    def slowly(sent: Any) -> dict[str, Any]:
        seen.append(json.dumps(sent, sort_keys=True))
        if len(seen) <= 2:  # two rows are at it at once, or this breaks
            together.wait()
        return answer(sent)

    rows = asked_of(stand.aws(iam__simulate_principal_policy=slowly))
    assert rows["alb_smoke"].status == rows["sweep"].status == "ok"
    assert len(seen) == len(set(seen))


def test_N6_condition_keys_are_those_of_the_real_call() -> None:
    asked: dict[tuple[str, str], Keys] = {}

    def decide(action: str, resource: str, keys: Keys) -> None:
        asked[(action, resource.split(":", 5)[-1].partition("/")[0])] = keys

    rows_of(decide)
    make = asked[("elasticloadbalancing:CreateLoadBalancer", "loadbalancer")]
    assert make["aws:RequestTag/papyrus:service"] == ["papyrus-task-service"]
    assert sorted(make["aws:TagKeys"]) == ["papyrus:expires-at", "papyrus:run-id", "papyrus:service"]
    assert make["elasticloadbalancing:Subnet"] == ["subnet-a", "subnet-b"]
    assert make["elasticloadbalancing:Scheme"] == ["internet-facing"]
    delete = asked[("elasticloadbalancing:DeleteLoadBalancer", "loadbalancer")]
    assert delete["aws:ResourceTag/papyrus:service"] == ["papyrus-task-service"]
    assert asked[("ecs:ExecuteCommand", "task")] == {"ecs:container-name": ["app"]}
    assert asked[("iam:PassRole", "role")] == {"iam:PassedToService": ["ecs-tasks.amazonaws.com"]}
    assert asked[("s3:PutObject", "ledger-of-runs")] == {"s3:if-none-match": ["*"]}
    assert asked[("ecs:ListTasks", "*")]["ecs:cluster"][0].endswith(":cluster/papyrus-ecs-prd")


def test_N6_the_inventorys_own_names_are_asked_for() -> None:
    asked: set[tuple[str, str]] = set()
    rows_of(lambda action, resource, keys: asked.add((action, resource)), audit_log_groups=("/a", "/b"))
    for action, resource in (
        ("secretsmanager:GetSecretValue", stand.SECRET),  # exact, out of the task definition
        ("kms:Sign", stand.KEY),
        ("iam:PassRole", f"{stand.ROLES}/papyrusTaskRole"),
        ("logs:FilterLogEvents", "arn:aws:logs:us-west-2:123456789012:log-group:/a:*"),
        ("logs:FilterLogEvents", "arn:aws:logs:us-west-2:123456789012:log-group:/b:*"),
        ("ec2:AuthorizeSecurityGroupIngress", "arn:aws:ec2:us-west-2:123456789012:security-group/sg-task"),
        ("rds:DescribeDBParameters", "arn:aws:rds:us-west-2:123456789012:pg:papyrus"),
    ):
        assert (action, resource) in asked, action


def test_N6_what_the_inventory_leaves_open_is_not_asked_and_said() -> None:
    asked: set[str] = set()
    rows = rows_of(
        lambda action, resource, keys: asked.add(action), ledger="docs/evidence/ledger", signing_key="alias/x"
    )
    assert not [action for action in asked if action.startswith(("s3:", "kms:"))]
    assert {"kms:Sign", "s3:PutObject"} <= set(rows["alb_smoke"].data["not_asked"])
    assert "inventory leaves open" in rows["alb_smoke"].reason
    assert rows["alb_smoke"].status == "ok"


def test_N6_drills_are_asked_for_where_they_are_run() -> None:
    asked: set[str] = set()
    rows_of(lambda action, resource, keys: asked.add(action))
    assert "sqs:DeleteQueue" not in asked
    rows_of(lambda action, resource, keys: asked.add(action), drills=True)
    assert "sqs:DeleteQueue" in asked


@pytest.mark.parametrize(
    ("key", "arn"),
    [
        (stand.KEY, stand.KEY),
        ("11111111-2222-3333-4444-555555555555", stand.KEY),
        ("alias/papyrus", ""),
        ("arn:aws:kms:us-west-2:123456789012:alias/papyrus", ""),
        ("", ""),
    ],
)
def test_N6_a_key_is_asked_for_by_its_arn(key: str, arn: str) -> None:
    assert _doctor_values.key_arn(key, "aws", stand.settings()) == arn


def test_N6_a_base_image_of_another_account_needs_nothing_here() -> None:
    image = "123456789012.dkr.ecr.us-west-2.amazonaws.com/base/python@sha256:" + "a" * 64
    assert _doctor_values.base_repository(stand.settings(base_image=image)) == "base/python"
    for other in (image.replace("123456789012", "999999999999"), image.replace("us-west-2", "eu-west-1"), "python:3"):
        assert _doctor_values.base_repository(stand.settings(base_image=other)) == ""


# How a refusal is told


def refusing(action: str, **members: Any) -> stand.Decide:
    def decide(asked: str, resource: str, keys: Keys) -> dict[str, Any] | None:
        return {"EvalDecision": "implicitDeny", **members} if asked == action else None

    return decide


def test_N6_a_missing_permission_is_ng_for_what_must_run_and_a_warning_for_the_rest() -> None:
    rows = rows_of(refusing("ecs:RunTask"))
    assert (rows["alb_smoke"].status, rows["release"].status, rows["sweep"].status) == ("ng", "warn", "ok")
    assert "ecs:RunTask (no policy allows it)" in rows["alb_smoke"].reason
    assert '"ecs:RunTask"' in rows["alb_smoke"].data["do"]
    (statement,) = rows["alb_smoke"].data["statements"]
    assert statement == {
        "Effect": "Allow",
        "Action": ["ecs:RunTask"],
        "Resource": ["arn:aws:ecs:us-west-2:123456789012:task-definition/papyrus-task:*"],
    }
    rows = rows_of(refusing("ecs:RunTask"), must=("release",))
    assert (rows["alb_smoke"].status, rows["release"].status) == ("warn", "ng")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"EvalDecision": "explicitDeny", "MatchedStatements": [{"SourcePolicyId": "Guard"}]}, "a Deny of Guard"),
        ({"EvalDecision": "explicitDeny"}, "a Deny of a policy"),
        ({"PermissionsBoundaryDecisionDetail": {"AllowedByPermissionsBoundary": False}}, "the permissions boundary"),
        ({"OrganizationsDecisionDetail": {"AllowedByOrganizations": False}}, "an SCP of the organization"),
        (
            {"EvalDecision": "explicitDeny", "OrganizationsDecisionDetail": {"AllowedByOrganizations": False}},
            "an SCP of the organization",
        ),
    ],
)
def test_N6_who_refuses_is_told_apart(members: dict[str, Any], words: str) -> None:
    row = rows_of(refusing("ecs:RunTask", **members))["alb_smoke"]
    assert row.status == "ng"
    assert words in row.reason
    assert words in row.data["do"]
    assert row.data["statements"] == []  # another statement would not help


def test_N6_a_condition_that_only_the_real_call_meets_is_a_doubt() -> None:
    row = rows_of(refusing("ecs:RunTask", MissingContextValues=["aws:SourceVpce"]))["alb_smoke"]
    assert row.status == "warn"
    assert "aws:SourceVpce" in row.reason


def test_N6_a_secret_whose_end_nobody_knows_is_a_doubt_and_an_exact_one_is_ng() -> None:
    decide = refusing("secretsmanager:GetSecretValue")
    assert rows_of(decide)["alb_smoke"].status == "ng"
    definition = {"taskDefinition": stand.definition(secrets=[])}
    fake = stand.aws(iam__simulate_principal_policy=stand.simulation(decide), ecs__describe_task_definition=definition)
    row = asked_of(fake)["alb_smoke"]
    assert row.status == "warn"
    assert "end of a secret's name" in row.reason


@pytest.mark.parametrize("action", sorted(_doctor_needs.SOMETIMES))
def test_N6_what_not_every_account_needs_is_a_doubt(action: str) -> None:
    row = rows_of(refusing(action))["alb_smoke"]
    assert row.status == "warn"
    assert action in row.reason


def test_N6_an_answer_that_lacks_an_action_is_no_ok() -> None:
    answer = stand.simulation()

    def short(sent: Any) -> dict[str, Any]:
        return {"EvaluationResults": answer(sent)["EvaluationResults"][1:]}

    row = asked_of(stand.aws(iam__simulate_principal_policy=short))["alb_smoke"]
    assert row.status == "warn"
    assert "says nothing of it" in row.reason


def test_N6_all_pages_of_a_simulation_are_read() -> None:
    answer = stand.simulation()

    def paged(sent: Any) -> dict[str, Any]:
        results = answer(sent)["EvaluationResults"]
        at = int(sent.get("Marker", 0))
        more = {"IsTruncated": True, "Marker": str(at + 1)} if at + 1 < len(results) else {"IsTruncated": False}
        return {"EvaluationResults": results[at : at + 1], **more}

    assert asked_of(stand.aws(iam__simulate_principal_policy=paged))["alb_smoke"].status == "ok"


def test_N6_both_forms_of_a_result_are_read() -> None:
    """Before, AWS had one result for each action and resource, without results of resources inside."""
    read = _doctor_permissions.read
    assert read({"EvalDecision": "allowed"}).allowed
    assert not read({"EvalDecision": "implicitDeny"}).allowed
    inside = [{"EvalResourceName": "x", "EvalResourceDecision": "implicitDeny"}]
    assert not read({"EvalDecision": "allowed", "ResourceSpecificResults": inside}).allowed


def test_N6_the_tasks_roles_are_asked_for_as_well() -> None:
    def decide(action: str, resource: str, keys: Keys) -> dict[str, Any] | None:
        return {"EvalDecision": "implicitDeny"} if action.startswith("ssmmessages:Open") else None

    rows = rows_of(decide)
    assert rows["task_role"].status == "ng"
    assert "ssmmessages:OpenControlChannel, ssmmessages:OpenDataChannel" in rows["task_role"].reason
    assert rows["execution_role"].status == "ok"
    assert rows_of(decide, exec_required=False)["task_role"].status == "skip"


def test_N6_a_task_without_a_role_is_ng() -> None:
    definition = stand.definition()
    del definition["taskRoleArn"]
    rows = asked_of(stand.aws(ecs__describe_task_definition={"taskDefinition": definition}))
    assert rows["task_role"].status == "ng"
    assert "has no task role" in rows["task_role"].reason


def test_N6_statements_are_few_and_whole() -> None:
    pairs = [("a:X", "r1"), ("a:Y", "r1"), ("a:X", "r2"), ("a:Y", "r2"), ("b:Z", "*")]
    found = [json.loads(text) for text in _doctor_permissions.statements_for(pairs)]
    assert [(one["Action"], one["Resource"]) for one in found] == [(["a:X", "a:Y"], ["r1", "r2"]), (["b:Z"], ["*"])]
