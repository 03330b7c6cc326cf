"""IAM mode at the front door: signatures, and what a permission that is missing looks like in each protocol."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from sandbox.config import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from tests.sandbox.iam_support import User, allow, client, document, managed_policy, statement, unique, user
from tests.sandbox.support import Sandbox, refused, until

ROOT = {"AccessKeyId": ACCESS_KEY_ID, "SecretAccessKey": SECRET_ACCESS_KEY}
# A read of each protocol: service, operation, codes and status of an unknown key and a wrong secret, those of a denial.
PROTOCOLS = [
    ("sns", "list_topics", "InvalidClientTokenId", "SignatureDoesNotMatch", 403, "AuthorizationError", 403),
    ("elbv2", "describe_load_balancers", "InvalidClientTokenId", "SignatureDoesNotMatch", 403, "AccessDenied", 403),
    ("ec2", "describe_vpcs", "AuthFailure", "AuthFailure", 401, "UnauthorizedOperation", 403),
    (
        "ecs",
        "list_clusters",
        "UnrecognizedClientException",
        "InvalidSignatureException",
        400,
        "AccessDeniedException",
        400,
    ),
    ("s3", "list_buckets", "InvalidAccessKeyId", "SignatureDoesNotMatch", 403, "AccessDenied", 403),
    ("cloudwatch", "describe_alarms", "InvalidClientTokenId", "SignatureDoesNotMatch", 403, "AccessDenied", 403),
    ("rds", "describe_db_instances", "InvalidClientTokenId", "SignatureDoesNotMatch", 403, "AccessDenied", 403),
]
IDS = [row[0] for row in PROTOCOLS]


@pytest.fixture
def mode(sandbox: Sandbox) -> Iterator[Sandbox]:
    with sandbox.switched(iam=True):
        yield sandbox


@pytest.fixture
def who(mode: Sandbox) -> Iterator[User]:
    with user(mode) as made:
        yield made


def test_off_nobody_is_asked(sandbox: Sandbox) -> None:
    stranger = {"AccessKeyId": "AKIASTRANGER00000000", "SecretAccessKey": "x"}
    assert client(sandbox, "ecs", stranger).list_clusters()["clusterArns"] is not None


@pytest.mark.behaviour("iam.unknown_access_key")
@pytest.mark.parametrize(("service", "operation", "code", "_s", "status", "_d", "_n"), PROTOCOLS, ids=IDS)
def test_an_unknown_key_is_refused(
    mode: Sandbox, service: str, operation: str, code: str, _s: str, status: int, _d: str, _n: int
) -> None:
    stranger = {"AccessKeyId": "AKIASTRANGER00000000", "SecretAccessKey": "x"}
    message = {"s3": "does not exist in our records", "ec2": "access credentials"}.get(service, "security token")
    with refused(code, message, status):
        getattr(client(mode, service, stranger), operation)()


@pytest.mark.behaviour("iam.signature_does_not_match")
@pytest.mark.parametrize(("service", "operation", "_u", "code", "status", "_d", "_n"), PROTOCOLS, ids=IDS)
def test_a_wrong_secret_is_refused(
    mode: Sandbox, service: str, operation: str, _u: str, code: str, status: int, _d: str, _n: int
) -> None:
    with refused(code, "" if service == "ec2" else "signature we calculated does not match", status):
        getattr(client(mode, service, {**ROOT, "SecretAccessKey": "wrong"}), operation)()


@pytest.mark.behaviour("iam.decision_on")
@pytest.mark.parametrize(("service", "operation", "_u", "_s", "_t", "code", "status"), PROTOCOLS, ids=IDS)
def test_what_no_policy_allows_is_denied(
    who: User, service: str, operation: str, _u: str, _s: str, _t: int, code: str, status: int
) -> None:
    prefix = {"elbv2": "elasticloadbalancing"}.get(service, service)
    with refused(code, f"User: {who.arn} is not authorized to perform: ", status):
        getattr(who.client(service), operation)()
    who.put(allow(f"{prefix}:Describe*", f"{prefix}:List*"))
    getattr(who.client(service), operation)()


@pytest.mark.behaviour("iam.decision_on")
def test_a_denial_says_on_what_and_why(mode: Sandbox, who: User) -> None:
    group = "arn:aws:logs:us-west-2:123456789012:log-group:/app:log-stream:"
    why = f"on resource: {group} because no identity-based policy allows the logs:FilterLogEvents action"
    with refused("AccessDeniedException", why, 400):
        who.client("logs").filter_log_events(logGroupName="/app")
    queue = f"arn:aws:sqs:{mode.facts['region']}:123456789012:a-queue"
    whispered = f"perform: sqs:sendmessage on resource: {queue} because no identity-based policy allows the sqs:sendme"
    with refused("AccessDenied", whispered, 403):
        who.client("sqs").send_message(QueueUrl="http://x/123456789012/a-queue", MessageBody="m")
    everywhere = f"{mode.facts['region']}:123456789012:"
    with refused("AccessDenied", f"sqs:listqueues on resource: arn:aws:sqs:{everywhere} because", 403):
        who.client("sqs").list_queues()
    with refused("AuthorizationError", f"SNS:ListTopics on resource: arn:aws:sns:{everywhere}* because", 403):
        who.client("sns").list_topics()
    silent = "perform: elasticloadbalancing:DescribeLoadBalancers because no identity-based policy allows"
    with refused("AccessDenied", silent, 403):
        who.client("elbv2").describe_load_balancers()
    with refused("AccessDeniedException", "ecs:ListClusters on resource: * because", 400):
        who.client("ecs").list_clusters()
    with refused("AccessDenied", 'on resource: "arn:aws:s3:::a-bucket/a key" because no identity-based policy', 403):
        who.client("s3").put_object(Bucket="a-bucket", Key="a key", Body=b"x")
    with refused("UnauthorizedOperation", "You are not authorized to perform this operation. User: ", 403):
        who.client("ec2").delete_security_group(GroupId="sg-1")


@pytest.mark.behaviour("iam.explicit_denials")
def test_an_explicit_deny_is_named(who: User) -> None:
    who.put(document(statement("Allow", "*"), statement("Deny", "ecs:*")))
    who.client("sns").list_topics()
    with refused("AccessDeniedException", "with an explicit deny in an identity-based policy", 400):
        who.client("ecs").list_clusters()


@pytest.mark.behaviour("iam.inactive_access_key")
def test_an_inactive_key_is_refused(mode: Sandbox, who: User) -> None:
    who.put(allow("ecs:*"))
    iam = mode.client("iam")
    for status in ("Inactive", "Active"):
        iam.update_access_key(UserName=who.name, AccessKeyId=who.key["AccessKeyId"], Status=status)
        if status == "Active":
            who.client("ecs").list_clusters()
        else:
            with refused("UnrecognizedClientException", status=400):
                who.client("ecs").list_clusters()


@pytest.mark.behaviour("iam.unknown_access_key")
def test_a_deleted_key_is_refused(mode: Sandbox, who: User) -> None:
    who.put(allow("ecs:*"))
    who.client("ecs").list_clusters()
    mode.client("iam").delete_access_key(UserName=who.name, AccessKeyId=who.key["AccessKeyId"])
    with refused("UnrecognizedClientException", status=400):
        who.client("ecs").list_clusters()


@pytest.mark.behaviour("iam.changes_take_time_to_count")
def test_changes_take_time_to_count(sandbox: Sandbox) -> None:
    with sandbox.switched(iam=True, iam_seconds=1.0), user(sandbox, allow("ecs:*")) as new:
        with refused("UnrecognizedClientException", "security token", 400):
            new.client("ecs").list_clusters()

        def known() -> bool:
            with contextlib.suppress(new.client("ecs").exceptions.ClientError):
                new.client("ecs").list_clusters()
                return True
            return False

        until(known, "the key is known, the policy counts", 5)
        new.put(allow("sns:*"))
        new.client("ecs").list_clusters()
        time.sleep(1.1)
        with refused("AccessDeniedException"):
            new.client("ecs").list_clusters()


def signed(sandbox: Sandbox, at: datetime, body: bytes = b"{}") -> urllib.request.Request:
    """A ListClusters of root's, signed with an empty request as if it were that time."""
    headers = {
        "X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters",
        "Content-Type": "application/x-amz-json-1.1",
    }
    request = AWSRequest("POST", f"{sandbox.endpoint}/", headers=headers, data=b"{}")
    signer = botocore.auth.SigV4Auth(Credentials(ACCESS_KEY_ID, SECRET_ACCESS_KEY), "ecs", sandbox.facts["region"])
    with mock.patch.object(botocore.auth, "get_current_datetime", lambda: at):
        signer.add_auth(request)
    return urllib.request.Request(f"{sandbox.endpoint}/", body, dict(request.headers.items()), method="POST")


def answer(request: urllib.request.Request) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.behaviour("iam.signature_is_too_old")
def test_a_signature_is_good_for_a_quarter_of_an_hour(mode: Sandbox) -> None:
    now = datetime.now(UTC)
    assert answer(signed(mode, now - timedelta(minutes=14)))[0] == 200
    status, text = answer(signed(mode, now - timedelta(minutes=16)))
    assert (status, "Signature expired: " in text) == (400, True)
    status, text = answer(signed(mode, now + timedelta(minutes=16)))
    assert (status, "Signature not yet current: " in text) == (400, True)


@pytest.mark.behaviour("iam.signature_does_not_match")
def test_a_changed_body_is_noticed(mode: Sandbox) -> None:
    status, text = answer(signed(mode, datetime.now(UTC), b'{"maxResults": 1}'))
    assert (status, "InvalidSignatureException" in text) == (400, True)


@pytest.mark.behaviour("iam.no_signature")
def test_a_request_without_a_signature_is_refused(mode: Sandbox) -> None:
    headers = {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.ListClusters"}
    status, _, body = mode.http("POST", "/", b"{}", headers)
    assert (status, b"MissingAuthenticationTokenException" in body) == (400, True)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _, body = mode.http("POST", "/", b"Action=ListUsers&Version=2010-05-08", form)
    assert (status, b"<Code>MissingAuthenticationToken</Code>" in body) == (403, True)
    status, _, body = mode.http("POST", "/", b"{}", {**headers, "Authorization": "AWS4-HMAC-SHA256 nonsense"})
    assert (status, b"IncompleteSignatureException" in body) == (400, True)


def test_an_anonymous_read_of_a_bucket_is_refused(mode: Sandbox) -> None:
    status, _, body = mode.http("GET", "/some-bucket/key")
    assert (status, b"<Code>AccessDenied</Code>" in body) == (403, True)


def test_a_presigned_url_holds_until_it_expires(mode: Sandbox) -> None:
    s3 = client(mode, "s3", ROOT, signature_version="s3v4", s3={"addressing_style": "path"})
    bucket = unique("bucket")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": mode.facts["region"]})
    try:
        s3.put_object(Bucket=bucket, Key="a key/ü+x", Body=b"hello")
        url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a key/ü+x"}, ExpiresIn=3)
        assert answer(urllib.request.Request(url)) == (200, "hello")
        time.sleep(4.1)
        status, text = answer(urllib.request.Request(url))
        assert (status, "Request has expired" in text) == (403, True)
        other = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "a key/ü+x"})
        status, text = answer(urllib.request.Request(other.replace("X-Amz-Expires=3600", "X-Amz-Expires=36000")))
        assert (status, "SignatureDoesNotMatch" in text) == (403, True)
    finally:
        s3.delete_object(Bucket=bucket, Key="a key/ü+x")
        s3.delete_bucket(Bucket=bucket)


@pytest.mark.behaviour("iam.a_group_gives_its_policies_to_its_users")
def test_a_groups_policies_are_its_users(mode: Sandbox, who: User) -> None:
    iam, group = mode.client("iam"), unique("group")
    iam.create_group(GroupName=group)
    try:
        with managed_policy(mode, allow("ecs:*")) as arn:
            iam.attach_group_policy(GroupName=group, PolicyArn=arn)
            iam.add_user_to_group(GroupName=group, UserName=who.name)
            who.client("ecs").list_clusters()
            iam.remove_user_from_group(GroupName=group, UserName=who.name)
            with refused("AccessDeniedException"):
                who.client("ecs").list_clusters()
            iam.detach_group_policy(GroupName=group, PolicyArn=arn)
    finally:
        iam.delete_group(GroupName=group)


@pytest.mark.behaviour("iam.limits_of_the_boundary")
def test_a_boundary_limits_a_user(mode: Sandbox) -> None:
    with (
        managed_policy(mode, allow("ecs:*")) as arn,
        user(mode, allow("*"), PermissionsBoundary=arn) as bounded,
    ):
        bounded.client("ecs").list_clusters()
        with refused("AuthorizationError", "because no permissions boundary allows the SNS:ListTopics action", 403):
            bounded.client("sns").list_topics()


@pytest.fixture
def bucket(mode: Sandbox) -> Iterator[str]:
    s3, name = mode.client("s3"), unique("bucket")
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": mode.facts["region"]})
    s3.put_object(Bucket=name, Key="a", Body=b"a")
    yield name
    s3.delete_bucket_policy(Bucket=name)
    s3.delete_object(Bucket=name, Key="a")
    s3.delete_bucket(Bucket=name)


@pytest.mark.behaviour("iam.policy_of")
def test_a_buckets_policy_grants_and_denies(mode: Sandbox, who: User, bucket: str) -> None:
    s3 = mode.client("s3")
    own = f"arn:aws:s3:::{bucket}/*"
    grant = {**statement("Allow", "s3:GetObject", resource=own), "Principal": {"AWS": who.arn}}
    with refused("AccessDenied", status=403):
        who.client("s3").get_object(Bucket=bucket, Key="a")
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document(grant)))
    assert who.client("s3").get_object(Bucket=bucket, Key="a")["Body"].read() == b"a"
    who.put(allow("s3:*"))
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(document({**grant, "Effect": "Deny"})))
    with refused("AccessDenied", "with an explicit deny in a resource-based policy", 403):
        who.client("s3").get_object(Bucket=bucket, Key="a")


def test_s3_actions_have_names_of_their_own(who: User, bucket: str) -> None:
    s3 = who.client("s3")
    who.put(allow("s3:GetObject", "s3:PutObject", resource=f"arn:aws:s3:::{bucket}/*"))
    s3.head_object(Bucket=bucket, Key="a")
    s3.copy_object(Bucket=bucket, Key="a", CopySource={"Bucket": bucket, "Key": "a"}, MetadataDirective="REPLACE")
    with refused("AccessDenied", "s3:ListBucket", 403):
        s3.list_objects_v2(Bucket=bucket)
    with refused("AccessDenied", "s3:GetEncryptionConfiguration", 403):
        s3.get_bucket_encryption(Bucket=bucket)
    prefix = {"StringLike": {"s3:prefix": "logs/*"}}
    who.put(allow("s3:ListBucket", resource=f"arn:aws:s3:::{bucket}", condition=prefix))
    s3.list_objects_v2(Bucket=bucket, Prefix="logs/2026")
    with refused("AccessDenied", "s3:ListBucket", 403):
        s3.list_objects_v2(Bucket=bucket)
    who.put(allow("s3:PutObject", resource=f"arn:aws:s3:::{bucket}/*"))
    with refused("AccessDenied", "s3:GetObject", 403):
        s3.copy_object(Bucket=bucket, Key="b", CopySource={"Bucket": bucket, "Key": "a"})


def test_the_switch_works_while_the_sandbox_runs(sandbox: Sandbox) -> None:
    with user(sandbox) as nobody:
        nobody.client("ecs").list_clusters()
        with sandbox.switched(iam=True), refused("AccessDeniedException"):
            nobody.client("ecs").list_clusters()
        nobody.client("ecs").list_clusters()


def test_the_record_says_who_was_refused(mode: Sandbox, who: User) -> None:
    with refused("AccessDeniedException"):
        who.client("ecs").list_clusters()
    call: dict[str, Any] = mode.calls()[-1]
    assert (call["operation"], call["error_code"]) == ("ListClusters", "AccessDeniedException")
    assert call["access_key_id"] == who.key["AccessKeyId"]
