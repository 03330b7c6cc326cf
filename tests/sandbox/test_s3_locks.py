"""S3's Object Lock in the sandbox: what is locked stays, for as long as it was said, over restarts too."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sandbox.s3_support import HERE, Make, upload
from tests.sandbox.support import Sandbox, open_folder, refused

# Buckets with Object Lock stay, and their objects, as they would on AWS: each test has a name of its own.
LOCKED = "protected by object lock"


def soon(seconds: float = 3600) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


def retention(mode: str, seconds: float = 3600) -> dict[str, Any]:
    return {"Mode": mode, "RetainUntilDate": soon(seconds)}


def test_a_compliance_lock_lets_go_of_nothing(s3: Any, bucket: Make) -> None:
    name = bucket("ledger-compliance", lock=True)
    held = {"Bucket": name, "Key": "k"}
    version = s3.put_object(**held, Body=b"1", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=soon())[
        "VersionId"
    ]
    assert s3.put_object(**held, Body=b"2")["VersionId"] != version
    with refused("AccessDenied", LOCKED, 403):
        s3.delete_object(**held, VersionId=version, BypassGovernanceRetention=True)
    errors = s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "k", "VersionId": version}]})["Errors"]
    assert [(error["Code"], error["VersionId"]) for error in errors] == [("AccessDenied", version)]
    for looser in (retention("COMPLIANCE", 60), retention("GOVERNANCE", 7200)):
        with refused("AccessDenied", LOCKED, 403):
            s3.put_object_retention(**held, VersionId=version, Retention=looser, BypassGovernanceRetention=True)
    s3.put_object_retention(**held, VersionId=version, Retention=retention("COMPLIANCE", 7200))
    s3.delete_object(**held)
    assert s3.get_object(**held, VersionId=version)["Body"].read() == b"1"
    with refused("BucketNotEmpty", status=409):
        s3.delete_bucket(Bucket=name)


def test_a_governance_lock_can_be_passed_by_who_says_so(s3: Any, bucket: Make) -> None:
    held = {"Bucket": bucket("ledger-governance", lock=True), "Key": "k"}
    version = s3.put_object(**held, Body=b"1", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=soon())[
        "VersionId"
    ]
    with refused("AccessDenied", LOCKED, 403):
        s3.delete_object(**held, VersionId=version)
    s3.delete_object(**held, VersionId=version, BypassGovernanceRetention=True)
    with refused("NoSuchVersion", status=404):
        s3.get_object(**held, VersionId=version)


def test_a_lock_ends_with_its_time_and_a_hold_with_its_end(s3: Any, bucket: Make) -> None:
    held = {"Bucket": bucket("ledger-time", lock=True), "Key": "k"}
    lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": soon(1.2)}
    version = s3.put_object(**held, Body=b"1", **lock, ObjectLockLegalHoldStatus="ON")["VersionId"]
    # The emulator counts the whole last second.
    time.sleep(2.3)
    with refused("AccessDenied", LOCKED, 403):
        s3.delete_object(**held, VersionId=version)
    s3.put_object_legal_hold(**held, VersionId=version, LegalHold={"Status": "OFF"})
    s3.delete_object(**held, VersionId=version)


def test_locks_need_a_bucket_made_for_them(s3: Any, bucket: Make) -> None:
    held = {"Bucket": bucket("unlocked"), "Key": "k"}
    s3.put_object(**held, Body=b"1")
    with refused("InvalidRequest", "Object Lock Configuration", 400):
        s3.put_object_retention(**held, Retention=retention("COMPLIANCE"))
    with refused("InvalidRequest", status=400):
        s3.put_object(**held, Body=b"1", ObjectLockLegalHoldStatus="ON")
    with refused("InvalidBucketState", status=409):
        s3.put_object_lock_configuration(
            Bucket=held["Bucket"], ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
        )


@pytest.mark.behaviour("s3.versioning_of_a_locked_bucket_stays")
def test_versioning_of_a_ledger_is_not_suspended(s3: Any, bucket: Make) -> None:
    name = bucket("ledger-versioned", lock=True)
    with refused("InvalidBucketState", "Object Lock configuration is present", 409):
        s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Suspended"})
    assert s3.get_bucket_versioning(Bucket=name)["Status"] == "Enabled"


@pytest.mark.behaviour("s3.retention_ends_in_the_future")
def test_nothing_is_locked_until_yesterday(s3: Any, bucket: Make) -> None:
    held = {"Bucket": bucket("ledger-past", lock=True), "Key": "k"}
    s3.put_object(**held, Body=b"1")
    with refused("InvalidArgument", "must be in the future", 400):
        s3.put_object_retention(**held, Retention=retention("GOVERNANCE", -60))
    with refused("InvalidArgument", "must be in the future", 400):
        s3.put_object(**held, Body=b"2", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=soon(-60))


@pytest.mark.behaviour("s3.lock_has_mode_and_date", "s3.default_retention_lasts")
def test_a_lock_is_whole(s3: Any, bucket: Make) -> None:
    name = bucket("ledger-whole", lock=True)
    with refused("InvalidArgument", "must both be supplied", 400):
        s3.put_object(Bucket=name, Key="k", Body=b"1", ObjectLockMode="GOVERNANCE")
    with refused("InvalidArgument", "positive", 400):
        default_retention(s3, name, Days=0)


def default_retention(s3: Any, name: str, **period: int) -> None:
    rule = {"DefaultRetention": {"Mode": "GOVERNANCE", **period}}
    s3.put_object_lock_configuration(
        Bucket=name, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )


@pytest.mark.behaviour("s3.uploads_and_copies_are_locked")
def test_whatever_comes_into_a_ledger_is_locked(s3: Any, bucket: Make) -> None:
    name = bucket("ledger-default", lock=True)
    default_retention(s3, name, Days=1)
    s3.put_object(Bucket=name, Key="put", Body=b"1")
    s3.copy_object(Bucket=name, Key="copied", CopySource={"Bucket": name, "Key": "put"})
    call, parts = upload(s3, name, b"a")
    s3.complete_multipart_upload(**call, MultipartUpload={"Parts": parts})
    for key in ("put", "copied", "big"):
        assert s3.get_object_retention(Bucket=name, Key=key)["Retention"]["Mode"] == "GOVERNANCE"
    call, parts = upload(s3, name, b"a", ObjectLockMode="COMPLIANCE", ObjectLockRetainUntilDate=soon())
    s3.complete_multipart_upload(**call, MultipartUpload={"Parts": parts})
    assert s3.get_object_retention(Bucket=name, Key="big")["Retention"]["Mode"] == "COMPLIANCE"


def test_locks_and_keys_outlive_the_sandbox() -> None:
    with open_folder() as root:
        running = Sandbox(root)
        try:
            running.up()
            s3, kms = running.client("s3"), running.client("kms")
            s3.create_bucket(Bucket="ledger-kept", ObjectLockEnabledForBucket=True, **HERE)
            held = {"Bucket": "ledger-kept", "Key": "a/b"}
            lock = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": soon()}
            version = s3.put_object(**held, Body=b"1", **lock)["VersionId"]
            on_hold = s3.put_object(**held, Body=b"2", ObjectLockLegalHoldStatus="ON")["VersionId"]
            key = kms.create_key(KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")["KeyMetadata"]["KeyId"]
            call = {"KeyId": key, "Message": b"sealed", "SigningAlgorithm": "ECDSA_SHA_256"}
            signature = kms.sign(**call)["Signature"]
            blob = kms.encrypt(KeyId=kms.create_key()["KeyMetadata"]["KeyId"], Plaintext=b"hidden")["CiphertextBlob"]
            running.down()
            running.up()
            s3, kms = running.client("s3"), running.client("kms")
            assert s3.get_object(**held, VersionId=version)["Body"].read() == b"1"
            for one in (version, on_hold):
                with refused("AccessDenied", LOCKED, 403):
                    s3.delete_object(**held, VersionId=one)
            assert kms.verify(**call, Signature=signature)["SignatureValid"]
            assert kms.decrypt(CiphertextBlob=blob)["Plaintext"] == b"hidden"
        finally:
            running.down()
