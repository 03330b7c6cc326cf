"""CloudTrail's records: who, what, on which resources, with what outcome; the same request id everywhere."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from tests.sandbox.audit_support import TRUST, Account, new_account
from tests.sandbox.support import Sandbox, open_folder


@pytest.fixture
def account(sandbox: Sandbox) -> Iterator[Account]:
    with sandbox.switched(lookup_events_rate=0):
        yield new_account(sandbox)


def request_id(call: Callable[[], Any]) -> str:
    """The request id that boto3 shows for a call, refused or not."""
    try:
        answer = call()
    except ClientError as error:
        answer = error.response
    return str(answer["ResponseMetadata"]["RequestId"])


def test_a_record_has_cloudtrails_form(account: Account) -> None:
    asked = request_id(lambda: account.client("ecs").create_cluster(clusterName="form"))
    record = account.record(asked)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.pop("eventTime"))
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", record.pop("eventID"))
    assert record.pop("userAgent").startswith("Boto3/")
    assert record["responseElements"]["cluster"]["clusterName"] == "form"
    del record["responseElements"]
    assert record == {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "Root",
            "principalId": account.number,
            "arn": f"arn:aws:iam::{account.number}:root",
            "accountId": account.number,
            "accessKeyId": account.number,
        },
        "eventSource": "ecs.amazonaws.com",
        "eventName": "CreateCluster",
        "awsRegion": account.sandbox.facts["region"],
        "sourceIPAddress": "127.0.0.1",
        "requestParameters": {"clusterName": "form"},
        "requestID": asked,
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": account.number,
        "eventCategory": "Management",
    }


CALLS: list[tuple[str, str, dict[str, Any], str]] = [
    ("ec2", "describe_vpcs", {}, "ec2.amazonaws.com"),
    ("ec2", "delete_vpc", {"VpcId": "vpc-00000000000000000"}, "ec2.amazonaws.com"),
    ("elbv2", "describe_load_balancers", {}, "elasticloadbalancing.amazonaws.com"),
    ("elbv2", "describe_load_balancers", {"Names": ["none"]}, "elasticloadbalancing.amazonaws.com"),
    ("rds", "describe_db_instances", {}, "rds.amazonaws.com"),
    ("rds", "describe_db_instances", {"DBInstanceIdentifier": "none"}, "rds.amazonaws.com"),
    ("sts", "get_caller_identity", {}, "sts.amazonaws.com"),
    ("sns", "list_topics", {}, "sns.amazonaws.com"),
    ("sns", "get_topic_attributes", {"TopicArn": "arn:aws:sns:us-west-2:123456789012:no"}, "sns.amazonaws.com"),
    ("cloudwatch", "describe_alarms", {}, "monitoring.amazonaws.com"),
    ("cloudwatch", "delete_alarms", {"AlarmNames": ["none"]}, "monitoring.amazonaws.com"),
    ("ecs", "list_clusters", {}, "ecs.amazonaws.com"),
    ("ecs", "describe_services", {"cluster": "none", "services": ["none"]}, "ecs.amazonaws.com"),
    ("ecr", "describe_repositories", {"repositoryNames": ["none"]}, "ecr.amazonaws.com"),
    ("secretsmanager", "describe_secret", {"SecretId": "none"}, "secretsmanager.amazonaws.com"),
    ("logs", "describe_log_groups", {}, "logs.amazonaws.com"),
    ("sqs", "list_queues", {}, "sqs.amazonaws.com"),
    ("events", "list_rules", {}, "events.amazonaws.com"),
    ("kms", "list_keys", {}, "kms.amazonaws.com"),
    ("config", "describe_configuration_recorders", {}, "config.amazonaws.com"),
    ("cloudtrail", "describe_trails", {}, "cloudtrail.amazonaws.com"),
    ("acm", "list_certificates", {}, "acm.amazonaws.com"),
    ("resourcegroupstaggingapi", "get_resources", {}, "tagging.amazonaws.com"),
    ("s3", "list_buckets", {}, "s3.amazonaws.com"),
    ("s3", "get_bucket_policy", {"Bucket": "no-such-bucket-here"}, "s3.amazonaws.com"),
]


@pytest.mark.behaviour("cloudtrail.the_request_id_is_the_answers")
def test_one_request_id_is_in_header_body_and_record_of_every_protocol(account: Account) -> None:
    asked = {}
    for service, method, parameters, source in CALLS:
        client = account.client(service)
        seen: list[str] = []
        client.meta.events.register(
            "after-call", lambda http_response, seen=seen, **_: seen.append(http_response.headers["x-amzn-requestid"])
        )
        shown = request_id(lambda client=client, method=method, p=parameters: getattr(client, method)(**p))
        assert seen == [shown], (service, method)
        asked[shown] = (source, "".join(part.capitalize() for part in method.split("_")))
    recorded = {}
    for event in account.events():
        record = json.loads(event["CloudTrailEvent"])
        recorded[record["requestID"]] = (record["eventSource"], record["eventName"])
    assert {key: (source, name.lower()) for key, (source, name) in asked.items()} == {
        key: (source, name.lower()) for key, (source, name) in recorded.items() if key in asked
    }
    listed = {call["request_id"]: call["access_key_id"] for call in account.sandbox.calls()}
    assert all(listed[key] == account.number for key in asked)


@pytest.mark.behaviour("cloudtrail.global_services_are_recorded_in_us_east_1")
def test_iams_events_are_looked_up_in_us_east_1(account: Account) -> None:
    asked = request_id(lambda: account.client("iam").list_users())
    assert account.record(asked, "us-east-1")["awsRegion"] == "us-east-1"
    assert asked not in [json.loads(event["CloudTrailEvent"])["requestID"] for event in account.events()]


@pytest.mark.behaviour("cloudtrail.the_event_history_is_of_management_events")
def test_data_events_are_not_in_the_event_history(account: Account) -> None:
    s3, bucket = account.client("s3"), f"data-{account.number}"
    region = account.sandbox.facts["region"]
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.get_object(Bucket=bucket, Key="k")
    s3.delete_object(Bucket=bucket, Key="k")
    topic = account.client("sns").create_topic(Name="data")["TopicArn"]
    account.client("sns").publish(TopicArn=topic, Message="m")
    account.client("cloudwatch").put_metric_data(Namespace="n", MetricData=[{"MetricName": "m", "Value": 1}])
    s3.delete_bucket(Bucket=bucket)
    names = [event["EventName"] for event in account.events()]
    assert [name for name in names if name != "LookupEvents"] == ["DeleteBucket", "CreateTopic", "CreateBucket"]


@pytest.mark.behaviour("cloudtrail.failed_calls_are_recorded")
def test_refused_and_failing_calls_are_recorded_with_code_and_message(account: Account, no_faults: Sandbox) -> None:
    ecs = account.client("ecs")
    refused = account.record(request_id(lambda: ecs.describe_services(cluster="none", services=["none"])))
    assert refused["errorCode"] == "ClusterNotFoundException"
    assert refused["errorMessage"] == "Cluster not found."
    no_faults.faults(
        {"service": "ecs", "operation": "CreateCluster", "times": 1, "status": 500, "code": "ServerException"}
    )
    failed = account.record(request_id(lambda: ecs.create_cluster(clusterName="failing")))
    assert (failed["errorCode"], failed["responseElements"]) == ("ServerException", None)
    assert failed["requestParameters"] == {"clusterName": "failing"}


@pytest.mark.behaviour("cloudtrail.callers_nobody_knows_are_not_recorded")
def test_a_call_by_nobody_known_is_in_no_history(account: Account, no_faults: Sandbox) -> None:
    fault = {"service": "ecs", "operation": "ListClusters", "times": 1, "status": 403}
    no_faults.faults({**fault, "code": "UnrecognizedClientException"})
    asked = request_id(lambda: account.client("ecs").list_clusters())
    assert asked not in [json.loads(event["CloudTrailEvent"])["requestID"] for event in account.events()]
    assert asked in [call["request_id"] for call in no_faults.calls()]


@pytest.mark.behaviour("cloudtrail.error_codes_are_those_of_cloudtrail")
@pytest.mark.parametrize(
    ("service", "method", "parameters", "code"),
    [
        ("ec2", "delete_vpc", {"VpcId": "vpc-00000000000000000"}, "Client.InvalidVpcID.NotFound"),
        ("elbv2", "describe_load_balancers", {"Names": ["none"]}, "LoadBalancerNotFoundException"),
        ("rds", "describe_db_instances", {"DBInstanceIdentifier": "none"}, "DBInstanceNotFoundFault"),
        ("ecr", "describe_repositories", {"repositoryNames": ["none"]}, "RepositoryNotFoundException"),
        ("s3", "get_bucket_policy", {"Bucket": "no-such-bucket-here"}, "NoSuchBucket"),
    ],
)
def test_error_codes_are_spelt_as_cloudtrail_does(
    account: Account, service: str, method: str, parameters: dict[str, Any], code: str
) -> None:
    client = account.client(service)
    assert account.record(request_id(lambda: getattr(client, method)(**parameters)))["errorCode"] == code


def test_iams_error_codes_are_names_of_exceptions_and_denials_are_access_denied(
    account: Account, no_faults: Sandbox
) -> None:
    missing = request_id(lambda: account.client("iam").get_role(RoleName="none"))
    assert account.record(missing, "us-east-1")["errorCode"] == "NoSuchEntityException"
    fault = {"service": "ecs", "operation": "ListClusters", "times": 1, "status": 400, "message": "no"}
    no_faults.faults({**fault, "code": "AccessDeniedException"})
    denied = account.record(request_id(lambda: account.client("ecs").list_clusters()))
    assert (denied["errorCode"], denied["errorMessage"]) == ("AccessDenied", "no")


@pytest.mark.behaviour("cloudtrail.secrets_are_hidden")
def test_secrets_are_in_no_record(account: Account) -> None:
    secrets = account.client("secretsmanager")
    made = request_id(lambda: secrets.create_secret(Name="hidden", SecretString="hunter2-of-secret"))
    secrets.get_secret_value(SecretId="hidden")
    definition = {"name": "a", "image": "i", "environment": [{"name": "DB_PASSWORD", "value": "hunter2-of-env"}]}
    account.client("ecs").register_task_definition(family="hidden", containerDefinitions=[definition])
    database = request_id(
        lambda: account.client("rds").create_db_instance(
            DBInstanceIdentifier="hidden",
            DBInstanceClass="none",
            Engine="postgres",
            MasterUsername="m",
            MasterUserPassword="hunter2-of-rds",
        )
    )
    iam = account.client("iam")
    iam.create_user(UserName="hidden")
    key = iam.create_access_key(UserName="hidden")["AccessKey"]
    history = json.dumps(account.events(), default=str) + json.dumps(account.events("us-east-1"), default=str)
    assert "hunter2" not in history
    assert key["SecretAccessKey"] not in history
    assert key["AccessKeyId"] in history
    assert account.record(made)["requestParameters"]["secretString"] == "HIDDEN_DUE_TO_SECURITY_REASONS"
    assert account.record(database)["requestParameters"]["masterUserPassword"] == "****"


@pytest.mark.behaviour("cloudtrail.changes_have_their_answers")
def test_a_change_is_recorded_with_its_answer_and_a_read_without(account: Account) -> None:
    ec2 = account.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="127.200.0.0/16")
    group = ec2.create_security_group(GroupName="answers", Description="d", VpcId=vpc["Vpc"]["VpcId"])
    rule = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}
    asked = request_id(lambda: ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[rule]))
    record = account.record(asked)
    assert record["requestParameters"] == {
        "groupId": group["GroupId"],
        "ipPermissions": {
            "items": [
                {
                    "ipProtocol": "tcp",
                    "fromPort": 22,
                    "toPort": 22,
                    "ipRanges": {"items": [{"cidrIp": "10.0.0.0/8"}]},
                }
            ]
        },
    }
    answer = record["responseElements"]
    assert answer is not None
    assert (answer["requestId"], answer["_return"]) == (asked, True)
    assert answer["securityGroupRuleSet"]["items"][0]["cidrIpv4"] == "10.0.0.0/8"
    read = account.record(request_id(lambda: ec2.describe_vpcs(VpcIds=[vpc["Vpc"]["VpcId"]])))
    assert read["responseElements"] is None
    assert read["requestParameters"] == {"vpcSet": {"items": [{"vpcId": vpc["Vpc"]["VpcId"]}]}}
    assert account.record(request_id(lambda: ec2.describe_vpcs()))["requestParameters"] is None
    ec2.delete_security_group(GroupId=group["GroupId"])
    ec2.delete_vpc(VpcId=vpc["Vpc"]["VpcId"])


@pytest.mark.behaviour("cloudtrail.resources_are_named")
def test_events_are_found_by_what_they_touched(account: Account) -> None:
    ecs = account.client("ecs")
    ecs.create_cluster(clusterName="touched")
    ecs.describe_clusters(clusters=["touched"])
    ecs.delete_cluster(cluster="touched")
    attributes = [{"AttributeKey": "ResourceName", "AttributeValue": "touched"}]
    events = account.events(LookupAttributes=attributes)
    # Descriptions touch nothing.
    assert [event["EventName"] for event in events] == ["DeleteCluster", "CreateCluster"]
    arn = f"arn:aws:ecs:{account.sandbox.facts['region']}:{account.number}:cluster/touched"
    assert events[1]["Resources"] == [
        {"ResourceType": "AWS::ECS::Cluster", "ResourceName": "touched"},
        {"ResourceType": "AWS::ECS::Cluster", "ResourceName": arn},
    ]


@pytest.mark.behaviour("cloudtrail.username_is_of_the_identity", "cloudtrail.reads_with_other_names_are_reads")
def test_users_and_role_sessions_are_known_by_their_names(account: Account) -> None:
    iam, sts = account.client("iam"), account.client("sts")
    iam.create_user(UserName="alice")
    key = iam.create_access_key(UserName="alice")["AccessKey"]
    role = iam.create_role(RoleName="deployer", AssumeRolePolicyDocument=TRUST)["Role"]
    session = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="run-7")["Credentials"]
    as_alice = account.client("ecs", aws_access_key_id=key["AccessKeyId"], aws_secret_access_key=key["SecretAccessKey"])
    as_role = account.client(
        "ecs",
        aws_access_key_id=session["AccessKeyId"],
        aws_secret_access_key=session["SecretAccessKey"],
        aws_session_token=session["SessionToken"],
    )
    as_alice.list_clusters()
    as_role.list_clusters()
    by_name = {
        name: account.events(LookupAttributes=[{"AttributeKey": "Username", "AttributeValue": name}])
        for name in ("alice", "run-7", "root")
    }
    assert (len(by_name["alice"]), len(by_name["run-7"])) == (1, 1)
    of_alice, of_role = by_name["alice"][0], by_name["run-7"][0]
    identity = json.loads(of_alice["CloudTrailEvent"])["userIdentity"]
    assert (identity["type"], identity["userName"]) == ("IAMUser", "alice")
    assert identity["arn"] == f"arn:aws:iam::{account.number}:user/alice"
    identity = json.loads(of_role["CloudTrailEvent"])["userIdentity"]
    assert (identity["type"], identity["sessionContext"]["sessionIssuer"]["userName"]) == ("AssumedRole", "deployer")
    assert of_role["AccessKeyId"] == session["AccessKeyId"]
    (assumed,) = [event for event in by_name["root"] if event["EventName"] == "AssumeRole"]
    assert assumed["ReadOnly"] == "true"
    named = {resource["ResourceType"]: resource["ResourceName"] for resource in assumed["Resources"]}
    assert named["AWS::IAM::Role"] == role["Arn"]
    assert named["AWS::IAM::AccessKey"] == session["AccessKeyId"]


def test_whoever_comes_with_a_web_identity_is_known_by_its_token(account: Account) -> None:
    claims = {"iss": "https://token.example.com", "aud": "sts.amazonaws.com", "sub": "repo:papyrus/ops:ref"}
    token = ".".join(base64.urlsafe_b64encode(part).decode() for part in (b"{}", json.dumps(claims).encode(), b"x"))
    sts = account.client("sts")
    sts.meta.events.register("choose-signer.sts.*", lambda **_: UNSIGNED)
    role = f"arn:aws:iam::{account.sandbox.facts['account_id']}:role/none"
    asked = request_id(
        lambda: sts.assume_role_with_web_identity(RoleArn=role, RoleSessionName="run", WebIdentityToken=token)
    )
    # Without a key the call belongs to the sandbox's own account.
    own = Account(account.sandbox, account.sandbox.facts["account_id"])
    record = own.record(asked)
    assert record["userIdentity"] == {
        "type": "WebIdentityUser",
        "principalId": "token.example.com:sts.amazonaws.com:repo:papyrus/ops:ref",
        "userName": "repo:papyrus/ops:ref",
        "identityProvider": f"arn:aws:iam::{own.number}:oidc-provider/token.example.com",
    }
    assert token not in json.dumps(record)
    attributes = [{"AttributeKey": "Username", "AttributeValue": "repo:papyrus/ops:ref"}]
    assert len(own.events(LookupAttributes=attributes)) == 1


@pytest.mark.behaviour("cloudtrail.large_fields_are_left_out")
def test_a_field_over_100_kb_is_left_out_and_says_so(account: Account) -> None:
    clusters = [f"cluster-{number:05}-{'x' * 200}" for number in range(1_000)]
    record = account.record(request_id(lambda: account.client("ecs").describe_clusters(clusters=clusters)))
    assert record["requestParameters"].get("omitted") is True
    assert record["requestParameters"]["originalSize"] > 200_000


def test_the_history_survives_a_kill() -> None:
    with open_folder() as root:
        sandbox = Sandbox(root).up()
        try:
            account = new_account(sandbox)
            account.client("ecs").list_clusters()
            time.sleep(1)
            os.kill(sandbox.facts["pid"], signal.SIGKILL)
            sandbox.up()
            with sandbox.switched(lookup_events_rate=0):
                assert "ListClusters" in [event["EventName"] for event in account.events()]
        finally:
            sandbox.down()
