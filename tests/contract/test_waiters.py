"""boto3's own waiters, unmodified: each ends, fails, or goes on asking where it does so on AWS."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import WaiterError

from tests.contract.conftest import Web
from tests.sandbox.ecs_stand import TRUST, Stand
from tests.sandbox.support import Sandbox

NEVER = "Max attempts exceeded"
# Words of a waiter that sees a state from which the awaited one is not reached.
TERMINAL = "terminal failure"


def wait(client: Any, name: str, attempts: int = 30, delay: float = 1, **parameters: Any) -> None:
    client.get_waiter(name).wait(WaiterConfig={"Delay": delay, "MaxAttempts": attempts}, **parameters)


@contextlib.contextmanager
def fails(words: str) -> Iterator[None]:
    with pytest.raises(WaiterError) as caught:
        yield
    assert words in str(caught.value)


def goes_on(client: Any, name: str, **parameters: Any) -> None:
    """The waiter finds cause to ask again, and stops only because it may not any more."""
    with fails(NEVER):
        wait(client, name, attempts=2, delay=0.1, **parameters)


def test_elbv2_a_load_balancer_is_awaited_from_its_creation_to_its_end(stand: Stand) -> None:
    elbv2 = stand.sandbox.client("elbv2")
    goes_on(elbv2, "load_balancer_exists", Names=["contract-waited"])
    goes_on(elbv2, "load_balancer_available", Names=["contract-waited"])
    arn = elbv2.create_load_balancer(
        Name="contract-waited", Subnets=stand.network.subnets, SecurityGroups=[stand.network.group]
    )["LoadBalancers"][0]["LoadBalancerArn"]
    wait(elbv2, "load_balancer_exists", attempts=1, LoadBalancerArns=[arn])
    goes_on(elbv2, "load_balancer_available", LoadBalancerArns=[arn])
    wait(elbv2, "load_balancer_available", LoadBalancerArns=[arn])
    goes_on(elbv2, "load_balancers_deleted", LoadBalancerArns=[arn])
    elbv2.delete_load_balancer(LoadBalancerArn=arn)
    wait(elbv2, "load_balancers_deleted", LoadBalancerArns=[arn])


def test_elbv2_targets_come_into_service_and_leave_it(web: Web) -> None:
    elbv2 = web.stand.sandbox.client("elbv2")
    wait(elbv2, "target_in_service", TargetGroupArn=web.group)
    nobody = {
        "Id": f"{web.stand.tasks(web.service)[0]['attachments'][0]['details'][-1]['value'].rsplit('.', 1)[0]}.250"
    }
    elbv2.register_targets(TargetGroupArn=web.group, Targets=[nobody])
    goes_on(elbv2, "target_in_service", TargetGroupArn=web.group, Targets=[nobody])
    goes_on(elbv2, "target_deregistered", TargetGroupArn=web.group, Targets=[nobody])
    elbv2.modify_target_group_attributes(
        TargetGroupArn=web.group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}]
    )
    elbv2.deregister_targets(TargetGroupArn=web.group, Targets=[nobody])
    wait(elbv2, "target_deregistered", TargetGroupArn=web.group, Targets=[nobody])
    wait(elbv2, "target_in_service", TargetGroupArn=web.group)


def test_elbv2_a_waiter_passes_on_that_the_group_does_not_exist(web: Web) -> None:
    elbv2 = web.stand.sandbox.client("elbv2")
    with fails("TargetGroupNotFound"):
        wait(elbv2, "target_in_service", TargetGroupArn=f"{web.group[:-16]}0123456789abcdef")


def test_ecs_a_service_is_stable_after_each_rollout(web: Web) -> None:
    ecs = web.stand.ecs
    name = {"cluster": web.stand.cluster, "services": [web.service]}
    wait(ecs, "services_stable", **name)
    ecs.update_service(cluster=web.stand.cluster, service=web.service, forceNewDeployment=True)
    goes_on(ecs, "services_stable", **name)
    wait(ecs, "services_stable", attempts=60, **name)


def test_ecs_a_service_that_cannot_start_is_never_stable_and_a_missing_one_fails(stand: Stand) -> None:
    stand.create("contract-stuck", stand.define("contract-stuck", {"image": stand.tagged("no-such-image")}))
    name = {"cluster": stand.cluster, "services": ["contract-stuck"]}
    with fails(NEVER):
        wait(stand.ecs, "services_stable", attempts=4, **name)
    goes_on(stand.ecs, "services_inactive", **name)
    stand.ecs.delete_service(cluster=stand.cluster, service="contract-stuck", force=True)
    wait(stand.ecs, "services_inactive", **name)
    with fails(TERMINAL):
        wait(stand.ecs, "services_stable", **name)
    with fails(TERMINAL):
        wait(stand.ecs, "services_stable", cluster=stand.cluster, services=["contract-nobody"])


def test_ecs_tasks_run_and_stop(stand: Stand, sleeper: str) -> None:
    arn = stand.run(sleeper)
    task = {"cluster": stand.cluster, "tasks": [arn]}
    wait(stand.ecs, "tasks_running", **task)
    goes_on(stand.ecs, "tasks_stopped", **task)
    stand.ecs.stop_task(cluster=stand.cluster, task=arn)
    wait(stand.ecs, "tasks_stopped", **task)
    with fails(TERMINAL):
        wait(stand.ecs, "tasks_running", **task)
    with fails(TERMINAL):
        wait(stand.ecs, "tasks_running", cluster=stand.cluster, tasks=["0" * 32])


def test_rds_an_instance_becomes_available_and_goes(stand: Stand) -> None:
    rds = stand.sandbox.client("rds")
    rds.create_db_subnet_group(
        DBSubnetGroupName="contract", DBSubnetGroupDescription="contract", SubnetIds=stand.network.subnets
    )
    name = {"DBInstanceIdentifier": "contract"}
    with fails("DBInstanceNotFound"):
        wait(rds, "db_instance_available", **name)
    rds.create_db_instance(
        **name,
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="papyrus",
        MasterUserPassword="contract-secret",
        DBSubnetGroupName="contract",
        VpcSecurityGroupIds=[stand.network.group],
    )
    with fails(TERMINAL):
        wait(rds, "db_instance_deleted", **name)
    wait(rds, "db_instance_available", **name)
    goes_on(rds, "db_instance_deleted", **name)
    rds.delete_db_instance(**name, SkipFinalSnapshot=True)
    wait(rds, "db_instance_deleted", **name)
    rds.delete_db_subnet_group(DBSubnetGroupName="contract")


def test_ec2_what_is_there_is_found_and_what_is_not_is_awaited_or_fails(stand: Stand) -> None:
    ec2, network = stand.sandbox.client("ec2"), stand.network
    wait(ec2, "vpc_available", VpcIds=[network.vpc])
    wait(ec2, "vpc_exists", VpcIds=[network.vpc])
    wait(ec2, "subnet_available", SubnetIds=network.subnets)
    wait(ec2, "security_group_exists", GroupIds=[network.group])
    interface = ec2.create_network_interface(SubnetId=network.subnets[0])["NetworkInterface"]["NetworkInterfaceId"]
    wait(ec2, "network_interface_available", NetworkInterfaceIds=[interface])
    ec2.delete_network_interface(NetworkInterfaceId=interface)
    with fails("InvalidNetworkInterfaceID.NotFound"):
        wait(ec2, "network_interface_available", NetworkInterfaceIds=[interface])
    goes_on(ec2, "vpc_exists", VpcIds=["vpc-00000000000000001"])
    goes_on(ec2, "security_group_exists", GroupIds=["sg-00000000000000001"])
    with fails("InvalidVpcID.NotFound"):
        wait(ec2, "vpc_available", VpcIds=["vpc-00000000000000001"])
    with fails("InvalidSubnetID.NotFound"):
        wait(ec2, "subnet_available", SubnetIds=["subnet-00000000000000001"])


def test_iam_what_is_created_exists(sandbox: Sandbox) -> None:
    iam = sandbox.client("iam")
    goes_on(iam, "role_exists", RoleName="contract-role")
    goes_on(iam, "user_exists", UserName="contract-user")
    goes_on(iam, "policy_exists", PolicyArn="arn:aws:iam::123456789012:policy/contract-policy")
    document = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'
    iam.create_role(RoleName="contract-role", AssumeRolePolicyDocument=str(TRUST).replace("'", '"'))
    iam.create_user(UserName="contract-user")
    policy = iam.create_policy(PolicyName="contract-policy", PolicyDocument=document)["Policy"]["Arn"]
    wait(iam, "role_exists", RoleName="contract-role")
    wait(iam, "user_exists", UserName="contract-user")
    wait(iam, "policy_exists", PolicyArn=policy)
    iam.delete_role(RoleName="contract-role")
    iam.delete_user(UserName="contract-user")
    iam.delete_policy(PolicyArn=policy)


def test_cloudwatch_an_alarm_exists(sandbox: Sandbox) -> None:
    cloudwatch = sandbox.client("cloudwatch")
    goes_on(cloudwatch, "alarm_exists", AlarmNames=["contract"])
    cloudwatch.put_metric_alarm(
        AlarmName="contract",
        MetricName="m",
        Namespace="n",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=1,
        ComparisonOperator="GreaterThanThreshold",
    )
    wait(cloudwatch, "alarm_exists", AlarmNames=["contract"])
    cloudwatch.delete_alarms(AlarmNames=["contract"])
    goes_on(cloudwatch, "alarm_exists", AlarmNames=["contract"])


def test_s3_buckets_and_objects_come_and_go(sandbox: Sandbox) -> None:
    s3 = sandbox.client("s3")
    bucket, entry = {"Bucket": "contract-waited"}, {"Bucket": "contract-waited", "Key": "a/b"}
    goes_on(s3, "bucket_exists", **bucket)
    wait(s3, "bucket_not_exists", **bucket)
    s3.create_bucket(**bucket, CreateBucketConfiguration={"LocationConstraint": sandbox.facts["region"]})
    wait(s3, "bucket_exists", **bucket)
    goes_on(s3, "bucket_not_exists", **bucket)
    goes_on(s3, "object_exists", **entry)
    s3.put_object(**entry, Body=b"x")
    wait(s3, "object_exists", **entry)
    goes_on(s3, "object_not_exists", **entry)
    s3.delete_object(**entry)
    wait(s3, "object_not_exists", **entry)
    s3.delete_bucket(**bucket)
    wait(s3, "bucket_not_exists", **bucket)
