"""Buckets for tests of S3: made in this region, emptied and removed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

HERE = {"CreateBucketConfiguration": {"LocationConstraint": "us-west-2"}}
# (name, lock=False, versioned=False) → name of a bucket that was made.
Make = Callable[..., str]


def empty(s3: Any, bucket: str) -> None:
    """Remove all that the bucket holds, and the bucket."""
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for one in [*page.get("Versions", []), *page.get("DeleteMarkers", [])]:
            s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
    s3.delete_bucket(Bucket=bucket)


def upload(s3: Any, name: str, *parts: bytes, **settings: Any) -> tuple[dict[str, str], list[dict[str, Any]]]:
    """(what names the upload, its parts as CompleteMultipartUpload wants them)"""
    call = {"Bucket": name, "Key": "big"}
    call["UploadId"] = s3.create_multipart_upload(**call, **settings)["UploadId"]
    sent = [s3.upload_part(**call, PartNumber=n, Body=part) for n, part in enumerate(parts, 1)]
    return call, [{"PartNumber": n, "ETag": answer["ETag"]} for n, answer in enumerate(sent, 1)]
