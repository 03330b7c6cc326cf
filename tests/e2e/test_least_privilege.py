"""The roles of infra/iam in IAM mode: what each is refused, and whom they are refused to (H2)."""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox.support import Network, Sandbox, make_network, open_folder

from .runner_roles import ENVIRONMENTS, Roles

ACCOUNT, REGION = "123456789012", "us-west-2"
SERVICE, CLUSTER, PREFIX = "papyrus-task-service", "papyrus-ecs-prd", "papyrus"
LEDGER = "ledger-of-runs"
# How each service says that a caller may not.
DENIALS = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"}


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def new_run(minutes: int = -10) -> tuple[str, str]:
    """A run's id, and the end of its lease in so many minutes."""
    now = datetime.now(UTC)
    suffix = "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(6))
    end = (now + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{now - timedelta(minutes=60):%Y%m%dT%H%M%SZ}-{suffix}", end


def marks(run_id: str, end: str, service: str = SERVICE) -> list[dict[str, str]]:
    values = {"run-id": run_id, "expires-at": end, "service": service}
    return [{"Key": f"{PREFIX}:{name}", "Value": value} for name, value in values.items()]


@dataclass
class Stand:
    """A small account: a network, the service's cluster, a ledger, a signing key, and the roles."""

    sandbox: Sandbox
    network: Network
    other: Network
    key: str
    roles: Roles
    made: list[str] = field(default_factory=list)
    _clients: dict[tuple[str, str], Any] = field(default_factory=dict)

    def root(self, service: str) -> Any:
        return self.sandbox.client(service)

    def by(self, role: str, service: str) -> Any:
        if (role, service) not in self._clients:
            self._clients[role, service] = self.roles.client(role, service)
        return self._clients[role, service]

    # Things of a run, made by whoever is asked to; root's copies stand for what is not the role's.

    def group(self, ec2: Any, name: str, tags: list[dict[str, str]] | None, vpc: str = "") -> str:
        told = {"TagSpecifications": [{"ResourceType": "security-group", "Tags": tags}]} if tags else {}
        made = ec2.create_security_group(GroupName=name, Description="of a test", VpcId=vpc or self.network.vpc, **told)
        return str(made["GroupId"])

    def balancer(self, elbv2: Any, name: str, group: str, tags: list[dict[str, str]] | None, **more: Any) -> str:
        told: dict[str, Any] = {"Scheme": "internet-facing", "Subnets": self.network.subnets, **more}
        if tags:
            told["Tags"] = tags
        made = elbv2.create_load_balancer(Name=name, SecurityGroups=[group], **told)
        return str(made["LoadBalancers"][0]["LoadBalancerArn"])

    def targets(self, elbv2: Any, name: str, tags: list[dict[str, str]] | None) -> str:
        told = {"Tags": tags} if tags else {}
        made = elbv2.create_target_group(
            Name=name, Protocol="HTTP", Port=5000, TargetType="ip", VpcId=self.network.vpc, **told
        )
        return str(made["TargetGroups"][0]["TargetGroupArn"])


def prepared(sandbox: Sandbox, folder: Path) -> Stand:
    """An account as the permanent stacks leave it, as far as policies name it."""
    ec2, iam, s3 = sandbox.client("ec2"), sandbox.client("iam"), sandbox.client("s3")
    network = make_network(sandbox)
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=network.vpc)
    prefix = ".".join(sandbox.facts["vpc_cidr"].split(".")[:2])
    other = Network(ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"], [], "")
    other.subnets.append(
        ec2.create_subnet(VpcId=network.vpc, CidrBlock=f"{prefix}.99.0/24", AvailabilityZone=f"{REGION}c")["Subnet"][
            "SubnetId"
        ]
    )
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
    roles = {
        name: iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        for name in ("papyrusTaskRole", "papyrusTaskExecutionRole", "Administrator")
    }
    sandbox.client("ecs").create_cluster(clusterName=CLUSTER)
    s3.create_bucket(
        Bucket=LEDGER,
        ObjectLockEnabledForBucket=True,
        CreateBucketConfiguration={"LocationConstraint": REGION},
    )
    key = sandbox.client("kms").create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"]["Arn"]
    secret = {
        name: sandbox.client("secretsmanager").create_secret(Name=name, SecretString="{}")["ARN"]
        for name in ("papyrus/prd/db", "papyrus/prd/db-master", "somebody/else")
    }
    variables = {
        "region": REGION,
        "name": "papyrus-prd",
        "service": SERVICE,
        "cluster": CLUSTER,
        "task_family": "papyrus-task",
        "container": "app",
        "repository": "papyrus",
        "log_group": "/ecs/papyrus-task",
        "task_role_arn": roles["papyrusTaskRole"],
        "execution_role_arn": roles["papyrusTaskExecutionRole"],
        "db_instance": "papyrus-prd",
        "db_parameter_group": "papyrus-prd-*",
        "db_secret_arn": secret["papyrus/prd/db"],
        "db_master_secret_arn": secret["papyrus/prd/db-master"],
        "vpc_id": network.vpc,
        "subnet_ids": network.subnets,
        "tasks_sg_id": network.group,
        "ledger": {"bucket": LEDGER, "prefix": "runs"},
        "signing_key_arn": key,
        "drills": True,
        "github_repository": "example/papyrus.ops",
        "github_environments": ENVIRONMENTS,
    }
    return Stand(sandbox, network, other, key, Roles(sandbox, folder, variables).apply())


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    """In a local AWS of its own: IAM mode is for all who use one."""
    with open_folder() as root:
        sandbox = Sandbox(root)
        try:
            sandbox.up()
            made = prepared(sandbox, tmp_path_factory.mktemp("roles"))
            with sandbox.switched(iam=True):
                yield made
        finally:
            sandbox.down()


class Tried:
    """Calls that must be refused, each told by what is wrong with it."""

    def __init__(self) -> None:
        self.allowed: list[str] = []
        self.count = 0

    def __call__(self, what: str, call: Callable[..., Any], **parameters: Any) -> None:
        self.count += 1
        try:
            call(**parameters)
        except ClientError as error:
            found = error.response["Error"]
            # A call that is refused for anything but its caller proves nothing of the policies.
            if found["Code"] not in DENIALS or "not authorized to perform" not in found["Message"]:
                self.allowed.append(f"{what}: {found['Code']} {found['Message']}")
        else:
            self.allowed.append(f"{what}: was carried out")


def test_H2_a_sweep_deletes_the_marked_and_nothing_else(stand: Stand) -> None:
    ec2, elbv2 = stand.root("ec2"), stand.root("elbv2")
    sweep_ec2, sweep_elbv2, tried = stand.by("sweep", "ec2"), stand.by("sweep", "elbv2"), Tried()
    run_id, end = new_run()
    name = f"{PREFIX}-smoke-{run_id[-6:]}"

    # The smoke role makes what a run makes; the sweep role takes it away.
    group = stand.group(stand.by("smoke", "ec2"), name, marks(run_id, end))
    balancer = stand.balancer(stand.by("smoke", "elbv2"), name, group, marks(run_id, end))
    targets = stand.targets(stand.by("smoke", "elbv2"), name, marks(run_id, end))

    def spared(what: str, title: str, tags: list[dict[str, str]] | None) -> None:
        """Made by root: neither load balancer nor its group may go."""
        other = stand.group(ec2, title, tags)
        kept = stand.balancer(elbv2, title, other, tags)
        tried(f"{what}: its load balancer", sweep_elbv2.delete_load_balancer, LoadBalancerArn=kept)
        if tags != marks(run_id, end):  # by its tags alone a group cannot be told from one of a run
            tried(f"{what}: its group", sweep_ec2.delete_security_group, GroupId=other)
        elbv2.delete_load_balancer(LoadBalancerArn=kept)
        with contextlib.suppress(ClientError):
            ec2.delete_security_group(GroupId=other)

    spared("without tags, of a run's name", f"{PREFIX}-smoke-aaaaaa", None)
    spared("another service's", f"{PREFIX}-smoke-bbbbbb", marks(run_id, end, "other-service"))
    spared("without an expiry", f"{PREFIX}-smoke-cccccc", marks(run_id, end)[::2])
    spared("without a run", f"{PREFIX}-smoke-dddddd", marks(run_id, end)[1:])
    spared("a run that is none", f"{PREFIX}-smoke-eeeeee", marks("permanent", end))
    spared("a production name with leaked tags", "papyrus-prd", marks(run_id, end))
    spared("a longer name with leaked tags", f"{PREFIX}-smoke-abcdefg", marks(run_id, end))
    foreign = stand.targets(elbv2, f"{PREFIX}-smoke-ffffff", marks(run_id, end, "other-service"))
    tried("another service's targets", sweep_elbv2.delete_target_group, TargetGroupArn=foreign)
    permanent = stand.targets(elbv2, "papyrus-prd", None)
    tried("permanent targets", sweep_elbv2.delete_target_group, TargetGroupArn=permanent)

    rule = [{"IpProtocol": "tcp", "FromPort": 5432, "ToPort": 5432, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    database = stand.group(ec2, "database", None)
    ec2.authorize_security_group_ingress(GroupId=database, IpPermissions=rule)
    tried(
        "a rule of the database's group", sweep_ec2.revoke_security_group_ingress, GroupId=database, IpPermissions=rule
    )
    tried("the tasks' group", sweep_ec2.delete_security_group, GroupId=stand.network.group)
    tried(
        "a rule for the tasks' group",
        sweep_ec2.authorize_security_group_ingress,
        GroupId=stand.network.group,
        IpPermissions=rule,
    )
    tried("marks for a group", sweep_ec2.create_tags, Resources=[database], Tags=marks(run_id, end))
    tried("marks for targets", sweep_elbv2.add_tags, ResourceArns=[permanent], Tags=marks(run_id, end))
    ecs = stand.by("sweep", "ecs")
    tried("the service", ecs.delete_service, cluster=CLUSTER, service=SERVICE, force=True)
    tried("a change of the service", ecs.update_service, cluster=CLUSTER, service=SERVICE, desiredCount=0)
    tried("a task of the service", ecs.stop_task, cluster=CLUSTER, task="0" * 32)
    tried("a permanent alarm", stand.by("sweep", "cloudwatch").delete_alarms, AlarmNames=[f"{SERVICE}-memory"])
    tried("a secret", stand.by("sweep", "secretsmanager").get_secret_value, SecretId="papyrus/prd/db")
    tried("an entry of the ledger", stand.by("sweep", "s3").delete_object, Bucket=LEDGER, Key="runs/x")
    assert tried.allowed == []

    sweep_elbv2.delete_load_balancer(LoadBalancerArn=balancer)
    sweep_elbv2.delete_target_group(TargetGroupArn=targets)
    sweep_ec2.delete_security_group(GroupId=group)


def test_H2_a_smoke_makes_only_marked_things_and_changes_no_service(stand: Stand) -> None:
    ec2, elbv2, ecs, tried = (stand.by("smoke", "ec2"), stand.by("smoke", "elbv2"), stand.by("smoke", "ecs"), Tried())
    root_ec2, root_elbv2 = stand.root("ec2"), stand.root("elbv2")
    run_id, end = new_run(30)
    name, mine = f"{PREFIX}-smoke-{run_id[-6:]}", marks(run_id, end)
    group = stand.group(ec2, name, mine)

    for what, tags in (
        ("without tags", None),
        ("of another service", marks(run_id, end, "other-service")),
        ("without expiry", mine[::2]),
        ("with one tag more", [*mine, {"Key": "team", "Value": "admins"}]),
    ):
        tried(f"a group {what}", stand.group, ec2=ec2, name=f"{name}-2", tags=tags)
        tried(f"a load balancer {what}", stand.balancer, elbv2=elbv2, name=name, group=group, tags=tags)
    tried("a group in another VPC", stand.group, ec2=ec2, name=name, tags=mine, vpc=stand.other.vpc)
    tried("another name", stand.balancer, elbv2=elbv2, name="papyrus-prd", group=group, tags=mine)
    tried("another scheme", stand.balancer, elbv2=elbv2, name=name, group=group, tags=mine, Scheme="internal")
    subnets = [*stand.network.subnets[:1], *stand.other.subnets]
    tried("another subnet", stand.balancer, elbv2=elbv2, name=name, group=group, tags=mine, Subnets=subnets)
    tried("targets of another name", stand.targets, elbv2=elbv2, name="papyrus-prd", tags=mine)

    foreign_group = stand.group(root_ec2, "foreign", None)
    foreign = stand.balancer(root_elbv2, "foreign", foreign_group, None)
    theirs = stand.balancer(root_elbv2, f"{PREFIX}-smoke-zzzzzz", foreign_group, marks(run_id, end, "other-service"))
    for what, balancer in (("a foreign load balancer", foreign), ("another service's load balancer", theirs)):
        tried(f"the end of {what}", elbv2.delete_load_balancer, LoadBalancerArn=balancer)
        tried(f"our marks for {what}", elbv2.add_tags, ResourceArns=[balancer], Tags=mine)
        tried(f"groups of {what}", elbv2.set_security_groups, LoadBalancerArn=balancer, SecurityGroups=[group])
        attributes = [{"Key": "deletion_protection.enabled", "Value": "false"}]
        tried(
            f"protection of {what}",
            elbv2.modify_load_balancer_attributes,
            LoadBalancerArn=balancer,
            Attributes=attributes,
        )
        answer = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}}
        tried(
            f"a listener of {what}",
            elbv2.create_listener,
            LoadBalancerArn=balancer,
            Protocol="HTTP",
            Port=80,
            DefaultActions=[answer],
        )
    tried("our marks for a group that is there", ec2.create_tags, Resources=[foreign_group], Tags=mine)
    rule = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    tried("a rule of a foreign group", ec2.authorize_security_group_ingress, GroupId=foreign_group, IpPermissions=rule)

    container = {"name": "app", "image": "x", "essential": True}
    tried("a revision", ecs.register_task_definition, family="papyrus-task", containerDefinitions=[container])
    tried("a rollout", ecs.update_service, cluster=CLUSTER, service=SERVICE, taskDefinition="papyrus-task:1")
    tried("the end of the service", ecs.delete_service, cluster=CLUSTER, service=SERVICE, force=True)
    tried("a task without marks", ecs.run_task, cluster=CLUSTER, taskDefinition="papyrus-task:1")
    ecs_marks = [{"key": tag["Key"], "value": tag["Value"]} for tag in mine]
    tried("a task of another family", ecs.run_task, cluster=CLUSTER, taskDefinition="other:1", tags=ecs_marks)
    tried("a task elsewhere", ecs.run_task, cluster="other", taskDefinition="papyrus-task:1", tags=ecs_marks)
    stand.root("ecs").register_task_definition(
        family="papyrus-task", requiresCompatibilities=["FARGATE"], networkMode="awsvpc", cpu="256", memory="512",
        containerDefinitions=[container],
    )  # fmt: skip
    place = {"launchType": "FARGATE", "networkConfiguration": stand.network.configuration}
    administrator = {"taskRoleArn": f"arn:aws:iam::{ACCOUNT}:role/Administrator"}
    tried(
        "a task with another role",
        ecs.run_task,
        cluster=CLUSTER,
        taskDefinition="papyrus-task:1",
        tags=ecs_marks,
        overrides=administrator,
        **place,
    )
    tried("tasks of another cluster", ecs.list_tasks, cluster="other")
    tried(
        "a command elsewhere",
        ecs.execute_command,
        cluster="other",
        task="0" * 32,
        container="app",
        command="id",
        interactive=True,
    )
    tried(
        "a command in another container",
        ecs.execute_command,
        cluster=CLUSTER,
        task="0" * 32,
        container="proxy",
        command="id",
        interactive=True,
    )

    secret = stand.by("smoke", "secretsmanager").get_secret_value
    tried("the owner's secret", secret, SecretId="papyrus/prd/db-master")
    tried("somebody's secret", secret, SecretId="somebody/else")
    assert secret(SecretId="papyrus/prd/db")["SecretString"] == "{}"
    iam, key = stand.by("smoke", "iam"), stand.by("smoke", "kms")
    policy = f"arn:aws:iam::{ACCOUNT}:policy/papyrus-prd-make"
    tried("a wider policy", iam.create_policy_version, PolicyArn=policy, PolicyDocument="{}", SetAsDefault=True)
    tried(
        "another role", stand.by("smoke", "sts").assume_role, RoleArn=stand.roles.arns["release"], RoleSessionName="me"
    )
    tried("the end of the key", key.schedule_key_deletion, KeyId=stand.key, PendingWindowInDays=7)
    ledger = stand.by("smoke", "s3")
    ledger.put_object(Bucket=LEDGER, Key="runs/entry", Body=b"1", IfNoneMatch="*")
    tried("an entry without If-None-Match", ledger.put_object, Bucket=LEDGER, Key="runs/entry", Body=b"2")
    tried("an entry elsewhere", ledger.put_object, Bucket=LEDGER, Key="entry", Body=b"2", IfNoneMatch="*")
    tried("the end of an entry", ledger.delete_object, Bucket=LEDGER, Key="runs/entry")
    ecr = stand.by("smoke", "ecr")
    tried("an image", ecr.put_image, repositoryName="papyrus", imageManifest="{}", imageTag="x")
    assert tried.allowed == []
    for balancer in (foreign, theirs):
        root_elbv2.delete_load_balancer(LoadBalancerArn=balancer)


def test_H2_an_export_writes_nothing_and_a_release_only_its_service(stand: Stand) -> None:
    tried, run_id = Tried(), new_run(30)
    export, release = functools.partial(stand.by, "export"), functools.partial(stand.by, "release")
    ecs = export("ecs")
    tried("a task", ecs.run_task, cluster=CLUSTER, taskDefinition="papyrus-task:1")
    tried(
        "a command",
        ecs.execute_command,
        cluster=CLUSTER,
        task="0" * 32,
        container="app",
        command="id",
        interactive=True,
    )
    tried("a rollout", ecs.update_service, cluster=CLUSTER, service=SERVICE, taskDefinition="papyrus-task:1")
    tried("a group", stand.group, ec2=export("ec2"), name="x", tags=marks(*run_id))
    tried("targets", stand.targets, elbv2=export("elbv2"), name=f"{PREFIX}-smoke-aaaaaa", tags=marks(*run_id))
    tried("a secret", export("secretsmanager").get_secret_value, SecretId="papyrus/prd/db")
    tried("a log group", export("logs").create_log_group, logGroupName="/x")
    tried("other logs", export("logs").filter_log_events, logGroupName="/ecs/other")
    tried("a trail's end", export("cloudtrail").stop_logging, Name="trail")
    tried("the recorder's end", export("config").stop_configuration_recorder, ConfigurationRecorderName="default")
    tried("an entry's end", export("s3").delete_object, Bucket=LEDGER, Key="runs/entry")
    export("cloudtrail").lookup_events(MaxResults=1)

    ecs = release("ecs")
    container = {"name": "app", "image": "x", "essential": True}
    fargate = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}
    tried("nothing of the service", ecs.update_service, cluster=CLUSTER, service=SERVICE, desiredCount=0)
    tried("another service", ecs.update_service, cluster=CLUSTER, service="other", taskDefinition="papyrus-task:1")
    tried("another family's revision", ecs.update_service, cluster=CLUSTER, service=SERVICE, taskDefinition="other:1")
    tried("another family", ecs.register_task_definition, family="other", containerDefinitions=[container], **fargate)
    role = f"arn:aws:iam::{ACCOUNT}:role/Administrator"
    tried(
        "another role", ecs.register_task_definition, family="papyrus-task", containerDefinitions=[container],
        taskRoleArn=role, executionRoleArn=role, **fargate,
    )  # fmt: skip
    tried("the end of a revision", ecs.deregister_task_definition, taskDefinition="papyrus-task:1")
    tried("another image", release("ecr").put_image, repositoryName="other", imageManifest="{}", imageTag="x")
    tried(
        "the end of an image", release("ecr").batch_delete_image, repositoryName="papyrus", imageIds=[{"imageTag": "x"}]
    )
    tried("somebody's secret", release("secretsmanager").get_secret_value, SecretId="somebody/else")
    tried("a new secret", release("secretsmanager").put_secret_value, SecretId="papyrus/prd/db", SecretString="{}")
    assert tried.allowed == []
    passed = [f"arn:aws:iam::{ACCOUNT}:role/{name}" for name in ("papyrusTaskRole", "papyrusTaskExecutionRole")]
    ecs.register_task_definition(
        family="papyrus-task", containerDefinitions=[container], taskRoleArn=passed[0],
        executionRoleArn=passed[1], **fargate,
    )  # fmt: skip


def test_H2_roles_are_for_jobs_of_one_repository_branch_and_environment(stand: Stand) -> None:
    issuer, environment = stand.roles.issuer, ENVIRONMENTS["release"]
    assert stand.roles.take("release", issuer.token(environment))["SessionToken"]
    wrong = {
        "another repository": issuer.token(environment, repository="example/fork"),
        "a repository of a longer name": issuer.token(environment, repository="example/papyrus.ops2"),
        "another branch": issuer.token(environment, ref="refs/heads/feature"),
        "a tag of the branch's name": issuer.token(environment, ref="refs/tags/main"),
        "a pull request": issuer.token(environment, ref="refs/pull/1/merge"),
        "another environment": issuer.token(ENVIRONMENTS["smoke"]),
        "no environment": issuer.token("", subject="repo:example/papyrus.ops:ref:refs/heads/main"),
        "an environment of a longer name": issuer.token(f"{environment}-2"),
        "another audience": issuer.token(environment, audience="https://github.com/example"),
    }
    taken = []
    for what, token in wrong.items():
        try:
            stand.roles.take("release", token)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            wanted = "InvalidIdentityToken" if what == "another audience" else "AccessDenied"
            if code != wanted:
                taken.append(f"{what}: {code}")
        else:
            taken.append(what)
    assert taken == []
    for role in ("smoke", "export", "sweep"):
        with pytest.raises(ClientError, match="AccessDenied"):
            stand.roles.take(role, issuer.token(environment))


def test_H2_the_stack_is_applied_as_it_is_planned(stand: Stand) -> None:
    assert stand.roles.plan() == 0
