"""IAM mode: the resources, condition keys and further actions that each service's calls need."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandbox.iam_support import User, allow, document, role, statement, trust, unique, user
from tests.sandbox.support import Network, Sandbox, refused

HERE = "us-west-2:123456789012"
TASKS = trust({"Service": "ecs-tasks.amazonaws.com"})
CONTAINERS = [{"name": "app", "image": "app", "essential": True}]
FARGATE = {"requiresCompatibilities": ["FARGATE"], "networkMode": "awsvpc", "cpu": "256", "memory": "512"}


@pytest.fixture
def mode(sandbox: Sandbox) -> Iterator[Sandbox]:
    with sandbox.switched(iam=True):
        yield sandbox


@pytest.fixture
def who(mode: Sandbox) -> Iterator[User]:
    with user(mode) as made:
        yield made


@contextlib.contextmanager
def security_group(sandbox: Sandbox, network: Network, **tags: str) -> Iterator[str]:
    ec2 = sandbox.client("ec2")
    given = [{"ResourceType": "security-group", "Tags": [{"Key": k, "Value": v} for k, v in tags.items()]}]
    made = ec2.create_security_group(
        GroupName=unique("group"),
        Description="of a test",
        VpcId=network.vpc,
        **({"TagSpecifications": given} if tags else {}),
    )["GroupId"]
    try:
        yield made
    finally:
        with contextlib.suppress(ec2.exceptions.ClientError):
            ec2.delete_security_group(GroupId=made)


RULE = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
RESOURCES = [
    ("ecs", "describe_tasks", {"cluster": "c", "tasks": ["t1"]}, f"arn:aws:ecs:{HERE}:task/c/t1"),
    ("ecs", "describe_services", {"cluster": "c", "services": ["s"]}, f"arn:aws:ecs:{HERE}:service/c/s"),
    ("ecs", "update_service", {"cluster": "c", "service": "s"}, f"arn:aws:ecs:{HERE}:service/c/s"),
    ("ecs", "list_service_deployments", {"cluster": "c", "service": "s"}, f"arn:aws:ecs:{HERE}:service/c/s"),
    ("ecs", "describe_clusters", {"clusters": ["c"]}, f"arn:aws:ecs:{HERE}:cluster/c"),
    ("ecs", "list_tasks", {"cluster": "c"}, "*"),
    ("ecs", "describe_task_definition", {"taskDefinition": "f:1"}, "*"),
    ("ecs", "run_task", {"taskDefinition": "f:3"}, f"arn:aws:ecs:{HERE}:task-definition/f:3"),
    (
        "ecs",
        "register_task_definition",
        {"family": "f", "containerDefinitions": CONTAINERS},
        f"arn:aws:ecs:{HERE}:task-definition/f:*",
    ),
    ("ecr", "describe_images", {"repositoryName": "r/a"}, f"arn:aws:ecr:{HERE}:repository/r/a"),
    ("ecr", "get_authorization_token", {}, "*"),
    ("rds", "describe_db_instances", {"DBInstanceIdentifier": "db1"}, f"arn:aws:rds:{HERE}:db:db1"),
    ("secretsmanager", "create_secret", {"Name": "app/db"}, f"arn:aws:secretsmanager:{HERE}:secret:app/db-??????"),
    ("logs", "create_log_group", {"logGroupName": "/a"}, f"arn:aws:logs:{HERE}:log-group:/a:log-stream:"),
    (
        "logs",
        "get_log_events",
        {"logGroupName": "/a", "logStreamName": "s"},
        f"arn:aws:logs:{HERE}:log-group:/a:log-stream:s",
    ),
    ("logs", "list_tags_for_resource", {"resourceArn": f"arn:aws:logs:{HERE}:log-group:/a"}, "log-group:/a because"),
    ("cloudwatch", "describe_alarms", {"AlarmNames": ["a"]}, f"arn:aws:cloudwatch:{HERE}:alarm:a"),
    ("sns", "publish", {"TopicArn": f"arn:aws:sns:{HERE}:t", "Message": "m"}, f"arn:aws:sns:{HERE}:t"),
    ("sqs", "send_message", {"QueueUrl": "http://x/123456789012/q", "MessageBody": "m"}, f"arn:aws:sqs:{HERE}:q"),
    ("events", "put_rule", {"Name": "r", "ScheduleExpression": "rate(1 day)"}, f"arn:aws:events:{HERE}:rule/r"),
    ("iam", "get_role", {"RoleName": "r"}, "arn:aws:iam::123456789012:role/r"),
    ("cloudtrail", "lookup_events", {}, "perform: cloudtrail:LookupEvents because"),
    (
        "elbv2",
        "create_load_balancer",
        {"Name": "web", "Subnets": ["subnet-1"]},
        f"arn:aws:elasticloadbalancing:{HERE}:loadbalancer/app/web/*",
    ),
    (
        "elbv2",
        "create_target_group",
        {"Name": "web", "Protocol": "HTTP", "Port": 80, "VpcId": "vpc-1"},
        f"arn:aws:elasticloadbalancing:{HERE}:targetgroup/web/*",
    ),
    (
        "elbv2",
        "delete_load_balancer",
        {"LoadBalancerArn": f"arn:aws:elasticloadbalancing:{HERE}:loadbalancer/app/web/50dc6c495c0c9188"},
        f"arn:aws:elasticloadbalancing:{HERE}:loadbalancer/app/web/50dc6c495c0c9188",
    ),
    ("ec2", "delete_security_group", {"GroupId": "sg-1"}, f"arn:aws:ec2:{HERE}:security-group/sg-1"),
    ("ec2", "create_tags", {"Resources": ["eni-1"], "Tags": [{"Key": "a", "Value": "b"}]}, "network-interface/eni-1"),
    ("kms", "describe_key", {"KeyId": "1234"}, f"arn:aws:kms:{HERE}:key/1234"),
]


@pytest.mark.behaviour("iam.decision_on")
@pytest.mark.parametrize(
    ("service", "operation", "given", "resource"), RESOURCES, ids=[f"{row[0]}-{row[1]}" for row in RESOURCES]
)
def test_the_resource_of_a_call(who: User, service: str, operation: str, given: dict[str, Any], resource: str) -> None:
    codes = {"ec2": "UnauthorizedOperation", "sns": "AuthorizationError"}
    known = ("ecs", "ecr", "secretsmanager", "logs", "events", "cloudtrail", "kms")
    code = codes.get(service) or ("AccessDeniedException" if service in known else "AccessDenied")
    with refused(code, f"on resource: {resource}" if resource.startswith(("arn", "*")) else resource):
        getattr(who.client(service), operation)(**given)


def test_a_permission_on_one_resource_is_none_on_another(who: User, network: Network) -> None:
    sandbox = who.sandbox
    with security_group(sandbox, network) as mine, security_group(sandbox, network) as other:
        who.put(allow("ec2:AuthorizeSecurityGroupIngress", resource=f"arn:aws:ec2:{HERE}:security-group/{mine}"))
        ec2 = who.client("ec2")
        ec2.authorize_security_group_ingress(GroupId=mine, IpPermissions=[RULE])
        with refused("UnauthorizedOperation", f"security-group/{other}", 403):
            ec2.authorize_security_group_ingress(GroupId=other, IpPermissions=[RULE])


@pytest.mark.behaviour("iam.tags_of_the_resource")
def test_a_permission_may_depend_on_the_resources_tags(who: User, network: Network) -> None:
    who.put(
        allow(
            "ec2:DeleteSecurityGroup",
            "elasticloadbalancing:DeleteTargetGroup",
            "ecs:DeleteCluster",
            condition={"StringEquals": {"aws:ResourceTag/run": "1"}},
        )
    )
    sandbox = who.sandbox
    with security_group(sandbox, network, run="2") as other, security_group(sandbox, network, run="1") as mine:
        with refused("UnauthorizedOperation", "ec2:DeleteSecurityGroup", 403):
            who.client("ec2").delete_security_group(GroupId=other)
        who.client("ec2").delete_security_group(GroupId=mine)
        sandbox.client("ec2").create_tags(Resources=[other], Tags=[{"Key": "run", "Value": "1"}])
        who.client("ec2").delete_security_group(GroupId=other)
    elbv2, ecs = sandbox.client("elbv2"), sandbox.client("ecs")
    for run, allowed in (("2", False), ("1", True)):
        target_group = elbv2.create_target_group(
            Name=unique("tg"),
            Protocol="HTTP",
            Port=80,
            VpcId=network.vpc,
            TargetType="ip",
            Tags=[{"Key": "run", "Value": run}],
        )["TargetGroups"][0]["TargetGroupArn"]
        cluster = ecs.create_cluster(clusterName=unique("cluster"), tags=[{"key": "run", "value": run}])["cluster"]
        with contextlib.nullcontext() if allowed else refused("AccessDenied", "DeleteTargetGroup", 403):
            who.client("elbv2").delete_target_group(TargetGroupArn=target_group)
        with contextlib.nullcontext() if allowed else refused("AccessDeniedException", "ecs:DeleteCluster", 400):
            who.client("ecs").delete_cluster(cluster=cluster["clusterArn"])
        elbv2.delete_target_group(TargetGroupArn=target_group)
        with contextlib.suppress(ecs.exceptions.ClientError):
            ecs.delete_cluster(cluster=cluster["clusterArn"])


def create_group(who: User, network: Network, **more: Any) -> str:
    made: str = who.client("ec2").create_security_group(
        GroupName=unique("group"), Description="d", VpcId=network.vpc, **more
    )["GroupId"]
    who.sandbox.client("ec2").delete_security_group(GroupId=made)
    return made


@pytest.mark.behaviour("iam.tags_on_creation")
def test_tags_of_a_new_security_group(who: User, network: Network) -> None:
    tagged = {"TagSpecifications": [{"ResourceType": "security-group", "Tags": [{"Key": "run", "Value": "1"}]}]}
    create = statement("Allow", "ec2:CreateSecurityGroup")
    who.put(document(create))
    create_group(who, network)
    with refused("UnauthorizedOperation", f"ec2:CreateTags on resource: arn:aws:ec2:{HERE}:security-group/*", 403):
        create_group(who, network, **tagged)
    on_creation = {"StringEquals": {"ec2:CreateAction": "CreateSecurityGroup"}}
    who.put(document(create, statement("Allow", "ec2:CreateTags", condition=on_creation)))
    create_group(who, network, **tagged)
    # Later on, that is another thing.
    with refused("UnauthorizedOperation", "ec2:CreateTags", 403):
        who.client("ec2").create_tags(Resources=[network.group], Tags=[{"Key": "run", "Value": "1"}])


def test_what_is_made_must_carry_the_tags_asked_for(who: User, network: Network) -> None:
    """aws:RequestTag is of the new group; on the VPC, which the call names too, it has no value."""
    run = {"StringEquals": {"aws:RequestTag/run": "1"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["run"]}}
    new, vpc = f"arn:aws:ec2:{HERE}:security-group/*", f"arn:aws:ec2:{HERE}:vpc/*"
    create = statement("Allow", "ec2:CreateSecurityGroup", "ec2:CreateTags", resource=new, condition=run)
    who.put(document(create, statement("Allow", "ec2:CreateSecurityGroup", resource=vpc)))

    def tags(**given: str) -> dict[str, Any]:
        listed = [{"Key": key, "Value": value} for key, value in given.items()]
        return {"TagSpecifications": [{"ResourceType": "security-group", "Tags": listed}]}

    create_group(who, network, **tags(run="1"))
    for wrong in (tags(run="2"), tags(run="1", more="x"), {}):
        with refused("UnauthorizedOperation", "ec2:CreateSecurityGroup", 403):
            create_group(who, network, **wrong)
    who.put(document(statement("Allow", "ec2:CreateSecurityGroup", "ec2:CreateTags", condition=run)))
    with refused("UnauthorizedOperation", f"arn:aws:ec2:{HERE}:vpc/", 403):
        create_group(who, network, **tags(run="1"))


@pytest.mark.behaviour("iam.only_listed_keys_are_present")
def test_a_key_that_the_reference_does_not_list_has_no_value(who: User, network: Network) -> None:
    sandbox = who.sandbox
    condition = {"StringEquals": {"ec2:Vpc": f"arn:aws:ec2:{HERE}:vpc/{network.vpc}"}}
    with security_group(sandbox, network) as mine:
        who.put(allow("ec2:DeleteSecurityGroup", "ec2:CreateTags", condition=condition))
        with refused("UnauthorizedOperation", "ec2:CreateTags", 403):
            who.client("ec2").create_tags(Resources=[network.vpc], Tags=[{"Key": "a", "Value": "b"}])
        who.client("ec2").delete_security_group(GroupId=mine)
    who.put(allow("ecs:DescribeTaskDefinition", condition={"Null": {"ecs:task-definition": "false"}}))
    with refused("AccessDeniedException", "ecs:DescribeTaskDefinition", 400):
        who.client("ecs").describe_task_definition(taskDefinition="any:1")


def test_a_dry_run_is_decided_as_the_call_is(who: User, network: Network) -> None:
    given = {"GroupName": unique("group"), "Description": "d", "VpcId": network.vpc, "DryRun": True}
    with refused("UnauthorizedOperation", status=403):
        who.client("ec2").create_security_group(**given)
    who.put(allow("ec2:CreateSecurityGroup"))
    with refused("DryRunOperation", status=412):
        who.client("ec2").create_security_group(**given)


@pytest.mark.behaviour("iam.tags_on_creation")
def test_tags_of_what_other_services_make(who: User, network: Network) -> None:
    tag, small = [{"Key": "run", "Value": "1"}], [{"key": "run", "value": "1"}]
    target_group = {"Name": unique("tg"), "Protocol": "HTTP", "Port": 80, "VpcId": network.vpc, "TargetType": "ip"}
    for service, operation, given, action in (
        ("elbv2", "create_target_group", {**target_group, "Tags": tag}, "elasticloadbalancing:AddTags"),
        ("ecs", "create_cluster", {"clusterName": unique("c"), "tags": small}, "ecs:TagResource"),
        (
            "rds",
            "create_db_parameter_group",
            {
                "DBParameterGroupName": unique("pg"),
                "DBParameterGroupFamily": "postgres16",
                "Description": "d",
                "Tags": tag,
            },
            "rds:AddTagsToResource",
        ),
        ("ecr", "create_repository", {"repositoryName": unique("r"), "tags": tag}, "ecr:TagResource"),
        (
            "secretsmanager",
            "create_secret",
            {"Name": unique("s"), "SecretString": "x", "Tags": tag},
            "secretsmanager:TagResource",
        ),
        ("logs", "create_log_group", {"logGroupName": unique("/g"), "tags": {"run": "1"}}, "logs:TagResource"),
        ("iam", "create_user", {"UserName": unique("u"), "Tags": tag}, "iam:TagUser"),
    ):
        prefix = action.partition(":")[0]
        who.put(allow(f"{prefix}:Create*"))
        code = "AccessDenied" if service in ("elbv2", "rds", "iam") else "AccessDeniedException"
        with refused(code, f"is not authorized to perform: {action} on resource: "):
            getattr(who.client(service), operation)(**given)


@pytest.mark.behaviour("iam.tags_on_creation")
def test_tagging_at_creation_only(who: User) -> None:
    """elasticloadbalancing:CreateAction and ecs:CreateAction tell tagging at creation from tagging later."""
    ecs = who.client("ecs")
    condition = {"StringEquals": {"ecs:CreateAction": "CreateCluster"}}
    tagging = statement("Allow", "ecs:TagResource", condition=condition)
    who.put(document(statement("Allow", "ecs:CreateCluster"), tagging))
    name = unique("cluster")
    made = ecs.create_cluster(clusterName=name, tags=[{"key": "run", "value": "1"}])["cluster"]["clusterArn"]
    try:
        with refused("AccessDeniedException", "ecs:TagResource", 400):
            ecs.tag_resource(resourceArn=made, tags=[{"key": "run", "value": "2"}])
        who.put(allow("ecs:CreateCluster"))
        with refused("AccessDeniedException", f"ecs:TagResource on resource: {made}-2", 400):
            ecs.create_cluster(clusterName=f"{name}-2", tags=[{"key": "run", "value": "1"}])
    finally:
        who.sandbox.client("ecs").delete_cluster(cluster=name)


@pytest.mark.behaviour("iam.roles_that_are_passed")
def test_a_role_is_passed_by_permission(who: User) -> None:
    family = unique("family")
    with role(who.sandbox, TASKS) as execution, role(who.sandbox, TASKS) as other:
        definition = {"family": family, "containerDefinitions": CONTAINERS, **FARGATE}
        who.put(allow("ecs:RegisterTaskDefinition"))
        with refused("AccessDeniedException", f"iam:PassRole on resource: {execution} because", 400):
            who.client("ecs").register_task_definition(**definition, executionRoleArn=execution)
        to_tasks = {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
        to_lambda = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
        for condition, allowed in ((to_lambda, False), (to_tasks, True)):
            passing = statement("Allow", "iam:PassRole", resource=execution, condition=condition)
            who.put(document(statement("Allow", "ecs:RegisterTaskDefinition"), passing))
            with contextlib.nullcontext() if allowed else refused("AccessDeniedException", "iam:PassRole"):
                who.client("ecs").register_task_definition(**definition, executionRoleArn=execution)
        with refused("AccessDeniedException", f"iam:PassRole on resource: {other}", 400):
            who.client("ecs").register_task_definition(**definition, executionRoleArn=execution, taskRoleArn=other)
        who.put(allow("ecs:RunTask", "ecs:UpdateService"))
        for call in (
            lambda: who.client("ecs").run_task(taskDefinition=family, launchType="FARGATE"),
            lambda: who.client("ecs").update_service(service="s", taskDefinition=family),
        ):
            with refused("AccessDeniedException", f"iam:PassRole on resource: {execution}", 400):
                call()


def test_a_cluster_is_a_condition_of_its_tasks(who: User) -> None:
    mine = f"arn:aws:ecs:{HERE}:cluster/mine"
    who.put(allow("ecs:ListTasks", "ecs:RunTask", "ecs:StopTask", condition={"ArnEquals": {"ecs:cluster": mine}}))
    ecs = who.client("ecs")
    with refused("ClusterNotFoundException"):
        ecs.list_tasks(cluster="mine")
    for call in (
        lambda: ecs.list_tasks(cluster="other"),
        lambda: ecs.list_tasks(),
        lambda: ecs.run_task(cluster="other", taskDefinition="f:1"),
        lambda: ecs.stop_task(cluster="other", task="t"),
    ):
        with refused("AccessDeniedException", status=400):
            call()


def test_where_and_when(who: User) -> None:
    ecs = who.client("ecs")
    for condition, allowed in (
        ({"StringEquals": {"aws:RequestedRegion": "us-west-2"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, False),
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, True),
        ({"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}, False),
        ({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, True),
        ({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"StringEquals": {"aws:username": who.name}}, True),
        ({"ArnEquals": {"aws:PrincipalArn": who.arn}}, True),
        ({"StringEquals": {"aws:PrincipalAccount": "111122223333"}}, False),
        ({"BoolIfExists": {"aws:MultiFactorAuthPresent": "true"}}, True),
        ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, False),
    ):
        who.put(allow("ecs:ListClusters", condition=condition))
        with contextlib.nullcontext() if allowed else refused("AccessDeniedException", status=400):
            ecs.list_clusters()


@pytest.mark.behaviour("iam.requested_region")
def test_iam_is_in_us_east_1(who: User) -> None:
    for region, allowed in (("us-east-1", True), ("us-west-2", False)):
        who.put(allow("iam:ListUsers", condition={"StringEquals": {"aws:RequestedRegion": region}}))
        with contextlib.nullcontext() if allowed else refused("AccessDenied", "iam:ListUsers", 403):
            who.client("iam").list_users()


def test_a_new_database_uses_groups_that_must_be_allowed(who: User) -> None:
    given = {"DBInstanceIdentifier": "db1", "DBInstanceClass": "db.t3.micro", "Engine": "postgres"}
    given |= {"EngineVersion": "16.3", "DBSubnetGroupName": unique("none"), "MasterUsername": "u"}
    call = {**given, "MasterUserPassword": "long-enough", "AllocatedStorage": 20}
    resources = [f"arn:aws:rds:{HERE}:db:db1"]
    for more in ("og:default:postgres-16", "pg:default.postgres16", f"subgrp:{given['DBSubnetGroupName']}"):
        who.put(allow("rds:CreateDBInstance", resource=resources))
        with refused("AccessDenied", f"rds:CreateDBInstance on resource: arn:aws:rds:{HERE}:{more}", 403):
            who.client("rds").create_db_instance(**call)
        resources.append(f"arn:aws:rds:{HERE}:{more}")
    who.put(allow("rds:CreateDBInstance", resource=resources))
    with refused("DBSubnetGroupNotFoundFault"):
        who.client("rds").create_db_instance(**call)


def test_a_keys_policy_lets_its_accounts_policies_decide(who: User) -> None:
    kms = who.sandbox.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    with refused("AccessDeniedException", f"kms:Encrypt on resource: {key}", 400):
        who.client("kms").encrypt(KeyId=key, Plaintext=b"x")
    who.put(allow("kms:Encrypt", resource=key))
    who.client("kms").encrypt(KeyId=key, Plaintext=b"x")
    only_root = {**statement("Allow", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion"), "Principal": {"AWS": who.arn}}
    root = {**statement("Allow", "kms:PutKeyPolicy", "kms:ScheduleKeyDeletion", "kms:GetKeyPolicy")}
    root["Principal"] = {"AWS": "arn:aws:iam::123456789012:root"}
    kms.put_key_policy(KeyId=key, PolicyName="default", Policy=json.dumps(document(only_root, root)))
    with refused("AccessDeniedException", "because no resource-based policy allows the kms:Encrypt action", 400):
        who.client("kms").encrypt(KeyId=key, Plaintext=b"x")
    kms.schedule_key_deletion(KeyId=key)


def test_principal_tags_and_variables(mode: Sandbox) -> None:
    with user(mode, Tags=[{"Key": "team", "Value": "ops"}]) as who:
        own = "arn:aws:logs:*:*:log-group:/${aws:PrincipalTag/team}/${aws:username}:*"
        who.put(allow("logs:CreateLogGroup", "logs:DeleteLogGroup", resource=own))
        logs = who.client("logs")
        logs.create_log_group(logGroupName=f"/ops/{who.name}")
        logs.delete_log_group(logGroupName=f"/ops/{who.name}")
        for other in (f"/dev/{who.name}", "/ops/another"):
            with refused("AccessDeniedException", "logs:CreateLogGroup", 400):
                logs.create_log_group(logGroupName=other)


def test_log_groups_want_their_star(who: User) -> None:
    group = f"arn:aws:logs:{HERE}:log-group:/a"
    who.put(allow("logs:*", resource=group))
    logs = who.client("logs")
    with refused("AccessDeniedException", status=400):
        logs.filter_log_events(logGroupName="/a")
    with refused("ResourceNotFoundException"):
        logs.list_tags_for_resource(resourceArn=group)
    who.put(allow("logs:*", resource=f"{group}:*"))
    with refused("ResourceNotFoundException"):
        logs.filter_log_events(logGroupName="/a")
    with refused("AccessDeniedException", status=400):
        logs.list_tags_for_resource(resourceArn=group)


def test_a_secret_is_known_by_its_whole_arn(who: User) -> None:
    secrets = who.sandbox.client("secretsmanager")
    name = unique("app/db")
    arn = secrets.create_secret(Name=name, SecretString="s")["ARN"]
    try:
        mine = who.client("secretsmanager")
        for resource, allowed in ((arn, True), (arn[:-6] + "??????", True), (arn[:-7], False), ("*", True)):
            who.put(allow("secretsmanager:GetSecretValue", resource=resource))
            with contextlib.nullcontext() if allowed else refused("AccessDeniedException", arn, 400):
                mine.get_secret_value(SecretId=name)
    finally:
        secrets.delete_secret(SecretId=name, ForceDeleteWithoutRecovery=True)


def test_an_iam_permission_may_depend_on_the_policy(who: User) -> None:
    iam, mine = who.sandbox.client("iam"), who.client("iam")
    with role(who.sandbox, TASKS) as arn:
        name = arn.rpartition("/")[2]
        read = "arn:aws:iam::aws:policy/ReadOnlyAccess"
        who.put(allow("iam:AttachRolePolicy", resource=arn, condition={"ArnEquals": {"iam:PolicyARN": read}}))
        mine.attach_role_policy(RoleName=name, PolicyArn=read)
        with refused("AccessDenied", "iam:AttachRolePolicy", 403):
            mine.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
        iam.detach_role_policy(RoleName=name, PolicyArn=read)


def test_nobody_gives_themselves_more(who: User) -> None:
    who.put(allow("iam:Get*", "iam:List*"))
    with refused("AccessDenied", "iam:PutUserPolicy", 403):
        who.client("iam").put_user_policy(UserName=who.name, PolicyName="own", PolicyDocument=json.dumps(allow("*")))
    with refused("AccessDenied", "iam:CreateAccessKey", 403):
        who.client("iam").create_access_key(UserName=who.name)
