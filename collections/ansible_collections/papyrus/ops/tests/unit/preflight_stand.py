# Copyright: (c) 2026, papyrus.ops contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An account in which every row of the preflight is OK, for tests to change one thing of."""

from __future__ import annotations

import json
from typing import Any

from ansible_collections.papyrus.ops.plugins.module_utils import _preflight, _preflight_report, _rows
from ansible_collections.papyrus.ops.plugins.module_utils._preflight import Facts, Settings
from ansible_collections.papyrus.ops.tests.unit import ecs_shapes as shapes
from ansible_collections.papyrus.ops.tests.unit.aws_fake import FakeAws

RUN_ID = "20260131T120000Z-abc234"
HOST = "papyrus-prd.abc.us-west-2.rds.amazonaws.com"
PASSWORD = "the-password-nobody-may-see"
SECRET = {"host": HOST, "port": 5432, "dbname": "papyrus", "username": "papyrus_app", "password": PASSWORD}
INSTANCE = {
    "DBInstanceIdentifier": "papyrus-prd",
    "DBInstanceStatus": "available",
    "Engine": "postgres",
    "EngineVersion": "16.4",
    "MasterUsername": "master",
    "DBName": "papyrus",
    "Endpoint": {"Address": HOST, "Port": 5432},
    "DBParameterGroups": [{"DBParameterGroupName": "papyrus", "ParameterApplyStatus": "in-sync"}],
    "VpcSecurityGroups": [{"VpcSecurityGroupId": "sg-db", "Status": "active"}],
}
FORCE_SSL = {"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyType": "dynamic"}
SUBNETS = [
    {"SubnetId": f"subnet-{zone}", "AvailabilityZone": f"us-west-2{zone}", "VpcId": "vpc-1"} for zone in ("a", "b")
]
ROUTE_TABLE = {
    "VpcId": "vpc-1",
    "Associations": [{"Main": True}],
    "Routes": [{"DestinationCidrBlock": "0.0.0.0/0", "GatewayId": "igw-1", "State": "active"}],
}


def settings(**changes: Any) -> Settings:
    given: dict[str, Any] = {
        "account_id": "123456789012",
        "region": "us-west-2",
        "cluster": shapes.CLUSTER,
        "service": shapes.SERVICE,
        "container": "app",
        "task_family": "papyrus-task",
        "secret_id": "papyrus/prd/db",
        "db_instance": "papyrus-prd",
        "db_username_rule": "papyrus_app",
        "vpc_id": "vpc-1",
        "tasks_sg_id": "sg-task",
        "alb_subnet_ids": ("subnet-a", "subnet-b"),
        "alb_ingress_cidrs": ("203.0.113.7/32",),
        "run_id": RUN_ID,
        "credentials": {"kind": "static"},
        "timeout": 20.0,
    }
    return Settings(**{**given, **changes})


def aws(**answers: Any) -> FakeAws:
    who = {"Account": "123456789012", "Arn": "arn:aws:iam::123456789012:user/runner", "UserId": "AIDA"}
    rule = {
        "SecurityGroupRuleId": "sgr-0",
        "GroupId": "sg-db",
        "IsEgress": False,
        "IpProtocol": "tcp",
        "FromPort": 5432,
        "ToPort": 5432,
        "ReferencedGroupInfo": {"GroupId": "sg-task"},
    }
    base: dict[str, Any] = {
        **shapes.answers([shapes.task(1)]),
        "sts.get_caller_identity": who,
        "ecs.describe_services": {"services": [shapes.service()]},
        "ecs.describe_clusters": {"clusters": [{"clusterName": shapes.CLUSTER}]},
        "rds.describe_db_instances": {"DBInstances": [INSTANCE]},
        "rds.describe_db_parameters": {"Parameters": [FORCE_SSL]},
        "rds.describe_events": {"Events": []},
        "secretsmanager.get_secret_value": {"ARN": "arn:secret", "SecretString": json.dumps(SECRET)},
        "ec2.describe_security_group_rules": {"SecurityGroupRules": [rule]},
        "ec2.describe_subnets": {"Subnets": SUBNETS},
        "ec2.describe_route_tables": {"RouteTables": [ROUTE_TABLE]},
        "ec2.describe_security_groups": {"SecurityGroups": []},
        "elbv2.describe_load_balancers": {"LoadBalancers": []},
        "elbv2.describe_target_groups": {"TargetGroups": []},
    }
    return FakeAws({**base, **{name.replace("__", "."): answer for name, answer in answers.items()}})


def evaluate(fake: FakeAws, asked: Settings | None = None) -> tuple[dict[str, _rows.Row], Facts]:
    facts = Facts(fake, asked or settings())
    rows = _preflight.run(_preflight_report.IDENTITY, _preflight_report.CHECKS, facts)
    return {row.id: row for row in rows}, facts
