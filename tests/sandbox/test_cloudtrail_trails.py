"""CloudTrail's trails: names, how many, and the bucket that they write to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.sandbox.audit_support import Account, new_account
from tests.sandbox.support import Sandbox, refused


@dataclass
class Trails:
    account: Account
    bucket: str
    client: Any

    def allow(self) -> None:
        """Let CloudTrail write to the bucket, as its user guide says."""
        arn, service = f"arn:aws:s3:::{self.bucket}", {"Service": "cloudtrail.amazonaws.com"}
        statements = [
            {"Effect": "Allow", "Principal": service, "Action": "s3:GetBucketAcl", "Resource": arn},
            {"Effect": "Allow", "Principal": service, "Action": "s3:PutObject", "Resource": f"{arn}/AWSLogs/*"},
        ]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.account.client("s3").put_bucket_policy(Bucket=self.bucket, Policy=policy)


@pytest.fixture
def trails(sandbox: Sandbox) -> Iterator[Trails]:
    account = new_account(sandbox)
    bucket, s3 = f"trail-{account.number}", account.client("s3")
    region = sandbox.facts["region"]
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    yield Trails(account, bucket, account.client("cloudtrail"))
    s3.delete_bucket_policy(Bucket=bucket)
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.behaviour("cloudtrail.a_trail_needs_its_bucket")
def test_a_bucket_that_is_not_there_is_refused(trails: Trails) -> None:
    with refused("S3BucketDoesNotExistException", "no-such-bucket does not exist!", 400):
        trails.client.create_trail(Name="audit", S3BucketName="no-such-bucket")


@pytest.mark.behaviour("cloudtrail.a_trail_may_write_to_its_bucket")
def test_a_bucket_that_cloudtrail_may_not_write_to_is_refused(trails: Trails) -> None:
    with refused("InsufficientS3BucketPolicyException", trails.bucket, 400):
        trails.client.create_trail(Name="audit", S3BucketName=trails.bucket)
    trails.allow()
    made = trails.client.create_trail(Name="audit", S3BucketName=trails.bucket)
    assert made["TrailARN"].endswith(f":{trails.account.number}:trail/audit")
    trails.client.delete_trail(Name="audit")


@pytest.mark.behaviour("cloudtrail.five_trails_a_region")
def test_a_sixth_trail_is_refused(trails: Trails) -> None:
    trails.allow()
    for number in range(5):
        trails.client.create_trail(Name=f"audit-{number}", S3BucketName=trails.bucket)
    with refused("MaximumNumberOfTrailsExceededException", "already has 5 trails", 400):
        trails.client.create_trail(Name="audit-5", S3BucketName=trails.bucket)
    for number in range(5):
        trails.client.delete_trail(Name=f"audit-{number}")


@pytest.mark.behaviour("cloudtrail.only_trails_that_are_there")
@pytest.mark.parametrize("method", ["get_trail", "get_trail_status", "start_logging", "stop_logging", "delete_trail"])
def test_a_trail_that_is_not_there_is_refused(trails: Trails, method: str) -> None:
    arn = f"trail/none for the user: {trails.account.number}"
    with refused("TrailNotFoundException", arn, 400):
        getattr(trails.client, method)(Name="none")


@pytest.mark.behaviour("cloudtrail.a_trail_has_a_proper_name")
@pytest.mark.parametrize("name", ["ab", "a" * 129, "-audit", "audit..prd", "10.0.0.1", "au dit"])
def test_names_that_no_trail_can_have_are_refused(trails: Trails, name: str) -> None:
    with refused("InvalidTrailNameException", status=400):
        trails.client.create_trail(Name=name, S3BucketName=trails.bucket)
