# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An account in which every row of doctor is OK, for tests to change one thing of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils import _doctor, _names, _preflight, _preflight_report, _rows
from ansible_collections.papyrus.ops.plugins.module_utils._doctor_settings import DoctorSettings
from ansible_collections.papyrus.ops.plugins.module_utils._preflight import Facts
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit import preflight_stand
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws

ROLES = "arn:aws:iam::123456789012:role"
SECRET = "arn:aws:secretsmanager:us-west-2:123456789012:secret:papyrus/prd/db-Qw12er"
KEY = "arn:aws:kms:us-west-2:123456789012:key/11111111-2222-3333-4444-555555555555"
RUNNER = "arn:aws:iam::123456789012:user/runner"


def service(**changes: Any) -> dict[str, Any]:
    network = {"subnets": ["subnet-a"], "securityGroups": ["sg-task"], "assignPublicIp": "ENABLED"}
    breaker = {"deploymentCircuitBreaker": {"enable": True, "rollback": True}}
    made = {"networkConfiguration": {"awsvpcConfiguration": network}, "deploymentConfiguration": breaker}
    return shapes.service(**{**made, **changes})


def definition(**container: Any) -> dict[str, Any]:
    options = {"awslogs-group": "/ecs/papyrus-task", "awslogs-region": "us-west-2", "awslogs-stream-prefix": "app"}
    logs = {"logDriver": "awslogs", "options": options}
    secrets = [{"name": "DB_HOST", "valueFrom": f"{SECRET}:host::"}]
    return {
        **shapes.definition(**{"logConfiguration": logs, "secrets": secrets, **container}),
        "taskRoleArn": f"{ROLES}/papyrusTaskRole",
        "executionRoleArn": f"{ROLES}/papyrusTaskExecutionRole",
        "networkMode": "awsvpc",
        "cpu": "256",
        "memory": "512",
    }


def settings(**changes: Any) -> DoctorSettings:
    told = preflight_stand.settings()
    given = {name: getattr(told, name) for name in told.__dataclass_fields__}
    more = {
        "run_id": "",
        "dry": True,
        "repository": "papyrus",
        "ledger": "s3://ledger-of-runs/runs",
        "signing_key": KEY,
        "fresh_login": True,
        "timeout": 600.0,  # of all rows together, whatever else the machine does
    }
    return DoctorSettings(**{**given, **more, **changes})


Decide = Callable[[str, str, Mapping[str, list[str]]], Mapping[str, Any] | None]
"""(action, resource, condition keys) → members of the result instead of "allowed"."""


def simulation(decide: Decide = lambda action, resource, keys: None) -> Callable[[Any], dict[str, Any]]:
    """SimulatePrincipalPolicy as AWS answers now: one result for each action, those of the resources inside."""

    def answer(sent: Any) -> dict[str, Any]:
        keys = {one["ContextKeyName"]: one["ContextKeyValues"] for one in sent.get("ContextEntries", [])}
        (resource,) = sent["ResourceArns"]
        results = []
        for action in sent["ActionNames"]:
            given = {"EvalDecision": "allowed", **(decide(action, resource, keys) or {})}
            inside = {"EvalResourceName": resource, "EvalResourceDecision": given["EvalDecision"]}
            for name in ("MissingContextValues", "MatchedStatements", "PermissionsBoundaryDecisionDetail"):
                if name in given:
                    inside[name] = given[name]
            results.append({"EvalActionName": action, **given, "ResourceSpecificResults": [inside]})
        return {"EvaluationResults": results, "IsTruncated": False}

    return answer


def aws(**answers: Any) -> FakeAws:
    def attribute(sent: Any) -> dict[str, Any]:
        return {sent["Attribute"][0].upper() + sent["Attribute"][1:]: {"Value": True}}

    out = {"SecurityGroupRuleId": "sgr-9", "GroupId": "sg-task", "IsEgress": True, "IpProtocol": "-1"}
    database = preflight_stand.aws().answers["ec2.describe_security_group_rules"]

    def rules(sent: Any) -> Any:
        return {"SecurityGroupRules": [out]} if sent["Filters"][0]["Values"] == ["sg-task"] else database

    limits = {
        "application-load-balancers": 50,
        "target-groups": 3000,
        "listeners-per-application-load-balancer": 50,
        "rules-per-application-load-balancer": 100,
        "targets-per-application-load-balancer": 1000,
    }
    cluster = {"clusterName": shapes.CLUSTER, "status": "ACTIVE", "activeServicesCount": 1}
    base: dict[str, Any] = {
        "ecs.describe_services": {"services": [service()]},
        "ecs.describe_clusters": {"clusters": [cluster]},
        "ecs.describe_task_definition": {"taskDefinition": definition()},
        "ecs.describe_tasks": shapes.answers([shapes.task(1, platformVersion="1.4.0", launchType="FARGATE")])[
            "ecs.describe_tasks"
        ],
        "iam.simulate_principal_policy": simulation(),
        "logs.describe_log_groups": {"logGroups": [{"logGroupName": "/ecs/papyrus-task"}]},
        "ec2.describe_security_group_rules": rules,
        "ec2.describe_nat_gateways": {"NatGateways": []},
        "ec2.describe_vpc_endpoints": {"VpcEndpoints": []},
        "ec2.describe_vpc_attribute": attribute,
        "elbv2.describe_account_limits": {
            "Limits": [{"Name": name, "Max": str(most)} for name, most in limits.items()]
        },
        "service-quotas.list_service_quotas": {
            "Quotas": [{"QuotaCode": "L-E79EC296", "Value": 2500.0}, {"QuotaCode": "L-0EA8095F", "Value": 60.0}]
        },
    }
    named = {
        name.replace("__", ".").replace("service_quotas.", "service-quotas."): one for name, one in answers.items()
    }
    fake = FakeAws({**preflight_stand.aws().answers, **base, **named})
    fake.date = _names.utc_now().strftime("%a, %d %b %Y %H:%M:%S GMT")
    return fake


def evaluate(fake: FakeAws, only: Sequence[str] = (), **changes: Any) -> dict[str, _rows.Row]:
    """The rows by id; all, or B10 and those of `only`."""
    facts = Facts(fake, settings(**changes))
    if not only:
        return {row.id: row for row in _doctor.run(facts)}
    checks = [check for section in _doctor.SECTIONS for check in section.checks if check.id in only]
    assert len(checks) == len(only), only
    return {row.id: row for row in _preflight.run(_preflight_report.IDENTITY, checks, facts)}
