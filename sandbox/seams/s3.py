"""S3 on ministack: locks that hold and last, buckets closed to the public, URLs that expire."""

from __future__ import annotations

import base64
import json
import re
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sandbox import emulator
from sandbox.behaviours import behaviour

if TYPE_CHECKING:
    from sandbox.runtime import Runtime

Headers = dict[str, str]
Handler = Callable[..., Any]
LOCK_HEADERS = "x-amz-object-lock-"
KEY_HEADER = "x-amz-server-side-encryption-aws-kms-key-id"
ELEMENTS = (("Effect",), ("Principal", "NotPrincipal"), ("Action", "NotAction"), ("Resource", "NotResource"))
UPLOAD_ID = re.compile(rb"<UploadId>([^<]+)</UploadId>")


def install(runtime: Runtime) -> None:
    s3 = emulator.service("s3")
    # Kept in memory alone by the emulator: a restart would free what is locked.
    s3._PERSISTED_BUCKET_DICTS.update(object_retention=s3._object_retention, object_legal_hold=s3._object_legal_hold)
    stock = s3._new_bucket_public_access_block
    s3._new_bucket_public_access_block = lambda: new_buckets_are_closed(s3, stock)
    verify = s3._verify_presigned_sigv4
    s3._verify_presigned_sigv4 = lambda *given: presigned_urls_expire(s3, given[-1]) or verify(*given)
    put_policy = s3._put_bucket_policy
    s3._put_bucket_policy = lambda name, body: (
        a_bucket_policy_is_a_policy(s3, body)
        or policy_is_about_its_bucket(s3, name, body)
        or put_policy(name, a_policy_has_no_lists_of_one(body))
    )
    encrypted = s3._resolve_sse_write_headers
    s3._resolve_sse_write_headers = lambda headers, bucket: encrypted(the_managed_key_is_taken(headers), bucket)
    dispatch = s3._dispatch
    s3._dispatch = lambda *given: dispatch(*given[:-1], request_payment_is_shown(given[-1]))
    put_lifecycle = s3._put_bucket_lifecycle
    s3._put_bucket_lifecycle = lambda name, body: _with_names(s3, put_lifecycle(name, body), name)
    begin, complete, copy = s3._create_multipart_upload, s3._complete_multipart_upload, s3._copy_object
    s3._create_multipart_upload = lambda bucket, key, headers: _begin(s3, begin(bucket, key, headers), headers)
    s3._complete_multipart_upload = lambda *given: _complete(s3, complete, *given)
    s3._copy_object = lambda bucket, key, headers: _copy(s3, copy(bucket, key, headers), bucket, key, headers)


@behaviour("s3", otherwise=lambda headers: headers)
def the_managed_key_is_taken(headers: Headers) -> Headers:
    """What is stored with aws:kms and no key's id is encrypted under the AWS managed key, aws/s3.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    """
    if headers.get("x-amz-server-side-encryption") != "aws:kms" or headers.get(KEY_HEADER):
        return headers
    responses = emulator.core("responses")
    place = f"arn:aws:kms:{responses.get_region()}:{responses.get_account_id()}:"
    return {**headers, KEY_HEADER: f"{place}key/{uuid.uuid5(uuid.NAMESPACE_URL, place + 'alias/aws/s3')}"}


@behaviour("s3", otherwise=lambda s3, stock: stock())
def new_buckets_are_closed(s3: Any, stock: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A new bucket blocks public access, and so refuses a public policy, until that is changed.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
    """
    return {"_public_access_block": s3._NEW_BUCKET_PUBLIC_ACCESS_BLOCK}


@behaviour("s3", code="AccessDenied")
def presigned_urls_expire(s3: Any, query: dict[str, Any]) -> Any:
    """A presigned URL is good until the time that is written in it, for both versions of the signature.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html
    """
    made, seconds, until = (s3._qp(query, name) for name in ("X-Amz-Date", "X-Amz-Expires", "Expires"))
    if re.fullmatch(r"\d{8}T\d{6}Z", made) and seconds.isdigit():
        ends = datetime.strptime(made, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() + int(seconds)
    elif s3._qp(query, "AWSAccessKeyId") and until.isdigit():
        ends = float(until)
    else:
        return None
    if time.time() < ends:
        return None
    return s3._error("AccessDenied", "Request has expired", 403)


def _statements(body: bytes) -> list[dict[str, Any]]:
    """The statements of a policy; none when it is no policy."""
    try:
        document = json.loads(body)
    except ValueError:
        return []
    found = document.get("Statement") if isinstance(document, dict) else None
    found = [found] if isinstance(found, dict) else found
    return found if isinstance(found, list) and all(isinstance(one, dict) for one in found) else []


@behaviour("s3", code="MalformedPolicy", stateful=False)
def a_bucket_policy_is_a_policy(s3: Any, body: bytes) -> Any:
    """A bucket policy that is no JSON document, or whose statements lack an element, is refused.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html
    """
    statements = _statements(body)
    if not statements:
        return s3._error("MalformedPolicy", "Policies must be valid JSON and the first byte must be '{'", 400)
    lacking = [names[0] for one in statements for names in ELEMENTS if not any(name in one for name in names)]
    return s3._error("MalformedPolicy", f"Missing required field {lacking[0]}", 400) if lacking else None


@behaviour("s3", otherwise=lambda body: body)
def a_policy_has_no_lists_of_one(body: bytes) -> bytes:
    """A bucket's policy is shown with a text, not a list of one, for an action, a resource or a principal.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketPolicy.html
    """
    statements = _statements(body)
    for one in statements:
        places = [one, *(value for name in ("Principal", "NotPrincipal") if isinstance(value := one.get(name), dict))]
        for place in places:
            for name, value in place.items():
                if isinstance(value, list) and len(value) == 1:
                    place[name] = value[0]
    return json.dumps({**json.loads(body), "Statement": statements}, separators=(",", ":")).encode()


@behaviour("s3", code="MalformedPolicy", stateful=False)
def policy_is_about_its_bucket(s3: Any, bucket: str, body: bytes) -> Any:
    """The resources of a bucket's policy are that bucket and what lies in it.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html
    """
    own = f"arn:aws:s3:::{bucket}"
    for one in _statements(body):
        resources = one.get("Resource") or []
        for resource in [resources] if isinstance(resources, str) else resources:
            if resource not in (own, f"{own}*") and not resource.startswith(f"{own}/"):
                return s3._error("MalformedPolicy", "Policy has invalid resource", 400)
    return None


@behaviour("s3", otherwise=lambda query: query)
def request_payment_is_shown(query: dict[str, Any]) -> dict[str, Any]:
    """Who pays for requests to a bucket is shown as it was set, its owner unless set.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketRequestPayment.html
    """
    # The emulator reads this subresource by another name than it writes it.
    return {**query, "request-payment": query["requestPayment"]} if "requestPayment" in query else query


def _with_names(s3: Any, response: Any, bucket: str) -> Any:
    rules = s3._bucket_lifecycle.get(bucket) if response[0] == 200 else None
    for one in rules if isinstance(rules, list) else ():
        a_lifecycle_rule_has_an_id(one)
    return response


@behaviour("s3")
def a_lifecycle_rule_has_an_id(one: dict[str, Any]) -> None:
    """A lifecycle rule that comes without an ID gets one, which stays.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html#intro-lifecycle-rule-id
    """
    if not one.get("ID"):
        one["ID"] = base64.b64encode(str(uuid.uuid4()).encode()).decode()


def _begin(s3: Any, response: Any, headers: Headers) -> Any:
    """The lock of an upload is given at its beginning, and counts at its end."""
    if found := UPLOAD_ID.search(response[2]):
        lock = {name: value for name, value in headers.items() if name.startswith(LOCK_HEADERS)}
        s3._multipart_uploads[found.group(1).decode()]["_lock"] = lock
    return response


def _complete(s3: Any, complete: Handler, bucket: str, key: str, body: bytes, query: Any, *rest: Any) -> Any:
    upload = s3._multipart_uploads.get(s3._qp(query, "uploadId"))
    response = complete(bucket, key, body, query, *rest)
    if upload is not None and response[0] == 200:
        uploads_and_copies_are_locked(s3, bucket, key, upload.get("_lock", {}))
    return response


def _copy(s3: Any, response: Any, bucket: str, key: str, headers: Headers) -> Any:
    if response[0] == 200:
        uploads_and_copies_are_locked(s3, bucket, key, headers)
    return response


@behaviour("s3")
def uploads_and_copies_are_locked(s3: Any, bucket: str, key: str, headers: Headers) -> None:
    """Copies and uploads in parts are locked as asked for, else by the bucket's default, never as their source was.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-lock.html
    """
    version = s3._buckets[bucket]["objects"][key].get("version_id")
    for store in (s3._object_retention, s3._object_legal_hold):
        store.pop((bucket, key, version), None)
    s3._apply_object_lock_from_headers(bucket, key, headers, version)
