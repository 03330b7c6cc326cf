"""S3 of the sandbox: buckets, keys, versions, uploads in parts, policies."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.sandbox.s3_support import HERE, Make, upload
from tests.sandbox.support import Sandbox, refused

OTHER_ACCOUNT = "210987654321"
MEBIBYTE = 1024 * 1024


def test_what_does_not_exist_is_not_found(s3: Any, bucket: Make) -> None:
    for call in (s3.list_objects_v2, s3.get_bucket_versioning, s3.delete_bucket):
        with refused("NoSuchBucket", status=404):
            call(Bucket="nobody-has-this")
    name = bucket("finds")
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=name, Key="k")
    with refused("404", status=404):
        s3.head_object(Bucket=name, Key="k")
    s3.delete_object(Bucket=name, Key="k")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_tagging", "NoSuchTagSet"),
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
    ],
)
def test_what_was_not_configured_is_not_found(s3: Any, bucket: Make, call: str, code: str) -> None:
    with refused(code, status=404):
        getattr(s3, call)(Bucket=bucket("bare"))


def test_a_new_bucket_encrypts_and_is_owned(s3: Any, bucket: Make) -> None:
    name = bucket("defaults")
    rules = s3.get_bucket_encryption(Bucket=name)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rules[0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    ownership = s3.get_bucket_ownership_controls(Bucket=name)["OwnershipControls"]["Rules"]
    assert ownership == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    with refused("AccessControlListNotSupported", status=400):
        s3.put_bucket_acl(Bucket=name, ACL="log-delivery-write")


def test_a_name_is_taken_once_in_the_world(sandbox: Sandbox, s3: Any, bucket: Make) -> None:
    bucket("taken")
    with refused("BucketAlreadyOwnedByYou", status=409):
        s3.create_bucket(Bucket="taken", **HERE)
    stranger = client_of(sandbox, OTHER_ACCOUNT)
    with refused("BucketAlreadyExists", status=409):
        stranger.create_bucket(Bucket="taken", **HERE)
    with refused("AccessDenied", status=403):
        stranger.list_objects_v2(Bucket="taken")


def client_of(sandbox: Sandbox, account: str) -> Any:
    facts = {**sandbox.facts, "access_key_id": account}
    return Sandbox(sandbox.root, facts).client("s3")


@pytest.mark.behaviour("s3.the_bucket_is_whose_it_should_be")
def test_a_bucket_of_another_owner_than_expected_is_denied(s3: Any, bucket: Make) -> None:
    name = bucket("owned")
    s3.put_object(Bucket=name, Key="k", Body=b"x", ExpectedBucketOwner="123456789012")
    with refused("AccessDenied", status=403):
        s3.put_object(Bucket=name, Key="k", Body=b"x", ExpectedBucketOwner=OTHER_ACCOUNT)
    with refused("AccessDenied", status=403):
        s3.get_bucket_versioning(Bucket=name, ExpectedBucketOwner=OTHER_ACCOUNT)
    with refused("403", status=403):
        s3.head_bucket(Bucket=name, ExpectedBucketOwner=OTHER_ACCOUNT)


def test_a_bucket_that_holds_something_stays(s3: Any, bucket: Make) -> None:
    name = bucket("full", versioned=True)
    version = s3.put_object(Bucket=name, Key="k", Body=b"x")["VersionId"]
    marker = s3.delete_object(Bucket=name, Key="k")["VersionId"]
    assert "Contents" not in s3.list_objects_v2(Bucket=name)
    with refused("BucketNotEmpty", status=409):
        s3.delete_bucket(Bucket=name)
    for one in (version, marker):
        s3.delete_object(Bucket=name, Key="k", VersionId=one)


def test_versions_and_markers(s3: Any, bucket: Make) -> None:
    name = bucket("versions", versioned=True)
    first, second = (s3.put_object(Bucket=name, Key="k", Body=body)["VersionId"] for body in (b"1", b"2"))
    assert s3.get_object(Bucket=name, Key="k", VersionId=first)["Body"].read() == b"1"
    marker = s3.delete_object(Bucket=name, Key="k")
    assert marker["DeleteMarker"]
    with refused("NoSuchKey", status=404):
        s3.get_object(Bucket=name, Key="k")
    with refused("MethodNotAllowed", status=405):
        s3.get_object(Bucket=name, Key="k", VersionId=marker["VersionId"])
    with refused("NoSuchVersion", status=404):
        s3.get_object(Bucket=name, Key="k", VersionId="nobody")
    s3.delete_object(Bucket=name, Key="k", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=name, Key="k")["VersionId"] == second


def test_what_is_written_on_a_condition(s3: Any, bucket: Make) -> None:
    name = bucket("conditions")
    etag = s3.put_object(Bucket=name, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=name, Key="k", Body=b"2", IfNoneMatch="*")
    with refused("PreconditionFailed", status=412):
        s3.put_object(Bucket=name, Key="k", Body=b"2", IfMatch='"0123"')
    with refused("NoSuchKey", status=404):
        s3.put_object(Bucket=name, Key="absent", Body=b"2", IfMatch=etag)
    s3.put_object(Bucket=name, Key="k", Body=b"2", IfMatch=etag)
    with refused("304", status=304):
        s3.get_object(Bucket=name, Key="k", IfNoneMatch=s3.head_object(Bucket=name, Key="k")["ETag"])


def test_ranges_and_digests(s3: Any, bucket: Make) -> None:
    name = bucket("ranges")
    s3.put_object(Bucket=name, Key="k", Body=b"0123456789")
    assert s3.get_object(Bucket=name, Key="k", Range="bytes=2-4")["Body"].read() == b"234"
    assert s3.get_object(Bucket=name, Key="k", Range="bytes=-2")["Body"].read() == b"89"
    with refused("InvalidRange", status=416):
        s3.get_object(Bucket=name, Key="k", Range="bytes=10-")
    with refused("BadDigest", status=400):
        s3.put_object(Bucket=name, Key="k", Body=b"x", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")


def test_lists_come_in_pages(s3: Any, bucket: Make) -> None:
    name = bucket("pages")
    for number in range(5):
        s3.put_object(Bucket=name, Key=f"p/{number}", Body=b"x")
    s3.put_object(Bucket=name, Key="q/r", Body=b"x")
    pages = list(
        s3.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix="p/", PaginationConfig={"PageSize": 2})
    )
    assert [len(page["Contents"]) for page in pages] == [2, 2, 1]
    assert [one["Key"] for page in pages for one in page["Contents"]] == [f"p/{number}" for number in range(5)]
    folders = s3.list_objects_v2(Bucket=name, Delimiter="/")["CommonPrefixes"]
    assert [folder["Prefix"] for folder in folders] == ["p/", "q/"]


@pytest.mark.behaviour("s3.pages_go_on_by_their_token", "s3.a_version_marker_needs_its_key")
def test_a_page_begins_where_another_ended(s3: Any, bucket: Make) -> None:
    name = bucket("tokens")
    with refused("InvalidArgument", "continuation token", 400):
        s3.list_objects_v2(Bucket=name, ContinuationToken="nobody gave this out")
    with refused("InvalidArgument", "without a key marker", 400):
        s3.list_object_versions(Bucket=name, VersionIdMarker="x")


def test_parts_become_one_object(s3: Any, bucket: Make) -> None:
    call, parts = upload(s3, bucket("parts"), b"a" * 5 * MEBIBYTE, b"b")
    with refused("InvalidPart", status=400):
        s3.complete_multipart_upload(**call, MultipartUpload={"Parts": [{"PartNumber": 9, "ETag": '"0"'}]})
    done = s3.complete_multipart_upload(**call, MultipartUpload={"Parts": parts})
    assert done["ETag"].endswith('-2"')
    assert s3.head_object(Bucket="parts", Key="big")["ContentLength"] == 5 * MEBIBYTE + 1
    gone = {**call, "UploadId": "nobody"}
    with refused("NoSuchUpload", status=404):
        s3.abort_multipart_upload(**gone)
    with refused("NoSuchUpload", status=404):
        s3.upload_part(**gone, PartNumber=1, Body=b"x")


@pytest.mark.behaviour("s3.parts_have_their_least_size")
def test_small_parts_are_refused(s3: Any, bucket: Make) -> None:
    call, parts = upload(s3, bucket("small"), b"a", b"b")
    with refused("EntityTooSmall", status=400):
        s3.complete_multipart_upload(**call, MultipartUpload={"Parts": parts})
    s3.complete_multipart_upload(**call, MultipartUpload={"Parts": parts[:1]})


@pytest.mark.behaviour("s3.parts_are_named_in_order", "s3.an_upload_has_parts")
def test_parts_in_disorder_are_refused(s3: Any, bucket: Make) -> None:
    call, parts = upload(s3, bucket("order"), b"a", b"b")
    with refused("InvalidPartOrder", status=400):
        s3.complete_multipart_upload(**call, MultipartUpload={"Parts": parts[::-1]})
    with refused("MalformedXML", status=400):
        s3.complete_multipart_upload(**call, MultipartUpload={"Parts": []})
    s3.abort_multipart_upload(**call)


def policy(name: str, **changed: Any) -> str:
    principal = {"AWS": "arn:aws:iam::123456789012:root"}
    statement = {
        "Effect": "Allow",
        "Principal": principal,
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{name}/*",
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [{**statement, **changed}]})


@pytest.mark.behaviour("s3.a_bucket_policy_is_a_policy", "s3.policy_is_about_its_bucket")
def test_a_policy_is_one_and_about_its_bucket(s3: Any, bucket: Make) -> None:
    name = bucket("policed")
    for text in ("nothing", "{}", json.dumps({"Statement": [{"Effect": "Allow"}]})):
        with refused("MalformedPolicy", status=400):
            s3.put_bucket_policy(Bucket=name, Policy=text)
    with refused("MalformedPolicy", "invalid resource", 400):
        s3.put_bucket_policy(Bucket=name, Policy=policy("another"))
    s3.put_bucket_policy(Bucket=name, Policy=policy(name))
    assert json.loads(s3.get_bucket_policy(Bucket=name)["Policy"]) == json.loads(policy(name))


@pytest.mark.behaviour("s3.new_buckets_are_closed")
def test_a_new_bucket_takes_no_public_policy(s3: Any, bucket: Make) -> None:
    name = bucket("closed")
    block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert block["BlockPublicPolicy"]
    with refused("AccessDenied", "BlockPublicPolicy", 403):
        s3.put_bucket_policy(Bucket=name, Policy=policy(name, Principal="*"))
    s3.delete_public_access_block(Bucket=name)
    with refused("NoSuchPublicAccessBlockConfiguration", status=404):
        s3.get_public_access_block(Bucket=name)
    s3.put_bucket_policy(Bucket=name, Policy=policy(name, Principal="*"))


@pytest.mark.behaviour("s3.logs_go_to_a_bucket_that_exists")
def test_access_logs_need_their_bucket(s3: Any, bucket: Make) -> None:
    name = bucket("logged")
    enabled = {"LoggingEnabled": {"TargetBucket": "nobody-has-this", "TargetPrefix": ""}}
    with refused("InvalidTargetBucketForLogging", status=400):
        s3.put_bucket_logging(Bucket=name, BucketLoggingStatus=enabled)
    enabled["LoggingEnabled"]["TargetBucket"] = name
    s3.put_bucket_logging(Bucket=name, BucketLoggingStatus=enabled)


@pytest.mark.behaviour("s3.a_tag_key_is_given_once", "s3.a_lifecycle_rule_does_something")
def test_tags_and_lifecycle_rules_make_sense(s3: Any, bucket: Make) -> None:
    name = bucket("sense")
    with refused("InvalidTag", status=400):
        s3.put_bucket_tagging(Bucket=name, Tagging={"TagSet": [{"Key": "a", "Value": v} for v in "12"]})
    rule = {"ID": "idle", "Status": "Enabled", "Filter": {"Prefix": ""}}
    with refused("InvalidRequest", "At least one action", 400):
        s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [rule]})


@pytest.mark.behaviour("s3.presigned_urls_expire")
def test_a_presigned_url_is_good_for_its_time(s3: Any, bucket: Make) -> None:
    name = bucket("presigned")
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "k"}, ExpiresIn=3)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"x"
    time.sleep(3.2)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    assert caught.value.code == 403
    assert b"<Message>Request has expired</Message>" in caught.value.read()


@pytest.mark.behaviour("s3.the_managed_key_is_taken")
def test_without_a_key_objects_are_encrypted_under_the_managed_one(s3: Any, bucket: Make) -> None:
    name = bucket("managed-key")
    stored = s3.put_object(Bucket=name, Key="a", Body=b"a", ServerSideEncryption="aws:kms")
    assert stored["SSEKMSKeyId"].startswith("arn:aws:kms:us-west-2:123456789012:key/")
    assert s3.head_object(Bucket=name, Key="a")["SSEKMSKeyId"] == stored["SSEKMSKeyId"]
    own = s3.put_object(Bucket=name, Key="b", Body=b"b", ServerSideEncryption="aws:kms", SSEKMSKeyId="arn:aws:kms:x")
    assert own["SSEKMSKeyId"] == "arn:aws:kms:x"


@pytest.mark.behaviour("s3.a_copy_onto_itself_changes_something")
def test_an_object_is_copied_onto_itself_only_with_a_change(s3: Any, bucket: Make) -> None:
    name = bucket("copied-onto-itself")
    s3.put_object(Bucket=name, Key="a b", Body=b"a")
    source = {"Bucket": name, "Key": "a b"}
    with refused("InvalidRequest", "trying to copy an object to itself", 400):
        s3.copy_object(Bucket=name, Key="a b", CopySource=source)
    s3.copy_object(Bucket=name, Key="a b", CopySource=source, MetadataDirective="REPLACE", Metadata={"run": "7"})
    assert s3.head_object(Bucket=name, Key="a b")["Metadata"] == {"run": "7"}
    s3.copy_object(Bucket=name, Key="b", CopySource=source)


@pytest.mark.behaviour("s3.a_lifecycle_rule_has_an_id")
def test_a_lifecycle_rule_gets_an_id_that_stays(s3: Any, bucket: Make) -> None:
    name = bucket("lifecycle-ids")
    rule = {"Status": "Enabled", "Filter": {"Prefix": "a"}, "Expiration": {"Days": 1}}
    configuration = {"Rules": [rule, {**rule, "ID": "own", "Filter": {"Prefix": "b"}}]}
    s3.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=configuration)
    rules = [s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"] for _ in range(2)]
    assert rules[0][0].get("ID") and rules[0][1]["ID"] == "own"
    assert rules[0] == rules[1]


def test_what_is_not_served_is_said_not_to_be(s3: Any, bucket: Make) -> None:
    name = bucket("not-served")
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    inventory = {
        "Destination": {"S3BucketDestination": {"Bucket": f"arn:aws:s3:::{name}", "Format": "CSV"}},
        "IsEnabled": True,
        "Id": "i",
        "IncludedObjectVersions": "All",
        "Schedule": {"Frequency": "Daily"},
    }
    for call in (
        lambda: s3.put_bucket_inventory_configuration(Bucket=name, Id="i", InventoryConfiguration=inventory),
        lambda: s3.list_bucket_inventory_configurations(Bucket=name),
        lambda: s3.delete_bucket_inventory_configuration(Bucket=name, Id="i"),
        lambda: s3.get_bucket_metrics_configuration(Bucket=name, Id="i"),
        lambda: s3.delete_bucket_analytics_configuration(Bucket=name, Id="i"),
        lambda: s3.get_bucket_policy_status(Bucket=name),
        lambda: s3.get_object_torrent(Bucket=name, Key="k"),
    ):
        with refused("NotImplemented", "not implemented", 501):
            call()
    assert s3.get_object(Bucket=name, Key="k")["Body"].read() == b"x"


@pytest.mark.behaviour("s3.request_payment_is_shown")
def test_who_pays_for_requests_is_shown(s3: Any, bucket: Make) -> None:
    name = bucket("payers")
    first = s3.get_bucket_request_payment(Bucket=name).get("Payer")
    s3.put_bucket_request_payment(Bucket=name, RequestPaymentConfiguration={"Payer": "Requester"})
    assert (first, s3.get_bucket_request_payment(Bucket=name).get("Payer")) == ("BucketOwner", "Requester")


@pytest.mark.behaviour("s3.a_policy_has_no_lists_of_one")
def test_a_policy_is_shown_without_lists_of_one(s3: Any, bucket: Make) -> None:
    name = bucket("short-policy")
    statement: dict[str, Any] = {
        "Effect": "Deny",
        "Principal": {"AWS": [f"arn:aws:iam::{OTHER_ACCOUNT}:root"]},
        "Action": ["s3:GetObject"],
        "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
    }
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    short = {**statement, "Action": "s3:GetObject", "Principal": {"AWS": f"arn:aws:iam::{OTHER_ACCOUNT}:root"}}
    assert json.loads(s3.get_bucket_policy(Bucket=name)["Policy"])["Statement"] == [short]
