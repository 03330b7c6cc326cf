"""What S3 refuses: locks that would loosen, uploads in disorder, policies that are none, strangers' buckets."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from sandbox import emulator
from sandbox.requests import operations_with
from sandbox.rules import Refusal, rule

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest
    from sandbox.runtime import Runtime

# Of every part but the last. https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
SMALLEST_PART = 5 * 1024 * 1024


@rule("s3", *operations_with("s3", "ExpectedBucketOwner"), code="AccessDenied")
def the_bucket_is_whose_it_should_be(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A request that expects another account to own the bucket is denied.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html
    """
    expected = request.parameters.get("ExpectedBucketOwner")
    owner = emulator.service("s3")._bucket_owner_account(request.parameters.get("Bucket", "")) if expected else None
    return Refusal("AccessDenied", "Access Denied", 403) if owner and owner != expected else None


@rule("s3", "PutBucketVersioning", code="InvalidBucketState")
def versioning_of_a_locked_bucket_stays(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Versioning of a bucket with Object Lock cannot be suspended.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketVersioning.html
    """
    status = (request.parameters.get("VersioningConfiguration") or {}).get("Status")
    if status == "Suspended" and emulator.service("s3")._bucket_object_lock.get(request.parameters.get("Bucket")):
        text = "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed."
        return Refusal("InvalidBucketState", text, 409)
    return None


@rule("s3", "PutObject", "CopyObject", "CreateMultipartUpload", "PutObjectRetention", code="InvalidArgument")
def retention_ends_in_the_future(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A date until which an object is retained has to lie in the future.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObjectRetention.html
    """
    given = request.parameters
    until = (given.get("Retention") or {}).get("RetainUntilDate") or given.get("ObjectLockRetainUntilDate")
    if until and emulator.epoch(until) <= datetime.now(UTC).timestamp():
        return Refusal("InvalidArgument", "The retain until date must be in the future!")
    return None


@rule("s3", "PutObject", "CopyObject", "CreateMultipartUpload", code="InvalidArgument", stateful=False)
def lock_has_mode_and_date(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The mode of an object's lock and its date are given together.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html (x-amz-object-lock-mode)
    """
    given = request.parameters
    if bool(given.get("ObjectLockMode")) == bool(given.get("ObjectLockRetainUntilDate")):
        return None
    text = "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied"
    return Refusal("InvalidArgument", text)


@rule("s3", "PutObjectLockConfiguration", code="InvalidArgument", stateful=False)
def default_retention_lasts(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The period of a default retention is at least a day.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_DefaultRetention.html
    """
    rule_given = (request.parameters.get("ObjectLockConfiguration") or {}).get("Rule") or {}
    retention = rule_given.get("DefaultRetention") or {}
    if any(retention.get(unit) is not None and retention[unit] < 1 for unit in ("Days", "Years")):
        return Refusal("InvalidArgument", "Default retention period must be a positive integer value")
    return None


@rule("s3", "ListObjectsV2", code="InvalidArgument", stateful=False)
def pages_go_on_by_their_token(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A continuation token that was not given out is refused.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html (continuation-token)
    """
    token = request.parameters.get("ContinuationToken")
    if token is None:
        return None
    try:
        if base64.b64decode(token, validate=True).decode():
            return None
    except ValueError:
        pass
    return Refusal("InvalidArgument", "The continuation token provided is incorrect")


@rule("s3", "ListObjectVersions", code="InvalidArgument", stateful=False)
def a_version_marker_needs_its_key(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A version to go on from is one of a key: it cannot be given without the key's marker.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectVersions.html (version-id-marker)
    """
    if request.parameters.get("VersionIdMarker") and not request.parameters.get("KeyMarker"):
        return Refusal("InvalidArgument", "A version-id marker cannot be specified without a key marker.")
    return None


def _parts(request: ApiRequest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (request.parameters.get("MultipartUpload") or {}).get("Parts") or []
    return found


@rule("s3", "CompleteMultipartUpload", code="MalformedXML", stateful=False)
def an_upload_has_parts(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An upload cannot be completed without naming a part.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
    """
    text = "The XML you provided was not well-formed or did not validate against our published schema"
    return None if _parts(request) else Refusal("MalformedXML", text)


@rule("s3", "CompleteMultipartUpload", code="InvalidPartOrder", stateful=False)
def parts_are_named_in_order(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """The parts of an upload have to be listed by ascending number.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html (InvalidPartOrder)
    """
    numbers = [int(part.get("PartNumber") or 0) for part in _parts(request)]
    if numbers == sorted(set(numbers)):
        return None
    text = "The list of parts was not in ascending order. The parts list must be specified in order by part number."
    return Refusal("InvalidPartOrder", text)


@rule("s3", "CompleteMultipartUpload", code="EntityTooSmall")
def parts_have_their_least_size(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Each part of an upload but the last has to have 5 MiB at least.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html (EntityTooSmall)
    """
    upload = emulator.service("s3")._multipart_uploads.get(request.parameters.get("UploadId")) or {}
    held = upload.get("parts", {})
    named = [held.get(int(part.get("PartNumber") or 0)) for part in _parts(request)]
    if any(part is not None and part["size"] < SMALLEST_PART for part in named[:-1]):
        return Refusal("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size")
    return None


@rule("s3", "CopyObject", code="InvalidRequest", stateful=False)
def a_copy_onto_itself_changes_something(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """An object is copied onto itself only with other metadata, storage class, redirect or encryption.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html (x-amz-metadata-directive)
    """
    given = request.parameters
    source = unquote(str(given.get("CopySource", ""))).lstrip("/")
    changes = ("StorageClass", "WebsiteRedirectLocation", "ServerSideEncryption", "SSECustomerAlgorithm")
    if source != f"{given.get('Bucket')}/{given.get('Key')}" or given.get("MetadataDirective") == "REPLACE":
        return None
    if any(given.get(member) for member in changes):
        return None
    return Refusal(
        "InvalidRequest",
        "This copy request is illegal because it is trying to copy an object to itself without changing the object's "
        "metadata, storage class, website redirect location or encryption attributes.",
    )


@rule("s3", "PutBucketLogging", code="InvalidTargetBucketForLogging")
def logs_go_to_a_bucket_that_exists(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """Access logs can be sent to a bucket of the account only.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLogging.html
    """
    status = request.parameters.get("BucketLoggingStatus") or {}
    target = (status.get("LoggingEnabled") or {}).get("TargetBucket")
    if target is None or target in emulator.service("s3")._buckets:
        return None
    return Refusal("InvalidTargetBucketForLogging", "The target bucket for logging does not exist")


@rule("s3", "PutBucketTagging", "PutObjectTagging", code="InvalidTag", stateful=False)
def a_tag_key_is_given_once(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A tag set cannot hold the same key twice.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketTagging.html (InvalidTag)
    """
    keys = [tag.get("Key") for tag in (request.parameters.get("Tagging") or {}).get("TagSet") or []]
    if len(keys) == len(set(keys)):
        return None
    return Refusal("InvalidTag", "Cannot provide multiple Tags with the same key")


ACTIONS = (
    "Expiration",
    "Transitions",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionTransitions",
    "AbortIncompleteMultipartUpload",
)


@rule("s3", "PutBucketLifecycleConfiguration", code="InvalidRequest", stateful=False)
def a_lifecycle_rule_does_something(runtime: Runtime, request: ApiRequest) -> Refusal | None:
    """A lifecycle rule without an action is refused.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketLifecycleConfiguration.html
    """
    rules = (request.parameters.get("LifecycleConfiguration") or {}).get("Rules") or []
    if all(any(one.get(action) for action in ACTIONS) for one in rules):
        return None
    return Refusal("InvalidRequest", "At least one action needs to be specified in a rule.")
