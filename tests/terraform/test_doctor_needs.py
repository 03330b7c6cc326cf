"""What doctor asks a principal's permissions for is what recorded runs asked of policies, and no more (N6, H2)."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator

import pytest

from sandbox.iam.evaluator import Caller, decide
from sandbox.iam.patterns import Context
from tests.e2e.roles_stand import VARYING
from tests.terraform import policies, stacks
from tests.terraform.policies import report

sys.path.insert(0, str(stacks.CHECKOUT / "collections"))

from ansible_collections.papyrus.ops.plugins.module_utils import _doctor_needs as needs

ROLES = {
    "alb_smoke": "smoke",
    "release": "release",
    "schema": "release",
    "audit_export": "export",
    "sweep": "sweep",
    needs.TASK: "task",
    needs.EXECUTION: "execution",
}
KEY = "arn:aws:kms:us-west-2:123456789012:key/"
SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/"
# The world of the tests of the stacks (tests/terraform/iam.tftest.hcl), in which the recorded names are as well.
VALUES = {
    "partition": "aws",
    "region": "us-west-2",
    "account": "123456789012",
    "prefix": "papyrus",
    "suffix": "abc234",
    "smoke": "papyrus-smoke-abc234",
    "drill": "papyrus-drill-abc234",
    "hex": "0123456789abcdef",
    "run_id": "20260131T120000Z-abc234",
    "expires_at": "2026-01-31T13:00:00Z",
    "cluster": "papyrus-ecs-prd",
    "service": "papyrus-task-service",
    "task_family": "papyrus-task",
    "container": "app",
    "repository": "papyrus",
    "base_repository": "sandbox/host-python",
    "log_group": "/ecs/papyrus-task",
    "audit_log_group": "/ecs/papyrus-task",
    "db_instance": "papyrus-prd",
    "db_parameter_group": "papyrus-prd-pg17",
    "secret": f"{SECRET}db-AbCdEf",
    "db_master_secret": f"{SECRET}db-master-AbCdEf",
    "task_role": "arn:aws:iam::123456789012:role/papyrusTaskRole",
    "execution_role": "arn:aws:iam::123456789012:role/papyrusTaskExecutionRole",
    "vpc": "vpc-0123456789abcdef0",
    "subnets": "subnet-0123456789abcdef0 subnet-0123456789abcdef1",
    "scheme": "internet-facing",
    "tasks_sg": "sg-0123456789abcdef0",
    "bucket": "ledger-of-runs",
    "bucket_prefix": "runs",
    "signing_key": f"{KEY}11111111-2222-3333-4444-555555555555",
    "exec_key": f"{KEY}66666666-7777-8888-9999-000000000000",
    "alarm_name": "papyrus-task-service",
    "topic": "arn:aws:sns:us-west-2:123456789012:papyrus-task-service-alarms",
}


def question(need: needs.Need) -> needs.Question:
    found = needs.question_of(need, VALUES)
    assert found is not None, need
    return found


def recorded_form(need: needs.Need) -> str:
    """The resource as recorded.json would name it."""
    text = question(need).resource
    if need.resource == "tasks group":
        return "arn:aws:ec2:us-west-2:123456789012:security-group/sg-tasks"
    return without_ids(text)


def without_ids(text: str) -> str:
    for pattern, replacement in (
        *VARYING,
        (r"e-ledger", "ledger-of-runs"),
        (r"(-cpu-drill)-\w{6}$", r"\1-??????"),
        (r"(:sns:.*-alarms):.+", r"\1:*"),
    ):
        if "sg-tasks" not in text:
            text = re.sub(pattern, replacement, text)
    return text


def asked(playbook: str) -> set[tuple[str, str]]:
    """(action, resource) of recorded runs that some statement allowed."""
    role = ROLES[playbook]
    return {
        (one["action"], without_ids(one["resource"]))
        for one in policies.recorded()["roles"][role]
        if one["allowed"] and one["statements"] and (role == playbook or playbook in one["runs"])
    }


def listed(playbook: str) -> dict[tuple[str, str], needs.Need]:
    return {(need.action, recorded_form(need)): need for need in needs.of(playbook, drills=True)}


def known_by(asked_as: needs.Question) -> Context:
    """The condition keys of a question, as the evaluator looks them up."""
    keys = {key.lower(): list(texts) for key, texts in asked_as.context}
    return lambda key: keys.get(key.lower())


def never_used(role: str) -> Iterator[policies.Grant]:
    for grant in policies.grants_of(role):
        if grant in report.compare(role).unused and report.reason_of(role, grant):
            yield grant


@pytest.mark.parametrize("playbook", ROLES)
def test_N6_whatever_a_recorded_run_asked_for_is_on_the_list(playbook: str) -> None:
    assert asked(playbook) - listed(playbook).keys() == set()


@pytest.mark.parametrize("playbook", ROLES)
def test_N6_whatever_is_on_the_list_was_asked_for_or_is_allowed_for_a_reason(playbook: str) -> None:
    reasons = {grant.action for grant in never_used(ROLES[playbook])}
    # Reasons are those of a role: release's are not schema's own, but schema has no other needs than its record.
    more = {action for action, resource in listed(playbook).keys() - asked(playbook)}
    assert more <= reasons, more - reasons


@pytest.mark.parametrize("role", sorted(set(ROLES.values())))
def test_N6_what_a_role_has_for_a_reason_one_of_its_playbooks_has_on_the_list(role: str) -> None:
    mine = {need.action for playbook, own in ROLES.items() if own == role for need in needs.of(playbook, drills=True)}
    assert {grant.action for grant in never_used(role)} - mine == set()


@pytest.mark.parametrize("playbook", ROLES)
def test_N6_the_roles_of_infra_allow_the_list_with_the_condition_keys_that_it_gives(playbook: str) -> None:
    documents = [json.dumps(policies.documents()[name]) for name in policies.roles()[ROLES[playbook]]]
    caller = Caller("123456789012", "arn:aws:iam::123456789012:role/x", "arn:aws:iam::123456789012:role/x", documents)
    refused = []
    for need in needs.of(playbook, drills=True):
        one = question(need)
        decision = decide(caller, need.action, one.resource, known_by(one))
        if not decision.allowed:
            refused.append((need, one))
    assert refused == []


def test_N6_without_drills_a_sweep_needs_nothing_that_only_drills_need() -> None:
    without = {need.action for need in needs.of("sweep")}
    assert without & needs.ONLY_DRILLS == set()
    assert "ecs:StopTask" not in without
    drills = {grant.action for grant in policies.grants("drills")}
    assert {need.action for need in needs.of("sweep", drills=True)} - without == drills
