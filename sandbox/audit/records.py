"""CloudTrail's record of one API call.

https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
"""

from __future__ import annotations

import base64
import binascii
import functools
import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from html import unescape
from typing import TYPE_CHECKING, Any

from botocore.model import Shape, StructureShape
from botocore.parsers import ResponseParserError, create_parser

from sandbox import cbor
from sandbox.audit import resources, shapes
from sandbox.audit.kinds import ANSWERED, DATA_EVENTS, GLOBAL_REGION, GLOBAL_SERVICES, READS, UNAUTHENTICATED
from sandbox.audit.store import Event
from sandbox.behaviours import behaviour
from sandbox.recording import is_read_only
from sandbox.requests import service_model
from sandbox.responses import CBOR

if TYPE_CHECKING:
    from sandbox.requests import ApiRequest

VERSION = "1.11"
# Fields beyond this many bytes are left out.
LONGEST_FIELD = 100 * 1024
# Parameters of KMS that carry the caller's data.
KMS_DATA = frozenset({"Message", "Plaintext", "CiphertextBlob", "Signature", "Mac"})
MESSAGE_IN_XML = re.compile(rb"<[Mm]essage>(.*?)</[Mm]essage>", re.DOTALL)


@dataclass(frozen=True)
class Outcome:
    """How a call went, with whatever of the answer is needed for the record."""

    status: int
    error_code: str | None
    headers: Mapping[str, str]
    body: bytes
    request_id: str
    at: float


@behaviour("cloudtrail", stateful=False, otherwise=lambda *_: True)
def _the_event_history_is_of_management_events(service: str, operation: str) -> bool:
    """LookupEvents shows management events, not data events (S3 objects, SNS and SQS messages, metric data).

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/view-cloudtrail-events.html
    """
    return operation not in DATA_EVENTS.get(service, ())


@behaviour("cloudtrail", otherwise=lambda error_code: True)
def _callers_nobody_knows_are_not_recorded(error_code: str | None) -> bool:
    """A call that fails authentication (unknown key, wrong signature) belongs to no account and is in no event history.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html
    """
    return error_code not in UNAUTHENTICATED


@behaviour("cloudtrail", otherwise=lambda service, region: region)
def _global_services_are_recorded_in_us_east_1(service: str, region: str) -> str:
    """Events of IAM and other global services have the region us-east-1 and are looked up there only.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-concepts.html#cloudtrail-concepts-global-service-events
    """
    return GLOBAL_REGION if service in GLOBAL_SERVICES else region


@behaviour("cloudtrail", otherwise=lambda status: status < 400)
def _failed_calls_are_recorded(status: int) -> bool:
    """Calls that were denied, refused or failed are in the event history, with their error code and message.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
    """
    return True


def is_recorded(request: ApiRequest, outcome: Outcome) -> bool:
    return (
        _the_event_history_is_of_management_events(request.service, request.operation)
        and _callers_nobody_knows_are_not_recorded(outcome.error_code)
        and _failed_calls_are_recorded(outcome.status)
    )


@behaviour("cloudtrail", otherwise=lambda outcome: str(uuid.uuid4()))
def _the_request_id_is_the_answers(outcome: Outcome) -> str:
    """A record's requestID is the request id that the caller had in the answer.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
    """
    return outcome.request_id


@behaviour("cloudtrail", otherwise=lambda request: False)
def changes_have_their_answers(request: ApiRequest) -> bool:
    """The record of a change has the answer in responseElements, that of a read has null.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
    """
    called = (request.service, request.operation)
    return called in ANSWERED or not (is_read_only(request.operation) or called in READS)


@functools.cache
def event_source(service: str) -> str:
    model = service_model(service)
    return f"{model.signing_name if model else service}.amazonaws.com"


@behaviour("cloudtrail", stateful=False, otherwise=lambda service, operation: is_read_only(operation))
def _reads_with_other_names_are_reads(service: str, operation: str) -> bool:
    """AssumeRole and KMS's cryptographic operations are recorded as read-only.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/cloudtrail-integration.html
    """
    return is_read_only(operation) or (service, operation) in READS


def make(
    request: ApiRequest,
    outcome: Outcome,
    identity: dict[str, Any],
    region: str,
    address: str,
    agent: str,
    kms_key: str = "",
) -> dict[str, Any]:
    """The record; `region` is the endpoint's, `kms_key` the ARN of the key that a call of KMS is about."""
    account = str(identity.get("accountId", ""))
    record: dict[str, Any] = {
        "eventVersion": VERSION,
        "userIdentity": _identity(request, identity),
        "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(outcome.at)),
        "eventSource": event_source(request.service),
        "eventName": request.operation,
        "awsRegion": _global_services_are_recorded_in_us_east_1(request.service, region),
        "sourceIPAddress": address,
        "userAgent": agent,
    }
    if outcome.status >= 400:
        record["errorCode"] = _error_codes_are_those_of_cloudtrail(request, outcome.error_code or "", outcome.status)
        if message := _message(request, outcome):
            record["errorMessage"] = message
    record["requestParameters"] = _parameters(request)
    record["responseElements"] = _elements(request, outcome) if outcome.status < 400 else None
    record["requestID"] = _the_request_id_is_the_answers(outcome)
    record["eventID"] = str(uuid.uuid4())
    record["readOnly"] = _reads_with_other_names_are_reads(request.service, request.operation)
    if named := _arns(request, record, account, kms_key):
        record["resources"] = named
    record["eventType"] = "AwsApiCall"
    if request.service == "elbv2":
        record["apiVersion"] = "2015-12-01"
    record["managementEvent"] = True
    record["recipientAccountId"] = account
    record["eventCategory"] = "Management"
    return record


def to_event(record: Mapping[str, Any], arrived: float, text: str | None = None, at: int | None = None) -> Event:
    """A record as a line of the event history. Raises ValueError when something that a lookup needs is missing.

    `at`: its time in seconds, for who knows it.
    """
    try:
        identity = record.get("userIdentity") or {}
        return Event(
            account=str(record.get("recipientAccountId") or identity["accountId"]),
            region=str(record["awsRegion"]),
            time=seconds(str(record["eventTime"])) if at is None else at,
            arrived=arrived,
            event_id=str(record["eventID"]),
            name=str(record["eventName"]),
            source=str(record["eventSource"]),
            read_only=bool(record.get("readOnly", False)),
            username=username_is_of_the_identity(identity),
            access_key=identity.get("accessKeyId") or None,
            resources=tuple(resources.resources_are_named(record)),
            record=text if text is not None else _text(record),
        )
    except (KeyError, AttributeError) as error:
        raise ValueError(f"a record needs eventTime, eventID, eventName, eventSource, awsRegion: {error}") from error


def seconds(stamp: str) -> int:
    """Seconds since 1970 of an eventTime. Raises ValueError."""
    return int(datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())


@behaviour("cloudtrail", otherwise=lambda identity: identity.get("accessKeyId"))
def username_is_of_the_identity(identity: Mapping[str, Any]) -> str | None:
    """LookupEvents' Username is the user's name, a role session's name, or "root"; an AWS service has none.

    https://docs.aws.amazon.com/awscloudtrail/latest/APIReference/API_Event.html
    """
    if identity.get("type") == "Root":
        return "root"
    if identity.get("userName"):
        return str(identity["userName"])
    principal = str(identity.get("principalId", ""))
    return principal.partition(":")[2] or None


def _identity(request: ApiRequest, identity: dict[str, Any]) -> dict[str, Any]:
    if request.access_key_id:
        return identity
    token = str(request.parameters.get("WebIdentityToken", ""))
    if request.operation != "AssumeRoleWithWebIdentity" or not token:
        return {"type": "AWSAccount", "principalId": "", "accountId": "ANONYMOUS_PRINCIPAL"}
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        issuer, audience, subject = (str(claims.get(name, "")) for name in ("iss", "aud", "sub"))
    except (IndexError, ValueError, binascii.Error, AttributeError):
        return {"type": "WebIdentityUser", "principalId": "", "userName": ""}
    host = issuer.removeprefix("https://")
    return {
        "type": "WebIdentityUser",
        "principalId": f"{host}:{audience}:{subject}",
        "userName": subject,
        "identityProvider": f"arn:aws:iam::{identity.get('accountId')}:oidc-provider/{host}",
    }


def _parameters(request: ApiRequest) -> Any:
    shape = request.model.input_shape if request.model else None
    given = request.parameters
    if request.service == "s3" and "Bucket" in given:
        given = {"bucketName": given["Bucket"], **{k: v for k, v in given.items() if k != "Bucket"}}
    return _secrets_are_hidden(shape, _kms_shows_no_data(request, given), request.service) or None


@behaviour("cloudtrail", stateful=False, otherwise=lambda request, given: given)
def _kms_shows_no_data(request: ApiRequest, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record of KMS has neither the message nor its plaintext, ciphertext or signature, not even as a name.

    https://docs.aws.amazon.com/kms/latest/developerguide/ct-verify.html
    """
    return {name: value for name, value in given.items() if request.service != "kms" or name not in KMS_DATA}


def _in_clear(shape: Any, value: Any, service: str) -> Any:
    """Only while the behaviour is out: shown is the length, for even then nothing secret is written down."""
    return {shapes.camel(name): str(len(str(item))) for name, item in value.items()}


@behaviour("cloudtrail", stateful=False, otherwise=_in_clear)
def _secrets_are_hidden(shape: Any, value: Any, service: str) -> Any:
    """Secrets in a record are HIDDEN_DUE_TO_SECURITY_REASONS (RDS: ****), or are not in it at all.

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/logging-using-cloudtrail.html
    """
    return shapes.written(shape, value, service)


def _elements(request: ApiRequest, outcome: Outcome) -> Any:
    """The answer of a call that changes something; null for a read, and when there is nothing in it."""
    model = request.model
    if (
        model is None
        or model.output_shape is None
        or not changes_have_their_answers(request)
        or request.service == "s3"
    ):
        return {"requestId": outcome.request_id, "_return": True} if _is_ec2_change(request) else None
    parsed = _parsed(model.output_shape, request.protocol, outcome)
    shape: Shape = model.output_shape
    if request.service == "ec2":
        return {"requestId": outcome.request_id, **(shapes.written(shape, parsed, "ec2") or {})}
    if request.service == "rds" and isinstance(shape, StructureShape) and len(shape.members) == 1:
        # RDS shows the resource itself, without the member that wraps it.
        name, shape = next(iter(shape.members.items()))
        parsed = parsed.get(name) or {}
    return _secrets_are_hidden(shape, parsed, request.service) or None


def _is_ec2_change(request: ApiRequest) -> bool:
    return request.service == "ec2" and changes_have_their_answers(request)


def _parsed(shape: Shape, protocol: str, outcome: Outcome) -> dict[str, Any]:
    response = {"status_code": outcome.status, "headers": dict(outcome.headers), "body": outcome.body}
    try:
        parsed: dict[str, Any] = create_parser(protocol).parse(response, shape)
    except (ResponseParserError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    parsed.pop("ResponseMetadata", None)
    return parsed


_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def _text(record: Mapping[str, Any]) -> str:
    text = _encode(record)
    if len(text) <= LONGEST_FIELD:
        return text
    return json.dumps(
        {name: _large_fields_are_left_out(value) for name, value in record.items()}, separators=(",", ":"), default=str
    )


@behaviour("cloudtrail", stateful=False, otherwise=lambda value: value)
def _large_fields_are_left_out(value: Any) -> Any:
    """A field of a record over 100 KB is left out, which `omitted` says.

    https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html
    """
    size = len(json.dumps(value, default=str))
    if size <= LONGEST_FIELD:
        return value
    return {"omitted": True, "originalSize": size, "reason": "The field exceeds the maximum size."}


def _message(request: ApiRequest, outcome: Outcome) -> str | None:
    body = outcome.body
    if request.protocol == CBOR:
        try:
            document = cbor.loads(body)
        except cbor.CborError:
            return None
    elif body[:1] in (b"{", b"["):
        try:
            document = json.loads(body)
        except ValueError:
            return None
    else:
        found = MESSAGE_IN_XML.search(body)
        return unescape(found.group(1).decode("utf-8", "replace")) if found else None
    if not isinstance(document, dict):
        return None
    message = document.get("message") or document.get("Message")
    return str(message) if message else None


@functools.cache
def _names_of_errors(service: str) -> dict[str, str]:
    """Error code on the wire → name of its shape, of the services whose two differ."""
    model = service_model(service)
    if model is None or model.metadata.get("protocol") not in ("query", "smithy-rpc-v2-cbor"):
        return {}
    named = ((shape.metadata.get("error", {}).get("code"), shape.name) for shape in model.error_shapes)
    return {code: name for code, name in named if code}


@behaviour("cloudtrail", stateful=False, otherwise=lambda request, code, status: code)
def _error_codes_are_those_of_cloudtrail(request: ApiRequest, code: str, status: int) -> str:
    """EC2's error codes begin with Client. or Server., denials are AccessDenied, query services' are exception names.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
    """
    if request.service == "ec2":
        return f"{'Server' if status >= 500 else 'Client'}.{code}"
    if code in ("AccessDeniedException", "AccessDenied"):
        return "AccessDenied"
    return _names_of_errors(request.service).get(code, code)


def _arns(request: ApiRequest, record: Mapping[str, Any], account: str, kms_key: str) -> list[dict[str, Any]]:
    """The record's own `resources`, which few services fill in: KMS, S3, STS, Secrets Manager."""
    given = record.get("requestParameters") or {}
    kind, arn = "", ""
    if request.service == "s3" and given.get("bucketName"):
        kind, arn = "AWS::S3::Bucket", f"arn:aws:s3:::{given['bucketName']}"
    elif request.service == "sts" and given.get("roleArn"):
        kind, arn = "AWS::IAM::Role", str(given["roleArn"])
    elif kms_key:
        kind, arn = "AWS::KMS::Key", kms_key
    return [{"accountId": account, "type": kind, "ARN": arn}] if arn else []
