"""Terraform's provider, unmodified, with the stacks of infra/: applied, nothing left to change, destroyed, gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.ecs_stand import server
from tests.sandbox.support import CHECKOUT, Sandbox, open_folder
from tests.terraform import stacks

TERRAFORM = CHECKOUT / ".sandbox" / "bin" / "terraform"
# As they are applied; destroyed the other way round.
ORDER = ["00-network", "10-rds", "15-ecs", "20-alb"]
# Stacks with tests of their own: test_monitor.py; test_alarm_drill.py and test_least_privilege.py of tests/e2e.
ELSEWHERE = {"30-monitor", "40-drill", "iam"}


@dataclass
class Stacks:
    """Private copies of the stacks in one folder, applied to one sandbox."""

    sandbox: Sandbox
    folder: Path
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def terraform(self, stack: str, *words: str) -> subprocess.CompletedProcess[str]:
        facts = self.sandbox.facts
        mine = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "TF_"))}
        environment = {
            **mine,
            "TF_CLI_CONFIG_FILE": str(CHECKOUT / ".sandbox" / "terraform" / "terraform.rc"),
            "TF_IN_AUTOMATION": "1",
            "TF_VAR_sandbox_endpoint": self.sandbox.endpoint,
            "AWS_ACCESS_KEY_ID": facts["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": facts["secret_access_key"],
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        return subprocess.run(
            [str(TERRAFORM), *words],
            cwd=self.folder / stack,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )

    def apply(self, stack: str, **variables: Any) -> dict[str, Any]:
        """Apply the stack with these variables; its outputs."""
        work = self.folder / stack
        work.mkdir()
        for path in [*stacks.files(stack), *(CHECKOUT / "sandbox" / "terraform").glob("*.tf")]:
            shutil.copy(path, work)
        given = {"region": self.sandbox.facts["region"], **variables}
        (work / "stack.auto.tfvars.json").write_text(json.dumps(given))
        for words in (("init", "-input=false", "-no-color"), ("apply", "-auto-approve", "-input=false", "-no-color")):
            done = self.terraform(stack, *words)
            assert done.returncode == 0, done.stdout + done.stderr
        shown = json.loads((work / "terraform.tfstate").read_text())["outputs"]
        self.outputs[stack] = {name: output["value"] for name, output in shown.items()}
        return self.outputs[stack]


@pytest.fixture(scope="module")
def applied() -> Iterator[Stacks]:
    """All stacks, in a sandbox of their own: they want the whole range of addresses."""
    with open_folder() as root:
        sandbox = Sandbox(root)
        try:
            sandbox.up()
            made = Stacks(sandbox, root)
            apply_all(made)
            yield made
        finally:
            sandbox.down()


def apply_all(made: Stacks) -> None:
    network = made.apply("00-network", name="contract", vpc_cidr=made.sandbox.facts["vpc_cidr"])
    group = network["ecs_tasks_sg_id"]
    database = made.apply(
        "10-rds",
        identifier="contract-db",
        vpc_id=network["vpc_id"],
        subnet_ids=network["database_subnet_ids"],
        ecs_tasks_sg_id=group,
        master_password="contract-master",
        secret_name="contract/db",
        secret_recovery_days=0,
        deletion_protection=False,
        skip_final_snapshot=True,
        backup_retention_period=0,
    )
    secret = {"host": database["db_address"], "password": "contract-app"}
    made.sandbox.client("secretsmanager").put_secret_value(
        SecretId=database["db_secret_arn"], SecretString=json.dumps(secret)
    )
    made.sandbox.client("ecr").create_repository(repositoryName="contract-image")
    image = made.sandbox.push("contract-image", "t", {"app/x.py": server("contract")}, ["python", "x.py"])
    service = made.apply(
        "15-ecs",
        cluster="contract-cluster",
        service="contract-service",
        task_family="contract-task",
        container="app",
        port=5000,
        repository="contract-app",
        image=image,
        db_secret_arn=database["db_secret_arn"],
        subnet_ids=network["public_subnet_ids"],
        ecs_tasks_sg_id=group,
        task_role="contractTaskRole",
        execution_role="contractExecutionRole",
    )
    made.apply(
        "20-alb",
        name="contract-alb",
        service="contract-service",
        run_id="20260131T120000Z-abc234",
        expires_at="2030-01-01T00:00:00Z",
        vpc_id=network["vpc_id"],
        subnet_ids=network["public_subnet_ids"],
        ecs_tasks_sg_id=group,
        app_port=5000,
        ingress_cidrs=["127.0.0.1/32"],
        alb_log_bucket=service["alb_log_bucket"],
        header_name="X-Contract",
        header_value="contract0header0value0123456789",
    )


@pytest.mark.parametrize("stack", ORDER)
def test_nothing_is_left_to_change(applied: Stacks, stack: str) -> None:
    planned = applied.terraform(stack, "plan", "-detailed-exitcode", "-input=false", "-no-color")
    assert planned.returncode == 0, planned.stdout + planned.stderr


def test_after_destroy_nothing_of_the_stacks_is_there(applied: Stacks) -> None:
    """Every resource in the states is asked for by boto3: before the destroy it is there, afterwards it is not."""
    assert set(ORDER) == set(stacks.NAMES) - ELSEWHERE
    asked = {
        f"{resource['type']}.{resource['name']}": (resource["type"], instance["attributes"])
        for stack in ORDER
        for resource in json.loads((applied.folder / stack / "terraform.tfstate").read_text())["resources"]
        for instance in resource["instances"]
        if resource["mode"] == "managed"
    }
    assert len(asked) >= 30
    assert [name for name, (kind, of) in asked.items() if not exists(applied.sandbox, kind, of)] == []
    for stack in reversed(ORDER):
        done = applied.terraform(stack, "destroy", "-auto-approve", "-input=false", "-no-color")
        assert done.returncode == 0, done.stdout + done.stderr
        assert json.loads((applied.folder / stack / "terraform.tfstate").read_text())["resources"] == []
    assert [name for name, (kind, of) in asked.items() if exists(applied.sandbox, kind, of)] == []


Attributes = dict[str, Any]
Client = Callable[[str], Any]


def exists(sandbox: Sandbox, kind: str, of: Attributes) -> bool:
    """Whether AWS knows the resource of the state: what a describe call of its own finds, or a rule in its owner."""
    try:
        return bool(LOOKS[kind](sandbox.client, of))
    except ClientError as error:
        code = error.response["Error"]["Code"]
        assert "NotFound" in code or code in GONE, error
        return False


GONE = {
    "ClusterNotFoundException",
    "DBInstanceNotFound",
    "NoSuchBucket",
    "NoSuchBucketPolicy",
    "NoSuchEntity",
    "NoSuchPublicAccessBlockConfiguration",
    "404",
}


def _group_rule(client: Client, of: Attributes) -> list[Any]:
    """Rules of the group with the ports and one of the sources that the state has."""
    groups = client("ec2").describe_security_groups(GroupIds=[of["security_group_id"]])["SecurityGroups"]
    rules = groups[0]["IpPermissions" if of["type"] == "ingress" else "IpPermissionsEgress"]
    source = of["source_security_group_id"] or (of["cidr_blocks"] or of["ipv6_cidr_blocks"] or [""])[0]
    return [
        rule
        for rule in rules
        if rule.get("FromPort", of["from_port"]) == of["from_port"]
        and source in {r.get("CidrIp") for r in rule["IpRanges"]} | {p["GroupId"] for p in rule["UserIdGroupPairs"]}
    ]


def _route(client: Client, of: Attributes) -> list[Any]:
    tables = client("ec2").describe_route_tables(RouteTableIds=[of["route_table_id"]])["RouteTables"]
    return [r for r in tables[0]["Routes"] if r.get("DestinationCidrBlock") == of["destination_cidr_block"]]


def _association(client: Client, of: Attributes) -> list[Any]:
    tables = client("ec2").describe_route_tables(RouteTableIds=[of["route_table_id"]])["RouteTables"]
    return [a for a in tables[0]["Associations"] if a["RouteTableAssociationId"] == of["id"]]


def _log_group(client: Client, of: Attributes) -> list[Any]:
    groups = client("logs").describe_log_groups(logGroupNamePrefix=of["name"])["logGroups"]
    return [group for group in groups if group["logGroupName"] == of["name"]]


def _active(records: list[dict[str, Any]]) -> list[Any]:
    """ECS keeps what was deleted for a while, and says so."""
    return [record for record in records if record["status"] == "ACTIVE"]


LOOKS: dict[str, Callable[[Client, Attributes], Any]] = {
    "aws_vpc": lambda c, of: c("ec2").describe_vpcs(VpcIds=[of["id"]])["Vpcs"],
    "aws_subnet": lambda c, of: c("ec2").describe_subnets(SubnetIds=[of["id"]])["Subnets"],
    "aws_internet_gateway": lambda c, of: c("ec2").describe_internet_gateways(InternetGatewayIds=[of["id"]])[
        "InternetGateways"
    ],
    "aws_route_table": lambda c, of: c("ec2").describe_route_tables(RouteTableIds=[of["id"]])["RouteTables"],
    "aws_route": _route,
    "aws_route_table_association": _association,
    "aws_security_group": lambda c, of: c("ec2").describe_security_groups(GroupIds=[of["id"]])["SecurityGroups"],
    "aws_security_group_rule": _group_rule,
    "aws_db_subnet_group": lambda c, of: c("rds").describe_db_subnet_groups(DBSubnetGroupName=of["name"])[
        "DBSubnetGroups"
    ],
    "aws_db_parameter_group": lambda c, of: c("rds").describe_db_parameter_groups(DBParameterGroupName=of["name"])[
        "DBParameterGroups"
    ],
    "aws_db_instance": lambda c, of: c("rds").describe_db_instances(DBInstanceIdentifier=of["identifier"])[
        "DBInstances"
    ],
    "aws_secretsmanager_secret": lambda c, of: (
        "DeletedDate" not in c("secretsmanager").describe_secret(SecretId=of["arn"])
    ),
    "aws_iam_role": lambda c, of: c("iam").get_role(RoleName=of["name"]),
    "aws_iam_role_policy": lambda c, of: c("iam").get_role_policy(RoleName=of["role"], PolicyName=of["name"]),
    "aws_s3_bucket": lambda c, of: c("s3").head_bucket(Bucket=of["bucket"]),
    "aws_s3_bucket_public_access_block": lambda c, of: c("s3").get_public_access_block(Bucket=of["bucket"]),
    "aws_s3_bucket_policy": lambda c, of: c("s3").get_bucket_policy(Bucket=of["bucket"]),
    "aws_ecr_repository": lambda c, of: c("ecr").describe_repositories(repositoryNames=[of["name"]])["repositories"],
    "aws_ecs_cluster": lambda c, of: _active(c("ecs").describe_clusters(clusters=[of["arn"]])["clusters"]),
    "aws_cloudwatch_log_group": _log_group,
    "aws_ecs_task_definition": lambda c, of: _active(
        [c("ecs").describe_task_definition(taskDefinition=of["arn"])["taskDefinition"]]
    ),
    "aws_ecs_service": lambda c, of: _active(
        c("ecs").describe_services(cluster=of["cluster"], services=[of["name"]])["services"]
    ),
    "aws_lb": lambda c, of: c("elbv2").describe_load_balancers(LoadBalancerArns=[of["arn"]])["LoadBalancers"],
    "aws_lb_target_group": lambda c, of: c("elbv2").describe_target_groups(TargetGroupArns=[of["arn"]])["TargetGroups"],
    "aws_lb_listener": lambda c, of: c("elbv2").describe_listeners(ListenerArns=[of["arn"]])["Listeners"],
    "aws_lb_listener_rule": lambda c, of: c("elbv2").describe_rules(RuleArns=[of["arn"]])["Rules"],
}
