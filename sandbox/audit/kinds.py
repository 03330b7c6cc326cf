"""Which calls CloudTrail takes for what: reads, data events, global services; by the services' pages on CloudTrail."""

from __future__ import annotations

GLOBAL_REGION = "us-east-1"
GLOBAL_SERVICES = frozenset({"iam", "route53", "cloudfront", "organizations", "globalaccelerator", "waf"})

_READS = {
    "sts": "AssumeRole AssumeRoleWithSAML AssumeRoleWithWebIdentity DecodeAuthorizationMessage",
    "kms": """Encrypt Decrypt ReEncrypt Sign Verify GenerateMac VerifyMac GenerateRandom GenerateDataKey
        GenerateDataKeyWithoutPlaintext GenerateDataKeyPair GenerateDataKeyPairWithoutPlaintext""",
    "logs": "StartLiveTail",
}
# Reads whatever their names say: (service, operation).
READS = frozenset((service, name) for service, names in _READS.items() for name in names.split())
# Reads whose answers are in the record all the same.
ANSWERED = frozenset(pair for pair in READS if pair[0] == "sts")

_DATA_EVENTS = {
    "s3": """AbortMultipartUpload CompleteMultipartUpload CopyObject CreateMultipartUpload DeleteObject DeleteObjects
        DeleteObjectTagging GetObject GetObjectAcl GetObjectAttributes GetObjectLegalHold GetObjectRetention
        GetObjectTagging GetObjectTorrent HeadBucket HeadObject ListMultipartUploads ListObjectVersions ListObjects
        ListObjectsV2 ListParts PutObject PutObjectAcl PutObjectLegalHold PutObjectRetention PutObjectTagging
        RestoreObject SelectObjectContent UploadPart UploadPartCopy""",
    "sns": "Publish PublishBatch",
    "sqs": """ChangeMessageVisibility ChangeMessageVisibilityBatch DeleteMessage DeleteMessageBatch ReceiveMessage
        SendMessage SendMessageBatch""",
    "cloudwatch": "GetMetricData GetMetricWidgetImage PutMetricData",
    "logs": "PutLogEvents",
    "events": "PutEvents",
    "lambda": "Invoke InvokeAsync",
    "dynamodb": """BatchGetItem BatchWriteItem DeleteItem GetItem PutItem Query Scan TransactGetItems
        TransactWriteItems UpdateItem""",
    "kinesis": "GetRecords GetShardIterator PutRecord PutRecords",
}
# The data plane, which is not in the event history: service → operations.
DATA_EVENTS = {service: frozenset(names.split()) for service, names in _DATA_EVENTS.items()}

_UNAUTHENTICATED = """AuthFailure ExpiredToken ExpiredTokenException IncompleteSignature IncompleteSignatureException
    InvalidAccessKeyId InvalidClientTokenId InvalidSignatureException MissingAuthenticationToken
    MissingAuthenticationTokenException RequestExpired SignatureDoesNotMatch UnrecognizedClientException"""
# Error codes of calls that nobody is known to have made: no account has the record.
UNAUTHENTICATED = frozenset(_UNAUTHENTICATED.split())
