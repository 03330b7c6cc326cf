"""Every playbook of a runner passes under its role and asks for nothing else; what they ask for is recorded (H2).

    pytest -m soak -n0 tests/e2e/test_roles_soak.py

writes tests/terraform/policies/recorded.json; then `python -m tests.terraform.policies.report` makes the pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from tests.terraform.policies import report

from .recorded import changed_app
from .roles_stand import LEDGER, PREFIX, SERVICE, RolesStand, roles_stand
from .test_least_privilege import marks, new_run

pytestmark = pytest.mark.soak
CLUSTER = "papyrus-ecs-prd"


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RolesStand]:
    with roles_stand(tmp_path_factory.mktemp("roles")) as made:
        yield made


def left_by_a_smoke(stand: RolesStand) -> str:
    """Everything of a smoke that ended ten minutes ago, made by its role. Returns the run's id."""
    ec2, elbv2 = stand.roles.client("smoke", "ec2"), stand.roles.client("smoke", "elbv2")
    given, (run_id, end) = stand.roles.variables, new_run()
    name, mine = f"papyrus-smoke-{run_id[-6:]}", marks(run_id, end)
    description = f"papyrus run {run_id} until {end} of {SERVICE}"
    group = ec2.create_security_group(
        GroupName=name, Description=description, VpcId=given["vpc_id"],
        TagSpecifications=[{"ResourceType": "security-group", "Tags": mine}],
    )["GroupId"]  # fmt: skip
    pair = [{"GroupId": group, "Description": description}]
    permission = {"IpProtocol": "tcp", "FromPort": 5000, "ToPort": 5000, "UserIdGroupPairs": pair}
    ec2.authorize_security_group_ingress(GroupId=given["tasks_sg_id"], IpPermissions=[permission])
    made = elbv2.create_load_balancer(
        Name=name, Subnets=given["subnet_ids"], SecurityGroups=[group], Scheme="internet-facing", Tags=mine
    )["LoadBalancers"][0]["LoadBalancerArn"]
    elbv2.create_target_group(
        Name=name, Protocol="HTTP", Port=5000, TargetType="ip", VpcId=given["vpc_id"], Tags=mine
    )  # fmt: skip
    forbidden = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "403"}}
    elbv2.create_listener(LoadBalancerArn=made, Protocol="HTTP", Port=80, DefaultActions=[forbidden])
    return run_id


def left_by_a_drill(stand: RolesStand) -> str:
    """What a drill that ended ten minutes ago made beside its load balancer, by root: no runner's role makes it."""
    (run_id, end), client = new_run(), stand.sandbox.client
    name, mine = f"papyrus-drill-{run_id[-6:]}", marks(run_id, end)
    lower = [{"key": tag["Key"], "value": tag["Value"]} for tag in mine]
    topic = client("sns").create_topic(Name=f"{SERVICE}-alarms")["TopicArn"]
    client("cloudwatch").put_metric_alarm(
        AlarmName=f"{SERVICE}-cpu-drill-{run_id[-6:]}", Namespace="papyrus/Drill", MetricName="CPUUtilization",
        Statistic="Average", Period=60, EvaluationPeriods=1, Threshold=80, ComparisonOperator="GreaterThanThreshold",
        Tags=mine,
    )  # fmt: skip
    queue = client("sqs").create_queue(QueueName=name, tags={tag["Key"]: tag["Value"] for tag in mine})["QueueUrl"]
    address = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    client("sns").subscribe(TopicArn=topic, Protocol="sqs", Endpoint=address)
    ecs = client("ecs")
    running = ecs.describe_services(cluster=CLUSTER, services=[SERVICE])["services"][0]
    ecs.create_service(
        cluster=CLUSTER, serviceName=name, taskDefinition=running["taskDefinition"], desiredCount=0,
        launchType="FARGATE", networkConfiguration=running["networkConfiguration"], tags=lower,
    )  # fmt: skip
    ecs.register_task_definition(
        family=f"papyrus-task-drill-{run_id[-6:]}", containerDefinitions=[{"name": "app", "image": "nobody/has:it"}],
        requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512", tags=lower,
    )  # fmt: skip
    return run_id


def with_a_recorder(stand: RolesStand) -> None:
    """A recorder of Config, so that there are items to export."""
    config, region = stand.sandbox.client("config"), stand.sandbox.facts["region"]
    stand.sandbox.client("s3").create_bucket(Bucket="items", CreateBucketConfiguration={"LocationConstraint": region})
    group = {"resourceTypes": ["AWS::EC2::SecurityGroup"]}
    role = "arn:aws:iam::123456789012:role/config"
    config.put_configuration_recorder(
        ConfigurationRecorder={"name": "default", "roleARN": role, "recordingGroup": group}
    )
    config.put_delivery_channel(DeliveryChannel={"name": "default", "s3BucketName": "items"})
    config.start_configuration_recorder(ConfigurationRecorderName="default")


def public_key(stand: RolesStand, folder: Path) -> Path:
    """The signing key's public half, as whoever has the key gives it to auditors."""
    given = stand.sandbox.client("kms").get_public_key(KeyId=stand.roles.variables["signing_key_arn"])["PublicKey"]
    path = folder / "key.pem"
    path.write_bytes(load_der_public_key(given).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_H2_every_playbook_passes_under_its_role(stand: RolesStand, tmp_path: Path) -> None:
    with_a_recorder(stand)
    left = left_by_a_smoke(stand)
    smoke = stand.run("smoke", "alb_smoke")
    assert smoke.exit_code == 0, smoke.output[-4000:]
    assert left in smoke.item("leftovers_swept.json")  # B9: its own role takes away what its runs have left

    broken = [{"name": "healthz", "path": "/healthz", "expect": {"status": [418]}}]
    failed = stand.run("smoke", "alb_smoke", {"papyrus_probes": broken, "papyrus_db_paths": ["cli"]}, "failing")
    assert failed.exit_code != 0
    assert failed.verdict["result"] == "FAILED"
    assert json.loads(failed.item("alb_sg_verify_gone.json"))["gone"] is True

    schema = stand.run("release", "schema")
    assert schema.exit_code == 0, schema.output[-4000:]
    release = stand.run("release", "release", {**changed_app(tmp_path), "rollout_interval": 1})
    assert release.exit_code == 0, release.output[-4000:]
    assert release.verdict["release"]["result"] == "deployed"

    runs = [left_by_a_smoke(stand), left_by_a_drill(stand)]
    swept = stand.run("sweep", "sweep", {"papyrus_sweep_timeout": 120, "papyrus_sweep_interval": 1})
    assert swept.exit_code == 0, swept.output[-4000:]
    deleted = swept.item("alb_sg_delete.log")
    for kind in ("DeleteLoadBalancer", "DeleteTargetGroup", "RevokeSecurityGroupIngress", "DeleteSecurityGroup"):
        assert kind in deleted, deleted
    for kind in ("DeleteAlarms", "DeleteQueue", "Unsubscribe", "DeleteService", "DeregisterTaskDefinition"):
        assert kind in deleted, deleted
    assert all(run_id in swept.item("alb_sg_leftover.json") for run_id in runs)

    export = stand.run("export", "audit_export", {"papyrus_audit_parts": ["cloudtrail", "config", "logs"]})
    assert export.exit_code == 0, export.output[-4000:]
    verified = stand.run(
        "export",
        "verify_evidence",
        {
            "papyrus_verify_environment": stand.roles.environment("export"),
            "papyrus_verify_bundle": str(smoke.bundle),
            "papyrus_verify_key": str(public_key(stand, tmp_path)),
            "papyrus_verify_ledger": f"s3://{LEDGER}/{PREFIX}?owner=123456789012",
            "papyrus_verify_only_shown": True,
            "papyrus_verify_online": True,
            # What is younger than a quarter of an hour may still be missing in the event history.
            "papyrus_verify_accept": ["ok", "incomplete"],
        },
    )
    assert verified.exit_code == 0, verified.output[-4000:]

    stand.write()
    wrong: dict[str, Any] = {role: report.unexplained(role) for role in stand.record()}
    assert {role: text for role, text in wrong.items() if text} == {}
